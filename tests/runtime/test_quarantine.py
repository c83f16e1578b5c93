"""An input that breaks an invariant is taken out of the state, live and at every later replay.

The invariant is one of the test's own: the engine faults at every event of venue order 666, on the
single and on the batch path, as a wrong cell of the table would make it.
"""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.engine_driver import Kind, p, q
from support.journal_days import SMALL, opened, replayed
from support.long_days import long_day
from support.poison import POISON, Shop, in_the_shop, poisoned

from dita.contracts import (
    ControlAction,
    EffectKind,
    KernelCommandType,
    KernelDiagnosticCode,
    KernelIntent,
    OrderSide,
    TradeStage,
    VenueEvent,
)
from dita.engine import RULES_VERSION, Engine
from dita.errors import ExitCode, KernelFault
from dita.journal import (
    Journal,
    JournalReader,
    Note,
    OsDisk,
    Snapshot,
    SnapshotStore,
    SnapshotTaker,
    export_json,
    import_json,
)
from dita.journal.highwater import HighWaterFile
from dita.kernel import KernelConfig
from dita.runtime.state.journal_settings import check_journal_settings
from dita.runtime.state.quarantine import AGAIN_MS, slot_of
from dita.simulation.disk import SimDisk


def control(seq: int, received_ms: int, slot: int = 0) -> KernelIntent:
    return KernelIntent(
        command=KernelCommandType.CONTROL, received_ms=received_ms, slot_id=slot,
        intent_id=f"quarantine-{seq}", action=ControlAction.QUARANTINE, quarantined_seq=seq,
        rules_version=1, reason="a test says so",
    )  # fmt: skip


# -- the journal -----------------------------------------------------------------------------------


def a_day_with_poison(journal: Journal, *places: int) -> Engine:
    """A long day with poisoned inputs behind these many; the engine never sees them."""
    engine = journal.epoch.engine()
    for number, record in enumerate(long_day().inputs, 1):
        journal.append(record, engine.kernel.pack(record).pack())
        engine.apply(record)
        if number in places:
            bad = poisoned(record.received_ms)
            seq = journal.append(bad, engine.kernel.pack(bad).pack())
            by = control(seq, record.received_ms)
            assert journal.append_quarantine(by, engine.kernel.pack(by).pack()) == seq + 1
            assert engine.apply(by).kernel.accepted
    journal.write_and_sync()
    return engine


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("places", [(1,), (4, 5), (7, 19), (25,)])
def test_what_is_quarantined_is_never_applied_and_the_rest_is(places: tuple[int, ...]) -> None:
    disk = SimDisk()
    journal = opened(disk=disk)
    engine = a_day_with_poison(journal, *places)
    for reader in (journal, JournalReader.open("/j", disk=disk)):
        assert replayed(reader).save() == engine.save()
        # Two records for each before it, the epoch, and the place itself.
        assert reader.quarantined == tuple(p + 2 + 2 * i for i, p in enumerate(places))
        flags = {e.seq: (e.quarantined, e.quarantines) for e in reader.records()}
        for seq in reader.quarantined:
            assert (flags.pop(seq), flags.pop(seq + 1)) == ((True, False), (False, True))
        assert set(flags.values()) == {(False, False)}
    journal.close()
    assert opened(disk=disk).quarantined == journal.quarantined


@pytest.mark.usefixtures("poison")
def test_quarantine_holds_across_pieces_and_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """The input and the record that takes it out are read from different pieces and files."""
    monkeypatch.setattr("dita.journal.reader._CHUNK_INPUTS", 3)
    monkeypatch.setattr("dita.journal.reader._CHUNK_RECORDS", 4)
    monkeypatch.setattr("dita.journal.chunks.WINDOW_BYTES", 4_100)
    apart = 0
    for place in range(1, 26):
        journal = opened(disk=SimDisk())
        engine = a_day_with_poison(journal, place)
        assert replayed(journal).save() == engine.save()
        (seq,) = journal.quarantined
        apart += any(segment.first_seq == seq + 1 for segment in journal._segments)
    assert apart


