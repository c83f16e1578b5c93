"""The REST client below the venue: signing, codes, the exchange's time, the budget, one request.

Answers are scripted behind httpx's transport; what only a socket can do is done by a real server on
loopback.  What an answer means for orders is in test_bingx_orders.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.recordings import RECORDINGS
from support.scripted_rest import KEY, SECRET, START_MS, Exchange, bad, good, is_signed, query_of

from dita.clock import ManualClock, SystemClock
from dita.venues import AccessRefused, NotSent, OutcomeUnknown, QueryFailed
from dita.venues.bingx.rest import client as rest
from dita.venues.bingx.rest.client import Access, Client, KeyExpired, ListenKeys
from dita.venues.bingx.rest.error_codes import CODES, Meaning, meaning_of, retry_time_ms
from dita.venues.bingx.rest.rate_limits import BLOCK_MAX_MS, TRAVEL_MS, Budget, Group, Limit
from dita.venues.bingx.rest.server_time import USABLE_MS, ServerTime
from dita.venues.bingx.rest.signing import canonical, signature, signed_query


def run(work: Coroutine[Any, Any, object]) -> None:
    """Run a test's coroutine; nothing here may take long."""
    asyncio.run(asyncio.wait_for(work, 30))


# -- signing ---------------------------------------------------------------------------------------

DOCUMENTED_SECRET = (
    "mheO6dR8ovSsxZQCOYEFCtelpuxcWGTfHw7te326y6jOwq5WpvFQ9JNljoTwBXZGv5It07m9RXSPpDQEK2w"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "symbol=BTC-USDT&timestamp=1667872120843&side=LONG&leverage=6",
            "4f581ecdb1fa09b9d6e57886b6f70cffed17f82b93399722939e49a38edec2bf",
        ),
        (
            "symbol=BTC-USDT&timestamp=1668159715051side=LONG&leverage=6",
            "8b756b01e7a30f02e19c58a91ab01b29528694316b08a51ecb8dd072942bd47d",
        ),
    ],
    ids=["query", "query and body"],
)
def test_signatures_of_the_documents(text: str, expected: str) -> None:
    assert signature(DOCUMENTED_SECRET, text) == expected


def test_what_is_signed_is_sorted_and_raw_and_what_is_sent_is_encoded() -> None:
    parameters = {"symbol": "FET-USDT", "batch": '[{"a": 1}]', "timestamp": "5"}
    assert canonical(parameters) == 'batch=[{"a": 1}]&symbol=FET-USDT&timestamp=5'
    wire, _, signed = signed_query(parameters, SECRET).rpartition("&signature=")
    assert wire == "batch=%5B%7B%22a%22%3A%201%7D%5D&symbol=FET-USDT&timestamp=5"
    assert signed == signature(SECRET, canonical(parameters))


@given(
    st.dictionaries(
        st.text("abcdefghijKLMNOP", min_size=1, max_size=8),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
        max_size=6,
    )
)
def test_any_value_arrives_as_it_was_signed(parameters: dict[str, str]) -> None:
    """Through httpx's own reading of the address, byte for byte."""
    query = signed_query(parameters, SECRET)
    request = httpx.Request("POST", f"https://exchange.test/path?{query}")
    assert request.url.raw_path == f"/path?{query}".encode()
    assert query_of(request).items() >= parameters.items()
    assert is_signed(request)
    for name, value in parameters.items():
        assert f"{name}={quote(value, safe='')}&" in f"{query}&"


# -- codes -----------------------------------------------------------------------------------------

