"""What a person reads and types: status's exit codes, plans, answers, and the demo in a pipe.

A control socket that says what the test wants stands in for serve.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.board_record import record
from support.serve_station import COMMAND, Station, pink

from dita.runtime.server.control_socket import ControlServer

Done = subprocess.CompletedProcess[str]


def status_record(**changed: Any) -> dict[str, Any]:
    from support.engine_driver import SHORT, Desk

    desk = Desk()
    desk.open(100, "0.5", side=SHORT, trade="T1")
    plain = record(desk)
    plain["age_ms"] = {**plain["age_ms"], "balance": 1_000}
    return {**plain, "pid": 7, "entries_frozen": [], **changed}


def while_serving(
    folder: Path, verbs: dict[str, Callable[[dict[str, Any]], dict[str, Any]]], *words: str
) -> Done:
    """Run a command while a socket answers these verbs."""

    def answering(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
        async def verb(request: dict[str, Any]) -> dict[str, Any]:
            return answer(request)

        return verb

    async def play() -> Done:
        server = ControlServer(folder, {name: answering(verb) for name, verb in verbs.items()})
        await server.open()
        try:
            return await asyncio.to_thread(pink, *words, "--state-dir", str(folder))
        finally:
            await server.close()

    return asyncio.run(play())


def told(status: dict[str, Any]) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
    return {"status": lambda request: {"status": status}}


# -- status ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "age_ms", "code"),
    [("READY", 1_000, 0), ("READY", 95_000, 4), ("HOLD", 95_000, 4), ("READY", -1, 4),
     ("RECONCILING", -1, 0)],
)  # fmt: skip
def test_status_is_stale_when_the_balance_is(
    tmp_path: Path, state: str, age_ms: int, code: int
) -> None:
    ages = {"stream": -1, "balance": age_ms, "positions": 1, "last_input": 1}
    done = while_serving(tmp_path, told(status_record(state=state, age_ms=ages)), "status")
    assert done.returncode == code, done.stderr
    first, second, *_ = done.stdout.splitlines()
    assert first.startswith(f"{state}: entries may go")
    assert second.startswith("test  capital 100,000.12")
    assert ("stale" in done.stderr) == (code == 4)
    assert not any(line.endswith(" ") for line in done.stdout.splitlines())


def test_status_of_a_loop_that_is_stuck_is_stale(station: Station) -> None:
    with station.serve() as serve:
        serve.send_signal(signal.SIGSTOP)
        stuck = pink("status", *station.words)
        serve.send_signal(signal.SIGCONT)
        assert (stuck.returncode, "does not answer" in stuck.stderr) == (4, True)
        assert station.status()["state"] == "READY"


def test_a_hold_says_whose_it_is_and_how_to_end_it(tmp_path: Path) -> None:
    waits = {"allowed": False, "wait_for": ["hold by eva: news"]}
    held = status_record(state="HOLD", entries_frozen=["hold"], entries=waits)
    lines = while_serving(tmp_path, told(held), "status").stdout.splitlines()
    assert lines[0] == "HOLD, no entries: hold by eva: news"
    assert re.match(r"next: \S*pink-ctl resume ", lines[3])


def test_watch_ends_with_serve(tmp_path: Path) -> None:
    """The second question finds nobody: exit 3, and what was shown stays."""

    def once(request: dict[str, Any]) -> dict[str, Any]:
        (tmp_path / "control.sock").unlink()
        return {"status": status_record()}

    done = while_serving(tmp_path, {"status": once}, "status", "--watch")
    assert (done.returncode, "not running" in done.stderr) == (3, True)
    assert done.stdout.startswith("READY")


# -- plans -----------------------------------------------------------------------------------------


def test_a_plan_names_the_trade_and_the_kernel_and_sends_nothing(tmp_path: Path) -> None:
    words = ("intent", "exit", "--reason", "x", "--trade")
    done = while_serving(tmp_path, told(status_record()), *words, "T1")
    assert done.stdout == "would exit the next leg of T1\n"
    assert "T1 is SHORT 100 FET-USDT, POSITION_OPEN" in done.stderr
    assert "to test (READY, process 7)" in done.stderr
    slip = while_serving(tmp_path, told(status_record()), *words, "T2")
    assert "no open trade is called T2; open: T1" in slip.stderr
    as_json = while_serving(tmp_path, told(status_record()), *words, "T1", "--json")
    assert json.loads(as_json.stdout)["applied"] is False


def test_a_plan_without_a_serve_says_so(tmp_path: Path) -> None:
    assert pink("hold", "--reason", "x", "--state-dir", str(tmp_path)).returncode == 3


def test_flatten_goes_on_after_a_refusal(tmp_path: Path) -> None:
    """The first exit is refused; the second is sent all the same, and the exit code tells."""
    slots = status_record()["slots"]
    two = status_record(slots=[slots[0], {**slots[0], "trade": "T2"}])
    sent: list[str] = []

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        sent.append(request["intent"]["trade_id"])
        refused = len(sent) == 1
        code = "NO_POSITION" if refused else "OK"
        return {"accepted": not refused, "code": code, "details": {}, "state": "", "slot": 0}

    words = ("intent", "flatten", "--reason", "x")
    planned = while_serving(tmp_path, told(two), *words)
    assert (planned.stdout.count("would exit all of T"), sent) == (2, [])
    done = while_serving(tmp_path, {**told(two), "intent": answer}, *words, "--apply")
    assert sent == ["T1", "T2"]
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "refused: NO_POSITION"
    assert done.stdout.splitlines()[1].startswith("done: exit all of T2")


# -- serve -----------------------------------------------------------------------------------------


def test_serve_has_a_code_of_its_own_for_bad_usage() -> None:
    assert pink("serve", "--nonsense").returncode == 64
    assert pink("status", "--nonsense").returncode == 2


def demo(tmp_path: Path, *words: str) -> Done:
    tape = tmp_path / "short.csv"
    rows = [f"{i * 2000},FET-USDT,0.{5000 + (i * 7) % 23 - 11 + i // 3}" for i in range(60)]
    tape.write_text("time_ms,asset,price\n" + "\n".join(rows) + "\n")
    environment = {**os.environ, "PINK__VENUE__MOCK_TAPE": str(tape), "TMPDIR": str(tmp_path)}
    return subprocess.run(
        [*COMMAND, "serve", "--demo", "--mock", *words],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_demo_in_a_pipe_says_how_it_goes_and_how_it_ended(tmp_path: Path) -> None:
    done = demo(tmp_path)
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert any(re.match(r"tape   \d %  READY  demo  capital 10,000.00", line) for line in said)
    assert any(line.startswith("tape 100 %  READY") and line.endswith(" 0 open") for line in said)
    assert not [line for line in said if "\x1b" in line]
    assert done.stdout.startswith("capital ")
    next_step = next(line.split() for line in said if line.startswith("next: "))
    words = next_step[next_step.index("explain") :]  # the program's own path stands before it
    assert pink(*words).returncode == 0


def test_a_demo_keeps_away_from_a_journal_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "old" / "journal").mkdir(parents=True)
    done = demo(tmp_path, "--state-dir", str(tmp_path / "old"))
    assert (done.returncode, "begins anew" in done.stderr) == (64, True)


def test_a_setting_that_the_journal_does_not_have_ends_with_78(tmp_path: Path) -> None:
    words = ("serve", "--config", "demo", "--once", "--state-dir", str(tmp_path))
    assert pink(*words).returncode == 0
    environment = {**os.environ, "PINK__KERNEL__LEVERAGE_CAP": "2"}
    done = subprocess.run(
        [*COMMAND, *words], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 78
    assert "kernel.leverage_cap = 3" in done.stderr
    assert "kernel.leverage_cap = 2 (PINK__KERNEL__LEVERAGE_CAP)" in done.stderr
