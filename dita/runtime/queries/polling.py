"""What is looked at regularly, stream or no stream: open orders, and slots in doubt.

The stream may lose a frame or be dead; these questions find the same facts a little later, so that
both ways end in the same state.  A question that fails is asked again at the next turn and means
nothing.  It hands what it finds to the loop's inbox and knows no wire.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple

from dita.contracts import (
    ENDED_STATUSES,
    KernelDiagnosticCode,
    TradeSlot,
    TradeStage,
    VenueOrderStatus,
)
from dita.errors import VenueError
from dita.identity import is_own_client_id
from dita.runtime.loop import Runtime
from dita.runtime.queries.income import Income
from dita.runtime.queries.order_query import LOOK_BACK_MS, OrderQuery
from dita.venues import FillReport, OrderRef, OrderReport, QueryFailed
from dita.venues.evidence import foreign_event, found_event

#: While a doubt lasts and nothing changes, its history is read less and less often.
LOOK_MIN_MS: Final = 2_000
LOOK_MAX_MS: Final = 30_000
#: What was told of and not taken is told again when something of ours changed, or so much later.
TELL_AGAIN_MS: Final = 60_000


class _Told(NamedTuple):
    """A stranger's order as it was told of, and what of ours it was judged with."""

    filled_e8: int
    was_taken: bool
    facts: tuple[int, ...]
    at_ms: int


class _Look(NamedTuple):
    """The last look at the history of a slot in doubt."""

    facts: tuple[int, ...]
    next_ms: int
    wait_ms: int