M = Meaning
SAID = [
    (0, "", M.DONE),
    (100001, "Signature verification failed due to signature mismatch", M.ACCESS),
    (100004, "permission denied", M.ACCESS),
    (100412, "null signature", M.ACCESS),
    (100413, "Incorrect apiKey", M.ACCESS),
    (100419, "IP does not match IP whitelist", M.ACCESS),
    (100421, "Null timestamp or timestamp mismatch", M.CLOCK),
    (100421, "", M.UNKNOWN),
    (100421, "The current system is busy, please try again later", M.UNKNOWN),
    (100413, "the current system is busy, please try again later", M.UNKNOWN),
    (100421, "This pair is currently restricted from API trading", M.REJECTED),
    (109400, "timestamp is invalid", M.CLOCK),
    (80014, "timestamp is invalid", M.CLOCK),
    (100410, "rate limited", M.LIMITED),
    (100410, "over 20 error code:100202 requests within 480000 ms for this api", M.LIMITED),
    (100410, "The current system is busy, please try again later", M.UNKNOWN),
    (100410, "rate limit, please try again later", M.LIMITED),
    (109429, "", M.LIMITED),
    (101204, "", M.REJECTED),
    (101206, "Insufficient margin", M.REJECTED),
    (101253, "margin is not enough", M.REJECTED),
    (110424, "Insufficient", M.REJECTED),
    (101211, "Order price should be lower than 5", M.REJECTED),
    (101215, "Post only would match", M.REJECTED),
    (80020, "risk forbidden", M.REJECTED),
    (109403, "risk forbidden", M.REJECTED),
    (100414, "Code: 100414, Msg: risk control check fail,code(1)", M.REJECTED),
    (101514, "temporarily suspended from opening", M.REJECTED),
    (101205, "No position to close", M.NO_POSITION),
    (109420, "position not exist", M.NO_POSITION),
    (80017, "position not exist", M.NO_POSITION),
    (109422, "the position does not exist", M.NO_POSITION),
    (101290, "Reduce Only order can only decrease the position", M.NO_POSITION),
    (101400, "The minimum order amount is 0.0001 BTC.", M.TOO_SMALL),
    (101400, "Order size error", M.TOO_SMALL),
    (101400, "", M.UNKNOWN),
    (101400, "duplicate clientOrderID", M.UNKNOWN),
    (101400, "The order failed, please retry", M.UNKNOWN),
    (101400, "TP price must be greater than the current price", M.REJECTED),
    (101400, "FET-USDT is not available for trading", M.SUSPENDED),
    (101485, "", M.TOO_SMALL),
    (110203, "Available amount for closing is insufficient", M.NO_POSITION),
    (101204, "order failed, please try again later", M.UNKNOWN),
    (101204, "insufficient margin, the order was accepted in part", M.UNKNOWN),
    (101205, "position is being processed", M.UNKNOWN),
    (101209, "internal error", M.UNKNOWN),
    (101211, "下单失败", M.UNKNOWN),
    (100400, "The same order can only be submitted once per second.", M.UNKNOWN),
    (100400, "The current system is busy, please try again later", M.UNKNOWN),
    (100400, "this api is not exist: /x", M.REJECTED),
    (101214, "Funding fee settlement is in progress", M.UNKNOWN),
    (101219, "assets are being processed", M.UNKNOWN),
    (102201, "Order was canceled because filling it may result in negative assets", M.UNKNOWN),
    (109400, "", M.UNKNOWN),
    (109400, "place order failed", M.UNKNOWN),
    (109400, "something that nobody has seen", M.UNKNOWN),
    (110400, "The submitted order parameters do not meet the requirements", M.REJECTED),
    (101202, "below minimum", M.TOO_SMALL),
    (110422, "", M.TOO_SMALL),
    (110425, "the minimum nominal value must be greater than 2u", M.TOO_SMALL),
    (109400, "the minimum order amount is 2 USDT", M.TOO_SMALL),
    (109400, "In the One-way mode, the 'PositionSide' field can only be set to BOTH.", M.REJECTED),
    (109400, 'parameter "quantity" is must', M.REJECTED),
    (109400, "NOPE-USDT,symbol not exist, please verify it in api: /openApi/", M.SYMBOL),
    (109400, "order not exist", M.NOT_FOUND),
    (109400, "the server is busy", M.UNKNOWN),
    (109425, "NOPE-USDT not exist, please verify it", M.SYMBOL),
    (101415, "suspended", M.SUSPENDED),
    (101415, "suspended from trading, please try again later", M.SUSPENDED),
    (109417, "", M.SUSPENDED),
    (109418, "FET-USDT is offline", M.SUSPENDED),
    (110280, "This trading pair is suspended from opening positions", M.SUSPENDED),
    (101413, "Currently in non-trading hours", M.SUSPENDED),
    (109421, "order not exist", M.NOT_FOUND),
    (80016, "order not exist", M.NOT_FOUND),
    (109414, "order not exist", M.NOT_FOUND),
    (109422, "order is already filled", M.ENDED),
    (80018, "The order doesn't exist", M.ENDED),
    (109423, "order is being processed, use allOrders later", M.LAGGING),
    (80019, "order is being processed", M.LAGGING),
    (101481, "clientOrderID cannot be repeated", M.UNKNOWN),
    (109201, "The same order number is only allowed to be submitted once", M.UNKNOWN),
    (109500, "rpc timeout", M.UNKNOWN),
    (80012, "busy", M.UNKNOWN),
    (80012, '{"Code":101253,"Msg":"margin is not enough"}', M.REJECTED),
    (80012, '{"Code":110425,"Msg":"too small"}', M.TOO_SMALL),
    (109500, '{"Code":101481,"Msg":"repeated"}', M.UNKNOWN),
    (109500, '{"Code":109500,"Msg":"busy"}', M.UNKNOWN),
    (109500, '{"Code":100410,"Msg":"a service behind is limited"}', M.UNKNOWN),
    (100500, "", M.UNKNOWN),
    (110500, "", M.UNKNOWN),
    (101500, "", M.UNKNOWN),
    (109701, "network error", M.UNKNOWN),
    (100404, "path not found", M.REJECTED),
]


@pytest.mark.parametrize(("code", "text", "meaning"), SAID, ids=[f"{c} {t}" for c, t, _ in SAID])
def test_meanings(code: int, text: str, meaning: Meaning) -> None:
    assert meaning_of(code, text) is meaning


