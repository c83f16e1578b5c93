"""The endpoints that place, cancel and show orders and fills (dossier §2.1 to §2.3).

Each reads its parameters, calls the core and shows the answer. Decides nothing about an order.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from dita.exchange.model.records import (
    Attached,
    Contract,
    Fill,
    Order,
    OrderRequest,
    OrderType,
    PositionSide,
    Refused,
    Side,
    TimeInForce,
    WorkingType,
)
from dita.exchange.wire.answers import Answer, WireError, enveloped, refuse, success
from dita.exchange.wire.rest.calls import Route, Routes
from dita.exchange.wire.rest.parameters import (
    INVALID,
    Parameters,
    json_objects,
    json_text,
    json_texts,
)
from dita.exchange.wire.session import Session
from dita.exchange.wire.shapes import orders

DAY_MS: Final = 86_400_000
WINDOW_MS: Final = 7 * DAY_MS
ORDERS_DEFAULT: Final = 500
ORDERS_MAX: Final = 1_000
BATCH_MAX: Final = 5
BATCH_CANCEL_MAX: Final = 10
_ORDER: Final = "/openApi/swap/v2/trade/order"


# -- PLACING ------------------------------------------------------------------------------------


def order_request(parameters: Parameters) -> OrderRequest:
    """What an order's parameters ask for. An empty positionSide means LONG (dossier §2.1)."""
    kind = parameters.choice("type", OrderType)
    trailing = kind.trailing  # then the price is the distance
    return OrderRequest(
        symbol=parameters.need("symbol"),
        side=parameters.choice("side", Side),
        type=kind,
        position_side=parameters.choice("positionSide", PositionSide, PositionSide.LONG),
        quantity_e8=parameters.quantity_e8("quantity"),
        quote_quantity=parameters.money_e18("quoteOrderQty"),
        price_e10=0 if trailing else parameters.price_e10("price"),
        stop_price_e10=parameters.price_e10("stopPrice"),
        trail_e10=parameters.price_e10("price") if trailing else 0,
        trail_rate_e9=parameters.share_e9("priceRate") if trailing else 0,
        activation_e10=parameters.price_e10("activationPrice"),
        working_type=parameters.choice("workingType", WorkingType, WorkingType.MARK_PRICE),
        time_in_force=parameters.choice("timeInForce", TimeInForce, TimeInForce.GTC),
        reduce_only=parameters.flag("reduceOnly"),
        close_position=parameters.flag("closePosition"),
        client_order_id=parameters.client_order_id(),
        stop_loss=_attached(parameters, "stopLoss"),
        take_profit=_attached(parameters, "takeProfit"),
    )


def _attached(parameters: Parameters, name: str) -> Attached | None:
    text = parameters.text(name)
    if not text:
        return None
    try:
        members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        refuse(INVALID, f"Invalid parameters,{name}: invalid JSON")
    given = Parameters({key: json_text(member) for key, member in members.items()})
    return Attached(
        type=given.choice("type", OrderType),
        stop_price_e10=given.price_e10("stopPrice"),
        price_e10=given.price_e10("price"),
        working_type=given.choice("workingType", WorkingType, WorkingType.MARK_PRICE),
    )


def _place(session: Session, parameters: Parameters, now_ms: int) -> dict[str, Any]:
    request = order_request(parameters)
    order = session.exchange.place(request, now_ms)
    session.placed(order, f"POST {_ORDER}", now_ms)
    return orders.placed(order, request, session.switches)


