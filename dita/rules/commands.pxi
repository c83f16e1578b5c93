# ENTER, EXIT, CANCEL, MARK_PRICE, RECONCILE (and adoption), CONTROL.
#
# Each rule checks everything first, then calls accept() and writes.  A rule answers 0 or the code
# of its refusal; what is wrong with a bad field stands in Result.field.

cdef inline int refuse_field(Result* out, int field, int code) noexcept nogil:
    out.field = <uint16_t>field
    return code


cdef inline void accept(State* st, const Input* e, Result* out) noexcept nogil:
    # The point of no return: from here on the input is part of the history.
    if out.accepted:
        return
    out.accepted = 1
    st.event_seq += 1
    if e.received_ms > st.now_ms:
        st.now_ms = e.received_ms
        if st.now_ms // DAY_MS != st.ledger.day:
            st.ledger.day = st.now_ms // DAY_MS     # before anything of this day was applied
            own_result(&st.ledger, &st.ledger.day_base)


# -- ENTER -----------------------------------------------------------------------------------------

cdef int check_contract(const Input* e, Result* out) noexcept nogil:
    if e.tick_e10 <= 0:
        return refuse_field(out, FIELD_TICK, D_INVALID_INTENT)
    if e.step_e8 <= 0:
        return refuse_field(out, FIELD_STEP, D_INVALID_INTENT)
    if e.min_quantity_e8 < 0 or money_sign(e.min_notional) < 0:
        return refuse_field(out, FIELD_MINIMUM, D_INVALID_INTENT)
    if not (0 <= e.taker_fee_e9 < 1_000_000_000 and 0 <= e.maker_fee_e9 < 1_000_000_000):
        return refuse_field(out, FIELD_FEE_RATE, D_INVALID_INTENT)
    return D_OK


cdef int check_legs(const Input* e, Result* out) noexcept nogil:
    cdef int i
    if not 1 <= e.leg_count <= LEGS_MAX:
        return refuse_field(out, FIELD_LEGS, D_INVALID_INTENT)
    for i in range(e.leg_count):
        if not 1 <= e.legs_e9[i] <= 1_000_000_000:
            return refuse_field(out, FIELD_LEGS, D_INVALID_INTENT)
    return D_OK


cdef int check_trade_terms(const State* st, const Input* e, Result* out) noexcept nogil:
    # What ENTER and an adoption share.
    if e.trade_key == 0:
        return refuse_field(out, FIELD_TRADE, D_INVALID_INTENT)
    if e.asset_key == 0:
        return refuse_field(out, FIELD_ASSET, D_INVALID_INTENT)
    if e.side == 0:
        return refuse_field(out, FIELD_SIDE, D_INVALID_INTENT)
    if e.quantity_e8 <= 0:
        return refuse_field(out, FIELD_QUANTITY, D_INVALID_INTENT)
    if not 1 <= e.leverage <= st.config.leverage_cap:
        return refuse_field(out, FIELD_LEVERAGE, D_INVALID_INTENT)
    if check_legs(e, out):
        return D_INVALID_INTENT
    return check_contract(e, out)


cdef int check_enter(const State* st, const Input* e, Result* out) noexcept nogil:
    if e.event_key == 0:
        return refuse_field(out, FIELD_INTENT, D_INVALID_INTENT)
    if check_trade_terms(st, e, out):
        return D_INVALID_INTENT
    if floor_to_step(e.quantity_e8, e.step_e8) != e.quantity_e8:
        return refuse_field(out, FIELD_STEP, D_INVALID_INTENT)      # the venue would truncate it
    if e.price_e10 <= 0:
        return refuse_field(out, FIELD_PRICE, D_INVALID_INTENT)
    if e.order_type > 0 and (e.last_price_e10 <= 0
                             or floor_to_step(e.last_price_e10, e.tick_e10) != e.last_price_e10):
        return refuse_field(out, FIELD_LIMIT_PRICE, D_INVALID_INTENT)
    if e.quantity_e8 < e.min_quantity_e8:
        return refuse_field(out, FIELD_MINIMUM, D_INVALID_INTENT)
    if money_cmp(money_product(e.price_e10, e.quantity_e8), e.min_notional) < 0:
        return refuse_field(out, FIELD_MINIMUM, D_INVALID_INTENT)
    return D_OK


