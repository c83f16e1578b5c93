"""Archiving the oldest segments of a state directory's journal, while no serve runs on it.

Called by `pink-ctl journal archive`; which segments may go is the journal's own judgement.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from dita.clock import SystemClock
from dita.errors import OperatorError, UsageError
from dita.journal import Journal, JournalReader, SnapshotStore, archivable, archive
from dita.runtime.history.index import FILE, Index
from dita.runtime.state.lock import StateLock
from dita.runtime.state.retention import archive_epochs
from dita.runtime.state.store import JOURNAL_FOLDER, SNAPSHOT_FOLDER


def archive_segments(
    directory: Path, target: Path, *, keep_days: int, apply: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the segments that no start needs, and of the epochs that were closed more than
    ``keep_days`` ago; with ``apply`` they are moved to the target.

    AlreadyRunning while a serve runs, UsageError when the target is no directory.
    """
    if not target.is_dir():
        raise UsageError(
            "the archive directory does not exist",
            expected="an existing directory for --to",
            found=str(target),
            action=f"make it first: install -d -m 700 {target}",
        )
    lock = StateLock(directory)
    try:
        snapshots = SnapshotStore(directory / SNAPSHOT_FOLDER)
        journal = _opened(directory / JOURNAL_FOLDER, snapshots)
        try:
            names = archivable(journal, snapshots)
            if apply and names:
                _remember(directory)
                archive(journal, names, str(target))
            now_ms = SystemClock().now_ms()
            return names, archive_epochs(directory, target, keep_days, now_ms, apply=apply)
        finally:
            journal.close()
    finally:
        lock.release()


def _remember(directory: Path) -> None:
    """Bring the index of trades and events up to date, so that it goes on knowing what they were.

    OperatorError when that fails: nothing is archived then.
    """
    try:
        Index.open(directory).close()
    except sqlite3.Error as bad:
        raise OperatorError(
            "the index of trades was not brought up to date",
            expected=f"a file that can be written: {directory / FILE}",
            found=str(bad),
            action="make room, or remove that file: it is made anew",
        ) from bad


def _opened(folder: Path, snapshots: SnapshotStore) -> Journal:
    reader = JournalReader.open(folder)
    newest = snapshots.newest()
    if not reader.is_archived or newest is None:
        namespace = reader.epoch.namespace
    else:
        namespace = newest.engine().kernel.config.namespace
    return Journal.open(folder, namespace=namespace, created_ms=reader.report.epoch)
