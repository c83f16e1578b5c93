"""The kernel's rules once more: slow, plain Python, as one would explain them.

It is the second opinion that tests/test_kernel_model.py holds the compiled kernel to.  Nothing here
is summed up step by step: a trade's figures are worked out anew from its orders, the ledger's from
all trades.  Texts are ids, dicts and lists are tables, money is Python's integers; tables that run
full are not modelled, apart from the slots and the held events.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final, NamedTuple

import msgspec

from dita.contracts import (
    ENDED_STATUSES,
    BalanceReason,
    ControlAction,
    EffectKind,
    EvidenceSource,
    KernelCommandType,
    KernelDiagnosticCode,
    KernelEventKind,
    KernelIntent,
    OrderRole,
    OrderSide,
    OrderType,
    RejectReason,
    TradeRecord,
    TradeSide,
    TradeSlot,
    TradeStage,
    VenueEvent,
    VenueOrder,
    VenueOrderStatus,
)
from dita.kernel import KernelConfig
from dita.transitions import TRANSITIONS, Cell

Code = KernelDiagnosticCode
Command = KernelCommandType
Kind = KernelEventKind
Stage = TradeStage
Status = VenueOrderStatus
Record = KernelIntent | VenueEvent

MONEY_MAX: Final = 10**38
INT64_MAX: Final = 2**63 - 1
TIME_MAX: Final = 2**53
#: An exit goal of everything there is and will be.
ALL: Final = INT64_MAX
WEEK_MS: Final = 7 * 24 * 3600 * 1000
AMBIGUOUS_MS: Final = 2_000
STALE_EXIT_MS: Final = 2_000
RATE_LIMIT_MS: Final = 60_000
REJECTS_MAX: Final = 10
REJECT_WINDOW_MS: Final = 480_000
BACKOFF_MS: Final = 1_000
BACKOFF_MAX_MS: Final = 60_000
RECORD_LIMIT_MS: Final = 120_000
HELD_MAX: Final = 64
RECOVERY_MIN: Final = 16

FREEZE_BITS: Final = {
    "hold": 1,
    "drain": 2,
    "drift": 4,
    "wallet": 8,
    "recovery": 16,
    "pending": 32,
    "not ready": 64,
}
FILLS: Final = (Kind.PARTIAL_FILL, Kind.FULL_FILL)
CLOSES: Final = (Kind.LIQUIDATION, Kind.ADL)
ACCOUNT_FRAMES: Final = (
    Kind.ACCOUNT_UPDATE,
    Kind.FUNDING_FEE,
    Kind.TRANSFER,
    Kind.FOREIGN_FLOW,
)

#: Of several notes the first one here names the outcome.
LOUDEST_FIRST: Final = (
    KernelDiagnosticCode.OVERFILL,
    KernelDiagnosticCode.EXTERNAL_CLOSE,
    KernelDiagnosticCode.WALLET_EMPTY,
    KernelDiagnosticCode.RECOVERY_SLOT,
    KernelDiagnosticCode.FIGURE_DEVIATES,
    KernelDiagnosticCode.POSITION_DISAGREES,
    KernelDiagnosticCode.FOREIGN_EXCESS,
    KernelDiagnosticCode.EXIT_DEFERRED,
    KernelDiagnosticCode.DUST,
    KernelDiagnosticCode.RATE_LIMITED,
    KernelDiagnosticCode.VENUE_REJECTED,
    KernelDiagnosticCode.ORDER_UNKNOWN,
    KernelDiagnosticCode.CANCEL_REJECTED,
    KernelDiagnosticCode.REALIZED_SKIPPED_NO_PRICE,
    KernelDiagnosticCode.ENTRY_BASIS_MISSING,
    KernelDiagnosticCode.EXIT_LATCHED,
    KernelDiagnosticCode.EVENT_HELD,
    KernelDiagnosticCode.REALIZED_SETTLED,
    KernelDiagnosticCode.HELD_RELEASED,
    KernelDiagnosticCode.ROUTED_BY_STATE,
)


class Refused(Exception):
    """The input changes nothing, for this reason."""

    def __init__(self, code: Code, what: str = "") -> None:
        super().__init__(code.name, what)
        self.code = code
        self.what = what


class TableBroken(Exception):
    """The rules lead to a state that the transition table does not allow."""


class Effect(NamedTuple):
    """A request to the runtime."""

    kind: EffectKind
    slot: int = -1
    order_no: int = 0
    trade_no: int = 0
    quantity: int = 0
    price: int = 0
    realized: int = 0
    fees: int = 0


@dataclass
class ModelOutcome:
    """The answer to one input; ``trade_no`` 0: it was about no trade, there is no transition."""

    accepted: bool = False
    code: Code = Code.OK
    what: str = ""
    notes: set[Code] = field(default_factory=set)
    event_seq: int = 0
    slot: int = -1
    trade_no: int = 0
    order_no: int = 0
    before: Stage = Stage.IDLE
    after: Stage = Stage.IDLE
    quantity_delta: int = 0
    size: int = 0
    realized_delta: int = 0
    trueup_delta: int = 0
    fee_delta: int = 0
    leg: int = 0
    retry_after_ms: int = 0
    effects: tuple[Effect, ...] = ()


# -- arithmetic ------------------------------------------------------------------------------------


def share(amount: int, part: int, whole: int) -> int:
    """amount × part / whole, rounded half to even: the only rounding there is."""
    return amount if part == whole else round(Fraction(amount * part, whole))


def floor_to(quantity: int, step: int) -> int:
    """The greatest multiple of the step that is not above the quantity."""
    return quantity // step * step if step > 0 else quantity


def in_range(*amounts: int) -> None:
    """Refuse what the kernel could not store."""
    if any(abs(amount) > MONEY_MAX for amount in amounts):
        raise Refused(Code.ARITHMETIC_LIMIT)


def prefixes_in_range(amounts: Iterable[int]) -> bool:
    """True when a sum stays in range at every step of the way."""
    total = 0
    for amount in amounts:
        total += amount
        if abs(total) > MONEY_MAX:
            return False
    return True


def slot_count(slot_limit: int) -> int:
    """Slots that ENTER may use, and behind them those for trades that come back."""
    return slot_limit + RECOVERY_MIN + slot_limit // 4


def plain_symbol(text: str) -> str:
    """A hyphen makes no difference to a symbol."""
    return text.replace("-", "").upper()


# -- an order --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Level:
    """What is known of an order's fills, each figure with the rank of its source.

    cost: 0 partial, 1 average price × quantity, 2 sum of last fills, 3 order query, 4 fill history.
    fee: 0 none, 1 our estimate, 2 stream, 3 order query, 4 fill history.
    realized: 0 ours, 1 stream, 2 the venue's records; it covers ``figure_quantity``.
    """

    filled: int = 0
    priced: int = 0
    cost: int = 0
    cost_rank: int = 0
    fee: int = 0
    fee_rank: int = 0
    realized: int = 0
    realized_rank: int = 0
    figure_quantity: int = 0

    @property
    def known(self) -> bool:
        """The venue has told the realized of everything that is filled."""
        return self.realized_rank > 0 and self.figure_quantity == self.filled

    @property
    def priceless(self) -> bool:
        """Some of it is filled at a price that nobody told."""
        return self.priced < self.filled


@dataclass(eq=False)
class Order:
    """An order of the registry."""

    order_no: int
    trade: Trade
    role: OrderRole
    side: int
    intended: int
    kind: OrderType = OrderType.MARKET
    limit_price: int = 0
    intent_id: str = ""
    child: int = 0
    expires_ms: int = 0
    deadline_ms: int = 0
    venue_id: str = ""
    status: Status = Status.REQUESTED
    final: bool = False
    external: bool = False
    queried: bool = False  # its quantity came from a query: an increment may be in it
    unwanted: bool = False  # its cancel was asked for
    level: Level = Level()
    last_fill_ms: int = 0

    @property
    def ended(self) -> bool:
        """It cannot fill any more, as far as the venue has said."""
        return self.status in ENDED_STATUSES

    @property
    def terminal(self) -> bool:
        """Ended, and its final figures are in."""
        return self.ended and self.final


def live(order: Order | None) -> bool:
    """There is such an order and it has not ended."""
    return order is not None and not order.ended


# -- what an event does to an order's level --------------------------------------------------------


def level_after(order: Order, e: VenueEvent) -> tuple[Level, bool]:
    """The order's level after the event, and whether an external close took more than was ours.

    Refuses a duplicate: a lower quantity, or nothing that is greater or from a better source.
    """
    old = order.level
    reported = e.quantity_e8
    if e.increment:
        if order.queried:
            raise Refused(Code.DUPLICATE_EVENT)
        reported += old.filled
        if reported > INT64_MAX:
            raise Refused(Code.ARITHMETIC_LIMIT)
    elif e.kind is Kind.FILL_SETTLED and reported == 0:
        reported = old.filled
    filled = reported
    if order.external:
        filled = min(reported, old.filled + max(0, order.trade.figures.size))
    if filled < old.filled:
        raise Refused(Code.DUPLICATE_EVENT)
    if e.kind is Kind.FILL_SETTLED and filled > old.filled:
        # A settlement names a quantity whose fills, with their prices, are still on the way.
        new = replace(old, filled=filled, cost_rank=0)
    else:
        new = cost_after(old, e, reported, filled)
    new = fee_after(order, old, new, e, reported)
    new = realized_after(order, old, new, e, reported)
    if new == old:
        raise Refused(Code.DUPLICATE_EVENT)
    return new, filled < reported


def cost_after(old: Level, e: VenueEvent, reported: int, filled: int) -> Level:
    """Cost by the best of: what was known, a figure for the whole, the last fill added to it."""
    grown = filled - old.filled
    source_rank = {EvidenceSource.STREAM: 1, EvidenceSource.ORDER_QUERY: 3}.get(e.source, 4)
    whole = whole_rank = 0
    if not e.increment and e.cost is not None:
        if reported > 0:
            whole, whole_rank = share(e.cost, filled, reported), source_rank
    elif not e.increment and e.price_e10 > 0 and filled > 0:
        whole, whole_rank = e.price_e10 * filled, source_rank
    piece_quantity = e.quantity_e8 if e.increment else e.last_quantity_e8
    piece_price = e.price_e10 if e.increment else e.last_price_e10
    # A last fill helps only when it is exactly what is new, so that no fill is missing in between.
    fits = grown > 0 and piece_price > 0 and piece_quantity == reported - old.filled
    pieces = piece_rank = 0
    if fits:
        pieces = old.cost + piece_price * grown
        in_range(pieces)
        if not old.priceless:
            piece_rank = 2 if old.filled == 0 or old.cost_rank >= 2 else 1
    if fits and (piece_rank > whole_rank or whole_rank == 0):
        return replace(
            old, filled=filled, priced=old.priced + grown, cost=pieces, cost_rank=piece_rank
        )
    if whole_rank > 0 and (grown > 0 or whole_rank > old.cost_rank):
        return replace(old, filled=filled, priced=filled, cost=whole, cost_rank=whole_rank)
    return replace(old, filled=filled, cost_rank=0 if grown else old.cost_rank)


def fee_after(order: Order, old: Level, new: Level, e: VenueEvent, reported: int) -> Level:
    """The venue's fee when it is new or better, else our estimate for what it does not cover."""
    grown = new.filled > old.filled
    rank = {EvidenceSource.STREAM: 2, EvidenceSource.ORDER_QUERY: 3}.get(e.source, 4)
    if e.fee is not None and (grown or rank > old.fee_rank):
        fee = old.fee + e.fee if e.increment else part_of(e.fee, new.filled, reported)
        in_range(fee)
        return replace(new, fee=fee, fee_rank=rank)
    rules = order.trade.terms.contract
    assert rules is not None
    rate = rules.maker_fee_e9 if order.kind is OrderType.LIMIT else rules.taker_fee_e9
    if old.fee_rank <= 1:
        fee = share(new.cost, rate, 10**9)
        return replace(new, fee=fee, fee_rank=1 if fee else 0)
    more = new.cost - old.cost
    if grown and more > 0:
        fee = old.fee + share(more, rate, 10**9)
        in_range(fee)
        return replace(new, fee=fee, fee_rank=1)
    return new


