"""The model's rules for commands: ENTER, EXIT, CANCEL, MARK_PRICE, RECONCILE, WRITE_OFF, CONTROL.

Each checks everything, then accepts and writes.
"""

from __future__ import annotations

from typing import Final

from dita.contracts import (
    ControlAction,
    EffectKind,
    KernelCommandType,
    KernelIntent,
    OrderRole,
    OrderType,
    RiskLimit,
)
from dita.identity import plain_symbol
from dita.transitions import TRANSITIONS
from support.model.orders import Code, Level, Order, Refused, Status, floor_to, in_range, live
from support.model.positions import PositionRules
from support.model.tables import ERRORS_OF_A_SLOT
from support.model.trades import ALL, Slot, Stage, Trade

Command = KernelCommandType
Action = ControlAction

#: A shortfall is nobody's unread row any more when income was read so far past it.
TOLD_MS: Final = 120_000
MINUTE_MS: Final = 60_000
ENTERS_MAX: Final = 256
SYMBOL_HOLDS_MAX: Final = 64

#: What a RISK_LIMIT names.
LIMIT_NAMES: Final = {
    RiskLimit.ORDER_NOTIONAL: "limit of an order",
    RiskLimit.SYMBOL_NOTIONAL: "limit of a symbol",
    RiskLimit.TOTAL_NOTIONAL: "limit of all symbols",
    RiskLimit.POSITIONS: "limit of positions",
    RiskLimit.INTENTS_PER_MINUTE: "limit of intents",
}


def expires(i: KernelIntent) -> bool:
    """What adds risk, or repairs on a view of then; an exit, a mark and a hold do not expire."""
    if i.command is Command.CONTROL:
        return i.action in (Action.RESUME, Action.REBASE, Action.LIMIT)
    return i.command not in (Command.EXIT, Command.MARK_PRICE)


