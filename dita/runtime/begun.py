"""The settings that a journal was begun with, held against those of this start.

A kernel and an account are made with the figures in the journal's first record, and every replay
uses them; a setting that says something else would be ignored, so it is refused instead.  So is
another kind of money than the state directory was begun with.
"""

from __future__ import annotations

from pathlib import Path

from dita.errors import SettingsError
from dita.journal import Epoch
from dita.settings import Settings
from dita.units import format_money


def begun_with(epoch: Epoch) -> dict[str, str | int | bool]:
    """The settings that are fixed for a journal's life, by key and as they would be written."""
    kernel, account = epoch.kernel, epoch.account
    return {
        "kernel.slot_limit": kernel.slot_limit,
        "kernel.hedge": kernel.hedge,
        "kernel.leverage_cap": kernel.leverage_cap,
        "kernel.balance_max_age_s": kernel.balance_max_age_ms // 1_000,
        "account.figure_tolerance_usdt": format_money(kernel.figure_tolerance),
        "account.warn_usdt": format_money(account.warn),
        "account.error_usdt": format_money(account.error),
    }


def hold_to_the_journal(epoch: Epoch, settings: Settings, directory: str) -> None:
    """SettingsError when a setting differs from what the journal was begun with."""
    fixed = begun_with(epoch)
    wanted = {f"{s.section}.{s.key}": s.value for s in settings.shown()}
    other = [key for key, value in fixed.items() if wanted[key] != value]
    if not other:
        return
    raise SettingsError(
        "settings differ from those that the journal was begun with",
        expected=", ".join(f"{key} = {_written(fixed[key])}" for key in other),
        found=", ".join(
            f"{key} = {_written(wanted[key])} ({settings.origins[key]})" for key in other
        ),
        action=f"keep the journal's value; or, to change it: flatten, stop, and start with another"
        f" state directory than {directory} (runbooks/serve.md)",
    )


def hold_to_the_money(directory: Path, settings: Settings) -> None:
    """SettingsError when the state directory was begun with another venue.environment.

    Orders of test money are unknown to the live venue and the other way round: a journal of one
    says nothing about the other.  The first start writes down which it is.
    """
    path, wanted = directory / "environment", settings.venue.environment.value
    begun = path.read_text().strip() if path.exists() else ""
    if not begun:
        temporary = path.with_suffix(".tmp")
        temporary.write_text(f"{wanted}\n")
        temporary.replace(path)
    elif begun != wanted:
        raise SettingsError(
            "the state directory belongs to other money",
            expected=f"venue.environment = {begun}, which {path} says",
            found=f"venue.environment = {wanted} ({settings.origins['venue.environment']})",
            action="give each environment a state directory of its own (journal.directory)",
        )


def _written(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
