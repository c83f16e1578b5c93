"""The whole system in virtual time: sound after power cuts, the same for the same seed, and able to
fail."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dita.simulation import machine
from dita.simulation.whole_system import whole_system

ALL = os.environ.get("DITA_TESTS") == "long"


def test_an_hour_with_power_cuts_is_sound(tmp_path: Path) -> None:
    report = whole_system(1, tmp_path, minutes=60, crashes=2)
    assert report.wrong == ()
    assert (report.virtual_s >= 3_600, report.crashes) == (True, 2)
    assert report.fills > 300 and report.inputs > 2_500


@pytest.mark.parametrize("seed", range(2, 102 if ALL else 6))
def test_many_power_cuts_are_sound(seed: int, tmp_path: Path) -> None:
    report = whole_system(seed, tmp_path, minutes=8, crashes=4)
    assert report.wrong == ()
    assert report.crashes == 4


def test_the_same_seed_is_the_same_run_in_another_process() -> None:
    lines = set()
    for hash_seed in ("1", "2"):
        line = [sys.executable, "-P", "-m", "dita.simulation", "9", "--minutes", "6"]
        environ = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(line, env=environ, capture_output=True, text=True, check=True)
        lines.add(done.stdout.splitlines()[0])
    assert len(lines) == 1 and "sound" in lines.pop()


def test_a_commit_that_lies_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was said to be durable and is not: an order is out that no journal has."""

    async def lie(self: machine.PlainCommit) -> int:
        await asyncio.sleep(0.01)
        return self.journal.last_seq

    monkeypatch.setattr(machine.PlainCommit, "commit", lie)
    wrong = [text for seed in range(3) for text in _wrong(seed, tmp_path / str(seed))]
    assert any("no synced journal" in text for text in wrong), wrong


def _wrong(seed: int, directory: Path) -> tuple[str, ...]:
    try:
        return whole_system(seed, directory, minutes=6, crashes=3).wrong
    except BaseException as error:  # noqa: BLE001 - a node that cannot start again is found as well
        return (f"{type(error).__name__}: {error}",)
