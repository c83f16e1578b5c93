"""The exchange over real HTTP and real sockets: signing, limits, streams, faults, control.

The clock is moved by hand, so minutes pass in no time; what other tasks do is waited for.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from support.exchange_client import KEYS, ORDER, START_MS, Desk, desk
from support.recordings import RECORDINGS

from dita.exchange.wire.limits import LimitRules
from dita.exchange.wire.signing import sign

FIXTURES = RECORDINGS / "bingx" / "fixtures"
V1, V2 = "/openApi/swap/v1", "/openApi/swap/v2"
BALANCE = "/openApi/swap/v3/user/balance"


def played(session: Callable[[Desk], Awaitable[None]], **settings: Any) -> None:
    """Run one session against a fresh exchange."""

    async def run() -> None:
        async with desk(**settings) as on:
            await session(on)

    asyncio.run(run())


# -- REST ---------------------------------------------------------------------------------------


def test_a_call_must_be_signed_and_in_time() -> None:
    """The gateway's refusals have a time and no data; a refused order is not executed."""

    async def session(on: Desk) -> None:
        assert (await on.raw("GET", f"{BALANCE}?timestamp={START_MS}")).code == 100412
        unsigned = f"{BALANCE}?timestamp={START_MS}&signature={sign('WRONG', '')}"
        refused = await on.raw("GET", unsigned)
        assert refused.code == 100001
        assert refused.json.keys() == {"code", "msg", "timestamp"}
        assert (await on.raw("GET", unsigned, headers={})).code == 100413
        assert (await on.place(timestamp=START_MS - 5_001)).code == 100421
        assert (await on.call("GET", f"{V2}/nothing")).code == 100400
        assert on.exchange.orders == {}

    played(session)


def test_forms_and_mixed_parameters() -> None:
    """A form is verified as transmitted; query and body together, joined without an ampersand."""

    async def session(on: Desk) -> None:
        order = "symbol=FET-USDT&side=BUY&positionSide=BOTH&type=MARKET&quantity=10"
        form = f"{order}&timestamp={START_MS}"
        headers = {"X-BX-APIKEY": "KEY", "Content-Type": "application/x-www-form-urlencoded"}
        signed = f"{form}&signature={sign('SECRET', form)}"
        assert (await on.raw("POST", ORDER, data=signed, headers=headers)).code == 0
        query, body = f"symbol=FET-USDT&timestamp={START_MS}", "side=BOTH&leverage=6"
        signed = f"{body}&signature={sign('SECRET', query + body)}"
        target = f"{V2}/trade/leverage?{query}"
        assert (await on.raw("POST", target, data=signed, headers=headers)).data["leverage"] == 6

    played(session)


def test_order_replies_flat_and_wrapped() -> None:
    """Both ids, fill figures of zero, both spellings of the client id; an order around or not."""

    async def flat(on: Desk) -> None:
        data = (await on.place(clientOrderID="MyCid")).data
        assert data["orderID"] == str(data["orderId"])
        assert (data["avgPrice"], data["executedQty"]) == ("0.00", "0.00")
        assert data["clientOrderId"] == data["clientOrderID"] == "mycid"
        assert (data["price"], data["quantity"], data["status"]) == (0, 100, "PENDING")
        assert (await on.place(clientOrderId="MYCID")).code == 101481

    async def wrapped(on: Desk) -> None:
        assert (await on.place(type="LIMIT", price="0.4")).data["order"]["status"] == "NEW"

    played(flat)
    played(wrapped, order_reply="wrapped", resting="NEW")


def test_precision_is_cut_off_silently() -> None:
    """More digits than the contract has are dropped, also as an exponent."""

    async def session(on: Desk) -> None:
        btc = {"symbol": "BTC-USDT", "type": "LIMIT", "side": "BUY"}
        data = (await on.place(**btc, price="50000.19", quantity="0.12345678901")).data
        assert (data["price"], data["quantity"]) == (50000.1, 0.1234)
        assert (await on.place(**btc, price="5e4", quantity="1E-3")).data["quantity"] == 0.001
        for wrong in ("-1", "nan", "1e99", "0x10", "١"):
            assert (await on.place(quantity=wrong)).code == 109400

    played(session)


