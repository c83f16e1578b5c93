# What the venue reports about orders and positions: acks, fills, ends, rejects, evidence,
# settlements, closes that were not ours.
#
# Each rule gets the order it was routed to.  It computes a Change, refuses or accepts, writes, and
# asks for what is missing.  The slot is brought in line afterwards, in one place (finish).

cdef inline int finish(State* st, int32_t trade, Result* out) except -1 nogil:
    if st.trades[trade].externals > 0:
        rebook(st, trade, out)
    if st.trades[trade].slot >= 0:
        return settle_slot(st, st.trades[trade].slot, out)
    return settle_detached(st, trade, out)


cdef int level_change(const State* st, const Order* o, const Input* e, Change* c, int* changed) except -1 nogil:
    # The levels that come with an event which is not only a fill.  "Nothing new" is no refusal here.
    cdef int code
    changed[0] = 0
    c.grown = 0
    if e.quantity_e8 == 0 and not e.flags & (HAS_COST | HAS_FEE | HAS_REALIZED):
        return D_OK
    code = change_of(st, o, e, c)
    if code == D_DUPLICATE_EVENT:
        return D_OK
    changed[0] = code == D_OK
    return room_for_change(st, o, c) if code == D_OK else code


cdef inline int room_for_change(const State* st, const Order* o, const Change* c) noexcept nogil:
    # Quantity that returns to a trade without a slot needs a free one.
    cdef const Trade* t = &st.trades[o.trade]
    if c.grown and t.slot < 0 and not o.flags & EXTERNAL and free_slot_for(st, t) < 0:
        return D_LIMIT_REACHED
    return D_OK


cdef inline int write_levels(State* st, int32_t order, const Input* e, const Change* c, Result* out) except -1 nogil:
    cdef Order* o = &st.orders[order]
    cdef int64_t before = o.level.filled_e8
    cdef bint was_final = o.flags & FINAL
    change_commit(st, order, e, c, out)
    if e.flags & INCREMENT:
        remember(st, e.event_key)
    if e.source != FROM_STREAM:
        o.flags |= QUERIED
    if not c.grown:
        return 0
    if was_final:
        order_unfinalise(st, o)
        request(st, DO_FINALISE, st.trades[o.trade].slot, order, -1)
    if not o.flags & EXTERNAL and size_of(&st.trades[o.trade]) < 0:
        unlock_externals(st, &st.trades[o.trade])   # what was settled lacked this fill
    if o.role == ENTRY and st.trades[o.trade].returned_e8 > 0:
        forget_return(&st.trades[o.trade], o.level.filled_e8 - before)
    if st.trades[o.trade].slot >= 0:
        filled_in_slot(st, st.trades[o.trade].slot, o, o.level.filled_e8 - before)
        if st.trades[o.trade].unlocked > 0 or o.level.filled_e8 > o.intended_e8:
            go_stale(st, st.trades[o.trade].slot)   # whose part is how large, a position decides
    return 0


cdef void filled_in_slot(State* st, int32_t slot, const Order* o, int64_t grown_e8) noexcept nogil:
    cdef Slot* s = &st.slots[slot]
    cdef Trade* t = &st.trades[s.trade]
    if o.last_fill_ms > s.last_fill_ms:
        s.last_fill_ms = o.last_fill_ms
    if o.role == ENTRY:
        if s.latched and s.goal_ratio_e9 > 0 and s.exit_goal_e8 != ALL:
            latch_exit(s, leg_goal(s, t, s.goal_base_e8, s.goal_ratio_e9))  # its share of the rest
    elif not o.flags & EXTERNAL:
        proven_less(st, s, o, grown_e8)


cdef void proven_less(const State* st, Slot* s, const Order* o, int64_t grown_e8) noexcept nogil:
    # What went out is no longer there: a stale slot must not sell it a second time.  An answer that
    # was asked for later has it already.
    if s.proven_e8 > 0 and o.last_fill_ms > s.proven_ms:
        s.proven_e8 = s.proven_e8 - grown_e8 if s.proven_e8 > grown_e8 else 0
        if s.proven_e8 == 0:
            s.futile_ms = st.now_ms + FUTILE_MS     # the next answer has a minute to show the rest


cdef void forget_return(Trade* t, int64_t entered_e8) noexcept nogil:
    # A late entry fill explains what went out too much: nobody had to return that.
    t.returned_e8 = t.returned_e8 - entered_e8 if t.returned_e8 > entered_e8 else 0


cdef inline int end_if_full(State* st, int32_t order) except -1 nogil:
    # Full is decided on quantity, never on the event's name.
    cdef Order* o = &st.orders[order]
    if not is_ended(o) and o.level.filled_e8 >= o.intended_e8:
        order_end(st, o, FILLED)
        request(st, DO_FINALISE, st.trades[o.trade].slot, order, -1)
    return 0


