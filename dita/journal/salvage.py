"""What can still be read of a journal that is damaged or half gone.

For a person in an emergency, who needs to know what was traded; nothing is decided from it, and no
engine is ever built from it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from dita.contracts import KernelIntent, VenueEvent
from dita.errors import JournalFault, OperatorError
from dita.journal.disk import Disk, OsDisk
from dita.journal.reader import JournalReader
from dita.journal.records import Input
from dita.journal.segments import SEGMENT_HEADER, SEGMENT_NAME, name_of, numbers_of


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
