"""From the rows of BingX's REST replies to the reports of the venue protocol.

Pure: no I/O, no clock, no guess.  A row whose meaning is not certain is a WireError, which fails
the question it answers; it never becomes a smaller answer.  What frames mean is in ``events``.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from dita.contracts import KernelEventKind, OrderSide, VenueEvent, VenueOrderStatus
from dita.identity import plain_symbol
from dita.units import MONEY_ONE
from dita.venues import (
    BalanceReport,
    FillReport,
    IncomeKind,
    IncomeReport,
    OrderReport,
    PositionReport,
    SubmitOrder,
)
from dita.venues.bingx.replies import (
    BALANCES,
    COMMISSION_RATE,
    FILL_LIST,
    INCOME,
    ORDER_LIST,
    POSITIONS,
    WRAPPED_ORDER,
    FillRow,
    IncomeRow,
    OneBalance,
    OrderRow,
    PositionRow,
)
from dita.venues.bingx.wire import (
    ORDER_TYPES,
    POSITION_SIDES,
    SIDES,
    STATUSES,
    Digits,
    WireError,
    decode,
    is_absent,
    read_average,
    read_id,
    read_leverage,
    read_money,
    read_ms,
    read_name,
    read_price,
    read_quantity,
    read_rate_e9,
    read_symbol,
    unreadable,
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
#: ``filledTm`` ends in Z and is the wall time of UTC+8 (dossier §2.3).
_WALL_OFFSET_MS: Final = 8 * 3_600_000
_WALL_OFFSETS: Final = (None, timedelta(0), timedelta(hours=8))
#: What a swap account pays its fees in; the sum of a fee in anything else would be a wrong number.
_FEE_ASSETS: Final = frozenset({"", "USDT", "USDC", "VST"})

# -- orders ----------------------------------------------------------------------------------------


def order_ids(row: OrderRow) -> tuple[str, str]:
    """(venue id, client id).  WireError when the venue id is missing or spelt in two ways."""
    number, text = read_id(row.order_id, "orderId"), read_id(row.order_id_text, "orderID")
    if number and text and number != text:
        raise unreadable("orderId", (number, text), "one order id")
    if not number and not text:
        raise unreadable("orderId", row.order_id, "an order id")
    client = read_id(row.client_order_id, "clientOrderId")
    return number or text, client or read_id(row.client_order_id_old, "clientOrderID")


def order_report(row: OrderRow) -> OrderReport:
    """An order as a query, a list or a cancel shows it.

    The average is the venue's ``avgPrice``, never ``price``, which is not the fill's (dossier
    §2.3).  ``cumQuote`` is rounded to whole units and not used.  A commission below 0 was paid.
    """
    venue_id, client_id = order_ids(row)
    quantity = row.orig_qty if not is_absent(row.orig_qty) else row.quantity
    filled = read_quantity(row.executed_qty, "executedQty")
    status = read_name(STATUSES, row.status, "status")
    if status is VenueOrderStatus.FILLED and not filled:
        raise unreadable("executedQty", row.executed_qty, "the quantity of a FILLED order")
    commission = read_money(row.commission, "commission") if filled else None
    return OrderReport(
        client_order_id=client_id,
        venue_order_id=venue_id,
        asset=read_symbol(row.symbol),
        side=read_name(SIDES, row.side, "side"),
        order_type=read_name(ORDER_TYPES, row.type, "type"),
        status=status,
        quantity_e8=read_quantity(quantity, "origQty"),
        filled_e8=filled,
        average_price_e10=read_average(row.avg_price, "avgPrice") if filled else 0,
        fee=None if commission is None else -commission,
        realized=read_money(row.profit, "profit") if filled else None,
        updated_ms=read_ms(row.update_time, "updateTime") or read_ms(row.time, "time"),
    )


def order_of(data: msgspec.Raw) -> OrderReport:
    """``data`` of a reply about one order, wrapped or flat."""
    return order_report(decode(WRAPPED_ORDER, data).row)


def orders_of(data: msgspec.Raw) -> tuple[OrderReport, ...]:
    """``data`` of a list of orders, in the venue's order."""
    return tuple(order_report(row) for row in decode(ORDER_LIST, data).rows)


