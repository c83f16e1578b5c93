"""Options that several commands share, as type aliases: `def status(as_json: AsJson = False)`.

They are options of each command and not of pink-ctl itself, because operators type them at the
end of the line. Used by the command modules; knows nothing of what they do.
"""

from pathlib import Path
from typing import Annotated

import typer

from .completion import settings_files

AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object, for programs, instead of text.")
]
Apply = Annotated[
    bool, typer.Option("--apply", help="Do it. Without this the plan is printed and nothing done.")
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings file; else PINK_CONFIG, else the one in /etc/pink.",
        autocompletion=settings_files,
    ),
]
StateDir = Annotated[
    Path | None,
    typer.Option("--state-dir", metavar="DIR", help="Journal, snapshots, lock and socket."),
]
