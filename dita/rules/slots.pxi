# A slot's state as a function of its facts; when an exit child goes out; when a slot is free.
#
# The state is never set by an event: it follows from the orders that are live, from the levels of
# the trade and from the exit latch.  So no order of arrival can leave a slot in a wrong state; the
# table only has to allow what follows.

cdef inline int64_t size_of(const Trade* t) noexcept nogil:
    # noexcept: all are non-negative, and what was returned is part of what was exited.
    return t.sums.entered_e8 - (t.sums.exited_e8 - t.returned_e8)


cdef inline bint is_live(const State* st, int32_t order) noexcept nogil:
    return order >= 0 and not is_ended(&st.orders[order])


cdef inline bint exit_outstanding(const Slot* s, const Trade* t) noexcept nogil:
    if not s.latched or size_of(t) <= 0:
        return False
    return s.exit_goal_e8 == ALL or t.sums.exited_e8 < s.exit_goal_e8


cdef inline int state_of(const State* st, const Slot* s) noexcept nogil:
    cdef const Trade* t
    if s.trade < 0:
        return IDLE
    t = &st.trades[s.trade]
    if s.flags & STALE or size_of(t) < 0:
        return RECONCILING
    if is_live(st, s.exit_order) or exit_outstanding(s, t):
        return EXIT_WORKING
    if is_live(st, s.entry_order):
        return ENTRY_WORKING
    if size_of(t) > 0:
        return POSITION_OPEN
    if t.open_orders > 0:
        return POSITION_CLOSED
    return IDLE


cdef void slot_clear(Slot* s) noexcept nogil:
    memset(s, 0, sizeof(Slot))
    s.trade = -1
    s.entry_order = -1
    s.exit_order = -1
    s.state = IDLE


cdef void slot_open(State* st, int32_t slot, int32_t trade) noexcept nogil:
    cdef Slot* s = &st.slots[slot]
    slot_clear(s)
    st.values[slot].known = 0
    s.trade = trade
    st.trades[trade].slot = slot
    st.trades[trade].last_slot = slot
    st.active += 1


cdef int go_stale(State* st, int32_t slot) except -1 nogil:
    # Asked once, when doubt begins: an answer that disagrees must not ask for the next one.
    if not st.slots[slot].flags & STALE:
        doubt(st, slot)
        request(st, DO_QUERY_POSITION, slot, -1, st.slots[slot].trade)
    return 0


cdef void doubt(State* st, int32_t slot) noexcept nogil:
    cdef Slot* s = &st.slots[slot]
    if s.flags & STALE:
        return
    s.flags |= STALE
    s.stale_ms = st.now_ms
    s.futile_ms = 0
    s.proven_e8 = size_of(&st.trades[s.trade])


cdef int doubt_again(State* st, int32_t slot) except -1 nogil:
    # Somebody has a reason to ask although the slot is in doubt already.
    if st.slots[slot].flags & STALE:
        request(st, DO_QUERY_POSITION, slot, -1, st.slots[slot].trade)
        return 0
    return go_stale(st, slot)


cdef void latch_exit(Slot* s, int64_t goal_e8) noexcept nogil:
    s.latched = 1
    s.exit_goal_e8 = goal_e8


cdef void latch_drop(Slot* s) noexcept nogil:
    s.latched = 0
    s.exit_goal_e8 = 0
    s.goal_ratio_e9 = 0
    s.retry_ms = 0
    s.urgent = 0
    s.explicit = 0
    s.market_e8 = 0
    s.dust_e8 = 0


cdef void forget_rejects(Slot* s) noexcept nogil:
    s.rejects = 0
    s.error_code = 0


# -- exit children ---------------------------------------------------------------------------------

cdef int64_t venue_wait_ms(const State* st, const Slot* s) noexcept nogil:
    # Until when the venue's count of equal errors keeps this slot's exit back; 0: it does not.
    cdef int64_t everybody = errors_wait_ms(st, ERRORS_OF_ALL, st.now_ms)
    cdef int64_t mine = 0
    if s.error_code != 0 and not s.urgent:
        mine = errors_below_ms(st, s.error_code, ERRORS_OF_A_SLOT, st.now_ms)
    return mine if mine > everybody else everybody


cdef inline bint is_dust(const Slot* s, const Trade* t) noexcept nogil:
    return s.flags & DUST and size_of(t) <= s.dust_e8


cdef inline bint is_futile(const Slot* s) noexcept nogil:
    # The venue shows no position of ours: a reduce-only exit costs nothing if that is right.
    return s.flags & STALE and s.proven_e8 <= 0


