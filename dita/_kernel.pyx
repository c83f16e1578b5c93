"""The compiled execution kernel: one input in, one outcome out, over fixed tables.

``kernel.py`` is the only importer.  The contents page is ``_kernel.pxd``; the rules are in
``rules/*.pxi``.  Here are the two entrances (one event object, or a batch of packed events in one
call without the GIL), the way back to Python values, and saving and restoring the whole state.
"""

cimport cython
from cpython.long cimport (
    PyLong_AsLongLongAndOverflow, PyLong_AsUnsignedLongLong, PyLong_CheckExact, PyLong_FromLongLong,
)
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport (
    int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t,
)
from libc.stdlib cimport calloc, free, qsort
from libc.string cimport memcmp, memcpy, memmove, memset

from dita.errors import BadField, OperatorError

INPUT_SIZE = sizeof(Input)
OUTCOME_SIZE = sizeof(Result)
SAVE_VERSION = 3
# What a saved state is made of: its version, then the bytes of each struct in it.
LAYOUT = (
    SAVE_VERSION, sizeof(Config), sizeof(Ledger), COUNTERS, sizeof(Flow), sizeof(Foreign),
    sizeof(Rejection), sizeof(Input), sizeof(Slot), sizeof(Trade), sizeof(Order),
)


class Fault(Exception):
    """The kernel found itself in a state that it never should be in.  Stop, keep the journal."""


cdef int fault(const char* what) except -1 nogil:
    with gil:
        raise Fault(what.decode())


include "rules/numbers.pxi"
include "rules/registry.pxi"
include "rules/levels.pxi"
include "rules/slots.pxi"
include "rules/limits.pxi"
include "rules/commands.pxi"
include "rules/events.pxi"
include "rules/externals.pxi"
include "rules/positions.pxi"
include "rules/write_off.pxi"
include "rules/clockwork.pxi"
include "rules/dispatch.pxi"
include "rules/border.pxi"


cdef inline bint is_for_account(const Input* e) noexcept nogil:
    return e.kind == IN_ACCOUNT_UPDATE or (e.kind == IN_CONTROL and e.reason == CONTROL_REBASE)


cdef bint is_awaited(const State* st, const Order* o, int64_t told_ms) noexcept nogil:
    # Of an open record, and filled so lately that its row may not have been read.
    return not st.trades[o.trade].flags & CLOSED and o.last_fill_ms + EXPECTED_MS > told_ms


cdef int64_t power_of_two(int64_t at_least):
    cdef int64_t size = 16
    while size < at_least:
        size *= 2
    return size


cdef int compare_keys(const void* a, const void* b) noexcept nogil:
    # noexcept: called by qsort.
    cdef uint64_t left = (<const uint64_t*>a)[0]
    cdef uint64_t right = (<const uint64_t*>b)[0]
    return (left > right) - (left < right)


