"""A stand-in for BingX's REST side: scripted answers behind httpx's own transport, and short words.

Tests name what the exchange says, not how a socket works; everything that was sent is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl

import httpx
import msgspec

from dita.clock import ManualClock
from dita.contracts import OrderSide, OrderType
from dita.units import QUANTITY_ONE
from dita.venues import SubmitOrder
from dita.venues.bingx.rest.client import Access, Client
from dita.venues.bingx.rest.rate_limits import Budget
from dita.venues.bingx.rest.signing import canonical, signature

START_MS: Final = 1_700_000_000_000
KEY, SECRET = "the-public-half", "the-private-half"
FET: Final = "FET-USDT"
BUY, SELL = OrderSide.BUY, OrderSide.SELL

Reply = dict[str, Any] | list[Any] | bytes | httpx.Response | Exception
Handler = Callable[[httpx.Request], Reply]

CONTRACT: Final = {
    "contractId": "100",
    "symbol": FET,
    "size": "0",
    "quantityPrecision": 0,
    "pricePrecision": 4,
    "makerFeeRate": 0.0002,
    "takerFeeRate": 0.0005,
    "tradeMinQuantity": 2,
    "tradeMinUSDT": 2,
    "currency": "USDT",
    "asset": "FET",
    "status": 1,
    "apiStateOpen": "true",
    "apiStateClose": "true",
}


def good(data: object) -> dict[str, Any]:
    """A good answer."""
    return {"code": 0, "msg": "", "data": data}


def bad(code: int, msg: str = "") -> dict[str, Any]:
    """A refusal."""
    return {"code": code, "msg": msg, "data": {}}


def raw(data: object) -> msgspec.Raw:
    """The data of an answer, as the client hands it on."""
    return msgspec.Raw(json.dumps(data).encode())


def query_of(request: httpx.Request) -> dict[str, str]:
    """The parameters of a request, decoded."""
    return dict(parse_qsl(request.url.query.decode(), keep_blank_values=True))


class Exchange:
    """Answers by method and path; a handler, a single reply for ever, or a list used up in turn."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock(START_MS)
        self.ahead_ms = 0  # its clock minus ours
        self.requests: list[httpx.Request] = []
        self.routes: dict[str, Handler | Reply | list[Reply]] = {
            "GET v2/server/time": lambda _: good({"serverTime": self.now_ms()}),
            "GET v2/quote/contracts": good([CONTRACT]),
            "GET v1/positionSide/dual": good({"dualSidePosition": "false"}),
            "GET v2/trade/leverage": good({"longLeverage": 1, "shortLeverage": 1}),
            "POST v2/trade/leverage": good({"leverage": 1, "symbol": FET}),
        }
        self.transport = httpx.MockTransport(self.answer)

    def now_ms(self) -> int:
        return self.clock.now_ms() + self.ahead_ms

    def answer(self, request: httpx.Request) -> httpx.Response:
        """What httpx gets."""
        self.requests.append(request)
        path = request.url.path.removeprefix("/openApi/").removeprefix("swap/")
        reply: Any = self.routes.get(f"{request.method} {path}", bad(100404, "no such path"))
        if isinstance(reply, list):
            reply = reply.pop(0)
        if callable(reply):
            reply = reply(request)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, httpx.Response):
            return reply
        body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        return httpx.Response(200, content=body)

    def sent(self, path: str) -> list[dict[str, str]]:
        """The parameters of every request to a path such as "POST v2/trade/order"."""
        method, _, rest = path.partition(" ")
        return [
            query_of(request)
            for request in self.requests
            if request.method == method and request.url.path.endswith(f"/{rest}")
        ]

    def client(self, **changes: Any) -> Client:
        """A client of this exchange whose waiting moves its clock."""
        access = {
            "url": "https://exchange.test",
            "api_key": lambda: KEY,
            "api_secret": lambda: SECRET,
            **changes,
        }

        async def sleep(seconds: float) -> None:
            self.clock.advance_ms(round(seconds * 1_000))

        return Client(Access(**access), self.clock, Budget(self.clock, sleep), self.transport)


def is_signed(request: httpx.Request) -> bool:
    """Is the signature that of the decoded, sorted parameters?"""
    parameters = query_of(request)
    given = parameters.pop("signature", "")
    return given == signature(SECRET, canonical(parameters))


def order_of(
    name: str = "one", side: OrderSide = BUY, lots: int = 100, **fields: Any
) -> SubmitOrder:
    """A MARKET order for so many whole units."""
    return SubmitOrder(
        client_order_id=name,
        asset=fields.pop("asset", FET),
        side=side,
        order_type=fields.pop("order_type", OrderType.MARKET),
        quantity_e8=fields.pop("quantity_e8", lots * QUANTITY_ONE),
        **fields,
    )
