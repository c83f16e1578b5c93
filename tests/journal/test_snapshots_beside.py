"""Snapshots are taken beside the commits: of one moment, without a wait, and held to their hash."""

from __future__ import annotations

import asyncio
import io
import threading
from pathlib import Path
from typing import Any

import pytest
from support.journal_days import opened, tick
from support.long_days import long_day

from dita.contracts import KernelIntent, VenueEvent
from dita.engine import Engine
from dita.errors import BadField, KernelFault, OperatorError
from dita.journal import (
    GroupCommit,
    Journal,
    JournalReader,
    Mark,
    OsDisk,
    Snapshot,
    SnapshotStore,
    SnapshotTaker,
    export_json,
    import_json,
)
from dita.kernel import KernelConfig

Input = KernelIntent | VenueEvent


class SlowDisk:
    """The machine's own, where a file's sync waits until it is let go."""

    def __init__(self) -> None:
        self._disk = OsDisk()
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)

    def fdatasync(self, fd: int) -> None:
        self.reached.set()
        assert self.go_on.wait(30)
        self._disk.fdatasync(fd)


def take_in(journal: Journal, engine: Engine, *records: Input) -> None:
    for record in records:
        journal.append(record, engine.kernel.pack(record).pack())
        engine.apply(record)


def marks_of(journal: JournalReader) -> list[tuple[int, Mark]]:
    return [(e.seq, e.record) for e in journal.records() if isinstance(e.record, Mark)]


def test_commits_go_on_while_a_snapshot_is_written(tmp_path: Path) -> None:
    """Its disk hangs: what comes meanwhile is durable all the same, and is not in the snapshot."""
    journal = opened(tmp_path / "j")
    disk = SlowDisk()
    store = SnapshotStore(tmp_path / "s", disk=disk)
    engine = journal.epoch.engine()
    before, after = long_day().inputs[:20], long_day().inputs[20:]

    async def run() -> tuple[Snapshot, str]:
        commit = GroupCommit(journal)
        take_in(journal, engine, *before)
        taken = asyncio.ensure_future(SnapshotTaker(commit, store, engine).take())
        then = engine.state_hash()
        await asyncio.to_thread(disk.reached.wait)
        for record in after:
            take_in(journal, engine, record)
            assert await commit.commit() == journal.last_seq
        assert store.numbers() == []
        disk.go_on.set()
        snapshot = await taken
        await commit.commit()
        commit.close()
        return snapshot, then

    snapshot, then = asyncio.run(run())
    assert (snapshot.seq, snapshot.state_hash) == (21, then)
    assert store.newest() == snapshot
    assert snapshot.engine().state_hash() == then != engine.state_hash()
    assert marks_of(journal) == [(journal.last_seq, Mark(then, of=21))]
    again, count = store.restore(journal)
    assert (again.save(), count) == (engine.save(), len(after))
    journal.close()


def test_what_is_not_durable_is_in_no_snapshot(tmp_path: Path) -> None:
    """It is written once its own record is."""
    journal = opened(tmp_path / "j")
    store = SnapshotStore(tmp_path / "s")
    engine = journal.epoch.engine()

    async def run() -> Snapshot:
        commit = GroupCommit(journal)
        take_in(journal, engine, tick(1), tick(2))
        snapshot = await SnapshotTaker(commit, store, engine).take()
        commit.close()
        return snapshot

    snapshot = asyncio.run(run())
    assert snapshot.seq == 3 == journal.synced_up_to
    journal.close()


@pytest.mark.parametrize("wrong", [False, True])
def test_every_replay_is_held_to_a_mark_that_came_later(tmp_path: Path, wrong: bool) -> None:
    """From the beginning, past the record, and on top of the snapshot itself."""
    journal = opened(tmp_path / "j")
    store = SnapshotStore(tmp_path / "s")
    engine = journal.epoch.engine()
    inputs = long_day().inputs
    take_in(journal, engine, *inputs[:10])
    journal.write_and_sync()
    older = Snapshot.of(engine, journal)
    take_in(journal, engine, *inputs[10:20])
    journal.write_and_sync()
    store.write(Snapshot.of(engine, journal))
    of, right = journal.last_seq, engine.state_hash()
    take_in(journal, engine, *inputs[20:])
    journal.append_mark("ab" * 32 if wrong else right, of=of)
    journal.close()
    reader = JournalReader.open(tmp_path / "j")

    def from_the_beginning() -> Engine:
        again = reader.epoch.engine()
        reader.replay_into(again)
        return again

    def from_an_older_snapshot() -> Engine:
        again = older.engine()
        reader.replay_into(again, older.seq + 1)
        return again

    for replay in (from_the_beginning, from_an_older_snapshot, lambda: store.restore(reader)[0]):
        if wrong:
            with pytest.raises(KernelFault, match=f"before record {of + 1}"):
                replay()
        else:
            assert replay().save() == engine.save()
    # Whoever stops before it, or begins behind it, has nothing to hold to it.
    reader.replay_into(reader.epoch.engine(), 1, of)
    reader.replay_into(engine, of + 2)


def test_a_late_mark_survives_export_and_import(tmp_path: Path) -> None:
    journal = opened(tmp_path / "j")
    engine = journal.epoch.engine()
    take_in(journal, engine, tick(1))
    then = engine.state_hash()
    take_in(journal, engine, tick(2))
    journal.append_mark(then, of=2)
    with pytest.raises(BadField):
        journal.append_mark(then, of=journal.last_seq + 1)
    journal.close()
    reader = JournalReader.open(tmp_path / "j")
    text = io.StringIO()
    export_json(reader, text)
    text.seek(0)
    import_json(text, tmp_path / "copy").close()
    copy = JournalReader.open(tmp_path / "copy")
    assert marks_of(copy) == marks_of(reader) == [(4, Mark(then, of=2))]
    again = copy.epoch.engine()
    copy.replay_into(again)
    assert again.save() == engine.save()


def test_a_copy_is_the_same_state_and_shares_nothing() -> None:
    """After every input of a day with everything in it; also a copy that was used before."""
    config = KernelConfig(namespace="pink", epoch=1)
    engine, copy = Engine(config), Engine(config)
    for record in long_day().inputs:
        before = engine.save()
        copy.copy_from(engine)
        engine.apply(record)
        assert copy.save() == before
        copy.copy_from(engine)
        assert copy.save() == engine.save() and copy.state_hash() == engine.state_hash()
        assert copy.snapshot == engine.snapshot
    restored = Engine.restore(engine.save())
    for more in long_day().inputs[:3]:
        assert copy.apply(more) == restored.apply(more)
    assert copy.save() == restored.save()


def test_a_copy_of_other_settings_is_refused() -> None:
    with pytest.raises(OperatorError):
        Engine(KernelConfig(slot_limit=2)).copy_from(Engine(KernelConfig(slot_limit=3)))