def realized_after(order: Order, old: Level, new: Level, e: VenueEvent, reported: int) -> Level:
    """The venue's realized of an exit; the figure of an entry never repairs a leg."""
    rank = {EvidenceSource.STREAM: 1, EvidenceSource.INCOME: 3}.get(e.source, 2)
    if order.role is not OrderRole.EXIT or e.realized is None or new.filled == 0:
        return new
    amount = part_of(e.realized, new.filled, reported)
    if e.increment:
        if (old.realized_rank == 0 and old.filled > 0) or old.figure_quantity != old.filled:
            return new  # an increment on an unknown base is no level
        amount += old.realized
        in_range(amount)
    if new.filled > old.figure_quantity or rank > old.realized_rank:
        return replace(new, realized=amount, realized_rank=rank, figure_quantity=new.filled)
    return new


def part_of(amount: int, part: int, whole: int) -> int:
    """Of a figure for the whole, the share of the part that is ours."""
    return amount if part == whole or whole <= 0 else share(amount, part, whole)


# -- a trade's money -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figures:
    """Everything that follows from the levels of a trade's orders."""

    entered: int
    entry_priced: int
    entry_cost: int
    exited: int
    fees: int
    fees_estimated: int
    unsettled: int
    pending: int
    realized: int
    trueup: int
    size: int


@dataclass(frozen=True)
class Leaf:
    """One order's part of a trade's sums."""

    role: OrderRole
    level: Level


def exit_groups(leaves: Iterable[Leaf]) -> tuple[list[Level], list[Level], list[Level]]:
    """Exits booked from our own prices; of these the ones whose figure the venue told as well;
    and the price-less ones that are booked by the venue's figure."""
    own, both, theirs = [], [], []
    for leaf in leaves:
        if leaf.role is not OrderRole.EXIT:
            continue
        if leaf.level.known and leaf.level.priceless:
            theirs.append(leaf.level)
            continue
        own.append(leaf.level)
        if leaf.level.known:
            both.append(leaf.level)
    return own, both, theirs


class Trade:
    """A trade: its terms, its orders, and the figures that follow from them."""

    def __init__(self, trade_no: int, terms: KernelIntent) -> None:
        self.trade_no = trade_no
        self.terms = terms
        self.asset = plain_symbol(terms.asset)
        self.legs = terms.exit_leg_ratios_e9
        self.step = terms.contract.step_e8 if terms.contract else 0
        self.orders: list[Order] = []
        self.adopted: Level | None = None
        self.carried = 0
        self.slot: int | None = None
        self.last_slot = -1
        self.flat_ms = 0
        self.fed = False
        self.closed = False
        self.returned = 0  # more went out than came in, and the venue is flat: others closed it
        self.figures = self.figures_of(self.leaves())

    def leaves(self, without: Order | None = None) -> list[Leaf]:
        """What each order contributes, and the position that was adopted, which counts as entry."""
        found = [Leaf(o.role, o.level) for o in self.orders if o is not without]
        if self.adopted is not None:
            found.append(Leaf(OrderRole.ENTRY, self.adopted))
        return found

    def recompute(self) -> None:
        """After any change of a level."""
        self.figures = self.figures_of(self.leaves())

    def figures_of(self, leaves: list[Leaf]) -> Figures:
        """The figures as a pure function of levels; arrival order cannot matter."""
        entries = [leaf.level for leaf in leaves if leaf.role is OrderRole.ENTRY]
        exits = [leaf.level for leaf in leaves if leaf.role is OrderRole.EXIT]
        own, both, theirs = exit_groups(leaves)
        entered = sum(level.filled for level in entries)
        entry_priced = sum(level.priced for level in entries)
        entry_cost = sum(level.cost for level in entries)
        exited = sum(level.filled for level in exits)

        def ours(group: list[Level]) -> int:
            return self.pnl(
                entered,
                entry_priced,
                entry_cost,
                exited,
                sum(level.priced for level in group),
                sum(level.cost for level in group),
            )

        based = entry_priced >= entered
        said = sum(level.realized for level in theirs)
        told = sum(level.realized for level in both)
        return Figures(
            entered=entered,
            entry_priced=entry_priced,
            entry_cost=entry_cost,
            exited=exited,
            fees=sum(leaf.level.fee for leaf in leaves),
            fees_estimated=sum(leaf.level.fee for leaf in leaves if leaf.level.fee_rank == 1),
            unsettled=sum(level.priceless and not level.known for level in exits),
            pending=sum(level.filled > 0 and not level.known for level in exits),
            # Without a basis our prices book nothing, and what the venue says is booked as it is.
            realized=self.carried + said + (ours(own) if based else told),
            trueup=told - ours(both) if based else 0,
            size=entered - exited + self.returned,
        )

    def pnl(
        self,
        entered: int,
        priced: int,
        entry_cost: int,
        all_exited: int,
        exited: int,
        proceeds: int,
    ) -> int:
        """side × (proceeds − entry cost × exited / entered), free of fees and of leverage.

        Without a price for every entry there is no basis and exits book nothing.  When more went
        out than came in, only the matched part counts.
        """
        if entered <= 0 or priced < entered or exited == 0:
            return 0
        whole = entered
        if all_exited > entered:
            whole = all_exited
            proceeds = share(proceeds, entered, all_exited)
        return int(self.terms.side) * (proceeds - share(entry_cost, exited, whole))

    def pnl_of(self, level: Level) -> int:
        """Our own figure for one exit."""
        f = self.figures
        return self.pnl(f.entered, f.entry_priced, f.entry_cost, f.exited, level.filled, level.cost)

    @property
    def open_orders(self) -> int:
        """Orders that may still change the figures."""
        return sum(not order.final for order in self.orders)

    @property
    def booked(self) -> int:
        """What this trade has put into K; what was carried in was never K's."""
        return self.figures.realized - self.carried


def sums_in_range(before: list[Leaf], after: list[Leaf], trade: Trade) -> None:
    """Refuse when a sum of the trade leaves the range.  ``before`` lacks the changed order."""
    for leaves in (before, after):
        own, both, theirs = exit_groups(leaves)
        entries = [leaf.level for leaf in leaves if leaf.role is OrderRole.ENTRY]
        in_range(
            sum(leaf.level.fee for leaf in leaves),
            sum(leaf.level.fee for leaf in leaves if leaf.level.fee_rank == 1),
            sum(level.cost for level in entries),
            sum(level.cost for level in own),
            sum(level.realized for level in both),
            sum(level.realized for level in theirs),
        )
    entered = sum(leaf.level.filled for leaf in after if leaf.role is OrderRole.ENTRY)
    exited = sum(leaf.level.filled for leaf in after if leaf.role is OrderRole.EXIT)
    if max(entered, exited) > INT64_MAX:
        raise Refused(Code.ARITHMETIC_LIMIT)
    figures = trade.figures_of(after)
    in_range(figures.realized - trade.carried, figures.realized, figures.trueup)


# -- slots and the ledger --------------------------------------------------------------------------


@dataclass(eq=False)
class Slot:
    """A slot in use."""

    index: int
    trade: Trade
    state: Stage = Stage.IDLE
    entry_order: Order | None = None
    exit_order: Order | None = None
    stale: bool = False
    dust: bool = False
    recovery: bool = False
    leg: int = 0
    leg_before: int = 0
    latched: bool = False
    goal: int = 0  # exited quantity that the latch wants to see
    start: int = 0  # exited quantity when the leg was asked for
    exit_intent: str = ""
    next_child: int = 0
    exit_kind: OrderType = OrderType.MARKET
    exit_price: int = 0
    exit_wait_ms: int = 0
    retry_ms: int = 0
    rejects: int = 0
    reject_window_ms: int = 0
    stale_ms: int = 0
    last_fill_ms: int = 0
    proven: int = 0
    mark: int = 0

    def drop_latch(self) -> None:
        """The exit is done with, or taken back."""
        self.latched, self.goal, self.retry_ms = False, 0, 0

    @property
    def outstanding(self) -> bool:
        """An exit was asked for and something of it is still to go out."""
        f = self.trade.figures
        return self.latched and f.size > 0 and (self.goal == ALL or f.exited < self.goal)

    def state_now(self) -> Stage:
        """The state follows from the facts; no event ever sets it."""
        size = self.trade.figures.size
        if self.stale or size < 0:
            return Stage.STALE_STATE_RECONCILING
        if live(self.exit_order) or self.outstanding:
            return Stage.EXIT_WORKING
        if live(self.entry_order):
            return Stage.ENTRY_WORKING
        if size > 0:
            return Stage.POSITION_OPEN
        return Stage.CLOSED if self.trade.open_orders else Stage.IDLE


def expires(i: KernelIntent) -> bool:
    """What adds risk, or repairs on a view of then; an exit, a mark and a hold do not expire."""
    if i.command is Command.CONTROL:
        return i.action in (ControlAction.RESUME, ControlAction.REBASE, ControlAction.LIMIT)
    return i.command not in (Command.EXIT, Command.MARK_PRICE)


class Flow(NamedTuple):
    """Money that moved the account, at the exchange's time."""

    exchange_ms: int
    amount: int


@dataclass
class Anchor:
    """The newest balance of the exchange."""

    wallet: int
    available_margin: int
    ms: int
    from_ms: int
    received_ms: int
    reason: BalanceReason
    quiet: bool

    def place(self, exchange_ms: int) -> str:
        """Is a flow of this time after the balance, too near to tell, or held in it?"""
        if exchange_ms > self.ms + AMBIGUOUS_MS:
            return "after"
        return "near" if exchange_ms >= self.from_ms - AMBIGUOUS_MS else "held"


