"""Contracts and market data as BingX shows them, on REST and on streams (dossier §2.5, §3.5).

Turns the core's records into dictionaries in the exchange's spelling. Asks the core nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dita.exchange.model.records import Candle, Contract, Funding, MarketTrade, Quote
from dita.exchange.wire.answers import number
from dita.exchange.wire.shapes.decimals import (
    bare_price,
    bare_quantity,
    bare_ratio,
    fixed,
    money,
    price,
    quantity,
    ratio,
)
from dita.units import PRICE_DIGITS, format_money

Level = tuple[int, int]
"""Price of 10^-10 and quantity of 10^-8."""


# -- REST ---------------------------------------------------------------------------------------


def contract(rules: Contract) -> dict[str, Any]:
    """A row of the contracts. Precisions are counts of decimals; the apiState are texts."""
    return {
        "contractId": rules.contract_id,
        "symbol": rules.symbol,
        "size": "0",
        "quantityPrecision": rules.quantity_digits,
        "pricePrecision": rules.price_digits,
        "feeRate": bare_ratio(rules.taker_fee_e9),
        "makerFeeRate": bare_ratio(rules.maker_fee_e9),
        "takerFeeRate": bare_ratio(rules.taker_fee_e9),
        "tradeMinLimit": 0,
        "tradeMinQuantity": bare_quantity(rules.min_quantity_e8),
        "tradeMinUSDT": number(format_money(rules.min_notional)),
        "maxLongLeverage": rules.leverage_max,
        "maxShortLeverage": rules.leverage_max,
        "currency": "USDT",
        "asset": rules.asset,
        "status": rules.status,
        "apiStateOpen": "true" if rules.status == 1 else "false",
        "apiStateClose": "true" if rules.status in (1, 25) and rules.closable else "false",
        "ensureTrigger": True,
        "triggerFeeRate": "0.00020000",
        "brokerState": False,
        "launchTime": 1_672_531_200_000,
        "maintainTime": 0,
        "offTime": 0,
        "displayName": rules.symbol,
    }


def trading_rules(rules: Contract) -> dict[str, Any]:
    """The answer of tradingRules; the price bands are shares of the current price."""
    return {
        "minSizeCoin": quantity(rules.min_quantity_e8, rules.quantity_digits),
        "minSizeUsd": format_money(rules.min_notional),
        "maxNumOrder": "200",
        "protectionThreshold": "0.05",
        "buyMaxPrice": "1.2",
        "buyMinPrice": "0.5",
        "sellMaxPrice": "2",
        "sellMinPrice": "0.8",
        "marketRatio": "0.2",
    }


def premium_index(quote: Quote, funding: Funding, rules: Contract) -> dict[str, Any]:
    """Mark price and funding. The time is absolute although the documentation says remaining."""
    return {
        "symbol": quote.symbol,
        "markPrice": price(quote.mark_e10, rules.price_digits),
        "indexPrice": price(quote.index_e10, rules.price_digits),
        "lastFundingRate": ratio(funding.rate_e9, 8),
        "nextFundingTime": funding.next_ms,
        "fundingIntervalHours": funding.interval_hours,
        "minFundingRate": "-0.00300000",
        "maxFundingRate": "0.00300000",
        "updateTime": quote.time_ms,
    }


def book_ticker(quote: Quote) -> dict[str, Any]:
    """The best level: bare numbers, names with underscores."""
    return {
        "symbol": quote.symbol,
        "bid_price": bare_price(quote.bid_e10),
        "bid_qty": bare_quantity(quote.bid_quantity_e8),
        "ask_price": bare_price(quote.ask_e10),
        "ask_qty": bare_quantity(quote.ask_quantity_e8),
        "lastUpdateId": quote.time_ms,
        "time": quote.time_ms,
    }


def ticker(quote: Quote, rules: Contract, last_quantity_e8: int) -> dict[str, Any]:
    """The figures of 24 hours, as texts."""
    return {
        "symbol": quote.symbol,
        "priceChange": price(quote.last_e10 - quote.open_e10, rules.price_digits),
        "priceChangePercent": _percent(quote),
        "lastPrice": price(quote.last_e10, rules.price_digits),
        "lastQty": quantity(last_quantity_e8, rules.quantity_digits),
        "highPrice": price(quote.high_e10, rules.price_digits),
        "lowPrice": price(quote.low_e10, rules.price_digits),
        "volume": quantity(quote.volume_e8, rules.quantity_digits),
        "quoteVolume": money(quote.turnover, 2),
        "openPrice": price(quote.open_e10, rules.price_digits),
        "openTime": quote.time_ms,
        "closeTime": quote.time_ms,
        "askPrice": price(quote.ask_e10, rules.price_digits),
        "askQty": quantity(quote.ask_quantity_e8, rules.quantity_digits),
        "bidPrice": price(quote.bid_e10, rules.price_digits),
        "bidQty": quantity(quote.bid_quantity_e8, rules.quantity_digits),
    }


def _percent(quote: Quote) -> str:
    if not quote.open_e10:
        return "0.00"
    return fixed((quote.last_e10 - quote.open_e10) * 10**12 // quote.open_e10, PRICE_DIGITS, 2)


def last_price(quote: Quote, rules: Contract) -> dict[str, Any]:
    """The answer of ticker/price."""
    return {
        "symbol": quote.symbol,
        "price": price(quote.last_e10, rules.price_digits),
        "time": quote.time_ms,
    }


def depth(
    bids: Sequence[Level], asks: Sequence[Level], rules: Contract, now_ms: int
) -> dict[str, Any]:
    """The book; asks come worst first, as in the sample of 2024."""
    bid_rows, ask_rows = _rows(bids, rules), _rows(asks, rules)[::-1]
    return {
        "T": now_ms,
        "bids": bid_rows,
        "asks": ask_rows,
        "bidsCoin": bid_rows,
        "asksCoin": ask_rows,
    }


def _rows(levels: Sequence[Level], rules: Contract) -> list[list[str]]:
    return [
        [price(level[0], rules.price_digits), quantity(level[1], rules.quantity_digits)]
        for level in levels
    ]


def trade(row: MarketTrade, rules: Contract) -> dict[str, Any]:
    """A row of the recent trades."""
    return {
        "time": row.time_ms,
        "isBuyerMaker": row.buyer_is_maker,
        "price": price(row.price_e10, rules.price_digits),
        "qty": quantity(row.quantity_e8, rules.quantity_digits),
        "quoteQty": money(row.price_e10 * row.quantity_e8, 2),
        "fillId": row.trade_id,
        "ts": row.time_ms,
    }


def old_trade(row: MarketTrade, rules: Contract) -> dict[str, Any]:
    """A row of the trade history, which calls its id otherwise."""
    fields = trade(row, rules)
    del fields["fillId"], fields["ts"]
    return {**fields, "id": row.trade_id}


def candle(row: Candle, rules: Contract) -> dict[str, Any]:
    """A row of the klines."""
    return {
        "open": price(row.open_e10, rules.price_digits),
        "close": price(row.close_e10, rules.price_digits),
        "high": price(row.high_e10, rules.price_digits),
        "low": price(row.low_e10, rules.price_digits),
        "volume": quantity(row.volume_e8, rules.quantity_digits),
        "time": row.time_ms,
    }


def mark_candle(row: Candle, rules: Contract) -> dict[str, Any]:
    """A row of the mark price klines, which name their time twice."""
    fields = candle(row, rules)
    time_ms = fields.pop("time")
    return {**fields, "openTime": time_ms, "closeTime": time_ms}


def open_interest(quote: Quote, held: int) -> dict[str, Any]:
    """The value of the open positions that this exchange knows: the account's own."""
    return {
        "openInterest": money(held, 2),
        "symbol": quote.symbol,
        "time": quote.time_ms,
    }


