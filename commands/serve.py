"""`pink-ctl serve`: run the kernel until it is told to stop.

Loads the settings, builds the node and shows what the runtime says; under supervisord it talks on
stderr only, on a terminal it shows the live board.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dita.errors import DitaError, ExitCode

from .options import AsJson, ConfigFile, StateDir
from .show.render import emit_json, note, show, speak_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from dita.runtime.demo.player import Market
    from dita.runtime.node import Node

    from .show.screen import Screen

Once = Annotated[bool, typer.Option("--once", help="Recover, print the status, stop.")]
WithDemo = Annotated[
    bool, typer.Option("--demo", help="Trade a price tape on a local exchange, then stop.")
]
OnMock = Annotated[
    bool, typer.Option("--mock", help="With --demo: on the embedded mock of the settings.")
]
TapeName = Annotated[
    str, typer.Option("--tape", metavar="FILE", help="With --demo: another tape than the packaged.")
]
WithTable = Annotated[
    bool, typer.Option("--table/--no-table", help="Show the live board (on a terminal: yes).")
]
Held = Annotated[
    str, typer.Option("--hold", metavar="REASON", help="Start in HOLD: no entries; exits go on.")
]
#: All of the tape, in thousandths; shown only when everything is flat too.
DONE_E3 = 1_000


def serve(
    config: ConfigFile = None,
    state_dir: StateDir = None,
    once: Once = False,
    demo: WithDemo = False,
    mock: OnMock = False,
    tape: TapeName = "",
    table: WithTable = True,
    hold: Held = "",
    as_json: AsJson = False,
) -> None:
    """Run the kernel until SIGTERM.

    It recovers from its journal, asks the exchange about everything, and trades
    when both agree.

    Exit 0 after a clean stop, 64 bad usage, 70 a broken invariant, 74 the journal
    cannot be written or read, 75 another kernel is active, 78 bad settings: a
    supervisor leaves it down. It starts it again after a signal, 6 (the exchange
    refused access at the start) and 71 (an unforeseen error; the start holds).

    \b
    Examples:
      pink-ctl serve --config /etc/pink/pink-vst.toml --state-dir /var/lib/pink
      pink-ctl serve --hold "look first"
      pink-ctl serve --once --json
      pink-ctl serve --demo
    """
    import asyncio

    if (mock and not demo) or (tape and (mock or not demo)):
        raise _only_for_a_demo(tape)
    _outlive_the_terminal()
    live = table and not once and not as_json and sys.stderr.isatty()
    look = Look(once=once, live=live)
    if demo:
        directory = _for_a_demo(state_dir)
        run = _demo(config, directory, look, on_mock=mock, tape=tape)
    else:
        settings, directory = _installation(config, state_dir)
        run = _run(settings, directory, look, hold=hold)
    try:
        last = asyncio.run(run)
    except DitaError as bad:
        if bad.exit_code is ExitCode.JOURNAL and not demo:
            note("no order is sent without a journal; if positions are open:")
            note("next: pink-ctl flatten --emergency")
        raise
    if as_json:
        emit_json(last)
    elif once or demo:
        _summary(last, directory, demo=demo)
    if not last.get("exchange", {"agrees": True})["agrees"]:
        raise typer.Exit(ExitCode.DIFFERENCE)


def _installation(config: Path | None, state_dir: Path | None) -> Any:
    """The settings and directory of the installation."""
    from dita.runtime.state.directory import installed
    from dita.runtime.state.place import place_by_settings

    settings, directory = installed(config, state_dir, os.environ)
    speak_of(place_by_settings(settings, directory), quiet=True)  # the log says it
    return settings, directory


def _outlive_the_terminal() -> None:
    """A terminal that is closed, or that we may not write to now, stops nothing.

    The loop takes SIGHUP over, to say that it came.
    """
    import signal

    for number in (signal.SIGHUP, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)


class Look(NamedTuple):
    """How much of it is run, and how it is shown."""

    once: bool
    live: bool


def _only_for_a_demo(tape: str) -> DitaError:
    from dita.errors import UsageError

    return UsageError(
        "option refused",
        expected="--mock and --tape with --demo, and --tape without --mock",
        found="--tape" if tape else "--mock",
        action="the mock's tape is the setting venue.mock_tape",
    )


def _for_a_demo(state_dir: Path | None) -> Path:
    """A state directory without a past: the demo's exchange has none either."""
    from dita.errors import UsageError

    if state_dir is None:
        import tempfile

        return Path(tempfile.mkdtemp(prefix="pink-demo-"))
    if (state_dir / "journal").exists():
        raise UsageError(
            "the demo needs a state directory without a journal: its exchange begins anew",
            expected="an empty or a new directory",
            found=str(state_dir),
            action="leave --state-dir out, or remove that directory if it was a demo's",
        )
    return state_dir.absolute()


