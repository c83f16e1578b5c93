"""Kept HTTP/1.1 connections: what is written how often, on which connection, and what is an answer.

Real servers on loopback, in a thread of their own where it matters what the loop has not read yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import Certificate, certificate, serving

from dita.simulation.virtual_time import run as in_virtual_time
from dita.venues import NotSent, OutcomeUnknown
from dita.venues.bingx.rest.answer import CHUNKS_MAX, HEADERS_MAX, INTERIM_MAX, Answer
from dita.venues.bingx.rest.connections import (
    IDLE_LIMIT_S,
    KEPT_MAX,
    REQUESTS_MAX,
    Connection,
    Connections,
    Origin,
)
from dita.venues.bingx.rest.http import Http
from dita.venues.bingx.tls import trusting

BODY_MAX: Final = 1_000_000
TIMES: Final = httpx.Timeout(connect=5.0, write=5.0, read=5.0, pool=5.0)
METHODS: Final = ("GET", "POST", "PUT", "DELETE")
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def run(work: Coroutine[Any, Any, object]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


class Server:
    """Blocking, in a thread; ``answer`` gets the connection, its number and that of the request."""

    def __init__(
        self, answer: Callable[[socket.socket, int, int], object], tls: ssl.SSLContext | None = None
    ) -> None:
        self.heads: list[bytes] = []
        self.connections = 0
        self._answer = answer
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.origin = Origin(tls is not None, "127.0.0.1", self._listening.getsockname()[1])
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self.origin.port}/path?x=1"

    def __enter__(self) -> Server:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # Only that wakes a thread which waits in accept.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                came, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            number = self.connections
            threading.Thread(target=self._talk, args=(came, number), daemon=True).start()

    def _talk(self, came: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as last:
            line = last.enter_context(came)
            if self._tls is not None:
                line = last.enter_context(self._tls.wrap_socket(came, server_side=True))
            asked = 0
            while head := _head(line):
                self.heads.append(head)
                asked += 1
                if self._answer(line, number, asked) is False:
                    return

    def http(self, times: httpx.Timeout = TIMES, tls: ssl.SSLContext | None = None) -> Http:
        return Http(times, tls or trusting())

    def lines(self) -> list[bytes]:
        """The first line of each request that came."""
        return [head.partition(b"\r\n")[0] for head in self.heads]


def _head(line: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        more = line.recv(65_536)
        if not more:
            return b""
        head += more
    return head


def good(line: socket.socket, number: int, asked: int) -> None:
    line.sendall(OK)


def transport_of(http: Http) -> Connections:
    transport = http._transport
    assert isinstance(transport, Connections)
    return transport


async def ask(http: Http, server: Server, method: str = "POST") -> bytes:
    return (await http.request(method, server.url, {}, "TEST")).body


def readable(connection: Connection) -> bool:
    """Wait, with the loop standing still, until something has arrived at the socket."""
    fd = connection._transport.get_extra_info("socket").fileno()
    return bool(select.select([fd], [], [], 10)[0])


def kept_by(http: Http, server: Server) -> list[Connection]:
    return transport_of(http)._kept.get(server.origin, [])


# -- once, or not at all ---------------------------------------------------------------------------


def _reset(line: socket.socket, number: int, asked: int) -> bool:
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    return False


def _says(data: bytes) -> Callable[[socket.socket, int, int], bool]:
    def answer(line: socket.socket, number: int, asked: int) -> bool:
        line.sendall(data)
        return False

    return answer


BROKEN: Final = {
    "nothing": _says(b""),
    "reset": _reset,
    "a byte": _says(b"H"),
    "half a head": _says(b"HTTP/1.1 200 OK\r\nContent-"),
    "half a body": _says(OK[:-1]),
    "half a chunk": _says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{"),
    "no last chunk": _says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"),
    "another protocol": _says(b"SSH-2.0-OpenSSH_9.2\r\n"),
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("kept", [False, True], ids=["new", "kept"])
def test_a_request_is_written_once_whatever_its_method_and_whatever_becomes_of_it(
    how: str, kept: bool
) -> None:
    """Counted at the server: also what HTTP calls safe to send again is not."""

    def answer(line: socket.socket, number: int, asked: int) -> object:
        if kept and asked == 1:
            line.sendall(OK)
            return True
        return BROKEN[how](line, number, asked)

    async def test() -> None:
        with Server(answer) as server:
            http = server.http()
            for method in METHODS:
                del server.heads[:]
                if kept:
                    assert await ask(http, server) == b"ok"
                with pytest.raises(OutcomeUnknown):
                    await ask(http, server, method)
                await asyncio.sleep(0)
                wanted = [b"POST /path?x=1 HTTP/1.1"] * kept
                assert server.lines() == [*wanted, f"{method} /path?x=1 HTTP/1.1".encode()]
            await http.close()

    run(test())


def test_an_end_that_arrived_before_the_first_byte_was_sent_is_not_sent() -> None:
    """Of a new connection; nobody has read the end yet when the request would be written."""

    class Late(Connections):
        async def _connected(self, origin: Origin, connect_s: float) -> Connection:
            connection = await super()._connected(origin, connect_s)
            assert readable(connection)
            return connection

    listening = socket.create_server(("127.0.0.1", 0))

    def hang_up() -> None:
        listening.accept()[0].close()

    async def test() -> None:
        threading.Thread(target=hang_up, daemon=True).start()
        http = Http(TIMES, trusting(), Late(trusting(), BODY_MAX))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        with pytest.raises(NotSent, match="ended by the server before anything was sent"):
            await http.request("POST", url, {}, "TEST")
        await http.close()

    with listening:
        run(test())


def test_a_server_that_ends_the_handshake_is_not_sent(tmp_path: Path) -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def hang_up() -> None:
        listening.accept()[0].close()

    async def test() -> None:
        threading.Thread(target=hang_up, daemon=True).start()
        http = Http(TIMES, trusting())
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/"
        with pytest.raises(NotSent):
            await http.request("POST", url, {}, "TEST")
        await http.close()

    with listening:
        run(test())


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("tls"), "ours", "127.0.0.1")


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("read", [False, True], ids=["unread", "read"])
def test_a_kept_connection_that_the_server_ended_is_not_used(
    ours: Certificate, secure: bool, read: bool
) -> None:
    """Its end is found before anything is written, so the request goes out on a new one."""

    def once(line: socket.socket, number: int, asked: int) -> bool:
        line.sendall(OK)
        return False

    async def test() -> None:
        with Server(once, serving(ours) if secure else None) as server:
            http = server.http(tls=trusting(str(ours.chain)))
            for number in range(1, 5):
                assert await ask(http, server) == b"ok"
                assert len(server.heads) == number
                for connection in kept_by(http, server):
                    assert readable(connection)
                if read:
                    await asyncio.sleep(0.01)
            assert server.connections == 4
            await http.close()

    run(test())


def test_what_nobody_asked_for_is_nobodys_answer() -> None:
    """A second answer to the first request is not the first one to the second."""

    def twice(line: socket.socket, number: int, asked: int) -> None:
        line.sendall(OK)
        if number == 1:
            time.sleep(0.05)
            line.sendall(OK.replace(b"ok", b"no"))

    async def test() -> None:
        with Server(twice) as server:
            http = server.http()
            assert await ask(http, server) == b"ok"
            assert readable(kept_by(http, server)[0])
            assert await ask(http, server) == b"ok"
            assert server.connections == 2
            await http.close()

    run(test())


@pytest.mark.parametrize("how", ["too late", "cancelled"])
def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_ones(how: str) -> None:
    told = threading.Event()

    def slow(line: socket.socket, number: int, asked: int) -> None:
        if number == 1:
            told.wait(20)
            line.sendall(OK.replace(b"ok", b"no"))
        else:
            line.sendall(OK)

    async def test() -> None:
        with Server(slow) as server:
            http = server.http(httpx.Timeout(connect=5, write=5, read=0.05, pool=5))
            asking = asyncio.ensure_future(ask(http, server))
            if how == "cancelled":
                while not server.heads:
                    await asyncio.sleep(0.001)
                asking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asking
            else:
                with pytest.raises(OutcomeUnknown, match="ReadTimeout"):
                    await asking
            assert all(connection.is_over for connection in transport_of(http)._open)
            told.set()
            http._extensions = {"timeout": TIMES.as_dict()}
            assert await ask(http, server) == b"ok"
            assert (server.connections, len(server.heads)) == (2, 2)
            await http.close()

    run(test())


class Line(asyncio.Transport):
    """A socket of nothing, for what is about time alone."""

    def __init__(self) -> None:
        super().__init__()
        self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Nobody reads it."""

    def abort(self) -> None:
        self.is_aborted = True


