"""Mutants of the kernel's rules: orders, slots, exits, doubt, who closed what."""

from __future__ import annotations

from mutants.mutant import Mutant

_SLOTS = "dita/rules/slots.pxi"
_EVENTS = "dita/rules/events.pxi"
_COMMANDS = "dita/rules/commands.pxi"
_POSITIONS = "dita/rules/positions.pxi"
_EXTERNALS = "dita/rules/externals.pxi"
_REGISTRY = "dita/rules/registry.pxi"
_DISPATCH = "dita/rules/dispatch.pxi"
_CLOCK = "dita/rules/clockwork.pxi"
_LIMITS = "dita/rules/limits.pxi"
_WRITE_OFF = "dita/rules/write_off.pxi"

_COMPANY = ("kernel/test_company.py",)
_HARD = ("kernel/test_company.py", "kernel/test_hardening.py")

EXITS = (
    Mutant(
        name="an exit goes beside one that lives",
        path=_SLOTS,
        old="        if not is_ended(old):\n            return False\n",
        new="",
        argued="an order that is filled in full has ended by the same input, so one that lives"
        " lacks something, and the next line stops the exit",
    ),
    Mutant(
        name="an exit goes before the last one's quantity is final",
        path=_SLOTS,
        old="        if not old.flags & FINAL and old.level.filled_e8 < old.intended_e8:\n"
        "            return False\n",
        new="",
        tests=_HARD,
    ),
    Mutant(
        name="an exit sells what another may still sell",
        path=_SLOTS,
        old="cdef int64_t left = size_of(t) - exits_out(st, t)",
        new="cdef int64_t left = size_of(t)",
        tests=_HARD,
    ),
    Mutant(
        name="a stale exit sells more than was proven",
        path=_SLOTS,
        old="    if s.flags & STALE and 0 < s.proven_e8 < quantity:\n"
        "        quantity = s.proven_e8\n",
        new="",
        tests=_HARD,
    ),
    Mutant(
        name="a proven quantity is sold twice",
        path=_EVENTS,
        old="        s.proven_e8 = s.proven_e8 - grown_e8 if s.proven_e8 > grown_e8 else 0\n",
        new="        pass\n",
        tests=_HARD,
    ),
    Mutant(
        name="what a position has shown already is taken from it again",
        path=_EVENTS,
        old="    if s.proven_e8 > 0 and o.last_fill_ms > s.proven_ms:\n",
        new="    if s.proven_e8 > 0:\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="exits of a symbol take more than its net position",
        path=_SLOTS,
        old="        quantity = room if room < quantity else quantity\n",
        new="        pass\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="exits of two slots of a symbol do not know one another",
        path=_SLOTS,
        old="            if other.side == t.side:\n"
        "                net = quantity_sum(net, -exits_out(st, other))\n",
        new="",
        tests=_COMPANY,
    ),
    Mutant(
        name="an exit that is too small loses the latch while the entry fills",
        path=_EVENTS,
        old="    s.dust_e8 = size_of(t)\n    if not entry_may_fill(st, t):\n"
        "        latch_drop(s)\n",
        new="    s.dust_e8 = size_of(t)\n    latch_drop(s)\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="dust that can grow no more stays latched",
        path=_SLOTS,
        old="    if s.latched and is_dust(s, t) and not entry_may_fill(st, t):\n"
        "        latch_drop(s)\n",
        new="",
        tests=_HARD,
    ),
    Mutant(
        name="a leg does not look at the minimum notional",
        path=_COMMANDS,
        old="    return money_cmp(notional, t.min_notional) < 0\n",
        new="    return False\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="a typed quantity between two steps is floored",
        path=_COMMANDS,
        old="    if floor_to_step(e.quantity_e8, t.step_e8) != e.quantity_e8:\n"
        "        return refuse_field(out, FIELD_STEP, D_INVALID_INTENT)\n"
        "    if e.quantity_e8 < t.min_quantity_e8:\n",
        new="    if e.quantity_e8 < t.min_quantity_e8:\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="a typed quantity below the minimum is taken",
        path=_COMMANDS,
        old="    if e.quantity_e8 < t.min_quantity_e8:\n"
        "        return refuse_field(out, FIELD_MINIMUM, D_INVALID_INTENT)\n"
        "    return D_OK\n\n\ncdef void exit_goal",
        new="    return D_OK\n\n\ncdef void exit_goal",
        tests=_COMPANY,
    ),
    Mutant(
        name="a typed quantity is made larger when it is refused as too small",
        path=_EVENTS,
        old="    if s.explicit:\n",
        new="    if False:\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="a typed quantity uses up a leg",
        path=_COMMANDS,
        old="        latch_exit(s, base + e.quantity_e8 if s.explicit else ALL)\n        return\n",
        new="        latch_exit(s, base + e.quantity_e8 if s.explicit else ALL)\n"
        "        s.leg += 1\n        return\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="a cancel of the entry takes the exit back too",
        path=_COMMANDS,
        old="    if s.state == ENTRY_WORKING:\n"
        "        return cancel_order(st, slot, s.entry_order)\n",
        new="    if s.state == ENTRY_WORKING:\n"
        "        latch_drop(s)\n"
        "        return cancel_order(st, slot, s.entry_order)\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="a leg does not grow with its entry",
        path=_EVENTS,
        old="            latch_exit(s, leg_goal(s, t, s.goal_base_e8, s.goal_ratio_e9))"
        "  # its share of the rest\n",
        new="            pass\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="a leg that is out leaves what comes in later",
        path=_SLOTS,
        old=" or (s.goal_ratio_e9 > 0 and entry_may_fill(st, t)):\n",
        new=":\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="a leg never ends",
        path=_SLOTS,
        old="(s.goal_ratio_e9 > 0 and entry_may_fill(st, t))",
        new="s.goal_ratio_e9 > 0",
        tests=_COMPANY,
    ),
    Mutant(
        name="a market exit waits behind a limit exit without end",
        path=_COMMANDS,
        old="    return o.order_type == 1 and o.deadline_ms == 0 and not o.flags & UNWANTED\n",
        new="    return False\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="what missed its time goes as a limit order again",
        path=_SLOTS,
        old="    if market_left(s, t) == 0:\n        o.order_type = s.exit_type\n",
        new="    if True:\n        o.order_type = s.exit_type\n",
        tests=_HARD,
    ),
)