cdef int asset_free(const State* st, const Input* e) noexcept nogil:
    # One slot per symbol, in hedge mode per symbol and side; and nothing of somebody else's there.
    cdef int32_t i
    cdef int32_t left = st.active
    cdef const Trade* t
    for i in range(st.config.slots):
        if left == 0:
            break
        if st.slots[i].trade < 0:
            continue
        left -= 1
        t = &st.trades[st.slots[i].trade]
        if t.trade_key == e.trade_key:
            return D_SLOT_BUSY
        if t.asset_key == e.asset_key and (not st.config.hedge or t.side == e.side):
            return D_SLOT_BUSY
    if foreign_on(st, foreign_key(st, e.asset_key, e.side)) != 0:
        return D_FOREIGN_POSITION
    return D_OK


cdef int entries_allowed(const State* st, const Input* e) noexcept nogil:
    cdef const Ledger* k = &st.ledger
    cdef int64_t now = e.received_ms if e.received_ms > st.now_ms else st.now_ms
    if k.frozen:
        return D_ENTRIES_FROZEN
    if held_at(st, e.asset_key) >= 0:
        return D_SYMBOL_HELD
    if st.errors_count > 0 and errors_wait_ms(st, ERRORS_OF_A_SLOT, now) > 0:
        return D_VENUE_ERRORS           # the tries that are left are for exits
    if st.config.balance_max_age_ms > 0:
        if not k.anchored or now - k.anchor_received_ms > st.config.balance_max_age_ms:
            return D_BALANCE_STALE
    if k.anchored and k.ambiguous_count > 0:
        return D_ANCHOR_NOT_QUIET
    return D_OK


cdef void trade_terms(Trade* t, const Input* e) noexcept nogil:
    cdef int i
    t.trade_key = e.trade_key
    t.asset_key = e.asset_key
    t.side = e.side
    t.leverage = e.leverage
    t.tick_e10 = e.tick_e10
    t.step_e8 = e.step_e8
    t.min_quantity_e8 = e.min_quantity_e8
    t.min_notional = e.min_notional
    t.taker_fee_e9 = e.taker_fee_e9
    t.maker_fee_e9 = e.maker_fee_e9
    t.leg_count = e.leg_count
    for i in range(e.leg_count):
        t.legs_e9[i] = e.legs_e9[i]


cdef int enter(State* st, const Input* e, int32_t slot, Result* out) except -1 nogil:
    cdef int code = check_enter(st, e, out)
    cdef int32_t trade
    cdef int32_t order
    cdef Order* o
    cdef Request* r
    if code == D_OK:
        code = asset_free(st, e)
    if code == D_OK:
        code = entries_allowed(st, e)
    if code == D_OK:
        code = within_limits(st, e, out)
    if code == D_OK and not room_for_entry(st):
        code = D_LIMIT_REACHED
    if code != D_OK:
        return code
    accept(st, e, out)
    trade = trade_new(st)
    trade_terms(&st.trades[trade], e)
    slot_open(st, slot, trade)
    order = order_new(st, trade, ENTRY, e.side, e.quantity_e8)
    o = &st.orders[order]
    o.intent_key = e.event_key
    o.order_type = e.order_type
    o.limit_price_e10 = e.last_price_e10 if e.order_type > 0 else 0
    o.expires_ms = e.limit_ms
    o.value_price_e10 = value_price(e)
    enter_note(st)
    if e.wait_ms > 0:
        o.deadline_ms = st.now_ms + e.wait_ms
    st.slots[slot].entry_order = order
    out.trade_no = st.trades[trade].trade_no
    out.order_no = o.order_no
    r = request(st, DO_SUBMIT, slot, order, -1)
    r.figure.order[0] = o.intended_e8
    r.figure.order[1] = o.limit_price_e10
    return D_OK


# -- EXIT ------------------------------------------------------------------------------------------

