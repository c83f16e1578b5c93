"""The streams of BingX: one for the account's events, one for prices; both heal themselves.

Whatever may have been missed is a gap: the iteration ends, and whoever iterates asks by REST before
it goes on (design §8, §10).  The listen key's life is here (dossier §2.6); how keys are asked for,
the clock and chance come in as arguments, what a frame means is in ``parse``.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol

from dita.clock import Clock
from dita.contracts import Record
from dita.errors import VenueError, shown
from dita.venues import StreamState
from dita.venues.bingx.rest.client import KeyExpired
from dita.venues.bingx.rows import Oddities
from dita.venues.bingx.stream.messages import read_frame
from dita.venues.bingx.stream.parse import NOTHING, ParsedFrame, UserEvents
from dita.venues.bingx.stream.socket import (
    TIMING,
    Backlog,
    Cause,
    Connect,
    Figures,
    Link,
    Timing,
    back_off_ms,
)
from dita.venues.bingx.values import UnreadableValue, read_id

_MS: Final = 1_000_000  # nanoseconds


class Keys(Protocol):
    """How listen keys are asked for.  Each may raise VenueError: then nothing is known."""

    async def create(self) -> str:
        """A key, valid for 60 minutes."""
        ...

    async def extend(self, key: str) -> None:
        """Sixty minutes from now.  KeyExpired when the exchange does not know it."""
        ...

    async def delete(self, key: str) -> None:
        """End it; one that is gone already is fine."""
        ...


class KeyTiming(Record, frozen=True, kw_only=True):
    """A key's life in milliseconds: it lapses 60 minutes after it was made or extended."""

    extend_ms: int = 30 * 60_000
    retry_ms: int = 60_000  # after an extension that failed
    rotate_ms: int = 50 * 60_000  # without an extension for so long: a new key beside the old one
    oldest_ms: int = 12 * 3_600_000  # so old a key is replaced in any case
    overlap_ms: int = 10_000  # both sockets are read for so long


KEY_TIMING: Final = KeyTiming()


class _Line:
    """A key and the socket on it.  Two sockets on one key would split the frames (dossier §4)."""

    def __init__(self, key: str, link: Link, now_ns: int) -> None:
        self.key = key
        self.link = link
        self.born_ns = self.extended_ns = self.tried_ns = now_ns
        self.reading = asyncio.ensure_future(link.run())


