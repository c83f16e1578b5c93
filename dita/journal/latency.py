"""How long commits take: what an order waits for before it may leave.

Group commit notes each one; status shows the figures.  All of them are of the last minute, so a
disk that was slow once is forgotten when it is quick again.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from dita.contracts import Record

WINDOW_NS: Final = 60 * 10**9
#: So many of the newest commits are looked at.
NOTED_MAX: Final = 1_024
#: A disk with a commit this long is slow: an order's own way to the exchange takes less.
SLOW_US: Final = 250_000


class CommitLatency(Record, frozen=True, kw_only=True):
    """Of the last minute, in microseconds; 0 when there was no commit in it."""

    commits: int
    last_us: int
    p99_us: int
    max_us: int
    #: How long the one that is under way has taken so far; 0 when none is.
    running_us: int

    @property
    def is_slow(self) -> bool:
        """Has an order waited so long for the disk that a person should know?"""
        return max(self.max_us, self.running_us) >= SLOW_US


class Latencies:
    """Collects the figures."""

    def __init__(self) -> None:
        self._noted: deque[tuple[int, int]] = deque(maxlen=NOTED_MAX)

    def note(self, since_ns: int, now_ns: int) -> None:
        """A commit that was asked for and is durable."""
        self._noted.append((now_ns, now_ns - since_ns))

    def figures(self, now_ns: int, running_since_ns: int | None) -> CommitLatency:
        """What they are now, on the same clock as was noted with."""
        while self._noted and now_ns - self._noted[0][0] > WINDOW_NS:
            self._noted.popleft()
        took = sorted(took for _, took in self._noted)
        running_ns = now_ns - running_since_ns if running_since_ns is not None else 0
        return CommitLatency(
            commits=len(took),
            last_us=self._noted[-1][1] // 1_000 if took else 0,
            p99_us=took[len(took) * 99 // 100] // 1_000 if took else 0,
            max_us=took[-1] // 1_000 if took else 0,
            running_us=running_ns // 1_000,
        )
