/* The yardstick: the kernel's rules for a stream of trades, as plain C in one loop.
 *
 * It reads the same packed inputs and writes the same packed outcomes, byte for byte, as the
 * kernel's batch entrance; records.h (the numbers, struct Input, struct Result) is generated from
 * dita/_kernel.pxd when the benchmark compiles this file, so the two cannot drift apart.  Tables,
 * structs and code are its own, written for speed first.
 *
 * It does what the kernel does for ENTER, EXIT, ORDER_ACK, PARTIAL_FILL, FULL_FILL and ORDER_FINAL:
 * every field checked, duplicate intents by two generations of keys, routing by venue id and client
 * id through hash tables, the answer and the allowed next states from the transition table, levels
 * with source ranks (ap x z, last fills, final figures), fee estimates, sums per trade, realized as
 * a function of levels with one half-even rounding in 128 bits, booked PnL and true-up as
 * differences, every sum checked before the first write, flows against the anchor, exit legs and
 * their goals, ends decided on quantity, the slot's state from its facts, effects, records of
 * closed trades given up oldest first, the diagnostic notes of fills.
 *
 * It leaves out, and stops the benchmark when it meets them: all other kinds of input, increments,
 * events held for an unanswered submit or without a known id, overfills, stale and recovery slots,
 * hedge mode, balance frames.  Saving, restoring and everything for Python is not here either.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "_money.h"
#include "records.h"

#ifdef TUNED
/* What gcc makes of money_add keeps the sum on the stack as two narrow stores and copies it from
 * there by one wide load, which waits until both have left the store buffer.  Storing the halves
 * themselves avoids it.  Good for the shape of this loop, not for that of the kernel. */
typedef uint64_t __attribute__((may_alias)) Half;

static inline int tuned_store(__int128 amount, money_t *out) {
    if ((umoney_t)amount + (umoney_t)MONEY_MAX > 2 * (umoney_t)MONEY_MAX) return 1;
    ((Half *)out)[0] = (uint64_t)amount;
    ((Half *)out)[1] = (uint64_t)((umoney_t)amount >> 64);
    return 0;
}

/* Operands are within 10^38, so a sum that wraps is out of range as well. */
static inline int tuned_add(money_t a, money_t b, money_t *out) {
    return tuned_store((__int128)((umoney_t)a + (umoney_t)b), out);
}

static inline int tuned_sub(money_t a, money_t b, money_t *out) {
    return tuned_store((__int128)((umoney_t)a - (umoney_t)b), out);
}

#define money_add tuned_add
#define money_sub tuned_sub
#endif

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

enum { UNSUPPORTED = -1 };

typedef struct {
    uint8_t rule, refusal, next_states;
} Answer;

typedef struct {
    uint64_t key;
    int64_t value;
} Place;

typedef struct {
    int64_t filled, priced, figure;
    money_t cost, fee, realized;
    uint8_t cost_rank, fee_rank, realized_rank;
} Fills;

typedef struct {
    uint64_t no, venue_key, intent_key;
    int64_t intended, limit_price, expires_ms, deadline_ms, last_fill_ms;
    Fills fills;
    int32_t trade, next, child;
    int8_t side;
    uint8_t role, status, type, final, bound;
} Line;

typedef struct {
    int64_t entered, entry_priced, exited, priced, known;
    int32_t unsettled, pending;
    money_t entry_cost, proceeds, known_proceeds, figures, settled, fees, fees_estimated;
} Totals;

typedef struct {
    uint64_t no, key, asset_key;
    Totals sums;
    money_t realized, trueup, min_notional;
    int64_t tick, step, min_quantity, flat_ms;
    int32_t taker_fee, maker_fee, legs[LEGS_MAX], leg_count, leverage;
    int32_t lines, line_count, open_lines, slot, last_slot, next;
    int8_t side;
    uint8_t fed, closed, queued;
} Deal;

typedef struct {
    int32_t deal, entry, exit, leg, leg_before, next_child;
    uint8_t state, latched, exit_type;
    uint64_t exit_intent;
    int64_t goal, exit_start, exit_price, exit_wait, retry_ms, last_fill_ms;
} Seat;

typedef struct {
    int16_t kind, slot;
    int32_t line;
    uint64_t order_no, trade_no, trade_key, asset_key;
    int64_t quantity, price;
    money_t realized, fees;
} Effect;

typedef struct {
    int64_t exchange_ms;
    money_t amount;
} Movement;

typedef struct {
    Answer table[STATES][KINDS];
    money_t seed, realized, trueup, fees, fees_estimated, wallet, bridged, ambiguous, peak;
    int64_t anchor_ms, last_fill_received_ms, unsettled, ambiguous_count, bridged_count, flow_total;
    int64_t tolerance, event_seq, now_ms;
    uint64_t order_no, trade_no, probe_mask, seen_mask;
    int32_t limit, seats, deals, lines, seen_limit, leverage_cap;
    int32_t line_free, deal_free, lines_used, deals_used, active;
    int32_t seen_count[2], seen_now, retired_first, retired_count, retired_live, retired_lines;
    int32_t flows_first, flows_count, effect_count;
    Seat *seat;
    Deal *deal;
    Line *line;
    Place *by_venue, *by_client;
    uint64_t *seen;
    int32_t *retired;
    Effect *effect;
    Movement flows[FLOWS_MAX];
} Book;

/* -- tables ------------------------------------------------------------------------------------ */

static inline int32_t look_up(const Place *table, uint64_t mask, uint64_t key) {
    for (uint64_t i = key_mix(key) & mask; table[i].value; i = (i + 1) & mask)
        if (table[i].key == key) return (int32_t)table[i].value - 1;
    return -1;
}

static void put(Place *table, uint64_t mask, uint64_t key, int32_t index) {
    uint64_t i = key_mix(key) & mask;
    while (table[i].value && table[i].key != key) i = (i + 1) & mask;
    table[i].key = key;
    table[i].value = index + 1;
}