def test_refusals_of_the_trading_layer() -> None:
    """Codes and envelopes, with the numbers before and since October 2025."""

    async def session(on: Desk) -> None:
        refused = await on.place(positionSide="LONG")
        assert refused.status == 200
        assert refused.json == {
            "code": 109400,
            "msg": "In the One-way mode, the 'PositionSide' field can only be set to BOTH.",
            "data": {},
        }
        assert (await on.place(positionSide="")).code == 109400  # empty means LONG
        assert (await on.place(symbol="NOPE-USDT")).code == 109425
        assert (await on.place(side="")).json["msg"].startswith("Invalid parameters,side")
        assert (await on.place(side="SELL", reduceOnly="true")).code == 101205
        assert (await on.call("GET", ORDER, symbol="FET-USDT", orderId=7)).code == 109421

    async def old(on: Desk) -> None:
        assert (await on.place(positionSide="LONG")).code == 80014
        assert (await on.call("GET", ORDER, symbol="FET-USDT", orderId=7)).code == 80016
        assert (await on.place(symbol="NOPE-USDT")).code == 109425

    played(session)
    played(old, errors="old")


def test_answers_are_packed_for_whoever_takes_it() -> None:
    """gzip where the client says so; the key of the source comes back."""

    async def session(on: Desk) -> None:
        key = {"X-BX-APIKEY": "KEY", "X-SOURCE-KEY": "CCXT"}
        target = f"{V2}/server/time"
        packed = await on.raw("GET", target, headers={**key, "Accept-Encoding": "gzip, deflate"})
        assert (packed.headers["Content-Encoding"], packed.headers["X-SOURCE-KEY"]) == (
            "gzip",
            "CCXT",
        )
        assert packed.data == {"serverTime": START_MS}
        plain = await on.raw("GET", target, headers={**key, "Accept-Encoding": "identity"})
        assert "Content-Encoding" not in plain.headers
        assert plain.headers["Content-Type"] == "application/json; charset=utf-8"

    played(session)


def test_windows_of_queries() -> None:
    """Seven days at the most for order history."""

    async def session(on: Desk) -> None:
        week_ms = 7 * 86_400_000
        end = {"endTime": START_MS, "limit": 10}
        history = f"{V2}/trade/allOrders"
        assert (await on.call("GET", history, startTime=START_MS - week_ms, **end)).code == 0
        refused = await on.call("GET", history, startTime=START_MS - week_ms - 1, **end)
        assert (refused.code, refused.json["msg"]) == (
            109400,
            "the query range is more than seven days",
        )

    played(session)


def test_limits_on_the_wire() -> None:
    """Headers count down; the call over the limit is not executed and tells when to come back."""

    async def session(on: Desk) -> None:
        on.clock.advance_ms(1_000 - START_MS % 1_000)
        replies = [await on.place() for _ in range(11)]
        assert [reply.code for reply in replies] == [0] * 10 + [100410]
        left = [reply.headers.get("X-RateLimit-Requests-Remain") for reply in replies]
        assert left[:10] == [str(n) for n in range(9, -1, -1)]
        assert replies[0].headers["X-RateLimit-Requests-Expire"] == str(on.clock.now_ms() + 1_000)
        assert replies[10].status == 429
        until_ms = on.clock.now_ms() + 300_000
        assert str(until_ms) in replies[10].json["msg"]
        assert len(on.exchange.orders) == 10
        on.clock.advance_ms(300_000)
        assert (await on.place()).code == 0

    played(session, limits=LimitRules(code=100410, status=429))


def test_listen_keys_are_limited_by_account_too() -> None:
    """Two a second, although the key alone is enough for them."""

    async def session(on: Desk) -> None:
        on.clock.advance_ms(1_000 - START_MS % 1_000)
        codes = [(await on.call("POST", KEYS)).json.get("code", 0) for _ in range(3)]
        assert codes == [0, 0, 109429]

    played(session, limits=LimitRules())


