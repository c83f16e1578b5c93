"""The async venue protocol before a ``Book``, with a stream, a script of faults, and noise.

All time comes from a clock and all chance from a seed: same seed, script and calls give the same
events, byte for byte.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final, TypeVar

from dita.clock import Clock
from dita.contracts import (
    ContractRules,
    KernelEventKind,
    RejectReason,
    VenueEvent,
    VenueOrderStatus,
)
from dita.errors import VenueError
from dita.venues import (
    BalanceReport,
    FillReport,
    IncomeReport,
    NotSent,
    OrderRef,
    OrderReport,
    OutcomeUnknown,
    PositionReport,
    QueryFailed,
    Rows,
    StreamState,
    SubmitOrder,
    UnknownSymbol,
)
from dita.venues.mock.book import Book
from dita.venues.mock.config import Chance, MockConfig, Noise
from dita.venues.mock.hands import Hands
from dita.venues.mock.records import Dump, Order, Refusal
from dita.venues.mock.script import Do, Rule, Script, Verb, answered
from dita.venues.mock.stream import Session, Stream

T = TypeVar("T")

_TURNS_MAX: Final = 50


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


class MockVenue(Hands):
    """The protocol before a Book, with a stream, a script and noise.

    Time passes when anything is called, or in ``run``; with ``pulse_ms`` it also passes by itself
    at that pace once connected (for a clock that runs).  Further streams come from ``subscribe``.
    """

    def __init__(self, config: MockConfig, clock: Clock, pulse_ms: int = 0) -> None:
        self.config = config
        self.receive_window_ms = config.receive_window_ms
        self._clock = clock
        self.stream = Stream(config.style, config.noise, Chance(config.seed), clock.now_ms)
        self.book = self.stream.book = Book(config, self.stream.tell)
        self.set_script(config.rules)
        self._due: list[tuple[int, int, Callable[[], object]]] = []
        self._due_count = 0
        self._own: Session | None = None
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
        self.stream.release_late()

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
        return self.stream.subscribe()

    def unsubscribe(self, session: Session) -> None:
        """Let a listener go."""
        self.stream.unsubscribe(session)

    @property
    def noise(self) -> Noise:
        """What the stream does by chance."""
        return self.stream.noise

    @noise.setter
    def noise(self, noise: Noise) -> None:
        self.stream.noise = noise

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
        if self.stream.style.stream_first:
            await self._let_the_stream_go_first()
        return (self.stream.stamped(answer),)

    def _place(self, order: SubmitOrder, rule: Rule) -> VenueEvent:
        if (refusal := self._refusal(order, rule)) is not None:
            return VenueEvent(
                kind=KernelEventKind.ORDER_REJECT,
                received_ms=0,
                exchange_ms=self.book.now_ms,
                asset=order.asset,
                client_order_id=order.client_order_id,
                reject=refusal.reason,
                error_code=refusal.code,
                message=refusal.words,
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

    def _refusal(self, order: SubmitOrder, rule: Rule) -> Refusal | None:
        if rule.do is Do.REJECT:
            return Refusal(rule.reason, rule.code, rule.words)
        if self.book.knows(order.client_order_id):
            return Refusal(RejectReason.OTHER, 0, "client order id is in use")
        return self.book.refusal(order)

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
        if self.stream.style.stream_first:
            await self._let_the_stream_go_first()
        return tuple(self.stream.stamped(event) for event in rejected)

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

    async def _question(self, verb: Verb, asset: str = "") -> Rule:
        rule = self._asked(verb, asset)
        if rule.do is Do.DELAY:
            try:
                await self._sleep(rule.wait_ms)
            except OutcomeUnknown as closed:
                raise QueryFailed("connection closed before the answer") from closed
        return rule

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
        rule = await self._question(Verb.ORDER, order.asset)
        found = self._visible(order)
        return found.report() if found is not None and rule.do is not Do.EMPTY else None

    async def open_orders(self, asset: str) -> Rows[OrderReport]:
        """Orders that work."""
        rule = await self._question(Verb.OPEN_ORDERS, asset)
        orders = self.book.orders
        found = (o.report() for o in orders if o.asset == asset and o.works and self._shown(o))
        return answered(rule, found)

    async def all_orders(self, asset: str, since_ms: int) -> Rows[OrderReport]:
        """Orders in any state."""
        rule = await self._question(Verb.ALL_ORDERS, asset)
        found = (
            o.report()
            for o in self.book.orders
            if o.asset == asset and o.updated_ms >= since_ms and self._shown(o)
        )
        return answered(rule, found)

    async def fills(self, asset: str, since_ms: int) -> Rows[FillReport]:
        """Fills, oldest first; those of a hidden order are hidden too."""
        rule = await self._question(Verb.FILLS, asset)
        reports = (fill.report for fill in self.book.fills)
        hidden = {o.venue_order_id for o in self.book.orders if not self._shown(o)}
        found = (
            fill
            for fill in reports
            if fill.asset == asset
            and fill.filled_ms >= since_ms
            and fill.venue_order_id not in hidden
        )
        return answered(rule, found)

    async def positions(self) -> Rows[PositionReport]:
        """Every position that is not flat."""
        rule = await self._question(Verb.POSITIONS)
        return answered(rule, self.book.position_reports())

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

    async def income(self, since_ms: int) -> Rows[IncomeReport]:
        """Income rows, oldest first."""
        rule = await self._question(Verb.INCOME)
        return answered(rule, (row for row in self.book.income if row.time_ms >= since_ms))

    def stream_state(self) -> StreamState:
        """Heard at any time, as long as it was not lost."""
        if self.lost:
            return StreamState(connected=False, trouble="lost")
        return StreamState(connected=True, silent_ms=0)

    async def renew_access(self) -> None:
        """Nothing: there are no keys."""

    def health(self) -> dict[str, Any]:
        """Nothing: it is in this process."""
        return {}

    # -- what only tests do --

    def end_stream(self) -> None:
        """Every stream is lost; frames are lost too until somebody listens again."""
        self.stream.end()

    def set_script(self, rules: Iterable[Rule]) -> None:
        """A new script; its calls are counted from here."""
        self.script = self.stream.script = Script(rules)

    def dump(self) -> Dump:
        """Everything that the venue knows."""
        self.run()
        return self.book.dump()
