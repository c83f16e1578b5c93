"""Options that several commands share, as type aliases: `def status(as_json: AsJson = False)`.

They are options of each command and not of pink-ctl itself, because operators type them at the
end of the line. Used by the command modules; knows nothing of what they do.
"""

from pathlib import Path
from typing import Annotated

import typer

from .completion import settings_files

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs, instead of text.")]
Apply = Annotated[bool, typer.Option("--apply", help="Do it. Without it only the plan is printed.")]
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
    typer.Option("--state-dir", metavar="DIR", help="State directory: journal, snapshots, socket."),
]