cdef bint is_below_minimum(const Slot* s, const Trade* t, int64_t quantity_e8) noexcept nogil:
    # By the contract's minimum quantity, or its notional at the mark, else at the entry's price.
    cdef money_t notional
    if quantity_e8 < t.min_quantity_e8 or quantity_e8 <= 0:
        return True
    if s.mark_price_e10 > 0:
        notional = money_product(s.mark_price_e10, quantity_e8)
    elif t.sums.entered_e8 > 0 and t.sums.entry_priced_e8 == t.sums.entered_e8:
        if quantity_e8 >= t.sums.entered_e8:
            return False
        notional = money_share(t.sums.entry_cost, quantity_e8, t.sums.entered_e8)
    else:
        return False
    return money_cmp(notional, t.min_notional) < 0


cdef int64_t leg_goal(const Slot* s, const Trade* t, int64_t base, int32_t ratio_e9) noexcept nogil:
    # A leg is a share of what there is beyond `base`, floored to the step.  A leg that the venue
    # would refuse as too small, and one that takes everything, is ALL.
    cdef int64_t left = t.sums.entered_e8 - base
    cdef int64_t quantity
    if left <= 0:
        return ALL
    quantity = floor_to_step(quantity_share(left, ratio_e9), t.step_e8)
    if quantity >= left or is_below_minimum(s, t, quantity):
        return ALL
    return base + quantity


cdef int64_t asked_already(const Slot* s, const Trade* t) noexcept nogil:
    # The cumulative exited quantity from which the next EXIT counts.
    if s.latched and s.exit_goal_e8 > t.sums.exited_e8:
        return s.exit_goal_e8
    return t.sums.exited_e8


cdef int check_exit_quantity(const Slot* s, const Trade* t, const Input* e, Result* out) noexcept nogil:
    # A typed quantity is done as typed or refused; only more than there is becomes all of it.
    cdef int64_t left
    if e.quantity_e8 == 0 or (s.latched and s.exit_goal_e8 == ALL):
        return D_OK
    left = t.sums.entered_e8 - asked_already(s, t)
    if e.quantity_e8 >= left:
        return D_OK
    if floor_to_step(e.quantity_e8, t.step_e8) != e.quantity_e8:
        return refuse_field(out, FIELD_STEP, D_INVALID_INTENT)
    if e.quantity_e8 < t.min_quantity_e8:
        return refuse_field(out, FIELD_MINIMUM, D_INVALID_INTENT)
    return D_OK


cdef void exit_goal(Slot* s, const Trade* t, const Input* e) noexcept nogil:
    # What this EXIT wants out, as a level: a typed quantity, the next leg, or everything.
    cdef int64_t base
    if s.latched and s.exit_goal_e8 == ALL:
        return
    base = asked_already(s, t)
    s.exit_start_e8 = t.sums.exited_e8
    if e.quantity_e8 == 0 or not s.latched:
        s.leg_before = s.leg
    s.explicit = 0 < e.quantity_e8 < t.sums.entered_e8 - base
    s.goal_ratio_e9 = 0
    s.goal_base_e8 = base
    if e.quantity_e8 > 0:
        latch_exit(s, base + e.quantity_e8 if s.explicit else ALL)
        return
    if s.leg + 1 >= t.leg_count:
        latch_exit(s, ALL)
        return
    s.goal_ratio_e9 = t.legs_e9[s.leg]
    latch_exit(s, leg_goal(s, t, base, s.goal_ratio_e9))
    s.leg += 1


cdef bint replaces_limit(const State* st, const Slot* s, const Input* e) noexcept nogil:
    # A MARKET exit does not wait behind a LIMIT one that may rest for ever.
    cdef const Order* o
    if e.order_type != 0 or not is_live(st, s.exit_order):
        return False
    o = &st.orders[s.exit_order]
    return o.order_type == 1 and o.deadline_ms == 0 and not o.flags & UNWANTED


