"""Unmodified third-party clients against a real `pink-ctl exchange`: ccxt, ccxt.pro and Bixpy.

They know nothing of us, so what they read is what they would read of BingX. Only addresses and the
account's kind are set. What the exchange itself has in its book is the other half of each check.
"""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.exchange_process import KEY, SECRET, RunningExchange, running

ccxt = pytest.importorskip("ccxt")
ccxt_pro = pytest.importorskip("ccxt.pro")
perpetual = pytest.importorskip("Bixpy.perpetual")
bixpy_objects = pytest.importorskip("Bixpy.utils.objects")
bixpy_error = pytest.importorskip("Bixpy.utils.error")

# What these clients warn of is theirs.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

FET = "FET/USDT:USDT"
ANSWER_S = 30
_SECTIONS = (
    *("fund", "spot", "swap", "contract", "wallets", "user"),
    *("subAccount", "account", "copyTrading", "cswap", "api"),
)


@pytest.fixture
def exchange() -> Iterator[RunningExchange]:
    """A fresh one; prices stand still at 0.5 for FET."""
    with running("--still", "--seed", "7", "--balance", "10000") as process:
        yield process


def options(exchange: RunningExchange) -> dict[str, Any]:
    """How ccxt is told where BingX is, and nothing else."""
    rest = dict.fromkeys(_SECTIONS, f"{exchange.rest}/openApi")
    streams = dict.fromkeys(("linear", "inverse"), exchange.stream)
    # A client compares addresses to tell the products apart, so spot has another one.
    streams["spot"] = exchange.stream.replace("/swap-market", "/market")
    return {
        "apiKey": KEY,
        "secret": SECRET,
        "options": {"defaultType": "swap"},
        "urls": {"api": {**rest, "ws": streams}},
    }


def eventually(found: Callable[[], Any], what: str) -> Any:
    """What becomes true, or a failure that says what never did."""
    deadline = time.monotonic() + ANSWER_S
    while time.monotonic() < deadline:
        value = found()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"never happened: {what}")


# -- CCXT ---------------------------------------------------------------------------------------


def test_ccxt_reads_the_market(exchange: RunningExchange) -> None:
    """Markets with their precisions, time, prices, book, trades, candles and funding."""
    client = ccxt.bingx(options(exchange))
    markets = client.load_markets()
    assert markets[FET]["linear"] and markets[FET]["swap"]
    assert markets[FET]["taker"] == 0.0005
    assert markets["BTC/USDT:USDT"]["precision"] == {"amount": 0.0001, "price": 0.1}
    assert abs(client.fetch_time() - time.time() * 1000) < 60_000
    assert client.fetch_ticker(FET)["last"] == 0.5
    assert len(client.fetch_tickers()) == len(markets)
    book = client.fetch_order_book(FET, 5)
    assert [level[0] for level in book["bids"]] == [0.4999, 0.4998, 0.4997, 0.4996, 0.4995]
    assert book["asks"][0][0] == 0.5001
    client.create_order(FET, "market", "buy", 40)
    (trade,) = client.fetch_trades(FET)
    assert (trade["price"], trade["amount"], trade["side"]) == (0.5001, 40.0, "buy")
    assert client.fetch_ohlcv(FET, "1m")[-1][1] == 0.5
    assert client.fetch_funding_rate(FET)["fundingRate"] == 0.0001


def test_ccxt_trades(exchange: RunningExchange) -> None:
    """Balance, leverage, market and limit order, position, cancel, fills, closing."""
    client = ccxt.bingx(options(exchange))
    client.load_markets()
    assert client.fetch_balance()["USDT"] == {"free": 10_000.0, "used": 0.0, "total": 10_000.0}
    client.set_leverage(4, FET, {"side": "BOTH"})
    assert client.fetch_leverage(FET)["longLeverage"] == 4
    assert client.fetch_position_mode(FET)["hedged"] is False
    bought = client.create_order(FET, "market", "buy", 1000, params={"clientOrderId": "MyCid-1"})
    (position,) = client.fetch_positions([FET])
    assert (position["side"], position["contracts"]) == ("long", 1000.0)
    assert position["entryPrice"] == 0.5001
    assert position["leverage"] == 4
    read = client.fetch_order(bought["id"], FET)
    assert (read["status"], read["filled"], read["average"]) == ("closed", 1000.0, 0.5001)
    assert read["fee"] == {"currency": "USDT", "cost": 0.25005, "rate": None} or (
        read["fee"]["cost"] == 0.25005
    )
    resting = client.create_order(FET, "limit", "buy", 100, 0.4)
    assert [order["id"] for order in client.fetch_open_orders(FET)] == [resting["id"]]
    client.cancel_order(resting["id"], FET)
    assert client.fetch_open_orders(FET) == []
    assert client.fetch_order(resting["id"], FET)["status"] == "canceled"
    (fill,) = client.fetch_my_trades(FET)
    assert (fill["order"], fill["price"], fill["amount"]) == (bought["id"], 0.5001, 1000.0)
    client.create_order(FET, "market", "sell", 1000, params={"reduceOnly": True})
    assert client.fetch_positions([FET]) == []
    (closed,) = client.fetch_position_history(FET)
    assert (closed["side"], closed["contracts"], closed["entryPrice"]) == ("long", 1000.0, 0.5001)
    book = exchange.book()
    assert [order["client_order_id"] for order in book["orders"]] == ["mycid-1", "", ""]
    total = client.fetch_balance()["USDT"]["total"]
    assert f"{total:.4f}" == f"{float(book['wallet']):.4f}"
    assert 9_999 < total < 10_000


