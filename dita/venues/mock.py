"""A venue that exists only here: BingX-shaped, exact, and the same every time.

``Book`` is the venue itself, pure and synchronous: orders, fills, positions, wallet, income.
``MockVenue`` puts the async protocol before it, with a stream and a script of faults.  All time
comes from a clock and all chance from a seed: same seed, script and calls give the same events,
byte for byte.  It knows nothing of slots or trades.
"""

from __future__ import annotations

import asyncio
import csv
import heapq
import io
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from dita.clock import Clock
from dita.contracts import (
    ENDED_STATUSES,
    BalanceReason,
    ContractRules,
    EvidenceSource,
    KernelEventKind,
    OrderSide,
    OrderType,
    Record,
    RejectReason,
    VenueEvent,
    VenueOrderStatus,
)
from dita.errors import SettingsError, VenueError
from dita.units import MONEY_ONE, PRICE_ONE, QUANTITY_ONE, parse_price
from dita.venues import (
    BalanceReport,
    FillReport,
    IncomeKind,
    IncomeReport,
    NotSent,
    OrderRef,
    OrderReport,
    OutcomeUnknown,
    PositionReport,
    QueryFailed,
    SubmitOrder,
    UnknownSymbol,
)

_SNOWFLAKE_MS: Final = 1_288_834_974_657  # BingX order ids tell their time (counted from here)
_HELD_MAX_MS: Final = 1_000  # a frame that is held back for others waits no longer than this
_TURNS_MAX: Final = 50


# -- prices ----------------------------------------------------------------------------------------


class Price(NamedTuple):
    """One row of a tape."""

    time_ms: int
    asset: str
    price_e10: int


def read_tape(text: str) -> tuple[Price, ...]:
    """The rows of a CSV with columns time_ms, asset, price.  SettingsError names the bad one."""
    rows: list[Price] = []
    reader = csv.DictReader(io.StringIO(text))
    if reader.fieldnames != ["time_ms", "asset", "price"]:
        raise SettingsError(
            "price tape refused", expected="time_ms,asset,price", found=str(reader.fieldnames)
        )
    for number, row in enumerate(reader, 2):
        time, asset, price = row["time_ms"] or "", row["asset"] or "", row["price"] or ""
        if not time.isdecimal() or not asset or None in row:
            raise SettingsError(f"price tape refused, line {number}", found=str(row))
        rows.append(Price(int(time), asset, parse_price(price, field=f"price, line {number}")))
        if len(rows) > 1 and rows[-1].time_ms < rows[-2].time_ms:
            raise SettingsError(f"price tape refused, line {number}", expected="rising times")
    return tuple(rows)


# -- what can be configured ------------------------------------------------------------------------


class Verb(StrEnum):
    """What a rule waits for.  QUERY is any question."""

    SUBMIT = "submit"
    CANCEL = "cancel"
    STREAM = "stream"
    QUERY = "query"
    SERVER_TIME = "server_time"
    CONTRACT = "contract"
    PRICE = "price"
    ORDER = "order"
    OPEN_ORDERS = "open_orders"
    ALL_ORDERS = "all_orders"
    FILLS = "fills"
    POSITIONS = "positions"
    BALANCE = "balance"
    INCOME = "income"


class Do(StrEnum):
    """What a rule does.  What is late by more than the receive window is not executed at all."""

    ACCEPT = "accept"  # submit, with `parts` fills; anything else: as usual
    PARTIAL = "partial"  # submit: fill `share_e9`, the rest works (until `wait_ms`, if given)
    EXPIRE = "expire"  # submit: fill `share_e9`, the rest expires
    REJECT = "reject"  # submit with `reason`; cancel although the order works
    RATE_LIMIT = "rate_limit"  # submit: not executed; released after `wait_ms`, 0 = does not say
    DELAY = "delay"  # executed at once, answered after `wait_ms`
    LATE = "late"  # executed and answered after `wait_ms`
    SILENT = "silent"  # executed, never answered
    LOST = "lost"  # not executed, never answered
    SILENT_LATE = "silent_late"  # never answered, executed after `wait_ms`
    NOT_SENT = "not_sent"
    HIDE = "hide"  # submit: accepted, but for `wait_ms` no question finds it
    FILL_FIRST = "fill_first"  # cancel: the order fills before the cancel arrives
    FAIL = "fail"  # a question gets no answer
    DROP = "drop"  # a frame is lost
    DUPLICATE = "duplicate"  # a frame comes twice
    HOLD = "hold"  # a frame comes after the `count` next ones
    END = "end"  # the stream ends before this frame


