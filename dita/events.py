"""What a venue reported, one function for each kind of report, for whoever embeds an engine.

Each returns a VenueEvent with the fields that its kind has.  Amounts are decimal text or Decimals,
and quantities of orders are *cumulative*: what is filled of the order so far.  A price is the true
average over that or "0" for unknown, never the order's nominal price.  None is "the venue did not
say".  Pure: times are arguments, ``received_ms`` by the kernel's clock, ``exchange_ms`` and
``asked_ms`` by the venue's.
"""

from __future__ import annotations

from dita import amounts
from dita.amounts import Amount
from dita.contracts import (
    BalanceReason,
    EvidenceSource,
    KernelEventKind,
    OrderSide,
    PositionSide,
    RejectReason,
    TradeSide,
    VenueEvent,
)

_Kind = KernelEventKind


# -- orders ----------------------------------------------------------------------------------------


def ack(
    *,
    received_ms: int,
    client_order_id: str,
    venue_order_id: str,
    exchange_ms: int = 0,
) -> VenueEvent:
    """The order is in the book, under this id of the venue's."""
    return VenueEvent(
        kind=_Kind.ORDER_ACK,
        received_ms=received_ms,
        exchange_ms=exchange_ms,
        client_order_id=client_order_id,
        venue_order_id=venue_order_id,
    )


def fill(
    *,
    received_ms: int,
    exchange_ms: int,
    quantity: Amount,
    price: Amount,
    client_order_id: str = "",
    venue_order_id: str = "",
    asset: str = "",
    side: OrderSide = OrderSide.UNKNOWN,
    position_side: PositionSide = PositionSide.UNKNOWN,
    fee: Amount | None = None,
    realized: Amount | None = None,
    source: EvidenceSource = EvidenceSource.STREAM,
) -> VenueEvent:
    """The order has filled so much to date; whether it is full is decided on the quantity.

    ``fee`` (positive when paid) and ``realized`` are to date too.  For an order that is not ours,
    asset and side, in hedge mode the position's side, say what it may have closed.
    """
    return VenueEvent(
        kind=_Kind.PARTIAL_FILL,
        received_ms=received_ms,
        exchange_ms=exchange_ms,
        quantity_e8=amounts.quantity(quantity, "quantity"),
        price_e10=amounts.price(price, "price"),
        client_order_id=client_order_id,
        venue_order_id=venue_order_id,
        asset=asset,
        side=side,
        position_side=position_side,
        fee=amounts.money_if(fee, "fee"),
        realized=amounts.money_if(realized, "realized"),
        source=source,
    )


def execution(
    *,
    received_ms: int,
    exchange_ms: int,
    execution_id: str,
    quantity: Amount,
    price: Amount,
    client_order_id: str = "",
    venue_order_id: str = "",
    fee: Amount | None = None,
    realized: Amount | None = None,
) -> VenueEvent:
    """One execution alone, from a venue that tells no cumulative figures; its id counts it once."""
    return VenueEvent(
        kind=_Kind.PARTIAL_FILL,
        received_ms=received_ms,
        exchange_ms=exchange_ms,
        event_id=execution_id,
        increment=True,
        quantity_e8=amounts.quantity(quantity, "quantity"),
        price_e10=amounts.price(price, "price"),
        client_order_id=client_order_id,
        venue_order_id=venue_order_id,
        fee=amounts.money_if(fee, "fee"),
        realized=amounts.money_if(realized, "realized"),
    )


def cancelled(
    *,
    received_ms: int,
    client_order_id: str = "",
    venue_order_id: str = "",
    exchange_ms: int = 0,
    expired: bool = False,
) -> VenueEvent:
    """The order has ended with a rest that did not fill: by a cancel, or by itself."""
    return VenueEvent(
        kind=_Kind.ORDER_EXPIRED if expired else _Kind.CANCEL_ACK,
        received_ms=received_ms,
        exchange_ms=exchange_ms,
        client_order_id=client_order_id,
        venue_order_id=venue_order_id,
    )


def cancel_rejected(
    *, received_ms: int, client_order_id: str = "", venue_order_id: str = "", message: str = ""
) -> VenueEvent:
    """A cancel was refused, lost, or not sent: it proves nothing, the order is asked about."""
    return VenueEvent(
        kind=_Kind.CANCEL_REJECT,
        received_ms=received_ms,
        client_order_id=client_order_id,
        venue_order_id=venue_order_id,
        message=message,
    )


