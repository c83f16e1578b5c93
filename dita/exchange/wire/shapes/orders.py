"""Orders and fills as BingX's REST answers show them, field by field (dossier §2.1 to §2.3).

Turns the core's records into dictionaries in the exchange's spelling. Asks the core nothing.
"""

from __future__ import annotations

from typing import Any, Final

from dita.exchange.model.records import (
    Attached,
    Contract,
    Fill,
    Order,
    OrderRequest,
    OrderStatus,
    PositionSide,
    TimeInForce,
)
from dita.exchange.wire.answers import number
from dita.exchange.wire.dialect import WireSwitches
from dita.exchange.wire.shapes.decimals import (
    bare_price,
    bare_quantity,
    bare_ratio,
    money,
    price,
    quantity,
    utc8,
    utc8_marked_z,
    whole_seconds_ms,
)
from dita.units import format_money

TIME_IN_FORCE: Final = {TimeInForce.POST_ONLY: "PostOnly"}


def status_of(order: Order, switches: WireSwitches) -> str:
    """An order's status in REST spelling."""
    if order.status is OrderStatus.PENDING:
        return switches.resting
    if order.status is OrderStatus.CANCELLED:
        return switches.cancelled
    return order.status.value


# -- PLACED -------------------------------------------------------------------------------------


def placed(order: Order, request: OrderRequest, switches: WireSwitches) -> dict[str, Any]:
    """The order of a placement's answer. It is no fill report: its fill figures are zeros."""
    fields: dict[str, Any] = {
        "orderId": order.order_id,
        "orderID": str(order.order_id),
        "symbol": order.symbol,
        "positionSide": order.position_side.value,
        "side": order.side.value,
        "type": order.type.value,
        "price": bare_price(order.price_e10 if order.type.limited else 0),
        "quantity": bare_quantity(order.quantity_e8),
        "quoteOrderQty": _bare_money(request.quote_quantity),
        "stopPrice": bare_price(order.stop_price_e10),
        "workingType": order.working_type.value,
        "clientOrderID": order.client_order_id,
        "clientOrderId": order.client_order_id,
        "timeInForce": TIME_IN_FORCE.get(order.time_in_force, order.time_in_force.value),
        "priceRate": bare_ratio(order.trail_rate_e9) if order.trail_rate_e9 else 0,
        "stopLoss": _attached_reply(request.stop_loss, order),
        "takeProfit": _attached_reply(request.take_profit, order),
        "reduceOnly": order.reduce_only,
        "activationPrice": bare_price(order.activation_e10),
        "closePosition": "true" if order.close_position else "",
        "stopGuaranteed": "",
        "status": "NEW" if order.type.conditional else switches.resting,
        "avgPrice": "0.00",
        "executedQty": "0.00",
    }
    return fields


def placement_answer(fields: dict[str, Any], switches: WireSwitches) -> dict[str, Any]:
    """What stands in ``data``: the order itself, or wrapped as until 2026 (dossier §2.1).

    The wrapped generation had one spelling of each id; clients that match names without regard to
    case break on two.
    """
    if switches.order_reply == "flat":
        return fields
    newer = ("orderID", "clientOrderId")
    return {"order": {name: value for name, value in fields.items() if name not in newer}}


def _bare_money(amount: int) -> Any:
    return number(format_money(amount))


def _attached_reply(attached: Attached | None, order: Order) -> Any:
    if attached is None:
        return ""
    fields: dict[str, Any] = {
        "stopPrice": bare_price(attached.stop_price_e10),
        "workingType": attached.working_type.value,
        "type": attached.type.value,
        "quantity": bare_quantity(order.quantity_e8),
    }
    if attached.price_e10:
        fields["price"] = bare_price(attached.price_e10)
    return fields


# -- QUERIED ------------------------------------------------------------------------------------


def queried(order: Order, contract: Contract, switches: WireSwitches) -> dict[str, Any]:
    """An order as GET order, cancel and the histories show it.

    ``cumQuote`` is rounded to a whole number, a fee is negative with 6 decimals, and the times of
    an ended order are whole seconds (dossier §2.3).
    """
    waiting = order.type.conditional and order.status is OrderStatus.NEW
    at_trigger = order.type.conditional and not order.type.limited
    reference_e10 = 0 if at_trigger else order.price_e10
    shown_ms = whole_seconds_ms if order.status.ended else _as_is
    return {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "side": order.side.value,
        "positionSide": order.position_side.value,
        "type": order.type.value,
        "origQty": quantity(order.quantity_e8, contract.quantity_digits),
        "price": price(reference_e10, contract.price_digits) if reference_e10 else "0",
        "executedQty": quantity(order.executed_e8, contract.quantity_digits),
        "avgPrice": price(order.average_price_e10, contract.price_digits),
        "cumQuote": "" if waiting else money(order.cost, 0),
        "stopPrice": _price_or_nothing(order.stop_price_e10, contract),
        "profit": "" if waiting else money(order.profit, 4),
        "commission": "" if waiting else money(-order.fee, 6),
        "status": status_of(order, switches),
        "time": shown_ms(order.created_ms),
        "updateTime": shown_ms(order.updated_ms),
        "clientOrderId": order.client_order_id,
        "leverage": f"{order.leverage}X",
        "takeProfit": _attached_row(order.take_profit),
        "stopLoss": _attached_row(order.stop_loss),
        "advanceAttr": 0,
        "positionID": 0,
        "takeProfitEntrustPrice": 0,
        "stopLossEntrustPrice": 0,
        "orderType": "",
        "workingType": order.working_type.value,
        "onlyOnePosition": order.position_side is PositionSide.BOTH,
        "reduceOnly": order.reduce_only,
        "postOnly": order.time_in_force is TimeInForce.POST_ONLY,
        "stopGuaranteed": "false",
        "triggerOrderId": order.order_id if order.triggered else 0,
        "trailingStopRate": bare_ratio(order.trail_rate_e9) if order.trail_rate_e9 else 0,
        "trailingStopDistance": bare_price(order.trail_e10) if order.trail_e10 else 0,
    }