cdef inline int64_t exit_wait_ms(const State* st, const Slot* s) noexcept nogil:
    # When the next exit child may go as far as time decides; 0: now.
    cdef int64_t at = s.retry_ms
    cdef int64_t other
    if s.flags & STALE and s.stale_ms + STALE_EXIT_MS > at:
        at = s.stale_ms + STALE_EXIT_MS
    if is_futile(s) and s.futile_ms > at:
        at = s.futile_ms
    if st.errors_count > 0:
        other = venue_wait_ms(st, s)
        at = other if other > at else at
    return at if at > st.now_ms else 0


cdef inline bint exit_may_go(const State* st, const Slot* s, const Trade* t) noexcept nogil:
    # One live child; a new one only when the old one's final quantity is certain.
    cdef const Order* old
    if not exit_outstanding(s, t) or is_dust(s, t):
        return False
    if s.exit_order >= 0:
        old = &st.orders[s.exit_order]
        if not is_ended(old):
            return False
        if not old.flags & FINAL and old.level.filled_e8 < old.intended_e8:
            return False
    return exit_wait_ms(st, s) == 0


@cython.cdivision(True)
cdef inline int64_t floor_to_step(int64_t quantity_e8, int64_t step_e8) noexcept nogil:
    # Both non-negative: C's division is the floor.
    return quantity_e8 - quantity_e8 % step_e8 if step_e8 > 0 else quantity_e8


cdef inline int64_t market_left(const Slot* s, const Trade* t) noexcept nogil:
    # What has been sent once already, or is to go at any price: MARKET, whatever a later EXIT asks.
    if s.market_e8 == ALL:
        return ALL
    return floor_to_step(s.market_e8 - t.sums.exited_e8, t.step_e8) if s.market_e8 > t.sums.exited_e8 else 0


cdef inline int64_t unfilled(const Order* o) noexcept nogil:
    # What an order can still fill, as far as we know.
    if o.flags & (FINAL | EXTERNAL) or o.level.filled_e8 >= o.intended_e8:
        return 0
    return o.intended_e8 - o.level.filled_e8


cdef int64_t exits_out(const State* st, const Trade* t) noexcept nogil:
    # Quantity of exits that may still be filled: sent, or ended without their final figures.
    cdef int32_t order = t.orders
    cdef int64_t total = 0
    while order >= 0:
        if st.orders[order].role == EXIT:
            total = quantity_sum(total, unfilled(&st.orders[order]))
        order = st.orders[order].next
    return total


cdef int64_t room_on_symbol(const State* st, const Trade* t) noexcept nogil:
    # One-way: all exits of a symbol together take at most its net position.  ALL: nothing else is
    # open there.
    cdef int32_t i
    cdef int32_t left = st.active
    cdef int64_t net = 0
    cdef int others = 0
    cdef const Trade* other
    if st.config.hedge:
        return ALL
    for i in range(st.config.slots):
        if left == 0:
            break
        if st.slots[i].trade < 0:
            continue
        left -= 1
        other = &st.trades[st.slots[i].trade]
        if other.asset_key != t.asset_key:
            continue
        net = quantity_sum(net, t.side * other.side * size_of(other))
        if other.trade_no != t.trade_no:
            others += 1
            if other.side == t.side:
                net = quantity_sum(net, -exits_out(st, other))
    if others == 0:
        return ALL
    return net if net > 0 else 0


cdef int64_t exit_quantity(const State* st, const Slot* s, const Trade* t) noexcept nogil:
    cdef int64_t left = size_of(t) - exits_out(st, t)
    cdef int64_t quantity = left
    cdef int64_t room
    if s.exit_goal_e8 != ALL and s.exit_goal_e8 - t.sums.exited_e8 < left:
        quantity = s.exit_goal_e8 - t.sums.exited_e8
    if 0 < market_left(s, t) < quantity:
        quantity = market_left(s, t)
    if s.flags & STALE and 0 < s.proven_e8 < quantity:
        quantity = s.proven_e8
    if st.active > 1:
        room = room_on_symbol(st, t)
        quantity = room if room < quantity else quantity
    if quantity < size_of(t):
        quantity = floor_to_step(quantity, t.step_e8)
    return quantity


cdef int64_t exit_wanted(const Slot* s, const Trade* t) noexcept nogil:
    # What the latch still wants, whatever stands in its way.
    cdef int64_t wanted = size_of(t)
    if s.exit_goal_e8 != ALL and s.exit_goal_e8 - t.sums.exited_e8 < wanted:
        wanted = floor_to_step(s.exit_goal_e8 - t.sums.exited_e8, t.step_e8)
    return wanted