def test_an_error_storm_blocks_the_endpoint() -> None:
    """Twenty equal refusals, and then even a good order is refused."""

    async def session(on: Desk) -> None:
        for _ in range(20):
            assert (await on.place(quantity=10_000_000_000)).code == 101204
            on.clock.advance_ms(1_000)
        refused = await on.place()
        assert refused.code == 109429
        assert refused.json["msg"].startswith("over 20 error code:101204 requests")
        assert (await on.call("GET", BALANCE)).code == 0

    played(session, limits=LimitRules())


# -- LISTEN KEYS AND STREAM ---------------------------------------------------------------------


def test_listen_keys_over_rest() -> None:
    """Bare JSON; empty bodies with 200, 204 and 404; dead at exactly an hour."""

    async def session(on: Desk) -> None:
        key = (await on.call("POST", KEYS)).json
        assert key.keys() == {"listenKey"}
        extended = await on.call("PUT", KEYS, **key)
        assert (extended.status, extended.body) == (200, b"")
        assert (await on.call("PUT", KEYS)).status == 204
        on.clock.advance_ms(3_600_000)
        assert (await on.call("PUT", KEYS, **key)).status == 404
        other = (await on.raw("POST", KEYS)).json["listenKey"]  # the key alone is enough
        assert (await on.call("DELETE", KEYS, listenKey=other)).status == 200
        assert (await on.call("DELETE", KEYS, listenKey=other)).status == 404
        assert (await on.raw("POST", KEYS, headers={})).code == 100413

    played(session)


def test_a_market_order_on_the_stream() -> None:
    """NEW, the fill, and the balance; `c` empty, `i` a text, `T` 0, no last fill, `p` no fill."""

    async def session(on: Desk) -> None:
        stream = await on.stream(await on.key())
        placed = (await on.place(clientOrderId="mine")).data
        await on.until(lambda: len(stream.heard) >= 3)
        new, fill, account = stream.heard
        assert [new["o"]["x"], new["o"]["X"]] == ["NEW", "NEW"]
        assert fill["e"] == "ORDER_TRADE_UPDATE"
        assert fill["o"] == {
            "s": "FET-USDT",
            "c": "",
            "i": placed["orderID"],
            "S": "BUY",
            "o": "MARKET",
            "q": "100.00000000",
            "p": "0.50000000",
            "sp": "0.00000000",
            "ap": "0.50010000",
            "x": "TRADE",
            "X": "FILLED",
            "N": "USDT",
            "n": "-0.02500500",
            "T": 0,
            "wt": "MARK_PRICE",
            "ps": "BOTH",
            "rp": "0.00000000",
            "z": "100.00000000",
            "ro": False,
        }
        wallet = "99999.97499500"
        assert account["a"]["m"] == "ORDER"
        assert account["a"]["B"] == [{"a": "USDT", "wb": wallet, "cw": wallet, "bc": "-0.02500500"}]
        (row,) = account["a"]["P"]
        assert (row["pa"], row["ep"], row["ps"]) == ("100.00000000", "0.50010000", "BOTH")
        assert all(frame[:2] == b"\x1f\x8b" for frame in stream.raw)
        if FIXTURES.exists():
            recorded = FIXTURES / "ws_events/order_market_filled_close_2024-03_ccxt21685.json"
            sample = json.loads(recorded.read_text())
            assert sample["o"].keys() <= fill["o"].keys()
            kinds = {name: type(value) for name, value in sample["o"].items()}
            assert kinds == {name: type(fill["o"][name]) for name in kinds}
        await stream.close()

    played(session)


def test_a_cancel_and_a_flat_position_on_the_stream() -> None:
    """One L in CANCELED; a cancel moves no balance; a closed position has amount 0."""

    async def session(on: Desk) -> None:
        stream = await on.stream(await on.key())
        order_id = (await on.place(type="LIMIT", price="0.4")).data["orderId"]
        await on.call("DELETE", ORDER, symbol="FET-USDT", orderId=order_id)
        await on.until(lambda: len(stream.heard) >= 2)
        assert [frame["o"]["X"] for frame in stream.heard] == ["NEW", "CANCELED"]
        await on.place()
        await on.place(side="SELL", reduceOnly="true")
        await on.until(lambda: len(stream.events("ACCOUNT_UPDATE")) >= 2)
        (row,) = stream.events("ACCOUNT_UPDATE")[1]["a"]["P"]
        assert row["pa"] == "0.00000000"
        await stream.close()

    played(session)


