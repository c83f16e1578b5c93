"""Interleaved rounds and what is said of them: medians, extremes, and ratios taken round by round.

Absolute times move between rounds on a shared machine; two measurements of one round were taken
under the same conditions, so a ratio is formed inside each round before the median is taken.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: Prepares its own fresh state, times one pass, answers nanoseconds per event.
Measurement = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and extremes of one figure over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of some values."""
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int = 0) -> str:
        """``median [min..max]``."""
        return f"{self.median:,.{digits}f} [{self.low:,.{digits}f}..{self.high:,.{digits}f}]"


@dataclass(frozen=True, slots=True)
class Rounds:
    """Nanoseconds per event of every measurement, round by round."""

    values: dict[str, list[float]]

    def spread(self, name: str) -> Spread:
        """Of one measurement."""
        return Spread.of(self.values[name])

    def ratio(self, above: str, below: str) -> Spread:
        """Of two measurements, formed inside each round."""
        pairs = zip(self.values[above], self.values[below], strict=True)
        return Spread.of([a / b for a, b in pairs])


def interleave(measurements: dict[str, Measurement], rounds: int) -> Rounds:
    """One warm-up pass of everything, then the rounds; each starts at another measurement."""
    names = list(measurements)
    values: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    gc.freeze()  # what was prepared is not walked again; what is measured still collects
    for name in names:
        measurements[name]()
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            values[name].append(measurements[name]())
    gc.unfreeze()
    return Rounds(values)
