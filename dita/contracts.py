"""Values that cross borders: enums, frozen records and named sets of states.

Everything that goes into the engine or comes out of it is one of these records; money, prices
and quantities in them are scaled integers (see ``units``).  This module knows no rules: what an
input does to a slot is in ``transitions`` (the table) and in the compiled kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Final

import msgspec

from dita.frozen import FrozenDict


class TradeStage(IntEnum):
    """State of a slot (kernel reference §5)."""

    IDLE = 0
    ENTRY_WORKING = 1
    POSITION_OPEN = 2
    EXIT_WORKING = 3
    CLOSED = 4
    STALE_STATE_RECONCILING = 5


#: A slot in one of these states carries exposure or may come to carry it.
EXPOSED_STAGES = frozenset(
    {
        TradeStage.ENTRY_WORKING,
        TradeStage.POSITION_OPEN,
        TradeStage.EXIT_WORKING,
        TradeStage.STALE_STATE_RECONCILING,
    }
)


class TradeSide(IntEnum):
    """Direction of a trade; the sign of its profit for a rising price."""

    LONG = 1
    SHORT = -1


class OrderSide(IntEnum):
    """Direction of an order or of a fill; UNKNOWN when the venue did not say."""

    SELL = -1
    UNKNOWN = 0
    BUY = 1


class PositionSide(IntEnum):
    """Which position of a symbol an order or a fill belongs to; UNKNOWN in one-way mode."""

    SHORT = -1
    UNKNOWN = 0
    LONG = 1


class OrderRole(IntEnum):
    """What an order does for its trade."""

    ENTRY = 1
    EXIT = 2


class OrderType(IntEnum):
    """How an order is worked."""

    MARKET = 0
    LIMIT = 1
    LIMIT_IOC = 2  # at the limit price or better, at once; the unfilled rest ends


class VenueOrderStatus(IntEnum):
    """Life of an order in the registry; an ended order is terminal once it is finalised too."""

    REQUESTED = 1
    WORKING = 2
    UNKNOWN = 3
    FILLED = 4
    CANCELLED = 5
    EXPIRED = 6
    REJECTED = 7
    ABSENT = 8


ENDED_STATUSES = frozenset(
    {
        VenueOrderStatus.FILLED,
        VenueOrderStatus.CANCELLED,
        VenueOrderStatus.EXPIRED,
        VenueOrderStatus.REJECTED,
        VenueOrderStatus.ABSENT,
    }
)


class KernelCommandType(IntEnum):
    """What an intent asks for.  CONTROL is account wide, the others name a slot or a trade."""

    ENTER = 1
    EXIT = 2
    CANCEL = 3
    MARK_PRICE = 4
    RECONCILE = 5
    CONTROL = 6
    WRITE_OFF = 7


class KernelEventKind(IntEnum):
    """What the venue, or the clock, reports."""

    ORDER_ACK = 16
    PARTIAL_FILL = 17
    FULL_FILL = 18
    CANCEL_ACK = 19
    CANCEL_REJECT = 20
    ORDER_REJECT = 21
    ORDER_EXPIRED = 22
    ORDER_UNKNOWN = 23
    RATE_LIMITED = 24
    ORDER_FINAL = 25  # the order's end with its final figures (order query and fill history)
    ORDER_ABSENT = 26  # proven: the order never reached the book (design P3)
    POSITION = 27  # the venue's position on a symbol
    FILL_SETTLED = 28  # the venue's realized PnL and fee of an order
    LIQUIDATION = 29
    ADL = 30
    ACCOUNT_UPDATE = 31  # a balance-bearing frame
    FUNDING_FEE = 32
    TRANSFER = 33
    TICK = 34  # time passed
    FOREIGN_FLOW = 35  # what others did on the account, with an order or a fill of theirs as proof
    INCOME_READ = 36  # the venue's income history has been read up to a time


class KernelDiagnosticCode(IntEnum):
    """Why an outcome is what it is.  Below 32: refused, nothing changed.  From 32: applied."""

    OK = 0
    INVALID_SLOT = 1
    SLOT_BUSY = 2
    NO_POSITION = 3
    NO_ACTIVE_EXIT_ORDER = 4
    INVALID_TRANSITION = 5
    INVALID_INTENT = 6
    INVALID_EVENT = 7
    STALE_STATE = 8
    DUPLICATE_EVENT = 9
    TERMINAL_STATE = 10
    UNRESOLVED_SLOT = 11
    OLD_ANCHOR = 12
    ZERO_WALLET = 13
    ENTRIES_FROZEN = 14
    LIMIT_REACHED = 15
    FOREIGN_POSITION = 16
    ANCHOR_NOT_QUIET = 17
    BALANCE_STALE = 18
    ARITHMETIC_LIMIT = 19
    EXPIRED = 20  # past the caller's deadline: nothing was done
    RISK_LIMIT = 21  # a limit that a person set
    SYMBOL_HELD = 22
    VENUE_ERRORS = 23  # the venue would soon block the order endpoint: what is left is for exits

    RATE_LIMITED = 32
    VENUE_REJECTED = 33
    ORDER_UNKNOWN = 34
    OVERFILL = 35
    EXTERNAL_CLOSE = 36
    DUST = 37
    EXIT_LATCHED = 38
    EVENT_HELD = 39
    HELD_RELEASED = 40
    WALLET_EMPTY = 41
    ROUTED_BY_STATE = 42
    RECOVERY_SLOT = 43
    REALIZED_SKIPPED_NO_PRICE = 44
    ENTRY_BASIS_MISSING = 45
    REALIZED_SETTLED = 46
    FIGURE_DEVIATES = 47
    CANCEL_REJECTED = 48
    POSITION_DISAGREES = 49
    FOREIGN_EXCESS = 50
    EXIT_DEFERRED = 51
    SYMBOL_SUSPENDED = 52
    NETTED = 53
    ORDER_LOST = 54
    FILL_WITHDRAWN = 55
    WRITTEN_OFF = 56
    QUARANTINED = 57


class KernelSeverity(IntEnum):
    """How loud a diagnostic is."""

    INFO = 0
    WARNING = 1
    ERROR = 2
    CRITICAL = 3


_WARNINGS = "STALE_STATE UNRESOLVED_SLOT OLD_ANCHOR ZERO_WALLET ENTRIES_FROZEN FOREIGN_POSITION"
_WARNINGS += " ANCHOR_NOT_QUIET BALANCE_STALE RATE_LIMITED VENUE_REJECTED ORDER_UNKNOWN DUST"
_WARNINGS += " EXIT_LATCHED EVENT_HELD REALIZED_SKIPPED_NO_PRICE ENTRY_BASIS_MISSING"
_WARNINGS += " CANCEL_REJECTED EXIT_DEFERRED SLOT_BUSY NO_POSITION NO_ACTIVE_EXIT_ORDER"
_WARNINGS += " TERMINAL_STATE EXPIRED RISK_LIMIT SYMBOL_HELD VENUE_ERRORS NETTED"
_ERRORS = "INVALID_SLOT INVALID_TRANSITION INVALID_INTENT INVALID_EVENT LIMIT_REACHED"
_ERRORS += " ARITHMETIC_LIMIT OVERFILL EXTERNAL_CLOSE WALLET_EMPTY RECOVERY_SLOT FIGURE_DEVIATES"
_ERRORS += " POSITION_DISAGREES FOREIGN_EXCESS SYMBOL_SUSPENDED ORDER_LOST FILL_WITHDRAWN"
_ERRORS += " WRITTEN_OFF QUARANTINED"

#: Severity of every code; what is not named here is INFO.
SEVERITY: dict[KernelDiagnosticCode, KernelSeverity] = {
    **dict.fromkeys(KernelDiagnosticCode, KernelSeverity.INFO),
    **{KernelDiagnosticCode[name]: KernelSeverity.WARNING for name in _WARNINGS.split()},
    **{KernelDiagnosticCode[name]: KernelSeverity.ERROR for name in _ERRORS.split()},
}

#: Codes of an input that changed nothing; an accepted outcome never carries one of them.
REFUSALS = frozenset(code for code in KernelDiagnosticCode if 0 < code < 32)


class EvidenceSource(IntEnum):
    """Where a figure comes from; a better source replaces a worse one (design §6)."""

    STREAM = 1
    ORDER_QUERY = 2
    FILL_HISTORY = 3
    INCOME = 4  # the wallet's own rows: what an order's figure does not have


class RejectReason(IntEnum):
    """What a rejection means to the kernel; the adapter maps the venue's codes to it."""

    OTHER = 0
    POSITION_MISMATCH = 1  # 101205, 109420, 101290
    BELOW_MINIMUM = 2  # 101400, 101202, 110422, 110425
    SUSPENDED = 3  # 109417, 109418, 101415: the symbol is not traded now, or no more