_EITHER: Final = frozenset(
    {Do.ACCEPT, Do.REJECT, Do.RATE_LIMIT, Do.DELAY, Do.LATE, Do.SILENT, Do.LOST, Do.SILENT_LATE}
)
#: What each verb can be told to do; any question takes the rest.
ALLOWED: Final = {
    Verb.SUBMIT: _EITHER | {Do.NOT_SENT, Do.PARTIAL, Do.EXPIRE, Do.HIDE},
    Verb.CANCEL: _EITHER | {Do.NOT_SENT, Do.FILL_FIRST},
    Verb.STREAM: frozenset({Do.ACCEPT, Do.DROP, Do.DUPLICATE, Do.HOLD, Do.END}),
}
_QUESTION: Final = frozenset({Do.ACCEPT, Do.FAIL, Do.DELAY})


class Rule(Record, frozen=True, kw_only=True):
    """From the ``nth`` call of ``verb`` (of ``asset``, if given) on, ``times`` calls do this.

    Calls are counted from 1 and from when the script was set; ``times`` 0 means all that follow.
    """

    verb: Verb
    do: Do
    asset: str = ""
    nth: int = 1
    times: int = 1
    parts: int = 0
    share_e9: int = 0
    wait_ms: int = 0
    count: int = 1
    reason: RejectReason = RejectReason.OTHER

    def check(self) -> None:
        """SettingsError when the verb cannot do that."""
        if self.do not in ALLOWED.get(self.verb, _QUESTION):
            raise SettingsError("script refused", found=f"{self.verb} cannot {self.do}")


class Script:
    """An ordered list of rules; the first that matches a call decides it."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules = tuple(rules)
        for rule in self.rules:
            rule.check()
        self._calls = [0] * len(self.rules)

    def match(self, verb: Verb, asset: str = "") -> Rule | None:
        """Count the call, and give the rule that decides it."""
        question = verb not in (Verb.SUBMIT, Verb.CANCEL, Verb.STREAM)
        found = None
        for i, rule in enumerate(self.rules):
            if rule.verb != verb and not (question and rule.verb is Verb.QUERY):
                continue
            if rule.asset and rule.asset != asset:
                continue
            self._calls[i] += 1
            late = rule.times and self._calls[i] >= rule.nth + rule.times
            if found is None and self._calls[i] >= rule.nth and not late:
                found = rule
        return found


class Style(Record, frozen=True, kw_only=True):
    """How the stream speaks.  The defaults are the kind ones; see ``BINGX_STYLE``."""

    increments: bool = False  # each fill by itself with an event id, instead of cumulative z
    priced: bool = True  # ap (and L)
    last_fill: bool = True  # l and L
    client_ids: bool = True
    figures: bool = True  # fee and realized
    acks: bool = True
    balances: bool = True  # an ACCOUNT_UPDATE after every fill
    zero_balances: bool = False  # and an empty one before it
    positions: bool = False  # a POSITION after every fill
    stream_first: bool = False  # frames are there before the answer is


#: As BingX was seen: no client id, no last fill, and the fill can overtake the answer.
BINGX_STYLE: Final = Style(client_ids=False, last_fill=False, stream_first=True)


class Noise(Record, frozen=True, kw_only=True):
    """Chances per thousand frames, drawn from the seed."""

    drop: int = 0
    duplicate: int = 0
    hold: int = 0
    end: int = 0


class MockConfig(Record, frozen=True, kw_only=True):
    """Everything a mock is made of, as data."""

    wallet: int = 10_000 * MONEY_ONE
    contracts: dict[str, ContractRules] = msgspec.field(default_factory=dict)
    prices: dict[str, int] = msgspec.field(default_factory=dict)
    tape: tuple[tuple[int, str, int], ...] = ()  # times count from the start of the mock
    tape_repeats: bool = False
    hedge: bool = False
    seed: int = 0
    parts: int = 1  # fills per taker order
    slip_ticks: int = 0  # each further part is this much worse
    money_step: int = MONEY_ONE // 10**8  # fees and realized are rounded half-even to it
    maintenance_e9: int = 0  # margin rate below which everything is liquidated; 0 = never
    clock_skew_ms: int = 0  # the venue's clock minus ours
    receive_window_ms: int = 5_000
    style: Style = Style()
    noise: Noise = Noise()
    rules: tuple[Rule, ...] = ()
    kept: int = 0  # orders that are remembered at least, the oldest ended ones go; 0 = all


def fet_config(**changes: object) -> MockConfig:
    """A small market to start from: FET-USDT and TRX-USDT with BingX-like rules."""
    rules = ContractRules(
        tick_e10=PRICE_ONE // 10_000,
        step_e8=QUANTITY_ONE,
        min_quantity_e8=2 * QUANTITY_ONE,
        min_notional=2 * MONEY_ONE,
        taker_fee_e9=500_000,
        maker_fee_e9=200_000,
    )
    market = MockConfig(
        contracts={"FET-USDT": rules, "TRX-USDT": rules},
        prices={"FET-USDT": 5 * PRICE_ONE // 10, "TRX-USDT": 3 * PRICE_ONE // 10},
    )
    return msgspec.structs.replace(market, **changes)


class Chance:
    """Seeded chance (SplitMix64): a few lines, and the same on every machine and version."""

    def __init__(self, seed: int) -> None:
        self._state = seed & (2**64 - 1)

    def below(self, limit: int) -> int:
        """A number from 0 to ``limit`` - 1."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & (2**64 - 1)
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        return (z ^ (z >> 31)) % limit


