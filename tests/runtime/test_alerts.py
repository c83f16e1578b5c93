"""Who is called, for what, how often, and that nobody waits for the command."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from dita.clock import ManualClock, SystemClock
from dita.runtime.eventlog.alerts import ALERTS, BURST, Alert, Alerter, Severity
from dita.runtime.eventlog.event import Event, EventName, Level

SECOND = 10**9
RUNBOOK = Path(__file__).parent.parent.parent / "runbooks" / "alarms.md"


def event(name: EventName, level: Level = Level.CRITICAL, **fields: Any) -> Event:
    return Event(time_ms=0, name=name, level=level, text=f"words of {name}", **fields)


class Called(Alerter):
    """An alerter whose thread has nothing to do: time and events are given by hand."""

    def __init__(self, throttle_s: int = 600) -> None:
        super().__init__("", whose="pink (vst)", throttle_s=throttle_s, clock=ManualClock())

    def at(self, second: int, *events: Event) -> list[str]:
        """The texts that go out when these events come at that second."""
        for each in events:
            self.take(each, second * SECOND)
        due = self.due(second * SECOND)
        return [self.text(a, e) for a, e in due if self.may_call(a, e, second * SECOND)]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_each_alert_is_raised_by_its_events_and_ended_by_what_clears_it(alert: Alert) -> None:
    for name in alert.events:
        called = Called()
        raised = event(name, max(alert.level, Level.WARNING), trade="T1")
        said = called.at(0, raised)
        if alert.for_s:
            assert not any(f": {alert.name}: " in text for text in said)
            said = called.at(alert.for_s)
        assert any(f": {alert.name}: words of {name}" in text for text in said)
        for clears in alert.cleared_by:
            other = Called()
            other.at(0, raised)
            other.at(1, event(clears, trade="T1"))
            assert not any(f": {alert.name}: " in t for t in other.at(alert.for_s + 1))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_each_alert_is_in_the_runbook(alert: Alert) -> None:
    row = next(
        (line for line in RUNBOOK.read_text().splitlines() if line.startswith(f"| {alert.name} |")),
        "",
    )
    assert alert.severity in row and alert.summary in row, f"write {alert.name} into {RUNBOOK}"
    assert f"{alert.for_s} s" in row if alert.for_s else "at once" in row


def test_a_text_says_how_urgent_whose_what_and_what_to_do() -> None:
    (text,) = Called().at(0, event(EventName.LIQUIDATION, trade="T1"))
    assert text == (
        "PAGE pink (vst): LIQUIDATION: words of LIQUIDATION;"
        " pink-ctl explain TRADE; look at the margin before the next entry"
    )


def test_the_same_is_not_told_again_within_the_throttle_time() -> None:
    called = Called(throttle_s=600)
    fill = event(EventName.EXTERNAL_CLOSE, trade="T1")
    assert len(called.at(0, fill)) == 1
    assert called.at(10, fill) == [] and called.at(599, fill) == []
    (again,) = called.at(601, fill)
    assert "(2 more of these were not sent)" in again


def test_a_storm_of_one_name_is_cut_and_another_name_still_goes_out() -> None:
    called = Called()
    storm = [event(EventName.EXTERNAL_CLOSE, trade=f"T{n}") for n in range(50)]
    assert len(called.at(0, *storm)) == BURST
    assert len(called.at(1, event(EventName.LIQUIDATION, trade="T9"))) == 1


def test_a_level_below_the_alerts_own_calls_nobody() -> None:
    assert Called().at(0, event(EventName.REJECTED, Level.WARNING)) == []
    assert Called().at(0, event(EventName.FILL, Level.INFO)) == []


# -- the command -----------------------------------------------------------------------------------

ONE = (Alert(name="ONE", severity=Severity.PAGE, events=(EventName.ADL,), summary="", act="look"),)


def script(folder: Path, text: str) -> str:
    path = folder / "call"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


def alerter(command: str, complaints: list[str]) -> Alerter:
    return Alerter(
        command, whose="pink (live)", throttle_s=1, clock=SystemClock(),
        complain=complaints.append, alerts=ONE,
    )  # fmt: skip


def test_the_command_gets_one_line_and_none_of_our_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINK_SECRET_OF_A_KEY", "s3cret")
    complaints: list[str] = []
    calls = alerter(script(tmp_path, f"cat > {tmp_path}/told; env > {tmp_path}/env"), complaints)
    calls.hear(event(EventName.ADL))
    calls.close()
    assert (tmp_path / "told").read_text() == "PAGE pink (live): ONE: words of ADL; look\n"
    assert "s3cret" not in (tmp_path / "env").read_text()
    assert complaints == []


@pytest.mark.parametrize(
    ("text", "says"), [("exit 3", "exit status 3"), (None, "No such file or directory")]
)
def test_a_command_that_fails_is_complained_of(tmp_path: Path, text: str | None, says: str) -> None:
    complaints: list[str] = []
    command = script(tmp_path, text) if text else str(tmp_path / "nothing")
    calls = alerter(command, complaints)
    calls.hear(event(EventName.ADL))
    calls.close()
    assert len(complaints) == 1 and says in complaints[0]
    assert complaints[0].endswith("words of ADL; look")


def test_nobody_waits_for_a_command_that_hangs(tmp_path: Path) -> None:
    calls = alerter(script(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 60"), [])
    calls.hear(event(EventName.ADL))
    while not (told := (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else ""):
        time.sleep(0.01)
    start = time.monotonic()
    for _ in range(5_000):
        calls.hear(event(EventName.ADL))
    calls.close(within_s=0.2)
    assert time.monotonic() - start < 5
    os.kill(int(told), 9)
