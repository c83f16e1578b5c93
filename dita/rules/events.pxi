# What the venue reports about orders and positions: acks, fills, ends, rejects, evidence,
# settlements, closes that were not ours.
#
# Each rule gets the order it was routed to.  It computes a Change, refuses or accepts, writes, and
# asks for what is missing.  The slot is brought in line afterwards, in one place (finish).

cdef inline int finish(State* st, int32_t trade, Result* out) except -1 nogil:
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
    if c.grown and t.slot < 0 and free_slot_for(st, t) < 0:
        return D_LIMIT_REACHED
    return D_OK


cdef inline int write_levels(State* st, int32_t order, const Input* e, const Change* c, Result* out) except -1 nogil:
    cdef Order* o = &st.orders[order]
    cdef int32_t slot = st.trades[o.trade].slot
    cdef int64_t before = o.level.filled_e8
    change_commit(st, order, e, c, out)
    if e.flags & INCREMENT:
        remember(st, e.event_key)
    if e.source != FROM_STREAM:
        o.flags |= QUERIED
    if not c.grown:
        return 0
    if o.role == ENTRY and st.trades[o.trade].returned_e8 > 0:
        forget_return(&st.trades[o.trade], o.level.filled_e8 - before)
    if o.flags & FINAL:
        order_unfinalise(st, o)
        request(st, DO_FINALISE, slot, order, -1)
    if slot >= 0:
        if o.last_fill_ms > st.slots[slot].last_fill_ms:
            st.slots[slot].last_fill_ms = o.last_fill_ms
        if o.role == EXIT and st.slots[slot].proven_e8 > 0:
            # What went out is no longer there: a stale slot must not sell it a second time.
            st.slots[slot].proven_e8 -= o.level.filled_e8 - before
            if st.slots[slot].proven_e8 < 0:
                st.slots[slot].proven_e8 = 0
        if o.level.filled_e8 > o.intended_e8 and not o.flags & EXTERNAL:
            go_stale(st, slot)
    return 0


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


cdef void answered(Order* o) noexcept nogil:
    if o.status == REQUESTED or o.status == UNKNOWN:
        o.status = WORKING


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
    answered(o)
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
    answered(o)
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
    order_end(st, o, REJECTED)
    if never_worked:
        order_finalise(st, o)
    else:
        request(st, DO_FINALISE, slot, order, -1)
    if o.role == EXIT and slot >= 0 and st.slots[slot].exit_order == order:
        exit_rejected(st, slot, e, out)
    return D_OK


cdef int exit_rejected(State* st, int32_t slot, const Input* e, Result* out) except -1 nogil:
    cdef Slot* s = &st.slots[slot]
    if e.reason == REJECT_MISMATCH:
        return go_stale(st, slot)       # the venue sees another position: find out before a retry
    if e.reason == REJECT_MINIMUM:
        latch_drop(s)
        s.flags |= DUST
        note(out, D_DUST)
        return 0
    back_off(st, s)
    return 0


cdef void back_off(State* st, Slot* s) noexcept nogil:
    # The venue blocks an endpoint after 20 equal errors in 480 s: stop at 10 until the window ends.
    cdef int64_t wait = BACKOFF_MS
    cdef int32_t i
    if s.rejects == 0 or st.now_ms - s.reject_window_ms >= REJECT_WINDOW_MS:
        s.rejects = 0
        s.reject_window_ms = st.now_ms
    s.rejects += 1
    if s.rejects >= REJECTS_MAX:
        s.retry_ms = s.reject_window_ms + REJECT_WINDOW_MS
        return
    for i in range(s.rejects - 1):
        if wait < BACKOFF_MAX_MS:
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
        return refuse_field(out, FIELD_QUANTITY, D_INVALID_EVENT)
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


cdef int absent(State* st, const Input* e, int32_t order, Result* out) except -1 nogil:
    # Proven never to have reached the book.  An entry may be sent again while its time lasts.
    cdef Order* o = &st.orders[order]
    cdef int32_t slot = st.trades[o.trade].slot
    if is_ended(o):
        return D_DUPLICATE_EVENT
    if o.level.filled_e8 > 0 or o.flags & BOUND:
        return refuse_field(out, FIELD_ORDER, D_INVALID_EVENT)
    accept(st, e, out)
    order_end(st, o, ABSENT)
    order_finalise(st, o)
    if o.role == ENTRY and slot >= 0 and o.expires_ms > st.now_ms:
        if not st.slots[slot].latched and not st.ledger.frozen:
            return send_entry_again(st, slot, order)
    return D_OK


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
    answered(o)
    write_levels(st, order, e, &c, out)
    return end_if_full(st, order)


