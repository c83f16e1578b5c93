# What an event does to an order's levels, and the money that follows from levels.
#
# Everything is a level: an order's filled quantity, cost, fee and realized; a trade's sums over its
# orders; booked PnL as a pure function of these sums.  What is settled is the difference to what
# was booked before, so arrival order, duplicates and late fills cannot change the end.  All is
# computed into a Change first; only a Change that is in range is written.

cdef struct Change:
    Level level
    Level whole                 # of an external order
    Sums sums
    money_t realized            # of the trade, to date
    money_t trueup
    money_t realized_delta
    money_t trueup_delta
    money_t fee_delta
    money_t k_realized          # of the ledger
    money_t k_trueup
    money_t k_fees
    money_t k_fees_estimated
    money_t flow
    int64_t unsettled
    int grown                   # filled more than before
    int repaired                # a price-less exit got its money


# -- one order -------------------------------------------------------------------------------------

cdef inline uint8_t cost_rank_of(int source) noexcept nogil:
    return 1 if source == FROM_STREAM else (3 if source == FROM_ORDER else 4)


cdef inline uint8_t fee_rank_of(int source) noexcept nogil:
    return 2 if source == FROM_STREAM else (3 if source == FROM_ORDER else 4)


cdef inline int cost_after(const Input* e, const Level* old, int64_t reported, Level* new) except -1 nogil:
    # Ranks (design §6): none < ap x z < sum of last fills without a gap < order query < fills.
    # An increment is a last fill and nothing else.  Returns 1 when it leaves the range.
    cdef int64_t grown = new.filled_e8 - old.filled_e8
    cdef int64_t piece_price = e.last_price_e10
    cdef int64_t piece_quantity = e.last_quantity_e8
    cdef money_t whole = 0
    cdef money_t pieces = 0
    cdef uint8_t whole_rank = 0
    cdef uint8_t piece_rank = 0
    cdef bint piece_fits
    if e.flags & INCREMENT:
        piece_price = e.price_e10
        piece_quantity = e.quantity_e8
    elif e.flags & HAS_COST:
        whole = e.cost if reported > 0 else <money_t>0
        whole_rank = cost_rank_of(e.source) if reported > 0 else 0
    elif e.price_e10 > 0 and new.filled_e8 > 0:
        whole = money_product(e.price_e10, new.filled_e8)
        whole_rank = cost_rank_of(e.source)
    piece_fits = grown > 0 and piece_price > 0 and piece_quantity == reported - old.filled_e8
    if piece_fits:
        if money_add(old.cost, money_product(piece_price, grown), &pieces):
            return 1
        if old.priced_e8 == old.filled_e8:
            piece_rank = 2 if (old.filled_e8 == 0 or old.cost_rank >= 2) else 1
    if piece_fits and piece_rank > whole_rank or (piece_fits and whole_rank == 0):
        new.cost = pieces
        new.priced_e8 = old.priced_e8 + grown
        new.cost_rank = piece_rank
    elif whole_rank > 0 and (grown > 0 or whole_rank > old.cost_rank):
        new.cost = whole
        new.priced_e8 = new.filled_e8
        new.cost_rank = whole_rank
    elif grown > 0:
        new.cost_rank = 0       # more is filled than is priced
    return 0


cdef inline int fee_after(const Order* o, const Trade* t, const Input* e, const Level* old,
                          Level* new) except -1 nogil:
    # estimate < stream < order query < fills; positive costs.  Returns 1 when out of range.
    cdef bint grown = new.filled_e8 > old.filled_e8
    cdef int32_t rate = t.maker_fee_e9 if o.order_type == 1 else t.taker_fee_e9
    cdef uint8_t rank = fee_rank_of(e.source)
    cdef money_t more = 0
    if e.flags & HAS_FEE and (grown or rank > old.fee_rank):
        if e.flags & INCREMENT:
            if money_add(old.fee, e.fee, &new.fee):
                return 1
        else:
            new.fee = e.fee
        new.fee_rank = rank
        return 0
    if old.fee_rank <= 1:
        new.fee = money_share(new.cost, rate, 1_000_000_000)
        new.fee_rank = 1 if money_sign(new.fee) != 0 else 0
    elif grown:
        if money_sub(new.cost, old.cost, &more):
            return 1
        if money_sign(more) > 0:
            if money_add(old.fee, money_share(more, rate, 1_000_000_000), &new.fee):
                return 1
            new.fee_rank = 1
    return 0


