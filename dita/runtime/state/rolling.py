"""Closing an epoch at a flat moment and going on in a new journal, whatever dies in between.

The old journal is closed by its last record; from then on the next epoch follows from that record
alone, so whoever opens the directory for writing next brings the roll to its end.  The new journal
is built aside and whole before anything is moved, and each move can be done again.  Old epochs stay
in ``epochs/``, each like a state directory of its own.  Nothing is deleted.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from msgspec.structs import replace

from dita.clock import MachineClock
from dita.display import amount
from dita.engine import Engine
from dita.errors import OperatorError, RefusedForSafety
from dita.journal import (
    Close,
    Disk,
    Epoch,
    Journal,
    JournalReader,
    OsDisk,
    OtherRules,
    SnapshotStore,
    begin_epoch,
    close_epoch,
    closed_by,
    next_epoch,
)
from dita.journal.failing import of_another_namespace
from dita.journal.highwater import SUFFIX
from dita.kernel import ExecutionKernel, KernelConfig
from dita.runtime.history.index import FILE, Index
from dita.runtime.state.journal_settings import (
    begun_with,
    known_epoch,
    remember_the_journal,
)
from dita.runtime.state.store import JOURNAL_FOLDER, SNAPSHOT_FOLDER, EpochClosed, Store
from dita.settings import Settings

ASIDE: Final = "rolling"
EPOCHS: Final = "epochs"
_MARK: Final = f"{JOURNAL_FOLDER}{SUFFIX}"
#: What goes with an epoch when it is closed; the journal last, as it says that the others are old.
_OLD: Final = (SNAPSHOT_FOLDER, FILE, _MARK, JOURNAL_FOLDER)


class Plan(NamedTuple):
    """What a roll would do, and what forbids it now."""

    epoch: int
    records: int
    obstacles: tuple[str, ...]
    #: What goes along, in words by name.
    carried: dict[str, str]
    #: Settings fixed for a journal's life: what they are and what they become.
    changes: dict[str, tuple[str, str]]


def open_store(
    directory: Path,
    settings: Settings,
    clock: MachineClock,
    disk: Disk | None = None,
    identity: bytes = b"",
) -> Store:
    """The store of a state directory; a roll that was begun is brought to its end first.

    ``identity`` is a new journal's, 16 bytes; by chance when it is not given.
    """
    used = disk or OsDisk()
    _finish(directory, used)
    try:
        return Store(directory, settings, clock, disk, known_epoch(directory), identity)
    except (EpochClosed, OtherRules):
        if not go_on(directory, settings, clock, used):
            raise
        return Store(directory, settings, clock, disk, known_epoch(directory), identity)


def unfinished(directory: Path) -> bool:
    """Did a roll die in the middle, so that the directory is in pieces until the next start?"""
    return (directory / ASIDE).is_dir()


def hold_to_no_roll(directory: Path) -> None:
    """OperatorError while a roll waits for its end: what one reads would be half of it."""
    if unfinished(directory):
        raise OperatorError(
            "a roll of the journal was interrupted",
            expected=f"no {directory / ASIDE}",
            found="the next epoch, whole, and not yet in its place",
            action="start serve, or `pink-ctl journal roll --reason WHY --apply`: either brings it"
            " to its end",
        )


# -- may it be done --------------------------------------------------------------------------------


def plan_of(directory: Path, settings: Settings) -> Plan | None:
    """What a roll would do; None when it was begun and has only to be brought to its end."""
    if unfinished(directory):
        return None
    reader = JournalReader.open(directory / JOURNAL_FOLDER)
    if closed_by(reader) is not None:
        return None
    return planned(SnapshotStore(directory / SNAPSHOT_FOLDER), reader, settings)[0]


def planned(
    store_of: SnapshotStore, reader: JournalReader, settings: Settings
) -> tuple[Plan, Engine]:
    """The plan for a journal, and the engine at its end."""
    engine, _ = store_of.restore(reader)
    kernel, account = engine.kernel, engine.snapshot
    found = list(_obstacles(kernel, settings.kernel.namespace))
    new = _next_config(kernel, settings, epoch=kernel.config.epoch + 1)
    try:
        Engine.carried(engine.save(), new, settings.account_config())
    except OperatorError as bad:
        if not found:
            found.append(str(bad))
    orders = [o for t in kernel.trades() for o in kernel.orders_of(t.trade_no)]
    carried = {
        "wallet": amount(account.e_wallet_balance),
        "K": amount(account.k_capital),
        "drift": amount(account.e_wallet_balance - account.k_capital, sign=True),
        "trades so far": str(account.trade_seq),
        "open records": str(sum(not t.closed for t in kernel.trades())),
        "orders whose late fills are known": str(len(orders)),
        "entries frozen by": ", ".join(kernel.freeze_causes()) or "nothing",
    }
    before = begun_with(Epoch(created_ms=0, kernel=kernel.config, account=engine.account.config))
    after = begun_with(Epoch(created_ms=0, kernel=new, account=settings.account_config()))
    changes = {k: (str(before[k]), str(after[k])) for k in before if before[k] != after[k]}
    epoch = kernel.config.epoch
    return Plan(epoch, reader.report.last_seq, tuple(found), carried, changes), engine


def _obstacles(kernel: ExecutionKernel, namespace: str) -> Iterator[str]:
    if namespace != kernel.config.namespace:
        yield f"the journal is of namespace {kernel.config.namespace}, the settings of {namespace}"
    for slot in kernel.active_slots():
        yield f"trade {slot.trade_id} is in slot {slot.slot_id} ({slot.state.name}, {slot.asset})"
    for trade in kernel.trades():
        for order in kernel.orders_of(trade.trade_no):
            if not order.final and not order.external:
                what = order.venue_order_id or order.client_order_id
                yield f"order {what} of trade {trade.trade_id} is not final ({order.status.name})"
        if not trade.closed:
            yield f"the record of trade {trade.trade_id} waits for the exchange's figures"
    ledger = kernel.ledger()
    if ledger.income_read_ms and ledger.income_read_ms < kernel.last_fill_ms:
        yield "history is not read past the last fill yet"


def _next_config(kernel: ExecutionKernel, settings: Settings, *, epoch: int) -> KernelConfig:
    """The next epoch's, with the epochs whose orders are still known."""
    old = kernel.config
    numbers = [o.order_no for t in kernel.trades() for o in kernel.orders_of(t.trade_no)]
    oldest = min(numbers, default=kernel.order_seq + 1)
    earlier = (*old.earlier, (old.epoch, kernel.order_seq))
    kept = tuple(each for each in earlier if each[1] >= oldest)
    return replace(settings.kernel_config(epoch=epoch), earlier=kept)


