"""The picture of an own trade: the price with every fill, what it would have brought, the story.

`explain --svg` writes it.  It draws a story of dita.runtime.operations.explain and computes places,
and from the fills what the trade was worth at each price; every figure beside it is the journal's.
"""

from __future__ import annotations

import textwrap
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dita.display import clock, day, duration, gain, price
from dita.units import MONEY_ONE, parse_money, parse_price, parse_quantity

from ..explain import facts, folded, headline
from .svg import BLUE, FAINT, GREEN, GRID, INK, RED, colour_of, document, line, text, ticks

if TYPE_CHECKING:
    from dita.runtime.history.trades import TradeRow
    from dita.runtime.operations.explain import Story

WIDTH, LEFT, PLOT, TABLE = 1280, 96, 620, 760
TOP, PRICE_HIGH, MONEY_HIGH = 150, 300, 170
ROW, LINE, ROWS_MAX, WORDS_MAX = 21, 16, 26, 66
FILLS = ("FILL", "EXTERNAL_CLOSE", "LIQUIDATION", "ADL")


class Fill(NamedTuple):
    """One fill of the trade; ``entry`` opens, everything else closes."""

    at_ms: int
    entry: bool
    buy: bool
    quantity_e8: int
    price_e10: int
    realized: int
    fee: int
    name: str


class Span(NamedTuple):
    """From when to when the picture is, and where that is."""

    start_ms: int
    end_ms: int

    def x(self, at_ms: int) -> float:
        """Where a moment is."""
        part = (at_ms - self.start_ms) * PLOT / max(1, self.end_ms - self.start_ms)
        return round(LEFT + min(max(part, 0), PLOT), 1)


def picture(story: Story, journal: Path) -> str:
    """The whole picture as SVG text."""
    from dita.journal import JournalReader
    from dita.runtime.history.prices import prices

    row = story.trade
    assert row is not None
    fills = fills_of(story)
    marks = prices(JournalReader.open(journal), row.asset, row.first_seq, row.last_seq)
    times = [at for at, _ in marks] + [fill.at_ms for fill in fills]
    span = _span(min(times), max(times))
    parts = [text(32, 44, headline(row), size=20, weight="bold", colour=colour_of(row.net))]
    parts += [
        text(32, 72 + 20 * n, words, size=14, colour=FAINT) for n, words in enumerate(facts(row))
    ]
    known = [(at, value) for at, value in marks if value]
    path = known or [(fill.at_ms, fill.price_e10) for fill in fills if fill.price_e10]
    parts += _price_plot(path, fills, span, bool(known))
    money_top = TOP + PRICE_HIGH + 74
    parts += _money_plot(worth(row, path, fills), span, money_top)
    parts += _times(span, money_top + MONEY_HIGH + 18)
    rows, bottom = _events(story)
    height = max(money_top + MONEY_HIGH + 60, bottom + 20)
    return document(f"{row.trade}, {row.side} {row.asset}", WIDTH, height, parts + rows)