# -- the book --------------------------------------------------------------------------------------


class Order(msgspec.Struct, kw_only=True):
    """An order in the book.  ``position_side`` is 0 in one-way mode."""

    client_order_id: str
    venue_order_id: str
    asset: str
    side: OrderSide
    order_type: OrderType
    quantity_e8: int
    limit_price_e10: int
    reduce_only: bool
    leverage: int
    position_side: int
    parts: int
    created_ms: int
    updated_ms: int
    hidden_until_ms: int = 0
    status: VenueOrderStatus = VenueOrderStatus.WORKING
    filled_e8: int = 0
    cost: int = 0
    fee: int = 0
    realized: int = 0

    @property
    def works(self) -> bool:
        """Not ended."""
        return self.status not in ENDED_STATUSES

    @property
    def left_e8(self) -> int:
        """What is still to fill."""
        return self.quantity_e8 - self.filled_e8

    @property
    def average_price_e10(self) -> int:
        """Rounded half-even to 10^-10, as a venue rounds it; 0 when nothing is filled."""
        return half_even(self.cost, self.filled_e8) if self.filled_e8 else 0

    def report(self) -> OrderReport:
        """The order as a query shows it."""
        return OrderReport(
            client_order_id=self.client_order_id,
            venue_order_id=self.venue_order_id,
            asset=self.asset,
            side=self.side,
            order_type=self.order_type,
            status=self.status,
            quantity_e8=self.quantity_e8,
            filled_e8=self.filled_e8,
            average_price_e10=self.average_price_e10,
            fee=self.fee,
            realized=self.realized,
            updated_ms=self.updated_ms,
        )


class Fill(Record, frozen=True, kw_only=True):
    """One fill as the book remembers it: the report, and what it realized."""

    report: FillReport
    realized: int


class Position(msgspec.Struct, kw_only=True):
    """A position: unsigned quantity with its cost."""

    side: int
    quantity_e8: int = 0
    cost: int = 0
    leverage: int = 1
    updated_ms: int = 0


class Dump(Record, frozen=True, kw_only=True):
    """Everything that the venue knows, hidden orders included."""

    now_ms: int
    wallet: int
    available_margin: int
    prices: dict[str, int]
    orders: tuple[OrderReport, ...]
    fills: tuple[FillReport, ...]
    positions: tuple[PositionReport, ...]
    income: tuple[IncomeReport, ...]


