"""What a running serve shows: the live board on a terminal, or a line now and then in a pipe.

`serve` hands over status records and lines.  Everything is drawn by a thread of its own: a terminal
that is stuck, slow or gone costs the picture and nothing else.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import Any, Protocol

from .render import note, plain

#: Looks at the running kernel: two a second on a terminal, one line in five seconds elsewhere.
DRAW_S = 0.5
LINE_S = 5.0
#: A terminal that takes nothing must not keep the process from ending.
CLOSE_S = 1.0
#: Of lines and pictures that wait; what comes beyond is not shown.
WAITING_MAX = 1_000


class Screen(Protocol):
    """Where a serve is looked at."""

    pause_s: float

    def draw(self, status: dict[str, Any], progress_e3: int) -> None:
        """Show a status record; ``progress_e3`` of a tape in thousandths, -1 without one."""

    def close(self) -> None:
        """Show what waits, and no more."""


class LiveBoard:
    """The board on stderr, drawn in place, with lines above it."""

    pause_s = DRAW_S

    def __init__(self) -> None:
        self._work: queue.Queue[str | tuple[dict[str, Any], int] | None] = queue.Queue(WAITING_MAX)
        self._picture_waits = False
        self._thread = threading.Thread(target=self._draw_all, name="board", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """A line above the board; never waits."""
        self._put(line)

    def draw(self, status: dict[str, Any], progress_e3: int) -> None:
        """The newest picture; none is added while one waits."""
        if not self._picture_waits:
            self._picture_waits = True
            self._put((status, progress_e3))

    def close(self) -> None:
        """The last picture, and the terminal as it was."""
        self._put(None)
        self._thread.join(CLOSE_S)

    def _put(self, what: str | tuple[dict[str, Any], int] | None) -> None:
        with contextlib.suppress(queue.Full):  # nobody can look at it now
            self._work.put_nowait(what)

    def _draw_all(self) -> None:
        from rich.console import Console, Group
        from rich.live import Live

        from .status_board import board, progress

        console = Console(stderr=True, markup=False, highlight=False, emoji=False)
        with Live(console=console, auto_refresh=False) as live:
            while (what := self._work.get()) is not None:
                if isinstance(what, str):
                    console.print(plain(what.rstrip("\n")))
                    continue
                self._picture_waits = False
                status, progress_e3 = what
                parts: list[Any] = [board(status, console.width)]
                if progress_e3 >= 0:
                    parts.append(progress(progress_e3))
                live.update(Group(*parts), refresh=True)


class ScreenLines:
    """Where nothing can be drawn in place: a line now and then."""

    pause_s = LINE_S

    def draw(self, status: dict[str, Any], progress_e3: int) -> None:
        """How far the tape is, the state, and the money."""
        from .status_board import money_line

        open_slots = len(status["slots"])
        line = f"{status['state']}  {money_line(status).plain}"
        note(f"tape {progress_e3 // 10:3} %  {line}  {open_slots} open")

    def close(self) -> None:
        """Nothing to put back."""
