"""One bygone trade: what was recorded of it, the old defects, and its replay."""
