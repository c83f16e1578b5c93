"""What `flatten --emergency` needs around the deed: symbols, lock, venue, log, confirmation.

Composes them from the settings and from whatever is left of a state directory; what is done at the
exchange is in ``emergency``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from dita.clock import Clock, SystemClock
from dita.errors import AlreadyRunning, RefusedForSafety, UsageError
from dita.runtime.emergency import Emergency, EmergencyLog, Plan, Say, traded
from dita.runtime.factory import JOURNAL_FOLDER, venue_of
from dita.runtime.lock import StateLock
from dita.settings import Settings


class WayOut:
    """One emergency of one state directory."""

    def __init__(
        self,
        settings: Settings,
        directory: Path,
        symbols: Iterable[str],
        *,
        everything: bool,
        limit_s: int,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings
        self.directory = directory
        self.symbols = tuple(symbols)
        self.everything = everything
        self.limit_s = limit_s
        self.clock = clock or SystemClock()

    def find_symbols(self, say: Say) -> None:
        """Those that were named; else those of the journal.  UsageError when there are none."""
        if self.symbols and not self.everything:
            return
        found, problems = traded(self.directory / JOURNAL_FOLDER)
        for problem in problems:
            say(f"journal: {problem}; symbols that only stand behind it are not known")
        self.symbols += found
        if not self.symbols and not self.everything:
            raise UsageError(
                "no symbol is known",
                expected="--symbol, or a journal that can be read in part",
                found=f"nothing in {self.directory / JOURNAL_FOLDER}",
                action="name them with --symbol, or take --all",
            )

    @contextlib.asynccontextmanager
    async def locked(self, say: Say, complain: Say) -> AsyncIterator[Emergency]:
        """The deed, ready to begin, while no serve runs.  AlreadyRunning, VenueError."""
        lock = self._lock()
        venue = venue_of(self.settings, self.clock)
        log = EmergencyLog(self.directory, self.clock, complain)
        try:
            await venue.connect()
            yield Emergency(
                venue,
                self.clock,
                log,
                say,
                symbols=self.symbols,
                everything=self.everything,
                namespace=self.settings.kernel.namespace,
                absence_fence_ms=1_000 * self.settings.venue.absence_fence_s,
                limit_s=self.limit_s,
            )
        finally:
            await venue.close()
            log.close()
            if lock is not None:
                lock.release()

    def _lock(self) -> StateLock | None:
        try:
            return StateLock(self.directory)
        except AlreadyRunning as held:
            raise AlreadyRunning(
                "a serve runs, and it knows its orders",
                expected="no serve on this state directory",
                found=held.found,
                action="use `pink-ctl intent flatten --reason WHY --apply`, or stop serve first",
            ) from held
        except OSError as bad:
            if os.path.exists(self.directory / "lock"):
                raise
            del bad  # nobody ever held it, and on this disk nobody can begin to
            return None

    def check(self, plan: Plan, confirmed: int) -> None:
        """With --all the number of positions has to be said.  RefusedForSafety."""
        if self.everything and confirmed != len(plan.positions):
            raise RefusedForSafety(
                "--all closes what may be somebody else's",
                expected=f"--confirm {len(plan.positions)}, the positions that the plan shows",
                found=f"--confirm {confirmed}" if confirmed >= 0 else "no --confirm",
                action="look at the plan, then add it",
            )
