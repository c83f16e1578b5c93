"""Who closed what was ours?  The venue's records of fills that are not ours, as evidence.

For a slot whose position is smaller at the exchange than here: a close by hand, a liquidation or
ADL whose frame was lost.  Only fills after the trade began count, and only if together they are
exactly what is missing: a foreign trade on the same symbol must not be booked to ours.
"""

from __future__ import annotations

from dita.contracts import OrderRole, TradeSlot, VenueEvent
from dita.kernel import ExecutionKernel
from dita.runtime.inquiry import LOOK_BACK_MS
from dita.runtime.looking import answered
from dita.venues import FillReport, OrderReport, Venue
from dita.venues.evidence import foreign_event


async def outside_closes(
    kernel: ExecutionKernel, venue: Venue, slot: TradeSlot, missing_e8: int
) -> tuple[VenueEvent, ...]:
    """Events for the newest foreign orders that took out exactly ``missing_e8``; empty if none do.

    VenueError names the question that failed.
    """
    now_ms = await answered("server time", venue.server_time_ms())
    since_ms = max(1, now_ms - LOOK_BACK_MS)
    orders = await answered(f"orders of {slot.asset}", venue.all_orders(slot.asset, since_ms))
    fills = await answered(f"fills of {slot.asset}", venue.fills(slot.asset, since_ms))
    mine = kernel.orders_of(slot.trade_no)
    began_ms = _began_ms(
        {order.venue_order_id for order in mine if order.role is OrderRole.ENTRY}, fills
    )
    known = {order.venue_order_id for order in mine}
    strangers = [
        order
        for order in orders
        if order.filled_e8
        and order.side == -slot.side
        and order.venue_order_id not in known
        and order.updated_ms >= began_ms
        and kernel.order_of_client(order.client_order_id.lower()) is None
    ]
    events = (foreign_event(order, fills, 1) for order in _exactly(strangers, missing_e8))
    return tuple(event for event in events if event is not None)


def _began_ms(entries: set[str], fills: tuple[FillReport, ...]) -> int:
    """Time of the trade's first fill; 0 for an adopted one, whose entry is not known."""
    return min((fill.filled_ms for fill in fills if fill.venue_order_id in entries), default=0)


def _exactly(orders: list[OrderReport], missing_e8: int) -> list[OrderReport]:
    """The newest orders that add up to the quantity, oldest first; none when they do not."""
    found: list[OrderReport] = []
    left = missing_e8
    for order in sorted(orders, key=lambda o: (o.updated_ms, o.venue_order_id), reverse=True):
        if left <= 0:
            break
        found.append(order)
        left -= order.filled_e8
    return found[::-1] if left == 0 else []
