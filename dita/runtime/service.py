"""The service: a runtime with a stream, regular questions, a recovering start, a draining end.

`pink-ctl serve` runs one.  Everything here only feeds the loop's inbox or asks the venue on its
behalf; cadences come from the settings and are never slowed down.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from dita.contracts import (
    ENDED_STATUSES,
    ControlAction,
    KernelCommandType,
    KernelDiagnosticCode,
    KernelEventKind,
    KernelIntent,
    Record,
    TradeStage,
    VenueEvent,
    VenueOrderStatus,
)
from dita.engine import Outcome
from dita.errors import VenueError
from dita.reconcile import compare
from dita.runtime.fees import FeeCheck, FeeState, check_fees
from dita.runtime.inquiry import RETRY_MAX_S, Inquiry
from dita.runtime.looking import Look, look
from dita.runtime.loop import Input, RunState, Runtime
from dita.runtime.recovery import Recovery
from dita.runtime.watching import Watch
from dita.venues import AccessRefused

RECONNECT_MIN_S: Final = 0.2
RECONNECT_MAX_S: Final = 10.0
TICK_AGAIN_MAX_MS: Final = 5_000
#: Between balances while money is not known to be in the newest one: entries wait for that.
UNQUIET_S: Final = 1.0
#: Between looks at the fees; sooner while there was nothing to look at.
FEES_S: Final = 86_400
FEES_AGAIN_S: Final = 3_600

T = TypeVar("T")


class Cadence(Record, frozen=True, kw_only=True):
    """How often things are looked at."""

    tick_ms: int = 250
    in_flight_s: int = 2
    open_orders_s: int = 5
    positions_s: int = 30
    balance_s: int = 30
    income_s: int = 60
    drain_limit_s: int = 20


class Feeds:
    """When each feed last said something, by our clock; also a publisher: it sees every outcome."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.stream_ms = 0
        self.balance_ms = 0
        self.positions_ms = 0
        self.applied_ms = 0

    def publish(self, record: Input, outcome: Outcome, seq: int) -> None:
        """Note the time of what came, and that the balance is worth asking for."""
        now = record.received_ms
        self.applied_ms = now
        if isinstance(record, VenueEvent):
            if record.kind is KernelEventKind.ACCOUNT_UPDATE and outcome.kernel.accepted:
                self.balance_ms = now
            elif record.kind is KernelEventKind.POSITION:
                self.positions_ms = now
        done = outcome.kernel.transition
        if done is not None and (done.fee_delta or done.realized_delta or done.trueup_delta):
            self._service.balance_due.set()
        if outcome.kernel.code is KernelDiagnosticCode.ANCHOR_NOT_QUIET:
            self._service.balance_due.set()  # somebody waits for it
        stale = TradeStage.STALE_STATE_RECONCILING
        if done is not None and done.after is stale and done.before is not stale:
            self._service.doubt.set()


