"""Asking a verb of the running kernel, or of its journal when nobody runs.

Shared by `reconcile`, `anchor` and `smoke`: which installation, who asks, and where the answer
comes from.
"""

from __future__ import annotations

import os
from typing import Any

from dita.clock import SystemClock
from dita.errors import NotRunning

from .operator import PATIENCE_S, Typed, operator_of, reach
from .show.render import note, speak_of


def ask(request: dict[str, Any], typed: Typed, timeout_s: int = 120) -> dict[str, Any]:
    """The answer; errors end the command with their words and exit code."""
    from dita.runtime.server.call import call

    request = {**request, "operator": operator_of(typed.operator), "reason": typed.reason}
    try:
        serve = reach(typed, visits=True)
    except NotRunning:
        return _visit(request, typed)
    # What serve has not begun by then is not done any more; what it has begun may take longer.
    return call(serve.directory, request, timeout_s, taken_within_s=PATIENCE_S)


def _visit(request: dict[str, Any], typed: Typed) -> dict[str, Any]:
    """Nobody runs: be serve for one question, with the settings of the installation."""
    from dita.runtime.server.one_shot import check_there, visit
    from dita.runtime.state.directory import directory_of, installed
    from dita.runtime.state.place import place_by_settings

    check_there(directory_of(typed.config, typed.state_dir, os.environ), request["verb"])
    settings, directory = installed(typed.config, typed.state_dir, os.environ)
    speak_of(place_by_settings(settings, directory), quiet=typed.as_json)
    return visit(settings, directory, SystemClock(), request, note)