class Fact(NamedTuple):
    """What happened in the book: the kind of frame, the order, and the fill if it was one."""

    kind: KernelEventKind
    order: Order
    fill: Fill | None = None


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

    def refusal(self, order: SubmitOrder) -> RejectReason | None:
        """Why the venue would not take it; None when it would."""
        rules = self.config.contracts.get(order.asset)
        price = self.prices.get(order.asset, 0)
        if rules is None or price <= 0 or (order.order_type and order.limit_price_e10 <= 0):
            return RejectReason.OTHER
        quantity = order.quantity_e8 - order.quantity_e8 % rules.step_e8
        at = order.limit_price_e10 if order.order_type is OrderType.LIMIT else price
        if quantity <= 0 or quantity < rules.min_quantity_e8 or at * quantity < rules.min_notional:
            return RejectReason.BELOW_MINIMUM
        if order.reduce_only:
            room = self._closable(order.asset, order.side, self._position_side(order))
            return None if room > 0 else RejectReason.POSITION_MISMATCH
        fee = at * quantity * rules.taker_fee_e9 // 10**9
        if at * quantity // order.leverage + fee > self.available_margin():
            return RejectReason.OTHER
        return None

    def place(self, order: SubmitOrder, parts: int = 0, share_e9: int = 10**9) -> Order:
        """Take an order that was not refused: MARKET at the price, LIMIT if it crosses, else rest.

        Precision beyond the contract's is cut off silently, as BingX does.
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

    def flow(self, kind: IncomeKind, asset: str, amount: int, trade_id: str = "") -> None:
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
            PositionReport(
                asset=asset,
                side=OrderSide(position.side),
                quantity_e8=position.quantity_e8,
                average_price_e10=half_even(position.cost, position.quantity_e8),
                leverage=position.leverage,
                updated_ms=position.updated_ms,
            )
            for (asset, _), position in sorted(self.positions.items())
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


def split(quantity_e8: int, parts: int, step_e8: int) -> list[int]:
    """Cut a quantity into at most ``parts`` multiples of the step; the last takes the rest."""
    part = quantity_e8 // max(parts, 1)
    part -= part % step_e8
    if quantity_e8 <= 0 or part <= 0:
        return [quantity_e8] if quantity_e8 > 0 else []
    return [part] * (parts - 1) + [quantity_e8 - part * (parts - 1)]


def half_even(numerator: int, divisor: int) -> int:
    """Divide by a positive divisor; exactly half goes to the even neighbour."""
    quotient, rest = divmod(numerator, divisor)
    up = 2 * rest > divisor or (2 * rest == divisor and quotient % 2 == 1)
    return quotient + 1 if up else quotient


# -- the stream ------------------------------------------------------------------------------------


class Session:
    """One listener's stream: frames that wait, and whether it was lost."""

    def __init__(self) -> None:
        self._frames: deque[VenueEvent] = deque()
        self._news = asyncio.Event()
        self.ended = False

    def put(self, frame: VenueEvent) -> None:
        """A frame arrives."""
        self._frames.append(frame)
        self._news.set()

    def end(self) -> None:
        """The stream is lost; what has arrived can still be read."""
        self.ended = True
        self._news.set()

    @property
    def waiting(self) -> int:
        """Frames that nobody has read."""
        return len(self._frames)

    def take(self) -> tuple[VenueEvent, ...]:
        """Every frame that waits, at once."""
        taken = tuple(self._frames)
        self._frames.clear()
        return taken

    async def read(self) -> AsyncIterator[VenueEvent]:
        """The frames one by one, until the stream is lost."""
        while True:
            while self._frames:
                yield self._frames.popleft()
            if self.ended:
                return
            self._news.clear()
            await self._news.wait()


class _Held(msgspec.Struct):
    frames_left: int
    until_ms: int
    frame: VenueEvent


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


# -- the venue -------------------------------------------------------------------------------------


