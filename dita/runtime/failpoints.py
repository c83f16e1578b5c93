"""Points at which a serve can be killed on purpose, so that a test can try them all.

Every call that changes the disk and every call of the venue is a point; the variable PINK_FAILPOINT
counts them or names the one to die at.  It knows nothing of what the calls mean, and works only
where no money is at stake.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, Final, cast

from dita.errors import SettingsError
from dita.journal import Disk
from dita.settings import VenueEnvironment
from dita.venues import Venue

VARIABLE: Final = "PINK_FAILPOINT"
_ASKING: Final = frozenset({"list", "size", "read", "open", "close", "free", "is_at"})
#: What is only read, again and again, and asks nobody.
_LOOKING: Final = frozenset({"health", "stream_state"})
#: Taken from the protocols, so that what is added to them becomes a point by itself.
DISK_CALLS: Final = frozenset(n for n in vars(Disk) if not n.startswith("_")) - _ASKING
VENUE_CALLS: Final = frozenset(n for n in vars(Venue) if not n.startswith("_")) - _LOOKING
_SPELLING: Final = re.compile(r"(count):(/.+)|([a-z_.]+):([1-9][0-9]*):(before|after)")


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Failpoints:
    """Counts the points that are passed, and dies at the one that was named."""

    def __init__(self, text: str, die: Callable[[], None] = _kill) -> None:
        """``count:/PATH`` writes a line per point; ``NAME:N:before`` or ``:after`` dies there."""
        found = _SPELLING.fullmatch(text)
        if found is None:
            raise SettingsError(
                f"{VARIABLE} refused",
                expected="count:/PATH, or NAME:N:before, or NAME:N:after",
                found=text,
                action="unset it: it is for tests",
            )
        self._die = die
        self._path = found[2] or ""
        self._deadly = (found[3] or "", int(found[4] or 0), found[5] or "")
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    @classmethod
    def of(cls, environ: Mapping[str, str], environment: VenueEnvironment) -> Failpoints | None:
        """What the variable asks for; SettingsError where there is money to lose."""
        text = environ.get(VARIABLE, "")
        if not text:
            return None
        if environment is not VenueEnvironment.MOCK:
            raise SettingsError(
                f"{VARIABLE} refused",
                expected="venue.environment = mock, nobody's money",
                found=environment.value,
                action="unset it: it kills the process on purpose",
            )
        return cls(text)

    def disk(self, disk: Disk) -> Disk:
        """The disk, its changing calls being points."""
        return cast("Disk", _Pointed(disk, "disk", DISK_CALLS, self))

    def venue(self, venue: Venue) -> Venue:
        """The venue, every call being a point."""
        return cast("Venue", _Pointed(venue, "venue", VENUE_CALLS, self))

    def enter(self, name: str) -> int:
        """A point begins; its number among those of the same name."""
        with self._lock:  # the journal's thread and the loop
            self._counts[name] += 1
            number = self._counts[name]
            if self._path:
                self._note(name)
        self._meet(name, number, "before")
        return number

    def leave(self, name: str, number: int) -> None:
        """A point has done its work, or failed."""
        self._meet(name, number, "after")

    def _meet(self, name: str, number: int, phase: str) -> None:
        if (name, number, phase) == self._deadly:
            self._die()

    def _note(self, name: str) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, f"{name}\n".encode())
        finally:
            os.close(fd)


class _Pointed:
    """Another object whose named methods are points."""

    def __init__(
        self, inner: object, prefix: str, names: frozenset[str], points: Failpoints
    ) -> None:
        self._inner = inner
        self._prefix = prefix
        self._names = names
        self._points = points

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._names:
            return found
        through = self._later if iscoroutinefunction(found) else self._now
        return partial(through, f"{self._prefix}.{name}", found)

    def _now(self, point: str, call: Callable[..., Any], *arguments: Any) -> Any:
        number = self._points.enter(point)
        try:
            return call(*arguments)
        finally:
            self._points.leave(point, number)

    async def _later(self, point: str, call: Callable[..., Any], *arguments: Any) -> Any:
        number = self._points.enter(point)
        try:
            return await call(*arguments)
        finally:
            self._points.leave(point, number)
