"""What happened last night, and why did a trade lose: asked of a real serve's journal afterwards.

One night on a real exchange: a loss, a close by hand, a liquidation, a rejected order, a lost
stream, money that moves unannounced, a hold.  Then serve is gone and only its directory is there.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from support.installation import BTC, COMMAND, FET, KEYS, TRX, TradingDesk, trading_desk

#: Frames and rows are read soon enough for a test.
QUICK = "balance_check_s = 1\nincome_check_s = 3\npositions_check_s = 1\n"


class Night:
    """The installation after the night, what serve's log said, and who was called."""

    def __init__(self, desk: TradingDesk, log: str, called: str) -> None:
        self.desk = desk
        self.log = log
        self.called = called

    def events(self, *words: str) -> list[str]:
        """`pink-ctl events`, line by line."""
        done = self.desk.type("events", "--since", "1h", *words)
        assert done.code == 0, done.stderr
        return done.stdout.splitlines()

    def said(self, name: str, text: str) -> str:
        """The one line of that name with that text."""
        found = [line for line in self.events() if re.search(f" {name} +.*{text}", line)]
        assert found, (name, text, "\n".join(self.events()))
        return found[0]


def play(desk: TradingDesk, log: Path) -> None:
    """The night."""
    exchange = desk.exchange
    exchange.control("POST", "price", symbol=BTC, price="60000", mark="60000")
    desk.enter("LOSS", BTC, "0.5")
    exchange.control("POST", "price", symbol=BTC, price="59000", mark="59000")
    words = ("--trade", "LOSS", "--all", "--reason", "enough", "--apply")
    assert desk.type("intent", "exit", *words).code == 0
    desk.until("out", lambda s: not s["slots"])

    desk.enter("HAND", FET, "500", "SHORT")
    exchange.control("POST", "foreign_order", symbol=FET, side="BUY", quantity="500")
    desk.until("closed by hand", lambda s: not s["slots"])

    desk.enter("GONE", TRX, "300")
    exchange.control("POST", "liquidate", symbol=TRX)
    desk.until("liquidated", lambda s: not s["slots"])

    refused = {"kind": "refused", "on": "POST */trade/order", "code": 101204,
               "msg": "Insufficient margin"}  # fmt: skip
    exchange.control("POST", "faults", fault=[refused])
    desk.calmly(
        lambda: desk.type(
            "intent", "enter", "--trade", "POOR", "--asset", FET, "--side", "LONG",
            "--quantity", "500", "--reason", "test", "--apply",
        )
    )  # fmt: skip
    desk.until("rejected", lambda s: not s["slots"])

    exchange.control("POST", "act", kind="socket_closed")
    desk.until("gap healed", lambda s: s["venue"]["connects"] > 1 and s["entries"]["allowed"])

    # Money goes and nobody says so: not the stream, and income only after the balance has shown it.
    dropped = {"kind": "event_dropped", "on": "ACCOUNT_UPDATE *", "times": 1}
    later = {
        "kind": "refused",
        "on": "GET */user/income",
        "code": 109500,
        "msg": "busy",
        "times": 2,
    }
    exchange.control("POST", "faults", fault=[dropped, later])
    exchange.control("POST", "deposit", amount="-100")
    desk.until("frozen and thawed", lambda s: "THAWED" in log.read_text())
    assert desk.type("hold", "--reason", "going to bed", "--apply").code == 0


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    folder = tmp_path_factory.mktemp("night")
    pager, called = folder / "page", folder / "called"
    pager.write_text(f"#!/bin/sh\ncat >> {called}\n")
    pager.chmod(0o700)
    log = folder / "pink.log"
    with trading_desk(folder) as desk:
        text = desk.config.read_text().replace("positions_check_s = 1\n", QUICK)
        desk.config.write_text(f'{text}[alerts]\ncommand = "{pager}"\n')
        with log.open("wb") as stderr, serving(desk, stderr) as serve:
            play(desk, log)
            serve.send_signal(signal.SIGTERM)
            assert serve.wait(30) == 0
        yield Night(desk, log.read_text(), called.read_text())


