"""Time as an argument: the wall's, the machine's and the kernel's, behind small protocols.

The runtime owns a SystemClock and passes it down; tests, replay and the simulation pass a
ManualClock, so the same seed sees the same times. This is the only module that may call
`time.*`; it must not know what anybody uses the time for.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Protocol

from dita.errors import UnitError, shown

__all__ = ["BootClock", "Clock", "KernelClock", "MachineClock", "ManualClock", "SystemClock"]

_NS_PER_MS = 1_000_000
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Clock(Protocol):
    """Two readings that are never mixed: one to stamp with, one to measure with."""

    def now_ms(self) -> int:
        """Wall time in whole milliseconds since 1970 UTC. May jump, even backwards."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary start, suspended time included. Never goes back; only
        differences mean much."""
        ...


class BootClock(Protocol):
    """A clock that outlives a process: two processes of one boot read the same line of time."""

    def now_ms(self) -> int:
        """Wall time in whole milliseconds since 1970 UTC. May jump, even backwards."""
        ...

    def boottime_ns(self) -> int:
        """Nanoseconds since the machine started, suspended time included. Never goes back."""
        ...

    def boot_id(self) -> str:
        """Which start of the machine that counts from; "" when it cannot be told."""
        ...


class MachineClock(Clock, BootClock, Protocol):
    """Everything that a running kernel asks of a machine's clocks."""


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ()

    def now_ms(self) -> int:
        """Wall time; from the integer nanosecond clock, as floats have no place here."""
        return time.time_ns() // _NS_PER_MS

    def monotonic_ns(self) -> int:
        """Time since the machine started, unmoved by NTP or an operator setting the date.

        Not CLOCK_MONOTONIC, which stands still while the machine is suspended: an exchange's time,
        a rate limit and an order's time to live go on meanwhile.
        """
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def boottime_ns(self) -> int:
        """The same reading, by the name that says it is shared with other processes."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def boot_id(self) -> str:
        """The machine's own name for this start."""
        return _machine_boot_id()

    def sleep_ms(self, duration_ms: int) -> None:
        """Wait; for a command that draws again, never inside the loop."""
        time.sleep(_not_negative(duration_ms, "duration_ms") / 1_000)


class ManualClock:
    """Time that moves only when told to.

    The monotonic reading starts at 0 whatever the wall says, so code that confuses the two
    fails in a test instead of in production.
    """

    __slots__ = ("_boot_id", "_monotonic_ns", "_now_ms")

    def __init__(self, now_ms: int = 0, boot_id: str = "manual") -> None:
        self._now_ms = _not_negative(now_ms, "now_ms")
        self._monotonic_ns = 0
        self._boot_id = boot_id

    def now_ms(self) -> int:
        """Wall time as set at the start plus everything advanced since."""
        return self._now_ms

    def monotonic_ns(self) -> int:
        """Everything advanced so far."""
        return self._monotonic_ns

    def boottime_ns(self) -> int:
        """The same as the monotonic reading."""
        return self._monotonic_ns

    def boot_id(self) -> str:
        """As given at the start."""
        return self._boot_id

    def advance_ms(self, step_ms: int) -> None:
        """Move both readings forward. Zero is fine; going back is refused."""
        step_ms = _not_negative(step_ms, "step_ms")
        self._now_ms += step_ms
        self._monotonic_ns += step_ms * _NS_PER_MS

    def set_wall_ms(self, now_ms: int) -> None:
        """Set the wall clock, forward or back; nothing else moves."""
        self._now_ms = _not_negative(now_ms, "now_ms")


class KernelClock:
    """The kernel's time: it goes on from a given moment at real rate, suspended time included.

    Nothing that is done to the wall clock reaches it, so waits end and ages grow as they should; it
    is no time of the day. Whoever makes one says where it goes on: at a new journal the wall's
    time, else the time that the records have come to.
    """

    __slots__ = ("_clock", "_start_ms", "_start_ns")

    def __init__(self, clock: Clock, start_ms: int) -> None:
        self._clock = clock
        self._start_ms = _not_negative(start_ms, "start_ms")
        self._start_ns = clock.monotonic_ns()

    def now_ms(self) -> int:
        """The kernel's time now, in milliseconds."""
        return self.at_ms(self._clock.monotonic_ns())

    def monotonic_ns(self) -> int:
        """The machine's clock that it goes by."""
        return self._clock.monotonic_ns()

    def at_ms(self, monotonic_ns: int) -> int:
        """The kernel's time at a reading of the machine's clock, of this or another process."""
        return self._start_ms + (monotonic_ns - self._start_ns) // _NS_PER_MS


@lru_cache(maxsize=1)
def _machine_boot_id() -> str:
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            return file.read(64).strip()
    except OSError:
        return ""


def _not_negative(value: int, field: str) -> int:
    if type(value) is not int or value < 0:
        raise UnitError(
            f"{field} refused",
            expected="an exact int of at least 0 milliseconds",
            found=shown(value),
            action="pass whole milliseconds; this clock only moves forward",
        )
    return value
