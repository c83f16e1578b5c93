"""The one factory: from settings to a runtime with everything opened, in the order that is safe.

Lock first (nobody else may be here), then the journal and its replay, then the venue.  Each command
that needs any of it comes here; nothing else opens a journal or makes a venue.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dita.clock import Clock
from dita.contracts import ControlAction
from dita.errors import SettingsError
from dita.journal import GroupCommit, Journal, JournalFull, SnapshotStore
from dita.runtime.inquiry import Inquiry
from dita.runtime.lock import StartBudget, StateLock
from dita.runtime.loop import Input, RunState, Runtime
from dita.runtime.service import Cadence, Service
from dita.settings import Settings, VenueKind
from dita.venues import Venue

if TYPE_CHECKING:
    from dita.venues.mock import MockVenue

JOURNAL_FOLDER: Final = "journal"
SNAPSHOT_FOLDER: Final = "snapshots"
#: Twenty minutes of tape in half a minute.
DEMO_SPEED: Final = 40


class Store:
    """The journal of a state directory and the engine that is a function of it."""

    def __init__(self, directory: Path, settings: Settings, clock: Clock) -> None:
        self.snapshots = SnapshotStore(directory / SNAPSHOT_FOLDER)
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
        )
        self.snapshot_every = settings.journal.snapshot_every
        self.engine, self.replayed = self.snapshots.restore(self.journal)

    @property
    def found(self) -> str:
        """What was found, for an operator."""
        problems = "".join(f"; {problem}" for problem in self.snapshots.problems)
        return f"{self.journal.report}{problems}; {self.replayed} inputs replayed"


class JournalLog:
    """The journal as the loop sees it: append, commit, and a snapshot now and then."""

    def __init__(self, store: Store, commit: GroupCommit) -> None:
        self._store = store
        self._commit = commit
        self._since_snapshot = 0
        #: Called once when the disk is full and only the reserve is left: no new risk from then on.
        self.on_full: Callable[[], None] = lambda: None

    def append(self, record: Input, packed: bytes) -> int:
        """Take a record; durable after the next commit."""
        self._since_snapshot += 1
        return self._store.journal.append(record, packed)

    async def commit(self) -> int:
        """Make everything appended durable, and take a snapshot when it is time for one."""
        synced = await self._synced()
        if self._since_snapshot >= self._store.snapshot_every:
            await self.snapshot()
        return synced

    async def _synced(self) -> int:
        try:
            return await self._commit.commit()
        except JournalFull:
            # The reserve is for this: exits still have to be journalled before they are sent.
            if not self._store.journal.free_reserve():
                raise
            self.on_full()
            return await self._commit.commit()

    async def snapshot(self) -> None:
        """Save the whole state as of now; the loop does not wait for the disk."""
        self._since_snapshot = 0
        journal = self._store.journal
        await self._commit.snapshot(self._store.snapshots, journal.last_seq, self._store.engine)


def venue_of(settings: Settings, clock: Clock, *, demo: bool = False) -> Venue:
    """The venue that the settings name; a demo plays its tape faster than it was recorded."""
    if settings.venue.kind is VenueKind.REMOTE:
        from dita.venues.remote import RemoteVenue

        return RemoteVenue(settings.venue.mock_socket)
    if settings.venue.kind is VenueKind.MOCK:
        return mock_venue(settings, clock, faster=DEMO_SPEED if demo else 1)
    raise SettingsError(
        "this version has no adapter for the venue",
        expected="venue.kind = mock or remote",
        found=settings.venue.kind.value,
        action="set venue.kind",
    )


def mock_venue(settings: Settings, clock: Clock, faster: int) -> MockVenue:
    """The embedded mock on its tape."""
    from dita.venues.mock import MockVenue, fet_config, read_tape

    tape = [(row.time_ms // faster, *row[1:]) for row in read_tape(tape_of(settings))]
    config = fet_config(seed=settings.venue.mock_seed, tape=tuple(tape))
    return MockVenue(config, clock, pulse_ms=min(50, settings.runtime.tick_ms))


def tape_of(settings: Settings) -> str:
    """The text of the price tape; SettingsError when it is not there."""
    name = settings.venue.mock_tape
    packaged = resources.files("dita.configs") / "tapes" / f"{name}.csv"
    try:
        return (Path(name) if "/" in name else packaged).read_text()
    except FileNotFoundError as missing:
        raise SettingsError(
            "price tape not found", expected="a packaged tape, or a path with a slash", found=name
        ) from missing


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
        self.venue = venue_of(settings, clock, demo=demo)
        self.commit = GroupCommit(self.store.journal)
        self.log = JournalLog(self.store, self.commit)
        self.runtime = Runtime(
            engine=self.store.engine, log=self.log, venue=self.venue, clock=clock
        )
        self.runtime.state = RunState.RECOVERING
        inquiry = Inquiry(self.runtime, absence_fence_ms=1_000 * settings.venue.absence_fence_s)
        self.service = Service(self.runtime, inquiry, _cadence(settings))
        self.log.on_full = self._disk_full

    async def start(self, say: Callable[[str], None]) -> None:
        """Recover and become READY, or HOLD after too many crashes."""
        say(f"journal: {self.store.found}")
        hold = "crash loop: start budget used up" if self.crash_loop else ""
        await self.service.start(hold=hold)

    def _disk_full(self) -> None:
        hold = self.service.control(ControlAction.HOLD, "disk full", "journal")
        self.runtime.spawn(_ignore(hold), "hold: disk full")

    async def stop(self) -> bool:
        """Drain, take a last snapshot, let go of everything; True when nothing is unknown."""
        quiet = await self.service.drain()
        await self.service.close()
        await self.log.snapshot()
        self.close()
        self.budget.stopped_cleanly()
        return quiet

    def close(self) -> None:
        """Let go of files and the lock; also after a failure."""
        self.commit.close()
        self.store.journal.close()
        self.lock.release()


async def _ignore(work: Awaitable[object]) -> None:
    await work


def _cadence(settings: Settings) -> Cadence:
    runtime = settings.runtime
    return Cadence(
        tick_ms=runtime.tick_ms,
        in_flight_s=runtime.in_flight_check_s,
        open_orders_s=runtime.open_orders_check_s,
        positions_s=runtime.positions_check_s,
        balance_s=runtime.balance_check_s,
        income_s=runtime.income_check_s,
        drain_limit_s=runtime.drain_limit_s,
    )
