"""The demo: a strategy that trades a price tape, so that there is something to see.

Runs beside the service of `make run`; decides on each new price and hands intents to the loop like
any alpha side would.  Where the prices come from it is told: the local exchange's market stream, or
the embedded mock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

from dita.contracts import ContractRules, KernelCommandType, KernelIntent, TradeSlot, TradeStage
from dita.errors import SettingsError
from dita.policy import Action, Decision, DemoStrategy, intent_of
from dita.runtime.node import Node
from dita.units import QUANTITY_MAX

#: How often the demo looks at the prices, and at whether it is flat in the end.
LOOK_S: Final = 0.05
FLAT_LOOKS: Final = 200


class Market(Protocol):
    """Prices of a demo."""

    #: Since when the tape plays, by our clock, and for how long.
    started_ms: int
    lasts_ms: int
    assets: tuple[str, ...]

    async def open(self) -> None:
        """Begin to hear prices.  VenueError."""

    async def close(self) -> None:
        """Hear no more; safe to call twice."""

    def prices(self) -> Mapping[str, int]:
        """The newest price of each symbol that has one, in 10^-10."""


class MockMarket:
    """The embedded mock's prices, read from its book; SettingsError for any other venue."""

    def __init__(self, node: Node) -> None:
        from dita.venues.mock import MockVenue

        venue = node.venue
        if not isinstance(venue, MockVenue) or not venue.config.tape:
            raise SettingsError(
                "no demo on this venue",
                expected="venue.kind = mock with a tape",
                found="another venue",
                action="leave --mock away: the demo then brings its own exchange",
            )
        self._venue = venue
        self.started_ms = node.clock.now_ms()
        self.lasts_ms = venue.config.tape[-1][0]
        self.assets = tuple(venue.config.contracts)

    async def open(self) -> None:
        """Nothing to open: it is in this process."""

    async def close(self) -> None:
        """Nothing to close."""

    def prices(self) -> Mapping[str, int]:
        """The newest price of each symbol."""
        return self._venue.book.prices


class Demo:
    """Prices in, intents out, until the tape ends."""

    def __init__(self, node: Node, market: Market) -> None:
        self.node = node
        self.market = market
        #: Trade id of the newest entry that was accepted; "" for none.
        self.last_trade = ""
        self._sent = 0
        self._last: dict[str, int] = {}
        self._contracts: dict[str, ContractRules] = {}
        self._strategies = {asset: DemoStrategy(asset) for asset in market.assets}

    @property
    def progress_e3(self) -> int:
        """How far the tape is, in thousandths."""
        done = self.node.clock.now_ms() - self.market.started_ms
        return min(1000, done * 1000 // max(1, self.market.lasts_ms))

    async def run(self) -> None:
        """Trade until the tape has ended and everything is flat, or for a few seconds more."""
        for asset in self.market.assets:
            self._contracts[asset] = await self.node.venue.contract(asset)
        await self.market.open()
        try:
            while self.progress_e3 < 1000:
                await self._look()
                await asyncio.sleep(LOOK_S)
        finally:
            await self.market.close()
        kernel = self.node.runtime.engine.kernel
        for slot in kernel.active_slots():
            await self._exit_all(slot.trade_id)
        await self._until_flat()

    async def _until_flat(self) -> None:
        """Wait for the last fills and for a balance that has all of them, though not for ever."""
        runtime, service = self.node.runtime, self.node.service
        kernel = runtime.engine.kernel
        for _ in range(FLAT_LOOKS):
            if not kernel.active_slots() and not kernel.open_orders():
                break
            await asyncio.sleep(LOOK_S)
        await service.poller.income()  # funding is in no fill
        for _ in range(FLAT_LOOKS):
            await service.order_query.balance()
            if not runtime.engine.snapshot.ambiguous:
                return
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        for asset, price in dict(self.market.prices()).items():
            if asset in self._strategies and self._last.get(asset) != price:
                self._last[asset] = price
                await self._price(asset, price)

    async def _price(self, asset: str, price_e10: int) -> None:
        kernel = self.node.runtime.engine.kernel
        slot = next((s for s in kernel.active_slots() if s.asset == asset), None)
        if slot is not None:
            await self._mark(slot, price_e10)
            if slot.state is not TradeStage.POSITION_OPEN:
                return
        decision = self._strategies[asset].decide(
            price_e10,
            open_trade=slot.trade_id if slot else "",
            entries_allowed=not kernel.freeze_causes(),
        )
        if decision is not None:
            await self._send(decision, price_e10)

    async def _mark(self, slot: TradeSlot, price_e10: int) -> None:
        await self.node.runtime.post(
            KernelIntent(
                command=KernelCommandType.MARK_PRICE,
                received_ms=1,
                slot_id=slot.slot_id,
                asset=slot.asset,
                reference_price_e10=price_e10,
            )
        )

    async def _send(self, decision: Decision, price_e10: int) -> None:
        runtime, asset = self.node.runtime, decision.asset
        self._sent += 1
        intent = intent_of(
            decision,
            intent_id=f"demo-{asset}-{self.market.started_ms}-{self._sent}",
            price_e10=price_e10,
            capital=runtime.engine.snapshot.capital,
            contract=self._contracts[asset],
        )
        taken = intent is not None and (await runtime.ask(intent)).kernel.accepted
        if decision.action is not Action.ENTER:
            return
        if taken:
            self.last_trade = decision.trade_id
        else:
            self._strategies[asset].refused()

    async def _exit_all(self, trade_id: str) -> None:
        self._sent += 1
        await self.node.runtime.ask(
            KernelIntent(
                command=KernelCommandType.EXIT,
                received_ms=1,
                intent_id=f"demo-exit-{self.market.started_ms}-{self._sent}",
                trade_id=trade_id,
                quantity_e8=QUANTITY_MAX,  # not the next leg: all of it
                urgent=True,
                reason="end of the tape",
            )
        )
