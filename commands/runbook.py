"""`pink-ctl runbook`: the pages for who is on call, where no checkout is at hand.

Prints a page as it is written; reads nothing but the installed package.
"""

from __future__ import annotations

import importlib.resources
from typing import Annotated

import typer

from dita.errors import UsageError

from .completion import pages
from .options import AsJson
from .show.render import emit_json, show


def runbook(
    name: Annotated[
        str,
        typer.Argument(metavar="[NAME]", help="The page. Default: list all.", autocompletion=pages),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Print a page of the runbooks, or the list of them.

    \b
    Examples:
      pink-ctl runbook
      pink-ctl runbook flatten
    """
    found = {name: _title(name) for name in pages("")}
    if name and name not in found:
        raise UsageError("no such page", expected=", ".join(found), found=name)
    text = _text(name) if name else ""
    if as_json:
        emit_json({"name": name, "text": text} if name else {"pages": found})
        return
    lines = text.splitlines() if name else [f"{each:<14}{title}" for each, title in found.items()]
    for line in lines:
        show(line)


def _text(name: str) -> str:
    return (importlib.resources.files("dita.runbooks") / f"{name}.md").read_text("utf-8")


def _title(name: str) -> str:
    """A page's heading, or the first sentence below it where that is only the command's name."""
    heading, first, *_ = _text(name).split("\n\n")
    heading = heading.removeprefix("# ")
    if not heading.startswith("pink-ctl"):
        return heading
    return " ".join(first.split()).partition(". ")[0].removesuffix(".")
