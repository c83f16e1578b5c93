"""``python -m benchmarks.wire_to_wire``: from a fill's frame to the exit order's first byte.

A relay between each client and a local exchange of its own takes the times on the wire: t0 when it
writes the frame that says FILLED, t1 when the first byte of the exit's POST reaches it.  Between
the two lie gunzip, decode, apply, the journal's sync, signature and send.  Clients take turns,
trial by trial: serve's runtime with the exit latched before the fill (one sync) and with one that
is decided upon the fill (two), ccxt.pro with ccxt, and the floor: bare sockets and one fdatasync.

--quick       few trials: is everything in place?
--trials N    how many of each
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter_ns
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks import report
from benchmarks.exchange import exchange
from benchmarks.report import Row, Section
from benchmarks.wire_clients import ASSET, KEY, REQUEST

TITLE: Final = "From the wire to the wire"
TRIALS: Final = 60
ANSWER_S: Final = 60.0
#: p50 may be so many times the floor's, and so much more.
FLOOR_TIMES: Final = 1.5
BEYOND_FLOOR_MS: Final = 0.5
PEER_TIMES: Final = 5.0
SYNC: Final = "sync, and to whom it concerns"
STAGES: Final = (
    ("t0", "frame", "to the process"),
    ("frame", "unpacked", "gunzip"),
    ("unpacked", "decoded", "decode"),
    ("decoded", "applied", "pack, append, apply"),
    ("applied", "synced", SYNC),
    ("synced", "signed", "checks, signature"),
    ("signed", "built", "request"),
    ("built", "t1", "send"),
)
_MS: Final = 1_000_000


class Relay:
    """Passes bytes between a client and an exchange, and looks at the clock at two of them."""

    def __init__(self, rest: str) -> None:
        parts = urlsplit(rest)
        self.host, self.target = str(parts.hostname), int(parts.port or 0)
        self.rest = rest
        self.t0 = 0
        self.exit: asyncio.Future[int] | None = None

    async def start(self) -> int:
        """Listen; the port."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Near(self), "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    def arm(self) -> asyncio.Future[int]:
        """The next fill of the entry and the next exit count.  Nanoseconds between the two."""
        self.t0 = 0
        self.exit = asyncio.get_running_loop().create_future()
        return self.exit

    def sent_fill(self, now: int) -> None:
        """The frame has just been written."""
        if self.exit is not None and not self.t0:
            self.t0 = now

    def took_exit(self, now: int) -> None:
        """The first byte of an exit has come."""
        if self.exit is not None and not self.exit.done():
            self.exit.set_result(now)

    def control(self, method: str, verb: str, **body: Any) -> None:
        """A call of the exchange's own controls."""
        request = urllib.request.Request(
            f"{self.rest}/control/{verb}",
            data=json.dumps(body).encode() if body else None,
            headers={"X-BX-APIKEY": KEY},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            if json.load(answer)["code"]:
                raise SystemExit(f"the exchange refused {verb}")


class _Near(asyncio.Protocol):
    """The client's side of one connection."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.far: asyncio.Transport | None = None
        self.waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        loop = asyncio.get_running_loop()
        self.task = loop.create_task(
            loop.create_connection(lambda: _Far(self), self.relay.host, self.relay.target)
        )

    def data_received(self, data: bytes) -> None:
        now = perf_counter_ns()
        if self.relay.t0 and data.startswith(b"POST ") and b"side=SELL" in data:
            self.relay.took_exit(now)
        if self.far is None:
            self.waiting.append(data)
        else:
            self.far.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.far is not None:
            self.far.close()


class _Far(asyncio.Protocol):
    """The exchange's side of the same."""

    def __init__(self, near: _Near) -> None:
        self.near = near
        self.is_socket = False
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.near.far = transport
        transport.writelines(self.near.waiting)

    def data_received(self, data: bytes) -> None:
        now = perf_counter_ns()
        assert isinstance(self.near.transport, asyncio.Transport)
        self.near.transport.write(data)
        if data.startswith(b"HTTP/1.1 101"):
            self.is_socket = True
            data = data.partition(b"\r\n\r\n")[2]
        if self.is_socket and any(_is_fill(frame) for frame in self._frames(data)):
            self.near.relay.sent_fill(now)

    def _frames(self, data: bytes) -> list[bytes]:
        """Payloads of the websocket frames that are whole now; a server's are not masked."""
        self.buffer += data
        found = []
        while len(self.buffer) >= 4:
            size, start = self.buffer[1] & 127, 2
            if size == 126:
                size, start = int.from_bytes(self.buffer[2:4], "big"), 4
            if size == 127 or len(self.buffer) < start + size:
                break
            found.append(self.buffer[start : start + size])
            self.buffer = self.buffer[start + size :]
        return found

    def connection_lost(self, error: Exception | None) -> None:
        self.near.transport.close()


def _is_fill(frame: bytes) -> bool:
    if not frame.startswith(b"\x1f\x8b"):
        return False
    text = gzip.decompress(frame)
    return b'"FILLED"' in text and b'"BUY"' in text


class Client:
    """One client process behind its relay."""

    def __init__(self, who: str, relay: Relay) -> None:
        self.who, self.relay = who, relay

    async def start(self, stream: str, folder: Path) -> None:
        """Until it says that it is ready."""
        port = await self.relay.start()
        path = urlsplit(stream).path
        here = f"127.0.0.1:{port}"
        words = [self.who, f"http://{here}", f"ws://{here}{path}", str(folder)]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.wire_clients", *words,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        await self._said("ready")

    async def _said(self, word: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), ANSWER_S)
        if not line:
            raise SystemExit(f"{self.who} has ended")
        said: dict[str, Any] = json.loads(line)
        if word not in said:
            raise SystemExit(f"{self.who}: {said} instead of {word}")
        return said

    async def trial(self, mode: str, number: int) -> tuple[int, dict[str, int]]:
        """Nanoseconds from frame to first byte, and the client's own times."""
        control, loop = self.relay.control, asyncio.get_running_loop()
        assert self.process.stdin is not None

        async def tell(*words: Any, **body: Any) -> None:
            await loop.run_in_executor(None, lambda: control(*words, **body))

        if mode == "latched":  # the cancel comes to nothing, in words of its own each time
            rule = {"kind": "refused", "on": "DELETE */trade/order", "times": 0}
            await tell("POST", "faults", fault=[{**rule, "code": 900_000 + number, "msg": "no"}])
        self.process.stdin.write(f"{mode}\n".encode())
        await self._said("resting")
        exit_ = self.relay.arm()
        await asyncio.sleep(0.02)
        await tell("POST", "price", symbol=ASSET, price="0.39")
        t1 = await asyncio.wait_for(exit_, ANSWER_S)
        await tell("POST", "price", symbol=ASSET, price="0.5")
        if mode == "latched":
            await tell("DELETE", "faults")
        said = await self._said("done")
        stamps = {"t0": self.relay.t0, **said["stamps"], "t1": t1}
        return t1 - self.relay.t0, stamps

    async def stop(self) -> None:
        """Its stdin ends, and so does it."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        await self.process.wait()


class Floor(asyncio.Protocol):
    """The conductor's side of the floor: a frame out, a request in."""

    def __init__(self, of: dict[bytes, Floor]) -> None:
        self._of = of
        self.name = b""
        self.came: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        now = perf_counter_ns()
        if not self.name:
            self.name = data[:1]
            self._of[self.name] = self
        elif self.came is not None and not self.came.done():
            self.came.set_result(now)

    @staticmethod
    async def trial(of: dict[bytes, Floor]) -> int:
        """Nanoseconds from the frame to the request's first byte."""
        orders = of[b"O"]
        orders.came = asyncio.get_running_loop().create_future()
        await asyncio.sleep(0.05)
        start = perf_counter_ns()
        of[b"F"].transport.write(REQUEST[:241])
        return await asyncio.wait_for(orders.came, ANSWER_S) - start


