"""The local exchange itself: one account on a market that moves as it is told.

It takes orders, matches them, keeps positions and the wallet, fires triggers, pays funding and
liquidates, and says what happened as events.  Deterministic: the same calls with the same times
give the same state.  It knows nothing of HTTP, JSON or sockets and reads no clock.
"""

from __future__ import annotations

from copy import copy
from typing import Final

from dita.contracts import Record
from dita.exchange import checks
from dita.exchange.contracts import CONTRACTS
from dita.exchange.ledger import Ledger
from dita.exchange.market import Market, Shape
from dita.exchange.orders import Orders
from dita.exchange.positions import (
    Positions,
    liquidation_price_e10,
    to_liquidate,
    wallet_money,
)
from dita.exchange.records import (
    AccountReason,
    AccountUpdate,
    Attached,
    Balance,
    Candle,
    ConfigUpdate,
    Contract,
    Execution,
    Fill,
    Funding,
    Income,
    IncomeType,
    Leverage,
    MarginType,
    MarketEvent,
    MarketTrade,
    Order,
    OrderRequest,
    OrderStatus,
    OrderType,
    OrderUpdate,
    Position,
    PositionSide,
    Quote,
    Refused,
    Side,
    TimeInForce,
    UserEvent,
    WorkingType,
)

HOUR_MS: Final = 3_600_000
CANCEL_AGAIN_MS: Final = 1_000
OPEN_ORDERS_MAX: Final = 200
TOP_UP: Final = 20_000 * 10**18
#: A MARKET order's reference price is so far from what it gets, for a client that takes it for it.
_STOPS_UP: Final = {
    OrderType.STOP: 1,
    OrderType.STOP_MARKET: 1,
    OrderType.TAKE_PROFIT: -1,
    OrderType.TAKE_PROFIT_MARKET: -1,
}


class ExchangeConfig(Record, frozen=True, kw_only=True):
    """What an exchange is made with."""

    contracts: tuple[Contract, ...] = tuple(CONTRACTS.values())
    wallet: int = 100_000 * 10**18
    hedge: bool = False
    leverage: int = 5
    shape: Shape = Shape()
    funding_hours: int = 8
    funding_rate_e9: int = 100_000
    #: What a resting LIMIT order gets at each price step that reaches it; the rest waits.
    maker_share_e9: int = 10**9
    #: Final status of what IOC, FOK and an empty book leave (dossier §7: not established).
    leftover: OrderStatus = OrderStatus.EXPIRED


