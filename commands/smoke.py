"""`pink-ctl smoke`: one live round trip of the smallest size, each step checked at the venue.

Shows the steps that the runtime took; sends nothing itself.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dita.errors import ExitCode, UsageError

from .completion import sides, symbols
from .operator import Operator, Typed
from .options import AsJson, ConfigFile, StateDir
from .show.render import emit_json, note, show

Symbol = Annotated[
    str,
    typer.Option(
        "--symbol", metavar="SYMBOL", help="Symbol, such as TRX-USDT.", autocompletion=symbols
    ),
]
Side = Annotated[
    str, typer.Option("--side", metavar="SIDE", help="LONG or SHORT.", autocompletion=sides)
]
Price = Annotated[
    str,
    typer.Option(
        "--price", metavar="PRICE", help="For the minimum. Default: the exchange's mark price."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be sent; send nothing.")]
LiveMoney = Annotated[bool, typer.Option("--live-money", help="Allow real money.")]
Why = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is journalled.")]


def smoke(
    symbol: Symbol,
    side: Side = "LONG",
    price: Price = "",
    reason: Why = "smoke test",
    dry_run: DryRun = False,
    live_money: LiveMoney = False,
    operator: Operator = "",
    config: ConfigFile = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Trade the smallest quantity once and check every figure.

    Exit 0 all equal, 1 a check failed, 5 refused: real money, or something is
    open on the symbol; 6 the exchange did not answer. After a failure it still
    tries to exit; the last lines say whether the position is closed.

    \b
    Examples:
      pink-ctl smoke --symbol TRX-USDT --dry-run
      pink-ctl smoke --symbol TRX-USDT
    """
    from .request import ask

    if side.upper() not in ("LONG", "SHORT"):
        raise UsageError("side refused", expected="LONG or SHORT", found=side)
    request = {
        "verb": "smoke",
        "symbol": symbol,
        "side": side.upper(),
        "price": price,
        "dry_run": dry_run,
        "live_money": live_money,
    }
    typed = Typed(reason, config, state_dir, not dry_run, as_json, operator)
    record = ask(request, typed, timeout_s=300)["smoke"]
    if as_json:
        emit_json(record)
    else:
        _tell(record, dry_run)
    if record["left_open"]:
        note(f"{record['trade']} is still open")
        note(f"next: pink-ctl intent exit --all --trade {record['trade']} --reason WHY --apply")
    if record["code"]:
        raise typer.Exit(record["code"] or ExitCode.DIFFERENCE)


def _tell(record: dict[str, Any], dry_run: bool) -> None:
    for step in record["steps"]:
        show(f"{'✓' if step['ok'] else '✗'} {step['step']:<14} {step['text']}")
    if dry_run:
        note("nothing was sent; leave --dry-run away to do it")
    else:
        show(f"trade {record['trade']}")
        note(f"next: pink-ctl explain {record['trade']}")
