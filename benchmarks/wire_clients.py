"""The three that answer a fill with an exit order, each as a process: ours, ccxt, and the floor.

Run by ``benchmarks.wire_to_wire`` as ``python -m benchmarks.wire_clients WHO URL STREAM FOLDER``.
Each line on stdin is one trial: an entry that rests, its fill, the exit.  One line of JSON says
"resting", the next one that the exit is done, with the client's own times where it has any.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final, cast

from dita.contracts import (
    KernelCommandType,
    KernelEventKind,
    KernelIntent,
    OrderType,
    TradeStage,
    VenueEvent,
)
from dita.units import PRICE_ONE, QUANTITY_ONE

KEY, SECRET = "KEY", "SECRET"
ASSET: Final = "FET-USDT"
LOTS: Final = 1_000
#: The entry rests here; the exchange's price starts at 0.5 and is moved below it.
RESTS_AT: Final = 0.4
#: What the floor makes durable, and sends: as much as a journal record, and as a signed order.
RECORD_BYTES: Final = 344
REQUEST: Final = (
    b"POST /openApi/swap/v2/trade/order?side=SELL&" + b"x" * 330 + b" HTTP/1.1\r\n"
    b"Host: 127.0.0.1\r\nX-BX-APIKEY: KEY\r\nContent-Length: 0\r\n\r\n"
)
_FILLS: Final = (KernelEventKind.PARTIAL_FILL, KernelEventKind.FULL_FILL)


def say(**said: Any) -> None:
    """A line to the conductor."""
    print(json.dumps(said), flush=True)


async def lines() -> asyncio.StreamReader:
    """Stdin, without blocking the loop."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    return reader


class Records:
    """A file with its blocks given to it, as a journal's segment is."""

    _SIZE = 16 << 20

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.posix_fallocate(self._fd, 0, self._SIZE)
        os.fsync(self._fd)
        self._end = 0

    def sync(self) -> None:
        """One more record, durable."""
        os.pwrite(self._fd, b"r" * RECORD_BYTES, self._end)
        os.fdatasync(self._fd)
        self._end = (self._end + RECORD_BYTES) % (self._SIZE - RECORD_BYTES)


# -- ours ------------------------------------------------------------------------------------------


class Stamps:
    """When the newest fill passed which place, in ns of the clock that all processes share."""

    def __init__(self) -> None:
        self.at: dict[str, int] = {}

    def note(self, name: str) -> None:
        """Now, unless it was noted before in this trial."""
        self.at.setdefault(name, perf_counter_ns())

    def install(self) -> None:
        """Put a clock reading at each border of a stage; nothing else is changed."""
        from dita.runtime.loop import Runtime
        from dita.venues.bingx.rest import client, connections
        from dita.venues.bingx.stream import socket

        self._gunzip(socket)
        self._around(Runtime, "post", before=self._of_fill("decoded"))
        self._around(Runtime, "_apply", after=self._of_entry("applied"))
        self._around(client.Client, "order", before=self._of_exit("synced"))
        self._around(client.Client, "_signed", after=self._of_exit("signed"))
        self._around(
            connections.Connections, "_usable", before=lambda *_: self._if("signed", "built")
        )

    def _gunzip(self, module: Any) -> None:
        real = module.gunzip

        def gunzip(packed: bytes) -> bytes:
            start = perf_counter_ns()
            text = cast(bytes, real(packed))
            if b'"FILLED"' in text and b'"BUY"' in text:
                self.at.setdefault("frame", start)
                self.note("unpacked")
            return text

        module.gunzip = gunzip

    @staticmethod
    def _around(
        of: type,
        name: str,
        before: Callable[..., None] = lambda *_: None,
        after: Callable[..., None] = lambda *_: None,
    ) -> None:
        real = getattr(of, name)

        def around(self: Any, *args: Any) -> Any:
            before(*args)
            found = real(self, *args)
            after(*args)
            return found

        setattr(of, name, around)

    def _if(self, first: str, then: str) -> None:
        if first in self.at:
            self.note(then)

    def _of_fill(self, name: str) -> Callable[..., None]:
        def note(*records: Any) -> None:
            if any(isinstance(r, VenueEvent) and r.kind in _FILLS for r in records):
                self._if("unpacked", name)

        return note

    def _of_entry(self, name: str) -> Callable[..., None]:
        def note(entry: Any) -> None:
            record = entry.record
            if isinstance(record, VenueEvent) and record.kind in _FILLS:
                self._if("decoded", name)

        return note

    def _of_exit(self, name: str) -> Callable[..., None]:
        def note(endpoint: Any, parameters: Any, *_: Any) -> None:
            if endpoint.method == "POST" and parameters.get("side") == "SELL":
                self.note(name)

        return note


