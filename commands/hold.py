"""`pink-ctl hold`: no new risk from now on, by a person's word.

Asks the running kernel through its control socket; exits are never held.
"""

from __future__ import annotations

from .hands import Reason, send
from .options import Apply, AsJson, ConfigFile, StateDir


def hold(
    reason: Reason,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """No new entries: working ones are taken back, exits go on.

    \b
    Example:
      pink-ctl hold --reason "exchange maintenance" --apply
    """
    send("hold: no new entries", {"verb": "hold"}, reason, config, state_dir, apply, as_json)
