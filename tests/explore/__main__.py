"""`python -m explore`: walk through the worlds, print what was seen, and fail when a promise broke.

python -m explore                        every world, in two processes
python -m explore alone flip             these worlds
python -m explore --save build/explore   violations as JSON and text
python -m explore --play FILE            tell the story of a saved violation
python -m explore --record               take the counts of this run as the committed ones
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from explore.record import Record, Row, compare, row_of, table
from explore.search import Result, Search, Violation
from explore.story import read, saved, told
from explore.worlds import NAMES

RECORD = Path(__file__).parent / "record.json"
TABLE = Path(__file__).parent.parent.parent / "benchmarks" / "EXPLORATION.md"


def explore(name: str) -> Result:
    """One world, in this process."""
    return Search(NAMES[name]).run()


def main(arguments: Sequence[str] | None = None) -> int:
    """0: every world was walked through whole, and nothing was found."""
    parser = argparse.ArgumentParser(prog="explore", description=__doc__)
    parser.add_argument("worlds", nargs="*", help="names; none: all of them")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--save", type=Path, help="folder for violations")
    parser.add_argument("--play", type=Path, help="a saved violation")
    parser.add_argument("--record", action="store_true", help="write the counts down")
    options = parser.parse_args(arguments)
    if options.play:
        return _play(options.play)
    names = options.worlds or list(NAMES)
    if unknown := [name for name in names if name not in NAMES]:
        parser.error(f"no such world: {', '.join(unknown)}; there are: {', '.join(NAMES)}")
    started = time.monotonic()
    before = Record.read(RECORD)
    rows = _run(names, options.processes, options.save, options.record)
    fallen = [] if options.record else compare(before, rows)
    for text in fallen:
        _show(f"fallen: {text}")
    violations = sum(row.violations for row in rows)
    _show(f"{len(rows)} worlds, {violations} violations, {time.monotonic() - started:.0f} s")
    return 1 if violations or fallen else 0


def _run(names: Sequence[str], processes: int, folder: Path | None, keep: bool) -> list[Row]:
    rows: list[Row] = []
    with ProcessPoolExecutor(processes) as pool:
        # The largest first: the last one to end should be a small one.
        order = sorted(names, key=lambda name: -Record.read(RECORD).states(name))
        for done in as_completed([pool.submit(explore, name) for name in order]):
            rows.append(row_of(done.result()))
            _show(rows[-1].line())
            for number, violation in enumerate(done.result().violations, 1):
                _show(told(violation, NAMES[violation.world]))
                if folder:
                    _save(folder, number, violation)
            if keep:
                _record(rows[-1])
    return rows


def _record(row: Row) -> None:
    record = Record.read(RECORD).merged([row], list(NAMES))
    record.write(RECORD)
    TABLE.write_text(table(record), "utf-8")


def _play(file: Path) -> int:
    world, kind, moves = read(file.read_text("utf-8"))
    _show(told(Violation.of(world, kind, moves), NAMES[world]))
    return 0


def _save(folder: Path, number: int, violation: Violation) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{number:02}-{violation.world}-{violation.finding.kind.replace(' ', '-')}"
    (folder / f"{stem}.json").write_text(saved(violation), "utf-8")
    (folder / f"{stem}.txt").write_text(told(violation, NAMES[violation.world]), "utf-8")


def _show(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
