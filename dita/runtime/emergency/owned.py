"""How much of a position is ours, when no serve can say it.

The sound part of the journal says what we held at its end; the exchange's own list of orders says
what those with our client ids filled since.  Whoever asks caps the answer by the live position:
nothing of anybody else's is closed for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple

from dita.contracts import OrderSide
from dita.identity import is_emergency_client_id, is_own_client_id, plain_symbol
from dita.journal import Replayed
from dita.venues import OrderReport, PositionReport, QueryFailed, unreadable_in

#: The exchange's times of orders are cut to the second, and it answers about its clock a bit late.
CLOCK_MARGIN_MS: Final = 2_000

#: The orders of a symbol since a time, 0 for as far back as the exchange shows them.
Orders = Callable[[str, int], Awaitable[Iterable[OrderReport]]]


class Known(NamedTuple):
    """What is known before the exchange is asked.

    ``sizes``, signed, by symbol and by side (0 in one-way mode); ``filled``: of own orders, by
    client id, what is in those sizes; ``seen``: ids of other orders that are in them, or are over.
    An order from before ``since_ms``, by the exchange's clock, belongs to an older journal.
    """

    sizes: dict[tuple[str, int], int]
    filled: dict[str, int]
    seen: frozenset[str]
    since_ms: int = 0
    hedge: bool = False


def known_by(replayed: Replayed, *, ahead_ms: int, hedge: bool) -> Known:
    """What the sound part of a journal knows; the exchange's clock is ``ahead_ms`` of ours."""
    since_ms = max(0, replayed.begun_ms + ahead_ms - CLOCK_MARGIN_MS) if replayed.begun_ms else 0
    if replayed.engine is None:
        return Known({}, {}, frozenset(), since_ms, hedge)
    kernel = replayed.engine.kernel
    sizes: dict[tuple[str, int], int] = {}
    for slot in kernel.active_slots():
        place = (plain_symbol(slot.asset), int(slot.side) if hedge else 0)
        sizes[place] = sizes.get(place, 0) + slot.side * slot.size_e8
    orders = (o for trade in kernel.trades() for o in kernel.orders_of(trade.trade_no))
    filled = {o.client_order_id: o.filled_e8 for o in orders if not o.external}
    return Known(sizes, filled, replayed.seen - {""}, since_ms, hedge)


def said(position: PositionReport, quantity_e8: int, orders: Iterable[OrderReport]) -> Known:
    """What a person says of a position, with every order of ours up to now in it.

    QueryFailed while an order that may be ours cannot be read.
    """
    _all_of_ours_readable(orders)
    filled = {o.client_order_id.lower(): o.filled_e8 for o in orders if is_ours(o.client_order_id)}
    sizes = {(plain_symbol(position.asset), 0): position.side * quantity_e8}
    return Known(sizes, filled, frozenset())


def is_ours(client_order_id: str) -> bool:
    """Has a client order id the form of one of ours?"""
    return is_own_client_id(client_order_id) or is_emergency_client_id(client_order_id)


def _all_of_ours_readable(orders: Iterable[OrderReport]) -> None:
    for row in unreadable_in(orders):
        if not row.client_order_id or is_ours(row.client_order_id):
            raise QueryFailed("an order that may be ours cannot be read", found=row.why)


async def own_size(position: PositionReport, known: Known, orders_of: Orders) -> int:
    """Our signed quantity in a position: what was known, and what own orders filled since.

    In hedge mode an order belongs to its position side, an emergency's to the side that it closes.
    When one that filled does not say it, nothing is proven, and the answer is 0.  QueryFailed while
    an order that may be ours cannot be read.
    """
    place = (plain_symbol(position.asset), int(position.side) if known.hedge else 0)
    size_e8 = known.sizes.get(place, 0)
    orders = await orders_of(position.asset, 0)
    _all_of_ours_readable(orders)
    for order in orders:
        moved_e8 = _moved(order, known)
        if not moved_e8:
            continue
        side = int(order.position_side)
        if not side and is_emergency_client_id(order.client_order_id):
            side = -int(order.side)
        if known.hedge and not side:
            return 0
        if not known.hedge or side == int(position.side):
            size_e8 += order.side * moved_e8
    return size_e8


def _moved(order: OrderReport, known: Known) -> int:
    """What an order of ours filled that is not known yet."""
    client_id = order.client_order_id.lower()
    if not is_ours(client_id) or order.side is OrderSide.UNKNOWN:
        return 0
    if client_id in known.filled:
        return order.filled_e8 - known.filled[client_id]
    if order.updated_ms < known.since_ms or known.seen & {client_id, order.venue_order_id}:
        return 0
    return order.filled_e8


def closable(position: PositionReport, own_e8: int) -> int:
    """How much of a live position may be closed for us: ours, and never more than is there."""
    return max(0, min(own_e8 * position.side, position.quantity_e8))