@pytest.mark.usefixtures("poison")
def test_snapshots_and_a_state_before_a_record_pass_over_it_too(tmp_path: Path) -> None:
    journal, store = opened(tmp_path / "j"), SnapshotStore(tmp_path / "s")
    engine = a_day_with_poison(journal, 7)
    states: dict[int, bytes] = {1: journal.epoch.engine().save()}
    live = journal.epoch.engine()
    for entry in journal.records(2):
        if not entry.quarantined and isinstance(entry.record, KernelIntent | VenueEvent):
            live.apply(entry.record)
        states[entry.seq] = live.save()
    assert states[8] == states[9] != states[10]
    snapshot = Engine.restore(states[6])
    store.write(Snapshot(seq=6, epoch=1, state_hash=snapshot.state_hash(), state=states[6]))
    assert store.restore(journal)[0].save() == engine.save()
    for seq in range(2, journal.last_seq + 1):
        assert store.restore(journal, seq)[0].save() == states[seq - 1], seq


@pytest.mark.usefixtures("poison")
def test_an_export_says_what_is_quarantined_and_an_import_honours_it() -> None:
    journal = opened(disk=SimDisk())
    engine = a_day_with_poison(journal, 3, 12)
    text = io.StringIO()
    export_json(journal, text)
    lines = [msgspec.json.decode(line) for line in text.getvalue().splitlines()]
    assert [line["seq"] for line in lines if line["type"] == "quarantine"] == [6, 17]
    text.seek(0)
    again = import_json(text, "/k", segment_bytes=SMALL, disk=SimDisk())
    assert (again.quarantined, replayed(again).save()) == (journal.quarantined, engine.save())


# -- live ------------------------------------------------------------------------------------------


def test_a_fault_leaves_the_state_before_it_and_a_record_that_says_so(
    tmp_path: Path, poison: list[str]
) -> None:
    async def scene(shop: Shop) -> None:
        await shop.open_a_position()
        before = shop.store.engine.save()
        kernel = shop.store.engine.kernel
        seq = shop.store.journal.last_seq + 1
        outcome = await shop.ask(poisoned(1))
        done = outcome.kernel
        assert (done.accepted, done.notes) == (False, (KernelDiagnosticCode.QUARANTINED,))
        assert f"input {seq} broke an invariant under rules" in str(done.details["quarantined"])
        assert shop.store.engine is shop.runtime.engine and kernel is not shop.runtime.engine.kernel
        # Only what the kernel makes of the control intent came on top of the state before.
        (by,) = [e.record for e in shop.store.journal.records(seq + 1)]
        assert isinstance(by, KernelIntent)
        assert (by.action, by.quarantined_seq, by.slot_id) == (ControlAction.QUARANTINE, seq, 0)
        assert by.rules_version == RULES_VERSION
        expected = Engine.restore(before)
        expected.apply(by)
        assert shop.store.engine.save() == expected.save()
        assert shop.slot().state is TradeStage.STALE_STATE_RECONCILING
        assert "quarantine" in shop.store.engine.kernel.freeze_causes()
        assert {e.kind for e in outcome.effects} >= {EffectKind.QUERY_POSITION}
        # Others go on, and so does a replay, in this process and after a restart.
        assert (await shop.ask(VenueEvent(kind=Kind.TICK, received_ms=1))).kernel.accepted
        assert shop.replayed().save() == shop.store.engine.save()

    in_the_shop(tmp_path, scene)

    async def again(shop: Shop) -> None:
        assert shop.store.quarantine.status()["inputs"] == 1
        assert "1 inputs in quarantine" in shop.store.found
        assert shop.slot().state is TradeStage.STALE_STATE_RECONCILING

    in_the_shop(tmp_path, again)
    poison.clear()  # mended rules: it stays out all the same, or the state would be another
    in_the_shop(tmp_path, again)


@pytest.mark.usefixtures("poison")
def test_inputs_of_one_batch_before_and_behind_a_fault_count(tmp_path: Path) -> None:
    async def scene(shop: Shop) -> None:
        await shop.open_a_position()
        mark = KernelIntent(
            command=KernelCommandType.MARK_PRICE, received_ms=1, trade_id="T1", intent_id="m1",
            reference_price_e10=p("0.17"),
        )  # fmt: skip
        first, bad, last = await asyncio.gather(
            shop.ask(mark),
            shop.ask(poisoned(1)),
            shop.ask(msgspec.structs.replace(mark, intent_id="m2", reference_price_e10=p("0.16"))),
        )
        assert (first.kernel.accepted, bad.kernel.accepted, last.kernel.accepted) == (
            True, False, True,
        )  # fmt: skip
        assert shop.slot().mark_price_e10 == p("0.16")
        assert shop.replayed().save() == shop.store.engine.save()

    in_the_shop(tmp_path, scene)


