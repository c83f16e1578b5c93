# The kernel's contents page: its numbers, its structs, its class.  Read this first.
#
# The kernel turns one input into one outcome over fixed tables of slots, trades and orders.  It
# knows integers only: identities are 64-bit keys, prices 10^-10, quantities 10^-8, money 10^-18 in
# 128 bits, times milliseconds.  It knows no text, no clock, no I/O; everything comes in as input.
#
# The rules are in rules/*.pxi, textually part of _kernel.pyx, one file per idea:
#   numbers    what both sides of the border share by number
#   registry   tables of orders and trades, duplicate detection, flows, effects
#   levels     what an event does to an order's levels and to the money that follows from them
#   slots      a slot's state as a function of its facts; exit planning; freeing
#   limits     what a person allows entries to risk
#   commands   ENTER, EXIT, CANCEL, MARK_PRICE, RECONCILE, CONTROL
#   events     acks, fills, ends, rejects, evidence, settlements
#   externals  closes that were not ours, and which part of them is
#   positions  the venue's position against ours: agreement, doubt, what is foreign
#   write_off  a position that is gone without a record
#   clockwork  account frames and the passing of time
#   dispatch   check, route, look up the table, apply
#   border     Event and Outcome: Python ints to packed records and back

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint64_t

cdef extern from "_money.h" nogil:
    # In C a signed 128-bit integer.  Here it is only passed on: every sum goes through a function.
    ctypedef long long money_t
    int money_is_out(money_t a)
    int money_is_wide(money_t a)
    int money_add(money_t a, money_t b, money_t* out)
    int money_sub(money_t a, money_t b, money_t* out)
    money_t money_product(int64_t price_e10, int64_t quantity_e8)
    money_t money_share(money_t a, int64_t numerator, int64_t denominator)
    int money_sign(money_t a)
    money_t money_negative(money_t a)
    money_t money_signed(money_t a, int sign)
    int money_cmp(money_t a, money_t b)
    int money_equal(money_t a, money_t b)
    int money_fits_64(money_t a)
    int quantity_add(int64_t a, int64_t b, int64_t* out)
    int64_t quantity_sum(int64_t a, int64_t b)
    int64_t quantity_share(int64_t quantity_e8, int64_t ratio_e9)
    uint64_t key_mix(uint64_t key)
    int64_t TIME_MAX_MS
    int64_t ALL                 # Slot.exit_goal_e8: everything, whatever it will be

cdef enum:
    LEGS_MAX = 8
    RECOVERY_MIN = 16           # slots beyond slot_limit (and a quarter of it) for trades that return
    STATES = 6
    KINDS = 40
    HELD_MAX = 64
    FLOWS_MAX = 1024
    FOREIGN_MAX = 256
    SYMBOL_HOLDS_MAX = 64
    OWN_MIN = 1024              # places of the table of own venue ids at first; a power of two
    WAIT_MAX_MS = 604_800_000   # 7 days
    AMBIGUOUS_MS = 2_000        # a flow this near to an anchor may or may not be in the wallet
    STALE_EXIT_MS = 2_000       # an exit waits this long for a stale slot, then goes out capped
    RATE_LIMIT_MS = 60_000      # wait when the venue gives no time
    ERRORS_KEPT = 128           # rejections in the window, of all codes
    ERROR_WINDOW_MS = 480_000   # the venue blocks an endpoint at 20 equal errors in it
    ERRORS_OF_A_SLOT = 7        # from here on only who had the code itself waits
    ERRORS_OF_ALL = 15          # from here on everybody waits
    SUSPENDED_MS = 120_000      # between tries on a symbol that the venue has suspended
    FUTILE_MS = 60_000          # between exits while the venue shows no position
    SKEW_MS = 60_000            # a venue time this far ahead of the venue's clock is not believed
    EXPECTED_MS = 120_000       # an expectation ends when income was read so far past it
    OWN_KEPT_MS = 1_200_000     # income rows are read again over less than this
    ENTERS_KEPT = 256
    DAY_MS = 86_400_000
    BACKOFF_MS = 1_000
    BACKOFF_MAX_MS = 60_000
    RECORD_LIMIT_MS = 120_000   # a trade record waits this long for the venue's own figures

# Numbers shared with contracts.py; a test holds both sides together.
cdef enum:                      # TradeStage
    IDLE = 0
    ENTRY_WORKING = 1
    POSITION_OPEN = 2
    EXIT_WORKING = 3
    POSITION_CLOSED = 4
    RECONCILING = 5