static void take_out(Place *table, uint64_t mask, uint64_t key) {
    uint64_t hole = key_mix(key) & mask;
    while (table[hole].value && table[hole].key != key) hole = (hole + 1) & mask;
    if (!table[hole].value) return;
    for (uint64_t i = (hole + 1) & mask; table[i].value; i = (i + 1) & mask) {
        uint64_t home = key_mix(table[i].key) & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            table[hole] = table[i];
            hole = i;
        }
    }
    table[hole].key = 0;
    table[hole].value = 0;
}

static inline int in_generation(const uint64_t *table, uint64_t mask, uint64_t key) {
    for (uint64_t i = key_mix(key) & mask; table[i]; i = (i + 1) & mask)
        if (table[i] == key) return 1;
    return 0;
}

static int was_seen(const Book *b, uint64_t key) {
    return key && (in_generation(b->seen, b->seen_mask, key) ||
                   in_generation(b->seen + b->seen_mask + 1, b->seen_mask, key));
}

static void remember(Book *b, uint64_t key) {
    if (!key) return;
    if (b->seen_count[b->seen_now] >= b->seen_limit) {
        b->seen_now = 1 - b->seen_now;
        b->seen_count[b->seen_now] = 0;
        memset(b->seen + b->seen_now * (b->seen_mask + 1), 0, (b->seen_mask + 1) * 8);
    }
    uint64_t *table = b->seen + b->seen_now * (b->seen_mask + 1);
    uint64_t i = key_mix(key) & b->seen_mask;
    while (table[i] && table[i] != key) i = (i + 1) & b->seen_mask;
    if (table[i]) return;
    table[i] = key;
    b->seen_count[b->seen_now]++;
}

static void release_deal(Book *b, int32_t index) {
    Deal *d = &b->deal[index];
    for (int32_t i = d->lines; i >= 0;) {
        Line *l = &b->line[i];
        int32_t following = l->next;
        if (l->bound) take_out(b->by_venue, b->probe_mask, l->venue_key);
        take_out(b->by_client, b->probe_mask, l->no);
        memset(l, 0, sizeof *l);
        l->next = b->line_free;
        b->line_free = i;
        b->lines_used--;
        i = following;
    }
    memset(d, 0, sizeof *d);
    d->next = b->deal_free;
    b->deal_free = index;
    b->deals_used--;
}

static int give_up_oldest(Book *b) {
    while (b->retired_count > 0) {
        int32_t index = b->retired[b->retired_first];
        if (++b->retired_first == b->deals) b->retired_first = 0;
        b->retired_count--;
        b->deal[index].queued = 0;
        if (!b->deal[index].closed) continue;
        b->retired_live--;
        b->retired_lines -= b->deal[index].line_count;
        release_deal(b, index);
        return 1;
    }
    return 0;
}

static void retire(Book *b, int32_t index) {
    Deal *d = &b->deal[index];
    d->closed = 1;
    b->retired_live++;
    b->retired_lines += d->line_count;
    if (d->queued) return;
    d->queued = 1;
    int32_t at = b->retired_first + b->retired_count++;
    b->retired[at >= b->deals ? at - b->deals : at] = index;
}

static int32_t new_line(Book *b, int32_t deal, uint8_t role, int side, int64_t quantity) {
    if (b->line_free < 0 && !give_up_oldest(b)) return -1;
    int32_t index = b->line_free;
    Line *l = &b->line[index];
    Deal *d = &b->deal[deal];
    b->line_free = l->next;
    b->lines_used++;
    memset(l, 0, sizeof *l);
    l->no = ++b->order_no;
    l->trade = deal;
    l->role = role;
    l->side = (int8_t)side;
    l->intended = quantity;
    l->status = REQUESTED;
    l->next = d->lines;
    d->lines = index;
    d->open_lines++;
    d->line_count++;
    put(b->by_client, b->probe_mask, l->no, index);
    return index;
}

static Effect *ask(Book *b, int kind, int32_t slot, int32_t line, int32_t deal) {
    Effect *f = &b->effect[b->effect_count++];
    memset(f, 0, sizeof *f);
    f->kind = (int16_t)kind;
    f->slot = (int16_t)slot;
    f->line = line;
    if (line >= 0) {
        f->order_no = b->line[line].no;
        deal = b->line[line].trade;
    }
    f->trade_no = b->deal[deal].no;
    f->trade_key = b->deal[deal].key;
    f->asset_key = b->deal[deal].asset_key;
    return f;
}

static inline void note(Result *out, int code) { out->notes |= 1ULL << code; }
static inline int ended(const Line *l) { return l->status >= FILLED; }
static inline int live(const Book *b, int32_t line) { return line >= 0 && !ended(&b->line[line]); }
static inline int64_t size_of(const Deal *d) { return d->sums.entered - d->sums.exited; }
static inline int64_t to_step(int64_t quantity, int64_t step) { return quantity - quantity % step; }

static inline void accept(Book *b, const Input *e, Result *out) {
    out->accepted = 1;
    b->event_seq++;
    if (e->received_ms > b->now_ms) b->now_ms = e->received_ms;
}

static inline int refuse(Result *out, int field, int code) {
    out->field = (uint16_t)field;
    return code;
}

/* -- what an event does to an order's levels --------------------------------------------------- */

static int cost_after(const Input *e, const Fills *old, Fills *new) {
    int64_t grown = new->filled - old->filled;
    int source_rank = e->source == FROM_STREAM ? 1 : e->source == FROM_ORDER ? 3 : 4;
    int whole_rank = 0, piece_rank = 0;
    money_t whole = 0, pieces = 0;
    int piece_fits = grown > 0 && e->last_price_e10 > 0 && e->last_quantity_e8 == grown;
    if (e->flags & HAS_COST) {
        whole = e->cost;
        whole_rank = new->filled > 0 ? source_rank : 0;
    } else if (e->price_e10 > 0 && new->filled > 0) {
        whole = money_product(e->price_e10, new->filled);
        whole_rank = source_rank;
    }
    if (piece_fits) {
        if (money_add(old->cost, money_product(e->last_price_e10, grown), &pieces)) return 1;
        if (old->priced == old->filled) piece_rank = !old->filled || old->cost_rank >= 2 ? 2 : 1;
    }
    if (piece_fits && (piece_rank > whole_rank || !whole_rank)) {
        new->cost = pieces;
        new->priced = old->priced + grown;
        new->cost_rank = (uint8_t)piece_rank;
    } else if (whole_rank > 0 && (grown > 0 || whole_rank > old->cost_rank)) {
        new->cost = whole;
        new->priced = new->filled;
        new->cost_rank = (uint8_t)whole_rank;
    } else if (grown > 0) {
        new->cost_rank = 0;
    }
    return 0;
}

