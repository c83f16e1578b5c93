"""The mock venue: the contract for it and for its remote twin, its faults, its exact book."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.resources
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import price_tape
from support.venue_contract import (
    BUY,
    CHECKS,
    SELL,
    Check,
    Kind,
    MakeStand,
    Stand,
    ref_of,
    run_check,
)

from dita.clock import ManualClock
from dita.contracts import (
    ENDED_STATUSES,
    BalanceReason,
    Effect,
    EffectKind,
    KernelCommandType,
    KernelEventKind,
    KernelIntent,
    OrderSide,
    OrderType,
    RejectReason,
    TradeSide,
    VenueEvent,
    VenueOrderStatus,
)
from dita.engine import Engine, Outcome
from dita.errors import AlreadyRunning, OperatorError, SettingsError, VenueError
from dita.identity import plain_symbol
from dita.kernel import KernelConfig
from dita.units import MONEY_ONE, PRICE_ONE, QUANTITY_ONE, parse_money, parse_price
from dita.venues import (
    FillReport,
    IncomeKind,
    NotSent,
    OrderRef,
    OrderReport,
    OutcomeUnknown,
    QueryFailed,
    SubmitOrder,
    Venue,
)
from dita.venues.absence import AbsenceProof, Verdict
from dita.venues.attribution import Books, attribute
from dita.venues.evidence import (
    balance_event,
    fills_cover,
    final_event,
    foreign_event,
    found_event,
    position_events,
)
from dita.venues.mock import (
    ALLOWED,
    BINGX_STYLE,
    Chance,
    Do,
    Dump,
    MockConfig,
    MockVenue,
    Noise,
    Rule,
    Script,
    Style,
    Verb,
    fet_config,
    half_even,
    read_tape,
    split,
)
from dita.venues.remote import RemoteVenue, ServeConfig, Server

START_MS = 1_700_000_000_000
FET = "FET-USDT"


# -- the contract ----------------------------------------------------------------------------------


class MockStand:
    """The mock in this process."""

    asset = FET
    money_step = 1

    def __init__(self, config: MockConfig) -> None:
        self.clock = ManualClock(START_MS)
        self.hedge = config.hedge
        self.mock = MockVenue(config, self.clock)
        self.venue: Venue = self.mock

    @classmethod
    async def make(cls, config: MockConfig) -> Stand:
        stand = cls(config)
        await stand.venue.connect()
        return stand

    async def pass_ms(self, step_ms: int) -> None:
        self.clock.advance_ms(step_ms)
        self.mock.run()

    async def move_price(self, price_e10: int) -> None:
        self.mock.advance(FET, price_e10)

    async def lose_answer(self, executed: bool) -> None:
        self.mock.set_script([Rule(verb=Verb.SUBMIT, do=Do.SILENT if executed else Do.LOST)])

    async def refuse_cancel(self) -> None:
        self.mock.set_script([Rule(verb=Verb.CANCEL, do=Do.REJECT)])

    async def fail_questions(self, count: int) -> None:
        self.mock.set_script([Rule(verb=Verb.QUERY, do=Do.FAIL, times=count)])

    async def damage_answers(self) -> None:
        self.mock.set_script([Rule(verb=Verb.QUERY, do=Do.ODD, about=FET, times=0)])

    async def empty_answers(self) -> None:
        self.mock.set_script([Rule(verb=Verb.QUERY, do=Do.EMPTY, times=0)])

    async def fund(self, rate_e9: int) -> None:
        self.mock.fund(FET, rate_e9)

    async def end_stream(self) -> None:
        self.mock.end_stream()

    async def close(self) -> None:
        await self.venue.close()


class RemoteStand:
    """The mock behind its socket, in this process too."""

    asset = FET
    money_step = 1

    def __init__(self, folder: Path, config: MockConfig) -> None:
        self.folder = folder
        self.hedge = config.hedge
        self.server = Server(ServeConfig(mock=config, start_ms=START_MS))
        self.remote = RemoteVenue(folder / "venue")
        self.venue: Venue = self.remote

    @classmethod
    async def make(cls, config: MockConfig) -> Stand:
        # Not pytest's folder: the path of a unix socket has to be short.
        stand = cls(Path(tempfile.mkdtemp()), config)
        await stand.server.start(stand.folder / "venue")
        await stand.venue.connect()
        return stand

    async def pass_ms(self, step_ms: int) -> None:
        await self.remote.pass_ms(step_ms)

    async def move_price(self, price_e10: int) -> None:
        await self.remote.advance(FET, price_e10)

    async def lose_answer(self, executed: bool) -> None:
        do = Do.SILENT if executed else Do.LOST
        await self.remote.set_script((Rule(verb=Verb.SUBMIT, do=do),))

    async def refuse_cancel(self) -> None:
        await self.remote.set_script((Rule(verb=Verb.CANCEL, do=Do.REJECT),))

    async def fail_questions(self, count: int) -> None:
        await self.remote.set_script((Rule(verb=Verb.QUERY, do=Do.FAIL, times=count),))

    async def damage_answers(self) -> None:
        await self.remote.set_script((Rule(verb=Verb.QUERY, do=Do.ODD, about=FET, times=0),))

    async def empty_answers(self) -> None:
        await self.remote.set_script((Rule(verb=Verb.QUERY, do=Do.EMPTY, times=0),))

    async def fund(self, rate_e9: int) -> None:
        await self.remote.fund(FET, rate_e9)

    async def end_stream(self) -> None:
        await self.remote.end_stream()

    async def close(self) -> None:
        await self.venue.close()
        await self.server.stop()
        shutil.rmtree(self.folder)


STANDS: dict[str, MakeStand] = {
    "mock": lambda: MockStand.make(fet_config()),
    "mock-in-parts": lambda: MockStand.make(fet_config(parts=3, slip_ticks=2)),
    "mock-hedge": lambda: MockStand.make(fet_config(hedge=True)),
    "mock-as-bingx": lambda: MockStand.make(fet_config(style=BINGX_STYLE)),
    "mock-other-clock": lambda: MockStand.make(fet_config(clock_skew_ms=-90_000)),
    "remote": lambda: RemoteStand.make(fet_config()),
    "remote-hedge": lambda: RemoteStand.make(fet_config(hedge=True)),
    "remote-as-bingx": lambda: RemoteStand.make(fet_config(style=BINGX_STYLE)),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("stand", STANDS)
def test_contract(stand: str, check: Check) -> None:
    run_check(STANDS[stand], check)


# -- an engine on the mock -------------------------------------------------------------------------


class Driver:
    """The least that can run an engine on a venue: does what effects ask, feeds what comes back.

    Answers and frames are fed in an order that chance decides, except that the frames of one
    stream, and the answers, each keep theirs.  A question that fails stays to be asked.
    """

    def __init__(self, config: MockConfig, chance: Chance) -> None:
        self.clock = ManualClock(START_MS)
        self.venue = MockVenue(config, self.clock)
        self.engine = Engine(KernelConfig(hedge=config.hedge))
        self.chance = chance
        self.answers: deque[VenueEvent] = deque()
        self.frames: deque[VenueEvent] = deque()
        self.sending: set[asyncio.Task[None]] = set()
        self.refs: dict[int, tuple[str, OrderSide]] = {}
        self.proofs: dict[int, AbsenceProof] = {}
        self.to_cancel: set[int] = set()
        self.to_find: set[int] = set()
        self.to_finalise: set[int] = set()
        self.to_compare: set[str] = set()
        self.ask_balance = True
        self.log: list[object] = []

    # -- in and out --

    def apply(self, record: KernelIntent | VenueEvent) -> Outcome:
        self.log.append(record)
        outcome = self.engine.apply(record)
        for effect in outcome.effects:
            self.log.append(effect)
            self.perform(effect)
        return outcome

    def perform(self, effect: Effect) -> None:
        number = effect.order_no
        if number:
            self.refs[number] = (effect.asset, effect.side)
        if effect.kind is EffectKind.SUBMIT:
            self.send(effect)
        elif effect.kind is EffectKind.CANCEL:
            self.to_cancel.add(number)
        elif effect.kind is EffectKind.QUERY_ORDER:
            self.to_find.add(number)
        elif effect.kind is EffectKind.FINALISE:
            self.to_finalise.add(number)
        elif effect.kind is EffectKind.QUERY_POSITION:
            self.to_compare.add(effect.asset)
        elif effect.kind is EffectKind.QUERY_BALANCE:
            self.ask_balance = True

    def send(self, effect: Effect) -> None:
        order = SubmitOrder(
            client_order_id=effect.client_order_id,
            asset=effect.asset,
            side=effect.side,
            order_type=effect.order_type,
            quantity_e8=effect.quantity_e8,
            limit_price_e10=effect.price_e10,
            reduce_only=effect.reduce_only,
        )
        self.proofs[effect.order_no] = AbsenceProof(
            ref_of(order), order.side, self.venue.now_ms(), self.venue.receive_window_ms
        )
        self.spawn(self.submit(order))

    def spawn(self, sending: Coroutine[Any, Any, None]) -> None:
        # A task of its own: the answer may be late, and nothing waits for it.
        task = asyncio.get_running_loop().create_task(sending)
        self.sending.add(task)
        task.add_done_callback(self.sending.discard)

    async def submit(self, order: SubmitOrder) -> None:
        try:
            self.answers.extend(await self.venue.submit(order))
        except NotSent:
            self.answer(Kind.ORDER_REJECT, order)
        except OutcomeUnknown:
            self.answer(Kind.ORDER_UNKNOWN, order)

    def answer(self, kind: KernelEventKind, order: SubmitOrder) -> None:
        event = VenueEvent(
            kind=kind,
            received_ms=self.clock.now_ms(),
            asset=order.asset,
            client_order_id=order.client_order_id,
        )
        self.answers.append(event)

    def ref(self, number: int) -> OrderRef:
        asset, _ = self.refs[number]
        order = self.engine.kernel.order(number)
        assert order is not None
        return OrderRef(
            asset=asset,
            client_order_id="" if order.external else order.client_order_id,
            venue_order_id=order.venue_order_id,
        )

    # -- rounds --

    async def round(self) -> None:
        """Let tasks run, feed everything that came, ask everything that is to be asked."""
        for _ in range(5):
            await asyncio.sleep(0)
        self.listen()
        self.feed()
        for number in sorted(self.to_cancel):
            self.spawn(self.cancel(number))
        for number in sorted(self.to_find | self.to_finalise):
            with contextlib.suppress(QueryFailed):
                await self.find(number)
        with contextlib.suppress(QueryFailed):
            await self.compare()
        with contextlib.suppress(QueryFailed):
            await self.weigh()
        for _ in range(5):
            await asyncio.sleep(0)
        self.listen()
        self.feed()

    def listen(self) -> None:
        self.frames.extend(self.venue.take())
        if self.venue.lost:
            self.venue.events()
            self.doubt_everything()

    def doubt_everything(self) -> None:
        """As after every gap of the stream: each order that is not terminal is asked about."""
        kernel = self.engine.kernel
        for order in kernel.open_orders():
            trade = next(t for t in kernel.trades() if t.trade_no == order.trade_no)
            self.refs[order.order_no] = (trade.asset, order.side)
            self.to_find.add(order.order_no)
        self.to_compare.update(self.venue.config.contracts)
        self.ask_balance = True

    def feed(self) -> None:
        while self.answers or self.frames:
            answer = self.answers and (not self.frames or self.chance.below(2))
            self.apply((self.answers if answer else self.frames).popleft())

    async def cancel(self, number: int) -> None:
        order = self.engine.kernel.order(number)
        if order is None or order.status in ENDED_STATUSES:
            self.to_cancel.discard(number)
            return
        try:
            self.answers.extend(await self.venue.cancel(self.ref(number)))
        except (NotSent, OutcomeUnknown):
            self.to_find.add(number)

    async def find(self, number: int) -> None:
        """The order's end with its figures, or what is known of it so far, or its absence."""
        order = self.engine.kernel.order(number)
        if order is None:
            self.to_find.discard(number)
            self.to_finalise.discard(number)
            return
        ref = self.ref(number)
        report = await self.venue.order(ref)
        if report is None:
            await self.prove_absent(number)
            return
        if report.status not in ENDED_STATUSES:
            self.to_find.discard(number)
            self.answers.append(found_event(report, self.clock.now_ms()))
            return
        fills = await self.venue.fills(ref.asset, 0)
        if fills_cover(report, fills):
            self.to_find.discard(number)
            self.to_finalise.discard(number)
            self.answers.append(final_event(report, fills, self.clock.now_ms()))

    async def prove_absent(self, number: int) -> None:
        order = self.engine.kernel.order(number)
        proof = self.proofs.get(number)
        if order is None or proof is None or order.status in ENDED_STATUSES:
            self.to_find.discard(number)
            return
        ref = self.ref(number)
        try:
            proof.server_time(await self.venue.server_time_ms())
            proof.order(await self.venue.order(ref))
            proof.open_orders(await self.venue.open_orders(ref.asset))
            proof.all_orders(await self.venue.all_orders(ref.asset, 0))
            proof.fills(await self.venue.fills(ref.asset, 0))
        except QueryFailed:
            proof.failed()
            raise
        if proof.verdict is Verdict.PROVEN and not order.venue_order_id:
            self.to_find.discard(number)
            event = VenueEvent(
                kind=Kind.ORDER_ABSENT,
                received_ms=self.clock.now_ms(),
                asset=ref.asset,
                client_order_id=ref.client_order_id,
            )
            self.answers.append(event)

    async def compare(self) -> None:
        if self.to_compare:
            asked = self.venue.now_ms()
            reports = [p for p in await self.venue.positions() if p.asset in self.to_compare]
            now = self.clock.now_ms()
            hedge = self.venue.config.hedge
            self.answers.extend(position_events(reports, self.to_compare, now, asked, hedge))
            self.to_compare.clear()

    async def weigh(self) -> None:
        if self.ask_balance:
            self.answers.append(balance_event(await self.venue.balance(), self.clock.now_ms()))
            self.ask_balance = False

    async def read_income(self) -> None:
        flows = (IncomeKind.FUNDING, IncomeKind.TRANSFER)
        rows = [row for row in await self.venue.income(0) if row.kind in flows]
        held = {plain_symbol(row.asset): (1, -1) for row in rows}  # nobody else trades here
        books = Books(own_orders=(), closed_outside=(), held_e8=held)
        for event in attribute(rows, (), books).events:
            self.apply(msgspec.structs.replace(event, received_ms=self.clock.now_ms()))

    async def look_for_strangers(self) -> None:
        """Whose orders closed what was ours?  Only what filled after the trade began."""
        kernel = self.engine.kernel
        for slot in kernel.active_slots():
            fills = await self.venue.fills(slot.asset, 0)
            own = {o.venue_order_id for o in kernel.orders_of(slot.trade_no)}
            since = min((f.filled_ms for f in fills if f.venue_order_id in own), default=0)
            for report in await self.venue.all_orders(slot.asset, since):
                event = foreign_event(report, fills, self.clock.now_ms())
                if event is not None and not report.client_order_id:
                    self.answers.append(event)
            self.to_compare.add(slot.asset)

    async def pass_ms(self, step_ms: int) -> None:
        self.clock.advance_ms(step_ms)
        self.venue.run()
        self.apply(VenueEvent(kind=Kind.TICK, received_ms=self.clock.now_ms()))
        await self.round()

    async def settle(self) -> None:
        """No faults any more: read all final evidence, until nothing is open but resting orders."""
        self.venue.set_script(())
        self.venue.noise = Noise()
        for _ in range(40):
            self.doubt_everything()
            await self.pass_ms(6_000)
            await self.read_income()
            await self.look_for_strangers()
        assert not self.sending