cdef inline money_t signed_share(money_t amount, int64_t part, int64_t whole) noexcept nogil:
    # Of a figure for `whole`, the share of `part`, half to even, either sign.
    if part == whole or whole <= 0:
        return amount
    if money_sign(amount) < 0:
        return money_negative(money_share(money_negative(amount), part, whole))
    return money_share(amount, part, whole)


cdef inline bint is_of_entry_only(const Order* o, const Input* e) noexcept nogil:
    # A stream's figure of an entry order says nothing.
    return o.role == ENTRY and e.source <= FROM_STREAM


cdef inline int realized_after(const Order* o, const Input* e, const Level* old, Level* new) except -1 nogil:
    # The venue's own realized of an exit.  Of an entry only its records count: in one-way mode it may
    # have closed what was a stranger's, and was paid for that; it never repairs a leg.
    cdef uint8_t rank = 1 if e.source == FROM_STREAM else (3 if e.source == FROM_INCOME else 2)
    cdef money_t amount = e.realized
    if not e.flags & HAS_REALIZED or new.filled_e8 == 0 or is_of_entry_only(o, e):
        return 0
    if e.flags & INCREMENT:
        if old.realized_rank == 0 and old.filled_e8 > 0 or old.figure_e8 != old.filled_e8:
            return 0            # an increment on an unknown base is no level
        if money_add(old.realized, amount, &amount):
            return 1
    if new.filled_e8 > old.figure_e8 or rank > old.realized_rank:
        new.realized = amount
        new.realized_rank = rank
        new.figure_e8 = new.filled_e8
    return 0


cdef inline int level_after(const Order* o, const Trade* t, const Input* e, const Level* old,
                            Level* new) except -1 nogil:
    # The order's levels after the event.  Returns 0 when they change, or the code of the refusal.
    cdef int64_t reported = e.quantity_e8
    new[0] = old[0]
    if e.flags & INCREMENT:
        if o.flags & QUERIED:
            return D_DUPLICATE_EVENT    # whether it is in the venue's own figure nobody can tell
        if quantity_add(old.filled_e8, e.quantity_e8, &reported):
            return D_ARITHMETIC_LIMIT
    elif e.kind == IN_FILL_SETTLED and reported == 0:
        reported = old.filled_e8
    new.filled_e8 = reported
    if new.filled_e8 < old.filled_e8:
        return D_DUPLICATE_EVENT    # a lower z changes nothing
    if e.kind != IN_FILL_SETTLED or new.filled_e8 == old.filled_e8:
        if cost_after(e, old, reported, new):
            return D_ARITHMETIC_LIMIT
    else:
        new.cost_rank = 0           # a settlement names a quantity whose fills are still on the way
    if fee_after(o, t, e, old, new) or realized_after(o, e, old, new):
        return D_ARITHMETIC_LIMIT
    if level_equal(old, new):
        return D_DUPLICATE_EVENT
    return D_OK