cdef enum:                      # OrderRole
    ENTRY = 1
    EXIT = 2

cdef enum:                      # VenueOrderStatus; from FILLED on: ended
    REQUESTED = 1
    WORKING = 2
    UNKNOWN = 3
    FILLED = 4
    CANCELLED = 5
    EXPIRED = 6
    REJECTED = 7
    ABSENT = 8

cdef enum:                      # KernelCommandType and KernelEventKind
    IN_ENTER = 1
    IN_EXIT = 2
    IN_CANCEL = 3
    IN_MARK_PRICE = 4
    IN_RECONCILE = 5
    IN_CONTROL = 6
    IN_WRITE_OFF = 7
    IN_ORDER_ACK = 16
    IN_PARTIAL_FILL = 17
    IN_FULL_FILL = 18
    IN_CANCEL_ACK = 19
    IN_CANCEL_REJECT = 20
    IN_ORDER_REJECT = 21
    IN_ORDER_EXPIRED = 22
    IN_ORDER_UNKNOWN = 23
    IN_RATE_LIMITED = 24
    IN_ORDER_FINAL = 25
    IN_ORDER_ABSENT = 26
    IN_POSITION = 27
    IN_FILL_SETTLED = 28
    IN_LIQUIDATION = 29
    IN_ADL = 30
    IN_ACCOUNT_UPDATE = 31
    IN_FUNDING_FEE = 32
    IN_TRANSFER = 33
    IN_TICK = 34
    IN_FOREIGN_FLOW = 35
    IN_INCOME_READ = 36

cdef enum:                      # EvidenceSource
    FROM_STREAM = 1
    FROM_ORDER = 2
    FROM_FILLS = 3
    FROM_INCOME = 4

cdef enum:                      # RejectReason
    REJECT_OTHER = 0
    REJECT_MISMATCH = 1
    REJECT_MINIMUM = 2
    REJECT_SUSPENDED = 3

cdef enum:                      # BalanceReason
    BALANCE_UNKNOWN = 0
    BALANCE_ORDER = 1
    BALANCE_FUNDING = 2
    BALANCE_TRANSFER = 3

cdef enum:                      # ControlAction
    CONTROL_HOLD = 1
    CONTROL_RESUME = 2
    CONTROL_DRAIN = 3
    CONTROL_REBASE = 4
    CONTROL_DRAINED = 5
    CONTROL_NOT_READY = 6
    CONTROL_READY = 7
    CONTROL_LIMIT = 8
    CONTROL_QUARANTINE = 9

cdef enum:                      # RiskLimit
    LIMIT_ORDER_NOTIONAL = 1
    LIMIT_SYMBOL_NOTIONAL = 2
    LIMIT_TOTAL_NOTIONAL = 3
    LIMIT_POSITIONS = 4
    LIMIT_INTENTS_PER_MINUTE = 5
    LIMIT_DAY_LOSS = 6

cdef enum:                      # EffectKind
    DO_SUBMIT = 1
    DO_CANCEL = 2
    DO_QUERY_ORDER = 3
    DO_FINALISE = 4
    DO_QUERY_POSITION = 5
    DO_QUERY_BALANCE = 6
    DO_FEED_SIZER = 7
    DO_CLOSE_TRADE = 8

