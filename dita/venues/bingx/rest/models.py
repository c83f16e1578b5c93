"""The REST replies of the BingX swap endpoints as records: names as on the wire, digits unread.

What the documents add or rename is listed beside the old name, unknown fields are ignored.  A
record says only what was on the wire; what it means is in ``parse`` (dossier §1.3, §2).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from dita.venues.bingx.values import (
    Digits,
    UnreadableValue,
    decode,
    decoder,
    either,
    read_count,
    unreadable,
)


class Row(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of everything here: immutable, camelCase on the wire."""


class Envelope(Row, frozen=True):
    """``{"code":0,"msg":"","data":...}`` and its variants; gateway errors have no data.

    ``listen_key`` is here because POST userDataStream answers without an envelope, ``amount`` and
    ``type`` because POST positionMargin puts them beside the code.
    """

    code: Digits = None
    msg: Any = ""
    data: msgspec.Raw = msgspec.Raw(b"null")
    timestamp: Digits = None
    listen_key: Any = ""
    amount: Digits = None
    type: Digits = None

    @property
    def number(self) -> int:
        """The code as a number; 0 is success, and so is a bare listen key."""
        if type(self.code) is int:
            return self.code
        return read_count(self.code, "code", 10**9)

    @property
    def text(self) -> str:
        """The message; some codes have their meaning, and their retry time, only there."""
        return self.msg if isinstance(self.msg, str) else ""


class OrderRow(Row, frozen=True):
    """An order in any reply: placed, cancelled, queried, listed."""

    symbol: Any = ""
    order_id: Digits = None
    order_id_text: Digits = msgspec.field(default=None, name="orderID")
    client_order_id: Any = ""
    client_order_id_old: Any = msgspec.field(default="", name="clientOrderID")
    side: Any = ""
    position_side: Any = ""
    type: Any = ""
    status: Any = ""
    price: Digits = None
    stop_price: Digits = None
    quantity: Digits = None
    orig_qty: Digits = None
    executed_qty: Digits = None
    avg_price: Digits = None
    cum_quote: Digits = None
    profit: Digits = None
    commission: Digits = None
    time: Digits = None
    update_time: Digits = None
    leverage: Digits = None
    reduce_only: Any = None
    position_id: Digits = msgspec.field(default=None, name="positionID")
    trigger_order_id: Digits = None
    error_code: Digits = None  # of a row under "failed" or "errors"
    error_message: Any = ""


class WrappedOrder(OrderRow, frozen=True):
    """``data`` of one order: under ``order`` until 2025, flat since (dossier §2.1)."""

    order: OrderRow | None = None

    @property
    def row(self) -> OrderRow:
        """The order, wherever it was."""
        return self if self.order is None else self.order


class OrderList(Row, frozen=True):
    """``data`` of openOrders, allOrders, fullOrder, forceOrders, batchOrders."""

    orders: tuple[msgspec.Raw, ...] | msgspec.UnsetType | None = msgspec.UNSET
    errors: tuple[OrderRow, ...] | None = None

    @property
    def rows(self) -> tuple[msgspec.Raw, ...]:
        """The orders, undecoded; null is an empty list.  UnreadableValue when it is missing."""
        if self.orders is msgspec.UNSET:
            raise unreadable("orders", None, "a list of orders")
        return self.orders or ()


class Cancelled(Row, frozen=True):
    """``data`` of allOpenOrders and batch cancel; ``failed`` is null, not []."""

    success: tuple[OrderRow, ...] | None = None
    failed: tuple[OrderRow, ...] | None = None


class Closed(Row, frozen=True):
    """``data`` of closeAllPositions: order ids."""

    success: tuple[Any, ...] | None = None
    failed: tuple[Any, ...] | None = None


class Replaced(Row, frozen=True):
    """``data`` of cancelReplace."""

    cancel_result: Any = ""
    cancel_msg: Any = ""
    cancel_response: OrderRow | None = None
    replace_result: Any = ""
    replace_msg: Any = ""
    new_order_response: OrderRow | None = None


class CancelTimer(Row, frozen=True):
    """``data`` of cancelAllAfter; the time is in seconds."""

    trigger_time: Digits = None
    status: Any = ""


class FillRow(Row, frozen=True):
    """A fill of allFillOrders (``volume``, ``currency``) or fillHistory (``qty``, ``trade_id``)."""

    symbol: Any = ""
    order_id: Digits = None
    trade_id: Digits = None
    client_order_id: Any = ""
    client_order_id_old: Any = msgspec.field(default="", name="clientOrderID")
    side: Any = ""
    position_side: Any = ""
    price: Digits = None
    volume: Digits = None
    qty: Digits = None
    amount: Digits = None
    quote_qty: Digits = None
    commission: Digits = None
    currency: Any = ""
    commission_asset: Any = ""
    role: Any = ""
    filled_tm: Any = ""
    filled_time: Any = ""


