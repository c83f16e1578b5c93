"""The model's orders: what is known of an order, and what an event adds to it.

Levels only: figures to date, each with the rank of its source.  Of the trade that an order belongs
to nothing is known here but its fee rates; nothing of slots, ledger or time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from dita.contracts import (
    ENDED_STATUSES,
    EvidenceSource,
    KernelDiagnosticCode,
    KernelEventKind,
    OrderRole,
    OrderType,
    VenueEvent,
    VenueOrderStatus,
)

if TYPE_CHECKING:
    from support.model.trades import Trade

Code = KernelDiagnosticCode
Kind = KernelEventKind
Status = VenueOrderStatus

MONEY_MAX: Final = 10**38
INT64_MAX: Final = 2**63 - 1


class Refused(Exception):
    """The input changes nothing, for this reason."""

    def __init__(self, code: Code, what: str = "") -> None:
        super().__init__(code.name, what)
        self.code = code
        self.what = what


# -- arithmetic ------------------------------------------------------------------------------------


def share(amount: int, part: int, whole: int) -> int:
    """amount × part / whole, rounded half to even: the only rounding there is."""
    return amount if part == whole else round(Fraction(amount * part, whole))


def floor_to(quantity: int, step: int) -> int:
    """The greatest multiple of the step that is not above the quantity."""
    return quantity // step * step if step > 0 else quantity


def stored(quantity: int) -> int:
    """A sum of quantities as the kernel keeps it: at the end of 64 bits it stays there."""
    return max(-INT64_MAX, min(INT64_MAX, quantity))


def in_range(*amounts: int) -> None:
    """Refuse what the kernel could not store."""
    if any(abs(amount) > MONEY_MAX for amount in amounts):
        raise Refused(Code.ARITHMETIC_LIMIT)


def too_wide(*amounts: int) -> bool:
    """So large that sums of many of them could leave the range."""
    return any(abs(amount) > MONEY_MAX // 1024 for amount in amounts)


def prefixes_in_range(amounts: Iterable[int]) -> bool:
    """True when a sum stays in range at every step of the way."""
    total = 0
    for amount in amounts:
        total += amount
        if abs(total) > MONEY_MAX:
            return False
    return True


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


NOTHING: Final = Level()


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
    value_price: int = 0  # what the unfilled part of an entry is valued at
    intent_id: str = ""
    child: int = 0
    expires_ms: int = 0
    deadline_ms: int = 0
    venue_id: str = ""
    status: Status = Status.REQUESTED
    final: bool = False
    queried: bool = False  # its quantity came from a query: an increment may be in it
    unwanted: bool = False  # its cancel was asked for
    lost: bool = False  # the venue's records have nothing of it: a position has to decide
    #: A close that was not ours: ``whole`` is the venue's order, ``level`` what of it is booked.
    external: bool = False
    whole: Level = NOTHING
    locked: bool = False  # a position has said how much of it closed what was ours
    withdrawn: bool = False  # its records had less than its stream said; no position agreed yet
    netted: bool = False  # no order: an opposite slot of ours closed this quantity
    written_off: bool = False  # no order: an operator's word that the quantity is gone
    level: Level = NOTHING
    last_fill_ms: int = 0
    #: Of what is filled: so much at an earlier time, on another side of the anchor.
    old_quantity: int = 0
    old_ms: int = 0

    @property
    def ended(self) -> bool:
        """It cannot fill any more, as far as the venue has said."""
        return self.status in ENDED_STATUSES

    @property
    def terminal(self) -> bool:
        """Ended, and its final figures are in."""
        return self.ended and self.final

    @property
    def told(self) -> Level:
        """What the venue has said of the order, whoever's it is."""
        return self.whole if self.external else self.level

    @property
    def unfilled(self) -> int:
        """What may still be filled of it, as long as it may."""
        return max(0, self.intended - self.level.filled)


def live(order: Order | None) -> bool:
    """There is such an order and it has not ended."""
    return order is not None and not order.ended


# -- what an event does to an order's level --------------------------------------------------------


def level_after(order: Order, e: VenueEvent) -> Level:
    """What is told of the order after the event.

    Refuses a duplicate: a lower quantity, or nothing that is greater or from a better source.
    """
    old = order.told
    reported = e.quantity_e8
    if e.increment:
        if order.queried:
            raise Refused(Code.DUPLICATE_EVENT)
        reported += old.filled
        if reported > INT64_MAX:
            raise Refused(Code.ARITHMETIC_LIMIT)
    elif e.kind is Kind.FILL_SETTLED and reported == 0:
        reported = old.filled
    if reported < old.filled:
        raise Refused(Code.DUPLICATE_EVENT)
    if e.kind is Kind.FILL_SETTLED and reported > old.filled:
        # A settlement names a quantity whose fills, with their prices, are still on the way.
        new = replace(old, filled=reported, cost_rank=0)
    else:
        new = cost_after(old, e, reported)
    new = fee_after(order, old, new, e)
    new = realized_after(order, old, new, e)
    if new == old:
        raise Refused(Code.DUPLICATE_EVENT)
    return new


def cost_rank_of(e: VenueEvent) -> int:
    """How good a cost from this source is."""
    return {EvidenceSource.STREAM: 1, EvidenceSource.ORDER_QUERY: 3}.get(e.source, 4)


