"""A machine for one node: a disk that forgets, chance from a seed, and a power switch.

``power_off`` ends everything that the node runs at once, without its consent: tasks are cancelled
with network and disk already gone, so nothing that they do at their end reaches anybody.  The disk
keeps what was synced.  It judges nothing.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar

import httpx

from dita.clock import Clock
from dita.exchange.in_process import InProcessExchange, InProcessTransport
from dita.journal import Journal
from dita.journal.latency import CommitLatency, Latencies
from dita.runtime.world import World
from dita.simulation.disk import SimDisk
from dita.simulation.virtual_time import VirtualClock

T = TypeVar("T")

#: Which life of a machine a task belongs to; 0 for none.
_LIFE: contextvars.ContextVar[int] = contextvars.ContextVar("life", default=0)


class PlainCommit:
    """Commits that take ``sync_s`` of virtual time; whoever comes meanwhile goes with the next."""

    def __init__(self, journal: Journal, clock: Clock, sync_s: Callable[[], float]) -> None:
        self.journal = journal
        self.on_failure: Callable[[BaseException], None] = lambda error: None
        self._clock = clock
        self._sync_s = sync_s
        self._latencies = Latencies()
        self._turn = asyncio.Lock()

    async def commit(self) -> int:
        """Wait until everything appended before this call is durable."""
        wanted, since_ns = self.journal.last_seq, self._clock.monotonic_ns()
        async with self._turn:
            if self.journal.synced_up_to < wanted:
                await asyncio.sleep(self._sync_s())
                self.journal.write_and_sync()
                self.journal.sync_high_water()
                self._latencies.note(since_ns, self._clock.monotonic_ns())
        return self.journal.synced_up_to

    def latency(self) -> CommitLatency:
        """How long commits have taken lately."""
        return self._latencies.figures(self._clock.monotonic_ns(), None)

    def close(self) -> None:
        """Nothing to end."""


class _Line(InProcessTransport):
    """Requests of one life; dead with it."""

    def __init__(self, exchange: InProcessExchange) -> None:
        super().__init__(exchange)
        self.dead = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.dead:
            raise httpx.ConnectError("the machine has no power", request=request)
        return await super().handle_async_request(request)


class PowerOff(BaseException):
    """What a call of the disk ends with after the power went."""


class Machine:
    """One machine whose node may die and be started again."""

    def __init__(self, exchange: InProcessExchange, clock: VirtualClock, chance: Random) -> None:
        self.exchange = exchange
        self.clock = clock
        self.disk = SimDisk()
        self.lives = 0
        self._chance = chance
        self._tasks: set[asyncio.Task[Any]] = set()
        self._line: _Line | None = None
        self._sockets: list[Any] = []
        asyncio.get_running_loop().set_task_factory(self._made)  # type: ignore[arg-type]

    def _made(
        self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T], **more: Any
    ) -> asyncio.Task[T]:
        task = asyncio.Task(work, loop=loop, **more)
        context = more.get("context")
        life = context.get(_LIFE, 0) if context is not None else _LIFE.get()
        if life:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return task

    def world(self) -> World:
        """What a node of this life takes from outside."""
        draw = Random(self._chance.getrandbits(64))
        line = self._line = _Line(self.exchange)
        return World(
            clock=self.clock,
            disk=self.disk,
            commit=lambda journal, clock: PlainCommit(
                journal, clock, lambda: draw.uniform(0.0001, 0.002)
            ),
            draw=draw.randrange,
            identity=lambda: draw.randbytes(16),
            beside=_at_once,
            transport=lambda: line,
            connect_to=self._connect,
        )

    async def _connect(self, url: str, **more: Any) -> Any:
        line = self._line
        if line is None or line.dead:
            raise ConnectionRefusedError("the machine has no power")
        socket = await self.exchange.connect(url, **more)
        self._sockets.append(socket)
        return socket

    def live(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something on this machine; it ends with the power."""
        self.lives += 1
        context = contextvars.copy_context()
        context.run(_LIFE.set, self.lives)
        return asyncio.get_running_loop().create_task(work, context=context)

    async def power_off(self) -> None:
        """The power goes now; the disk is then what a crash left of it."""
        after = self.disk.crashed(self._chance)
        self.disk.before = _no_power
        if self._line is not None:
            self._line.dead = True
        for socket in self._sockets:
            socket.abort()
        self._sockets.clear()
        while tasks := {task for task in self._tasks if not task.done()}:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        self.disk = after


async def _at_once(work: Callable[[], T], /) -> T:
    return work()


def _no_power(operation: str) -> None:
    raise PowerOff(operation)
