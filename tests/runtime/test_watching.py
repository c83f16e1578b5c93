"""The regular questions: income by whose doing it was, closes from outside, a second kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace
from support.engine_driver import m, p, q
from support.floor import Floor, Scene, up_to_date, watched

from dita.contracts import (
    DriftCause,
    EvidenceSource,
    KernelCommandType,
    KernelEventKind,
    KernelIntent,
    OrderSide,
    OrderType,
    TradeStage,
    VenueEvent,
    VenueOrderStatus,
)
from dita.engine import Outcome
from dita.errors import Unforeseen
from dita.kernel import ExecutionKernel
from dita.runtime.loop import RunState, Runtime
from dita.runtime.queries.order_query import LOOK_BACK_MS, OrderQuery
from dita.runtime.service import Cadence, Service
from dita.simulation.virtual_time import START_MS, run
from dita.venues import (
    FillReport,
    IncomeKind,
    IncomeReport,
    OrderRef,
    OrderReport,
    Rows,
    SubmitOrder,
    UnknownSymbol,
)
from dita.venues.attribution import LIQUIDATION_MS, NEAR_MS, Books, attribute, symbols_of_trades
from dita.venues.mock import Do, Noise, Rule, Verb, fet_config

Kind = KernelEventKind
FET, TRX = "FET-USDT", "TRX-USDT"
OWN, THEIRS, LIQUIDATION = "11", "22", "33"
BOOKS = Books(
    own_orders=frozenset({OWN, LIQUIDATION}),
    closed_outside=frozenset({LIQUIDATION}),
    held_e8={"FETUSDT": (q(100),)},
)


def fill(order: str, trade: str, *, fee: str = "0.5") -> FillReport:
    return FillReport(
        fill_id=trade, client_order_id="", venue_order_id=order, asset=FET, side=OrderSide.BUY,
        quantity_e8=q(100), price_e10=p("0.5"), fee=m(fee), filled_ms=1_000,
    )  # fmt: skip


def row(
    kind: IncomeKind, amount: str, trade: str = "", at_ms: int = 1_000, *, asset: str = FET
) -> IncomeReport:
    return IncomeReport(
        income_id=f"{kind.name}-{trade}-{at_ms}",
        kind=kind,
        asset=asset,
        amount=m(amount),
        trade_id=trade,
        time_ms=at_ms,
    )


def sums(events: tuple[VenueEvent, ...]) -> list[tuple[KernelEventKind, int | None]]:
    return [(event.kind, event.amount) for event in events]


# -- attribution -----------------------------------------------------------------------------------


def test_rows_of_own_orders_are_levels_already_and_rows_of_others_are_named() -> None:
    fills = (fill(OWN, "a"), fill(THEIRS, "22:b"))
    rows = (
        row(IncomeKind.REALIZED, "3", "a"),
        row(IncomeKind.FEE, "-0.5", "a"),
        row(IncomeKind.REALIZED, "-7", "b"),
        row(IncomeKind.FEE, "-0.5", "b"),
    )
    found = attribute(rows, fills, BOOKS)
    assert found.own == rows[:2]
    assert sums(found.events) == [
        (KernelEventKind.FOREIGN_FLOW, m(-7)),
        (KernelEventKind.FOREIGN_FLOW, m("-0.5")),
    ]
    assert found.unmatched == ()


def test_a_row_that_names_no_fill_is_matched_by_symbol_amount_and_time() -> None:
    fills = (fill(OWN, "a", fee="0.5"), fill(THEIRS, "b", fee="0.7"))
    found = attribute((row(IncomeKind.FEE, "-0.7", "other-id", 1_000 + NEAR_MS),), fills, BOOKS)
    assert sums(found.events) == [(KernelEventKind.FOREIGN_FLOW, m("-0.7"))]
    found = attribute((row(IncomeKind.FEE, "-0.5", "", 1_000),), fills, BOOKS)
    assert len(found.own) == 1


@pytest.mark.parametrize(
    "lonely",
    [
        row(IncomeKind.FEE, "-0.6", "x"),  # no fill of that fee
        row(IncomeKind.REALIZED, "5", "x"),  # near to fills of both
        row(IncomeKind.FEE, "-0.5", "x", 1_001 + NEAR_MS),  # too late
        row(IncomeKind.FEE, "-0.5", "a", asset=TRX),  # another symbol
    ],
)
def test_what_cannot_be_told_is_left_over(lonely: IncomeReport) -> None:
    found = attribute((lonely,), (fill(OWN, "a"), fill(THEIRS, "b", fee="0.7")), BOOKS)
    assert (found.unmatched, found.events, found.own) == ((lonely,), (), ())


@pytest.mark.parametrize(
    ("held", "fills", "ours"),
    [
        ((100,), (), True),  # held before and now
        ((), (), False),
        ((100,), ((OWN, OrderSide.BUY, 9_000),), False),  # opened since
        ((), ((OWN, OrderSide.SELL, 9_000),), True),  # closed since
        ((), ((THEIRS, OrderSide.SELL, 9_000),), False),  # somebody else's
        ((100,), ((OWN, OrderSide.BUY, 1_900),), True),  # in the same second
        ((-100,), ((OWN, OrderSide.BUY, 9_000),), True),
        ((100, -100), (), True),  # both sides in hedge mode
    ],
)
def test_funding_is_ours_when_we_held_the_symbol(
    held: tuple[int, ...], fills: tuple[tuple[str, OrderSide, int], ...], ours: bool
) -> None:
    books = replace(BOOKS, held_e8={"FETUSDT": tuple(q(1) * size for size in held)})
    known = tuple(
        replace(fill(order, f"t{n}"), side=side, filled_ms=at_ms)
        for n, (order, side, at_ms) in enumerate(fills)
    )
    (event,) = attribute((row(IncomeKind.FUNDING, "1"),), known, books).events
    kind = KernelEventKind.FUNDING_FEE if ours else KernelEventKind.FOREIGN_FLOW
    assert (event.kind, event.amount) == (kind, m(1))


@pytest.mark.parametrize("kind", [IncomeKind.REALIZED, IncomeKind.INSURANCE])
def test_on_a_symbol_in_doubt_nothing_is_called_somebody_elses(kind: IncomeKind) -> None:
    books = replace(BOOKS, in_doubt=frozenset({"FETUSDT"}))
    rows = (row(kind, "-7", "b" if kind is IncomeKind.REALIZED else ""),)
    found = attribute(rows, (fill(THEIRS, "b"),), books)
    assert (found.undecided, found.events, found.unmatched) == (rows, (), ())


@pytest.mark.parametrize("kind", [IncomeKind.TRANSFER, IncomeKind.OTHER])
def test_transfers_and_the_venues_own_doing_move_the_checksum(kind: IncomeKind) -> None:
    (event,) = attribute((row(kind, "5", asset=""),), (), BOOKS).events
    assert (event.kind, event.amount) == (KernelEventKind.TRANSFER, m(5))


def test_what_the_insurance_fund_bore_belongs_to_the_liquidated_trade() -> None:
    fills = (fill(LIQUIDATION, "a"), fill(LIQUIDATION, "b"))
    rows = (
        row(IncomeKind.REALIZED, "-60", "a"),
        row(IncomeKind.REALIZED, "-50", "b"),
        row(IncomeKind.INSURANCE, "10", "", 1_000 + LIQUIDATION_MS),
    )
    (event,) = attribute(rows, fills, BOOKS).events
    assert (event.kind, event.venue_order_id) == (KernelEventKind.FILL_SETTLED, LIQUIDATION)
    assert (event.quantity_e8, event.realized) == (q(200), m(-100))
    late = attribute((replace(rows[2], time_ms=1_001 + LIQUIDATION_MS),), fills, BOOKS).events
    assert sums(late) == [(KernelEventKind.FOREIGN_FLOW, m(10))]


def test_only_symbols_of_trades_need_their_fills() -> None:
    rows = (
        row(IncomeKind.OTHER, "1", asset="BTC-USDT"),
        row(IncomeKind.FEE, "1"),
        row(IncomeKind.REALIZED, "1"),
        row(IncomeKind.TRANSFER, "1", asset=""),
        row(IncomeKind.ADL, "1", asset=TRX),
    )
    assert symbols_of_trades(rows) == (FET, TRX)


# -- a service that watches ------------------------------------------------------------------------


def causes(floor: Floor) -> Mapping[DriftCause, int]:
    return floor.engine.snapshot.drift_by_cause


def test_funding_and_transfers_are_read_and_leave_no_drift() -> None:
    async def scene(floor: Floor) -> None:
        await floor.enter()
        await floor.until(TradeStage.POSITION_OPEN)
        floor.venue.noise = Noise(drop=1000)  # no frame tells of it
        paid = floor.venue.fund(FET, 100_000)
        assert paid > 0  # a short is paid
        floor.venue.transfer(m(500))
        await up_to_date(floor)
        snapshot = floor.engine.snapshot
        assert (snapshot.funding, snapshot.transfers, snapshot.drift) == (paid, m(500), 0)
        assert snapshot.k_capital == floor.venue.book.wallet
        floor.venue.noise = Noise()
        await floor.exit()
        await floor.until(TradeStage.IDLE)

    watched(scene)


def test_what_others_do_on_the_account_is_named_to_the_last_digit() -> None:
    async def scene(floor: Floor) -> None:
        before = floor.venue.book.wallet
        await asyncio.sleep(0.01)  # a row of the seed's own millisecond counts as part of the seed
        floor.venue.trade_by_hand(TRX, OrderSide.BUY, q(1000))
        floor.venue.advance(TRX, p("0.31"))
        floor.venue.trade_by_hand(TRX, OrderSide.SELL, q(1000))
        await up_to_date(floor)
        moved = floor.venue.book.wallet - before
        assert moved > 0
        assert causes(floor) == {DriftCause.FOREIGN_ACTIVITY: moved}
        assert not floor.engine.snapshot.entries_frozen

    watched(scene)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "no stream"])
@pytest.mark.parametrize("how", ["by hand", "liquidation", "adl"])
def test_a_close_from_outside_ends_the_trade_with_equal_money(how: str, stream: bool) -> None:
    async def scene(floor: Floor) -> None:
        await floor.enter()
        await floor.until(TradeStage.POSITION_OPEN)
        await floor.wait(lambda: not floor.engine.kernel.open_orders(), 5, "a final entry")
        if not stream:
            floor.venue.noise = Noise(drop=1000)
        floor.venue.advance(FET, p("0.52"))
        if how == "by hand":
            floor.venue.trade_by_hand(FET, OrderSide.BUY, q(1000))
        else:
            floor.venue.liquidate(FET, adl=how == "adl")
        await floor.until(TradeStage.IDLE, 5 if stream else 15)
        await up_to_date(floor)
        record = floor.engine.kernel.trade("T1")
        assert record is not None
        assert record.realized + record.trueup == m(-20)
        assert floor.engine.snapshot.k_capital == floor.venue.book.wallet
        assert causes(floor) == {}

    watched(scene)


def test_a_failed_question_means_nothing() -> None:
    async def scene(floor: Floor) -> None:
        await floor.enter()
        await floor.until(TradeStage.POSITION_OPEN)
        floor.venue.transfer(m(500))
        await floor.wait(lambda: floor.service.questions.failed_total > 0, 10, "a failed question")
        await up_to_date(floor)
        assert floor.engine.snapshot.transfers == m(500)
        assert floor.engine.kernel.slot(0).state is TradeStage.POSITION_OPEN

    rules = tuple(Rule(verb=Verb.INCOME, nth=n, do=Do.FAIL) for n in (1, 2))
    watched(scene, fet_config(rules=rules))


def test_an_order_that_looks_like_ours_and_is_not_means_hold() -> None:
    async def scene(floor: Floor) -> None:
        await floor.enter()
        await floor.until(TradeStage.POSITION_OPEN)
        floor.venue.book.place(
            SubmitOrder(
                client_order_id="x" * 32,
                asset=FET,
                side=OrderSide.BUY,
                order_type=OrderType.LIMIT,
                quantity_e8=q(10),
                limit_price_e10=p("0.4"),
            )
        )
        await floor.wait(lambda: floor.runtime.state is RunState.HOLD, 10, "HOLD")
        held = [r for r in floor.log.records if getattr(r, "reason", "").find("x" * 32) >= 0]
        assert len(held) == 1

    watched(scene)


def test_what_stays_due_is_told_of_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ExecutionKernel, "due_ms", property(lambda self: 1))

    async def scene(floor: Floor) -> None:
        before = len(floor.log.records)
        await asyncio.sleep(1.5)
        told = [r for r in floor.log.records[before:] if getattr(r, "kind", None) is Kind.TICK]
        assert 3 <= len(told) <= 8  # of 75 turns

    watched(scene)


# -- what was told and not taken -------------------------------------------------------------------


class Told:
    """What is told of strangers' orders, and a kernel that takes it only from some time on."""

    def __init__(self, floor: Floor) -> None:
        self.ids: list[str] = []
        self.takes = False
        self._apply = floor.engine.apply
        floor.engine.apply = self.apply  # type: ignore[method-assign]

    def apply(self, record: Any, packed: Any = None) -> Outcome:
        if getattr(record, "source", None) is EvidenceSource.FILL_HISTORY and (
            record.kind is Kind.FULL_FILL
        ):
            self.ids.append(record.venue_order_id)
            if not self.takes:
                refused = replace(record, venue_order_id="", client_order_id="", asset="NOBODY")
                return self._apply(refused)
        return self._apply(record, packed)