def place(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """POST order."""
    fields = _place(session, parameters, now_ms)
    return success(orders.placement_answer(fields, session.switches))


def test_order(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """POST order/test: the same checks, and nothing is executed."""
    request = order_request(parameters)
    session.exchange.test(request, now_ms)
    return success({"order": orders.tested(request, 0)})


def place_batch(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """POST batchOrders: each stands or falls for itself."""
    wanted = json_objects(parameters.need("batchOrders"), "batchOrders")
    if len(wanted) > BATCH_MAX:
        refuse(INVALID, f"Invalid parameters,batchOrders: at most {BATCH_MAX} orders")
    orders: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for each in wanted:
        try:
            orders.append(_place(session, each, now_ms))
        except (Refused, WireError) as no:
            errors.append(_failure(session, no, clientOrderId=each.client_order_id()))
    return success({"orders": orders, "errors": errors})


def _failure(session: Session, no: Refused | WireError, **of: Any) -> dict[str, Any]:
    code = session.code_of(no.code) if isinstance(no, Refused) else no.code
    return {**of, "errorCode": code, "errorMessage": no.msg}


# -- CANCELLING ---------------------------------------------------------------------------------


def _shown(session: Session, order: Order) -> dict[str, Any]:
    return orders.queried(order, session.exchange.contract(order.symbol), session.switches)


def _named(session: Session, parameters: Parameters) -> Order:
    """The order of orderId or clientOrderId."""
    symbol = parameters.need("symbol")
    order_id, client_id = parameters.count("orderId"), parameters.client_order_id()
    if not (order_id or client_id):
        refuse(INVALID, "Invalid parameters,orderId or clientOrderId is required.")
    return session.exchange.order(symbol, order_id, client_id)


def cancel(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """DELETE order."""
    found = _named(session, parameters)
    session.check_lag(found, now_ms)
    order = session.exchange.cancel(found.symbol, now_ms, found.order_id)
    shown = _shown(session, order)
    return success(shown if session.switches.cancel_reply == "flat" else {"order": shown})


def cancel_batch(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """DELETE batchOrders: by orderIdList or clientOrderIdList."""
    symbol = parameters.need("symbol")
    ids = json_texts(parameters.text("orderIdList", "[]"), "orderIdList")
    clients = json_texts(parameters.text("clientOrderIdList", "[]"), "clientOrderIdList")
    if not 0 < len(ids) + len(clients) <= BATCH_CANCEL_MAX:
        refuse(INVALID, f"Invalid parameters,orderIdList: 1 to {BATCH_CANCEL_MAX} orders")
    wanted = [Parameters({"symbol": symbol, "orderId": each}) for each in ids]
    wanted += [Parameters({"symbol": symbol, "clientOrderId": each}) for each in clients]
    done: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for each in wanted:
        try:
            order = session.exchange.cancel(
                symbol, now_ms, each.count("orderId"), each.client_order_id()
            )
            done.append(_shown(session, order))
        except (Refused, WireError) as no:
            failed.append(_failure(session, no, orderId=each.count("orderId")))
    return success({"success": done, "failed": failed or None})


def cancel_all(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """DELETE allOpenOrders; without a symbol it means every one. ``failed`` is null, not []."""
    kind = parameters.text("type")
    orders = session.exchange.open_orders(parameters.text("symbol"))
    done = [
        session.exchange.cancel(order.symbol, now_ms, order.order_id)
        for order in orders
        if not kind or order.type.value == kind
    ]
    return success({"success": [_shown(session, order) for order in done], "failed": None})


def cancel_all_after(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """POST cancelAllAfter; triggerTime is in seconds (dossier §2.2)."""
    if parameters.need("type") == "CLOSE":
        session.exchange.cancel_all_after(0, now_ms)
        data = {"triggerTime": 0, "status": "CLOSED", "note": ""}
        return enveloped(debugMsg="", data=data)
    seconds = parameters.count("timeOut")
    if not 10 <= seconds <= 120:
        refuse(INVALID, "Invalid parameters,timeOut: 10 to 120 seconds")
    at_ms = session.exchange.cancel_all_after(seconds * 1_000, now_ms)
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
    note = (
        f"All your perpetual pending orders will be closed automatically at {at:%Y-%m-%d %H:%M:%S}"
        " UTC(+0),before that you can cancel the timer, or extend triggerTime time by this request"
    )
    data = {"triggerTime": at_ms // 1_000, "status": "ACTIVATED", "note": note}
    return enveloped(debugMsg="", data=data)


def cancel_replace(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """POST cancelReplace. When the cancel fails nothing is placed, unless ALLOW_FAILURE."""
    symbol = parameters.need("symbol")
    order_id = parameters.count("cancelOrderId")
    client_id = parameters.text("cancelClientOrderId")
    try:
        old = session.exchange.cancel(symbol, now_ms, order_id, client_id)
    except Refused:
        if parameters.text("cancelReplaceMode") != "ALLOW_FAILURE":
            raise
        old = session.exchange.order(symbol, order_id, client_id)
    new = _place(session, parameters, now_ms)
    return success(orders.replaced(_shown(session, old), new))


def amend(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """POST amend: the quantity of a resting order."""
    found = _named(session, parameters)
    quantity_e8 = parameters.quantity_e8("quantity")
    order = session.exchange.amend(found.symbol, found.order_id, quantity_e8, now_ms)
    return enveloped(data=orders.amended(order), timestamp=now_ms)


# -- CLOSING ------------------------------------------------------------------------------------


def close_all(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """POST closeAllPositions."""
    orders = session.exchange.close_all(parameters.text("symbol"), now_ms)
    return success({"success": [order.order_id for order in orders], "failed": None})


def close_position(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """POST closePosition."""
    position_id = parameters.count("positionId")
    order = session.exchange.close_position(position_id, now_ms)
    contract = session.exchange.contract(order.symbol)
    data = orders.closed_by_id(order, position_id, contract)
    return enveloped(timestamp=now_ms, data=data)


# -- ASKING -------------------------------------------------------------------------------------


def query(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET order."""
    order = _named(session, parameters)
    session.check_lag(order, now_ms)
    return success({"order": _shown(session, order)})


def query_open(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET openOrder: one that has not ended."""
    order = _named(session, parameters)
    session.check_lag(order, now_ms)
    if order.status.ended:
        refuse(session.code_of(109421), "order not exist")
    return success({"order": _shown(session, order)})


def open_orders(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET openOrders."""
    kind = parameters.text("type")
    contract = session.exchange.contract
    rows = [
        orders.open_order(order, contract(order.symbol), session.switches)
        for order in session.exchange.open_orders(parameters.text("symbol"))
        if (not kind or order.type.value == kind) and not session.hidden(order, now_ms)
    ]
    return success({"orders": rows})


def _window_ms(parameters: Parameters, start: str, end: str, now_ms: int) -> tuple[int, int]:
    """Start and end of a query: 7 days at the most, the last 7 by default."""
    end_ms = parameters.count(end) or now_ms
    start_ms = parameters.count(start) or end_ms - WINDOW_MS
    if end_ms - start_ms > WINDOW_MS:
        refuse(INVALID, "the query range is more than seven days")
    return start_ms, end_ms


def _history(
    session: Session, parameters: Parameters, now_ms: int, *, ended_only: bool
) -> list[Order]:
    start_ms, end_ms = _window_ms(parameters, "startTime", "endTime", now_ms)
    limit = min(parameters.count("limit", ORDERS_DEFAULT), ORDERS_MAX)
    symbol, first_id = parameters.text("symbol"), parameters.count("orderId")
    found = session.exchange.all_orders(symbol, start_ms, end_ms, limit, ended_only, first_id)
    return [order for order in found if not session.hidden(order, now_ms)]


def all_orders(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET allOrders: those that have ended."""
    found = _history(session, parameters, now_ms, ended_only=True)
    return success({"orders": [_shown(session, order) for order in found]})


def full_orders(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET fullOrder: all states."""
    contract = session.exchange.contract
    found = _history(session, parameters, now_ms, ended_only=False)
    rows = [orders.full_order(o, contract(o.symbol), session.switches) for o in found]
    return success({"orders": rows})


def force_orders(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET forceOrders: liquidations and ADL."""
    cause = parameters.text("autoCloseType")
    orders = session.exchange.force_orders(parameters.text("symbol"), cause)
    start_ms, end_ms = parameters.count("startTime"), parameters.count("endTime") or now_ms
    rows = [_shown(session, o) for o in orders if start_ms <= o.updated_ms <= end_ms]
    return success({"orders": rows})


def _fills(session: Session, parameters: Parameters) -> Iterable[tuple[Fill, Contract]]:
    for name in ("startTs", "endTs"):
        parameters.need(name)
    start_ms, end_ms = parameters.count("startTs"), parameters.count("endTs")
    symbol, order_id = parameters.text("symbol"), parameters.count("orderId")
    contract = session.exchange.contract
    for fill in session.exchange.fills(symbol, start_ms, end_ms, order_id):
        yield fill, contract(fill.symbol)


def all_fills(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET allFillOrders; ccxt asks for 30 days at once, so there is no window here."""
    contracts = parameters.need("tradingUnit") == "CONT"
    rows = [
        orders.fill_order(fill, contract, contracts=contracts)
        for fill, contract in _fills(session, parameters)
    ]
    return success({"fill_orders": rows})


def fill_history(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET fillHistory, in pages; the list is under ``fill_history_orders`` (dossier §2.3)."""
    parameters.need("symbol")
    _window_ms(parameters, "startTs", "endTs", now_ms)
    size = min(parameters.count("pageSize", 50), 1_000)
    first = (max(parameters.count("pageIndex", 1), 1) - 1) * size
    last_id = parameters.count("lastFillId")
    rows = [
        orders.fill_history(fill, contract)
        for fill, contract in _fills(session, parameters)
        if int(fill.trade_id) > last_id
    ]
    return success({"fill_history_orders": rows[first : first + size]})


_V1: Final = "/openApi/swap/v1/trade"
_V2: Final = "/openApi/swap/v2/trade"

ROUTES: Final[Routes] = {
    ("POST", _ORDER): Route(place),
    ("POST", f"{_ORDER}/test"): Route(test_order),
    ("DELETE", _ORDER): Route(cancel),
    ("GET", _ORDER): Route(query),
    ("POST", f"{_V2}/batchOrders"): Route(place_batch),
    ("DELETE", f"{_V2}/batchOrders"): Route(cancel_batch),
    ("DELETE", f"{_V2}/allOpenOrders"): Route(cancel_all),
    ("POST", f"{_V2}/cancelAllAfter"): Route(cancel_all_after),
    ("POST", f"{_V1}/cancelReplace"): Route(cancel_replace),
    ("POST", f"{_V1}/amend"): Route(amend),
    ("POST", f"{_V2}/closeAllPositions"): Route(close_all),
    ("POST", f"{_V1}/closePosition"): Route(close_position),
    ("GET", f"{_V2}/openOrder"): Route(query_open),
    ("GET", f"{_V2}/openOrders"): Route(open_orders),
    ("GET", f"{_V2}/allOrders"): Route(all_orders),
    ("GET", f"{_V1}/fullOrder"): Route(full_orders),
    ("GET", f"{_V2}/forceOrders"): Route(force_orders),
    ("GET", f"{_V2}/allFillOrders"): Route(all_fills),
    ("GET", f"{_V2}/fillHistory"): Route(fill_history),
}
