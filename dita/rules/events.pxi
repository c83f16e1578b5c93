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
    if s.exit_goal_e8 != ALL and size_of(t) > o.intended_e8:
        latch_exit(s, ALL)      # a leg that the venue does not take is taken with all the rest
        s.goal_ratio_e9 = 0
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
    # unless somebody has asked for its cancel meanwhile.
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
        if not st.slots[slot].latched and not st.ledger.frozen:
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
    r.quantity_e8 = o.intended_e8
    r.price_e10 = o.limit_price_e10
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


# -- closes that were not ours ---------------------------------------------------------------------

cdef int external(State* st, const Input* e, int32_t slot, Result* out) except -1 nogil:
    # A liquidation, ADL, or a close by hand.  All that the venue said of the order is kept; which
    # part of it was ours follows from our own orders (rebook).
    cdef Trade* t = &st.trades[st.slots[slot].trade]
    cdef int32_t trade = st.slots[slot].trade
    cdef Order draft
    cdef Change c
    cdef int32_t order
    cdef int code
    if e.quantity_e8 == 0:
        return refuse_field(out, FIELD_QUANTITY, D_INVALID_EVENT)
    if e.event_key == 0 and e.venue_key == 0:
        return refuse_field(out, FIELD_EVENT, D_INVALID_EVENT)  # it could be counted twice
    if was_seen(st, e.event_key) or probe_find(st.own, st.own_mask, e.venue_key) != 0:
        return D_DUPLICATE_EVENT
    if st.order_free < 0 and st.retired_live == 0:
        return D_LIMIT_REACHED
    memset(&draft, 0, sizeof(Order))
    draft.trade = trade
    draft.role = EXIT
    draft.flags = EXTERNAL
    code = change_of(st, &draft, e, &c)
    if code != D_OK:
        return code
    accept(st, e, out)
    order = order_new(st, trade, EXIT, -t.side, e.quantity_e8)
    order_is_external(st, &st.orders[order])
    order_bind(st, order, e.venue_key)
    out.order_no = st.orders[order].order_no
    write_levels(st, order, e, &c, out)
    order_end(st, &st.orders[order], FILLED)
    if e.venue_key != 0:
        request(st, DO_FINALISE, slot, order, -1)
    else:
        order_finalise(st, &st.orders[order])       # no id to ask about: the event is all there is
    remember(st, e.event_key)
    note(out, D_EXTERNAL_CLOSE)
    rebook(st, trade, out)
    proven_less(st, &st.slots[slot], &st.orders[order], st.orders[order].level.filled_e8)
    if st.orders[order].level.filled_e8 < st.orders[order].whole.filled_e8:
        note(out, D_FOREIGN_EXCESS)
    return go_stale(st, slot)


# -- positions -------------------------------------------------------------------------------------

@cython.overflowcheck(False)
cdef inline uint64_t foreign_key(const State* st, uint64_t asset_key, int side) noexcept nogil:
    # In hedge mode each side of a symbol is a position of its own.
    return asset_key ^ 1 if st.config.hedge and side < 0 else asset_key


cdef int32_t foreign_at(const State* st, uint64_t place) noexcept nogil:
    cdef int32_t i
    for i in range(st.foreign_count):
        if st.foreign[i].asset_key == place:
            return i
    return -1


cdef int64_t foreign_on(const State* st, uint64_t place) noexcept nogil:
    # Signed quantity there that is not ours.
    cdef int32_t at = foreign_at(st, place)
    return st.foreign[at].quantity_e8 if at >= 0 else 0


cdef int32_t foreign_room(State* st) noexcept nogil:
    # A place for one more; of those that only keep a time the oldest gives way.  -1: none.
    cdef int32_t i
    cdef int32_t oldest = -1
    if st.foreign_count < FOREIGN_MAX:
        st.foreign_count += 1
        return st.foreign_count - 1
    for i in range(FOREIGN_MAX):
        if st.foreign[i].quantity_e8 == 0:
            if oldest < 0 or st.foreign[i].as_of_ms < st.foreign[oldest].as_of_ms:
                oldest = i
    return oldest


cdef int foreign_set(State* st, uint64_t place, int64_t quantity_e8, int64_t as_of_ms) noexcept nogil:
    # Returns 0, or LIMIT_REACHED when nothing was noted.
    cdef int32_t at = foreign_at(st, place)
    if at < 0:
        at = foreign_room(st)
        if at < 0:
            return D_LIMIT_REACHED
        memset(&st.foreign[at], 0, sizeof(Foreign))
        st.foreign[at].asset_key = place
    st.foreign[at].quantity_e8 = quantity_e8
    if as_of_ms > st.foreign[at].as_of_ms:
        st.foreign[at].as_of_ms = as_of_ms
    return 0