cdef int level_withdrawn(const Order* o, const Trade* t, const Input* e, Level* new) except -1 nogil:
    # The venue's own records show less than its stream said: they are what happened.
    cdef const Level* old = &o.level
    cdef uint8_t rank = 1 if e.source == FROM_STREAM else (3 if e.source == FROM_INCOME else 2)
    memset(new, 0, sizeof(Level))
    new.filled_e8 = e.quantity_e8
    if e.quantity_e8 == 0:
        return D_OK
    if e.flags & HAS_COST:
        new.cost = e.cost
        new.cost_rank = cost_rank_of(e.source)
    elif e.price_e10 > 0:
        new.cost = money_product(e.price_e10, e.quantity_e8)
        new.cost_rank = cost_rank_of(e.source)
    elif old.priced_e8 == old.filled_e8:
        new.cost = money_share(old.cost, e.quantity_e8, old.filled_e8)
        new.cost_rank = old.cost_rank
    if new.cost_rank > 0:
        new.priced_e8 = new.filled_e8
    if e.flags & HAS_FEE:
        new.fee = e.fee
        new.fee_rank = fee_rank_of(e.source)
    elif old.fee_rank > 1:
        new.fee = signed_share(old.fee, e.quantity_e8, old.filled_e8)
        new.fee_rank = old.fee_rank
    else:
        new.fee = money_share(
            new.cost, t.maker_fee_e9 if o.order_type == 1 else t.taker_fee_e9, 1_000_000_000)
        new.fee_rank = 1 if money_sign(new.fee) != 0 else 0
    if e.flags & HAS_REALIZED:
        new.realized = e.realized
        new.realized_rank = rank
        new.figure_e8 = new.filled_e8
    return D_OK


cdef inline bint level_equal(const Level* a, const Level* b) noexcept nogil:
    return (a.filled_e8 == b.filled_e8 and a.priced_e8 == b.priced_e8 and a.figure_e8 == b.figure_e8
            and a.cost_rank == b.cost_rank and a.fee_rank == b.fee_rank
            and a.realized_rank == b.realized_rank and money_equal(a.cost, b.cost)
            and money_equal(a.fee, b.fee) and money_equal(a.realized, b.realized))


# -- a trade's sums --------------------------------------------------------------------------------

cdef inline bint is_known(const Level* level) noexcept nogil:
    # The venue has told its realized for all that is filled.
    return level.realized_rank > 0 and level.figure_e8 == level.filled_e8


cdef inline int sums_shift(Sums* sums, const Order* o, const Level* level, int sign) except -1 nogil:
    # Adds (or takes away) what one order contributes.  Returns 1 when it leaves the range.
    cdef bint known = is_known(level)
    cdef money_t estimated = level.fee if level.fee_rank == 1 else <money_t>0
    cdef int bad = money_add(sums.fees, money_signed(level.fee, sign), &sums.fees)
    bad |= money_add(sums.fees_estimated, money_signed(estimated, sign), &sums.fees_estimated)
    if o.role == ENTRY:
        bad |= quantity_add(sums.entered_e8, sign * level.filled_e8, &sums.entered_e8)
        bad |= quantity_add(sums.entry_priced_e8, sign * level.priced_e8, &sums.entry_priced_e8)
        bad |= money_add(sums.entry_cost, money_signed(level.cost, sign), &sums.entry_cost)
        bad |= money_add(sums.figures, money_signed(level.realized, sign), &sums.figures)
        return bad
    bad |= quantity_add(sums.exited_e8, sign * level.filled_e8, &sums.exited_e8)
    if level.filled_e8 > 0 and not known:
        sums.pending += sign
    if level.priced_e8 == level.filled_e8 or not known:
        bad |= quantity_add(sums.priced_e8, sign * level.priced_e8, &sums.priced_e8)
        bad |= money_add(sums.proceeds, money_signed(level.cost, sign), &sums.proceeds)
        if known:
            bad |= quantity_add(sums.known_e8, sign * level.priced_e8, &sums.known_e8)
            bad |= money_add(sums.known_proceeds, money_signed(level.cost, sign), &sums.known_proceeds)
            bad |= money_add(sums.figures, money_signed(level.realized, sign), &sums.figures)
        elif level.priced_e8 < level.filled_e8:
            sums.unsettled += sign
    else:
        bad |= money_add(sums.settled, money_signed(level.realized, sign), &sums.settled)
    return bad


