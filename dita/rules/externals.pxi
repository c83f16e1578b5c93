# Closes that were not ours: liquidations, ADL, orders of other people on the account.
#
# All that the venue says of such an order is kept.  Which part of it closed ours is no fact of its
# own: it follows from what our own orders left open, until a position settles it.  The rest is its
# owner's doing, and moves the wallet under his name.

cdef void share_of(const Level* whole, int64_t booked_e8, int32_t taker_fee_e9, Level* level) noexcept nogil:
    # Our part of an external order: price and fee by quantity.  The venue's realized is of all that
    # the order closed, so it is ours only where the whole order is.
    memset(level, 0, sizeof(Level))
    level.filled_e8 = booked_e8
    if booked_e8 == 0:
        return
    if booked_e8 == whole.filled_e8:
        level[0] = whole[0]
    else:
        if whole.priced_e8 == whole.filled_e8:
            level.priced_e8 = booked_e8
            level.cost = money_share(whole.cost, booked_e8, whole.filled_e8)
            level.cost_rank = whole.cost_rank
        level.fee = signed_share(whole.fee, booked_e8, whole.filled_e8)
        level.fee_rank = whole.fee_rank
    if whole.fee_rank == 0:
        level.fee = money_share(level.cost, taker_fee_e9, 1_000_000_000)
        level.fee_rank = 1 if money_sign(level.fee) != 0 else 0


cdef int book_share(State* st, int32_t order, int64_t booked_e8, Result* out) except -1 nogil:
    # Books this much of an external order as ours; the rest of it is its owner's.
    cdef Order* o = &st.orders[order]
    cdef Change c
    memset(&c, 0, sizeof(Change))
    share_of(&o.whole, booked_e8, st.trades[o.trade].taker_fee_e9, &c.level)
    if level_equal(&c.level, &o.level):
        return 0
    if money_of_change(st, o, &st.trades[o.trade], &c) != D_OK:
        return 0                # beyond the range of money: what is booked stays
    c.grown = 0                 # nothing was filled now: what moves is of the order's own time
    change_write(st, o, &c, out)
    return 0


cdef bint comes_before(const Order* one, const Order* other) noexcept nogil:
    # By the venue's id, which grows with time: who was heard first must not matter.
    if (one.venue_key == 0) != (other.venue_key == 0):
        return one.venue_key != 0
    if one.venue_key != other.venue_key:
        return one.venue_key < other.venue_key
    return one.order_no < other.order_no


cdef int32_t external_after(const State* st, const Trade* t, int32_t previous) noexcept nogil:
    # The external order of a trade that is next after this one (-1: the first); -1: none is.
    cdef int32_t order = t.orders
    cdef int32_t found = -1
    while order >= 0:
        if st.orders[order].flags & EXTERNAL and order != previous:
            if previous < 0 or comes_before(&st.orders[previous], &st.orders[order]):
                if found < 0 or comes_before(&st.orders[order], &st.orders[found]):
                    found = order
        order = st.orders[order].next
    return found


cdef int64_t unlocked_part(const State* st, const Trade* t) noexcept nogil:
    # What is booked of external orders whose part a position has not settled yet.
    cdef int32_t order = t.orders
    cdef int64_t total = 0
    while order >= 0:
        if st.orders[order].flags & (EXTERNAL | LOCKED) == EXTERNAL:
            total += st.orders[order].level.filled_e8
        order = st.orders[order].next
    return total


cdef int rebook(State* st, int32_t trade, Result* out) except -1 nogil:
    # Of what others closed, ours is what our own orders left open: a function of levels, so that it
    # does not matter who was heard first.  A position settles it, and then it is locked.
    cdef Trade* t = &st.trades[trade]
    cdef int32_t order = external_after(st, t, -1)
    cdef Order* o
    cdef int64_t room = t.sums.entered_e8 - t.sums.exited_e8 + unlocked_part(st, t)
    cdef int64_t share
    if t.externals == 0:
        return 0
    while order >= 0:
        o = &st.orders[order]
        share = o.level.filled_e8
        if not o.flags & LOCKED:
            share = o.whole.filled_e8 if o.whole.filled_e8 < room else room
            if share < 0:
                share = 0
            room -= share
        if not o.flags & NETTED:
            book_share(st, order, share, out)
        order = external_after(st, t, order)
    return foreign_share(st, trade)


cdef int foreign_share(State* st, int32_t trade) except -1 nogil:
    # What the others' part of those orders did to the wallet: flows of theirs, named once.
    cdef Trade* t = &st.trades[trade]
    cdef int32_t order = t.orders
    cdef const Order* o
    cdef money_t total = 0
    cdef money_t ours = 0
    cdef money_t delta = 0
    cdef money_t level = 0
    cdef bint known = t.sums.entry_priced_e8 == t.sums.entered_e8
    while order >= 0 and known:
        o = &st.orders[order]
        order = o.next
        if not o.flags & EXTERNAL or o.flags & NETTED or o.whole.filled_e8 == 0:
            continue
        if not is_known(&o.whole):
            known = False
            break
        if o.level.filled_e8 == o.whole.filled_e8:
            continue            # all of it is ours
        if o.level.filled_e8 > 0 and o.whole.priced_e8 < o.whole.filled_e8:
            known = False       # nobody can say what our part made
            break
        if estimate(t, &t.sums, o.level.filled_e8, o.level.cost, &ours):
            known = False
            break
        if (money_add(total, o.whole.realized, &total) or money_sub(total, o.whole.fee, &total)
                or money_sub(total, ours, &total) or money_add(total, o.level.fee, &total)):
            known = False
    if not known:
        total = 0
    if money_sub(total, t.foreign, &delta) or money_add(st.ledger.foreign, delta, &level):
        return 0
    t.foreign = total
    st.ledger.foreign = level
    return 0


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
    if not room_beside_exits(st):
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
