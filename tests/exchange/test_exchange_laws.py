"""What holds for the local exchange after any history: wallet, fills, positions, events, refusals.

Histories are drawn from everything that can happen to the account, bad requests included.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dita.exchange.model.contracts import CONTRACTS
from dita.exchange.model.exchange import Exchange, ExchangeConfig
from dita.exchange.model.market import Shape
from dita.exchange.model.records import (
    AccountUpdate,
    Attached,
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
    UserEvent,
    WorkingType,
)
from dita.units import MONEY_ONE, PRICE_ONE, QUANTITY_ONE

SYMBOLS = ("FET-USDT", "LTC-USDT")
START_MS = 1_700_000_000_000
WALLET = 2_000 * MONEY_ONE
WALLET_STEP = 10**10  # the wallet's last digit, 10^-8

Act = Callable[[Exchange, int], object]


@dataclass
class Played:
    """An exchange after a history, and what it said on the way."""

    exchange: Exchange
    events: list[UserEvent] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)


def exchange_of(hedge: bool) -> Exchange:
    """A thin book and a small wallet, so that nothing always succeeds."""
    return Exchange(
        ExchangeConfig(
            contracts=tuple(CONTRACTS[symbol] for symbol in SYMBOLS),
            wallet=WALLET,
            hedge=hedge,
            leverage=10,
            shape=Shape(levels=4, level_notional=700 * MONEY_ONE),
            maker_share_e9=400_000_000,
        ),
        START_MS,
    )


def price_of(symbol: str, percent: int) -> int:
    """A price as a share of the one at the start."""
    return CONTRACTS[symbol].start_price_e10 * percent // 100


def quantity_of(symbol: str, value: int) -> int:
    """About so much money's worth, with digits that no contract takes."""
    return value * MONEY_ONE // CONTRACTS[symbol].start_price_e10 + 1


# -- what may happen -------------------------------------------------------------------------------

percents = st.integers(85, 115)
symbols = st.sampled_from(SYMBOLS)


@st.composite
def attached(draw: st.DrawFn, symbol: str) -> Attached | None:
    """A stop loss or take profit, or none."""
    if draw(st.integers(0, 3)):
        return None
    types = [OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET, OrderType.STOP]
    price = price_of(symbol, draw(percents))
    return Attached(type=draw(st.sampled_from(types)), stop_price_e10=price, price_e10=price)


@st.composite
def requests(draw: st.DrawFn) -> OrderRequest:
    """An order, mostly one that could be good."""
    symbol = draw(symbols)
    plain = [OrderType.MARKET, OrderType.LIMIT]
    type_ = draw(st.sampled_from([*plain * 5, *OrderType]))
    close = draw(st.integers(0, 5)) == 0 and type_.conditional
    value = draw(st.sampled_from([300, 1_500, 30, 4_000, 700, 1, 40_000, 0]))
    ids = st.sampled_from(["", "", "", "", "a", "A", "b", "Mixed-Case", "x" * 41])
    return OrderRequest(
        symbol=symbol,
        side=draw(st.sampled_from(Side)),
        position_side=draw(st.sampled_from(PositionSide)),
        type=type_,
        quantity_e8=0 if close else quantity_of(symbol, value),
        price_e10=price_of(symbol, draw(percents)),
        stop_price_e10=price_of(symbol, draw(percents)),
        working_type=draw(st.sampled_from(WorkingType)),
        time_in_force=draw(st.sampled_from([TimeInForce.GTC] * 3 + [*TimeInForce])),
        reduce_only=draw(st.integers(0, 3)) == 0,
        close_position=close,
        client_order_id=draw(ids),
        stop_loss=draw(attached(symbol)),
        take_profit=draw(attached(symbol)),
    )


def fitting(request: OrderRequest, exchange: Exchange, as_drawn: bool) -> OrderRequest:
    """The request in the words of the account's mode, unless it is to be as it was drawn."""
    if as_drawn:
        return request
    if not exchange.hedge:
        return replace(request, position_side=PositionSide.BOTH)
    sides = (PositionSide.LONG, PositionSide.SHORT)
    buys_long = request.position_side is not PositionSide.SHORT
    return replace(request, position_side=sides[not buys_long], reduce_only=False)


