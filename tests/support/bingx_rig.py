"""BingX and the local exchange in one process: a venue on real sockets, and levers to pull.

The exchange's time is the venue's and moves by hand; waiting for a turn moves it too.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from dita.clock import Clock, ManualClock
from dita.exchange.model.exchange import Exchange, ExchangeConfig
from dita.exchange.model.market import Shape
from dita.exchange.server import ExchangeServer
from dita.exchange.wire.dialect import WireFile, WireSwitches
from dita.exchange.wire.faults import FaultKind, FaultRule
from dita.exchange.wire.session import Session
from dita.exchange.wire.signing import Credentials
from dita.units import MONEY_ONE
from dita.venues import Venue
from dita.venues.bingx.rest.rate_limits import Budget
from dita.venues.bingx.venue import BingxConfig, BingxVenue

START_MS: Final = 1_700_000_000_000
FET: Final = "FET-USDT"
KEY, SECRET = "key-of-the-stand", "secret-of-the-stand"


class BingxStand:
    """A connected venue and its exchange."""

    asset = FET
    money_step = MONEY_ONE // 10_000  # answers have four decimals, frames eight

    def __init__(
        self,
        *,
        hedge: bool = False,
        clock: Clock | None = None,
        shape: Shape | None = None,
        receive_window_ms: int = 5_000,
        **switches: Any,
    ) -> None:
        self.clock = clock or ManualClock(START_MS)
        self.receive_window_ms = receive_window_ms
        config = ExchangeConfig(hedge=hedge, shape=shape or Shape())
        self.exchange = Exchange(config, self.clock.now_ms())
        wire = WireFile(wire=WireSwitches(**switches))
        self.session = Session(self.exchange, self.clock, Credentials(KEY, SECRET), wire=wire)
        self.server = ExchangeServer(self.session)
        self.hedge = hedge
        self.bingx = self.new_venue()
        self.venue: Venue = self.bingx

    @classmethod
    async def make(cls, **options: Any) -> BingxStand:
        """A stand that is up and connected."""
        stand = cls(**options)
        await stand.server.start()
        stand.bingx = stand.venue = stand.new_venue()  # the port is known now
        await stand.venue.connect()
        return stand

    def new_venue(self, clock: Clock | None = None) -> BingxVenue:
        """A venue of this exchange, with the exchange's clock or another."""
        return BingxVenue(
            BingxConfig(
                rest_url=self.server.rest_url,
                stream_url=self.server.stream_url,
                hedge=self.hedge,
                receive_window_ms=self.receive_window_ms,
                assets=("VST", "USDT"),
            ),
            clock or self.clock,
            api_key=lambda: KEY,
            api_secret=lambda: SECRET,
            draw=lambda below: 0,
            budget=Budget(clock or self.clock, self.sleep),
        )

    async def sleep(self, seconds: float) -> None:
        """What waits for its turn lets time pass."""
        if isinstance(self.clock, ManualClock):
            self.clock.advance_ms(round(seconds * 1_000))
        else:
            await asyncio.sleep(seconds)

    def fault(self, kind: FaultKind, on: str, **fields: Any) -> None:
        """From now on something goes wrong, once unless ``times`` says otherwise."""
        self.session.plan.add([FaultRule(kind=kind, on=on, **fields)])

    # -- the levers of the contract --

    async def pass_ms(self, step_ms: int) -> None:
        if isinstance(self.clock, ManualClock):
            self.clock.advance_ms(step_ms)
        self.session.pulse()

    async def move_price(self, price_e10: int) -> None:
        self.exchange.set_price(FET, price_e10, self.clock.now_ms())
        self.session.push_events()

    async def lose_answer(self, executed: bool) -> None:
        kind = FaultKind.ANSWER_LOST if executed else FaultKind.REQUEST_LOST
        self.fault(kind, "POST */trade/order")

    async def refuse_cancel(self) -> None:
        self.fault(FaultKind.REFUSED, "DELETE */trade/order", code=109403, msg="risk forbidden")

    async def fail_questions(self, count: int) -> None:
        self.fault(FaultKind.REQUEST_LOST, "GET *", times=count)

    async def damage_answers(self) -> None:
        await self.empty_answers()
        row = f'{{"symbol":"{FET}","status":"HALTED","positionAmt":"many"}}'
        self.fault(FaultKind.ODD_ROW, "GET *", msg=row, times=0)

    async def empty_answers(self) -> None:
        for path in ("user/positions", "trade/openOrders", "trade/allOrders", "trade/fillHistory"):
            self.fault(FaultKind.EMPTY, f"GET */{path}", times=0)

    async def fund(self, rate_e9: int) -> None:
        self.exchange.pay_funding(FET, rate_e9, self.clock.now_ms())
        self.session.push_events()

    async def end_stream(self) -> None:
        self.session.hub.drop_users()

    async def close(self) -> None:
        await self.venue.close()
        await self.server.stop()
