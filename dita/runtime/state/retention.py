"""Closed epochs that have been here long enough, moved to an archive: copied, compared, replayed.

Called by `pink-ctl journal archive`.  An epoch leaves only after its copy was read back byte by
byte and has replayed to the state that it was closed in.  It knows nothing of the open epoch.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from dita.errors import OperatorError
from dita.journal import JournalReader, SnapshotStore, closed_by
from dita.runtime.state.rolling import closed_epochs
from dita.runtime.state.store import JOURNAL_FOLDER, SNAPSHOT_FOLDER

DAY_MS = 86_400_000


def archive_epochs(
    directory: Path, target: Path, keep_days: int, now_ms: int, *, apply: bool
) -> tuple[str, ...]:
    """Closed epochs that ended more than ``keep_days`` ago; with ``apply`` they are moved.

    The caller has the lock.  OperatorError when a copy is not what it should be: the original
    stays.
    """
    found = []
    for folder in closed_epochs(directory):
        end = closed_by(JournalReader.open(folder / JOURNAL_FOLDER))
        if end is not None and now_ms - end.time_ms > keep_days * DAY_MS:
            found.append(folder.name)
            if apply:
                _move(folder, target, end.state_hash)
    return tuple(found)


def _move(folder: Path, target: Path, state_hash: str) -> None:
    copy, part = target / folder.name, target / f"{folder.name}.part"
    if copy.exists():
        raise OperatorError(
            "the archive has another epoch of that number",
            expected=f"{copy} not to be there",
            found="something",
            action="archive somewhere else",
        )
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(folder, part)
    for path in [*part.rglob("*"), part]:
        _sync(path)
    for original in folder.rglob("*"):
        copied = part / original.relative_to(folder)
        if original.is_file() and original.read_bytes() != copied.read_bytes():
            raise _differs(copied, "other content than the original")
    part.rename(copy)
    _sync(target)
    reader = JournalReader.open(copy / JOURNAL_FOLDER)
    engine, _ = SnapshotStore(copy / SNAPSHOT_FOLDER).restore(reader)
    if engine.state_hash() != state_hash:
        raise _differs(copy, f"state {engine.state_hash()[:16]}")
    shutil.rmtree(folder)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _differs(path: Path, found: str) -> OperatorError:
    return OperatorError(
        "the copy of an epoch is not what it should be",
        expected=f"{path} to be what it was copied from",
        found=found,
        action="nothing was removed; check the disk that it was copied to",
    )
