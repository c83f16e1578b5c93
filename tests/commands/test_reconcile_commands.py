"""reconcile, anchor, smoke and soak as commands: with a serve, without one, and with no exchange.

The venue lives in a process of its own; what happens there by hand is done through its test verbs.
"""

from __future__ import annotations

import asyncio
import json
import signal
import stat
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from support.engine_driver import m, q
from support.serve_station import COMMAND, Station, is_open, money_agrees, pink, venue_process

from dita.contracts import OrderSide
from dita.venues.mock import Do, Rule, Verb
from dita.venues.remote import RemoteVenue

DEAF = (Rule(verb=Verb.STREAM, do=Do.DROP, times=0),)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Station]:
    with venue_process(tmp_path) as socket:
        yield Station(tmp_path, socket)


def at_the_venue(desk: Station, act: Callable[[RemoteVenue], Awaitable[Any]]) -> Any:
    """Do something at the venue beside the kernel."""

    async def connected() -> Any:
        venue = RemoteVenue(desk.state.parent / "venue.sock")
        await venue.connect()
        try:
            return await act(venue)
        finally:
            await venue.close()

    return asyncio.run(connected())


def by_hand(desk: Station, side: OrderSide, quantity: int) -> None:
    at_the_venue(desk, lambda venue: venue.trade_by_hand("FET-USDT", side, q(quantity)))


def run(desk: Station, command: str, *words: str) -> subprocess.CompletedProcess[str]:
    return pink(command, *words, *desk.words)


def record_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(done.stdout)
    assert record["schema_version"] == 1
    return record


def stopped(serve: subprocess.Popen[str]) -> None:
    serve.send_signal(signal.SIGTERM)
    assert serve.wait(30) == 0


def test_a_position_of_a_stranger_is_adopted_by_plan(desk: Station) -> None:
    """Without a serve: looked at, planned to a file, applied; what it cost is anchored."""
    with desk.serve() as serve:
        stopped(serve)
    by_hand(desk, OrderSide.SELL, 50)
    plan = desk.state.parent / "plan.json"
    found = run(desk, "reconcile", "--json", "--adopt", "FET-USDT", "--out", str(plan))
    assert found.returncode == 1, found.stderr
    assert "recovering its journal here" in found.stderr
    record = record_of(found)
    assert "position foreign" in [row["cause"] for row in record["rows"]]
    assert stat.S_IMODE(plan.stat().st_mode) == 0o600
    again = run(desk, "reconcile", "--out", str(plan))
    assert (again.returncode, "a new file" in again.stderr) == (2, True)
    no_reason = run(desk, "reconcile", "--apply", str(plan))
    assert (no_reason.returncode, "--reason" in no_reason.stderr) == (2, True)
    done = run(desk, "reconcile", "--apply", str(plan), "--reason", "it is ours")
    assert "adopted into slot 0" in done.stdout, done.stdout + done.stderr
    booked = run(desk, "anchor", "--reason", "its entry fee", "--apply")
    assert booked.returncode == 0, booked.stderr
    assert "booked -0.0125 USDT  foreign activity" in booked.stdout
    assert run(desk, "reconcile").returncode == 0
    with desk.serve():
        (slot,) = desk.status()["slots"]
        assert (slot["side"], slot["size"], slot["state"]) == ("SHORT", "50", "POSITION_OPEN")
        desk.exit(slot["trade"])
        desk.until("flat", lambda record: not record["slots"])


def test_closed_by_hand_while_nobody_runs(desk: Station) -> None:
    """The recovery books it from the exchange's fills, so that nothing is left to plan."""
    with desk.serve() as serve:
        desk.enter("T1")
        desk.until("open", is_open)
        desk.until("balance", money_agrees)
        assert run(desk, "reconcile").returncode == 0
        refused = run(desk, "reconcile", "--when-flat")
        assert (refused.returncode, "not flat" in refused.stderr) == (5, True)
        stopped(serve)
    by_hand(desk, OrderSide.BUY, 1000)
    done = run(desk, "reconcile", "--when-flat")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("0.00000000 USDT  no differences")


def test_a_plan_is_refused_once_the_exchange_has_moved(desk: Station) -> None:
    plan = desk.state.parent / "plan.json"
    with desk.serve():
        desk.enter("T1")
        desk.until("open", is_open)
        at_the_venue(desk, lambda venue: venue.set_script(DEAF))
        by_hand(desk, OrderSide.BUY, 300)
        found = run(desk, "reconcile", "--out", str(plan))
        assert found.returncode == 1, found.stderr
        first, *_ = found.stdout.splitlines()
        assert "difference" in first
        assert "position reduced outside" in found.stdout
        by_hand(desk, OrderSide.BUY, 100)
        words = ("--apply", str(plan), "--reason", "test")
        moved = run(desk, "reconcile", *words)
        assert (moved.returncode, "another exchange's state" in moved.stderr) == (5, True)
        edited = json.loads(plan.read_text())
        edited["epoch"] += 1
        plan.write_text(json.dumps(edited))
        changed = run(desk, "reconcile", *words)
        assert (changed.returncode, "changed since" in changed.stderr) == (5, True)


def test_no_answer_from_the_exchange_is_never_flat(tmp_path: Path) -> None:
    """With serve and without: exit 6, and the question that failed by name."""
    with venue_process(tmp_path) as socket:
        desk = Station(tmp_path, socket)
        with desk.serve() as serve:
            for verb, named in ((Verb.POSITIONS, "positions"), (Verb.BALANCE, "balance")):
                rules = (Rule(verb=verb, do=Do.FAIL, times=0),)
                at_the_venue(desk, lambda venue, rules=rules: venue.set_script(rules))  # type: ignore[misc]
                done = run(desk, "reconcile", "--when-flat")
                assert done.returncode == 6, done.stderr
                assert f"did not answer: {named}" in done.stderr
            at_the_venue(desk, lambda venue: venue.set_script(()))
            stopped(serve)
    gone = run(desk, "reconcile")
    assert gone.returncode == 6, gone.stderr
    assert "venue cannot be reached" in gone.stderr


