"""What `flatten --emergency` needs around the deed: the right place, what is ours, lock and log.

Composes them from the settings and from whatever is left of a state directory.  It is held to that
directory as serve is; where the directory cannot say what it belongs to, a person has to.  What is
done at the exchange is in ``flatten``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from dita.clock import MachineClock, SystemClock
from dita.errors import AlreadyRunning, RefusedForSafety, SettingsError, UsageError
from dita.identity import plain_symbol
from dita.journal import Salvage
from dita.runtime.emergency.flatten import Emergency, EmergencyLog, Plan, Say, traded
from dita.runtime.emergency.owned import Known, closable, known_by, own_size, said
from dita.runtime.equal_errors import EqualErrors
from dita.runtime.state.lock import StateLock
from dita.runtime.state.place import place_by_settings, written_environment
from dita.runtime.state.store import JOURNAL_FOLDER
from dita.runtime.venue_factory import venue_of
from dita.runtime.world import World
from dita.settings import Settings, VenueEnvironment, VenueKind
from dita.units import format_money
from dita.venues import PositionReport, QueryFailed, Venue


class Confirmed(NamedTuple):
    """What a person typed because nothing else could prove it."""

    host: str = ""
    money: str = ""
    words: tuple[str, ...] = ()
    quantity_e8: int = 0


NOTHING_SAID: Final = Confirmed()


class EmergencySession:
    """One emergency of one state directory.

    RefusedForSafety for settings that name no exchange, SettingsError when the state directory
    belongs to other money or to another namespace.
    """

    def __init__(
        self,
        settings: Settings,
        directory: Path,
        symbols: Iterable[str],
        *,
        everything: bool,
        limit_s: int,
        confirmed: Confirmed = NOTHING_SAID,
        clock: MachineClock | None = None,
    ) -> None:
        check_venue(settings)
        self.settings = settings
        self.directory = directory
        self.symbols = tuple(symbols)
        self.everything = everything
        self.limit_s = limit_s
        self.confirmed = confirmed
        self.clock = clock or SystemClock()
        self.place = place_by_settings(settings, directory)
        self.replayed = Salvage(directory / JOURNAL_FOLDER).replay()
        #: What the directory cannot say of itself, in words; "" when it is proven to be this place.
        self.unproven = self._hold_to_the_directory()
        if confirmed.quantity_e8 and (everything or len(self.symbols) != 1):
            raise UsageError(
                "--quantity refused",
                expected="exactly one --symbol with it",
                found="another number",
            )

    # -- the right place ---------------------------------------------------------------------------

    def _hold_to_the_directory(self) -> str:
        """Compare its environment and namespace with the settings, as far as it tells them."""
        venue, namespace = self.settings.venue, self.settings.kernel.namespace
        environment = written_environment(self.directory)
        if environment and environment != venue.environment.value:
            raise SettingsError(
                "the state directory belongs to other money",
                expected=f"venue.environment = {environment}, as {self.directory} says",
                found=f"{venue.environment.value} ({self.settings.origins['venue.environment']})",
                action="name the settings file of that state directory with --config",
            )
        engine = self.replayed.engine
        begun = engine.kernel.config.namespace if engine is not None else ""
        if begun and begun != namespace:
            raise SettingsError(
                "the state directory belongs to another namespace",
                expected=f"kernel.namespace = {begun}, with which its journal was begun",
                found=f"{namespace} ({self.settings.origins['kernel.namespace']})",
                action="name the settings file of that state directory with --config",
            )
        missing = [] if environment else ["which money it is for"]
        missing += [] if begun else ["whose journal it has"]
        return f"{self.directory} does not say {' and '.join(missing)}" if missing else ""

    def check_place(self, plan: Plan) -> None:
        """When nothing proves the place a person has to say it.  RefusedForSafety."""
        if not self.unproven or self.settings.venue.environment is VenueEnvironment.MOCK:
            return
        host, money = self.place["host"], self.place["money"]
        symbols = sorted({p.asset for p in plan.positions} | {o.asset for o in plan.orders})
        said = {plain_symbol(word) for word in self.confirmed.words}
        named = self.everything or said >= {plain_symbol(symbol) for symbol in symbols}
        if self.confirmed.host == host and self.confirmed.money == money and named:
            return
        confirm = "".join(f" --confirm {symbol}" for symbol in symbols)
        raise RefusedForSafety(
            f"it is not proven that this is the place: {self.unproven}",
            expected=f"--host {host} --money {money}{'' if self.everything else confirm}",
            found=f"--host {self.confirmed.host or 'nothing'}, --money"
            f" {self.confirmed.money or 'nothing'}, --confirm"
            f" {' '.join(self.confirmed.words) or 'nothing'}",
            action="look at the first line and at the plan: is it the right account? Then add them",
        )

    def check_all(self, plan: Plan) -> None:
        """With --all the number of positions has to be said.  RefusedForSafety."""
        number = str(len(plan.positions))
        if self.everything and number not in self.confirmed.words:
            said = " ".join(self.confirmed.words)
            raise RefusedForSafety(
                "--all closes what may be somebody else's",
                expected=f"--confirm {number}, the positions that the plan shows",
                found=f"--confirm {said}" if said else "no --confirm",
                action="look at the plan, then add it",
            )

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

    # -- the deed ----------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def locked(self, say: Say, complain: Say) -> AsyncIterator[Emergency]:
        """The deed, ready to begin, while no serve runs.  AlreadyRunning, VenueError."""
        lock = self._lock()
        venue = venue_of(self.settings, World.of_machine(self.clock))
        log = EmergencyLog(self.directory, self.clock, complain)
        errors = EqualErrors(self.clock)
        errors.note_journalled(Salvage(self.directory / JOURNAL_FOLDER).inputs())
        try:
            await venue.connect()
            say(f"account: {await wallet_of(venue)}")
            known = await self._known(venue)

            async def share(position: PositionReport) -> int:
                return closable(position, await own_size(position, known, venue.all_orders))

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
                share=share,
                errors=errors,
            )
        finally:
            await venue.close()
            log.close()
            if lock is not None:
                lock.release()

    async def _known(self, venue: Venue) -> Known:
        """What is ours up to now: by the journal, or by a person's word about one symbol."""
        if not self.confirmed.quantity_e8:
            ahead_ms = await venue.server_time_ms() - self.clock.now_ms()
            hedge = self.settings.kernel.hedge
            return known_by(self.replayed, ahead_ms=ahead_ms, hedge=hedge)
        symbol = plain_symbol(self.symbols[0])
        positions = (await venue.positions()).about(symbol)
        found = [p for p in positions if plain_symbol(p.asset) == symbol]
        if len(found) != 1:
            raise UsageError(
                "--quantity refused",
                expected=f"one position on {self.symbols[0]} at the exchange",
                found=str(len(found)),
            )
        orders = await venue.all_orders(found[0].asset, 0)
        return said(found[0], self.confirmed.quantity_e8, orders)

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


def check_venue(settings: Settings) -> None:
    """RefusedForSafety for settings that name no exchange: nothing could be closed there."""
    if settings.packaged or settings.venue.kind is VenueKind.MOCK:
        raise RefusedForSafety(
            "these settings name no exchange: nothing of yours can be open there",
            expected="a settings file with venue.kind bingx",
            found=f"venue.kind {settings.venue.kind.value} ({settings.origins['venue.kind']})",
            action="name the settings of the serve that traded: pink-ctl flatten --emergency"
            " --config FILE",
        )


async def wallet_of(venue: Venue) -> str:
    """The wallet, by which a person knows an account; that it is not known stops nothing."""
    try:
        balance = await venue.balance()
    except QueryFailed as bad:
        return f"wallet not known ({bad})"
    return f"wallet {format_money(balance.wallet, 2)} USDT"
