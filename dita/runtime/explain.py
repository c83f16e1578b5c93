"""Why something is as it is: the causal chain of a trade, a slot or an order, out of the journal.

Replays the journal through the engine and keeps what concerned the thing asked about: which input,
what it changed, what money moved, what was asked of the venue.  Reads only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dita.contracts import KernelIntent, VenueEvent
from dita.engine import Engine, Outcome
from dita.errors import UsageError
from dita.journal import JournalReader
from dita.units import format_money, format_quantity


class Link:
    """One input that concerned the thing asked about."""

    def __init__(self, seq: int, record: KernelIntent | VenueEvent, outcome: Outcome) -> None:
        self.seq = seq
        self.record = record
        self.outcome = outcome

    def row(self) -> dict[str, Any]:
        """As plain values: position, input, transition, money, effects."""
        kernel, record = self.outcome.kernel, self.record
        done = kernel.transition
        told = record.reason if isinstance(record, KernelIntent) else record.venue_order_id
        return {
            "seq": self.seq,
            "time_ms": record.received_ms,
            "input": kernel.trigger.name,
            "told": told,
            "code": kernel.code.name,
            "before": done.before.name if done else "",
            "after": done.after.name if done else "",
            "size": format_quantity(abs(done.size_e8)) if done else "",
            "filled": format_quantity(abs(done.quantity_delta_e8)) if done else "",
            "realized": format_money(done.realized_delta) if done else "0",
            "trueup": format_money(done.trueup_delta) if done else "0",
            "fee": format_money(done.fee_delta) if done else "0",
            "asked": [effect.kind.name for effect in self.outcome.effects],
            "capital": format_money(self.outcome.account.capital),
        }


def chain(reader: JournalReader, wanted: str) -> list[Link]:
    """Every input that touched the trade id, slot number or order id; UsageError when none did."""
    engine = reader.epoch.engine()
    numbers: set[int] = set()
    links = list(_links(reader, engine, wanted, numbers))
    if not links:
        raise UsageError(
            "nothing in the journal is called that",
            expected="a trade id, a slot number, or an order id of the venue or of ours",
            found=wanted,
            action="`pink-ctl status` lists what is open, `pink-ctl journal tail` what came last",
        )
    return links


def _links(reader: JournalReader, engine: Engine, wanted: str, numbers: set[int]) -> Iterator[Link]:
    for entry in reader.records():
        record = entry.record
        if entry.quarantined or not isinstance(record, KernelIntent | VenueEvent):
            continue
        outcome = engine.apply(record)
        done = outcome.kernel.transition
        for effect in outcome.effects:
            if wanted in (effect.trade_id, effect.client_order_id, effect.venue_order_id):
                numbers.add(effect.trade_no)
        if _names(record, wanted) and done is not None:
            numbers.add(done.trade_no)
        slot = done is not None and wanted.isdecimal() and done.slot_id == int(wanted)
        mine = done is not None and done.trade_no in numbers
        if slot or mine or _names(record, wanted):
            yield Link(entry.seq, record, outcome)


def _names(record: KernelIntent | VenueEvent, wanted: str) -> bool:
    if isinstance(record, KernelIntent):
        return wanted in (record.trade_id, record.venue_order_id, record.intent_id)
    return wanted in (record.venue_order_id, record.client_order_id)
