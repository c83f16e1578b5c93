"""The loop: one inbox, and for each batch of inputs journal, apply, sync, publish, act.

Everything that changes state comes through the inbox and through the journal; nothing is published
or sent before the journal is synced (design §3).  What cannot be journalled is refused by name and
never applied.  Tasks in the background do what effects ask for, and one that fails stops the
process.  It knows no venue and prints nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from enum import IntEnum
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from msgspec.structs import replace

from dita.clock import Clock, KernelClock
from dita.contracts import (
    Effect,
    EffectKind,
    KernelDiagnosticCode,
    KernelIntent,
    KernelOutcome,
    KernelSeverity,
    VenueEvent,
)
from dita.engine import Engine, Outcome
from dita.errors import (
    ENGINE_FAULTS,
    BadField,
    DitaError,
    KernelFault,
    NotRunning,
    OperatorError,
    Unforeseen,
    shown,
)
from dita.runtime.alarms import Alarms, call_each
from dita.venues import Venue

Input = KernelIntent | VenueEvent

INBOX_MAX = 65_536
BATCH_MAX = 512
#: Names of the tasks are few; more of them at once mean that something waits without end.
TASKS_MANY = 256
#: Effects that send to the venue what changes its book.
ORDERS: Final = frozenset({EffectKind.SUBMIT, EffectKind.CANCEL})
#: Effects that ask nothing of the runtime: publishers see them in the outcome.
FOR_PUBLISHERS: Final = frozenset({EffectKind.FEED_SIZER, EffectKind.CLOSE_TRADE})
_NS_PER_MS: Final = 1_000_000
#: What packing or journalling raises for a record that no journal can hold.
_UNJOURNALLABLE: Final = (
    BadField,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    msgspec.MsgspecError,
)


class RunState(IntEnum):
    """Where a runtime is in its life; visible in status."""

    STARTING = 0
    RECOVERING = 1
    RECONCILING = 2
    READY = 3
    DEGRADED = 4
    HOLD = 5
    DRAINING = 6
    STOPPED = 7


class Log(Protocol):
    """What the loop needs of a journal."""

    def append(self, record: Input, packed: bytes) -> int:
        """Take a record; it is durable once ``commit`` has returned its number or a greater one."""

    async def commit(self) -> int:
        """Make everything appended durable."""


class Publisher(Protocol):
    """What gets to see outcomes once they are durable (shared memory, sinks, the table)."""

    def publish(self, record: Input, outcome: Outcome, seq: int) -> None:
        """One applied input; must not block.  One that raises is dropped and told of."""


class FaultGuard(Protocol):
    """What the loop asks about inputs that break an invariant of the engine."""

    def told_before(self, record: Input) -> Outcome | None:
        """The answer to a fact that was taken out of the state and is told again."""

    def take_out(self, record: Input, seq: int, fault: BaseException) -> Outcome:
        """The state is that before the record again; the answer, and what to do.  KernelFault."""


class Asked(NamedTuple):
    """An effect with the input that it came from, which is durable."""

    effect: Effect
    record: Input


class _Entry:
    __slots__ = ("outcome", "record", "seq", "waiter")

    def __init__(self, record: Input, waiter: asyncio.Future[Outcome] | None) -> None:
        self.record = record
        self.waiter = waiter
        self.outcome: Outcome | None = None
        self.seq = 0

    def fail(self, error: BaseException) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(error)


class Runtime:
    """One engine, one journal, one venue, one inbox.

    ``start_ms`` is where the kernel's time goes on; 0 means at the newest input's time, or at the
    wall's where that is later.
    """

    def __init__(
        self, *, engine: Engine, log: Log, venue: Venue, clock: Clock, start_ms: int = 0
    ) -> None:
        self.engine = engine
        self.log = log
        self.venue = venue
        self.clock = clock
        #: The time of inputs, waits and ages.
        self.time = KernelClock(clock, max(1, engine.kernel.now_ms, start_ms or clock.now_ms()))
        self.publishers: list[Publisher] = []
        #: Called with the run state and the reason when it changes; one that raises is dropped.
        self.on_state: list[Callable[[RunState, str], None]] = []
        self.alarms = Alarms(self.time.now_ms)
        #: Called at once when an input was applied, before it is durable: to take note, not to act.
        self.on_applied: list[Callable[[Input, Outcome], None]] = []
        self.on_effect: dict[EffectKind, Callable[[Asked], None]] = {}
        #: What takes inputs that break an invariant out of the state; without it they end all.
        self.faults: FaultGuard | None = None
        #: Client ids of orders that wait to be sent or answered: nothing says when they leave.
        self.submitting: set[str] = set()
        self.processed = 0
        #: How long the newest commit took, and the longest of all.
        self.commit_ms = self.commit_max_ms = 0
        self.tasks_max = 0
        self._state = RunState.STARTING
        self._inbox: asyncio.Queue[_Entry] = asyncio.Queue(INBOX_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self._committing_since_ns = 0
        self._ended: NotRunning | None = None
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # -- in ----------------------------------------------------------------------------------------

    async def post(self, *records: Input) -> None:
        """Put inputs into the inbox, in this order.  NotRunning when the loop has ended."""
        for record in records:
            await self._put(_Entry(record, None))

    async def ask(self, record: Input) -> Outcome:
        """Put an input into the inbox and wait until it is applied and durable.

        NotRunning when the loop ends before: then it may have been journalled, or not.
        """
        waiter: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        await self._put(_Entry(record, waiter))
        return await waiter

    async def ask_all(self, *records: Input) -> tuple[Outcome, ...]:
        """The same for several, which share a commit."""
        return tuple(await asyncio.gather(*(self.ask(record) for record in records)))

    async def _put(self, entry: _Entry) -> None:
        if not isinstance(entry.record, (KernelIntent, VenueEvent)):
            raise OperatorError(
                "input refused",
                expected="a KernelIntent or a VenueEvent",
                found=shown(entry.record),
                action="normalise it first",
            )
        if self._ended is None:
            await self._inbox.put(entry)
        if self._ended is not None:  # also while it waited for room
            raise self._ended

    def stamped(self, record: Input) -> Input:
        """The record with our time of receipt."""
        return replace(record, received_ms=self.time.now_ms())

    # -- the loop ----------------------------------------------------------------------------------

    async def work(self) -> None:
        """Take batches from the inbox for ever; at the end whoever waits for an answer is told."""
        batch: list[_Entry] = []
        try:
            while True:
                batch = [await self._inbox.get()]
                while not self._inbox.empty() and len(batch) < BATCH_MAX:
                    batch.append(self._inbox.get_nowait())
                await self._step(batch)
        except BaseException as error:
            self._end(batch, error)
            raise

    def _end(self, batch: list[_Entry], error: BaseException) -> None:
        if not isinstance(error, asyncio.CancelledError):
            self.fail(_fault_of(error))  # before anybody who waits fails of it
        self._ended = NotRunning(
            "the loop has ended",
            expected="a running kernel",
            found=str(error) or type(error).__name__,
            action="what was asked may have been journalled; look at status after the restart",
        )
        while not self._inbox.empty():
            batch.append(self._inbox.get_nowait())
        for entry in batch:
            entry.fail(self._ended)

    async def _step(self, batch: list[_Entry]) -> None:
        for entry in batch:
            self._apply(entry)
        await self._commit()
        # Durable: from here on others may know.  Orders leave before anybody is told, and before
        # any question is asked: their tasks begin in the turn that is given to them.
        done = [(entry, _outcome_of(entry)) for entry in batch]
        asked = [Asked(e, entry.record) for entry, outcome in done for e in outcome.effects]
        orders = [one for one in asked if one.effect.kind in ORDERS]
        for one in orders:
            self._act(one)
        if orders:
            await asyncio.sleep(0)
        for entry, outcome in done:
            self.processed += 1
            self._publish(entry.record, outcome, entry.seq)
            if entry.waiter is not None and not entry.waiter.done():
                entry.waiter.set_result(outcome)
        for one in asked:
            if one.effect.kind not in ORDERS:
                self._act(one)

    async def _commit(self) -> None:
        self._committing_since_ns = start = self.clock.monotonic_ns()
        await self.log.commit()
        self._committing_since_ns = 0
        self.commit_ms = (self.clock.monotonic_ns() - start) // _NS_PER_MS
        self.commit_max_ms = max(self.commit_max_ms, self.commit_ms)

    @property
    def commit_latency_ms(self) -> int:
        """How long the newest commit took, or the one under way takes already."""
        since_ns = self._committing_since_ns
        if not since_ns:
            return self.commit_ms
        return max(self.commit_ms, (self.clock.monotonic_ns() - since_ns) // _NS_PER_MS)

    def _apply(self, entry: _Entry) -> None:
        try:
            record = entry.record = self.stamped(entry.record)
            if self.faults is not None and (told := self.faults.told_before(record)) is not None:
                entry.outcome = told
                return
            packed = self.engine.kernel.pack(record)  # once: what is kept is what is applied
            entry.seq = self.log.append(record, packed.pack())
        except _UNJOURNALLABLE as bad:
            # No journal record can hold it, so it is refused, and replay never meets it.
            entry.outcome = self._refused(entry.record, bad)
            return
        try:
            entry.outcome = self.engine.apply(record, packed)
        except ENGINE_FAULTS as fault:
            if self.faults is None:
                raise
            entry.outcome = self.faults.take_out(record, entry.seq, fault)
        for note in self.on_applied:
            note(record, entry.outcome)
        for effect in entry.outcome.effects:
            if effect.kind is EffectKind.SUBMIT:
                self.submitting.add(effect.client_order_id)

    def _refused(self, record: Input, bad: Exception) -> Outcome:
        """The refusal of a record that cannot be journalled; nothing has seen it."""
        kernel = self.engine.kernel
        field, found, expected = "record", str(bad), "a record that the journal can hold"
        if isinstance(bad, BadField):
            field, found, expected = bad.field, shown(bad.found), bad.expected
        is_intent, codes = isinstance(record, KernelIntent), KernelDiagnosticCode
        code = codes.INVALID_INTENT if is_intent else codes.INVALID_EVENT
        kernel.refusals[code] += 1
        done = KernelOutcome(
            accepted=False,
            code=code,
            severity=KernelSeverity.ERROR,
            trigger=record.command if isinstance(record, KernelIntent) else record.kind,
            event_seq=kernel.event_seq,
            details={"field": field, "value": found, "expected": expected},
        )
        return Outcome(done, self.engine.snapshot)

    def _publish(self, record: Input, outcome: Outcome, seq: int) -> None:
        for publisher in tuple(self.publishers):
            try:
                publisher.publish(record, outcome, seq)
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop trading
                self.publishers.remove(publisher)
                self.alarms.begin(
                    f"publisher {type(publisher).__name__}",
                    f"dropped at record {seq}: {type(error).__name__}: {error}",
                )

    def _act(self, asked: Asked) -> None:
        if asked.effect.kind in FOR_PUBLISHERS:
            return
        action = self.on_effect.get(asked.effect.kind)
        if action is not None:
            action(asked)

    # -- the state that others see -----------------------------------------------------------------

    @property
    def state(self) -> RunState:
        """Where in its life it is."""
        return self._state

    @state.setter
    def state(self, state: RunState) -> None:
        self.enter(state)

    def enter(self, state: RunState, why: str = "") -> None:
        """Go into a state, and say so to whoever listens."""
        if state is self._state:
            return
        self._state = state
        for listener, error in call_each(self.on_state, state, why):
            self.alarms.once("listener dropped", f"{listener!r}: {type(error).__name__}: {error}")

    # -- in the background -------------------------------------------------------------------------

    def spawn(self, work: Awaitable[None] | Coroutine[Any, Any, None], name: str) -> None:
        """Run a task in the background; if it fails, everything stops."""
        task = asyncio.ensure_future(work)
        if isinstance(task, asyncio.Task):
            task.set_name(name)
            self._tasks.add(task)
            task.add_done_callback(self._finished)
            self.tasks_max = max(self.tasks_max, len(self._tasks))
            if len(self._tasks) > TASKS_MANY:
                self.alarms.begin("background tasks", f"{len(self._tasks)} at once; newest: {name}")

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if len(self._tasks) < TASKS_MANY // 2:
            self.alarms.end("background tasks")
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self.fail(error, task.get_name())

    def fail(self, error: BaseException, where: str = "") -> None:
        """Remember the first failure and wake whoever waits for it."""
        if not self._failure.done():
            self._failure.set_exception(_unforeseen(error, where))

    @property
    def failed(self) -> BaseException | None:
        """The first failure, if there was one."""
        return self._failure.exception() if self._failure.done() else None

    async def failure(self) -> None:
        """Wait for the first failure and raise it."""
        await asyncio.shield(self._failure)  # cancelling one waiter leaves the others

    @property
    def background(self) -> frozenset[str]:
        """Names of the tasks that run."""
        return frozenset(task.get_name() for task in self._tasks)

    @property
    def tasks(self) -> int:
        """How many tasks run."""
        return len(self._tasks)

    async def stop_tasks(self, limit_s: float) -> None:
        """Cancel every background task and wait for its end, though not for ever."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=limit_s)
        _ = self.failed  # seen: whoever waited has raised it


def _outcome_of(entry: _Entry) -> Outcome:
    if entry.outcome is None:
        raise KernelFault("an input of a committed batch has no outcome")
    return entry.outcome


def _fault_of(error: BaseException) -> DitaError:
    """What ended the loop: whatever has no name yet is a fault of ours."""
    if isinstance(error, DitaError):
        return error
    fault = KernelFault(
        "the loop failed",
        expected="every failure to be mapped where it happens",
        found=f"{type(error).__name__}: {error}",
        action="report it; the journal is whole, a restart recovers",
    )
    fault.__cause__ = error
    return fault


def _unforeseen(error: BaseException, where: str) -> DitaError:
    """What ended a task: whatever has no name yet came from outside, or nobody thought of it."""
    if isinstance(error, DitaError):
        return error
    found = Unforeseen(
        f"a background task failed ({where})",
        expected="every failure to be mapped where it happens",
        found=f"{type(error).__name__}: {error}",
        action="report it; the journal is whole, and the next start holds entries",
    )
    found.__cause__ = error
    return found