class FillList(Row, frozen=True, rename=None):
    """``data`` of both fill endpoints: the model and the documents name the list differently."""

    fill_orders: tuple[msgspec.Raw, ...] | msgspec.UnsetType | None = msgspec.UNSET
    fill_history_orders: tuple[msgspec.Raw, ...] | msgspec.UnsetType | None = msgspec.UNSET

    @property
    def rows(self) -> tuple[msgspec.Raw, ...]:
        """The fills, undecoded; null is an empty list.  UnreadableValue when it is missing."""
        older, newer = self.fill_orders, self.fill_history_orders
        if older is msgspec.UNSET and newer is msgspec.UNSET:
            raise unreadable("fills", None, "fill_orders or fill_history_orders")
        return (older or ()) + (newer or ())


class BalanceRow(Row, frozen=True):
    """One asset of the account; an unused one can have empty strings everywhere."""

    asset: Any = ""
    balance: Digits = None
    equity: Digits = None
    unrealized_profit: Digits = None
    available_margin: Digits = None
    used_margin: Digits = None
    freezed_margin: Digits = None
    frozen_margin: Digits = None


class OneBalance(Row, frozen=True):
    """``data`` of the older v2 balance: one object."""

    balance: BalanceRow


class PositionRow(Row, frozen=True):
    """A position; the amount is unsigned, the direction is in the position side."""

    position_id: Digits = None
    symbol: Any = ""
    currency: Any = ""
    position_amt: Digits = None
    available_amt: Digits = None
    position_side: Any = ""
    isolated: Any = None
    only_one_position: Any = None
    avg_price: Digits = None
    leverage: Digits = None
    initial_margin: Digits = None
    unrealized_profit: Digits = None
    realised_profit: Digits = None
    liquidation_price: Digits = None
    mark_price: Digits = None
    update_time: Digits = None


class PositionHistoryRow(Row, frozen=True):
    """A closed position; two spellings of the profit."""

    position_id: Digits = None
    symbol: Any = ""
    position_side: Any = ""
    open_time: Digits = None
    update_time: Digits = None
    avg_price: Digits = None
    avg_close_price: Digits = None
    realised_profit: Digits = None
    realized_profit: Digits = None
    net_profit: Digits = None
    position_amt: Digits = None
    close_position_amt: Digits = None
    leverage: Digits = None
    position_commission: Digits = None
    total_funding: Digits = None


class PositionHistory(Row, frozen=True):
    """``data`` of positionHistory v1; v2 is the bare list."""

    position_history: tuple[PositionHistoryRow, ...] = ()


class IncomeRow(Row, frozen=True):
    """One row of the income history, signed as its effect on the account."""

    symbol: Any = ""
    income_type: Any = ""
    income: Digits = None
    asset: Any = ""
    info: Any = ""
    time: Digits = None
    tran_id: Digits = None
    trade_id: Digits = None


class ContractRow(Row, frozen=True):
    """A contract's rules.  Precisions are numbers of decimals; the flags are strings."""

    symbol: Any = ""
    quantity_precision: Digits = None
    price_precision: Digits = None
    taker_fee_rate: Digits = None
    maker_fee_rate: Digits = None
    fee_rate: Digits = None
    trade_min_quantity: Digits = None
    trade_min_usdt: Digits = msgspec.field(default=None, name="tradeMinUSDT")
    currency: Any = ""
    asset: Any = ""
    status: Digits = None
    api_state_open: Any = None
    api_state_close: Any = None


class TradingRules(Row, frozen=True):
    """``data`` of tradingRules: ratios around the current price; one name has a typo of theirs."""

    min_size_coin: Digits = None
    min_size_usd: Digits = None
    max_num_order: Digits = None
    max_mum_order: Digits = None
    protection_threshold: Digits = None
    buy_max_price: Digits = None
    buy_min_price: Digits = None
    sell_max_price: Digits = None
    sell_min_price: Digits = None
    market_ratio: Digits = None


class Leverage(Row, frozen=True):
    """``data`` of leverage: GET has both sides, POST the one that was set."""

    symbol: Any = ""
    leverage: Digits = None
    long_leverage: Digits = None
    short_leverage: Digits = None
    max_long_leverage: Digits = None
    max_short_leverage: Digits = None


class MarginType(Row, frozen=True):
    """``data`` of marginType; POST answers without data."""

    symbol: Any = ""
    margin_type: Any = ""


class PositionMode(Row, frozen=True):
    """``data`` of positionSide/dual; the flag is a string."""

    dual_side_position: Any


class Rates(Row, frozen=True):
    """Commission rates, positive, as bare numbers."""

    taker_commission_rate: Digits = None
    maker_commission_rate: Digits = None


class CommissionRate(Row, frozen=True):
    """``data`` of commissionRate."""

    commission: Rates


class TierRow(Row, frozen=True):
    """One tier of maintMarginRatio."""

    symbol: Any = ""
    min_position_val: Digits = None
    max_position_val: Digits = None
    maint_margin_ratio: Digits = None
    maint_amount: Digits = None


class TopUp(Row, frozen=True):
    """``data`` of getVst."""

    amount: Digits


class MarkRow(Row, frozen=True):
    """GET quote/premiumIndex, as far as it is asked for (dossier §2.5)."""

    symbol: Any = ""
    mark_price: Digits = None


