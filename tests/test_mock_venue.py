"""The mock venue: the contract for it and for its remote twin, its faults, its exact book."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from venue_contract import CHECKS, Check, Kind, MakeStand, Stand, ref_of, run_check

from dita.clock import ManualClock
from dita.contracts import (
    ENDED_STATUSES,
    Effect,
    EffectKind,
    KernelCommandType,
    KernelEventKind,
    KernelIntent,
    OrderSide,
    OrderType,
    RejectReason,
    TradeSide,
    TradeStage,
    VenueEvent,
)
from dita.engine import Engine, Outcome
from dita.kernel import KernelConfig
from dita.units import MONEY_ONE, PRICE_ONE, QUANTITY_ONE
from dita.venues import (
    FillReport,
    NotSent,
    OrderRef,
    OrderReport,
    OutcomeUnknown,
    QueryFailed,
    SubmitOrder,
    Venue,
)
from dita.venues.evidence import (
    AbsenceProof,
    Verdict,
    balance_event,
    fills_cover,
    final_event,
    foreign_event,
    found_event,
    income_event,
    position_events,
)
from dita.venues.mock import (
    ALLOWED,
    BINGX_STYLE,
    Chance,
    Do,
    MockConfig,
    MockVenue,
    Noise,
    Rule,
    Style,
    Verb,
    fet_config,
)
from dita.venues.remote import RemoteVenue, ServeConfig, Server

START_MS = 1_700_000_000_000
FET = "FET-USDT"


# -- the contract ----------------------------------------------------------------------------------


class MockStand:
    """The mock in this process."""

    asset = FET

    def __init__(self, config: MockConfig) -> None:
        self.clock = ManualClock(START_MS)
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

    async def fund(self, rate_e9: int) -> None:
        self.mock.fund(FET, rate_e9)

    async def end_stream(self) -> None:
        self.mock.end_stream()

    async def close(self) -> None:
        await self.venue.close()


class RemoteStand:
    """The mock behind its socket, in this process too."""

    asset = FET

    def __init__(self, folder: Path, config: MockConfig) -> None:
        self.folder = folder
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
    "mock-as-bingx": lambda: MockStand.make(fet_config(style=BINGX_STYLE)),
    "mock-other-clock": lambda: MockStand.make(fet_config(clock_skew_ms=-90_000)),
    "remote": lambda: RemoteStand.make(fet_config()),
    "remote-as-bingx": lambda: RemoteStand.make(fet_config(style=BINGX_STYLE)),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("stand", STANDS)
def test_contract(stand: str, check: Check) -> None:
    run_check(STANDS[stand], check)


# -- an engine on the mock ---------------------------------------------------------------------------


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
            self.answers.extend(position_events(reports, self.to_compare, now, asked))
            self.to_compare.clear()

    async def weigh(self) -> None:
        if self.ask_balance:
            self.answers.append(balance_event(await self.venue.balance(), self.clock.now_ms()))
            self.ask_balance = False

    async def read_income(self) -> None:
        for row in await self.venue.income(0):
            event = income_event(row, self.clock.now_ms())
            if event is not None:
                self.apply(event)

    async def look_for_strangers(self) -> None:
        """What closed a position that disagrees?  Only what filled after the trade began."""
        kernel = self.engine.kernel
        for slot in kernel.active_slots():
            if slot.state is not TradeStage.STALE_STATE_RECONCILING:
                continue
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
    style=st.builds(
        Style,
        priced=st.booleans(),
        last_fill=st.booleans(),
        client_ids=st.booleans(),
        figures=st.booleans(),
        acks=st.booleans(),
        zero_balances=st.booleans(),
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
            ["enter", "enter", "enter_limit", "exit", "exit", "exit_limit", "cancel", "move"]
            + ["pass", "pass", "calm", "calm", "fund", "transfer", "liquidate"]
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
        driver.venue.liquidate(asset)


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
