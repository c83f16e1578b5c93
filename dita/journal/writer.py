"""Writing a journal: collect, write, sync; roll over to the next segment; keep a reserve.

The runtime appends and commits here and nowhere else.  A full disk is an answer that can be mended
(JournalFull); any other error ends all writing at once (JournalFault), and nothing is tried again.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Final
from weakref import WeakSet

from msgspec.structs import replace

from dita import _journal
from dita.account import AccountConfig
from dita.clock import BootClock, SystemClock
from dita.contracts import KernelIntent
from dita.errors import (
    AlreadyRunning,
    BadField,
    DitaError,
    JournalFault,
)
from dita.journal import epochs, records
from dita.journal.disk import FULL_ERRORS, Disk, OsDisk, publish, write_all
from dita.journal.epochs import Epoch
from dita.journal.failing import (
    JournalFull,
    cannot_be_written,
    disk_full,
    of_another_namespace,
    takes_nothing,
)
from dita.journal.highwater import Marker, ResumePoint
from dita.journal.reader import JournalReader
from dita.journal.records import Input, Note, texts_of
from dita.journal.segments import (
    SEGMENT_HEADER,
    SEGMENT_NAME,
    TEMPORARY,
    Segment,
    name_of,
    namespace_hash_of,
)
from dita.journal.space import SegmentFiles
from dita.kernel import KernelConfig

SEGMENT_BYTES: Final = 64 * 2**20
#: Records that wait in memory for a disk that takes nothing; beyond it appends are refused.
PENDING_BYTES_MAX: Final = 64 * 2**20


_open_here: WeakSet[Journal] = WeakSet()


class Journal(JournalReader):
    """The one writer.  ``append`` collects, ``write_and_sync`` makes durable, in that order.

    The two may run in different threads; everything else belongs to the thread that appends.
    """

    def __init__(
        self, directory: str, disk: Disk, segment_bytes: int, clock: BootClock, identity: bytes
    ) -> None:
        super().__init__(directory, disk)
        self._segment_bytes = segment_bytes
        self._marker = Marker(self._water, clock, identity)
        self._lock = threading.Lock()
        self._broken = ""
        self._fd = -1
        self._size = 0  # of the current segment
        self._end = 0  # of what was written to it
        self._crc = 0  # of the last record written
        self._batch = b""  # sealed, and not yet all written
        self._batch_at = 0
        self._writer = _journal.Writer(1, 0, PENDING_BYTES_MAX)
        self._files = SegmentFiles(disk, self.directory, segment_bytes)
        #: Every record up to this number is durable.
        self.synced_up_to = 0

    @classmethod
    def open(  # type: ignore[override]
        cls,
        directory: str | os.PathLike[str],
        *,
        namespace: str,
        created_ms: int,
        kernel: KernelConfig | None = None,
        account: AccountConfig | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        reserve_bytes: int = 0,
        vouched: int = 0,
        known_epoch: int = 0,
        identity: bytes = b"",
        disk: Disk | None = None,
        clock: BootClock | None = None,
    ) -> Journal:
        """Open for writing; an empty directory becomes a new journal.

        ``created_ms``, ``kernel``, ``account`` and ``identity`` (up to 16 random bytes, which
        copies of the directory then share) count only then: its epoch is minted from the time.
        ``vouched`` is a number that the caller knows to have been synced (its newest
        snapshot's, a sink's): a journal that ends before it is damaged, not torn.  ``known_epoch``
        is that of the journal which the caller knows was begun here: no other takes its place.
        """
        config = replace(kernel or KernelConfig(), namespace=namespace, epoch=created_ms)
        epoch = Epoch(created_ms=created_ms, kernel=config, account=account or AccountConfig())
        journal = cls._locked(directory, disk or OsDisk(), segment_bytes, clock, identity)
        try:
            journal._start(epoch, vouched, reserve_bytes, known_epoch)
        except BaseException:
            journal._let_go()
            raise
        return journal

    @classmethod
    def _locked(
        cls,
        directory: str | os.PathLike[str],
        disk: Disk,
        segment_bytes: int,
        clock: BootClock | None,
        identity: bytes,
    ) -> Journal:
        path = os.path.realpath(directory)
        if any(other.directory == path and other._disk == disk for other in _open_here):
            raise AlreadyRunning(
                "the journal is open in this process already",
                found=path,
                action="use the one that is open, or close it",
            )
        journal = cls(path, disk, segment_bytes, clock or SystemClock(), identity)
        _open_here.add(journal)
        return journal

    # -- opening -----------------------------------------------------------------------------------

    def _start(self, epoch: Epoch, vouched: int, reserve_bytes: int, known_epoch: int = 0) -> None:
        disk = self._disk
        self._high = self._water.read()
        created = not self._numbers()
        if created and (vouched or known_epoch or (self._high and self._high.seq)):
            raise self._nothing_here(vouched, known_epoch)
        disk.make_directory(self.directory)
        leftovers = [n for n in disk.list(self.directory) if n.endswith(".tmp")]
        for name in leftovers:
            disk.unlink(f"{self.directory}/{name}")
        if created:
            self._create(epoch)
        self._survey(vouched)
        self.hold_to_rules()
        if known_epoch not in (0, self.report.epoch):
            found = f"journal {self.report.epoch}; journal {known_epoch} was begun here"
            raise self._damage(self._segments[0].name, 0, 1, found)
        if self._segments[0].namespace_hash != namespace_hash_of(epoch.namespace):
            found = self._epoch.namespace if self._epoch else "another"
            raise of_another_namespace(epoch.namespace, found)
        self._adopt_tail()
        self.report = replace(self.report, created=created, leftovers=tuple(leftovers))
        self.hold_reserve(reserve_bytes)

    def _create(self, epoch: Epoch) -> None:
        """The high-water mark, then the first segment: a journal never lacks its mark.

        The first record is in the segment before that gets its name.
        """
        space = namespace_hash_of(epoch.namespace)
        writer = _journal.Writer(1, 0, PENDING_BYTES_MAX)
        writer.put_other(_journal.EPOCH, epochs.epoch_payload(epoch))
        for piece in epochs.split(epoch.carried):
            writer.put_other(_journal.CARRIED, piece)
        opening = writer.take(0)
        try:
            self._high = self._marker.begin(space, epoch.number)
            fd, size = self._files.new(SEGMENT_HEADER.size + len(opening))
            segment = Segment(name_of(SEGMENT_NAME, 1), 1, 0, space, epoch.number, size)
            try:
                write_all(self._disk, fd, segment.header() + opening, 0)
                publish(self._disk, self.directory, fd, TEMPORARY, segment.name)
            finally:
                self._disk.close(fd)
        except OSError as bad:
            raise self._failed(bad) from bad

    def _adopt_tail(self) -> None:
        """Cut what is torn, and make durable what a dead process may have left in the cache.

        Written again before it is synced: after a failed sync a page may be clean and yet not on
        the disk, and then syncing alone would say yes and do nothing.
        """
        tail, name = self._tail, self._segments[-1].name
        path = self._path(name)
        again = self._read(name, tail.unsynced_at, tail.end - tail.unsynced_at)
        self._fd, self._size, self._end = self._disk.open(path), self._disk.size(path), tail.end
        try:
            write_all(self._disk, self._fd, again, tail.unsynced_at)
            write_all(self._disk, self._fd, bytes(tail.torn_end - tail.end), tail.end)
        except OSError as bad:
            raise self._failed(bad) from bad
        self._sync(self._fd)
        self._crc = tail.crc
        first = self._segments[0]
        try:
            self._marker.adopt(self._high, first.namespace_hash, first.epoch)
        except OSError as bad:
            raise self._failed(bad) from bad
        self._note_synced(tail.next_seq - 1)
        self.sync_high_water()
        self._writer = _journal.Writer(tail.next_seq, tail.crc, PENDING_BYTES_MAX)

    # -- appending ---------------------------------------------------------------------------------

    def append(self, record: Input, packed: bytes) -> int:
        """Collect an input, packed by the kernel that applies it next.  Gives its number.

        BadField for a reason that is too long, JournalFull when nothing more can wait.
        """
        return self._append(record, packed, False)

    def append_quarantine(self, record: KernelIntent, packed: bytes) -> int:
        """Collect the intent that takes the newest input out of the state.

        Whoever replays passes over that input then and applies this one.  Gives its number.
        """
        seq = self._append(record, packed, True)
        self._quarantined.append(self.newest_input)
        return seq

    def _append(self, record: Input, packed: bytes, quarantines: bool) -> int:
        if self._broken:
            raise self._refusal()
        texts = texts_of(record, packed)
        try:
            seq = self._writer.put_input(packed, texts, quarantines)
        except BufferError:
            raise self._full("an input was not accepted: too many wait already") from None
        if not quarantines:  # that one has the time of what it takes out, which may be long ago
            self.newest_input = seq
            self._marker.appended(record.received_ms)
        return seq

    def append_mark(self, state_hash: str, of: int = 0) -> int:
        """Collect the hash of the state after everything appended so far, or after record ``of``.

        Gives its number.
        """
        if self._broken:
            raise self._refusal()
        if not 0 <= of <= self.last_seq:
            raise BadField("of", of, f"0 to {self.last_seq}")
        return self._append_other(_journal.MARK, records.mark_payload(state_hash, of), "a mark")

    def append_note(self, note: Note) -> int:
        """Collect a note of the runtime.  Gives its number."""
        return self._append_other(_journal.NOTE, records.note_payload(note), "a note")

    def _append_other(self, kind: int, payload: bytes, what: str) -> int:
        if self._broken:
            raise self._refusal()
        try:
            return self._writer.put_other(kind, payload)
        except BufferError:
            raise self._full(f"{what} was not accepted: too many records wait already") from None

    @property
    def resume_point(self) -> ResumePoint:
        """Where the records' time goes on from: at a start, after it has ended."""
        return self._marker.water.resume

    @property
    def identity(self) -> bytes:
        """What this journal shares with copies of its files, and with nothing else."""
        return self._marker.water.identity

    @property
    def last_seq(self) -> int:
        """Number of the newest record, durable or not."""
        return self._writer.next_seq - 1

    @property
    def pending(self) -> int:
        """Records that are not durable yet."""
        return self.last_seq - self.synced_up_to

    @property
    def pending_bytes(self) -> int:
        """Bytes that wait in memory."""
        return len(self._batch) - self._batch_at + self._writer.pending_bytes

    @property
    def _until(self) -> int:
        return self.synced_up_to + 1

    # -- making durable ----------------------------------------------------------------------------

    def write_and_sync(self) -> int:
        """Write everything that was appended, and sync.  Gives ``synced_up_to``.

        JournalFull when the disk is: what does not go in waits, and a later call tries again.
        JournalFault for any other error: nothing is tried again, the journal refuses everything.
        """
        with self._lock:
            if self._broken:
                raise self._refusal()
            try:
                if self._batch:
                    self._write_batch()
                if self._writer.pending:
                    self._marker.seal()
                    self._batch, self._batch_at = self._writer.take(self.synced_up_to), 0
                    self._write_batch()
            except OSError as bad:
                raise self._failed(bad) from bad
            except DitaError:
                raise
            except BaseException as bad:  # in the middle of something, and nobody knows of what
                self._break(f"an interruption ({type(bad).__name__})")
                raise
            return self.synced_up_to

    def _write_batch(self) -> None:
        batch = self._batch
        while self._batch_at < len(batch):
            start = self._batch_at
            end, last, crc = _journal.fit(batch, start, self._size - self._end)
            if end > start:
                write_all(self._disk, self._fd, memoryview(batch)[start:end], self._end)
                self._sync(self._fd)
                self._end += end - start
                self._ends[self._segments[-1].name] = self._end
                self._batch_at, self._crc = end, crc
                self._note_synced(last)
            if end < len(batch):
                self._roll()
        self._batch = b""

    def _note_synced(self, seq: int) -> None:
        """Write the high-water mark; from then on others may act upon what was synced."""
        try:
            self._marker.synced(seq, self._crc, self._segments[-1].first_seq, self._end)
        except OSError as bad:
            raise self._break(f"a failed write of {self._water.path}: {bad}") from bad
        self.synced_up_to = seq

    def sync_high_water(self) -> None:
        """Make the high-water mark durable; beside commits, in a thread of its own.

        JournalFault when that fails, and nothing is tried again.
        """
        try:
            self._marker.sync()
        except OSError as bad:
            raise self._break(f"a failed sync of {self._water.path}: {bad}") from bad

    def _sync(self, fd: int) -> None:
        try:
            self._disk.fdatasync(fd)
        except OSError as bad:
            raise self._break(f"a failed sync: {bad}") from bad

    def _roll(self) -> None:
        """Begin the next segment.  All of the current one is synced: its successor says so."""
        first, seq = self._segments[0], self.synced_up_to + 1
        name = name_of(SEGMENT_NAME, seq)
        fd, size = self._files.new()
        segment = Segment(name, seq, self._crc, first.namespace_hash, first.epoch, size)
        try:
            write_all(self._disk, fd, segment.header(), 0)
            self._sync(fd)
            self._disk.rename(f"{self.directory}/{TEMPORARY}", f"{self.directory}/{name}")
        except BaseException:
            self._files.drop(fd)
            raise
        try:
            self._disk.fsync_directory(self.directory)
        except OSError as bad:
            self._disk.close(fd)
            raise self._break(f"a failed sync of the directory: {bad}") from bad
        self._disk.close(self._fd)
        self._fd, self._size, self._end = fd, size, SEGMENT_HEADER.size
        self._ends[name] = self._end
        self._segments.append(segment)

    # -- space -------------------------------------------------------------------------------------

    @property
    def reserve_bytes(self) -> int:
        """Space that is kept for exits."""
        return self._files.reserve_bytes

    def hold_reserve(self, at_least: int) -> int:
        """Set space aside, in whole segments; how much there is now, less than asked if full."""
        with self._lock:
            try:
                self._files.hold(at_least)
            except OSError as bad:
                raise self._failed(bad) from bad
        return self.reserve_bytes

    def free_reserve(self) -> int:
        """Let the coming segments use the space set aside; how much that is."""
        return self._files.free()

    # -- the end -----------------------------------------------------------------------------------

    def close(self, state_hash: str = "") -> None:
        """Make everything durable and let go of the files.

        With the final state's hash a MARK is written last, in a batch of its own: it says that all
        before it was synced.
        """
        try:
            if not self._broken:
                self.write_and_sync()
                if state_hash:
                    self.append_mark(state_hash)
                    self.write_and_sync()
                self.sync_high_water()
        finally:
            self._broken = self._broken or "it was closed"
            self._let_go()

    def _let_go(self) -> None:
        _open_here.discard(self)
        with contextlib.suppress(OSError):
            self._water.close()
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                self._disk.close(self._fd)
            self._fd = -1

    # -- what can go wrong -------------------------------------------------------------------------

    def _failed(self, bad: OSError) -> DitaError:
        if bad.errno in FULL_ERRORS:
            return self._full(f"{self.pending} records wait in memory ({bad.strerror})")
        return self._break(f"a failed write: {bad}")

    def _full(self, found: str) -> JournalFull:
        return disk_full(self.directory, self._segment_bytes, found)

    def _break(self, found: str) -> JournalFault:
        self._broken = found
        return cannot_be_written(self.directory, self.last_seq, found)

    def _refusal(self) -> JournalFault:
        return takes_nothing(self._broken)
