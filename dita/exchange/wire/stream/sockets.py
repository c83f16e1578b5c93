"""One websocket of the exchange and all of them together: gzip frames, Ping and Pong, topics.

Sends bytes that others built and answers subscriptions; which events there are it does not know.
Every time here is the exchange's clock, so a test moves it by hand (dossier §3.1).
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from dita.exchange.wire.signing import read_request

if TYPE_CHECKING:
    from dita.exchange.wire.session import Session

PING_MS: Final = 5_000
PONGS_MISSED_MAX: Final = 2
TOPICS_MAX: Final = 200
_GZIP: Final = 31  # zlib's window bits for a gzip member
_WAITING_MAX: Final = 100_000  # frames; a reader that slow is dropped

encode = msgspec.json.encode


def gzipped(payload: bytes) -> bytes:
    """One complete gzip member, as every frame is."""
    packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
    return packer.compress(payload) + packer.flush()


PING: Final = gzipped(b"Ping")


class Wire(Protocol):
    """What carries the frames: a websocket, or a pipe inside one process."""

    async def send_bytes(self, frame: bytes) -> None:
        """ConnectionError when the other side is gone."""

    def texts(self) -> AsyncIterator[str]:
        """What the client says, until either side closes."""

    def abort(self) -> None:
        """Close without a handshake."""


class Socket:
    """One connection. ``listen_key`` is empty on a socket for market data alone."""

    def __init__(self, wire: Wire, listen_key: str, now_ms: int) -> None:
        self.listen_key = listen_key
        self.topics: set[str] = set()
        self.silent_until_ms = 0
        self.pings_open = 0
        self.next_ping_ms = now_ms + PING_MS
        self._wire = wire
        self._frames: asyncio.Queue[bytes] = asyncio.Queue(_WAITING_MAX)

    def send(self, frame: bytes, now_ms: int) -> None:
        """Queue a frame; on a half-open socket it is lost."""
        if now_ms < self.silent_until_ms:
            return
        try:
            self._frames.put_nowait(frame)
        except asyncio.QueueFull:
            self.drop()

    def drop(self) -> None:
        """Close the connection without a handshake, as the exchange does (issue 25)."""
        self._wire.abort()

    def pulse(self, now_ms: int) -> None:
        """Send a Ping when it is time; drop a client that left two of them unanswered."""
        if now_ms < self.next_ping_ms:
            return
        self.next_ping_ms = now_ms + PING_MS
        if now_ms < self.silent_until_ms:
            return
        if self.pings_open >= PONGS_MISSED_MAX:
            self.drop()
            return
        self.pings_open += 1
        self.send(PING, now_ms)

    async def run(self, heard: Callable[[Socket, str], None]) -> None:
        """Serve until either side closes; ``heard`` gets every text that is not a Pong."""
        writer = asyncio.ensure_future(self._write())
        try:
            async for text in self._wire.texts():
                if text == "Pong":
                    self.pings_open = 0
                else:
                    heard(self, text)
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _write(self) -> None:
        while True:
            frame = await self._frames.get()
            try:
                await self._wire.send_bytes(frame)
            except ConnectionError:
                return  # the reader's loop ends by itself


class Hub:
    """All open sockets."""

    def __init__(self, split_users: bool = False) -> None:
        self.sockets: list[Socket] = []
        self._split_users = split_users
        self._dealt = 0

    def users(self, alive: Callable[[str], bool]) -> list[Socket]:
        """The sockets whose listen key lives."""
        return [each for each in self.sockets if each.listen_key and alive(each.listen_key)]

    def push_user(self, payload: bytes, alive: Callable[[str], bool], now_ms: int) -> None:
        """Send one event to the account's sockets.

        With ``split_users`` sockets of one key get different events, each only one of them, as
        users report (dossier §4, row 2).
        """
        users = self.users(alive)
        if not users:
            return
        frame = gzipped(payload)
        if self._split_users:
            self._dealt += 1
            users = [users[self._dealt % len(users)]]
        for each in users:
            each.send(frame, now_ms)

    def push_key(self, payload: bytes, key: str, now_ms: int) -> None:
        """Send to the sockets of one listen key, whether it lives or not."""
        for each in self.sockets:
            if each.listen_key == key:
                each.send(gzipped(payload), now_ms)

    def topics(self) -> set[str]:
        """Everything that anybody has subscribed to."""
        return {topic for each in self.sockets for topic in each.topics}

    def wanted(self, topic: str) -> bool:
        """Whether anybody has subscribed to it."""
        return any(topic in each.topics for each in self.sockets)

    def push_topic(self, topic: str, payload: bytes, now_ms: int) -> None:
        """Send market data to its subscribers."""
        frame = gzipped(payload)
        for each in self.sockets:
            if topic in each.topics:
                each.send(frame, now_ms)

    def pulse(self, now_ms: int) -> None:
        """Ping everybody whose time has come."""
        for each in list(self.sockets):
            each.pulse(now_ms)

    def silence(self, until_ms: int) -> None:
        """Make the user sockets half-open: nothing goes out, no Ping, and they stay connected."""
        for each in self.sockets:
            if each.listen_key:
                each.silent_until_ms = until_ms

    def drop_users(self) -> None:
        """Close the user sockets without a handshake."""
        for each in self.sockets:
            if each.listen_key:
                each.drop()

    def drop_all(self) -> None:
        """Close everything; the exchange stops."""
        for each in self.sockets:
            each.drop()


async def serve_socket(session: Session, wire: Wire, raw_path: str) -> None:
    """One websocket from its request to its end.  ConnectionError when it breaks."""
    listen_key = read_request(raw_path, b"", "").values.get("listenKey", "")
    socket = Socket(wire, listen_key, session.now_ms())

    def heard(socket: Socket, text: str) -> None:
        now_ms = session.now_ms()
        ack, fresh = control_answer(socket, text, session.topics.known)
        socket.send(gzipped(ack), now_ms)
        for topic in fresh:
            if greeting := session.topics.greet(topic):
                socket.send(gzipped(greeting), now_ms)

    session.connected(socket)
    try:
        await socket.run(heard)
    finally:
        session.hub.sockets.remove(socket)


def control_answer(
    socket: Socket, text: str, known: Callable[[str], bool]
) -> tuple[bytes, Iterable[str]]:
    """The acknowledgement of a text frame, and the topics that it newly subscribed to.

    Whatever is no subscription is answered with 80014, also on a user socket, where ``{}`` is
    enough to get it (dossier §3.1 and §4, row 8).
    """
    try:
        frame = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        frame = {}
    name = frame.get("id", "")
    name = name if isinstance(name, str) else ""
    topic, wish = frame.get("dataType"), frame.get("reqType")
    if not isinstance(topic, str) or wish not in ("sub", "unsub") or not known(topic):
        return _ack(name, 80014, "invalid params"), ()
    if wish == "unsub":
        socket.topics.discard(topic)
        return _ack(name, 0, ""), ()
    if len(socket.topics) >= TOPICS_MAX and topic not in socket.topics:
        return _ack(name, 80403, f"over {TOPICS_MAX} topics on one connection"), ()
    socket.topics.add(topic)
    return _ack(name, 0, ""), (topic,)


def _ack(name: str, code: int, msg: str) -> bytes:
    return encode({"id": name, "code": code, "msg": msg, "dataType": "", "data": None})
