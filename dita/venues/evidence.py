"""From a venue's own records to venue events, and the proof that an order never reached the book.

The runtime asks the venue and hands the answers to these functions; what they return goes to the
journal and to the engine.  Everything is pure: no I/O, no clock, no guess — what the answers do
not say is left out, and an answer that cannot carry an event is a QueryFailed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from dita.contracts import (
    ENDED_STATUSES,
    BalanceReason,
    EvidenceSource,
    KernelEventKind,
    OrderSide,
    VenueEvent,
    VenueOrderStatus,
)
from dita.identity import plain_symbol
from dita.units import MONEY_ONE
from dita.venues import (
    BalanceReport,
    FillReport,
    OrderRef,
    OrderReport,
    PositionReport,
    QueryFailed,
)

#: The last digit of a fill's fee.
FILL_FEE_DIGIT: Final = MONEY_ONE // 10_000
#: Server time that must pass after the last moment at which the order could still be accepted.
ABSENCE_FENCE_MS: Final = 15_000


# -- orders ----------------------------------------------------------------------------------------


def fills_of(report: OrderReport, fills: Iterable[FillReport]) -> tuple[FillReport, ...]:
    """The fills of one order, each once, oldest first."""
    own: dict[str, FillReport] = {}
    for fill in fills:
        if _is_of(fill, report):
            own.setdefault(fill.fill_id, fill)
    return tuple(sorted(own.values(), key=lambda fill: (fill.filled_ms, fill.fill_id)))


def _is_of(fill: FillReport, report: OrderReport) -> bool:
    # The venue's id decides; fill histories often leave the client id empty.
    if fill.venue_order_id and report.venue_order_id:
        return fill.venue_order_id == report.venue_order_id
    return same_client_id(fill.client_order_id, report.client_order_id)


def same_client_id(one: str, other: str) -> bool:
    """Do both name the same order?  A venue may have lower-cased it; empty names nothing."""
    return one != "" and one.lower() == other.lower()


def fills_cover(report: OrderReport, fills: Iterable[FillReport]) -> bool:
    """Does the fill history have every unit that the order says is filled?

    When it does not, the history lags: asking again soon gives the exact cost.
    """
    return sum(fill.quantity_e8 for fill in fills_of(report, fills)) >= report.filled_e8


def final_event(report: OrderReport, fills: Iterable[FillReport], received_ms: int) -> VenueEvent:
    """ORDER_FINAL: an ended order with its final figures.  QueryFailed while it still works.

    With fills that cover the filled quantity cost and fee are exact sums over them.  The realized
    PnL is the order's own, and left out when the fills know more than the order's answer.
    """
    if report.status not in ENDED_STATUSES:
        raise QueryFailed(
            "order has not ended",
            expected="an ended order",
            found=f"{report.status.name} {report.client_order_id or report.venue_order_id}",
            action="ask again, or report what was found with found_event",
        )
    own = fills_of(report, fills)
    total = sum(fill.quantity_e8 for fill in own)
    if total < report.filled_e8 or not own:
        return _order_event(report, KernelEventKind.ORDER_FINAL, received_ms)
    return VenueEvent(
        kind=KernelEventKind.ORDER_FINAL,
        received_ms=received_ms,
        exchange_ms=max(report.updated_ms, own[-1].filled_ms),
        asset=report.asset,
        venue_order_id=report.venue_order_id,
        client_order_id=report.client_order_id,
        side=report.side,
        quantity_e8=total,
        cost=sum(fill.price_e10 * fill.quantity_e8 for fill in own),
        fee=_fee_of(report, own, total),
        realized=report.realized if total == report.filled_e8 else None,
        source=EvidenceSource.FILL_HISTORY,
    )


def _fee_of(report: OrderReport, own: Sequence[FillReport], total_e8: int) -> int:
    """The fills' fees, or the order's own figure where the fills' are only a coarser rounding.

    BingX rounds a fill's to 4 decimals and an order's to 6 (dossier §2.3).
    """
    fee = sum(fill.fee for fill in own)
    if report.fee is None or total_e8 != report.filled_e8:
        return fee
    return report.fee if abs(report.fee - fee) <= len(own) * FILL_FEE_DIGIT // 2 else fee


_FOUND: Final = {
    VenueOrderStatus.FILLED: KernelEventKind.FULL_FILL,
    VenueOrderStatus.CANCELLED: KernelEventKind.CANCEL_ACK,
    VenueOrderStatus.EXPIRED: KernelEventKind.ORDER_EXPIRED,
    VenueOrderStatus.REJECTED: KernelEventKind.ORDER_REJECT,
}


def found_event(report: OrderReport, received_ms: int) -> VenueEvent:
    """What a query found, for the kernel: an ack with what is filled so far, or the order's end.

    A working order that is partly filled is an ORDER_ACK with a quantity, not a PARTIAL_FILL: the
    fill may be known already, and a duplicate would leave the order UNKNOWN although it was found.
    """
    kind = _FOUND.get(report.status, KernelEventKind.ORDER_ACK)
    return _order_event(report, kind, received_ms)


def foreign_event(
    report: OrderReport, fills: Iterable[FillReport], received_ms: int
) -> VenueEvent | None:
    """A fill by an order that is not ours, for the kernel to find out what it closed; None if none.

    For a slot whose position disagrees: a liquidation, ADL or close by hand whose frame was lost or
    came before the entry's fill.  Only orders younger than the trade may be told of.
    """
    if not report.filled_e8:
        return None
    own = fills_of(report, fills)
    covered = sum(fill.quantity_e8 for fill in own) == report.filled_e8
    event = _order_event(report, KernelEventKind.FULL_FILL, received_ms)
    if not covered:
        return event
    return msgspec.structs.replace(
        event,
        price_e10=0,
        cost=sum(fill.price_e10 * fill.quantity_e8 for fill in own),
        fee=sum(fill.fee for fill in own),
        source=EvidenceSource.FILL_HISTORY,
    )


def _order_event(report: OrderReport, kind: KernelEventKind, received_ms: int) -> VenueEvent:
    filled = report.filled_e8 > 0
    return VenueEvent(
        kind=kind,
        received_ms=received_ms,
        exchange_ms=report.updated_ms,
        asset=report.asset,
        venue_order_id=report.venue_order_id,
        client_order_id=report.client_order_id,
        side=report.side,
        quantity_e8=report.filled_e8,
        price_e10=report.average_price_e10 if filled else 0,
        fee=report.fee if filled else None,
        realized=report.realized if filled else None,
        source=EvidenceSource.ORDER_QUERY,
    )


# -- positions and the balance --------------------------------------------------------------------


def position_events(
    reports: Sequence[PositionReport],
    assets_of_interest: Iterable[str],
    received_ms: int,
    asked_ms: int = 0,
    hedge: bool = False,
) -> tuple[VenueEvent, ...]:
    """POSITION events: everything reported, and a flat one for each asset that is not.

    ``asked_ms`` is the venue's time when the question went out: the answer may lack what happened
    later, so that is the time of the events.  In hedge mode each side of an asset is a position.
    """
    events = [_position(r.asset, r.side, r.quantity_e8, received_ms, asked_ms) for r in reports]
    held = {(plain_symbol(r.asset), r.side) for r in reports if r.quantity_e8}
    for asset in dict.fromkeys(assets_of_interest):
        sides = (OrderSide.BUY, OrderSide.SELL)
        if hedge:
            flat = [side for side in sides if (plain_symbol(asset), side) not in held]
        elif any((plain_symbol(asset), side) in held for side in sides):
            flat = []
        else:
            flat = [OrderSide.UNKNOWN]
        events += [_position(asset, side, 0, received_ms, asked_ms) for side in flat]
    return tuple(events)


def _position(
    asset: str, side: OrderSide, quantity_e8: int, received_ms: int, asked_ms: int
) -> VenueEvent:
    return VenueEvent(
        kind=KernelEventKind.POSITION,
        received_ms=received_ms,
        exchange_ms=asked_ms,
        asset=asset,
        side=side,
        quantity_e8=quantity_e8,
        source=EvidenceSource.ORDER_QUERY,
    )


def balance_event(report: BalanceReport, received_ms: int) -> VenueEvent:
    """ACCOUNT_UPDATE: the wallet, true at some moment between question and answer."""
    return VenueEvent(
        kind=KernelEventKind.ACCOUNT_UPDATE,
        received_ms=received_ms,
        exchange_ms=report.answered_ms,
        amount=report.wallet,
        available_margin=report.available_margin,
        requested_ms=report.requested_ms,
        balance_reason=BalanceReason.UNKNOWN,
        source=EvidenceSource.ORDER_QUERY,
    )


# -- absence ---------------------------------------------------------------------------------------


class Verdict(StrEnum):
    """What is known of an order that nobody answered for."""

    OPEN = "open"  # not enough evidence yet
    FOUND = "found"
    PROVEN = "proven"  # absent: it never reached the book and never will


class Question(StrEnum):
    """The four questions that must all lack the order."""

    ORDER = "order"
    OPEN_ORDERS = "open_orders"
    ALL_ORDERS = "all_orders"
    FILLS = "fills"


class AbsenceProof:
    """The proof that an order never reached the book, or the report that found it (design P3).

    Feed it every answer, in the order in which they arrived: ``server_time`` first, then the four
    questions (all orders before fills).  Only answers to questions asked after a server time past
    the fence count as evidence of absence; whatever finds the order counts at any time.  A failed
    question takes back everything, the server time included.
    """

    def __init__(
        self,
        order: OrderRef,
        side: OrderSide,
        sent_ms: int,
        receive_window_ms: int,
        fence_ms: int = ABSENCE_FENCE_MS,
    ) -> None:
        self.order_ref = order
        self.side = side
        #: Server time after which the venue can neither accept the order nor still hide it.
        self.until_ms = sent_ms + receive_window_ms + fence_ms
        self.report: OrderReport | None = None
        self._found = False
        self._past_fence = False
        self._lacking: set[Question] = set()
        self._others: set[str] = set()

    @property
    def verdict(self) -> Verdict:
        """FOUND stays; PROVEN once all four lack it."""
        if self._found:
            return Verdict.FOUND
        return Verdict.PROVEN if len(self._lacking) == len(Question) else Verdict.OPEN

    @property
    def past_fence(self) -> bool:
        """The venue's clock is past the fence: from now on a lack proves something."""
        return self._past_fence

    @property
    def missing(self) -> tuple[Question, ...]:
        """The questions that still have to be asked, in order; all of them before the fence."""
        return tuple(q for q in Question if q not in self._lacking)

    def failed(self) -> None:
        """A question got no answer: nothing follows, and what was gathered is void."""
        self._past_fence = False
        self._lacking.clear()
        self._others.clear()

    def server_time(self, now_ms: int) -> None:
        """The venue's clock, read before the questions that follow."""
        if not self._past_fence and now_ms > self.until_ms:
            self._past_fence = True
            self._lacking.clear()

    def order(self, report: OrderReport | None) -> None:
        """Answer to the question for the order by its ids."""
        self._take(Question.ORDER, () if report is None else (report,))

    def open_orders(self, reports: Sequence[OrderReport]) -> None:
        """Answer to the question for the symbol's working orders."""
        self._take(Question.OPEN_ORDERS, reports)

    def all_orders(self, reports: Sequence[OrderReport]) -> None:
        """Answer to the question for all orders since before it was sent."""
        self._take(Question.ALL_ORDERS, reports)

    def fills(self, fills: Sequence[FillReport]) -> None:
        """Answer to the question for the symbol's fills since before it was sent.

        A fill without a client id that belongs to no order we were told of may be the order's: it
        finds nothing, and it stands in the way of the proof.
        """
        if any(self._names(fill.client_order_id, fill.venue_order_id) for fill in fills):
            self._found = True
        elif not any(self._may_be_ours(fill) for fill in fills):
            self._lack(Question.FILLS)
        else:
            self._lacking.discard(Question.FILLS)

    def _take(self, question: Question, reports: Collection[OrderReport]) -> None:
        for report in reports:
            if self._names(report.client_order_id, report.venue_order_id):
                self._found = True
                self.report = report
                return
            self._others.add(report.venue_order_id)
        self._lack(question)

    def _lack(self, question: Question) -> None:
        if self._past_fence:
            self._lacking.add(question)

    def _names(self, client_order_id: str, venue_order_id: str) -> bool:
        known = self.order_ref.venue_order_id
        return same_client_id(client_order_id, self.order_ref.client_order_id) or (
            known != "" and venue_order_id == known
        )

    def _may_be_ours(self, fill: FillReport) -> bool:
        if fill.client_order_id or fill.venue_order_id in self._others:
            return False
        return fill.side in (self.side, OrderSide.UNKNOWN)
