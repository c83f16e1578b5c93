"""Asking the venue: about an order that is unknown, about its end, positions, the balance.

Answers come back to the loop as inputs.  A question that fails is asked again with back-off and
never read as "nothing": an order is absent only when it is proven absent (design P3), a position is
flat only when a whole answer says so.  One inquiry per order runs at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from dita.contracts import ENDED_STATUSES, Effect, EffectKind, KernelEventKind, VenueEvent
from dita.contracts import VenueOrder as Order
from dita.identity import same_client_id
from dita.runtime.loop import Runtime
from dita.venues import OrderRef, OrderReport, OutcomeUnknown, QueryFailed
from dita.venues.absence import ABSENCE_FENCE_MS, AbsenceProof, Verdict
from dita.venues.evidence import (
    balance_event,
    fills_cover,
    final_event,
    found_event,
    position_events,
)

RETRY_MIN_S: Final = 0.2
RETRY_MAX_S: Final = 5.0
#: Look this far back for an order's fills and for orders of a symbol.
LOOK_BACK_MS: Final = 7 * 86_400_000 - 60_000


T = TypeVar("T")


class Inquiry:
    """The questions of one runtime."""

    def __init__(self, runtime: Runtime, *, absence_fence_ms: int = ABSENCE_FENCE_MS) -> None:
        self.runtime = runtime
        self.absence_fence_ms = absence_fence_ms
        self._orders: dict[int, str] = {}
        self._balance_wanted = False
        runtime.on_effect.update(
            {
                EffectKind.QUERY_ORDER: self._query_effect,
                EffectKind.FINALISE: self._query_effect,
                EffectKind.QUERY_POSITION: self._position_effect,
                EffectKind.QUERY_BALANCE: self._balance_effect,
            }
        )

    async def _query_effect(self, effect: Effect) -> None:
        await self.order(effect.order_no)

    async def _position_effect(self, effect: Effect) -> None:
        await self.positions()

    async def _balance_effect(self, effect: Effect) -> None:
        await self.balance()

    # -- orders ------------------------------------------------------------------------------------

    async def order(self, order_no: int) -> None:
        """Find out about an order until the kernel has nothing more to ask about it."""
        if order_no in self._orders:
            return
        self._orders[order_no] = "asking"
        try:
            await self._until_settled(order_no)
        finally:
            del self._orders[order_no]

    def is_asking(self, order_no: int) -> bool:
        """Is somebody asking about this order now?"""
        return order_no in self._orders

    async def _until_settled(self, order_no: int) -> None:
        proof: AbsenceProof | None = None
        wait_s = RETRY_MIN_S
        while True:
            order = self.runtime.engine.kernel.order(order_no)
            if order is None or (order.final and order.status in ENDED_STATUSES):
                return
            try:
                report = await self._find(order, proof)
                if report is not None:
                    proof = None
                    if await self._report(order, report):
                        return
                elif proof is not None and proof.verdict is Verdict.PROVEN:
                    await self.runtime.ask(self._absent(order))
                    return
                elif proof is None and order.client_order_id not in self.runtime.submitting:
                    proof = await self._new_proof(order)
            except (QueryFailed, OutcomeUnknown):
                if proof is not None:
                    proof.failed()
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, RETRY_MAX_S)

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
        since = max(1, report.updated_ms - LOOK_BACK_MS)
        fills = await self.runtime.venue.fills(self._asset(order), since)
        if not fills_cover(report, fills):
            return False  # the fill history lags behind the order
        await self.runtime.ask(final_event(report, fills, 1))
        return True

    async def _new_proof(self, order: Order) -> AbsenceProof:
        # Its submit has ended, here or with a process before us: if it left at all, then before
        # now.  Only the venue's clock is asked, as ours may be ahead of it or behind.
        sent_ms = await self.runtime.venue.server_time_ms()
        return AbsenceProof(
            self._ref(order),
            order.side,
            sent_ms,
            self.runtime.venue.receive_window_ms,
            self.absence_fence_ms,
        )

    async def _find(self, order: Order, proof: AbsenceProof | None) -> OrderReport | None:
        """The order as the venue has it, None when it did not say.

        A question for an order that does not exist is an error, and a venue blocks who makes too
        many of the same (dossier §1.5): it is asked once at first, and then where the proof needs
        it.  In between lists are asked, which find as much.
        """
        if proof is not None:
            return await self._look_everywhere(order, proof)
        if order.client_order_id in self.runtime.submitting:
            reports = await self.runtime.venue.open_orders(self._asset(order))
            same = (r for r in reports if same_client_id(r.client_order_id, order.client_order_id))
            return next(same, None)
        return await self.runtime.venue.order(self._ref(order))

    async def _look_everywhere(self, order: Order, proof: AbsenceProof) -> OrderReport | None:
        venue, asset = self.runtime.venue, self._asset(order)
        now_ms = await venue.server_time_ms()
        since = max(1, now_ms - LOOK_BACK_MS)
        proof.server_time(now_ms)
        if proof.past_fence:
            proof.order(await venue.order(self._ref(order)))
        proof.open_orders(await venue.open_orders(asset))
        proof.all_orders(await venue.all_orders(asset, since))
        proof.fills(await venue.fills(asset, since))
        if proof.verdict is Verdict.FOUND and proof.report is None:
            return await venue.order(self._ref(order))  # only a fill told of it
        return proof.report

    @staticmethod
    def _absent(order: Order) -> VenueEvent:
        return VenueEvent(
            kind=KernelEventKind.ORDER_ABSENT,
            received_ms=1,
            client_order_id=order.client_order_id,
        )

    # -- positions and the balance -----------------------------------------------------------------

    async def positions(self) -> None:
        """One whole answer about positions, flat symbols of ours included."""
        kernel = self.runtime.engine.kernel
        asked_ms = await self._asked_until(self.runtime.venue.server_time_ms)
        reports = await self._asked_until(self.runtime.venue.positions)
        ours = {slot.asset for slot in kernel.active_slots()}
        for event in position_events(reports, ours, 1, asked_ms, kernel.config.hedge):
            await self.runtime.ask(event)

    async def balance(self) -> None:
        """One balance; requests that come while one is on its way share the next."""
        if self._balance_wanted:
            return
        self._balance_wanted = True
        try:
            report = await self._asked_until(self.runtime.venue.balance)
        finally:
            self._balance_wanted = False
        await self.runtime.ask(balance_event(report, 1))

    async def _asked_until(self, question: Callable[[], Awaitable[T]]) -> T:
        wait_s = RETRY_MIN_S
        while True:
            try:
                return await question()
            except QueryFailed:
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, RETRY_MAX_S)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Ask in the background."""
        self.runtime.spawn(work, name)
