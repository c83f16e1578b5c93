"""Orders and cancels to BingX: checks before a byte leaves, and what each answer means for them.

What we can tell to be wrong is never sent; what the exchange refused for certain is an event;
everything else is unknown (design P3).  Entries have to pass checks that exits never wait for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from dita.clock import Clock
from dita.contracts import KernelEventKind as Kind
from dita.contracts import RejectReason, VenueEvent
from dita.venues import NotSent, OrderRef, OutcomeUnknown, SubmitOrder
from dita.venues.bingx.leverage import Leverage
from dita.venues.bingx.orders import check_entry, check_order, parameters_of, too_small
from dita.venues.bingx.rest import client, parse
from dita.venues.bingx.rest.client import Answer, Client
from dita.venues.bingx.rest.error_codes import Meaning
from dita.venues.bingx.rest.symbols import Symbol
from dita.venues.bingx.values import UnreadableValue

#: What an event takes of the exchange's words.
MESSAGE_MAX: Final = 500
#: Our clock may differ by so much from the exchange's before entries stop.
SKEW_MAX_MS: Final = 2_000
#: Of the order endpoint's window; the rest is kept for exits.
ENTRIES_SHARE_PERCENT: Final = 70
#: Of equal errors of cancels; the exchange blocks the endpoint at 20 (dossier §1.5).
CANCEL_ERRORS_MAX: Final = 18
#: A cancel waits for its turn no longer.
CANCEL_WAIT_MAX_MS: Final = 5_000

_REJECTS: Final = {
    Meaning.REJECTED: RejectReason.OTHER,
    Meaning.SYMBOL: RejectReason.OTHER,
    Meaning.SUSPENDED: RejectReason.SUSPENDED,
    Meaning.TOO_SMALL: RejectReason.BELOW_MINIMUM,
    Meaning.NO_POSITION: RejectReason.POSITION_MISMATCH,
}
_CANCEL_REFUSED: Final = (
    Meaning.REJECTED,
    Meaning.SYMBOL,
    Meaning.SUSPENDED,
    Meaning.NOT_FOUND,
    Meaning.ENDED,
    # It was not executed, but RATE_LIMITED would say of the order that its POST was not.
    Meaning.LIMITED,
)


class Trading:
    """Sends for one account.  ``find`` gives a symbol as the exchange lists it, or None."""

    def __init__(
        self,
        of: Client,
        clock: Clock,
        find: Callable[[str], Symbol | None],
        leverage: Leverage,
        hedge: bool,
    ) -> None:
        self._client = of
        self._clock = clock
        self._find = find
        self._leverage = leverage
        self._hedge = hedge
        #: What the exchange said when it refused, newest last: for an operator.
        self.refusals: deque[str] = deque(maxlen=32)

    # -- submit ------------------------------------------------------------------------------------

    async def submit(self, order: SubmitOrder) -> tuple[VenueEvent, ...]:
        """Send an order once.  NotSent, OutcomeUnknown; AccessRefused."""
        started_ms = self._client.time.monotonic_ms()
        symbol = self._find(order.asset)
        check_order(order, symbol)
        if not order.reduce_only:
            symbol = check_entry(order, symbol)
            if words := too_small(order, symbol):
                # As the exchange would say; an exit it has to say itself, it may well take it.
                small = RejectReason.BELOW_MINIMUM
                return (self._event(order, Kind.ORDER_REJECT, reject=small, message=words),)
            self._check_clock()
            await self._leverage.ensure(symbol.name, order.side, order.leverage)
        if wait_ms := self._must_wait_ms(order):
            words = "not sent: the order endpoint's limit is reached or blocked"
            limited = Kind.RATE_LIMITED
            return (self._event(order, limited, retry_after_ms=wait_ms, message=words),)
        name = symbol.name if symbol is not None else order.asset
        parameters = parameters_of(order, name, self._hedge)
        answer = await self._client.order(client.PLACE, parameters, started_ms)
        return (self._answered(order, answer),)

    def _must_wait_ms(self, order: SubmitOrder) -> int:
        """What the exchange has blocked is not sent; only an entry leaves room for others."""
        limit = client.PLACE.limit
        budget = self._client.budget
        if order.reduce_only:
            return budget.blocked_ms(limit)
        return budget.blocked_ms(limit) or budget.wait_ms(limit, ENTRIES_SHARE_PERCENT)

    def _check_clock(self) -> None:
        time = self._client.time
        if not time.known:
            raise NotSent(
                "no entry: the exchange's time was not measured lately",
                action="look at the connection to the exchange",
            )
        skew_ms = time.skew_ms()
        if abs(skew_ms) > SKEW_MAX_MS:
            raise NotSent(
                "no entry: our clock is off",
                expected=f"at most {SKEW_MAX_MS} ms from the exchange's",
                found=f"{skew_ms} ms",
                action="set this machine's clock (NTP)",
            )

    def _answered(self, order: SubmitOrder, answer: Answer) -> VenueEvent:
        if answer.meaning is Meaning.DONE:
            try:
                return parse.acknowledged(answer.data, order, self._clock.now_ms())
            except UnreadableValue as bad:
                raise OutcomeUnknown("order answer cannot be read", found=bad.found) from bad
        self._note(order.client_order_id, answer)
        said: dict[str, Any] = {"error_code": answer.code, "message": answer.text}
        if answer.meaning is Meaning.LIMITED:
            wait_ms = self._client.retry_after_ms(answer)
            return self._event(order, Kind.RATE_LIMITED, retry_after_ms=wait_ms, **said)
        if answer.meaning in _REJECTS:
            return self._event(order, Kind.ORDER_REJECT, reject=_REJECTS[answer.meaning], **said)
        raise OutcomeUnknown(
            "the answer says nothing about the order", error_code=answer.code, found=answer.shown
        )

    # -- cancel ------------------------------------------------------------------------------------

    async def cancel(self, ref: OrderRef) -> tuple[VenueEvent, ...]:
        """Ask for a cancel.  What a good answer says is not believed: no event (dossier §2.2)."""
        limit = client.CANCEL.limit
        budget = self._client.budget
        if blocked_ms := budget.blocked_ms(limit):
            raise NotSent("cancels are blocked by the exchange", found=f"for {blocked_ms} ms")
        if budget.is_near_block(limit, CANCEL_ERRORS_MAX):
            raise NotSent(
                "cancel held back: one more error would block every cancel",
                found=f"equal errors by code {budget.equal_errors(limit)}",
            )
        await self._cancel_turn()
        symbol = self._find(ref.asset)
        parameters = {"symbol": symbol.name if symbol is not None else ref.asset}
        if ref.venue_order_id:
            parameters["orderId"] = ref.venue_order_id
        else:
            parameters["clientOrderId"] = ref.client_order_id
        started_ms = self._client.time.monotonic_ms()
        answer = await self._client.order(client.CANCEL, parameters, started_ms)
        if answer.meaning is Meaning.DONE:
            return ()
        self._note(ref.client_order_id, answer)
        if answer.meaning in _CANCEL_REFUSED:
            return (
                self._event(
                    ref,
                    Kind.CANCEL_REJECT,
                    venue_order_id=ref.venue_order_id,
                    error_code=answer.code,
                    message=answer.text,
                ),
            )
        raise OutcomeUnknown(
            "the answer says nothing about the cancel", error_code=answer.code, found=answer.shown
        )

    async def _cancel_turn(self) -> None:
        """A burst of cancels at once would be refused and the endpoint blocked for minutes."""
        waited_ms = 0
        while waited_ms < CANCEL_WAIT_MAX_MS:
            wait_ms = self._client.budget.wait_ms(client.CANCEL.limit, group_percent=100)
            if not wait_ms:
                return
            waited_ms += wait_ms
            await self._client.budget.sleep(wait_ms)

    # -- events ------------------------------------------------------------------------------------

    def _note(self, client_order_id: str, answer: Answer) -> None:
        self.refusals.append(f"{client_order_id}: {answer.shown}")

    def _event(
        self, about: SubmitOrder | OrderRef, kind: Kind, /, message: str = "", **said: Any
    ) -> VenueEvent:
        return VenueEvent(
            kind=kind,
            received_ms=self._clock.now_ms(),
            exchange_ms=self._client.time.now_ms() if self._client.time.known else 0,
            asset=about.asset,
            client_order_id=about.client_order_id,
            message=message[:MESSAGE_MAX],
            **said,
        )
