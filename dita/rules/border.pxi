# The border to Python: one event in, one outcome out, exact integers only.
#
# Cython would take 1.9 as 1, True as 1, Decimal("2.7") as 2.  Nothing but an int passes here, and
# what does not fit is refused with its field, its value and what was expected.  Whether an event
# makes sense is not decided here but in dispatch.


cdef inline int64_t exact(object value, str field) except? -1:
    cdef int overflow = 0
    cdef int64_t number
    if not PyLong_CheckExact(value):
        raise BadField(field, value, "an exact int")
    number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow != 0:
        raise BadField(field, value, "an int within 64 bits")
    return number


cdef inline int small(object value, str field, int low, int high) except? -1:
    # Enum members are ints of a subclass; bool is one too and is refused.
    cdef int overflow = 0
    cdef int64_t number
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadField(field, value, f"an int from {low} to {high}")
    number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow != 0 or not low <= number <= high:
        raise BadField(field, value, f"an int from {low} to {high}")
    return <int>number


cdef uint64_t exact_key(object value, str field) except? 0:
    if not PyLong_CheckExact(value):
        raise BadField(field, value, "a 64-bit key")
    try:
        return PyLong_AsUnsignedLongLong(value)
    except OverflowError:
        raise BadField(field, value, "a 64-bit key") from None


cdef inline object money_out(money_t amount):
    # Most amounts fit into 64 bits; the rest goes the long way.
    if money_fits_64(amount):
        return PyLong_FromLongLong(<int64_t>amount)
    return amount


cdef money_t exact_money(object value, str field) except? -1:
    cdef money_t amount
    if not PyLong_CheckExact(value):
        raise BadField(field, value, "an exact int")
    try:
        amount = value
    except OverflowError:
        raise BadField(field, value, MONEY_RANGE) from None
    if money_is_out(amount):
        raise BadField(field, value, MONEY_RANGE)
    return amount


MONEY_RANGE = "money within 10^38 units of 10^-18"


@cython.final
@cython.freelist(16)
cdef class Event:
    """One input, ready for the kernel: checked to be exact, not yet to make sense."""

    def command(self, kind, received_ms, event_key, trade_key, asset_key, slot, side, quantity_e8,
                price_e10, limit_price_e10, order_type, leverage, legs, urgent, expires_ms,
                working_ms, role, venue_key, reason, cost, amount, contract, deadline_ms):
        """Fill in what an intent carries; ``contract`` is None or a tuple of its six figures."""
        cdef Input* e = &self.c
        cdef int i
        memset(e, 0, sizeof(Input))
        e.kind = small(kind, "command", 1, 15)
        e.received_ms = exact(received_ms, "received_ms")
        e.event_key = exact_key(event_key, "intent_id")
        e.trade_key = exact_key(trade_key, "trade_id")
        e.asset_key = exact_key(asset_key, "asset")
        e.venue_key = exact_key(venue_key, "venue_order_id")
        e.slot = small(slot, "slot_id", -1, 32767)
        e.side = small(side, "side", -1, 1)
        e.quantity_e8 = exact(quantity_e8, "quantity_e8")
        e.price_e10 = exact(price_e10, "reference_price_e10")
        e.last_price_e10 = exact(limit_price_e10, "limit_price_e10")
        e.order_type = small(order_type, "order_type", 0, 2)
        e.leverage = small(leverage, "leverage", -2147483648, 2147483647)
        e.limit_ms = exact(expires_ms, "expires_ms")
        e.wait_ms = exact(working_ms, "working_ms")
        e.role = small(role, "role", 0, 6)
        e.reason = small(reason, "action", 0, 255)
        e.cost = exact_money(cost, "entry_cost")
        e.deadline_ms = exact(deadline_ms, "deadline_ms")
        if amount is not None:
            e.realized = exact_money(amount, "amount")
            e.flags |= HAS_REALIZED
        if urgent:
            e.flags |= URGENT
        if type(legs) is not tuple or not 1 <= len(legs) <= LEGS_MAX:
            raise BadField("exit_leg_ratios_e9", legs, f"a tuple of 1 to {LEGS_MAX} ratios")
        e.leg_count = <uint8_t>len(legs)
        for i in range(e.leg_count):
            e.legs_e9[i] = small(legs[i], "exit_leg_ratios_e9", -2147483648, 2147483647)
        if contract is not None:
            self.load_contract(contract)
        return self

    cdef int load_contract(self, tuple contract) except -1:
        cdef Input* e = &self.c
        e.tick_e10 = exact(contract[0], "contract.tick_e10")
        e.step_e8 = exact(contract[1], "contract.step_e8")
        e.min_quantity_e8 = exact(contract[2], "contract.min_quantity_e8")
        e.min_notional = exact_money(contract[3], "contract.min_notional")
        e.taker_fee_e9 = small(contract[4], "contract.taker_fee_e9", -2147483648, 2147483647)
        e.maker_fee_e9 = small(contract[5], "contract.maker_fee_e9", -2147483648, 2147483647)
        return 0

    def pack(self) -> bytes:
        """The packed record: what the journal stores and the batch entrance reads."""
        return (<char*>&self.c)[:sizeof(Input)]

    @staticmethod
    def unpack(bytes record) -> Event:
        """The event of a packed record."""
        cdef Event event = Event.__new__(Event)
        if len(record) != sizeof(Input):
            raise BadField("record", len(record), f"{sizeof(Input)} bytes")
        memcpy(&event.c, <const char*>record, sizeof(Input))
        return event

    @property
    def kind(self):
        return self.c.kind

    @property
    def rebases(self):
        return self.c.kind == IN_CONTROL and self.c.reason == CONTROL_REBASE


