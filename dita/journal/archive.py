"""Moving the oldest segments elsewhere, once the snapshots know the state behind them.

A start needs a snapshot and what came after it; history needs everything.  So a segment is copied,
the copy is compared, the journal notes durably that it need not be here any more, and only then the
original goes.  Copied back, the archive makes the journal whole again.
"""

from __future__ import annotations

import contextlib
import os

from msgspec import structs

from dita.errors import OperatorError
from dita.journal.disk import Disk, OsDisk, publish, write_all
from dita.journal.snapshots import SNAPSHOTS_KEPT, SnapshotStore
from dita.journal.writer import Journal


def archivable(journal: Journal, snapshots: SnapshotStore) -> tuple[str, ...]:
    """Names of the segments that no start needs, oldest first.

    Both snapshots that are kept have to be sound and to go on from them: one may be damaged later.
    """
    sound = [s.seq for s in snapshots.sound() if s.epoch == journal.report.epoch]
    if len(sound) < SNAPSHOTS_KEPT:
        return ()
    oldest = min(sound[:SNAPSHOTS_KEPT])
    segments = journal.segments
    after = segments[1:]
    return tuple(
        this.name
        for this, following in zip(segments, after, strict=False)
        if following.first_seq <= oldest + 1
    )


def archive(
    journal: Journal, names: tuple[str, ...], target: str, disk: Disk | None = None
) -> None:
    """Move these segments, the oldest ones, to a directory.  OperatorError; OSError."""
    used = disk or OsDisk()
    for name in names:
        _copy(used, f"{journal.directory}/{name}", target, name)
    rest = [s for s in journal.segments if s.name not in names]
    _leave_out(journal, used, rest[0].first_seq)


def _leave_out(journal: Journal, disk: Disk, before: int) -> None:
    """Remove the segments before the one that begins at a record.

    First it is written down, durably, that they need not be here.
    """
    with journal._lock:
        gone = [s for s in journal._segments[:-1] if s.first_seq < before]
        journal._marker.archived(before)
        for segment in gone:
            disk.unlink(f"{journal.directory}/{segment.name}")
            journal._segments.remove(segment)
        disk.fsync_directory(journal.directory)
        first, count = journal._segments[0].first_seq, len(journal._segments)
        journal.report = structs.replace(journal.report, first_seq=first, segments=count)


def _copy(disk: Disk, source: str, target: str, name: str) -> None:
    data = disk.read(source)
    path = os.path.join(target, name)
    with contextlib.suppress(FileNotFoundError):
        if disk.read(path) != data:
            raise OperatorError(
                "the archive has another segment of that name",
                expected=f"{path} not to be there, or to be the same as {source}",
                found="other content",
                action="archive somewhere else",
            )
        return
    temporary = f"{name}.tmp"
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(os.path.join(target, temporary))
    fd = disk.create(os.path.join(target, temporary))
    try:
        write_all(disk, fd, data, 0)
        publish(disk, target, fd, temporary, name)
    finally:
        disk.close(fd)
    if disk.read(path) != data:
        raise OperatorError(
            "the copy differs from the segment",
            expected=f"{path} to be the same as {source}",
            found="other content",
            action="nothing was removed; check the disk that it was copied to",
        )