def test_what_was_told_and_not_taken_is_told_again_when_something_of_ours_changed() -> None:
    async def scene(floor: Floor) -> None:
        await floor.enter()
        await floor.until(TradeStage.POSITION_OPEN)
        await floor.wait(lambda: not floor.engine.kernel.open_orders(), 5, "a final entry")
        floor.venue.noise = Noise(drop=1000)
        told = Told(floor)
        floor.venue.trade_by_hand(FET, OrderSide.BUY, q(400))
        await asyncio.sleep(30)
        assert told.ids == [told.ids[0]]  # nothing has changed: said once
        await asyncio.sleep(60)
        assert len(told.ids) == 2  # but not for ever
        told.takes = True
        floor.venue.trade_by_hand(FET, OrderSide.BUY, q(100))  # and now it has
        await floor.wait(lambda: floor.engine.kernel.slot(0).size_e8 == q(500), 60, "both booked")
        assert len(set(told.ids)) == 2
        floor.venue.noise = Noise()
        await floor.exit()
        await floor.until(TradeStage.IDLE)

    watched(scene)


def test_while_a_doubt_lasts_its_history_is_read_less_and_less_often() -> None:
    async def scene(floor: Floor) -> None:
        await floor.enter()
        await floor.until(TradeStage.POSITION_OPEN)
        asked: list[float] = []
        all_orders = floor.venue.all_orders

        async def counted(asset: str, since_ms: int) -> Any:
            asked.append(asyncio.get_running_loop().time())
            return await all_orders(asset, since_ms)

        floor.venue.all_orders = counted  # type: ignore[method-assign]
        floor.venue.book.positions.clear()
        await asyncio.sleep(600)
        assert floor.service.poller.doubted_slots()
        assert 20 <= len(asked) <= 30
        assert asked[-1] - asked[-2] >= 29

    watched(scene)


