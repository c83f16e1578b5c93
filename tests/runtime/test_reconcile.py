"""Comparing the two views and planning: equal views, every single difference, and convergence.

Pure: views are made here; how the runtime fills them in and carries a plan out is tested with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dita.contracts import (
    ENDED_STATUSES,
    DriftCause,
    OrderRole,
    OrderSide,
    TradeSide,
    VenueOrderStatus,
)
from dita.errors import RefusedForSafety, UsageError
from dita.reconcile import (
    PLAN_MAX_AGE_MS,
    Cause,
    Comparison,
    OurMoney,
    OurOrder,
    OurPosition,
    OurView,
    Plan,
    StepKind,
    TheirOrder,
    TheirPosition,
    TheirView,
    check_flat,
    check_plan,
    compare,
    fingerprint,
    plan_of,
    read_plan,
)
from dita.reconcile.planning import CURES
from dita.reconcile.views import Level, Row
from dita.units import MONEY_ONE

Status = VenueOrderStatus
NOW = 1_000_000


# -- views that agree ------------------------------------------------------------------------------


def asset(number: int) -> str:
    return f"A{number}-USDT"


def client(number: int) -> str:
    return f"{number:032d}".translate(str.maketrans("0189", "abcd"))


def order(number: int, **changes: Any) -> OurOrder:
    """A working order of slot ``number``, nothing filled."""
    made = OurOrder(
        order_no=number + 1,
        slot_id=number,
        trade_id=f"T{number}",
        asset=asset(number),
        client_order_id=client(number),
        venue_order_id=str(9_000 + number),
        side=OrderSide.BUY,
        role=OrderRole.ENTRY,
        status=Status.WORKING,
        final=False,
        intended_e8=1_000,
        filled_e8=0,
    )
    return replace(made, **changes)


def mirrored(ours: OurOrder, **changes: Any) -> TheirOrder:
    """The same order as the exchange has it, with the symbol in the other spelling."""
    made = TheirOrder(
        client_order_id=ours.client_order_id.upper(),
        venue_order_id=ours.venue_order_id,
        asset=ours.asset.replace("-", ""),
        side=ours.side,
        status=ours.status,
        quantity_e8=ours.intended_e8,
        filled_e8=ours.filled_e8,
    )
    return replace(made, **changes)


class Sides(msgspec.Struct):
    """Both views."""

    ours: OurView
    theirs: TheirView

    def compared(self) -> Comparison:
        return compare(self.ours, self.theirs)

    def causes(self) -> list[Cause | None]:
        return [row.cause for row in self.compared().differences]


@st.composite
def agreeing(draw: st.DrawFn, least: int = 0) -> Sides:
    """Some slots with positions and working orders on which both sides agree."""
    count = draw(st.integers(least, 6))
    hedge = draw(st.booleans())
    orders, positions, there = [], [], []
    for number in range(count):
        side = draw(st.sampled_from(list(TradeSide)))
        size = draw(st.integers(1, 10**6))
        working = draw(st.booleans())
        if working:
            filled = draw(st.integers(0, 999))
            orders.append(order(number, filled_e8=filled, side=OrderSide(int(side))))
        positions.append(position(number, side, size, in_flight=working))
        there.append(
            TheirPosition(
                asset=asset(number).replace("-", ""),
                side=OrderSide(int(side)),
                quantity_e8=size,
                entry_price_e10=10**10,
                leverage=1,
            )
        )
    wallet = draw(st.integers(1, 10**24))
    ours = OurView(
        namespace="test",
        epoch=7,
        hedge=hedge,
        orders=tuple(orders),
        positions=tuple(positions),
        money=OurMoney(wallet=wallet, capital=wallet, k_capital=wallet, causes={}),
    )
    theirs = TheirView(
        assets=tuple(asset(n) for n in range(count)),
        open_orders=tuple(draw(st.permutations([mirrored(o) for o in orders]))),
        looked_up=(),
        positions=tuple(draw(st.permutations(there))),
        wallet=wallet,
        available_margin=wallet,
    )
    return Sides(ours, theirs)


def position(number: int, side: TradeSide, size_e8: int, **changes: Any) -> OurPosition:
    made = OurPosition(
        slot_id=number,
        trade_id=f"T{number}",
        asset=asset(number),
        side=side,
        size_e8=size_e8,
        in_flight=False,
        in_doubt=False,
    )
    return replace(made, **changes)


def at_rest(sides: Sides) -> Sides:
    """The same without working orders."""
    positions = tuple(replace(p, in_flight=False) for p in sides.ours.positions)
    return Sides(
        replace(sides.ours, orders=(), positions=positions),
        replace(sides.theirs, open_orders=(), looked_up=()),
    )


@given(agreeing())
def test_equal_views_have_no_difference(sides: Sides) -> None:
    """Whatever order the answers came in, and however symbols and ids are spelled."""
    found = sides.compared()
    assert found.differences == ()
    assert found.difference == 0
    assert plan_of(sides.ours, sides.theirs, found, NOW).steps == ()


# -- one order differs -----------------------------------------------------------------------------

OPEN = "the exchange lists it"
LOOKED_UP = "the exchange has it, not working"
UNKNOWN = "the exchange does not know it"

ORDER_CASES: list[tuple[Cause, dict[str, Any], str, dict[str, Any]]] = [
    (Cause.UNANSWERED, {"status": Status.REQUESTED, "venue_order_id": ""}, UNKNOWN, {}),
    (Cause.UNANSWERED, {"status": Status.UNKNOWN}, UNKNOWN, {}),
    (
        Cause.FOUND,
        {"status": Status.UNKNOWN, "venue_order_id": ""},
        OPEN,
        {"status": Status.WORKING},
    ),
    (Cause.FOUND, {"status": Status.REQUESTED}, OPEN, {"status": Status.WORKING}),
    (Cause.LOST, {}, UNKNOWN, {}),
    (Cause.ENDED, {}, LOOKED_UP, {"status": Status.FILLED, "filled_e8": 1_000}),
    (Cause.ENDED, {"status": Status.UNKNOWN}, LOOKED_UP, {"status": Status.CANCELLED}),
    (Cause.FILL_MISSED, {}, OPEN, {"filled_e8": 1}),
    (Cause.FILL_AHEAD, {"filled_e8": 2}, OPEN, {"filled_e8": 1}),
    (Cause.STILL_WORKS, {"status": Status.CANCELLED}, OPEN, {"status": Status.WORKING}),
    (Cause.REVIVED, {"status": Status.FILLED, "final": True}, OPEN, {"status": Status.WORKING}),
    (Cause.SIZE_CUT, {}, OPEN, {"quantity_e8": 990}),
    (Cause.FINAL_NOT_READ, {"status": Status.FILLED}, LOOKED_UP, {}),
    (Cause.FINAL_NOT_READ, {"status": Status.REJECTED}, UNKNOWN, {}),
]


@given(agreeing())
@pytest.mark.parametrize(("cause", "here", "where", "there"), ORDER_CASES)
def test_one_order_that_differs(
    cause: Cause, here: dict[str, Any], where: str, there: dict[str, Any], sides: Sides
) -> None:
    """Exactly that difference, with its cause and its step, whatever else agrees."""
    extra = order(40, **here)
    seen = mirrored(extra, **there)
    sides.ours = replace(sides.ours, orders=(*sides.ours.orders, extra))
    if where == OPEN:
        sides.theirs = replace(sides.theirs, open_orders=(seen, *sides.theirs.open_orders))
    elif where == LOOKED_UP:
        sides.theirs = replace(sides.theirs, looked_up=(seen,))
    assert sides.causes() == [cause]
    (step,) = plan(sides).steps
    assert step.kind is CURES[cause]
    assert step.order_no == extra.order_no


@given(agreeing())
def test_an_order_that_agrees_about_its_end_is_no_difference(sides: Sides) -> None:
    final = order(40, status=Status.FILLED, final=True, filled_e8=1_000)
    sides.ours = replace(sides.ours, orders=(*sides.ours.orders, final))
    assert sides.causes() == []


@given(agreeing())
@pytest.mark.parametrize(
    ("name", "cause", "kind"),
    [
        ("", Cause.FOREIGN_ORDER, StepKind.WAIT),
        ("x-web-123", Cause.FOREIGN_ORDER, StepKind.WAIT),
        (client(77)[:31], Cause.FOREIGN_ORDER, StepKind.WAIT),
        (client(77), Cause.SECOND_KERNEL, StepKind.HOLD),
        (client(77).upper(), Cause.SECOND_KERNEL, StepKind.HOLD),
    ],
)
def test_an_order_that_our_journal_does_not_know(
    name: str, cause: Cause, kind: StepKind, sides: Sides
) -> None:
    """Foreign, and left alone; with an id of our shape it is a second kernel's."""
    stranger = mirrored(order(41), client_order_id=name)
    sides.theirs = replace(sides.theirs, open_orders=(*sides.theirs.open_orders, stranger))
    assert sides.causes() == [cause]
    assert [step.kind for step in plan(sides).steps] == [kind]


