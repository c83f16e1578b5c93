"""A runtime as serve has it, driven by a flood of inputs: what it remembers must not grow.

Run as ``python -m benchmarks.flood COUNT FOLDER`` it prints one JSON line at each mark: inputs so
far, resident memory, bytes of the journal, seconds.  Lock, journal on disk, venue, inquiries and
snapshots are the real ones; most inputs are prices and news of other people's orders, each with ids
of its own, between whole trades.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dita.contracts import (
    KernelCommandType,
    KernelEventKind,
    KernelIntent,
    OrderSide,
    TradeSide,
    VenueEvent,
)
from dita.runtime.node import Node
from dita.runtime.server.serve import current_status
from dita.runtime.world import World
from dita.settings import load
from dita.units import PRICE_ONE, QUANTITY_MAX, QUANTITY_ONE

ASSET: Final = "FET-USDT"
#: Prices and foreign news between two trades.
BETWEEN: Final = 100
#: When memory is looked at, as shares of the whole count.
MARKS: Final = (1, 5, 10)


class Flood:
    """Trades, and what comes between them."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.runtime = node.runtime
        self.kernel = node.runtime.engine.kernel
        self.number = 0
        self.trades = 0

    async def round(self) -> None:
        """One whole trade, with prices and foreign news while it is open."""
        self.trades += 1
        trade = f"T{self.trades}"
        await self._enter(trade)
        await self._until_quiet("filled")
        await self.runtime.post(*self._noise())
        await self.runtime.ask(
            KernelIntent(
                command=KernelCommandType.EXIT,
                received_ms=1,
                intent_id=f"out-{trade}",
                trade_id=trade,
                quantity_e8=QUANTITY_MAX,
            )
        )
        while self.kernel.active_slots():
            await asyncio.sleep(0.005)
        await self._until_quiet("flat")

    async def _enter(self, trade: str) -> None:
        contract = await self.node.venue.contract(ASSET)
        refused = ""
        for attempt in range(1_000):
            outcome = await self.runtime.ask(
                KernelIntent(
                    command=KernelCommandType.ENTER,
                    received_ms=1,
                    intent_id=f"in-{trade}-{attempt}",
                    trade_id=trade,
                    asset=ASSET,
                    side=TradeSide.SHORT,
                    quantity_e8=100 * QUANTITY_ONE,
                    reference_price_e10=PRICE_ONE // 2,
                    contract=contract,
                )
            )
            if outcome.kernel.accepted:
                return
            refused = outcome.kernel.code.name
            await asyncio.sleep(0.005)  # money has just moved
        raise RuntimeError(f"no entry: {refused}")

    async def _until_quiet(self, what: str) -> None:
        for _ in range(4_000):
            if not self.kernel.open_orders():
                return
            await asyncio.sleep(0.005)
        raise RuntimeError(f"never {what}: {self.kernel.open_orders()}")

    def _noise(self) -> Iterator[KernelIntent | VenueEvent]:
        slot = self.kernel.active_slots()[0].slot_id
        for _ in range(BETWEEN):
            self.number += 1
            if self.number % 5:
                yield KernelIntent(
                    command=KernelCommandType.MARK_PRICE,
                    received_ms=1,
                    intent_id=f"price-{self.number}",
                    slot_id=slot,
                    asset=ASSET,
                    reference_price_e10=PRICE_ONE // 2 + self.number % 1_000,
                )
            else:
                yield VenueEvent(
                    kind=KernelEventKind.FULL_FILL,
                    received_ms=1,
                    event_id=f"event-{self.number}",
                    asset="BTC-USDT",  # on our own symbol it would close our position
                    venue_order_id=f"foreign-{self.number}",
                    client_order_id=f"theirs-{self.number}",
                    side=OrderSide.BUY,
                    quantity_e8=QUANTITY_ONE,
                    price_e10=PRICE_ONE // 2,
                )


def resident_bytes() -> int:
    """Of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def folder_bytes(folder: Path) -> int:
    """What the files of a folder take on the disk."""
    return sum(file.stat().st_blocks * 512 for file in folder.iterdir())


async def flood(count: int, folder: Path) -> None:
    """Drive until so many inputs are applied, telling at the marks."""
    changed = {"PINK__RUNTIME__TICK_MS": "10", "PINK__KERNEL__NAMESPACE": "bench"}
    node = Node(load(None, changed, {}), folder, World.of_machine())
    started = time.perf_counter()
    await node.start(lambda line: None)
    driver = Flood(node)
    for mark in (count * share // MARKS[-1] for share in MARKS):
        while node.runtime.processed < mark:
            await driver.round()
        told = {
            "inputs": node.runtime.processed,
            "trades": driver.trades,
            "resident": resident_bytes(),
            "journal": folder_bytes(folder / "journal"),
            "seconds": time.perf_counter() - started,
        }
        print(json.dumps(told), flush=True)
    status = current_status(node)
    quiet = await node.stop()
    told = {"quiet": quiet, "drift": status["drift"], "refusals": status["refusals"]}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    asyncio.run(flood(int(sys.argv[1]), Path(sys.argv[2])))
