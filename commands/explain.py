"""`pink-ctl explain`: why a trade, a slot or an order is as it is.

Replays the journal and shows each input that concerned it, with its place in the journal.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from .options import AsJson, ConfigFile, StateDir
from .render import emit_json, note, show, show_table


def explain(
    what: Annotated[str, typer.Argument(metavar="TRADE|SLOT|ORDER", help="What to explain.")],
    config: ConfigFile = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Show the chain of causes: input, transition, money, with journal positions.

    Works from the journal alone, also while serve is down.

    \b
    Examples:
      pink-ctl explain T1
      pink-ctl explain 1767767539205742592 --json
    """
    from dita.journal import JournalReader
    from dita.runtime.explain import chain
    from dita.runtime.factory import JOURNAL_FOLDER
    from dita.runtime.start import directory_of

    directory = directory_of(config, state_dir, os.environ)
    reader = JournalReader.open(directory / JOURNAL_FOLDER)
    rows = [link.row() for link in chain(reader, what)]
    if as_json:
        emit_json({"what": what, "links": rows})
        return
    _show(what, rows)


def _show(what: str, rows: list[dict[str, Any]]) -> None:
    from .board import places

    money = [row for row in rows if row["realized"] != "0" or row["trueup"] != "0"]
    last = rows[-1]
    show(
        f"{what}: {len(rows)} inputs, {len(money)} moved money; now {last['after'] or last['code']}"
    )
    show_table(
        ("seq", "input", "before→after", "filled", "size", "realized", "fee", "asked"),
        [
            (
                row["seq"],
                row["input"] if row["code"] == "OK" else f"{row['input']} {row['code']}",
                row["after"]
                if row["before"] == row["after"]
                else f"{row['before']}→{row['after']}",
                row["filled"] if row["filled"] != "0" else "",
                row["size"],
                places(row["realized"], sign=True) if row["realized"] != "0" else "",
                places(row["fee"]) if row["fee"] != "0" else "",
                " ".join(row["asked"]),
            )
            for row in rows
        ],
        right={"seq", "filled", "size", "realized", "fee"},
    )
    note("--json has every digit, times and reasons")


def _states(row: dict[str, Any]) -> str:
    return row["after"] if row["before"] == row["after"] else f"{row['before']}→{row['after']}"