class MockVenue:
    """The protocol before a Book, with a stream, a script and noise.

    Time passes when anything is called, or in ``run``; with ``pulse_ms`` it also passes by itself
    at that pace once connected (for a clock that runs).  Further streams come from ``subscribe``.
    """

    def __init__(self, config: MockConfig, clock: Clock, pulse_ms: int = 0) -> None:
        self.config = config
        self.receive_window_ms = config.receive_window_ms
        self.style = config.style
        self.noise = config.noise
        self.script = Script(config.rules)
        self.book = Book(config, self._told)
        self._clock = clock
        self._chance = Chance(config.seed)
        self._due: list[tuple[int, int, Callable[[], object]]] = []
        self._due_count = 0
        self._sessions: list[Session] = []
        self._own: Session | None = None
        self._held: list[_Held] = []
        self._sleepers: set[asyncio.Future[None]] = set()
        self._open = False
        self._pulse_ms = pulse_ms
        self._pulse: asyncio.Task[None] | None = None
        self.book.now_ms = self.now_ms()
        self._tape_start_ms = self.book.now_ms
        self._plan_tape()

    # -- time --

    def now_ms(self) -> int:
        """The venue's clock."""
        return self._clock.now_ms() + self.config.clock_skew_ms

    def run(self) -> None:
        """Do everything that is due by now, each at its own time."""
        now = self.now_ms()
        while self._due and self._due[0][0] <= now:
            due, _, act = heapq.heappop(self._due)
            self.book.now_ms = max(self.book.now_ms, due)
            act()
        self.book.now_ms = max(self.book.now_ms, now)
        for held in [h for h in self._held if h.until_ms <= self.book.now_ms]:
            self._held.remove(held)
            self._deliver(held.frame)

    def _after(self, wait_ms: int, act: Callable[[], object]) -> None:
        self._due_count += 1
        heapq.heappush(self._due, (self.book.now_ms + wait_ms, self._due_count, act))

    async def _sleep(self, wait_ms: int) -> None:
        """Wait for the venue's time to pass; OutcomeUnknown when we close meanwhile."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.add(done)
        self._after(wait_ms, lambda: _wake(done))
        try:
            await done
        finally:
            self._sleepers.discard(done)
        if not self._open:
            raise OutcomeUnknown("connection closed before the answer")

    async def _beat(self) -> None:
        while True:
            self.run()
            await asyncio.sleep(self._pulse_ms / 1000)

    def _plan_tape(self, nth: int = 0) -> None:
        tape = self.config.tape
        if not tape:
            return
        last = tape[-1][0]
        rounds, row = divmod(nth, len(tape))
        if rounds and not (self.config.tape_repeats and last > 0):
            return
        time, asset, price = tape[row]
        at = self._tape_start_ms + rounds * (last + max(last // len(tape), 1)) + time

        def move() -> None:
            self.book.set_price(asset, price)
            self._plan_tape(nth + 1)

        self._after(at - self.book.now_ms, move)

    # -- the protocol: connection --

    async def connect(self) -> None:
        """Open the stream."""
        if self._open:
            return
        self._open = True
        self._own = self.subscribe()
        if self._pulse_ms:
            self._pulse = asyncio.get_running_loop().create_task(self._beat())

    async def close(self) -> None:
        """End the stream; questions that wait get no answer.  The book lives on."""
        self._open = False
        if self._pulse is not None:
            self._pulse.cancel()
            self._pulse = None
        if self._own is not None:
            self.unsubscribe(self._own)
        for sleeper in tuple(self._sleepers):
            _wake(sleeper)

    def subscribe(self) -> Session:
        """One more listener: it gets every frame from now on."""
        session = Session()
        self._sessions.append(session)
        return session

    def unsubscribe(self, session: Session) -> None:
        """Let a listener go."""
        session.end()
        if session in self._sessions:
            self._sessions.remove(session)

    def events(self) -> AsyncIterator[VenueEvent]:
        """The stream since connect; after it was lost, a new one from now on."""
        if not self._open:
            raise VenueError("venue is not connected", action="call connect first")
        if self._own is None or self._own.ended:
            self._own = self.subscribe()
        return self._own.read()

    def take(self) -> tuple[VenueEvent, ...]:
        """The frames that wait, without waiting for more: for drivers that have no loop."""
        self.run()
        return self._own.take() if self._own is not None else ()

    @property
    def lost(self) -> bool:
        """Has the stream been lost?"""
        return self._own is None or self._own.ended

    # -- the protocol: orders --

    async def submit(self, order: SubmitOrder) -> tuple[VenueEvent, ...]:
        """Take, refuse or lose an order, as the script says."""
        rule = self._asked(Verb.SUBMIT, order.asset)
        if rule.do is Do.LOST:
            raise OutcomeUnknown("no answer")
        if rule.do is Do.SILENT_LATE:
            if rule.wait_ms <= self.receive_window_ms:
                self._after(rule.wait_ms, lambda: self._place(order, rule))
            raise OutcomeUnknown("no answer")
        if rule.do is Do.RATE_LIMIT:
            return (self._limited(order, rule.wait_ms),)
        if rule.do is Do.LATE:
            await self._sleep(rule.wait_ms)
            if rule.wait_ms > self.receive_window_ms:
                raise NotSent("refused: timestamp too old")
        if self.book.knows(order.client_order_id):
            # 101481: it says nothing about the order that has the id (design P3).
            raise OutcomeUnknown("client order id is in use", found=order.client_order_id)
        answer = self._place(order, rule)
        if rule.do is Do.DELAY:
            await self._sleep(rule.wait_ms)
        if rule.do is Do.SILENT:
            raise OutcomeUnknown("no answer")
        if self.style.stream_first:
            await self._let_the_stream_go_first()
        return (self._stamped(answer),)

    def _place(self, order: SubmitOrder, rule: Rule) -> VenueEvent:
        reason = rule.reason if rule.do is Do.REJECT else self.book.refusal(order)
        if reason is not None or self.book.knows(order.client_order_id):
            return VenueEvent(
                kind=KernelEventKind.ORDER_REJECT,
                received_ms=0,
                exchange_ms=self.book.now_ms,
                asset=order.asset,
                client_order_id=order.client_order_id,
                reject=reason or RejectReason.OTHER,
            )
        partly = rule.do in (Do.PARTIAL, Do.EXPIRE)
        taken = self.book.place(order, rule.parts, rule.share_e9 if partly else 10**9)
        if rule.do is Do.EXPIRE:
            self.book.end(taken, VenueOrderStatus.EXPIRED)
        elif rule.do is Do.PARTIAL and rule.wait_ms:
            self._after(rule.wait_ms, lambda: self._fill_rest(taken))
        elif rule.do is Do.HIDE:
            taken.hidden_until_ms = self.book.now_ms + rule.wait_ms
        return VenueEvent(
            kind=KernelEventKind.ORDER_ACK,
            received_ms=0,
            exchange_ms=self.book.now_ms,
            asset=order.asset,
            venue_order_id=taken.venue_order_id,
            client_order_id=order.client_order_id,
            side=order.side,
        )

    def _fill_rest(self, order: Order) -> None:
        if order.works:
            self.book.take(order, order.left_e8, self.book.prices[order.asset])

    def _limited(self, order: SubmitOrder, wait_ms: int) -> VenueEvent:
        return VenueEvent(
            kind=KernelEventKind.RATE_LIMITED,
            received_ms=self._clock.now_ms(),
            exchange_ms=self.book.now_ms,
            asset=order.asset,
            client_order_id=order.client_order_id,
            retry_after_ms=wait_ms,
        )

    async def cancel(self, order: OrderRef) -> tuple[VenueEvent, ...]:
        """Cancel, or refuse to; the end itself comes on the stream.

        A rate limit on a cancel is answered as a CANCEL_REJECT: a RATE_LIMITED says of an order
        that its POST was not executed, which is not meant here.
        """
        rule = self._asked(Verb.CANCEL, order.asset)
        if rule.do is Do.LOST:
            raise OutcomeUnknown("no answer")
        if rule.do is Do.SILENT_LATE:
            self._after(rule.wait_ms, lambda: self._cancel(order, rule))
            raise OutcomeUnknown("no answer")
        if rule.do is Do.LATE:
            await self._sleep(rule.wait_ms)
        rejected = self._cancel(order, rule)
        if rule.do is Do.DELAY:
            await self._sleep(rule.wait_ms)
        if rule.do is Do.SILENT:
            raise OutcomeUnknown("no answer")
        if self.style.stream_first:
            await self._let_the_stream_go_first()
        return tuple(self._stamped(event) for event in rejected)

    def _cancel(self, ref: OrderRef, rule: Rule) -> tuple[VenueEvent, ...]:
        order = self._visible(ref)
        if order is not None and rule.do is Do.FILL_FIRST:
            self._fill_rest(order)
        refused = rule.do in (Do.REJECT, Do.RATE_LIMIT)
        if order is not None and order.works and not refused:
            self.book.end(order, VenueOrderStatus.CANCELLED)
            return ()
        return (
            VenueEvent(
                kind=KernelEventKind.CANCEL_REJECT,
                received_ms=0,
                exchange_ms=self.book.now_ms,
                asset=ref.asset,
                venue_order_id=ref.venue_order_id,
                client_order_id=ref.client_order_id,
            ),
        )

    async def _let_the_stream_go_first(self) -> None:
        for _ in range(_TURNS_MAX):
            if self._own is None or not self._own.waiting:
                return
            await asyncio.sleep(0)

    def _stamped(self, event: VenueEvent) -> VenueEvent:
        return msgspec.structs.replace(event, received_ms=self._clock.now_ms())

    # -- the protocol: questions --

    def _asked(self, verb: Verb, asset: str = "") -> Rule:
        """Let time pass, see what the script says, and fail where it says so."""
        self.run()
        write = verb in (Verb.SUBMIT, Verb.CANCEL)
        if not self._open:
            raise (NotSent if write else QueryFailed)("venue is not connected")
        rule = self.script.match(verb, asset) or Rule(verb=verb, do=Do.ACCEPT)
        if rule.do is Do.NOT_SENT:
            raise NotSent("connection refused")
        if rule.do is Do.FAIL:
            raise QueryFailed("no answer", found=verb)
        return rule

    async def _question(self, verb: Verb, asset: str = "") -> None:
        rule = self._asked(verb, asset)
        if rule.do is Do.DELAY:
            try:
                await self._sleep(rule.wait_ms)
            except OutcomeUnknown as closed:
                raise QueryFailed("connection closed before the answer") from closed

    def _visible(self, ref: OrderRef) -> Order | None:
        order = self.book.find(ref)
        return order if order is not None and self._shown(order) else None

    def _shown(self, order: Order) -> bool:
        return order.hidden_until_ms <= self.book.now_ms

    async def server_time_ms(self) -> int:
        """The venue's clock."""
        await self._question(Verb.SERVER_TIME)
        return self.book.now_ms

    def symbols(self) -> tuple[str, ...]:
        """Every listed symbol."""
        return tuple(sorted(self.config.contracts))

    async def contract(self, asset: str) -> ContractRules:
        """Trading rules; VenueError for a symbol that is not listed."""
        await self._question(Verb.CONTRACT, asset)
        rules = self.config.contracts.get(asset)
        if rules is None:
            raise UnknownSymbol(
                "unknown symbol", found=asset, action="spell it as the venue does, as FET-USDT"
            )
        return rules

    async def price(self, asset: str) -> int:
        """The price now; VenueError for a symbol that is not listed or has none."""
        await self._question(Verb.PRICE, asset)
        price = self.book.prices.get(asset)
        if not price:
            raise UnknownSymbol(
                "unknown symbol, or it has no price",
                found=asset,
                action="spell it as the venue does, as FET-USDT",
            )
        return price

    async def order(self, order: OrderRef) -> OrderReport | None:
        """The order by its ids."""
        await self._question(Verb.ORDER, order.asset)
        found = self._visible(order)
        return found.report() if found is not None else None

    async def open_orders(self, asset: str) -> tuple[OrderReport, ...]:
        """Orders that work."""
        await self._question(Verb.OPEN_ORDERS, asset)
        orders = self.book.orders
        return tuple(o.report() for o in orders if o.asset == asset and o.works and self._shown(o))

    async def all_orders(self, asset: str, since_ms: int) -> tuple[OrderReport, ...]:
        """Orders in any state."""
        await self._question(Verb.ALL_ORDERS, asset)
        return tuple(
            o.report()
            for o in self.book.orders
            if o.asset == asset and o.updated_ms >= since_ms and self._shown(o)
        )

    async def fills(self, asset: str, since_ms: int) -> tuple[FillReport, ...]:
        """Fills, oldest first; those of a hidden order are hidden too."""
        await self._question(Verb.FILLS, asset)
        reports = (fill.report for fill in self.book.fills)
        hidden = {o.venue_order_id for o in self.book.orders if not self._shown(o)}
        return tuple(
            fill
            for fill in reports
            if fill.asset == asset
            and fill.filled_ms >= since_ms
            and fill.venue_order_id not in hidden
        )

    async def positions(self) -> tuple[PositionReport, ...]:
        """Every position that is not flat."""
        await self._question(Verb.POSITIONS)
        return self.book.position_reports()

    async def balance(self) -> BalanceReport:
        """The wallet."""
        self.run()
        asked = self.book.now_ms
        await self._question(Verb.BALANCE)
        return BalanceReport(
            wallet=self.book.wallet,
            available_margin=self.book.available_margin(),
            requested_ms=asked,
            answered_ms=self.book.now_ms,
        )

    async def income(self, since_ms: int) -> tuple[IncomeReport, ...]:
        """Income rows, oldest first."""
        await self._question(Verb.INCOME)
        return tuple(row for row in self.book.income if row.time_ms >= since_ms)

    def health(self) -> dict[str, Any]:
        """Nothing: it is in this process."""
        return {}

    # -- verbs for tests --

    def advance(self, asset: str, price_e10: int) -> None:
        """Move the price now."""
        self.run()
        self.book.set_price(asset, price_e10)

    def fill(self, order: OrderRef, quantity_e8: int = 0) -> None:
        """Fill a working order now, at its limit or at the price; 0 = all that is left."""
        self.run()
        found = self.book.find(order)
        if found is None or not found.works:
            raise VenueError("no such working order", found=order.client_order_id)
        price = found.limit_price_e10 or self.book.prices[found.asset]
        maker = found.order_type is OrderType.LIMIT
        self.book.take(found, quantity_e8 or found.left_e8, price, maker)

    def fund(self, asset: str, rate_e9: int) -> int:
        """Pay funding now; the balance is told on the stream, the rows are read as income."""
        self.run()
        paid = self.book.fund(asset, rate_e9)
        self._tell_balance(BalanceReason.FUNDING)
        return paid

    def transfer(self, amount: int) -> None:
        """Money goes into or out of the wallet."""
        self.run()
        self.book.flow(IncomeKind.TRANSFER, "", amount)
        self._tell_balance(BalanceReason.TRANSFER)

    def liquidate(self, asset: str, adl: bool = False) -> None:
        """The venue closes our positions of a symbol."""
        self.run()
        self.book.liquidate(asset, KernelEventKind.ADL if adl else KernelEventKind.LIQUIDATION)

    def trade_by_hand(self, asset: str, side: OrderSide, quantity_e8: int) -> None:
        """Somebody trades on the same account at the venue's own screen."""
        self.run()
        order = SubmitOrder(
            client_order_id="",
            asset=asset,
            side=side,
            order_type=OrderType.MARKET,
            quantity_e8=quantity_e8,
        )
        self.book.place(order)

    def end_stream(self) -> None:
        """Every stream is lost; frames are lost too until somebody listens again."""
        for session in self._sessions:
            session.end()
        self._sessions.clear()
        self._held.clear()

    def set_script(self, rules: Iterable[Rule]) -> None:
        """A new script; its calls are counted from here."""
        self.script = Script(rules)

    def dump(self) -> Dump:
        """Everything that the venue knows."""
        self.run()
        return self.book.dump()

    # -- frames --

    def _told(self, fact: Fact) -> None:
        if fact.kind is KernelEventKind.ORDER_ACK and not self.style.acks:
            return
        self._emit(self._frame(fact))
        if fact.fill is not None:
            self._tell_balance(BalanceReason.ORDER)
            if self.style.positions:
                self._tell_position(fact.order)

    def _frame(self, fact: Fact) -> VenueEvent:
        style, order, fill = self.style, fact.order, fact.fill
        single = style.increments and fill is not None
        cumulative = not style.increments
        price = order.average_price_e10
        frame = VenueEvent(
            kind=fact.kind,
            received_ms=0,
            exchange_ms=self.book.now_ms,
            asset=order.asset,
            venue_order_id=order.venue_order_id,
            client_order_id=order.client_order_id if style.client_ids else "",
            side=order.side,
            quantity_e8=order.filled_e8 if cumulative else 0,
            price_e10=price if style.priced and cumulative else 0,
            fee=order.fee if style.figures and cumulative and order.filled_e8 else None,
            realized=order.realized if style.figures and cumulative and order.filled_e8 else None,
        )
        if fill is None:
            return frame
        report = fill.report
        if single:
            return msgspec.structs.replace(
                frame,
                event_id=f"fill:{report.fill_id}",
                increment=True,
                quantity_e8=report.quantity_e8,
                price_e10=report.price_e10 if style.priced else 0,
                fee=report.fee if style.figures else None,
                realized=fill.realized if style.figures else None,
            )
        if style.last_fill:
            return msgspec.structs.replace(
                frame,
                last_quantity_e8=report.quantity_e8,
                last_price_e10=report.price_e10 if style.priced else 0,
            )
        return frame

    def _tell_balance(self, reason: BalanceReason) -> None:
        if not self.style.balances:
            return
        frame = VenueEvent(
            kind=KernelEventKind.ACCOUNT_UPDATE,
            received_ms=0,
            exchange_ms=self.book.now_ms,
            amount=self.book.wallet,
            available_margin=self.book.available_margin(),
            balance_reason=reason,
        )
        if self.style.zero_balances:
            self._emit(msgspec.structs.replace(frame, amount=0, available_margin=0))
        self._emit(frame)

    def _tell_position(self, order: Order) -> None:
        position = self.book.positions.get((order.asset, order.position_side))
        side = OrderSide(position.side if position is not None else order.position_side)
        self._emit(
            VenueEvent(
                kind=KernelEventKind.POSITION,
                received_ms=0,
                exchange_ms=self.book.now_ms,
                asset=order.asset,
                side=side,
                quantity_e8=position.quantity_e8 if position is not None else 0,
                source=EvidenceSource.STREAM,
            )
        )

    def _emit(self, frame: VenueEvent) -> None:
        rule = self.script.match(Verb.STREAM, frame.asset)
        if rule is not None:
            do, count = rule.do, rule.count
        else:
            do, count = self._noise(), 1
        if do is Do.END:
            self.end_stream()
        elif do is Do.HOLD:
            self._held.append(_Held(count, self.book.now_ms + _HELD_MAX_MS, frame))
        elif do is not Do.DROP:
            for _ in range(2 if do is Do.DUPLICATE else 1):
                self._deliver(frame)
            self._release_held()

    def _noise(self) -> Do:
        noise = self.noise
        if noise == Noise():
            return Do.ACCEPT
        drawn = self._chance.below(1000)
        for do, chance in (
            (Do.DROP, noise.drop),
            (Do.DUPLICATE, noise.duplicate),
            (Do.HOLD, noise.hold),
            (Do.END, noise.end),
        ):
            if drawn < chance:
                return do
            drawn -= chance
        return Do.ACCEPT

    def _release_held(self) -> None:
        for held in self._held:
            held.frames_left -= 1
        for held in [h for h in self._held if h.frames_left <= 0]:
            self._held.remove(held)
            self._deliver(held.frame)

    def _deliver(self, frame: VenueEvent) -> None:
        stamped = self._stamped(frame)
        for session in self._sessions:
            session.put(stamped)