cdef int exit_(State* st, const Input* e, int32_t slot, Result* out) except -1 nogil:
    cdef Slot* s = &st.slots[slot]
    cdef Trade* t = &st.trades[s.trade]
    cdef bint everything = s.latched and s.exit_goal_e8 == ALL
    cdef bint urgent = e.flags & URGENT
    if e.event_key == 0:
        return refuse_field(out, FIELD_INTENT, D_INVALID_INTENT)
    if e.order_type > 0 and (e.last_price_e10 <= 0
                             or floor_to_step(e.last_price_e10, t.tick_e10) != e.last_price_e10):
        return refuse_field(out, FIELD_LIMIT_PRICE, D_INVALID_INTENT)
    if check_exit_quantity(s, t, e, out):
        return D_INVALID_INTENT
    if everything and not urgent and not replaces_limit(st, s, e):
        return D_DUPLICATE_EVENT        # everything is on its way out already
    accept(st, e, out)
    if is_live(st, s.exit_order) and st.orders[s.exit_order].order_type == 1:
        if urgent or (everything and replaces_limit(st, s, e)):
            cancel_order(st, slot, s.exit_order)
    exit_goal(s, t, e)
    s.exit_intent_key = e.event_key
    s.next_child = 0
    s.exit_type = e.order_type
    s.exit_price_e10 = e.last_price_e10 if e.order_type > 0 else 0
    s.exit_wait_ms = e.wait_ms
    if everything and e.order_type == 0:
        s.market_e8 = ALL
    s.flags &= <uint8_t>(~DUST)
    s.dust_e8 = 0
    s.urgent = urgent
    forget_rejects(s)
    if urgent:
        s.retry_ms = 0
    if is_live(st, s.entry_order):
        cancel_order(st, slot, s.entry_order)
    if s.flags & STALE:
        note(out, D_EXIT_LATCHED)
    return D_OK


# -- CANCEL, MARK_PRICE ----------------------------------------------------------------------------

cdef int cancel(State* st, const Input* e, int32_t slot, Result* out) except -1 nogil:
    # EXIT_WORKING: the exit is taken back, and with it the latch.  ENTRY_WORKING: the entry is, and
    # an exit that was asked for stays wanted.
    cdef Slot* s = &st.slots[slot]
    if e.event_key == 0:
        return refuse_field(out, FIELD_INTENT, D_INVALID_INTENT)
    accept(st, e, out)
    if s.state == ENTRY_WORKING:
        return cancel_order(st, slot, s.entry_order)
    if st.trades[s.trade].sums.exited_e8 == s.exit_start_e8:
        s.leg = s.leg_before            # nothing of this leg went out: it is still to come
    latch_drop(s)
    if is_live(st, s.exit_order):
        out.order_no = st.orders[s.exit_order].order_no
        cancel_order(st, slot, s.exit_order)
    return D_OK


cdef int mark(State* st, const Input* e, int32_t slot, Result* out) except -1 nogil:
    # A mark values what is open; it never becomes an entry basis.
    if e.price_e10 <= 0:
        return refuse_field(out, FIELD_PRICE, D_INVALID_INTENT)
    accept(st, e, out)
    st.slots[slot].mark_price_e10 = e.price_e10
    if e.slot < 0 and e.trade_key == 0:
        mark_others(st, slot, e.price_e10)
    return D_OK


cdef void mark_others(State* st, int32_t slot, int64_t price_e10) noexcept nogil:
    # A symbol's mark is that of all its slots: two in hedge mode, or one beside a recovery slot.
    cdef int32_t i
    cdef int32_t left = st.active
    for i in range(st.config.slots):
        if left == 0:
            break
        if st.slots[i].trade < 0:
            continue
        left -= 1
        if st.slots[i].state != POSITION_CLOSED:
            if st.trades[st.slots[i].trade].asset_key == st.trades[st.slots[slot].trade].asset_key:
                st.slots[i].mark_price_e10 = price_e10
                st.values[i].known = 0


# -- RECONCILE -------------------------------------------------------------------------------------

