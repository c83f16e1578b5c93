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
    for i in range(st.foreign_count):
        if st.foreign[i].asset_key == foreign_key(st, e.asset_key, e.side):
            return D_FOREIGN_POSITION
    return D_OK


cdef int entries_allowed(const State* st, const Input* e) noexcept nogil:
    cdef const Ledger* k = &st.ledger
    cdef int64_t now = e.received_ms if e.received_ms > st.now_ms else st.now_ms
    if k.frozen:
        return D_ENTRIES_FROZEN
    if held_at(st, e.asset_key) >= 0:
        return D_SYMBOL_HELD
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
    if e.wait_ms > 0:
        o.deadline_ms = st.now_ms + e.wait_ms
    st.slots[slot].entry_order = order
    out.trade_no = st.trades[trade].trade_no
    out.order_no = o.order_no
    r = request(st, DO_SUBMIT, slot, order, -1)
    r.quantity_e8 = o.intended_e8
    r.price_e10 = o.limit_price_e10
    return D_OK


# -- EXIT ------------------------------------------------------------------------------------------

cdef int64_t next_goal(const Slot* s, const Trade* t, const Input* e) noexcept nogil:
    # The cumulative exited quantity that this EXIT asks for.  Ratios are of what is left; the final
    # leg, a leg below the venue's minimum and anything more than what is left is ALL of it.
    cdef int64_t base = t.sums.exited_e8
    cdef int64_t left
    cdef int64_t quantity
    if s.latched and s.exit_goal_e8 > base:
        base = s.exit_goal_e8
    left = t.sums.entered_e8 - base
    if left <= 0:
        return ALL
    if e.quantity_e8 > 0:
        if e.quantity_e8 >= left:
            return ALL
        quantity = floor_to_step(e.quantity_e8, t.step_e8)
    elif s.leg + 1 >= t.leg_count:
        return ALL
    else:
        quantity = floor_to_step(quantity_share(left, t.legs_e9[s.leg]), t.step_e8)
    if quantity < t.min_quantity_e8 or quantity <= 0 or quantity >= left:
        return ALL
    return base + quantity


cdef int exit_(State* st, const Input* e, int32_t slot, Result* out) except -1 nogil:
    cdef Slot* s = &st.slots[slot]
    cdef Trade* t = &st.trades[s.trade]
    cdef int64_t goal
    if e.event_key == 0:
        return refuse_field(out, FIELD_INTENT, D_INVALID_INTENT)
    if e.order_type > 0 and (e.last_price_e10 <= 0
                             or floor_to_step(e.last_price_e10, t.tick_e10) != e.last_price_e10):
        return refuse_field(out, FIELD_LIMIT_PRICE, D_INVALID_INTENT)
    if s.latched and s.exit_goal_e8 == ALL and not e.flags & URGENT:
        return D_DUPLICATE_EVENT        # everything is on its way out already
    accept(st, e, out)
    if s.latched and s.exit_goal_e8 == ALL:
        goal = ALL
    else:
        goal = next_goal(s, t, e)
        s.leg_before = s.leg
        s.exit_start_e8 = t.sums.exited_e8
        if s.leg + 1 < t.leg_count:
            s.leg += 1
    latch_exit(s, goal)
    s.exit_intent_key = e.event_key
    s.next_child = 0
    s.exit_type = e.order_type
    s.exit_price_e10 = e.last_price_e10 if e.order_type > 0 else 0
    s.exit_wait_ms = e.wait_ms
    s.flags &= <uint8_t>(~DUST)
    if e.flags & URGENT:
        s.retry_ms = 0
    if is_live(st, s.entry_order):
        cancel_order(st, slot, s.entry_order)
    if e.flags & URGENT and is_live(st, s.exit_order) and st.orders[s.exit_order].order_type == 1:
        cancel_order(st, slot, s.exit_order)
    if s.flags & STALE:
        note(out, D_EXIT_LATCHED)
    return D_OK


# -- CANCEL, MARK_PRICE ----------------------------------------------------------------------------

cdef int cancel(State* st, const Input* e, int32_t slot, Result* out) except -1 nogil:
    # EXIT_WORKING: the exit is taken back, and with it the latch.  ENTRY_WORKING: the entry is.
    cdef Slot* s = &st.slots[slot]
    if e.event_key == 0:
        return refuse_field(out, FIELD_INTENT, D_INVALID_INTENT)
    accept(st, e, out)
    if s.state == ENTRY_WORKING:
        latch_drop(s)
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
    return D_OK


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
    foreign_set(st, foreign_key(st, e.asset_key, e.side), 0)
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
    if is_live(st, s.entry_order if e.role == ENTRY else s.exit_order):
        return D_SLOT_BUSY
    if st.order_free < 0 and st.retired_live == 0:
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
    order = st.trades[s.trade].orders
    while order >= 0:
        if not is_ended(&st.orders[order]):
            request(st, DO_QUERY_ORDER, slot, order, -1)
        elif not is_terminal(&st.orders[order]):
            request(st, DO_FINALISE, slot, order, -1)
        order = st.orders[order].next
    return go_stale(st, slot)


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
    return D_OK


cdef int control(State* st, const Input* e, Result* out) except -1 nogil:
    cdef Ledger* k = &st.ledger
    if e.event_key == 0:
        return refuse_field(out, FIELD_INTENT, D_INVALID_INTENT)
    if not CONTROL_HOLD <= e.reason <= CONTROL_READY:
        return refuse_field(out, FIELD_REASON, D_INVALID_INTENT)
    if e.reason == CONTROL_REBASE:
        return rebase(st, e, out)
    if e.asset_key != 0 and (e.reason == CONTROL_HOLD or e.reason == CONTROL_RESUME):
        return hold_symbol(st, e, out)
    accept(st, e, out)
    if e.reason == CONTROL_RESUME:
        k.frozen &= ~(FREEZE_HOLD | FREEZE_DRAIN)
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