def open_order(order: Order, contract: Contract, switches: WireSwitches) -> dict[str, Any]:
    """An order as the list of open ones shows it, with its additional members."""
    fields = queried(order, contract, switches)
    for attached in (fields["takeProfit"], fields["stopLoss"]):
        attached["StopGuaranteed"] = ""
    fields.update(
        actPrice="",
        priceRate="",
        closePosition="true" if order.close_position else "",
        positionId=0,
    )
    return fields


def full_order(order: Order, contract: Contract, switches: WireSwitches) -> dict[str, Any]:
    """An order as the list of all states shows it."""
    return {**queried(order, contract, switches), "isTwap": False, "mainOrderId": ""}


def _as_is(time_ms: int) -> int:
    return time_ms


def _price_or_nothing(price_e10: int, contract: Contract) -> str:
    return price(price_e10, contract.price_digits) if price_e10 else ""


def _attached_row(attached: Attached | None) -> dict[str, Any]:
    if attached is None:
        return {"type": "", "quantity": 0, "stopPrice": 0, "price": 0, "workingType": ""}
    return {
        "type": attached.type.value,
        "quantity": 0,
        "stopPrice": bare_price(attached.stop_price_e10),
        "price": bare_price(attached.price_e10),
        "workingType": attached.working_type.value,
    }


# -- REPLACED, CLOSED ---------------------------------------------------------------------------


def replaced(cancelled: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The answer of cancelReplace when both halves went well."""
    old = {
        "cancelClientOrderId": cancelled["clientOrderId"],
        "cancelOrderId": cancelled["orderId"],
        **cancelled,
    }
    return {
        "cancelResult": "true",
        "cancelMsg": "",
        "cancelResponse": old,
        "replaceResult": "true",
        "replaceMsg": "",
        "newOrderResponse": new,
    }


def closed_by_id(order: Order, position_id: int, contract: Contract) -> dict[str, Any]:
    """The answer of closePosition, which spells side and type in its own way (dossier §2.2)."""
    return {
        "orderId": order.order_id,
        "positionId": str(position_id),
        "symbol": order.symbol,
        "side": "Ask" if order.side.sign < 0 else "Bid",
        "type": "Market",
        "positionSide": order.position_side.value,
        "origQty": quantity(order.quantity_e8, contract.quantity_digits),
    }


# -- FILLS --------------------------------------------------------------------------------------


def fill_order(fill: Fill, contract: Contract, *, contracts: bool) -> dict[str, Any]:
    """A row of allFillOrders. With ``contracts`` the volume counts steps of the contract, which
    is a tenth of the coin where the step is 0.1 (dossier §2.3)."""
    if contracts:
        volume = str(fill.quantity_e8 // contract.step_e8)
    else:
        volume = quantity(fill.quantity_e8, contract.quantity_digits)
    return {
        "filledTm": utc8_marked_z(fill.filled_ms),
        "volume": volume,
        "price": price(fill.price_e10, contract.price_digits),
        "amount": money(fill.price_e10 * fill.quantity_e8, 4),
        "commission": money(-fill.fee, 4),
        "currency": "USDT",
        "orderId": str(fill.order_id),
        "liquidatedPrice": "",
        "liquidatedMarginRatio": "",
        "filledTime": utc8(fill.filled_ms),
        "clientOrderID": fill.client_order_id,
        "symbol": fill.symbol,
        "side": fill.side.value,
        "type": fill.type.value,
        "positionSide": fill.position_side.value,
        "workingType": fill.working_type.value,
        "onlyOnePosition": fill.position_side is PositionSide.BOTH,
    }


def fill_history(fill: Fill, contract: Contract) -> dict[str, Any]:
    """A row of fillHistory, the only one with trade id and role; its enums are lower case."""
    return {
        "filledTm": utc8_marked_z(fill.filled_ms),
        "volume": quantity(fill.quantity_e8, contract.quantity_digits),
        "price": price(fill.price_e10, contract.price_digits),
        "qty": quantity(fill.quantity_e8, contract.quantity_digits),
        "quoteQty": money(fill.price_e10 * fill.quantity_e8, 4),
        "commission": money(-fill.fee, 4),
        "commissionAsset": "USDT",
        "orderId": str(fill.order_id),
        "tradeId": fill.trade_id,
        "filledTime": utc8(fill.filled_ms),
        "symbol": fill.symbol,
        "role": "maker" if fill.maker else "taker",
        "side": fill.side.value.lower(),
        "positionSide": fill.position_side.value.lower(),
    }


def amended(order: Order) -> dict[str, Any]:
    """The answer of amend."""
    return {
        "orderId": order.order_id,
        "clientOrderId": order.client_order_id,
        "symbol": order.symbol,
        "quantity": bare_quantity(order.quantity_e8),
    }


def tested(order: OrderRequest, order_id: int) -> dict[str, Any]:
    """The order of an order/test answer: nothing was executed."""
    return {
        "symbol": order.symbol,
        "orderId": order_id,
        "side": order.side.value,
        "positionSide": order.position_side.value,
        "type": order.type.value,
        "clientOrderID": order.client_order_id,
        "clientOrderId": order.client_order_id,
        "workingType": order.working_type.value,
    }
