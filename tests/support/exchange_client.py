"""An exchange in this process with a clock moved by hand, and a client that signs by its rules.

For tests of the wire: real HTTP and real sockets on loopback, no third-party code. Asserts nothing.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import quote

import aiohttp
from yarl import URL

from dita.clock import ManualClock
from dita.exchange.app import Setup, server_of
from dita.exchange.server import ExchangeServer
from dita.exchange.wire.dialect import WireFile, WireSwitches
from dita.exchange.wire.faults import read_rules
from dita.exchange.wire.limits import LimitRules
from dita.exchange.wire.signing import sign

START_MS = 1_795_435_343_000
ANSWER_S = 30
_V2 = "/openApi/swap/v2"
ORDER = f"{_V2}/trade/order"
KEYS = "/openApi/user/auth/userDataStream"


class Reply(NamedTuple):
    """What came back."""

    status: int
    body: bytes
    headers: Any

    @property
    def json(self) -> Any:
        """The body read as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> int:
        """The envelope's code."""
        return int(self.json["code"])

    @property
    def data(self) -> Any:
        """What the envelope holds; the code must be 0."""
        assert self.json["code"] == 0, self.json
        return self.json["data"]


class Stream:
    """A socket that keeps what it hears and answers Pings, unless told not to."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, *, pongs: bool) -> None:
        self.socket = socket
        self.heard: list[Any] = []
        self.pings = 0
        self.raw: list[bytes] = []
        self.closed = False
        self._pongs = pongs
        self._task = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        async for message in self.socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                self.raw.append(message.data)
                text = gzip.decompress(message.data)
                if text == b"Ping":
                    self.pings += 1
                    if self._pongs:
                        await self.socket.send_str("Pong")
                else:
                    self.heard.append(json.loads(text))
        self.closed = True

    def events(self, kind: str) -> list[Any]:
        """The user events of a kind."""
        return [frame for frame in self.heard if frame.get("e") == kind]

    async def close(self) -> None:
        """End it."""
        await self.socket.close()
        await asyncio.gather(self._task, return_exceptions=True)


class Desk:
    """The exchange, its clock, and whoever trades on it."""

    def __init__(
        self, server: ExchangeServer, clock: ManualClock, client: aiohttp.ClientSession
    ) -> None:
        self.server = server
        self.session = server.session
        self.exchange = server.session.exchange
        self.clock = clock
        self._client = client

    async def raw(self, method: str, target: str, **options: Any) -> Reply:
        """A request as it is given."""
        headers = options.pop("headers", {"X-BX-APIKEY": "KEY"})
        url = URL(self.server.rest_url + target, encoded=True)
        async with self._client.request(method, url, headers=headers, **options) as reply:
            return Reply(reply.status, await reply.read(), reply.headers)

    async def call(self, method: str, path: str, **params: Any) -> Reply:
        """A signed request with its parameters in the query."""
        params.setdefault("timestamp", self.clock.now_ms())
        pairs = sorted((name, str(value)) for name, value in params.items())
        signature = sign("SECRET", "&".join(f"{name}={value}" for name, value in pairs))
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs)
        return await self.raw(method, f"{path}?{query}&signature={signature}")

    async def place(self, **params: Any) -> Reply:
        """An order, of 100 FET bought at the market where nothing else is said."""
        order = {"symbol": "FET-USDT", "side": "BUY", "type": "MARKET", "positionSide": "BOTH"}
        return await self.call("POST", ORDER, **{**order, "quantity": 100, **params})

    async def control(self, method: str, verb: str, **body: Any) -> Reply:
        """A call of the control endpoint."""
        return await self.raw(method, f"/control/{verb}", json=body or None)

    def fault(self, **rule: Any) -> None:
        """Put a fault in force."""
        self.session.plan.add(read_rules([rule], "test"))

    async def key(self) -> str:
        """A fresh listen key."""
        reply = await self.call("POST", KEYS)
        return str(reply.json["listenKey"])

    async def stream(self, key: str = "", *, pongs: bool = True) -> Stream:
        """A socket, for user events where a key is given."""
        url = self.server.stream_url + (f"?listenKey={key}" if key else "")
        before = len(self.session.hub.sockets)
        socket = await self._client.ws_connect(url, autoping=True, compress=0)
        await self.until(lambda: len(self.session.hub.sockets) > before)
        return Stream(socket, pongs=pongs)

    async def until(self, found: Callable[[], Any]) -> None:
        """Wait for what other tasks do; the clock does not move meanwhile."""
        async with asyncio.timeout(ANSWER_S):
            while not found():
                await asyncio.sleep(0.005)

    async def pulses(self, count: int = 3) -> None:
        """Let the exchange look at its clock a few times, and sockets deliver."""
        for _ in range(count):
            self.session.pulse()
            await asyncio.sleep(0.01)


@asynccontextmanager
async def desk(
    *, limits: LimitRules | None = None, hedge: bool = False, **switches: Any
) -> AsyncIterator[Desk]:
    """An exchange with prices that stand still, without limits unless they are given."""
    switches.setdefault("config_snapshots", False)
    wire = WireFile(wire=WireSwitches(**switches), limits=limits or LimitRules(enabled=False))
    clock = ManualClock(START_MS)
    setup = Setup(symbols=("FET-USDT", "BTC-USDT"), still=True, hedge=hedge, wire=wire)
    server = server_of(setup, clock)
    async with server, aiohttp.ClientSession(trust_env=False) as client:
        yield Desk(server, clock, client)
