"""The model's trades and slots: money that follows from levels, state that follows from facts.

A trade's figures are worked out anew from all its orders, so no order of arrival can matter.  Knows
orders; nothing of the ledger, of other trades or of events.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from dita.contracts import (
    BalanceReason,
    KernelIntent,
    OrderRole,
    OrderType,
    TradeStage,
)
from dita.identity import plain_symbol, venue_key_of
from support.model.orders import (
    INT64_MAX,
    Code,
    Level,
    Order,
    Refused,
    floor_to,
    in_range,
    live,
    share,
)

Stage = TradeStage

#: An exit goal of everything there is and will be.
ALL: Final = INT64_MAX
AMBIGUOUS_MS: Final = 2_000


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
    foreign: int


@dataclass(frozen=True)
class Leaf:
    """One order's part of a trade's sums; ``whole`` is the venue's order when it was not ours."""

    role: OrderRole
    level: Level
    whole: Level | None = None


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
        self.side = int(terms.side)
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
        self.told = False  # CLOSE_TRADE was asked for
        self.recovery_child = 0  # number of the next exit that no intent asks for
        self.written_off = False  # part of it was
        self.foreign_told = 0  # its part of the ledger's sum of what others did
        self.returned = 0  # more went out than came in, and others closed it
        self.figures = self.figures_of(self.leaves())

    # -- its orders --------------------------------------------------------------------------------

    def of_role(self, role: OrderRole) -> list[Order]:
        """Its orders of this role, oldest first."""
        return [order for order in self.orders if order.role is role]

    @property
    def own_exits(self) -> list[Order]:
        """Exit orders that were ours."""
        return [o for o in self.of_role(OrderRole.EXIT) if not o.external]

    @property
    def unlocked(self) -> list[Order]:
        """Closes that were not ours and that can still be booked otherwise, in the order in which
        they are booked: as the venue counts them, never as we heard of them."""
        return sorted((o for o in self.orders if o.external and not o.locked), key=by_venue)

    @property
    def open_orders(self) -> int:
        """Own orders that may still change the figures."""
        return sum(not order.final for order in self.orders if not order.external)

    @property
    def certain(self) -> bool:
        """Every order of ours has ended, and its final figures are in."""
        return all(order.terminal for order in self.orders if not order.external)

    @property
    def over(self) -> bool:
        """The same, or the venue has no record of it any more: a position decides about it."""
        return all(o.terminal or (o.ended and o.lost) for o in self.orders if not o.external)

    @property
    def works(self) -> bool:
        """Some order of ours is live."""
        return any(not order.ended for order in self.orders if not order.external)

    @property
    def entry_may_fill(self) -> bool:
        """Some more may still come in."""
        return any(
            not o.terminal and (not o.ended or o.level.filled < o.intended)
            for o in self.of_role(OrderRole.ENTRY)
        )

    # -- its money ---------------------------------------------------------------------------------

    def leaves(self, without: Order | None = None) -> list[Leaf]:
        """What each order contributes, and the position that was adopted, which counts as entry."""
        found = [
            Leaf(o.role, o.level, o.whole if o.external and not o.netted else None)
            for o in self.orders
            if o is not without
        ]
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

        def theirs_of(leaf: Leaf) -> int | None:
            """What the venue booked for an order that was not ours, less what we book for it."""
            whole, level = leaf.whole, leaf.level
            if whole is None or whole.filled == 0:
                return 0
            if not whole.known:
                return None
            if level.filled == whole.filled:
                return 0
            if level.filled and whole.priceless:
                return None  # nobody can say what our part made
            return whole.realized - whole.fee - (ours([level]) - level.fee)

        others = [theirs_of(leaf) for leaf in leaves]
        based = entry_priced >= entered
        said = sum(level.realized for level in theirs)
        paid = sum(level.realized for level in entries)  # for closing what was a stranger's
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
            realized=self.carried + said + (ours(own) if based else told + paid),
            trueup=told + paid - ours(both) if based else 0,
            size=entered - exited + self.returned,
            foreign=sum(n or 0 for n in others) if based and None not in others else 0,
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
        return self.side * (proceeds - share(entry_cost, exited, whole))

    def pnl_of(self, level: Level) -> int:
        """Our own figure for one exit."""
        f = self.figures
        return self.pnl(f.entered, f.entry_priced, f.entry_cost, f.exited, level.filled, level.cost)

    @property
    def booked(self) -> int:
        """What this trade has put into K; what was carried in was never K's."""
        return self.figures.realized - self.carried


