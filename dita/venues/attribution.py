"""Whose doing was each row of the venue's income history?

Every row belongs to an order of ours, whose levels have its money already, or it is a flow of its
own: funding, a transfer, somebody else's trade, a kind that we do not know.  Pure: rows and fills
in, events out; what cannot be told yet is left over and asked about again, and never guessed
(design §7, "Flows").
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from dita.contracts import BalanceReason, EvidenceSource, KernelEventKind, Record, VenueEvent
from dita.identity import is_own_client_id, plain_symbol
from dita.venues import FillReport, IncomeKind, IncomeReport

_BORNE: Final = (IncomeKind.INSURANCE, IncomeKind.ADL)
_OF_TRADES: Final = (IncomeKind.REALIZED, IncomeKind.FEE, IncomeKind.FUNDING, *_BORNE)
#: Rows that name no fill are matched by symbol, amount and a time as near as this.
NEAR_MS: Final = 1_000
#: What the insurance fund or ADL books comes this long after the liquidation's fill at the latest.
LIQUIDATION_MS: Final = 60_000


class Attribution(Record, frozen=True, kw_only=True):
    """Rows by whose they are; ``events`` are for the journal.

    ``unmatched`` rows name nothing that is known, ``undecided`` ones an order that may have closed
    what was ours: the position has to be looked at first.
    """

    events: tuple[VenueEvent, ...]
    own: tuple[IncomeReport, ...]
    unmatched: tuple[IncomeReport, ...]
    undecided: tuple[IncomeReport, ...] = ()


class Books(Record, frozen=True, kw_only=True):
    """What is known of our own doing: ids of our orders, and what we hold now.

    ``held_e8`` has the sizes of our positions by symbol, a short one's below zero.
    ``own_orders`` holds the venue's ids of every order of ours, those that closed our trades from
    outside included; ``closed_outside`` only the latter.  An order that a fill names by a client id
    of a kernel's shape is ours as well, whatever is believed of it.  On a symbol ``in_doubt`` it is
    not certain yet whose an order that we did not send is; of one ``unanswered`` the fills could
    not be read.  Symbols are without hyphens.
    """

    own_orders: Collection[str]
    closed_outside: Collection[str]
    held_e8: Mapping[str, tuple[int, ...]]
    in_doubt: Collection[str] = ()
    unanswered: Collection[str] = ()


def attribute(
    rows: Iterable[IncomeReport], fills: Sequence[FillReport], books: Books
) -> Attribution:
    """Sort rows by whose they are.  Rows that the seed holds already must not be among them."""
    rows = tuple(rows)
    events: list[VenueEvent] = []
    own: list[IncomeReport] = []
    unmatched: list[IncomeReport] = []
    undecided: list[IncomeReport] = []
    for row in rows:
        symbol = plain_symbol(row.asset)
        if row.kind is IncomeKind.UNKNOWN or (row.kind in _OF_TRADES and is_strange(row.asset)):
            # Money of a kind that we do not know, or on a symbol that we cannot trade: it moves the
            # wallet, explains exactly itself, and is no part of ours.
            events.append(_flow(KernelEventKind.FOREIGN_FLOW, row))
        elif row.kind in (IncomeKind.REALIZED, IncomeKind.FEE):
            whose = {_is_own(fill, books) for fill in _fills_of(row, fills)}
            if len(whose) != 1:
                unmatched.append(row)
            elif True in whose:
                own.append(row)
            elif symbol in books.in_doubt:
                undecided.append(row)
            else:
                events.append(_flow(KernelEventKind.FOREIGN_FLOW, row))
        elif row.kind in _BORNE and symbol in books.in_doubt:
            undecided.append(row)
        elif row.kind in _BORNE:
            events.append(_borne_by_others(row, rows, fills, books))
        elif row.kind is IncomeKind.FUNDING:
            ours = _held_then(row, fills, books)
            if not ours and symbol in books.unanswered:
                unmatched.append(row)  # what we did since may be in the fills that nobody read
                continue
            kind = KernelEventKind.FUNDING_FEE if ours else KernelEventKind.FOREIGN_FLOW
            events.append(_flow(kind, row))
        else:
            events.append(_flow(KernelEventKind.TRANSFER, row))
    return Attribution(
        events=tuple(events),
        own=tuple(own),
        unmatched=tuple(unmatched),
        undecided=tuple(undecided),
    )


def symbols_of_trades(rows: Iterable[IncomeReport]) -> tuple[str, ...]:
    """Symbols whose fills are needed to sort these rows."""
    needed = (r.asset for r in rows if r.asset and r.kind in _OF_TRADES and not is_strange(r.asset))
    return tuple(dict.fromkeys(needed))


def is_strange(asset: str) -> bool:
    """Returns whether a symbol was outside ASCII, and so is none that we can trade."""
    return "\\" in asset


def _fills_of(row: IncomeReport, fills: Iterable[FillReport]) -> tuple[FillReport, ...]:
    """The fills that the row can be of: those of one trade when it names it."""
    same = [f for f in fills if plain_symbol(f.asset) == plain_symbol(row.asset)]
    if row.trade_id:
        named = tuple(f for f in same if _trade_of(f) == row.trade_id)
        if named:
            return named
    near = [f for f in same if abs(f.filled_ms - row.time_ms) <= NEAR_MS]
    if row.kind is IncomeKind.FEE:
        near = [f for f in near if f.fee == -row.amount]
    return tuple(near)


def _is_own(fill: FillReport, books: Books) -> bool:
    return fill.venue_order_id in books.own_orders or is_own_client_id(fill.client_order_id)


def _held_then(row: IncomeReport, fills: Iterable[FillReport], books: Books) -> bool:
    """Did we hold the symbol when the row was booked?  What we hold now less what we did since.

    Fill times may be whole seconds, so a fill of ours that near to the row makes it ours too.
    """
    held = books.held_e8.get(plain_symbol(row.asset), ())
    if len(held) > 1:
        return True
    then = sum(held)
    for fill in fills:
        if plain_symbol(fill.asset) == plain_symbol(row.asset) and _is_own(fill, books):
            if abs(fill.filled_ms - row.time_ms) <= NEAR_MS:
                return True
            if fill.filled_ms > row.time_ms:
                then -= int(fill.side) * fill.quantity_e8
    return then != 0


def _trade_of(fill: FillReport) -> str:
    """The venue's id of the trade; an adapter may have put the order's before it."""
    return fill.fill_id.rpartition(":")[2]


#: What a row is about, for the kernel: a frame for funding or a transfer has announced it.
_REASONS: Final = {
    IncomeKind.FUNDING: BalanceReason.FUNDING,
    IncomeKind.TRANSFER: BalanceReason.TRANSFER,
}


def _flow(kind: KernelEventKind, row: IncomeReport) -> VenueEvent:
    return VenueEvent(
        kind=kind,
        received_ms=1,
        exchange_ms=row.time_ms,
        event_id=f"income:{row.income_id}",
        asset=row.asset,
        amount=row.amount,
        source=EvidenceSource.ORDER_QUERY,
        balance_reason=_REASONS.get(row.kind, BalanceReason.ORDER),
        message=row.word,
    )


def _borne_by_others(
    row: IncomeReport, rows: Sequence[IncomeReport], fills: Sequence[FillReport], books: Books
) -> VenueEvent:
    """What a liquidation of ours did not cost us belongs to its trade: it settles the order."""
    closing = [
        fill
        for fill in fills
        if plain_symbol(fill.asset) == plain_symbol(row.asset)
        and fill.venue_order_id in books.closed_outside
        and 0 <= row.time_ms - fill.filled_ms <= LIQUIDATION_MS
    ]
    if not closing:
        return _flow(KernelEventKind.FOREIGN_FLOW, row)
    order = max(closing, key=lambda fill: fill.filled_ms).venue_order_id
    own = [fill for fill in fills if fill.venue_order_id == order]
    ids = {_trade_of(fill) for fill in own}
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
        source=EvidenceSource.INCOME,
    )
