"""The model's tables and ledger: what there is, finding it, and booking a change of it.

Every change of an order's level goes through ``_book``, which moves the ledger by the difference.
Knows no input and no rule of when something is booked.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from functools import cache
from typing import Final, NamedTuple

from dita.contracts import (
    EffectKind,
    KernelIntent,
    OrderRole,
    RiskLimit,
    VenueEvent,
)
from dita.identity import plain_symbol
from dita.kernel import KernelConfig
from support.model.orders import (
    Code,
    Level,
    Order,
    Refused,
    booked_part,
    in_range,
    prefixes_in_range,
    share,
    stored,
)
from support.model.trades import (
    Anchor,
    Figures,
    Flow,
    Leaf,
    Slot,
    Stage,
    Trade,
    by_venue,
    sums_in_range,
)

Record = KernelIntent | VenueEvent

RECOVERY_MIN: Final = 16
SKEW_MS: Final = 60_000
DAY_MS: Final = 86_400_000
ERROR_WINDOW_MS: Final = 480_000
ERRORS_KEPT: Final = 128
#: From here on only slots that had the code wait, and ENTER is refused; from there on everybody.
ERRORS_OF_A_SLOT: Final = 7
ERRORS_OF_ALL: Final = 15


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


class Held(NamedTuple):
    """An event that waits: it can only be of an order that was there when it came."""

    event: VenueEvent
    newest_no: int


@dataclass
class Place:
    """A position of others: its signed quantity, and the time from which that is known."""

    quantity: int = 0
    as_of_ms: int = 0


def slot_count(slot_limit: int) -> int:
    """Slots that ENTER may use, and behind them those for trades that come back."""
    return slot_limit + RECOVERY_MIN + slot_limit // 4


class Tables:
    """Slots, trades, orders, ledger."""

    def __init__(self, config: KernelConfig) -> None:
        self.config = config
        self.slots: list[Slot | None] = [None] * slot_count(config.slot_limit)
        self.trades_by_no: list[Trade] = []
        self.orders: list[Order] = []
        self.clients: dict[str, Order] = {}
        self.held: list[Held] = []
        self.seen: list[set[str]] = [set(), set()]
        self.seen_now = 0
        self.foreign: dict[tuple[str, bool], Place] = {}  # by symbol, and in hedge mode by side
        self.frozen: set[str] = set()
        self.held_symbols: set[str] = set()
        self.symbol_texts: dict[str, str] = {}
        self.errors: list[tuple[int, int]] = []  # (time, code) of the latest rejections
        self.enters_ms: list[int] = []
        self.limits = dict.fromkeys(RiskLimit, 0)
        self.now_ms = 0
        self.offset_ms = 0  # the venue's clock less ours
        self.event_seq = 0
        self.seed = config.seed
        self.seeded = False
        self.anchor: Anchor | None = None
        self.flows: list[Flow] = []
        self.funding = self.transfers = self.adjustments = self.foreign_sum = 0
        self.foreign_funding = self.foreign_transfers = 0
        self.income_from_ms = self.income_read_ms = 0
        self.peak = 0
        self.flow_total = 0
        self.routed_by_state = 0
        self.last_fill_ms = 0
        self.clamped = 0
        self.day = 0
        self.day_base = 0
        self._answer = ModelOutcome()
        self._effects: list[Effect] = []

    # -- answers -----------------------------------------------------------------------------------

    def _accept(self, record: Record) -> None:
        """The point of no return.  Time never runs backwards."""
        if self._answer.accepted:
            return
        self._answer.accepted = True
        self.event_seq += 1
        self.now_ms = max(self.now_ms, record.received_ms)
        day = self.now_ms // DAY_MS
        if day != self.day:
            self.day, self.day_base = day, self.result()

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

    def _slots_of(self, asset: str, side: int = 0) -> list[Slot]:
        """The slots in use on a symbol; with a side only those whose trade has it."""
        symbol = plain_symbol(asset)
        return [s for s in self._used() if s.trade.asset == symbol and side in (0, s.trade.side)]

    def _slot_of_asset(self, asset: str, side: int = 0) -> Slot | None:
        return next(iter(self._slots_of(asset, side)), None) if asset else None

    def _slot_of_trade(self, trade_id: str) -> Slot | None:
        return next((s for s in self._used() if s.trade.terms.trade_id == trade_id), None)

    def _slot_at(self, trade: Trade) -> Slot | None:
        return None if trade.slot is None else self.slots[trade.slot]

    def _order_of_venue(self, venue_id: str) -> Order | None:
        if not venue_id:
            return None
        return next((o for o in reversed(self.orders) if o.venue_id == venue_id), None)

    def _place(self, asset: str, side: int) -> tuple[str, bool]:
        """Where a position of others stands: in hedge mode each side is one of its own."""
        return plain_symbol(asset), self.config.hedge and side < 0

    def _net(self, slots: list[Slot]) -> int:
        """The signed position that these slots make together."""
        net = 0
        for slot in slots:
            net = stored(net + slot.trade.side * slot.size)
        return net

    def _home(self, trade: Trade) -> list[int]:
        """Where a trade that has left its slot could come back to: its own slot, else the first."""
        free = [i for i, slot in enumerate(self.slots) if slot is None]
        return [trade.last_slot] if trade.last_slot in free else free

    def _new_order(self, trade: Trade, role: OrderRole, quantity: int) -> Order:
        side = trade.side if role is OrderRole.ENTRY else -trade.side
        order = Order(len(self.orders) + 1, trade, role, side, quantity)
        self.orders.append(order)
        trade.orders.append(order)
        return order

    def client_id(self, order: Order) -> str:
        """The id an order carries at the venue: a pure function of its intent (design P2)."""
        if order.external:
            return ""
        name = order.intent_id or f"recovery:{order.trade.trade_no}"
        return _named(self.config.namespace, self.config.epoch, name, order.child)

    # -- time --------------------------------------------------------------------------------------

    def exchange_now(self, record: Record) -> int:
        """What the venue's clock showed when this was received."""
        return record.received_ms + self.offset_ms

    def _too_far(self, e: VenueEvent) -> bool:
        """Its time is further ahead than clocks differ."""
        return e.exchange_ms > self.exchange_now(e) + SKEW_MS

    def _time_of(self, e: VenueEvent) -> int:
        """When it happened, by the venue's clock; a time of the future is not believed."""
        unknown = e.exchange_ms == 0 or self._too_far(e)
        return self.exchange_now(e) if unknown else e.exchange_ms

    # -- what the venue counts against us ----------------------------------------------------------

    def _times_of(self, code: int, now_ms: int) -> list[int]:
        """Times of the rejections with this code that the venue still counts."""
        return [ms for ms, other in self.errors if other == code and now_ms - ms < ERROR_WINDOW_MS]

    def _worst(self, now_ms: int) -> int:
        """The greatest number of equal rejections that the venue counts."""
        return max((len(self._times_of(code, now_ms)) for _, code in self.errors), default=0)

    # -- booking -----------------------------------------------------------------------------------

    def _must_fit(self, order: Order, level: Level) -> None:
        """Refuse when money that follows from the order's new level leaves the range."""
        trade = order.trade
        others = trade.leaves(without=order)
        after = [*others, Leaf(order.role, level)]
        sums_in_range(others, after, trade)
        now, was = trade.figures_of(after), trade.figures
        realized, trueup = now.realized - was.realized, now.trueup - was.trueup
        fees = now.fees - was.fees
        flow = realized + trueup - fees
        in_range(realized, trueup, fees)
        in_range(realized + trueup, flow, self.bridged + flow, self.ambiguous + flow)
        in_range(self.realized + realized, self.trueup + trueup, self.fees + fees)
        if not trade.closed:
            in_range(self.fees_estimated + now.fees_estimated - was.fees_estimated)

    def _fits(self, order: Order, level: Level) -> bool:
        try:
            self._must_fit(order, level)
        except Refused:
            return False
        return True

    def _date(self, order: Order, at_ms: int) -> None:
        """Some more of the order was filled at this time."""
        last = order.last_fill_ms
        if at_ms > last > 0 and order.told.filled and self._side_of(last) != self._side_of(at_ms):
            order.old_quantity, order.old_ms = order.told.filled, last
        order.last_fill_ms = max(last, at_ms)
        self.last_fill_ms = max(self.last_fill_ms, at_ms)

    def _book(self, order: Order, level: Level, grown: bool = False) -> None:
        """The order's new level, and the ledger's difference; grown: some of it was just filled."""
        trade, answer, before, was = order.trade, self._answer, order.level, order.trade.figures
        order.level = level
        trade.recompute()
        now = trade.figures
        realized, trueup = now.realized - was.realized, now.trueup - was.trueup
        fees = now.fees - was.fees
        all_now = grown and not (before.filled and before.priceless)
        if order.role is OrderRole.ENTRY:
            figure = level.realized - before.realized  # paid for what it closed of a stranger's
            self._flow_of_exits(trade, realized + trueup - figure)
            self._flow_of(order, figure - fees, all_now)
        else:
            self._flow_of(order, realized + trueup - fees, all_now)
        self.flow_total += realized + trueup - fees != 0
        self._track_peak()
        answer.quantity_delta = stored(answer.quantity_delta + level.filled - before.filled)
        answer.realized_delta += realized
        answer.trueup_delta += trueup
        answer.fee_delta += fees
        self._notes_on(order, was, grown)

    def _notes_on(self, order: Order, was: Figures, grown: bool) -> None:
        level, trade, now = order.level, order.trade, order.trade.figures
        is_exit = order.role is OrderRole.EXIT
        if now.unsettled < was.unsettled:
            self._note(Code.REALIZED_SETTLED)
        if is_exit and level.priceless and not level.known:
            self._note(Code.REALIZED_SKIPPED_NO_PRICE)
        if now.entry_priced < now.entered:
            self._note(Code.ENTRY_BASIS_MISSING)
        if grown and not order.external and level.filled > order.intended:
            self._note(Code.OVERFILL)
        told = level.realized_rank > 0 and not level.priceless
        expected = trade.pnl_of(level) if is_exit else 0
        moved = (told or not is_exit) and now.trueup != was.trueup
        if moved and self._deviates(level.realized, expected):
            self._note(Code.FIGURE_DEVIATES)

    def _deviates(self, figure: int, ours: int) -> bool:
        """Beyond the configured amount and 1 % of the leg's own result."""
        limit = max(self.config.figure_tolerance, share(abs(ours), 1, 100))
        return abs(figure - ours) > limit

    def _give_back(self, trade: Trade, quantity: int) -> None:
        """Somebody else put back so much less than was thought."""
        trade.returned = max(0, trade.returned - quantity)
        trade.recompute()

    def _rebook(self, trade: Trade) -> None:
        """Of what others closed, ours is what our own orders left open: a function of levels."""
        externals = [o for o in trade.orders if o.external and not o.netted]
        f = trade.figures
        room = f.entered - f.exited + sum(o.level.filled for o in trade.unlocked)
        for order in sorted(externals, key=by_venue):
            quantity = order.level.filled
            if not order.locked:
                quantity = max(0, min(order.whole.filled, room))
                room -= quantity
            self._book_part(order, quantity)
        self._foreign_of(trade)

    def _book_part(self, order: Order, quantity: int) -> None:
        """So much of an order that was not ours; beyond the range of money all stays as it is."""
        level = booked_part(order, quantity)
        if level != order.level and self._fits(order, level):
            self._book(order, level)

    def _foreign_of(self, trade: Trade) -> None:
        """What others did with the orders that closed part of this trade."""
        trade.recompute()
        self.foreign_sum += trade.figures.foreign - trade.foreign_told
        trade.foreign_told = trade.figures.foreign

    # -- flows -------------------------------------------------------------------------------------

    def _side_of(self, exchange_ms: int) -> str:
        return self.anchor.place(exchange_ms) if self.anchor else ""

    def _flow_of(self, order: Order, amount: int, all_now: bool) -> None:
        """Money of an order, at the times at which it was filled."""
        told = order.told
        old = 0
        if not all_now and 0 < order.old_quantity < told.filled:
            old = share(amount, order.old_quantity, told.filled)
        self._flow(order.old_ms, old, True)
        self._flow(order.last_fill_ms, amount - old, True)

    def _flow_of_exits(self, trade: Trade, amount: int) -> None:
        """What an entry's change does to the money of exits: theirs, and at their times."""
        exits = [order for order in trade.of_role(OrderRole.EXIT) if order.level.filled]
        total, left = sum(order.level.filled for order in exits), amount
        for order in exits:
            part = left if order is exits[-1] else share(amount, order.level.filled, total)
            left -= part
            self._flow_of(order, part, False)

    def _flow(self, exchange_ms: int, amount: int, is_fill: bool) -> None:
        if amount and self._side_of(exchange_ms) != "held":
            self.flows.append(Flow(exchange_ms, amount, is_fill))

    def _track_peak(self) -> None:
        capital = self.capital()
        if capital is not None:
            self.peak = max(self.peak, capital)

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

    def result(self) -> int:
        """What we earned, by our own sums: of the day it is the difference to its beginning."""
        return self.realized + self.trueup - self.fees + self.funding

    def _placed(self, place: str) -> list[int]:
        return [f.amount for f in self.flows if self._side_of(f.exchange_ms) == place]

    @property
    def bridged(self) -> int:
        """Own flows that are clearly after the newest balance."""
        return sum(self._placed("after"))

    @property
    def ambiguous(self) -> int:
        """Own flows that it may hold or not."""
        return sum(self._placed("near"))

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


@cache
def _named(*parts: object) -> str:
    digest = hashlib.sha256("\x00".join(map(str, parts)).encode()).digest()
    return base64.b32encode(digest).decode().lower()[:32]