def assert_same_books(driver: Driver) -> None:
    """Kernel and venue agree on orders, positions and money, to the last digit."""
    kernel, dump = driver.engine.kernel, driver.venue.dump()
    fills: dict[str, list[FillReport]] = {}
    for fill in dump.fills:
        fills.setdefault(fill.venue_order_id, []).append(fill)
    for report in dump.orders:
        if not report.client_order_id:
            continue
        order = kernel.order_of_client(report.client_order_id)
        assert order is not None, f"{report.client_order_id} is not ours"
        assert order.venue_order_id == report.venue_order_id
        assert order.filled_e8 == report.filled_e8
        assert order.fee == report.fee
        ended = report.status in ENDED_STATUSES
        assert (order.status in ENDED_STATUSES, order.final) == (ended, ended)
        if ended:
            own = fills.get(report.venue_order_id, [])
            assert order.cost == sum(f.price_e10 * f.quantity_e8 for f in own)
    known = {report.client_order_id for report in dump.orders}
    for trade in kernel.trades():
        for order in kernel.orders_of(trade.trade_no):
            assert order.external or order.client_order_id in known or order.filled_e8 == 0
    ours = {(slot.asset, slot.side): slot.size_e8 for slot in kernel.active_slots() if slot.size_e8}
    theirs = {(p.asset, TradeSide(p.side)): p.quantity_e8 for p in dump.positions}
    assert ours == theirs
    assert kernel.ledger().k_capital == dump.wallet
    assert driver.engine.snapshot.capital == dump.wallet
    assert driver.engine.snapshot.drift == 0
    assert kernel.held_events == 0