static int fee_after(const Line *l, const Deal *d, const Input *e, const Fills *old, Fills *new) {
    int grown = new->filled > old->filled;
    int rank = e->source == FROM_STREAM ? 2 : e->source == FROM_ORDER ? 3 : 4;
    int32_t rate = l->type == 1 ? d->maker_fee : d->taker_fee;
    if (e->flags & HAS_FEE && (grown || rank > old->fee_rank)) {
        new->fee = e->fee;
        new->fee_rank = (uint8_t)rank;
    } else if (old->fee_rank <= 1) {
        new->fee = money_share(new->cost, rate, 1000000000);
        new->fee_rank = new->fee != 0;
    } else if (grown) {
        money_t more;
        if (money_sub(new->cost, old->cost, &more)) return 1;
        if (more > 0) {
            if (money_add(old->fee, money_share(more, rate, 1000000000), &new->fee)) return 1;
            new->fee_rank = 1;
        }
    }
    return 0;
}

static int levels_after(const Line *l, const Deal *d, const Input *e, Fills *new) {
    const Fills *old = &l->fills;
    if (e->quantity_e8 < old->filled) return D_DUPLICATE_EVENT;
    *new = *old;
    new->filled = e->quantity_e8;
    if (cost_after(e, old, new) || fee_after(l, d, e, old, new)) return D_ARITHMETIC_LIMIT;
    if (l->role == EXIT && e->flags & HAS_REALIZED && new->filled > 0) {
        int rank = e->source == FROM_STREAM ? 1 : 2;
        if (new->filled > old->figure || rank > old->realized_rank) {
            new->realized = e->realized;
            new->realized_rank = (uint8_t)rank;
            new->figure = new->filled;
        }
    }
    if (new->filled == old->filled && new->priced == old->priced && new->figure == old->figure &&
        new->cost_rank == old->cost_rank && new->fee_rank == old->fee_rank &&
        new->realized_rank == old->realized_rank && new->cost == old->cost &&
        new->fee == old->fee && new->realized == old->realized)
        return D_DUPLICATE_EVENT;
    return D_OK;
}

/* -- the money that follows -------------------------------------------------------------------- */

static int count_exit(Totals *s, const Fills *f, int sign) {
    int known = f->realized_rank > 0 && f->figure == f->filled;
    int bad = 0;
    s->exited += sign * f->filled;
    if (f->filled > 0 && !known) s->pending += sign;
    if (f->priced != f->filled && known)
        return money_add(s->settled, money_signed(f->realized, sign), &s->settled);
    s->priced += sign * f->priced;
    bad |= money_add(s->proceeds, money_signed(f->cost, sign), &s->proceeds);
    if (known) {
        s->known += sign * f->priced;
        bad |= money_add(s->known_proceeds, money_signed(f->cost, sign), &s->known_proceeds);
        bad |= money_add(s->figures, money_signed(f->realized, sign), &s->figures);
    } else if (f->priced < f->filled) {
        s->unsettled += sign;
    }
    return bad;
}

static int sums_after(const Line *l, const Fills *new, Totals *s) {
    const Fills *old = &l->fills;
    money_t delta = 0, estimated = new->fee_rank == 1 ? new->fee : 0;
    int bad = money_sub(new->fee, old->fee, &delta) | money_add(s->fees, delta, &s->fees);
    if (old->fee_rank == 1) bad |= money_sub(estimated, old->fee, &estimated);
    bad |= money_add(s->fees_estimated, estimated, &s->fees_estimated);
    if (l->role == ENTRY) {
        bad |= quantity_add(s->entered, new->filled - old->filled, &s->entered);
        s->entry_priced += new->priced - old->priced;
        bad |= money_sub(new->cost, old->cost, &delta);
        return bad | money_add(s->entry_cost, delta, &s->entry_cost);
    }
    if (INT64_MAX - s->exited < new->filled) return 1;
    return bad | count_exit(s, old, -1) | count_exit(s, new, 1);
}

static int estimate(const Deal *d, const Totals *s, int64_t exited, money_t proceeds, money_t *out) {
    int64_t whole = s->entered;
    money_t result;
    *out = 0;
    if (exited == 0 || s->entered <= 0 || s->entry_priced < s->entered) return 0;
    if (s->exited > s->entered) {
        whole = s->exited;
        proceeds = money_share(proceeds, s->entered, s->exited);
    }
    if (money_sub(proceeds, money_share(s->entry_cost, exited, whole), &result)) return 1;
    *out = money_signed(result, d->side);
    return 0;
}

typedef struct {
    Fills fills;
    Totals sums;
    money_t realized, trueup, realized_delta, trueup_delta, fee_delta, estimated_delta, flow;
    money_t book_realized, book_trueup, book_fees, book_estimated;
} Effects;