cdef int adopt(State* st, const Input* e, int32_t slot, Result* out) except -1 nogil:
    # A position of ours that the kernel does not know gets a slot.  What was realized before is
    # carried: it is part of the trade's figure and is never settled again.
    cdef int32_t trade
    cdef Trade* t
    if e.event_key == 0:
        return refuse_field(out, FIELD_INTENT, D_INVALID_INTENT)
    if check_trade_terms(st, e, out):
        return D_INVALID_INTENT
    if money_sign(e.cost) < 0:
        return refuse_field(out, FIELD_MONEY, D_INVALID_INTENT)
    if asset_free(st, e) == D_SLOT_BUSY:
        return D_SLOT_BUSY
    if not room_for_entry(st):
        return D_LIMIT_REACHED
    accept(st, e, out)
    trade = trade_new(st)
    t = &st.trades[trade]
    trade_terms(t, e)
    t.flags |= ADOPTED
    t.sums.entered_e8 = e.quantity_e8
    if money_sign(e.cost) > 0:
        t.sums.entry_cost = e.cost
        t.sums.entry_priced_e8 = e.quantity_e8
    t.carried = e.realized
    t.realized = e.realized
    slot_open(st, slot, trade)
    foreign_set(st, foreign_key(st, e.asset_key, e.side), 0, 0)
    out.trade_no = t.trade_no
    if t.sums.entry_priced_e8 == 0:
        note(out, D_ENTRY_BASIS_MISSING)
    return D_OK


cdef int adopt_order(State* st, const Input* e, int32_t slot, Result* out) except -1 nogil:
    # An order of this trade that works at the venue and is not in the registry.
    cdef Slot* s = &st.slots[slot]
    cdef Trade* t = &st.trades[s.trade]
    cdef int32_t order
    if e.venue_key == 0 or order_by_venue(st, e.venue_key) >= 0:
        return refuse_field(out, FIELD_ORDER, D_INVALID_INTENT)
    if e.quantity_e8 <= 0:
        return refuse_field(out, FIELD_QUANTITY, D_INVALID_INTENT)
    order = s.entry_order if e.role == ENTRY else s.exit_order
    if order >= 0 and not is_terminal(&st.orders[order]):
        return D_SLOT_BUSY              # what it filled is not certain yet
    if not room_beside_exits(st):
        return D_LIMIT_REACHED
    accept(st, e, out)
    order = order_new(st, s.trade, e.role, t.side if e.role == ENTRY else -t.side, e.quantity_e8)
    order_bind(st, order, e.venue_key)
    st.orders[order].status = WORKING
    st.orders[order].order_type = e.order_type
    st.orders[order].intent_key = e.event_key
    if e.role == ENTRY:
        s.entry_order = order
    else:
        s.exit_order = order
    out.order_no = st.orders[order].order_no
    return D_OK


cdef int reconcile(State* st, const Input* e, int32_t slot, Result* out) except -1 nogil:
    # Somebody doubts the slot: ask the venue about everything that is not certain.
    cdef Slot* s = &st.slots[slot]
    cdef int32_t order
    if e.event_key == 0:
        return refuse_field(out, FIELD_INTENT, D_INVALID_INTENT)
    if e.role != 0:
        return adopt_order(st, e, slot, out)
    accept(st, e, out)
    finalise_lost(st, &st.trades[s.trade])      # a person's word that they are over
    order = st.trades[s.trade].orders
    while order >= 0:
        if not is_ended(&st.orders[order]):
            request(st, DO_QUERY_ORDER, slot, order, -1)
        elif not is_terminal(&st.orders[order]):
            request(st, DO_FINALISE, slot, order, -1)
        order = st.orders[order].next
    return doubt_again(st, slot)


# -- CONTROL ---------------------------------------------------------------------------------------

cdef int32_t held_at(const State* st, uint64_t asset_key) noexcept nogil:
    cdef int32_t i
    for i in range(st.symbol_holds_count):
        if st.symbol_holds[i] == asset_key:
            return i
    return -1


