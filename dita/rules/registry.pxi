# Tables of orders and trades, duplicate detection, the ring of recent flows, requested effects.
#
# Everything here is bookkeeping without judgement: it finds, adds and removes.  Nothing allocates:
# all tables are made at start, and a full table is an answer, never a crash.  Orders and trades are
# given up only when their trade's record is closed, oldest first, and only when room is needed.


@cython.overflowcheck(False)
cdef inline int64_t probe_find(const Probe* table, uint64_t mask, uint64_t key) noexcept nogil:
    # noexcept: masks and shifts only.  Answers the value, 0 when the key is not there.
    cdef uint64_t i = key_mix(key) & mask
    while table[i].value != 0:
        if table[i].key == key:
            return table[i].value
        i = (i + 1) & mask
    return 0


@cython.overflowcheck(False)
cdef void probe_put(Probe* table, uint64_t mask, uint64_t key, int64_t value) noexcept nogil:
    # noexcept: masks only.  The table is twice as large as what it indexes: it never fills.
    cdef uint64_t i = key_mix(key) & mask
    while table[i].value != 0 and table[i].key != key:
        i = (i + 1) & mask
    table[i].key = key
    table[i].value = value


@cython.overflowcheck(False)
cdef void probe_remove(Probe* table, uint64_t mask, uint64_t key) noexcept nogil:
    # noexcept: masks only.  Moves later entries back so that no hole cuts their chain.
    cdef uint64_t hole = key_mix(key) & mask
    cdef uint64_t i
    cdef uint64_t home
    while table[hole].value != 0 and table[hole].key != key:
        hole = (hole + 1) & mask
    if table[hole].value == 0:
        return
    i = hole
    while True:
        i = (i + 1) & mask
        if table[i].value == 0:
            break
        home = key_mix(table[i].key) & mask
        if ((i - home) & mask) >= ((i - hole) & mask):
            table[hole] = table[i]
            hole = i
    table[hole].key = 0
    table[hole].value = 0


cdef inline int32_t order_by_venue(const State* st, uint64_t key) noexcept nogil:
    return <int32_t>(probe_find(st.by_venue, st.probe_mask, key)) - 1


cdef inline int32_t order_by_client(const State* st, uint64_t key) noexcept nogil:
    return <int32_t>(probe_find(st.by_client, st.probe_mask, key)) - 1


cdef inline bint is_ended(const Order* o) noexcept nogil:
    return o.status >= FILLED


cdef inline bint is_terminal(const Order* o) noexcept nogil:
    return o.status >= FILLED and (o.flags & FINAL) != 0


# -- room ----------------------------------------------------------------------------------------

cdef inline bint room_for_entry(const State* st) noexcept nogil:
    # Every slot in use keeps room for two more orders: an exit must never find the registry full.
    cdef int64_t trades = st.config.trades - st.trades_used + st.retired_live
    return trades >= 1 and orders_left(st) >= 2 + 2 * <int64_t>st.active


cdef inline bint room_beside_exits(const State* st) noexcept nogil:
    # For an order of a slot in use that is no exit of ours.
    return orders_left(st) >= 1 + 2 * <int64_t>st.active


cdef inline int64_t orders_left(const State* st) noexcept nogil:
    return st.config.orders - st.orders_used + st.retired_orders


cdef void order_release(State* st, int32_t index) noexcept nogil:
    cdef Order* o = &st.orders[index]
    if o.flags & EXTERNAL:
        st.trades[o.trade].externals -= 1
    if o.flags & BOUND:
        if probe_find(st.own, st.own_mask, o.venue_key) < o.last_fill_ms + 1:
            probe_put(st.own, st.own_mask, o.venue_key, o.last_fill_ms + 1)     # it is in there
        probe_remove(st.by_venue, st.probe_mask, o.venue_key)
    probe_remove(st.by_client, st.probe_mask, o.client_key)
    memset(o, 0, sizeof(Order))
    o.next = st.order_free
    st.order_free = index
    st.orders_used -= 1


cdef void trade_release(State* st, int32_t index) noexcept nogil:
    cdef Trade* t = &st.trades[index]
    cdef int32_t order = t.orders
    cdef int32_t following
    while order >= 0:
        following = st.orders[order].next
        order_release(st, order)
        order = following
    memset(t, 0, sizeof(Trade))
    t.orders = -1
    t.slot = -1
    t.next = st.trade_free
    st.trade_free = index
    st.trades_used -= 1