# -- closes that were not ours ---------------------------------------------------------------------

cdef int external(State* st, const Input* e, int32_t slot, Result* out) except -1 nogil:
    # A liquidation, ADL, or a close by hand: booked to our trade up to what is left of it.
    cdef Trade* t = &st.trades[st.slots[slot].trade]
    cdef int32_t trade = st.slots[slot].trade
    cdef Order draft
    cdef Change c
    cdef int32_t order
    cdef int code
    if e.quantity_e8 == 0:
        return refuse_field(out, FIELD_QUANTITY, D_INVALID_EVENT)
    if size_of(t) <= 0:
        return D_NO_POSITION
    if e.event_key == 0 and e.venue_key == 0:
        return refuse_field(out, FIELD_EVENT, D_INVALID_EVENT)  # it could be counted twice
    if was_seen(st, e.event_key):
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
    order = order_new(st, trade, EXIT, -t.side, c.level.filled_e8)
    st.orders[order].flags |= EXTERNAL
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
    return go_stale(st, slot)


# -- positions -------------------------------------------------------------------------------------

@cython.overflowcheck(False)
cdef inline uint64_t foreign_key(const State* st, uint64_t asset_key, int side) noexcept nogil:
    # In hedge mode each side of a symbol is a position of its own.
    return asset_key ^ 1 if st.config.hedge and side < 0 else asset_key


cdef int foreign_set(State* st, uint64_t asset_key, int64_t quantity_e8) noexcept nogil:
    cdef int32_t i
    for i in range(st.foreign_count):
        if st.foreign[i].asset_key == asset_key:
            if quantity_e8 == 0:
                st.foreign_count -= 1
                st.foreign[i] = st.foreign[st.foreign_count]
            else:
                st.foreign[i].quantity_e8 = quantity_e8
            return 0
    if quantity_e8 == 0:
        return 0
    if st.foreign_count == FOREIGN_MAX:
        return D_LIMIT_REACHED
    st.foreign[st.foreign_count].asset_key = asset_key
    st.foreign[st.foreign_count].quantity_e8 = quantity_e8
    st.foreign_count += 1
    return 0


cdef int position(State* st, const Input* e, int32_t slot, Result* out) except -1 nogil:
    cdef int64_t theirs = e.quantity_e8 if e.side >= 0 else -e.quantity_e8
    cdef Slot* s
    if slot < 0:
        if st.foreign_count == FOREIGN_MAX and theirs != 0:
            return D_LIMIT_REACHED
        accept(st, e, out)
        foreign_set(st, foreign_key(st, e.asset_key, e.side), theirs)
        if e.side == 0:
            foreign_set(st, foreign_key(st, e.asset_key, -1), 0)    # flat on every side
        return D_OK
    s = &st.slots[slot]
    if e.exchange_ms > 0 and e.exchange_ms < s.last_fill_ms:
        return D_STALE_STATE            # older than a fill that we have
    accept(st, e, out)
    return compare_position(st, slot, theirs, out)


cdef int compare_position(State* st, int32_t slot, int64_t theirs, Result* out) except -1 nogil:
    # Only a slot at rest, or one in doubt, is judged: with an order in flight both may be right.
    cdef Slot* s = &st.slots[slot]
    cdef int64_t ours = size_of(&st.trades[s.trade])
    cdef int64_t same_side = theirs if st.trades[s.trade].side > 0 else -theirs
    if s.state != POSITION_OPEN and s.state != RECONCILING:
        return 0
    if same_side == ours and ours >= 0:
        s.flags &= <uint8_t>(~STALE)
        s.proven_e8 = ours
        return 0
    note(out, D_POSITION_DISAGREES)
    if theirs == 0 and ours < 0:
        # An exit took too much, and whoever closed what that opened, it is closed: flat is flat.
        st.trades[s.trade].returned_e8 -= ours
        s.flags &= <uint8_t>(~STALE)
        s.proven_e8 = 0
        return 0
    go_stale(st, slot)
    s.proven_e8 = 0
    if same_side > 0:
        s.proven_e8 = same_side if same_side < ours else ours
    return 0
