# Account frames and the passing of time.
#
# A balance-bearing frame anchors E.  K, the checksum, is never moved by one; only the first frame
# seeds it.  A tick does what is due: exits whose wait is over, orders past their time, records whose
# venue figures never came.

cdef int in_flight(const State* st) noexcept nogil:
    # Own orders whose effect on the balance may be on its way; a resting LIMIT is not one of them.
    cdef int32_t i
    cdef int32_t left = st.active
    cdef int32_t order
    for i in range(st.config.slots):
        if left == 0:
            break
        if st.slots[i].trade < 0:
            continue
        left -= 1
        order = st.trades[st.slots[i].trade].orders
        while order >= 0:
            if not is_ended(&st.orders[order]):
                if st.orders[order].status != WORKING or st.orders[order].order_type != 1:
                    return 1
            order = st.orders[order].next
    return 0


cdef int seed_for(const State* st, const Input* e, int64_t when, money_t* out) noexcept nogil:
    # The seed with which K, less the flows that come after this first anchor, equals the wallet.
    # Returns 1 when it leaves the range.
    cdef const Ledger* k = &st.ledger
    cdef money_t total = 0
    cdef int32_t i
    cdef const Flow* flow
    cdef int bad = k_capital(k, &total)
    for i in range(st.flows_count):
        flow = &st.flows[(st.flows_first + i) & (FLOWS_MAX - 1)]
        if flow.exchange_ms > when + AMBIGUOUS_MS:
            bad |= money_sub(total, flow.amount, &total)
    bad |= money_sub(e.realized, total, &total)
    bad |= money_add(k.seed, total, out)
    return bad


cdef int zero_wallet(State* st, const Input* e, Result* out) except -1 nogil:
    # Never an anchor.  A stream frame only makes us ask; an answer to a question is believed.
    if e.source == FROM_STREAM:
        request(st, DO_QUERY_BALANCE, -1, -1, -1)
        return D_ZERO_WALLET
    accept(st, e, out)
    st.ledger.frozen |= FREEZE_WALLET
    note(out, D_WALLET_EMPTY)
    return cancel_entries(st)


cdef int anchor(State* st, const Input* e, Result* out) except -1 nogil:
    cdef Ledger* k = &st.ledger
    cdef int64_t when = e.exchange_ms if e.exchange_ms > 0 else venue_now(st, e.received_ms)
    cdef money_t seed = 0
    if not e.flags & HAS_REALIZED:
        return refuse_field(out, FIELD_MONEY, D_INVALID_EVENT)
    if is_ahead(st, e):
        return refuse_field(out, FIELD_TIME, D_INVALID_EVENT)
    if k.anchored and when < k.anchor_ms:
        return D_OLD_ANCHOR
    if money_sign(e.realized) <= 0:
        return zero_wallet(st, e, out)
    if not k.seeded and seed_for(st, e, when, &seed):
        return D_ARITHMETIC_LIMIT
    accept(st, e, out)
    if not k.seeded:
        k.seed = seed
        k.seeded = 1
        k.income_from_ms = when     # the seed is the wallet of now: it holds every row up to here
        k.income_read_ms = when
    k.wallet = e.realized
    if e.source != FROM_STREAM or money_sign(e.fee) != 0:
        k.available_margin = e.fee      # frames of the stream need not carry it
    k.anchored = 1
    k.anchor_ms = when
    k.anchor_from_ms = when
    if e.source != FROM_STREAM and 0 < e.limit_ms < when:
        k.anchor_from_ms = e.limit_ms
    k.anchor_received_ms = e.received_ms
    k.anchor_reason = e.reason
    k.anchor_quiet = (e.source != FROM_STREAM and e.limit_ms > 0
                      and e.limit_ms >= k.last_fill_ms and not in_flight(st))
    k.frozen &= ~FREEZE_WALLET
    flows_anchor(st)
    track_peak(k)
    return D_OK


cdef int account_flow(State* st, const Input* e, Result* out) except -1 nogil:
    # Funding or a transfer, signed as its effect on the account; one identity each.
    cdef Ledger* k = &st.ledger
    cdef int64_t when = e.exchange_ms
    cdef money_t total = 0
    if not e.flags & HAS_REALIZED:
        return refuse_field(out, FIELD_MONEY, D_INVALID_EVENT)
    if e.event_key == 0:
        return refuse_field(out, FIELD_INTENT, D_INVALID_EVENT)
    if was_seen(st, e.event_key):
        return D_DUPLICATE_EVENT
    if money_add(k.funding if e.kind == IN_FUNDING_FEE else k.transfers, e.realized, &total):
        return D_ARITHMETIC_LIMIT
    if not bridge_fits(st, e.realized):
        return D_ARITHMETIC_LIMIT
    accept(st, e, out)
    if when == 0 or is_ahead(st, e):
        when = venue_now(st, e.received_ms)
    if e.kind == IN_FUNDING_FEE:
        k.funding = total
    else:
        k.transfers = total
    remember(st, e.event_key)
    k.flow_total += 1
    flow_add(st, when, e.realized, 0)
    track_peak(k)
    return D_OK


