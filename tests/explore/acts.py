"""What a move does: to the exchange's book, to what is on its way, and to the kernel.

Each move of ``moves`` has a method with its name.  What the runtime does about it is in
``runtime``, what must hold is in ``judge``.
"""

from __future__ import annotations

from typing import Any, Final

from dita.contracts import (
    ContractRules,
    ControlAction,
    KernelCommandType,
    KernelIntent,
    OrderRole,
    OrderType,
    RejectReason,
    TradeSide,
    TradeStage,
    VenueEvent,
)
from dita.venues import IncomeKind
from explore import facts
from explore.book import (
    CANCELLED,
    ENTRY_PRICE,
    EXIT_PRICE,
    EXPIRED,
    FORCED_PRICE,
    HAND_PRICE,
    UNIT,
    Flow,
    Order,
    Who,
)
from explore.judge import shares
from explore.moves import Move, Moves
from explore.runtime import Kind, Runtime
from explore.scene import Answer, Frame, Post, Scene
from explore.world import Hand, World

Command = KernelCommandType
#: Server time, receive window and fence that a proof of absence waits for.
PROOF_MS: Final = 20_000
CADENCE_S: Final = 5
#: No fill is so near to a payment of funding.
FUNDING_S: Final = 3
#: Everything was read so long after a position showed less that the rest can be written off.
WRITE_OFF_S: Final = 150


