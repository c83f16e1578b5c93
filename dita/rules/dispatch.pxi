# One input: check it, route it, look up the table, apply the rule, hold the result to the table.

cdef inline bint is_order_event(int kind) noexcept nogil:
    return IN_ORDER_ACK <= kind <= IN_ORDER_ABSENT or IN_FILL_SETTLED <= kind <= IN_ADL


# -- is it well formed? ----------------------------------------------------------------------------

cdef inline int bad_field(const State* st, const Input* e) noexcept nogil:
    # Ranges only; everything that came from outside passes here before anything looks at it.
    if not (IN_ENTER <= e.kind <= IN_WRITE_OFF or IN_ORDER_ACK <= e.kind <= IN_INCOME_READ):
        return FIELD_KIND
    if not -1 <= e.slot < st.config.slots:
        return FIELD_SLOT
    if not (0 < e.received_ms < TIME_MAX_MS and 0 <= e.exchange_ms < TIME_MAX_MS):
        return FIELD_TIME
    if not (0 <= e.wait_ms <= WAIT_MAX_MS and 0 <= e.limit_ms < TIME_MAX_MS):
        return FIELD_WAIT
    if not 0 <= e.deadline_ms < TIME_MAX_MS:
        return FIELD_WAIT
    if e.quantity_e8 < 0 or e.last_quantity_e8 < 0:
        return FIELD_QUANTITY
    if e.price_e10 < 0:
        return FIELD_PRICE
    if e.last_price_e10 < 0:
        return FIELD_LIMIT_PRICE
    if not (-1 <= e.side <= 1 and -1 <= e.position_side <= 1):
        return FIELD_SIDE
    if e.source > FROM_INCOME:
        return FIELD_SOURCE
    if e.order_type > 2:
        return FIELD_ORDER_TYPE
    if e.role > (EXIT if e.kind != IN_CONTROL else LIMIT_DAY_LOSS):
        return FIELD_ORDER
    if e.reason > CONTROL_QUARANTINE:
        return FIELD_REASON
    if e.flags & (HAS_COST | HAS_FEE | HAS_REALIZED) or e.kind < IN_ORDER_ACK:
        if money_is_out(e.cost) or money_is_out(e.fee) or money_is_out(e.realized):
            return FIELD_MONEY
        if money_sign(e.cost) < 0:
            return FIELD_MONEY
    return FIELD_NONE


# -- whose is it? ----------------------------------------------------------------------------------

cdef int32_t slot_of_asset(const State* st, uint64_t asset_key, int side) noexcept nogil:
    # The slot in use for this symbol; with a side only one whose trade has it.  -1 when none.
    cdef int32_t i
    cdef int32_t left = st.active
    cdef const Trade* t
    if asset_key == 0:
        return -1
    for i in range(st.config.slots):
        if left == 0:
            break
        if st.slots[i].trade >= 0:
            left -= 1
            t = &st.trades[st.slots[i].trade]
            if t.asset_key == asset_key and (side == 0 or t.side == side):
                return i
    return -1


cdef int32_t slot_of_trade(const State* st, uint64_t trade_key) noexcept nogil:
    cdef int32_t i
    cdef int32_t left = st.active
    for i in range(st.config.slots):
        if left == 0:
            break
        if st.slots[i].trade >= 0:
            left -= 1
            if st.trades[st.slots[i].trade].trade_key == trade_key:
                return i
    return -1


cdef inline int32_t order_by_ids(const State* st, const Input* e, int* conflict) noexcept nogil:
    # Venue id first, then client id.  Two ids of two orders, or a second venue id for one: a conflict.
    cdef int32_t by_venue = order_by_venue(st, e.venue_key) if e.venue_key != 0 else -1
    cdef int32_t by_client
    conflict[0] = 0
    if by_venue >= 0 and st.orders[by_venue].client_key == e.client_key:
        return by_venue
    by_client = order_by_client(st, e.client_key) if e.client_key != 0 else -1
    if by_venue >= 0:
        conflict[0] = by_client >= 0 and by_client != by_venue
        return by_venue
    if by_client >= 0 and e.venue_key != 0 and st.orders[by_client].flags & BOUND:
        conflict[0] = 1
    return by_client