async def start_floor(folder: Path) -> tuple[dict[bytes, Floor], asyncio.subprocess.Process]:
    """Its process, and the two connections."""
    found: dict[bytes, Floor] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Floor(found), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    words = [sys.executable, "-m", "benchmarks.wire_clients", "floor", str(port), "-", str(folder)]
    process = await asyncio.create_subprocess_exec(*words)
    while len(found) < 2:
        await asyncio.sleep(0.02)
    return found, process


class Times:
    """Milliseconds of every way, trial by trial, and of the stages of one."""

    def __init__(self) -> None:
        self.ways: dict[str, list[float]] = {}
        self.stages: dict[str, list[float]] = {name: [] for _, _, name in STAGES}

    def take(self, way: str, ns: int) -> None:
        """One trial."""
        self.ways.setdefault(way, []).append(ns / _MS)

    def cut(self, stamps: dict[str, int]) -> None:
        """One trial's stages."""
        for first, last, name in STAGES:
            self.stages[name].append((stamps[last] - stamps[first]) / _MS)

    def p50(self, way: str) -> float:
        """Of one way."""
        return median(self.ways[way])

    def without_sync(self) -> float:
        """Ours with the exit latched, the sync and its two handovers taken out of each trial."""
        syncs = self.stages[SYNC]
        pairs = zip(self.ways["latched"], syncs, strict=True)
        return median(whole - sync for whole, sync in pairs)

    def text(self, way: str) -> str:
        """p50 and p99."""
        values = self.ways[way]
        p99 = quantiles(values, n=100, method="inclusive")[98] if len(values) > 1 else values[0]
        return f"{median(values):.2f}, p99 {p99:.2f}"


