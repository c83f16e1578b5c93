"""The exchange of a small world: orders, pooled positions, fills, rows, and what it answers.

It is exact and has no opinion: what a fill does to a position, what it costs and which row it
books is worked out here as the exchange does it, and every judgement on the kernel is read from
this book.  It knows nothing of slots or the runtime; whose an order is, is a label on it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, NamedTuple

from dita.contracts import OrderSide, OrderType, VenueOrderStatus
from dita.venues import FillReport, IncomeKind, IncomeReport, OrderReport, PositionReport

#: A whole second, so that the place of an act within its second can be read off its time.
ORIGIN_MS: Final = 1_700_000_000_000
UNIT: Final = 10**8
SYMBOLS: Final = ("AAA-USDT", "BBB-USDT")
#: Prices in 10^-10 by who trades: profit, loss and share are never the same number.
ENTRY_PRICE, EXIT_PRICE, HAND_PRICE, FORCED_PRICE = (
    10 * 10**10,
    13 * 10**10,
    11 * 10**10,
    7 * 10**10,
)
FEE_E4: Final = 5

WORKING, FILLED = int(VenueOrderStatus.WORKING), int(VenueOrderStatus.FILLED)
CANCELLED, EXPIRED = int(VenueOrderStatus.CANCELLED), int(VenueOrderStatus.EXPIRED)


class Who(IntEnum):
    """Whose order it is."""

    OURS = 0
    STRANGER = 1
    LIQUIDATION = 2
    ADL = 3


class Fill(NamedTuple):
    """One fill; ``closed`` is the part of it that closed a position."""

    quantity: int
    price: int
    fee: int
    realized: int
    closed: int
    ms: int


class Order(NamedTuple):
    """An order in the exchange's records."""

    vid: int
    own: int  # our number of it, 0 = somebody else's
    trade: int
    role: int
    who: int
    symbol: int
    side: int
    position_side: int
    reduce: bool
    limited: bool
    quantity: int
    status: int
    ms: int
    fills: tuple[Fill, ...] = ()
    forgotten: bool = False
    key: tuple[Any, ...] = ()

    @property
    def filled(self) -> int:
        """Cumulative quantity."""
        return sum(fill.quantity for fill in self.fills)

    @property
    def cost(self) -> int:
        """Price times quantity over its fills."""
        return sum(fill.quantity * fill.price for fill in self.fills)

    @property
    def fee(self) -> int:
        """What it paid."""
        return sum(fill.fee for fill in self.fills)

    @property
    def realized(self) -> int:
        """What it was paid for closing."""
        return sum(fill.realized for fill in self.fills)

    @property
    def works(self) -> bool:
        """Can it still fill?"""
        return self.status == WORKING

    def to(self, **changes: Any) -> Order:
        """This order changed; its key tells orders apart as far as the world can."""
        new = self._replace(**changes)
        fills = tuple((*fill[:5], fill.ms % 1000) for fill in new.fills)
        key = (*new[2:12], new.ms % 1000, fills, new.forgotten)
        return new._replace(key=key)


class Flow(NamedTuple):
    """Money that no order moved: a row of its own, or none at all."""

    kind: int  # IncomeKind, 0 = gone without a row
    symbol: int
    amount: int
    ours: bool
    ms: int