cdef inline bint tells_venue_id(const Order* o, const Input* e) noexcept nogil:
    # News even when nothing else is: later events may carry only this id.
    return e.venue_key != 0 and not o.flags & BOUND


cdef inline bint answers(const Order* o, const Input* e) noexcept nogil:
    # An event that changes no level can still be the first sign that the order is there.
    return tells_venue_id(o, e) or o.status == REQUESTED or o.status == UNKNOWN


cdef void answered(State* st, int32_t order) noexcept nogil:
    cdef Order* o = &st.orders[order]
    cdef int32_t slot = st.trades[o.trade].slot
    if o.status == REQUESTED or o.status == UNKNOWN:
        o.status = WORKING
        if slot >= 0 and st.slots[slot].exit_order == order:
            forget_rejects(&st.slots[slot])


# -- acks and fills --------------------------------------------------------------------------------

cdef int ack(State* st, const Input* e, int32_t order, Result* out) except -1 nogil:
    cdef Order* o = &st.orders[order]
    cdef Change c
    cdef int changed = 0
    cdef int code = level_change(st, o, e, &c, &changed)
    if code != D_OK:
        return code
    if not changed and not tells_venue_id(o, e) and (is_ended(o) or o.status == WORKING):
        return D_DUPLICATE_EVENT
    accept(st, e, out)
    order_bind(st, order, e.venue_key)
    answered(st, order)
    if changed:
        write_levels(st, order, e, &c, out)
        end_if_full(st, order)
    return D_OK


cdef inline int fill(State* st, const Input* e, int32_t order, Result* out) except -1 nogil:
    cdef Order* o = &st.orders[order]
    cdef Change c
    cdef int code
    if e.quantity_e8 == 0:
        return refuse_field(out, FIELD_QUANTITY, D_INVALID_EVENT)
    code = change_of(st, o, e, &c)
    if code == D_OK:
        code = room_for_change(st, o, &c)
    if code == D_DUPLICATE_EVENT and answers(o, e) and not e.flags & INCREMENT:
        return ack(st, e, order, out)
    if code != D_OK:
        return code
    accept(st, e, out)
    order_bind(st, order, e.venue_key)
    answered(st, order)
    write_levels(st, order, e, &c, out)
    end_if_full(st, order)
    if e.kind == IN_FULL_FILL and not is_ended(o):
        request(st, DO_QUERY_ORDER, st.trades[o.trade].slot, order, -1)
    if e.kind == IN_LIQUIDATION or e.kind == IN_ADL or o.flags & EXTERNAL:
        note(out, D_EXTERNAL_CLOSE)
    return D_OK


# -- ends ------------------------------------------------------------------------------------------

cdef int end(State* st, const Input* e, int32_t order, Result* out) except -1 nogil:
    # Cancelled or expired.  A fill may still overtake it; the final figures are asked for.
    cdef Order* o = &st.orders[order]
    cdef Change c
    cdef int changed = 0
    cdef int code = level_change(st, o, e, &c, &changed)
    if code != D_OK:
        return code
    if is_ended(o) and not changed and not tells_venue_id(o, e):
        return D_DUPLICATE_EVENT
    accept(st, e, out)
    order_bind(st, order, e.venue_key)
    if changed:
        write_levels(st, order, e, &c, out)
        end_if_full(st, order)
    if not is_ended(o):
        order_end(st, o, CANCELLED if e.kind == IN_CANCEL_ACK else EXPIRED)
        request(st, DO_FINALISE, st.trades[o.trade].slot, order, -1)
    return D_OK


cdef int cancel_reject(State* st, const Input* e, int32_t order, Result* out) except -1 nogil:
    # A cancel answer proves nothing: the state stays, the order is queried.
    if is_ended(&st.orders[order]):
        return D_DUPLICATE_EVENT
    accept(st, e, out)
    note(out, D_CANCEL_REJECTED)
    request(st, DO_QUERY_ORDER, st.trades[st.orders[order].trade].slot, order, -1)
    return D_OK


cdef int reject(State* st, const Input* e, int32_t order, Result* out) except -1 nogil:
    cdef Order* o = &st.orders[order]
    cdef int32_t slot = st.trades[o.trade].slot
    cdef bint never_worked = o.status != WORKING and o.level.filled_e8 == 0 and not o.flags & BOUND
    if is_ended(o):
        return D_DUPLICATE_EVENT
    accept(st, e, out)
    note(out, D_VENUE_REJECTED)
    if e.error_code != 0:
        error_note(st, e.error_code)
    order_end(st, o, REJECTED)
    if never_worked:
        order_finalise(st, o)
    else:
        request(st, DO_FINALISE, slot, order, -1)
    if o.role == EXIT and slot >= 0 and st.slots[slot].exit_order == order:
        exit_rejected(st, slot, o, e, out)
    return D_OK