def test_hedge_mode_on_the_stream() -> None:
    """Position sides as they are, amounts unsigned; last fill and its price where switched on."""

    async def session(on: Desk) -> None:
        stream = await on.stream(await on.key())
        await on.place(side="SELL", positionSide="SHORT")
        await on.until(lambda: stream.events("ACCOUNT_UPDATE"))
        (row,) = stream.events("ACCOUNT_UPDATE")[0]["a"]["P"]
        assert (row["pa"], row["ps"]) == ("100.00000000", "SHORT")
        fill = stream.heard[1]["o"]
        assert (fill["l"], fill["L"]) == ("100.00000000", "0.49990000")
        await stream.close()

    played(session, hedge=True, last_fill=True)


def test_pings_and_who_does_not_answer() -> None:
    """Every 5 s; whoever leaves two unanswered is dropped, without a closing handshake."""

    async def session(on: Desk) -> None:
        polite, silent = await on.stream(), await on.stream(pongs=False)
        for number in range(1, 4):
            on.clock.advance_ms(5_000)
            await on.until(lambda number=number: polite.pings >= number)  # type: ignore[misc]
            await on.until(lambda: not any(s.pings_open for s in on.session.hub.sockets[:1]))
        await on.until(lambda: silent.closed)
        assert silent.pings == 2
        assert silent.socket.close_code in (None, aiohttp.WSCloseCode.ABNORMAL_CLOSURE)
        assert not polite.closed
        await polite.close()
        await silent.close()

    played(session)


def test_a_lapsed_key_says_so_and_is_silent() -> None:
    """listenKeyExpired once; the socket stays open, hears no event, and is still pinged."""

    async def session(on: Desk) -> None:
        key = await on.key()
        stream = await on.stream(key)
        on.clock.advance_ms(3_600_000)
        await on.until(lambda: stream.heard)
        assert stream.heard == [
            {"e": "listenKeyExpired", "E": START_MS + 3_600_000, "listenKey": key}
        ]
        await on.place()
        pings = stream.pings
        on.clock.advance_ms(5_000)
        await on.until(lambda: stream.pings > pings)
        assert len(stream.heard) == 1
        assert not stream.closed
        await stream.close()

    played(session)


def test_configuration_snapshots_and_updates() -> None:
    """On connect and every 5 s one frame per symbol; a changed leverage is pushed by itself."""

    async def session(on: Desk) -> None:
        stream = await on.stream(await on.key())
        await on.until(lambda: len(stream.events("SNAPSHOT")) == 2)
        body = {"s": "FET-USDT", "l": 5, "S": 5, "mt": "cross"}
        assert stream.events("SNAPSHOT")[0] == {"e": "SNAPSHOT", "E": START_MS, "ac": body}
        await on.call("POST", f"{V2}/trade/leverage", symbol="FET-USDT", side="BOTH", leverage=7)
        await on.until(lambda: stream.events("ACCOUNT_CONFIG_UPDATE"))
        assert stream.events("ACCOUNT_CONFIG_UPDATE")[0]["ac"] == {**body, "l": 7, "S": 7}
        on.clock.advance_ms(5_000)
        await on.until(lambda: len(stream.events("SNAPSHOT")) == 4)
        await stream.close()

    played(session, config_snapshots=True)


def test_subscriptions() -> None:
    """An ack with the id, 80014 for anything else, and data until unsubscribed."""

    async def session(on: Desk) -> None:
        stream = await on.stream()

        async def say(text: str) -> Any:
            count = len(stream.heard)
            await stream.socket.send_str(text)
            await on.until(lambda: len(stream.heard) > count)
            return stream.heard[count]

        invalid = {"code": 80014, "msg": "invalid params", "dataType": "", "data": None}
        assert await say("{}") == {"id": "", **invalid}
        assert await say("[") == {"id": "", **invalid}
        unknown = {"id": "u1", "reqType": "sub", "dataType": "NOPE-USDT@trade"}
        assert await say(json.dumps(unknown)) == {"id": "u1", **invalid}
        wanted = {"id": "u2", "reqType": "sub", "dataType": "FET-USDT@lastPrice"}
        ack = {"id": "u2", "code": 0, "msg": "", "dataType": "", "data": None}
        assert await say(json.dumps(wanted)) == ack
        await on.until(lambda: stream.heard[-1].get("dataType") == "FET-USDT@lastPrice")
        await stream.socket.send_str(json.dumps({**wanted, "reqType": "unsub"}))
        await on.until(lambda: stream.heard.count(ack) == 2)
        await on.until(lambda: not on.session.hub.topics())
        await stream.close()

    played(session)