Step = tuple[str, int, int]

SHARES = (0, 250_000_000, 500_000_000, 990_000_000)
WAITS = (0, 1, 700, 3_000, 5_000)

submit_rules = st.builds(
    Rule,
    verb=st.just(Verb.SUBMIT),
    do=st.sampled_from(sorted(d for d in Do if d in ALLOWED[Verb.SUBMIT])),
    nth=st.integers(1, 6),
    parts=st.integers(0, 3),
    share_e9=st.sampled_from(SHARES),
    wait_ms=st.sampled_from(WAITS),
    reason=st.sampled_from(RejectReason),
)
cancel_rules = st.builds(
    Rule,
    verb=st.just(Verb.CANCEL),
    do=st.sampled_from(sorted(d for d in Do if d in ALLOWED[Verb.CANCEL])),
    nth=st.integers(1, 3),
    wait_ms=st.sampled_from(WAITS),
)
stream_rules = st.builds(
    Rule,
    verb=st.just(Verb.STREAM),
    do=st.sampled_from(sorted(d for d in Do if d in ALLOWED[Verb.STREAM])),
    nth=st.integers(1, 12),
    times=st.integers(1, 3),
    count=st.integers(1, 4),
)
query_rules = st.builds(
    Rule,
    verb=st.sampled_from([v for v in Verb if v not in (Verb.SUBMIT, Verb.CANCEL, Verb.STREAM)]),
    do=st.just(Do.FAIL),
    nth=st.integers(1, 6),
    times=st.integers(1, 4),
)
configs = st.builds(
    fet_config,
    parts=st.integers(1, 4),
    slip_ticks=st.integers(0, 3),
    hedge=st.booleans(),
    style=st.builds(
        Style,
        priced=st.booleans(),
        last_fill=st.booleans(),
        client_ids=st.booleans(),
        figures=st.booleans(),
        acks=st.booleans(),
        zero_balances=st.booleans(),
        positions=st.booleans(),
        stream_first=st.booleans(),
    ),
    noise=st.builds(
        Noise,
        drop=st.sampled_from((0, 200)),
        duplicate=st.sampled_from((0, 300)),
        hold=st.sampled_from((0, 300)),
        end=st.sampled_from((0, 50)),
    ),
    seed=st.integers(0, 2**32),
    rules=st.lists(
        st.one_of(submit_rules, cancel_rules, stream_rules, query_rules), max_size=6
    ).map(tuple),
)
steps = st.lists(
    st.tuples(
        st.sampled_from(
            (
                *("enter", "enter", "enter_limit", "exit", "exit", "exit_limit", "cancel"),
                *("move", "pass", "pass", "calm", "calm"),
                *("fund", "transfer", "liquidate", "hand"),
            )
        ),
        st.integers(0, 7),
        st.integers(1, 60),
    ),
    min_size=2,
    max_size=14,
)


