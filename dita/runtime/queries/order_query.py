"""Asking the venue: about an order until it is settled, positions, the balance.

Answers come back to the loop as inputs.  A question that fails is asked again with back-off and
never read as "nothing": an order is absent only when it is proven absent (design P3), a position is
flat only when a whole answer says so.  One question per order, and one of each other kind, is in
flight at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from dita.contracts import (
    ENDED_STATUSES,
    EffectKind,
    KernelDiagnosticCode,
    KernelEventKind,
    VenueEvent,
    VenueOrderStatus,
)
from dita.contracts import VenueOrder as Order
from dita.engine import Outcome
from dita.identity import plain_symbol
from dita.runtime.loop import Asked, Input, Runtime
from dita.runtime.queries.marks import Marks
from dita.runtime.queries.questions import RETRY_MAX_S, RETRY_MIN_S, Questions, Shared
from dita.runtime.queries.unreadable import UnreadablePositions
from dita.runtime.relevance import PositionAnswers
from dita.venues import (
    FillReport,
    OrderRef,
    OrderReport,
    PositionReport,
    QueryFailed,
    unreadable_in,
)
from dita.venues.absence import ABSENCE_FENCE_MS, find_or_prove_absent
from dita.venues.evidence import (
    balance_event,
    fills_cover,
    final_event,
    found_event,
    position_events,
)

#: Look this far back for an order's fills and for orders of a symbol.
LOOK_BACK_MS: Final = 7 * 86_400_000 - 60_000
#: Between two questions of a kind that nobody waits for.
POSITIONS_PAUSE_S: Final = 1.0
BALANCE_PAUSE_S: Final = 1.0
#: Questions about orders at a time; those that closed what was ours from outside wait for own ones.
OWN_AT_A_TIME: Final = 8
OTHERS_AT_A_TIME: Final = 2
#: The kernel is told the venue's time when it differs so much from what it believes.
TIME_OFF_MS: Final = 2_000
TIME_PAUSE_S: Final = 5.0


class OrderQuery:
    """The questions of one runtime."""

    def __init__(self, runtime: Runtime, *, absence_fence_ms: int = ABSENCE_FENCE_MS) -> None:
        self.runtime = runtime
        self.absence_fence_ms = absence_fence_ms
        self.questions = Questions(runtime)
        self.marks = Marks(runtime)
        self.unreadable = UnreadablePositions(runtime)
        self.answers = PositionAnswers(runtime.engine, runtime.time.now_ms)
        #: When positions and the balance were answered last, in kernel time; 0 for never.
        self.positions_ms = 0
        self._orders: dict[int, Shared] = {}
        self._own_turns = asyncio.Semaphore(OWN_AT_A_TIME)
        self._other_turns = asyncio.Semaphore(OTHERS_AT_A_TIME)
        self._positions = Shared(runtime, "positions", self._ask_positions, POSITIONS_PAUSE_S)
        self._balance = Shared(runtime, "balance", self._ask_balance, BALANCE_PAUSE_S)
        self._time = Shared(runtime, "time", self._sync_time, TIME_PAUSE_S)
        self._journal_all = False
        #: Symbols whose next answer the kernel gets in any case, by their plain names.
        self._wanted: dict[str, str] = {}
        runtime.on_applied += [self.answers.note, self._note]
        runtime.on_effect.update(
            {
                EffectKind.QUERY_ORDER: self._order_effect,
                EffectKind.FINALISE: self._order_effect,
                EffectKind.QUERY_POSITION: self._position_effect,
                EffectKind.QUERY_BALANCE: self._balance_effect,
            }
        )

    def _note(self, record: Input, outcome: Outcome) -> None:
        if outcome.kernel.code is KernelDiagnosticCode.FOREIGN_POSITION and record.asset:
            # Perhaps it is gone: the venue does not mention what is flat.
            self._want_position(record.asset)
        if isinstance(record, VenueEvent) and outcome.kernel.details.get("field") == "time":
            self._time.want()  # it came from the future: whose clock is off?

    def _order_effect(self, asked: Asked) -> None:
        self.want_order(asked.effect.order_no)

    def _position_effect(self, asked: Asked) -> None:
        record = asked.record
        if not isinstance(record, VenueEvent) or record.kind is not KernelEventKind.POSITION:
            self._want_position(asked.effect.asset)  # an answer never asks itself again

    def _want_position(self, asset: str) -> None:
        if asset:
            self._wanted[plain_symbol(asset)] = asset
        self._positions.want()

    def _balance_effect(self, asked: Asked) -> None:
        self._balance.want()

    # -- orders ------------------------------------------------------------------------------------

    async def order(self, order_no: int) -> None:
        """Ask from now on about an order until the kernel has nothing more to ask about it."""
        await self._order_question(order_no).ask()

    def want_order(self, order_no: int) -> None:
        """Have an order asked about, unless somebody is at it."""
        if not self.is_asking(order_no):
            self._order_question(order_no).want()

    def is_asking(self, order_no: int) -> bool:
        """Is somebody asking about this order now?"""
        question = self._orders.get(order_no)
        return question is not None and question.is_running

    def _order_question(self, order_no: int) -> Shared:
        question = self._orders.get(order_no)
        if question is None:
            self._orders = {no: q for no, q in self._orders.items() if q.is_running}

            async def work() -> None:
                await self._until_settled(order_no)

            question = self._orders[order_no] = Shared(self.runtime, f"order {order_no}", work)
        return question

    async def _until_settled(self, order_no: int) -> None:
        wait_s = RETRY_MIN_S

        async def pause() -> None:
            nonlocal wait_s
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, RETRY_MAX_S)

        while (order := self._unsettled(order_no)) is not None:
            try:
                report = await self._find(order, pause)
                if report is None:
                    await self.runtime.ask(self._absent(order))
                    return
                if await self._report(order, report):
                    return
            except QueryFailed:
                pass  # asked again, from the beginning
            await pause()

    def _unsettled(self, order_no: int) -> Order | None:
        """The order, unless there is nothing more to ask about it."""
        order = self.runtime.engine.kernel.order(order_no)
        is_over = order is None or (order.final and order.status in ENDED_STATUSES)
        return None if is_over else order

    async def _find(self, order: Order, pause: Callable[[], Awaitable[None]]) -> OrderReport | None:
        """The order as the venue has it, or None when it is proven absent.

        QueryFailed when something was heard of it meanwhile: then it is there, and it is asked for.
        """

        async def wait(rounds: int) -> bool:
            await pause()
            now = self._unsettled(order.order_no)
            return now is not None and _heard_of(now) == _heard_of(order)

        return await find_or_prove_absent(
            self._in_turn(order),
            self._ref(order),
            order.side,
            fence_ms=self.absence_fence_ms,
            may_still_leave=lambda: order.client_order_id in self.runtime.submitting,
            wait=wait,
        )

    def _ref(self, order: Order) -> OrderRef:
        return OrderRef(
            asset=self._asset(order),
            client_order_id=order.client_order_id,
            venue_order_id=order.venue_order_id,
        )

    def _asset(self, order: Order) -> str:
        return self.runtime.engine.kernel.asset_of(order.trade_no)

    async def _report(self, order: Order, report: OrderReport) -> bool:
        """Hand a report to the kernel; True when nothing more is to be asked now."""
        if report.status not in ENDED_STATUSES:
            await self.runtime.ask(found_event(report, 1))
            return True
        asset, since = self._asset(order), max(1, report.updated_ms - LOOK_BACK_MS)
        fills = await self._in_turn(order).fills(asset, since)
        if not fills_cover(report, fills):
            return False  # the fill history lags behind the order
        await self.runtime.ask(final_event(report, fills, 1))
        return True

    async def server_time_ms(self) -> int:
        """The venue's clock; the kernel is told when it believed something else.  QueryFailed."""
        venue_ms = await self.questions.once("server time", self.runtime.venue.server_time_ms)
        believed_ms = self.runtime.engine.kernel.ledger().exchange_offset_ms
        if abs(venue_ms - self.runtime.time.now_ms() - believed_ms) > TIME_OFF_MS:
            sync = VenueEvent(kind=KernelEventKind.TICK, received_ms=1, exchange_ms=venue_ms)
            if (await self.runtime.ask(sync)).kernel.accepted:
                self._balance.want()  # the last one may have been refused for its time
        return venue_ms

    async def sync_time(self) -> None:
        """Let the kernel know the venue's time, asked for from now on."""
        await self._time.ask()

    async def _sync_time(self) -> None:
        await self.server_time_ms()

    async def by_id(self, order: Order) -> OrderReport | None:
        """The order as the venue has it, whatever we believe of it; None when it has none.
        QueryFailed."""
        return await self._in_turn(order).order(self._ref(order))

    def _in_turn(self, order: Order) -> _QueriesInTurn:
        return _QueriesInTurn(self, self._other_turns if order.external else self._own_turns)

    @staticmethod
    def _absent(order: Order) -> VenueEvent:
        return VenueEvent(
            kind=KernelEventKind.ORDER_ABSENT,
            received_ms=1,
            client_order_id=order.client_order_id,
        )

    # -- positions and the balance -----------------------------------------------------------------

    async def positions(self, *, journal_all: bool = True) -> None:
        """One whole answer about positions, flat symbols of ours included.

        The kernel gets all of it, or without ``journal_all`` only what says something new.
        """
        self._journal_all |= journal_all
        await self._positions.ask()

    async def _ask_positions(self) -> None:
        kernel = self.runtime.engine.kernel
        # Taken before the question: what is asked for while it runs gets the next answer.
        journal_all, self._journal_all = self._journal_all, False
        wanted, self._wanted = self._wanted, {}
        try:
            asked_ms = await self.server_time_ms()
            reports = await self.questions.once("positions", self._whole_positions)
        except BaseException:
            self._journal_all |= journal_all
            self._wanted = {**wanted, **self._wanted}
            raise
        ours = [slot.asset for slot in kernel.active_slots()]
        of_interest = (*ours, *wanted.values(), *self.answers.foreign())
        events = position_events(reports, of_interest, 1, asked_ms, kernel.config.hedge)
        self.positions_ms = self.runtime.time.now_ms()
        told = [
            event
            for event in events
            if journal_all
            or plain_symbol(event.asset) in wanted
            or not self.answers.says_nothing_new(event)
        ]
        await self.runtime.ask_all(*told)
        await self.unreadable.take(unreadable_in(reports))
        await self.marks.take(reports)

    async def _whole_positions(self) -> Sequence[PositionReport]:
        """An answer whose unreadable rows say at least which symbol they are about.  QueryFailed:
        one that does not may be about any of ours."""
        reports = await self.runtime.venue.positions()
        for row in unreadable_in(reports):
            if not row.asset:
                raise QueryFailed("a position on an unknown symbol cannot be read", found=row.why)
        return reports

    async def balance(self) -> None:
        """One balance, asked for from now on."""
        await self._balance.ask()

    async def _ask_balance(self) -> None:
        report = await self.questions.once("balance", self.runtime.venue.balance)
        await self.runtime.ask(balance_event(report, 1))


