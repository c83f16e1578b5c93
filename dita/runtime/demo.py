"""The demo: a strategy that trades the mock's price tape, so that there is something to see.

Runs beside the service of `make run`; decides on each new price and hands intents to the loop like
any alpha side would.  Only for the embedded mock.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from dita.contracts import KernelCommandType, KernelIntent, TradeStage
from dita.errors import SettingsError
from dita.policy import DemoStrategy, intent_of
from dita.runtime.factory import Bundle
from dita.units import QUANTITY_MAX

if TYPE_CHECKING:
    from dita.venues.mock import MockVenue

#: How often the demo looks at the prices, and at whether it is flat in the end.
LOOK_S: Final = 0.05
FLAT_LOOKS: Final = 100


class Demo:
    """Prices in, intents out, until the tape ends."""

    def __init__(self, bundle: Bundle, venue: MockVenue, lasts_ms: int) -> None:
        self.bundle = bundle
        self.venue = venue
        self.lasts_ms = lasts_ms
        self.started_ms = bundle.clock.now_ms()
        #: Trade id of the newest entry that was accepted; "" for none.
        self.last_trade = ""
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
            await asyncio.sleep(LOOK_S)
        kernel = self.bundle.runtime.engine.kernel
        for slot in kernel.active_slots():
            await self._exit_all(slot.trade_id)
        for _ in range(FLAT_LOOKS):
            if not kernel.active_slots() and not kernel.open_orders():
                break
            await asyncio.sleep(LOOK_S)
        await self.bundle.service.inquiry.balance()  # so that the last fees are in what is shown

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
        if intent is None:
            self._strategies[asset].refused()
            return
        outcome = await runtime.ask(intent)
        if intent.command is not KernelCommandType.ENTER:
            return
        if outcome.kernel.accepted:
            self.last_trade = intent.trade_id
        else:
            self._strategies[asset].refused()

    async def _exit_all(self, trade_id: str) -> None:
        self._sent += 1
        await self.bundle.runtime.ask(
            KernelIntent(
                command=KernelCommandType.EXIT,
                received_ms=1,
                intent_id=f"demo-exit-{self.started_ms}-{self._sent}",
                trade_id=trade_id,
                quantity_e8=QUANTITY_MAX,  # not the next leg: all of it
                urgent=True,
                reason="end of the tape",
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