class Acts(Runtime):
    """One world's kernel and what moves do to it."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.moves = Moves(self)
        #: What strangers had done to the wallet when it was read first.
        self.foreign_before = 0

    # -- scenes ------------------------------------------------------------------------------------

    def first(self) -> Scene:
        """The moment before anything happened: seeded, quiet, strangers' positions in place."""
        s = Scene(b"", self.no_account, self.world.budget)
        self.go(s)
        for hand in self.world.held_before:
            self._trade_by_hand(s, hand, heard=False)
        self.foreign_before = shares(s.book, s.trades, self.world).foreign
        self.read_balance(s)
        self.read_income(s)
        s.book.second += 60
        if self.world.held_before:
            self.look(s)
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
        getattr(self, "do_" + move[0])(s, *move[1:])
        if any(s.wanted):
            self.judge.still_wanted(s)
        s.image = self.current or self.images.take()
        return s

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

    def do_hear(self, s: Scene, at: int) -> None:
        frame = s.stream[at]
        s.stream = s.stream[:at] + s.stream[at + 1 :]
        self.listen(s, frame)

    def do_lose(self, s: Scene) -> None:
        self.spend(s, "lose")
        s.stream = s.stream[1:]

    def do_repeat(self, s: Scene) -> None:
        self.spend(s, "repeat")
        self.listen(s, s.stream[0])

    def do_overtake(self, s: Scene) -> None:
        self.spend(s, "overtake")
        self.do_hear(s, 1)

    # -- posts and their answers -------------------------------------------------------------------

    def do_arrive(self, s: Scene, at: int, how: str) -> None:
        post = s.posts[at]
        s.posts = s.posts[:at] + s.posts[at + 1 :]
        if how:
            self.spend(s, how)
            s.calm = s.stage = 0
        if post.submit:
            self._submitted(s, post, how)
        elif how == "lost":
            self.tell(s, Answer("cancel_reject", post.own, ()))
        else:
            self._cancelled(s, post)

    def _submitted(self, s: Scene, post: Post, how: str) -> None:
        if how == "suspended":
            s.book.suspended = True
        refusal = self._refusal(s, post, how)
        if how == "unsent":
            answer = Answer("reject", post.own, (int(RejectReason.OTHER), 0))
        elif refusal is not None:
            answer = Answer("reject", post.own, (int(refusal), _CODES[refusal]))
        elif how == "limited":
            answer = Answer("limited", post.own, ())
        elif how == "lost":
            answer = Answer("unknown", post.own, ())
        else:
            order = s.book.add(
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
            self.tell(s, answer)

    def _refusal(self, s: Scene, post: Post, how: str) -> RejectReason | None:
        """Why the exchange refuses an order, None when it takes it."""
        if how in _REFUSALS:
            return _REFUSALS[how]
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

    def _cancelled(self, s: Scene, post: Post) -> None:
        order = self.record_of(s, post.own)
        if order is None or not order.works:
            if post.heard:
                self.tell(s, Answer("cancel_reject", post.own, ()))
            return
        self._say(s, s.book.end(order.vid, CANCELLED), Kind.CANCEL_ACK)

    def do_answered(self, s: Scene, at: int) -> None:
        answer = s.answers[at]
        s.answers = s.answers[:at] + s.answers[at + 1 :]
        self.tell(s, answer)

    # -- orders at the exchange --------------------------------------------------------------------

    def do_fill(self, s: Scene, vid: int, quantity: int) -> None:
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

    def do_expire(self, s: Scene, vid: int) -> None:
        self.spend(s, "expire")
        self._say(s, s.book.end(vid, EXPIRED), Kind.ORDER_EXPIRED)

    def do_forget(self, s: Scene, vid: int) -> None:
        self.spend(s, "forget")
        s.book.put(s.book.order(vid).to(status=CANCELLED, forgotten=True))

    def do_lock(self, s: Scene) -> None:
        self.spend(s, "lock")
        s.book.locked = True

    def do_deaf(self, s: Scene) -> None:
        self.spend(s, "deaf")
        s.book.deaf = True

    def do_mend(self, s: Scene) -> None:
        s.book.locked = s.book.deaf = s.book.suspended = False
        s.calm = s.stage = 0

    # -- others ------------------------------------------------------------------------------------

    def do_hand(self, s: Scene, at: int) -> None:
        self.spend(s, "hand")
        self._trade_by_hand(s, self.world.hands[at])

    def _trade_by_hand(self, s: Scene, hand: Hand, heard: bool = True) -> None:
        order = s.book.add(
            own=0, trade=0, role=0, who=int(Who.STRANGER), symbol=hand.symbol, side=hand.side,
            position_side=hand.position_side, reduce=False, limited=False, quantity=hand.quantity,
        )  # fmt: skip
        order = s.book.fill(order.vid, hand.quantity, HAND_PRICE)
        if heard:
            self._say(s, order, Kind.FULL_FILL, order.filled)

    def do_liquidation(self, s: Scene, at: int) -> None:
        self.spend(s, "liquidation")
        self._force(s, at, Who.LIQUIDATION, abs(s.book.positions[at][0]))

    def do_adl(self, s: Scene, at: int) -> None:
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

    def do_funding(self, s: Scene, at: int) -> None:
        """At a time of its own: who held the symbol is judged by whole seconds."""
        self.spend(s, "funding")
        s.book.second += FUNDING_S
        s.ticked = False
        ours = any(shares(s.book, s.trades, self.world).left)
        flow = Flow(int(IncomeKind.FUNDING), at // 2, -(10**17), ours, s.book.act())
        s.book.flows = (*s.book.flows, flow)
        s.book.second += FUNDING_S

    def do_steal(self, s: Scene) -> None:
        self.spend(s, "steal")
        s.book.flows = (*s.book.flows, Flow(0, 0, -50 * 10**18, False, s.book.act()))

    # -- questions ---------------------------------------------------------------------------------

    def do_ask(self, s: Scene, at: int, how: str) -> None:
        own, until = s.asking[at]
        order = self.record_of(s, own)
        if order is None and not until:
            fence = s.book.now_ms + PROOF_MS
            s.asking = (*s.asking[:at], (own, fence), *s.asking[at + 1 :])
            return
        s.asking = s.asking[:at] + s.asking[at + 1 :]
        s.ticked = False
        if how:
            self.spend(s, how)
        if order is None:
            if self.about(s, own, Kind.ORDER_ABSENT):
                s.calm = s.stage = 0
        elif how == "late":
            told = (order.vid, len(order.fills), order.status)
            s.answers = (*s.answers, Answer("report", own, told))
        elif how == "stale":
            self.report_stale(s, order)
        else:
            self.report(s, order)

    def do_look(self, s: Scene, how: str) -> None:
        if how:
            self.spend(s, how)
        self.look(s, how)

    # -- time and the process ----------------------------------------------------------------------

    def do_tick(self, s: Scene) -> None:
        s.ticked = True
        before = {slot.at: slot.state for slot in facts.slots(self.core)}
        self.send(s, VenueEvent(kind=Kind.TICK, received_ms=s.book.now_ms))
        self.judge.ticked(before)

    def do_wait(self, s: Scene, for_ms: int) -> None:
        self._pass(s, -(-for_ms // 1000))

    def _pass(self, s: Scene, seconds: int) -> None:
        s.book.second += seconds
        s.ticked = False
        s.rejected = 0
        s.calm += 1

    def do_cadence(self, s: Scene) -> None:
        self._pass(s, CADENCE_S)
        self.ask_all(s)
        if self.core.active_slots():
            s.looking = True

    def do_crash(self, s: Scene, left: str = "") -> None:
        """What was not synced is gone, what was on its way may have left; then all is asked."""
        self.spend(s, "crash")
        self.judge.restores(self.engine)
        s.posts = tuple(post._replace(heard=False) for post in s.posts) if left else ()
        s.answers = ()
        s.told = ()
        s.asking = ()
        self.recover(s)

    def do_gap(self, s: Scene) -> None:
        self.spend(s, "gap")
        self.recover(s)

    # -- the operator ------------------------------------------------------------------------------

    def _command(self, s: Scene, command: KernelCommandType, **fields: Any) -> bool:
        raw = self.send(s, KernelIntent(
            command=command, received_ms=s.book.now_ms, intent_id=f"i{s.intents}", **fields
        ))  # fmt: skip
        if raw.accepted:
            s.intents += 1
            s.ticked = False
        return bool(raw.accepted)

    def do_enter(self, s: Scene, at: int) -> None:
        entry = self.world.entries[at]
        trades, s.trades = s.trades, (*s.trades, at)
        taken = self._command(
            s, Command.ENTER, trade_id=entry.trade, asset=self.world.symbol(entry),
            side=TradeSide(entry.side), quantity_e8=entry.quantity, reference_price_e10=ENTRY_PRICE,
            order_type=OrderType.LIMIT if entry.limited else OrderType.MARKET,
            limit_price_e10=ENTRY_PRICE if entry.limited else 0, working_ms=entry.working_ms,
            exit_leg_ratios_e9=entry.legs,
            contract=ContractRules(
                tick_e10=10**8, step_e8=UNIT, min_quantity_e8=self.world.min_quantity,
                taker_fee_e9=500_000, maker_fee_e9=200_000,
            ),
        )  # fmt: skip
        if not taken:
            s.trades = trades
            return
        s.entered |= 1 << at
        s.wanted = (*s.wanted, False)
        s.calm = s.stage = 0

    def _exit(self, s: Scene, slot: int, **fields: Any) -> None:
        trade = facts.slot_at(self.core, slot).trade
        if self._command(s, Command.EXIT, slot_id=slot, **fields):
            if facts.slot_at(self.core, slot).wants_all:
                s.wanted = (*s.wanted[: trade - 1], True, *s.wanted[trade:])
            s.calm = 0

    def do_exit(self, s: Scene, slot: int) -> None:
        self.spend(s, "exit")
        self._exit(s, slot)

    def do_urgent(self, s: Scene, slot: int) -> None:
        self.spend(s, "urgent")
        self._exit(s, slot, urgent=True)

    def do_piece(self, s: Scene, slot: int) -> None:
        self.spend(s, "piece")
        self._exit(s, slot, quantity_e8=UNIT)

    def do_maker(self, s: Scene, slot: int) -> None:
        self.spend(s, "maker")
        self._exit(
            s, slot, order_type=OrderType.LIMIT, limit_price_e10=EXIT_PRICE, working_ms=2_000
        )

    def do_cancel(self, s: Scene, slot: int) -> None:
        self.spend(s, "cancel")
        before = facts.slot_at(self.core, slot)
        if self._command(s, Command.CANCEL, slot_id=slot):
            s.calm = 0
            if before.state == TradeStage.EXIT_WORKING:
                s.wanted = (*s.wanted[: before.trade - 1], False, *s.wanted[before.trade :])

    def do_mark(self, s: Scene, slot: int) -> None:
        self.spend(s, "mark")
        self._command(s, Command.MARK_PRICE, slot_id=slot, reference_price_e10=HAND_PRICE)

    def do_reconcile(self, s: Scene, slot: int) -> None:
        self.spend(s, "reconcile")
        self._command(s, Command.RECONCILE, slot_id=slot)

    def do_hold(self, s: Scene) -> None:
        self.spend(s, "hold")
        self._command(s, Command.CONTROL, action=ControlAction.HOLD)

    def do_resume(self, s: Scene) -> None:
        self.spend(s, "resume")
        self._command(s, Command.CONTROL, action=ControlAction.RESUME)

    def do_operator(self, s: Scene) -> None:
        """What a person does whom `status` shows a trade that does not end by itself."""
        stage = s.stage
        for at in self.core.active_slots():
            if stage == 0:
                self.judge.forgotten(s, at)
                self._exit(s, at, urgent=True)
            elif stage == 1:
                self._command(s, Command.RECONCILE, slot_id=at)
                self.ask_all(s)
                s.looking = True
        if stage == 2:
            # Everything is read past the last answer that showed less.
            s.book.second += WRITE_OFF_S
            self.look(s)
            self.read_income(s)
        elif stage == 3:
            self._write_off(s)
        s.stage, s.calm = stage + 1, 0

    def _write_off(self, s: Scene) -> None:
        """What the last answer lacked is written off."""
        for slot in facts.slots(self.core):
            missing = facts.trade_of(self.core, slot.trade).size - slot.proven
            if slot.stale and missing > 0:
                self._command(s, Command.WRITE_OFF, slot_id=slot.at, quantity_e8=missing)


_REFUSALS: Final = {
    "reject": RejectReason.OTHER,
    "mismatch": RejectReason.POSITION_MISMATCH,
    "minimum": RejectReason.BELOW_MINIMUM,
}
_CODES: Final = {
    RejectReason.OTHER: 100400,
    RejectReason.POSITION_MISMATCH: 101290,
    RejectReason.BELOW_MINIMUM: 110425,
    RejectReason.SUSPENDED: 101415,
}