class UserStream:
    """The account's events, as long as it is open."""

    def __init__(
        self,
        url: str,
        keys: Keys,
        events: UserEvents,
        clock: Clock,
        draw: Callable[[int], int],
        timing: Timing = TIMING,
        key_timing: KeyTiming = KEY_TIMING,
        backlog: int = 10_000,
        tls: ssl.SSLContext | None = None,
        oddities: Oddities | None = None,
        connect_to: Connect | None = None,
    ) -> None:
        self._url = url
        self._tls = tls
        self._connect_to = connect_to
        self.oddities = oddities if oddities is not None else Oddities()
        self._keys = keys
        self._events = events
        self._clock = clock
        self._draw = draw
        self._timing = timing
        self._key_timing = key_timing
        self.figures = Figures(now_ns=clock.monotonic_ns)
        self._backlog: Backlog[ParsedFrame] = Backlog(backlog, self.figures)
        self._line: _Line | None = None
        self._next: _Line | None = None  # beside it, while a key is being replaced
        self._running: asyncio.Task[None] | None = None

    # -- what the venue calls --

    async def open(self) -> None:
        """Make a key, connect, and stay connected until ``close``.  VenueError at first failure."""
        self._line = await self._open(await self._keys.create())
        self._running = asyncio.ensure_future(self._run())
        self._running.add_done_callback(self._stopped)

    async def close(self) -> None:
        """Let go of sockets and keys; safe to call twice."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None
        for line in (self._next, self._line):
            if line is not None:
                await self._drop(line)
        self._line = self._next = None
        self._backlog.end()

    def told(self) -> AsyncIterator[ParsedFrame]:
        """What the frames say, up to the next gap.

        A loss is a gap at once, and so is the connection after it: ask after each, then iterate
        again.  Frames that come in between wait.  Ends for good after ``close``.
        """
        return self._backlog.read()

    def state(self) -> StreamState:
        """Is there a socket, and how long has it been silent?"""
        lines = [line for line in (self._line, self._next) if line is not None]
        heard_ns = self.figures.heard_ns
        silent_ms = (self._clock.monotonic_ns() - heard_ns) // _MS if heard_ns else -1
        if any(not line.reading.done() for line in lines):
            return StreamState(connected=True, silent_ms=silent_ms)
        trouble = self.figures.trouble or "not connected"
        return StreamState(connected=False, silent_ms=silent_ms, trouble=trouble)

    def put(self, told: ParsedFrame) -> None:
        """Tell of something found out beside the stream, in its place behind what came so far."""
        self._backlog.put(told)

    def _stopped(self, task: asyncio.Task[None]) -> None:
        # Nothing ends it but close, or a fault of ours: the reader must learn of that.
        self._backlog.end(None if task.cancelled() else task.exception())

    # -- frames --

    def _take(self, key: str, text: bytes) -> None:
        try:
            frame = read_frame(text)
            if frame.e == "listenKeyExpired":
                self._expire(read_id(frame.listen_key, "listenKey") or key)
                return
            told = self._events.read(frame, self._clock.now_ms())
        except UnreadableValue as error:  # it may have been about anything: everything is asked for
            self.figures.trouble = str(error)
            self.oddities.note("frame", "anything", str(error))
            self._backlog.gap(Cause.UNREADABLE)
            return
        for row in told.odd:
            name = row.client_order_id or row.venue_order_id
            self.oddities.note("frame", f"{row.asset} {name}".strip(), row.why)
        if told is not NOTHING:
            self._backlog.put(told)
        elif frame.ac is None:
            self.figures.unread += 1
            if frame.code:  # an answer to something that we never sent (dossier §1.4, 80014)
                self.figures.trouble = f"code {shown(frame.code)}"

    def _expire(self, key: str) -> None:
        # The socket may stay open, and silent (dossier §3.2).
        for line in (self._line, self._next):
            if line is not None and line.key == key:
                line.link.abort(Cause.KEY_EXPIRED)

    # -- life --

    async def _run(self) -> None:
        failures = 0
        while True:
            cause = await self._live()
            lost, self._line = self._current(), None
            if self._age_ms(lost.born_ns) > self._timing.back_off_max_ms:
                failures = 0
            await self._connect_again(lost.key, cause, failures)
            failures += 1

    def _current(self) -> _Line:
        if self._line is None:
            raise RuntimeError("the stream is not open")
        return self._line

    async def _connect_again(self, lost_key: str, cause: Cause, failures: int) -> None:
        ended = cause is Cause.KEY_EXPIRED
        while self._line is None:
            await asyncio.sleep(back_off_ms(self._timing, failures, self._draw) / 1000)
            failures += 1
            try:
                key = await self._keys.create()
                if key == lost_key and not ended:
                    # The lost socket may still be open on their side, and would take its share of
                    # the frames.
                    await self._delete(lost_key)
                    ended = True
                    key = await self._keys.create()
                self._line = await self._open(key)
            except VenueError as error:
                self.figures.trouble = str(error)
        self._backlog.gap(Cause.CONNECTED)
        if not ended:
            await self._delete(lost_key)

    async def _open(self, key: str) -> _Line:
        def take(text: bytes) -> None:
            self._take(key, text)

        address = f"{self._url}?listenKey={key}"
        try:
            link = await Link.open(
                address, take, self._timing, self.figures, self._tls, self._connect_to
            )
        except VenueError:
            await self._delete(key)  # whether it got a socket on their side nobody knows
            raise
        line = _Line(key, link, self._clock.monotonic_ns())
        line.reading.add_done_callback(lambda task: self._ended(line, task))
        return line

    def _ended(self, line: _Line, task: asyncio.Task[Cause]) -> None:
        if task.cancelled() or task.exception() is not None:
            return  # whoever awaits it gets that
        lines = [one for one in (self._line, self._next) if one is not None]
        if line in lines and all(one.reading.done() for one in lines):
            self._backlog.gap(task.result())

    async def _live(self) -> Cause:
        """Look after the key until the socket has ended."""
        while True:
            line = self._current()
            await asyncio.wait({line.reading}, timeout=self._rest_ms(line) / 1000)
            if line.reading.done():
                return line.reading.result()
            if self._rest_ms(line) <= 0:
                await self._keep(line)

    def _rest_ms(self, line: _Line) -> int:
        """How long until the key needs something."""
        t = self._key_timing
        retrying = line.tried_ns != line.extended_ns
        return (t.retry_ms if retrying else t.extend_ms) - self._age_ms(line.tried_ns)

    async def _keep(self, line: _Line) -> None:
        t = self._key_timing
        line.tried_ns = self._clock.monotonic_ns()
        try:
            if (
                self._age_ms(line.extended_ns) >= t.rotate_ms
                or self._age_ms(line.born_ns) >= t.oldest_ms
            ):
                await self._rotate(line)
            else:
                await self._keys.extend(line.key)
                line.extended_ns = line.tried_ns
        except KeyExpired:
            line.link.abort(Cause.KEY_EXPIRED)
        except VenueError as error:
            self.figures.trouble = str(error)

    async def _rotate(self, old: _Line) -> None:
        """A new key and a new socket, both read for a while, then the old ones go: no gap."""
        key = await self._keys.create()
        if key == old.key:  # made new by that; a second socket on it would split the frames
            old.born_ns = old.extended_ns = old.tried_ns
            return
        self._next = new = await self._open(key)
        await asyncio.wait(
            {old.reading, new.reading},
            timeout=self._key_timing.overlap_ms / 1000,
            return_when=asyncio.FIRST_COMPLETED,
        )
        self._next = None
        if new.reading.done():  # the old one goes on, as far as it still lives
            await self._delete(new.key)
            return
        self._line = new
        self.figures.rotations += 1
        await self._drop(old)

    async def _drop(self, line: _Line) -> None:
        await line.link.close()
        await asyncio.wait({line.reading})
        await self._delete(line.key)

    async def _delete(self, key: str) -> None:
        try:
            await self._keys.delete(key)
        except VenueError as error:  # it lapses by itself within the hour
            self.figures.trouble = str(error)

    def _age_ms(self, since_ns: int) -> int:
        return (self._clock.monotonic_ns() - since_ns) // _MS
