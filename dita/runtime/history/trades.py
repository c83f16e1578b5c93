"""Trades as rows: what each brought, when and how it began and ended, and how sure that is.

Filled from the steps of a follower; every figure is read from the kernel's own record of the trade,
so a row is never a second sum.  Times are the exchange's where it gave one.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Final

import msgspec

from dita.contracts import (
    EffectKind,
    KernelCommandType,
    KernelDiagnosticCode,
    KernelEventKind,
    KernelIntent,
    OrderRole,
    TradeStage,
    VenueEvent,
)
from dita.journal.following import Look, Step
from dita.kernel import ExecutionKernel
from dita.runtime.eventlog.teller import worth_a_word

Kind, Code = KernelEventKind, KernelDiagnosticCode


class Ended(StrEnum):
    """How a trade ended."""

    OPEN = "open"
    EXIT = "exit"
    EXTERNAL = "closed from outside"
    LIQUIDATION = "liquidated"
    ADL = "deleveraged"
    NETTED = "netted"
    WRITTEN_OFF = "written off"
    UNFILLED = "never filled"


class TradeRow(msgspec.Struct):
    """One trade.  Money in 10^-18, prices 10^-10, quantities 10^-8; 0 for a time that is not yet.

    ``gross`` is the price's part with all corrections; ``funding`` is what was booked on the symbol
    while the trade held it.
    """

    trade_no: int
    trade: str
    asset: str
    side: str
    leverage: int = 1
    entered_e8: int = 0
    exited_e8: int = 0
    entry_price_e10: int = 0
    exit_price_e10: int = 0
    gross: int = 0
    fees: int = 0
    funding: int = 0
    source: str = ""
    ended: Ended = Ended.OPEN
    asked_ms: int = 0
    opened_ms: int = 0
    closed_ms: int = 0
    why_in: str = ""
    why_out: str = ""
    first_seq: int = 0
    last_seq: int = 0
    #: The exchange's figures are in, or the wait for them is over.
    final: bool = False
    #: Inputs that changed nothing, by kind.
    quiet: dict[str, int] = msgspec.field(default_factory=dict)

    @property
    def net(self) -> int:
        """What it brought in all."""
        return self.gross - self.fees + self.funding

    @property
    def over_ms(self) -> int:
        """When it ended, whatever it was; 0 while it is open."""
        return self.asked_ms if self.ended is Ended.UNFILLED else self.closed_ms

    @property
    def held_ms(self) -> int:
        """From the first fill to the last; 0 while it is open, when it never filled, and when its
        beginning is not known."""
        known = self.closed_ms and self.opened_ms
        return max(0, self.closed_ms - self.opened_ms) if known else 0


class Funding(msgspec.Struct):
    """One funding payment, and whose it is: 0 when no trade of ours held the symbol then."""

    seq: int
    asset: str
    time_ms: int
    amount: int
    trade_no: int


#: Fill times may be whole seconds, and funding is booked at full hours.
_NEAR_MS: Final = 1_000
_FORCED: Final = {Kind.LIQUIDATION: Ended.LIQUIDATION, Kind.ADL: Ended.ADL}


class TradeBook:
    """The rows of every trade that a follower has come by, and those that may still change."""

    def __init__(self, kernel: ExecutionKernel) -> None:
        self._kernel = kernel
        #: Rows that may still change.
        self.open: dict[int, TradeRow] = {}
        #: Rows that changed since they were taken.
        self._changed: dict[int, TradeRow] = {}
        self._funding: list[Funding] = []
        self._quiet: Counter[tuple[int, int]] = Counter()

    # -- in ----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin in the middle of a history: a row for each trade that is known, without times."""
        for trade in self._kernel.trades():
            row = self._row(trade.trade_no, 0)
            if row is not None:
                self._refresh(row)

    def choose(self, looks: list[Look]) -> list[int]:
        """The inputs that matter; of the others each trade's are counted."""
        chosen = worth_a_word(looks)
        loud = set(chosen)
        self._quiet.update(
            (look[7], look[1]) for index, look in enumerate(looks) if look[7] and index not in loud
        )
        return chosen

    def take(self, step: Step) -> None:
        """An input that mattered."""
        record, outcome = step.record, step.outcome
        if outcome is None or not isinstance(record, KernelIntent | VenueEvent):
            return
        if not outcome.kernel.accepted:
            return
        done = outcome.kernel.transition
        if done is not None:
            row = self._row(done.trade_no, step.seq)
            if row is not None:
                self._note(row, step)
                if row.final or done.after is TradeStage.IDLE:
                    self._refresh(row)
        elif isinstance(record, VenueEvent) and record.kind is Kind.FUNDING_FEE:
            self._fund(record, step.seq)
        for effect in outcome.effects:
            if effect.kind is EffectKind.CLOSE_TRADE:
                closing = self._row(effect.trade_no, step.seq)
                if closing is not None:
                    self._refresh(closing)
                    closing.final = True

    def _row(self, trade_no: int, seq: int) -> TradeRow | None:
        row = self.open.get(trade_no) or self._changed.get(trade_no)
        if row is None:
            known = self._kernel.trade_of(trade_no)
            if known is None:
                return None
            row = TradeRow(
                trade_no=trade_no, trade=known.trade_id, asset=known.asset, side=known.side.name,
                first_seq=seq,
            )  # fmt: skip
        row.last_seq = seq
        self.open[trade_no] = self._changed[trade_no] = row
        return row

    def _note(self, row: TradeRow, step: Step) -> None:
        record, outcome = step.record, step.outcome
        assert outcome is not None and isinstance(record, KernelIntent | VenueEvent)
        done = outcome.kernel.transition
        assert done is not None
        if isinstance(record, KernelIntent):
            self._note_intent(row, record)
        when_ms = record.received_ms
        if isinstance(record, VenueEvent) and record.exchange_ms:
            when_ms = record.exchange_ms
        if done.quantity_delta_e8:
            order = self._kernel.order(done.order_no)
            if order is not None and order.role is OrderRole.ENTRY:
                row.opened_ms = row.opened_ms or when_ms
            elif order is not None:
                row.ended = _how(record, outcome.kernel.notes, order.external)
            row.closed_ms = 0 if done.size_e8 else when_ms
        elif not done.size_e8 and Code.WRITTEN_OFF in outcome.kernel.notes:
            row.ended, row.closed_ms = Ended.WRITTEN_OFF, when_ms

    @staticmethod
    def _note_intent(row: TradeRow, intent: KernelIntent) -> None:
        if intent.command is KernelCommandType.ENTER:
            row.asked_ms, row.why_in = intent.received_ms, intent.reason
            row.leverage = intent.leverage
        elif (
            intent.command is KernelCommandType.EXIT
            or intent.command is KernelCommandType.WRITE_OFF
        ):
            row.why_out = intent.reason
        elif intent.command is KernelCommandType.RECONCILE and not row.opened_ms:
            row.opened_ms, row.why_in = intent.received_ms, intent.reason

    def _fund(self, event: VenueEvent, seq: int) -> None:
        """Whose a payment is: the trade that held the symbol then."""
        at_ms, amount = event.exchange_ms or event.received_ms, event.amount or 0
        holders = [
            row
            for row in self._rows_of(event.asset)
            if row.opened_ms
            and row.opened_ms <= at_ms + _NEAR_MS
            and (not row.closed_ms or at_ms <= row.closed_ms + _NEAR_MS)
        ]
        for row in holders:
            self._refresh(row)
        # What is flat by now was whole then: funding is booked within seconds.
        held = [max(0, row.entered_e8 - row.exited_e8) or row.entered_e8 for row in holders]
        total, left = sum(held), amount
        for number, row in enumerate(holders):
            last = number == len(holders) - 1
            part = left if last or not total else amount * held[number] // total
            left -= part
            row.funding += part
            self._changed[row.trade_no] = row
            self._funding.append(Funding(seq, event.asset, at_ms, part, row.trade_no))
        if not holders:
            self._funding.append(Funding(seq, event.asset, at_ms, amount, 0))

    def _rows_of(self, asset: str) -> list[TradeRow]:
        return [row for row in self.open.values() if row.asset == asset]

    # -- figures -----------------------------------------------------------------------------------

    def _refresh(self, row: TradeRow) -> None:
        """Read the kernel's figures of a trade."""
        known = self._kernel.trade_of(row.trade_no)
        if known is None:
            return
        row.entered_e8, row.exited_e8 = known.entered_e8, known.exited_e8
        row.gross, row.fees = known.realized + known.trueup, known.fees
        row.source = known.pnl_source
        for role in OrderRole:
            orders = [o for o in self._kernel.orders_of(row.trade_no) if o.role is role]
            priced, cost = sum(o.priced_e8 for o in orders), sum(o.cost for o in orders)
            if role is OrderRole.ENTRY and known.entry_cost:
                cost = known.entry_cost
                priced = priced or known.entered_e8
            price = cost // priced if priced else 0
            if price:
                name = "entry_price_e10" if role is OrderRole.ENTRY else "exit_price_e10"
                setattr(row, name, price)
        if not known.entered_e8:
            row.ended = Ended.UNFILLED if not self._is_working(row) else Ended.OPEN
        elif not row.closed_ms:
            row.ended = Ended.OPEN

    def _is_working(self, row: TradeRow) -> bool:
        return any(slot.trade_no == row.trade_no for slot in self._kernel.active_slots())

    # -- out ---------------------------------------------------------------------------------------

    def changed(self) -> tuple[list[TradeRow], list[Funding]]:
        """Rows and payments that are new or changed since this was asked last."""
        for (trade_no, kind), count in self._quiet.items():
            row = self.open.get(trade_no)
            if row is not None:
                name = _kind_name(kind)
                row.quiet[name] = row.quiet.get(name, 0) + count
                self._changed[trade_no] = row
        rows, funding = list(self._changed.values()), self._funding
        for row in rows:
            self._refresh(row)
        self._changed, self._funding, self._quiet = {}, [], Counter()
        self._forget()
        return rows, funding

    def _forget(self) -> None:
        """Rows whose trade the kernel has given up cannot change any more."""
        known = {trade.trade_no for trade in self._kernel.trades()}
        for trade_no in [no for no in self.open if no not in known]:
            del self.open[trade_no]


def _how(
    record: KernelIntent | VenueEvent, notes: tuple[KernelDiagnosticCode, ...], external: bool
) -> Ended:
    if Code.NETTED in notes:
        return Ended.NETTED
    if not external:
        return Ended.EXIT
    return (
        _FORCED.get(record.kind, Ended.EXTERNAL) if isinstance(record, VenueEvent) else Ended.EXIT
    )


def _kind_name(kind: int) -> str:
    if kind < min(KernelEventKind):
        return KernelCommandType(kind).name
    return KernelEventKind(kind).name