# -- one position differs --------------------------------------------------------------------------


def plan(sides: Sides, **changes: Any) -> Plan:
    return plan_of(sides.ours, sides.theirs, sides.compared(), NOW, **changes)


@given(agreeing(least=1), st.data())
@pytest.mark.parametrize(
    ("cause", "changed"),
    [
        (Cause.CLOSED_OUTSIDE, lambda size: 0),
        (Cause.REDUCED_OUTSIDE, lambda size: size - 1),
        (Cause.FOREIGN_EXCESS, lambda size: size + 1),
        (Cause.OPPOSITE, lambda size: -size),
    ],
)
def test_one_position_that_differs(
    cause: Cause, changed: Callable[[int], int], sides: Sides, data: st.DataObject
) -> None:
    """Exactly that difference; with an order in flight it may be on its way, so: wait."""
    sides = at_rest(sides)
    sides.ours = replace(sides.ours, hedge=False)
    which = data.draw(st.integers(0, len(sides.ours.positions) - 1))
    mine = replace(sides.ours.positions[which], size_e8=50)
    new = changed(50)
    there = TheirPosition(
        asset=mine.asset,
        side=OrderSide(int(mine.side) * (1 if new >= 0 else -1)),
        quantity_e8=abs(new),
        entry_price_e10=1,
        leverage=1,
    )
    with_position(sides, which, mine, there)
    assert sides.causes() == [cause]
    (step,) = plan(sides).steps
    assert (step.kind, step.slot_id, step.trade_id) == (CURES[cause], mine.slot_id, mine.trade_id)
    with_position(sides, which, replace(mine, in_flight=True), there)
    assert sides.causes() == [Cause.IN_FLIGHT]
    assert [step.kind for step in plan(sides).steps] == [StepKind.WAIT]


