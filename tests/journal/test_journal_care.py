"""Archiving the oldest segments of a journal, and retiring one that cannot be used any more."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from support.journal_days import Input, mark_of, opened, record_places, replayed, segments, tick
from support.serve_station import settings_with
from typer.testing import Result

from dita.clock import ManualClock
from dita.contracts import KernelEventKind, VenueEvent
from dita.errors import ExitCode, JournalFault, OperatorError, RefusedForSafety
from dita.journal import (
    Journal,
    Snapshot,
    SnapshotStore,
    archivable,
    archive,
)
from dita.runtime.node import Node
from dita.runtime.state.lock import StateLock
from dita.runtime.state.retiring import retire, retired
from dita.runtime.state.store import Store
from dita.runtime.world import World

Cli = Callable[..., Result]
#: Snapshots are taken behind so many inputs; a segment takes some twenty.
SNAPSHOTS: Final = (60, 85)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """One with a journal of five segments and snapshots of the third and the fourth."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    journal, store = opened(folder / "journal"), SnapshotStore(folder / "snapshots")
    engine = journal.epoch.engine()
    for number in range(1, 111):
        record: Input = VenueEvent(kind=KernelEventKind.TICK, received_ms=1_000 + number)
        journal.append(record, engine.kernel.pack(record).pack())
        engine.apply(record)
        journal.write_and_sync()
        if number in SNAPSHOTS:
            store.write(Snapshot.of(engine, journal))
    journal.close()
    assert len(segments(folder / "journal")) == 5
    return folder


def store_of(state: Path) -> SnapshotStore:
    return SnapshotStore(state / "snapshots")


# -- archive ---------------------------------------------------------------------------------------


def test_only_what_both_snapshots_go_on_from_is_archived(state: Path, tmp_path: Path) -> None:
    journal, store = opened(state / "journal"), store_of(state)
    engine, _ = store.restore(journal)
    names = archivable(journal, store)
    assert names == tuple(path.name for path in segments(state / "journal")[:2])
    (tmp_path / "archive").mkdir()
    archive(journal, names, str(tmp_path / "archive"))
    assert [path.name for path in segments(tmp_path / "archive")] == list(names)
    assert journal.is_archived and journal.first_seq == journal.segments[0].first_seq
    assert archivable(journal, store) == ()
    # The writer goes on, and so does a start, from either snapshot.
    journal.append(tick(9_000), engine.kernel.pack(tick(9_000)).pack())
    engine.apply(tick(9_000))
    journal.close()
    for _ in range(2):
        again = opened(state / "journal")
        assert store.restore(again)[0].save() == engine.save()
        again.close()
        newest = state / "snapshots" / f"snapshot-{store.numbers()[-1]:020}.snap"
        newest.write_bytes(b"damaged")
    # Without any that covers it the start stops, and says what helps.
    for path in (state / "snapshots").iterdir():
        path.write_bytes(b"damaged")
    again = opened(state / "journal")
    with pytest.raises(JournalFault, match="copy the archived segments back") as stop:
        store.restore(again)
    assert stop.value.exit_code is ExitCode.JOURNAL
    again.close()
    # Copied back it is whole again.
    for path in segments(tmp_path / "archive"):
        shutil.copy(path, state / "journal")
    again = opened(state / "journal")
    assert not again.is_archived and replayed(again).save() == engine.save()
    again.close()


def test_a_segment_that_nobody_archived_is_missing(state: Path, tmp_path: Path) -> None:
    """Snapshots know the state behind it, and still nobody said that it may go."""
    first = segments(state / "journal")[0]
    first.unlink()
    with pytest.raises(JournalFault, match="damaged at record 1") as stop:
        opened(state / "journal", vouched=store_of(state).numbers()[-1])
    assert stop.value.exit_code is ExitCode.JOURNAL


def test_one_snapshot_is_not_enough_to_archive(state: Path) -> None:
    store = store_of(state)
    (state / "snapshots" / f"snapshot-{store.numbers()[0]:020}.snap").write_bytes(b"damaged")
    journal = opened(state / "journal")
    assert archivable(journal, store) == ()
    journal.close()


def test_a_copy_that_differs_removes_nothing(state: Path, tmp_path: Path) -> None:
    target = tmp_path / "archive"
    target.mkdir()
    journal, store = opened(state / "journal"), store_of(state)
    names = archivable(journal, store)
    (target / names[1]).write_bytes(b"something else")
    with pytest.raises(OperatorError, match="another segment of that name"):
        archive(journal, names, str(target))
    (target / names[1]).unlink()
    archive(journal, names, str(target))  # the first is there already, and the same
    journal.close()
    assert len(segments(target)) == 2


def test_the_command_archives_while_no_serve_runs(state: Path, tmp_path: Path, cli: Cli) -> None:
    target = tmp_path / "archive"
    words = ("journal", "archive", "--state-dir", str(state), "--to", str(target))
    assert cli(*words).exit_code == ExitCode.USAGE
    target.mkdir()
    plan = cli(*words)
    assert (plan.exit_code, plan.stdout.count("would move")) == (0, 2)
    assert not list(target.iterdir())
    lock = StateLock(state)
    assert cli(*words, "--apply").exit_code == ExitCode.ALREADY_RUNNING
    lock.release()
    done = cli(*words, "--apply", "--json")
    assert (done.exit_code, len(json.loads(done.stdout)["segments"])) == (0, 2)
    verified = cli("journal", "verify", "--state-dir", str(state))
    assert verified.exit_code == 0 and "archived: what came before record" in verified.stdout
    again = cli(*words, "--apply")
    assert again.exit_code == 0 and "nothing can be archived" in again.stdout


