"""An event loop whose time jumps to the next timer, and a clock that shows it.

A test that waits an hour takes as long as what happens in it.  It works where nothing else is
waited for: no thread, no socket.  A wait that nothing can end is an error instead of a hang.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
START_MS = 1_700_000_000_000


class _Jumping(selectors.DefaultSelector):
    """Says at once that the time is over which it was to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing will ever happen: no timer is set and nobody is at work")
        if not ready and timeout:
            self.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its ``time`` is virtual and begins at 0."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


class VirtualClock:
    """The running loop's time; the wall can be set apart from it, and the machine suspended."""

    def __init__(self) -> None:
        self.wall_ms = START_MS
        self._suspended_ns = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def now_ms(self) -> int:
        return self.wall_ms + self.monotonic_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        loop = self._loop = self._loop or asyncio.get_running_loop()  # threads ask it too
        return round(loop.time() * 1e9) + self._suspended_ns

    def boottime_ns(self) -> int:
        return self.monotonic_ns()

    def boot_id(self) -> str:
        return "virtual"

    def step_wall_ms(self, step_ms: int) -> None:
        """Somebody sets the wall clock."""
        self.wall_ms += step_ms

    def suspend_ms(self, length_ms: int) -> None:
        """The machine sleeps: its timers stand still, and the world goes on."""
        self._suspended_ns += length_ms * 1_000_000


def run(work: Coroutine[Any, Any, T], limit_s: float = 7_200) -> T:
    """Run it in virtual time, at most so much of it."""

    async def limited() -> T:
        async with asyncio.timeout(limit_s):
            return await work

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(limited())
