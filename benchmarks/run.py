"""``python -m benchmarks.run``: measure, print a table, write benchmarks/RESULTS.md.

--quick       a short stream and few rounds, printed only: is everything in place?
--rounds N    how often everything is measured; medians are taken over the rounds
--peers       compare with NautilusTrader too (installs it in an environment of its own)
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import memory, paths, peers, reference, report, stream
from benchmarks.report import Row, Section
from benchmarks.rounds import Measurement, Rounds, Spread, interleave
from dita import _kernel

BATCH_LIMIT = 1.25  # × the C loop
OBJECT_LIMIT = 4.0  # × the C loop
MODEL_LIMIT = 25.0  # × faster than the plain-Python model
ENGINE_LIMIT_NS = 3_000.0
MEMORY_SLOTS = 4_096
MEMORY_LIMIT = 16 * 2**20
TRADES_PER_SLOT = 60
QUICK_TRADES_PER_SLOT = 8


def arguments(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--peers", action="store_true")
    chosen = parser.parse_args(argv)
    chosen.rounds = chosen.rounds or (3 if chosen.quick else 15)
    return chosen


def prepared(work_stream: stream.Stream, folder: Path) -> paths.Paths:
    """The stream with both C loops compiled into the folder."""
    loops = [reference.Reference(reference.build(folder, tuned)) for tuned in (False, True)]
    return paths.Paths(work_stream, *loops)


def measurements(work: paths.Paths) -> dict[str, Measurement]:
    """Everything that is measured in interleaved rounds, by name."""
    found: dict[str, Measurement] = {
        "c": work.c_loop,
        "tuned": work.tuned_c_loop,
        "floor": work.floor,
        "batch": work.batch,
        "object": work.objects,
        "empty": work.empty_calls,
        "engine": paths.engine_fills(work.stream, build=False),
        "engine_build": paths.engine_fills(work.stream, build=True),
    }
    model = paths.python_model(work.stream)
    if model is not None:
        found["model"] = model
    return found


def at_most(name: str, ratio: Spread, limit: float) -> Row:
    """A ratio with its limit."""
    return Row(name, ratio.text(2), f"≤ {limit}", ratio.median <= limit)


def event_section(work: paths.Paths, rounds: Rounds, economics: dict[str, int]) -> Section:
    """The kernel against the C loop and against plain Python."""
    ns = {name: rounds.spread(name).text() for name in rounds.values}
    batch, objects = rounds.ratio("batch", "c"), rounds.ratio("object", "c")
    rows = [
        Row("C loop, ns per event", ns["c"]),
        Row("batch entrance, ns per event", ns["batch"]),
        at_most("batch ÷ C loop", batch, BATCH_LIMIT),
        Row("event object in, outcome object out, ns per event", ns["object"]),
        at_most("object ÷ C loop", objects, OBJECT_LIMIT),
        Row("of it the Python loop and an empty call, ns", ns["empty"]),
        Row("C loop with 128-bit sums tuned by hand, ns per event", ns["tuned"]),
        Row("batch ÷ tuned C loop", rounds.ratio("batch", "tuned").text(2)),
        Row("reading the inputs and writing the outcomes alone, ns", ns["floor"]),
    ]
    notes = [
        f"all {work.count:,} outcomes of the C loop equal the kernel's byte for byte, and so do"
        f" ledger and trades: realized {economics['realized'] / 10**18:.6f},"
        f" fees {economics['fees'] / 10**18:.6f}",
    ]
    if "model" in rounds.values:
        gain = rounds.ratio("model", "object")
        rows += [
            Row("plain-Python model, ns per event", ns["model"]),
            Row("model ÷ object", gain.text(), f"≥ {MODEL_LIMIT:.0f}", gain.median >= MODEL_LIMIT),
        ]
        notes.append(
            f"the model ({paths.MODEL_EVENTS} events) is the tests' second opinion: it works every"
            " figure out anew from all orders and was never meant to be fast, so its ratio says"
            " little of plain Python as such"
        )
    else:
        notes.append("plain-Python model not available (tests/support/model/kernel.py)")
    fills = sum(work.stream.applied_fill)
    text = (
        f"{work.stream.trades:,} trades over {stream.SLOTS} slots, {work.stream.fills_per_order}"
        f" fills an order: {work.count:,} events, {fills:,} of them applied fills;"
        f" {_kernel.INPUT_SIZE} bytes in, {_kernel.OUTCOME_SIZE} out. CPU time of the thread."
    )
    return Section("One event through the kernel", text, rows, notes)


def engine_section(rounds: Rounds) -> Section:
    """Engine.apply, microseconds per fill."""
    ready, built = rounds.spread("engine"), rounds.spread("engine_build")
    limit = f"≤ {ENGINE_LIMIT_NS / 1000:.0f} µs"
    rows = [
        Row("Engine.apply of a fill, ns", ready.text(), limit, ready.median <= ENGINE_LIMIT_NS),
        Row("the same and making its VenueEvent, ns", built.text()),
    ]
    text = "Kernel outcome and account snapshot included; applied fills only, garbage collector on."
    return Section("One fill through the engine", text, rows)


def memory_section() -> Section:
    """A core of the largest size."""
    found = memory.footprint(MEMORY_SLOTS)
    mebibytes = 2**20
    limit = f"≤ {MEMORY_LIMIT // mebibytes} MiB"
    totals = {"sum of its tables": found.counted}
    if found.resident:
        totals["resident memory gained"] = found.resident
    rows = [
        Row(f"{name}, MiB", f"{size / mebibytes:.2f}", limit, size <= MEMORY_LIMIT)
        for name, size in totals.items()
    ]
    rows += [Row(f"  {name}, KiB", f"{size / 1024:,.0f}") for name, size in found.tables.items()]
    return Section(f"Memory of {MEMORY_SLOTS} slots", "Measured in a fresh process.", rows)


def main(argv: list[str]) -> None:
    """Measure and report.  A missed target is shown, not an error; a mismatch ends the run."""
    chosen = arguments(argv)
    facts = [*report.machine(reference.compiler()), ("rounds", f"{chosen.rounds}, interleaved")]
    work_stream = stream.make(QUICK_TRADES_PER_SLOT if chosen.quick else TRADES_PER_SLOT)
    with tempfile.TemporaryDirectory() as folder:
        work = prepared(work_stream, Path(folder))
        try:
            economics = work.check()
            rounds = interleave(measurements(work), chosen.rounds)
        except paths.Mismatch as mismatch:
            raise SystemExit(f"nothing measured: {mismatch}") from mismatch
    sections = [event_section(work, rounds, economics), engine_section(rounds), memory_section()]
    if chosen.peers:
        sections.append(peers.section(chosen.rounds, chosen.quick))
    command = " ".join(["python -m benchmarks.run", *argv])
    print("\n".join(f"{key}: {value}" for key, value in facts) + "\n")
    print(report.plain(sections))
    if chosen.quick:
        print(f"\na quick run: {report.RESULTS.name} stays as it is")
    else:
        # What is measured apart (each with --write) stays.
        kept = report.other_sections([section.title for section in sections])
        text = report.markdown(sections, facts, command) + kept
        report.RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