cdef int foreign_flow(State* st, const Input* e, Result* out) except -1 nogil:
    # What somebody else did on the account: E moved, K does not, and the difference has a name.
    cdef Ledger* k = &st.ledger
    cdef money_t total = 0
    # What has no label may be the funding that a frame announced: it must not be explained twice.
    cdef bint funding = e.reason == BALANCE_FUNDING or e.reason == BALANCE_UNKNOWN
    cdef money_t kind = k.foreign_funding if funding else k.foreign_transfers
    if not e.flags & HAS_REALIZED:
        return refuse_field(out, FIELD_MONEY, D_INVALID_EVENT)
    if e.event_key == 0:
        return refuse_field(out, FIELD_INTENT, D_INVALID_EVENT)
    if was_seen(st, e.event_key):
        return D_DUPLICATE_EVENT
    if money_add(k.foreign, e.realized, &total) or money_add(kind, e.realized, &kind):
        return D_ARITHMETIC_LIMIT
    accept(st, e, out)
    k.foreign = total
    if funding:
        k.foreign_funding = kind
    elif e.reason == BALANCE_TRANSFER:
        k.foreign_transfers = kind
    remember(st, e.event_key)
    k.flow_total += 1
    return D_OK


cdef int income_read(State* st, const Input* e, Result* out) except -1 nogil:
    # Every income row up to this time of the venue has been read.
    cdef Ledger* k = &st.ledger
    if e.exchange_ms <= 0 or is_ahead(st, e):
        return refuse_field(out, FIELD_TIME, D_INVALID_EVENT)
    if e.exchange_ms <= k.income_read_ms:
        return D_DUPLICATE_EVENT
    accept(st, e, out)
    k.income_read_ms = e.exchange_ms
    own_forget(st, k.income_read_ms - OWN_KEPT_MS)
    return D_OK


cdef bint exit_waits_for_a_tick(const State* st, const Slot* s, const Trade* t) noexcept nogil:
    # Its time has come with an input of something else, and nothing has looked at it since.
    if not exit_may_go(st, s, t):
        return False
    return exit_quantity(st, s, t) > 0 or exits_out(st, t) == 0


cdef int64_t due_in_slot(const State* st, const Slot* s) noexcept nogil:
    # When time alone would change something in this slot; TIME_MAX_MS when nothing is waiting.
    cdef const Trade* t = &st.trades[s.trade]
    cdef int64_t due = TIME_MAX_MS
    cdef int64_t at
    if exit_outstanding(s, t) and not is_dust(s, t) and not is_live(st, s.exit_order):
        at = exit_wait_ms(st, s)
        if at == 0 and exit_waits_for_a_tick(st, s, t):
            at = st.now_ms
        due = at if 0 < at < due else due
    if is_live(st, s.exit_order) and 0 < st.orders[s.exit_order].deadline_ms < due:
        due = st.orders[s.exit_order].deadline_ms
    if is_live(st, s.entry_order) and 0 < st.orders[s.entry_order].deadline_ms < due:
        due = st.orders[s.entry_order].deadline_ms
    return due


cdef bint record_waits(const State* st, const Trade* t) noexcept nogil:
    # Flat, and its sizer or its record waits for figures until a limit; not where more than time
    # is missing.
    if t.flags & CLOSED or t.flat_ms == 0:
        return False
    if t.slot >= 0:
        return not t.flags & FED and not st.slots[t.slot].flags & STALE and t.sums.exited_e8 > 0
    return t.open_orders == 0 and (t.sums.pending > 0 or not t.flags & FED)


cdef int64_t due_of(const State* st) noexcept nogil:
    # When a TICK would do something; 0 when nothing waits for time.
    cdef int64_t due = TIME_MAX_MS
    cdef int64_t at
    cdef int32_t i
    cdef int32_t left = st.trades_used
    cdef const Trade* t
    for i in range(st.config.trades):
        if left == 0:
            break
        t = &st.trades[i]
        if t.trade_no == 0:
            continue
        left -= 1
        if t.slot >= 0:
            at = due_in_slot(st, &st.slots[t.slot])
            due = at if at < due else due
        if record_waits(st, t):
            at = t.flat_ms + RECORD_LIMIT_MS
            due = at if at < due else due
    return due if due < TIME_MAX_MS else 0


cdef int hurry(State* st, int32_t slot, int32_t order) except -1 nogil:
    # An order past its time is taken back, and asked about.  What a cancelled exit leaves goes MARKET.
    cdef Order* o
    if not is_live(st, order):
        return 0
    o = &st.orders[order]
    if o.deadline_ms == 0 or st.now_ms < o.deadline_ms:
        return 0
    o.deadline_ms = 0
    request(st, DO_QUERY_ORDER, slot, order, -1)
    if o.role == ENTRY or o.order_type > 0:
        cancel_order(st, slot, order)
    return 0


cdef int tick(State* st, const Input* e, Result* out) except -1 nogil:
    cdef Result each
    cdef int32_t i
    cdef int32_t left = st.active
    cdef int before
    accept(st, e, out)
    if e.exchange_ms > 0:
        st.ledger.exchange_offset_ms = e.exchange_ms - e.received_ms
    memset(&each, 0, sizeof(Result))
    for i in range(st.config.slots):
        if left == 0:
            break
        if st.slots[i].trade >= 0:
            left -= 1
            hurry(st, i, st.slots[i].entry_order)
            hurry(st, i, st.slots[i].exit_order)
            before = st.slots[i].state
            settle_slot(st, i, &each)
            hold_to_table(st, &st.table[before][IN_TICK], i, &each)
    left = st.trades_used
    for i in range(st.config.trades):
        if left == 0:
            break
        if st.trades[i].trade_no != 0:
            left -= 1
            if st.trades[i].slot < 0 and not st.trades[i].flags & CLOSED:
                feed_sizer(st, i)
                close_record(st, i)
    out.notes |= each.notes
    return D_OK
