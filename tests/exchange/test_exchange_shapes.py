"""Answers of the local exchange, member by member, beside recorded ones of the real exchange.

Names and JSON kinds are compared where the recordings are at hand; what the wire's rules say about
values is asserted without them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.exchange_client import ORDER, START_MS, Desk, desk
from support.recordings import RECORDINGS

FIXTURES = RECORDINGS / "bingx" / "fixtures"
V1, V2 = "/openApi/swap/v1", "/openApi/swap/v2"
DAY_MS = 86_400_000

# Where recordings of the real exchange disagree among themselves about a member's JSON kind.
EITHER_KIND = {"stopGuaranteed", "takeProfit", "stopLoss"}


def kind(value: Any) -> str:
    """The JSON kind of a value."""
    names = {str: "text", bool: "bool", dict: "object", list: "array"}
    if value is None:
        return "null"
    return names.get(type(value), "number")


def differences(recorded: Any, ours: Any, place: str = "") -> Iterator[str]:
    """Members that ours lacks, and members of another kind."""
    if kind(recorded) != kind(ours):
        yield f"{place}: {kind(recorded)} recorded, ours is {kind(ours)}"
    elif isinstance(recorded, dict):
        for name, value in recorded.items():
            if name not in ours:
                yield f"{place}.{name} is missing"
            elif name not in EITHER_KIND:
                yield from differences(value, ours[name], f"{place}.{name}")
    elif isinstance(recorded, list) and recorded:
        if ours:
            yield from differences(recorded[0], ours[0], f"{place}[0]")
        else:
            yield f"{place} is empty"


async def traded(on: Desk) -> dict[str, Any]:
    """An account with every kind of thing to show; the ids that the questions need."""
    await on.call("POST", f"{V2}/trade/leverage", symbol="FET-USDT", side="BOTH", leverage=5)
    bought = (await on.place(quantity=1000, clientOrderId="First")).data["order"]["orderId"]
    await on.control("POST", "funding", symbol="FET-USDT", rate="0.0001")
    resting = [
        (await on.place(type="LIMIT", price="0.4", clientOrderId=f"r{n}")).data["order"]
        for n in range(5)
    ]
    await on.place(type="STOP_MARKET", side="SELL", stopPrice="0.3", reduceOnly="true")
    await on.place(symbol="BTC-USDT", quantity="0.01")
    on.exchange.liquidate("BTC-USDT", on.clock.now_ms())
    held = (await on.call("GET", f"{V2}/user/positions")).data
    return {
        "bought": bought,
        "resting": [order["orderId"] for order in resting],
        "position": held[0]["positionId"],
    }


def questions(of: dict[str, Any], now_ms: int) -> dict[tuple[str, str], dict[str, Any]]:
    """What each endpoint is asked, in an order in which all can answer."""
    fet: dict[str, Any] = {"symbol": "FET-USDT"}
    times = {"startTs": START_MS - DAY_MS, "endTs": now_ms}
    first, second, third, fourth, _ = of["resting"]
    new = {**fet, "side": "BUY", "positionSide": "BOTH", "quantity": 100}
    limit = {**new, "type": "LIMIT", "price": "0.4"}
    batch = json.dumps([{**new, "type": "MARKET"}])
    return {
        ("GET", f"{V2}/server/time"): {},
        ("GET", f"{V2}/quote/contracts"): {},
        ("GET", f"{V2}/quote/premiumIndex"): fet,
        ("GET", f"{V2}/quote/bookTicker"): fet,
        ("GET", f"{V2}/quote/ticker"): fet,
        ("GET", f"{V2}/quote/depth"): fet,
        ("GET", f"{V2}/quote/trades"): fet,
        ("GET", f"{V1}/market/historicalTrades"): fet,
        ("GET", "/openApi/swap/v3/quote/klines"): {**fet, "interval": "1m"},
        ("GET", f"{V1}/ticker/price"): fet,
        ("GET", f"{V2}/quote/openInterest"): fet,
        ("GET", f"{V2}/quote/fundingRate"): fet,
        ("GET", "/openApi/swap/v3/user/balance"): {},
        ("GET", f"{V2}/user/positions"): {},
        ("GET", f"{V2}/user/income"): {"incomeType": "FUNDING_FEE"},
        ("GET", f"{V2}/user/commissionRate"): {},
        ("GET", f"{V2}/trade/leverage"): fet,
        ("POST", f"{V2}/trade/leverage"): {**fet, "side": "BOTH", "leverage": 6},
        ("GET", f"{V2}/trade/marginType"): fet,
        ("GET", f"{V1}/positionSide/dual"): {},
        ("POST", f"{V1}/positionSide/dual"): {"dualSidePosition": "false"},
        ("GET", f"{V1}/trade/assetMode"): {},
        ("GET", f"{V1}/maintMarginRatio"): fet,
        ("POST", f"{V1}/trade/getVst"): {},
        ("GET", ORDER): {**fet, "orderId": of["bought"]},
        ("GET", f"{V2}/trade/openOrder"): {**fet, "orderId": first},
        ("GET", f"{V2}/trade/openOrders"): fet,
        ("GET", f"{V2}/trade/allOrders"): {**fet, "limit": 10},
        ("GET", f"{V1}/trade/fullOrder"): {**fet, "limit": 10},
        ("GET", f"{V2}/trade/forceOrders"): {"autoCloseType": "LIQUIDATION"},
        ("GET", f"{V2}/trade/allFillOrders"): {**fet, **times, "tradingUnit": "COIN"},
        ("GET", f"{V2}/trade/fillHistory"): {**fet, **times},
        ("POST", ORDER): limit,
        ("POST", f"{ORDER}/test"): limit,
        ("POST", f"{V2}/trade/batchOrders"): {"batchOrders": batch},
        ("DELETE", ORDER): {**fet, "orderId": first},
        ("DELETE", f"{V2}/trade/batchOrders"): {**fet, "orderIdList": f"[{second}]"},
        ("POST", f"{V1}/trade/amend"): {**fet, "orderId": third, "quantity": 90},
        ("POST", f"{V1}/trade/cancelReplace"): {
            **limit,
            "cancelReplaceMode": "STOP_ON_FAILURE",
            "cancelOrderId": fourth,
        },
        ("DELETE", f"{V2}/trade/allOpenOrders"): fet,
        ("POST", f"{V2}/trade/cancelAllAfter"): {"type": "ACTIVATE", "timeOut": 10},
        ("POST", f"{V1}/trade/closePosition"): {"positionId": of["position"]},
        ("POST", f"{V2}/trade/closeAllPositions"): {},
        ("GET", f"{V1}/trade/positionHistory"): fet,
        ("GET", f"{V2}/trade/positionHistory"): fet,
        ("POST", f"{V2}/trade/marginType"): {**fet, "marginType": "ISOLATED"},
        ("POST", "/openApi/user/auth/userDataStream"): {},
    }


@pytest.fixture(scope="module")
def answers() -> dict[tuple[str, str], Any]:
    """What our exchange says to every question."""

    async def ask() -> dict[tuple[str, str], Any]:
        async with desk(margin_asset="VST", order_reply="wrapped") as on:
            of = await traded(on)
            on.clock.advance_ms(1_500)
            found: dict[tuple[str, str], Any] = {}
            for (method, path), parameters in questions(of, on.clock.now_ms()).items():
                if path.endswith("closeAllPositions"):
                    await on.place(quantity=50)
                found[method, path] = (await on.call(method, path, **parameters)).json
            return found

    return asyncio.run(ask())


#: Endpoints that only the test with ccxt calls.
ASKED_BY_CCXT = {
    ("POST", f"{V2}/trade/positionMargin"),
    ("GET", "/openApi/swap/v1/market/markPriceKlines"),
}


def recordings() -> list[Any]:
    """JKorf's recordings of endpoints that we have; they keep the raw JSON kinds."""
    from dita.exchange.wire.rest.routes import ROUTES

    found = []
    for path in sorted(FIXTURES.glob("jkorf_rest/*.json")):
        fixture = json.loads(path.read_text())
        endpoint = (fixture["method"], fixture["path"])
        if endpoint in ROUTES and endpoint not in ASKED_BY_CCXT and fixture["response"] is not None:
            found.append(pytest.param(endpoint, fixture["response"], id=path.stem))
    return found


