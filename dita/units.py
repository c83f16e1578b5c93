"""Fixed-point scales: text and Decimal outside, exact integers inside, nothing rounded on the way.

Everything that crosses the border calls this: venue adapters, settings, the command line and
the rows. It must not know what the numbers are for, and it contains no float.

    unit        one is    smallest   least        most               fits
    price       10**10    10**-10    0            2**63 - 1          signed 64 bit
    quantity    10**8     10**-8     0            2**63 - 1          signed 64 bit
    money       10**18    10**-18    -(10**38)    10**38             signed 128 bit
    ratio       10**9     10**-9     1            10**9 (that is 1)  signed 64 bit

The digits of price and quantity add up to those of money, so price times quantity is money
exactly, and the largest such product, (2**63 - 1)**2, is below MONEY_MAX: a product of two
values that were let in cannot overflow.

Nearly all that comes is plain text such as "123.45": the compiled `plain_...` read it, and leave
whatever is odd to the strict parser here.

A parser takes `str`, `Decimal` or an exact `int` of whole units (`parse_price(2)` is 2 * 10**10)
and either gives the exact value or raises UnitError. It never rounds and never guesses.

Source: accounting fix §0.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias

from dita._digits import plain_money, plain_price, plain_quantity, plain_ratio
from dita.errors import UnitError, shown

__all__ = [
    "CONVICTION_RULE",
    "MONEY_DIGITS",
    "MONEY_MAX",
    "MONEY_ONE",
    "PRICE_DIGITS",
    "PRICE_MAX",
    "PRICE_ONE",
    "QUANTITY_DIGITS",
    "QUANTITY_MAX",
    "QUANTITY_ONE",
    "RATIO_DIGITS",
    "RATIO_MAX",
    "RATIO_ONE",
    "Number",
    "clamped_conviction",
    "exchange_leverage",
    "floor_to_step",
    "format_money",
    "format_price",
    "format_quantity",
    "format_ratio",
    "money_of",
    "parse_money",
    "parse_price",
    "parse_quantity",
    "parse_ratio",
    "plain_money",
    "plain_price",
    "plain_quantity",
    "plain_ratio",
]

Number: TypeAlias = str | Decimal | int

PRICE_DIGITS: Final = 10
QUANTITY_DIGITS: Final = 8
MONEY_DIGITS: Final = 18
RATIO_DIGITS: Final = 9

PRICE_ONE: Final[int] = 10**PRICE_DIGITS
QUANTITY_ONE: Final[int] = 10**QUANTITY_DIGITS
MONEY_ONE: Final[int] = 10**MONEY_DIGITS
RATIO_ONE: Final[int] = 10**RATIO_DIGITS

PRICE_MAX: Final[int] = 2**63 - 1
QUANTITY_MAX: Final[int] = 2**63 - 1
MONEY_MAX: Final[int] = 10**38
RATIO_MAX: Final[int] = RATIO_ONE

# Both bound the work before any arithmetic is done: the largest power ever computed is
# 10**(64 + 64), and an exponent such as 1e400 or 1e-400 is refused by looking at it.
_TEXT_MAX: Final = 64
_EXPONENT_MAX: Final = 64

# A formatter shows whatever we hold, also sums beyond the limits of a parser; this only keeps
# out ints so large that CPython itself refuses to print them.
_FORMAT_BITS_MAX: Final = 256

_NUMBER: Final = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]+))?")
_NOT_FINITE: Final = ("nan", "snan", "inf")

_ACTION_TEXT: Final = 'pass the original decimal text, such as "12.5"; never a float'
_ACTION_ROUND: Final = "round it on purpose before passing it on"
_ACTION_RANGE: Final = "check the value and its unit"


@dataclass(frozen=True, slots=True)
class _Unit:
    """One row of the table above, and the words to refuse with."""

    name: str
    digits: int
    least: int
    most: int

    def refusal(self, field: str, value: object, reason: str, action: str) -> UnitError:
        least, most = _format(self.least, self.digits), _format(self.most, self.digits)
        expected = f"a {self.name} from {least} to {most} with at most {self.digits} decimals"
        return _refusal(field, value, expected, reason, action)


_PRICE: Final = _Unit("price", PRICE_DIGITS, 0, PRICE_MAX)
_QUANTITY: Final = _Unit("quantity", QUANTITY_DIGITS, 0, QUANTITY_MAX)
_MONEY: Final = _Unit("money", MONEY_DIGITS, -MONEY_MAX, MONEY_MAX)
_RATIO: Final = _Unit("ratio", RATIO_DIGITS, 1, RATIO_MAX)


# -- OUTSIDE TO INSIDE --------------------------------------------------------------------------


def parse_price(value: Number, *, field: str = "price") -> int:
    """Give the price in units of 10**-10; at least 0."""
    scaled = plain_price(value)
    return scaled if scaled >= 0 else _parse(value, _PRICE, field)


def parse_quantity(value: Number, *, field: str = "quantity") -> int:
    """Give the quantity in units of 10**-8; at least 0, as the side is not part of it."""
    scaled = plain_quantity(value)
    return scaled if scaled >= 0 else _parse(value, _QUANTITY, field)


def parse_money(value: Number, *, field: str = "money") -> int:
    """Give the money in units of 10**-18; signed."""
    scaled = plain_money(value)
    return scaled if scaled is not None else _parse(value, _MONEY, field)


def parse_ratio(value: Number, *, field: str = "ratio") -> int:
    """Give the ratio in units of 10**-9; above 0 and at most 1."""
    scaled = plain_ratio(value)
    return scaled if 0 < scaled <= RATIO_MAX else _parse(value, _RATIO, field)


def _parse(value: object, unit: _Unit, field: str) -> int:
    """Read anything that is allowed, exactly, or refuse it with the reason."""
    number = _number(value)
    if isinstance(number, str):
        raise unit.refusal(field, value, number, _ACTION_TEXT)
    coefficient, exponent = number
    shift = unit.digits + exponent
    power: int = 10 ** abs(shift)
    if shift >= 0:
        scaled = coefficient * power
    else:
        scaled, rest = divmod(coefficient, power)
        if rest:
            raise unit.refusal(field, value, "too many decimals", _ACTION_ROUND)
    if not unit.least <= scaled <= unit.most:
        raise unit.refusal(field, value, "out of range", _ACTION_RANGE)
    return scaled


def _number(value: object) -> tuple[int, int] | str:
    """Give (coefficient, power of ten) of the value, or the reason why it is not a number."""
    # Exact types only: True is an int, and a subclass may compare or print as it likes.
    if type(value) is int:
        return value, 0
    if type(value) is Decimal:
        # Its text is exact in every context, and makes one grammar and one limit serve both.
        return _number_of_text(str(value))
    if type(value) is str:
        return _number_of_text(value)
    return f"{type(value).__name__} instead of str, Decimal or exact int"


def _number_of_text(text: str) -> tuple[int, int] | str:
    if len(text) > _TEXT_MAX:
        return f"{len(text)} characters, at most {_TEXT_MAX} are read"
    match = _NUMBER.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        return _why_not(text)
    fraction = match[3] or ""
    exponent = int(match[4] or "0")
    if abs(exponent) > _EXPONENT_MAX:
        return f"exponent beyond {_EXPONENT_MAX}"
    coefficient = int(match[2] + fraction)
    return -coefficient if match[1] == "-" else coefficient, exponent - len(fraction)


def _why_not(text: str) -> str:
    if not text:
        return "empty"
    if not text.isascii():
        return "not plain ASCII"
    if text.lower().lstrip("+-").startswith(_NOT_FINITE):
        return "not finite"
    return "not a decimal number"


def _refusal(field: str, value: object, expected: str, reason: str, action: str) -> UnitError:
    """Build the error; the caller raises it, so that the traceback ends where it was refused."""
    found = f"{shown(value)} ({reason})"
    return UnitError(f"{field} refused", expected=expected, found=found, action=action)


# -- INSIDE TO OUTSIDE --------------------------------------------------------------------------


def format_price(price_e10: int) -> str:
    """Write a price exactly: no exponent, no trailing zeros. Differences may be negative."""
    return _format(price_e10, PRICE_DIGITS)


def format_quantity(quantity_e8: int) -> str:
    """Write a quantity exactly: no exponent, no trailing zeros. Signed positions are fine."""
    return _format(quantity_e8, QUANTITY_DIGITS)


def format_money(money_e18: int, places: int | None = None) -> str:
    """Write money exactly: no exponent, no trailing zeros, never "-0".

    With `places` (0 to 18) it is rounded half-even to exactly that many decimals, FOR DISPLAY
    ONLY: such a text must not be stored, compared or parsed again.
    """
    if places is None:
        return _format(money_e18, MONEY_DIGITS)
    _exact(places, 0, MONEY_DIGITS, "places")
    _formattable(money_e18)
    rounded = _divide_half_even(money_e18, 10 ** (MONEY_DIGITS - places))
    return _fixed(rounded, places)


def format_ratio(ratio_e9: int) -> str:
    """Write a ratio exactly: no exponent, no trailing zeros."""
    return _format(ratio_e9, RATIO_DIGITS)


def _format(scaled: int, digits: int) -> str:
    _formattable(scaled)
    text = _fixed(scaled, digits)
    return text.rstrip("0").rstrip(".")


def _fixed(scaled: int, digits: int) -> str:
    """Write with exactly `digits` decimals; the sign comes from the int, so 0 has none."""
    sign = "-" if scaled < 0 else ""
    figures = str(abs(scaled)).zfill(digits + 1)
    if digits == 0:
        return sign + figures
    return f"{sign}{figures[:-digits]}.{figures[-digits:]}"


def _formattable(scaled: int) -> None:
    if type(scaled) is not int or scaled.bit_length() > _FORMAT_BITS_MAX:
        expected = f"an exact int of at most {_FORMAT_BITS_MAX} bits"
        raise _refusal("scaled value", scaled, expected, type(scaled).__name__, _ACTION_RANGE)


# -- ARITHMETIC ---------------------------------------------------------------------------------


def money_of(price_e10: int, quantity_e8: int) -> int:
    """Give price times quantity, exactly, in money. Either may be negative (a difference)."""
    _exact(price_e10, -PRICE_MAX, PRICE_MAX, "price_e10")
    _exact(quantity_e8, -QUANTITY_MAX, QUANTITY_MAX, "quantity_e8")
    return price_e10 * quantity_e8


def floor_to_step(quantity_e8: int, step_e8: int) -> int:
    """Give the largest multiple of the step that is not above the quantity."""
    # A negative quantity has no floor we could mean: toward zero and away from it both lie.
    _exact(quantity_e8, 0, QUANTITY_MAX, "quantity_e8")
    _exact(step_e8, 1, QUANTITY_MAX, "step_e8")
    return quantity_e8 - quantity_e8 % step_e8


def _exact(value: int, least: int, most: int, field: str) -> None:
    if type(value) is not int:
        reason = f"{type(value).__name__} instead of exact int"
    elif not least <= value <= most:
        reason = "out of range"
    else:
        return
    expected = f"an exact int from {least} to {most}"
    raise _refusal(field, value, expected, reason, _ACTION_RANGE)


def _divide_half_even(numerator: int, denominator: int) -> int:
    """Divide by a positive denominator; exactly half goes to the even neighbour."""
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    # divmod floors, so the rest is never negative and up is always the other neighbour.
    up = twice > denominator or (twice == denominator and quotient % 2 == 1)
    return quotient + 1 if up else quotient


# -- CONVICTION ---------------------------------------------------------------------------------

CONVICTION_RULE: Final = "round_half_even_linear_0.5_to_9.0_to_1_to_exchange_cap"

_CAP_MAX: Final = 125


def clamped_conviction(conviction: Number) -> tuple[int, int]:
    """Give a conviction as an exact fraction, clamped to 0.5 to 9.0, whatever it was meant to be.

    What is no finite decimal number is refused with UnitError.
    """
    number = _number(conviction)
    if isinstance(number, str):
        expected = "a finite decimal number, clamped to 0.5 to 9.0"
        raise _refusal("conviction", conviction, expected, number, _ACTION_TEXT)
    coefficient, exponent = number
    one = 10 ** max(-exponent, 0)
    twice = 2 * coefficient * 10 ** max(exponent, 0)
    return min(max(twice, one), 18 * one), 2 * one


def exchange_leverage(conviction: Number, cap: int = 3) -> int:
    """Map a conviction onto the exchange leverage, by CONVICTION_RULE; the result is 1 to `cap`.

    The conviction c is clamped to 0.5 to 9.0; x = 1 + (c - 0.5) / 8.5 * (cap - 1) is rounded
    half-even, exactly. With cap 3: 0.5 gives 1; 2.625 (x = 1.5) gives 2; 6.875 (x = 2.5) gives
    2; 9 gives 3. Leverage touches margin only: this never changes a quantity.
    """
    _exact(cap, 1, _CAP_MAX, "cap")
    twice, two = clamped_conviction(conviction)
    one = two // 2
    # Doubled, 0.5 and 8.5 are the whole numbers 1 and 17: x = (17 + (2c - 1) * (cap - 1)) / 17.
    return _divide_half_even(17 * one + (twice - one) * (cap - 1), 17 * one)
