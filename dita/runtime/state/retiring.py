"""Setting a journal aside that cannot be used any more, so that a new one can begin in its place.

Nothing is repaired and nothing is deleted: everything that has to do with the old journal goes into
a folder beside it.  Called by `pink-ctl journal retire`; it opens no venue.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from dita.errors import KernelFault, RefusedForSafety
from dita.files import write_own
from dita.journal import JournalReader, OtherRules, SnapshotStore
from dita.journal.highwater import SUFFIX
from dita.runtime.state.journal_settings import forget_the_journal
from dita.runtime.state.store import JOURNAL_FOLDER, SNAPSHOT_FOLDER

PREFIX: Final = "retired-"
_PARTS: Final = (JOURNAL_FOLDER, SNAPSHOT_FOLDER, f"{JOURNAL_FOLDER}{SUFFIX}")


def problem_of(directory: Path) -> str:
    """Why the journal of a state directory cannot be used, in words; "" when it can."""
    try:
        reader = JournalReader.open(directory / JOURNAL_FOLDER)
        SnapshotStore(directory / SNAPSHOT_FOLDER).restore(reader)
    except OtherRules as other:
        return f"{other.what}: found {other.found}"
    except KernelFault as fault:  # a JournalFault is one
        return f"{fault.what}: found {fault.found}"
    return ""


def parts_of(directory: Path) -> tuple[str, ...]:
    """What would be set aside."""
    return tuple(name for name in _PARTS if os.path.lexists(directory / name))


def retire(directory: Path, now_ms: int, why: dict[str, Any]) -> Path:
    """Set the journal aside and forget that it was begun here; where it is then.

    RefusedForSafety when it is sound: what it knows of open positions would be lost for nothing.
    """
    problem = problem_of(directory)
    if not problem:
        raise RefusedForSafety(
            "the journal is sound",
            expected="one that cannot be used any more",
            found=f"{directory / JOURNAL_FOLDER}, every record of it",
            action="start serve on it; for other settings see `pink-ctl runbook serve`",
        )
    folder = directory / f"{PREFIX}{now_ms}"
    folder.mkdir(mode=0o700)
    write_own(folder / "why.json", json.dumps({**why, "time_ms": now_ms, "problem": problem}))
    for name in parts_of(directory):
        (directory / name).rename(folder / name)
    # Last: until then a start refuses what is left, and this can be done again.
    forget_the_journal(directory)
    return folder


def retired(directory: Path) -> tuple[str, ...]:
    """Folders of journals that were set aside here, oldest first."""
    return tuple(sorted(path.name for path in directory.glob(f"{PREFIX}*")))