def by_venue(order: Order) -> tuple[bool, int, int]:
    """The venue's order of orders; what has no id of it comes last, as we heard of it."""
    return not order.venue_id, venue_key_of(order.venue_id), order.order_no


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
            sum(level.realized for level in [*both, *entries]),
            sum(level.realized for level in theirs),
        )
    entered = sum(leaf.level.filled for leaf in after if leaf.role is OrderRole.ENTRY)
    exited = sum(leaf.level.filled for leaf in after if leaf.role is OrderRole.EXIT)
    if max(entered, exited) > INT64_MAX:
        raise Refused(Code.ARITHMETIC_LIMIT)
    figures = trade.figures_of(after)
    in_range(figures.realized - trade.carried, figures.realized, figures.trueup)


# -- slots -----------------------------------------------------------------------------------------


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
    urgent: bool = False
    explicit: bool = False  # the goal is a quantity that somebody typed
    goal: int = 0  # exited quantity that the latch wants to see
    goal_base: int = 0
    goal_ratio: int = 0  # of a leg: its share of what there is beyond the base; 0 = no leg
    start: int = 0  # exited quantity when the leg was asked for
    exit_intent: str = ""
    next_child: int = 0
    exit_kind: OrderType = OrderType.MARKET
    exit_price: int = 0
    exit_wait_ms: int = 0
    market: int = 0  # up to this exited quantity children are MARKET
    dust_size: int = 0  # a size that the venue called too small
    retry_ms: int = 0
    rejects: int = 0
    error_code: int = 0
    futile_ms: int = 0  # next exit while the venue shows no position
    stale_ms: int = 0
    last_fill_ms: int = 0
    proven: int = 0
    proven_ms: int = 0
    short_ms: int = 0  # the first answer that showed less than ours
    mark: int = 0

    @property
    def size(self) -> int:
        """What is left of the trade."""
        return self.trade.figures.size

    def drop_latch(self) -> None:
        """The exit is done with, or taken back."""
        self.latched, self.urgent, self.explicit = False, False, False
        self.goal = self.goal_base = self.goal_ratio = 0
        self.retry_ms = self.market = self.dust_size = 0

    @property
    def outstanding(self) -> bool:
        """An exit was asked for and something of it is still to go out."""
        f = self.trade.figures
        return self.latched and f.size > 0 and (self.goal == ALL or f.exited < self.goal)

    def state_now(self) -> Stage:
        """The state follows from the facts; no event ever sets it."""
        if self.stale or self.size < 0:
            return Stage.STALE_STATE_RECONCILING
        if live(self.exit_order) or self.outstanding:
            return Stage.EXIT_WORKING
        if live(self.entry_order):
            return Stage.ENTRY_WORKING
        if self.size > 0:
            return Stage.POSITION_OPEN
        return Stage.CLOSED if self.trade.open_orders else Stage.IDLE

    def proof(self, quantity: int, at_ms: int) -> None:
        """The venue has this much of ours."""
        self.proven, self.proven_ms = quantity, at_ms

    def capped(self, theirs: int) -> int:
        """How much of ours there is when the venue's whole position is this."""
        return max(0, min(self.size, theirs * self.trade.side))

    def leg_goal(self, base: int, ratio: int) -> int:
        """Exited quantity of a leg: its ratio of what there is beyond the base, in whole steps; ALL
        for what the venue would not take, and for what would leave nothing."""
        trade = self.trade
        rules = trade.terms.contract
        assert rules is not None
        left = trade.figures.entered - base
        quantity = floor_to(left * ratio // 10**9, rules.step_e8)
        if quantity <= 0 or quantity < rules.min_quantity_e8 or quantity >= left:
            return ALL
        value = self.value_of(quantity)
        return ALL if value is not None and value < rules.min_notional else base + quantity

    def value_of(self, quantity: int) -> int | None:
        """What so much of the trade is worth, by the mark or by its entries; None: not known."""
        f = self.trade.figures
        if self.mark:
            return self.mark * quantity
        known = f.entered > 0 and f.entry_priced == f.entered
        return share(f.entry_cost, quantity, f.entered) if known else None


# -- flows and balances ----------------------------------------------------------------------------


class Flow(NamedTuple):
    """Money that moved the account, at the exchange's time; of a fill of ours, or otherwise."""

    exchange_ms: int
    amount: int
    is_fill: bool


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
