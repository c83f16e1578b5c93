"""The hardening suite: diagnostics, duplicates, stale state, boundaries (kernel reference §12).

Each case is one thing that went wrong in the original system, or could have: the symptom is in the
name.  All go through the whole engine.
"""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from support.engine_driver import LONG, RULES, SHORT, STEP_MS, Desk, Kind, m, p, q

from dita import _kernel
from dita.contracts import (
    REFUSALS,
    SEVERITY,
    ControlAction,
    EffectKind,
    EvidenceSource,
    KernelIntent,
    KernelSeverity,
    OrderRole,
    OrderSide,
    OrderType,
    RejectReason,
    VenueEvent,
    VenueOrderStatus,
)
from dita.contracts import KernelCommandType as Command
from dita.contracts import KernelDiagnosticCode as Code
from dita.contracts import TradeStage as State
from dita.engine import Engine
from dita.errors import OperatorError

SUBMIT, CANCEL, FINALISE = EffectKind.SUBMIT, EffectKind.CANCEL, EffectKind.FINALISE


@pytest.fixture
def desk() -> Desk:
    return Desk()


def refused(desk: Desk, code: Code) -> None:
    """The last input was refused with this code."""
    assert (desk.last.kernel.accepted, desk.last.kernel.code) == (False, code)


# -- diagnostics -----------------------------------------------------------------------------------


def test_an_accepted_outcome_never_carries_a_refusal_code() -> None:
    assert all(SEVERITY[code] is not None for code in Code)
    assert {code for code in Code if 0 < code < 32} == REFUSALS


def test_rate_limit_without_a_time_says_few_minutes(desk: Desk) -> None:
    desk.enter()
    out = desk.order("T1", Kind.RATE_LIMITED).kernel
    assert (out.code, out.severity) == (Code.RATE_LIMITED, KernelSeverity.WARNING)
    assert out.details == {"retryable": True, "release_eta": "few minutes"}
    assert desk.state is State.IDLE


def test_rate_limit_with_a_time_says_it(desk: Desk) -> None:
    desk.enter()
    out = desk.order("T1", Kind.RATE_LIMITED, retry_after_ms=1_500).kernel
    assert out.details == {"retryable": True, "retry_after_ms": 1_500}


def test_invalid_slot(desk: Desk) -> None:
    desk.command(Command.EXIT, slot_id=40)
    refused(desk, Code.INVALID_SLOT)
    assert desk.last.kernel.details["field"] == "slot_id"


def test_enter_beyond_the_slot_limit_is_an_invalid_slot() -> None:
    desk = Desk(slot_limit=2)
    desk.enter(slot_id=2)  # a recovery slot: not for entries
    refused(desk, Code.INVALID_SLOT)


def test_slots_run_out() -> None:
    desk = Desk(slot_limit=1)
    desk.enter()
    desk.enter(trade="T2", asset="TRX-USDT")
    refused(desk, Code.SLOT_BUSY)


def test_exit_without_a_position(desk: Desk) -> None:
    desk.command(Command.EXIT, slot_id=0)
    refused(desk, Code.NO_POSITION)


def test_exit_of_an_unknown_trade(desk: Desk) -> None:
    desk.command(Command.EXIT, trade_id="nobody")
    refused(desk, Code.NO_POSITION)


def test_cancel_without_an_order(desk: Desk) -> None:
    desk.open()
    desk.cancel()
    refused(desk, Code.NO_ACTIVE_EXIT_ORDER)


def test_exit_names_another_trade_than_the_slot_holds(desk: Desk) -> None:
    desk.open()
    desk.command(Command.EXIT, slot_id=0, trade_id="T2")
    refused(desk, Code.INVALID_INTENT)
    assert desk.last.kernel.details["field"] == "trade_id"


def test_event_that_matches_nothing_changes_nothing(desk: Desk) -> None:
    desk.open()
    before = desk.engine.state_hash()
    desk.event(
        Kind.PARTIAL_FILL,
        asset="FET-USDT",
        side=OrderSide.BUY,
        venue_order_id="424242",
        quantity_e8=q(5),
        price_e10=p(10),
    )
    refused(desk, Code.UNRESOLVED_SLOT)
    assert desk.last.kernel.severity is KernelSeverity.WARNING
    assert desk.last.kernel.details["venue_order_id"] == "424242"
    assert desk.engine.state_hash() == before


def test_event_without_ids_on_an_idle_slot(desk: Desk) -> None:
    desk.event(Kind.FULL_FILL, slot_id=0, quantity_e8=q(5), price_e10=p(10))
    refused(desk, Code.INVALID_TRANSITION)


