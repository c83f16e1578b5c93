"""The lines of the board that a calm day does not have: what is wrong, and what to do about it.

Drawn from a status record, for `board`.  Each line says one thing; a line that begins with `next:`
is a command and nothing else, so that it can be typed as it stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dita.display import duration

from ..typed import typable
from .render import plain

if TYPE_CHECKING:
    from rich.text import Text

#: A query that waited more often than once in so many has a cadence that suffers.
OFTEN = 10
#: Alarms, and kinds of what cannot be read, that are shown; --json has all of them.
LINES_MAX = 5


class Advice(NamedTuple):
    """What to do about something: in words, and the command that helps, where there is one."""

    words: str
    command: str = ""


RESUME = 'pink-ctl resume --reason "..." --apply'

#: About a state, or about a cause that keeps entries out.
NEXT = {
    "hold": Advice("when its reason is gone, end the hold:", RESUME),
    "unexplained drift": Advice(
        "the drift by cause is below; entries thaw after two quiet balances", "pink-ctl reconcile"
    ),
    "pending drift": Advice("wait: the exchange's own rows may still explain the drift"),
    "wallet empty": Advice("is it the right account? was money moved?", "pink-ctl reconcile"),
    "recovery slot in use": Advice("wait until the slot in doubt is settled; exits go on"),
    "draining": Advice("wait until serve has ended"),
    "not ready": Advice("wait: everything is asked again; exits go on"),
    "loss of the day": Advice(
        f"look at today's trades; then `{RESUME}` lets entries come again",
        "pink-ctl trades --day today",
    ),
    "quarantine": Advice(
        f"keep the journal and report it; when it is understood: `{RESUME}`",
        "pink-ctl events --loud",
    ),
}


def attention(s: dict[str, Any]) -> list[Text]:
    """What else keeps entries out, what is wrong, and what to do; nothing when all is well."""
    from rich.text import Text

    lines = [Text(f"and: {plain(text)}", "yellow") for text in s["entries"]["wait_for"][1:]]
    lines += [
        line for cause in s["entries_frozen"] if cause in NEXT for line in _advice(NEXT[cause])
    ]
    if symbols := s.get("held_symbols"):
        held = ", ".join(map(plain, symbols))
        lines.append(Text(f"no entries on {held}: held by an operator", style="yellow"))
    for alarm in s["alarms"][:LINES_MAX]:
        text = f"alarm for {_age(alarm)}: {plain(alarm['name'])}: {plain(alarm['text'])}"
        lines.append(Text(text, style="bold red"))
    if s["fee_check"]["state"] in ("WARN", "OFF"):
        lines.append(Text(f"fees {s['fee_check']['state']}: {s['fee_check']['text']}", "yellow"))
    doubted = [plain(slot["trade"]) for slot in s["slots"] if slot["state"].startswith("STALE")]
    if doubted:
        lines.append(
            Text(f"size in doubt: {', '.join(doubted)}; the exchange is queried", "yellow")
        )
        lines += _advice(Advice("", "pink-ctl reconcile"))
    return lines


def _advice(advice: Advice) -> list[Text]:
    from rich.text import Text

    lines = [Text(typable(advice.words))] if advice.words else []
    return [*lines, Text(typable(f"next: {advice.command}"))] if advice.command else lines


def way_to_the_venue(s: dict[str, Any]) -> list[Text]:
    """What is wrong between here and the exchange: a line of each kind, none on a calm day."""
    from rich.text import Text

    health = s["venue"]
    lines = [
        _failing(s["queries_failing"]),
        _budget(health),
        _equal_errors(health),
        _gaps(health),
        *_leverage(health),
        *_unreadable(health),
    ]
    return [Text(line, style="yellow", no_wrap=True, overflow="ellipsis") for line in lines if line]


def _failing(queries: list[dict[str, Any]]) -> str:
    told = ", ".join(f"{plain(q['name'])} for {_age(q)} ({plain(q['words'])})" for q in queries)
    return f"failing queries: {told}" if told else ""


def _budget(health: dict[str, Any]) -> str:
    """Endpoints that the exchange has blocked, and queries that had to wait often."""
    told = [
        f"{name} blocked for {duration(left_ms)}"
        for name, left_ms in health.get("blocked_ms", {}).items()
    ]
    blocks = sum(health.get("blocks", {}).values())
    if blocks and not told:
        told.append(f"{blocks} blocks, all over")
    requests = health.get("requests", {})
    for name, waits in health.get("waits", {}).items():
        if waits * OFTEN > requests.get(name, 0):
            waited = duration(health["waited_ms"][name])
            told.append(f"{name} waited {waits} times, {waited} in all")
    return f"rate limits: {', '.join(told)}" if told else ""


def _equal_errors(health: dict[str, Any]) -> str:
    """Equal refusals add up: the exchange blocks an endpoint for them."""
    told = [f"{name} {count}" for name, count in health.get("equal_errors", {}).items()]
    return f"equal refusals within 8 minutes (20 block): {', '.join(told)}" if told else ""


def _gaps(health: dict[str, Any]) -> str:
    told = ", ".join(f"{name} {count}" for name, count in health.get("gaps", {}).items())
    return f"stream gaps since the start: {told}" if told else ""


def _leverage(health: dict[str, Any]) -> list[str]:
    """Where somebody has set another leverage than the last entry did."""
    return [
        f"leverage changed at the exchange: {plain(row['asset'])} {plain(row['side'])} is"
        f" {row['found']}x, our last entry set {row['ours']}x"
        for row in health.get("leverage", ())
    ]


def _unreadable(health: dict[str, Any]) -> list[str]:
    """Answers and frames of the exchange that could not be read: how many, and the newest."""
    odd = health.get("unreadable", {})
    lines = []
    for where, entry in list(odd.items())[:LINES_MAX]:
        about = f"{plain(entry['about'])}: " if entry["about"] else ""
        lines.append(
            f"unreadable, {entry['count']} in {where}, the last: {about}{plain(entry['why'])}"
        )
    if len(odd) > LINES_MAX:
        lines.append(f"and {len(odd) - LINES_MAX} more kinds that are unreadable: --json")
    return lines


def _age(record: dict[str, Any]) -> str:
    return duration(record["age_ms"])
