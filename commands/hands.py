"""How a person's word reaches a running kernel: the plan, the control socket, the answer.

Shared by `intent`, `hold` and `resume`.  Says what would be done; with --apply it is done, and
journalled with the operator's name and reason.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from dita.errors import ExitCode

from .render import emit_json, note, show

Reason = Annotated[str, typer.Option("--reason", help="Why; it is journalled.")]

#: What to do after a refusal.
NEXT = {
    "ENTRIES_FROZEN": "pink-ctl status says why entries are frozen",
    "ANCHOR_NOT_QUIET": "money has just moved: try again in a second",
    "SLOT_BUSY": "that trade id or symbol is in use: pink-ctl status",
    "NO_POSITION": "pink-ctl status lists what is open",
    "NO_ACTIVE_EXIT_ORDER": "nothing of that trade is working: pink-ctl status",
}


class Wish(NamedTuple):
    """One thing that a person wants: in words, and as a request."""

    what: str
    request: dict[str, Any]


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
    from dita.runtime.start import directory_of

    wish, directory = Wish(what, request), directory_of(config, state_dir, os.environ)
    if not apply:
        plan(directory, [wish], as_json)
        return
    answer = do(directory, wish, reason)
    if as_json:
        emit_json({"applied": True, **answer})
    else:
        tell(wish, answer)
    if not answer["accepted"]:
        raise typer.Exit(ExitCode.DIFFERENCE)


def plan(directory: Path, wishes: Sequence[Wish], as_json: bool) -> None:
    """What would be done, and to whom; NotRunning when there is nobody to do it."""
    from dita.runtime.control import call

    status = call(directory, {"verb": "status"})["status"]
    if as_json:
        emit_json({"applied": False, "plan": [wish.what for wish in wishes]})
    for wish in wishes:
        if not as_json:
            show(f"would {wish.what}")
        _remark(status, wish.request.get("intent", {}))
    note(f"to {status['namespace']} ({status['state']}, process {status['pid']}) in {directory}")
    note("nothing was sent; add --apply to do it")


def _remark(status: dict[str, Any], intent: dict[str, Any]) -> None:
    """What the trade of an intent is now, so that a slip of the keyboard shows."""
    trade = intent.get("trade_id", "")
    slot = next((s for s in status["slots"] if s["trade"] == trade), None)
    if slot is not None:
        what = f"{slot['side']} {slot['size']} {slot['asset']}"
        note(f"{trade} is {what}, {slot['state']}, unrealized {slot['unrealized']}")
    elif trade and "asset" not in intent:
        names = ", ".join(s["trade"] for s in status["slots"])
        note(f"no open trade is called {trade}; open: {names or 'none'}")


def do(directory: Path, wish: Wish, reason: str) -> dict[str, Any]:
    """Send it, with the operator's name."""
    from dita.runtime.control import call

    return call(directory, {**wish.request, "operator": getpass.getuser(), "reason": reason})


def tell(wish: Wish, answer: dict[str, Any]) -> None:
    """What came of it."""
    if answer["accepted"]:
        state = f", slot {answer['slot']} is {answer['state']}" if answer["state"] else ""
        show(f"done: {wish.what}{state}")
        return
    details = ", ".join(f"{key} {value}" for key, value in answer["details"].items())
    show(f"refused: {answer['code']}{f' ({details})' if details else ''}")
    if answer["code"] in NEXT:
        note(f"next: {NEXT[answer['code']]}")
