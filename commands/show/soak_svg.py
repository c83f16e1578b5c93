"""The picture of a soak: capital less wallet over time, idle and settling in different colours.

`soak --svg` writes it: one self-contained SVG, dark on white.  The scale is linear within the limit
and logarithmic beyond it, so that both a cent and a hundred can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from dita.units import format_money

from .svg import AMBER, FAINT, GREEN, GRID, INK, RED, SANS
from .times import utc

if TYPE_CHECKING:
    from dita.runtime.operations.soak import Point

WIDTH, HEIGHT = 1000, 420
LEFT, RIGHT, TOP, BOTTOM = 110, 24, 78, 52
#: Decades beyond the limit that the axis always shows at least.
DECADES = 2


def picture(points: Sequence[Point], limit: int) -> str:
    """The whole picture as SVG text."""
    y, reach = _scale(points, limit)
    first, span = points[0].time_ms, max(1, points[-1].time_ms - points[0].time_ms)
    wide = WIDTH - LEFT - RIGHT
    parts = [
        _text(LEFT, 32, "Published capital less the exchange's wallet, USDT", size=18),
        _text(LEFT, 56, f"● idle, must stay within ±{format_money(limit)}", colour=GREEN),
        _text(LEFT + 260, 56, "● while money was settling", colour=AMBER),
        _band(y(limit), y(-limit), wide),
    ]
    for value in (*(-v for v in reversed(reach)), 0, *reach):
        parts.append(_line(y(value), wide, FAINT if not value else GRID))
        label = f"{'+' * (value > 0)}{format_money(value)}"
        parts.append(_text(LEFT - 10, y(value) + 4, label, colour=FAINT, anchor="end", size=12))
    for point in sorted(points, key=lambda p: not p.settling):  # idle on top
        x = LEFT + wide * (point.time_ms - first) / span
        over = not point.settling and abs(point.difference) > limit
        colour = AMBER if point.settling else RED if over else GREEN
        centre = f'cx="{x:.1f}" cy="{y(point.difference):g}"'
        parts.append(f'<circle {centre} r="3" fill="{colour}" fill-opacity="0.8"/>')
    floor = HEIGHT - BOTTOM + 26
    parts.append(_text(LEFT, floor, f"{utc(first)} UTC", colour=FAINT, size=12))
    last = f"{utc(points[-1].time_ms)} UTC, {len(points)} samples"
    parts.append(_text(WIDTH - RIGHT, floor, last, colour=FAINT, anchor="end", size=12))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-family={quoteattr(SANS)} role="img">'
    )
    body = "\n".join(["<title>soak</title>", *parts])
    return f'{head}\n<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'


def _scale(points: Sequence[Point], limit: int) -> tuple[Callable[[int], float], list[int]]:
    """Place of a difference, and the ticks above zero: the limit, then powers of ten of it."""
    worst = max(abs(point.difference) for point in points)
    decades = DECADES
    while limit * 10**decades < worst:
        decades += 1
    middle, half = (TOP + HEIGHT - BOTTOM) / 2, (HEIGHT - TOP - BOTTOM) / 2
    unit = half / (decades + 1)

    def y(value: int) -> float:
        size = abs(value)
        steps, whole = 0, limit
        while size > whole * 10:
            steps, whole = steps + 1, whole * 10
        # From one power of ten to the next it is straight: near enough to read.
        far = size / limit if size <= limit else 1 + steps + (size - whole) / (whole * 9)
        return round(middle - unit * far * (1 if value >= 0 else -1), 1)

    return y, [limit * 10**decade for decade in range(decades + 1)]


def _band(top: float, bottom: float, wide: int) -> str:
    place = f'x="{LEFT}" y="{top:g}" width="{wide}" height="{bottom - top:g}"'
    return f'<rect {place} fill="{GREEN}" fill-opacity="0.07"/>'


def _line(y: float, wide: int, colour: str) -> str:
    return f'<line x1="{LEFT}" y1="{y:g}" x2="{LEFT + wide}" y2="{y:g}" stroke="{colour}"/>'


def _text(
    x: float, y: float, text: str, *, size: int = 13, colour: str = INK, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
