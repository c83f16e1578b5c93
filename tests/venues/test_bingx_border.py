"""The border to a hostile network: certificates, redirects, cookies, bombs, and answers that make a
library raise.  Real servers on loopback, with TLS where it is about TLS."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
import ssl
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from support.certificates import Certificate, certificate, serving
from support.scripted_rest import KEY, SECRET, Exchange, bad, good
from websockets import Headers
from websockets.asyncio.server import serve as serve_socket
from websockets.http11 import Request, Response

from dita.clock import SystemClock
from dita.errors import SettingsError, VenueError
from dita.venues import AccessRefused, NotSent, OutcomeUnknown, QueryFailed
from dita.venues.bingx.rest import client as rest
from dita.venues.bingx.rest.client import Access, Client
from dita.venues.bingx.rest.http import PACKED_BYTES_MAX
from dita.venues.bingx.stream.socket import Figures, Link, Timing
from dita.venues.bingx.tls import trusting
from dita.venues.bingx.values import REPLY_BYTES_MAX

QUICK: Final = Timing(open_ms=5_000, close_ms=100)
GOOD: Final = json.dumps(good([])).encode()


def run(work: Coroutine[Any, Any, object]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


# -- servers ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """What the settings trust."""
    return certificate(tmp_path_factory.mktemp("tls"), "ours", "127.0.0.1")


Answer = Callable[[bytes], bytes]


class Server:
    """Answers each request with what a test says; keeps the heads of all."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.heads: list[bytes] = []
        self._answer = answer
        self._tls = tls

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                now = {"serverTime": SystemClock().now_ms()}
                clock = b"/server/time" in head
                if not clock:
                    self.heads.append(head)
                body = json.dumps(good(now)).encode()
                writer.write(replied(body) if clock else self._answer(head))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client hung up
        finally:
            writer.close()

    def client(self, scheme: str = "http", **access: Any) -> Client:
        url = f"{scheme}://127.0.0.1:{self.port}"
        return Client(Access(url, lambda: KEY, lambda: SECRET, **access), SystemClock())