class _QueriesInTurn:
    """The venue's queries about an order: counted by name, and so many at a time."""

    def __init__(self, order_query: OrderQuery, turns: asyncio.Semaphore) -> None:
        self._order_query = order_query
        self._venue = order_query.runtime.venue
        self._once = order_query.questions.once
        self._turns = turns

    @property
    def receive_window_ms(self) -> int:
        return self._venue.receive_window_ms

    async def server_time_ms(self) -> int:
        async with self._turns:
            return await self._order_query.server_time_ms()

    async def order(self, order: OrderRef) -> OrderReport | None:
        async with self._turns:
            return await self._once(f"order {order.asset}", lambda: self._venue.order(order))

    async def open_orders(self, asset: str) -> Sequence[OrderReport]:
        async with self._turns:
            return await self._once(f"open orders {asset}", lambda: self._venue.open_orders(asset))

    async def all_orders(self, asset: str, since_ms: int) -> Sequence[OrderReport]:
        async with self._turns:
            return await self._once(
                f"all orders {asset}", lambda: self._venue.all_orders(asset, since_ms)
            )

    async def fills(self, asset: str, since_ms: int) -> Sequence[FillReport]:
        async with self._turns:
            return await self._once(f"fills {asset}", lambda: self._venue.fills(asset, since_ms))


def _heard_of(order: Order) -> tuple[object, ...]:
    """What the venue has told of an order: while it stays the same, the order may be absent."""
    is_certain = order.status not in (VenueOrderStatus.REQUESTED, VenueOrderStatus.UNKNOWN)
    return (order.venue_order_id, order.filled_e8, is_certain)