@pytest.mark.usefixtures("poison")
def test_the_same_fact_again_is_counted_and_not_journalled(tmp_path: Path) -> None:
    async def scene(shop: Shop) -> None:
        await shop.open_a_position()
        await shop.ask(poisoned(1))
        last, state = shop.store.journal.last_seq, shop.store.engine.save()
        for number in range(5):
            outcome = await shop.ask(poisoned(1, event_id=f"e{number}", requested_ms=number + 1))
            assert not outcome.kernel.accepted and not outcome.effects
        assert (shop.store.journal.last_seq, shop.store.engine.save()) == (last, state)
        assert shop.store.quarantine.status()["repeated"] == 5

    in_the_shop(tmp_path, scene)

    async def after_a_restart(shop: Shop) -> None:
        last = shop.store.journal.last_seq
        await shop.ask(poisoned(1))
        assert (shop.store.journal.last_seq, shop.store.quarantine.repeated) == (last, 1)

    in_the_shop(tmp_path, after_a_restart)


def test_a_position_that_was_taken_out_is_judged_again_after_an_hour(
    tmp_path: Path, poison: list[str]
) -> None:
    """It may fit the state by then; without it the slot's doubt would never end."""

    async def scene(shop: Shop) -> None:
        await shop.open_a_position()
        position = VenueEvent(
            kind=Kind.POSITION, received_ms=1, asset="FET-USDT", quantity_e8=q(5),
            side=OrderSide.SELL,
        )  # fmt: skip
        poison.append("FET-USDT")
        await shop.ask(position)
        poison.clear()
        last = shop.store.journal.last_seq
        await shop.ask(position, after_ms=AGAIN_MS // 2)
        assert (shop.store.journal.last_seq, shop.store.quarantine.repeated) == (last, 1)
        await shop.ask(position, after_ms=AGAIN_MS)
        assert shop.store.journal.last_seq == last + 1

    in_the_shop(tmp_path, scene)


@pytest.mark.usefixtures("poison")
def test_the_third_within_an_hour_ends_the_process_with_the_journal_in_order(
    tmp_path: Path,
) -> None:
    async def scene(shop: Shop) -> None:
        await shop.open_a_position()
        await shop.ask(poisoned(1, cost=1))
        await shop.ask(poisoned(1, cost=2), after_ms=3_600_001)  # the first is an hour ago
        await shop.ask(poisoned(1, cost=3))
        with pytest.raises(KernelFault, match="3 inputs within an hour") as fault:
            await shop.ask(poisoned(1, cost=4))
        assert fault.value.exit_code == ExitCode.INVARIANT
        assert "a restart goes on without that input" in fault.value.action

    in_the_shop(tmp_path, scene)

    async def again(shop: Shop) -> None:
        assert shop.store.quarantine.status()["inputs"] == 4
        assert shop.replayed().save() == shop.store.engine.save()
        # The hour goes on across the restart.
        with pytest.raises(KernelFault, match="4 inputs within an hour"):
            await shop.ask(poisoned(1, cost=5))

    in_the_shop(tmp_path, again)


@pytest.mark.usefixtures("poison")
def test_a_fault_of_no_slot_ends_the_process_and_a_restart_goes_on_without_it(
    tmp_path: Path,
) -> None:
    async def scene(shop: Shop) -> None:
        with pytest.raises(KernelFault, match="it belongs to no slot"):
            await shop.ask(poisoned(1))

    in_the_shop(tmp_path, scene)

    async def again(shop: Shop) -> None:
        assert shop.store.quarantine.status()["inputs"] == 1
        assert (await shop.ask(VenueEvent(kind=Kind.TICK, received_ms=1))).kernel.accepted

    in_the_shop(tmp_path, again)


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("snapshot", [False, True])
def test_a_process_that_died_before_it_could_say_so_is_followed_by_one_that_does(
    tmp_path: Path, snapshot: bool
) -> None:
    """The input is the newest record, and every restart would meet it."""

    async def scene(shop: Shop) -> None:
        await shop.open_a_position()
        if snapshot:
            await SnapshotTaker(shop.commit, shop.store.snapshots, shop.store.engine).take()
        bad = poisoned(shop.store.engine.kernel.now_ms + 5)
        shop.store.journal.append(bad, shop.store.engine.kernel.pack(bad).pack())
        shop.store.journal.write_and_sync()

    in_the_shop(tmp_path, scene)
    newest = JournalReader.open(tmp_path / "journal").report.last_seq

    before = HighWaterFile(OsDisk(), str(tmp_path / "journal")).read()

    async def again(shop: Shop) -> None:
        assert shop.store.journal.quarantined == (newest,)
        assert shop.store.journal.last_seq == newest + 1
        # Time goes on from the input, not from its quarantine, which has the same time much later.
        assert before is not None and shop.store.journal.resume_point == before.resume
        assert shop.slot().state is TradeStage.STALE_STATE_RECONCILING
        assert "quarantine" in shop.store.engine.kernel.freeze_causes()
        await shop.ask(poisoned(1))
        assert shop.store.quarantine.repeated == 1

    in_the_shop(tmp_path, again)
    in_the_shop(tmp_path, lambda shop: asyncio.sleep(0))
    assert JournalReader.open(tmp_path / "journal").quarantined == (newest,)


def test_notes_behind_the_newest_input_do_not_hide_it(tmp_path: Path, poison: list[str]) -> None:
    """A serve that ends because of it may note so."""

    async def scene(shop: Shop) -> None:
        await shop.open_a_position()
        journal, kernel = shop.store.journal, shop.store.engine.kernel
        bad = poisoned(kernel.now_ms + 5)
        journal.append(bad, kernel.pack(bad).pack())
        journal.append_note(Note(kernel.now_ms, "FAILED", {}))
        journal.write_and_sync()

    async def again(shop: Shop) -> None:
        newest = shop.store.journal.quarantined[0]
        entries = list(shop.store.journal.records(newest))
        assert [e.quarantined for e in entries] == [True, False, False]
        assert entries[2].quarantines
        assert shop.replayed().save() == shop.store.engine.save()

    in_the_shop(tmp_path, scene)
    in_the_shop(tmp_path, again)
    in_the_shop(tmp_path, again)
    poison.clear()
    in_the_shop(tmp_path, again)


def test_a_fault_in_the_middle_of_a_journal_is_not_passed_over(
    tmp_path: Path, poison: list[str]
) -> None:
    """It was applied once, so the state that others acted upon has it."""
    poison.clear()

    async def scene(shop: Shop) -> None:
        await shop.open_a_position()
        await shop.ask(poisoned(1))
        await shop.ask(VenueEvent(kind=Kind.TICK, received_ms=1))

    in_the_shop(tmp_path, scene)
    poison.append(POISON)
    for _ in range(2):
        with pytest.raises(KernelFault, match="poison in a batch"):
            in_the_shop(tmp_path, scene)
    assert not JournalReader.open(tmp_path / "journal").quarantined


def test_the_slot_of_an_input_is_found_by_order_trade_and_symbol() -> None:
    desk = long_day()
    engine = Engine(KernelConfig())
    for record in desk.inputs[:4]:
        engine.apply(record)
    kernel = engine.kernel
    (slot,) = kernel.active_slots()
    order = kernel.orders_of(slot.trade_no)[0]
    event = VenueEvent(kind=Kind.POSITION, received_ms=1)
    about: dict[str, Any]
    for about, expected in (
        ({"client_order_id": order.client_order_id}, slot.slot_id),
        ({"venue_order_id": order.venue_order_id}, slot.slot_id),
        ({"asset": slot.asset.replace("-", "")}, slot.slot_id),
        ({"asset": "NOPE-USDT"}, -1),
        ({}, -1),
    ):
        assert slot_of(kernel, msgspec.structs.replace(event, **about)) == expected, about
    intent = KernelIntent(command=KernelCommandType.EXIT, received_ms=1)
    for about, expected in (
        ({"trade_id": slot.trade_id}, slot.slot_id),
        ({"slot_id": slot.slot_id}, slot.slot_id),
        ({"trade_id": "another"}, -1),
    ):
        assert slot_of(kernel, msgspec.structs.replace(intent, **about)) == expected, about


def test_a_state_knows_what_its_journal_was_begun_with(tmp_path: Path) -> None:
    async def scene(shop: Shop) -> None:
        from dita.runtime.state.store import epoch_of

        assert epoch_of(shop.store.engine) == shop.store.journal.epoch
        check_journal_settings(epoch_of(shop.store.engine), shop.settings, "/state")

    in_the_shop(tmp_path, scene)
