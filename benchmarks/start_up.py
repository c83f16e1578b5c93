"""CPU and time from typing a command to its end: what a person waits for, and cron pays for.

``python -m benchmarks.start_up`` starts one serve on the packaged demo's mock and asks it; each
command is a process of its own.  CPU is user and system of that process.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import Row, Section, plain, where_and_when, write_section

ROUNDS = 15
LIMIT_S = 0.25
PROGRAM = str(Path(sys.executable).with_name("pink-ctl"))


def once(command: list[str], codes: tuple[int, ...]) -> tuple[float, float]:
    """CPU and wall seconds of one run."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False)
    wall_s = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode in codes, (command, done.returncode, done.stderr)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu_s, wall_s


def main(argv: list[str]) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["--config", "demo", "--state-dir", f"{folder}/state"]
        with subprocess.Popen(
            [PROGRAM, "serve", *words], stderr=subprocess.PIPE, text=True
        ) as serve:
            assert serve.stderr is not None
            for line in serve.stderr:
                if "READY" in line:
                    break
            at = ["--state-dir", f"{folder}/state"]
            exit_plan = ["intent", "exit", "--trade", "T1", "--reason", "x"]
            rows = []
            for name, command, limit_s in (
                ("python alone", [sys.executable, "-c", "pass"], 0.0),
                ("pink-ctl --help", [PROGRAM, "--help"], LIMIT_S),
                ("status", [PROGRAM, "status", *at], LIMIT_S),
                ("status --json", [PROGRAM, "status", "--json", *at], LIMIT_S),
                ("status, nobody runs", [PROGRAM, "status", "--state-dir", folder], LIMIT_S),
                ("hold, the plan", [PROGRAM, "hold", "--reason", "x", *at], LIMIT_S),
                ("intent exit, the plan", [PROGRAM, *exit_plan, *at], 0.0),
            ):
                found = [once(command, (0, 3, 4)) for _ in range(ROUNDS)]
                cpu_s, wall_s = (statistics.median(part) for part in zip(*found, strict=True))
                least_s = min(cpu for cpu, _ in found)
                target, met = (f"≤ {limit_s} s CPU", cpu_s <= limit_s) if limit_s else ("", None)
                value = f"{cpu_s:.3f} [from {least_s:.3f}], {wall_s:.3f} s wall"
                rows.append(Row(name, value, target, met))
            serve.terminate()
            serve.wait()
    text = f"{where_and_when()} {ROUNDS} processes each, CPU seconds."
    section = Section("Start-up of a command", text, rows)
    sys.stdout.write(plain([section]) + "\n")
    if "--write" in argv:
        write_section(section)


if __name__ == "__main__":
    main(sys.argv[1:])
