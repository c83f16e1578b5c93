"""The exchange itself: orders, matching, positions, money. It performs no I/O."""
