"""Ids of commands that got no answer: used again for ten minutes, by whoever types the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from dita.clock import ManualClock
from dita.runtime.server.asked import KEPT_MS, Asked, Kept, digest_of

WISH: dict[str, Any] = {"verb": "intent", "intent": {"command": 2, "trade_id": "T1"}}


def ids(*names: str) -> Any:
    return iter(names).__next__


def test_an_unanswered_wish_keeps_its_id_and_an_answered_one_does_not(tmp_path: Path) -> None:
    clock = ManualClock(1_000)
    new = ids("a", "-", "b", "c", "d")
    assert Asked(tmp_path, clock, WISH).begin(new) == Kept("a", 0)
    clock.advance_ms(KEPT_MS - 1)
    assert Asked(tmp_path, clock, WISH).begin(new) == Kept("a", 1_000)
    again = Asked(tmp_path, clock, WISH)
    assert again.begin(new, again=True) == Kept("b", 0)
    again.answered()
    assert list(tmp_path.iterdir()) == []
    assert Asked(tmp_path, clock, WISH).begin(new) == Kept("c", 0)


def test_after_ten_minutes_it_is_another_wish(tmp_path: Path) -> None:
    clock = ManualClock(1_000)
    new = ids("a", "b")
    Asked(tmp_path, clock, WISH).begin(new)
    clock.advance_ms(KEPT_MS)
    assert Asked(tmp_path, clock, WISH).begin(new) == Kept("b", 0)


@pytest.mark.parametrize("content", ["", "{", '{"intent_id": 1}', '{"intent_id": "../x"}', "[]"])
def test_a_file_that_says_nothing_is_replaced(tmp_path: Path, content: str) -> None:
    asked = Asked(tmp_path, ManualClock(1_000), WISH)
    asked.path.write_text(content)
    assert asked.begin(ids("a")) == Kept("a", 0)
    assert Asked(tmp_path, ManualClock(1_000), WISH).begin(ids("b")) == Kept("a", 1_000)


def test_what_the_wish_is_and_what_is_not(tmp_path: Path) -> None:
    """Reason, operator and wait may differ between two tries; trade and quantity not."""
    same = {**WISH, "operator": "eva", "reason": "again", "wait_ms": 7}
    same["intent"] = {**WISH["intent"], "intent_id": "x"}
    assert digest_of(same) == digest_of(WISH)
    for field, value in (("trade_id", "T2"), ("quantity_e8", 1), ("command", 1)):
        other = {**WISH, "intent": {**WISH["intent"], field: value}}
        assert digest_of(other) != digest_of(WISH)


def test_two_in_the_same_moment_are_one(tmp_path: Path) -> None:
    """Whoever is second finds the first one's id."""
    clock = ManualClock(1_000)
    first, second = (Asked(tmp_path, clock, WISH) for _ in range(2))
    assert first.begin(ids("a")) == Kept("a", 0)
    assert second.begin(ids("b")) == Kept("a", 1_000)


def test_a_disk_that_takes_nothing_keeps_nobody(tmp_path: Path) -> None:
    asked = Asked(tmp_path / "none", ManualClock(1_000), WISH)
    assert asked.begin(ids("a")) == Kept("a", 0)
    assert asked.problem == "No such file or directory"


def test_nothing_is_left_but_the_file_itself(tmp_path: Path) -> None:
    asked = Asked(tmp_path, ManualClock(1_000), WISH)
    asked.begin(ids("a"))
    assert [path.name for path in tmp_path.iterdir()] == [asked.path.name]
    assert os.stat(asked.path).st_mode & 0o777 == 0o600
