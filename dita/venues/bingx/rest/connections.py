"""Kept HTTP/1.1 connections as an httpx transport: each request is written once, or not at all.

What is raised says whether a byte left: httpx's connection errors mean that none did, its other
errors that one may have.  It must not know endpoints, keys or what an answer says.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import httpx

from dita.venues.bingx.rest.answer import Answer

#: Requests under way at once; more wait for ``pool`` seconds.
REQUESTS_MAX: Final = 32
KEPT_MAX: Final = 8
#: How long a server, or whatever lies between, is thought to keep an idle connection until it shows
#: or says less.  None is used that was idle for more than half of it.
IDLE_LIMIT_S: Final = 60.0
#: An early end is forgotten after so many others: a restart of theirs says nothing of a limit.
_LIMITS_SEEN: Final = 8
#: Of the time for connecting; the rest is IPv4's, in case IPv6 leads nowhere.
_FIRST_SHARE: Final = 2 / 3
_TARGET: Final = re.compile(rb"[\x21-\x7e]+")
_FIELD: Final = re.compile(rb"[^\x00\r\n]*")


class Origin(NamedTuple):
    """Where a connection leads."""

    is_secure: bool
    host: str
    port: int


class Times(NamedTuple):
    """How long things may take, in seconds; ``read_s`` counts from the last byte."""

    connect_s: float
    read_s: float
    pool_s: float

    @classmethod
    def of(cls, request: httpx.Request) -> Times:
        """As the request says."""
        times = request.extensions["timeout"]
        return cls(times["connect"], times["read"], times["pool"])


class Connection(asyncio.Protocol):
    """One connection, which carries one request at a time.

    ``on_end`` is told when it is gone, and for how many seconds it was idle then; None when that
    was not what ended it.
    """

    def __init__(self, on_end: Callable[[Connection, float | None], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_end = on_end
        self._transport: asyncio.Transport
        self._answer: Answer | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard_s = 0.0
        self._idle_s: float | None = None
        self._poll: select.poll | None = None
        self.idle_since_s = self._loop.time()
        self.is_over = False

    # -- what the loop calls -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is not None:
            self._poll = select.poll()
            self._poll.register(sock.fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer; or of none, and then nothing here can be trusted any more."""
        if self._answer is None:
            # Some servers say "408 Request Timeout" before they end an idle connection.
            self._ended(None)
            self.drop()
            return
        self._heard_s = self._loop.time()
        try:
            if self._answer.feed(data):
                self._answered(self._answer)
        except Exception as odd:  # noqa: BLE001 - whatever it is, it is whose who waits
            self._fail(odd)

    def eof_received(self) -> bool:
        """The server sends nothing more."""
        self._ended(None)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """It is gone."""
        self._ended(error)
        self._on_end(self, self._idle_s)

    # -- one request -------------------------------------------------------------------------------

    @property
    def is_silent(self) -> bool:
        """Has nothing arrived that nobody has read, not even an end?  As of this moment."""
        return self._poll is None or not self._poll.poll(0)

    async def is_usable(self) -> bool:
        """Look at the socket itself: what has arrived there may not have been read yet."""
        try:
            for _ in range(2):  # turns of the loop until it has read: a TLS ticket is no end
                if self.is_over or self.is_silent:
                    break
                await asyncio.sleep(0)
        except BaseException:  # cancelled: nobody else would end it
            self.drop()
            raise
        if not self.is_over and not self.is_silent:
            self.drop()
        return not self.is_over

    async def ask(self, request: bytes, read_s: float, body_bytes_max: int) -> Answer:
        """Write a request and wait for its answer.  To be called as soon as it was usable."""
        self._answer = Answer(body_bytes_max)
        waiter: asyncio.Future[Answer] = self._loop.create_future()
        self._waiter = waiter
        self._heard_s = self._loop.time()
        self._timer = self._loop.call_later(read_s, self._look, read_s)
        try:
            # Far below what a socket takes at once, so nothing has to wait for room.
            self._transport.write(request)
            return await waiter
        except BaseException:  # an answer that comes later would be taken for the next one's
            self.drop()
            raise
        finally:
            self._timer.cancel()

    def drop(self) -> None:
        """End it, at once; safe to call twice."""
        self.is_over = True
        self._transport.abort()

    def _look(self, read_s: float) -> None:
        left_s = self._heard_s + read_s - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look, read_s)
        else:
            self._fail(httpx.ReadTimeout("nothing came"))

    def _answered(self, answer: Answer) -> None:
        """The answer is whole: from here on nothing more may come."""
        self._answer = None
        self.idle_since_s = self._loop.time()
        if not answer.keeps:
            self.drop()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(answer)

    def _fail(self, error: Exception) -> None:
        self._answer = None
        self.drop()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def _ended(self, error: Exception | None) -> None:
        answer, was_over, self.is_over = self._answer, self.is_over, True
        if answer is None:
            if not was_over:
                self._idle_s = self._loop.time() - self.idle_since_s
        elif error is not None:
            self._fail(httpx.ReadError(_words(error)))
        elif answer.end():
            self._answered(answer)
        else:
            self._fail(httpx.RemoteProtocolError("the server has ended the connection"))


