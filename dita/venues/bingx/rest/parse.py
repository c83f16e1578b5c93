"""From the rows of BingX's REST replies to the reports of the venue protocol.

Pure: no I/O, no clock, no guess.  A row whose meaning is not certain is set aside as unreadable
(``rows``); it never becomes a smaller answer.  What frames mean is in ``stream.parse``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from dita.contracts import (
    KernelEventKind,
    OrderSide,
    OrderType,
    VenueEvent,
    VenueOrderStatus,
)
from dita.identity import plain_symbol
from dita.units import MONEY_ONE
from dita.venues import (
    BalanceReport,
    FillReport,
    IncomeKind,
    IncomeReport,
    OrderReport,
    PositionReport,
    Rows,
    SubmitOrder,
)
from dita.venues.bingx.rest.models import (
    BALANCE_ROW,
    BALANCES,
    COMMISSION_RATE,
    FILL_LIST,
    FILL_ROW,
    INCOME,
    INCOME_ROW,
    ORDER_LIST,
    ORDER_ROW,
    POSITION_ROW,
    POSITIONS,
    WRAPPED_ORDER,
    BalanceRow,
    FillRow,
    IncomeRow,
    OneBalance,
    OrderRow,
    PositionRow,
)
from dita.venues.bingx.rows import read_rows
from dita.venues.bingx.values import (
    ORDER_TYPES,
    POSITION_SIDES,
    SIDES,
    STATUSES,
    Digits,
    UnreadableValue,
    decode,
    is_absent,
    read_average,
    read_client_id,
    read_id,
    read_leverage,
    read_money,
    read_ms,
    read_name,
    read_position_side,
    read_price,
    read_quantity,
    read_rate_e9,
    read_symbol,
    unreadable,
)

T = TypeVar("T")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
#: ``filledTm`` ends in Z and is the wall time of UTC+8 (dossier §2.3).
_WALL_OFFSET_MS: Final = 8 * 3_600_000
_WALL_OFFSETS: Final = (None, timedelta(0), timedelta(hours=8))
#: What a swap account pays its fees in; the sum of a fee in anything else would be a wrong number.
_FEE_ASSETS: Final = frozenset({"", "USDT", "USDC", "VST"})

# -- orders ----------------------------------------------------------------------------------------


def order_ids(row: OrderRow) -> tuple[str, str]:
    """(venue id, client id).  UnreadableValue when the venue id is missing or spelt in two ways."""
    number, text = read_id(row.order_id, "orderId"), read_id(row.order_id_text, "orderID")
    if number and text and number != text:
        raise unreadable("orderId", (number, text), "one order id")
    if not number and not text:
        raise unreadable("orderId", row.order_id, "an order id")
    client = read_client_id(row.client_order_id)
    return number or text, client or read_client_id(row.client_order_id_old, "clientOrderID")


def order_report(row: OrderRow) -> OrderReport:
    """An order as a query, a list or a cancel shows it.

    The average is the venue's ``avgPrice``, never ``price``, which is not the fill's (dossier
    §2.3).  ``cumQuote`` is rounded to whole units and not used.  A commission below 0 was paid.
    A type that we do not know is None: no order of ours has one, and what it did is in its figures.
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
        order_type=_type_of(row.type),
        status=status,
        quantity_e8=read_quantity(quantity, "origQty"),
        filled_e8=filled,
        average_price_e10=read_average(row.avg_price, "avgPrice") if filled else 0,
        fee=None if commission is None else -commission,
        realized=read_money(row.profit, "profit") if filled else None,
        updated_ms=read_ms(row.update_time, "updateTime") or read_ms(row.time, "time"),
        position_side=read_position_side(row.position_side),
    )


def _type_of(word: object) -> OrderType | None:
    return ORDER_TYPES.get(word) if type(word) is str else None


def order_of(data: msgspec.Raw) -> OrderReport:
    """``data`` of a reply about one order, wrapped or flat."""
    return order_report(decode(WRAPPED_ORDER, data).row)


def orders_of(data: msgspec.Raw, asset: str = "") -> Rows[OrderReport]:
    """``data`` of a list of orders, in the venue's order; of one symbol where it is named."""
    return read_rows(decode(ORDER_LIST, data).rows, ORDER_ROW, order_report, asset)


