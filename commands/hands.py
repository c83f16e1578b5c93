"""How a person's word reaches a running kernel: the plan, the control socket, the answer.

Shared by `intent`, `hold` and `resume`.  Says what would be done; with --apply it is done, and
journalled with the operator's name and reason.
"""

from __future__ import annotations

import getpass
import os
from typing import Annotated, Any

import typer

from dita.errors import ExitCode

from .render import emit_json, note, show

Reason = Annotated[str, typer.Option("--reason", help="Why; it is journalled.")]


def send(
    what: str,
    request: dict[str, Any],
    reason: str,
    config: Any,
    state_dir: Any,
    apply: bool,
    as_json: bool,
) -> None:
    """Say what would be done, or do it and say what came of it; exit 1 when it was refused."""
    from dita.runtime.control import call
    from dita.runtime.start import directory_of

    if not apply:
        show(f"would {what}")
        note("nothing was sent; add --apply to do it")
        return
    directory = directory_of(config, state_dir, os.environ)
    answer = call(directory, {**request, "operator": getpass.getuser(), "reason": reason})
    if as_json:
        emit_json(answer)
    elif answer["accepted"]:
        state = f", slot {answer['slot']} is {answer['state']}" if answer["state"] else ""
        show(f"done: {what}{state}")
    else:
        details = ", ".join(f"{key} {value}" for key, value in answer["details"].items())
        show(f"refused: {answer['code']}{f' ({details})' if details else ''}")
    if not answer["accepted"]:
        raise typer.Exit(ExitCode.DIFFERENCE)
