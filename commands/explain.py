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
    from .board import figure

    money = [row for row in rows if row["realized"] != "0" or row["trueup"] != "0"]
    last = rows[-1]
    show(
        f"{what}: {len(rows)} inputs, {len(money)} moved money; now {last['after'] or last['code']}"
    )
    show_table(
        ("seq", "input", "new state", "filled", "size", "realized", "fee", "asked"),
        [
            (
                row["seq"],
                _input(row, count),
                "" if row["before"] == row["after"] else _short(row["after"]),
                row["filled"] if row["filled"] != "0" else "",
                row["size"],
                figure(row["realized"]) if row["realized"] != "0" else "",
                _fee(row["fee"]),
                " ".join(row["asked"]),
            )
            for row, count in _runs(rows)
        ],
        right={"seq", "filled", "size", "realized", "fee"},
        tight=True,
    )
    note("--json has every digit, times and reasons")


def _runs(rows: list[dict[str, Any]]) -> list[tuple[dict[str, Any], int]]:
    """Inputs in a row that changed nothing and say the same, as one: the last, and their number.

    A trade sees hundreds of prices between the inputs that matter.
    """
    runs: list[tuple[dict[str, Any], int]] = []
    for row in rows:
        if runs and _says_the_same(runs[-1][0], row):
            runs[-1] = (row, runs[-1][1] + 1)
        else:
            runs.append((row, 1))
    return runs


def _says_the_same(before: dict[str, Any], row: dict[str, Any]) -> bool:
    quiet = row["input"] == "MARK_PRICE" or row["code"] != "OK"
    same = all(before[key] == row[key] for key in ("input", "code", "after", "asked"))
    return quiet and same and row["before"] == row["after"] and not row["asked"]


def _input(row: dict[str, Any], count: int) -> str:
    name = str(row["input"]) if row["code"] == "OK" else f"{row['input']} {row['code']}"
    return f"{name} ×{count}" if count > 1 else name


def _short(state: str) -> str:
    return "STALE" if state.startswith("STALE") else state


def _fee(amount: str) -> str:
    from .board import places

    return places(amount) if amount != "0" else ""
