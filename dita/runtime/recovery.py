"""Start, restart and every gap of the stream are one path: what is not certain is asked about.

The journal is replayed by whoever builds the runtime; here the venue is asked about every order
that is not terminal, then positions, then the balance (design §8).  An order whose journal ends
between intent and answer is unknown, never "not sent".
"""

from __future__ import annotations

import asyncio

from dita.contracts import KernelEventKind, VenueEvent, VenueOrderStatus
from dita.runtime.loop import Runtime
from dita.runtime.orders import Orders
from dita.runtime.queries.order_query import OrderQuery


class Recovery:
    """Brings a runtime from a replayed journal, or from a gap, to where risk may be taken."""

    def __init__(self, runtime: Runtime, order_query: OrderQuery, orders: Orders) -> None:
        self.runtime = runtime
        self.order_query = order_query
        self.orders = orders

    async def reconcile(self) -> None:
        """Ask about orders, positions and the balance, in this order; returns when all answered."""
        await self._doubt_unanswered()
        await self.order_query.sync_time()
        orders = self.runtime.engine.kernel.open_orders()
        await asyncio.gather(*(self.order_query.order(order.order_no) for order in orders))
        await self.orders.cancel_again()
        await self.order_query.positions()
        await self.order_query.balance()

    async def _doubt_unanswered(self) -> None:
        """Of what was requested by a process before this one nobody waits for the answer."""
        for order in self.runtime.engine.kernel.open_orders():
            if order.client_order_id in self.runtime.submitting:
                continue
            if order.status is VenueOrderStatus.REQUESTED:
                await self.runtime.ask(
                    VenueEvent(
                        kind=KernelEventKind.ORDER_UNKNOWN,
                        received_ms=1,
                        client_order_id=order.client_order_id,
                    )
                )
