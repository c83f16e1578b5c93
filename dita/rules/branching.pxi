# For whoever walks through everything that can happen: the way back to a state, and bytes that are
# equal when two states are the same situation.
#
# No rule looks at anything here, and nothing here knows a rule.  An image is the whole memory of a
# core as a difference to its first moment, so a new field or table row needs no line here; only a
# new table does (regions).  A situation leaves out what only counts or numbers.

cdef enum:
    REGIONS = 10
    NEAR_S = 3                  # ages up to here are told apart, then only their class

cdef int64_t AGES_S[6]
AGES_S[0] = 10
AGES_S[1] = 30
AGES_S[2] = 60
AGES_S[3] = 120
AGES_S[4] = 480
AGES_S[5] = 3600


cdef int64_t span_class(int64_t seconds) noexcept nogil:
    cdef int i
    if seconds <= NEAR_S:
        return seconds
    for i in range(6):
        if seconds <= AGES_S[i]:
            return NEAR_S + 1 + i
    return NEAR_S + 7


@cython.cdivision(True)
cdef int64_t time_code(int64_t when_ms, int64_t now_ms) noexcept nogil:
    # The second it is in as a class of age or of time to go, and its place within that second.
    cdef int64_t seconds = when_ms // 1000 - now_ms // 1000
    cdef int64_t span = 32 + span_class(seconds) if seconds >= 0 else 32 - span_class(-seconds)
    return span * 1000 + when_ms % 1000 + 1


def age_code(int64_t when_ms, int64_t now_ms) -> int:
    """A time as a situation tells it: its class of age, and the order within one second."""
    return time_code(when_ms, now_ms)


