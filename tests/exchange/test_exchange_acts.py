"""What the local exchange and a person at its screen do beside orders, and the dialects it speaks:
halts, locks, vanished positions, resets, odd money, odd answers; over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.exchange_client import KEYS, ORDER, Desk, desk

from dita.exchange.wire.limits import STORM_ERRORS, LimitRules

V1, V2 = "/openApi/swap/v1", "/openApi/swap/v2"
FET = "FET-USDT"
POSITIONS = f"{V2}/user/positions"


def played(session: Callable[[Desk], Awaitable[None]], **settings: Any) -> None:
    """Run one session against a fresh exchange."""

    async def run() -> None:
        async with desk(**settings) as on:
            await session(on)

    asyncio.run(run())


async def close(on: Desk, quantity: int = 100) -> int:
    """Code of a reduce-only MARKET order."""
    return (await on.place(side="SELL", quantity=quantity, reduceOnly="true")).code


# -- acts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "status"), [(101415, 25), (109417, 5), (109418, 0)])
def test_a_halted_symbol_takes_no_order_until_it_is_resumed(code: int, status: int) -> None:
    async def session(on: Desk) -> None:
        await on.place()
        await on.control("POST", "halt", symbol=FET, code=code)
        assert await close(on) == code
        assert (await on.place()).code == code
        assert (await on.place(symbol="BTC-USDT", quantity="0.01")).code == 0
        (row,) = (await on.call("GET", f"{V2}/quote/contracts", symbol=FET)).data
        assert (row["status"], row["apiStateOpen"], row["apiStateClose"]) == (
            status,
            "false",
            "false",
        )
        held = (await on.call("GET", POSITIONS, symbol=FET)).data
        assert [row["positionAmt"] for row in held] == ["100"], "the position stays"
        await on.control("POST", "resume", symbol=FET)
        assert await close(on) == 0

    played(session)


def test_a_symbol_may_be_halted_for_entries_alone() -> None:
    async def session(on: Desk) -> None:
        await on.place()
        await on.control("POST", "halt", symbol=FET, code=101415, closes=True)
        assert (await on.place()).code == 101415
        assert await close(on) == 0
        assert (await on.control("POST", "halt", symbol=FET, code=109400)).code == 109400

    played(session)


@pytest.mark.parametrize("code", [101205, 101290, 110203])
def test_a_locked_quantity_refuses_the_exit_while_the_position_is_there(code: int) -> None:
    async def session(on: Desk) -> None:
        await on.place()
        await on.control("POST", "lock", symbol=FET, quantity="60", code=code)
        (row,) = (await on.call("GET", POSITIONS)).data
        assert (row["positionAmt"], row["availableAmt"]) == ("100", "40")
        assert await close(on) == code
        assert await close(on, 41) == code
        assert await close(on, 40) == 0
        await on.control("POST", "lock", symbol=FET, quantity="0")
        assert await close(on, 60) == 0

    played(session)


def test_in_hedge_mode_a_lock_is_of_one_side() -> None:
    async def session(on: Desk) -> None:
        await on.place(positionSide="LONG")
        await on.place(side="SELL", positionSide="SHORT")
        lock = {"symbol": FET, "quantity": "100", "position_side": "LONG"}
        await on.control("POST", "lock", **lock)
        assert (await on.place(side="SELL", positionSide="LONG")).code == 101205
        assert (await on.place(side="BUY", positionSide="SHORT")).code == 0

    played(session, hedge=True)


def test_in_hedge_mode_a_stranger_opens_and_closes_either_side() -> None:
    async def session(on: Desk) -> None:
        await on.place(side="SELL", positionSide="SHORT")
        for side, position_side, quantity in (("BUY", "LONG", "400"), ("BUY", "SHORT", "30")):
            await on.control(
                "POST",
                "foreign_order",
                symbol=FET,
                side=side,
                position_side=position_side,
                quantity=quantity,
            )
        rows = (await on.call("GET", POSITIONS)).data
        assert {row["positionSide"]: row["positionAmt"] for row in rows} == {
            "SHORT": "70",
            "LONG": "400",
        }

    played(session, hedge=True)


def test_a_vanished_position_leaves_no_trace() -> None:
    async def session(on: Desk) -> None:
        stream = await on.stream(await on.key())
        await on.place()
        await on.until(lambda: len(stream.events("ACCOUNT_UPDATE")) == 1)
        before = (await on.control("GET", "book")).data
        gone = (await on.control("POST", "vanish", symbol=FET)).data
        assert gone == {"gone": ["FET-USDT LONG"]}
        after = (await on.control("GET", "book")).data
        assert after["positions"] == []
        for unchanged in ("wallet", "orders", "fills", "income"):
            assert after[unchanged] == before[unchanged]
        assert await close(on) == 101205
        await on.pulses()
        assert len(stream.events("ACCOUNT_UPDATE")) == 1
        await stream.close()

    played(session)


def test_a_reset_account_remembers_nothing() -> None:
    async def session(on: Desk) -> None:
        first = (await on.place(clientOrderId="one")).data
        await on.place(type="LIMIT", price="0.4")
        await on.control("POST", "reset", wallet="100")
        book = (await on.control("GET", "book")).data
        assert (book["wallet"], book["positions"], book["orders"]) == ("100", [], [])
        assert (book["fills"], book["income"]) == ([], [])
        unknown = await on.call("GET", ORDER, symbol=FET, orderId=first["orderId"])
        assert unknown.code == 109421
        again = (await on.place(clientOrderId="one")).data
        assert again["orderId"] > first["orderId"], "ids still rise"

    played(session)


def test_money_moves_under_any_word() -> None:
    async def session(on: Desk) -> None:
        stream = await on.stream(await on.key())
        paid = {"type": "COPY_TRADE_SHARE", "symbol": FET, "amount": "-3.5"}
        assert (await on.control("POST", "pay", **paid)).data == {"wallet": "99996.5"}
        (row,) = (await on.call("GET", f"{V2}/user/income")).data
        assert (row["incomeType"], row["income"], row["symbol"]) == (
            "COPY_TRADE_SHARE",
            "-3.50000000",
            FET,
        )
        await on.until(lambda: stream.events("ACCOUNT_UPDATE"))
        await stream.close()

    played(session)


def test_any_frame_can_be_pushed() -> None:
    async def session(on: Desk) -> None:
        stream = await on.stream(await on.key())
        odd = {"e": "ORDER_TRADE_UPDATE", "o": {"s": "币安人生-USDT"}}
        await on.control("POST", "frame", frame=odd)
        await on.until(lambda: stream.heard)
        assert stream.heard == [odd]
        await stream.close()

    played(session)


# -- answers that are not what they should be ------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "rows"),
    [
        (POSITIONS, []),
        (f"{V2}/trade/openOrders", {"orders": []}),
        (f"{V2}/trade/allOrders", {"orders": []}),
        (f"{V2}/trade/fillHistory", {"fill_history_orders": []}),
        (f"{V2}/user/income", []),
    ],
)
def test_an_answer_can_be_empty_although_there_is_something(path: str, rows: Any) -> None:
    async def session(on: Desk) -> None:
        await on.place()
        await on.place(type="LIMIT", price="0.4")
        now = on.clock.now_ms()
        query = {"symbol": FET, "startTs": now - 1_000, "endTs": now, "limit": 10}
        on.fault(kind="empty", on=f"GET {path}")
        assert (await on.call("GET", path, **query)).data == rows
        assert (await on.call("GET", path, **query)).data != rows

    played(session)


def test_an_answer_can_have_an_odd_row() -> None:
    async def session(on: Desk) -> None:
        await on.place()
        on.fault(kind="odd_row", on=f"GET {POSITIONS}", msg='{"symbol":"币安人生-USDT"}')
        odd, ours = (await on.call("GET", POSITIONS)).data
        assert (odd, ours["symbol"]) == ({"symbol": "币安人生-USDT"}, FET)
        on.fault(kind="odd_row", on="GET */trade/openOrders", msg="null")
        assert (await on.call("GET", f"{V2}/trade/openOrders")).data == {"orders": [None]}

    played(session)


def test_errors_of_a_fault_count_as_the_exchange_counts_them() -> None:
    """Twenty equal ones within eight minutes, and the endpoint is blocked, also for good calls."""

    async def session(on: Desk) -> None:
        rule = {"kind": "refused", "on": "POST */trade/order", "code": 101205, "msg": "no position"}
        on.fault(**rule, times=STORM_ERRORS)
        for _ in range(STORM_ERRORS):
            assert (await on.place()).code == 101205
            on.clock.advance_ms(1_000)
        blocked = await on.place()
        assert blocked.code == 109429
        assert "over 20 error code:101205 requests within 480000 ms" in blocked.json["msg"]
        on.clock.advance_ms(480_000)
        assert (await on.place()).code == 0

    played(session, limits=LimitRules(headers=False))


def test_a_rate_limit_of_a_fault_does_not_count_as_an_error() -> None:
    async def session(on: Desk) -> None:
        on.fault(kind="rate_limited", on="POST */trade/order", times=STORM_ERRORS)
        for _ in range(STORM_ERRORS):
            assert (await on.place()).code == 100410
            on.clock.advance_ms(1_000)
        assert (await on.place()).code == 0

    played(session, limits=LimitRules(headers=False))


# -- dialects --------------------------------------------------------------------------------------


def test_a_listen_key_is_extended_with_an_envelope_or_without() -> None:
    async def bare(on: Desk) -> None:
        key = await on.key()
        assert (await on.call("PUT", KEYS, listenKey=key)).body == b""
        assert (await on.call("PUT", KEYS, listenKey="unknown")).status == 404

    async def enveloped(on: Desk) -> None:
        key = await on.key()
        assert (await on.call("PUT", KEYS, listenKey=key)).data == {}
        assert (await on.call("PUT", KEYS, listenKey="unknown")).status == 404
        assert (await on.call("DELETE", KEYS, listenKey=key)).data == {}

    played(bare)
    played(enveloped, key_reply="enveloped")


def test_a_cancel_is_answered_wrapped_or_flat() -> None:
    async def session(on: Desk, *, flat: bool) -> None:
        placed = (await on.place(type="LIMIT", price="0.4")).data
        order_id = placed["orderId"]
        data = (await on.call("DELETE", ORDER, symbol=FET, orderId=order_id)).data
        assert (data if flat else data["order"])["orderId"] == order_id
        assert ("order" in data) is not flat

    played(lambda on: session(on, flat=False))
    played(lambda on: session(on, flat=True), cancel_reply="flat")


def test_closed_positions_come_wrapped_or_bare() -> None:
    async def session(on: Desk, *, bare: bool) -> None:
        await on.place()
        await close(on)
        data = (await on.call("GET", f"{V1}/trade/positionHistory", symbol=FET)).data
        (row,) = data if bare else data["positionHistory"]
        assert row["symbol"] == FET

    played(lambda on: session(on, bare=False))
    played(lambda on: session(on, bare=True), position_history="bare")


@pytest.mark.parametrize(
    "path", ["v3/quote/klines", "v2/quote/klines", "v1/market/markPriceKlines"]
)
def test_candles_have_no_holes_while_the_price_stands_still(path: str) -> None:
    async def session(on: Desk) -> None:
        on.clock.advance_ms(7 * 60_000)
        await on.control("POST", "price", symbol=FET, price="0.6")
        on.clock.advance_ms(5 * 60_000)
        query = {"symbol": FET, "interval": "1m", "limit": 20}
        rows = (await on.call("GET", f"/openApi/swap/{path}", **query)).data
        times = [row.get("time", row.get("openTime")) for row in rows]
        assert times == list(range(times[0], times[0] - 13 * 60_000, -60_000))
        assert [row["close"] for row in rows] == ["0.6000"] * 6 + ["0.5000"] * 7

    played(session)


def test_a_pause_longer_than_what_is_kept_leaves_the_newest_minutes() -> None:
    async def session(on: Desk) -> None:
        on.clock.advance_ms(3 * 86_400_000)
        query = {"symbol": FET, "interval": "1m", "limit": 1_440}
        rows = (await on.call("GET", "/openApi/swap/v3/quote/klines", **query)).data
        assert len(rows) == 1_440
        assert rows[0]["time"] == on.clock.now_ms() // 60_000 * 60_000

    played(session)


# -- trailing orders, margin, transfers ------------------------------------------------------------


async def move(on: Desk, *prices: str) -> None:
    for price in prices:
        await on.control("POST", "price", symbol=FET, price=price)


@pytest.mark.parametrize("distance", [{"priceRate": "0.1"}, {"price": "0.06"}])
def test_a_trailing_stop_follows_the_price_and_fires_behind_it(distance: dict[str, str]) -> None:
    async def session(on: Desk) -> None:
        await on.place()
        stop = {"type": "TRAILING_STOP_MARKET", "side": "SELL", "reduceOnly": "true", **distance}
        placed = (await on.place(**stop)).data
        await move(on, "0.55", "0.6", "0.56")
        assert len((await on.call("GET", POSITIONS)).data) == 1
        await move(on, "0.54")
        assert (await on.call("GET", POSITIONS)).data == []
        order = await on.call("GET", ORDER, symbol=FET, orderId=placed["orderId"])
        assert order.data["order"]["status"] == "FILLED"

    played(session)


def test_a_trailing_stop_begins_where_it_is_told_to() -> None:
    async def session(on: Desk) -> None:
        await on.place(side="SELL")
        stop = {"type": "TRAILING_TP_SL", "side": "BUY", "reduceOnly": "true"}
        await on.place(**stop, priceRate="0.1", activationPrice="0.4")
        await move(on, "0.45", "0.55", "0.41")
        assert len((await on.call("GET", POSITIONS)).data) == 1, "it has not begun yet"
        await move(on, "0.4", "0.39", "0.42")
        assert len((await on.call("GET", POSITIONS)).data) == 1
        await move(on, "0.43")
        assert (await on.call("GET", POSITIONS)).data == []

    played(session)


def test_a_trailing_stop_needs_its_distance() -> None:
    async def session(on: Desk) -> None:
        await on.place()
        refused = await on.place(type="TRAILING_STOP_MARKET", side="SELL", reduceOnly="true")
        assert refused.code == 109400

    played(session)


def test_margin_is_added_to_an_isolated_position_and_taken_away_again() -> None:
    margin = f"{V2}/trade/positionMargin"

    async def session(on: Desk) -> None:
        await on.call("POST", f"{V2}/trade/marginType", symbol=FET, marginType="ISOLATED")
        await on.place()
        (before,) = (await on.call("GET", POSITIONS)).data
        added = await on.call("POST", margin, symbol=FET, amount="3", type=1)
        assert (added.json["code"], added.json["amount"], added.json["type"]) == (0, 3, 1)
        (after,) = (await on.call("GET", POSITIONS)).data
        assert float(after["initialMargin"]) == float(before["initialMargin"]) + 3
        assert after["liquidationPrice"] < before["liquidationPrice"]
        assert (await on.call("POST", margin, symbol=FET, amount="4", type=2)).code == 109400
        assert (await on.call("POST", margin, symbol=FET, amount="3", type=2)).code == 0
        assert (await on.call("GET", POSITIONS)).data == [before]

    async def crossed(on: Desk) -> None:
        await on.place()
        assert (await on.call("POST", margin, symbol=FET, amount="3", type=1)).code == 101479

    played(session)
    played(crossed)


def test_money_is_transferred_into_and_out_of_the_account() -> None:
    path = "/openApi/api/asset/v1/transfer"

    async def session(on: Desk) -> None:
        there = {"fromAccount": "fund", "toAccount": "USDTMPerp", "asset": "USDT"}
        back = {"fromAccount": "USDTMPerp", "toAccount": "fund", "asset": "USDT"}
        first = (await on.call("POST", path, **there, amount="50")).data
        second = (await on.call("POST", path, **back, amount="20")).data
        rows = (await on.call("GET", f"{V2}/user/income", incomeType="TRANSFER")).data
        assert [row["income"] for row in rows] == ["50.00000000", "-20.00000000"]
        assert [row["tranId"] for row in rows] == [first["transferId"], second["transferId"]]
        nowhere = {"fromAccount": "fund", "toAccount": "spot", "asset": "USDT", "amount": "1"}
        assert (await on.call("POST", path, **nowhere)).code == 100400

    played(session)
