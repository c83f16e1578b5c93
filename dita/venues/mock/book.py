"""The mock venue's own truth, pure and synchronous: orders, fills, positions, wallet, income.

The owner moves its time; ``tell`` hears of every fact at once.  It knows no script and no stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dita.contracts import (
    KernelEventKind,
    OrderSide,
    OrderType,
    PositionSide,
    RejectReason,
    VenueOrderStatus,
)
from dita.venues import (
    FillReport,
    IncomeKind,
    IncomeReport,
    OrderRef,
    PositionReport,
    SubmitOrder,
)
from dita.venues.mock.config import MockConfig
from dita.venues.mock.records import (
    Dump,
    Fact,
    Fill,
    Order,
    Position,
    Refusal,
    half_even,
    split,
)

_SNOWFLAKE_MS: Final = 1_288_834_974_657  # BingX order ids tell their time (counted from here)


class Book:
    """Orders, fills, positions and money.  ``tell`` hears of every fact at once."""

    def __init__(self, config: MockConfig, tell: Callable[[Fact], None]) -> None:
        self.config = config
        self.now_ms = 0  # the venue's time; the owner moves it
        self.wallet = config.wallet
        self.prices = dict(config.prices)
        self.orders: list[Order] = []
        self.fills: list[Fill] = []
        self.income: list[IncomeReport] = []
        self.orders_made = self.fills_made = self.income_made = 0
        self.positions: dict[tuple[str, int], Position] = {}
        #: Quantity that a stop set by hand has locked, by symbol and position side.
        self.locked: dict[tuple[str, int], int] = {}
        self.suspended: set[str] = set()
        self._by_client: dict[str, Order] = {}
        self._by_venue: dict[str, Order] = {}
        self._tell = tell

    # -- orders --

    def find(self, ref: OrderRef) -> Order | None:
        """The order by venue id, else by client id (which the venue lower-cases)."""
        order = self._by_venue.get(ref.venue_order_id)
        if order is None and ref.client_order_id:
            order = self._by_client.get(ref.client_order_id.lower())
        return order if order is not None and order.asset == ref.asset else None

    def knows(self, client_order_id: str) -> bool:
        """Is this client order id in use?"""
        return client_order_id.lower() in self._by_client

    def refusal(self, order: SubmitOrder) -> Refusal | None:
        """Why the venue would not take it; None when it would."""
        rules = self.config.contracts.get(order.asset)
        price = self.prices.get(order.asset, 0)
        if rules is None or price <= 0:
            return Refusal(RejectReason.OTHER, 109425, f"{order.asset} not exist")
        limited = order.order_type is not OrderType.MARKET
        if limited and order.limit_price_e10 <= 0:
            return Refusal(RejectReason.OTHER, 109400, "Invalid parameters,price")
        if order.asset in self.suspended:
            return Refusal(RejectReason.SUSPENDED, 101415, f"{order.asset} is suspended")
        quantity = order.quantity_e8 - order.quantity_e8 % rules.step_e8
        at = order.limit_price_e10 if limited else price
        if quantity <= 0 or quantity < rules.min_quantity_e8 or at * quantity < rules.min_notional:
            return Refusal(RejectReason.BELOW_MINIMUM, 101400, "The minimum order amount")
        if order.reduce_only:
            return self._refused_close(order, quantity)
        fee = at * quantity * rules.taker_fee_e9 // 10**9
        if at * quantity // order.leverage + fee > self.available_margin():
            return Refusal(RejectReason.OTHER, 101204, "Insufficient margin")
        return None

    def _refused_close(self, order: SubmitOrder, quantity_e8: int) -> Refusal | None:
        side = self._position_side(order)
        room = self._closable(order.asset, order.side, side)
        locked = self.locked.get((order.asset, side), 0)
        if not room:
            return Refusal(RejectReason.POSITION_MISMATCH, 101205, "No position to close")
        if locked and quantity_e8 > room - locked:
            words = "The Reduce Only order can only decrease the position"
            return Refusal(RejectReason.POSITION_MISMATCH, 101290, words)
        return None

    def place(self, order: SubmitOrder, parts: int = 0, share_e9: int = 10**9) -> Order:
        """Take an order that was not refused: MARKET at the price, LIMIT if it crosses, else rest.

        What LIMIT_IOC leaves unfilled expires.  Precision beyond the contract's is cut off
        silently, as BingX does.
        """
        rules = self.config.contracts[order.asset]
        taken = self._new_order(order, parts or self.config.parts)
        self._tell(Fact(KernelEventKind.ORDER_ACK, taken))
        price = self.prices[order.asset]
        limit = taken.limit_price_e10
        crosses = taken.order_type is OrderType.MARKET or taken.side * (limit - price) >= 0
        quantity = taken.quantity_e8 * share_e9 // 10**9
        if crosses and quantity:
            self.take(taken, quantity - quantity % rules.step_e8, price)
        if taken.order_type is OrderType.LIMIT_IOC:
            self.end(taken, VenueOrderStatus.EXPIRED)
        return taken

    def _new_order(self, order: SubmitOrder, parts: int) -> Order:
        rules = self.config.contracts[order.asset]
        self.orders_made += 1
        number = (max(self.now_ms - _SNOWFLAKE_MS, 0) << 22) + self.orders_made
        taken = Order(
            client_order_id=order.client_order_id.lower(),
            venue_order_id=str(number),
            asset=order.asset,
            side=order.side,
            order_type=order.order_type,
            quantity_e8=order.quantity_e8 - order.quantity_e8 % rules.step_e8,
            limit_price_e10=order.limit_price_e10 - order.limit_price_e10 % rules.tick_e10,
            reduce_only=order.reduce_only,
            leverage=order.leverage,
            position_side=self._position_side(order),
            parts=parts,
            created_ms=self.now_ms,
            updated_ms=self.now_ms,
        )
        if self.config.kept and len(self.orders) >= 2 * self.config.kept:
            self._forget_old()
        self.orders.append(taken)
        self._by_venue[taken.venue_order_id] = taken
        if taken.client_order_id:
            self._by_client[taken.client_order_id] = taken
        return taken

    def _forget_old(self) -> None:
        """Drop the older half of what ended: a venue that runs for days must not grow for days."""
        split_at = len(self.orders) - self.config.kept
        gone = [order for order in self.orders[:split_at] if not order.works]
        self.orders = [o for o in self.orders[:split_at] if o.works] + self.orders[split_at:]
        for order in gone:
            del self._by_venue[order.venue_order_id]
            if self._by_client.get(order.client_order_id) is order:
                del self._by_client[order.client_order_id]
        self.fills = [f for f in self.fills if f.report.venue_order_id in self._by_venue]
        oldest_ms = self.orders[0].created_ms if self.orders else self.now_ms
        self.income = [row for row in self.income if row.time_ms >= oldest_ms]

    def _position_side(self, order: SubmitOrder) -> int:
        if not self.config.hedge:
            return 0
        return -int(order.side) if order.reduce_only else int(order.side)

    def take(self, order: Order, quantity_e8: int, price_e10: int, maker: bool = False) -> None:
        """Fill a working order in its number of parts; what a reduce-only cannot fill expires."""
        rules = self.config.contracts[order.asset]
        quantity = min(quantity_e8, order.left_e8)
        if order.reduce_only:
            quantity = min(quantity, self._closable(order.asset, order.side, order.position_side))
        short = quantity < min(quantity_e8, order.left_e8)
        for i, part in enumerate(split(quantity, order.parts, rules.step_e8)):
            slip = 0 if maker else i * self.config.slip_ticks * rules.tick_e10
            self._fill(order, part, max(price_e10 + order.side * slip, rules.tick_e10), maker)
        if short:
            self.end(order, VenueOrderStatus.EXPIRED)
        self._sweep(order.asset)

    def end(self, order: Order, status: VenueOrderStatus) -> None:
        """End a working order; nothing happens to an ended one."""
        if order.works:
            order.status = status
            order.updated_ms = self.now_ms
            cancelled = status is VenueOrderStatus.CANCELLED
            kind = KernelEventKind.CANCEL_ACK if cancelled else KernelEventKind.ORDER_EXPIRED
            self._tell(Fact(kind, order))

    def _sweep(self, asset: str) -> None:
        # A reduce-only order that has nothing left to reduce is cancelled by the venue.
        for order in self.orders:
            left = self._closable(asset, order.side, order.position_side)
            if order.works and order.reduce_only and order.asset == asset and not left:
                self.end(order, VenueOrderStatus.CANCELLED)

    # -- prices --

    def set_price(self, asset: str, price_e10: int) -> None:
        """The price moves: LIMIT orders that it crosses fill at their limit, as makers."""
        self.prices[asset] = price_e10
        for order in list(self.orders):
            limit = order.limit_price_e10
            if not order.works or order.asset != asset or order.order_type is OrderType.MARKET:
                continue
            if order.side * (limit - price_e10) >= 0:
                self.take(order, order.left_e8, limit, maker=True)
        self._liquidate_all()

    # -- fills and money --

    def _closable(self, asset: str, side: int, position_side: int) -> int:
        position = self.positions.get((asset, position_side))
        return position.quantity_e8 if position is not None and position.side == -side else 0

    def _fill(
        self,
        order: Order,
        quantity_e8: int,
        price_e10: int,
        maker: bool,
        kind: KernelEventKind | None = None,
    ) -> None:
        rules = self.config.contracts[order.asset]
        rate = rules.maker_fee_e9 if maker else rules.taker_fee_e9
        fee = self._rounded(price_e10 * quantity_e8 * rate, 10**9)
        closing = min(quantity_e8, self._closable(order.asset, order.side, order.position_side))
        realized = self._move(order, quantity_e8, closing, price_e10)
        order.filled_e8 += quantity_e8
        order.cost += price_e10 * quantity_e8
        order.fee += fee
        order.realized += realized
        order.updated_ms = self.now_ms
        if not order.left_e8:
            order.status = VenueOrderStatus.FILLED
        self.fills_made += 1
        report = FillReport(
            fill_id=str(self.fills_made),
            client_order_id=order.client_order_id,
            venue_order_id=order.venue_order_id,
            asset=order.asset,
            side=order.side,
            quantity_e8=quantity_e8,
            price_e10=price_e10,
            fee=fee,
            filled_ms=self.now_ms,
            position_side=PositionSide(order.position_side),
        )
        fill = Fill(report=report, realized=realized)
        self.fills.append(fill)
        if closing:
            self.flow(IncomeKind.REALIZED, order.asset, realized, report.fill_id)
        self.flow(IncomeKind.FEE, order.asset, -fee, report.fill_id)
        full = KernelEventKind.PARTIAL_FILL if order.works else KernelEventKind.FULL_FILL
        self._tell(Fact(kind or full, order, fill))

    def _move(self, order: Order, quantity_e8: int, closing: int, price_e10: int) -> int:
        """Move the position by a fill; what it realized."""
        key = (order.asset, order.position_side)
        position = self.positions.get(key) or Position(side=order.side)
        realized = 0
        if closing:
            removed = half_even(position.cost * closing, position.quantity_e8)
            realized = self._rounded(position.side * (price_e10 * closing - removed), 1)
            position.cost -= price_e10 * closing - position.side * realized
            position.quantity_e8 -= closing
        if quantity_e8 > closing:
            if not position.quantity_e8:
                position = Position(side=order.side)
            position.quantity_e8 += quantity_e8 - closing
            position.cost += price_e10 * (quantity_e8 - closing)
            position.leverage = order.leverage
        position.updated_ms = self.now_ms
        self.positions[key] = position
        if not position.quantity_e8:
            del self.positions[key]
        return realized

    def _rounded(self, amount: int, divisor: int) -> int:
        step = self.config.money_step
        return half_even(amount, divisor * step) * step

    def flow(
        self, kind: IncomeKind, asset: str, amount: int, trade_id: str = "", word: str = ""
    ) -> None:
        """Book money to the wallet, with its income row."""
        self.wallet += amount
        self.income_made += 1
        self.income.append(
            IncomeReport(
                income_id=f"{self.income_made}_{int(kind)}",
                kind=kind,
                asset=asset,
                amount=amount,
                trade_id=trade_id,
                time_ms=self.now_ms,
                word=word or kind.name,
            )
        )

    def fund(self, asset: str, rate_e9: int) -> int:
        """A funding payment: longs pay a positive rate.  Gives the sum of the rows."""
        total = 0
        for (symbol, _), position in self.positions.items():
            if symbol == asset:
                value = self.prices[asset] * position.quantity_e8
                amount = self._rounded(-position.side * value * rate_e9, 10**9)
                self.flow(IncomeKind.FUNDING, asset, amount)
                total += amount
        return total

    def available_margin(self) -> int:
        """Wallet and unrealized PnL less the margin of positions and of orders that may open."""
        total = self.wallet
        for (asset, _), position in self.positions.items():
            value = self.prices[asset] * position.quantity_e8
            total += position.side * (value - position.cost) - position.cost // position.leverage
        for order in self.orders:
            if order.works and not order.reduce_only:
                price = order.limit_price_e10 or self.prices[order.asset]
                total -= price * order.left_e8 // order.leverage
        return total

    # -- liquidation --

    def liquidate(self, asset: str, kind: KernelEventKind = KernelEventKind.LIQUIDATION) -> None:
        """The venue closes a symbol's positions by an order of its own, without a client id."""
        for (symbol, position_side), position in list(self.positions.items()):
            if symbol != asset:
                continue
            closing = SubmitOrder(
                client_order_id="",
                asset=asset,
                side=OrderSide(-position.side),
                order_type=OrderType.MARKET,
                quantity_e8=position.quantity_e8,
                reduce_only=True,
            )
            order = self._new_order(closing, 1)
            order.position_side = position_side
            self._fill(order, position.quantity_e8, self.prices[asset], False, kind)
        self._sweep(asset)

    def vanish(self, asset: str) -> None:
        """A symbol's positions are gone without an order, a fill or an income row."""
        for key in [key for key in self.positions if key[0] == asset]:
            del self.positions[key]
        self._sweep(asset)

    def _liquidate_all(self) -> None:
        if not self.config.maintenance_e9 or not self.positions:
            return
        equity, value = self.wallet, 0
        for (asset, _), position in self.positions.items():
            worth = self.prices[asset] * position.quantity_e8
            equity += position.side * (worth - position.cost)
            value += worth
        if equity * 10**9 <= value * self.config.maintenance_e9:
            for asset in sorted({asset for asset, _ in self.positions}):
                self.liquidate(asset)

    # -- reports --

    def position_reports(self) -> tuple[PositionReport, ...]:
        """Every position that is not flat."""
        return tuple(
            self._report_of(asset, side, position)
            for (asset, side), position in sorted(self.positions.items())
        )

    def _report_of(self, asset: str, side: int, position: Position) -> PositionReport:
        mark = self.prices[asset]
        return PositionReport(
            asset=asset,
            side=OrderSide(position.side),
            quantity_e8=position.quantity_e8,
            average_price_e10=half_even(position.cost, position.quantity_e8),
            leverage=position.leverage,
            updated_ms=position.updated_ms,
            mark_price_e10=mark,
            unrealized=position.side * (mark * position.quantity_e8 - position.cost),
            available_e8=position.quantity_e8 - self.locked.get((asset, side), 0),
        )

    def dump(self) -> Dump:
        """Everything."""
        return Dump(
            now_ms=self.now_ms,
            wallet=self.wallet,
            available_margin=self.available_margin(),
            prices=dict(sorted(self.prices.items())),
            orders=tuple(order.report() for order in self.orders),
            fills=tuple(fill.report for fill in self.fills),
            positions=self.position_reports(),
            income=tuple(self.income),
        )