cdef enum:                      # KernelDiagnosticCode
    D_OK = 0
    D_INVALID_SLOT = 1
    D_SLOT_BUSY = 2
    D_NO_POSITION = 3
    D_NO_ACTIVE_EXIT_ORDER = 4
    D_INVALID_TRANSITION = 5
    D_INVALID_INTENT = 6
    D_INVALID_EVENT = 7
    D_STALE_STATE = 8
    D_DUPLICATE_EVENT = 9
    D_TERMINAL_STATE = 10
    D_UNRESOLVED_SLOT = 11
    D_OLD_ANCHOR = 12
    D_ZERO_WALLET = 13
    D_ENTRIES_FROZEN = 14
    D_LIMIT_REACHED = 15
    D_FOREIGN_POSITION = 16
    D_ANCHOR_NOT_QUIET = 17
    D_BALANCE_STALE = 18
    D_ARITHMETIC_LIMIT = 19
    D_EXPIRED = 20
    D_RISK_LIMIT = 21
    D_SYMBOL_HELD = 22
    D_VENUE_ERRORS = 23
    D_APPLIED = 32              # codes below are refusals
    D_RATE_LIMITED = 32
    D_VENUE_REJECTED = 33
    D_ORDER_UNKNOWN = 34
    D_OVERFILL = 35
    D_EXTERNAL_CLOSE = 36
    D_DUST = 37
    D_EXIT_LATCHED = 38
    D_EVENT_HELD = 39
    D_HELD_RELEASED = 40
    D_WALLET_EMPTY = 41
    D_ROUTED_BY_STATE = 42
    D_RECOVERY_SLOT = 43
    D_REALIZED_SKIPPED_NO_PRICE = 44
    D_ENTRY_BASIS_MISSING = 45
    D_REALIZED_SETTLED = 46
    D_FIGURE_DEVIATES = 47
    D_CANCEL_REJECTED = 48
    D_POSITION_DISAGREES = 49
    D_FOREIGN_EXCESS = 50
    D_EXIT_DEFERRED = 51
    D_SYMBOL_SUSPENDED = 52
    D_NETTED = 53
    D_ORDER_LOST = 54
    D_FILL_WITHDRAWN = 55
    D_WRITTEN_OFF = 56
    D_QUARANTINED = 57

cdef enum:                      # transitions.RULES
    RULE_REFUSE = 0
    RULE_ENTER = 1
    RULE_EXIT = 2
    RULE_CANCEL = 3
    RULE_MARK = 4
    RULE_ADOPT = 5
    RULE_RECONCILE = 6
    RULE_CONTROL = 7
    RULE_ACK = 8
    RULE_FILL = 9
    RULE_END = 10
    RULE_CANCEL_REJECT = 11
    RULE_REJECT = 12
    RULE_UNKNOWN = 13
    RULE_RATE_LIMITED = 14
    RULE_FINAL = 15
    RULE_ABSENT = 16
    RULE_POSITION = 17
    RULE_SETTLED = 18
    RULE_EXTERNAL = 19
    RULE_ACCOUNT = 20
    RULE_TICK = 21
    RULE_WRITE_OFF = 22

cdef enum:                      # Result.field: what was wrong with a refused input (FIELDS)
    FIELD_NONE = 0
    FIELD_KIND = 1
    FIELD_SLOT = 2
    FIELD_TIME = 3
    FIELD_QUANTITY = 4
    FIELD_PRICE = 5
    FIELD_LIMIT_PRICE = 6
    FIELD_LEVERAGE = 7
    FIELD_LEGS = 8
    FIELD_ASSET = 9
    FIELD_INTENT = 10
    FIELD_TRADE = 11
    FIELD_SIDE = 12
    FIELD_STEP = 13
    FIELD_MINIMUM = 14
    FIELD_SOURCE = 15
    FIELD_MONEY = 16
    FIELD_WAIT = 17
    FIELD_REASON = 18
    FIELD_ORDER_TYPE = 19
    FIELD_ORDER = 20
    FIELD_TICK = 21
    FIELD_FEE_RATE = 22
    FIELD_EVENT = 23
    FIELD_LIMIT = 24            # + RiskLimit: which limit a RISK_LIMIT is about

cdef enum:                      # bits of Input.flags
    HAS_COST = 1
    HAS_FEE = 2
    HAS_REALIZED = 4            # for account events: the amount is given
    INCREMENT = 8
    URGENT = 16
    OWN_SHAPE = 32              # its client id has our shape, and no order of ours has it

cdef enum:                      # bits of Ledger.frozen
    FREEZE_HOLD = 1
    FREEZE_DRAIN = 2
    FREEZE_DRIFT = 4            # set by the account
    FREEZE_WALLET = 8
    FREEZE_RECOVERY = 16
    FREEZE_PENDING = 32         # set by the account: no ENTER passes, working ones stay
    FREEZE_NOT_READY = 64       # a start or a gap; working entries stay
    FREEZE_DAY_LOSS = 128
    FREEZE_QUARANTINE = 256

cdef enum:                      # bits of Slot.flags
    STALE = 1
    DUST = 2
    RECOVERY = 4

