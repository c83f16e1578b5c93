"""``pink-ctl serve`` as a process: start to READY, memory, CPU, and what a million inputs leave.

Run as ``python -m benchmarks.serve [--quick] [--rounds N] [--write]``; --write puts it into
RESULTS.md.  Everything is the installed command on the embedded mock, without sinks; the flood is a
process with serve's own runtime (benchmarks.flood).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.report import Row, Section, plain, where_and_when, write_section
from benchmarks.rounds import Spread

TITLE: Final = "serve as a process"
MEBIBYTE: Final = 2**20
START_LIMIT_S: Final = 1.0
RESIDENT_LIMIT: Final = 80 * MEBIBYTE
#: A million inputs may leave at most so much more resident memory than a tenth of them.
GROWTH_LIMIT: Final = 8 * MEBIBYTE
RATE_LIMIT: Final = 30_000
PACED_LIMIT_PERCENT: Final = 25
PACED_TIMES: Final = 3
FLOOD_INPUTS: Final = 1_000_000
QUICK_FLOOD_INPUTS: Final = 30_000
STARTS_MIN: Final = 7
COMMAND: Final = [sys.executable, "-P", "-m", "dita.commands"]
IDLE: Final = ("--config", "demo")
#: The default sizes: the demo's settings have smaller ones.
JOURNAL: Final = {
    "PINK__JOURNAL__SEGMENT_BYTES": str(64 * MEBIBYTE),
    "PINK__JOURNAL__RESERVE_BYTES": str(128 * MEBIBYTE),
}


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], float]]:
    """A serve on a new state directory, and the seconds that it took to READY."""
    start = time.perf_counter()
    with subprocess.Popen(
        [*COMMAND, "serve", "--no-table", "--state-dir", str(folder), *words],
        env={**os.environ, **JOURNAL},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if " READY: " in line:
                break
        else:
            raise SystemExit(f"serve ended with {process.wait()} before READY")
        taken = time.perf_counter() - start
        try:
            yield process, taken
        finally:
            process.send_signal(signal.SIGTERM)
            process.stderr.read()
            process.wait()


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def watched(pid: int, seconds: float) -> tuple[float, int]:
    """Per cent of a core over some seconds, and resident memory at their end."""
    before, start = cpu_s(pid), time.perf_counter()
    time.sleep(seconds)
    used = cpu_s(pid) - before
    return 100 * used / (time.perf_counter() - start), resident_bytes(pid)


def starts(count: int, folder: Path) -> Spread:
    """Seconds from exec to READY on an empty journal."""
    taken: list[float] = []
    for number in range(count):
        with serving(folder / f"start-{number}", *IDLE) as (_, seconds):
            taken.append(seconds)
    return Spread.of(taken)


def process_rows(rounds: int, seconds: float, folder: Path) -> list[Row]:
    """Start, and what a serve takes while nothing happens and while the demo trades."""
    start = starts(max(rounds, STARTS_MIN), folder)
    found: dict[str, list[float]] = {}
    for number in range(max(1, rounds // 2)):
        for name, words in (("idle", IDLE), ("busy", ("--demo",))):
            place = folder / f"{name}-{number}"
            with serving(place, *words) as (process, _):
                cpu, size = watched(process.pid, seconds)
                applied = _status(place)["journal"]["records"]
            found.setdefault(f"{name} cpu", []).append(cpu)
            found.setdefault(f"{name} size", []).append(size)
            found.setdefault(f"{name} rate", []).append(applied / seconds)
    spread = {name: Spread.of(values) for name, values in found.items()}
    return [
        Row("start to READY, empty journal, s", start.text(2), f"≤ {START_LIMIT_S:.0f}",
            start.median <= START_LIMIT_S),
        _memory("resident memory idle, MiB", spread["idle size"]),
        _memory("resident memory while the demo trades, MiB", spread["busy size"]),
        Row("CPU idle, % of a core", _text(spread["idle cpu"])),
        Row(f"CPU at {spread['busy rate'].median:.0f} inputs a second, % of a core",
            _text(spread["busy cpu"])),
    ]  # fmt: skip


def _memory(name: str, size: Spread) -> Row:
    limit = f"≤ {RESIDENT_LIMIT // MEBIBYTE}"
    shown = Spread(size.median / MEBIBYTE, size.low / MEBIBYTE, size.high / MEBIBYTE)
    return Row(name, _text(shown), limit, size.median <= RESIDENT_LIMIT)


def _text(spread: Spread) -> str:
    """Of a single measurement only the figure."""
    single = spread.low == spread.high
    return f"{spread.median:.1f}" if single else spread.text(1)


def _status(folder: Path) -> dict[str, Any]:
    words = [*COMMAND, "status", "--json", "--state-dir", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    status: dict[str, Any] = json.loads(done.stdout)
    return status


def flood_rows(count: int, folder: Path) -> list[Row]:
    """Memory and disk at the marks of a flood."""
    words = [sys.executable, "-m", "benchmarks.flood", str(count), str(folder / "flood")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    *marks, end = (json.loads(line) for line in done.stdout.splitlines())
    if not end["quiet"] or end["drift"] != "0":
        raise SystemExit(f"nothing measured: the flood ended with {end}")
    first, last = marks[0], marks[-1]
    rows = [
        _memory(
            f"resident memory after {mark['inputs']:,} inputs, MiB", Spread.of([mark["resident"]])
        )
        for mark in marks
    ]
    growth = last["resident"] - first["resident"]
    per_input = (last["journal"] - first["journal"]) / (last["inputs"] - first["inputs"])
    rate = last["inputs"] / last["seconds"]
    return [
        *rows,
        Row(
            "growth from the first of these to the last, MiB",
            f"{growth / MEBIBYTE:.1f}",
            f"≤ {GROWTH_LIMIT // MEBIBYTE}",
            growth <= GROWTH_LIMIT,
        ),
        Row("inputs a second, journal and venue included", f"{rate:,.0f}"),
        Row(
            "inputs a CPU second, journal and venue included",
            f"{last['inputs'] / last['cpu']:,.0f}",
            f"≥ {RATE_LIMIT:,}",
            last["inputs"] / last["cpu"] >= RATE_LIMIT,
        ),
        Row("whole trades among them", f"{last['trades']:,}"),
        Row("journal, bytes per input", f"{per_input:,.0f}"),
    ]


def paced_row(folder: Path) -> Row:
    """What a thousand inputs a second take, one by one."""
    shares, rates = [], []
    for number in range(PACED_TIMES):
        place = str(folder / f"paced-{number}")
        words = [sys.executable, "-m", "benchmarks.flood", "paced", place]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        told = json.loads(done.stdout.splitlines()[0])
        shares.append(100 * told["cpu"] / told["seconds"])
        rates.append(told["inputs"] / told["seconds"])
    share = Spread.of(shares)
    return Row(
        f"CPU at {Spread.of(rates).median:,.0f} inputs a second, one by one, % of a core",
        share.text(1),
        f"≤ {PACED_LIMIT_PERCENT}",
        share.median <= PACED_LIMIT_PERCENT,
    )


def section(rounds: int, quick: bool) -> Section:
    """All of it."""
    if not Path("/proc/self/statm").exists():
        return Section(TITLE, "Not measured: this system has no /proc.", [])
    count = QUICK_FLOOD_INPUTS if quick else FLOOD_INPUTS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = process_rows(1 if quick else rounds, 3.0 if quick else 10.0, folder)
        rows.append(paced_row(folder))
        rows += flood_rows(count, folder)
    notes = [
        "the journal is never cut by itself: `pink-ctl status` shows what it takes and what is"
        " free, and near the limit entries stop before exits do",
    ]
    text = (
        f"{where_and_when()} The embedded mock,"
        " no sinks, journal with 64 MiB segments and a reserve of 128 MiB (the flood: 4 and 8)."
        " The flood is prices and other people's orders, every one with ids of its own, beside"
        " whole trades in sixteen symbols."
    )
    return Section(TITLE, text, rows, notes)


def main(argv: list[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rounds", type=int, default=STARTS_MIN)
    chosen = parser.parse_args(argv)
    found = section(chosen.rounds, chosen.quick)
    print(plain([found]))
    if chosen.write:
        write_section(found)


if __name__ == "__main__":
    main(sys.argv[1:])
