"""One websocket of BingX, and the bounded queue behind it that turns every hole into a marked gap.

Shared by the user and the market stream: frames are gunzipped with a bound, Ping is answered with
Pong, a silent socket is given up (dossier §3.1).  It knows neither keys nor what a frame says.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import zlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import StrEnum
from typing import Final, Generic, Protocol, TypeVar

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from dita.contracts import Record
from dita.errors import VenueError
from dita.venues.bingx.stream.messages import FRAME_BYTES_MAX
from dita.venues.bingx.tls import trusting
from dita.venues.bingx.values import UnreadableValue

T = TypeVar("T")

_GZIP: Final = 31  # zlib's name for "a gzip member and nothing else"
_PACKED_BYTES_MAX: Final = 256 * 1024
_LOOKS: Final = 4  # how often within the longest silence the watch looks

# Its debug lines quote the address, and so the listen key.
_NO_LOG: Final = logging.getLogger("dita.venues.bingx.websocket")
_NO_LOG.disabled = True


class Timing(Record, frozen=True, kw_only=True):
    """How long things may take, in milliseconds.  BingX sends Ping every 5 s."""

    silence_ms: int = 16_000
    open_ms: int = 10_000
    close_ms: int = 1_000
    back_off_min_ms: int = 500
    back_off_max_ms: int = 30_000


TIMING: Final = Timing()


class Cause(StrEnum):
    """Why there is a gap."""

    CLOSED = "closed"  # by the exchange or by the network, with or without a handshake
    SILENT = "silent"  # half open: nothing came, not even a Ping
    KEY_EXPIRED = "key_expired"
    UNREADABLE = "unreadable"
    OVERFLOW = "overflow"  # the reader of the queue is too slow
    CONNECTED = "connected"  # again: what came between the loss and now was not seen


class Figures(msgspec.Struct):
    """What a stream has been through."""

    frames: int = 0
    pings: int = 0
    connects: int = 0
    rotations: int = 0
    unread: int = 0  # frames of a kind that means nothing to us
    gaps: Counter[Cause] = msgspec.field(default_factory=Counter)
    trouble: str = ""  # the latest; never a key or an address
    heard_ns: int = 0  # when anything came, a Ping included; 0 for never
    now_ns: Callable[[], int] = lambda: 0


def gunzip(packed: bytes, limit: int = FRAME_BYTES_MAX) -> bytes:
    """Decompress one whole gzip member of at most ``limit`` bytes.  UnreadableValue otherwise."""
    inflate = zlib.decompressobj(_GZIP)
    try:
        text = inflate.decompress(packed, limit)
    except zlib.error as error:
        raise _unreadable(packed, str(error)) from error
    if not inflate.eof or inflate.unused_data:
        reason = "more than one member" if inflate.eof else "cut off, or too large inside"
        raise _unreadable(packed, reason)
    return text


def _unreadable(packed: bytes, reason: str) -> UnreadableValue:
    return UnreadableValue(
        "frame cannot be decompressed",
        expected=f"a gzip member of at most {FRAME_BYTES_MAX} bytes inside",
        found=f"{len(packed)} bytes ({reason})",
    )


class Backlog(Generic[T]):
    """Items that wait, bounded, with the gaps between them.

    One reader at a time reads up to the next gap; the next one goes on behind it.  Gaps that nobody
    has read yet are one gap, so that whoever asks again does so after the last of them.
    """

    def __init__(self, limit: int, figures: Figures) -> None:
        self._limit = limit
        self._figures = figures
        self._items: deque[T | Cause] = deque()
        self._news = asyncio.Event()
        self._over = False
        self._fault: BaseException | None = None

    def put(self, item: T) -> None:
        """An item arrives; one too many makes a gap of all that wait."""
        if len(self._items) >= self._limit:
            self._items.clear()
            self.gap(Cause.OVERFLOW)
            return
        self._items.append(item)
        self._news.set()

    def gap(self, cause: Cause) -> None:
        """From here on something may be missing."""
        self._figures.gaps[cause] += 1
        if not (self._items and isinstance(self._items[-1], Cause)):
            self._items.append(cause)
        self._news.set()

    def end(self, fault: BaseException | None = None) -> None:
        """Nothing will come any more; with a fault, whoever reads gets it."""
        self._over, self._fault = True, fault
        self._news.set()

    async def read(self) -> AsyncIterator[T]:
        """The items up to the next gap, or to the end."""
        while True:
            while self._items:
                item = self._items.popleft()
                if isinstance(item, Cause):
                    return
                yield item
            if self._fault is not None:
                raise self._fault
            if self._over:
                return
            self._news.clear()
            await self._news.wait()


class Connection(Protocol):
    """What a link uses of an open websocket."""

    @property
    def recv(self) -> Callable[[], Awaitable[bytes | str]]:
        """Waits for the next message.  ConnectionClosed or OSError when there will be none."""

    async def send(self, text: str) -> None:
        """ConnectionClosed or OSError when it is closed."""

    async def close(self) -> None:
        """The closing handshake."""

    def abort(self) -> None:
        """Close at once."""


class Connect(Protocol):
    """Opens a websocket to an address; any exception means that there is none."""

    async def __call__(
        self, url: str, *, timing: Timing, tls: ssl.SSLContext | None
    ) -> Connection: ...


class _Websocket:
    """The library's connection as a link uses it."""

    def __init__(self, socket: ClientConnection) -> None:
        self.recv = socket.recv
        self._socket = socket

    async def send(self, text: str) -> None:
        await self._socket.send(text)

    async def close(self) -> None:
        await self._socket.close()

    def abort(self) -> None:
        self._socket.transport.abort()