def with_position(sides: Sides, which: int, mine: OurPosition, there: TheirPosition) -> None:
    ours = list(sides.ours.positions)
    ours[which] = mine
    others = [
        p for p in sides.theirs.positions if p.asset.replace("-", "") != mine.asset.replace("-", "")
    ]
    sides.ours = replace(sides.ours, positions=tuple(ours))
    sides.theirs = replace(sides.theirs, positions=(*others, there))


@given(agreeing(least=1))
def test_a_slot_in_doubt_whose_size_agrees(sides: Sides) -> None:
    sides = at_rest(sides)
    first, *rest = sides.ours.positions
    doubted = replace(first, in_doubt=True)
    sides.ours = replace(sides.ours, positions=(doubted, *rest))
    assert sides.causes() == [Cause.IN_DOUBT]
    assert [step.kind for step in plan(sides).steps] == [StepKind.CHECK_SLOT]


STRANGER = TheirPosition(
    asset="XYZ-USDT", side=OrderSide.SELL, quantity_e8=500, entry_price_e10=3 * 10**10, leverage=2
)


@given(agreeing())
def test_a_position_that_is_not_ours_is_noted_or_adopted(sides: Sides) -> None:
    sides.theirs = replace(sides.theirs, positions=(STRANGER, *sides.theirs.positions))
    assert sides.causes() == [Cause.FOREIGN_POSITION]
    assert [step.kind for step in plan(sides).steps] == [StepKind.NOTE_POSITION]
    (step,) = plan(sides, adopt=["xyzusdt"]).steps
    assert (step.kind, step.side, step.quantity_e8) == (StepKind.ADOPT, OrderSide.SELL, 500)
    assert (step.entry_price_e10, step.leverage) == (3 * 10**10, 2)
    with pytest.raises(UsageError, match="nothing to adopt"):
        plan(sides, adopt=["A0-USDT", "XYZ-USDT"])


