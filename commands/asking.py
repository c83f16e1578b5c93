"""Asking a verb of the running kernel, or of its journal when nobody runs.

Shared by `reconcile`, `anchor` and `smoke`: settings, state directory, operator, and where the
answer comes from.
"""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import Any

from .render import note


def ask(
    request: dict[str, Any], config: Path | None, state_dir: Path | None, timeout_s: int = 120
) -> dict[str, Any]:
    """The answer; errors end the command with their words and exit code."""
    from dita.clock import SystemClock
    from dita.runtime.start import prepared
    from dita.runtime.visiting import ask as ask_verb

    settings, directory = prepared(config, state_dir, os.environ)
    request = {"operator": getpass.getuser(), **request}
    return ask_verb(settings, directory, SystemClock(), request, note, timeout_s)