@cython.cdivision(True)
cdef bint give_up_oldest(State* st) noexcept nogil:
    # noexcept: counters within the tables' sizes.  A trade that was opened again is passed over.
    cdef int32_t index
    cdef Trade* t
    while st.retired_count > 0:
        index = st.retired[st.retired_first]
        st.retired_first = (st.retired_first + 1) % st.config.trades
        st.retired_count -= 1
        t = &st.trades[index]
        t.flags &= <uint8_t>(~QUEUED)
        if t.flags & CLOSED:
            st.retired_live -= 1
            st.retired_orders -= t.order_count
            trade_release(st, index)
            return True
    return False


@cython.cdivision(True)
cdef void trade_retire(State* st, int32_t index) noexcept nogil:
    # noexcept: a trade stands in the ring once at the most, so the ring never overflows.
    cdef Trade* t = &st.trades[index]
    t.flags |= CLOSED
    money_sub(st.ledger.fees_estimated, t.sums.fees_estimated, &st.ledger.fees_estimated)
    st.ledger.unsettled -= t.sums.unsettled
    st.retired_live += 1
    st.retired_orders += t.order_count
    if not t.flags & QUEUED:
        t.flags |= QUEUED
        st.retired[(st.retired_first + st.retired_count) % st.config.trades] = index
        st.retired_count += 1


cdef void trade_reopen(State* st, Trade* t) noexcept nogil:
    if t.flags & CLOSED:
        t.flags &= <uint8_t>(~CLOSED)
        st.retired_live -= 1
        st.retired_orders -= t.order_count
        money_add(st.ledger.fees_estimated, t.sums.fees_estimated, &st.ledger.fees_estimated)
        st.ledger.unsettled += t.sums.unsettled


cdef int32_t trade_new(State* st) noexcept nogil:
    cdef int32_t index
    cdef Trade* t
    if st.trade_free < 0 and not give_up_oldest(st):
        return -1
    index = st.trade_free
    t = &st.trades[index]
    st.trade_free = t.next
    st.trades_used += 1
    memset(t, 0, sizeof(Trade))
    st.next_trade_no += 1
    t.trade_no = st.next_trade_no
    t.orders = -1
    t.slot = -1
    t.last_slot = -1
    return index


cdef bint give_up_empty(State* st, int32_t trade) noexcept nogil:
    # An exit that is rejected for hours must not fill the registry: of this trade's own orders the
    # oldest that is terminal without a fill is given up.  Never the newest: it is the slot's exit.
    cdef int32_t* link = &st.trades[trade].orders
    cdef int32_t* oldest = NULL
    cdef int32_t index
    cdef int32_t slot
    if link[0] < 0:
        return False
    link = &st.orders[link[0]].next
    while link[0] >= 0:
        if is_terminal(&st.orders[link[0]]) and st.orders[link[0]].level.filled_e8 == 0:
            # A close from outside that may still be booked is one that is needed.
            if st.orders[link[0]].flags & (EXTERNAL | LOCKED) != EXTERNAL:
                oldest = link
        link = &st.orders[link[0]].next
    if oldest == NULL:
        return False
    index = oldest[0]
    oldest[0] = st.orders[index].next
    slot = st.trades[trade].slot
    if slot >= 0 and st.slots[slot].entry_order == index:
        st.slots[slot].entry_order = -1
    st.trades[trade].order_count -= 1
    order_release(st, index)
    return True


cdef int32_t order_new(State* st, int32_t trade, uint8_t role, int side, int64_t quantity) noexcept nogil:
    cdef int32_t index
    cdef Order* o
    cdef Trade* t
    if st.order_free < 0 and not (give_up_oldest(st) or give_up_empty(st, trade)):
        return -1
    index = st.order_free
    o = &st.orders[index]
    t = &st.trades[trade]
    st.order_free = o.next
    st.orders_used += 1
    memset(o, 0, sizeof(Order))
    st.next_order_no += 1
    o.order_no = st.next_order_no
    o.client_key = o.order_no
    o.trade = trade
    o.role = role
    o.side = <int8_t>side
    o.intended_e8 = quantity
    o.status = REQUESTED
    o.next = t.orders
    t.orders = index
    t.open_orders += 1
    t.order_count += 1
    if t.flags & CLOSED:
        st.retired_orders += 1
    probe_put(st.by_client, st.probe_mask, o.client_key, index + 1)
    return index