@cython.final
cdef class Core:
    """All state of the kernel, in tables of fixed size that are touched at start."""

    def __cinit__(self, int slot_limit, table, *, int hedge=0, int leverage_cap=3,
                  int seen=65_536, int64_t balance_max_age_ms=0,
                  int64_t figure_tolerance_e18=10_000_000_000_000_000, seed=0):
        cdef Config* c
        if not 1 <= slot_limit <= 4096:
            raise BadField("slot_limit", slot_limit, "1 to 4096")
        if not 16 <= seen <= 1_048_576:
            raise BadField("seen", seen, "16 to 1048576")
        if not 1 <= leverage_cap <= 125:
            raise BadField("leverage_cap", leverage_cap, "1 to 125")
        self.st = <State*>PyMem_Calloc(1, sizeof(State))
        if self.st == NULL:
            raise MemoryError()
        c = &self.st.config
        c.slot_limit = slot_limit
        c.slots = slot_limit + RECOVERY_MIN + slot_limit // 4
        c.trades = 2 * slot_limit + 64
        c.orders = 4 * slot_limit + 256
        c.seen = seen
        c.hedge = hedge
        c.leverage_cap = leverage_cap
        c.requests = 6 * c.slots + 2 * c.trades + 64
        c.balance_max_age_ms = balance_max_age_ms
        c.figure_tolerance_e18 = figure_tolerance_e18
        self.slots = c.slots
        self.st.ledger.seed = exact_money(seed, "seed")
        self.allocate()
        self.load_table(table)

    def __dealloc__(self):
        if self.st == NULL:
            return
        PyMem_Free(self.st.slots)
        PyMem_Free(self.st.values)
        PyMem_Free(self.st.trades)
        PyMem_Free(self.st.orders)
        PyMem_Free(self.st.by_venue)
        PyMem_Free(self.st.by_client)
        PyMem_Free(self.st.seen)
        PyMem_Free(self.st.retired)
        PyMem_Free(self.st.requests)
        free(self.st.own)
        PyMem_Free(self.st)

    cdef int allocate(self) except -1:
        cdef State* st = self.st
        cdef int64_t probes = power_of_two(2 * st.config.orders)
        cdef int64_t keys = power_of_two(2 * st.config.seen)
        st.probe_mask = probes - 1
        st.seen_mask = keys - 1
        st.slots = <Slot*>PyMem_Calloc(st.config.slots, sizeof(Slot))
        st.values = <Value*>PyMem_Calloc(st.config.slots, sizeof(Value))
        st.trades = <Trade*>PyMem_Calloc(st.config.trades, sizeof(Trade))
        st.orders = <Order*>PyMem_Calloc(st.config.orders, sizeof(Order))
        st.by_venue = <Probe*>PyMem_Calloc(probes, sizeof(Probe))
        st.by_client = <Probe*>PyMem_Calloc(probes, sizeof(Probe))
        st.seen = <uint64_t*>PyMem_Calloc(2 * keys, sizeof(uint64_t))
        st.retired = <int32_t*>PyMem_Calloc(st.config.trades, sizeof(int32_t))
        st.requests = <Request*>PyMem_Calloc(st.config.requests, sizeof(Request))
        st.own_mask = OWN_MIN - 1
        st.own = <Probe*>calloc(OWN_MIN, sizeof(Probe))     # grows and shrinks without the GIL
        if (st.slots == NULL or st.values == NULL or st.trades == NULL or st.orders == NULL or st.by_venue == NULL
                or st.by_client == NULL or st.seen == NULL or st.retired == NULL
                or st.requests == NULL or st.own == NULL):
            raise MemoryError()
        self.touch(keys, probes)
        self.empty()
        return 0

    cdef void touch(self, int64_t keys, int64_t probes):
        # A page's first touch costs a fault; take them here, not in the first thousand events.
        cdef State* st = self.st
        memset(st.slots, 0, st.config.slots * sizeof(Slot))
        memset(st.values, 0, st.config.slots * sizeof(Value))
        memset(st.trades, 0, st.config.trades * sizeof(Trade))
        memset(st.orders, 0, st.config.orders * sizeof(Order))
        memset(st.by_venue, 0, probes * sizeof(Probe))
        memset(st.by_client, 0, probes * sizeof(Probe))
        memset(st.seen, 0, 2 * keys * sizeof(uint64_t))
        memset(st.requests, 0, st.config.requests * sizeof(Request))

    cdef void empty(self):
        cdef State* st = self.st
        cdef int32_t i
        for i in range(st.config.slots):
            slot_clear(&st.slots[i])
        for i in range(st.config.trades):
            st.trades[i].orders = -1
            st.trades[i].slot = -1
            st.trades[i].next = i + 1 if i + 1 < st.config.trades else -1
        for i in range(st.config.orders):
            st.orders[i].next = i + 1 if i + 1 < st.config.orders else -1
        st.trade_free = 0
        st.order_free = 0

    cdef int load_table(self, table) except -1:
        # table: {(state, kind): (rule, refusal, bits of the states that may follow)}
        cdef Cell* cell
        for (state, kind), (rule, refusal, next_states) in table.items():
            cell = &self.st.table[<int>state][<int>kind]
            cell.rule = rule
            cell.refusal = refusal
            cell.next_states = next_states
        return 0

    # -- the two entrances -------------------------------------------------------------------------

    cdef int alone(self) except -1:
        # A batch, and the sorting of a save, run without the GIL: who comes meanwhile would write
        # into half an input, or see it.
        if self.without_gil:
            raise OperatorError(
                "kernel refused a second thread", expected="one call at a time",
                found="a call while another thread's is under way",
                action="give the kernel one thread, and the others a queue or a lock before it")
        return 0

    cdef Outcome apply_event(self, Event event):
        cdef Outcome outcome = Outcome.__new__(Outcome)
        self.alone()
        apply_input(self.st, &event.c, &outcome.c)
        return outcome

    def apply(self, Event event not None) -> Outcome:
        """Apply one event.  Raises Fault when an invariant breaks; nothing else."""
        return self.apply_event(event)

    def apply_batch(self, const unsigned char[::1] inputs not None,
                    unsigned char[::1] outcomes not None, bint stop_at_account=False) -> int:
        """Apply packed events in one call without the GIL; return how many were applied.

        ``outcomes`` receives one packed outcome per event.  With ``stop_at_account`` the call
        returns after a balance frame or a re-base, so that the account can judge it before the
        next event.
        """
        cdef Py_ssize_t count = inputs.shape[0] // sizeof(Input)
        cdef Py_ssize_t done = 0
        cdef const Input* e
        cdef Result* out
        if inputs.shape[0] % sizeof(Input) != 0:
            raise BadField("inputs", inputs.shape[0], f"a multiple of {sizeof(Input)} bytes")
        if outcomes.shape[0] < count * <Py_ssize_t>sizeof(Result):
            raise BadField("outcomes", outcomes.shape[0], f"{count * sizeof(Result)} bytes")
        self.alone()
        if count == 0:
            return 0
        if <uintptr_t>&inputs[0] % 8 or <uintptr_t>&outcomes[0] % 8:
            raise BadField("buffer", "its address", "alignment to 8 bytes")
        e = <const Input*>&inputs[0]
        out = <Result*>&outcomes[0]
        self.without_gil = True
        try:
            with nogil:
                while done < count:
                    apply_input(self.st, &e[done], &out[done])
                    done += 1
                    if stop_at_account and is_for_account(&e[done - 1]):
                        break
        finally:
            self.without_gil = False
        return done

    def effects(self) -> list:
        """What the last input asked for: tuples (kind, slot, order_no, trade_no, asset_key,
        quantity_e8, price_e10, realized, fees, side, order_type, reduce_only, venue_key, child,
        intent_key, trade_key, external, leverage, tick_e10, step_e8)."""
        self.alone()
        cdef int32_t i
        cdef Request* r
        cdef Order* o
        cdef Trade* t
        cdef list found = []
        for i in range(self.st.request_count):
            r = &self.st.requests[i]
            if r.order >= 0:
                o = &self.st.orders[r.order]
                t = &self.st.trades[o.trade]
                found.append((r.kind, r.slot, r.order_no, r.trade_no, r.asset_key, r.figure.order[0],
                              r.figure.order[1], 0, 0, o.side, o.order_type, o.role == EXIT, o.venue_key,
                              o.child, o.intent_key, r.trade_key, (o.flags & EXTERNAL) != 0,
                              t.leverage, t.tick_e10, t.step_e8))
            else:
                found.append((r.kind, r.slot, r.order_no, r.trade_no, r.asset_key, 0, 0,
                              (r.figure.realized), (r.fees), 0, 0, False, 0, 0, 0, r.trade_key,
                              False, 1, 0, 0))
        return found

    # -- views -------------------------------------------------------------------------------------

    @property
    def active(self):
        """Slots in use."""
        return self.st.active

    @property
    def due_ms(self):
        """When a TICK would do something; 0 when nothing waits for time."""
        self.alone()
        return due_of(self.st)

    @property
    def trade_seq(self):
        """Trades opened."""
        return self.st.next_trade_no

    @property
    def held(self):
        """Events that wait for an answer."""
        return self.st.held_count

    @property
    def now_ms(self):
        """Time of the newest applied input."""
        return self.st.now_ms

    @property
    def order_seq(self):
        """Orders made."""
        return self.st.next_order_no

    @property
    def last_fill_ms(self):
        """Time of the newest fill by the venue's clock; 0 for none."""
        return self.st.ledger.last_fill_ms

    @property
    def event_seq(self):
        """Applied inputs."""
        return self.st.event_seq

    def slot(self, int index) -> tuple:
        """(state, flags, latched, trade_no, entry_order_no, exit_order_no, leg, goal, mark, stale_ms,
        retry_ms, proven_e8, exit_intent_key, proven_ms, short_ms, error_code, last_fill_ms)"""
        self.alone()
        cdef Slot* s
        if not 0 <= index < self.st.config.slots:
            raise BadField("slot_id", index, f"0 to {self.st.config.slots - 1}")
        s = &self.st.slots[index]
        return (s.state, s.flags, s.latched != 0,
                self.st.trades[s.trade].trade_no if s.trade >= 0 else 0,
                self.st.orders[s.entry_order].order_no if s.entry_order >= 0 else 0,
                self.st.orders[s.exit_order].order_no if s.exit_order >= 0 else 0,
                s.leg, s.exit_goal_e8, s.mark_price_e10, s.stale_ms, s.retry_ms, s.proven_e8,
                s.exit_intent_key, s.proven_ms, s.short_ms, s.error_code, s.last_fill_ms)

    def active_slots(self) -> list:
        """Indices of the slots in use."""
        self.alone()
        return [i for i in range(self.st.config.slots) if self.st.slots[i].trade >= 0]

    def order(self, uint64_t order_no):
        """The order's figures as a tuple, None when it is not in the registry."""
        self.alone()
        cdef int32_t index = order_by_client(self.st, order_no)
        cdef Order* o
        cdef Level* v
        if index < 0:
            return None
        o = &self.st.orders[index]
        v = &o.level
        return (o.order_no, o.venue_key, o.intent_key, self.st.trades[o.trade].trade_no,
                self.st.trades[o.trade].slot, o.role, o.side, o.order_type, o.status,
                (o.flags & FINAL) != 0, (o.flags & EXTERNAL) != 0, o.child, o.intended_e8,
                v.filled_e8, v.priced_e8, (v.cost), v.cost_rank, (v.fee),
                v.fee_rank, (v.realized), v.realized_rank, v.figure_e8, o.limit_price_e10, o.whole.filled_e8, (o.flags & LOST) != 0)

    def unwanted_orders(self) -> list:
        """Own numbers of the live orders whose cancel was asked for, oldest first."""
        self.alone()
        return sorted([self.st.orders[i].order_no for i in range(self.st.config.orders)
                       if is_live(self.st, i) and self.st.orders[i].flags & UNWANTED])

    def order_of_venue(self, uint64_t venue_key) -> int:
        """The own number of the order with this venue id, 0 when there is none."""
        self.alone()
        cdef int32_t index = order_by_venue(self.st, venue_key)
        return self.st.orders[index].order_no if index >= 0 else 0

    def trades(self) -> list:
        """Every trade in the tables: (trade_no, trade_key, asset_key, side, leverage, entered, priced,
        entry_cost, exited, realized, trueup, fees, carried, pending, unsettled, open_orders, slot,
        closed, legs, order numbers, returned)"""
        self.alone()
        cdef int32_t i
        return [self.trade_at(i) for i in range(self.st.config.trades)
                if self.st.trades[i].trade_no != 0]

    def trade(self, uint64_t trade_no):
        """One trade's tuple, None when it has been given up."""
        self.alone()
        cdef int32_t i
        for i in range(self.st.config.trades):
            if self.st.trades[i].trade_no == trade_no and trade_no != 0:
                return self.trade_at(i)
        return None

    def trade_in_slot(self, int index):
        """The tuple of the trade in this slot, None when it is free."""
        self.alone()
        if not 0 <= index < self.st.config.slots or self.st.slots[index].trade < 0:
            return None
        return self.trade_at(self.st.slots[index].trade)

    cdef object trade_at(self, int32_t index):
        cdef Trade* t = &self.st.trades[index]
        cdef Sums* s = &t.sums
        cdef int32_t order = t.orders
        cdef list orders = []
        while order >= 0:
            orders.append(self.st.orders[order].order_no)
            order = self.st.orders[order].next
        return (t.trade_no, t.trade_key, t.asset_key, t.side, t.leverage, s.entered_e8,
                s.entry_priced_e8, (s.entry_cost), s.exited_e8, (t.realized),
                (t.trueup), (s.fees), (t.carried), s.pending,
                s.unsettled, t.open_orders, t.slot, (t.flags & CLOSED) != 0,
                tuple([t.legs_e9[i] for i in range(t.leg_count)]), tuple(reversed(orders)),
                t.returned_e8, (t.flags & OFF) != 0, (t.foreign))

    def ledger(self) -> tuple:
        """(seed, realized, trueup, fees, funding, transfers, adjustments, wallet, available_margin,
        bridged, ambiguous, fees_estimated, anchor_ms, anchor_received_ms, frozen, seeded, anchored,
        anchor_quiet, anchor_reason, ambiguous_count, bridged_count, unsettled, routed_by_state,
        flow_total, peak, foreign, income_from_ms, income_read_ms, foreign_funding, foreign_transfers,
        exchange_offset_ms, clamped)"""
        self.alone()
        cdef Ledger* k = &self.st.ledger
        return ((k.seed), (k.realized), (k.trueup), (k.fees),
                (k.funding), (k.transfers), (k.adjustments),
                (k.wallet), (k.available_margin), (k.bridged),
                (k.ambiguous), (k.fees_estimated), k.anchor_ms,
                k.anchor_received_ms, k.frozen, k.seeded != 0, k.anchored != 0,
                k.anchor_quiet != 0, k.anchor_reason, k.ambiguous_count, k.bridged_count,
                k.unsettled, k.routed_by_state, k.flow_total, (k.peak),
                (k.foreign), k.income_from_ms, k.income_read_ms, (k.foreign_funding),
                (k.foreign_transfers), k.exchange_offset_ms, k.clamped)

    def exposure(self) -> tuple:
        """(open slots, open notional, unrealized) at the marks, entry basis where there is none."""
        self.alone()
        cdef int count = 0
        cdef money_t notional = 0
        cdef money_t unrealized = 0
        if exposure_of(self.st, &count, &notional, &unrealized):
            return self.wide_exposure()
        return count, notional, unrealized

    cdef tuple wide_exposure(self):
        # Sums of what is in range by itself can leave 128 bits; Python's integers hold them.
        cdef int32_t i
        cdef Value v
        cdef int count = 0
        notional: object = 0
        unrealized: object = 0
        for i in range(self.st.config.slots):
            if self.st.slots[i].trade < 0 or size_of(&self.st.trades[self.st.slots[i].trade]) <= 0:
                continue
            if value_of(&self.st.slots[i], &self.st.trades[self.st.slots[i].trade], &v):
                raise Fault("a slot's value leaves the range of money")
            count += 1
            notional = notional + money_out(v.notional)
            unrealized = unrealized + money_out(v.unrealized)
        return count, notional, unrealized

    cdef object wide_account(self, make, source, tuple drift):
        # The same figures as ``account``, where their sums leave the range.
        cdef Ledger* k = &self.st.ledger
        count, notional, unrealized = self.wide_exposure()
        realized = money_out(k.realized) + money_out(k.trueup)
        own = (money_out(k.seed) + realized - money_out(k.fees) + money_out(k.funding)
               + money_out(k.transfers) + money_out(k.adjustments))
        published = money_out(k.wallet) + money_out(k.bridged) if k.anchored else own
        return make(published, source, own, money_out(k.wallet), money_out(k.available_margin),
                published + unrealized, realized, unrealized, money_out(k.fees),
                money_out(k.funding), money_out(k.transfers), count, notional, money_out(k.peak),
                money_out(k.ambiguous), self.st.next_trade_no, self.st.event_seq, k.frozen != 0,
                drift[0], drift[1], drift[2])

    def account(self, make, tuple sources not None, tuple drift not None):
        """What ``make`` makes of the figures of an AccountSnapshot, in its order.  ``sources`` are
        the three values of capital_source: before any anchor, at the anchor, with flows after it;
        ``drift`` holds the last three figures, which the account knows."""
        self.alone()
        cdef Ledger* k = &self.st.ledger
        cdef int count = 0
        cdef money_t notional = 0
        cdef money_t unrealized = 0
        cdef money_t published = 0
        cdef money_t own = 0
        cdef money_t realized = 0
        cdef money_t equity = 0
        source = sources[0] if not k.anchored else sources[2 if k.bridged_count else 1]
        if (exposure_of(self.st, &count, &notional, &unrealized) or capital(k, &published)
                or k_capital(k, &own) or money_add(k.realized, k.trueup, &realized)
                or money_add(published, unrealized, &equity)):
            return self.wide_account(make, source, drift)
        return make(money_out(published), source, money_out(own), money_out(k.wallet),
                money_out(k.available_margin), money_out(equity), money_out(realized),
                money_out(unrealized), money_out(k.fees), money_out(k.funding),
                money_out(k.transfers), count, money_out(notional), money_out(k.peak),
                money_out(k.ambiguous), self.st.next_trade_no, self.st.event_seq, k.frozen != 0,
                drift[0], drift[1], drift[2])

    def estimated_fees(self, int64_t told_ms):
        """Fees of open records that are still estimates, of fills that income rows up to
        ``told_ms`` need not have yet (10^-18)."""
        self.alone()
        cdef int32_t i
        cdef Order* o
        cdef object total = 0
        for i in range(self.st.config.orders):
            o = &self.st.orders[i]
            if o.order_no != 0 and o.level.fee_rank == 1 and is_awaited(self.st, o, told_ms):
                total = total + money_out(o.level.fee)
        return total

    def unsettled_bound(self, int64_t told_ms):
        """How far the result of price-less exits can be from 0 (10^-18): a tenth of their entry
        value and what the mark says, for fills that income rows up to ``told_ms`` need not have
        yet."""
        self.alone()
        cdef int32_t i
        cdef Order* o
        cdef Trade* t
        cdef int64_t quantity
        cdef object total = 0
        for i in range(self.st.config.orders):
            o = &self.st.orders[i]
            if o.order_no == 0 or o.role != EXIT or not is_awaited(self.st, o, told_ms):
                continue
            t = &self.st.trades[o.trade]
            quantity = o.level.filled_e8 - o.level.priced_e8
            if quantity <= 0 or is_known(&o.level) or quantity > t.sums.entered_e8:
                continue
            basis = money_out(money_share(t.sums.entry_cost, quantity, t.sums.entered_e8))
            total = total + basis // 10
            if t.slot >= 0 and self.st.slots[t.slot].mark_price_e10 > 0 and is_priced(t):
                total = total + abs(
                    money_out(money_product(self.st.slots[t.slot].mark_price_e10, quantity)) - basis)
        return total

    def held_venue_keys(self) -> list:
        """Venue keys of the events that wait for an answer."""
        self.alone()
        return [self.st.held[i].venue_key for i in range(self.st.held_count)]

    def missing(self, int index) -> int:
        """Quantity of this slot that WRITE_OFF would take now; 0 while any record may still tell of
        it."""
        cdef Slot* s
        if not 0 <= index < self.st.config.slots or self.st.slots[index].trade < 0:
            return 0
        s = &self.st.slots[index]
        return missing_of(self.st, s) if s.flags & STALE else 0

    def is_own(self, uint64_t venue_key) -> bool:
        """Was an order with this venue id ever in the registry, as far as income rows can name it?"""
        self.alone()
        return probe_find(self.st.own, self.st.own_mask, venue_key) != 0

    def limits(self) -> tuple:
        """The limits for new risk, by RiskLimit; 0 for none."""
        self.alone()
        return tuple([money_out(self.st.limits[i]) for i in range(8)])

    def errors(self, int64_t now_ms) -> dict:
        """Rejections in the venue's window by its error code."""
        self.alone()
        cdef dict found = {}
        for i in range(self.st.errors_count):
            code = self.st.errors[(self.st.errors_first + i) & (ERRORS_KEPT - 1)].error_code
            found[code] = error_count(self.st, code, now_ms)
        return {code: count for code, count in found.items() if count}

    def foreign(self) -> list:
        """What others hold: (place key, signed quantity, as of)."""
        self.alone()
        return [(self.st.foreign[i].asset_key, self.st.foreign[i].quantity_e8, self.st.foreign[i].as_of_ms)
                for i in range(self.st.foreign_count) if self.st.foreign[i].quantity_e8 != 0]

    def foreign_here(self, uint64_t asset_key, int side) -> int:
        """Signed quantity of others on a symbol, in hedge mode on one side of it."""
        self.alone()
        return foreign_on(self.st, foreign_key(self.st, asset_key, side))

    def symbol_holds(self) -> list:
        """Keys of the assets that an operator holds."""
        self.alone()
        return [self.st.symbol_holds[i] for i in range(self.st.symbol_holds_count)]

    # -- the account's word ------------------------------------------------------------------------

    def judge(self, bint pending, bint unexplained) -> bool:
        """Take the account's judgement of the drift: too much pending lets no ENTER pass; too much
        unexplained freezes entries and cancels the working ones (in the effects of this call).
        True when the freeze changed."""
        self.alone()
        cdef int32_t before = self.st.ledger.frozen
        self.st.request_count = 0
        self.st.ledger.frozen &= ~(FREEZE_DRIFT | FREEZE_PENDING)
        if pending:
            self.st.ledger.frozen |= FREEZE_PENDING
        if unexplained:
            self.st.ledger.frozen |= FREEZE_DRIFT
            if not before & FREEZE_DRIFT:
                cancel_entries(self.st)
        return (before & FREEZE_DRIFT) != (self.st.ledger.frozen & FREEZE_DRIFT)

    # -- the whole state ---------------------------------------------------------------------------

    def save(self) -> bytes:
        """Everything, in a canonical order: equal states give equal bytes."""
        self.alone()
        cdef State* st = self.st
        cdef list parts = [b"DITAKRN", bytes([SAVE_VERSION])]
        cdef int32_t i
        parts.append((<char*>&st.config)[:sizeof(Config)])
        parts.append((<char*>&st.ledger)[:sizeof(Ledger)])
        parts.append(self.save_counters())
        for i in range(st.flows_count):
            parts.append((<char*>&st.flows[(st.flows_first + i) & (FLOWS_MAX - 1)])[:sizeof(Flow)])
        parts.append((<char*>st.foreign)[:st.foreign_count * sizeof(Foreign)])
        parts.append(self.save_symbol_holds())
        parts.append((<char*>st.limits)[:sizeof(st.limits)])
        for i in range(st.errors_count):
            parts.append((<char*>&st.errors[(st.errors_first + i) & (ERRORS_KEPT - 1)])[:sizeof(Rejection)])
        for i in range(st.enters_count):
            parts.append((<char*>&st.enters_ms[(st.enters_first + i) & (ENTERS_KEPT - 1)])[:sizeof(int64_t)])
        parts.append(self.save_own())
        parts.append((<char*>st.held)[:st.held_count * sizeof(Input)])
        parts.append((<char*>st.slots)[:st.config.slots * sizeof(Slot)])
        parts.append((<char*>st.trades)[:st.config.trades * sizeof(Trade)])
        parts.append((<char*>st.orders)[:st.config.orders * sizeof(Order)])
        for i in range(st.retired_count):
            parts.append(int(st.retired[(st.retired_first + i) % st.config.trades]).to_bytes(4, "little"))
        parts.append(self.save_seen(0))
        parts.append(self.save_seen(1))
        return b"".join(parts)

    cdef bytes save_own(self):
        # (key, time) of every own order that is remembered, by key.
        cdef State* st = self.st
        cdef uint64_t i
        cdef list found = []
        for i in range(st.own_mask + 1):
            if st.own[i].value != 0:
                found.append((st.own[i].key, st.own[i].value))
        return b"".join([key.to_bytes(8, "little") + value.to_bytes(8, "little") for key, value in sorted(found)])

    cdef int load_own(self, const char* data, Py_ssize_t at, int64_t count) except -1:
        cdef State* st = self.st
        cdef int64_t i
        cdef uint64_t key = 0
        cdef int64_t value = 0
        memset(st.own, 0, (st.own_mask + 1) * sizeof(Probe))
        st.own_count = 0
        for i in range(count):
            memcpy(&key, data + at + 16 * i, 8)
            memcpy(&value, data + at + 16 * i + 8, 8)
            own_note(st, key, value - 1)
        return 0

    cdef bytes save_symbol_holds(self):
        return (<char*>self.st.symbol_holds)[:self.st.symbol_holds_count * sizeof(uint64_t)]

    cdef bytes save_counters(self):
        cdef State* st = self.st
        cdef int64_t counters[COUNTERS]
        counters[0] = st.next_order_no
        counters[1] = st.next_trade_no
        counters[2] = st.event_seq
        counters[3] = st.now_ms
        counters[4] = st.flows_count
        counters[5] = st.foreign_count
        counters[6] = st.held_count
        counters[7] = st.retired_count
        counters[8] = st.seen_count[0]
        counters[9] = st.seen_count[1]
        counters[10] = st.seen_now
        counters[11] = st.order_free
        counters[12] = st.trade_free
        counters[13] = st.active
        counters[14] = st.orders_used
        counters[15] = st.trades_used
        counters[16] = st.retired_live
        counters[17] = st.retired_orders
        counters[18] = st.symbol_holds_count
        counters[19] = st.errors_count
        counters[20] = st.enters_count
        counters[21] = st.own_count
        counters[22] = 0
        counters[23] = 0
        return (<char*>counters)[:sizeof(counters)]

    cdef void load_counters(self, const int64_t* counters):
        cdef State* st = self.st
        st.next_order_no = <uint64_t>counters[0]
        st.next_trade_no = <uint64_t>counters[1]
        st.event_seq = counters[2]
        st.now_ms = counters[3]
        st.flows_first = 0
        st.flows_count = <int32_t>counters[4]
        st.foreign_count = <int32_t>counters[5]
        st.held_count = <int32_t>counters[6]
        st.retired_first = 0
        st.retired_count = <int32_t>counters[7]
        st.seen_now = <int32_t>counters[10]
        st.order_free = <int32_t>counters[11]
        st.trade_free = <int32_t>counters[12]
        st.active = <int32_t>counters[13]
        st.orders_used = <int32_t>counters[14]
        st.trades_used = <int32_t>counters[15]
        st.retired_live = <int32_t>counters[16]
        st.retired_orders = <int32_t>counters[17]
        st.symbol_holds_count = <int32_t>counters[18]
        st.errors_first = 0
        st.errors_count = <int32_t>counters[19]
        st.enters_first = 0
        st.enters_count = <int32_t>counters[20]

    cdef bytes save_seen(self, int generation):
        cdef State* st = self.st
        cdef uint64_t* table = st.seen + generation * (st.seen_mask + 1)
        cdef int32_t count = st.seen_count[generation]
        cdef int32_t found = 0
        cdef uint64_t i
        cdef uint64_t* keys
        cdef bytes saved
        if count == 0:
            return b""
        keys = <uint64_t*>PyMem_Calloc(count, sizeof(uint64_t))
        if keys == NULL:
            raise MemoryError()
        self.without_gil = True
        with nogil:                 # a copy is saved beside the loop, which goes on meanwhile
            for i in range(st.seen_mask + 1):
                if table[i] != 0:
                    keys[found] = table[i]
                    found += 1
            qsort(keys, count, sizeof(uint64_t), compare_keys)
        self.without_gil = False
        saved = (<char*>keys)[:count * sizeof(uint64_t)]
        PyMem_Free(keys)
        return saved

    def carry(self, bytes saved not None) -> None:
        """Go on from the saved state of a kernel with other settings, all of whose slots are free.

        Orders, trades and keys stay as they are; tables may only have grown.  Refuses, with nothing
        changed, what cannot go on here.
        """
        self.alone()
        cdef State* st = self.st
        cdef const char* data = saved
        cdef Py_ssize_t at = 8 + sizeof(Config) + sizeof(Ledger)
        cdef int64_t counters[COUNTERS]
        cdef Config old
        cdef int32_t i
        if len(saved) < at + <Py_ssize_t>sizeof(counters) or saved[:8] != b"DITAKRN" + bytes([SAVE_VERSION]):
            raise BadField("saved state", saved[:8], f"a kernel state of version {SAVE_VERSION}")
        memcpy(&old, data + 8, sizeof(Config))
        memcpy(counters, data + at, sizeof(counters))
        if old.trades > st.config.trades or old.orders > st.config.orders or old.seen > st.config.seen:
            raise BadField("slot_limit", st.config.slot_limit, f"at least {old.slot_limit}, as before")
        if len(saved) != self.saved_size(counters, &old) or counters[13] != 0 or counters[6] != 0:
            raise BadField("saved state", counters[13], "a whole one with no slot in use")
        self.clear()
        self.empty()
        memcpy(&st.ledger, data + 8 + sizeof(Config), sizeof(Ledger))
        self.load_counters(counters)
        at += sizeof(counters)
        at = self.take(data, at, st.flows, st.flows_count * sizeof(Flow))
        at = self.take(data, at, st.foreign, st.foreign_count * sizeof(Foreign))
        if old.hedge != st.config.hedge:    # their keys mean something else now; positions are asked
            st.foreign_count = 0
            memset(st.foreign, 0, sizeof(st.foreign))
        at = self.take(data, at, st.symbol_holds, st.symbol_holds_count * sizeof(uint64_t))
        at = self.take(data, at, st.limits, sizeof(st.limits))
        at = self.take(data, at, st.errors, st.errors_count * sizeof(Rejection))
        at = self.take(data, at, st.enters_ms, st.enters_count * sizeof(int64_t))
        self.load_own(data, at, counters[21])
        at += 16 * counters[21]
        at += old.slots * sizeof(Slot)
        at = self.take(data, at, st.trades, old.trades * sizeof(Trade))
        at = self.take(data, at, st.orders, old.orders * sizeof(Order))
        at = self.take(data, at, st.retired, st.retired_count * sizeof(int32_t))
        self.index(data, at, counters)
        if old.trades < st.config.trades:   # what is new goes before what was free
            st.trades[st.config.trades - 1].next = st.trade_free
            st.trade_free = old.trades
        if old.orders < st.config.orders:
            st.orders[st.config.orders - 1].next = st.order_free
            st.order_free = old.orders

    def copy_from(self, Core other not None) -> None:
        """Be in the same state as another core of the same configuration.  What its last input
        asked for is no part of it.  Quick: memory is copied as it is, nothing is put in order."""
        self.alone()
        other.alone()
        cdef State* st = self.st
        cdef State* theirs = other.st
        cdef State pointers
        if memcmp(&st.config, &theirs.config, sizeof(Config)) != 0:
            raise BadField("core", "another configuration", "the configuration of this kernel")
        if st.own_mask != theirs.own_mask:
            pointers.own = <Probe*>calloc(theirs.own_mask + 1, sizeof(Probe))
            if pointers.own == NULL:
                raise MemoryError()
            free(st.own)
            st.own = pointers.own
        memcpy(&pointers, st, sizeof(State))
        memcpy(st, theirs, sizeof(State))
        st.slots, st.values, st.trades, st.orders = pointers.slots, pointers.values, pointers.trades, pointers.orders
        st.by_venue, st.by_client, st.seen = pointers.by_venue, pointers.by_client, pointers.seen
        st.retired, st.own, st.requests = pointers.retired, pointers.own, pointers.requests
        st.request_count = 0
        memcpy(st.slots, theirs.slots, st.config.slots * sizeof(Slot))
        memcpy(st.values, theirs.values, st.config.slots * sizeof(Value))
        memcpy(st.trades, theirs.trades, st.config.trades * sizeof(Trade))
        memcpy(st.orders, theirs.orders, st.config.orders * sizeof(Order))
        memcpy(st.by_venue, theirs.by_venue, (st.probe_mask + 1) * sizeof(Probe))
        memcpy(st.by_client, theirs.by_client, (st.probe_mask + 1) * sizeof(Probe))
        memcpy(st.seen, theirs.seen, 2 * (st.seen_mask + 1) * sizeof(uint64_t))
        memcpy(st.retired, theirs.retired, st.config.trades * sizeof(int32_t))
        memcpy(st.own, theirs.own, (st.own_mask + 1) * sizeof(Probe))

    def restore(self, bytes saved not None) -> None:
        """Take over a saved state.  Refuses, with nothing changed, what was not saved by a kernel of
        this version and configuration."""
        self.alone()
        cdef State* st = self.st
        cdef const char* data = saved
        cdef Py_ssize_t at = 8 + sizeof(Config) + sizeof(Ledger)
        cdef int64_t counters[COUNTERS]
        cdef Py_ssize_t size
        if len(saved) < at + <Py_ssize_t>sizeof(counters) or saved[:8] != b"DITAKRN" + bytes([SAVE_VERSION]):
            raise BadField("saved state", saved[:8], f"a kernel state of version {SAVE_VERSION}")
        if saved[8:8 + sizeof(Config)] != (<char*>&st.config)[:sizeof(Config)]:
            raise BadField("saved state", "another configuration", "the configuration of this kernel")
        memcpy(counters, data + at, sizeof(counters))
        size = self.saved_size(counters, &st.config)
        if len(saved) != size:
            raise BadField("saved state", len(saved), f"{size} bytes")
        self.clear()
        memcpy(&st.ledger, data + 8 + sizeof(Config), sizeof(Ledger))
        self.load_counters(counters)
        at += sizeof(counters)
        at = self.take(data, at, st.flows, st.flows_count * sizeof(Flow))
        at = self.take(data, at, st.foreign, st.foreign_count * sizeof(Foreign))
        at = self.take(data, at, st.symbol_holds, st.symbol_holds_count * sizeof(uint64_t))
        at = self.take(data, at, st.limits, sizeof(st.limits))
        at = self.take(data, at, st.errors, st.errors_count * sizeof(Rejection))
        at = self.take(data, at, st.enters_ms, st.enters_count * sizeof(int64_t))
        self.load_own(data, at, counters[21])
        at += 16 * counters[21]
        at = self.take(data, at, st.held, st.held_count * sizeof(Input))
        at = self.take(data, at, st.slots, st.config.slots * sizeof(Slot))
        at = self.take(data, at, st.trades, st.config.trades * sizeof(Trade))
        at = self.take(data, at, st.orders, st.config.orders * sizeof(Order))
        at = self.take(data, at, st.retired, st.retired_count * sizeof(int32_t))
        self.index(data, at, counters)

    cdef Py_ssize_t saved_size(self, const int64_t* counters, const Config* c) except -1:
        if not (0 <= counters[4] <= FLOWS_MAX and 0 <= counters[5] <= FOREIGN_MAX
                and 0 <= counters[6] <= HELD_MAX and 0 <= counters[7] <= c.trades
                and 0 <= counters[8] <= c.seen and 0 <= counters[9] <= c.seen
                and 0 <= counters[10] <= 1 and 0 <= counters[18] <= SYMBOL_HOLDS_MAX
                and 0 <= counters[19] <= ERRORS_KEPT and 0 <= counters[20] <= ENTERS_KEPT
                and 0 <= counters[21] <= 2 ** 40):
            raise BadField("saved state", "its counters", "counters within the tables")
        return (8 + sizeof(Config) + sizeof(Ledger) + COUNTERS * sizeof(int64_t)
                + counters[4] * sizeof(Flow) + counters[5] * sizeof(Foreign)
                + counters[18] * sizeof(uint64_t) + counters[6] * sizeof(Input)
                + sizeof(self.st.limits) + counters[19] * sizeof(Rejection)
                + counters[20] * sizeof(int64_t) + 16 * counters[21] + c.slots * sizeof(Slot) + c.trades * sizeof(Trade)
                + c.orders * sizeof(Order) + counters[7] * sizeof(int32_t)
                + (counters[8] + counters[9]) * sizeof(uint64_t))

    cdef Py_ssize_t take(self, const char* data, Py_ssize_t at, void* target, Py_ssize_t size):
        memcpy(target, data + at, size)
        return at + size

    cdef void clear(self):
        cdef State* st = self.st
        self.touch(<int64_t>st.seen_mask + 1, <int64_t>st.probe_mask + 1)
        memset(st.flows, 0, sizeof(st.flows))
        memset(st.foreign, 0, sizeof(st.foreign))
        memset(st.symbol_holds, 0, sizeof(st.symbol_holds))
        memset(st.errors, 0, sizeof(st.errors))
        memset(st.enters_ms, 0, sizeof(st.enters_ms))
        memset(st.held, 0, sizeof(st.held))
        st.request_count = 0
        st.seen_count[0] = 0
        st.seen_count[1] = 0

    cdef void index(self, const char* data, Py_ssize_t at, const int64_t* counters):
        # The lookup tables are derived, so they are built again instead of being saved.
        cdef State* st = self.st
        cdef int32_t i
        cdef int32_t generation
        cdef int64_t count
        cdef uint64_t key = 0
        for i in range(st.config.orders):
            if st.orders[i].order_no != 0:
                probe_put(st.by_client, st.probe_mask, st.orders[i].client_key, i + 1)
                if st.orders[i].flags & BOUND:
                    probe_put(st.by_venue, st.probe_mask, st.orders[i].venue_key, i + 1)
        for generation in range(2):
            st.seen_now = generation
            for count in range(counters[8 + generation]):
                memcpy(&key, data + at, sizeof(uint64_t))
                remember(st, key)
                at += sizeof(uint64_t)
        st.seen_now = <int32_t>counters[10]

    def sizes(self) -> dict:
        """Bytes of each table."""
        cdef State* st = self.st
        return {
            "state": sizeof(State), "slots": st.config.slots * (sizeof(Slot) + sizeof(Value)),
            "trades": st.config.trades * sizeof(Trade), "orders": st.config.orders * sizeof(Order),
            "indices": 2 * (st.probe_mask + 1) * sizeof(Probe),
            "seen": 2 * (st.seen_mask + 1) * sizeof(uint64_t),
            "effects": st.config.requests * sizeof(Request),
        }


include "rules/branching.pxi"