REFUSALS = (
    Mutant(
        name="a refused exit does not back off",
        path=_EVENTS,
        old="    s.retry_ms = st.now_ms + (wait if wait < BACKOFF_MAX_MS else BACKOFF_MAX_MS)\n",
        new="    s.retry_ms = st.now_ms\n",
        tests=_HARD,
    ),
    Mutant(
        name="a mismatch does not wait for the position",
        path=_EVENTS,
        old="        doubt_again(st, slot)\n        s.stale_ms = st.now_ms\n",
        new="        s.stale_ms = st.now_ms\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="a suspended symbol is tried like any other",
        path=_EVENTS,
        old="        s.retry_ms = st.now_ms + SUSPENDED_MS\n",
        new="        pass\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="equal errors are not counted",
        path=_EVENTS,
        old="        error_note(st, e.error_code)\n",
        new="        pass\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="equal errors are counted for ever",
        path=_REGISTRY,
        old="        if r.error_code == error_code and now_ms - r.when_ms < ERROR_WINDOW_MS:\n"
        "            found += 1\n",
        new="        if r.error_code == error_code:\n            found += 1\n",
        tests=_HARD,
    ),
    Mutant(
        name="the seventh error stops slots that did not have it",
        path=_SLOTS,
        old="errors_wait_ms(st, ERRORS_OF_ALL, st.now_ms)",
        new="errors_wait_ms(st, ERRORS_OF_A_SLOT, st.now_ms)",
        tests=_COMPANY,
    ),
    Mutant(
        name="urgent exits wait from the seventh error on",
        path=_SLOTS,
        old="    if s.error_code != 0 and not s.urgent:\n",
        new="    if s.error_code != 0:\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="entries eat the tries that are left for exits",
        path=_COMMANDS,
        old="    if st.errors_count > 0 and errors_wait_ms(st, ERRORS_OF_A_SLOT, now) > 0:\n"
        "        return D_VENUE_ERRORS           # the tries that are left are for exits\n",
        new="",
        tests=_COMPANY,
    ),
    Mutant(
        name="an exit that was taken does not clear the rejects before it",
        path=_EVENTS,
        old="            forget_rejects(&st.slots[slot])\n",
        new="            pass\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="a futile exit is tried at the speed of its back-off",
        path=_SLOTS,
        old="        s.futile_ms = st.now_ms + FUTILE_MS\n    submit_exit",
        new="        pass\n    submit_exit",
        tests=_COMPANY,
    ),
)