cdef enum:                      # bits of Order.flags
    FINAL = 1
    EXTERNAL = 2
    BOUND = 4                   # its venue id is known
    QUERIED = 8                 # its quantity came from a query: an increment may be in it
    UNWANTED = 16               # its cancel was asked for: whoever restarts has to ask again
    LOST = 32                   # the venue's records have nothing of it: a position has to decide
    LOCKED = 64                 # an external close whose share of ours a position has settled
    NETTED = 128                # closed by an opposite slot of ours on the same symbol
    WRITTEN_OFF = 256           # no order: an operator's word that the quantity is gone
    WITHDRAWN = 512             # its records had less than its stream said; no position agreed yet

cdef enum:                      # bits of Trade.flags
    FED = 1
    CLOSED = 2
    QUEUED = 4
    ADOPTED = 8
    TOLD = 16                   # CLOSE_TRADE was asked for
    OFF = 32                    # part of it was written off

cdef struct Input:              # 264 bytes, the journal's payload
    int16_t kind
    int16_t slot
    uint8_t source
    int8_t side
    uint16_t flags
    uint8_t reason              # reject reason, balance reason or control action
    uint8_t order_type
    uint8_t leg_count
    uint8_t role                # of CONTROL LIMIT: which limit
    int32_t leverage
    int64_t received_ms
    int64_t exchange_ms
    uint64_t event_key          # event or intent
    uint64_t asset_key
    uint64_t venue_key
    uint64_t client_key         # own order number, or a key above 2^63 for a foreign client id
    int64_t quantity_e8
    int64_t last_quantity_e8
    int64_t price_e10
    int64_t last_price_e10
    money_t cost
    money_t fee                 # of a balance frame: the available margin
    money_t realized
    uint64_t trade_key
    int64_t wait_ms             # retry_after_ms or working_ms
    int64_t limit_ms            # requested_ms or expires_ms; of CONTROL QUARANTINE: the sequence
    int64_t tick_e10
    int64_t step_e8
    int64_t min_quantity_e8
    money_t min_notional
    int32_t taker_fee_e9
    int32_t maker_fee_e9
    int32_t legs_e9[LEGS_MAX]
    int64_t deadline_ms         # a command is refused past it
    int32_t error_code          # the venue's number for a rejection
    int8_t position_side        # hedge mode: which position an order or a fill belongs to

cdef struct Result:             # 128 bytes, the packed outcome
    int16_t code
    int16_t kind
    int16_t slot
    uint8_t accepted
    uint8_t before
    uint8_t after
    uint8_t leg
    uint16_t field
    int32_t effects
    uint64_t notes              # bit n: diagnostic code n
    uint64_t trade_no
    uint64_t order_no
    int64_t event_seq
    int64_t quantity_delta_e8
    int64_t size_e8
    money_t realized_delta
    money_t trueup_delta
    money_t fee_delta
    int64_t retry_after_ms
    int64_t released            # held events applied with this input

cdef struct Level:              # what is known of an order's fills, each with its source's rank
    int64_t filled_e8
    int64_t priced_e8
    int64_t figure_e8           # quantity that the venue's realized covers
    money_t cost
    money_t fee
    money_t realized
    uint8_t cost_rank           # 0 partial, 1 ap x z, 2 sum of last fills, 3 order query, 4 fills
    uint8_t fee_rank            # 0 none, 1 estimate, 2 stream, 3 order query, 4 fills
    uint8_t realized_rank       # 0 ours, 1 stream, 2 order query or income

cdef struct Order:
    uint64_t order_no           # 0 = free
    uint64_t venue_key
    uint64_t client_key
    uint64_t intent_key
    int64_t intended_e8
    int64_t limit_price_e10
    int64_t deadline_ms
    int64_t expires_ms
    int64_t last_fill_ms
    int64_t old_e8              # of what is filled: in the anchor before the newest fills' one,
    int64_t old_ms              # and its time
    int64_t value_price_e10     # of an entry: what its unfilled part is valued at
    Level level
    Level whole                 # of an external order: all of it; ``level`` is our share
    int32_t trade
    int32_t next                # next order of the trade, or of the free list
    int32_t child
    uint16_t flags
    uint8_t role
    int8_t side
    uint8_t status
    uint8_t order_type

cdef struct Sums:               # of a trade's orders
    int64_t entered_e8
    int64_t entry_priced_e8
    int64_t exited_e8
    int64_t priced_e8           # exits booked from our own price
    int64_t known_e8            # of these: exits whose realized the venue has told as well
    int32_t unsettled           # exits with neither price nor figure for all their quantity
    int32_t pending             # exits without the venue's figure
    money_t entry_cost
    money_t proceeds
    money_t known_proceeds
    money_t figures             # the venue's realized of the known exits, and of entries
    money_t settled             # the venue's realized of price-less exits
    money_t fees
    money_t fees_estimated

