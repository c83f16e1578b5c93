# WRITE_OFF: a position of ours is gone, and no record of the venue's tells how.
#
# A person proposes nothing here: the quantity is what the last position lacked, the money is what
# income rows say, and what the wallet lost beyond that stays unexplained.

cdef bint rows_are_read(const State* st, const Slot* s) noexcept nogil:
    # By a reader: the first balance only says up to when nobody has to read.
    cdef const Ledger* k = &st.ledger
    if not k.seeded or k.income_read_ms <= k.income_from_ms:
        return False
    return k.income_read_ms >= s.short_ms + EXPECTED_MS


cdef int64_t missing_of(const State* st, const Slot* s) noexcept nogil:
    # What no record of the venue's can explain any more, 0 while one may still come.
    cdef const Trade* t = &st.trades[s.trade]
    if not is_over(st, t) or s.proven_ms < s.last_fill_ms or s.short_ms == 0:
        return 0
    if not rows_are_read(st, s):
        return 0
    return size_of(t) - s.proven_e8


cdef int check_write_off(const State* st, const Slot* s, const Input* e, Result* out) noexcept nogil:
    # Only what every record of the venue's lacks is written off, and only all of it.
    cdef const Trade* t = &st.trades[s.trade]
    if e.event_key == 0:
        return refuse_field(out, FIELD_INTENT, D_INVALID_INTENT)
    if not is_over(st, t):
        return refuse_field(out, FIELD_ORDER, D_STALE_STATE)
    if s.proven_ms < s.last_fill_ms or s.short_ms == 0:
        return refuse_field(out, FIELD_TIME, D_STALE_STATE)
    if e.quantity_e8 == 0 or e.quantity_e8 != size_of(t) - s.proven_e8:
        return refuse_field(out, FIELD_QUANTITY, D_INVALID_INTENT)
    if not rows_are_read(st, s):
        return refuse_field(out, FIELD_TIME, D_STALE_STATE)
    if st.order_free < 0 and st.retired_live == 0:
        return D_LIMIT_REACHED
    return D_OK


cdef int write_off(State* st, const Input* e, int32_t slot, Result* out) except -1 nogil:
    # A position of ours is gone and no fill tells of it.  Its result is what income rows say, else
    # 0: the wallet's difference stays unexplained until a person anchors it.
    cdef Slot* s = &st.slots[slot]
    cdef Trade* t = &st.trades[s.trade]
    cdef Order* o
    cdef Order draft
    cdef Change c
    cdef int32_t order
    cdef int code = check_write_off(st, s, e, out)
    if code != D_OK:
        return code
    memset(&draft, 0, sizeof(Order))
    memset(&c, 0, sizeof(Change))
    draft.trade = s.trade
    draft.role = EXIT
    c.level.filled_e8 = e.quantity_e8
    c.level.figure_e8 = e.quantity_e8
    c.level.realized = e.realized
    c.level.realized_rank = 1
    c.level.fee_rank = 2
    code = money_of_change(st, &draft, t, &c)
    if code != D_OK:
        return code
    accept(st, e, out)
    order = order_new(st, s.trade, EXIT, -t.side, e.quantity_e8)
    o = &st.orders[order]
    o.flags |= WRITTEN_OFF
    o.intent_key = e.event_key
    o.last_fill_ms = s.short_ms
    out.order_no = o.order_no
    order_end(st, o, FILLED)
    order_finalise(st, o)
    change_write(st, o, &c, out)
    t.flags |= OFF | FED
    finalise_lost(st, t)
    note(out, D_WRITTEN_OFF)
    s.flags &= <uint8_t>(~STALE)
    s.proven_e8 = size_of(t)
    s.short_ms = 0
    if size_of(t) == 0:
        latch_drop(s)
    return D_OK
