"""Completion: what the shell is offered, and that no answer is no offer and no error.

The shell's own protocol is spoken with a process; a serve of the mock answers it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.serve_station import Station

PROGRAM = str(Path(sys.executable).with_name("pink-ctl"))


def offered(line: str, cwd: Path) -> list[str]:
    """What bash would be offered for the last word of a line."""
    words = line.split(" ")
    environ = {
        **os.environ,
        "_PINK_CTL_COMPLETE": "complete_bash",
        "COMP_WORDS": line.replace(" ", "\n"),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [PROGRAM], env=environ, cwd=cwd, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.split()


def test_trades_of_the_running_serve(station: Station, tmp_path: Path) -> None:
    with station.serve():
        station.enter("T1-by-hand")
        where = f"--state-dir {station.state}"
        assert offered(f"pink-ctl intent exit {where} --trade ", tmp_path) == ["T1-by-hand"]
        assert offered(f"pink-ctl intent exit {where} --trade X", tmp_path) == []
    assert offered(f"pink-ctl intent exit --state-dir {station.state} --trade ", tmp_path) == []


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("pink-ctl ho", ["hold"]),
        ("pink-ctl intent e", ["enter", "exit"]),
        ("pink-ctl golden --case fet-c", ["fet-clean"]),
        ("pink-ctl runbook fl", ["flatten"]),
        ("pink-ctl status --config de", ["demo"]),
        ("pink-ctl status --config mine", ["mine.toml"]),
        ("pink-ctl status --config sub/", ["sub/other.toml"]),
        ("pink-ctl intent exit --trade ", []),  # no installation: no offer, no word
        ("pink-ctl hold --symbol F", []),
    ],
)
def test_what_is_offered(tmp_path: Path, line: str, offers: list[str]) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("mine.toml", "sub/other.toml", "notes.txt"):
        (tmp_path / name).write_text("")
    assert offered(line, tmp_path) == offers
