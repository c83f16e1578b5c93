"""What the runtime went through, in words: its notes stand in the journal beside the inputs.

A note has a name and a few fields; whoever writes one needs to know nothing of how it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from dita.display import duration
from dita.journal import Note
from dita.runtime.eventlog.event import Event, EventName, Level

Fields = Mapping[str, str | int]


def tell_note(note: Note, seq: int) -> Event:
    """The event that a note is."""
    name = EventName.__members__.get(note.name, EventName.NOTE)
    words, level = _WORDS.get(name, (_others, Level.INFO))
    fields = dict(note.fields)
    told = words(fields)
    if name is EventName.NOTE:
        told = f"{note.name.lower().replace('_', ' ')}: {told}" if told else note.name
    return Event(
        time_ms=note.time_ms,
        name=name,
        level=_LEVELS.get(str(fields.get("level")), _level_of(name, fields, level)),
        text=told,
        seq=seq,
        asset=str(fields.get("asset", "")),
        trade=str(fields.get("trade", "")),
        fields={k: v for k, v in fields.items() if k not in ("level", "asset", "trade")},
    )


def _level_of(name: EventName, fields: Fields, usual: Level) -> Level:
    if name is EventName.STATE and fields.get("to") in ("DEGRADED", "HOLD"):
        return Level.WARNING
    return usual


def _started(f: Fields) -> str:
    unclean = f", after {f['unclean']} that did not stop cleanly" if f.get("unclean") else ""
    return f"pink-ctl {f.get('version')} for {f.get('whose')}, process {f.get('pid')}{unclean}"


def _state(f: Fields) -> str:
    why = f", {f['why']}" if f.get("why") else ""
    return f"{f.get('to')}: {f.get('namespace')}{why}"


def _stopped(f: Fields) -> str:
    return (
        "no order is in an unknown state"
        if f.get("quiet")
        else "orders in an unknown state are queried at the next start"
    )


def _gap(f: Fields) -> str:
    return f"the stream may have missed something: {f.get('why') or 'it ended'}"


def _healed(f: Fields) -> str:
    after = f" {duration(int(f['after_ms']))} after the gap" if f.get("after_ms") else ""
    return f"everything was queried again{after}"


def _failed(f: Fields) -> str:
    return f"serve ends: {f.get('why')}"


def _terminal(f: Fields) -> str:
    return "the terminal is gone (SIGHUP); serve goes on, `pink-ctl` reaches it"


def _refused(f: Fields) -> str:
    return f"{f.get('what')}: {f.get('why')}"


def _alarm(f: Fields) -> str:
    return f"{f.get('alarm')}: {f.get('text')}"


def _alarm_ended(f: Fields) -> str:
    return f"{f.get('alarm')}: works again"


def _others(f: Fields) -> str:
    if "text" in f:
        return str(f["text"])
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in f.items())


_WORDS: Final[dict[EventName, tuple[Callable[[Fields], str], Level]]] = {
    EventName.STARTED: (_started, Level.INFO),
    EventName.STATE: (_state, Level.INFO),
    EventName.STOPPED: (_stopped, Level.INFO),
    EventName.FAILED: (_failed, Level.CRITICAL),
    EventName.GAP: (_gap, Level.WARNING),
    EventName.HEALED: (_healed, Level.INFO),
    EventName.TERMINAL: (_terminal, Level.WARNING),
    EventName.REFUSED: (_refused, Level.WARNING),
    EventName.ALARM: (_alarm, Level.ERROR),
    EventName.ALARM_ENDED: (_alarm_ended, Level.INFO),
}
_LEVELS: Final = {level.name: level for level in Level}
