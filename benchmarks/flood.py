"""A runtime as serve has it, driven by a flood of inputs: what it remembers must not grow.

Run as ``python -m benchmarks.flood COUNT FOLDER`` it prints one JSON line at each mark: inputs so
far, resident memory, bytes of the journal, seconds.  Lock, journal on disk, venue, inquiries and
snapshots are the real ones; most inputs are prices and news of other people's orders, each with ids
of its own, beside whole trades in sixteen symbols.  With "paced" for COUNT the inputs come one by
one, a thousand a second.
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
    TradeStage,
    VenueEvent,
)
from dita.engine import Outcome
from dita.runtime.loop import Input
from dita.runtime.node import Node
from dita.runtime.server.serve import current_status
from dita.runtime.world import World
from dita.settings import load
from dita.units import PRICE_ONE, QUANTITY_MAX, QUANTITY_ONE
from dita.venues.mock import MockVenue

#: Trades go on in as many symbols at once; each waits for the venue's records between two.
ASSETS: Final = tuple(f"COIN{number:02d}-USDT" for number in range(16))
#: Prices and foreign news that are posted at once.
BETWEEN: Final = 500
HELD_S: Final = 0.5
PRICE_E10: Final = PRICE_ONE // 2
#: Inputs a second, and for how long.
PACE: Final = 1_000
PACED_S: Final = 5.0
#: When memory is looked at, as shares of the whole count.
MARKS: Final = (1, 5, 10)


class Flood:
    """Trades in every symbol, and without a pause what comes between them."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.runtime = node.runtime
        self.number = 0
        self.trades = 0
        #: Slots in use, by symbol; the newest state of each.
        self.slots: dict[str, int] = {}
        self.stages: dict[int, TradeStage] = {}
        node.runtime.publishers.append(self)

    def publish(self, record: Input, outcome: Outcome, seq: int) -> None:
        """Note where each slot is."""
        moved = outcome.kernel.transition
        if moved is not None:
            self.stages[moved.slot_id] = moved.after

    async def trade(self, asset: str) -> None:
        """One whole trade after another."""
        while True:
            self.trades += 1
            trade = f"T{self.trades}"
            slot = self.slots[asset] = await self._entered(trade, asset)
            await self._until(slot, TradeStage.POSITION_OPEN)
            await asyncio.sleep(HELD_S)
            await self.runtime.ask(
                KernelIntent(
                    command=KernelCommandType.EXIT,
                    received_ms=1,
                    intent_id=f"out-{trade}",
                    trade_id=trade,
                    quantity_e8=QUANTITY_MAX,
                )
            )
            await self._until(slot, TradeStage.IDLE)
            del self.slots[asset]

    async def _entered(self, trade: str, asset: str) -> int:
        contract = await self.node.venue.contract(asset)
        for attempt in range(1_000):
            outcome = await self.runtime.ask(
                KernelIntent(
                    command=KernelCommandType.ENTER,
                    received_ms=1,
                    intent_id=f"in-{trade}-{attempt}",
                    trade_id=trade,
                    asset=asset,
                    side=TradeSide.SHORT,
                    quantity_e8=10 * QUANTITY_ONE,
                    reference_price_e10=PRICE_E10,
                    contract=contract,
                )
            )
            if outcome.kernel.transition is not None:
                return outcome.kernel.transition.slot_id
            await asyncio.sleep(0.01)  # money has just moved
        raise RuntimeError(f"no entry: {outcome.kernel.code.name}")

    async def _until(self, slot: int, stage: TradeStage) -> None:
        for _ in range(6_000):
            if self.stages[slot] is stage:
                return
            await asyncio.sleep(0.01)
        raise RuntimeError(f"never {stage.name}: {self.node.runtime.engine.kernel.slot(slot)}")

    async def noise(self) -> None:
        """Prices and foreign news, as fast as they are taken: the next when these are durable."""
        while True:
            *most, last = self._some()
            await self.runtime.post(*most)
            await self.runtime.ask(last)

    def _some(self, count: int = BETWEEN) -> Iterator[KernelIntent | VenueEvent]:
        held = TradeStage.POSITION_OPEN
        used = [(a, slot) for a, slot in self.slots.items() if self.stages[slot] is held]
        for _ in range(count):
            self.number += 1
            if used and self.number % 5:
                asset, slot = used[self.number % len(used)]
                yield KernelIntent(
                    command=KernelCommandType.MARK_PRICE,
                    received_ms=1,
                    intent_id=f"price-{self.number}",
                    slot_id=slot,
                    asset=asset,
                    reference_price_e10=PRICE_E10 + self.number % 1_000,
                )
            else:
                yield VenueEvent(
                    kind=KernelEventKind.FULL_FILL,
                    received_ms=1,
                    event_id=f"event-{self.number}",
                    asset="BTC-USDT",  # on our own symbols it would close our positions
                    venue_order_id=f"foreign-{self.number}",
                    client_order_id=f"theirs-{self.number}",
                    side=OrderSide.BUY,
                    quantity_e8=QUANTITY_ONE,
                    price_e10=PRICE_E10,
                )


