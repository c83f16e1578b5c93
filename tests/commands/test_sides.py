"""The tables of reconcile, and the picture of a soak: they fit, and they lose no digit."""

from __future__ import annotations

import importlib
import io
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from dita.runtime.operations.soak import IDLE_LIMIT, Point, summary_of
from dita.units import MONEY_ONE, parse_money

sides: Any = importlib.import_module("dita.commands.show.comparison")
chart: Any = importlib.import_module("dita.commands.show.soak_svg")

ID = "abcdefghijklmnopqrstuvwxyz234567"


def row(level: str, **fields: str) -> dict[str, str]:
    empty = {"asset": "", "name": "", "ours": "", "theirs": "", "cause": ""}
    return {"level": level, **empty, **fields}


RECORD: dict[str, Any] = {
    "namespace": "pink",
    "epoch": 1_700_000_000_000,
    "difference": "-12345.67890123",
    "differences": 3,
    "calm": False,
    "rows": [
        row(
            "order",
            asset="1000PEPE-USDT",
            name=ID,
            ours="WORKING 1234567.12345678/7654321",
            theirs="PARTIALLY 1234568/7654321",
            cause="fill not seen",
        ),
        row("position", asset="FET-USDT", name="T1", ours="SHORT 202276", theirs="SHORT 202276"),
        row("money", name="wallet", ours="123456789.12345678", theirs="123444443.44455555"),
        row("money", name="difference", theirs="-12345.67890123", cause="unexplained"),
    ],
    "plan": {"steps": [{"text": "hold: no new entries (order of another kernel: \x1b[31mx)"}]},
}


def drawn(width: int, record: dict[str, Any] = RECORD) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, markup=False, highlight=False, emoji=False)
    console.print(sides.sides(record, width))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 140])
def test_both_sides_fit_and_lose_no_digit(width: int) -> None:
    text = drawn(width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("-12,345.67890123 USDT  3 differences")
    for figure in ("123,456,789.12345678", "123,444,443.44455555"):
        assert figure in text
    joined = "".join(text.split())
    assert width < 140 or "1234567.12345678/7654321" in joined
    assert "…" not in text.replace(f"{ID[:11]}…", "")
    assert "\x1b" not in text


def test_nothing_on_a_side_is_said_in_one_line() -> None:
    empty = {**RECORD, "rows": RECORD["rows"][2:], "differences": 0, "difference": "0"}
    lines = drawn(80, empty).splitlines()
    assert lines[0].startswith("0.00000000 USDT  no differences")
    assert [line.strip() for line in lines if line.endswith("none")] == [
        "orders: none", "positions: none",
    ]  # fmt: skip


# -- soak ------------------------------------------------------------------------------------------


def sample(second: int, difference: str, *, settling: bool = False, trades: int = 0) -> Any:
    return {
        "time_ms": 1_700_000_000_000 + 1_000 * second,
        "difference": difference,
        "settling": settling,
        "trades": trades,
        "entries_frozen": [],
    }


def test_idle_and_settling_are_judged_apart() -> None:
    samples = [
        sample(0, "0.002", trades=3),
        sample(1, "-30", settling=True, trades=4),
        sample(2, "-0.01", trades=5),
    ]
    summary = summary_of(samples, missed=1)
    assert summary.holds
    assert (summary.idle.samples, summary.idle.worst) == (2, parse_money("-0.01"))
    assert (summary.settling.worst, summary.settling.worst_ms) == (
        -30 * MONEY_ONE,
        1_700_000_001_000,
    )
    assert (summary.trades, summary.missed) == (2, 1)
    assert not summary_of([*samples, sample(3, "0.010000000000000001")], 0).holds
    assert not summary_of([sample(0, "0", settling=True)], 0).holds  # never idle: nothing shown
    assert not summary_of([], 5).holds


@pytest.mark.parametrize("worst", [0, IDLE_LIMIT, 5 * IDLE_LIMIT, 10**6 * MONEY_ONE])
def test_the_picture_holds_every_point(worst: int) -> None:
    points = [
        Point(time_ms=1_700_000_000_000, difference=0, settling=False),
        Point(time_ms=1_700_000_060_000, difference=-worst, settling=True),
        Point(time_ms=1_700_000_120_000, difference=worst, settling=False),
    ]
    tree = ElementTree.fromstring(chart.picture(points, IDLE_LIMIT))
    dots = [each.attrib for each in tree.iter() if each.tag.endswith("circle")]
    assert len(dots) == 3
    heights = [float(dot["cy"]) for dot in dots]
    assert all(chart.TOP <= height <= chart.HEIGHT - chart.BOTTOM for height in heights)
    over = [dot for dot in dots if dot["fill"] == chart.RED]
    assert len(over) == (worst > IDLE_LIMIT)


def test_the_scale_never_falls() -> None:
    points = [Point(time_ms=1, difference=10**4 * MONEY_ONE, settling=False)]
    y, ticks = chart._scale(points, IDLE_LIMIT)
    places = [y(IDLE_LIMIT * step // 7) for step in range(-10_000, 10_001, 13)]
    assert places == sorted(places, reverse=True)
    assert ticks[-1] >= 10**4 * MONEY_ONE
