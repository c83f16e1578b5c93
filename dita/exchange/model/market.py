"""The market: one price per symbol that moves, and a book of fixed shape around it.

Gives takers their price level by level, keeps candles, trades and day figures.  It knows nothing of
accounts; whose order takes is not its business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from dita.contracts import Record
from dita.exchange.model.records import Candle, Contract, MarketTrade, Quote, Side

TRADES_KEPT: Final = 1_000
CANDLES_KEPT: Final = 1_440
_MINUTE_MS: Final = 60_000


class Shape(Record, frozen=True, kw_only=True):
    """The book on each side of the last price."""

    spread_ticks: int = 1  # the best level is so far from the last price, each further one more
    levels: int = 20
    level_notional: int = 50_000 * 10**18  # value of what stands at one level


class Market:
    """One symbol's price, book and history."""

    def __init__(self, contract: Contract, shape: Shape, now_ms: int) -> None:
        self.contract = contract
        self.shape = shape
        self.last_e10 = self.mark_e10 = contract.start_price_e10
        self.open_e10 = self.high_e10 = self.low_e10 = self.last_e10
        self.volume_e8 = self.turnover = 0
        self.time_ms = now_ms
        self.trades: deque[MarketTrade] = deque(maxlen=TRADES_KEPT)
        self.candles: deque[Candle] = deque(maxlen=CANDLES_KEPT)
        self._trade_no = 0
        self._candle(now_ms)

    def move(self, price_e10: int, mark_e10: int, now_ms: int) -> None:
        """A new last price, and the mark price: the same unless it is given."""
        self.last_e10 = price_e10
        self.mark_e10 = mark_e10 or price_e10
        self.high_e10 = max(self.high_e10, price_e10)
        self.low_e10 = min(self.low_e10, price_e10)
        self.time_ms = now_ms
        self._candle(now_ms)

    def best_e10(self, side: Side) -> int:
        """What a taker of this side pays or gets first."""
        return self._level_e10(side, 0)

    def _level_e10(self, side: Side, level: int) -> int:
        away = (self.shape.spread_ticks + level) * self.contract.tick_e10 * side.sign
        return max(self.contract.tick_e10, self.last_e10 + away)

    @property
    def _level_quantity_e8(self) -> int:
        step = self.contract.step_e8
        quantity = self.shape.level_notional // self.last_e10
        return max(step, quantity // step * step)

    def depth(self, levels: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """(bids, asks), best first: what sellers and what buyers would meet."""
        size, count = self._level_quantity_e8, min(levels, self.shape.levels)
        bids = [(self._level_e10(Side.SELL, n), size) for n in range(count)]
        asks = [(self._level_e10(Side.BUY, n), size) for n in range(count)]
        return bids, asks

    def take(self, side: Side, quantity_e8: int, limit_e10: int = 0) -> Iterable[tuple[int, int]]:
        """What a taker would get, as (price, quantity), best first; never beyond the limit.

        The book is as deep again for the next one: others fill the gaps.
        """
        size = self._level_quantity_e8
        for level in range(self.shape.levels):
            price = self._level_e10(side, level)
            if quantity_e8 <= 0 or (limit_e10 and (price - limit_e10) * side.sign > 0):
                return
            part = min(size, quantity_e8)
            quantity_e8 -= part
            yield price, part

    def traded(
        self, price_e10: int, quantity_e8: int, buyer_is_maker: bool, now_ms: int
    ) -> MarketTrade:
        """Write down a trade."""
        self._trade_no += 1
        trade = MarketTrade(
            trade_id=str(self._trade_no),
            symbol=self.contract.symbol,
            price_e10=price_e10,
            quantity_e8=quantity_e8,
            buyer_is_maker=buyer_is_maker,
            time_ms=now_ms,
        )
        self.trades.append(trade)
        self.volume_e8 += quantity_e8
        self.turnover += price_e10 * quantity_e8
        self._candle(now_ms).volume_e8 += quantity_e8
        return trade

    def minutes(self, now_ms: int) -> list[Candle]:
        """Every minute up to now, oldest first; one without a price or a trade stands still."""
        found: list[Candle] = []
        for candle in self.candles:
            _fill_gap(found, candle.time_ms)
            found.append(candle)
        _fill_gap(found, now_ms - now_ms % _MINUTE_MS + _MINUTE_MS)
        return found[-CANDLES_KEPT:]

    def _candle(self, now_ms: int) -> Candle:
        opens_ms = now_ms - now_ms % _MINUTE_MS
        price = self.last_e10
        if not self.candles or self.candles[-1].time_ms < opens_ms:
            new = Candle(
                time_ms=opens_ms,
                open_e10=price,
                high_e10=price,
                low_e10=price,
                close_e10=price,
                volume_e8=0,
            )
            self.candles.append(new)
        candle = self.candles[-1]
        candle.high_e10 = max(candle.high_e10, price)
        candle.low_e10 = min(candle.low_e10, price)
        candle.close_e10 = price
        return candle

    def quote(self) -> Quote:
        """Prices now."""
        return Quote(
            symbol=self.contract.symbol,
            last_e10=self.last_e10,
            mark_e10=self.mark_e10,
            index_e10=self.mark_e10,
            bid_e10=self.best_e10(Side.SELL),
            ask_e10=self.best_e10(Side.BUY),
            bid_quantity_e8=self._level_quantity_e8,
            ask_quantity_e8=self._level_quantity_e8,
            time_ms=self.time_ms,
            open_e10=self.open_e10,
            high_e10=self.high_e10,
            low_e10=self.low_e10,
            volume_e8=self.volume_e8,
            turnover=self.turnover,
        )


def _fill_gap(found: list[Candle], until_ms: int) -> None:
    """Go on at the last price, minute by minute, to before ``until_ms``."""
    while found and found[-1].time_ms + _MINUTE_MS < until_ms:
        first_ms = max(found[-1].time_ms + _MINUTE_MS, until_ms - CANDLES_KEPT * _MINUTE_MS)
        price = found[-1].close_e10
        found.append(
            Candle(
                time_ms=first_ms,
                open_e10=price,
                high_e10=price,
                low_e10=price,
                close_e10=price,
                volume_e8=0,
            )
        )
