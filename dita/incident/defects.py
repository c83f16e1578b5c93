"""The defective system of 2026-06-11, emulated: what it booked for a trade, defect by defect.

`pink-ctl replay` puts these figures beside those of the kernel.  Three old defects can be switched
on one by one: the order's protective bound taken for the fill price, leverage multiplied into PnL,
and the settle baseline lost at a restart.  This is a model of mistakes for comparison only: nothing
of it is reached by the kernel, and it knows neither kernel, files nor time.

Source: accounting fix §0.
"""

from __future__ import annotations

from enum import Flag
from typing import Final

from dita.contracts import OrderRole, Record, TradeSide
from dita.units import money_of

__all__ = ["ALL", "NONE", "REMEDIES", "Booking", "Defect", "Fall", "Fill", "book", "waterfall"]


class Defect(Flag):
    """What was wrong, in the order of the incident report."""

    BOUND_PRICE = 1
    LEVERAGE = 2
    RESETTLED = 4


NONE: Final = Defect(0)
ALL: Final = Defect.BOUND_PRICE | Defect.LEVERAGE | Defect.RESETTLED

#: What each defect did, and why this kernel cannot do it.
REMEDIES: Final[dict[Defect, tuple[str, str]]] = {
    Defect.BOUND_PRICE: (
        "price bound taken for the fill price",
        "A fill price is true or it is 0: a fill has no field for the order's own price, and "
        "without a price the leg books 0, is flagged, and waits for the exchange's figure.",
    ),
    Defect.LEVERAGE: (
        "leverage multiplied into PnL",
        "PnL is proceeds minus cost of exchange quantities; leverage is no term of it and touches "
        "the margin only.",
    ),
    Defect.RESETTLED: (
        "carried PnL settled at restart",
        "What is settled is the difference to a baseline that is part of the saved state, so a "
        "restart finds nothing left to settle.",
    ),
}


class Fill(Record, frozen=True, kw_only=True):
    """One fill as the exchange made it, with the bound that its frame carried instead (0: none)."""

    role: OrderRole
    quantity_e8: int
    price_e10: int
    bound_e10: int = 0
    after_restart: bool = False


class Booking(Record, frozen=True, kw_only=True):
    """One settlement of the defective system.  ``fill`` counts from 0; a re-settlement has none."""

    fill: int | None
    amount: int


class Fall(Record, frozen=True, kw_only=True):
    """One step from the true figure to the wrong one."""

    defect: Defect
    alone: int  # how far it moves the true figure by itself
    change: int  # how far it moves the figure with the defects before it
    total: int  # what is booked with it and the defects before it


def book(
    side: TradeSide, leverage: int, fills: tuple[Fill, ...], defects: Defect
) -> tuple[Booking, ...]:
    """What is settled to capital, in order, with these defects and no others."""
    cost = entered = realized = settled = 0
    bookings: list[Booking] = []
    for number, fill in enumerate(fills):
        if fill.after_restart and defects & Defect.RESETTLED and realized:
            # The baseline is 0 again and the slot is adopted with its carried PnL.
            bookings.append(Booking(fill=None, amount=realized))
            settled = realized
        if fill.role is OrderRole.ENTRY:
            cost += money_of(fill.price_e10, fill.quantity_e8)
            entered += fill.quantity_e8
            continue
        price = fill.price_e10
        if defects & Defect.BOUND_PRICE and fill.bound_e10:
            price = fill.bound_e10
        times = leverage if defects & Defect.LEVERAGE else 1
        basis = cost * fill.quantity_e8 // entered
        realized += side * times * (money_of(price, fill.quantity_e8) - basis)
        bookings.append(Booking(fill=number, amount=realized - settled))
        settled = realized
    return tuple(bookings)


def total(bookings: tuple[Booking, ...]) -> int:
    """Everything that was settled."""
    return sum(booking.amount for booking in bookings)


def waterfall(side: TradeSide, leverage: int, fills: tuple[Fill, ...]) -> tuple[Fall, ...]:
    """From the true figure to the wrong one: each defect alone, and on top of those before it."""
    true = total(book(side, leverage, fills, NONE))
    falls: list[Fall] = []
    active, before = NONE, true
    for defect in Defect:
        active |= defect
        after = total(book(side, leverage, fills, active))
        alone = total(book(side, leverage, fills, defect)) - true
        falls.append(Fall(defect=defect, alone=alone, change=after - before, total=after))
        before = after
    return tuple(falls)
