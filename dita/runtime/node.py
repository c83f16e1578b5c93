"""The one factory: from settings to a runtime with everything opened, in the order that is safe.

Lock first (nobody else may be here), then the journal and its replay, then the venue.  Each command
that needs any of it comes here; nothing else opens a journal or makes a venue.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from dita.contracts import ControlAction, RiskLimit
from dita.errors import JournalFault
from dita.journal import missing
from dita.runtime.failpoints import Failpoints
from dita.runtime.loop import RunState, Runtime
from dita.runtime.queries.order_query import OrderQuery
from dita.runtime.service import Cadence, Service
from dita.runtime.state.journal_settings import (
    check_environment,
    hold_to_the_owner,
    remember_the_journal,
)
from dita.runtime.state.lock import AccountLock, StartBudget, StateLock
from dita.runtime.state.retiring import retired
from dita.runtime.state.rolling import open_store
from dita.runtime.state.store import JOURNAL_FOLDER, JournalLog, Store
from dita.runtime.venue_factory import venue_of
from dita.runtime.world import World
from dita.settings import Settings, account_of

__all__ = [
    "JOURNAL_FOLDER",
    "JournalLog",
    "Node",
    "Store",
]

#: How soon it is noticed that the state directory was removed or moved.
PRESENCE_S: Final = 1.0


class DiskHangs(JournalFault):
    """Threads of ours wait for a disk that does not answer: the process ends without them."""


class Node:
    """Everything that runs for one state directory."""

    def __init__(
        self,
        settings: Settings,
        directory: Path,
        world: World,
        *,
        demo: bool = False,
        failpoints: Failpoints | None = None,
    ) -> None:
        self.settings = settings
        self.directory = directory
        self.world = world
        self.clock = clock = world.clock
        self.lock = StateLock(directory)
        self._account_locks: list[AccountLock] = []
        self.budget = StartBudget(
            directory,
            budget=settings.runtime.crash_budget,
            window_ms=1_000 * settings.runtime.crash_window_s,
        )
        try:
            hold_to_the_owner(directory)
            check_environment(directory, settings)
            if account := account_of(settings):
                self._lock_account(account, f"of namespace {settings.kernel.namespace}")
            venue = venue_of(settings, world, demo=demo)
            self.venue = failpoints.venue(venue) if failpoints else venue
            disk = failpoints.disk(world.disk) if failpoints else world.disk
            self.store = open_store(directory, settings, clock, disk, world.identity())
            try:
                self._lock_account(f"journal {self.store.journal.identity.hex()}", "of a journal")
                remember_the_journal(directory, self.store.journal.report.epoch)
            except BaseException:
                self.store.journal.close()
                raise
        except BaseException:
            self._unlock()
            raise
        self.commit = world.commit(self.store.journal, clock)
        self.commit.on_failure = lambda error: self.runtime.fail(error, "high-water mark")
        self.log = JournalLog(self.store, self.commit, world.beside)
        self.runtime = Runtime(
            engine=self.store.engine,
            log=self.log,
            venue=self.venue,
            clock=clock,
            start_ms=self.store.journal.resume_point.now_ms(clock),
        )
        # What is refused up to here is not a crash: it ends the same way each time, unsent.
        self.crash_loop = self.budget.start(self.runtime.time.now_ms())
        self.runtime.faults = self.store.quarantine
        self.runtime.state = RunState.RECOVERING
        order_query = OrderQuery(
            self.runtime, absence_fence_ms=1_000 * settings.venue.absence_fence_s
        )
        self.service = Service(self.runtime, order_query, _cadence(settings))
        self.service.reconcile_on_restart = settings.runtime.reconcile_on_restart
        self.service.limits = _limits(settings)
        self.log.on_full = self._disk_full
        self.started_ms = self.runtime.time.now_ms()
        #: How the log and the alerts do; set by who runs them.
        self.log_status: Callable[[], dict[str, Any]] = dict
        #: It was drained: this start was no crash.
        self.is_stopped = False
        self._closing: threading.Thread | None = None
        self._close_failure: Exception | None = None

    def _lock_account(self, name: str, what: str) -> None:
        self._account_locks.append(AccountLock(name, what))

    def _unlock(self) -> None:
        for lock in self._account_locks:
            lock.release()
        self.lock.release()

    def abandon(self) -> None:
        """Let go of the locks and of nothing else: what a dead process does."""
        self._unlock()

    async def start(self, say: Callable[[str], None], *, hold: str = "", stay: bool = True) -> None:
        """Recover and become READY; HOLD for a given reason, or after too many crashes.

        See ``Service.start`` for ``stay``.
        """
        self.runtime.spawn(self._watch_the_directory(say), "state directory")
        say(f"journal: {self.store.found}")
        self.log.complain = say
        hold = self.budget.problem or (
            "crash loop: start budget used up" if self.crash_loop else hold
        )
        if self.store.journal.report.created and retired(self.directory) and not hold:
            hold = "the journal before this one was retired: pink-ctl reconcile, then resume"
        if self.store.journal.reserve_bytes < self.store.reserve_bytes:
            hold = "disk full: no room for what is kept for exits"
        await self.service.start(hold=hold, stay=stay)

    async def _watch_the_directory(self, say: Callable[[str], None]) -> None:
        """When it is removed or moved nothing complains: what was opened can still be written.

        But a restart would find nothing, so no risk may be taken any more, and this ends.
        """
        while not (found := await self.world.beside(self._missing)):
            await asyncio.sleep(PRESENCE_S)
        say(f"HOLD: the state directory is gone: {found}")
        await self.service.control(ControlAction.HOLD, "the state directory is gone", "journal")
        await self.service.drain()
        raise JournalFault(
            "the state directory is gone",
            expected=f"{self.directory} to stay as it was at the start",
            found=found,
            action="nothing new was risked since. If it was moved: start again with its new place"
            " (runbooks/journal.md). If it was removed: `pink-ctl flatten --emergency --config"
            " FILE` closes positions",
        )

    def _missing(self) -> str:
        return self.lock.missing() or missing(self.store.journal)

    def _disk_full(self) -> None:
        hold = self.service.control(ControlAction.HOLD, "disk full", "journal")
        self.runtime.spawn(_ignore(hold), "hold: disk full")

    def journal_status(self) -> dict[str, Any]:
        """Size, disk, commit latency and quarantine, in plain integers, for status."""
        latency = self.commit.latency()
        return {
            **self.store.size(),
            "commit": {**msgspec.structs.asdict(latency), "slow": latency.is_slow},
            "quarantine": self.store.quarantine.status(),
        }

    async def stop(self) -> bool:
        """Drain, take a last snapshot, release everything; True when no order is unknown."""
        quiet = await self.service.drain()
        await self.service.close()
        with contextlib.suppress(TimeoutError):  # the journal has everything
            async with asyncio.timeout(self.service.left_s()):
                await self.log.snapshot()
        self.is_stopped = True
        self.close()
        return quiet

    def close(self) -> None:
        """Let go of files and the lock; also after a failure.

        JournalFault when the disk does not answer in time: nobody but the process's end can free
        what waits for it.
        """
        if self._closing is None:
            self._closing = threading.Thread(target=self._close_files, name="close", daemon=True)
            self._closing.start()
        self._closing.join(self.service.left_s())
        if self._closing.is_alive():
            raise DiskHangs(
                "the journal's disk does not answer",
                expected="files closed within a few seconds",
                found="nothing",
                action="the journal is good up to its last sync, and nothing behind that was sent; "
                "mend the disk and start again",
            )
        if self._close_failure is not None:
            failure, self._close_failure = self._close_failure, None
            raise failure

    def _close_files(self) -> None:
        try:
            self.commit.close()
            self.store.journal.close()
            self._unlock()
            if self.is_stopped:
                self.budget.stopped_cleanly()
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            self._close_failure = error


def _limits(settings: Settings) -> dict[RiskLimit, int]:
    limits = settings.limits
    return {
        RiskLimit.ORDER_NOTIONAL: limits.order_notional_usdt,
        RiskLimit.SYMBOL_NOTIONAL: limits.symbol_notional_usdt,
        RiskLimit.TOTAL_NOTIONAL: limits.total_notional_usdt,
        RiskLimit.POSITIONS: limits.positions,
        RiskLimit.INTENTS_PER_MINUTE: limits.entries_per_minute,
        RiskLimit.DAY_LOSS: limits.day_loss_usdt,
    }


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
