"""The whole way: kernel, runtime and BingX adapter against the local exchange, with its faults.

Each scene trades in and out while something goes wrong; at the end the exchange's own book and ours
say the same.  Real time, real sockets.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.bingx_floor import Floor, on_the_floor
from support.bingx_rig import FET

from dita.contracts import KernelEventKind, TradeStage
from dita.exchange.wire.faults import FaultKind as Fault
from dita.runtime.loop import RunState
from dita.units import MONEY_ONE
from dita.venues import OrderRef

#: The exchange's answers have four decimals; a wallet is read at the start and at the end.
MONEY_OFF = 2 * MONEY_ONE // 10_000
PLACE, CANCEL, ASK = "POST */trade/order", "DELETE */trade/order", "GET */trade/order"


def same_books(floor: Floor, orders: int = 2, limited: int = 0) -> None:
    """Flat on both sides, and the same money."""
    exchange = floor.stand.exchange
    assert exchange.positions() == []
    assert floor.engine.kernel.open_orders() == ()
    assert len(exchange.orders) == orders
    blocks = floor.venue.client.budget.blocks_total
    assert blocks.total() == limited, f"asked too often: {blocks}"
    assert abs(floor.engine.snapshot.k_capital - exchange.wallet) <= MONEY_OFF
    assert abs(floor.engine.snapshot.capital - exchange.wallet) <= MONEY_OFF


TONGUES: dict[str, dict[str, Any]] = {
    "one-way": {},
    "hedge": {"hedge": True},
    "2024": {"order_reply": "wrapped", "resting": "NEW", "cancelled": "CANCELED", "errors": "old"},
    "last-fill": {"last_fill": True, "margin_asset": "VST"},
}


@pytest.mark.parametrize("tongue", TONGUES)
def test_a_trade_ends_with_equal_books(tongue: str) -> None:
    async def scene(floor: Floor) -> None:
        assert floor.runtime.state is RunState.READY
        await floor.in_and_out()

    floor = on_the_floor(scene, **TONGUES[tongue])
    same_books(floor)
    record = floor.engine.kernel.trade("T1")
    assert record is not None and record.pnl_source == "exchange"
    sent = list(floor.stand.exchange.orders.values())
    assert [order.client_order_id for order in sent] == [
        order.client_order_id.lower() for order in sent
    ]
    assert sent[0].leverage == 2, "the leverage was set before the entry"


@pytest.mark.parametrize(
    "fault",
    [Fault.ANSWER_LOST, Fault.GATEWAY_TIMEOUT, Fault.HTML, Fault.TRUNCATED],
    ids=lambda fault: str(fault.value),
)
def test_an_order_whose_answer_is_spoilt_is_found(fault: Fault) -> None:
    async def scene(floor: Floor) -> None:
        floor.stand.fault(fault, PLACE, times=2)  # the entry's and the exit's
        await floor.in_and_out()

    same_books(on_the_floor(scene))


def test_an_order_that_never_arrived_is_proven_absent() -> None:
    async def scene(floor: Floor) -> None:
        floor.stand.fault(Fault.REQUEST_LOST, PLACE)
        assert (await floor.enter()).kernel.accepted
        await floor.until(TradeStage.ENTRY_WORKING)
        await floor.until(TradeStage.IDLE)

    same_books(on_the_floor(scene, receive_window_ms=500), orders=0)


def test_an_exit_that_never_arrived_is_sent_again() -> None:
    async def scene(floor: Floor) -> None:
        floor.stand.fault(Fault.REQUEST_LOST, PLACE, nth=2)
        await floor.in_and_out()

    same_books(on_the_floor(scene, receive_window_ms=500))


def test_a_limited_exit_goes_when_it_may() -> None:
    async def scene(floor: Floor) -> None:
        floor.stand.fault(Fault.RATE_LIMITED, PLACE, nth=2, retry_ms=1_500)
        await floor.in_and_out()

    same_books(on_the_floor(scene), limited=1)


@pytest.mark.parametrize("code", [109421, 109423])
def test_orders_that_the_exchange_shows_late(code: int) -> None:
    async def scene(floor: Floor) -> None:
        floor.stand.fault(Fault.STATUS_LAG, PLACE, times=2, ms=700, code=code)
        await floor.in_and_out()

    same_books(on_the_floor(scene))


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": Fault.EVENT_DROPPED, "on": "ORDER_TRADE_UPDATE *", "times": 0},
        {"kind": Fault.EVENT_DROPPED, "on": "*", "times": 0},
        {"kind": Fault.EVENT_DUPLICATED, "on": "*", "times": 0},
        {"kind": Fault.EVENT_REORDERED, "on": "*", "times": 0, "probability": "0.5"},
        {"kind": Fault.EVENT_DELAYED, "on": "*", "times": 0, "ms": 400},
        {"kind": Fault.PRICE_BOUND, "on": "*", "times": 0},
        {"kind": Fault.ZERO_BALANCE, "on": "*", "times": 0},
        {"kind": Fault.SOCKET_CLOSED, "on": PLACE, "times": 2},
        {"kind": Fault.LISTEN_KEY_DEATH, "on": PLACE, "times": 2},
    ],
    ids=lambda fault: f"{fault['kind'].value} {fault['on'][:5]}",
)
def test_a_stream_that_loses_or_bends_things(fault: dict[str, Any]) -> None:
    async def scene(floor: Floor) -> None:
        floor.stand.fault(**fault)
        await floor.in_and_out()

    same_books(on_the_floor(scene))


def test_a_clock_that_is_a_little_off_changes_nothing() -> None:
    async def scene(floor: Floor) -> None:
        await floor.in_and_out()

    same_books(on_the_floor(scene, shift_ms=-1_500))


def test_a_clock_that_is_far_off_stops_entries() -> None:
    async def scene(floor: Floor) -> None:
        assert (await floor.enter()).kernel.accepted
        await floor.until(TradeStage.IDLE)

    same_books(on_the_floor(scene, shift_ms=60_000), orders=0)


def test_a_rush_of_questions_and_cancels_stays_below_the_exchange_s_limits() -> None:
    async def scene(floor: Floor) -> None:
        venue = floor.venue
        refs = [OrderRef(asset=FET, client_order_id=f"nobody{i}") for i in range(12)]
        orders, cancels, *_ = await asyncio.gather(
            asyncio.gather(*(venue.order(ref) for ref in refs)),
            asyncio.gather(*(venue.cancel(ref) for ref in refs)),
            asyncio.gather(*(venue.positions() for _ in refs)),
            asyncio.gather(*(venue.all_orders(FET, 0) for _ in refs)),
        )
        assert orders == [None] * 12
        assert [event.kind for (event,) in cancels] == [KernelEventKind.CANCEL_REJECT] * 12
        assert venue.client.budget.waits_total.total() > 0

    same_books(on_the_floor(scene), orders=0)
