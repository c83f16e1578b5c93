"""What a single value may be: one rule for each kind, and the refusal of what breaks it.

`schema` gives every key its rule, and `layers` reads each given value by it.  A rule must not know
its key, where the value came from, or any other value.
"""

from __future__ import annotations

import re
from enum import Enum, IntEnum
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from dita.errors import SettingsError, UnitError
from dita.units import format_money, parse_money


class Bad(ValueError):
    """A value breaks its rule.  `hide` keeps the value itself out of the message."""

    def __init__(self, reason: str = "", *, hide: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hide = hide


class Rule(Protocol):
    """What a key takes.  `textual`: it comes from a variable or option, where all is text."""

    @property
    def allowed(self) -> str: ...
    def read(self, value: object, *, textual: bool) -> Any: ...


class Whole(NamedTuple):
    """An int within bounds."""

    least: int
    most: int

    @property
    def allowed(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def read(self, value: object, *, textual: bool) -> int:
        if textual and type(value) is str and re.fullmatch(r"[+-]?[0-9]{1,19}", value):
            value = int(value)
        if type(value) is not int:
            raise Bad(f"{type(value).__name__} instead of int")
        if not self.least <= value <= self.most:
            raise Bad("out of range")
        return value


class Flag(NamedTuple):
    """A bool."""

    allowed: str = "true or false"

    def read(self, value: object, *, textual: bool) -> bool:
        if textual and type(value) is str:
            value = {"true": True, "1": True, "false": False, "0": False}.get(value.lower())
        if type(value) is not bool:
            raise Bad
        return value


class Choice(NamedTuple):
    """A member of an enum, by its name or value."""

    options: type[Enum]

    @property
    def allowed(self) -> str:
        return "one of " + ", ".join(map(name_of, self.options))

    def read(self, value: object, *, textual: bool) -> Enum:
        if isinstance(value, self.options):
            return value
        for option in self.options:
            if type(value) is str and value.lower() == name_of(option).lower():
                return option
        raise Bad


class Money(NamedTuple):
    """An amount within bounds, as decimal text."""

    least: int
    most: int

    @property
    def allowed(self) -> str:
        least, most = format_money(self.least), format_money(self.most)
        return f'decimal text from "{least}" to "{most}"'

    def read(self, value: object, *, textual: bool) -> int:
        if type(value) is float:
            raise Bad("a float is not exact: put it in quotes")
        try:
            amount = parse_money(value)  # type: ignore[arg-type]  # refuses any other type itself
        except UnitError as bad:
            reason = "too many decimals" if "too many decimals" in bad.found else "not an amount"
            raise Bad(reason) from None
        if not self.least <= amount <= self.most:
            raise Bad("out of range")
        return amount


class Text(NamedTuple):
    """A text of one pattern."""

    pattern: str
    allowed: str

    def read(self, value: object, *, textual: bool) -> str:
        if type(value) is not str or not re.fullmatch(self.pattern, value):
            raise Bad
        return value


class Place(NamedTuple):
    """A path, as it is written."""

    allowed: str = "a path, written out (~ is not expanded)"
    absolute_or_empty: bool = False

    def read(self, value: object, *, textual: bool) -> str:
        if value == "" and self.absolute_or_empty:
            return ""
        if self.absolute_or_empty and not str(value).startswith("/"):
            raise Bad
        if type(value) is not str or not value or len(value) > 1024 or value.startswith("~"):
            raise Bad
        if not value.isprintable() or value != value.strip():
            raise Bad("blanks at an end, or characters that cannot be printed")
        return value


class Address(NamedTuple):
    """A URL without a password."""

    schemes: tuple[str, ...]

    @property
    def allowed(self) -> str:
        return " or ".join(f"{each}://HOST" for each in self.schemes) + ", without ?, # and @"

    def read(self, value: object, *, textual: bool) -> str:
        if type(value) is not str or not re.fullmatch(r"[!-~]{1,200}", value) or "\\" in value:
            raise Bad
        if any(mark in value for mark in "@?#"):
            raise Bad("it may carry a password, so it is not shown", hide=True)
        try:
            parts = urlsplit(value)
            good = parts.scheme in self.schemes and parts.hostname and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise Bad
        return value.rstrip("/")


class Reference(NamedTuple):
    """Where a secret is, never the secret."""

    allowed: str = "a reference, env:NAME or file:/PATH, never the secret itself"

    def read(self, value: object, *, textual: bool) -> str:
        text = value if type(value) is str else ""
        variable = re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]{0,127}", text)
        file = re.fullmatch(r"file:/.{1,1024}", text)
        if not (variable or file) or not text.isprintable():
            raise Bad("something else; it is not shown", hide=True)
        return text


def name_of(option: Enum) -> str:
    """How a member of an enum is written in a file."""
    return option.name if isinstance(option, IntEnum) else str(option.value)


def refusal(name: str, origin: str, expected: str, found: str, action: str) -> SettingsError:
    """The refusal of one key's value."""
    return SettingsError(
        f"{name} refused ({origin})", expected=expected, found=found, action=action
    )
