"""From settings to a chronicle: which lines, how they look, where they go, and who is called."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from dita.clock import Clock
from dita.contracts import KernelMode, KernelVerbosity
from dita.runtime.eventlog.alerts import Alerter
from dita.runtime.eventlog.chronicle import Chronicle
from dita.runtime.eventlog.event import Level
from dita.runtime.eventlog.output import LogFile, Output
from dita.settings import LogFormat, Settings

#: runtime.verbosity: what needs a person, what happens, every input.
LEVELS: Final = {
    KernelVerbosity.QUIET: Level.WARNING,
    KernelVerbosity.VERBOSE: Level.INFO,
    KernelVerbosity.TRACE: Level.DEBUG,
}


def open_chronicle(
    settings: Settings, clock: Clock, *, board: Callable[[str], object] | None = None
) -> Chronicle:
    """The log and the alerts of a serve.  ``board`` takes the loud lines in stderr's place."""
    log, alerts, runtime = settings.log, settings.alerts, settings.runtime
    file = LogFile(log.file, max_bytes=log.max_bytes, keep=log.keep) if log.file else None
    output = Output(
        level=LEVELS[runtime.verbosity],
        as_json=log.format is LogFormat.JSON,
        file=file,
        board=board,
    )
    chronicle = Chronicle(
        clock,
        output,
        trace=runtime.verbosity is KernelVerbosity.TRACE,
        detail=runtime.mode is KernelMode.DEBUG,
    )
    if alerts.command:
        chronicle.alerter = Alerter(
            alerts.command,
            whose=whose(settings),
            throttle_s=alerts.throttle_s,
            clock=clock,
            complain=chronicle.complain,
        )
        if not os.access(alerts.command, os.X_OK):
            chronicle.alerter.problem = "it cannot be run"
            chronicle.complain(f"{alerts.command} cannot be run: nobody will be called")
    return chronicle


def whose(settings: Settings) -> str:
    """Which kernel, and whose money."""
    return f"{settings.kernel.namespace} ({settings.venue.environment})"
