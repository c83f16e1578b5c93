"""Taking snapshots beside the commits: the loop copies memory, a thread does everything else.

What takes long (putting the tables in order, packing, hashing, writing, syncing) is done on a copy
of the engine while the engine goes on.  The mark that holds every later replay to the snapshot's
hash follows with a later commit, and says which record it is about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Protocol, TypeVar

from dita.engine import Engine
from dita.journal.failing import JournalFull
from dita.journal.snapshots import Snapshot, SnapshotFailed, SnapshotStore
from dita.journal.writer import Journal

T = TypeVar("T")


class Beside(Protocol):
    """Runs blocking work beside the loop: in a thread, or at once where time is virtual."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]: ...


class Commit(Protocol):
    """What a snapshot needs of commits."""

    @property
    def journal(self) -> Journal:
        """The journal that is committed."""

    async def commit(self) -> int:
        """Wait until everything appended before this call is durable."""


class SnapshotTaker:
    """Takes one at a time of an engine that belongs to the loop."""

    def __init__(
        self,
        commit: Commit,
        store: SnapshotStore,
        engine: Engine,
        beside: Beside = asyncio.to_thread,
    ) -> None:
        self._beside = beside
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
        seq = self._commit.journal.last_seq
        self._copy.copy_from(self._engine)
        return self._written(seq)

    async def _written(self, seq: int) -> Snapshot:
        journal = self._commit.journal
        try:
            while journal.synced_up_to < seq:
                await self._commit.commit()
            snapshot = await self._beside(partial(self._write, seq))
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
        snapshot = Snapshot.at(self._copy, seq, self._commit.journal.report.epoch)
        self._store.write(snapshot)
        return snapshot
