"""A journal is followed beside its writer, from where one stopped and never past its mark."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import journal_writer
from support.journal_days import opened, segments, tick
from support.long_days import long_day

from dita import _journal
from dita.contracts import KernelIntent, VenueEvent
from dita.engine import Engine
from dita.errors import JournalFault, OperatorError
from dita.journal import (
    Journal,
    JournalReader,
    JournalReplaced,
    OsDisk,
    SnapshotStore,
    SyncedReader,
)
from dita.journal.following import Followed, Look
from dita.journal.highwater import HighWaterFile
from dita.kernel import ExecutionKernel
from dita.simulation.disk import SimDisk

Input = KernelIntent | VenueEvent
PACKER = ExecutionKernel()


def every(looks: list[Look]) -> list[int]:
    return list(range(len(looks)))


def nothing(looks: list[Look]) -> list[int]:
    return []


def put(journal: Journal, *records: Input) -> None:
    for record in records:
        journal.append(record, PACKER.pack(record).pack())


def synced_in(folder: Path) -> int:
    water = HighWaterFile(OsDisk(), str(folder / "journal")).read()
    return water.seq if water else 0


def replayed(folder: Path) -> Engine:
    reader = JournalReader.open(folder / "journal")
    engine = reader.epoch.engine()
    reader.replay_into(engine)
    return engine


# -- in real processes -----------------------------------------------------------------------------


class Writer:
    """A writing process that is killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None
        self.starts = 0

    def start(self) -> None:
        self.starts += 1
        words = [sys.executable, "-P", journal_writer.__file__, str(self.folder), str(self.starts)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None and self.process.stdout.readline() == "open\n"

    def kill(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        self.process.send_signal(signal.SIGKILL)
        assert self.process.wait() == -signal.SIGKILL
        self.process.stdout.close()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    writer = Writer(tmp_path)
    yield writer
    if writer.process is not None and writer.process.poll() is None:
        writer.kill()


def test_a_writer_that_is_killed_anywhere_is_followed(writer: Writer, tmp_path: Path) -> None:
    """Over segment ends, kills and torn tails; the follower is started anew now and then.

    Each record comes once, in its order, and not before it was synced.
    """
    chance = random.Random(7)
    store = SnapshotStore(tmp_path / "own")
    writer.start()
    followed = Followed(SyncedReader.open(tmp_path / "journal"), store, every)
    seen: list[int] = []
    for kill in range(8):
        end = time.monotonic() + chance.random() * 0.25
        while time.monotonic() < end:
            seen += [step.seq for step in followed.news()]
            assert followed.reached <= synced_in(tmp_path)
        writer.kill()
        synced = synced_in(tmp_path)
        tear(segments(tmp_path / "journal")[-1], chance)
        seen += [step.seq for step in followed.news()]
        assert followed.reached == synced
        if kill % 3 == 1:  # the follower dies too; what it did since its last snapshot comes again
            followed.save()
            followed = Followed(SyncedReader.open(tmp_path / "journal"), store, every)
            assert followed.reached == synced
        writer.start()
    writer.kill()
    seen += [step.seq for step in followed.news()]
    reader = JournalReader.open(tmp_path / "journal")
    told = [e.seq for e in reader.records() if not hasattr(e.record, "state_hash")]
    assert seen == [seq for seq in told if 1 < seq <= followed.reached]
    assert followed.reached == synced_in(tmp_path) and len(segments(tmp_path / "journal")) > 3
    # What the kill left behind the mark may have been whole: the next writer takes it in.
    Journal.open(tmp_path / "journal", namespace="pink", created_ms=1).close()
    seen += [step.seq for step in followed.news()]
    assert followed.engine.state_hash() == replayed(tmp_path).state_hash()


def tear(segment: Path, chance: random.Random) -> None:
    """As if the writer had died in the middle of a record: some of it is there."""
    data = bytearray(segment.read_bytes())
    end = _journal.scan(data, 64, *_start_of(data))[1]
    count = min(chance.randrange(1, 400), len(data) - end)
    # A length that a record can have, and then anything.
    data[end : end + count] = (
        chance.randrange(1, 300).to_bytes(4, "little")
        + bytes(chance.randrange(1, 255) for _ in range(count))
    )[:count]
    segment.write_bytes(data)


def _start_of(data: bytearray) -> tuple[int, int]:
    from dita.journal.segments import SEGMENT_HEADER

    _, _, previous, _, _, first, _, _ = SEGMENT_HEADER.unpack(data[: SEGMENT_HEADER.size])
    return first, previous


# -- one promise at a time -------------------------------------------------------------------------


class HeldDisk:
    """The machine's own, whose syncs can be held up: what was written is there, and not synced."""

    def __init__(self) -> None:
        self._disk = OsDisk()
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.holds = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)

    def fdatasync(self, fd: int) -> None:
        if self.holds:
            self.reached.set()
            assert self.go_on.wait(30)
        self._disk.fdatasync(fd)


def test_what_was_written_and_not_synced_is_not_told(tmp_path: Path) -> None:
    disk = HeldDisk()
    journal = opened(tmp_path / "journal", disk)
    put(journal, tick(1))
    journal.write_and_sync()
    reader = SyncedReader.open(tmp_path / "journal")
    assert reader.report.last_seq == 2
    disk.holds = True
    put(journal, tick(2), tick(3))
    syncing = threading.Thread(target=journal.write_and_sync)
    syncing.start()
    disk.reached.wait()
    assert JournalReader.open(tmp_path / "journal").report.last_seq == 4  # it is in the file
    assert (reader.refresh(), [e.seq for e in reader.records(2)]) == (2, [2])
    assert SyncedReader.open(tmp_path / "journal").report.last_seq == 2
    disk.go_on.set()
    syncing.join()
    assert (reader.refresh(), [e.seq for e in reader.records(2)]) == (4, [2, 3, 4])
    journal.close()


def test_it_goes_on_where_it_stopped_and_reads_nothing_twice(tmp_path: Path) -> None:
    """Not even the bytes before: a journal of hours is followed at the price of its news."""

    class Counting(HeldDisk):
        read_bytes = 0

        def read(self, path: str, start: int = 0, size: int = -1) -> bytes:
            found = self._disk.read(path, start, size)
            if not path.endswith(".high-water"):
                self.read_bytes += len(found)
            return found

    disk = Counting()
    journal = opened(tmp_path / "journal", segment_bytes=2**20)
    for number in range(1, 1_001):
        put(journal, tick(number))
    journal.write_and_sync()
    followed = Followed(
        SyncedReader.open(tmp_path / "journal", disk=disk),
        SnapshotStore(tmp_path / "own"),
        nothing,
    )
    assert list(followed.news()) == [] and followed.reached == 1_001
    used = len(journal.segments[-1].header()) + 1_001 * 304
    for number in range(1_001, 1_011):
        disk.read_bytes = 0
        put(journal, tick(number))
        journal.write_and_sync()
        assert list(followed.news()) == [] and followed.reached == number + 1
        assert disk.read_bytes <= 2 * (2**20 - used) + 2 * 4_096 * 8
    journal.close()


def test_a_day_comes_as_it_was_whatever_its_pieces(tmp_path: Path) -> None:
    journal = opened(tmp_path / "journal")
    engine = journal.epoch.engine()
    followed = Followed(
        SyncedReader.open(tmp_path / "journal"), SnapshotStore(tmp_path / "own"), every
    )
    for record in long_day().inputs:
        journal.append(record, engine.kernel.pack(record).pack())
        expected = engine.apply(record)
        assert list(followed.news()) == []
        journal.write_and_sync()
        (step,) = followed.news()
        assert (step.seq, step.record, step.outcome) == (journal.last_seq, record, expected)
        assert followed.engine.state_hash() == engine.state_hash()
    journal.close()


def test_another_journal_in_its_place_is_told(tmp_path: Path) -> None:
    journal = opened(tmp_path / "journal", identity=b"one")
    reader = SyncedReader.open(tmp_path / "journal")
    journal.close()
    (tmp_path / "journal").rename(tmp_path / "old")
    (tmp_path / "journal.high-water").rename(tmp_path / "old.high-water")
    with pytest.raises(OperatorError, match="no journal here"):
        SyncedReader.open(tmp_path / "journal")
    journal = opened(tmp_path / "journal", identity=b"two")
    put(journal, tick(1))
    journal.close()
    with pytest.raises(JournalReplaced):
        reader.refresh()


def test_another_history_of_the_same_journal_is_damage(tmp_path: Path) -> None:
    """A backup that was put back, and written to: what was told before is not in it."""
    journal = opened(tmp_path / "journal")
    put(journal, tick(1))
    journal.close()
    backup = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    journal = opened(tmp_path / "journal")
    put(journal, tick(2))
    journal.close()
    reader = SyncedReader.open(tmp_path / "journal")
    assert reader.report.last_seq == 3
    for path, data in backup.items():
        path.write_bytes(data)
    assert reader.refresh() == 3  # the mark says less: nothing new
    journal = opened(tmp_path / "journal")
    put(journal, tick(7), tick(8))
    journal.close()
    with pytest.raises(JournalFault, match="damaged at record 4"):
        reader.refresh()


def test_damage_in_what_was_synced_is_never_passed_over(tmp_path: Path) -> None:
    journal = opened(tmp_path / "journal")
    reader = SyncedReader.open(tmp_path / "journal")
    put(journal, tick(1), tick(2))
    journal.close()
    (segment,) = segments(tmp_path / "journal")
    data = bytearray(segment.read_bytes())
    data[-1 - next(n for n, byte in enumerate(reversed(data)) if byte)] ^= 0x10
    segment.write_bytes(data)
    with pytest.raises(JournalFault, match="damaged at record 3"):
        reader.refresh()
    assert reader.report.last_seq == 1


def test_a_mark_of_before_a_loss_of_power_is_waited_for() -> None:
    """It may say less than was synced: what was told stays told, and comes once."""
    disk = SimDisk()
    journal = opened(disk=disk)
    put(journal, tick(1))
    journal.write_and_sync()
    journal.sync_high_water()
    before = disk.read("/j.high-water")
    put(journal, tick(2))
    journal.write_and_sync()
    reader = SyncedReader.open("/j", disk=disk)
    assert reader.refresh() == 3
    fd = disk.open("/j.high-water")
    disk.pwrite(fd, memoryview(before), 0)
    assert reader.refresh() == 3 and [e.seq for e in reader.records(3)] == [3]
    put(journal, tick(3))
    journal.write_and_sync()
    assert reader.refresh() == 4
