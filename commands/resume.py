"""`pink-ctl resume`: the end of a hold, by a person's word.

Asks the running kernel through its control socket.
"""

from __future__ import annotations

from .hold import Symbol, control
from .operator import Again, Operator, Reason, Typed, send
from .options import Apply, AsJson, ConfigFile, StateDir


def resume(
    reason: Reason,
    symbol: Symbol = "",
    operator: Operator = "",
    again: Again = False,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """Let entries go again after a hold.

    If something else still keeps them out, the answer says what.

    \b
    Examples:
      pink-ctl resume --reason "maintenance over" --apply
      pink-ctl resume --symbol FET-USDT --reason "listed again" --apply
    """
    typed = Typed(reason, config, state_dir, apply, as_json, operator, again)
    send(control("resume: entries may come", "resume", symbol), typed)
