"""`python -m dita.simulation`: play seeds, print what each run was, and fail when one was wrong.

python -m dita.simulation 1-50                    fifty seeds, an hour each, two power cuts
python -m dita.simulation 7 --minutes 10 --crashes 4
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from dita.clock import SystemClock
from dita.simulation.whole_system import Report, whole_system


def main(arguments: Sequence[str] | None = None) -> int:
    """0: every run was sound."""
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("seeds", nargs="*", default=["1-20"], help="numbers and ranges: 1 4-9")
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--crashes", type=int, default=2)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    clock, failed, reports = SystemClock(), 0, []
    started_ns = clock.monotonic_ns()
    with ProcessPoolExecutor(options.processes) as pool:
        seeds = list(_numbers(options.seeds))
        count = len(seeds)
        for report in pool.map(_play, seeds, [options.minutes] * count, [options.crashes] * count):
            reports.append(report)
            failed += bool(report.wrong)
            _show(_line(report))
            for wrong in report.wrong:
                _show(f"    {wrong}")
            if report.wrong:
                again = f"--minutes {options.minutes} --crashes {options.crashes}"
                _show(f"    again: python -m dita.simulation {report.seed} {again}")
    hours = sum(report.virtual_s for report in reports) / 3600
    crashes = sum(report.crashes for report in reports)
    _show(
        f"{len(reports)} seeds, {hours:.1f} virtual hours, {crashes} power cuts, {failed} wrong,"
        f" {(clock.monotonic_ns() - started_ns) // 10**9} s"
    )
    return 1 if failed else 0


def _numbers(words: Sequence[str]) -> Iterator[int]:
    for word in words:
        first, _, last = word.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _play(seed: int, minutes: int, crashes: int) -> Report:
    with tempfile.TemporaryDirectory(prefix="pink-sim-") as directory:
        return whole_system(seed, Path(directory), minutes=minutes, crashes=crashes)


def _line(report: Report) -> str:
    return (
        f"seed {report.seed}: {report.virtual_s} s, {report.crashes} power cuts,"
        f" {report.orders} orders, {report.inputs} inputs, {report.digest[:16]}"
        f" {'WRONG' if report.wrong else 'sound'}"
    )


def _show(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
