"""Mutants of money: levels and their ranks, flows in time, the drift and its causes."""

from __future__ import annotations

from mutants.mutant import Mutant

_MONEY = "dita/_money.h"
_LEVELS = "dita/rules/levels.pxi"
_REGISTRY = "dita/rules/registry.pxi"
_SLOTS = "dita/rules/slots.pxi"
_CLOCK = "dita/rules/clockwork.pxi"
_COMMANDS = "dita/rules/commands.pxi"
_ACCOUNT = "dita/account.py"
_ENGINE = "dita/engine.py"

_COMPANY = ("kernel/test_company.py",)
_ACCOUNTS = ("account/test_account.py", "kernel/test_company.py")
_HARD = ("kernel/test_company.py", "kernel/test_hardening.py")

LEVELS = (
    Mutant(
        name="ties are rounded up",
        path=_MONEY,
        old="(twice == d && (share & 1))",
        new="twice == d",
        tests=("kernel/test_kernel_numbers.py",),
    ),
    Mutant(
        name="ties are rounded down",
        path=_MONEY,
        old="    if (twice > d || (twice == d && (share & 1))) share += 1;\n",
        new="    if (twice > d) share += 1;\n",
        tests=("kernel/test_kernel_numbers.py",),
    ),
    Mutant(
        name="a figure of a part settles the whole",
        path=_LEVELS,
        old="    return level.realized_rank > 0 and level.figure_e8 == level.filled_e8\n",
        new="    return level.realized_rank > 0\n",
        tests=_HARD,
    ),
    Mutant(
        name="an increment of a figure is added to an unknown base",
        path=_LEVELS,
        old="old.realized_rank == 0 and old.filled_e8 > 0 or old.figure_e8 != old.filled_e8",
        new="old.realized_rank == 0 and old.filled_e8 > 0",
        tests=_HARD,
    ),
    Mutant(
        name="pieces after an average outrank it",
        path=_LEVELS,
        old="            piece_rank = 2 if (old.filled_e8 == 0 or old.cost_rank >= 2) else 1\n",
        new="            piece_rank = 2\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="a fee of the same source replaces the fee",
        path=_LEVELS,
        old="    if e.flags & HAS_FEE and (grown or rank > old.fee_rank):\n",
        new="    if e.flags & HAS_FEE and (grown or rank >= old.fee_rank):\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="what the stream says that an entry earned is believed",
        path=_LEVELS,
        old="    return o.role == ENTRY and e.source <= FROM_STREAM\n",
        new="    return False\n",
        tests=_HARD,
    ),
    Mutant(
        name="a fill of the future keeps its time",
        path=_LEVELS,
        old="    if e.exchange_ms > 0 and not is_ahead(st, e):\n        return e.exchange_ms\n",
        new="    if e.exchange_ms > 0:\n        return e.exchange_ms\n",
        tests=_COMPANY,
    ),
)

FLOWS = (
    Mutant(
        name="a correction is dated at the order's last fill",
        path=_LEVELS,
        old="    if split and 0 < o.old_e8 < filled_e8:\n",
        new="    if False:\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="an entry's late price is dated at the entry",
        path=_LEVELS,
        old="    flow_of_exits(st, t, gained)\n    flow_of_order(st, o, figure, corrects)\n",
        new="    money_add(figure, gained, &figure)\n    flow_of_order(st, o, figure, corrects)\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="a slow balance forgets a transfer",
        path=_REGISTRY,
        old="        if k.anchor_quiet and flow.is_fill and flow.exchange_ms <= k.anchor_ms:\n",
        new="        if k.anchor_quiet:\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="joined flows keep the earlier time",
        path=_REGISTRY,
        old="        if oldest.exchange_ms > second.exchange_ms:\n",
        new="        if oldest.exchange_ms < second.exchange_ms:\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="joined flows lose the older amount",
        path=_REGISTRY,
        old="        money_add(second.amount, oldest.amount, &second.amount)\n",
        new="        pass\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="joined flows are a fill when one of them was",
        path=_REGISTRY,
        old="        second.is_fill &= oldest.is_fill\n",
        new="        second.is_fill |= oldest.is_fill\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="the seed counts what comes after the first balance",
        path=_CLOCK,
        old="        if flow.exchange_ms > when + AMBIGUOUS_MS:\n"
        "            bad |= money_sub(total, flow.amount, &total)\n",
        new="        pass\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="a balance of the future is an anchor",
        path=_CLOCK,
        old="    if is_ahead(st, e):\n"
        "        return refuse_field(out, FIELD_TIME, D_INVALID_EVENT)\n"
        "    if k.anchored and when < k.anchor_ms:\n",
        new="    if k.anchored and when < k.anchor_ms:\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="income is read up to the future",
        path=_CLOCK,
        old="    if e.exchange_ms <= 0 or is_ahead(st, e):\n",
        new="    if e.exchange_ms <= 0:\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="rounding survives an anchor by hand",
        path=_COMMANDS,
        old="    st.ledger.flow_total = 0\n",
        new="",
        tests=_COMPANY,
    ),
    Mutant(
        name="a re-base without an amount is taken",
        path=_COMMANDS,
        old="    if not e.flags & HAS_REALIZED:\n"
        "        return refuse_field(out, FIELD_MONEY, D_INVALID_INTENT)\n"
        "    if money_add(st.ledger.adjustments",
        new="    if money_add(st.ledger.adjustments",
        tests=_COMPANY,
    ),
    Mutant(
        name="a trade's end is told again",
        path=_SLOTS,
        old="    if not t.flags & TOLD:\n",
        new="    if True:\n",
        tests=_COMPANY,
    ),
    Mutant(
        name="the sizer is fed before a position has said who closed",
        path=_SLOTS,
        old="    if t.slot >= 0 and st.slots[t.slot].flags & STALE:\n"
        "        return 0                # a position may still give quantity back\n",
        new="",
        tests=_COMPANY,
    ),
)

