"""The engine: same bytes for the same inputs, batch equal to single steps, save and restore."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import msgspec
import pytest
from support.engine_driver import SHORT, Desk, Kind, m, p, q
from support.long_days import long_day

from dita.contracts import (
    ControlAction,
    KernelCommandType,
    KernelIntent,
    OrderRole,
    VenueEvent,
)
from dita.engine import Engine
from dita.errors import OperatorError
from dita.kernel import KernelConfig


def replayed(inputs: list[KernelIntent | VenueEvent]) -> Engine:
    engine = Engine()
    for record in inputs:
        engine.apply(record)
    return engine


def test_the_same_inputs_give_the_same_bytes() -> None:
    desk = long_day()
    again = replayed(desk.inputs)
    assert again.save() == desk.engine.save()
    assert again.state_hash() == desk.engine.state_hash()


def test_the_batch_entrance_leaves_the_same_state() -> None:
    desk = long_day()
    one = Engine()
    packed = bytearray()
    packed_outcomes = bytearray()
    for record in desk.inputs:
        event = one.kernel.pack(record)
        packed += event.pack()
        one.apply(record)
    many = Engine()
    done, packed_outcomes = many.apply_batch(packed)
    assert done == len(desk.inputs)
    assert len(packed_outcomes) == done * one.kernel.record_sizes()[1]
    for record in desk.inputs:
        if isinstance(record, KernelIntent):
            many.kernel.learn(record)
    many.kernel.index_clients()
    assert many.save() == one.save()
    assert many.snapshot == one.snapshot


def test_a_batch_of_odd_bytes_is_refused() -> None:
    with pytest.raises(OperatorError, match="multiple of 264"):
        Engine().apply_batch(b"x" * 265)


def test_a_batch_of_garbage_refuses_every_record_and_changes_nothing() -> None:
    desk = long_day()
    before = desk.engine.save()
    done, _ = desk.engine.apply_batch(b"\xff" * 264 * 10)
    assert done == 10
    assert desk.engine.save() == before


def test_save_and_restore_at_every_step() -> None:
    desk = long_day()
    reference = replayed(desk.inputs).state_hash()
    engine = Engine()
    for record in desk.inputs:
        engine = Engine.restore(engine.save())
        engine.apply(record)
    assert engine.state_hash() == reference


def test_a_seed_beyond_64_bits_is_saved() -> None:
    engine = Engine(KernelConfig(seed=m(25_000)))
    assert Engine.restore(engine.save()).snapshot.capital == m(25_000)


def test_a_restored_flat_slot_settles_nothing() -> None:
    desk = Desk()
    desk.anchor("25000")
    desk.open(100, "10", side=SHORT)
    desk.close(100, "9")
    again = Engine.restore(desk.engine.save())
    again.apply(VenueEvent(kind=Kind.TICK, received_ms=desk.now + 10))
    again.apply(VenueEvent(kind=Kind.TICK, received_ms=desk.now + 500_000))
    assert again.snapshot.realized == m(100)
    assert again.snapshot.capital == m(25_100)


def test_a_restored_position_settles_only_the_increment() -> None:
    desk = Desk()
    desk.anchor("25000")
    desk.open(100, "10", side=SHORT, legs=("0.5", "1"))
    desk.exit()
    desk.fill("X1", 50, "9", full=True)
    desk.final("X1", 50)
    desk.engine = Engine.restore(desk.engine.save())
    desk.exit(name="X2")
    desk.fill("X2", 50, "8", full=True)
    transition = desk.last.kernel.transition
    assert transition is not None
    assert transition.realized_delta == m(100)
    assert desk.engine.snapshot.realized == m(150)


@pytest.mark.parametrize("saved", [b"", b"\x93", b"garbage", Engine().save()[:-3]], ids=len)
def test_bytes_that_are_no_state_are_refused(saved: bytes) -> None:
    with pytest.raises(OperatorError, match="saved state refused"):
        Engine.restore(saved)


def test_a_flipped_byte_in_a_state_is_refused() -> None:
    saved = bytearray(long_day().engine.save())
    for i in (*range(300), *range(300, len(saved), 997)):
        saved[i] ^= 0x10
        with pytest.raises(OperatorError, match="saved state refused"):
            Engine.restore(bytes(saved))
        saved[i] ^= 0x10
    assert Engine.restore(bytes(saved)).save() == bytes(saved)


def test_another_version_of_state_is_refused_by_its_number() -> None:
    engine = Engine()
    blob = msgspec.msgpack.encode(
        {"version": 9, "kernel": engine.kernel.save(), "account": b"", "digest": b""}
    )
    with pytest.raises(OperatorError, match="version 9"):
        Engine.restore(blob)


def test_the_hash_does_not_depend_on_the_hash_seed() -> None:
    code = "import support.long_days as t; d = t.long_day(); print(d.engine.state_hash())"
    hashes = set()
    for seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parent.parent,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        hashes.add(done.stdout)
    assert len(hashes) == 1


def four_fills() -> tuple[Desk, list[VenueEvent]]:
    """Entry 100 @ 10, exit 50 @ 11, late entry 100 @ 12, exit 150 @ 11: 0 in total."""
    desk = Desk()
    desk.enter(200, "10")
    desk.ack()
    desk.adopt_order(OrderRole.EXIT, "501", 50)
    desk.event(Kind.ORDER_FINAL, venue_order_id="501", quantity_e8=0)
    desk.adopt_order(OrderRole.EXIT, "502", 150)
    frames = [("9000", 100, "10"), ("501", 50, "11"), ("9000", 200, "11"), ("502", 150, "11")]
    return desk, [
        VenueEvent(
            kind=Kind.PARTIAL_FILL,
            received_ms=desk.now + i,
            exchange_ms=desk.now + i,
            venue_order_id=venue_id,
            quantity_e8=q(quantity),
            price_e10=p(price),
        )
        for i, (venue_id, quantity, price) in enumerate(frames, 1)
    ]


@pytest.mark.parametrize("order", list(permutations(range(4))), ids=str)
def test_entry_and_exit_fills_in_every_order_of_arrival(order: tuple[int, ...]) -> None:
    desk, fills = four_fills()
    for i in order:
        desk.send(fills[i])
    assert (desk.slot.size_e8, desk.realized()) == (0, 0)
    assert desk.engine.kernel.ledger().realized == 0


def test_outcomes_and_snapshots_are_frozen() -> None:
    desk = long_day()
    with pytest.raises(AttributeError):
        desk.last.account.capital = 5  # type: ignore[misc]
    before = desk.engine.snapshot
    desk.anchor("25031")
    assert desk.engine.snapshot is not before


def test_a_refused_input_keeps_the_very_same_snapshot() -> None:
    desk = long_day()
    before = desk.engine.snapshot
    desk.command(KernelCommandType.EXIT, slot_id=5)
    assert desk.engine.snapshot is before


def test_due_says_when_a_tick_would_do_something() -> None:
    desk = Desk()
    assert desk.engine.kernel.due_ms == 0
    desk.open(100, "10", side=SHORT)
    assert desk.engine.kernel.due_ms == 0
    desk.exit()
    assert desk.engine.kernel.due_ms == 0
    desk.order("X1", Kind.RATE_LIMITED, retry_after_ms=7_000, venue_order_id="")
    assert desk.engine.kernel.due_ms == desk.now + 7_000
    desk.tick(7_000)
    assert desk.submitted() == [q(100)]
    desk.name("X1")
    desk.fill("X1", 100, "9", full=True)
    desk.final("X1", 100)
    assert desk.engine.kernel.due_ms == desk.now - 10_000 + 120_000
    desk.tick(130_000)
    assert desk.engine.kernel.due_ms == 0
    assert desk.engine.kernel.open_orders() == ()


def test_another_spelling_of_a_symbol_gives_the_same_bytes_after_a_restore() -> None:
    """A given-up trade's spelling is not saved; it must not stay in the live names either."""
    desk = Desk(slot_limit=1)
    desk.open(asset="FET-USDT", trade="T0")
    desk.close(100, "10", trade="T0", name="X0")
    desk.tick(200_000)
    for i in range(1, 80):
        desk.open(asset="TRX-USDT", trade=f"T{i}")
        desk.exit(trade=f"T{i}", name=f"X{i}")
        desk.fill(f"X{i}", 100, "10", full=True, realized=0)
        desk.final(f"X{i}", 100, realized=0)
    assert desk.engine.kernel.trade("T0") is None
    again = Engine.restore(desk.engine.save())
    live = desk.enter(asset="FETUSDT", trade="again")
    assert again.apply(desk.inputs[-1]) == live
    assert again.state_hash() == desk.engine.state_hash()


