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
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import httpx

from benchmarks import report
from benchmarks.report import Row, Section
from benchmarks.rounds import Rounds
from dita.clock import SystemClock
from dita.contracts import OrderSide, OrderType
from dita.venues import SubmitOrder
from dita.venues.bingx.orders import parameters_of
from dita.venues.bingx.rest import client as rest
from dita.venues.bingx.rest.client import Access, Client
from dita.venues.bingx.rest.connections import Connections
from dita.venues.bingx.rest.http import PACKED_BYTES_MAX

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


async def serve() -> None:
    """Listen on loopback, print the port, and answer until the process is ended."""
    server = await asyncio.get_running_loop().create_server(_Answering, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# -- the client --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Way:
    """One way to send an order, and how to end it."""

    once: Once
    close: Callable[[], Coroutine[Any, Any, None]]


async def ours(port: int, transport: httpx.AsyncBaseTransport | None) -> Way:
    """The client as serve has it, with another transport if one is given."""
    access = Access(f"http://127.0.0.1:{port}", lambda: "key", lambda: "secret")
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


async def ways(port: int) -> dict[str, Way]:
    """Every way, open."""
    found = {
        "a bare socket": await bare(port),
        "no socket": await ours(port, _AtOnce()),
        "ours": await ours(port, Connections(ssl.create_default_context(), PACKED_BYTES_MAX)),
        "httpx": await ours(port, httpx.AsyncHTTPTransport(verify=False, trust_env=False)),
    }
    try:
        from httpx_aiohttp import AiohttpTransport  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return found
    return {**found, "httpx-aiohttp": await ours(port, AiohttpTransport(trust_env=False))}


async def measured(port: int, requests: int, rounds: int) -> Rounds:
    """CPU milliseconds per request of each way, by turns."""
    open_ways = await ways(port)
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
    words = [sys.executable, "-m", "benchmarks.transports", "--serve"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            found = asyncio.run(measured(int(server.stdout.readline()), requests, rounds))
        finally:
            server.terminate()
    cost = found.spread("ours")
    rows = [
        Row("CPU ms, our client over its own connections", cost.text(3), f"≤ {LIMIT_MS}",
            cost.median <= LIMIT_MS),
        Row("  of it without any socket", found.spread("no socket").text(3)),
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
        " another, on loopback without TLS; the server is a process of its own. Signing, budget"
        " and reading the answer are included, except on the bare socket."
    )
    return Section(TITLE, text, rows)


def main(argv: list[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transports")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args(argv)
    if chosen.serve:
        asyncio.run(serve())
        return
    rounds, requests = (2, 60) if chosen.quick else (chosen.rounds, REQUESTS)
    found = section(rounds, requests)
    print(report.plain([found]))
    if chosen.write:
        report.write_section(found)


if __name__ == "__main__":
    main(sys.argv[1:])
