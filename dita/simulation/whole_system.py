"""A whole-system run: node, BingX adapter, local exchange, disk and network from one seed.

A trader enters and exits at random; the power goes now and then.  At the end everything is closed
and the exchange's own book is held against the node's: same wallet, nothing open, no order of ours
that no journal has.  It prints nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final
from zlib import crc32

from dita.contracts import (
    DriftCause,
    EffectKind,
    KernelCommandType,
    KernelIntent,
    Record,
    TradeSide,
    VenueEvent,
)
from dita.exchange.app import WALLET
from dita.exchange.in_process import InProcessExchange, urls
from dita.exchange.model.contracts import CONTRACTS
from dita.exchange.model.exchange import Exchange, ExchangeConfig
from dita.exchange.model.prices import Walk
from dita.exchange.wire.dialect import WireFile
from dita.exchange.wire.limits import LimitRules
from dita.exchange.wire.session import Session
from dita.exchange.wire.signing import Credentials
from dita.identity import is_own_client_id
from dita.journal import JournalReader
from dita.runtime.loop import RunState
from dita.runtime.node import JOURNAL_FOLDER, Node
from dita.settings import Settings, load
from dita.simulation.machine import Machine
from dita.simulation.virtual_time import VirtualClock, run
from dita.units import QUANTITY_ONE, format_money

KEY, SECRET = "key", "secret"
SYMBOLS: Final = ("FET-USDT", "BTC-USDT", "TRX-USDT")
#: About so much of a trade, in whole USDT.
NOTIONAL: Final = 60
SETTLE_S: Final = 600


def whole_system(seed: int, directory: Path, *, minutes: int = 60, crashes: int = 2) -> Report:
    """Play one seed in virtual time; files of locks and settings go to ``directory``."""
    return run(Run(seed, directory, minutes=minutes, crashes=crashes).play(), limit_s=10**6)


def _session(seed: int, clock: VirtualClock) -> Session:
    """An exchange whose prices walk; without limits, which other tests have."""
    contracts = tuple(CONTRACTS[name] for name in SYMBOLS)
    config = ExchangeConfig(contracts=contracts, wallet=WALLET)
    return Session(
        Exchange(config, clock.now_ms()),
        clock,
        Credentials(KEY, SECRET),
        seed=seed,
        wire=WireFile(limits=LimitRules(enabled=False)),
        prices=Walk(contracts, seed, clock.now_ms()),
    )


def _settings(directory: Path) -> Settings:
    rest_url, stream_url = urls(crc32(str(directory).encode()) % 64_512)
    overrides = {
        "venue.kind": "bingx",
        "venue.environment": "vst",
        "venue.rest_url": rest_url,
        "venue.stream_url": stream_url,
        "venue.api_key": "env:KEY",
        "venue.api_secret": "env:SECRET",
        "journal.directory": str(directory),
        "journal.snapshot_every": 500,
    }
    return load(None, {"KEY": KEY, "SECRET": SECRET}, overrides)


class Report(Record, frozen=True, kw_only=True):
    """What a run was.  ``digest`` is the same for the same seed; ``wrong`` is empty when sound."""

    seed: int
    virtual_s: int
    crashes: int
    trades: int
    orders: int
    fills: int
    inputs: int
    digest: str
    wrong: tuple[str, ...] = ()


class Run:
    """One seed."""

    def __init__(self, seed: int, directory: Path, *, minutes: int, crashes: int) -> None:
        self.chance = Random(seed)
        self.seed = seed
        self.directory = directory
        self.end_s = 60.0 * minutes
        self.crash_times_s = sorted(
            self.chance.uniform(0.05, 0.9) * self.end_s for _ in range(crashes)
        )
        self.trades = 0
        self.crashes = 0
        self.wrong: list[str] = []
        self._known: set[str] = set()
        self.log: list[str] = []

    async def play(self) -> Report:
        """Trade, crash, recover, close, compare."""
        loop = asyncio.get_running_loop()
        delay = Random(self.chance.getrandbits(64))
        clock = VirtualClock()
        session = _session(self.chance.getrandbits(32), clock)
        exchange = InProcessExchange(session, lambda: delay.uniform(0.002, 0.02))
        machine = Machine(exchange, clock, Random(self.chance.getrandbits(64)))
        await exchange.start()
        node: Node | None = None
        while True:
            node = Node(_settings(self.directory), self.directory, machine.world())
            ends_s = self.crash_times_s[self.crashes] if self._will_crash() else self.end_s
            work = machine.live(self._live(node, last=not self._will_crash()))
            await asyncio.wait({work}, timeout=max(0.0, ends_s - loop.time()))
            if work.done():
                work.result()
            if not self._will_crash():
                await work
                break
            self.crashes += 1
            await machine.power_off()
            node.abandon()
            self._judge_the_dead(machine)
        self._judge(node, exchange)
        report = self._report(node, exchange, loop.time())
        await exchange.stop()
        return report

    def _will_crash(self) -> bool:
        return self.crashes < len(self.crash_times_s)

    # -- the trader --------------------------------------------------------------------------------

    async def _live(self, node: Node, *, last: bool) -> None:
        await node.start(self.log.append)
        while asyncio.get_running_loop().time() < self.end_s:
            if node.runtime.failed is not None:
                raise node.runtime.failed
            if node.runtime.state is RunState.READY:
                await self._act(node)
            await asyncio.sleep(self.chance.uniform(2.0, 12.0))
        if last:
            await self._close_everything(node)
            await node.stop()

    async def _act(self, node: Node) -> None:
        asset = self.chance.choice(SYMBOLS)
        kernel = node.runtime.engine.kernel
        slot = next((s for s in kernel.active_slots() if s.asset == asset), None)
        if slot is not None:
            await self._exit(node, slot.trade_id)
            return
        price_e10 = CONTRACTS[asset].start_price_e10
        contract = await node.venue.contract(asset)
        wanted = NOTIONAL * 10**10 * QUANTITY_ONE // price_e10
        quantity_e8 = max(1, wanted // contract.step_e8) * contract.step_e8
        self.trades += 1
        await node.runtime.ask(
            KernelIntent(
                command=KernelCommandType.ENTER,
                intent_id=f"enter-{self.trades}",
                trade_id=f"T{self.trades}",
                asset=asset,
                side=self.chance.choice((TradeSide.LONG, TradeSide.SHORT)),
                quantity_e8=quantity_e8,
                reference_price_e10=price_e10,
                contract=contract,
                leverage=2,
                received_ms=1,
            )
        )

    async def _exit(self, node: Node, trade_id: str) -> None:
        self.trades += 1
        await node.runtime.ask(
            KernelIntent(
                command=KernelCommandType.EXIT,
                intent_id=f"exit-{self.trades}",
                trade_id=trade_id,
                received_ms=1,
            )
        )

    async def _close_everything(self, node: Node) -> None:
        kernel = node.runtime.engine.kernel
        for slot in kernel.active_slots():
            await self._exit(node, slot.trade_id)
        await self._until(lambda: not kernel.active_slots() and not kernel.open_orders(), "flat")
        await node.service.poller.income()
        await node.service.order_query.balance()
        await self._until(lambda: not node.runtime.engine.snapshot.ambiguous, "a quiet anchor")

    async def _until(self, true: Callable[[], bool], what: str) -> None:
        for _ in range(SETTLE_S):
            if true():
                return
            await asyncio.sleep(1)
        self.wrong.append(f"not reached within {SETTLE_S} s: {what}")

    # -- the judgement -----------------------------------------------------------------------------

    def _judge_the_dead(self, machine: Machine) -> None:
        """No order went out before its intent was on the disk that the crash left."""
        journal = JournalReader.open(self.directory / JOURNAL_FOLDER, disk=machine.disk)
        engine = journal.epoch.engine()
        for entry in journal.records():
            if isinstance(entry.record, KernelIntent | VenueEvent):
                effects = engine.apply(entry.record).effects
                asked = (e for e in effects if e.kind is EffectKind.SUBMIT)
                self._known.update(effect.client_order_id for effect in asked)
        book = machine.exchange.session.exchange
        sent = {order.client_order_id for order in book.orders.values() if not order.foreign}
        if unknown := sent - self._known:
            self.wrong.append(f"orders that no synced journal has: {sorted(unknown)}")

    def _judge(self, node: Node, exchange: InProcessExchange) -> None:
        """By the exchange's own book, never by the node's word alone."""
        book, engine = exchange.session.exchange, node.runtime.engine
        if book.positions():
            self.wrong.append(f"positions are left: {book.positions()}")
        difference = engine.snapshot.capital - book.wallet
        if abs(difference) >= 10**16:  # answers have four decimals
            self.wrong.append(f"capital differs from the wallet by {format_money(difference)}")
        if unexplained := engine.snapshot.drift_by_cause.get(DriftCause.UNEXPLAINED, 0):
            self.wrong.append(f"unexplained: {format_money(unexplained)}")
        clients = [order.client_order_id for order in book.orders.values() if not order.foreign]
        if len(set(clients)) != len(clients):
            self.wrong.append("an order was sent twice")
        if odd := [c for c in clients if not is_own_client_id(c)]:
            self.wrong.append(f"orders of no intent: {odd}")

    def _report(self, node: Node, exchange: InProcessExchange, now_s: float) -> Report:
        book, engine = exchange.session.exchange, node.runtime.engine
        told = [engine.state_hash(), str(book.wallet), str(len(book.orders)), f"{now_s:.6f}"]
        told += [str(fill) for fill in book.all_fills]
        return Report(
            seed=self.seed,
            virtual_s=int(now_s),
            crashes=self.crashes,
            trades=self.trades,
            orders=len(book.orders),
            fills=len(book.all_fills),
            inputs=engine.kernel.event_seq,
            digest=hashlib.sha256("\n".join(told).encode()).hexdigest(),
            wrong=tuple(self.wrong),
        )
