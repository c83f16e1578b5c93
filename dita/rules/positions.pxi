# A position of the venue's against ours: agreement, doubt, and what is foreign.
#
# The slots of a symbol (in hedge mode of one side of it) are compared by their sum.  An answer ends a
# doubt, settles whose closes were whose, nets opposite slots of ours, or begins a doubt; it never
# invents a fill.

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
    if theirs != 0 and turned_up(st, e, side, theirs, out):
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


cdef int turned_up(State* st, const Input* e, int side, int64_t theirs, Result* out) except -1 nogil:
    # What was written off is there after all, or somebody has opened the same: it gets a slot in
    # doubt, and a person decides whose it is.  Returns 1 when it was so.
    cdef int32_t trade = trade_written_off(st, e.asset_key, side, theirs)
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
    if out.trade_no == 0:
        out.trade_no = t.trade_no
        out.order_no = o.order_no
    change_write(st, o, &c, out)
    foreign_set(st, foreign_key(st, e.asset_key, side), theirs - t.side * back, position_ms(st, e))
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
        g.net = quantity_sum(g.net, t.side * size_of(t))
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
    if theirs != g.net and ask_records_again(st, &g):
        return position_in_question(st, e, &g, theirs, out)
    if not st.config.hedge:
        net_slots(st, &g, position_ms(st, e), out)
    give_back_overfill(st, &g, theirs, out)
    group_of(st, e.asset_key, side, &g)         # what netting has left
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


cdef bint ask_records_again(State* st, const Group* g) except -1 nogil:
    # The records took a fill back and the position does not agree: they may have lagged behind, so
    # they are asked once more before anything is concluded.
    cdef int32_t i
    cdef int32_t order
    cdef bint asked = False
    for i in range(g.count):
        order = st.trades[st.slots[g.slots[i]].trade].orders
        while order >= 0:
            if st.orders[order].flags & WITHDRAWN:
                st.orders[order].flags &= <uint16_t>(~WITHDRAWN)
                order_unfinalise(st, &st.orders[order])
                request(st, DO_FINALISE, g.slots[i], order, -1)
                asked = True
            order = st.orders[order].next
    return asked


cdef int position_in_question(State* st, const Input* e, const Group* g, int64_t theirs, Result* out) except -1 nogil:
    cdef int32_t i
    note(out, D_POSITION_DISAGREES)
    for i in range(g.count):
        if not is_done(st, g.slots[i]):
            go_stale(st, g.slots[i])
            prove_at_most(st, g.slots[i], on_side(&st.trades[st.slots[g.slots[i]].trade], theirs),
                          position_ms(st, e))
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
        closed = on_side(t, quantity_sum(theirs, -g.net))
        if closed > 0:
            note(out, D_POSITION_DISAGREES)
            closed = over if over < closed else closed
            t.returned_e8 += closed
            g.net = quantity_sum(g.net, t.side * closed)


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
        ours = quantity_sum(ours, size_of(t))
    if there < 0:
        there = 0
    for i in range(g.count):
        t = &st.trades[st.slots[g.slots[i]].trade]
        if t.side != g.side:
            continue            # netted: what is left is on the other side
        booked = t.sums.exited_e8
        wanted = ours - there   # more is booked when something is missing, less when it is there
        if wanted > size_of(t):
            wanted = size_of(t)
        wanted += unlocked_part(st, t)
        order = external_after(st, t, -1)
        while order >= 0:       # the earliest closed first
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
            foreign_set(st, foreign_key(st, e.asset_key, g.side), quantity_sum(theirs, -g.net),
                        position_ms(st, e))
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
    forget_withdrawn(st, t)
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
            if ((s.flags & RECOVERY) != 0) == (round_ == 0) and not is_done(st, g.slots[i]):
                part = missing if missing < s.proven_e8 else s.proven_e8
                s.proven_e8 -= part
                missing -= part
                if part > 0 and s.short_ms == 0:
                    s.short_ms = position_ms(st, e)
    return 0
