"""Everything a command shows goes through here: text, tables, JSON, and errors as one line.

stdout carries data, stderr carries talk. The sole user of rich, which is imported where a table
is drawn, because it costs more start-up time than everything else together. Knows no runtime,
venue or kernel.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Any, ParamSpec

import typer

from dita.errors import DitaError

if TYPE_CHECKING:
    from rich.console import Console

P = ParamSpec("P")

SCHEMA_VERSION = 1
"""Of every JSON object printed. Rises when a key is renamed, removed or changes its meaning."""

# Rich squeezes a table to 80 columns where there is no terminal; a pipe must get whole values.
WIDTH_IN_A_PIPE = 10_000

# CSI (colours, cursor), OSC and its kin up to their terminator, and the two-byte escapes.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f]).*?(?:\x07|\x1b\\|\x9c|$)"
    r"|\x1b[ -/]*[0-~]?",
    re.DOTALL,
)
_SPACES = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
# The other control characters, and the marks that make a line read in another order than stored.
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """Make foreign text safe to show on one line: no terminal escapes, no control characters.

    An exchange's message or a file's content could otherwise move the cursor and overwrite what
    the operator has read.
    """
    return _INVISIBLE.sub("", _SPACES.sub(" ", _ESCAPES.sub("", text)))


def show(line: str = "") -> None:
    """Print one line of the result to stdout."""
    typer.echo(plain(line))


def note(line: str) -> None:
    """Say one line to the operator on stderr: progress, a warning, a hint."""
    typer.echo(plain(line), err=True)


def show_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    right: Collection[str] = (),
    tight: bool = False,
) -> None:
    """Print a table to stdout; the columns named in `right`, the numbers, are aligned right.

    `tight` leaves one blank between columns instead of three.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(plain(title), style="bold") if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0 if tight else 1),
    )
    for name in columns:
        # fold: on a narrow terminal a value takes two lines rather than lose its end
        table.add_column(Text(name), justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(str(cell))) for cell in row))
    _stdout().print(table)


def output_width() -> int:
    """Columns of stdout; very many where no terminal is: whatever reads that gets whole values."""
    return _stdout().width


def print_rich(drawn: Callable[[int], Any]) -> None:
    """Print to stdout what a function draws for the width that there is."""
    console = _stdout()
    console.print(drawn(console.width))


def emit_json(result: object) -> None:
    """Print a record or a mapping to stdout as one JSON object with "schema_version" first.

    Integers and strings only: a Decimal becomes a string, an enum member its name, a float is a
    mistake. Give money, ids and hashes as strings.
    """
    body = _json_value(result)
    if not isinstance(body, dict):
        raise TypeError(f"expected a record or a mapping to print as JSON, was {type(result)}")
    typer.echo(json.dumps({"schema_version": SCHEMA_VERSION, **body}, indent=2))


def reported(command: Callable[P, None]) -> Callable[P, None]:
    """Let a command end in one clear line on stderr and its exit code when a DitaError is raised.

    Any other exception is a bug and keeps its traceback (app.main).
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except DitaError as error:
            note(f"pink-ctl: {error}")
            raise typer.Exit(int(error.exit_code)) from error

    return run


def _stdout() -> Console:
    """Make a console that prints text as it is: venue texts contain brackets and colons."""
    from rich.console import Console

    return Console(
        markup=False,
        highlight=False,
        emoji=False,
        width=None if sys.stdout.isatty() else WIDTH_IN_A_PIPE,
    )


def _json_value(value: object) -> Any:
    """Turn a record into what json prints, refusing whatever has no exact JSON form."""
    match value:
        case None | bool():
            return value
        case Enum():
            return value.name if isinstance(value, IntEnum) else value.value
        case int() | str():
            return value
        case Decimal():
            return format(value, "f")
        case Mapping():
            return {str(key): _json_value(item) for key, item in value.items()}
        case list() | tuple():
            return [_json_value(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
    elif hasattr(value, "__struct_fields__"):  # a msgspec.Struct, without importing msgspec
        names = list(value.__struct_fields__)
    else:
        raise TypeError(f"expected a value with an exact JSON form, was {type(value)}: {value!r}")
    return {name: _json_value(getattr(value, name)) for name in names}