# -- the kernel ------------------------------------------------------------------------------------


class KernelModel:
    """The whole kernel.  ``apply`` answers one record; the views compare with the real one."""

    def __init__(self, config: KernelConfig) -> None:
        self.config = config
        self.slots: list[Slot | None] = [None] * slot_count(config.slot_limit)
        self.trades_by_no: list[Trade] = []
        self.orders: list[Order] = []
        self.clients: dict[str, Order] = {}
        self.held: list[VenueEvent] = []
        self.seen: list[set[str]] = [set(), set()]
        self.seen_now = 0
        self.foreign: dict[tuple[str, bool], int] = {}  # by symbol, and in hedge mode by side
        self.frozen: set[str] = set()
        self.held_symbols: set[str] = set()
        self.symbol_texts: dict[str, str] = {}
        self.now_ms = 0
        self.event_seq = 0
        self.seed = config.seed
        self.seeded = False
        self.anchor: Anchor | None = None
        self.flows: list[Flow] = []
        self.funding = self.transfers = self.adjustments = self.foreign_sum = 0
        self.income_from_ms = self.income_read_ms = 0
        self.peak = 0
        self.flow_total = 0
        self.routed_by_state = 0
        self.last_fill_ms = 0
        self._answer = ModelOutcome()
        self._effects: list[Effect] = []

    # -- one input ---------------------------------------------------------------------------------

    def apply(self, record: Record) -> ModelOutcome:
        """Apply one input.  TableBroken when the transition table forbids what the rules do."""
        self._answer = answer = ModelOutcome()
        self._effects = []
        try:
            if isinstance(record, KernelIntent):
                check_intent(record, len(self.slots))
                self._command(record)
            else:
                check_event(record, len(self.slots), self.clients)
                self._event(record)
        except Refused as refused:
            assert not answer.accepted, "a refusal after the first write"
            return ModelOutcome(
                code=refused.code,
                what=refused.what,
                event_seq=self.event_seq,
                effects=tuple(self._effects),
            )
        assert answer.accepted
        if isinstance(record, KernelIntent) and record.asset:
            self.symbol_texts[plain_symbol(record.asset)] = record.asset  # the newest spelling
        answer.code = next((code for code in LOUDEST_FIRST if code in answer.notes), Code.OK)
        answer.event_seq = self.event_seq
        answer.effects = tuple(self._effects)
        return answer

    def _event(self, e: VenueEvent) -> None:
        if e.kind is Kind.ACCOUNT_UPDATE:
            self._balance(e)
        elif e.kind is Kind.FOREIGN_FLOW:
            self._foreign_flow(e)
        elif e.kind is Kind.INCOME_READ:
            self._income_read(e)
        elif e.kind in ACCOUNT_FRAMES:
            self._account_flow(e)
        elif e.kind is Kind.TICK:
            self._tick(e)
        elif e.kind is Kind.POSITION:
            self._position(e)
        else:
            self._order_event(e)

    def _accept(self, record: Record) -> None:
        """The point of no return.  Time never runs backwards."""
        if not self._answer.accepted:
            self._answer.accepted = True
            self.event_seq += 1
            self.now_ms = max(self.now_ms, record.received_ms)

    def _note(self, code: Code) -> None:
        self._answer.notes.add(code)

    def _ask(self, kind: EffectKind, slot: int | None, order: Order) -> None:
        order.unwanted |= kind is EffectKind.CANCEL
        self._effects.append(
            Effect(kind, -1 if slot is None else slot, order.order_no, order.trade.trade_no)
        )

    # -- duplicates --------------------------------------------------------------------------------

    def _was_seen(self, text: str) -> bool:
        return text != "" and (text in self.seen[0] or text in self.seen[1])

    def _remember(self, text: str) -> None:
        """Two generations; when the younger is full the older one is forgotten."""
        if text == "":
            return
        if len(self.seen[self.seen_now]) >= self.config.seen:
            self.seen_now = 1 - self.seen_now
            self.seen[self.seen_now] = set()
        self.seen[self.seen_now].add(text)

    # -- finding -----------------------------------------------------------------------------------

    def _used(self) -> list[Slot]:
        return [slot for slot in self.slots if slot is not None]

    def _slot_of_asset(self, asset: str, side: int = 0) -> Slot | None:
        for slot in self._used():
            if slot.trade.asset == plain_symbol(asset) and side in (0, slot.trade.terms.side):
                return slot
        return None

    def _slot_of_trade(self, trade_id: str) -> Slot | None:
        return next((s for s in self._used() if s.trade.terms.trade_id == trade_id), None)

    def _slot_at(self, trade: Trade) -> Slot | None:
        return None if trade.slot is None else self.slots[trade.slot]

    def _order_of_venue(self, venue_id: str) -> Order | None:
        if not venue_id:
            return None
        return next((o for o in reversed(self.orders) if o.venue_id == venue_id), None)

    def _order_by_ids(self, e: VenueEvent) -> Order | None:
        """By venue id, then by client id.  Ids of two orders, or a second venue id: a conflict."""
        by_venue = self._order_of_venue(e.venue_order_id)
        by_client = self.clients.get(e.client_order_id)
        if by_venue is not None:
            if by_client is not None and by_client is not by_venue:
                raise Refused(Code.INVALID_EVENT, "order")
            return by_venue
        if by_client is not None and e.venue_order_id and by_client.venue_id:
            raise Refused(Code.INVALID_EVENT, "order")
        return by_client

    def _unanswered_submit(self, asset: str) -> bool:
        """Some live order on the symbol has no venue id yet: an unknown id may be its own."""
        return any(
            order is not None and live(order) and not order.venue_id
            for slot in self._used()
            if slot.trade.asset == plain_symbol(asset)
            for order in (slot.entry_order, slot.exit_order)
        )

    # -- order events: routing ---------------------------------------------------------------------

    def _order_event(self, e: VenueEvent) -> None:
        if not e.venue_order_id and not e.client_order_id:
            self._without_ids(e)
            return
        order = self._order_by_ids(e)
        if order is None:
            self._unmatched(e)
            return
        self._to_order(e, order)
        self._release_held(order.trade.asset)

    def _to_order(self, e: VenueEvent, order: Order) -> None:
        trade = order.trade
        slot = self._slot_at(trade)
        state = slot.state if slot else Stage.IDLE
        cell = TRANSITIONS[state, Kind.PARTIAL_FILL if e.kind in CLOSES else e.kind]
        if e.asset and plain_symbol(e.asset) != trade.asset:
            raise Refused(Code.INVALID_EVENT, "asset")
        if e.side and e.side != order.side:
            raise Refused(Code.INVALID_EVENT, "side")
        if e.increment and not e.event_id:
            raise Refused(Code.INVALID_EVENT, "event_id")  # it could be counted twice
        if e.increment and self._was_seen(e.event_id):
            raise Refused(Code.DUPLICATE_EVENT)
        answer = self._answer
        if not answer.trade_no:
            answer.slot = -1 if slot is None else slot.index
            answer.trade_no, answer.order_no = trade.trade_no, order.order_no
            answer.before, answer.leg = state, slot.leg if slot else 0
        rules: dict[str, Callable[[VenueEvent, Order], None]] = {
            "ack": self._ack,
            "fill": self._fill,
            "end": self._end,
            "cancel_reject": self._cancel_reject,
            "reject": self._reject,
            "unknown": self._unknown,
            "rate_limited": self._rate_limited,
            "final": self._final,
            "absent": self._absent,
            "settled": self._settled,
        }
        rules[cell.rule](e, order)
        if trade.slot is None:
            self._settle_detached(trade)
        else:
            self._settle_slot(trade.slot)
        self._hold_to_table(cell, trade)

    def _hold_to_table(self, cell: Cell, trade: Trade) -> None:
        slot = self._slot_at(trade)
        self._answer.after = slot.state if slot else Stage.IDLE
        if self._answer.after not in cell.next_states:
            raise TableBroken(self._answer.before.name, cell.rule, self._answer.after.name)

    def _without_ids(self, e: VenueEvent) -> None:
        """Only an event that carries no id at all is routed by the slot's state."""
        if e.kind in CLOSES:
            self._unmatched(e)
            return
        slot = self.slots[e.slot_id] if e.slot_id >= 0 else self._slot_of_asset(e.asset)
        if slot is None:
            raise Refused(Code.INVALID_TRANSITION if e.slot_id >= 0 else Code.UNRESOLVED_SLOT)
        if slot.state is Stage.CLOSED:
            raise Refused(Code.TERMINAL_STATE)
        for order in (slot.exit_order, slot.entry_order):
            if order is not None and not order.ended and e.side in (0, order.side):
                self._to_order(e, order)
                self._note(Code.ROUTED_BY_STATE)
                self.routed_by_state += 1
                self._release_held(order.trade.asset)
                return
        raise Refused(Code.UNRESOLVED_SLOT)

    def _unmatched(self, e: VenueEvent) -> None:
        """Not ours until proven: held while a submit is unanswered, or a close by somebody else."""
        closes = e.kind in CLOSES
        if not closes and self._unanswered_submit(e.asset):
            if len(self.held) == HELD_MAX:
                self._effects.append(Effect(EffectKind.QUERY_POSITION))
                raise Refused(Code.LIMIT_REACHED)
            self._accept(e)
            # A client id that is not known now belongs to nobody, whatever is submitted later.
            self.held.append(msgspec.structs.replace(e, client_order_id=""))
            self._note(Code.EVENT_HELD)
            return
        if (closes or e.kind in FILLS) and e.side:
            slot = self._slot_of_asset(e.asset, -e.side)
            if slot is not None:
                self._close_by_others(e, slot)
                return
            if closes:
                raise Refused(Code.NO_POSITION)
        raise Refused(Code.UNRESOLVED_SLOT)

    def _release_held(self, asset: str) -> None:
        """After an answer on a symbol: what was held is an order's, or is proven not to be ours."""
        at = 0
        while at < len(self.held):
            e = self.held[at]
            try:
                order = self._order_by_ids(e)
            except Refused:
                order = None  # its ids now name two orders: nobody's, as long as that is so
            if plain_symbol(e.asset) != asset or (order is None and self._unanswered_submit(asset)):
                at += 1
                continue
            del self.held[at]
            self._note(Code.HELD_RELEASED)
            e = msgspec.structs.replace(e, received_ms=self.now_ms)
            try:
                if order is not None:
                    self._to_order(e, order)
                else:
                    self._unmatched(e)
            except Refused:
                pass  # then it was nothing new
            at = 0

    # -- order events: levels ----------------------------------------------------------------------

    def _change(self, order: Order, e: VenueEvent) -> tuple[Level, bool]:
        """The new level, after checking that all money that follows from it is in range."""
        new, excess = level_after(order, e)
        trade = order.trade
        others = trade.leaves(without=order)
        after = [*others, Leaf(order.role, new)]
        sums_in_range(others, after, trade)
        now = trade.figures_of(after)
        was = trade.figures
        realized, trueup = now.realized - was.realized, now.trueup - was.trueup
        fees = now.fees - was.fees
        flow = realized + trueup - fees
        in_range(realized, trueup, fees)
        in_range(realized + trueup, flow, self.bridged + flow, self.ambiguous + flow)
        in_range(self.realized + realized, self.trueup + trueup, self.fees + fees)
        if not trade.closed:
            in_range(self.fees_estimated + now.fees_estimated - was.fees_estimated)
        if new.filled > order.level.filled and trade.slot is None and not self._home(trade):
            raise Refused(Code.LIMIT_REACHED)
        return new, excess

    def _change_if_any(self, order: Order, e: VenueEvent) -> tuple[Level, bool] | None:
        """For an event that is not only a fill: "nothing new" is no refusal."""
        if not e.quantity_e8 and e.cost is None and e.fee is None and e.realized is None:
            return None
        try:
            return self._change(order, e)
        except Refused as refused:
            if refused.code is Code.DUPLICATE_EVENT:
                return None
            raise

    def _write(self, order: Order, e: VenueEvent, change: tuple[Level, bool]) -> None:
        new, excess = change
        trade, answer = order.trade, self._answer
        slot = self._slot_at(trade)
        was, before = trade.figures, order.level
        grown = new.filled > before.filled
        order.level = new
        if grown and order.role is OrderRole.ENTRY:
            trade.returned = max(0, trade.returned - (new.filled - before.filled))
        trade.recompute()
        now = trade.figures
        if grown:
            order.last_fill_ms = e.exchange_ms or e.received_ms
            self.last_fill_ms = max(self.last_fill_ms, order.last_fill_ms)
            answer.quantity_delta += new.filled - before.filled
        realized, trueup = now.realized - was.realized, now.trueup - was.trueup
        fees = now.fees - was.fees
        self._flow(order.last_fill_ms, realized + trueup - fees)
        answer.realized_delta += realized
        answer.trueup_delta += trueup
        answer.fee_delta += fees
        self._notes_on(order, was, grown, excess)
        if e.increment:
            self._remember(e.event_id)
        if e.source is not EvidenceSource.STREAM:
            order.queried = True
        if not grown:
            return
        if order.final:
            order.final = False  # the venue contradicts its final figures: ask again
            self._ask(EffectKind.FINALISE, trade.slot, order)
        if slot is not None:
            slot.last_fill_ms = max(slot.last_fill_ms, order.last_fill_ms)
            if order.role is OrderRole.EXIT and slot.proven > 0:
                # What went out is no longer there to be sold a second time.
                slot.proven = max(0, slot.proven - (new.filled - before.filled))
            if new.filled > order.intended and not order.external:
                self._go_stale(slot)

    def _notes_on(self, order: Order, was: Figures, grown: bool, excess: bool) -> None:
        level, trade, now = order.level, order.trade, order.trade.figures
        is_exit = order.role is OrderRole.EXIT
        if now.unsettled < was.unsettled:
            self._note(Code.REALIZED_SETTLED)
        if excess:
            self._note(Code.FOREIGN_EXCESS)
        if is_exit and level.priceless and not level.known:
            self._note(Code.REALIZED_SKIPPED_NO_PRICE)
        if now.entry_priced < now.entered:
            self._note(Code.ENTRY_BASIS_MISSING)
        if grown and not order.external and level.filled > order.intended:
            self._note(Code.OVERFILL)
        told = is_exit and level.realized_rank > 0 and not level.priceless
        if told and now.trueup != was.trueup:
            ours = trade.pnl_of(level)
            tolerance = max(self.config.figure_tolerance, share(abs(ours), 1, 100))
            if abs(level.realized - ours) > tolerance:
                self._note(Code.FIGURE_DEVIATES)

    # -- order events: rules -----------------------------------------------------------------------

    def _bind(self, order: Order, venue_id: str) -> None:
        order.venue_id = order.venue_id or venue_id

    @staticmethod
    def _tells_venue_id(order: Order, e: VenueEvent) -> bool:
        """News even when nothing else is: later events may carry only this id."""
        return e.venue_order_id != "" and not order.venue_id

    def _answers(self, order: Order, e: VenueEvent) -> bool:
        """An event that changes no level can still be the first sign that the order is there."""
        waits = order.status in (Status.REQUESTED, Status.UNKNOWN)
        return self._tells_venue_id(order, e) or waits

    def _or_ack(self, order: Order, e: VenueEvent) -> tuple[Level, bool] | None:
        """The change; None when there is nothing new but the venue id, which is taken."""
        try:
            return self._change(order, e)
        except Refused as refused:
            duplicate = refused.code is Code.DUPLICATE_EVENT
            if duplicate and self._answers(order, e) and not e.increment:
                self._ack(e, order)
                return None
            raise

    def _answered(self, order: Order) -> None:
        if order.status in (Status.REQUESTED, Status.UNKNOWN):
            order.status = Status.WORKING

    def _end_if_full(self, order: Order) -> None:
        """Full is decided on quantity, never on the event's name."""
        if not order.ended and order.level.filled >= order.intended:
            order.status = Status.FILLED
            self._ask(EffectKind.FINALISE, order.trade.slot, order)

    def _ack(self, e: VenueEvent, order: Order) -> None:
        change = self._change_if_any(order, e)
        binds = self._tells_venue_id(order, e)
        if not change and not binds and (order.ended or order.status is Status.WORKING):
            raise Refused(Code.DUPLICATE_EVENT)
        self._accept(e)
        self._bind(order, e.venue_order_id)
        self._answered(order)
        if change:
            self._write(order, e, change)
            self._end_if_full(order)

    def _fill(self, e: VenueEvent, order: Order) -> None:
        if e.quantity_e8 == 0:
            raise Refused(Code.INVALID_EVENT, "quantity_e8")
        change = self._or_ack(order, e)
        if change is None:
            return
        self._accept(e)
        self._bind(order, e.venue_order_id)
        self._answered(order)
        self._write(order, e, change)
        self._end_if_full(order)
        if e.kind is Kind.FULL_FILL and not order.ended:
            self._ask(EffectKind.QUERY_ORDER, order.trade.slot, order)
        if e.kind in CLOSES or order.external:
            self._note(Code.EXTERNAL_CLOSE)

    def _end(self, e: VenueEvent, order: Order) -> None:
        """Cancelled or expired.  A fill may still come; the final figures are asked for."""
        change = self._change_if_any(order, e)
        if order.ended and not change and not self._tells_venue_id(order, e):
            raise Refused(Code.DUPLICATE_EVENT)
        self._accept(e)
        self._bind(order, e.venue_order_id)
        if change:
            self._write(order, e, change)
            self._end_if_full(order)
        if not order.ended:
            order.status = Status.CANCELLED if e.kind is Kind.CANCEL_ACK else Status.EXPIRED
            self._ask(EffectKind.FINALISE, order.trade.slot, order)

    def _cancel_reject(self, e: VenueEvent, order: Order) -> None:
        """A cancel answer proves nothing."""
        self._must_live(order)
        self._accept(e)
        self._note(Code.CANCEL_REJECTED)
        self._ask(EffectKind.QUERY_ORDER, order.trade.slot, order)

    def _must_live(self, order: Order) -> None:
        if order.ended:
            raise Refused(Code.DUPLICATE_EVENT)

    def _reject(self, e: VenueEvent, order: Order) -> None:
        self._must_live(order)
        self._accept(e)
        self._note(Code.VENUE_REJECTED)
        worked = order.status is Status.WORKING or order.level.filled > 0 or order.venue_id != ""
        order.status = Status.REJECTED
        if worked:
            self._ask(EffectKind.FINALISE, order.trade.slot, order)
        else:
            order.final = True
        slot = self._slot_at(order.trade)
        if slot is None or slot.exit_order is not order:
            return
        if e.reject is RejectReason.POSITION_MISMATCH:
            self._go_stale(slot)  # find out before any retry
        elif e.reject is RejectReason.BELOW_MINIMUM:
            slot.drop_latch()
            slot.dust = True
            self._note(Code.DUST)
        else:
            self._back_off(slot)

    def _back_off(self, slot: Slot) -> None:
        """1, 2, 4 … 60 s; after ten rejects in a window, when the window is over."""
        if not slot.rejects or self.now_ms - slot.reject_window_ms >= REJECT_WINDOW_MS:
            slot.rejects, slot.reject_window_ms = 0, self.now_ms
        slot.rejects += 1
        if slot.rejects >= REJECTS_MAX:
            slot.retry_ms = slot.reject_window_ms + REJECT_WINDOW_MS
        else:
            slot.retry_ms = self.now_ms + min(BACKOFF_MS * 2 ** (slot.rejects - 1), BACKOFF_MAX_MS)

    def _unknown(self, e: VenueEvent, order: Order) -> None:
        """Unknown counts as live until evidence settles it."""
        if order.ended or order.status is Status.UNKNOWN:
            raise Refused(Code.DUPLICATE_EVENT)
        self._accept(e)
        self._bind(order, e.venue_order_id)
        order.status = Status.UNKNOWN
        self._note(Code.ORDER_UNKNOWN)
        self._ask(EffectKind.QUERY_ORDER, order.trade.slot, order)

    def _rate_limited(self, e: VenueEvent, order: Order) -> None:
        """Of a submit: proven not executed.  The entry is dropped, the exit waits."""
        self._must_live(order)
        self._accept(e)
        self._note(Code.RATE_LIMITED)
        self._answer.retry_after_ms = e.retry_after_ms
        if order.status is not Status.REQUESTED or order.level.filled:
            return
        order.status, order.final = Status.REJECTED, True
        slot = self._slot_at(order.trade)
        if order.role is OrderRole.EXIT and slot is not None:
            slot.retry_ms = self.now_ms + (e.retry_after_ms or RATE_LIMIT_MS)

    def _final(self, e: VenueEvent, order: Order) -> None:
        """The end from the venue's own records; after this the order is terminal."""
        if e.quantity_e8 < order.level.filled and not order.external:
            raise Refused(Code.INVALID_EVENT, "quantity_e8")
        change = self._change_if_any(order, e)
        if order.final and not change and not self._tells_venue_id(order, e):
            raise Refused(Code.DUPLICATE_EVENT)
        self._accept(e)
        self._bind(order, e.venue_order_id)
        if change:
            self._write(order, e, change)
        if not order.ended:
            full = order.level.filled >= order.intended
            order.status = Status.FILLED if full else Status.CANCELLED
        order.final = True

    def _absent(self, e: VenueEvent, order: Order) -> None:
        """Proven never to have reached the book; an entry is sent again while its time lasts."""
        self._must_live(order)
        if order.level.filled or order.venue_id:
            raise Refused(Code.INVALID_EVENT, "order")
        self._accept(e)
        order.status, order.final = Status.ABSENT, True
        slot = self._slot_at(order.trade)
        if order.role is not OrderRole.ENTRY or slot is None or order.expires_ms <= self.now_ms:
            return
        if slot.latched or self.frozen or order.unwanted:
            return
        again = self._new_order(order.trade, OrderRole.ENTRY, order.intended)
        again.intent_id, again.child = order.intent_id, order.child + 1
        again.kind, again.limit_price = order.kind, order.limit_price
        again.expires_ms = order.expires_ms
        slot.entry_order = again
        self._submit(slot, again)

    def _settled(self, e: VenueEvent, order: Order) -> None:
        """The venue's realized and fee of an order; zero is a valid settlement."""
        if e.realized is None and e.fee is None:
            raise Refused(Code.INVALID_EVENT, "money")
        change = self._or_ack(order, e)
        if change is None:
            return
        self._accept(e)
        self._bind(order, e.venue_order_id)
        self._answered(order)
        self._write(order, e, change)
        self._end_if_full(order)

    def _close_by_others(self, e: VenueEvent, slot: Slot) -> None:
        """Liquidation, ADL or a close by hand: booked to our trade up to what is left of it."""
        cell = TRANSITIONS[slot.state, Kind.LIQUIDATION]
        if cell.rule == "refuse":
            raise Refused(cell.refusal)
        trade, answer = slot.trade, self._answer
        answer.slot, answer.before, answer.trade_no = slot.index, slot.state, trade.trade_no
        if e.quantity_e8 == 0:
            raise Refused(Code.INVALID_EVENT, "quantity_e8")
        if trade.figures.size <= 0:
            raise Refused(Code.NO_POSITION)
        if not e.event_id and not e.venue_order_id:
            raise Refused(Code.INVALID_EVENT, "event_id")
        if self._was_seen(e.event_id):
            raise Refused(Code.DUPLICATE_EVENT)
        draft = Order(0, trade, OrderRole.EXIT, -trade.terms.side, 0, external=True)
        change = self._change(draft, e)
        self._accept(e)
        order = self._new_order(trade, OrderRole.EXIT, change[0].filled)
        order.external = True
        self._bind(order, e.venue_order_id)
        answer.order_no = order.order_no
        self._write(order, e, change)
        order.status = Status.FILLED
        if order.venue_id:
            self._ask(EffectKind.FINALISE, slot.index, order)
        else:
            order.final = True  # no id to ask about: the event is all there is
        self._remember(e.event_id)
        self._note(Code.EXTERNAL_CLOSE)
        self._go_stale(slot)
        self._settle_slot(slot.index)
        self._hold_to_table(cell, trade)

    # -- slots -------------------------------------------------------------------------------------

    def _go_stale(self, slot: Slot) -> None:
        """In doubt: nothing new is risked until the venue's position agrees."""
        if not slot.stale:
            slot.stale, slot.stale_ms = True, self.now_ms
            slot.proven = slot.trade.figures.size
        self._effects.append(Effect(EffectKind.QUERY_POSITION, slot.index, 0, slot.trade.trade_no))

    def _new_order(self, trade: Trade, role: OrderRole, quantity: int) -> Order:
        side = int(trade.terms.side) if role is OrderRole.ENTRY else -int(trade.terms.side)
        order = Order(len(self.orders) + 1, trade, role, side, quantity)
        self.orders.append(order)
        trade.orders.append(order)
        return order

    def _submit(self, slot: Slot, order: Order) -> None:
        self.clients[self.client_id(order)] = order
        self._effects.append(
            Effect(
                EffectKind.SUBMIT,
                slot.index,
                order.order_no,
                order.trade.trade_no,
                order.intended,
                order.limit_price,
            )
        )

    def _settle_slot(self, index: int) -> None:
        """Bring a slot in line with its facts, after every change."""
        slot = self.slots[index]
        assert slot is not None
        trade = slot.trade
        figures = trade.figures
        finite = slot.latched and slot.goal != ALL
        if finite and figures.exited >= slot.goal and not live(slot.exit_order):
            slot.drop_latch()  # "all" stays latched: a late entry fill has to go out too
        self._plan_exit(slot)
        if figures.size != 0 or figures.entered == 0:
            trade.flat_ms = 0
        elif trade.flat_ms == 0:
            trade.flat_ms = self.now_ms
            if slot.exit_order is not None and live(slot.exit_order):
                self._ask(EffectKind.CANCEL, index, slot.exit_order)
        self._answer.size = figures.size
        if trade.flat_ms:
            self._feed_sizer(trade)
        slot.state = slot.state_now()
        if slot.state is Stage.STALE_STATE_RECONCILING and not slot.stale:
            self._go_stale(slot)
        if slot.state is Stage.IDLE:
            self.slots[index], trade.slot = None, None
            self._close_record(trade)
            if not any(other.recovery for other in self._used()):
                self.frozen.discard("recovery")

    def _exit_may_go(self, slot: Slot) -> bool:
        """One live exit at a time, and a new one only when the old one's last word is in."""
        if not slot.outstanding or slot.retry_ms > self.now_ms:
            return False
        old = slot.exit_order
        if old is not None and not old.ended:
            return False
        if old is not None and not old.final and old.level.filled < old.intended:
            return False
        return not slot.stale or self.now_ms - slot.stale_ms >= STALE_EXIT_MS

    def _plan_exit(self, slot: Slot) -> None:
        if not self._exit_may_go(slot):
            return
        left = slot.trade.figures.size
        quantity = left
        if slot.goal != ALL:
            quantity = min(quantity, slot.goal - slot.trade.figures.exited)
        if slot.stale:
            quantity = min(quantity, slot.proven)
        if quantity < left:
            quantity = floor_to(quantity, slot.trade.step)
        if quantity <= 0:
            if not slot.stale:
                slot.drop_latch()
            return
        order = self._new_order(slot.trade, OrderRole.EXIT, quantity)
        slot.exit_order = order
        order.kind, order.limit_price = slot.exit_kind, slot.exit_price
        order.intent_id, order.child = slot.exit_intent, slot.next_child
        slot.next_child += 1
        if slot.exit_wait_ms:
            order.deadline_ms = self.now_ms + slot.exit_wait_ms
        self._submit(slot, order)
        # The first child is worked as asked; what has to be sent again goes as MARKET.
        slot.exit_kind, slot.exit_price, slot.exit_wait_ms = OrderType.MARKET, 0, 0
        slot.dust = False

    def _feed_sizer(self, trade: Trade) -> None:
        """Once per trade, at flat; a leg without money waits for its figure, or for the limit."""
        f = trade.figures
        if trade.fed or f.size != 0 or f.exited == 0:
            return
        may_fill = any(
            o.role is OrderRole.ENTRY
            and not o.terminal
            and (not o.ended or o.level.filled < o.intended)
            for o in trade.orders
        )
        waits = f.unsettled > 0 or (f.pending > 0 and f.entry_priced < f.entered) or may_fill
        if waits and self.now_ms - trade.flat_ms < RECORD_LIMIT_MS:
            return
        trade.fed = True
        self._tell(EffectKind.FEED_SIZER, trade)

    def _tell(self, kind: EffectKind, trade: Trade) -> None:
        f = trade.figures
        self._effects.append(
            Effect(kind, trade.last_slot, 0, trade.trade_no, 0, 0, f.realized, f.fees)
        )

    def _close_record(self, trade: Trade) -> None:
        """The record of a trade closes when the venue's figures are in, or after the limit."""
        if trade.closed or trade.slot is not None or trade.open_orders:
            return
        if trade.figures.entered == 0 and trade.figures.exited == 0:
            trade.closed = True
            return
        if trade.figures.pending and self.now_ms - trade.flat_ms < RECORD_LIMIT_MS:
            return
        self._feed_sizer(trade)
        if trade.fed:
            self._tell(EffectKind.CLOSE_TRADE, trade)
            trade.closed = True

    def _home(self, trade: Trade) -> list[int]:
        """Where a trade that has left its slot could come back to: its own slot, else the first."""
        free = [i for i, slot in enumerate(self.slots) if slot is None]
        return [trade.last_slot] if trade.last_slot in free else free

    def _settle_detached(self, trade: Trade) -> None:
        """Quantity that comes back to a trade without a slot opens a recovery slot."""
        self._answer.size = trade.figures.size
        if trade.figures.size == 0:
            if trade.figures.entered > 0 and trade.flat_ms == 0:
                trade.flat_ms = self.now_ms
            if not trade.closed:
                self._feed_sizer(trade)
                self._close_record(trade)
            return
        index = self._home(trade)[0]
        trade.closed = False
        slot = self._open(index, trade)
        slot.recovery = True
        self.frozen.add("recovery")
        slot.latched, slot.goal = True, ALL
        slot.next_child = len(trade.orders)  # its exits are of no intent
        self._go_stale(slot)
        self._note(Code.RECOVERY_SLOT)
        self._answer.slot = index
        self._settle_slot(index)
        self._cancel_entries()

    def _open(self, index: int, trade: Trade) -> Slot:
        slot = Slot(index, trade)
        self.slots[index] = slot
        trade.slot = trade.last_slot = index
        return slot

    def _cancel_entries(self) -> None:
        """Every freeze takes back the entries that still work.  Exits go on."""
        for slot in self._used():
            if slot.entry_order is not None and live(slot.entry_order):
                self._ask(EffectKind.CANCEL, slot.index, slot.entry_order)

    # -- commands ----------------------------------------------------------------------------------

    def _command(self, i: KernelIntent) -> None:
        if self._was_seen(i.intent_id):
            raise Refused(Code.DUPLICATE_EVENT)
        if i.deadline_ms and max(i.received_ms, self.now_ms) > i.deadline_ms and expires(i):
            raise Refused(Code.EXPIRED)
        if i.command is Command.CONTROL:
            self._control(i)
            self._remember(i.intent_id)
            return
        index = self._slot_for(i)
        slot, answer = self.slots[index], self._answer
        state = slot.state if slot else Stage.IDLE
        cell = TRANSITIONS[state, i.command]
        answer.slot, answer.before = index, state
        if slot is not None:
            answer.trade_no, answer.leg = slot.trade.trade_no, slot.leg
        if cell.rule == "refuse":
            raise Refused(cell.refusal)
        if cell.rule == "adopt" and i.role is not None:
            raise Refused(Code.NO_POSITION)  # an order is adopted by a trade, not by a free slot
        if cell.rule == "enter":
            trade = self._enter(i, index)
        elif cell.rule == "adopt":
            trade = self._adopt(i, index)
        else:
            assert slot is not None
            trade = slot.trade
            if cell.rule != "mark" and not i.intent_id:
                raise Refused(Code.INVALID_INTENT, "intent_id")
            rules = {
                "exit": self._exit,
                "cancel": self._cancel,
                "mark": self._mark,
                "reconcile": self._reconcile,
            }
            rules[cell.rule](i, slot)
        self._remember(i.intent_id)
        self._settle_slot(index)
        self._hold_to_table(cell, trade)

    def _slot_for(self, i: KernelIntent) -> int:
        """The slot that a command names, or that its trade or symbol is in."""
        index = i.slot_id
        if i.command is Command.ENTER or (
            i.command is Command.RECONCILE and index < 0 and i.role is None
        ):
            return self._slot_to_open(i)
        if index < 0 and i.trade_id:
            found = self._slot_of_trade(i.trade_id)
        elif index < 0 and i.command is Command.MARK_PRICE:
            found = self._slot_of_asset(i.asset) if i.asset else None
        elif index < 0:
            raise Refused(Code.INVALID_SLOT)
        else:
            there = self.slots[index]
            named = there is not None and i.trade_id and i.command is not Command.MARK_PRICE
            if named and there is not None and there.trade.terms.trade_id != i.trade_id:
                raise Refused(Code.INVALID_INTENT, "trade_id")
            return index
        if found is None:
            raise Refused(Code.NO_POSITION)
        return found.index

    def _slot_to_open(self, i: KernelIntent) -> int:
        index = i.slot_id
        if index < 0 and i.command is Command.RECONCILE:
            found = self._slot_of_trade(i.trade_id)
            index = found.index if found else -1
        if index < 0:
            free = (n for n in range(self.config.slot_limit) if self.slots[n] is None)
            index = next(free, -1)
        if index < 0:
            raise Refused(Code.SLOT_BUSY)
        if index >= self.config.slot_limit and self.slots[index] is None:
            raise Refused(Code.INVALID_SLOT)  # kept for recovery
        return index

    def _check_terms(self, i: KernelIntent) -> None:
        """What ENTER and an adoption share, in the order in which it is refused."""
        rules = i.contract
        for bad, what in (
            (not i.trade_id, "trade_id"),
            (not i.asset, "asset"),
            (not i.side, "side"),
            (i.quantity_e8 <= 0, "quantity_e8"),
            (not 1 <= i.leverage <= self.config.leverage_cap, "leverage"),
            (not all(1 <= r <= 10**9 for r in i.exit_leg_ratios_e9), "exit_leg_ratios_e9"),
            (rules is None or rules.tick_e10 <= 0, "contract.tick_e10"),
            (rules is None or rules.step_e8 <= 0, "contract.step_e8"),
            (
                rules is not None and (rules.min_quantity_e8 < 0 or rules.min_notional < 0),
                "contract minimum",
            ),
            (
                rules is not None
                and not (0 <= rules.taker_fee_e9 < 10**9 and 0 <= rules.maker_fee_e9 < 10**9),
                "contract fee rate",
            ),
        ):
            if bad:
                raise Refused(Code.INVALID_INTENT, what)

    def _busy(self, i: KernelIntent) -> bool:
        """One slot per trade, and per symbol; in hedge mode per symbol and side."""
        return any(
            s.trade.terms.trade_id == i.trade_id
            or (
                s.trade.asset == plain_symbol(i.asset)
                and (not self.config.hedge or s.trade.terms.side == i.side)
            )
            for s in self._used()
        )

    def _enter(self, i: KernelIntent, index: int) -> Trade:
        if not i.intent_id:
            raise Refused(Code.INVALID_INTENT, "intent_id")
        self._check_terms(i)
        self._check_order(i)
        if self._busy(i):
            raise Refused(Code.SLOT_BUSY)
        if self.foreign.get(self._place(i.asset, i.side)):
            raise Refused(Code.FOREIGN_POSITION)
        self._entries_allowed(i)
        self._accept(i)
        trade = self._new_trade(i)
        slot = self._open(index, trade)
        order = self._new_order(trade, OrderRole.ENTRY, i.quantity_e8)
        order.intent_id, order.kind = i.intent_id, i.order_type
        order.limit_price = i.limit_price_e10 if i.order_type is not OrderType.MARKET else 0
        order.expires_ms = i.expires_ms
        order.deadline_ms = self.now_ms + i.working_ms if i.working_ms else 0
        slot.entry_order = order
        self._answer.trade_no, self._answer.order_no = trade.trade_no, order.order_no
        self._submit(slot, order)
        return trade

    def _check_order(self, i: KernelIntent) -> None:
        rules = i.contract
        assert rules is not None
        if i.quantity_e8 % rules.step_e8:
            raise Refused(Code.INVALID_INTENT, "contract.step_e8")
        if i.reference_price_e10 <= 0:
            raise Refused(Code.INVALID_INTENT, "price_e10")
        self._check_limit(i, rules.tick_e10)
        notional = i.reference_price_e10 * i.quantity_e8
        if i.quantity_e8 < rules.min_quantity_e8 or notional < rules.min_notional:
            raise Refused(Code.INVALID_INTENT, "contract minimum")

    def _check_limit(self, i: KernelIntent, tick: int) -> None:
        if i.order_type is not OrderType.MARKET:
            off_tick = floor_to(i.limit_price_e10, tick) != i.limit_price_e10
            if i.limit_price_e10 <= 0 or off_tick:
                raise Refused(Code.INVALID_INTENT, "limit_price_e10")

    def _entries_allowed(self, i: KernelIntent) -> None:
        """Nothing frozen, a balance that is young enough, and no money too near to it to tell."""
        if self.frozen:
            raise Refused(Code.ENTRIES_FROZEN)
        if plain_symbol(i.asset) in self.held_symbols:
            raise Refused(Code.SYMBOL_HELD)
        limit = self.config.balance_max_age_ms
        if limit > 0:
            now = max(i.received_ms, self.now_ms)
            if self.anchor is None or now - self.anchor.received_ms > limit:
                raise Refused(Code.BALANCE_STALE)
        if self.anchor is not None and self._near():
            raise Refused(Code.ANCHOR_NOT_QUIET)

    def _new_trade(self, i: KernelIntent) -> Trade:
        trade = Trade(len(self.trades_by_no) + 1, i)
        self.trades_by_no.append(trade)
        return trade

    def _exit(self, i: KernelIntent, slot: Slot) -> None:
        trade = slot.trade
        assert trade.terms.contract is not None
        self._check_limit(i, trade.terms.contract.tick_e10)
        everything = slot.latched and slot.goal == ALL
        if everything and not i.urgent:
            raise Refused(Code.DUPLICATE_EVENT)
        self._accept(i)
        if not everything:
            goal = self._next_goal(i, slot)
            slot.leg_before, slot.start = slot.leg, trade.figures.exited
            slot.leg = min(slot.leg + 1, len(trade.legs) - 1)
            slot.latched, slot.goal = True, goal
        slot.exit_intent, slot.next_child = i.intent_id, 0
        slot.exit_kind = i.order_type
        slot.exit_price = i.limit_price_e10 if i.order_type is not OrderType.MARKET else 0
        slot.exit_wait_ms = i.working_ms
        slot.dust = False
        if i.urgent:
            slot.retry_ms = 0
        if slot.entry_order is not None and live(slot.entry_order):
            self._ask(EffectKind.CANCEL, slot.index, slot.entry_order)
        maker = slot.exit_order
        if i.urgent and maker is not None and live(maker) and maker.kind is OrderType.LIMIT:
            self._ask(EffectKind.CANCEL, slot.index, maker)
        if slot.stale:
            self._note(Code.EXIT_LATCHED)

    def _next_goal(self, i: KernelIntent, slot: Slot) -> int:
        """The exited quantity that this EXIT wants to reach: a quantity, or the next leg's ratio of
        what is left, in whole steps; ALL for the last leg and for what would leave nothing."""
        trade = slot.trade
        rules = trade.terms.contract
        assert rules is not None
        base = trade.figures.exited
        if slot.latched:
            base = max(base, slot.goal)
        left = trade.figures.entered - base
        if left <= 0:
            return ALL
        if i.quantity_e8 > 0:
            wanted = i.quantity_e8
        elif slot.leg == len(trade.legs) - 1:
            return ALL
        else:
            wanted = left * trade.legs[slot.leg] // 10**9
        if wanted >= left:
            return ALL
        quantity = floor_to(wanted, rules.step_e8)
        if quantity <= 0 or quantity < rules.min_quantity_e8:
            return ALL
        return base + quantity

    def _cancel(self, i: KernelIntent, slot: Slot) -> None:
        """A working entry is taken back; or the exit is, and its latch with it."""
        self._accept(i)
        if slot.state is Stage.ENTRY_WORKING:
            slot.drop_latch()
            assert slot.entry_order is not None
            self._ask(EffectKind.CANCEL, slot.index, slot.entry_order)
            return
        if slot.trade.figures.exited == slot.start:
            slot.leg = slot.leg_before  # nothing of this leg went out: it is still to come
        slot.drop_latch()
        if slot.exit_order is not None and live(slot.exit_order):
            self._answer.order_no = slot.exit_order.order_no
            self._ask(EffectKind.CANCEL, slot.index, slot.exit_order)

    def _mark(self, i: KernelIntent, slot: Slot) -> None:
        """A mark values what is open; it is never an entry basis."""
        if i.reference_price_e10 <= 0:
            raise Refused(Code.INVALID_INTENT, "price_e10")
        self._accept(i)
        slot.mark = i.reference_price_e10

    def _adopt(self, i: KernelIntent, index: int) -> Trade:
        """A position of ours that the kernel did not know; what it realized before is carried."""
        if not i.intent_id:
            raise Refused(Code.INVALID_INTENT, "intent_id")
        self._check_terms(i)
        if self._busy(i):
            raise Refused(Code.SLOT_BUSY)
        self._accept(i)
        trade = self._new_trade(i)
        priced = i.quantity_e8 if i.entry_cost else 0
        trade.adopted = Level(filled=i.quantity_e8, priced=priced, cost=i.entry_cost)
        trade.carried = i.carried_realized
        trade.recompute()
        self._open(index, trade)
        self.foreign.pop(self._place(trade.asset, trade.terms.side), None)
        self._answer.trade_no = trade.trade_no
        if not priced:
            self._note(Code.ENTRY_BASIS_MISSING)
        return trade

    def _reconcile(self, i: KernelIntent, slot: Slot) -> None:
        """Somebody doubts the slot: ask about everything that is not certain."""
        if i.role is not None:
            self._adopt_order(i, slot, i.role)
            return
        self._accept(i)
        for order in reversed(slot.trade.orders):
            if not order.ended:
                self._ask(EffectKind.QUERY_ORDER, slot.index, order)
            elif not order.terminal:
                self._ask(EffectKind.FINALISE, slot.index, order)
        self._go_stale(slot)

    def _adopt_order(self, i: KernelIntent, slot: Slot, role: OrderRole) -> None:
        """An order of this trade that works at the venue and is not in the registry."""
        if not i.venue_order_id or self._order_of_venue(i.venue_order_id):
            raise Refused(Code.INVALID_INTENT, "order")
        if i.quantity_e8 <= 0:
            raise Refused(Code.INVALID_INTENT, "quantity_e8")
        if live(slot.entry_order if role is OrderRole.ENTRY else slot.exit_order):
            raise Refused(Code.SLOT_BUSY)
        self._accept(i)
        order = self._new_order(slot.trade, role, i.quantity_e8)
        order.venue_id, order.status, order.kind = i.venue_order_id, Status.WORKING, i.order_type
        order.intent_id = i.intent_id
        if role is OrderRole.ENTRY:
            slot.entry_order = order
        else:
            slot.exit_order = order
        self._answer.order_no = order.order_no

    def _control(self, i: KernelIntent) -> None:
        if not i.intent_id:
            raise Refused(Code.INVALID_INTENT, "intent_id")
        if i.action is None or i.action > ControlAction.READY:
            raise Refused(Code.INVALID_INTENT, "reason")
        if i.action is ControlAction.REBASE:
            if i.amount is None:
                raise Refused(Code.INVALID_INTENT, "money")
            in_range(self.adjustments + i.amount)
            self._accept(i)
            self.adjustments += i.amount
            self.foreign_sum = 0
            return
        if i.asset and i.action in (ControlAction.HOLD, ControlAction.RESUME):
            self._hold_symbol(i)
            return
        self._accept(i)
        if i.action is ControlAction.RESUME:
            self.frozen -= {"hold", "drain"}
            return
        if i.action is ControlAction.DRAINED:
            self.frozen -= {"drain"}
            return
        if i.action is ControlAction.NOT_READY:
            self.frozen.add("not ready")
            return
        if i.action is ControlAction.READY:
            self.frozen -= {"not ready"}
            return
        self.frozen.add("hold" if i.action is ControlAction.HOLD else "drain")
        self._cancel_entries()

    def _hold_symbol(self, i: KernelIntent) -> None:
        symbol = plain_symbol(i.asset)
        hold = i.action is ControlAction.HOLD
        if hold and symbol not in self.held_symbols and len(self.held_symbols) == 64:
            raise Refused(Code.LIMIT_REACHED)
        self._accept(i)
        if not hold:
            self.held_symbols.discard(symbol)
            return
        self.held_symbols.add(symbol)
        for slot in self._used():
            same = plain_symbol(slot.trade.asset) == symbol
            if same and slot.entry_order is not None and live(slot.entry_order):
                self._ask(EffectKind.CANCEL, slot.index, slot.entry_order)

    # -- positions, balances, time -----------------------------------------------------------------

    def _place(self, asset: str, side: int) -> tuple[str, bool]:
        """Where a position of others stands: in hedge mode each side is one of its own."""
        return plain_symbol(asset), self.config.hedge and side < 0

    def _position(self, e: VenueEvent) -> None:
        """The venue's position on a symbol, against ours; without a slot it is somebody else's."""
        if not e.asset:
            raise Refused(Code.INVALID_EVENT, "asset")
        if e.quantity_e8 > 0 and not e.side:
            raise Refused(Code.INVALID_EVENT, "side")
        slot = self._slot_of_asset(e.asset, e.side if self.config.hedge else 0)
        theirs = -e.quantity_e8 if e.side is OrderSide.SELL else e.quantity_e8
        if slot is None:
            self._accept(e)
            self.foreign[self._place(e.asset, e.side)] = theirs
            if not e.side:
                self.foreign.pop(self._place(e.asset, -1), None)
            return
        cell, answer = TRANSITIONS[slot.state, Kind.POSITION], self._answer
        answer.slot, answer.before = slot.index, slot.state
        answer.trade_no = slot.trade.trade_no
        if 0 < e.exchange_ms < slot.last_fill_ms:
            raise Refused(Code.STALE_STATE)
        self._accept(e)
        if slot.state in (Stage.POSITION_OPEN, Stage.STALE_STATE_RECONCILING):
            self._compare(slot, theirs * int(slot.trade.terms.side))
        self._settle_slot(slot.index)
        self._hold_to_table(cell, slot.trade)

    def _compare(self, slot: Slot, theirs: int) -> None:
        ours = slot.trade.figures.size
        if theirs == ours and ours >= 0:
            slot.stale, slot.proven = False, ours
            return
        self._note(Code.POSITION_DISAGREES)
        if theirs == 0 and ours < 0:
            slot.trade.returned -= ours
            slot.trade.recompute()
            slot.stale, slot.proven = False, 0
            return
        self._go_stale(slot)
        slot.proven = min(theirs, ours) if theirs > 0 else 0

    def _balance(self, e: VenueEvent) -> None:
        """A positive balance that is not older than the last one anchors; it never moves K."""
        when = e.exchange_ms or e.received_ms
        if e.amount is None:
            raise Refused(Code.INVALID_EVENT, "money")
        if self.anchor is not None and when < self.anchor.ms:
            raise Refused(Code.OLD_ANCHOR)
        asked = e.source is not EvidenceSource.STREAM
        if e.amount <= 0:
            if not asked:
                self._effects.append(Effect(EffectKind.QUERY_BALANCE))
                raise Refused(Code.ZERO_WALLET)
            self._accept(e)
            self.frozen.add("wallet")
            self._note(Code.WALLET_EMPTY)
            self._cancel_entries()
            return
        if not self.seeded:
            missing = e.amount - sum(self._k_parts())
            if not prefixes_in_range(self._k_parts()):
                raise Refused(Code.ARITHMETIC_LIMIT)
            in_range(missing, self.seed + missing)
            self.seed += missing
            self.seeded = True
            self.income_from_ms = self.income_read_ms = when
        self._accept(e)
        margin = e.available_margin
        if not asked and not margin and self.anchor is not None:
            margin = self.anchor.available_margin
        after_fills = 0 < e.requested_ms >= self.last_fill_ms
        self.anchor = Anchor(
            wallet=e.amount,
            available_margin=margin,
            ms=when,
            from_ms=e.requested_ms if asked and 0 < e.requested_ms < when else when,
            received_ms=e.received_ms,
            reason=e.balance_reason,
            quiet=asked and after_fills and not self._in_flight(),
        )
        self.frozen.discard("wallet")
        place = self.anchor.place
        keep = [] if self.anchor.quiet else self.flows
        self.flows = [flow for flow in keep if place(flow.exchange_ms) != "held"]
        self._track_peak()

    def _in_flight(self) -> bool:
        """Some own order's effect on the balance may be on its way; a resting quote's is not."""
        return any(
            not order.ended
            and (order.status is not Status.WORKING or order.kind is OrderType.MARKET)
            for slot in self._used()
            for order in slot.trade.orders
        )

    def _account_flow(self, e: VenueEvent) -> None:
        """Funding or a transfer; each has an identity and counts once."""
        if e.amount is None:
            raise Refused(Code.INVALID_EVENT, "money")
        if not e.event_id:
            raise Refused(Code.INVALID_EVENT, "intent_id")
        if self._was_seen(e.event_id):
            raise Refused(Code.DUPLICATE_EVENT)
        funding = e.kind is Kind.FUNDING_FEE
        in_range((self.funding if funding else self.transfers) + e.amount)
        in_range(self.bridged + e.amount, self.ambiguous + e.amount)
        self._accept(e)
        if funding:
            self.funding += e.amount
        else:
            self.transfers += e.amount
        self._remember(e.event_id)
        self._flow(e.exchange_ms or e.received_ms, e.amount)
        self.flow_total += e.amount == 0  # a named flow counts even when it is nothing

    def _foreign_flow(self, e: VenueEvent) -> None:
        """What others did: a named part of the drift, no part of our own sums."""
        if e.amount is None:
            raise Refused(Code.INVALID_EVENT, "money")
        if not e.event_id:
            raise Refused(Code.INVALID_EVENT, "intent_id")
        if self._was_seen(e.event_id):
            raise Refused(Code.DUPLICATE_EVENT)
        in_range(self.foreign_sum + e.amount)
        self._accept(e)
        self.foreign_sum += e.amount
        self._remember(e.event_id)
        self.flow_total += 1

    def _income_read(self, e: VenueEvent) -> None:
        """The history is read up to a time."""
        if not e.exchange_ms:
            raise Refused(Code.INVALID_EVENT, "time")
        if e.exchange_ms <= self.income_read_ms:
            raise Refused(Code.DUPLICATE_EVENT)
        self._accept(e)
        self.income_read_ms = e.exchange_ms

    def _flow(self, exchange_ms: int, amount: int) -> None:
        if amount:
            self.flow_total += 1
            if self.anchor is None or self.anchor.place(exchange_ms) != "held":
                self.flows.append(Flow(exchange_ms, amount))
        self._track_peak()

    def _track_peak(self) -> None:
        capital = self.capital()
        if capital is not None:
            self.peak = max(self.peak, capital)

    def _tick(self, e: VenueEvent) -> None:
        """What is due: orders past their time, exits whose wait is over, records that waited."""
        self._accept(e)
        told = self._answer
        self._answer = ModelOutcome(accepted=True, notes=told.notes)  # a tick is about no one slot
        for slot in self._used():
            for order in (slot.entry_order, slot.exit_order):
                self._hurry(slot, order)
            self._settle_slot(slot.index)
        self._answer = told
        for trade in self.trades_by_no:
            if trade.slot is None and not trade.closed:
                self._feed_sizer(trade)
                self._close_record(trade)

    def _hurry(self, slot: Slot, order: Order | None) -> None:
        if order is None or order.ended or not 0 < order.deadline_ms <= self.now_ms:
            return
        order.deadline_ms = 0
        self._ask(EffectKind.QUERY_ORDER, slot.index, order)
        if order.role is OrderRole.ENTRY or order.kind is OrderType.LIMIT:
            self._ask(EffectKind.CANCEL, slot.index, order)

    def judge(self, pending: bool, unexplained: bool) -> tuple[bool, tuple[Effect, ...]]:
        """The account's word on the drift; an unexplained one takes back working entries."""
        was = "drift" in self.frozen
        self._effects = []
        self.frozen -= {"drift", "pending"}
        if pending:
            self.frozen.add("pending")
        if unexplained:
            self.frozen.add("drift")
            if not was:
                self._cancel_entries()
        return was != unexplained, tuple(self._effects)

    # -- money -------------------------------------------------------------------------------------

    @property
    def realized(self) -> int:
        """Booked by all trades ever."""
        return sum(trade.booked for trade in self.trades_by_no)

    @property
    def trueup(self) -> int:
        """The venue's figures against our own, where both are known."""
        return sum(trade.figures.trueup for trade in self.trades_by_no)

    @property
    def fees(self) -> int:
        """Paid by all trades ever."""
        return sum(trade.figures.fees for trade in self.trades_by_no)

    @property
    def fees_estimated(self) -> int:
        """Of these: still our estimate, in records that are open.  It may explain a drift."""
        return sum(t.figures.fees_estimated for t in self.trades_by_no if not t.closed)

    def _after(self) -> list[int]:
        if self.anchor is None:
            return []
        place = self.anchor.place
        return [flow.amount for flow in self.flows if place(flow.exchange_ms) == "after"]

    def _near(self) -> list[int]:
        if self.anchor is None:
            return []
        place = self.anchor.place
        return [flow.amount for flow in self.flows if place(flow.exchange_ms) == "near"]

    @property
    def bridged(self) -> int:
        """Own flows that are clearly after the newest balance."""
        return sum(self._after())

    @property
    def ambiguous(self) -> int:
        """Own flows that it may hold or not."""
        return sum(self._near())

    def _k_parts(self) -> tuple[int, ...]:
        flows = (self.realized, self.trueup, -self.fees, self.funding, self.transfers)
        return (self.seed, *flows, self.adjustments)

    def capital(self) -> int | None:
        """The newest balance and what clearly came after it; before any, K.  None: out of range."""
        parts = self._k_parts() if self.anchor is None else (self.anchor.wallet, self.bridged)
        return sum(parts) if prefixes_in_range(parts) else None

    def published(self) -> int:
        """What the account publishes as capital; a sum beyond the range of money is told too."""
        return self.anchor.wallet + self.bridged if self.anchor else sum(self._k_parts())

    # -- views -------------------------------------------------------------------------------------

    def client_id(self, order: Order) -> str:
        """The id an order carries at the venue: a pure function of its intent (design P2)."""
        if order.external:
            return ""
        name = order.intent_id or f"recovery:{order.trade.trade_no}"
        parts = (self.config.namespace, str(self.config.epoch), name, str(order.child))
        digest = hashlib.sha256("\x00".join(parts).encode()).digest()
        return base64.b32encode(digest).decode().lower()[:32]

    def view_order(self, order: Order | None) -> VenueOrder | None:
        """An order as the kernel shows it."""
        if order is None:
            return None
        level = order.level
        return VenueOrder(
            order_no=order.order_no,
            client_order_id=self.client_id(order),
            venue_order_id=order.venue_id,
            trade_no=order.trade.trade_no,
            slot_id=-1 if order.trade.slot is None else order.trade.slot,
            role=order.role,
            side=OrderSide(order.side),
            order_type=order.kind,
            status=order.status,
            final=order.final,
            external=order.external,
            child=order.child,
            intended_e8=order.intended,
            filled_e8=level.filled,
            priced_e8=level.priced,
            cost=level.cost,
            cost_rank=level.cost_rank,
            fee=level.fee,
            fee_rank=level.fee_rank,
            realized=level.realized,
            realized_rank=level.realized_rank,
            realized_quantity_e8=level.figure_quantity,
            limit_price_e10=order.limit_price,
        )

    def view_slot(self, slot: Slot) -> TradeSlot:
        """A slot in use as the kernel shows it."""
        trade, f = slot.trade, slot.trade.figures
        unrealized = 0
        if slot.mark and f.size > 0 and f.entry_priced == f.entered:
            basis = f.entry_cost * f.size // f.entered
            unrealized = int(trade.terms.side) * (slot.mark * f.size - basis)
        return TradeSlot(
            slot_id=slot.index,
            state=slot.state,
            closed=False,
            trade_no=trade.trade_no,
            trade_id=trade.terms.trade_id,
            asset=self.symbol_texts[trade.asset],
            side=TradeSide(trade.terms.side),
            leverage=trade.terms.leverage,
            size_e8=f.size,
            entered_e8=f.entered,
            entry_priced_e8=f.entry_priced,
            entry_cost=f.entry_cost,
            exited_e8=f.exited,
            realized=f.realized,
            trueup=f.trueup,
            fees=f.fees,
            unrealized=unrealized,
            mark_price_e10=slot.mark,
            active_leg_index=slot.leg,
            exit_leg_ratios_e9=trade.legs,
            exit_latched=slot.latched,
            exit_goal_e8=min(slot.goal, f.entered) if slot.latched else 0,
            dust=slot.dust,
            active_entry_order=self.view_order(slot.entry_order),
            active_exit_order=self.view_order(slot.exit_order),
            pnl_source=pnl_source(f),
        )

    def view_trade(self, trade: Trade) -> TradeRecord:
        """A trade's figures as the kernel shows them."""
        f = trade.figures
        return TradeRecord(
            trade_no=trade.trade_no,
            trade_id=trade.terms.trade_id,
            asset=self.symbol_texts[trade.asset],
            side=TradeSide(trade.terms.side),
            entered_e8=f.entered,
            entry_cost=f.entry_cost,
            exited_e8=f.exited,
            realized=f.realized,
            trueup=f.trueup,
            fees=f.fees,
            pnl_source=pnl_source(f),
            closed=trade.closed,
        )

    def view_ledger(self) -> tuple[object, ...]:
        """The money figures, in the order of ``dita.kernel.Ledger``."""
        a = self.anchor
        return (
            self.seed,
            self.realized,
            self.trueup,
            self.fees,
            self.funding,
            self.transfers,
            self.adjustments,
            a.wallet if a else 0,
            a.available_margin if a else 0,
            self.bridged,
            self.ambiguous,
            self.fees_estimated,
            a.ms if a else 0,
            a.received_ms if a else 0,
            sum(FREEZE_BITS[cause] for cause in self.frozen),
            self.seeded,
            a is not None,
            a is not None and a.quiet,
            int(a.reason) if a else 0,
            len(self._near()),
            len(self._after()),
            sum(trade.figures.unsettled for trade in self.trades_by_no if not trade.closed),
            self.routed_by_state,
            self.flow_total,
            self.peak,
            self.foreign_sum,
            self.income_from_ms,
            self.income_read_ms,
        )

    def view_exposure(self) -> tuple[int, int, int]:
        """(positions, their notional at the mark or the basis, unrealized)."""
        values, gains = [], []
        for slot in self._used():
            f = slot.trade.figures
            if f.size <= 0:
                continue
            known = f.entry_priced == f.entered
            basis = share(f.entry_cost, f.size, f.entered) if known else 0
            values.append(slot.mark * f.size if slot.mark else basis)
            if slot.mark and basis:
                gains.append(int(slot.trade.terms.side) * (values[-1] - basis))
        return len(values), sum(values), sum(gains)

    def view_unsettled_notional(self) -> int:
        """Entry value of what went out without a price: it bounds the PnL that is missing."""
        total = 0
        for trade in self.trades_by_no:
            f = trade.figures
            for order in trade.orders if f.unsettled and f.entered and not trade.closed else ():
                missing = order.level.filled - order.level.priced
                if order.role is OrderRole.EXIT and 0 < missing <= f.entered:
                    total += share(f.entry_cost, missing, f.entered)
        return total