def replied(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def opened(client: Client) -> Client:
    await client.open()
    await client.measure_time()
    return client


async def place(client: Client) -> Any:
    return await client.order(rest.PLACE, {"symbol": "X"}, client.time.monotonic_ms())


# -- certificates ----------------------------------------------------------------------------------


def test_a_server_with_the_trusted_certificate_is_talked_to(ours: Certificate) -> None:
    async def test() -> None:
        async with Server(lambda _: replied(GOOD), serving(ours)) as server:
            client = await opened(server.client("https", trust_store=str(ours.chain)))
            assert (await place(client)).code == 0
            await client.close()

    run(test())


@pytest.mark.parametrize(
    ("name", "host", "days"),
    [("stranger", "127.0.0.1", 1), ("other-host", "exchange.test", 1), ("over", "127.0.0.1", -1)],
)
def test_a_server_with_another_certificate_gets_no_byte_of_a_request(
    ours: Certificate, tmp_path: Path, name: str, host: str, days: int
) -> None:
    """Not even when its certificate is trusted for another host, or was valid once."""
    theirs = certificate(tmp_path, name, host, days)
    both = tmp_path / "both.pem"
    trusted = [ours.chain] if name == "stranger" else [ours.chain, theirs.chain]
    both.write_bytes(b"".join(path.read_bytes() for path in trusted))

    async def test() -> None:
        async with Server(lambda _: replied(GOOD), serving(theirs)) as server:
            client = server.client("https", trust_store=str(both))
            await client.open()
            client.time.measured(0, 0, SystemClock().now_ms())
            with pytest.raises(NotSent, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify"):
                await place(client)
            with pytest.raises(QueryFailed):
                await client.wanted(rest.SERVER_TIME, {})
            assert server.heads == []
            await client.close()

    run(test())


@asynccontextmanager
async def stream_server(
    tls: ssl.SSLContext | None = None,
    process: Callable[[Any, Request], Awaitable[Response | None]] | None = None,
) -> AsyncIterator[tuple[int, list[str]]]:
    """A websocket server that says Ping once; its port, and the paths that were asked for."""
    paths: list[str] = []

    async def talk(socket: Any) -> None:
        paths.append(socket.request.path)
        await socket.send(gzip.compress(b"Ping"))
        await socket.wait_closed()

    async with serve_socket(
        talk, "127.0.0.1", 0, ssl=tls, compression=None, process_request=process
    ) as server:
        yield next(iter(server.sockets)).getsockname()[1], paths


async def linked(url: str, tls: ssl.SSLContext | None = None) -> None:
    link = await Link.open(url, lambda text: None, QUICK, Figures(), tls)
    await link.close()


@pytest.mark.parametrize(
    ("name", "host", "days"),
    [("stranger", "127.0.0.1", 1), ("other-host", "exchange.test", 1), ("over", "127.0.0.1", -1)],
)
def test_a_stream_with_another_certificate_is_not_opened(
    ours: Certificate, tmp_path: Path, name: str, host: str, days: int
) -> None:
    theirs = certificate(tmp_path, name, host, days)
    both = tmp_path / "both.pem"
    trusted = [ours.chain] if name == "stranger" else [ours.chain, theirs.chain]
    both.write_bytes(b"".join(path.read_bytes() for path in trusted))

    async def test() -> None:
        async with stream_server(serving(theirs)) as (port, paths):
            with pytest.raises(VenueError, match="CERTIFICATE_VERIFY_FAILED") as caught:
                await linked(f"wss://127.0.0.1:{port}/x?listenKey=abc", trusting(str(both)))
            assert "abc" not in str(caught.value)
            with pytest.raises(VenueError):  # nobody said whom to trust: not everybody
                await linked(f"wss://127.0.0.1:{port}/x?listenKey=abc")
            assert paths == []
        async with stream_server(serving(ours)) as (port, paths):
            await linked(f"wss://127.0.0.1:{port}/x?listenKey=abc", trusting(str(ours.chain)))
            assert paths == ["/x?listenKey=abc"]

    run(test())


def test_the_environment_neither_names_whom_to_trust_nor_learns_the_session_s_keys(
    ours: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys.log"
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(ours.chain))
    monkeypatch.setenv("SSL_CERT_DIR", str(ours.chain.parent))
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))

    async def test() -> None:
        async with Server(lambda _: replied(GOOD), serving(ours)) as server:
            client = server.client("https")
            await client.open()
            with pytest.raises(QueryFailed):
                await client.wanted(rest.SERVER_TIME, {})
            await client.close()
            trusted = await opened(server.client("https", trust_store=str(ours.chain)))
            await trusted.close()
        async with stream_server(serving(ours)) as (port, _):
            with pytest.raises(VenueError):
                await linked(f"wss://127.0.0.1:{port}/")
            await linked(f"wss://127.0.0.1:{port}/", trusting(str(ours.chain)))

    run(test())
    assert not keys.exists()


def test_a_trust_store_that_cannot_be_read_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(SettingsError, match=r"trust store refused.*venue\.trust_store"):
            trusting(str(tmp_path / name))


