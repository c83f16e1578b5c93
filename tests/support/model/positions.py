"""The model's rules for positions: the venue's against ours, on all slots of a symbol together.

What has to be decided about closes by others, about orders that the venue has lost, and about
opposite slots of one symbol, is decided here and nowhere else.
"""

from __future__ import annotations

from dita.contracts import EffectKind, OrderRole, OrderSide, VenueEvent
from dita.transitions import TRANSITIONS
from support.model.events import OrderRules
from support.model.orders import Code, Kind, Level, Order, Refused, Status, share, stored
from support.model.tables import Place
from support.model.trades import Slot, Stage, Trade


class PositionRules(OrderRules):
    """What the venue says of positions."""

    def _asked_at(self, e: VenueEvent) -> int:
        """When the position was asked for; a time of the future is taken as now, 0 is not told."""
        return self.exchange_now(e) if self._too_far(e) else e.exchange_ms

    def _position(self, e: VenueEvent) -> None:
        """The venue's position on a symbol, against ours; without a slot it is somebody else's."""
        if not e.asset:
            raise Refused(Code.INVALID_EVENT, "asset")
        if e.quantity_e8 > 0 and not e.side:
            raise Refused(Code.INVALID_EVENT, "side")
        theirs = -e.quantity_e8 if e.side is OrderSide.SELL else e.quantity_e8
        sides = [int(e.side)] if e.side else [1, -1]  # flat on every side
        if not self.config.hedge:
            sides = [0]
        groups = [(side, self._slots_of(e.asset, side)) for side in sides]
        if any(self._is_old(e, side, group) for side, group in groups):
            raise Refused(Code.STALE_STATE)
        self._accept(e)
        for side, group in groups:
            if group:
                self._judge(e, group, theirs)
            else:
                self._position_of_others(e, side, theirs)

    def _is_old(self, e: VenueEvent, side: int, group: list[Slot]) -> bool:
        """Asked for before a fill that we have, or before what is known of a place without slot."""
        place = self.foreign.get(self._place(e.asset, side))
        known = [slot.last_fill_ms for slot in group] or ([place.as_of_ms] if place else [])
        return self._asked_at(e) != 0 and self._asked_at(e) < max(known, default=self._asked_at(e))

    def _judge(self, e: VenueEvent, group: list[Slot], theirs: int) -> None:
        answer, first = self._answer, group[0]
        before = {slot: slot.state for slot in group}
        if not answer.trade_no:
            answer.slot, answer.before = first.index, first.state
            answer.trade_no = first.trade.trade_no
        self._compare(e, group, theirs)
        for slot in group:
            size = answer.size
            self._settle_slot(slot.index)
            after = slot.state if self.slots[slot.index] is slot else Stage.IDLE
            self._must_follow(TRANSITIONS[before[slot], Kind.POSITION], before[slot], after)
            if answer.trade_no == slot.trade.trade_no:
                answer.after = after
            else:
                answer.size = size  # the answer is about the first slot

    def _compare(self, e: VenueEvent, group: list[Slot], theirs: int) -> None:
        if any(slot.trade.works for slot in group):
            self._compare_at_work(e, group, theirs)
            return
        if theirs != self._net(group) and self._ask_records_again(group):
            self._doubt(e, group, theirs)
            return
        if not self.config.hedge:
            self._net_opposites(e, group)
        self._return_overfills(group, theirs)
        if any(s.size < 0 for s in group) or len({s.trade.side for s in group if s.size}) > 1:
            self._doubt(e, group, theirs)  # both sides are open, and could not be netted
            return
        side = next((s.trade.side for s in group if s.size), group[0].trade.side)
        certain = all(slot.trade.certain for slot in group)
        if certain:
            self._decide_closes(group, side, theirs * side)
        ours, same = sum(slot.size for slot in group), theirs * side
        if ours > 0 and same < ours:
            self._fall_short(e, group, ours - max(same, 0))
        elif same == ours or (certain and self._asked_at(e) > 0):
            self._agree(e, group, theirs)  # what is more is somebody else's
        else:
            self._doubt(e, group, theirs)

    def _ask_records_again(self, group: list[Slot]) -> bool:
        """They took a fill back and the position does not agree: they may have lagged behind."""
        asked = False
        for slot in group:
            for order in reversed(slot.trade.orders):
                if order.withdrawn:
                    order.withdrawn = order.final = False
                    self._ask(EffectKind.FINALISE, slot.index, order)
                    asked = True
        return asked

    def _compare_at_work(self, e: VenueEvent, group: list[Slot], theirs: int) -> None:
        """With an order in flight both may be right: agreement ends a doubt, nothing begins one."""
        agrees = self._net(group) == theirs
        for slot in group:
            if agrees and slot.size >= 0:
                self._without_doubt(e, slot)
            elif slot.stale:
                self._note(Code.POSITION_DISAGREES)
                slot.proof(slot.capped(theirs), self._asked_at(e))

    @staticmethod
    def _untouchable(slot: Slot) -> bool:
        """Flat, without doubt, and only waiting for final figures."""
        return slot.state is Stage.CLOSED and not slot.stale

    def _without_doubt(self, e: VenueEvent, slot: Slot) -> None:
        slot.stale = False
        slot.proof(slot.size, self._asked_at(e))
        slot.short_ms = slot.futile_ms = 0

    # -- opposite slots ----------------------------------------------------------------------------

    def _net_opposites(self, e: VenueEvent, group: list[Slot]) -> None:
        """One-way: the venue has one position only, so what is on both sides has closed itself."""
        while True:
            both = [s for s in group if s.size > 0 and _is_priced(s.trade)]
            long = next((s for s in both if s.trade.side > 0), None)
            short = next((s for s in both if s.trade.side < 0), None)
            if long is None or short is None:
                return
            later = max((long, short), key=lambda s: (_entered_ms(s.trade), s.index))
            quantity = min(long.size, short.size)
            f = later.trade.figures
            cost = share(f.entry_cost, quantity, f.entered)
            at_ms = _entered_ms(later.trade) or self._asked_at(e)
            for slot in (long, short):
                self._net_one(slot.trade, quantity, cost, at_ms)
            self._note(Code.NETTED)

    def _net_one(self, trade: Trade, quantity: int, cost: int, at_ms: int) -> None:
        """At the later fill's price in both: their sum does not depend on it."""
        order = self._new_order(trade, OrderRole.EXIT, quantity)
        order.external = order.locked = order.netted = order.final = True
        order.status, order.last_fill_ms = Status.FILLED, at_ms
        order.whole = Level(quantity, quantity, cost, cost_rank=4, fee_rank=4)
        self._book(order, order.whole)

    # -- more out than in --------------------------------------------------------------------------

    def _return_overfills(self, group: list[Slot], theirs: int) -> None:
        """An exit took too much, and whoever closed what that opened: it is closed."""
        for slot in group:
            missing = (theirs - self._net(group)) * slot.trade.side
            if slot.size < 0 < missing:
                slot.trade.returned += min(-slot.size, missing)
                slot.trade.recompute()
                self._note(Code.POSITION_DISAGREES)

    # -- closes by others --------------------------------------------------------------------------

    def _decide_closes(self, group: list[Slot], side: int, same: int) -> None:
        """Everything of ours is certain: so the position says how much of the closes was ours."""
        for slot in (s for s in group if s.trade.side == side):
            unlocked = slot.trade.unlocked
            booked = sum(o.level.filled for o in unlocked)
            ours = sum(s.size for s in group)
            less = min(booked, max(0, same - ours))
            more = min(sum(o.whole.filled for o in unlocked) - booked, slot.size, ours - same)
            total = booked - less + max(0, more)
            for order in unlocked:
                quantity = min(order.whole.filled, total)
                total -= quantity
                self._book_part(order, quantity)
            self._foreign_of(slot.trade)

    # -- the answers -------------------------------------------------------------------------------

    def _agree(self, e: VenueEvent, group: list[Slot], theirs: int) -> None:
        """It is as we thought, but for what is somebody else's."""
        over = all(slot.trade.over for slot in group)
        for slot in group:
            if self._untouchable(slot):
                continue
            for order in slot.trade.orders:
                order.final |= order.lost
                order.withdrawn = False
                order.locked |= order.external and over
            self._without_doubt(e, slot)
        self._others_hold(e, group[0].trade.side, theirs - self._net(group))

    def _others_hold(self, e: VenueEvent, side: int, quantity: int) -> None:
        place = self.foreign.setdefault(self._place(e.asset, side), Place())
        place.quantity = stored(quantity)
        place.as_of_ms = max(place.as_of_ms, self._asked_at(e))

    def _doubt(self, e: VenueEvent, group: list[Slot], theirs: int) -> None:
        self._note(Code.POSITION_DISAGREES)
        for slot in group:
            if not self._untouchable(slot):
                self._go_stale(slot)
                slot.proof(slot.capped(theirs), self._asked_at(e))

    def _fall_short(self, e: VenueEvent, group: list[Slot], missing: int) -> None:
        """Something of ours is gone: of what came back first, else of the last slot."""
        self._note(Code.POSITION_DISAGREES)
        touched = [slot for slot in group if not self._untouchable(slot)]
        for slot in touched:
            self._go_stale(slot)
        for slot in sorted(touched, key=lambda s: (not s.recovery, -s.index)):
            gone = min(missing, slot.size)
            missing -= gone
            slot.proof(slot.size - gone, self._asked_at(e))
            if gone and not slot.short_ms:
                slot.short_ms = self._asked_at(e)

    # -- without a slot ----------------------------------------------------------------------------

    def _position_of_others(self, e: VenueEvent, side: int, theirs: int) -> None:
        self._others_hold(e, side, theirs)
        trade = self._written_off_at(e.asset, side, theirs)
        if trade is None or not self._home(trade):
            return
        order = _written_off(trade)
        assert order is not None
        quantity = min(order.level.filled, theirs * trade.side)
        left = order.level.filled - quantity
        realized = share(order.level.realized, left, order.level.filled)
        rank = order.level.realized_rank
        level = Level(left, 0, 0, 0, 0, order.level.fee_rank, realized, rank, left)
        answer = self._answer
        answer.trade_no, answer.order_no, answer.before = trade.trade_no, order.order_no, Stage.IDLE
        self._book(order, level)
        self._others_hold(e, side, theirs - quantity * trade.side)
        self._recover(trade, latched=False)  # whose it is, a person decides
        self._hold_to_table(TRANSITIONS[Stage.IDLE, Kind.POSITION], trade)

    def _written_off_at(self, asset: str, side: int, theirs: int) -> Trade | None:
        """The newest trade that was written off to nothing, and whose quantity may be here."""
        for trade in reversed(self.trades_by_no):
            there = self._place(trade.asset, trade.side) == self._place(asset, side or trade.side)
            gone = trade.written_off and trade.slot is None and trade.figures.size == 0
            if there and gone and theirs * trade.side > 0 and _written_off(trade):
                return trade
        return None


def _is_priced(trade: Trade) -> bool:
    f = trade.figures
    return f.entered > 0 and f.entry_priced == f.entered


def _entered_ms(trade: Trade) -> int:
    """When its newest entry fill was."""
    return max((order.last_fill_ms for order in trade.of_role(OrderRole.ENTRY)), default=0)


def _written_off(trade: Trade) -> Order | None:
    """Its newest write-off that stands for some quantity."""
    found = [o for o in trade.orders if o.written_off and o.level.filled > 0]
    return found[-1] if found else None
