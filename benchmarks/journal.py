"""The journal beside what the disk itself takes: durable commits, appending, recovery.

Run as ``python -m benchmarks.journal [--quick] [--rounds N]``.  A bare loop of pwrite and fdatasync
over a preallocated file takes turns with the commits on the same disk, one for one, because a
shared disk's speed moves by the second; recovery reads from the page cache.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Final

from benchmarks import stream
from benchmarks.report import Row, Section, plain, where_and_when, write_section
from benchmarks.rounds import Spread
from dita.journal import GroupCommit, Journal, JournalReader

COMMIT_LIMIT: Final = 1.3  # × the bare loop
EVENT_LIMIT_US: Final = 25.0  # per event with a hundred in flight
APPEND_LIMIT_NS: Final = 2_000.0
RECOVERY_LIMIT: Final = 1_000_000.0  # events per second
IN_FLIGHT: Final = (1, 10, 100)
FILE_BYTES: Final = 64 * 2**20


class Bare:
    """What one event costs the disk at the least: its bytes written, and a sync."""

    def __init__(self, folder: Path, size: int) -> None:
        self.data = os.urandom(size)
        self.at = 0
        self.fd = os.open(folder / "bare", os.O_RDWR | os.O_CREAT, 0o600)
        os.posix_fallocate(self.fd, 0, FILE_BYTES)
        os.fsync(self.fd)

    def commit(self) -> int:
        """Nanoseconds of one write and sync."""
        start = perf_counter_ns()
        os.pwrite(self.fd, self.data, self.at)
        os.fdatasync(self.fd)
        taken = perf_counter_ns() - start
        self.at = (self.at + len(self.data)) % (FILE_BYTES - len(self.data))
        return taken


class Work:
    """A stream of inputs and an open journal to put them into."""

    def __init__(self, made: stream.Stream, folder: Path) -> None:
        self.inputs = list(zip(made.records, made.packed, strict=True))
        self.journal = _new(folder / "commits")
        self.next = 0

    def append(self, count: int) -> None:
        """The next inputs, from the start again when they are used up."""
        for _ in range(count):
            self.journal.append(*self.inputs[self.next])
            self.next = (self.next + 1) % len(self.inputs)


def _new(folder: Path) -> Journal:
    # The epoch is that of the stream, whose client order ids depend on it.
    return Journal.open(folder, namespace="pink", created_ms=1, kernel=stream.CONFIG)


async def _latencies(
    work: Work, bare: Bare, count: int, samples: int, commit: Callable[[], Awaitable[int]]
) -> tuple[list[int], list[int]]:
    """Nanoseconds until ``count`` appended inputs are durable, and of the bare loop."""
    ours: list[int] = []
    bares: list[int] = []
    for number in range(samples):
        await asyncio.sleep(0)  # inputs that come alone come in a turn of the loop of their own
        if number % 2:
            bares.append(bare.commit())
        start = perf_counter_ns()
        work.append(count)
        await commit()
        ours.append(perf_counter_ns() - start)
        if not number % 2:
            bares.append(bare.commit())
    return ours, bares


def _percentile(values: list[int], percent: int) -> float:
    return sorted(values)[len(values) * percent // 100] / 1_000


async def _commit_rows(work: Work, bare: Bare, rounds: int, samples: int) -> list[Row]:
    group = GroupCommit(work.journal)
    rows: list[Row] = []
    await _latencies(work, bare, 1, 50, group.commit)
    for count in IN_FLIGHT:
        medians: list[float] = []
        ratios: list[float] = []
        everything: list[int] = []
        bare_all: list[int] = []
        for _ in range(rounds):
            ours, bares = await _latencies(work, bare, count, samples, group.commit)
            medians.append(statistics.median(ours) / 1_000)
            ratios.append(statistics.median(ours) / statistics.median(bares))
            everything += ours
            bare_all += bares
        spread, tail = Spread.of(medians).text(1), _percentile(everything, 99)
        rows.append(
            Row(f"durable commit of {count} in flight, µs p50", f"{spread}, p99 {tail:,.0f}")
        )
        if count == 1:
            value = f"{_percentile(bare_all, 50):,.1f}, p99 {_percentile(bare_all, 99):,.0f}"
            rows.append(Row("  bare pwrite + fdatasync, µs p50", value))
            ratio = Spread.of(ratios)
            ok = ratio.median <= COMMIT_LIMIT
            rows.append(Row("  commit ÷ bare, by round", ratio.text(2), f"≤ {COMMIT_LIMIT}", ok))
        if count == max(IN_FLIGHT):
            each = Spread.of([m / count for m in medians])
            ok = each.median <= EVENT_LIMIT_US
            rows.append(Row("  per event, µs", each.text(2), f"≤ {EVENT_LIMIT_US:.0f}", ok))
    group.close()
    return rows


def _append_row(work: Work, rounds: int, count: int) -> Row:
    found: list[float] = []
    for _ in range(rounds):
        start = perf_counter_ns()
        work.append(count)
        found.append((perf_counter_ns() - start) / count)
        work.journal.write_and_sync()
    spread = Spread.of(found)
    ok = spread.median <= APPEND_LIMIT_NS
    return Row("append, ns per event", spread.text(), f"≤ {APPEND_LIMIT_NS:,.0f}", ok)


def _recovery_rows(made: stream.Stream, folder: Path, rounds: int) -> list[Row]:
    """Write the stream once, then replay it from the page cache."""
    live = _new(folder / "recovery")
    engine = live.epoch.engine()
    for record in made.setup:
        live.append(record, engine.kernel.pack(record).pack())
        engine.apply(record)
    for number, (record, packed) in enumerate(zip(made.records, made.packed, strict=True), 1):
        live.append(record, packed)
        if number % 10_000 == 0:
            live.write_and_sync()
    live.close()
    speeds: list[float] = []
    with_open: list[float] = []
    for _ in range(rounds):
        begin = perf_counter_ns()
        reader = JournalReader.open(folder / "recovery")
        engine = reader.epoch.engine()
        start = perf_counter_ns()
        count = reader.replay_into(engine)
        engine.state_hash()
        end = perf_counter_ns()
        speeds.append(count * 1e9 / (end - start))
        with_open.append(count * 1e9 / (end - begin))
    stored = sum(p.stat().st_blocks * 512 for p in (folder / "recovery").glob("*.seg"))
    fast = Spread.of(speeds)
    ok = fast.median >= RECOVERY_LIMIT
    size = _bytes_per_event(made)
    return [
        Row("recovery, events/s", fast.text(), f"≥ {RECOVERY_LIMIT:,.0f}", ok),
        Row("  with checking all segments first", Spread.of(with_open).text()),
        Row("bytes per event", f"{size:.0f} (segments take {stored / 2**20:.0f} MiB)"),
    ]


def _bytes_per_event(made: stream.Stream) -> float:
    with tempfile.TemporaryDirectory() as folder:
        journal = _new(Path(folder) / "size")
        sample = list(zip(made.records, made.packed, strict=True))[:2_000]
        for record, packed in sample:
            journal.append(record, packed)
        size = journal.pending_bytes / len(sample)
        journal.close()
    return size


def rows(rounds: int, quick: bool) -> list[Row]:
    """All figures of the journal."""
    made = stream.make(20 if quick else 400)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work = Work(made, folder)
        bare = Bare(folder, round(_bytes_per_event(made)))
        found = asyncio.run(_commit_rows(work, bare, rounds, 100 if quick else 300))
        found.append(_append_row(work, rounds, 5_000))
        work.journal.close()
        os.close(bare.fd)
        return found + _recovery_rows(made, folder, rounds)


def main(argv: list[str]) -> int:
    """Print the table; 1 when a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journal")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rounds", type=int, default=0)
    chosen = parser.parse_args(argv)
    found = rows(chosen.rounds or (3 if chosen.quick else 9), chosen.quick)
    section = Section("Journal", where_and_when(), found)
    print(plain([section]))
    if chosen.write:
        write_section(section)
    return int(any(row.passed is False for row in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
