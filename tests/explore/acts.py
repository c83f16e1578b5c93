"""What a move does: to the exchange's book, to what is on its way, and to the kernel.

The runtime is modelled as it works: effects become posts and questions, one inquiry per order, one
question for positions at a time; evidence is made by ``dita.venues.evidence`` itself.  Every input
goes to the compiled kernel, and every answer of it is looked at by the judge.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from msgspec.structs import replace

from dita._kernel import Images
from dita.contracts import (
    ContractRules,
    ControlAction,
    EvidenceSource,
    KernelCommandType,
    KernelEventKind,
    KernelIntent,
    OrderRole,
    OrderSide,
    OrderType,
    PositionSide,
    RejectReason,
    TradeSide,
    TradeStage,
    VenueEvent,
)
from dita.engine import Engine
from dita.identity import plain_symbol
from dita.kernel import KernelConfig
from dita.venues import IncomeKind
from dita.venues.attribution import Books, attribute
from dita.venues.evidence import final_event, foreign_event, found_event, position_events
from explore.book import (
    CANCELLED,
    ENTRY_PRICE,
    EXIT_PRICE,
    EXPIRED,
    FORCED_PRICE,
    HAND_PRICE,
    ORIGIN_MS,
    SYMBOLS,
    UNIT,
    Flow,
    Order,
    Who,
)
from explore.judge import Judge, shares
from explore.moves import Move, Moves
from explore.scene import Answer, Frame, Post, Scene
from explore.world import Entry, World

Kind, Command = KernelEventKind, KernelCommandType
#: Server time, receive window and fence that a proof of absence waits for.
PROOF_MS: Final = 20_000
LIMITED_MS: Final = 1_000
CADENCE_S: Final = 5
SUBMIT, CANCEL, QUERY_ORDER, FINALISE, QUERY_POSITION, _, FEED, CLOSE = range(1, 9)
SIDES: Final = {int(side): side for side in OrderSide}
POSITION_SIDES: Final = {int(side): side for side in PositionSide}
WALLET: Final = 10_000 * 10**18
#: Client order ids of ours: the number says it all, and no memory of texts is needed.
NUMBERS: Final = {f"c{number}": number for number in range(1, 4_000)}
TEXTS: Final = {number: text for text, number in NUMBERS.items()}


class Acts:
    """One world's kernel and what moves do to it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.engine = Engine(
            KernelConfig(slot_limit=world.slots, hedge=world.hedge, seen=64, namespace="x")
        )
        self.kernel = self.engine.kernel
        self.kernel._names.clients, self.kernel._names.orders = NUMBERS, TEXTS
        self.kernel._names.limit = 10**9
        self.core = self.kernel._core
        self.images = Images(self.core)
        self.moves = Moves(world, self.core)
        self.judge = Judge(world, self.core)
        self.account = self._no_account = self.engine.account.save()
        #: The image of the state as it is, None when it is not known.
        self.current: bytes | None = None

    # -- scenes ------------------------------------------------------------------------------------

    def first(self) -> Scene:
        """The moment before anything happened: seeded, quiet, strangers' positions in place."""
        s = Scene(b"", self._no_account, self.world.budget)
        self.go(s)
        for hand in self.world.held_before:
            self._trade_by_hand(s, hand, heard=False)
        for kind in (Kind.ACCOUNT_UPDATE, Kind.INCOME_READ):
            self.send(s, VenueEvent(
                kind=kind, received_ms=s.book.now_ms, exchange_ms=s.book.asked_ms,
                requested_ms=s.book.asked_ms, amount=WALLET + s.book.wallet_change(),
                source=EvidenceSource.ORDER_QUERY,
            ))  # fmt: skip
        s.book.second += 60
        if self.world.held_before:
            self._look(s, "")
        s.image = self.images.take()
        return s

    def go(self, s: Scene) -> None:
        """Be in this scene: the kernel too."""
        self.images.put(s.image)
        self.current = s.image
        if s.account is not self.account:
            self.engine.account = type(self.engine.account).restore(s.account)
            self.account = s.account

    def do(self, old: Scene, move: Move) -> Scene:
        """The scene after a move; the old one stays as it is."""
        s = old.copy()
        getattr(self, "_" + move[0])(s, *move[1:])
        if any(s.wanted):
            self.judge.still_wanted(s)
        s.image = self.current or self.images.take()
        return s

    def spend(self, s: Scene, kind: str) -> None:
        """One of a kind's budget is used up."""
        at = self.world.index[kind]
        s.left = (*s.left[:at], s.left[at] - 1, *s.left[at + 1 :])

    # -- to the kernel -----------------------------------------------------------------------------

    def send(self, s: Scene, record: KernelIntent | VenueEvent) -> Any:
        """Apply one input and take up what it asks for."""
        before = self.current
        raw = self.core.apply(self.kernel.pack(record))
        if raw.accepted:
            self.current = None
            effects = self.core.effects() if raw.effects else ()
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
            self._post(s, Post(
                True, own, trade, role, entry.symbol, side, position_side,
                bool(reduce), order_type != 0, quantity, 0,
            ))  # fmt: skip
        elif kind == CANCEL:
            entry = self.entry_of(s, trade)
            self._post(s, Post(
                False, own, trade, 0, entry.symbol, effect[9], 0, False, False, 0, effect[12]
            ))  # fmt: skip
        elif kind in (QUERY_ORDER, FINALISE):
            self._inquire(s, own)
        elif kind == QUERY_POSITION:
            s.looking = True
        elif kind in (FEED, CLOSE):
            bit = 1 << trade
            if (s.fed if kind == FEED else s.closed) & bit:
                self.judge.found("told twice", "FEED_SIZER" if kind == FEED else "CLOSE_TRADE")
            if kind == FEED:
                s.fed |= bit
            else:
                s.closed |= bit

    def entry_of(self, s: Scene, trade: int) -> Entry:
        """The entry of a trade number."""
        return self.world.entries[s.trades[trade - 1]]

    @staticmethod
    def _post(s: Scene, post: Post) -> None:
        if post not in s.posts:
            s.posts = (*s.posts, post)

    @staticmethod
    def _inquire(s: Scene, own: int) -> None:
        if all(number != own for number, _ in s.asking):
            s.asking = (*s.asking, (own, 0))

    # -- the stream --------------------------------------------------------------------------------

    def _say(self, s: Scene, order: Order, kind: int, last: int = 0) -> None:
        """The exchange sends a frame about an order."""
        filled = order.filled
        whole = filled and last == filled
        s.stream = (*s.stream, Frame(
            order.own, order.vid, int(kind), order.symbol, order.side, order.position_side, filled,
            order.cost // filled if filled else 0, last, order.fills[-1].price if last else 0,
            order.fee if whole else None, order.realized if whole else None, order.ms,
        ))  # fmt: skip
        s.calm = s.stage = 0

    def _hear(self, s: Scene, at: int) -> None:
        frame = s.stream[at]
        s.stream = s.stream[:at] + s.stream[at + 1 :]
        self._listen(s, frame)

    def _listen(self, s: Scene, frame: Frame) -> None:
        s.ticked = False
        named = frame.own and self.world.named_frames
        self.send(s, VenueEvent(
            kind=Kind(frame.kind),
            received_ms=s.book.now_ms,
            exchange_ms=frame.ms,
            asset=SYMBOLS[frame.symbol],
            venue_order_id=str(frame.vid),
            client_order_id=f"c{frame.own}" if named else "",
            side=SIDES[frame.side],
            quantity_e8=frame.filled,
            price_e10=frame.price,
            last_quantity_e8=frame.last_quantity,
            last_price_e10=frame.last_price,
            fee=frame.fee,
            realized=frame.realized,
            position_side=POSITION_SIDES[frame.position_side],
        ))  # fmt: skip

    def _lose(self, s: Scene) -> None:
        self.spend(s, "lose")
        s.stream = s.stream[1:]

    def _repeat(self, s: Scene) -> None:
        self.spend(s, "repeat")
        self._listen(s, s.stream[0])

    def _overtake(self, s: Scene) -> None:
        self.spend(s, "overtake")
        self._hear(s, 1)

    # -- posts and their answers -------------------------------------------------------------------

    def _arrive(self, s: Scene, at: int, how: str) -> None:
        post = s.posts[at]
        s.posts = s.posts[:at] + s.posts[at + 1 :]
        if how:
            self.spend(s, how)
            s.calm = s.stage = 0
        if post.submit:
            self._submitted(s, post, how)
        elif how == "lost":
            self._tell(s, Answer("cancel_reject", post.own, ()))
        else:
            self._cancelled(s, post)

    def _submitted(self, s: Scene, post: Post, how: str) -> None:
        book = s.book
        if how == "suspended":
            book.suspended = True
        refusal = self._refusal(s, post, how)
        if how == "unsent" or refusal is not None:
            reason = RejectReason.OTHER if refusal is None else refusal
            code = 0 if how == "unsent" else _CODES[reason]
            answer = Answer("reject", post.own, (int(reason), code))
        elif how == "limited":
            answer = Answer("limited", post.own, ())
        elif how == "lost":
            answer = Answer("unknown", post.own, ())
        else:
            order = book.add(
                own=post.own, trade=post.trade, role=post.role, who=int(Who.OURS),
                symbol=post.symbol, side=post.side, position_side=post.position_side,
                reduce=post.reduce, limited=post.limited, quantity=post.quantity,
            )  # fmt: skip
            s.calm = s.stage = 0
            answer = Answer("ack", post.own, (order.vid, order.ms))
            if how == "unheard":
                answer = Answer("unknown", post.own, ())
        if not post.heard:
            return
        if how == "late":
            s.answers = (*s.answers, answer)
        else:
            self._tell(s, answer)

    def _refusal(self, s: Scene, post: Post, how: str) -> RejectReason | None:
        """Why the exchange refuses an order, None when it takes it."""
        if how in ("reject", "mismatch", "minimum"):
            return {
                "reject": RejectReason.OTHER,
                "mismatch": RejectReason.POSITION_MISMATCH,
                "minimum": RejectReason.BELOW_MINIMUM,
            }[how]
        if how in ("limited", "lost", "unsent"):
            return None
        if s.book.suspended:
            return RejectReason.SUSPENDED
        if post.reduce:
            closable = s.book.closable(post.symbol, post.side, post.position_side)
            if post.quantity > closable or s.book.locked:
                return RejectReason.POSITION_MISMATCH
        if post.quantity < self.world.min_quantity:
            return RejectReason.BELOW_MINIMUM
        return None

    def _answered(self, s: Scene, at: int) -> None:
        answer = s.answers[at]
        s.answers = s.answers[:at] + s.answers[at + 1 :]
        self._tell(s, answer)

    def _tell(self, s: Scene, answer: Answer) -> None:
        """An answer arrives."""
        s.ticked = False
        now_ms = s.book.now_ms
        if answer.what == "look":
            self._seen(s, answer.data[0], answer.data[1])
            return
        if answer.what == "report":
            vid, fills, status = answer.data
            order = s.book.order(vid)
            order = order._replace(fills=order.fills[:fills], status=status)
            self._report(s, order)
            return
        kind, fields = _ANSWERS[answer.what]
        more: dict[str, Any] = dict(fields)
        if answer.what == "ack":
            more.update(venue_order_id=str(answer.data[0]), exchange_ms=answer.data[1])
        elif answer.what == "reject":
            more.update(reject=RejectReason(answer.data[0]), error_code=answer.data[1])
        self.send(
            s, VenueEvent(kind=kind, received_ms=now_ms, client_order_id=f"c{answer.own}", **more)
        )

    def _cancelled(self, s: Scene, post: Post) -> None:
        order = self.moves.order_of(s, post.own)
        if order is None or not order.works:
            if post.heard:
                self._tell(s, Answer("cancel_reject", post.own, ()))
            return
        order = s.book.end(order.vid, CANCELLED)
        self._say(s, order, Kind.CANCEL_ACK)

    # -- orders at the exchange --------------------------------------------------------------------

    def _fill(self, s: Scene, vid: int, quantity: int) -> None:
        old = s.book.order(vid)
        if quantity < old.quantity - old.filled:
            self.spend(s, "part")
        price = ENTRY_PRICE if old.role == OrderRole.ENTRY else EXIT_PRICE
        order = s.book.fill(vid, quantity, price)
        grown = order.filled - old.filled
        if grown:
            kind = Kind.FULL_FILL if order.filled == order.quantity else Kind.PARTIAL_FILL
            self._say(s, order, kind, grown)
            self.judge.filled(s, order)
        if order.status == CANCELLED:
            self._say(s, order, Kind.CANCEL_ACK)

    def _expire(self, s: Scene, vid: int) -> None:
        self.spend(s, "expire")
        self._say(s, s.book.end(vid, EXPIRED), Kind.ORDER_EXPIRED)

    def _forget(self, s: Scene, vid: int) -> None:
        self.spend(s, "forget")
        s.book.put(s.book.order(vid).to(status=CANCELLED, forgotten=True))

    def _lock(self, s: Scene) -> None:
        self.spend(s, "lock")
        s.book.locked = True

    def _deaf(self, s: Scene) -> None:
        self.spend(s, "deaf")
        s.book.deaf = True

    def _mend(self, s: Scene) -> None:
        s.book.locked = s.book.deaf = s.book.suspended = False
        s.calm = s.stage = 0

    # -- others ------------------------------------------------------------------------------------

    def _hand(self, s: Scene, at: int) -> None:
        self.spend(s, "hand")
        self._trade_by_hand(s, self.world.hands[at])

    def _trade_by_hand(self, s: Scene, hand: Any, heard: bool = True) -> None:
        order = s.book.add(
            own=0, trade=0, role=0, who=int(Who.STRANGER), symbol=hand.symbol, side=hand.side,
            position_side=hand.position_side, reduce=False, limited=False, quantity=hand.quantity,
        )  # fmt: skip
        order = s.book.fill(order.vid, hand.quantity, HAND_PRICE)
        if heard:
            self._say(s, order, Kind.FULL_FILL, order.filled)

    def _liquidation(self, s: Scene, at: int) -> None:
        self.spend(s, "liquidation")
        self._force(s, at, Who.LIQUIDATION, abs(s.book.positions[at][0]))

    def _adl(self, s: Scene, at: int) -> None:
        self.spend(s, "adl")
        self._force(s, at, Who.ADL, UNIT)

    def _force(self, s: Scene, at: int, who: Who, quantity: int) -> None:
        held = s.book.positions[at][0]
        position_side = (-1 if at % 2 else 1) if self.world.hedge else 0
        order = s.book.add(
            own=0, trade=0, role=0, who=int(who), symbol=at // 2, side=-1 if held > 0 else 1,
            position_side=position_side, reduce=True, limited=False, quantity=quantity,
        )  # fmt: skip
        order = s.book.fill(order.vid, quantity, FORCED_PRICE)
        kind = Kind.LIQUIDATION if who is Who.LIQUIDATION else Kind.ADL
        self._say(s, order, kind, order.filled)

    # -- questions ---------------------------------------------------------------------------------

    def _ask(self, s: Scene, at: int, how: str) -> None:
        own, until = s.asking[at]
        order = self.moves.order_of(s, own)
        if order is None and not until:
            fence = s.book.now_ms + PROOF_MS
            s.asking = (*s.asking[:at], (own, fence), *s.asking[at + 1 :])
            return
        s.asking = s.asking[:at] + s.asking[at + 1 :]
        s.ticked = False
        if order is None:
            self.send(s, VenueEvent(
                kind=Kind.ORDER_ABSENT, received_ms=s.book.now_ms, client_order_id=f"c{own}"
            ))  # fmt: skip
            return
        if how == "late":
            self.spend(s, "late")
            s.answers = (
                *s.answers,
                Answer("report", own, (order.vid, len(order.fills), order.status)),
            )
            return
        if how == "stale":
            self.spend(s, "stale")
            status = CANCELLED if order.status == EXPIRED else order.status
            order = order._replace(fills=order.fills[:-1], status=status)
        self._report(s, order)

    def _report(self, s: Scene, order: Order) -> None:
        report = s.book.order_report(order)
        now_ms = s.book.now_ms
        if order.works:
            self.send(s, found_event(report, now_ms))
            return
        fills = [f for f in s.book.fill_reports(order.symbol) if f.venue_order_id == str(order.vid)]
        self.send(s, final_event(report, fills[: len(order.fills)], now_ms))

    def _look(self, s: Scene, how: str) -> None:
        if how:
            self.spend(s, how)
        s.looking = s.ticked = False
        reports = () if how == "empty" else s.book.position_reports()
        events = position_events(
            reports, self._assets(s), s.book.now_ms, s.book.asked_ms, self.world.hedge
        )
        told = tuple((SYMBOLS.index(e.asset), int(e.side), e.quantity_e8) for e in events)
        if how == "late":
            s.answers = (*s.answers, Answer("look", 0, (told, s.book.asked_ms)))
            return
        self._seen(s, told, s.book.asked_ms)
        if how != "empty" and self._strangers(s):
            self._look(s, "")

    def _assets(self, s: Scene) -> list[str]:
        used = {self.core.trade_in_slot(slot)[0] for slot in self.core.active_slots()}
        return [SYMBOLS[at] for at in sorted({self.entry_of(s, no).symbol for no in used})]

    def _seen(self, s: Scene, told: Iterable[tuple[int, int, int]], asked_ms: int) -> None:
        for symbol, side, quantity in told:
            self.send(s, VenueEvent(
                kind=Kind.POSITION, received_ms=s.book.now_ms, exchange_ms=asked_ms,
                asset=SYMBOLS[symbol], side=SIDES[side], quantity_e8=quantity,
                source=EvidenceSource.ORDER_QUERY,
            ))  # fmt: skip

    def _strangers(self, s: Scene) -> bool:
        """For slots in doubt: whose orders closed what was ours?  True when one was told of."""
        found = False
        for slot in self.core.active_slots():
            if self.core.slot(slot)[0] != TradeStage.STALE_STATE_RECONCILING:
                continue
            trade = self.core.trade_in_slot(slot)
            symbol = self.entry_of(s, trade[0]).symbol
            own = {order.vid: order for order in s.book.orders if order.trade == trade[0]}
            began = min((f.ms for o in own.values() for f in o.fills), default=1)
            for order in s.book.orders:
                if order.symbol != symbol or order.vid in own or order.forgotten:
                    continue
                found |= self._tell_of(s, order, began)
        return found

    def _tell_of(self, s: Scene, order: Order, began: int) -> bool:
        if self.core.order_of_venue(order.vid) or (order.vid, order.filled) in s.told:
            return False
        fills = s.book.fill_reports(order.symbol)
        event = foreign_event(s.book.order_report(order), fills, s.book.now_ms)
        if event is None or event.exchange_ms < began:
            return False
        if self.send(s, event).accepted:
            s.told = tuple(sorted((*s.told, (order.vid, order.filled))))
            return True
        return False

    # -- time --------------------------------------------------------------------------------------

    def _tick(self, s: Scene) -> None:
        s.ticked = True
        before = {at: self.core.slot(at)[0] for at in self.core.active_slots()}
        self.send(s, VenueEvent(kind=Kind.TICK, received_ms=s.book.now_ms))
        self.judge.ticked(before)

    def _wait(self, s: Scene, for_ms: int) -> None:
        self._pass(s, -(-for_ms // 1000))

    def _pass(self, s: Scene, seconds: int) -> None:
        s.book.second += seconds
        s.ticked = False
        s.rejected = 0
        s.calm += 1

    def _cadence(self, s: Scene) -> None:
        self._pass(s, CADENCE_S)
        self._ask_all(s)
        if self.core.active_slots():
            s.looking = True

    def _ask_all(self, s: Scene) -> None:
        for trade in self.core.trades():
            if not trade[15]:
                continue
            for number in trade[19]:
                order = self.core.order(number)
                if order[8] < 4 or not order[9]:
                    self._inquire(s, number)
        for number in self.core.unwanted_orders():
            order = self.core.order(number)
            entry = self.entry_of(s, order[3])
            self._post(s, Post(
                False, number, order[3], 0, entry.symbol, order[6], 0, False, False, 0, order[1]
            ))  # fmt: skip

    # -- the process -------------------------------------------------------------------------------

    def _crash(self, s: Scene, left: str = "") -> None:
        """What was not synced is gone, what was on its way may have left; then all is asked."""
        self.spend(s, "crash")
        self.judge.restores(self.engine)
        s.posts = tuple(post._replace(heard=False) for post in s.posts) if left else ()
        s.answers = ()
        s.told = ()
        s.asking = ()
        self._gap(s, spent=True)

    def _gap(self, s: Scene, spent: bool = False) -> None:
        if not spent:
            self.spend(s, "gap")
        s.stream = ()
        s.ticked = False
        for trade in self.core.trades():
            for number in trade[19]:
                if self.core.order(number)[8] == 1:
                    self.send(s, VenueEvent(
                        kind=Kind.ORDER_UNKNOWN, received_ms=s.book.now_ms,
                        client_order_id=f"c{number}",
                    ))  # fmt: skip
        self._ask_all(s)
        s.looking = True

    # -- the operator ------------------------------------------------------------------------------

    def _command(self, s: Scene, command: KernelCommandType, **fields: Any) -> Any:
        raw = self.send(s, KernelIntent(
            command=command, received_ms=s.book.now_ms, intent_id=f"i{s.intents}", **fields
        ))  # fmt: skip
        if raw.accepted:
            s.intents += 1
            s.ticked = False
        return raw

    def _enter(self, s: Scene, at: int) -> None:
        entry = self.world.entries[at]
        trades, s.trades = s.trades, (*s.trades, at)
        raw = self._command(
            s, Command.ENTER, trade_id=entry.trade, asset=SYMBOLS[entry.symbol],
            side=TradeSide(entry.side), quantity_e8=entry.quantity, reference_price_e10=ENTRY_PRICE,
            order_type=OrderType.LIMIT if entry.limited else OrderType.MARKET,
            limit_price_e10=ENTRY_PRICE if entry.limited else 0, working_ms=entry.working_ms,
            exit_leg_ratios_e9=entry.legs,
            contract=ContractRules(
                tick_e10=10**8, step_e8=UNIT, min_quantity_e8=self.world.min_quantity,
                taker_fee_e9=500_000, maker_fee_e9=200_000,
            ),
        )  # fmt: skip
        if not raw.accepted:
            s.trades = trades
            return
        s.entered |= 1 << at
        s.wanted = (*s.wanted, False)
        s.calm = s.stage = 0

    def _exit(self, s: Scene, slot: int, kind: str = "exit", **fields: Any) -> None:
        trade = self.core.slot(slot)[3]
        raw = self._command(s, Command.EXIT, slot_id=slot, **fields)
        if kind:
            self.spend(s, kind)
        if raw.accepted:
            whole = self.core.slot(slot)[7] >= 2**62
            at = trade - 1
            s.wanted = (*s.wanted[:at], s.wanted[at] or whole, *s.wanted[at + 1 :])
            s.calm = 0

    def _urgent(self, s: Scene, slot: int) -> None:
        self._exit(s, slot, "urgent", urgent=True)

    def _piece(self, s: Scene, slot: int) -> None:
        self._exit(s, slot, "piece", quantity_e8=UNIT)

    def _maker(self, s: Scene, slot: int) -> None:
        self._exit(
            s, slot, "maker", order_type=OrderType.LIMIT, limit_price_e10=EXIT_PRICE,
            working_ms=2_000,
        )  # fmt: skip

    def _cancel(self, s: Scene, slot: int) -> None:
        self.spend(s, "cancel")
        trade, before = self.core.slot(slot)[3], self.core.slot(slot)[0]
        if self._command(s, Command.CANCEL, slot_id=slot).accepted:
            s.calm = 0
            if before == TradeStage.EXIT_WORKING:
                s.wanted = (*s.wanted[: trade - 1], False, *s.wanted[trade:])

    def _mark(self, s: Scene, slot: int) -> None:
        self.spend(s, "mark")
        self._command(s, Command.MARK_PRICE, slot_id=slot, reference_price_e10=HAND_PRICE)

    def _reconcile(self, s: Scene, slot: int) -> None:
        self.spend(s, "reconcile")
        self._command(s, Command.RECONCILE, slot_id=slot)

    def _hold(self, s: Scene) -> None:
        self.spend(s, "hold")
        self._command(s, Command.CONTROL, action=ControlAction.HOLD)

    def _resume(self, s: Scene) -> None:
        self.spend(s, "resume")
        self._command(s, Command.CONTROL, action=ControlAction.RESUME)

    def _operator(self, s: Scene) -> None:
        """What a person does whom `status` shows a trade that does not end by itself."""
        stage = s.stage
        for slot in self.core.active_slots():
            if stage == 0:
                self.judge.forgotten(s, slot)
                self._exit(s, slot, "", urgent=True)
            elif stage == 1:
                self._command(s, Command.RECONCILE, slot_id=slot)
                self._ask_all(s)
                s.looking = True
        if stage == 2:
            self._write_off(s)
        s.stage, s.calm = stage + 1, 0

    def _write_off(self, s: Scene) -> None:
        """Everything is read past the answer that showed less; then the rest is written off."""
        s.book.second += 150
        self._look(s, "")
        self.read_income(s)
        for slot in self.core.active_slots():
            facts, trade = self.core.slot(slot), self.core.trade_in_slot(slot)
            missing = trade[5] - trade[8] + trade[20] - facts[11]
            if facts[0] == TradeStage.STALE_STATE_RECONCILING and missing > 0:
                self._command(s, Command.WRITE_OFF, slot_id=slot, quantity_e8=missing, amount=0)

    # -- the account's questions ------------------------------------------------------------------

    def read_income(self, s: Scene) -> None:
        """The income history, read as the watch reads it."""
        book = s.book
        since = self.kernel.ledger().income_from_ms
        rows = [row for row in book.income() if row.time_ms > since]
        fills = [fill for symbol in range(len(SYMBOLS)) for fill in book.fill_reports(symbol)]
        core = self.core
        known = {o.vid: core.order_of_venue(o.vid) for o in book.orders}
        external = {vid for vid, number in known.items() if number and core.order(number)[10]}
        held: dict[str, tuple[int, ...]] = {}
        for slot in core.active_slots():
            trade = core.trade_in_slot(slot)
            symbol = plain_symbol(SYMBOLS[self.entry_of(s, trade[0]).symbol])
            size = trade[3] * (trade[5] - trade[8] + trade[20])
            held[symbol] = (*held.get(symbol, ()), size)
        books = Books(
            own_orders=frozenset(str(vid) for vid, number in known.items() if number),
            closed_outside=frozenset(str(vid) for vid in external),
            held_e8=held,
        )
        for event in attribute(rows, fills, books).events:
            self.send(s, replace(event, received_ms=book.now_ms))
        self.send(s, VenueEvent(
            kind=KernelEventKind.INCOME_READ, received_ms=book.now_ms, exchange_ms=book.asked_ms
        ))  # fmt: skip

    def read_balance(self, s: Scene) -> None:
        """The wallet."""
        self.send(s, VenueEvent(
            kind=KernelEventKind.ACCOUNT_UPDATE, received_ms=s.book.now_ms,
            exchange_ms=s.book.asked_ms, requested_ms=s.book.asked_ms,
            amount=WALLET + s.book.wallet_change(), source=EvidenceSource.ORDER_QUERY,
        ))  # fmt: skip

    # -- money -------------------------------------------------------------------------------------

    def _funding(self, s: Scene, at: int) -> None:
        self.spend(s, "funding")
        ours = any(shares(s.book, s.trades, self.world)[0])
        flow = Flow(int(IncomeKind.FUNDING), at // 2, -(10**17), ours, s.book.act())
        s.book.flows = (*s.book.flows, flow)

    def _steal(self, s: Scene) -> None:
        self.spend(s, "steal")
        s.book.flows = (*s.book.flows, Flow(0, 0, -50 * 10**18, False, s.book.act()))


_CODES: Final = {
    RejectReason.OTHER: 100400,
    RejectReason.POSITION_MISMATCH: 101290,
    RejectReason.BELOW_MINIMUM: 110425,
    RejectReason.SUSPENDED: 101415,
}
_ANSWERS: Final[dict[str, tuple[KernelEventKind, dict[str, Any]]]] = {
    "ack": (Kind.ORDER_ACK, {}),
    "reject": (Kind.ORDER_REJECT, {}),
    "limited": (Kind.RATE_LIMITED, {"retry_after_ms": LIMITED_MS}),
    "unknown": (Kind.ORDER_UNKNOWN, {}),
    "cancel_reject": (Kind.CANCEL_REJECT, {}),
}
assert ORIGIN_MS % 1000 == 0
