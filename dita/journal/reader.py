"""Reading a journal: is every byte sound, what is in it, and the engine that follows from it.

Everything is checked each time it is read.  A reader changes nothing, so it may work beside the
process that writes.  What is damaged and had been synced is a JournalFault, never a guess.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from dita import _journal
from dita.engine import Engine
from dita.errors import JournalFault, KernelFault, OperatorError
from dita.journal.chunks import (
    INPUTS,
    RECORD_BYTES_MAX,
    WINDOW_BYTES,
    Chunk,
    Tail,
    Window,
    first_records,
    late_mark,
)
from dita.journal.disk import Disk, OsDisk
from dita.journal.epochs import Epoch, epoch_of
from dita.journal.failing import REBUILD, damaged
from dita.journal.highwater import HighWater, HighWaterFile
from dita.journal.names import teach
from dita.journal.records import Entry, Mark, decode_texts, other_of, record_of, told_ms
from dita.journal.report import Report
from dita.journal.segments import (
    SEGMENT_HEADER,
    SEGMENT_NAME,
    Segment,
    name_of,
    newer,
    numbers_of,
    read_header,
)

_CHUNK_INPUTS: Final = 4_096
_CHUNK_RECORDS: Final = 2 * _CHUNK_INPUTS


class JournalReader:
    """Reads a journal and changes nothing; also beside a process that writes it."""

    def __init__(self, directory: str | os.PathLike[str], disk: Disk) -> None:
        self.directory = os.path.realpath(directory)
        self._disk = disk
        self._water = HighWaterFile(disk, self.directory)
        self._high: HighWater | None = None
        self._segments: list[Segment] = []
        self._ends: dict[str, int] = {}  # by segment: where its records end
        #: Inputs that broke an invariant, ascending: a record behind each one says so.
        self._quarantined: list[int] = []
        #: Marks that came later than the record they are about, oldest first.
        self._late_marks: list[Mark] = []
        #: Number of the newest input; 0 for none.
        self.newest_input = 0
        self._epoch: Epoch | None = None
        self._tail = Tail(0, 1, 0, 0, 0)
        self.report = Report(epoch=0, segments=0, first_seq=1, last_seq=0)

    @classmethod
    def open(cls, directory: str | os.PathLike[str], *, disk: Disk | None = None) -> JournalReader:
        """Check every byte.  JournalFault when synced records are damaged."""
        reader = cls(directory, disk or OsDisk())
        for retry in (True, True, False):
            try:
                reader._survey(0)
                break
            except JournalFault:
                # Beside a writer a copy may hold newer pages behind older ones: look again.
                if not retry:
                    raise
        return reader

    @property
    def epoch(self) -> Epoch:
        """Whose journal this is."""
        if self._epoch is None:
            raise OperatorError(
                "the journal's first segments were archived",
                expected=name_of(SEGMENT_NAME, 1),
                found=self._segments[0].name if self._segments else "no segment",
                action=f"copy the archived segments back into {self.directory}",
            )
        return self._epoch

    def hold_to_rules(self) -> None:
        """OtherRules when other rules than these wrote it.  Of what was archived only a snapshot
        says which they were."""
        if self._epoch is not None:
            self._epoch.rules.hold(f"journal {self._epoch.number} in {self.directory}")

    @property
    def is_archived(self) -> bool:
        """Were the oldest segments moved elsewhere, so that only a snapshot knows their state?"""
        return self.first_seq > 1

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Those that are here, oldest first."""
        return tuple(self._segments)

    @property
    def first_seq(self) -> int:
        """Number of the oldest record that is here."""
        return self.report.first_seq

    @property
    def _until(self) -> int:
        """The first number that is not read."""
        return self._tail.next_seq

    def verify(self) -> Report:
        """Check every byte again.  JournalFault when synced records are damaged."""
        return JournalReader.open(self.directory, disk=self._disk).report

    # -- finding what is there ---------------------------------------------------------------------

    def _numbers(self) -> list[int]:
        try:
            return numbers_of(SEGMENT_NAME, self._disk.list(self.directory))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _survey(self, vouched: int) -> None:
        """Walk through all segments; ``vouched`` is a number that is known to have been synced."""
        # Read first: beside a writer the segments are then at least as far as it says.
        self._high = self._water.read()
        found = self._numbers()
        if not found:
            raise self._nothing_here(vouched)
        if found[0] > self._oldest:
            missing = f"{name_of(SEGMENT_NAME, found[0])} is the first segment here"
            raise self._damage(name_of(SEGMENT_NAME, self._oldest), 0, self._oldest, missing)
        self._segments, self._quarantined, self.newest_input = [], [], 0
        self._late_marks = []
        tail = Tail(0, found[0], -1, 0, 0)
        for number in found:
            is_last = number == found[-1]
            tail = self._survey_segment(name_of(SEGMENT_NAME, number), tail, is_last, vouched)
        if self._high is None and any(segment.size for segment in self._segments):
            raise self._damage(name_of(SEGMENT_NAME, number), tail.end, tail.next_seq, (
                f"no {self._water.path}, which says up to where the journal was synced"
            ))  # fmt: skip
        self._tail = tail
        torn = tail.torn_end - tail.end
        self.report = Report(
            epoch=self._segments[0].epoch,
            segments=len(found),
            first_seq=found[0],
            last_seq=tail.next_seq - 1,
            synced=self._high.seq if self._high else 0,
            torn_bytes=torn,
            torn_segment=self._segments[-1].name if torn else "",
            first_lost_seq=tail.next_seq if torn else 0,
        )

    @property
    def _oldest(self) -> int:
        """The oldest record that has to be here."""
        return self._high.first_seq if self._high else 1

    def _nothing_here(self, vouched: int, known_epoch: int = 0) -> JournalFault | OperatorError:
        synced = max(vouched, self._high.seq if self._high else 0)
        if synced or known_epoch:
            who = self._who_vouches(synced) if synced else f"journal {known_epoch} was begun here"
            found = f"no segment at all, although {who}"
            return self._damage(name_of(SEGMENT_NAME, self._oldest), 0, self._oldest, found)
        return OperatorError(
            "no journal here",
            expected=name_of(SEGMENT_NAME, 1),
            found=self.directory,
            action="name the --state-dir or the --config of the serve that you mean",
        )

    def _survey_segment(self, name: str, before: Tail, is_last: bool, vouched: int) -> Tail:
        segment = self._segment_of(name, self._read(name, 0, SEGMENT_HEADER.size))
        first = self._segments[0] if self._segments else self._high
        if first is not None and segment.journal != (first.namespace_hash, first.epoch):
            raise self._damage(name, 0, before.next_seq, "a segment of another journal")
        chained = before.crc in (-1, segment.previous)
        if segment.first_seq != before.next_seq or not chained:
            found = f"{name} begins at record {segment.first_seq}; what came before is missing"
            raise self._damage(name, 0, before.next_seq, found)
        why, at, seq, crc, unsynced_at = self._scan_through(segment)
        if why == _journal.NEWER:
            raise newer(f"record {seq} in {name}", "a newer kind or version")
        if not is_last and why == _journal.BAD:
            found = "bad bytes, although the next segment says that all of this one was synced"
            raise self._damage(name, at, seq, found)
        size = self._disk.size(self._path(name))
        if size < segment.size:
            found = f"a file of {size} bytes that was made with {segment.size}"
            raise self._damage(name, at, seq, found)
        if not self._segments and segment.first_seq == 1:
            self._epoch = self._read_epoch(name)
        self._segments.append(segment)
        self._ends[name] = at
        torn_end = self._torn_end(name, at, seq, vouched) if is_last else at
        return Tail(at, seq, crc, unsynced_at, torn_end)

    def _scan_through(self, segment: Segment) -> tuple[int, int, int, int, int]:
        """Why the records end, where, next number, last checksum, from where nothing vouches."""
        window = self._window(segment.name, self._disk.size(self._path(segment.name)))
        at, seq, crc = SEGMENT_HEADER.size, segment.first_seq, segment.previous
        synced = seq - 1  # the segment before was, when this one was begun
        places = [(at, seq, crc)]  # of each window's start
        marked = self._high.seq if self._high else 0
        while True:
            local = window.place(at)
            stop = marked + 1 if seq <= marked else 0
            why, end, seq, crc, found, *_, newest_input = _journal.scan(
                window.data, local, seq, crc, until=stop, stop_at_quarantine=True,
                stop_at_mark=True,
            )  # fmt: skip
            at, synced = window.start + end, max(synced, found)
            self.newest_input = newest_input or self.newest_input
            if why == _journal.AT_QUARANTINE:
                self._quarantined.append(self.newest_input)
            if why == _journal.AT_MARK and (late := late_mark(window.data, end, seq - 1)):
                self._late_marks.append(late)
            if self._high and seq == stop and crc != self._high.crc:
                raise self._damage(segment.name, at, marked, (
                    "another record of that number than was synced: another history of this"
                    " journal, perhaps out of a backup"
                ))  # fmt: skip
            if end == local:
                break
            places.append((at, seq, crc))
        unsynced_at, first, previous = next(p for p in reversed(places) if p[1] <= synced + 1)
        while first <= synced:
            local = window.place(unsynced_at)
            _, end, first, previous, *_ = _journal.scan(
                window.data, local, first, previous, until=synced + 1
            )
            unsynced_at = window.start + end
        return why, at, seq, crc, unsynced_at

    def _torn_end(self, name: str, at: int, seq: int, vouched: int) -> int:
        """Where a torn tail ends.  JournalFault when it is not one: its data had been synced."""
        rest = self._read(name, at)
        _, witness, synced = _journal.later(rest, 0, seq)
        if synced >= seq:
            found = f"bad bytes, although record {witness} says that all up to {synced} was synced"
            raise self._damage(name, at, seq, found)
        known = max(vouched, self._high.seq if self._high else 0)
        if known >= seq:
            found = f"the end of what is sound, although {self._who_vouches(known)}"
            raise self._damage(name, at, seq, found)
        return at + _journal.used(rest, 0)

    def _who_vouches(self, synced: int) -> str:
        if self._high is None or self._high.seq < synced:
            return f"{synced} was synced (a snapshot has it)"
        return f"{synced} was synced, the last one, in {self._high.place}"

    def _path(self, name: str) -> str:
        return f"{self.directory}/{name}"

    def _read(self, name: str, start: int, size: int = -1) -> bytes:
        try:
            return self._disk.read(self._path(name), start, size)
        except OSError as bad:
            raise self._damage(name, start, 0, f"a read error: {bad}") from bad

    def _window(self, name: str, limit: int) -> Window:
        return Window(lambda start, size: self._read(name, start, size), limit)

    def _segment_of(self, name: str, head: bytes) -> Segment:
        segment = read_header(name, head)
        if segment is None:  # it was synced before the file got this name
            number = numbers_of(SEGMENT_NAME, [name])[0]
            raise self._damage(name, 0, number, "no sound segment header")
        return segment

    def _read_epoch(self, name: str) -> Epoch:
        """The first record, and behind it the state that it goes on from, if there is one."""
        found = first_records(self._read(name, 0, WINDOW_BYTES), name, 1)
        if not found or found[0][0] != _journal.EPOCH:
            what = "no record that says whose this is"
            raise self._damage(name, SEGMENT_HEADER.size, 1, what)
        epoch: Epoch = self._decoded(epoch_of, found[0][1], name, 1)
        if epoch.before is None:
            return epoch
        pieces = epoch.before.pieces
        data = self._read(name, 0, (pieces + 1) * RECORD_BYTES_MAX)
        found = first_records(data, name, pieces + 1)[1:]
        if [kind for kind, _ in found] != [_journal.CARRIED] * pieces:
            what = f"{len(found)} of the {pieces} pieces of the state before it"
            raise self._damage(name, SEGMENT_HEADER.size, 2, what)
        return replace(epoch, carried=b"".join(payload for _, payload in found))

    def _decoded(self, decode: Callable[..., Any], payload: bytes, name: str, seq: int) -> Any:
        try:
            return decode(payload)
        except (msgspec.MsgspecError, ValueError, TypeError, AssertionError) as bad:
            found = f"a payload that is not one: {bad}"
            raise self._damage(name, 0, seq, found) from bad

    def _damage(self, name: str, offset: int, seq: int, found: str) -> JournalFault:
        return damaged(f"{self.directory}/{name}", offset, seq, found)

    # -- reading what is there ---------------------------------------------------------------------

    def _walk(
        self, from_seq: int, until: int, *, applied: bool = False, stop_at_mark: bool = False
    ) -> Iterator[Chunk]:
        """Records from a number on and before another, in chunks; checked again while it is read.

        With ``applied`` only those that are applied: a quarantined one is passed over.
        """
        if not self.first_seq <= from_seq <= until <= self._until:
            raise JournalFault(
                "the journal does not have what is asked of it",
                expected=f"records from {self.first_seq} to {self._until - 1}",
                found=f"{from_seq} to {until - 1}: a snapshot or a cursor is older or newer than"
                " the journal",
                action="bring the missing segments back; else: " + REBUILD,
            )
        hidden = [n for n in self._quarantined if from_seq <= n < until] if applied else []
        for start, end in zip([from_seq, *(n + 1 for n in hidden)], [*hidden, until], strict=True):
            yield from self._walk_segments(start, end, stop_at_mark)

    def _walk_segments(self, from_seq: int, until: int, stop_at_mark: bool) -> Iterator[Chunk]:
        segments = list(self._segments)
        ends = [s.first_seq for s in segments[1:]] + [until]
        for segment, end in zip(segments, ends, strict=True):
            if from_seq < min(end, until) and segment.first_seq < until:
                yield from self._walk_segment(segment, from_seq, min(end, until), stop_at_mark)

    def _start_in(self, segment: Segment, from_seq: int) -> tuple[int, int, int]:
        """Where a walk to a record begins: byte, number, and the checksum before it."""
        return SEGMENT_HEADER.size, segment.first_seq, segment.previous

    def _walk_segment(
        self, segment: Segment, from_seq: int, until: int, stop_at_mark: bool
    ) -> Iterator[Chunk]:
        window = self._window(segment.name, self._ends[segment.name])
        at, seq, crc = self._start_in(segment, from_seq)
        inputs = bytearray(_CHUNK_INPUTS * _journal.INPUT_SIZE)
        notes = array("Q", bytes(16 * _CHUNK_RECORDS))
        named = array("I", bytes(8 * _CHUNK_INPUTS))
        while seq < until:
            local = window.place(at)
            why, end, seq, crc, _, count, inputs_count, named_count, oldest, _ = _journal.scan(
                window.data, local, seq, crc, first=from_seq, until=until, inputs=inputs,
                notes=notes, named=named, stop_at_mark=stop_at_mark,
            )  # fmt: skip
            if end == local:
                raise self._damage(segment.name, at, seq, "bad bytes that were sound when opened")
            at = window.start + end
            yield Chunk(
                segment.name, window.data, seq - count, notes, count, inputs, inputs_count, named,
                named_count, oldest, why == _journal.AT_MARK,
            )  # fmt: skip

    @property
    def quarantined(self) -> tuple[int, ...]:
        """Numbers of the inputs that are never applied, oldest first."""
        return tuple(self._quarantined)

    def chunks(self, from_seq: int) -> Iterator[Chunk]:
        """What is applied from a number on, in pieces, for whoever applies many at once; marks and
        notes are among it.  OtherRules when it was written by another release's."""
        self.hold_to_rules()
        return self._walk(from_seq, self._until, applied=True)

    def entry(self, chunk: Chunk, index: int) -> Entry:
        """A record of a chunk, decoded; ``time_ms`` of a MARK is not known here."""
        return self._entry(chunk, index, chunk.first_seq + index, 0)

    def records(self, from_seq: int = 1) -> Iterator[Entry]:
        """Every record from a number on, decoded; also what is quarantined, which says so."""
        time_ms = 0
        hidden = frozenset(self._quarantined)
        for chunk in self._walk(from_seq, self._until):
            for index in range(chunk.noted):
                seq = chunk.first_seq + index
                entry = self._entry(chunk, index, seq, time_ms)
                time_ms = entry.time_ms
                yield entry._replace(quarantined=True) if seq in hidden else entry

    def _entry(self, chunk: Chunk, index: int, seq: int, time_ms: int) -> Entry:
        kind, payload = chunk.payload(index)
        if kind not in INPUTS:
            other = self._decoded(lambda p: other_of(kind, p), payload, chunk.segment, seq)
            return Entry(seq, told_ms(other) or time_ms, other)
        packed, texts = payload[: _journal.INPUT_SIZE], payload[_journal.INPUT_SIZE :]
        record = self._decoded(lambda t: record_of(packed, t), texts, chunk.segment, seq)
        quarantines = kind == _journal.QUARANTINE
        order_no = _journal.order_no(packed)
        return Entry(seq, record.received_ms, record, order_no, quarantines=quarantines)

    def replay_into(self, engine: Engine, from_seq: int = 1, until: int = 0) -> int:
        """Apply every input from a number on (and before ``until``, if given); how many.

        What is quarantined is passed over, in every release, and every MARK is checked where it
        stands.  A KernelFault from the engine is an input that breaks an invariant; when that is
        the newest record, its quarantine was not yet written when the process died.
        """
        self.hold_to_rules()
        done, at, end = 0, from_seq, until or self._until
        for mark in self._late_marks:
            if at <= mark.of + 1 <= end:
                done += self._replay_part(engine, at, mark.of + 1)
                at = mark.of + 1
                self._hold_to_mark(engine, mark.state_hash, at)
        done += self._replay_part(engine, at, end)
        engine.kernel.index_clients()
        return done

    def _replay_part(self, engine: Engine, from_seq: int, until: int) -> int:
        done = 0
        for chunk in self._walk(from_seq, until, applied=True, stop_at_mark=True):
            names = chunk.bring_up_to_date()
            if chunk.inputs_count:
                inputs = memoryview(chunk.inputs)[: chunk.inputs_count * _journal.INPUT_SIZE]
                count, outcomes = engine.apply_batch(bytes(inputs))
                teach(engine.kernel, chunk, names, outcomes, self._texts)
                done += count
            if chunk.at_mark:
                seq = chunk.first_seq + chunk.noted - 1
                mark = self._entry(chunk, chunk.noted - 1, seq, 0).record
                if isinstance(mark, Mark) and not mark.of:
                    self._hold_to_mark(engine, mark.state_hash, seq)
        return done

    def _texts(self, chunk: Chunk, payload: bytes) -> Any:
        return self._decoded(decode_texts, payload, chunk.segment, 0)

    def _hold_to_mark(self, engine: Engine, expected: str, before: int) -> None:
        found = engine.state_hash()
        if found != expected:
            raise KernelFault(
                f"replay differs from what was live, before record {before}",
                expected=f"state hash {expected}",
                found=found,
                action="use the release that wrote the journal; report it with the journal",
            )