def test_hedge_mode_compares_each_side_by_itself() -> None:
    """In one-way mode the same numbers are one position."""
    long, short = position(0, TradeSide.LONG, 70), position(1, TradeSide.SHORT, 20)
    ours = OurView(
        namespace="test",
        epoch=1,
        hedge=True,
        orders=(),
        positions=(long, replace(short, asset=long.asset)),
        money=OurMoney(wallet=1, capital=1, k_capital=1, causes={}),
    )
    there = replace(STRANGER, asset=long.asset)
    theirs = TheirView(
        assets=(),
        open_orders=(),
        looked_up=(),
        positions=(
            replace(there, side=OrderSide.BUY, quantity_e8=70),
            replace(there, side=OrderSide.SELL, quantity_e8=20),
        ),
        wallet=1,
        available_margin=1,
    )
    assert compare(ours, theirs).differences == ()
    less = replace(theirs, positions=theirs.positions[:1])
    assert [row.cause for row in compare(ours, less).differences] == [Cause.CLOSED_OUTSIDE]
    one_way = replace(ours, hedge=False)
    net = replace(theirs, positions=(replace(there, side=OrderSide.BUY, quantity_e8=50),))
    assert compare(one_way, net).differences == ()


# -- money -----------------------------------------------------------------------------------------

AMOUNTS = st.integers(-(10**22), 10**22)


@given(
    agreeing(),
    st.dictionaries(st.sampled_from(list(DriftCause)), AMOUNTS.filter(bool), max_size=4),
    AMOUNTS,
    AMOUNTS,
)
def test_the_causes_add_up_to_the_whole_difference(
    sides: Sides, causes: dict[DriftCause, int], late: int, moved: int
) -> None:
    """To the last unit, whatever is settling and however far the wallet has moved."""
    money = sides.ours.money
    k = money.capital - sum(causes.values()) - late
    sides.ours = replace(sides.ours, money=replace(money, k_capital=k, causes=causes))
    sides.theirs = replace(sides.theirs, wallet=money.capital + moved)
    found = sides.compared()
    assert sum(row.amount for row in found.rows) == found.difference == sides.theirs.wallet - k


@given(agreeing(), AMOUNTS.filter(bool))
@pytest.mark.parametrize("drift", list(DriftCause))
def test_each_cause_of_drift_is_named(drift: DriftCause, sides: Sides, amount: int) -> None:
    money = sides.ours.money
    changed = replace(money, k_capital=money.capital - amount, causes={drift: amount})
    sides.ours = replace(sides.ours, money=changed)
    expected = [] if drift is DriftCause.ROUNDING else [Cause[drift.name]]
    assert sides.causes() == expected
    assert sides.compared().difference == amount
    kinds = [step.kind for step in plan(sides).steps]
    assert kinds == [CURES[cause] for cause in expected]


@given(agreeing(), AMOUNTS.filter(bool))
def test_a_wallet_that_moved_and_one_that_was_never_seen(sides: Sides, moved: int) -> None:
    sides.theirs = replace(sides.theirs, wallet=sides.theirs.wallet + moved)
    assert sides.causes() == [Cause.WALLET_MOVED]
    sides.ours = replace(sides.ours, money=replace(sides.ours.money, digit=abs(moved) + 1))
    assert sides.causes() == []  # the exchange's own digits are nobody's difference
    empty = OurMoney(wallet=0, capital=0, k_capital=0, causes={})
    sides.ours = replace(sides.ours, money=empty)
    if sides.theirs.wallet:
        assert sides.causes() == [Cause.NOT_SEEDED]
        assert [step.kind for step in plan(sides).steps] == [StepKind.TAKE_BALANCE]


