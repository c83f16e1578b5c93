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

CALM = {
    "READY": "bold green",
    "HOLD": "bold yellow",
    "DEGRADED": "bold yellow",
    "DRAINING": "bold yellow",
    "STOPPED": "bold",
}
DRIFT = {"OK": "green", "WARN": "yellow", "ERROR": "bold red"}
#: Older than this, an age is shown in yellow: milliseconds.
OLD_MS = {"balance": 60_000, "positions": 60_000}
#: Less room than so many reserves is worth a look.
LOW_RESERVES = 4
#: A question that waited more often than once in so many has a cadence that suffers.
OFTEN = 10
#: From this width on there is room for every column.
WIDE = 126

#: A figure that is not known, which is not 0.
UNKNOWN = "–"

#: What to do about a state, or about a cause that keeps entries out.
NEXT = {
    "hold": 'when the reason is gone: pink-ctl resume --reason "..." --apply',
    "unexplained drift": "look at the drift by cause below; entries thaw after two quiet balances",
    "pending drift": "wait: the exchange's own rows may still explain it",
    "wallet empty": "look at the exchange: is it the right account, was money moved?",
    "recovery slot in use": "wait until the slot in doubt is settled; exits go on",
    "draining": "wait for its end",
    "not ready": "wait: everything is asked again; --json says under not_ready what is missing",
    "DEGRADED": "wait: the stream is being read anew, and everything is asked again",
    "RECONCILING": "wait: the venue has not answered every question yet",
}


def places(amount: str, digits: int = 4, *, sign: bool = False) -> str:
    """A decimal text cut to some places for a table, "" for none; --json has every digit."""
    if not amount:
        return ""
    minus, whole_part = amount.startswith("-"), amount.lstrip("-")
    whole, _, part = whole_part.partition(".")
    shown = f"{int(whole or '0'):,}.{(part + '0' * digits)[:digits]}"
    if minus:
        return f"-{shown}"
    return f"+{shown}" if sign else shown


def figure(amount: str, digits: int = 4) -> str:
    """A gain or a loss: with its sign, and without one when there is none."""
    size = places(amount.lstrip("-"), digits)
    if not size.strip("0."):
        return size
    return places(amount, digits, sign=True)


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

    style = "red" if amount.startswith("-") else ("green" if amount.strip("0.") else "dim")
    return Text(figure(amount, digits), style=style)


def headline(s: dict[str, Any]) -> Text:
    """May it trade, and does the money agree."""
    from rich.text import Text

    line = Text()
    line.append(s["state"], style=CALM.get(s["state"], "bold cyan"))
    line.append(f"  {plain(s['namespace'])}")
    line.append(f"  capital {places(s['capital'], 2)}", style="bold")
    line.append(f"  exchange {places(s['exchange_balance'], 2)}")
    line.append("  drift ")
    line.append(figure(s["drift"], 2), style=DRIFT.get(s["drift_status"], ""))
    return line


def attention(s: dict[str, Any]) -> list[Text]:
    """Why there are no entries, and what to do; nothing when all is well."""
    from rich.text import Text

    causes = list(s["entries_frozen"])
    lines = [Text(f"entries frozen: {', '.join(causes)}", style="yellow")] if causes else []
    if symbols := s.get("held_symbols"):
        held = ", ".join(map(plain, symbols))
        lines.append(Text(f"no entries on {held}: held by an operator", style="yellow"))
    if "hold" in causes:
        lines.append(Text(f"held by {plain(s['held_because'] or 'somebody before this start')}"))
    for name in [*causes, s["state"]]:
        if name in NEXT:
            lines.append(Text(f"next: {NEXT[name]}"))
    if s["fee_check"]["state"] in ("WARN", "OFF"):
        lines.append(Text(f"fees {s['fee_check']['state']}: {s['fee_check']['text']}", "yellow"))
    if any(slot["state"].startswith("STALE") for slot in s["slots"]):
        lines.append(Text("a slot's size is in doubt: the exchange is asked", style="yellow"))
    return lines


