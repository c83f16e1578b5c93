"""From a venue's own records to venue events.

The runtime asks the venue and hands the answers to these functions; what they return goes to the
journal and to the engine.  Everything is pure: no I/O, no clock, no guess — what the answers do
not say is left out, and an answer that cannot carry an event is a QueryFailed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
from dita.identity import is_own_client_id, plain_symbol, same_client_id
from dita.units import MONEY_ONE
from dita.venues import (
    BalanceReport,
    FillReport,
    OrderReport,
    PositionReport,
    QueryFailed,
    unreadable_in,
)

#: The last digit of a fill's fee.
FILL_FEE_DIGIT: Final = MONEY_ONE // 10_000


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
        position_side=report.position_side,
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
    came before the entry's fill.  Only orders younger than the trade may be told of.  Quantity, fee
    and realized are the whole order's: what of it closed ours is the kernel's to find out.  An
    order with the id of a kernel is nobody's hand, so nothing is told of it here.
    """
    if not report.filled_e8 or is_own_client_id(report.client_order_id):
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
        position_side=report.position_side,
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
    Nothing is said of an asset that an unreadable row of the answer may be about.
    """
    odd = unreadable_in(reports)
    certain = [r for r in reports if not any(row.may_concern(r.asset) for row in odd)]
    events = [_position(r.asset, r.side, r.quantity_e8, received_ms, asked_ms) for r in certain]
    held = {(plain_symbol(r.asset), r.side) for r in reports if r.quantity_e8}
    for asset in dict.fromkeys(assets_of_interest):
        sides = (OrderSide.BUY, OrderSide.SELL)
        if any(row.may_concern(asset) for row in odd):
            flat = []
        elif hedge:
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