class Ours:
    """serve's own runtime; the exit is latched before the fill, or asked for by who sees it."""

    def __init__(self, url: str, stream: str, folder: Path) -> None:
        from dita.runtime.node import Node
        from dita.runtime.world import World
        from dita.settings import load

        changed = {
            "PINK__VENUE__KIND": "bingx",
            "PINK__VENUE__ENVIRONMENT": "vst",
            "PINK__VENUE__REST_URL": url,
            "PINK__VENUE__STREAM_URL": stream,
            "PINK__VENUE__API_KEY": "env:WIRE_KEY",
            "PINK__VENUE__API_SECRET": "env:WIRE_SECRET",
            "PINK__KERNEL__NAMESPACE": "wire",
            "PINK__JOURNAL__DIRECTORY": str(folder),
        }
        os.environ.update(WIRE_KEY=KEY, WIRE_SECRET=SECRET)
        self.node = Node(load(None, {**os.environ, **changed}, {}), folder, World.of_machine())
        self.stamps = Stamps()
        self.trial = 0
        self._exits_at_fill = False

    async def work(self) -> None:
        """Trials until stdin ends."""
        self.stamps.install()
        await self.node.start(lambda line: None)
        self.runtime = self.node.runtime
        self.kernel = self.runtime.engine.kernel
        self.runtime.publishers.append(self)
        self.contract = await self.node.venue.contract(ASSET)
        say(ready=True)
        reader = await lines()
        while line := (await reader.readline()).strip():
            await self._trial(latched=line == b"latched")
        await self.node.stop()

    async def _trial(self, latched: bool) -> None:
        self.trial += 1
        self._exits_at_fill = not latched
        await self._entered()
        if latched:
            await self.runtime.ask(self._exit())
        await self._until(self._is_answered)
        await asyncio.sleep(0.05)
        self.stamps.at.clear()
        say(resting=True)
        await self._until(lambda: not self.kernel.active_slots())
        say(done=True, stamps=self.stamps.at)

    async def _entered(self) -> None:
        for number in range(2_000):
            outcome = await self.runtime.ask(
                KernelIntent(
                    command=KernelCommandType.ENTER,
                    received_ms=1,
                    intent_id=f"in-{self.trial}-{number}",
                    trade_id=f"T{self.trial}",
                    asset=ASSET,
                    quantity_e8=LOTS * QUANTITY_ONE,
                    reference_price_e10=PRICE_ONE // 2,
                    order_type=OrderType.LIMIT,
                    limit_price_e10=round(RESTS_AT * PRICE_ONE),
                    contract=self.contract,
                )
            )
            if outcome.kernel.accepted:
                return
            await asyncio.sleep(0.01)
        raise SystemExit(f"no entry: {outcome.kernel.code.name}")

    def _exit(self) -> KernelIntent:
        return KernelIntent(
            command=KernelCommandType.EXIT,
            received_ms=1,
            intent_id=f"out-{self.trial}",
            trade_id=f"T{self.trial}",
        )

    def _is_answered(self) -> bool:
        return any(order.venue_order_id for order in self.kernel.open_orders())

    async def _until(self, true: Callable[[], bool]) -> None:
        for _ in range(3_000):
            if true():
                return
            await asyncio.sleep(0.01)
        raise SystemExit(f"never: {self.kernel.active_slots()} {self.kernel.open_orders()}")

    def publish(self, record: Any, outcome: Any, seq: int) -> None:
        """Whoever decides: a fill that opened a position is answered with EXIT."""
        moved = outcome.kernel.transition
        is_opened = moved is not None and moved.after is TradeStage.POSITION_OPEN
        if self._exits_at_fill and is_opened and record.kind in _FILLS:
            self._exits_at_fill = False
            self.runtime.spawn(self.runtime.post(self._exit()), "exit")


async def ours(url: str, stream: str, folder: Path) -> None:
    """A runtime belongs to a loop."""
    await Ours(url, stream, folder).work()


# -- ccxt ------------------------------------------------------------------------------------------


_SECTIONS: Final = (
    "spot", "swap", "contract", "wallets", "user", "subAccount", "account", "copyTrading",
    "cswap", "api",
)  # fmt: skip


async def ccxt(url: str, stream: str, folder: Path) -> None:
    """ccxt.pro watches orders, and ccxt's create_order answers the fill.

    For "durable" trials what was seen is synced to a file before that, as it is in ours.
    """
    import ccxt.pro

    symbol = "FET/USDT:USDT"
    client = ccxt.pro.bingx(
        {
            "apiKey": KEY,
            "secret": SECRET,
            "enableRateLimit": False,
            "options": {"defaultType": "swap"},
            "urls": {
                "api": {
                    **dict.fromkeys(_SECTIONS, f"{url}/openApi"),
                    "ws": {
                        "linear": stream,
                        "inverse": stream,
                        "spot": stream.replace("/swap-market", "/market"),
                    },
                }
            },
        }
    )
    await client.load_markets()
    reader, record = await lines(), Records(folder / "ccxt")
    watch = asyncio.ensure_future(client.watch_orders(symbol))
    await asyncio.sleep(0.3)
    say(ready=True)
    while mode := (await reader.readline()).strip():
        entry = await client.create_order(symbol, "limit", "buy", LOTS, RESTS_AT)
        say(resting=True)
        filled = False
        while not filled:
            orders = await watch
            watch = asyncio.ensure_future(client.watch_orders(symbol))
            filled = any(o["id"] == entry["id"] and o["status"] == "closed" for o in orders)
        if mode == b"durable":
            record.sync()
        await client.create_order(symbol, "market", "sell", LOTS, None, {"reduceOnly": True})
        say(done=True, stamps={})
    watch.cancel()
    await client.close()


# -- the floor -------------------------------------------------------------------------------------


def floor(port: int, folder: Path) -> None:
    """A frame comes, a record is made durable, a request goes: bare sockets, nothing else."""
    frames = socket.create_connection(("127.0.0.1", port))
    orders = socket.create_connection(("127.0.0.1", port))
    orders.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    frames.sendall(b"F")
    orders.sendall(b"O")
    record = Records(folder / "floor")
    while frames.recv(65_536):
        record.sync()
        orders.sendall(REQUEST)


if __name__ == "__main__":
    who, url, stream, place = sys.argv[1:]
    if who == "ours":
        asyncio.run(ours(url, stream, Path(place) / "ours"))
    elif who == "ccxt":
        asyncio.run(ccxt(url, stream, Path(place)))
    else:
        floor(int(url), Path(place))