static int money_after(const Book *b, const Deal *d, Effects *c) {
    money_t known = 0, ignored;
    if (estimate(d, &c->sums, c->sums.priced, c->sums.proceeds, &c->realized) ||
        money_add(c->realized, c->sums.settled, &c->realized) ||
        estimate(d, &c->sums, c->sums.known, c->sums.known_proceeds, &known) ||
        money_sub(c->sums.figures, known, &c->trueup) ||
        money_sub(c->realized, d->realized, &c->realized_delta) ||
        money_sub(c->trueup, d->trueup, &c->trueup_delta) ||
        money_sub(c->sums.fees, d->sums.fees, &c->fee_delta) ||
        money_sub(c->sums.fees_estimated, d->sums.fees_estimated, &c->estimated_delta) ||
        money_add(b->realized, c->realized_delta, &c->book_realized) ||
        money_add(b->trueup, c->trueup_delta, &c->book_trueup) ||
        money_add(b->fees, c->fee_delta, &c->book_fees) ||
        money_add(b->fees_estimated, c->estimated_delta, &c->book_estimated) ||
        money_add(c->realized_delta, c->trueup_delta, &c->flow) ||
        money_sub(c->flow, c->fee_delta, &c->flow) ||
        money_add(b->bridged, c->flow, &ignored) || money_add(b->ambiguous, c->flow, &ignored))
        return D_ARITHMETIC_LIMIT;
    return D_OK;
}

static void add_flow(Book *b, int64_t when, money_t amount) {
    if (amount == 0) return;
    if (when > b->anchor_ms + AMBIGUOUS_MS) {
        money_add(b->bridged, amount, &b->bridged);
        b->bridged_count++;
    } else if (when >= b->anchor_ms - AMBIGUOUS_MS) {
        money_add(b->ambiguous, amount, &b->ambiguous);
        b->ambiguous_count++;
    } else {
        return;
    }
    if (b->flows_count == FLOWS_MAX) { /* the two oldest become one, at the later time */
        Movement *oldest = &b->flows[b->flows_first];
        b->flows_first = (b->flows_first + 1) & (FLOWS_MAX - 1);
        Movement *second = &b->flows[b->flows_first];
        money_add(second->amount, oldest->amount, &second->amount);
        if (oldest->exchange_ms > second->exchange_ms) second->exchange_ms = oldest->exchange_ms;
        b->flows_count--;
    }
    Movement *last = &b->flows[(b->flows_first + b->flows_count++) & (FLOWS_MAX - 1)];
    last->exchange_ms = when;
    last->amount = amount;
}

static int deviates(money_t figure, money_t ours, int64_t tolerance) {
    money_t gap = 0, limit;
    money_sub(figure, ours, &gap);
    if (gap < 0) gap = -gap;
    if (ours < 0) ours = -ours;
    limit = money_share(ours, 1, 100);
    return gap > (limit < tolerance ? tolerance : limit);
}

static void note_fill(const Book *b, const Line *l, const Deal *d, const Effects *c, Result *out) {
    if (l->fills.priced < l->fills.filled && l->role == EXIT && d->sums.unsettled > 0)
        note(out, D_REALIZED_SKIPPED_NO_PRICE);
    if (d->sums.entry_priced < d->sums.entered) note(out, D_ENTRY_BASIS_MISSING);
    if (c->trueup_delta != 0 && l->role == EXIT && l->fills.realized_rank > 0 &&
        l->fills.priced == l->fills.filled) {
        money_t leg = 0;
        estimate(d, &d->sums, l->fills.filled, l->fills.cost, &leg);
        if (deviates(l->fills.realized, leg, b->tolerance)) note(out, D_FIGURE_DEVIATES);
    }
}

static void commit(Book *b, Line *l, const Input *e, const Effects *c, Result *out) {
    Deal *d = &b->deal[l->trade];
    int64_t grown = c->fills.filled - l->fills.filled;
    if (c->sums.unsettled < d->sums.unsettled) note(out, D_REALIZED_SETTLED);
    b->unsettled += c->sums.unsettled - d->sums.unsettled;
    l->fills = c->fills;
    d->sums = c->sums;
    d->realized = c->realized;
    d->trueup = c->trueup;
    b->realized = c->book_realized;
    b->trueup = c->book_trueup;
    b->fees = c->book_fees;
    b->fees_estimated = c->book_estimated;
    if (grown > 0) {
        b->last_fill_received_ms = e->received_ms;
        l->last_fill_ms = e->exchange_ms > 0 ? e->exchange_ms : e->received_ms;
        out->quantity_delta_e8 = grown;
    }
    b->flow_total += c->flow != 0;
    add_flow(b, l->last_fill_ms, c->flow);
    money_t capital;
    if (!money_add(b->wallet, b->bridged, &capital) && capital > b->peak) b->peak = capital;
    out->realized_delta = c->realized_delta;
    out->trueup_delta = c->trueup_delta;
    out->fee_delta = c->fee_delta;
    note_fill(b, l, d, c, out);
}

/* -- the slot follows from its facts ----------------------------------------------------------- */

static inline int outstanding(const Seat *s, const Deal *d) {
    return s->latched && size_of(d) > 0 && (s->goal == ALL || d->sums.exited < s->goal);
}

static int state_of(const Book *b, const Seat *s, const Deal *d) {
    if (live(b, s->exit) || outstanding(s, d)) return EXIT_WORKING;
    if (live(b, s->entry)) return ENTRY_WORKING;
    if (size_of(d) > 0) return POSITION_OPEN;
    return d->open_lines > 0 ? POSITION_CLOSED : IDLE;
}

static void drop_latch(Seat *s) {
    s->latched = 0;
    s->goal = 0;
    s->retry_ms = 0;
}

static void plan_exit(Book *b, int32_t slot, Result *out) {
    Seat *s = &b->seat[slot];
    Deal *d = &b->deal[s->deal];
    if (!outstanding(s, d) || s->retry_ms > b->now_ms) return;
    if (s->exit >= 0) {
        const Line *old = &b->line[s->exit];
        if (!ended(old) || (!old->final && old->fills.filled < old->intended)) return;
    }
    int64_t left = size_of(d), quantity = left;
    if (s->goal != ALL && s->goal - d->sums.exited < left)
        quantity = to_step(s->goal - d->sums.exited, d->step);
    if (quantity <= 0) {
        drop_latch(s);
        return;
    }
    int32_t index = new_line(b, s->deal, EXIT, -d->side, quantity);
    if (index < 0) {
        s->retry_ms = b->now_ms + BACKOFF_MS;
        note(out, D_EXIT_DEFERRED);
        return;
    }
    Line *l = &b->line[index];
    s->exit = index;
    l->type = s->exit_type;
    l->limit_price = s->exit_price;
    l->intent_key = s->exit_intent;
    l->child = s->next_child++;
    if (s->exit_wait > 0) l->deadline_ms = b->now_ms + s->exit_wait;
    Effect *f = ask(b, DO_SUBMIT, slot, index, -1);
    f->quantity = quantity;
    f->price = l->limit_price;
    s->exit_type = 0;
    s->exit_price = 0;
    s->exit_wait = 0;
}