def test_event_without_ids_does_not_wake_a_closed_slot(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.fill("X1", 100, "11", full=True)
    desk.event(Kind.FULL_FILL, slot_id=0, quantity_e8=q(5), price_e10=p(10))
    refused(desk, Code.TERMINAL_STATE)


def test_event_without_ids_and_without_slot_is_not_slot_0(desk: Desk) -> None:
    desk.enter()
    desk.event(Kind.FULL_FILL, slot_id=-1, quantity_e8=q(100), price_e10=p(10))
    refused(desk, Code.UNRESOLVED_SLOT)
    assert desk.slot.size_e8 == 0


def test_fill_without_ids_is_routed_by_state_and_counted(desk: Desk) -> None:
    desk.enter()
    desk.event(Kind.FULL_FILL, slot_id=0, quantity_e8=q(100), price_e10=p(10))
    assert desk.last.kernel.notes == (Code.ROUTED_BY_STATE,)
    assert desk.engine.kernel.ledger().routed_by_state == 1
    assert desk.state is State.POSITION_OPEN


# -- duplicates ------------------------------------------------------------------------------------


def test_an_intent_id_twice_is_a_no_op(desk: Desk) -> None:
    desk.enter(intent_id="once")
    before = desk.engine.state_hash()
    desk.enter(intent_id="once", trade="T2", asset="TRX-USDT")
    refused(desk, Code.DUPLICATE_EVENT)
    assert desk.engine.state_hash() == before


def test_a_refused_intent_may_come_again(desk: Desk) -> None:
    desk.enter(intent_id="once", quantity="0.5")
    refused(desk, Code.INVALID_INTENT)
    assert desk.enter(intent_id="once").kernel.accepted


def test_every_fill_twice(desk: Desk) -> None:
    desk.enter()
    desk.fill("T1", 40, "10")
    desk.send(desk.inputs[-1])
    refused(desk, Code.DUPLICATE_EVENT)
    assert desk.slot.size_e8 == q(40)


def test_increment_twice_and_long_after(desk: Desk) -> None:
    desk.enter(1000)
    for i in range(200):
        desk.order(
            "T1",
            Kind.PARTIAL_FILL,
            event_id=f"fill-{i}",
            increment=True,
            quantity_e8=q(1),
            price_e10=p(10),
        )
    first = next(i for i in desk.inputs if isinstance(i, VenueEvent))
    desk.send(first)
    refused(desk, Code.DUPLICATE_EVENT)
    assert desk.slot.size_e8 == q(200)


def test_old_generation_of_seen_ids_is_forgotten_only_after_two() -> None:
    desk = Desk(seen=16)
    desk.enter(1000)
    fills = []
    for i in range(16):
        desk.order("T1", Kind.PARTIAL_FILL, event_id=f"f{i}", increment=True, quantity_e8=q(1))
        fills.append(desk.inputs[-1])
    for fill in fills[2:]:
        desk.send(fill)
        refused(desk, Code.DUPLICATE_EVENT)


def test_lower_cumulative_quantity_changes_nothing(desk: Desk) -> None:
    desk.enter()
    desk.fill("T1", 60, "10")
    desk.fill("T1", 40, "10")
    refused(desk, Code.DUPLICATE_EVENT)


def test_full_fill_overtakes_partial_fill(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.fill("X1", 100, "11", full=True)
    desk.fill("X1", 40, "11")
    refused(desk, Code.DUPLICATE_EVENT)
    desk.final("X1", 100)
    assert desk.state is State.IDLE
    assert desk.realized() == m(100)


def test_full_fill_by_name_with_less_quantity_does_not_end_the_order(desk: Desk) -> None:
    desk.enter()
    desk.fill("T1", 40, "10", full=True)
    assert desk.state is State.ENTRY_WORKING
    assert desk.asked() == [EffectKind.QUERY_ORDER]


def test_settlement_twice_counts_once(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.fill("X1", 100)
    desk.settle("X1", 100, "164")
    desk.settle("X1", 100, "164")
    refused(desk, Code.DUPLICATE_EVENT)
    assert desk.realized() == m(164)


def test_funding_row_twice_counts_once(desk: Desk) -> None:
    for _ in range(2):
        desk.event(Kind.FUNDING_FEE, event_id="tran-1", amount=m("-3"))
    refused(desk, Code.DUPLICATE_EVENT)
    assert desk.engine.snapshot.funding == m("-3")


def test_twenty_quick_round_trips_leave_nothing(desk: Desk) -> None:
    for i in range(20):
        desk.open(trade=f"T{i}")
        desk.close(100, "10", trade=f"T{i}", name=f"X{i}")
        assert desk.state is State.IDLE
    assert desk.engine.kernel.active_slots() == ()
    assert desk.engine.snapshot.realized == 0


# -- stale state -----------------------------------------------------------------------------------


@pytest.fixture
def stale() -> Desk:
    desk = Desk()
    desk.open()
    desk.command(Command.RECONCILE, trade_id="T1")
    assert desk.state is State.STALE_STATE_RECONCILING
    return desk


def test_commands_wait_for_a_stale_slot(stale: Desk) -> None:
    stale.cancel()
    refused(stale, Code.STALE_STATE)
    stale.enter(trade="T2", asset="TRX-USDT", slot_id=0)
    refused(stale, Code.STALE_STATE)


def test_exit_of_a_stale_slot_is_latched_and_goes_out_in_two_seconds(stale: Desk) -> None:
    stale.now -= 9_500
    stale.exit()
    assert stale.last.kernel.code is Code.EXIT_LATCHED
    assert stale.last.kernel.accepted
    assert stale.submitted() == []
    stale.tick(1_000)
    assert stale.submitted() == []
    stale.tick(1_000)
    assert stale.submitted() == [q(100)]


def test_exit_of_a_stale_slot_is_capped_by_the_proven_position(stale: Desk) -> None:
    stale.event(Kind.POSITION, asset="FET-USDT", side=OrderSide.BUY, quantity_e8=q(70))
    assert stale.last.kernel.code is Code.POSITION_DISAGREES
    stale.exit()
    assert stale.submitted() == [q(70)]


def test_a_stale_exit_never_sells_the_proven_position_twice(stale: Desk) -> None:
    stale.event(Kind.POSITION, asset="FET-USDT", side=OrderSide.BUY, quantity_e8=q(60))
    stale.exit()
    assert stale.submitted() == [q(60)]
    stale.fill("X1", 60, "11", full=True)
    assert stale.submitted() == []
    stale.tick()
    assert stale.submitted() == []
    stale.event(Kind.POSITION, asset="FET-USDT", side=OrderSide.BUY, quantity_e8=q(40))
    assert stale.submitted() == [q(40)]


def test_agreeing_position_releases(stale: Desk) -> None:
    stale.event(Kind.POSITION, asset="FET-USDT", side=OrderSide.BUY, quantity_e8=q(100))
    assert stale.state is State.POSITION_OPEN


def test_position_older_than_a_fill_proves_nothing(stale: Desk) -> None:
    stale.event(
        Kind.POSITION, asset="FET-USDT", side=OrderSide.BUY, quantity_e8=q(100), exchange_ms=5
    )
    refused(stale, Code.STALE_STATE)
    assert stale.state is State.STALE_STATE_RECONCILING


def test_wrong_direction_does_not_release(stale: Desk) -> None:
    stale.event(Kind.POSITION, asset="FET-USDT", side=OrderSide.SELL, quantity_e8=q(100))
    assert stale.state is State.STALE_STATE_RECONCILING


def test_money_is_applied_while_stale(stale: Desk) -> None:
    stale.exit()
    stale.fill("X1", 100, "11", full=True)
    assert stale.realized() == m(100)
    assert stale.state is State.STALE_STATE_RECONCILING


def test_overfill_is_booked_flagged_and_stale(desk: Desk) -> None:
    desk.enter()
    desk.fill("T1", 120, "10")
    assert desk.last.kernel.code is Code.OVERFILL
    assert desk.slot.size_e8 == q(120)
    assert desk.state is State.STALE_STATE_RECONCILING


def test_exit_overfill_flips_the_position_and_is_not_hidden(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.fill("X1", 130, "11")
    assert Code.OVERFILL in desk.last.kernel.notes
    assert desk.slot.size_e8 == -q(30)
    assert desk.realized() == m(100)
    assert desk.state is State.STALE_STATE_RECONCILING


def test_a_flipped_position_ends_when_the_venue_is_flat(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.fill("X1", 101, "11")
    desk.final("X1", 101)
    desk.event(Kind.POSITION, asset="FET-USDT", side=OrderSide.SELL, quantity_e8=q(1))
    assert (desk.state, desk.slot.size_e8) == (State.STALE_STATE_RECONCILING, -q(1))
    desk.event(Kind.POSITION, asset="FET-USDT", quantity_e8=0)  # closed by hand
    assert desk.last.kernel.code is Code.POSITION_DISAGREES
    assert (desk.state, desk.realized()) == (State.IDLE, m(100))
    assert desk.enter(trade="T2").kernel.accepted


def test_a_recovery_slot_that_went_negative_ends_too(desk: Desk) -> None:
    desk.open()
    desk.close(100, "11")
    desk.fill("X1", 110, "11")
    assert desk.enter(trade="T2", asset="TRX-USDT").kernel.code is Code.ENTRIES_FROZEN
    desk.event(Kind.POSITION, asset="FET-USDT", quantity_e8=0)
    desk.final("X1", 110)
    assert desk.engine.kernel.active_slots() == ()
    assert desk.enter(trade="T2", asset="TRX-USDT").kernel.accepted
    desk.settle("X1", 110, "99")  # figures that come later open nothing again
    assert len(desk.engine.kernel.active_slots()) == 1


def test_a_late_entry_fill_takes_back_what_seemed_returned(desk: Desk) -> None:
    desk.enter(200)
    desk.fill("T1", 100, "10")
    desk.exit()
    desk.fill("X1", 110, "11")
    desk.event(Kind.POSITION, asset="FET-USDT", quantity_e8=0)
    desk.fill("T1", 110, "10")
    assert desk.slot.size_e8 == 0


def test_position_mismatch_reject_reconciles_before_a_retry(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.order("X1", Kind.ORDER_REJECT, reject=RejectReason.POSITION_MISMATCH, venue_order_id="")
    assert desk.state is State.STALE_STATE_RECONCILING
    assert desk.asked() == [EffectKind.QUERY_POSITION]


# -- entries ---------------------------------------------------------------------------------------


def test_submit_failures_never_strand_a_slot(desk: Desk) -> None:
    for i in range(30):
        desk.enter(trade=f"T{i}")
        desk.order(f"T{i}", Kind.ORDER_REJECT, venue_order_id="")
        assert desk.last.kernel.code is Code.VENUE_REJECTED
        assert desk.state is State.IDLE
    desk.open(trade="good")
    assert desk.state is State.POSITION_OPEN


def test_five_assets_one_slot() -> None:
    desk = Desk(slot_limit=1)
    codes = [desk.enter(trade=f"T{i}", asset=f"A{i}-USDT", slot_id=0).kernel.code for i in range(5)]
    assert codes == [Code.OK] + [Code.SLOT_BUSY] * 4


def test_second_slot_on_a_symbol_is_busy_in_one_way_mode(desk: Desk) -> None:
    desk.open()
    desk.enter(trade="T2", asset="FETUSDT", side=SHORT)
    refused(desk, Code.SLOT_BUSY)


def test_both_sides_of_a_symbol_in_hedge_mode() -> None:
    desk = Desk(hedge=True)
    desk.open()
    assert desk.enter(trade="T2", side=SHORT).kernel.accepted
    desk.enter(trade="T3", side=SHORT)
    refused(desk, Code.SLOT_BUSY)


def test_entry_refused_while_somebody_else_holds_the_symbol(desk: Desk) -> None:
    desk.event(Kind.POSITION, asset="FET-USDT", side=OrderSide.BUY, quantity_e8=q(3))
    desk.enter()
    refused(desk, Code.FOREIGN_POSITION)
    desk.event(Kind.POSITION, asset="FET-USDT", quantity_e8=0)
    assert desk.enter().kernel.accepted


def test_hold_freezes_entries_and_cancels_working_ones_but_not_exits(desk: Desk) -> None:
    desk.open()
    desk.enter(trade="T2", asset="TRX-USDT")
    desk.ack("T2")
    desk.control(ControlAction.HOLD)
    assert desk.asked() == [CANCEL]
    desk.enter(trade="T3", asset="ADA-USDT")
    refused(desk, Code.ENTRIES_FROZEN)
    assert desk.last.kernel.details["causes"] == "hold"
    assert desk.exit().kernel.accepted
    assert desk.submitted() == [q(100)]
    desk.control(ControlAction.RESUME)
    assert desk.enter(trade="T3", asset="ADA-USDT").kernel.accepted


def test_late_reject_of_an_entry_leaves_the_position(desk: Desk) -> None:
    desk.enter()
    desk.fill("T1", 40, "10")
    desk.order("T1", Kind.ORDER_REJECT)
    assert desk.state is State.POSITION_OPEN
    assert desk.slot.size_e8 == q(40)


def test_cancelled_entry_is_closed_until_its_end_is_proven(desk: Desk) -> None:
    desk.enter()
    desk.ack()
    desk.cancel()
    assert desk.asked() == [CANCEL]
    desk.order("T1", Kind.CANCEL_ACK)
    assert (desk.state, desk.asked()) == (State.CLOSED, [FINALISE])
    desk.final("T1", 0)
    assert desk.state is State.IDLE


def test_fill_wins_over_a_cancel_ack(desk: Desk) -> None:
    desk.enter()
    desk.ack()
    desk.cancel()
    desk.order("T1", Kind.CANCEL_ACK)
    desk.fill("T1", 30, "10")
    assert (desk.state, desk.slot.size_e8) == (State.POSITION_OPEN, q(30))


def test_absent_entry_is_sent_again_while_its_time_lasts(desk: Desk) -> None:
    desk.enter(expires_ms=desk.now + 45_000)
    first = desk.venue_ids["T1"]
    desk.order("T1", Kind.ORDER_UNKNOWN, venue_order_id="")
    assert desk.asked() == [EffectKind.QUERY_ORDER]
    desk.order("T1", Kind.ORDER_ABSENT, venue_order_id="")
    assert desk.submitted() == [q(100)]
    desk.name("T1")
    assert desk.venue_ids["T1"] != first
    desk.tick(60_000)
    desk.order("T1", Kind.ORDER_ABSENT, venue_order_id="")
    assert (desk.submitted(), desk.state) == ([], State.IDLE)


def test_an_order_that_filled_and_is_in_no_record_is_lost_until_a_position_agrees(
    desk: Desk,
) -> None:
    desk.enter()
    desk.fill("T1", 1, "10")
    desk.order("T1", Kind.ORDER_ABSENT)
    assert desk.last.kernel.code is Code.ORDER_LOST
    assert (desk.state, desk.submitted()) == (State.STALE_STATE_RECONCILING, [])
    desk.event(Kind.POSITION, asset="FET-USDT", side=OrderSide.BUY, quantity_e8=q(1))
    assert (desk.state, desk.slot.size_e8) == (State.POSITION_OPEN, q(1))


# -- exits -----------------------------------------------------------------------------------------


def test_exit_during_the_entry_takes_everything_that_comes(desk: Desk) -> None:
    desk.enter()
    desk.fill("T1", 40, "10")
    desk.exit()
    assert desk.asked() == [CANCEL, SUBMIT]
    assert desk.submitted() == [q(40)]
    desk.fill("T1", 100, "10", full=True)
    assert desk.submitted() == []
    desk.fill("X1", 40, "11", full=True)
    assert desk.submitted() == [q(60)]
    desk.name("X2")
    desk.fill("X2", 60, "11", full=True)
    for name, quantity in (("T1", 100), ("X1", 40), ("X2", 60)):
        desk.final(name, quantity)
    assert (desk.state, desk.realized()) == (State.IDLE, m(100))


def test_expired_exit_is_planned_again_only_after_its_final_quantity(desk: Desk) -> None:
    desk.open(202276, "0.1878", side=SHORT)
    desk.exit()
    desk.fill("X1", 195259, "0.1866")
    desk.order("X1", Kind.ORDER_EXPIRED)
    assert (desk.submitted(), desk.state) == ([], State.EXIT_WORKING)
    desk.final("X1", 195259)
    assert desk.submitted() == [q(7017)]


def test_exit_for_more_than_is_left_is_clamped(desk: Desk) -> None:
    desk.open()
    desk.exit(quantity_e8=q(5000))
    assert desk.submitted() == [q(100)]


def test_legs_are_floored_and_the_last_takes_the_rest(desk: Desk) -> None:
    desk.open(53, "0.1", legs=("0.5", "1"), asset="TRX-USDT")
    desk.exit(name="X1")
    assert desk.submitted() == [q(26)]
    desk.fill("X1", 26, "0.1", full=True)
    desk.exit(name="X2")
    assert desk.submitted() == [q(27)]


def test_a_leg_below_the_minimum_takes_everything(desk: Desk) -> None:
    desk.open(1, legs=("0.5", "1"))
    desk.exit()
    assert desk.submitted() == [q(1)]


def test_second_exit_while_all_is_on_its_way_is_suppressed(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.exit(name="X2")
    refused(desk, Code.DUPLICATE_EVENT)


def test_urgent_exit_takes_a_maker_quote_back(desk: Desk) -> None:
    desk.open()
    desk.exit(order_type=OrderType.LIMIT, limit_price_e10=p("10.5"))
    desk.ack("X1")
    desk.exit(urgent=True)
    assert desk.asked() == [CANCEL]
    desk.order("X1", Kind.CANCEL_ACK)
    desk.final("X1", 0)
    assert [(e.kind, e.order_type) for e in desk.last.effects] == [(SUBMIT, OrderType.MARKET)]


def test_maker_exit_past_its_time_becomes_market(desk: Desk) -> None:
    desk.open()
    desk.exit(order_type=OrderType.LIMIT, limit_price_e10=p("10.5"), working_ms=500)
    desk.ack("X1")
    desk.tick()
    assert desk.asked() == [EffectKind.QUERY_ORDER, CANCEL]


def test_rejected_exit_backs_off_and_comes_again(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.order("X1", Kind.ORDER_REJECT, venue_order_id="")
    assert (desk.state, desk.submitted()) == (State.EXIT_WORKING, [])
    desk.tick(999)
    assert desk.submitted() == []
    desk.tick(1)
    assert desk.submitted() == [q(100)]


def test_rejects_without_a_number_of_the_venue_only_back_off(desk: Desk) -> None:
    sent_at = sent_while_rejected(desk, 0)
    assert sent_at[:6] == [1_000, 3_000, 7_000, 15_000, 31_000, 63_000]
    assert {b - a for a, b in pairwise(sent_at[5:])} == {60_000}


def test_from_the_seventh_equal_error_the_slot_waits_for_the_window(desk: Desk) -> None:
    sent_at = sent_while_rejected(desk, 101_500)
    assert sent_at[:6] == [1_000, 3_000, 7_000, 15_000, 31_000, 63_000]
    assert sent_at[6:8] == [480_000, 540_000]
    for at in sent_at:
        assert sum(at - 480_000 < other <= at for other in sent_at) <= 7


def sent_while_rejected(desk: Desk, error_code: int) -> list[int]:
    """When exits went, by the time since the first rejection, while each is rejected."""
    desk.open()
    desk.exit()
    start = desk.now
    sent_at = []
    while desk.now < start + 600_000:
        desk.now -= STEP_MS
        desk.order("X1", Kind.ORDER_REJECT, venue_order_id="", error_code=error_code)
        while not desk.tick(500).effects:
            pass
        desk.name("X1")
        sent_at.append(desk.now - start)
    return sent_at


def test_dust_is_named_and_the_slot_is_not_lost(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.order("X1", Kind.ORDER_REJECT, reject=RejectReason.BELOW_MINIMUM, venue_order_id="")
    assert (desk.last.kernel.code, desk.state) == (Code.DUST, State.POSITION_OPEN)
    assert desk.slot.dust
    assert desk.exit(name="X2").kernel.accepted
    assert desk.submitted() == [q(100)]


def test_cancel_reject_keeps_the_state_and_asks(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.cancel()
    desk.order("X1", Kind.CANCEL_REJECT)
    assert desk.state is State.EXIT_WORKING
    assert desk.asked() == [EffectKind.QUERY_ORDER]


def test_operator_cancel_ends_the_latch(desk: Desk) -> None:
    desk.open(legs=("0.5", "1"))
    desk.exit()
    desk.ack("X1")
    desk.cancel()
    desk.order("X1", Kind.CANCEL_ACK)
    assert desk.state is State.POSITION_OPEN
    desk.final("X1", 0)
    assert desk.submitted() == []
    assert desk.slot.active_leg_index == 0
    desk.exit(name="X2")
    assert desk.submitted() == [q(50)]


def test_absent_exit_goes_out_again_as_the_next_child(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.order("X1", Kind.ORDER_UNKNOWN, venue_order_id="")
    desk.order("X1", Kind.ORDER_ABSENT, venue_order_id="")
    assert desk.submitted() == [q(100)]
    effect = desk.last.effects[-1]
    assert effect.reduce_only
    assert effect.client_order_id != desk.venue_ids["X1"]


# -- closes that were not ours ---------------------------------------------------------------------


def liquidation(desk: Desk, quantity: int, **fields: Any) -> None:
    fields.setdefault("venue_order_id", "666")
    desk.event(
        Kind.LIQUIDATION,
        asset="FET-USDT",
        side=OrderSide.SELL,
        quantity_e8=q(quantity),
        price_e10=p(8),
        **fields,
    )


def test_liquidation_is_booked_up_to_what_is_left(desk: Desk) -> None:
    desk.open()
    liquidation(desk, 150)
    assert desk.last.kernel.code is Code.EXTERNAL_CLOSE
    assert Code.FOREIGN_EXCESS in desk.last.kernel.notes
    assert (desk.slot.size_e8, desk.realized()) == (0, m(-200))
    assert desk.state is State.STALE_STATE_RECONCILING


def test_liquidation_without_any_id_twice_counts_once(desk: Desk) -> None:
    desk.open()
    for _ in range(2):
        liquidation(desk, 40, venue_order_id="", event_id="liq-1")
    refused(desk, Code.DUPLICATE_EVENT)
    assert desk.slot.size_e8 == q(60)


def test_close_by_hand_grows_with_its_own_frames(desk: Desk) -> None:
    desk.open()
    for quantity in (30, 80):
        desk.event(
            Kind.PARTIAL_FILL,
            asset="FET-USDT",
            side=OrderSide.SELL,
            venue_order_id="777",
            quantity_e8=q(quantity),
            price_e10=p(11),
        )
        assert desk.last.kernel.code is Code.EXTERNAL_CLOSE
    assert (desk.slot.size_e8, desk.realized()) == (q(20), m(80))


def test_foreign_fill_that_adds_to_the_position_is_not_ours(desk: Desk) -> None:
    desk.open()
    desk.event(
        Kind.FULL_FILL,
        asset="FET-USDT",
        side=OrderSide.BUY,
        venue_order_id="777",
        quantity_e8=q(30),
        price_e10=p(11),
    )
    refused(desk, Code.UNRESOLVED_SLOT)


# -- ids -------------------------------------------------------------------------------------------


def test_event_before_the_rest_answer_is_held_and_then_counted(desk: Desk) -> None:
    desk.enter()
    desk.event(
        Kind.FULL_FILL,
        asset="FET-USDT",
        side=OrderSide.BUY,
        venue_order_id="1767767539205742592",
        quantity_e8=q(100),
        price_e10=p(10),
    )
    assert (desk.last.kernel.code, desk.slot.size_e8) == (Code.EVENT_HELD, 0)
    desk.order("T1", Kind.ORDER_ACK, venue_order_id="1767767539205742592")
    assert Code.HELD_RELEASED in desk.last.kernel.notes
    assert (desk.state, desk.slot.size_e8) == (State.POSITION_OPEN, q(100))
    assert desk.engine.kernel.held_events == 0


def test_held_increment_is_counted_once(desk: Desk) -> None:
    desk.enter()
    for _ in range(2):
        desk.event(
            Kind.PARTIAL_FILL,
            asset="FET-USDT",
            venue_order_id="55",
            event_id="f1",
            increment=True,
            quantity_e8=q(40),
            price_e10=p(10),
        )
    desk.order("T1", Kind.ORDER_ACK, venue_order_id="55")
    assert desk.slot.size_e8 == q(40)


def test_held_event_of_somebody_else_is_let_go_when_the_answer_names_another_id(desk: Desk) -> None:
    desk.enter()
    desk.event(
        Kind.FULL_FILL,
        asset="FET-USDT",
        side=OrderSide.BUY,
        venue_order_id="55",
        quantity_e8=q(40),
        price_e10=p(10),
    )
    desk.order("T1", Kind.ORDER_ACK, venue_order_id="56")
    assert (desk.slot.size_e8, desk.engine.kernel.held_events) == (0, 0)


def test_held_event_whose_ids_come_to_name_two_orders_hangs_nobody(desk: Desk) -> None:
    """Only garbage can name an own order before it is there; it must not hang the kernel."""
    desk.enter()
    desk.fill("T1", 40, "10", client_order_id="", venue_order_id="", slot_id=0)
    assets = desk.engine.kernel.pack(desk.inputs[0])
    asset_key = int.from_bytes(assets.pack()[40:48], "little")
    core = desk.engine.kernel._core
    garbage = _kernel.report(
        17, desk.now, desk.now, 0, asset_key, 77, 2, -1, 0, q(5), False, p(10), 0, 0,
        None, None, None, 1, 0, 0, 0, None, 0, 0, False,
    )  # fmt: skip
    assert core.apply(garbage).code == Code.EVENT_HELD
    desk.exit()  # order 2, without an answer
    desk.order("T1", Kind.ORDER_ACK, venue_order_id="77")
    assert desk.engine.kernel.held_events == 0  # it cannot mean an order that came after it
    desk.order("X1", Kind.ORDER_ACK, venue_order_id="78")
    assert desk.slot.size_e8 == q(40)


def test_held_events_are_bounded(desk: Desk) -> None:
    desk.enter()
    codes = [
        desk.event(Kind.ORDER_ACK, asset="FET-USDT", venue_order_id=str(i + 1)).kernel.code
        for i in range(65)
    ]
    assert codes == [Code.EVENT_HELD] * 64 + [Code.LIMIT_REACHED]
    assert desk.asked() == [EffectKind.QUERY_POSITION]


def test_two_ids_of_two_orders_are_refused(desk: Desk) -> None:
    desk.enter()
    desk.ack()
    desk.enter(trade="T2", asset="TRX-USDT")
    desk.order("T2", Kind.ORDER_ACK, venue_order_id="9000")
    refused(desk, Code.INVALID_EVENT)
    assert desk.last.kernel.details["field"] == "order"


def test_event_of_our_order_on_another_symbol_is_refused(desk: Desk) -> None:
    desk.enter()
    desk.fill("T1", 10, "10", asset="TRX-USDT")
    refused(desk, Code.INVALID_EVENT)
    assert desk.last.kernel.details["field"] == "asset"


def test_event_of_our_order_with_the_other_side_is_refused(desk: Desk) -> None:
    desk.enter()
    desk.fill("T1", 10, "10", side=OrderSide.SELL)
    refused(desk, Code.INVALID_EVENT)


def test_late_entry_fill_in_exit_working_goes_to_the_entry(desk: Desk) -> None:
    desk.enter()
    desk.fill("T1", 40, "10")
    desk.exit()
    desk.fill("T1", 70, "10")
    assert (desk.slot.entered_e8, desk.slot.exited_e8) == (q(70), 0)


def test_ids_beyond_2_53_are_exact(desk: Desk) -> None:
    desk.enter()
    desk.order("T1", Kind.ORDER_ACK, venue_order_id="1767767539205742593")
    desk.event(
        Kind.PARTIAL_FILL,
        asset="FET-USDT",
        venue_order_id="1767767539205742592",
        quantity_e8=q(5),
        price_e10=p(10),
    )
    refused(desk, Code.UNRESOLVED_SLOT)


def test_increment_after_a_query_is_not_counted_twice(desk: Desk) -> None:
    desk.enter()
    desk.final("T1", 100, cost="1000")
    desk.order(
        "T1", Kind.FULL_FILL, event_id="f1", increment=True, quantity_e8=q(100), price_e10=p(10)
    )
    refused(desk, Code.DUPLICATE_EVENT)
    assert desk.slot.size_e8 == q(100)


def test_an_event_without_news_still_answers_an_unknown_order(desk: Desk) -> None:
    desk.enter()
    desk.fill("T1", 50, "10")
    desk.order("T1", Kind.ORDER_UNKNOWN)
    desk.fill("T1", 50, "10")
    assert desk.last.kernel.accepted
    order = desk.slot.active_entry_order
    assert order is not None
    assert order.status is VenueOrderStatus.WORKING


def test_the_other_side_of_somebody_else_stays_in_hedge_mode() -> None:
    desk = Desk(hedge=True)
    desk.event(Kind.POSITION, asset="FET-USDT", side=OrderSide.BUY, quantity_e8=q(10))
    desk.event(Kind.POSITION, asset="FET-USDT", side=OrderSide.SELL, quantity_e8=0)
    desk.enter()
    refused(desk, Code.FOREIGN_POSITION)
    assert desk.enter(trade="T2", side=SHORT).kernel.accepted


# -- slots that were used again --------------------------------------------------------------------


def test_fill_for_a_trade_whose_slot_was_used_again_opens_a_recovery_slot(desk: Desk) -> None:
    desk.open()
    desk.close(100, "11")
    desk.open(trade="T2", asset="TRX-USDT")
    desk.fill("T1", 130, "10")
    out = desk.last.kernel
    assert {Code.RECOVERY_SLOT, Code.OVERFILL} <= set(out.notes)
    assert out.transition is not None
    recovered = desk.engine.kernel.slot(out.transition.slot_id)
    assert (recovered.trade_id, recovered.size_e8) == ("T1", q(30))
    assert recovered.state is State.STALE_STATE_RECONCILING
    assert recovered.exit_latched
    assert desk.slot.trade_id == "T2"
    desk.enter(trade="T3", asset="ADA-USDT")
    refused(desk, Code.ENTRIES_FROZEN)
    desk.tick()
    assert desk.submitted() == [q(30)]


def test_freed_slot_forgets_everything(desk: Desk) -> None:
    desk.open(legs=("0.5", "1"))
    desk.exit()
    desk.fill("X1", 50, "11", full=True)
    desk.exit(name="X2")
    desk.fill("X2", 50, "11", full=True)
    for name, quantity in (("X1", 50), ("X2", 50)):
        desk.final(name, quantity)
    assert desk.state is State.IDLE
    desk.open(trade="T2")
    slot = desk.slot
    assert (slot.realized, slot.active_leg_index, slot.exit_latched) == (0, 0, False)
    assert slot.exit_leg_ratios_e9 == (10**9,)


# -- boundaries ------------------------------------------------------------------------------------

GARBAGE = [True, 1.5, Decimal(1), Fraction(1, 2), "1", None, math.nan, math.inf, -1, 2**63, 2**70]


@pytest.mark.parametrize("value", GARBAGE, ids=repr)
@pytest.mark.parametrize("field", ["quantity_e8", "reference_price_e10", "received_ms"])
def test_garbage_in_an_intent_is_refused_by_name(desk: Desk, field: str, value: object) -> None:
    desk.open()
    before = desk.engine.state_hash()
    good = desk.inputs[0]
    desk.send(msgspec.structs.replace(good, **{field: value, "intent_id": "garbage"}))
    refused(desk, Code.INVALID_INTENT)
    assert desk.last.kernel.details["value"]
    assert desk.last.kernel.details["expected"]
    assert str(desk.last.kernel.details["field"]) in (
        field,
        field.removeprefix("reference_"),
        "time",
    )
    assert desk.engine.state_hash() == before


@pytest.mark.parametrize("value", GARBAGE, ids=repr)
@pytest.mark.parametrize("field", ["quantity_e8", "price_e10", "last_price_e10", "exchange_ms"])
def test_garbage_in_an_event_is_refused_by_name(desk: Desk, field: str, value: object) -> None:
    desk.enter()
    desk.fill("T1", 10, "10")
    before = desk.engine.state_hash()
    desk.send(msgspec.structs.replace(desk.inputs[-1], **{field: value}))
    refused(desk, Code.INVALID_EVENT)
    assert desk.engine.state_hash() == before


@pytest.mark.parametrize("field", ["fee", "realized", "cost"])
@pytest.mark.parametrize("value", [1.5, True, "1", Decimal(1), 10**38 + 1, -(2**200)], ids=repr)
def test_garbage_money_is_refused(desk: Desk, field: str, value: object) -> None:
    desk.enter()
    desk.fill("T1", 10, "10")
    desk.send(msgspec.structs.replace(desk.inputs[-1], **{field: value}))
    refused(desk, Code.INVALID_EVENT)
    assert desk.last.kernel.details["field"] == field


@pytest.mark.parametrize(
    "text", [5, None, "x" * 65, "new\nline", "\x1b[31m", "\u0661\u0662", b"1"], ids=repr
)
def test_garbage_ids_are_refused(desk: Desk, text: object) -> None:
    desk.enter()
    desk.fill("T1", 10, "10")
    for field in ("venue_order_id", "client_order_id", "event_id", "asset"):
        desk.send(msgspec.structs.replace(desk.inputs[1], **{field: text}))
        refused(desk, Code.INVALID_EVENT)
        assert desk.last.kernel.details["field"] == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("quantity_e8", q("100.5")),
        ("quantity_e8", 0),
        ("reference_price_e10", 0),
        ("leverage", 0),
        ("leverage", 4),
        ("exit_leg_ratios_e9", ()),
        ("exit_leg_ratios_e9", (0,)),
        ("exit_leg_ratios_e9", (10**9 + 1,)),
        ("exit_leg_ratios_e9", (10**9,) * 9),
        ("exit_leg_ratios_e9", [10**9]),
        ("asset", ""),
        ("trade_id", ""),
        ("intent_id", ""),
        ("contract", None),
        ("side", 0),
        ("side", 5),
        ("slot_id", -2),
        ("order_type", 7),
        ("received_ms", 0),
        ("received_ms", 2**53),
        ("working_ms", 7 * 86_400_000 + 1),
    ],
    ids=str,
)
def test_an_entry_that_cannot_be_right(desk: Desk, field: str, value: object) -> None:
    desk.enter()
    entry = desk.inputs[0]
    fresh = Engine()
    before = fresh.state_hash()
    out = fresh.apply(msgspec.structs.replace(entry, **{field: value})).kernel
    assert not out.accepted
    assert out.code in (Code.INVALID_INTENT, Code.INVALID_SLOT)
    assert fresh.state_hash() == before


def test_minimum_quantity_and_notional(desk: Desk) -> None:
    rules = msgspec.structs.replace(RULES, min_quantity_e8=q(10), min_notional=m(2))
    desk.enter(9, contract=rules)
    refused(desk, Code.INVALID_INTENT)
    desk.enter(10, "0.1", contract=rules)
    refused(desk, Code.INVALID_INTENT)
    assert desk.enter(20, "0.1", contract=rules).kernel.accepted


def test_limit_price_has_to_be_on_the_tick(desk: Desk) -> None:
    desk.enter(order_type=OrderType.LIMIT, limit_price_e10=p("10.00005"))
    refused(desk, Code.INVALID_INTENT)
    assert desk.last.kernel.details["field"] == "limit_price_e10"


def test_greatest_price_times_greatest_quantity_is_exact(desk: Desk) -> None:
    most = 2**63 - 1
    desk.send(
        KernelIntent(
            command=Command.ENTER,
            received_ms=1,
            intent_id="big",
            trade_id="T1",
            asset="FET-USDT",
            quantity_e8=most,
            reference_price_e10=most,
            contract=msgspec.structs.replace(RULES, step_e8=1),
        )
    )
    desk._name(desk.last, "T1")
    desk.order("T1", Kind.FULL_FILL, quantity_e8=most, price_e10=most)
    assert desk.slot.entry_cost == most * most


def test_sum_beyond_the_range_is_refused_and_changes_nothing(desk: Desk) -> None:
    desk.event(Kind.TRANSFER, event_id="a", amount=9 * 10**37)
    before = desk.engine.state_hash()
    desk.event(Kind.TRANSFER, event_id="b", amount=9 * 10**37)
    refused(desk, Code.ARITHMETIC_LIMIT)
    assert desk.engine.state_hash() == before


def test_increment_beyond_64_bits_is_refused(desk: Desk) -> None:
    desk.enter()
    fill = {"increment": True, "price_e10": 1}
    desk.order("T1", Kind.PARTIAL_FILL, event_id="a", quantity_e8=2**62, **fill)
    before = desk.engine.state_hash()
    desk.order("T1", Kind.PARTIAL_FILL, event_id="b", quantity_e8=2**62, **fill)
    refused(desk, Code.ARITHMETIC_LIMIT)
    assert desk.engine.state_hash() == before


def test_what_is_no_record_is_an_operator_error(desk: Desk) -> None:
    with pytest.raises(OperatorError, match="KernelIntent or a VenueEvent"):
        desk.engine.apply({"kind": 17})  # type: ignore[arg-type]


def test_4096_slots() -> None:
    desk = Desk(slot_limit=4096)
    for i in range(4096):
        assert desk.enter(trade=f"T{i}", asset=f"A{i}-USDT").kernel.accepted
    desk.enter(trade="more", asset="MORE-USDT")
    refused(desk, Code.SLOT_BUSY)


def test_registry_gives_up_closed_trades_and_never_a_live_one() -> None:
    desk = Desk(slot_limit=1)
    for i in range(400):
        desk.open(trade=f"T{i}")
        desk.exit(trade=f"T{i}", name=f"X{i}")
        desk.fill(f"X{i}", 100, "11", full=True, realized=m(100))
        desk.final(f"X{i}", 100, realized=m(100))
    assert desk.engine.kernel.trade("T0") is None
    assert desk.engine.kernel.trade("T399") is not None
    assert desk.engine.snapshot.realized == m(40_000)


def test_an_exit_is_tried_for_ever_though_the_registry_is_small() -> None:
    desk = Desk(slot_limit=1)
    desk.open()
    desk.exit()
    for _ in range(400):
        desk.order("X1", Kind.ORDER_REJECT, venue_order_id="")
        desk.tick(500_000)
        assert desk.submitted() == [q(100)]
        desk.name("X1")
    desk.fill("X1", 100, "11", full=True)
    assert desk.realized() == m(100)


def test_a_freeze_never_cancels_an_exit_in_the_place_of_a_forgotten_entry() -> None:
    desk = Desk(slot_limit=1)
    desk.command(
        Command.RECONCILE, trade_id="T1", asset="FET-USDT", quantity_e8=q(100),
        entry_cost=m(1000), contract=RULES,
    )  # fmt: skip
    desk.adopt_order(OrderRole.ENTRY, "501", 50)
    desk.event(Kind.ORDER_FINAL, venue_order_id="501", quantity_e8=0)
    desk.exit()
    for _ in range(300):
        desk.order("X1", Kind.ORDER_REJECT, venue_order_id="")
        desk.tick(500_000)
        desk.name("X1")
        slot = desk.slot
        assert slot.active_entry_order is None or slot.active_entry_order.role is OrderRole.ENTRY
    desk.control(ControlAction.HOLD)
    assert desk.asked() == []


def test_what_has_no_id_and_could_count_twice_is_refused(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.order("X1", Kind.PARTIAL_FILL, increment=True, quantity_e8=q(1), price_e10=p(11))
    refused(desk, Code.INVALID_EVENT)
    assert desk.last.kernel.details["field"] == "event_id"
    liquidation(desk, 10, venue_order_id="")
    refused(desk, Code.INVALID_EVENT)


def test_a_free_slot_adopts_no_order(desk: Desk) -> None:
    desk.command(
        Command.RECONCILE, trade_id="T1", slot_id=0, asset="FET-USDT", quantity_e8=q(10),
        role=OrderRole.EXIT, venue_order_id="501", contract=RULES,
    )  # fmt: skip
    refused(desk, Code.NO_POSITION)


def test_figures_beyond_128_bits_are_told_not_faulted() -> None:
    desk = Desk()
    for trade, asset in (("T1", "FET-USDT"), ("T2", "TRX-USDT")):
        desk.command(
            Command.RECONCILE, trade_id=trade, asset=asset, quantity_e8=q(100),
            entry_cost=9 * 10**37, contract=RULES,
        )  # fmt: skip
    assert desk.engine.snapshot.open_notional == 18 * 10**37
    desk.anchor("99999999999999999999")
    desk.event(Kind.FUNDING_FEE, event_id="f", amount=m(5), exchange_ms=desk.now + 60_000)
    assert desk.engine.snapshot.capital == m("99999999999999999999") + m(5)


# -- money -----------------------------------------------------------------------------------------


def test_leverage_touches_margin_and_nothing_else() -> None:
    desks = [Desk(), Desk()]
    for desk, leverage in zip(desks, (1, 3), strict=True):
        desk.open(leverage=leverage)
    one, three = (desk.slot for desk in desks)
    assert one.initial_margin == m(1000)
    assert three.initial_margin == m(1000) // 3
    for desk in desks:
        desk.close(100, "9")
    assert desks[0].realized() == desks[1].realized() == m(-100)


def test_short_from_100_to_90_earns(desk: Desk) -> None:
    desk.open(1, "100", side=SHORT)
    desk.close(1, "90")
    assert desk.realized() == m(10)


def test_a_mark_never_becomes_an_entry_basis(desk: Desk) -> None:
    desk.enter()
    desk.fill("T1", 100, full=True)
    desk.command(Command.MARK_PRICE, slot_id=0, reference_price_e10=p(12))
    slot = desk.slot
    assert slot.entry_basis_missing
    assert (slot.entry_cost, slot.unrealized) == (0, 0)
    desk.exit()
    desk.fill("X1", 100, "11", full=True)
    assert desk.realized() == 0
    desk.final("T1", 100, cost="1000")
    assert desk.realized() == m(100)


def test_entry_figure_never_repairs_a_leg(desk: Desk) -> None:
    desk.enter()
    desk.fill("T1", 100, "10", full=True, realized=m(500))
    desk.exit()
    desk.fill("X1", 100, "11", full=True)
    assert desk.realized() == m(100)


def test_zero_is_a_valid_settlement(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.fill("X1", 100, full=True)
    order = desk.engine.kernel.orders_of(1)[1]
    assert order.realized_skipped_no_price
    desk.settle("X1", 100, "0")
    assert desk.last.kernel.code is Code.REALIZED_SETTLED
    order = desk.engine.kernel.orders_of(1)[1]
    assert not order.realized_skipped_no_price
    assert desk.realized() == 0


def test_figure_beyond_the_tolerance_is_an_error_and_no_silent_rebook(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.fill("X1", 100, "11", full=True)
    desk.settle("X1", 100, "97")
    assert desk.last.kernel.code is Code.FIGURE_DEVIATES
    assert desk.last.kernel.severity is KernelSeverity.ERROR
    assert desk.realized() == m(100)
    assert desk.engine.kernel.ledger().trueup == m(-3)


def test_figure_within_one_percent_is_no_error(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.fill("X1", 100, "11", full=True)
    desk.settle("X1", 100, "99.5")
    assert desk.last.kernel.code is Code.OK


def test_cost_ranks_in_every_order() -> None:
    frames: list[dict[str, Any]] = [
        {"price_e10": p("10.1")},
        {"price_e10": p("10.2"), "source": EvidenceSource.ORDER_QUERY},
        {"cost": m("1030"), "source": EvidenceSource.FILL_HISTORY},
    ]
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)):
        desk = Desk()
        desk.enter()
        for i in order:
            desk.order("T1", Kind.PARTIAL_FILL, quantity_e8=q(100), **frames[i])
        assert desk.slot.entry_cost == m("1030")


def test_last_fills_without_a_gap_beat_the_average() -> None:
    desk = Desk()
    desk.enter()
    for z, last in ((40, "10"), (100, "11")):
        desk.order(
            "T1",
            Kind.PARTIAL_FILL,
            quantity_e8=q(z),
            price_e10=p("10.6001"),
            last_quantity_e8=q(40 if z == 40 else 60),
            last_price_e10=p(last),
        )
    assert desk.slot.entry_cost == m("1060")
    gap = Desk()
    gap.enter()
    gap.order(
        "T1",
        Kind.PARTIAL_FILL,
        quantity_e8=q(100),
        price_e10=p("10.6001"),
        last_quantity_e8=q(60),
        last_price_e10=p(11),
    )
    assert gap.slot.entry_cost == m("1060.01")


def test_fee_is_estimated_and_then_replaced(desk: Desk) -> None:
    rules = msgspec.structs.replace(RULES, taker_fee_e9=500_000)
    desk.enter(contract=rules)
    desk.fill("T1", 100, "10", full=True)
    assert desk.slot.fees == m("0.5")
    desk.final("T1", 100, fee=m("0.48"))
    assert desk.slot.fees == m("0.48")
    assert desk.engine.snapshot.fees == m("0.48")


def test_statuses_are_told_by_name(desk: Desk) -> None:
    desk.enter()
    desk.ack()
    order = desk.slot.active_entry_order
    assert order is not None
    assert (order.status, order.role) == (VenueOrderStatus.WORKING, OrderRole.ENTRY)
    assert order.client_order_id == desk.venue_ids["T1"]
    assert len(order.client_order_id) == 32
    assert desk.engine.kernel.order_of_client(order.client_order_id) == order
    assert desk.slot.side is LONG
