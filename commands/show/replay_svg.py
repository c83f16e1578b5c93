"""The picture of a replayed trade: capital and PnL step by step, the figures beside them.

`replay --svg` writes it.  It is SVG by hand: one self-contained file, no fonts, styles or hosts
from outside, dark on white.  It draws a story of dita.incident.replay and computes places only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from dita.incident.defects import REMEDIES
from dita.units import MONEY_ONE

from .replay_tables import LEGEND, OFF, STRONG, clock, headline, marks, money, places, quantity
from .svg import AMBER, BLUE, FAINT, GREEN, GRID, INK, RED, document, ticks
from .svg import colour_of as _colour
from .svg import text as _text

if TYPE_CHECKING:
    from dita.incident.replay import Figure, Story

WIDTH, ROW = 1240, 22
LEFT, PLOT = 84, 400  # where the curves begin, and how wide they are
TABLE = 540


class Curve(NamedTuple):
    """One stepped line with its name at its end."""

    name: str
    colour: str
    values: Sequence[int]
    dashed: bool = False


def picture(story: Story) -> str:
    """The whole picture as SVG text."""
    count = len(story.rows)
    table_end = 112 + ROW * (count + 1)
    falls_end = table_end + (ROW * (len(story.falls) + 4) if story.falls else 0)
    half = (max(falls_end - 84, 460) - 60) // 2
    bottom = 84 + 2 * half + 60 + 44
    parts = [_text(32, 40, headline(story)[0], size=22, weight="bold")]
    parts.append(_text(32, 64, headline(story)[1].strip(), size=15, colour=FAINT))
    realized = [Curve("this kernel", GREEN, [row.realized for row in story.rows])]
    incident = story.recording.incident
    if incident is not None and incident.exchange_net is not None:
        name = f"exchange about {money(incident.exchange_net, places=2)}"
        realized.append(Curve(name, BLUE, [incident.exchange_net] * count, dashed=True))
    parts += _plot("PnL, USDT", 100, half - 16, realized, story)
    capital = [Curve("this kernel", GREEN, [row.capital for row in story.rows])]
    if story.path:
        start = story.rows[0].capital
        values = [start + booked for booked in story.path]
        capital.append(Curve("defective, emulated", RED, values, dashed=True))
    parts += _plot("capital, USDT", 100 + half + 60, half - 16, capital, story)
    parts += _steps(story)
    parts += _falls(story, table_end + ROW)
    parts += _books(story, bottom)
    height = bottom + (58 + ROW * len(story.lines) if story.lines else 8)
    title = f"{story.asset} {story.side.name.lower()}, replayed"
    return document(title, WIDTH, height, parts)


# -- CURVES -------------------------------------------------------------------------------------


def _plot(title: str, top: int, height: int, curves: list[Curve], story: Story) -> list[str]:
    """One pair of axes; the steps are evenly spaced, because their times are bunched."""
    every = [value for curve in curves for value in curve.values]
    ticks = _ticks(min(every), max(every))
    low, high = ticks[0], ticks[-1]
    wide = PLOT / len(story.rows)

    def y(value: int) -> float:
        return round(top + height - (value - low) * height / (high - low), 1)

    parts = [_text(32, top - 10, title, size=14, weight="bold")]
    for tick in ticks:
        parts.append(
            f'<line x1="{LEFT}" y1="{y(tick):g}" x2="{LEFT + PLOT}" y2="{y(tick):g}" '
            f'stroke="{FAINT if tick == 0 else GRID}"/>'
        )
        label = money(tick, signed=False, places=0)
        parts.append(_text(LEFT - 8, y(tick) + 4, label, size=12, colour=FAINT, anchor="end"))
    for number, row in enumerate(story.rows):
        place = LEFT + wide * (number + 0.5)
        parts.append(
            _text(place, top + height + 17, str(row.number), size=11, colour=FAINT, anchor="middle")
        )
    for curve in curves:
        parts.append(_stepped(curve, wide, y))
    parts += _names(curves, top - 10)
    return parts


def _stepped(curve: Curve, wide: float, y: Callable[[int], float]) -> str:
    path = f"M{LEFT} {y(curve.values[0]):g}"
    for number, value in enumerate(curve.values):
        path += f"V{y(value):g}H{LEFT + wide * (number + 1):g}"
    dash = ' stroke-dasharray="6 4"' if curve.dashed else ""
    return f'<path d="{path}" fill="none" stroke="{curve.colour}" stroke-width="2.5"{dash}/>'


def _names(curves: list[Curve], y: int) -> list[str]:
    """The curves' names, beside the title of their axes."""
    parts = []
    x = LEFT + PLOT
    for curve in reversed(curves):
        x -= 8 * len(curve.name)
        parts.append(_text(x, y, curve.name, size=12, colour=curve.colour))
        parts.append(_line(x - 30, y - 4, x - 8, y - 4, curve))
        x -= 46
    return parts


def _line(x1: float, y1: float, x2: float, y2: float, curve: Curve) -> str:
    dash = ' stroke-dasharray="6 4"' if curve.dashed else ""
    place = f'x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"'
    return f'<line {place} stroke="{curve.colour}" stroke-width="2.5"{dash}/>'


def _ticks(low: int, high: int) -> list[int]:
    return ticks(low, high, MONEY_ONE)


