"""Both sides of a comparison as tables: orders, positions, money, and the plan below them.

Drawn from the record of the verb `reconcile`.  The first line is the one that matters: how much
money differs, and how many differences there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .render import plain
from .status_board import places

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

HEADS = {"order": "orders", "position": "positions", "money": "money, USDT"}


def _counted(number: int) -> str:
    return f"{number or 'no'} difference{'' if number == 1 else 's'}"


def headline(record: dict[str, Any]) -> Text:
    """Difference in money, count, and whether the picture is of one moment."""
    from rich.text import Text

    count = record["differences"]
    style = "bold red" if count else "bold green"
    line = Text()
    line.append(f"{_amount(record['difference'])} USDT", style=style)
    line.append(f"  {_counted(count)}", style=style)
    if remarks := record.get("remarks", 0):
        line.append(f", {remarks} remark{'' if remarks == 1 else 's'}")
    line.append(f"  {plain(record['namespace'])}, journal {record['epoch']}")
    if not record["calm"]:
        line.append("  the account changed during the comparison: run it again", style="yellow")
    return line


def _table(level: str, rows: list[dict[str, Any]], width: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    wide, money = width >= 110, level == "money"
    table = Table(
        title=Text(HEADS[level], style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1),
    )
    name = {"order": "order", "position": "trade", "money": ""}[level]
    # fold: on a narrow terminal a value takes two lines rather than lose its end
    for column in (name,) if money else ("asset", name):
        table.add_column(column, overflow="fold")
    for column in ("ours", "exchange"):
        table.add_column(column, justify="right" if money else "left", overflow="fold")
    table.add_column("cause", overflow="fold")
    for row in rows:
        cells = [] if money else [plain(row["asset"])]
        cells.append(_short(plain(row["name"]), wide))
        for side in ("ours", "theirs"):
            text = row[side]
            cells.append(_amount(text, row["cause"]) if money and text else plain(text))
        cause = Text(row["cause"] or "", style="yellow" if row["cause"] else "")
        table.add_row(*cells, cause)
    return table


def _amount(text: str, cause: str = "sign") -> str:
    """Eight places: what the exchange gives.  A difference has its sign, zero has none."""
    return places(text, 8, sign=bool(cause) and text != "0")


def _short(name: str, wide: bool) -> str:
    limit = 34 if wide else 12
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def sides(record: dict[str, Any], width: int) -> Group:
    """Headline, three tables, steps."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [headline(record), Text()]
    for level, head in HEADS.items():
        rows = [row for row in record["rows"] if row["level"] == level]
        if rows:
            parts.append(_table(level, rows, width))
        else:
            parts += [Text(f"{head}: none", style="bold"), Text()]
    steps = record["plan"]["steps"]
    if steps:
        parts.append(Text("plan", style="bold"))
    parts += [Text(f"{number:3}  {plain(s['text'])}") for number, s in enumerate(steps, 1)]
    return Group(*parts)