def fee_rank_of(e: VenueEvent) -> int:
    """How good a fee from this source is."""
    return {EvidenceSource.STREAM: 2, EvidenceSource.ORDER_QUERY: 3}.get(e.source, 4)


def realized_rank_of(e: VenueEvent) -> int:
    """How good a realized figure from this source is."""
    return {EvidenceSource.STREAM: 1, EvidenceSource.INCOME: 3}.get(e.source, 2)


def cost_after(old: Level, e: VenueEvent, filled: int) -> Level:
    """Cost by the best of: what was known, a figure for the whole, the last fill added to it."""
    grown = filled - old.filled
    whole = whole_rank = 0
    if not e.increment and e.cost is not None:
        if filled > 0:
            whole, whole_rank = e.cost, cost_rank_of(e)
    elif not e.increment and e.price_e10 > 0 and filled > 0:
        whole, whole_rank = e.price_e10 * filled, cost_rank_of(e)
    piece_quantity = e.quantity_e8 if e.increment else e.last_quantity_e8
    piece_price = e.price_e10 if e.increment else e.last_price_e10
    # A last fill helps only when it is exactly what is new, so that no fill is missing in between.
    fits = grown > 0 and piece_price > 0 and piece_quantity == grown
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


def fee_rate(order: Order) -> int:
    """What the contract takes of this order's cost, in 10^-9."""
    rules = order.trade.terms.contract
    assert rules is not None
    return rules.maker_fee_e9 if order.kind is OrderType.LIMIT else rules.taker_fee_e9


def estimated_fee(order: Order, level: Level) -> Level:
    """The level with our own estimate of its fee."""
    fee = share(level.cost, fee_rate(order), 10**9)
    return replace(level, fee=fee, fee_rank=1 if fee else 0)


def fee_after(order: Order, old: Level, new: Level, e: VenueEvent) -> Level:
    """The venue's fee when it is new or better, else our estimate for what it does not cover.

    Of an order that is not ours no estimate is kept: only our part of it has one, once booked.
    """
    grown = new.filled > old.filled
    rank = fee_rank_of(e)
    if e.fee is not None and (grown or rank > old.fee_rank):
        fee = old.fee + e.fee if e.increment else e.fee
        in_range(fee)
        return replace(new, fee=fee, fee_rank=rank)
    more = new.cost - old.cost
    if old.fee_rank <= 1:
        new = estimated_fee(order, new)
    elif grown and more > 0:
        fee = old.fee + share(more, fee_rate(order), 10**9)
        in_range(fee)
        new = replace(new, fee=fee, fee_rank=1)
    if order.external and new.fee_rank == 1:
        return replace(new, fee=0, fee_rank=0)
    return new


def realized_after(order: Order, old: Level, new: Level, e: VenueEvent) -> Level:
    """The venue's realized of an exit; of an entry what its records say that it was paid."""
    rank = realized_rank_of(e)
    if e.realized is None or new.filled == 0:
        return new
    if order.role is OrderRole.ENTRY and e.source is EvidenceSource.STREAM:
        return new
    amount = e.realized
    if e.increment:
        if (old.realized_rank == 0 and old.filled > 0) or old.figure_quantity != old.filled:
            return new  # an increment on an unknown base is no level
        amount += old.realized
        in_range(amount)
    if new.filled > old.figure_quantity or rank > old.realized_rank:
        return replace(new, realized=amount, realized_rank=rank, figure_quantity=new.filled)
    return new


def withdrawn(order: Order, e: VenueEvent) -> Level:
    """The venue's records hold less than its stream said: they are believed, as they are."""
    old, filled = order.level, e.quantity_e8
    new = Level(filled=filled)
    if filled == 0:
        return new
    if e.cost is not None:
        new = replace(new, priced=filled, cost=e.cost, cost_rank=cost_rank_of(e))
    elif e.price_e10 > 0:
        cost = e.price_e10 * filled
        new = replace(new, priced=filled, cost=cost, cost_rank=cost_rank_of(e))
    elif not old.priceless:
        cost = share(old.cost, filled, old.filled)
        new = replace(new, priced=filled, cost=cost, cost_rank=old.cost_rank)
    if e.fee is not None:
        new = replace(new, fee=e.fee, fee_rank=fee_rank_of(e))
    elif old.fee_rank > 1:
        new = replace(new, fee=share(old.fee, filled, old.filled), fee_rank=old.fee_rank)
    else:
        new = estimated_fee(order, new)
    if e.realized is not None:
        rank = realized_rank_of(e)
        new = replace(new, realized=e.realized, realized_rank=rank, figure_quantity=filled)
    return new


def booked_part(order: Order, quantity: int) -> Level:
    """What is booked to our trade of an order that was not ours: so much of its quantity.

    Cost and fee by quantity.  A profit belongs to the part that closed something, and which part
    that was the figure does not say: it counts only when all of the order closed what was ours.
    """
    whole = order.whole
    if quantity == 0:
        return NOTHING
    if quantity == whole.filled:
        new = whole
    else:
        new = Level(filled=quantity, fee_rank=whole.fee_rank)
        new = replace(new, fee=share(whole.fee, quantity, whole.filled))
        if not whole.priceless:
            cost = share(whole.cost, quantity, whole.filled)
            new = replace(new, priced=quantity, cost=cost, cost_rank=whole.cost_rank)
    return estimated_fee(order, new) if whole.fee_rank == 0 else new