cdef void foreign_as_of(State* st, uint64_t place, int64_t as_of_ms) noexcept nogil:
    # Answers from before a trade's last news say nothing of what is there after it.
    foreign_set(st, place, foreign_on(st, place), as_of_ms)


cdef inline int64_t position_ms(const State* st, const Input* e) noexcept nogil:
    # When the position was asked for; a time that cannot be yet is taken as now.
    return venue_now(st, e.received_ms) if is_ahead(st, e) else e.exchange_ms


cdef int position_of_others(State* st, const Input* e, int side, int64_t theirs, Result* out) except -1 nogil:
    # A symbol (in hedge mode a side of it) without a slot of ours.
    cdef uint64_t place = foreign_key(st, e.asset_key, side)
    cdef int32_t at = foreign_at(st, place)
    if at < 0 and theirs != 0 and st.foreign_count == FOREIGN_MAX and foreign_room(st) < 0:
        return D_LIMIT_REACHED
    accept(st, e, out)
    if theirs != 0 and turned_up(st, e.asset_key, side, theirs, position_ms(st, e), out):
        return D_OK
    foreign_set(st, place, theirs, position_ms(st, e))
    return D_OK


cdef int32_t order_written_off(const State* st, const Trade* t) noexcept nogil:
    cdef int32_t order = t.orders
    while order >= 0:
        if st.orders[order].flags & WRITTEN_OFF and st.orders[order].level.filled_e8 > 0:
            return order
        order = st.orders[order].next
    return -1


cdef int turned_up(State* st, uint64_t asset_key, int side, int64_t theirs, int64_t asked_ms,
                   Result* out) except -1 nogil:
    # What was written off is there after all, or somebody has opened the same: it gets a slot in
    # doubt, and a person decides whose it is.  Returns 1 when it was so.
    cdef int32_t trade = trade_written_off(st, asset_key, side, theirs)
    cdef Trade* t
    cdef Order* o
    cdef Change c
    cdef int64_t back
    if trade < 0:
        return 0
    t = &st.trades[trade]
    if free_slot_for(st, t) < 0:
        return 0
    o = &st.orders[order_written_off(st, t)]
    back = on_side(t, theirs)
    back = o.level.filled_e8 if o.level.filled_e8 < back else back
    memset(&c, 0, sizeof(Change))
    c.level = o.level
    c.level.filled_e8 -= back
    c.level.figure_e8 = c.level.filled_e8
    c.level.realized = signed_share(o.level.realized, c.level.filled_e8, o.level.filled_e8)
    if money_of_change(st, o, t, &c) != D_OK:
        return 0
    out.trade_no = t.trade_no
    out.order_no = o.order_no
    out.before = IDLE
    change_write(st, o, &c, out)
    foreign_set(st, foreign_key(st, asset_key, side), theirs - t.side * back, asked_ms)
    recover(st, trade, False, out)
    hold_to_table(st, &st.table[IDLE][IN_POSITION], t.slot, out)
    return 1


cdef int32_t trade_written_off(const State* st, uint64_t asset_key, int side, int64_t theirs) noexcept nogil:
    # The newest trade of this symbol and side whose quantity was written off; -1 when there is none.
    cdef int32_t i
    cdef int32_t found = -1
    cdef const Trade* t
    for i in range(st.config.trades):
        t = &st.trades[i]
        if t.trade_no == 0 or not t.flags & OFF or t.slot >= 0 or t.asset_key != asset_key:
            continue
        if (st.config.hedge and t.side != side) or on_side(t, theirs) <= 0 or size_of(t) != 0:
            continue
        if order_written_off(st, t) >= 0:
            if found < 0 or t.trade_no > st.trades[found].trade_no:
                found = i
    return found


# A group: the slots of one symbol, in hedge mode of one side of it, whose sum is compared.

cdef bint in_group(const State* st, int32_t slot, uint64_t asset_key, int side) noexcept nogil:
    cdef const Trade* t
    if st.slots[slot].trade < 0:
        return False
    t = &st.trades[st.slots[slot].trade]
    return t.asset_key == asset_key and (not st.config.hedge or t.side == side)


