"""`pink-ctl anchor`: re-base our checksum on the exchange's wallet, the drift booked by cause.

For drift that has been looked into and will not explain itself any more.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dita.errors import ExitCode

from .operator import Operator, Reason, Typed
from .options import Apply, AsJson, ConfigFile, StateDir
from .show.render import emit_json, note, show
from .typed import again

Everything = Annotated[
    bool, typer.Option("--everything", help="Book also what may still be explained.")
]


def anchor(
    reason: Reason,
    everything: Everything = False,
    operator: Operator = "",
    config: ConfigFile = None,
    state_dir: StateDir = None,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """Book the drift by cause and start again from the wallet.

    Exit 0 done or planned, 1 drift is left, 5 refused: money is still moving, or
    the drift may still be explained; 6 the exchange did not answer.

    \b
    Examples:
      pink-ctl anchor --reason "bonus credited on 2 June"
      pink-ctl anchor --reason "bonus credited on 2 June" --apply
    """
    from .request import ask

    request = {"verb": "anchor", "apply": apply, "everything": everything}
    typed = Typed(reason, config, state_dir, apply, as_json, operator)
    record = ask(request, typed)["anchor"]
    if as_json:
        emit_json(record)
    else:
        _tell(record)
    if record["applied"] and record["drift_after"] != "0":
        note("drift is left: the account changed meanwhile; run it again")
        raise typer.Exit(ExitCode.DIFFERENCE)


def _tell(record: dict[str, Any]) -> None:
    applied, parts = record["applied"], record["adjustments"]
    verb = "booked" if applied else "would book"
    if not parts:
        show("no drift: nothing to book")
    for cause, amount in parts.items():
        show(f"{verb} {_signed(amount)} USDT  {cause.replace('_', ' ')}")
    for name, key in (("capital", "capital"), ("K", "k")):
        show(f"{name:<8}{record[f'{key}_before']} → {record[f'{key}_after']}")
    if applied:
        frozen = ", ".join(record["entries_frozen"])
        entries = f"frozen: {frozen}" if frozen else "free"
        show(f"drift now {record['drift_after']}; entries {entries}")
    elif parts:
        note("nothing was booked; to do it:")
        note(f"next: {again(add=('--apply',))}")


def _signed(amount: str) -> str:
    return amount if amount.startswith("-") else f"+{amount}"