def pnl_source(f: Figures) -> str:
    """Whose figures the PnL rests on."""
    return "exchange" if f.exited and not f.pending else "kernel_estimate"


# -- is it well formed? ----------------------------------------------------------------------------


def _text(text: str) -> bool:
    return len(text) <= 64 and text.isascii() and (text == "" or text.isprintable())


def check_border(
    malformed: Code, texts: Iterable[str], numbers: Iterable[int], money: Iterable[int | None]
) -> None:
    """What no packed record can hold."""
    if (
        not all(_text(text) for text in texts)
        or not all(-INT64_MAX - 1 <= number <= INT64_MAX for number in numbers)
        or not all(amount is None or abs(amount) <= MONEY_MAX for amount in money)
    ):
        raise Refused(malformed, "?")


def check_ranges(malformed: Code, checks: Iterable[tuple[bool, str]]) -> None:
    """Refuse the first field that is out of its range."""
    for good, what in checks:
        if not good:
            raise Refused(Code.INVALID_SLOT if what == "slot_id" else malformed, what)


def check_intent(i: KernelIntent, slots: int) -> None:
    """The ranges of a command's fields."""
    rules = i.contract
    numbers = [i.received_ms, i.quantity_e8, i.reference_price_e10, i.limit_price_e10]
    numbers += [i.expires_ms, i.working_ms]
    if rules is not None:
        numbers += [rules.tick_e10, rules.step_e8, rules.min_quantity_e8]
    narrow = [i.leverage, *i.exit_leg_ratios_e9]
    narrow += [] if rules is None else [rules.taker_fee_e9, rules.maker_fee_e9]
    fits = 1 <= len(i.exit_leg_ratios_e9) <= 8 and -1 <= i.slot_id <= 32767
    if not fits or not all(-(2**31) <= number < 2**31 for number in narrow):
        raise Refused(Code.INVALID_INTENT, "?")
    texts = (i.intent_id, i.trade_id, i.asset, i.venue_order_id)
    money = (i.entry_cost, i.carried_realized, None if rules is None else rules.min_notional)
    check_border(Code.INVALID_INTENT, texts, numbers, money)
    check_ranges(
        Code.INVALID_INTENT,
        (
            (i.slot_id < slots, "slot_id"),
            (0 < i.received_ms < TIME_MAX, "time"),
            (0 <= i.working_ms <= WEEK_MS and 0 <= i.expires_ms < TIME_MAX, "wait"),
            (i.quantity_e8 >= 0, "quantity_e8"),
            (i.reference_price_e10 >= 0, "price_e10"),
            (i.limit_price_e10 >= 0, "limit_price_e10"),
            (i.entry_cost >= 0, "money"),
        ),
    )