TOPICS = {
    "bookTicker": "BookPrice",
    "trade": "Trades",
    "markPrice": "MarkPrice",
    "lastPrice": "Price",
    "kline_1m": "Klines",
    "depth20@100ms": "PartialBook",
    "ticker": "Ticker",
}


def test_market_streams_as_recorded() -> None:
    """Each topic is pushed under its own name, with the members of the recorded pushes."""

    async def session(on: Desk) -> None:
        await on.place()
        stream = await on.stream()
        for topic in TOPICS:
            frame = {"id": topic, "reqType": "sub", "dataType": f"FET-USDT@{topic}"}
            await stream.socket.send_str(json.dumps(frame))
        pushed: dict[str, Any] = {}

        def all_there() -> bool:
            for frame in stream.heard:
                if frame["dataType"]:
                    pushed[frame["dataType"].partition("@")[2]] = frame
            return pushed.keys() == TOPICS.keys()

        await on.until(all_there)
        assert pushed["trade"]["data"][0]["m"] is False
        ticker, book = pushed["ticker"]["data"], pushed["bookTicker"]["data"]
        assert (ticker["A"], ticker["B"]) == (book["a"], book["b"]) == ("0.5001", "0.4999")
        assert pushed["depth20@100ms"]["data"]["asks"][0][0] == "0.5001"
        if FIXTURES.exists():
            for topic, name in TOPICS.items():
                recorded = json.loads((FIXTURES / f"jkorf_ws/{name}.json").read_text())["push"][0]
                ours = pushed[topic]
                assert recorded.keys() <= ours.keys(), topic
                sample, data = recorded["data"], ours["data"]
                if isinstance(sample, list):
                    sample, data = sample[0], data[0]
                assert sample.keys() <= data.keys(), topic
                kinds = {key: type(value) for key, value in sample.items()}
                assert kinds == {key: type(data[key]) for key in kinds}, topic
        await stream.close()

    played(session)


def test_sockets_of_one_key_can_get_different_events() -> None:
    """As users report; together they have all."""

    async def session(on: Desk) -> None:
        key = await on.key()
        streams = [await on.stream(key), await on.stream(key)]
        await on.place()
        await on.until(lambda: sum(len(stream.heard) for stream in streams) == 3)
        assert sorted(len(stream.heard) for stream in streams) == [1, 2]
        for stream in streams:
            await stream.close()

    played(session, split_users=True)


def test_the_history_of_positions() -> None:
    """Entered in two fills, left in two, the second of which turns it round; nobody listens."""

    async def session(on: Desk) -> None:
        await on.place(quantity=100)
        await on.control("POST", "price", symbol="FET-USDT", price="0.6")
        await on.place(quantity=100)
        await on.control("POST", "funding", symbol="FET-USDT", rate="0.0001")
        await on.place(side="SELL", quantity=50)
        on.clock.advance_ms(60_000)
        await on.place(side="SELL", quantity=200)
        history = await on.call("GET", f"{V1}/trade/positionHistory", symbol="FET-USDT")
        (row,) = history.data["positionHistory"]
        assert (row["positionSide"], row["positionAmt"]) == ("LONG", "200")
        # (0.5001 + 0.6001) / 2 in, 0.5999 out: 200 x 0.0498 = 9.96
        assert (row["avgPrice"], row["avgClosePrice"]) == ("0.5501", "0.5999")
        assert row["realisedProfit"] == "9.96"
        assert row["totalFunding"] == "-0.01200000"
        # 5 in 10,000 of 50.01, 60.01 and 29.995; the turning fill's fee is the new position's
        assert row["positionCommission"] == "-0.07000750"
        assert row["netProfit"] == "9.88"
        assert row["updateTime"] - row["openTime"] == 60_000
        await on.place(quantity=50)
        (short, _) = (await on.call("GET", f"{V2}/trade/positionHistory", symbol="FET-USDT")).data
        assert (short["positionSide"], short["realizedProfit"]) == ("SHORT", "-0.01")
        assert (await on.call("GET", f"{V2}/user/positions")).data == []

    played(session)


