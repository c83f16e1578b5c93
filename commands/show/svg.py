"""Pieces of a picture: text, lines, round values for an axis, and the document around them.

SVG by hand: one self-contained file, no fonts, styles or hosts from outside, dark on white.  Knows
nothing of what is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

INK, FAINT, GRID = "#1a1a1a", "#5f6368", "#e3e5e8"
GREEN, RED, BLUE, AMBER = "#137333", "#b3261e", "#1a56b0", "#8a5a00"
SANS = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
MONO = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def text(
    x: float,
    y: float,
    words: str,
    *,
    size: int = 13,
    colour: str = INK,
    anchor: str = "start",
    weight: str = "normal",
    mono: bool = False,
) -> str:
    """Words at a place."""
    family = f" font-family={quoteattr(MONO)}" if mono else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
        f'font-weight="{weight}"{family} xml:space="preserve">{escape(words)}</text>'
    )


def line(x1: float, y1: float, x2: float, y2: float, colour: str = GRID, dash: str = "") -> str:
    """A straight line."""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}"{dashed}/>'


def colour_of(amount: int) -> str:
    """Of a gain or a loss."""
    return GREEN if amount > 0 else RED if amount < 0 else INK


def ticks(low: int, high: int, smallest: int) -> list[int]:
    """Round values from below the lowest to above the highest, four or five of them; no step is
    smaller than a hundredth of ``smallest``."""
    span = max(high - low, smallest)
    unit = 10 ** (len(str(max(1, smallest // 100))) - 1)
    while unit * 10 < span:
        unit *= 10
    step = next(unit * n for n in (1, 2, 5, 10) if unit * n * 4 >= span)
    first = low // step * step
    found = [first]
    while found[-1] < high:
        found.append(found[-1] + step)
    return found if len(found) > 1 else [first, first + step]


def document(title: str, width: int, height: float, parts: Iterable[str]) -> str:
    """The whole file."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" '
        f'width="{width}" height="{height:g}" font-family={quoteattr(SANS)} role="img">'
    )
    body = "\n".join([f"<title>{escape(title)}</title>", *parts])
    return f'{head}\n<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