DOUBT = (
    Mutant(
        name="an answer that disagrees asks for the next one",
        path=_SLOTS,
        old="    if not st.slots[slot].flags & STALE:\n        doubt(st, slot)\n"
        "        request(st, DO_QUERY_POSITION, slot, -1, st.slots[slot].trade)\n    return 0\n",
        new="    doubt(st, slot)\n"
        "    request(st, DO_QUERY_POSITION, slot, -1, st.slots[slot].trade)\n    return 0\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="a flat trade is not free while others hold the symbol",
        path=_POSITIONS,
        old="if there == ours or (g.certain and position_ms(st, e) > 0"
        " and (there > ours or ours == 0)):",
        new="if there == ours:",
        tests=_COMPANY,
    ),
    Mutant(
        name="what is beyond ours is foreign before all is certain",
        path=_POSITIONS,
        old="(g.certain and position_ms(st, e) > 0 and (there > ours or ours == 0))",
        new="(position_ms(st, e) > 0 and (there > ours or ours == 0))",
        tests=_HARD,
    ),
    Mutant(
        name="the foreign rest is not noted",
        path=_POSITIONS,
        old="            foreign_set(st, foreign_key(st, e.asset_key, g.side),"
        " quantity_sum(theirs, -g.net),\n                        position_ms(st, e))\n",
        new="",
        tests=_COMPANY,
    ),
    Mutant(
        name="a position from before our last fill is judged",
        path=_POSITIONS,
        old="        return position_ms(st, e) < g.last_fill_ms\n",
        new="        return False\n",
        tests=_HARD,
    ),
    Mutant(
        name="an old answer about others is believed",
        path=_POSITIONS,
        old="    return at >= 0 and position_ms(st, e) < st.foreign[at].as_of_ms\n",
        new="    return False\n",
        tests=_HARD,
    ),
    Mutant(
        name="slots of a symbol are compared one by one",
        path=_POSITIONS,
        old="        g.net = quantity_sum(g.net, t.side * size_of(t))\n",
        new="        g.net = t.side * size_of(t)\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="what is missing is missing from the newest slot",
        path=_POSITIONS,
        old="((s.flags & RECOVERY) != 0) == (round_ == 0)",
        new="round_ == 0",
        tests=_COMPANY,
    ),
    Mutant(
        name="opposite slots are not netted",
        path=_POSITIONS,
        old="        net_slots(st, &g, position_ms(st, e), out)\n",
        new="        pass\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="an overfill freezes nothing",
        path=_SLOTS,
        old="        st.ledger.frozen |= FREEZE_RECOVERY     # more went out than was there:"
        " a person looks first\n",
        new="        pass\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="a lost order is an absent one",
        path=_EVENTS,
        old="    if is_ended(o) or o.level.filled_e8 > 0 or o.flags & BOUND:\n"
        "        return lost(st, e, order, out)\n",
        new="",
        tests=_HARD,
    ),
    Mutant(
        name="a lost order ends before a position agrees",
        path=_EVENTS,
        old="    o.flags |= LOST\n    return doubt_again(st, slot)\n",
        new="    order_finalise(st, o)\n    return doubt_again(st, slot)\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="an absent entry is sent again although it was taken back",
        path=_EVENTS,
        old=" and o.expires_ms > st.now_ms and not o.flags & UNWANTED:\n",
        new=" and o.expires_ms > st.now_ms:\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="an absent entry is sent again although entries are frozen",
        path=_EVENTS,
        old="        if not st.ledger.frozen:\n"
        "            return send_entry_again(st, slot, order)\n",
        new="        return send_entry_again(st, slot, order)\n",
        tests=_HARD,
    ),
    Mutant(
        name="a resent entry has no deadline",
        path=_EVENTS,
        old="    o.deadline_ms = st.orders[old].deadline_ms\n",
        new="",
        tests=_COMPANY,
    ),
    Mutant(
        name="final figures below the fills are not believed",
        path=_EVENTS,
        old="    if e.quantity_e8 < o.level.filled_e8 and not o.flags & EXTERNAL:\n"
        "        return final_withdrawn(st, e, order, out)\n",
        new="",
        tests=_COMPANY,
    ),
    Mutant(
        name="the stream's own final takes fills back",
        path=_EVENTS,
        old="    if e.source <= FROM_STREAM or e.flags & INCREMENT:\n"
        "        return refuse_field(out, FIELD_QUANTITY, D_INVALID_EVENT)\n",
        new="",
        tests=_COMPANY,
    ),
    Mutant(
        name="an adopted order takes the place of one whose end is not certain",
        path=_COMMANDS,
        old="    if order >= 0 and not is_terminal(&st.orders[order]):\n"
        "        return D_SLOT_BUSY              # what it filled is not certain yet\n",
        new="",
        tests=_COMPANY,
    ),
    Mutant(
        name="a child number of no intent is used again",
        path=_SLOTS,
        old="        t.recovery_child = s.next_child\n",
        new="        pass\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="a mark is of one slot of its symbol",
        path=_COMMANDS,
        old="        mark_others(st, slot, e.price_e10)\n",
        new="        pass\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="an unknown resting quote is not in flight",
        path=_CLOCK,
        old="                if st.orders[order].status != WORKING"
        " or st.orders[order].order_type != 1:\n",
        new="                if st.orders[order].order_type != 1:\n",
        tests=_COMPANY,
    ),
)