def check_event(e: VenueEvent, slots: int, own_clients: dict[str, Order]) -> None:
    """The ranges of an event's fields."""
    numbers = [e.received_ms, e.exchange_ms, e.quantity_e8, e.price_e10, e.last_quantity_e8]
    numbers += [e.last_price_e10, e.retry_after_ms, e.requested_ms]
    if not -1 <= e.slot_id <= 32767:
        raise Refused(Code.INVALID_EVENT, "?")
    client = "" if e.client_order_id in own_clients else e.client_order_id
    account = e.kind in ACCOUNT_FRAMES
    money = [e.cost, e.fee, *((e.amount, e.available_margin) if account else (e.realized,))]
    texts = (e.event_id, e.asset, e.venue_order_id, client)
    check_border(Code.INVALID_EVENT, texts, numbers, money)
    check_ranges(
        Code.INVALID_EVENT,
        (
            (e.slot_id < slots, "slot_id"),
            (0 < e.received_ms < TIME_MAX and 0 <= e.exchange_ms < TIME_MAX, "time"),
            (0 <= e.retry_after_ms <= WEEK_MS and 0 <= e.requested_ms < TIME_MAX, "wait"),
            (e.quantity_e8 >= 0 and e.last_quantity_e8 >= 0, "quantity_e8"),
            (e.price_e10 >= 0, "price_e10"),
            (e.last_price_e10 >= 0, "limit_price_e10"),
            (e.cost is None or e.cost >= 0, "money"),
        ),
    )
