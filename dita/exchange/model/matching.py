"""How an order lives: it waits for its trigger, takes from the book, rests, is filled, ends.

Every fill goes through one place that moves position, wallet and order together and says so.
Whether an order may be taken at all was decided before.
"""

from __future__ import annotations

from typing import Final

from dita.exchange.model.positions import wallet_money
from dita.exchange.model.records import (
    AccountReason,
    Attached,
    Execution,
    Fill,
    IncomeType,
    Order,
    OrderRequest,
    OrderStatus,
    OrderType,
    Position,
    PositionSide,
    Side,
    TimeInForce,
)
from dita.exchange.model.state import State

_STOPS_UP: Final = {
    OrderType.STOP: 1,
    OrderType.STOP_MARKET: 1,
    OrderType.TAKE_PROFIT: -1,
    OrderType.TAKE_PROFIT_MARKET: -1,
}


class Matching(State):
    """Orders and the book."""

    def _order_of(self, request: OrderRequest, order_id: int) -> Order:
        market = self.markets[request.symbol]
        return Order(
            order_id=order_id,
            client_order_id=request.client_order_id,
            symbol=request.symbol,
            side=request.side,
            position_side=request.position_side,
            type=request.type,
            quantity_e8=request.quantity_e8,
            price_e10=request.price_e10 or market.last_e10,
            stop_price_e10=request.stop_price_e10,
            working_type=request.working_type,
            time_in_force=request.time_in_force,
            reduce_only=request.reduce_only or request.close_position,
            close_position=request.close_position,
            leverage=self._leverage_for(request.symbol, request.side),
            created_ms=self.now_ms,
            updated_ms=self.now_ms,
            status=OrderStatus.NEW if request.type.conditional else OrderStatus.PENDING,
            stop_loss=request.stop_loss,
            take_profit=request.take_profit,
            trail_e10=request.trail_e10,
            trail_rate_e9=request.trail_rate_e9,
            activation_e10=request.activation_e10,
        )

    def _new_order(self, request: OrderRequest) -> Order:
        order = self._order_of(request, self.registry.mint_id(self.now_ms))
        self.registry.add(order)
        self._tell_order(order, Execution.NEW)
        return order

    def _start(self, order: Order) -> None:
        """A conditional order begins to wait, any other to work."""
        if not order.type.conditional:
            self._work(order)
            return
        reference = self._reference_e10(order)
        up = _STOPS_UP.get(order.type)
        if order.type.trailing:
            self._fire(order)
            return
        if up is None:
            order.rises = order.stop_price_e10 >= reference
        else:
            order.rises = up * order.side.sign > 0
        self._fire(order)

    def _work(self, order: Order) -> None:
        """Take what the book gives; what is left rests, or ends."""
        limit = order.price_e10 if order.type.limited else 0
        parts = list(self.markets[order.symbol].take(order.side, order.left_e8, limit))
        if order.time_in_force is TimeInForce.FOK and sum(q for _, q in parts) < order.left_e8:
            parts = []
        for price, quantity in parts:
            if self._fill(order, price, quantity, maker=False):
                return
        rests = order.type.limited and order.time_in_force in (
            TimeInForce.GTC,
            TimeInForce.POST_ONLY,
        )
        if not rests and not order.status.ended:
            self._end(order, self.config.leftover)

    def _fill(self, order: Order, price_e10: int, quantity_e8: int, *, maker: bool) -> bool:
        """Fill a part; True when the order has ended with it.  Closing never becomes opening."""
        key = (order.symbol, order.position_side)
        if self._closes(order):
            held = self.held.closable_e8(*key, order.side)
            if held < order.left_e8 and held <= quantity_e8:
                if held:
                    self._book_fill(order, price_e10, held, maker)
                self._end(order, self.config.leftover)
                return True
        self._book_fill(order, price_e10, quantity_e8, maker)
        return order.status.ended

    def _book_fill(self, order: Order, price_e10: int, quantity_e8: int, maker: bool) -> None:
        contract = self.contracts[order.symbol]
        rate = contract.maker_fee_e9 if maker else contract.taker_fee_e9
        fee = wallet_money(price_e10 * quantity_e8 * rate, 10**9)
        self._trade_no += 1
        trade_id = str(self._trade_no)
        before = self.wallet
        realized, changed = self.held.trade(
            (order.symbol, order.position_side),
            order.side,
            quantity_e8,
            price_e10,
            lambda side: self._new_position(order, side),
            self.now_ms,
        )
        changed[-1].realized -= fee
        kind = IncomeType.ADL if order.auto_close == "ADL" else IncomeType.REALIZED_PNL
        self.ledger.book(kind, order.symbol, realized, self.now_ms, trade_id=trade_id)
        self.ledger.book(IncomeType.TRADING_FEE, order.symbol, -fee, self.now_ms, trade_id=trade_id)
        order.executed_e8 += quantity_e8
        order.cost += price_e10 * quantity_e8
        order.fee += fee
        order.profit += realized
        order.updated_ms = self.now_ms
        order.status = OrderStatus.PARTIALLY_FILLED if order.left_e8 else OrderStatus.FILLED
        self.registry.add_fill(
            Fill(
                trade_id=trade_id,
                order_id=order.order_id,
                client_order_id=order.client_order_id,
                symbol=order.symbol,
                side=order.side,
                position_side=order.position_side,
                type=order.type,
                working_type=order.working_type,
                quantity_e8=quantity_e8,
                price_e10=price_e10,
                fee=fee,
                profit=realized,
                maker=maker,
                filled_ms=self.now_ms,
            )
        )
        if not order.left_e8:
            self.registry.end(order)
        self._tell_fill(order, price_e10, quantity_e8, fee, realized, trade_id)
        self.tell_account(AccountReason.ORDER, self.wallet - before, changed)
        taker_buys = (order.side is Side.BUY) is not maker
        market = self.markets[order.symbol]
        self._market_events.append(
            market.traded(price_e10, quantity_e8, not taker_buys, self.now_ms)
        )
        if not changed[0].quantity_e8:
            self._end_closing_orders(order, changed[0])
        if order.status is OrderStatus.FILLED:
            self._attach(order)

    def _end_closing_orders(self, last: Order, flat: Position) -> None:
        """A position is gone: nothing that was there to close it may close the next one."""
        for order in self.open_orders(flat.symbol):
            if (
                order is not last
                and order.position_side is last.position_side
                and order.side.sign != flat.sign
                and self._closes(order)
            ):
                self._end(order, OrderStatus.CANCELLED)

    def _new_position(self, order: Order, side: PositionSide) -> Position:
        return Position(
            position_id=self.registry.mint_id(self.now_ms),
            symbol=order.symbol,
            side=side,
            leverage=self._leverage_of(order.symbol, side),
            margin_type=self.margin_type(order.symbol),
            created_ms=self.now_ms,
            updated_ms=self.now_ms,
        )

    def _attach(self, order: Order) -> None:
        """Stop loss and take profit start when their order is filled, or ends partly filled."""
        if self._closes(order):
            return
        for part in (order.stop_loss, order.take_profit):
            held = self.held.closable_e8(order.symbol, order.position_side, order.side.opposite)
            if part is not None and held:
                quantity_e8 = min(held, order.executed_e8)
                self._start(self._new_order(self._attached(order, part, quantity_e8)))

    def _attached(self, order: Order, part: Attached, quantity_e8: int) -> OrderRequest:
        tick = self.contracts[order.symbol].tick_e10
        return OrderRequest(
            symbol=order.symbol,
            side=order.side.opposite,
            position_side=order.position_side,
            type=part.type,
            quantity_e8=quantity_e8,
            price_e10=part.price_e10 - part.price_e10 % tick,
            stop_price_e10=part.stop_price_e10 - part.stop_price_e10 % tick,
            working_type=part.working_type,
            reduce_only=order.position_side is PositionSide.BOTH,
        )

    def _end(self, order: Order, status: OrderStatus) -> None:
        """End an order that works; one that has ended stays as it is."""
        if order.status.ended:
            return
        order.status = status
        order.updated_ms = self.now_ms
        self.registry.end(order)
        cancelled = status is OrderStatus.CANCELLED
        self._tell_order(order, Execution.CANCELED if cancelled else Execution.EXPIRED)
        if order.executed_e8:
            self._attach(order)

    def _touch(self, order: Order) -> None:
        """A resting order is filled at its limit when the market comes to it."""
        best = self.markets[order.symbol].best_e10(order.side)
        if (order.price_e10 - best) * order.side.sign < 0:
            return
        step = self.contracts[order.symbol].step_e8
        part = order.quantity_e8 * self.config.maker_share_e9 // 10**9
        part = min(order.left_e8, max(step, part - part % step))
        self._fill(order, order.price_e10, part, maker=True)

    def _fire(self, order: Order) -> None:
        """Start a conditional order when its price is reached."""
        if order.type.trailing and not self._follow(order):
            return
        beyond = self._reference_e10(order) - order.stop_price_e10
        if (beyond < 0) if order.rises else (beyond > 0):
            return
        order.triggered = True
        order.status = OrderStatus.PENDING
        held = self.held.closable_e8(order.symbol, order.position_side, order.side)
        if order.close_position:
            order.quantity_e8 = held
        enough = held > 0 if self._closes(order) else self._affords(order, order.left_e8 - held)
        if enough:
            self._work(order)
        else:
            self._end(order, OrderStatus.FAILED)

    def _follow(self, order: Order) -> bool:
        """Move a trailing order's stop behind the price; False until it has begun to follow."""
        reference, sign = self._reference_e10(order), order.side.sign
        if not order.peak_e10:
            if order.activation_e10 and (reference - order.activation_e10) * sign > 0:
                return False
            order.peak_e10 = reference
        best = max if sign < 0 else min  # a SELL follows a price that rises
        order.peak_e10 = best(order.peak_e10, reference)
        distance = order.trail_e10 or order.peak_e10 * order.trail_rate_e9 // 10**9
        order.stop_price_e10 = max(1, order.peak_e10 + sign * distance)
        order.rises = sign > 0
        return True

    def _affords(self, order: Order, opening_e8: int) -> bool:
        """Is there margin for what an order of ours, itself not counted, would open?"""
        limit = order.price_e10 if order.type.limited else 0
        price = limit or self.markets[order.symbol].best_e10(order.side)
        needed = self._needed(order.symbol, order.side, opening_e8, price)
        own = order.left_e8 * order.price_e10 // order.leverage
        return needed <= self.balance().available_margin + own

    def _needed(self, symbol: str, side: Side, opening_e8: int, price_e10: int) -> int:
        """Margin and fee for opening so much."""
        value = max(0, opening_e8) * price_e10
        fee = value * self.contracts[symbol].taker_fee_e9 // 10**9
        return value // self._leverage_for(symbol, side) + fee
