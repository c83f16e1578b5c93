"""The market streams: which topics there are, when each is due, and what a push says.

Reads the core's market state and sends through the hub. Knows no user event (dossier §3.5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from dita.exchange.model.exchange import Exchange
from dita.exchange.model.records import Candle, Contract, MarketTrade
from dita.exchange.wire.shapes import market
from dita.exchange.wire.stream.sockets import Hub

MINUTES: Final = {
    "1m": 1,
    "3m": 3,
    "5m": 5,
    "15m": 15,
    "30m": 30,
    "1h": 60,
    "2h": 120,
    "4h": 240,
    "6h": 360,
    "8h": 480,
    "12h": 720,
    "1d": 1440,
}
BACKLOG: Final = 20
CANDLES: Final = 1_440
_MINUTE_MS: Final = 60_000
# How often each kind is pushed; trades are pushed when they happen.
_CADENCE_MS: Final = {
    "bookTicker": 200,
    "ticker": 1_000,
    "markPrice": 1_000,
    "lastPrice": 1_000,
    "kline": 1_000,
    "depth": 500,
}
_NAMED: Final = frozenset({"trade", "bookTicker", "ticker", "markPrice", "lastPrice"})
_DEPTH: Final = re.compile(r"depth(5|10|20|50|100)(?:@(100|200|500)ms)?")

encode = msgspec.json.encode


def last_quantity_e8(exchange: Exchange, symbol: str) -> int:
    """Of the newest trade; 0 before the first."""
    newest = exchange.trades(symbol, 1)
    return newest[-1].quantity_e8 if newest else 0


def merged(candles: Iterable[Candle], minutes: int) -> list[Candle]:
    """Candles of one minute made into longer ones, oldest first."""
    span_ms = minutes * _MINUTE_MS
    longer: list[Candle] = []
    for candle in candles:
        opens_ms = candle.time_ms - candle.time_ms % span_ms
        if not longer or longer[-1].time_ms != opens_ms:
            longer.append(msgspec.structs.replace(candle, time_ms=opens_ms))
            continue
        last = longer[-1]
        last.high_e10 = max(last.high_e10, candle.high_e10)
        last.low_e10 = min(last.low_e10, candle.low_e10)
        last.close_e10 = candle.close_e10
        last.volume_e8 += candle.volume_e8
    return longer


class Topics:
    """All topics that somebody has subscribed to, and when each is due."""

    def __init__(self, exchange: Exchange, hub: Hub) -> None:
        self._exchange = exchange
        self._hub = hub
        self._due_ms: dict[str, int] = {}

    def known(self, topic: str) -> bool:
        """Whether there is such a stream."""
        symbol, _, name = topic.partition("@")
        if symbol not in self._exchange.contracts:
            return False
        if name.startswith("kline_"):
            return name.removeprefix("kline_") in MINUTES
        return name in _NAMED or _DEPTH.fullmatch(name) is not None

    def greet(self, topic: str) -> bytes:
        """The first push after a subscription; for trades it is the backlog, empty without one."""
        symbol, _, name = topic.partition("@")
        if name == "trade":
            backlog = self._exchange.trades(symbol, BACKLOG)
            return self._trades(symbol, backlog) if backlog else b""
        return self._push(topic, self._exchange.quote(symbol).time_ms)

    def pulse(self, now_ms: int) -> None:
        """Push whatever is due."""
        for topic in self._hub.topics():
            name = topic.partition("@")[2]
            if name != "trade" and now_ms >= self._due_ms.get(topic, 0):
                self._due_ms[topic] = now_ms + _cadence_ms(name)
                self._hub.push_topic(topic, self._push(topic, now_ms), now_ms)

    def traded(self, trade: MarketTrade, now_ms: int) -> None:
        """Push a trade of the market."""
        topic = f"{trade.symbol}@trade"
        if self._hub.wanted(topic):
            self._hub.push_topic(topic, self._trades(trade.symbol, [trade]), now_ms)

    def _trades(self, symbol: str, trades: Sequence[MarketTrade]) -> bytes:
        rules = self._exchange.contracts[symbol]
        data = [market.stream_trade(trade, rules) for trade in reversed(trades)]
        return encode({"code": 0, "dataType": f"{symbol}@trade", "data": data})

    def _push(self, topic: str, now_ms: int) -> bytes:
        symbol, _, name = topic.partition("@")
        rules, frame = self._exchange.contracts[symbol], {"code": 0, "dataType": topic}
        if name.startswith("kline_"):
            longer = merged(
                self._exchange.candles(symbol, CANDLES), MINUTES[name.removeprefix("kline_")]
            )
            data: Any = [market.stream_candle(longer[-1], rules)] if longer else []
            return encode({**frame, "s": symbol, "data": data})
        shape = _DEPTH.fullmatch(name)
        if shape is not None:
            bids, asks = self._exchange.depth(symbol, int(shape[1]))
            return encode({**frame, "ts": now_ms, "data": market.stream_depth(bids, asks, rules)})
        return encode({**frame, "data": self._figures(name, symbol, rules, now_ms)})

    def _figures(self, name: str, symbol: str, rules: Contract, now_ms: int) -> dict[str, Any]:
        quote = self._exchange.quote(symbol)
        match name:
            case "bookTicker":
                return market.stream_book_ticker(quote, rules, now_ms)
            case "markPrice":
                return market.stream_mark_price(quote, rules, now_ms)
            case "lastPrice":
                return market.stream_last_price(quote, rules, now_ms)
            case _:
                last_e8 = last_quantity_e8(self._exchange, symbol)
                return market.stream_ticker(quote, rules, last_e8, now_ms)


def _cadence_ms(name: str) -> int:
    shape = _DEPTH.fullmatch(name)
    if shape is not None:
        return int(shape[2] or _CADENCE_MS["depth"])
    return _CADENCE_MS["kline" if name.startswith("kline_") else name]