static void feed_sizer(Book *b, int32_t index) {
    Deal *d = &b->deal[index];
    if (d->fed || size_of(d) != 0 || d->sums.exited == 0) return;
    if ((d->sums.unsettled > 0 || d->sums.entry_priced < d->sums.entered) &&
        b->now_ms - d->flat_ms < RECORD_LIMIT_MS)
        return;
    d->fed = 1;
    Effect *f = ask(b, DO_FEED_SIZER, d->last_slot, -1, index);
    f->realized = d->realized;
    f->fees = d->sums.fees;
}

static void close_record(Book *b, int32_t index) {
    Deal *d = &b->deal[index];
    if (d->closed || d->slot >= 0 || d->open_lines > 0) return;
    if (d->sums.entered == 0 && d->sums.exited == 0) {
        retire(b, index);
        return;
    }
    if (d->sums.pending > 0 && b->now_ms - d->flat_ms < RECORD_LIMIT_MS) return;
    feed_sizer(b, index);
    if (!d->fed) return;
    Effect *f = ask(b, DO_CLOSE_TRADE, d->last_slot, -1, index);
    f->realized = d->realized;
    f->fees = d->sums.fees;
    retire(b, index);
}

static void clear_seat(Seat *s) {
    memset(s, 0, sizeof *s);
    s->deal = s->entry = s->exit = -1;
}

static void settle(Book *b, int32_t slot, Result *out) {
    Seat *s = &b->seat[slot];
    int32_t index = s->deal;
    Deal *d = &b->deal[index];
    if (s->latched && s->goal != ALL && d->sums.exited >= s->goal && !live(b, s->exit))
        drop_latch(s);
    plan_exit(b, slot, out);
    int64_t size = size_of(d);
    if (size != 0 || d->sums.entered == 0) {
        d->flat_ms = 0;
    } else if (d->flat_ms == 0) {
        d->flat_ms = b->now_ms;
        if (live(b, s->exit)) ask(b, DO_CANCEL, slot, s->exit, -1);
    }
    out->size_e8 = size;
    if (d->flat_ms > 0) feed_sizer(b, index);
    s->state = (uint8_t)state_of(b, s, d);
    if (s->state == IDLE) {
        d->slot = -1;
        b->active--;
        clear_seat(s);
        close_record(b, index);
    }
}

static int allowed(const Book *b, const Answer *cell, int32_t slot, Result *out) {
    int state = slot >= 0 ? b->seat[slot].state : IDLE;
    out->after = (uint8_t)state;
    return (cell->next_states >> state) & 1 ? D_OK : UNSUPPORTED;
}

/* -- order events ------------------------------------------------------------------------------ */

static int apply_order(Book *b, const Input *e, Result *out) {
    int32_t index = e->venue_key ? look_up(b->by_venue, b->probe_mask, e->venue_key) : -1;
    int own = index >= 0 && b->line[index].no == e->client_key; /* both ids name the same order */
    int32_t client = -1;
    if (!own && e->client_key) client = look_up(b->by_client, b->probe_mask, e->client_key);
    if (index >= 0) {
        if (client >= 0 && client != index) return refuse(out, FIELD_ORDER, D_INVALID_EVENT);
    } else {
        index = client;
        if (index < 0) return UNSUPPORTED;
        if (e->venue_key && b->line[index].bound) return refuse(out, FIELD_ORDER, D_INVALID_EVENT);
    }
    Line *l = &b->line[index];
    Deal *d = &b->deal[l->trade];
    int32_t slot = d->slot;
    if (unlikely(slot < 0 || e->flags & INCREMENT)) return UNSUPPORTED;
    Seat *s = &b->seat[slot];
    const Answer *cell = &b->table[s->state][e->kind];
    if (e->asset_key && e->asset_key != d->asset_key)
        return refuse(out, FIELD_ASSET, D_INVALID_EVENT);
    if (e->side && e->side != l->side) return refuse(out, FIELD_SIDE, D_INVALID_EVENT);
    out->slot = (int16_t)slot;
    out->trade_no = d->no;
    out->order_no = l->no;
    out->before = s->state;
    out->leg = (uint8_t)s->leg;

    int fills = cell->rule == RULE_FILL;
    if (!fills && cell->rule != RULE_ACK && cell->rule != RULE_FINAL) return UNSUPPORTED;
    if (fills && e->quantity_e8 == 0) return refuse(out, FIELD_QUANTITY, D_INVALID_EVENT);
    if (cell->rule == RULE_FINAL && e->quantity_e8 < l->fills.filled)
        return refuse(out, FIELD_QUANTITY, D_INVALID_EVENT);
    int changed = 0;
    Effects c;
    if (e->quantity_e8 || e->flags & (HAS_COST | HAS_FEE | HAS_REALIZED)) {
        int code = levels_after(l, d, e, &c.fills);
        if (code == D_OK) {
            c.sums = d->sums;
            code = sums_after(l, &c.fills, &c.sums) ? D_ARITHMETIC_LIMIT : money_after(b, d, &c);
        }
        if (code != D_OK && (fills || code != D_DUPLICATE_EVENT)) return code;
        changed = code == D_OK;
    }
    int binds = e->venue_key && !l->bound;
    if (!changed) {
        if (cell->rule == RULE_FINAL && l->final) return D_DUPLICATE_EVENT;
        if (cell->rule == RULE_ACK && !binds && (ended(l) || l->status == WORKING))
            return D_DUPLICATE_EVENT;
    }
    if (changed && unlikely(c.fills.filled > l->intended || (l->final && c.fills.filled > l->fills.filled)))
        return UNSUPPORTED;

    accept(b, e, out);
    if (binds) {
        l->venue_key = e->venue_key;
        l->bound = 1;
        put(b->by_venue, b->probe_mask, e->venue_key, index);
    }
    if (cell->rule != RULE_FINAL && (l->status == REQUESTED || l->status == UNKNOWN))
        l->status = WORKING;
    if (changed) {
        commit(b, l, e, &c, out);
        if (l->last_fill_ms > s->last_fill_ms) s->last_fill_ms = l->last_fill_ms;
    }
    if (cell->rule == RULE_FINAL) {
        if (!ended(l)) l->status = l->fills.filled >= l->intended ? FILLED : CANCELLED;
        if (!l->final) {
            l->final = 1;
            d->open_lines--;
        }
    } else if (changed && !ended(l) && l->fills.filled >= l->intended) {
        l->status = FILLED;
        ask(b, DO_FINALISE, slot, index, -1);
    }
    if (e->kind == IN_FULL_FILL && !ended(l)) ask(b, DO_QUERY_ORDER, slot, index, -1);
    settle(b, slot, out);
    return allowed(b, cell, d->slot, out);
}

