"""How a replayed trade is shown: the figure first, the steps, three books, the old defects.

`replay` calls it with a story of dita.incident.replay.  Colours carry meaning (profit, loss,
warning), wide terminals get every column and narrow ones fewer, never a number in two lines.  It
computes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import typer

from dita.units import format_money, format_price, format_quantity

from .render import WIDTH_IN_A_PIPE, plain

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

    from dita.incident.replay import Figure, Line, Row, Story

MARKS = {
    "recorded": "r",
    "computed": "c",
    "emulated": "e",
    "injected": "i",
    "unknown": "?",
    "about": "≈",
}
LEGEND = "r recorded, c computed here, e emulated, i injected, ? unknown, ≈ about"
ROUNDED = "Rounded to 4 places here; --json has every digit."
BRIDGED = "capital: E the exchange's wallet, K that and own flows since, s the seed"
STRONG = ("total, gross", "booked in all")  # lines of the comparison to look at
OFF = "off the wallet"  # lines that say how far two figures are apart
SOURCES = {"seed": "s", "e_anchored": "E", "k_bridged": "K"}
NOTES = {
    "REALIZED_SKIPPED_NO_PRICE": "the fill came without a price: 0 is booked until the exchange "
    "tells its figure",
    "REALIZED_SETTLED": "the exchange told its figure, and it is booked",
    "ENTRY_BASIS_MISSING": "an entry fill came without a price: exits book 0 until it is known",
    "FIGURE_DEVIATES": "the exchange's figure is not ours; ours stays booked, the difference is "
    "in the checksum",
}
Pace = Callable[["Row"], None]


def money(amount: int, *, signed: bool = True, places: int = 4) -> str:
    """Money for reading: a sign, thousands, a fixed number of places."""
    whole, _, part = format_money(abs(amount), places).partition(".")
    sign = "-" if amount < 0 else "+" if signed and amount > 0 else ""
    return f"{sign}{int(whole):,}" + (f".{part}" if part else "")


def quantity(amount_e8: int) -> str:
    """A quantity with thousands."""
    whole, _, part = format_quantity(amount_e8).partition(".")
    return f"{int(whole):,}" + (f".{part}" if part else "")


def clock(at_ms: int) -> str:
    """Minutes and seconds since the first step."""
    return f"{at_ms // 60_000}:{at_ms // 1000 % 60:02}.{at_ms // 100 % 10}"


def headline(story: Story) -> list[str]:
    """The figures that matter, in two lines of less than 80 characters."""
    incident = story.recording.incident
    exchange = incident.exchange_net if incident else None
    first = f"{story.asset} {story.side.name.lower()}: realized {money(story.last.realized)} USDT"
    if story.settled:
        first += ", as the exchange settled it"
        first += " (injected)" if incident and incident.settlement == "injected" else ""
    elif exchange is not None:
        first += f" (exchange about {money(exchange, places=2)} net)"
    second = f"  capital {money(story.last.capital, signed=False)}"
    if story.last.fees:
        second = f"  after fees {money(story.net)}"
    if incident and incident.total is not None:
        second += f"; the defective system booked {money(incident.total, places=2)}"
    return [first, second]


# -- TABLES -------------------------------------------------------------------------------------


def show(story: Story, *, explain: bool, pace: Pace | None = None, width: int = 0) -> None:
    """Print the whole story to stdout."""
    from rich.text import Text

    console = _console(width)
    first, second = headline(story)
    _print(console, Text(first, style=f"bold {_colour(story.last.realized)}"))
    _print(console, Text(second))
    table, legend = _steps(story, console)
    lines = _rendered(console, table)
    for number, line in enumerate(lines):
        row = number - (len(lines) - len(story.rows))
        if pace is not None and row >= 0:
            pace(story.rows[row])
        typer.echo(line)
    if legend:
        _print(console, Text(legend, style="dim"))
    for note in _remarks(story):
        _print(console, Text(note, style="yellow"))
    if story.lines:
        typer.echo("")
        _print(console, _narrowed(_books(story), 0, console))
        _print(console, Text(LEGEND, style="dim"))
        _print(console, Text(ROUNDED, style="dim"))
    if explain and story.falls:
        _explain(console, story)
    if story.recording.incident:
        _facts(console, story)
    for failure in story.failures:
        _print(console, Text(f"NOT AS RECORDED: {plain(failure)}", style="bold red"))


def _console(width: int) -> Console:
    from rich.console import Console

    if not width and not sys.stdout.isatty():
        width = WIDTH_IN_A_PIPE
    return Console(markup=False, highlight=False, emoji=False, width=width or None)


def _rendered(console: Console, what: RenderableType) -> list[str]:
    with console.capture() as captured:
        console.print(what)
    return [line.rstrip() for line in captured.get().splitlines() if line.strip()]


def _print(console: Console, what: RenderableType) -> None:
    for line in _rendered(console, what):
        typer.echo(line)


def _colour(amount: int) -> str:
    return "green" if amount > 0 else "red" if amount < 0 else "default"


def _gain(amount: int, suffix: str = "", places: int = 4) -> Text:
    from rich.text import Text

    return Text(money(amount, places=places) + suffix, style=_colour(amount))


def _table(title: str, columns: dict[str, str]) -> Table:
    """A table whose numbers are never wrapped; the value says left or right."""
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        padding=(0, 1, 0, 0),
        title=title or None,
        title_justify="left",
        title_style="bold",
    )
    for name, side in columns.items():
        right = side == "right"
        table.add_column(
            name, justify="right" if right else "left", no_wrap=True, overflow="ellipsis"
        )
    return table


Cells = dict[str, tuple[str, Callable[["Row"], Any]]]


def _steps(story: Story, console: Console) -> tuple[Table, str]:
    """The steps with as many columns as fit, and what their letters mean."""
    *layouts, least = _layouts()
    for layout in layouts:
        table = _filled(story, layout)
        if not _excess(table, console):
            return table, "" if "capital is" in layout else BRIDGED
    return _narrowed(_filled(story, least), 1, console), BRIDGED


def _excess(table: Table, console: Console) -> int:
    unlimited = console.options.update(max_width=WIDTH_IN_A_PIPE)
    return max(console.measure(table, options=unlimited).maximum - console.width, 0)


def _narrowed(table: Table, words: int, console: Console) -> Table:
    """What is too wide loses words in that column, never a digit in another."""
    excess = _excess(table, console)
    if excess:
        column = table.columns[words]
        column.max_width = max(max(len(str(cell)) for cell in column.cells) - excess, 8)
    return table


def _filled(story: Story, layout: Cells) -> Table:
    table = _table("", {name: side for name, (side, _) in layout.items()})
    for row in story.rows:
        table.add_row(*(read(row) for _, read in layout.values()))
    return table


def _layouts() -> Iterator[Cells]:
    time: Cells = {"time": ("right", lambda r: clock(r.at_ms))}
    event: Cells = {"event": ("left", _event)}
    change: Cells = {"state before→after": ("left", _change)}
    state: Cells = {"state": ("left", lambda r: r.after.name)}
    size: Cells = {"size": ("right", lambda r: quantity(r.size_e8))}
    basis: Cells = {"basis": ("right", lambda r: format_price(r.basis_e10) if r.basis_e10 else "")}
    leg: Cells = {"leg PnL": ("right", lambda r: _gain(r.booked) if r.booked else "")}
    total: Cells = {"total PnL": ("right", lambda r: _gain(r.realized))}
    capital: Cells = {"capital": ("right", lambda r: money(r.capital, signed=False))}
    sources: Cells = {
        "capital is": ("left", lambda r: r.capital_source),
        "PnL from": ("left", lambda r: r.pnl_source),
    }
    short: Cells = {
        "capital ": (
            "right",
            lambda r: f"{money(r.capital, signed=False)} {SOURCES[r.capital_source]}",
        )
    }
    yield time | event | change | size | basis | leg | total | capital | sources
    yield time | event | state | size | basis | leg | total | capital | sources
    yield time | event | state | size | basis | leg | total | short
    yield time | event | state | size | leg | short
    yield time | event | size | leg | short


def _event(row: Row) -> Text:
    from rich.text import Text

    loud = bool(row.refused or row.notes)
    return Text(plain(row.event) + (" !" if loud else ""), style="yellow" if loud else "")


def _change(row: Row) -> str:
    if row.before is row.after:
        return row.after.name
    return f"{row.before.name}→{row.after.name}"


def _remarks(story: Story) -> Iterator[str]:
    for row in story.rows:
        for name in row.notes:
            words = NOTES.get(name, "")
            refused = "refused, " if row.refused else ""
            yield f"! {clock(row.at_ms)} {refused}{plain(name)}" + (words and f": {words}")


def _books(story: Story) -> Table:
    table = _table(
        "One trade in three books",
        {"": "left", "defective system": "right", "this kernel": "right", "exchange": "right"},
    )
    for line in story.lines:
        strong = line.label in STRONG
        cells = [_cell(figure) for figure in (line.defective, line.kernel, line.exchange)]
        if line.kernel and line.kernel.amount and line.label.endswith(OFF):
            cells[1].stylize("yellow")  # a difference is neither profit nor loss
        table.add_row(line.label, *cells, style="bold" if strong else "")
    return table


def _cell(figure: Figure | None) -> Text:
    from rich.text import Text

    if figure is None:
        return Text("")
    if figure.amount is None:
        return Text(f"{figure.kind}   ", style="dim")
    return _gain(figure.amount, f" {marks(figure)}", places(figure))


def marks(figure: Figure) -> str:
    """Where a figure is from, in two characters."""
    return "".join(MARKS[kind] for kind in figure.kind.split(", ")).ljust(2)


def places(figure: Figure) -> int:
    """Four, but what was only recorded is shown as it was: in cents."""
    return 2 if figure.kind.startswith("recorded") else 4


# -- THE DEFECTS --------------------------------------------------------------------------------


def _explain(console: Console, story: Story) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from dita.incident.defects import REMEDIES

    table = _table(
        "From the true figure to the wrong one",
        {"": "left", "alone": "right", "on top": "right", "booked then": "right"},
    )
    table.add_row("true PnL, gross", "", "", _gain(story.true_total))
    for number, fall in enumerate(story.falls, 1):
        what, _ = REMEDIES[fall.defect]
        alone, change = _gain(fall.alone), _gain(fall.change)
        table.add_row(f"{number} {what}", alone, change, _gain(fall.total))
    incident = story.recording.incident
    if story.unexplained is not None and incident is not None and incident.total is not None:
        end = _gain(incident.total, places=2)
        table.add_row("? never explained", "", _gain(story.unexplained), end)
    typer.echo("")
    _print(console, _narrowed(table, 0, console))
    _print(
        console,
        Text("on top: added to the defects above it; another order splits the same sum anew."),
    )
    for number, check in enumerate(story.checks, 1):
        word, style = ("holds", "green") if check.passed else ("FAILS", "bold red")
        typer.echo("")
        _print(console, Text(f"{number} {REMEDIES[check.defect][1]}"))
        tried = Text(f"tried now, {check.tried}: {word}", style=style)
        _print(console, Padding(tried, (0, 0, 0, 2)))


def _facts(console: Console, story: Story) -> None:
    from rich.text import Text

    incident = story.recording.incident
    typer.echo("")
    for fact in incident.facts if incident else ():
        _print(console, Text.assemble((f"{fact.kind}: ", "bold"), plain(fact.text)))
    causes = [
        f"{name} {money(part)}"
        for name, part in story.drift_by_cause.items()
        if money(part, signed=False) not in ("0.0000", "-0.0000")
    ]
    if causes:
        text = f"wallet less checksum is {money(story.drift)}: {', '.join(causes)}"
        _print(console, Text.assemble(("drift: ", "bold"), text))


# -- FOR PROGRAMS -------------------------------------------------------------------------------


def as_json(story: Story) -> dict[str, object]:
    """The story with every amount exact, as a string."""
    incident = story.recording.incident
    known = {
        name: None if incident is None else _exact(getattr(incident, name))
        for name in ("first_leg", "total", "capital_difference", "exchange_net")
    }
    return {
        "trade": story.recording.name,
        "variant": story.recording.variant,
        "variants": story.recording.variants,
        "asset": story.asset,
        "side": story.side.name,
        "realized": format_money(story.last.realized),
        "fees": format_money(story.last.fees),
        "net": format_money(story.net),
        "pnl_source": story.last.pnl_source,
        "capital": format_money(story.last.capital),
        "capital_source": story.last.capital_source,
        "wallet": format_money(story.wallet),
        "drift": format_money(story.drift),
        "drift_by_cause": {name: format_money(p) for name, p in story.drift_by_cause.items()},
        "state_hash": story.state_hash,
        "as_recorded": not story.failures,
        "failures": story.failures,
        "recorded": known,
        "steps": [_step_json(row) for row in story.rows],
        "books": [_line_json(line) for line in story.lines],
        "explain": _explain_json(story),
        "facts": [{"kind": f.kind, "text": f.text} for f in incident.facts] if incident else [],
    }


def _exact(amount: int | None) -> str | None:
    return None if amount is None else format_money(amount)


def _step_json(row: Row) -> dict[str, object]:
    return {
        "number": row.number,
        "at_ms": row.at_ms,
        "event": row.event,
        "kind": row.kind,
        "before": row.before,
        "after": row.after,
        "size": format_quantity(row.size_e8),
        "basis": format_price(row.basis_e10),
        "leg_pnl": format_money(row.booked),
        "total_pnl": format_money(row.realized),
        "fees": format_money(row.fees),
        "capital": format_money(row.capital),
        "capital_source": row.capital_source,
        "pnl_source": row.pnl_source,
        "refused": row.refused,
        "notes": row.notes,
    }


def _line_json(line: Line) -> dict[str, object]:
    cells = {name: getattr(line, name) for name in ("defective", "kernel", "exchange")}
    return {"label": line.label} | {
        name: cell and {"amount": _exact(cell.amount), "kind": cell.kind}
        for name, cell in cells.items()
    }


def _explain_json(story: Story) -> dict[str, object]:
    return {
        "true": format_money(story.true_total),
        "defects": [
            {
                "defect": fall.defect.name,
                "alone": format_money(fall.alone),
                "change": format_money(fall.change),
                "total": format_money(fall.total),
            }
            for fall in story.falls
        ],
        "emulated": format_money(story.falls[-1].total) if story.falls else None,
        "never_explained": _exact(story.unexplained),
        "tried": [
            {"defect": check.defect.name, "what": check.tried, "holds": check.passed}
            for check in story.checks
        ],
    }
