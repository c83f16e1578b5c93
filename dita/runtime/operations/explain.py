"""Why something is as it is: one trade's story, out of the journal's index.

A trade id, an order's id of the exchange, an intent's id, a slot, or ``#`` and a trade's number.
Reads only.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec.structs import replace

from dita.display import amount
from dita.errors import UsageError
from dita.runtime.eventlog.event import Event, EventName
from dita.runtime.history.index import Index
from dita.runtime.history.past import Past
from dita.runtime.history.trades import TradeRow
from dita.units import parse_money


class Story(NamedTuple):
    """What there is to tell; ``trade`` is None of what never became one, such as a refused entry.

    ``links`` are the inputs that mattered, as plain values; ``others`` are the numbers of older and
    newer trades with the same id.
    """

    what: str
    trade: TradeRow | None
    events: list[Event]
    links: list[dict[str, Any]]
    others: list[int]


def story_in(past: Past, wanted: str) -> Story:
    """The story of what is asked for, over every roll; the newest of that name.

    UsageError when nothing is called that.
    """
    for place in reversed(range(len(past.indexes))):
        try:
            story = story_of(past.indexes[place], wanted)
        except UsageError:
            if not place:
                raise
            continue
        return _with_before(story, past.indexes[:place])
    raise AssertionError("there is an open epoch")


def _with_before(story: Story, older: list[Index]) -> Story:
    """A trade that came back after a roll began in an epoch before."""
    row = story.trade
    if row is None:
        return story
    for index in reversed(older):
        if index.trade(row.trade_no) is not None:
            before = story_of(index, f"#{row.trade_no}")
            story = story._replace(
                events=[*before.events, *story.events], links=[*before.links, *story.links]
            )
    return story


def story_of(index: Index, wanted: str) -> Story:
    """The story of what is asked for.  UsageError when nothing in the journal is called that."""
    trade_no, links = index.links(wanted)
    if trade_no:
        row = index.trade(trade_no)
        events = _merged_funding(list(index.events(trade_no=trade_no)), index, trade_no)
        name = row.trade if row is not None else ""
        if wanted == name:
            # A refused intent has no trade number: it is found by its name, from the last one on.
            events = _merged(events, index.events(trade=name), row)
        others = [number for number in index.same_name(name) if number != trade_no]
        return Story(wanted, row, events, links, others)
    events = list(index.events(trade=wanted))
    if not links and not events:
        raise UsageError(
            "nothing in the journal is called that",
            expected="a trade id, an order's or an intent's id, a slot, or #NUMBER of a trade",
            found=wanted,
            action="`pink-ctl trades` lists them, `pink-ctl status` what is open",
        )
    return Story(wanted, None, events, links, [])


def _merged_funding(events: list[Event], index: Index, trade_no: int) -> list[Event]:
    """With the payments that were booked on the symbol while the trade held it, or its parts."""
    for seq, part in index.funding(trade_no):
        for event in index.events(after_seq=seq - 1, until_seq=seq):
            if event.name is EventName.FUNDING:
                whole = parse_money(event.fields["amount"])
                words = f"{amount(part, sign=True)} of it: " if part != whole else ""
                events.append(replace(event, text=words + event.text, trade_no=trade_no))
    return sorted(events, key=lambda e: e.seq)


def _merged(events: list[Event], named: Any, row: TradeRow | None) -> list[Event]:
    """The trade's own events, and refusals under its name while it lived."""
    if row is None:
        return events
    loose = [e for e in named if not e.trade_no and row.first_seq <= e.seq <= row.last_seq]
    return sorted([*events, *loose], key=lambda e: e.seq)