def test_the_read_time_counts_from_the_last_byte_and_is_over_with_the_answer() -> None:
    async def test() -> None:
        connection, line = Connection(lambda *_: None), Line()
        connection.connection_made(line)
        loop = asyncio.get_running_loop()
        asking = asyncio.ensure_future(connection.ask(b"", 1.0, BODY_MAX))
        for byte in OK:
            await asyncio.sleep(0.9)
            assert not asking.done()
            connection.data_received(bytes([byte]))
        assert bytes((await asking).body) == b"ok"
        await asyncio.sleep(20)
        assert not connection.is_over, "no timer is left of the request before"
        began_s = loop.time()
        asking = asyncio.ensure_future(connection.ask(b"", 1.0, BODY_MAX))
        await asyncio.sleep(0.5)
        connection.data_received(b"H")
        with pytest.raises(httpx.ReadTimeout):
            await asking
        assert loop.time() - began_s == pytest.approx(1.5)
        assert line.is_aborted

    in_virtual_time(test())


def test_more_bytes_behind_a_hostile_answer_are_no_end_of_an_idle_connection() -> None:
    async def test() -> None:
        ends: list[float | None] = []
        connection = Connection(lambda _, idle_s: ends.append(idle_s))
        connection.connection_made(Line())
        asking = asyncio.ensure_future(connection.ask(b"", 1.0, BODY_MAX))
        await asyncio.sleep(0)
        connection.data_received(b"no http")
        connection.data_received(b"at all")
        with pytest.raises(httpx.RemoteProtocolError):
            await asking
        connection.connection_lost(None)
        assert ends == [None]

    in_virtual_time(test())


