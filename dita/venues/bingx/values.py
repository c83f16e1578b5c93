"""What BingX puts on the wire, made exact: decoding, and every reading of a single value.

Numbers come quoted or bare and ids beyond 2^53 come as both; all of them stay text (or int) until
one of the readers here turns them into a scaled integer, so no float ever exists.  What cannot be
read raises UnreadableValue.  Replies are in ``rest.models``, frames in ``stream.messages``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from dita.contracts import OrderSide, OrderType, PositionSide, VenueOrderStatus
from dita.errors import UnitError, VenueError, shown
from dita.units import (
    PRICE_MAX,
    parse_money,
    parse_price,
    parse_quantity,
    parse_ratio,
    plain_money,
    plain_price,
    plain_quantity,
)

T = TypeVar("T")
U = TypeVar("U")

#: A number as it came: text, an int, a Literal, or nothing ("" and null).  Declared as Any because
#: msgspec hands a bare 1.10 to the float hook only there; in any narrower type it makes a float.
Digits: TypeAlias = Any

#: Nothing that is read is larger: a list of 1000 orders is about 1 MB.
REPLY_BYTES_MAX: Final = 8 * 1024 * 1024
TIME_MAX_MS: Final = 1 << 52
ID_MAX: Final = 64  # what the kernel takes
_TEXT_MAX: Final = 64


class UnreadableValue(VenueError, ValueError):
    """The venue said something that cannot be read.  It is never a rejection and never "none"."""


class Literal(str):
    """A bare JSON number with a point or an exponent: its digits as they stood on the wire."""

    __slots__ = ()


def decoder(of: type[T]) -> msgspec.json.Decoder[T]:
    """A decoder that keeps the digits of bare numbers."""
    return msgspec.json.Decoder(of, float_hook=Literal)


def either(one: type[T], other: type[U]) -> msgspec.json.Decoder[T | U]:
    """The same for what is one of two shapes."""
    return msgspec.json.Decoder(one | other, float_hook=Literal)


def decode(by: msgspec.json.Decoder[T], payload: bytes | memoryview | msgspec.Raw | str) -> T:
    """Decode; UnreadableValue: malformed, another shape, nested too deep, not UTF-8, too large."""
    size = memoryview(payload).nbytes if not isinstance(payload, str) else len(payload)
    if size <= REPLY_BYTES_MAX:
        try:
            return by.decode(payload)
        except (ValueError, RecursionError) as error:  # msgspec's own errors are ValueErrors
            reason = str(error)
            raise _unreadable_message(size, reason) from error
    raise _unreadable_message(size, "too large")


def _unreadable_message(size: int, reason: str) -> UnreadableValue:
    # The payload itself is not shown: it may hold a listen key.
    return UnreadableValue(
        "message cannot be read",
        expected=f"JSON of the documented shape, at most {REPLY_BYTES_MAX} bytes",
        found=f"{size} bytes ({reason})",
    )


def unreadable(field: str, found: object, expected: str, because: str = "") -> UnreadableValue:
    """The error for one value; the caller raises it."""
    text = f"{shown(found)} ({because})" if because else shown(found)
    return UnreadableValue(f"{field} cannot be read", expected=expected, found=text)


# -- numbers ---------------------------------------------------------------------------------------


def read_quantity(value: Digits, field: str = "quantity") -> int:
    """A quantity in 10^-8, at least 0.  UnreadableValue when it is absent, too."""
    scaled = plain_quantity(value)  # whatever is odd goes to the strict parser
    if scaled >= 0:
        return scaled
    try:
        return parse_quantity(_number(value))
    except UnitError as error:
        raise unreadable(field, value, error.expected) from error


def read_price(value: Digits, field: str = "price") -> int:
    """A price in 10^-10; 0 when there is none (absent, empty or zero on the wire)."""
    scaled = plain_price(value)
    if scaled >= 0:
        return scaled
    if is_absent(value):
        return 0
    try:
        return parse_price(_number(value))
    except UnitError as error:
        raise unreadable(field, value, error.expected) from error


def read_average(value: Digits, field: str = "average price") -> int:
    """An average price in 10^-10; 0 when there is none.

    An average is a quotient that the venue has rounded already; one with more than ten decimals is
    rounded half-even to ten.  No money is ever taken from it when fills are known.
    """
    text = value if type(value) is not Literal else str(value)
    if type(text) is str and len(text) < _TEXT_MAX and text.isascii():
        whole, point, decimals = text.partition(".")
        if point and len(decimals) > 10 and (whole + decimals).isdigit():
            scaled, rest = divmod(int(whole + decimals), 10 ** (len(decimals) - 10))
            twice = 2 * rest - 10 ** (len(decimals) - 10)
            scaled += twice > 0 or (twice == 0 and scaled % 2)
            if scaled <= PRICE_MAX:
                return int(scaled)
    return read_price(value, field)


def read_money(value: Digits, field: str = "money") -> int | None:
    """Money in 10^-18, signed as on the wire; None when absent or empty."""
    scaled = plain_money(value)
    if scaled is not None:
        return scaled
    if is_absent(value):
        return None
    try:
        return parse_money(_number(value))
    except UnitError as error:
        raise unreadable(field, value, error.expected) from error


def read_rate_e9(value: Digits, field: str = "rate") -> int:
    """A rate from 0 to 1 in 10^-9; 0 when absent."""
    if is_absent(value):
        return 0
    try:
        return parse_ratio(_number(value)) if parse_money(_number(value)) else 0
    except UnitError as error:
        raise unreadable(field, value, error.expected) from error


def read_count(value: Digits, field: str, most: int) -> int:
    """A whole number from 0 to ``most``; 0 when absent."""
    if is_absent(value):
        return 0
    if type(value) is str and value.isascii() and value.isdigit() and len(value) < _TEXT_MAX:
        value = int(value)
    if type(value) is not int or not 0 <= value <= most:
        raise unreadable(field, value, f"a whole number from 0 to {most}")
    return value


def read_ms(value: Digits, field: str = "time") -> int:
    """Milliseconds since 1970; 0 when absent (dossier §3.3: T is 0 in both fill captures)."""
    if type(value) is int and 0 <= value <= TIME_MAX_MS:
        return value
    return read_count(value, field, TIME_MAX_MS)


def read_leverage(value: Digits, field: str = "leverage") -> int:
    """An exchange leverage: 5, "5", "5X"; 0 when absent (dossier §2.3)."""
    if type(value) is str and value[-1:] in ("X", "x"):
        value = value[:-1]
        if value == "":
            raise unreadable(field, "X", "a leverage such as 5X")
    return read_count(value, field, 1_000)


def is_absent(value: object) -> bool:
    """Is it how the venue says null?  Empty strings stand for it (dossier §2.3, §2.4)."""
    return value is None or (isinstance(value, str) and value == "")


def _number(value: object) -> str | int:
    # Exact types for the strict parser; it refuses whatever else comes through here by its type.
    return str(value) if type(value) is Literal else value  # type: ignore[return-value]


# -- texts -----------------------------------------------------------------------------------------


def read_id(value: Digits, field: str = "id") -> str:
    """An id as text, whether it came as number or string; "" when absent, "" or 0.

    One that came as a bare number with a point or an exponent went through somebody's float: its
    digits are lost, so it is refused.
    """
    if type(value) is str:
        if value.isascii() and value.isprintable() and len(value) <= ID_MAX:
            return value if value != "0" else ""
    elif type(value) is int:
        if 0 <= value < 10**ID_MAX:
            return str(value) if value else ""
    elif value is None:
        return ""
    raise unreadable(field, value, f"printable ASCII of at most {ID_MAX} characters")


def read_client_id(value: Digits, field: str = "clientOrderId") -> str:
    """A client order id; one that no program of ours can have chosen is escaped and cut short."""
    if type(value) is str and not (value.isascii() and value.isprintable()):
        value = value.encode("ascii", "backslashreplace").decode()
        value = "".join(char if char.isprintable() else "?" for char in value)
    if type(value) is str and len(value) > ID_MAX:
        return value[:ID_MAX]
    return read_id(value, field)


def read_symbol(value: Digits, field: str = "symbol") -> str:
    """A symbol as BingX spells it (FET-USDT).  UnreadableValue when there is none."""
    text = read_id(value, field) if type(value) is str else ""
    if text == "" or " " in text:
        raise unreadable(field, value, "a symbol such as FET-USDT")
    return text


def read_flag(value: Digits, field: str) -> bool:
    """A yes or no: true, "true", "True"; absent is no (dossier §2.4: some are strings)."""
    if type(value) is bool:
        return value
    if is_absent(value):
        return False
    if type(value) is str and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise unreadable(field, value, "true or false")


def read_name(names: Mapping[str, T], value: Digits, field: str) -> T:
    """The meaning of a fixed word.  UnreadableValue for one that is not documented."""
    found = names.get(value) if type(value) is str else None
    if found is None:
        raise unreadable(field, value, f"one of {', '.join(names)}")
    return found


def read_position_side(value: Digits, field: str = "positionSide") -> PositionSide:
    """A position side; UNKNOWN when absent, as older replies leave it out."""
    return PositionSide.UNKNOWN if is_absent(value) else read_name(POSITION_SIDES, value, field)


SIDES: Final[dict[str, OrderSide]] = {
    "BUY": OrderSide.BUY,
    "SELL": OrderSide.SELL,
    "buy": OrderSide.BUY,  # fillHistory writes lower case
    "sell": OrderSide.SELL,
    "Bid": OrderSide.BUY,  # closePosition has words of its own
    "Ask": OrderSide.SELL,
}

#: Position sides; BOTH, the word of one-way mode, says nothing about the direction.
POSITION_SIDES: Final[dict[str, PositionSide]] = {
    "LONG": PositionSide.LONG,
    "SHORT": PositionSide.SHORT,
    "BOTH": PositionSide.UNKNOWN,
    "long": PositionSide.LONG,
    "short": PositionSide.SHORT,
    "both": PositionSide.UNKNOWN,
}

#: Status words of three generations (dossier §2.3); an untriggered conditional order is NEW.
STATUSES: Final[dict[str, VenueOrderStatus]] = {
    "PENDING": VenueOrderStatus.WORKING,
    "NEW": VenueOrderStatus.WORKING,
    "WORKING": VenueOrderStatus.WORKING,
    "PARTIALLY_FILLED": VenueOrderStatus.WORKING,
    "FILLED": VenueOrderStatus.FILLED,
    "CANCELED": VenueOrderStatus.CANCELLED,
    "CANCELLED": VenueOrderStatus.CANCELLED,
    "EXPIRED": VenueOrderStatus.EXPIRED,
    "FAILED": VenueOrderStatus.REJECTED,
}

#: Every documented order type, as how it executes once it is triggered.
ORDER_TYPES: Final[dict[str, OrderType]] = {
    "MARKET": OrderType.MARKET,
    "LIMIT": OrderType.LIMIT,
    "STOP": OrderType.LIMIT,
    "STOP_MARKET": OrderType.MARKET,
    "TAKE_PROFIT": OrderType.LIMIT,
    "TAKE_PROFIT_MARKET": OrderType.MARKET,
    "TRIGGER_LIMIT": OrderType.LIMIT,
    "TRIGGER_MARKET": OrderType.MARKET,
    "TRAILING_STOP_MARKET": OrderType.MARKET,
    "TRAILING_TP_SL": OrderType.MARKET,
    "LIQUIDATION": OrderType.MARKET,
    "ADL": OrderType.MARKET,
    "Market": OrderType.MARKET,  # closePosition
    "Limit": OrderType.LIMIT,
}
