"""reconcile, anchor and smoke on a running node: what the verbs find, do and refuse.

In one process, with the mock venue and a journal on disk; the commands themselves are tested as
processes.  Time is the test's own where a test waits for it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace
from support.engine_driver import Desk, m, p, q
from support.stage import START_MS, Stage, journalled_reasons, on_stage

from dita.clock import ManualClock
from dita.contracts import (
    ControlAction,
    KernelCommandType,
    KernelIntent,
    OrderSide,
    OrderType,
    TradeSide,
    TradeStage,
    VenueOrderStatus,
)
from dita.errors import RefusedForSafety, UsageError, VenueError
from dita.reconcile import Cause, compare
from dita.runtime.queries.both_views import read_both_views, take_balance
from dita.runtime.state.lock import StartBudget
from dita.settings import VenueEnvironment
from dita.venues import (
    BalanceReport,
    OrderRef,
    OrderReport,
    PositionReport,
    Rows,
    SubmitOrder,
    UnreadableRow,
    Venue,
)
from dita.venues.mock import Do, MockVenue, Rule, Verb


def causes(record: dict[str, Any]) -> list[str]:
    return [row["cause"] for row in record["rows"] if row["cause"]]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def run(scene: Callable[[Stage], Awaitable[None]], **options: Any) -> None:
        on_stage(scene, tmp_path, monkeypatch, **options)

    return run


# -- looking ---------------------------------------------------------------------------------------


def test_a_trade_at_rest_has_no_difference(play: Callable[..., None]) -> None:
    async def scene(stage: Stage) -> None:
        await stage.enter()
        await stage.quiet()
        record = await stage.report()
        assert (record["differences"], record["difference"]) == (0, "0")
        assert record["calm"]
        assert [row["ours"] for row in record["rows"] if row["level"] == "position"] == [
            "SHORT 1000"
        ]

    play(scene)


@pytest.mark.parametrize(
    ("verb", "named"),
    [
        (Verb.OPEN_ORDERS, "open orders of FET-USDT"),
        (Verb.POSITIONS, "positions"),
        (Verb.BALANCE, "balance"),
        (Verb.ORDER, "order "),
    ],
)
def test_a_question_that_fails_is_named_and_nothing_is_flat(
    verb: Verb, named: str, play: Callable[..., None]
) -> None:
    async def scene(stage: Stage) -> None:
        await stage.enter()
        await stage.quiet()
        if verb is Verb.ORDER:  # asked only about an order that is not terminal and not listed
            stage.venue.set_script((Rule(verb=Verb.ORDER, do=Do.FAIL, times=0),))
            await stage.node.runtime.ask(exit_of("T1"))
            await stage.until(lambda: bool(stage.kernel.open_orders()))
        else:
            stage.venue.set_script((Rule(verb=verb, do=Do.FAIL, times=0),))
        with pytest.raises(VenueError, match=f"did not answer: {named}"):
            await stage.report()
        stage.venue.set_script(())

    play(scene)


def exit_of(trade: str) -> KernelIntent:
    return KernelIntent(
        command=KernelCommandType.EXIT, received_ms=1, intent_id=f"exit-{trade}", trade_id=trade
    )


class Answers:
    """A venue that answers one look: a foreign order works, ours is known by its id only."""

    def __init__(self, report: OrderReport) -> None:
        self.report = report
        self.asked: list[OrderRef] = []

    async def open_orders(self, asset: str) -> Rows[OrderReport]:
        return Rows((replace(self.report, client_order_id="", venue_order_id="77"),))

    async def order(self, ref: OrderRef) -> OrderReport:
        self.asked.append(ref)
        return replace(self.report, status=VenueOrderStatus.CANCELLED)

    async def positions(self) -> Rows[PositionReport]:
        return Rows()

    async def balance(self) -> BalanceReport:
        return BalanceReport(wallet=1, available_margin=1, requested_ms=1, answered_ms=2)


def test_an_order_without_an_answer_is_asked_about_beside_nameless_ones() -> None:
    """It has no venue id yet, and a foreign order has no client id: two nothings are no match."""
    desk = Desk()
    desk.enter()
    report = OrderReport(
        client_order_id=desk.venue_ids["T1"].upper(),
        venue_order_id="9",
        asset="FET-USDT",
        side=OrderSide.BUY,
        order_type=OrderType.MARKET,
        status=VenueOrderStatus.WORKING,
        quantity_e8=q(100),
        filled_e8=0,
        average_price_e10=0,
        fee=None,
        realized=None,
        updated_ms=1,
    )
    venue = Answers(report)
    seen = asyncio.run(read_both_views(desk.engine, cast(Venue, venue)))
    assert [ref.client_order_id for ref in venue.asked] == [desk.venue_ids["T1"]]
    rows = compare(seen.ours, seen.theirs).differences
    assert [row.cause for row in rows[:2]] == [Cause.ENDED, Cause.FOREIGN_ORDER]


def test_a_visit_does_not_count_as_a_start(tmp_path: Path) -> None:
    """Else four questions to a dead exchange would look like a crash loop."""
    budget = StartBudget(tmp_path, budget=2, window_ms=60_000)
    for number in range(10):
        assert not budget.start(number)
        budget.take_back()
    assert [budget.start(20), budget.start(21), budget.start(22)] == [False, False, True]


def test_open_orders_are_asked_before_positions(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And once more for a symbol that only its position names; positions come after both."""

    async def scene(stage: Stage) -> None:
        await stage.enter()
        stage.by_hand(OrderSide.BUY, 10, "TRX-USDT")
        await stage.quiet()
        asked: list[str] = []
        for name in ("open_orders", "positions", "balance"):
            spy(stage.venue, name, asked, monkeypatch)
        seen = await read_both_views(stage.node.runtime.engine, stage.venue)
        assert asked == [
            "open_orders FET-USDT", "positions", "open_orders TRX-USDT", "positions", "balance",
        ]  # fmt: skip
        assert seen.theirs.assets == ("FET-USDT", "TRX-USDT")

    play(scene)