cdef inline int order_bind(State* st, int32_t index, uint64_t venue_key) except -1 nogil:
    cdef Order* o = &st.orders[index]
    if venue_key != 0 and not o.flags & BOUND:
        o.venue_key = venue_key
        o.flags |= BOUND
        probe_put(st.by_venue, st.probe_mask, venue_key, index + 1)
        own_note(st, venue_key, st.now_ms + st.ledger.exchange_offset_ms)
    return 0


cdef void order_end(State* st, Order* o, uint8_t status) noexcept nogil:
    if not is_ended(o):
        o.status = status


cdef void order_is_external(State* st, Order* o) noexcept nogil:
    # An order that is not ours: our trade never waits for its end.
    cdef Trade* t = &st.trades[o.trade]
    o.flags |= EXTERNAL
    t.open_orders -= 1
    t.externals += 1
    t.unlocked += 1


cdef void order_lock(State* st, Order* o) noexcept nogil:
    # Our share of an external order stays as it is from now on.
    if o.flags & EXTERNAL and not o.flags & LOCKED:
        o.flags |= LOCKED
        st.trades[o.trade].unlocked -= 1


cdef void order_unlock(State* st, Order* o) noexcept nogil:
    # Our share of an external order follows from our own orders again.
    if o.flags & (EXTERNAL | NETTED | LOCKED) == (EXTERNAL | LOCKED):
        o.flags &= <uint16_t>(~LOCKED)
        st.trades[o.trade].unlocked += 1


cdef void order_finalise(State* st, Order* o) noexcept nogil:
    if not o.flags & FINAL:
        o.flags |= FINAL
        if not o.flags & EXTERNAL:
            st.trades[o.trade].open_orders -= 1


cdef void order_unfinalise(State* st, Order* o) noexcept nogil:
    # A fill after the final figures: the venue contradicts itself, so ask again.
    if o.flags & FINAL:
        o.flags &= <uint16_t>(~FINAL)
        if not o.flags & EXTERNAL:
            st.trades[o.trade].open_orders += 1


# -- duplicates: two generations of keys; the older one is forgotten when the newer is full -------

@cython.overflowcheck(False)
cdef inline bint seen_in(const uint64_t* table, uint64_t mask, uint64_t key) noexcept nogil:
    cdef uint64_t i = key_mix(key) & mask
    while table[i] != 0:
        if table[i] == key:
            return True
        i = (i + 1) & mask
    return False


@cython.overflowcheck(False)
cdef bint was_seen(const State* st, uint64_t key) noexcept nogil:
    if key == 0:
        return False
    return (seen_in(st.seen, st.seen_mask, key)
            or seen_in(st.seen + st.seen_mask + 1, st.seen_mask, key))


@cython.overflowcheck(False)
cdef void remember(State* st, uint64_t key) noexcept nogil:
    # noexcept: masks only; a generation is half full at most.
    cdef uint64_t* table
    cdef uint64_t i
    if key == 0:
        return
    if st.seen_count[st.seen_now] >= st.config.seen:
        st.seen_now = 1 - st.seen_now
        st.seen_count[st.seen_now] = 0
        memset(st.seen + st.seen_now * (st.seen_mask + 1), 0, (st.seen_mask + 1) * sizeof(uint64_t))
    table = st.seen + st.seen_now * (st.seen_mask + 1)
    i = key_mix(key) & st.seen_mask
    while table[i] != 0 and table[i] != key:
        i = (i + 1) & st.seen_mask
    if table[i] == 0:
        table[i] = key
        st.seen_count[st.seen_now] += 1


# -- rejections: the venue counts equal ones per endpoint, and blocks it (dossier §1.5) ------------

cdef void error_note(State* st, int64_t error_code) noexcept nogil:
    # noexcept: a ring; what is pushed out of it is the oldest.
    cdef int32_t at
    if st.errors_count == ERRORS_KEPT:
        st.errors_first = (st.errors_first + 1) & (ERRORS_KEPT - 1)
        st.errors_count -= 1
    at = (st.errors_first + st.errors_count) & (ERRORS_KEPT - 1)
    st.errors[at].when_ms = st.now_ms
    st.errors[at].error_code = error_code
    st.errors_count += 1