class _Straight(connect):
    """Connects where it is told to and nowhere else: a redirect would hand over the listen key."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """No redirect is followed."""
        return exc


async def open_websocket(url: str, *, timing: Timing, tls: ssl.SSLContext | None) -> Connection:
    """A real websocket to the exchange, with every implicit behaviour of the library off."""
    socket = await _Straight(
        url,
        compression=None,  # the frames are compressed already
        max_size=_PACKED_BYTES_MAX,
        ping_interval=None,  # theirs is a text
        open_timeout=timing.open_ms / 1000,
        close_timeout=timing.close_ms / 1000,
        proxy=None,
        logger=_NO_LOG,
        user_agent_header=None,
        ssl=(tls or trusting()) if url.startswith("wss:") else None,
    )
    return _Websocket(socket)


class Link:
    """One websocket, from opening to its end.  ``take`` gets every text but Ping."""

    def __init__(
        self, socket: Connection, take: Callable[[bytes], None], timing: Timing, f: Figures
    ) -> None:
        self._socket = socket
        self._take = take
        self._timing = timing
        self._figures = f
        self._heard = 0
        self._ending: Cause | None = None

    @classmethod
    async def open(
        cls,
        url: str,
        take: Callable[[bytes], None],
        timing: Timing,
        figures: Figures,
        tls: ssl.SSLContext | None = None,
        connect_to: Connect | None = None,
    ) -> Link:
        """Connect; with wss ``tls`` says whom to trust.  VenueError, without the address: it holds
        the listen key."""
        connect_to = connect_to or open_websocket
        try:
            socket = await connect_to(url, timing=timing, tls=tls)
        except Exception as error:  # noqa: BLE001 - of the library or of a peer, whatever it is
            # Only what the system says of the connection is shown; it names no address.
            words = f" {error}" if isinstance(error, ssl.SSLError) else ""
            raise VenueError(
                "stream cannot be opened",
                found=f"{type(error).__name__}{words}",
                action="it is tried again",
            ) from None
        figures.connects += 1
        return cls(socket, take, timing, figures)

    async def run(self) -> Cause:
        """Read until the end, and say why it ended."""
        watch = asyncio.ensure_future(self._watch())
        try:
            while True:
                message = await self._socket.recv()
                self._heard += 1
                self._figures.heard_ns = self._figures.now_ns()
                text = message.encode() if isinstance(message, str) else gunzip(message)
                if text == b"Ping":
                    self._figures.pings += 1
                    await self._socket.send("Pong")
                    continue
                self._figures.frames += 1
                self._take(text)
        except (ConnectionClosed, OSError) as error:
            self._figures.trouble = type(error).__name__
            return self._ending or Cause.CLOSED
        except UnreadableValue as error:
            self._figures.trouble = str(error)
            return Cause.UNREADABLE
        finally:
            watch.cancel()
            self.abort(Cause.CLOSED)

    async def send(self, text: str) -> None:
        """Send a text.  VenueError when the socket is gone."""
        try:
            await self._socket.send(text)
        except (ConnectionClosed, OSError) as error:
            raise VenueError("stream is closed", found=type(error).__name__) from error

    def abort(self, cause: Cause) -> None:
        """End it now, without the closing handshake; safe to call twice."""
        self._ending = self._ending or cause
        self._socket.abort()

    async def close(self) -> None:
        """End it in good order, within the time for that."""
        with contextlib.suppress(ConnectionClosed, OSError):
            await self._socket.close()

    async def _watch(self) -> None:
        heard, looks = -1, 0
        while True:
            await asyncio.sleep(self._timing.silence_ms / 1000 / _LOOKS)
            looks = looks + 1 if self._heard == heard else 0
            heard = self._heard
            if looks >= _LOOKS:
                self.abort(Cause.SILENT)
                return


def back_off_ms(timing: Timing, failures: int, draw: Callable[[int], int]) -> int:
    """How long to wait after so many failures in a row: doubled each time, half of it by chance."""
    whole = min(timing.back_off_max_ms, timing.back_off_min_ms << min(failures, 16))
    return whole // 2 + draw(whole // 2 + 1)
