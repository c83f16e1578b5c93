"""What is noted of each outcome: ages of feeds, refused orders, what is worth asking for.

It sees what is durable and changes nothing; status reads it, and the service waits for its events.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TypeGuard

from dita.contracts import (
    EffectKind,
    KernelCommandType,
    KernelDiagnosticCode,
    KernelEventKind,
    KernelIntent,
    Record,
    TradeStage,
    VenueEvent,
)
from dita.engine import Outcome
from dita.runtime.loop import Input

#: So many refused orders are remembered.
REFUSED_MAX = 32
#: And the times of so many orders; the registry of the smallest kernel holds fewer.
SENT_MAX = 20_000

_SAID_NO = (KernelEventKind.ORDER_REJECT, KernelEventKind.RATE_LIMITED)


class Refused(Record, frozen=True, kw_only=True):
    """An order that the venue, or our own check, refused: when (kernel time), which, and why."""

    at_ms: int
    asset: str
    client_order_id: str
    error_code: int
    words: str


class Feeds:
    """When each feed last said something, in kernel time, 0 for never."""

    def __init__(self) -> None:
        self.balance_ms = 0
        self.positions_ms = 0
        self.applied_ms = 0
        self.refused: deque[Refused] = deque(maxlen=REFUSED_MAX)
        #: When an order was handed over to be sent, by its own number; since this start.
        self.sent_ms: dict[int, int] = {}
        #: Set when a balance is worth asking for.
        self.balance_due = asyncio.Event()
        #: When the newest mark of each trade was applied; what the venue confirms is not applied.
        self.marked_ms: dict[str, int] = {}
        #: Set when positions are worth asking for: one is new and has no mark yet, or is in doubt.
        self.positions_due = asyncio.Event()

    def publish(self, record: Input, outcome: Outcome, seq: int) -> None:
        """Note the time of what came, what was refused, and what is to be asked for."""
        now = self.applied_ms = record.received_ms
        if isinstance(record, VenueEvent) and outcome.kernel.accepted:
            if record.kind is KernelEventKind.ACCOUNT_UPDATE:
                self.balance_ms = now
            elif record.kind is KernelEventKind.POSITION:
                self.positions_ms = now
            elif record.kind in _SAID_NO:
                self._note_refused(record)
        elif _is_mark(record) and outcome.kernel.accepted:
            self.marked_ms[record.trade_id] = now
        for effect in outcome.effects:
            if effect.kind is EffectKind.SUBMIT:
                self._note_sent(effect.order_no, now)
            elif effect.kind is EffectKind.CLOSE_TRADE:
                self.marked_ms.pop(effect.trade_id, None)
        done = outcome.kernel.transition
        if done is not None and (done.fee_delta or done.realized_delta or done.trueup_delta):
            self.balance_due.set()
        if outcome.kernel.code is KernelDiagnosticCode.ANCHOR_NOT_QUIET:
            self.balance_due.set()  # somebody waits for it
        if done is not None and done.after is not done.before:
            is_new = (
                done.before is TradeStage.ENTRY_WORKING and done.after is TradeStage.POSITION_OPEN
            )
            if is_new or done.after is TradeStage.STALE_STATE_RECONCILING:
                self.positions_due.set()

    def _note_sent(self, order_no: int, now_ms: int) -> None:
        self.sent_ms[order_no] = now_ms
        if len(self.sent_ms) > SENT_MAX:
            for oldest in list(self.sent_ms)[: SENT_MAX // 2]:
                del self.sent_ms[oldest]

    def _note_refused(self, record: VenueEvent) -> None:
        self.refused.append(
            Refused(
                at_ms=record.received_ms,
                asset=record.asset,
                client_order_id=record.client_order_id,
                error_code=record.error_code,
                words=record.message or record.reject.name.lower().replace("_", " "),
            )
        )


def _is_mark(record: Input) -> TypeGuard[KernelIntent]:
    return isinstance(record, KernelIntent) and record.command is KernelCommandType.MARK_PRICE
