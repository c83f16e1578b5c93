"""The settings that a journal was begun with, held against those of this start.

A kernel and an account are made with the figures in the journal's first record, and every replay
uses them; a setting that says something else would be ignored, so it is refused instead.  So is
another kind of money than the state directory was begun with, and a directory of somebody else's.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

from dita.errors import SettingsError
from dita.files import read_own, write_own
from dita.journal import Epoch
from dita.settings import Settings
from dita.units import format_money

_MONEY: Final = "environment"
_JOURNAL: Final = "begun"


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


def check_journal_settings(epoch: Epoch, settings: Settings, directory: str) -> None:
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
        action="keep the journal's value; or, to change it: flatten, stop, and `pink-ctl journal"
        f" roll --reason WHY` with these settings, which closes what is in {directory} and goes on"
        " (runbooks/serve.md)",
    )


def hold_to_the_owner(directory: Path) -> None:
    """SettingsError when others could change what is in the state directory, or it is another's.

    A start in somebody else's directory would leave files there that its owner cannot write.
    """
    found = os.stat(directory)
    if found.st_uid != os.geteuid():
        raise SettingsError(
            "the state directory belongs to another user",
            expected=f"{directory} to belong to user {os.geteuid()}, who runs this",
            found=f"user {found.st_uid}",
            action=f"run it as that user, or name another --state-dir; to hand it over:"
            f" chown -R {os.geteuid()} {directory}",
        )
    if found.st_mode & 0o022:
        raise SettingsError(
            "others may write into the state directory",
            expected=f"{directory} with mode 0700",
            found=f"mode {stat.S_IMODE(found.st_mode):04o}",
            action=f"look at who put what there, then: chmod 700 {directory}",
        )


def check_environment(directory: Path, settings: Settings) -> None:
    """SettingsError when the state directory was begun with another venue.environment.

    Orders of test money are unknown to the live venue and the other way round: a journal of one
    says nothing about the other.  The first start writes down which it is.
    """
    path, wanted = directory / _MONEY, settings.venue.environment.value
    begun = _remembered(path)
    if not begun:
        write_own(path, f"{wanted}\n")
    elif begun != wanted:
        raise SettingsError(
            "the state directory belongs to other money",
            expected=f"venue.environment = {begun}, which {path} says",
            found=f"venue.environment = {wanted} ({settings.origins['venue.environment']})",
            action="give each environment a state directory of its own (journal.directory)",
        )


def known_epoch(directory: Path) -> int:
    """The epoch of the journal that was begun in a state directory; 0 while none was."""
    text = _remembered(directory / _JOURNAL)
    return int(text) if text.isdecimal() and len(text) < 20 else 0


def remember_the_journal(directory: Path, epoch: int) -> None:
    """Keep that there is a journal, so that a start after its loss does not begin another one."""
    if known_epoch(directory) != epoch:
        # A full disk must not keep a serve with positions from starting.
        with contextlib.suppress(OSError):
            write_own(directory / _JOURNAL, f"{epoch}\n")


def forget_the_journal(directory: Path) -> None:
    """The next start may begin a new one.  OSError."""
    with contextlib.suppress(FileNotFoundError):
        (directory / _JOURNAL).unlink()


def _remembered(path: Path) -> str:
    try:
        return read_own(path).strip()
    except OSError as bad:
        raise SettingsError(
            "a file of the state directory cannot be read",
            expected=f"{path} to be a file of ours, or not to be there",
            found=bad.strerror or str(bad),
            action="find out who put it there",
        ) from bad


def _written(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
