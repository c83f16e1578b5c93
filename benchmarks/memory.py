"""What a core of 4096 slots costs: resident memory gained in a fresh process, and its own count.

Run as ``python -m benchmarks.memory SLOTS`` it measures itself and prints JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from dita.kernel import ExecutionKernel, KernelConfig

STATM = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of a core: as the system sees them (0 where it does not say) and per table."""

    resident: int
    tables: dict[str, int]

    @property
    def counted(self) -> int:
        """Sum of the tables."""
        return sum(self.tables.values())


def footprint(slots: int) -> Footprint:
    """Measure in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.memory", str(slots)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return Footprint(found["resident"], found["tables"])


def _resident() -> int:
    if not STATM.exists():
        return 0
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Make a small core first, so that code and heap are in place, then the measured one."""
    small = ExecutionKernel(KernelConfig(slot_limit=1))
    before = _resident()
    kernel = ExecutionKernel(KernelConfig(slot_limit=int(sys.argv[1])))
    gained = _resident() - before
    found = {"resident": gained, "tables": kernel._core.sizes(), "kept": small.slot_count}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