def ref_of_report(report: OrderReport) -> OrderRef:
    return OrderRef(
        asset=report.asset,
        client_order_id=report.client_order_id,
        venue_order_id=report.venue_order_id,
    )


async def act(driver: Driver, number: int, step: Step) -> None:
    """One step of a day."""
    what, choice, size = step
    asset = (FET, "TRX-USDT")[choice % 2]
    price = driver.venue.book.prices[asset]
    tick = PRICE_ONE // 10_000
    if what.startswith("enter"):
        side = TradeSide.LONG if choice & 2 else TradeSide.SHORT
        limit = price - side * tick * (choice - 3) if what == "enter_limit" else 0
        driver.apply(
            KernelIntent(
                command=KernelCommandType.ENTER,
                received_ms=driver.clock.now_ms(),
                intent_id=f"i{number}",
                trade_id=f"T{number}",
                asset=asset,
                side=side,
                quantity_e8=(size + 10) * QUANTITY_ONE,
                reference_price_e10=price,
                order_type=OrderType.LIMIT if limit else OrderType.MARKET,
                limit_price_e10=limit,
                exit_leg_ratios_e9=(400_000_000, 10**9) if choice & 4 else (10**9,),
                contract=driver.venue.config.contracts[asset],
                expires_ms=driver.clock.now_ms() + 30_000,
            )
        )
    elif what in ("exit", "exit_limit", "cancel"):
        slots = driver.engine.kernel.active_slots()
        if slots:
            slot = slots[choice % len(slots)]
            at = driver.venue.book.prices[slot.asset]
            limit = at + slot.side * tick * (choice - 2) if what == "exit_limit" else 0
            driver.apply(
                KernelIntent(
                    command=KernelCommandType[what.removesuffix("_limit").upper()],
                    received_ms=driver.clock.now_ms(),
                    intent_id=f"i{number}",
                    slot_id=slot.slot_id,
                    order_type=OrderType.LIMIT if limit else OrderType.MARKET,
                    limit_price_e10=limit,
                    urgent=size > 50,
                )
            )
    elif what == "move":
        driver.venue.advance(asset, max(price + (size - 30) * tick, tick))
    elif what == "pass":
        await driver.pass_ms(size * choice)
    elif what == "calm":
        driver.ask_balance = True
        await driver.pass_ms(5_000)
    elif what == "fund":
        driver.venue.fund(asset, (size - 30) * 10_000)
    elif what == "transfer":
        driver.venue.transfer((size - 30) * MONEY_ONE)
    elif what == "liquidate" and size > 45:
        driver.venue.liquidate(asset, adl=bool(choice & 2))
    elif what == "hand":
        for held in driver.venue.dump().positions:
            if held.asset == asset and not driver.venue.config.hedge:
                quantity = min(held.quantity_e8, size * QUANTITY_ONE)
                driver.venue.trade_by_hand(asset, OrderSide(-held.side), quantity)


