"""Reading a journal: is every byte sound, what is in it, and the engine that follows from it.

Everything is checked each time it is read.  A reader changes nothing, so it may work beside the
process that writes.  What is damaged and had been synced is a JournalFault, never a guess.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from dita import _journal
from dita.contracts import KernelCommandType, KernelEventKind, KernelIntent, Record, VenueEvent
from dita.engine import Engine
from dita.errors import JournalFault, KernelFault, OperatorError, SettingsError
from dita.journal.disk import Disk, OsDisk
from dita.journal.records import (
    FIRST_EVENT_KIND,
    UPCASTERS,
    Entry,
    Epoch,
    Mark,
    decode_texts,
    epoch_of,
    note_of,
    record_of,
)
from dita.journal.segments import (
    SEGMENT_HEADER,
    SEGMENT_NAME,
    Segment,
    name_of,
    newer,
    numbers_of,
    read_header,
)

_REBUILD: Final = (
    "keep the directory as it is; close positions with `pink-ctl flatten --emergency`; start a new"
    " journal from the exchange's truth"
)
_CHUNK_INPUTS: Final = 4_096
_CHUNK_RECORDS: Final = 2 * _CHUNK_INPUTS
_WINDOW_BYTES: Final = 2**20
_RECORD_BYTES_MAX: Final = _journal.HEADER_SIZE + _journal.PAYLOAD_LIMIT


class Report(Record, frozen=True, kw_only=True):
    """What was found in a journal, and what was cut off its end."""

    epoch: int
    segments: int
    first_seq: int
    last_seq: int
    created: bool = False
    #: A batch that was never synced, and so never acted upon, was cut: its bytes and first number.
    torn_bytes: int = 0
    torn_segment: str = ""
    first_lost_seq: int = 0
    #: Half-made files of a process that died, removed.
    leftovers: tuple[str, ...] = ()

    @property
    def records(self) -> int:
        """Records that are there."""
        return self.last_seq - self.first_seq + 1

    def __str__(self) -> str:
        """One line for an operator."""
        text = f"{self.records} records in {self.segments} segments up to {self.last_seq}"
        if self.created:
            text += ", new"
        if self.torn_bytes:
            text += (
                f"; torn tail of {self.torn_bytes} bytes in {self.torn_segment},"
                f" lost from record {self.first_lost_seq} on (never synced, never acted upon)"
            )
        if self.leftovers:
            text += f"; leftovers: {', '.join(self.leftovers)}"
        return text


class _Window:
    """A piece of a file that moves along with a walk, so that a walk stays in the caches."""

    def __init__(self, read: Callable[[int, int], bytes], limit: int) -> None:
        self._read = read
        self._limit = limit
        self.start = 0
        self.data = b""

    def place(self, offset: int) -> int:
        """Where an offset is in ``data``, with room for any one record behind it."""
        ends = self.start + len(self.data)
        near_end = offset + _RECORD_BYTES_MAX > ends and ends < self._limit
        if near_end or offset < self.start:
            self.start = offset
            self.data = self._read(offset, min(_WINDOW_BYTES, self._limit - offset))
        return offset - self.start


class Chunk(NamedTuple):
    """Records that were walked through, and where their parts are.

    The arrays are used again for the next chunk.
    """

    segment: str
    data: bytes
    first_seq: int
    notes: array[int]
    noted: int
    inputs: bytearray
    inputs_count: int
    named: array[int]
    named_count: int
    oldest: int
    at_mark: bool

    def kinds(self) -> list[int]:
        """Kind of each noted record."""
        return [what >> 32 & 0xFF for what in self.notes[1 : 2 * self.noted : 2]]

    def crc(self, index: int) -> int:
        """Checksum of a noted record; through it and the chain it stands for all before it."""
        start = self.notes[2 * index] + 4
        return int.from_bytes(self.data[start : start + 4], "little")

    @staticmethod
    def is_input(kind: int) -> bool:
        """Is a record of this kind among the packed inputs?"""
        return kind == _journal.INPUT

    def payload(self, index: int) -> tuple[int, bytes]:
        """(kind, payload in today's version) of a noted record."""
        offset, what = self.notes[2 * index], self.notes[2 * index + 1]
        start = offset + _journal.HEADER_SIZE
        payload = bytes(self.data[start : start + (what & 0xFFFFFFFF)])
        kind, version = what >> 32 & 0xFF, what >> 40 & 0xFF
        while version < _journal.PAYLOAD_VERSION:
            upcast = UPCASTERS.get(version)
            if upcast is None:
                raise SettingsError(
                    "a record of an old version cannot be read",
                    expected=f"version {_journal.PAYLOAD_VERSION}, or an upcaster to it",
                    found=f"version {version} of record {self.first_seq + index}",
                    action="use the release that wrote it",
                )
            payload, version = upcast(kind, payload), version + 1
        return kind, payload

    def bring_up_to_date(self) -> list[tuple[int, int]]:
        """Put old inputs among the packed ones; every pair (input, record) that may bring names."""
        if self.oldest == _journal.PAYLOAD_VERSION:
            pairs = self.named[: 2 * self.named_count]
            return list(zip(pairs[::2], pairs[1::2], strict=True))
        found: list[tuple[int, int]] = []
        for index in range(self.noted):
            kind, payload = self.payload(index)
            if kind == _journal.INPUT:
                place = len(found) * _journal.INPUT_SIZE
                self.inputs[place : place + _journal.INPUT_SIZE] = payload[: _journal.INPUT_SIZE]
                found.append((len(found), index))
        return found


class Tail(NamedTuple):
    """Where a journal ends."""

    end: int
    next_seq: int
    crc: int
    #: The first byte of what no later record vouches for.
    unsynced_at: int
    #: Up to here there is something behind the end.
    torn_end: int


class JournalReader:
    """Reads a journal and changes nothing; also beside a process that writes it."""

    def __init__(self, directory: str, disk: Disk) -> None:
        self.directory = directory
        self._disk = disk
        self._segments: list[Segment] = []
        self._ends: dict[str, int] = {}  # by segment: where its records end
        self._epoch: Epoch | None = None
        self._tail = Tail(0, 1, 0, 0, 0)
        self.report = Report(epoch=0, segments=0, first_seq=1, last_seq=0)

    @classmethod
    def open(cls, directory: str | os.PathLike[str], *, disk: Disk | None = None) -> JournalReader:
        """Check every byte.  JournalFault when synced records are damaged."""
        reader = cls(os.fspath(directory), disk or OsDisk())
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
                "the journal's first segment is not here",
                expected=name_of(SEGMENT_NAME, 1),
                found=self._segments[0].name if self._segments else "no segment",
                action="start from a snapshot, or bring the archived segments back",
            )
        return self._epoch

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

    def _survey(self, vouched: int) -> None:
        """Walk through all segments; ``vouched`` is a number that is known to have been synced."""
        found = numbers_of(SEGMENT_NAME, self._disk.list(self.directory))
        if not found:
            raise OperatorError(
                "no journal here", expected=name_of(SEGMENT_NAME, 1), found=self.directory
            )
        self._segments = []
        tail = Tail(0, found[0], -1, 0, 0)
        for number in found:
            is_last = number == found[-1]
            tail = self._survey_segment(name_of(SEGMENT_NAME, number), tail, is_last, vouched)
        self._tail = tail
        torn = tail.torn_end - tail.end
        self.report = Report(
            epoch=self._segments[0].epoch,
            segments=len(found),
            first_seq=found[0],
            last_seq=tail.next_seq - 1,
            torn_bytes=torn,
            torn_segment=self._segments[-1].name if torn else "",
            first_lost_seq=tail.next_seq if torn else 0,
        )

    def _survey_segment(self, name: str, before: Tail, is_last: bool, vouched: int) -> Tail:
        segment = self._segment_of(name, self._read(name, 0, SEGMENT_HEADER.size))
        if self._segments and segment.journal != self._segments[0].journal:
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
        while True:
            local = window.place(at)
            why, end, seq, crc, found, *_ = _journal.scan(window.data, local, seq, crc)
            at, synced = window.start + end, max(synced, found)
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
        if vouched >= seq:
            found = f"the end of the journal, although {vouched} was synced (a snapshot has it)"
            raise self._damage(name, at, seq, found)
        return at + _journal.used(rest, 0)

    def _path(self, name: str) -> str:
        return f"{self.directory}/{name}"

    def _read(self, name: str, start: int, size: int = -1) -> bytes:
        try:
            return self._disk.read(self._path(name), start, size)
        except OSError as bad:
            raise self._damage(name, start, 0, f"a read error: {bad}") from bad

    def _window(self, name: str, limit: int) -> _Window:
        return _Window(lambda start, size: self._read(name, start, size), limit)

    def _segment_of(self, name: str, head: bytes) -> Segment:
        segment = read_header(name, head)
        if segment is None:  # it was synced before the file got this name
            number = numbers_of(SEGMENT_NAME, [name])[0]
            raise self._damage(name, 0, number, "no sound segment header")
        return segment

    def _read_epoch(self, name: str) -> Epoch:
        data = self._read(name, 0, _WINDOW_BYTES)
        notes, named = array("Q", bytes(16)), array("I", bytes(8))
        inputs = bytearray(_journal.INPUT_SIZE)
        _, _, seq, *_ = _journal.scan(
            data, SEGMENT_HEADER.size, 1, 0, inputs=inputs, notes=notes, named=named
        )
        if seq == 2:
            chunk = Chunk(name, data, 1, notes, 1, inputs, 0, named, 0, notes[1] >> 40, False)
            kind, payload = chunk.payload(0)
            if kind == _journal.EPOCH:
                epoch: Epoch = self._decoded(epoch_of, payload, name, 1)
                return epoch
        raise self._damage(name, SEGMENT_HEADER.size, 1, "no record that says whose this is")

    def _decoded(self, decode: Callable[..., Any], payload: bytes, name: str, seq: int) -> Any:
        try:
            return decode(payload)
        except (msgspec.MsgspecError, ValueError, TypeError, AssertionError) as bad:
            found = f"a payload that is not one: {bad}"
            raise self._damage(name, 0, seq, found) from bad

    def _damage(self, name: str, offset: int, seq: int, found: str) -> JournalFault:
        return JournalFault(
            f"the journal is damaged at record {seq}",
            expected=f"record {seq} in {self.directory}/{name} at byte {offset}",
            found=found,
            action=_REBUILD,
        )

    # -- reading what is there ---------------------------------------------------------------------

    def _walk(self, from_seq: int, stop_at_mark: bool = False) -> Iterator[Chunk]:
        """Every record from a number on, in chunks; checked again while it is read."""
        until = self._until
        if not self.first_seq <= from_seq <= until:
            raise JournalFault(
                "the journal does not have what is asked of it",
                expected=f"a first record from {self.first_seq} to {until}",
                found=f"{from_seq}: a snapshot or a cursor is older or newer than the journal",
                action="bring the missing segments back; else: " + _REBUILD,
            )
        segments = list(self._segments)
        ends = [s.first_seq for s in segments[1:]] + [until]
        for segment, end in zip(segments, ends, strict=True):
            if from_seq < min(end, until):
                yield from self._walk_segment(segment, from_seq, min(end, until), stop_at_mark)

    def _walk_segment(
        self, segment: Segment, from_seq: int, until: int, stop_at_mark: bool
    ) -> Iterator[Chunk]:
        window = self._window(segment.name, self._ends[segment.name])
        at, seq, crc = SEGMENT_HEADER.size, segment.first_seq, segment.previous
        inputs = bytearray(_CHUNK_INPUTS * _journal.INPUT_SIZE)
        notes = array("Q", bytes(16 * _CHUNK_RECORDS))
        named = array("I", bytes(8 * _CHUNK_INPUTS))
        while seq < until:
            local = window.place(at)
            why, end, seq, crc, _, count, inputs_count, named_count, oldest = _journal.scan(
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

    def chunks(self, from_seq: int) -> Iterator[Chunk]:
        """Every record from a number on, in pieces, for whoever applies many at once."""
        return self._walk(from_seq)

    def entry(self, chunk: Chunk, index: int) -> Entry:
        """A record of a chunk, decoded; ``time_ms`` of a MARK is not known here."""
        return self._entry(chunk, index, chunk.first_seq + index, 0)

    def records(self, from_seq: int = 1) -> Iterator[Entry]:
        """Every record from a number on, decoded."""
        time_ms = 0
        for chunk in self._walk(from_seq):
            for index in range(chunk.noted):
                seq = chunk.first_seq + index
                entry = self._entry(chunk, index, seq, time_ms)
                time_ms = entry.time_ms
                yield entry

    def _entry(self, chunk: Chunk, index: int, seq: int, time_ms: int) -> Entry:
        kind, payload = chunk.payload(index)
        if kind == _journal.MARK:
            return Entry(seq, time_ms, Mark(payload.hex()))
        if kind == _journal.EPOCH:
            epoch = self._decoded(epoch_of, payload, chunk.segment, seq)
            return Entry(seq, epoch.created_ms, epoch)
        if kind == _journal.NOTE:
            note = self._decoded(note_of, payload, chunk.segment, seq)
            return Entry(seq, note.time_ms, note)
        packed, texts = payload[: _journal.INPUT_SIZE], payload[_journal.INPUT_SIZE :]
        record = self._decoded(lambda t: record_of(packed, t), texts, chunk.segment, seq)
        return Entry(seq, record.received_ms, record, _journal.order_no(packed))

    def replay_into(self, engine: Engine, from_seq: int = 1) -> int:
        """Apply every input from a number on; how many.  Every MARK is checked where it stands."""
        done = 0
        for chunk in self._walk(from_seq, stop_at_mark=True):
            names = chunk.bring_up_to_date()
            if chunk.inputs_count:
                inputs = memoryview(chunk.inputs)[: chunk.inputs_count * _journal.INPUT_SIZE]
                count, outcomes = engine.apply_batch(bytes(inputs))
                self._learn(engine, chunk, names, outcomes)
                done += count
            if chunk.at_mark:
                self._check_mark(engine, chunk)
        engine.kernel.index_clients()
        return done

    def _learn(
        self, engine: Engine, chunk: Chunk, names: list[tuple[int, int]], outcomes: bytearray
    ) -> None:
        """Teach the kernel the texts behind its keys, as it learnt them when they came."""
        kernel = engine.kernel
        size, out_size = kernel.record_sizes()
        for number, index in names:
            payload = chunk.payload(index)[1]
            texts = self._decoded(decode_texts, payload[size:], chunk.segment, 0)
            outcome = bytes(outcomes[number * out_size : (number + 1) * out_size])
            kind, accepted, _ = kernel.peek(payload[:size], outcome)
            venue_id = texts[2 if kind >= FIRST_EVENT_KIND else 3]
            if venue_id:  # packing is what makes the kernel remember it
                kernel.pack(_nothing(venue_order_id=venue_id))
            if accepted and kind < FIRST_EVENT_KIND:
                intent_id, trade_id, asset = texts[:3]
                kernel.learn(
                    KernelIntent(
                        command=KernelCommandType.CONTROL,
                        received_ms=0,
                        intent_id=intent_id,
                        trade_id=trade_id,
                        asset=asset,
                    )
                )

    def _check_mark(self, engine: Engine, chunk: Chunk) -> None:
        seq = chunk.first_seq + chunk.noted - 1
        expected = chunk.payload(chunk.noted - 1)[1].hex()
        found = engine.state_hash()
        if found != expected:
            raise KernelFault(
                f"replay differs from what was live, before record {seq}",
                expected=f"state hash {expected}",
                found=found,
                action="use the release that wrote the journal; report it with the journal",
            )


def _nothing(**fields: Any) -> VenueEvent:
    return VenueEvent(kind=KernelEventKind.TICK, received_ms=0, **fields)