@pytest.mark.parametrize("why", ["cancel", "exit", "hold"])
def test_an_order_whose_cancel_was_asked_for_is_remembered_until_it_ends(why: str) -> None:
    """The request can be lost, or die with the process before it was sent."""
    desk = Desk()
    desk.enter()
    desk.ack()
    assert desk.engine.kernel.unwanted_orders() == ()
    if why == "cancel":
        desk.cancel()
    elif why == "exit":
        desk.exit()
    else:
        desk.control(ControlAction.HOLD)
    (order,) = desk.engine.kernel.unwanted_orders()
    assert order.client_order_id == desk.venue_ids["T1"]
    restored = Engine.restore(desk.engine.save())
    assert restored.kernel.unwanted_orders() == (order,)
    desk.order("T1", Kind.CANCEL_REJECT)
    assert desk.engine.kernel.unwanted_orders() != ()
    desk.order("T1", Kind.CANCEL_ACK)
    assert desk.engine.kernel.unwanted_orders() == ()


@pytest.mark.parametrize("cancelled", [False, True])
def test_an_entry_that_was_cancelled_is_not_sent_again_when_it_is_absent(cancelled: bool) -> None:
    desk = Desk()
    desk.enter(expires_ms=desk.now + 1_000_000)
    desk.order("T1", Kind.ORDER_UNKNOWN, venue_order_id="")
    if cancelled:
        desk.cancel()
    desk.order("T1", Kind.ORDER_ABSENT, venue_order_id="")
    assert desk.last.kernel.accepted
    assert desk.submitted() == ([] if cancelled else [q(100)])
    assert desk.slot.closed is cancelled
