"""User events as the stream pushes them: orders, account, configuration (dossier §3.2 to §3.4).

Turns the core's events into frames in the exchange's spelling. Pushes nothing.
"""

from __future__ import annotations

from typing import Any

from dita.exchange.model.records import (
    AccountUpdate,
    ConfigUpdate,
    MarginType,
    Order,
    OrderStatus,
    OrderUpdate,
    Position,
    PositionSide,
    UserEvent,
)
from dita.exchange.wire.dialect import WireSwitches
from dita.exchange.wire.shapes.decimals import money, price, quantity
from dita.exchange.wire.stream.delivery import UserFrame


def frame_of(event: UserEvent, switches: WireSwitches, now_ms: int, *, one_way: bool) -> UserFrame:
    """The frame of any user event."""
    if isinstance(event, OrderUpdate):
        return order_frame(event, switches, now_ms)
    if isinstance(event, AccountUpdate):
        return account_frame(event, switches, now_ms, one_way=one_way)
    return config_frame(event, now_ms)


# -- ORDERS -------------------------------------------------------------------------------------


def order_frame(event: OrderUpdate, switches: WireSwitches, now_ms: int) -> UserFrame:
    """ORDER_TRADE_UPDATE. ``c`` is always empty, ``i`` a text, ``o.T`` 0, and ``p`` never the
    fill (dossier §3.3)."""
    order = event.order
    status = _status(order)
    total = switches.stream_figures == "cumulative"
    body: dict[str, Any] = {
        "s": order.symbol,
        "c": "",
        "i": str(order.order_id),
        "S": order.side.value,
        "o": order.type.value,
        "q": quantity(order.quantity_e8),
        "p": _reference(order),
        "sp": price(order.stop_price_e10),
        "ap": price(order.average_price_e10),
        "x": event.execution.value,
        "X": status,
        "N": "USDT",
        "n": money(-(order.fee if total else event.fee), 8),
        "T": 0,
        "wt": order.working_type.value,
        "ps": order.position_side.value,
        "rp": money(order.profit if total else event.profit, 8),
        "z": quantity(order.executed_e8),
        "ro": order.reduce_only,
    }
    if switches.last_fill:
        body["l"] = quantity(event.last_quantity_e8)
        body["L"] = price(event.last_price_e10)
        if event.trade_id:
            body["td"] = event.trade_id
            body["tv"] = money(event.last_price_e10 * event.last_quantity_e8, 8)
    frame = {"e": "ORDER_TRADE_UPDATE", "E": now_ms, "T": event.time_ms, "o": body}
    return UserFrame("ORDER_TRADE_UPDATE", status, frame, triggered=order.triggered)


def _status(order: Order) -> str:
    """``X``: the stream knows no PENDING and spells CANCELED with one L."""
    if order.status is OrderStatus.PENDING:
        return "NEW"
    if order.status in (OrderStatus.CANCELLED, OrderStatus.FAILED):
        return "CANCELED"
    return order.status.value


def _reference(order: Order) -> str:
    """``p``: empty on a trigger that ends in a market order."""
    if order.type.conditional and not order.type.limited:
        return ""
    return price(order.price_e10)


# -- ACCOUNT ------------------------------------------------------------------------------------


def account_frame(
    event: AccountUpdate, switches: WireSwitches, now_ms: int, *, one_way: bool
) -> UserFrame:
    """ACCOUNT_UPDATE: the wallet and the positions that changed; a flat one has amount 0."""
    wallet = {
        "a": switches.margin_asset,
        "wb": money(event.wallet, 8),
        "cw": money(event.wallet_without_isolated, 8),
        "bc": money(event.change, 8),
    }
    rows = [
        _position(state, unrealized, one_way=one_way)
        for state, unrealized in zip(event.positions, event.unrealized, strict=True)
    ]
    body: dict[str, Any] = {"m": event.reason.value, "B": [wallet], "P": rows}
    frame = {"e": "ACCOUNT_UPDATE", "E": now_ms, "T": event.time_ms, "a": body}
    return UserFrame("ACCOUNT_UPDATE", event.reason.value, frame)


def _position(state: Position, unrealized: int, *, one_way: bool) -> dict[str, Any]:
    """A row of ``P``. The amount is unsigned with LONG or SHORT; with BOTH a short is negative,
    as clients take it, although no capture shows it (dossier §3.4)."""
    isolated = state.margin_type is not MarginType.CROSSED
    sign = state.sign if one_way else 1
    return {
        "s": state.symbol,
        "pa": quantity(sign * state.quantity_e8),
        "ep": price(state.average_price_e10),
        "up": money(unrealized, 8),
        "mt": margin_word(state.margin_type),
        "iw": money(state.margin if isolated else 0, 8),
        "ps": PositionSide.BOTH.value if one_way else state.side.value,
        "cr": money(state.realized, 8),
    }


def margin_word(margin_type: MarginType) -> str:
    """The stream's word for a margin type."""
    return "cross" if margin_type is MarginType.CROSSED else "isolated"


# -- CONFIGURATION ------------------------------------------------------------------------------


def config_frame(event: ConfigUpdate, now_ms: int) -> UserFrame:
    """ACCOUNT_CONFIG_UPDATE, after leverage or margin type changed."""
    body = config_body(event)
    frame = {"e": "ACCOUNT_CONFIG_UPDATE", "E": now_ms, "ac": body}
    return UserFrame("ACCOUNT_CONFIG_UPDATE", event.symbol, frame)


def config_snapshot(event: ConfigUpdate, now_ms: int) -> dict[str, Any]:
    """SNAPSHOT of one symbol, on connect and every 5 s."""
    return {"e": "SNAPSHOT", "E": now_ms, "ac": config_body(event)}


def config_body(event: ConfigUpdate) -> dict[str, Any]:
    """Symbol, leverages and margin type."""
    return {
        "s": event.symbol,
        "l": event.long_leverage,
        "S": event.short_leverage,
        "mt": margin_word(event.margin_type),
    }


def key_expired(key: str, now_ms: int) -> dict[str, Any]:
    """listenKeyExpired; afterwards the socket stays open, and silent."""
    return {"e": "listenKeyExpired", "E": now_ms, "listenKey": key}
