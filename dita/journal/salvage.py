"""What can still be read of a journal that is damaged or half gone.

For an emergency, which needs to know what was traded and what of a position is ours.  A serve never
starts from it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

from dita.contracts import EffectKind, KernelIntent, VenueEvent
from dita.engine import Engine
from dita.errors import JournalFault, KernelFault, OperatorError
from dita.journal.chunks import Chunk
from dita.journal.disk import Disk, OsDisk
from dita.journal.reader import JournalReader
from dita.journal.records import Input
from dita.journal.rules import OtherRules
from dita.journal.segments import SEGMENT_HEADER, SEGMENT_NAME, Segment, name_of, numbers_of


class Replayed(NamedTuple):
    """An engine (None when nothing can be replayed), every id of an order that the records named
    (ours when sent, the venue's), and when the journal was begun."""

    engine: Engine | None
    seen: frozenset[str]
    begun_ms: int


class Salvage(JournalReader):
    """Reads each segment up to its first damage, whatever became of the others."""

    def __init__(self, directory: str | os.PathLike[str], disk: Disk | None = None) -> None:
        super().__init__(os.fspath(directory), disk or OsDisk())
        #: What could not be read, in words; complete once ``inputs`` has been read to its end.
        self.problems: tuple[str, ...] = ()

    def inputs(self) -> Iterator[Input]:
        """Every input that is still sound, oldest first."""
        try:
            numbers = numbers_of(SEGMENT_NAME, self._disk.list(self.directory))
        except OSError as bad:
            self.problems += (f"{self.directory}: {bad.strerror}",)
            return
        for number in numbers:
            name = name_of(SEGMENT_NAME, number)
            try:
                yield from self._inputs_of(name)
            except OperatorError as bad:  # of a newer release
                self.problems += (f"{name}: {bad}",)
            except JournalFault as bad:
                self.problems += (f"{name}: {bad.found}",)

    def replay(self) -> Replayed:
        """What the records before the first damage make; no engine when their beginning is not
        there."""
        engine: Engine | None = None
        seen: set[str] = set()
        expected, begun_ms = 1, 0
        sound: list[tuple[Segment, int]] = []
        try:
            for number in numbers_of(SEGMENT_NAME, self._disk.list(self.directory)):
                if number != expected:
                    break
                name = name_of(SEGMENT_NAME, number)
                if not begun_ms:
                    epoch = self._read_epoch(name)
                    begun_ms = epoch.created_ms
                    with contextlib.suppress(OtherRules):  # then the ids alone are known
                        engine = epoch.engine()
                segment = self._segment_of(name, self._read(name, 0, SEGMENT_HEADER.size))
                _, self._ends[name], expected, _, _ = self._scan_through(segment)
                sound.append((segment, expected))
        except (OSError, OperatorError, JournalFault):
            pass  # in the words of ``problems``; what was sound up to there is the answer
        try:
            # Only now: what is quarantined is said by the next record, perhaps in another file.
            for segment, until in sound:
                for chunk in self._walk_segment(segment, segment.first_seq, until, False):
                    self._play(engine, chunk, seen)
        except (OSError, JournalFault):
            pass
        except (KernelFault, ArithmeticError, AssertionError, LookupError, TypeError, ValueError):
            engine = None  # what a broken invariant left behind says nothing
        return Replayed(engine, frozenset(seen), begun_ms)

    def _play(self, engine: Engine | None, chunk: Chunk, seen: set[str]) -> None:
        for index in range(chunk.noted):
            seq = chunk.first_seq + index
            record = self._entry(chunk, index, seq, 0).record
            if not isinstance(record, KernelIntent | VenueEvent) or seq in self._quarantined:
                continue
            if isinstance(record, VenueEvent):
                seen.update((record.client_order_id.lower(), record.venue_order_id))
            if engine is None:
                continue
            outcome = engine.apply(record)
            seen.update(e.client_order_id for e in outcome.effects if e.kind is EffectKind.SUBMIT)

    def _inputs_of(self, name: str) -> Iterator[Input]:
        segment = self._segment_of(name, self._read(name, 0, SEGMENT_HEADER.size))
        _, end, next_seq, _, _ = self._scan_through(segment)
        self._ends[name] = end
        if end < self._disk.size(self._path(name)) and any(self._read(name, end, 4)):
            self.problems += (f"{name}: damaged at record {next_seq}, byte {end}",)
        for chunk in self._walk_segment(segment, segment.first_seq, next_seq, False):
            for index in range(chunk.noted):
                record = self._entry(chunk, index, chunk.first_seq + index, 0).record
                if isinstance(record, KernelIntent | VenueEvent):
                    yield record