def test_ccxt_understands_refusals(exchange: RunningExchange) -> None:
    """Insufficient margin, an unknown order and a wrong secret become its own exceptions."""
    client = ccxt.bingx(options(exchange))
    client.load_markets()
    with pytest.raises(ccxt.InsufficientFunds):
        client.create_order(FET, "market", "buy", 10_000_000)
    with pytest.raises(ccxt.BaseError, match="109421"):
        client.fetch_order("1736012449498123500", FET)
    client.secret = "WRONG"
    with pytest.raises(ccxt.AuthenticationError, match="100001"):
        client.fetch_balance()
    assert exchange.book()["orders"] == []


def test_ccxt_batches_and_triggers(exchange: RunningExchange) -> None:
    """A batch is signed raw and sent encoded; a stop fires when the price comes to it."""
    client = ccxt.bingx(options(exchange))
    client.load_markets()
    wanted = [
        {"symbol": FET, "type": "limit", "side": "buy", "amount": 10, "price": price}
        for price in (0.3, 0.31)
    ]
    placed = client.create_orders(wanted)
    assert len({order["id"] for order in placed}) == 2
    assert len(client.cancel_all_orders(FET)) == 2
    client.create_order(FET, "market", "buy", 100)
    stop = client.create_order(
        FET, "market", "sell", 100, params={"stopLossPrice": 0.45, "reduceOnly": True}
    )
    assert client.fetch_order(stop["id"], FET)["status"] == "open"
    exchange.control("POST", "price", symbol="FET-USDT", price="0.44")
    assert client.fetch_order(stop["id"], FET)["status"] == "closed"
    assert client.fetch_positions([FET]) == []


def test_ccxt_moves_money_margin_and_a_trailing_stop(exchange: RunningExchange) -> None:
    """A transfer, margin of an isolated position, a stop that follows, candles of the mark."""
    client = ccxt.bingx(options(exchange))
    client.load_markets()
    moved = client.transfer("USDT", 50, "funding", "swap")
    assert moved["id"]
    assert client.fetch_balance()["USDT"]["total"] == 10_050.0
    client.set_margin_mode("isolated", FET)
    client.create_order(FET, "market", "buy", 100)
    before = client.fetch_positions([FET])[0]["initialMargin"]
    client.set_margin(FET, 3, {"type": 1})
    assert client.fetch_positions([FET])[0]["initialMargin"] == pytest.approx(before + 3)
    trailing = {"trailingPercent": 10, "reduceOnly": True}
    stop = client.create_order(FET, "market", "sell", 100, params=trailing)
    for price in ("0.6", "0.55"):
        exchange.control("POST", "price", symbol="FET-USDT", price=price)
    assert client.fetch_order(stop["id"], FET)["status"] == "open"
    exchange.control("POST", "price", symbol="FET-USDT", price="0.54")
    assert client.fetch_order(stop["id"], FET)["status"] == "closed"
    assert client.fetch_positions([FET]) == []
    assert client.fetch_mark_ohlcv(FET, "1m")[-1][4] == 0.54


# -- CCXT.PRO -----------------------------------------------------------------------------------


async def first(of: Any, wanted: Callable[[Any], bool]) -> Any:
    """The first update that is wanted; watching again and again is how ccxt.pro is used."""
    while True:
        update = await of()
        for each in update if isinstance(update, list) else [update]:
            if wanted(each):
                return each


async def watched(exchange: RunningExchange) -> dict[str, Any]:
    """One market order while orders, own trades, balance, positions and ticker are watched."""
    client = ccxt_pro.bingx(options(exchange))
    # Without it, watching the balance beside other user streams waits for a snapshot for ever.
    client.options["watchBalance"]["awaitBalanceSnapshot"] = False
    try:
        await client.load_markets()
        watching = {
            "order": first(lambda: client.watch_orders(FET), lambda o: o["status"] == "closed"),
            "trade": first(lambda: client.watch_my_trades(FET), lambda t: t["amount"] == 1000.0),
            "balance": first(client.watch_balance, lambda b: "USDT" in b),
            "position": first(
                lambda: client.watch_positions([FET]), lambda p: p["contracts"] == 1000.0
            ),
            "ticker": first(lambda: client.watch_ticker(FET), lambda t: t["last"] == 0.5),
            "book": first(lambda: client.watch_order_book(FET), lambda b: bool(b["asks"])),
            "market": first(lambda: client.watch_trades(FET), lambda t: t["amount"] == 1000.0),
        }
        tasks = {name: asyncio.ensure_future(wait) for name, wait in watching.items()}
        while await asyncio.to_thread(lambda: exchange.book()["user_sockets"]) < 1:
            await asyncio.sleep(0.05)
        await tasks["ticker"]
        await tasks["book"]
        placed = await client.create_order(FET, "market", "buy", 1000)
        async with asyncio.timeout(ANSWER_S):
            seen = {name: await task for name, task in tasks.items()}
        return {**seen, "placed": placed}
    finally:
        await client.close()


