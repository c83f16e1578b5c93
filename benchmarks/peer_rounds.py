"""Timing many short runs, and what both peer processes share: a round for every line on stdin.

Runs in the peer's own environment too, so nothing of dita is imported here.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns

_WHOSE = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)


@dataclass(frozen=True, slots=True)
class Fill:
    """One fill of the plan; ``opens`` marks the first of a trade, which is not timed."""

    trade: int
    order: int
    side: int
    lots: int
    ticks: int
    opens: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """The fills of a stream in order, and where the kernel sees something else between them."""

    fills: list[Fill]
    #: Indices of fills: each list is timed as one piece, except an opening one on its own.
    runs: list[list[int]]
    order_lots: dict[int, int]

    @property
    def timed(self) -> int:
        """Fills in the timed part."""
        return sum(not fill.opens for fill in self.fills)

    def save(self, path: Path) -> None:
        """As JSON, for another interpreter."""
        fills = [[f.trade, f.order, f.side, f.lots, f.ticks, f.opens] for f in self.fills]
        orders = list(self.order_lots.items())
        path.write_text(json.dumps({"fills": fills, "runs": self.runs, "orders": orders}))

    @classmethod
    def load(cls, path: Path) -> Plan:
        """What ``save`` wrote."""
        found = json.loads(path.read_text())
        return cls([Fill(*f) for f in found["fills"]], found["runs"], dict(found["orders"]))


class Stopwatch:
    """Sums up short runs by the wall clock; a run in which the core was taken away does not count.

    The thread's CPU clock would not see such a pause, but costs more than a run of a few fills.
    """

    def __init__(self) -> None:
        self._taken = self._count = 0
        self._switches = self._start = 0

    def start(self) -> None:
        """Before a run."""
        self._switches = _switches()
        self._start = perf_counter_ns()

    def stop(self, count: int) -> None:
        """After a run of so many fills."""
        taken = perf_counter_ns() - self._start
        if _switches() == self._switches:
            self._taken += taken
            self._count += count

    def per_fill(self) -> float:
        """Nanoseconds, over the runs that count."""
        return self._taken / self._count


def _switches() -> int:
    return resource.getrusage(_WHOSE).ru_nivcsw


def serve(about: dict[str, object], measure: Callable[[], float]) -> None:
    """Say what this process found out, then measure a round for every line that comes in."""
    print(json.dumps(about), flush=True)
    for _ in sys.stdin:
        print(measure(), flush=True)