DRIFT = (
    Mutant(
        name="an announced funding explains for ever",
        path=_ACCOUNT,
        old="        if amount != taken and told_ms > since_ms:\n",
        new="        if amount != taken:\n",
        tests=_ACCOUNTS,
    ),
    Mutant(
        name="a row of others leaves the expectation of funding",
        path=_ACCOUNT,
        old="k.funding + k.foreign_funding, k.transfers + k.foreign_transfers",
        new="k.funding, k.transfers",
        tests=_ACCOUNTS,
    ),
    Mutant(
        name="a row ends an expectation of the other sign",
        path=_ACCOUNT,
        old="        taken = min(read, amount, key=abs) if read * amount > 0 else 0\n",
        new="        taken = min(read, amount, key=abs)\n",
        tests=_ACCOUNTS,
    ),
    Mutant(
        name="one row ends every expectation",
        path=_ACCOUNT,
        old="        read -= taken\n",
        new="",
        tests=_ACCOUNTS,
    ),
    Mutant(
        name="funding is expected as a transfer",
        path=_ACCOUNT,
        old="        elif k.anchor_reason == BalanceReason.TRANSFER:\n",
        new="        if k.anchor_reason in (BalanceReason.TRANSFER, BalanceReason.FUNDING):\n",
        tests=_ACCOUNTS,
    ),
    Mutant(
        name="foreign flows explain with the other sign",
        path=_ACCOUNT,
        old="            _exactly(DriftCause.FOREIGN_ACTIVITY, k.foreign),\n",
        new="            _exactly(DriftCause.FOREIGN_ACTIVITY, -k.foreign),\n",
        tests=_ACCOUNTS,
    ),
    Mutant(
        name="foreign flows explain either sign",
        path=_ACCOUNT,
        old="            _exactly(DriftCause.FOREIGN_ACTIVITY, k.foreign),\n",
        new="            _within(DriftCause.FOREIGN_ACTIVITY, abs(k.foreign)),\n",
        tests=_ACCOUNTS,
    ),
    Mutant(
        name="an unsettled fill explains anything",
        path=_ACCOUNT,
        old="            _within(DriftCause.UNSETTLED_FILL, bounds.unsettled),\n",
        new="            _within(DriftCause.UNSETTLED_FILL, bounds.unsettled and abs(rest)),\n",
        tests=_ACCOUNTS,
    ),
    Mutant(
        name="an estimated fee explains for ever",
        path="dita/_kernel.pyx",
        old="            if o.order_no != 0 and o.level.fee_rank == 1"
        " and is_awaited(self.st, o, told_ms):\n",
        new="            if o.order_no != 0 and o.level.fee_rank == 1:\n",
        tests=_ACCOUNTS,
    ),
    Mutant(
        name="rounding grows without end",
        path=_ACCOUNT,
        old="                min(k.flow_total * self.config.wallet_digit // 2, ROUNDING_MAX),\n",
        new="                k.flow_total * self.config.wallet_digit // 2,\n",
        tests=_ACCOUNTS,
    ),
    Mutant(
        name="what is pending never becomes unexplained",
        path=_ACCOUNT,
        old="if k.told_ms - since >= PENDING_MS)",
        new="if k.told_ms - since >= 1_000 * PENDING_MS)",
        tests=_ACCOUNTS,
    ),
    Mutant(
        name="growth makes the whole difference young again",
        path=_ACCOUNT,
        old="    if news:\n        parts.append((now_ms, news))\n",
        new="    if news:\n        parts = [(now_ms, rest)]\n",
        tests=_ACCOUNTS,
    ),
    Mutant(
        name="what shrinks goes from the oldest first",
        path=_ACCOUNT,
        old="    while parts and news * parts[-1][1] < 0:\n        since, part = parts.pop()\n",
        new="    while parts and news * parts[0][1] < 0:\n        since, part = parts.pop(0)\n",
        tests=_ACCOUNTS,
    ),
    Mutant(
        name="a frame of the stream thaws",
        path=_ACCOUNT,
        old="        elif state.frozen and quiet:\n",
        new="        elif state.frozen:\n",
        tests=_ACCOUNTS,
    ),
    Mutant(
        name="one good anchor thaws",
        path=_ACCOUNT,
        old="THAW_ANCHORS: Final = 2\n",
        new="THAW_ANCHORS: Final = 1\n",
        tests=_ACCOUNTS,
    ),
)

MONEY = (*LEVELS, *FLOWS, *DRIFT)
