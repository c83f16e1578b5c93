"""What of a position is ours: the journal's sizes, and what own orders filled since.

Every case is a list of orders as an exchange would give it, and the quantity that may be closed.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dita.contracts import OrderSide, OrderType, VenueOrderStatus
from dita.identity import client_order_id
from dita.runtime.emergency.owned import Known, closable, own_size, said
from dita.venues import OrderReport, PositionReport

BUY, SELL = OrderSide.BUY, OrderSide.SELL
OURS = [client_order_id("test", 1, f"intent-{number}", 0) for number in range(4)]
CLOSED_BY_US = "flatten0" + "a" * 24
NOTHING = Known({}, {}, frozenset())


def order(
    client: str, side: OrderSide, filled: int, updated_ms: int = 5_000, venue: str = ""
) -> Any:
    return OrderReport(
        client_order_id=client, venue_order_id=venue or client[:9], asset="FET-USDT", side=side,
        order_type=OrderType.MARKET, status=VenueOrderStatus.FILLED, quantity_e8=filled,
        filled_e8=filled, average_price_e10=1, fee=0, realized=0, updated_ms=updated_ms,
    )  # fmt: skip


def position(side: OrderSide, quantity: int) -> PositionReport:
    return PositionReport(
        asset="FETUSDT", side=side, quantity_e8=quantity, average_price_e10=1, leverage=1,
        updated_ms=1,
    )  # fmt: skip


def close(live: PositionReport, known: Known, *orders: OrderReport) -> int:
    async def orders_of(asset: str, since_ms: int) -> list[OrderReport]:
        assert (asset, since_ms) == (live.asset, 0)
        return list(orders)

    return closable(live, asyncio.run(own_size(live, known, orders_of)))


@pytest.mark.parametrize(
    ("live", "orders", "ours"),
    [
        (position(SELL, 500), [order(OURS[0], SELL, 500)], 500),
        (position(SELL, 500), [order(OURS[0].upper(), SELL, 500)], 500),  # as a venue may write it
        (position(SELL, 500), [order("by-hand", SELL, 500)], 0),
        (position(SELL, 500), [order("", SELL, 500)], 0),
        (position(SELL, 900), [order(OURS[0], SELL, 500), order("by-hand", SELL, 400)], 500),
        (position(SELL, 200), [order(OURS[0], SELL, 500)], 200),  # others closed some of it
        (position(BUY, 300), [order(OURS[0], SELL, 500)], 0),  # others turned it round
        (position(SELL, 500), [order(OURS[0], SELL, 500), order(OURS[1], BUY, 200)], 300),
        (position(SELL, 500), [order(OURS[0], SELL, 500), order(CLOSED_BY_US, BUY, 500)], 0),
        (position(SELL, 500), [order(OURS[0], OrderSide.UNKNOWN, 500)], 0),
        (position(SELL, 500), [], 0),
    ],
)
def test_without_a_journal_own_ids_decide(live: Any, orders: list[Any], ours: int) -> None:
    assert close(live, NOTHING, *orders) == ours


def test_what_the_journal_knows_is_not_counted_twice() -> None:
    known = Known({("FETUSDT", 0): -500}, {OURS[0]: 500}, frozenset({OURS[0], OURS[1], "v9"}))
    live = position(SELL, 9_000)
    assert close(live, known, order(OURS[0], SELL, 500)) == 500
    assert close(live, known, order(OURS[0], SELL, 700)) == 700  # it filled more since
    assert close(live, known, order(OURS[1], SELL, 400)) == 500  # of a trade that was over
    assert close(live, known, order(CLOSED_BY_US, BUY, 400, venue="v9")) == 500  # booked already
    assert close(live, known, order(OURS[2], SELL, 100)) == 600  # behind the damage
    assert close(live, known, order(CLOSED_BY_US, BUY, 400)) == 100


def test_an_older_journal_s_orders_are_not_this_one_s() -> None:
    known = Known({}, {}, frozenset(), since_ms=5_000)
    live = position(SELL, 9_000)
    assert close(live, known, order(OURS[0], SELL, 500, 4_999)) == 0
    assert close(live, known, order(OURS[0], SELL, 500, 5_000)) == 500


def test_hedge_mode_takes_each_side_for_itself() -> None:
    sizes = {("FETUSDT", 1): 300, ("FETUSDT", -1): -500}
    known = Known(sizes, {}, frozenset(), hedge=True)
    long, short = position(BUY, 9_000), position(SELL, 9_000)
    assert (close(long, known), close(short, known)) == (300, 500)
    out = order(CLOSED_BY_US, SELL, 100)  # what an emergency sells closes the long side
    assert (close(long, known, out), close(short, known, out)) == (200, 500)
    unclear = order(OURS[2], SELL, 100)
    assert (close(long, known, unclear), close(short, known, unclear)) == (0, 0)


def test_a_person_s_word_counts_from_now_on() -> None:
    live = position(SELL, 9_000)
    before = [order(OURS[0], SELL, 500), order("by-hand", SELL, 8_500)]
    known = said(live, 400, before)
    assert close(live, known, *before) == 400
    assert close(live, known, *before, order(CLOSED_BY_US, BUY, 400)) == 0
    assert close(live, known, *before, order(CLOSED_BY_US, BUY, 150)) == 250
