"""The BingX streams against a real websocket server on this machine: gzip, Ping, keys, loss.

The server does what the exchange was seen to do (dossier §2.6, §3, §4) and what it must not break
us with.  Nothing here waits for a moment: every wait is for a condition, with a generous limit.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from dita.clock import SystemClock
from dita.contracts import KernelEventKind
from dita.errors import VenueError
from dita.venues.bingx.rest.client import KeyExpired
from dita.venues.bingx.stream.market import MarketStream, Topic
from dita.venues.bingx.stream.messages import FRAME_BYTES_MAX
from dita.venues.bingx.stream.parse import ParsedFrame, UserEvents
from dita.venues.bingx.stream.socket import Backlog, Cause, Figures, Timing, back_off_ms, gunzip
from dita.venues.bingx.stream.user import KeyTiming, UserStream
from dita.venues.bingx.values import UnreadableValue

LIMIT_S = 30
QUICK = Timing(silence_ms=60_000, open_ms=5_000, close_ms=200, back_off_min_ms=2, back_off_max_ms=8)


def within(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run an async test to its end, within the limit."""

    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), LIMIT_S))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition."""
    while not condition():
        await asyncio.sleep(0.002)


def filled(order_id: str = "1767767539205742592", z: str = "2", symbol: str = "FET-USDT") -> bytes:
    """A fill, as the exchange writes it."""
    return msgspec.json.encode(
        {
            "e": "ORDER_TRADE_UPDATE",
            "E": 1_710_303_599_597,
            "o": {
                "s": symbol,
                "c": "",
                "i": order_id,
                "S": "SELL",
                "o": "MARKET",
                "q": "5",
                "p": "0.9",
                "ap": "0.55",
                "x": "TRADE",
                "X": "PARTIALLY_FILLED",
                "N": "USDT",
                "n": "-0.1",
                "T": 0,
                "ps": "BOTH",
                "rp": "0",
                "z": z,
            },
        }
    )


class Exchange:
    """A socket server with the listen keys that go with it."""

    def __init__(self) -> None:
        self.url = ""
        self.sockets: list[tuple[str, ServerConnection]] = []
        self.texts: list[str | bytes] = []
        self.made = self.asked = 0
        self.same_key = False
        self.valid: set[str] = set()
        self.extended: list[str] = []
        self.deleted: list[str] = []
        self.failing = False
        self.refused_topic = ""
        self.mute = False

    async def create(self) -> str:
        if self.failing:
            raise VenueError("no answer")
        self.asked += 1
        if not self.same_key or not self.valid:
            self.made += 1
            self.valid.add(f"key{self.made}")
        return f"key{self.made}"

    async def extend(self, key: str) -> None:
        if self.failing:
            raise VenueError("no answer")
        if key not in self.valid:
            raise KeyExpired("404")
        self.extended.append(key)

    async def delete(self, key: str) -> None:
        self.deleted.append(key)
        self.valid.discard(key)

    async def serve(self, socket: ServerConnection) -> None:
        path = socket.request.path if socket.request is not None else ""
        self.sockets.append((path.partition("listenKey=")[2], socket))
        try:
            async for text in socket:
                self.texts.append(text)
                if text != "Pong" and not self.mute:
                    await self.answer(socket, text)
        except ConnectionClosed:
            pass  # what these tests are about

    async def answer(self, socket: ServerConnection, text: str | bytes) -> None:
        asked = msgspec.json.decode(text)
        refused = asked["dataType"] == self.refused_topic
        answer = {"id": asked["id"], "code": 80015 if refused else 0, "msg": "no" * refused}
        await socket.send(gzip.compress(msgspec.json.encode(answer)))

    @property
    def last(self) -> ServerConnection:
        return self.sockets[-1][1]

    async def push(self, text: bytes) -> None:
        await self.last.send(gzip.compress(text))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Exchange]:
        async with serve(self.serve, "127.0.0.1", 0, compression=None) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            self.url = f"ws://127.0.0.1:{port}/swap-market"
            yield self


@asynccontextmanager
async def user_stream(
    timing: Timing = QUICK,
    keys: KeyTiming | None = None,
    backlog: int = 1_000,
    same_key: bool = False,
) -> AsyncIterator[tuple[Exchange, UserStream]]:
    """An exchange, and a stream that is open on it."""
    async with Exchange().running() as exchange:
        exchange.same_key = same_key
        stream = UserStream(
            exchange.url,
            exchange,
            UserEvents(),
            SystemClock(),
            lambda below: below - 1,
            timing,
            keys or KeyTiming(),
            backlog,
        )
        await stream.open()
        await until(lambda: exchange.sockets)
        try:
            yield exchange, stream
        finally:
            await stream.close()


async def rest(stream: UserStream) -> list[ParsedFrame]:
    """What is told up to the next gap."""
    return [told async for told in stream.told()]


def quantities(told: list[ParsedFrame]) -> list[int]:
    return [event.quantity_e8 for one in told for event in one.events]


# -- frames ----------------------------------------------------------------------------------------


@within
async def test_frames_arrive_and_ping_is_answered() -> None:
    async with user_stream() as (exchange, stream):
        await exchange.push(b"Ping")
        await exchange.push(filled())
        told = await anext(stream.told())
        assert told.events[0].kind is KernelEventKind.PARTIAL_FILL
        assert told.events[0].quantity_e8 == 2 * 10**8
        assert told.events[0].received_ms > 1_700_000_000_000
        await until(lambda: exchange.texts)
        assert exchange.texts == ["Pong"]
        assert exchange.sockets[0][0] == "key1"
        assert stream.figures.pings == 1
        assert not stream.figures.gaps


@within
async def test_a_ping_as_text_is_answered_too() -> None:
    async with user_stream() as (exchange, _):
        await exchange.last.send("Ping")
        await until(lambda: exchange.texts)
        assert exchange.texts == ["Pong"]


@within
async def test_duplicates_pass_and_repeated_settings_do_not() -> None:
    async with user_stream() as (exchange, stream):
        settings = b'{"e":"SNAPSHOT","E":1,"ac":{"s":"FET-USDT","l":3,"S":3,"mt":"cross"}}'
        for text in (settings, filled(), settings, filled(), settings):
            await exchange.push(text)
        await exchange.push(b'{"e":"SNAPSHOT","ac":{"s":"FET-USDT","l":2,"S":3,"mt":"cross"}}')
        await until(lambda: stream.figures.frames == 6)
        exchange.last.transport.abort()
        told = await rest(stream)
        assert quantities(told) == [2 * 10**8, 2 * 10**8]
        configs = [one.config for one in told if one.config is not None]
        assert [config.long_leverage for config in configs] == [3, 2]


@within
async def test_an_error_frame_and_an_unknown_one_are_counted() -> None:
    async with user_stream() as (exchange, stream):
        await exchange.push(b'{"id":"","code":80014,"msg":"invalid","dataType":"","data":null}')
        await exchange.push(b'{"e":"SOMETHING_NEW","E":1}')
        await until(lambda: stream.figures.unread == 2)
        assert "80014" in stream.figures.trouble
        assert not stream.figures.gaps


# -- what cannot be read is a gap ------------------------------------------------------------------


@within
async def test_an_unreadable_frame_is_a_gap_on_a_socket_that_stays() -> None:
    async with user_stream() as (exchange, stream):
        await exchange.push(filled(z="1"))
        await exchange.push(filled(order_id="", symbol=""))
        await exchange.push(filled(z="3"))
        assert quantities(await rest(stream)) == [10**8]
        assert quantities([await anext(stream.told())]) == [3 * 10**8]
        assert stream.figures.gaps == {Cause.UNREADABLE: 1}
        assert stream.figures.connects == 1
        assert stream.oddities.as_dict()["frame"]["count"] == 1


@within
async def test_a_frame_that_can_be_narrowed_to_an_order_is_no_gap() -> None:
    async with user_stream() as (exchange, stream):
        await exchange.push(filled(z="1e400"))
        told = await anext(stream.told())
        assert [one.kind.name for one in told.events] == ["ORDER_UNKNOWN"]
        assert told.doubtful == ("FET-USDT",)
        assert not stream.figures.gaps
        odd = stream.oddities.as_dict()["frame"]
        assert odd["count"] == 1 and odd["about"].startswith("FET-USDT")
        assert "z cannot be read" in odd["why"]


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(b"0" * (FRAME_BYTES_MAX + 1)),
        gzip.compress(b"{}") + gzip.compress(b"{}"),
        gzip.compress(filled())[:-9],
        b"not gzip",
        b"",
    ],
    ids=["bomb", "two members", "cut off", "not gzip", "empty"],
)
def test_a_bomb_or_a_broken_member_ends_the_socket(packed: bytes) -> None:
    async def test() -> None:
        async with user_stream() as (exchange, stream):
            await exchange.last.send(packed)
            assert await rest(stream) == []
            assert stream.figures.gaps[Cause.UNREADABLE] == 1
            assert stream.figures.frames == 0
            await until(lambda: stream.figures.connects == 2)

    within(test)()


def test_gunzip_takes_what_just_fits() -> None:
    assert gunzip(gzip.compress(b"0" * 100), 101) == b"0" * 100
    with pytest.raises(UnreadableValue, match="too large"):
        gunzip(gzip.compress(b"0" * 102), 101)


# -- loss ------------------------------------------------------------------------------------------


def abruptly(exchange: Exchange) -> None:
    exchange.last.transport.abort()


@within
async def test_abrupt_close_is_a_gap_then_a_new_key_and_socket() -> None:
    async with user_stream() as (exchange, stream):
        await exchange.push(filled(z="1"))
        await until(lambda: stream.figures.frames)
        abruptly(exchange)
        assert quantities(await rest(stream)) == [10**8]  # what came before it is still told
        await until(lambda: Cause.CONNECTED in stream.figures.gaps)
        await exchange.push(filled(z="2"))
        assert await rest(stream) == []  # connected again: what came in between was not seen
        assert quantities([await anext(stream.told())]) == [2 * 10**8]
        assert [key for key, _ in exchange.sockets] == ["key1", "key2"]
        await until(lambda: exchange.deleted == ["key1"])


@within
async def test_gaps_that_nobody_has_read_are_one() -> None:
    """Whoever asks after the loss, late, asks on a stream that is there again."""
    async with user_stream() as (exchange, stream):
        abruptly(exchange)
        await until(lambda: Cause.CONNECTED in stream.figures.gaps)
        await exchange.push(filled())
        assert await rest(stream) == []
        assert len((await anext(stream.told())).events) == 1


@within
async def test_close_in_good_order_is_a_gap_too() -> None:
    async with user_stream() as (exchange, stream):
        await exchange.last.close()
        assert await rest(stream) == []
        await until(lambda: stream.figures.connects == 2)
        assert stream.figures.gaps[Cause.CLOSED] == 1


@within
async def test_half_open_socket_is_given_up() -> None:
    timing = msgspec.structs.replace(QUICK, silence_ms=200)
    async with user_stream(timing) as (exchange, stream):
        assert await rest(stream) == []
        assert stream.figures.gaps[Cause.SILENT] == 1
        await until(lambda: len(exchange.sockets) >= 2)


@within
async def test_pings_alone_keep_the_socket() -> None:
    timing = msgspec.structs.replace(QUICK, silence_ms=2_000)
    async with user_stream(timing) as (exchange, stream):
        for _ in range(60):
            await exchange.push(b"Ping")
            await asyncio.sleep(0.05)
        assert stream.figures.connects == 1
        assert not stream.figures.gaps


@within
async def test_reconnect_goes_on_until_the_exchange_is_back() -> None:
    async with user_stream() as (exchange, stream):
        exchange.failing = True
        abruptly(exchange)
        assert await rest(stream) == []
        await until(lambda: "no answer" in stream.figures.trouble)
        assert stream.figures.connects == 1
        exchange.failing = False
        await until(lambda: stream.figures.connects == 2)


@within
async def test_first_connection_that_fails_is_told_to_the_caller() -> None:
    exchange = Exchange()
    stream = UserStream("ws://127.0.0.1:1/x", exchange, UserEvents(), SystemClock(), int, QUICK)
    with pytest.raises(VenueError) as caught:
        await stream.open()
    assert "key1" not in str(caught.value)
    assert exchange.deleted == ["key1"]
    await stream.close()


def test_back_off_doubles_up_to_its_limit_and_half_is_chance() -> None:
    timing = Timing(back_off_min_ms=500, back_off_max_ms=30_000)
    least = [back_off_ms(timing, n, lambda below: 0) for n in range(8)]
    most = [back_off_ms(timing, n, lambda below: below - 1) for n in range(8)]
    assert least == [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]
    assert most == [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]
    assert back_off_ms(timing, 10**9, lambda below: 0) == 15_000


# -- keys ------------------------------------------------------------------------------------------

HOUR = KeyTiming()


@within
async def test_key_is_extended_again_and_again() -> None:
    keys = msgspec.structs.replace(HOUR, extend_ms=20)
    async with user_stream(keys=keys) as (exchange, stream):
        await until(lambda: len(exchange.extended) >= 3)
        assert set(exchange.extended) == {"key1"}
        assert stream.figures.connects == 1
        assert not stream.figures.gaps


@within
async def test_key_that_is_unknown_at_extension_is_replaced() -> None:
    keys = msgspec.structs.replace(HOUR, extend_ms=300)
    async with user_stream(keys=keys) as (exchange, stream):
        exchange.valid.clear()
        assert await rest(stream) == []
        assert stream.figures.gaps[Cause.KEY_EXPIRED] == 1
        await until(lambda: len(exchange.sockets) == 2)
        assert exchange.sockets[1][0] == "key2"
        assert "key1" not in exchange.deleted


@within
async def test_expired_frame_replaces_the_key_although_the_socket_stays_open() -> None:
    async with user_stream() as (exchange, stream):
        await exchange.push(b'{"e":"listenKeyExpired","E":1,"listenKey":"another"}')
        await exchange.push(filled())
        assert len((await anext(stream.told())).events) == 1
        await exchange.push(b'{"e":"listenKeyExpired","E":1,"listenKey":"key1"}')
        assert await rest(stream) == []
        assert stream.figures.gaps[Cause.KEY_EXPIRED] == 1
        await until(lambda: stream.figures.connects == 2)


@within
async def test_failed_extensions_are_tried_again_sooner() -> None:
    keys = msgspec.structs.replace(HOUR, extend_ms=200, retry_ms=10)
    async with user_stream(keys=keys) as (exchange, stream):
        exchange.failing = True
        await until(lambda: stream.figures.trouble)
        exchange.failing = False
        await until(lambda: exchange.extended)
        assert not stream.figures.gaps


@within
async def test_old_key_is_rotated_without_a_gap() -> None:
    """Both sockets are read for a while, each on its own key; then the old ones go."""
    keys = msgspec.structs.replace(HOUR, extend_ms=50, oldest_ms=40, overlap_ms=300)
    async with user_stream(keys=keys) as (exchange, stream):
        await until(lambda: len(exchange.sockets) == 2)
        (old_key, old), (new_key, new) = exchange.sockets
        assert (old_key, new_key) == ("key1", "key2")
        await old.send(gzip.compress(filled(z="1")))
        await new.send(gzip.compress(filled(z="2")))
        told = [told async for told in limited(stream, 2)]
        assert sorted(quantities(told)) == [10**8, 2 * 10**8]
        await until(lambda: stream.figures.rotations == 1 and "key1" in exchange.deleted)
        assert not stream.figures.gaps


async def limited(stream: UserStream, count: int) -> AsyncIterator[ParsedFrame]:
    told = stream.told()
    for _ in range(count):
        yield await anext(told)


@within
async def test_rotation_to_the_same_key_makes_no_second_socket() -> None:
    keys = msgspec.structs.replace(HOUR, extend_ms=20, rotate_ms=10, overlap_ms=20)
    async with user_stream(keys=keys, same_key=True) as (exchange, stream):
        await until(lambda: exchange.asked >= 5)
        assert exchange.made == 1
        assert len(exchange.sockets) == 1
        assert not stream.figures.gaps


@within
async def test_old_socket_that_dies_during_the_overlap_is_no_gap() -> None:
    keys = msgspec.structs.replace(HOUR, extend_ms=100, oldest_ms=80, overlap_ms=60_000)
    async with user_stream(keys=keys) as (exchange, stream):
        await until(lambda: len(exchange.sockets) == 2)
        exchange.sockets[0][1].transport.abort()
        await until(lambda: stream.figures.rotations == 1)
        await exchange.push(filled())
        assert len((await anext(stream.told())).events) == 1
        assert not stream.figures.gaps


@within
async def test_new_socket_that_dies_during_the_overlap_leaves_the_old_one() -> None:
    keys = msgspec.structs.replace(HOUR, extend_ms=100, oldest_ms=80, overlap_ms=60_000)
    async with user_stream(keys=keys) as (exchange, stream):
        await until(lambda: len(exchange.sockets) == 2)
        exchange.last.transport.abort()
        await until(lambda: "key2" in exchange.deleted)
        await exchange.sockets[0][1].send(gzip.compress(filled()))
        assert len((await anext(stream.told())).events) == 1
        assert not stream.figures.gaps


@within
async def test_lost_key_that_is_given_again_is_ended_first() -> None:
    """The lost socket may still be open on their side, and would take its share of the frames."""
    async with user_stream() as (exchange, stream):
        exchange.same_key = True
        abruptly(exchange)
        await until(lambda: len(exchange.sockets) == 2)
        assert exchange.deleted == ["key1"]
        assert exchange.sockets[1][0] == "key2"
        assert stream.figures.connects == 2


@within
async def test_close_ends_the_iteration_and_the_key() -> None:
    async with user_stream() as (exchange, stream):
        reading = asyncio.ensure_future(rest(stream))
        await asyncio.sleep(0)
        await stream.close()
        assert await reading == []
        assert exchange.deleted == ["key1"]
        await stream.close()


@within
async def test_a_fault_of_ours_reaches_the_reader() -> None:
    async with user_stream() as (exchange, stream):

        async def broken() -> str:
            raise ZeroDivisionError

        exchange.create = broken  # type: ignore[method-assign]
        abruptly(exchange)
        assert await rest(stream) == []
        with pytest.raises(ZeroDivisionError):
            await rest(stream)


# -- the queue -------------------------------------------------------------------------------------


@within
async def test_overflow_is_a_gap_and_not_a_silent_loss() -> None:
    async with user_stream(backlog=3) as (exchange, stream):
        for z in range(1, 6):
            await exchange.push(filled(z=str(z)))
        await until(lambda: stream.figures.frames == 5)
        assert await rest(stream) == []
        assert stream.figures.gaps == {Cause.OVERFLOW: 1}
        assert quantities([await anext(stream.told())]) == [5 * 10**8]


@within
async def test_backlog_keeps_what_comes_between_gaps() -> None:
    backlog: Backlog[int] = Backlog(10, Figures())
    backlog.put(1)
    backlog.gap(Cause.CLOSED)
    backlog.put(2)
    backlog.gap(Cause.CLOSED)
    backlog.gap(Cause.CONNECTED)
    backlog.put(3)
    backlog.end()
    rounds = [[item async for item in backlog.read()] for _ in range(4)]
    assert rounds == [[1], [2], [3], []]


# -- market data -----------------------------------------------------------------------------------


@asynccontextmanager
async def market_stream(timing: Timing = QUICK) -> AsyncIterator[tuple[Exchange, MarketStream]]:
    """An exchange, and a market stream that is open on it."""
    async with Exchange().running() as exchange:
        stream = MarketStream(exchange.url, SystemClock(), lambda below: below - 1, timing)
        await stream.open()
        await until(lambda: exchange.sockets)
        try:
            yield exchange, stream
        finally:
            await stream.close()


MARK = (
    b'{"code":0,"dataType":"FET-USDT@markPrice",'
    b'"data":{"e":"markPriceUpdate","E":1714650884021,"s":"FET-USDT","p":"0.5512"}}'
)


@within
async def test_subscribes_and_again_after_a_loss() -> None:
    async with market_stream() as (exchange, stream):
        await stream.subscribe("FET-USDT", Topic.MARK_PRICE)
        await exchange.push(MARK)
        quote = await anext(stream.quotes())
        assert (quote.asset, quote.price_e10) == ("FET-USDT", 5_512_000_000)
        abruptly(exchange)
        await until(lambda: Cause.CONNECTED in stream.figures.gaps)
        asked = [msgspec.json.decode(text) for text in exchange.texts]
        assert [one["reqType"] for one in asked] == ["sub", "sub"]
        assert {one["dataType"] for one in asked} == {"FET-USDT@markPrice"}
        assert asked[0]["id"] != asked[1]["id"]
        await exchange.push(MARK)
        assert [quote async for quote in stream.quotes()] == []
        assert (await anext(stream.quotes())).time_ms == 1_714_650_884_021


@within
async def test_a_refused_or_unanswered_subscription_is_told() -> None:
    timing = msgspec.structs.replace(QUICK, open_ms=500)
    async with market_stream(timing) as (exchange, stream):
        exchange.refused_topic = "FET-USDT@trade"
        with pytest.raises(VenueError, match="80015"):
            await stream.subscribe("FET-USDT", Topic.TRADE)
        exchange.mute = True
        with pytest.raises(VenueError, match="no answer"):
            await stream.subscribe("FET-USDT", Topic.MARK_PRICE)
        exchange.mute = False
        await stream.subscribe("FET-USDT", Topic.LAST_PRICE)
        await stream.unsubscribe("FET-USDT", Topic.LAST_PRICE)
        assert msgspec.json.decode(exchange.texts[-1])["reqType"] == "unsub"


@within
async def test_a_loss_while_the_answer_is_awaited_is_told() -> None:
    async with market_stream() as (exchange, stream):
        exchange.mute = True
        asking: Awaitable[None] = asyncio.ensure_future(
            stream.subscribe("FET-USDT", Topic.MARK_PRICE)
        )
        await until(lambda: exchange.texts)
        abruptly(exchange)
        with pytest.raises(VenueError):
            await asking
