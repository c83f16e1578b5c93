"""`pink-ctl status`: what the running kernel holds, and whether its money agrees.

Asks the control socket of a state directory and draws the board; exit 3 when nobody runs, 4 when
the answer is stale or does not come.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from dita.clock import SystemClock
from dita.errors import ExitCode

from .options import AsJson, ConfigFile, StateDir
from .render import emit_json, note

Watch = Annotated[bool, typer.Option("--watch", help="Draw it again every second.")]


def status(
    config: ConfigFile = None,
    state_dir: StateDir = None,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Show slots, capital against the exchange's balance, drift by cause, ages of the feeds.

    Exit 0 fresh, 3 not running, 4 stale or no answer.

    \b
    Examples:
      pink-ctl status
      pink-ctl status --state-dir /var/lib/pink --watch
      pink-ctl status --json
    """
    from dita.runtime.start import directory_of

    directory = directory_of(config, state_dir, os.environ)
    while True:
        record = _ask(directory)
        if as_json:
            emit_json(record)
        else:
            _draw(record, clear=watch)
        if not watch:
            break
        SystemClock().sleep_ms(1_000)
    if _is_stale(record):
        note("stale: the exchange's balance is older than a minute; next: look at serve's log")
        raise typer.Exit(ExitCode.STALE)


def _ask(directory: Path) -> dict[str, Any]:
    from dita.runtime.control import call

    try:
        answer: dict[str, Any] = call(directory, {"verb": "status"})["status"]
    except TimeoutError as silent:
        note("serve does not answer: its loop is stuck; next: look at serve's log, then restart it")
        raise typer.Exit(ExitCode.STALE) from silent
    return answer


def _is_stale(record: dict[str, Any]) -> bool:
    age = record["age_ms"]["balance"]
    return bool(record["state"] == "READY" and (age < 0 or age > 90_000))


def _draw(record: dict[str, Any], *, clear: bool) -> None:
    from rich.console import Console

    from .board import board

    console = Console(markup=False, highlight=False, emoji=False)
    if clear:
        console.clear()
    console.print(board(record, console.width))
