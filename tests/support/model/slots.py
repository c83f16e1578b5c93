"""The model's slots: doubt, exit children, flat, free, and trades that come back.

Called after every change; it brings a slot in line with its facts and knows no input.
"""

from __future__ import annotations

from typing import Final

from dita.contracts import EffectKind, OrderRole
from dita.transitions import Cell
from support.model.orders import Code, Order, floor_to, live
from support.model.tables import ERRORS_OF_A_SLOT, ERRORS_OF_ALL, Effect, Place, TableBroken, Tables
from support.model.trades import ALL, Slot, Stage, Trade

STALE_EXIT_MS: Final = 2_000
FUTILE_MS: Final = 60_000
RECORD_LIMIT_MS: Final = 120_000


class SlotRules(Tables):
    """What follows from the facts of a slot."""

    # -- doubt -------------------------------------------------------------------------------------

    def _go_stale(self, slot: Slot) -> None:
        """In doubt: nothing new is risked until the venue's position agrees.

        It is asked for when doubt begins; afterwards the runtime asks at its own cadence.
        """
        if slot.stale:
            return
        slot.stale, slot.stale_ms, slot.futile_ms = True, self.now_ms, 0
        slot.proven = slot.size
        self._ask_position(slot)

    def _doubt_again(self, slot: Slot) -> None:
        """Somebody has a reason to ask, although the slot may be in doubt already."""
        if slot.stale:
            self._ask_position(slot)
        else:
            self._go_stale(slot)

    def _ask_position(self, slot: Slot) -> None:
        self._effects.append(Effect(EffectKind.QUERY_POSITION, slot.index, 0, slot.trade.trade_no))

    def _hold_to_table(self, cell: Cell, trade: Trade) -> None:
        slot = self._slot_at(trade)
        self._answer.after = slot.state if slot else Stage.IDLE
        self._must_follow(cell, self._answer.before, self._answer.after)

    @staticmethod
    def _must_follow(cell: Cell, before: Stage, after: Stage) -> None:
        if after not in cell.next_states:
            raise TableBroken(before.name, cell.rule, after.name)

    # -- in line with the facts --------------------------------------------------------------------

    def _settle_slot(self, index: int) -> None:
        """Bring a slot in line with its facts, after every change."""
        slot = self.slots[index]
        assert slot is not None
        trade = slot.trade
        figures = trade.figures
        is_out = slot.latched and slot.goal != ALL and figures.exited >= slot.goal
        grows = slot.goal_ratio > 0 and trade.entry_may_fill
        if is_out and not live(slot.exit_order) and not grows:
            slot.drop_latch()  # "all" stays latched: a late entry fill has to go out too
        too_small = slot.dust and figures.size <= slot.dust_size
        if slot.latched and too_small and not trade.entry_may_fill:
            slot.drop_latch()  # it stays as small as it was refused
        self._plan_exit(slot)
        if figures.size != 0 or figures.entered == 0:
            trade.flat_ms = 0
        elif trade.flat_ms == 0:
            trade.flat_ms = self.now_ms
            if slot.exit_order is not None and live(slot.exit_order):
                self._ask(EffectKind.CANCEL, index, slot.exit_order)
        self._answer.size = figures.size
        if trade.flat_ms:
            self._feed_sizer(trade)
        slot.state = slot.state_now()
        if slot.state is Stage.STALE_STATE_RECONCILING and not slot.stale:
            self._go_stale(slot)
        if slot.state is Stage.IDLE:
            self._free(slot)
        self._freeze_while_in_doubt()

    def _free(self, slot: Slot) -> None:
        trade = slot.trade
        self.slots[slot.index], trade.slot = None, None
        for order in trade.orders:
            order.locked |= order.external
        place = self.foreign.setdefault(self._place(trade.asset, trade.side), Place())
        place.as_of_ms = max(place.as_of_ms, slot.last_fill_ms, slot.proven_ms)
        self._close_record(trade)

    def _freeze_while_in_doubt(self) -> None:
        """No new risk while a trade has come back, or while more is out than came in."""
        if any(slot.recovery or slot.size < 0 for slot in self._used()):
            if "recovery" not in self.frozen:
                self.frozen.add("recovery")
                self._cancel_entries()
        else:
            self.frozen.discard("recovery")

    def _cancel_entries(self) -> None:
        """Every freeze takes back the entries that still work.  Exits go on."""
        for slot in self._used():
            if slot.entry_order is not None and live(slot.entry_order):
                self._ask(EffectKind.CANCEL, slot.index, slot.entry_order)

    # -- exit children -----------------------------------------------------------------------------

    def _venue_counts_too_much(self, slot: Slot) -> bool:
        """The venue blocks the endpoint after 20 equal errors: what is left goes to first tries."""
        if self._worst(self.now_ms) >= ERRORS_OF_ALL:
            return True
        if not slot.error_code or slot.urgent:
            return False
        return len(self._times_of(slot.error_code, self.now_ms)) >= ERRORS_OF_A_SLOT

    def _exit_may_go(self, slot: Slot) -> bool:
        """One live exit at a time, and a new one only when the old one's last word is in."""
        if not slot.outstanding or slot.retry_ms > self.now_ms:
            return False
        if slot.dust and slot.size <= slot.dust_size:
            return False
        old = slot.exit_order
        if old is not None and not old.ended:
            return False
        if old is not None and not old.final and old.level.filled < old.intended:
            return False
        if self._venue_counts_too_much(slot):
            return False
        if slot.stale and self.now_ms - slot.stale_ms < STALE_EXIT_MS:
            return False
        return not self._futile(slot) or self.now_ms >= slot.futile_ms

    @staticmethod
    def _futile(slot: Slot) -> bool:
        """The venue has shown nothing of ours; it is tried all the same, once in a while."""
        return slot.stale and slot.proven <= 0

    def _room_of_the_symbol(self, slot: Slot) -> int:
        """One-way, several slots on a symbol: exits together take no more than the net position."""
        others = [s for s in self._slots_of(slot.trade.asset) if s is not slot]
        if self.config.hedge or not others:
            return slot.size
        room = max(0, slot.trade.side * self._net([slot, *others]))
        for other in others:
            if other.trade.side == slot.trade.side:
                room -= self._may_still_go(other.trade)
        return max(0, room)

    @staticmethod
    def _may_still_go(trade: Trade) -> int:
        """What the venue may still fill of exits that were sent."""
        return sum(order.unfilled for order in trade.own_exits if not order.final)

    def _plan_exit(self, slot: Slot) -> None:
        if not self._exit_may_go(slot):
            return
        trade, size = slot.trade, slot.size
        wanted = size
        if slot.goal != ALL:
            wanted = min(size, slot.goal - trade.figures.exited)
        if not slot.stale and wanted < size and floor_to(wanted, trade.step) == 0:
            slot.drop_latch()  # less than a step is left of the leg
            return
        # What the venue may still fill of an older exit is not there for the next one.
        reserved = self._may_still_go(trade)
        quantity = min(wanted, size - reserved, self._room_of_the_symbol(slot))
        if slot.stale and slot.proven > 0:
            quantity = min(quantity, slot.proven)
        if quantity < size:
            quantity = floor_to(quantity, trade.step)
        if quantity <= 0:
            if not reserved:  # else an older exit's end decides
                slot.retry_ms = self.now_ms + FUTILE_MS
            return
        as_market = min(quantity, slot.market - trade.figures.exited)
        if as_market < size:
            as_market = floor_to(as_market, trade.step)
        forced = as_market > 0
        if forced:
            quantity = as_market
        if self._futile(slot):
            slot.futile_ms = self.now_ms + FUTILE_MS
        self._send_exit(slot, quantity, forced)

    def _send_exit(self, slot: Slot, quantity: int, as_market: bool) -> None:
        """The next child; what was sent once before goes as MARKET, whatever was asked for."""
        order = self._new_order(slot.trade, OrderRole.EXIT, quantity)
        slot.exit_order = order
        order.intent_id, order.child = slot.exit_intent, slot.next_child
        slot.next_child += 1
        if not slot.exit_intent:
            slot.trade.recovery_child = slot.next_child
        if not as_market:
            order.kind, order.limit_price = slot.exit_kind, slot.exit_price
            if slot.exit_wait_ms:
                order.deadline_ms = self.now_ms + slot.exit_wait_ms
            exited = slot.trade.figures.exited
            slot.market = ALL if slot.goal == ALL else exited + quantity
        slot.dust = False
        self._submit(slot, order)

    def _submit(self, slot: Slot, order: Order) -> None:
        self.clients[self.client_id(order)] = order
        self._effects.append(
            Effect(
                EffectKind.SUBMIT,
                slot.index,
                order.order_no,
                order.trade.trade_no,
                order.intended,
                order.limit_price,
            )
        )

    # -- the end of a trade ------------------------------------------------------------------------

    def _feed_sizer(self, trade: Trade) -> None:
        """Once per trade, at flat; a leg without money waits for its figure, or for the limit."""
        f, slot = trade.figures, self._slot_at(trade)
        if trade.fed or f.size != 0 or f.exited == 0 or (slot is not None and slot.stale):
            return
        waits = f.unsettled > 0 or (f.pending > 0 and f.entry_priced < f.entered)
        waits = waits or trade.entry_may_fill
        if waits and self.now_ms - trade.flat_ms < RECORD_LIMIT_MS:
            return
        trade.fed = True
        self._tell(EffectKind.FEED_SIZER, trade)

    def _tell(self, kind: EffectKind, trade: Trade) -> None:
        f = trade.figures
        self._effects.append(
            Effect(kind, trade.last_slot, 0, trade.trade_no, 0, 0, f.realized, f.fees)
        )

    def _close_record(self, trade: Trade) -> None:
        """The record of a trade closes when the venue's figures are in, or after the limit."""
        if trade.closed or trade.slot is not None or trade.open_orders:
            return
        if trade.figures.entered == 0 and trade.figures.exited == 0:
            trade.closed = True
            return
        if trade.figures.pending and self.now_ms - trade.flat_ms < RECORD_LIMIT_MS:
            return
        self._feed_sizer(trade)
        if not trade.fed:
            return
        if not trade.told:
            trade.told = True
            self._tell(EffectKind.CLOSE_TRADE, trade)
        trade.closed = True

    def _settle_detached(self, trade: Trade) -> None:
        """Quantity that comes back to a trade without a slot opens a recovery slot."""
        self._answer.size = trade.figures.size
        if trade.figures.size == 0:
            if trade.figures.entered > 0 and trade.flat_ms == 0:
                trade.flat_ms = self.now_ms
            if not trade.closed:
                self._feed_sizer(trade)
                self._close_record(trade)
            return
        self._recover(trade, latched=True)

    def _recover(self, trade: Trade, latched: bool) -> None:
        """A slot in doubt for it, and no entries until it is free again."""
        index = self._home(trade)[0]
        trade.closed = False
        slot = self._open(index, trade)
        slot.recovery = True
        self.frozen.add("recovery")
        if latched:
            slot.latched, slot.goal = True, ALL
        slot.next_child = max(trade.recovery_child, len(trade.orders))  # of no intent
        self._go_stale(slot)
        self._note(Code.RECOVERY_SLOT)
        self._answer.slot = index
        self._settle_slot(index)
        self._cancel_entries()

    def _open(self, index: int, trade: Trade) -> Slot:
        slot = Slot(index, trade)
        self.slots[index] = slot
        trade.slot = trade.last_slot = index
        return slot

    def _finish(self, trade: Trade) -> None:
        if trade.slot is None:
            self._settle_detached(trade)
        else:
            self._settle_slot(trade.slot)
