"""The board: its first line is true, no digit is lost, what is not known is a dash.

Golden texts at 80 and 140 columns and in a pipe stand in data/boards; when the board is changed on
purpose, `DITA_SCREENS=write pytest tests/commands/test_board.py` writes new ones: read the diff.
"""

from __future__ import annotations

import importlib
import io
import os
from pathlib import Path
from typing import Any

import pytest
from support.board_record import fet, record
from support.engine_driver import SHORT, Desk

BOARDS = Path(__file__).parent.parent / "data" / "boards"
board: Any = importlib.import_module("dita.commands.show.status_board")
render: Any = importlib.import_module("dita.commands.show.render")
typed: Any = importlib.import_module("dita.commands.typed")


def in_trouble(desk: Desk) -> dict[str, Any]:
    """Everything that can be wrong at once."""
    (slot,) = record(desk)["slots"]
    doubted = {**slot, "state": "STALE_STATE_RECONCILING", "mark_price": "0.1901",
               "mark_age_ms": 95_000, "unrealized": "-46.5234", "liquidation_price": "0.2",
               "liquidation_distance": "0.052", "leverage_there": 20}  # fmt: skip
    return {
        **record(desk), "slots": [doubted], "entries_frozen": ["hold", "pending drift"],
        "entries": {"allowed": False, "wait_for": [
            "hold by eva: news", "pending drift of -30.00",
            "balance is 2 min old, 60 s is the limit"]},
        "held_symbols": ["BTC-USDT"], "limits": {"order_notional": "1000", "positions": "4"},
        "foreign": [{"asset": "FET-USDT", "side": "LONG", "quantity": "5000"}],
        "alarms": [{"name": "stream", "text": "not connected: refused\x1b[2J", "age_ms": 125_000}],
        "queries_failing": [{"name": "positions", "words": "100500 busy", "age_ms": 61_000}],
        "open_orders": 7,
        "orders": [{"trade": "T1", "asset": "FET-USDT", "role": "EXIT", "side": "BUY",
                    "quantity": "202276", "filled": "1000", "status": "WORKING",
                    "age_ms": 12_000 - n * 13_000} for n in range(7)],
        "orders_refused": [{"asset": "FET-USDT", "error_code": 101204, "age_ms": 180_000,
                            "words": "Insufficient margin"}],
        "venue": {"gaps": {"closed": 1, "connected": 1},
                  "requests": {"GET v2/trade/order": 30}, "waits": {"GET v2/trade/order": 12},
                  "waited_ms": {"GET v2/trade/order": 9_400},
                  "blocks": {"POST v2/trade/order": 1},
                  "blocked_ms": {"POST v2/trade/order": 61_000},
                  "equal_errors": {"POST v2/trade/order": 7},
                  "leverage": [{"asset": "FET-USDT", "side": "SHORT", "ours": 1, "found": 20}],
                  "unreadable": {"positions": {
                      "count": 3, "about": "FET-USDT", "why": "size: expected a number, found x"}}},
        "fee_check": {"state": "WARN", "text": "2.1 % above the contract's rate"},
        "log": {"lost_lines": 12, "trouble": "/var/log/pink.log: No space left on device",
                "alerts": "exit status 3"},
        "age_ms": {"stream": -1, "balance": 149_000, "positions": 900_000, "last_input": 1_234},
    }  # fmt: skip


def drawn(status: dict[str, Any], width: int) -> list[str]:
    from rich.console import Console

    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None, markup=False, highlight=False).print(
        board.board(status, width)
    )
    return [line.rstrip() for line in stream.getvalue().splitlines()]


