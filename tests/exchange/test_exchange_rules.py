"""The core of the local exchange by examples: what each order does, costs, and is refused for.

Figures are worked out by hand beside each example; codes are those of dossier §1.4.
"""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from dita.exchange.model.contracts import CONTRACTS
from dita.exchange.model.exchange import Exchange, ExchangeConfig
from dita.exchange.model.market import Shape
from dita.exchange.model.records import (
    AccountReason,
    AccountUpdate,
    Attached,
    ConfigUpdate,
    Execution,
    IncomeType,
    MarginType,
    Order,
    OrderRequest,
    OrderStatus,
    OrderType,
    OrderUpdate,
    PositionSide,
    Refused,
    Side,
    TimeInForce,
    WorkingType,
)
from dita.units import format_money, format_price, parse_money, parse_price, parse_quantity

START_MS = 1_700_000_000_000  # 22:13:20 UTC; funding is paid at midnight
MIDNIGHT_MS = 1_700_006_400_000
FET, BTC = "FET-USDT", "BTC-USDT"
BUY, SELL = Side.BUY, Side.SELL
BOTH, LONG, SHORT = PositionSide.BOTH, PositionSide.LONG, PositionSide.SHORT


class Trader:
    """An exchange and short words for what a test does with it; prices and amounts are texts."""

    def __init__(self, **changes: Any) -> None:
        levels = int(changes.pop("levels", 20))
        shape = Shape(levels=levels, level_notional=parse_money(changes.pop("level", "50000")))
        wallet = parse_money(changes.pop("wallet", "1000"))
        config = ExchangeConfig(wallet=wallet, shape=shape, leverage=5, **changes)
        self.exchange = Exchange(config, START_MS)
        self.now_ms = START_MS

    def request(self, side: Side, quantity: str = "100", **changes: Any) -> OrderRequest:
        """A MARKET order for FET unless it is told otherwise."""
        for name in ("price", "stop_price"):
            if name in changes:
                changes[f"{name}_e10"] = parse_price(changes.pop(name))
        changes.setdefault("position_side", BOTH)
        changes.setdefault("type", OrderType.LIMIT if "price_e10" in changes else OrderType.MARKET)
        changes.setdefault("symbol", FET)
        return OrderRequest(side=side, quantity_e8=parse_quantity(quantity), **changes)

    def place(self, side: Side, quantity: str = "100", **changes: Any) -> Order:
        """Place it a millisecond later."""
        self.now_ms += 1
        return self.exchange.place(self.request(side, quantity, **changes), self.now_ms)

    def refused(self, side: Side, quantity: str = "100", **changes: Any) -> Refused:
        """Place what must not be taken; nothing may have changed."""
        before = (self.exchange.wallet, len(self.exchange.orders), len(self.exchange.all_fills))
        with pytest.raises(Refused) as caught:
            self.place(side, quantity, **changes)
        now = (self.exchange.wallet, len(self.exchange.orders), len(self.exchange.all_fills))
        assert now == before
        return caught.value

    def price(self, price: str, symbol: str = FET, mark: str = "0") -> None:
        """The market moves a millisecond later."""
        self.now_ms += 1
        self.exchange.set_price(symbol, parse_price(price), self.now_ms, parse_price(mark))

    @property
    def position(self) -> str:
        """The FET positions, as signed quantities."""
        held = self.exchange.positions(FET)
        return " ".join(str(p.sign * p.quantity_e8 // 10**8) for p in held) or "0"

    @property
    def wallet(self) -> str:
        """The wallet."""
        return format_money(self.exchange.wallet)

    def heard(self, order: Order) -> list[str]:
        """What the stream said of an order since the last call: execution and status."""
        return [
            f"{event.execution} {event.order.status}"
            for event in self.exchange.take_events()
            if isinstance(event, OrderUpdate) and event.order.order_id == order.order_id
        ]

    def income(self) -> list[str]:
        """Every income row: type and amount."""
        return [f"{row.type} {format_money(row.amount)}" for row in self.exchange.all_income]


@pytest.fixture
def one_way() -> Trader:
    """One-way mode, 1000 USDT, FET at 0.5 with the ask at 0.5001 and the bid at 0.4999."""
    return Trader()


@pytest.fixture
def hedge() -> Trader:
    """The same in hedge mode."""
    return Trader(hedge=True)


# -- market and limit orders -----------------------------------------------------------------------


def test_a_round_trip_costs_what_it_says(one_way: Trader) -> None:
    """100 bought at 0.5001 and sold at 0.5199: 1.98 less 0.05% of 50.01 and of 51.99."""
    bought = one_way.place(BUY)
    assert (bought.status, format_price(bought.average_price_e10)) == ("FILLED", "0.5001")
    assert one_way.heard(bought) == ["NEW PENDING", "TRADE FILLED"]
    assert one_way.position == "100"
    one_way.price("0.52")
    sold = one_way.place(SELL, reduce_only=True)
    assert (format_money(sold.profit), format_money(sold.fee)) == ("1.98", "0.025995")
    assert one_way.income() == [
        "TRADING_FEE -0.025005",
        "REALIZED_PNL 1.98",
        "TRADING_FEE -0.025995",
    ]
    assert (one_way.position, one_way.wallet) == ("0", "1001.929")


def test_a_market_order_walks_the_book_and_its_rest_expires() -> None:
    """Two levels of 20 FET: 20 at 0.5001, 20 at 0.5002, and no more."""
    thin = Trader(levels=2, level="10")
    order = thin.place(BUY, "50")
    assert thin.heard(order) == [
        "NEW PENDING",
        "TRADE PARTIALLY_FILLED",
        "TRADE PARTIALLY_FILLED",
        "EXPIRED EXPIRED",
    ]
    assert [(f.quantity_e8, format_price(f.price_e10)) for f in thin.exchange.all_fills] == [
        (20 * 10**8, "0.5001"),
        (20 * 10**8, "0.5002"),
    ]
    assert format_price(order.average_price_e10) == "0.50015"


def test_a_limit_order_rests_and_is_filled_as_maker(one_way: Trader) -> None:
    """At its own price and for 0.02%, when the market comes to it."""
    order = one_way.place(BUY, price="0.49")
    assert order.status is OrderStatus.PENDING
    assert one_way.exchange.balance().frozen_margin == parse_money("9.8")  # 49 / 5
    one_way.price("0.4901")
    assert order.status is OrderStatus.PENDING
    one_way.price("0.4899")
    assert (order.status, format_money(order.fee)) == ("FILLED", "0.0098")
    (fill,) = one_way.exchange.fills(FET, 0, 0)
    assert (fill.maker, format_price(fill.price_e10)) == (True, "0.49")


def test_a_share_of_a_resting_order_at_each_step() -> None:
    """``maker_share_e9``: 40% at each step that reaches it."""
    slow = Trader(maker_share_e9=400_000_000)
    order = slow.place(SELL, price="0.51")
    filled = []
    for price in ("0.52", "0.53", "0.54"):
        slow.price(price)
        filled.append(order.executed_e8 // 10**8)
    assert filled == [40, 80, 100]


@pytest.mark.parametrize(
    ("time_in_force", "price", "status", "executed"),
    [
        (TimeInForce.GTC, "0.5001", "PARTIALLY_FILLED", 20),
        (TimeInForce.IOC, "0.5001", "EXPIRED", 20),
        (TimeInForce.IOC, "0.4", "EXPIRED", 0),
        (TimeInForce.FOK, "0.5001", "EXPIRED", 0),
        (TimeInForce.FOK, "0.5002", "FILLED", 40),
        (TimeInForce.POST_ONLY, "0.5", "PENDING", 0),
    ],
)
def test_time_in_force(time_in_force: TimeInForce, price: str, status: str, executed: int) -> None:
    """40 FET against two levels of 20."""
    thin = Trader(levels=2, level="10")
    order = thin.place(BUY, "40", price=price, time_in_force=time_in_force)
    assert (order.status, order.executed_e8 // 10**8) == (status, executed)


def test_post_only_that_would_take_is_refused(one_way: Trader) -> None:
    """101215, and no order."""
    post_only = TimeInForce.POST_ONLY
    assert one_way.refused(BUY, price="0.5001", time_in_force=post_only).code == 101215
    assert one_way.refused(SELL, price="0.4999", time_in_force=post_only).code == 101215


def test_leftover_may_be_called_cancelled() -> None:
    """What the final status is called is not established, so it can be chosen."""
    thin = Trader(levels=1, level="10", leftover=OrderStatus.CANCELLED)
    order = thin.place(BUY, "40")
    assert thin.heard(order)[-1] == "CANCELED CANCELLED"


def test_excess_precision_is_cut_off_silently(one_way: Trader) -> None:
    """0.123456 becomes 0.1234 and the order succeeds (dossier §2.1)."""
    order = one_way.place(SELL, "0.00199999", symbol=BTC, price="60000.19")
    assert order.quantity_e8 == parse_quantity("0.0019")
    assert format_price(order.price_e10) == "60000.1"


def test_a_quote_quantity_buys_for_so_much(one_way: Trader) -> None:
    """25.3 USDT at 0.5 are 50.6 FET, cut to 50; a quantity wins over it."""
    order = one_way.place(BUY, "0", quote_quantity=parse_money("25.3"))
    assert order.executed_e8 == 50 * 10**8
    assert one_way.place(BUY, "7", quote_quantity=parse_money("25")).executed_e8 == 7 * 10**8


# -- refusals --------------------------------------------------------------------------------------


def test_minimums(one_way: Trader) -> None:
    """Quantity 101400, value 110425; closing is never too little value, nor is a whole position
    ever too small."""
    assert one_way.refused(BUY, "0.5").msg == "The minimum order amount is 1 FET."
    small = one_way.refused(BUY, "3", price="0.5")
    assert (small.code, "greater than 2u" in small.msg) == (110425, True)
    one_way.place(BUY, "4")
    one_way.price("0.4")
    assert one_way.refused(BUY, "4").code == 110425
    assert one_way.place(SELL, "1", reduce_only=True).status is OrderStatus.FILLED
    assert one_way.place(SELL, "3", reduce_only=True).status is OrderStatus.FILLED


def test_margin_is_needed_to_open_and_not_to_close(one_way: Trader) -> None:
    """1000 USDT at 5x carry 5000 less the fee; what is held or frozen is not free."""
    assert one_way.refused(BUY, "10000").code == 101204
    one_way.place(BUY, "9900")
    assert one_way.refused(BUY, "100").code == 101204
    assert one_way.place(SELL, "9900").status is OrderStatus.FILLED
    one_way.place(BUY, "9000", price="0.5")
    assert one_way.refused(SELL, "2000").code == 101204


def test_closing_in_one_way_mode(one_way: Trader) -> None:
    """Nothing to close 101205; the wrong way or more than there is 101290."""
    assert one_way.refused(SELL, reduce_only=True).code == 101205
    one_way.place(BUY)
    assert one_way.refused(BUY, reduce_only=True).code == 101290
    assert one_way.refused(SELL, "101", reduce_only=True).code == 101290
    one_way.place(SELL, "60", price="0.6", reduce_only=True)
    (position,) = one_way.exchange.positions()
    assert one_way.exchange.available_e8(position) == 40 * 10**8
    assert one_way.refused(SELL, "50", reduce_only=True).code == 101290
    assert one_way.place(SELL, "40", reduce_only=True).status is OrderStatus.FILLED


def test_closing_in_hedge_mode(hedge: Trader) -> None:
    """Nothing to close 101205; more than there is 109420; both sides live side by side."""
    assert hedge.refused(SELL, position_side=LONG).code == 101205
    hedge.place(BUY, position_side=LONG)
    hedge.place(SELL, "30", position_side=SHORT)
    assert hedge.position == "100 -30"
    assert hedge.refused(SELL, "101", position_side=LONG).code == 109420
    hedge.place(BUY, "30", position_side=SHORT)
    assert hedge.position == "100"


def test_without_reduce_only_one_way_turns_around(one_way: Trader) -> None:
    """Sell 150 of 100: 100 are closed for their profit, 50 are a new short position."""
    one_way.place(BUY)
    (long,) = one_way.exchange.positions()
    one_way.exchange.take_events()
    sold = one_way.place(SELL, "150")
    (short,) = one_way.exchange.positions()
    assert one_way.position == "-50" and short.position_id != long.position_id
    assert format_money(sold.profit) == "-0.02"
    (update,) = [e for e in one_way.exchange.take_events() if isinstance(e, AccountUpdate)]
    assert [p.quantity_e8 for p in update.positions] == [0, 50 * 10**8]


def test_mode_mismatch(one_way: Trader, hedge: Trader) -> None:
    """109400 with the exchange's words."""
    wrong = one_way.refused(BUY, position_side=LONG)
    assert (wrong.code, wrong.msg) == (
        109400,
        "In the One-way mode, the 'PositionSide' field can only be set to BOTH.",
    )
    assert hedge.refused(BUY).code == 109400
    reduce = hedge.refused(SELL, position_side=LONG, reduce_only=True)
    assert (reduce.code, "ReduceOnly" in reduce.msg) == (109400, True)


def test_mode_is_switched_only_when_nothing_is_open(one_way: Trader) -> None:
    """104103 with an order, 109401 with a position; the same mode again is fine."""
    exchange = one_way.exchange
    order = one_way.place(BUY, price="0.4")
    exchange.set_hedge(False, one_way.now_ms)
    for code in (104103, 109401):
        with pytest.raises(Refused) as caught:
            exchange.set_hedge(True, one_way.now_ms)
        assert caught.value.code == code
        if code == 104103:
            exchange.cancel(FET, one_way.now_ms, order_id=order.order_id)
            one_way.place(BUY)
    one_way.place(SELL)
    exchange.set_hedge(True, one_way.now_ms)
    assert exchange.hedge


def test_client_ids_are_lower_case_and_unique_in_any_case(one_way: Trader) -> None:
    """101481, also after the first order has ended; at most 40 characters."""
    order = one_way.place(BUY, client_order_id="My-Id")
    assert order.client_order_id == "my-id"
    assert one_way.refused(BUY, client_order_id="MY-ID").code == 101481
    assert one_way.refused(BUY, client_order_id="x" * 41).code == 109400
    assert one_way.place(BUY, client_order_id="x" * 40).status is OrderStatus.FILLED
    assert one_way.exchange.order(FET, client_order_id="mY-iD") is order


def test_order_ids_tell_their_time_and_pass_2_to_the_53(one_way: Trader) -> None:
    """Snowflakes since Twitter's epoch (dossier §1.3), rising within a millisecond."""
    first, second = one_way.place(BUY), one_way.place(BUY)
    again = one_way.exchange.place(one_way.request(BUY), one_way.now_ms)
    assert (first.order_id >> 22) + 1_288_834_974_657 == START_MS + 1
    assert 2**53 < first.order_id < second.order_id < again.order_id


def test_price_band_and_value_for_leverage(one_way: Trader) -> None:
    """101211 a fifth beyond the mark, 101209 where value times leverage passes the limit."""
    high = one_way.refused(BUY, price="0.6001")
    assert (high.code, high.msg) == (101211, "Order price should be lower than 0.6")
    assert one_way.refused(SELL, price="0.3999").code == 101211
    rich = Trader(wallet="1000000000")
    assert rich.refused(BUY, "40000000").code == 101209  # 20.004 million at 5x
    assert rich.place(BUY, "39000000").executed_e8


def test_symbols_and_their_status() -> None:
    """109425 unknown; offline, pre-launch, and no opening."""
    trader = Trader()
    assert trader.refused(BUY, symbol="NOPE-USDT").code == 109425
    for status, code in ((0, 109418), (5, 109417), (25, 101415)):
        contract = replace(CONTRACTS[FET], status=status)
        assert Trader(contracts=(contract,)).refused(BUY).code == code


def test_what_each_type_needs(one_way: Trader) -> None:
    """109400 for a missing price or stop price, and for closePosition where it does not fit."""
    stop = OrderType.STOP_MARKET
    cases: list[dict[str, Any]] = [
        {"type": OrderType.LIMIT},
        {"type": stop},
        {"type": OrderType.STOP, "stop_price": "0.4"},
        {"type": OrderType.LIQUIDATION},
        {"close_position": True},
        {"type": stop, "stop_price": "0.4", "close_position": True},  # with a quantity
    ]
    assert [one_way.refused(SELL, **case).code for case in cases] == [109400] * len(cases)
    assert one_way.refused(SELL, "0", type=OrderType.MARKET).code == 101400


def test_what_is_attached_waits_for_a_price(one_way: Trader) -> None:
    """109400 for an attached order that would work at once, or is a limit without a price."""
    parts = [
        Attached(type=OrderType.MARKET, stop_price_e10=parse_price("0.4")),
        Attached(type=OrderType.STOP_MARKET, stop_price_e10=0),
        Attached(type=OrderType.STOP, stop_price_e10=parse_price("0.4")),
    ]
    codes = [one_way.refused(BUY, stop_loss=part).code for part in parts]
    assert codes + [one_way.refused(BUY, take_profit=part).code for part in parts] == [109400] * 6


def test_a_test_order_leaves_nothing(one_way: Trader) -> None:
    """Checked like any other, and forgotten."""
    exchange = one_way.exchange
    order = exchange.test(one_way.request(BUY, client_order_id="a"), START_MS)
    assert order.executed_e8 == 0 and not exchange.orders and not exchange.take_events()
    with pytest.raises(Refused):
        exchange.test(one_way.request(SELL, reduce_only=True), START_MS)
    one_way.place(BUY, client_order_id="a")


# -- cancelling ------------------------------------------------------------------------------------


def test_cancel_by_either_id_and_its_refusals(one_way: Trader) -> None:
    """109421 unknown or ended, 109422 filled, 109201 twice in a second."""
    exchange = one_way.exchange
    order = one_way.place(BUY, price="0.4", client_order_id="Mine")
    filled = one_way.place(BUY)
    start_ms = one_way.now_ms
    assert exchange.cancel(FET, start_ms, client_order_id="MINE") is order
    assert one_way.heard(order) == ["NEW PENDING", "CANCELED CANCELLED"]

    def code(now_ms: int, order_id: int) -> int:
        with pytest.raises(Refused) as caught:
            exchange.cancel(FET, now_ms, order_id=order_id)
        return caught.value.code

    assert code(start_ms + 999, order.order_id) == 109201
    assert code(start_ms + 1_000, order.order_id) == 109421
    assert code(start_ms, filled.order_id) == 109422
    assert code(start_ms, 12345) == 109421
    assert exchange.balance().frozen_margin == 0


def test_cancel_all_and_the_dead_man_s_switch(one_way: Trader) -> None:
    """By symbol or all; by itself when nobody calls again in time."""
    exchange = one_way.exchange
    for symbol, price in ((FET, "0.4"), (FET, "0.45"), (BTC, "50000")):
        one_way.place(BUY, "0.01" if symbol == BTC else "100", symbol=symbol, price=price)
    assert len(exchange.cancel_all(FET, one_way.now_ms)) == 2
    assert exchange.cancel_all_after(10_000, one_way.now_ms) == one_way.now_ms + 10_000
    exchange.advance(one_way.now_ms + 9_999)
    assert len(exchange.open_orders()) == 1
    exchange.cancel_all_after(10_000, one_way.now_ms + 9_999)
    exchange.advance(one_way.now_ms + 19_998)
    assert len(exchange.open_orders()) == 1
    exchange.advance(one_way.now_ms + 19_999)
    assert exchange.open_orders() == []
    one_way.now_ms = exchange.now_ms
    one_way.place(BUY, price="0.4")
    exchange.cancel_all_after(10_000, one_way.now_ms)
    assert exchange.cancel_all_after(0, one_way.now_ms) == 0
    exchange.advance(one_way.now_ms + 20_000)
    assert len(exchange.open_orders()) == 1


def test_amend_changes_the_quantity(one_way: Trader) -> None:
    """Not below what is filled, not beyond the margin."""
    exchange = one_way.exchange
    order = one_way.place(BUY, price="0.49")
    assert exchange.amend(FET, order.order_id, parse_quantity("50"), START_MS).quantity_e8 == (
        50 * 10**8
    )
    for quantity, code in (("0", 101400), ("11000", 101204)):
        with pytest.raises(Refused) as caught:
            exchange.amend(FET, order.order_id, parse_quantity(quantity), START_MS)
        assert caught.value.code == code


# -- triggers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "side", "stop", "still", "fires"),
    [
        (OrderType.STOP_MARKET, SELL, "0.45", "0.4501", "0.45"),
        (OrderType.STOP_MARKET, BUY, "0.55", "0.5499", "0.55"),
        (OrderType.TAKE_PROFIT_MARKET, SELL, "0.55", "0.5499", "0.55"),
        (OrderType.TAKE_PROFIT_MARKET, BUY, "0.45", "0.4501", "0.45"),
        (OrderType.TRIGGER_MARKET, BUY, "0.45", "0.4501", "0.4499"),
        (OrderType.TRIGGER_MARKET, BUY, "0.55", "0.5499", "0.5501"),
    ],
)
def test_triggers(type_: OrderType, side: Side, stop: str, still: str, fires: str) -> None:
    """A stop follows the market against it, a take profit waits for the better price."""
    trader = Trader()
    order = trader.place(side, type=type_, stop_price=stop)
    trader.price(still)
    assert (order.status, order.triggered) == ("NEW", False)
    trader.price(fires)
    assert (order.status, order.triggered) == ("FILLED", True)
    assert trader.heard(order) == ["NEW NEW", "TRADE FILLED"]


def test_a_trigger_looks_at_mark_or_last_price(one_way: Trader) -> None:
    """MARK_PRICE by default, CONTRACT_PRICE when asked for."""
    by_mark = one_way.place(BUY, type=OrderType.STOP_MARKET, stop_price="0.55")
    last = WorkingType.CONTRACT_PRICE
    by_last = one_way.place(BUY, type=OrderType.STOP_MARKET, stop_price="0.55", working_type=last)
    one_way.price("0.56", mark="0.54")
    assert (by_mark.status, by_last.status) == ("NEW", "FILLED")
    one_way.price("0.54", mark="0.551")
    assert by_mark.status is OrderStatus.FILLED


def test_a_stop_limit_rests_after_its_trigger(one_way: Trader) -> None:
    """STOP at 0.55 with limit 0.56 takes at once; with 0.54 it waits for the price."""
    takes = one_way.place(BUY, type=OrderType.STOP, stop_price="0.55", price="0.56")
    rests = one_way.place(BUY, type=OrderType.STOP, stop_price="0.55", price="0.54")
    one_way.price("0.5505")
    assert (takes.status, rests.status) == ("FILLED", "PENDING")
    one_way.price("0.5399")
    assert (rests.status, format_price(rests.average_price_e10)) == ("FILLED", "0.54")


def test_close_position_takes_everything(one_way: Trader) -> None:
    """Whatever the position has grown to."""
    one_way.place(BUY)
    stop = one_way.place(
        SELL, "0", type=OrderType.STOP_MARKET, stop_price="0.45", close_position=True
    )
    one_way.place(BUY, "50")
    one_way.price("0.449")
    assert (stop.status, stop.executed_e8, one_way.position) == ("FILLED", 150 * 10**8, "0")


def test_close_position_needs_a_position_and_the_closing_side(hedge: Trader) -> None:
    """101205 without one; 109400 on the side that opens."""
    stop: dict[str, Any] = {
        "type": OrderType.STOP_MARKET,
        "stop_price": "0.45",
        "close_position": True,
        "position_side": LONG,
    }
    assert hedge.refused(SELL, "0", **stop).code == 101205
    assert hedge.refused(BUY, "0", **stop).code == 109400


def test_stops_may_not_sum_up_to_more_than_the_position(one_way: Trader) -> None:
    """110424; a take profit beside a stop is no sum."""
    one_way.place(BUY)
    stop: dict[str, Any] = {"stop_price": "0.45", "reduce_only": True}
    one_way.place(SELL, "70", type=OrderType.STOP_MARKET, **stop)
    wrong = one_way.refused(SELL, "31", type=OrderType.STOP_MARKET, **stop)
    assert (wrong.code, wrong.msg) == (
        110424,
        "The order size must be less than the available amount of 30 FET",
    )
    stop["stop_price"] = "0.6"
    one_way.place(SELL, "100", type=OrderType.TAKE_PROFIT_MARKET, **stop)


def test_attached_orders_start_with_the_position_and_end_with_it(one_way: Trader) -> None:
    """The stop loss closes, and the take profit is cancelled: it must not close the next one."""
    loss = Attached(type=OrderType.STOP_MARKET, stop_price_e10=parse_price("0.45"))
    gain = Attached(type=OrderType.TAKE_PROFIT_MARKET, stop_price_e10=parse_price("0.6"))
    one_way.place(BUY, stop_loss=loss, take_profit=gain)
    stop, take = one_way.exchange.open_orders(FET)
    assert (stop.reduce_only, stop.quantity_e8, take.side) == (True, 100 * 10**8, SELL)
    one_way.price("0.44")
    assert (stop.status, take.status) == ("FILLED", "CANCELLED")
    one_way.place(BUY)
    one_way.price("0.61")
    assert one_way.position == "100"


def test_a_partly_filled_entry_gets_its_stop_when_it_ends() -> None:
    """20 of 50 were bought: the stop is for 20."""
    thin = Trader(levels=1, level="10")
    loss = Attached(type=OrderType.STOP_MARKET, stop_price_e10=parse_price("0.45009"))
    thin.place(BUY, "50", stop_loss=loss)
    (stop,) = thin.exchange.open_orders()
    assert (stop.quantity_e8, format_price(stop.stop_price_e10)) == (20 * 10**8, "0.45")


def test_a_trigger_without_margin_fails(one_way: Trader) -> None:
    """An opening stop is taken without margin and checked when it fires."""
    stop = one_way.place(BUY, "5000", type=OrderType.STOP_MARKET, stop_price="0.55")
    enough = Trader()
    same = enough.place(BUY, "5000", type=OrderType.STOP_MARKET, stop_price="0.55")
    enough.price("0.55")
    assert same.status is OrderStatus.FILLED
    one_way.place(BUY, "9400")
    one_way.price("0.55")  # 526 free, and 551 needed
    assert stop.status is OrderStatus.FAILED and one_way.position == "9400"


# -- settings --------------------------------------------------------------------------------------


def test_leverage(one_way: Trader, hedge: Trader) -> None:
    """By the mode's side, within the contract's most, and with the margin for what is open."""
    exchange = one_way.exchange
    exchange.set_leverage(FET, BOTH, 8, START_MS)
    assert (exchange.leverage(FET).long, exchange.leverage(FET).short) == (8, 8)
    assert [e.long_leverage for e in exchange.take_events() if isinstance(e, ConfigUpdate)] == [8]
    one_way.place(BUY, "8000")
    cases = ((one_way, LONG, 5, 109400), (one_way, BOTH, 76, 101414), (one_way, BOTH, 3, 101204))
    for trader, side, leverage, code in (*cases, (hedge, BOTH, 5, 109400)):
        with pytest.raises(Refused) as caught:
            trader.exchange.set_leverage(FET, side, leverage, trader.now_ms)
        assert caught.value.code == code
    hedge.exchange.set_leverage(FET, SHORT, 3, START_MS)
    assert (hedge.exchange.leverage(FET).long, hedge.exchange.leverage(FET).short) == (5, 3)


def test_margin_type_changes_only_when_flat(one_way: Trader) -> None:
    """109400 with the exchange's words."""
    exchange = one_way.exchange
    exchange.set_margin_type(FET, MarginType.ISOLATED, START_MS)
    assert exchange.margin_type(FET) is MarginType.ISOLATED
    one_way.place(BUY)
    with pytest.raises(Refused, match="the account has positions or pending orders"):
        exchange.set_margin_type(FET, MarginType.CROSSED, START_MS)


# -- money by itself -------------------------------------------------------------------------------


def test_funding_at_midnight(one_way: Trader) -> None:
    """Longs pay 0.01% of 50 at 0, 8 and 16 h, each at its own time and once."""
    one_way.place(BUY)
    one_way.exchange.take_events()
    one_way.exchange.advance(MIDNIGHT_MS - 1)
    assert one_way.exchange.funding(FET).next_ms == MIDNIGHT_MS
    one_way.exchange.advance(MIDNIGHT_MS + 8 * 3_600_000)
    rows = [r for r in one_way.exchange.all_income if r.type is IncomeType.FUNDING_FEE]
    assert [(r.time_ms, format_money(r.amount)) for r in rows] == [
        (MIDNIGHT_MS, "-0.005"),
        (MIDNIGHT_MS + 8 * 3_600_000, "-0.005"),
    ]
    told = [e for e in one_way.exchange.take_events() if isinstance(e, AccountUpdate)]
    assert [(e.reason, e.positions) for e in told] == [(AccountReason.FUNDING_FEE, ())] * 2


def test_a_negative_rate_pays_longs_and_isolated_positions_are_named(one_way: Trader) -> None:
    """FUNDING_FEE of an isolated position carries it (dossier §3.4)."""
    one_way.exchange.set_margin_type(FET, MarginType.ISOLATED, START_MS)
    one_way.place(BUY)
    one_way.exchange.take_events()
    assert format_money(one_way.exchange.pay_funding(FET, -200_000, one_way.now_ms)) == "0.01"
    (told,) = one_way.exchange.take_events()
    assert isinstance(told, AccountUpdate) and told.positions[0].symbol == FET


def test_deposits_withdrawals_and_the_top_up(one_way: Trader) -> None:
    """TRANSFER rows, DEPOSIT and WITHDRAW events; what is bound cannot leave."""
    exchange = one_way.exchange
    assert exchange.top_up(START_MS) == parse_money("20000")
    exchange.transfer(parse_money("-20500"), START_MS)
    reasons = [e.reason for e in exchange.take_events() if isinstance(e, AccountUpdate)]
    assert reasons == [AccountReason.DEPOSIT, AccountReason.WITHDRAW]
    assert one_way.income() == ["TRANSFER 20000", "TRANSFER -20500"]
    with pytest.raises(Refused):
        exchange.transfer(parse_money("-501"), START_MS)
    assert one_way.wallet == "500"


@pytest.mark.parametrize("margin_type", MarginType)
def test_liquidation(one_way: Trader, margin_type: MarginType) -> None:
    """9000 at 0.5001: gone where what is left no longer keeps 0.5% of the value.

    Crossed, the whole 1000 stand for it; isolated, a fifth of the entry value does.
    """
    one_way.exchange.set_margin_type(FET, margin_type, START_MS)
    resting = one_way.place(BUY, price="0.3")
    one_way.place(BUY, "9000")
    (position,) = one_way.exchange.positions()
    edge = one_way.exchange.liquidation_price_e10(position)
    one_way.exchange.take_events()
    one_way.price(format_price(edge - edge % 10**6 + 10**6))
    assert one_way.position == "9000"
    one_way.price(format_price(edge - edge % 10**6))
    assert one_way.position == "0" and resting.status is OrderStatus.CANCELLED
    (forced,) = one_way.exchange.force_orders()
    assert (forced.type, forced.auto_close, forced.client_order_id) == (
        "LIQUIDATION",
        "LIQUIDATION",
        "",
    )
    last = [e for e in one_way.exchange.take_events() if isinstance(e, OrderUpdate)][-1]
    assert last.execution is Execution.CALCULATED and last.order.order_id == forced.order_id


def test_funding_may_use_up_the_margin() -> None:
    """A quarter of 4950 is more than the wallet holds."""
    trader = Trader(funding_rate_e9=250_000_000)
    trader.place(BUY, "9900")
    trader.exchange.advance(MIDNIGHT_MS)
    assert (trader.position, trader.wallet) == ("0", "0")


def test_a_stop_that_comes_with_a_cancelled_entry_may_be_first() -> None:
    """Liquidation cancels the entry, whose stop closes the position; the wallet is paid up."""
    trader = Trader(maker_share_e9=900_000_000)
    loss = Attached(type=OrderType.STOP_MARKET, stop_price_e10=parse_price("0.6"))
    trader.place(BUY, "9900", price="0.49", stop_loss=loss)
    trader.price("0.4899")
    trader.price("0.4999")
    assert trader.position == "8910"
    trader.exchange.pay_funding(FET, 300_000_000, trader.now_ms)
    assert (trader.position, trader.wallet) == ("0", "0")
    assert trader.exchange.force_orders() == [] and trader.exchange.open_orders() == []


def test_the_profit_of_an_isolated_position_is_not_free() -> None:
    """Crossed, it is."""
    free = []
    for margin_type in (MarginType.CROSSED, MarginType.ISOLATED):
        trader = Trader()
        trader.exchange.set_margin_type(FET, margin_type, START_MS)
        trader.place(BUY, "1000")
        trader.price("0.6")
        free.append(format_money(trader.exchange.balance().available_margin))
    assert free == ["999.62995", "899.72995"]  # 99.9 of profit between them


def test_the_insurance_pays_what_the_wallet_cannot(one_way: Trader) -> None:
    """A gap through the whole wallet ends at nothing, with an INSURANCE_CLEAR row."""
    one_way.place(BUY, "9000")
    one_way.price("0.3")
    loss = parse_money("-1800.9")
    assert [r.amount for r in one_way.exchange.all_income if r.type == "REALIZED_PNL"] == [loss]
    assert one_way.income()[-1].startswith("INSURANCE_CLEAR") and one_way.wallet == "0"


def test_an_isolated_position_loses_its_margin_and_no_more(one_way: Trader) -> None:
    """1000 bought for 500.1 with a margin of 100.02: the rest of the wallet is out of reach."""
    one_way.exchange.set_margin_type(FET, MarginType.ISOLATED, START_MS)
    one_way.place(BUY, "1000")
    one_way.price("0.1")
    assert one_way.position == "0"
    assert one_way.wallet == format_money(
        parse_money("1000") - parse_money("0.25005") - parse_money("100.02")
    )


def test_adl_by_script(one_way: Trader) -> None:
    """Closed at the mark by an order of the exchange's own, as income of its own kind."""
    one_way.place(SELL)
    one_way.price("0.4")
    (order,) = one_way.exchange.liquidate(FET, one_way.now_ms, adl=True)
    assert (order.auto_close, one_way.position) == ("ADL", "0")
    assert one_way.income()[-2:] == ["ADL 9.99", "TRADING_FEE -0.02"]
    assert one_way.exchange.balance().realized == parse_money("9.99")


def test_somebody_else_trades_on_the_account(one_way: Trader) -> None:
    """A position that changes behind our back: an order without our id, and the events of it."""
    one_way.place(BUY)
    one_way.exchange.take_events()
    order = one_way.exchange.foreign_order(FET, SELL, parse_quantity("60.7"), one_way.now_ms)
    assert (order.foreign, order.client_order_id, one_way.position) == (True, "", "40")
    assert one_way.heard(order) == ["NEW PENDING", "TRADE FILLED"]
    assert order in one_way.exchange.all_orders(FET, 0, 0, 10)


def test_close_all_and_one(hedge: Trader) -> None:
    """At the market, each position by an order; an unknown id is refused."""
    hedge.place(BUY, position_side=LONG)
    hedge.place(SELL, "30", position_side=SHORT)
    long = hedge.exchange.positions()[0]
    assert hedge.exchange.close_position(long.position_id, hedge.now_ms).side is SELL
    assert len(hedge.exchange.close_all("", hedge.now_ms)) == 1 and hedge.position == "0"
    with pytest.raises(Refused) as caught:
        hedge.exchange.close_position(long.position_id, hedge.now_ms)
    assert caught.value.code == 101205


# -- questions -------------------------------------------------------------------------------------


def test_history_by_time(one_way: Trader) -> None:
    """Ended orders by the time of their end, fills and income by theirs, both ends inclusive."""
    late = one_way.place(BUY, price="0.49", client_order_id="late")
    early = one_way.place(BUY)
    one_way.price("0.48")
    exchange = one_way.exchange
    assert exchange.all_orders(FET, 0, 0, 10) == [early, late]
    assert exchange.all_orders(FET, late.updated_ms, 0, 10) == [late]
    assert exchange.all_orders(FET, 0, early.updated_ms, 10) == [early]
    assert exchange.all_orders(FET, 0, 0, 1) == [early]
    assert [f.order_id for f in exchange.fills(FET, early.updated_ms, early.updated_ms)] == [
        early.order_id
    ]
    assert [f.order_id for f in exchange.fills(FET, 0, 0, late.order_id)] == [late.order_id]
    assert len(exchange.income(FET, IncomeType.TRADING_FEE, late.updated_ms)) == 1
    assert exchange.income(BTC) == []
    one_way.place(BUY, price="0.4")
    assert len(exchange.all_orders("", 0, 0, 10, ended_only=False)) == 3
    last = one_way.place(BUY)
    assert exchange.all_orders(FET, 0, 0, 1, order_id=last.order_id) == [last]


def test_old_history_goes_and_its_money_is_kept() -> None:
    """Between ``history_min`` and twice as much is there; the wallet still adds up."""
    trader = Trader(history_min=10, wallet="100000")
    for number in range(95):
        trader.place(SELL if number % 2 else BUY, client_order_id=f"n{number}")
    exchange = trader.exchange
    assert 10 <= len(exchange.orders) <= 20 and 10 <= len(exchange.all_income) <= 20
    assert len(exchange.all_fills) == len(exchange.orders)
    rows = sum(row.amount for row in exchange.all_income)
    assert exchange.wallet == parse_money("100000") + exchange.ledger.forgotten + rows
    assert exchange.order(FET, client_order_id="n94").status is OrderStatus.FILLED
    with pytest.raises(Refused):
        exchange.order(FET, client_order_id="n0")
    assert trader.place(BUY, client_order_id="n0").status is OrderStatus.FILLED


def test_time_never_goes_back(one_way: Trader) -> None:
    """A call that comes late is stamped with the newest time that was told."""
    one_way.exchange.advance(START_MS + 500)
    assert one_way.exchange.place(one_way.request(BUY), START_MS + 100).created_ms == START_MS + 500


def test_books_of_the_market(one_way: Trader) -> None:
    """Quote, depth, candles and trades agree with what happened."""
    exchange = one_way.exchange
    bids, asks = exchange.depth(FET, 3)
    assert [format_price(p) for p, _ in asks] == ["0.5001", "0.5002", "0.5003"]
    assert [format_price(p) for p, _ in bids] == ["0.4999", "0.4998", "0.4997"]
    one_way.place(BUY, "10")
    one_way.price("0.6")
    quote = exchange.quote(FET)
    assert (format_price(quote.last_e10), format_price(quote.ask_e10)) == ("0.6", "0.6001")
    (trade,) = exchange.trades(FET, 5)
    assert (trade.buyer_is_maker, trade.quantity_e8) == (False, 10 * 10**8)
    candle = exchange.candles(FET, 1)[-1]
    assert (format_price(candle.high_e10), candle.volume_e8) == ("0.6", 10 * 10**8)


def test_contracts_keep_the_wallet_exact() -> None:
    """Price and quantity have at most eight decimals together, so a value fits the wallet's."""
    for contract in CONTRACTS.values():
        assert contract.price_digits + contract.quantity_digits <= 8
        assert contract.min_quantity_e8 % contract.step_e8 == 0
        assert contract.start_price_e10 % contract.tick_e10 == 0
