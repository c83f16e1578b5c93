"""An order as BingX wants it: the parameters of its POST, and what is refused before it is sent.

Precision beyond a contract's is cut off silently by the exchange (dossier §2.1), so we refuse it
here, where it can still be seen.  Pure; it knows neither clocks nor sockets.
"""

from __future__ import annotations

from typing import Final

from dita.contracts import OrderSide, OrderType
from dita.units import format_money, format_price, format_quantity
from dita.venues import NotSent, SubmitOrder
from dita.venues.bingx.rest.symbols import Symbol

_SIDES: Final = {OrderSide.BUY: "BUY", OrderSide.SELL: "SELL"}
#: Hedge mode: an entry opens the position of its side, an exit closes the opposite one.
_ENTRY_POSITION: Final = {OrderSide.BUY: "LONG", OrderSide.SELL: "SHORT"}
_EXIT_POSITION: Final = {OrderSide.BUY: "SHORT", OrderSide.SELL: "LONG"}
CLIENT_ID_MAX: Final = 40


def position_side(order: SubmitOrder, hedge: bool) -> str:
    """BOTH in one-way mode, else the position that the order opens or closes."""
    if not hedge:
        return "BOTH"
    return (_EXIT_POSITION if order.reduce_only else _ENTRY_POSITION)[order.side]


def parameters_of(order: SubmitOrder, name: str, hedge: bool) -> dict[str, str]:
    """The parameters of POST trade/order for the symbol ``name``, without time and signature."""
    parameters = {
        "symbol": name,
        "side": _SIDES[order.side],
        "positionSide": position_side(order, hedge),
        "type": "MARKET" if order.order_type is OrderType.MARKET else "LIMIT",
        "quantity": format_quantity(order.quantity_e8),
        "clientOrderId": order.client_order_id,
    }
    if order.order_type is not OrderType.MARKET:
        parameters["price"] = format_price(order.limit_price_e10)
        # Left out, limit orders were seen to end like IOC (dossier §4, 13).
        parameters["timeInForce"] = "IOC" if order.order_type is OrderType.LIMIT_IOC else "GTC"
    if order.reduce_only and not hedge:  # in hedge mode it is not accepted
        parameters["reduceOnly"] = "true"
    return parameters


def check_order(order: SubmitOrder, symbol: Symbol | None) -> None:
    """NotSent for what would be cut off, or misunderstood.

    An exit for a symbol that is not listed (any more) is not held up by rules that we do not have.
    """
    if order.side not in _SIDES or order.quantity_e8 <= 0:
        raise NotSent("order makes no sense", found=f"{order.side.name} {order.quantity_e8}")
    if not 0 < len(order.client_order_id) <= CLIENT_ID_MAX:
        raise NotSent("client order id does not fit", expected=f"1 to {CLIENT_ID_MAX} characters")
    limited = order.order_type is not OrderType.MARKET
    if limited and order.limit_price_e10 <= 0:
        raise NotSent("limit order without a price")
    if symbol is None:
        return
    rules = symbol.rules
    if order.quantity_e8 % rules.step_e8:
        raise NotSent(
            "quantity is more precise than the contract",
            expected=f"a multiple of {format_quantity(rules.step_e8)}",
            found=format_quantity(order.quantity_e8),
            action="floor it to the step: the exchange would cut it silently",
        )
    if limited and order.limit_price_e10 % rules.tick_e10:
        raise NotSent(
            "price is more precise than the contract",
            expected=f"a multiple of {format_price(rules.tick_e10)}",
            found=format_price(order.limit_price_e10),
            action="round it to the tick: the exchange would cut it silently",
        )


def check_entry(order: SubmitOrder, symbol: Symbol | None) -> Symbol:
    """The symbol, which has to be known and open for new positions.  NotSent."""
    if symbol is None:
        raise NotSent("no entry: unknown symbol", found=order.asset)
    if not symbol.opens:
        raise NotSent("no entry: symbol is suspended", found=symbol.name)
    if order.leverage < 1:
        raise NotSent("no entry: no leverage", found=str(order.leverage))
    return symbol


def too_small(order: SubmitOrder, symbol: Symbol) -> str:
    """Returns in words why an entry is below the contract's minimum, "" when it is not.

    The value of a MARKET order is not known here.
    """
    rules = symbol.rules
    if order.quantity_e8 < rules.min_quantity_e8:
        least, found = format_quantity(rules.min_quantity_e8), format_quantity(order.quantity_e8)
        return f"not sent: below the contract's minimum quantity {least}: {found}"
    worth = order.limit_price_e10 * order.quantity_e8
    if order.order_type is not OrderType.MARKET and worth < rules.min_notional:
        least, found = format_money(rules.min_notional), format_money(worth)
        return f"not sent: below the contract's minimum value {least}: {found}"
    return ""