def order_rows_in(data: msgspec.Raw) -> int:
    """How many rows a list of orders has, whatever they are about."""
    return len(decode(ORDER_LIST, data).rows)


def acknowledged(data: msgspec.Raw, order: SubmitOrder, received_ms: int) -> VenueEvent:
    """ORDER_ACK from the answer to an order.

    ``avgPrice`` and ``executedQty`` in it are zeros even for MARKET (dossier §2.1), so nothing but
    the identity is taken.  UnreadableValue when the answer is about another order.
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
        position_side=read_position_side(row.position_side),
    )


# -- fills -----------------------------------------------------------------------------------------


def fills_of(data: msgspec.Raw, asset: str = "") -> Rows[FillReport]:
    """``data`` of allFillOrders (asked for in COIN) or fillHistory, oldest first.

    allFillOrders has no trade ids: equal rows of one order get a running number, so that two equal
    fills stay two.
    """
    seen: Counter[tuple[Any, ...]] = Counter()

    def read(row: FillRow) -> FillReport:
        report = _fill(row)
        if not is_absent(row.trade_id):
            return report
        same = (report.venue_order_id, report.filled_ms, report.quantity_e8, report.price_e10)
        seen[same] += 1
        return msgspec.structs.replace(report, fill_id=f"{report.fill_id}:{seen[same]}")

    found = read_rows(decode(FILL_LIST, data).rows, FILL_ROW, read, asset)
    return Rows(sorted(found, key=lambda fill: fill.filled_ms), found.unreadable)


def fill_rows_in(data: msgspec.Raw) -> int:
    """How many rows a list of fills has, whatever they are about."""
    return len(decode(FILL_LIST, data).rows)


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
    client_id = read_client_id(row.client_order_id) or read_client_id(row.client_order_id_old)
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
        position_side=read_position_side(row.position_side),
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


def positions_of(data: msgspec.Raw) -> Rows[PositionReport]:
    """``data`` of positions, flat ones left out.

    The amount is unsigned and the direction in LONG or SHORT, in one-way mode too (dossier §2.4).
    Several positions of one side (separate isolated margin) are reported as one.
    """
    found: dict[tuple[str, OrderSide], PositionReport] = {}
    raws = decode(POSITIONS, data)
    rows = read_rows(raws, POSITION_ROW, _position)
    for report in rows:
        key = (report.asset, report.side)
        found[key] = _joined(found[key], report) if key in found else report
    return Rows(found.values(), rows.unreadable)


def signed_amount(amount: Digits, field: str) -> tuple[int, bool]:
    """(quantity, did it carry a minus)."""
    if type(amount) is int or (isinstance(amount, str) and amount.startswith("-")):
        text = str(amount)
        if text.startswith("-"):
            return read_quantity(text[1:], field), True
    return read_quantity(amount, field), False


def _position(row: PositionRow) -> PositionReport | None:
    quantity, negative = signed_amount(row.position_amt, "positionAmt")
    if not quantity:
        return None  # whatever else it says
    word = read_name(POSITION_SIDES, row.position_side, "positionSide")
    symbol = read_symbol(row.symbol)
    side = OrderSide(int(word)) if word else OrderSide.SELL if negative else OrderSide.UNKNOWN
    if side is OrderSide.UNKNOWN or (negative and side is OrderSide.BUY):
        found = (row.position_side, row.position_amt)
        raise unreadable("positionSide", found, "LONG or SHORT with an unsigned amount")
    return PositionReport(
        asset=symbol,
        side=side,
        quantity_e8=quantity,
        average_price_e10=read_average(row.avg_price, "avgPrice"),
        leverage=_told(read_leverage, row.leverage) or 0,
        updated_ms=_told(read_ms, row.update_time) or 0,
        mark_price_e10=_told(read_price, row.mark_price) or 0,
        liquidation_price_e10=_liquidation(row.liquidation_price),
        unrealized=_told(read_money, row.unrealized_profit),
        available_e8=_told(read_quantity, row.available_amt),
    )


def _told(read: Callable[[Digits], T | None], value: Digits) -> T | None:
    """A figure that only an operator looks at: one that cannot be read is not known."""
    try:
        return read(value)
    except UnreadableValue:
        return None


def _liquidation(value: Digits) -> int:
    # Computed by the venue and never rounded to a tick; a negative one is never reached.
    return _told(read_average, value) or 0


def _joined(one: PositionReport, other: PositionReport) -> PositionReport:
    total = one.quantity_e8 + other.quantity_e8
    cost = one.average_price_e10 * one.quantity_e8 + other.average_price_e10 * other.quantity_e8
    return msgspec.structs.replace(
        one,
        quantity_e8=total,
        average_price_e10=cost // total,
        leverage=max(one.leverage, other.leverage),
        updated_ms=max(one.updated_ms, other.updated_ms),
        liquidation_price_e10=_nearest(one, other),
        unrealized=_sum(one.unrealized, other.unrealized),
        available_e8=_sum(one.available_e8, other.available_e8),
    )


def _nearest(one: PositionReport, other: PositionReport) -> int:
    """Of several isolated positions the nearest liquidation, as far as each was told."""
    prices = [r.liquidation_price_e10 for r in (one, other) if r.liquidation_price_e10]
    if not prices:
        return 0
    return max(prices) if one.side is OrderSide.BUY else min(prices)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def balance_rows(data: msgspec.Raw) -> tuple[BalanceRow, ...]:
    """``data`` of the balance, v3 or v2: the rows that can be decoded."""
    found = decode(BALANCES, data)
    if isinstance(found, OneBalance):
        return (found.balance,)
    return tuple(read_rows(found, BALANCE_ROW, lambda row: row))


def balance_of(data: msgspec.Raw, asset: str, requested_ms: int, answered_ms: int) -> BalanceReport:
    """``data`` of the balance, v3 or v2.  UnreadableValue when the asset's row is missing."""
    row = next((row for row in balance_rows(data) if row.asset == asset), None)
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


