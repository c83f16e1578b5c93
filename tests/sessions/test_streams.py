"""Whatever becomes of stderr, of the log and of the terminal: serve trades and drains as ever.

Real processes on the embedded mock; what is compared is the journal that they leave.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from support.serve_driver import COMMAND, entry, fill_up, small_disk

from dita.contracts import ControlAction, KernelIntent
from dita.errors import DitaError
from dita.journal import JournalReader, Note
from dita.runtime.server.control_socket import call

PATIENCE_S = 40
#: ioctl numbers of Linux pipes; the smallest pipe holds a page.
SET_PIPE_SIZE, PAGE = 1031, 4096


class Running:
    """A serve of a folder, talked to over its socket."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.state = folder / "state"
        self.environment = {
            **os.environ,
            "PINK__KERNEL__NAMESPACE": "streams",
            "PINK__RUNTIME__MODE": "NORMAL",
            **{f"PINK__{name.upper()}": value for name, value in settings.items()},
        }
        self.words = [*COMMAND, "serve", "--config", "demo", "--state-dir", str(self.state)]
        self.process: subprocess.Popen[bytes]

    def start(self, stderr: IO[bytes] | int | None, **options: Any) -> None:
        """Start it with this stderr, and wait until it is READY."""
        self.process = subprocess.Popen(
            self.words, env=self.environment, stdout=subprocess.DEVNULL, stderr=stderr, **options
        )
        self.until("READY", lambda status: status["state"] == "READY")

    def shell(self, redirection: str) -> None:
        """The same through a shell, which can do to stderr what it likes."""
        words = " ".join(self.words)
        self.process = subprocess.Popen(
            ["bash", "-c", f"exec {words} {redirection}"], env=self.environment,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        self.until("READY", lambda status: status["state"] == "READY")

    def until(self, what: str, true: Any) -> dict[str, Any]:
        """Ask for the status until something holds of it."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            with contextlib.suppress(DitaError, OSError, ValueError):
                status: dict[str, Any] = call(self.state, {"verb": "status"})["status"]
                if true(status):
                    return status
            assert self.process.poll() is None, f"it ended with {self.process.returncode}"
            time.sleep(0.02)
        raise AssertionError(f"never {what}")

    def trades(self) -> None:
        """In and out, filled and free again."""
        fields = entry("T1", "FET-USDT", -1, "1000", "0.5")
        fields |= {"order_type": 0, "limit_price_e10": 0, "exit_leg_ratios_e9": [10**9]}
        self.intent(command=1, **fields)
        self.until("open", lambda s: [t["state"] for t in s["slots"]] == ["POSITION_OPEN"])
        self.intent(command=2, trade_id="T1")
        self.until("flat", lambda s: not s["slots"])

    def intent(self, **fields: Any) -> None:
        """Send one by hand; it has to be accepted, once money is known to be at rest."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            body = {"intent_id": uuid.uuid4().hex, **fields}
            request = {"verb": "intent", "intent": body, "operator": "test", "reason": "test"}
            answer = call(self.state, request)
            if answer["accepted"]:
                return
            assert answer["code"] == "ANCHOR_NOT_QUIET", answer
            time.sleep(0.05)
        raise AssertionError("never accepted")

    def ends_well(self) -> None:
        """TERM: drained, a last snapshot, exit 0, and no crash is counted."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE_S) == 0
        assert json.loads((self.state / "starts.json").read_text()) == []
        actions = [r.action for r in self.records() if isinstance(r, KernelIntent) and r.action]
        assert actions[-2:] == [ControlAction.DRAIN, ControlAction.DRAINED]
        snapshots = sorted((self.state / "snapshots").iterdir())
        newest = int(snapshots[-1].stem.rpartition("-")[2])
        last = JournalReader.open(self.state / "journal").report.last_seq
        assert last - newest <= 1  # the mark of the snapshot itself

    def records(self) -> list[Any]:
        reader = JournalReader.open(self.state / "journal")
        return [entry.record for entry in reader.records()]

    def notes(self) -> list[str]:
        return [record.name for record in self.records() if isinstance(record, Note)]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    serve = Running(tmp_path)
    yield serve
    if serve.process.poll() is None:
        serve.process.kill()
        serve.process.wait()


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", ">&- 2>&-", "2> >(head -c 1)"])
def test_a_dead_stderr_changes_nothing(running: Running, redirection: str) -> None:
    running.shell(redirection)
    running.trades()
    running.ends_well()


def test_a_closed_stderr_is_nobody_elses_file(running: Running) -> None:
    """The next file that is opened gets the lowest free number: the journal's must not be 2."""
    running.shell("2>&-")
    opened = os.readlink(f"/proc/{running.process.pid}/fd/2")
    assert opened == "/dev/null"
    running.ends_well()


def test_a_stderr_that_nobody_reads_changes_nothing(running: Running) -> None:
    """The pipe is full after some lines, and every further write would wait for ever."""
    read, write = os.pipe()
    fcntl.fcntl(write, SET_PIPE_SIZE, PAGE)
    running.environment["PINK__RUNTIME__VERBOSITY"] = "TRACE"
    running.start(write)
    os.close(write)
    for _ in range(3):
        running.trades()
    running.ends_well()
    assert len(os.read(read, 2 * PAGE)) > PAGE // 2
    os.close(read)


def test_a_full_disk_of_the_log_costs_lines_and_the_rest_goes_to_stderr(
    running: Running, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "small", "64k") as disk:
        log = disk / "pink.log"
        running.environment["PINK__LOG__FILE"] = str(log)
        fill_up(disk)
        with (tmp_path / "err").open("wb") as stderr:
            running.start(stderr)
        running.trades()
        (disk / "filler").unlink()
        running.trades()  # there is room again
        running.ends_well()
        in_the_file = log.read_text()
        assert oct(log.stat().st_mode & 0o777) == "0o600"
    said = (tmp_path / "err").read_text()
    assert " STARTED " in said and " FILL " in said
    assert " FILL " in in_the_file and in_the_file.rstrip().endswith(
        "Stopped. No order is in an unknown state."
    )
    assert all(line[:2] == "20" for line in in_the_file.split("\n") if line)


def test_a_terminal_that_hangs_up_changes_nothing(running: Running, tmp_path: Path) -> None:
    with (tmp_path / "err").open("wb") as stderr:
        running.start(stderr)
    running.process.send_signal(signal.SIGHUP)
    running.trades()
    running.ends_well()
    assert "SIGHUP" in (tmp_path / "err").read_text()
    assert "TERMINAL" in running.notes()


@pytest.mark.parametrize("how", ["closed", "stopped"])
def test_a_live_board_whose_terminal_is_gone_or_stuck(running: Running, how: str) -> None:
    """Gone: the master's end is closed.  Stuck: nobody reads, as after Ctrl-S."""
    master, terminal = pty.openpty()
    running.start(terminal, start_new_session=True, stdin=terminal)
    os.close(terminal)
    assert os.read(master, 10)  # the board is drawn
    if how == "closed":
        os.close(master)
    for _ in range(2):
        running.trades()
    time.sleep(0.6)  # the board has to be drawn once more in the meantime
    running.ends_well()
    if how == "stopped":
        os.close(master)