cdef int sums_move(Sums* sums, const Order* o, const Level* new) except -1 nogil:
    # From the order's level to a new one.  Returns 1 when it leaves the range.
    cdef const Level* old = &o.level
    cdef money_t delta = 0
    cdef int bad
    if o.role != ENTRY:
        if (old.realized_rank == 0 and new.realized_rank == 0 and old.filled_e8 > 0
                and new.filled_e8 > 0       # else one exit less waits for a figure
                and old.priced_e8 == old.filled_e8 and new.priced_e8 == new.filled_e8):
            bad = money_sub(new.fee, old.fee, &delta)
            bad |= money_add(sums.fees, delta, &sums.fees)
            if old.fee_rank == 1:
                bad |= money_sub(sums.fees_estimated, old.fee, &sums.fees_estimated)
            if new.fee_rank == 1:
                bad |= money_add(sums.fees_estimated, new.fee, &sums.fees_estimated)
            bad |= quantity_add(sums.exited_e8, new.filled_e8 - old.filled_e8, &sums.exited_e8)
            bad |= quantity_add(sums.priced_e8, new.priced_e8 - old.priced_e8, &sums.priced_e8)
            bad |= money_sub(new.cost, old.cost, &delta)
            bad |= money_add(sums.proceeds, delta, &sums.proceeds)
            return bad
        return sums_shift(sums, o, old, -1) or sums_shift(sums, o, new, 1)
    bad = money_sub(new.fee, old.fee, &delta)
    bad |= money_add(sums.fees, delta, &sums.fees)
    if old.fee_rank == 1:
        bad |= money_sub(sums.fees_estimated, old.fee, &sums.fees_estimated)
    if new.fee_rank == 1:
        bad |= money_add(sums.fees_estimated, new.fee, &sums.fees_estimated)
    bad |= quantity_add(sums.entered_e8, new.filled_e8 - old.filled_e8, &sums.entered_e8)
    bad |= quantity_add(sums.entry_priced_e8, new.priced_e8 - old.priced_e8, &sums.entry_priced_e8)
    bad |= money_sub(new.cost, old.cost, &delta)
    bad |= money_add(sums.entry_cost, delta, &sums.entry_cost)
    bad |= money_sub(new.realized, old.realized, &delta)
    bad |= money_add(sums.figures, delta, &sums.figures)
    return bad


cdef inline int estimate(const Trade* t, const Sums* s, int64_t exited_e8, money_t proceeds,
                  money_t* out) except -1 nogil:
    # side x (proceeds - entry cost x exited / entered): leverage-free, one rounding, none when all
    # is out.  More out than in (an overfill, or an entry fill still on the way): the matched part.
    cdef int64_t whole = s.entered_e8
    cdef money_t result = 0
    out[0] = 0
    if s.entered_e8 <= 0 or s.entry_priced_e8 < s.entered_e8 or exited_e8 == 0:
        return 0                # without a basis exits book nothing, and wait
    if s.exited_e8 > s.entered_e8:
        whole = s.exited_e8
        proceeds = money_share(proceeds, s.entered_e8, s.exited_e8)
    if money_sub(proceeds, money_share(s.entry_cost, exited_e8, whole), &result):
        return 1
    out[0] = money_signed(result, t.side)
    return 0


cdef inline int money_after(const Trade* t, Change* c) except -1 nogil:
    # Booked: what we worked out, and for price-less exits what the venue says.  True-up: where the
    # venue has told its figure for a priced exit, the difference to ours — K takes it, the book not.
    cdef money_t known = 0
    if c.sums.entry_priced_e8 < c.sums.entered_e8:
        # No basis: our prices book nothing, what the venue says is booked as it is.
        c.trueup = 0
        return (money_add(c.sums.settled, c.sums.figures, &c.realized)
                or money_add(c.realized, t.carried, &c.realized))
    if estimate(t, &c.sums, c.sums.priced_e8, c.sums.proceeds, &c.realized):
        return 1
    if money_add(c.realized, c.sums.settled, &c.realized) or money_add(c.realized, t.carried, &c.realized):
        return 1
    if estimate(t, &c.sums, c.sums.known_e8, c.sums.known_proceeds, &known):
        return 1
    return money_sub(c.sums.figures, known, &c.trueup)