cdef inline int plan_exit(State* st, int32_t slot, Result* out) except -1 nogil:
    cdef Slot* s = &st.slots[slot]
    cdef Trade* t = &st.trades[s.trade]
    cdef int64_t quantity
    cdef int32_t order
    if not exit_may_go(st, s, t):
        return 0
    quantity = exit_quantity(st, s, t)
    if quantity <= 0:
        if not s.flags & STALE and exit_wanted(s, t) <= 0:
            latch_drop(s)
        elif exits_out(st, t) == 0:     # else another exit may still take it: its end decides
            s.retry_ms = st.now_ms + FUTILE_MS
        return 0
    order = order_new(st, s.trade, EXIT, -t.side, quantity)
    if order < 0:
        s.retry_ms = st.now_ms + BACKOFF_MS
        note(out, D_EXIT_DEFERRED)
        return 0
    s.exit_order = order
    if is_futile(s):
        s.futile_ms = st.now_ms + FUTILE_MS
    submit_exit(st, slot, &st.orders[order])
    s.flags &= <uint8_t>(~DUST)
    return 0


cdef int submit_exit(State* st, int32_t slot, Order* o) except -1 nogil:
    # A child is worked as its EXIT asked; what has to be sent again goes as MARKET.
    cdef Slot* s = &st.slots[slot]
    cdef Trade* t = &st.trades[s.trade]
    cdef Request* r
    if market_left(s, t) == 0:
        o.order_type = s.exit_type
        o.limit_price_e10 = s.exit_price_e10
        if s.exit_wait_ms > 0:
            o.deadline_ms = st.now_ms + s.exit_wait_ms
        s.market_e8 = ALL if s.exit_goal_e8 == ALL else t.sums.exited_e8 + o.intended_e8
    o.intent_key = s.exit_intent_key
    o.child = s.next_child
    s.next_child += 1
    if s.exit_intent_key == 0:
        t.recovery_child = s.next_child
    r = request(st, DO_SUBMIT, slot, s.exit_order, -1)
    r.figure.order[0] = o.intended_e8
    r.figure.order[1] = o.limit_price_e10
    return 0


cdef int cancel_order(State* st, int32_t slot, int32_t order) except -1 nogil:
    # Kept with the order: the request can be lost, or die with the process before it was sent.
    st.orders[order].flags |= UNWANTED
    request(st, DO_CANCEL, slot, order, -1)
    return 0


# -- certainty -------------------------------------------------------------------------------------

cdef bint is_certain(const State* st, const Trade* t) noexcept nogil:
    # Every order of ours has ended, and the venue's own records have told its final quantity.
    cdef int32_t order = t.orders
    while order >= 0:
        if not st.orders[order].flags & EXTERNAL and not is_terminal(&st.orders[order]):
            return False
        order = st.orders[order].next
    return True


cdef bint is_over(const State* st, const Trade* t) noexcept nogil:
    # Certain but for orders of which the venue has no record any more.
    cdef int32_t order = t.orders
    while order >= 0:
        if not st.orders[order].flags & (EXTERNAL | LOST) and not is_terminal(&st.orders[order]):
            return False
        order = st.orders[order].next
    return True


cdef void finalise_lost(State* st, Trade* t) noexcept nogil:
    # A position has shown that they filled nothing more.
    cdef int32_t order = t.orders
    while order >= 0:
        if st.orders[order].flags & LOST:
            order_finalise(st, &st.orders[order])
        order = st.orders[order].next


cdef void forget_withdrawn(State* st, Trade* t) noexcept nogil:
    # A position agrees with what the records took back.
    cdef int32_t order = t.orders
    while order >= 0:
        st.orders[order].flags &= <uint16_t>(~WITHDRAWN)
        order = st.orders[order].next


cdef void lock_externals(State* st, Trade* t) noexcept nogil:
    cdef int32_t order = t.orders
    while order >= 0:
        order_lock(st, &st.orders[order])
        order = st.orders[order].next


cdef void unlock_externals(State* st, Trade* t) noexcept nogil:
    cdef int32_t order = t.orders
    while order >= 0:
        order_unlock(st, &st.orders[order])
        order = st.orders[order].next


# -- after every change ----------------------------------------------------------------------------

