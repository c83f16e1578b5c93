"""Start and restart are one path: everything that is not certain is asked before READY.

The journal is replayed by whoever builds the runtime; here the venue is asked about every order
that is not terminal, then positions, then the balance (design §8).  An order whose journal ends
between intent and answer is unknown, never "not sent".
"""

from __future__ import annotations

import asyncio
import contextlib

from dita.contracts import KernelEventKind, VenueEvent, VenueOrderStatus
from dita.runtime.inquiry import Inquiry
from dita.runtime.loop import Runtime
from dita.venues import NotSent, OrderRef, OutcomeUnknown


class Recovery:
    """Brings a runtime from a replayed journal to READY; also after every gap of the stream."""

    def __init__(self, runtime: Runtime, inquiry: Inquiry) -> None:
        self.runtime = runtime
        self.inquiry = inquiry

    async def reconcile(self) -> None:
        """Ask about orders, positions and the balance, in this order; returns when all answered."""
        await self._doubt_unanswered()
        orders = self.runtime.engine.kernel.open_orders()
        await asyncio.gather(*(self.inquiry.order(order.order_no) for order in orders))
        await self.cancel_again()
        await self.inquiry.positions()
        await self.inquiry.balance()

    async def _doubt_unanswered(self) -> None:
        for order in self.runtime.engine.kernel.open_orders():
            if order.status is VenueOrderStatus.REQUESTED:
                await self.runtime.ask(
                    VenueEvent(
                        kind=KernelEventKind.ORDER_UNKNOWN,
                        received_ms=1,
                        client_order_id=order.client_order_id,
                    )
                )

    async def cancel_again(self) -> None:
        """Cancel what must not work any more: a cancel can be lost, or die with us."""
        kernel = self.runtime.engine.kernel
        for order in kernel.unwanted_orders():
            ref = OrderRef(
                asset=kernel.asset_of(order.trade_no),
                client_order_id=order.client_order_id,
                venue_order_id=order.venue_order_id,
            )
            with contextlib.suppress(NotSent, OutcomeUnknown):  # the next round tries again
                await self.runtime.post(*await self.runtime.venue.cancel(ref))
