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


def test_places_never_rounds_a_sign_away() -> None:
    board = importlib.import_module("dita.commands.board")
    assert board.places("-0.00001") == "-0.0000"
    assert board.places("1234567.891", 2, sign=True) == "+1,234,567.89"
    assert [board.age(n) for n in (-1, 1_234, 70_000, 900_000)] == [
        "never", "1.2 s", "70 s", "15 min",
    ]  # fmt: skip
