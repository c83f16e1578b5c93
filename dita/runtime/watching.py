"""What is looked at regularly, stream or no stream: open orders, doubted slots, the income history.

The stream may lose a frame or be dead; these questions find the same facts a little later, so that
both ways end in the same state.  A question that fails is asked again at the next turn and means
nothing.  It hands what it finds to the loop's inbox and knows no wire.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from dita.contracts import (
    ENDED_STATUSES,
    KernelEventKind,
    TradeSlot,
    TradeStage,
    VenueEvent,
    VenueOrderStatus,
)
from dita.identity import plain_symbol
from dita.runtime.inquiry import LOOK_BACK_MS, Inquiry
from dita.runtime.loop import Runtime
from dita.venues import FillReport, IncomeReport, OrderReport, QueryFailed
from dita.venues.attribution import Books, attribute, symbols_of_trades
from dita.venues.evidence import foreign_event

#: Rows can be listed late: so much that was read already is read again.
OVERLAP_MS: Final = 600_000
#: How our client order ids look (identity.client_order_id).
OUR_SHAPE: Final = re.compile(r"[a-z2-7]{32}")


class Watch:
    """The regular questions of one runtime."""

    def __init__(
        self,
        runtime: Runtime,
        inquiry: Inquiry,
        on_second_kernel: Callable[[str], Awaitable[object]],
    ) -> None:
        self.runtime = runtime
        self.inquiry = inquiry
        #: Called with an order id that only a kernel like ours can have sent.
        self.on_second_kernel = on_second_kernel
        self.income_ms = 0
        self.orders_ms = 0
        #: Income rows whose doer is not known yet.
        self.unmatched: tuple[IncomeReport, ...] = ()
        #: Rows of orders that may have closed what was ours.
        self.undecided: tuple[IncomeReport, ...] = ()
        self.failures = 0
        self._told: dict[str, int] = {}
        self._settled_rows: dict[str, int] = {}

    # -- open orders -------------------------------------------------------------------------------

    async def open_orders(self) -> None:
        """Compare the venue's open orders of our symbols with ours."""
        kernel = self.runtime.engine.kernel
        for asset in sorted({slot.asset for slot in kernel.active_slots()}):
            ours = [
                order
                for order in kernel.open_orders()
                if order.status is VenueOrderStatus.WORKING
                and kernel.asset_of(order.trade_no) == asset
            ]
            try:
                theirs = await self.runtime.venue.open_orders(asset)
            except QueryFailed:
                self.failures += 1
                continue
            listed = {id_ for report in theirs for id_ in _ids(report)}
            for order in ours:
                if not listed & {order.client_order_id, order.venue_order_id}:
                    self.inquiry.spawn(self.inquiry.order(order.order_no), "order not listed")
            await self._look_for_a_second_kernel(theirs)
        self.orders_ms = self.runtime.clock.now_ms()

    async def _look_for_a_second_kernel(self, reports: Iterable[OrderReport]) -> None:
        kernel = self.runtime.engine.kernel
        for report in reports:
            client = report.client_order_id.lower()
            if report.status in ENDED_STATUSES or not OUR_SHAPE.fullmatch(client):
                continue
            known = kernel.order_of_client(client) or kernel.order_of_venue(report.venue_order_id)
            if known is None and "hold" not in kernel.freeze_causes():
                await self.on_second_kernel(client)

    # -- slots in doubt ----------------------------------------------------------------------------

    async def positions(self) -> None:
        """Positions; and for a slot that disagrees, whose orders closed what was ours."""
        await self.inquiry.positions()
        if await self._look_for_strangers():
            await self.inquiry.positions()

    def doubted_slots(self) -> tuple[TradeSlot, ...]:
        """Slots whose position is not certain."""
        slots = self.runtime.engine.kernel.active_slots()
        return tuple(s for s in slots if s.state is TradeStage.STALE_STATE_RECONCILING)

    async def _look_for_strangers(self) -> bool:
        found = False
        if not self.doubted_slots():
            self._told.clear()  # it is there to say nothing twice while a doubt lasts
        for slot in self.doubted_slots():
            try:
                now_ms = await self.runtime.venue.server_time_ms()
                since_ms = max(1, now_ms - LOOK_BACK_MS)
                fills = await self.runtime.venue.fills(slot.asset, since_ms)
                since_ms = self._began_ms(slot.trade_no, fills)
                orders = await self.runtime.venue.all_orders(slot.asset, since_ms)
            except QueryFailed:
                self.failures += 1
                continue
            for report in orders:
                found |= await self._tell_of_stranger(report, fills, since_ms)
        return found

    def _began_ms(self, trade_no: int, fills: Iterable[FillReport]) -> int:
        """Time of the trade's first fill: who traded before it closed nothing of ours."""
        own = {order.venue_order_id for order in self.runtime.engine.kernel.orders_of(trade_no)}
        return min((f.filled_ms for f in fills if f.venue_order_id in own), default=1)

    async def _tell_of_stranger(
        self, report: OrderReport, fills: Iterable[FillReport], since_ms: int
    ) -> bool:
        if self.runtime.engine.kernel.order_of_venue(report.venue_order_id) is not None:
            return False
        if self._told.get(report.venue_order_id, 0) >= report.filled_e8:
            return False
        event = foreign_event(report, fills, 1)
        if event is None or event.exchange_ms < since_ms:
            return False
        self._told[report.venue_order_id] = report.filled_e8
        await self.runtime.ask(event)
        return True

    # -- income ------------------------------------------------------------------------------------

    async def income(self) -> None:
        """Read the income history up to now, and give every row to whoever's doing it was."""
        kernel, venue = self.runtime.engine.kernel, self.runtime.venue
        ledger = kernel.ledger()
        if not ledger.anchored:
            return
        try:
            asked_ms = await venue.server_time_ms()
            since_ms = max(ledger.income_from_ms + 1, ledger.income_read_ms - OVERLAP_MS)
            rows = await venue.income(since_ms)
            fills = [
                fill
                for asset in symbols_of_trades(rows)
                for fill in await venue.fills(asset, max(1, since_ms - OVERLAP_MS))
            ]
        except QueryFailed:
            self.failures += 1
            return
        fresh = [row for row in rows if row.time_ms > ledger.income_from_ms]
        await self._attribute(fresh, fills, since_ms)
        # What waits for a position to be looked at is read again, and nothing is late before.
        await self._read_up_to(min((row.time_ms - 1 for row in self.undecided), default=asked_ms))

    async def _attribute(
        self, rows: list[IncomeReport], fills: list[FillReport], since_ms: int
    ) -> None:
        sorted_out = attribute(rows, fills, self._books(fills, self._in_use()))
        if sorted_out.undecided:
            # An order that is not ours on a symbol that we hold: did it close what was ours?
            await self.positions()
            in_doubt = frozenset(plain_symbol(slot.asset) for slot in self._restless_slots())
            sorted_out = attribute(rows, fills, self._books(fills, in_doubt))
        self.unmatched, self.undecided = sorted_out.unmatched, sorted_out.undecided
        for event in sorted_out.events:
            if event.event_id not in self._settled_rows:
                await self.runtime.ask(event)
                self._settled_rows[event.event_id] = event.exchange_ms
        self._settled_rows = {k: ms for k, ms in self._settled_rows.items() if ms >= since_ms}

    def _in_use(self) -> frozenset[str]:
        return frozenset(plain_symbol(s.asset) for s in self.runtime.engine.kernel.active_slots())

    def _restless_slots(self) -> list[TradeSlot]:
        """Slots whose position cannot be compared now: in doubt, or with an order in flight."""
        slots = self.runtime.engine.kernel.active_slots()
        return [slot for slot in slots if slot.state is not TradeStage.POSITION_OPEN]

    def _books(self, fills: Iterable[FillReport], in_doubt: frozenset[str]) -> Books:
        kernel = self.runtime.engine.kernel
        ids = {fill.venue_order_id for fill in fills if fill.venue_order_id}
        known = [order for id_ in ids if (order := kernel.order_of_venue(id_)) is not None]
        held: dict[str, tuple[int, ...]] = {}
        for slot in kernel.active_slots():
            size = int(slot.side) * slot.size_e8
            held[plain_symbol(slot.asset)] = (*held.get(plain_symbol(slot.asset), ()), size)
        return Books(
            own_orders=frozenset(order.venue_order_id for order in known),
            closed_outside=frozenset(o.venue_order_id for o in known if o.external),
            held_e8=held,
            in_doubt=in_doubt,
        )

    async def _read_up_to(self, exchange_ms: int) -> None:
        if exchange_ms > self.runtime.engine.kernel.ledger().income_read_ms:
            await self.runtime.ask(
                VenueEvent(kind=KernelEventKind.INCOME_READ, received_ms=1, exchange_ms=exchange_ms)
            )
        self.income_ms = self.runtime.clock.now_ms()


def _ids(report: OrderReport) -> tuple[str, ...]:
    return tuple(i for i in (report.client_order_id.lower(), report.venue_order_id) if i)
