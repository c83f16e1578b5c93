"""What must hold at every step, judged on the exchange's own book and on what the kernel asks for.

A finding has a kind, which names the broken promise, and a text.  The judge changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

from dita._kernel import Core, Outcome
from dita.contracts import (
    KernelCommandType,
    KernelEventKind,
    KernelIntent,
    OrderRole,
    TradeStage,
    VenueEvent,
)
from dita.engine import Engine
from explore import facts
from explore.book import ENTRY_PRICE, UNIT, Book, Order, Who
from explore.scene import Scene
from explore.world import World

Kind = KernelEventKind
_WIDE: Final = frozenset(
    {
        Kind.ACCOUNT_UPDATE, Kind.FUNDING_FEE, Kind.TRANSFER, Kind.FOREIGN_FLOW, Kind.INCOME_READ,
        KernelCommandType.CONTROL,
    }
)  # fmt: skip
SUBMIT, CANCEL, QUERY_POSITION, FEED, CLOSE = 1, 2, 5, 7, 8
#: Exits refused within one second after which another one is a storm.
HOT: Final = 2


class Finding(NamedTuple):
    """A broken promise."""

    kind: str
    text: str


class Judge:
    """Looks at inputs, outcomes and the book."""

    def __init__(self, world: World, core: Core) -> None:
        self.world = world
        self.core = core
        #: What was found since somebody emptied it.
        self.news: list[Finding] = []
        #: (state before, input, state after; -1 = refused) of everything that was applied.
        self.cells: set[tuple[int, int, int]] = set()

    def found(self, kind: str, text: str) -> None:
        """Note a broken promise."""
        self.news.append(Finding(kind, text))

    # -- every input -------------------------------------------------------------------------------

    def after(
        self, s: Scene, record: KernelIntent | VenueEvent, raw: Outcome, effects: Sequence[Any]
    ) -> None:
        """One input was applied or refused."""
        trigger = record.kind if isinstance(record, VenueEvent) else record.command
        self._cell(trigger, raw)
        if not raw.accepted:
            return
        if trigger in (Kind.ORDER_REJECT, Kind.RATE_LIMITED) and self._is_exit(raw.order_no):
            s.rejected += 1
        for effect in effects:
            if effect[0] == SUBMIT:
                self._submits(s, trigger, effect)
                if effect[11] and not any(e[0] == CANCEL and e[2] == effect[2] for e in effects):
                    self._room(effect[2], effect[3], effect[5])
            elif effect[0] == QUERY_POSITION and self.asks_itself(record, raw):
                self.found("an answer asks itself again", "QUERY_POSITION after POSITION in STALE")

    @staticmethod
    def asks_itself(record: KernelIntent | VenueEvent, raw: Outcome) -> bool:
        """Would a question for the position be an answer's own?  When doubt begins it is not."""
        if not isinstance(record, VenueEvent) or record.kind is not Kind.POSITION:
            return False
        return raw.before == facts.STALE

    def _cell(self, trigger: KernelCommandType | KernelEventKind, raw: Outcome) -> None:
        if trigger in _WIDE:
            for state in {slot.state for slot in facts.slots(self.core)} or {0}:
                self.cells.add((state, int(trigger), state if raw.accepted else -1))
        elif trigger is not Kind.TICK:
            self.cells.add((raw.before, int(trigger), raw.after if raw.accepted else -1))

    def ticked(self, before: dict[int, int]) -> None:
        """A TICK was applied; ``before`` has the states of the slots that were in use."""
        for slot, state in before.items():
            self.cells.add((state, int(Kind.TICK), int(self.core.slot(slot)[0])))
        if not before:
            self.cells.add((0, int(Kind.TICK), 0))

    def _is_exit(self, number: int) -> bool:
        order = facts.order_of(self.core, number)
        return order is not None and order.role == OrderRole.EXIT

    def tells(self, s: Scene, kind: int, trade: int) -> None:
        """FEED_SIZER or CLOSE_TRADE: each once per trade."""
        bit = 1 << trade
        if (s.fed if kind == FEED else s.closed) & bit:
            self.found("told twice", "FEED_SIZER" if kind == FEED else "CLOSE_TRADE")
        if kind == FEED:
            s.fed |= bit
        else:
            s.closed |= bit

    def _submits(self, s: Scene, trigger: Any, effect: tuple[Any, ...]) -> None:
        number, trade, quantity, reduce = effect[2], effect[3], effect[5], effect[11]
        role = OrderRole.EXIT if reduce else OrderRole.ENTRY
        if quantity <= 0:
            self.found("an order of nothing", f"order {number} has quantity {quantity}")
        for post in s.posts:
            if post.submit and post.trade == trade and post.role == role:
                self.found("two live children", f"order {number} beside a post of {post.own}")
        for order in s.book.orders:
            if order.trade == trade and order.role == role and order.works:
                self.found("two live children", f"order {number} beside working {order.own}")
        if not reduce:
            return
        if trigger in (Kind.ORDER_REJECT, Kind.RATE_LIMITED) or s.rejected >= HOT:
            self.found("a refused exit is sent again at once", f"order {number}")

    def _room(self, number: int, trade: int, quantity: int) -> None:
        """By the kernel's own figures no exit is larger than what may be left.

        One that is taken back in the same answer, because a held frame says that others closed it
        all, is left to the exchange: it only reduces.
        """
        known = facts.trade_of(self.core, trade)
        possible = 0
        for order in facts.orders_of(self.core, known):
            ours = order.role == OrderRole.EXIT and not order.external
            if ours and order.number != number and not order.terminal:
                possible += max(0, order.intended - order.filled)
        if quantity + possible > known.size:
            self.found("an exit beyond what is left", f"{quantity} + {possible} of {known.size}")

    # -- the book ----------------------------------------------------------------------------------

    def filled(self, s: Scene, order: Order) -> None:
        """An order of ours was filled."""
        if order.role != OrderRole.EXIT:
            return
        entered = sum(o.filled for o in s.book.orders if o.trade == order.trade and o.role == 1)
        exited = sum(o.filled for o in s.book.orders if o.trade == order.trade and o.role == 2)
        if exited > entered:
            self.found("oversold", f"trade {order.trade}: {exited} out of {entered}")

    def stuck(self, s: Scene) -> str:
        """What it looks like where nothing goes on and no command helps."""
        left = shares(s.book, s.trades, self.world).left
        parts = []
        for slot in facts.slots(self.core):
            size = facts.trade_of(self.core, slot.trade).size // UNIT
            truth = left[slot.trade - 1] // UNIT
            latched = " latched" if slot.latched else ""
            parts.append(f"{TradeStage(slot.state).name} {size} in truth {truth}{latched}")
        held = [quantity // UNIT for quantity, _ in s.book.positions]
        return f"{'; '.join(parts)}; the exchange has {held}"

    def still_wanted(self, s: Scene) -> None:
        """The kernel still wants every exit of all that was accepted and not taken back; a residue
        that the exchange calls too small is left to the operator when no more can come."""
        for slot in facts.slots(self.core):
            if not s.wanted[slot.trade - 1] or slot.latched or slot.state == facts.CLOSED:
                continue
            entry = facts.order_of(self.core, slot.entry_order) if slot.entry_order else None
            may_fill = entry is not None and not entry.ended
            size = facts.trade_of(self.core, slot.trade).size
            if slot.dust and not may_fill:
                s.wanted = tuple(w and n != slot.trade for n, w in enumerate(s.wanted, 1))
            elif may_fill or size > 0:
                self.found("an accepted exit is dropped", f"trade {slot.trade}, {size // UNIT}")

    def forgotten(self, s: Scene, at: int) -> None:
        """Nothing has gone on for long: was an exit of this slot wanted, and could it be done?"""
        trade = facts.slot_at(self.core, at).trade
        if s.answers or self.core.due_ms > s.book.now_ms:
            return  # a bounded wait
        left = shares(s.book, s.trades, self.world).left[trade - 1]
        if s.wanted[trade - 1] and left >= self.world.min_quantity:
            entry = self.world.entries[s.trades[trade - 1]]
            side = entry.side if self.world.hedge else 0
            if s.book.closable(entry.symbol, -entry.side, side) >= left:
                self.found("an accepted exit is forgotten", f"{left // UNIT} of trade {trade}")

    def restores(self, engine: Engine) -> None:
        """A saved and restored engine is the same."""
        saved = engine.save()
        again = Engine.restore(saved)
        if again.save() != saved or again.state_hash() != engine.state_hash():
            self.found("a restored engine differs", "save, restore, save")


class Shares(NamedTuple):
    """Whose was what."""

    left: list[int]  # of each trade of ours
    foreign: int  # the flows of others
    closers: set[int]  # ids of orders of others that closed something of ours


def shares(
    book: Book,
    trades: Sequence[int],
    world: World,
    known: Collection[int] | None = None,
    kindly: bool = False,
) -> Shares:
    """What the exchange's book says of whose was what, by the exchange's times.

    A stranger sells his own first, as far as he has any, and then what is ours.  Of an order that
    closed both, ours is what our entry price says; its fee is shared by quantity.

    With ``known`` only orders with these ids of the exchange are taken to have closed something of
    ours.  ``kindly`` reads it as if he had bought before he sold: a position shows the sum of his
    acts and not their order, so by what a kernel is told both readings are right.
    """
    left = [0] * len(trades)
    theirs = [0] * len(book.positions)
    closers = set()
    foreign = sum(flow.amount for flow in book.flows if flow.kind and not flow.ours)
    fills = sorted(
        (fill.ms if not kindly or not _opens(order, trades, world) else 0, fill.ms, order, fill)
        for order in book.orders
        for fill in order.fills
    )
    for *_, order, fill in fills:
        if order.who == Who.OURS:
            left[order.trade - 1] += fill.quantity if order.role == 1 else -fill.quantity
            continue
        at = 2 * order.symbol + (order.position_side < 0)
        own = min(fill.quantity, max(0, -theirs[at] * order.side))
        taken = 0
        for number, entry in enumerate(trades):
            terms = world.entries[entry]
            if terms.symbol != order.symbol or order.side == terms.side:
                continue
            if world.hedge and order.position_side != terms.side:
                continue
            if known is not None and order.vid not in known:
                continue
            part = max(0, min(left[number], fill.quantity - own - taken))
            left[number] -= part
            taken += part
        if taken:
            closers.add(order.vid)
        theirs[at] += order.side * (fill.quantity - taken)
        ours = fill.realized
        if taken < fill.quantity:  # by our own entry price: his lots have another
            ours = -order.side * (fill.price - ENTRY_PRICE) * taken
        profit = fill.realized - ours
        foreign += profit - (fill.fee - fill.fee * taken // fill.quantity)
    return Shares(left, foreign, closers)


def _opens(order: Order, trades: Sequence[int], world: World) -> bool:
    """Is it a stranger's, on the side of a trade of ours?"""
    if order.who == Who.OURS:
        return False
    entries = [world.entries[at] for at in trades]
    return any(e.symbol == order.symbol and e.side == order.side for e in entries)
