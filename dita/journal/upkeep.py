"""What is asked about the files of a journal that is being written: are they there, how large?

Called beside the writer, never on the way of an order.
"""

from __future__ import annotations

from dita.journal.writer import Journal


def missing(journal: Journal) -> str:
    """What is no longer where it was opened; "" while everything is.

    What was removed or moved can still be written and synced, so only looking tells.  May wait for
    a sync that is under way.
    """
    with journal._lock:
        if journal._broken:
            return ""
        newest = journal._path(journal.segments[-1].name)
        files = ((newest, journal._fd), *journal._water.files())
        gone = (path for path, fd in files if not journal._disk.is_at(path, fd))
        return next((f"{path}: not where it was opened" for path in gone), "")


def size_bytes(journal: Journal) -> int:
    """What the segments take, their empty rest included; -1 when the disk does not tell."""
    try:
        paths = [journal._path(segment.name) for segment in journal.segments]
        return sum(journal._disk.size(path) for path in paths)
    except OSError:
        return -1


def free_bytes(journal: Journal) -> int:
    """What is left on the disk, the reserve not counted; -1 when it does not tell."""
    try:
        return journal._disk.free(journal.directory)
    except OSError:
        return -1