def acknowledged(data: msgspec.Raw, order: SubmitOrder, received_ms: int) -> VenueEvent:
    """ORDER_ACK from the answer to an order.

    ``avgPrice`` and ``executedQty`` in it are zeros even for MARKET (dossier §2.1), so nothing but
    the identity is taken.  WireError when the answer is about another order.
    """
    row = decode(WRAPPED_ORDER, data).row
    venue_id, client_id = order_ids(row)
    symbol = read_symbol(row.symbol) if row.symbol else order.asset
    if plain_symbol(symbol) != plain_symbol(order.asset):
        raise unreadable("symbol", symbol, order.asset)
    if client_id and client_id.lower() != order.client_order_id.lower():
        raise unreadable("clientOrderId", client_id, order.client_order_id)
    return VenueEvent(
        kind=KernelEventKind.ORDER_ACK,
        received_ms=received_ms,
        asset=order.asset,
        venue_order_id=venue_id,
        client_order_id=order.client_order_id,
        side=order.side,
    )


# -- fills -----------------------------------------------------------------------------------------


def fills_of(data: msgspec.Raw) -> tuple[FillReport, ...]:
    """``data`` of allFillOrders (asked for in COIN) or fillHistory, oldest first.

    allFillOrders has no trade ids: equal rows of one order get a running number, so that two equal
    fills stay two.
    """
    seen: Counter[tuple[Any, ...]] = Counter()
    reports = []
    for row in decode(FILL_LIST, data).rows:
        report = _fill(row)
        same = (report.venue_order_id, report.filled_ms, report.quantity_e8, report.price_e10)
        if is_absent(row.trade_id):
            seen[same] += 1
            report = msgspec.structs.replace(report, fill_id=f"{report.fill_id}:{seen[same]}")
        reports.append(report)
    return tuple(sorted(reports, key=lambda fill: fill.filled_ms))


def _fill(row: FillRow) -> FillReport:
    order_id, trade_id = read_id(row.order_id, "orderId"), read_id(row.trade_id, "tradeId")
    if not order_id:
        raise unreadable("orderId", row.order_id, "an order id")
    price = read_price(row.price)
    quantity = read_quantity(row.qty if is_absent(row.volume) else row.volume, "volume")
    if not price or not quantity:
        raise unreadable("fill", (row.price, row.volume, row.qty), "a price and a quantity")
    _check_unit(row, price * quantity)
    commission = read_money(row.commission, "commission")
    currency = read_id(row.currency, "currency") or read_id(row.commission_asset, "currency")
    if commission is None or currency not in _FEE_ASSETS:
        raise unreadable("commission", (row.commission, currency), "a fee in USDT or VST")
    client_id = read_id(row.client_order_id) or read_id(row.client_order_id_old)
    when = filled_ms(row.filled_time, row.filled_tm)
    return FillReport(
        fill_id=f"{order_id}:{trade_id}" if trade_id else f"{order_id}:{when}:{quantity}:{price}",
        client_order_id=client_id,
        venue_order_id=order_id,
        asset=read_symbol(row.symbol),
        side=OrderSide.UNKNOWN if is_absent(row.side) else read_name(SIDES, row.side, "side"),
        quantity_e8=quantity,
        price_e10=price,
        fee=-commission,
        filled_ms=when,
    )


def _check_unit(row: FillRow, worth: int) -> None:
    # With CONT the volume counts contracts, which are powers of ten away from coins (ccxt #29476).
    # The venue rounds the amount, so it has to agree only roughly.
    amount = row.amount if not is_absent(row.volume) else row.quote_qty
    told = read_money(amount, "amount")
    if told is not None and abs(abs(told) - worth) > max(abs(told), worth) // 2 + MONEY_ONE:
        raise unreadable("volume", (row.volume, row.qty), f"coins worth {amount}, not contracts")


