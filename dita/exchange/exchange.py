"""The local exchange itself: one account on a market that moves as it is told.

It takes orders, moves prices and time, pays funding and liquidates.  Deterministic: the same calls
with the same times give the same state.  It knows nothing of HTTP, JSON or sockets and reads no
clock.
"""

from __future__ import annotations

from typing import Final

from dita.exchange import checks
from dita.exchange.state import ExchangeConfig
from dita.exchange.matching import Matching
from dita.exchange.positions import to_liquidate, wallet_money
from dita.exchange.records import (
    AccountReason,
    Execution,
    IncomeType,
    Leverage,
    MarginType,
    Order,
    OrderRequest,
    OrderStatus,
    OrderType,
    Position,
    PositionSide,
    Refused,
    Side,
    TimeInForce,
)

__all__ = ["Exchange", "ExchangeConfig"]

CANCEL_AGAIN_MS: Final = 1_000
OPEN_ORDERS_MAX: Final = 200
TOP_UP: Final = 20_000 * 10**18


class Exchange(Matching):
    """One account, several symbols."""

    def set_leverage(self, symbol: str, side: PositionSide, leverage: int, now_ms: int) -> Leverage:
        """Change it.  Refused 109400 for another side than the mode's, 101414 beyond the most."""
        self._tell_time(now_ms)
        contract = self.contract(symbol)
        if not self.hedge and side is not PositionSide.BOTH:
            raise Refused(
                checks.INVALID, "In the One-way mode, the 'Side' field can only be set to BOTH."
            )
        if self.hedge and side is PositionSide.BOTH:
            raise Refused(
                checks.INVALID,
                "In the Hedge mode, the 'Side' field can only be set to LONG or SHORT.",
            )
        if not 1 <= leverage <= contract.leverage_max:
            raise Refused(101414, f"The maximum leverage is {contract.leverage_max}")
        both = (PositionSide.LONG, PositionSide.SHORT)
        sides = both if side is PositionSide.BOTH else (side,)
        for each in sides:
            self._leverages[symbol, each] = leverage
            for position in self.positions(symbol):
                if position.side is each:
                    position.leverage = leverage
        self._tell_config(symbol)
        return self.leverage(symbol)

    def set_margin_type(self, symbol: str, margin_type: MarginType, now_ms: int) -> None:
        """Change it, when nothing is open on the symbol.  Refused 109400."""
        self._tell_time(now_ms)
        self.contract(symbol)
        if self.positions(symbol) or self.open_orders(symbol):
            raise Refused(checks.INVALID, "the account has positions or pending orders")
        self._margin_types[symbol] = margin_type
        self._tell_config(symbol)

    def set_hedge(self, hedge: bool, now_ms: int) -> None:
        """Switch the mode, when nothing at all is open.  Refused 109401."""
        self._tell_time(now_ms)
        if hedge != self.hedge and (self.positions() or self.open_orders()):
            raise Refused(
                109401, "Position mode cannot be changed with positions or pending orders"
            )
        self.hedge = hedge

    def place(self, request: OrderRequest, now_ms: int) -> Order:
        """Take an order; what it fills at once is in it.  Refused."""
        self._tell_time(now_ms)
        request = self._checked(request)
        order = self._new_order(request)
        self._start(order)
        return order

    def test(self, request: OrderRequest, now_ms: int) -> Order:
        """As `place`, but nothing is kept."""
        self._tell_time(now_ms)
        request = self._checked(request)
        return self._order_of(request, 0)

    def _checked(self, request: OrderRequest) -> OrderRequest:
        contract = self.contract(request.symbol)
        market = self.markets[request.symbol]
        checks.check_fields(request)
        checks.check_mode(request, self.hedge)
        closes = checks.closes(request)
        checks.check_contract(contract, not closes)
        request = checks.truncated(request, contract, market.last_e10)
        if request.client_order_id in self.registry.by_client:
            raise Refused(101481, "clientOrderID cannot be repeated")
        if len(self.registry.open[request.symbol]) >= OPEN_ORDERS_MAX:
            raise Refused(101419, "too many open orders")
        held = self.held.closable_e8(request.symbol, request.position_side, request.side)
        price = request.price_e10 or market.best_e10(request.side)
        whole = closes and held > 0 and request.quantity_e8 == held
        checks.check_size(request, contract, price, whole)
        if closes and not request.type.conditional:
            same = self.held.get(request.symbol, request.position_side) is not None
            checks.check_closing(request, held, same)
        if not closes and not request.type.conditional:
            self._check_margin(request, price, held)
        if request.time_in_force is TimeInForce.POST_ONLY and self._crosses(request):
            raise Refused(101215, "The post-only order would match at once and is cancelled")
        return request

    def _crosses(self, request: OrderRequest) -> bool:
        best = self.markets[request.symbol].best_e10(request.side)
        return request.type is OrderType.LIMIT and (
            (request.price_e10 - best) * request.side.sign >= 0
        )

    def _check_margin(self, request: OrderRequest, price_e10: int, closable_e8: int) -> None:
        opening = max(0, request.quantity_e8 - closable_e8)
        value = opening * price_e10
        fee = value * self.contracts[request.symbol].taker_fee_e9 // 10**9
        needed = value // self._leverage_for(request.symbol, request.side) + fee
        if needed > self.balance().available_margin:
            raise Refused(101204, "")

    def cancel(
        self, symbol: str, now_ms: int, order_id: int = 0, client_order_id: str = ""
    ) -> Order:
        """Cancel an order.  Refused: 109421 unknown, 109422 filled, 109201 twice in a second."""
        self._tell_time(now_ms)
        order = self.registry.find(symbol, order_id, client_order_id)
        last_ms = self._cancelled_ms.get(order.order_id, -CANCEL_AGAIN_MS)
        if now_ms - last_ms < CANCEL_AGAIN_MS:
            raise Refused(
                109201,
                "The same order number is only allowed to be submitted once within 1 second",
            )
        if order.status is OrderStatus.FILLED:
            raise Refused(109422, "order is already filled")
        if order.status.ended:
            raise Refused(109421, "order not exist")
        self._cancelled_ms[order.order_id] = now_ms
        self._end(order, OrderStatus.CANCELLED)
        return order

    def cancel_all(self, symbol: str, now_ms: int) -> list[Order]:
        """Cancel every order of a symbol, of all for ""."""
        self._tell_time(now_ms)
        orders = self.open_orders(symbol)
        for order in orders:
            self._end(order, OrderStatus.CANCELLED)
        return orders

    def cancel_all_after(self, timeout_ms: int, now_ms: int) -> int:
        """Cancel everything unless called again in time; 0 switches it off.  When it would."""
        self._tell_time(now_ms)
        self._cancel_all_ms = now_ms + timeout_ms if timeout_ms else 0
        return self._cancel_all_ms

    def amend(self, symbol: str, order_id: int, quantity_e8: int, now_ms: int) -> Order:
        """Change the quantity of an order that rests.  Refused."""
        self._tell_time(now_ms)
        order = self.registry.find(symbol, order_id)
        quantity_e8 -= quantity_e8 % self.contracts[symbol].step_e8
        if order.status.ended:
            raise Refused(109422, "order is already filled")
        if quantity_e8 <= order.executed_e8:
            raise Refused(101400, "The quantity is not more than what is filled")
        order.quantity_e8 = quantity_e8
        order.updated_ms = now_ms
        self._tell_order(order, Execution.NEW)
        return order

    def close_all(self, symbol: str, now_ms: int) -> list[Order]:
        """Close every position of a symbol, of all for "", at the market."""
        self._tell_time(now_ms)
        return [self._close_at_market(position) for position in self.positions(symbol)]

    def close_position(self, position_id: int, now_ms: int) -> Order:
        """Close one position at the market.  Refused 101205."""
        self._tell_time(now_ms)
        for position in self.positions():
            if position.position_id == position_id:
                return self._close_at_market(position)
        raise Refused(101205, "No position to close")

    def _close_at_market(self, position: Position) -> Order:
        order = self._new_order(self._closing(position, OrderType.MARKET))
        self._work(order)
        return order

    def _closing(self, position: Position, type_: OrderType) -> OrderRequest:
        return OrderRequest(
            symbol=position.symbol,
            side=Side.SELL if position.side is PositionSide.LONG else Side.BUY,
            position_side=position.side if self.hedge else PositionSide.BOTH,
            type=type_,
            quantity_e8=position.quantity_e8,
            reduce_only=not self.hedge,
        )

    def set_price(self, symbol: str, price_e10: int, now_ms: int, mark_e10: int = 0) -> None:
        """A price step: triggers fire, resting orders fill, what has no margin is liquidated."""
        contract = self.contract(symbol)
        if price_e10 < contract.tick_e10 or mark_e10 < 0:
            raise Refused(checks.INVALID, "the price is below the smallest one")
        self._tell_time(now_ms)
        market = self.markets[symbol]
        market.move(price_e10 - price_e10 % contract.tick_e10, mark_e10, self.now_ms)
        self._market_events.append(market.quote())
        for order in self.open_orders(symbol):
            if order.status is OrderStatus.NEW:
                self._fire(order)
            elif order.type.limited and not order.status.ended:
                self._touch(order)
        self._liquidate_where_needed()

    def advance(self, now_ms: int) -> None:
        """Time passes: funding is paid, a forgotten cancelAllAfter strikes."""
        self._tell_time(now_ms)

    def _tell_time(self, now_ms: int) -> None:
        self.now_ms = max(self.now_ms, now_ms)
        if 0 < self._cancel_all_ms <= self.now_ms:
            self._cancel_all_ms = 0
            for order in self.open_orders():
                self._end(order, OrderStatus.CANCELLED)
        while self._funding_ms <= self.now_ms:
            at_ms, self._funding_ms = self._funding_ms, self._next_funding_ms(self._funding_ms)
            for symbol in {position.symbol: None for position in self.positions()}:
                self._pay_funding(symbol, self.config.funding_rate_e9, at_ms)

    def pay_funding(self, symbol: str, rate_e9: int, now_ms: int) -> int:
        """Pay funding now, outside the hours; longs pay a positive rate.  The sum paid to us."""
        self._tell_time(now_ms)
        return self._pay_funding(symbol, rate_e9, self.now_ms)

    def _pay_funding(self, symbol: str, rate_e9: int, at_ms: int) -> int:
        before, paid = self.wallet, []
        for position in self.positions(symbol):
            value = self._mark_e10(symbol) * position.quantity_e8
            amount = wallet_money(-position.sign * value * rate_e9, 10**9)
            self.ledger.book(IncomeType.FUNDING_FEE, symbol, amount, max(at_ms, self._row_ms))
            position.realized += amount
            paid.append(position)
        if paid:
            isolated = [p for p in paid if p.margin_type is not MarginType.CROSSED]
            self._tell_account(AccountReason.FUNDING_FEE, self.wallet - before, isolated)
        return self.wallet - before

    @property
    def _row_ms(self) -> int:
        rows = self.ledger.rows
        return rows[-1].time_ms if rows else 0

    def transfer(self, amount: int, now_ms: int) -> None:
        """A deposit, or with a minus a withdrawal."""
        self._tell_time(now_ms)
        self.ledger.book(IncomeType.TRANSFER, "", amount, self.now_ms, info="Transfer")
        reason = AccountReason.DEPOSIT if amount > 0 else AccountReason.WITHDRAW
        self._tell_account(reason, amount, [])

    def top_up(self, now_ms: int) -> int:
        """VST: free test money."""
        self.transfer(TOP_UP, now_ms)
        return TOP_UP

    def foreign_order(
        self,
        symbol: str,
        side: Side,
        quantity_e8: int,
        now_ms: int,
        position_side: PositionSide = PositionSide.BOTH,
    ) -> Order:
        """Somebody trades on the account by hand, at the market."""
        self._tell_time(now_ms)
        self.contract(symbol)
        request = OrderRequest(
            symbol=symbol,
            side=side,
            position_side=position_side,
            type=OrderType.MARKET,
            quantity_e8=quantity_e8,
        )
        checks.check_mode(request, self.hedge)
        order = self._order_of(request, self.registry.mint_id(self.now_ms))
        order.foreign = True
        self.registry.add(order)
        self._tell_order(order, Execution.NEW)
        self._work(order)
        return order

    def liquidate(self, symbol: str, now_ms: int, adl: bool = False) -> list[Order]:
        """The exchange closes the positions of a symbol, whatever their margin."""
        self._tell_time(now_ms)
        return self._liquidate(self.positions(symbol), "ADL" if adl else "LIQUIDATION")

    def _liquidate_where_needed(self) -> None:
        if self.held.open:
            found = to_liquidate(
                self.positions(), self.wallet, self._mark_e10, self._maintenance_e9
            )
            if found:
                self._liquidate(found, "LIQUIDATION")

    def _liquidate(self, positions: list[Position], cause: str) -> list[Order]:
        closed = []
        for position in positions:
            symbol = position.symbol
            for order in self.open_orders(symbol):
                self._end(order, OrderStatus.CANCELLED)
            request = self._closing(position, OrderType.LIQUIDATION)
            order = self._order_of(request, self.registry.mint_id(self.now_ms))
            order.foreign, order.auto_close = True, cause
            order.price_e10 = self._mark_e10(symbol)
            self.registry.add(order)
            self._book_fill(order, self._mark_e10(symbol), position.quantity_e8, maker=False)
            closed.append(order)
        if closed and self.wallet < 0:
            missing = -self.wallet
            self.ledger.book(IncomeType.INSURANCE_CLEAR, closed[-1].symbol, missing, self.now_ms)
            self._tell_account(AccountReason.ORDER, missing, [])
        return closed
