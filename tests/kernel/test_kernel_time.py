"""The kernel's clock under a running service: a wall clock that jumps, a sleep, restarts.

Waits end when their time has gone by, and ages grow, whatever anybody does to the wall clock.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from support.engine_driver import p
from support.floor import Floor, on_the_floor

from dita.clock import ManualClock
from dita.contracts import (
    KernelCommandType,
    KernelIntent,
    OrderType,
    TradeStage,
)
from dita.contracts import KernelDiagnosticCode as Code
from dita.runtime import node
from dita.runtime.loop import Runtime
from dita.runtime.node import Node
from dita.runtime.operations.status import status_of
from dita.runtime.queries.order_query import OrderQuery
from dita.runtime.service import Cadence, Service
from dita.runtime.state.directory import prepared
from dita.runtime.world import World
from dita.simulation.virtual_time import run
from dita.venues import OrderRef
from dita.venues.mock import Do, MockVenue, Rule, Verb, fet_config

HOUR_MS = 3_600_000


async def opened(floor: Floor) -> None:
    await floor.enter()
    await floor.until(TradeStage.POSITION_OPEN)
    await floor.wait(lambda: not floor.engine.kernel.open_orders(), 10, "final")


def quote(trade: str = "T1", working_ms: int = 2_000) -> KernelIntent:
    """An exit that rests for two seconds, and goes at any price then."""
    return KernelIntent(
        command=KernelCommandType.EXIT,
        received_ms=1,
        intent_id="quote",
        trade_id=trade,
        order_type=OrderType.LIMIT,
        limit_price_e10=p("0.4"),
        working_ms=working_ms,
    )


@pytest.mark.parametrize("step_ms", [3 * HOUR_MS, -HOUR_MS], ids=["forward", "back"])
@pytest.mark.parametrize("for_s", [6, 10**6], ids=["for 6 s", "for good"])
def test_a_wall_clock_that_jumps_moves_no_wait(step_ms: int, for_s: int) -> None:
    async def scene(floor: Floor) -> None:
        await opened(floor)
        before_ms = floor.runtime.time.now_ms()
        floor.clock.step_wall_ms(step_ms)
        await asyncio.sleep(min(for_s, 6))
        if for_s == 6:
            floor.clock.step_wall_ms(-step_ms)
        assert floor.runtime.time.now_ms() - before_ms == 6_000
        began_s = asyncio.get_running_loop().time()
        assert (await floor.runtime.ask(quote())).kernel.accepted
        await floor.until(TradeStage.IDLE, 10)
        assert 2 <= asyncio.get_running_loop().time() - began_s < 4
        assert len(floor.venue.book.orders) == 3  # entry, quote, and what replaced it

    on_the_floor(scene)


def test_an_old_balance_stops_entries_whatever_the_wall_clock_says() -> None:
    async def scene(floor: Floor) -> None:
        dead = (
            Rule(verb=Verb.BALANCE, do=Do.FAIL, times=0),
            Rule(verb=Verb.STREAM, do=Do.DROP, times=0),
        )
        floor.venue.set_script(dead)
        floor.clock.step_wall_ms(3 * HOUR_MS)
        await asyncio.sleep(6)
        floor.clock.step_wall_ms(-3 * HOUR_MS)
        await asyncio.sleep(69)
        shown = status_of(floor.service, epoch=1, settings_hash="")
        assert 70_000 <= shown["age_ms"]["balance"] <= 80_000
        assert (await floor.enter()).kernel.code is Code.BALANCE_STALE

    on_the_floor(scene)


def test_ages_are_those_of_one_clock_and_none_is_negative() -> None:
    async def scene(floor: Floor) -> None:
        await opened(floor)
        floor.clock.step_wall_ms(-HOUR_MS)
        await asyncio.sleep(3)
        ages = status_of(floor.service, epoch=1, settings_hash="")["age_ms"]
        assert all(-1 <= age <= 60_000 for age in ages.values()), ages
        shown = status_of(floor.service, epoch=1, settings_hash="")
        assert shown["now_ms"] - shown["wall_ms"] == HOUR_MS

    on_the_floor(scene)


def test_time_that_the_machine_slept_counts() -> None:
    """A quote of two seconds, a minute of sleep: it is over when the machine is back."""

    async def scene(floor: Floor) -> None:
        await opened(floor)
        await floor.runtime.ask(quote(working_ms=50_000))
        began_s = asyncio.get_running_loop().time()
        floor.clock.suspend_ms(60_000)
        await floor.until(TradeStage.IDLE, 10)
        assert asyncio.get_running_loop().time() - began_s < 5

    on_the_floor(scene)


@pytest.mark.parametrize("skew_ms", [-HOUR_MS, HOUR_MS])
def test_the_venues_time_is_a_quantity_of_its_own(skew_ms: int) -> None:
    """An hour ahead or behind: anchors are taken, funding is in the books, nothing locks."""

    async def scene(floor: Floor) -> None:
        offset_ms = floor.engine.kernel.ledger().exchange_offset_ms
        assert abs(offset_ms - skew_ms) < 100
        await opened(floor)
        floor.venue.fund("FET-USDT", 100_000)
        await asyncio.sleep(3)
        await floor.service.poller.income()
        await floor.order_query.balance()
        assert floor.engine.snapshot.funding == floor.engine.kernel.ledger().funding != 0
        assert floor.engine.snapshot.drift == 0
        await floor.exit()
        await floor.until(TradeStage.IDLE)

    on_the_floor(scene, fet_config(clock_skew_ms=skew_ms))


def test_after_a_restart_the_venues_time_comes_before_what_its_orders_say() -> None:
    """Its clock was moved while nobody was there: fills are dated by it, and none is clamped."""

    async def play() -> None:
        floor = Floor(fet_config(rules=(Rule(verb=Verb.SUBMIT, do=Do.PARTIAL),)))
        await floor.service.start()
        await floor.enter()
        await floor.wait(lambda: bool(floor.venue.book.orders), 5, "an order")
        await asyncio.sleep(1)
        await floor.service.close()
        floor.venue.config = replace(floor.venue.config, clock_skew_ms=HOUR_MS)
        await floor.venue.connect()
        (order,) = floor.venue.book.orders
        floor.venue.fill(OrderRef(asset=order.asset, client_order_id=order.client_order_id))
        after = Runtime(engine=floor.engine, log=floor.log, venue=floor.venue, clock=floor.clock)
        order_query = OrderQuery(after, absence_fence_ms=100)
        service = Service(after, order_query, Cadence(tick_ms=20, drain_limit_s=3))
        await service.start()
        assert floor.engine.kernel.slot(0).size_e8 == order.quantity_e8
        assert floor.engine.kernel.ledger().clamped == 0
        await service.close()

    run(play())


def test_a_venue_whose_clock_is_moved_is_believed_again_after_a_time_sync() -> None:
    async def scene(floor: Floor) -> None:
        floor.venue.config = replace(floor.venue.config, clock_skew_ms=HOUR_MS)
        before = floor.service.feeds.balance_ms
        await asyncio.sleep(90)
        assert abs(floor.engine.kernel.ledger().exchange_offset_ms - HOUR_MS) < 3_000
        assert floor.service.feeds.balance_ms > before
        await floor.wait(lambda: not floor.engine.snapshot.ambiguous, 60, "quiet")
        assert (await floor.enter()).kernel.accepted

    on_the_floor(scene)


def test_after_a_gap_the_venues_time_comes_before_what_its_orders_say() -> None:
    """The same without a restart: the frame of the fill is lost, and so is the clock it is by."""

    async def scene(floor: Floor) -> None:
        floor.venue.set_script([Rule(verb=Verb.SUBMIT, do=Do.PARTIAL)])
        await floor.enter()
        await floor.wait(lambda: bool(floor.venue.book.orders), 5, "an order")
        await asyncio.sleep(1.3)  # between two regular queries of the order
        floor.venue.end_stream()
        floor.venue.config = replace(floor.venue.config, clock_skew_ms=HOUR_MS)
        (order,) = floor.venue.book.orders
        floor.venue.fill(OrderRef(asset=order.asset, client_order_id=order.client_order_id))
        kernel = floor.engine.kernel
        await floor.wait(lambda: kernel.slot(0).size_e8 == order.quantity_e8, 30, "the fill")
        assert abs(kernel.ledger().exchange_offset_ms - HOUR_MS) < 3_000
        assert kernel.ledger().clamped == 0

    on_the_floor(scene)


# -- across restarts -------------------------------------------------------------------------------


def node_at(folder: Path, clock: Any, monkeypatch: pytest.MonkeyPatch) -> Node:
    def mock(settings: object, clock: object, *, demo: bool = False) -> MockVenue:
        return MockVenue(fet_config(), ManualClock(1), pulse_ms=10)

    monkeypatch.setattr(node, "venue_of", mock)
    config = folder / "pink.toml"
    config.write_text(
        '[venue]\nkind = "mock"\nenvironment = "mock"\n[kernel]\nnamespace = "test"\n'
        "[journal]\nsegment_bytes = 1048576\nreserve_bytes = 65536\n"
    )
    settings, directory = prepared(config, folder / "state", {})
    return Node(settings, directory, World.of_machine(clock))


def restarted(
    folder: Path, first: ManualClock, second: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> tuple[int, int]:
    """Kernel time at the end of one process, and at the start of the next."""

    async def once(clock: ManualClock) -> tuple[int, int]:
        node = node_at(folder, clock, monkeypatch)
        try:
            began_ms = node.runtime.time.now_ms()
            await node.service.begin()  # a record
            return began_ms, node.runtime.engine.kernel.now_ms
        finally:
            await node.service.close()
            node.close()

    _, ended_ms = asyncio.run(once(first))
    began_ms, _ = asyncio.run(once(second))
    return ended_ms, began_ms


def test_time_goes_on_over_a_restart_as_the_machine_counts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three minutes between two processes, while the wall clock is three hours off."""
    clock = ManualClock(10 * HOUR_MS, "this boot")
    later = ManualClock(10 * HOUR_MS + 3 * HOUR_MS, "this boot")
    later.advance_ms(180_000)
    later.set_wall_ms(13 * HOUR_MS)
    ended_ms, began_ms = restarted(tmp_path, clock, later, monkeypatch)
    assert ended_ms == 10 * HOUR_MS
    assert began_ms - ended_ms == 180_000


@pytest.mark.parametrize(
    ("wall_ms", "passed_ms"), [(11 * HOUR_MS, HOUR_MS), (9 * HOUR_MS, 0)], ids=["later", "earlier"]
)
def test_after_another_boot_the_wall_clock_alone_can_tell_and_never_backwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wall_ms: int, passed_ms: int
) -> None:
    clock, later = ManualClock(10 * HOUR_MS, "one"), ManualClock(wall_ms, "two")
    later.advance_ms(0)
    ended_ms, began_ms = restarted(tmp_path, clock, later, monkeypatch)
    assert began_ms - ended_ms == passed_ms