class Poller:
    """The regular questions of one runtime."""

    def __init__(
        self,
        runtime: Runtime,
        order_query: OrderQuery,
        on_second_kernel: Callable[[str], Awaitable[object]],
    ) -> None:
        self.runtime = runtime
        self.order_query = order_query
        self.history = Income(runtime, order_query, self.positions)
        #: Called with an order id that only a kernel like ours can have sent.
        self.on_second_kernel = on_second_kernel
        #: When every question about open orders was answered last, in kernel time; 0 for never.
        self.orders_ms = 0
        self._witnessed: set[str] = set()
        #: Orders that were over here and working there at the last look.
        self._lingering: set[int] = set()
        self._told: dict[str, _Told] = {}
        self._looks: dict[int, _Look] = {}

    async def income(self) -> None:
        """Read the income history; one that does not answer is read at the next turn."""
        try:
            await self.history.read()
        except QueryFailed:
            return
        for client in self.history.unknown_orders:
            if client not in self._witnessed:  # whoever resumed has looked at it
                self._witnessed.add(client)
                await self.on_second_kernel(client)
        for order in self.history.underrated:
            with contextlib.suppress(QueryFailed):  # then at the next turn
                if (report := await self.order_query.by_id(order)) is not None:
                    await self._take_as_shown([report])

    # -- what we believed to be over ---------------------------------------------------------------

    async def _take_as_shown(self, reports: Iterable[OrderReport]) -> bool:
        """Whatever we believed of an order of ours, it is as the venue's records show it: what it
        filled more is booked, and one that works although it is over is taken back.  True when
        something was booked."""
        kernel, booked = self.runtime.engine.kernel, False
        for report in reports:
            order = kernel.order_of_client(report.client_order_id.lower())
            order = order or kernel.order_of_venue(report.venue_order_id)
            if order is None or order.external or order.status not in ENDED_STATUSES:
                continue
            if report.filled_e8 > order.filled_e8:
                booked |= (await self.runtime.ask(found_event(report, 1))).kernel.accepted
            if report.status in ENDED_STATUSES:
                self._lingering.discard(order.order_no)
            elif order.order_no in self._lingering:
                await self._take_back(report)
            else:  # the answer can be older than its end: only the next one is believed
                self._lingering.add(order.order_no)
        return booked

    async def _take_back(self, report: OrderReport) -> None:
        self.runtime.alarms.once(
            "order over and alive",
            f"{report.client_order_id} on {report.asset} works at the exchange although it was over"
            " as far as we knew; it is cancelled",
        )
        ref = OrderRef(
            asset=report.asset,
            client_order_id=report.client_order_id,
            venue_order_id=report.venue_order_id,
        )
        with contextlib.suppress(VenueError):  # the next look tries again
            await self.runtime.post(*await self.runtime.venue.cancel(ref))

    # -- open orders -------------------------------------------------------------------------------

    async def open_orders(self) -> None:
        """Compare the venue's open orders of our symbols with ours."""
        assets = sorted({slot.asset for slot in self.runtime.engine.kernel.active_slots()})
        answered = [await self._open_orders_of(asset) for asset in assets]
        if assets and all(answered):
            self.orders_ms = self.runtime.time.now_ms()

    async def _open_orders_of(self, asset: str) -> bool:
        kernel = self.runtime.engine.kernel
        ours = [
            order
            for order in kernel.open_orders()
            if order.status is VenueOrderStatus.WORKING and kernel.asset_of(order.trade_no) == asset
        ]
        try:
            theirs = await self.order_query.questions.once(
                f"open orders {asset}", lambda: self.runtime.venue.open_orders(asset)
            )
        except QueryFailed:
            return False
        listed = {id_ for report in theirs for id_ in _ids(report)}
        for order in ours:
            if not listed & {order.client_order_id, order.venue_order_id}:
                self.order_query.want_order(order.order_no)
        await self._look_for_a_second_kernel(theirs)
        await self._take_as_shown(theirs)
        return True

    async def _look_for_a_second_kernel(self, reports: Iterable[OrderReport]) -> None:
        kernel = self.runtime.engine.kernel
        for report in reports:
            client = report.client_order_id.lower()
            if report.status in ENDED_STATUSES or not is_own_client_id(client):
                continue
            known = kernel.order_of_client(client) or kernel.order_of_venue(report.venue_order_id)
            if known is None and "hold" not in kernel.freeze_causes():
                await self.on_second_kernel(client)

    # -- slots in doubt ----------------------------------------------------------------------------

    async def positions(self, *, journal_all: bool = False) -> None:
        """Positions; and for a slot that disagrees, whose orders closed what was ours."""
        await self.order_query.positions(journal_all=journal_all)
        if await self._look_for_strangers(now=journal_all):
            await self.order_query.positions(journal_all=journal_all)

    def doubted_slots(self) -> tuple[TradeSlot, ...]:
        """Slots whose position is not certain."""
        slots = self.runtime.engine.kernel.active_slots()
        return tuple(s for s in slots if s.state is TradeStage.STALE_STATE_RECONCILING)

    async def _look_for_strangers(self, *, now: bool) -> bool:
        found = False
        doubted = self.doubted_slots()
        if not doubted:
            self._told.clear()  # it is there to say nothing twice while a doubt lasts
        self._looks = {s.trade_no: k for s in doubted if (k := self._looks.get(s.trade_no))}
        for slot in doubted:
            if self._may_look(slot) or now:
                found |= await self._look_at(slot)
        return found

    def _may_look(self, slot: TradeSlot) -> bool:
        """Is it time to read the slot's history (again)?"""
        now_ms, facts = self.runtime.time.now_ms(), _facts(slot)
        last = self._looks.get(slot.trade_no)
        wait_ms = LOOK_MIN_MS
        if last is not None and last.facts == facts:
            if now_ms < last.next_ms:
                return False
            wait_ms = min(2 * last.wait_ms, LOOK_MAX_MS)
        self._looks[slot.trade_no] = _Look(facts, now_ms + wait_ms, wait_ms)
        return True

    async def _look_at(self, slot: TradeSlot) -> bool:
        try:
            return await self._read_history(slot)
        except QueryFailed:
            return False

    async def read_whole_history(self, slot: TradeSlot) -> None:
        """Tell the kernel of every order that may have closed what was ours.  QueryFailed when a
        row about the symbol is not answered or cannot be read."""
        await self._read_history(slot, whole=True)

    async def _read_history(self, slot: TradeSlot, *, whole: bool = False) -> bool:
        """Tell the kernel of orders that are not ours; True when it took one.  QueryFailed."""
        venue, once, asset = self.runtime.venue, self.order_query.questions.once, slot.asset
        since_ms = max(1, await self.order_query.server_time_ms() - LOOK_BACK_MS)
        fills = await once(f"fills {asset}", lambda: venue.fills(asset, since_ms))
        began_ms = self._began_ms(slot.trade_no, fills, since_ms)
        orders = await once(f"all orders {asset}", lambda: venue.all_orders(asset, began_ms))
        if whole:
            fills, orders = fills.about(asset), orders.about(asset)
        found = await self._take_as_shown(orders)
        for report in orders:
            found |= await self._tell_of_stranger(slot, report, fills, began_ms)
        return found

    def _began_ms(self, trade_no: int, fills: Iterable[FillReport], since_ms: int) -> int:
        """Time of the trade's first fill, ``since_ms`` when the history does not go back so far:
        who traded before it closed nothing of ours."""
        own = {order.venue_order_id for order in self.runtime.engine.kernel.orders_of(trade_no)}
        return min((f.filled_ms for f in fills if f.venue_order_id in own), default=since_ms)

    async def _tell_of_stranger(
        self, slot: TradeSlot, report: OrderReport, fills: Iterable[FillReport], since_ms: int
    ) -> bool:
        """Tell the kernel of an order that is not ours; True when it took it."""
        kernel, now_ms, facts = self.runtime.engine.kernel, self.runtime.time.now_ms(), _facts(slot)
        if kernel.order_of_venue(report.venue_order_id) is not None:
            return False
        told = self._told.get(report.venue_order_id)
        if told is not None and told.filled_e8 >= report.filled_e8:
            again = told.facts != facts or now_ms - told.at_ms >= TELL_AGAIN_MS
            if told.was_taken or not again:
                return False
        event = foreign_event(report, fills, 1)
        if event is None or event.exchange_ms < since_ms:
            return False
        done = (await self.runtime.ask(event)).kernel
        taken = done.accepted or done.code is KernelDiagnosticCode.DUPLICATE_EVENT
        self._told[report.venue_order_id] = _Told(report.filled_e8, taken, facts, now_ms)
        return taken


def _facts(slot: TradeSlot) -> tuple[int, ...]:
    return (slot.trade_no, slot.entered_e8, slot.exited_e8)


def _ids(report: OrderReport) -> tuple[str, ...]:
    return tuple(i for i in (report.client_order_id.lower(), report.venue_order_id) if i)