@given(st.integers(-(10**7), 10**7), st.text(max_size=30))
def test_a_code_that_nobody_documented_is_unknown(code: int, text: str) -> None:
    if code not in CODES:
        assert meaning_of(code, text) is Meaning.UNKNOWN


REFUSED = (M.REJECTED, M.TOO_SMALL, M.NO_POSITION, M.SYMBOL)
#: "risk control check fail" is how this one says no.
PLAIN = (100414,)


@given(
    st.sampled_from(sorted(CODES - set(PLAIN))),
    st.sampled_from(["", "Insufficient margin: ", "No position to close, ", "minimum "]),
    st.sampled_from(["failed", "busy", "timeout", "please try again", "internal error", "retry"]),
)
def test_a_text_that_says_failed_or_busy_is_no_refusal(code: int, words: str, doubt: str) -> None:
    assert meaning_of(code, words + doubt) not in REFUSED


@given(st.sampled_from([109400, 80014, 80001, 101400]), st.text("xyz 0123456789.,", max_size=40))
def test_under_a_code_for_everything_only_a_known_text_is_a_refusal(code: int, text: str) -> None:
    assert meaning_of(code, text) is Meaning.UNKNOWN


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "code:100410:The endpoint trigger frequency limit rule is currently in the disabled "
            "period and will be unblocked after 1727193814249",
            1727193814249,
        ),
        (
            "over 20 error code:100202 requests within 480000 ms for this api, please verify and "
            "fix it ,can retry after time: 1727193970155",
            1727193970155,
        ),
        ("rate limited", 0),
        ("unblocked after 5 minutes", 0),
        ("", 0),
    ],
)
def test_the_time_of_a_rate_limit_is_in_its_text(text: str, expected: int) -> None:
    assert retry_time_ms(text) == expected


OBSERVED = RECORDINGS / "bingx" / "fixtures" / "ws_events" / "rest_errors_observed.json"


@pytest.mark.skipif(not OBSERVED.exists(), reason="recorded errors are not on this machine")
def test_every_error_that_was_observed_has_a_meaning() -> None:
    for seen in json.loads(OBSERVED.read_text()):
        assert meaning_of(seen["code"], seen["msg"]) is not Meaning.UNKNOWN, seen


# -- the exchange's time ---------------------------------------------------------------------------


def test_time_is_not_known_before_it_was_measured() -> None:
    time = ServerTime(ManualClock(START_MS))
    assert not time.known
    with pytest.raises(QueryFailed):
        time.now_ms()


def test_the_shortest_round_trip_counts() -> None:
    clock = ManualClock(START_MS)
    clock.advance_ms(1_000)
    time = ServerTime(clock)
    time.measured(0, 400, 50_300)  # 100 ms off the middle
    time.measured(500, 520, 50_511)
    time.measured(600, 900, 50_690)
    assert time.now_ms() == 51_001


def test_a_step_of_the_wall_clock_moves_only_the_skew() -> None:
    class Stepping(ManualClock):
        step_ms = 0

        def now_ms(self) -> int:
            return super().now_ms() + self.step_ms

    clock = Stepping(START_MS)
    time = ServerTime(clock)
    time.measured(0, 10, START_MS + 5)
    assert (time.now_ms(), time.skew_ms()) == (START_MS, 0)
    clock.step_ms = -3_600_000
    assert (time.now_ms(), time.skew_ms()) == (START_MS, -3_600_000)


def test_when_the_exchange_moves_its_clock_the_newest_measurement_counts() -> None:
    clock = ManualClock(START_MS)
    time = ServerTime(clock)
    time.measured(0, 10, START_MS + 5)
    clock.advance_ms(10_000)
    time.measured(10_000, 10_200, START_MS + 90_100)
    assert time.now_ms() == START_MS + 90_000


def test_old_measurements_stop_entries_and_still_sign() -> None:
    clock = ManualClock(START_MS)
    time = ServerTime(clock)
    time.measured(0, 10, START_MS + 5)
    clock.advance_ms(USABLE_MS + 11)
    assert not time.known
    assert time.now_ms() == START_MS + USABLE_MS + 11


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=12))
def test_the_estimate_is_within_half_the_shortest_round_trip(trips: list[tuple[int, int]]) -> None:
    clock = ManualClock(START_MS)
    time = ServerTime(clock)
    for out_ms, back_ms in trips:
        asked_ms = time.monotonic_ms()
        clock.advance_ms(out_ms)
        server_ms = clock.now_ms() + 7_000_000
        clock.advance_ms(back_ms)
        time.measured(asked_ms, time.monotonic_ms(), server_ms)
    best = min(out_ms + back_ms for out_ms, back_ms in trips[-8:])
    assert abs(time.now_ms() - clock.now_ms() - 7_000_000) <= best // 2 + 1


# -- the budget ------------------------------------------------------------------------------------

FIVE = Limit("five", Group.TRADE, 5)