# -- FAULTS -------------------------------------------------------------------------------------


def test_answers_lost_after_execution() -> None:
    """The connection breaks or a 504 comes, and the order is there all the same."""

    async def session(on: Desk) -> None:
        on.fault(kind="answer_lost", on=f"POST {ORDER}", nth=2)
        on.fault(kind="gateway_timeout", on=f"POST {ORDER}", nth=3)
        assert (await on.place(clientOrderId="a")).code == 0
        with pytest.raises(aiohttp.ClientError):
            await on.place(clientOrderId="b")
        assert (await on.place(clientOrderId="c")).status == 504
        found = [order.client_order_id for order in on.exchange.orders.values()]
        assert found == ["a", "b", "c"]

    played(session)


def test_requests_lost_before_execution() -> None:
    """Refused, limited with and without a time, or never arrived: nothing is executed."""

    async def session(on: Desk) -> None:
        on.fault(kind="request_lost")
        with pytest.raises(aiohttp.ClientError):
            await on.place()
        on.fault(kind="rate_limited", status=429)
        bare = await on.place()
        assert (bare.status, bare.code, bare.json["msg"]) == (429, 100410, "rate limited")
        on.fault(kind="rate_limited", code=109429, retry_ms=60_000)
        timed = await on.place()
        assert (timed.status, timed.code) == (200, 109429)
        assert timed.json["msg"].endswith(f"will be unblocked after {START_MS + 60_000}")
        on.fault(kind="refused", code=109500, msg="busy")
        assert (await on.place()).json == {"code": 109500, "msg": "busy", "data": {}}
        assert on.exchange.orders == {}
        assert (await on.place()).code == 0

    played(session)


def test_answers_that_cannot_be_read() -> None:
    """A page instead of JSON, or half of it; the orders are executed."""

    async def session(on: Desk) -> None:
        on.fault(kind="html", status=403)
        page = await on.place()
        assert (page.status, page.headers["Content-Type"]) == (403, "text/html")
        on.fault(kind="truncated")
        half = await on.place()
        assert half.status == 200
        with pytest.raises(json.JSONDecodeError):
            half.json  # noqa: B018
        assert len(on.exchange.orders) == 2

    played(session)


def test_a_late_answer_is_an_answer() -> None:
    """The call is executed first; what comes late is complete."""

    async def session(on: Desk) -> None:
        on.fault(kind="answer_delayed", ms=200)
        waiting = asyncio.ensure_future(on.place())
        await on.until(lambda: on.exchange.orders)
        assert not waiting.done()
        assert (await waiting).code == 0

    played(session)


def test_the_same_session_gives_the_same_bytes() -> None:
    """Faults by chance, ids, keys, times: all come again with the same seed and calls."""

    def recorded() -> list[Any]:
        kept: list[Any] = []

        async def session(on: Desk) -> None:
            on.fault(kind="event_dropped", times=0, probability="0.3")
            on.fault(kind="refused", on=f"POST {ORDER}", times=0, probability="0.2", code=101204)
            key = await on.key()
            stream = await on.stream(key)
            for number in range(30):
                side = "SELL" if number % 2 else "BUY"
                kept.append((await on.place(side=side, clientOrderId=f"n{number}")).json)
                on.clock.advance_ms(10)
            book = (await on.control("GET", "book")).data
            on.session.keys.kill_all(on.clock.now_ms())
            await on.until(lambda: stream.heard and stream.heard[-1]["e"] == "listenKeyExpired")
            kept.extend([key, book, stream.heard])
            await stream.close()

        played(session)
        return kept

    first = recorded()
    assert first == recorded()
    assert len({json.dumps(answer["code"]) for answer in first[:30]}) == 2


