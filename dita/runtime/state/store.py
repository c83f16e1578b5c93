"""The journal of a state directory, and the engine that is a function of it.

Opening one recovers it: snapshot, journal, and the input that broke an invariant, if the newest one
did.  The factory makes it before anything else may happen; it knows no venue.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from dita.clock import MachineClock
from dita.contracts import KernelIntent, VenueEvent
from dita.engine import Engine
from dita.errors import ENGINE_FAULTS, JournalFault, OperatorError, RefusedForSafety
from dita.journal import (
    Disk,
    Epoch,
    Journal,
    JournalFull,
    Snapshot,
    SnapshotFailed,
    SnapshotStore,
    SnapshotTaker,
    closed_by,
    free_bytes,
    size_bytes,
)
from dita.journal.taking import Beside
from dita.runtime.loop import Input
from dita.runtime.state.journal_settings import check_journal_settings
from dita.runtime.state.quarantine import Quarantine
from dita.runtime.world import Commit
from dita.settings import Settings

JOURNAL_FOLDER: Final = "journal"
SNAPSHOT_FOLDER: Final = "snapshots"


class EpochClosed(OperatorError):
    """The journal has ended, and the one that goes on from it is not there yet."""


class Store:
    """The journal of a state directory and the engine that is a function of it."""

    def __init__(
        self,
        directory: Path,
        settings: Settings,
        clock: MachineClock,
        disk: Disk | None = None,
        known_epoch: int = 0,
        identity: bytes = b"",
    ) -> None:
        self.snapshots = SnapshotStore(directory / SNAPSHOT_FOLDER, disk=disk)
        newest = self.snapshots.newest()
        self.journal = Journal.open(
            directory / JOURNAL_FOLDER,
            namespace=settings.kernel.namespace,
            created_ms=clock.now_ms(),
            kernel=settings.kernel_config(epoch=1),
            account=settings.account_config(),
            segment_bytes=settings.journal.segment_bytes,
            reserve_bytes=settings.journal.reserve_bytes,
            vouched=newest.seq if newest else 0,
            known_epoch=known_epoch,
            identity=identity or os.urandom(16),
            disk=disk,
            clock=clock,
        )
        self.snapshot_every = settings.journal.snapshot_every
        self.reserve_bytes = settings.journal.reserve_bytes
        self.replayed = 0
        try:
            if (end := closed_by(self.journal)) is not None:
                raise EpochClosed(
                    f"journal {end.epoch} was closed",
                    expected=f"the next one, {end.next_epoch}",
                    found=f"closed by {end.operator}: {end.reason}",
                    action="start serve, which begins the next one",
                )
            if not self.journal.is_archived:
                check_journal_settings(self.journal.epoch, settings, str(directory))
            self.engine = Engine()
            self.quarantine = self._recovered()
            if self.journal.is_archived:
                check_journal_settings(epoch_of(self.engine), settings, str(directory))
        except BaseException:
            self.journal.close()
            raise

    def _recovered(self) -> Quarantine:
        """The state at the journal's end; without its newest input, if that breaks an invariant."""
        try:
            self.engine, self.replayed = self.snapshots.restore(self.journal)
            return Quarantine(self)
        except JournalFault:
            raise
        except ENGINE_FAULTS as fault:
            newest = self.journal.newest_input
            record = next(self.journal.records(newest)).record if newest else None
            self.engine, self.replayed = self.snapshots.restore(self.journal, newest)
            if not isinstance(record, KernelIntent | VenueEvent):
                raise
            quarantine = Quarantine(self)
            quarantine.take_out(record, newest, fault)
            with contextlib.suppress(JournalFull):  # then it goes with the first commit
                self.journal.write_and_sync()
            return quarantine

    def rewind(self, seq: int) -> None:
        """Put the engine into the state before a record that is in the journal."""
        try:
            self.journal.write_and_sync()
        except JournalFull:
            if not self.journal.free_reserve():
                raise
            self.journal.write_and_sync()
        restored, _ = self.snapshots.restore(self.journal, seq)
        restored.kernel.refusals = self.engine.kernel.refusals  # counted since the start
        # In place: whoever has the engine has the state of now.
        self.engine.kernel = restored.kernel
        self.engine.account = restored.account
        self.engine.snapshot = restored.snapshot

    def size(self) -> dict[str, int]:
        """What the journal takes and what is left for it, in bytes; -1 for what cannot be told."""
        journal = self.journal
        return {
            "records": journal.last_seq,
            "bytes": size_bytes(journal),
            "free_bytes": free_bytes(journal),
            "reserve_bytes": self.reserve_bytes,
        }

    @property
    def found(self) -> str:
        """What was found, for an operator."""
        problems = "".join(f"; {problem}" for problem in self.snapshots.problems)
        taken_out = self.journal.quarantined
        quarantined = f"; {len(taken_out)} inputs in quarantine" if taken_out else ""
        return f"{self.journal.report}{problems}{quarantined}; {self.replayed} inputs replayed"


