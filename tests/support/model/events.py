"""The model's rules for what the venue says of orders: acks, fills, ends, rejections, evidence,
settlements, and closes that were not ours.

Each finds its order, refuses or accepts, books, and asks for what is missing; the slot is brought
in line afterwards.  Knows nothing of commands, positions and balances.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from dita.contracts import EffectKind, EvidenceSource, OrderRole, RejectReason, VenueEvent
from dita.identity import is_own_client_id, plain_symbol
from dita.transitions import TRANSITIONS
from support.model.orders import (
    Code,
    Kind,
    Level,
    Order,
    Refused,
    Status,
    level_after,
    live,
    too_wide,
    withdrawn,
)
from support.model.slots import FUTILE_MS, SlotRules
from support.model.tables import ERRORS_KEPT, Effect, Held
from support.model.trades import ALL, Slot, Stage, Trade

RATE_LIMIT_MS: Final = 60_000
BACKOFF_MS: Final = 1_000
BACKOFF_MAX_MS: Final = 60_000
SUSPENDED_MS: Final = 120_000
HELD_MAX: Final = 64

FILLS: Final = (Kind.PARTIAL_FILL, Kind.FULL_FILL)
CLOSES: Final = (Kind.LIQUIDATION, Kind.ADL)
#: In place of a held event's client id that has the shape of ours and is unknown.
OUR_SHAPE: Final = "a" * 32


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

    def _unanswered_submit(self, asset: str, newest_no: int) -> bool:
        """Some live order on the symbol has no venue id yet: an unknown id may be its own."""
        return any(
            order is not None and live(order) and not order.venue_id and order.order_no <= newest_no
            for slot in self._slots_of(asset)
            for order in (slot.entry_order, slot.exit_order)
        )

    def _order_event(self, e: VenueEvent) -> None:
        if not e.venue_order_id and not e.client_order_id:
            self._without_ids(e)
            return
        order = self._order_by_ids(e)
        if order is None and e.source is not EvidenceSource.STREAM:
            self._release_strangers(e)
            order = self._order_by_ids(e)
        try:
            if order is None:
                self._unmatched(e)
            else:
                self._to_order(e, order)
        except Refused:
            if not self._answer.accepted:
                raise  # else something was released with it
        if order is not None:
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
        if any(each.external for each in trade.orders):
            self._rebook(trade)
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
        """Not ours until proven.

        A frame may belong to a submit without an answer yet, and is held; the venue's own records
        name our orders by our client ids, so theirs are not ours.
        """
        told = e.kind not in CLOSES and e.source is EvidenceSource.STREAM
        if told and self._unanswered_submit(e.asset, len(self.orders)):
            if len(self.held) == HELD_MAX:
                self._effects.append(Effect(EffectKind.QUERY_POSITION))
                raise Refused(Code.LIMIT_REACHED)
            self._accept(e)
            # A client id that is not known now belongs to nobody, whatever is submitted later.
            client = OUR_SHAPE if is_own_client_id(e.client_order_id) else ""
            kept = msgspec.structs.replace(e, client_order_id=client)
            self.held.append(Held(kept, len(self.orders)))
            self._note(Code.EVENT_HELD)
            return
        self._stranger(e)

    def _stranger(self, e: VenueEvent) -> None:
        """Not of an order of ours: it has closed what was ours, or it changes nothing."""
        closes = e.kind in CLOSES
        if not closes and e.kind not in FILLS:
            raise Refused(Code.UNRESOLVED_SLOT)
        if is_own_client_id(e.client_order_id):
            raise Refused(Code.UNRESOLVED_SLOT)
        slot = self._closed_by(e)
        if slot is None:
            raise Refused(Code.NO_POSITION if closes else Code.UNRESOLVED_SLOT)
        self._close_by_others(e, slot)

    def _release_held(self, asset: str) -> None:
        """After an answer on a symbol: what was held is an order's, or is proven not to be ours."""
        at = 0
        while at < len(self.held):
            e, newest_no = self.held[at]
            try:
                order = self._order_by_ids(e)
            except Refused:
                order = None  # its ids now name two orders: nobody's, as long as that is so
            waits = order is None and self._unanswered_submit(asset, newest_no)
            if plain_symbol(e.asset) != asset or waits:
                at += 1
                continue
            self._release(at, order)
            at = 0

    def _release(self, at: int, order: Order | None) -> None:
        e = msgspec.structs.replace(self.held.pop(at).event, received_ms=self.now_ms)
        self._note(Code.HELD_RELEASED)
        try:
            if order is not None:
                self._to_order(e, order)
            else:
                self._stranger(e)
        except Refused:
            pass  # then it was nothing new

    def _release_strangers(self, e: VenueEvent) -> None:
        """The venue's records show this order without a client id of ours: what was held of it is
        not the answer to any submit."""
        if not e.venue_order_id or is_own_client_id(e.client_order_id):
            return
        at = 0
        while at < len(self.held):
            if self.held[at].event.venue_order_id != e.venue_order_id:
                at += 1
                continue
            self._accept(e)
            self._release(at, self._order_of_venue(e.venue_order_id))

    # -- levels ------------------------------------------------------------------------------------

    def _change(self, order: Order, e: VenueEvent) -> Level:
        """What the event makes known; refused when it is nothing new, or out of range."""
        told = level_after(order, e)
        if order.external:
            if too_wide(told.cost, told.fee, told.realized):
                raise Refused(Code.ARITHMETIC_LIMIT)
            return told
        self._must_fit(order, told)
        if told.filled > order.level.filled:
            self._must_have_a_home(order.trade)
        return told

    def _must_have_a_home(self, trade: Trade) -> None:
        if trade.slot is None and not self._home(trade):
            raise Refused(Code.LIMIT_REACHED)

    def _change_if_any(self, order: Order, e: VenueEvent) -> Level | None:
        """For an event that is not only a fill: "nothing new" is no refusal."""
        if not e.quantity_e8 and e.cost is None and e.fee is None and e.realized is None:
            return None
        try:
            return self._change(order, e)
        except Refused as refused:
            if refused.code is Code.DUPLICATE_EVENT:
                return None
            raise

    def _write(self, e: VenueEvent, order: Order, told: Level) -> None:
        """What is known of the order from now on; an order of ours is booked with it."""
        trade = order.trade
        more = told.filled - order.told.filled
        if more > 0:
            self.clamped += e.exchange_ms != 0 and self._too_far(e)
            self._date(order, self._time_of(e))
        if order.external:
            order.whole, order.intended = told, told.filled
        else:
            self._book(order, told, grown=more > 0)
        if e.increment:
            self._remember(e.event_id)
        if e.source is not EvidenceSource.STREAM:
            order.queried = True
        if more <= 0:
            return
        if order.final:
            order.final = False  # the venue contradicts its final figures: ask again
            self._ask(EffectKind.FINALISE, trade.slot, order)
        if not order.external and trade.figures.size < 0:
            for other in trade.orders:  # what was settled lacked this fill
                other.locked &= not other.external or other.netted
        if order.role is OrderRole.ENTRY:
            self._give_back(trade, more)
        slot = self._slot_at(trade)
        if slot is not None:
            self._filled_in(slot, order, more)

    def _filled_in(self, slot: Slot, order: Order, more: int) -> None:
        """A slot takes note of a fill."""
        slot.last_fill_ms = max(slot.last_fill_ms, order.last_fill_ms)
        if order.role is OrderRole.ENTRY:
            if slot.latched and slot.goal != ALL and slot.goal_ratio:
                slot.goal = slot.leg_goal(slot.goal_base, slot.goal_ratio)  # its share of the rest
        elif not order.external:
            self._less_is_there(slot, order, more)
        overfilled = not order.external and order.level.filled > order.intended
        if slot.trade.unlocked or overfilled:
            self._go_stale(slot)  # whose part is how large, a position decides

    def _less_is_there(self, slot: Slot, order: Order, quantity: int) -> None:
        """What went out is not there to be sold a second time; a later answer has it already."""
        if slot.proven > 0 and order.last_fill_ms > slot.proven_ms:
            slot.proven = max(0, slot.proven - quantity)
            if slot.proven == 0:
                slot.futile_ms = self.now_ms + FUTILE_MS

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

    def _or_ack(self, order: Order, e: VenueEvent) -> Level | None:
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
        if change is None and not binds and (order.ended or order.status is Status.WORKING):
            raise Refused(Code.DUPLICATE_EVENT)
        self._accept(e)
        self._bind(order, e.venue_order_id)
        self._answered(order)
        if change is not None:
            self._write(e, order, change)
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
        self._write(e, order, change)
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
        self._write(e, order, change)
        self._end_if_full(order)

    # -- ends --------------------------------------------------------------------------------------

    def _end(self, e: VenueEvent, order: Order) -> None:
        """Cancelled or expired.  A fill may still come; the final figures are asked for."""
        change = self._change_if_any(order, e)
        if order.ended and change is None and not self._tells_venue_id(order, e):
            raise Refused(Code.DUPLICATE_EVENT)
        self._accept(e)
        self._bind(order, e.venue_order_id)
        if change is not None:
            self._write(e, order, change)
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
            self._doubt_again(slot)  # find out before the retry
            slot.stale_ms = self.now_ms

    def _too_small(self, e: VenueEvent, slot: Slot, order: Order) -> None:
        """Below the venue's minimum: a part becomes everything; everything is dust, unless more
        of the entry can still come; a quantity that somebody typed is given up."""
        if not slot.latched:
            return  # nobody wants it out any more
        if slot.explicit:
            slot.drop_latch()
            return
        if slot.size > order.intended:
            slot.goal, slot.goal_ratio, slot.market = ALL, 0, ALL
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
        if order.final and change is None and not self._tells_venue_id(order, e):
            raise Refused(Code.DUPLICATE_EVENT)
        self._accept(e)
        self._bind(order, e.venue_order_id)
        if change is not None:
            self._write(e, order, change)
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
        self._must_have_a_home(order.trade)
        less = withdrawn(order, e)
        self._must_fit(order, less)
        self._accept(e)
        self._bind(order, e.venue_order_id)
        self._note(Code.FILL_WITHDRAWN)
        gone = order.level.filled - less.filled
        self._book(order, less)
        if order.role is OrderRole.EXIT:
            self._give_back(order.trade, gone)
        if order.status is Status.FILLED or not order.ended:
            full = order.level.filled >= order.intended
            order.status = Status.FILLED if full else Status.CANCELLED
        order.final = order.withdrawn = True
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
        slot = self._slot_at(order.trade)
        if slot is None or order.external:
            order.final = True
        else:
            order.lost = True
            self._doubt_again(slot)

    # -- closes that were not ours -----------------------------------------------------------------

    def _closed_by(self, e: VenueEvent) -> Slot | None:
        """The slot whose position this fill can have closed: one that is open, else one whose
        entry may have filled already, or was closed by others in an order that may be another.
        In hedge mode only the position's side tells a close."""
        if not e.side or not e.asset:
            return None
        side = -int(e.side)
        told = e.position_side or e.kind not in CLOSES
        if self.config.hedge and told and int(e.position_side) != side:
            return None
        there = self._slots_of(e.asset, side)
        opened = [slot for slot in there if slot.size > 0]
        may_open = [s for s in there if s.trade.unlocked or not s.trade.certain]
        return next(iter((*opened, *may_open)), None)

    def _close_by_others(self, e: VenueEvent, slot: Slot) -> None:
        """Liquidation, ADL or a close by hand: booked to our trade up to the room in it."""
        cell = TRANSITIONS[slot.state, Kind.LIQUIDATION]
        trade, answer = slot.trade, self._answer
        answer.slot, answer.before, answer.trade_no = slot.index, slot.state, trade.trade_no
        if e.quantity_e8 == 0:
            raise Refused(Code.INVALID_EVENT, "quantity_e8")
        if not e.event_id and not e.venue_order_id:
            raise Refused(Code.INVALID_EVENT, "event_id")
        if self._was_seen(e.event_id):
            raise Refused(Code.DUPLICATE_EVENT)
        order = Order(0, trade, OrderRole.EXIT, -trade.side, 0, external=True)
        told = self._change(order, e)
        self._accept(e)
        order = self._new_order(trade, OrderRole.EXIT, 0)
        order.external, order.venue_id = True, e.venue_order_id
        answer.order_no = order.order_no
        self._write(e, order, told)
        order.status = Status.FILLED
        if order.venue_id:
            self._ask(EffectKind.FINALISE, slot.index, order)
        else:
            order.final = True  # no id to ask about: the event is all there is
        self._remember(e.event_id)
        self._note(Code.EXTERNAL_CLOSE)
        self._rebook(trade)
        self._less_is_there(slot, order, order.level.filled)
        if order.level.filled < order.whole.filled:
            self._note(Code.FOREIGN_EXCESS)
        self._settle_slot(slot.index)
        self._hold_to_table(cell, trade)