def rejected(
    *,
    received_ms: int,
    client_order_id: str,
    reason: RejectReason = RejectReason.OTHER,
    error_code: int = 0,
    message: str = "",
) -> VenueEvent:
    """The venue did not take the order, or it is proven never to have left.

    ``error_code`` is the venue's number: too many equal ones make exits wait.
    """
    return VenueEvent(
        kind=_Kind.ORDER_REJECT,
        received_ms=received_ms,
        client_order_id=client_order_id,
        reject=reason,
        error_code=error_code,
        message=message,
    )


def unknown(*, received_ms: int, client_order_id: str, message: str = "") -> VenueEvent:
    """The answer to a submit was lost, late or unreadable: the order may be there, or not."""
    return VenueEvent(
        kind=_Kind.ORDER_UNKNOWN,
        received_ms=received_ms,
        client_order_id=client_order_id,
        message=message,
    )


def rate_limited(
    *, received_ms: int, client_order_id: str, retry_after_ms: int = 0, message: str = ""
) -> VenueEvent:
    """A submit was refused for our rate, so it is proven not executed; 0 when no time was given."""
    return VenueEvent(
        kind=_Kind.RATE_LIMITED,
        received_ms=received_ms,
        client_order_id=client_order_id,
        retry_after_ms=retry_after_ms,
        message=message,
    )


def absent(*, received_ms: int, client_order_id: str) -> VenueEvent:
    """*Proven*: the order is in none of the venue's records, and cannot come any more."""
    return VenueEvent(
        kind=_Kind.ORDER_ABSENT, received_ms=received_ms, client_order_id=client_order_id
    )


def final(
    *,
    received_ms: int,
    exchange_ms: int,
    quantity: Amount,
    cost: Amount | None = None,
    price: Amount = "0",
    client_order_id: str = "",
    venue_order_id: str = "",
    fee: Amount | None = None,
    realized: Amount | None = None,
    source: EvidenceSource = EvidenceSource.FILL_HISTORY,
) -> VenueEvent:
    """The end of the order with its figures from the venue's records; "0" when nothing filled.

    ``cost`` is the exact sum of price times quantity over its fills; else the average ``price``.
    """
    return VenueEvent(
        kind=_Kind.ORDER_FINAL,
        received_ms=received_ms,
        exchange_ms=exchange_ms,
        quantity_e8=amounts.quantity(quantity, "quantity"),
        cost=amounts.money_if(cost, "cost"),
        price_e10=amounts.price(price, "price"),
        client_order_id=client_order_id,
        venue_order_id=venue_order_id,
        fee=amounts.money_if(fee, "fee"),
        realized=amounts.money_if(realized, "realized"),
        source=source,
    )


def settled(
    *,
    received_ms: int,
    quantity: Amount,
    realized: Amount,
    client_order_id: str = "",
    venue_order_id: str = "",
    exchange_ms: int = 0,
    fee: Amount | None = None,
    source: EvidenceSource = EvidenceSource.STREAM,
) -> VenueEvent:
    """The venue's own result of an exit order, to date, over that quantity."""
    return VenueEvent(
        kind=_Kind.FILL_SETTLED,
        received_ms=received_ms,
        exchange_ms=exchange_ms,
        quantity_e8=amounts.quantity(quantity, "quantity"),
        realized=amounts.money(realized, "realized"),
        fee=amounts.money_if(fee, "fee"),
        client_order_id=client_order_id,
        venue_order_id=venue_order_id,
        source=source,
    )


def forced_close(
    *,
    received_ms: int,
    exchange_ms: int,
    asset: str,
    venue_order_id: str,
    quantity: Amount,
    price: Amount,
    side: OrderSide,
    position_side: PositionSide = PositionSide.UNKNOWN,
    fee: Amount | None = None,
    realized: Amount | None = None,
    deleveraged: bool = False,
) -> VenueEvent:
    """The venue has closed a position by itself: a liquidation, or auto-deleveraging."""
    return VenueEvent(
        kind=_Kind.ADL if deleveraged else _Kind.LIQUIDATION,
        received_ms=received_ms,
        exchange_ms=exchange_ms,
        asset=asset,
        venue_order_id=venue_order_id,
        quantity_e8=amounts.quantity(quantity, "quantity"),
        price_e10=amounts.price(price, "price"),
        side=side,
        position_side=position_side,
        fee=amounts.money_if(fee, "fee"),
        realized=amounts.money_if(realized, "realized"),
    )