cdef int32_t order_by_state(const State* st, int32_t slot, int side) noexcept nogil:
    # Only for an event without any id.
    cdef const Slot* s = &st.slots[slot]
    if is_live(st, s.exit_order) and (side == 0 or st.orders[s.exit_order].side == side):
        return s.exit_order
    if is_live(st, s.entry_order) and (side == 0 or st.orders[s.entry_order].side == side):
        return s.entry_order
    return -1


cdef bint unanswered_submit(const State* st, uint64_t asset_key, uint64_t newest_no) noexcept nogil:
    # Is there an order up to this number whose venue id is still to come?
    cdef int32_t i
    cdef int32_t left = st.active
    cdef const Slot* s
    for i in range(st.config.slots):
        if left == 0:
            break
        s = &st.slots[i]
        if s.trade < 0:
            continue
        left -= 1
        if st.trades[s.trade].asset_key != asset_key:
            continue
        if is_unanswered(st, s.entry_order, newest_no) or is_unanswered(st, s.exit_order, newest_no):
            return True
    return False


cdef bint is_unanswered(const State* st, int32_t order, uint64_t newest_no) noexcept nogil:
    if not is_live(st, order) or st.orders[order].flags & BOUND:
        return False
    return st.orders[order].order_no <= newest_no


# -- order events ----------------------------------------------------------------------------------

cdef int follow_rule(State* st, const Input* e, int rule, int32_t order, Result* out) except -1 nogil:
    if rule == RULE_FILL:
        return fill(st, e, order, out)
    if rule == RULE_ACK:
        return ack(st, e, order, out)
    if rule == RULE_FINAL:
        return final(st, e, order, out)
    if rule == RULE_END:
        return end(st, e, order, out)
    if rule == RULE_SETTLED:
        return settled(st, e, order, out)
    if rule == RULE_CANCEL_REJECT:
        return cancel_reject(st, e, order, out)
    if rule == RULE_REJECT:
        return reject(st, e, order, out)
    if rule == RULE_UNKNOWN:
        return unknown(st, e, order, out)
    if rule == RULE_RATE_LIMITED:
        return rate_limited(st, e, order, out)
    if rule == RULE_ABSENT:
        return absent(st, e, order, out)
    fault(b"the table names a rule that no order event has")
    return -1


cdef inline int hold_to_table(const State* st, const Cell* cell, int32_t slot, Result* out) except -1 nogil:
    cdef int state = st.slots[slot].state if slot >= 0 else IDLE
    out.after = <uint8_t>state
    if not (cell.next_states >> state) & 1:
        fault(b"a state follows that the transition table does not allow")
    return D_OK


cdef inline int apply_to_order(State* st, const Input* e, int32_t order, Result* out) except -1 nogil:
    cdef Order* o = &st.orders[order]
    cdef int32_t trade = o.trade
    cdef Trade* t = &st.trades[trade]
    cdef int32_t slot = t.slot
    cdef int state = st.slots[slot].state if slot >= 0 else IDLE
    cdef int kind = e.kind
    cdef const Cell* cell
    cdef int code
    if kind == IN_LIQUIDATION or kind == IN_ADL:
        kind = IN_PARTIAL_FILL          # of an order that is in the registry: a fill like any other
    cell = &st.table[state][kind]
    if e.asset_key != 0 and e.asset_key != t.asset_key:
        return refuse_field(out, FIELD_ASSET, D_INVALID_EVENT)
    if e.side != 0 and e.side != o.side:
        return refuse_field(out, FIELD_SIDE, D_INVALID_EVENT)
    if e.flags & INCREMENT and e.event_key == 0:
        return refuse_field(out, FIELD_EVENT, D_INVALID_EVENT)  # it could be counted twice
    if e.flags & INCREMENT and was_seen(st, e.event_key):
        return D_DUPLICATE_EVENT
    if out.trade_no == 0:
        out.slot = <int16_t>slot
        out.trade_no = t.trade_no
        out.order_no = o.order_no
        out.before = <uint8_t>state
        out.leg = <uint8_t>(st.slots[slot].leg) if slot >= 0 else 0
    code = follow_rule(st, e, cell.rule, order, out)
    if code != D_OK:
        return code
    finish(st, trade, out)
    return hold_to_table(st, cell, t.slot, out)