cdef int error_count(const State* st, int64_t error_code, int64_t now_ms) noexcept nogil:
    cdef int32_t i
    cdef int found = 0
    cdef const Rejection* r
    for i in range(st.errors_count):
        r = &st.errors[(st.errors_first + i) & (ERRORS_KEPT - 1)]
        if r.error_code == error_code and now_ms - r.when_ms < ERROR_WINDOW_MS:
            found += 1
    return found


cdef int64_t errors_below_ms(const State* st, int64_t error_code, int limit, int64_t now_ms) noexcept nogil:
    # From when on fewer than `limit` rejections with this code are in the window; 0: they are now.
    cdef int32_t i
    cdef const Rejection* r
    cdef int over = error_count(st, error_code, now_ms) - limit + 1
    if over <= 0:
        return 0
    for i in range(st.errors_count):
        r = &st.errors[(st.errors_first + i) & (ERRORS_KEPT - 1)]
        if r.error_code == error_code and now_ms - r.when_ms < ERROR_WINDOW_MS:
            over -= 1
            if over == 0:
                return r.when_ms + ERROR_WINDOW_MS
    return 0


cdef int64_t errors_wait_ms(const State* st, int limit, int64_t now_ms) noexcept nogil:
    # From when on no code has as many rejections as `limit`; 0: none has.
    cdef int32_t i
    cdef int64_t at
    cdef int64_t latest = 0
    for i in range(st.errors_count):
        at = errors_below_ms(
            st, st.errors[(st.errors_first + i) & (ERRORS_KEPT - 1)].error_code, limit, now_ms)
        if at > latest:
            latest = at
    return latest


# -- own orders: which venue ids were ever ours, for as long as an income row can name them --------

cdef int own_grow(State* st) except -1 nogil:
    # Twice as large.  A table that cannot grow ends the process: who is whose must stay exact.
    cdef uint64_t size = 2 * (st.own_mask + 1)
    cdef uint64_t i
    cdef Probe* larger = <Probe*>calloc(size, sizeof(Probe))
    if larger == NULL:
        fault(b"no memory for the ids of own orders")
    for i in range(st.own_mask + 1):
        if st.own[i].value != 0:
            probe_put(larger, size - 1, st.own[i].key, st.own[i].value)
    free(st.own)
    st.own = larger
    st.own_mask = size - 1
    return 0


cdef int own_note(State* st, uint64_t venue_key, int64_t exchange_ms) except -1 nogil:
    # The value is the time of what was heard of it last, and one more, as 0 means empty.
    cdef int64_t known = probe_find(st.own, st.own_mask, venue_key)
    if venue_key == 0:
        return 0
    if known == 0:
        if 2 * <uint64_t>(st.own_count + 1) > st.own_mask:
            own_grow(st)
        st.own_count += 1
    if known < exchange_ms + 1:
        probe_put(st.own, st.own_mask, venue_key, exchange_ms + 1)
    return 0


cdef int own_forget(State* st, int64_t before_ms) except -1 nogil:
    # Rows of that time are never read again (RECONCILE reads the registry's orders itself).
    cdef uint64_t size = st.own_mask + 1
    cdef uint64_t i
    cdef Probe* kept = <Probe*>calloc(size, sizeof(Probe))
    if kept == NULL:
        fault(b"no memory for the ids of own orders")
    st.own_count = 0
    for i in range(size):
        if st.own[i].value == 0:
            continue
        if st.own[i].value > before_ms or order_by_venue(st, st.own[i].key) >= 0:
            probe_put(kept, size - 1, st.own[i].key, st.own[i].value)
            st.own_count += 1
    free(st.own)
    st.own = kept
    return 0


# -- flows: what changed the account, by exchange time, since the anchor ---------------------------

cdef void flow_class(const Ledger* k, int64_t exchange_ms, int* after, int* near) noexcept nogil:
    after[0] = exchange_ms > k.anchor_ms + AMBIGUOUS_MS
    near[0] = not after[0] and exchange_ms >= k.anchor_from_ms - AMBIGUOUS_MS