def test_of_a_trade_older_than_the_fill_history_no_more_is_asked_than_the_venue_keeps() -> None:
    """A question that goes back too far would fail for ever, and nobody's close be found."""

    async def scene(floor: Floor) -> None:
        await floor.enter()
        await floor.until(TradeStage.POSITION_OPEN)
        await floor.wait(lambda: not floor.engine.kernel.open_orders(), 5, "final")
        fills, all_orders, asked = floor.venue.fills, floor.venue.all_orders, list[int]()

        async def without_ours(asset: str, since_ms: int) -> Rows[FillReport]:
            return Rows(f for f in await fills(asset, since_ms) if not f.client_order_id)

        async def kept(asset: str, since_ms: int) -> Rows[OrderReport]:
            asked.append(since_ms)
            return await all_orders(asset, since_ms)

        floor.venue.fills = without_ours  # type: ignore[method-assign]
        floor.venue.all_orders = kept  # type: ignore[method-assign]
        floor.venue.set_script((Rule(verb=Verb.STREAM, do=Do.DROP, times=0),))
        floor.venue.trade_by_hand("FET-USDT", OrderSide.BUY, q(1000))
        await floor.until(TradeStage.IDLE, 60)
        assert min(asked) >= START_MS - LOOK_BACK_MS

    watched(scene)