def income_of(data: msgspec.Raw, asset: str) -> Rows[IncomeReport]:
    """``data`` of the income history in the account's asset, oldest first."""

    def read(row: IncomeRow) -> IncomeReport | None:
        other = type(row.asset) is str and row.asset not in ("", asset)
        return None if other else _income(row)

    found = read_rows(income_rows(data), INCOME_ROW, read)
    return Rows(sorted(found, key=lambda row: row.time_ms), found.unreadable)


def income_rows(data: msgspec.Raw) -> tuple[msgspec.Raw, ...]:
    """The rows of the income history, undecoded."""
    # Null may be how the venue says "no rows"; unlike with positions nothing is closed by it.
    if bytes(data) == b"null":
        return ()
    return decode(INCOME, data)


def _income(row: IncomeRow) -> IncomeReport:
    """A kind that we do not know is UNKNOWN, with the venue's word: its money is certain."""
    amount, income_id = read_money(row.income, "income"), read_id(row.tran_id, "tranId")
    if amount is None or not income_id:
        raise unreadable("income", (row.income, row.tran_id), "an amount and a tranId")
    time_ms = read_ms(row.time, "time")
    if not row.asset or not time_ms:
        raise unreadable("income", (row.asset, row.time), "an asset and a time")
    word = read_client_id(row.income_type, "incomeType")
    return IncomeReport(
        income_id=income_id,
        kind=INCOME_KINDS.get(word, IncomeKind.UNKNOWN),
        asset=read_client_id(row.symbol, "symbol"),
        amount=amount,
        trade_id=read_client_id(row.trade_id, "tradeId"),
        time_ms=time_ms,
        word=word,
    )


def fee_rates_of(data: msgspec.Raw) -> tuple[int, int]:
    """``data`` of commissionRate: (taker, maker) in 10^-9.  UnreadableValue when one is missing."""
    rates = decode(COMMISSION_RATE, data).commission
    for rate in (rates.taker_commission_rate, rates.maker_commission_rate):
        if is_absent(rate):
            raise unreadable("commission rate", rate, "taker and maker rate")
    return (
        read_rate_e9(rates.taker_commission_rate, "takerCommissionRate"),
        read_rate_e9(rates.maker_commission_rate, "makerCommissionRate"),
    )
