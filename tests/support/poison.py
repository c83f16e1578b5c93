"""Inputs that break an invariant of the engine on purpose, and a runtime that meets them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from dita import _journal
from dita.clock import ManualClock
from dita.contracts import (
    KernelIntent,
    OrderSide,
    TradeStage,
    VenueEvent,
)
from dita.engine import Engine, Outcome
from dita.errors import KernelFault
from dita.journal import (
    GroupCommit,
    JournalReader,
)
from dita.runtime.loop import Runtime
from dita.runtime.state.store import JournalLog, Store
from dita.settings import Settings, load
from dita.venues.mock import MockVenue, fet_config
from support.engine_driver import Kind, p, q
from support.journal_days import replayed
from support.long_days import long_day

Input = KernelIntent | VenueEvent


POISON: Final = "666"


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of venue orders whose events break an invariant; a test may change the list."""
    ids = [POISON]
    single, batch = Engine.apply, Engine.apply_batch

    def apply(self: Engine, record: Input, packed: Any = None) -> Outcome:
        outcome = single(self, record, packed)  # the state is half changed when it faults
        if record.venue_order_id in ids or record.asset in ids:
            raise KernelFault("kernel invariant broken", found=f"poison at {record.received_ms}")
        return outcome

    def apply_batch(self: Engine, inputs: bytes | bytearray) -> tuple[int, bytearray]:
        done = batch(self, inputs)
        size = _journal.INPUT_SIZE
        for at in range(0, len(inputs), size):
            if str(_journal.fields(bytes(inputs[at : at + size]))["venue_key"]) in ids:
                raise KernelFault("kernel invariant broken", found="poison in a batch")
        return done

    monkeypatch.setattr(Engine, "apply", apply)
    monkeypatch.setattr(Engine, "apply_batch", apply_batch)
    return ids


def poisoned(received_ms: int, **fields: Any) -> VenueEvent:
    fields.setdefault("venue_order_id", POISON)
    return VenueEvent(
        kind=Kind.LIQUIDATION, received_ms=received_ms, asset="FET-USDT", side=OrderSide.BUY,
        quantity_e8=q(1), price_e10=p("10"), **fields,
    )  # fmt: skip


class Shop:
    """A loop on a real journal; the venue is asked for nothing."""

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        # The epoch is that of the long day's client order ids; then its exchange times are past.
        self.clock = ManualClock(1)
        self.folder = folder
        self.settings = settings or load(None, {"PINK__KERNEL__NAMESPACE": "pink"}, {})
        self.settings = msgspec.structs.replace(
            self.settings,
            journal=msgspec.structs.replace(
                self.settings.journal, segment_bytes=65_536, reserve_bytes=65_536
            ),
        )
        self.store = Store(folder, self.settings, self.clock)
        self.clock.advance_ms(max(5_000_000, self.store.engine.kernel.now_ms))
        self.commit = GroupCommit(self.store.journal)
        self.runtime = Runtime(
            engine=self.store.engine,
            log=JournalLog(self.store, self.commit),
            venue=MockVenue(fet_config(), self.clock),
            clock=self.clock,
        )
        self.runtime.faults = self.store.quarantine
        self.runtime.on_effect = {}
        self.worker = asyncio.ensure_future(self.runtime.work())

    async def ask(self, record: Input, after_ms: int = 1_000) -> Outcome:
        self.clock.advance_ms(after_ms)
        asked = asyncio.ensure_future(self.runtime.ask(record))
        await asyncio.wait({asked, self.worker}, return_when=asyncio.FIRST_COMPLETED)
        if self.worker.done():
            asked.cancel()
            self.worker.result()
        return await asked

    async def open_a_position(self) -> None:
        for record in long_day().inputs[:4]:
            outcome = await self.ask(record)
            assert outcome.kernel.accepted, outcome
        assert self.slot().state is TradeStage.POSITION_OPEN

    def slot(self) -> Any:
        return self.store.engine.kernel.slot(0)

    def close(self) -> None:
        self.worker.cancel()
        self.commit.close()
        self.store.journal.close()

    def replayed(self) -> Engine:
        reader = JournalReader.open(self.folder / "journal")
        return replayed(reader)


def in_the_shop(folder: Path, scene: Callable[[Shop], Awaitable[None]]) -> None:
    async def play() -> None:
        shop = Shop(folder)
        try:
            await scene(shop)
        finally:
            shop.close()

    asyncio.run(play())