def any_order(exchange: Exchange, number: int) -> Order:
    """One of the orders so far; without any, one that does not exist."""
    orders = list(exchange.orders.values())
    if number % 3:
        orders = exchange.open_orders() or orders
    if not orders:
        raise Refused(109421, "no order yet")
    return orders[number % len(orders)]


def acts() -> st.SearchStrategy[Act]:
    """One thing that happens to the exchange, as a function of it and the time."""
    numbers = st.integers(0, 1_000)
    money = st.integers(-500, 1_500).map(lambda whole: whole * MONEY_ONE)
    sides = st.sampled_from(Side)
    place = st.tuples(requests(), st.integers(0, 12)).map(
        lambda a: lambda ex, now: ex.place(fitting(a[0], ex, a[1] == 12), now)
    )
    price = st.tuples(symbols, percents).map(
        lambda a: lambda ex, now: ex.set_price(a[0], price_of(a[0], a[1]), now)
    )
    rare = st.one_of(
        st.tuples(symbols, percents, percents).map(
            lambda a: (
                lambda ex, now: ex.set_price(a[0], price_of(a[0], a[1]), now, price_of(a[0], a[2]))
            )
        ),
        st.tuples(symbols, sides, st.sampled_from(PositionSide), st.integers(1, 2_000)).map(
            lambda a: (
                lambda ex, now: ex.foreign_order(a[0], a[1], quantity_of(a[0], a[3]), now, a[2])
            )
        ),
        symbols.map(lambda s: lambda ex, now: ex.liquidate(s, now)),
        symbols.map(lambda s: lambda ex, now: ex.liquidate(s, now, True)),
        symbols.map(lambda s: lambda ex, now: ex.close_all(s, now)),
        symbols.map(lambda s: lambda ex, now: ex.cancel_all(s, now)),
        st.integers(0, 3).map(lambda n: lambda ex, now: ex.cancel_all_after(n * 700, now)),
        money.map(lambda amount: lambda ex, now: ex.transfer(amount, now)),
        st.just(lambda ex, now: ex.top_up(now)),
        st.integers(1, 20).map(lambda hours: lambda ex, now: ex.advance(now + hours * 3_600_000)),
        st.tuples(symbols, st.sampled_from(PositionSide), st.integers(0, 200)).map(
            lambda a: lambda ex, now: ex.set_leverage(a[0], a[1], a[2], now)
        ),
        st.tuples(symbols, st.sampled_from(MarginType)).map(
            lambda a: lambda ex, now: ex.set_margin_type(a[0], a[1], now)
        ),
        st.booleans().map(lambda hedge: lambda ex, now: ex.set_hedge(hedge, now)),
        st.tuples(symbols, numbers, st.integers(0, 2_000)).map(
            lambda a: (
                lambda ex, now: ex.amend(
                    a[0], any_order(ex, a[1]).order_id, quantity_of(a[0], a[2]), now
                )
            )
        ),
        st.tuples(symbols, st.integers(-3_000_000, 3_000_000)).map(
            lambda a: lambda ex, now: ex.pay_funding(a[0], a[1], now)
        ),
    )
    cancel = numbers.map(
        lambda n: (
            lambda ex, now: ex.cancel(
                any_order(ex, n).symbol, now, order_id=any_order(ex, n).order_id
            )
        )
    )
    # one_of would flatten all this and make every rare thing as likely as an order.
    often = [place] * 5 + [price] * 3 + [cancel, rare]
    return st.sampled_from(range(len(often))).flatmap(often.__getitem__)


histories = st.tuples(
    st.booleans(),
    st.lists(st.tuples(acts(), st.sampled_from([0, 1, 400, 1_000])), min_size=10, max_size=50),
)


def play(history: tuple[bool, list[tuple[Act, int]]]) -> Played:
    """Let a history happen; refusals are noted."""
    hedge, steps = history
    played = Played(exchange_of(hedge))
    for act, later_ms in steps:
        exchange = played.exchange
        now_ms = exchange.now_ms + later_ms
        exchange.advance(now_ms)
        played.events += exchange.take_events()
        before = whole(exchange)
        try:
            act(exchange, now_ms)
        except Refused as no:
            played.codes.append(no.code)
            assert whole(exchange) == before, f"refused with {no.code}, and yet it did something"
            assert not exchange.take_events()
        played.events += exchange.take_events()
        check_book(exchange)
    return played