cdef int apply_external(State* st, const Input* e, int32_t slot, Result* out) except -1 nogil:
    cdef int state = st.slots[slot].state
    cdef const Cell* cell = &st.table[state][IN_LIQUIDATION]
    cdef int code
    if cell.rule == RULE_REFUSE:
        return cell.refusal
    out.slot = <int16_t>slot
    out.before = <uint8_t>state
    out.trade_no = st.trades[st.slots[slot].trade].trade_no
    code = external(st, e, slot, out)
    if code != D_OK:
        return code
    settle_slot(st, slot, out)
    return hold_to_table(st, cell, slot, out)


cdef int32_t slot_closed_by(const State* st, const Input* e) noexcept nogil:
    # The slot that a fill of somebody else's order can have closed, -1 when it can have closed none.
    # In hedge mode only the position's side can tell a close from an opening.
    cdef int32_t i
    cdef int32_t found = -1
    cdef const Trade* t
    cdef int side = -e.side
    if e.side == 0 or e.asset_key == 0:
        return -1
    if st.config.hedge:
        if e.position_side != 0:
            side = e.position_side
        elif e.kind != IN_LIQUIDATION and e.kind != IN_ADL:
            return -1
        if side != -e.side:
            return -1               # it opened or enlarged that position
    for i in range(st.config.slots):
        if st.slots[i].trade < 0:
            continue
        t = &st.trades[st.slots[i].trade]
        if t.asset_key != e.asset_key or t.side != side:
            continue
        if size_of(t) > 0:
            return i
        if found < 0 and (t.unlocked > 0 or not is_certain(st, t)):
            found = i               # this one came before a close that we know, or its entry filled
    return found


cdef int apply_unmatched(State* st, const Input* e, Result* out) except -1 nogil:
    # Its ids match nothing: not ours until proven.  A frame may belong to a submit without an answer
    # yet; the venue's own records name our orders by our client ids, so theirs are not ours.
    cdef bint closes = e.kind == IN_LIQUIDATION or e.kind == IN_ADL
    cdef Request* r
    if not closes and e.source <= FROM_STREAM and unanswered_submit(st, e.asset_key, st.next_order_no):
        if st.held_count == HELD_MAX:
            r = request(st, DO_QUERY_POSITION, -1, -1, -1)
            r.asset_key = e.asset_key
            return D_LIMIT_REACHED
        accept(st, e, out)
        st.held[st.held_count] = e[0]
        st.held[st.held_count].limit_ms = <int64_t>st.next_order_no     # no later order can be meant
        st.held_count += 1
        note(out, D_EVENT_HELD)
        return D_OK
    return apply_stranger(st, e, out)


cdef int apply_stranger(State* st, const Input* e, Result* out) except -1 nogil:
    # Not of an order of ours: it has closed what was ours, or it changes nothing.
    cdef bint closes = e.kind == IN_LIQUIDATION or e.kind == IN_ADL
    cdef int32_t slot
    if not (closes or e.kind == IN_PARTIAL_FILL or e.kind == IN_FULL_FILL):
        return D_UNRESOLVED_SLOT
    if not e.flags & OWN_SHAPE:
        slot = slot_closed_by(st, e)
        if slot >= 0:
            return apply_external(st, e, slot, out)
        if closes:
            return D_NO_POSITION
    return D_UNRESOLVED_SLOT


cdef int apply_without_ids(State* st, const Input* e, Result* out) except -1 nogil:
    cdef int32_t slot = e.slot
    cdef int32_t order
    cdef int state
    cdef int code
    cdef uint64_t asset_key
    if e.kind == IN_LIQUIDATION or e.kind == IN_ADL:
        return apply_unmatched(st, e, out)
    if slot < 0:
        slot = slot_of_asset(st, e.asset_key, 0)
        if slot < 0:
            return D_UNRESOLVED_SLOT
    state = st.slots[slot].state
    out.slot = <int16_t>slot
    out.before = <uint8_t>state
    if state == IDLE:
        return D_INVALID_TRANSITION
    if state == POSITION_CLOSED:
        return D_TERMINAL_STATE
    order = order_by_state(st, slot, e.side)
    if order < 0:
        return D_UNRESOLVED_SLOT
    asset_key = st.trades[st.orders[order].trade].asset_key
    code = apply_to_order(st, e, order, out)
    if code == D_OK:
        note(out, D_ROUTED_BY_STATE)
        st.ledger.routed_by_state += 1
        if st.held_count > 0:
            release_held(st, asset_key, out)
    return code