async def measured(trials: int, folder: Path) -> Times:
    """Every way in turn, so often."""
    found = Times()
    async with AsyncExitStack() as last:
        exchanges = last.enter_context(ExitStack())
        clients = {}
        for who in ("ours", "ccxt"):
            place = folder / f"exchange-{who}"
            place.mkdir()
            addresses = exchanges.enter_context(exchange(place, "--still"))
            client = clients[who] = Client(who, Relay(addresses["rest"]))
            await client.start(addresses["stream"], folder)
            last.push_async_callback(client.stop)
        floor, process = await start_floor(folder)
        last.callback(process.terminate)
        for number in range(-1, trials):  # one of each to warm up
            for mode in ("latched", "decided"):
                ns, stamps = await clients["ours"].trial(mode, 2 * number)
                if number >= 0:
                    found.take(mode, ns)
                    if mode == "latched":
                        found.cut(stamps)
            for _ in range(3):
                ns = await Floor.trial(floor)
                if number >= 0:
                    found.take("floor", ns)
            for mode in ("ccxt", "durable"):
                ns, _ = await clients["ccxt"].trial(mode, number)
                if number >= 0:
                    found.take(mode, ns)
    return found


def section(trials: int, place: str | None = None) -> Section:
    """All of it."""
    with tempfile.TemporaryDirectory(dir=place) as name:
        found = asyncio.run(measured(trials, Path(name)))
    limit = FLOOR_TIMES * found.p50("floor") + BEYOND_FLOOR_MS
    times = found.p50("durable") / found.p50("latched")
    rows = [
        Row("fill's frame → exit's first byte, exit latched, p50 ms", found.text("latched"),
            f"≤ {limit:.2f}", found.p50("latched") <= limit),
        *(Row(f"  of it {stage}", f"{median(values):.3f}")
          for stage, values in found.stages.items()),
        Row("exit decided upon the fill (two syncs), p50 ms", found.text("decided")),
        Row("floor: bare sockets and one fdatasync, p50 ms", found.text("floor")),
        Row("ccxt.pro and ccxt with one fdatasync between, p50 ms", found.text("durable")),
        Row("  ÷ ours, exit latched", f"{times:.1f}", f"≥ {PEER_TIMES:.0f}", times >= PEER_TIMES),
        Row("ccxt.pro and ccxt, nothing made durable, p50 ms", found.text("ccxt")),
        Row("the same without any sync, ccxt ÷ ours",
            f"{found.p50('ccxt') / found.without_sync():.1f}"),
    ]  # fmt: skip
    notes = [
        f"the limit is {FLOOR_TIMES} × the floor of the same run + {BEYOND_FLOOR_MS} ms",
        "ccxt's own rate limiter is off; it would wait up to 0.1 s more",
    ]
    text = (
        f"{report.where_and_when()} {trials} trials of each, by turns, each client with an exchange"
        " of its own; exchange, relay and client are processes on one machine, without TLS."
    )
    title = f"{TITLE}, synced to {place}" if place else TITLE
    return Section(title, text, rows, notes)


def main(argv: list[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wire_to_wire")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--place", help="folder for what is synced; /dev/shm leaves out the disk")
    chosen = parser.parse_args(argv)
    found = section(5 if chosen.quick else chosen.trials, chosen.place)
    print(report.plain([found]))
    if chosen.write:
        report.write_section(found)


if __name__ == "__main__":
    main(sys.argv[1:])