def whole(exchange: Exchange) -> bytes:
    """The account's state as bytes."""
    parts: tuple[Any, ...] = (
        list(exchange.orders.values()),
        exchange.all_fills,
        exchange.all_income,
        exchange.positions(),
        [order.order_id for order in exchange.open_orders()],
        exchange.hedge,
        [(exchange.leverage(s), exchange.margin_type(s)) for s in SYMBOLS],
    )
    return msgspec.json.encode((msgspec.to_builtins(parts, builtin_types=()), str(exchange.wallet)))


# -- laws ------------------------------------------------------------------------------------------


def check_book(exchange: Exchange) -> None:
    """What must hold at every moment."""
    check_wallet(exchange)
    check_orders(exchange)
    check_positions(exchange)
    balance = exchange.balance()
    assert balance.wallet == exchange.wallet
    assert balance.equity == balance.wallet + sum(
        exchange.unrealized(p) for p in exchange.positions()
    )
    assert balance.available_margin >= 0


def check_wallet(exchange: Exchange) -> None:
    """Every cent of the wallet has a row, and every figure of a fill is in one."""
    rows = exchange.all_income
    assert exchange.wallet == WALLET + sum(row.amount for row in rows)
    assert exchange.wallet % WALLET_STEP == 0
    assert len({row.tran_id for row in rows}) == len(rows)
    assert [row.time_ms for row in rows] == sorted(row.time_ms for row in rows)
    fills = exchange.all_fills
    fees = sum(row.amount for row in rows if row.type is IncomeType.TRADING_FEE)
    pnl = (IncomeType.REALIZED_PNL, IncomeType.ADL)
    assert fees == -sum(fill.fee for fill in fills)
    assert sum(row.amount for row in rows if row.type in pnl) == sum(f.profit for f in fills)


def check_orders(exchange: Exchange) -> None:
    """Orders are the sums of their fills; an order is open or ended, never both."""
    sums: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for fill in exchange.all_fills:
        total = sums[fill.order_id]
        total[0] += fill.quantity_e8
        total[1] += fill.quantity_e8 * fill.price_e10
        total[2] += fill.fee
        total[3] += fill.profit
    working = {order.order_id for order in exchange.open_orders()}
    for order_id, order in exchange.orders.items():
        assert sums[order_id] == [order.executed_e8, order.cost, order.fee, order.profit]
        assert (order_id in working) is not order.status.ended
        assert 0 <= order.executed_e8 <= order.quantity_e8 or order.close_position
        if order.status is OrderStatus.FILLED:
            assert order.executed_e8 == order.quantity_e8 > 0
        assert (order_id >> 22) + 1_288_834_974_657 >= START_MS
    ids = list(exchange.orders)
    assert ids == sorted(set(ids))
    named = [order.client_order_id for order in exchange.orders.values() if order.client_order_id]
    assert len(set(named)) == len(named) and all(name == name.lower() for name in named)


def check_positions(exchange: Exchange) -> None:
    """A position is the sum of its fills; what was paid and what is open make the profit."""
    quantity: dict[tuple[str, PositionSide], int] = defaultdict(int)
    paid: dict[str, int] = defaultdict(int)
    for fill in exchange.all_fills:
        quantity[fill.symbol, fill.position_side] += fill.side.sign * fill.quantity_e8
        paid[fill.symbol] += fill.side.sign * fill.quantity_e8 * fill.price_e10
    held: dict[tuple[str, PositionSide], int] = defaultdict(int)
    for position in exchange.positions():
        assert position.quantity_e8 > 0
        one_way = quantity[position.symbol, PositionSide.BOTH] != 0
        key = (position.symbol, PositionSide.BOTH if one_way else position.side)
        held[key] += position.sign * position.quantity_e8
        paid[position.symbol] -= position.sign * position.cost
    assert {k: q for k, q in quantity.items() if q} == dict(held)
    for symbol in SYMBOLS:
        profit = sum(fill.profit for fill in exchange.all_fills if fill.symbol == symbol)
        # One rounding to the wallet's last digit at each close.
        assert abs(profit + paid[symbol]) <= WALLET_STEP * len(exchange.all_fills)
        for side, sign in ((PositionSide.LONG, 1), (PositionSide.SHORT, -1)):
            assert sign * quantity[symbol, side] >= 0, "hedge closing became opening"


