"""Which installation a command speaks to: its settings file and its state directory.

Every command starts here, so that all of them find the same place: the options, then PINK_CONFIG,
then the one file in /etc/pink.  The packaged demo is never taken by itself.  Imports nothing heavy:
a command that only needs the directory does not load the settings.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dita.errors import SettingsError, shown

if TYPE_CHECKING:
    from dita.settings import Settings

#: Where an installation keeps its settings; taken when there is exactly one *.toml in it.
INSTALLED: Final = Path("/etc/pink")
VARIABLE: Final = "PINK_CONFIG"
#: What is typed instead of a file for the packaged settings: no exchange, nobody's money.
DEMO: Final = "demo"
DIRECTORY_VARIABLE: Final = "PINK__JOURNAL__DIRECTORY"
DIRECTORY_DEFAULT: Final = "pink-journal"
NONE: Final = "none of them"


class Found(NamedTuple):
    """A settings file and how it was found.  ``file`` None: the packaged demo, by its name."""

    file: Path | None
    how: str


class Place(NamedTuple):
    """A state directory, and the settings file that named it or stood beside it, if any."""

    directory: Path
    found: Found | None


class NoInstallation(SettingsError):
    """No settings file is named, and /etc/pink has none."""


def find_settings(config: Path | None, environ: Mapping[str, str]) -> Found:
    """The settings file of the installation.  SettingsError when none or several could be meant."""
    if config is not None:
        return _file(str(config), "--config")
    if environ.get(VARIABLE):
        return _file(environ[VARIABLE], VARIABLE)
    try:
        names = sorted(name for name in os.listdir(INSTALLED) if name.endswith(".toml"))
        there = ", ".join(str(INSTALLED / name) for name in names) or NONE
    except FileNotFoundError:
        names, there = [], NONE
    except OSError as bad:
        names, there = [], f"{INSTALLED}: {bad.strerror}"
    if len(names) == 1:
        return Found(INSTALLED / names[0], str(INSTALLED))
    chosen = str(INSTALLED / names[0]) if names else f"FILE (--config {DEMO}: the packaged demo)"
    refusal = SettingsError if there != NONE else NoInstallation
    raise refusal(
        "no installation is named",
        expected=f"--config FILE, {VARIABLE}, or exactly one {INSTALLED}/*.toml",
        found=there,
        action=f"add --config {chosen}",
    )


def _file(text: str, how: str) -> Found:
    return Found(None if text == DEMO else Path(text).absolute(), how)


def installed(
    config: Path | None, state_dir: Path | None, environ: Mapping[str, str]
) -> tuple[Settings, Path]:
    """The settings of the installation and its state directory.  SettingsError."""
    return load_from(find_settings(config, environ), state_dir, environ)


def prepared(
    config: Path | None, state_dir: Path | None, environ: Mapping[str, str]
) -> tuple[Settings, Path]:
    """The settings of exactly this file, None for the packaged demo's.  SettingsError."""
    found = Found(None if config is None else config.absolute(), "--config")
    return load_from(found, state_dir, environ)


def load_from(
    found: Found, state_dir: Path | None, environ: Mapping[str, str], *, keys: bool = True
) -> tuple[Settings, Path]:
    """Settings and state directory of a file that was found.  SettingsError.

    Without ``keys`` the files that hold the keys are not looked at.
    """
    from dita.settings import load

    overrides = {"journal.directory": str(state_dir.absolute())} if state_dir is not None else {}
    settings = load(found.file, environ, overrides, keys=keys)
    return settings, Path(settings.journal.directory).absolute()


def place_of(config: Path | None, state_dir: Path | None, environ: Mapping[str, str]) -> Place:
    """The state directory alone, from as little as possible.

    Nothing else of the settings is read: a slip in the file, or a key that somebody else owns, must
    not keep a running serve from being held.  SettingsError when no directory is named.
    """
    if state_dir is not None:
        given = config is not None or bool(environ.get(VARIABLE))
        return Place(state_dir.absolute(), find_settings(config, environ) if given else None)
    found = find_settings(config, environ)
    directory = environ.get(DIRECTORY_VARIABLE) or _directory_in(found)
    return Place(Path(directory).absolute(), found)


def directory_of(config: Path | None, state_dir: Path | None, environ: Mapping[str, str]) -> Path:
    """Only the state directory."""
    return place_of(config, state_dir, environ).directory


def _directory_in(found: Found) -> str:
    import tomllib

    label = str(found.file or "the packaged demo.toml")
    try:
        document: dict[str, Any] = tomllib.loads(_text_of(found.file))
    except (OSError, ValueError, RecursionError) as bad:
        raise SettingsError(
            f"settings file {label} refused",
            expected="a TOML file that names the state directory",
            found=getattr(bad, "strerror", None) or str(bad),
            action="correct it, or name the state directory itself with --state-dir",
        ) from bad
    journal = document.get("journal", {})
    directory = journal.get("directory", DIRECTORY_DEFAULT) if isinstance(journal, dict) else ""
    if not isinstance(directory, str) or not directory or not directory.isprintable():
        raise SettingsError(
            f"journal.directory refused ({label})",
            expected="the path of a state directory",
            found=shown(directory),
            action="correct it, or name the state directory itself with --state-dir",
        )
    return directory


def _text_of(file: Path | None) -> str:
    if file is not None:
        return file.read_text("utf-8")
    import importlib.resources

    return (importlib.resources.files("dita.configs") / "demo.toml").read_text("utf-8")