@given(agreeing(), st.integers(1, 10**20), st.data())
def test_a_flow_that_the_wallet_holds_by_now_is_no_difference(
    sides: Sides, flow: int, data: st.DataObject
) -> None:
    """K has taken a flow in, the anchor may not hold it: settling until the wallet moved by it."""
    money = sides.ours.money
    sides.ours = replace(sides.ours, money=replace(money, k_capital=money.k_capital - flow))
    assert sides.causes() == [Cause.SETTLING]
    sides.theirs = replace(sides.theirs, wallet=sides.theirs.wallet - flow)
    assert sides.causes() == []
    part = data.draw(st.integers(1, flow))
    sides.theirs = replace(sides.theirs, wallet=sides.theirs.wallet + part)
    assert sides.causes() == [Cause.SETTLING]
    assert sides.compared().difference == part


@given(agreeing(), st.integers(1, 10**20), st.sampled_from(["pending", "unexplained", "rounding"]))
def test_a_drift_whose_flow_was_booked_since_is_no_difference(
    sides: Sides, flow: int, drift: str
) -> None:
    """The anchor's judgement is older than the booking; together they are nothing."""
    money = sides.ours.money
    causes = {DriftCause(drift): -flow}
    sides.ours = replace(sides.ours, money=replace(money, causes=causes))
    assert sides.compared().difference == 0
    assert sides.causes() == []


# -- plans -----------------------------------------------------------------------------------------


@given(agreeing(least=1), st.randoms(use_true_random=False))
def test_the_plan_does_not_depend_on_the_order_of_answers(sides: Sides, chance: Any) -> None:
    strangers = [mirrored(order(60 + n), client_order_id=f"x{n}") for n in range(3)]
    lost = replace(sides.ours, orders=(*sides.ours.orders, order(50), order(51)))
    sides.ours = lost
    everything = [*sides.theirs.open_orders, *strangers]
    sides.theirs = replace(sides.theirs, open_orders=tuple(everything))
    first = plan(sides)
    chance.shuffle(everything)
    shuffled = list(sides.ours.orders)
    chance.shuffle(shuffled)
    sides.theirs = replace(sides.theirs, open_orders=tuple(everything))
    sides.ours = replace(sides.ours, orders=tuple(shuffled))
    assert plan(sides) == first
    assert msgspec.json.encode(plan(sides)) == msgspec.json.encode(first)


def test_a_plan_holds_first_and_tells_last() -> None:
    """Evidence before positions, positions before money, whatever order they were found in."""
    sides = one_difference()
    second = mirrored(order(9), client_order_id=client(9))
    sides.theirs = replace(sides.theirs, open_orders=(second,), wallet=2 * MONEY_ONE)
    kinds = [step.kind for step in plan(sides).steps]
    assert kinds == [
        StepKind.HOLD, StepKind.QUERY_ORDER, StepKind.NOTE_POSITION, StepKind.TAKE_BALANCE,
    ]  # fmt: skip


def one_difference() -> Sides:
    money = OurMoney(wallet=MONEY_ONE, capital=MONEY_ONE, k_capital=MONEY_ONE, causes={})
    ours = OurView(
        namespace="test", epoch=7, hedge=False, orders=(order(1),), positions=(), money=money
    )
    theirs = TheirView(
        assets=("A1-USDT",),
        open_orders=(),
        looked_up=(),
        positions=(STRANGER,),
        wallet=MONEY_ONE,
        available_margin=MONEY_ONE,
    )
    return Sides(ours, theirs)