cdef struct Group:
    int32_t slots[64]           # at most; what is beyond is not judged, and stays in doubt
    int32_t count
    int64_t net                 # signed sum of the sizes
    int64_t last_fill_ms
    int live                    # an order of ours is in flight
    int certain                 # all of ours has ended, with final figures
    int over                    # the same, or lost
    int side                    # of the first trade that is open, else of the first


cdef void group_of(const State* st, uint64_t asset_key, int side, Group* g) noexcept nogil:
    cdef int32_t i
    cdef const Trade* t
    memset(g, 0, sizeof(Group))
    g.certain = True
    g.over = True
    for i in range(st.config.slots):
        if g.count == 64:
            break
        if not in_group(st, i, asset_key, side):
            continue
        t = &st.trades[st.slots[i].trade]
        if g.count == 0 or (g.net == 0 and size_of(t) != 0):
            g.side = t.side
        g.slots[g.count] = i
        g.count += 1
        g.net += t.side * size_of(t)
        if st.slots[i].last_fill_ms > g.last_fill_ms:
            g.last_fill_ms = st.slots[i].last_fill_ms
        g.live |= is_live(st, st.slots[i].entry_order) or is_live(st, st.slots[i].exit_order)
        g.certain &= is_certain(st, t)
        g.over &= is_over(st, t)


cdef bint is_old_position(const State* st, const Input* e, int side) noexcept nogil:
    # Asked for before a fill that we have, or before what was known of the place without a slot.
    cdef Group g
    cdef int32_t at
    if position_ms(st, e) == 0:
        return False
    group_of(st, e.asset_key, side, &g)
    if g.count > 0:
        return position_ms(st, e) < g.last_fill_ms
    at = foreign_at(st, foreign_key(st, e.asset_key, side))
    return at >= 0 and position_ms(st, e) < st.foreign[at].as_of_ms


cdef int position(State* st, const Input* e, int side, int64_t theirs, Result* out) except -1 nogil:
    cdef Group g
    group_of(st, e.asset_key, side, &g)
    if is_old_position(st, e, side):
        return D_STALE_STATE
    if g.count == 0:
        return position_of_others(st, e, side, theirs, out)
    accept(st, e, out)
    if g.live:
        return position_in_flight(st, e, &g, theirs, out)
    if not st.config.hedge:
        net_slots(st, &g, position_ms(st, e), out)
    give_back_overfill(st, &g, theirs, out)
    group_of(st, e.asset_key, side, &g)     # what netting has left
    if g.certain:
        book_to_position(st, &g, theirs, out)
    group_of(st, e.asset_key, side, &g)
    return judge_position(st, e, &g, theirs, out)


cdef int64_t on_side(const Trade* t, int64_t theirs) noexcept nogil:
    return theirs if t.side > 0 else -theirs


cdef void clear_doubt(State* st, int32_t slot, int64_t exchange_ms) noexcept nogil:
    cdef Slot* s = &st.slots[slot]
    s.flags &= <uint8_t>(~STALE)
    s.proven_e8 = size_of(&st.trades[s.trade])
    s.proven_ms = exchange_ms
    s.short_ms = 0
    s.futile_ms = 0


cdef void prove_at_most(State* st, int32_t slot, int64_t there, int64_t asked_ms) noexcept nogil:
    # Of ours, what the venue shows on its side.
    cdef Slot* s = &st.slots[slot]
    cdef int64_t proven = size_of(&st.trades[s.trade])
    if there < proven:
        proven = there
    s.proven_e8 = proven if proven > 0 else 0
    s.proven_ms = asked_ms


cdef int position_in_flight(State* st, const Input* e, const Group* g, int64_t theirs, Result* out) except -1 nogil:
    # With an order in flight both may be right: agreement ends a doubt, disagreement begins none.
    cdef int32_t i
    cdef Slot* s
    for i in range(g.count):
        s = &st.slots[g.slots[i]]
        if theirs == g.net and size_of(&st.trades[s.trade]) >= 0:
            clear_doubt(st, g.slots[i], position_ms(st, e))
        elif s.flags & STALE:
            note(out, D_POSITION_DISAGREES)
            prove_at_most(st, g.slots[i], on_side(&st.trades[s.trade], theirs), position_ms(st, e))
    return 0


cdef bint is_priced(const Trade* t) noexcept nogil:
    return t.sums.entered_e8 > 0 and t.sums.entry_priced_e8 == t.sums.entered_e8


cdef int64_t entered_ms(const State* st, const Trade* t) noexcept nogil:
    cdef int32_t order = t.orders
    cdef int64_t latest = 0
    while order >= 0:
        if st.orders[order].role == ENTRY and st.orders[order].last_fill_ms > latest:
            latest = st.orders[order].last_fill_ms
        order = st.orders[order].next
    return latest


