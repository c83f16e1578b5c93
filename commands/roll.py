"""`pink-ctl journal roll`: close the journal's epoch at a flat moment and go on in a new one.

The plan is printed first: what goes along, which settings change, what forbids it now.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dita.errors import ExitCode

from .operator import Operator, operator_of
from .options import Apply, AsJson, ConfigFile, StateDir
from .show.render import emit_json, note, show, speak_of
from .typed import again

if TYPE_CHECKING:
    from pathlib import Path

    from dita.runtime.state.rolling import Plan
    from dita.settings import Settings

Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept with both epochs.")
]
CloseOnly = Annotated[
    bool,
    typer.Option("--close", help="Only close; the next serve begins the next epoch."),
]


def journal_roll(
    reason: Reason,
    operator: Operator = "",
    config: ConfigFile = None,
    state_dir: StateDir = None,
    close_only: CloseOnly = False,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """Close the journal's epoch and begin the next.

    Everything has to be flat and settled, and no serve may run. Wallet, K, drift,
    records, holds and the ids of past orders are carried over; settings that are
    fixed for a journal's life may change. Nothing is deleted.

    \b
    Examples:
      pink-ctl journal roll --reason "more slots"
      pink-ctl journal roll --reason "upgrade" --close --apply
    """
    from dita.runtime.state.directory import installed
    from dita.runtime.state.journal_settings import check_environment, hold_to_the_owner
    from dita.runtime.state.lock import StateLock
    from dita.runtime.state.place import place_by_settings

    settings, directory = installed(config, state_dir, os.environ)
    speak_of(place_by_settings(settings, directory), quiet=as_json)
    lock = StateLock(directory)
    try:
        if apply:
            hold_to_the_owner(directory)
            check_environment(directory, settings)
        told = _rolled(directory, settings, (operator_of(operator), reason), close_only, apply)
    finally:
        lock.release()
    if as_json:
        emit_json({"applied": apply, **told})
    else:
        _show(told, apply)


def _rolled(
    directory: Path, settings: Settings, why: tuple[str, str], close_only: bool, apply: bool
) -> dict[str, Any]:
    from dita.clock import SystemClock
    from dita.runtime.state.rolling import close, closed_epochs, go_on, plan_of

    clock = SystemClock()
    plan = plan_of(directory, settings)
    if plan is None:  # closed already, or in the middle of it
        done = "" if not apply or close_only else str(go_on(directory, settings, clock))
        return {"was_closed": True, "next_epoch": int(done or 0), "obstacles": []}
    told = _plain(plan)
    if apply:
        end = close(directory, settings, clock, why)
        told["next_epoch"] = end.next_epoch
        if not close_only:
            go_on(directory, settings, clock)
            told["folder"] = str(closed_epochs(directory)[-1])
    return told


def _plain(plan: Plan) -> dict[str, Any]:
    return {
        "was_closed": False,
        "epoch": plan.epoch,
        "next_epoch": 0,
        "records": plan.records,
        "obstacles": list(plan.obstacles),
        "carried": plan.carried,
        "changes": {key: {"from": old, "to": new} for key, (old, new) in plan.changes.items()},
        "folder": "",
    }


def _show(told: dict[str, Any], apply: bool) -> None:
    if told["was_closed"]:
        _show_closed(told, apply)
        return
    if told["obstacles"]:
        show(f"epoch {told['epoch']} cannot be closed now:")
        for obstacle in told["obstacles"]:
            show(f"  {obstacle}")
        note("exit what is open, let serve run until nothing is, stop it, and try again")
        note("next: pink-ctl status")
        raise typer.Exit(ExitCode.REFUSED)
    verb = "closed" if apply else "would close"
    show(f"{verb} epoch {told['epoch']} with {told['records']} records; it goes along:")
    for name, value in told["carried"].items():
        show(f"  {name + ':':<36}{value}")
    for key, change in told["changes"].items():
        show(f"  {key}: {change['from']} becomes {change['to']}")
    if not apply:
        note("nothing was changed; to do it:")
        note(f"next: {again(add=('--apply',))}")
    elif told["folder"]:
        show(f"epoch {told['next_epoch']} is open; the old one is in {told['folder']}")
        note("next: pink-ctl serve")
    else:
        show(f"the next start begins epoch {told['next_epoch']}")
        note("next: pink-ctl serve, of this release or of the new one")


def _show_closed(told: dict[str, Any], apply: bool) -> None:
    if told["next_epoch"]:
        show(f"epoch {told['next_epoch']} is open; the one before it had been closed already")
        note("next: pink-ctl serve")
        return
    show("the epoch is closed already, and the next one is not open yet")
    note("the next start begins it" + ("" if apply else ", or this with --apply"))
    note("next: pink-ctl serve")
