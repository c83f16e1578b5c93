"""Events as lines for a person: the day once, the time, the name, and the words within the width.

What needs a person has a mark in front and a colour.  `explain` and `events` call it; the words are
the event's own.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

from .render import output_width, print_rich, show

if TYPE_CHECKING:
    from dita.runtime.eventlog.event import Event

#: Before the words: mark, time and name.
INDENT = 27
#: A number and its unit.
_MEASURE = re.compile(r"(\d) (ms|s|min|h|d|USDT)\b")


class Telling:
    """Lines one after the other; it remembers which day it is."""

    def __init__(self) -> None:
        self._day = ""
        self._width = output_width()

    def tell(self, event: Event, count: int = 1) -> None:
        """Print an event; ``count`` of the same one after the other are one line."""
        from dita import display
        from dita.runtime.eventlog.event import Level

        today = display.day(event.time_ms)
        if today != self._day:
            self._day = today
            show(today)
        lines = _lines(event, count, self._width)
        if event.level >= Level.WARNING:
            _show_loud(lines, "red" if event.level >= Level.ERROR else "yellow")
            return
        for line in lines:
            show(line)


def wrapped(text: str, indent: str = "  ") -> None:
    """Print a sentence: on a terminal within its width, in a pipe on one line."""
    kept = _MEASURE.sub("\\1\N{NO-BREAK SPACE}\\2", text)  # "3.1 s" stays on one line
    for line in textwrap.wrap(
        kept, output_width(), subsequent_indent=indent, break_long_words=False
    ):
        show(line.replace("\N{NO-BREAK SPACE}", " "))


def _lines(event: Event, count: int, width: int) -> list[str]:
    from dita import display
    from dita.errors import one_line
    from dita.runtime.eventlog.event import Level

    mark = "!" if event.level >= Level.WARNING else " "
    head = f"{mark} {display.clock(event.time_ms)}  {event.name.value:<15}"
    words = one_line(event.text) + (f" ×{count}" if count > 1 else "")
    return textwrap.wrap(
        words, width, initial_indent=head.ljust(INDENT), subsequent_indent=" " * INDENT,
        break_long_words=False,
    )  # fmt: skip


def _show_loud(lines: list[str], colour: str) -> None:
    """With its head in a colour, where there are colours."""
    from rich.text import Text

    drawn = Text("\n".join(lines), overflow="ignore", no_wrap=True)
    drawn.stylize(colour, 0, INDENT)
    print_rich(lambda width: drawn)
