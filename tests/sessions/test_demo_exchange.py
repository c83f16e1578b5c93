"""`pink-ctl serve --demo`: the kernel trades on a local exchange, and their books end equal.

Real sockets, real signatures, a tape that plays once; the exchange's own book is the judge.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from support.serve_station import COMMAND, pink

from dita.clock import ManualClock
from dita.exchange.model.prices import read_tape
from dita.runtime.demo.exchange import DemoExchange
from dita.units import MONEY_ONE, parse_money

ROWS = 240  # of two seconds, at the demo's speed twelve


def tape_at(folder: Path) -> Path:
    """A tape that goes up and down, so that the demo trades both ways."""
    tape = folder / "waves.csv"
    waves = [5_000 + abs((i * 3) % 80 - 40) for i in range(ROWS)]
    rows = [f"{i * 2_000},FET-USDT,0.{price}" for i, price in enumerate(waves)]
    tape.write_text("time_ms,asset,price\n" + "\n".join(rows) + "\n")
    return tape


def demo(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A demo in a pipe."""
    return subprocess.run(
        [*COMMAND, "serve", "--demo", "--tape", str(tape_at(folder)), *words],
        env={**os.environ, "TMPDIR": str(folder), **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_demo_trades_on_a_local_exchange_and_both_books_agree(tmp_path: Path) -> None:
    state = tmp_path / "state"
    # A setting of the user's venue must not come near the demo's exchange.
    done = demo(tmp_path, "--json", "--state-dir", str(state), PINK__VENUE__ENVIRONMENT="live")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    book = record["exchange"]
    assert record["trades"] >= 2 and record["slots"] == [] and record["last_trade"]
    assert book["agrees"] and book["positions"] == 0
    assert book["fills"] >= book["orders"] >= 2 * record["trades"]
    off = abs(parse_money(record["capital"]) - parse_money(book["wallet"]))
    assert off < MONEY_ONE // 1_000
    made = parse_money(record["realized"]) - parse_money(record["fees"])
    moved = parse_money(book["wallet"]) - parse_money(book["started_with"])
    assert abs(made - moved) < MONEY_ONE // 1_000
    assert record["drift_status"] == "OK"
    assert not re.search(r"[0-9a-f]{32}", done.stderr), "a key was shown"
    verified = pink("journal", "verify", "--state-dir", str(state), "--json")
    assert json.loads(verified.stdout)["sound"]
    assert pink("explain", record["last_trade"], "--state-dir", str(state)).returncode == 0


def test_the_demo_s_summary_shows_the_exchange_s_own_book(tmp_path: Path) -> None:
    done = demo(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("local exchange: http://127.0.0.1:")
    assert "tape 100 %  READY" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("capital ") and " trades: realized " in lines[1]
    assert "own book: wallet " in lines[2] and ": agrees (off by " in lines[2]
    assert lines[3].endswith("0 positions open")
    assert all(len(line) <= 80 for line in lines)


def test_the_tape_plays_once(tmp_path: Path) -> None:
    clock = ManualClock(1_795_435_343_000)
    exchange = DemoExchange(clock, iter(("key", "secret")).__next__, str(tape_at(tmp_path)))
    assert exchange.lasts_ms == (ROWS - 1) * 2_000 // 40
    session = exchange.server.session
    clock.advance_ms(exchange.lasts_ms)
    session.pulse()
    last = session.exchange.quote("FET-USDT").last_e10
    first = read_tape(str(tape_at(tmp_path)))[0].price_e10
    clock.advance_ms(1_000)  # on a second round the price would be another one
    session.pulse()
    assert session.exchange.quote("FET-USDT").last_e10 == last != first


@pytest.mark.parametrize(
    "words",
    [("--mock",), ("--tape", "x.csv"), ("--demo", "--mock", "--tape", "x.csv")],
)
def test_options_of_the_demo_are_refused_elsewhere(words: tuple[str, ...]) -> None:
    done = pink("serve", *words)
    assert (done.returncode, "option refused" in done.stderr) == (64, True)
