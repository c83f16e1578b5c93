"""A real supervisord with the shipped configuration: only its paths are changed.

The venue lives in a process of its own, so that what a killed kernel left open is still there.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.engine_driver import SHORT, Desk
from support.serve_station import Station, is_open, pink, venue_process

from dita.errors import DitaError
from dita.journal import JournalReader
from dita.runtime.server.control_socket import call
from dita.runtime.server.pager import listen, message_of
from dita.runtime.state.left_open import left_open, words

ROOT = Path(__file__).parent.parent.parent
SUPERVISORD = shutil.which("supervisord", path=str(Path(sys.executable).parent))

pytestmark = pytest.mark.skipif(SUPERVISORD is None, reason="supervisor is not installed")


class Watch:
    """A supervisord on a folder of its own, and what it wrote."""

    def __init__(self, folder: Path, station: Station) -> None:
        self.folder = folder
        self.station = station
        self.log = folder / "supervisord.log"
        self.paged = folder / "paged"

    def configure(self, start_s: int) -> Path:
        """The shipped file with this folder's paths; RUNNING after that many seconds."""
        text = (ROOT / "configs" / "supervisord.conf").read_text(encoding="utf-8")
        pager = self.folder / "page"
        pager.write_text(f"#!/bin/sh\ncat >> {self.paged}\n")
        pager.chmod(0o700)
        words = f"{sys.executable} -P -m dita.commands serve {' '.join(self.station.words)}"
        text = re.sub(r"(?m)^command=/opt/pink/bin/pink-ctl serve .*$", f"command={words}", text)
        text = text.replace("/opt/pink/bin/python", sys.executable)
        for place in ("/run/pink", "/var/log/pink", "/var/lib/pink", "/etc/pink"):
            text = text.replace(place, str(self.folder))
        named = f'[journal]\ndirectory = "{self.station.state}"\n'
        own = self.station.config.read_text().replace("[journal]\n", named)
        (self.folder / "pink-vst.toml").write_text(own)  # the page looks into its directory
        assert "startsecs=5" in text
        path = self.folder / "supervisord.conf"
        path.write_text(text.replace("startsecs=5", f"startsecs={start_s}"))
        return path

    def control(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run supervisorctl."""
        config = str(self.folder / "supervisord.conf")
        command = [sys.executable, "-m", "supervisor.supervisorctl", "-c", config, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def logged(self, pattern: str) -> int:
        """How often supervisord wrote this."""
        return len(re.findall(pattern, self.log.read_text())) if self.log.exists() else 0

    def wait(self, what: str, true: Callable[[], Any], seconds: float = 60) -> Any:
        end = time.monotonic() + seconds
        while not (found := true()):
            log = self.log.read_text() if self.log.exists() else "no log"
            assert time.monotonic() < end, f"never {what}\n{log}"
            time.sleep(0.1)
        return found

    def status(self) -> dict[str, Any] | None:
        """Of the serve that runs; None while there is none."""
        try:
            answer: dict[str, Any] = call(self.station.state, {"verb": "status"})["status"]
        except (DitaError, OSError, ValueError):  # none yet, or one that is just going
            return None
        return answer

    def running(self, state: str, *, after: int = 0) -> dict[str, Any]:
        """Wait for a serve in this state, of another process than the one given."""

        def there() -> dict[str, Any] | None:
            status = self.status()
            if status is None or status["state"] != state or status["pid"] == after:
                return None
            return status

        found: dict[str, Any] = self.wait(state, there)
        return found

    def until_running(self, times: int) -> None:
        """Wait until supervisord has called it RUNNING so often."""
        self.wait("RUNNING", lambda: self.logged("success: pink entered RUNNING") >= times)


@contextmanager
def supervised(station: Station, start_s: int = 1) -> Iterator[Watch]:
    assert SUPERVISORD is not None
    # Short: the socket's path has to fit into 108 bytes.
    with tempfile.TemporaryDirectory(prefix="sv") as name:
        watch = Watch(Path(name), station)
        path = watch.configure(start_s)
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PINK__")}
        with subprocess.Popen(
            [SUPERVISORD, "-n", "-c", str(path)],
            env=clean,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                yield watch
            finally:
                process.terminate()
                process.wait(60)


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    with venue_process(tmp_path) as socket:
        yield Station(tmp_path, socket)


def of_ours(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The slots without what the venue says of them now and then."""
    asked = ("mark_price", "mark_age_ms", "unrealized", "liquidation_price", "liquidation_distance")
    return [
        {key: slot[key] for key in slot if key not in (*asked, "leverage_there")}
        for slot in record["slots"]
    ]


def changed(station: Station, old: str, new: str) -> None:
    text = station.config.read_text()
    assert old in text
    station.config.write_text(text.replace(old, new))


def test_a_killed_serve_is_back_with_the_same_state_and_a_stop_drains(station: Station) -> None:
    with supervised(station) as watch:
        first = watch.running("READY")
        assert station.enter("T1").returncode == 0
        before = station.until("open", is_open)
        watch.until_running(1)
        os.kill(first["pid"], signal.SIGKILL)
        watch.running("READY", after=first["pid"])
        after = station.until("open", is_open)
        for key in ("trades", "k_capital", "realized", "epoch"):
            assert after[key] == before[key], key
        assert of_ours(after) == of_ours(before)
        assert watch.logged(r"exited: pink \(terminated by SIGKILL; not expected\)") == 1
        watch.until_running(2)
        # The same as `supervisorctl stop` sends: TERM, and it drains.
        os.kill(after["pid"], signal.SIGTERM)
        watch.wait("exited", lambda: watch.logged(r"exited: pink \(exit status 0; expected\)"))
        watch.wait(
            "called", lambda: watch.paged.exists() and watch.paged.read_text()
        )  # nobody told supervisord to stop it
        paged = watch.paged.read_text()
        assert "dita:pink ended and stays down; open: T1 SHORT 1,000 FET-USDT; its exit" in paged
        assert pink("status", *station.words).returncode == 3
        assert (station.state / "starts.json").read_text() == "[]"


def test_a_wrong_setting_ends_in_fatal_and_calls_somebody(station: Station) -> None:
    changed(station, "slot_limit = 4", 'slot_limit = "four"')
    with supervised(station, 30) as watch:  # that it ends before is certain then
        watch.wait("FATAL", lambda: watch.logged("pink entered FATAL state"))
        spawned = watch.logged("spawned: 'pink'")
        assert spawned == watch.logged(r"exited: pink \(exit status 78; not expected\)") == 4
        watch.wait("called", lambda: watch.paged.exists() and watch.paged.read_text())
        assert "does not start any more" in watch.paged.read_text()
        time.sleep(2)
        assert watch.logged("spawned: 'pink'") == spawned  # it is no loop
        assert "kernel.slot_limit" in (watch.folder / "pink.err.log").read_text()


def test_a_crash_loop_ends_in_hold(station: Station) -> None:
    changed(station, "crash_budget = 100", "crash_budget = 2")
    with supervised(station) as watch:
        pid = 0
        for crash in range(1, 3):
            pid = watch.running("READY", after=pid)["pid"]
            watch.until_running(crash)
            os.kill(pid, signal.SIGKILL)
        held = watch.running("HOLD", after=pid)
        assert held["entries_frozen"] == ["hold"]
        assert held["held_because"].startswith("serve: crash loop")
        assert station.enter("T1").stdout.startswith("refused: ENTRIES_FROZEN")
        stopped = watch.control("stop", "dita:pink")
        assert stopped.returncode == 0, stopped.stdout
        watch.wait("stopped", lambda: watch.logged(r"stopped: pink \(exit status 0\)"))
        assert not watch.paged.exists()  # crashes that are restarted, and a stop that was wanted


# -- what the page says of positions ---------------------------------------------------------------


def test_a_page_names_what_is_open_and_says_when_it_cannot(tmp_path: Path) -> None:
    desk = Desk()
    desk.open(1000, "0.5", side=SHORT)
    assert words(Desk().engine.kernel) == "open: no position of ours"
    assert words(desk.engine.kernel) == "open: T1 SHORT 1,000 FET-USDT"
    desk.exit()
    assert words(desk.engine.kernel).endswith("FET-USDT; 1 orders are not final")
    assert left_open(tmp_path).startswith("positions may be open: the journal cannot be read (")


def test_a_page_goes_out_although_the_disk_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = threading.Event()

    def never(*words: Any) -> None:
        hangs.wait(30)
        raise OSError("at last")

    monkeypatch.setattr(JournalReader, "open", never)
    assert left_open(tmp_path, 0.05) == "positions may be open: the disk does not answer"
    hangs.set()


# -- the listener without supervisord --------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "expected", "tells"),
    [
        ("PROCESS_STATE_FATAL", "", True),
        ("PROCESS_STATE_EXITED", "1", True),
        ("PROCESS_STATE_EXITED", "0", False),  # a crash: it is started again
        ("PROCESS_STATE_STOPPED", "", False),  # somebody wanted it
    ],
)
def test_who_is_called_for_what(event: str, expected: str, tells: bool) -> None:
    payload = {"processname": "pink", "groupname": "dita", "expected": expected}
    message = message_of(event, payload)
    assert bool(message) is tells
    assert not tells or message.startswith("dita:pink ")


def test_the_listener_answers_every_event_and_ends_with_supervisord() -> None:
    payload = "processname:pink groupname:dita from_state:RUNNING expected:{} pid:7"
    events = ""
    for expected in (0, 1):
        body = payload.format(expected)
        events += f"ver:3.0 eventname:PROCESS_STATE_EXITED len:{len(body)}\n{body}"
    told: list[str] = []
    answers = io.StringIO()
    listen(io.StringIO(events), answers, told.append)
    assert answers.getvalue() == "READY\nRESULT 2\nOKREADY\nRESULT 2\nOKREADY\n"
    assert len(told) == 1
