"""The runtime of a small world: what is sent, asked and told, as ``dita.runtime`` does it.

Effects become posts and questions: one inquiry per order, one question for positions at a time.
Evidence is made by ``dita.venues`` itself.  Every input goes to the compiled kernel, and every
answer of it is looked at by the judge.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from msgspec.structs import replace

from dita._kernel import Images, Outcome
from dita.account import AccountConfig
from dita.contracts import (
    EvidenceSource,
    KernelEventKind,
    KernelIntent,
    OrderRole,
    PositionSide,
    RejectReason,
    VenueEvent,
)
from dita.engine import Engine
from dita.identity import plain_symbol
from dita.kernel import KernelConfig
from dita.venues.attribution import Books, attribute
from dita.venues.evidence import final_event, foreign_event, found_event, position_events
from explore import facts
from explore.book import CANCELLED, EXPIRED, SIDE, SYMBOLS, Order
from explore.judge import CLOSE, FEED, QUERY_POSITION, SUBMIT, Judge
from explore.scene import Answer, Frame, Post, Scene
from explore.world import Entry, World

Kind = KernelEventKind
CANCEL, QUERY_ORDER, FINALISE = 2, 3, 4
LIMITED_MS: Final = 1_000
WALLET: Final = 10_000 * 10**18
POSITION_SIDES: Final = {int(side): side for side in PositionSide}
#: Client order ids of ours: the number says it all, and no memory of texts is needed.
NUMBERS: Final = {f"c{number}": number for number in range(1, 4_000)}
TEXTS: Final = {number: text for text, number in NUMBERS.items()}


class Runtime:
    """One engine and what asks and tells on its behalf."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.engine = Engine(
            KernelConfig(slot_limit=world.slots, hedge=world.hedge, seen=64, namespace="x"),
            AccountConfig(wallet_digit=0),  # this exchange does not round what it answers
        )
        self.kernel = self.engine.kernel
        self.kernel._names.clients, self.kernel._names.orders = NUMBERS, TEXTS
        self.kernel._names.limit = 10**9
        self.core = self.kernel._core
        self.images = Images(self.core)
        self.judge = Judge(world, self.core)
        self.account = self.no_account = self.engine.account.save()
        #: The image of the state as it is, None when it is not known.
        self.current: bytes | None = None

    def entry_of(self, s: Scene, trade: int) -> Entry:
        """The entry of a trade number."""
        return self.world.entries[s.trades[trade - 1]]

    def spend(self, s: Scene, kind: str) -> None:
        """One of a kind's budget is used up: something has happened."""
        s.calm = s.stage = 0
        at = self.world.index[kind]
        s.left = (*s.left[:at], s.left[at] - 1, *s.left[at + 1 :])
        s.spent += kind != "exit"

    # -- to the kernel -----------------------------------------------------------------------------

    def send(self, s: Scene, record: KernelIntent | VenueEvent) -> Outcome:
        """Apply one input and take up what it asks for."""
        before = self.current
        raw = self.core.apply(self.kernel.pack(record))
        if raw.accepted:
            self.current = None
            effects = self.core.effects() if raw.effects else []
            if isinstance(record, VenueEvent) and record.kind is Kind.ACCOUNT_UPDATE:
                self.engine._judge(record)
                s.account = self.account = self.engine.account.save()
            self.judge.after(s, record, raw, effects)
            again = self.judge.asks_itself(record, raw)
            for effect in effects:
                if not (again and effect[0] == QUERY_POSITION):  # a storm is told of once
                    self._take_up(s, effect)
            return raw
        if before is not None and self.images.take() != before:
            self.judge.found("refused but changed", f"{record}")
        self.judge.after(s, record, raw, ())
        return raw

    def _take_up(self, s: Scene, effect: tuple[Any, ...]) -> None:
        kind, _, own, trade, _, quantity = effect[:6]
        if kind == SUBMIT:
            entry = self.entry_of(s, trade)
            side, order_type, reduce = effect[9:12]
            role = int(OrderRole.EXIT if reduce else OrderRole.ENTRY)
            position_side = entry.side if self.world.hedge else 0
            self.post(s, Post(
                True, own, trade, role, entry.symbol, side, position_side,
                bool(reduce), order_type != 0, quantity, 0,
            ))  # fmt: skip
        elif kind == CANCEL:
            self.post_cancel(s, own, trade, effect[9], effect[12])
        elif kind in (QUERY_ORDER, FINALISE):
            self.inquire(s, own)
        elif kind == QUERY_POSITION:
            s.looking = True
        elif kind in (FEED, CLOSE):
            self.judge.tells(s, kind, trade)

    @staticmethod
    def post(s: Scene, post: Post) -> None:
        """Something leaves for the exchange."""
        if post not in s.posts:
            s.posts = (*s.posts, post)

    def post_cancel(self, s: Scene, own: int, trade: int, side: int, vid: int) -> None:
        """A cancel leaves."""
        symbol = self.entry_of(s, trade).symbol
        self.post(s, Post(False, own, trade, 0, symbol, side, 0, False, False, 0, vid))

    @staticmethod
    def inquire(s: Scene, own: int) -> None:
        """Somebody asks about an order until it is settled; one is enough."""
        if all(number != own for number, _ in s.asking):
            s.asking = (*s.asking, (own, 0))

    # -- what is told ------------------------------------------------------------------------------

    def listen(self, s: Scene, frame: Frame) -> None:
        """A frame arrives."""
        s.ticked = False
        named = frame.own and self.world.named_frames
        self.send(s, VenueEvent(
            kind=Kind(frame.kind),
            received_ms=s.book.now_ms,
            exchange_ms=frame.ms,
            asset=SYMBOLS[frame.symbol],
            venue_order_id=str(frame.vid),
            client_order_id=f"c{frame.own}" if named else "",
            side=SIDE[frame.side],
            quantity_e8=frame.filled,
            price_e10=frame.price,
            last_quantity_e8=frame.last_quantity,
            last_price_e10=frame.last_price,
            fee=frame.fee,
            realized=frame.realized,
            position_side=POSITION_SIDES[frame.position_side],
        ))  # fmt: skip

    def tell(self, s: Scene, answer: Answer) -> None:
        """An answer arrives."""
        s.ticked = False
        if answer.what == "look":
            self.seen(s, answer.data[0], answer.data[1])
            return
        if answer.what == "report":
            vid, fills, status = answer.data
            order = s.book.order(vid)
            self.report(s, order._replace(fills=order.fills[:fills], status=status))
            return
        kind, fields = _ANSWERS[answer.what]
        more: dict[str, Any] = dict(fields)
        if answer.what == "ack":
            more.update(venue_order_id=str(answer.data[0]), exchange_ms=answer.data[1])
        elif answer.what == "reject":
            more.update(reject=RejectReason(answer.data[0]), error_code=answer.data[1])
        self.about(s, answer.own, kind, **more)

    def about(self, s: Scene, own: int, kind: KernelEventKind, **fields: Any) -> bool:
        """An event about an order of ours by its client id; was it news?"""
        raw = self.send(s, VenueEvent(
            kind=kind, received_ms=s.book.now_ms, client_order_id=f"c{own}", **fields
        ))  # fmt: skip
        return bool(raw.accepted)

    # -- questions ---------------------------------------------------------------------------------

    def record_of(self, s: Scene, number: int) -> Order | None:
        """The exchange's record of a registered order, by its id where we know it."""
        known = facts.order_of(self.core, number)
        if known is not None and known.vid:
            order = s.book.order(known.vid)
            return None if order.forgotten else order
        return s.book.own(number)

    def report(self, s: Scene, order: Order) -> None:
        """The answer to the question for an order; an ended one comes with its fills."""
        report = s.book.order_report(order)
        if order.works:
            self.send(s, found_event(report, s.book.now_ms))
            return
        fills = [f for f in s.book.fill_reports(order.symbol) if f.venue_order_id == str(order.vid)]
        self.send(s, final_event(report, fills[: len(order.fills)], s.book.now_ms))

    def report_stale(self, s: Scene, order: Order) -> None:
        """The same from records that lack its last fill."""
        status = CANCELLED if order.status == EXPIRED else order.status
        self.report(s, order._replace(fills=order.fills[:-1], status=status))

    def look(self, s: Scene, how: str = "") -> None:
        """Positions are asked for; and whose orders closed what was ours, for slots in doubt."""
        s.looking = s.ticked = False
        book = s.book
        used = {self.entry_of(s, slot.trade).symbol for slot in facts.slots(self.core)}
        events = position_events(
            () if how == "empty" else book.position_reports(),
            [SYMBOLS[at] for at in sorted(used)],
            book.now_ms,
            book.asked_ms,
            self.world.hedge,
        )
        told = tuple((SYMBOLS.index(e.asset), int(e.side), e.quantity_e8) for e in events)
        if how == "late":
            s.answers = (*s.answers, Answer("look", 0, (told, book.asked_ms)))
            return
        self.seen(s, told, book.asked_ms)
        if how != "empty" and self._strangers(s):
            self.look(s)

    def seen(self, s: Scene, told: Iterable[tuple[int, int, int]], asked_ms: int) -> None:
        """Positions are told."""
        for symbol, side, quantity in told:
            self.send(s, VenueEvent(
                kind=Kind.POSITION, received_ms=s.book.now_ms, exchange_ms=asked_ms,
                asset=SYMBOLS[symbol], side=SIDE[side], quantity_e8=quantity,
                source=EvidenceSource.ORDER_QUERY,
            ))  # fmt: skip

    def _strangers(self, s: Scene) -> bool:
        """For slots in doubt: whose orders closed what was ours?  True when one was told of."""
        found = False
        for slot in facts.slots(self.core):
            if not slot.stale:
                continue
            symbol = self.entry_of(s, slot.trade).symbol
            own = {order.vid: order for order in s.book.orders if order.trade == slot.trade}
            began = min((f.ms for o in own.values() for f in o.fills), default=1)
            for order in s.book.orders:
                if order.symbol == symbol and order.vid not in own and not order.forgotten:
                    found |= self._tell_of(s, order, began)
        return found

    def _tell_of(self, s: Scene, order: Order, began: int) -> bool:
        if self.core.order_of_venue(order.vid) or (order.vid, order.filled) in s.told:
            return False
        fills = s.book.fill_reports(order.symbol)
        event = foreign_event(s.book.order_report(order), fills, s.book.now_ms)
        if event is None or event.exchange_ms < began:
            return False
        if not self.send(s, event).accepted:
            return False
        s.told = tuple(sorted((*s.told, (order.vid, order.filled))))
        return True

    def ask_all(self, s: Scene) -> None:
        """Every order that is not terminal is asked about; lost cancels are repeated."""
        for trade in facts.trades(self.core):
            if trade.open_orders:
                for order in facts.orders_of(self.core, trade):
                    if not order.terminal:
                        self.inquire(s, order.number)
        for number in self.core.unwanted_orders():
            unwanted = facts.order_of(self.core, number)
            if unwanted is not None:
                self.post_cancel(s, number, unwanted.trade, unwanted.side, unwanted.vid)

    def recover(self, s: Scene) -> None:
        """After a start or a gap: what was not answered is unknown, and everything is asked."""
        s.stream = ()
        s.ticked = False
        for trade in facts.trades(self.core):
            for order in facts.orders_of(self.core, trade):
                if order.status == 1:
                    self.about(s, order.number, Kind.ORDER_UNKNOWN)
        self.ask_all(s)
        s.looking = True

    # -- the account's questions -------------------------------------------------------------------

    def read_income(self, s: Scene) -> None:
        """The income history, read as the watch reads it."""
        book, core = s.book, self.core
        since = self.kernel.ledger().income_from_ms
        rows = [row for row in book.income() if row.time_ms > since]
        fills = [fill for symbol in range(len(SYMBOLS)) for fill in book.fill_reports(symbol)]
        known = {o.vid: facts.order_of(core, core.order_of_venue(o.vid)) for o in book.orders}
        held: dict[str, tuple[int, ...]] = {}
        for slot in facts.slots(core):
            trade = facts.trade_of(core, slot.trade)
            symbol = plain_symbol(SYMBOLS[self.entry_of(s, trade.number).symbol])
            held[symbol] = (*held.get(symbol, ()), trade.side * trade.size)
        books = Books(
            own_orders=frozenset(str(vid) for vid, order in known.items() if order),
            closed_outside=frozenset(
                str(v) for v, order in known.items() if order and order.external
            ),
            held_e8=held,
        )
        for event in attribute(rows, fills, books).events:
            self.send(s, replace(event, received_ms=book.now_ms))
        self.send(s, VenueEvent(
            kind=Kind.INCOME_READ, received_ms=book.now_ms, exchange_ms=book.asked_ms
        ))  # fmt: skip

    def read_balance(self, s: Scene) -> None:
        """The wallet."""
        self.send(s, VenueEvent(
            kind=Kind.ACCOUNT_UPDATE, received_ms=s.book.now_ms, exchange_ms=s.book.asked_ms,
            requested_ms=s.book.asked_ms, amount=WALLET + s.book.wallet_change(),
            source=EvidenceSource.ORDER_QUERY,
        ))  # fmt: skip


_ANSWERS: Final[dict[str, tuple[KernelEventKind, dict[str, Any]]]] = {
    "ack": (Kind.ORDER_ACK, {}),
    "reject": (Kind.ORDER_REJECT, {}),
    "limited": (Kind.RATE_LIMITED, {"retry_after_ms": LIMITED_MS}),
    "unknown": (Kind.ORDER_UNKNOWN, {}),
    "cancel_reject": (Kind.CANCEL_REJECT, {}),
}
