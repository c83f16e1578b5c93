"""A service with the BingX adapter on the local exchange, and the words to drive them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from dita.clock import SystemClock
from dita.contracts import KernelCommandType, KernelIntent, TradeStage
from dita.engine import Engine, Outcome
from dita.kernel import KernelConfig
from dita.runtime.loop import Input, Runtime
from dita.runtime.queries.order_query import OrderQuery
from dita.runtime.service import Cadence, Service
from support.bingx_rig import FET, BingxStand
from support.engine_driver import SHORT, p, q

PATIENCE_S = 40


class Log:
    """A journal that forgets."""

    def __init__(self) -> None:
        self.length = 0

    def append(self, record: Input, packed: bytes) -> int:
        self.length += 1
        return self.length

    async def commit(self) -> int:
        await asyncio.sleep(0)
        return self.length


class ShiftedClock(SystemClock):
    """This machine's clock, set wrong."""

    def __init__(self, shift_ms: int) -> None:
        self.shift_ms = shift_ms

    __slots__ = ("shift_ms",)

    def now_ms(self) -> int:
        return super().now_ms() + self.shift_ms


class Floor:
    """A service on BingX's adapter, and the words to drive it."""

    def __init__(self, stand: BingxStand, shift_ms: int) -> None:
        self.stand = stand
        clock = ShiftedClock(shift_ms)
        self.venue = stand.new_venue(clock)
        self.engine = Engine(KernelConfig(balance_max_age_ms=60_000, hedge=stand.hedge))
        self.runtime = Runtime(engine=self.engine, log=Log(), venue=self.venue, clock=clock)
        order_query = OrderQuery(self.runtime, absence_fence_ms=200)
        cadence = Cadence(tick_ms=20, in_flight_s=1, balance_s=2, drain_limit_s=10)
        self.service = Service(self.runtime, order_query, cadence)

    async def enter(self, **fields: Any) -> Outcome:
        return await self.runtime.ask(
            KernelIntent(
                command=KernelCommandType.ENTER,
                received_ms=1,
                intent_id="enter",
                trade_id="T1",
                asset=FET,
                side=SHORT,
                quantity_e8=q(1000),
                reference_price_e10=p("0.5"),
                contract=await self.venue.contract(FET),
                leverage=2,
                **fields,
            )
        )

    async def exit(self) -> Outcome:
        return await self.runtime.ask(
            KernelIntent(
                command=KernelCommandType.EXIT, received_ms=1, intent_id="exit", trade_id="T1"
            )
        )

    async def until(self, stage: TradeStage) -> None:
        """Wait for slot 0 to reach a state; the whole scene has a limit."""
        while self.engine.kernel.slot(0).state is not stage:
            await asyncio.sleep(0.01)

    async def in_and_out(self) -> None:
        """A trade, and a quiet anchor behind it."""
        assert (await self.enter()).kernel.accepted
        await self.until(TradeStage.POSITION_OPEN)
        assert (await self.exit()).kernel.accepted
        await self.until(TradeStage.IDLE)
        while self.engine.snapshot.ambiguous:
            await asyncio.sleep(0.01)


def on_the_floor(
    scene: Callable[[Floor], Awaitable[None]], shift_ms: int = 0, **options: Any
) -> Floor:
    """Start exchange and service, play a scene, drain, close."""

    async def play() -> Floor:
        stand = BingxStand(clock=SystemClock(), **options)
        await stand.server.start()
        floor = Floor(stand, shift_ms)
        try:
            await floor.service.start()
            work = asyncio.ensure_future(scene(floor))
            failed = asyncio.ensure_future(floor.runtime.failure())
            await asyncio.wait({work, failed}, return_when=asyncio.FIRST_COMPLETED)
            failed.cancel()
            if not work.done():
                work.cancel()
                failed.result()
            await work
            assert await floor.service.drain()
        finally:
            await floor.service.close()
            await stand.server.stop()
        return floor

    return asyncio.run(asyncio.wait_for(play(), PATIENCE_S))
