"""What explorations have seen: counts per world, and cells of the transition table reached.

The committed record is what a run is compared with: a count that falls means that something is no
longer looked at, and has to be explained by whoever writes a new record.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

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
    """The committed counts: what each world was, by name."""

    worlds: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, file: Path) -> Record:
        """The record of a file, an empty one when there is none."""
        return cls(json.loads(file.read_text("utf-8")) if file.exists() else {})

    def write(self, file: Path) -> None:
        """Write it down, one line per world."""
        lines = [f" {json.dumps(name)}: {json.dumps(self.worlds[name])}" for name in self.worlds]
        file.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")

    @property
    def cells(self) -> set[str]:
        """Names of the cells of the transition table that were reached."""
        return {cell for world in self.worlds.values() for cell in world["cells"]}

    def states(self, world: str) -> int:
        """States of a world, 0 when it was never seen."""
        return int(self.worlds.get(world, {}).get("states", 0))

    def merged(self, rows: Iterable[Row], names: Sequence[str]) -> Record:
        """This record with these worlds as they were seen now, in the order of ``names``."""
        worlds = dict(self.worlds)
        for row in rows:
            cells = sorted({cell_name(*cell) for cell in row.reached})
            worlds[row.world] = {
                "states": row.states,
                "moves": row.moves,
                "depth": row.depth,
                "seconds": row.seconds,
                "cells": cells,
            }
        return Record({name: worlds[name] for name in names if name in worlds})


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
        lost = set(before["cells"]) - {cell_name(*cell) for cell in row.reached}
        if lost:
            fallen.append(f"{row.world} does not reach {', '.join(sorted(lost))}")
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


def table(record: Record) -> str:
    """The record for the documentation."""
    lines = [
        "# Exploration",
        "",
        "Written by `make explore` with `--record`: every world walked through to its last state,",
        "in seconds of CPU. Cells are those of the state table in ARCHITECTURE.md.",
        "",
        "| world | states | moves | depth | cells | s |",
        "|---|---|---|---|---|---|",
    ]
    worlds = record.worlds
    lines += [
        f"| {name} | {w['states']:,} | {w['moves']:,} | {w['depth']} | {len(w['cells'])} |"
        f" {w['seconds']:.1f} |"
        for name, w in worlds.items()
    ]
    lines += [
        "",
        f"{sum(w['states'] for w in worlds.values()):,} states,"
        f" {sum(w['moves'] for w in worlds.values()):,} moves;"
        f" {len(record.cells)} of {len(TRANSITIONS)} cells;"
        f" {sum(w['seconds'] for w in worlds.values()):.0f} s of CPU.",
        "",
    ]
    return "\n".join(lines)