def test_a_header_that_would_be_two_is_not_sent() -> None:
    async def test() -> None:
        with Server(good) as server:
            http = server.http()
            for value in ("a\r\nX-Other: b", "a\nb", "a\0b"):
                with pytest.raises(NotSent):
                    await http.request("POST", server.url, {"X-BX-APIKEY": value}, "TEST")
            assert server.heads == []
            assert await ask(http, server) == b"ok"
            await http.close()

    run(test())


# -- connections -----------------------------------------------------------------------------------


def test_one_after_another_they_share_a_connection_and_the_one_used_last_comes_first() -> None:
    async def test() -> None:
        with Server(good) as server:
            http = server.http()
            for _ in range(3):
                await ask(http, server)
            assert server.connections == 1
            await asyncio.gather(*(ask(http, server) for _ in range(4)))
            assert server.connections == 4
            newest = kept_by(http, server)[-1]
            await ask(http, server)
            assert kept_by(http, server)[-1] is newest
            await asyncio.gather(*(ask(http, server) for _ in range(KEPT_MAX + 3)))
            assert len(kept_by(http, server)) == KEPT_MAX
            await http.close()
            assert transport_of(http)._open == set()

    run(test())


def test_none_is_used_past_half_of_the_idle_limit_and_its_end_shows_the_limit() -> None:
    told = threading.Event()

    def answer(line: socket.socket, number: int, asked: int) -> bool:
        line.sendall(OK)
        if number == 1 and asked == 2:
            told.wait(20)
            return False
        return True

    async def test() -> None:
        with Server(answer) as server:
            http = server.http()
            transport = transport_of(http)
            await ask(http, server)
            (first,) = kept_by(http, server)
            first.idle_since_s -= IDLE_LIMIT_S / 2 - 1
            await ask(http, server)
            assert server.connections == 1, "younger than half"
            first.idle_since_s -= IDLE_LIMIT_S / 2 + 1
            await ask(http, server)
            assert server.connections == 2, "older than half"
            assert first in kept_by(http, server), "it stays open, to see when it ends"
            assert transport.idle_limit_s == IDLE_LIMIT_S
            told.set()
            while first in kept_by(http, server):
                await asyncio.sleep(0.001)
            limit_s = transport.idle_limit_s
            assert IDLE_LIMIT_S / 2 + 1 <= limit_s < IDLE_LIMIT_S
            (second,) = kept_by(http, server)
            second.idle_since_s -= limit_s / 2 + 0.1
            await ask(http, server)
            assert server.connections == 3, "half of what was seen"
            await http.close()

    run(test())


