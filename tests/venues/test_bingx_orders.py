"""What BingX's answers mean for orders, cancels and questions: every kind of answer, as tables.

The exchange is a script behind httpx's transport.  Nothing here is about sockets or signatures.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.recordings import RECORDINGS
from support.scripted_rest import (
    BUY,
    CONTRACT,
    FET,
    KEY,
    SECRET,
    SELL,
    START_MS,
    Exchange,
    bad,
    good,
    order_of,
    raw,
)

from dita.contracts import (
    KernelEventKind,
    OrderType,
    RejectReason,
    VenueOrderStatus,
)
from dita.units import PRICE_ONE, QUANTITY_ONE, parse_price, parse_quantity
from dita.venues import (
    AccessRefused,
    NotSent,
    OrderRef,
    OutcomeUnknown,
    PositionReport,
    QueryFailed,
    SubmitOrder,
)
from dita.venues.bingx.leverage import Leverage
from dita.venues.bingx.orders import check_order, parameters_of, position_side
from dita.venues.bingx.rest import client as rest
from dita.venues.bingx.rest.queries import (
    HISTORY_MS,
    OVERLAP_MS,
    PAGE_ROWS,
    WINDOW_MS,
    Questions,
    windows,
)
from dita.venues.bingx.rest.rate_limits import ERRORS_MANY, ERRORS_WINDOW_MS
from dita.venues.bingx.rest.symbols import Symbol, hedge_of, leverage_of, symbols_of
from dita.venues.bingx.trading import (
    CANCEL_ERRORS_MAX,
    CANCEL_WAIT_MAX_MS,
    ENTRIES_SHARE_PERCENT,
    SKEW_MAX_MS,
    Trading,
)
from dita.venues.bingx.values import UnreadableValue

Kind = KernelEventKind
PLACED = good({"order": {"symbol": FET, "orderId": 1735950529123455000, "side": "BUY"}})
TOO_MANY = "will be unblocked after {}"


def run(work: Coroutine[Any, Any, object]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


class Desk:
    """Trading and questions against a scripted exchange."""

    def __init__(self, hedge: bool = False, **contract: Any) -> None:
        self.exchange = Exchange()
        self.exchange.routes["POST v2/trade/order"] = PLACED
        self.client = self.exchange.client()
        self.symbols = symbols_of(raw([{**CONTRACT, **contract}]))
        self.questions = Questions(self.client, self.name_of, ("VST", "USDT"))
        self.leverage = Leverage(self.client, self.questions, hedge)
        clock = self.exchange.clock
        self.trading = Trading(self.client, clock, self.find, self.leverage, hedge)

    def find(self, asset: str) -> Symbol | None:
        return self.symbols.get(asset.replace("-", "").upper())

    def name_of(self, asset: str) -> str:
        symbol = self.find(asset)
        return asset if symbol is None else symbol.name

    async def open(self) -> Desk:
        await self.client.open()
        await self.client.measure_time()
        return self

    def orders(self) -> list[dict[str, str]]:
        return self.exchange.sent("POST v2/trade/order")


def submitting(desk: Desk, order: SubmitOrder) -> Any:
    """The one event of a submit, or the error it ended in."""

    async def submit() -> Any:
        await desk.open()
        try:
            (event,) = await desk.trading.submit(order)
        except (NotSent, OutcomeUnknown, AccessRefused) as error:
            return error
        return event

    return asyncio.run(asyncio.wait_for(submit(), 30))


# -- parameters ------------------------------------------------------------------------------------


def test_a_market_entry_in_one_way_mode() -> None:
    desk = Desk()
    event = submitting(desk, order_of("one", BUY, 100))
    assert (event.kind, event.venue_order_id, event.client_order_id) == (
        Kind.ORDER_ACK,
        "1735950529123455000",
        "one",
    )
    (sent,) = desk.orders()
    for name in ("timestamp", "recvWindow", "signature"):
        del sent[name]
    assert sent == {
        "symbol": FET,
        "side": "BUY",
        "positionSide": "BOTH",
        "type": "MARKET",
        "quantity": "100",
        "clientOrderId": "one",
    }


def test_a_limit_order_says_price_and_time_in_force() -> None:
    desk = Desk()
    submitting(
        desk, order_of(order_type=OrderType.LIMIT, limit_price_e10=4_321 * PRICE_ONE // 10_000)
    )
    (sent,) = desk.orders()
    assert (sent["type"], sent["price"], sent["timeInForce"]) == ("LIMIT", "0.4321", "GTC")


def test_a_limit_order_that_must_not_rest_says_so() -> None:
    desk = Desk()
    price = 4_321 * PRICE_ONE // 10_000
    submitting(desk, order_of(order_type=OrderType.LIMIT_IOC, limit_price_e10=price))
    (sent,) = desk.orders()
    assert (sent["type"], sent["price"], sent["timeInForce"]) == ("LIMIT", "0.4321", "IOC")


@pytest.mark.parametrize(
    ("hedge", "side", "reduce_only", "position", "reduce"),
    [
        (False, BUY, False, "BOTH", None),
        (False, SELL, True, "BOTH", "true"),
        (True, BUY, False, "LONG", None),
        (True, SELL, False, "SHORT", None),
        (True, SELL, True, "LONG", None),
        (True, BUY, True, "SHORT", None),
    ],
)
def test_modes(
    hedge: bool, side: Any, reduce_only: bool, position: str, reduce: str | None
) -> None:
    order = order_of("one", side, 100, reduce_only=reduce_only)
    parameters = parameters_of(order, FET, hedge)
    assert position_side(order, hedge) == parameters["positionSide"] == position
    assert parameters.get("reduceOnly") == reduce


@given(st.integers(1, 2**63 - 1), st.integers(1, 2**63 - 1))
def test_figures_are_sent_exactly(quantity_e8: int, price_e10: int) -> None:
    order = order_of(quantity_e8=quantity_e8, order_type=OrderType.LIMIT, limit_price_e10=price_e10)
    parameters = parameters_of(order, FET, hedge=False)
    assert parse_quantity(parameters["quantity"]) == quantity_e8
    assert parse_price(parameters["price"]) == price_e10
    assert "e" not in (parameters["quantity"] + parameters["price"]).lower()


# -- refused before a byte left --------------------------------------------------------------------

HALF = QUANTITY_ONE // 2
LIMIT: dict[str, Any] = {"order_type": OrderType.LIMIT}


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (order_of(quantity_e8=10 * QUANTITY_ONE + HALF), "multiple of 1; found 10.5"),
        (order_of(quantity_e8=10 * QUANTITY_ONE + HALF, reduce_only=True), "multiple of 1"),
        (order_of(**LIMIT, limit_price_e10=PRICE_ONE // 20_000), "multiple of 0.0001"),
        (order_of(**LIMIT), "without a price"),
        (order_of(order_type=OrderType.LIMIT_IOC), "without a price"),
        (order_of(lots=0), "no sense"),
        (order_of(name=""), "1 to 40"),
        (order_of(name="x" * 41), "1 to 40"),
        (order_of(asset="NOPE-USDT"), "unknown symbol"),
        (order_of(leverage=0), "no leverage"),
    ],
)
def test_what_the_exchange_would_misread_is_not_sent(order: SubmitOrder, words: str) -> None:
    desk = Desk()
    error = submitting(desk, order)
    assert isinstance(error, NotSent) and words in str(error)
    assert not desk.orders()


@pytest.mark.parametrize(
    ("order", "small"),
    [
        (order_of(lots=1), True),
        (order_of(lots=2), False),
        (order_of(lots=3, **LIMIT, limit_price_e10=PRICE_ONE // 2), True),
        (order_of(lots=4, **LIMIT, limit_price_e10=PRICE_ONE // 2), False),
    ],
)
def test_an_entry_below_the_minimum_is_rejected_here(order: SubmitOrder, small: bool) -> None:
    desk = Desk()
    event = submitting(desk, order)
    expected = (Kind.ORDER_REJECT, RejectReason.BELOW_MINIMUM) if small else (Kind.ORDER_ACK, 0)
    assert (event.kind, event.reject) == expected
    assert len(desk.orders()) == (0 if small else 1)
    assert ("below the contract's minimum" in event.message) is small


def test_an_exit_is_not_held_up_by_minimum_suspension_clock_or_leverage() -> None:
    desk = Desk(status=25, apiStateOpen="false")
    desk.exchange.ahead_ms = 3_600_000
    desk.exchange.routes["GET v2/trade/leverage"] = httpx.ConnectError("down")
    event = submitting(desk, order_of("one", SELL, 1, reduce_only=True))
    assert event.kind is Kind.ORDER_ACK
    assert not desk.exchange.sent("GET v2/trade/leverage")


def test_an_exit_for_a_symbol_that_is_not_listed_any_more_is_sent() -> None:
    desk = Desk()
    desk.exchange.routes["POST v2/trade/order"] = good({"orderId": "77"})
    event = submitting(desk, order_of("one", SELL, 1, asset="GONE-USDT", reduce_only=True))
    assert (event.kind, event.venue_order_id) == (Kind.ORDER_ACK, "77")
    assert desk.orders()[0]["symbol"] == "GONE-USDT"


@pytest.mark.parametrize("field", [{"status": 25}, {"status": 0}, {"apiStateOpen": "false"}])
def test_no_entry_into_a_suspended_symbol(field: dict[str, Any]) -> None:
    desk = Desk(**field)
    error = submitting(desk, order_of())
    assert isinstance(error, NotSent) and "suspended" in str(error)


@pytest.mark.parametrize("ahead_ms", [SKEW_MAX_MS + 1, -SKEW_MAX_MS - 1])
def test_no_entry_when_our_clock_is_off(ahead_ms: int) -> None:
    desk = Desk()
    desk.exchange.ahead_ms = ahead_ms
    error = submitting(desk, order_of())
    assert isinstance(error, NotSent) and "clock is off" in str(error)
    assert not desk.orders()


def test_a_symbol_without_hyphen_is_the_same_symbol() -> None:
    desk = Desk()
    event = submitting(desk, order_of(asset="fetusdt"))
    assert event.asset == "fetusdt"
    assert desk.orders()[0]["symbol"] == FET


# -- what came of a POST ---------------------------------------------------------------------------

OTHER, MISMATCH, SMALL, SUSPENDED = (
    RejectReason.OTHER,
    RejectReason.POSITION_MISMATCH,
    RejectReason.BELOW_MINIMUM,
    RejectReason.SUSPENDED,
)
REJECTED = [
    (bad(101205, "No position to close"), MISMATCH),
    (bad(109420, "position not exist"), MISMATCH),
    (bad(101290, "Reduce Only order can only decrease the position"), MISMATCH),
    (bad(80017), MISMATCH),
    (bad(101400, "The minimum order amount is 0.0001 BTC."), SMALL),
    (bad(101400, "Order size error"), SMALL),
    (bad(101202), SMALL),
    (bad(110422), SMALL),
    (bad(110425), SMALL),
    (bad(101204), OTHER),
    (bad(101211), OTHER),
    (bad(101415), SUSPENDED),
    (bad(109417), SUSPENDED),
    (bad(109418, "FET-USDT is offline"), SUSPENDED),
    (bad(109425, "NOPE-USDT not exist, please verify it"), OTHER),
    (bad(109400, "In the One-way mode, the 'PositionSide' field can only be set to BOTH."), OTHER),
    (bad(80012, '{"Code":101253,"Msg":"margin is not enough"}'), OTHER),
    (bad(80020, "risk forbidden"), OTHER),
]


@pytest.mark.parametrize(("reply", "reason"), REJECTED, ids=lambda value: str(value)[:40])
def test_refused_for_certain(reply: Any, reason: RejectReason) -> None:
    desk = Desk()
    desk.exchange.routes["POST v2/trade/order"] = reply
    event = submitting(desk, order_of())
    assert (event.kind, event.reject, event.client_order_id) == (Kind.ORDER_REJECT, reason, "one")
    assert len(desk.orders()) == 1
    assert f"code {reply['code']}" in desk.trading.refusals[0]
    assert (event.error_code, event.message) == (reply["code"], reply["msg"])


def test_long_words_of_a_refusal_are_cut_and_show_no_key() -> None:
    desk = Desk()
    words = f"Insufficient margin {KEY} {SECRET}\n" + "x" * 2_000
    desk.exchange.routes["POST v2/trade/order"] = bad(101204, words)
    event = submitting(desk, order_of())
    assert event.message.startswith("Insufficient margin *** ***\\nxxx")
    assert len(event.message) <= 500


UNKNOWN = [
    bad(101481, "clientOrderID cannot be repeated"),
    bad(109201, "The same order number is only allowed to be submitted once within 1 second"),
    bad(109423, "order is being processed"),
    bad(109421, "order not exist"),
    bad(109422, "order is already filled"),
    bad(109500, "busy"),
    bad(80012, "busy"),
    bad(100500),
    bad(101500),
    bad(110500),
    bad(109701),
    bad(123456, "never heard of"),
    bad(109400, "never heard of"),
    bad(109400),
    bad(101400, "duplicate clientOrderID"),
    bad(101204, "place order failed, please try again later"),
    httpx.Response(504, content=b"<html>"),
    httpx.Response(500, json=PLACED),
    httpx.Response(403, content=b"<html>"),
    httpx.Response(200, content=b"<html>"),
    b'{"code":0,"data":{"order":{"orderId":17359505',
    good({}),
    good(None),
    good({"order": {"symbol": FET}}),
    good({"order": {"symbol": "BTC-USDT", "orderId": 5}}),
    good({"order": {"symbol": FET, "orderId": 5, "clientOrderId": "two"}}),
    httpx.ReadTimeout("slow"),
    httpx.WriteError("reset"),
    httpx.RemoteProtocolError("disconnected"),
]


@pytest.mark.parametrize("reply", UNKNOWN, ids=lambda value: str(value)[:60])
def test_nothing_follows_from_it(reply: Any) -> None:
    desk = Desk()
    desk.exchange.routes["POST v2/trade/order"] = reply
    unknown = submitting(desk, order_of())
    assert isinstance(unknown, OutcomeUnknown)
    assert unknown.error_code == (reply["code"] if isinstance(reply, dict) else 0)
    assert len(desk.orders()) == 1, "an order is sent once"


@pytest.mark.parametrize("reply", [httpx.ConnectError("down"), httpx.ConnectTimeout("slow")])
def test_an_order_that_never_left_is_not_sent(reply: Exception) -> None:
    desk = Desk()
    desk.exchange.routes["POST v2/trade/order"] = reply
    assert isinstance(submitting(desk, order_of()), NotSent)


def test_refused_access_stops_everything() -> None:
    desk = Desk()
    desk.exchange.routes["POST v2/trade/order"] = bad(100413, "Incorrect apiKey")
    assert isinstance(submitting(desk, order_of()), AccessRefused)


@pytest.mark.parametrize(
    "placed",
    [
        PLACED,
        good({"symbol": FET, "orderId": "5", "clientOrderId": "ONE"}),
        good({"order": {"orderId": 1735950529123455000, "orderID": "1735950529123455000"}}),
    ],
)
def test_every_generation_of_a_good_answer(placed: Any) -> None:
    desk = Desk()
    desk.exchange.routes["POST v2/trade/order"] = placed
    assert submitting(desk, order_of()).kind is Kind.ORDER_ACK


# -- limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wait_ms"),
    [
        (TOO_MANY.format(START_MS + 90_000), 90_000),
        (f"can retry after time: {START_MS + 480_000}", 480_000),
        (TOO_MANY.format(START_MS - 5), 1),
        ("rate limited", 0),
    ],
)
@pytest.mark.parametrize("code", [100410, 109429])
def test_a_limited_order_says_when(code: int, text: str, wait_ms: int) -> None:
    desk = Desk()
    desk.exchange.routes["POST v2/trade/order"] = bad(code, text)
    event = submitting(desk, order_of())
    assert (event.kind, event.retry_after_ms) == (Kind.RATE_LIMITED, wait_ms)
    assert event.client_order_id == "one"


def test_a_known_block_is_told_without_sending() -> None:
    desk = Desk()
    desk.exchange.routes["POST v2/trade/order"] = bad(100410, TOO_MANY.format(START_MS + 90_000))

    async def test() -> None:
        await desk.open()
        await desk.trading.submit(order_of())
        desk.exchange.clock.advance_ms(30_000)
        for reduce_only in (False, True):
            order = order_of("two", reduce_only=reduce_only)
            (event,) = await desk.trading.submit(order)
            assert (event.kind, event.retry_after_ms) == (Kind.RATE_LIMITED, 60_000)
        assert len(desk.orders()) == 1
        desk.exchange.clock.advance_ms(60_000)
        desk.exchange.routes["POST v2/trade/order"] = PLACED
        (event,) = await desk.trading.submit(order_of("three"))
        assert event.kind is Kind.ORDER_ACK

    run(test())


def test_entries_leave_room_and_exits_never_wait() -> None:
    desk = Desk()
    allowed = rest.PLACE.limit.per_second * ENTRIES_SHARE_PERCENT // 100

    async def test() -> None:
        await desk.open()
        for i in range(allowed):
            (event,) = await desk.trading.submit(order_of(f"e{i}"))
            assert event.kind is Kind.ORDER_ACK
        (event,) = await desk.trading.submit(order_of("late"))
        assert event.kind is Kind.RATE_LIMITED and event.retry_after_ms > 0
        for i in range(20):
            (event,) = await desk.trading.submit(order_of(f"x{i}", SELL, reduce_only=True))
            assert event.kind is Kind.ORDER_ACK

    run(test())
    assert len(desk.orders()) == allowed + 20
    assert desk.exchange.clock.monotonic_ns() == 0, "nobody waited"


# -- cancel ----------------------------------------------------------------------------------------

REF = OrderRef(asset=FET, client_order_id="one", venue_order_id="1735950529123455000")


def cancelling(desk: Desk, ref: OrderRef = REF) -> Any:
    async def cancel() -> Any:
        await desk.open()
        try:
            return await desk.trading.cancel(ref)
        except (NotSent, OutcomeUnknown) as error:
            return error

    return asyncio.run(asyncio.wait_for(cancel(), 30))


@pytest.mark.parametrize(
    "status", ["NEW", "PENDING", "CANCELLED"], ids=["new", "pending", "cancelled"]
)
def test_what_a_cancel_answers_is_not_believed(status: str) -> None:
    desk = Desk()
    desk.exchange.routes["DELETE v2/trade/order"] = good({"order": {"status": status}})
    assert cancelling(desk) == ()
    (sent,) = desk.exchange.sent("DELETE v2/trade/order")
    assert (sent["symbol"], sent["orderId"]) == (FET, REF.venue_order_id)
    assert "clientOrderId" not in sent


def test_a_cancel_by_client_id() -> None:
    desk = Desk()
    desk.exchange.routes["DELETE v2/trade/order"] = good({})
    assert cancelling(desk, OrderRef(asset="FETUSDT", client_order_id="one")) == ()
    (sent,) = desk.exchange.sent("DELETE v2/trade/order")
    assert (sent["symbol"], sent["clientOrderId"]) == (FET, "one")


@pytest.mark.parametrize(
    "reply",
    [
        bad(109421, "order not exist"),
        bad(80016),
        bad(109414),
        bad(109422, "order is already filled"),
        bad(80018),
        bad(109400, "order not exist"),
        bad(100410, "rate limited"),
        bad(109429, TOO_MANY.format(START_MS + 90_000)),
        httpx.Response(429, content=b""),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_refused_cancel_is_never_a_rate_limit_of_the_order(reply: Any) -> None:
    desk = Desk()
    desk.exchange.routes["DELETE v2/trade/order"] = reply
    (event,) = cancelling(desk)
    assert (event.kind, event.client_order_id) == (Kind.CANCEL_REJECT, "one")
    assert event.venue_order_id == REF.venue_order_id


@pytest.mark.parametrize(
    "reply",
    [bad(109201), bad(109423), bad(109500), bad(999), httpx.Response(504), httpx.ReadError("x")],
    ids=lambda value: str(value)[:40],
)
def test_an_unclear_cancel_is_unknown(reply: Any) -> None:
    desk = Desk()
    desk.exchange.routes["DELETE v2/trade/order"] = reply
    assert isinstance(cancelling(desk), OutcomeUnknown)
    assert len(desk.exchange.sent("DELETE v2/trade/order")) == 1


def test_a_burst_of_cancels_keeps_to_the_limit_and_a_cancel_is_not_held_for_ever() -> None:
    desk = Desk()
    desk.exchange.routes["DELETE v2/trade/order"] = good({})
    times: list[int] = []

    async def cancel() -> None:
        await desk.trading.cancel(REF)
        times.append(desk.exchange.clock.now_ms())

    async def test() -> None:
        await desk.open()
        await asyncio.gather(*(cancel() for _ in range(13)))
        desk.client.budget.wait_ms = lambda *_, **__: 1_000  # type: ignore[method-assign]
        await cancel()

    run(test())
    times, late = times[:-1], times[-1] - times[-2]
    assert all(later - earlier > 1_000 for earlier, later in zip(times, times[5:], strict=False))
    assert late == CANCEL_WAIT_MAX_MS


def test_equal_errors_of_cancels_are_stopped_before_the_exchange_stops_all_of_them() -> None:
    desk = Desk()
    desk.exchange.routes["DELETE v2/trade/order"] = bad(109421, "order not exist")
    ref = OrderRef(asset=FET, client_order_id="one")

    async def test() -> None:
        await desk.open()
        for _ in range(CANCEL_ERRORS_MAX):
            (event,) = await desk.trading.cancel(ref)
            assert (event.kind, event.error_code) == (Kind.CANCEL_REJECT, 109421)
        with pytest.raises(NotSent, match="held back"):
            await desk.trading.cancel(ref)
        assert len(desk.exchange.sent("DELETE v2/trade/order")) == CANCEL_ERRORS_MAX < 20
        desk.exchange.clock.advance_ms(ERRORS_WINDOW_MS)
        await desk.trading.cancel(ref)
        assert len(desk.exchange.sent("DELETE v2/trade/order")) == CANCEL_ERRORS_MAX + 1

    run(test())


def test_orders_that_do_not_exist_are_asked_for_in_lists_before_the_question_is_blocked() -> None:
    desk = Desk()
    desk.exchange.routes["GET v2/trade/order"] = bad(109421, "order not exist")
    desk.exchange.routes["GET v2/trade/openOrders"] = good({"orders": []})
    desk.exchange.routes["GET v2/trade/allOrders"] = good({"orders": []})
    ref = OrderRef(asset=FET, client_order_id="one")

    async def test() -> None:
        await desk.open()
        for _ in range(ERRORS_MANY):
            assert await desk.questions.order(ref) is None
        for _ in range(3):
            with pytest.raises(QueryFailed, match="no list has it"):  # it is never called absent
                await desk.questions.order(ref)
        assert len(desk.exchange.sent("GET v2/trade/order")) == ERRORS_MANY < 20
        assert desk.client.budget.told()["equal_errors"] == {"GET v2/trade/order": ERRORS_MANY}

    run(test())


def test_a_blocked_cancel_is_not_sent() -> None:
    desk = Desk()
    desk.client.budget.block(rest.CANCEL.limit, 5_000)
    assert isinstance(cancelling(desk), NotSent)


# -- leverage --------------------------------------------------------------------------------------


class Account:
    """Leverage as the exchange keeps it, by side."""

    def __init__(self, desk: Desk) -> None:
        self.long = self.short = 5
        self.deaf = False
        desk.exchange.routes["GET v2/trade/leverage"] = lambda _: good(
            {"longLeverage": self.long, "shortLeverage": str(self.short)}
        )
        desk.exchange.routes["POST v2/trade/leverage"] = self.set
        desk.exchange.routes["GET v2/trade/openOrders"] = good({"orders": []})
        desk.exchange.routes["GET v2/user/positions"] = good([])

    def set(self, request: httpx.Request) -> Any:
        query = dict(request.url.params)
        if not self.deaf:
            value = int(query["leverage"])
            if query["side"] in ("BOTH", "LONG"):
                self.long = value
            if query["side"] in ("BOTH", "SHORT"):
                self.short = value
        return good({"leverage": query["leverage"], "symbol": query["symbol"]})


@pytest.mark.parametrize(
    ("hedge", "side", "sent"),
    [(False, BUY, "BOTH"), (False, SELL, "BOTH"), (True, BUY, "LONG"), (True, SELL, "SHORT")],
)
def test_leverage_is_set_and_verified_before_an_entry(hedge: bool, side: Any, sent: str) -> None:
    desk = Desk(hedge=hedge)
    Account(desk)
    event = submitting(desk, order_of("one", side, leverage=3))
    assert event.kind is Kind.ORDER_ACK
    paths = [f"{r.method} {r.url.path.rpartition('/')[2]}" for r in desk.exchange.requests[-6:]]
    # Whether anybody holds the symbol is asked before its leverage is changed.
    looked = ["GET openOrders", "GET positions"]
    assert paths == ["GET leverage", *looked, "POST leverage", "GET leverage", "POST order"]
    (change,) = desk.exchange.sent("POST v2/trade/leverage")
    assert (change["side"], change["leverage"], change["symbol"]) == (sent, "3", FET)


def test_a_verified_leverage_is_remembered_until_the_stream_tells_another() -> None:
    desk = Desk()
    account = Account(desk)

    async def submit(name: str) -> int:
        (event,) = await desk.trading.submit(order_of(name, leverage=5))
        assert event.kind is Kind.ORDER_ACK
        return len(desk.exchange.sent("GET v2/trade/leverage"))

    async def test() -> None:
        await desk.open()
        assert await submit("a") == await submit("b") == 1
        desk.leverage.heard("FETUSDT", 5, 5)
        assert await submit("c") == 1, "nothing new was told"
        account.long = account.short = 7
        desk.leverage.heard(FET, 7, 7)
        assert await submit("d") == 3
        assert account.long == 5
        desk.leverage.forget()
        assert await submit("e") == 4

    run(test())


@pytest.mark.parametrize(
    ("route", "reply"),
    [
        ("GET v2/trade/leverage", httpx.ConnectError("down")),
        ("GET v2/trade/leverage", bad(109400, "no such thing")),
        ("GET v2/trade/leverage", good({})),
        ("GET v2/trade/leverage", good({"longLeverage": "high", "shortLeverage": 1})),
        ("POST v2/trade/leverage", bad(109400, "margin is not enough")),
        ("POST v2/trade/leverage", httpx.ReadTimeout("slow")),
    ],
)
def test_no_entry_without_verified_leverage(route: str, reply: Any) -> None:
    desk = Desk()
    Account(desk)
    desk.exchange.routes[route] = reply
    error = submitting(desk, order_of(leverage=3))
    assert isinstance(error, NotSent) and "leverage" in str(error)
    assert not desk.orders()


STANDING = {
    "symbol": FET,
    "positionSide": "LONG",
    "positionAmt": "400",
    "avgPrice": "0.5",
    "leverage": 5,
}
RESTING = {
    "symbol": FET,
    "orderId": 17,
    "side": "BUY",
    "positionSide": "LONG",
    "type": "LIMIT",
    "origQty": "5",
    "executedQty": "0",
    "status": "PENDING",
}


@pytest.mark.parametrize(
    ("hedge", "side", "positions", "orders", "refused"),
    [
        (False, BUY, [STANDING], [], True),
        (False, SELL, [STANDING], [], True),
        (False, BUY, [], [RESTING], True),
        (False, BUY, [{**STANDING, "symbol": "TRX-USDT"}], [], False),
        (False, BUY, [{**STANDING, "positionAmt": "0"}], [], False),
        (False, BUY, [{**STANDING, "positionAmt": "many"}], [], True),
        (False, BUY, [{"symbol": "TRX-USDT", "positionAmt": "many"}], [], False),
        (False, BUY, [], [{**RESTING, "status": "HALTED"}], True),
        (False, BUY, [None], [], True),  # it may be about any symbol
        (True, BUY, [STANDING], [], True),
        (True, SELL, [STANDING], [], False),  # the other side has a leverage of its own
        (True, SELL, [], [RESTING], False),
        (True, BUY, [], [RESTING], True),
    ],
)
def test_leverage_is_never_set_while_anything_stands_on_the_symbol(
    hedge: bool, side: Any, positions: list[Any], orders: list[Any], refused: bool
) -> None:
    desk = Desk(hedge=hedge)
    Account(desk)
    desk.exchange.routes["GET v2/user/positions"] = good(positions)
    desk.exchange.routes["GET v2/trade/openOrders"] = good({"orders": orders})
    outcome = submitting(desk, order_of("one", side, leverage=3))
    assert bool(desk.exchange.sent("POST v2/trade/leverage")) is not refused
    assert bool(desk.orders()) is not refused
    if refused:
        assert isinstance(outcome, NotSent)
    if refused and "many" not in str(positions) + str(orders) and positions != [None]:
        assert "HALTED" in str(orders) or "foreign quantity on FET-USDT" in str(outcome)


def test_the_same_leverage_needs_no_look_at_who_else_is_there() -> None:
    desk = Desk()
    Account(desk)
    desk.exchange.routes["GET v2/user/positions"] = good([STANDING])
    assert submitting(desk, order_of(leverage=5)).kind is Kind.ORDER_ACK
    assert not desk.exchange.sent("GET v2/user/positions")


def test_a_leverage_that_was_changed_behind_our_back_is_told() -> None:
    desk = Desk()
    Account(desk)
    ours = PositionReport(
        asset=FET, side=BUY, quantity_e8=1, average_price_e10=1, leverage=5, updated_ms=1
    )

    async def test() -> None:
        await desk.open()
        leverage = desk.leverage
        leverage.seen([msgspec.structs.replace(ours, leverage=9)])
        assert leverage.changed() == [], "before an entry of ours there is nothing to compare"
        await desk.trading.submit(order_of(leverage=5))
        leverage.seen([ours, msgspec.structs.replace(ours, side=SELL, leverage=9)])
        assert leverage.changed() == []
        changed = [{"asset": "FETUSDT", "side": "LONG", "ours": 5, "found": 20}]
        leverage.seen([msgspec.structs.replace(ours, leverage=20)])
        assert leverage.changed() == changed
        leverage.seen([msgspec.structs.replace(ours, leverage=0)])  # it does not say
        leverage.forget()
        assert leverage.changed() == changed, "a gap changes nothing about it"
        leverage.heard(FET, 5, 5)
        assert leverage.changed() == []
        leverage.heard("FETUSDT", 20, 20)
        assert leverage.changed() == changed

    run(test())


def test_an_exchange_that_keeps_its_leverage_gets_no_entry() -> None:
    desk = Desk()
    Account(desk).deaf = True
    error = submitting(desk, order_of(leverage=3))
    assert isinstance(error, NotSent) and "expected 3; found 5" in str(error)


# -- one order -------------------------------------------------------------------------------------

ROW = {
    "symbol": FET,
    "orderId": 1735950529123455000,
    "side": "BUY",
    "positionSide": "BOTH",
    "type": "MARKET",
    "origQty": "100",
    "price": "0.5",
    "executedQty": "100",
    "avgPrice": "0.5001",
    "cumQuote": "50",
    "profit": "0.0000",
    "commission": "-0.025005",
    "status": "FILLED",
    "time": START_MS,
    "updateTime": START_MS + 5,
    "clientOrderId": "one",
}


def asking(desk: Desk, question: str, *arguments: Any) -> Any:
    async def ask() -> Any:
        await desk.open()
        try:
            return await getattr(desk.questions, question)(*arguments)
        except QueryFailed as error:
            return error

    return asyncio.run(asyncio.wait_for(ask(), 30))


def test_an_order_by_its_venue_id() -> None:
    desk = Desk()
    desk.exchange.routes["GET v2/trade/order"] = good({"order": ROW})
    report = asking(desk, "order", REF)
    assert (report.client_order_id, report.status) == ("one", VenueOrderStatus.FILLED)
    (sent,) = desk.exchange.sent("GET v2/trade/order")
    assert sent["orderId"] == REF.venue_order_id and "clientOrderId" not in sent


@pytest.mark.parametrize("code", [109421, 80016, 109414])
def test_an_order_that_does_not_exist_is_none_by_both_ids(code: int) -> None:
    desk = Desk()
    desk.exchange.routes["GET v2/trade/order"] = bad(code, "order not exist")
    assert asking(desk, "order", REF) is None
    first, second = desk.exchange.sent("GET v2/trade/order")
    assert (first["orderId"], second["clientOrderId"]) == (REF.venue_order_id, "one")


@pytest.mark.parametrize(
    "reply",
    [
        bad(109423, "order is being processed"),
        bad(109500),
        bad(101204),
        bad(777),
        bad(109400, "FET-USDT,symbol not exist, please verify it in api"),
        good({}),
        good({"order": {**ROW, "status": "ODD"}}),
        good({"order": {**ROW, "orderId": 5, "clientOrderId": "two"}}),
        httpx.Response(504),
        httpx.ConnectError("down"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_any_other_answer_about_an_order_is_a_failed_question(reply: Any) -> None:
    desk = Desk()
    desk.exchange.routes["GET v2/trade/order"] = reply
    assert isinstance(asking(desk, "order", REF), QueryFailed)


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("blocked", [True, False])
def test_ended_already_or_blocked_is_looked_up_in_the_lists(listed: bool, blocked: bool) -> None:
    desk = Desk()
    desk.exchange.routes["GET v2/trade/order"] = bad(109422, "order is already filled")
    desk.exchange.routes["GET v2/trade/openOrders"] = good({"orders": []})
    desk.exchange.routes["GET v2/trade/allOrders"] = good({"orders": [ROW] if listed else []})
    if blocked:
        desk.client.budget.block(rest.ORDER.limit, 60_000)
    found = asking(desk, "order", REF)
    if listed:
        assert found.venue_order_id == REF.venue_order_id
    else:
        assert isinstance(found, QueryFailed), "not asked for is not absent"
    assert len(desk.exchange.sent("GET v2/trade/order")) == (0 if blocked else 1)


# -- histories -------------------------------------------------------------------------------------


@given(st.integers(1, HISTORY_MS), st.integers(2 * HISTORY_MS, 10**13))
def test_windows_cover_all_time_and_overlap(back_ms: int, now_ms: int) -> None:
    since_ms = now_ms - back_ms
    found = list(windows(since_ms, now_ms))
    assert found[0][0] == since_ms and found[-1][1] > now_ms
    assert all(0 < end - start <= WINDOW_MS for start, end in found)
    for (_, end), (start, _) in itertools.pairwise(found):
        assert end - start == OVERLAP_MS


def test_no_start_means_the_newest_window_and_too_old_a_start_fails() -> None:
    ((start, end),) = windows(0, START_MS)
    assert end - start == WINDOW_MS
    with pytest.raises(QueryFailed, match="history"):
        list(windows(START_MS - HISTORY_MS - 1, START_MS))


class History:
    """Rows with times, found by a window and cut at a page as the exchange does."""

    def __init__(self, rows: list[dict[str, Any]], start: str, end: str, wrap: str = "") -> None:
        self.rows, self.start, self.end, self.wrap = rows, start, end, wrap
        self.calls = 0

    def __call__(self, request: httpx.Request) -> Any:
        self.calls += 1
        query = dict(request.url.params)
        start, end = int(query[self.start]), int(query[self.end])
        assert end - start <= 7 * 86_400_000, "more than seven days"
        found = [row for row in self.rows if start <= row["at"] <= end]
        if "pageIndex" in query:
            size, page = int(query["pageSize"]), int(query["pageIndex"])
            found = found[(page - 1) * size : page * size]
        else:
            assert int(query["limit"]) == PAGE_ROWS
            found = found[:PAGE_ROWS]
        return good({self.wrap: found} if self.wrap else found)


def income_row(i: int, at: int, **fields: Any) -> dict[str, Any]:
    return {
        "at": at,
        "symbol": FET,
        "incomeType": "FUNDING_FEE",
        "income": f"-0.{i + 1:08}",
        "asset": "USDT",
        "time": at,
        "tranId": f"{i + 1}",
        "tradeId": "",
        **fields,
    }


def with_balance(desk: Desk, *assets: str) -> None:
    rows = [{"asset": a, "balance": "9", "availableMargin": "8"} for a in assets or ("USDT",)]
    desk.exchange.routes["GET v3/user/balance"] = good(rows)


DAY_MS = 86_400_000


def test_income_of_months_comes_whole_once_and_in_order() -> None:
    desk = Desk()
    with_balance(desk)
    times = [START_MS - 60 * DAY_MS + i * DAY_MS // 2 for i in range(120)]
    history = History([income_row(i, t) for i, t in enumerate(times)], "startTime", "endTime")
    desk.exchange.routes["GET v2/user/income"] = history
    rows = asking(desk, "income", START_MS - 61 * DAY_MS)
    assert [row.income_id for row in rows] == [str(i + 1) for i in range(120)]
    assert history.calls == 9


def test_a_full_page_is_split_until_it_is_not() -> None:
    desk = Desk()
    with_balance(desk)
    times = [START_MS - 3_600_000 + i * 100 for i in range(2 * PAGE_ROWS + 50)]
    # Another asset's rows fill pages too.
    rows = [income_row(i, t, asset="USDT" if i % 2 else "USDC") for i, t in enumerate(times)]
    desk.exchange.routes["GET v2/user/income"] = History(rows, "startTime", "endTime")
    found = asking(desk, "income", 0)
    assert [row.income_id for row in found] == [str(i + 1) for i in range(1, len(rows), 2)]


def test_a_page_that_cannot_be_split_is_a_failed_question() -> None:
    desk = Desk()
    with_balance(desk)
    rows = [income_row(i, START_MS) for i in range(PAGE_ROWS)]
    desk.exchange.routes["GET v2/user/income"] = History(rows, "startTime", "endTime")
    error = asking(desk, "income", START_MS - 5)
    assert isinstance(error, QueryFailed) and "cut off" in str(error)


def test_one_failed_window_fails_the_whole_question() -> None:
    desk = Desk()
    with_balance(desk)
    desk.exchange.routes["GET v2/user/income"] = [good([]), good([]), bad(109500)]
    assert isinstance(asking(desk, "income", START_MS - 30 * DAY_MS), QueryFailed)


def order_row(i: int, at: int, **fields: Any) -> dict[str, Any]:
    return {**ROW, "at": at, "orderId": i + 1, "clientOrderId": f"o{i}", "updateTime": at, **fields}


def test_all_orders_are_open_ones_and_ended_ones() -> None:
    desk = Desk()
    working = {**ROW, "orderId": 1, "executedQty": "0", "status": "NEW"}
    desk.exchange.routes["GET v2/trade/openOrders"] = good(
        {"orders": [working, {**working, "orderId": 2}]}
    )
    # The second ended in between: it is in both lists.
    rows = [order_row(1, START_MS - 5), order_row(2, START_MS - 4)]
    desk.exchange.routes["GET v2/trade/allOrders"] = History(rows, "startTime", "endTime", "orders")
    found = asking(desk, "all_orders", FET, 0)
    assert [(o.venue_order_id, o.status.name) for o in found] == [
        ("1", "WORKING"),
        ("2", "FILLED"),
        ("3", "FILLED"),
    ]


def test_a_long_history_of_orders_comes_whole() -> None:
    desk = Desk()
    desk.exchange.routes["GET v2/trade/openOrders"] = good({"orders": []})
    rows = [order_row(i, START_MS - DAY_MS + i * 1_000) for i in range(PAGE_ROWS + 1)]
    desk.exchange.routes["GET v2/trade/allOrders"] = History(rows, "startTime", "endTime", "orders")
    assert len(asking(desk, "all_orders", FET, START_MS - 20 * DAY_MS)) == PAGE_ROWS + 1


def fill_row(i: int, at: int) -> dict[str, Any]:
    return {
        "at": at,
        "symbol": FET,
        "qty": "1",
        "price": "0.5",
        "quoteQty": "0.5",
        "commission": "-0.0002",
        "commissionAsset": "USDT",
        "orderId": "7",
        "tradeId": f"{i + 1}",
        "filledTime": "2023-11-14T22:13:20.000+0000",
        "side": "buy",
    }


def test_fills_are_read_page_by_page() -> None:
    desk = Desk()
    rows = [fill_row(i, START_MS - 5) for i in range(2 * PAGE_ROWS)]
    history = History(rows, "startTs", "endTs", "fill_history_orders")
    desk.exchange.routes["GET v2/trade/fillHistory"] = history
    fills = asking(desk, "fills", "FETUSDT", 0)
    assert [fill.fill_id for fill in fills] == [f"7:{i + 1}" for i in range(2 * PAGE_ROWS)]
    assert history.calls == 3


def test_a_page_that_comes_again_is_a_failed_question() -> None:
    desk = Desk()
    rows = [fill_row(i, START_MS - 5) for i in range(PAGE_ROWS)]
    desk.exchange.routes["GET v2/trade/fillHistory"] = good({"fill_orders": rows})
    error = asking(desk, "fills", FET, 0)
    assert isinstance(error, QueryFailed) and "cut off" in str(error)


# -- positions and money ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply", [bad(109500), good(None), good({}), b"", httpx.Response(502), httpx.ReadError("x")]
)
@pytest.mark.parametrize("question", ["positions", "balance"])
def test_a_bad_answer_is_never_flat_and_never_zero(question: str, reply: Any) -> None:
    desk = Desk()
    desk.exchange.routes["GET v2/user/positions"] = reply
    desk.exchange.routes["GET v3/user/balance"] = reply
    assert isinstance(asking(desk, question), QueryFailed)


def test_flat_is_an_empty_list() -> None:
    desk = Desk()
    desk.exchange.routes["GET v2/user/positions"] = good([])
    assert asking(desk, "positions") == ()


def test_the_balance_is_that_of_the_margin_asset_with_its_times() -> None:
    desk = Desk()

    def slow(_: httpx.Request) -> Any:
        desk.exchange.clock.advance_ms(40)
        rows = [
            {"asset": "USDC", "balance": "", "availableMargin": ""},
            {"asset": "USDT", "balance": "19.9003", "availableMargin": "18.5"},
        ]
        return good(rows)

    desk.exchange.routes["GET v3/user/balance"] = slow
    report = asking(desk, "balance")
    assert (report.wallet, report.available_margin) == (199003 * 10**14, 185 * 10**17)
    assert (report.requested_ms, report.answered_ms) == (START_MS, START_MS + 40)


def test_test_money_is_preferred_and_an_empty_row_of_it_confirms_nothing() -> None:
    desk = Desk()
    empty = {"asset": "VST", "balance": "", "availableMargin": ""}
    full = {"asset": "USDT", "balance": "1", "availableMargin": "1"}
    desk.exchange.routes["GET v3/user/balance"] = good([full, empty])
    assert isinstance(asking(desk, "balance"), QueryFailed)


def test_the_older_balance_is_asked_for_when_there_is_no_newer_one() -> None:
    desk = Desk()
    row = {"asset": "USDT", "balance": "3", "availableMargin": "2"}
    desk.exchange.routes["GET v2/user/balance"] = good({"balance": row})
    assert asking(desk, "balance").wallet == 3 * 10**18


# -- rules -----------------------------------------------------------------------------------------


def rules_of(**changes: Any) -> Symbol:
    return symbols_of(raw([{**CONTRACT, **changes}]))["FETUSDT"]


def test_contract_rules_are_exact() -> None:
    rules = rules_of(quantityPrecision="3", pricePrecision=6, tradeMinQuantity="0.005").rules
    assert (rules.step_e8, rules.tick_e10) == (QUANTITY_ONE // 1_000, PRICE_ONE // 1_000_000)
    assert (rules.min_quantity_e8, rules.min_notional) == (QUANTITY_ONE // 200, 2 * 10**18)
    assert (rules.taker_fee_e9, rules.maker_fee_e9) == (500_000, 200_000)


def test_one_odd_contract_is_left_out_and_none_at_all_is_an_error() -> None:
    odd = [
        {**CONTRACT, "symbol": "ODD-USDT", "pricePrecision": 11},
        {**CONTRACT, "symbol": "EVEN-USDT", "quantityPrecision": None},
        {**CONTRACT, "symbol": ""},
    ]
    found = symbols_of(raw([*odd, CONTRACT]))
    assert list(found) == ["FETUSDT"]
    for nothing in ([], odd):
        with pytest.raises(UnreadableValue):
            symbols_of(raw(nothing))


@pytest.mark.parametrize(("value", "hedge"), [("true", True), ("false", False), (False, False)])
def test_the_mode_is_a_text(value: Any, hedge: bool) -> None:
    assert hedge_of(raw({"dualSidePosition": value})) is hedge


@pytest.mark.parametrize("data", [b"{}", b'{"dualSidePosition":""}', b'{"dualSidePosition":"yes"}'])
def test_a_mode_that_is_not_told_is_an_error(data: Any) -> None:
    with pytest.raises(UnreadableValue):
        hedge_of(msgspec.Raw(data))


RECORDED = RECORDINGS / "bingx" / "fixtures"


@pytest.mark.skipif(not RECORDED.exists(), reason="recorded answers are not on this machine")
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("jkorf_rest/exchangedata_GetContracts.json", symbols_of),
        ("ccxt_static/contracts_BTC.json", symbols_of),
        ("jkorf_rest/account_GetLeverage.json", leverage_of),
        ("ccxt_static/leverage_get.json", leverage_of),
        ("jkorf_rest/account_GetPositionMode.json", hedge_of),
    ],
)
def test_recorded_rules_can_be_read(name: str, read: Callable[[msgspec.Raw], object]) -> None:
    recorded = json.loads((RECORDED / name).read_text())
    assert read(raw(recorded.get("response", recorded)["data"]))


def test_checks_of_an_order_need_no_exchange() -> None:
    check_order(order_of(), rules_of())
    check_order(order_of(quantity_e8=1, reduce_only=True), None)
