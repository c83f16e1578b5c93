"""The gate for new risk: closed first of all and at each gap, open when everything was answered.

Exits and holds pass in every state.  In virtual time, on the mock venue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.engine_driver import SHORT, q
from support.floor import Floor, MemoryLog, on_the_floor

from dita.contracts import (
    ControlAction,
    KernelCommandType,
    KernelIntent,
    OrderSide,
    RiskLimit,
    TradeStage,
)
from dita.contracts import KernelDiagnosticCode as Code
from dita.engine import Engine, Outcome
from dita.runtime.loop import RunState, Runtime
from dita.runtime.queries.order_query import OrderQuery
from dita.runtime.service import Cadence, Service
from dita.simulation.virtual_time import run
from dita.units import parse_money
from dita.venues import StreamState
from dita.venues.mock import Do, MockVenue, Noise, Rule, Verb, fet_config

FET, TRX = "FET-USDT", "TRX-USDT"


def gate(log: MemoryLog) -> list[ControlAction]:
    """What the kernel was told about the gate, in order."""
    told = [r.action for r in log.records if isinstance(r, KernelIntent) and r.action is not None]
    return [a for a in told if a in (ControlAction.NOT_READY, ControlAction.READY)]


def is_shut(outcome: Outcome) -> bool:
    """Was it refused because of the gate, by name?"""
    done = outcome.kernel
    return done.code is Code.ENTRIES_FROZEN and "not ready" in str(done.details["causes"])


def test_the_first_record_of_a_start_closes_the_gate_and_the_last_opens_it() -> None:
    async def scene(floor: Floor) -> None:
        first = floor.log.records[0]
        assert isinstance(first, KernelIntent)
        assert first.action is ControlAction.NOT_READY
        assert gate(floor.log) == [ControlAction.NOT_READY, ControlAction.READY]
        kinds = [type(r).__name__ for r in floor.log.records]
        assert kinds.index("VenueEvent") > 0

    on_the_floor(scene)


def restarted(floor: Floor) -> Floor:
    """The same floor after its process was killed: a new service on what the journal holds."""
    after = Floor.__new__(Floor)
    after.clock, after.venue, after.log = floor.clock, floor.venue, MemoryLog()
    after.engine = Engine.restore(floor.engine.save())
    after.runtime = Runtime(
        engine=after.engine, log=after.log, venue=after.venue, clock=after.clock
    )
    after.order_query = OrderQuery(after.runtime, absence_fence_ms=100)
    cadence = Cadence(tick_ms=20, in_flight_s=1, drain_limit_s=3)
    after.service = Service(after.runtime, after.order_query, cadence)
    return after


async def killed(floor: Floor) -> Floor:
    """Kill a floor that has a position of its own, and make its successor."""
    await floor.service.start()
    await floor.enter()
    await floor.until(TradeStage.POSITION_OPEN)
    await floor.wait(lambda: not floor.engine.kernel.open_orders(), 10, "final")
    assert gate(floor.log)[-1] is ControlAction.READY  # and so says the state that is restored
    await floor.runtime.stop_tasks(1)
    assert floor.service._worker is not None
    floor.service._worker.cancel()
    return restarted(floor)


def test_no_entry_while_positions_are_not_answered_and_exits_go() -> None:
    """Killed; a stranger opens a position; at the restart the question about positions fails."""

    async def play() -> None:
        after = await killed(Floor(fet_config()))
        after.venue.trade_by_hand(TRX, OrderSide.SELL, q(5000))
        after.venue.set_script([Rule(verb=Verb.POSITIONS, do=Do.FAIL, times=0)])
        start = asyncio.ensure_future(after.service.start())
        await asyncio.sleep(30)
        assert after.runtime.state.name == "RECONCILING"
        assert is_shut(await after.enter("T2", TRX))
        assert (await after.service.control(ControlAction.HOLD, "test", "me")).kernel.accepted
        assert (await after.exit()).kernel.accepted
        await after.wait(lambda: after.engine.kernel.slot(0).size_e8 == 0, 10, "out")
        held = [p.asset for p in after.venue.book.position_reports()]
        assert held == [TRX]  # ours is closed, and nothing was added to theirs
        after.venue.set_script([])
        await start
        await after.service.control(ControlAction.RESUME, "test", "me")
        assert after.runtime.state is RunState.READY
        assert (await after.enter("T3", TRX)).kernel.code is Code.FOREIGN_POSITION
        await after.service.close()

    run(play())


@pytest.mark.parametrize("verb", [Verb.ORDER, Verb.POSITIONS, Verb.BALANCE])
def test_each_of_the_three_questions_keeps_the_gate_shut(verb: Verb) -> None:
    async def play() -> None:
        floor = Floor(fet_config())
        after = await killed(floor)
        await resting(floor.venue)
        after.venue.set_script([Rule(verb=verb, do=Do.FAIL, times=0)])
        if verb is Verb.ORDER:
            await unanswered(after)
        start = asyncio.ensure_future(after.service.start())
        await asyncio.sleep(60)
        assert not after.service.readiness.is_ready
        assert is_shut(await after.enter("T2", TRX))
        after.venue.set_script([])
        await start
        assert gate(after.log) == [ControlAction.NOT_READY, ControlAction.READY]
        await after.service.close()

    run(play())


async def resting(venue: MockVenue) -> None:
    """Let what the venue has to say arrive."""
    await asyncio.sleep(1)
    venue.run()


async def unanswered(after: Floor) -> None:
    """An exit that was journalled before the kill, and whose answer nobody heard."""
    exit_ = KernelIntent(
        command=KernelCommandType.EXIT,
        received_ms=after.engine.kernel.now_ms,
        intent_id="exit",
        trade_id="T1",
    )
    assert after.engine.apply(exit_).kernel.accepted


def test_each_gap_closes_the_gate_until_all_is_asked_again() -> None:
    async def scene(floor: Floor) -> None:
        await floor.enter()
        await floor.until(TradeStage.POSITION_OPEN)
        asked = Asked(floor.venue)
        for turn in (1, 2):
            floor.venue.set_script([Rule(verb=Verb.BALANCE, do=Do.DELAY, wait_ms=2_000)])
            asked.names.clear()
            floor.venue.end_stream()
            await floor.wait(lambda: floor.runtime.state is RunState.DEGRADED, 5, "DEGRADED")
            assert is_shut(await floor.enter(f"R{turn}", TRX))
            await floor.wait(lambda: floor.runtime.state is RunState.READY, 20, "READY")
            assert {"positions", "balance"} <= set(asked.names)
        assert gate(floor.log) == [ControlAction.NOT_READY, ControlAction.READY] * 3
        assert (await floor.enter("T2", TRX)).kernel.accepted
        await floor.wait(lambda: len(floor.engine.kernel.active_slots()) == 2, 5, "both")
        for trade in ("T1", "T2"):
            await floor.exit(trade)
        await floor.wait(lambda: not floor.engine.kernel.active_slots(), 30, "out")

    on_the_floor(scene)


class Asked:
    """Notes which questions a venue is asked."""

    def __init__(self, venue: Any) -> None:
        self.names: list[str] = []
        for name in ("positions", "balance", "order", "open_orders"):
            setattr(venue, name, self._noted(name, getattr(venue, name)))

    def _noted(self, name: str, question: Callable[..., Awaitable[Any]]) -> Any:
        async def ask(*arguments: Any) -> Any:
            self.names.append(name)
            return await question(*arguments)

        return ask


def test_answers_to_questions_from_before_a_gap_do_not_open_the_gate() -> None:
    async def scene(floor: Floor) -> None:
        floor.venue.set_script([Rule(verb=Verb.BALANCE, do=Do.DELAY, wait_ms=3_000, times=0)])
        floor.venue.end_stream()
        await floor.wait(lambda: floor.runtime.state is RunState.DEGRADED, 5, "DEGRADED")
        # All is asked once at the loss, for three seconds, and once when the stream is back.
        await asyncio.sleep(4)
        floor.venue.end_stream()
        await asyncio.sleep(3)  # answered, but asked for before the second gap
        assert is_shut(await floor.enter())
        await floor.wait(lambda: floor.runtime.state is RunState.READY, 20, "READY")

    on_the_floor(scene)


def test_what_happened_while_the_stream_was_away_is_asked_about_when_it_is_back() -> None:
    """Everything was asked at the loss; what came after that and before the first frame was not."""

    async def play() -> None:
        floor = Floor(fet_config())
        never = 10**6
        floor.service.cadence = Cadence(
            tick_ms=20, in_flight_s=1, open_orders_s=never, positions_s=never, balance_s=never,
            income_s=never, drain_limit_s=3,
        )  # fmt: skip
        await floor.service.start()
        await floor.enter()
        await floor.until(TradeStage.POSITION_OPEN)
        await floor.wait(lambda: not floor.engine.kernel.open_orders(), 10, "final")
        deaf = StreamState(connected=False, trouble="closed")
        floor.venue.stream_state = lambda: deaf  # type: ignore[method-assign]
        asked = Asked(floor.venue)
        await floor.service.gaps.gap("lost")
        await asyncio.sleep(5)
        assert "positions" in asked.names
        floor.venue.noise = Noise(drop=1000)
        floor.venue.trade_by_hand(FET, OrderSide.BUY, q(400))
        await asyncio.sleep(60)
        assert floor.engine.kernel.slot(0).size_e8 == q(1000)  # nobody knows
        del floor.venue.stream_state
        await floor.wait(lambda: floor.runtime.state is RunState.READY, 10, "READY")
        await floor.wait(lambda: floor.engine.kernel.slot(0).size_e8 == q(600), 10, "booked")
        await floor.service.close()

    run(play())


def test_one_healer_however_many_gaps() -> None:
    """A stream that comes and goes while a question fails: no second chain of questions."""

    async def scene(floor: Floor) -> None:
        floor.venue.set_script([Rule(verb=Verb.POSITIONS, do=Do.FAIL, times=0)])
        for _ in range(50):
            floor.venue.end_stream()
            await asyncio.sleep(3)
        heals = [name for name in floor.runtime.background if "heal" in name]
        assert heals == ["heal"]
        assert floor.runtime.tasks < 20
        assert gate(floor.log)[-1] is ControlAction.NOT_READY
        floor.venue.set_script([])
        await floor.wait(lambda: floor.runtime.state is RunState.READY, 60, "READY")

    on_the_floor(scene)


def test_never_ready_with_a_stream_that_is_not_connected() -> None:
    async def play() -> None:
        floor = Floor(fet_config())
        deaf = StreamState(connected=False, trouble="handshake refused")
        floor.venue.stream_state = lambda: deaf  # type: ignore[method-assign]
        start = asyncio.ensure_future(floor.service.start())
        await asyncio.sleep(600)
        assert not start.done()
        assert is_shut(await floor.enter())
        assert "handshake refused" in " ".join(floor.service.readiness.missing())
        del floor.venue.stream_state
        await start
        assert floor.runtime.state is RunState.READY
        await floor.service.close()

    run(play())


def test_a_stream_that_stays_away_is_an_alarm() -> None:
    async def scene(floor: Floor) -> None:
        told: list[tuple[str, bool]] = []
        floor.runtime.alarms.listeners.append(lambda alarm: told.append((alarm.name, alarm.ended)))
        deaf = StreamState(connected=False, trouble="closed")
        floor.venue.stream_state = lambda: deaf  # type: ignore[method-assign]
        await asyncio.sleep(20)
        assert is_shut(await floor.enter())
        assert told == []
        await asyncio.sleep(20)
        assert told == [("stream", False)]
        del floor.venue.stream_state
        await floor.wait(lambda: floor.runtime.state is RunState.READY, 60, "READY")
        assert told == [("stream", False), ("stream", True)]

    on_the_floor(scene)


def test_a_slow_journal_closes_the_gate_until_it_is_quick_again() -> None:
    async def scene(floor: Floor) -> None:
        commit, slow_s = floor.log.commit, 3.0

        async def slow() -> int:
            await asyncio.sleep(slow_s)
            return await commit()

        floor.log.commit = slow  # type: ignore[method-assign]
        await floor.service.order_query.balance()
        await asyncio.sleep(10)
        assert is_shut(await floor.enter())
        assert floor.runtime.commit_max_ms >= 3_000
        assert "journal is slow" in " ".join(floor.service.readiness.missing())
        floor.log.commit = commit  # type: ignore[method-assign]
        await floor.wait(lambda: floor.runtime.state is RunState.READY, 60, "READY")

    on_the_floor(scene)


def test_a_process_that_stood_still_asks_about_everything_again() -> None:
    """Stopped, swapped out or suspended: what came meanwhile may be lost."""

    async def scene(floor: Floor) -> None:
        asked = Asked(floor.venue)
        floor.clock.suspend_ms(15_000)
        await asyncio.sleep(1)
        assert {"positions", "balance"} <= set(asked.names)
        assert gate(floor.log) == [ControlAction.NOT_READY, ControlAction.READY] * 2
        assert floor.runtime.state is RunState.READY

    on_the_floor(scene)


def test_state_changes_are_told_with_their_reason() -> None:
    async def play() -> None:
        floor = Floor(fet_config())
        told: list[tuple[RunState, str]] = []

        def broken(state: RunState, why: str) -> None:
            raise ValueError(state)

        floor.runtime.on_state += [broken, lambda state, why: told.append((state, why))]
        await floor.service.start()
        floor.venue.end_stream()
        await floor.wait(lambda: floor.runtime.state is RunState.DEGRADED, 5, "DEGRADED")
        await floor.wait(lambda: floor.runtime.state is RunState.READY, 9, "READY")
        await floor.service.drain()
        await floor.service.close()
        assert [state.name for state, _ in told] == [
            "RECONCILING", "READY", "DEGRADED", "READY", "DRAINING", "STOPPED",
        ]  # fmt: skip
        assert (RunState.DEGRADED, "a gap of the stream") in told
        assert broken not in floor.runtime.on_state  # one that fails is dropped, and nothing stops

    run(play())


def test_what_is_held_stays_held_through_a_gap() -> None:
    async def scene(floor: Floor) -> None:
        await floor.service.control(ControlAction.HOLD, "news", "me")
        floor.venue.end_stream()
        await floor.wait(lambda: floor.runtime.state is RunState.DEGRADED, 5, "DEGRADED")
        await floor.wait(lambda: floor.runtime.state is RunState.HOLD, 10, "HOLD")
        assert floor.engine.kernel.freeze_causes() == ("hold",)

    on_the_floor(scene)


def test_entries_that_work_stay_at_a_gap() -> None:
    async def scene(floor: Floor) -> None:
        floor.venue.set_script([Rule(verb=Verb.SUBMIT, do=Do.PARTIAL, share_e9=500_000_000)])
        await floor.enter(side=SHORT)
        await floor.wait(lambda: bool(floor.venue.book.fills), 5, "half of it")
        floor.venue.end_stream()
        await floor.wait(lambda: floor.runtime.state is RunState.DEGRADED, 5, "DEGRADED")
        await floor.wait(lambda: floor.runtime.state is RunState.READY, 10, "READY")
        assert [order.works for order in floor.venue.book.orders] == [True]
        await floor.exit()
        await floor.until(TradeStage.IDLE, 15)

    on_the_floor(scene)


def test_limits_of_the_settings_are_journalled_once_and_bind_entries() -> None:
    limits = {RiskLimit.ORDER_NOTIONAL: parse_money(100), RiskLimit.POSITIONS: 1}

    async def scene(floor: Floor) -> None:
        told = [r for r in floor.log.records if isinstance(r, KernelIntent) and r.limit]
        assert {r.limit: r.amount for r in told} == limits
        outcome = await floor.enter()
        assert outcome.kernel.code is Code.RISK_LIMIT
        assert outcome.kernel.details["field"] == "limit of an order"
        assert outcome.kernel.details["expected"] == "at most 100"
        after = restarted(floor)
        await floor.runtime.stop_tasks(1)
        after.service.limits = limits
        await after.service.begin()
        assert [r for r in after.log.records if isinstance(r, KernelIntent) and r.limit] == []

    on_the_floor(scene, limits=limits)