cdef int exit_rejected(State* st, int32_t slot, const Order* o, const Input* e, Result* out) except -1 nogil:
    cdef Slot* s = &st.slots[slot]
    cdef Trade* t = &st.trades[s.trade]
    if e.reason == REJECT_MINIMUM:
        return exit_too_small(st, s, t, o, e, out)
    back_off(st, s, e)
    if e.reason == REJECT_SUSPENDED:
        s.retry_ms = st.now_ms + SUSPENDED_MS
        note(out, D_SYMBOL_SUSPENDED)
    elif e.reason == REJECT_MISMATCH:
        # The venue sees another position, or a TP/SL set by hand has locked it: ask, wait a little
        # for the answer, and try again all the same.
        doubt_again(st, slot)
        s.stale_ms = st.now_ms
    return 0


cdef int exit_too_small(State* st, Slot* s, const Trade* t, const Order* o, const Input* e, Result* out) except -1 nogil:
    if not s.latched:
        return 0                # nobody wants it out any more
    if s.explicit:
        latch_drop(s)           # a typed quantity is not made larger
        return 0
    if size_of(t) > o.intended_e8:
        latch_exit(s, ALL)      # a part that the venue does not take is taken with all the rest
        s.goal_ratio_e9 = 0
        s.market_e8 = ALL
        back_off(st, s, e)
        return 0
    note(out, D_DUST)
    s.flags |= DUST
    s.dust_e8 = size_of(t)
    if not entry_may_fill(st, t):
        latch_drop(s)
    return 0


cdef void back_off(State* st, Slot* s, const Input* e) noexcept nogil:
    cdef int64_t wait = BACKOFF_MS
    cdef int32_t i
    s.error_code = e.error_code
    s.rejects += 1
    for i in range(s.rejects - 1):
        if wait >= BACKOFF_MAX_MS:
            break
        wait *= 2
    s.retry_ms = st.now_ms + (wait if wait < BACKOFF_MAX_MS else BACKOFF_MAX_MS)


# -- not known, not accepted -----------------------------------------------------------------------

cdef int unknown(State* st, const Input* e, int32_t order, Result* out) except -1 nogil:
    # Unknown counts as live exposure until evidence settles it (design P3).
    cdef Order* o = &st.orders[order]
    if is_ended(o) or o.status == UNKNOWN:
        return D_DUPLICATE_EVENT
    accept(st, e, out)
    order_bind(st, order, e.venue_key)
    o.status = UNKNOWN
    note(out, D_ORDER_UNKNOWN)
    request(st, DO_QUERY_ORDER, st.trades[o.trade].slot, order, -1)
    return D_OK


cdef int rate_limited(State* st, const Input* e, int32_t order, Result* out) except -1 nogil:
    # Of a POST: proven not executed.  An entry is dropped, an exit stays latched until the time.
    cdef Order* o = &st.orders[order]
    cdef int32_t slot = st.trades[o.trade].slot
    if is_ended(o):
        return D_DUPLICATE_EVENT
    accept(st, e, out)
    note(out, D_RATE_LIMITED)
    out.retry_after_ms = e.wait_ms
    if o.status != REQUESTED or o.level.filled_e8 > 0:
        return D_OK
    order_end(st, o, REJECTED)
    order_finalise(st, o)
    if o.role == EXIT and slot >= 0:
        st.slots[slot].retry_ms = st.now_ms + (e.wait_ms if e.wait_ms > 0 else RATE_LIMIT_MS)
    return D_OK


# -- evidence --------------------------------------------------------------------------------------

cdef int final(State* st, const Input* e, int32_t order, Result* out) except -1 nogil:
    # The order's end from the venue's own records: after this it is terminal.
    cdef Order* o = &st.orders[order]
    cdef Change c
    cdef int changed = 0
    cdef int code
    if e.quantity_e8 < o.level.filled_e8 and not o.flags & EXTERNAL:
        return final_withdrawn(st, e, order, out)
    code = level_change(st, o, e, &c, &changed)
    if code != D_OK:
        return code
    if o.flags & FINAL and not changed and not tells_venue_id(o, e):
        return D_DUPLICATE_EVENT
    accept(st, e, out)
    order_bind(st, order, e.venue_key)
    if changed:
        write_levels(st, order, e, &c, out)
    if not is_ended(o):
        order_end(st, o, FILLED if o.level.filled_e8 >= o.intended_e8 else CANCELLED)
    order_finalise(st, o)
    return D_OK


