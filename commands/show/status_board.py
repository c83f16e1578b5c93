"""The board: may it trade, what is open, does the money agree, what is wrong.

Drawn from a status record by `status` and, live, by `serve`.  What matters first is the first line.
Figures are rounded half to even, which the last line says; --json has every digit.  Knows rich and
the record's keys, nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dita import display
from dita.units import parse_money, parse_price

from .render import WIDTH_IN_A_PIPE, plain
from .troubles import attention, way_to_the_venue

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
OLD_MS = {"balance": 60_000, "positions": 60_000, "mark": 60_000}
#: Less room than so many reserves is worth a look.
LOW_RESERVES = 4
#: From this width on there is room for every column.
WIDE = 126
#: A liquidation nearer than this, as a share of the mark, is shown in red.
NEAR = 0.1
#: Lines of orders; --json has all of them.
LINES_MAX = 5

#: A figure that is not known, which is not 0.
UNKNOWN = "–"

#: Where the capital comes from.
SOURCES = {
    "seed": "the seed: no balance was read yet",
    "e_anchored": "the exchange's balance",
    "k_bridged": "the exchange's balance and our flows since",
}


# -- figures ---------------------------------------------------------------------------------------


def places(amount: str, digits: int = 4, *, sign: bool = False) -> str:
    """A decimal text with so many places, "" for none; a loss never loses its minus."""
    return display.money(parse_money(amount), digits, sign=sign) if amount else ""


def figure(amount: str, digits: int = 4) -> str:
    """A gain or a loss: with its sign, and without one when there is none."""
    return places(amount, digits, sign=True)


def price(amount: str) -> str:
    """A price with the digits that it needs; a dash when it is not known."""
    return display.price(parse_price(amount), least_places=4) if amount else UNKNOWN


def age(milliseconds: int) -> str:
    """An age in words that fit a cell."""
    return "never" if milliseconds < 0 else display.duration(milliseconds)


def _size(amount: str) -> str:
    """A quantity with every digit that it has."""
    whole, _, part = amount.partition(".")
    return f"{int(whole or '0'):,}{f'.{part}' if part else ''}"


def _coloured(amount: str, digits: int = 4) -> Text:
    from rich.text import Text

    if not amount:
        return Text(UNKNOWN, style="dim")
    style = "red" if amount.startswith("-") else ("green" if amount.strip("0.") else "dim")
    return Text(figure(amount, digits), style=style)


# -- the first lines -------------------------------------------------------------------------------


def state_line(s: dict[str, Any]) -> Text:
    """May it trade; green only when entries may go."""
    from rich.text import Text

    state, waits = s["state"], s["entries"]["wait_for"]
    if state == "STOPPED":
        return Text(state, style=CALM[state])
    if not waits:
        return Text(f"{state}: entries may go", style=CALM.get(state, "bold cyan"))
    style = "bold yellow" if state == "READY" else CALM.get(state, "bold cyan")
    return Text(f"{state}, no entries: {plain(waits[0])}", style=style)


def money_line(s: dict[str, Any]) -> Text:
    """Does the money agree."""
    from rich.text import Text

    line = Text(plain(s["namespace"]))
    line.append(f"  capital {places(s['capital'], 2)}", style="bold")
    line.append(f"  exchange {places(s['exchange_balance'], 2)}")
    line.append("  drift ")
    line.append(figure(s["drift"], 2), style=DRIFT.get(s["drift_status"], ""))
    return line


# -- slots -----------------------------------------------------------------------------------------


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
    names += ["entry", "mark", "liq.", "lev", "leg", "fees"] if wide else []
    names += ["realized", "unrealized"]
    texts = {"trade", "asset", "side", "state"}
    for name in names:
        number = name not in texts  # a name may take two lines, a number never does
        whole = number or width >= WIDTH_IN_A_PIPE
        justify: Any = "right" if number else "left"
        table.add_column(name, justify=justify, no_wrap=whole, overflow="fold")
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
        cells += [price(slot["entry_price"]), price(slot["mark_price"]), _liquidation(slot)]
        cells += [_leverage(slot), f"{min(slot['leg'] + 1, slot['legs'])}/{slot['legs']}"]
        cells.append(places(slot["fees"]))
    return [*cells, _coloured(slot["realized"]), _coloured(slot["unrealized"])]


def _liquidation(slot: dict[str, Any]) -> Text:
    from rich.text import Text

    distance = slot["liquidation_distance"]
    near = bool(distance) and float(distance) < NEAR  # for a colour alone
    return Text(price(slot["liquidation_price"]), style="bold red" if near else "")


def _leverage(slot: dict[str, Any]) -> Text:
    """Ours; and the exchange's where somebody has set another."""
    from rich.text import Text

    there = slot["leverage_there"]
    if there and there != slot["leverage"]:
        return Text(f"{slot['leverage']}x, there {there}x", style="yellow")
    return Text(f"{slot['leverage']}x")


