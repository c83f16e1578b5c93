"""The past of a state directory, for the commands that tell of it: which directory, its index, and
what the index cannot know.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .show.render import note, speak_of_directory

if TYPE_CHECKING:
    from dita.runtime.history.past import Past


def the_past(config: Path | None, state_dir: Path | None, *, quiet: bool) -> tuple[Path, Past]:
    """The directory, which is said first unless ``quiet``, and the past in it, over every roll."""
    from dita.runtime.history.past import Past

    directory = speak_of_directory(config, state_dir, quiet=quiet)
    index = Past.open(directory)
    if index.begins_behind:
        note(
            f"records up to {index.begins_behind} are archived and not in here: `pink-ctl runbook"
            " journal` says where they are"
        )
    return directory, index
