"""Whose doing was each row of the venue's income history?

Every row belongs to an order of ours, whose levels have its money already, or it is a flow of its
own: funding, a transfer, somebody else's trade.  Pure: rows and fills in, events out; what cannot
be told yet is left over and asked about again, and never guessed (design §7, "Flows").
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from dita.contracts import EvidenceSource, KernelEventKind, Record, VenueEvent
from dita.venues import FillReport, IncomeKind, IncomeReport

#: Rows that name no fill are matched by symbol, amount and a time as near as this.
NEAR_MS: Final = 1_000
#: What the insurance fund or ADL books comes this long after the liquidation's fill at the latest.
LIQUIDATION_MS: Final = 60_000


class Attribution(Record, frozen=True, kw_only=True):
    """Rows by whose they are; ``events`` are for the journal."""

    events: tuple[VenueEvent, ...]
    own: tuple[IncomeReport, ...]
    unmatched: tuple[IncomeReport, ...]


class Books(Record, frozen=True, kw_only=True):
    """What is known of our own doing: ids of our orders, and symbols that we had a trade on.

    ``own_orders`` holds the venue's ids of every order of ours, those that closed our trades from
    outside included; ``closed_outside`` only the latter.
    """

    own_orders: Collection[str]
    closed_outside: Collection[str]
    assets: Collection[str]


def attribute(
    rows: Iterable[IncomeReport], fills: Sequence[FillReport], books: Books
) -> Attribution:
    """Sort rows by whose they are.  Rows that the seed holds already must not be among them."""
    rows = tuple(rows)
    events: list[VenueEvent] = []
    own: list[IncomeReport] = []
    unmatched: list[IncomeReport] = []
    for row in rows:
        if row.kind in (IncomeKind.REALIZED, IncomeKind.FEE):
            of = _orders_of(row, fills)
            if not of or len({order in books.own_orders for order in of}) != 1:
                unmatched.append(row)
            elif of[0] in books.own_orders:
                own.append(row)
            else:
                events.append(_flow(KernelEventKind.FOREIGN_FLOW, row))
        elif row.kind in (IncomeKind.INSURANCE, IncomeKind.ADL):
            events.append(_borne_by_others(row, rows, fills, books))
        elif row.kind is IncomeKind.FUNDING and _plain(row.asset) not in books.assets:
            events.append(_flow(KernelEventKind.FOREIGN_FLOW, row))
        elif row.kind is IncomeKind.FUNDING:
            events.append(_flow(KernelEventKind.FUNDING_FEE, row))
        else:
            events.append(_flow(KernelEventKind.TRANSFER, row))
    return Attribution(events=tuple(events), own=tuple(own), unmatched=tuple(unmatched))


def symbols_of_trades(rows: Iterable[IncomeReport]) -> tuple[str, ...]:
    """Symbols whose fills are needed to sort these rows."""
    of_trades = (
        IncomeKind.REALIZED,
        IncomeKind.FEE,
        IncomeKind.INSURANCE,
        IncomeKind.ADL,
    )
    return tuple(dict.fromkeys(row.asset for row in rows if row.asset and row.kind in of_trades))


def _plain(asset: str) -> str:
    return asset.replace("-", "").upper()


def _orders_of(row: IncomeReport, fills: Iterable[FillReport]) -> tuple[str, ...]:
    """Venue ids of the orders that the row can be of: one when it names its fill."""
    same = [f for f in fills if _plain(f.asset) == _plain(row.asset)]
    if row.trade_id:
        named = tuple(f.venue_order_id for f in same if f.fill_id == row.trade_id)
        if named:
            return named
    near = [f for f in same if abs(f.filled_ms - row.time_ms) <= NEAR_MS]
    if row.kind is IncomeKind.FEE:
        near = [f for f in near if f.fee == -row.amount]
    return tuple(f.venue_order_id for f in near)


def _flow(kind: KernelEventKind, row: IncomeReport) -> VenueEvent:
    return VenueEvent(
        kind=kind,
        received_ms=1,
        exchange_ms=row.time_ms,
        event_id=f"income:{row.income_id}",
        asset=row.asset,
        amount=row.amount,
        source=EvidenceSource.ORDER_QUERY,
    )


def _borne_by_others(
    row: IncomeReport, rows: Sequence[IncomeReport], fills: Sequence[FillReport], books: Books
) -> VenueEvent:
    """What a liquidation of ours did not cost us belongs to its trade: it settles the order."""
    closing = [
        fill
        for fill in fills
        if _plain(fill.asset) == _plain(row.asset)
        and fill.venue_order_id in books.closed_outside
        and 0 <= row.time_ms - fill.filled_ms <= LIQUIDATION_MS
    ]
    if not closing:
        return _flow(KernelEventKind.FOREIGN_FLOW, row)
    order = max(closing, key=lambda fill: fill.filled_ms).venue_order_id
    own = [fill for fill in fills if fill.venue_order_id == order]
    ids = {fill.fill_id for fill in own}
    booked = sum(
        other.amount
        for other in rows
        if other.kind is IncomeKind.REALIZED and other.trade_id in ids
    )
    return VenueEvent(
        kind=KernelEventKind.FILL_SETTLED,
        received_ms=1,
        exchange_ms=row.time_ms,
        event_id=f"income:{row.income_id}",
        asset=row.asset,
        venue_order_id=order,
        quantity_e8=sum(fill.quantity_e8 for fill in own),
        realized=booked + row.amount,
        source=EvidenceSource.FILL_HISTORY,
    )