# -- doing it --------------------------------------------------------------------------------------


def close(
    directory: Path,
    settings: Settings,
    clock: MachineClock,
    why: tuple[str, str],
    disk: Disk | None = None,
) -> Close:
    """Close the open epoch; the caller has the lock.  ``why``: operator and reason.

    RefusedForSafety when something is open.
    """
    used = disk or OsDisk()
    snapshots = SnapshotStore(directory / SNAPSHOT_FOLDER, disk=used)
    reader = JournalReader.open(directory / JOURNAL_FOLDER, disk=used)
    plan, engine = planned(snapshots, reader, settings)
    if plan.obstacles:
        raise RefusedForSafety(
            "the journal is not rolled",
            expected="everything flat, every order final, history read past it",
            found="; ".join(plan.obstacles[:3]),
            action="exit what is open, let serve run until `pink-ctl status` shows nothing open,"
            " stop it, try again",
        )
    with contextlib.suppress(sqlite3.Error):  # it can be made anew from the journal
        Index.open(directory).close()
    namespace = engine.kernel.config.namespace
    journal = Journal.open(
        directory / JOURNAL_FOLDER, namespace=namespace, created_ms=1, disk=used, clock=clock
    )
    try:
        now_ms = max(clock.now_ms(), journal.resume_point.now_ms(clock), plan.epoch + 1)
        return close_epoch(
            journal, engine, next_epoch=now_ms, time_ms=now_ms, operator=why[0], reason=why[1]
        )
    finally:
        journal.close()