@pytest.fixture(autouse=True)
def by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it had been found on the PATH: hints repeat how the program was started."""
    monkeypatch.setattr("sys.argv", ["pink-ctl", "status"])
    typed.use(None, None)


SCENES = {"calm": record, "trouble": in_trouble}
WIDTHS = {"80": 80, "140": 140, "pipe": 10_000}


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("label", WIDTHS)
def test_the_board_is_as_it_was_looked_at(name: str, label: str) -> None:
    lines = drawn(SCENES[name](fet()), WIDTHS[label])
    assert max(map(len, lines)) <= WIDTHS[label]
    assert not [line for line in lines if "\x1b" in line]
    path, text = BOARDS / f"{name}-{label}.txt", "\n".join(lines) + "\n"
    if os.environ.get("DITA_SCREENS") == "write":
        BOARDS.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [80, 140])
def test_no_digit_is_lost(width: int) -> None:
    text = "\n".join(drawn(record(fet()), width))
    assert "…" not in text
    for figure in ("202,276", "fet-2026-06-11", "POSITION_OPEN", "100,000.1235", "-31.2084"):
        assert figure in text


def test_in_a_pipe_every_value_is_whole() -> None:
    trade = "adopted-bfbca3c506a2e709-1" * 3
    status = record(Desk())
    status["slots"] = [{**record(fet())["slots"][0], "trade": trade}]
    (row,) = (line for line in drawn(status, 10_000) if trade in line)
    assert row.split()[4] == "POSITION_OPEN"


# -- the first line --------------------------------------------------------------------------------


def test_ready_is_green_only_when_entries_may_go() -> None:
    free = record(Desk())
    assert str(board.state_line(free).style) == "bold green"
    assert board.state_line(free).plain == "READY: entries may go"
    waits = {**free, "entries": {"allowed": False, "wait_for": ["balance is 149 s old"]}}
    assert board.state_line(waits).plain == "READY, no entries: balance is 149 s old"
    assert "green" not in str(board.state_line(waits).style)


@pytest.mark.parametrize("state", ["HOLD", "DEGRADED", "RECONCILING", "DRAINING"])
def test_the_first_line_says_what_entries_wait_for_in_every_state(state: str) -> None:
    status = {**record(Desk()), "state": state,
              "entries": {"allowed": False, "wait_for": ["a \x1b[31mreason\n"]}}  # fmt: skip
    assert board.state_line(status).plain == f"{state}, no entries: a reason "
    assert "green" not in str(board.state_line(status).style)


# -- figures ---------------------------------------------------------------------------------------


def test_a_mark_that_is_not_known_is_a_dash_and_never_zero() -> None:
    desk = Desk()
    desk.open(100, "0.1878", side=SHORT, trade="fet")
    lines = drawn(record(desk), 140)
    (row,) = (line for line in lines if " fet " in line)
    assert row.split().count("–") == 3  # mark, liquidation and unrealized
    assert any("without 1 whose mark is not known" in line for line in lines)


def test_small_prices_keep_their_digits() -> None:
    assert board.price("0.0000123456") == "0.000012346"
    assert board.price("0.18") == "0.1800"
    assert board.price("63421.53217") == "63,421.5322"
    assert board.price("") == "–"


def test_money_is_rounded_half_even_and_never_loses_its_minus() -> None:
    assert [board.places(n, 2) for n in ("10000.4985", "0.005", "0.015", "0.025", "-0.005")] == [
        "10,000.50", "0.00", "0.02", "0.02", "-0.00",
    ]  # fmt: skip
    assert board.places("-0.00001") == "-0.0000"
    assert board.places("1234567.891", 2, sign=True) == "+1,234,567.89"
    assert board.figure("0") == "0.0000"
    assert [board.age(n) for n in (-1, 244, 1_234, 70_000, 900_000)] == [
        "never", "244 ms", "1.2 s", "70 s", "15 min",
    ]  # fmt: skip


@pytest.mark.parametrize(("age_ms", "words"), [(12_000, "up to 12 s old"), (-1, "of unknown age")])
def test_the_age_of_the_marks_is_said(age_ms: int, words: str) -> None:
    status = record(fet())
    status["slots"] = [{**status["slots"][0], "mark_price": "0.19", "mark_age_ms": age_ms}]
    (equity,) = (line for line in drawn(status, 80) if "equity" in line)
    assert equity.endswith(f"open positions at marks {words}")


# -- the way to the exchange -----------------------------------------------------------------------

CALM = {"requests": {"GET v2/user/balance": 90}, "waits": {"GET v2/user/balance": 2}, "gaps": {}}


@pytest.mark.parametrize("width", [80, 140])
def test_a_clear_way_to_the_exchange_takes_no_line(width: int) -> None:
    plain = drawn(record(Desk()), width)
    assert drawn({**record(Desk()), "venue": CALM}, width) == plain
    over = {"blocks": {"POST v2/trade/order": 1}}
    (new,) = (line for line in drawn({**record(Desk()), "venue": over}, width) if line not in plain)
    assert new == "rate limits: 1 blocks, all over"