def budget_of(clock: ManualClock) -> Budget:
    async def sleep(seconds: float) -> None:
        clock.advance_ms(round(seconds * 1_000))

    return Budget(clock, sleep)


def test_no_second_ever_sees_more_questions_than_allowed() -> None:
    clock = ManualClock(START_MS)
    budget = budget_of(clock)
    times: list[int] = []

    async def ask(pauses: list[int]) -> None:
        for pause_ms in pauses:
            clock.advance_ms(pause_ms)
            await budget.question(FIVE)
            times.append(clock.now_ms())

    run(ask([0, 0, 300, 0, 0, 0, 10, 900, 0, 0, 0, 0, 0, 0, 0, 0, 50, 50, 50, 50]))
    for start in times:
        assert sum(start <= each < start + 1_000 + TRAVEL_MS for each in times) <= 5
    assert budget.requests_total["five"] == 20
    assert budget.waits_total["five"] > 0
    assert budget.waited_ms_total["five"] > 0


@given(st.lists(st.integers(0, 700), max_size=60))
def test_windows_hold_for_any_pace(pauses: list[int]) -> None:
    clock = ManualClock(START_MS)
    budget = budget_of(clock)
    times: list[int] = []

    async def ask() -> None:
        for pause_ms in pauses:
            clock.advance_ms(pause_ms)
            await budget.question(FIVE)
            times.append(clock.now_ms())

    asyncio.run(ask())
    for i, start in enumerate(times):
        assert i + 5 >= len(times) or times[i + 5] >= start + 1_000 + TRAVEL_MS


def test_questions_leave_room_in_the_group_for_orders() -> None:
    clock = ManualClock(START_MS)
    budget = budget_of(clock)
    many = [Limit(f"q{i}", Group.TRADE, 5) for i in range(400)]

    async def ask() -> None:
        for limit in many:
            for _ in range(4):
                await budget.question(limit)

    run(ask())
    assert sum(budget.waits_total.values()) == 0
    assert budget.wait_ms(Limit("q", Group.TRADE, 5)) > 0, "1600 of 2000 are what questions get"
    assert budget.wait_ms(Limit("q", Group.ACCOUNT, 5)) == 0


def test_a_share_of_the_window_is_kept_for_exits() -> None:
    clock = ManualClock(START_MS)
    budget = budget_of(clock)
    place = Limit("place", Group.TRADE, 10)
    for _ in range(7):
        assert budget.wait_ms(place, 70) == 0
        budget.spend(place)
    assert budget.wait_ms(place, 70) == 1_000 + TRAVEL_MS
    assert budget.wait_ms(place) == 0


def test_a_learned_block_fails_questions_until_it_ends() -> None:
    clock = ManualClock(START_MS)
    budget = budget_of(clock)
    budget.block(FIVE, 5_000)
    budget.block(FIVE, 1_000)  # a shorter one does not shorten it
    with pytest.raises(QueryFailed, match="5000 ms"):
        run(budget.question(FIVE))
    run(budget.question(Limit("other", Group.TRADE, 5)))
    clock.advance_ms(5_000)
    run(budget.question(FIVE))
    assert budget.blocks_total["five"] == 2


def test_a_block_without_end_is_tried_again_after_ten_minutes() -> None:
    clock = ManualClock(START_MS)
    budget = budget_of(clock)
    budget.block(FIVE, 10**12)
    assert budget.blocked_ms(FIVE) == BLOCK_MAX_MS


# -- one request -----------------------------------------------------------------------------------


async def opened(exchange: Exchange, **changes: Any) -> Client:
    client = exchange.client(**changes)
    await client.open()
    await client.measure_time()
    return client


def test_requests_are_signed_in_the_query_with_the_exchange_s_time() -> None:
    exchange = Exchange()
    exchange.ahead_ms = 123_456
    exchange.routes["GET v2/user/positions"] = good([])

    async def test() -> None:
        client = await opened(exchange, receive_window_ms=4_000)
        await client.wanted(rest.POSITIONS, {})
        await client.close()

    run(test())
    request = exchange.requests[-1]
    assert is_signed(request)
    assert request.content == b""
    assert request.headers["X-BX-APIKEY"] == KEY
    query = query_of(request)
    assert (query["timestamp"], query["recvWindow"]) == (str(exchange.now_ms()), "4000")
    assert "X-BX-APIKEY" not in exchange.requests[0].headers, "public questions carry no key"


def test_nothing_is_signed_before_the_time_is_known_or_after_close() -> None:
    exchange = Exchange()

    async def test() -> None:
        client = exchange.client()
        with pytest.raises(NotSent, match="connect"):
            await client.order(rest.PLACE, {}, 0)
        await client.open()
        with pytest.raises(NotSent, match="time"):
            await client.order(rest.PLACE, {}, 0)
        await client.close()
        await client.close()
        with pytest.raises(QueryFailed):
            await client.ask(rest.POSITIONS, {})

    run(test())
    assert not exchange.requests


