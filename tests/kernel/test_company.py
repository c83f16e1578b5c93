"""In company: other people on the account, refusals that repeat, doubt that lasts.

Each case goes through the whole engine.  What is right is judged by what the exchange would show:
every slot comes to an end, no exit is forgotten or sent at the speed of the network, nothing of
others is booked as ours, and money that vanishes is seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from support.engine_driver import LONG, RULES, SHORT, STEP_MS, Desk, Kind, m, p, q

from dita.account import AccountConfig
from dita.contracts import (
    BalanceReason,
    ContractRules,
    ControlAction,
    DriftCause,
    EffectKind,
    EvidenceSource,
    KernelIntent,
    OrderRole,
    OrderSide,
    OrderType,
    PositionSide,
    RejectReason,
    RiskLimit,
    VenueEvent,
    VenueOrderStatus,
)
from dita.contracts import KernelCommandType as Command
from dita.contracts import KernelDiagnosticCode as Code
from dita.contracts import TradeStage as State
from dita.engine import Engine
from dita.kernel import KernelConfig

BUY, SELL = OrderSide.BUY, OrderSide.SELL
SUBMIT, CANCEL, FINALISE = EffectKind.SUBMIT, EffectKind.CANCEL, EffectKind.FINALISE
ASK = EffectKind.QUERY_POSITION
FET = "FET-USDT"
MISMATCH = RejectReason.POSITION_MISMATCH
RECORDS = EvidenceSource.FILL_HISTORY
MINUTE_MS, HOUR_MS = 60_000, 3_600_000


@pytest.fixture
def desk() -> Desk:
    return Desk()


def at_once(desk: Desk, after_ms: int = 30) -> None:
    """The next input comes this much after the last one."""
    desk.now += after_ms - STEP_MS


def refused(desk: Desk, code: Code) -> None:
    """The last input was refused with this code."""
    assert (desk.last.kernel.accepted, desk.last.kernel.code) == (False, code)


def position(desk: Desk, quantity: int, side: OrderSide = BUY, **fields: Any) -> None:
    """The exchange's position on FET."""
    side = side if quantity else OrderSide.UNKNOWN
    desk.event(Kind.POSITION, **{"asset": FET, "side": side, "quantity_e8": q(quantity)} | fields)


def by_others(desk: Desk, venue_id: str, side: OrderSide, quantity: int, **fields: Any) -> None:
    """A fill of an order that is not ours."""
    fields = {"price_e10": p("10"), "asset": FET} | fields
    desk.event(
        Kind.FULL_FILL, venue_order_id=venue_id, side=side, quantity_e8=q(quantity), **fields
    )


def records_of(desk: Desk, venue_id: str, quantity: int, cost: int, realized: int) -> None:
    """The exchange's records of an order that is not ours."""
    desk.event(
        Kind.ORDER_FINAL,
        venue_order_id=venue_id,
        quantity_e8=q(quantity),
        cost=m(cost),
        fee=0,
        realized=m(realized),
        source=RECORDS,
    )


def foreign(desk: Desk) -> int:
    """What others hold on FET."""
    return desk.engine.kernel.foreign_quantity_e8(FET)


def causes(desk: Desk) -> tuple[str, ...]:
    return desk.engine.kernel.freeze_causes()


def drift(desk: Desk) -> dict[DriftCause, int]:
    return dict(desk.engine.snapshot.drift_by_cause)


def is_free(desk: Desk) -> bool:
    return desk.engine.kernel.active_slots() == ()


# -- refusals that repeat --------------------------------------------------------------------------


class Refusing:
    """An exchange that refuses every exit 30 ms after it was sent, and time that passes."""

    def __init__(self, desk: Desk, **fields: Any) -> None:
        self.desk = desk
        self.fields = {"reject": MISMATCH, "error_code": 101205} | fields
        self.sent_ms: list[int] = []

    def hear(self) -> list[str]:
        """Client ids of the exits that the last input sent out."""
        return [e.client_order_id for e in self.desk.last.effects if e.kind is SUBMIT]

    def run(self, until_ms: int, agreeing: bool = False) -> int:
        """Refuse and wait until then; how many were sent."""
        waiting = self.hear()
        while self.desk.now < until_ms:
            if waiting:
                self.sent_ms += [self.desk.now] * len(waiting)
                at_once(self.desk)
                self.desk.event(Kind.ORDER_REJECT, client_order_id=waiting[0], **self.fields)
            elif agreeing and self.desk.slot.state is State.STALE_STATE_RECONCILING:
                at_once(self.desk)
                position(self.desk, 100)
            else:
                due_ms = self.desk.engine.kernel.due_ms
                assert due_ms == 0 or due_ms > self.desk.engine.kernel.now_ms, "due in the past"
                if due_ms == 0 or due_ms >= until_ms:
                    self.desk.now = until_ms
                    break
                self.desk.tick(due_ms - self.desk.now)
            waiting = self.hear()
        return len(self.sent_ms)


@pytest.mark.parametrize("agreeing", [False, True], ids=["no answer", "answers that agree"])
def test_a_refused_exit_is_never_sent_at_the_speed_of_the_network(
    desk: Desk, agreeing: bool
) -> None:
    desk.open()
    desk.exit()
    venue = Refusing(desk)
    assert venue.run(desk.now + MINUTE_MS, agreeing) <= 6  # 2, 2, 4, 8, 16, 32 s
    assert all(b - a >= 1_000 for a, b in itertools.pairwise(venue.sent_ms))


@pytest.mark.parametrize("agreeing", [False, True], ids=["no answer", "answers that agree"])
def test_equal_errors_stay_below_what_makes_the_exchange_block_the_endpoint(
    desk: Desk, agreeing: bool
) -> None:
    desk.open()
    desk.exit()
    venue = Refusing(desk)
    venue.run(desk.now + HOUR_MS, agreeing)
    for begin in venue.sent_ms:
        assert sum(begin <= ms < begin + 480_000 for ms in venue.sent_ms) <= 7
    assert len(venue.sent_ms) >= 7 * 7  # and it is never given up


def test_an_urgent_exit_goes_on_where_others_wait_and_stops_below_the_block(desk: Desk) -> None:
    desk.open()
    desk.exit(urgent=True)
    venue = Refusing(desk, reject=RejectReason.OTHER)
    start = desk.now
    venue.run(start + 470_000)
    assert 8 <= len(venue.sent_ms) <= 15
    for _ in range(9):
        desk.exit(name="X", urgent=True)  # each is tried at once, as long as there is room
        venue.run(desk.now + 200)
    assert sum(start <= ms < start + 480_000 for ms in venue.sent_ms) <= 15
    venue.run(start + 2 * HOUR_MS)
    for begin in venue.sent_ms:
        assert sum(begin <= ms < begin + 480_000 for ms in venue.sent_ms) <= 15


def seven_errors(desk: Desk) -> None:
    """A slot whose exits are refused until it waits."""
    desk.open()
    desk.exit()
    Refusing(desk, reject=RejectReason.OTHER).run(desk.now + 4 * MINUTE_MS)
    assert desk.engine.kernel.venue_errors() == {101205: 7}


def test_the_first_try_of_another_slot_does_not_wait_for_errors_that_it_did_not_have() -> None:
    desk = Desk()
    desk.open(trade="T2", asset="TRX-USDT")
    seven_errors(desk)
    desk.exit(trade="T2", name="X2")
    assert desk.submitted() == [q(100)]


def test_no_entry_eats_the_tries_that_are_left_for_exits(desk: Desk) -> None:
    seven_errors(desk)
    desk.enter(trade="T2", asset="TRX-USDT")
    refused(desk, Code.VENUE_ERRORS)
    assert "101205" in str(desk.last.kernel.details["errors"])
    desk.now += 480_000
    assert desk.enter(trade="T2", asset="TRX-USDT").kernel.accepted


def test_refusals_before_an_exit_that_was_taken_do_not_count_against_the_next(desk: Desk) -> None:
    desk.open()
    desk.exit()
    Refusing(desk, reject=RejectReason.OTHER, error_code=0).run(desk.now + 20_000)
    desk.tick(MINUTE_MS)
    desk.name("X2")
    desk.ack("X2")
    desk.order("X2", Kind.ORDER_REJECT, reject=RejectReason.OTHER)
    desk.final("X2", 0)
    desk.tick(999 - STEP_MS if STEP_MS < 999 else 1)
    assert desk.engine.kernel.due_ms <= desk.now + 1_000


def test_a_mismatch_asks_for_the_position_each_time_and_waits_for_the_answer(desk: Desk) -> None:
    desk.open()
    desk.exit()
    first = desk.last.effects[-1].client_order_id
    desk.event(Kind.ORDER_REJECT, client_order_id=first, reject=MISMATCH)
    assert desk.asked() == [ASK]
    rejected_ms = desk.now
    desk.tick(1_999)
    assert desk.asked() == []
    desk.tick(1)
    assert (desk.asked(), desk.now) == ([SUBMIT], rejected_ms + 2_000)
    second = desk.last.effects[-1].client_order_id
    desk.event(Kind.ORDER_REJECT, client_order_id=second, reject=MISMATCH)
    assert desk.asked() == [ASK]


