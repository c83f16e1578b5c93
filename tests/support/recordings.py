"""Recordings of the real exchange that may lie beside a checkout; tests that want them skip else.

What they show is also covered by samples of our own.  DITA_RECORDINGS names another folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

RECORDINGS: Final = Path(
    os.environ.get("DITA_RECORDINGS") or Path(__file__).resolve().parents[3] / "shared"
)
