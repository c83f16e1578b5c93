"""Nothing that lives as long as serve does grows with what it has seen.

benchmarks.flood measures the whole; here each table that once grew has its own bound.
"""

from __future__ import annotations

import asyncio

from support.engine_driver import SHORT, Desk, m, p, q

from dita import identity
from dita.clock import ManualClock
from dita.contracts import KernelCommandType, KernelEventKind, OrderSide, OrderType
from dita.venues import SubmitOrder
from dita.venues.mock import MockVenue, fet_config

MANY = 3 * identity.NAMES_MIN


def test_texts_of_the_past_are_forgotten_and_those_in_use_are_not() -> None:
    """Prices and foreign orders with ids of their own, while a position is open."""
    desk = Desk()
    desk.open(100, "0.5", side=SHORT, trade="kept")
    names = desk.engine.kernel._names
    for _ in range(MANY):
        desk.command(
            KernelCommandType.MARK_PRICE, slot_id=0, asset="FET-USDT", reference_price_e10=p("0.5")
        )
    assert len(names.intents) <= names.limit + 1
    for number in range(MANY):
        desk.event(
            KernelEventKind.FULL_FILL,
            event_id=f"event-{number}",
            asset="BTC-USDT",
            venue_order_id=f"foreign-{number}",
            client_order_id=f"theirs-{number}",
            side=OrderSide.BUY,
            quantity_e8=q(1),
            price_e10=p(1),
        )
    assert names.limit == identity.NAMES_MIN
    assert names is desk.engine.kernel._names
    for table in (names.trades, names.intents, names.venue_ids, names.orders, names.clients):
        assert len(table) <= names.limit + 1
    assert len(identity.VENUE_KEYS) <= identity.KEYS_MAX
    for cache in (identity.key_of, identity.foreign_client_key):
        assert cache.cache_info().maxsize == identity.KEYS_MAX
    assert desk.slot.trade_id == "kept"
    desk.close(100, "0.4", trade="kept")
    assert desk.realized("kept") == m("10")


def test_restored_names_have_room_before_they_are_forgotten() -> None:
    """With more in use than the least limit, forgetting must not run at every input."""
    names = identity.Names(lambda: None)
    names.intents = {number: str(number) for number in range(identity.NAMES_MIN)}
    names.set_limit()
    assert names.limit == 2 * identity.NAMES_MIN


def test_strangers_are_remembered_while_a_doubt_lasts() -> None:
    from support.floor import Floor, on_the_floor

    from dita.runtime.queries.polling import _Told

    async def scene(floor: Floor) -> None:
        floor.service.poller._told["1"] = _Told(1, True, (), 1)
        await floor.service.poller.positions()
        assert not floor.service.poller._told

    on_the_floor(scene)


def test_a_mock_that_is_told_to_forgets_the_oldest_ended_orders() -> None:
    async def play() -> MockVenue:
        venue = MockVenue(fet_config(kept=10), ManualClock(1_000))
        await venue.connect()
        resting = order("resting", OrderType.LIMIT)
        await venue.submit(resting)
        for number in range(100):
            await venue.submit(order(f"number-{number}", OrderType.MARKET))
        return venue

    book = asyncio.run(play()).book
    assert len(book.orders) <= 20
    assert len(book.fills) <= 20
    assert book.knows("resting")  # it still works
    assert book.knows("number-99")
    assert not book.knows("number-1")
    ids = [o.venue_order_id for o in book.orders]
    assert len(set(ids)) == len(ids)


def order(client_order_id: str, order_type: OrderType) -> SubmitOrder:
    limit = p("0.1") if order_type is OrderType.LIMIT else 0
    return SubmitOrder(
        client_order_id=client_order_id,
        asset="FET-USDT",
        side=OrderSide.BUY,
        order_type=order_type,
        quantity_e8=q(20),
        limit_price_e10=limit,
        reduce_only=False,
        leverage=3,
    )
