"""Snapshots: the whole state after a record, so that a start need not replay everything.

They are a convenience and no truth: all of them may be deleted while the journal is complete.  The
runtime takes them and starts from them; two are kept, so that one may be damaged.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from typing import Final

from dita import _journal
from dita.contracts import Record
from dita.engine import Engine
from dita.errors import JournalFault, OperatorError, SettingsError
from dita.journal.disk import Disk, OsDisk, publish, write_all
from dita.journal.reader import JournalReader
from dita.journal.rules import OF_BEFORE, OtherRules, Rules
from dita.journal.segments import FORMAT_VERSION, SNAPSHOT_NAME, name_of, newer, numbers_of
from dita.journal.writer import Journal

SNAPSHOTS_KEPT: Final = 2

_SNAPSHOT_MAGIC: Final = b"DITASNAP"
#: Magic, version, rules, number, epoch, state hash, bytes of the state, layout, release; state;
#: checksum.  One of before 0.2.0 has rules 0, and neither layout nor release.
_SNAPSHOT: Final = struct.Struct("<8sB3xIQQ32sQ12s20s")

_BY_BYTES: Final = 32  # layout and release


class Snapshot(Record, frozen=True, kw_only=True):
    """The whole state after record ``seq``."""

    seq: int
    epoch: int
    state_hash: str
    state: bytes
    rules: Rules = Rules()

    @classmethod
    def of(cls, engine: Engine, journal: Journal) -> Snapshot:
        """The engine as it is, with everything appended applied to it."""
        return cls.at(engine, journal.last_seq, journal.report.epoch)

    @classmethod
    def at(cls, engine: Engine, seq: int, epoch: int) -> Snapshot:
        """An engine in its state after record ``seq``."""
        state, state_hash = engine.save_and_hash()
        return cls(seq=seq, epoch=epoch, state_hash=state_hash, state=state)

    def encode(self) -> bytes:
        """The file."""
        head = _SNAPSHOT.pack(
            _SNAPSHOT_MAGIC,
            FORMAT_VERSION,
            self.rules.version,
            self.seq,
            self.epoch,
            bytes.fromhex(self.state_hash),
            len(self.state),
            self.rules.layout.encode(),
            self.rules.release.encode(),
        )
        body = head + self.state
        return body + _journal.crc32c(body).to_bytes(4, "little")

    @classmethod
    def decode(cls, data: bytes) -> Snapshot:
        """ValueError for what is no sound snapshot, SettingsError for a newer one."""
        body = data[:-4]
        if len(data) < _SNAPSHOT.size + 4 or not data.startswith(_SNAPSHOT_MAGIC):
            raise ValueError("not a snapshot")
        if _journal.crc32c(body).to_bytes(4, "little") != data[-4:]:
            raise ValueError("its checksum does not match")
        _, version, rules, seq, epoch, state_hash, size, *by = _SNAPSHOT.unpack_from(body)
        if version > FORMAT_VERSION:
            raise newer("a snapshot", version)
        layout, release = (text.rstrip(b"\0").decode("ascii", "replace") for text in by)
        known = Rules(version=rules, layout=layout, release=release) if rules else OF_BEFORE
        state = body[_SNAPSHOT.size if rules else _SNAPSHOT.size - _BY_BYTES :]
        if len(state) != size:
            raise ValueError(f"{len(state)} bytes of state instead of {size}")
        return cls(seq=seq, epoch=epoch, state_hash=state_hash.hex(), state=state, rules=known)

    def engine(self) -> Engine:
        """An engine in this state.  OtherRules when another release saved it."""
        self.rules.hold(name_of(SNAPSHOT_NAME, self.seq))
        return Engine.restore(self.state)


class SnapshotFailed(OperatorError):
    """A snapshot was not written.  Nothing is lost by it: the journal has everything."""


class SnapshotStore:
    """Snapshots in a directory; the newest two are kept, so that one may be damaged."""

    def __init__(self, directory: str | os.PathLike[str], *, disk: Disk | None = None) -> None:
        self.directory = os.path.realpath(directory)
        self._disk = disk or OsDisk()
        #: What was wrong with newer snapshots than the one that ``newest`` gave.
        self.problems: tuple[str, ...] = ()

    def write(self, snapshot: Snapshot) -> None:
        """Store a snapshot whose record is durable.  Blocks; call it in a thread."""
        disk, name = self._disk, name_of(SNAPSHOT_NAME, snapshot.seq)
        temporary = f"{name}.tmp"
        try:
            disk.make_directory(self.directory)
            with contextlib.suppress(FileNotFoundError):
                disk.unlink(f"{self.directory}/{temporary}")
            fd = disk.create(f"{self.directory}/{temporary}")
            try:
                write_all(disk, fd, snapshot.encode(), 0)
                publish(disk, self.directory, fd, temporary, name)
            finally:
                disk.close(fd)
            for old in self.numbers()[:-SNAPSHOTS_KEPT]:
                disk.unlink(f"{self.directory}/{name_of(SNAPSHOT_NAME, old)}")
        except OSError as bad:
            with contextlib.suppress(OSError):
                disk.unlink(f"{self.directory}/{temporary}")
            raise SnapshotFailed(
                "the snapshot was not written",
                expected=f"room for {len(snapshot.state)} bytes in {self.directory}",
                found=str(bad),
                action="the journal has everything; a restart only takes longer",
            ) from bad

    def numbers(self) -> list[int]:
        """Their records' numbers, oldest first, read from the names alone."""
        try:
            return numbers_of(SNAPSHOT_NAME, self._disk.list(self.directory))
        except FileNotFoundError:
            return []

    def newest(self) -> Snapshot | None:
        """The newest sound one.  A damaged one is passed over and told in ``problems``."""
        return next(self.sound(), None)

    def sound(self) -> Iterator[Snapshot]:
        """Every sound one, the newest first; what is wrong with others is told in ``problems``."""
        self.problems = ()
        for number in reversed(self.numbers()):
            name = name_of(SNAPSHOT_NAME, number)
            try:
                found = Snapshot.decode(self._disk.read(f"{self.directory}/{name}"))
                if found.seq != number:
                    raise ValueError(f"it is of record {found.seq}")
            except (ValueError, OSError) as bad:
                self.problems += (f"{name}: {bad}",)
            else:
                yield found

    def restore(self, journal: JournalReader, until: int = 0) -> tuple[Engine, int]:
        """The state at the journal's end, or before record ``until``; and how many inputs were
        replayed to get there.  OtherRules when the journal was written by another release's."""
        journal.hold_to_rules()
        for snapshot in self.sound():
            if until and snapshot.seq >= until:
                continue
            if snapshot.epoch != journal.report.epoch:
                raise SettingsError(
                    "the snapshots belong to another journal",
                    expected=f"epoch {journal.report.epoch}",
                    found=f"epoch {snapshot.epoch}",
                    action="move the snapshots away; they are rebuilt from the journal",
                )
            try:
                engine = snapshot.engine()
            except OperatorError as bad:  # of another release
                if journal.is_archived and isinstance(bad, OtherRules):
                    raise  # then the journal is of those rules too
                self.problems += (f"{name_of(SNAPSHOT_NAME, snapshot.seq)}: {bad}",)
                continue
            return engine, journal.replay_into(engine, snapshot.seq + 1, until)
        if journal.is_archived:
            raise JournalFault(
                "no snapshot goes on from what was archived",
                expected=f"a sound one of record {journal.first_seq - 1} or later in"
                f" {self.directory}",
                found="; ".join(self.problems) or "none",
                action=f"copy the archived segments back into {journal.directory}",
            )
        engine = journal.epoch.engine()
        return engine, journal.replay_into(engine, 1, until)