def test_an_early_end_is_forgotten_after_others() -> None:
    async def test() -> None:
        with Server(good) as server:
            http = server.http()
            transport = transport_of(http)
            transport._limits_s.append(0.0)
            assert transport.idle_limit_s == 0
            for _ in range(8):  # they live past the limit that is assumed, so it is no lower
                await ask(http, server)
                kept_by(http, server)[0].idle_since_s -= IDLE_LIMIT_S + 1
                await ask(http, server)
                kept_by(http, server)[0].drop()
                await asyncio.sleep(0.01)
            assert transport.idle_limit_s == IDLE_LIMIT_S
            await http.close()

    run(test())


@pytest.mark.parametrize(
    ("header", "limit_s"),
    [
        (b"Keep-Alive: timeout=10", 10),
        (b"Keep-Alive: timeout=7, max=100", 7),
        (b"keep-alive: max=100,timeout=9", 9),
        (b"Keep-Alive: timeout=600", IDLE_LIMIT_S),
        (b"Keep-Alive: mytimeout=3", IDLE_LIMIT_S),
        (b"Keep-Alive: timeout=x", IDLE_LIMIT_S),
    ],
)
def test_a_limit_that_the_server_tells_is_believed(header: bytes, limit_s: float) -> None:
    def answer(line: socket.socket, number: int, asked: int) -> None:
        line.sendall(OK.replace(b"\r\n\r\n", b"\r\n" + header + b"\r\n\r\n"))

    async def test() -> None:
        with Server(answer) as server:
            http = server.http()
            await ask(http, server)
            assert transport_of(http).idle_limit_s == limit_s
            await http.close()

    run(test())