@pytest.mark.parametrize("name", ["positions", "open_orders"])
def test_a_row_that_cannot_be_read_ends_a_look_only_when_it_is_about_ours(
    play: Callable[..., None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that left it out would call the position or the order gone."""

    async def scene(stage: Stage) -> None:
        await stage.enter()
        engine, real = stage.node.runtime.engine, getattr(stage.venue, name)
        odd = ""

        async def answer(*asked: str) -> Rows[Any]:
            row = UnreadableRow(why="as damaged", asset=odd)
            return Rows(await real(*asked), (row,))

        monkeypatch.setattr(stage.venue, name, answer)
        odd = "TRX-USDT"
        assert len((await read_both_views(engine, stage.venue)).theirs.positions) == 1
        odd = "FET-USDT"
        with pytest.raises(VenueError, match="a row about FET-USDT cannot be read"):
            await read_both_views(engine, stage.venue)

    play(scene)


def spy(venue: MockVenue, name: str, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    real = getattr(venue, name)

    async def listening(*words: str) -> Any:
        asked.append(" ".join((name, *words)))
        return await real(*words)

    monkeypatch.setattr(venue, name, listening)


# -- applying --------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", [1000, 400])
def test_a_close_by_hand_whose_frame_was_lost(closed: int, play: Callable[..., None]) -> None:
    """Found, booked to the trade with the exchange's figures, and the money agrees to the digit."""

    async def scene(stage: Stage) -> None:
        await stage.enter()
        await stage.quiet()
        stage.deaf()
        stage.venue.advance("FET-USDT", p("0.4"))
        stage.by_hand(OrderSide.BUY, closed)
        record = await stage.report()
        whole = closed == 1000
        position = "position closed outside" if whole else "position reduced outside"
        assert causes(record) == [position, "wallet moved since"]
        done = await stage.apply(record["plan"])
        assert [each["result"].split(";")[0] for each in done["done"]] == [
            f"booked {closed} from outside",
            f"wallet {float_free(stage.venue.book.wallet)}",
        ]
        await stage.quiet()
        again = await stage.report()
        assert (again["differences"], again["difference"]) == (0, "0")
        assert stage.node.runtime.engine.snapshot.k_capital == stage.venue.book.wallet
        trade = stage.kernel.trade("T1")
        assert trade is not None
        assert trade.realized == m("0.1") * closed
        assert stage.state is (TradeStage.IDLE if whole else TradeStage.POSITION_OPEN)

    play(scene)


def float_free(money: int) -> str:
    return f"{money // 10**18}.{money // 10**10 % 10**8:08}"


def test_a_foreign_position_is_noted_or_adopted(play: Callable[..., None]) -> None:
    async def scene(stage: Stage) -> None:
        stage.deaf()
        stage.by_hand(OrderSide.BUY, 50)
        record = await stage.report()
        assert causes(record) == ["position foreign", "wallet moved since"]
        await stage.apply(record["plan"])
        refused = await stage.ask("intent", intent=entry_fields())
        assert refused["code"] == "FOREIGN_POSITION"
        again = await stage.report(adopt=["FETUSDT"])
        done = await stage.apply(again["plan"])
        assert "adopted into slot 0" in [each["result"] for each in done["done"]]
        slot = stage.kernel.slot(0)
        assert (slot.size_e8, slot.side, slot.entry_price_e10) == (q(50), TradeSide.LONG, p("0.5"))
        assert "position foreign" not in causes(done["reconcile"])
        await stage.node.runtime.ask(exit_of(slot.trade_id))
        await stage.until(lambda: stage.state is TradeStage.IDLE)
        assert stage.venue.book.positions == {}

    play(scene)


def entry_fields() -> dict[str, Any]:
    return {
        "command": int(KernelCommandType.ENTER),
        "trade_id": "T9",
        "asset": "FET-USDT",
        "quantity_e8": q(100),
        "reference_price_e10": p("0.5"),
    }


def test_an_order_of_another_kernel_holds_and_a_foreign_one_is_left_alone(
    play: Callable[..., None],
) -> None:
    async def scene(stage: Stage) -> None:
        for name in ("hand-made", "a" * 32):
            await stage.venue.submit(resting(name))
        record = await stage.report(symbols=["FET-USDT"])
        assert sorted(causes(record)) == ["foreign order", "order of another kernel"]
        assert stage.kernel.freeze_causes() == ()
        done = await stage.apply(record["plan"])
        assert [each["result"] for each in done["done"]] == ["held"]
        assert stage.kernel.freeze_causes() == ("hold",)
        assert len(await stage.venue.open_orders("FET-USDT")) == 2

    play(scene)


def resting(client_order_id: str) -> SubmitOrder:
    return SubmitOrder(
        client_order_id=client_order_id,
        asset="FET-USDT",
        side=OrderSide.BUY,
        order_type=OrderType.LIMIT,
        quantity_e8=q(100),
        limit_price_e10=p("0.3"),
    )


def test_an_order_that_was_lost_is_proven_absent(play: Callable[..., None]) -> None:
    """The submit never arrived and was never answered: unanswered, then absent, then nothing."""

    async def scene(stage: Stage) -> None:
        stage.venue.set_script((Rule(verb=Verb.SUBMIT, do=Do.LOST),))
        await stage.enter(order_type=OrderType.LIMIT, limit_price_e10=p("0.9"))
        record = await stage.report()
        assert causes(record) == ["order unanswered"]
        assert [step["kind"] for step in record["plan"]["steps"]] == [2]
        done = await stage.apply(record["plan"])
        assert done["done"][0]["result"] in ("settled, its trade is complete", "ABSENT, final")
        assert done["reconcile"]["differences"] == 0

    play(scene)


def test_a_plan_is_refused_when_the_exchange_has_moved(play: Callable[..., None]) -> None:
    async def scene(stage: Stage) -> None:
        await stage.enter()
        await stage.quiet()
        stage.deaf()
        stage.by_hand(OrderSide.BUY, 400)
        record = await stage.report()
        seq = stage.kernel.event_seq
        stage.by_hand(OrderSide.BUY, 100)
        with pytest.raises(RefusedForSafety, match="another exchange's state"):
            await stage.apply(record["plan"])
        edited = {**record["plan"], "namespace": "other"}
        with pytest.raises(RefusedForSafety, match="changed since"):
            await stage.apply(edited)
        with pytest.raises(UsageError, match="plan refused"):
            await stage.apply({"steps": []})
        with pytest.raises(UsageError):
            await stage.ask("reconcile_apply", plan=record["plan"], reason="")
        assert not stage.kernel.slot(0).exit_latched
        assert stage.kernel.event_seq - seq <= 2  # a balance or a tick, no step of the plan
        with pytest.raises(RefusedForSafety, match="not flat"):
            await stage.report(when_flat=True)

    play(scene)


def test_what_a_plan_did_is_in_the_journal_with_who_and_why(
    play: Callable[..., None], tmp_path: Path
) -> None:
    plans = []

    async def scene(stage: Stage) -> None:
        await stage.enter()
        await stage.quiet()
        stage.deaf()
        stage.by_hand(OrderSide.BUY, 1000)
        record = await stage.report()
        plans.append(record["plan"]["plan_id"])
        await stage.apply(record["plan"], reason="closed by hand")

    play(scene)
    reasons = journalled_reasons(tmp_path / "state")
    assert f"jo: reconcile {plans[0]}: closed by hand" in reasons


def test_what_was_done_is_told_when_the_exchange_falls_silent(play: Callable[..., None]) -> None:
    async def scene(stage: Stage) -> None:
        await stage.enter()
        await stage.quiet()
        stage.deaf()
        stage.by_hand(OrderSide.BUY, 1000)
        record = await stage.report()
        drop = Rule(verb=Verb.STREAM, do=Do.DROP, times=0)
        stage.venue.set_script((drop, Rule(verb=Verb.BALANCE, do=Do.FAIL, nth=2, times=0)))
        done = await stage.apply(record["plan"])
        assert len(done["done"]) == 2
        assert done["done"][0]["result"].startswith("booked 1000 from outside")
        assert done["done"][1]["result"].startswith("not done: the exchange did not answer")
        assert done["reconcile"] is None
        assert "balance" in done["problem"]
        stage.venue.set_script(())

    play(scene)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happened_outside_plans_lead_back(seed: int, play: Callable[..., None]) -> None:
    """Closes, strangers, funding, transfers, all unheard; at the end every figure is equal."""

    async def scene(stage: Stage) -> None:
        await stage.enter()
        await stage.quiet()
        stage.deaf()
        mishaps(stage, random.Random(seed))
        for _ in range(3):
            record = await stage.report()
            await stage.apply(record["plan"])
        left = set(causes(await stage.report()))
        # Settling: a transfer so near to the balance that it may not be in it.
        assert left <= {
            "position foreign", "foreign activity", "pending", "rounding", "settling",
        }, left  # fmt: skip
        await stage.ask("anchor", apply=True, everything=True)
        assert set(causes(await stage.report())) <= {"position foreign"}
        account = stage.node.runtime.engine.snapshot
        assert account.capital == account.k_capital == stage.venue.book.wallet
        held = {p.asset: p.quantity_e8 for p in await stage.venue.positions()}
        ours = {s.asset: s.size_e8 for s in stage.kernel.active_slots()}
        assert ours.get("FET-USDT", 0) == held.get("FET-USDT", 0)

    play(scene)


def mishaps(stage: Stage, chance: random.Random) -> None:
    """Up to six things that nobody tells us of."""
    left = 1000
    for _ in range(chance.randint(1, 6)):
        match chance.randrange(5):
            case 0 if left:
                quantity = chance.randint(1, left)
                left -= quantity
                stage.by_hand(OrderSide.BUY, quantity)
            case 1:
                side = chance.choice((OrderSide.BUY, OrderSide.SELL))
                stage.by_hand(side, chance.randint(1, 50), "TRX-USDT")
            case 2:
                stage.venue.transfer(m(chance.randint(-50, 50) or 1))
            case 3:
                stage.venue.fund("FET-USDT", chance.randint(-500_000, 500_000))
            case _:
                stage.venue.advance("FET-USDT", p("0.5") + chance.randint(-500, 500) * p("0.0001"))


# -- anchor ----------------------------------------------------------------------------------------


def test_anchor_books_unexplained_drift_and_thaws(
    play: Callable[..., None], tmp_path: Path
) -> None:
    """25 USDT that nobody explains: pending first, then unexplained and frozen, then booked."""
    clock = ManualClock(START_MS)

    async def scene(stage: Stage) -> None:
        engine = stage.node.runtime.engine
        stage.venue.book.wallet += m("25")  # without a row in any history
        with pytest.raises(RefusedForSafety, match="may still get its cause"):
            await stage.ask("anchor", apply=True)
        for _ in range(13):  # in steps, as a jump is a process that stood still
            clock.advance_ms(9_400)
            await asyncio.sleep(0.03)
        planned = (await stage.ask("anchor"))["anchor"]
        assert planned["adjustments"] == {"unexplained": "25"}
        assert (planned["k_before"], planned["k_after"]) == ("10000", "10025")
        assert planned["entries_frozen"] == ["unexplained drift"]
        assert engine.snapshot.k_capital == m("10000")
        record = await stage.report()
        assert causes(record) == ["unexplained"]
        who = [step["text"].partition(":")[0] for step in record["plan"]["steps"]]
        assert who == ["by an operator"]
        done = (await stage.ask("anchor", apply=True, reason="a bonus"))["anchor"]
        assert (done["applied"], done["drift_after"], done["entries_frozen"]) == (True, "0", [])
        assert engine.snapshot.k_capital == engine.snapshot.capital == m("10025")
        nothing = (await stage.ask("anchor", apply=True))["anchor"]
        assert (nothing["adjustments"], nothing["applied"]) == ({}, False)

    play(scene, clock=clock)
    reasons = journalled_reasons(tmp_path / "state")
    assert "jo: anchor, unexplained 25: a bonus" in reasons


def test_anchor_books_everything_only_when_told(play: Callable[..., None]) -> None:
    async def scene(stage: Stage) -> None:
        stage.venue.book.wallet -= m("3")
        done = (await stage.ask("anchor", apply=True, everything=True))["anchor"]
        assert done["adjustments"] == {"pending": "-3"}
        assert (done["k_after"], done["drift_after"]) == ("9997", "0")

    play(scene)


def test_anchor_reads_the_income_first(play: Callable[..., None]) -> None:
    """A transfer is no drift once its row is read; what strangers did is, and has its name."""

    clock = ManualClock(START_MS)

    async def scene(stage: Stage) -> None:
        stage.deaf()
        clock.advance_ms(10)  # rows of the seed's own millisecond are in the seed
        stage.venue.transfer(m("40"))
        read = (await stage.ask("anchor", apply=True))["anchor"]
        assert (read["adjustments"], read["k_after"]) == ({}, "10040")
        stage.by_hand(OrderSide.BUY, 100)
        record = await stage.report()
        assert causes(record) == ["position foreign", "wallet moved since"]
        clock.advance_ms(3_000)  # a balance so near to a transfer may lack it
        booked = (await stage.ask("anchor", apply=True))["anchor"]
        assert booked["adjustments"] == {"foreign_activity": "-0.025"}
        assert (booked["k_after"], booked["drift_after"]) == ("10039.975", "0")

    play(scene, clock=clock)


def test_anchor_is_refused_while_the_balance_is_not_quiet(play: Callable[..., None]) -> None:
    async def scene(stage: Stage) -> None:
        hide = Rule(verb=Verb.ORDER, do=Do.FAIL, times=0)
        stage.venue.set_script((Rule(verb=Verb.SUBMIT, do=Do.SILENT), hide))
        await stage.enter(order_type=OrderType.LIMIT, limit_price_e10=p("0.9"))
        k = stage.node.runtime.engine.snapshot.k_capital
        with pytest.raises(RefusedForSafety, match=r"not quiet: .*order .* is"):
            await stage.ask("anchor", apply=True)
        stage.venue.set_script((Rule(verb=Verb.BALANCE, do=Do.FAIL, times=0),))
        with pytest.raises(VenueError, match="balance"):
            await stage.ask("anchor", apply=True)
        assert stage.node.runtime.engine.snapshot.k_capital == k
        stage.venue.set_script(())

    play(scene)


# -- soak -----------------------------------------------------------------------------------------


async def sampled(stage: Stage) -> dict[str, Any]:
    record: dict[str, Any] = (await stage.ask("balance"))["balance"]
    return record


def test_a_sample_says_whether_money_is_on_its_way(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At rest it is idle; with an order open, or when capital moves during the question, not."""

    async def scene(stage: Stage) -> None:
        await stage.quiet()
        rest = await sampled(stage)
        assert (rest["settling"], rest["difference"], rest["wallet"]) == (False, "0", "10000")
        stage.deaf()
        stage.venue.transfer(m("5"))
        apart = await sampled(stage)
        assert (apart["settling"], apart["difference"]) == (False, "-5")
        real = stage.venue.balance

        async def slow() -> BalanceReport:
            await take_balance(stage.node.runtime)  # an anchor comes while we wait
            return await real()

        with monkeypatch.context() as patched:
            patched.setattr(stage.node.runtime, "venue", cast(Venue, Slow(stage.venue, slow, real)))
            moved = await sampled(stage)
        assert (moved["settling"], moved["difference"]) == (True, "0")
        stage.venue.set_script(())
        await stage.enter(order_type=OrderType.LIMIT, limit_price_e10=p("0.9"))
        assert (await sampled(stage))["settling"]

    play(scene)


class Slow:
    """The venue, but the first balance question lets something happen meanwhile."""

    def __init__(
        self,
        venue: MockVenue,
        slow: Callable[[], Awaitable[BalanceReport]],
        real: Callable[[], Awaitable[BalanceReport]],
    ) -> None:
        self._venue = venue
        self._questions = [slow, real]

    async def balance(self) -> BalanceReport:
        return await (self._questions.pop(0) if len(self._questions) > 1 else self._questions[0])()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._venue, name)


# -- smoke -----------------------------------------------------------------------------------------


def steps_of(record: dict[str, Any]) -> list[str]:
    return [f"{'+' if step['ok'] else '-'}{step['step']}" for step in record["steps"]]


async def smoke(stage: Stage, **request: Any) -> dict[str, Any]:
    request = {"symbol": "TRX-USDT", "price": "0.3", **request}
    record: dict[str, Any] = (await stage.ask("smoke", **request))["smoke"]
    return record


@pytest.mark.parametrize("side", ["LONG", "SHORT"])
def test_smoke_makes_one_round_trip(side: str, play: Callable[..., None]) -> None:
    async def scene(stage: Stage) -> None:
        dry = await smoke(stage, dry_run=True, side=side)
        assert steps_of(dry) == ["+contract", "+free", "+balance", "+plan"]
        assert stage.venue.book.orders == []
        record = await smoke(stage, side=side)
        assert (record["ok"], record["code"], record["left_open"]) == (True, 0, False)
        assert steps_of(record)[4:] == [
            "+entry", "+fill", "+position", "+exit", "+exit fill", "+flat", "+fee and PnL",
            "+wallet",
        ]  # fmt: skip
        entry, out = stage.venue.book.orders
        assert (entry.filled_e8, out.filled_e8, out.reduce_only) == (q(8), q(8), True)
        assert int(entry.side) == int(TradeSide[side])
        assert stage.venue.book.positions == {}
        asked = await smoke(stage, price="", dry_run=True)  # the venue tells the price
        assert asked["ok"] and "about 2.4000 USDT" in asked["steps"][-1]["text"]

    play(scene)


def test_smoke_refuses_before_it_sends(play: Callable[..., None]) -> None:
    async def scene(stage: Stage) -> None:
        stage.venue.set_script((Rule(verb=Verb.PRICE, do=Do.FAIL, times=0),))
        with pytest.raises(VenueError, match="price of TRX-USDT"):
            await smoke(stage, price="")
        with pytest.raises(UsageError, match="price refused"):
            await smoke(stage, price="0")
        stage.venue.set_script(())
        stage.by_hand(OrderSide.BUY, 10, "TRX-USDT")
        with pytest.raises(RefusedForSafety, match="position BUY"):
            await smoke(stage)
        await stage.node.service.control(ControlAction.HOLD, "test", "jo")
        with pytest.raises(RefusedForSafety, match="entries frozen: hold"):
            await smoke(stage, symbol="FET-USDT", price="0.5")
        stage.venue.set_script((Rule(verb=Verb.POSITIONS, do=Do.FAIL, times=0),))
        with pytest.raises(VenueError, match="positions"):
            await smoke(stage)
        stage.venue.set_script(())
        assert [order.client_order_id for order in stage.venue.book.orders if order.leverage] == [
            order.client_order_id for order in stage.venue.book.orders
        ]
        assert stage.kernel.trade_seq == 0

    play(scene)


def test_smoke_refuses_real_money(play: Callable[..., None]) -> None:
    async def scene(stage: Stage) -> None:
        with pytest.raises(RefusedForSafety, match="real money"):
            await smoke(stage)
        assert (await smoke(stage, live_money=True, dry_run=True))["ok"]

    play(scene, environment=VenueEnvironment.LIVE)


@pytest.mark.parametrize(
    ("rule", "failing", "code"),
    [
        (Rule(verb=Verb.SUBMIT, do=Do.REJECT), "-fill", 1),
        (Rule(verb=Verb.SUBMIT, do=Do.EXPIRE, share_e9=9 * 10**8), "-fill", 1),
        # Its own, and that of the service, which asks about each new position.
        (Rule(verb=Verb.POSITIONS, do=Do.FAIL, nth=2, times=2), "-venue", 6),
    ],
)
def test_smoke_leaves_nothing_open_when_it_fails(
    rule: Rule, failing: str, code: int, play: Callable[..., None]
) -> None:
    """The entry is rejected, filled in part only, or its position cannot be asked for."""

    async def scene(stage: Stage) -> None:
        stage.venue.set_script((rule,))
        record = await smoke(stage)
        assert (record["ok"], record["code"], record["left_open"]) == (False, code, False)
        assert failing in steps_of(record)
        assert steps_of(record)[-1] in ("+nothing left open", "+flat after all")
        assert stage.venue.book.positions == {}

    play(scene)


def test_smoke_says_when_dust_is_left(play: Callable[..., None]) -> None:
    """Half of the smallest quantity cannot be sold again: it is said, and reconcile agrees."""

    async def scene(stage: Stage) -> None:
        stage.venue.set_script((Rule(verb=Verb.SUBMIT, do=Do.EXPIRE, share_e9=5 * 10**8),))
        record = await smoke(stage)
        assert (record["code"], record["left_open"]) == (1, True)
        assert "-dust" in steps_of(record)
        await stage.quiet()
        assert (await stage.report())["differences"] == 0

    play(scene)


def test_smoke_sees_money_that_the_trade_did_not_make(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody takes a cent out in the middle: the last line says by how much, nothing is open."""

    async def scene(stage: Stage) -> None:
        real, asked = stage.venue.positions, []

        async def positions() -> Rows[PositionReport]:
            asked.append(1)
            if len(asked) == 2:
                stage.venue.transfer(m("-0.01"))
            return await real()

        monkeypatch.setattr(stage.venue, "positions", positions)
        record = await smoke(stage)
        assert (record["code"], record["left_open"]) == (1, False)
        assert steps_of(record)[-2:] == ["-wallet", "+nothing left open"]
        assert "moved by -0.0124, the trade made -0.0024" in record["steps"][-2]["text"]

    play(scene)
