"""Through a journal with an engine, at batch speed, stopping at what matters.

Most inputs change nothing that anybody asks about.  They are applied in batches; those that matter
are applied one by one, so that whoever follows sees each outcome and the engine directly after it.
Reads only; what matters is the caller's to say.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Iterator
from typing import Final, NamedTuple

from dita import _journal
from dita.contracts import KernelIntent, VenueEvent
from dita.engine import Engine, Outcome
from dita.errors import ENGINE_FAULTS, JournalFault
from dita.journal.chunks import INPUTS, Chunk
from dita.journal.reader import JournalReader
from dita.journal.records import Entry, Input, Note
from dita.journal.resuming import SyncedReader
from dita.journal.snapshots import Snapshot, SnapshotStore
from dita.kernel import ExecutionKernel

_INPUT_SIZE, _OUTCOME_SIZE = ExecutionKernel.record_sizes()
#: Of a packed outcome: code, kind, accepted, before, after, effects, notes, trade number.
_LOOK: Final = struct.Struct(f"<hh2xBBB3xiQQ{_OUTCOME_SIZE - 32}x")
_HASHED: Final = 0x7F

#: What a packed outcome says at a glance, in the kernel's numbers: (code, kind, accepted, before,
#: after, effects, notes, trade number).
Look = tuple[int, int, int, int, int, int, int, int]


class Step(NamedTuple):
    """One input that matters, with the engine as that input left it; or a note of the runtime."""

    seq: int
    record: Input | Note
    outcome: Outcome | None


class Follower:
    """An engine that goes through a journal.

    ``choose`` gives the indices of the inputs that matter, by their outcomes at a glance.
    """

    def __init__(self, engine: Engine, choose: Callable[[list[Look]], list[int]]) -> None:
        self.engine = engine
        self._choose = choose
        #: The newest record that was gone through.
        self.reached = 0
        #: Runs ahead by a chunk, to find out which inputs matter.
        self._scout = Engine.restore(engine.save())

    def follow(self, reader: JournalReader, from_seq: int) -> Iterator[Step]:
        """Apply every input from a record on; yields those that matter, and every note.

        The newest input may break an invariant, and the record that takes it out may be yet to
        come: it ends there, before that input.
        """
        self.reached = from_seq - 1
        for chunk in reader.chunks(from_seq):
            last = chunk.first_seq + chunk.noted - 1
            newest = reader.newest_input if chunk.first_seq <= reader.newest_input <= last else 0
            if (yield from self._chunk(reader, chunk, newest)):
                self.reached = last
            else:
                self.reached = newest - 1
                return

    def _chunk(
        self, reader: JournalReader, chunk: Chunk, newest: int
    ) -> Generator[Step, None, bool]:
        """Go through a chunk; False when its newest input cannot be applied and was left out."""
        chunk.bring_up_to_date()
        count, whole = chunk.inputs_count, True
        packed = bytes(memoryview(chunk.inputs)[: count * _INPUT_SIZE])
        try:
            _, outcomes = self._scout.apply_batch(packed)
        except ENGINE_FAULTS:
            if not newest:
                raise
            whole, count, packed = False, count - 1, packed[:-_INPUT_SIZE]
            self._scout = Engine.restore(self.engine.save())
            _, outcomes = self._scout.apply_batch(packed)
        chosen = self._choose(list(_LOOK.iter_unpack(outcomes)))
        done = 0
        for number, index in _stops(chunk, chosen):
            if not whole and chunk.first_seq + index > newest:
                break
            if number > done:
                self.engine.apply_batch(packed[done * _INPUT_SIZE : number * _INPUT_SIZE])
                done = number
            entry = reader.entry(chunk, index)
            if isinstance(entry.record, Note):
                yield Step(entry.seq, entry.record, None)
                continue
            start = done * _INPUT_SIZE
            done += 1
            yield self._step(entry, packed[start : start + _INPUT_SIZE])
        if done < count:
            self.engine.apply_batch(packed[done * _INPUT_SIZE :])
        return whole

    def _step(self, entry: Entry, packed: bytes) -> Step:
        record = entry.record
        assert isinstance(record, KernelIntent | VenueEvent)
        if record.venue_order_id and packed[55] > _HASHED:
            self.engine.kernel.pack(record)  # so the kernel learns a name that is no number
        return Step(
            entry.seq, record, self.engine.apply(record, self.engine.kernel.unpacked(packed))
        )


class Followed:
    """A journal that is followed from another process, with snapshots of the follower's own.

    It goes on from its newest snapshot, through what was synced since, and so on at each ``news``.
    """

    def __init__(
        self,
        reader: SyncedReader,
        snapshots: SnapshotStore,
        choose: Callable[[list[Look]], list[int]],
    ) -> None:
        self._reader = reader
        self._snapshots = snapshots
        engine, self._begun = self._state()
        self._follower = Follower(engine, choose)
        self._follower.reached = self._begun

    def _state(self) -> tuple[Engine, int]:
        """The newest state that is known of this journal, and the record it is after."""
        reader = self._reader
        for snapshot in self._snapshots.sound():
            if snapshot.epoch == reader.report.epoch:
                return snapshot.engine(), snapshot.seq
        if not reader.is_archived:
            return reader.epoch.engine(), 0
        raise JournalFault(
            "what came before the segments that are here is not known to this follower",
            expected=f"a snapshot of record {reader.first_seq - 1} or later in"
            f" {self._snapshots.directory}",
            found="; ".join(self._snapshots.problems) or "none",
            action=f"copy the archived segments back into {reader.directory}",
        )

    @property
    def engine(self) -> Engine:
        """The state after record ``reached``."""
        return self._follower.engine

    @property
    def reached(self) -> int:
        """The newest record that was gone through."""
        return self._follower.reached

    def news(self) -> Iterator[Step]:
        """What was synced since the last time.  It has to be gone through to its end.

        JournalReplaced, OtherRules, JournalFault.
        """
        if self._reader.refresh() > self.reached:
            yield from self._follower.follow(self._reader, self.reached + 1)

    def save(self) -> None:
        """Keep the state, to go on from after a restart.  SnapshotFailed."""
        self._snapshots.write(Snapshot.at(self.engine, self.reached, self._reader.report.epoch))


def _stops(chunk: Chunk, chosen: list[int]) -> list[tuple[int, int]]:
    """Where to stop in a chunk: (inputs before it, index of the record), notes among them."""
    if chunk.inputs_count == chunk.noted:
        return list(zip(chosen, chosen, strict=True))
    wanted, stops, number = set(chosen), [], 0
    for index, kind in enumerate(chunk.kinds()):
        if kind == _journal.NOTE:
            stops.append((number, index))
        elif kind in INPUTS:
            if number in wanted:
                stops.append((number, index))
            number += 1
    return stops