cdef int release_held(State* st, uint64_t asset_key, Result* out) except -1 nogil:
    # After an answer: what was held for this symbol is matched, or is proven not to be ours.
    cdef int32_t i = 0
    cdef int32_t order
    cdef int conflict = 0
    cdef Input held
    while i < st.held_count:
        held = st.held[i]
        order = order_by_ids(st, &held, &conflict)
        if conflict:
            order = -1              # its ids now name two orders: nobody's, as long as that is so
        if held.asset_key != asset_key or (order < 0 and unanswered_submit(st, asset_key, <uint64_t>held.limit_ms)):
            i += 1
            continue
        st.held_count -= 1
        memmove(&st.held[i], &st.held[i + 1], (st.held_count - i) * sizeof(Input))
        memset(&st.held[st.held_count], 0, sizeof(Input))
        held.received_ms = st.now_ms
        note(out, D_HELD_RELEASED)
        if order >= 0:
            if apply_to_order(st, &held, order, out) == D_OK:
                out.released += 1
        elif apply_stranger(st, &held, out) == D_OK:
            out.released += 1
        i = 0
    return 0


cdef int release_strangers(State* st, const Input* e, Result* out) except -1 nogil:
    # The venue's records show this order without a client id of ours: what was held of it is not
    # the answer to any submit.
    cdef int32_t i = 0
    cdef Input held
    if e.venue_key == 0 or e.flags & OWN_SHAPE:
        return 0
    while i < st.held_count:
        held = st.held[i]
        if held.venue_key != e.venue_key:
            i += 1
            continue
        st.held_count -= 1
        memmove(&st.held[i], &st.held[i + 1], (st.held_count - i) * sizeof(Input))
        memset(&st.held[st.held_count], 0, sizeof(Input))
        accept(st, e, out)          # the held event is no longer part of the state
        held.received_ms = st.now_ms
        note(out, D_HELD_RELEASED)
        if order_by_venue(st, held.venue_key) >= 0:
            apply_to_order(st, &held, order_by_venue(st, held.venue_key), out)
        elif apply_stranger(st, &held, out) == D_OK:
            out.released += 1
    return 0


cdef inline int apply_order_event(State* st, const Input* e, Result* out) except -1 nogil:
    cdef int conflict = 0
    cdef uint64_t asset_key
    cdef int32_t order
    cdef int code
    if e.venue_key == 0 and e.client_key == 0:
        return apply_without_ids(st, e, out)
    order = order_by_ids(st, e, &conflict)
    if conflict:
        return refuse_field(out, FIELD_ORDER, D_INVALID_EVENT)
    if order < 0 and e.source > FROM_STREAM and st.held_count > 0:
        release_strangers(st, e, out)
        order = order_by_ids(st, e, &conflict)
    if order < 0:
        code = apply_unmatched(st, e, out)
        return D_OK if out.accepted else code   # what it released was applied
    asset_key = st.trades[st.orders[order].trade].asset_key
    code = apply_to_order(st, e, order, out)
    if out.accepted:
        code = D_OK                 # what it released was applied, whatever it was itself
    if code == D_OK and st.held_count > 0:
        release_held(st, asset_key, out)
    return code


# -- commands and the rest -------------------------------------------------------------------------

