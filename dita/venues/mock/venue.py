"""The async venue protocol before a ``Book``, with a stream, a script of faults, and noise.

All time comes from a clock and all chance from a seed: same seed, script and calls give the same
events, byte for byte.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final

import msgspec

from dita.clock import Clock
from dita.contracts import (
    BalanceReason,
    ContractRules,
    EvidenceSource,
    KernelEventKind,
    OrderSide,
    OrderType,
    RejectReason,
    VenueEvent,
    VenueOrderStatus,
)
from dita.errors import VenueError
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
from dita.venues.mock.book import Book, Dump, Fact, Order
from dita.venues.mock.config import Chance, MockConfig, Noise
from dita.venues.mock.script import Do, Rule, Script, Verb
from dita.venues.mock.session import Session

_HELD_MAX_MS: Final = 1_000  # a frame that is held back for others waits no longer than this
_TURNS_MAX: Final = 50


class _Held(msgspec.Struct):
    frames_left: int
    until_ms: int
    frame: VenueEvent


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


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