class BalanceReason(IntEnum):
    """Why the venue sent a balance."""

    UNKNOWN = 0
    ORDER = 1
    FUNDING = 2
    TRANSFER = 3


class ControlAction(IntEnum):
    """What a CONTROL command switches."""

    HOLD = 1
    RESUME = 2
    DRAIN = 3
    REBASE = 4  # `anchor --reason`: the removed drift is booked as an adjustment
    DRAINED = 5  # the end of a drain; a HOLD of the operator stays
    NOT_READY = 6  # a start or a gap: no entry until everything was queried again
    READY = 7
    LIMIT = 8  # sets one of the limits for new risk
    QUARANTINE = 9  # the input with this sequence broke an invariant and is not part of the state


class RiskLimit(IntEnum):
    """What an operator can limit; entries only.  Money in 10^-18, counts as they are, 0 = none."""

    ORDER_NOTIONAL = 1
    SYMBOL_NOTIONAL = 2
    TOTAL_NOTIONAL = 3
    POSITIONS = 4
    INTENTS_PER_MINUTE = 5
    DAY_LOSS = 6  # reaching it holds all entries until somebody resumes


class EffectKind(IntEnum):
    """What the kernel asks the runtime to do once the input is journalled."""

    SUBMIT = 1
    CANCEL = 2
    QUERY_ORDER = 3  # find out; absence must be proven before ORDER_ABSENT is reported
    FINALISE = 4  # read order and fills, answer with ORDER_FINAL
    QUERY_POSITION = 5
    QUERY_BALANCE = 6
    FEED_SIZER = 7  # a trade is flat and priced: tell the sizer, once
    CLOSE_TRADE = 8  # the trade's record is complete: emit it, once


