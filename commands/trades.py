"""`pink-ctl trades`: every trade with what it brought, and the sums by day and by symbol.

Reads the journal's index; works while serve runs and when it does not.  It computes nothing.
"""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .completing import symbols
from .options import AsJson, ConfigFile, StateDir
from .past import the_past
from .render import emit_json, note, show, show_table

if TYPE_CHECKING:
    from dita.runtime.history.totals import Total
    from dita.runtime.history.trades import TradeRow

Since = Annotated[
    str, typer.Option("--since", metavar="WHEN", help="UTC: 22:00, 2026-11-28, or back: 3h, 2d.")
]
Day = Annotated[str, typer.Option("--day", metavar="DAY", help="2026-11-28, today or yesterday.")]
Symbol = Annotated[
    str,
    typer.Option("--symbol", help="Only this one, such as FET-USDT.", autocompletion=symbols),
]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV with every digit.")]
#: From this width on there is room for every column.
WIDE = 132
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
    """Show trades that ended in a time, and those still open: prices, money, how they ended.

    Without --since or --day: the last seven days. Net is gross less fees plus funding.

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
    span = f"from {utc(since_ms)}" + (f" to {utc(until_ms)}" if until_ms else "") + " UTC"
    whole = total("all", over)
    show(f"{_counted(len(over), 'trade')} closed, net {gain(whole.net)} USDT: {_parts(whole)}")
    beside = f"; {_counted(len(open_now), 'trade')} open" if open_now else ""
    show(f"{whole.won} won, {whole.lost} lost{beside}; {span}")
    if loose:
        show(f"and funding {gain(loose, 4)} of no trade of ours")
    if not rows:
        note("nothing in that time; pink-ctl trades --since 2026-01-01 looks further back")
        return
    _rows_table(rows)
    for name, totals in (("day", by_day(rows)), ("symbol", by_symbol(rows))):
        if len(totals) > 1:
            _totals_table(name, totals)
    note("UTC; money rounded half-even to 4 places, --json and --csv have every digit")


def _counted(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


def _parts(total: Total) -> str:
    from dita.display import gain

    parts = [f"price {gain(total.gross)}", f"fees {gain(-total.fees)}"]
    if total.funding:
        parts.append(f"funding {gain(total.funding)}")
    return ", ".join(parts)


def _rows_table(rows: list[TradeRow]) -> None:
    from .render import output_width

    wide = output_width() >= WIDE
    columns = ["trade", "symbol", "side"]
    columns += ["quantity", "in at", "out at", "opened"] if wide else ["opened"]
    columns += ["held"]
    columns += ["price", "fees", "funding"] if wide else []
    columns += ["net", "ended"]
    columns += ["figures of"] if wide else []
    numbers = {"quantity", "in at", "out at", "held", "price", "fees", "funding", "net"}
    show_table(columns, [_cells(row, wide) for row in rows], right=numbers, tight=not wide)


def _cells(row: TradeRow, wide: bool) -> list[str]:
    from dita.display import duration, gain, money, quantity, utc
    from dita.runtime.history.trades import Ended

    filled = row.ended is not Ended.UNFILLED
    opened = utc(row.opened_ms or row.asked_ms)
    cells = [row.trade, row.asset, row.side]
    if wide:
        cells += [quantity(row.entered_e8), _price(row.entry_price_e10), _price(row.exit_price_e10)]
    cells += [opened if wide or len(opened) == 1 else opened[5:16]]
    cells += [duration(row.held_ms) if row.held_ms and filled else ""]
    if wide:
        cells += [gain(row.gross, 4), money(row.fees, 4), gain(row.funding, 4)]
    cells += [gain(row.net, 4), row.ended.value]
    if wide:
        source = {"exchange": "exchange", "operator": "operator"}.get(row.source, "ours")
        cells.append(source if filled else "")
    return cells


def _price(price_e10: int) -> str:
    from dita.display import price

    return price(price_e10) if price_e10 else "–"


def _totals_table(name: str, totals: list[Total]) -> None:
    from dita.display import gain, money

    show_table(
        (name, "trades", "won", "lost", "price", "fees", "funding", "net"),
        [
            (t.name, t.trades, t.won, t.lost, gain(t.gross, 4), money(t.fees, 4),
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
