"""A walk through a segment's bytes, a piece at a time, and the records that are found in a piece.

The reader walks; this knows where a record's parts are and brings old ones up to date.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Final, NamedTuple

from dita import _journal
from dita.errors import SettingsError
from dita.journal.records import LATE_MARK_BYTES, UPCASTERS, Mark, mark_of
from dita.journal.segments import SEGMENT_HEADER

#: Kinds of records that hold an input.
INPUTS: Final = frozenset({_journal.INPUT, _journal.QUARANTINE})
WINDOW_BYTES: Final = 2**20
RECORD_BYTES_MAX: Final = _journal.HEADER_SIZE + _journal.PAYLOAD_LIMIT


class Window:
    """A piece of a file that moves along with a walk, so that a walk stays in the caches."""

    def __init__(self, read: Callable[[int, int], bytes], limit: int) -> None:
        self._read = read
        self._limit = limit
        self.start = 0
        self.data = b""

    def place(self, offset: int) -> int:
        """Where an offset is in ``data``, with room for any one record behind it."""
        ends = self.start + len(self.data)
        near_end = offset + RECORD_BYTES_MAX > ends and ends < self._limit
        if near_end or offset < self.start:
            self.start = offset
            self.data = self._read(offset, min(WINDOW_BYTES, self._limit - offset))
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
            if kind in INPUTS:
                place = len(found) * _journal.INPUT_SIZE
                self.inputs[place : place + _journal.INPUT_SIZE] = payload[: _journal.INPUT_SIZE]
                found.append((len(found), index))
        return found


def first_records(data: bytes, name: str, count: int) -> list[tuple[int, bytes]]:
    """(kind, payload) of a journal's first records, none of which is an input; fewer when that is
    all there is."""
    notes, named = array("Q", bytes(16 * count)), array("I", bytes(8))
    inputs = bytearray(_journal.INPUT_SIZE)
    *_, noted, _, _, _, _ = _journal.scan(
        data, SEGMENT_HEADER.size, 1, 0, inputs=inputs, notes=notes, named=named, until=count + 1
    )
    chunk = Chunk(name, data, 1, notes, noted, inputs, 0, named, 0, 0, False)
    return [chunk.payload(index) for index in range(noted)]


def late_mark(data: bytes, end: int, seq: int) -> Mark | None:
    """The sound MARK ``seq`` that ends there, if it says which record it is about."""
    start = end - _journal.HEADER_SIZE - LATE_MARK_BYTES
    if start < 0:
        return None
    length, number = int.from_bytes(data[start : start + 4], "little"), data[start + 8 : start + 16]
    if length != LATE_MARK_BYTES or int.from_bytes(number, "little") != seq:
        return None
    return mark_of(bytes(data[start + _journal.HEADER_SIZE : end]))


class Tail(NamedTuple):
    """Where a journal ends."""

    end: int
    next_seq: int
    crc: int
    #: The first byte of what no later record vouches for.
    unsynced_at: int
    #: Up to here there is something behind the end.
    torn_end: int