def test_a_plan_comes_back_as_it_was_written_and_edited_ones_are_refused() -> None:
    made = plan(one_difference())
    body = msgspec.json.encode(made)
    assert read_plan(body) == made
    for changed in (
        replace(made, steps=made.steps[:1]),
        replace(made, namespace="other"),
        replace(made, version=2),
        replace(made, created_ms=made.created_ms + 1),
    ):
        with pytest.raises(RefusedForSafety):
            read_plan(msgspec.json.encode(changed))
    for junk in (b"", b"{}", b"[1]", b"\xff", b'{"version": "1"}'):
        with pytest.raises(UsageError):
            read_plan(junk)


def test_a_plan_is_applied_only_where_and_when_it_was_made() -> None:
    sides = one_difference()
    made = plan(sides)
    check_plan(made, sides.ours, sides.theirs, NOW + PLAN_MAX_AGE_MS)
    moved = replace(STRANGER, quantity_e8=501)
    for ours, theirs, now, what in (
        (replace(sides.ours, namespace="pink"), sides.theirs, NOW, "another namespace"),
        (replace(sides.ours, epoch=8), sides.theirs, NOW, "another journal epoch"),
        (sides.ours, replace(sides.theirs, wallet=1), NOW, "another exchange's state"),
        (sides.ours, replace(sides.theirs, positions=(moved,)), NOW, "another exchange's state"),
        (sides.ours, replace(sides.theirs, positions=()), NOW, "another exchange's state"),
        (sides.ours, sides.theirs, NOW + PLAN_MAX_AGE_MS + 1_000, "too old"),
        (sides.ours, sides.theirs, NOW - PLAN_MAX_AGE_MS, "too old"),
    ):
        with pytest.raises(RefusedForSafety, match=what):
            check_plan(made, ours, theirs, now)


@given(agreeing(), st.randoms(use_true_random=False))
def test_the_fingerprint_is_of_what_stands_at_the_exchange(sides: Sides, chance: Any) -> None:
    """Not of the order of answers, of margins or marks; but of every order, position and cent."""
    theirs = sides.theirs
    before = fingerprint(theirs)
    orders, positions = list(theirs.open_orders), list(theirs.positions)
    chance.shuffle(orders)
    chance.shuffle(positions)
    same = replace(
        theirs, open_orders=tuple(orders), positions=tuple(positions), available_margin=0
    )
    assert fingerprint(same) == before
    assert fingerprint(replace(theirs, wallet=theirs.wallet + 1)) != before
    assert fingerprint(replace(theirs, positions=(STRANGER, *theirs.positions))) != before
    for number, each in enumerate(orders):
        orders[number] = replace(each, filled_e8=each.filled_e8 + 1)
        assert fingerprint(replace(theirs, open_orders=tuple(orders))) != before
        orders[number] = each


def test_flat_means_here_and_there() -> None:
    sides = one_difference()
    flat_there = replace(sides.theirs, positions=())
    flat_here = replace(sides.ours, orders=())
    check_flat(flat_here, flat_there)
    with pytest.raises(RefusedForSafety, match="here"):
        check_flat(sides.ours, flat_there)
    with pytest.raises(RefusedForSafety, match="at the exchange"):
        check_flat(flat_here, sides.theirs)
    held = replace(flat_here, positions=(position(0, TradeSide.LONG, 1),))
    with pytest.raises(RefusedForSafety, match="here"):
        check_flat(held, flat_there)


# -- convergence -----------------------------------------------------------------------------------