# -- positions and the account ---------------------------------------------------------------------


def position(
    *, received_ms: int, asked_ms: int, asset: str, quantity: Amount, side: TradeSide | None
) -> VenueEvent:
    """What the venue holds on a symbol, in hedge mode on one side of it; "0" when it is flat.

    ``asked_ms`` is the venue's time when the question went out.  ``side`` is None when it is flat
    in one-way mode, or on both sides.
    """
    return VenueEvent(
        kind=_Kind.POSITION,
        received_ms=received_ms,
        exchange_ms=asked_ms,
        asset=asset,
        quantity_e8=amounts.quantity(quantity, "quantity"),
        side=OrderSide.UNKNOWN if side is None else OrderSide(side),
        source=EvidenceSource.ORDER_QUERY,
    )


def balance(
    *,
    received_ms: int,
    asked_ms: int,
    exchange_ms: int,
    wallet: Amount,
    available_margin: Amount = "0",
) -> VenueEvent:
    """The answer to a question for the balance, true between ``asked_ms`` and ``exchange_ms``."""
    return VenueEvent(
        kind=_Kind.ACCOUNT_UPDATE,
        received_ms=received_ms,
        exchange_ms=exchange_ms,
        requested_ms=asked_ms,
        amount=amounts.money(wallet, "wallet"),
        available_margin=amounts.money(available_margin, "available_margin"),
        source=EvidenceSource.ORDER_QUERY,
    )


def balance_frame(
    *,
    received_ms: int,
    exchange_ms: int,
    wallet: Amount,
    reason: BalanceReason = BalanceReason.UNKNOWN,
) -> VenueEvent:
    """A balance that the venue sent by itself, and why; funding and transfers announce a row."""
    return VenueEvent(
        kind=_Kind.ACCOUNT_UPDATE,
        received_ms=received_ms,
        exchange_ms=exchange_ms,
        amount=amounts.money(wallet, "wallet"),
        balance_reason=reason,
    )


def funding(
    *, received_ms: int, exchange_ms: int, row_id: str, amount: Amount, asset: str = ""
) -> VenueEvent:
    """A funding row of ours, signed as its effect on the account; its id counts it once."""
    return _row(_Kind.FUNDING_FEE, received_ms, exchange_ms, row_id, amount, asset)


def transfer(*, received_ms: int, exchange_ms: int, row_id: str, amount: Amount) -> VenueEvent:
    """A transfer into the account, or out of it (negative)."""
    return _row(_Kind.TRANSFER, received_ms, exchange_ms, row_id, amount, "")


def foreign_flow(
    *,
    received_ms: int,
    exchange_ms: int,
    row_id: str,
    amount: Amount,
    asset: str = "",
    reason: BalanceReason = BalanceReason.UNKNOWN,
) -> VenueEvent:
    """A row of somebody else's doing on the account, with their order or fill as proof.

    ``reason`` FUNDING or TRANSFER when that is what the row was.
    """
    return _row(_Kind.FOREIGN_FLOW, received_ms, exchange_ms, row_id, amount, asset, reason)


def income_read(*, received_ms: int, exchange_ms: int) -> VenueEvent:
    """Every row of the income history up to this time of the venue has been read and told."""
    return VenueEvent(kind=_Kind.INCOME_READ, received_ms=received_ms, exchange_ms=exchange_ms)


def tick(*, received_ms: int, exchange_ms: int = 0) -> VenueEvent:
    """Time passed; with the venue's time, what its clock says now."""
    return VenueEvent(kind=_Kind.TICK, received_ms=received_ms, exchange_ms=exchange_ms)


def _row(
    kind: KernelEventKind,
    received_ms: int,
    exchange_ms: int,
    row_id: str,
    amount: Amount,
    asset: str,
    reason: BalanceReason = BalanceReason.UNKNOWN,
) -> VenueEvent:
    return VenueEvent(
        kind=kind,
        received_ms=received_ms,
        exchange_ms=exchange_ms,
        event_id=row_id,
        asset=asset,
        amount=amounts.money(amount, "amount"),
        balance_reason=reason,
    )
