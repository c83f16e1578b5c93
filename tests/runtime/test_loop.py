"""The loop at its border: what it refuses, whom it tells when it ends, what it says of orders.

In virtual time, on the mock venue and a log in memory.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from msgspec.structs import replace
from support.engine_driver import p, q
from support.floor import Floor, on_the_floor

from dita.contracts import (
    ControlAction,
    EffectKind,
    KernelCommandType,
    KernelEventKind,
    KernelIntent,
    RejectReason,
    TradeStage,
    VenueEvent,
)
from dita.contracts import KernelDiagnosticCode as Code
from dita.engine import Outcome
from dita.errors import (
    BadField,
    JournalFault,
    KernelFault,
    NotRunning,
    OperatorError,
    Unforeseen,
    VenueError,
)
from dita.journal.records import texts_of
from dita.kernel import ExecutionKernel
from dita.runtime.loop import FOR_PUBLISHERS, TASKS_MANY, Asked, Input, Runtime
from dita.simulation.virtual_time import run
from dita.venues import NotSent, OutcomeUnknown
from dita.venues.mock import Do, Rule, Verb, fet_config

Kind = KernelEventKind
TICK = VenueEvent(kind=Kind.TICK, received_ms=1)


def control(reason: str) -> KernelIntent:
    return KernelIntent(
        command=KernelCommandType.CONTROL,
        received_ms=1,
        intent_id="control",
        action=ControlAction.HOLD,
        reason=reason,
    )


# -- what cannot be journalled ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    [
        control("f\udcfcr immer"),  # a byte of the command line that no text had
        control("x" * 2_001),
        control(cast("str", 5)),
        KernelIntent(
            command=KernelCommandType.ENTER, received_ms=1, intent_id="e", trade_id="T", asset="F",
            contract=cast("Any", {"tick_e10": 1}), quantity_e8=1,
        ),
        VenueEvent(kind=Kind.FULL_FILL, received_ms=1, asset=cast("str", ["FET"])),
        VenueEvent(kind=Kind.FULL_FILL, received_ms=1, quantity_e8=cast("int", "1")),
        VenueEvent(kind=Kind.FULL_FILL, received_ms=1, quantity_e8=2**70),
        VenueEvent(kind=Kind.ACCOUNT_UPDATE, received_ms=1, amount=cast("int", 1.5)),
    ],
    ids=lambda record: type(record).__name__,
)  # fmt: skip
def test_a_record_that_no_journal_can_hold_is_refused_by_name(record: Input) -> None:
    """And nothing has seen it: the state is the same, and serve goes on."""

    async def scene(floor: Floor) -> None:
        append = floor.log.append

        def real(record: Input, packed: bytes) -> int:
            texts_of(record, packed)  # as the journal does
            return append(record, packed)

        floor.log.append = real  # type: ignore[method-assign]
        before, told = floor.engine.state_hash(), len(floor.log.records)
        outcome = await floor.runtime.ask(record)
        assert not outcome.kernel.accepted
        is_intent = isinstance(record, KernelIntent)
        assert outcome.kernel.code is (Code.INVALID_INTENT if is_intent else Code.INVALID_EVENT)
        assert outcome.kernel.details["expected"]
        assert (floor.engine.state_hash(), len(floor.log.records)) == (before, told)
        assert (await floor.runtime.ask(TICK)).kernel.accepted

    on_the_floor(scene)


def test_what_is_no_input_is_refused_before_the_inbox() -> None:
    async def scene(floor: Floor) -> None:
        with pytest.raises(OperatorError, match="expected a KernelIntent or a VenueEvent"):
            await floor.runtime.ask(cast("Input", {"command": 1}))
        assert (await floor.runtime.ask(TICK)).kernel.accepted

    on_the_floor(scene)


# -- when it ends ----------------------------------------------------------------------------------


async def ended(floor: Floor, error: BaseException) -> None:
    """Start, and let the journal fail with the next commit."""
    await floor.service.start()

    async def fails() -> int:
        await asyncio.sleep(1)
        raise error

    floor.log.commit = fails  # type: ignore[method-assign]


def test_whoever_asks_is_told_when_the_loop_ends() -> None:
    async def play() -> None:
        floor = Floor(fet_config())
        await ended(floor, JournalFault("the journal cannot be written"))
        asking = [asyncio.ensure_future(floor.runtime.ask(TICK)) for _ in range(3)]
        await asyncio.sleep(0.5)
        asking += [asyncio.ensure_future(floor.runtime.ask(TICK)) for _ in range(3)]
        done = await asyncio.gather(*asking, return_exceptions=True)
        assert [type(error) for error in done] == [NotRunning] * 6
        assert "cannot be written" in str(done[0])
        for late in (floor.runtime.ask(TICK), floor.runtime.post(TICK)):
            with pytest.raises(NotRunning):
                await late
        # What ended it is what serve ends with, not the tasks that could not go on.
        with pytest.raises(JournalFault):
            await floor.service.run()
        await floor.service.close()

    run(play())


def test_whoever_asks_is_told_when_serve_closes() -> None:
    async def play() -> None:
        floor = Floor(fet_config())
        await floor.service.start()

        async def hangs() -> int:
            await asyncio.Event().wait()
            return 0

        floor.log.commit = hangs  # type: ignore[method-assign]
        asking = asyncio.ensure_future(floor.runtime.ask(TICK))
        await asyncio.sleep(1)
        await floor.service.close()
        with pytest.raises(NotRunning):
            await asking

    run(play())


def test_a_fault_of_the_engine_is_ours_and_a_failed_task_is_nobodys() -> None:
    """70 stays down; what failed beside the kernel may start again, into HOLD."""

    async def engine_fails(floor: Floor) -> None:
        def apply(record: Any, packed: Any) -> Outcome:
            raise IndexError("list index out of range")

        floor.engine.apply = apply  # type: ignore[assignment, method-assign]
        await floor.runtime.post(TICK)

    async def task_fails(floor: Floor) -> None:
        async def odd() -> None:
            raise UnicodeDecodeError("ascii", b"\xff", 0, 1, "an odd header")

        floor.runtime.spawn(odd(), "balance")

    for fails, kind, code in ((engine_fails, KernelFault, 70), (task_fails, Unforeseen, 71)):

        async def play(fails: Any = fails, kind: Any = kind, code: int = code) -> None:
            floor = Floor(fet_config())
            await floor.service.start()
            await fails(floor)
            with pytest.raises(kind) as caught:
                await floor.service.run()
            assert int(caught.value.exit_code) == code
            await floor.service.close()

        run(play())


def test_after_what_nobody_foresaw_entries_are_held() -> None:
    async def play() -> None:
        floor = Floor(fet_config())
        await floor.service.start()
        await floor.service.hold_for_a_look("a background task failed (balance)")
        assert floor.engine.kernel.freeze_causes() == ("hold",)
        held = [r for r in floor.log.records if getattr(r, "action", None) is ControlAction.HOLD]
        assert "balance" in cast("KernelIntent", held[-1]).reason
        await floor.service.close()
        await floor.service.hold_for_a_look("again")  # the loop is gone: nothing to wait for

    run(play())


def test_an_input_that_breaks_the_engine_can_be_taken_out() -> None:
    before: list[Outcome] = []

    class Guard:
        def told_before(self, record: Input) -> Outcome | None:
            return None

        def take_out(self, record: Input, seq: int, fault: BaseException) -> Outcome:
            self.seq, self.fault = seq, fault
            return before[0]

    async def scene(floor: Floor) -> None:
        before.append(await floor.runtime.ask(TICK))
        guard = floor.runtime.faults = Guard()
        apply = floor.engine.apply

        def breaks(record: Any, packed: Any) -> Outcome:
            if getattr(record, "kind", None) is Kind.FOREIGN_FLOW:
                raise KernelFault("kernel invariant broken")
            return apply(record, packed)

        floor.engine.apply = breaks  # type: ignore[assignment, method-assign]
        bad = VenueEvent(kind=Kind.FOREIGN_FLOW, received_ms=1, event_id="x", amount=1)
        assert (await floor.runtime.ask(bad)) is before[0]
        assert floor.log.records[guard.seq - 1].kind is Kind.FOREIGN_FLOW  # type: ignore[union-attr]
        assert isinstance(guard.fault, KernelFault)
        assert (await floor.runtime.ask(TICK)).kernel.accepted
        floor.runtime.faults = None

    on_the_floor(scene)


# -- publishers and tasks --------------------------------------------------------------------------


def test_each_input_is_packed_once_and_applied_as_it_was_journalled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packed: list[object] = []
    for name in ("_pack_event", "_pack_intent"):
        real = getattr(ExecutionKernel, name)

        def count(self: ExecutionKernel, record: Input, real: Any = real) -> object:
            packed.append(record)
            return real(self, record)

        monkeypatch.setattr(ExecutionKernel, name, count)

    async def scene(floor: Floor) -> None:
        await floor.enter()
        await floor.until(TradeStage.POSITION_OPEN)
        await floor.exit()
        await floor.until(TradeStage.IDLE)
        assert len(packed) == len(floor.log.records) > 10

    on_the_floor(scene)


def test_an_order_has_left_before_anybody_is_told_and_before_any_question_is_asked() -> None:
    happened: list[str] = []

    class Listener:
        def publish(self, record: Input, outcome: Outcome, seq: int) -> None:
            if any(effect.kind is EffectKind.SUBMIT for effect in outcome.effects):
                happened.append("told")

    async def scene(floor: Floor) -> None:
        floor.runtime.publishers.insert(0, Listener())
        submit, act = floor.venue.submit, floor.runtime.on_effect[EffectKind.QUERY_ORDER]

        async def sends(order: Any) -> Any:
            happened.append("sent")
            return await submit(order)

        def asks(asked: Asked) -> None:
            happened.append("asked")
            act(asked)

        floor.venue.submit = sends  # type: ignore[method-assign]
        floor.runtime.on_effect[EffectKind.QUERY_ORDER] = asks
        apply = floor.engine.apply

        def also_asks(record: Any, packed: Any = None) -> Outcome:
            outcome = apply(record, packed)
            if not isinstance(record, KernelIntent):
                return outcome
            (order, *_) = outcome.effects
            first = replace(order, kind=EffectKind.QUERY_ORDER)
            return replace(outcome, kernel=replace(outcome.kernel, effects=(first, order)))

        floor.engine.apply = also_asks  # type: ignore[method-assign]
        await floor.enter()
        assert happened[:3] == ["sent", "told", "asked"]
        floor.engine.apply = apply  # type: ignore[method-assign]
        await floor.until(TradeStage.POSITION_OPEN)
        await floor.exit()
        await floor.until(TradeStage.IDLE)

    on_the_floor(scene)


def test_a_publisher_that_raises_is_dropped_and_told_of() -> None:
    class Broken:
        def publish(self, record: Input, outcome: Outcome, seq: int) -> None:
            raise RuntimeError("disk full")

    class Counting:
        seen = 0

        def publish(self, record: Input, outcome: Outcome, seq: int) -> None:
            self.seen += 1

    async def scene(floor: Floor) -> None:
        broken, counting = Broken(), Counting()
        floor.runtime.publishers += [broken, counting]
        assert (await floor.runtime.ask(TICK)).kernel.accepted
        assert counting.seen == 1
        assert broken not in floor.runtime.publishers
        (alarm,) = floor.runtime.alarms.active
        assert (alarm.name, "disk full" in alarm.text) == ("publisher Broken", True)

    on_the_floor(scene)


def test_every_effect_has_somebody_who_carries_it_out() -> None:
    async def play() -> None:
        floor = Floor(fet_config())
        assert set(floor.runtime.on_effect) | FOR_PUBLISHERS == set(EffectKind)
        assert not set(floor.runtime.on_effect) & FOR_PUBLISHERS

    run(play())


def test_too_many_tasks_are_an_alarm_while_there_are() -> None:
    async def scene(floor: Floor) -> None:
        for _ in range(TASKS_MANY):
            floor.runtime.spawn(asyncio.sleep(1), "sleeper")
        assert [alarm.name for alarm in floor.runtime.alarms.active] == ["background tasks"]
        await asyncio.sleep(2)
        assert floor.runtime.alarms.active == ()

    on_the_floor(scene)


def test_two_controls_in_one_batch_do_not_share_an_id() -> None:
    async def scene(floor: Floor) -> None:
        service = floor.service
        both = await asyncio.gather(
            service.control(ControlAction.HOLD, "one", "me"),
            service.control(ControlAction.RESUME, "two", "me"),
            service.control(ControlAction.HOLD, "three", "me"),
        )
        assert all(outcome.kernel.accepted for outcome in both)
        assert "hold" in floor.engine.kernel.freeze_causes()

    on_the_floor(scene)


# -- what is said of orders ------------------------------------------------------------------------


def of(floor: Floor, kind: Kind) -> list[VenueEvent]:
    return [r for r in floor.log.records if isinstance(r, VenueEvent) and r.kind is kind]


def failing(floor: Floor, error: VenueError) -> None:
    async def submit(order: Any) -> Any:
        raise error

    floor.venue.submit = submit  # type: ignore[method-assign]


def test_why_an_order_was_not_sent_reaches_the_journal_and_status() -> None:
    async def scene(floor: Floor) -> None:
        error = NotSent("no entry: leverage cannot be verified", found="system busy")
        error.error_code = 109500
        failing(floor, error)
        await floor.enter()
        await floor.until(TradeStage.IDLE)
        (told,) = of(floor, Kind.ORDER_REJECT)
        assert told.message == "no entry: leverage cannot be verified: found system busy"
        assert told.error_code == 109500
        refused = floor.service.feeds.refused[-1]
        assert (refused.asset, refused.error_code) == ("FET-USDT", 109500)
        assert refused.words == told.message

    on_the_floor(scene)


@pytest.mark.parametrize("error", [OutcomeUnknown("no readable answer"), VenueError("odd")])
def test_what_proves_nothing_leaves_an_order_unknown_with_its_words(error: VenueError) -> None:
    async def scene(floor: Floor) -> None:
        failing(floor, error)
        await floor.enter()
        await floor.wait(lambda: bool(of(floor, Kind.ORDER_UNKNOWN)), 5, "unknown")
        assert of(floor, Kind.ORDER_UNKNOWN)[0].message == str(error)
        assert not of(floor, Kind.ORDER_REJECT)
        await floor.until(TradeStage.IDLE, 20)  # proven absent

    on_the_floor(scene, fet_config(receive_window_ms=100))


def test_a_refused_cancel_says_why() -> None:
    async def scene(floor: Floor) -> None:
        floor.venue.set_script([Rule(verb=Verb.SUBMIT, do=Do.PARTIAL, share_e9=500_000_000)])
        await floor.enter()
        await floor.wait(lambda: bool(floor.venue.book.fills), 5, "half of it")
        floor.venue.set_script([Rule(verb=Verb.CANCEL, do=Do.NOT_SENT)])
        await floor.exit()
        await floor.until(TradeStage.IDLE, 20)
        assert of(floor, Kind.CANCEL_REJECT)[0].message == "connection refused"

    on_the_floor(scene)


def test_an_exchanges_own_words_come_through() -> None:
    async def scene(floor: Floor) -> None:
        async def submit(order: Any) -> Any:
            return (
                VenueEvent(
                    kind=Kind.ORDER_REJECT,
                    received_ms=1,
                    client_order_id=order.client_order_id,
                    reject=RejectReason.OTHER,
                    error_code=101204,
                    message="Insufficient margin",
                ),
            )

        floor.venue.submit = submit  # type: ignore[method-assign]
        await floor.enter()
        await floor.until(TradeStage.IDLE)
        refused = floor.service.feeds.refused[-1]
        assert (refused.error_code, refused.words) == (101204, "Insufficient margin")

    on_the_floor(scene)


def test_an_entry_that_became_durable_too_late_is_not_sent() -> None:
    """A stuck disk does what a stuck process does: whoever asked has given up meanwhile."""

    async def scene(floor: Floor) -> None:
        commit = floor.log.commit

        async def stuck() -> int:
            floor.log.commit = commit  # type: ignore[method-assign]
            await asyncio.sleep(40)
            return await commit()

        floor.log.commit = stuck  # type: ignore[method-assign]
        outcome = await floor.enter(deadline_ms=floor.runtime.time.now_ms() + 5_000)
        assert outcome.kernel.accepted  # in time, when it was journalled
        await floor.until(TradeStage.IDLE, 10)
        assert floor.venue.book.orders == []
        (told,) = of(floor, Kind.ORDER_REJECT)
        assert told.message.startswith("no entry: it was journalled too late")

    on_the_floor(scene)


def test_an_order_carries_the_leverage_of_its_trade() -> None:
    async def scene(floor: Floor) -> None:
        await floor.enter(leverage=3)
        await floor.until(TradeStage.POSITION_OPEN)
        assert [order.leverage for order in floor.venue.book.orders] == [3]
        await floor.exit()
        await floor.until(TradeStage.IDLE)

    on_the_floor(scene)


def test_bad_fields_are_named() -> None:
    """A field that packing refuses, and one that only the journal does."""
    assert issubclass(BadField, ValueError)

    async def scene(floor: Floor) -> None:
        outcome = await floor.enter(quantity_e8=q(1) + 0.5, reference_price_e10=p("0.5"))
        assert outcome.kernel.details["field"] == "quantity_e8"

    on_the_floor(scene)


def test_a_runtime_goes_on_at_the_newest_inputs_time() -> None:
    async def play() -> None:
        floor = Floor(fet_config())
        assert floor.runtime.time.now_ms() == floor.clock.now_ms()
        ahead = floor.clock.now_ms() + 3_600_000
        floor.engine.apply(VenueEvent(kind=Kind.TICK, received_ms=ahead))
        later = Runtime(
            engine=floor.engine, log=floor.log, venue=floor.venue, clock=floor.clock, start_ms=5
        )
        assert later.time.now_ms() == ahead

    run(play())