/* -- ENTER and EXIT ---------------------------------------------------------------------------- */

static int check_enter(const Book *b, const Input *e, Result *out) {
    int bad = FIELD_NONE;
    if (!e->event_key) bad = FIELD_INTENT;
    else if (!e->trade_key) bad = FIELD_TRADE;
    else if (!e->asset_key) bad = FIELD_ASSET;
    else if (!e->side) bad = FIELD_SIDE;
    else if (e->quantity_e8 <= 0) bad = FIELD_QUANTITY;
    else if (e->leverage < 1 || e->leverage > b->leverage_cap) bad = FIELD_LEVERAGE;
    else if (e->leg_count < 1 || e->leg_count > LEGS_MAX) bad = FIELD_LEGS;
    for (int i = 0; !bad && i < e->leg_count; i++)
        if (e->legs_e9[i] < 1 || e->legs_e9[i] > 1000000000) bad = FIELD_LEGS;
    if (bad) return refuse(out, bad, D_INVALID_INTENT);
    if (e->tick_e10 <= 0) bad = FIELD_TICK;
    else if (e->step_e8 <= 0) bad = FIELD_STEP;
    else if (e->min_quantity_e8 < 0 || e->min_notional < 0) bad = FIELD_MINIMUM;
    else if (e->taker_fee_e9 < 0 || e->taker_fee_e9 >= 1000000000) bad = FIELD_FEE_RATE;
    else if (e->maker_fee_e9 < 0 || e->maker_fee_e9 >= 1000000000) bad = FIELD_FEE_RATE;
    else if (to_step(e->quantity_e8, e->step_e8) != e->quantity_e8) bad = FIELD_STEP;
    else if (e->price_e10 <= 0) bad = FIELD_PRICE;
    else if (e->order_type == 1 && (e->last_price_e10 <= 0 || e->last_price_e10 % e->tick_e10))
        bad = FIELD_LIMIT_PRICE;
    else if (e->quantity_e8 < e->min_quantity_e8) bad = FIELD_MINIMUM;
    else if (money_product(e->price_e10, e->quantity_e8) < e->min_notional) bad = FIELD_MINIMUM;
    return bad ? refuse(out, bad, D_INVALID_INTENT) : D_OK;
}

static int may_enter(const Book *b, const Input *e) {
    for (int32_t i = 0, left = b->active; left > 0; i++) {
        if (b->seat[i].deal < 0) continue;
        left--;
        const Deal *d = &b->deal[b->seat[i].deal];
        if (d->key == e->trade_key || d->asset_key == e->asset_key) return D_SLOT_BUSY;
    }
    if (b->ambiguous_count > 0) return D_ANCHOR_NOT_QUIET;
    int64_t lines = b->lines - b->lines_used + b->retired_lines;
    int64_t deals = b->deals - b->deals_used + b->retired_live;
    return deals >= 1 && lines >= 2 + 2 * (int64_t)b->active ? D_OK : D_LIMIT_REACHED;
}

static int32_t open_deal(Book *b, const Input *e, int32_t slot) {
    if (b->deal_free < 0) give_up_oldest(b);
    int32_t index = b->deal_free;
    Deal *d = &b->deal[index];
    b->deal_free = d->next;
    b->deals_used++;
    memset(d, 0, sizeof *d);
    d->no = ++b->trade_no;
    d->lines = -1;
    d->key = e->trade_key;
    d->asset_key = e->asset_key;
    d->side = e->side;
    d->leverage = e->leverage;
    d->tick = e->tick_e10;
    d->step = e->step_e8;
    d->min_quantity = e->min_quantity_e8;
    d->min_notional = e->min_notional;
    d->taker_fee = e->taker_fee_e9;
    d->maker_fee = e->maker_fee_e9;
    d->leg_count = e->leg_count;
    for (int i = 0; i < e->leg_count; i++) d->legs[i] = e->legs_e9[i];
    clear_seat(&b->seat[slot]);
    b->seat[slot].deal = index;
    d->slot = d->last_slot = slot;
    b->active++;
    return index;
}

static int enter(Book *b, const Input *e, int32_t slot, Result *out) {
    int code = check_enter(b, e, out);
    if (code == D_OK) code = may_enter(b, e);
    if (code != D_OK) return code;
    accept(b, e, out);
    int32_t deal = open_deal(b, e, slot);
    int32_t index = new_line(b, deal, ENTRY, e->side, e->quantity_e8);
    Line *l = &b->line[index];
    l->intent_key = e->event_key;
    l->type = e->order_type;
    l->limit_price = e->order_type == 1 ? e->last_price_e10 : 0;
    l->expires_ms = e->limit_ms;
    if (e->wait_ms > 0) l->deadline_ms = b->now_ms + e->wait_ms;
    b->seat[slot].entry = index;
    out->trade_no = b->deal[deal].no;
    out->order_no = l->no;
    Effect *f = ask(b, DO_SUBMIT, slot, index, -1);
    f->quantity = l->intended;
    f->price = l->limit_price;
    return D_OK;
}

