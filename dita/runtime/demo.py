"""The demo: a strategy that trades the mock's price tape, so that there is something to see.

Runs beside the service of `make run`; decides on each new price and hands intents to the loop like
any alpha side would.  Only for the embedded mock.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dita.contracts import KernelCommandType, KernelIntent, TradeStage
from dita.errors import SettingsError
from dita.policy import DemoStrategy, intent_of
from dita.runtime.factory import Bundle

if TYPE_CHECKING:
    from dita.venues.mock import MockVenue


class Demo:
    """Prices in, intents out, until the tape ends."""

    def __init__(self, bundle: Bundle, venue: MockVenue, lasts_ms: int) -> None:
        self.bundle = bundle
        self.venue = venue
        self.lasts_ms = lasts_ms
        self.started_ms = bundle.clock.now_ms()
        self._sent = 0
        self._last: dict[str, int] = {}
        self._strategies = {asset: DemoStrategy(asset) for asset in venue.config.contracts}

    @property
    def progress_e3(self) -> int:
        """How far the tape is, in thousandths."""
        done = self.bundle.clock.now_ms() - self.started_ms
        return min(1000, done * 1000 // max(1, self.lasts_ms))

    async def run(self) -> None:
        """Trade until the tape has ended and everything is flat, or for a few seconds more."""
        while self.progress_e3 < 1000:
            await self._look()
            await asyncio.sleep(0.05)
        for slot in self.bundle.runtime.engine.kernel.active_slots():
            await self._exit(slot.trade_id, "end of the tape")
        for _ in range(60):
            if not self.bundle.runtime.engine.kernel.active_slots():
                return
            await asyncio.sleep(0.1)

    async def _look(self) -> None:
        for asset, price in dict(self.venue.book.prices).items():
            if self._last.get(asset) != price:
                self._last[asset] = price
                await self._price(asset, price)

    async def _price(self, asset: str, price_e10: int) -> None:
        runtime = self.bundle.runtime
        kernel = runtime.engine.kernel
        slot = next((s for s in kernel.active_slots() if s.asset == asset), None)
        if slot is not None:
            await runtime.post(
                KernelIntent(
                    command=KernelCommandType.MARK_PRICE,
                    received_ms=1,
                    slot_id=slot.slot_id,
                    asset=asset,
                    reference_price_e10=price_e10,
                )
            )
        open_trade = slot.trade_id if slot and slot.state is TradeStage.POSITION_OPEN else ""
        if slot is not None and not open_trade:
            return
        decision = self._strategies[asset].decide(
            price_e10, open_trade=open_trade, entries_allowed=not kernel.freeze_causes()
        )
        if decision is None:
            return
        self._sent += 1
        intent = intent_of(
            decision,
            intent_id=f"demo-{asset}-{self.started_ms}-{self._sent}",
            price_e10=price_e10,
            capital=runtime.engine.snapshot.capital,
            contract=self.venue.config.contracts[asset],
        )
        if intent is not None:
            await runtime.ask(intent)

    async def _exit(self, trade_id: str, reason: str) -> None:
        self._sent += 1
        await self.bundle.runtime.ask(
            KernelIntent(
                command=KernelCommandType.EXIT,
                received_ms=1,
                intent_id=f"demo-exit-{self.started_ms}-{self._sent}",
                trade_id=trade_id,
                urgent=True,
                reason=reason,
            )
        )


def demo_of(bundle: Bundle) -> Demo:
    """The demo of a bundle; SettingsError when its venue is not the embedded mock."""
    from dita.venues.mock import MockVenue

    venue = bundle.venue
    if not isinstance(venue, MockVenue) or not venue.config.tape:
        raise SettingsError(
            "no demo on this venue", expected="venue.kind = mock with a tape", found="another venue"
        )
    return Demo(bundle, venue, venue.config.tape[-1][0])