def test_a_refused_timestamp_is_measured_and_the_same_is_sent_once_more() -> None:
    exchange = Exchange()
    exchange.routes["POST v2/trade/order"] = [bad(100421, "timestamp mismatch"), good({})]

    async def test() -> None:
        client = await opened(exchange)
        exchange.ahead_ms = 60_000
        answer = await client.order(
            rest.PLACE, {"clientOrderId": "one"}, client.time.monotonic_ms()
        )
        assert answer.meaning is Meaning.DONE

    run(test())
    first, second = exchange.sent("POST v2/trade/order")
    assert first["clientOrderId"] == second["clientOrderId"]
    assert int(second["timestamp"]) - int(first["timestamp"]) == 60_000


def test_a_slow_measurement_after_a_refused_timestamp_replaces_a_quick_one_before() -> None:
    """The exchange has just said that the quick one is wrong."""
    exchange = Exchange()
    exchange.routes["POST v2/trade/order"] = [bad(100421, "timestamp mismatch"), good({})]

    def slow(_: httpx.Request) -> dict[str, Any]:
        exchange.clock.advance_ms(2_000)
        now_ms = exchange.now_ms()
        exchange.clock.advance_ms(2_000)
        return good({"serverTime": now_ms})

    async def test() -> None:
        client = await opened(exchange)
        exchange.ahead_ms = 1_500
        exchange.routes["GET v2/server/time"] = slow
        await client.order(rest.PLACE, {}, client.time.monotonic_ms())

    run(test())
    assert exchange.sent("POST v2/trade/order")[1]["timestamp"] == str(exchange.now_ms())


def test_twice_refused_or_no_time_to_be_had_is_not_sent() -> None:
    exchange = Exchange()
    refusal = bad(100421, "timestamp mismatch")
    exchange.routes["POST v2/trade/order"] = [refusal, refusal, refusal]

    async def test() -> None:
        client = await opened(exchange)
        with pytest.raises(NotSent, match="twice"):
            await client.order(rest.PLACE, {}, client.time.monotonic_ms())
        exchange.routes["GET v2/server/time"] = httpx.ConnectError("down")
        with pytest.raises(NotSent, match="timestamp refused"):
            await client.order(rest.PLACE, {}, client.time.monotonic_ms())

    run(test())
    assert len(exchange.sent("POST v2/trade/order")) == 3


def test_nothing_is_signed_long_after_it_was_asked_for() -> None:
    """The proof of absence counts from there."""
    exchange = Exchange()
    refusal = bad(100421, "timestamp mismatch")

    def slow(_: httpx.Request) -> dict[str, Any]:
        exchange.clock.advance_ms(rest.SIGN_WITHIN_MS + 1)
        return refusal

    exchange.routes["POST v2/trade/order"] = slow

    async def test() -> None:
        client = await opened(exchange)
        with pytest.raises(NotSent, match="too late"):
            await client.order(rest.PLACE, {}, client.time.monotonic_ms())

    run(test())
    assert len(exchange.sent("POST v2/trade/order")) == 1


@pytest.mark.parametrize("code", [100001, 100004, 100412, 100413, 100419])
def test_refused_access_is_fatal_and_shows_no_key(code: int) -> None:
    exchange = Exchange()
    words = f"Incorrect apiKey {KEY} with {SECRET}\nand more"
    exchange.routes["POST v2/trade/order"] = bad(code, words)
    exchange.routes["GET v2/user/positions"] = bad(code, words)

    async def test() -> None:
        client = await opened(exchange)
        for attempt in (
            client.order(rest.PLACE, {}, client.time.monotonic_ms()),
            client.wanted(rest.POSITIONS, {}),
        ):
            with pytest.raises(AccessRefused) as caught:
                await attempt
            shown = f"{caught.value} {caught.value.found} {client!r}"
            assert KEY not in shown and SECRET not in shown
            assert str(code) in shown

    run(test())


def failing(*failures: tuple[Exception, type[Exception]]) -> pytest.MarkDecorator:
    names = [type(failure).__name__ for failure, _ in failures]
    return pytest.mark.parametrize(("failure", "expected"), failures, ids=names)