class KernelMode(IntEnum):
    """Production, or full tracing (kernel reference §6)."""

    NORMAL = 0
    DEBUG = 1


class KernelVerbosity(IntEnum):
    """How much is told about each input."""

    QUIET = 0
    VERBOSE = 1
    TRACE = 2


class BackendMode(IntEnum):
    """Which venue executes."""

    MOCK = 0
    BINGX = 1


class Record(msgspec.Struct, frozen=True, gc=False):
    """Base of all records: immutable, compared by value.

    A record holds plain values and other records only, so it is never part of a cycle, and the
    garbage collector need not know it.
    """


class ContractRules(Record, frozen=True, kw_only=True):
    """A symbol's trading rules at the time of an entry."""

    tick_e10: int
    step_e8: int
    min_quantity_e8: int = 0
    min_notional: int = 0
    taker_fee_e9: int = 0
    maker_fee_e9: int = 0


class KernelIntent(Record, frozen=True, kw_only=True):
    """A command.  ``quantity_e8`` 0 on an EXIT means the next leg, ``slot_id`` -1 "find it".

    ``deadline_ms`` is the kernel's time past which the command is refused with EXPIRED, 0 for
    never; EXIT, MARK_PRICE and HOLD do not expire.  ``amount`` belongs to CONTROL: the drift that
    REBASE books (``carried_realized`` serves too when it is not 0), or a limit's value.  HOLD and
    RESUME with an ``asset`` are about that symbol.

    ``received_ms`` is the time of the journal record, ``expires_ms`` ends an entry's right to be
    sent again after proven absence, ``working_ms`` bounds the time an order may work.
    """

    command: KernelCommandType
    received_ms: int
    intent_id: str = ""
    trade_id: str = ""
    slot_id: int = -1
    asset: str = ""
    side: TradeSide = TradeSide.LONG
    quantity_e8: int = 0
    reference_price_e10: int = 0
    order_type: OrderType = OrderType.MARKET
    limit_price_e10: int = 0
    leverage: int = 1
    exit_leg_ratios_e9: tuple[int, ...] = (10**9,)
    contract: ContractRules | None = None
    urgent: bool = False
    expires_ms: int = 0
    working_ms: int = 0
    reason: str = ""
    # RECONCILE of a free slot adopts a position with these levels
    entry_cost: int = 0
    carried_realized: int = 0
    # RECONCILE of a slot in use adopts an order of the trade
    role: OrderRole | None = None
    venue_order_id: str = ""
    # CONTROL
    action: ControlAction | None = None
    amount: int | None = None
    limit: RiskLimit | None = None
    quarantined_seq: int = 0
    rules_version: int = 0
    deadline_ms: int = 0