def test_a_start_holds_the_journal_to_its_newest_snapshot_and_touches_nothing(
    tmp_path: Path,
) -> None:
    """An older copy of journal and mark was put back, the snapshots were not.

    What looks like a torn tail may be all that is left of what was synced, so it stays.
    """
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    clock = ManualClock(1)
    settings = settings_with(kernel__namespace="pink")
    store = Store(state, settings, clock)
    kernel = store.engine.kernel
    copy = tmp_path / "copy"
    for number in range(1, 20):
        store.journal.append(tick(number), kernel.pack(tick(number)).pack())
        store.engine.apply(tick(number))
        store.journal.write_and_sync()
        if number == 9:
            shutil.copytree(state, copy)
    store.snapshots.write(Snapshot.of(store.engine, store.journal))
    store.journal.close()
    for name in ("journal", "journal.high-water"):
        shutil.rmtree(state / name) if (state / name).is_dir() else (state / name).unlink()
        (copy / name).rename(state / name)
    (file,) = segments(state / "journal")
    data = bytearray(file.read_bytes())
    end = sum(record_places(data)[-1])
    data[end : end + 8] = b"remains!"
    file.write_bytes(data)
    with pytest.raises(JournalFault, match=r"damaged at record 11: .* 20 was synced \(a snapshot"):
        Store(state, settings, clock)
    assert file.read_bytes() == data


# -- retire ----------------------------------------------------------------------------------------


def lose_the_end(state: Path) -> None:
    segments(state / "journal")[-1].unlink()


def test_a_journal_that_lost_its_end_is_told_by_every_reader(state: Path, cli: Cli) -> None:
    lose_the_end(state)
    for words in (("journal", "verify"), ("journal", "tail"), ("journal", "export")):
        done = cli(*words, "--state-dir", str(state))
        assert done.exit_code == ExitCode.JOURNAL, words
        assert "was synced, the last one, in" in done.stderr
        assert f"journal retire --state-dir {state} --reason WHY --apply" in done.stderr
    shutil.rmtree(state / "journal")
    assert cli("journal", "verify", "--state-dir", str(state)).exit_code == ExitCode.JOURNAL


def test_a_retired_journal_is_kept_and_a_new_one_begins_in_hold(tmp_path: Path, cli: Cli) -> None:
    state = tmp_path / "state"

    def started() -> str:
        async def play() -> str:
            node = Node(settings_with(), state, World.of_machine())
            try:
                await node.start(lambda line: None)
                await node.stop()
                return node.service.held_because
            finally:
                await node.service.close()
                node.close()

        return asyncio.run(asyncio.wait_for(play(), 30))

    words = ("journal", "retire", "--state-dir", str(state), "--reason", "a test")
    assert started() == ""
    refused = cli(*words, "--apply")
    assert refused.exit_code == ExitCode.REFUSED and "the journal is sound" in refused.stderr
    lose_the_end(state)
    before = sorted(path.name for path in state.iterdir())
    plan = cli(*words)
    assert (
        plan.exit_code == 0 and "would set aside: journal, snapshots, journal.high" in plan.stdout
    )
    assert sorted(path.name for path in state.iterdir()) == before
    done = cli(*words, "--apply", "--json")
    told: dict[str, Any] = json.loads(done.stdout)
    assert (done.exit_code, told["parts"]) == (0, ["journal", "snapshots", "journal.high-water"])
    folder = Path(told["folder"])
    assert retired(state) == (folder.name,)
    assert sorted(path.name for path in folder.iterdir()) == [
        "journal", "journal.high-water", "snapshots", "why.json",
    ]  # fmt: skip
    why = json.loads((folder / "why.json").read_text())
    assert why["reason"] == "a test" and "was synced, the last one" in why["problem"]
    assert "the journal before this one was retired" in started()
    assert mark_of(state / "journal").exists()


def test_a_retirement_that_died_halfway_is_done_again(state: Path) -> None:
    lose_the_end(state)
    (state / "retired-1").mkdir()
    (state / "journal").rename(state / "retired-1" / "journal")
    with pytest.raises(JournalFault):
        Journal.open(state / "journal", namespace="pink", created_ms=2)
    folder = retire(state, 2, {"reason": "again"})
    assert sorted(path.name for path in folder.iterdir()) == [
        "journal.high-water", "snapshots", "why.json",
    ]  # fmt: skip
    Journal.open(state / "journal", namespace="pink", created_ms=3).close()


def test_a_running_serve_keeps_its_journal(state: Path, cli: Cli) -> None:
    lose_the_end(state)
    lock = StateLock(state)
    words = ("journal", "retire", "--state-dir", str(state), "--reason", "a test", "--apply")
    assert cli(*words).exit_code == ExitCode.ALREADY_RUNNING
    lock.release()


def test_a_sound_journal_is_not_set_aside(state: Path) -> None:
    before = sorted(state.iterdir())
    with pytest.raises(RefusedForSafety, match="the journal is sound"):
        retire(state, 1, {"reason": "a test"})
    assert sorted(state.iterdir()) == before