@failing(
    (httpx.ConnectError("refused"), NotSent),
    (httpx.ConnectTimeout("slow"), NotSent),
    (httpx.PoolTimeout("busy"), NotSent),
    (httpx.UnsupportedProtocol("ftp"), NotSent),
    (httpx.ReadTimeout("slow"), OutcomeUnknown),
    (httpx.WriteTimeout("slow"), OutcomeUnknown),
    (httpx.WriteError("reset"), OutcomeUnknown),
    (httpx.ReadError("reset"), OutcomeUnknown),
    (httpx.CloseError("reset"), OutcomeUnknown),
    (httpx.RemoteProtocolError("disconnected"), OutcomeUnknown),
    (httpx.LocalProtocolError("confused"), OutcomeUnknown),
    (httpx.ProxyError("no"), OutcomeUnknown),
    (httpx.DecodingError("not gzip"), OutcomeUnknown),
    (httpx.TooManyRedirects("round and round"), OutcomeUnknown),
    (TimeoutError(), OutcomeUnknown),
)
def test_only_what_left_no_byte_is_called_not_sent(
    failure: Exception, expected: type[Exception]
) -> None:
    exchange = Exchange()
    for route in ("POST v2/trade/order", "DELETE v2/trade/order", "GET v2/user/positions"):
        exchange.routes[route] = failure

    async def test() -> None:
        client = await opened(exchange)
        for endpoint in (rest.PLACE, rest.CANCEL):
            with pytest.raises(expected) as caught:
                await client.order(endpoint, {}, client.time.monotonic_ms())
            assert type(failure).__name__ in caught.value.found  # type: ignore[attr-defined]
        with pytest.raises(QueryFailed):
            await client.wanted(rest.POSITIONS, {})

    run(test())
    assert len(exchange.sent("POST v2/trade/order")) == 1, "an order is sent once"
    assert len(exchange.sent("DELETE v2/trade/order")) == 1


PAGE = b"<html><head><title>502 Bad Gateway</title></head></html>"
UNREADABLE = {
    "html": httpx.Response(200, content=PAGE),
    "bad gateway": httpx.Response(502, content=PAGE),
    "gateway timeout": httpx.Response(504, content=PAGE),
    "504 with a refusal": httpx.Response(504, json=bad(101204)),
    "500 with success": httpx.Response(500, json=good({"order": {"orderId": 1}})),
    "firewall": httpx.Response(403, content=PAGE),
    "not found page": httpx.Response(404, content=b"not here"),
    "redirect": httpx.Response(302, headers={"location": "https://elsewhere.test/"}),
    "empty": httpx.Response(200, content=b""),
    "truncated": httpx.Response(200, content=b'{"code":0,"msg":"","data":{"ord'),
    "not an object": httpx.Response(200, content=b'["code",0]'),
    "no code": httpx.Response(200, json={"data": {"order": {"orderId": 1}}}),
    "null code": httpx.Response(200, json={"code": None, "data": {}}),
    "empty code": httpx.Response(200, json={"code": "", "data": {}}),
    "word as code": httpx.Response(200, json={"code": "OK", "data": {}}),
    "not utf-8": httpx.Response(200, content=b'{"code":0,"msg":"\xff"}'),
    "created": httpx.Response(201, json=good({})),
    "success but limited": httpx.Response(429, json=good({})),
}


@pytest.mark.parametrize("reply", UNREADABLE)
def test_what_cannot_be_read_says_nothing(reply: str) -> None:
    exchange = Exchange()
    exchange.routes["POST v2/trade/order"] = UNREADABLE[reply]
    exchange.routes["GET v2/user/positions"] = UNREADABLE[reply]

    async def test() -> None:
        client = await opened(exchange)
        with pytest.raises(OutcomeUnknown):
            await client.order(rest.PLACE, {}, client.time.monotonic_ms())
        with pytest.raises(QueryFailed):
            await client.wanted(rest.POSITIONS, {})

    run(test())


LIMITS = {
    "coded": httpx.Response(200, json=bad(100410, "rate limited")),
    "coded anew": httpx.Response(200, json=bad(109429, "too many requests")),
    "429": httpx.Response(429, content=PAGE),
    "429 coded": httpx.Response(429, json=bad(100410, "rate limited")),
    "banned": httpx.Response(418, content=b""),
}


@pytest.mark.parametrize("reply", LIMITS)
def test_a_limited_question_pauses_questions_and_not_orders(reply: str) -> None:
    exchange = Exchange()
    exchange.routes["POST v2/trade/order"] = LIMITS[reply]
    exchange.routes["GET v2/user/positions"] = LIMITS[reply]

    async def test() -> None:
        client = await opened(exchange)
        answer = await client.order(rest.PLACE, {}, client.time.monotonic_ms())
        assert answer.meaning is Meaning.LIMITED
        assert client.retry_after_ms(answer) == 0
        assert client.budget.blocked_ms(rest.PLACE.limit) == 0
        with pytest.raises(QueryFailed):
            await client.wanted(rest.POSITIONS, {})
        pause_ms = client.budget.blocked_ms(rest.POSITIONS.limit)
        assert pause_ms == (300_000 if reply == "banned" else 2_000)
        with pytest.raises(QueryFailed, match="blocked"):
            await client.wanted(rest.POSITIONS, {})

    run(test())
    assert len(exchange.sent("GET v2/user/positions")) == 1