async def _demo(
    config: Path | None, directory: Path, look: Look, *, on_mock: bool, tape: str
) -> dict[str, Any]:
    """The demo on its own exchange, or on the embedded mock."""
    from dita.runtime.state.directory import prepared

    if on_mock:
        from dita.runtime.demo.player import MockMarket

        settings, _ = prepared(config, directory, os.environ)
        return await _run(settings, directory, look, MockMarket)
    import secrets

    from dita.clock import SystemClock
    from dita.runtime.demo.exchange import DemoExchange

    async with DemoExchange(SystemClock(), lambda: secrets.token_hex(16), tape) as exchange:
        note(f"local exchange: {exchange.server.rest_url}, prices and events on its websocket")
        settings = exchange.settings(config, directory, os.environ)
        last = await _run(settings, directory, look, lambda node: exchange)
        return {**last, "exchange": exchange.told(last["capital"])}


async def _run(
    settings: Any,
    directory: Path,
    look: Look,
    market_of: Callable[[Node], Market] | None = None,
    hold: str = "",
) -> dict[str, Any]:
    from dita.clock import SystemClock
    from dita.runtime.demo.player import Demo
    from dita.runtime.eventlog.opening import open_chronicle
    from dita.runtime.failpoints import Failpoints
    from dita.runtime.node import Node
    from dita.runtime.server.serve import current_status, serve
    from dita.runtime.state.place import described, place_by_settings
    from dita.runtime.world import World

    from .show.screen import LiveBoard, ScreenLines

    clock, board = SystemClock(), LiveBoard() if look.live else None
    screen: Screen = board or ScreenLines()
    chronicle = open_chronicle(settings, clock, board=board.write if board else None)
    chronicle.say(described(place_by_settings(settings, directory)))
    records: list[dict[str, Any]] = []
    try:
        failpoints = Failpoints.of(os.environ, settings.venue.environment)
        world = World.of_machine(clock)
        node = Node(settings, directory, world, demo=market_of is not None, failpoints=failpoints)
        player = Demo(node, market_of(node)) if market_of else None

        async def beside(running: Node) -> None:
            await _show_until(running, player, screen)

        quiet = await serve(
            node,
            chronicle,
            once=look.once,
            seen=records.append,
            beside=beside if player or look.live else None,
            hold=hold,
        )
        chronicle.say(
            "Stopped. No order is in an unknown state."
            if quiet
            else "Stopped. Orders in an unknown state are queried at the next start."
        )
        record = records[0] if records else current_status(node)
    finally:
        chronicle.close()
        screen.close()
    return {**record, "last_trade": player.last_trade} if player else record


async def _show_until(node: Node, player: Any, screen: Screen) -> None:
    """Show what goes on while the demo plays, or until somebody stops us."""
    import asyncio

    from dita.runtime.server.serve import current_status

    playing = asyncio.ensure_future(player.run() if player else asyncio.Event().wait())
    try:
        while not playing.done():
            done_e3 = min(player.progress_e3, DONE_E3 - 1) if player else -1
            screen.draw(current_status(node), done_e3)
            await asyncio.wait({playing}, timeout=screen.pause_s)
        playing.result()  # what failed in there is raised here
        screen.draw(current_status(node), DONE_E3)
    finally:
        playing.cancel()  # stopped from outside: nothing more is to be traded


def _summary(s: dict[str, Any], directory: Path, *, demo: bool) -> None:
    from .show.status_board import closing, figure

    for line in closing(s):
        show(line)
    for line in _other_side(s.get("exchange", {})):
        show(line)
    if s["slots"]:
        names = ", ".join(slot["trade"] for slot in s["slots"])
        show(f"still open: {names}, {figure(s['unrealized'])} USDT unrealized")
    if demo and s["last_trade"]:
        note(f"next: pink-ctl explain --state-dir {directory} {s['last_trade']}")
        note(f"next: pink-ctl journal verify --state-dir {directory}")


def _other_side(book: dict[str, Any]) -> list[str]:
    """The local exchange's own book, which no part of ours has written; nothing without one."""
    from .show.status_board import figure, places

    if not book:
        return []
    word = "agrees" if book["agrees"] else "DIFFERS from capital"
    off = figure(book["difference"], 8)
    return [
        f"the exchange's own book: wallet {places(book['wallet'])} USDT: {word} (off by {off})",
        f"{book['orders']} orders with {book['fills']} fills, {book['positions']} positions open",
    ]
