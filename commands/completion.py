"""What the shell offers after an option: trades and symbols of the running serve, cases, files.

Called while somebody types, so it is quick, says nothing and never fails: no answer is no offer.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

from dita.errors import DitaError

ANSWER_S = 0.5


def _about(ctx: typer.Context) -> dict[str, Any]:
    from dita.runtime.server.call import call
    from dita.runtime.state.directory import directory_of

    def given(name: str) -> Path | None:
        value = ctx.params.get(name)
        return Path(str(value)) if value else None

    try:
        directory = directory_of(given("config"), given("state_dir"), os.environ)
        return dict(call(directory, {"verb": "about"}, ANSWER_S)["about"])
    except (DitaError, OSError, ValueError):
        return {}


def _starting(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def trades(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids of open trades."""
    return _starting(_about(ctx).get("trades", ()), incomplete)


def symbols(ctx: typer.Context, incomplete: str) -> list[str]:
    """Symbols that the exchange of the running serve lists."""
    return _starting(_about(ctx).get("symbols", ()), incomplete.upper())


def sides(incomplete: str) -> list[str]:
    """LONG and SHORT."""
    return _starting(("LONG", "SHORT"), incomplete.upper())


def cases(incomplete: str) -> list[str]:
    """Golden cases, by the names of their files."""
    import importlib.resources

    folder = importlib.resources.files("dita.configs") / "golden"
    names = (Path(case.name) for case in folder.iterdir())
    return _starting(sorted(n.stem for n in names if n.suffix == ".toml"), incomplete)


def pages(incomplete: str) -> list[str]:
    """Pages of the runbooks."""
    import importlib.resources

    names = (Path(page.name) for page in importlib.resources.files("dita.runbooks").iterdir())
    return _starting(sorted(n.stem for n in names if n.suffix == ".md"), incomplete)


def settings_files(incomplete: str) -> list[str]:
    """Settings files of the installation and of the folder that is being typed."""
    from dita.runtime.state.directory import DEMO, INSTALLED

    folder = Path(incomplete or ".")
    if incomplete and not incomplete.endswith("/"):
        folder = folder.parent
    found = [DEMO]
    for place in dict.fromkeys((INSTALLED, folder)):
        try:
            names = sorted(os.listdir(place))
        except OSError:
            continue
        found += [str(place / name) for name in names if name.endswith(".toml")]
        if place is folder:
            found += [f"{place / name}/" for name in names if (place / name).is_dir()]
    return _starting(found, incomplete)
