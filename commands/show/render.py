"""Everything a command shows goes through here: text, tables, JSON, and errors as one line.

stdout carries data, stderr carries talk. rich is imported where something is drawn, because it
costs more start-up time than everything else together. Knows no runtime, venue or kernel.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec

import typer

from dita.errors import DitaError, ExitCode, OperatorError, SettingsError

from .. import typed

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


_place: dict[str, Any] = {}


def speak_of(
    place: dict[str, Any], *, quiet: bool, say: Callable[[str], None] | None = None
) -> None:
    """Say whose money, which host and which state directory this is about: the first line.

    With ``quiet`` it is only remembered, for the JSON object.  On stderr unless ``say`` says it.
    """
    from dita.runtime.state.place import PLACE_KEYS, described

    _place.clear()
    _place.update({key: place[key] for key in PLACE_KEYS})
    if not quiet:
        (say or note)(described(_place))


def speak_of_directory(config: Path | None, state_dir: Path | None, *, quiet: bool) -> Path:
    """Say which state directory is read, and whose money it is for; nothing else is asked."""
    from dita.runtime.state.directory import place_of
    from dita.runtime.state.place import place_by_directory

    place = place_of(config, state_dir, os.environ)
    file = place.found.file if place.found is not None else None
    speak_of(place_by_directory(place.directory, file), quiet=quiet)
    return place.directory


def show(line: str = "") -> None:
    """Print one line of the result to stdout."""
    typer.echo(plain(line))


def note(line: str) -> None:
    """Say one line to the operator on stderr: progress, a warning, a hint that can be typed."""
    typer.echo(typed.typable(plain(line)), err=True)


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


def on_terminal() -> bool:
    """Does a person look at stdout?"""
    return _stdout().is_terminal


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
    place = {"place": dict(_place)} if _place else {}
    typer.echo(json.dumps({"schema_version": SCHEMA_VERSION, **place, **body}, indent=2))


def emit_json_line(result: object) -> None:
    """The same on one line, for a command that prints one object after the other."""
    body = {"schema_version": SCHEMA_VERSION, "place": dict(_place), **_json_value(result)}
    typer.echo(json.dumps(body))


def emit_error(error: DitaError) -> None:
    """An error as the one JSON object of a command that was asked for JSON."""
    emit_json(
        {
            "error": {
                "what": error.what,
                "expected": error.expected,
                "found": error.found,
                "action": typed.typable(error.action),
                "exit_code": int(error.exit_code),
            }
        }
    )


def reported(command: Callable[P, None]) -> Callable[P, None]:
    """Let a command end in one clear line on stderr and its exit code.

    That goes for a DitaError and for what the system refuses (a path, a permission, a full disk);
    with --json it is an object on stdout as well.  Any other exception is a bug and keeps its
    traceback (app.main).
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        _place.clear()
        given = {name: value for name, value in kwargs.items() if isinstance(value, Path)}
        typed.use(given.get("config"), given.get("state_dir"))
        try:
            command(*args, **kwargs)
            sys.stdout.flush()  # what cannot be written is found out here, not at the very end
        except BrokenPipeError as unread:
            raise typer.Exit(int(ExitCode.PIPE)) from unread
        except DitaError as error:
            _report(error, as_json=bool(kwargs.get("as_json")))
        except OSError as refused:
            serves = command.__name__ == "serve"
            _report(by_the_system(refused, serves), as_json=bool(kwargs.get("as_json")))

    return run


def _report(error: DitaError, *, as_json: bool) -> NoReturn:
    note(f"pink-ctl: {error}")
    if as_json:
        with contextlib.suppress(OSError):  # a full disk under stdout: the line above has it
            emit_error(error)
    raise typer.Exit(int(error.exit_code)) from error


def by_the_system(refused: OSError, serves: bool = False) -> OperatorError:
    """What the system refused, as an error for whoever can mend it.

    Under serve a path that cannot be used is a wrong setting, which no restart mends.
    """
    names = [str(name) for name in (refused.filename, refused.filename2) if name is not None]
    why = refused.strerror or str(refused) or type(refused).__name__
    what = f"cannot use {' and '.join(names)}: {why}" if names else f"refused by the system: {why}"
    if serves and type(refused) in _MENDED_BY:
        return SettingsError(
            what,
            action="name a state directory that belongs to the user of serve, or correct its owner",
        )
    return OperatorError(
        what,
        action=_MENDED_BY.get(type(refused), "look at that path and its disk"),
    )


_MENDED_BY: dict[type[OSError], str] = {
    FileNotFoundError: "check the path",
    FileExistsError: "choose another name: nothing that is there is overwritten",
    IsADirectoryError: "name a file",
    NotADirectoryError: "check the path: a part of it is a file",
    PermissionError: "run it as the user that owns it, or choose another path",
}


def _stdout() -> Console:
    """Make a console that prints text as it is: venue texts contain brackets and colons."""
    from rich.console import Console

    class Paper(Console):
        """A reader that went away ends the command as it does everywhere else."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Paper(
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
