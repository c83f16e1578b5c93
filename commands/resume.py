"""`pink-ctl resume`: the end of a hold, by a person's word.

Asks the running kernel through its control socket.
"""

from __future__ import annotations

from .hands import Reason, send
from .options import Apply, AsJson, ConfigFile, StateDir


def resume(
    reason: Reason,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """Let entries come again after a hold.

    \b
    Example:
      pink-ctl resume --reason "maintenance over" --apply
    """
    send("resume: entries may come", {"verb": "resume"}, reason, config, state_dir, apply, as_json)
