"""How a service starts and keeps its balance fresh: wrong keys, differences at a restart, anchors.

On the mock venue, through the runtime's own parts, in virtual time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec.structs import replace
from support.floor import Floor, MemoryLog, on_the_floor, round_trip

from dita.contracts import KernelDiagnosticCode as Code
from dita.contracts import OrderSide, TradeStage
from dita.engine import Engine
from dita.errors import VenueError
from dita.runtime.loop import RunState, Runtime
from dita.runtime.queries.order_query import OrderQuery
from dita.runtime.service import Cadence, Service
from dita.simulation.virtual_time import run
from dita.units import QUANTITY_ONE
from dita.venues import AccessRefused, BalanceReport
from dita.venues.mock import Do, MockVenue, Rule, Verb, fet_config


@dataclass
class Refusing:
    """A venue that does not let us in."""

    error: Callable[[str], VenueError]
    attempts: int = 0
    times: int = 99
    inner: MockVenue | None = None
    receive_window_ms: int = field(default=5_000)

    async def connect(self) -> None:
        self.attempts += 1
        if self.attempts <= self.times:
            raise self.error("no")
        assert self.inner is not None
        await self.inner.connect()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def start_on(venue: Refusing, floor_of: Callable[[], Floor]) -> None:
    async def scene() -> None:
        floor = floor_of()
        venue.inner = floor.venue
        floor.runtime.venue = venue
        try:
            await floor.service.start()
        finally:
            await floor.service.close()

    run(scene())


def test_a_refused_key_is_not_tried_again() -> None:
    venue = Refusing(AccessRefused)
    with pytest.raises(AccessRefused):
        start_on(venue, lambda: Floor(fet_config()))
    assert venue.attempts == 1


def test_a_refused_key_ends_no_start_with_a_position_open() -> None:
    """Who would find out otherwise that it is open?  Once a minute, and entries are refused."""

    async def scene() -> None:
        floor = Floor(fet_config())
        await floor.service.start()
        await floor.enter()
        await floor.until(TradeStage.POSITION_OPEN)
        await floor.service.close()
        refusing = Refusing(AccessRefused, times=2, inner=floor.venue)
        after = restarted(floor.engine, floor.venue, floor, reconcile=True)
        after.runtime.venue = refusing
        began_ms = floor.clock.now_ms()
        start = asyncio.ensure_future(after.start())
        await asyncio.sleep(90)
        assert refusing.attempts == 2
        assert "not ready" in after.runtime.engine.kernel.freeze_causes()
        assert "access refused" in [alarm.name for alarm in after.runtime.alarms.active]
        await start
        assert 120_000 <= floor.clock.now_ms() - began_ms < 130_000
        assert after.runtime.state is RunState.READY
        await after.close()

    run(scene())


def test_a_venue_that_is_away_is_tried_again() -> None:
    venue = Refusing(VenueError, times=2)
    start_on(venue, lambda: Floor(fet_config()))
    assert venue.attempts == 3


# -- reconcile_on_restart --------------------------------------------------------------------------


def restarted(before: Engine, venue: MockVenue, floor: Floor, *, reconcile: bool) -> Service:
    """A service on the state that another one left behind."""
    engine = Engine.restore(before.save())
    runtime = Runtime(engine=engine, log=MemoryLog(), venue=venue, clock=floor.clock)
    order_query = OrderQuery(runtime, absence_fence_ms=100)
    service = Service(runtime, order_query, Cadence(tick_ms=20, in_flight_s=1, drain_limit_s=3))
    service.reconcile_on_restart = reconcile
    return service


@pytest.mark.parametrize("reconcile", [True, False])
@pytest.mark.parametrize("changed", [True, False])
def test_off_means_compare_and_hold_and_never_skip(reconcile: bool, changed: bool) -> None:
    async def scene() -> None:
        floor = Floor(fet_config())
        await floor.service.start()
        await floor.enter()
        await floor.until(TradeStage.POSITION_OPEN)
        await floor.wait(lambda: not floor.engine.kernel.open_orders(), 10, "final")
        await floor.wait(lambda: not floor.engine.snapshot.ambiguous, 10, "a quiet anchor")
        await floor.service.close()
        await floor.venue.connect()
        if changed:  # closed by hand while nobody was there
            floor.venue.trade_by_hand("FET-USDT", OrderSide.BUY, 400 * QUANTITY_ONE)
        after = restarted(floor.engine, floor.venue, floor, reconcile=reconcile)
        await after.start()
        await after.poller.positions()
        held = changed and not reconcile
        assert after.runtime.state is (RunState.HOLD if held else RunState.READY)
        assert ("differences from the exchange" in after.held_because) is held
        # Never skipped: what happened outside is in the slot, held or not.
        size = after.runtime.engine.kernel.slot(0).size_e8
        assert size == (600 if changed else 1_000) * QUANTITY_ONE
        await after.close()

    run(scene())


def test_the_first_start_has_nothing_to_compare() -> None:
    async def scene() -> None:
        floor = Floor(fet_config())
        floor.service.reconcile_on_restart = False
        await floor.service.start()
        assert floor.runtime.state is RunState.READY
        await floor.service.close()

    run(scene())


def test_no_answer_is_not_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dita.runtime.service.RETRY_MAX_S", 0.01)

    async def scene() -> None:
        floor = Floor(fet_config())
        await floor.service.start()
        await round_trip(floor)
        await floor.service.close()
        await floor.venue.connect()
        floor.venue.trade_by_hand("FET-USDT", OrderSide.BUY, 400 * QUANTITY_ONE)
        floor.venue.set_script([Rule(verb=Verb.POSITIONS, do=Do.FAIL, times=3)])
        after = restarted(floor.engine, floor.venue, floor, reconcile=False)
        await after.start()
        assert after.runtime.state is RunState.HOLD
        await after.close()

    run(scene())


# -- a quiet anchor soon ---------------------------------------------------------------------------


class LateBalances:
    """Balances that were asked for just before the newest fill, until they are let go."""

    def __init__(self, floor: Floor) -> None:
        self.asked = 0
        self.late = True
        self._floor = floor
        self._balance = floor.venue.balance
        floor.venue.balance = self.balance  # type: ignore[method-assign]

    async def balance(self) -> BalanceReport:
        self.asked += 1
        report = await self._balance()
        fills = self._floor.venue.book.fills
        if not self.late or not fills:
            return report
        return replace(report, requested_ms=fills[-1].report.filled_ms - 1)


async def unquiet(floor: Floor) -> LateBalances:
    """In and out, and no balance yet that surely has all of it."""
    floor.service.cadence = Cadence(tick_ms=20, in_flight_s=1, balance_s=3_000, drain_limit_s=3)
    floor.service.balance_due.set()  # it waits for that long from now on
    late = LateBalances(floor)
    await floor.enter()
    await floor.until(TradeStage.POSITION_OPEN)
    await floor.exit()
    await floor.until(TradeStage.IDLE)
    await floor.wait(lambda: not floor.service.balance_due.is_set(), 10, "asked")
    assert floor.engine.kernel.ledger().ambiguous_count
    return late


def test_no_entry_waits_a_cadence_for_a_quiet_anchor() -> None:
    async def scene(floor: Floor) -> None:
        late = await unquiet(floor)
        asked = late.asked
        await floor.wait(lambda: late.asked >= asked + 2, 20, "asked again")
        late.late = False
        await floor.wait(lambda: not floor.engine.kernel.ledger().ambiguous_count, 20, "quiet")

    on_the_floor(scene)


def test_a_refused_entry_asks_for_the_balance_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dita.runtime.service.UNQUIET_S", 3_000)

    async def scene(floor: Floor) -> None:
        late = await unquiet(floor)
        late.late = False
        refused = await floor.enter("T2")
        assert refused.kernel.code is Code.ANCHOR_NOT_QUIET
        await floor.wait(lambda: not floor.engine.kernel.ledger().ambiguous_count, 20, "quiet")
        assert (await floor.enter("T3")).kernel.accepted
        await floor.until(TradeStage.POSITION_OPEN)
        await floor.exit("T3")
        await floor.until(TradeStage.IDLE)

    on_the_floor(scene)