cdef inline void leg_done(const State* st, Slot* s, const Trade* t) noexcept nogil:
    # A finite goal is reached.  "All" stays latched until the slot is free, for late entry fills;
    # a leg until its entry can fill no more: its share of that goes out too.
    if s.latched and s.exit_goal_e8 != ALL and t.sums.exited_e8 >= s.exit_goal_e8:
        if is_live(st, s.exit_order) or (s.goal_ratio_e9 > 0 and entry_may_fill(st, t)):
            return
        latch_drop(s)


cdef bint entry_may_fill(const State* st, const Trade* t) noexcept nogil:
    cdef int32_t order = t.orders
    cdef const Order* o
    while order >= 0:
        o = &st.orders[order]
        if o.role == ENTRY and not is_terminal(o):
            if not is_ended(o) or o.level.filled_e8 < o.intended_e8:
                return True
        order = o.next
    return False


cdef int feed_sizer(State* st, int32_t trade) except -1 nogil:
    # Once per trade, at flat, from the trade's own money; a price-less leg waits for its figure, and
    # flat with an entry that may still fill is not the end.
    cdef Trade* t = &st.trades[trade]
    cdef Request* r
    if t.flags & FED or size_of(t) != 0 or t.sums.exited_e8 == 0:
        return 0
    if t.slot >= 0 and st.slots[t.slot].flags & STALE:
        return 0                # a position may still give quantity back
    if (t.sums.unsettled > 0 or entry_may_fill(st, t)
            or (t.sums.pending > 0 and t.sums.entry_priced_e8 < t.sums.entered_e8)):
        if st.now_ms - t.flat_ms < RECORD_LIMIT_MS:
            return 0
    t.flags |= FED
    r = request(st, DO_FEED_SIZER, t.last_slot, -1, trade)
    r.figure.realized = t.realized
    r.fees = t.sums.fees
    return 0


cdef int close_record(State* st, int32_t trade) except -1 nogil:
    # The record of a trade that has left its slot closes when the venue's figures are in, or late.
    cdef Trade* t = &st.trades[trade]
    cdef Request* r
    if t.flags & CLOSED or t.slot >= 0 or t.open_orders > 0:
        return 0
    if t.sums.entered_e8 == 0 and t.sums.exited_e8 == 0:
        trade_retire(st, trade)
        return 0
    if t.sums.pending > 0 and st.now_ms - t.flat_ms < RECORD_LIMIT_MS:
        return 0
    feed_sizer(st, trade)
    if not t.flags & FED:
        return 0
    if not t.flags & TOLD:
        t.flags |= TOLD
        r = request(st, DO_CLOSE_TRADE, t.last_slot, -1, trade)
        r.figure.realized = t.realized
        r.fees = t.sums.fees
    trade_retire(st, trade)
    return 0


cdef void slot_free(State* st, int32_t slot) noexcept nogil:
    cdef Slot* s = &st.slots[slot]
    cdef Trade* t = &st.trades[s.trade]
    lock_externals(st, t)
    foreign_as_of(st, foreign_key(st, t.asset_key, t.side),
                  s.last_fill_ms if s.last_fill_ms > s.proven_ms else s.proven_ms)
    t.slot = -1
    st.active -= 1
    slot_clear(s)


cdef void thaw_recovery(State* st) noexcept nogil:
    # Entries stay frozen while any recovery slot is in use.
    cdef int32_t i
    cdef int32_t left = st.active
    if not st.ledger.frozen & FREEZE_RECOVERY:
        return
    for i in range(st.config.slots):
        if left == 0:
            break
        if st.slots[i].trade >= 0:
            left -= 1
            if st.slots[i].flags & RECOVERY or size_of(&st.trades[st.slots[i].trade]) < 0:
                return
    st.ledger.frozen &= ~FREEZE_RECOVERY


cdef int settle_slot(State* st, int32_t slot, Result* out) except -1 nogil:
    # Brings a slot in line with its facts: legs, exit child, flat, state, free.
    cdef Slot* s = &st.slots[slot]
    cdef int32_t trade = s.trade
    cdef Trade* t
    cdef int64_t size
    if trade < 0:
        return 0
    t = &st.trades[trade]
    st.values[slot].known = 0
    leg_done(st, s, t)
    if s.latched and is_dust(s, t) and not entry_may_fill(st, t):
        latch_drop(s)
    plan_exit(st, slot, out)
    size = size_of(t)
    if size != 0 or t.sums.entered_e8 == 0:
        t.flat_ms = 0
    elif t.flat_ms == 0:
        t.flat_ms = st.now_ms
        if is_live(st, s.exit_order):
            cancel_order(st, slot, s.exit_order)
    out.size_e8 = size
    if t.flat_ms > 0:
        feed_sizer(st, trade)
    s.state = <uint8_t>state_of(st, s)
    if s.state == RECONCILING and not s.flags & STALE:
        go_stale(st, slot)
    if size < 0 and not st.ledger.frozen & FREEZE_RECOVERY:
        st.ledger.frozen |= FREEZE_RECOVERY     # more went out than was there: a person looks first
        cancel_entries(st)
    elif size >= 0 and not s.flags & RECOVERY:
        thaw_recovery(st)
    if s.state == IDLE:
        slot_free(st, slot)
        close_record(st, trade)
        thaw_recovery(st)
    return 0