def filled_ms(filled_time: Digits, filled_tm: Digits) -> int:
    """When a fill was, in UTC: ``filledTime`` with its offset, else ``filledTm`` less 8 hours."""
    if not is_absent(filled_time):
        moment = _moment(filled_time, "filledTime")
        if moment.tzinfo is None:
            raise unreadable("filledTime", filled_time, "a time with its offset")
        return (moment - _EPOCH) // _MS
    moment = _moment(filled_tm, "filledTm")
    if moment.utcoffset() not in _WALL_OFFSETS:
        raise unreadable("filledTm", filled_tm, "a wall time of UTC+8")
    return (moment.replace(tzinfo=UTC) - _EPOCH) // _MS - _WALL_OFFSET_MS


def _moment(text: Digits, field: str) -> datetime:
    if type(text) is str and len(text) <= 40 and text.isascii() and text[4:5] == "-":
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise unreadable(field, text, "a time", str(error)) from error
        if 2000 < moment.year < 2200:
            return moment
    raise unreadable(field, text, "a time such as 2023-12-16T20:58:36.000+0800")


# -- positions, balance, income --------------------------------------------------------------------


def positions_of(data: msgspec.Raw) -> tuple[PositionReport, ...]:
    """``data`` of positions, flat ones left out.

    The amount is unsigned and the direction in LONG or SHORT, in one-way mode too (dossier §2.4).
    Several positions of one side (separate isolated margin) are reported as one.
    """
    found: dict[tuple[str, OrderSide], PositionReport] = {}
    for row in decode(POSITIONS, data):
        report = _position(row)
        if report is None:
            continue
        key = (report.asset, report.side)
        found[key] = _joined(found[key], report) if key in found else report
    return tuple(found.values())


def signed_amount(amount: Digits, field: str) -> tuple[int, bool]:
    """(quantity, did it carry a minus)."""
    if type(amount) is int or (isinstance(amount, str) and amount.startswith("-")):
        text = str(amount)
        if text.startswith("-"):
            return read_quantity(text[1:], field), True
    return read_quantity(amount, field), False


def _position(row: PositionRow) -> PositionReport | None:
    quantity, negative = signed_amount(row.position_amt, "positionAmt")
    side = read_name(POSITION_SIDES, row.position_side, "positionSide")
    symbol = read_symbol(row.symbol)
    if not quantity:
        return None
    if negative and side is OrderSide.UNKNOWN:
        side = OrderSide.SELL
    if side is OrderSide.UNKNOWN or (negative and side is OrderSide.BUY):
        found = (row.position_side, row.position_amt)
        raise unreadable("positionSide", found, "LONG or SHORT with an unsigned amount")
    return PositionReport(
        asset=symbol,
        side=side,
        quantity_e8=quantity,
        average_price_e10=read_average(row.avg_price, "avgPrice"),
        leverage=read_leverage(row.leverage),
        updated_ms=read_ms(row.update_time, "updateTime"),
        mark_price_e10=_shown_price(row.mark_price),
        liquidation_price_e10=_shown_price(row.liquidation_price),
        unrealized=_shown_money(row.unrealized_profit),
    )


def _shown_price(value: Digits) -> int:
    """A price that is only shown: one that cannot be read must not make the answer unreadable."""
    try:
        return read_average(value)
    except WireError:
        return 0


def _shown_money(value: Digits) -> int | None:
    try:
        return read_money(value)
    except WireError:
        return None


