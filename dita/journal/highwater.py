"""The high-water mark: up to where a journal was synced, in a small file beside its folder.

A journal cannot know that its own end is missing; this file can, because it is written after each
sync and before anybody is told of it.  It holds numbers and times and nothing of what records mean.

Durability.  The mark of a sync is in the page cache before the sync is acted upon, so the death of
the process loses none of it.  It reaches the disk a moment later, off the path of orders, so the
loss of the machine's power may take it back by that moment: then the mark claims less than was
synced, never more.  What it never is: torn.  Of three slots one is known to be on the disk and is
not touched until another one is.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from typing import Final

from msgspec import structs

from dita import _journal
from dita.clock import BootClock
from dita.contracts import Record
from dita.errors import JournalFault
from dita.journal.disk import Disk, publish, write_all
from dita.journal.segments import SEGMENT_NAME, name_of

SUFFIX: Final = ".high-water"

_MAGIC: Final = b"DITAHIGH"
_VERSION: Final = 1
#: Magic, version, generation, namespace, epoch, identity, first number, number, its checksum,
#: segment, end, time of the record, of the boot, of the wall, which boot.  Its checksum follows.
_SLOT: Final = struct.Struct("<8sB7xQQQ16sQQI4xQQqqq40s")
_SLOT_BYTES: Final = _SLOT.size + 4
_SLOTS: Final = 3
_APART: Final = 4_096  # a block each: writing one cannot harm another
_FILE_BYTES: Final = _SLOTS * _APART
_BOOT_ID_BYTES: Final = 40
_NS_PER_MS: Final = 1_000_000


class ResumePoint(Record, frozen=True, kw_only=True):
    """Where time stood when the newest durable record was taken, on three clocks at once.

    ``record_ms`` is the record's own time of receipt.  ``boot_id`` is "" when it is not known when
    the record was taken (an import); its time is then taken for wall time.
    """

    record_ms: int
    boot_id: str
    boottime_ns: int
    wall_ms: int

    def now_ms(self, clock: BootClock) -> int:
        """What the records' time is now, going on at real rate; never before ``record_ms``.

        Exact while the machine runs since then, whatever was done to its wall clock.  After
        another boot only the wall clock can tell how much time went by; one that went back tells
        nothing, and no time is added.
        """
        if self.boot_id and self.boot_id == clock.boot_id():
            passed_ns = clock.boottime_ns() - self.boottime_ns
            if passed_ns >= 0:
                return self.record_ms + passed_ns // _NS_PER_MS
        return self.record_ms + max(0, clock.now_ms() - self.wall_ms)


class HighWater(Record, frozen=True, kw_only=True):
    """What is known to have been synced.  ``seq`` 0: a journal was about to be begun."""

    namespace_hash: int
    epoch: int
    #: Of this one journal and of copies of it; 0 when nobody gave it one.
    identity: bytes
    #: The oldest record that has to be here; more than 1 once segments were archived.
    first_seq: int
    seq: int
    #: Checksum of record ``seq``: another history of the same journal has another one.
    crc: int
    #: Where that record ended: number in its segment's name, and byte.
    segment: int
    end: int
    resume: ResumePoint

    @property
    def place(self) -> str:
        """Where that record ended, in words."""
        return f"{name_of(SEGMENT_NAME, self.segment)} up to byte {self.end}"

    def slot(self, generation: int = 0) -> bytes:
        """As it is stored."""
        resume = self.resume
        body = _SLOT.pack(
            _MAGIC, _VERSION, generation, self.namespace_hash, self.epoch, self.identity,
            self.first_seq, self.seq, self.crc, self.segment, self.end, resume.record_ms,
            resume.boottime_ns, resume.wall_ms, _boot_bytes(resume.boot_id),
        )  # fmt: skip
        return body + _journal.crc32c(body).to_bytes(4, "little")


def _boot_bytes(boot_id: str) -> bytes:
    return boot_id.encode("ascii", "replace")[:_BOOT_ID_BYTES]


def _decode(data: bytes) -> tuple[int, HighWater] | None:
    """Generation and content of a slot; None for what is no sound one."""
    body = data[:-4]
    if len(data) != _SLOT_BYTES or _journal.crc32c(body).to_bytes(4, "little") != data[-4:]:
        return None
    (
        magic, version, generation, space, epoch, identity, first_seq, seq, crc, segment, end,
        record_ms, boottime_ns, wall_ms, boot,
    ) = _SLOT.unpack(body)  # fmt: skip
    if magic != _MAGIC or version != _VERSION:
        return None
    resume = ResumePoint(
        record_ms=record_ms,
        boot_id=boot.rstrip(b"\0").decode("ascii", "replace"),
        boottime_ns=boottime_ns,
        wall_ms=wall_ms,
    )
    found = HighWater(
        namespace_hash=space, epoch=epoch, identity=identity, first_seq=first_seq, seq=seq,
        crc=crc, segment=segment, end=end, resume=resume,
    )  # fmt: skip
    return generation, found


class HighWaterFile:
    """The file of one journal.  ``write`` and ``sync`` may run in different threads."""

    def __init__(self, disk: Disk, journal: str) -> None:
        self.path = journal + SUFFIX
        self._disk = disk
        self._lock = threading.Lock()  # of the slots' roles
        self._syncing = threading.Lock()
        self._fd = -1
        self._generation = 0
        self._writing = 0  # the slot that writes go to
        self._durable = 0  # the slot that is on the disk and stays as it is
        self._is_dirty = False

    def read(self) -> HighWater | None:
        """The newest content; None when there is no file.  JournalFault when none is sound."""
        try:
            data = self._disk.read(self.path, 0, _FILE_BYTES)
        except FileNotFoundError:
            return None
        except OSError as bad:
            raise self._damage(f"a read error: {bad}") from bad
        places = range(0, _FILE_BYTES, _APART)
        sound = {n: _decode(data[at : at + _SLOT_BYTES]) for n, at in enumerate(places)}
        newest = max((n for n in sound if sound[n]), key=lambda n: sound[n][0], default=None)  # type: ignore[index]
        found = sound[newest] if newest is not None else None
        if newest is None or found is None:
            raise self._damage("no sound slot in it")
        self._generation, water = found
        # All of it is from before this opening: the newest is kept until another one is durable.
        self._durable, self._writing = newest, (newest + 1) % _SLOTS
        return water

    def create(self, water: HighWater) -> None:
        """Make the file, durable before it has its name.  OSError."""
        directory, name = os.path.split(self.path)
        temporary = f"{name}.tmp"
        path = f"{self.path}.tmp"
        with contextlib.suppress(FileNotFoundError):
            self._disk.unlink(path)
        fd = self._disk.create(path)
        try:
            self._disk.fallocate(fd, _FILE_BYTES)
            write_all(self._disk, fd, water.slot(1), 0)
            publish(self._disk, directory, fd, temporary, name)
        finally:
            self._disk.close(fd)
        self._generation, self._durable, self._writing = 1, 0, 1

    def open(self) -> None:
        """Open what was read or created, for writing.  OSError."""
        self._fd = self._disk.open(self.path)

    def write(
        self, slot: bytes, seq: int, crc: int, segment: int, end: int,
        record_ms: int, boottime_ns: int, wall_ms: int,
    ) -> bytes:  # fmt: skip
        """Replace the content by a slot with other figures, which is returned.  OSError.

        It is safe from the end of this process at once.
        """
        with self._lock:
            self._generation += 1
            new = _journal.stamp(
                slot, self._generation, seq, crc, segment, end, record_ms, boottime_ns, wall_ms
            )
            write_all(self._disk, self._fd, new, self._writing * _APART)
            self._is_dirty = True
            return new

    def sync(self) -> None:
        """Make durable what was written before this call.  Blocks.  OSError."""
        with self._syncing:
            with self._lock:
                if not self._is_dirty or self._fd < 0:
                    return
                going, self._is_dirty = self._writing, False
                self._writing = next(n for n in range(_SLOTS) if n not in (going, self._durable))
            self._disk.fdatasync(self._fd)
            with self._lock:
                self._durable = going

    def files(self) -> tuple[tuple[str, int], ...]:
        """Path and descriptor, while it is open."""
        return ((self.path, self._fd),) if self._fd >= 0 else ()

    def close(self) -> None:
        """Close the file."""
        with self._syncing, self._lock:
            if self._fd >= 0:
                fd, self._fd = self._fd, -1
                self._disk.close(fd)

    def _damage(self, found: str) -> JournalFault:
        return JournalFault(
            "the journal's high-water mark is damaged",
            expected=f"{self.path} to say up to where the journal was synced",
            found=found,
            action="without it nobody can tell whether the journal's end is missing; "
            "see the section on a damaged journal in runbooks/journal.md",
        )


class Marker:
    """The writer's side: notes each sync, and when the newest record of it was taken."""

    def __init__(self, file: HighWaterFile, clock: BootClock, identity: bytes) -> None:
        self._file = file
        self._clock = clock
        self._boot_id = clock.boot_id()
        self._identity = identity
        #: What was written last.  Every commit makes a new one, so it stays packed.
        self._slot = b""
        #: Time of the newest input that was appended, and when that was; then of the batch's.
        self._appended: tuple[int, int] | None = None
        self._sealed: tuple[int, int] | None = None
        #: What the wall clock is ahead of the boot's.  It decides only after another boot.
        self._ahead_ms = self._read_ahead_ms()

    def begin(self, namespace_hash: int, epoch: int) -> HighWater:
        """Make the file for a journal whose first segment comes next.  OSError.

        There may be one already, of a begin that died.
        """
        now_ns = self._clock.boottime_ns()
        now = ResumePoint(
            record_ms=epoch,
            boot_id=self._boot_id,
            boottime_ns=now_ns,
            wall_ms=self._wall_ms(epoch, now_ns),
        )
        water = HighWater(
            namespace_hash=namespace_hash, epoch=epoch, identity=self._identity, first_seq=1,
            seq=0, crc=0, segment=1, end=0, resume=now,
        )  # fmt: skip
        self._file.create(water)
        return water

    def adopt(self, water: HighWater | None, namespace_hash: int, epoch: int) -> None:
        """Open the file of a journal that is there.  OSError.

        One that an old release wrote gets its first file here.  Nobody wrote down when its records
        were taken, so their time is taken for wall time.
        """
        if water is None:
            unknown = ResumePoint(record_ms=epoch, boot_id="", boottime_ns=0, wall_ms=epoch)
            water = HighWater(
                namespace_hash=namespace_hash, epoch=epoch, identity=self._identity, first_seq=1,
                seq=0, crc=0, segment=1, end=0, resume=unknown,
            )  # fmt: skip
            self._file.create(water)
        self._slot = water.slot()
        self._file.open()

    @property
    def water(self) -> HighWater:
        """What was written last."""
        found = _decode(self._slot)
        assert found is not None, "adopt comes first"
        return found[1]

    def appended(self, record_ms: int) -> None:
        """An input was taken just now; it counts once it is in a batch that was synced."""
        self._appended = record_ms, self._clock.boottime_ns()

    def seal(self) -> None:
        """What was appended goes into a batch."""
        if self._sealed is None and self._appended is not None:  # the first of this process
            resume = structs.replace(self.water.resume, boot_id=self._boot_id)
            self._slot = structs.replace(self.water, resume=resume).slot()
        self._sealed = self._appended

    def synced(self, seq: int, crc: int, segment: int, end: int) -> None:
        """Write that all up to ``seq`` was synced; others may act upon it then.  OSError."""
        if self._sealed is None:  # no input of this process yet
            resume = self.water.resume
            when = resume.record_ms, resume.boottime_ns, resume.wall_ms
        else:
            when = *self._sealed, self._wall_ms(*self._sealed)
        self._slot = self._file.write(self._slot, seq, crc, segment, end, *when)

    def sync(self) -> None:
        """Make durable what was written before this call.  Blocks.  OSError."""
        self._ahead_ms = self._read_ahead_ms()
        self._file.sync()

    def archived(self, first_seq: int) -> None:
        """Write, durably, that records before this one need not be here.  OSError."""
        water = structs.replace(self.water, first_seq=first_seq)
        self._slot = water.slot()
        self.synced(water.seq, water.crc, water.segment, water.end)
        self._file.sync()

    def _wall_ms(self, record_ms: int, taken_ns: int) -> int:
        """The wall's time when a record was taken; its own when that is not known."""
        return taken_ns // _NS_PER_MS + self._ahead_ms if self._boot_id else record_ms

    def _read_ahead_ms(self) -> int:
        return self._clock.now_ms() - self._clock.boottime_ns() // _NS_PER_MS