def slots_table(s: dict[str, Any], width: int) -> Table | Text:
    """The slots in use; narrow terminals lose the less urgent columns, never a digit."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not s["slots"]:
        return Text("\n no slot in use\n", style="dim")
    wide = width >= WIDE
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1 if wide else 0))
    names = ["slot"] if wide else []
    names += ["trade", "asset", "side", "state", "size"]
    names += ["entry", "mark", "lev", "leg", "fees"] if wide else []
    names += ["realized", "unrealized"]
    numbers = {"slot", "size", "entry", "mark", "lev", "fees", "realized", "unrealized"}
    for name in names:
        number = name in numbers  # a name may take two lines, a number never does
        table.add_column(
            name, justify="right" if number else "left", no_wrap=number, overflow="fold"
        )
    for slot in s["slots"]:
        table.add_row(*_slot_cells(slot, wide))
    return table


def _slot_cells(slot: dict[str, Any], wide: bool) -> list[Any]:
    from rich.text import Text

    stale = slot["state"].startswith("STALE")
    cells: list[Any] = [str(slot["slot"])] if wide else []
    cells += [
        plain(slot["trade"]),
        plain(slot["asset"]),
        slot["side"],
        Text("STALE" if stale else slot["state"], style="yellow" if stale else ""),
        _size(slot["size"]),
    ]
    if wide:
        cells += [places(slot["entry_price"]), places(slot["mark_price"]) or UNKNOWN]
        cells += [f"{slot['leverage']}x", f"{min(slot['leg'] + 1, slot['legs'])}/{slot['legs']}"]
        cells.append(places(slot["fees"]))
    return [*cells, _coloured(slot["realized"]), _coloured(slot["unrealized"]) or UNKNOWN]


def _size(amount: str) -> str:
    """A quantity with every digit that it has."""
    whole, _, part = amount.partition(".")
    return f"{int(whole or '0'):,}{f'.{part}' if part else ''}"


def money_table(s: dict[str, Any]) -> Table:
    """Capital against the exchange's balance, and where the difference comes from."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("money", "USDT", ""):
        table.add_column(name, justify="right" if name == "USDT" else "left", no_wrap=True)
    balance_age = s["age_ms"]["balance"]
    old = balance_age > OLD_MS["balance"] or balance_age < 0
    table.add_row("capital", Text(places(s["capital"]), style="bold"), s["capital_source"])
    table.add_row(
        "exchange balance",
        places(s["exchange_balance"]),
        Text("never read" if balance_age < 0 else f"{age(balance_age)} old",
             style="yellow" if old else ""),
    )  # fmt: skip
    style = DRIFT.get(s["drift_status"], "")
    level = Text(s["drift_status"], style=style)
    table.add_row("drift", Text(figure(s["drift"]), style=style), level)
    for cause, amount in seen_causes(s):
        table.add_row("", amount, f"of it {cause}")
    table.add_row("our checksum", places(s["k_capital"]), "seed and every flow we know")
    unmarked = sum(not slot["mark_price"] for slot in s["slots"])
    at = f"marks that are not known: {unmarked}" if unmarked else "with what is open at its marks"
    table.add_row("equity", places(s["equity"]), at)
    table.add_row("realized", _coloured(s["realized"]), f"in {s['trades']} trades")
    table.add_row("fees paid", places(s["fees"]), "")
    table.add_row("funding", _coloured(s["funding"]), "")
    return table


def progress(done_e3: int) -> Text:
    """How far the tape is."""
    from rich.text import Text

    cells = done_e3 * 30 // 1000
    line = Text("tape ")
    line.append("━" * cells, style="cyan")
    line.append("─" * (30 - cells), style="dim")
    line.append(f" {done_e3 // 10} %")
    return line


