"""The loop: one inbox, and for each batch of inputs journal, apply, sync, publish, act.

Everything that changes state comes through the inbox and through the journal; nothing is published
or sent before the journal is synced (design §3).  The loop does what effects ask for in tasks of
its own, and whatever ends one of them unexpectedly stops the process.  It knows no venue's wire and
prints nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from enum import IntEnum
from typing import Any, Protocol

from msgspec.structs import replace

from dita.clock import Clock
from dita.contracts import (
    ControlAction,
    Effect,
    EffectKind,
    KernelCommandType,
    KernelEventKind,
    KernelIntent,
    VenueEvent,
)
from dita.engine import Engine, Outcome
from dita.errors import BadField, DitaError, KernelFault
from dita.venues import NotSent, OrderRef, OutcomeUnknown, SubmitOrder, Venue

Input = KernelIntent | VenueEvent

#: How the engine ends when an invariant is broken: by its own word, or as pure code does that was
#: handed something it does not expect.
ENGINE_FAULTS = (KernelFault, ArithmeticError, AssertionError, LookupError, TypeError, ValueError)

INBOX_MAX = 65_536
BATCH_MAX = 512


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
        """One applied input; must not block and must not raise."""


class FaultGuard(Protocol):
    """What the loop asks about inputs that break an invariant of the engine."""

    def told_before(self, record: Input) -> Outcome | None:
        """The answer to a fact that was taken out of the state and is told again."""

    def take_out(self, record: Input, seq: int, fault: BaseException) -> Outcome:
        """The state is that before the record again; the answer, and what to do.  KernelFault."""


class _Entry:
    __slots__ = ("outcome", "record", "seq", "waiter")

    def __init__(self, record: Input, waiter: asyncio.Future[Outcome] | None) -> None:
        self.record = record
        self.waiter = waiter
        self.outcome: Outcome | None = None
        self.seq = 0


class Runtime:
    """One engine, one journal, one venue, one inbox."""

    def __init__(self, *, engine: Engine, log: Log, venue: Venue, clock: Clock) -> None:
        self.engine = engine
        self.log = log
        self.venue = venue
        self.clock = clock
        self._state = RunState.STARTING
        #: Called with the run state and the reason when it changes.
        self.on_state: list[Callable[[RunState, str], None]] = []
        #: Called at once when an input was applied, before it is durable: to take note, not to act.
        self.on_applied: list[Callable[[Input, Outcome], None]] = []
        #: What takes inputs that break an invariant out of the state; without it they end all.
        self.faults: FaultGuard | None = None
        self.publishers: list[Publisher] = []
        self.on_effect: dict[EffectKind, Callable[[Effect], Awaitable[None]]] = {
            EffectKind.SUBMIT: self._submit,
            EffectKind.CANCEL: self._cancel,
        }
        #: Client ids of orders that wait to be sent or answered: nothing says when they leave.
        self.submitting: set[str] = set()
        self._inbox: asyncio.Queue[_Entry] = asyncio.Queue(INBOX_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.processed = 0

    # -- its life ----------------------------------------------------------------------------------

    @property
    def state(self) -> RunState:
        """Where it is in its life."""
        return self._state

    @state.setter
    def state(self, state: RunState) -> None:
        self.enter(state)

    def enter(self, state: RunState, why: str = "") -> None:
        """Change the state, and say why."""
        if state is self._state:
            return
        self._state = state
        for listener in self.on_state:
            listener(state, why)

    # -- in ----------------------------------------------------------------------------------------

    async def post(self, *records: Input) -> None:
        """Put inputs into the inbox, in this order."""
        for record in records:
            await self._inbox.put(_Entry(record, None))

    async def ask(self, record: Input) -> Outcome:
        """Put an input into the inbox and wait until it is applied and durable."""
        waiter: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        await self._inbox.put(_Entry(record, waiter))
        return await waiter

    def stamped(self, record: Input) -> Input:
        """The record with our time of receipt; time never goes back."""
        now = max(self.clock.now_ms(), self.engine.kernel.now_ms, 1)
        return replace(record, received_ms=now)

    # -- the loop ----------------------------------------------------------------------------------

    async def work(self) -> None:
        """Take batches from the inbox for ever."""
        while True:
            batch = [await self._inbox.get()]
            while not self._inbox.empty() and len(batch) < BATCH_MAX:
                batch.append(self._inbox.get_nowait())
            await self._step(batch)

    async def drain_inbox(self) -> None:
        """Work until the inbox is empty; for recovery, before ``work`` runs."""
        while not self._inbox.empty():
            batch: list[_Entry] = []
            while not self._inbox.empty() and len(batch) < BATCH_MAX:
                batch.append(self._inbox.get_nowait())
            await self._step(batch)

    async def _step(self, batch: list[_Entry]) -> None:
        for entry in batch:
            self._apply(entry)
        await self.log.commit()
        # Durable: from here on others may know.
        for entry in batch:
            outcome = entry.outcome
            if outcome is None:
                raise KernelFault("an input of a committed batch has no outcome")
            self.processed += 1
            for publisher in self.publishers:
                publisher.publish(entry.record, outcome, entry.seq)
            if entry.waiter is not None and not entry.waiter.done():
                entry.waiter.set_result(outcome)
            for effect in outcome.effects:
                self._act(effect)

    def _apply(self, entry: _Entry) -> None:
        entry.record = self.stamped(entry.record)
        if self.faults is not None:
            entry.outcome = self.faults.told_before(entry.record)
            if entry.outcome is not None:
                return
        try:
            packed = self.engine.kernel.pack(entry.record).pack()
        except BadField:
            # No journal record can hold it; it is refused by name, and replay never meets it.
            entry.outcome = self.engine.apply(entry.record)
            return
        entry.seq = self.log.append(entry.record, packed)
        try:
            entry.outcome = self.engine.apply(entry.record)
        except ENGINE_FAULTS as fault:
            if self.faults is None:
                raise
            entry.outcome = self.faults.take_out(entry.record, entry.seq, fault)
        for listener in self.on_applied:
            listener(entry.record, entry.outcome)
        for effect in entry.outcome.effects:
            if effect.kind is EffectKind.SUBMIT:
                self.submitting.add(effect.client_order_id)

    # -- effects -----------------------------------------------------------------------------------

    def _act(self, effect: Effect) -> None:
        action = self.on_effect.get(effect.kind)
        if action is not None:
            self.spawn(action(effect), f"{effect.kind.name} {effect.client_order_id}")

    def spawn(self, work: Awaitable[None] | Coroutine[Any, Any, None], name: str) -> None:
        """Run a task in the background; if it fails, everything stops."""
        task = asyncio.ensure_future(work)
        if isinstance(task, asyncio.Task):
            task.set_name(name)
            self._tasks.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self.fail(error, task.get_name())

    def fail(self, error: BaseException, where: str) -> None:
        """Remember the first failure and wake whoever waits for it."""
        if self._failure.done():
            return
        if not isinstance(error, DitaError):
            fault = KernelFault(
                f"a background task failed ({where})",
                expected="every failure to be mapped where it happens",
                found=f"{type(error).__name__}: {error}",
                action="report it; the journal is whole, a restart recovers",
            )
            fault.__cause__ = error
            error = fault
        self._failure.set_exception(error)

    async def failure(self) -> None:
        """Wait for the first failure and raise it."""
        await asyncio.shield(self._failure)  # cancelling one waiter leaves the others

    @property
    def background(self) -> frozenset[str]:
        """Names of the tasks that run."""
        return frozenset(task.get_name() for task in self._tasks)

    async def stop_tasks(self) -> None:
        """Cancel every background task and wait for its end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._failure.done():
            self._failure.exception()  # seen: whoever waited has raised it

    async def _submit(self, effect: Effect) -> None:
        slot = self.engine.kernel.slot(effect.slot_id)
        order = SubmitOrder(
            client_order_id=effect.client_order_id,
            asset=effect.asset,
            side=effect.side,
            order_type=effect.order_type,
            quantity_e8=effect.quantity_e8,
            limit_price_e10=effect.price_e10,
            reduce_only=effect.reduce_only,
            leverage=slot.leverage,
        )
        try:
            events = await self.venue.submit(order)
        except NotSent:
            events = (self._about(effect, KernelEventKind.ORDER_REJECT),)
        except OutcomeUnknown:
            events = (self._about(effect, KernelEventKind.ORDER_UNKNOWN),)
        finally:
            self.submitting.discard(order.client_order_id)
        await self.post(*events)

    async def _cancel(self, effect: Effect) -> None:
        ref = OrderRef(
            asset=effect.asset,
            client_order_id=effect.client_order_id,
            venue_order_id=effect.venue_order_id,
        )
        try:
            events = await self.venue.cancel(ref)
        except (NotSent, OutcomeUnknown):
            # Whatever became of it, the order itself has to be looked at.
            events = (self._about(effect, KernelEventKind.CANCEL_REJECT),)
        await self.post(*events)

    def _about(self, effect: Effect, kind: KernelEventKind) -> VenueEvent:
        return VenueEvent(
            kind=kind,
            received_ms=1,
            asset=effect.asset,
            client_order_id=effect.client_order_id,
        )

    # -- operator ----------------------------------------------------------------------------------

    async def hold(self, reason: str, operator: str, intent_id: str) -> Outcome:
        """No new entries; working ones are cancelled, exits go on."""
        return await self._control(ControlAction.HOLD, reason, operator, intent_id)

    async def resume(self, reason: str, operator: str, intent_id: str) -> Outcome:
        """Entries may come again."""
        return await self._control(ControlAction.RESUME, reason, operator, intent_id)

    async def _control(
        self, action: ControlAction, reason: str, operator: str, intent_id: str
    ) -> Outcome:
        return await self.ask(
            KernelIntent(
                command=KernelCommandType.CONTROL,
                received_ms=1,
                intent_id=intent_id,
                action=action,
                reason=f"{operator}: {reason}",
            )
        )