def report(kind, received_ms, exchange_ms, event_key, asset_key, venue_key, client_key,
           slot, side, quantity_e8, increment, price_e10, last_quantity_e8, last_price_e10,
           cost, fee, realized, source, reason, wait_ms, limit_ms, available_margin,
           position_side, error_code, own_shape):
    """The event of what a venue or account event carries; None = not reported."""
    cdef Event event = Event.__new__(Event)
    cdef Input* e = &event.c
    memset(e, 0, sizeof(Input))
    e.kind = small(kind, "kind", 16, 39)
    e.received_ms = exact(received_ms, "received_ms")
    e.exchange_ms = exact(exchange_ms, "exchange_ms")
    e.event_key = exact_key(event_key, "event_id")
    e.asset_key = exact_key(asset_key, "asset")
    e.venue_key = exact_key(venue_key, "venue_order_id")
    e.client_key = exact_key(client_key, "client_order_id")
    e.slot = small(slot, "slot_id", -1, 32767)
    e.side = small(side, "side", -1, 1)
    e.quantity_e8 = exact(quantity_e8, "quantity_e8")
    e.price_e10 = exact(price_e10, "price_e10")
    e.last_quantity_e8 = exact(last_quantity_e8, "last_quantity_e8")
    e.last_price_e10 = exact(last_price_e10, "last_price_e10")
    e.source = small(source, "source", 1, 4)
    e.reason = small(reason, "reason", 0, 255)
    e.wait_ms = exact(wait_ms, "retry_after_ms")
    e.limit_ms = exact(limit_ms, "requested_ms")
    e.position_side = small(position_side, "position_side", -1, 1)
    e.error_code = small(error_code, "error_code", -2147483648, 2147483647)
    if own_shape:
        e.flags |= OWN_SHAPE
    if increment:
        e.flags |= INCREMENT
    if cost is not None:
        e.cost = exact_money(cost, "cost")
        e.flags |= HAS_COST
    if fee is not None:
        e.fee = exact_money(fee, "fee")
        e.flags |= HAS_FEE
    if realized is not None:
        e.realized = exact_money(realized, "realized")
        e.flags |= HAS_REALIZED
    if available_margin is not None:
        e.fee = exact_money(available_margin, "available_margin")
    return event


@cython.final
@cython.freelist(16)
cdef class Outcome:
    """What one input did.  Money comes out as Python ints of 10^-18."""

    @property
    def code(self):
        return self.c.code

    @property
    def accepted(self):
        return self.c.accepted != 0

    @property
    def effects(self):
        return self.c.effects

    @property
    def event_seq(self):
        return self.c.event_seq

    @property
    def slot(self):
        return self.c.slot

    @property
    def trade_no(self):
        return self.c.trade_no

    @property
    def order_no(self):
        return self.c.order_no

    @property
    def before(self):
        return self.c.before

    @property
    def after(self):
        return self.c.after

    @property
    def leg(self):
        return self.c.leg

    @property
    def field(self):
        return FIELDS[self.c.field]

    @property
    def notes(self):
        return self.c.notes

    @property
    def quantity_delta_e8(self):
        return self.c.quantity_delta_e8

    @property
    def size_e8(self):
        return self.c.size_e8

    @property
    def realized_delta(self):
        return (self.c.realized_delta)

    @property
    def trueup_delta(self):
        return (self.c.trueup_delta)

    @property
    def fee_delta(self):
        return (self.c.fee_delta)

    @property
    def retry_after_ms(self):
        return self.c.retry_after_ms

    def told(self, make, trigger, tuple stages not None) -> tuple:
        """(accepted, code, event_seq, transition, notes, effects) in one call.  ``make`` makes the
        KernelTransition of its figures, in their order; ``stages`` are the states by number."""
        cdef Result* r = &self.c
        cdef object transition = None
        if r.accepted and r.trade_no:
            transition = make(
                trigger, stages[r.before], stages[r.after], r.slot, r.trade_no, r.order_no,
                r.quantity_delta_e8, r.size_e8, money_out(r.realized_delta),
                money_out(r.trueup_delta), money_out(r.fee_delta), r.leg)
        return (r.accepted != 0, r.code, r.event_seq, transition, r.notes, r.effects)

    @property
    def released(self):
        return self.c.released

    def pack(self) -> bytes:
        """The packed outcome, as the batch entrance writes it."""
        return (<char*>&self.c)[:sizeof(Result)]

    @staticmethod
    def unpack(bytes record) -> Outcome:
        """The outcome of a packed record."""
        cdef Outcome outcome = Outcome.__new__(Outcome)
        if len(record) != sizeof(Result):
            raise BadField("record", len(record), f"{sizeof(Result)} bytes")
        memcpy(&outcome.c, <const char*>record, sizeof(Result))
        return outcome
