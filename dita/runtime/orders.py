"""Orders out: what SUBMIT and CANCEL effects become, and what the venue's answers are told as.

Each effect is carried out once, in a task of its own.  Whatever goes wrong on the way becomes an
event with the reason in words, so that nobody has to guess why an order was not sent.
"""

from __future__ import annotations

from typing import Final

from dita.contracts import (
    Effect,
    EffectKind,
    KernelCommandType,
    KernelEventKind,
    KernelIntent,
    VenueEvent,
)
from dita.errors import VenueError
from dita.runtime.loop import Asked, Runtime
from dita.runtime.queries.questions import Access
from dita.venues import AccessRefused, NotSent, OrderRef, OutcomeUnknown, SubmitOrder

#: An exit is not tried sooner than this after the venue refused our access.
ACCESS_RETRY_MS: Final = 60_000
WORDS_MAX: Final = 500

_Kind = KernelEventKind


class Orders:
    """Sends for one runtime."""

    def __init__(self, runtime: Runtime, access: Access) -> None:
        self._runtime = runtime
        self._access = access
        self._cancelling: set[str] = set()
        runtime.on_effect[EffectKind.SUBMIT] = self._on_submit
        runtime.on_effect[EffectKind.CANCEL] = self._on_cancel

    def _on_submit(self, asked: Asked) -> None:
        effect = asked.effect
        order = SubmitOrder(
            client_order_id=effect.client_order_id,
            asset=effect.asset,
            side=effect.side,
            order_type=effect.order_type,
            quantity_e8=effect.quantity_e8,
            limit_price_e10=effect.price_e10,
            reduce_only=effect.reduce_only,
            leverage=effect.leverage,
        )
        late_ms = self._late_ms(asked)
        self._runtime.spawn(
            self._submit(effect, order, late_ms), f"SUBMIT {effect.client_order_id}"
        )

    def _late_ms(self, asked: Asked) -> int:
        """How much later than its caller waits for an entry became durable; 0 in time."""
        record = asked.record
        if not isinstance(record, KernelIntent) or record.command is not KernelCommandType.ENTER:
            return 0
        late_ms = self._runtime.time.now_ms() - record.deadline_ms
        return max(0, late_ms) if record.deadline_ms else 0

    async def _submit(self, effect: Effect, order: SubmitOrder, late_ms: int) -> None:
        try:
            if late_ms:
                raise NotSent(
                    "no entry: it was journalled too late",
                    expected="a disk that syncs within the time that the caller waits",
                    found=f"{late_ms} ms later",
                    action="look at the journal's disk: pink-ctl status",
                )
            events = await self._runtime.venue.submit(order)
        except AccessRefused as refused:
            self._access.refused(refused)
            events = (self._refused(effect, refused),)
        except NotSent as failed:
            events = (told(effect, _Kind.ORDER_REJECT, failed, failed.error_code),)
        except VenueError as failed:
            code = failed.error_code if isinstance(failed, OutcomeUnknown) else 0
            events = (told(effect, _Kind.ORDER_UNKNOWN, failed, code),)
        # Applied before it counts as answered: who looks at the order then sees what was said.
        await self._runtime.ask_all(*events)
        self._runtime.submitting.discard(order.client_order_id)

    @staticmethod
    def _refused(effect: Effect, refused: AccessRefused) -> VenueEvent:
        """Proven not executed: an entry is dropped, an exit stays latched and waits."""
        if not effect.reduce_only:
            return told(effect, _Kind.ORDER_REJECT, refused, refused.error_code)
        return told(
            effect, _Kind.RATE_LIMITED, refused, refused.error_code, retry_after_ms=ACCESS_RETRY_MS
        )

    def _on_cancel(self, asked: Asked) -> None:
        effect = asked.effect
        ref = OrderRef(
            asset=effect.asset,
            client_order_id=effect.client_order_id,
            venue_order_id=effect.venue_order_id,
        )
        key = ref.client_order_id or ref.venue_order_id
        if key not in self._cancelling:
            self._cancelling.add(key)
            self._runtime.spawn(self._cancel(ref, key), f"CANCEL {key}")

    async def _cancel(self, ref: OrderRef, key: str) -> None:
        try:
            events = await self._runtime.venue.cancel(ref)
        except VenueError as failed:
            if isinstance(failed, AccessRefused):
                self._access.refused(failed)
            # Whatever became of it, the order itself has to be looked at.
            events = (told(ref, _Kind.CANCEL_REJECT, failed, 0),)
        finally:
            self._cancelling.discard(key)
        await self._runtime.post(*events)

    async def cancel_again(self) -> None:
        """Cancel what must not work any more: a cancel can be lost, or die with us."""
        kernel = self._runtime.engine.kernel
        for order in kernel.unwanted_orders():
            ref = OrderRef(
                asset=kernel.asset_of(order.trade_no),
                client_order_id=order.client_order_id,
                venue_order_id=order.venue_order_id,
            )
            key = ref.client_order_id or ref.venue_order_id
            if key in self._cancelling or self._access.refused_since_ms:
                continue
            self._cancelling.add(key)
            try:
                await self._runtime.post(*await self._runtime.venue.cancel(ref))
            except AccessRefused as refused:
                self._access.refused(refused)
            except (NotSent, OutcomeUnknown):
                continue  # the next round tries again
            finally:
                self._cancelling.discard(key)


def told(
    about: Effect | OrderRef,
    kind: KernelEventKind,
    why: VenueError,
    error_code: int,
    *,
    retry_after_ms: int = 0,
) -> VenueEvent:
    """What became of an order, with the reason in words."""
    return VenueEvent(
        kind=kind,
        received_ms=1,
        asset=about.asset,
        client_order_id=about.client_order_id,
        error_code=error_code,
        message=str(why)[:WORDS_MAX],
        retry_after_ms=retry_after_ms,
    )
