"""What the core of the local exchange and its wire say to one another: calls, state, events.

Prices are integers of 10^-10, quantities of 10^-8, money of 10^-18, rates of 10^-9, times are
milliseconds of the exchange's clock.  Fees are positive when paid; money is signed as its effect on
the account elsewhere.  Nothing here knows JSON or a socket.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from dita.contracts import Record


class Refused(Exception):
    """The exchange says no: one of BingX's codes, numbered as since 2025-10 (dossier §1.4)."""

    def __init__(self, code: int, msg: str = "") -> None:
        super().__init__(code, msg)
        self.code = code
        self.msg = msg


class Side(StrEnum):
    """Direction of an order or a fill."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """1 for BUY, -1 for SELL."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> Side:
        """The other one."""
        return Side.SELL if self is Side.BUY else Side.BUY


class PositionSide(StrEnum):
    """Which position an order is for: BOTH in one-way mode, else LONG or SHORT."""

    BOTH = "BOTH"
    LONG = "LONG"
    SHORT = "SHORT"


class OrderType(StrEnum):
    """Types of order; LIQUIDATION is only ever the exchange's own."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP = "STOP"
    STOP_MARKET = "STOP_MARKET"
    TAKE_PROFIT = "TAKE_PROFIT"
    TAKE_PROFIT_MARKET = "TAKE_PROFIT_MARKET"
    TRIGGER_LIMIT = "TRIGGER_LIMIT"
    TRIGGER_MARKET = "TRIGGER_MARKET"
    TRAILING_STOP_MARKET = "TRAILING_STOP_MARKET"
    TRAILING_TP_SL = "TRAILING_TP_SL"
    LIQUIDATION = "LIQUIDATION"

    @property
    def conditional(self) -> bool:
        """It waits for its stop price first."""
        return self not in (OrderType.MARKET, OrderType.LIMIT, OrderType.LIQUIDATION)

    @property
    def family(self) -> str:
        """STOP, TAKE, TRIGGER, TRAILING or the type's own name: what competes for one position."""
        return self.value.partition("_")[0]

    @property
    def trailing(self) -> bool:
        """Its trigger follows the price at a distance."""
        return self.family == "TRAILING"

    @property
    def limited(self) -> bool:
        """It has a limit price, at once or after its trigger."""
        names = (OrderType.LIMIT, OrderType.STOP, OrderType.TAKE_PROFIT, OrderType.TRIGGER_LIMIT)
        return self in names


class TimeInForce(StrEnum):
    """How long a LIMIT order may work."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    POST_ONLY = "POSTONLY"  # the wire writes PostOnly


class WorkingType(StrEnum):
    """The price that a trigger looks at."""

    MARK_PRICE = "MARK_PRICE"
    CONTRACT_PRICE = "CONTRACT_PRICE"


class MarginType(StrEnum):
    """How a position's margin is kept."""

    CROSSED = "CROSSED"
    ISOLATED = "ISOLATED"
    SEPARATE_ISOLATED = "SEPARATE_ISOLATED"


class OrderStatus(StrEnum):
    """Life of an order; spellings are the wire's business."""

    NEW = "NEW"  # conditional and not triggered
    PENDING = "PENDING"  # works, nothing filled
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"

    @property
    def ended(self) -> bool:
        """It will never change again."""
        return self not in (OrderStatus.NEW, OrderStatus.PENDING, OrderStatus.PARTIALLY_FILLED)


class IncomeType(StrEnum):
    """What an income row is about (dossier §2.4)."""

    TRANSFER = "TRANSFER"
    REALIZED_PNL = "REALIZED_PNL"
    FUNDING_FEE = "FUNDING_FEE"
    TRADING_FEE = "TRADING_FEE"
    INSURANCE_CLEAR = "INSURANCE_CLEAR"
    TRIAL_FUND = "TRIAL_FUND"
    ADL = "ADL"
    SYSTEM_DEDUCTION = "SYSTEM_DEDUCTION"
    GTD_PRICE = "GTD_PRICE"


class Execution(StrEnum):
    """What happened to an order, as the stream's ``x`` says it."""

    NEW = "NEW"
    TRADE = "TRADE"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    CALCULATED = "CALCULATED"  # a liquidation