async def play(config: MockConfig, day: list[Step], flat: bool) -> Driver:
    """A day with faults, then all the evidence; then, if wanted, everything goes out."""
    driver = Driver(config, Chance(config.seed))
    await driver.venue.connect()
    while not driver.engine.kernel.ledger().anchored:  # nothing is traded before that
        await driver.round()
    for number, step in enumerate(day):
        await act(driver, number, step)
        await driver.round()
    await driver.settle()
    assert_same_books(driver)
    if flat:
        await flatten(driver)
    await driver.venue.close()
    return driver


async def flatten(driver: Driver) -> None:
    """The venue moves again, and every position goes out."""
    for stuck in driver.venue.dump().orders:
        if stuck.order_type is OrderType.MARKET and stuck.status not in ENDED_STATUSES:
            driver.venue.fill(ref_of_report(stuck))
    await driver.settle()
    for slot in driver.engine.kernel.active_slots():
        driver.apply(
            KernelIntent(
                command=KernelCommandType.EXIT,
                received_ms=driver.clock.now_ms(),
                intent_id=f"flat{slot.slot_id}",
                slot_id=slot.slot_id,
                quantity_e8=slot.size_e8,
                urgent=True,
            )
        )
    await driver.settle()
    assert_same_books(driver)
    assert all(slot.dust for slot in driver.engine.kernel.active_slots())


@given(config=configs, day=steps, flat=st.booleans())
def test_kernel_and_venue_end_with_the_same_books(
    config: MockConfig, day: list[Step], flat: bool
) -> None:
    asyncio.run(asyncio.wait_for(play(config, day, flat), 60))


@given(
    config=configs.map(
        lambda config: msgspec.structs.replace(
            config,
            style=msgspec.structs.replace(config.style, increments=True, client_ids=True),
            noise=Noise(duplicate=config.noise.duplicate),
            rules=tuple(rule for rule in config.rules if rule.verb is not Verb.STREAM),
        )
    ),
    day=steps,
    flat=st.booleans(),
)
def test_increments_end_with_the_same_books(
    config: MockConfig, day: list[Step], flat: bool
) -> None:
    """Each fill by itself; duplicates are known by their ids.  Nothing is lost or late here."""
    asyncio.run(asyncio.wait_for(play(config, day, flat), 60))


# -- the book, to the last digit -------------------------------------------------------------------


def run(test: Callable[[MockVenue, ManualClock], Coroutine[Any, Any, None]], **config: Any) -> None:
    """A test with a connected mock."""

    async def connected() -> None:
        clock = ManualClock(START_MS)
        venue = MockVenue(fet_config(**config), clock)
        await venue.connect()
        await asyncio.wait_for(test(venue, clock), 10)
        await venue.close()

    asyncio.run(connected())


def market(name: str, side: OrderSide, lots: int, **fields: Any) -> SubmitOrder:
    return SubmitOrder(
        client_order_id=name,
        asset=FET,
        side=side,
        order_type=OrderType.MARKET,
        quantity_e8=lots * QUANTITY_ONE,
        **fields,
    )


def limit(name: str, side: OrderSide, lots: int, price: str) -> SubmitOrder:
    order = market(name, side, lots)
    return msgspec.structs.replace(
        order, order_type=OrderType.LIMIT, limit_price_e10=parse_price(price)
    )


async def report(venue: MockVenue, name: str) -> OrderReport:
    found = await venue.order(OrderRef(asset=FET, client_order_id=name))
    assert found is not None
    return found


def kinds(frames: tuple[VenueEvent, ...]) -> list[str]:
    return [frame.kind.name for frame in frames]


def test_a_short_in_two_legs_to_the_cent() -> None:
    async def test(venue: MockVenue, clock: ManualClock) -> None:
        await venue.submit(market("in", SELL, 1000))
        venue.advance(FET, parse_price("0.45"))
        await venue.submit(market("out1", BUY, 400, reduce_only=True))
        venue.advance(FET, parse_price("0.52"))
        await venue.submit(market("out2", BUY, 600, reduce_only=True))
        realized = [r.amount for r in venue.book.income if r.kind is IncomeKind.REALIZED]
        assert realized == [parse_money("20"), parse_money("-12")]
        fees = parse_money("0.25") + parse_money("0.09") + parse_money("0.156")
        assert venue.dump().wallet == parse_money("10008") - fees
        assert venue.dump().available_margin == venue.dump().wallet

    run(test)


def test_one_way_orders_turn_a_position_around() -> None:
    async def test(venue: MockVenue, clock: ManualClock) -> None:
        await venue.submit(market("a", BUY, 100))
        venue.advance(FET, parse_price("0.6"))
        await venue.submit(market("b", SELL, 150))
        (position,) = await venue.positions()
        assert (position.side, position.quantity_e8) == (SELL, 50 * QUANTITY_ONE)
        assert position.average_price_e10 == parse_price("0.6")
        assert (await report(venue, "b")).realized == parse_money("10")

    run(test)


