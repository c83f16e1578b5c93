"""``python -m benchmarks.transports``: what one order request costs over each HTTP transport.

The whole of our client (time, signature, budget, request, answer) over each transport in turn,
against the same server in a process of its own, by CPU time of this process; beside it the floor,
the same bytes on a bare socket.  httpx-aiohttp is measured where it is installed.

--quick       few requests and rounds: is everything in place?
--rounds N    how often everything is measured; medians are taken over the rounds
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import ipaddress
import json
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks import report
from benchmarks.report import Row, Section
from benchmarks.rounds import Rounds
from dita.clock import SystemClock
from dita.contracts import OrderSide, OrderType
from dita.venues import SubmitOrder
from dita.venues.bingx.orders import parameters_of
from dita.venues.bingx.rest import client as rest
from dita.venues.bingx.rest.client import Access, Client

TITLE: Final = "One order request"
LIMIT_MS: Final = 0.6
REQUESTS: Final = 300
ORDER: Final = SubmitOrder(
    client_order_id="a" * 32, asset="FET-USDT", side=OrderSide.SELL, order_type=OrderType.MARKET,
    quantity_e8=100 * 10**8, limit_price_e10=0, reduce_only=True, leverage=1,
)  # fmt: skip
_PLACED: Final = {
    "orderId": 1979742816131444736, "symbol": "FET-USDT", "side": "SELL", "type": "MARKET",
    "positionSide": "BOTH", "clientOrderId": ORDER.client_order_id, "quantity": "100",
    "price": "0.0", "avgPrice": "0.18781", "status": "FILLED", "reduceOnly": True,
}  # fmt: skip

Once = Callable[[], Awaitable[object]]


# -- the server, in its own process ------------------------------------------------------------


class _Answering(asyncio.Protocol):
    """Answers each request with the same order, and the clock's question with the time."""

    _ORDER = json.dumps({"code": 0, "msg": "", "data": {"order": _PLACED}}).encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            body = self._ORDER
            if b"/server/time" in head:
                now_ms = SystemClock().now_ms()
                body = b'{"code":0,"msg":"","data":{"serverTime":%d}}' % now_ms
            head = (
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            )
            self._transport.write(head % len(body) + body)


async def serve(folder: Path) -> None:
    """Listen on loopback, print the ports without and with TLS, answer until the process ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(folder), folder / "key.pem")
    loop = asyncio.get_running_loop()
    plain = await loop.create_server(_Answering, "127.0.0.1", 0)
    secure = await loop.create_server(_Answering, "127.0.0.1", 0, ssl=context)
    print(*(server.sockets[0].getsockname()[1] for server in (plain, secure)), flush=True)
    await asyncio.Future()


def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, and its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "benchmark")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form, no_password = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, form, no_password))
    (folder / "chain.pem").write_bytes(made.public_bytes(pem))
    return folder / "chain.pem"


# -- the client --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Way:
    """One way to send an order, and how to end it."""

    once: Once
    close: Callable[[], Coroutine[Any, Any, None]]


async def ours(port: int, transport: httpx.AsyncBaseTransport | None, store: str = "") -> Way:
    """The client as serve has it, with another transport if one is given; TLS with a store."""
    url = f"{'https' if store else 'http'}://127.0.0.1:{port}"
    access = Access(url, lambda: "key", lambda: "secret", trust_store=store)
    client = Client(access, SystemClock(), transport=transport)
    await client.open()
    await client.measure_time(1)

    async def once() -> object:
        parameters = parameters_of(ORDER, ORDER.asset, False)
        return await client.order(rest.PLACE, parameters, client.time.monotonic_ms())

    return Way(once, client.close)


async def bare(port: int) -> Way:
    """The same bytes on a socket: nothing is signed, and little of the answer is read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        b"POST /openApi/swap/v2/trade/order?" + b"x" * 330 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Accept: application/json\r\nAccept-Encoding: gzip\r\nX-BX-APIKEY: key\r\n"
        b"Content-Length: 0\r\n\r\n"
    )

    async def once() -> object:
        writer.write(head)
        answer = await reader.readuntil(b"\r\n\r\n")
        return await reader.readexactly(int(answer.partition(b"Length: ")[2]))

    async def close() -> None:
        writer.close()

    return Way(once, close)


