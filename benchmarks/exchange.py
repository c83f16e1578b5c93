"""``python -m benchmarks.exchange``: how many signed orders and user events a second.

The exchange is `pink-ctl exchange` in a process of its own, single-threaded; this process is the
load: raw keep-alive connections, every order signed and verified. Figures are medians of rounds.
Wall time counts whatever else the machine does; a second of the server's CPU time is one core's.

--orders N       orders per round (default 4000)
--connections N  keep-alive connections (default 4)
--rounds N       rounds (default 5)
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import hmac
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp

from benchmarks.report import Row, Section, plain, where_and_when, write_section
from benchmarks.rounds import Spread

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY, SECRET = "KEY", "SECRET"
ORDERS_TARGET = 1_000
ORDER_PATH = "/openApi/swap/v2/trade/order"
UNLIMITED = "[limits]\nenabled = false\n[wire]\nconfig_snapshots = false\n"


@contextmanager
def exchange(folder: Path, *words: str) -> Iterator[dict[str, Any]]:
    """A `pink-ctl exchange` process without rate limits, and the line that it prints."""
    faults = folder / "faults.toml"
    faults.write_text(UNLIMITED, encoding="utf-8")
    program = Path(sys.executable).with_name("pink-ctl")
    command = [str(program), "exchange", "--port", "0", "--faults", str(faults)]
    command += ["--key", KEY, "--secret", SECRET, "--balance", "1000000", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield {**json.loads(process.stdout.readline()), "pid": process.pid}
        finally:
            process.terminate()


def cpu_s(pid: int) -> float:
    """CPU time that a process has used, from Linux's process table."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def order(number: int) -> bytes:
    """One signed MARKET order, buying and selling in turn, as the bytes of a request."""
    side = "SELL" if number % 2 else "BUY"
    text = (
        f"positionSide=BOTH&quantity=10&side={side}&symbol=FET-USDT"
        f"&timestamp={time.time_ns() // 1_000_000}&type=MARKET"
    )
    signature = hmac.new(SECRET.encode(), text.encode(), sha256).hexdigest()
    return (
        f"POST {ORDER_PATH}?{text}&signature={signature} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"X-BX-APIKEY: {KEY}\r\nContent-Length: 0\r\n\r\n"
    ).encode()


async def work(host: str, port: int, numbers: range) -> None:
    """Place these orders over one connection, each after the answer to the one before."""
    reader, writer = await asyncio.open_connection(host, port)
    for number in numbers:
        writer.write(order(number))
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        if not body.startswith(b'{"code":0,'):
            raise SystemExit(f"an order was refused: {body[:200]!r}")
    writer.close()


async def place(rest: str, orders: int, connections: int) -> float:
    """Orders a second over all connections together."""
    parts = urlsplit(rest)
    host, port = str(parts.hostname), int(parts.port or 0)
    share = orders // connections
    began = time.perf_counter()
    await asyncio.gather(*(work(host, port, range(share)) for _ in range(connections)))
    return share * connections / (time.perf_counter() - began)


class Listener:
    """A user socket that counts what comes."""

    def __init__(self) -> None:
        self.events = 0

    async def run(self, stream: str, ready: asyncio.Event) -> None:
        """Until cancelled."""
        async with aiohttp.ClientSession() as session, session.ws_connect(stream) as socket:
            ready.set()
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.BINARY:
                    continue
                if gzip.decompress(message.data) == b"Ping":
                    await socket.send_str("Pong")
                else:
                    self.events += 1


async def listen_key(rest: str) -> str:
    """A fresh one."""
    text = f"timestamp={time.time_ns() // 1_000_000}"
    signature = hmac.new(SECRET.encode(), text.encode(), sha256).hexdigest()
    url = f"{rest}/openApi/user/auth/userDataStream?{text}&signature={signature}"
    headers = {"X-BX-APIKEY": KEY}
    async with aiohttp.ClientSession() as session, session.post(url, headers=headers) as reply:
        return str((await reply.json())["listenKey"])


async def listened(urls: dict[str, Any], orders: int, connections: int) -> tuple[float, float, int]:
    """Orders a second, user events a second from the first order to the last event, and events."""
    listener, ready = Listener(), asyncio.Event()
    stream = f"{urls['stream']}?listenKey={await listen_key(urls['rest'])}"
    task = asyncio.ensure_future(listener.run(stream, ready))
    await ready.wait()
    began = last = time.perf_counter()
    rate = await place(urls["rest"], orders, connections)
    seen = -1
    while seen != listener.events:
        seen, last = listener.events, time.perf_counter()
        await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return rate, seen / (last - began), seen


async def measure(chosen: argparse.Namespace, urls: dict[str, Any]) -> Section:
    """All rounds, after one that only warms up."""
    await place(urls["rest"], chosen.orders // 4, chosen.connections)
    found: dict[str, list[float]] = {
        name: [] for name in ("alone", "alone_cpu", "beside", "events", "events_cpu")
    }
    done = chosen.orders // chosen.connections * chosen.connections
    for _ in range(chosen.rounds):
        before = cpu_s(urls["pid"])
        found["alone"].append(await place(urls["rest"], chosen.orders, chosen.connections))
        found["alone_cpu"].append(done / (cpu_s(urls["pid"]) - before))
        before = cpu_s(urls["pid"])
        rate, pushed, count = await listened(urls, chosen.orders, chosen.connections)
        found["beside"].append(rate)
        found["events"].append(pushed)
        found["events_cpu"].append(count / (cpu_s(urls["pid"]) - before))
    spread = {name: Spread.of(values) for name, values in found.items()}
    rows = [
        Row("signed orders/s, wall clock", spread["alone"].text()),
        Row(
            "signed orders a CPU second of the server",
            spread["alone_cpu"].text(),
            f"≥ {ORDERS_TARGET:,}",
            spread["alone_cpu"].median >= ORDERS_TARGET,
        ),
        Row("orders/s with a user socket open, wall clock", spread["beside"].text()),
        Row("user events/s meanwhile, wall clock", spread["events"].text()),
        Row("user events a CPU second of the server meanwhile", spread["events_cpu"].text()),
    ]
    text = (
        f"{where_and_when()} {chosen.rounds} rounds of {done} MARKET orders, {chosen.connections}"
        " keep-alive connections of a load client in another process, signatures checked."
    )
    return Section("The local exchange under load", text, rows)


def main(argv: list[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.exchange",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--orders", type=int, default=4_000)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder, exchange(Path(folder)) as urls:
        found = asyncio.run(measure(chosen, urls))
    print(plain([found]))
    if chosen.write:
        write_section(found)


if __name__ == "__main__":
    main(sys.argv[1:])