@cython.final
cdef class Images:
    """Copies of one core to come back to.  Each is a difference to the core as it is now."""

    cdef Core core
    cdef uint64_t* base
    cdef uint64_t* buffer
    cdef Py_ssize_t words
    cdef Probe* own             # where that table was: it moves, and only what is in it counts
    cdef uint64_t own_mask

    def __cinit__(self, Core core not None):
        cdef void* at[REGIONS]
        cdef Py_ssize_t sizes[REGIONS]
        cdef Py_ssize_t filled = 0
        cdef int i
        self.core = core
        self.own = core.st.own
        self.own_mask = core.st.own_mask
        core.st.request_count = 0
        self.regions(at, sizes)
        self.words = 0
        for i in range(REGIONS):
            if sizes[i] % 8:
                raise BadField("table", sizes[i], "a size of whole 64-bit words")
            self.words += sizes[i] // 8
        self.base = <uint64_t*>PyMem_Calloc(self.words, 8)
        self.buffer = <uint64_t*>PyMem_Calloc(2 * self.words + 512, 8)
        if self.base == NULL or self.buffer == NULL:
            raise MemoryError()
        for i in range(REGIONS):
            memcpy(self.base + filled, at[i], sizes[i])
            filled += sizes[i] // 8

    def __dealloc__(self):
        PyMem_Free(self.base)
        PyMem_Free(self.buffer)

    cdef void regions(self, void** at, Py_ssize_t* sizes) noexcept:
        cdef State* st = self.core.st
        at[0], sizes[0] = st, sizeof(State)
        at[1], sizes[1] = st.slots, st.config.slots * sizeof(Slot)
        at[2], sizes[2] = st.values, st.config.slots * sizeof(Value)
        at[3], sizes[3] = st.trades, st.config.trades * sizeof(Trade)
        at[4], sizes[4] = st.orders, st.config.orders * sizeof(Order)
        at[5], sizes[5] = st.by_venue, (st.probe_mask + 1) * sizeof(Probe)
        at[6], sizes[6] = st.by_client, (st.probe_mask + 1) * sizeof(Probe)
        at[7], sizes[7] = st.seen, 2 * (st.seen_mask + 1) * sizeof(uint64_t)
        at[8], sizes[8] = st.retired, st.config.trades * sizeof(int32_t)
        at[9], sizes[9] = st.own, (self.own_mask + 1) * sizeof(Probe)

    def take(self) -> bytes:
        """The state as it is.  What the last input asked for is no part of it."""
        cdef void* at[REGIONS]
        cdef Py_ssize_t sizes[REGIONS]
        cdef uint64_t* out = self.buffer
        cdef Py_ssize_t before = 0
        cdef Probe* own = self.core.st.own
        cdef int i
        if self.core.st.own_mask != self.own_mask:
            raise BadField("own orders", self.core.st.own_mask, "a table that has not grown")
        self.core.st.request_count = 0
        self.regions(at, sizes)
        self.core.st.own = self.own
        for i in range(REGIONS):
            out = put_differences(out, <uint64_t*>at[i], self.base, before, sizes[i] // 8)
            before += sizes[i] // 8
        self.core.st.own = own
        return (<char*>self.buffer)[:<Py_ssize_t>(<uintptr_t>out - <uintptr_t>self.buffer)]

    def put(self, bytes image not None) -> None:
        """Be in the state of this image again."""
        cdef void* at[REGIONS]
        cdef Py_ssize_t sizes[REGIONS]
        cdef const uint64_t* pairs = <const uint64_t*><const char*>image
        cdef Py_ssize_t count = len(image) // 8
        cdef Py_ssize_t before = 0
        cdef Py_ssize_t next_pair = 0
        cdef Py_ssize_t size
        cdef Probe* own = self.core.st.own
        cdef int i
        self.regions(at, sizes)
        for i in range(REGIONS):
            size = sizes[i] // 8
            memcpy(at[i], self.base + before, sizes[i])
            while next_pair < count and <Py_ssize_t>pairs[next_pair] < before + size:
                (<uint64_t*>at[i])[<Py_ssize_t>pairs[next_pair] - before] = pairs[next_pair + 1]
                next_pair += 2
            before += size
        self.core.st.own = own

    def situation(self, int64_t origin_ms, int64_t now_ms) -> tuple:
        """(bytes, order numbers): equal bytes for states that differ only in what counts or numbers,
        in how old old things are, and in orders that never reached the venue.  Times after
        ``origin_ms`` become classes of age; the orders that are left are told in their order."""
        cdef State* st = self.core.st
        cdef list orders = []
        cdef char* out = <char*>self.buffer
        cdef int32_t i
        cdef uint64_t number
        cdef uint64_t last = 0
        cdef Py_ssize_t size
        cdef Ledger k = st.ledger
        k.peak = 0
        k.flow_total = 0
        k.routed_by_state = 0
        k.clamped = 0
        k.bridged_count = k.bridged_count > 0
        k.ambiguous_count = k.ambiguous_count > 0
        out = put_struct(out, &k, sizeof(Ledger))
        while True:                 # trades by age
            number = 0
            for i in range(st.config.trades):
                if st.trades[i].trade_no > last and (number == 0 or st.trades[i].trade_no < number):
                    number = st.trades[i].trade_no
            if number == 0:
                break
            last = number
            for i in range(st.config.trades):
                if st.trades[i].trade_no == number:
                    out = self.put_trade(out, i, orders)
        for i in range(st.config.slots):
            if st.slots[i].trade >= 0:
                out = self.put_slot(out, i, orders)
        out = self.put_lists(out, orders)
        relative_times(self.buffer, <uint64_t*>out, origin_ms, now_ms)
        size = <Py_ssize_t>(<uintptr_t>out - <uintptr_t>self.buffer)
        return (<char*>self.buffer)[:size], tuple(orders)

    cdef char* put_trade(self, char* out, int32_t index, list orders):
        cdef State* st = self.core.st
        cdef Trade t = st.trades[index]
        cdef Order o
        cdef int32_t order = t.orders
        t.trade_no = t.trade_no != 0
        t.orders = 0
        t.order_count = 0
        t.recovery_child = 0
        t.next = 0
        t.flags &= <uint8_t>(~QUEUED)
        out = put_struct(out, &t, sizeof(Trade))
        while order >= 0:
            o = st.orders[order]
            order = o.next
            if never_there(&o):
                continue
            orders.append(o.order_no)
            o.order_no = 1
            o.client_key = 0
            o.intent_key = 0
            o.trade = 0
            o.next = 0
            o.child = 0
            out = put_struct(out, &o, sizeof(Order))
        return out

    cdef char* put_slot(self, char* out, int32_t index, list orders):
        cdef State* st = self.core.st
        cdef Slot s = st.slots[index]
        cdef uint64_t trade_no = st.trades[s.trade].trade_no
        cdef int32_t i
        s.entry_order = self.place_of(s.entry_order, orders)
        s.exit_order = self.place_of(s.exit_order, orders)
        s.trade = index
        for i in range(st.config.trades):
            if st.trades[i].trade_no != 0 and st.trades[i].trade_no < trade_no:
                s.trade += 4096             # its trade by age
        s.next_child = 0
        s.exit_intent_key = 0
        return put_struct(out, &s, sizeof(Slot))

    cdef int32_t place_of(self, int32_t order, list orders):
        if order < 0 or never_there(&self.core.st.orders[order]):
            return -1
        return orders.index(self.core.st.orders[order].order_no)

    cdef char* put_lists(self, char* out, list orders):
        # Lists whose order says nothing are sorted; held events are few and keep theirs.
        cdef State* st = self.core.st
        cdef Input e
        cdef Foreign f
        cdef uint64_t number
        cdef int32_t i
        cdef int32_t order
        for key, quantity, as_of in sorted([
                (st.foreign[i].asset_key, st.foreign[i].quantity_e8, st.foreign[i].as_of_ms)
                for i in range(st.foreign_count)]):
            f.asset_key = key
            f.quantity_e8 = quantity
            f.as_of_ms = as_of
            out = put_struct(out, &f, sizeof(Foreign))
        for key in sorted([st.symbol_holds[i] for i in range(st.symbol_holds_count)]):
            number = key
            out = put_struct(out, &number, sizeof(uint64_t))
        for i in range(st.errors_count):
            out = put_struct(out, &st.errors[(st.errors_first + i) & (ERRORS_KEPT - 1)],
                             sizeof(Rejection))
        for i in range(st.held_count):
            e = st.held[i]
            e.received_ms = 0
            e.limit_ms = sum([number <= <uint64_t>e.limit_ms for number in orders])
            order = order_by_client(st, e.client_key)
            if order >= 0:
                e.client_key = 1 + self.place_of(order, orders)
            out = put_struct(out, &e, sizeof(Input))
        return out


@cython.overflowcheck(False)
@cython.cdivision(True)
cdef uint64_t* put_differences(uint64_t* out, const uint64_t* words, const uint64_t* base,
                               Py_ssize_t before, Py_ssize_t count) noexcept nogil:
    # Pairs of place and word; by blocks, as most of the memory never changes.
    cdef Py_ssize_t block = 0
    cdef Py_ssize_t end
    cdef Py_ssize_t i
    while block < count:
        end = block + 64 if block + 64 < count else count
        if memcmp(words + block, base + before + block, (end - block) * 8) != 0:
            for i in range(block, end):
                if words[i] != base[before + i]:
                    out[0] = before + i
                    out[1] = words[i]
                    out += 2
        block = end
    return out


cdef inline char* put_struct(char* out, const void* what, Py_ssize_t size) noexcept:
    memcpy(out, what, size)
    return out + size


cdef inline bint never_there(const Order* o) noexcept:
    return (is_terminal(o) and o.level.filled_e8 == 0 and not o.flags & (BOUND | EXTERNAL))


cdef void relative_times(uint64_t* at, const uint64_t* end, int64_t origin_ms, int64_t now_ms) noexcept:
    # A word that can be a time is one: nothing else has such a value in a small world.
    while at < end:
        if origin_ms <= <int64_t>at[0] < origin_ms + 100_000_000_000:
            at[0] = <uint64_t>time_code(<int64_t>at[0], now_ms)
        at += 1
