"""`pink-ctl explain`: why a trade brought what it brought, or why something is as it is.

The answer first, then what happened in its order; out of the journal's index.  `--svg` draws it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .completion import trades
from .options import AsJson, ConfigFile, StateDir
from .past import the_past
from .show.event_lines import Telling, wrapped
from .show.render import emit_json, note, show

if TYPE_CHECKING:
    from dita.runtime.eventlog.event import Event
    from dita.runtime.history.trades import TradeRow
    from dita.runtime.operations.explain import Story

Svg = Annotated[
    Path | None, typer.Option("--svg", metavar="FILE", help="Draw it: price, fills, money.")
]


def explain(
    what: Annotated[
        str,
        typer.Argument(
            metavar="TRADE|ORDER|SLOT",
            help="Trade id, order id, slot number, or #NUMBER of a trade.",
            autocompletion=trades,
        ),
    ],
    svg: Svg = None,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Say what a trade brought and why.

    The result first, then its story with times and prices. It reads the journal
    alone, so serve need not run.

    \b
    Examples:
      pink-ctl explain T1
      pink-ctl explain T1 --svg T1.svg
      pink-ctl explain 1767767539205742592 --json
    """
    from dita.runtime.operations.explain import story_in
    from dita.runtime.state.store import JOURNAL_FOLDER

    directory, index = the_past(config, state_dir, quiet=as_json)
    story = story_in(index, what)
    if svg is not None:
        _draw(story, directory / JOURNAL_FOLDER, svg)
    index.close()
    if as_json:
        emit_json(_plain(story))
    else:
        _show(story)
        if svg is not None:
            note(f"drawn in {svg}")


def _plain(story: Story) -> dict[str, Any]:
    from .trades import plain

    row = story.trade
    return {
        "what": story.what,
        "headline": headline(row) if row is not None else "",
        "trade": {**plain(row), "quiet_inputs": row.quiet} if row is not None else None,
        "events": [event.plain() for event in story.events],
        "links": story.links,
        "same_id": story.others,
    }


# -- the answer ------------------------------------------------------------------------------------


def headline(row: TradeRow) -> str:
    """What a person asks: won or lost how much, of what, and how it ended."""
    from dita.display import adding_up, duration, gain, money, utc
    from dita.runtime.history.trades import Ended

    if row.ended is Ended.UNFILLED:
        return f"{row.trade} was never filled: nothing gained, nothing lost"
    places = adding_up(row.net, row.gross, -row.fees, row.funding)
    parts = f"price {gain(row.gross, places)}, fees {gain(-row.fees, places)}"
    if row.funding:
        parts += f", funding {gain(row.funding, places)}"
    if row.ended is Ended.OPEN:
        return (
            f"{row.trade} is open: {gain(row.net, places)} so far, without what the open position"
            f" is worth ({parts})"
        )
    word = "lost" if row.net < 0 else "made"
    held = f" after {duration(row.held_ms)}" if row.held_ms else ""
    how = {Ended.EXIT: "exited"}.get(row.ended, row.ended.value)
    return (
        f"{row.trade} {word} {money(abs(row.net), places)}: {parts};"
        f" {how} at {utc(row.closed_ms)}{held}"
    )


def facts(row: TradeRow) -> list[str]:
    """In, out, and how sure that is."""
    from dita.display import quantity, utc

    leverage = f", leverage {row.leverage}" if row.leverage != 1 else ""
    what = f"{row.side} {quantity(row.entered_e8)} {row.asset}{leverage}"
    if not row.entered_e8:
        return [f"{what}; asked for at {utc(row.asked_ms)}{_because(row.why_in)}"]
    lines = [f"{what}: in at {_price(row.entry_price_e10)}, {utc(row.opened_ms)}"
             f"{_because(row.why_in)}"]  # fmt: skip
    if row.closed_ms:
        lines.append(
            f"{quantity(row.exited_e8)} out at {_price(row.exit_price_e10)},"
            f" {utc(row.closed_ms)}{_because(row.why_out)}"
        )
    source = {
        "exchange": "the exchange's own figures",
        "operator": "written off by an operator",
    }.get(row.source, "ours, partly estimated: the exchange's figures are not in")
    lines.append(f"figures: {source}")
    return lines


def _because(why: str) -> str:
    return f"; {why}" if why else ""


def _price(price_e10: int) -> str:
    from dita.display import price

    return price(price_e10) if price_e10 else "a price that is not known"


# -- what happened ---------------------------------------------------------------------------------


def _show(story: Story) -> None:
    row = story.trade
    if row is not None:
        for line in (headline(row), *facts(row)):
            wrapped(line)
        show()
    else:
        show(f"{story.what}: no trade came of it")
        show()
    telling = Telling()
    for event, count in folded(story.events):
        telling.tell(event, count)
    if row is not None and row.quiet:
        quiet = ", ".join(_quiet_words(kind, n) for kind, n in sorted(row.quiet.items()))
        show()
        wrapped(f"and without news: {quiet}")
    if story.others:
        others = ", ".join(f"'#{number}'" for number in story.others[-8:])
        note(f"other trades of that id: pink-ctl explain {others}")
    note("UTC; money rounded half-even; --json has every digit and every input")


def _quiet_words(kind: str, count: int) -> str:
    many = "" if count == 1 else "s"
    words = {
        "MARK_PRICE": f"price{many}",
        "POSITION": f"answer{many} about the position, in agreement",
        "ORDER_ACK": f"acknowledgement{many}",
    }.get(kind, kind.lower().replace("_", " "))
    return f"{count:,} {words}"


def folded(events: list[Event]) -> list[tuple[Event, int]]:
    """Events that say the same one after the other as one: the first, and how many."""
    runs: list[tuple[Event, int]] = []
    for event in events:
        if runs and (runs[-1][0].name, runs[-1][0].text) == (event.name, event.text):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((event, 1))
    return runs


def _draw(story: Story, journal: Path, file: Path) -> None:
    from dita.errors import UsageError

    from .show.trade_svg import picture

    if story.trade is None or not story.trade.opened_ms:
        raise UsageError(
            "there is nothing to draw",
            expected="a trade that was filled, all of it in the journal that is here",
            found=story.what,
        )
    file.write_text(picture(story, journal), encoding="utf-8")