def test_hedge_mode_holds_both_sides() -> None:
    async def test(venue: MockVenue, clock: ManualClock) -> None:
        await venue.submit(market("long", BUY, 100))
        await venue.submit(market("short", SELL, 40))
        sides = {p.side: p.quantity_e8 // QUANTITY_ONE for p in await venue.positions()}
        assert sides == {BUY: 100, SELL: 40}
        await venue.submit(market("out", SELL, 100, reduce_only=True))
        assert [p.side for p in await venue.positions()] == [SELL]

    run(test, hedge=True)


def test_precision_is_cut_off_silently() -> None:
    async def test(venue: MockVenue, clock: ManualClock) -> None:
        order = msgspec.structs.replace(market("a", BUY, 10), quantity_e8=1_099_999_999)
        await venue.submit(order)
        assert (await report(venue, "a")).quantity_e8 == 10 * QUANTITY_ONE

    run(test)


def test_makers_pay_less() -> None:
    async def test(venue: MockVenue, clock: ManualClock) -> None:
        await venue.submit(limit("a", BUY, 100, "0.4"))
        venue.advance(FET, parse_price("0.39"))
        assert (await report(venue, "a")).fee == parse_money("0.008")
        await venue.submit(limit("b", BUY, 100, "0.5"))
        assert (await report(venue, "b")).fee == parse_money("0.0195")

    run(test)


def test_funding_is_told_as_a_balance_and_read_as_income() -> None:
    async def test(venue: MockVenue, clock: ManualClock) -> None:
        await venue.submit(market("a", SELL, 1000))
        venue.take()
        assert venue.fund(FET, 100_000) == parse_money("0.05")
        (frame,) = venue.take()
        assert (frame.kind, frame.balance_reason) == (Kind.ACCOUNT_UPDATE, BalanceReason.FUNDING)
        row = (await venue.income(0))[-1]
        assert (row.kind, row.amount) == (IncomeKind.FUNDING, parse_money("0.05"))

    run(test)


def test_a_falling_price_liquidates() -> None:
    async def test(venue: MockVenue, clock: ManualClock) -> None:
        await venue.submit(market("a", BUY, 30_000, leverage=3))
        venue.take()
        venue.advance(FET, parse_price("0.168"))
        frames = venue.take()
        assert kinds(frames)[0] == "LIQUIDATION"
        assert (frames[0].client_order_id, frames[0].side) == ("", SELL)
        assert await venue.positions() == ()

    run(test, maintenance_e9=10_000_000)


@pytest.mark.parametrize(
    ("quantity", "parts", "step", "pieces"),
    [(10, 3, 1, [3, 3, 4]), (10, 3, 5, [10]), (0, 3, 1, []), (7, 1, 2, [7]), (2, 3, 1, [2])],
)
def test_parts(quantity: int, parts: int, step: int, pieces: list[int]) -> None:
    assert split(quantity, parts, step) == pieces


def test_half_goes_to_the_even_neighbour() -> None:
    assert [half_even(n, 2) for n in (1, 3, 5, -1, -3)] == [0, 2, 2, 0, -2]


# -- the script ------------------------------------------------------------------------------------


def rule(verb: Verb, do: Do, **fields: Any) -> Rule:
    return Rule(verb=verb, do=do, **fields)


def test_rules_count_their_own_calls() -> None:
    rules = [rule(Verb.SUBMIT, Do.LOST, nth=2), rule(Verb.SUBMIT, Do.REJECT, nth=3, times=0)]
    script = Script(rules)
    seen = [script.match(Verb.SUBMIT, FET) for _ in range(5)]
    assert [found and found.do for found in seen] == [None, Do.LOST, *[Do.REJECT] * 3]
    script = Script([rule(Verb.QUERY, Do.FAIL, asset=FET, times=2)])
    asked = (Verb.ORDER, Verb.SUBMIT, Verb.FILLS, Verb.FILLS)
    assert [bool(script.match(verb, FET)) for verb in asked] == [True, False, True, False]
    assert script.match(Verb.ORDER, "TRX-USDT") is None


def test_a_rule_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(SettingsError, match="stream cannot reject"):
        Script([rule(Verb.STREAM, Do.REJECT)])
    with pytest.raises(SettingsError, match="fills cannot lost"):
        Script([rule(Verb.FILLS, Do.LOST)])


@pytest.mark.parametrize("wait_ms", [0, 30_000])
def test_rate_limit(wait_ms: int) -> None:
    async def test(venue: MockVenue, clock: ManualClock) -> None:
        (limited,) = await venue.submit(market("a", BUY, 100))
        assert (limited.kind, limited.retry_after_ms) == (Kind.RATE_LIMITED, wait_ms)
        assert venue.dump().orders == ()

    run(test, rules=(rule(Verb.SUBMIT, Do.RATE_LIMIT, wait_ms=wait_ms),))


def test_not_sent() -> None:
    async def test(venue: MockVenue, clock: ManualClock) -> None:
        with pytest.raises(NotSent):
            await venue.submit(market("a", BUY, 100))
        assert venue.dump().orders == ()

    run(test, rules=(rule(Verb.SUBMIT, Do.NOT_SENT),))


def test_a_part_now_and_the_rest_later() -> None:
    async def test(venue: MockVenue, clock: ManualClock) -> None:
        await venue.submit(market("a", BUY, 100))
        assert (await report(venue, "a")).filled_e8 == 30 * QUANTITY_ONE
        clock.advance_ms(400)
        assert (await report(venue, "a")).status is VenueOrderStatus.WORKING
        clock.advance_ms(100)
        assert (await report(venue, "a")).status is VenueOrderStatus.FILLED
        await venue.submit(market("b", BUY, 100))
        ended = await report(venue, "b")
        assert (ended.status, ended.filled_e8) == (VenueOrderStatus.EXPIRED, 50 * QUANTITY_ONE)

    run(
        test,
        rules=(
            rule(Verb.SUBMIT, Do.PARTIAL, share_e9=300_000_000, wait_ms=500),
            rule(Verb.SUBMIT, Do.EXPIRE, share_e9=500_000_000, nth=2),
        ),
    )


def test_a_late_answer_comes_when_it_is_time() -> None:
    async def test(venue: MockVenue, clock: ManualClock) -> None:
        sent = asyncio.ensure_future(venue.submit(market("a", BUY, 100)))
        await asyncio.sleep(0)
        assert (await report(venue, "a")).filled_e8
        clock.advance_ms(699)
        venue.run()
        await asyncio.sleep(0)
        assert not sent.done()
        clock.advance_ms(1)
        venue.run()
        (ack,) = await sent
        assert ack.received_ms - ack.exchange_ms == 700

    run(test, rules=(rule(Verb.SUBMIT, Do.DELAY, wait_ms=700),))


def test_closing_leaves_a_late_answer_unknown() -> None:
    async def test(venue: MockVenue, clock: ManualClock) -> None:
        sent = asyncio.ensure_future(venue.submit(market("a", BUY, 100)))
        await asyncio.sleep(0)
        await venue.close()
        with pytest.raises(OutcomeUnknown):
            await sent

    run(test, rules=(rule(Verb.SUBMIT, Do.DELAY, wait_ms=700),))


@pytest.mark.parametrize(("wait_ms", "orders"), [(4_999, 1), (5_001, 0)])
def test_nothing_is_executed_after_the_receive_window(wait_ms: int, orders: int) -> None:
    async def test(venue: MockVenue, clock: ManualClock) -> None:
        with pytest.raises(OutcomeUnknown):
            await venue.submit(market("a", BUY, 100))
        assert venue.dump().orders == ()
        clock.advance_ms(10_000)
        assert len(venue.dump().orders) == orders
        assert [order.updated_ms - START_MS for order in venue.dump().orders] == [4_999][:orders]

    run(test, rules=(rule(Verb.SUBMIT, Do.SILENT_LATE, wait_ms=wait_ms),))


def test_a_hidden_order_is_in_no_answer() -> None:
    async def test(venue: MockVenue, clock: ManualClock) -> None:
        await venue.submit(market("a", BUY, 100))
        assert await venue.order(OrderRef(asset=FET, client_order_id="a")) is None
        assert await venue.all_orders(FET, 0) == ()
        assert await venue.fills(FET, 0) == ()
        assert len(await venue.positions()) == 1
        clock.advance_ms(2_000)
        assert len(await venue.fills(FET, 0)) == 1

    run(test, rules=(rule(Verb.SUBMIT, Do.HIDE, wait_ms=2_000),))


def test_a_fill_overtakes_its_cancel() -> None:
    async def test(venue: MockVenue, clock: ManualClock) -> None:
        await venue.submit(limit("a", BUY, 100, "0.4"))
        (rejected,) = await venue.cancel(OrderRef(asset=FET, client_order_id="a"))
        assert rejected.kind is Kind.CANCEL_REJECT
        assert (await report(venue, "a")).status is VenueOrderStatus.FILLED

    run(test, rules=(rule(Verb.CANCEL, Do.FILL_FIRST),))


# -- the stream ------------------------------------------------------------------------------------


def test_frames_are_lost_doubled_held_and_cut_off() -> None:
    async def test(venue: MockVenue, clock: ManualClock) -> None:
        for name in "abcd":
            await venue.submit(limit(name, BUY, 100, "0.4"))
        assert [frame.client_order_id for frame in venue.take()] == ["b", "b", "d", "c"]
        await venue.submit(limit("e", BUY, 100, "0.4"))
        assert venue.lost
        assert venue.take() == ()
        venue.events()
        await venue.submit(limit("f", BUY, 100, "0.4"))
        assert [frame.client_order_id for frame in venue.take()] == ["f"]

    run(
        test,
        rules=(
            rule(Verb.STREAM, Do.DROP, nth=1),
            rule(Verb.STREAM, Do.DUPLICATE, nth=2),
            rule(Verb.STREAM, Do.HOLD, nth=3),
            rule(Verb.STREAM, Do.END, nth=5),
        ),
    )


def test_a_held_frame_does_not_wait_for_ever() -> None:
    async def test(venue: MockVenue, clock: ManualClock) -> None:
        await venue.submit(limit("a", BUY, 100, "0.4"))
        assert venue.take() == ()
        clock.advance_ms(1_000)
        (frame,) = venue.take()
        assert frame.received_ms - frame.exchange_ms == 1_000

    run(test, rules=(rule(Verb.STREAM, Do.HOLD),))


def test_bingx_frames_say_less() -> None:
    async def test(venue: MockVenue, clock: ManualClock) -> None:
        await venue.submit(market("a", BUY, 100))
        ack, fill, balance = venue.take()
        assert (ack.client_order_id, fill.client_order_id) == ("", "")
        assert (fill.last_price_e10, fill.price_e10) == (0, parse_price("0.5"))
        assert balance.kind is Kind.ACCOUNT_UPDATE

    run(test, style=BINGX_STYLE)


def test_the_other_ways_to_speak() -> None:
    async def test(venue: MockVenue, clock: ManualClock) -> None:
        await venue.submit(market("a", BUY, 100))
        first, zero, _, position, second, *_ = venue.take()
        assert (first.event_id, first.increment, first.price_e10) == ("fill:1", True, 0)
        assert (second.kind, second.event_id) == (Kind.FULL_FILL, "fill:2")
        assert (zero.kind, zero.amount) == (Kind.ACCOUNT_UPDATE, 0)
        assert (position.kind, position.quantity_e8) == (Kind.POSITION, 50 * QUANTITY_ONE)

    style = Style(increments=True, priced=False, zero_balances=True, positions=True, acks=False)
    run(test, parts=2, style=style)


def test_the_same_seed_gives_the_same_bytes() -> None:
    def day(seed: int) -> bytes:
        frames: list[VenueEvent] = []

        async def test(venue: MockVenue, clock: ManualClock) -> None:
            for i in range(40):
                await venue.submit(market(f"o{i}", BUY if i % 3 else SELL, 10 + i))
                clock.advance_ms(300)
                frames.extend(venue.take())
            frames.append(balance_event(await venue.balance(), 1))

        noise = Noise(drop=200, duplicate=200, hold=200)
        run(test, seed=seed, noise=noise, parts=3, slip_ticks=1, tape=TAPE)
        return msgspec.json.encode(frames)

    assert day(7) == day(7)
    assert day(7) != day(8)


# -- the tape --------------------------------------------------------------------------------------

TAPE = ((0, FET, PRICE_ONE // 2), (1_000, FET, PRICE_ONE // 4), (2_000, FET, PRICE_ONE))


def test_the_shipped_tape_is_what_its_maker_makes() -> None:
    shipped = importlib.resources.files("dita.configs") / "tapes" / price_tape.PATH.name
    text = shipped.read_text(encoding="ascii")
    assert text == price_tape.tape()
    rows = read_tape(text)
    assert len(rows) == 2 * price_tape.STEPS
    assert {row.asset for row in rows} == {FET, "TRX-USDT"}


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n",
        "time_ms,asset,price\n1,X,1\n0,X,1\n",
        "time_ms,asset,price\n-1,X,1\n",
        "time_ms,asset,price\n1,X\n",
        "time_ms,asset,price\n1,X,nan\n",
    ],
)
def test_a_bad_tape_is_refused(text: str) -> None:
    with pytest.raises(OperatorError, match="refused"):
        read_tape(text)


def test_the_tape_moves_prices_at_its_own_times() -> None:
    async def test(venue: MockVenue, clock: ManualClock) -> None:
        await venue.submit(limit("a", BUY, 100, "0.3"))
        clock.advance_ms(1_700)  # nobody looked when it was time
        filled = await report(venue, "a")
        assert filled.updated_ms == START_MS + 1_000
        clock.advance_ms(700)
        assert venue.dump().prices[FET] == PRICE_ONE
        clock.advance_ms(1_300)  # it starts again a mean step after its last row
        assert venue.dump().prices[FET] == PRICE_ONE // 4

    run(test, tape=TAPE, tape_repeats=True)


# -- another process -------------------------------------------------------------------------------


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short one: the path of a unix socket has about a hundred characters."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@contextlib.contextmanager
def served(folder: Path, config: ServeConfig) -> Iterator[subprocess.Popen[str]]:
    """A server process that is ready."""
    file = folder / "config.json"
    file.write_bytes(msgspec.json.encode(config))
    command = [sys.executable, "-m", "dita.venues.remote"]
    command += ["--socket", str(folder / "venue"), "--config", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = msgspec.json.decode(process.stdout.readline())
            assert ready == {
                "ready": True,
                "socket": str(folder / "venue"),
                "pid": process.pid,
            }
            yield process
        finally:
            process.kill()


def test_the_socket_is_ours_alone_and_goes_with_the_server(folder: Path) -> None:
    with served(folder, ServeConfig(mock=fet_config())) as process:
        assert stat.S_IMODE((folder / "venue").stat().st_mode) == 0o600
        with pytest.raises(AlreadyRunning):
            asyncio.run(Server(ServeConfig(mock=fet_config())).start(folder / "venue"))
        process.terminate()
        assert process.wait(10) == 0
        assert not (folder / "venue").exists()


def test_nobody_there_means_not_sent(folder: Path) -> None:
    async def test() -> None:
        venue = RemoteVenue(folder / "venue")
        with pytest.raises(VenueError, match="cannot be reached"):
            await venue.connect()
        with pytest.raises(NotSent):
            await venue.submit(market("a", BUY, 100))
        with pytest.raises(QueryFailed):
            await venue.positions()

    asyncio.run(test())


def test_a_venue_that_dies_leaves_the_outcome_unknown(folder: Path) -> None:
    late = rule(Verb.SUBMIT, Do.DELAY, wait_ms=60_000)

    async def test(process: subprocess.Popen[str]) -> None:
        venue = RemoteVenue(folder / "venue")
        await venue.connect()
        events = venue.events()
        sent = asyncio.ensure_future(venue.submit(market("a", BUY, 100)))
        assert (await anext(events)).kind is Kind.ORDER_ACK
        process.kill()
        with pytest.raises(OutcomeUnknown):
            await sent
        async for _ in events:
            pass  # what had arrived before; then the stream ends
        with pytest.raises(NotSent):
            await venue.submit(market("b", BUY, 100))
        await venue.close()

    with served(folder, ServeConfig(mock=fet_config(rules=(late,)))) as process:
        asyncio.run(test(process))
    # What a killed server leaves behind is no obstacle to the next one.
    with served(folder, ServeConfig(mock=fet_config())):
        pass


TRADER = """
import asyncio, sys
from dita.contracts import OrderSide, OrderType
from dita.venues import SubmitOrder
from dita.venues.remote import RemoteVenue

async def trade():
    venue = RemoteVenue(sys.argv[1])
    await venue.connect()
    order = SubmitOrder(client_order_id="a", asset="FET-USDT", side=OrderSide.BUY,
                        order_type=OrderType.MARKET, quantity_e8=100 * 10**8)
    await venue.submit(order)

asyncio.run(trade())
"""


def test_a_trader_is_killed_and_the_venue_lives_on(folder: Path) -> None:
    late = rule(Verb.SUBMIT, Do.DELAY, wait_ms=60_000)

    async def look(trader: subprocess.Popen[bytes]) -> Dump:
        venue = RemoteVenue(folder / "venue")
        await venue.connect()
        while not (await venue.dump()).fills:
            await asyncio.sleep(0.01)
        trader.send_signal(signal.SIGKILL)
        trader.wait()
        dump = await venue.dump()
        await venue.close()
        return dump

    with served(folder, ServeConfig(mock=fet_config(rules=(late,)))):
        command = [sys.executable, "-c", TRADER, str(folder / "venue")]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as trader:
            dump = asyncio.run(asyncio.wait_for(look(trader), 20))
    (order,) = dump.orders
    assert (order.client_order_id, order.filled_e8) == ("a", 100 * QUANTITY_ONE)


def test_a_bad_config_ends_with_its_exit_code(folder: Path) -> None:
    (folder / "config.json").write_text('{"mock": {"wallet": "much"}}')
    command = [sys.executable, "-m", "dita.venues.remote"]
    command += ["--socket", str(folder / "venue"), "--config", str(folder / "config.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 78
    assert "wallet" in done.stderr