class Service:
    """Start, run, drain."""

    def __init__(self, runtime: Runtime, inquiry: Inquiry, cadence: Cadence) -> None:
        self.runtime = runtime
        self.inquiry = inquiry
        self.recovery = Recovery(runtime, inquiry)
        self.watch = Watch(runtime, inquiry, self._second_kernel)
        self.cadence = cadence
        self.balance_due = asyncio.Event()
        self.doubt = asyncio.Event()
        self.fees = FeeCheck()
        #: Off: differences at a start are settled too, but it holds until somebody has looked.
        self.reconcile_on_restart = True
        self.feeds = Feeds(self)
        self.stop_requested = asyncio.Event()
        #: Who holds, and why; "" when nobody does or it was before this start (the journal knows).
        self.held_because = ""
        self._controls = itertools.count(1)
        runtime.publishers.append(self.feeds)
        self._worker: asyncio.Task[None] | None = None

    # -- start -------------------------------------------------------------------------------------

    async def start(self, *, hold: str = "") -> None:
        """Connect, ask about everything that is not certain, then READY (or HOLD)."""
        runtime = self.runtime
        runtime.state = RunState.RECONCILING
        self._worker = asyncio.ensure_future(runtime.work())
        self._worker.set_name("loop")
        self._worker.add_done_callback(self._worker_ended)
        await self._connect()
        runtime.spawn(self._stream(), "stream")
        changed = await self._or_failure(self._what_changed())
        await self._or_failure(self._reconcile())
        await self._or_failure(self.watch.income())
        await self._or_failure(self.check_fees())
        for reason in (hold, changed):
            if reason:
                await self.control(ControlAction.HOLD, reason, "serve")
        self._back_to_work()
        for name, task in (
            ("ticks", self._ticks),
            ("in flight", self._in_flight),
            ("open orders", self._open_orders),
            ("positions", self._positions),
            ("balance", self._balance),
            ("income", self._income),
            ("fees", self._fees),
        ):
            runtime.spawn(task(), name)

    def _worker_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.runtime.fail(error, "loop")

    async def _what_changed(self) -> str:
        """With ``reconcile_on_restart`` off: what differs from the exchange before it is asked
        about, "" for nothing.  Everything is asked about all the same (design §8)."""
        if self.reconcile_on_restart or not self.runtime.engine.kernel.event_seq:
            return ""
        seen = await self._seen()
        found = compare(seen.ours, seen.theirs).to_settle
        if not found:
            return ""
        first = found[0]
        return (
            f"{len(found)} differences from the exchange at the restart, the first: "
            f"{first.name} {first.cause.value if first.cause else ''}, here {first.ours}, "
            f"there {first.theirs}; next: pink-ctl reconcile"
        )

    async def _seen(self) -> Look:
        """Both views; no answer is not "no difference", so it is asked again."""
        while True:
            try:
                return await look(self.runtime.engine, self.runtime.venue)
            except AccessRefused:
                raise
            except VenueError:
                await asyncio.sleep(RETRY_MAX_S)

    async def _or_failure(self, work: Awaitable[T]) -> T:
        """Await work, but end at once when something in the background fails."""
        task = asyncio.ensure_future(work)
        failure = asyncio.ensure_future(self.runtime.failure())
        await asyncio.wait({task, failure}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
        failure.cancel()
        if failure.done() and not failure.cancelled():
            failure.result()
        return await task

    def _back_to_work(self) -> None:
        held = "hold" in self.runtime.engine.kernel.freeze_causes()
        self.runtime.state = RunState.HOLD if held else RunState.READY

    async def _connect(self) -> None:
        wait_s = RECONNECT_MIN_S
        for _ in range(5):
            try:
                await self.runtime.venue.connect()
                return
            except AccessRefused:
                raise  # a wrong key stays wrong
            except VenueError:
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, RECONNECT_MAX_S)
        await self.runtime.venue.connect()

    # -- feeds -------------------------------------------------------------------------------------

    async def _stream(self) -> None:
        """Read the stream for ever; after each gap everything is asked before it is trusted."""
        wait_s = RECONNECT_MIN_S
        while True:
            try:
                async for event in self.runtime.venue.events():
                    self.feeds.stream_ms = self.runtime.clock.now_ms()
                    wait_s = RECONNECT_MIN_S
                    await self.runtime.post(event)
            except VenueError:
                pass  # the same as an end of the stream: counted below, and healed by asking
            if self.stop_requested.is_set():
                return
            self.runtime.state = RunState.DEGRADED
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, RECONNECT_MAX_S)
            self.runtime.spawn(self._heal(), "heal")

    async def _reconcile(self) -> None:
        await self.recovery.reconcile()
        self.feeds.positions_ms = self.runtime.clock.now_ms()

    async def _heal(self) -> None:
        await self._reconcile()
        if self.runtime.state is RunState.DEGRADED:
            self._back_to_work()

    async def _ticks(self) -> None:
        """Tell the engine that time passed, when that would change something."""
        told_ms = wait_ms = 0
        while True:
            await asyncio.sleep(self.cadence.tick_ms / 1000)
            due_ms, now_ms = self.runtime.engine.kernel.due_ms, self.runtime.clock.now_ms()
            if not due_ms or now_ms < max(due_ms, told_ms + wait_ms):
                continue
            # What stays due although it was told of waits for something else than time.
            wait_ms = min(2 * wait_ms + self.cadence.tick_ms, TICK_AGAIN_MAX_MS)
            if due_ms > told_ms:
                wait_ms = 0
            told_ms = now_ms
            await self.runtime.post(VenueEvent(kind=KernelEventKind.TICK, received_ms=1))

    async def _in_flight(self) -> None:
        """Look at every order that is not terminal: the stream may have lost its news."""
        await self._every(self.cadence.in_flight_s, self.ask_about_orders)

    async def ask_about_orders(self) -> None:
        """One round of questions about orders that are not terminal; lost cancels are repeated."""
        await self.recovery.cancel_again()
        for order in self.runtime.engine.kernel.open_orders():
            self.runtime.spawn(self.inquiry.order(order.order_no), f"order {order.order_no}")

    async def _open_orders(self) -> None:
        await self._every(self.cadence.open_orders_s, self.watch.open_orders)

    async def _positions(self) -> None:
        """Ask at the cadence, at once when a slot comes into doubt, and often while one is."""
        while True:
            often = self.watch.doubted_slots()
            wait_s = self.cadence.in_flight_s if often else self.cadence.positions_s
            await self._due(self.doubt, wait_s)
            self.doubt.clear()
            await self.watch.positions()
            self.feeds.positions_ms = self.runtime.clock.now_ms()  # also when there was none

    async def _income(self) -> None:
        await self._every(self.cadence.income_s, self.watch.income)

    async def _fees(self) -> None:
        while True:
            known = self.fees.state is not FeeState.UNKNOWN
            await asyncio.sleep(FEES_S if known else FEES_AGAIN_S)
            await self.check_fees()

    async def check_fees(self) -> None:
        """Compare real fees with the contract's rate; hold when they are far off (design §14)."""
        self.fees = await check_fees(self.runtime)
        if self.fees.state is FeeState.OFF:
            await self.control(ControlAction.HOLD, self.fees.text, "serve")

    async def _second_kernel(self, client_order_id: str) -> None:
        reason = f"an order that only a second kernel can have sent: {client_order_id}"
        await self.control(ControlAction.HOLD, reason, "serve")

    async def _balance(self) -> None:
        """Ask at the cadence, and soon after money moved: entries wait for a quiet anchor."""
        while True:
            unquiet = self.runtime.engine.kernel.ledger().ambiguous_count
            wait_s = min(UNQUIET_S, self.cadence.balance_s) if unquiet else self.cadence.balance_s
            await self._due(self.balance_due, wait_s)
            self.balance_due.clear()
            await self.inquiry.balance()

    async def _due(self, event: asyncio.Event, wait_s: float) -> None:
        """Wait for the event and a tick more, or for the cadence: then it is time to ask anyway."""
        try:
            # Not wait_for: in Python 3.11 it loses a cancel that comes together with the event.
            async with asyncio.timeout(wait_s):
                await event.wait()
        except TimeoutError:
            return
        await asyncio.sleep(self.cadence.tick_ms / 1000)

    @staticmethod
    async def _every(interval_s: int, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(interval_s)
            await work()

    # -- operator ----------------------------------------------------------------------------------

    async def control(
        self, action: ControlAction, reason: str, operator: str, **fields: Any
    ) -> Outcome:
        """HOLD, RESUME or DRAIN, journalled with who and why; ``fields`` of the intent: its id, the
        symbol, the deadline."""
        # Numbered: two of ours in one batch see the same event_seq, and must not share an id.
        number = next(self._controls)
        fields.setdefault("intent_id", f"control-{self.runtime.engine.kernel.event_seq}-{number}")
        outcome = await self.runtime.ask(
            KernelIntent(
                command=KernelCommandType.CONTROL,
                received_ms=1,
                action=action,
                reason=f"{operator}: {reason}",
                **fields,
            )
        )
        whole = not fields.get("asset")
        if (
            outcome.kernel.accepted
            and whole
            and action in (ControlAction.HOLD, ControlAction.RESUME)
        ):
            self.held_because = f"{operator}: {reason}" if action is ControlAction.HOLD else ""
        if self.runtime.state in (RunState.READY, RunState.HOLD):
            self._back_to_work()
        return outcome

    # -- end ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until a stop is requested; raises the first failure of anything in the background."""
        await self._or_failure(self._stopped())

    async def _stopped(self) -> None:
        await self.stop_requested.wait()

    async def drain(self) -> bool:
        """No new risk, entries taken back, unknowns settled up to a limit; True when all are."""
        self.runtime.state = RunState.DRAINING
        await self.control(ControlAction.DRAIN, "stop requested", "serve")
        limit = self.runtime.clock.monotonic_ns() + self.cadence.drain_limit_s * 10**9
        while not self._quiet() and self.runtime.clock.monotonic_ns() < limit:
            await self.ask_about_orders()
            await asyncio.sleep(min(0.1, self.cadence.tick_ms / 1000))
        quiet = self._quiet()
        await self.control(ControlAction.DRAINED, "drained", "serve")
        return quiet

    def _quiet(self) -> bool:
        for order in self.runtime.engine.kernel.open_orders():
            entry = order.role == 1 and order.status not in ENDED_STATUSES
            if entry or order.status in (VenueOrderStatus.UNKNOWN, VenueOrderStatus.REQUESTED):
                return False
        return True

    async def close(self) -> None:
        """Stop every task and let go of the venue."""
        self.stop_requested.set()
        await self.runtime.stop_tasks()
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        await self.runtime.venue.close()
        self.runtime.state = RunState.STOPPED
