"""The board: no digit is lost at 80 columns, and what matters is in the first line."""

from __future__ import annotations

import importlib
import io
from typing import Any

import pytest
from desk import SHORT, Desk

from dita.runtime.status import slot_row


def record(desk: Desk) -> dict[str, Any]:
    """A status record as serve would tell it."""
    return {
        "state": "READY", "namespace": "test", "capital": "100000.123456", "trades": 3,
        "capital_source": "e_anchored", "exchange_balance": "100000.1234", "equity": "100001",
        "realized": "-31.2084", "fees": "0.5", "funding": "0", "k_capital": "100000.1",
        "drift": "0.02", "drift_status": "WARN", "drift_by_cause": {"pending_fee": "0.02"},
        "journal": {"records": 9, "bytes": 5 * 2**20, "free_bytes": 2**31, "reserve_bytes": 2**20},
        "entries_frozen": ["hold"], "held_because": "eva: news", "open_orders": 1, "held_events": 0,
        "venue": {}, "fee_check": {"state": "OK", "text": ""},
        "slots": [slot_row(slot) for slot in desk.engine.kernel.active_slots()],
        "age_ms": {"stream": -1, "balance": 70_000, "positions": 900_000, "last_input": 1_234},
    }  # fmt: skip


@pytest.mark.parametrize("width", [80, 140])
def test_no_digit_is_lost(width: int) -> None:
    from rich.console import Console

    board = importlib.import_module("dita.commands.board")
    desk = Desk()
    desk.open(202276, "0.1878", side=SHORT, trade="fet-2026-06-11")
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(board.board(record(desk), width))
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for figure in ("202,276", "fet-2026-06-11", "POSITION_OPEN", "100,000.1234", "-31.2084"):
        assert figure in text
    assert text.splitlines()[0].startswith("READY  test  capital 100,000.12")
    assert "entries frozen: hold" in " ".join(text.split())
    assert "15 min" in text


def test_a_mark_that_is_not_known_is_a_dash_and_never_zero() -> None:
    from rich.console import Console

    board = importlib.import_module("dita.commands.board")
    desk = Desk()
    desk.open(100, "0.1878", side=SHORT, trade="fet")
    stream = io.StringIO()
    Console(file=stream, width=140, color_system=None).print(board.board(record(desk), 140))
    (row,) = (line for line in stream.getvalue().splitlines() if " fet " in line)
    assert row.split().count("–") == 2  # mark and unrealized
    assert "marks that are not known: 1" in stream.getvalue()


def test_places_never_rounds_a_sign_away() -> None:
    board = importlib.import_module("dita.commands.board")
    assert board.places("-0.00001") == "-0.0000"
    assert board.places("1234567.891", 2, sign=True) == "+1,234,567.89"
    assert [board.age(n) for n in (-1, 1_234, 70_000, 900_000)] == [
        "never", "1.2 s", "70 s", "15 min",
    ]  # fmt: skip


def drawn(health: dict[str, Any], width: int) -> list[str]:
    from rich.console import Console

    board = importlib.import_module("dita.commands.board")
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(
        board.board({**record(Desk()), "venue": health}, width)
    )
    return stream.getvalue().splitlines()


CALM = {"requests": {"GET v2/user/balance": 90}, "waits": {"GET v2/user/balance": 2}, "gaps": {}}
TROUBLE = {
    "requests": {"GET v2/trade/order": 30, "POST v2/trade/order": 9},
    "waits": {"GET v2/trade/order": 12},
    "waited_ms": {"GET v2/trade/order": 9_400},
    "blocks": {"POST v2/trade/order": 1},
    "blocked_ms": {"POST v2/trade/order": 61_000},
    "refusals": ["first: code 101204 margin", "abc: code 101209 the \x1b[31mvalue\nis too large"],
    "gaps": {"closed": 1, "connected": 1},
}


@pytest.mark.parametrize("width", [80, 140])
def test_the_way_to_the_exchange_takes_two_lines_and_only_in_trouble(width: int) -> None:
    calm = drawn({}, width)
    assert len(drawn(CALM, width)) == len(calm)
    lines = drawn(TROUBLE, width)
    new = [line for line in lines if line not in calm]
    assert (len(new), len(lines) - len(calm)) == (2, 2)
    assert new[0].startswith("rate limits: POST v2/trade/order blocked for 61 s, GET v2/trade/or")
    assert new[1].startswith("stream gaps closed 1, connected 1; refused 2, the last: code 101209")
    assert all(len(line) <= width and "\x1b" not in line for line in lines)
    if width == 140:
        assert "waited 12 times, 9.4 s in all" in new[0] and "is too large" in new[1]
    over = {**TROUBLE, "blocked_ms": {}, "waits": {}}
    assert "rate limits: 1 blocks, all over" in drawn(over, width)