cdef int net_slots(State* st, const Group* g, int64_t when_ms, Result* out) except -1 nogil:
    # One-way: the exchange has closed opposite quantities of ours with one another.
    cdef int32_t i
    cdef int32_t j
    cdef Trade* a
    cdef Trade* b
    for i in range(g.count):
        a = &st.trades[st.slots[g.slots[i]].trade]
        for j in range(i + 1, g.count):
            b = &st.trades[st.slots[g.slots[j]].trade]
            if a.side != b.side and size_of(a) > 0 and size_of(b) > 0 and is_priced(a) and is_priced(b):
                net_pair(st, g.slots[i], g.slots[j], when_ms, out)
    return 0


cdef int net_pair(State* st, int32_t one, int32_t other, int64_t position_ms_, Result* out) except -1 nogil:
    # At the later fill's price in both: their sum does not depend on it.
    cdef Trade* a = &st.trades[st.slots[one].trade]
    cdef Trade* b = &st.trades[st.slots[other].trade]
    cdef Trade* later = a if entered_ms(st, a) > entered_ms(st, b) else b
    cdef int64_t quantity = size_of(a) if size_of(a) < size_of(b) else size_of(b)
    cdef int64_t when = entered_ms(st, later) if entered_ms(st, later) > 0 else position_ms_
    cdef Level level
    if st.order_free < 0 and st.retired_live == 0:
        return 0                # no room for two orders: the doubt goes on
    if quantity > later.sums.entered_e8:
        return 0
    memset(&level, 0, sizeof(Level))
    level.filled_e8 = quantity
    level.priced_e8 = quantity
    level.cost = money_share(later.sums.entry_cost, quantity, later.sums.entered_e8)
    level.cost_rank = 4
    level.fee_rank = 4
    if a.side < 0:
        one, other = other, one         # the long one first
    if net_order(st, one, &level, when, out) or net_order(st, other, &level, when, out):
        fault(b"a netted order left the range of money")
    note(out, D_NETTED)
    return 0


cdef int net_order(State* st, int32_t slot, const Level* level, int64_t when_ms, Result* out) except -1 nogil:
    # Returns 1 when it leaves the range.
    cdef int32_t trade = st.slots[slot].trade
    cdef Trade* t = &st.trades[trade]
    cdef Change c
    cdef Order* o
    cdef int32_t order = order_new(st, trade, EXIT, -t.side, level.filled_e8)
    if order < 0:
        return 1
    o = &st.orders[order]
    order_is_external(st, o)
    order_lock(st, o)
    o.flags |= NETTED
    order_end(st, o, FILLED)
    order_finalise(st, o)
    o.whole = level[0]
    o.last_fill_ms = when_ms
    memset(&c, 0, sizeof(Change))
    c.level = level[0]
    if money_of_change(st, o, t, &c) != D_OK:
        return 1
    change_write(st, o, &c, out)
    return 0


cdef void give_back_overfill(State* st, Group* g, int64_t theirs, Result* out) noexcept nogil:
    # An exit took too much, and whoever closed what that opened, it is closed.
    cdef int32_t i
    cdef Trade* t
    cdef int64_t over
    cdef int64_t closed
    for i in range(g.count):
        t = &st.trades[st.slots[g.slots[i]].trade]
        over = -size_of(t)
        if over <= 0:
            continue
        closed = on_side(t, theirs - g.net)
        if closed > 0:
            note(out, D_POSITION_DISAGREES)
            closed = over if over < closed else closed
            t.returned_e8 += closed
            g.net += t.side * closed