def board(s: dict[str, Any], width: int) -> Group:
    """The whole board."""
    from rich.console import Group
    from rich.text import Text

    orders = Text(f"orders not final {s['open_orders']}   events held {s['held_events']}   ")
    orders.append_text(_disk(s["journal"]))
    return Group(
        headline(s),
        *attention(s),
        slots_table(s, width),
        money_table(s),
        orders,
        *way_to_the_venue(s["venue"]),
        _ages(s, width),
    )


def _disk(journal: dict[str, Any]) -> Text:
    """What the journal takes; in yellow when the disk will not do for long."""
    from rich.text import Text

    low = journal["free_bytes"] < LOW_RESERVES * journal["reserve_bytes"]
    size, free = mebibytes(journal["bytes"]), mebibytes(journal["free_bytes"])
    return Text(f"journal {size} MiB, {free} MiB free", style="yellow" if low else "")


def mebibytes(count: int) -> str:
    """Bytes in whole MiB; below 0 nobody knows."""
    return f"{count // 2**20:,}" if count >= 0 else "–"


def way_to_the_venue(health: dict[str, Any]) -> list[Text]:
    """At most two lines, and none while the way to the exchange is clear; --json has all of it."""
    from rich.text import Text

    lines = [_budget(health), _words(health)]
    return [Text(line, style="yellow", no_wrap=True, overflow="ellipsis") for line in lines if line]


def _budget(health: dict[str, Any]) -> str:
    """Endpoints that the exchange has blocked, and questions that had to wait often."""
    told = [
        f"{name} blocked for {age(left_ms)}"
        for name, left_ms in health.get("blocked_ms", {}).items()
    ]
    blocks = sum(health.get("blocks", {}).values())
    if blocks and not told:
        told.append(f"{blocks} blocks, all over")
    requests = health.get("requests", {})
    for name, waits in health.get("waits", {}).items():
        if waits * OFTEN > requests.get(name, 0):
            told.append(f"{name} waited {waits} times, {age(health['waited_ms'][name])} in all")
    return f"rate limits: {', '.join(told)}" if told else ""


def _words(health: dict[str, Any]) -> str:
    """Gaps of the stream, and what the exchange said last when it refused."""
    told = []
    if gaps := health.get("gaps"):
        told.append("stream gaps " + ", ".join(f"{name} {count}" for name, count in gaps.items()))
    if refusals := health.get("refusals"):
        words = refusals[-1].partition(": ")[2]  # before it is the order's id, for --json
        told.append(f"refused {len(refusals)}, the last: {plain(words)}")
    return "; ".join(told)


def _ages(s: dict[str, Any], width: int) -> Text:
    """One line, or more where it has to be: never broken within an age."""
    from rich.text import Text

    text = Text("last heard:", style="dim")
    room = width - len(text)
    for name, value in s["age_ms"].items():
        told = f"{name.replace('_', ' ')} {age(value)}"
        if len(told) + 2 > room:
            text.append("\n" + " " * 10)
            room = width - 10
        old = name in OLD_MS and (value < 0 or value > OLD_MS[name])
        text.append(f"  {told}", style="yellow" if old else "dim")
        room -= len(told) + 2
    return text


def closing(s: dict[str, Any]) -> list[str]:
    """How it ended, the number that matters first; plain lines."""
    return [
        f"capital {places(s['capital'])} USDT, exchange balance {places(s['exchange_balance'])},"
        f" drift {figure(s['drift'])} ({s['drift_status']}{_causes(s)})",
        f"{s['trades']} trades: realized {figure(s['realized'])}, fees paid {places(s['fees'])},"
        f" funding {figure(s['funding'])}",
    ]


def seen_causes(s: dict[str, Any]) -> list[tuple[str, str]]:
    """The parts of the drift that are not zero as shown; --json has every digit."""
    parts = [(name.replace("_", " "), figure(v)) for name, v in s["drift_by_cause"].items()]
    return [(name, amount) for name, amount in parts if amount.strip("0.")]


def _causes(s: dict[str, Any]) -> str:
    return "".join(f", {name} {amount}" for name, amount in seen_causes(s))
