"""What every command does first: settings, and the state directory they name.

Called by commands with this process's environment; opens nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dita.settings import Settings, load


def prepared(
    config: Path | None, state_dir: Path | None, environ: Mapping[str, str]
) -> tuple[Settings, Path]:
    """The settings of a run and its state directory.  SettingsError."""
    overrides = {"journal.directory": str(state_dir)} if state_dir is not None else {}
    settings = load(config, environ, overrides)
    return settings, Path(settings.journal.directory).absolute()


def directory_of(config: Path | None, state_dir: Path | None, environ: Mapping[str, str]) -> Path:
    """Only the state directory."""
    if state_dir is not None:
        return state_dir.absolute()
    return prepared(config, None, environ)[1]
