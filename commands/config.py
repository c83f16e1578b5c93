"""`pink-ctl config`: the settings that a run would use, each with the place it comes from.

Calls dita.settings.load with this process's environment and shows the result; every rule is there.
Secrets are shown as references, with a word on whether they could be read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dita.errors import ExitCode

from .options import AsJson, ConfigFile
from .show.render import emit_json, note, show, show_table

if TYPE_CHECKING:
    from dita.settings import Setting, Settings

MONEY = {
    "mock": "no exchange: nobody's money",
    "vst": "BingX VST: the exchange's test money",
    "live": "BingX LIVE: REAL MONEY",
}
COLUMNS = ("setting", "value", "from")


def config() -> None:
    """Show the settings in use and where each comes from.

    \b
    Examples:
      pink-ctl config show
      pink-ctl config show --config /etc/pink/pink-vst.toml
      pink-ctl config show --json
    """


def config_show(file: ConfigFile = None, as_json: AsJson = False) -> None:
    """Print every setting with its value, its origin, and a hash.

    Exit 78, as serve would, when a setting is wrong or a key cannot be read; the
    message names it.

    \b
    Example:
      pink-ctl config show --config /etc/pink/pink-vst.toml
    """
    from dita.settings import load

    settings = load(_file(file), os.environ, {})
    rows = list(settings.shown())
    if as_json:
        emit_json(_as_json(settings, rows))
    else:
        _show(settings, rows)
    unusable = [row for row in rows if row.state not in ("", "set")]
    for row in unusable:
        note(f"{row.section}.{row.key}: {row.value} is {row.state}; serve would end with 78")
    if unusable:
        raise typer.Exit(ExitCode.SETTINGS)


def _file(given: Path | None) -> Path | None:
    """The file of the installation; without one the packaged demo's, and that is said."""
    from dita.runtime.state.directory import NoInstallation, find_settings

    try:
        return find_settings(given, os.environ).file
    except NoInstallation:
        note("no installation is named: these are the packaged demo's settings (--config demo)")
        return None


def _show(settings: Settings, rows: list[Setting]) -> None:
    kernel = settings.kernel
    show(MONEY[settings.venue.environment])
    show(
        f"{kernel.namespace}: {kernel.slot_limit} slots, leverage up to {kernel.leverage_cap}, "
        f"{'hedge' if kernel.hedge else 'one-way'} mode"
    )
    show(f"settings_hash {settings.settings_hash}")
    show(f"file {settings.file}")
    line = f"{settings.file}:"  # named once above, so that the table is not twice as wide
    cells = [(row.key, _value(row), row.origin.replace(line, "line ")) for row in rows]
    # Padded to the widest of all sections, so that the columns stand below one another.
    key, value = (max(len(row[column]) for row in cells) for column in (0, 1))
    for section in dict.fromkeys(row.section for row in rows):
        show_table(
            (COLUMNS[0].ljust(key), COLUMNS[1].ljust(value), COLUMNS[2]),
            [cell for row, cell in zip(rows, cells, strict=True) if row.section == section],
            title=section,
        )


def _value(row: Setting) -> str:
    if row.value is True or row.value is False:
        return "true" if row.value else "false"
    return f"{row.value} ({row.state})" if row.state else str(row.value)


def _as_json(settings: Settings, rows: list[Setting]) -> dict[str, Any]:
    return {
        "settings_hash": settings.settings_hash,
        "file": settings.file,
        "settings": dict(_sections(rows)),
    }


def _sections(rows: list[Setting]) -> Iterator[tuple[str, dict[str, Any]]]:
    for section in dict.fromkeys(row.section for row in rows):
        yield (
            section,
            {
                row.key: {"value": row.value, "origin": row.origin}
                | ({"state": row.state} if row.state else {})
                for row in rows
                if row.section == section
            },
        )