def _span(start_ms: int, end_ms: int) -> Span:
    margin = max(500, (end_ms - start_ms) // 40)
    return Span(start_ms - margin, end_ms + margin)


def fills_of(story: Story) -> list[Fill]:
    """The fills of a trade, from its events' exact figures."""
    row = story.trade
    found = []
    for event in story.events:
        if event.name.value not in FILLS or "quantity" not in event.fields:
            continue
        buy = event.fields["side"] == "BUY"
        found.append(
            Fill(
                event.time_ms,
                event.name.value == "FILL" and row is not None and buy == (row.side == "LONG"),
                buy,
                parse_quantity(event.fields["quantity"]),
                parse_price(event.fields["price"]),
                parse_money(event.fields["realized"]),
                parse_money(event.fields["fee"]),
                event.name.value,
            )
        )
    return found


def worth(row: TradeRow, path: list[tuple[int, int]], fills: list[Fill]) -> list[tuple[int, int]]:
    """What the trade had brought if it had been closed at each price: (time, money of 10^-18).

    Booked results less fees, and what was open at the price against its average entry.
    """
    sign = 1 if row.side == "LONG" else -1
    times = [fill.at_ms for fill in fills]
    sums = [(0, 0, 0)]  # quantity open, its cost, booked
    for fill in fills:
        held, cost, booked = sums[-1]
        booked += fill.realized - fill.fee
        if fill.entry:
            held, cost = held + fill.quantity_e8, cost + fill.quantity_e8 * fill.price_e10
        else:
            left = max(0, held - fill.quantity_e8)
            cost = cost * left // held if held else 0
            held = left
        sums.append((held, cost, booked))
    points = []
    for at_ms, price_e10 in sorted([*path, *((f.at_ms, f.price_e10) for f in fills)]):
        held, cost, booked = sums[bisect_right(times, at_ms)]
        points.append((at_ms, booked + sign * (held * price_e10 - cost)))
    return points


# -- curves ----------------------------------------------------------------------------------------


def _axis(
    title: str, values: list[int], top: int, height: int, smallest: int, name: Callable[[int], str]
) -> tuple[list[str], Callable[[int], float]]:
    steps = ticks(min(values), max(values), smallest)
    low, high = steps[0], steps[-1]

    def y(value: int) -> float:
        return round(top + height - (value - low) * height / (high - low), 1)

    parts = [text(32, top - 14, title, size=14, weight="bold")]
    for step in steps:
        zero = FAINT if step == 0 and low < 0 else GRID
        parts.append(line(LEFT, y(step), LEFT + PLOT, y(step), zero))
        parts.append(
            text(LEFT - 8, y(step) + 4, name(step), size=12, colour=FAINT, anchor="end", mono=True)
        )
    return parts, y


def _path(points: list[tuple[int, int]], span: Span, y: Callable[[int], float], colour: str) -> str:
    words = " ".join(f"{span.x(at):g},{y(value):g}" for at, value in points)
    return (
        f'<polyline points="{words}" fill="none" stroke="{colour}" stroke-width="1.6"'
        ' stroke-linejoin="round"/>'
    )


def _price_plot(
    path: list[tuple[int, int]], fills: list[Fill], span: Span, known: bool
) -> list[str]:
    values = [value for _, value in path] + [f.price_e10 for f in fills if f.price_e10]
    spread = max(max(values) - min(values), max(values) // 1_000, 1)
    title = "price" if known else "price of the fills (no marks are journalled)"
    parts, y = _axis(title, values, TOP, PRICE_HIGH, spread, price)
    if known:
        parts.append(_path(path, span, y, BLUE))
    for fill in fills:
        if fill.price_e10:
            parts += _mark(fill, span.x(fill.at_ms), y(fill.price_e10))
    return parts


def _mark(fill: Fill, x: float, y: float) -> list[str]:
    """A triangle that points up where was bought and down where was sold; filled where it closed.

    What others closed is red.
    """
    tip, base = (y + 3, y + 15) if fill.buy else (y - 3, y - 15)
    ours = fill.name == "FILL"
    colour = INK if ours else RED
    shape = f'points="{x:g},{tip:g} {x - 7:g},{base:g} {x + 7:g},{base:g}"'
    inside = "#ffffff" if fill.entry else colour
    dot = f'<circle cx="{x:g}" cy="{y:g}" r="2.5" fill="{colour}"/>'
    return [f'<polygon {shape} fill="{inside}" stroke="{colour}" stroke-width="1.5"/>', dot]


def _money_plot(points: list[tuple[int, int]], span: Span, top: int) -> list[str]:
    values = [0, *(value for _, value in points)]
    parts, y = _axis(
        "result if it had been closed then, fees included, USDT", values, top, MONEY_HIGH,
        MONEY_ONE // 100, lambda value: gain(value, 2),
    )  # fmt: skip
    colour = GREEN if points and points[-1][1] >= 0 else RED
    return [*parts, _path(points, span, y, colour)]


def _times(span: Span, y: float) -> list[str]:
    """Five moments below the curves."""
    parts = []
    for part in range(5):
        at_ms = span.start_ms + (span.end_ms - span.start_ms) * part // 4
        x = LEFT + PLOT * part / 4
        parts.append(text(x, y, clock(at_ms), size=12, colour=FAINT, anchor="middle"))
    days = f"{day(span.start_ms)}, UTC; {duration(span.end_ms - span.start_ms)} in all"
    parts.append(text(LEFT, y + 20, days, size=12, colour=FAINT))
    legend = "△ bought  ▽ sold  hollow: in, filled: out, red: not by us"
    parts.append(text(LEFT + PLOT, y + 20, legend, size=12, colour=FAINT, anchor="end"))
    return parts


# -- the story -------------------------------------------------------------------------------------


def _events(story: Story) -> tuple[list[str], float]:
    """What happened, as many lines as there is room for; where the last one is."""
    y: float = TOP - 14
    parts = [text(TABLE, y, "what happened", size=14, weight="bold")]
    told = [pair for pair in folded(story.events) if pair[0].name.value != "ORDER"]
    shown = told if len(told) <= ROWS_MAX else [*told[: ROWS_MAX - 9], *told[-8:]]
    left_out = len(told) - len(shown)
    for number, (event, count) in enumerate(shown):
        if left_out and number == ROWS_MAX - 9:
            y += ROW
            parts.append(text(TABLE + 66, y, f"… {left_out} more …", size=12, colour=FAINT))
        y += ROW
        words = event.text + (f" ×{count}" if count > 1 else "")
        colour = RED if event.level >= event.level.ERROR else INK
        parts.append(text(TABLE, y, clock(event.time_ms), size=12, colour=FAINT, mono=True))
        for part in textwrap.wrap(words, WORDS_MAX, max_lines=2, placeholder=" …"):
            parts.append(text(TABLE + 66, y, part, size=12, colour=colour))
            y += LINE
        y -= LINE
    return parts, y
