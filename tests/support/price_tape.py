"""Makes configs/tapes/twenty-minutes.csv: prices of our own making, the same at every run.

``python tests/support/price_tape.py`` writes it again; a test holds the file to this.  Two symbols,
a price every 2 s over 20 minutes: a seeded walk with a slow swing and one sharp drop that comes
back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dita.units import PRICE_ONE, format_price
from dita.venues.mock import Chance

PATH: Final = Path(__file__).parent.parent.parent / "configs" / "tapes" / "twenty-minutes.csv"
STEP_MS: Final = 2_000
STEPS: Final = 600
TICK: Final = PRICE_ONE // 10_000
DROP_AT: Final = 400


def tape() -> str:
    """The file's text."""
    chance = Chance(20_261_124)
    lines = ["time_ms,asset,price"]
    walks = {"FET-USDT": 5_000, "TRX-USDT": 3_000}  # in ticks
    start = dict(walks)
    for i in range(STEPS):
        for asset, first in start.items():
            swing = 1 if (i // 75) % 2 == 0 else -1
            ticks = walks[asset] + chance.below(7) - 3 + swing * chance.below(2)
            walks[asset] = ticks = max(ticks, first // 2)
            if DROP_AT <= i < DROP_AT + 20:
                ticks -= first // 25 * (20 - abs(2 * (i - DROP_AT) - 20)) // 20
            lines.append(f"{i * STEP_MS},{asset},{format_price(ticks * TICK)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PATH.write_text(tape(), encoding="ascii")