@pytest.mark.skipif(not FIXTURES.exists(), reason="the recordings are not here")
@pytest.mark.parametrize(("endpoint", "recorded"), recordings() if FIXTURES.exists() else [])
def test_as_recorded(
    endpoint: tuple[str, str], recorded: Any, answers: dict[tuple[str, str], Any]
) -> None:
    """Every member that was recorded is there, and is of the same JSON kind."""
    assert list(differences(recorded, answers[endpoint])) == []


NAMED_BY_CCXT = {
    "contracts_BTC": ("GET", f"{V2}/quote/contracts"),
    "fetchOrder_2024-03_market_filled_hedge_close": ("GET", ORDER),
    "fetchOrder_2024-05_stop_market_new_oneway": ("GET", ORDER),
    "income_funding_2026-01": ("GET", f"{V2}/user/income"),
    "leverage_get": ("GET", f"{V2}/trade/leverage"),
    "leverage_set": ("POST", f"{V2}/trade/leverage"),
    "maintMarginRatio_ETH_first3": ("GET", f"{V1}/maintMarginRatio"),
    "marginType": ("GET", f"{V2}/trade/marginType"),
    "positions_2024-07_oneway_from_source_comment": ("GET", f"{V2}/user/positions"),
    "premiumIndex": ("GET", f"{V2}/quote/premiumIndex"),
    "trades_2026-09": ("GET", f"{V2}/quote/trades"),
    "allFillOrders_CONT_2024-01": ("GET", f"{V2}/trade/allFillOrders"),
    "positionHistory_v1": ("GET", f"{V1}/trade/positionHistory"),
    "createOrder_2024-05_trigger_market_oneway": ("POST", ORDER),
}