static int64_t goal_after(const Seat *s, const Deal *d, const Input *e) {
    int64_t base = d->sums.exited, quantity;
    if (s->latched && s->goal > base) base = s->goal;
    int64_t left = d->sums.entered - base;
    if (left <= 0) return ALL;
    if (e->quantity_e8 > 0) {
        if (e->quantity_e8 >= left) return ALL;
        quantity = to_step(e->quantity_e8, d->step);
    } else if (s->leg + 1 >= d->leg_count) {
        return ALL;
    } else {
        quantity = to_step(quantity_share(left, d->legs[s->leg]), d->step);
    }
    if (quantity < d->min_quantity || quantity <= 0 || quantity >= left) return ALL;
    return base + quantity;
}

static int leave(Book *b, const Input *e, int32_t slot, Result *out) {
    Seat *s = &b->seat[slot];
    Deal *d = &b->deal[s->deal];
    if (!e->event_key) return refuse(out, FIELD_INTENT, D_INVALID_INTENT);
    if (e->order_type == 1 && (e->last_price_e10 <= 0 || e->last_price_e10 % d->tick))
        return refuse(out, FIELD_LIMIT_PRICE, D_INVALID_INTENT);
    if (e->flags & URGENT) return UNSUPPORTED;
    if (s->latched && s->goal == ALL) return D_DUPLICATE_EVENT;
    accept(b, e, out);
    s->goal = goal_after(s, d, e);
    s->latched = 1;
    s->leg_before = s->leg;
    s->exit_start = d->sums.exited;
    if (s->leg + 1 < d->leg_count) s->leg++;
    s->exit_intent = e->event_key;
    s->next_child = 0;
    s->exit_type = e->order_type;
    s->exit_price = e->order_type == 1 ? e->last_price_e10 : 0;
    s->exit_wait = e->wait_ms;
    if (live(b, s->entry)) ask(b, DO_CANCEL, slot, s->entry, -1);
    return D_OK;
}

static int apply_command(Book *b, const Input *e, Result *out) {
    int32_t slot = e->slot;
    if (was_seen(b, e->event_key)) return D_DUPLICATE_EVENT;
    if (slot < 0 || slot >= b->limit) return UNSUPPORTED;
    Seat *s = &b->seat[slot];
    if (e->kind != IN_ENTER && e->trade_key && s->deal >= 0 && b->deal[s->deal].key != e->trade_key)
        return refuse(out, FIELD_TRADE, D_INVALID_INTENT);
    const Answer *cell = &b->table[s->state][e->kind];
    out->slot = (int16_t)slot;
    out->before = out->after = s->state;
    if (s->deal >= 0) {
        out->trade_no = b->deal[s->deal].no;
        out->leg = (uint8_t)s->leg;
    }
    int code = UNSUPPORTED;
    if (cell->rule == RULE_REFUSE) return cell->refusal;
    if (cell->rule == RULE_ENTER) code = enter(b, e, slot, out);
    if (cell->rule == RULE_EXIT) code = leave(b, e, slot, out);
    if (code != D_OK) return code;
    remember(b, e->event_key);
    settle(b, slot, out);
    return allowed(b, cell, slot, out);
}

/* -- one input, one outcome -------------------------------------------------------------------- */

static int bad_field(const Book *b, const Input *e) {
    if (!((e->kind >= IN_ENTER && e->kind <= IN_CONTROL) ||
          (e->kind >= IN_ORDER_ACK && e->kind <= IN_INCOME_READ)))
        return FIELD_KIND;
    if (e->slot < -1 || e->slot >= b->seats) return FIELD_SLOT;
    if (e->received_ms <= 0 || e->received_ms >= TIME_MAX_MS) return FIELD_TIME;
    if (e->exchange_ms < 0 || e->exchange_ms >= TIME_MAX_MS) return FIELD_TIME;
    if (e->wait_ms < 0 || e->wait_ms > WAIT_MAX_MS) return FIELD_WAIT;
    if (e->limit_ms < 0 || e->limit_ms >= TIME_MAX_MS) return FIELD_WAIT;
    if (e->quantity_e8 < 0 || e->last_quantity_e8 < 0) return FIELD_QUANTITY;
    if (e->price_e10 < 0) return FIELD_PRICE;
    if (e->last_price_e10 < 0) return FIELD_LIMIT_PRICE;
    if (e->side < -1 || e->side > 1) return FIELD_SIDE;
    if (e->source > FROM_FILLS) return FIELD_SOURCE;
    if (e->order_type > 1) return FIELD_ORDER_TYPE;
    if (e->role > EXIT) return FIELD_ORDER;
    if (e->reason > CONTROL_REBASE) return FIELD_REASON;
    if (e->flags & (HAS_COST | HAS_FEE | HAS_REALIZED) || e->kind < IN_ORDER_ACK)
        if (money_is_out(e->cost) || money_is_out(e->fee) || money_is_out(e->realized) ||
            e->cost < 0)
            return FIELD_MONEY;
    return FIELD_NONE;
}

static int16_t primary(uint64_t notes) {
    static const int16_t order[] = {D_FIGURE_DEVIATES, D_EXIT_DEFERRED, D_REALIZED_SKIPPED_NO_PRICE,
                                    D_ENTRY_BASIS_MISSING, D_REALIZED_SETTLED};
    for (unsigned i = 0; notes && i < sizeof order / sizeof *order; i++)
        if ((notes >> order[i]) & 1) return order[i];
    return D_OK;
}