def test_a_proxy_of_the_environment_sees_neither_requests_nor_the_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        async with (
            Server(lambda _: replied(GOOD)) as proxy,
            Server(lambda _: replied(GOOD)) as real,
        ):
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WS_PROXY", "WSS_PROXY"):
                for spelling in (name, name.lower()):
                    monkeypatch.setenv(spelling, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv("NO_PROXY", "")
            monkeypatch.setenv("no_proxy", "")
            client = await opened(real.client())
            await client.wanted(rest.POSITIONS, {})
            await client.close()
            async with stream_server() as (port, paths):
                await linked(f"ws://127.0.0.1:{port}/x")
                assert paths == ["/x"]
            assert proxy.heads == []

    run(test())


# -- nothing is followed, nothing is kept ----------------------------------------------------------


@pytest.mark.parametrize("status", [b"301 x", b"302 x", b"303 x", b"307 x", b"308 x"])
@pytest.mark.parametrize(
    "location",
    [b"http://127.0.0.1:{}/other", b"http://[::1", b"//\xff\xfe", b"http://a\x00b/", b""],
)
def test_no_redirect_of_a_request_is_followed(status: bytes, location: bytes) -> None:
    async def test() -> None:
        async with Server(lambda _: replied(GOOD)) as other:
            aim = location.replace(b"{}", str(other.port).encode())
            moved = replied(b"", b"Location: " + aim, status=status)
            async with Server(lambda _: moved) as server:
                client = await opened(server.client())
                with pytest.raises(OutcomeUnknown):
                    await place(client)
                with pytest.raises(QueryFailed):
                    await client.wanted(rest.POSITIONS, {})
                assert len(server.heads) == 2
                await client.close()
            assert other.heads == []

    run(test())


@pytest.mark.parametrize(
    "location",
    ["ws://127.0.0.1:{}/steal", "/again", "ws://[bad", ""],
    ids=["another host", "another path", "no address", "nothing"],
)
def test_no_redirect_of_the_stream_is_followed(location: str) -> None:
    """It would hand over the listen key, and a malformed one raised what nobody expected."""

    async def test() -> None:
        async with stream_server() as (port, stolen):
            asked: list[str] = []

            async def redirect(_: Any, request: Request) -> Response:
                asked.append(request.path)
                return Response(302, "Found", Headers(Location=location.format(port)))

            async with stream_server(process=redirect) as (first, _):
                with pytest.raises(VenueError, match="stream cannot be opened") as caught:
                    await linked(f"ws://127.0.0.1:{first}/x?listenKey=abc")
                assert "abc" not in str(caught.value)
            assert (stolen, len(asked)) == ([], 1)

    run(test())


@pytest.mark.parametrize("cookie", [b"a=b; Path=/", b"caf\xe9=\xff; Path=/", b"\x7f=\x80", b"="])
def test_no_cookie_is_kept(cookie: bytes) -> None:
    async def test() -> None:
        async with Server(lambda _: replied(GOOD, b"Set-Cookie: " + cookie)) as server:
            client = await opened(server.client())
            for _ in range(3):
                assert (await place(client)).code == 0
                await client.wanted(rest.POSITIONS, {})
            assert len(server.heads) == 6
            assert not any(b"cookie" in head.lower() for head in server.heads)
            await client.close()

    run(test())


# -- answers that are no answers -------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        [b"X-Odd: \xff\xfe\x80"],
        [b"Content-Type: text/\xff; charset=\xff"],
        [b"X-RateLimit-Requests-Remain: \xe2\x82\xac"],
        [b"Content-Type: application/json; charset=utf-7"],
        [b"Content-Encoding: identity"],
    ],
)
def test_odd_headers_change_nothing(headers: list[bytes]) -> None:
    async def test() -> None:
        async with Server(lambda _: replied(GOOD, *headers)) as server:
            client = await opened(server.client())
            assert (await place(client)).code == 0
            await client.close()

    run(test())


@pytest.mark.parametrize(
    "reply",
    [
        replied(GOOD, b"Content-Encoding: br"),
        replied(GOOD, b"Content-Encoding: gzip, gzip"),
        replied(GOOD, b"Content-Encoding: \xff"),
        replied(gzip.compress(GOOD)[:-4], b"Content-Encoding: gzip"),
        replied(gzip.compress(GOOD) * 2, b"Content-Encoding: gzip"),
        replied(b"\xff\xfe" + GOOD),
        replied(GOOD, status=b"999 odd"),
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nBad Header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + b"HTTP/1.1 101 Switching\r\n\r\n",
    ],
    ids=lambda reply: str(reply[:60]),
)
def test_what_is_no_http_leaves_the_outcome_unknown(reply: bytes) -> None:
    async def test() -> None:
        async with Server(lambda _: reply) as server:
            client = await opened(server.client())
            with pytest.raises(OutcomeUnknown):
                await asyncio.wait_for(place(client), 20)
            assert len(server.heads) == 1, "an order is sent once"
            await client.close()

    run(test())


