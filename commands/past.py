"""The past of a state directory, for the commands that tell of it: which directory, its index, and
what the index cannot know.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .show.render import note, speak_of_directory

if TYPE_CHECKING:
    from dita.runtime.history.index import Index


def the_past(config: Path | None, state_dir: Path | None, *, quiet: bool) -> tuple[Path, Index]:
    """The directory, which is said first unless ``quiet``, and the index of its journal."""
    from dita.runtime.history.index import Index

    directory = speak_of_directory(config, state_dir, quiet=quiet)
    index = Index.open(directory)
    if index.begins_behind:
        note(
            f"what came up to record {index.begins_behind} was archived and is not in here;"
            " next: pink-ctl runbook journal"
        )
    return directory, index
