"""From differences to a plan: typed steps, and the state of the exchange that they were made from.

A plan is a file that a person reads and hands back; applied, it is exactly that plan or nothing.
This module only makes and checks it; the runtime carries it out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from enum import IntEnum
from typing import Final

import msgspec

from dita.contracts import ENDED_STATUSES, OrderSide, Record
from dita.errors import RefusedForSafety, UsageError
from dita.identity import plain_symbol
from dita.reconcile.views import Cause, Comparison, Level, OurView, Row, TheirView
from dita.units import format_quantity

PLAN_VERSION: Final = 1
#: A plan that is older than this is made anew.
PLAN_MAX_AGE_MS: Final = 600_000


class StepKind(IntEnum):
    """What a plan can hold, in the order in which it is done."""

    HOLD = 1  # no new entries until somebody has looked
    QUERY_ORDER = 2  # ask until it is found or proven absent
    FINALISE = 3  # read its end and its fills
    BOOK_OUTSIDE = 4  # find whose fills closed what was ours, and book them to the trade
    CHECK_SLOT = 5  # doubt the slot: everything of it is asked again
    NOTE_POSITION = 6  # take the foreign position in: no entry there
    ADOPT = 7  # a slot of ours takes the position over
    TAKE_BALANCE = 8  # the income history too: what moved the wallet
    ANCHOR = 9  # a person's: pink-ctl anchor
    WAIT = 10  # it settles by itself, or is none of our business
    WRITE_OFF = 11  # a person's word that the quantity is gone: only rows that are there are booked


#: Steps that a plan only tells of.
TOLD_ONLY: Final = frozenset({StepKind.ANCHOR, StepKind.WAIT})

CURES: Final[dict[Cause, StepKind]] = {
    Cause.UNANSWERED: StepKind.QUERY_ORDER,
    Cause.FOUND: StepKind.QUERY_ORDER,
    Cause.LOST: StepKind.QUERY_ORDER,
    Cause.ENDED: StepKind.QUERY_ORDER,
    Cause.FILL_MISSED: StepKind.QUERY_ORDER,
    Cause.FILL_AHEAD: StepKind.WAIT,
    Cause.STILL_WORKS: StepKind.QUERY_ORDER,
    Cause.REVIVED: StepKind.HOLD,
    Cause.SIZE_CUT: StepKind.WAIT,
    Cause.FINAL_NOT_READ: StepKind.FINALISE,
    Cause.FOREIGN_ORDER: StepKind.WAIT,
    Cause.SECOND_KERNEL: StepKind.HOLD,
    Cause.IN_FLIGHT: StepKind.WAIT,
    Cause.IN_DOUBT: StepKind.CHECK_SLOT,
    Cause.CLOSED_OUTSIDE: StepKind.BOOK_OUTSIDE,
    Cause.REDUCED_OUTSIDE: StepKind.BOOK_OUTSIDE,
    Cause.GONE: StepKind.WRITE_OFF,
    Cause.FOREIGN_EXCESS: StepKind.CHECK_SLOT,
    Cause.OPPOSITE: StepKind.HOLD,
    Cause.FOREIGN_POSITION: StepKind.NOTE_POSITION,
    Cause.NOT_SEEDED: StepKind.TAKE_BALANCE,
    Cause.WALLET_MOVED: StepKind.TAKE_BALANCE,
    Cause.SETTLING: StepKind.WAIT,
    Cause.PENDING_FEE: StepKind.WAIT,
    Cause.UNSETTLED_FILL: StepKind.WAIT,
    Cause.FUNDING_UNREAD: StepKind.WAIT,
    Cause.TRANSFER_UNREAD: StepKind.WAIT,
    Cause.FOREIGN_ACTIVITY: StepKind.ANCHOR,
    Cause.ROUNDING: StepKind.WAIT,
    Cause.PENDING: StepKind.WAIT,
    Cause.UNEXPLAINED: StepKind.ANCHOR,
}


class Step(Record, frozen=True, kw_only=True):
    """One thing to do.  What it is about stands in the ids; ``text`` is for people."""

    kind: StepKind
    text: str
    asset: str = ""
    slot_id: int = -1
    trade_id: str = ""
    order_no: int = 0
    side: OrderSide = OrderSide.UNKNOWN
    quantity_e8: int = 0
    entry_price_e10: int = 0
    leverage: int = 1


class Plan(Record, frozen=True, kw_only=True):
    """Steps, and the state of the exchange that they were made from."""

    version: int
    namespace: str
    epoch: int
    created_ms: int
    assets: tuple[str, ...]
    fingerprint: str
    steps: tuple[Step, ...]
    plan_id: str = ""

    @property
    def to_do(self) -> tuple[Step, ...]:
        """The steps that are done when the plan is applied; the others are only told."""
        return tuple(step for step in self.steps if step.kind not in TOLD_ONLY)


def fingerprint(theirs: TheirView) -> str:
    """SHA-256 over working orders, positions and the wallet; marks and times are not in it."""
    orders = sorted(
        (
            plain_symbol(o.asset),
            o.venue_order_id,
            o.client_order_id,
            int(o.side),
            int(o.status),
            o.quantity_e8,
            o.filled_e8,
        )
        for o in theirs.open_orders
    )
    positions = sorted(
        (plain_symbol(p.asset), int(p.side), p.quantity_e8)
        for p in theirs.positions
        if p.quantity_e8
    )
    return hashlib.sha256(repr((orders, positions, theirs.wallet)).encode()).hexdigest()


def plan_of(
    ours: OurView,
    theirs: TheirView,
    comparison: Comparison,
    created_ms: int,
    adopt: Collection[str] = (),
) -> Plan:
    """The steps for every difference, each once.  ``adopt``: symbols whose foreign position a slot
    of ours is to take over.  UsageError when there is none to take."""
    wanted = {plain_symbol(asset) for asset in adopt}
    steps: dict[tuple[int, str, int, int, int, str], Step] = {}
    for row in comparison.differences:
        step = _step(row, theirs, wanted)
        # What is only told is told of each; what is done is done once.
        told = step.text if step.kind in TOLD_ONLY or step.kind is StepKind.HOLD else ""
        about = (step.slot_id, step.order_no, int(step.side))
        steps.setdefault((int(step.kind), plain_symbol(step.asset), *about, told), step)
    if wanted:
        raise UsageError(
            "nothing to adopt",
            expected="a position of the exchange's that is not ours",
            found=", ".join(sorted(wanted)),
        )
    plan = Plan(
        version=PLAN_VERSION,
        namespace=ours.namespace,
        epoch=ours.epoch,
        created_ms=created_ms,
        assets=theirs.assets,
        fingerprint=fingerprint(theirs),
        steps=tuple(steps[key] for key in sorted(steps)),
    )
    return msgspec.structs.replace(plan, plan_id=_digest(plan))


def _step(row: Row, theirs: TheirView, wanted: set[str]) -> Step:
    assert row.cause is not None
    kind = CURES[row.cause]
    price, leverage = 0, 1
    if row.cause is Cause.FOREIGN_POSITION and plain_symbol(row.asset) in wanted:
        kind = StepKind.ADOPT
        wanted.discard(plain_symbol(row.asset))
        for position in theirs.positions:
            if (plain_symbol(position.asset), position.side) == (plain_symbol(row.asset), row.side):
                price, leverage = position.entry_price_e10, position.leverage
    about = kind is not StepKind.WAIT
    quantity_e8 = row.quantity_e8 if row.level is Level.POSITION else 0
    return Step(
        kind=kind,
        text=_words(kind, row),
        asset=row.asset,
        slot_id=row.slot_id if about else -1,
        trade_id=row.trade_id,
        order_no=row.order_no,
        side=row.side if row.level is Level.POSITION else OrderSide.UNKNOWN,
        quantity_e8=row.missing_e8 if kind is StepKind.WRITE_OFF else quantity_e8,
        entry_price_e10=price,
        leverage=leverage,
    )


_WORDS: Final = {
    StepKind.HOLD: "hold: no new entries",
    StepKind.QUERY_ORDER: "ask about the order until it is found or proven absent",
    StepKind.FINALISE: "read the order's end and its fills",
    StepKind.BOOK_OUTSIDE: "find whose fills closed it and book them to the trade",
    StepKind.CHECK_SLOT: "doubt the slot: ask about everything of it",
    StepKind.NOTE_POSITION: "note the position: no entry of ours there",
    StepKind.ADOPT: "adopt the position into a slot",
    StepKind.TAKE_BALANCE: "read income and balance",
    StepKind.ANCHOR: "by an operator: pink-ctl anchor --reason WHY",
    StepKind.WAIT: "nothing: wait",
    StepKind.WRITE_OFF: "write off what is gone; its result is what income rows tell, else 0",
}


def _words(kind: StepKind, row: Row) -> str:
    about = " ".join(part for part in (row.asset, row.name) if part)
    if kind is StepKind.WRITE_OFF:
        about += f" {format_quantity(row.missing_e8)}"
    if row.level is Level.MONEY:
        about = f"{row.theirs} USDT"
    return f"{_WORDS[kind]} ({row.cause}: {about})"


def _digest(plan: Plan) -> str:
    body = msgspec.json.encode(msgspec.structs.replace(plan, plan_id=""))
    return hashlib.sha256(body).hexdigest()[:16]


def read_plan(body: bytes) -> Plan:
    """A plan as it was written.  UsageError when it is none; RefusedForSafety when it was edited
    or comes from another version."""
    try:
        plan = msgspec.json.decode(body, type=Plan)
    except (msgspec.DecodeError, UnicodeDecodeError) as bad:
        raise UsageError(
            "plan refused", expected="a file from `pink-ctl reconcile --out PLAN`", found=str(bad)
        ) from bad
    if plan.version != PLAN_VERSION or plan.plan_id != _digest(plan):
        raise RefusedForSafety(
            "plan refused",
            expected=f"version {PLAN_VERSION}, as it was written",
            found=f"version {plan.version}, changed since",
            action="make a new one",
        )
    return plan


def check_plan(plan: Plan, ours: OurView, theirs: TheirView, now_ms: int) -> None:
    """RefusedForSafety unless the plan is this kernel's, fresh, and the exchange has not moved."""
    age_s = (now_ms - plan.created_ms) // 1000
    for what, expected, found in (
        ("namespace", plan.namespace, ours.namespace),
        ("journal epoch", str(plan.epoch), str(ours.epoch)),
        ("exchange's state", plan.fingerprint[:16], fingerprint(theirs)[:16]),
    ):
        if expected != found:
            raise RefusedForSafety(
                f"plan refused: another {what}",
                expected=f"{expected}, as the plan was made",
                found=found,
                action="make a new plan: pink-ctl reconcile --out PLAN",
            )
    if not -60 <= age_s <= PLAN_MAX_AGE_MS // 1000:
        raise RefusedForSafety(
            "plan refused: too old",
            expected=f"at most {PLAN_MAX_AGE_MS // 1000} s",
            found=f"{age_s} s",
            action="make a new plan: pink-ctl reconcile --out PLAN",
        )


def check_flat(ours: OurView, theirs: TheirView) -> None:
    """RefusedForSafety unless nothing is open and nothing works, here and at the exchange."""
    open_here = [f"{p.trade_id} {p.asset}" for p in ours.positions if p.size_e8 or p.in_flight]
    open_here += [o.client_order_id for o in ours.orders if o.status not in ENDED_STATUSES]
    open_there = [f"{p.asset} {format_quantity(p.quantity_e8)}" for p in theirs.positions]
    open_there += [f"order {o.venue_order_id} {o.asset}" for o in theirs.open_orders]
    for where, found in (("here", open_here), ("at the exchange", open_there)):
        if found:
            raise RefusedForSafety(
                "not flat", expected="no position and no working order", found=f"{where}: {found}"
            )