def refused_but_done(floor: Floor) -> None:
    """The exchange takes the next orders and says that it refused them; its frames are lost."""
    submit = floor.venue.submit
    floor.venue.set_script((Rule(verb=Verb.STREAM, do=Do.DROP, times=0),))

    async def lie(order: SubmitOrder) -> tuple[VenueEvent, ...]:
        await submit(order)
        floor.venue.submit = submit  # type: ignore[method-assign]
        return (
            VenueEvent(
                kind=KernelEventKind.ORDER_REJECT,
                received_ms=1,
                asset=order.asset,
                client_order_id=order.client_order_id,
            ),
        )

    floor.venue.submit = lie  # type: ignore[method-assign]


def test_an_entry_that_was_refused_and_filled_is_ours_whatever_was_said() -> None:
    async def scene(floor: Floor) -> None:
        await asyncio.sleep(1)  # rows of the seed's own millisecond are in the seed
        refused_but_done(floor)
        await floor.enter()
        await floor.until(TradeStage.IDLE)
        await floor.wait(lambda: bool(floor.engine.kernel.active_slots()), 300, "found")
        (slot,) = floor.engine.kernel.active_slots()
        assert (slot.trade_id, slot.entered_e8) == ("T1", q(1000))
        await floor.until(TradeStage.IDLE, 60)  # exited
        assert floor.venue.dump().positions == ()

    watched(scene)


