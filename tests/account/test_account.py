"""The account: anchors and bridge, the seed, drift by cause, freeze and thaw, sizer feedback."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from support.engine_driver import RULES, SHORT, STEP_MS, Desk, Kind, m, p, q

from dita.contracts import (
    BalanceReason,
    CapitalSource,
    ControlAction,
    DriftCause,
    EffectKind,
    EvidenceSource,
    KernelCommandType,
    KernelDiagnosticCode,
    OrderSide,
    ReconcileStatus,
)
from dita.engine import SizerFeedback

Code = KernelDiagnosticCode
REST = EvidenceSource.ORDER_QUERY


@pytest.fixture
def desk() -> Desk:
    """An account that is anchored at 25,000."""
    desk = Desk()
    desk.anchor("25000")
    return desk


def account(desk: Desk) -> Any:
    return desk.engine.snapshot


# -- anchors and the bridge ------------------------------------------------------------------------


def test_before_any_anchor_capital_is_the_seed() -> None:
    desk = Desk(seed=m(25_000))
    assert (account(desk).capital, account(desk).capital_source) == (m(25_000), CapitalSource.SEED)


def test_the_first_anchor_seeds_k_and_the_drift_is_zero() -> None:
    desk = Desk(seed=m(25_000))
    desk.anchor("100000")
    now = account(desk)
    assert (now.capital, now.k_capital, now.drift) == (m(100_000), m(100_000), 0)
    assert now.capital_source is CapitalSource.E_ANCHORED
    assert not now.entries_frozen


@pytest.mark.parametrize("amount", [0, m("-1")])
def test_a_wallet_that_is_not_positive_is_no_anchor(desk: Desk, amount: int) -> None:
    before = desk.engine.state_hash()
    out = desk.event(Kind.ACCOUNT_UPDATE, amount=amount)
    assert (out.kernel.accepted, out.kernel.code) == (False, Code.ZERO_WALLET)
    assert [e.kind for e in out.effects] == [EffectKind.QUERY_BALANCE]
    assert desk.engine.state_hash() == before
    assert account(desk).capital == m(25_000)


def test_a_rest_answer_of_zero_is_believed_and_freezes(desk: Desk) -> None:
    out = desk.event(Kind.ACCOUNT_UPDATE, amount=0, source=REST, requested_ms=desk.now)
    assert (out.kernel.accepted, out.kernel.code) == (True, Code.WALLET_EMPTY)
    assert account(desk).capital == m(25_000)
    assert desk.enter().kernel.code is Code.ENTRIES_FROZEN
    desk.anchor("25000")
    assert desk.enter().kernel.accepted


def test_a_frame_without_a_balance_is_refused(desk: Desk) -> None:
    out = desk.event(Kind.ACCOUNT_UPDATE)
    assert out.kernel.code is Code.INVALID_EVENT
    assert out.kernel.details["field"] == "money"


def test_an_old_anchor_is_refused(desk: Desk) -> None:
    out = desk.anchor("99", exchange_ms=5)
    assert out.kernel.code is Code.OLD_ANCHOR
    assert account(desk).capital == m(25_000)


def test_own_flows_bridge_from_anchor_to_anchor(desk: Desk) -> None:
    desk.open(100, "10", side=SHORT)
    desk.close(100, "9")
    now = account(desk)
    assert (now.capital, now.capital_source) == (m(25_100), CapitalSource.K_BRIDGED)
    desk.anchor("25100")
    now = account(desk)
    assert (now.capital, now.capital_source) == (m(25_100), CapitalSource.E_ANCHORED)
    assert now.drift == 0


def test_the_bridge_takes_fees_and_funding(desk: Desk) -> None:
    desk.enter()
    desk.fill("T1", 100, "10", full=True, fee=m("0.5"))
    desk.event(Kind.FUNDING_FEE, event_id="f1", amount=m("-0.25"))
    assert account(desk).capital == m("24999.25")
    assert account(desk).k_capital == m("24999.25")


@pytest.mark.parametrize("wallet_first", [True, False])
def test_fill_frame_and_wallet_frame_in_either_order_count_once(wallet_first: bool) -> None:
    desk = Desk()
    desk.anchor("25000")
    desk.open(100, "10", side=SHORT)
    desk.exit()
    at = desk.now + 3 * STEP_MS
    for wallet in (wallet_first, not wallet_first):
        if wallet:
            desk.anchor("25100", exchange_ms=at)
        else:
            desk.fill("X1", 100, "9", full=True, exchange_ms=at + 40)
    assert account(desk).capital == m(25_100)
    assert account(desk).drift_by_cause.get(DriftCause.UNEXPLAINED, 0) == 0
    assert desk.enter(trade="T2").kernel.code is not Code.OK
    desk.quiet_anchor("25100")
    assert (account(desk).capital, account(desk).drift, account(desk).ambiguous) == (
        m(25_100),
        0,
        0,
    )


def test_an_entry_waits_for_a_quiet_anchor(desk: Desk) -> None:
    desk.open(100, "10", side=SHORT)
    desk.exit()
    desk.fill("X1", 100, "9", full=True)
    desk.anchor("25100", exchange_ms=desk.now)
    desk.final("X1", 100)
    assert desk.enter(trade="T2").kernel.code is Code.ANCHOR_NOT_QUIET
    desk.quiet_anchor("25100")
    assert desk.enter(trade="T2").kernel.accepted


def test_a_balance_asked_for_while_an_order_is_in_flight_is_not_quiet(desk: Desk) -> None:
    desk.enter()
    desk.quiet_anchor("25000")
    assert not desk.engine.kernel.ledger().anchor_quiet


def test_quiet_is_judged_by_the_venues_clock_alone(desk: Desk) -> None:
    desk.open(100, "10", side=SHORT)
    desk.exit()
    ahead = 3_000  # the venue's clock
    desk.fill("X1", 100, "9", full=True, exchange_ms=desk.now + STEP_MS + ahead)
    desk.anchor(
        "25000", source=REST, requested_ms=desk.now - 1_000 + ahead, exchange_ms=desk.now + ahead
    )
    assert not desk.engine.kernel.ledger().anchor_quiet
    assert account(desk).ambiguous == m(100)


def test_a_rest_balance_covers_the_time_of_its_request(desk: Desk) -> None:
    desk.open(100, "10", side=SHORT)
    desk.exit()
    asked = desk.now
    desk.fill("X1", 100, "9", full=True)
    desk.anchor("25000", source=REST, requested_ms=asked)
    assert account(desk).capital == m(25_000)
    assert account(desk).ambiguous == m(100)


def test_no_entry_on_a_balance_that_is_too_old() -> None:
    desk = Desk(balance_max_age_ms=60_000)
    assert desk.enter().kernel.code is Code.BALANCE_STALE
    desk.anchor("25000")
    assert desk.enter().kernel.accepted
    desk.tick(70_000)
    assert desk.enter(trade="T2", asset="TRX-USDT").kernel.code is Code.BALANCE_STALE


def test_peak_capital_never_falls(desk: Desk) -> None:
    desk.anchor("26000")
    desk.anchor("24000")
    assert account(desk).peak_capital == m(26_000)


def test_equity_follows_the_mark(desk: Desk) -> None:
    desk.open(100, "10", side=SHORT)
    desk.command(KernelCommandType.MARK_PRICE, asset="FET-USDT", reference_price_e10=p("9.5"))
    now = account(desk)
    assert (now.unrealized, now.equity) == (m(50), m(25_050))
    assert (now.open_positions, now.open_notional) == (1, m(950))


# -- the drift -------------------------------------------------------------------------------------


def drift(desk: Desk) -> dict[DriftCause, int]:
    causes: dict[DriftCause, int] = account(desk).drift_by_cause
    return causes


def test_a_cent_warns(desk: Desk) -> None:
    desk.anchor("25000.01")
    assert account(desk).status is ReconcileStatus.WARN
    assert drift(desk) == {DriftCause.PENDING: m("0.01")}


def test_pending_becomes_unexplained_and_freezes_and_thaws(desk: Desk) -> None:
    desk.enter(trade="T0", asset="ADA-USDT")
    desk.ack("T0")
    desk.anchor("25030")
    assert drift(desk) == {DriftCause.PENDING: m(30)}
    assert desk.enter().kernel.code is Code.ENTRIES_FROZEN
    desk.now += 120_000
    desk.anchor("25030")
    assert drift(desk) == {DriftCause.UNEXPLAINED: m(30)}
    assert account(desk).status is ReconcileStatus.ERROR
    assert [e.kind for e in desk.last.effects] == [EffectKind.CANCEL]
    out = desk.enter()
    assert out.kernel.details["causes"] == "unexplained drift"
    desk.order("T0", Kind.CANCEL_ACK)
    desk.final("T0", 0)
    desk.quiet_anchor("25000")
    assert desk.enter().kernel.code is Code.ENTRIES_FROZEN
    desk.quiet_anchor("25000")
    assert desk.enter().kernel.accepted


def test_a_difference_stays_pending_until_income_is_read_past_it(desk: Desk) -> None:
    desk.event(Kind.INCOME_READ)
    desk.anchor("25030")
    since = desk.now
    desk.now += 600_000
    desk.anchor("25030")
    assert drift(desk) == {DriftCause.PENDING: m(30)}
    assert desk.enter().kernel.code is Code.ENTRIES_FROZEN
    desk.event(Kind.INCOME_READ, exchange_ms=since + 119_999)
    desk.anchor("25030")
    assert drift(desk) == {DriftCause.PENDING: m(30)}
    desk.event(Kind.INCOME_READ, exchange_ms=since + 120_000)
    desk.anchor("25030")
    assert drift(desk) == {DriftCause.UNEXPLAINED: m(30)}


def test_what_others_did_has_a_name_and_freezes_nothing(desk: Desk) -> None:
    desk.event(Kind.INCOME_READ)
    desk.event(Kind.FOREIGN_FLOW, event_id="a", amount=m(-40), asset="BTC-USDT")
    desk.event(Kind.FOREIGN_FLOW, event_id="a", amount=m(-40), asset="BTC-USDT")
    assert desk.last.kernel.code is Code.DUPLICATE_EVENT
    desk.event(Kind.FOREIGN_FLOW, event_id="b", amount=m(10), asset="BTC-USDT")
    desk.quiet_anchor("24965")
    desk.now += 500_000
    desk.event(Kind.INCOME_READ)
    desk.quiet_anchor("24965")
    assert drift(desk)[DriftCause.FOREIGN_ACTIVITY] == m(-30)
    assert drift(desk)[DriftCause.UNEXPLAINED] == m("-4.99999999")  # two flows, half a digit each
    assert account(desk).k_capital == m(25_000)  # the checksum is of our own doing
    assert not account(desk).entries_frozen
    desk.control(ControlAction.REBASE, amount=account(desk).drift, reason="seen")
    desk.quiet_anchor("24965")
    assert drift(desk) == {}


def test_income_read_never_goes_back(desk: Desk) -> None:
    seeded_ms = desk.now
    desk.event(Kind.INCOME_READ, exchange_ms=seeded_ms + 9_000)
    twice = desk.event(Kind.INCOME_READ, exchange_ms=seeded_ms + 9_000)
    timeless = desk.event(Kind.INCOME_READ, exchange_ms=0)
    codes = (twice.kernel.code, timeless.kernel.code)
    assert codes == (Code.DUPLICATE_EVENT, Code.INVALID_EVENT)
    ledger = desk.engine.kernel.ledger()
    assert ledger.income_from_ms == seeded_ms
    assert ledger.income_read_ms == seeded_ms + 9_000


def test_a_stream_frame_does_not_thaw(desk: Desk) -> None:
    desk.anchor("25030")
    desk.now += 120_000
    desk.anchor("25030")
    for _ in range(3):
        desk.anchor("25000")
    assert desk.enter().kernel.code is Code.ENTRIES_FROZEN


def test_rebase_books_the_drift_and_thaws(desk: Desk) -> None:
    desk.anchor("25030")
    desk.now += 120_000
    desk.anchor("25030")
    desk.control(ControlAction.REBASE, amount=account(desk).drift)
    assert account(desk).k_capital == m(25_030)
    desk.quiet_anchor("25030")
    assert (account(desk).drift, drift(desk)) == (0, {})
    assert desk.enter().kernel.accepted


def test_estimated_fees_explain_up_to_their_size(desk: Desk) -> None:

    desk.enter(contract=replace(RULES, taker_fee_e9=500_000))
    desk.fill("T1", 100, "10", full=True)
    desk.now += STEP_MS
    desk.anchor("24999.52")
    assert drift(desk) == {DriftCause.PENDING_FEE: m("0.02")}
    desk.anchor("24998.00")
    rounding = m("-0.000000005")  # one flow so far: half a unit of the wallet's last digit
    assert drift(desk) == {
        DriftCause.PENDING_FEE: m("-0.5"),
        DriftCause.ROUNDING: rounding,
        DriftCause.PENDING: m(-1) - rounding,
    }


def test_an_estimated_fee_explains_nothing_once_its_row_would_have_been_read(desk: Desk) -> None:
    desk.quiet_anchor("25000")
    desk.enter(contract=replace(RULES, taker_fee_e9=500_000))
    desk.fill("T1", 100, "10", full=True)
    desk.event(Kind.INCOME_READ)
    desk.now += 200_000
    desk.anchor("24999.52")
    assert drift(desk)[DriftCause.PENDING_FEE] == m("0.02")
    desk.event(Kind.INCOME_READ)
    desk.anchor("24999.52")
    assert DriftCause.PENDING_FEE not in drift(desk)


def test_a_price_less_exit_explains_no_more_than_its_bound_until_it_is_settled(desk: Desk) -> None:
    desk.open(100, "10", side=SHORT)
    desk.exit()
    desk.fill("X1", 100, full=True)
    desk.anchor("25164")
    assert drift(desk) == {DriftCause.UNSETTLED_FILL: m(100), DriftCause.PENDING: m(64)}
    desk.settle("X1", 100, "164")
    desk.anchor("25164")
    assert drift(desk) == {}


def test_funding_frame_explains_until_its_row_is_read(desk: Desk) -> None:
    desk.anchor("24997", balance_reason=BalanceReason.FUNDING)
    assert drift(desk) == {DriftCause.FUNDING_UNREAD: m("-3")}
    desk.anchor("24997")
    assert drift(desk) == {DriftCause.FUNDING_UNREAD: m("-3")}
    desk.event(Kind.FUNDING_FEE, event_id="f1", amount=m("-3"))
    desk.now += STEP_MS
    desk.anchor("24997")
    assert drift(desk) == {}


def test_one_row_ends_one_expectation_of_its_own_sign(desk: Desk) -> None:
    for wallet in ("24995", "24990"):
        desk.anchor(wallet, balance_reason=BalanceReason.FUNDING)
    desk.event(Kind.FUNDING_FEE, event_id="f1", amount=m(-5))
    desk.now += STEP_MS
    desk.anchor("24990")
    assert drift(desk) == {DriftCause.FUNDING_UNREAD: m(-5)}
    desk.event(Kind.FUNDING_FEE, event_id="f2", amount=m(3))  # of no frame: it ends nothing
    desk.now += STEP_MS
    desk.anchor("24993")
    assert drift(desk) == {DriftCause.FUNDING_UNREAD: m(-5)}


def test_what_others_did_explains_its_own_sign_alone(desk: Desk) -> None:
    desk.event(Kind.FOREIGN_FLOW, event_id="r1", amount=m(-30))
    desk.anchor("25010")
    found = drift(desk)
    assert DriftCause.FOREIGN_ACTIVITY not in found
    assert found[DriftCause.PENDING] > m("9.99")


def test_a_difference_that_grows_stays_as_old_as_it_is(desk: Desk) -> None:
    """Part by part: 10 for long, 5 a moment ago; and what comes back is of the newest."""
    desk.anchor("24990")
    desk.now += 115_000
    desk.anchor("24985")
    desk.anchor("24985")
    assert drift(desk) == {DriftCause.UNEXPLAINED: m(-10), DriftCause.PENDING: m(-5)}
    desk.anchor("24990")
    assert drift(desk) == {DriftCause.UNEXPLAINED: m(-10)}


def test_transfer_moves_k_and_leaves_no_drift(desk: Desk) -> None:
    desk.anchor("26000", balance_reason=BalanceReason.TRANSFER)
    assert drift(desk) == {DriftCause.TRANSFER_UNREAD: m(1000)}
    desk.event(Kind.TRANSFER, event_id="t1", amount=m(1000), exchange_ms=desk.now)
    desk.now += STEP_MS
    desk.anchor("26000")
    assert (account(desk).drift, account(desk).transfers) == (0, m(1000))


def test_rounding_explains_half_a_digit_per_flow(desk: Desk) -> None:
    for i in range(4):
        desk.event(Kind.FUNDING_FEE, event_id=f"f{i}", amount=1)
    desk.now += STEP_MS
    desk.anchor("25000.00000002")
    assert drift(desk) == {DriftCause.ROUNDING: m("0.00000002") - 4}


def test_causes_sum_to_the_drift(desk: Desk) -> None:
    desk.open(100, "10", side=SHORT)
    desk.exit()
    desk.fill("X1", 50)
    desk.anchor("27000", balance_reason=BalanceReason.FUNDING)
    assert sum(drift(desk).values()) == account(desk).drift


@pytest.mark.parametrize("price", ["9", 0], ids=["estimated fee", "price-less exit"])
def test_a_closed_record_explains_no_drift(desk: Desk, price: str | int) -> None:
    rules = replace(RULES, taker_fee_e9=500_000)
    desk.open(1000, "10", side=SHORT, contract=rules)
    desk.exit()
    desk.fill("X1", 1000, price, full=True)
    desk.final("X1", 1000)
    desk.tick(130_000)
    record = desk.engine.kernel.trade("T1")
    assert record is not None
    assert record.closed
    for _ in range(3):
        desk.now += 130_000
        desk.quiet_anchor("20000")
    assert account(desk).entries_frozen
    assert abs(drift(desk)[DriftCause.UNEXPLAINED]) > m(4_900)
    desk.settle("X1", 1000, "1000")
    ledger = desk.engine.kernel.ledger()
    assert (ledger.fees_estimated, ledger.unsettled) == (0, 0)


# -- provenance, records, feedback -----------------------------------------------------------------


def fed(desk: Desk) -> list[SizerFeedback]:
    return list(desk.last.feedback)


def test_feedback_comes_once_at_flat_from_the_trades_own_money(desk: Desk) -> None:
    desk.enter(100, "10", side=SHORT)
    desk.fill("T1", 100, "10", full=True, fee=m("0.5"))
    desk.exit()
    desk.anchor("31000")  # somebody else's money arrives in mid-trade
    desk.fill("X1", 100, "9", full=True, fee=m("0.45"))
    assert fed(desk) == [SizerFeedback(trade_id="T1", pnl=m("99.05"))]
    desk.final("T1", 100, fee=m("0.6"))
    desk.final("X1", 100, fee=m("0.6"), realized=m(90))
    assert not fed(desk)


def test_feedback_waits_for_an_entry_that_may_still_fill(desk: Desk) -> None:
    desk.enter()
    desk.fill("T1", 50, "10")
    desk.exit()
    desk.fill("X1", 50, "11", full=True)
    assert not fed(desk)
    desk.fill("T1", 100, "10", full=True)
    desk.name("X2")
    desk.fill("X2", 50, "1", full=True)
    assert fed(desk) == [SizerFeedback(trade_id="T1", pnl=m(-400))]


def test_feedback_waits_for_a_price_less_leg(desk: Desk) -> None:
    desk.open(100, "10", side=SHORT)
    desk.exit()
    desk.fill("X1", 100, full=True)
    assert not fed(desk)
    desk.settle("X1", 100, "164")
    assert fed(desk) == [SizerFeedback(trade_id="T1", pnl=m(164))]


def test_feedback_waits_no_longer_than_the_limit(desk: Desk) -> None:
    desk.open(100, "10", side=SHORT)
    desk.exit()
    desk.fill("X1", 100, full=True)
    desk.final("X1", 100)
    desk.tick(60_000)
    assert not fed(desk)
    desk.tick(120_000)
    assert fed(desk) == [SizerFeedback(trade_id="T1", pnl=0)]
    assert EffectKind.CLOSE_TRADE in desk.asked()
    desk.settle("X1", 100, "164")
    assert not fed(desk)
    assert desk.realized() == m(164)


def closed_records(desk: Desk) -> list[tuple[str, int]]:
    return [(e.trade_id, e.realized) for e in desk.last.effects if e.kind is EffectKind.CLOSE_TRADE]


def test_a_record_closes_when_the_venues_figures_are_in(desk: Desk) -> None:
    desk.open(100, "10", side=SHORT)
    desk.exit()
    desk.fill("X1", 100, "9", full=True)
    desk.final("X1", 100)
    assert closed_records(desk) == []
    record = desk.engine.kernel.trade("T1")
    assert record is not None
    assert (record.pnl_source, record.closed) == ("kernel_estimate", False)
    desk.settle("X1", 100, "100")
    assert closed_records(desk) == [("T1", m(100))]
    record = desk.engine.kernel.trade("T1")
    assert record is not None
    assert (record.pnl_source, record.closed) == ("exchange", True)


def test_a_record_closes_late_and_says_whose_estimate_it_is(desk: Desk) -> None:
    desk.open(100, "10", side=SHORT)
    desk.close(100, "9")
    desk.tick(120_000 + STEP_MS)
    assert closed_records(desk) == [("T1", m(100))]
    record = desk.engine.kernel.trade("T1")
    assert record is not None
    assert record.pnl_source == "kernel_estimate"


def test_settlement_after_the_slot_is_used_again_reaches_the_right_trade(desk: Desk) -> None:
    desk.open(100, "10", side=SHORT)
    desk.exit()
    desk.fill("X1", 100, full=True)
    desk.final("X1", 100)
    desk.open(50, "10", trade="T2", side=SHORT)
    desk.settle("X1", 100, "164")
    assert (desk.realized("T1"), desk.realized("T2")) == (m(164), 0)
    assert desk.slot.trade_id == "T2"


def test_adopted_position_settles_only_the_increment(desk: Desk) -> None:

    desk.command(
        KernelCommandType.RECONCILE,
        trade_id="T1",
        slot_id=0,
        asset="FET-USDT",
        side=SHORT,
        quantity_e8=q(50),
        entry_cost=m(500),
        carried_realized=m(70),
        contract=RULES,
    )
    assert (account(desk).realized, account(desk).capital) == (0, m(25_000))
    desk.close(50, "9")
    assert desk.realized() == m(120)
    assert account(desk).realized == m(50)
    assert account(desk).capital == m(25_050)


def test_foreign_position_of_the_symbol_is_cleared_by_adoption(desk: Desk) -> None:

    desk.event(Kind.POSITION, asset="FET-USDT", side=OrderSide.SELL, quantity_e8=q(50))
    assert desk.enter().kernel.code is Code.FOREIGN_POSITION
    desk.command(
        KernelCommandType.RECONCILE,
        trade_id="T1",
        asset="FET-USDT",
        side=SHORT,
        quantity_e8=q(50),
        entry_cost=m(500),
        contract=RULES,
    )
    desk.close(50, "9")
    assert desk.enter(trade="T2").kernel.accepted
