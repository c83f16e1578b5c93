"""What the mock venue's book is made of, and the two roundings it needs."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from dita.contracts import (
    ENDED_STATUSES,
    KernelEventKind,
    OrderSide,
    OrderType,
    PositionSide,
    Record,
    RejectReason,
    VenueOrderStatus,
)
from dita.venues import FillReport, IncomeReport, OrderReport, PositionReport


class Order(msgspec.Struct, kw_only=True):
    """An order in the book.  ``position_side`` is 0 in one-way mode."""

    client_order_id: str
    venue_order_id: str
    asset: str
    side: OrderSide
    order_type: OrderType
    quantity_e8: int
    limit_price_e10: int
    reduce_only: bool
    leverage: int
    position_side: int
    parts: int
    created_ms: int
    updated_ms: int
    hidden_until_ms: int = 0
    status: VenueOrderStatus = VenueOrderStatus.WORKING
    filled_e8: int = 0
    cost: int = 0
    fee: int = 0
    realized: int = 0

    @property
    def works(self) -> bool:
        """Not ended."""
        return self.status not in ENDED_STATUSES

    @property
    def left_e8(self) -> int:
        """What is still to fill."""
        return self.quantity_e8 - self.filled_e8

    @property
    def average_price_e10(self) -> int:
        """Rounded half-even to 10^-10, as a venue rounds it; 0 when nothing is filled."""
        return half_even(self.cost, self.filled_e8) if self.filled_e8 else 0

    def report(self) -> OrderReport:
        """The order as a query shows it."""
        return OrderReport(
            client_order_id=self.client_order_id,
            venue_order_id=self.venue_order_id,
            asset=self.asset,
            side=self.side,
            order_type=self.order_type,
            status=self.status,
            quantity_e8=self.quantity_e8,
            filled_e8=self.filled_e8,
            average_price_e10=self.average_price_e10,
            fee=self.fee,
            realized=self.realized,
            updated_ms=self.updated_ms,
            position_side=PositionSide(self.position_side),
        )


class Fill(Record, frozen=True, kw_only=True):
    """One fill as the book remembers it: the report, and what it realized."""

    report: FillReport
    realized: int


class Position(msgspec.Struct, kw_only=True):
    """A position: unsigned quantity with its cost."""

    side: int
    quantity_e8: int = 0
    cost: int = 0
    leverage: int = 1
    updated_ms: int = 0


class Dump(Record, frozen=True, kw_only=True):
    """Everything that the venue knows, hidden orders included."""

    now_ms: int
    wallet: int
    available_margin: int
    prices: dict[str, int]
    orders: tuple[OrderReport, ...]
    fills: tuple[FillReport, ...]
    positions: tuple[PositionReport, ...]
    income: tuple[IncomeReport, ...]


class Refusal(NamedTuple):
    """Why the venue would not take an order, with a code and words as BingX has them."""

    reason: RejectReason
    code: int
    words: str


class Fact(NamedTuple):
    """What happened in the book: the kind of frame, the order, and the fill if it was one."""

    kind: KernelEventKind
    order: Order
    fill: Fill | None = None


def split(quantity_e8: int, parts: int, step_e8: int) -> list[int]:
    """Cut a quantity into at most ``parts`` multiples of the step; the last takes the rest."""
    part = quantity_e8 // max(parts, 1)
    part -= part % step_e8
    if quantity_e8 <= 0 or part <= 0:
        return [quantity_e8] if quantity_e8 > 0 else []
    return [part] * (parts - 1) + [quantity_e8 - part * (parts - 1)]


def half_even(numerator: int, divisor: int) -> int:
    """Divide by a positive divisor; exactly half goes to the even neighbour."""
    quotient, rest = divmod(numerator, divisor)
    up = 2 * rest > divisor or (2 * rest == divisor and quotient % 2 == 1)
    return quotient + 1 if up else quotient