@contextmanager
def serving(desk: TradingDesk, stderr: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A serve whose log is kept."""
    words = [*COMMAND, "serve", "--config", str(desk.config)]
    with subprocess.Popen(words, env={**os.environ, **KEYS}, stderr=stderr) as serve:
        try:
            end = time.monotonic() + 40
            while desk.type("status").code:
                assert serve.poll() is None and time.monotonic() < end
                time.sleep(0.1)
            desk.until("ready", lambda s: s["entries"]["allowed"])
            yield serve
        finally:
            if serve.poll() is None:
                serve.kill()


# -- what happened last night ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("STARTED", r"for test \(vst\), process \d+"),
        ("STATE", "READY: test"),
        ("INTENT", "ENTER LOSS: LONG 0.5 BTC-USDT MARKET"),
        ("FILL", "sold 0.5 BTC-USDT at 5[89],[0-9.,]+ .*exit of LOSS: -[45]"),
        ("EXTERNAL_CLOSE", "closed from outside.*bought 500 FET-USDT .* of HAND"),
        ("LIQUIDATION", "the exchange liquidated: sold 300 TRX-USDT .* of GONE"),
        ("REJECTED", "by the exchange, BUY 500, entry of POOR: code 101204 Insufficient margin"),
        ("GAP", "the stream may have missed something"),
        ("HEALED", "everything was queried again"),
        ("FROZEN", "entries stop, exits go on: pending drift: -100"),
        ("TRANSFER", "-100.00 out of the account"),
        ("THAWED", "no longer: pending drift"),
        ("HOLD", "held: no new entries; .*: going to bed"),
        ("CONTROL", "draining"),
        ("STATE", "STOPPED"),
    ],
)
def test_the_night_is_told_in_words(night: Night, name: str, text: str) -> None:
    line = night.said(name, text)
    assert re.match(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARN|ERR|CRIT)", line)


def test_the_log_of_that_time_had_the_very_same_words(night: Night) -> None:
    logged = [line for line in night.log.splitlines() if " TALK " not in line]
    told = night.events()
    assert [line for line in told if line not in logged] == []
    assert [line for line in logged if line not in told] == []


def test_only_what_needs_a_person(night: Night) -> None:
    loud = night.events("--loud")
    assert loud and not [line for line in loud if " INFO " in line]
    assert len(loud) < len(night.events())


def test_who_was_called_and_for_what(night: Night) -> None:
    calls = night.called.splitlines()
    names = [line.split(": ")[1] for line in calls]
    assert all(line.split(" test (vst)")[0] in ("PAGE", "WARN") for line in calls)
    assert {"CLOSED_OUTSIDE", "LIQUIDATION", "TRANSFER", "HOLD"} <= set(names)
    assert len(names) == len(set(names)), calls


def test_events_for_a_program(night: Night) -> None:
    done = night.desk.type("events", "--since", "1h", "--trade", "POOR", "--json")
    record = json.loads(done.stdout)
    (rejected,) = [e for e in record["events"] if e["event"] == "REJECTED"]
    assert (rejected["error_code"], rejected["message"]) == ("101204", "Insufficient margin")


# -- what was earned -------------------------------------------------------------------------------


def trades(night: Night) -> dict[str, dict[str, Any]]:
    done = night.desk.type("trades", "--since", "1h", "--json")
    assert done.code == 0, done.stderr
    return {trade["trade"]: trade for trade in json.loads(done.stdout)["trades"]}


def test_each_trade_with_its_money_and_its_end(night: Night) -> None:
    found = trades(night)
    assert {name: t["ended"] for name, t in found.items()} == {
        "LOSS": "exit",
        "HAND": "closed from outside",
        "GONE": "liquidated",
        "POOR": "never filled",
    }
    loss = found["LOSS"]
    assert (loss["side"], loss["quantity"], loss["why_out"]) == ("LONG", "0.5", loss["why_out"])
    assert loss["why_out"].endswith(": enough")
    assert loss["source"] == "exchange" and loss["opened_utc"] < loss["closed_utc"]


def test_the_trades_add_up_to_what_the_exchange_took(night: Night) -> None:
    """Its own book against the sum over our trades, the withdrawal aside: to the cent."""
    from dita.units import format_money, parse_money

    wallet = parse_money(night.desk.exchange.book()["wallet"])
    started = 100_000 * 10**18
    net = sum(parse_money(trade["net"]) for trade in trades(night).values())
    rest = wallet - (started - 100 * 10**18 + net)
    assert abs(rest) < 10**16, format_money(rest)


def test_trades_as_csv_can_be_read_back(night: Night) -> None:
    done = night.desk.type("trades", "--since", "1h", "--csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {row["trade"]: row["net"] for row in rows} == {
        name: trade["net"] for name, trade in trades(night).items()
    }


# -- why did a trade lose --------------------------------------------------------------------------


def test_why_did_it_lose(night: Night) -> None:
    done = night.desk.type("explain", "LOSS")
    first, second, third, fourth, *_ = done.stdout.splitlines()
    assert re.match(
        r"LOSS lost \d+\.\d+: price -\d+\.\d+, fees -\d+\.\d+; exited at 20\d\d-.* after ", first
    ), first
    assert second.startswith("LONG 0.5 BTC-USDT: in at ") and "test" in second
    assert third.startswith("0.5 out at ") and third.endswith(": enough")
    assert fourth == "figures: the exchange's own figures"


def test_who_closed_it(night: Night) -> None:
    first = night.desk.type("explain", "HAND").stdout.splitlines()[0]
    assert "; closed from outside at 20" in first
    first = night.desk.type("explain", "GONE").stdout.splitlines()[0]
    assert "; liquidated at 20" in first
    poor = night.desk.type("explain", "POOR").stdout
    assert poor.startswith("POOR was never filled")
    assert "code 101204 Insufficient margin" in poor


def test_the_picture_of_a_trade_is_whole(night: Night, tmp_path: Path) -> None:
    from xml.etree import ElementTree

    file = tmp_path / "loss.svg"
    assert night.desk.type("explain", "LOSS", "--svg", str(file)).code == 0
    root = ElementTree.fromstring(file.read_text())
    words = " ".join(node.text or "" for node in root.iter() if node.text)
    assert "LOSS lost" in words and "sold 0.5 BTC-USDT" in words
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for node in root.iter():
        if "points" in node.attrib:
            for pair in node.attrib["points"].split():
                x, y = map(float, pair.split(","))
                assert 0 <= x <= width and 0 <= y <= height


def test_a_trade_that_never_filled_cannot_be_drawn(night: Night, tmp_path: Path) -> None:
    done = night.desk.type("explain", "POOR", "--svg", str(tmp_path / "x.svg"))
    assert done.code == 2 and "nothing to draw" in done.stderr
