"""What one input did, laid out for those who put it into words.

The teller opens a page for each input that is worth telling; the words modules read it and write
events on it.  It looks into the kernel as it is directly after that input, and changes nothing.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

from dita.contracts import (
    Effect,
    KernelDiagnosticCode,
    KernelIntent,
    OrderRole,
    OrderSide,
    TradeRecord,
    VenueEvent,
    VenueOrder,
)
from dita.engine import Outcome
from dita.kernel import ExecutionKernel
from dita.runtime.eventlog.event import Event, EventName, Level

ROLES: Final = {OrderRole.ENTRY: "entry", OrderRole.EXIT: "exit"}
DID: Final = {OrderSide.BUY: "bought", OrderSide.SELL: "sold", OrderSide.UNKNOWN: "traded"}


class Page:
    """One input with its outcome, and the events that are written about it."""

    def __init__(
        self,
        kernel: ExecutionKernel,
        record: KernelIntent | VenueEvent,
        outcome: Outcome,
        seq: int,
        *,
        trace: bool = False,
        detail: str = "",
    ) -> None:
        self.kernel = kernel
        self.record = record
        self.outcome = outcome
        self.done = outcome.kernel.transition
        self.seq = seq
        self.trace = trace
        self.detail = detail
        self.events: list[Event] = []

    @property
    def code(self) -> KernelDiagnosticCode:
        """Why the outcome is what it is."""
        return self.outcome.kernel.code

    @property
    def notes(self) -> tuple[KernelDiagnosticCode, ...]:
        """What the kernel noted beside it; the code itself when it is such a note."""
        kernel = self.outcome.kernel
        return kernel.notes if kernel.code in kernel.notes else (*kernel.notes, kernel.code)

    @cached_property
    def trade(self) -> TradeRecord | None:
        """The trade that the input was about, as it is now."""
        return self.kernel.trade_of(self.done.trade_no) if self.done is not None else None

    @cached_property
    def order(self) -> VenueOrder | None:
        """The order that the input was about, as it is now."""
        return self.kernel.order(self.done.order_no) if self.done is not None else None

    def whose(self, order: VenueOrder) -> str:
        """``exit of T1``; of a close from outside that it was not ours."""
        name = self.trade.trade_id if self.trade is not None else ""
        return f"{ROLES[order.role]} of {name or f'trade #{order.trade_no}'}"

    def add(self, name: EventName, level: Level, text: str, **fields: Any) -> None:
        """Write an event about the trade, order and symbol of this input."""
        if level is Level.DEBUG and not self.trace:
            return
        done, trade = self.done, self.trade
        record = self.record
        known = record.trade_id if isinstance(record, KernelIntent) else ""
        self._write(
            name, level, text, fields,
            trade=trade.trade_id if trade is not None else known,
            trade_no=done.trade_no if done is not None else 0,
            slot=done.slot_id if done is not None else -1,
            order_no=done.order_no if done is not None else 0,
            asset=trade.asset if trade is not None else record.asset,
        )  # fmt: skip

    def add_effect(self, name: EventName, level: Level, text: str, of: Effect, **f: Any) -> None:
        """Write an event about something that the input makes the runtime do."""
        asset = of.asset or self.kernel.asset_of(of.trade_no)
        self._write(
            name, level, text, f,
            trade=of.trade_id, trade_no=of.trade_no, slot=of.slot_id, order_no=of.order_no,
            asset=asset,
        )  # fmt: skip

    def _write(
        self, name: EventName, level: Level, text: str, fields: dict[str, Any], **about: Any
    ) -> None:
        self.events.append(
            Event(
                time_ms=self.record.received_ms,
                name=name,
                level=level,
                text=text,
                seq=self.seq,
                detail=self.detail,
                fields=fields,
                **about,
            )
        )
