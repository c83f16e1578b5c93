"""The public endpoints: time, contracts, prices, book, trades, candles, funding (dossier §2.5).

Also empty answers for the other products that a client lists when it starts. Reads the core only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from dita.exchange.model.records import Candle, Contract, Quote
from dita.exchange.wire.answers import Answer, refuse, success
from dita.exchange.wire.rest.calls import Route, Routes, public
from dita.exchange.wire.rest.parameters import INVALID, Parameters
from dita.exchange.wire.session import Session
from dita.exchange.wire.shapes import market
from dita.exchange.wire.shapes.decimals import ratio
from dita.exchange.wire.stream.topics import CANDLES, MINUTES, last_quantity_e8, merged

CANDLES_DEFAULT: Final = 500
HOUR_MS: Final = 3_600_000


def server_time(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET server/time."""
    return success({"serverTime": now_ms})


def contracts(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET contracts."""
    return success([market.contract(rules) for rules in _contracts(session, parameters)])


def _contracts(session: Session, parameters: Parameters) -> Sequence[Contract]:
    symbol = parameters.text("symbol")
    exchange = session.exchange
    return [exchange.contract(symbol)] if symbol else list(exchange.contracts.values())


def _one_or_all(
    session: Session, parameters: Parameters, row: Callable[[Contract, Quote], dict[str, Any]]
) -> Answer:
    """With a symbol an object, without one an array."""
    rows = [row(c, session.exchange.quote(c.symbol)) for c in _contracts(session, parameters)]
    return success(rows[0] if parameters.text("symbol") else rows)


def premium_index(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET premiumIndex."""
    funding = session.exchange.funding
    return _one_or_all(
        session,
        parameters,
        lambda rules, quote: market.premium_index(quote, funding(rules.symbol), rules),
    )


def ticker(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET ticker."""
    exchange = session.exchange
    return _one_or_all(
        session,
        parameters,
        lambda rules, quote: market.ticker(quote, rules, last_quantity_e8(exchange, rules.symbol)),
    )


def last_price(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET ticker/price."""
    return _one_or_all(session, parameters, lambda rules, quote: market.last_price(quote, rules))


def book_ticker(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET bookTicker: under ``book_ticker``; without a symbol an array of them."""
    rows = [
        {"book_ticker": market.book_ticker(session.exchange.quote(rules.symbol))}
        for rules in _contracts(session, parameters)
    ]
    return success(rows[0] if parameters.text("symbol") else [row["book_ticker"] for row in rows])


def depth(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET depth."""
    rules = session.exchange.contract(parameters.need("symbol"))
    bids, asks = session.exchange.depth(rules.symbol, parameters.count("limit", 20))
    return success(market.depth(bids, asks, rules, now_ms))


def trades(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET trades, newest first."""
    rules = session.exchange.contract(parameters.need("symbol"))
    rows = session.exchange.trades(rules.symbol, min(parameters.count("limit", 500), 1_000))
    return success([market.trade(row, rules) for row in reversed(rows)])


def old_trades(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET historicalTrades, oldest first, from a trade id on."""
    rules = session.exchange.contract(parameters.need("symbol"))
    first = parameters.count("fromId")
    rows = session.exchange.trades(rules.symbol, min(parameters.count("limit", 500), 1_000))
    return success([market.old_trade(r, rules) for r in rows if int(r.trade_id) >= first])


def klines(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET klines, newest first; v2 and v3 alike."""
    rules, rows = _candles(session, parameters, now_ms)
    return success([market.candle(row, rules) for row in rows])


def mark_klines(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET markPriceKlines: of the last price, which the mark follows here."""
    rules, rows = _candles(session, parameters, now_ms)
    return success([market.mark_candle(row, rules) for row in rows])


def _candles(
    session: Session, parameters: Parameters, now_ms: int
) -> tuple[Contract, list[Candle]]:
    rules = session.exchange.contract(parameters.need("symbol"))
    minutes = MINUTES.get(parameters.need("interval"))
    if minutes is None:
        refuse(INVALID, "Invalid parameters,interval: invalid value")
    start_ms, end_ms = parameters.count("startTime"), parameters.count("endTime") or now_ms
    limit = parameters.count("limit", CANDLES_DEFAULT)
    longer = merged(session.exchange.candles(rules.symbol, CANDLES), minutes)
    rows = [row for row in longer if start_ms <= row.time_ms <= end_ms]
    return rules, rows[-limit:][::-1]


def open_interest(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET openInterest."""
    exchange = session.exchange
    quote = exchange.quote(parameters.need("symbol"))
    held = sum(p.quantity_e8 for p in exchange.positions(quote.symbol)) * quote.mark_e10
    return success(market.open_interest(quote, held))


def funding_rates(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET fundingRate: the past funding times, newest first; the rate is a setting here."""
    funding = session.exchange.funding(parameters.need("symbol"))
    step_ms = funding.interval_hours * HOUR_MS
    limit = min(parameters.count("limit", 100), 1_000)
    times = [funding.next_ms - n * step_ms for n in range(1, limit + 1)]
    start_ms, end_ms = parameters.count("startTime"), parameters.count("endTime") or now_ms
    rate = ratio(funding.rate_e9, 8)
    return success(
        [
            {"symbol": funding.symbol, "fundingRate": rate, "fundingTime": at_ms}
            for at_ms in times
            if start_ms <= at_ms <= end_ms
        ]
    )


def trading_rules(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET tradingRules."""
    rules = session.exchange.contract(parameters.need("symbol"))
    return success(market.trading_rules(rules))


def none_listed(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """An empty list: a product that this exchange does not have."""
    return success([])


def no_spot(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """No spot symbols."""
    return success({"symbols": []})


_V1: Final = "/openApi/swap/v1"
_QUOTE: Final = "/openApi/swap/v2/quote"

ROUTES: Final[Routes] = {
    ("GET", "/openApi/swap/v2/server/time"): public(server_time),
    ("GET", "/openApi/spot/v1/server/time"): public(server_time),
    ("GET", f"{_QUOTE}/contracts"): public(contracts),
    ("GET", f"{_QUOTE}/premiumIndex"): public(premium_index),
    ("GET", f"{_QUOTE}/ticker"): public(ticker),
    ("GET", f"{_QUOTE}/price"): public(last_price),
    ("GET", f"{_V1}/ticker/price"): public(last_price),
    ("GET", f"{_QUOTE}/bookTicker"): public(book_ticker),
    ("GET", f"{_QUOTE}/depth"): public(depth),
    ("GET", f"{_QUOTE}/trades"): public(trades),
    ("GET", f"{_V1}/market/historicalTrades"): public(old_trades),
    ("GET", "/openApi/swap/v3/quote/klines"): public(klines),
    ("GET", f"{_QUOTE}/klines"): public(klines),
    ("GET", f"{_V1}/market/markPriceKlines"): public(mark_klines),
    ("GET", f"{_QUOTE}/openInterest"): public(open_interest),
    ("GET", f"{_QUOTE}/fundingRate"): public(funding_rates),
    ("GET", f"{_V1}/tradingRules"): public(trading_rules),
    ("GET", "/openApi/cswap/v1/market/contracts"): public(none_listed),
    ("GET", "/openApi/spot/v1/common/symbols"): public(no_spot),
    ("GET", "/openApi/wallets/v1/capital/config/getall"): Route(none_listed),
}
