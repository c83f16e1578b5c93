"""What explorations have seen: counts per world, and cells of the transition table reached.

The committed record is what a run is compared with: a count that falls means that something is no
longer looked at, and has to be explained by whoever writes a new record.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from dita.contracts import TradeStage
from dita.transitions import TRANSITIONS, trigger_of
from explore.search import Result

#: States may become fewer by so much without a word: rules get simpler, too.
SLACK_E2: Final = 10


@dataclass(frozen=True)
class Row:
    """One world as it was seen."""

    world: str
    states: int
    moves: int
    depth: int
    homes: int
    lost: int
    whole: bool
    violations: int
    seconds: float
    cells: tuple[tuple[int, int, int], ...] = field(repr=False)

    def line(self) -> str:
        """One line for a person."""
        state = "" if self.whole else "  NOT WHOLE"
        broken = f"  {self.violations} VIOLATIONS" if self.violations else ""
        return (
            f"{self.world:16} {self.states:>9,} states {self.moves:>10,} moves, depth"
            f" {self.depth:>3}, {len(self.reached):>3} cells, {self.seconds:6.1f} s{state}{broken}"
        )

    @property
    def reached(self) -> set[tuple[int, int]]:
        """(state, input) pairs of the transition table."""
        return {(state, trigger) for state, trigger, _ in self.cells}


def row_of(result: Result) -> Row:
    """The row of a search."""
    return Row(
        world=result.world.name,
        states=result.states,
        moves=result.moves,
        depth=result.depth,
        homes=result.homes,
        lost=result.lost,
        whole=result.whole,
        violations=len(result.violations),
        seconds=round(result.seconds, 1),
        cells=tuple(sorted(result.cells)),
    )


@dataclass(frozen=True)
class Record:
    """The committed counts: states, depth and cells by world."""

    worlds: dict[str, dict[str, int]]
    cells: tuple[str, ...]

    @classmethod
    def read(cls, file: Path) -> Record:
        """The record of a file, an empty one when there is none."""
        if not file.exists():
            return cls({}, ())
        document = json.loads(file.read_text("utf-8"))
        return cls(document["worlds"], tuple(document["cells"]))

    def write(self, file: Path) -> None:
        """Write it down."""
        document = {"worlds": dict(sorted(self.worlds.items())), "cells": self.cells}
        file.write_text(json.dumps(document, indent=1) + "\n", "utf-8")

    def states(self, world: str) -> int:
        """States of a world, 0 when it was never seen."""
        return self.worlds.get(world, {}).get("states", 0)

    def merged(self, rows: Iterable[Row]) -> Record:
        """This record with these worlds as they were seen now."""
        rows = list(rows)
        worlds = dict(self.worlds)
        for row in rows:
            worlds[row.world] = {
                "states": row.states,
                "depth": row.depth,
                "cells": len(row.reached),
            }
        names = {cell_name(*cell) for row in rows for cell in row.reached}
        return Record(worlds, tuple(sorted(names | set(self.cells))))


def compare(record: Record, rows: Iterable[Row]) -> list[str]:
    """What is less than the record says."""
    fallen = []
    for row in rows:
        if not row.whole:
            fallen.append(f"{row.world} was not walked through whole")
        before = record.worlds.get(row.world)
        if before is None:
            continue
        if row.states * 100 < before["states"] * (100 - SLACK_E2):
            fallen.append(f"{row.world}: {row.states} states, {before['states']} in the record")
        if len(row.reached) < before["cells"]:
            fallen.append(f"{row.world}: {len(row.reached)} cells, {before['cells']} in the record")
    return fallen


def cell_name(state: int, trigger: int) -> str:
    """A cell of the transition table by name."""
    return f"{TradeStage(state).name} {trigger_of(trigger).name}"


def all_cells() -> list[str]:
    """Every cell of the table."""
    return [f"{state.name} {trigger.name}" for state, trigger in TRANSITIONS]


def never_reached(reached: Collection[str]) -> list[str]:
    """Cells that no world reaches."""
    return [cell for cell in all_cells() if cell not in reached]


def table(rows: Iterable[Row], seconds: float) -> str:
    """The rows for the documentation."""
    rows = list(rows)
    lines = [
        "# Exploration",
        "",
        "Written by `make explore` with `--record`: every world walked through to its last state.",
        "",
        "| world | states | moves | depth | cells | s |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.world} | {row.states:,} | {row.moves:,} | {row.depth} | {len(row.reached)} |"
        f" {row.seconds:.1f} |"
        for row in rows
    ]
    cells = {cell for row in rows for cell in row.reached}
    lines += [
        "",
        f"{sum(row.states for row in rows):,} states, {sum(row.moves for row in rows):,} moves;"
        f" {len(cells)} of {len(TRANSITIONS)} cells of the transition table;"
        f" {sum(row.seconds for row in rows):.0f} s of CPU, {seconds:.0f} s in two processes.",
        "",
    ]
    return "\n".join(lines)


def as_json(row: Row) -> str:
    """A row for machines."""
    return json.dumps(asdict(row))