@pytest.mark.parametrize(
    "reply",
    [
        OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        OK.replace(b"\r\n\r\n", b"\r\nconnection: x, Close\r\n\r\n"),
        OK.replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_a_connection_that_ends_with_its_answer_says_nothing_of_a_limit(reply: bytes) -> None:
    async def test() -> None:
        with Server(_says(reply)) as server:
            http = server.http()
            for _ in range(3):
                assert await ask(http, server) == b"ok"
            assert (server.connections, len(server.heads)) == (3, 3)
            assert transport_of(http).idle_limit_s == IDLE_LIMIT_S
            await http.close()

    run(test())


def test_more_requests_than_connections_wait_and_then_are_not_sent() -> None:
    told = threading.Event()

    def answer(line: socket.socket, number: int, asked: int) -> None:
        told.wait(20)
        line.sendall(OK)

    async def test() -> None:
        with Server(answer) as server:
            http = server.http(httpx.Timeout(connect=5, write=5, read=20, pool=0.05))
            asking = [asyncio.ensure_future(ask(http, server)) for _ in range(REQUESTS_MAX)]
            while len(server.heads) < REQUESTS_MAX:
                await asyncio.sleep(0.001)
            with pytest.raises(NotSent, match="PoolTimeout"):
                await ask(http, server)
            told.set()
            assert await asyncio.gather(*asking) == [b"ok"] * REQUESTS_MAX
            assert await ask(http, server) == b"ok"
            assert len(server.heads) == REQUESTS_MAX + 1
            await http.close()

    run(test())


def test_closing_ends_what_is_under_way() -> None:
    def never(line: socket.socket, number: int, asked: int) -> None:
        time.sleep(0.2)

    async def test() -> None:
        with Server(never) as server:
            http = server.http()
            asking = asyncio.ensure_future(ask(http, server))
            while not server.heads:
                await asyncio.sleep(0.001)
            await http.close()
            with pytest.raises(OutcomeUnknown):
                await asking

    run(test())


# -- answers ---------------------------------------------------------------------------------------

CHUNKED: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
READ: Final[dict[bytes, tuple[int, bytes, bool]]] = {
    OK: (200, b"ok", True),
    b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok": (200, b"ok", True),
    b"HTTP/1.1 404 \r\ncontent-length:0\r\n\r\n": (404, b"", True),
    b"HTTP/1.1 429 Too Many\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok": (
        429,
        b"ok",
        True,
    ),
    b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok": (200, b"ok", True),
    b"HTTP/1.1 204 No Content\r\n\r\n": (204, b"", True),
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n": (304, b"", True),
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK: (200, b"ok", True),
    CHUNKED + b"2\r\nok\r\n0\r\n\r\n": (200, b"ok", True),
    CHUNKED + b"1;a=b\r\no\r\n01 \r\nk\r\n000\r\nX-Sum: 1\r\n\r\n": (200, b"ok", True),
    CHUNKED.replace(b"200", b"500") + b"0\r\n\r\n": (500, b"", True),
}


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    at = 0
    for cut in sorted({cut % (len(data) + 1) for cut in cuts}):
        yield data[at:cut]
        at = cut
    yield data[at:]


@given(st.sampled_from(sorted(READ)), st.lists(st.integers(0, 500), max_size=8))
def test_an_answer_is_the_same_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    answer = Answer(BODY_MAX)
    whole = [answer.feed(piece) for piece in pieces(data, cuts)]
    assert whole.index(True) >= 0
    assert (answer.status, bytes(answer.body), answer.keeps) == READ[data]


@pytest.mark.parametrize("data", sorted(READ))
def test_an_answer_is_whole_at_its_last_byte_and_not_before(data: bytes) -> None:
    answer = Answer(BODY_MAX)
    for byte in data[:-1]:
        assert not answer.feed(bytes([byte]))
    assert not answer.end()
    assert answer.feed(data[-1:])


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    answer = Answer(BODY_MAX)
    assert not answer.feed(b"HTTP/1.0 502 Bad Gateway\r\n\r\n<html>")
    assert not answer.feed(b"</html>")
    assert answer.end() and not answer.keeps
    assert (answer.status, bytes(answer.body)) == (502, b"<html></html>")


def with_headers(*lines: bytes, body: bytes = b"ok") -> bytes:
    return b"\r\n".join((b"HTTP/1.1 200 OK", *lines, b"", body))


HOSTILE: Final = {
    "no http": b"\x16\x03\x01\x02\x00",
    "other version": b"HTTP/2 200 OK\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "long status": b"HTTP/1.1 2000 OK\r\n\r\n",
    "signed status": b"HTTP/1.1 +20 OK\r\n\r\n",
    "low status": b"HTTP/1.1 099 OK\r\n\r\n",
    "nul in a reason": b"HTTP/1.1 200 O\0K\r\n\r\n",
    "line ends alone": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n\r\n\r\n",
    "folded header": with_headers(b"X: a", b" b", b"Content-Length: 2"),
    "space before colon": with_headers(b"Content-Length : 2"),
    "no colon": with_headers(b"Content-Length 2"),
    "no name": with_headers(b": 2"),
    "nul in a value": with_headers(b"X: a\0b", b"Content-Length: 2"),
    "endless head": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 40_000,
    "huge head": with_headers(b"X: " + b"a" * 40_000, b"Content-Length: 2"),
    "many headers": with_headers(*[b"X: y"] * (HEADERS_MAX + 1)),
    "negative length": with_headers(b"Content-Length: -2"),
    "signed length": with_headers(b"Content-Length: +2"),
    "hex length": with_headers(b"Content-Length: 0x2"),
    "no length": with_headers(b"Content-Length:"),
    "endless length": with_headers(b"Content-Length: " + b"9" * 40),
    "two lengths": with_headers(b"Content-Length: 2", b"Content-Length: 3"),
    "length list": with_headers(b"Content-Length: 2, 2"),
    "length and chunks": with_headers(b"Content-Length: 2", b"Transfer-Encoding: chunked"),
    "other coding": with_headers(b"Transfer-Encoding: gzip, chunked"),
    "coding twice": with_headers(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "chunks in 1.0": CHUNKED.replace(b"1.1", b"1.0") + b"2\r\nok\r\n0\r\n\r\n",
    "more than its length": OK + b"!",
    "another answer behind it": OK + OK,
    "more than its chunks": CHUNKED + b"0\r\n\r\nHTTP/1.1 200 OK\r\n",
    "no size": CHUNKED + b"\r\nok\r\n",
    "word as size": CHUNKED + b"zz\r\n",
    "negative size": CHUNKED + b"-2\r\nok\r\n",
    "prefixed size": CHUNKED + b"0x2\r\nok\r\n",
    "endless size": CHUNKED + b"0" * 300,
    "chunk longer than its size": CHUNKED + b"1\r\nok\r\n0\r\n\r\n",
    "chunk that does not end": CHUNKED + b"2\r\nokXX0\r\n\r\n",
    "chunk shorter than its size": CHUNKED + b"3\r\nok\r\n0\r\n\r\n",
    "many chunks": CHUNKED + b"1\r\nx\r\n" * (CHUNKS_MAX + 1),
    "many trailers": CHUNKED + b"0\r\n" + b"X: y\r\n" * (CHUNKS_MAX + 1),
    "no trailer": CHUNKED + b"0\r\nok\r\n\r\n",
    "switching": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "interim without end": b"HTTP/1.1 100 Continue\r\n\r\n" * (INTERIM_MAX + 1),
}
TOO_LONG: Final = {
    "length": with_headers(b"Content-Length: 1000001", body=b""),
    "chunk": CHUNKED + b"f4241\r\n",
    "greatest chunk": CHUNKED + b"ffffffffffffffff\r\n",
    "chunks": CHUNKED + (b"80000\r\n" + bytes(0x80000) + b"\r\n") * 2,
    "without length": with_headers(body=bytes(1_000_001)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_can_be_understood_in_two_ways_is_no_answer(name: str) -> None:
    answer = Answer(BODY_MAX)
    with pytest.raises(httpx.RemoteProtocolError, match=r"no HTTP/1\.1 answer"):
        answer.feed(HOSTILE[name])


@pytest.mark.parametrize("name", TOO_LONG)
def test_an_answer_beyond_the_bound_is_refused_before_it_is_kept(name: str) -> None:
    answer = Answer(BODY_MAX)
    with pytest.raises(OutcomeUnknown, match=f"more than {BODY_MAX}"):
        answer.feed(TOO_LONG[name])


@pytest.mark.parametrize("name", ["endless head", "endless size", "chunks in 1.0"])
def test_a_hostile_answer_ends_its_request_and_its_connection(name: str) -> None:
    """The same over a socket: refused at once, and the next request has a connection of its own."""

    def answer(line: socket.socket, number: int, asked: int) -> None:
        line.sendall(HOSTILE[name] if number == 1 else OK)

    async def test() -> None:
        with Server(answer) as server:
            http = server.http()
            began = time.monotonic()
            with pytest.raises(OutcomeUnknown, match="RemoteProtocolError"):
                await ask(http, server)
            assert time.monotonic() - began < TIMES.read / 2  # type: ignore[operator]
            assert await ask(http, server) == b"ok"
            assert (server.connections, len(server.heads)) == (2, 2)
            await http.close()

    run(test())


@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=4))
def test_no_bytes_raise_anything_else(data: bytes, cuts: list[int]) -> None:
    for start in (b"", b"HTTP/1.1 200 OK\r\n", CHUNKED):
        answer = Answer(100)
        try:
            for piece in pieces(start + data, cuts):
                if answer.feed(piece):
                    break
        except (httpx.RemoteProtocolError, OutcomeUnknown):
            continue
        assert len(answer.body) <= 100