class Book:
    """All that the exchange knows.  ``copy`` before changing: parts are shared."""

    __slots__ = ("deaf", "flows", "locked", "orders", "positions", "second", "suspended", "tick")

    def __init__(self) -> None:
        self.second = 0
        self.tick = 0  # acts so far: their order is their place within the second
        self.orders: tuple[Order, ...] = ()
        self.positions: tuple[tuple[int, int], ...] = ((0, 0),) * (2 * len(SYMBOLS))
        self.flows: tuple[Flow, ...] = ()
        self.locked = self.deaf = self.suspended = False

    def copy(self) -> Book:
        """Another one in the same state."""
        new = Book.__new__(Book)
        new.second, new.tick, new.orders = self.second, self.tick, self.orders
        new.positions, new.flows = self.positions, self.flows
        new.locked, new.deaf, new.suspended = self.locked, self.deaf, self.suspended
        return new

    def key(self) -> tuple[Any, ...]:
        """What tells two books apart, but for how long ago things were."""
        return (
            tuple(order.key for order in self.orders),
            tuple((*flow[:4], flow.ms % 1000) for flow in self.flows),
            (self.locked, self.deaf, self.suspended),
        )

    # -- time --------------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        """The second it is, without the acts in it: our own clock."""
        return ORIGIN_MS + self.second * 1000

    @property
    def asked_ms(self) -> int:
        """The exchange's time for a question: after the last act and before the next."""
        return self.now_ms + 2 * self.tick + 1

    def act(self) -> int:
        """The time of a new act."""
        self.tick += 1
        return self.now_ms + 2 * self.tick

    # -- orders ------------------------------------------------------------------------------------

    def put(self, order: Order) -> None:
        """Take over a changed order."""
        self.orders = tuple(order if old.vid == order.vid else old for old in self.orders)

    def add(self, **fields: Any) -> Order:
        """A new order with the next id."""
        vid = len(self.orders) + 1
        order = Order(vid=vid, status=WORKING, ms=self.act(), **fields).to()
        self.orders = (*self.orders, order)
        return order

    def order(self, vid: int) -> Order:
        """The order with this id."""
        return self.orders[vid - 1]

    def own(self, number: int) -> Order | None:
        """Our order with this number, None when the exchange has no record of it."""
        for order in self.orders:
            if order.own == number and not order.forgotten:
                return order
        return None

    def position(self, symbol: int, position_side: int) -> int:
        """Signed quantity."""
        return self.positions[2 * symbol + (position_side < 0)][0]

    def closable(self, symbol: int, side: int, position_side: int) -> int:
        """How much an order of this side can close."""
        held = self.position(symbol, position_side)
        return abs(held) if held * side < 0 else 0

    def fill(self, vid: int, quantity: int, price: int) -> Order:
        """Fill an order; what only reduces never takes more than is there, and then ends."""
        order = self.order(vid)
        if order.reduce:
            closable = self.closable(order.symbol, order.side, order.position_side)
            quantity = min(quantity, closable)
        ms = self.act()
        if quantity:
            order = self._filled(order, quantity, price, ms)
        status = order.status
        if order.filled == order.quantity:
            status = FILLED
        elif order.reduce and not self.closable(order.symbol, order.side, order.position_side):
            status = CANCELLED
        order = order.to(status=status, ms=ms)
        self.put(order)
        return order

    def _filled(self, order: Order, quantity: int, price: int, ms: int) -> Order:
        at = 2 * order.symbol + (order.position_side < 0)
        held, cost = self.positions[at]
        closed = realized = 0
        if held * order.side < 0:
            closed = min(quantity, abs(held))
            share = cost * closed // abs(held)
            realized = -order.side * (price * closed - share)
            cost -= share
            held += order.side * closed
        opened = quantity - closed
        after = (held + order.side * opened, cost + price * opened)
        self.positions = (*self.positions[:at], after, *self.positions[at + 1 :])
        fee = price * quantity * FEE_E4 // 10_000
        fill = Fill(quantity, price, fee, realized, closed, ms)
        return order._replace(fills=(*order.fills, fill))

    def end(self, vid: int, status: int) -> Order:
        """An order ends with what it has."""
        order = self.order(vid).to(status=status, ms=self.act())
        self.put(order)
        return order

    # -- answers -----------------------------------------------------------------------------------

    def order_report(self, order: Order) -> OrderReport:
        """The order as a question for it is answered."""
        filled = order.filled
        return OrderReport(
            client_order_id=f"c{order.own}" if order.own else "",
            venue_order_id=str(order.vid),
            asset=SYMBOLS[order.symbol],
            side=SIDE[order.side],
            order_type=OrderType.LIMIT if order.limited else OrderType.MARKET,
            status=STATUS[order.status],
            quantity_e8=order.quantity,
            filled_e8=filled,
            average_price_e10=order.cost // filled if filled else 0,
            fee=order.fee,
            realized=order.realized,
            updated_ms=order.ms,
        )

    def fill_reports(self, symbol: int, since_ms: int = 0) -> list[FillReport]:
        """The fill history of a symbol."""
        return [
            FillReport(
                fill_id=f"{order.vid}:{fill.ms}",
                client_order_id="",
                venue_order_id=str(order.vid),
                asset=SYMBOLS[symbol],
                side=SIDE[order.side],
                quantity_e8=fill.quantity,
                price_e10=fill.price,
                fee=fill.fee,
                filled_ms=fill.ms,
            )
            for order in self.orders
            if order.symbol == symbol and not order.forgotten
            for fill in order.fills
            if fill.ms >= since_ms
        ]

    def position_reports(self) -> tuple[PositionReport, ...]:
        """Every position that is not flat."""
        found = []
        for at, (held, cost) in enumerate(self.positions):
            if held:
                found.append(
                    PositionReport(
                        asset=SYMBOLS[at // 2],
                        side=OrderSide.BUY if held > 0 else OrderSide.SELL,
                        quantity_e8=abs(held),
                        average_price_e10=cost // abs(held),
                        leverage=1,
                        updated_ms=self.asked_ms,
                    )
                )
        return tuple(found)

    def wallet_change(self) -> int:
        """What the wallet gained since the beginning."""
        trades = sum(order.realized - order.fee for order in self.orders)
        return trades + sum(flow.amount for flow in self.flows)

    def income(self) -> list[IncomeReport]:
        """Every row, oldest first."""
        rows = []
        for order in self.orders:
            for fill in order.fills:
                for kind, amount in (
                    (IncomeKind.REALIZED, fill.realized),
                    (IncomeKind.FEE, -fill.fee),
                ):
                    if amount:
                        rows.append(self._row(kind, order.symbol, amount, str(fill.ms), fill.ms))
        for flow in self.flows:
            if flow.kind:
                kind = IncomeKind(flow.kind)
                rows.append(self._row(kind, flow.symbol, flow.amount, "", flow.ms))
        return sorted(rows, key=lambda row: row.time_ms)

    @staticmethod
    def _row(kind: IncomeKind, symbol: int, amount: int, trade: str, ms: int) -> IncomeReport:
        return IncomeReport(
            income_id=f"{kind.name}-{ms}",
            kind=kind,
            asset=SYMBOLS[symbol],
            amount=amount,
            trade_id=trade,
            time_ms=ms,
        )


#: Looked up instead of called: making an enum member from its number is slow.
SIDE: Final = {int(side): side for side in OrderSide}
STATUS: Final = {int(status): status for status in VenueOrderStatus}
