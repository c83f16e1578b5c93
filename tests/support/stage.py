"""A running node in one process, with the mock venue and a journal on disk, and its verbs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from dita.clock import MachineClock, SystemClock
from dita.contracts import (
    KernelCommandType,
    KernelIntent,
    OrderSide,
    OrderType,
    TradeSide,
    TradeStage,
)
from dita.journal import JournalReader
from dita.runtime import node
from dita.runtime.node import Node
from dita.runtime.server.serve import ControlCommands
from dita.runtime.state.directory import prepared
from dita.runtime.world import World
from dita.settings import Settings, VenueEnvironment
from dita.venues.mock import Do, MockConfig, MockVenue, Rule, Verb, fet_config
from support.engine_driver import p, q

WHO = {"operator": "jo", "reason": "test"}
START_MS = 1_700_000_000_000


class Stage:
    """A running node, its venue, and its verbs."""

    def __init__(self, node: Node, venue: MockVenue) -> None:
        self.node = node
        self.venue = venue
        self.kernel = node.runtime.engine.kernel
        self.verbs = ControlCommands(node).table()

    async def ask(self, verb: str, **request: Any) -> dict[str, Any]:
        """The answer of a verb, by a person with a reason."""
        return await self.verbs[verb]({**WHO, **request})

    async def report(self, **request: Any) -> dict[str, Any]:
        record: dict[str, Any] = (await self.ask("reconcile", **request))["reconcile"]
        return record

    async def apply(self, plan: dict[str, Any], **request: Any) -> dict[str, Any]:
        return await self.ask("reconcile_apply", plan=plan, **request)

    async def enter(self, trade: str = "T1", **fields: Any) -> None:
        """A short of 1000 FET at market, at rest when this returns."""
        contract = await self.venue.contract("FET-USDT")
        intent = KernelIntent(
            command=KernelCommandType.ENTER,
            received_ms=1,
            intent_id=f"enter-{trade}",
            trade_id=trade,
            asset="FET-USDT",
            side=TradeSide.SHORT,
            quantity_e8=q(1000),
            reference_price_e10=p("0.5"),
            contract=contract,
        )
        outcome = await self.node.runtime.ask(replace(intent, **fields))
        assert outcome.kernel.accepted, outcome.kernel
        if intent.order_type is fields.get("order_type", OrderType.MARKET):
            await self.until(lambda: self.state is TradeStage.POSITION_OPEN)
            await self.until(lambda: not self.kernel.open_orders())

    @property
    def state(self) -> TradeStage:
        return self.kernel.slot(0).state

    async def until(self, true: Callable[[], bool], seconds: int = 30) -> None:
        for _ in range(seconds * 100):
            if true():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"never; slot 0 is {self.kernel.slot(0)}")

    async def quiet(self) -> None:
        """Until our anchor holds everything and equals the venue's wallet."""
        engine = self.node.runtime.engine

        def same() -> bool:
            account = engine.snapshot
            self.node.service.balance_due.set()
            return not account.ambiguous and account.capital == self.venue.book.wallet

        await self.until(same)

    def deaf(self) -> None:
        """From now on every frame of the stream is lost."""
        self.venue.set_script((Rule(verb=Verb.STREAM, do=Do.DROP, times=0),))

    def by_hand(self, side: OrderSide, quantity: int, asset: str = "FET-USDT") -> None:
        self.venue.trade_by_hand(asset, side, q(quantity))


def on_stage(
    scene: Callable[[Stage], Awaitable[None]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    config: MockConfig | None = None,
    clock: MachineClock | None = None,
    environment: VenueEnvironment | None = None,
) -> None:
    """Start a node on a mock, play the scene, stop cleanly."""
    clock = clock or SystemClock()
    venues: list[MockVenue] = []

    def venue_of(settings: Settings, world: World, *, demo: bool = False) -> MockVenue:
        mock = config or fet_config(receive_window_ms=200)
        venues.append(MockVenue(mock, world.clock, pulse_ms=10))
        return venues[0]

    monkeypatch.setattr(node, "venue_of", venue_of)
    settings, directory = prepared(None, folder / "state", quick_settings())
    if environment is not None:
        settings = replace(settings, venue=replace(settings.venue, environment=environment))

    async def play() -> None:
        node = Node(settings, directory, World.of_machine(clock))
        await node.start(lambda line: None)
        try:
            await scene(Stage(node, venues[0]))
            await node.stop()
        finally:
            await node.service.close()
            node.close()

    asyncio.run(asyncio.wait_for(play(), 120))


def quick_settings() -> dict[str, str]:
    return {
        "PINK__RUNTIME__TICK_MS": "20",
        "PINK__RUNTIME__IN_FLIGHT_CHECK_S": "1",
        "PINK__RUNTIME__DRAIN_LIMIT_S": "2",
        "PINK__VENUE__ABSENCE_FENCE_S": "1",
        "PINK__JOURNAL__SEGMENT_BYTES": "1048576",
        "PINK__JOURNAL__RESERVE_BYTES": "65536",
    }


def journalled_reasons(state: Path) -> list[str]:
    entries = JournalReader.open(state / "journal").records()
    return [e.record.reason for e in entries if isinstance(e.record, KernelIntent)]