def _joined(one: PositionReport, other: PositionReport) -> PositionReport:
    total = one.quantity_e8 + other.quantity_e8
    cost = one.average_price_e10 * one.quantity_e8 + other.average_price_e10 * other.quantity_e8
    return msgspec.structs.replace(
        one,
        quantity_e8=total,
        average_price_e10=cost // total,
        leverage=max(one.leverage, other.leverage),
        # Of several isolated positions the nearest liquidation, as far as each was told.
        liquidation_price_e10=_nearest(one, other),
        unrealized=None
        if one.unrealized is None or other.unrealized is None
        else one.unrealized + other.unrealized,
        updated_ms=max(one.updated_ms, other.updated_ms),
    )


def _nearest(one: PositionReport, other: PositionReport) -> int:
    prices = [r.liquidation_price_e10 for r in (one, other) if r.liquidation_price_e10]
    if not prices:
        return 0
    return max(prices) if one.side is OrderSide.BUY else min(prices)


def balance_of(data: msgspec.Raw, asset: str, requested_ms: int, answered_ms: int) -> BalanceReport:
    """``data`` of the balance, v3 or v2.  WireError when the asset's row is absent or empty."""
    found = decode(BALANCES, data)
    rows = (found.balance,) if isinstance(found, OneBalance) else found
    row = next((row for row in rows if row.asset == asset), None)
    wallet = None if row is None else read_money(row.balance, "balance")
    margin = None if row is None else read_money(row.available_margin, "availableMargin")
    if wallet is None or margin is None:
        raise unreadable("balance", asset, f"a row of {asset} with its figures")
    return BalanceReport(
        wallet=wallet,
        available_margin=margin,
        requested_ms=requested_ms,
        answered_ms=answered_ms,
    )


INCOME_KINDS: Final[dict[str, IncomeKind]] = {
    "REALIZED_PNL": IncomeKind.REALIZED,
    "INSURANCE_CLEAR": IncomeKind.INSURANCE,
    "ADL": IncomeKind.ADL,
    "TRADING_FEE": IncomeKind.FEE,
    "FUNDING_FEE": IncomeKind.FUNDING,
    "TRANSFER": IncomeKind.TRANSFER,
    "TRIAL_FUND": IncomeKind.OTHER,
    "SYSTEM_DEDUCTION": IncomeKind.OTHER,
    "GTD_PRICE": IncomeKind.OTHER,
}


def income_of(data: msgspec.Raw, asset: str) -> tuple[IncomeReport, ...]:
    """``data`` of the income history in the account's asset, oldest first."""
    reports = [_income(row) for row in _income_rows(data) if row.asset == asset]
    return tuple(sorted(reports, key=lambda row: row.time_ms))


def _income_rows(data: msgspec.Raw) -> tuple[IncomeRow, ...]:
    # Null may be how the venue says "no rows"; unlike with positions nothing is closed by it.
    if bytes(data) == b"null":
        return ()
    return decode(INCOME, data)


def _income(row: IncomeRow) -> IncomeReport:
    amount, income_id = read_money(row.income, "income"), read_id(row.tran_id, "tranId")
    if amount is None or not income_id:
        raise unreadable("income", (row.income, row.tran_id), "an amount and a tranId")
    return IncomeReport(
        income_id=income_id,
        kind=read_name(INCOME_KINDS, row.income_type, "incomeType"),
        asset=read_id(row.symbol, "symbol"),
        amount=amount,
        trade_id=read_id(row.trade_id, "tradeId"),
        time_ms=read_ms(row.time, "time"),
    )


def fee_rates_of(data: msgspec.Raw) -> tuple[int, int]:
    """``data`` of commissionRate: (taker, maker) in 10^-9.  WireError when one is missing."""
    rates = decode(COMMISSION_RATE, data).commission
    for rate in (rates.taker_commission_rate, rates.maker_commission_rate):
        if is_absent(rate):
            raise unreadable("commission rate", rate, "taker and maker rate")
    return (
        read_rate_e9(rates.taker_commission_rate, "takerCommissionRate"),
        read_rate_e9(rates.maker_commission_rate, "makerCommissionRate"),
    )
