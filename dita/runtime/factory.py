"""The one factory: from settings to a runtime with everything opened, in the order that is safe.

Lock first (nobody else may be here), then the journal and its replay, then the venue.  Each command
that needs any of it comes here; nothing else opens a journal or makes a venue.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, Final

from dita.clock import Clock
from dita.engine import Engine
from dita.errors import SettingsError
from dita.journal import GroupCommit, Journal, SnapshotStore
from dita.runtime.inquiry import Inquiry
from dita.runtime.lock import StartBudget, StateLock
from dita.runtime.loop import Input, RunState, Runtime
from dita.runtime.service import Cadence, Service
from dita.settings import Settings, VenueKind
from dita.venues import Venue

JOURNAL_FOLDER: Final = "journal"
SNAPSHOT_FOLDER: Final = "snapshots"


class Store:
    """The journal of a state directory and the engine that is a function of it."""

    def __init__(self, directory: Path, settings: Settings, clock: Clock) -> None:
        journal = settings.journal
        self.directory = directory
        self.journal = Journal.open(
            directory / JOURNAL_FOLDER,
            namespace=settings.kernel.namespace,
            created_ms=clock.now_ms(),
            segment_bytes=journal.segment_bytes,
            kernel=settings.kernel_config,
            account=settings.account_config(),
        )
        self.snapshots = SnapshotStore(directory / SNAPSHOT_FOLDER)
        self.snapshot_every = journal.snapshot_every
        self.replayed = 0
        self.engine = self._recovered()

    def _recovered(self) -> Engine:
        newest = self.snapshots.newest()
        if newest is None:
            engine, start = self.journal.epoch.engine(), 1
        else:
            engine, start = Engine.restore(newest.state), newest.seq + 1
        self.replayed = self.journal.replay_into(engine, start)
        return engine


class JournalLog:
    """The journal as the loop sees it: append, commit, and a snapshot now and then."""

    def __init__(self, store: Store, commit: GroupCommit) -> None:
        self._store = store
        self._commit = commit
        self._since_snapshot = 0

    def append(self, record: Input, packed: bytes) -> int:
        """Take a record; durable after the next commit."""
        self._since_snapshot += 1
        return self._store.journal.append(record, packed)

    async def commit(self) -> int:
        """Make everything appended durable, and take a snapshot when it is time for one."""
        synced = await self._commit.commit()
        if self._since_snapshot >= self._store.snapshot_every:
            self._since_snapshot = 0
            await self.snapshot(synced)
        return synced

    async def snapshot(self, seq: int) -> None:
        """Save the whole state as of a synced record; the loop does not wait for the disk."""
        engine = self._store.engine
        await self._commit.snapshot(self._store.snapshots, seq, engine)


def venue_of(settings: Settings, clock: Clock) -> Venue:
    """The venue that the settings name."""
    if settings.venue.kind is VenueKind.REMOTE:
        from dita.venues.remote import RemoteVenue

        return RemoteVenue(settings.venue.mock_socket)
    if settings.venue.kind is VenueKind.MOCK:
        return mock_venue(settings, clock)
    raise SettingsError(
        "this version has no adapter for the venue",
        expected="venue.kind = mock or remote",
        found=settings.venue.kind.value,
        action="set venue.kind",
    )


def mock_venue(settings: Settings, clock: Clock, **changes: Any) -> Any:
    """The embedded mock on its tape."""
    from dita.venues.mock import MockVenue, fet_config, read_tape

    name = settings.venue.mock_tape
    source = (
        Path(name) if "/" in name else resources.files("dita.configs") / "tapes" / f"{name}.csv"
    )
    try:
        text = source.read_text()
    except FileNotFoundError as missing:
        raise SettingsError(
            "price tape not found", expected="a packaged tape, or a path with a slash", found=name
        ) from missing
    config = fet_config(seed=settings.venue.mock_seed, tape=read_tape(text), **changes)
    return MockVenue(config, clock, pulse_ms=settings.runtime.tick_ms)


class Bundle:
    """Everything that runs for one state directory."""

    def __init__(
        self, settings: Settings, directory: Path, clock: Clock, *, demo: bool = False
    ) -> None:
        self.settings = settings
        self.directory = directory
        self.clock = clock
        self.lock = StateLock(directory)
        self.budget = StartBudget(
            directory,
            budget=settings.runtime.crash_budget,
            window_ms=1_000 * settings.runtime.crash_window_s,
        )
        self.crash_loop = self.budget.start(clock.now_ms())
        self.store = Store(directory, settings, clock)
        self.venue = venue_of(settings, clock)
        self.commit = GroupCommit(self.store.journal)
        self.log = JournalLog(self.store, self.commit)
        self.runtime = Runtime(
            engine=self.store.engine, log=self.log, venue=self.venue, clock=clock
        )
        self.runtime.state = RunState.RECOVERING
        inquiry = Inquiry(self.runtime, absence_fence_ms=1_000 * settings.venue.absence_fence_s)
        self.service = Service(self.runtime, inquiry, _cadence(settings))

    async def start(self, say: Callable[[str], None]) -> None:
        """Recover and become READY, or HOLD after too many crashes."""
        say(f"journal: {self.store.journal.report}; replayed {self.store.replayed}")
        hold = "crash loop: start budget used up" if self.crash_loop else ""
        await self.service.start(hold=hold)

    async def stop(self) -> bool:
        """Drain, take a last snapshot, let go of everything; True when nothing is unknown."""
        quiet = await self.service.drain()
        await self.service.close()
        await self.log.snapshot(await self.commit.commit())
        self.close()
        self.budget.stopped_cleanly()
        return quiet

    def close(self) -> None:
        """Let go of files and the lock; also after a failure."""
        self.commit.close()
        self.store.journal.close()
        self.lock.release()


def _cadence(settings: Settings) -> Cadence:
    runtime = settings.runtime
    return Cadence(
        tick_ms=runtime.tick_ms,
        in_flight_s=runtime.in_flight_check_s,
        positions_s=runtime.positions_check_s,
        balance_s=runtime.balance_check_s,
        drain_limit_s=runtime.drain_limit_s,
    )
