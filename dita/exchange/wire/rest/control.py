"""What a test may do to a running exchange: prices, deposits, foreign orders, faults, its book.

Paths below /control/, with the account's key in the header and JSON in the body; BingX has nothing
of the kind. Figures are decimal texts. Limits and faults do not reach these calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from dita.errors import OperatorError
from dita.exchange.model.records import Order, PositionSide, Refused
from dita.exchange.wire.answers import Answer, WireError, encode, refusal, refuse, success
from dita.exchange.wire.faults import ACTS, read_rules
from dita.exchange.wire.rest.calls import Call
from dita.exchange.wire.session import Session
from dita.exchange.wire.signing import verify_key
from dita.units import (
    format_money,
    format_price,
    format_quantity,
    parse_money,
    parse_price,
    parse_quantity,
    parse_ratio,
)

PREFIX: Final = "/control/"
_BAD: Final = 109400

Body = dict[str, Any]


def answer(session: Session, call: Call) -> Answer:
    """Do it and answer as a REST call is answered."""
    now_ms = session.now_ms()
    try:
        verify_key(call.headers, session.credentials)
        verb = _VERBS.get((call.method, call.path.removeprefix(PREFIX)))
        if verb is None:
            refuse(100404, f"no such control: {call.method} {call.path}")
        body = msgspec.json.decode(call.body, type=Body) if call.body else {}
        session.advance(now_ms)
        data = verb(session, body, now_ms)
        session.push_events()
    except WireError as no:
        return refusal(no, now_ms)
    except Refused as no:
        return refusal(WireError(no.code, no.msg), now_ms)
    except (OperatorError, msgspec.DecodeError, KeyError, ValueError) as bad:
        return refusal(WireError(_BAD, f"{type(bad).__name__}: {bad}", status=400), now_ms)
    return success(data)


# -- VERBS --------------------------------------------------------------------------------------


def _price(session: Session, body: Body, now_ms: int) -> Any:
    """``symbol``, ``price``, ``mark`` (else the same)."""
    mark = body.get("mark")
    session.exchange.set_price(
        body["symbol"], parse_price(body["price"]), now_ms, parse_price(mark) if mark else 0
    )
    return {}


def _deposit(session: Session, body: Body, now_ms: int) -> Any:
    """``amount``; a withdrawal when it is negative."""
    session.exchange.transfer(parse_money(body["amount"]), now_ms)
    return {"wallet": format_money(session.exchange.wallet)}


def _funding(session: Session, body: Body, now_ms: int) -> Any:
    """``symbol``, ``rate``: longs pay a positive one, now."""
    text = str(body["rate"])
    sign = -1 if text.startswith("-") else 1
    rate_e9 = sign * parse_ratio(text.removeprefix("-"))
    paid = session.exchange.pay_funding(body["symbol"], rate_e9, now_ms)
    return {"paid": format_money(paid)}


def _halt(session: Session, body: Body, now_ms: int) -> Any:
    """``symbol``, ``code`` (101415, 109417, 109418), ``closes``: may positions still be closed?"""
    closes = bool(body.get("closes", False))
    session.acts.halt(body["symbol"], int(body["code"]), now_ms, closes=closes)
    return {}


def _resume(session: Session, body: Body, now_ms: int) -> Any:
    """``symbol``: a halt is over."""
    session.acts.resume(body["symbol"], now_ms)
    return {}


def _lock(session: Session, body: Body, now_ms: int) -> Any:
    """``symbol``, ``quantity`` (0 lifts it), ``position_side``, ``code``: as a stop set by hand."""
    side = PositionSide(body.get("position_side", "BOTH"))
    code = int(body.get("code", 101205))
    quantity_e8 = parse_quantity(body["quantity"])
    session.acts.lock(body["symbol"], quantity_e8, now_ms, side=side, code=code)
    return {}


def _vanish(session: Session, body: Body, now_ms: int) -> Any:
    """``symbol`` (else all): positions are gone, and nothing tells it."""
    gone = session.acts.vanish(body.get("symbol", ""), now_ms)
    return {"gone": [f"{each.symbol} {each.side}" for each in gone]}


def _reset(session: Session, body: Body, now_ms: int) -> Any:
    """``wallet``: the account begins anew, without any history."""
    session.acts.reset(parse_money(body["wallet"]), now_ms)
    return {}


def _pay(session: Session, body: Body, now_ms: int) -> Any:
    """``type``: any word, ``symbol``, ``amount``: money of the exchange's own, with its row."""
    amount = parse_money(body["amount"])
    session.acts.pay(str(body["type"]), str(body.get("symbol", "")), amount, now_ms)
    return {"wallet": format_money(session.exchange.wallet)}


