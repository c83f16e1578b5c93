"""The local exchange's state and what it tells of it: views, balance, settings, events.

Everything here looks or writes down; what changes an order or a position is in ``matching``.  It
knows nothing of HTTP, JSON or sockets and reads no clock.
"""

from __future__ import annotations

from copy import copy
from typing import Final

from dita.contracts import Record
from dita.exchange.model.contracts import CONTRACTS
from dita.exchange.model.ledger import Ledger
from dita.exchange.model.market import Market, Shape
from dita.exchange.model.orders import Orders
from dita.exchange.model.positions import Positions, liquidation_price_e10
from dita.exchange.model.records import (
    AccountReason,
    AccountUpdate,
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
    OrderStatus,
    OrderType,
    OrderUpdate,
    Position,
    PositionSide,
    Quote,
    Refused,
    Side,
    UserEvent,
    WorkingType,
)

HOUR_MS: Final = 3_600_000


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
    #: So many ended orders of a symbol and income rows are kept at least; older ones may go.
    history_min: int = 100_000


class State:
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
        self.ledger = Ledger(config.wallet, config.history_min)
        self.registry = Orders(config.history_min)
        self.held = Positions()
        self._leverages: dict[tuple[str, PositionSide], int] = {}
        self._margin_types: dict[str, MarginType] = {}
        self._cancelled_ms: dict[int, int] = {}
        #: Quantity that a stop set at the exchange's own screen has locked, with the code that a
        #: closing order for more is refused with.
        self.locks: dict[tuple[str, PositionSide], tuple[int, int]] = {}
        #: Symbols that are not traded: the code, and whether positions may still be closed.
        self.halts: dict[str, tuple[int, bool]] = {}
        self._cancel_all_ms = 0
        self._funding_ms = self._next_funding_ms(now_ms)
        self._trade_no = 0
        self._events: list[UserEvent] = []
        self._market_events: list[MarketEvent] = []

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
        return self.markets[symbol].minutes(self.now_ms)[-limit:] if limit else []

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

    def available_e8(self, position: Position) -> int:
        """What of a position no resting order closes already."""
        key_side = position.side if self.hedge else PositionSide.BOTH
        side = Side.SELL if position.side is PositionSide.LONG else Side.BUY
        locked_e8, _ = self.locks.get((position.symbol, key_side), (0, 0))
        promised_e8 = self._promised_e8(position.symbol, key_side, side)
        return max(0, position.quantity_e8 - promised_e8 - locked_e8)

    def _promised_e8(self, symbol: str, position_side: PositionSide, side: Side) -> int:
        """What orders that work will close of a position when they are filled."""
        return sum(
            order.left_e8
            for order in self.registry.open[symbol].values()
            if order.status is not OrderStatus.NEW
            and order.side is side
            and order.position_side is position_side
            and self._closes(order)
        )

    def balance(self) -> Balance:
        """The wallet, and what is free of it: an isolated position's profit is not."""
        unrealized = at_risk = used = 0
        for position in self.held.open.values():
            profit = self.unrealized(position)
            unrealized += profit
            used += position.margin
            if position.margin_type is MarginType.CROSSED:
                at_risk += profit
        frozen = sum(
            order.left_e8 * order.price_e10 // order.leverage
            for orders in self.registry.open.values()
            for order in orders.values()
            if order.status is not OrderStatus.NEW and not self._closes(order)
        )
        return Balance(
            wallet=self.wallet,
            equity=self.wallet + unrealized,
            unrealized=unrealized,
            realized=self.ledger.realized,
            available_margin=max(0, self.wallet + at_risk - used - frozen),
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

    def margin_type(self, symbol: str) -> MarginType:
        """How margin is kept for a symbol."""
        self.contract(symbol)
        return self._margin_types.get(symbol, MarginType.CROSSED)

    def _leverage_for(self, symbol: str, side: Side) -> int:
        long = side is Side.BUY
        return self._leverage_of(symbol, PositionSide.LONG if long else PositionSide.SHORT)

    def _closes(self, order: Order) -> bool:
        if order.position_side is PositionSide.BOTH:
            return order.reduce_only
        return (order.side is Side.BUY) is (order.position_side is PositionSide.SHORT)

    def _reference_e10(self, order: Order) -> int:
        market = self.markets[order.symbol]
        by_mark = order.working_type is WorkingType.MARK_PRICE
        return market.mark_e10 if by_mark else market.last_e10

    def _next_funding_ms(self, now_ms: int) -> int:
        interval = self.config.funding_hours * HOUR_MS
        return (now_ms // interval + 1) * interval

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

    def tell_account(self, reason: AccountReason, change: int, positions: list[Position]) -> None:
        """Say that wallet or positions changed."""
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
