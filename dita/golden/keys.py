"""The keys that a case may have, and how the value of each is read or refused.

The loader calls this for a case and its inputs, the figures for what a step expects.  It must not
know what the values are for: it takes tables that TOML gave and returns fields of records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, Final, TypeAlias

from dita.contracts import (
    BalanceReason,
    ContractRules,
    ControlAction,
    EvidenceSource,
    KernelCommandType,
    KernelEventKind,
    OrderRole,
    OrderSide,
    OrderType,
    PositionSide,
    RejectReason,
    RiskLimit,
    TradeSide,
)
from dita.errors import OperatorError, UnitError, shown
from dita.units import parse_money, parse_price, parse_quantity, parse_ratio

Convert: TypeAlias = Callable[[Any], Any]
Fields: TypeAlias = Mapping[str, tuple[str, Convert]]


class Wrong(Exception):
    """A value that cannot be converted; becomes an OperatorError once the place is known."""

    def __init__(self, expected: str, found: object) -> None:
        super().__init__(expected)
        self.expected = expected
        self.found = shown(found)


def text(value: Any) -> str:
    """A text."""
    if type(value) is not str:
        raise Wrong("a text in quotes", value)
    return value


def whole(value: Any) -> int:
    """A whole number, never negative."""
    if type(value) is not int or value < 0:
        raise Wrong("a whole number of at least 0, without quotes", value)
    return value


def flag(value: Any) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise Wrong("true or false", value)
    return value


def table(value: Any) -> dict[str, Any]:
    """A table."""
    if type(value) is not dict:
        raise Wrong("a table", value)
    return value


def array(value: Any) -> list[Any]:
    """A list."""
    if type(value) is not list:
        raise Wrong("a list", value)
    return value


def texts(value: Any) -> list[str]:
    """A list of texts."""
    return [text(item) for item in array(value)]


def named(enum: type[IntEnum]) -> Convert:
    """A member of an enum, by its name."""

    def convert(value: Any) -> IntEnum:
        if type(value) is not str or value not in enum.__members__:
            raise Wrong("one of " + ", ".join(enum.__members__), value)
        return enum[value]

    return convert


def all_named(enum: type[IntEnum]) -> Convert:
    """A list of members of an enum, by their names."""
    one = named(enum)
    return lambda value: [one(item) for item in array(value)]


def _ratios(value: Any) -> tuple[int, ...]:
    return tuple(parse_ratio(item) for item in array(value))


_CONTRACT: Final[Fields] = {
    "tick": ("tick_e10", parse_price),
    "step": ("step_e8", parse_quantity),
    "min_quantity": ("min_quantity_e8", parse_quantity),
    "min_notional": ("min_notional", parse_money),
    "taker_fee": ("taker_fee_e9", lambda v: parse_ratio(v) if v != "0" else 0),
    "maker_fee": ("maker_fee_e9", lambda v: parse_ratio(v) if v != "0" else 0),
}


def contract(value: Any) -> ContractRules:
    """The rules of a contract, with tick and step at least."""
    given = fields(table(value), _CONTRACT, "contract")
    if "tick_e10" not in given or "step_e8" not in given:
        raise Wrong("tick and step at least", value)
    return ContractRules(**given)


KERNEL: Final[Fields] = {
    "slot_limit": ("slot_limit", whole),
    "hedge": ("hedge", flag),
    "leverage_cap": ("leverage_cap", whole),
    "seen": ("seen", whole),
    "balance_max_age_ms": ("balance_max_age_ms", whole),
    "figure_tolerance": ("figure_tolerance", parse_money),
    "seed": ("seed", parse_money),
}

INTENT: Final[Fields] = {
    "command": ("command", named(KernelCommandType)),
    "id": ("intent_id", text),
    "trade": ("trade_id", text),
    "slot": ("slot_id", whole),
    "asset": ("asset", text),
    "side": ("side", named(TradeSide)),
    "quantity": ("quantity_e8", parse_quantity),
    "price": ("reference_price_e10", parse_price),
    "order_type": ("order_type", named(OrderType)),
    "limit_price": ("limit_price_e10", parse_price),
    "leverage": ("leverage", whole),
    "conviction": ("conviction", text),
    "legs": ("exit_leg_ratios_e9", _ratios),
    "contract": ("contract", contract),
    "urgent": ("urgent", flag),
    "lives_ms": ("expires_ms", whole),
    "working_ms": ("working_ms", whole),
    "reason": ("reason", text),
    "entry_cost": ("entry_cost", parse_money),
    "carried_realized": ("carried_realized", parse_money),
    "role": ("role", named(OrderRole)),
    "venue_id": ("venue_order_id", text),
    "action": ("action", named(ControlAction)),
    "amount": ("amount", parse_money),
    "limit": ("limit", named(RiskLimit)),
    "deadline_ms": ("deadline_ms", whole),
}

EVENT: Final[Fields] = {
    "kind": ("kind", named(KernelEventKind)),
    "order": ("order", text),
    "venue_id": ("venue_order_id", text),
    "client_id": ("client_order_id", text),
    "id": ("event_id", text),
    "asset": ("asset", text),
    "slot": ("slot_id", whole),
    "side": ("side", named(OrderSide)),
    "quantity": ("quantity_e8", parse_quantity),
    "increment": ("increment", flag),
    "price": ("price_e10", parse_price),
    "last_quantity": ("last_quantity_e8", parse_quantity),
    "last_price": ("last_price_e10", parse_price),
    "cost": ("cost", parse_money),
    "fee": ("fee", parse_money),
    "realized": ("realized", parse_money),
    "source": ("source", named(EvidenceSource)),
    "reject": ("reject", named(RejectReason)),
    "error_code": ("error_code", whole),
    "position_side": ("position_side", named(PositionSide)),
    "retry_after_ms": ("retry_after_ms", whole),
    "amount": ("amount", parse_money),
    "balance_reason": ("balance_reason", named(BalanceReason)),
    "available_margin": ("available_margin", parse_money),
    "age_ms": ("age_ms", whole),
    "asked_ms": ("asked_ms", whole),
}

STEP: Final[Fields] = {
    "note": ("note", text),
    "intent": ("intent", table),
    "event": ("event", table),
    "restart": ("restart", flag),
    "repeat": ("repeat", flag),
    "any_order": ("any_order", flag),
    "wait_ms": ("wait_ms", whole),
    "expect": ("expect", table),
}

CASE: Final[Fields] = {
    "title": ("title", text),
    "source": ("source", text),
    "about": ("about", text),
    "trade": ("trade", text),
    "asset": ("asset", text),
    "kernel": ("kernel", table),
    "contract": ("contract", table),
    "variant": ("variant", array),
    "step": ("step", array),
}


def fields(raw: Mapping[str, Any], known: Fields, where: str) -> dict[str, Any]:
    """Convert a table by name; an unknown key or a value that does not fit is refused."""
    result: dict[str, Any] = {}
    for key, value in raw.items():
        place = f"{where}.{key}" if where else key
        if key not in known:
            raise OperatorError(
                f"{place} is no key of a golden case",
                expected="one of " + ", ".join(known),
                found=shown(key),
                action="correct it in the file",
            )
        name, convert = known[key]
        result[name] = converted(value, convert, place)
    return result


def converted(value: Any, convert: Convert, place: str) -> Any:
    """Convert one value; one that does not fit is refused with its place."""
    try:
        return convert(value)
    except UnitError as bad:
        raise refused(place, bad.expected, bad.found, bad.action) from bad
    except Wrong as bad:
        raise refused(place, bad.expected, bad.found, "correct it in the file") from bad


def refused(place: str, expected: str, found: str, action: str) -> OperatorError:
    """The refusal of what stands at a place of the file."""
    return OperatorError(f"{place} refused", expected=expected, found=found, action=action)
