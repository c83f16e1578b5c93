"""The model's rules for what the venue says of orders: acks, fills, ends, rejections, evidence,
settlements, and closes that were not ours.

Each finds its order, refuses or accepts, books, and asks for what is missing; the slot is brought
in line afterwards.  Knows nothing of commands, positions and balances.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from model_orders import (
    Code,
    Kind,
    Level,
    Order,
    Refused,
    Status,
    level_after,
    live,
    share,
    withdrawn,
)
from model_slots import SlotRules
from model_tables import ERRORS_KEPT, Effect, Step
from model_trades import ALL, Figures, Slot, Stage

from dita.contracts import EffectKind, EvidenceSource, OrderRole, RejectReason, VenueEvent
from dita.identity import plain_symbol
from dita.transitions import TRANSITIONS

RATE_LIMIT_MS: Final = 60_000
BACKOFF_MS: Final = 1_000
BACKOFF_MAX_MS: Final = 60_000
SUSPENDED_MS: Final = 120_000
HELD_MAX: Final = 64

FILLS: Final = (Kind.PARTIAL_FILL, Kind.FULL_FILL)
CLOSES: Final = (Kind.LIQUIDATION, Kind.ADL)
#: In place of a held event's client id that has the shape of ours and is unknown.
OUR_SHAPE: Final = "a" * 32


@dataclass(frozen=True)
class Change:
    """What an event will book, proven to be in range."""

    order: Order
    told: Level
    steps: list[Step]

    @property
    def grown(self) -> bool:
        """More is filled than before."""
        return self.told.filled > self.order.told.filled


def has_our_shape(client_id: str) -> bool:
    """A client order id as this kernel makes them."""
    return len(client_id) == 32 and set(client_id) <= set("abcdefghijklmnopqrstuvwxyz234567")


class OrderRules(SlotRules):
    """What the venue says of orders."""

    # -- routing -----------------------------------------------------------------------------------

    def _order_by_ids(self, e: VenueEvent) -> Order | None:
        """By venue id, then by client id.  Ids of two orders, or a second venue id: a conflict."""
        by_venue = self._order_of_venue(e.venue_order_id)
        by_client = self.clients.get(e.client_order_id)
        if by_venue is not None:
            if by_client is not None and by_client is not by_venue:
                raise Refused(Code.INVALID_EVENT, "order")
            return by_venue
        if by_client is not None and e.venue_order_id and by_client.venue_id:
            raise Refused(Code.INVALID_EVENT, "order")
        return by_client

    def _unanswered_submit(self, asset: str) -> bool:
        """Some live order on the symbol has no venue id yet: an unknown id may be its own."""
        return any(
            order is not None and live(order) and not order.venue_id
            for slot in self._slots_of(asset)
            for order in (slot.entry_order, slot.exit_order)
        )

    def _order_event(self, e: VenueEvent) -> None:
        if not e.venue_order_id and not e.client_order_id:
            self._without_ids(e)
            return
        order = self._order_by_ids(e)
        if order is None:
            self._unmatched(e)
            return
        self._to_order(e, order)
        self._release_held(order.trade.asset)

    def _to_order(self, e: VenueEvent, order: Order) -> None:
        trade = order.trade
        slot = self._slot_at(trade)
        state = slot.state if slot else Stage.IDLE
        cell = TRANSITIONS[state, Kind.PARTIAL_FILL if e.kind in CLOSES else e.kind]
        if e.asset and plain_symbol(e.asset) != trade.asset:
            raise Refused(Code.INVALID_EVENT, "asset")
        if e.side and e.side != order.side:
            raise Refused(Code.INVALID_EVENT, "side")
        if e.increment and not e.event_id:
            raise Refused(Code.INVALID_EVENT, "event_id")  # it could be counted twice
        if e.increment and self._was_seen(e.event_id):
            raise Refused(Code.DUPLICATE_EVENT)
        answer = self._answer
        if not answer.trade_no:
            answer.slot = -1 if slot is None else slot.index
            answer.trade_no, answer.order_no = trade.trade_no, order.order_no
            answer.before, answer.leg = state, slot.leg if slot else 0
        rules: dict[str, Callable[[VenueEvent, Order], None]] = {
            "ack": self._ack,
            "fill": self._fill,
            "end": self._end,
            "cancel_reject": self._cancel_reject,
            "reject": self._reject,
            "unknown": self._unknown,
            "rate_limited": self._rate_limited,
            "final": self._final,
            "absent": self._absent,
            "settled": self._settled,
        }
        rules[cell.rule](e, order)
        for step in self._steps(trade):
            self._book(step)
        self._finish(trade)
        self._hold_to_table(cell, trade)

    def _without_ids(self, e: VenueEvent) -> None:
        """Only an event that carries no id at all is routed by the slot's state."""
        if e.kind in CLOSES:
            self._unmatched(e)
            return
        slot = self.slots[e.slot_id] if e.slot_id >= 0 else self._slot_of_asset(e.asset)
        if slot is None:
            raise Refused(Code.INVALID_TRANSITION if e.slot_id >= 0 else Code.UNRESOLVED_SLOT)
        if slot.state is Stage.CLOSED:
            raise Refused(Code.TERMINAL_STATE)
        for order in (slot.exit_order, slot.entry_order):
            if order is not None and not order.ended and e.side in (0, order.side):
                self._to_order(e, order)
                self._note(Code.ROUTED_BY_STATE)
                self.routed_by_state += 1
                self._release_held(order.trade.asset)
                return
        raise Refused(Code.UNRESOLVED_SLOT)

    def _unmatched(self, e: VenueEvent) -> None:
        """Not ours until proven: held while a submit is unanswered, or a close by somebody else."""
        closes = e.kind in CLOSES
        if not closes and self._unanswered_submit(e.asset):
            if len(self.held) == HELD_MAX:
                self._effects.append(Effect(EffectKind.QUERY_POSITION))
                raise Refused(Code.LIMIT_REACHED)
            self._accept(e)
            # A client id that is not known now belongs to nobody, whatever is submitted later.
            of_ours = has_our_shape(e.client_order_id)
            self.held.append(
                msgspec.structs.replace(e, client_order_id=OUR_SHAPE if of_ours else "")
            )
            self._note(Code.EVENT_HELD)
            return
        if not closes and e.kind not in FILLS:
            raise Refused(Code.UNRESOLVED_SLOT)
        if not e.side or has_our_shape(e.client_order_id):
            raise Refused(Code.UNRESOLVED_SLOT)
        slot = self._closed_by(e)
        if slot is None:
            raise Refused(Code.NO_POSITION if closes else Code.UNRESOLVED_SLOT)
        self._close_by_others(e, slot)

    def _release_held(self, asset: str) -> None:
        """After an answer on a symbol: what was held is an order's, or is proven not to be ours."""
        at = 0
        while at < len(self.held):
            e = self.held[at]
            try:
                order = self._order_by_ids(e)
            except Refused:
                order = None  # its ids now name two orders: nobody's, as long as that is so
            if plain_symbol(e.asset) != asset or (order is None and self._unanswered_submit(asset)):
                at += 1
                continue
            del self.held[at]
            self._note(Code.HELD_RELEASED)
            e = msgspec.structs.replace(e, received_ms=self.now_ms)
            try:
                if order is not None:
                    self._to_order(e, order)
                else:
                    self._unmatched(e)
            except Refused:
                pass  # then it was nothing new
            at = 0

    # -- levels ------------------------------------------------------------------------------------

    def _change(self, order: Order, e: VenueEvent) -> Change:
        """What the event adds; refused when it is nothing new, or out of range."""
        return self._proven(order, level_after(order, e))

    def _proven(self, order: Order, told: Level) -> Change:
        trade = order.trade
        steps = self._steps(trade, order, told)
        self._must_fit(trade, steps)
        moves = sum(step.level.filled - step.order.level.filled for step in steps)
        if moves and trade.slot is None and not self._home(trade):
            raise Refused(Code.LIMIT_REACHED)
        return Change(order, told, steps)

    def _change_if_any(self, order: Order, e: VenueEvent) -> Change | None:
        """For an event that is not only a fill: "nothing new" is no refusal."""
        if not e.quantity_e8 and e.cost is None and e.fee is None and e.realized is None:
            return None
        try:
            return self._change(order, e)
        except Refused as refused:
            if refused.code is Code.DUPLICATE_EVENT:
                return None
            raise

    def _write(self, e: VenueEvent, change: Change) -> None:
        order, trade = change.order, change.order.trade
        slot = self._slot_at(trade)
        grown = change.grown
        entry_moves = order.role is OrderRole.ENTRY and change.told.filled != order.level.filled
        unlocked = bool(trade.unlocked)
        when = self._time_of(e)
        if grown:
            self.clamped += e.exchange_ms != 0 and self._too_far(e)
        before = order.level.filled
        for step in change.steps:
            of_event = step.order is order
            was = self._book(step, when if grown and of_event else None)
            self._notes_on(step.order, was, grown and of_event)
        if order.external and order.level.filled < order.whole.filled:
            self._note(Code.FOREIGN_EXCESS)
        if e.increment:
            self._remember(e.event_id)
        if e.source is not EvidenceSource.STREAM:
            order.queried = True
        if grown:
            self._after_growth(order, slot, order.level.filled - before)
        if entry_moves and unlocked and slot is not None:
            self._go_stale(slot)

    def _after_growth(self, order: Order, slot: Slot | None, more: int) -> None:
        if order.external:
            order.intended = order.whole.filled
        if order.final:
            order.final = False  # the venue contradicts its final figures: ask again
            self._ask(EffectKind.FINALISE, order.trade.slot, order)
        if slot is None:
            return
        slot.last_fill_ms = max(slot.last_fill_ms, order.last_fill_ms)
        if order.role is OrderRole.EXIT and order.last_fill_ms > slot.proven_ms:
            # What went out is no longer there to be sold a second time.
            slot.proven = max(0, slot.proven - max(0, more))
        if order.level.filled > order.intended and not order.external:
            self._go_stale(slot)

    def _notes_on(self, order: Order, was: Figures, grown: bool) -> None:
        level, trade, now = order.level, order.trade, order.trade.figures
        is_exit = order.role is OrderRole.EXIT
        if now.unsettled < was.unsettled:
            self._note(Code.REALIZED_SETTLED)
        if is_exit and level.priceless and not level.known:
            self._note(Code.REALIZED_SKIPPED_NO_PRICE)
        if now.entry_priced < now.entered:
            self._note(Code.ENTRY_BASIS_MISSING)
        if grown and not order.external and level.filled > order.intended:
            self._note(Code.OVERFILL)
        told = is_exit and level.realized_rank > 0 and not level.priceless
        if told and now.trueup != was.trueup:
            ours = trade.pnl_of(level)
            if self._deviates(level.realized, ours):
                self._note(Code.FIGURE_DEVIATES)

    def _deviates(self, figure: int, ours: int) -> bool:
        """Beyond the configured amount and 1 % of the leg's own result."""
        limit = max(self.config.figure_tolerance, share(abs(ours), 1, 100))
        return abs(figure - ours) > limit

    # -- acks and fills ----------------------------------------------------------------------------

    def _bind(self, order: Order, venue_id: str) -> None:
        order.venue_id = order.venue_id or venue_id

    @staticmethod
    def _tells_venue_id(order: Order, e: VenueEvent) -> bool:
        """News even when nothing else is: later events may carry only this id."""
        return e.venue_order_id != "" and not order.venue_id

    def _answers(self, order: Order, e: VenueEvent) -> bool:
        """An event that changes no level can still be the first sign that the order is there."""
        waits = order.status in (Status.REQUESTED, Status.UNKNOWN)
        return self._tells_venue_id(order, e) or waits

    def _or_ack(self, order: Order, e: VenueEvent) -> Change | None:
        """The change; None when there is nothing new but the venue id, which is taken."""
        try:
            return self._change(order, e)
        except Refused as refused:
            duplicate = refused.code is Code.DUPLICATE_EVENT
            if duplicate and self._answers(order, e) and not e.increment:
                self._ack(e, order)
                return None
            raise

    def _answered(self, order: Order) -> None:
        """The venue has it: what was refused before it does not count any more."""
        if order.status not in (Status.REQUESTED, Status.UNKNOWN):
            return
        order.status = Status.WORKING
        slot = self._slot_at(order.trade)
        if slot is not None and slot.exit_order is order:
            slot.rejects = slot.error_code = 0

    def _end_if_full(self, order: Order) -> None:
        """Full is decided on quantity, never on the event's name."""
        if not order.ended and order.level.filled >= order.intended:
            order.status = Status.FILLED
            self._ask(EffectKind.FINALISE, order.trade.slot, order)

    def _ack(self, e: VenueEvent, order: Order) -> None:
        change = self._change_if_any(order, e)
        binds = self._tells_venue_id(order, e)
        if not change and not binds and (order.ended or order.status is Status.WORKING):
            raise Refused(Code.DUPLICATE_EVENT)
        self._accept(e)
        self._bind(order, e.venue_order_id)
        self._answered(order)
        if change:
            self._write(e, change)
            self._end_if_full(order)

    def _fill(self, e: VenueEvent, order: Order) -> None:
        if e.quantity_e8 == 0:
            raise Refused(Code.INVALID_EVENT, "quantity_e8")
        change = self._or_ack(order, e)
        if change is None:
            return
        self._accept(e)
        self._bind(order, e.venue_order_id)
        self._answered(order)
        self._write(e, change)
        self._end_if_full(order)
        if e.kind is Kind.FULL_FILL and not order.ended:
            self._ask(EffectKind.QUERY_ORDER, order.trade.slot, order)
        if e.kind in CLOSES or order.external:
            self._note(Code.EXTERNAL_CLOSE)

    def _settled(self, e: VenueEvent, order: Order) -> None:
        """The venue's realized and fee of an order; zero is a valid settlement."""
        if e.realized is None and e.fee is None:
            raise Refused(Code.INVALID_EVENT, "money")
        change = self._or_ack(order, e)
        if change is None:
            return
        self._accept(e)
        self._bind(order, e.venue_order_id)
        self._answered(order)
        self._write(e, change)
        self._end_if_full(order)

    # -- ends --------------------------------------------------------------------------------------

    def _end(self, e: VenueEvent, order: Order) -> None:
        """Cancelled or expired.  A fill may still come; the final figures are asked for."""
        change = self._change_if_any(order, e)
        if order.ended and not change and not self._tells_venue_id(order, e):
            raise Refused(Code.DUPLICATE_EVENT)
        self._accept(e)
        self._bind(order, e.venue_order_id)
        if change:
            self._write(e, change)
            self._end_if_full(order)
        if not order.ended:
            order.status = Status.CANCELLED if e.kind is Kind.CANCEL_ACK else Status.EXPIRED
            self._ask(EffectKind.FINALISE, order.trade.slot, order)

    def _cancel_reject(self, e: VenueEvent, order: Order) -> None:
        """A cancel answer proves nothing."""
        self._must_live(order)
        self._accept(e)
        self._note(Code.CANCEL_REJECTED)
        self._ask(EffectKind.QUERY_ORDER, order.trade.slot, order)

    def _must_live(self, order: Order) -> None:
        if order.ended:
            raise Refused(Code.DUPLICATE_EVENT)

    def _reject(self, e: VenueEvent, order: Order) -> None:
        self._must_live(order)
        self._accept(e)
        self._note(Code.VENUE_REJECTED)
        if e.error_code:
            self.errors = [*self.errors, (self.now_ms, e.error_code)][-ERRORS_KEPT:]
        worked = order.status is Status.WORKING or order.level.filled > 0 or order.venue_id != ""
        order.status = Status.REJECTED
        if worked:
            self._ask(EffectKind.FINALISE, order.trade.slot, order)
        else:
            order.final = True
        slot = self._slot_at(order.trade)
        if slot is not None and slot.exit_order is order:
            self._exit_rejected(e, slot, order)

    def _exit_rejected(self, e: VenueEvent, slot: Slot, order: Order) -> None:
        if e.reject is RejectReason.BELOW_MINIMUM:
            self._too_small(e, slot, order)
            return
        if e.reject is RejectReason.SUSPENDED:
            self._note(Code.SYMBOL_SUSPENDED)
        self._back_off(e, slot)
        if e.reject is RejectReason.POSITION_MISMATCH:
            self._go_stale(slot, ask=False)  # find out before the retry
            self._ask_position(slot)
            slot.stale_ms = self.now_ms

    def _too_small(self, e: VenueEvent, slot: Slot, order: Order) -> None:
        """Below the venue's minimum: a leg becomes everything; everything is dust, unless more
        of the entry can still come; a quantity that somebody typed is given up."""
        if slot.explicit:
            slot.drop_latch()
            return
        if slot.goal != ALL and slot.size > order.intended:
            slot.goal, slot.goal_ratio = ALL, 0
            self._back_off(e, slot)
            return
        slot.dust = True
        slot.dust_size = slot.size
        self._note(Code.DUST)
        if not slot.trade.entry_may_fill:
            slot.drop_latch()

    def _back_off(self, e: VenueEvent, slot: Slot) -> None:
        """1, 2, 4 … 60 s, until the venue takes one; two minutes while the symbol is suspended."""
        slot.rejects += 1
        slot.error_code = e.error_code
        wait = min(BACKOFF_MS * 2 ** min(slot.rejects - 1, 16), BACKOFF_MAX_MS)
        if e.reject is RejectReason.SUSPENDED:
            wait = SUSPENDED_MS
        slot.retry_ms = max(slot.retry_ms, self.now_ms + wait)

    # -- not known, not accepted -------------------------------------------------------------------

    def _unknown(self, e: VenueEvent, order: Order) -> None:
        """Unknown counts as live until evidence settles it."""
        if order.ended or order.status is Status.UNKNOWN:
            raise Refused(Code.DUPLICATE_EVENT)
        self._accept(e)
        self._bind(order, e.venue_order_id)
        order.status = Status.UNKNOWN
        self._note(Code.ORDER_UNKNOWN)
        self._ask(EffectKind.QUERY_ORDER, order.trade.slot, order)

    def _rate_limited(self, e: VenueEvent, order: Order) -> None:
        """Of a submit: proven not executed.  The entry is dropped, the exit waits."""
        self._must_live(order)
        self._accept(e)
        self._note(Code.RATE_LIMITED)
        self._answer.retry_after_ms = e.retry_after_ms
        if order.status is not Status.REQUESTED or order.level.filled:
            return
        order.status, order.final = Status.REJECTED, True
        slot = self._slot_at(order.trade)
        if order.role is OrderRole.EXIT and slot is not None:
            slot.retry_ms = self.now_ms + (e.retry_after_ms or RATE_LIMIT_MS)

    # -- evidence ----------------------------------------------------------------------------------

    def _final(self, e: VenueEvent, order: Order) -> None:
        """The end from the venue's own records; after this the order is terminal."""
        if e.quantity_e8 < order.level.filled and not order.external:
            self._less_than_said(e, order)
            return
        change = self._change_if_any(order, e)
        if order.final and not change and not self._tells_venue_id(order, e):
            raise Refused(Code.DUPLICATE_EVENT)
        self._accept(e)
        self._bind(order, e.venue_order_id)
        if change:
            self._write(e, change)
        self._end_finally(order)

    def _end_finally(self, order: Order) -> None:
        if not order.ended:
            full = order.level.filled >= order.intended
            order.status = Status.FILLED if full else Status.CANCELLED
        order.final = True

    def _less_than_said(self, e: VenueEvent, order: Order) -> None:
        """The venue's records hold less than its stream told."""
        if e.source is EvidenceSource.STREAM or e.increment:
            raise Refused(Code.INVALID_EVENT, "quantity_e8")
        change = self._proven(order, withdrawn(order, e))
        self._accept(e)
        self._bind(order, e.venue_order_id)
        self._note(Code.FILL_WITHDRAWN)
        self._write(e, change)
        self._end_finally(order)
        slot = self._slot_at(order.trade)
        if slot is not None:
            self._go_stale(slot)

    def _absent(self, e: VenueEvent, order: Order) -> None:
        """Proven to be in none of the venue's records.

        What nobody ever saw there never reached it: an entry may be sent again while its time
        lasts.  What was seen there before is lost, and a position has to decide about it.
        """
        if order.terminal or order.lost:
            raise Refused(Code.DUPLICATE_EVENT)
        self._accept(e)
        if order.venue_id or order.told.filled or order.ended:
            self._lose(order)
            return
        order.status, order.final = Status.ABSENT, True
        slot = self._slot_at(order.trade)
        if order.role is not OrderRole.ENTRY or slot is None or order.expires_ms <= self.now_ms:
            return
        if slot.latched or self.frozen or order.unwanted:
            return
        again = self._new_order(order.trade, OrderRole.ENTRY, order.intended)
        again.intent_id, again.child = order.intent_id, order.child + 1
        again.kind, again.limit_price = order.kind, order.limit_price
        again.value_price = order.value_price
        again.expires_ms, again.deadline_ms = order.expires_ms, order.deadline_ms
        slot.entry_order = again
        self._submit(slot, again)

    def _lose(self, order: Order) -> None:
        self._note(Code.ORDER_LOST)
        if not order.ended:
            order.status = Status.ABSENT
        order.lost = True
        slot = self._slot_at(order.trade)
        if slot is None:
            order.final = True
        else:
            self._go_stale(slot)

    # -- closes that were not ours -----------------------------------------------------------------

    def _closed_by(self, e: VenueEvent) -> Slot | None:
        """The slot whose position this fill can have closed."""
        side = -int(e.side)
        if self.config.hedge:
            of = int(e.position_side)
            if not of:
                if e.kind not in CLOSES:
                    return None
                of = side
            return self._slot_of_asset(e.asset, side) if of == side else None
        there = self._slots_of(e.asset, side) if e.asset else []
        return next((s for s in there if s.size > 0), there[0] if there else None)

    def _close_by_others(self, e: VenueEvent, slot: Slot) -> None:
        """Liquidation, ADL or a close by hand: booked to our trade up to the room in it."""
        cell = TRANSITIONS[slot.state, Kind.LIQUIDATION]
        trade, answer = slot.trade, self._answer
        if slot.size <= 0 and trade.certain:
            raise Refused(Code.NO_POSITION if e.kind in CLOSES else Code.UNRESOLVED_SLOT)
        if e.quantity_e8 == 0:
            raise Refused(Code.INVALID_EVENT, "quantity_e8")
        if not e.event_id and not e.venue_order_id:
            raise Refused(Code.INVALID_EVENT, "event_id")
        if self._was_seen(e.event_id):
            raise Refused(Code.DUPLICATE_EVENT)
        answer.slot, answer.before, answer.trade_no = slot.index, slot.state, trade.trade_no
        order = Order(
            order_no=len(self.orders) + 1,
            trade=trade,
            role=OrderRole.EXIT,
            side=-trade.side,
            intended=0,
            external=True,
            venue_id=e.venue_order_id,
            status=Status.FILLED,
        )
        change = self._change(order, e)
        self._accept(e)
        self.orders.append(order)
        trade.orders.append(order)
        answer.order_no = order.order_no
        self._write(e, change)
        if order.venue_id:
            self._ask(EffectKind.FINALISE, slot.index, order)
        else:
            order.final = True  # no id to ask about: the event is all there is
        self._remember(e.event_id)
        self._note(Code.EXTERNAL_CLOSE)
        self._go_stale(slot)
        self._settle_slot(slot.index)
        self._hold_to_table(cell, trade)
