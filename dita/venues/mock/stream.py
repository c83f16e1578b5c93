"""The mock venue's stream: listeners, how a fact is told, and what goes wrong on the way.

Frames are held back, lost, doubled or cut off as a script or chance says.  Of the book it reads the
wallet, a position and the time, and it changes nothing there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from dita.contracts import (
    BalanceReason,
    EvidenceSource,
    KernelEventKind,
    OrderSide,
    PositionSide,
    VenueEvent,
)
from dita.venues.mock.book import Book
from dita.venues.mock.config import Chance, Noise, Style
from dita.venues.mock.records import Fact, Order
from dita.venues.mock.script import Do, Script, Verb

_HELD_MAX_MS: Final = 1_000  # a frame that is held back for others waits no longer than this


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


class Stream:
    """Everybody who listens to a mock venue.  ``now_ms`` is our time, for the receipt."""

    def __init__(
        self, style: Style, noise: Noise, chance: Chance, now_ms: Callable[[], int]
    ) -> None:
        self.style = style
        self.noise = noise
        self.script = Script()
        self.book: Book
        self.sessions: list[Session] = []
        self._chance = chance
        self._now_ms = now_ms
        self._held: list[_Held] = []

    def subscribe(self) -> Session:
        """One more listener: it gets every frame from now on."""
        session = Session()
        self.sessions.append(session)
        return session

    def unsubscribe(self, session: Session) -> None:
        """Let a listener go."""
        session.end()
        if session in self.sessions:
            self.sessions.remove(session)

    def end(self) -> None:
        """Every session is lost; frames are lost too until somebody listens again."""
        for session in self.sessions:
            session.end()
        self.sessions.clear()
        self._held.clear()

    def release_late(self) -> None:
        """Deliver what was held back for too long."""
        for held in [h for h in self._held if h.until_ms <= self.book.now_ms]:
            self._held.remove(held)
            self._deliver(held.frame)

    def stamped(self, event: VenueEvent) -> VenueEvent:
        """The event with our time of receipt."""
        return msgspec.structs.replace(event, received_ms=self._now_ms())

    # -- what is told --

    def tell(self, fact: Fact) -> None:
        """A fact of the book, as the style says it."""
        if fact.kind is KernelEventKind.ORDER_ACK and not self.style.acks:
            return
        self._emit(self._frame(fact))
        if fact.fill is not None:
            self.tell_balance(BalanceReason.ORDER)
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
            position_side=PositionSide(order.position_side),
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

    def tell_balance(self, reason: BalanceReason) -> None:
        """The wallet as it is now."""
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
            self.end()
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
        stamped = self.stamped(frame)
        for session in self.sessions:
            session.put(stamped)
