"""A position that is gone without a record: what reconcile proposes, when, and what is booked.

In one process, with the mock venue and a journal on disk; time is the test's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.engine_driver import m
from support.stage import START_MS, Stage, journalled_reasons, on_stage

from dita.clock import ManualClock
from dita.contracts import TradeStage
from dita.reconcile import StepKind
from dita.venues import IncomeKind
from dita.venues.mock import Do, Rule, Verb

FET = "FET-USDT"


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Plays a scene with a clock that only the scene moves."""

    def run(scene: Callable[[Stage, ManualClock], Awaitable[None]]) -> None:
        clock = ManualClock(START_MS)

        async def with_clock(stage: Stage) -> None:
            await scene(stage, clock)

        on_stage(with_clock, tmp_path, monkeypatch, clock=clock)

    return run


async def pass_by(clock: ManualClock, seconds: int) -> None:
    """In steps, as a jump is a process that stood still."""
    for _ in range(seconds // 9):
        clock.advance_ms(9_000)
        await asyncio.sleep(0.03)


async def hold_one(stage: Stage, clock: ManualClock) -> None:
    """A short of 1000 at rest, which a position has confirmed and whose rows are read."""
    await stage.enter()
    await pass_by(clock, 9)
    await stage.node.service.poller.positions(journal_all=True)
    assert stage.state is TradeStage.POSITION_OPEN


async def plan_of(stage: Stage) -> tuple[dict[str, Any], list[int]]:
    plan = (await stage.report())["plan"]
    return plan, [step["kind"] for step in plan["steps"] if step["asset"] == FET]


async def until_gone(stage: Stage, clock: ManualClock) -> dict[str, Any]:
    """The position is gone, everything that may tell of it was read: the plan of then."""
    await stage.node.service.poller.positions(journal_all=True)
    assert stage.state is TradeStage.STALE_STATE_RECONCILING
    await pass_by(clock, 140)
    await stage.node.service.poller.income()
    plan, kinds = await plan_of(stage)
    assert StepKind.WRITE_OFF in kinds
    return plan


def test_reconcile_proposes_a_write_off_when_every_record_was_read_and_not_before(
    play: Callable[..., None], tmp_path: Path
) -> None:
    async def scene(stage: Stage, clock: ManualClock) -> None:
        await hold_one(stage, clock)
        stage.venue.vanish(FET)
        await stage.node.service.poller.positions(journal_all=True)
        _, kinds = await plan_of(stage)
        assert StepKind.WRITE_OFF not in kinds
        plan = await until_gone(stage, clock)
        done = await stage.apply(plan)
        assert "written off 1000, result 0 from income rows; the slot is free" in str(done)
        assert stage.kernel.active_slots() == ()
        (trade,) = stage.kernel.trades()
        assert (trade.realized, trade.exited_e8) == (0, trade.entered_e8)

    play(scene)
    assert any("jo" in why and "test" in why for why in journalled_reasons(tmp_path / "state"))


def test_only_rows_of_the_time_in_which_it_went_are_its_result(play: Callable[..., None]) -> None:
    """A row of the symbol that nothing explains, from before our own last fill, is not of it."""

    async def scene(stage: Stage, clock: ManualClock) -> None:
        await pass_by(clock, 9)
        stage.venue.pay(IncomeKind.REALIZED, FET, m("-15"))
        await pass_by(clock, 9)
        await hold_one(stage, clock)
        stage.venue.pay(IncomeKind.REALIZED, FET, m("-3"))
        stage.venue.vanish(FET)
        clock.advance_ms(1)
        done = await stage.apply(await until_gone(stage, clock))
        assert "result -3 from income rows" in str(done)
        (trade,) = stage.kernel.trades()
        assert trade.realized == m("-3")

    play(scene)


@pytest.mark.parametrize("verb", [Verb.ALL_ORDERS, Verb.FILLS])
def test_a_write_off_waits_for_the_history_that_may_still_tell_of_a_close(
    play: Callable[..., None], verb: Verb
) -> None:
    async def scene(stage: Stage, clock: ManualClock) -> None:
        await hold_one(stage, clock)
        stage.venue.vanish(FET)
        plan = await until_gone(stage, clock)
        stage.venue.set_script((Rule(verb=verb, do=Do.FAIL, times=0),))
        done = await stage.apply(plan)
        assert "not done: " in str(done)
        assert stage.state is TradeStage.STALE_STATE_RECONCILING
        stage.venue.set_script(())
        plan, _ = await plan_of(stage)
        assert "the slot is free" in str(await stage.apply(plan))

    play(scene)


def test_a_write_off_is_not_done_for_somebody_who_does_not_wait_any_more(
    play: Callable[..., None],
) -> None:
    async def scene(stage: Stage, clock: ManualClock) -> None:
        await hold_one(stage, clock)
        stage.venue.vanish(FET)
        plan = await until_gone(stage, clock)
        real = stage.node.runtime.ask

        async def slow(record: Any) -> Any:
            clock.advance_ms(60_000)  # the journal takes a minute
            return await real(record)

        stage.node.runtime.ask = slow  # type: ignore[method-assign]
        done = await stage.apply(plan, deadline_ms=stage.node.runtime.time.now_ms() + 30_000)
        stage.node.runtime.ask = real  # type: ignore[method-assign]
        assert "EXPIRED" in str(done)
        assert stage.state is TradeStage.STALE_STATE_RECONCILING

    play(scene)
