# Limits that a person sets for new risk, and the loss of the day.
#
# They are checked at one place, when an ENTER comes; exits never are.  All of them are part of the
# state, set by CONTROL.

cdef bint exceeds(const State* st, int which, money_t amount) noexcept nogil:
    return money_sign(st.limits[which]) > 0 and money_cmp(amount, st.limits[which]) > 0


cdef int notional_on(const State* st, uint64_t asset_key, money_t* out) noexcept nogil:
    # What is open and what its working entries can still open; asset 0: everywhere.  Returns 1
    # when it leaves the range.
    cdef int32_t i
    cdef int32_t left = st.active
    cdef const Trade* t
    cdef const Slot* s
    cdef Value v
    cdef int bad = 0
    for i in range(st.config.slots):
        if left == 0:
            break
        s = &st.slots[i]
        if s.trade < 0:
            continue
        left -= 1
        t = &st.trades[s.trade]
        if asset_key != 0 and t.asset_key != asset_key:
            continue
        if size_of(t) > 0:
            bad |= value_of(s, t, &v) or money_add(out[0], v.notional, out)
        if is_live(st, s.entry_order):
            bad |= money_add(out[0], money_product(
                st.orders[s.entry_order].value_price_e10, unfilled(&st.orders[s.entry_order])), out)
    return bad


cdef int enters_in_minute(const State* st, int64_t now_ms) noexcept nogil:
    cdef int32_t i
    cdef int found = 0
    for i in range(st.enters_count):
        found += now_ms - st.enters_ms[(st.enters_first + i) & (ENTERS_KEPT - 1)] < 60_000
    return found


cdef void enter_note(State* st) noexcept nogil:
    if st.enters_count == ENTERS_KEPT:
        st.enters_first = (st.enters_first + 1) & (ENTERS_KEPT - 1)
        st.enters_count -= 1
    st.enters_ms[(st.enters_first + st.enters_count) & (ENTERS_KEPT - 1)] = st.now_ms
    st.enters_count += 1


cdef inline int64_t value_price(const Input* e) noexcept nogil:
    return e.last_price_e10 if e.order_type > 0 else e.price_e10


cdef int within_limits(const State* st, const Input* e, Result* out) noexcept nogil:
    cdef int64_t now = e.received_ms if e.received_ms > st.now_ms else st.now_ms
    cdef money_t order = money_product(value_price(e), e.quantity_e8)
    cdef money_t total = order
    if exceeds(st, LIMIT_ORDER_NOTIONAL, order):
        return refuse_field(out, FIELD_LIMIT + LIMIT_ORDER_NOTIONAL, D_RISK_LIMIT)
    if money_sign(st.limits[LIMIT_SYMBOL_NOTIONAL]) > 0:
        if notional_on(st, e.asset_key, &total) or exceeds(st, LIMIT_SYMBOL_NOTIONAL, total):
            return refuse_field(out, FIELD_LIMIT + LIMIT_SYMBOL_NOTIONAL, D_RISK_LIMIT)
    if money_sign(st.limits[LIMIT_TOTAL_NOTIONAL]) > 0:
        total = order
        if notional_on(st, 0, &total) or exceeds(st, LIMIT_TOTAL_NOTIONAL, total):
            return refuse_field(out, FIELD_LIMIT + LIMIT_TOTAL_NOTIONAL, D_RISK_LIMIT)
    if exceeds(st, LIMIT_POSITIONS, st.active + 1):
        return refuse_field(out, FIELD_LIMIT + LIMIT_POSITIONS, D_RISK_LIMIT)
    if exceeds(st, LIMIT_INTENTS_PER_MINUTE, enters_in_minute(st, now) + 1):
        return refuse_field(out, FIELD_LIMIT + LIMIT_INTENTS_PER_MINUTE, D_RISK_LIMIT)
    return D_OK


cdef void own_result(const Ledger* k, money_t* out) noexcept nogil:
    # noexcept: a sum of figures in range; beyond it the day's limit does not judge.
    out[0] = k.realized
    money_add(out[0], k.trueup, out)
    money_sub(out[0], k.fees, out)
    money_add(out[0], k.funding, out)


cdef int watch_the_day(State* st) except -1 nogil:
    # After each accepted input: the loss since the day began (UTC), against its limit.
    cdef Ledger* k = &st.ledger
    cdef money_t result = 0
    cdef money_t loss = 0
    own_result(k, &result)
    if money_sign(st.limits[LIMIT_DAY_LOSS]) == 0 or k.frozen & FREEZE_DAY_LOSS:
        return 0
    if money_sub(k.day_base, result, &loss) or money_cmp(loss, st.limits[LIMIT_DAY_LOSS]) < 0:
        return 0
    k.frozen |= FREEZE_DAY_LOSS
    return cancel_entries(st)
