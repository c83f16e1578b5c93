"""The comparison with NautilusTrader: its environment, its process, and ours beside it.

The peer is installed in a virtual environment of its own, only when asked for, and runs in its own
process; so does the kernel, with a loop of the same shape over the same fills.  The two are
measured by turns.  First it is shown that both come to the same quantities and the same PnL.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from benchmarks import peer_kernel, stream
from benchmarks.report import Row, Section
from benchmarks.rounds import Rounds

ROOT: Final = Path(__file__).parent.parent
ENVIRONMENT: Final = ROOT / "build" / "peers"
PACKAGE: Final = "nautilus_trader"
TRADES_PER_SLOT: Final = 10
QUICK_TRADES_PER_SLOT: Final = 2
#: NautilusTrader computes PnL in binary floating point; this much may differ per trade.
TOLERANCE: Final = Decimal("0.000001")
TITLE: Final = "NautilusTrader on the same fills"


class Unavailable(Exception):
    """The peer cannot be installed here; the text says why."""


def interpreter() -> Path:
    """The peer environment's Python; makes the environment first if need be."""
    python = ENVIRONMENT / "bin" / "python"
    if os.name == "nt":
        python = ENVIRONMENT / "Scripts" / "python.exe"
    if not python.exists():
        venv.create(ENVIRONMENT, with_pip=True)
    probe = [str(python), "-c", f"import {PACKAGE}"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        install = [str(python), "-m", "pip", "install", "--quiet", PACKAGE]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable((done.stderr.strip().splitlines() or ["pip failed"])[-1])
    return python


class Process:
    """A peer process: what it said of itself, then one round per call."""

    def __init__(self, python: Path | str, module: str, argument: str) -> None:
        command = [str(python), "-m", module, argument]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self.about: dict[str, Any] = json.loads(self._line())

    def _line(self) -> str:
        if self._process.stdout is None or not (line := self._process.stdout.readline()):
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}")
        return line

    def measure(self) -> float:
        """Nanoseconds per fill of one more round."""
        if self._process.stdin is None:
            raise RuntimeError("no pipe")
        self._process.stdin.write("round\n")
        self._process.stdin.flush()
        return float(self._line())

    def end(self) -> None:
        """Let it end, and wait until it has."""
        self._process.communicate()


def compare(theirs: dict[str, list[str]], ours: dict[int, int]) -> Decimal:
    """The greatest difference in PnL; raises when a position or a PnL is not the same."""
    if set(theirs) != {str(trade) for trade in ours}:
        raise AssertionError("the peer saw other trades")
    worst = Decimal(0)
    for trade, realized in ours.items():
        left, gross = theirs[str(trade)]
        gap = abs(Decimal(gross) - Decimal(realized).scaleb(-18))
        if Decimal(left) != 0 or gap > TOLERANCE:
            raise AssertionError(f"trade {trade}: the peer has {left} left and realized {gross}")
        worst = max(worst, gap)
    return worst


def section(rounds: int, quick: bool) -> Section:
    """Install, compare, measure by turns."""
    trades = QUICK_TRADES_PER_SLOT if quick else TRADES_PER_SLOT
    try:
        python = interpreter()
    except Unavailable as why:
        return Section(TITLE, "Could not be installed here.", [], [str(why)])
    plan, realized = peer_kernel.plan_of(stream.make(trades))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        plan.save(path)
        peer = Process(python, "benchmarks.peer_nautilus", str(path))
        kernel = Process(sys.executable, "benchmarks.peer_kernel", str(trades))
        worst = compare(peer.about["trades"], realized)
        found = by_turns({"peer": peer, "kernel": kernel}, rounds)
    version = peer.about["version"]
    theirs, ours = found.spread("peer").text(), found.spread("kernel").text()
    rows = [
        Row(f"{PACKAGE} {version} Order.apply + Position.apply, ns per fill", theirs),
        Row("kernel, event object in, outcome object out, ns per fill", ours),
        Row("peer ÷ kernel", found.ratio("peer", "kernel").text(1)),
    ]
    notes = [
        f"{len(realized)} trades: every position is flat in both, realized PnL differs by at most"
        f" {float(worst):.0e} (the peer computes it in binary floating point)",
        "the kernel's figure includes routing, fee estimate, ledger, slot state and duplicates",
    ]
    text = f"{plan.timed:,} fills in one order, each side in its own process, measured by turns."
    return Section(TITLE, text, rows, notes)


def by_turns(processes: dict[str, Process], rounds: int) -> Rounds:
    """A warm-up round of each, then the rounds; whoever was first is second next time."""
    names = list(processes)
    values: dict[str, list[float]] = {name: [] for name in names}
    for process in processes.values():
        process.measure()
    for number in range(rounds):
        for name in names if number % 2 else reversed(names):
            values[name].append(processes[name].measure())
    for process in processes.values():
        process.end()
    return Rounds(values)