def _frame(session: Session, body: Body, now_ms: int) -> Any:
    """``frame``: any JSON, or with ``text`` any text, pushed to the user sockets as it is."""
    payload = body["text"].encode() if "text" in body else encode(body["frame"])
    session.push_raw(payload)
    return {}


def _act(kind: str) -> Callable[[Session, Body, int], Any]:
    """What a fault of this kind does by itself, at once, with that fault's keys."""

    def act(session: Session, body: Body, now_ms: int) -> Any:
        given = body if kind == "" else {**body, "kind": kind}
        (rule,) = read_rules([given], PREFIX)
        if rule.kind not in ACTS:
            refuse(_BAD, f"{rule.kind.value} does not happen by itself")
        refused = len(session.refused_acts)
        session.act(rule)
        if len(session.refused_acts) > refused:
            refuse(_BAD, session.refused_acts[-1])
        return {}

    return act


def _add_faults(session: Session, body: Body, now_ms: int) -> Any:
    """``fault``: a list as in the file."""
    session.plan.add(read_rules(body.get("fault", []), PREFIX))
    return session.plan.counts()


def _faults(session: Session, body: Body, now_ms: int) -> Any:
    return session.plan.counts()


def _no_faults(session: Session, body: Body, now_ms: int) -> Any:
    session.plan.clear()
    return []


def _lift_limits(session: Session, body: Body, now_ms: int) -> Any:
    session.limiter.lift()
    return {}


# -- THE BOOK -----------------------------------------------------------------------------------


def book(session: Session, body: Body, now_ms: int) -> Any:
    """The exchange's own truth: wallet, positions, orders, fills, income, as decimal texts."""
    exchange = session.exchange
    return {
        "time": now_ms,
        "wallet": format_money(exchange.wallet),
        "hedge": exchange.hedge,
        "refused_acts": session.refused_acts,
        "sockets": len(session.hub.sockets),
        "user_sockets": sum(bool(each.listen_key) for each in session.hub.sockets),
        "positions": [
            {
                "position_id": each.position_id,
                "symbol": each.symbol,
                "side": each.side.value,
                "quantity": format_quantity(each.quantity_e8),
                "average_price": format_price(each.average_price_e10),
                "leverage": each.leverage,
                "realized": format_money(each.realized),
            }
            for each in exchange.positions()
        ],
        "orders": [_order(each) for each in exchange.orders.values()],
        "fills": [
            {
                "trade_id": each.trade_id,
                "order_id": each.order_id,
                "symbol": each.symbol,
                "side": each.side.value,
                "quantity": format_quantity(each.quantity_e8),
                "price": format_price(each.price_e10),
                "fee": format_money(each.fee),
                "profit": format_money(each.profit),
                "maker": each.maker,
                "time": each.filled_ms,
            }
            for each in exchange.all_fills
        ],
        "income": [
            {
                "tran_id": each.tran_id,
                "type": str(each.type),
                "symbol": each.symbol,
                "amount": format_money(each.amount),
                "trade_id": each.trade_id,
                "time": each.time_ms,
            }
            for each in exchange.all_income
        ],
    }


def _order(order: Order) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
        "symbol": order.symbol,
        "side": order.side.value,
        "position_side": order.position_side.value,
        "type": order.type.value,
        "status": order.status.value,
        "quantity": format_quantity(order.quantity_e8),
        "executed": format_quantity(order.executed_e8),
        "average_price": format_price(order.average_price_e10),
        "cost": format_money(order.cost),
        "fee": format_money(order.fee),
        "profit": format_money(order.profit),
        "reduce_only": order.reduce_only,
        "triggered": order.triggered,
        "foreign": order.foreign,
        "auto_close": order.auto_close,
        "created": order.created_ms,
        "updated": order.updated_ms,
    }


_VERBS: Final[dict[tuple[str, str], Callable[[Session, Body, int], Any]]] = {
    ("POST", "price"): _price,
    ("POST", "deposit"): _deposit,
    ("POST", "funding"): _funding,
    ("POST", "foreign_order"): _act("foreign_order"),
    ("POST", "halt"): _halt,
    ("POST", "resume"): _resume,
    ("POST", "lock"): _lock,
    ("POST", "vanish"): _vanish,
    ("POST", "reset"): _reset,
    ("POST", "pay"): _pay,
    ("POST", "frame"): _frame,
    ("POST", "liquidate"): _act("liquidation"),
    ("POST", "act"): _act(""),
    ("POST", "faults"): _add_faults,
    ("GET", "faults"): _faults,
    ("DELETE", "faults"): _no_faults,
    ("DELETE", "limits"): _lift_limits,
    ("GET", "book"): book,
}