def test_a_placed_order_that_queries_do_not_know_yet() -> None:
    """109423 for a while; with 109421 the lists lack it too."""

    async def session(on: Desk) -> None:
        on.fault(kind="status_lag", ms=500)
        on.fault(kind="status_lag", ms=500, code=109421, nth=2)
        for code, listed in ((109423, 1), (109421, 0)):
            order_id = (await on.place(type="LIMIT", price="0.4")).data["orderId"]
            asked = {"symbol": "FET-USDT", "orderId": order_id}
            assert (await on.call("GET", ORDER, **asked)).code == code
            rows = (await on.call("GET", f"{V2}/trade/openOrders")).data["orders"]
            assert [row["orderId"] for row in rows].count(order_id) == listed
            on.clock.advance_ms(500)
            assert (await on.call("GET", ORDER, **asked)).code == 0

    played(session)


def test_faults_of_the_stream() -> None:
    """Named by event and status; what each does to the event is tested beside the delivery."""

    async def session(on: Desk) -> None:
        on.fault(kind="event_dropped", on="ORDER_TRADE_UPDATE FILLED")
        on.fault(kind="event_duplicated", on="ORDER_TRADE_UPDATE NEW")
        on.fault(kind="zero_balance")
        stream = await on.stream(await on.key())
        await on.place()
        await on.until(lambda: len(stream.heard) >= 3)
        assert [frame.get("o", {}).get("X") for frame in stream.heard] == ["NEW", "NEW", None]
        assert stream.heard[2]["a"]["B"][0]["wb"] == "0.00000000"
        on.fault(kind="event_delayed", ms=700, on="ACCOUNT_UPDATE *")
        on.fault(kind="price_bound", on="* FILLED")
        await on.place()
        await on.until(lambda: len(stream.heard) >= 5)
        assert stream.heard[4]["o"]["p"] == "0.60000000"
        on.clock.advance_ms(700)
        await on.until(lambda: len(stream.heard) >= 6)
        assert stream.heard[5]["e"] == "ACCOUNT_UPDATE"
        await stream.close()

    played(session)


def test_triggers_that_are_never_told() -> None:
    """A stop fires and only REST shows it."""

    async def session(on: Desk) -> None:
        on.fault(kind="trigger_silent", times=0)
        await on.place()
        stream = await on.stream(await on.key())
        stop = {"side": "SELL", "type": "STOP_MARKET", "stopPrice": "0.45", "reduceOnly": "true"}
        order_id = (await on.place(**stop)).data["orderId"]
        await on.control("POST", "price", symbol="FET-USDT", price="0.44")
        await on.until(lambda: stream.events("ACCOUNT_UPDATE"))
        asked = {"symbol": "FET-USDT", "orderId": order_id}
        assert (await on.call("GET", ORDER, **asked)).data["order"]["status"] == "FILLED"
        assert [frame["o"]["X"] for frame in stream.events("ORDER_TRADE_UPDATE")] == ["NEW"]
        await stream.close()

    played(session)


def test_half_open_and_broken_sockets() -> None:
    """Silent without Ping and yet connected, for a while; or gone without a handshake."""

    async def session(on: Desk) -> None:
        on.fault(kind="half_open", on=f"POST {ORDER}", ms=12_000)
        on.fault(kind="socket_closed", from_ms=20_000)
        stream = await on.stream(await on.key())
        await on.place(quantity=10)
        await on.until(lambda: len(stream.heard) == 3)
        await on.place(quantity=20)
        on.clock.advance_ms(6_000)
        await on.pulses()
        assert (len(stream.heard), stream.pings, stream.closed) == (3, 0, False)
        on.clock.advance_ms(6_000)
        await on.until(lambda: stream.pings)
        on.clock.advance_ms(8_000)
        await on.until(lambda: stream.closed)
        await stream.close()

    played(session)


