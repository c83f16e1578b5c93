"""How figures and times are written for people: rounded, in few characters, and always UTC.

Commands, the log and the alerts call this, so that one figure looks the same everywhere.  It takes
the integers of ``units`` and rounds half to even; whoever needs every digit uses ``units`` itself.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from dita.units import MONEY_DIGITS, PRICE_DIGITS, PRICE_ONE, format_quantity

#: Digits that a price below 1 keeps behind its leading zeros.
PRICE_FIGURES: Final = 5
#: Decimals of a price of 1 or more, and the fewest of any price in a table.
PRICE_PLACES: Final = 4

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000


# -- figures ---------------------------------------------------------------------------------------


def money(amount: int, places: int = 2, *, sign: bool = False) -> str:
    """An amount of 10^-18 with so many places and separators; a loss never loses its minus."""
    shown = _rounded(abs(amount), MONEY_DIGITS, places)
    if amount < 0:
        return f"-{shown}"
    return f"+{shown}" if sign and amount else shown


def gain(amount: int, places: int = 2) -> str:
    """A gain or a loss with its sign, and a zero without one."""
    return money(amount, places, sign=True)


def amount(value: int, *, sign: bool = False) -> str:
    """An amount in a sentence: cents from 1 on, four places below."""
    return money(value, 2 if abs(value) >= 10**MONEY_DIGITS or not value else 4, sign=sign)


def adding_up(total: int, *parts: int) -> int:
    """With how many places a sum and its parts add up as shown: 2, or as many more as it takes."""
    for places in (2, 4, 6, 8):
        unit = 10 ** (MONEY_DIGITS - places)
        if _units(total, unit) == sum(_units(part, unit) for part in parts):
            return places
    return MONEY_DIGITS


def _units(value: int, unit: int) -> int:
    units, rest = divmod(abs(value), unit)
    if 2 * rest > unit or (2 * rest == unit and units % 2):
        units += 1
    return units if value >= 0 else -units


def price(price_e10: int, *, least_places: int = 0) -> str:
    """A price; a small one keeps its digits (0.000012346), zeros at the end go."""
    if price_e10 >= PRICE_ONE:
        places = PRICE_PLACES
    else:
        zeros = PRICE_DIGITS - len(str(price_e10)) if price_e10 else 0
        places = min(PRICE_DIGITS, zeros + PRICE_FIGURES)
    whole, _, part = _rounded(price_e10, PRICE_DIGITS, places).partition(".")
    part = part.rstrip("0").ljust(least_places, "0")
    return f"{whole}.{part}" if part else whole


def quantity(quantity_e8: int) -> str:
    """A quantity with every digit that it has, and separators."""
    whole, _, part = format_quantity(abs(quantity_e8)).partition(".")
    return f"{'-' if quantity_e8 < 0 else ''}{int(whole):,}{f'.{part}' if part else ''}"


def _rounded(value: int, digits: int, places: int) -> str:
    """A value that is not negative, in 10^-digits, rounded half to even, with separators."""
    whole, part = divmod(_units(value, 10 ** (digits - places)), 10**places)
    return f"{whole:,}.{part:0{places}d}" if places else f"{whole:,}"


# -- times -----------------------------------------------------------------------------------------


def utc(at_ms: int) -> str:
    """Date and time to the second, in UTC; a dash for 0, a time that is not known."""
    return "–" if at_ms == 0 else _moment(at_ms).strftime("%Y-%m-%d %H:%M:%S")


def stamp(at_ms: int) -> str:
    """ISO 8601 to the millisecond, in UTC: sorts as text and is read by every program."""
    return f"{_moment(at_ms).strftime('%Y-%m-%dT%H:%M:%S')}.{at_ms % _SECOND:03d}Z"


def clock(at_ms: int) -> str:
    """The time of the day to the second, in UTC."""
    return _moment(at_ms).strftime("%H:%M:%S")


def day(at_ms: int) -> str:
    """The day, in UTC."""
    return _moment(at_ms).strftime("%Y-%m-%d")


def duration(milliseconds: int) -> str:
    """How long: 13 ms, 2.4 s, 12 s, 26 min, 3 h 05 min, 2 d 04 h."""
    if milliseconds < _SECOND:
        return f"{milliseconds} ms"
    if milliseconds < 10 * _SECOND:
        return f"{milliseconds // _SECOND}.{milliseconds % _SECOND // 100} s"
    if milliseconds < 2 * _MINUTE:
        return f"{milliseconds // _SECOND} s"
    if milliseconds < _HOUR:
        return f"{milliseconds // _MINUTE} min"
    if milliseconds < _DAY:
        return f"{milliseconds // _HOUR} h {milliseconds % _HOUR // _MINUTE:02d} min"
    return f"{milliseconds // _DAY} d {milliseconds % _DAY // _HOUR:02d} h"


def _moment(at_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=at_ms)
