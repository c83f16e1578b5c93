"""Commits for an asyncio loop, many at once.

Whatever was appended while a sync ran, or in the same turn of the loop, goes with one sync, so that
a hundred inputs cost one.  A quick disk is written to by the loop itself, as handing over to a
thread and back would cost as much again; a disk that has just been slow gets a thread, and the loop
goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

from dita.clock import Clock, SystemClock
from dita.journal.latency import CommitLatency, Latencies
from dita.journal.writer import Journal

#: A disk is quick while each sync takes at most this long.
QUICK_NS: Final = 1_000_000
#: So long after a commit its high-water mark is on the disk too; syncing it each time would cost
#: as much again, and only a loss of power in between takes it back.
HIGH_WATER_LAG_S: Final = 0.1
#: Syncs in a row that a disk has to be quick for, before the loop itself writes to it.
QUICK_SYNCS: Final = 16


class GroupCommit:
    """``await commit()``: what was appended before is durable when it returns.

    ``quick_ns`` 0 means that the loop never writes itself.
    """

    def __init__(
        self, journal: Journal, *, clock: Clock | None = None, quick_ns: int = QUICK_NS
    ) -> None:
        self.journal = journal
        self._clock = clock or SystemClock()
        self._quick_ns = quick_ns
        self._turn_is_used = False
        self._to_prove = QUICK_SYNCS
        #: Number, since when, and who waits for it.
        self._waiters: deque[tuple[int, int, asyncio.Future[int]]] = deque()
        self._latencies = Latencies()
        self._calls: SimpleQueue[asyncio.AbstractEventLoop | None] = SimpleQueue()
        self._busy = False
        self._high_water_is_due = False
        self._thread: threading.Thread | None = None
        #: Told when the high-water mark could not be made durable: everything has to end then.
        self.on_failure: Callable[[BaseException], None] = lambda error: None

    async def commit(self) -> int:
        """Wait until everything appended before this call is durable; up to where it is then."""
        journal = self.journal
        wanted = journal.last_seq
        if wanted <= journal.synced_up_to:
            return journal.synced_up_to
        loop, since_ns = asyncio.get_running_loop(), self._clock.monotonic_ns()
        if not (self._busy or self._to_prove or self._turn_is_used):
            # Once a turn at most: whoever else commits in it waits for the next, and with the rest.
            self._turn_is_used = True
            loop.call_soon(self._begin_turn)
            error = self._attempt()
            if error is not None:
                raise error
            self._latencies.note(since_ns, self._clock.monotonic_ns())
            self._sync_high_water_soon(loop)
            return journal.synced_up_to
        waiter: asyncio.Future[int] = loop.create_future()
        self._waiters.append((wanted, since_ns, waiter))
        if not self._busy:
            self._call(loop)
        return await waiter

    def latency(self) -> CommitLatency:
        """How long commits have taken lately; one that hangs is in it too."""
        since_ns = self._waiters[0][1] if self._waiters else None
        return self._latencies.figures(self._clock.monotonic_ns(), since_ns)

    def close(self) -> None:
        """End the thread; what was not committed stays with the journal."""
        if self._thread is not None:
            self._calls.put(None)
            self._thread.join()
            self._thread = None

    def _sync_high_water_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._high_water_is_due:
            self._high_water_is_due = True
            loop.call_later(HIGH_WATER_LAG_S, self._sync_high_water, loop)

    def _sync_high_water(self, loop: asyncio.AbstractEventLoop) -> None:
        self._high_water_is_due = False
        done = loop.run_in_executor(None, self.journal.sync_high_water)
        done.add_done_callback(self._high_water_is_synced)

    def _high_water_is_synced(self, done: asyncio.Future[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            self.on_failure(error)

    def _begin_turn(self) -> None:
        self._turn_is_used = False

    def _call(self, loop: asyncio.AbstractEventLoop) -> None:
        self._busy = True
        if not self._to_prove:
            loop.call_soon(self._write_here, loop)  # behind those who append in this turn
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
            self._thread.start()
        self._calls.put(loop)

    def _write_here(self, loop: asyncio.AbstractEventLoop) -> None:
        self._settle(loop, self._attempt())

    def _attempt(self) -> BaseException | None:
        start = self._clock.monotonic_ns()
        error: BaseException | None = None
        try:
            self.journal.write_and_sync()
        except BaseException as bad:  # noqa: BLE001 - it is the waiters' to raise
            error = bad
        quick = self._clock.monotonic_ns() - start <= self._quick_ns and error is None
        self._to_prove = max(0, self._to_prove - 1) if quick and self._quick_ns else QUICK_SYNCS
        return error

    def _work(self) -> None:
        while (loop := self._calls.get()) is not None:
            error = self._attempt()
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits
                loop.call_soon_threadsafe(self._settle, loop, error)

    def _settle(self, loop: asyncio.AbstractEventLoop, error: BaseException | None) -> None:
        synced = self.journal.synced_up_to
        if error is None and self._waiters:  # the first has waited longest
            self._latencies.note(self._waiters[0][1], self._clock.monotonic_ns())
        while self._waiters and (self._waiters[0][0] <= synced or error is not None):
            wanted, _, waiter = self._waiters.popleft()
            if waiter.done():  # cancelled
                continue
            if wanted <= synced:
                waiter.set_result(synced)
            elif error is not None:
                waiter.set_exception(error)
        self._busy = False
        if error is None:
            self._sync_high_water_soon(loop)
        if self._waiters:
            self._call(loop)
