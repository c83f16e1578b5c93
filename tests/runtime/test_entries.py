"""READY is true: entries wait for something exactly when the kernel would refuse one."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine_driver import RULES, Desk, Kind, m, q
from support.journal_days import OPS, random_day

from dita.contracts import (
    ControlAction,
    KernelCommandType,
    KernelDiagnosticCode,
    KernelIntent,
)
from dita.engine import Engine
from dita.kernel import KernelConfig
from dita.runtime.entries import ERRORS_OF_ENTRIES, waits_for

#: Refusals that are about entries as such, and not about this one.
ABOUT_ENTRIES = {
    KernelDiagnosticCode.ENTRIES_FROZEN,
    KernelDiagnosticCode.VENUE_ERRORS,
    KernelDiagnosticCode.BALANCE_STALE,
    KernelDiagnosticCode.ANCHOR_NOT_QUIET,
}


def refused(engine: Engine, now_ms: int) -> bool:
    """Would an entry on a symbol that nobody has touched be refused now?"""
    copy = Engine.restore(engine.save())
    outcome = copy.apply(
        KernelIntent(
            command=KernelCommandType.ENTER, received_ms=now_ms, intent_id="try", trade_id="TRY",
            asset="NEW-USDT", quantity_e8=q(1), reference_price_e10=10**10, contract=RULES,
        )
    )  # fmt: skip
    return outcome.kernel.code in ABOUT_ENTRIES


def waits(engine: Engine, now_ms: int) -> list[str]:
    return waits_for(engine.kernel, engine.snapshot, now_ms)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.lists(OPS, max_size=25), st.integers(0, 200_000))
def test_entries_wait_exactly_when_the_kernel_refuses_them(
    seed: int, ops: list[str], later_ms: int
) -> None:
    engine = Engine(KernelConfig(seen=64, balance_max_age_ms=60_000))
    now_ms = 1_000_000
    for record in random_day(Random(seed), ops):
        engine.apply(record)
        now_ms = max(now_ms, record.received_ms)
    for at_ms in (now_ms, now_ms + later_ms):
        assert bool(waits(engine, at_ms)) == refused(engine, at_ms), waits(engine, at_ms)


def test_each_reason_has_its_words() -> None:
    desk = Desk(balance_max_age_ms=60_000)
    assert waits(desk.engine, desk.now) == ["no balance was read yet"]
    desk.quiet_anchor("25000")
    assert waits(desk.engine, desk.now) == []
    assert waits(desk.engine, desk.now + 149_000) == ["balance is 2 min old, 60 s is the limit"]
    desk.quiet_anchor("24970")
    assert waits(desk.engine, desk.now) == ["pending drift of -30.00"]
    desk.control(ControlAction.HOLD, reason="eva: news")
    kernel, account = desk.engine.kernel, desk.engine.snapshot
    assert waits_for(kernel, account, desk.now, held_because="eva: news")[0] == "hold by eva: news"
    desk.control(ControlAction.NOT_READY, reason="start")
    missing = ("the stream is not connected: refused",)
    assert missing[0] in waits_for(kernel, account, desk.now, not_ready=missing)


def test_money_that_has_just_moved_is_waited_for() -> None:
    desk = Desk()
    desk.quiet_anchor("25000")
    desk.open(100, "10")
    desk.anchor("24999.95")
    desk.exit()
    desk.fill("X1", 100, "10", full=True, fee=m("0.5"))
    desk.anchor("24999.45", exchange_ms=desk.now)
    expected = bool(desk.engine.kernel.ledger().ambiguous_count)
    assert bool(waits(desk.engine, desk.now)) == expected == refused(desk.engine, desk.now)


@pytest.mark.parametrize("count", [ERRORS_OF_ENTRIES - 1, ERRORS_OF_ENTRIES])
def test_so_many_rejections_leave_the_rest_to_exits(count: int) -> None:
    """The number is the kernel's own."""
    desk = Desk()
    for number in range(count):
        desk.enter(100, "10", trade=f"T{number}", asset=f"A{number}-USDT")
        desk.order(f"T{number}", Kind.ORDER_REJECT, error_code=101204)
    assert bool(waits(desk.engine, desk.now)) == refused(desk.engine, desk.now)
    assert bool(waits(desk.engine, desk.now)) == (count >= ERRORS_OF_ENTRIES)
