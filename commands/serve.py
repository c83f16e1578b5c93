"""`pink-ctl serve`: run the kernel until it is told to stop.

Loads the settings, builds the bundle and shows what the runtime says; under supervisord it talks on
stderr only, on a terminal it shows the live board.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dita.errors import DitaError, ExitCode

from .options import AsJson, ConfigFile, StateDir
from .render import emit_json, note, show

if TYPE_CHECKING:
    from dita.runtime.factory import Bundle

Once = Annotated[bool, typer.Option("--once", help="Recover, print the status, stop.")]
WithDemo = Annotated[
    bool, typer.Option("--demo", help="Let the demo strategy trade the mock's tape, then stop.")
]
WithTable = Annotated[
    bool, typer.Option("--table/--no-table", help="Show the live board (on a terminal: yes).")
]


def serve(
    config: ConfigFile = None,
    state_dir: StateDir = None,
    once: Once = False,
    demo: WithDemo = False,
    table: WithTable = True,
    as_json: AsJson = False,
) -> None:
    """Run the kernel: recover, reconcile with the venue, then work until SIGTERM.

    Ends with 0 after a clean stop, 64 for bad usage, 70 for a broken invariant, 74 for a journal
    that cannot be written or read, 75 when another kernel is active, 78 for bad settings.

    \b
    Examples:
      pink-ctl serve --config /etc/pink/pink-vst.toml --state-dir /var/lib/pink
      pink-ctl serve --once --json
      pink-ctl serve --demo
    """
    import asyncio

    from dita.runtime.start import prepared

    settings, directory = prepared(config, state_dir, os.environ)
    live = table and not once and not as_json and sys.stderr.isatty()
    try:
        last = asyncio.run(_run(settings, directory, once=once, demo=demo, live=live))
    except DitaError as bad:
        if bad.exit_code is ExitCode.JOURNAL:
            chosen = f" --config {config}" if config else ""
            note("no order is sent without a journal; next, if positions are open:")
            note(f"  pink-ctl flatten --emergency{chosen} --state-dir {directory}")
        raise
    if as_json:
        emit_json(last)
    elif once or demo:
        _summary(last)


async def _run(
    settings: Any, directory: Path, *, once: bool, demo: bool, live: bool
) -> dict[str, Any]:
    from dita.clock import SystemClock
    from dita.runtime.demo import demo_of
    from dita.runtime.factory import Bundle
    from dita.runtime.failpoints import Failpoints
    from dita.runtime.serving import current_status, serve

    failpoints = Failpoints.of(os.environ, settings.venue.environment)
    bundle = Bundle(settings, directory, SystemClock(), demo=demo, failpoints=failpoints)
    player = demo_of(bundle) if demo else None

    async def beside(running: Bundle) -> None:
        await _show_until(running, player, live=live)

    records: list[dict[str, Any]] = []
    quiet = await serve(
        bundle,
        note,
        once=once,
        seen=records.append,
        beside=beside if player or live else None,
    )
    note(
        "stopped, nothing unknown" if quiet else "stopped; unknown orders are asked about at start"
    )
    return records[0] if records else current_status(bundle)


async def _show_until(bundle: Bundle, player: Any, *, live: bool) -> None:
    """Draw the board twice a second while the demo plays, or until somebody stops us."""
    import asyncio

    playing = asyncio.ensure_future(player.run()) if player else None
    board = _LiveBoard() if live else None
    try:
        while playing is None or not playing.done():
            progress = player.progress_e3 if player else -1
            if board is not None:
                board.draw(bundle, progress)
            await asyncio.sleep(0.5)
        if playing is not None:
            await playing
    finally:
        if board is not None:
            board.close()


class _LiveBoard:
    """The board on stderr, drawn in place."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self.console = Console(stderr=True, markup=False, highlight=False, emoji=False)
        self.live = Live(console=self.console, auto_refresh=False)
        self.live.start()

    def draw(self, bundle: Bundle, progress_e3: int) -> None:
        from rich.console import Group
        from rich.text import Text

        from dita.runtime.serving import current_status

        from .board import board

        parts: list[Any] = [board(current_status(bundle), self.console.width)]
        if progress_e3 >= 0:
            done = progress_e3 * 30 // 1000
            bar = "━" * done + "─" * (30 - done)
            parts.append(Text(f"tape {bar} {progress_e3 // 10} %", style="cyan"))
        self.live.update(Group(*parts), refresh=True)

    def close(self) -> None:
        self.live.stop()


def _summary(s: dict[str, Any]) -> None:
    from .board import places

    show(f"{s['trades']} trades, realized {places(s['realized'], sign=True)} USDT")
    show(f"fees {places(s['fees'])}, funding {places(s['funding'], sign=True)}")
    show(f"capital {places(s['capital'])}, exchange balance {places(s['exchange_balance'])}")
    show(f"drift {places(s['drift'], sign=True)} ({s['drift_status']})")
    if s["slots"]:
        show(f"{len(s['slots'])} slots are still in use; next: pink-ctl status")
