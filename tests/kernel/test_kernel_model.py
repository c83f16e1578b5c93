"""The compiled kernel against the plain model: the same histories, the same state after every step.

After every input the outcomes and the whole state are equal; what is refused has changed nothing;
batches and saved states end in the same place.  It knows the kernel through its records, and the
core's packed bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from support.model.kernel import Effect, KernelModel, ModelOutcome, Record
from support.model.trades import Slot
from support.model.worlds import LOT, SYMBOLS, Choices, Company, Failing, Input, World

from dita import _kernel
from dita.contracts import (
    ContractRules,
    EvidenceSource,
    KernelCommandType,
    KernelDiagnosticCode,
    KernelEventKind,
    KernelIntent,
    KernelOutcome,
    OrderRole,
    ReconcileStatus,
    TradeRecord,
    TradeStage,
    VenueEvent,
)
from dita.errors import BadField
from dita.identity import client_order_id, venue_key_of
from dita.kernel import ExecutionKernel, KernelConfig

Code = KernelDiagnosticCode
Command = KernelCommandType
Kind = KernelEventKind

#: Histories per test: 20 times what the profile says (4 000 by default), and fractions of it.
EXAMPLES: Final = 20 * settings.get_profile(settings.get_current_profile_name()).max_examples
CONFIGS: Final = tuple(
    KernelConfig(slot_limit=slots, hedge=hedge, seen=seen, balance_max_age_ms=age, seed=seed)
    for slots, hedge, seen, age, seed in (
        (2, False, 64, 0, 0),
        (2, True, 64, 0, 10**21),
        (1, False, 16, 0, 0),
        (3, False, 64, 600_000, 0),
    )
)
CONTRACT: Final = ContractRules(
    tick_e10=10**6, step_e8=1, taker_fee_e9=500_000, maker_fee_e9=200_000
)

NO_DRIFT: Final[tuple[Any, ...]] = (0, {}, ReconcileStatus.OK)


# -- side by side ----------------------------------------------------------------------------------


@dataclass
class Pair:
    """The kernel and the model, fed with the same inputs; everything is compared after each."""

    config: KernelConfig
    kernel: ExecutionKernel = field(init=False)
    model: KernelModel = field(init=False)
    packed: list[bytes | tuple[bool, bool]] = field(default_factory=list)
    twin: ExecutionKernel | None = None

    def __post_init__(self) -> None:
        self.kernel = ExecutionKernel(self.config)
        self.model = KernelModel(self.config)

    def judge(self, pending: bool, unexplained: bool) -> None:
        """Hand both the account's judgement."""
        changed, effects = self.model.judge(pending, unexplained)
        assert self.kernel.judge(pending, unexplained) == changed
        assert tuple(seen_effect(e) for e in self.kernel.effects()) == effects
        if self.twin is not None:
            self.twin.judge(pending, unexplained)
        self.packed.append((pending, unexplained))
        self.compare_state()

    def apply(self, record: Record) -> KernelOutcome:
        """Feed both; neither may find a state that the table does not allow."""
        core, due_ms = self.kernel._core, self.kernel.due_ms
        before = core.save()
        try:
            event = self.kernel.pack(record)
            self.packed.append(event.pack())
        except BadField:
            pass
        expected = self.model.apply(record)
        outcome = self.kernel.apply(record)
        compare_outcomes(outcome, expected, record)
        if self.twin is not None:
            assert self.twin.apply(record) == outcome
        if not outcome.accepted:
            assert core.save() == before, "a refused input changed the state"
        elif isinstance(record, VenueEvent) and record.kind is Kind.TICK:
            self.check_time(due_ms, outcome)
        self.compare_state()
        return outcome

    def check_time(self, due_ms: int, outcome: KernelOutcome) -> None:
        """A tick does what was due and nothing else; what is due and is not done is no due time."""
        now_ms = self.kernel.now_ms
        assert not outcome.effects or 0 < due_ms <= now_ms, "a tick did what was not due"
        still = 0 < self.kernel.due_ms <= now_ms
        assert outcome.effects or not still, "ticks do not help, and it is due all the same"

    def split(self) -> None:
        """From here on a kernel restored from saved bytes gets the same inputs."""
        saved = self.kernel.save()
        self.twin = ExecutionKernel.restore(saved)
        assert self.twin.save() == saved

    def finish(self) -> None:
        """The restored kernel, a batch and single packed inputs end in the same bytes."""
        if self.twin is not None:
            assert self.twin.state_hash() == self.kernel.state_hash()
        one_by_one, one_saved = replay(self.config, self.packed, batch=1)
        in_batches, batch_saved = replay(self.config, self.packed, batch=len(self.packed))
        assert one_by_one == in_batches
        assert one_saved == batch_saved == self.kernel._core.save()

    def compare_state(self) -> None:
        """Slots, orders, trades, ledger, exposure, held events: all of it."""
        kernel, model = self.kernel, self.model
        used = [slot for slot in model.slots if slot is not None]
        assert kernel.active_slots() == tuple(model.view_slot(slot) for slot in used)
        for slot in used:
            self.compare_slot(slot)
        assert kernel.trades() == tuple(model.view_trade(t) for t in model.trades_by_no)
        for trade in model.trades_by_no:
            assert kernel.orders_of(trade.trade_no) == tuple(map(model.view_order, trade.orders))
            for order in trade.orders:
                inner = kernel._core.order(order.order_no)
                assert inner is not None
                assert inner[23:25] == (order.whole.filled, order.lost)
            inner = kernel._core.trade(trade.trade_no)
            assert inner is not None
            assert inner[20] == trade.returned
            assert inner[22] == trade.figures.foreign
        ledger = kernel.ledger()
        assert msgspec.structs.astuple(ledger) == model.view_ledger()
        assert kernel.held_events == len(model.held)
        assert (kernel.event_seq, kernel.trade_seq) == (model.event_seq, len(model.trades_by_no))
        told_ms = ledger.told_ms
        assert kernel.estimated_fees(told_ms) == model.view_estimated_fees(told_ms)
        assert kernel.unsettled_bound(told_ms) == model.view_unsettled_bound(told_ms)
        limits = {limit: amount for limit, amount in model.limits.items() if amount}
        assert kernel.limits() == limits
        assert kernel.venue_errors() == model.view_errors()
        assert sorted(kernel._core.foreign()) == model.view_foreign()
        self.compare_account()

    def compare_slot(self, slot: Slot) -> None:
        """What a slot's view does not show."""
        inner = self.kernel._core.slot(slot.index)
        flags = slot.stale * 1 | slot.dust * 2 | slot.recovery * 4
        assert inner[1:3] == (flags, slot.latched)
        assert inner[7:12] == (slot.goal, slot.mark, slot.stale_ms, slot.retry_ms, slot.proven)
        assert inner[13:16] == (slot.proven_ms, slot.short_ms, slot.error_code)

    def compare_account(self) -> None:
        """What the account publishes, also where its sums leave 128 bits."""
        exposure = self.model.view_exposure()
        assert self.kernel.exposure() == exposure
        account = self.kernel.account_snapshot(NO_DRIFT)
        assert account.capital == self.model.published()
        assert (account.open_positions, account.open_notional, account.unrealized) == exposure