@pytest.mark.skipif(not FIXTURES.exists(), reason="the recordings are not here")
@pytest.mark.parametrize("name", NAMED_BY_CCXT)
def test_members_as_ccxt_recorded_them(name: str, answers: dict[tuple[str, str], Any]) -> None:
    """These recordings are newer and have all numbers quoted, so only the names are compared."""
    recorded = json.loads((FIXTURES / f"ccxt_static/{name}.json").read_text())
    found = differences(recorded, answers[NAMED_BY_CCXT[name]])
    assert [each for each in found if each.endswith("missing")] == []


def test_every_endpoint_answers(answers: dict[tuple[str, str], Any]) -> None:
    """None of the questions is refused."""
    refused = {key: answer for key, answer in answers.items() if answer.get("code", 0)}
    assert refused == {}


# -- WHAT THE RULES SAY, WITHOUT RECORDINGS -------------------------------------------------------


def test_a_filled_order(answers: dict[tuple[str, str], Any]) -> None:
    """The fee is negative with 6 decimals, cumQuote whole, the price no fill, times in seconds."""
    order = answers["GET", ORDER]["data"]["order"]
    assert order["status"] == "FILLED"
    assert (order["price"], order["avgPrice"]) == ("0.5000", "0.5001")
    assert (order["origQty"], order["executedQty"]) == ("1000", "1000")
    assert order["cumQuote"] == "500"
    assert order["commission"] == "-0.250050"
    assert order["profit"] == "0.0000"
    assert order["clientOrderId"] == "first"
    assert order["leverage"] == "5X"
    assert order["time"] == order["updateTime"] == START_MS
    assert order["orderId"] > 2**53
    assert (order["orderId"] >> 22) + 1_288_834_974_657 == START_MS


def test_open_orders(answers: dict[tuple[str, str], Any]) -> None:
    """A resting one is PENDING; one that waits for its trigger is NEW, with empty texts."""
    orders = answers["GET", f"{V2}/trade/openOrders"]["data"]["orders"]
    assert [order["status"] for order in orders] == ["PENDING"] * 5 + ["NEW"]
    waiting = orders[-1]
    assert (waiting["cumQuote"], waiting["profit"], waiting["commission"]) == ("", "", "")
    assert (waiting["price"], waiting["stopPrice"]) == ("0", "0.3000")
    assert waiting["reduceOnly"] is True


def test_cancelled_orders(answers: dict[tuple[str, str], Any]) -> None:
    """Two Ls on REST, and ``failed`` is null."""
    assert answers["DELETE", ORDER]["data"]["order"]["status"] == "CANCELLED"
    batch = answers["DELETE", f"{V2}/trade/batchOrders"]["data"]
    assert batch["failed"] is None
    assert [order["status"] for order in batch["success"]] == ["CANCELLED"]
    assert answers["DELETE", f"{V2}/trade/allOpenOrders"]["data"]["failed"] is None


def test_fills(answers: dict[tuple[str, str], Any]) -> None:
    """``filledTm`` is the wall clock of UTC+8 with a wrong Z; ids of trades only in fillHistory."""
    fill = answers["GET", f"{V2}/trade/allFillOrders"]["data"]["fill_orders"][0]
    assert fill["filledTm"] == "2026-11-23T20:02:23Z"  # it was 12:02:23 UTC
    assert fill["filledTime"] == "2026-11-23T20:02:23.000+0800"
    assert (fill["volume"], fill["amount"], fill["commission"]) == ("1000", "500.1000", "-0.2500")
    assert "tradeId" not in fill
    row = answers["GET", f"{V2}/trade/fillHistory"]["data"]["fill_history_orders"][0]
    assert (row["role"], row["side"], row["positionSide"]) == ("taker", "buy", "both")
    assert row["tradeId"] == "1"


def test_the_wallet(answers: dict[tuple[str, str], Any]) -> None:
    """Four decimals; the unused asset has empty texts."""
    used, unused = answers["GET", "/openApi/swap/v3/user/balance"]["data"]
    assert used["asset"] == "VST"
    assert all(len(used[name].partition(".")[2]) == 4 for name in ("balance", "equity"))
    numbers = ("balance", "equity", "unrealizedProfit", "availableMargin", "usedMargin")
    assert {unused[name] for name in numbers} == {""}
    assert answers["POST", f"{V1}/trade/getVst"]["data"] == {"amount": 20_000}