# -- money -----------------------------------------------------------------------------------------


def money_table(s: dict[str, Any]) -> Table:
    """Capital against the exchange's balance, and where the difference comes from."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("money", no_wrap=True)
    table.add_column("USDT", justify="right", no_wrap=True)
    table.add_column("")  # may take two lines; the figures never do
    balance_age = s["age_ms"]["balance"]
    old = balance_age > OLD_MS["balance"] or balance_age < 0
    table.add_row("capital", Text(places(s["capital"]), style="bold"), _source(s))
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
        table.add_row("", amount, cause)
    table.add_row("our checksum", places(s["k_capital"]), "the seed and every known flow")
    table.add_row("equity", places(s["equity"]), _worth(s["slots"]))
    table.add_row("realized", _coloured(s["realized"]), "since the journal was begun")
    table.add_row("fees paid", places(s["fees"]), "")
    table.add_row("funding", _coloured(s["funding"]), "")
    return table


def _source(s: dict[str, Any]) -> str:
    return SOURCES.get(s["capital_source"], str(s["capital_source"]))


def _worth(slots: list[dict[str, Any]]) -> Text:
    """What the open positions are worth in it, and as of when."""
    from rich.text import Text

    if not slots:
        return Text("nothing is open")
    unmarked = sum(not slot["mark_price"] for slot in slots)
    if unmarked:
        return Text(f"without {unmarked} whose mark is not known", style="yellow")
    oldest_ms = max(slot["mark_age_ms"] for slot in slots)
    old = oldest_ms < 0 or oldest_ms > OLD_MS["mark"]
    since = f"up to {age(oldest_ms)} old" if oldest_ms >= 0 else "of unknown age"
    return Text(f"open positions at marks {since}", style="yellow" if old else "")


def exposure(s: dict[str, Any]) -> list[Text]:
    """What is at stake, what others hold beside it, and the limits that are set."""
    from rich.text import Text

    e = s["exposure"]
    many = "" if e["positions"] == 1 else "s"
    line = Text(f"{e['positions']} position{many} of {places(e['notional'], 2)} USDT")
    line.append(f" ({places(e['leverage'], 2)} of capital), margin {places(e['margin'], 2)}")
    line.append(f", available {places(e['available_margin'], 2)}")
    lines = [line]
    for other in s["foreign"]:
        text = f"not ours: {other['side']} {_size(other['quantity'])} {plain(other['asset'])}"
        lines.append(Text(f"{text} on the account", style="yellow"))
    if s["limits"]:
        told = (f"{name.replace('_', ' ')} {value}" for name, value in s["limits"].items())
        lines.append(Text(f"limits for entries: {', '.join(told)}"))
    return lines


# -- orders, the journal --------------------------------------------------------------------------


def orders(s: dict[str, Any]) -> list[Text]:
    """Orders that are not final, and the newest refusal, each with its age."""
    from rich.text import Text

    lines = [Text(f"orders not final {s['open_orders']}   events held {s['held_events']}")]
    for order in s["orders"][:LINES_MAX]:
        filled = f"{_size(order['filled'])} of {_size(order['quantity'])} filled"
        since = f"sent {age(order['age_ms'])} ago" if order["age_ms"] >= 0 else "from before"
        text = (
            f"  {order['side']} {plain(order['asset'])}, {order['role'].lower()} of"
            f" {plain(order['trade'])}: {order['status']}, {filled}, {since}"
        )
        lines.append(Text(text))
    if len(s["orders"]) > LINES_MAX:
        lines.append(Text(f"  and {len(s['orders']) - LINES_MAX} more: --json"))
    if s["orders_refused"]:
        last = s["orders_refused"][-1]
        code = f"code {last['error_code']} " if last["error_code"] else ""
        lines.append(
            Text(
                f"refused {len(s['orders_refused'])}, the last {age(last['age_ms'])} ago"
                f" on {plain(last['asset'])}: {code}{plain(last['words'])}",
                style="yellow", no_wrap=True, overflow="ellipsis",
            )
        )  # fmt: skip
    return lines


def journal(s: dict[str, Any]) -> list[Text]:
    """What the journal takes, in yellow when the disk will not do for long; how the log does."""
    from rich.text import Text

    j, log = s["journal"], s["log"]
    low = j["free_bytes"] < LOW_RESERVES * j["reserve_bytes"]
    size, free = mebibytes(j["bytes"]), mebibytes(j["free_bytes"])
    lines = [Text(f"journal {size} MiB, {free} MiB free", style="yellow" if low else "")]
    if log.get("lost_lines") or log.get("trouble"):
        why = f": {plain(log['trouble'])}" if log["trouble"] else ""
        lines.append(Text(f"log: {log['lost_lines']} lines lost{why}", style="yellow"))
    if log.get("alerts", "ok") not in ("ok", "off"):
        lines.append(Text(f"alerts reach nobody: {plain(log['alerts'])}", style="bold yellow"))
    return lines


def mebibytes(count: int) -> str:
    """Bytes in whole MiB; below 0 nobody knows."""
    return f"{count // 2**20:,}" if count >= 0 else UNKNOWN


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


def _imprint(s: dict[str, Any]) -> Text:
    """Which program, since when, and of when this picture is."""
    from rich.text import Text

    return Text(
        f"pink-ctl {s['version']}, process {s['pid']}, up {age(s['uptime_ms'])};"
        f" seen at {display.utc(s['wall_ms'])} UTC; rounded half-even",
        style="dim",
    )


# -- the whole -------------------------------------------------------------------------------------


def board(s: dict[str, Any], width: int) -> Group:
    """The whole board."""
    from rich.console import Group

    return Group(
        state_line(s),
        money_line(s),
        *attention(s),
        slots_table(s, width),
        *exposure(s),
        money_table(s),
        *orders(s),
        *way_to_the_venue(s),
        *journal(s),
        _ages(s, width),
        _imprint(s),
    )


def progress(done_e3: int) -> Text:
    """How far the tape is."""
    from rich.text import Text

    cells = done_e3 * 30 // 1000
    line = Text("tape ")
    line.append("━" * cells, style="cyan")
    line.append("─" * (30 - cells), style="dim")
    line.append(f" {done_e3 // 10} %")
    return line


def closing(s: dict[str, Any]) -> list[str]:
    """How it ended, the number that matters first; plain lines."""
    causes = "".join(f", {name} {amount}" for name, amount in seen_causes(s))
    return [
        f"capital {places(s['capital'])} USDT, exchange balance {places(s['exchange_balance'])},"
        f" drift {figure(s['drift'])} ({s['drift_status']}{causes})",
        f"{s['trades']} trades: realized {figure(s['realized'])}, fees paid {places(s['fees'])},"
        f" funding {figure(s['funding'])}",
    ]


def seen_causes(s: dict[str, Any]) -> list[tuple[str, str]]:
    """The parts of the drift that are not zero as shown; --json has every digit."""
    parts = [(name.replace("_", " "), figure(v)) for name, v in s["drift_by_cause"].items()]
    return [(name, amount) for name, amount in parts if amount.strip("0.+-")]