class CommandRules(PositionRules):
    """What an operator and the alpha side ask for."""

    def _command(self, i: KernelIntent) -> None:
        if self._was_seen(i.intent_id):
            raise Refused(Code.DUPLICATE_EVENT)
        if i.deadline_ms and max(i.received_ms, self.now_ms) > i.deadline_ms and expires(i):
            raise Refused(Code.EXPIRED)
        if i.command is Command.CONTROL:
            self._control(i)
            self._remember(i.intent_id)
            return
        index = self._slot_for(i)
        slot, answer = self.slots[index], self._answer
        state = slot.state if slot else Stage.IDLE
        cell = TRANSITIONS[state, i.command]
        answer.slot, answer.before = index, state
        if slot is not None:
            answer.trade_no, answer.leg = slot.trade.trade_no, slot.leg
        if cell.rule == "refuse":
            raise Refused(cell.refusal)
        if cell.rule == "adopt" and i.role is not None:
            raise Refused(Code.NO_POSITION)  # an order is adopted by a trade, not by a free slot
        if cell.rule == "enter":
            trade = self._enter(i, index)
        elif cell.rule == "adopt":
            trade = self._adopt(i, index)
        else:
            assert slot is not None
            trade = slot.trade
            if cell.rule != "mark" and not i.intent_id:
                raise Refused(Code.INVALID_INTENT, "intent_id")
            rules = {
                "exit": self._exit,
                "cancel": self._cancel,
                "mark": self._mark,
                "reconcile": self._reconcile,
                "write_off": self._write_off,
            }
            rules[cell.rule](i, slot)
        self._remember(i.intent_id)
        self._settle_slot(index)
        self._hold_to_table(cell, trade)

    # -- which slot --------------------------------------------------------------------------------

    def _slot_for(self, i: KernelIntent) -> int:
        """The slot that a command names, or that its trade or symbol is in."""
        index = i.slot_id
        if i.command is Command.ENTER or (
            i.command is Command.RECONCILE and index < 0 and i.role is None
        ):
            return self._slot_to_open(i)
        if index < 0 and i.trade_id:
            found = self._slot_of_trade(i.trade_id)
        elif index < 0 and i.command is Command.MARK_PRICE:
            found = self._slot_of_asset(i.asset)
        elif index < 0:
            raise Refused(Code.INVALID_SLOT)
        else:
            there = self.slots[index]
            named = there is not None and i.trade_id and i.command is not Command.MARK_PRICE
            if named and there is not None and there.trade.terms.trade_id != i.trade_id:
                raise Refused(Code.INVALID_INTENT, "trade_id")
            return index
        if found is None:
            raise Refused(Code.NO_POSITION)
        return found.index

    def _slot_to_open(self, i: KernelIntent) -> int:
        index = i.slot_id
        if index < 0 and i.command is Command.RECONCILE:
            found = self._slot_of_trade(i.trade_id)
            index = found.index if found else -1
        if index < 0:
            free = (n for n in range(self.config.slot_limit) if self.slots[n] is None)
            index = next(free, -1)
        if index < 0:
            raise Refused(Code.SLOT_BUSY)
        if index >= self.config.slot_limit and self.slots[index] is None:
            raise Refused(Code.INVALID_SLOT)  # kept for recovery
        return index

    # -- ENTER -------------------------------------------------------------------------------------

    def _check_terms(self, i: KernelIntent) -> None:
        """What ENTER and an adoption share, in the order in which it is refused."""
        rules = i.contract
        for bad, what in (
            (not i.trade_id, "trade_id"),
            (not i.asset, "asset"),
            (not i.side, "side"),
            (i.quantity_e8 <= 0, "quantity_e8"),
            (not 1 <= i.leverage <= self.config.leverage_cap, "leverage"),
            (not all(1 <= r <= 10**9 for r in i.exit_leg_ratios_e9), "exit_leg_ratios_e9"),
            (rules is None, "contract"),
            (rules is not None and rules.tick_e10 <= 0, "contract.tick_e10"),
            (rules is not None and rules.step_e8 <= 0, "contract.step_e8"),
            (
                rules is not None and (rules.min_quantity_e8 < 0 or rules.min_notional < 0),
                "contract minimum",
            ),
            (
                rules is not None
                and not (0 <= rules.taker_fee_e9 < 10**9 and 0 <= rules.maker_fee_e9 < 10**9),
                "contract fee rate",
            ),
        ):
            if bad:
                raise Refused(Code.INVALID_INTENT, what)

    def _busy(self, i: KernelIntent) -> bool:
        """One slot per trade, and per symbol; in hedge mode per symbol and side."""
        return any(
            s.trade.terms.trade_id == i.trade_id
            or (
                s.trade.asset == plain_symbol(i.asset)
                and (not self.config.hedge or s.trade.side == i.side)
            )
            for s in self._used()
        )

    def _enter(self, i: KernelIntent, index: int) -> Trade:
        if not i.intent_id:
            raise Refused(Code.INVALID_INTENT, "intent_id")
        self._check_terms(i)
        self._check_order(i)
        if self._busy(i):
            raise Refused(Code.SLOT_BUSY)
        place = self.foreign.get(self._place(i.asset, i.side))
        if place is not None and place.quantity:
            raise Refused(Code.FOREIGN_POSITION)
        self._entries_allowed(i)
        self._within_limits(i)
        self._accept(i)
        trade = self._new_trade(i)
        slot = self._open(index, trade)
        order = self._new_order(trade, OrderRole.ENTRY, i.quantity_e8)
        order.intent_id, order.kind = i.intent_id, i.order_type
        order.limit_price = i.limit_price_e10 if i.order_type is not OrderType.MARKET else 0
        order.value_price = _value_price(i)
        order.expires_ms = i.expires_ms
        order.deadline_ms = self.now_ms + i.working_ms if i.working_ms else 0
        slot.entry_order = order
        self.enters_ms = [*self.enters_ms, self.now_ms][-ENTERS_MAX:]
        self._answer.trade_no, self._answer.order_no = trade.trade_no, order.order_no
        self._submit(slot, order)
        return trade

    def _check_order(self, i: KernelIntent) -> None:
        rules = i.contract
        assert rules is not None
        if i.quantity_e8 % rules.step_e8:
            raise Refused(Code.INVALID_INTENT, "contract.step_e8")
        if i.reference_price_e10 <= 0:
            raise Refused(Code.INVALID_INTENT, "price_e10")
        self._check_limit(i, rules.tick_e10)
        notional = i.reference_price_e10 * i.quantity_e8
        if i.quantity_e8 < rules.min_quantity_e8 or notional < rules.min_notional:
            raise Refused(Code.INVALID_INTENT, "contract minimum")

    def _check_limit(self, i: KernelIntent, tick: int) -> None:
        if i.order_type is not OrderType.MARKET:
            off_tick = floor_to(i.limit_price_e10, tick) != i.limit_price_e10
            if i.limit_price_e10 <= 0 or off_tick:
                raise Refused(Code.INVALID_INTENT, "limit_price_e10")

    def _entries_allowed(self, i: KernelIntent) -> None:
        """Nothing frozen, few enough rejections, a balance that is young enough, and no money too
        near to it to tell."""
        now = max(i.received_ms, self.now_ms)
        if self.frozen:
            raise Refused(Code.ENTRIES_FROZEN)
        if plain_symbol(i.asset) in self.held_symbols:
            raise Refused(Code.SYMBOL_HELD)
        if self._worst(now) >= ERRORS_OF_A_SLOT:
            raise Refused(Code.VENUE_ERRORS)
        limit = self.config.balance_max_age_ms
        if limit > 0 and (self.anchor is None or now - self.anchor.received_ms > limit):
            raise Refused(Code.BALANCE_STALE)
        if self.anchor is not None and self._placed("near"):
            raise Refused(Code.ANCHOR_NOT_QUIET)

    def _within_limits(self, i: KernelIntent) -> None:
        """The limits that a person set."""
        now = max(i.received_ms, self.now_ms)
        value = _value_price(i) * i.quantity_e8
        minute = [ms for ms in self.enters_ms if now - ms < MINUTE_MS]
        for limit, figure in (
            (RiskLimit.ORDER_NOTIONAL, value),
            (RiskLimit.SYMBOL_NOTIONAL, value + self._at_risk(self._slots_of(i.asset))),
            (RiskLimit.TOTAL_NOTIONAL, value + self._at_risk(self._used())),
            (RiskLimit.POSITIONS, len(self._used()) + 1),
            (RiskLimit.INTENTS_PER_MINUTE, len(minute) + 1),
        ):
            if self.limits[limit] and figure > self.limits[limit]:
                raise Refused(Code.RISK_LIMIT, LIMIT_NAMES[limit])

    def _at_risk(self, slots: list[Slot]) -> int:
        """What is open, at the mark or the basis, and what may still come in."""
        total = 0
        for slot in slots:
            if slot.size > 0:
                total += slot.value_of(slot.size) or 0
            entry = slot.entry_order
            if entry is not None and live(entry):
                total += entry.unfilled * entry.value_price
        return total

    def _new_trade(self, i: KernelIntent) -> Trade:
        trade = Trade(len(self.trades_by_no) + 1, i)
        self.trades_by_no.append(trade)
        return trade

    # -- EXIT, CANCEL, MARK_PRICE ------------------------------------------------------------------

    def _exit(self, i: KernelIntent, slot: Slot) -> None:
        trade, child = slot.trade, slot.exit_order
        assert trade.terms.contract is not None
        self._check_limit(i, trade.terms.contract.tick_e10)
        everything = slot.latched and slot.goal == ALL
        maker = child if child is not None and live(child) else None
        if maker is not None and maker.kind is not OrderType.LIMIT:
            maker = None
        market = i.order_type is OrderType.MARKET
        endless = maker is not None and not maker.deadline_ms and not maker.unwanted
        replaces = everything and not i.urgent and market and endless
        if everything and not i.urgent and not replaces:
            raise Refused(Code.DUPLICATE_EVENT)
        base = max(trade.figures.exited, slot.goal if slot.latched else 0)
        if not everything:
            self._check_typed_quantity(i, slot, base)
        self._accept(i)
        if not everything:
            self._set_goal(i, slot, base)
        slot.exit_intent, slot.next_child = i.intent_id, 0
        slot.exit_kind = i.order_type
        slot.exit_price = 0 if market else i.limit_price_e10
        slot.exit_wait_ms = i.working_ms
        slot.rejects = slot.error_code = 0
        slot.dust, slot.dust_size = False, 0
        slot.urgent = i.urgent
        if i.urgent:
            slot.retry_ms = 0
        if market and everything:
            slot.market = ALL
        if maker is not None and (i.urgent or replaces):
            self._ask(EffectKind.CANCEL, slot.index, maker)
        if slot.entry_order is not None and live(slot.entry_order):
            self._ask(EffectKind.CANCEL, slot.index, slot.entry_order)
        if slot.stale:
            self._note(Code.EXIT_LATCHED)

    def _check_typed_quantity(self, i: KernelIntent, slot: Slot, base: int) -> None:
        """What somebody typed is done as it is or not at all; more than is left means all of it."""
        rules = slot.trade.terms.contract
        assert rules is not None
        if i.quantity_e8 == 0 or i.quantity_e8 >= slot.trade.figures.entered - base:
            return
        if i.quantity_e8 % rules.step_e8:
            raise Refused(Code.INVALID_INTENT, "contract.step_e8")
        if i.quantity_e8 < rules.min_quantity_e8:
            raise Refused(Code.INVALID_INTENT, "contract minimum")

    def _set_goal(self, i: KernelIntent, slot: Slot, base: int) -> None:
        """The exited quantity that this EXIT wants to reach: a quantity, or the next leg's ratio of
        what is left; ALL for the last leg and for what would leave nothing."""
        trade = slot.trade
        left = trade.figures.entered - base
        typed, last = i.quantity_e8 > 0, slot.leg == len(trade.legs) - 1
        if not typed or not slot.latched:
            slot.leg_before = slot.leg
        slot.start = trade.figures.exited
        slot.goal_base = slot.goal_ratio = 0
        if left <= 0 or (typed and i.quantity_e8 >= left) or (not typed and last):
            slot.goal = ALL
        elif typed:
            slot.goal = base + i.quantity_e8
        else:
            slot.goal = slot.leg_goal(base, trade.legs[slot.leg])
            if slot.goal != ALL:
                slot.goal_base, slot.goal_ratio = base, trade.legs[slot.leg]
        slot.explicit = typed and slot.goal != ALL
        if not typed:
            slot.leg = min(slot.leg + 1, len(trade.legs) - 1)
        slot.latched = True

    def _cancel(self, i: KernelIntent, slot: Slot) -> None:
        """A working entry is taken back; or the exit is, and its latch with it."""
        self._accept(i)
        if slot.state is Stage.ENTRY_WORKING:
            assert slot.entry_order is not None
            self._ask(EffectKind.CANCEL, slot.index, slot.entry_order)
            return
        if slot.trade.figures.exited == slot.start:
            slot.leg = slot.leg_before  # nothing of this leg went out: it is still to come
        slot.drop_latch()
        if slot.exit_order is not None and live(slot.exit_order):
            self._answer.order_no = slot.exit_order.order_no
            self._ask(EffectKind.CANCEL, slot.index, slot.exit_order)

    def _mark(self, i: KernelIntent, slot: Slot) -> None:
        """A mark values what is open; it is never an entry basis.  A symbol's is for all of it."""
        if i.reference_price_e10 <= 0:
            raise Refused(Code.INVALID_INTENT, "price_e10")
        self._accept(i)
        slot.mark = i.reference_price_e10
        if i.slot_id >= 0 or i.trade_id:
            return
        for other in self._slots_of(i.asset):
            if TRANSITIONS[other.state, i.command].rule != "refuse":
                other.mark = i.reference_price_e10

    # -- RECONCILE ---------------------------------------------------------------------------------

    def _adopt(self, i: KernelIntent, index: int) -> Trade:
        """A position of ours that the kernel did not know; what it realized before is carried."""
        if not i.intent_id:
            raise Refused(Code.INVALID_INTENT, "intent_id")
        self._check_terms(i)
        if self._busy(i):
            raise Refused(Code.SLOT_BUSY)
        self._accept(i)
        trade = self._new_trade(i)
        priced = i.quantity_e8 if i.entry_cost else 0
        trade.adopted = Level(filled=i.quantity_e8, priced=priced, cost=i.entry_cost)
        trade.carried = i.carried_realized
        trade.recompute()
        self._open(index, trade)
        place = self.foreign.get(self._place(trade.asset, trade.side))
        if place is not None:
            place.quantity = 0
        self._answer.trade_no = trade.trade_no
        if not priced:
            self._note(Code.ENTRY_BASIS_MISSING)
        return trade

    def _reconcile(self, i: KernelIntent, slot: Slot) -> None:
        """Somebody doubts the slot: ask about everything that is not certain."""
        if i.role is not None:
            self._adopt_order(i, slot, i.role)
            return
        self._accept(i)
        for order in slot.trade.orders:
            order.final |= order.lost  # a person's word that they are over
        for order in reversed(slot.trade.orders):
            if not order.ended:
                self._ask(EffectKind.QUERY_ORDER, slot.index, order)
            elif not order.terminal:
                self._ask(EffectKind.FINALISE, slot.index, order)
        self._doubt_again(slot)

    def _adopt_order(self, i: KernelIntent, slot: Slot, role: OrderRole) -> None:
        """An order of this trade that works at the venue and is not in the registry."""
        if not i.venue_order_id or self._order_of_venue(i.venue_order_id):
            raise Refused(Code.INVALID_INTENT, "order")
        if i.quantity_e8 <= 0:
            raise Refused(Code.INVALID_INTENT, "quantity_e8")
        there = slot.entry_order if role is OrderRole.ENTRY else slot.exit_order
        if there is not None and not there.terminal:
            raise Refused(Code.SLOT_BUSY)  # what it filled is not certain yet
        self._accept(i)
        order = self._new_order(slot.trade, role, i.quantity_e8)
        order.venue_id, order.status, order.kind = i.venue_order_id, Status.WORKING, i.order_type
        order.intent_id = i.intent_id
        if role is OrderRole.ENTRY:
            slot.entry_order = order
            order.value_price = _value_price(i)
        else:
            slot.exit_order = order
        self._answer.order_no = order.order_no

    # -- WRITE_OFF ---------------------------------------------------------------------------------

    def _write_off(self, i: KernelIntent, slot: Slot) -> None:
        """A person's word that this quantity is gone, with what the venue's rows gave for it.

        Everything of ours is certain, a position has shown that it is gone, and income has been
        read past that answer.  The rest of the wallet's difference stays unexplained.
        """
        trade = slot.trade
        if not trade.over:
            raise Refused(Code.STALE_STATE, "order")
        gone = slot.size - slot.proven
        if slot.proven_ms < slot.last_fill_ms or not slot.short_ms:
            raise Refused(Code.STALE_STATE, "time")
        if i.quantity_e8 != gone or gone <= 0:
            raise Refused(Code.INVALID_INTENT, "quantity_e8")
        read = self.seeded and self.income_read_ms > self.income_from_ms
        if not read or self.income_read_ms < slot.short_ms + TOLD_MS:
            raise Refused(Code.STALE_STATE, "time")
        order = Order(
            order_no=len(self.orders) + 1,
            trade=trade,
            role=OrderRole.EXIT,
            side=-trade.side,
            intended=gone,
            intent_id=i.intent_id,
            status=Status.FILLED,
            final=True,
            written_off=True,
        )
        level = Level(
            filled=gone,
            fee_rank=2,
            realized=i.carried_realized,
            realized_rank=1,
            figure_quantity=gone,
        )
        self._must_fit(order, level)
        self._accept(i)
        self.orders.append(order)
        trade.orders.append(order)
        self.clients[self.client_id(order)] = order
        self._answer.order_no = order.order_no
        order.last_fill_ms = slot.short_ms
        self._book(order, level)
        trade.written_off = trade.fed = True
        for each in trade.orders:
            each.final |= each.lost
        slot.stale, slot.short_ms = False, 0
        slot.proven = slot.size
        if slot.size == 0:
            slot.drop_latch()
        self._note(Code.WRITTEN_OFF)

    # -- CONTROL -----------------------------------------------------------------------------------

    def _control(self, i: KernelIntent) -> None:
        if not i.intent_id:
            raise Refused(Code.INVALID_INTENT, "intent_id")
        if i.action is None:
            raise Refused(Code.INVALID_INTENT, "reason")
        if i.action is Action.REBASE:
            self._rebase(i)
        elif i.action is Action.LIMIT:
            self._set_limit(i)
        elif i.action is Action.QUARANTINE:
            self._quarantine(i)
        elif i.asset and i.action in (Action.HOLD, Action.RESUME):
            self._hold_symbol(i)
        else:
            self._accept(i)
            self._switch(i.action)

    def _switch(self, action: ControlAction) -> None:
        if action is Action.RESUME:
            if "day loss" in self.frozen:
                self.day_base = self.result()
            self.frozen -= {"hold", "drain", "day loss", "quarantine"}
        elif action is Action.DRAINED:
            self.frozen -= {"drain"}
        elif action is Action.NOT_READY:
            self.frozen.add("not ready")
        elif action is Action.READY:
            self.frozen -= {"not ready"}
        else:
            self.frozen.add("hold" if action is Action.HOLD else "drain")
            self._cancel_entries()

    def _rebase(self, i: KernelIntent) -> None:
        amount = i.amount if i.amount is not None else i.carried_realized or None
        if amount is None:
            raise Refused(Code.INVALID_INTENT, "money")
        in_range(self.adjustments + amount)
        self._accept(i)
        self.adjustments += amount
        self.foreign_sum = 0
        self.flow_total = 0

    def _set_limit(self, i: KernelIntent) -> None:
        if i.limit is None:
            raise Refused(Code.INVALID_INTENT, "limit")
        amount = i.amount if i.amount is not None else i.carried_realized or None
        if amount is None or amount < 0:
            raise Refused(Code.INVALID_INTENT, "money")
        if i.limit is RiskLimit.INTENTS_PER_MINUTE and amount > ENTERS_MAX:
            raise Refused(Code.INVALID_INTENT, "money")
        self._accept(i)
        self.limits[i.limit] = amount

    def _quarantine(self, i: KernelIntent) -> None:
        """An input broke an invariant and was left out: its slot is in doubt, no risk is added."""
        self._accept(i)
        self._note(Code.QUARANTINED)
        self.frozen.add("quarantine")
        slot = self.slots[i.slot_id] if i.slot_id >= 0 else None
        if slot is not None:
            self._go_stale(slot)
            self._settle_slot(slot.index)
        self._cancel_entries()

    def _hold_symbol(self, i: KernelIntent) -> None:
        symbol = plain_symbol(i.asset)
        hold = i.action is Action.HOLD
        full = len(self.held_symbols) == SYMBOL_HOLDS_MAX
        if hold and symbol not in self.held_symbols and full:
            raise Refused(Code.LIMIT_REACHED)
        self._accept(i)
        if not hold:
            self.held_symbols.discard(symbol)
            return
        self.held_symbols.add(symbol)
        for slot in self._slots_of(symbol):
            if slot.entry_order is not None and live(slot.entry_order):
                self._ask(EffectKind.CANCEL, slot.index, slot.entry_order)


def _value_price(i: KernelIntent) -> int:
    """What a quantity of this order is valued at: its limit, else what was thought of the price."""
    limit = i.limit_price_e10 if i.order_type is not OrderType.MARKET else 0
    return limit or i.reference_price_e10