def test_an_order_that_is_over_and_works_all_the_same_is_taken_back() -> None:
    async def scene(floor: Floor) -> None:
        await floor.enter()
        await floor.until(TradeStage.POSITION_OPEN)
        refused_but_done(floor)
        await floor.runtime.ask(
            KernelIntent(
                command=KernelCommandType.EXIT,
                received_ms=1,
                intent_id="exit-1",
                trade_id="T1",
                order_type=OrderType.LIMIT,
                limit_price_e10=p("0.4"),  # far from the market: it rests
            )
        )
        await floor.runtime.ask(
            KernelIntent(
                command=KernelCommandType.CANCEL, received_ms=1, intent_id="no", trade_id="T1"
            )
        )
        resting = [o for o in floor.venue.dump().orders if o.side is OrderSide.BUY]
        assert resting and resting[0].status is VenueOrderStatus.WORKING
        await asyncio.sleep(30)
        assert floor.venue.dump().orders[-1].status is VenueOrderStatus.CANCELLED
        assert floor.engine.kernel.slot(0).size_e8 == q(1000)

    watched(scene)


# -- income: whose rows, each once -----------------------------------------------------------------


def flows(floor: Floor, kind: KernelEventKind) -> list[VenueEvent]:
    return [r for r in floor.log.records if isinstance(r, VenueEvent) and r.kind is kind]


def without_client_ids(floor: Floor) -> None:
    """Fill histories often leave them empty."""
    fills = floor.venue.fills

    async def bare(asset: str, since_ms: int) -> Rows[FillReport]:
        return Rows(replace(f, client_order_id="") for f in await fills(asset, since_ms))

    floor.venue.fills = bare  # type: ignore[method-assign]


def test_rows_of_trades_that_are_long_forgotten_stay_ours() -> None:
    """110 round trips in a minute: the registry has forgotten the first, and income is re-read."""

    async def scene(floor: Floor) -> None:
        for number in range(110):
            trade = f"T{number}"
            outcome = await floor.enter(trade)
            while not outcome.kernel.accepted:
                await asyncio.sleep(0.05)
                outcome = await floor.enter(f"{trade}-{floor.engine.kernel.event_seq}")
            await floor.until(TradeStage.POSITION_OPEN)
            for slot in floor.engine.kernel.active_slots():
                await floor.exit(slot.trade_id)
            await floor.until(TradeStage.IDLE)
        first = floor.venue.book.orders[0].venue_order_id
        assert floor.engine.kernel.order_of_venue(first) is None
        without_client_ids(floor)
        floor.service.poller.history._settled.clear()  # as after a restart
        await up_to_date(floor)
        assert floor.engine.kernel.ledger().realized - floor.engine.kernel.ledger().fees != 0
        assert flows(floor, Kind.FOREIGN_FLOW) == []
        assert causes(floor) == {}

    watched(scene)


def test_a_row_that_was_ours_once_is_never_anybody_elses() -> None:
    async def scene(floor: Floor) -> None:
        await floor.enter()
        await floor.until(TradeStage.POSITION_OPEN)
        await floor.exit()
        await floor.until(TradeStage.IDLE)
        await up_to_date(floor)
        without_client_ids(floor)
        floor.engine.kernel.is_own_order = lambda venue_order_id: False  # type: ignore[method-assign]
        await up_to_date(floor)
        assert flows(floor, Kind.FOREIGN_FLOW) == []

    watched(scene)


