"""How the venue is asked: shared, bounded, counted; what is journalled of it; refused access.

In virtual time, on the mock venue: an hour takes as long as what happens in it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace
from support.engine_driver import Desk, p, q
from support.floor import Floor, on_the_floor

from dita.contracts import (
    ControlAction,
    EffectKind,
    KernelCommandType,
    KernelEventKind,
    OrderSide,
    OrderType,
    TradeStage,
    VenueEvent,
)
from dita.contracts import KernelDiagnosticCode as Code
from dita.errors import SettingsError
from dita.runtime.alarms import Alarm
from dita.runtime.loop import RunState
from dita.runtime.queries.questions import Shared
from dita.runtime.relevance import AGAIN_MS, PositionAnswers, is_strangers
from dita.runtime.service import Cadence
from dita.simulation.virtual_time import run
from dita.venues import AccessRefused, OrderRef, PositionReport, QueryFailed, Rows, UnreadableRow
from dita.venues.mock import Do, Rule, Verb, fet_config

Kind = KernelEventKind
RECONCILE = KernelCommandType.RECONCILE
FET, TRX = "FET-USDT", "TRX-USDT"


class Counted:
    """Counts the questions of a venue, and says how many were in flight at once."""

    def __init__(self, floor: Floor, latency_s: float = 0.05) -> None:
        self.asked: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self._now: Counter[str] = Counter()
        for name in ("positions", "balance", "open_orders", "all_orders", "fills", "income"):
            setattr(floor.venue, name, self._counted(name, getattr(floor.venue, name), latency_s))

    def _counted(self, name: str, question: Any, latency_s: float) -> Any:
        async def ask(*arguments: Any) -> Any:
            self.asked[name] += 1
            self._now[name] += 1
            self.most[name] = max(self.most[name], self._now[name])
            try:
                await asyncio.sleep(latency_s)
                return await question(*arguments)
            finally:
                self._now[name] -= 1

        return ask


async def at_rest(floor: Floor) -> None:
    """Short 1000, everything final and quiet."""
    await floor.enter()
    await floor.until(TradeStage.POSITION_OPEN)
    await floor.wait(lambda: not floor.engine.kernel.open_orders(), 10, "final")
    await floor.wait(lambda: not floor.engine.snapshot.ambiguous, 10, "a quiet anchor")


def positions_told(floor: Floor, since: int = 0) -> list[VenueEvent]:
    records = floor.log.records[since:]
    return [r for r in records if isinstance(r, VenueEvent) and r.kind is Kind.POSITION]


# -- a doubt that lasts ----------------------------------------------------------------------------


def test_an_hour_of_doubt_asks_and_journals_at_most_once_a_second() -> None:
    """The position vanishes without a fill: nothing that the venue says ever ends the doubt."""

    async def play() -> None:
        floor = Floor(fet_config(), pulse_ms=1_000)
        floor.service.cadence = Cadence(tick_ms=250, drain_limit_s=3)
        counted = Counted(floor)
        await floor.service.start()
        await at_rest(floor)
        floor.venue.book.positions.clear()
        await floor.wait(lambda: bool(floor.service.poller.doubted_slots()), 60, "doubt")
        await asyncio.sleep(60)
        counted.asked.clear()
        before = len(floor.log.records)
        await asyncio.sleep(3_600)
        assert floor.service.poller.doubted_slots()
        assert 1_000 <= counted.asked["positions"] <= 3_600
        told = positions_told(floor, before)
        assert 55 <= len(told) <= 65  # one a minute: its age counts in the kernel
        assert len(floor.log.records) - before <= 3_600
        assert counted.most["positions"] == 1
        assert floor.runtime.tasks_max < 25
        began_s = asyncio.get_running_loop().time()
        await floor.service.poller.positions(journal_all=True)  # a person's question waits for none
        assert asyncio.get_running_loop().time() - began_s < 1
        assert len(positions_told(floor, before)) > len(told)
        await floor.service.close()

    run(play())


def test_a_doubt_is_asked_about_at_once() -> None:
    async def scene(floor: Floor) -> None:
        await at_rest(floor)
        counted = Counted(floor)
        floor.venue.trade_by_hand(FET, OrderSide.BUY, q(400))
        await asyncio.sleep(1)
        assert counted.asked["positions"] >= 1
        assert floor.engine.kernel.slot(0).size_e8 == q(600)

    on_the_floor(scene)


def test_an_answer_does_not_ask_itself_again() -> None:
    """Whatever the kernel asks for in answer to an answer is left to the cadence."""

    async def scene(floor: Floor) -> None:
        await at_rest(floor)
        floor.service.cadence = Cadence(tick_ms=20, positions_s=3_000, drain_limit_s=3)
        floor.service.feeds.positions_due.set()  # it waits for that long from now on
        await asyncio.sleep(1)
        counted = Counted(floor)
        apply = floor.engine.apply

        def asks_again(record: Any, packed: Any = None) -> Any:
            outcome = apply(record, packed)
            if getattr(record, "kind", None) is Kind.POSITION:
                effect = replace(_position_effect(), asset=record.asset)
                asked = replace(outcome.kernel, effects=(*outcome.effects, effect))
                return replace(outcome, kernel=asked)
            return outcome

        floor.engine.apply = asks_again  # type: ignore[method-assign]
        await floor.order_query.positions()
        await asyncio.sleep(60)
        assert counted.asked["positions"] == 1

    on_the_floor(scene)


def _position_effect() -> Any:
    from dita.contracts import Effect

    return Effect(EffectKind.QUERY_POSITION)


# -- one in flight ---------------------------------------------------------------------------------


def test_requests_that_come_meanwhile_share_the_next_question() -> None:
    async def play() -> None:
        floor = Floor(fet_config())
        began: list[float] = []

        async def work() -> None:
            began.append(asyncio.get_running_loop().time())
            await asyncio.sleep(1)

        shared = Shared(floor.runtime, "test", work, pause_s=10)
        first = asyncio.ensure_future(shared.ask())
        await asyncio.sleep(0.5)
        rest = [asyncio.ensure_future(shared.ask()) for _ in range(1_000)]
        await first
        assert not any(one.done() for one in rest)  # theirs has to begin after they asked
        await asyncio.gather(*rest)
        assert began == [0, 1]
        for _ in range(1_000):
            shared.want()
        await asyncio.sleep(100)
        assert began == [0, 1, 11]  # nobody waits: not sooner than the pause

    run(play())


def test_who_gives_up_takes_nobody_with_him() -> None:
    async def play() -> None:
        floor = Floor(fet_config())
        asked = 0

        async def work() -> None:
            nonlocal asked
            asked += 1
            if asked == 1:
                raise QueryFailed("no answer")
            await asyncio.sleep(1)

        shared = Shared(floor.runtime, "test", work)
        impatient = asyncio.ensure_future(shared.ask())
        patient = asyncio.ensure_future(shared.ask())
        await asyncio.sleep(0)
        impatient.cancel()
        await patient
        assert asked == 2
        assert floor.runtime.failed is None

    run(play())


def test_a_flood_of_strangers_frames_makes_no_flood_of_tasks_or_questions() -> None:
    """While an order of ours waits for its answer, 999 events of others on its symbol."""

    async def scene(floor: Floor) -> None:
        counted = Counted(floor)
        floor.venue.set_script([Rule(verb=Verb.SUBMIT, do=Do.LATE, wait_ms=4_500)])
        await floor.enter()
        await asyncio.sleep(0.1)
        counted.asked.clear()
        for number in range(999):
            frame = replace(strangers_fill(FET, str(10**12 + number)), side=OrderSide.SELL)
            await floor.runtime.post(frame)
            if not number % 100:
                await asyncio.sleep(0.4)
        assert floor.engine.kernel.held_events > 0
        assert floor.runtime.tasks_max < 25
        assert 1 <= counted.asked["positions"] <= 6
        assert sum(counted.asked.values()) < 40
        assert counted.most["positions"] == 1
        await floor.until(TradeStage.POSITION_OPEN, 30)
        await floor.exit()
        await floor.until(TradeStage.IDLE, 30)

    on_the_floor(scene)


def test_orders_of_others_that_get_no_answer_do_not_hold_up_ours() -> None:
    async def scene(floor: Floor) -> None:
        await floor.enter()
        await floor.until(TradeStage.POSITION_OPEN)
        kernel, venue = floor.engine.kernel, floor.venue
        await floor.wait(lambda: not kernel.open_orders(), 10, "final")
        answer = venue.order

        async def never_for_others(ref: OrderRef) -> Any:
            if not ref.client_order_id:
                await asyncio.sleep(10**6)
            return await answer(ref)

        venue.order = never_for_others  # type: ignore[assignment, method-assign]
        for _ in range(12):
            venue.trade_by_hand(FET, OrderSide.BUY, q(1))
            await asyncio.sleep(0.1)
        assert sum(floor.order_query.is_asking(number) for number in range(2, 40)) > 8
        await floor.exit()
        ours = kernel.slot(0).active_exit_order
        assert ours is not None

        def is_final() -> bool:
            order = kernel.order(ours.order_no)
            return order is not None and order.final

        await floor.wait(is_final, 10, "an answer about ours")

    on_the_floor(scene)


def strangers_fill(asset: str, venue_order_id: str) -> VenueEvent:
    return VenueEvent(
        kind=Kind.FULL_FILL,
        received_ms=1,
        asset=asset,
        venue_order_id=venue_order_id,
        side=OrderSide.BUY,
        quantity_e8=q(1),
        price_e10=p("0.5"),
    )


# -- what is journalled ----------------------------------------------------------------------------


def test_strangers_on_symbols_that_we_do_not_use_cost_no_record() -> None:
    async def scene(floor: Floor) -> None:
        await at_rest(floor)
        before = len(floor.log.records)
        for _ in range(500):
            floor.venue.book.place(limit_order(TRX))  # acks of somebody else
        await asyncio.sleep(0.5)
        trx = [r for r in floor.log.records[before:] if getattr(r, "asset", "") == TRX]
        assert trx == []
        assert floor.service.gaps.strangers.dropped == 500
        # From now on the symbol is in use, and for ever after.
        assert (await floor.enter("T2", TRX)).kernel.accepted
        await floor.wait(lambda: len(floor.engine.kernel.active_slots()) == 2, 5, "T2")
        await floor.exit("T2")
        await floor.wait(lambda: len(floor.engine.kernel.active_slots()) == 1, 20, "T2 out")
        before = len(floor.log.records)
        floor.venue.book.place(limit_order(TRX))
        await asyncio.sleep(0.5)
        assert [r for r in floor.log.records[before:] if getattr(r, "asset", "") == TRX]

    on_the_floor(scene)


def limit_order(asset: str) -> Any:
    from dita.venues import SubmitOrder

    return SubmitOrder(
        client_order_id="",
        asset=asset,
        side=OrderSide.BUY,
        order_type=OrderType.LIMIT,
        quantity_e8=q(10),
        limit_price_e10=p("0.1"),
    )


EVENT = strangers_fill(TRX, "77")


@pytest.mark.parametrize(
    ("event", "is_known", "strangers"),
    [
        (EVENT, False, True),
        (replace(EVENT, asset="TRXUSDT"), False, True),
        (replace(EVENT, kind=Kind.LIQUIDATION), False, True),
        (EVENT, True, False),  # an order of ours, whatever symbol it names
        (replace(EVENT, asset=FET), False, False),
        (replace(EVENT, asset="fetusdt"), False, False),
        (replace(EVENT, asset=""), False, False),
        (replace(EVENT, slot_id=0), False, False),
        (replace(EVENT, kind=Kind.ACCOUNT_UPDATE), False, False),
        (replace(EVENT, kind=Kind.POSITION), False, False),
        (replace(EVENT, kind=Kind.FUNDING_FEE), False, False),
        (replace(EVENT, kind=Kind.TICK), False, False),
    ],
)
def test_only_what_is_certainly_not_about_us_is_a_strangers(
    event: VenueEvent, is_known: bool, strangers: bool
) -> None:
    assert is_strangers(event, {"FETUSDT"}, is_known=is_known) is strangers


def position(theirs: int, at_ms: int = 1_000_000) -> VenueEvent:
    side = OrderSide.BUY if theirs >= 0 else OrderSide.SELL
    return VenueEvent(
        kind=Kind.POSITION, received_ms=at_ms, asset=FET, side=side, quantity_e8=q(abs(theirs))
    )


def test_each_thing_that_an_answer_is_judged_with_makes_it_new() -> None:
    """One after the other: a fill, an end, a latch, a doubt, another trade, time."""
    desk, now_ms = Desk(), 5_000_000
    answers = PositionAnswers(desk.engine, lambda: now_ms)

    def judged(theirs: int) -> None:
        answers.note(position(theirs), desk.send(position(theirs, desk.now)))

    assert not answers.says_nothing_new(position(0))  # never judged
    judged(0)
    assert answers.says_nothing_new(position(0))
    steps: tuple[Callable[[], object], ...] = (
        lambda: desk.enter(100),
        desk.ack,
        lambda: desk.fill("T1", 40, 10),
        lambda: desk.fill("T1", 100, 10, full=True),
        lambda: desk.final("T1", 100),
        desk.exit,
        lambda: desk.fill("X1", 30, 10),
        lambda: desk.command(RECONCILE, trade_id="T1"),
    )
    for happens in steps:
        happens()
        size = desk.slot.size_e8 // q(1)
        assert not answers.says_nothing_new(position(size)), happens
        judged(size)
        assert answers.says_nothing_new(position(size))
        assert not answers.says_nothing_new(position(-size or 1))
    desk.command(KernelCommandType.MARK_PRICE, trade_id="T1", reference_price_e10=p("11"))
    assert answers.says_nothing_new(position(70))  # what it is worth is no part of the question
    now_ms += AGAIN_MS
    assert not answers.says_nothing_new(position(70))


@pytest.mark.parametrize("changes", ["nothing", "theirs", "ours", "state", "age"])
def test_an_answer_is_left_out_only_when_it_says_nothing_new(changes: str) -> None:
    async def scene(floor: Floor) -> None:
        floor.service.cadence = Cadence(tick_ms=20, positions_s=3_000, drain_limit_s=3)
        floor.service.feeds.positions_due.set()  # it waits for that long from now on
        await at_rest(floor)
        await floor.order_query.positions()
        before = len(floor.log.records)
        floor.venue.set_script([Rule(verb=Verb.STREAM, do=Do.DROP, times=0)])
        if changes == "theirs":
            floor.venue.trade_by_hand(FET, OrderSide.SELL, q(1))
        elif changes == "ours":  # a fill whose frame was heard, and the position is as it was
            await floor.runtime.ask(strangers_fill(FET, "4711"))
        elif changes == "state":
            await floor.runtime.ask(doubt())
        elif changes == "age":
            await asyncio.sleep(AGAIN_MS / 1_000)
            before = len(floor.log.records)
        left_out = floor.order_query.answers.left_out
        await floor.order_query.positions(journal_all=False)
        told = [r for r in positions_told(floor, before) if r.asset == FET]
        assert bool(told) is (changes != "nothing")
        assert (floor.order_query.answers.left_out > left_out) is (changes == "nothing")

    on_the_floor(scene)


def doubt() -> Any:
    from dita.contracts import KernelCommandType, KernelIntent

    return KernelIntent(
        command=KernelCommandType.RECONCILE, received_ms=1, intent_id="doubt", trade_id="T1"
    )


def test_a_foreign_position_that_is_gone_is_told_although_nobody_mentions_it() -> None:
    async def scene(floor: Floor) -> None:
        floor.venue.trade_by_hand(TRX, OrderSide.BUY, q(500))
        await floor.order_query.positions()
        assert floor.engine.kernel.foreign_quantity_e8(TRX) == q(500)
        floor.venue.trade_by_hand(TRX, OrderSide.SELL, q(500))
        await floor.order_query.positions(journal_all=False)
        assert (await floor.enter("T2", TRX)).kernel.accepted
        await floor.until(TradeStage.POSITION_OPEN)
        await floor.exit("T2")
        await floor.until(TradeStage.IDLE)

    on_the_floor(scene)


def test_a_foreign_position_from_before_the_start_does_not_block_for_ever() -> None:
    """What an earlier process saw is in the kernel only: a refused entry has it looked at."""

    async def scene(floor: Floor) -> None:
        seen = VenueEvent(
            kind=Kind.POSITION, received_ms=1, asset=TRX, side=OrderSide.BUY, quantity_e8=q(500)
        )
        await floor.runtime.ask(seen)
        floor.order_query.answers._judged.clear()
        assert (await floor.enter("T1", TRX)).kernel.code is Code.FOREIGN_POSITION
        await asyncio.sleep(2)
        assert (await floor.enter("T2", TRX)).kernel.accepted
        await floor.until(TradeStage.POSITION_OPEN)
        await floor.exit("T2")
        await floor.until(TradeStage.IDLE)

    on_the_floor(scene)


def test_an_unreadable_position_holds_its_symbol_and_no_other() -> None:
    async def scene(floor: Floor) -> None:
        positions = floor.venue.positions
        odd = UnreadableRow(asset=TRX, why="positionSide: 'SIDEWAYS'")

        async def answer() -> Rows[PositionReport]:
            return Rows(await positions(), (odd,))

        floor.venue.positions = answer  # type: ignore[method-assign]
        for _ in range(3):
            await floor.order_query.positions()
        assert floor.engine.kernel.held_symbols() == (TRX,)
        assert (await floor.enter("T1", TRX)).kernel.code is Code.SYMBOL_HELD
        assert (await floor.enter("T2", FET)).kernel.accepted
        await floor.until(TradeStage.POSITION_OPEN)
        (alarm,) = floor.runtime.alarms.active
        assert "SIDEWAYS" in alarm.text
        holds = [r for r in floor.log.records if getattr(r, "asset", "") == TRX and r.reason]  # type: ignore[union-attr]
        assert len(holds) == 1
        floor.venue.positions = positions  # type: ignore[method-assign]
        await floor.order_query.positions()
        assert floor.engine.kernel.held_symbols() == ()
        assert not floor.runtime.alarms.active
        await floor.wait(lambda: not floor.engine.snapshot.ambiguous, 10, "a quiet anchor")
        assert (await floor.enter("T3", TRX)).kernel.accepted
        await floor.wait(lambda: len(floor.engine.kernel.active_slots()) == 2, 5, "both")
        for trade in ("T2", "T3"):
            await floor.exit(trade)
        await floor.wait(lambda: not floor.engine.kernel.active_slots(), 30, "out")

    on_the_floor(scene)


def test_what_somebody_else_holds_is_not_released() -> None:
    async def scene(floor: Floor) -> None:
        await floor.service.control(ControlAction.HOLD, "mine", "me", asset=TRX)
        await floor.order_query.unreadable.take([UnreadableRow(asset=TRX, why="odd")])
        await floor.order_query.unreadable.take([])
        assert floor.engine.kernel.held_symbols() == (TRX,)
        await floor.service.control(ControlAction.RESUME, "mine", "me", asset=TRX)

    on_the_floor(scene)


def test_an_unreadable_position_on_nobody_knows_what_is_no_answer() -> None:
    async def scene(floor: Floor) -> None:
        await at_rest(floor)
        positions = floor.venue.positions

        async def answer() -> Rows[PositionReport]:
            return Rows(await positions(), (UnreadableRow(why="symbol: 5"),))

        floor.venue.positions = answer  # type: ignore[method-assign]
        floor.venue.end_stream()
        await asyncio.sleep(60)
        assert not floor.service.readiness.is_ready
        assert "symbol: 5" in floor.service.questions.failing["positions"].words
        floor.venue.positions = positions  # type: ignore[method-assign]
        await floor.wait(lambda: floor.runtime.state is RunState.READY, 20, "READY")

    on_the_floor(scene)


# -- questions that fail ---------------------------------------------------------------------------


def test_a_question_that_fails_again_and_again_is_told_with_since_when_and_why() -> None:
    async def scene(floor: Floor) -> None:
        told: list[Alarm] = []
        floor.runtime.alarms.listeners.append(told.append)
        await at_rest(floor)
        began_ms = floor.runtime.time.now_ms()
        floor.venue.set_script([Rule(verb=Verb.BALANCE, do=Do.FAIL, times=0)])
        await asyncio.sleep(300)
        failing = floor.service.questions.failing["balance"]
        assert failing.count > 10
        assert began_ms <= failing.since_ms <= began_ms + 40_000
        assert "no answer" in failing.words
        assert [(a.name, a.ended) for a in told] == [("question: balance", False)]
        assert floor.service.questions.failed_total >= failing.count
        floor.venue.set_script([])
        await asyncio.sleep(40)
        assert floor.service.questions.failing == {}
        assert [a.ended for a in told] == [False, True]

    on_the_floor(scene)


def test_one_failure_calls_nobody() -> None:
    async def scene(floor: Floor) -> None:
        told: list[Alarm] = []
        floor.runtime.alarms.listeners.append(told.append)
        floor.venue.set_script([Rule(verb=Verb.BALANCE, do=Do.FAIL, times=2)])
        await floor.order_query.balance()
        assert floor.service.questions.failed_total == 2
        assert told == []

    on_the_floor(scene)


# -- access ----------------------------------------------------------------------------------------


class Locked:
    """A venue whose key was deleted, from now until it is put right."""

    def __init__(self, floor: Floor) -> None:
        self.is_locked = True
        self.renewed = 0
        self.asked: list[float] = []
        self._venue = floor.venue
        for name in ("positions", "balance", "open_orders", "order", "income", "submit", "cancel",
                     "fills", "all_orders", "server_time_ms"):  # fmt: skip
            setattr(floor.venue, name, self._guarded(name, getattr(floor.venue, name)))
        floor.venue.renew_access = self.renew  # type: ignore[method-assign]

    def _guarded(self, name: str, call: Any) -> Any:
        async def ask(*arguments: Any) -> Any:
            if self.is_locked:
                self.asked.append(asyncio.get_running_loop().time())
                raise AccessRefused("the exchange refused our access", found="code 100413")
            return await call(*arguments)

        return ask

    async def renew(self) -> None:
        self.renewed += 1


def test_refused_access_ends_no_serve_and_asks_once_a_minute() -> None:
    async def scene(floor: Floor) -> None:
        told: list[Alarm] = []
        floor.runtime.alarms.listeners.append(told.append)
        await at_rest(floor)
        locked = Locked(floor)
        await asyncio.sleep(60)
        assert "access is refused" in " ".join(floor.service.readiness.missing())
        refused = await floor.enter("T2", TRX)
        assert refused.kernel.code is Code.ENTRIES_FROZEN
        locked.asked.clear()
        floor.service.cadence = Cadence(tick_ms=500, drain_limit_s=3)
        await asyncio.sleep(1_200)
        assert 18 <= len(locked.asked) <= 20
        assert locked.renewed >= 19  # the key files are read again each time
        assert floor.runtime.failed is None
        (alarm,) = [a for a in told if a.name == "access refused"]
        assert "flatten --emergency" in alarm.text and "100413" in alarm.text
        locked.is_locked = False
        await asyncio.sleep(70)
        assert floor.runtime.state is RunState.READY
        assert floor.runtime.alarms.active == ()
        await floor.exit()
        await floor.until(TradeStage.IDLE, 20)

    on_the_floor(scene)


def test_an_exit_that_access_refuses_stays_wanted_and_goes_when_it_may() -> None:
    async def scene(floor: Floor) -> None:
        await at_rest(floor)
        locked = Locked(floor)
        assert (await floor.exit()).kernel.accepted
        await asyncio.sleep(300)
        slot = floor.engine.kernel.slot(0)
        assert slot.exit_latched and slot.size_e8 == q(1000)
        assert floor.service.feeds.refused[-1].words.startswith("the exchange refused our access")
        tries = [r for r in floor.log.records if getattr(r, "kind", None) is Kind.RATE_LIMITED]
        assert 4 <= len(tries) <= 7  # once a minute
        locked.is_locked = False
        await floor.until(TradeStage.IDLE, 130)

    on_the_floor(scene)


def test_keys_that_cannot_be_read_are_told_and_tried_again() -> None:
    async def scene(floor: Floor) -> None:
        locked = Locked(floor)

        async def missing() -> None:
            raise SettingsError("venue.api_key refused", found="no such file")

        floor.venue.renew_access = missing  # type: ignore[method-assign]
        await asyncio.sleep(200)
        assert "no such file" in floor.service.questions.access.words
        floor.venue.renew_access = locked.renew  # type: ignore[method-assign]
        locked.is_locked = False
        await asyncio.sleep(130)
        assert floor.runtime.state is RunState.READY

    on_the_floor(scene)