class VenueEvent(Record, frozen=True, kw_only=True):
    """A normalised report of the venue.

    ``quantity_e8`` is the order's cumulative filled quantity, or the last fill alone when
    ``increment`` is set.  ``price_e10`` is the true average over it or 0 — never the order's
    nominal price.  ``cost``, ``fee`` (positive = paid) and ``realized`` are the order's cumulative
    figures, None when not reported.  For POSITION the quantity is the position's, unsigned, and
    ``side`` its direction.  For account events ``amount`` is the wallet balance, or the signed
    effect on the account.  ``position_side`` says which position of the symbol an order or a fill
    belongs to in hedge mode.  ``error_code`` and ``message`` are the venue's own words for a
    rejection; the number is part of what the kernel counts, the text is for people.
    """

    kind: KernelEventKind
    received_ms: int
    exchange_ms: int = 0
    event_id: str = ""
    asset: str = ""
    venue_order_id: str = ""
    client_order_id: str = ""
    slot_id: int = -1
    side: OrderSide = OrderSide.UNKNOWN
    quantity_e8: int = 0
    increment: bool = False
    price_e10: int = 0
    last_quantity_e8: int = 0
    last_price_e10: int = 0
    cost: int | None = None
    fee: int | None = None
    realized: int | None = None
    source: EvidenceSource = EvidenceSource.STREAM
    reject: RejectReason = RejectReason.OTHER
    retry_after_ms: int = 0
    amount: int | None = None
    requested_ms: int = 0
    balance_reason: BalanceReason = BalanceReason.UNKNOWN
    available_margin: int = 0
    position_side: PositionSide = PositionSide.UNKNOWN
    error_code: int = 0
    message: str = ""


class VenueOrder(Record, frozen=True, kw_only=True):
    """One order of the registry, as levels with the rank of their source."""

    order_no: int
    client_order_id: str
    venue_order_id: str
    trade_no: int
    slot_id: int
    role: OrderRole
    side: OrderSide
    order_type: OrderType
    status: VenueOrderStatus
    final: bool
    external: bool
    child: int
    intended_e8: int
    filled_e8: int
    priced_e8: int
    cost: int
    cost_rank: int
    fee: int
    fee_rank: int
    realized: int
    realized_rank: int
    realized_quantity_e8: int
    limit_price_e10: int

    @property
    def average_price_e10(self) -> int:
        """Average price of the priced quantity, rounded down; 0 when nothing is priced."""
        return self.cost // self.priced_e8 if self.priced_e8 else 0

    @property
    def realized_skipped_no_price(self) -> bool:
        """True while some filled quantity has neither a price nor the venue's own figure."""
        known = self.realized_rank > 0 and self.realized_quantity_e8 == self.filled_e8
        return self.role is OrderRole.EXIT and self.priced_e8 < self.filled_e8 and not known


class TradeSlot(Record, frozen=True, kw_only=True):
    """A slot with the levels of its trade.  A free slot has ``closed`` true and no trade."""

    slot_id: int
    state: TradeStage
    closed: bool
    trade_no: int
    trade_id: str
    asset: str
    side: TradeSide
    leverage: int
    size_e8: int
    entered_e8: int
    entry_priced_e8: int
    entry_cost: int
    exited_e8: int
    realized: int
    trueup: int
    fees: int
    unrealized: int
    mark_price_e10: int
    active_leg_index: int
    exit_leg_ratios_e9: tuple[int, ...]
    exit_latched: bool
    exit_goal_e8: int
    dust: bool
    active_entry_order: VenueOrder | None
    active_exit_order: VenueOrder | None
    pnl_source: str

    @property
    def entry_basis_missing(self) -> bool:
        """True while entry quantity is unpriced: exits book nothing until it is."""
        return self.entry_priced_e8 < self.entered_e8

    @property
    def entry_price_e10(self) -> int:
        """Average entry price, rounded down; for display, money never comes from it."""
        return self.entry_cost // self.entry_priced_e8 if self.entry_priced_e8 else 0

    @property
    def initial_margin(self) -> int:
        """Margin of what is left at the entry basis: the one figure that leverage touches."""
        if self.size_e8 <= 0 or not self.entered_e8:
            return 0
        return self.entry_cost * self.size_e8 // self.entered_e8 // self.leverage


