"""DITAv2: an exact-money trade-execution kernel for BingX USDT perpetuals.

The package root holds the version and nothing else, so that `import dita` stays cheap.
It must not import the kernel.
"""

from __future__ import annotations

__version__ = "0.2.0"
