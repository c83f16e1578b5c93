"""What BingX says about symbols, leverage and the account's mode, as our records.

The ``data`` of good answers in, exact integers out; what cannot be read raises UnreadableValue.
"""

from __future__ import annotations

from typing import Final

import msgspec

from dita.contracts import ContractRules, OrderSide, Record
from dita.identity import plain_symbol
from dita.units import PRICE_DIGITS, QUANTITY_DIGITS
from dita.venues.bingx.rest.models import (
    CONTRACT_ROW,
    CONTRACTS,
    LEVERAGE,
    MARK,
    POSITION_MODE,
    SERVER_TIME,
    ContractRow,
)
from dita.venues.bingx.rows import read_rows
from dita.venues.bingx.values import (
    decode,
    is_absent,
    read_count,
    read_flag,
    read_leverage,
    read_money,
    read_ms,
    read_price,
    read_quantity,
    read_rate_e9,
    read_symbol,
    unreadable,
)

_ONLINE: Final = 1  # 25 opens nothing, 5 is not there yet, 0 is not there any more


class Symbol(Record, frozen=True, kw_only=True):
    """A symbol with its rules; ``opens`` says whether new positions are allowed through the API."""

    name: str
    rules: ContractRules
    opens: bool


def symbols_of(data: msgspec.Raw) -> dict[str, Symbol]:
    """GET quote/contracts: every symbol by its plain spelling.  UnreadableValue when none is.

    One odd symbol among hundreds is unknown to us, so no entry can use it.
    """
    raws = decode(CONTRACTS, data)
    rows = read_rows(raws, CONTRACT_ROW, _symbol)
    symbols = {plain_symbol(symbol.name): symbol for symbol in rows}
    if not symbols:
        raise unreadable("contracts", "[]", "at least one readable symbol")
    return symbols


def _symbol(row: ContractRow) -> Symbol:
    # The precisions are numbers of decimals, and both must be there (dossier §2.5).
    for field, value in (("price", row.price_precision), ("quantity", row.quantity_precision)):
        if is_absent(value):
            raise unreadable(f"{field} precision", value, "a number of decimals")
    price_decimals = read_count(row.price_precision, "price precision", PRICE_DIGITS)
    quantity_decimals = read_count(row.quantity_precision, "quantity precision", QUANTITY_DIGITS)
    taker = row.fee_rate if is_absent(row.taker_fee_rate) else row.taker_fee_rate
    maker = row.fee_rate if is_absent(row.maker_fee_rate) else row.maker_fee_rate
    least = row.trade_min_quantity
    return Symbol(
        name=read_symbol(row.symbol),
        rules=ContractRules(
            tick_e10=10 ** (PRICE_DIGITS - price_decimals),
            step_e8=10 ** (QUANTITY_DIGITS - quantity_decimals),
            min_quantity_e8=0 if is_absent(least) else read_quantity(least, "minimum quantity"),
            min_notional=read_money(row.trade_min_usdt, "minimum notional") or 0,
            taker_fee_e9=read_rate_e9(taker, "taker fee"),
            maker_fee_e9=read_rate_e9(maker, "maker fee"),
        ),
        opens=read_count(row.status, "status", 10**6) == _ONLINE
        and (is_absent(row.api_state_open) or read_flag(row.api_state_open, "apiStateOpen")),
    )


def leverage_of(data: msgspec.Raw) -> dict[OrderSide, int]:
    """GET trade/leverage: by the side of an entry."""
    found = decode(LEVERAGE, data)
    return {
        OrderSide.BUY: read_leverage(found.long_leverage, "longLeverage"),
        OrderSide.SELL: read_leverage(found.short_leverage, "shortLeverage"),
    }


def hedge_of(data: msgspec.Raw) -> bool:
    """GET positionSide/dual: hedge mode?  The answer is a text, and must be there."""
    value = decode(POSITION_MODE, data).dual_side_position
    if is_absent(value):
        raise unreadable("dualSidePosition", value, "true or false")
    return read_flag(value, "dualSidePosition")


def mark_price_of(data: msgspec.Raw, name: str) -> int:
    """GET quote/premiumIndex of one symbol: the mark price in 10^-10, above 0."""
    found = decode(MARK, data)  # an object, or a list of one: seen for other market questions
    rows = found if isinstance(found, tuple) else (found,)
    if len(rows) != 1 or read_symbol(rows[0].symbol) != name:
        raise unreadable("mark price", [row.symbol for row in rows], f"that of {name}")
    price = read_price(rows[0].mark_price, "markPrice")
    if not price:
        raise unreadable("mark price", rows[0].mark_price, "a price above 0")
    return price


def server_time_of(data: msgspec.Raw) -> int:
    """GET server/time, in ms."""
    now_ms = read_ms(decode(SERVER_TIME, data).server_time, "serverTime")
    if not now_ms:
        raise unreadable("serverTime", 0, "milliseconds since 1970")
    return now_ms
