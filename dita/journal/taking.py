"""Taking snapshots beside the commits: the loop copies memory, a thread does everything else.

What takes long (putting the tables in order, packing, hashing, writing, syncing) is done on a copy
of the engine while the engine goes on.  The mark that holds every later replay to the snapshot's
hash follows with a later commit, and says which record it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from dita.engine import Engine
from dita.journal.failing import JournalFull
from dita.journal.snapshots import Snapshot, SnapshotFailed, SnapshotStore
from dita.journal.writer import Journal


class Committing(Protocol):
    """What makes records durable, and does other work beside that."""

    async def commit(self) -> int:
        """Wait until everything appended before this call is durable."""

    async def beside(self, work: Callable[[], Snapshot]) -> Snapshot:
        """Do what takes long while commits go on."""


class SnapshotTaker:
    """Takes one at a time of an engine that belongs to the loop."""

    def __init__(
        self, journal: Journal, commit: Committing, store: SnapshotStore, engine: Engine
    ) -> None:
        self._journal = journal
        self._commit = commit
        self._store = store
        self._engine = engine
        # Made once: most of what it costs is memory that is touched for the first time.
        self._copy = Engine(engine.kernel.config, engine.account.config)

    def take(self) -> Coroutine[Any, Any, Snapshot]:
        """Copy the state as it is now, with everything appended applied to it.

        What is returned does the rest, and has to be awaited before the next is taken.
        SnapshotFailed.
        """
        seq = self._journal.last_seq
        self._copy.copy_from(self._engine)
        return self._written(seq)

    async def _written(self, seq: int) -> Snapshot:
        journal = self._journal
        try:
            while journal.synced_up_to < seq:
                await self._commit.commit()
            snapshot = await self._commit.beside(lambda: self._write(seq))
            journal.append_mark(snapshot.state_hash, of=seq)
            return snapshot
        except JournalFull as full:
            raise SnapshotFailed(
                "the snapshot was not finished",
                expected=f"a journal that takes record {seq} and a mark of it",
                found=full.what,
                action="the journal has everything; a restart only takes longer",
            ) from full

    def _write(self, seq: int) -> Snapshot:
        snapshot = Snapshot.at(self._copy, seq, self._journal.report.epoch)
        self._store.write(snapshot)
        return snapshot