def epoch_of(engine: Engine) -> Epoch:
    """What a journal was begun with, from a state of it: its first record may be archived."""
    config = engine.kernel.config
    return Epoch(created_ms=config.epoch, kernel=config, account=engine.account.config)


class JournalLog:
    """The journal as the loop sees it: append, commit, and a snapshot now and then."""

    def __init__(self, store: Store, commit: Commit, beside: Beside = asyncio.to_thread) -> None:
        self._store = store
        self._commit = commit
        self._since_snapshot = 0
        self._taker = SnapshotTaker(commit, store.snapshots, store.engine, beside)
        #: The snapshot under way, or the last one.
        self._snapshot: asyncio.Future[None] | None = None
        self._reserve_is_free = False
        #: Called once when the disk is full and only the reserve is left: no new risk from then on.
        self.on_full: Callable[[], None] = lambda: None
        #: Told what went wrong without ending anything.
        self.complain: Callable[[str], None] = lambda problem: None

    def append(self, record: Input, packed: bytes) -> int:
        """Take a record; durable after the next commit."""
        self._since_snapshot += 1
        return self._store.journal.append(record, packed)

    async def commit(self) -> int:
        """Make everything appended durable; begin a snapshot when it is time for one.

        Nobody waits for that: it is written beside what follows.
        """
        synced = await self._synced()
        if self._since_snapshot >= self._store.snapshot_every:
            if self._snapshot is None:
                self._begin_snapshot()
            elif self._snapshot.done():
                self._snapshot.result()
                self._begin_snapshot()
        return synced

    async def _synced(self) -> int:
        try:
            return await self._commit.commit()
        except JournalFull:
            # The reserve is for this: exits still have to be journalled before they are sent.
            if not self._store.journal.free_reserve():
                raise
            self._reserve_is_free = True
            self.on_full()
            return await self._commit.commit()

    def keep_reserve(self) -> None:
        """Set space for exits aside again after a full disk.  RefusedForSafety: there is none."""
        journal, wanted = self._store.journal, self._store.reserve_bytes
        found = journal.hold_reserve(wanted)
        if found < wanted:
            if self._reserve_is_free:
                journal.free_reserve()
            raise RefusedForSafety(
                "the journal's disk is still full",
                expected=f"room for {wanted} bytes that are kept for exits",
                found=f"{found}",
                action="make room first; exits go on",
            )
        self._reserve_is_free = False

    async def snapshot(self) -> None:
        """Save the whole state as of now, and wait until that is done.

        One that cannot be written ends nothing: the journal has everything.
        """
        if self._snapshot is not None:
            await self._snapshot
        await self._begin_snapshot()

    def _begin_snapshot(self) -> asyncio.Future[None]:
        self._since_snapshot = 0
        self._snapshot = asyncio.ensure_future(self._taken(self._taker.take()))
        # What it fails with ends the next commit, if there is one.
        self._snapshot.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._snapshot

    async def _taken(self, work: Coroutine[Any, Any, Snapshot]) -> None:
        try:
            await work
        except SnapshotFailed as bad:
            self.complain(str(bad))