cdef int book_to_position(State* st, const Group* g, int64_t theirs, Result* out) except -1 nogil:
    # Everything of ours is certain: what is missing was closed by the others that we know of, and
    # what is there was not.
    cdef int32_t i
    cdef int32_t order
    cdef Trade* t
    cdef Order* o
    cdef int64_t there = theirs if g.side > 0 else -theirs
    cdef int64_t ours = 0
    cdef int64_t share
    cdef int64_t booked
    cdef int64_t wanted
    for i in range(g.count):
        t = &st.trades[st.slots[g.slots[i]].trade]
        if size_of(t) < 0 or (t.side != g.side and size_of(t) > 0):
            return 0
        ours += size_of(t)
    if there < 0:
        there = 0
    for i in range(g.count):
        t = &st.trades[st.slots[g.slots[i]].trade]
        if t.side != g.side:
            continue            # netted: its other side is what is judged
        booked = t.sums.exited_e8
        wanted = unlocked_part(st, t) + (ours - there)      # more when something is missing
        if ours - there > size_of(t):
            wanted = unlocked_part(st, t) + size_of(t)
        order = external_after(st, t, -1)
        while order >= 0:                                   # the earliest closed first
            o = &st.orders[order]
            if not o.flags & LOCKED:
                share = wanted if wanted < o.whole.filled_e8 else o.whole.filled_e8
                if share < 0:
                    share = 0
                wanted -= share
                book_share(st, order, share, out)
            order = external_after(st, t, order)
        ours -= t.sums.exited_e8 - booked
        foreign_share(st, st.slots[g.slots[i]].trade)
    return 0


cdef int judge_position(State* st, const Input* e, const Group* g, int64_t theirs, Result* out) except -1 nogil:
    cdef int64_t sign = 1 if g.side > 0 else -1
    cdef int64_t ours = g.net * sign
    cdef int64_t there = theirs * sign
    cdef bint mixed = has_both_sides(st, g)
    cdef int32_t i
    if ours >= 0 and not mixed:
        if there == ours or (g.certain and position_ms(st, e) > 0 and (there > ours or ours == 0)):
            for i in range(g.count):
                if not is_done(st, g.slots[i]):
                    agreed(st, g.slots[i], position_ms(st, e), g.over)
            foreign_set(st, foreign_key(st, e.asset_key, g.side), theirs - g.net, position_ms(st, e))
            return 0
    note(out, D_POSITION_DISAGREES)
    for i in range(g.count):
        if not is_done(st, g.slots[i]):
            go_stale(st, g.slots[i])    # asked once more as the doubt begins, never for it again
    if mixed:
        return prove_mixed(st, e, g, there)
    return prove_shortfall(st, e, g, ours, there if there > 0 else 0)


cdef bint has_both_sides(const State* st, const Group* g) noexcept nogil:
    cdef int32_t i
    for i in range(g.count):
        if size_of(&st.trades[st.slots[g.slots[i]].trade]) < 0:
            return True                 # an overfill is open on the other side
        if st.trades[st.slots[g.slots[i]].trade].side != g.side:
            if size_of(&st.trades[st.slots[g.slots[i]].trade]) != 0:
                return True
    return False


cdef inline bint is_done(const State* st, int32_t slot) noexcept nogil:
    # Flat, without doubt, and only waiting for final figures: a position says nothing to it.
    return st.slots[slot].state == POSITION_CLOSED and not st.slots[slot].flags & STALE


cdef void agreed(State* st, int32_t slot, int64_t exchange_ms, bint over) noexcept nogil:
    cdef Trade* t = &st.trades[st.slots[slot].trade]
    finalise_lost(st, t)
    if over:
        lock_externals(st, t)
    clear_doubt(st, slot, exchange_ms)


cdef int prove_mixed(State* st, const Input* e, const Group* g, int64_t there) except -1 nogil:
    # Opposite quantities that could not be netted: each side is proven as far as the net goes.
    cdef int32_t i
    cdef Slot* s
    cdef int64_t mine
    for i in range(g.count):
        if is_done(st, g.slots[i]):
            continue
        s = &st.slots[g.slots[i]]
        mine = there if st.trades[s.trade].side == g.side else -there
        prove_at_most(st, g.slots[i], mine, position_ms(st, e))
    return 0


cdef int prove_shortfall(State* st, const Input* e, const Group* g, int64_t ours, int64_t there) except -1 nogil:
    # What is missing is missing from the recovery slots first, then from the newest.
    cdef int64_t missing = ours - there if ours > there else 0
    cdef int32_t i
    cdef int round_
    cdef Slot* s
    cdef int64_t part
    for i in range(g.count):
        s = &st.slots[g.slots[i]]
        if is_done(st, g.slots[i]):
            continue
        s.proven_e8 = size_of(&st.trades[s.trade])
        s.proven_ms = position_ms(st, e)
    for round_ in range(2):
        for i in range(g.count - 1, -1, -1):
            s = &st.slots[g.slots[i]]
            if ((s.flags & RECOVERY) != 0) == (round_ == 0):
                part = missing if missing < s.proven_e8 else s.proven_e8
                s.proven_e8 -= part
                missing -= part
                if part > 0 and s.short_ms == 0:
                    s.short_ms = position_ms(st, e)
    return 0