def go_on(
    directory: Path, settings: Settings, clock: MachineClock, disk: Disk | None = None
) -> int:
    """Begin the next epoch of a closed journal, or bring that to its end; 0 when neither was due.

    The caller has the lock.  OtherRules when a release with another layout closed it.
    """
    used = disk or OsDisk()
    if epoch := _finish(directory, used):
        return epoch
    reader = JournalReader.open(directory / JOURNAL_FOLDER, disk=used)
    end = closed_by(reader)
    if end is None:
        return 0
    _build(directory, _next_of(reader, end, settings), settings, clock, used)
    return _finish(directory, used)


def _next_of(reader: JournalReader, end: Close, settings: Settings) -> Epoch:
    namespace = reader.epoch.namespace if not reader.is_archived else settings.kernel.namespace
    if namespace != settings.kernel.namespace:
        raise of_another_namespace(settings.kernel.namespace, namespace)
    plain = replace(settings.kernel_config(epoch=end.next_epoch), earlier=())
    epoch = next_epoch(reader, end, plain, settings.account_config())
    old = Engine.restore(end.state_of(epoch.carried)).kernel
    return replace(epoch, kernel=_next_config(old, settings, epoch=end.next_epoch))


def _build(
    directory: Path, epoch: Epoch, settings: Settings, clock: MachineClock, disk: Disk
) -> None:
    """Make the new journal in a folder that gets its name when it is whole."""
    part = f"{directory}/{ASIDE}.part"
    _remove(disk, part)
    disk.make_directory(part)
    begin_epoch(
        f"{part}/{JOURNAL_FOLDER}",
        epoch,
        segment_bytes=settings.journal.segment_bytes,
        identity=os.urandom(16),
        disk=disk,
        clock=clock,
    )
    disk.fsync_directory(part)
    disk.rename(part, f"{directory}/{ASIDE}")
    disk.fsync_directory(str(directory))


def _remove(disk: Disk, part: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        for name in disk.list(f"{part}/{JOURNAL_FOLDER}"):
            disk.unlink(f"{part}/{JOURNAL_FOLDER}/{name}")
        disk.remove_directory(f"{part}/{JOURNAL_FOLDER}")
    with contextlib.suppress(FileNotFoundError):
        for name in disk.list(part):
            disk.unlink(f"{part}/{name}")
        disk.remove_directory(part)


def _finish(directory: Path, disk: Disk) -> int:
    """Put the epoch that was built in its place, and which that is; 0 while none was."""
    home, aside = str(directory), f"{directory}/{ASIDE}"
    try:
        built = disk.list(aside)
    except FileNotFoundError:
        return 0
    if not built and not unfinished(directory):
        return 0  # a disk in memory has no folders
    if JOURNAL_FOLDER in built:
        # What has the journal's name is still the old one, and so is all that belongs to it.
        epoch = JournalReader.open(f"{aside}/{JOURNAL_FOLDER}", disk=disk).epoch
        assert epoch.before is not None
        old = f"{home}/{EPOCHS}/{epoch.before.epoch}"
        disk.make_directory(f"{home}/{EPOCHS}")
        disk.make_directory(old)
        here = disk.list(home)
        for name in filter(here.__contains__, _OLD):
            disk.rename(f"{home}/{name}", f"{old}/{name}")
        disk.fsync_directory(old)
        disk.fsync_directory(home)
        disk.rename(f"{aside}/{JOURNAL_FOLDER}", f"{home}/{JOURNAL_FOLDER}")
        disk.fsync_directory(home)
    if _MARK in built:
        disk.rename(f"{aside}/{_MARK}", f"{home}/{_MARK}")
        disk.fsync_directory(home)
    reader = JournalReader.open(f"{home}/{JOURNAL_FOLDER}", disk=disk)
    remember_the_journal(directory, reader.report.epoch)
    disk.remove_directory(aside)
    disk.fsync_directory(home)
    return reader.report.epoch


def closed_epochs(directory: Path) -> tuple[Path, ...]:
    """Folders of the epochs before the open one, oldest first; each like a state directory."""
    folder = directory / EPOCHS
    with contextlib.suppress(FileNotFoundError):
        return tuple(sorted(folder.iterdir(), key=lambda path: int(path.name)))
    return ()