def test_anchor_plans_first_and_books_by_cause(desk: Station) -> None:
    with desk.serve():
        nothing = run(desk, "anchor", "--reason", "test")
        assert nothing.stdout.startswith("no drift: nothing to book")
        silent = (*DEAF, Rule(verb=Verb.INCOME, do=Do.EMPTY, times=0))
        at_the_venue(desk, lambda venue: venue.set_script(silent))
        at_the_venue(desk, lambda venue: venue.transfer(m("7.5")))
        early = run(desk, "anchor", "--reason", "gift", "--apply")
        assert (early.returncode, "may still get its cause" in early.stderr) == (5, True)
        planned = run(desk, "anchor", "--reason", "gift", "--everything")
        assert planned.returncode == 0, planned.stderr
        assert "would book +7.5 USDT  pending" in planned.stdout
        assert "capital 10007.5 → 10007.5" in planned.stdout
        assert "K       10000 → 10007.5" in planned.stdout
        assert desk.status()["k_capital"] == "10000"
        words = ("--reason", "gift", "--everything", "--apply", "--json")
        record = record_of(run(desk, "anchor", *words))
        assert (record["applied"], record["drift_after"]) == (True, "0")
        status = desk.status()
        assert (status["k_capital"], status["capital"]) == ("10007.5", "10007.5")
    tail = pink("journal", "tail", "--state-dir", str(desk.state), "--json")
    assert "anchor, pending 7.5: gift" in tail.stdout


def test_smoke_with_serve_and_without(desk: Station) -> None:
    with desk.serve() as serve:
        words = ("--symbol", "TRX-USDT", "--price", "0.3")
        dry = run(desk, "smoke", *words, "--dry-run")
        assert dry.returncode == 0, dry.stderr
        assert "LONG 8 TRX-USDT at market" in dry.stdout
        done = run(desk, "smoke", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        *steps, trade = done.stdout.splitlines()
        assert [line[0] for line in steps] == ["✓"] * 12 and trade.startswith("trade smoke-")
        desk.enter("T1")
        desk.until("open", is_open)
        busy = run(desk, "smoke", "--symbol", "FET-USDT", "--price", "0.5")
        assert (busy.returncode, "position SELL" in busy.stderr) == (5, True)
        stopped(serve)
    record = record_of(run(desk, "smoke", *words, "--side", "short", "--json"))
    assert record["ok"], record
    with desk.serve():
        assert len(desk.status()["slots"]) == 1  # T1 was left as it was


def test_soak_over_a_round_trip(desk: Station) -> None:
    svg, lines = desk.state.parent / "soak.svg", desk.state.parent / "soak.jsonl"
    nobody = run(desk, "soak", "--duration", "1s", "--interval", "1s")
    assert nobody.returncode == 3
    with desk.serve():
        words = ("--duration", "4s", "--interval", "100ms", "--samples", str(lines), "--json")
        with subprocess.Popen(
            [*COMMAND, "soak", *words, "--svg", str(svg), *desk.words],
            stdout=subprocess.PIPE,
            text=True,
        ) as soaking:
            while not (lines.exists() and lines.stat().st_size):
                time.sleep(0.02)  # the trade is one of the time that is looked at
                assert soaking.poll() is None
            desk.enter("T1")
            desk.until("open", is_open)
            desk.exit("T1")
            said, _ = soaking.communicate(timeout=60)
        record = json.loads(said)
        assert soaking.returncode == 0, record
        assert record["holds"]
        assert record["idle"]["samples"] > 0
        assert record["idle"]["worst"] == "0"
        assert record["trades"] == 1
        samples = record["idle"]["samples"] + record["settling"]["samples"]
        assert samples == len(lines.read_text().splitlines())
        tree = ElementTree.fromstring(svg.read_text())
        assert sum(each.tag.endswith("circle") for each in tree.iter()) == samples
        bad = run(desk, "soak", "--duration", "1 hour")
        assert bad.returncode == 2
        desk.until("balance", money_agrees)
        at_the_venue(desk, lambda venue: venue.set_script(DEAF))
        at_the_venue(desk, lambda venue: venue.transfer(m("5")))
        off = run(desk, "soak", "--duration", "1s", "--interval", "500ms")
        assert off.returncode == 1, off.stdout
        assert off.stdout.startswith("idle -5.00000000 USDT at most: NOT within 0.01")


@pytest.mark.parametrize("words", [("reconcile",), ("anchor", "--reason", "x")])
def test_a_mistyped_folder_is_no_quiet_account(words: tuple[str, ...], tmp_path: Path) -> None:
    done = pink(*words, "--state-dir", str(tmp_path / "typo"))
    assert (done.returncode, "nothing to look at" in done.stderr) == (3, True), done.stderr
    assert not (tmp_path / "typo").exists()


def test_smoke_names_a_symbol_that_is_not_listed(tmp_path: Path) -> None:
    words = ("--symbol", "NOPE-USDT", "--dry-run", "--config", "demo")
    done = pink("smoke", *words, "--state-dir", str(tmp_path / "new"))
    assert (done.returncode, "unknown symbol" in done.stderr.splitlines()[-1]) == (6, True)
    assert "did not answer" not in done.stderr