def test_positions(answers: dict[tuple[str, str], Any]) -> None:
    """Unsigned, LONG or SHORT even in one-way mode; leverage and liquidation price bare."""
    (position,) = answers["GET", f"{V2}/user/positions"]["data"]
    assert (position["positionAmt"], position["positionSide"]) == ("1000", "LONG")
    assert position["onlyOnePosition"] is True
    assert position["leverage"] == 5
    assert position["initialMargin"] == "100.0200"
    assert kind(position["liquidationPrice"]) == "number"


def test_small_spellings(answers: dict[tuple[str, str], Any]) -> None:
    """A mode in a text, a margin answer without data, a time in seconds, Ask for a sale."""
    assert answers["GET", f"{V1}/positionSide/dual"]["data"] == {"dualSidePosition": "false"}
    assert answers["POST", f"{V2}/trade/marginType"] == {"code": 0, "msg": ""}
    kill = answers["POST", f"{V2}/trade/cancelAllAfter"]["data"]
    assert kill["triggerTime"] == (START_MS + 1_500 + 10_000) // 1_000
    assert answers["POST", f"{V1}/trade/closePosition"]["data"]["side"] == "Ask"
    assert len(answers["POST", "/openApi/user/auth/userDataStream"]["listenKey"]) == 64
    assert "code" not in answers["POST", "/openApi/user/auth/userDataStream"]


ORDER_MEMBERS = """
    symbol orderId side positionSide type origQty price executedQty avgPrice cumQuote stopPrice
    profit commission status time updateTime clientOrderId leverage takeProfit stopLoss advanceAttr
    positionID takeProfitEntrustPrice stopLossEntrustPrice orderType workingType onlyOnePosition
    reduceOnly postOnly stopGuaranteed triggerOrderId trailingStopRate trailingStopDistance
"""
POSITION_MEMBERS = """
    positionId symbol currency positionAmt availableAmt positionSide isolated avgPrice initialMargin
    margin leverage unrealizedProfit realisedProfit liquidationPrice pnlRatio maxMarginReduction
    riskRate markPrice positionValue onlyOnePosition createTime updateTime
"""
BALANCE_MEMBERS = """
    userId asset balance equity unrealizedProfit realisedProfit availableMargin usedMargin
    freezedMargin shortUid
"""
FILL_MEMBERS = """
    filledTm volume price amount commission currency orderId liquidatedPrice liquidatedMarginRatio
    filledTime clientOrderID symbol side type positionSide workingType onlyOnePosition
"""
HISTORY_MEMBERS = """
    filledTm volume price qty quoteQty commission commissionAsset orderId tradeId filledTime symbol
    role side positionSide
"""
WRAPPED_MEMBERS = """
    orderId symbol positionSide side type price quantity quoteOrderQty stopPrice workingType
    clientOrderID timeInForce priceRate stopLoss takeProfit reduceOnly activationPrice
    closePosition stopGuaranteed status avgPrice executedQty
"""
MEMBERS = [
    ("GET", ORDER, ("order",), ORDER_MEMBERS),
    ("DELETE", ORDER, ("order",), ORDER_MEMBERS),
    ("POST", ORDER, ("order",), WRAPPED_MEMBERS),
    ("GET", f"{V2}/trade/allOrders", ("orders", 0), ORDER_MEMBERS),
    ("GET", f"{V1}/trade/fullOrder", ("orders", 0), f"{ORDER_MEMBERS} isTwap mainOrderId"),
    (
        "GET",
        f"{V2}/trade/openOrders",
        ("orders", 0),
        f"{ORDER_MEMBERS} actPrice priceRate closePosition positionId",
    ),
    ("GET", f"{V2}/user/positions", (0,), POSITION_MEMBERS),
    ("GET", "/openApi/swap/v3/user/balance", (0,), BALANCE_MEMBERS),
    ("GET", "/openApi/swap/v3/user/balance", (1,), BALANCE_MEMBERS),
    ("GET", f"{V2}/trade/allFillOrders", ("fill_orders", 0), FILL_MEMBERS),
    ("GET", f"{V2}/trade/fillHistory", ("fill_history_orders", 0), HISTORY_MEMBERS),
    (
        "GET",
        f"{V2}/user/income",
        (0,),
        "symbol incomeType income asset info time tranId tradeId",
    ),
]


@pytest.mark.parametrize(("method", "path", "place", "members"), MEMBERS)
def test_members(
    method: str,
    path: str,
    place: tuple[str | int, ...],
    members: str,
    answers: dict[tuple[str, str], Any],
) -> None:
    """The rows that an account's books are made from have exactly these members."""
    row = answers[method, path]["data"]
    for step in place:
        row = row[step]
    assert row.keys() == set(members.split())