cdef struct Trade:
    uint64_t trade_no           # 0 = free
    uint64_t trade_key
    uint64_t asset_key
    Sums sums
    money_t carried             # realized before adoption; never settled again
    money_t realized            # booked, the settle baseline
    money_t trueup
    money_t foreign             # what others did with the orders that closed part of this trade
    money_t min_notional
    int64_t tick_e10
    int64_t step_e8
    int64_t min_quantity_e8
    int64_t flat_ms
    int64_t returned_e8         # more went out than came in, and the venue is flat: others closed it
    int32_t taker_fee_e9
    int32_t maker_fee_e9
    int32_t legs_e9[LEGS_MAX]
    int32_t leverage
    int32_t orders              # first order
    int32_t open_orders         # not terminal
    int32_t order_count
    int32_t recovery_child      # children of no intent, ever
    int32_t externals           # external orders, and how many of them may still be booked anew
    int32_t unlocked
    int32_t slot                # -1: it has left its slot
    int32_t last_slot
    int32_t next                # free list
    uint8_t leg_count
    int8_t side
    uint8_t flags

cdef struct Slot:
    int32_t trade               # -1 = free
    int32_t entry_order
    int32_t exit_order
    int32_t leg
    int32_t leg_before
    int32_t next_child
    int32_t rejects
    int32_t error_code          # of its last rejection
    int32_t goal_ratio_e9       # of a leg: its share of what there is beyond goal_base; 0 = no leg
    uint8_t state
    uint8_t flags
    uint8_t latched
    uint8_t exit_type           # of the next exit child
    uint8_t urgent
    uint8_t explicit            # the goal is a typed quantity
    uint64_t exit_intent_key
    int64_t exit_goal_e8        # cumulative exited quantity that the latch wants; INT64_MAX = all
    int64_t goal_base_e8
    int64_t exit_start_e8       # exited when the leg was asked for
    int64_t exit_price_e10
    int64_t exit_wait_ms
    int64_t market_e8           # up to here children are MARKET
    int64_t dust_e8             # a size that the venue called too small to close
    int64_t retry_ms
    int64_t futile_ms           # next exit while the venue shows no position
    int64_t stale_ms
    int64_t last_fill_ms
    int64_t proven_e8           # last position that the venue confirmed
    int64_t proven_ms           # by the venue's clock: when that was asked for
    int64_t short_ms            # the first such answer that showed less than ours
    int64_t mark_price_e10

cdef struct Value:              # of an open slot, worked out when asked for; not part of the state
    money_t notional
    money_t unrealized
    uint8_t known

cdef union Figure:
    int64_t order[2]            # of an order: quantity, price
    money_t realized            # of a trade

cdef struct Request:            # an effect
    int16_t kind
    int16_t slot
    int32_t order
    uint64_t order_no
    uint64_t trade_no
    uint64_t trade_key
    uint64_t asset_key
    Figure figure
    money_t fees

cdef struct Flow:
    int64_t exchange_ms
    money_t amount
    int64_t is_fill             # of an order of ours: a quiet balance has it for certain

cdef struct Foreign:
    uint64_t asset_key
    int64_t quantity_e8         # signed; 0 only keeps the time
    int64_t as_of_ms            # older answers say nothing

cdef struct Rejection:
    int64_t when_ms
    int64_t error_code

cdef struct Ledger:             # K: the checksum; and the newest anchor of E
    money_t seed
    money_t realized
    money_t trueup
    money_t fees
    money_t fees_estimated      # of records that are still open: bounds the drift they explain
    money_t funding
    money_t transfers
    money_t adjustments
    money_t foreign             # flows of others on the account since the last re-base: no part of K
    money_t foreign_funding     # of these: ever read as funding,
    money_t foreign_transfers   # and as transfers
    money_t day_base            # own result at the beginning of the day
    money_t wallet
    money_t available_margin
    money_t bridged             # flows clearly after the anchor
    money_t ambiguous           # flows too near to it to tell
    money_t peak                # of the published capital
    int64_t anchor_ms
    int64_t anchor_from_ms      # a REST balance: when it was asked for
    int64_t anchor_received_ms
    int64_t income_from_ms      # by the venue's clock: rows up to here are in the seed,
    int64_t income_read_ms      # and rows up to here have been read
    int64_t last_fill_ms        # by the venue's clock, as the time of a balance request is
    int64_t unsettled           # of records that are still open
    int64_t ambiguous_count
    int64_t bridged_count
    int64_t routed_by_state
    int64_t flow_total          # flows since the last re-base, for the bound on rounding
    int64_t exchange_offset_ms  # the venue's clock less ours, as the last time sync found it
    int64_t clamped             # fills whose time was not believed
    int64_t day
    int32_t frozen
    uint8_t seeded
    uint8_t anchored
    uint8_t anchor_reason
    uint8_t anchor_quiet        # asked for after our last fill, nothing in flight: all is in it