class ServerTime(Row, frozen=True):
    """``data`` of server/time."""

    server_time: Digits


class PremiumRow(Row, frozen=True):
    """Mark price and funding; the next funding time is absolute, whatever the documents say."""

    symbol: Any = ""
    mark_price: Digits = None
    index_price: Digits = None
    last_funding_rate: Digits = None
    next_funding_time: Digits = None


class PriceRow(Row, frozen=True):
    """``data`` of ticker/price."""

    symbol: Any = ""
    price: Digits = None
    time: Digits = None


class TickerRow(Row, frozen=True):
    """The 24-hour ticker; its open time can exceed its close time."""

    symbol: Any = ""
    last_price: Digits = None
    ask_price: Digits = None
    ask_qty: Digits = None
    bid_price: Digits = None
    bid_qty: Digits = None
    open_time: Digits = None
    close_time: Digits = None


class BookRow(Row, frozen=True, rename=None):
    """The best bid and ask, snake_case and bare."""

    symbol: Any = ""
    bid_price: Digits = None
    bid_qty: Digits = None
    ask_price: Digits = None
    ask_qty: Digits = None


class BookTicker(Row, frozen=True, rename=None):
    """``data`` of bookTicker."""

    book_ticker: BookRow


class Depth(Row, frozen=True):
    """``data`` of depth: the order of the asks has changed over the years, sort them."""

    bids: tuple[tuple[Any, Any], ...] = ()
    asks: tuple[tuple[Any, Any], ...] = ()
    bids_coin: tuple[tuple[Any, Any], ...] = ()
    asks_coin: tuple[tuple[Any, Any], ...] = ()


class CandleRow(Row, frozen=True):
    """A candle of klines or markPriceKlines."""

    open: Digits = None
    high: Digits = None
    low: Digits = None
    close: Digits = None
    volume: Digits = None
    time: Digits = None
    open_time: Digits = None


class TradeRow(Row, frozen=True):
    """A public trade."""

    time: Digits = None
    is_buyer_maker: Any = None
    price: Digits = None
    qty: Digits = None


class FundingRow(Row, frozen=True):
    """A funding rate of the past."""

    symbol: Any = ""
    funding_rate: Digits = None
    funding_time: Digits = None


_ENVELOPE: Final = decoder(Envelope)


def envelope(body: bytes | str) -> Envelope:
    """The outer reply.  UnreadableValue when the body is not one: nothing follows from it then."""
    found = decode(_ENVELOPE, body)
    if found.code is None and not found.listen_key:
        raise UnreadableValue(
            "reply cannot be read", expected="a code or a listenKey", found="neither"
        )
    return found


# One decoder per kind of data, made once.
WRAPPED_ORDER: Final = decoder(WrappedOrder)
ORDER_LIST: Final = decoder(OrderList)
CANCELLED: Final = decoder(Cancelled)
CLOSED: Final = decoder(Closed)
REPLACED: Final = decoder(Replaced)
REPLACED_LIST: Final = decoder(tuple[Replaced, ...])
CANCEL_TIMER: Final = decoder(CancelTimer)
FILL_LIST: Final = decoder(FillList)
# Rows stay undecoded in their lists, so that one that cannot be decoded fails no other.
ORDER_ROW: Final = decoder(OrderRow)
FILL_ROW: Final = decoder(FillRow)
BALANCE_ROW: Final = decoder(BalanceRow)
POSITION_ROW: Final = decoder(PositionRow)
INCOME_ROW: Final = decoder(IncomeRow)
CONTRACT_ROW: Final = decoder(ContractRow)
BALANCES: Final = either(tuple[msgspec.Raw, ...], OneBalance)
POSITIONS: Final = decoder(tuple[msgspec.Raw, ...])
POSITION_HISTORY: Final = either(tuple[PositionHistoryRow, ...], PositionHistory)
INCOME: Final = decoder(tuple[msgspec.Raw, ...])
CONTRACTS: Final = decoder(tuple[msgspec.Raw, ...])
TRADING_RULES: Final = decoder(TradingRules)
LEVERAGE: Final = decoder(Leverage)
MARGIN_TYPE: Final = decoder(MarginType)
MARK: Final = either(MarkRow, tuple[MarkRow, ...])
POSITION_MODE: Final = decoder(PositionMode)
COMMISSION_RATE: Final = decoder(CommissionRate)
TIERS: Final = decoder(tuple[TierRow, ...])
TOP_UP: Final = decoder(TopUp)
SERVER_TIME: Final = decoder(ServerTime)
PREMIUM: Final = either(tuple[PremiumRow, ...], PremiumRow)
LAST_PRICE: Final = either(tuple[PriceRow, ...], PriceRow)
TICKER: Final = either(tuple[TickerRow, ...], TickerRow)
BOOK_TICKER: Final = decoder(BookTicker)
DEPTH: Final = decoder(Depth)
CANDLES: Final = decoder(tuple[CandleRow, ...])
TRADES: Final = decoder(tuple[TradeRow, ...])
FUNDING_RATES: Final = either(tuple[FundingRow, ...], FundingRow)