cdef int final_withdrawn(State* st, const Input* e, int32_t order, Result* out) except -1 nogil:
    # The records have less than the stream said.  They are what happened; a position confirms it.
    cdef Order* o = &st.orders[order]
    cdef Trade* t = &st.trades[o.trade]
    cdef int32_t slot = t.slot
    cdef int64_t less = o.level.filled_e8 - e.quantity_e8
    cdef Change c
    cdef int code
    if e.source <= FROM_STREAM or e.flags & INCREMENT:
        return refuse_field(out, FIELD_QUANTITY, D_INVALID_EVENT)
    if slot < 0 and free_slot_for(st, t) < 0:
        return D_LIMIT_REACHED
    level_withdrawn(o, t, e, &c.level)
    code = money_of_change(st, o, t, &c)
    if code != D_OK:
        return code
    accept(st, e, out)
    note(out, D_FILL_WITHDRAWN)
    o.flags |= WITHDRAWN
    order_bind(st, order, e.venue_key)
    change_write(st, o, &c, out)
    if o.role == EXIT:
        forget_return(t, less)
    if not is_ended(o) or o.status == FILLED:
        o.status = FILLED if o.level.filled_e8 >= o.intended_e8 else CANCELLED
    order_finalise(st, o)
    return go_stale(st, slot) if slot >= 0 else 0


cdef int absent(State* st, const Input* e, int32_t order, Result* out) except -1 nogil:
    # Proven never to have reached the book.  An entry may be sent again while its time lasts,
    # unless somebody has taken it back meanwhile, as an EXIT does.
    cdef Order* o = &st.orders[order]
    cdef int32_t slot = st.trades[o.trade].slot
    if is_terminal(o):
        return D_DUPLICATE_EVENT
    if is_ended(o) or o.level.filled_e8 > 0 or o.flags & BOUND:
        return lost(st, e, order, out)
    accept(st, e, out)
    order_end(st, o, ABSENT)
    order_finalise(st, o)
    if o.role == ENTRY and slot >= 0 and o.expires_ms > st.now_ms and not o.flags & UNWANTED:
        if not st.ledger.frozen:
            return send_entry_again(st, slot, order)
    return D_OK


cdef int lost(State* st, const Input* e, int32_t order, Result* out) except -1 nogil:
    # The venue had it, and all its records lack it now.  It is over; what it may have filled stays
    # reserved until a position has shown that it filled nothing more.
    cdef Order* o = &st.orders[order]
    cdef int32_t slot = st.trades[o.trade].slot
    if o.flags & LOST:
        return D_DUPLICATE_EVENT
    accept(st, e, out)
    note(out, D_ORDER_LOST)
    order_end(st, o, ABSENT)
    if slot < 0 or o.flags & EXTERNAL:
        order_finalise(st, o)
        return D_OK
    o.flags |= LOST
    return doubt_again(st, slot)


cdef int send_entry_again(State* st, int32_t slot, int32_t old) except -1 nogil:
    cdef Order* o
    cdef Request* r
    cdef int32_t order = order_new(st, st.orders[old].trade, ENTRY, st.orders[old].side,
                                   st.orders[old].intended_e8)
    if order < 0:
        return 0
    o = &st.orders[order]
    o.intent_key = st.orders[old].intent_key
    o.order_type = st.orders[old].order_type
    o.limit_price_e10 = st.orders[old].limit_price_e10
    o.expires_ms = st.orders[old].expires_ms
    o.deadline_ms = st.orders[old].deadline_ms
    o.value_price_e10 = st.orders[old].value_price_e10
    o.child = st.orders[old].child + 1
    st.slots[slot].entry_order = order
    r = request(st, DO_SUBMIT, slot, order, -1)
    r.figure.order[0] = o.intended_e8
    r.figure.order[1] = o.limit_price_e10
    return 0


cdef int settled(State* st, const Input* e, int32_t order, Result* out) except -1 nogil:
    # The venue's realized and fee of an order.  Zero is a valid settlement.
    cdef Order* o = &st.orders[order]
    cdef Change c
    cdef int code
    if not e.flags & (HAS_REALIZED | HAS_FEE):
        return refuse_field(out, FIELD_MONEY, D_INVALID_EVENT)
    code = change_of(st, o, e, &c)
    if code == D_OK:
        code = room_for_change(st, o, &c)
    if code == D_DUPLICATE_EVENT and answers(o, e) and not e.flags & INCREMENT:
        return ack(st, e, order, out)
    if code != D_OK:
        return code
    accept(st, e, out)
    order_bind(st, order, e.venue_key)
    answered(st, order)
    write_levels(st, order, e, &c, out)
    return end_if_full(st, order)