cdef struct Cell:
    uint8_t rule
    uint8_t refusal
    uint8_t next_states         # bit per state

cdef struct Probe:              # open-addressing table entry; value 0 = empty
    uint64_t key
    int64_t value

cdef struct Config:
    int32_t slot_limit          # slots that ENTER may use
    int32_t slots               # with the recovery slots behind them
    int32_t trades
    int32_t orders
    int32_t seen                # keys per generation
    int32_t leverage_cap
    int32_t hedge
    int32_t requests
    int64_t balance_max_age_ms  # 0 = not checked
    int64_t figure_tolerance_e18

cdef struct State:
    Config config
    Ledger ledger
    Cell table[STATES][KINDS]
    Slot* slots
    Value* values               # one per slot
    Trade* trades
    Order* orders
    Probe* by_venue
    Probe* by_client
    uint64_t probe_mask
    uint64_t* seen              # two generations
    uint64_t seen_mask
    int32_t seen_count[2]
    int32_t seen_now
    int32_t* retired            # ring of closed trades, oldest first
    int32_t retired_first
    int32_t retired_count
    int32_t retired_live        # of these: still closed
    int32_t retired_orders
    int32_t order_free
    int32_t orders_used
    int32_t trade_free
    int32_t trades_used
    int32_t active
    uint64_t next_order_no
    uint64_t next_trade_no
    int64_t event_seq
    int64_t now_ms
    Flow flows[FLOWS_MAX]
    int32_t flows_first
    int32_t flows_count
    Foreign foreign[FOREIGN_MAX]
    int32_t foreign_count
    uint64_t symbol_holds[SYMBOL_HOLDS_MAX]     # assets that are held by an operator
    int32_t symbol_holds_count
    Rejection errors[ERRORS_KEPT]
    int32_t errors_first
    int32_t errors_count
    int64_t enters_ms[ENTERS_KEPT]
    int32_t enters_first
    int32_t enters_count
    money_t limits[8]           # by RiskLimit; 0 = none
    Probe* own                  # venue keys of all orders of ours that income rows can still name
    uint64_t own_mask
    int64_t own_count
    Input held[HELD_MAX]
    int32_t held_count
    Request* requests
    int32_t request_count

cdef enum:
    COUNTERS = 24

cdef class Event:
    cdef Input c
    cdef int load_contract(self, tuple contract) except -1

cdef class Outcome:
    cdef Result c

cdef class Core:
    cdef State* st
    cdef readonly int slots
    cdef bint in_batch          # of a thread that has given the GIL away
    cdef int alone(self) except -1
    cdef int allocate(self) except -1
    cdef void touch(self, int64_t keys, int64_t probes)
    cdef void empty(self)
    cdef int load_table(self, table) except -1
    cdef Outcome apply_event(self, Event event)
    cdef object trade_at(self, int32_t index)
    cdef tuple wide_exposure(self)
    cdef object wide_account(self, make, source, tuple drift)
    # saving and restoring
    cdef bytes save_own(self)
    cdef int load_own(self, const char* data, Py_ssize_t at, int64_t count) except -1
    cdef bytes save_symbol_holds(self)
    cdef bytes save_counters(self)
    cdef bytes save_seen(self, int generation)
    cdef void load_counters(self, const int64_t* counters)
    cdef Py_ssize_t saved_size(self, const int64_t* counters, const Config* c) except -1
    cdef Py_ssize_t take(self, const char* data, Py_ssize_t at, void* target, Py_ssize_t size)
    cdef void clear(self)
    cdef void index(self, const char* data, Py_ssize_t at, const int64_t* counters)