cdef inline int ledger_after(const State* st, const Trade* t, Change* c) except -1 nogil:
    cdef const Ledger* k = &st.ledger
    cdef money_t moved = 0
    cdef int bad = money_sub(c.realized, t.realized, &c.realized_delta)
    bad |= money_sub(c.trueup, t.trueup, &c.trueup_delta)
    bad |= money_sub(c.sums.fees, t.sums.fees, &c.fee_delta)
    bad |= money_add(k.realized, c.realized_delta, &c.k_realized)
    bad |= money_add(k.trueup, c.trueup_delta, &c.k_trueup)
    bad |= money_add(k.fees, c.fee_delta, &c.k_fees)
    c.k_fees_estimated = k.fees_estimated
    c.unsettled = k.unsettled
    if not t.flags & CLOSED:        # what a closed record still lacks explains no drift any more
        bad |= money_sub(c.sums.fees_estimated, t.sums.fees_estimated, &moved)
        bad |= money_add(k.fees_estimated, moved, &c.k_fees_estimated)
        c.unsettled = k.unsettled + c.sums.unsettled - t.sums.unsettled
    bad |= money_add(c.realized_delta, c.trueup_delta, &c.flow)
    bad |= money_sub(c.flow, c.fee_delta, &c.flow)
    return bad


cdef inline int money_of_change(const State* st, const Order* o, const Trade* t, Change* c) except -1 nogil:
    # From the order's new level in the Change to all the money that follows.  D_OK or out of range.
    c.sums = t.sums
    if sums_move(&c.sums, o, &c.level):
        return D_ARITHMETIC_LIMIT
    if money_after(t, c) or ledger_after(st, t, c) or not bridge_fits(st, c.flow):
        return D_ARITHMETIC_LIMIT
    c.grown = c.level.filled_e8 > o.level.filled_e8
    c.repaired = c.sums.unsettled < t.sums.unsettled
    return D_OK


cdef int external_change(const State* st, const Order* o, const Input* e, Change* c) except -1 nogil:
    # An event of an order that is not ours changes what is known of the whole order; which part of
    # it is ours follows from the trade (rebook).
    cdef int code = level_after(o, &st.trades[o.trade], e, &o.whole, &c.whole)
    if c.whole.fee_rank == 1:
        c.whole.fee = 0             # only what was told: our share is estimated where it is booked
        c.whole.fee_rank = 0
        if code == D_OK and level_equal(&c.whole, &o.whole):
            code = D_DUPLICATE_EVENT
    c.grown = c.whole.filled_e8 > o.whole.filled_e8
    c.repaired = 0
    if code == D_OK and is_too_wide(&c.whole):
        return D_ARITHMETIC_LIMIT
    return code


cdef bint is_too_wide(const Level* level) noexcept nogil:
    # Booked and taken back any number of times, it must never leave the range of money.
    return (money_is_wide(level.cost) or money_is_wide(level.fee)
            or money_is_wide(level.realized))


cdef inline int change_of(const State* st, const Order* o, const Input* e, Change* c) except -1 nogil:
    # Everything the event would do to levels and money, in range, or the code of the refusal.
    cdef const Trade* t = &st.trades[o.trade]
    cdef int code
    if o.flags & EXTERNAL:
        return external_change(st, o, e, c)
    code = level_after(o, t, e, &o.level, &c.level)
    if code != D_OK:
        return code
    return money_of_change(st, o, t, c)