def test_a_suspended_symbol_is_named_and_tried_at_its_own_pace(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.order(
        "X1", Kind.ORDER_REJECT, venue_order_id="", reject=RejectReason.SUSPENDED, error_code=109418
    )
    assert Code.SYMBOL_SUSPENDED in desk.last.kernel.notes
    desk.tick(119_999)
    assert desk.asked() == []
    desk.tick(1)
    assert desk.asked() == [SUBMIT]


@pytest.mark.parametrize("end", ["trades again", "settled there", "taken back"])
def test_an_exit_on_a_suspended_symbol_ends(desk: Desk, end: str) -> None:
    desk.quiet_anchor("25000")
    desk.open()
    desk.exit()
    venue = Refusing(desk, reject=RejectReason.SUSPENDED, error_code=109418)
    start = desk.now
    venue.run(start + HOUR_MS)
    assert 6 <= len(venue.sent_ms) <= 30
    if end == "trades again":
        desk.tick(8 * MINUTE_MS)
        desk.name("X9")
        desk.fill("X9", 100, "10", full=True)
        desk.final("X9", 100)
    elif end == "settled there":
        position(desk, 0)
        desk.now += 3 * MINUTE_MS
        desk.event(Kind.INCOME_READ)
        write_off(desk, 100)
    else:
        desk.cancel()
        assert (desk.state, desk.slot.exit_latched) == (State.POSITION_OPEN, False)
        return
    assert is_free(desk)


def test_a_new_exit_forgets_how_often_the_last_one_was_refused(desk: Desk) -> None:
    seven_errors(desk)
    desk.cancel()
    desk.exit(name="X2", urgent=True)
    assert desk.submitted() == [q(100)]


# -- doubt -----------------------------------------------------------------------------------------


def test_an_answer_that_disagrees_never_asks_for_itself_again(desk: Desk) -> None:
    desk.enter()
    desk.ack()
    desk.fill("T1", 100, "10", full=True)  # its end is not certain yet: others' part cannot be told
    asked = 0
    for _ in range(100):
        position(desk, 150)
        asked += desk.asked().count(ASK)
    assert desk.state is State.STALE_STATE_RECONCILING
    assert asked == 1  # when the doubt began


def test_an_hour_of_doubt_costs_one_try_a_minute(desk: Desk) -> None:
    """Somebody has closed what was ours, and no fill tells of it."""
    desk.open()
    position(desk, 0)
    desk.exit()
    venue = Refusing(desk, reject=RejectReason.OTHER, error_code=0)
    start = desk.now
    venue.run(start + HOUR_MS)
    assert 50 <= len(venue.sent_ms) <= 61
    assert all(b - a >= MINUTE_MS for a, b in itertools.pairwise(venue.sent_ms))


def test_an_exit_that_is_refused_while_the_position_is_gone_ends_in_doubt_not_in_a_loop(
    desk: Desk,
) -> None:
    desk.open()
    desk.exit()
    desk.order("X1", Kind.ORDER_REJECT, venue_order_id="", reject=RejectReason.OTHER)
    position(desk, 0)
    assert desk.state is State.STALE_STATE_RECONCILING
    assert desk.engine.kernel.proof_of(0)[0] == 0


# -- every slot has an end -------------------------------------------------------------------------


def test_a_flat_trade_is_free_whatever_others_hold_there(desk: Desk) -> None:
    desk.open()
    position(desk, 150)
    assert foreign(desk) == q(50)
    assert desk.state is State.POSITION_OPEN
    desk.close(100, "11")
    position(desk, 50)
    assert is_free(desk)
    desk.enter(trade="T2")
    refused(desk, Code.FOREIGN_POSITION)
    assert desk.last.kernel.details["foreign_quantity"] == "50"
    position(desk, 0)
    assert desk.enter(trade="T2").kernel.accepted


def test_who_closes_more_than_ours_leaves_our_slot_free_and_keeps_the_rest(desk: Desk) -> None:
    desk.open()
    by_others(desk, "5000", SELL, 150, price_e10=p("11"))
    assert {Code.EXTERNAL_CLOSE, Code.FOREIGN_EXCESS} <= set(desk.last.kernel.notes)
    position(desk, 50, SELL)
    assert (is_free(desk), foreign(desk)) == (True, -q(50))
    records_of(desk, "5000", 150, 1_650, 100)
    assert desk.realized() == m(100)


def test_of_an_order_that_flips_only_the_closing_part_has_a_profit(desk: Desk) -> None:
    """SHORT 1000 at 0.4999; somebody buys 3000 at 0.3 and is paid 199.90 for the close."""
    desk.open(1000, "0.4999", side=SHORT)
    by_others(desk, "5000", BUY, 3000, price_e10=p("0.3"))
    assert desk.realized() == m("199.9")
    records_of(desk, "5000", 3000, 900, 200)
    trade = desk.engine.kernel.trade("T1")
    assert trade is not None
    assert (trade.realized, trade.trueup) == (m("199.9"), 0)
    assert desk.engine.kernel.ledger().foreign == m("0.1")  # what is beyond price times quantity


def test_a_position_older_than_our_last_fill_says_nothing(desk: Desk) -> None:
    desk.open()
    desk.close(100, "11")
    position(desk, 100, exchange_ms=desk.now - 25_000)
    refused(desk, Code.STALE_STATE)
    assert foreign(desk) == 0
    position(desk, 100)
    assert foreign(desk) == q(100)
    position(desk, 0, exchange_ms=desk.now - 25_000)
    refused(desk, Code.STALE_STATE)
    assert foreign(desk) == q(100)


def test_an_answer_from_before_our_end_says_nothing_of_what_is_there_after_it(desk: Desk) -> None:
    """Neither does an old 100 keep entries out, nor an old flat let them in."""
    desk.open()
    asked_ms = desk.now + 1
    desk.close(100, "11")
    assert is_free(desk)
    position(desk, 100, exchange_ms=asked_ms)
    refused(desk, Code.STALE_STATE)
    assert foreign(desk) == 0
    asked_ms = desk.now + 1
    position(desk, 50)
    position(desk, 0, exchange_ms=asked_ms)
    refused(desk, Code.STALE_STATE)
    assert foreign(desk) == q(50)


def test_an_exit_that_proves_not_to_be_over_holds_the_next_one_back(desk: Desk) -> None:
    """It was final with 20 of 100; then 10 more of it are told."""
    desk.open()
    desk.exit()
    desk.order("X1", Kind.CANCEL_ACK)
    desk.fill("X1", 20, "11")
    desk.final("X1", 20)
    desk.name("X2")
    assert desk.submitted() == [q(80)]
    desk.order("X2", Kind.ORDER_REJECT, venue_order_id="", reject=RejectReason.OTHER)
    desk.fill("X1", 30, "11")
    assert FINALISE in desk.asked()
    for _ in range(12):
        desk.tick(MINUTE_MS)
        assert desk.submitted() == []
    desk.final("X1", 30)
    desk.tick(MINUTE_MS)
    assert desk.submitted() == [q(70)] or desk.slot.active_exit_order is not None


@pytest.mark.parametrize("how", ["an adopted exit order", "an exit that took too much"])
def test_an_entry_that_fills_behind_an_overfilled_exit_breaks_nothing(desk: Desk, how: str) -> None:
    desk.enter()
    desk.ack()
    desk.fill("T1", 40, "10")
    if how == "an adopted exit order":
        desk.adopt_order(OrderRole.EXIT, "777", 100)
        desk.event(Kind.FULL_FILL, venue_order_id="777", quantity_e8=q(100), price_e10=p("11"))
        records_of(desk, "777", 100, 1_100, 60)
    else:
        desk.exit()
        desk.fill("X1", 100, "11", full=True)
        desk.final("X1", 100)
    position(desk, 0)
    desk.fill("T1", 100, "10", full=True)
    assert desk.slot.size_e8 == 0


def test_an_acked_exit_that_the_exchange_lost_ends_when_the_position_agrees(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.ack("X1")
    desk.order("X1", Kind.ORDER_ABSENT)
    assert Code.ORDER_LOST in desk.last.kernel.notes
    assert desk.state is State.STALE_STATE_RECONCILING
    desk.tick(MINUTE_MS)
    assert desk.submitted() == []  # it may have been filled: nothing is sold twice
    position(desk, 100)
    assert desk.submitted() == [q(100)]


def test_an_acked_entry_that_the_exchange_lost_is_never_sent_again(desk: Desk) -> None:
    desk.enter(expires_ms=desk.now + HOUR_MS)
    desk.ack()
    desk.order("T1", Kind.ORDER_ABSENT)
    assert SUBMIT not in desk.asked()
    position(desk, 0)
    assert is_free(desk)


def test_a_position_decides_about_a_lost_order_only_once_it_agrees(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.ack("X1")
    desk.order("X1", Kind.ORDER_ABSENT)
    position(desk, 30)
    desk.tick(MINUTE_MS)
    assert desk.submitted() == []
    order = desk.engine.kernel.orders_of(1)[-1]
    assert (order.status, order.final) == (VenueOrderStatus.ABSENT, False)


def test_final_figures_below_what_the_stream_said_are_believed(desk: Desk) -> None:
    desk.enter()
    desk.ack()
    desk.fill("T1", 100, "10", full=True)
    desk.final("T1", 90, "900")
    assert Code.FILL_WITHDRAWN in desk.last.kernel.notes
    assert desk.slot.size_e8 == q(90)
    position(desk, 90)
    desk.close(90, "11")
    assert is_free(desk)
    assert desk.realized() == m(90)


def test_records_that_took_a_fill_back_are_asked_again_when_the_position_still_has_it(
    desk: Desk,
) -> None:
    """They lagged behind the stream: what was filled is ours, and is not left at the exchange."""
    desk.enter()
    desk.ack()
    desk.fill("T1", 100, "10", full=True)
    desk.final("T1", 90, "900")
    position(desk, 100)
    assert (desk.slot.size_e8, desk.state) == (q(90), State.STALE_STATE_RECONCILING)
    assert foreign(desk) == 0
    desk.final("T1", 100, "1000")
    position(desk, 100)
    assert (desk.slot.size_e8, desk.state) == (q(100), State.POSITION_OPEN)


def test_records_that_took_a_fill_back_twice_are_believed(desk: Desk) -> None:
    desk.enter()
    desk.ack()
    desk.fill("T1", 100, "10", full=True)
    desk.final("T1", 90, "900")
    position(desk, 100)
    desk.final("T1", 90, "900")
    position(desk, 100)
    assert (desk.slot.size_e8, desk.state) == (q(90), State.POSITION_OPEN)
    assert foreign(desk) == q(10)


def test_a_settled_close_by_others_gives_way_to_a_fill_of_ours_that_came_late(desk: Desk) -> None:
    """The records lacked our exit; so all of the stranger's order seemed to have closed ours."""
    desk.open()
    desk.exit()
    desk.ack("X1")
    desk.fill("X1", 40, "11")
    by_others(desk, "6000", SELL, 100)
    desk.order("X1", Kind.CANCEL_ACK)
    desk.final("X1", 0, "0")
    position(desk, 0)
    assert is_free(desk)
    desk.final("X1", 40, "440")
    booked = {o.venue_order_id: o.filled_e8 for o in desk.engine.kernel.orders_of(1) if o.external}
    assert booked == {"6000": q(60)}
    position(desk, 40, SELL)
    assert is_free(desk)
    assert foreign(desk) == -q(40)


def test_final_figures_of_the_stream_are_no_better_than_its_fills(desk: Desk) -> None:
    desk.enter()
    desk.ack()
    desk.fill("T1", 100, "10", full=True)
    desk.final("T1", 90, "900", source=EvidenceSource.STREAM)
    refused(desk, Code.INVALID_EVENT)


def test_an_exit_that_took_less_than_it_said_gives_the_rest_another_exit(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.fill("X1", 100, "11", full=True)
    desk.final("X1", 60, "660")
    assert desk.slot.size_e8 == q(40)
    desk.tick(2_000)
    position(desk, 40)
    assert q(40) in desk.submitted() or desk.slot.active_exit_order is not None


def test_an_open_overfill_keeps_entries_back_until_somebody_has_closed_it(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.fill("X1", 110, "11", full=True)
    desk.final("X1", 110)
    assert causes(desk) == ("recovery slot in use",)
    position(desk, 10, SELL)
    assert desk.state is State.STALE_STATE_RECONCILING
    position(desk, 0)
    assert (is_free(desk), causes(desk)) == (True, ())


# -- two slots on one symbol -----------------------------------------------------------------------


def come_back(desk: Desk, side: Any = LONG) -> None:
    """T1 is over, T2 holds 100, and 10 more of T1's entry are told a moment ago."""
    desk.enter(100, "10")
    desk.ack()
    desk.fill("T1", 60, "10")
    desk.order("T1", Kind.CANCEL_ACK)
    desk.final("T1", 60)
    desk.close(60, "11")
    desk.open(100, "10", trade="T2", side=side)
    desk.fill("T1", 70, "10")
    at_once(desk)
    desk.final("T1", 70)
    at_once(desk)


def test_slots_of_one_symbol_are_compared_by_their_sum(desk: Desk) -> None:
    come_back(desk)
    assert causes(desk) == ("recovery slot in use",)
    position(desk, 110)
    states = {slot.trade_id: slot.state for slot in desk.engine.kernel.active_slots()}
    assert states == {"T2": State.POSITION_OPEN, "T1": State.EXIT_WORKING}
    assert desk.submitted() == [q(10)]
    desk.name("XR")
    desk.fill("XR", 10, "11", full=True)
    desk.final("XR", 10)
    position(desk, 100)
    (left,) = desk.engine.kernel.active_slots()
    assert (left.trade_id, left.state, causes(desk)) == ("T2", State.POSITION_OPEN, ())


def test_what_is_missing_is_missing_from_the_trade_that_came_back(desk: Desk) -> None:
    come_back(desk)
    position(desk, 100)
    proven = {
        slot.trade_id: desk.engine.kernel.proof_of(slot.slot_id)[0]
        for slot in desk.engine.kernel.active_slots()
    }
    assert proven == {"T2": q(100), "T1": 0}
    states = {slot.state for slot in desk.engine.kernel.active_slots()}
    assert states == {State.STALE_STATE_RECONCILING}  # both stay in doubt


def test_exits_of_one_symbol_never_take_more_than_its_net_position(desk: Desk) -> None:
    come_back(desk)
    position(desk, 110)  # the exit of 10 works
    desk.exit(trade="T2", name="X2")
    assert desk.submitted() == [q(100)]


def test_exits_of_one_symbol_count_what_another_one_may_still_sell(desk: Desk) -> None:
    """T2 holds 100 and T3, back from before, is short 20: of the net of 90 one exit has 10."""
    desk.enter(100, "10", trade="T3", side=SHORT)
    desk.ack("T3")
    desk.fill("T3", 60, "10")
    desk.order("T3", Kind.CANCEL_ACK)
    desk.final("T3", 60)
    desk.close(60, "11", trade="T3", name="X3")
    come_back(desk)
    desk.tick(STEP_MS + 2_000)  # T1's exit of 10 goes
    assert desk.submitted() == [q(10)]
    desk.fill("T3", 80)  # without a price: the exchange's netting cannot be booked yet
    at_once(desk)
    desk.exit(trade="T2", name="X2")
    desk.tick(STEP_MS)
    sent = {o.trade_no: o.intended_e8 for o in desk.engine.kernel.open_orders() if not o.filled_e8}
    assert sent[2] == q(10) and sent[3] == q(80), sent


def test_opposite_slots_have_closed_one_another(desk: Desk) -> None:
    """T2 is short 100 when 10 more of T1's long entry are told: the exchange is short 90."""
    come_back(desk, SHORT)
    position(desk, 90, SELL)
    assert Code.NETTED in desk.last.kernel.notes
    (left,) = desk.engine.kernel.active_slots()
    assert (left.trade_id, left.size_e8, left.state) == ("T2", q(90), State.POSITION_OPEN)
    assert causes(desk) == ()
    first, second = desk.engine.kernel.trades()
    assert first.entered_e8 == first.exited_e8 == q(70)
    assert second.exited_e8 == q(10)
    # at the later entry's price in both: their sum is what the exchange pays
    assert first.realized + second.realized == m(60)


# -- exits are never skipped -----------------------------------------------------------------------


def test_an_exit_that_is_too_small_waits_for_the_entry_that_still_fills(desk: Desk) -> None:
    desk.enter(100, "10")
    desk.ack()
    desk.fill("T1", 1, "10")
    desk.exit()
    desk.order("X1", Kind.ORDER_REJECT, venue_order_id="", reject=RejectReason.BELOW_MINIMUM)
    assert (Code.DUST in desk.last.kernel.notes, desk.slot.exit_latched) == (True, True)
    desk.tick(MINUTE_MS)
    assert desk.submitted() == []
    desk.fill("T1", 60, "10")
    assert desk.submitted() == [q(60)]


def test_dust_is_left_open_once_the_entry_can_fill_no_more(desk: Desk) -> None:
    desk.enter(100, "10")
    desk.ack()
    desk.fill("T1", 1, "10")
    desk.exit()
    desk.order("X1", Kind.ORDER_REJECT, venue_order_id="", reject=RejectReason.BELOW_MINIMUM)
    desk.order("T1", Kind.CANCEL_ACK)
    desk.final("T1", 1)
    assert (desk.state, desk.slot.dust, desk.slot.exit_latched) == (
        State.POSITION_OPEN,
        True,
        False,
    )
    assert desk.engine.kernel.due_ms == 0


MINIMUM = ContractRules(
    tick_e10=p("0.0001"), step_e8=q(1), min_quantity_e8=q(2), min_notional=m(100)
)


def test_a_leg_below_the_minimum_notional_takes_everything(desk: Desk) -> None:
    desk.open(100, "10", legs=("0.05", "1"), contract=MINIMUM)  # the leg is worth 50
    desk.exit()
    assert desk.submitted() == [q(100)]


def test_the_notional_of_a_leg_is_taken_at_the_mark(desk: Desk) -> None:
    desk.open(100, "10", legs=("0.05", "1"), contract=MINIMUM)
    desk.command(Command.MARK_PRICE, slot_id=0, reference_price_e10=p("20"))
    desk.exit()
    assert desk.submitted() == [q(5)]


def test_a_leg_that_the_exchange_calls_too_small_takes_everything(desk: Desk) -> None:
    desk.open(legs=("0.05", "1"))
    desk.exit()
    desk.order("X1", Kind.ORDER_REJECT, venue_order_id="", reject=RejectReason.BELOW_MINIMUM)
    desk.tick(1_000)
    assert desk.submitted() == [q(100)]


def test_cancel_takes_the_entry_back_and_leaves_the_exit_wanted(desk: Desk) -> None:
    desk.enter()
    desk.ack()
    desk.exit()
    desk.cancel()
    assert desk.slot.exit_latched
    desk.fill("T1", 40, "10")
    assert desk.submitted() == [q(40)]


def test_an_exit_that_nobody_wants_any_more_is_not_made_larger_by_its_refusal(desk: Desk) -> None:
    desk.open(legs=("0.05", "1"))
    desk.exit()
    desk.cancel()
    desk.order("X1", Kind.ORDER_REJECT, venue_order_id="", reject=RejectReason.BELOW_MINIMUM)
    desk.tick(HOUR_MS)
    assert (desk.state, desk.slot.exit_latched) == (State.POSITION_OPEN, False)


@pytest.mark.parametrize(
    ("quantity", "field"), [("1", "contract minimum"), ("2.5", "contract.step_e8")]
)
def test_a_typed_quantity_is_done_as_it_is_or_refused_by_name(
    desk: Desk, quantity: str, field: str
) -> None:
    desk.open(contract=MINIMUM)
    desk.exit(quantity_e8=q(quantity))
    refused(desk, Code.INVALID_INTENT)
    assert desk.last.kernel.details["field"] == field
    assert desk.state is State.POSITION_OPEN


def test_a_typed_quantity_of_more_than_is_left_is_all_of_it(desk: Desk) -> None:
    desk.open(contract=MINIMUM)
    desk.exit(quantity_e8=q("100.5"))
    assert desk.submitted() == [q(100)]


def test_a_typed_quantity_that_the_exchange_calls_too_small_is_not_made_larger(desk: Desk) -> None:
    desk.open()
    desk.exit(quantity_e8=q(1))
    desk.order("X1", Kind.ORDER_REJECT, venue_order_id="", reject=RejectReason.BELOW_MINIMUM)
    assert (desk.state, desk.slot.exit_latched) == (State.POSITION_OPEN, False)
    desk.tick(HOUR_MS)
    assert desk.submitted() == []


def test_a_typed_quantity_is_no_leg(desk: Desk) -> None:
    desk.open(legs=("0.5", "0.5", "1"))
    desk.exit(quantity_e8=q(10))
    desk.fill("X1", 10, "11", full=True)
    desk.final("X1", 10)
    assert desk.slot.active_leg_index == 0
    desk.exit(name="X2")
    assert desk.submitted() == [q(45)]
    desk.fill("X2", 45, "11", full=True)
    desk.final("X2", 45)
    desk.exit(name="X3", quantity_e8=q(5))
    desk.cancel()
    assert desk.slot.active_leg_index == 1  # the leg that went out stays gone


def test_a_leg_takes_its_share_of_what_still_comes_in(desk: Desk) -> None:
    desk.enter(legs=("0.5", "1"))
    desk.ack()
    desk.fill("T1", 40, "10")
    desk.exit()
    assert desk.submitted() == [q(20)]
    desk.ack("X1")
    desk.fill("T1", 100, "10", full=True)
    desk.fill("X1", 20, "11", full=True)
    assert desk.submitted() == [q(30)]


def test_a_leg_that_is_out_takes_its_share_of_what_comes_in_later(desk: Desk) -> None:
    """Who is heard first, the entry or the leg's own fill, must not matter."""
    desk.enter(legs=("0.5", "1"))
    desk.ack()
    desk.fill("T1", 40, "10")
    desk.exit()
    desk.fill("X1", 20, "11", full=True)
    desk.final("X1", 20)
    assert desk.state is State.ENTRY_WORKING
    desk.fill("T1", 100, "10", full=True)
    assert desk.submitted() == [q(30)]
    desk.name("X2")
    desk.final("T1", 100)
    desk.fill("X2", 30, "11", full=True)
    desk.final("X2", 30)
    assert (desk.state, desk.slot.size_e8) == (State.POSITION_OPEN, q(50))
    desk.exit(name="X3")
    assert desk.submitted() == [q(50)]  # the next leg is the last


def test_a_leg_ends_with_its_entry(desk: Desk) -> None:
    desk.enter(legs=("0.5", "1"))
    desk.ack()
    desk.fill("T1", 40, "10")
    desk.exit()
    desk.fill("X1", 20, "11", full=True)
    desk.final("X1", 20)
    assert desk.slot.exit_latched
    desk.order("T1", Kind.CANCEL_ACK)
    desk.final("T1", 40)
    assert (desk.state, desk.slot.exit_latched) == (State.POSITION_OPEN, False)
    assert desk.asked() == []


def limit_exit(desk: Desk, price: str = "11", **fields: Any) -> None:
    desk.exit(order_type=OrderType.LIMIT, limit_price_e10=p(price), **fields)


def test_a_market_exit_does_not_wait_behind_a_limit_exit_without_end(desk: Desk) -> None:
    desk.open()
    limit_exit(desk)
    desk.ack("X1")
    desk.exit(name="X2")
    assert desk.last.kernel.accepted
    assert desk.asked() == [CANCEL]
    desk.order("X1", Kind.CANCEL_ACK, quantity_e8=q(30), price_e10=p("11"))
    desk.final("X1", 30)
    (sent,) = (e for e in desk.last.effects if e.kind is SUBMIT)
    assert (sent.order_type, sent.quantity_e8) == (OrderType.MARKET, q(70))


def test_a_market_exit_is_one_too_many_behind_a_limit_exit_that_will_end(desk: Desk) -> None:
    desk.open()
    limit_exit(desk, working_ms=MINUTE_MS)
    desk.ack("X1")
    desk.exit(name="X2")
    refused(desk, Code.DUPLICATE_EVENT)


def test_what_a_leg_could_not_sell_in_time_goes_as_market_whatever_comes_next(desk: Desk) -> None:
    desk.open(legs=("0.5", "1"))
    limit_exit(desk, working_ms=2_000)
    desk.ack("X1")
    desk.tick(2_000)
    desk.order("X1", Kind.CANCEL_ACK, quantity_e8=q(10), price_e10=p("11"))
    desk.exit(
        name="X2", order_type=OrderType.LIMIT, limit_price_e10=p("12"), working_ms=2_000
    )  # the next leg, while the first one's end is not certain
    desk.final("X1", 10)
    (rest,) = (e for e in desk.last.effects if e.kind is SUBMIT)
    assert (rest.order_type, rest.quantity_e8) == (OrderType.MARKET, q(40))
    desk.name("X3")
    desk.fill("X3", 40, "11", full=True)
    (leg,) = (e for e in desk.last.effects if e.kind is SUBMIT)
    assert (leg.order_type, leg.quantity_e8) == (OrderType.LIMIT, q(50))


def test_an_entry_that_is_sent_again_keeps_its_time(desk: Desk) -> None:
    start = desk.now + STEP_MS
    desk.enter(expires_ms=start + HOUR_MS, working_ms=30_000)
    desk.order("T1", Kind.ORDER_ABSENT, venue_order_id="")
    assert desk.asked() == [SUBMIT]
    assert desk.engine.kernel.due_ms == start + 30_000


def test_an_adopted_order_does_not_take_the_place_of_one_whose_end_is_not_certain(
    desk: Desk,
) -> None:
    desk.open()
    desk.exit()
    desk.ack("X1")
    desk.order("X1", Kind.CANCEL_ACK)
    desk.adopt_order(OrderRole.EXIT, "777", 100)
    refused(desk, Code.SLOT_BUSY)


# -- who did it ------------------------------------------------------------------------------------


def hedged() -> Desk:
    """Hedge mode, short 1000."""
    desk = Desk(hedge=True)
    desk.open(1000, "10", side=SHORT)
    return desk


def test_hedge_an_order_that_opens_the_other_side_closes_nothing_of_ours() -> None:
    desk = hedged()
    by_others(desk, "5000", BUY, 400, position_side=PositionSide.LONG)
    refused(desk, Code.UNRESOLVED_SLOT)
    assert desk.slot.size_e8 == q(1000)
    by_others(desk, "5001", BUY, 100, position_side=PositionSide.SHORT)
    assert desk.slot.size_e8 == q(900)


def test_hedge_without_the_positions_side_nothing_is_taken_for_a_close() -> None:
    desk = hedged()
    by_others(desk, "5000", BUY, 400)
    refused(desk, Code.UNRESOLVED_SLOT)
    desk.event(
        Kind.LIQUIDATION, asset=FET, side=BUY, quantity_e8=q(400), price_e10=p("12"), event_id="l"
    )
    assert desk.slot.size_e8 == q(600)  # only a close can be a liquidation


def test_hedge_sides_are_judged_apart() -> None:
    desk = hedged()
    desk.open(100, "10", trade="T2")
    position(desk, 1000, SELL)
    position(desk, 150, BUY)
    assert [slot.state for slot in desk.engine.kernel.active_slots()] == [State.POSITION_OPEN] * 2
    assert desk.engine.kernel.foreign_quantity_e8(FET, LONG) == q(50)
    assert desk.engine.kernel.foreign_quantity_e8(FET, SHORT) == 0
    position(desk, 0)  # flat on both sides
    stale = State.STALE_STATE_RECONCILING
    assert [slot.state for slot in desk.engine.kernel.active_slots()] == [stale] * 2


def test_a_mark_is_of_all_slots_of_its_symbol() -> None:
    desk = hedged()
    desk.open(1000, "10", trade="T2")
    desk.command(Command.MARK_PRICE, asset=FET, reference_price_e10=p("12"))
    assert sorted(s.unrealized for s in desk.engine.kernel.active_slots()) == [m(-2_000), m(2_000)]
    assert desk.engine.snapshot.unrealized == 0


def facts(desk: Desk) -> dict[str, Callable[[], object]]:
    """An entry of 100, 40 of it known, and a liquidation of all 100."""
    return {
        "fill": lambda: desk.fill("T1", 100, "10", full=True, exchange_ms=1_050_000),
        "end": lambda: desk.final("T1", 100, "1000", exchange_ms=1_050_000),
        "close": lambda: desk.event(
            Kind.LIQUIDATION,
            asset=FET,
            venue_order_id="6000",
            side=SELL,
            quantity_e8=q(100),
            price_e10=p("9"),
            exchange_ms=1_060_000,
        ),
        "records": lambda: records_of(desk, "6000", 100, 900, -100),
    }


@pytest.mark.parametrize("order", list(itertools.permutations(("fill", "end", "close", "records"))))
def test_a_close_by_others_is_booked_the_same_whenever_our_own_fill_is_told(
    order: tuple[str, ...],
) -> None:
    desk = Desk()
    desk.enter()
    desk.ack()
    desk.fill("T1", 40, "10")
    told = facts(desk)
    for fact in order:
        told[fact]()
    if order.index("records") < order.index("close"):
        told["records"]()  # it was of an order that nobody knew
    position(desk, 0)
    trade = desk.engine.kernel.trade("T1")
    assert trade is not None
    assert (trade.entered_e8, trade.exited_e8) == (q(100), q(100))
    assert (trade.realized, trade.trueup, desk.engine.kernel.ledger().foreign) == (m(-100), 0, 0)
    assert is_free(desk)


def test_a_close_by_others_is_taken_while_our_own_fill_is_not_known_yet(desk: Desk) -> None:
    desk.enter()
    desk.ack()
    by_others(desk, "6000", SELL, 100)
    assert desk.last.kernel.accepted
    desk.fill("T1", 100, "10", full=True)
    assert desk.slot.size_e8 == 0


def test_a_position_says_which_part_of_a_close_was_ours(desk: Desk) -> None:
    """Somebody sold 60 of his own: all of ours is still there."""
    desk.open()
    by_others(desk, "6000", SELL, 60)
    assert desk.slot.size_e8 == q(40)
    position(desk, 100)
    assert (desk.slot.size_e8, desk.state) == (q(100), State.POSITION_OPEN)
    records_of(desk, "6000", 60, 600, 7)
    assert desk.slot.size_e8 == q(100)  # it is settled
    assert desk.engine.kernel.ledger().foreign == m(7)


def test_the_close_that_came_first_was_ours(desk: Desk) -> None:
    """Two orders of others sold 60 each of our 100; then somebody bought 40."""
    desk.open()
    for venue_id in ("6002", "6001"):
        by_others(desk, venue_id, SELL, 60)
    position(desk, 40)
    booked = {o.venue_order_id: o.filled_e8 for o in desk.engine.kernel.orders_of(1) if o.external}
    assert booked == {"6001": q(60), "6002": 0}


def test_a_close_that_a_position_has_shown_already_is_not_taken_from_it_twice(desk: Desk) -> None:
    """After an outage the position is heard first, and then whose order it was."""
    desk.open(1000)
    then_ms = desk.now + 1
    position(desk, 600)
    by_others(desk, "6001", SELL, 400, exchange_ms=then_ms)
    desk.exit()
    if not desk.submitted():
        desk.tick(2_000)  # the answer to the doubt is waited for
    assert desk.submitted() == [q(600)]


def test_an_order_of_our_shape_that_we_do_not_know_is_nobodys_close(desk: Desk) -> None:
    desk.open()
    by_others(desk, "6000", SELL, 100, client_order_id="a2" * 16)
    refused(desk, Code.UNRESOLVED_SLOT)
    assert desk.slot.size_e8 == q(100)


def test_a_strangers_fill_in_the_records_is_booked_although_his_frames_were_held(
    desk: Desk,
) -> None:
    desk.open()
    desk.exit()  # without an answer: unknown ids may be its own
    desk.event(Kind.ORDER_ACK, asset=FET, venue_order_id="6000", side=SELL)
    assert Code.EVENT_HELD in desk.last.kernel.notes
    by_others(desk, "6000", SELL, 30, source=RECORDS)
    assert desk.slot.size_e8 == q(70)
    assert desk.engine.kernel.held_events == 0


def test_what_was_ever_ours_stays_ours_as_long_as_rows_can_name_it(desk: Desk) -> None:
    desk.open()
    desk.close(100, "11")
    ours = [order.venue_order_id for order in desk.engine.kernel.orders_of(1)]
    assert len(ours) == 2
    assert all(desk.engine.kernel.is_own_order(venue_id) for venue_id in ours)
    assert not desk.engine.kernel.is_own_order("424242")
    restored = Engine.restore(desk.engine.save())
    assert all(restored.kernel.is_own_order(venue_id) for venue_id in ours)


# -- a position that is gone without a fill --------------------------------------------------------


def gone(desk: Desk) -> None:
    """All of ours is gone, and income has been read past the answer that showed it."""
    desk.quiet_anchor("25000")
    desk.open()
    position(desk, 0)
    desk.now += 3 * MINUTE_MS
    desk.event(Kind.INCOME_READ)


def write_off(desk: Desk, quantity: int, **fields: Any) -> None:
    desk.command(Command.WRITE_OFF, trade_id="T1", quantity_e8=q(quantity), **fields)


def test_a_write_off_frees_the_slot_and_books_nothing_but_the_rows(desk: Desk) -> None:
    gone(desk)
    write_off(desk, 100, carried_realized=m("-3"))
    assert Code.WRITTEN_OFF in desk.last.kernel.notes
    assert EffectKind.FEED_SIZER not in desk.asked()
    trade = desk.engine.kernel.trade("T1")
    assert trade is not None
    assert (trade.realized, trade.pnl_source) == (m(-3), "operator")
    assert is_free(desk)
    assert desk.engine.snapshot.k_capital == m(24_997)


def test_a_write_off_without_a_row_books_nothing_and_the_loss_stays_unexplained(desk: Desk) -> None:
    gone(desk)
    write_off(desk, 100)
    assert desk.realized() == 0
    desk.quiet_anchor("24000")
    desk.now += 3 * MINUTE_MS
    desk.event(Kind.INCOME_READ)
    desk.quiet_anchor("24000")
    assert drift(desk) == {DriftCause.UNEXPLAINED: m(-1_000)}


def test_a_row_that_turns_up_later_replaces_what_was_written_off(desk: Desk) -> None:
    gone(desk)
    write_off(desk, 100)
    (order,) = (o for o in desk.engine.kernel.orders_of(1) if o.role is OrderRole.EXIT)
    desk.event(
        Kind.FILL_SETTLED,
        client_order_id=order.client_order_id,
        realized=m(-5),
        source=EvidenceSource.INCOME,
    )
    assert desk.realized() == m(-5)


def test_what_was_written_off_and_turns_up_gets_a_slot_in_doubt(desk: Desk) -> None:
    gone(desk)
    write_off(desk, 100, carried_realized=m(-10))
    position(desk, 40)
    (slot,) = desk.engine.kernel.active_slots()
    assert (slot.trade_id, slot.size_e8) == ("T1", q(40))
    assert slot.state is State.STALE_STATE_RECONCILING
    assert not slot.exit_latched  # whose it is, a person decides
    assert desk.realized() == m(-6)
    assert causes(desk) == ("recovery slot in use",)


def test_a_write_off_of_less_or_more_than_is_gone_is_refused(desk: Desk) -> None:
    gone(desk)
    for quantity in (0, 99, 101):
        write_off(desk, quantity)
        refused(desk, Code.INVALID_INTENT)


@pytest.mark.parametrize(
    "lacks", ["a reader", "rows past the answer", "an answer", "the end of an order"]
)
def test_a_write_off_needs_every_proof(desk: Desk, lacks: str) -> None:
    desk.quiet_anchor("25000")
    desk.enter()
    desk.ack()
    desk.fill("T1", 100, "10", full=True)
    if lacks != "the end of an order":
        desk.final("T1", 100)
    if lacks == "an answer":
        desk.command(Command.RECONCILE, trade_id="T1")
    else:
        position(desk, 0)
    if lacks == "rows past the answer":
        desk.now += MINUTE_MS
    else:
        desk.now += 3 * MINUTE_MS
    if lacks == "a reader":
        desk.quiet_anchor("25000")
    else:
        desk.event(Kind.INCOME_READ)
    write_off(desk, 100)
    refused(desk, Code.STALE_STATE)


def test_a_trade_at_rest_is_not_written_off(desk: Desk) -> None:
    desk.open()
    write_off(desk, 100)
    refused(desk, Code.INVALID_TRANSITION)


# -- money that vanishes is seen -------------------------------------------------------------------


def test_a_funding_frame_without_a_row_does_not_explain_for_ever(desk: Desk) -> None:
    desk.quiet_anchor("25000")
    desk.anchor("24000", balance_reason=BalanceReason.FUNDING)
    assert drift(desk) == {DriftCause.FUNDING_UNREAD: m(-1_000)}
    for _ in range(2):
        desk.now += 3 * MINUTE_MS
        desk.event(Kind.INCOME_READ)
        desk.quiet_anchor("24000")
    assert drift(desk) == {DriftCause.UNEXPLAINED: m(-1_000)}
    desk.enter()
    refused(desk, Code.ENTRIES_FROZEN)


def test_funding_of_others_does_not_explain_a_later_loss(desk: Desk) -> None:
    desk.quiet_anchor("25000")
    for number in range(10):
        wallet = 25_000 - 30 * (number + 1)
        desk.anchor(str(wallet), balance_reason=BalanceReason.FUNDING)
        desk.event(
            Kind.FOREIGN_FLOW,
            event_id=f"f{number}",
            amount=m(-30),
            balance_reason=BalanceReason.FUNDING,
        )
    desk.event(Kind.INCOME_READ)
    desk.quiet_anchor("24700")
    assert drift(desk) == {DriftCause.FOREIGN_ACTIVITY: m(-300)}
    for _ in range(2):
        desk.now += 3 * MINUTE_MS
        desk.event(Kind.INCOME_READ)
        desk.quiet_anchor("24410")
    assert drift(desk)[DriftCause.FOREIGN_ACTIVITY] == m(-300)
    assert -drift(desk)[DriftCause.UNEXPLAINED] > m("289.99")
    assert "unexplained drift" in causes(desk)


def test_an_exit_without_a_price_explains_a_little_and_not_for_ever(desk: Desk) -> None:
    desk.quiet_anchor("25000")
    desk.open(200_000, "0.1878")
    desk.quiet_anchor("25000")
    desk.exit(quantity_e8=q(100_000))
    desk.ack("X1")
    desk.fill("X1", 100_000, 0, full=True)
    desk.now += MINUTE_MS
    desk.quiet_anchor("19000")
    assert -drift(desk)[DriftCause.UNSETTLED_FILL] <= m(1_878)  # a tenth of the entry value
    for _ in range(2):
        desk.now += 3 * MINUTE_MS
        desk.event(Kind.INCOME_READ)
        desk.quiet_anchor("19000")
    assert drift(desk) == {DriftCause.UNEXPLAINED: m(-6_000)}
    assert "unexplained drift" in causes(desk)


def test_rounding_has_a_bound_and_begins_anew_with_an_anchor(desk: Desk) -> None:
    desk.engine = Engine(KernelConfig(), AccountConfig(wallet_digit=2 * 10**14))
    desk.quiet_anchor("25000")
    for number in range(20_000):
        amount = 10**15 if number % 2 else -(10**15)
        desk.engine.apply(
            VenueEvent(
                kind=Kind.FUNDING_FEE, received_ms=desk.now, event_id=f"{number}", amount=amount
            )
        )
    desk.quiet_anchor("24995")
    assert -drift(desk)[DriftCause.ROUNDING] == m(1)
    desk.control(ControlAction.REBASE, amount=m(-5))
    desk.quiet_anchor("24994")
    assert -drift(desk).get(DriftCause.ROUNDING, 0) <= m("0.001")


@pytest.mark.parametrize("kind", [Kind.ACCOUNT_UPDATE, Kind.INCOME_READ])
def test_a_time_of_the_future_is_refused_and_locks_nothing(desk: Desk, kind: Any) -> None:
    desk.quiet_anchor("25000")
    desk.event(kind, amount=m(25_000), asset="USDT", exchange_ms=desk.now + 10**12)
    refused(desk, Code.INVALID_EVENT)
    assert desk.last.kernel.details["field"] == "time"
    desk.quiet_anchor("20000")
    assert desk.engine.snapshot.capital == m(20_000)
    desk.event(Kind.INCOME_READ)
    assert desk.last.kernel.accepted


def test_a_fill_of_the_future_counts_as_of_now(desk: Desk) -> None:
    desk.quiet_anchor("25000")
    desk.enter()
    desk.ack()
    desk.fill("T1", 100, "10", full=True, exchange_ms=desk.now + 10**12)
    assert (desk.slot.size_e8, desk.engine.kernel.ledger().clamped) == (q(100), 1)
    desk.final("T1", 100)
    desk.quiet_anchor("25000")
    assert desk.engine.kernel.ledger().anchor_quiet


def test_the_exchanges_clock_is_what_the_last_time_sync_found(desk: Desk) -> None:
    desk.now += STEP_MS
    ahead = desk.now + HOUR_MS
    desk.send(VenueEvent(kind=Kind.TICK, received_ms=desk.now, exchange_ms=ahead))
    desk.anchor("25000", exchange_ms=ahead)
    assert desk.last.kernel.accepted
    desk.anchor("25000", exchange_ms=0)
    assert desk.engine.kernel.ledger().anchor_ms == desk.now + HOUR_MS  # two clocks never meet


def test_a_settled_exit_on_both_sides_of_a_balance_counts_once(desk: Desk) -> None:
    """40 without a price, a balance that holds their profit, 60 more, and then the figure."""
    desk.quiet_anchor("25000")
    desk.open()
    desk.quiet_anchor("25000")
    desk.exit()
    desk.ack("X1")
    desk.fill("X1", 40, 0)
    desk.now += MINUTE_MS
    desk.anchor("25080")
    desk.now += MINUTE_MS
    desk.fill("X1", 100, 0, full=True)
    desk.settle("X1", 100, "200")
    assert desk.engine.snapshot.capital == m(25_200)


def test_an_entry_price_that_comes_late_is_money_of_the_exit(desk: Desk) -> None:
    desk.quiet_anchor("25000")
    desk.enter()
    desk.ack()
    desk.fill("T1", 100, 0, full=True)
    entered_ms = desk.now
    desk.now += MINUTE_MS
    desk.quiet_anchor("25000")
    desk.now += MINUTE_MS
    desk.exit()
    desk.fill("X1", 100, "12", full=True)
    desk.final("T1", 100, "1000", exchange_ms=entered_ms)
    assert desk.engine.snapshot.capital == m(25_200)


def test_a_slow_balance_forgets_no_transfer_that_came_after_it(desk: Desk) -> None:
    desk.quiet_anchor("25000")
    asked = desk.now + 100_000
    desk.event(
        Kind.TRANSFER,
        event_id="t",
        amount=m(10_000),
        received_ms=asked + 9_000,
        exchange_ms=asked + 5_000,
    )
    desk.event(
        Kind.ACCOUNT_UPDATE,
        asset="USDT",
        amount=m(25_000),
        source=EvidenceSource.ORDER_QUERY,
        requested_ms=asked,
        exchange_ms=asked + 1_000,
        received_ms=asked + 9_100,
    )
    assert desk.engine.kernel.ledger().anchor_quiet
    assert desk.engine.snapshot.capital == m(35_000)
    assert desk.engine.snapshot.drift == 0


def test_a_first_balance_from_before_our_trades_leaves_no_drift(desk: Desk) -> None:
    desk.open()
    desk.close(100, "12")
    desk.anchor("25000", exchange_ms=500_000)
    assert desk.engine.snapshot.capital == m(25_200)
    assert desk.engine.snapshot.drift == 0
    assert desk.engine.snapshot.k_capital == m(25_200)


def test_a_rebase_without_an_amount_is_refused(desk: Desk) -> None:
    desk.quiet_anchor("25000")
    desk.control(ControlAction.REBASE)
    refused(desk, Code.INVALID_INTENT)
    assert desk.last.kernel.details["field"] == "money"


class Listening(Desk):
    """Keeps what was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[EffectKind] = []

    def send(self, record: KernelIntent | VenueEvent) -> Any:
        """Apply one record."""
        outcome = super().send(record)
        self.heard += self.asked()
        return outcome


def test_a_trades_end_is_told_once() -> None:
    desk = Listening()
    desk.enter(100, "10")
    desk.ack()
    desk.fill("T1", 60, "10")
    desk.order("T1", Kind.CANCEL_ACK)
    desk.final("T1", 60)
    desk.exit()
    desk.fill("X1", 60, "11", full=True)
    desk.final("X1", 60, realized=m(60))
    assert desk.heard.count(EffectKind.CLOSE_TRADE) == 1
    desk.fill("T1", 70, "10")
    at_once(desk)
    desk.final("T1", 70)
    desk.tick(2_000)
    desk.name("XR")
    desk.fill("XR", 10, "11", full=True)
    desk.final("XR", 10, realized=m(10))
    position(desk, 0)
    assert is_free(desk)
    assert desk.heard.count(EffectKind.CLOSE_TRADE) == 1
    assert desk.heard.count(EffectKind.FEED_SIZER) == 1


def test_the_sizer_waits_until_a_position_has_said_who_closed_it(desk: Desk) -> None:
    desk.open()
    by_others(desk, "6000", SELL, 100, price_e10=p("9"))
    assert EffectKind.FEED_SIZER not in desk.asked()
    position(desk, 0)
    assert EffectKind.FEED_SIZER in desk.asked()


# -- saved and restored ----------------------------------------------------------------------------


def test_the_id_of_a_held_event_survives_a_restart(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.event(
        Kind.PARTIAL_FILL,
        asset=FET,
        venue_order_id="abc-1",
        side=SELL,
        quantity_e8=q(10),
        price_e10=p("10"),
    )
    assert Code.EVENT_HELD in desk.last.kernel.notes
    restored = Engine.restore(desk.engine.save())
    answer = VenueEvent(
        kind=Kind.ORDER_ACK,
        received_ms=desk.now + 10,
        exchange_ms=desk.now,
        asset=FET,
        client_order_id=desk.venue_ids["X1"],
        venue_order_id="777",
    )
    for engine in (desk.engine, restored):
        asked = [e for e in engine.apply(answer).effects if e.kind is FINALISE]
        assert [e.venue_order_id for e in asked] == ["abc-1"]
    assert restored.state_hash() == desk.engine.state_hash()


def test_children_of_no_intent_never_share_a_number() -> None:
    """A trade that comes back again and again while the registry gives up its empty exits."""
    desk = Desk(slot_limit=1)
    desk.open()
    desk.close(100, "11")
    ids: set[str] = set()
    for count in range(1, 4):
        desk.fill("T1", 100 + count, "10")
        desk.final("T1", 100 + count)
        position(desk, 1)
        for _ in range(120):
            sent = [e.client_order_id for e in desk.last.effects if e.kind is SUBMIT]
            assert ids.isdisjoint(sent)
            ids |= set(sent)
            for client_id in sent:
                desk.event(Kind.ORDER_REJECT, client_order_id=client_id)
            desk.tick(MINUTE_MS)
        desk.name(f"R{count}")
        child = desk.engine.kernel.active_slots()[0].active_exit_order
        assert child is not None
        desk.event(
            Kind.ORDER_FINAL,
            client_order_id=child.client_order_id,
            quantity_e8=q(1),
            cost=m(11),
            source=RECORDS,
        )
        position(desk, 0)
        assert is_free(desk)


# -- limits that a person set ----------------------------------------------------------------------


def limit(desk: Desk, which: RiskLimit, amount: int) -> None:
    desk.control(ControlAction.LIMIT, limit=which, amount=amount)
    assert desk.last.kernel.accepted


@pytest.mark.parametrize(
    ("which", "amount", "field"),
    [
        (RiskLimit.ORDER_NOTIONAL, m(999), "limit of an order"),
        (RiskLimit.SYMBOL_NOTIONAL, m(999), "limit of a symbol"),
        (RiskLimit.TOTAL_NOTIONAL, m(2_999), "limit of all symbols"),
        (RiskLimit.POSITIONS, 2, "limit of positions"),
        (RiskLimit.INTENTS_PER_MINUTE, 1, "limit of intents"),
    ],
)
def test_an_entry_beyond_a_limit_is_refused_by_its_name(
    desk: Desk, which: RiskLimit, amount: int, field: str
) -> None:
    desk.open(100, "10", trade="A", asset="TRX-USDT")
    desk.enter(100, "10", trade="B", asset="ADA-USDT")  # works: it may still fill
    limit(desk, which, amount)
    before = desk.engine.state_hash()
    desk.enter(100, "10")
    refused(desk, Code.RISK_LIMIT)
    assert desk.last.kernel.details["field"] == field
    assert desk.engine.state_hash() == before
    limit(desk, which, 0)
    assert desk.enter(100, "10").kernel.accepted


def test_a_limit_counts_a_limit_order_at_its_price(desk: Desk) -> None:
    limit(desk, RiskLimit.ORDER_NOTIONAL, m(1_000))
    desk.enter(100, "9", order_type=OrderType.LIMIT, limit_price_e10=p("10.5"))
    refused(desk, Code.RISK_LIMIT)
    desk.enter(100, "20", order_type=OrderType.LIMIT, limit_price_e10=p("10"))
    assert desk.last.kernel.accepted


def test_a_limit_counts_what_is_open_at_the_mark(desk: Desk) -> None:
    desk.open(100, "10", trade="A", asset="TRX-USDT")
    limit(desk, RiskLimit.TOTAL_NOTIONAL, m(2_500))
    desk.command(Command.MARK_PRICE, asset="TRX-USDT", reference_price_e10=p("16"))
    desk.enter(100, "10")
    refused(desk, Code.RISK_LIMIT)
    desk.command(Command.MARK_PRICE, asset="TRX-USDT", reference_price_e10=p("15"))
    assert desk.enter(100, "10").kernel.accepted


def test_a_loss_of_the_day_holds_entries_until_somebody_resumes(desk: Desk) -> None:
    limit(desk, RiskLimit.DAY_LOSS, m(50))
    desk.enter(trade="T2", asset="TRX-USDT")
    desk.open(trade="T1")
    desk.exit()
    desk.fill("X1", 100, "9.5", full=True)
    assert causes(desk) == ("loss of the day",)
    assert CANCEL in desk.asked()  # the entry that works is taken back
    desk.control(ControlAction.RESUME)
    assert causes(desk) == ()
    desk.event(Kind.FUNDING_FEE, event_id="f", amount=m(-49))
    assert causes(desk) == ()  # a new budget
    desk.event(Kind.FUNDING_FEE, event_id="g", amount=m(-1))
    assert causes(desk) == ("loss of the day",)


def test_the_loss_of_yesterday_is_not_the_loss_of_today(desk: Desk) -> None:
    limit(desk, RiskLimit.DAY_LOSS, m(50))
    desk.event(Kind.FUNDING_FEE, event_id="f", amount=m(-49))
    desk.now += 24 * HOUR_MS
    desk.event(Kind.FUNDING_FEE, event_id="g", amount=m(-49))
    assert causes(desk) == ()
    desk.event(Kind.FUNDING_FEE, event_id="h", amount=m(-1))
    assert causes(desk) == ("loss of the day",)


def test_to_resume_a_hold_does_not_forget_the_loss_of_the_day(desk: Desk) -> None:
    limit(desk, RiskLimit.DAY_LOSS, m(50))
    desk.event(Kind.FUNDING_FEE, event_id="f", amount=m(-49))
    desk.control(ControlAction.HOLD)
    desk.control(ControlAction.RESUME)
    desk.event(Kind.FUNDING_FEE, event_id="g", amount=m(-1))
    assert causes(desk) == ("loss of the day",)


@pytest.mark.parametrize(
    "fields",
    [
        {"amount": 1},
        {"limit": RiskLimit.POSITIONS},
        {"limit": RiskLimit.POSITIONS, "amount": -1},
        {"limit": RiskLimit.INTENTS_PER_MINUTE, "amount": 257},
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(desk: Desk, fields: dict[str, Any]) -> None:
    desk.control(ControlAction.LIMIT, **fields)
    refused(desk, Code.INVALID_INTENT)


# -- an input that was left out --------------------------------------------------------------------


def test_a_quarantined_input_puts_its_slot_into_doubt_and_holds_entries(desk: Desk) -> None:
    desk.open()
    desk.enter(trade="T2", asset="TRX-USDT")
    desk.control(ControlAction.QUARANTINE, slot_id=0, quarantined_seq=12, rules_version=3)
    assert Code.QUARANTINED in desk.last.kernel.notes
    assert desk.state is State.STALE_STATE_RECONCILING
    assert set(desk.asked()) == {ASK, CANCEL}
    assert "quarantine" in causes(desk)
    desk.exit()
    assert desk.submitted() == [q(100)]  # exits go on
    desk.control(ControlAction.RESUME)
    assert causes(desk) == ()


# -- mechanisms that others hide -------------------------------------------------------------------


def test_an_unknown_exit_lets_no_other_go_although_more_came_in(desk: Desk) -> None:
    desk.enter()
    desk.ack()
    desk.fill("T1", 40, "10")
    desk.exit()
    desk.ack("X1")
    desk.fill("T1", 100, "10", full=True)
    desk.order("X1", Kind.ORDER_UNKNOWN)
    desk.tick(MINUTE_MS)
    assert desk.submitted() == []


def test_an_absent_entry_is_not_sent_again_once_an_exit_is_wanted(desk: Desk) -> None:
    desk.enter(expires_ms=desk.now + HOUR_MS)
    core = desk.engine.kernel
    desk.exit()
    assert core.slot(0).exit_latched
    desk.order("T1", Kind.ORDER_ABSENT, venue_order_id="")
    assert SUBMIT not in desk.asked()


def test_an_absent_entry_is_not_sent_again_while_entries_wait(desk: Desk) -> None:
    """At a gap working entries stay; a new one would be new risk."""
    desk.enter(expires_ms=desk.now + HOUR_MS)
    desk.control(ControlAction.NOT_READY)
    assert CANCEL not in desk.asked()
    desk.order("T1", Kind.ORDER_ABSENT, venue_order_id="")
    assert SUBMIT not in desk.asked()
    assert is_free(desk)


def test_a_resting_quote_that_is_unknown_is_in_flight(desk: Desk) -> None:
    desk.enter(order_type=OrderType.LIMIT, limit_price_e10=p("10"))
    desk.ack()
    desk.quiet_anchor("25000")
    assert desk.engine.kernel.ledger().anchor_quiet  # it rests: no money of it is on its way
    desk.order("T1", Kind.ORDER_UNKNOWN)
    desk.quiet_anchor("25000")
    assert not desk.engine.kernel.ledger().anchor_quiet


def test_an_order_at_once_or_never_is_in_flight(desk: Desk) -> None:
    desk.enter(order_type=OrderType.LIMIT_IOC, limit_price_e10=p("10"))
    desk.ack()
    desk.quiet_anchor("25000")
    assert not desk.engine.kernel.ledger().anchor_quiet


def test_a_figure_of_less_than_is_filled_settles_nothing(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.ack("X1")
    desk.settle("X1", 40, "80")
    assert desk.realized() == m(80)
    desk.fill("X1", 100, 0, full=True)
    trade = desk.engine.kernel.trade("T1")
    assert trade is not None
    assert trade.realized == 0  # 60 of it have neither a price nor a figure
    assert trade.pnl_source == "kernel_estimate"
    desk.settle("X1", 100, "200")
    assert desk.realized() == m(200)


def test_pieces_after_an_average_are_worth_no_more_than_the_average(desk: Desk) -> None:
    """A sum of last fills is better than an average only when it has all of them."""
    desk.enter()
    desk.ack()
    desk.fill("T1", 40, "10")
    for number, quantity in enumerate((30, 30)):
        desk.order(
            "T1",
            Kind.PARTIAL_FILL,
            increment=True,
            event_id=f"i{number}",
            quantity_e8=q(quantity),
            price_e10=p("11"),
        )
    (order,) = desk.engine.kernel.orders_of(1)
    assert (order.cost, order.cost_rank) == (m(1_060), 1)
    desk.final("T1", 100, "1066", source=EvidenceSource.ORDER_QUERY)
    assert desk.slot.entry_cost == m(1_066)


def test_a_fee_of_the_same_source_changes_nothing_without_a_fill(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.ack("X1")
    desk.fill("X1", 40, "11", fee=m("0.2"))
    desk.order("X1", Kind.FILL_SETTLED, quantity_e8=q(40), fee=m("0.3"), realized=None)
    refused(desk, Code.DUPLICATE_EVENT)
    (*_, order) = desk.engine.kernel.orders_of(1)
    assert order.fee == m("0.2")


def test_the_figure_of_an_entry_is_no_figure_of_its_exits(desk: Desk) -> None:
    desk.enter()
    desk.ack()
    desk.fill("T1", 100, "10", full=True, realized=m(7))
    (order,) = desk.engine.kernel.orders_of(1)
    assert (order.realized, order.realized_rank, order.realized_quantity_e8) == (0, 0, 0)
    desk.final("T1", 100, "1000", realized=m(0))
    assert (desk.realized(), desk.engine.kernel.ledger().trueup) == (0, 0)


def test_what_the_records_say_that_an_entry_was_paid_is_money_and_no_result(desk: Desk) -> None:
    """One-way: it closed what was a stranger's, and the exchange paid for that."""
    desk.quiet_anchor("25000")
    desk.enter()
    desk.ack()
    desk.fill("T1", 100, "10", full=True)
    desk.final("T1", 100, "1000", realized=m(7))
    assert desk.last.kernel.code is Code.FIGURE_DEVIATES
    desk.exit()
    desk.ack("X1")
    desk.fill("X1", 100, "11", full=True)
    desk.final("X1", 100, "1100", realized=m(100))
    ledger = desk.engine.kernel.ledger()
    assert (ledger.realized, ledger.trueup) == (m(100), m(7))
    (trade,) = desk.engine.kernel.trades()
    assert (trade.realized, trade.trueup) == (m(100), m(7))


def test_flows_that_no_longer_fit_into_the_memory_are_joined_at_the_later_time(desk: Desk) -> None:
    """More flows since a balance than are kept apart: none of their money is lost."""
    desk.quiet_anchor("25000")
    start = desk.now
    for number in range(1_100):
        desk.send(
            VenueEvent(
                kind=Kind.FUNDING_FEE,
                received_ms=start + 10_000 + number,
                exchange_ms=start + 10_000 + number,
                event_id=f"f{number}",
                amount=m("-0.5"),
            )
        )
    assert desk.engine.snapshot.capital == m(25_000 - 550)
    desk.now = start + 13_050
    # the oldest 77 are one now, at the time of the last of them: it is after this balance
    desk.anchor("25000", exchange_ms=start + 8_050)
    assert (desk.engine.snapshot.capital, desk.engine.snapshot.ambiguous) == (m(25_000 - 550), 0)
    desk.anchor("24450", exchange_ms=start + 13_000)
    assert desk.engine.snapshot.drift == 0


def test_a_transfer_that_is_joined_with_a_fill_is_no_fill(desk: Desk) -> None:
    """A balance that was asked for after our last fill has all fills in it, and not all else."""
    desk.quiet_anchor("25000")
    desk.enter()
    start = desk.now + 10_000

    def at(after_ms: int) -> dict[str, int]:
        desk.now = start + after_ms - STEP_MS
        return {"received_ms": start + after_ms, "exchange_ms": start + after_ms}

    desk.event(Kind.TRANSFER, event_id="t", amount=m(100), **at(0))
    desk.fill("T1", 100, "10", full=True, fee=m(1), **at(1))
    for number in range(1_023):
        desk.event(Kind.FUNDING_FEE, event_id=f"f{number}", amount=m("-0.5"), **at(2 + number))
    desk.anchor("25000", source=EvidenceSource.ORDER_QUERY, requested_ms=start + 1_100, **at(1_900))
    assert desk.engine.kernel.ledger().anchor_quiet
    assert desk.engine.snapshot.ambiguous == m(100 - 1) - 1_023 * m("0.5")


def test_a_figure_is_no_sum_over_a_piece_without_one(desk: Desk) -> None:
    desk.open()
    desk.exit()
    for number, fields in enumerate(({"realized": m(8)}, {}, {"realized": m(6)})):
        desk.order(
            "X1", Kind.PARTIAL_FILL, increment=True, event_id=f"x{number}",
            quantity_e8=q(30), price_e10=p("10.2"), **fields,
        )  # fmt: skip
    (order,) = (o for o in desk.engine.kernel.orders_of(1) if o.side is SELL)
    assert (order.filled_e8, order.realized, order.realized_quantity_e8) == (q(90), m(8), q(30))


def full_registry(beside: int) -> Desk:
    """Four slots in use, and adopted orders until no more than these places are left."""
    desk = Desk(slot_limit=5)
    for number in range(4):
        desk.open(trade=f"T{number}", asset=f"A{number}-USDT")
    places = 4 * 5 + 256 - 4  # one order of each trade is there
    for number in range(places - beside):
        desk.command(
            Command.RECONCILE,
            slot_id=0,
            role=OrderRole.ENTRY,
            venue_order_id=str(50_000 + number),
            quantity_e8=q(1),
        )
        assert desk.last.kernel.accepted, number
        desk.event(
            Kind.ORDER_FINAL, venue_order_id=str(50_000 + number), quantity_e8=q(1), source=RECORDS
        )
    return desk


def test_entries_leave_two_places_of_the_registry_to_each_slot() -> None:
    desk = full_registry(beside=9)
    desk.enter(trade="T9", asset="A9-USDT")
    refused(desk, Code.LIMIT_REACHED)
    for number in range(4):
        desk.exit(trade=f"T{number}")
        (first,) = (e for e in desk.last.effects if e.kind is SUBMIT)
        end = {"client_order_id": first.client_order_id, "quantity_e8": q(1)}
        desk.event(Kind.CANCEL_ACK, **end)
        desk.event(Kind.ORDER_FINAL, **end, source=RECORDS)
        assert SUBMIT in desk.asked()  # and the rest is the second child


def test_orders_that_are_not_ours_leave_the_places_of_exits_alone() -> None:
    desk = full_registry(beside=8)
    by_others(desk, "6000", SELL, 1, asset="A1-USDT")
    refused(desk, Code.LIMIT_REACHED)
    desk.command(
        Command.RECONCILE,
        slot_id=0,
        role=OrderRole.ENTRY,
        venue_order_id="60000",
        quantity_e8=q(1),
    )
    refused(desk, Code.LIMIT_REACHED)


def test_the_command_is_not_done_after_its_time(desk: Desk) -> None:
    late: dict[str, Any] = {"deadline_ms": desk.now + STEP_MS - 1}
    desk.enter(**late)
    refused(desk, Code.EXPIRED)
    desk.open()
    gone_by = {"deadline_ms": desk.now + STEP_MS - 1}
    desk.command(Command.WRITE_OFF, slot_id=0, quantity_e8=q(1), **gone_by)
    refused(desk, Code.EXPIRED)
    intent = KernelIntent(
        command=Command.EXIT,
        received_ms=desk.now + STEP_MS,
        intent_id="late",
        trade_id="T1",
        deadline_ms=desk.now,
    )
    assert desk.send(intent).kernel.accepted  # an exit is never too late
    assert RULES.step_e8 == q(1)
