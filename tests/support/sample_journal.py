"""The sample of a journal's format and rules: made by hand with each of them, replayed ever after.

    .venv/bin/python -P tests/support/sample_journal.py

runs the packaged demo and keeps what it leaves behind: trades, makers, ticks and balances, over
several segments, with two snapshots.  Beside it stands what it has to replay to, and what the
golden cases end in.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from dita import __version__, golden
from dita.engine import RULES_VERSION, Engine
from dita.journal import JournalReader
from dita.kernel import LAYOUT

SAMPLE: Final = Path(__file__).parent.parent / "data" / "journal-v2"
EXPECTED: Final = "expected.json"
KEPT: Final = ("journal", "journal.high-water", "snapshots")
SETTINGS: Final = {
    "PINK__JOURNAL__SEGMENT_BYTES": "65536",
    "PINK__JOURNAL__RESERVE_BYTES": "65536",
    "PINK__JOURNAL__SNAPSHOT_EVERY": "150",
}


def replayed(directory: Path) -> tuple[int, Engine]:
    """Inputs, and the engine after them, from the journal's beginning."""
    reader = JournalReader.open(directory / "journal")
    engine = reader.epoch.engine()
    return reader.replay_into(engine), engine


def golden_hashes() -> dict[str, str]:
    """What each golden case ends in."""
    return {case.name: list(golden.play(case))[-1].engine.state_hash() for case in golden.cases()}


def expected_of(directory: Path) -> dict[str, Any]:
    """What there is to compare, from the journal of a directory and these rules."""
    inputs, engine = replayed(directory)
    return {
        "release": __version__,
        "rules_version": RULES_VERSION,
        "layout": LAYOUT,
        "inputs": inputs,
        "state_hash": engine.state_hash(),
        "economic_hash": engine.economic_hash(),
        "trades": engine.snapshot.trade_seq,
        "golden": golden_hashes(),
    }


def make(target: Path) -> None:
    """Trade with the product, and keep what it wrote."""
    with tempfile.TemporaryDirectory() as name:
        state = Path(name) / "state"
        words = ["serve", "--demo", "--state-dir", str(state)]
        command = [sys.executable, "-P", "-m", "dita.commands", *words]
        subprocess.run(command, env={**os.environ, **SETTINGS}, check=True)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for part in KEPT:
            copy = shutil.copytree if (state / part).is_dir() else shutil.copy2
            copy(state / part, target / part)
        for reserve in (target / "journal").glob("reserve-*"):
            reserve.unlink()
    text = json.dumps(expected_of(target), indent=1)
    (target / EXPECTED).write_text(text + "\n")


if __name__ == "__main__":
    make(SAMPLE)