cdef int hold_symbol(State* st, const Input* e, Result* out) except -1 nogil:
    # HOLD and RESUME of one symbol: its working entry is taken back, its exits go on.
    cdef int32_t at = held_at(st, e.asset_key)
    cdef int32_t i
    cdef int32_t left = st.active
    if e.reason == CONTROL_HOLD and at < 0 and st.symbol_holds_count == SYMBOL_HOLDS_MAX:
        return D_LIMIT_REACHED
    accept(st, e, out)
    if e.reason == CONTROL_RESUME:
        if at >= 0:
            st.symbol_holds_count -= 1
            st.symbol_holds[at] = st.symbol_holds[st.symbol_holds_count]
        return D_OK
    if at < 0:
        st.symbol_holds[st.symbol_holds_count] = e.asset_key
        st.symbol_holds_count += 1
    for i in range(st.config.slots):
        if left == 0:
            break
        if st.slots[i].trade >= 0:
            left -= 1
            if st.trades[st.slots[i].trade].asset_key == e.asset_key:
                if is_live(st, st.slots[i].entry_order):
                    cancel_order(st, i, st.slots[i].entry_order)
    return D_OK


cdef int rebase(State* st, const Input* e, Result* out) except -1 nogil:
    cdef money_t total = 0
    if not e.flags & HAS_REALIZED:
        return refuse_field(out, FIELD_MONEY, D_INVALID_INTENT)
    if money_add(st.ledger.adjustments, e.realized, &total):
        return D_ARITHMETIC_LIMIT
    accept(st, e, out)
    st.ledger.adjustments = total
    st.ledger.foreign = 0       # it is part of what was booked
    st.ledger.flow_total = 0
    return D_OK


cdef int set_limit(State* st, const Input* e, Result* out) except -1 nogil:
    if not LIMIT_ORDER_NOTIONAL <= e.role <= LIMIT_DAY_LOSS:
        return refuse_field(out, FIELD_LIMIT, D_INVALID_INTENT)
    if not e.flags & HAS_REALIZED or money_sign(e.realized) < 0:
        return refuse_field(out, FIELD_MONEY, D_INVALID_INTENT)
    if e.role == LIMIT_INTENTS_PER_MINUTE and money_cmp(e.realized, ENTERS_KEPT) > 0:
        return refuse_field(out, FIELD_MONEY, D_INVALID_INTENT)
    accept(st, e, out)
    st.limits[e.role] = e.realized
    return D_OK


cdef int quarantine(State* st, const Input* e, Result* out) except -1 nogil:
    # An input broke an invariant and was left out: its slot is in doubt, and a person has to look.
    accept(st, e, out)
    note(out, D_QUARANTINED)
    st.ledger.frozen |= FREEZE_QUARANTINE
    if e.slot >= 0 and st.slots[e.slot].trade >= 0:
        out.slot = e.slot
        go_stale(st, e.slot)
        settle_slot(st, e.slot, out)
    return cancel_entries(st)


cdef int control(State* st, const Input* e, Result* out) except -1 nogil:
    cdef Ledger* k = &st.ledger
    cdef int32_t frozen = k.frozen
    if e.event_key == 0:
        return refuse_field(out, FIELD_INTENT, D_INVALID_INTENT)
    if not CONTROL_HOLD <= e.reason <= CONTROL_QUARANTINE:
        return refuse_field(out, FIELD_REASON, D_INVALID_INTENT)
    if e.reason == CONTROL_LIMIT:
        return set_limit(st, e, out)
    if e.reason == CONTROL_QUARANTINE:
        return quarantine(st, e, out)
    if e.reason == CONTROL_REBASE:
        return rebase(st, e, out)
    if e.asset_key != 0 and (e.reason == CONTROL_HOLD or e.reason == CONTROL_RESUME):
        return hold_symbol(st, e, out)
    accept(st, e, out)
    if e.reason == CONTROL_RESUME:
        k.frozen &= ~(FREEZE_HOLD | FREEZE_DRAIN | FREEZE_DAY_LOSS | FREEZE_QUARANTINE)
        if frozen & FREEZE_DAY_LOSS:
            own_result(k, &k.day_base)  # a new budget: the loss until now was accepted
    elif e.reason == CONTROL_DRAINED:
        k.frozen &= ~FREEZE_DRAIN
    elif e.reason == CONTROL_NOT_READY:
        k.frozen |= FREEZE_NOT_READY
    elif e.reason == CONTROL_READY:
        k.frozen &= ~FREEZE_NOT_READY
    else:
        k.frozen |= FREEZE_HOLD if e.reason == CONTROL_HOLD else FREEZE_DRAIN
        return cancel_entries(st)
    return D_OK