static int apply(Book *b, const Input *e, Result *out) {
    int code, field = bad_field(b, e);
    memset(out, 0, sizeof *out);
    out->kind = e->kind;
    out->slot = -1;
    b->effect_count = 0;
    if (unlikely(field != FIELD_NONE))
        code = refuse(out, field, field == FIELD_SLOT          ? D_INVALID_SLOT
                                  : e->kind < IN_ORDER_ACK ? D_INVALID_INTENT
                                                           : D_INVALID_EVENT);
    else if (e->kind < IN_ORDER_ACK)
        code = apply_command(b, e, out);
    else if (likely(e->venue_key || e->client_key))
        code = apply_order(b, e, out);
    else
        code = UNSUPPORTED;
    if (out->accepted) {
        out->code = primary(out->notes);
    } else {
        out->code = (int16_t)code;
        out->after = out->before;
        out->notes = 0;
    }
    out->event_seq = b->event_seq;
    out->effects = b->effect_count;
    return code;
}

/* -- entrances --------------------------------------------------------------------------------- */

/* Applies count inputs; the number applied, less when it met something that it leaves out. */
int64_t reference_run(Book *b, const Input *inputs, Result *outcomes, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (unlikely(apply(b, &inputs[i], &outcomes[i]) == UNSUPPORTED)) return i;
    return count;
}

/* The least that any loop does: read every byte of the inputs, write every byte of the outcomes. */
int64_t reference_floor(const Input *inputs, Result *outcomes, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        const uint64_t *from = (const uint64_t *)&inputs[i];
        uint64_t *to = (uint64_t *)&outcomes[i], sum = 0;
        for (unsigned j = 0; j < sizeof(Input) / 8; j++) sum += from[j];
        for (unsigned j = 0; j < sizeof(Result) / 8; j++) to[j] = sum + j;
    }
    return count;
}

/* Empties the book.  cells: rule, refusal and next states of every (state, kind). */
void reference_reset(Book *b, const uint8_t *cells, int64_t anchor_ms, int64_t wallet_units,
                     int64_t event_seq, int64_t now_ms) {
    for (int i = 0; i < STATES * KINDS; i++) memcpy(&b->table[i / KINDS][i % KINDS], cells + 3 * i, 3);
    memset(&b->seed, 0, (char *)&b->tolerance - (char *)&b->seed);
    b->wallet = b->peak = (__int128)wallet_units * 1000000000000000000LL;
    b->anchor_ms = anchor_ms;
    b->event_seq = event_seq;
    b->now_ms = now_ms;
    b->order_no = b->trade_no = 0;
    b->line_free = b->deal_free = 0;
    b->lines_used = b->deals_used = b->active = 0;
    b->seen_count[0] = b->seen_count[1] = b->seen_now = 0;
    b->retired_first = b->retired_count = b->retired_live = b->retired_lines = 0;
    b->flows_first = b->flows_count = b->effect_count = 0;
    memset(b->flows, 0, sizeof b->flows);
    memset(b->seat, 0, b->seats * sizeof *b->seat);
    memset(b->deal, 0, b->deals * sizeof *b->deal);
    memset(b->line, 0, b->lines * sizeof *b->line);
    memset(b->by_venue, 0, (b->probe_mask + 1) * sizeof(Place));
    memset(b->by_client, 0, (b->probe_mask + 1) * sizeof(Place));
    memset(b->seen, 0, 2 * (b->seen_mask + 1) * 8);
    memset(b->effect, 0, 64 * sizeof *b->effect);
    for (int32_t i = 0; i < b->seats; i++) clear_seat(&b->seat[i]);
    for (int32_t i = 0; i < b->deals; i++) b->deal[i].next = i + 1 < b->deals ? i + 1 : -1;
    for (int32_t i = 0; i < b->lines; i++) b->line[i].next = i + 1 < b->lines ? i + 1 : -1;
}

/* A book with the kernel's table sizes; NULL when there is no memory. */
Book *reference_new(int32_t slot_limit, int32_t leverage_cap, int32_t seen, int64_t tolerance) {
    Book *b = calloc(1, sizeof *b);
    if (!b) return NULL;
    uint64_t probes = 16, keys = 16;
    b->limit = slot_limit;
    b->seats = 2 * slot_limit;
    b->deals = 2 * slot_limit + 64;
    b->lines = 4 * slot_limit + 256;
    b->seen_limit = seen;
    b->leverage_cap = leverage_cap;
    b->tolerance = tolerance;
    while (probes < 2 * (uint64_t)b->lines) probes *= 2;
    while (keys < 2 * (uint64_t)seen) keys *= 2;
    b->probe_mask = probes - 1;
    b->seen_mask = keys - 1;
    b->seat = calloc(b->seats, sizeof *b->seat);
    b->deal = calloc(b->deals, sizeof *b->deal);
    b->line = calloc(b->lines, sizeof *b->line);
    b->by_venue = calloc(probes, sizeof(Place));
    b->by_client = calloc(probes, sizeof(Place));
    b->seen = calloc(2 * keys, 8);
    b->retired = calloc(b->deals, sizeof *b->retired);
    b->effect = calloc(64, sizeof *b->effect);
    if (!b->seat || !b->deal || !b->line || !b->by_venue || !b->by_client || !b->seen ||
        !b->retired || !b->effect)
        return NULL; /* the benchmark ends here; nothing is given back */
    return b;
}

static void halves(money_t amount, int64_t *out) {
    out[0] = (int64_t)(amount >> 64);
    out[1] = (int64_t)amount;
}

/* realized, true-up, fees, bridged, peak of the ledger, as pairs of high and low halves. */
void reference_ledger(const Book *b, int64_t out[10]) {
    halves(b->realized, out);
    halves(b->trueup, out + 2);
    halves(b->fees, out + 4);
    halves(b->bridged, out + 6);
    halves(b->peak, out + 8);
}

/* Per trade still in the tables: number, entered, exited, realized, true-up, fees; how many. */
int64_t reference_trades(const Book *b, int64_t *out) {
    int64_t found = 0;
    for (int32_t i = 0; i < b->deals; i++) {
        const Deal *d = &b->deal[i];
        if (!d->no) continue;
        int64_t *row = out + 9 * found++;
        row[0] = (int64_t)d->no;
        row[1] = d->sums.entered;
        row[2] = d->sums.exited;
        halves(d->realized, row + 3);
        halves(d->trueup, row + 5);
        halves(d->sums.fees, row + 7);
    }
    return found;
}