class Exchange:
    """One account, several symbols."""

    def __init__(self, config: ExchangeConfig, now_ms: int) -> None:
        self.config = config
        self.now_ms = now_ms
        self.hedge = config.hedge
        self.contracts = {contract.symbol: contract for contract in config.contracts}
        self.markets = {
            symbol: Market(contract, config.shape, now_ms)
            for symbol, contract in self.contracts.items()
        }
        self.ledger = Ledger(config.wallet)
        self.registry = Orders()
        self.held = Positions()
        self._leverages: dict[tuple[str, PositionSide], int] = {}
        self._margin_types: dict[str, MarginType] = {}
        self._cancelled_ms: dict[int, int] = {}
        self._rises: dict[int, bool] = {}  # conditional orders: fires when the price rises to it
        self._cancel_all_ms = 0
        self._funding_ms = self._next_funding_ms(now_ms)
        self._trade_no = 0
        self._events: list[UserEvent] = []
        self._market_events: list[MarketEvent] = []

    # -- views -------------------------------------------------------------------------------------

    @property
    def wallet(self) -> int:
        """Money of the account."""
        return self.ledger.wallet

    @property
    def orders(self) -> dict[int, Order]:
        """Every order there ever was."""
        return self.registry.by_id

    @property
    def all_fills(self) -> list[Fill]:
        """Every fill there ever was."""
        return self.registry.fills

    @property
    def all_income(self) -> list[Income]:
        """Every income row there ever was."""
        return self.ledger.rows

    def take_events(self) -> list[UserEvent]:
        """What happened to the account since the last call."""
        events, self._events = self._events, []
        return events

    def take_market(self) -> list[MarketEvent]:
        """What happened in the market since the last call."""
        events, self._market_events = self._market_events, []
        return events

    def contract(self, symbol: str) -> Contract:
        """A listed symbol.  Refused 109425."""
        contract = self.contracts.get(symbol)
        if contract is None:
            raise Refused(
                109425,
                f"{symbol} not exist, please verify it in api: /openApi/swap/v2/quote/contracts",
            )
        return contract

    def quote(self, symbol: str) -> Quote:
        """Prices of a symbol."""
        self.contract(symbol)
        return self.markets[symbol].quote()

    def depth(
        self, symbol: str, levels: int
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """(bids, asks), each (price, quantity), best first."""
        self.contract(symbol)
        return self.markets[symbol].depth(levels)

    def trades(self, symbol: str, limit: int) -> list[MarketTrade]:
        """The newest trades of a symbol, oldest first."""
        self.contract(symbol)
        return list(self.markets[symbol].trades)[-limit:] if limit else []

    def candles(self, symbol: str, limit: int) -> list[Candle]:
        """The newest minutes of a symbol, oldest first."""
        self.contract(symbol)
        return list(self.markets[symbol].candles)[-limit:] if limit else []

    def funding(self, symbol: str) -> Funding:
        """Funding of a symbol."""
        self.contract(symbol)
        return Funding(
            symbol=symbol,
            rate_e9=self.config.funding_rate_e9,
            next_ms=self._funding_ms,
            interval_hours=self.config.funding_hours,
        )

    def order(self, symbol: str, order_id: int = 0, client_order_id: str = "") -> Order:
        """One order.  Refused 109421."""
        return self.registry.find(symbol, order_id, client_order_id)

    def open_orders(self, symbol: str = "") -> list[Order]:
        """Orders that have not ended."""
        return self.registry.working(symbol)

    def all_orders(
        self,
        symbol: str,
        start_ms: int,
        end_ms: int,
        limit: int,
        ended_only: bool = True,
        order_id: int = 0,
    ) -> list[Order]:
        """Orders by the time of their last change, oldest first."""
        return self.registry.history(symbol, start_ms, end_ms, limit, ended_only, order_id)

    def fills(self, symbol: str, start_ms: int, end_ms: int, order_id: int = 0) -> list[Fill]:
        """Fills, oldest first."""
        return self.registry.fills_between(symbol, start_ms, end_ms, order_id)

    def force_orders(self, symbol: str = "", auto_close: str = "") -> list[Order]:
        """Orders of the exchange's own."""
        return [
            order
            for order in self.orders.values()
            if order.auto_close
            and (not symbol or order.symbol == symbol)
            and (not auto_close or order.auto_close == auto_close)
        ]

    def positions(self, symbol: str = "") -> list[Position]:
        """Positions that are not flat."""
        return self.held.of(symbol)

    def unrealized(self, position: Position) -> int:
        """PnL at the mark."""
        return position.unrealized(self._mark_e10(position.symbol))

    def liquidation_price_e10(self, position: Position) -> int:
        """The mark at which it would be liquidated; 0 when there is none."""
        return liquidation_price_e10(
            position, self.positions(), self.wallet, self._mark_e10, self._maintenance_e9
        )

    def balance(self) -> Balance:
        """The wallet, and what is free of it."""
        unrealized = sum(self.unrealized(position) for position in self.positions())
        used = sum(position.margin for position in self.positions())
        frozen = sum(
            order.left_e8 * order.price_e10 // order.leverage
            for order in self.open_orders()
            if order.type is OrderType.LIMIT and not order.reduce_only and not self._closes(order)
        )
        return Balance(
            wallet=self.wallet,
            equity=self.wallet + unrealized,
            unrealized=unrealized,
            realized=self.ledger.realized,
            available_margin=max(0, self.wallet + unrealized - used - frozen),
            used_margin=used,
            frozen_margin=frozen,
        )

    def income(
        self,
        symbol: str = "",
        type: IncomeType | None = None,
        start_ms: int = 0,
        end_ms: int = 0,
        limit: int = 100,
    ) -> list[Income]:
        """Income rows, oldest first."""
        return self.ledger.find(symbol, type, start_ms, end_ms, limit)

    def _mark_e10(self, symbol: str) -> int:
        return self.markets[symbol].mark_e10

    def _maintenance_e9(self, symbol: str) -> int:
        return self.contracts[symbol].maintenance_e9

    # -- settings ----------------------------------------------------------------------------------

    def leverage(self, symbol: str) -> Leverage:
        """Leverage of a symbol."""
        contract = self.contract(symbol)
        return Leverage(
            symbol=symbol,
            long=self._leverage_of(symbol, PositionSide.LONG),
            short=self._leverage_of(symbol, PositionSide.SHORT),
            max=contract.leverage_max,
        )

    def _leverage_of(self, symbol: str, side: PositionSide) -> int:
        return self._leverages.get((symbol, side), self.config.leverage)

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

    def margin_type(self, symbol: str) -> MarginType:
        """How margin is kept for a symbol."""
        self.contract(symbol)
        return self._margin_types.get(symbol, MarginType.CROSSED)

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

    def _tell_config(self, symbol: str) -> None:
        now = self.leverage(symbol)
        self._events.append(
            ConfigUpdate(
                symbol=symbol,
                long_leverage=now.long,
                short_leverage=now.short,
                margin_type=self.margin_type(symbol),
                time_ms=self.now_ms,
            )
        )

    # -- orders ------------------------------------------------------------------------------------

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

    def _leverage_for(self, symbol: str, side: Side) -> int:
        long = side is Side.BUY
        return self._leverage_of(symbol, PositionSide.LONG if long else PositionSide.SHORT)

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
        if up is None:
            self._rises[order.order_id] = order.stop_price_e10 >= reference
        else:
            self._rises[order.order_id] = up * order.side.sign > 0
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

    def _closes(self, order: Order) -> bool:
        if order.position_side is PositionSide.BOTH:
            return order.reduce_only
        return (order.side is Side.BUY) is (order.position_side is PositionSide.SHORT)

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
        self.ledger.book(
            IncomeType.REALIZED_PNL, order.symbol, realized, self.now_ms, trade_id=trade_id
        )
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
        self._tell_account(AccountReason.ORDER, self.wallet - before, changed)
        taker_buys = (order.side is Side.BUY) is not maker
        market = self.markets[order.symbol]
        self._market_events.append(
            market.traded(price_e10, quantity_e8, not taker_buys, self.now_ms)
        )
        if order.status is OrderStatus.FILLED:
            self._attach(order)

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
        """Stop loss and take profit start when their order is filled."""
        for part in (order.stop_loss, order.take_profit):
            if part is not None:
                self._start(self._new_order(self._attached(order, part)))

    def _attached(self, order: Order, part: Attached) -> OrderRequest:
        return OrderRequest(
            symbol=order.symbol,
            side=order.side.opposite,
            position_side=order.position_side,
            type=part.type,
            quantity_e8=order.executed_e8,
            price_e10=part.price_e10,
            stop_price_e10=part.stop_price_e10,
            working_type=part.working_type,
            reduce_only=order.position_side is PositionSide.BOTH,
        )

    # -- ends --------------------------------------------------------------------------------------

    def _end(self, order: Order, status: OrderStatus) -> None:
        order.status = status
        order.updated_ms = self.now_ms
        self.registry.end(order)
        cancelled = status is OrderStatus.CANCELLED
        self._tell_order(order, Execution.CANCELED if cancelled else Execution.EXPIRED)

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

    # -- the market and time -----------------------------------------------------------------------

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

    def _touch(self, order: Order) -> None:
        """A resting order is filled at its limit when the market comes to it."""
        best = self.markets[order.symbol].best_e10(order.side)
        if (order.price_e10 - best) * order.side.sign < 0:
            return
        step = self.contracts[order.symbol].step_e8
        part = order.quantity_e8 * self.config.maker_share_e9 // 10**9
        part = min(order.left_e8, max(step, part - part % step))
        self._fill(order, order.price_e10, part, maker=True)

    def _reference_e10(self, order: Order) -> int:
        market = self.markets[order.symbol]
        by_mark = order.working_type is WorkingType.MARK_PRICE
        return market.mark_e10 if by_mark else market.last_e10

    def _fire(self, order: Order) -> None:
        """Start a conditional order when its price is reached."""
        rises = self._rises[order.order_id]
        beyond = self._reference_e10(order) - order.stop_price_e10
        if (beyond < 0) if rises else (beyond > 0):
            return
        del self._rises[order.order_id]
        order.triggered = True
        order.status = OrderStatus.PENDING
        held = self.held.closable_e8(order.symbol, order.position_side, order.side)
        if order.close_position:
            order.quantity_e8 = held
        if self._closes(order) and not held:
            self._end(order, OrderStatus.FAILED)
            return
        self._work(order)

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

    def _next_funding_ms(self, now_ms: int) -> int:
        interval = self.config.funding_hours * HOUR_MS
        return (now_ms // interval + 1) * interval

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

    # -- what others do ----------------------------------------------------------------------------

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

    # -- events ------------------------------------------------------------------------------------

    def _tell_order(self, order: Order, execution: Execution) -> None:
        self._events.append(
            OrderUpdate(
                order=copy(order),
                execution=execution,
                last_quantity_e8=0,
                last_price_e10=0,
                fee=0,
                profit=0,
                trade_id="",
                time_ms=self.now_ms,
            )
        )

    def _tell_fill(
        self, order: Order, price_e10: int, quantity_e8: int, fee: int, profit: int, trade_id: str
    ) -> None:
        forced = order.type is OrderType.LIQUIDATION
        self._events.append(
            OrderUpdate(
                order=copy(order),
                execution=Execution.CALCULATED if forced else Execution.TRADE,
                last_quantity_e8=quantity_e8,
                last_price_e10=price_e10,
                fee=fee,
                profit=profit,
                trade_id=trade_id,
                time_ms=self.now_ms,
            )
        )

    def _tell_account(self, reason: AccountReason, change: int, positions: list[Position]) -> None:
        isolated = sum(
            p.margin for p in self.positions() if p.margin_type is not MarginType.CROSSED
        )
        self._events.append(
            AccountUpdate(
                reason=reason,
                wallet=self.wallet,
                wallet_without_isolated=self.wallet - isolated,
                change=change,
                positions=tuple(copy(p) for p in positions),
                unrealized=tuple(self.unrealized(p) for p in positions),
                time_ms=self.now_ms,
            )
        )