cdef inline bint bridge_fits(const State* st, money_t flow) noexcept nogil:
    cdef money_t ignored = 0
    return not (money_add(st.ledger.bridged, flow, &ignored)
                or money_add(st.ledger.ambiguous, flow, &ignored))


# -- when it happened ------------------------------------------------------------------------------

cdef inline int64_t venue_now(const State* st, int64_t received_ms) noexcept nogil:
    return received_ms + st.ledger.exchange_offset_ms


cdef inline bint is_ahead(const State* st, const Input* e) noexcept nogil:
    # A venue time that the venue's clock cannot show yet.
    return e.exchange_ms > venue_now(st, e.received_ms) + SKEW_MS


cdef int64_t fill_time(State* st, const Input* e) noexcept nogil:
    # A fill is never refused for its time: one that cannot be is taken as now, and counted.
    if e.exchange_ms > 0 and not is_ahead(st, e):
        return e.exchange_ms
    if e.exchange_ms > 0:
        st.ledger.clamped += 1
    return venue_now(st, e.received_ms)


cdef void fill_dated(State* st, Order* o, int64_t when_ms, int64_t before_e8) noexcept nogil:
    # What was filled before the newest anchor stays apart: a later correction is dated by both.
    cdef int after[2]
    cdef int near[2]
    memset(after, 0, sizeof(after))
    memset(near, 0, sizeof(near))
    if o.last_fill_ms > 0 and when_ms > o.last_fill_ms and st.ledger.anchored and before_e8 > 0:
        flow_class(&st.ledger, o.last_fill_ms, &after[0], &near[0])
        flow_class(&st.ledger, when_ms, &after[1], &near[1])
        if after[0] != after[1] or near[0] != near[1]:
            o.old_e8 = before_e8
            o.old_ms = o.last_fill_ms
    if when_ms > o.last_fill_ms:
        o.last_fill_ms = when_ms
    if when_ms > st.ledger.last_fill_ms:
        st.ledger.last_fill_ms = when_ms


cdef void flow_of_order(State* st, const Order* o, money_t amount, bint split) noexcept nogil:
    # noexcept: parts of a flow that is in range.
    cdef money_t part = 0
    cdef money_t rest = amount
    cdef int64_t filled_e8 = o.whole.filled_e8 if o.flags & EXTERNAL else o.level.filled_e8
    if split and 0 < o.old_e8 < filled_e8:
        part = signed_share(amount, o.old_e8, filled_e8)
        money_sub(amount, part, &rest)
        flow_add(st, o.old_ms, part, 1)
    flow_add(st, o.last_fill_ms, rest, 1)


cdef void flow_of_exits(State* st, const Trade* t, money_t amount) noexcept nogil:
    # What an entry's late figure does to money was earned by the exits, when they filled.
    cdef int32_t order = t.orders
    cdef int32_t newest = -1
    cdef money_t left = amount
    cdef money_t part
    while order >= 0:
        if st.orders[order].role == EXIT and st.orders[order].level.filled_e8 > 0:
            if newest < 0:
                newest = order          # takes what rounding leaves
            else:
                part = signed_share(amount, st.orders[order].level.filled_e8, t.sums.exited_e8)
                flow_of_order(st, &st.orders[order], part, True)
                money_sub(left, part, &left)
        order = st.orders[order].next
    if newest >= 0:
        flow_of_order(st, &st.orders[newest], left, True)


cdef inline void flows_of_change(State* st, const Order* o, const Trade* t, const Level* before,
                                 const Change* c) noexcept nogil:
    # A piece that was just filled is of now; what corrects an earlier piece is of that piece's time.
    cdef money_t gained = 0
    cdef money_t figure = 0
    cdef bint corrects = not c.grown or (before.filled_e8 > 0 and before.priced_e8 < before.filled_e8)
    st.ledger.flow_total += money_sign(c.flow) != 0
    if o.role == EXIT:
        flow_of_order(st, o, c.flow, corrects)
        return
    money_add(c.realized_delta, c.trueup_delta, &gained)
    money_sub(c.level.realized, before.realized, &figure)
    money_sub(gained, figure, &gained)
    money_sub(figure, c.fee_delta, &figure)
    flow_of_exits(st, t, gained)
    flow_of_order(st, o, figure, corrects)