def list_symbols(venue: object) -> None:
    """The embedded mock lists two symbols; a flood needs as many as there are slots."""
    assert isinstance(venue, MockVenue)
    config = venue.config
    rules = next(iter(config.contracts.values()))
    for asset in ASSETS:
        config.contracts[asset] = rules
        venue.book.prices[asset] = PRICE_E10


def resident_bytes() -> int:
    """Of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def folder_bytes(folder: Path) -> int:
    """What the files of a folder take on the disk."""
    return sum(file.stat().st_blocks * 512 for file in folder.iterdir())


def node_at(folder: Path) -> Node:
    """A node as serve has it, on the embedded mock."""
    changed = {"PINK__RUNTIME__TICK_MS": "10", "PINK__KERNEL__NAMESPACE": "bench"}
    node = Node(load(None, changed, {}), folder, World.of_machine())
    list_symbols(node.venue)
    return node


async def paced(rate: int, seconds: float, folder: Path) -> None:
    """So many inputs a second, one after another; prints the share of a core that they take."""
    node = node_at(folder)
    await node.start(lambda line: None)
    driver = Flood(node)
    driver.slots[ASSETS[0]] = slot = await driver._entered("T1", ASSETS[0])
    await driver._until(slot, TradeStage.POSITION_OPEN)
    await asyncio.sleep(1)
    before, posted = node.runtime.processed, 0
    started, started_cpu = time.perf_counter(), time.process_time()
    while (passed_s := time.perf_counter() - started) < seconds:
        due = int(passed_s * rate)
        await node.runtime.post(*driver._some(due - posted))
        posted = due
        await asyncio.sleep(1 / rate)
    told = {
        "inputs": node.runtime.processed - before,
        "cpu": time.process_time() - started_cpu,
        "seconds": time.perf_counter() - started,
    }
    print(json.dumps(told), flush=True)
    await node.stop()


async def flood(count: int, folder: Path) -> None:
    """Drive until so many inputs are applied, telling at the marks."""
    node = node_at(folder)
    await node.start(lambda line: None)
    started, started_cpu = time.perf_counter(), time.process_time()
    driver = Flood(node)
    tasks = [asyncio.ensure_future(driver.trade(asset)) for asset in ASSETS]
    tasks.append(asyncio.ensure_future(driver.noise()))
    for mark in (count * share // MARKS[-1] for share in MARKS):
        while node.runtime.processed < mark and not any(task.done() for task in tasks):
            await asyncio.sleep(0.05)
        told = {
            "inputs": node.runtime.processed,
            "trades": driver.trades,
            "resident": resident_bytes(),
            "journal": folder_bytes(folder / "journal"),
            "seconds": time.perf_counter() - started,
            "cpu": time.process_time() - started_cpu,
        }
        print(json.dumps(told), flush=True)
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(ended, asyncio.CancelledError):
            raise SystemExit(f"the flood ended by itself: {ended!r}")
    status = current_status(node)
    quiet = await node.stop()
    told = {"quiet": quiet, "drift": status["drift"], "refusals": status["refusals"]}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "paced":
        asyncio.run(paced(PACE, PACED_S, Path(sys.argv[2])))
    else:
        asyncio.run(flood(int(sys.argv[1]), Path(sys.argv[2])))