# -- FIGURES ------------------------------------------------------------------------------------


def _steps(story: Story) -> list[str]:
    """The steps as a table; the numbers are those under the curves."""
    stops = (TABLE + 16, TABLE + 74, TABLE + 88, TABLE + 346, TABLE + 444, TABLE + 544, TABLE + 668)
    heads = ("#", "time", "event", "size", "leg PnL", "total PnL", "capital")
    sides = ("end", "end", "start", "end", "end", "end", "end")
    y = 112
    parts = [
        _text(x, y - 6, name, size=12, colour=FAINT, anchor=side)
        for x, name, side in zip(stops, heads, sides, strict=True)
    ]
    parts.append(_rule(TABLE, y))
    for row in story.rows:
        y += ROW
        cells = (
            (str(row.number), FAINT),
            (clock(row.at_ms), FAINT),
            (_short(row.event) + (" !" if row.notes else ""), INK),
            (quantity(row.size_e8), INK),
            (money(row.booked) if row.booked else "", _colour(row.booked)),
            (money(row.realized), _colour(row.realized)),
            (money(row.capital, signed=False), INK),
        )
        for x, (text, colour), side in zip(stops, cells, sides, strict=True):
            mono = side == "end"
            parts.append(_text(x, y - 5, text, colour=colour, anchor=side, mono=mono, size=12))
    return parts


def _short(text: str) -> str:
    return text if len(text) <= 26 else text[:25] + "…"


def _rule(x: int, y: int) -> str:
    return f'<line x1="{x}" y1="{y}" x2="{WIDTH - 32}" y2="{y}" stroke="{GRID}"/>'


def _falls(story: Story, top: int) -> list[str]:
    """From the true figure to the wrong one, each step a bar from where the last one ended."""
    if not story.falls:
        return []
    bars = [("true PnL, gross", 0, story.true_total)]
    for number, fall in enumerate(story.falls, 1):
        name = f"{number} {REMEDIES[fall.defect][0]}"
        bars.append((name, fall.total - fall.change, fall.total))
    incident = story.recording.incident
    if story.unexplained is not None and incident is not None and incident.total is not None:
        bars.append(("? never explained", story.falls[-1].total, incident.total))
    ends = [end for _, *both in bars for end in both]
    low, high = min(ends), max(ends)
    left, right = TABLE + 250, WIDTH - 240

    def x(amount: int) -> float:
        return round(left + (amount - low) * (right - left) / max(high - low, 1), 1)

    parts = [_text(TABLE, top, "From the true figure to the wrong one", size=14, weight="bold")]
    for column, name in ((WIDTH - 130, "on top"), (WIDTH - 32, "booked then")):
        parts.append(_text(column, top, name, size=12, colour=FAINT, anchor="end"))
    for number, (name, start, end) in enumerate(bars, 1):
        y = top + 6 + ROW * number
        colour = FAINT if name.startswith("?") else _colour(end - start)
        place, wide = min(x(start), x(end)), max(abs(x(end) - x(start)), 1.5)
        parts.append(_text(TABLE, y, name, size=12))
        parts.append(
            f'<rect x="{place:g}" y="{y - 12}" width="{wide:g}" height="15" fill="{colour}"/>'
        )
        change = money(end - start)
        parts.append(_text(WIDTH - 130, y, change, size=12, colour=colour, anchor="end", mono=True))
        total = money(end, places=2 if name.startswith("?") else 4)
        parts.append(
            _text(WIDTH - 32, y, total, size=12, colour=_colour(end), anchor="end", mono=True)
        )
    y = top + 6 + ROW * len(bars) + 6
    parts.append(f'<line x1="{x(0):g}" y1="{top + 12}" x2="{x(0):g}" y2="{y}" stroke="{FAINT}"/>')
    return parts


def _books(story: Story, top: int) -> list[str]:
    """The comparison; every figure says where it comes from."""
    if not story.lines:
        return []
    stops = (32, 420, 640, 860)
    heads = ("One trade in three books", "defective system", "this kernel", "exchange")
    y = top + 20
    parts = [_text(32, y - 6, heads[0], size=14, weight="bold")]
    parts += [
        _text(x, y - 6, name, size=12, colour=FAINT, anchor="end")
        for x, name in zip(stops[1:], heads[1:], strict=True)
    ]
    parts.append(_rule(32, y))
    for line in story.lines:
        y += ROW
        weight = "bold" if line.label in STRONG else "normal"
        parts.append(_text(32, y - 5, line.label, weight=weight))
        for x, figure in zip(stops[1:], (line.defective, line.kernel, line.exchange), strict=True):
            text, colour = _figure(figure)
            if figure is line.kernel and line.label.endswith(OFF) and colour != INK:
                colour = AMBER
            if figure is not None and figure.amount is not None:
                parts.append(_text(x + 8, y - 5, marks(figure), colour=FAINT))
            parts.append(
                _text(x, y - 5, text, colour=colour, anchor="end", weight=weight, mono=True)
            )
    parts.append(_text(32, y + 20, LEGEND, size=12, colour=FAINT))
    return parts


def _figure(figure: Figure | None) -> tuple[str, str]:
    if figure is None:
        return "", FAINT
    if figure.amount is None:
        return figure.kind, FAINT
    return money(figure.amount, places=places(figure)), _colour(figure.amount)