def seen_effect(e: Any) -> Effect:
    """A request of the kernel in the model's words."""
    return Effect(
        e.kind, e.slot_id, e.order_no, e.trade_no, e.quantity_e8, e.price_e10, e.realized, e.fees
    )


def compare_outcomes(got: KernelOutcome, expected: ModelOutcome, record: Record) -> None:
    """Field by field."""
    assert (got.accepted, got.code) == (expected.accepted, expected.code), (record, got, expected)
    assert got.event_seq == expected.event_seq
    assert got.effects == () or got.effects is not None
    assert tuple(seen_effect(e) for e in got.effects) == expected.effects
    assert set(got.notes) == expected.notes
    if not got.accepted and expected.what != "?":
        assert got.details.get("field", "") == expected.what
    if got.code is Code.RATE_LIMITED:
        assert got.details.get("retry_after_ms", 0) == expected.retry_after_ms
    t = got.transition
    assert (t is not None) == (expected.accepted and expected.trade_no > 0)
    if t is not None:
        assert (t.slot_id, t.trade_no, t.order_no) == (
            expected.slot,
            expected.trade_no,
            expected.order_no,
        )
        assert (t.before, t.after, t.leg_index) == (
            expected.before,
            expected.after,
            expected.leg,
        )
        assert (t.quantity_delta_e8, t.size_e8) == (expected.quantity_delta, expected.size)
        assert (t.realized_delta, t.trueup_delta, t.fee_delta) == (
            expected.realized_delta,
            expected.trueup_delta,
            expected.fee_delta,
        )