class _AtOnce(httpx.AsyncBaseTransport):
    """Answers without a socket: what is left is our own part."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = _Answering._ORDER
        if request.url.path.endswith("/server/time"):
            now_ms = SystemClock().now_ms()
            body = b'{"code":0,"msg":"","data":{"serverTime":%d}}' % now_ms
        return httpx.Response(200, stream=httpx.ByteStream(body))


async def ways(port: int, tls_port: int, folder: Path) -> dict[str, Way]:
    """Every way, open."""
    found = {
        "TLS": await ours(tls_port, None, str(folder / "chain.pem")),
        "a bare socket": await bare(port),
        "no socket": await ours(port, _AtOnce()),
        "ours": await ours(port, None),
        "httpx": await ours(port, httpx.AsyncHTTPTransport(verify=False, trust_env=False)),
    }
    try:
        from httpx_aiohttp import AiohttpTransport  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return found
    return {**found, "httpx-aiohttp": await ours(port, AiohttpTransport(trust_env=False))}


async def measured(ports: tuple[int, int], folder: Path, requests: int, rounds: int) -> Rounds:
    """CPU milliseconds per request of each way, by turns."""
    open_ways = await ways(*ports, folder)
    names = list(open_ways)
    values: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        await _pass(open_ways[name].once, requests // 3)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            values[name].append(await _pass(open_ways[name].once, requests))
    for way in open_ways.values():
        await way.close()
    return Rounds(values)


async def _pass(once: Once, requests: int) -> float:
    start = time.process_time()
    for _ in range(requests):
        await once()
    return 1_000 * (time.process_time() - start) / requests


def section(rounds: int, requests: int) -> Section:
    """All of it."""
    with tempfile.TemporaryDirectory() as name:
        words = [sys.executable, "-m", "benchmarks.transports", "--serve", name]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                plain, secure = map(int, server.stdout.readline().split())
                found = asyncio.run(measured((plain, secure), Path(name), requests, rounds))
            finally:
                server.terminate()
    cost = found.spread("ours")
    rows = [
        Row("CPU ms, our client over its own connections", cost.text(3), f"≤ {LIMIT_MS}",
            cost.median <= LIMIT_MS),
        Row("  of it without any socket", found.spread("no socket").text(3)),
        Row("CPU ms, the same with TLS", found.spread("TLS").text(3), f"≤ {LIMIT_MS}",
            found.spread("TLS").median <= LIMIT_MS),
        Row("CPU ms, our client over httpx's transport", found.spread("httpx").text(3)),
        Row("  ÷ ours", found.ratio("httpx", "ours").text(1)),
    ]  # fmt: skip
    if "httpx-aiohttp" in found.values:
        rows += [
            Row("CPU ms, our client over httpx-aiohttp's", found.spread("httpx-aiohttp").text(3)),
            Row("  ÷ ours", found.ratio("httpx-aiohttp", "ours").text(1)),
        ]
    rows.append(
        Row("CPU ms, the same bytes on a bare socket", found.spread("a bare socket").text(3))
    )
    text = (
        f"{report.where_and_when()} {rounds} interleaved rounds of {requests} orders, one after"
        " another, on loopback, without TLS where nothing else is said; the server is a process of"
        " its own. Signing, budget and reading the answer are included, except on the bare socket."
    )
    return Section(TITLE, text, rows)


def main(argv: list[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transports")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args(argv)
    if chosen.serve:
        asyncio.run(serve(chosen.serve))
        return
    rounds, requests = (2, 60) if chosen.quick else (chosen.rounds, REQUESTS)
    found = section(rounds, requests)
    print(report.plain([found]))
    if chosen.write:
        report.write_section(found)


if __name__ == "__main__":
    main(sys.argv[1:])
