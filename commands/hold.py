"""`pink-ctl hold`: no new risk from now on, by a person's word.

Asks the running kernel through its control socket; exits are never held.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .completion import symbols
from .operator import Again, Operator, Reason, Typed, Wish, send
from .options import Apply, AsJson, ConfigFile, StateDir

Symbol = Annotated[
    str,
    typer.Option(
        "--symbol",
        metavar="SYMBOL",
        help="Only this symbol. Default: all of them.",
        autocompletion=symbols,
    ),
]


def hold(
    reason: Reason,
    symbol: Symbol = "",
    operator: Operator = "",
    again: Again = False,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """Stop new entries; working entries are cancelled, exits go on.

    \b
    Examples:
      pink-ctl hold --reason "exchange maintenance" --apply
      pink-ctl hold --symbol FET-USDT --reason "delisting" --apply
    """
    typed = Typed(reason, config, state_dir, apply, as_json, operator, again)
    send(control("hold: no new entries", "hold", symbol), typed)


def control(what: str, verb: str, symbol: str) -> Wish:
    """A hold or a resume, of everything or of one symbol."""
    request: dict[str, Any] = {"verb": verb}
    if symbol:
        request["asset"] = symbol
        what += f" of {symbol}"
    return Wish(what, request)
