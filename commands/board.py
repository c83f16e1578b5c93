"""The board: slots, capital against the exchange's balance, drift by cause, age of every feed.

Drawn from a status record by `status` and, live, by `serve`.  What matters first is the first line:
may it trade, and does the money agree.  Knows rich and the record's keys, nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .render import plain

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

CALM = {"READY": "green", "HOLD": "yellow", "DEGRADED": "yellow", "DRAINING": "yellow"}
DRIFT = {"OK": "green", "WARN": "yellow", "ERROR": "red"}
#: Older than this, an age is shown in yellow: milliseconds.
OLD_MS = {"balance": 60_000, "positions": 60_000}


def places(amount: str, digits: int = 4, *, sign: bool = False) -> str:
    """A decimal text cut to some places for a table; --json has every digit."""
    minus, whole_part = amount.startswith("-"), amount.lstrip("-")
    whole, _, part = whole_part.partition(".")
    shown = f"{int(whole or '0'):,}.{(part + '0' * digits)[:digits]}"
    if minus:
        return f"-{shown}"
    return f"+{shown}" if sign else shown


def age(milliseconds: int) -> str:
    """An age in words that fit a cell."""
    if milliseconds < 0:
        return "never"
    if milliseconds < 10_000:
        return f"{milliseconds // 1000}.{milliseconds % 1000 // 100} s"
    seconds = milliseconds // 1000
    return f"{seconds} s" if seconds < 600 else f"{seconds // 60} min"


def _coloured(amount: str, digits: int = 4) -> Text:
    from rich.text import Text

    style = "red" if amount.startswith("-") else ("green" if amount.strip("0.") else "")
    return Text(places(amount, digits, sign=bool(amount.strip("0.-"))), style=style)


def headline(s: dict[str, Any]) -> Text:
    """May it trade, and does the money agree."""
    from rich.text import Text

    line = Text()
    line.append(s["state"], style=f"bold {CALM.get(s['state'], 'cyan')}")
    line.append(f"  {plain(s['namespace'])}")
    line.append(f"  capital {places(s['capital'], 2)}", style="bold")
    line.append(f"  exchange {places(s['exchange_balance'], 2)}")
    line.append("  drift ")
    line.append(places(s["drift"], 2, sign=True), style=DRIFT.get(s["drift_status"], ""))
    if s["entries_frozen"]:
        line.append(f"  entries frozen: {', '.join(s['entries_frozen'])}", style="yellow")
    return line


def slots_table(s: dict[str, Any], width: int) -> Table:
    """The slots in use; narrow terminals lose the less urgent columns, never a digit."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    wide = width >= 110
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1 if wide else 0))
    names = ["slot"] if wide else []
    names += ["trade", "asset", "side", "state", "size"]
    names += ["entry", "mark", "lev", "leg", "fees"] if wide else []
    names += ["realized", "unrealized"]
    numbers = {"slot", "size", "entry", "mark", "lev", "fees", "realized", "unrealized"}
    for name in names:
        table.add_column(name, justify="right" if name in numbers else "left", no_wrap=True)
    for slot in s["slots"]:
        row: list[Any] = [str(slot["slot"])] if wide else []
        stale = slot["state"].startswith("STALE")
        row += [
            plain(slot["trade"]),
            plain(slot["asset"]),
            slot["side"],
            Text("STALE" if stale else slot["state"], style="yellow" if stale else ""),
            places(slot["size"], 0).rstrip("."),
        ]
        if wide:
            row += [places(slot["entry_price"], 4), places(slot["mark_price"], 4)]
            row += [f"{slot['leverage']}x", f"{slot['leg'] + 1}/{slot['legs']}"]
            row.append(places(slot["fees"], 4))
        row += [_coloured(slot["realized"]), _coloured(slot["unrealized"])]
        table.add_row(*row)
    if not s["slots"]:
        table.add_row(*([""] if wide else []), "no slot in use")
    return table


def money_table(s: dict[str, Any]) -> Table:
    """Capital against the exchange's balance, and where the difference comes from."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("money", "USDT", "is"):
        table.add_column(name, justify="right" if name == "USDT" else "left", no_wrap=True)
    balance_age = s["age_ms"]["balance"]
    old = balance_age > OLD_MS["balance"] or balance_age < 0
    table.add_row("capital", places(s["capital"]), s["capital_source"])
    table.add_row(
        "exchange balance",
        places(s["exchange_balance"]),
        Text(f"{age(balance_age)} old", style="yellow" if old else ""),
    )
    table.add_row("equity", places(s["equity"]), "with what is open at its marks")
    table.add_row("realized", _coloured(s["realized"]), f"in {s['trades']} trades")
    table.add_row("fees paid", places(s["fees"]), "")
    table.add_row("funding", _coloured(s["funding"]), "")
    table.add_row("our checksum", places(s["k_capital"]), "seed and every flow we know")
    style = DRIFT.get(s["drift_status"], "")
    table.add_row("drift", Text(places(s["drift"], sign=True), style=style), s["drift_status"])
    for cause, amount in s["drift_by_cause"].items():
        table.add_row("", places(amount, sign=True), cause.replace("_", " "))
    return table


def board(s: dict[str, Any], width: int) -> Group:
    """The whole board."""
    from rich.console import Group
    from rich.text import Text

    ages = "  ".join(f"{name} {age(value)}" for name, value in s["age_ms"].items())
    footer = Text(f"ages: {ages}", style="dim")
    orders = Text(f"orders not final: {s['open_orders']}  events held: {s['held_events']}")
    return Group(headline(s), slots_table(s, width), money_table(s), orders, footer)