def test_a_row_that_is_listed_late_is_read_all_the_same() -> None:
    async def scene(floor: Floor) -> None:
        income, late = floor.venue.income, True

        async def lagging(since_ms: int) -> Any:
            rows = await income(since_ms)
            return Rows(r for r in rows if not (late and r.kind is IncomeKind.TRANSFER))

        floor.venue.income = lagging  # type: ignore[method-assign]
        await asyncio.sleep(0.01)  # a row of the seed's own millisecond counts as part of the seed
        floor.venue.transfer(m(500))
        at_ms = floor.venue.book.now_ms
        await asyncio.sleep(300)
        assert floor.engine.kernel.ledger().income_read_ms > at_ms + 200_000
        assert floor.engine.snapshot.transfers == 0
        late = False
        await up_to_date(floor)
        assert floor.engine.snapshot.transfers == m(500)
        await asyncio.sleep(30)
        assert len(flows(floor, Kind.TRANSFER)) == 1  # and once

    watched(scene)


def test_a_symbol_whose_fills_are_not_told_holds_up_its_own_rows_alone() -> None:
    async def scene(floor: Floor) -> None:
        fills = floor.venue.fills

        async def of_fet(asset: str, since_ms: int) -> Any:
            if asset == TRX:
                raise UnknownSymbol("it is not listed any more", found=asset)
            return await fills(asset, since_ms)

        floor.venue.fills = of_fet  # type: ignore[method-assign]
        await asyncio.sleep(0.01)
        floor.venue.trade_by_hand(TRX, OrderSide.BUY, q(1000))
        at_ms = floor.venue.book.now_ms
        await asyncio.sleep(0.01)
        floor.venue.transfer(m(500))
        floor.venue.trade_by_hand(FET, OrderSide.BUY, q(1000))
        await asyncio.sleep(30)
        assert floor.engine.snapshot.transfers == m(500)
        assert len(flows(floor, Kind.FOREIGN_FLOW)) == 1  # FET's
        assert floor.engine.kernel.ledger().income_read_ms == at_ms - 1  # TRX's is waited for
        assert [row.asset for row in floor.service.poller.history.unmatched] == [TRX]
        await asyncio.sleep(700)
        assert floor.engine.kernel.ledger().income_read_ms > at_ms + 600_000  # not for ever

    watched(scene)


def test_rows_of_strangers_are_told_once() -> None:
    async def scene(floor: Floor) -> None:
        await asyncio.sleep(0.01)
        floor.venue.trade_by_hand(TRX, OrderSide.BUY, q(1000))
        await asyncio.sleep(120)
        assert len(flows(floor, Kind.FOREIGN_FLOW)) == 1

    watched(scene)


# -- no mechanism is dead because another one does its work ----------------------------------------


def quiet_config(**cadence: int) -> Cadence:
    """Nothing is asked regularly but what is named."""
    never = dict.fromkeys(
        ("in_flight_s", "open_orders_s", "positions_s", "balance_s", "income_s"), 10**6
    )
    return Cadence(tick_ms=20, drain_limit_s=3, **{**never, **cadence})


def alone(scene: Scene, **cadence: int) -> Floor:
    """A service that asks only what is named, and whose stream says nothing from the scene on."""

    async def play() -> Floor:
        floor = Floor(fet_config())
        floor.service.cadence = quiet_config(**cadence)
        await floor.service.start()
        await scene(floor)
        await floor.service.close()
        return floor

    return run(play())


async def opened(floor: Floor) -> None:
    await floor.enter()
    await floor.until(TradeStage.POSITION_OPEN)
    await floor.wait(lambda: not floor.engine.kernel.open_orders(), 10, "a final entry")


def test_positions_are_asked_regularly() -> None:
    async def scene(floor: Floor) -> None:
        await opened(floor)
        floor.venue.noise = Noise(drop=1000)
        floor.venue.trade_by_hand(FET, OrderSide.BUY, q(400))
        await floor.wait(lambda: floor.engine.kernel.slot(0).size_e8 == q(600), 60, "noticed")

    alone(scene, positions_s=30)


