"""What a soak found: published capital against the exchange's wallet, idle and while settling.

Pure: samples in (records of the verb `balance`), one summary out.  Idle is when nothing of ours was
on its way while the sample was taken; only then must the two be equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dita.contracts import Record
from dita.units import MONEY_ONE, parse_money

#: Idle, capital and wallet may differ by this much (accounting fix §3.3).
IDLE_LIMIT: Final = MONEY_ONE // 100


class Point(Record, frozen=True, kw_only=True):
    """One sample: capital less wallet in 10^-18."""

    time_ms: int
    difference: int
    settling: bool


class Part(Record, frozen=True, kw_only=True):
    """The samples of one kind: how many, and the largest difference with its time."""

    samples: int
    worst: int
    worst_ms: int


class Summary(Record, frozen=True, kw_only=True):
    """A whole soak."""

    idle: Part
    settling: Part
    missed: int
    first_ms: int
    last_ms: int
    trades: int
    frozen_samples: int

    @property
    def holds(self) -> bool:
        """Within the limit whenever idle, and idle at least once."""
        return self.idle.samples > 0 and abs(self.idle.worst) <= IDLE_LIMIT


def point_of(sample: dict[str, Any]) -> Point:
    """The point of a sample."""
    return Point(
        time_ms=int(sample["time_ms"]),
        difference=parse_money(sample["difference"]),
        settling=bool(sample["settling"]),
    )


def summary_of(samples: Sequence[dict[str, Any]], missed: int) -> Summary:
    """The summary; ``missed`` questions had no answer and are nobody's zero."""
    points = [point_of(sample) for sample in samples]
    trades = [int(sample["trades"]) for sample in samples]
    return Summary(
        idle=_part([point for point in points if not point.settling]),
        settling=_part([point for point in points if point.settling]),
        missed=missed,
        first_ms=points[0].time_ms if points else 0,
        last_ms=points[-1].time_ms if points else 0,
        trades=trades[-1] - trades[0] if trades else 0,
        frozen_samples=sum(bool(sample["entries_frozen"]) for sample in samples),
    )


def _part(points: Sequence[Point]) -> Part:
    worst = max(points, key=lambda point: abs(point.difference), default=None)
    return Part(
        samples=len(points),
        worst=worst.difference if worst else 0,
        worst_ms=worst.time_ms if worst else 0,
    )