def test_things_that_happen_behind_our_back() -> None:
    """A foreign order after our second one, a liquidation at its time, a dead listen key."""

    async def session(on: Desk) -> None:
        foreign = {"symbol": "FET-USDT", "side": "SELL", "quantity": "40"}
        on.fault(kind="foreign_order", on=f"POST {ORDER}", nth=2, **foreign)
        on.fault(kind="liquidation", symbol="FET-USDT", from_ms=1_000)
        on.fault(kind="listen_key_death", from_ms=2_000)
        stream = await on.stream(await on.key())
        await on.place()
        await on.place()
        (position,) = (await on.call("GET", f"{V2}/user/positions")).data
        assert position["positionAmt"] == "160"
        on.clock.advance_ms(1_000)
        await on.until(lambda: not on.exchange.positions())
        forced = (await on.call("GET", f"{V2}/trade/forceOrders")).data["orders"]
        assert [row["type"] for row in forced] == ["LIQUIDATION"]
        on.clock.advance_ms(1_000)
        await on.until(lambda: stream.heard[-1]["e"] == "listenKeyExpired")
        kinds = [frame["o"]["x"] for frame in stream.events("ORDER_TRADE_UPDATE")]
        assert kinds.count("CALCULATED") == 1
        await stream.close()

    played(session)


# -- CONTROL ------------------------------------------------------------------------------------


def test_control_needs_the_key_and_says_what_is_wrong() -> None:
    """Nobody without the key; a bad body is a 400 with its reason, and nothing happens."""

    async def session(on: Desk) -> None:
        assert (await on.raw("GET", "/control/book", headers={})).code == 100413
        assert (await on.control("GET", "nothing")).code == 100404
        bad: list[tuple[str, dict[str, Any]]] = [
            ("price", {"symbol": "FET-USDT", "price": 0.5}),  # a float is no price
            ("deposit", {}),
            ("faults", {"fault": [{"kind": "explosion"}]}),
            ("foreign_order", {"symbol": "FET-USDT", "side": "UP", "quantity": "1"}),
        ]
        for verb, body in bad:
            reply = await on.control("POST", verb, **body)
            assert (reply.status, reply.code) == (400, 109400), verb
        assert (await on.control("POST", "price", symbol="NOPE-USDT", price="1")).code == 109425
        assert (await on.control("POST", "act", kind="answer_lost")).code == 109400
        assert on.exchange.wallet == 100_000 * 10**18

    played(session)


def test_control_scripts_a_session() -> None:
    """Price, deposit, funding, foreign order, faults, and the book that shows all of it."""

    async def session(on: Desk) -> None:
        await on.place()
        await on.control("POST", "price", symbol="FET-USDT", price="0.6")
        assert (await on.call("GET", f"{V2}/quote/ticker", symbol="FET-USDT")).data[
            "lastPrice"
        ] == "0.6000"
        assert (await on.control("POST", "deposit", amount="-5")).data == {"wallet": "99994.974995"}
        paid = await on.control("POST", "funding", symbol="FET-USDT", rate="-0.0001")
        assert paid.data == {"paid": "0.006"}
        foreign = {"symbol": "FET-USDT", "side": "SELL", "quantity": "30"}
        assert (await on.control("POST", "foreign_order", **foreign)).code == 0
        assert (await on.control("POST", "liquidate", symbol="BTC-USDT")).code == 0
        rules = {"fault": [{"kind": "refused", "code": 101204}]}
        assert (await on.control("POST", "faults", **rules)).data[0]["hits"] == 0
        assert (await on.place()).code == 101204
        assert (await on.control("GET", "faults")).data[0]["hits"] == 1
        assert (await on.control("DELETE", "faults")).data == []
        book = (await on.control("GET", "book")).data
        assert [order["foreign"] for order in book["orders"]] == [False, True]
        (position,) = book["positions"]
        assert (position["quantity"], position["side"]) == ("70", "LONG")
        types = [row["type"] for row in book["income"]]
        assert types[:3] == ["TRADING_FEE", "TRANSFER", "FUNDING_FEE"]
        assert book["fills"][1]["price"] == "0.5999"

    played(session)


def test_frames_are_whole_gzip_members() -> None:
    """Also the Ping: four bytes after unpacking."""
    from dita.exchange.wire.stream.sockets import PING

    assert gzip.decompress(PING) == b"Ping"
