"""Exact integers as BingX writes them: fixed decimals, bare numbers, and its two kinds of time.

The only place of the wire that rounds, half-even, and only what is shown. Knows no field names.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Final

import msgspec

from dita.exchange.wire.answers import number
from dita.units import (
    MONEY_DIGITS,
    PRICE_DIGITS,
    QUANTITY_DIGITS,
    RATIO_DIGITS,
    format_price,
    format_quantity,
    format_ratio,
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UTC8: Final = timezone(timedelta(hours=8))


def fixed(scaled: int, digits: int, places: int) -> str:
    """An integer of 10^-digits with exactly so many decimals, half-even; never "-0.00"."""
    if places < digits:
        power = 10 ** (digits - places)
        scaled, rest = divmod(scaled, power)
        if 2 * rest > power or (2 * rest == power and scaled % 2):
            scaled += 1
    else:
        scaled *= 10 ** (places - digits)
    sign = "-" if scaled < 0 else ""
    if not places:
        return f"{sign}{abs(scaled)}"
    figures = str(abs(scaled)).zfill(places + 1)
    return f"{sign}{figures[:-places]}.{figures[-places:]}"


def price(price_e10: int, places: int = 8) -> str:
    """A price with so many decimals."""
    return fixed(price_e10, PRICE_DIGITS, places)


def quantity(quantity_e8: int, places: int = 8) -> str:
    """A quantity with so many decimals."""
    return fixed(quantity_e8, QUANTITY_DIGITS, places)


def money(money_e18: int, places: int = 4) -> str:
    """Money with so many decimals."""
    return fixed(money_e18, MONEY_DIGITS, places)


def ratio(ratio_e9: int, places: int = 4) -> str:
    """A rate or ratio with so many decimals."""
    return fixed(ratio_e9, RATIO_DIGITS, places)


def bare_price(price_e10: int) -> msgspec.Raw:
    """A price as a JSON number."""
    return number(format_price(price_e10))


def bare_quantity(quantity_e8: int) -> msgspec.Raw:
    """A quantity as a JSON number."""
    return number(format_quantity(quantity_e8))


def bare_ratio(ratio_e9: int) -> msgspec.Raw:
    """A rate as a JSON number."""
    return number(format_ratio(ratio_e9))


def share(part: int, whole: int, places: int = 4) -> str:
    """One amount of money as a share of another; 0 where there is no whole."""
    return ratio(part * 10**RATIO_DIGITS // whole if whole else 0, places)


def whole_seconds_ms(time_ms: int) -> int:
    """Milliseconds with the thousandths cut off, as order history has them (dossier §2.3)."""
    return time_ms - time_ms % 1_000


def utc8_marked_z(time_ms: int) -> str:
    """``filledTm``: the wall clock of UTC+8 with a Z that is wrong (dossier §2.3)."""
    return f"{_in_utc8(time_ms):%Y-%m-%dT%H:%M:%S}Z"


def utc8(time_ms: int) -> str:
    """``filledTime``: the same moment with its true offset, in whole seconds."""
    return f"{_in_utc8(time_ms):%Y-%m-%dT%H:%M:%S}.000+0800"


def _in_utc8(time_ms: int) -> datetime:
    return (_EPOCH + timedelta(milliseconds=time_ms)).astimezone(_UTC8)