OTHERS = (
    Mutant(
        name="in hedge mode an opening of the other side closes ours",
        path=_DISPATCH,
        old="        if side != -e.side:\n"
        "            return -1               # it opened or enlarged that position\n",
        new="",
        tests=_COMPANY,
    ),
    Mutant(
        name="in hedge mode a fill without its side is a close",
        path=_DISPATCH,
        old="        elif e.kind != IN_LIQUIDATION and e.kind != IN_ADL:\n            return -1\n",
        new="",
        tests=_COMPANY,
    ),
    Mutant(
        name="a close by others is clamped for ever",
        path=_EVENTS,
        old="    if st.trades[trade].externals > 0:\n        rebook(st, trade, out)\n",
        new="",
        tests=(*_COMPANY, "kernel/test_convergence.py"),
    ),
    Mutant(
        name="who was heard first closed ours",
        path=_EXTERNALS,
        old="        return one.venue_key < other.venue_key\n",
        new="        return one.order_no < other.order_no\n",
        tests=(*_COMPANY, "kernel/test_convergence.py"),
    ),
    Mutant(
        name="a close that came while nothing was known is dropped",
        path=_DISPATCH,
        old="            found = i               # this one came before a close that we know,"
        " or its entry filled\n",
        new="            pass\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="of an order that flips the whole profit is ours by quantity",
        path=_EXTERNALS,
        old="        level.fee = signed_share(whole.fee, booked_e8, whole.filled_e8)\n"
        "        level.fee_rank = whole.fee_rank\n",
        new="        level.fee = signed_share(whole.fee, booked_e8, whole.filled_e8)\n"
        "        level.fee_rank = whole.fee_rank\n"
        "        level.realized = signed_share(whole.realized, booked_e8, whole.filled_e8)\n"
        "        level.realized_rank = whole.realized_rank\n"
        "        level.figure_e8 = booked_e8\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="a position does not decide which part of a close was ours",
        path=_POSITIONS,
        old="        book_to_position(st, &g, theirs, out)\n",
        new="        pass\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="what a position settled moves again",
        path=_POSITIONS,
        old="    if over:\n        lock_externals(st, t)\n",
        new="",
        tests=(*_COMPANY, "kernel/test_convergence.py"),
    ),
    Mutant(
        name="an order of our shape that nobody knows closes ours",
        path=_DISPATCH,
        old="    if not e.flags & OWN_SHAPE:\n        slot = slot_closed_by(st, e)\n",
        new="    if True:\n        slot = slot_closed_by(st, e)\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="frames that were held hide a stranger's records",
        path=_DISPATCH,
        old="        release_strangers(st, e, out)\n",
        new="        pass\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="own orders are forgotten with their trades",
        path=_REGISTRY,
        old="        if st.own[i].value > before_ms or order_by_venue(st, st.own[i].key) >= 0:\n",
        new="        if order_by_venue(st, st.own[i].key) >= 0:\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="a write-off needs no income",
        path=_WRITE_OFF,
        old="    if not rows_are_read(st, s):\n"
        "        return refuse_field(out, FIELD_TIME, D_STALE_STATE)\n",
        new="",
        tests=_COMPANY,
    ),
    Mutant(
        name="a write-off needs no end of its orders",
        path=_WRITE_OFF,
        old="    if not is_over(st, t):\n"
        "        return refuse_field(out, FIELD_ORDER, D_STALE_STATE)\n",
        new="",
        tests=_COMPANY,
    ),
    Mutant(
        name="a write-off takes any quantity",
        path=_WRITE_OFF,
        old="    if e.quantity_e8 == 0 or e.quantity_e8 != size_of(t) - s.proven_e8:\n",
        new="    if e.quantity_e8 == 0 or e.quantity_e8 > size_of(t):\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="a write-off feeds the sizer",
        path=_WRITE_OFF,
        old="    t.flags |= OFF | FED\n",
        new="    t.flags |= OFF\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="what was written off and turns up is foreign",
        path=_POSITIONS,
        old="    if theirs != 0 and turned_up(st, e, side, theirs, out):\n        return D_OK\n",
        new="",
        tests=_COMPANY,
    ),
)