cdef inline void flow_add(State* st, int64_t exchange_ms, money_t amount, int64_t is_fill) noexcept nogil:
    # noexcept: the sums were proven in range by the caller (ledger_fits).
    cdef int after = 0
    cdef int near = 0
    cdef Ledger* k = &st.ledger
    cdef Flow* oldest
    cdef Flow* second
    if money_sign(amount) == 0:
        return
    if k.anchored:
        flow_class(k, exchange_ms, &after, &near)
        if after:
            money_add(k.bridged, amount, &k.bridged)
            k.bridged_count += 1
        elif near:
            money_add(k.ambiguous, amount, &k.ambiguous)
            k.ambiguous_count += 1
        else:
            return
    if st.flows_count == FLOWS_MAX:
        # Full: the two oldest become one, at the later time.  Their sum stays exact.
        oldest = &st.flows[st.flows_first]
        st.flows_first = (st.flows_first + 1) & (FLOWS_MAX - 1)
        second = &st.flows[st.flows_first]
        money_add(second.amount, oldest.amount, &second.amount)
        if oldest.exchange_ms > second.exchange_ms:
            second.exchange_ms = oldest.exchange_ms
        second.is_fill &= oldest.is_fill
        st.flows_count -= 1
    st.flows[(st.flows_first + st.flows_count) & (FLOWS_MAX - 1)].exchange_ms = exchange_ms
    st.flows[(st.flows_first + st.flows_count) & (FLOWS_MAX - 1)].amount = amount
    st.flows[(st.flows_first + st.flows_count) & (FLOWS_MAX - 1)].is_fill = is_fill
    st.flows_count += 1


cdef void flows_anchor(State* st) noexcept nogil:
    # Sorts the remembered flows anew against the new anchor and forgets what it holds.
    cdef Ledger* k = &st.ledger
    cdef int32_t count = st.flows_count
    cdef int32_t i
    cdef Flow flow
    k.bridged = 0
    k.ambiguous = 0
    k.bridged_count = 0
    k.ambiguous_count = 0
    for i in range(count):
        flow = st.flows[st.flows_first]
        st.flows_first = (st.flows_first + 1) & (FLOWS_MAX - 1)
        st.flows_count -= 1
        if k.anchor_quiet and flow.is_fill and flow.exchange_ms <= k.anchor_ms:
            continue                    # asked for after our last fill: it is in there
        flow_add(st, flow.exchange_ms, flow.amount, flow.is_fill)


cdef int capital(const Ledger* k, money_t* out) noexcept nogil:
    # What is published: the newest anchor and own flows clearly after it; before any anchor, K.
    # Answers 1 when it leaves the range.
    if k.anchored:
        return money_add(k.wallet, k.bridged, out)
    return k_capital(k, out)


cdef int k_capital(const Ledger* k, money_t* out) noexcept nogil:
    # K: the seed and every flow since.  Answers 1 when it leaves the range.
    cdef money_t total = k.seed
    cdef int bad = money_add(total, k.realized, &total)
    bad |= money_add(total, k.trueup, &total)
    bad |= money_sub(total, k.fees, &total)
    bad |= money_add(total, k.funding, &total)
    bad |= money_add(total, k.transfers, &total)
    bad |= money_add(total, k.adjustments, &total)
    out[0] = total
    return bad


cdef inline void track_peak(Ledger* k) noexcept nogil:
    cdef money_t now = 0
    if not capital(k, &now) and money_cmp(now, k.peak) > 0:
        k.peak = now


# -- effects and notes ---------------------------------------------------------------------------

cdef inline void note(Result* out, int code) noexcept nogil:
    out.notes |= (<uint64_t>1) << code


cdef Request* request(State* st, int kind, int slot, int32_t order, int32_t trade) except NULL nogil:
    cdef Request* r
    if st.request_count >= st.config.requests:
        fault(b"more effects than one input can ask for")
    r = &st.requests[st.request_count]
    st.request_count += 1
    memset(r, 0, sizeof(Request))
    r.kind = <int16_t>kind
    r.slot = <int16_t>slot
    r.order = order
    if order >= 0:
        r.order_no = st.orders[order].order_no
        trade = st.orders[order].trade
    if trade >= 0:
        r.trade_no = st.trades[trade].trade_no
        r.trade_key = st.trades[trade].trade_key
        r.asset_key = st.trades[trade].asset_key
    return r
