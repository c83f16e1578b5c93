"""Whole sessions beside a stranger on the account, by seed, in virtual time on the mock venue.

Entries, exits, a stranger who buys, sells, closes, flips and pays funding, lost and repeated
frames, lost answers, refusals, positions answered empty.  At the end, when everything was asked
about, the venue's own book judges: nothing of ours is open, no order was sent twice, and every cent
of the wallet's difference is the stranger's.  DITA_TESTS=long plays two thousand of them.
"""

from __future__ import annotations

import asyncio
import os
import random

import pytest
from support.engine_driver import p, q
from support.floor import Floor

from dita.contracts import (
    DriftCause,
    KernelCommandType,
    KernelIntent,
    OrderSide,
    PositionSide,
    RejectReason,
    TradeSide,
)
from dita.engine import Engine
from dita.identity import is_own_client_id
from dita.kernel import KernelConfig
from dita.runtime.loop import Runtime
from dita.runtime.queries.order_query import OrderQuery
from dita.runtime.service import Cadence, Service
from dita.simulation.virtual_time import run
from dita.units import parse_money
from dita.venues.mock import Do, Rule, Verb, fet_config

LONG = os.environ.get("DITA_TESTS") == "long"
SEEDS = range(2_000) if LONG else range(16)
FET = "FET-USDT"
CADENCE = Cadence(
    tick_ms=250,
    in_flight_s=2,
    open_orders_s=5,
    positions_s=10,
    balance_s=10,
    income_s=20,
    drain_limit_s=20,
)


