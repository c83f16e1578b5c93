"""`pink-ctl status`: what the running kernel holds, and whether its money agrees.

Asks the control socket of a state directory and draws the board; exit 3 when nobody runs, 4 when
the answer is stale or does not come.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from dita.clock import SystemClock
from dita.errors import ExitCode, NotRunning, Unanswered

from .options import AsJson, ConfigFile, StateDir
from .show.render import (
    WIDTH_IN_A_PIPE,
    emit_json,
    emit_json_line,
    note,
    show,
    speak_of,
    speak_of_directory,
)

Watch = Annotated[
    bool, typer.Option("--watch", help="Draw it every second, until Ctrl-C or the end of serve.")
]
Record = dict[str, Any]
WATCH_MS = 1_000
#: A balance that is older is no base for a decision; it is asked for every 30 s.
STALE_MS = 90_000


def status(
    config: ConfigFile = None,
    state_dir: StateDir = None,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Show whether entries may go, what is open and what is wrong.

    Exit 0 fresh, 3 not running, 4 stale or no answer.

    \b
    Examples:
      pink-ctl status
      pink-ctl status --state-dir /var/lib/pink --watch
      pink-ctl status --json
    """
    from dita.runtime.state.directory import directory_of

    directory = directory_of(config, state_dir, os.environ)
    try:
        record = _ask(directory)
    except (NotRunning, Unanswered):
        speak_of_directory(config, state_dir, quiet=as_json)
        raise
    speak_of(record["place"], quiet=as_json)
    with _shown(as_json, again=watch) as draw:
        draw(record)
        while watch:
            SystemClock().sleep_ms(WATCH_MS)
            record = _ask(directory)
            draw(record)
    if is_stale(record):
        note("stale: the exchange's balance is old; serve's log says whether the exchange answers")
        raise typer.Exit(ExitCode.STALE)


def _ask(directory: Path) -> Record:
    from dita.runtime.server.call import call

    answer: Record = call(directory, {"verb": "status"})["status"]
    return answer


def is_stale(record: Record) -> bool:
    """Is it not known what the exchange holds?  Before READY that is no news."""
    age = record["age_ms"]["balance"]
    starting = record["state"] in ("STARTING", "RECOVERING", "RECONCILING")
    return bool(not starting and (age < 0 or age > STALE_MS))


@contextlib.contextmanager
def _shown(as_json: bool, *, again: bool) -> Iterator[Callable[[Record], None]]:
    """How a record is shown: as JSON, as lines into a pipe, or in place on a terminal."""
    if as_json:
        with _until_interrupted():
            yield emit_json_line if again else emit_json
        return
    from rich.console import Console

    from .show.status_board import board

    if not sys.stdout.isatty():
        width = WIDTH_IN_A_PIPE
        paper = Console(width=width, markup=False, highlight=False, emoji=False, color_system=None)

        def print_out(record: Record) -> None:
            with paper.capture() as text:
                paper.print(board(record, width))
            for line in text.get().splitlines():
                show(line.rstrip())

        with _until_interrupted():
            yield print_out
        return
    console = Console(markup=False, highlight=False, emoji=False)
    if not again:
        yield lambda record: console.print(board(record, console.width))
        return
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live, _until_interrupted():
        yield lambda record: live.update(board(record, console.width), refresh=True)


@contextlib.contextmanager
def _until_interrupted() -> Iterator[None]:
    """Ctrl-C is how one leaves, not an error."""
    with contextlib.suppress(KeyboardInterrupt):
        yield