def done(sides: Sides, kind: StepKind, step: Any) -> None:
    """What a step's evidence makes of our view, in the plainest model of it."""
    ours, theirs = sides.ours, sides.theirs
    if kind in (StepKind.QUERY_ORDER, StepKind.FINALISE):
        answer = {o.venue_order_id: o for o in (*theirs.looked_up, *theirs.open_orders)}
        kept = [o for o in ours.orders if o.order_no != step.order_no]
        mine = next(o for o in ours.orders if o.order_no == step.order_no)
        found = answer.get(mine.venue_order_id)
        if found is not None and found.status not in ENDED_STATUSES:
            kept.append(replace(mine, status=found.status, filled_e8=found.filled_e8))
        sides.ours = replace(ours, orders=tuple(kept))
    elif kind in (StepKind.BOOK_OUTSIDE, StepKind.CHECK_SLOT):
        there = {p.asset.replace("-", ""): p.quantity_e8 for p in theirs.positions}
        sides.ours = replace(
            ours,
            positions=tuple(
                replace(p, size_e8=there.get(p.asset.replace("-", ""), 0), in_doubt=False)
                if p.slot_id == step.slot_id
                else p
                for p in ours.positions
            ),
        )
    elif kind is StepKind.TAKE_BALANCE:
        money = replace(ours.money, wallet=theirs.wallet, capital=theirs.wallet)
        causes = {**money.causes}
        causes[DriftCause.PENDING] = theirs.wallet - ours.money.k_capital - sum(causes.values())
        sides.ours = replace(ours, money=replace(money, causes=causes))


@given(agreeing(least=1), st.data())
def test_applying_plans_converges(sides: Sides, data: st.DataObject) -> None:
    """After at most two plans only what nobody but a person or time can settle is left."""
    sides = at_rest(sides)
    sides.ours = replace(sides.ours, hedge=False)
    mutate(sides, data)
    for _ in range(2):
        for step in plan(sides).to_do:
            done(sides, step.kind, step)
    for row in sides.compared().differences:
        assert row.cause is not None
        left = CURES[row.cause]
        assert left in (StepKind.WAIT, StepKind.ANCHOR, StepKind.HOLD, StepKind.NOTE_POSITION)


def mutate(sides: Sides, data: st.DataObject) -> None:
    """Several things go wrong at once."""
    for _ in range(data.draw(st.integers(1, 5))):
        what = data.draw(
            st.sampled_from(["lost", "ended", "closed", "doubt", "wallet", "stranger"])
        )
        number = data.draw(st.integers(0, len(sides.ours.positions) - 1))
        first = sides.ours.positions[number]
        serial = 100 + len(sides.ours.orders) + len(sides.theirs.open_orders)
        if what in ("lost", "ended"):
            extra = order(serial)
            sides.ours = replace(sides.ours, orders=(*sides.ours.orders, extra))
            if what == "ended":
                seen = mirrored(extra, status=Status.CANCELLED)
                sides.theirs = replace(sides.theirs, looked_up=(*sides.theirs.looked_up, seen))
        elif what == "stranger":
            odd = mirrored(order(serial), client_order_id="")
            sides.theirs = replace(sides.theirs, open_orders=(*sides.theirs.open_orders, odd))
        elif what == "wallet":
            more = data.draw(st.integers(1, 10**20))
            sides.theirs = replace(sides.theirs, wallet=sides.theirs.wallet + more)
        elif what == "doubt":
            doubted = replace(first, in_doubt=True)
            everyone = list(sides.ours.positions)
            everyone[number] = doubted
            sides.ours = replace(sides.ours, positions=tuple(everyone))
        else:
            key = first.asset.replace("-", "")
            left = tuple(p for p in sides.theirs.positions if p.asset != key)
            sides.theirs = replace(sides.theirs, positions=left)


def test_every_cause_has_a_step_and_words() -> None:
    assert set(CURES) == set(Cause)


@pytest.mark.parametrize("cause", list(Cause))
def test_what_nobody_has_to_settle_is_a_remark(cause: Cause) -> None:
    """Explained, and settled by time or not ours; whatever is doubtful stays a difference."""
    row = Row(level=Level.MONEY, asset="", name="", ours="", theirs="1", cause=cause)
    found = Comparison(rows=(row,), difference=1)
    remarks = {
        Cause.SIZE_CUT, Cause.FOREIGN_ORDER, Cause.PENDING_FEE, Cause.FUNDING_UNREAD,
        Cause.TRANSFER_UNREAD, Cause.ROUNDING,
    }  # fmt: skip
    assert found.to_settle == (() if cause in remarks else (row,))
    assert found.differences == (() if cause is Cause.ROUNDING else (row,))
