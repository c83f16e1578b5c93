"""What goes over the socket: lines of JSON, calls by number, errors by the name of their class.

It knows no venue and no process; both sides import it.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from dita.contracts import Record
from dita.errors import VenueError
from dita.venues import (
    AccessRefused,
    NotSent,
    OutcomeUnknown,
    QueryFailed,
    UnknownSymbol,
    UnreadableRow,
)

LINE_MAX: Final = 64 * 1024 * 1024
SUBSCRIBE: Final = "subscribe"


class Call(Record, frozen=True):
    """A verb and its arguments, as JSON."""

    number: int
    verb: str
    arguments: msgspec.Raw


class Answer(Record, frozen=True):
    """Of the call of that number: its result, or the error that it ended with."""

    number: int
    error: str = ""
    what: str = ""
    found: str = ""
    error_code: int = 0
    result: msgspec.Raw = msgspec.Raw(b"null")
    unreadable: tuple[UnreadableRow, ...] = ()


#: The errors that come out on the other side as what they were.
ERRORS: Final[dict[str, type[VenueError]]] = {
    kind.__name__: kind
    for kind in (AccessRefused, NotSent, OutcomeUnknown, QueryFailed, UnknownSymbol)
}


def refused(number: int, error: VenueError) -> Answer:
    """The answer to a call that ended with an error of the venue."""
    name, code = type(error).__name__, getattr(error, "error_code", 0)
    return Answer(number, name, error.what, error.found, code)


def raised(answer: Answer) -> VenueError:
    """The error that an answer tells of, as the other side raised it."""
    kind = ERRORS.get(answer.error, VenueError)
    if issubclass(kind, NotSent | OutcomeUnknown | AccessRefused):
        return kind(answer.what, found=answer.found, error_code=answer.error_code)
    return kind(answer.what, found=answer.found)


def send(writer: asyncio.StreamWriter, record: Record) -> None:
    """One line."""
    writer.write(msgspec.json.encode(record) + b"\n")
