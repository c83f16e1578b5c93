"""A roll between real serves on one venue: the money and the past go on over it."""

from __future__ import annotations

import json
import signal
import subprocess
import time

from support.serve_station import Station, is_flat, is_open, money_agrees, pink

from dita.runtime.state.rolling import plan_of
from dita.settings import load


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def roll(station: Station, *more: str) -> subprocess.CompletedProcess[str]:
    return pink("journal", "roll", *station.words, "--reason", "more slots", *more)


def obstacles(station: Station) -> tuple[str, ...]:
    plan = plan_of(station.state, load(station.config, {}, {}))
    assert plan is not None
    return plan.obstacles


def test_a_roll_between_two_serves(station: Station) -> None:
    text = station.config.read_text()
    station.config.write_text(text.replace("[runtime]\n", "[runtime]\nincome_check_s = 1\n"))
    with station.serve() as process:
        assert station.enter("T1").returncode == 0
        station.until("T1 is open", is_open)
        stop(process)
    refused = roll(station, "--apply")
    assert refused.returncode == 5 and "trade T1 is in slot" in refused.stderr
    with station.serve() as process:
        assert station.exit("T1").returncode == 0
        station.until("flat", is_flat)
        before = station.until("settled", money_agrees)
        assert roll(station, "--apply").returncode == 75  # not beside a serve
        # What forbids a roll ends while serve runs: figures and history are read.
        end = time.monotonic() + 30
        while obstacles(station):
            assert time.monotonic() < end, obstacles(station)
        stop(process)
    text = station.config.read_text()
    station.config.write_text(text.replace("slot_limit = 4", "slot_limit = 6"))
    other = pink("serve", *station.words, "--once")
    assert other.returncode == 78 and "journal roll" in other.stderr
    plan = roll(station)
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert "kernel.slot_limit: 4 becomes 6" in plan.stdout
    done = json.loads(roll(station, "--apply", "--json").stdout)
    with station.serve() as process:
        after = station.until("settled", money_agrees)
        assert after["epoch"] == done["next_epoch"] > before["epoch"]
        assert after["k_capital"] == before["k_capital"]
        assert "entries_frozen" not in after or not after["entries_frozen"], after
        assert station.enter("T2").returncode == 0
        station.until("T2 is open", is_open)
        assert station.exit("T2").returncode == 0
        station.until("flat", is_flat)
        station.until("settled", money_agrees)
        stop(process)
    listed = pink("trades", *station.words, "--json", "--since", "2020-01-01")
    trades = json.loads(listed.stdout)["trades"]
    assert [trade["trade"] for trade in trades] == ["T1", "T2"]
    for trade in ("T1", "T2"):
        told = pink("explain", trade, *station.words)
        assert told.returncode == 0 and trade in told.stdout
    for folder in (station.state, station.state / "epochs" / str(before["epoch"])):
        assert pink("journal", "verify", "--state-dir", str(folder)).returncode == 0
