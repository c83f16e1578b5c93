"""The rows of an answer, read one by one: one that cannot be read is set aside and fails no other.

What was set aside keeps as much of its identity as could be read, so that it stands in the way of
nothing but what it may be about, and it is counted with its reason.  This module must not know what
a row means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import msgspec

from dita.venues import Rows, UnreadableRow
from dita.venues.bingx.values import ID_MAX, UnreadableValue, decode, decoder

R = TypeVar("R")
T = TypeVar("T")

#: Stands in what was outside ASCII once it is escaped, and in nothing of ours.
ESCAPED: Final = "\\"

#: Names under which something unreadable is counted; the rest is counted together.
_NAMES_MAX: Final = 64
_WHY_MAX: Final = 200


class _Identity(msgspec.Struct, rename="camel"):
    """What any row about an order, a fill, a position or an income may be known by."""

    symbol: Any = None
    order_id: Any = None
    order_id_text: Any = msgspec.field(default=None, name="orderID")
    client_order_id: Any = None
    client_order_id_old: Any = msgspec.field(default=None, name="clientOrderID")


_IDENTITY: Final = decoder(_Identity)


def read_rows(
    raws: Iterable[msgspec.Raw],
    by: msgspec.json.Decoder[R],
    read: Callable[[R], T | None],
    asset: str = "",
) -> Rows[T]:
    """Returns what the rows mean, in their order; None of ``read`` means that a row says nothing.

    With an ``asset`` rows that are certainly about another symbol are left out unread.
    """
    found: list[T] = []
    unreadable: list[UnreadableRow] = []
    for raw in raws:
        known = _identity(raw)
        if asset and not known.may_concern(asset):
            continue
        try:
            row = read(decode(by, raw))
        except UnreadableValue as bad:
            unreadable.append(msgspec.structs.replace(known, why=why_of(bad)))
            continue
        if row is not None:
            found.append(row)
    return Rows(found, unreadable)


def _identity(raw: msgspec.Raw) -> UnreadableRow:
    try:
        row = decode(_IDENTITY, raw)
    except UnreadableValue:
        return UnreadableRow(why="")
    number, text = id_seen(row.order_id), id_seen(row.order_id_text)
    return UnreadableRow(
        asset=symbol_seen(row.symbol),
        # Two ids that differ are none: the row may be about either order.
        venue_order_id="" if number and text and number != text else number or text,
        client_order_id=id_seen(row.client_order_id) or id_seen(row.client_order_id_old),
        why="",
    )


def id_seen(value: object) -> str:
    """Returns an id as far as it can be shown; "" when it says nothing.

    What is outside ASCII is escaped: it is nothing of ours, and it is not nothing.
    """
    if type(value) is int:
        return str(value) if 0 < value < 10**ID_MAX else ""
    if type(value) is not str or not value or value == "0" or value != value.strip():
        return ""
    text = value.encode("ascii", "backslashreplace").decode()
    return text[:ID_MAX] if text.isprintable() else ""


def symbol_seen(value: object) -> str:
    """Returns a symbol as far as it can be shown; "" when there is none."""
    return id_seen(value) if type(value) is str else ""


def why_of(bad: UnreadableValue) -> str:
    """Returns what was wrong with a value, short enough to show."""
    found = f", found {bad.found}" if bad.found else ""
    return f"{bad.what}: expected {bad.expected}{found}"[:_WHY_MAX]


class Oddities:
    """What could not be read, counted by where it was, for an operator."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, Any]] = {}

    def note(self, where: str, about: str, why: str) -> None:
        """One thing that could not be read."""
        if where not in self._counts and len(self._counts) >= _NAMES_MAX:
            where = "other"
        entry = self._counts.setdefault(where, {"count": 0})
        entry["count"] += 1
        entry["about"], entry["why"] = about, why

    def note_rows(self, where: str, rows: Rows[Any]) -> None:
        """The unreadable rows of an answer."""
        for row in rows.unreadable:
            name = row.client_order_id or row.venue_order_id
            self.note(where, f"{row.asset} {name}".strip(), row.why)

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Returns a copy: by question or kind of frame its ``count`` and the newest one."""
        return {where: dict(entry) for where, entry in sorted(self._counts.items())}


def merged(answers: Iterable[Rows[T]], key: Callable[[T], str]) -> Rows[T]:
    """Returns the rows of several answers, each once by its key: the last answer's word counts."""
    found: dict[str, T] = {}
    unreadable: dict[UnreadableRow, None] = {}
    for answer in answers:
        found.update((key(row), row) for row in answer)
        unreadable.update(dict.fromkeys(answer.unreadable))
    return Rows(found.values(), unreadable)