class AccountReason(StrEnum):
    """Why an account changed, as the stream's ``m`` says it."""

    ORDER = "ORDER"
    FUNDING_FEE = "FUNDING_FEE"
    DEPOSIT = "DEPOSIT"
    WITHDRAW = "WITHDRAW"


# -- calls -----------------------------------------------------------------------------------------


class Attached(Record, frozen=True, kw_only=True):
    """A stop loss or take profit that comes with an order and starts when it is filled."""

    type: OrderType
    stop_price_e10: int
    price_e10: int = 0
    working_type: WorkingType = WorkingType.MARK_PRICE


class OrderRequest(Record, frozen=True, kw_only=True):
    """What an order POST asks for, perhaps more precisely than the contract has it."""

    symbol: str
    side: Side
    position_side: PositionSide
    type: OrderType
    quantity_e8: int = 0
    quote_quantity: int = 0  # money of 10^-18; used when the quantity is 0
    price_e10: int = 0
    stop_price_e10: int = 0
    trail_e10: int = 0  # how far a trailing order stays behind, or as a share of the price:
    trail_rate_e9: int = 0
    activation_e10: int = 0  # it begins to follow there; 0: at once
    working_type: WorkingType = WorkingType.MARK_PRICE
    time_in_force: TimeInForce = TimeInForce.GTC
    reduce_only: bool = False
    close_position: bool = False
    client_order_id: str = ""
    stop_loss: Attached | None = None
    take_profit: Attached | None = None


# -- state -----------------------------------------------------------------------------------------


class Contract(Record, frozen=True, kw_only=True):
    """A symbol and its rules; precisions are counts of decimals (dossier §2.5)."""

    symbol: str
    contract_id: str
    asset: str
    quantity_digits: int
    price_digits: int
    min_quantity_e8: int
    min_notional: int = 2 * 10**18
    taker_fee_e9: int = 500_000
    maker_fee_e9: int = 200_000
    leverage_max: int = 125
    maintenance_e9: int = 5_000_000  # margin rate at which a position is liquidated
    start_price_e10: int = 10**10
    exposure_max: int = 100_000_000 * 10**18  # a position's value times its leverage
    price_band_e9: int = 200_000_000  # how far beyond the mark a limit price may be
    status: int = 1  # 1 online, 25 no opening, 5 pre-online, 0 offline
    closable: bool = True  # while it is not online, positions may be closed where status is 25

    @property
    def tick_e10(self) -> int:
        """Smallest step of a price."""
        return int(10 ** (10 - self.price_digits))

    @property
    def step_e8(self) -> int:
        """Smallest step of a quantity."""
        return int(10 ** (8 - self.quantity_digits))


class Order(msgspec.Struct, kw_only=True):
    """An order.  The core changes it; everybody else only reads, and events carry copies."""

    order_id: int
    client_order_id: str
    symbol: str
    side: Side
    position_side: PositionSide
    type: OrderType
    quantity_e8: int
    price_e10: int  # as asked; for a MARKET order the reference price, never the fill
    stop_price_e10: int
    working_type: WorkingType
    time_in_force: TimeInForce
    reduce_only: bool
    close_position: bool
    leverage: int
    created_ms: int
    updated_ms: int
    status: OrderStatus = OrderStatus.PENDING
    executed_e8: int = 0
    cost: int = 0  # sum of price x quantity over the fills
    fee: int = 0
    profit: int = 0
    rises: bool = False  # a conditional order fires when the price rises to it, else when it falls
    trail_e10: int = 0
    trail_rate_e9: int = 0
    activation_e10: int = 0
    peak_e10: int = 0  # the best price since a trailing order follows; 0: not yet
    triggered: bool = False
    foreign: bool = False  # not by an API call: by hand, or the exchange's own
    stop_loss: Attached | None = None
    take_profit: Attached | None = None
    auto_close: str = ""  # LIQUIDATION or ADL

    @property
    def average_price_e10(self) -> int:
        """Average price of what is filled, rounded half up; 0 when nothing is."""
        return (2 * self.cost + self.executed_e8) // (2 * self.executed_e8) if self.cost else 0

    @property
    def left_e8(self) -> int:
        """What is not filled."""
        return self.quantity_e8 - self.executed_e8


class Fill(Record, frozen=True, kw_only=True):
    """One fill."""

    trade_id: str
    order_id: int
    client_order_id: str
    symbol: str
    side: Side
    position_side: PositionSide
    type: OrderType
    working_type: WorkingType
    quantity_e8: int
    price_e10: int
    fee: int
    profit: int
    maker: bool
    filled_ms: int