cdef int slot_of_command(const State* st, const Input* e, int32_t* slot, Result* out) noexcept nogil:
    slot[0] = e.slot
    if e.kind == IN_ENTER or (e.kind == IN_RECONCILE and slot[0] < 0 and e.role == 0):
        if slot[0] < 0:
            slot[0] = slot_of_trade(st, e.trade_key) if e.kind == IN_RECONCILE else -1
            if slot[0] < 0:
                slot[0] = first_free(st)
        if slot[0] < 0:
            return D_SLOT_BUSY
        return D_OK if slot[0] < st.config.slot_limit or st.slots[slot[0]].trade >= 0 else D_INVALID_SLOT
    if slot[0] < 0 and e.trade_key != 0:
        slot[0] = slot_of_trade(st, e.trade_key)
        return D_OK if slot[0] >= 0 else D_NO_POSITION
    if slot[0] < 0 and e.kind == IN_MARK_PRICE:
        slot[0] = slot_of_asset(st, e.asset_key, 0)
        return D_OK if slot[0] >= 0 else D_NO_POSITION
    if slot[0] < 0:
        return D_INVALID_SLOT
    if e.trade_key != 0 and st.slots[slot[0]].trade >= 0:
        if st.trades[st.slots[slot[0]].trade].trade_key != e.trade_key and e.kind != IN_MARK_PRICE:
            return refuse_field(out, FIELD_TRADE, D_INVALID_INTENT)
    return D_OK


cdef int32_t first_free(const State* st) noexcept nogil:
    cdef int32_t i
    for i in range(st.config.slot_limit):
        if st.slots[i].trade < 0:
            return i
    return -1


cdef inline bint is_late(const State* st, const Input* e) noexcept nogil:
    # What adds risk, or repairs on a view of then, is not done late.  An exit and a hold always are.
    cdef int64_t now = e.received_ms if e.received_ms > st.now_ms else st.now_ms
    if e.deadline_ms == 0 or now <= e.deadline_ms:
        return False
    if e.kind == IN_CONTROL:
        return e.reason == CONTROL_RESUME or e.reason == CONTROL_REBASE or e.reason == CONTROL_LIMIT
    return e.kind != IN_EXIT and e.kind != IN_MARK_PRICE


cdef int apply_command(State* st, const Input* e, Result* out) except -1 nogil:
    cdef int32_t slot = -1
    cdef const Cell* cell
    cdef Slot* s
    cdef int code
    if was_seen(st, e.event_key):
        return D_DUPLICATE_EVENT        # a repeated intent id is a no-op
    if is_late(st, e):
        return D_EXPIRED
    if e.kind == IN_CONTROL:
        code = control(st, e, out)
        if code == D_OK:
            remember(st, e.event_key)
        return code
    code = slot_of_command(st, e, &slot, out)
    if code != D_OK:
        return code
    s = &st.slots[slot]
    cell = &st.table[s.state][e.kind]
    out.slot = <int16_t>slot
    out.before = s.state
    out.after = s.state
    if s.trade >= 0:
        out.trade_no = st.trades[s.trade].trade_no
        out.leg = <uint8_t>s.leg
    if cell.rule == RULE_REFUSE:
        return cell.refusal
    if cell.rule == RULE_ADOPT and e.role != 0:
        return D_NO_POSITION            # an order is adopted by a trade, not by a free slot
    if cell.rule == RULE_ENTER:
        code = enter(st, e, slot, out)
    elif cell.rule == RULE_EXIT:
        code = exit_(st, e, slot, out)
    elif cell.rule == RULE_CANCEL:
        code = cancel(st, e, slot, out)
    elif cell.rule == RULE_MARK:
        code = mark(st, e, slot, out)
    elif cell.rule == RULE_ADOPT:
        code = adopt(st, e, slot, out)
    elif cell.rule == RULE_RECONCILE:
        code = reconcile(st, e, slot, out)
    elif cell.rule == RULE_WRITE_OFF:
        code = write_off(st, e, slot, out)
    else:
        fault(b"the table names a rule that no command has")
    if code != D_OK:
        return code
    remember(st, e.event_key)
    settle_slot(st, slot, out)
    return hold_to_table(st, cell, slot, out)


