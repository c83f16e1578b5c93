"""pink-ctl in this process, as typed: real argv, real exit codes, a terminal or a pipe.

A process of its own costs a third of a second; what is the same in both is tested here.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

app: Any = importlib.import_module("dita.commands.app")


#: Colours and weights, which a person sees and a comparison does not.
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class Done(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    stdout: str
    stderr: str


class _Terminal(io.StringIO):
    """Text that somebody looks at."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@contextmanager
def _streams(*, terminal: bool) -> Iterator[tuple[io.StringIO, io.StringIO]]:
    out, err = (_Terminal() if terminal else io.StringIO() for _ in range(2))
    with patch("sys.stdout", out), patch("sys.stderr", err):
        yield out, err


def typed(*words: str, width: int = 0, environ: Mapping[str, str] | None = None) -> Done:
    """Run a command; with a width on a terminal of so many columns, else into a pipe."""
    variables = {"TERM": "xterm-256color", **(environ or {})}
    if width:
        variables["COLUMNS"] = str(width)
    with (
        patch.dict("os.environ", variables),
        patch.object(sys, "argv", ["pink-ctl", *words]),
        patch.object(app, "secure", lambda: None, create=True),  # of the process's own streams
        _streams(terminal=bool(width)) as (out, err),
    ):
        try:
            app.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    said = (out.getvalue(), err.getvalue())
    return Done(code, *(_ESCAPES.sub("", text) if width else text for text in said))


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own are for one user."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def another_user(uid: int = 12_345) -> Iterator[None]:
    """Be a user that the system has no name for."""
    os.setresuid(uid, uid, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
