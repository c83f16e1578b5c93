"""The regular questions: income by whose doing it was, closes from outside, a second kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest
from desk import m, p, q
from msgspec.structs import replace
from test_runtime import Floor
from virtual_time import run

from dita.contracts import (
    DriftCause,
    KernelEventKind,
    OrderSide,
    OrderType,
    TradeStage,
    VenueEvent,
)
from dita.kernel import ExecutionKernel
from dita.runtime.loop import RunState
from dita.runtime.service import Cadence
from dita.venues import FillReport, IncomeKind, IncomeReport, SubmitOrder
from dita.venues.attribution import LIQUIDATION_MS, NEAR_MS, Books, attribute, symbols_of_trades
from dita.venues.mock import Do, MockConfig, Noise, Rule, Verb, fet_config

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

Scene = Callable[[Floor], Awaitable[None]]


def watched(scene: Scene, config: MockConfig | None = None) -> Floor:
    """A service whose questions come every second."""

    async def play() -> Floor:
        floor = Floor(config or fet_config())
        floor.service.cadence = Cadence(
            tick_ms=20, in_flight_s=1, open_orders_s=1, positions_s=1, balance_s=1, income_s=1,
            drain_limit_s=3,
        )  # fmt: skip
        await floor.service.start()
        await scene(floor)
        await floor.service.drain()
        await floor.service.close()
        return floor

    return run(play())


def causes(floor: Floor) -> Mapping[DriftCause, int]:
    return floor.engine.snapshot.drift_by_cause


async def up_to_date(floor: Floor) -> None:
    """Income and the balance have been read after now."""
    ledger, feeds = floor.engine.kernel.ledger, floor.service.feeds
    for _ in range(3):
        read_ms, balance_ms = ledger().income_read_ms, feeds.balance_ms
        while ledger().income_read_ms <= read_ms or feeds.balance_ms <= balance_ms:
            await asyncio.sleep(0.02)


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