def test_an_open_order_that_is_not_listed_is_asked_about() -> None:
    async def scene(floor: Floor) -> None:
        floor.venue.set_script([Rule(verb=Verb.SUBMIT, do=Do.PARTIAL, share_e9=500_000_000)])
        await floor.enter()
        await floor.wait(lambda: bool(floor.venue.book.fills), 5, "half of it")
        await asyncio.sleep(1)
        floor.venue.noise = Noise(drop=1000)
        (order,) = floor.venue.book.orders
        floor.venue.fill(OrderRef(asset=FET, client_order_id=order.client_order_id))
        await floor.wait(lambda: floor.engine.kernel.slot(0).size_e8 == q(1000), 30, "noticed")

    alone(scene, open_orders_s=5)


def test_everything_is_asked_after_a_gap() -> None:
    async def scene(floor: Floor) -> None:
        await opened(floor)
        floor.venue.noise = Noise(drop=1000)
        floor.venue.trade_by_hand(FET, OrderSide.BUY, q(400))
        floor.venue.noise = Noise()
        await asyncio.sleep(60)
        assert floor.engine.kernel.slot(0).size_e8 == q(1000)  # nobody has noticed
        floor.venue.end_stream()
        await floor.wait(lambda: floor.engine.kernel.slot(0).size_e8 == q(600), 10, "noticed")

    alone(scene)


def test_a_failed_question_about_positions_is_never_flat() -> None:
    async def scene(floor: Floor) -> None:
        await opened(floor)
        floor.venue.set_script([Rule(verb=Verb.POSITIONS, do=Do.FAIL, times=0)])
        before = len(positions_told(floor))
        await asyncio.sleep(120)
        assert floor.service.questions.failing["positions"].count > 5
        assert len(positions_told(floor)) == before
        assert floor.engine.kernel.slot(0).state is TradeStage.POSITION_OPEN

    alone(scene, positions_s=2)


def positions_told(floor: Floor) -> list[VenueEvent]:
    return flows(floor, Kind.POSITION)


def test_an_order_is_final_only_when_the_fill_history_covers_it() -> None:
    async def scene(floor: Floor) -> None:
        fills, lags = floor.venue.fills, True

        async def lagging(asset: str, since_ms: int) -> Rows[FillReport]:
            found = await fills(asset, since_ms)
            return Rows(found[:-1]) if lags else found

        floor.venue.fills = lagging  # type: ignore[method-assign]
        await floor.enter()
        await floor.until(TradeStage.POSITION_OPEN)
        await asyncio.sleep(60)
        (order,) = floor.engine.kernel.open_orders()
        assert not order.final
        lags = False
        await floor.wait(lambda: not floor.engine.kernel.open_orders(), 10, "final")
        order = floor.engine.kernel.orders_of(order.trade_no)[0]
        assert order.cost_rank == EvidenceSource.FILL_HISTORY + 1

    alone(scene, in_flight_s=1)


def test_fees_are_checked_at_a_start() -> None:
    async def play() -> None:
        floor = Floor(fet_config())
        contract = floor.venue.contract

        async def another_rate(asset: str) -> Any:
            return replace(await contract(asset), taker_fee_e9=900_000)

        await floor.service.start()
        await opened(floor)
        await floor.service.close()
        await floor.venue.connect()
        floor.venue.contract = another_rate  # type: ignore[method-assign]
        again = Floor.__new__(Floor)
        again.clock, again.venue = floor.clock, floor.venue
        again.engine, again.log = floor.engine, floor.log
        again.runtime = Runtime(
            engine=again.engine, log=again.log, venue=again.venue, clock=again.clock
        )
        again.order_query = OrderQuery(again.runtime, absence_fence_ms=100)
        again.service = Service(again.runtime, again.order_query, quiet_config())
        await again.service.start()
        assert again.runtime.state is RunState.HOLD
        assert "by the contract's rate" in again.service.held_because
        await again.service.close()

    run(play())


def test_a_failed_background_task_ends_the_run_and_never_hangs_it() -> None:
    async def play() -> None:
        floor = Floor(fet_config())
        await floor.service.start()
        balance = floor.order_query.balance

        async def broken() -> None:
            raise ZeroDivisionError

        floor.order_query.balance = broken  # type: ignore[method-assign]
        floor.service.balance_due.set()
        async with asyncio.timeout(60):
            with pytest.raises(Unforeseen, match="balance"):
                await floor.service.run()
        floor.order_query.balance = balance  # type: ignore[method-assign]
        await floor.service.close()

    run(play())
