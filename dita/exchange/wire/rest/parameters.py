"""A call's parameters, read as BingX reads them: texts to exact integers, or its refusal.

Excess precision is cut off silently here, as the exchange does (dossier §2.1). Knows no endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Final, TypeVar

import msgspec

from dita.exchange.wire.answers import refuse
from dita.units import (
    MONEY_DIGITS,
    MONEY_MAX,
    PRICE_DIGITS,
    PRICE_MAX,
    QUANTITY_DIGITS,
    QUANTITY_MAX,
    RATIO_DIGITS,
    RATIO_ONE,
)

INVALID: Final = 109400
_DIGITS_MAX: Final = 27  # the precision of Decimal arithmetic is 28
_COUNT_DIGITS_MAX: Final = 19

E = TypeVar("E", bound=Enum)


class Parameters:
    """Decoded parameters by name."""

    __slots__ = ("values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values

    def text(self, name: str, default: str = "") -> str:
        """As sent; the default when missing or empty."""
        return self.values.get(name) or default

    def need(self, name: str) -> str:
        """As sent, or refused."""
        value = self.values.get(name)
        if not value:
            refuse(INVALID, f"Invalid parameters,{name}: This field is required.")
        return value

    def count(self, name: str, default: int = 0) -> int:
        """A whole number of at least 0."""
        value = self.values.get(name)
        if not value:
            return default
        if not (value.isascii() and value.isdigit()) or len(value) > _COUNT_DIGITS_MAX:
            refuse(INVALID, f"Invalid parameters,{name}: invalid value {value[:40]}")
        return int(value)

    def flag(self, name: str) -> bool:
        """The text true; anything else is false."""
        return self.text(name).lower() == "true"

    def choice(self, name: str, choices: type[E], default: E | None = None) -> E:
        """A member by its value; without a default it must be given."""
        value = self.text(name) if default is not None else self.need(name)
        if not value and default is not None:
            return default
        try:
            return choices(value.upper())
        except ValueError:
            refuse(INVALID, f"Invalid parameters,{name}: invalid value {value[:40]}")

    def price_e10(self, name: str) -> int:
        """A price, or 0 when it is missing; digits beyond the tenth are cut off."""
        return self._scaled(name, PRICE_DIGITS, PRICE_MAX)

    def quantity_e8(self, name: str) -> int:
        """A quantity, or 0 when it is missing; digits beyond the eighth are cut off."""
        return self._scaled(name, QUANTITY_DIGITS, QUANTITY_MAX)

    def share_e9(self, name: str) -> int:
        """A share from 0 to 1, or 0 when it is missing."""
        return self._scaled(name, RATIO_DIGITS, RATIO_ONE)

    def money_e18(self, name: str) -> int:
        """Money of at least 0, or 0 when it is missing."""
        return self._scaled(name, MONEY_DIGITS, MONEY_MAX)

    def _scaled(self, name: str, digits: int, most: int) -> int:
        value = self.values.get(name)
        if not value:
            return 0
        try:
            plain = value.isascii() and len(value) <= _DIGITS_MAX
            number = Decimal(value if plain else "NaN")
        except InvalidOperation:
            number = Decimal("NaN")
        if number.is_finite() and number >= 0 and number.adjusted() < digits + _DIGITS_MAX:
            scaled = int(number.scaleb(digits))
            if scaled <= most:
                return scaled
        refuse(INVALID, f"Invalid parameters,{name}: invalid value {value[:40]}")

    def client_order_id(self) -> str:
        """Either spelling, lower-cased as the exchange keeps it (dossier §2.1)."""
        return (self.text("clientOrderId") or self.text("clientOrderID")).lower()


def json_objects(text: str, name: str) -> list[Parameters]:
    """A parameter that is a JSON list of objects, as orders travel in a batch."""
    try:
        objects = msgspec.json.decode(text, type=list[dict[str, msgspec.Raw]])
    except msgspec.DecodeError:
        refuse(INVALID, f"Invalid parameters,{name}: invalid JSON")
    return [
        Parameters({key: json_text(member) for key, member in each.items()}) for each in objects
    ]


def json_texts(text: str, name: str) -> list[str]:
    """A parameter that is a JSON list of texts or numbers."""
    try:
        return [json_text(member) for member in msgspec.json.decode(text, type=list[msgspec.Raw])]
    except msgspec.DecodeError:
        refuse(INVALID, f"Invalid parameters,{name}: invalid JSON")


def json_text(member: msgspec.Raw) -> str:
    """A JSON value as the text a query would carry: numbers digit by digit, null as nothing."""
    written = bytes(member)
    if written.startswith(b'"'):
        return msgspec.json.decode(written, type=str)
    return "" if written == b"null" else written.decode()
