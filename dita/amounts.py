"""Decimal amounts as people and exchanges write them, for the makers in ``intents`` and ``events``.

The same as the parsers of ``units``, except that an int is refused: whoever has one most likely has
a scaled integer of ours, and 10^16 taken for whole units would be a disaster.  It knows no records.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TypeAlias

from dita.errors import UnitError, shown
from dita.units import parse_money, parse_price, parse_quantity, parse_ratio

#: "12.5" or Decimal("12.5"); exact, never a float.
Amount: TypeAlias = str | Decimal


def price(value: Amount, field: str) -> int:
    """A price in 10^-10.  UnitError, as from the others here."""
    return parse_price(_written(value, field), field=field)


def quantity(value: Amount, field: str) -> int:
    """A quantity in 10^-8."""
    return parse_quantity(_written(value, field), field=field)


def money(value: Amount, field: str) -> int:
    """Money in 10^-18; signed."""
    return parse_money(_written(value, field), field=field)


def money_if(value: Amount | None, field: str) -> int | None:
    """Money in 10^-18; None stays None, "not said"."""
    return None if value is None else money(value, field)


def ratio(value: Amount, field: str) -> int:
    """A share in 10^-9, above 0 and at most 1."""
    return parse_ratio(_written(value, field), field=field)


def fee_rate(value: Amount, field: str) -> int:
    """A fee rate in 10^-9, from 0 up."""
    return ratio(value, field) if money(value, field) else 0


def _written(value: object, field: str) -> Amount:
    if isinstance(value, str | Decimal):
        return value
    raise UnitError(
        f"{field} refused",
        expected='decimal text such as "12.5", or a Decimal',
        found=f"{shown(value)} ({type(value).__name__})",
        action="write it as text; units.format_... makes text of a scaled integer",
    )