LIMITS = (
    Mutant(
        name="entries take the places of exits in the registry",
        path=_REGISTRY,
        old="orders_left(st) >= 2 + 2 * <int64_t>st.active",
        new="orders_left(st) >= 1",
        tests=_COMPANY,
    ),
    Mutant(
        name="orders of others take the places of exits",
        path=_REGISTRY,
        old="    return orders_left(st) >= 1 + 2 * <int64_t>st.active\n",
        new="    return orders_left(st) >= 1\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="a limit does not count what is open",
        path=_LIMITS,
        old="            bad |= value_of(s, t, &v) or money_add(out[0], v.notional, out)\n",
        new="            pass\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="a loss of the day holds nothing",
        path=_LIMITS,
        old="    k.frozen |= FREEZE_DAY_LOSS\n",
        new="    pass\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="a loss of the day leaves working entries",
        path=_LIMITS,
        old="    k.frozen |= FREEZE_DAY_LOSS\n    return cancel_entries(st)\n",
        new="    k.frozen |= FREEZE_DAY_LOSS\n    return 0\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="any resume forgives the loss of the day",
        path=_COMMANDS,
        old="        if frozen & FREEZE_DAY_LOSS:\n            own_result",
        new="        if True:\n            own_result",
        tests=_COMPANY,
    ),
    Mutant(
        name="an entry is done although its time is over",
        path=_DISPATCH,
        old="    if is_late(st, e):\n        return D_EXPIRED\n",
        new="",
        tests=_COMPANY,
    ),
    Mutant(
        name="an exit is dropped when its caller has gone",
        path=_DISPATCH,
        old="    return e.kind != IN_EXIT and e.kind != IN_MARK_PRICE\n",
        new="    return e.kind != IN_MARK_PRICE\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="an entry goes before everything was asked",
        path=_COMMANDS,
        old="        k.frozen |= FREEZE_NOT_READY\n",
        new="        pass\n",
        tests=("runtime/test_readiness.py",),
    ),
)

KERNEL = (*EXITS, *REFUSALS, *DOUBT, *OTHERS, *LIMITS)