class Connections(httpx.AsyncBaseTransport):
    """A transport for httpx: HTTP/1.1, kept connections, no retry, no redirect, no proxy.

    Raises ConnectError, ConnectTimeout, PoolTimeout or UnsupportedProtocol when nothing was
    written, other errors afterwards.  A connection is used only while it is certain to be open: not
    after half of the time for which the server keeps an idle one, and not when its end has arrived.
    """

    def __init__(self, tls: ssl.SSLContext, body_bytes_max: int) -> None:
        self._tls = tls
        tls.set_alpn_protocols(["http/1.1"])
        self._body_bytes_max = body_bytes_max
        self._kept: dict[Origin, list[Connection]] = {}
        self._open: set[Connection] = set()
        self._room = asyncio.Semaphore(REQUESTS_MAX)
        self._limits_s: deque[float] = deque(maxlen=_LIMITS_SEEN)
        self._told_s = IDLE_LIMIT_S
        #: How many connections were made.
        self.made = 0

    @property
    def idle_limit_s(self) -> float:
        """How long an idle connection is kept by the server, as far as it is known."""
        return min(IDLE_LIMIT_S, self._told_s, *self._limits_s)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it once, and read the whole answer."""
        origin, written = _origin_of(request), _written(request)
        times = Times.of(request)
        try:
            async with asyncio.timeout(times.pool_s):
                await self._room.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("too many requests at once") from None
        try:
            connection = await self._usable(origin, times.connect_s)
            answer = await connection.ask(written, times.read_s, self._body_bytes_max)
            self._keep(origin, connection, answer)
        finally:
            self._room.release()
        return httpx.Response(
            answer.status, headers=answer.headers, stream=httpx.ByteStream(bytes(answer.body))
        )

    async def aclose(self) -> None:
        """End every connection."""
        self._kept.clear()
        for connection in tuple(self._open):
            connection.drop()
        for _ in range(2):  # the loop closes the sockets in its next turns
            await asyncio.sleep(0)

    # -- connections -------------------------------------------------------------------------------

    async def _usable(self, origin: Origin, connect_s: float) -> Connection:
        """One on which the next byte goes out at once: the one used last, or a new one."""
        kept = self._kept.setdefault(origin, [])
        while kept and self._idle_s(kept[-1]) <= self.idle_limit_s / 2:
            connection = kept.pop()
            if await connection.is_usable():
                return connection
        # Those that were idle for longer stay open, unused, and show when the server ends them.
        connection = await self._connected(origin, connect_s)
        if not await connection.is_usable():
            raise httpx.ConnectError("ended by the server before anything was sent")
        return connection

    async def _connected(self, origin: Origin, connect_s: float) -> Connection:
        for family, limit_s in (
            (socket.AF_UNSPEC, connect_s * _FIRST_SHARE),
            (socket.AF_INET, connect_s * (1 - _FIRST_SHARE)),
        ):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    return await self._opened(origin, family)
        raise httpx.ConnectTimeout("no connection in time")

    async def _opened(self, origin: Origin, family: int) -> Connection:
        try:
            # Not with happy eyeballs: cancelled at the wrong moment it leaves a socket open.
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(self._ended),
                origin.host,
                origin.port,
                family=family,
                ssl=self._tls if origin.is_secure else None,
                server_hostname=origin.host if origin.is_secure else None,
            )
        except TimeoutError:
            raise
        except (OSError, ValueError) as failed:
            raise httpx.ConnectError(_words(failed)) from failed
        self.made += 1
        self._open.add(connection)
        return connection

    def _keep(self, origin: Origin, connection: Connection, answer: Answer) -> None:
        if answer.kept_s:
            self._told_s = float(answer.kept_s)
        if connection.is_over:
            return
        kept = self._kept[origin]
        kept.append(connection)
        while len(kept) > KEPT_MAX:
            kept.pop(0).drop()
        while self._idle_s(kept[0]) > IDLE_LIMIT_S:
            self._limits_s.append(IDLE_LIMIT_S)
            kept.pop(0).drop()

    @staticmethod
    def _idle_s(connection: Connection) -> float:
        return asyncio.get_running_loop().time() - connection.idle_since_s

    def _ended(self, connection: Connection, idle_s: float | None) -> None:
        """A connection is gone; one that the server ended while it was idle shows its limit."""
        self._open.discard(connection)
        if idle_s is not None:
            self._limits_s.append(idle_s)
        for kept in self._kept.values():
            with contextlib.suppress(ValueError):
                kept.remove(connection)


def _origin_of(request: httpx.Request) -> Origin:
    url = request.url
    if url.scheme not in ("http", "https"):
        raise httpx.UnsupportedProtocol("neither http nor https")
    is_secure = url.scheme == "https"
    host = url.raw_host.decode("ascii").strip("[]")
    return Origin(is_secure, host, url.port or (443 if is_secure else 80))


def _written(request: httpx.Request) -> bytes:
    """The request's bytes; ours have no body.  UnsupportedProtocol for what HTTP cannot carry."""
    method, target = request.method.encode("ascii"), request.url.raw_path
    lines = [b"%s %s HTTP/1.1" % (method, target)]
    is_sound = _TARGET.fullmatch(target) is not None
    for name, value in request.headers.raw:
        lines.append(b"%s: %s" % (name, value))
        is_sound = is_sound and _FIELD.fullmatch(value) is not None
    if not is_sound:
        raise httpx.UnsupportedProtocol("a character that HTTP/1.1 cannot carry")
    return b"\r\n".join((*lines, b"", request.content))


def _words(error: BaseException) -> str:
    """What the system says; no address is in it."""
    if isinstance(error, ssl.SSLError):
        return str(error)
    if isinstance(error, OSError) and error.errno:
        # What a resolver says has numbers of its own.
        is_resolver = isinstance(error, socket.gaierror)
        return str(error.strerror) if is_resolver else os.strerror(error.errno)
    return type(error).__name__
