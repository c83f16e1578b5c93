"""Reading a journal on and on beside its writer: only what was synced, from where one stopped.

A reader of another process never sees what may still be lost: the high-water mark says up to where
records are safe, and nothing behind it is looked at.  A tail that is torn, and cut when the writer
starts again, is behind it too.  What follows from the records is the follower's matter.
"""

from __future__ import annotations

import os
from typing import Final

from dita import _journal
from dita.errors import JournalFault, OperatorError
from dita.journal.chunks import Tail, late_mark
from dita.journal.disk import Disk, OsDisk
from dita.journal.highwater import HighWater
from dita.journal.reader import JournalReader
from dita.journal.report import Report
from dita.journal.segments import SEGMENT_HEADER, SEGMENT_NAME, Segment, name_of, newer

#: Places to go on from that are remembered, the newest ones.
_PLACES_KEPT: Final = 16


class JournalReplaced(OperatorError):
    """Another journal is where the followed one was: it was rolled, or set aside."""


class SyncedReader(JournalReader):
    """A journal as far as it was synced; ``refresh`` looks how far that is now.

    Everything is checked as it comes: the chain of checksums goes on from what was read before.
    One that was read before and is another one now is a JournalFault.
    """

    def __init__(self, directory: str | os.PathLike[str], disk: Disk) -> None:
        super().__init__(directory, disk)
        #: Where walks may begin, oldest first: segment, byte, number and checksum before it.
        self._places: list[tuple[str, int, int, int]] = []

    @classmethod
    def open(cls, directory: str | os.PathLike[str], *, disk: Disk | None = None) -> SyncedReader:
        """Begin.  OperatorError when there is no journal; OtherRules, JournalFault."""
        reader = cls(directory, disk or OsDisk())
        if reader._marked() is None and not reader._numbers():
            raise reader._nothing_here(0)
        reader.refresh()
        return reader

    def refresh(self) -> int:
        """Look for more; up to which record it was synced and checked.

        JournalReplaced when it is not the one that was opened; OtherRules, JournalFault.
        """
        high = self._marked()
        if high is None or high.seq == 0:
            return self.report.last_seq  # it is being begun
        self._hold_to_this_journal(high)
        self._high = high
        if high.seq < self._tail.next_seq:
            # A mark that lost its last moment with the power; the records are there.
            return self.report.last_seq
        self._take_segments(high)
        self._scan_on(high)
        self.hold_to_rules()
        return self.report.last_seq

    def _marked(self) -> HighWater | None:
        for retry in (True, True, False):
            try:
                return self._water.read()
            except JournalFault:
                if not retry:  # beside a writer a slot may be half written: look again
                    raise
        return None

    def _hold_to_this_journal(self, high: HighWater) -> None:
        before = self._high
        if before is None:
            return
        ours = before.namespace_hash, before.epoch, before.identity
        if ours != (high.namespace_hash, high.epoch, high.identity):
            raise JournalReplaced(
                "another journal is here than the one that was followed",
                expected=f"epoch {before.epoch} in {self.directory}",
                found=f"epoch {high.epoch}",
                action="begin with the new one; it says which one it goes on from",
            )

    def _take_segments(self, high: HighWater) -> None:
        """The headers of segments that are new and not beyond the mark."""
        known = self._segments[-1].first_seq if self._segments else 0
        for number in self._numbers():
            if known < number <= high.segment:
                name = name_of(SEGMENT_NAME, number)
                segment = self._segment_of(name, self._read(name, 0, SEGMENT_HEADER.size))
                if segment.journal != (high.namespace_hash, high.epoch):
                    raise self._damage(name, 0, number, "a segment of another journal")
                self._begin_with(segment)
                self._segments.append(segment)
        if not self._segments:
            raise self._nothing_here(high.seq)

    def _begin_with(self, segment: Segment) -> None:
        if self._segments:
            return
        if segment.first_seq > self._oldest:
            found = f"{segment.name} is the first segment here"
            raise self._damage(name_of(SEGMENT_NAME, self._oldest), 0, self._oldest, found)
        if segment.first_seq == 1:
            self._epoch = self._read_epoch(segment.name)
        at = SEGMENT_HEADER.size
        self._tail = Tail(at, segment.first_seq, segment.previous, at, at)
        self.report = self._reported(segment.epoch, segment.first_seq)

    def _scan_on(self, high: HighWater) -> None:
        """Check what is new, up to the mark; only then is it known to whoever walks."""
        at, seq, crc = self._tail.end, self._tail.next_seq, self._tail.crc
        ends = [s.first_seq for s in self._segments[1:]] + [high.seq + 1]
        for segment, until in zip(self._segments, ends, strict=True):
            if until <= seq:
                continue
            if segment.first_seq >= seq:
                if (segment.first_seq, segment.previous) != (seq, crc):
                    found = f"{segment.name} does not go on from the segment before it"
                    raise self._damage(segment.name, 0, seq, found)
                at = SEGMENT_HEADER.size
            self._places.append((segment.name, at, seq, crc))
            at, seq, crc = self._scan_to(segment, at, seq, crc, until)
        if seq != high.seq + 1 or crc != high.crc:
            found = "another record of that number than was synced"
            raise self._damage(self._segments[-1].name, at, high.seq, found)
        del self._places[:-_PLACES_KEPT]
        self._tail = Tail(at, seq, crc, at, at)
        self.report = self._reported(self.report.epoch, self.report.first_seq)

    def _reported(self, epoch: int, first_seq: int) -> Report:
        synced = self._high.seq if self._high else 0
        return Report(
            epoch=epoch, segments=len(self._segments), first_seq=first_seq,
            last_seq=self._tail.next_seq - 1, synced=synced,
        )  # fmt: skip

    def _scan_to(
        self, segment: Segment, at: int, seq: int, crc: int, until: int
    ) -> tuple[int, int, int]:
        """Where record ``until`` begins, and the checksum before it.  JournalFault."""
        window = self._window(segment.name, self._disk.size(self._path(segment.name)))
        while seq < until:
            local = window.place(at)
            why, end, seq, crc, *_, newest_input = _journal.scan(
                window.data, local, seq, crc, until=until, stop_at_quarantine=True,
                stop_at_mark=True,
            )  # fmt: skip
            at = window.start + end
            self.newest_input = newest_input or self.newest_input
            if why == _journal.NEWER:
                raise newer(f"record {seq} in {segment.name}", "a newer kind or version")
            if why == _journal.AT_QUARANTINE:
                self._quarantined.append(self.newest_input)
            if why == _journal.AT_MARK and (late := late_mark(window.data, end, seq - 1)):
                self._late_marks.append(late)
            if end == local and seq < until:
                found = f"no sound record, although {self._who_vouches(until - 1)}"
                raise self._damage(segment.name, at, seq, found)
        self._ends[segment.name] = at
        return at, seq, crc

    def _start_in(self, segment: Segment, from_seq: int) -> tuple[int, int, int]:
        fits = (p for p in reversed(self._places) if p[0] == segment.name and p[2] <= from_seq)
        place = next(fits, None)
        return place[1:] if place else super()._start_in(segment, from_seq)