cdef void change_write(State* st, Order* o, const Change* c, Result* out) noexcept nogil:
    # noexcept: every sum was proven in range by money_of_change.
    cdef Trade* t = &st.trades[o.trade]
    cdef Ledger* k = &st.ledger
    cdef Level before = o.level
    o.level = c.level
    t.sums = c.sums
    t.realized = c.realized
    t.trueup = c.trueup
    k.realized = c.k_realized
    k.trueup = c.k_trueup
    k.fees = c.k_fees
    k.fees_estimated = c.k_fees_estimated
    k.unsettled = c.unsettled
    out.quantity_delta_e8 = quantity_sum(
        out.quantity_delta_e8, o.level.filled_e8 - before.filled_e8)
    flows_of_change(st, o, t, &before, c)
    track_peak(k)
    money_add(out.realized_delta, c.realized_delta, &out.realized_delta)
    money_add(out.trueup_delta, c.trueup_delta, &out.trueup_delta)
    money_add(out.fee_delta, c.fee_delta, &out.fee_delta)
    notes_of(st, o, t, c, out)


cdef inline void change_commit(State* st, int32_t order, const Input* e, const Change* c, Result* out) noexcept nogil:
    cdef Order* o = &st.orders[order]
    if c.grown:
        fill_dated(st, o, fill_time(st, e), o.whole.filled_e8 if o.flags & EXTERNAL else o.level.filled_e8)
    if o.flags & EXTERNAL:
        o.whole = c.whole
        o.intended_e8 = o.whole.filled_e8
        return
    change_write(st, o, c, out)


cdef inline void notes_of(const State* st, const Order* o, const Trade* t, const Change* c, Result* out) noexcept nogil:
    cdef money_t leg = 0
    if c.repaired:
        note(out, D_REALIZED_SETTLED)
    if o.role == EXIT and o.level.priced_e8 < o.level.filled_e8 and not is_known(&o.level):
        note(out, D_REALIZED_SKIPPED_NO_PRICE)
    if t.sums.entry_priced_e8 < t.sums.entered_e8:
        note(out, D_ENTRY_BASIS_MISSING)
    if c.grown and not o.flags & EXTERNAL and o.level.filled_e8 > o.intended_e8:
        note(out, D_OVERFILL)
    if o.role == ENTRY:
        if money_sign(c.trueup_delta) != 0 and deviates(o.level.realized, leg, st.config.figure_tolerance_e18):
            note(out, D_FIGURE_DEVIATES)        # it was paid for closing what was not ours
        return
    if money_sign(c.trueup_delta) != 0:
        if o.level.realized_rank > 0 and o.level.priced_e8 == o.level.filled_e8:
            estimate(t, &t.sums, o.level.filled_e8, o.level.cost, &leg)
            if deviates(o.level.realized, leg, st.config.figure_tolerance_e18):
                note(out, D_FIGURE_DEVIATES)


cdef inline bint deviates(money_t figure, money_t ours, int64_t tolerance) noexcept nogil:
    # Tolerance: the configured amount or 1 % of the leg's fee-free PnL, whichever is greater.
    cdef money_t gap = 0
    cdef money_t limit = 0
    money_sub(figure, ours, &gap)
    if money_sign(gap) < 0:
        gap = money_negative(gap)
    if money_sign(ours) < 0:
        ours = money_negative(ours)
    limit = money_share(ours, 1, 100)
    if money_cmp(limit, tolerance) < 0:
        limit = tolerance
    return money_cmp(gap, limit) > 0
