"""A service on the mock venue in virtual time, with a log in memory, and the words to drive it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec.structs import replace

from dita.contracts import (
    KernelCommandType,
    KernelIntent,
    RiskLimit,
    TradeStage,
)
from dita.engine import Engine, Outcome
from dita.kernel import KernelConfig
from dita.runtime.loop import Input, RunState, Runtime
from dita.runtime.queries.order_query import OrderQuery
from dita.runtime.service import Cadence, Service
from dita.simulation.virtual_time import VirtualClock, run
from dita.venues.mock import MockConfig, MockVenue, fet_config
from support.engine_driver import SHORT, p, q


class MemoryLog:
    """Counts what was appended and what was committed."""

    def __init__(self) -> None:
        self.records: list[Input] = []
        self.committed = 0

    def append(self, record: Input, packed: bytes) -> int:
        assert len(packed) == 264
        self.records.append(record)
        return len(self.records)

    async def commit(self) -> int:
        await asyncio.sleep(0)
        self.committed = len(self.records)
        return self.committed


class Floor:
    """A service on a mock venue, and the words to drive it."""

    def __init__(self, config: MockConfig, *, pulse_ms: int = 10) -> None:
        self.clock = VirtualClock()
        self.venue = MockVenue(config, self.clock, pulse_ms=pulse_ms)
        self.log = MemoryLog()
        self.engine = Engine(KernelConfig(balance_max_age_ms=60_000))
        self.runtime = Runtime(engine=self.engine, log=self.log, venue=self.venue, clock=self.clock)
        self.order_query = OrderQuery(self.runtime, absence_fence_ms=100)
        cadence = Cadence(tick_ms=20, in_flight_s=1, drain_limit_s=3)
        self.service = Service(self.runtime, self.order_query, cadence)

    async def enter(
        self, trade: str = "T1", asset: str = "FET-USDT", expires_ms: int = 0, **fields: Any
    ) -> Outcome:
        intent = KernelIntent(
            command=KernelCommandType.ENTER,
            received_ms=1,
            intent_id=f"enter-{trade}",
            trade_id=trade,
            asset=asset,
            side=SHORT,
            quantity_e8=q(1000),
            reference_price_e10=p("0.5"),
            contract=self.venue.config.contracts[asset],
            expires_ms=expires_ms,
        )
        return await self.runtime.ask(replace(intent, **fields))

    async def exit(self, trade: str = "T1") -> Outcome:
        return await self.runtime.ask(
            KernelIntent(
                command=KernelCommandType.EXIT,
                received_ms=1,
                intent_id=f"exit-{trade}",
                trade_id=trade,
            )
        )

    async def until(self, stage: TradeStage, seconds: float = 5.0) -> None:
        """Wait for slot 0 to reach a state."""
        await self.wait(lambda: self.engine.kernel.slot(0).state is stage, seconds, stage.name)

    async def wait(self, true: Callable[[], bool], seconds: float, what: str) -> None:
        for _ in range(int(seconds * 100)):
            if true():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"never: {what}; slot 0 is {self.engine.kernel.slot(0)}")


def on_the_floor(
    scene: Callable[[Floor], Awaitable[None]],
    config: MockConfig | None = None,
    limits: dict[RiskLimit, int] | None = None,
) -> Floor:
    """Start a service, play a scene, drain and close; nothing may fail in the background."""

    async def play() -> Floor:
        floor = Floor(config or fet_config())
        floor.service.limits = limits or {}
        await floor.service.start()
        await scene(floor)
        assert await floor.service.drain()
        await floor.service.close()
        return floor

    floor = run(play())
    assert floor.runtime.background == frozenset()
    return floor


def same_books(floor: Floor) -> None:
    """The venue's own book and ours say the same."""
    dump = floor.venue.book.dump()
    assert floor.engine.snapshot.capital == dump.wallet
    assert floor.engine.snapshot.k_capital == dump.wallet
    assert dump.positions == ()
    assert floor.engine.kernel.open_orders() == ()


async def round_trip(floor: Floor) -> None:
    """In, out, and everything final."""
    assert floor.runtime.state is RunState.READY
    assert (await floor.enter()).kernel.accepted
    await floor.until(TradeStage.POSITION_OPEN)
    assert (await floor.exit()).kernel.accepted
    await floor.until(TradeStage.IDLE)
    await floor.wait(lambda: floor.engine.snapshot.ambiguous == 0, 5, "a quiet anchor")


Scene = Callable[[Floor], Awaitable[None]]


def watched(scene: Scene, config: MockConfig | None = None) -> Floor:
    """A service whose questions come every second."""

    async def play() -> Floor:
        floor = Floor(config or fet_config())
        floor.service.cadence = Cadence(
            tick_ms=20, in_flight_s=1, open_orders_s=1, positions_s=1, balance_s=1, income_s=1,
            drain_limit_s=3,
        )  # fmt: skip
        await floor.service.start()
        await scene(floor)
        await floor.service.drain()
        await floor.service.close()
        return floor

    return run(play())


async def up_to_date(floor: Floor) -> None:
    """Income and the balance have been read after now."""
    ledger, feeds = floor.engine.kernel.ledger, floor.service.feeds
    for _ in range(3):
        read_ms, balance_ms = ledger().income_read_ms, feeds.balance_ms
        while ledger().income_read_ms <= read_ms or feeds.balance_ms <= balance_ms:
            await asyncio.sleep(0.02)
