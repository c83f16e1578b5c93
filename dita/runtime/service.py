"""The service: a runtime with a stream, regular questions, a recovering start, a draining end.

`pink-ctl serve` runs one.  Everything here only feeds the loop's inbox or asks the venue on its
behalf; cadences come from the settings and are never slowed down.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, Final

from dita.contracts import (
    ENDED_STATUSES,
    ControlAction,
    KernelCommandType,
    KernelEventKind,
    KernelIntent,
    OrderRole,
    Record,
    RiskLimit,
    VenueEvent,
    VenueOrderStatus,
)
from dita.engine import Outcome
from dita.errors import NotRunning, VenueError
from dita.reconcile import compare
from dita.runtime.feeds import Feeds
from dita.runtime.gaps import ACCESS_EVERY_S, RECONNECT_MAX_S, RECONNECT_MIN_S, Gaps
from dita.runtime.loop import RunState, Runtime
from dita.runtime.orders import Orders
from dita.runtime.queries.both_views import BothViews, read_both_views
from dita.runtime.queries.fee_gate import FeeCheck, FeeState, check_fees
from dita.runtime.queries.order_query import OrderQuery
from dita.runtime.queries.polling import Poller
from dita.runtime.queries.questions import RETRY_MAX_S
from dita.runtime.readiness import Readiness
from dita.runtime.recovery import Recovery
from dita.venues import AccessRefused, QueryFailed

#: With nothing open a venue that cannot be reached so often ends the start.
CONNECTS_MAX: Final = 6
TICK_AGAIN_MAX_MS: Final = 5_000
#: Between balances while money is not known to be in the newest one: entries wait for that.
UNQUIET_S: Final = 1.0
#: Between looks at the fees; sooner while there was nothing to look at.
FEES_S: Final = 86_400
FEES_AGAIN_S: Final = 3_600
#: A process that stood still for so long may have missed anything.
STOOD_STILL_MS: Final = 10_000
#: What the end takes beyond the drain: a disk or a network that hangs must not keep us.
GRACE_S: Final = 5.0
#: One step of it.
CLOSE_S: Final = 2.0


class Cadence(Record, frozen=True, kw_only=True):
    """How often things are looked at."""

    tick_ms: int = 250
    in_flight_s: int = 2
    open_orders_s: int = 5
    positions_s: int = 30
    balance_s: int = 30
    income_s: int = 60
    drain_limit_s: int = 20


class Service:
    """Start, run, drain."""

    def __init__(self, runtime: Runtime, order_query: OrderQuery, cadence: Cadence) -> None:
        self.runtime = runtime
        self.order_query = order_query
        self.cadence = cadence
        self.questions = order_query.questions
        self.orders = Orders(runtime, self.questions.access)
        self.recovery = Recovery(runtime, order_query, self.orders)
        self.poller = Poller(runtime, order_query, self._second_kernel)
        self.readiness = Readiness(runtime, self.questions.access, self._gate)
        self.gaps = Gaps(runtime, order_query, self.recovery, self.readiness, self._back_to_work)
        self.feeds = Feeds()
        self.balance_due = self.feeds.balance_due
        self.fees = FeeCheck()
        #: What entries may risk, by limit, 0 for none; told to the kernel at the start.
        self.limits: dict[RiskLimit, int] = {}
        #: Off: differences at a start are settled too, but it holds until somebody has looked.
        self.reconcile_on_restart = True
        self.stop_requested = asyncio.Event()
        #: Who holds, and why; "" when nobody does or it was before this start (the journal knows).
        self.held_because = ""
        runtime.publishers.append(self.feeds)
        self._numbers = itertools.count(1)
        self._worker: asyncio.Task[None] | None = None
        self._end_ns = 0
        self._was_used = runtime.engine.kernel.event_seq > 0

    # -- start -------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Start the loop, and before anything else close the gate for new risk."""
        if self._worker is None:
            self.runtime.enter(RunState.RECONCILING)
            self._worker = asyncio.ensure_future(self.runtime.work())
            self._worker.set_name("loop")
            await self._or_stop(self.readiness.begin())
            await self._or_stop(self._set_limits())

    async def _set_limits(self) -> None:
        """Journal the limits that are not the kernel's already."""
        now = self.runtime.engine.kernel.limits()
        for limit, amount in self.limits.items():
            if now.get(limit, 0) != amount:
                await self.runtime.ask(
                    KernelIntent(
                        command=KernelCommandType.CONTROL,
                        received_ms=1,
                        intent_id=self.new_id("limit"),
                        action=ControlAction.LIMIT,
                        limit=limit,
                        amount=amount,
                        reason="settings",
                    )
                )

    async def start(self, *, hold: str = "", stay: bool = True) -> None:
        """Connect, ask about everything that is not certain, then READY (or HOLD).

        Returns early when a stop is requested.  Without ``stay``, and where nothing is open, a
        venue that cannot be reached or refuses us ends it: VenueError, AccessRefused.
        """
        await self.begin()
        await self._or_stop(self._start(hold, stay=stay))

    async def _start(self, hold: str, *, stay: bool) -> None:
        if hold:
            await self.control(ControlAction.HOLD, hold, "serve")
        for name, task in (
            ("ticks", self._ticks),
            ("access", self.gaps.regain_access),
            ("readiness", self.gaps.judge),
        ):
            self.runtime.spawn(task(), name)
        await self._connect(stay=stay)
        with contextlib.suppress(QueryFailed):  # else with the questions that follow
            await self.order_query.server_time_ms()  # before anything that it dates
        changed = await self._what_changed()
        if changed:
            await self.control(ControlAction.HOLD, changed, "serve")
        for name, task in (
            ("stream", self.gaps.stream),
            ("heal", self.gaps.heal),
            ("in flight", self._in_flight),
            ("open orders", self._open_orders),
            ("positions", self._positions),
            ("balance", self._balance),
        ):
            self.runtime.spawn(task(), name)
        await self.gaps.first_healed.wait()
        await self.poller.income()
        await self.check_fees()
        self.runtime.spawn(self._income(), "income")
        self.runtime.spawn(self._fees(), "fees")
        self.readiness.is_started = True
        await self.gaps.judged()
        while not self.readiness.is_ready:
            await asyncio.sleep(self.cadence.tick_ms / 1000)

    async def _what_changed(self) -> str:
        """With ``reconcile_on_restart`` off: what differs from the exchange before it is asked
        about, "" for nothing.  Everything is asked about all the same (design §8)."""
        if self.reconcile_on_restart or not self._was_used:
            return ""
        seen = await self._seen()
        found = compare(seen.ours, seen.theirs).to_settle
        if not found:
            return ""
        first = found[0]
        return (
            f"{len(found)} differences from the exchange at the restart, the first: "
            f"{first.name} {first.cause.value if first.cause else ''}, here {first.ours}, "
            f"there {first.theirs}; `pink-ctl reconcile` shows them"
        )

    async def _seen(self) -> BothViews:
        """Both views; no answer is not "no difference", so it is asked again."""

        async def both() -> BothViews:
            return await read_both_views(self.runtime.engine, self.runtime.venue)

        while True:
            try:
                return await self.questions.once("both views", both)
            except VenueError:
                await asyncio.sleep(RETRY_MAX_S)

    async def _or_stop(self, work: Awaitable[Any]) -> bool:
        """Await work; at once, raise what fails in the background, or return when a stop is
        requested.  True when the work was done."""
        task: asyncio.Future[Any] = asyncio.ensure_future(work)
        failure = asyncio.ensure_future(self.runtime.failure())
        stop = asyncio.ensure_future(self.stop_requested.wait())
        try:
            await asyncio.wait({task, failure, stop}, return_when=asyncio.FIRST_COMPLETED)
            if self.runtime.failed is not None:
                raise self.runtime.failed
            if task.done():
                task.result()
                return True
            return False
        finally:
            for one in (task, failure, stop):
                one.cancel()
            await asyncio.wait({task, failure, stop}, timeout=CLOSE_S)

    def _back_to_work(self) -> None:
        held = "hold" in self.runtime.engine.kernel.freeze_causes()
        self.runtime.enter(RunState.HOLD if held else RunState.READY, self.held_because)

    def _has_exposure(self) -> bool:
        kernel = self.runtime.engine.kernel
        return bool(kernel.active_slots() or kernel.open_orders())

    async def _connect(self, *, stay: bool) -> None:
        """Connect; with something open try for ever, and so that a person hears of it."""
        wait_s = RECONNECT_MIN_S
        for tried in itertools.count(1):
            try:
                await self.runtime.venue.connect()
                break
            except AccessRefused as refused:
                if not (stay and self._has_exposure()):
                    raise  # a wrong key stays wrong
                self.questions.access.refused(refused)
                await asyncio.sleep(ACCESS_EVERY_S)
            except VenueError as failed:
                if tried >= CONNECTS_MAX:
                    if not (stay and self._has_exposure()):
                        raise
                    self.runtime.alarms.begin("venue", f"it cannot be reached: {failed}")
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, RECONNECT_MAX_S)
        self.questions.access.granted()
        self.runtime.alarms.end("venue")

    # -- regular questions -------------------------------------------------------------------------

    async def _ticks(self) -> None:
        """Tell the engine that time passed, when that would change something."""
        told_ms = wait_ms = 0
        last_ms = self.runtime.time.now_ms()
        while True:
            await asyncio.sleep(self.cadence.tick_ms / 1000)
            due_ms, now_ms = self.runtime.engine.kernel.due_ms, self.runtime.time.now_ms()
            if now_ms - last_ms > STOOD_STILL_MS + self.cadence.tick_ms:
                await self.gaps.gap(f"this process stood still for {(now_ms - last_ms) // 1_000} s")
            last_ms = now_ms
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
        await self.orders.cancel_again()
        for order in self.runtime.engine.kernel.open_orders():
            self.order_query.want_order(order.order_no)

    async def _open_orders(self) -> None:
        await self._every(self.cadence.open_orders_s, self.poller.open_orders)

    async def _positions(self) -> None:
        """Ask at the cadence, at once when a position is new or in doubt, and often in doubt."""
        while True:
            often = self.poller.doubted_slots()
            wait_s = self.cadence.in_flight_s if often else self.cadence.positions_s
            await self._due(self.feeds.positions_due, wait_s)
            self.feeds.positions_due.clear()
            await self.poller.positions()

    async def _income(self) -> None:
        await self._every(self.cadence.income_s, self.poller.income)

    async def _fees(self) -> None:
        while True:
            known = self.fees.state is not FeeState.UNKNOWN
            await asyncio.sleep(FEES_S if known else FEES_AGAIN_S)
            await self.check_fees()

    async def check_fees(self) -> None:
        """Compare real fees with the contract's rate; hold when they are far off (design §14)."""
        self.fees = await check_fees(self.runtime, self.questions)
        if self.fees.state is FeeState.OFF:
            await self.control(ControlAction.HOLD, self.fees.text, "serve")

    async def _second_kernel(self, client_order_id: str) -> None:
        reason = (
            "an order of a kernel's that this journal does not know (it lost its end, or a second"
            f" kernel runs): {client_order_id}"
        )
        await self.control(ControlAction.HOLD, reason, "serve")

    async def _balance(self) -> None:
        """Ask at the cadence, and soon after money moved: entries wait for a quiet anchor."""
        while True:
            unquiet = self.runtime.engine.kernel.ledger().ambiguous_count
            wait_s = min(UNQUIET_S, self.cadence.balance_s) if unquiet else self.cadence.balance_s
            await self._due(self.balance_due, wait_s)
            self.balance_due.clear()
            await self.order_query.balance()

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

    # -- control -----------------------------------------------------------------------------------

    def new_id(self, name: str) -> str:
        """An intent id that no other intent has.

        Numbered: two in one batch see the same event_seq, and one of them would be a repetition.
        """
        return f"{name}-{self.runtime.engine.kernel.event_seq}-{next(self._numbers)}"

    async def _gate(self, action: ControlAction, reason: str) -> Outcome:
        return await self.control(action, reason, "serve")

    async def control(
        self,
        action: ControlAction,
        reason: str,
        operator: str,
        *,
        asset: str = "",
        intent_id: str = "",
        deadline_ms: int = 0,
    ) -> Outcome:
        """HOLD, RESUME, DRAIN and the gate, journalled with who and why."""
        outcome = await self.runtime.ask(
            KernelIntent(
                command=KernelCommandType.CONTROL,
                received_ms=1,
                intent_id=intent_id or self.new_id("control"),
                action=action,
                asset=asset,
                reason=f"{operator}: {reason}",
                deadline_ms=deadline_ms,
            )
        )
        if action in (ControlAction.HOLD, ControlAction.RESUME) and not asset:
            if outcome.kernel.accepted:
                self.held_because = f"{operator}: {reason}" if action is ControlAction.HOLD else ""
            if self.runtime.state in (RunState.READY, RunState.HOLD):
                self._back_to_work()
        return outcome

    # -- end ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until a stop is requested; raises the first failure of anything in the background."""
        await self._or_stop(asyncio.Event().wait())

    def left_s(self) -> float:
        """What a step of the end may take now."""
        now_ns = self.runtime.clock.monotonic_ns()
        self._end_ns = self._end_ns or now_ns + int(GRACE_S * 10**9)
        return min(CLOSE_S, max(0.1, (self._end_ns - now_ns) / 10**9))

    async def drain(self) -> bool:
        """No new risk, entries taken back, unknowns settled; True when all are.

        Takes no longer than the limit, whatever the disk or the venue do.
        """
        self.readiness.close()
        self.runtime.enter(RunState.DRAINING)
        limit_s = self.cadence.drain_limit_s
        self._end_ns = self.runtime.clock.monotonic_ns() + int((limit_s + GRACE_S) * 10**9)
        try:
            async with asyncio.timeout(limit_s):
                await self.control(ControlAction.DRAIN, "stop requested", "serve")
                while not self._quiet():
                    await self.ask_about_orders()
                    await asyncio.sleep(min(0.1, self.cadence.tick_ms / 1000))
        except TimeoutError:
            pass  # what is not settled is asked about at the next start
        quiet = self._quiet()
        try:
            async with asyncio.timeout(self.left_s()):
                await self.control(ControlAction.DRAINED, "drained", "serve")
        except TimeoutError:
            return False  # the journal does not answer
        return quiet

    def _quiet(self) -> bool:
        for order in self.runtime.engine.kernel.open_orders():
            entry = order.role is OrderRole.ENTRY and order.status not in ENDED_STATUSES
            if entry or order.status in (VenueOrderStatus.UNKNOWN, VenueOrderStatus.REQUESTED):
                return False
        return True

    async def hold_for_a_look(self, why: str) -> None:
        """Hold entries because something failed that nobody foresaw, as far as that still goes."""
        try:
            async with asyncio.timeout(self.left_s()):
                await self.control(ControlAction.HOLD, why, "serve")
        except (TimeoutError, NotRunning):
            return  # the start budget is the second line: too many such ends hold as well

    async def close(self) -> None:
        """Stop every task and let go of the venue."""
        self.stop_requested.set()
        await self.runtime.stop_tasks(self.left_s())
        if self._worker is not None:
            self._worker.cancel()
            # What ended it was raised from run; here it is only to be over.
            ending = asyncio.gather(self._worker, return_exceptions=True)
            await asyncio.wait({ending}, timeout=self.left_s())
        try:
            async with asyncio.timeout(self.left_s()):
                await self.runtime.venue.close()
        except (TimeoutError, VenueError):
            pass  # it goes with the process
        self.runtime.enter(RunState.STOPPED)
