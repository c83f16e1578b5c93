"""Rows of the index: trades, events and inputs as they are kept, and as they come back.

What changes how a row reads raises the index's version.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from dita.contracts import (
    EffectKind,
    KernelDiagnosticCode,
    KernelEventKind,
    KernelIntent,
    KernelTransition,
    OrderSide,
    TradeSide,
    TradeStage,
)
from dita.engine import Outcome
from dita.journal.records import Input
from dita.runtime.eventlog.event import Event, EventName, Level
from dita.runtime.history.trades import TradeRow
from dita.units import format_money, format_price, format_quantity


class Kept(msgspec.Struct):
    """A trade as it is kept: money passes 64 bits, so it is text."""

    plain: dict[str, Any]
    money: dict[str, str]

    def row(self) -> TradeRow:
        """The trade again."""
        whole = {**self.plain, **{name: int(text) for name, text in self.money.items()}}
        return msgspec.convert(whole, TradeRow)


_MONEY: Final = ("gross", "fees", "funding")


def kept(row: TradeRow) -> bytes:
    plain = msgspec.to_builtins(row)
    money = {name: str(plain.pop(name)) for name in _MONEY}
    return msgspec.msgpack.encode(Kept(plain, money))


def event_row(e: Event) -> tuple[Any, ...]:
    return (
        e.seq, e.time_ms, int(e.level), e.name.value, e.trade_no, e.trade, e.slot, e.order_no,
        e.asset, e.text, msgspec.json.encode(e.fields),
    )  # fmt: skip


def event_of(row: tuple[Any, ...]) -> Event:
    seq, time_ms, level, name, trade_no, trade, slot, order_no, asset, text, fields = row
    return Event(
        time_ms=time_ms, name=EventName(name), level=Level(level), text=text, seq=seq,
        trade=trade, trade_no=trade_no, slot=slot, order_no=order_no, asset=asset,
        fields=msgspec.json.decode(fields),
    )  # fmt: skip


def link_row(seq: int, record: Input, outcome: Outcome) -> tuple[Any, ...]:
    kernel = outcome.kernel
    done = kernel.transition or _NO_TRANSITION
    if isinstance(record, KernelIntent):
        trade, ids, told, words = record.trade_id, record.intent_id, record.reason, ""
        price_e10 = record.reference_price_e10
    else:
        trade, told, words = "", record.venue_order_id, record.message
        ids, price_e10 = told or record.client_order_id, record.price_e10
    raw = _Link(
        seq, record.received_ms, kernel.trigger.name, told, int(kernel.code), int(done.before),
        int(done.after), int(record.side), price_e10, done.size_e8, done.quantity_delta_e8,
        str(done.realized_delta), str(done.trueup_delta), str(done.fee_delta),
        [int(effect.kind) for effect in outcome.effects], [int(note) for note in kernel.notes],
        words, str(outcome.account.capital), kernel.transition is not None,
    )  # fmt: skip
    packed = msgspec.msgpack.encode(raw)
    return seq, done.trade_no, trade, done.slot_id, done.order_no, ids, packed


class _Link(msgspec.Struct, array_like=True):
    """One input as it is kept; written out only for who asks."""

    seq: int
    time_ms: int
    trigger: str
    told: str
    code: int
    before: int
    after: int
    side: int
    price_e10: int
    size_e8: int
    delta_e8: int
    realized: str
    trueup: str
    fee: str
    effects: list[int]
    notes: list[int]
    words: str
    capital: str
    moved: bool


_NO_TRANSITION: Final = KernelTransition(
    KernelEventKind.TICK, TradeStage.IDLE, TradeStage.IDLE, -1, 0, 0, 0, 0, 0, 0, 0, 0
)


def link_of(packed: bytes) -> dict[str, Any]:
    """One input with its transition, money and effects, as plain values."""
    raw = msgspec.msgpack.decode(packed, type=_Link)
    moved = raw.moved
    return {
        "seq": raw.seq,
        "time_ms": raw.time_ms,
        "input": raw.trigger,
        "told": raw.told,
        "code": KernelDiagnosticCode(raw.code).name,
        "before": TradeStage(raw.before).name if moved else "",
        "after": TradeStage(raw.after).name if moved else "",
        "side": OrderSide(raw.side).name
        if raw.trigger in KernelEventKind.__members__
        else TradeSide(raw.side).name,
        "price": format_price(raw.price_e10) if raw.price_e10 else "",
        "size": format_quantity(abs(raw.size_e8)) if moved else "",
        "filled": format_quantity(abs(raw.delta_e8)) if moved else "",
        "realized": format_money(int(raw.realized)),
        "trueup": format_money(int(raw.trueup)),
        "fee": format_money(int(raw.fee)),
        "asked": [EffectKind(kind).name for kind in raw.effects],
        "notes": [KernelDiagnosticCode(note).name for note in raw.notes],
        "words": raw.words,
        "capital": format_money(int(raw.capital)),
    }
