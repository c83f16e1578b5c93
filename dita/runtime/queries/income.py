"""The income history: read again and again with overlap, each row given to whoever's doing it was.

A row is taken once.  What others did becomes a flow of theirs, what is of our orders is in their
levels already; a row that may have closed what is ours waits until the position was compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final

from dita.contracts import (
    KernelDiagnosticCode,
    KernelEventKind,
    TradeSlot,
    TradeStage,
    VenueEvent,
    VenueOrder,
)
from dita.identity import plain_symbol
from dita.runtime.loop import Runtime
from dita.runtime.queries.order_query import OrderQuery
from dita.venues import FillReport, IncomeReport, QueryFailed, Rows
from dita.venues.attribution import Attribution, Books, attribute, symbols_of_trades
from dita.venues.witness import unknown_to_the_journal

#: Rows can be listed late: so much that was read already is read again.
OVERLAP_MS: Final = 600_000

#: Rows that nobody has named yet hold the reading back no longer than this.
HELD_BACK_MS: Final = OVERLAP_MS // 2


class Income:
    """Reads the history of one runtime's account."""

    def __init__(
        self,
        runtime: Runtime,
        order_query: OrderQuery,
        look_at_positions: Callable[[], Awaitable[None]],
    ) -> None:
        self._runtime = runtime
        self._order_query = order_query
        self._look_at_positions = look_at_positions
        self._reading = asyncio.Lock()
        #: When it was read last, in kernel time; 0 for never.
        self.read_ms = 0
        #: Rows whose doer is not known yet.
        self.unmatched: tuple[IncomeReport, ...] = ()
        #: Rows of orders that may have closed what was ours.
        self.undecided: tuple[IncomeReport, ...] = ()
        #: Filled orders of a kernel's form that the journal does not know, by client id.
        self.unknown_orders: tuple[str, ...] = ()
        #: Own orders that are over as far as we know, and of which the fills show more.
        self.underrated: tuple[VenueOrder, ...] = ()
        #: Ids of rows that need nothing more, with their times.
        self._settled: dict[str, int] = {}

    async def read(self) -> None:
        """Read up to now, and give every row to whoever's doing it was.  QueryFailed."""
        async with self._reading:
            if self._runtime.engine.kernel.ledger().anchored:
                await self._read()

    async def _read(self) -> None:
        ledger, venue = self._runtime.engine.kernel.ledger(), self._runtime.venue
        once = self._order_query.questions.once
        asked_ms = await self._order_query.server_time_ms()
        since_ms = max(ledger.income_from_ms + 1, ledger.income_read_ms - OVERLAP_MS)
        rows = await once("income", lambda: venue.income(since_ms))
        fresh = [row for row in rows if row.time_ms > ledger.income_from_ms]
        # A doubt can last longer than rows are read again: those that wait for its end are kept.
        listed = {row.income_id for row in fresh}
        kept = [row for row in self.undecided if row.income_id not in listed]
        fresh = sorted((*kept, *fresh), key=lambda row: row.time_ms)
        since_ms = min((since_ms, *(row.time_ms for row in kept)))
        fills: list[FillReport] = []
        unanswered: set[str] = set()
        for asset in symbols_of_trades(fresh):
            try:
                fills += (await self._fills(asset, max(1, since_ms - OVERLAP_MS))).about(asset)
            except QueryFailed:
                unanswered.add(plain_symbol(asset))  # the rows of others are read all the same
        self.unknown_orders = unknown_to_the_journal(fills, self._knows, ledger.income_from_ms)
        self.underrated = tuple(self._underrated(fills))
        await self._attribute(fresh, fills, unanswered)
        self._settled = {k: ms for k, ms in self._settled.items() if ms >= since_ms}
        # What waits for a position or for its fills is read again, and nothing is late before;
        # fills that are never told hold the rest up for a while only.
        waiting = [*self.undecided, *self._young(unanswered, asked_ms)]
        up_to_ms = min((row.time_ms - 1 for row in waiting), default=asked_ms)
        # Not for ever: that a row is missing is told by how far was read, a write-off waits for it.
        await self._read_up_to(max(up_to_ms, asked_ms - HELD_BACK_MS))

    def _young(self, unanswered: set[str], now_ms: int) -> list[IncomeReport]:
        of_them = (row for row in self.unmatched if plain_symbol(row.asset) in unanswered)
        return [row for row in of_them if row.time_ms >= now_ms - OVERLAP_MS]

    def _knows(self, fill: FillReport) -> bool:
        kernel = self._runtime.engine.kernel
        known = kernel.order_of_client(fill.client_order_id.lower())
        return known is not None or kernel.is_own_order(fill.venue_order_id)

    def _underrated(self, fills: Iterable[FillReport]) -> Iterator[VenueOrder]:
        """Own orders with final figures, and less in them than their fills have."""
        kernel = self._runtime.engine.kernel
        filled_e8: dict[int, int] = {}
        for fill in {fill.fill_id: fill for fill in fills}.values():
            order = kernel.order_of_client(fill.client_order_id.lower())
            order = order or kernel.order_of_venue(fill.venue_order_id)
            if order is not None and order.final and not order.external:
                filled_e8[order.order_no] = filled_e8.get(order.order_no, 0) + fill.quantity_e8
        for number, quantity_e8 in filled_e8.items():
            order = kernel.order(number)
            if order is not None and order.filled_e8 < quantity_e8:
                yield order

    async def _fills(self, asset: str, since_ms: int) -> Rows[FillReport]:
        venue = self._runtime.venue
        return await self._order_query.questions.once(
            f"fills {asset}", lambda: venue.fills(asset, since_ms)
        )

    async def _attribute(
        self, rows: list[IncomeReport], fills: list[FillReport], unanswered: set[str]
    ) -> None:
        found = attribute(rows, fills, self._books(fills, self._in_use(), unanswered))
        if found.undecided:
            # An order that is not ours on a symbol that we hold: did it close what was ours?
            await self._look_at_positions()
            in_doubt = frozenset(plain_symbol(slot.asset) for slot in self._restless_slots())
            found = attribute(rows, fills, self._books(fills, in_doubt, unanswered))
        self.unmatched = self._not_settled(found.unmatched)
        self.undecided = self._not_settled(found.undecided)
        await self._take(found)

    def _not_settled(self, rows: Iterable[IncomeReport]) -> tuple[IncomeReport, ...]:
        return tuple(row for row in rows if row.income_id not in self._settled)

    async def _take(self, found: Attribution) -> None:
        # A row that was ours stays ours, whatever is forgotten later.
        self._settled.update((row.income_id, row.time_ms) for row in found.own)
        events = [event for event in found.events if _row_of(event) not in self._settled]
        outcomes = await self._runtime.ask_all(*events)
        for event, outcome in zip(events, outcomes, strict=True):
            done = outcome.kernel
            if done.accepted or done.code is KernelDiagnosticCode.DUPLICATE_EVENT:
                self._settled[_row_of(event)] = event.exchange_ms

    def _in_use(self) -> frozenset[str]:
        return frozenset(plain_symbol(s.asset) for s in self._runtime.engine.kernel.active_slots())

    def _restless_slots(self) -> list[TradeSlot]:
        """Slots whose position cannot be compared now: in doubt, or with an order in flight."""
        slots = self._runtime.engine.kernel.active_slots()
        return [slot for slot in slots if slot.state is not TradeStage.POSITION_OPEN]

    def _books(
        self, fills: Iterable[FillReport], in_doubt: frozenset[str], unanswered: set[str]
    ) -> Books:
        kernel = self._runtime.engine.kernel
        ids = {fill.venue_order_id for fill in fills if fill.venue_order_id}
        known = [order for id_ in ids if (order := kernel.order_of_venue(id_)) is not None]
        held: dict[str, tuple[int, ...]] = {}
        for slot in kernel.active_slots():
            size = int(slot.side) * slot.size_e8
            held[plain_symbol(slot.asset)] = (*held.get(plain_symbol(slot.asset), ()), size)
        return Books(
            own_orders=frozenset(id_ for id_ in ids if kernel.is_own_order(id_)),
            closed_outside=frozenset(o.venue_order_id for o in known if o.external),
            held_e8=held,
            in_doubt=in_doubt,
            unanswered=unanswered,
        )

    async def _read_up_to(self, exchange_ms: int) -> None:
        if exchange_ms > self._runtime.engine.kernel.ledger().income_read_ms:
            await self._runtime.ask(
                VenueEvent(kind=KernelEventKind.INCOME_READ, received_ms=1, exchange_ms=exchange_ms)
            )
        self.read_ms = self._runtime.time.now_ms()


def _row_of(event: VenueEvent) -> str:
    """Id of the income row that became an event."""
    return event.event_id.removeprefix("income:")
