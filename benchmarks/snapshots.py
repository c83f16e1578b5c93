"""What a snapshot costs the commits: the longest one without, beside, and in the way of them.

Run as ``python -m benchmarks.snapshots``.  The duplicate table is full, which is what a kernel's
state mostly consists of after a day; one input is journalled, applied and committed every
millisecond, and a snapshot is due after so many.  "In the way" is how it was done before: packed
twice in the loop, and its write waited for.  Everything is in memory, so that what is seen is the
loop's own doing and not a disk that others share.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Final

from benchmarks.report import Row, Section, plain, where_and_when, write_section
from dita.contracts import ControlAction, KernelCommandType, KernelIntent
from dita.engine import Engine
from dita.journal import GroupCommit, Journal, Snapshot, SnapshotStore, SnapshotTaker
from dita.journal.commit import HIGH_WATER_LAG_S
from dita.kernel import KernelConfig

COMMITS: Final = 2_000
EVERY: Final = 200
SEEN: Final = 2 * 65_536
ROUNDS: Final = 5
LIMIT_MS: Final = 5.0
_number = itertools.count(1)

Due = Callable[[], Awaitable[None]]


def _input() -> KernelIntent:
    number = next(_number)
    return KernelIntent(
        command=KernelCommandType.CONTROL,
        received_ms=number,
        intent_id=f"resume-{number}",
        action=ControlAction.RESUME,
    )


async def _commits(commit: GroupCommit, engine: Engine, due: Due) -> list[int]:
    journal, took = commit.journal, []
    for number in range(1, COMMITS + 1):
        await asyncio.sleep(0.001)
        start = perf_counter_ns()
        record = _input()
        journal.append(record, engine.kernel.pack(record).pack())
        engine.apply(record)
        await commit.commit()
        if number % EVERY == 0:
            await due()
        took.append(perf_counter_ns() - start)
    return took


async def _round(engine: Engine, folder: Path, way: str) -> list[int]:
    config = engine.kernel.config
    journal = Journal.open(
        folder / way, namespace=config.namespace, created_ms=config.epoch, kernel=config
    )
    store, commit = SnapshotStore(folder / f"{way}.snapshots"), GroupCommit(journal)
    taker = SnapshotTaker(commit, store, engine)
    running: list[asyncio.Future[Snapshot]] = []

    async def none() -> None:
        pass

    async def beside() -> None:
        if not running or running[-1].done():
            running.append(asyncio.ensure_future(taker.take()))

    async def in_the_way() -> None:
        engine.state_hash()
        snapshot = Snapshot.of(engine, journal)
        journal.append_mark(snapshot.state_hash)
        await commit.commit()
        await asyncio.get_running_loop().run_in_executor(None, store.write, snapshot)

    ways: dict[str, Due] = {"without": none, "beside": beside, "in the way": in_the_way}
    took = await _commits(commit, engine, ways[way])
    await asyncio.gather(*running)
    await asyncio.sleep(2 * HIGH_WATER_LAG_S)
    commit.close()
    journal.close()
    if way != "without":
        newest = store.newest()
        assert newest is not None and newest.engine().state_hash() == newest.state_hash
    return took


def measure() -> Section:
    """All three, by turns on the same disk."""
    engine = Engine(KernelConfig(namespace="bench", epoch=1))
    while next(_number) < SEEN:
        engine.apply(_input())
    found: dict[str, list[list[int]]] = {"without": [], "beside": [], "in the way": []}
    for _ in range(ROUNDS):
        for way, rounds in found.items():
            with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
                rounds.append(asyncio.run(_round(engine, Path(name), way)))
    rows = []
    for way, rounds in found.items():
        longest = sorted(max(took) for took in rounds)
        p99 = sorted(sorted(took)[len(took) * 99 // 100] for took in rounds)
        rows += [
            Row(f"{way}: longest commit, ms", _ms(longest)),
            Row(f"{way}: 99th percentile, ms", _ms(p99)),
        ]
    copies = []
    copy = Engine(engine.kernel.config)
    for _ in range(50):
        start = perf_counter_ns()
        copy.copy_from(engine)
        copies.append(perf_counter_ns() - start)
    copies.sort()
    rows.append(
        Row(
            "copy of the state, ms",
            _ms(copies),
            f"≤ {LIMIT_MS:.0f} ms",
            copies[len(copies) // 2] <= LIMIT_MS * 1e6,
        )
    )
    size = len(engine.save())
    text = (
        f"{where_and_when()} {COMMITS:,} commits a round, one a millisecond, a snapshot of"
        f" {size / 1e6:.2f} MB due every {EVERY}; {ROUNDS} rounds, by turns, in /dev/shm."
    )
    notes = [
        "in the way is how it was done before: packed twice in the loop, its write waited for",
        "beside: the loop copies memory; a thread sorts, packs, hashes, writes and syncs",
        "the longest commit without any snapshot is what this machine does by itself",
    ]
    return Section("Snapshots beside commits", text, rows, notes)


def _ms(taken: list[int]) -> str:
    middle = taken[len(taken) // 2]
    return f"{middle / 1e6:.2f} [{taken[0] / 1e6:.2f}..{taken[-1] / 1e6:.2f}]"


if __name__ == "__main__":
    section = measure()
    print(plain([section]))
    write_section(section)