cdef int apply_position(State* st, const Input* e, Result* out) except -1 nogil:
    cdef int64_t theirs = e.quantity_e8 if e.side >= 0 else -e.quantity_e8
    cdef int code
    if e.asset_key == 0:
        return refuse_field(out, FIELD_ASSET, D_INVALID_EVENT)
    if e.quantity_e8 > 0 and e.side == 0:
        return refuse_field(out, FIELD_SIDE, D_INVALID_EVENT)
    if not st.config.hedge or e.side != 0:
        return apply_position_of(st, e, e.side, theirs, out)
    # Hedge: flat on both sides.
    if is_old_position(st, e, 1) or is_old_position(st, e, -1):
        return D_STALE_STATE
    code = apply_position_of(st, e, 1, 0, out)
    if code != D_OK:
        return code
    return apply_position_of(st, e, -1, 0, out)


cdef int apply_position_of(State* st, const Input* e, int side, int64_t theirs, Result* out) except -1 nogil:
    # The slots of one symbol (in hedge mode of one side) against what the venue holds there.
    cdef Group g
    cdef int32_t i
    cdef int before[64]
    cdef int code
    cdef Result each
    group_of(st, e.asset_key, side, &g)
    for i in range(g.count):
        before[i] = st.slots[g.slots[i]].state
    if g.count > 0 and out.trade_no == 0:
        out.slot = <int16_t>g.slots[0]
        out.before = <uint8_t>before[0]
        out.trade_no = st.trades[st.slots[g.slots[0]].trade].trade_no
    code = position(st, e, side, theirs, out)
    if code != D_OK:
        return code
    for i in range(g.count):
        if i == 0 and out.slot == g.slots[0]:
            settle_slot(st, g.slots[i], out)
            hold_to_table(st, &st.table[before[i]][IN_POSITION], g.slots[i], out)
        else:
            memset(&each, 0, sizeof(Result))
            settle_slot(st, g.slots[i], &each)
            hold_to_table(st, &st.table[before[i]][IN_POSITION], g.slots[i], &each)
            out.notes |= each.notes
    return D_OK


cdef inline int answer(State* st, const Input* e, Result* out) except -1 nogil:
    # The outcome's code: 0 or a refusal, which has written nothing.
    cdef int field = bad_field(st, e)
    if field == FIELD_SLOT:
        return refuse_field(out, field, D_INVALID_SLOT)
    if field != FIELD_NONE:
        return refuse_field(out, field, D_INVALID_INTENT if e.kind < IN_ORDER_ACK else D_INVALID_EVENT)
    if e.kind < IN_ORDER_ACK:
        return apply_command(st, e, out)
    if is_order_event(e.kind):
        return apply_order_event(st, e, out)
    if e.kind == IN_POSITION:
        return apply_position(st, e, out)
    if e.kind == IN_ACCOUNT_UPDATE:
        return anchor(st, e, out)
    if e.kind == IN_TICK:
        return tick(st, e, out)
    if e.kind == IN_FOREIGN_FLOW:
        return foreign_flow(st, e, out)
    if e.kind == IN_INCOME_READ:
        return income_read(st, e, out)
    return account_flow(st, e, out)


cdef Result NOTHING             # all zero; an assignment is cheaper than memset here
memset(&NOTHING, 0, sizeof(Result))


cdef int apply_input(State* st, const Input* e, Result* out) except -1 nogil:
    cdef int code
    out[0] = NOTHING
    out.kind = e.kind
    out.slot = -1
    st.request_count = 0
    code = answer(st, e, out)
    if code != D_OK and out.accepted:
        fault(b"a refusal after the first write")
    if out.accepted:
        watch_the_day(st)
    if code == D_OK and not out.accepted:
        fault(b"an input was applied without being accepted")
    out.code = <int16_t>code if code != D_OK else primary_code(out.notes)
    if out.accepted:
        out.field = FIELD_NONE          # of a held event that came to nothing, if it is set
    else:
        out.after = out.before
        out.notes = 0
    out.event_seq = st.event_seq
    out.effects = st.request_count
    return 0


cdef int16_t primary_code(uint64_t notes) noexcept nogil:
    # The one code that names the outcome: the most serious of what was noted.
    cdef int i
    if notes == 0:
        return D_OK
    for i in range(PRIMARY_COUNT):
        if (notes >> PRIMARY[i]) & 1:
            return PRIMARY[i]
    return D_OK
