"""Archiving the oldest segments of a state directory's journal, while no serve runs on it.

Called by `pink-ctl journal archive`; which segments may go is the journal's own judgement.
"""

from __future__ import annotations

from pathlib import Path

from dita.engine import Engine
from dita.errors import UsageError
from dita.journal import Journal, JournalReader, SnapshotStore, archivable, archive
from dita.runtime.lock import StateLock
from dita.runtime.store import JOURNAL_FOLDER, SNAPSHOT_FOLDER


def archive_segments(directory: Path, target: Path, *, apply: bool) -> tuple[str, ...]:
    """Names of the segments that no start needs; with ``apply`` they are moved to the target.

    AlreadyRunning while a serve runs, UsageError when the target is no directory.
    """
    if not target.is_dir():
        raise UsageError(
            "no archive there",
            expected="--to to name a directory",
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
                archive(journal, names, str(target))
            return names
        finally:
            journal.close()
    finally:
        lock.release()


def _opened(folder: Path, snapshots: SnapshotStore) -> Journal:
    reader = JournalReader.open(folder)
    newest = snapshots.newest()
    if not reader.is_archived or newest is None:
        namespace = reader.epoch.namespace
    else:
        namespace = Engine.restore(newest.state).kernel.config.namespace
    return Journal.open(folder, namespace=namespace, created_ms=reader.report.epoch)