def test_a_firewall_pauses_questions_and_not_orders() -> None:
    exchange = Exchange()
    page = httpx.Response(403, content=PAGE)
    exchange.routes["POST v2/trade/order"] = exchange.routes["GET v2/user/positions"] = page

    async def test() -> None:
        client = await opened(exchange)
        for _ in range(2):
            with pytest.raises(OutcomeUnknown):
                await client.order(rest.PLACE, {}, client.time.monotonic_ms())
            with pytest.raises(QueryFailed):
                await client.wanted(rest.POSITIONS, {})
        exchange.clock.advance_ms(10_000)
        with pytest.raises(QueryFailed):
            await client.wanted(rest.POSITIONS, {})

    run(test())
    assert len(exchange.sent("POST v2/trade/order")) == 2
    assert len(exchange.sent("GET v2/user/positions")) == 2


def test_a_limit_with_a_time_blocks_the_endpoint_until_then() -> None:
    exchange = Exchange()
    until_ms = START_MS + 90_000
    text = f"The endpoint is in the disabled period and will be unblocked after {until_ms}"
    exchange.routes["POST v2/trade/order"] = bad(100410, text)

    async def test() -> None:
        client = await opened(exchange)
        answer = await client.order(rest.PLACE, {}, client.time.monotonic_ms())
        assert client.retry_after_ms(answer) == 90_000
        assert client.budget.blocked_ms(rest.PLACE.limit) == 90_000
        assert client.budget.blocked_ms(rest.CANCEL.limit) == 0

    run(test())


def test_only_a_question_that_cannot_connect_tries_the_other_host() -> None:
    exchange = Exchange()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "exchange.test":
            exchange.requests.append(request)
            raise httpx.ConnectError("down")
        return exchange.answer(request)

    exchange.routes["GET v2/user/positions"] = good([])
    exchange.routes["POST v2/trade/order"] = good({})
    exchange.transport = httpx.MockTransport(answer)

    async def test() -> None:
        client = await opened(exchange, fallback_url="https://other.test")
        await client.wanted(rest.POSITIONS, {})
        for endpoint in (rest.PLACE, rest.CANCEL):
            with pytest.raises(NotSent):
                await client.order(endpoint, {}, client.time.monotonic_ms())
        with pytest.raises(QueryFailed):
            await client.wanted(rest.SET_LEVERAGE, {})
        exchange.routes["GET v2/user/positions"] = httpx.ReadTimeout("slow")
        with pytest.raises(QueryFailed):
            await client.wanted(rest.POSITIONS, {})

    run(test())
    hosts = [r.url.host for r in exchange.requests if r.url.path.endswith("/positions")]
    assert hosts == ["exchange.test", "other.test"] * 2
    posts = [r.url.host for r in exchange.requests if r.method != "GET"]
    assert posts == ["exchange.test"] * 3


# -- listen keys -----------------------------------------------------------------------------------

LISTEN_KEY = "a8ea75681542e66f1a50a1616dd06ed77dab61baa0c296bca03a9b13ee5f2dd7"
KEYS = "user/auth/userDataStream"


async def listen_keys(exchange: Exchange) -> ListenKeys:
    return ListenKeys(await opened(exchange))


@pytest.mark.parametrize("reply", [{"listenKey": LISTEN_KEY}, good({"listenKey": LISTEN_KEY})])
def test_a_listen_key_comes_with_or_without_envelope(reply: dict[str, Any]) -> None:
    exchange = Exchange()
    exchange.routes[f"POST {KEYS}"] = reply

    async def test() -> None:
        assert await (await listen_keys(exchange)).create() == LISTEN_KEY

    run(test())
    assert is_signed(exchange.requests[-1])


@pytest.mark.parametrize(
    "reply",
    [
        {},
        good({}),
        {"listenKey": ""},
        {"listenKey": "a b"},
        {"listenKey": 5},
        bad(100500),
        b"",
        PAGE,
    ],
    ids=repr,
)
def test_no_listen_key_is_a_failed_question(reply: Any) -> None:
    exchange = Exchange()
    exchange.routes[f"POST {KEYS}"] = reply

    async def test() -> None:
        with pytest.raises(QueryFailed):
            await (await listen_keys(exchange)).create()

    run(test())


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (httpx.Response(200), None),
        (httpx.Response(200, json=good({})), None),
        (httpx.Response(404), KeyExpired),
        (httpx.Response(404, content=b"not found"), KeyExpired),
        (httpx.Response(200, json=bad(100401)), KeyExpired),
        (httpx.Response(204), QueryFailed),
        (httpx.Response(200, json=bad(100500)), QueryFailed),
        (httpx.Response(200, content=PAGE), QueryFailed),
        (httpx.Response(502), QueryFailed),
        (httpx.ReadTimeout("slow"), QueryFailed),
    ],
)
def test_extending_a_listen_key(reply: Any, expected: type[Exception] | None) -> None:
    exchange = Exchange()
    exchange.routes[f"PUT {KEYS}"] = exchange.routes[f"DELETE {KEYS}"] = reply

    async def test() -> None:
        keys = await listen_keys(exchange)
        if expected is None:
            await keys.extend(LISTEN_KEY)
            await keys.delete(LISTEN_KEY)
            return
        with pytest.raises(expected):
            await keys.extend(LISTEN_KEY)
        if expected is KeyExpired:
            await keys.delete(LISTEN_KEY)  # gone is gone
        else:
            with pytest.raises(expected):
                await keys.delete(LISTEN_KEY)

    run(test())
    assert query_of(exchange.requests[-1])["listenKey"] == LISTEN_KEY


