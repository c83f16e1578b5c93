"""Which field of an input holds something of another type than its record says.

Records are not checked when they are made: that would cost more than applying them.  The border
calls this for what it could not read, and for fields that the packed form does not carry as they
are; it knows the annotations of the records and nothing of what values mean.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from dita.contracts import ContractRules, KernelIntent, VenueEvent
from dita.errors import BadField

#: A value's test, and in words what passes it.
_Check = tuple[Callable[[Any], bool], str]
_MISSING: Final = object()


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_of(hint: Any) -> _Check:
    if get_origin(hint) in (Union, types.UnionType):
        (inner,) = (each for each in get_args(hint) if each is not type(None))
        passes, words = _check_of(inner)
        return (lambda value: value is None or passes(value)), f"{words}, or None"
    if get_origin(hint) is tuple:
        passes, words = _check_of(get_args(hint)[0])
        return (
            lambda value: isinstance(value, tuple) and all(map(passes, value))
        ), f"a tuple, each {words}"
    if hint is int:
        return _is_number, "an int"
    if issubclass(hint, IntEnum):
        return _is_number, f"one of {hint.__name__}"
    return (lambda value: isinstance(value, hint)), _WORDS[hint]


_WORDS: Final[dict[type, str]] = {
    str: "text",
    bool: "True or False",
    ContractRules: "ContractRules",
}
_CHECKS: Final[dict[type, dict[str, _Check]]] = {
    record: {name: _check_of(hint) for name, hint in get_type_hints(record).items()}
    for record in (KernelIntent, VenueEvent, ContractRules)
}


def mistyped(record: KernelIntent | VenueEvent | ContractRules) -> BadField | None:
    """The first field with a value of another type, as an error to raise; None when there is none.

    A plain int passes for a member of an IntEnum, and a member of one for another's.
    """
    for name, (passes, words) in _CHECKS[_base_of(record)].items():
        value = getattr(record, name, _MISSING)
        if value is _MISSING:
            return BadField(name, "nothing", words)
        if not passes(value):
            return BadField(name, value, words)
        if isinstance(value, ContractRules) and (inner := mistyped(value)) is not None:
            return BadField(f"{name}.{inner.field}", inner.found, inner.expected)
    return None


def _base_of(record: object) -> type:
    return next(base for base in _CHECKS if isinstance(record, base))
