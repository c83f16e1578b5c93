"""The local exchange itself: one account on a market that moves as it is told.

It takes orders, moves prices and time, pays funding and liquidates.  Deterministic: the same calls
with the same times give the same state.  It knows nothing of HTTP, JSON or sockets and reads no
clock.
"""

from __future__ import annotations

from typing import Final

from dita.exchange.model import checks
from dita.exchange.model.matching import Matching
from dita.exchange.model.positions import to_liquidate, wallet_money
from dita.exchange.model.records import (
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
from dita.exchange.model.state import ExchangeConfig
from dita.units import PRICE_MAX

__all__ = ["Exchange", "ExchangeConfig"]

CANCEL_AGAIN_MS: Final = 1_000
OPEN_ORDERS_MAX: Final = 200
TOP_UP: Final = 20_000 * 10**18


class Exchange(Matching):
    """One account, several symbols."""

    def set_leverage(self, symbol: str, side: PositionSide, leverage: int, now_ms: int) -> Leverage:
        """Change it.  Refused 109400 for another side than the mode's, 101414 beyond the most,
        101204 when open positions would need more margin than there is."""
        self.tell_time(now_ms)
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
        changed = [position for position in self.positions(symbol) if position.side in sides]
        self._need(sum(position.cost // leverage - position.margin for position in changed))
        for each in sides:
            self._leverages[symbol, each] = leverage
        for position in changed:
            position.leverage = leverage
        self._tell_config(symbol)
        return self.leverage(symbol)

    def set_margin_type(self, symbol: str, margin_type: MarginType, now_ms: int) -> None:
        """Change it, when nothing is open on the symbol.  Refused 109400."""
        self.tell_time(now_ms)
        self.contract(symbol)
        if self.positions(symbol) or self.open_orders(symbol):
            raise Refused(checks.INVALID, "the account has positions or pending orders")
        self._margin_types[symbol] = margin_type
        self._tell_config(symbol)

    def set_hedge(self, hedge: bool, now_ms: int) -> None:
        """Switch the mode, when nothing at all is open.  Refused 104103 for orders, 109401."""
        self.tell_time(now_ms)
        if hedge != self.hedge and self.open_orders():
            raise Refused(104103, "Position mode cannot be changed with pending orders")
        if hedge != self.hedge and self.positions():
            raise Refused(109401, "Position mode cannot be changed with open positions")
        self.hedge = hedge

    def place(self, request: OrderRequest, now_ms: int) -> Order:
        """Take an order; what it fills at once is in it.  Refused."""
        self.tell_time(now_ms)
        request = self._checked(request)
        order = self._new_order(request)
        self._start(order)
        return order

    def test(self, request: OrderRequest, now_ms: int) -> Order:
        """As `place`, but nothing is kept."""
        self.tell_time(now_ms)
        request = self._checked(request)
        return self._order_of(request, 0)

    def _checked(self, request: OrderRequest) -> OrderRequest:
        contract = self.contract(request.symbol)
        market = self.markets[request.symbol]
        checks.check_fields(request)
        checks.check_mode(request, self.hedge)
        closes = checks.closes(request)
        checks.check_halt(request.symbol, self.halts.get(request.symbol), not closes)
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
        checks.check_band(request, contract, market.mark_e10)
        if closes:
            same = self.held.get(request.symbol, request.position_side) is not None
            locked, code = self.locks.get((request.symbol, request.position_side), (0, 0))
            free = held - self._taken_e8(request) - locked
            checks.check_closing(request, held, free, same, code)
        elif not request.type.conditional:
            self._check_opening(request, price, request.quantity_e8 - held)
        if request.time_in_force is TimeInForce.POST_ONLY and self._crosses(request):
            raise Refused(101215, "The post-only order would match at once and is cancelled")
        return request

    def _crosses(self, request: OrderRequest) -> bool:
        best = self.markets[request.symbol].best_e10(request.side)
        return request.type is OrderType.LIMIT and (
            (request.price_e10 - best) * request.side.sign >= 0
        )

    def _taken_e8(self, request: OrderRequest) -> int:
        """What orders of the same kind close already: resting ones, or stops, or take profits."""
        if request.close_position:
            return 0
        if not request.type.conditional:
            return self._promised_e8(request.symbol, request.position_side, request.side)
        return sum(
            order.quantity_e8
            for order in self.registry.open[request.symbol].values()
            if order.status is OrderStatus.NEW
            and order.side is request.side
            and order.position_side is request.position_side
            and order.type.family == request.type.family
            and self._closes(order)
        )

    def _check_opening(self, request: OrderRequest, price_e10: int, opening_e8: int) -> None:
        """Margin for what the order opens, and a position that its leverage allows."""
        if opening_e8 <= 0:
            return
        symbol, side = request.symbol, request.side
        position = self.held.get(symbol, request.position_side)
        same = position.quantity_e8 if position and position.sign == side.sign else 0
        leverage = self._leverage_for(symbol, side)
        self._need(self._needed(symbol, side, opening_e8, price_e10))
        checks.check_exposure(self.contracts[symbol], leverage, (same + opening_e8) * price_e10)

    def _need(self, margin: int) -> None:
        if margin > self.balance().available_margin:
            raise Refused(101204, "Insufficient margin")

    def cancel(
        self, symbol: str, now_ms: int, order_id: int = 0, client_order_id: str = ""
    ) -> Order:
        """Cancel an order.  Refused: 109421 unknown, 109422 filled, 109201 twice in a second."""
        now_ms = self.tell_time(now_ms)
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
        self._forget_cancels(now_ms)
        self._cancelled_ms[order.order_id] = now_ms
        self._end(order, OrderStatus.CANCELLED)
        return order

    def _forget_cancels(self, now_ms: int) -> None:
        """The oldest come first; those a second old say nothing any more."""
        while self._cancelled_ms:
            order_id, at_ms = next(iter(self._cancelled_ms.items()))
            if now_ms - at_ms < CANCEL_AGAIN_MS:
                return
            del self._cancelled_ms[order_id]

    def cancel_all(self, symbol: str, now_ms: int) -> list[Order]:
        """Cancel every order of a symbol, of all for ""."""
        now_ms = self.tell_time(now_ms)
        orders = self.open_orders(symbol)
        for order in orders:
            self._end(order, OrderStatus.CANCELLED)
        return orders

    def cancel_all_after(self, timeout_ms: int, now_ms: int) -> int:
        """Cancel everything unless called again in time; 0 switches it off.  When it would."""
        now_ms = self.tell_time(now_ms)
        self._cancel_all_ms = now_ms + timeout_ms if timeout_ms else 0
        return self._cancel_all_ms

    def amend(self, symbol: str, order_id: int, quantity_e8: int, now_ms: int) -> Order:
        """Change the quantity of an order that rests.  Refused."""
        now_ms = self.tell_time(now_ms)
        order = self.registry.find(symbol, order_id)
        quantity_e8 -= quantity_e8 % self.contracts[symbol].step_e8
        if order.status.ended:
            raise Refused(109422, "order is already filled")
        if quantity_e8 <= order.executed_e8:
            raise Refused(101400, "The quantity is not more than what is filled")
        more = quantity_e8 - order.quantity_e8
        if more > 0 and self._closes(order):
            raise Refused(101290, "A closing order can only be made smaller")
        if more > 0:
            self._need(self._needed(symbol, order.side, more, order.price_e10))
        order.quantity_e8 = quantity_e8
        order.updated_ms = now_ms
        self._tell_order(order, Execution.NEW)
        return order

    def close_all(self, symbol: str, now_ms: int) -> list[Order]:
        """Close every position of a symbol, of all for "", at the market."""
        self.tell_time(now_ms)
        return [self._close_at_market(position) for position in self.positions(symbol)]

    def close_position(self, position_id: int, now_ms: int) -> Order:
        """Close one position at the market.  Refused 101205."""
        self.tell_time(now_ms)
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
        self.tell_time(now_ms)
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
        self.tell_time(now_ms)

    def tell_time(self, now_ms: int) -> int:
        """Let happen what is due, each at its time; what time it is, which never goes back."""
        until_ms = max(self.now_ms, now_ms)
        while True:
            due_ms = min(self._funding_ms, self._cancel_all_ms or self._funding_ms)
            if due_ms > until_ms:
                break
            self.now_ms = max(self.now_ms, due_ms)
            if due_ms == self._cancel_all_ms:
                self._cancel_all_ms = 0
                for order in self.open_orders():
                    self._end(order, OrderStatus.CANCELLED)
            else:
                self._funding_ms = self._next_funding_ms(due_ms)
                for symbol in {position.symbol: None for position in self.positions()}:
                    self._pay_funding(symbol, self.config.funding_rate_e9)
                self._liquidate_where_needed()
        self.now_ms = until_ms
        return until_ms

    def pay_funding(self, symbol: str, rate_e9: int, now_ms: int) -> int:
        """Pay funding now, outside the hours; longs pay a positive rate.  The sum paid to us."""
        self.tell_time(now_ms)
        paid = self._pay_funding(symbol, rate_e9)
        self._liquidate_where_needed()
        return paid

    def _pay_funding(self, symbol: str, rate_e9: int) -> int:
        before, paid = self.wallet, []
        for position in self.positions(symbol):
            value = self._mark_e10(symbol) * position.quantity_e8
            amount = wallet_money(-position.sign * value * rate_e9, 10**9)
            self.ledger.book(IncomeType.FUNDING_FEE, symbol, amount, self.now_ms)
            position.realized += amount
            paid.append(position)
        if paid:
            isolated = [p for p in paid if p.margin_type is not MarginType.CROSSED]
            self.tell_account(AccountReason.FUNDING_FEE, self.wallet - before, isolated)
        return self.wallet - before

    def transfer(self, amount: int, now_ms: int) -> None:
        """A deposit, or with a minus a withdrawal of what is free.  Refused 101204."""
        self.tell_time(now_ms)
        if amount < 0:
            self._need(-amount)
        self.ledger.book(IncomeType.TRANSFER, "", amount, self.now_ms, info="Transfer")
        reason = AccountReason.DEPOSIT if amount > 0 else AccountReason.WITHDRAW
        self.tell_account(reason, amount, [])

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
        """Somebody trades on the account by hand, at the market, whatever the margin."""
        self.tell_time(now_ms)
        quantity_e8 -= quantity_e8 % self.contract(symbol).step_e8
        request = OrderRequest(
            symbol=symbol,
            side=side,
            position_side=position_side,
            type=OrderType.MARKET,
            quantity_e8=quantity_e8,
        )
        checks.check_mode(request, self.hedge)
        checks.check_size(request, self.contracts[symbol], PRICE_MAX, whole=False)
        order = self._order_of(request, self.registry.mint_id(self.now_ms))
        order.foreign = True
        self.registry.add(order)
        self._tell_order(order, Execution.NEW)
        self._work(order)
        return order

    def add_margin(self, symbol: str, side: PositionSide, amount: int, now_ms: int) -> Position:
        """Add margin to an isolated position, or take added margin away.  Refused."""
        self.tell_time(now_ms)
        self.contract(symbol)
        found = [p for p in self.positions(symbol) if side in (p.side, PositionSide.BOTH)]
        if not found:
            raise Refused(101205, "No position to close")
        position = found[0]
        if position.margin_type is MarginType.CROSSED:
            raise Refused(101479, "The position is not in Isolated Margin Mode")
        if amount > 0:
            self._need(amount)
        elif -amount > position.added_margin:
            raise Refused(checks.INVALID, "the margin to take away is more than what was added")
        position.added_margin += amount
        return position

    def liquidate(self, symbol: str, now_ms: int, adl: bool = False) -> list[Order]:
        """The exchange closes the positions of a symbol, whatever their margin."""
        self.tell_time(now_ms)
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
            if not position.quantity_e8:
                continue  # a stop that came with one of them has closed it
            wallet, margin = self.wallet, position.margin
            request = self._closing(position, OrderType.LIQUIDATION)
            order = self._order_of(request, self.registry.mint_id(self.now_ms))
            order.foreign, order.auto_close = True, cause
            order.price_e10 = self._mark_e10(symbol)
            self.registry.add(order)
            self._book_fill(order, self._mark_e10(symbol), position.quantity_e8, maker=False)
            closed.append(order)
            if position.margin_type is not MarginType.CROSSED:
                self._insure(symbol, wallet - self.wallet - margin)
        if positions:
            self._insure(positions[-1].symbol, -self.wallet)
        return closed

    def _insure(self, symbol: str, missing: int) -> None:
        """What a position lost beyond its margin, or the account beyond its wallet, is paid."""
        if missing > 0:
            self.ledger.book(IncomeType.INSURANCE_CLEAR, symbol, wallet_money(missing), self.now_ms)
            self.tell_account(AccountReason.ORDER, wallet_money(missing), [])
