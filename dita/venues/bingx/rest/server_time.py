"""The exchange's clock, estimated: monotonic time plus an offset measured with server-time answers.

Signing, absence proofs and balances count in it, so a step of our wall clock moves nothing.  It
does no I/O: whoever asks the exchange hands in what was answered and when.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from dita.clock import Clock
from dita.venues import QueryFailed

_NS_PER_MS: Final = 1_000_000
_KEPT: Final = 8
#: A measurement is used for so long; crystals drift some 50 ms per million.
USABLE_MS: Final = 300_000


class _Sample(NamedTuple):
    offset_ms: int
    round_trip_ms: int
    taken_ms: int


class ServerTime:
    """Of the newest measurements the one with the shortest round trip counts."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples: deque[_Sample] = deque(maxlen=_KEPT)

    def monotonic_ms(self) -> int:
        """Our own time that never goes back, from any start."""
        return self._clock.monotonic_ns() // _NS_PER_MS

    def measured(self, asked_ms: int, answered_ms: int, server_ms: int) -> None:
        """An answer: our monotonic times around the question, and what the exchange said."""
        sample = _Sample(
            offset_ms=server_ms - (asked_ms + answered_ms) // 2,
            round_trip_ms=answered_ms - asked_ms,
            taken_ms=answered_ms,
        )
        best = self._best()
        # Two true measurements differ by at most half of both round trips: else a clock was moved.
        if best is not None and abs(sample.offset_ms - best.offset_ms) > (
            (sample.round_trip_ms + best.round_trip_ms) // 2 + 1 + self._drift_ms()
        ):
            self._samples.clear()
        self._samples.append(sample)

    def _drift_ms(self) -> int:
        oldest = self._samples[0].taken_ms if self._samples else self.monotonic_ms()
        return (self.monotonic_ms() - oldest) // 5_000  # 200 ms per million, generously

    def forget(self) -> None:
        """The exchange says that we are wrong: measure anew."""
        self._samples.clear()

    def _best(self) -> _Sample | None:
        oldest_ms = self.monotonic_ms() - USABLE_MS
        usable = [sample for sample in self._samples if sample.taken_ms >= oldest_ms]
        return min(usable, key=lambda sample: sample.round_trip_ms, default=None)

    @property
    def known(self) -> bool:
        """Is there a measurement that is young enough?"""
        return self._best() is not None

    def now_ms(self) -> int:
        """The exchange's time.  QueryFailed when it was not measured lately."""
        best = self._best()
        if best is None and self._samples:
            best = self._samples[-1]  # old, but signing with it beats not closing a position
        if best is None:
            raise QueryFailed("the exchange's time is not known", action="measure it first")
        return self.monotonic_ms() + best.offset_ms

    def skew_ms(self) -> int:
        """Our wall clock minus the exchange's."""
        return self._clock.now_ms() - self.now_ms()
