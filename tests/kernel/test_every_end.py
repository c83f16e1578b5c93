"""Every state of a slot has an end: by facts alone, or by a command that status names.

Each situation is made from its inputs, and ended.  That no other state can be reached is for the
exploration; here a person's way out is followed, step by step.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from support.board_record import record
from support.engine_driver import Desk, Kind, m, p, q

from dita.contracts import (
    ControlAction,
    KernelCommandType,
    OrderSide,
    OrderType,
    RejectReason,
    TradeStage,
)

board: Any = importlib.import_module("dita.commands.show.status_board")
BUY, SELL, UNKNOWN = OrderSide.BUY, OrderSide.SELL, OrderSide.UNKNOWN
State, Command = TradeStage, KernelCommandType
FET, MINUTE_MS = "FET-USDT", 60_000


def position(desk: Desk, quantity: int, side: OrderSide = BUY) -> None:
    side = side if quantity else UNKNOWN
    desk.event(Kind.POSITION, asset=FET, side=side, quantity_e8=q(quantity))


def refuse(desk: Desk, reason: RejectReason = RejectReason.OTHER, **fields: Any) -> None:
    desk.order("X1", Kind.ORDER_REJECT, venue_order_id="", reject=reason, **fields)


def sold(desk: Desk, name: str = "X1", quantity: int = 100) -> None:
    desk.fill(name, quantity, "11", full=True)
    desk.final(name, quantity)


def sent_again(desk: Desk, name: str = "X2") -> None:
    """Time passes until the exit is tried once more."""
    for _ in range(20):
        desk.tick(MINUTE_MS)
        if desk.submitted():
            desk.name(name)
            return
    raise AssertionError("never tried again")


def written_off(desk: Desk, quantity: int = 100) -> None:
    """What `pink-ctl reconcile` proposes once income was read well past the answer."""
    desk.now += 3 * MINUTE_MS
    desk.event(Kind.INCOME_READ)
    assert desk.engine.kernel.missing_e8(desk.engine.kernel.active_slots()[0].slot_id) == q(
        quantity
    )
    desk.command(Command.WRITE_OFF, trade_id="T1", quantity_e8=q(quantity))


# -- situations: how one gets there ----------------------------------------------------------------


def an_entry_without_an_answer(desk: Desk) -> None:
    desk.enter()
    desk.order("T1", Kind.ORDER_UNKNOWN, venue_order_id="")


def an_entry_that_rests(desk: Desk) -> None:
    desk.enter(order_type=OrderType.LIMIT, limit_price_e10=p("9"))
    desk.ack()


def a_position(desk: Desk) -> None:
    desk.open()


def dust(desk: Desk) -> None:
    desk.open()
    desk.exit()
    refuse(desk, RejectReason.BELOW_MINIMUM)


def an_exit_without_an_answer(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.order("X1", Kind.ORDER_UNKNOWN, venue_order_id="")


def an_exit_refused_seven_times(desk: Desk) -> None:
    desk.open()
    desk.exit()
    for number in range(7):
        refuse(desk, error_code=101204)
        if number < 6:
            sent_again(desk, "X1")


def an_exit_on_a_suspended_symbol(desk: Desk) -> None:
    desk.open()
    desk.exit()
    refuse(desk, RejectReason.SUSPENDED, error_code=109418)


def an_exit_that_is_limited(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.order("X1", Kind.RATE_LIMITED, venue_order_id="", retry_after_ms=MINUTE_MS)


def an_end_without_figures(desk: Desk) -> None:
    desk.enter()
    desk.ack()
    desk.order("T1", Kind.CANCEL_ACK)


def a_mismatch(desk: Desk) -> None:
    desk.open()
    desk.exit()
    refuse(desk, RejectReason.POSITION_MISMATCH, error_code=101205)


def gone_without_a_record(desk: Desk) -> None:
    desk.quiet_anchor("25000")
    desk.open()
    position(desk, 0)


def an_order_that_was_lost(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.ack("X1")
    desk.order("X1", Kind.ORDER_ABSENT)


def more_went_out_than_was_there(desk: Desk) -> None:
    desk.open()
    desk.exit()
    desk.fill("X1", 120, "11")
    desk.final("X1", 120)


def a_fill_after_the_end(desk: Desk) -> None:
    desk.enter()
    desk.ack()
    desk.order("T1", Kind.CANCEL_ACK)
    desk.final("T1", 0)
    desk.fill("T1", 100, "10", full=True)
    desk.final("T1", 100)
    desk.name("X1")  # it goes out again by itself


def closed_by_somebody(desk: Desk) -> None:
    desk.open()
    desk.event(
        Kind.FULL_FILL, venue_order_id="6000", side=SELL, quantity_e8=q(150), price_e10=p("11"),
        asset=FET,
    )  # fmt: skip


def an_input_set_aside(desk: Desk) -> None:
    desk.open()
    desk.control(ControlAction.QUARANTINE, slot_id=0, quarantined_seq=1, rules_version=1)


def written_off_and_there_after_all(desk: Desk) -> None:
    gone_without_a_record(desk)
    written_off(desk)
    position(desk, 100)


# -- and how it ends -------------------------------------------------------------------------------


class End(NamedTuple):
    """``by`` is what a person types, "" where facts alone end it."""

    state: TradeStage
    steps: Callable[[Desk], None]
    by: str = ""


def absent(desk: Desk) -> None:
    desk.order("T1", Kind.ORDER_ABSENT, venue_order_id="")


def figures_told(desk: Desk) -> None:
    desk.final("T1", 0)


def taken_back(desk: Desk) -> None:
    desk.cancel()
    desk.order("T1", Kind.CANCEL_ACK)
    desk.final("T1", 0)


def exited(desk: Desk) -> None:
    desk.exit()
    if not desk.submitted():
        sent_again(desk, "X1")
    sold(desk)


def absent_and_sent_again(desk: Desk) -> None:
    desk.order("X1", Kind.ORDER_ABSENT, venue_order_id="")
    desk.name("X2")
    sold(desk, "X2")


def tried_again(desk: Desk) -> None:
    sent_again(desk)
    sold(desk, "X2")


def agreed_and_sold(desk: Desk) -> None:
    position(desk, 100)
    if desk.submitted():
        desk.name("X2")
    else:
        sent_again(desk)
    sold(desk, "X2")


def agreed_and_exited(desk: Desk) -> None:
    position(desk, 100)
    exited(desk)


def sold_and_flat(desk: Desk) -> None:
    sold(desk)
    position(desk, 0)


def exited_and_flat(desk: Desk) -> None:
    exited(desk)
    position(desk, 0)


def flat_there_too(desk: Desk) -> None:
    position(desk, 0)


def rest_is_foreign(desk: Desk) -> None:
    desk.event(
        Kind.ORDER_FINAL, venue_order_id="6000", quantity_e8=q(150), cost=m(1650), realized=m(100),
    )  # fmt: skip
    position(desk, 50, SELL)


ENDS: dict[Callable[[Desk], None], End] = {
    an_entry_without_an_answer: End(State.ENTRY_WORKING, absent),
    an_entry_that_rests: End(State.ENTRY_WORKING, taken_back, "pink-ctl intent cancel"),
    a_position: End(State.POSITION_OPEN, exited, "pink-ctl intent exit"),
    dust: End(State.POSITION_OPEN, exited, "pink-ctl intent exit"),
    an_exit_without_an_answer: End(State.EXIT_WORKING, absent_and_sent_again),
    an_exit_refused_seven_times: End(State.EXIT_WORKING, tried_again),
    an_exit_on_a_suspended_symbol: End(State.EXIT_WORKING, tried_again),
    an_exit_that_is_limited: End(State.EXIT_WORKING, tried_again),
    an_end_without_figures: End(State.CLOSED, figures_told),
    a_mismatch: End(State.STALE_STATE_RECONCILING, agreed_and_sold),
    gone_without_a_record: End(State.STALE_STATE_RECONCILING, written_off, "pink-ctl reconcile"),
    an_order_that_was_lost: End(State.STALE_STATE_RECONCILING, agreed_and_sold),
    more_went_out_than_was_there: End(State.STALE_STATE_RECONCILING, flat_there_too),
    a_fill_after_the_end: End(State.STALE_STATE_RECONCILING, sold_and_flat),
    closed_by_somebody: End(State.STALE_STATE_RECONCILING, rest_is_foreign),
    an_input_set_aside: End(State.STALE_STATE_RECONCILING, agreed_and_exited),
    written_off_and_there_after_all: End(
        State.STALE_STATE_RECONCILING, exited_and_flat, "pink-ctl reconcile"
    ),
}


@pytest.mark.parametrize("situation", ENDS, ids=lambda made: made.__name__)
def test_every_state_ends_by_facts_or_by_a_command_that_status_names(
    situation: Callable[[Desk], None],
) -> None:
    desk, end = Desk(), ENDS[situation]
    situation(desk)
    (slot,) = desk.engine.kernel.active_slots()
    assert slot.state is end.state
    if end.by == "pink-ctl reconcile":
        assert any(end.by in line.plain for line in board.attention(record(desk)))
    end.steps(desk)
    assert desk.engine.kernel.active_slots() == ()


def test_no_state_is_without_a_situation() -> None:
    assert {end.state for end in ENDS.values()} == set(State) - {State.IDLE}