class Position(msgspec.Struct, kw_only=True):
    """An open position; ``quantity_e8`` is unsigned, ``side`` (LONG or SHORT) its direction."""

    position_id: int
    symbol: str
    side: PositionSide
    leverage: int
    margin_type: MarginType
    created_ms: int
    updated_ms: int
    quantity_e8: int = 0
    cost: int = 0  # entry value of what is open
    realized: int = 0  # since it was opened, fees included (dossier §2.4)
    added_margin: int = 0  # by hand, to an isolated one

    @property
    def sign(self) -> int:
        """1 for LONG, -1 for SHORT."""
        return 1 if self.side is PositionSide.LONG else -1

    @property
    def average_price_e10(self) -> int:
        """Average entry price, rounded half up."""
        return (2 * self.cost + self.quantity_e8) // (2 * self.quantity_e8) if self.cost else 0

    @property
    def margin(self) -> int:
        """Margin at the entry value, with what was added."""
        return self.cost // self.leverage + self.added_margin

    def unrealized(self, mark_e10: int) -> int:
        """PnL at a mark price."""
        return self.sign * (mark_e10 * self.quantity_e8 - self.cost)


class Income(Record, frozen=True, kw_only=True):
    """One row: everything that ever moved the wallet has one."""

    tran_id: str
    type: IncomeType | str  # a text for a word that nobody knows
    symbol: str  # "" for transfers
    amount: int
    info: str
    trade_id: str
    time_ms: int


class Balance(Record, frozen=True, kw_only=True):
    """The wallet and what follows from positions and working orders."""

    wallet: int
    equity: int
    unrealized: int
    realized: int
    available_margin: int
    used_margin: int
    frozen_margin: int


class Quote(Record, frozen=True, kw_only=True):
    """Prices of a symbol now; sizes are those of the best level."""

    symbol: str
    last_e10: int
    mark_e10: int
    index_e10: int
    bid_e10: int
    ask_e10: int
    bid_quantity_e8: int
    ask_quantity_e8: int
    time_ms: int
    open_e10: int  # of the last 24 h or since the start
    high_e10: int
    low_e10: int
    volume_e8: int
    turnover: int


class MarketTrade(Record, frozen=True, kw_only=True):
    """A trade of the market, ours or anybody's."""

    trade_id: str
    symbol: str
    price_e10: int
    quantity_e8: int
    buyer_is_maker: bool
    time_ms: int


class Candle(msgspec.Struct, kw_only=True):
    """One minute of a symbol; ``time_ms`` is its opening."""

    time_ms: int
    open_e10: int
    high_e10: int
    low_e10: int
    close_e10: int
    volume_e8: int


class Funding(Record, frozen=True, kw_only=True):
    """The funding rate of a symbol and when it is paid next."""

    symbol: str
    rate_e9: int
    next_ms: int
    interval_hours: int


class Leverage(Record, frozen=True, kw_only=True):
    """Leverage of a symbol by position side; in one-way mode both are the same."""

    symbol: str
    long: int
    short: int
    max: int


# -- events ----------------------------------------------------------------------------------------


class OrderUpdate(Record, frozen=True, kw_only=True):
    """ORDER_TRADE_UPDATE.  ``order`` is a copy of that moment; figures are of this event alone."""

    order: Order
    execution: Execution
    last_quantity_e8: int
    last_price_e10: int
    fee: int
    profit: int
    trade_id: str
    time_ms: int


class AccountUpdate(Record, frozen=True, kw_only=True):
    """ACCOUNT_UPDATE: the wallet, and copies of the positions that changed (flat ones with 0)."""

    reason: AccountReason
    wallet: int
    wallet_without_isolated: int
    change: int
    positions: tuple[Position, ...]
    unrealized: tuple[int, ...]  # of each position
    time_ms: int


class ConfigUpdate(Record, frozen=True, kw_only=True):
    """ACCOUNT_CONFIG_UPDATE: leverage or margin type of a symbol."""

    symbol: str
    long_leverage: int
    short_leverage: int
    margin_type: MarginType
    time_ms: int


UserEvent = OrderUpdate | AccountUpdate | ConfigUpdate
MarketEvent = Quote | MarketTrade