@given(histories)
def test_books_balance_after_every_step(history: tuple[bool, list[tuple[Act, int]]]) -> None:
    """Wallet, orders and positions agree with fills and income; a refusal changes nothing."""
    play(history)


@given(histories)
def test_events_tell_the_whole_story(history: tuple[bool, list[tuple[Act, int]]]) -> None:
    """Who only listens ends with the same orders and the same wallet, and no order comes back."""
    played = play(history)
    heard: dict[int, OrderUpdate] = {}
    wallet = WALLET
    for event in played.events:
        if isinstance(event, AccountUpdate):
            wallet = event.wallet
            assert len(event.positions) == len(event.unrealized)
        elif isinstance(event, OrderUpdate):
            last = heard.get(event.order.order_id)
            if last is None:
                assert event.execution in (Execution.NEW, Execution.CALCULATED)
            else:
                assert not last.order.status.ended, "an ended order spoke again"
                step = event.order.executed_e8 - last.order.executed_e8
                assert step == event.last_quantity_e8
                assert event.order.fee - last.order.fee == event.fee
                assert event.order.profit - last.order.profit == event.profit
            trade = event.execution in (Execution.TRADE, Execution.CALCULATED)
            assert trade is bool(event.last_quantity_e8) is bool(event.trade_id)
            heard[event.order.order_id] = event
    assert wallet == played.exchange.wallet
    assert list(heard) == list(played.exchange.orders)
    for order_id, order in played.exchange.orders.items():
        last = heard[order_id]
        assert last.order.executed_e8 == order.executed_e8
        assert last.order.status.ended == order.status.ended
        if order.status.ended:
            assert last.order.status is order.status


@given(histories)
def test_same_calls_same_bytes(history: tuple[bool, list[tuple[Act, int]]]) -> None:
    """No chance and no clock of its own."""
    one, two = play(history), play(history)
    assert whole(one.exchange) == whole(two.exchange)
    assert one.events == two.events and one.codes == two.codes


@given(st.lists(st.tuples(st.sampled_from(Side), st.integers(1, 900), percents), max_size=30))
def test_reduce_only_only_reduces(steps: list[tuple[Side, int, int]]) -> None:
    """In one-way mode such an order never opens, turns or enlarges a position."""
    exchange = exchange_of(hedge=False)
    for number, (side, value, percent) in enumerate(steps):
        exchange.set_price("FET-USDT", price_of("FET-USDT", percent), START_MS + number)
        request = OrderRequest(
            symbol="FET-USDT",
            side=side,
            position_side=PositionSide.BOTH,
            type=OrderType.MARKET,
            quantity_e8=quantity_of("FET-USDT", value),
            reduce_only=bool(number % 2),
        )
        before = signed(exchange)
        try:
            exchange.place(request, START_MS + number)
        except Refused as no:
            assert no.code in (101204, 101205, 101290, 101400, 110425)
        if request.reduce_only:
            after = signed(exchange)
            assert abs(after) <= abs(before) and after * before >= 0


def signed(exchange: Exchange) -> int:
    """The FET position, below zero for a short one."""
    return sum(p.sign * p.quantity_e8 for p in exchange.positions("FET-USDT"))


def test_the_histories_reach_what_they_are_for() -> None:
    """The pieces above can trade at all: a fill, a close and a liquidation by margin."""
    exchange = exchange_of(hedge=False)
    request = OrderRequest(
        symbol="FET-USDT",
        side=Side.BUY,
        position_side=PositionSide.BOTH,
        type=OrderType.MARKET,
        quantity_e8=quantity_of("FET-USDT", 2_500),
    )
    order = exchange.place(request, START_MS)
    assert order.status is OrderStatus.FILLED and len(exchange.all_fills) == 4
    assert order.average_price_e10 > PRICE_ONE // 2 and order.executed_e8 % QUANTITY_ONE == 0
    exchange.set_price("FET-USDT", price_of("FET-USDT", 10), START_MS + 1)
    assert exchange.positions() == [] and exchange.wallet == 0
    assert exchange.all_income[-1].type is IncomeType.INSURANCE_CLEAR
    check_book(exchange)