# -- real sockets ----------------------------------------------------------------------------------

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


class Loopback:
    """A server that reads requests and does with the socket what a test wants."""

    def __init__(self, serve: Serve) -> None:
        self.heads: list[bytes] = []
        self.connections = 0
        self._serve = serve

    async def __aenter__(self) -> Loopback:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if b"/server/time" in head:
                    now_ms = SystemClock().now_ms()
                    await answer(writer, json.dumps(good({"serverTime": now_ms})).encode())
                    continue
                self.heads.append(head)
                await self._serve(reader, writer, head)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client hung up, or we did
        finally:
            writer.close()

    async def client(self) -> Client:
        access = Access(f"http://127.0.0.1:{self.port}", lambda: KEY, lambda: SECRET)
        client = Client(access, SystemClock())
        await client.open()
        await client.measure_time()
        return client


async def answer(writer: asyncio.StreamWriter, body: bytes, headers: bytes = b"") -> None:
    length = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n".encode()
    writer.write(length + headers + b"\r\n" + body)
    await writer.drain()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    writer.close()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    writer.transport.abort()


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"code":0,"data"')
    await writer.drain()
    writer.close()


async def half_a_chunk(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{"code":0')
    await writer.drain()
    writer.close()


async def noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    writer.write(b"\x00\x01\x02 not http at all\r\n\r\n")
    await writer.drain()
    writer.close()


async def broken_gzip(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
) -> None:
    body = b"\x1f\x8b" + bytes(30)
    await answer(writer, body, b"Content-Encoding: gzip\r\n")


@pytest.mark.parametrize("serve", [hang_up, reset, half, half_a_chunk, noise, broken_gzip])
def test_a_socket_that_breaks_after_the_request_leaves_the_outcome_unknown(serve: Serve) -> None:
    async def test() -> None:
        async with Loopback(serve) as server:
            client = await server.client()
            with pytest.raises(OutcomeUnknown):
                await client.order(rest.PLACE, {"symbol": "X"}, client.time.monotonic_ms())
            assert len(server.heads) == 1, "an order is sent once"
            with pytest.raises(QueryFailed):
                await client.wanted(rest.POSITIONS, {})
            await client.close()

    run(test())


def test_a_port_where_nobody_listens_is_not_sent() -> None:
    async def test() -> None:
        async with Loopback(hang_up) as server:
            client = await server.client()
            await client.close()
            await client.open()
        with pytest.raises(NotSent, match="ConnectError"):
            await client.order(rest.PLACE, {}, client.time.monotonic_ms())
        await client.close()

    run(test())


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
    ) -> None:
        await answer(writer, json.dumps(good([])).encode())

    async def test() -> None:
        async with Loopback(serve) as server:
            for name in ("HTTP_PROXY", "ALL_PROXY"):
                monkeypatch.setenv(name, "http://127.0.0.1:9")
            client = await server.client()
            await client.wanted(rest.POSITIONS, {})
            await client.close()

    run(test())


def test_the_request_on_the_wire_has_no_body_and_the_connection_is_kept() -> None:
    async def serve(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
    ) -> None:
        body = gzip.compress(json.dumps(bad(101204)).encode())
        await answer(writer, body, b"Content-Encoding: gzip\r\n")

    async def test() -> None:
        async with Loopback(serve) as server:
            client = await server.client()
            for _ in range(3):
                reply = await client.order(
                    rest.PLACE, {"symbol": "A B", "note": "[1]"}, client.time.monotonic_ms()
                )
                assert (reply.meaning, reply.code) == (Meaning.REJECTED, 101204)
            head = server.heads[0].decode()
            line, _, headers = head.partition("\r\n")
            assert line.startswith("POST /openApi/swap/v2/trade/order?note=%5B1%5D&recvWindow=5000")
            assert "&symbol=A%20B&timestamp=" in line and "&signature=" in line
            assert "content-length: 0" in headers.lower()
            assert "content-type" not in headers.lower()
            assert server.connections == 2, "one for questions, one for orders"
            await client.close()

    run(test())


def test_a_process_leaves_room_for_the_one_that_ended_before_it() -> None:
    """Three starts within a second: together no more than the endpoint's five."""
    clock = ManualClock(START_MS)

    async def wait(seconds: float) -> None:
        clock.advance_ms(round(seconds * 1_000))

    async def asked() -> None:
        budget = Budget(clock, wait)
        budget.take_over()
        times = []
        for _ in range(3):
            await budget.question(rest.BALANCE.limit)
            times.append(clock.now_ms() - START_MS)
        assert times == [0, 0, 1_000 + TRAVEL_MS]

    run(asked())