class Session:
    """One session: what is done is drawn from the seed."""

    def __init__(self, seed: int) -> None:
        self.rnd = random.Random(seed)
        self.hedge = self.rnd.random() < 0.4
        self.trades = 0
        #: What a write-off leaves in the wallet is a person's to anchor: no money is compared then.
        self.wrote_off = False
        self.floor = Floor(fet_config(hedge=self.hedge), pulse_ms=250)
        floor = self.floor
        floor.engine = Engine(KernelConfig(balance_max_age_ms=60_000, hedge=self.hedge))
        floor.runtime = Runtime(
            engine=floor.engine, log=floor.log, venue=floor.venue, clock=floor.clock
        )
        floor.order_query = OrderQuery(floor.runtime, absence_fence_ms=1_000)
        floor.service = Service(floor.runtime, floor.order_query, CADENCE)

    async def play(self) -> None:
        """Start, act, come to rest, compare, stop."""
        await self.floor.service.start()
        await asyncio.sleep(3)  # what happens in the moment of the first balance is nobody's
        self.floor.venue.set_script(self.faults())
        for _ in range(self.rnd.randrange(4, 10)):
            await self.act()
            await asyncio.sleep(self.rnd.choice((0, 0.1, 0.6, 3, 12)))
        self.floor.venue.set_script(())
        await self.rest()
        self.compare()
        assert await self.floor.service.drain()
        await self.floor.service.close()

    def faults(self) -> list[Rule]:
        """A few things that go wrong, at drawn moments."""
        kinds = (
            lambda n: Rule(verb=Verb.STREAM, do=Do.DROP, nth=n, times=self.rnd.randrange(1, 4)),
            lambda n: Rule(verb=Verb.STREAM, do=Do.DUPLICATE, nth=n, times=2),
            lambda n: Rule(verb=Verb.STREAM, do=Do.END, nth=n, times=1),
            lambda n: Rule(verb=Verb.SUBMIT, do=Do.SILENT, nth=n, times=1),
            lambda n: Rule(verb=Verb.SUBMIT, do=Do.LOST, nth=n, times=1),
            lambda n: Rule(verb=Verb.SUBMIT, do=Do.NOT_SENT, nth=n, times=1),
            lambda n: Rule(
                verb=Verb.SUBMIT, do=Do.REJECT, nth=n, times=2, reason=RejectReason.OTHER
            ),
            lambda n: Rule(verb=Verb.SUBMIT, do=Do.EXPIRE, nth=n, times=1, share_e9=500_000_000),
            lambda n: Rule(verb=Verb.POSITIONS, do=Do.EMPTY, nth=n, times=2),
            lambda n: Rule(verb=Verb.POSITIONS, do=Do.FAIL, nth=n, times=3),
            lambda n: Rule(verb=Verb.FILLS, do=Do.FAIL, nth=n, times=2),
        )
        return [self.rnd.choice(kinds)(self.rnd.randrange(1, 8)) for _ in range(4)]

    async def act(self) -> None:
        """One act of ours or of somebody else's."""
        act = self.rnd.choice((self.enter, self.exit, self.exit, self.stranger, self.stranger,
                               self.fund, self.move))  # fmt: skip
        await act()

    async def enter(self) -> None:
        """An entry, if there is room for one; the kernel says."""
        self.trades += 1
        await self.floor.enter(
            f"T{self.trades}",
            side=self.rnd.choice((TradeSide.LONG, TradeSide.SHORT)),
            quantity_e8=q(self.rnd.choice((100, 400, 1_000))),
        )

    async def exit(self) -> None:
        """Everything of a trade, or a leg by quantity."""
        slots = self.floor.engine.kernel.active_slots()
        if slots:
            await self.leave(self.rnd.choice(slots).trade_id, self.rnd.choice((0, 0, 50)))

    async def leave(self, trade_id: str, quantity: int = 0) -> None:
        """EXIT of a trade."""
        self.trades += 1
        await self.floor.runtime.ask(
            KernelIntent(
                command=KernelCommandType.EXIT,
                received_ms=1,
                intent_id=f"exit-{self.trades}",
                trade_id=trade_id,
                quantity_e8=q(quantity) if quantity else 0,
            )
        )

    async def stranger(self) -> None:
        """Somebody trades by hand on the same symbol."""
        side = self.rnd.choice((OrderSide.BUY, OrderSide.SELL))
        quantity, position = q(self.rnd.choice((50, 200, 1_500))), PositionSide.UNKNOWN
        if self.hedge:
            held = [r for r in self.floor.venue.dump().positions if int(r.side) == -int(side)]
            position = PositionSide(int(side))
            if held and self.rnd.random() < 0.6:
                position, quantity = PositionSide(-int(side)), min(quantity, held[0].quantity_e8)
        self.floor.venue.trade_by_hand(FET, side, quantity, position)

    async def fund(self) -> None:
        """Funding of everything that is open."""
        self.floor.venue.fund(FET, 100_000)

    async def move(self) -> None:
        """The price moves."""
        price = p(self.rnd.choice(("0.48", "0.5", "0.515")))
        self.floor.venue.advance(FET, price)

    async def rest(self) -> None:
        """A fair exchange, time and what an operator would type until nothing of ours is open."""
        kernel = self.floor.engine.kernel
        for _ in range(60):
            for slot in kernel.active_slots():
                if missing_e8 := kernel.missing_e8(slot.slot_id):
                    await self.write_off(slot.trade_id, missing_e8)
                else:
                    await self.leave(slot.trade_id)
            await asyncio.sleep(10)
            if not kernel.active_slots():
                break
        await asyncio.sleep(200)  # the rows are read

    async def write_off(self, trade_id: str, quantity_e8: int) -> None:
        """An entry of ours met an opposite position of the stranger's: the exchange netted them."""
        self.trades += 1
        self.wrote_off = True
        outcome = await self.floor.runtime.ask(
            KernelIntent(
                command=KernelCommandType.WRITE_OFF,
                received_ms=1,
                intent_id=f"off-{self.trades}",
                trade_id=trade_id,
                quantity_e8=quantity_e8,
            )
        )
        assert outcome.kernel.accepted, outcome.kernel

    def compare(self) -> None:
        """The venue's own book against the kernel."""
        kernel, account = self.floor.engine.kernel, self.floor.engine.snapshot
        dump = self.floor.venue.dump()
        assert kernel.active_slots() == (), [s.state.name for s in kernel.active_slots()]
        sent = [o.client_order_id for o in dump.orders if is_own_client_id(o.client_order_id)]
        assert len(sent) == len(set(sent))
        strangers: dict[PositionSide, int] = {}
        for fill in dump.fills:
            strangers.setdefault(fill.position_side, 0)
            strangers[fill.position_side] += int(fill.side) * fill.quantity_e8
        # What is left at the venue is the sum of all fills: ours have closed what they opened.
        held = sum(int(r.side) * r.quantity_e8 for r in dump.positions)
        assert held == sum(strangers.values())
        if self.wrote_off:
            return
        causes = account.drift_by_cause
        odd = {c: v for c, v in causes.items() if c in (DriftCause.UNEXPLAINED, DriftCause.PENDING)}
        assert all(abs(v) < parse_money("0.01") for v in odd.values()), causes
        left = account.drift - causes.get(DriftCause.FOREIGN_ACTIVITY, 0)
        assert abs(left) < parse_money("0.01"), causes


@pytest.mark.parametrize("seed", SEEDS)
def test_a_session_beside_a_stranger_ends_with_equal_books(seed: int) -> None:
    async def scene() -> None:
        await Session(seed).play()

    run(scene())