def test_ccxt_pro_watches(exchange: RunningExchange) -> None:
    """What is pushed is read as the fill it is, by id, quantity, average price and fee."""
    seen = asyncio.run(watched(exchange))
    assert seen["order"]["id"] == seen["placed"]["id"]
    assert (seen["order"]["filled"], seen["order"]["average"]) == (1000.0, 0.5001)
    assert seen["order"]["fee"]["cost"] in (0.25005, "0.25005000")
    assert seen["trade"]["order"] == seen["placed"]["id"]
    # `p` is a reference and `l`, `L` are not sent: ccxt then reports the reference as the price.
    assert seen["trade"]["price"] == 0.5
    assert seen["position"]["entryPrice"] == 0.5001
    assert seen["balance"]["USDT"]["free"] == pytest.approx(9999.74995)
    assert seen["book"]["asks"][0][0] == 0.5001
    assert seen["market"]["price"] == 0.5001


# -- BIXPY --------------------------------------------------------------------------------------


def test_bixpy_trades(exchange: RunningExchange) -> None:
    """Its timestamp is the last parameter and unsorted: verified as sent."""
    client = perpetual.Perpetual(KEY, SECRET, base_url=exchange.rest)
    usdt, usdc = client.account.balance()["data"]
    assert (usdt["asset"], usdt["balance"], usdc["balance"]) == ("USDT", "10000.0000", "")
    assert client.trade.set_leverage("FET-USDT", "BOTH", 5)["data"]["leverage"] == 5
    order = bixpy_objects.PerpetualOrder
    market = order("FET-USDT", "MARKET", "BUY", "BOTH", quantity=100)
    placed = client.trade.place_order(market)["data"]
    assert placed["orderID"] == str(placed["orderId"])
    limit = order(
        "FET-USDT", "LIMIT", "BUY", "BOTH", price=0.2, quantity=100, client_order_id="MyCid-1"
    )
    resting = client.trade.place_order(limit)["data"]
    assert resting["clientOrderId"] == "mycid-1"
    (held,) = client.account.positions()["data"]
    assert (held["positionAmt"], held["avgPrice"], held["positionSide"]) == (
        "100",
        "0.5001",
        "LONG",
    )
    gone = client.trade.cancel_order("FET-USDT", resting["orderId"])["data"]["order"]
    assert gone["status"] == "CANCELLED"
    read = client.trade.get_order_details("FET-USDT", placed["orderId"])["data"]["order"]
    assert (read["status"], read["avgPrice"], read["commission"]) == (
        "FILLED",
        "0.5001",
        "-0.025005",
    )
    with pytest.raises(bixpy_error.ClientError) as refused:
        client.trade.cancel_order("FET-USDT", placed["orderId"])
    assert refused.value.error_code == 109422


def test_bixpy_stream(exchange: RunningExchange) -> None:
    """It hands each gunzipped message to us, and we answer its Pings."""
    client = perpetual.Perpetual(KEY, SECRET, base_url=exchange.rest)
    key = client.send_request("POST", "/openApi/user/auth/userDataStream")["listenKey"]
    messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stream = perpetual.PerpetualWebsocket(
        stream_url=f"{exchange.stream}?listenKey={key}",
        on_message=lambda _, message: messages.put(message),
        on_error=lambda _, error: messages.put(error),
    )
    try:
        order = bixpy_objects.PerpetualOrder("FET-USDT", "MARKET", "BUY", "BOTH", quantity=100)
        client.trade.place_order(order)
        seen: list[Any] = []

        def filled() -> bool:
            while not messages.empty():
                seen.append(messages.get())
            return any(
                isinstance(m, dict) and m.get("o", {}).get("X") == "FILLED" for m in seen
            ) and any(isinstance(m, dict) and m.get("e") == "ACCOUNT_UPDATE" for m in seen)

        eventually(filled, "a fill and a balance on the stream")
        assert exchange.stop() == 0  # an open socket does not hold it up
        assert exchange.said() == ""
    finally:
        stream.socket_manager.ws.close()
        stream.socket_manager.join(ANSWER_S)
    snapshots = {m["ac"]["s"] for m in seen if isinstance(m, dict) and m.get("e") == "SNAPSHOT"}
    assert "FET-USDT" in snapshots