def bomb(unpacked: int) -> bytes:
    """A gzip member of zeros."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    block = bytes(1 << 20)
    return b"".join([*(packer.compress(block) for _ in range(unpacked >> 20)), packer.flush()])


def test_a_bomb_costs_neither_time_nor_memory() -> None:
    packed = bomb(REPLY_BYTES_MAX * 16)
    assert len(packed) < PACKED_BYTES_MAX

    async def test() -> None:
        reply = replied(packed, b"Content-Encoding: gzip")
        async with Server(lambda _: reply) as server:
            client = await opened(server.client())
            before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            began = time.process_time()
            for _ in range(3):
                with pytest.raises(OutcomeUnknown, match="too large inside"):
                    await place(client)
            spent_s = (time.process_time() - began) / 3
            grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
            assert grown_kb < 4 * REPLY_BYTES_MAX / 1024
            assert spent_s < 1.0
            await client.close()

    run(test())


def test_an_answer_without_end_is_cut_off() -> None:
    async def test() -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        async with Server(lambda _: head + chunk * 12) as server:
            client = await opened(server.client())
            with pytest.raises(OutcomeUnknown, match=f"more than {PACKED_BYTES_MAX}"):
                await place(client)
            await client.close()

    run(test())


class Odd(Exception):
    """What no library documents."""


@pytest.mark.parametrize(
    "failure",
    [
        ValueError("malformed"),
        UnicodeEncodeError("ascii", "é", 0, 1, "no"),
        KeyError("x"),
        IndexError("x"),
        RuntimeError("x"),
        MemoryError(),
        RecursionError("deep"),
        zlib.error("x"),
        ssl.SSLError("x"),
        OSError(5, "x"),
        EOFError(),
        AssertionError("x"),
        Odd("x"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_whatever_the_http_library_raises_is_an_unknown_outcome(failure: Exception) -> None:
    exchange = Exchange()
    exchange.routes["POST v2/trade/order"] = failure
    exchange.routes["GET v2/user/positions"] = failure

    async def test() -> None:
        client = await opened(exchange.client())
        with pytest.raises(OutcomeUnknown) as caught:
            await place(client)
        assert type(failure).__name__ in caught.value.found
        with pytest.raises(QueryFailed):
            await client.wanted(rest.POSITIONS, {})
        await client.close()

    run(test())


# -- keys ------------------------------------------------------------------------------------------


def test_keys_are_renewed_without_a_restart_and_stay_when_they_cannot_be_read() -> None:
    exchange = Exchange()
    exchange.routes["GET v2/user/positions"] = lambda request: (
        good([]) if request.headers["X-BX-APIKEY"] == "new" else bad(100413, "Incorrect apiKey")
    )
    files = {"key": "old", "secret": "s1"}

    def secret() -> str:
        if not files["secret"]:
            raise SettingsError("secret missing")
        return files["secret"]

    async def test() -> None:
        client = await opened(exchange.client(api_key=lambda: files["key"], api_secret=secret))
        with pytest.raises(AccessRefused) as caught:
            await client.wanted(rest.POSITIONS, {})
        assert caught.value.error_code == 100413
        assert "venue.api_key" in str(caught.value) and "no restart" in str(caught.value)
        files.update(key="new", secret="")
        with pytest.raises(SettingsError):
            client.renew_keys()
        assert exchange.requests[-1].headers["X-BX-APIKEY"] == "old"
        files["secret"] = "s2"
        client.renew_keys()
        await client.wanted(rest.POSITIONS, {})
        await client.close()
        client.renew_keys()
        assert (client._key, client._secret) == ("", ""), "a closed client holds no keys"

    run(test())


def test_the_library_s_own_retries_and_redirects_are_off() -> None:
    """Counted where they would happen: a connection that dies is not tried again by itself."""
    tried: list[httpx.Request] = []

    def die(request: httpx.Request) -> httpx.Response:
        tried.append(request)
        raise httpx.ConnectError("down")

    exchange = Exchange()
    exchange.routes["POST v2/trade/order"] = die

    async def test() -> None:
        client = await opened(exchange.client())
        with pytest.raises(NotSent):
            await place(client)
        assert len(tried) == 1
        await client.close()

    run(test())