def replay(
    config: KernelConfig, packed: list[bytes | tuple[bool, bool]], batch: int
) -> tuple[bytes, bytes]:
    """Packed outcomes and saved core after packed inputs, applied in batches between judgements."""
    kernel = ExecutionKernel(config)
    outcomes, waiting = [], b""
    for item in [*packed, None]:
        if isinstance(item, bytes):
            waiting += item
        if waiting and (not isinstance(item, bytes) or batch == 1):
            target = bytearray(len(waiting) // _kernel.INPUT_SIZE * _kernel.OUTCOME_SIZE)
            if batch == 1:
                target[:] = kernel._core.apply(_kernel.Event.unpack(waiting)).pack()
            else:
                kernel.apply_batch(waiting, target)
            outcomes.append(bytes(target))
            waiting = b""
        if isinstance(item, tuple):
            kernel.judge(*item)
    return b"".join(outcomes), kernel._core.save()


histories = st.lists(st.integers(0, 2**24 - 1), min_size=20, max_size=100)


def inputs(world: World, numbers: list[int]) -> Iterator[Input]:
    """The world's inputs, one for each number; 0 is left out, so that histories shrink."""
    for number in numbers:
        if number:
            yield world.step(number)


@settings(max_examples=EXAMPLES // 2)
@given(st.sampled_from(CONFIGS), histories, st.integers(0, 99))
def test_kernel_equals_model(config: KernelConfig, numbers: list[int], cut: int) -> None:
    """Every outcome, every figure; then batches and a restored kernel."""
    pair = Pair(config)
    world = World(pair.kernel)
    for position, record in enumerate(inputs(world, numbers)):
        if position == cut:
            pair.split()
        if isinstance(record, tuple):
            pair.judge(*record)
            continue
        world.hear(pair.apply(record))
    pair.finish()


@settings(max_examples=EXAMPLES // 2)
@given(st.sampled_from(CONFIGS), histories, st.integers(0, 99))
def test_kernel_equals_model_in_company(config: KernelConfig, numbers: list[int], cut: int) -> None:
    """One symbol, strangers on it, fills that come late, positions, doubts, write-offs."""
    pair = Pair(config)
    world = Company(pair.kernel)
    for position, record in enumerate(inputs(world, numbers)):
        if position == cut:
            pair.split()
        assert not isinstance(record, tuple)
        world.hear(pair.apply(record))
    pair.finish()


@given(st.lists(st.integers(0, 50), min_size=60, max_size=160))
def test_ids_are_forgotten_by_generations(ids: list[int]) -> None:
    """An id is known for at least as many ids as a generation holds, then given up with its own."""
    pair = Pair(KernelConfig(slot_limit=1, seen=16))
    for number, flow in enumerate(ids):
        pair.apply(
            VenueEvent(kind=Kind.FUNDING_FEE, received_ms=1 + number, event_id=f"{flow}", amount=1)
        )
    pair.split()
    pair.apply(VenueEvent(kind=Kind.FUNDING_FEE, received_ms=10**6, event_id="0", amount=1))
    pair.finish()


@settings(max_examples=EXAMPLES // 8)
@given(st.lists(st.integers(0, 2**24 - 1), min_size=60, max_size=160))
def test_failing_submits_equal_model(numbers: list[int]) -> None:
    """Back-off, its limit, what is sent again and what a freeze holds back."""
    pair = Pair(KernelConfig(slot_limit=1, seen=64))
    world = Failing(pair.kernel)
    for record in inputs(world, numbers):
        assert not isinstance(record, tuple)
        world.hear(pair.apply(record))
    pair.finish()


def closed_trade(world: World, number: int, venue_ids: tuple[str, str]) -> Iterator[Record]:
    """A trade that goes in and out, with these ids for its two orders."""
    terms = {
        "contract": CONTRACT,
        "quantity_e8": LOT,
        "asset": SYMBOLS[0],
        "trade_id": f"N{number}",
    }
    enter = world.intent(Command.ENTER, **terms, reference_price_e10=10**10)
    leave = world.intent(Command.EXIT, trade_id=f"N{number}")
    for intent, venue_id in zip((enter, leave), venue_ids, strict=True):
        yield intent
        yield VenueEvent(
            kind=Kind.ORDER_FINAL,
            received_ms=world.now,
            venue_order_id=venue_id,
            client_order_id=client_order_id("pink", 1, intent.intent_id, 0),
            quantity_e8=LOT,
            cost=LOT * 10**10,
            realized=0,
            source=EvidenceSource.FILL_HISTORY,
        )


@settings(max_examples=EXAMPLES // 200)
@given(st.integers(0, 2**32))
def test_full_tables_give_up_the_oldest_and_find_the_rest(number: int) -> None:
    """Hundreds of trades: what is still there is found by both ids, what is not by neither."""
    c = Choices(number)
    kernel = ExecutionKernel(KernelConfig(slot_limit=1, seen=1_024))
    world = World(kernel)
    used: set[str] = set()
    for count in range(150):
        venue_ids = (str(c.below(2**30) * 3 + 1), f"{world.name('hashed-')}-{c.below(2**30)}")
        used |= set(venue_ids)
        for record in closed_trade(world, count, venue_ids):
            assert kernel.apply(record).accepted
        if count % 30:
            continue
        assert kernel.trade(f"N{count}") is not None
        there = [o for t in kernel.trades() for o in kernel.orders_of(t.trade_no)]
        for order in there:
            assert kernel._core.order_of_venue(venue_key_of(order.venue_order_id)) == order.order_no
        for gone in used - {order.venue_order_id for order in there}:
            assert kernel._core.order_of_venue(venue_key_of(gone)) == 0
    assert kernel.trade("N0") is None


# -- properties of money ---------------------------------------------------------------------------


@dataclass
class Books:
    """What must hold of a kernel's money, whatever came in."""

    kernel: ExecutionKernel
    carried: dict[int, int] = field(default_factory=dict)

    def apply(self, record: Record) -> KernelOutcome:
        """Feed the kernel; a refusal leaves the hash of everything."""
        before = self.kernel.state_hash()
        outcome = self.kernel.apply(record)
        if not outcome.accepted:
            assert self.kernel.state_hash() == before
        elif isinstance(record, KernelIntent) and record.command is Command.RECONCILE:
            assert outcome.transition is not None
            if outcome.transition.before is TradeStage.IDLE:
                self.carried[outcome.transition.trade_no] = record.carried_realized
        return outcome

    def check(self) -> None:
        """K is its flows; its flows are the trades'; a trade that is out and priced is exact."""
        ledger, trades = self.kernel.ledger(), self.kernel.trades()
        assert ledger.realized == sum(t.realized - self.carried.get(t.trade_no, 0) for t in trades)
        assert ledger.trueup == sum(t.trueup for t in trades)
        assert ledger.fees == sum(t.fees for t in trades)
        flows = ledger.realized + ledger.trueup - ledger.fees + ledger.funding
        flows += ledger.transfers + ledger.adjustments
        assert ledger.k_capital == ledger.seed + flows
        for trade in trades:
            self.check_trade(trade)

    def check_trade(self, trade: TradeRecord) -> None:
        """side × (proceeds − cost), without a rounding, once all is out and all is priced."""
        orders = self.kernel.orders_of(trade.trade_no)
        entries = [o for o in orders if o.role is OrderRole.ENTRY]
        exits = [o for o in orders if o.role is OrderRole.EXIT]
        assert trade.fees == sum(o.fee for o in orders)
        if trade.trade_no not in self.carried:
            assert trade.entered_e8 == sum(o.filled_e8 for o in entries)
            assert trade.entry_cost == sum(o.cost for o in entries)
        inner = self.kernel._core.trade(trade.trade_no)
        if inner is None or inner[6] < inner[5]:
            return  # an adopted part without a basis: nothing is booked from prices
        if any(o.priced_e8 != o.filled_e8 for o in orders) or trade.entered_e8 != trade.exited_e8:
            return
        proceeds = sum(o.cost for o in exits)
        carried = self.carried.get(trade.trade_no, 0)
        assert trade.realized - carried == int(trade.side) * (proceeds - trade.entry_cost)


def without_leverage(outcome: KernelOutcome) -> KernelOutcome:
    """The same with orders that do not say their leverage: all that it may touch."""
    effects = tuple(msgspec.structs.replace(effect, leverage=1) for effect in outcome.effects)
    return msgspec.structs.replace(outcome, effects=effects)


def with_leverage(record: Record, leverage: int) -> Record:
    """The same input at another exchange leverage, where it has a valid one."""
    if isinstance(record, KernelIntent) and 1 <= record.leverage <= 3:
        return msgspec.structs.replace(record, leverage=leverage)
    return record


@settings(max_examples=EXAMPLES // 4)
@given(st.sampled_from(CONFIGS), histories)
def test_money_is_conserved_and_free_of_leverage(config: KernelConfig, numbers: list[int]) -> None:
    books = Books(ExecutionKernel(config))
    world = World(books.kernel)
    other = ExecutionKernel(config)
    for record in inputs(world, numbers):
        if isinstance(record, tuple):
            continue
        outcome = books.apply(with_leverage(record, 1))
        assert without_leverage(other.apply(with_leverage(record, 3))) == without_leverage(outcome)
        world.hear(outcome)
        books.check()
        assert other.ledger() == books.kernel.ledger()
    assert other.trades() == books.kernel.trades()


@given(histories)
def test_first_balance_makes_k_the_wallet(numbers: list[int]) -> None:
    kernel = ExecutionKernel(KernelConfig(seen=64))
    world = World(kernel)
    for record in inputs(world, numbers):
        if isinstance(record, tuple):
            continue
        before = kernel.ledger()
        outcome = kernel.apply(record)
        world.hear(outcome)
        after = kernel.ledger()
        if after.seeded and not before.seeded:
            assert after.k_capital == after.wallet + after.bridged
        elif before.seeded:
            assert after.seed == before.seed