# -- STREAMS ------------------------------------------------------------------------------------


def stream_book_ticker(quote: Quote, rules: Contract, now_ms: int) -> dict[str, Any]:
    """b/B is the bid's price and quantity, a/A the ask's."""
    return {
        "e": "bookTicker",
        "u": quote.time_ms,
        "E": now_ms,
        "T": quote.time_ms,
        "s": quote.symbol,
        "b": price(quote.bid_e10, rules.price_digits),
        "B": quantity(quote.bid_quantity_e8, rules.quantity_digits),
        "a": price(quote.ask_e10, rules.price_digits),
        "A": quantity(quote.ask_quantity_e8, rules.quantity_digits),
    }


def stream_ticker(
    quote: Quote, rules: Contract, last_quantity_e8: int, now_ms: int
) -> dict[str, Any]:
    """Here the capital letter is the price: A/a of the ask, B/b of the bid (dossier §3.5)."""
    return {
        "e": "24hTicker",
        "E": now_ms,
        "s": quote.symbol,
        "p": price(quote.last_e10 - quote.open_e10, rules.price_digits),
        "P": _percent(quote),
        "c": price(quote.last_e10, rules.price_digits),
        "L": quantity(last_quantity_e8, rules.quantity_digits),
        "h": price(quote.high_e10, rules.price_digits),
        "l": price(quote.low_e10, rules.price_digits),
        "v": quantity(quote.volume_e8, rules.quantity_digits),
        "q": money(quote.turnover, 2),
        "o": price(quote.open_e10, rules.price_digits),
        "O": quote.time_ms,
        "C": quote.time_ms,
        "A": price(quote.ask_e10, rules.price_digits),
        "a": quantity(quote.ask_quantity_e8, rules.quantity_digits),
        "B": price(quote.bid_e10, rules.price_digits),
        "b": quantity(quote.bid_quantity_e8, rules.quantity_digits),
    }


def stream_mark_price(quote: Quote, rules: Contract, now_ms: int) -> dict[str, Any]:
    """The mark price."""
    mark = price(quote.mark_e10, rules.price_digits)
    return {"e": "markPriceUpdate", "E": now_ms, "s": quote.symbol, "p": mark}


def stream_last_price(quote: Quote, rules: Contract, now_ms: int) -> dict[str, Any]:
    """The last price."""
    last = price(quote.last_e10, rules.price_digits)
    return {"e": "lastPriceUpdate", "E": now_ms, "s": quote.symbol, "c": last}


def stream_trade(row: MarketTrade, rules: Contract) -> dict[str, Any]:
    """One member of a trade push; ``m`` true means that the buyer is the maker."""
    return {
        "q": quantity(row.quantity_e8, rules.quantity_digits),
        "p": price(row.price_e10, rules.price_digits),
        "T": row.time_ms,
        "m": row.buyer_is_maker,
        "s": row.symbol,
    }


def stream_candle(row: Candle, rules: Contract) -> dict[str, Any]:
    """One member of a kline push; ``T`` is the candle's opening."""
    return {
        "c": price(row.close_e10, rules.price_digits),
        "o": price(row.open_e10, rules.price_digits),
        "h": price(row.high_e10, rules.price_digits),
        "l": price(row.low_e10, rules.price_digits),
        "v": quantity(row.volume_e8, rules.quantity_digits),
        "T": row.time_ms,
    }


def stream_depth(bids: Sequence[Level], asks: Sequence[Level], rules: Contract) -> dict[str, Any]:
    """The book, best first on both sides, as in the frames of 2026."""
    return {"bids": _rows(bids, rules), "asks": _rows(asks, rules)}
