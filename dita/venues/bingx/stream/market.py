"""Prices of BingX: a market stream that subscribes again after every loss.

What the topics say becomes a Quote; a gap ends the iteration as it does with the user's stream.
Market data needs no key and is nobody's money: nothing here reaches an order.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from typing import Final

import msgspec

from dita.clock import Clock
from dita.contracts import Record
from dita.errors import OperatorError, VenueError
from dita.venues.bingx.stream.messages import (
    BOOK_PUSH,
    LAST_PUSH,
    MARK_PUSH,
    TRADE_PUSH,
    Frame,
    read_frame,
)
from dita.venues.bingx.stream.socket import (
    TIMING,
    Backlog,
    Cause,
    Figures,
    Link,
    Timing,
    back_off_ms,
)
from dita.venues.bingx.values import (
    UnreadableValue,
    decode,
    read_count,
    read_ms,
    read_price,
    read_symbol,
)

TOPICS_MAX: Final = 200  # per socket; one more is error 80403 (dossier §1.5)
_CODE_MAX: Final = 10**9


class Topic(StrEnum):
    """What can be subscribed to, per symbol."""

    BOOK_TICKER = "bookTicker"
    TRADE = "trade"
    MARK_PRICE = "markPrice"
    LAST_PRICE = "lastPrice"


class Quote(Record, frozen=True, kw_only=True):
    """A price.  Of a book ticker it is the middle, rounded down, and bid and ask are given."""

    asset: str
    topic: Topic
    price_e10: int
    bid_e10: int = 0
    ask_e10: int = 0
    time_ms: int


def quote_of(frame: Frame) -> Quote | None:
    """What a push says; None for a topic that is no price.  UnreadableValue."""
    asset, _, word = _data_type(frame).partition("@")
    if word == Topic.BOOK_TICKER:
        book = decode(BOOK_PUSH, frame.data)
        bid, ask = read_price(book.b, "b"), read_price(book.a, "a")
        return _quote(asset, book.s, Topic.BOOK_TICKER, (bid + ask) // 2, book.E, bid, ask)
    if word == Topic.MARK_PRICE:
        mark = decode(MARK_PUSH, frame.data)
        return _quote(asset, mark.s, Topic.MARK_PRICE, read_price(mark.p, "p"), mark.E)
    if word == Topic.LAST_PRICE:
        last = decode(LAST_PUSH, frame.data)
        return _quote(asset, last.s, Topic.LAST_PRICE, read_price(last.c, "c"), last.E)
    if word == Topic.TRADE:
        trades = decode(TRADE_PUSH, frame.data)
        if not trades:
            return None
        newest = max(trades, key=lambda trade: read_ms(trade.T, "T"))  # the order is not promised
        return _quote(asset, newest.s, Topic.TRADE, read_price(newest.p, "p"), newest.T)
    return None


def _data_type(frame: Frame) -> str:
    return frame.data_type if isinstance(frame.data_type, str) else ""


def _quote(
    asset: str, symbol: object, topic: Topic, price: int, when: object, bid: int = 0, ask: int = 0
) -> Quote:
    if read_symbol(symbol, "s") != asset or not price or (topic is Topic.BOOK_TICKER and not bid):
        raise UnreadableValue(
            "quote cannot be read", expected=f"a price of {asset}", found=str(symbol)
        )
    return Quote(
        asset=asset,
        topic=topic,
        price_e10=price,
        bid_e10=bid,
        ask_e10=ask,
        time_ms=read_ms(when, "E"),
    )


class _Request(msgspec.Struct, rename="camel"):
    id: str
    req_type: str
    data_type: str


class MarketStream:
    """Quotes of what is subscribed to, as long as it is open."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        draw: Callable[[int], int],
        timing: Timing = TIMING,
        backlog: int = 10_000,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._url = url
        self._tls = tls
        self._clock = clock
        self._draw = draw
        self._timing = timing
        self.figures = Figures()
        self._backlog: Backlog[Quote] = Backlog(backlog, self.figures)
        self._topics: dict[str, None] = {}
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._requests = 0
        self._link: Link | None = None
        self._running: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect and stay connected until ``close``.  VenueError at first failure."""
        link = self._link = await self._connect()
        self._running = asyncio.ensure_future(self._run(asyncio.ensure_future(link.run())))
        self._running.add_done_callback(self._stopped)

    async def close(self) -> None:
        """Let go of the socket; safe to call twice."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None
        if self._link is not None:
            await self._link.close()
            self._link.abort(Cause.CLOSED)
            self._link = None
        self._backlog.end()

    async def subscribe(self, asset: str, topic: Topic) -> None:
        """Subscribe, and again after every loss.  VenueError when it is refused or not answered."""
        name = f"{asset}@{topic}"
        if len(self._topics) >= TOPICS_MAX and name not in self._topics:
            raise OperatorError(
                "too many topics", expected=f"at most {TOPICS_MAX} on a socket", found=name
            )
        self._topics[name] = None
        try:
            await self._request("sub", name)
        except VenueError:
            del self._topics[name]
            raise

    async def unsubscribe(self, asset: str, topic: Topic) -> None:
        """Have no more of it.  VenueError."""
        self._topics.pop(f"{asset}@{topic}", None)
        await self._request("unsub", f"{asset}@{topic}")

    def quotes(self) -> AsyncIterator[Quote]:
        """Quotes up to the next gap; iterate again after it."""
        return self._backlog.read()

    # -- life --

    def _stopped(self, task: asyncio.Task[None]) -> None:
        self._backlog.end(None if task.cancelled() else task.exception())

    async def _connect(self) -> Link:
        return await Link.open(self._url, self._take, self._timing, self.figures, self._tls)

    async def _run(self, reading: asyncio.Task[Cause]) -> None:
        failures, since_ns = 0, self._clock.monotonic_ns()
        while True:
            self._backlog.gap(await reading)
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(VenueError("stream lost before the answer"))
            lived_ms = (self._clock.monotonic_ns() - since_ns) // 1_000_000
            failures = 0 if lived_ms > self._timing.back_off_max_ms else failures + 1
            reading = await self._connect_again(failures)
            since_ns = self._clock.monotonic_ns()
            self._backlog.gap(Cause.CONNECTED)

    async def _connect_again(self, failures: int) -> asyncio.Task[Cause]:
        while True:
            await asyncio.sleep(back_off_ms(self._timing, failures, self._draw) / 1000)
            failures += 1
            try:
                self._link = link = await self._connect()
            except VenueError as error:
                self.figures.trouble = str(error)
                continue
            reading = asyncio.ensure_future(link.run())
            try:
                for name in list(self._topics):
                    await self._request("sub", name)
            except VenueError as error:
                self.figures.trouble = str(error)
                link.abort(Cause.CLOSED)
                await asyncio.wait({reading})
                continue
            return reading

    async def _request(self, verb: str, name: str) -> None:
        if self._link is None:
            raise VenueError("stream is not open", action="call open first")
        self._requests += 1
        number = str(self._requests)
        answered = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            request = msgspec.json.encode(_Request(number, verb, name)).decode()
            await self._link.send(request)
            async with asyncio.timeout(self._timing.open_ms / 1000):
                await answered
        except TimeoutError as error:
            raise VenueError(f"no answer to {verb} {name}") from error
        finally:
            del self._waiting[number]

    def _take(self, text: bytes) -> None:
        try:
            frame = read_frame(text)
            waiting = self._waiting.get(frame.id) if isinstance(frame.id, str) else None
            if waiting is not None:
                _answer(waiting, frame)
                return
            quote = quote_of(frame)
        except UnreadableValue as error:
            self.figures.trouble = str(error)
            self._backlog.gap(Cause.UNREADABLE)
            return
        if quote is None:
            self.figures.unread += 1
        else:
            self._backlog.put(quote)


def _answer(waiting: asyncio.Future[None], frame: Frame) -> None:
    if waiting.done():
        return
    code = read_count(frame.code, "code", _CODE_MAX)
    if code:
        text = frame.msg if isinstance(frame.msg, str) else ""
        waiting.set_exception(VenueError("subscription refused", found=f"{code} {text}"))
    else:
        waiting.set_result(None)
