"""`pink-ctl trades`: every trade with what it brought, and the sums by day and by symbol.

Reads the journal's index; works while serve runs and when it does not.  It computes nothing.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .completion import symbols
from .options import AsJson, ConfigFile, StateDir
from .past import the_past
from .show.render import emit_json, note, on_terminal, output_width, show, show_table

if TYPE_CHECKING:
    from dita.runtime.history.totals import Total
    from dita.runtime.history.trades import TradeRow

Since = Annotated[
    str,
    typer.Option(
        "--since", metavar="WHEN", help="UTC: 22:00 or 2026-11-28; or how long ago: 3h, 2d."
    ),
]
Day = Annotated[str, typer.Option("--day", metavar="DAY", help="2026-11-28, today or yesterday.")]
Symbol = Annotated[
    str,
    typer.Option(
        "--symbol",
        metavar="SYMBOL",
        help="Only this symbol, such as FET-USDT.",
        autocompletion=symbols,
    ),
]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV with every digit.")]
COLUMNS = (
    "trade", "number", "symbol", "side", "leverage", "quantity", "entry_price", "exit_price",
    "opened_utc", "closed_utc", "held_s", "gross", "fees", "funding", "net", "ended", "why_in",
    "why_out", "source", "final", "first_seq", "last_seq",
)  # fmt: skip


def trades(
    since: Since = "",
    day: Day = "",
    symbol: Symbol = "",
    config: ConfigFile = None,
    state_dir: StateDir = None,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """List trades with prices and money, and sums by day and symbol.

    Without --since or --day: those that ended in the last seven days, and all that
    are open. Net is gross less fees plus funding.

    \b
    Examples:
      pink-ctl trades --day yesterday
      pink-ctl trades --since 22:00 --symbol FET-USDT
      pink-ctl trades --since 2026-11-01 --csv > november.csv
    """
    from dita.clock import SystemClock
    from dita.errors import UsageError
    from dita.runtime.history.when import day_ms, moment_ms

    if (since and day) or (as_csv and as_json):
        raise UsageError(
            "options refused",
            expected="one of --since and --day, and one of --csv and --json",
            found="both",
        )
    now_ms = SystemClock().now_ms()
    until_ms = 0
    if day:
        since_ms, until_ms = day_ms(day, now_ms)
    else:
        since_ms = moment_ms(since or "7d", now_ms)
    _, index = the_past(config, state_dir, quiet=as_json or as_csv)
    rows = index.trades(since_ms=since_ms, until_ms=until_ms, asset=symbol)
    loose = 0 if symbol else index.loose_funding(since_ms, until_ms)
    index.close()
    if as_csv:
        _csv(rows)
    elif as_json:
        _json(rows, since_ms, until_ms, loose)
    else:
        _tables(rows, since_ms, until_ms, loose)


# -- for people ------------------------------------------------------------------------------------


def _tables(rows: list[TradeRow], since_ms: int, until_ms: int, loose: int) -> None:
    from dita.display import gain, utc
    from dita.runtime.history.totals import by_day, by_symbol, closed, total
    from dita.runtime.history.trades import Ended

    over = closed(rows)
    open_now = [row for row in rows if row.ended is Ended.OPEN]
    span = f"from {utc(since_ms)} UTC" if since_ms else "since the beginning"
    span += f" to {utc(until_ms)} UTC" if until_ms else ""
    whole = total("all", over)
    sums = f", net {gain(whole.net)} USDT: {_parts(whole)}" if over else ""
    show(f"{_counted(len(over), 'trade')} closed{sums}")
    beside = f"; {_counted(len(open_now), 'trade')} open" if open_now else ""
    unfilled = sum(1 for row in rows if row.ended is Ended.UNFILLED)
    beside += f"; {unfilled} never filled" if unfilled else ""
    show(f"{whole.won} won, {whole.lost} lost{beside}; {span}")
    if loose:
        show(f"and funding {gain(loose, 4)} of no trade of ours")
    if not rows:
        note("nothing in that time; pink-ctl trades --since 2026-01-01 looks further back")
        return
    left_out = _rows_table(rows)
    for name, totals in (("day", by_day(rows)), ("symbol", by_symbol(rows))):
        if len(totals) > 1:
            _totals_table(name, totals)
    if left_out:
        note(f"on a wider terminal and in a pipe also: {', '.join(reversed(left_out))}")
    note("UTC; money rounded half-even to 4 places; --json and --csv have every digit")


def _counted(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


def _parts(total: Total) -> str:
    from dita.display import gain

    parts = [f"price {gain(total.gross)}", f"fees {gain(-total.fees)}"]
    if total.funding:
        parts.append(f"funding {gain(total.funding)}")
    return ", ".join(parts)


def _rows_table(rows: list[TradeRow]) -> list[str]:
    """Print the trades with as many columns as there is room for; the names of the others."""
    table = {name: [name, *map(cell, rows)] for name, cell in CELLS.items()}
    left_out: list[str] = []
    while _width(table) > output_width() and len(left_out) < len(OPTIONAL):
        left_out.append(OPTIONAL[len(left_out)])
        del table[left_out[-1]]
    cells = zip(*(column[1:] for column in table.values()), strict=True)
    show_table(list(table), list(cells), right=NUMBERS, tight=True)
    return left_out


def _width(table: dict[str, list[str]]) -> int:
    return sum(1 + max(map(len, column)) for column in table.values()) + 1


def _opened(row: TradeRow) -> str:
    from dita.display import utc

    opened = utc(row.opened_ms or row.asked_ms)
    return opened[5:16] if on_terminal() and len(opened) > 1 else opened


def _held(row: TradeRow) -> str:
    from dita.display import duration

    return duration(row.held_ms) if row.held_ms else ""


def _quantity(row: TradeRow) -> str:
    from dita.display import quantity

    return quantity(row.entered_e8) if row.entered_e8 else ""


def _source(row: TradeRow) -> str:
    if not row.closed_ms:
        return ""
    return row.source if row.source in ("exchange", "operator") else "ours"


def _gain(amount: int, row: TradeRow) -> str:
    from dita.display import gain

    return gain(amount, 4) if row.entered_e8 else ""


def _price(price_e10: int, row: TradeRow) -> str:
    from dita.display import price

    if price_e10:
        return price(price_e10)
    return "–" if row.entered_e8 else ""


CELLS: dict[str, Callable[[TradeRow], str]] = {
    "trade": lambda row: row.trade,
    "symbol": lambda row: row.asset,
    "side": lambda row: row.side,
    "quantity": _quantity,
    "in at": lambda row: _price(row.entry_price_e10, row),
    "out at": lambda row: _price(row.exit_price_e10, row),
    "opened": _opened,
    "held": _held,
    "price": lambda row: _gain(row.gross, row),
    "fees": lambda row: _gain(-row.fees, row),
    "funding": lambda row: _gain(row.funding, row),
    "net": lambda row: _gain(row.net, row),
    "ended": lambda row: row.ended.value,
    "figures of": _source,
}
NUMBERS = {"quantity", "in at", "out at", "held", "price", "fees", "funding", "net"}
#: What is left out first where there is no room for all.
OPTIONAL = ("figures of", "funding", "fees", "price", "out at", "in at", "quantity")


def _totals_table(name: str, totals: list[Total]) -> None:
    from dita.display import gain

    show_table(
        (name, "trades", "won", "lost", "price", "fees", "funding", "net"),
        [
            (t.name, t.trades, t.won, t.lost, gain(t.gross, 4), gain(-t.fees, 4),
             gain(t.funding, 4), gain(t.net, 4))
            for t in totals
        ],
        right={"trades", "won", "lost", "price", "fees", "funding", "net"},
        tight=True,
    )  # fmt: skip


# -- for programs ----------------------------------------------------------------------------------


def plain(row: TradeRow) -> dict[str, Any]:
    """A trade with every digit; times as ISO 8601 in UTC, empty while there is none."""
    from dita.display import stamp
    from dita.units import format_money, format_price, format_quantity

    return {
        "trade": row.trade,
        "number": row.trade_no,
        "symbol": row.asset,
        "side": row.side,
        "leverage": row.leverage,
        "quantity": format_quantity(row.entered_e8),
        "entry_price": format_price(row.entry_price_e10) if row.entry_price_e10 else "",
        "exit_price": format_price(row.exit_price_e10) if row.exit_price_e10 else "",
        "opened_utc": stamp(row.opened_ms) if row.opened_ms else "",
        "closed_utc": stamp(row.closed_ms) if row.closed_ms else "",
        "held_s": row.held_ms // 1_000,
        "gross": format_money(row.gross),
        "fees": format_money(row.fees),
        "funding": format_money(row.funding),
        "net": format_money(row.net),
        "ended": row.ended.value,
        "why_in": row.why_in,
        "why_out": row.why_out,
        "source": row.source,
        "final": row.final,
        "first_seq": row.first_seq,
        "last_seq": row.last_seq,
    }


def _json(rows: list[TradeRow], since_ms: int, until_ms: int, loose: int) -> None:
    from dita.runtime.history.totals import by_day, by_symbol, closed, total
    from dita.units import format_money

    emit_json(
        {
            "since_ms": since_ms,
            "until_ms": until_ms,
            "trades": [plain(row) for row in rows],
            "total": _total_plain(total("all", closed(rows))),
            "by_day": [_total_plain(each) for each in by_day(rows)],
            "by_symbol": [_total_plain(each) for each in by_symbol(rows)],
            "funding_of_no_trade": format_money(loose),
        }
    )


def _total_plain(total: Total) -> dict[str, Any]:
    from dita.units import format_money

    counts = {"name": total.name, "trades": total.trades, "won": total.won, "lost": total.lost}
    money = {
        name: format_money(getattr(total, name)) for name in ("gross", "fees", "funding", "net")
    }
    return {**counts, **money}


def _csv(rows: list[TradeRow]) -> None:
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _no_formula(value) for name, value in plain(row).items()})


def _no_formula(value: Any) -> Any:
    """Text of others must not become a formula in a spreadsheet; a number stays one."""
    if not isinstance(value, str) or not value or value[0] not in "=+-@\t\r":
        return value
    number = value[1:].replace(".", "", 1).isdecimal()
    return value if number and value[0] in "+-" else f"'{value}"