cdef int settle_detached(State* st, int32_t trade, Result* out) except -1 nogil:
    # A trade that has left its slot: quantity that came back needs a slot, else only figures moved.
    cdef Trade* t = &st.trades[trade]
    out.size_e8 = size_of(t)
    if size_of(t) == 0:
        if t.sums.entered_e8 > 0 and t.flat_ms == 0:
            t.flat_ms = st.now_ms
        if not t.flags & CLOSED:
            feed_sizer(st, trade)
            close_record(st, trade)
        return 0
    return recover(st, trade, True, out)


cdef int recover(State* st, int32_t trade, bint latched, Result* out) except -1 nogil:
    # Quantity of a trade that had left: a slot in doubt, and no entries until it is free again.
    cdef Trade* t = &st.trades[trade]
    cdef int32_t slot = free_slot_for(st, t)
    trade_reopen(st, t)
    slot_open(st, slot, trade)
    st.slots[slot].flags |= RECOVERY
    st.ledger.frozen |= FREEZE_RECOVERY
    if latched:
        latch_exit(&st.slots[slot], ALL)
    # Children of no intent, numbered by the trade: never twice, also after orders were given up.
    if t.recovery_child < t.order_count:
        t.recovery_child = t.order_count
    st.slots[slot].next_child = t.recovery_child
    go_stale(st, slot)
    note(out, D_RECOVERY_SLOT)
    out.slot = <int16_t>slot
    settle_slot(st, slot, out)
    return cancel_entries(st)


cdef int32_t free_slot_for(const State* st, const Trade* t) noexcept nogil:
    # Its own slot if that is free, else the first free one, recovery slots included; -1 if none.
    cdef int32_t i
    if t.last_slot >= 0 and st.slots[t.last_slot].trade < 0:
        return t.last_slot
    for i in range(st.config.slots):
        if st.slots[i].trade < 0:
            return i
    return -1


cdef int cancel_entries(State* st) except -1 nogil:
    # Freeze, hold and drain take back every entry that still works.  Exits go on.
    cdef int32_t i
    cdef int32_t left = st.active
    for i in range(st.config.slots):
        if left == 0:
            break
        if st.slots[i].trade >= 0:
            left -= 1
            if is_live(st, st.slots[i].entry_order):
                cancel_order(st, i, st.slots[i].entry_order)
    return 0


# -- what is open ----------------------------------------------------------------------------------

cdef int value_of(const Slot* s, const Trade* t, Value* v) noexcept nogil:
    # At the mark; where there is none, or no basis, only what is known.  Answers 1 when out of range.
    cdef money_t basis = 0
    cdef money_t gain = 0
    if t.sums.entry_priced_e8 == t.sums.entered_e8:
        basis = money_share(t.sums.entry_cost, size_of(t), t.sums.entered_e8)
    v.notional = money_product(s.mark_price_e10, size_of(t)) if s.mark_price_e10 > 0 else basis
    if s.mark_price_e10 > 0 and money_sign(basis) != 0:
        if money_sub(v.notional, basis, &gain):
            return 1
    v.unrealized = money_signed(gain, t.side)
    v.known = 1
    return 0


cdef int exposure_of(State* st, int* count, money_t* notional, money_t* unrealized) noexcept nogil:
    # A slot's value is worked out once after each change of it.  Answers 1 when out of range.
    cdef int32_t i
    cdef int32_t left = st.active
    cdef const Slot* s
    cdef Value* v
    for i in range(st.config.slots):
        if left == 0:
            break
        s = &st.slots[i]
        if s.trade < 0:
            continue
        left -= 1
        if size_of(&st.trades[s.trade]) <= 0:
            continue
        count[0] += 1
        v = &st.values[i]
        if not v.known and value_of(s, &st.trades[s.trade], v):
            return 1
        if money_add(notional[0], v.notional, notional):
            return 1
        if money_add(unrealized[0], v.unrealized, unrealized):
            return 1
    return 0