class TradeRecord(Record, frozen=True, kw_only=True):
    """A trade's figures; it outlives the slot until the venue's own figures are in."""

    trade_no: int
    trade_id: str
    asset: str
    side: TradeSide
    entered_e8: int
    entry_cost: int
    exited_e8: int
    realized: int
    trueup: int
    fees: int
    pnl_source: str
    closed: bool


class Effect(Record, frozen=True):
    """One request to the runtime; docs/embedding.md says what each kind asks for.

    SUBMIT carries the whole order, with the leverage, tick and step of its trade: at the time when
    it is sent its slot may hold another one.
    """

    kind: EffectKind
    slot_id: int = -1
    trade_no: int = 0
    trade_id: str = ""
    order_no: int = 0
    client_order_id: str = ""
    venue_order_id: str = ""
    asset: str = ""
    side: OrderSide = OrderSide.UNKNOWN
    order_type: OrderType = OrderType.MARKET
    quantity_e8: int = 0
    price_e10: int = 0
    reduce_only: bool = False
    realized: int = 0
    fees: int = 0
    leverage: int = 1
    tick_e10: int = 0
    step_e8: int = 0


class KernelTransition(Record, frozen=True):
    """What an accepted input did to a slot; written for every accepted command and event."""

    trigger: KernelCommandType | KernelEventKind
    before: TradeStage
    after: TradeStage
    slot_id: int
    trade_no: int
    order_no: int
    quantity_delta_e8: int
    size_e8: int
    realized_delta: int
    trueup_delta: int
    fee_delta: int
    leg_index: int


#: Details of an outcome that has none; one object serves them all, as nobody can write to it.
NO_DETAILS: Final[FrozenDict[str, str | int | bool]] = FrozenDict()


class KernelOutcome(Record, frozen=True):
    """The answer to one input.

    ``trigger`` is the input's kind; a refused input that has none of ours keeps its own word.
    """

    accepted: bool
    code: KernelDiagnosticCode
    severity: KernelSeverity
    trigger: KernelCommandType | KernelEventKind
    event_seq: int
    transition: KernelTransition | None = None
    notes: tuple[KernelDiagnosticCode, ...] = ()
    effects: tuple[Effect, ...] = ()
    details: Mapping[str, str | int | bool] = NO_DETAILS


class CapitalSource(StrEnum):
    """Where the published capital comes from (accounting fix §3.1)."""

    SEED = "seed"
    E_ANCHORED = "e_anchored"
    K_BRIDGED = "k_bridged"


class DriftCause(StrEnum):
    """Why the exchange's wallet and our checksum differ (design §7)."""

    SETTLING = "settling"  # own flows too near to the anchor to tell whether it holds them
    PENDING_FEE = "pending_fee"  # fees that are still our estimate
    UNSETTLED_FILL = "unsettled_fill"  # price-less exits whose figure is still to come
    FUNDING_UNREAD = "funding_unread"  # the venue sent a balance for funding, its row is to come
    TRANSFER_UNREAD = "transfer_unread"  # the same for a transfer
    FOREIGN_ACTIVITY = "foreign_activity"  # income rows of others' orders, read and named
    ROUNDING = "rounding"  # half a unit of the wallet's last digit per flow
    PENDING = "pending"  # no cause yet, and still within the time that one may take
    UNEXPLAINED = "unexplained"


class ReconcileStatus(IntEnum):
    """Level of the drift: below 0.01, from there on, from 20.00 unexplained (entries freeze)."""

    OK = 0
    WARN = 1
    ERROR = 2


class AccountSnapshot(Record, frozen=True):
    """The account at one moment; replaced as a whole, never changed.  Money in 10^-18.

    ``capital`` is the newest anchor plus own flows clearly after it, K before any anchor;
    ``realized`` includes true-ups; fees are positive when paid.
    """

    capital: int
    capital_source: CapitalSource
    k_capital: int
    e_wallet_balance: int
    available_margin: int
    equity: int
    realized: int
    unrealized: int
    fees: int
    funding: int
    transfers: int
    open_positions: int
    open_notional: int
    peak_capital: int
    ambiguous: int
    trade_seq: int
    event_seq: int
    entries_frozen: bool
    drift: int
    drift_by_cause: Mapping[DriftCause, int]
    status: ReconcileStatus

    @property
    def leverage_e9(self) -> int:
        """Open notional over capital in 10^-9: the conviction leverage of the whole book."""
        return self.open_notional * 10**9 // self.capital if self.capital > 0 else 0
