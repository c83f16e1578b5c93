"""`pink-ctl reconcile`: our view beside the exchange's, and the plan that settles it.

Looks first; a plan is written to a file, and only that file is applied.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dita.errors import ExitCode, UsageError
from dita.files import read_limited

from .completion import symbols
from .operator import Operator, Typed
from .options import AsJson, ConfigFile, StateDir
from .show.render import emit_json, note, print_rich, show
from .typed import again, quoted

#: Of a plan; one for every slot of a big table has a tenth of it.
_PLAN_BYTES_MAX = 16 * 2**20

Out = Annotated[
    Path | None, typer.Option("--out", metavar="PLAN", help="Write the plan to this new file.")
]
ApplyPlan = Annotated[
    Path | None,
    typer.Option("--apply", metavar="PLAN", help="Carry out exactly this plan, or refuse."),
]
WhenFlat = Annotated[
    bool, typer.Option("--when-flat", help="Refuse unless no position is open and no order works.")
]
Symbols = Annotated[
    list[str] | None,
    typer.Option(
        "--symbol",
        metavar="SYMBOL",
        help="Compare this symbol too; may be repeated.",
        autocompletion=symbols,
    ),
]
Adopt = Annotated[
    list[str] | None,
    typer.Option("--adopt", metavar="SYMBOL", help="Plan to take over the foreign position on it."),
]
Why = Annotated[
    str,
    typer.Option("--reason", metavar="TEXT", help="Why; it is journalled. Needed with --apply."),
]


def reconcile(
    out: Out = None,
    apply: ApplyPlan = None,
    reason: Why = "",
    when_flat: WhenFlat = False,
    symbol: Symbols = None,
    adopt: Adopt = None,
    operator: Operator = "",
    config: ConfigFile = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Compare orders, positions and money with the exchange.

    Exit 0 no difference, or only remarks that need no act; 1 a difference; 5
    refused: the exchange has moved, or the plan is too old or of another
    journal; 6 the exchange did not answer.

    \b
    Examples:
      pink-ctl reconcile
      pink-ctl reconcile --out plan.json
      pink-ctl reconcile --apply plan.json --reason "closed by hand"
    """
    typed = Typed(reason, config, state_dir, apply is not None, as_json, operator)
    if apply is not None:
        _apply(apply, when_flat, typed)
        return
    from .request import ask

    request = {
        "verb": "reconcile",
        "symbols": symbol or [],
        "adopt": adopt or [],
        "when_flat": when_flat,
    }
    record = ask(request, typed)["reconcile"]
    if out is not None:
        _write(out, record["plan"])
    if as_json:
        emit_json(record)
    else:
        _draw(record)
    if record["differences"]:
        if out is None:
            note("nothing was changed; to write the plan to a file:")
            note(f"next: {again(add=('--out', 'plan.json'))}")
        else:
            note("nothing was changed; read the plan, then:")
            note(f"next: pink-ctl reconcile --apply {quoted(str(out))} --reason WHY")
        raise typer.Exit(ExitCode.DIFFERENCE)


def _apply(path: Path, when_flat: bool, typed: Typed) -> None:
    import json

    from .request import ask

    if not typed.reason:
        raise UsageError("reason missing", expected="--reason with --apply", found="none")
    try:
        plan = json.loads(read_limited(path, _PLAN_BYTES_MAX))
    except (OSError, ValueError, RecursionError) as bad:
        raise UsageError("plan not readable", expected="a file from --out", found=str(bad)) from bad
    request = {"verb": "reconcile_apply", "plan": plan, "when_flat": when_flat}
    answer = ask(request, typed, timeout_s=600)
    if typed.as_json:
        emit_json(answer)
    else:
        for done in answer["done"]:
            show(f"{done['step']}: {done['result']}")
        show()
        if answer["reconcile"]:
            _draw(answer["reconcile"])
    if not answer["reconcile"]:
        note(f"done, but the comparison afterwards failed: {answer['problem']}")
        raise typer.Exit(ExitCode.VENUE)
    if answer["reconcile"]["differences"]:
        raise typer.Exit(ExitCode.DIFFERENCE)


def _write(path: Path, plan: dict[str, Any]) -> None:
    """A new file, for this user only; one that is there is never overwritten."""
    import json
    import os

    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as bad:
        raise UsageError("plan not written", expected="a new file", found=str(bad)) from bad
    with os.fdopen(fd, "w") as file:
        json.dump(plan, file, indent=1)
    note(f"plan {plan['plan_id']} with {len(plan['steps'])} steps: {path}")


def _draw(record: dict[str, Any]) -> None:
    from .show.comparison import sides

    print_rich(lambda width: sides(record, width))
