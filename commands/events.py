"""`pink-ctl events`: what happened, in the words of serve's log, out of the journal.

Works while serve runs and when it does not; `--follow` goes on with what comes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .completion import trades
from .options import AsJson, ConfigFile, StateDir
from .past import the_past
from .show.event_lines import Telling
from .show.render import emit_json, note, on_terminal, show

if TYPE_CHECKING:
    from dita.runtime.eventlog.event import Event
    from dita.runtime.history.index import Index

Since = Annotated[
    str,
    typer.Option(
        "--since", metavar="WHEN", help="UTC: 22:00 or 2026-11-28; or how long ago: 3h, 2d."
    ),
]
Until = Annotated[str, typer.Option("--until", metavar="WHEN", help="The same. Default: now.")]
Trade = Annotated[
    str,
    typer.Option(
        "--trade", metavar="TRADE", help="Only events of this trade.", autocompletion=trades
    ),
]
Loud = Annotated[bool, typer.Option("--loud", help="Only what needs a person: WARNING and above.")]
Follow = Annotated[
    bool, typer.Option("--follow", help="Print new events as they come, until Ctrl-C.")
]
LOOK_MS = 500


def events(
    since: Since = "",
    until: Until = "",
    trade: Trade = "",
    loud: Loud = False,
    follow: Follow = False,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Tell what happened, one event a line.

    Intents, orders, fills, refusals in the exchange's words, closes from outside,
    liquidations, funding, holds, freezes, gaps of the stream.

    Without --since: the last 24 hours; with --trade: everything about it.

    \b
    Examples:
      pink-ctl events --since 22:00
      pink-ctl events --since yesterday --loud
      pink-ctl events --trade T1
      pink-ctl events --follow
    """
    from dita.clock import SystemClock
    from dita.runtime.eventlog.event import Level
    from dita.runtime.history.when import moment_ms
    from dita.runtime.state.store import JOURNAL_FOLDER

    now_ms = SystemClock().now_ms()
    since_ms = moment_ms(since or "1d", now_ms) if since or not trade else 0
    until_ms = moment_ms(until, now_ms, option="--until") if until else 0
    directory, index = the_past(config, state_dir, quiet=as_json)
    level = Level.WARNING if loud else Level.INFO
    told = index.events(since_ms=since_ms, until_ms=until_ms, trade=trade, level=level)
    line, count = _line(as_json), 0
    if follow:
        with contextlib.suppress(KeyboardInterrupt):  # how one leaves
            for event in told:
                line(event)
            for event in _coming(index.newest, directory / JOURNAL_FOLDER):
                if event.level >= level and trade in ("", event.trade):
                    line(event)
    elif as_json:
        emit_json({"since_ms": since_ms, "events": [event.plain() for event in told]})
    else:
        for event in told:
            line(event)
            count += 1
        if not count:
            note("nothing in that time; --since 2d looks further back")
    index.close()


def _line(as_json: bool) -> Callable[[Event], None]:
    """What prints an event: with --follow --json one JSON object a line, on a terminal within its
    width, in a pipe as the log has it."""
    if as_json:
        import json

        return lambda event: show(json.dumps(event.plain()))
    if on_terminal():
        return Telling().tell
    return lambda event: show(event.line())


def _coming(index: Index, journal: Path) -> Iterator[Event]:
    """What comes, half a second later at most."""
    from dita.clock import SystemClock
    from dita.journal import JournalReader

    seen: object = None
    while True:
        now = _mark(journal)
        if now != seen:
            seen = now
            yield from index.news(JournalReader.open(journal))
        SystemClock().sleep_ms(LOOK_MS)


def _mark(journal: Path) -> object:
    """Changes whenever somebody wrote."""
    files = sorted(journal.glob("*.seg"))
    return [(file.name, file.stat().st_mtime_ns) for file in files[-2:]]
