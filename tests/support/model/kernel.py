"""The kernel's rules once more: slow, plain Python, as one would explain them.

It is the second opinion that tests/kernel/test_kernel_model.py holds the compiled kernel to.
Nothing here is summed up step by step: a trade's figures are worked out anew from its orders, the
ledger's from all trades.  Texts are ids, dicts and lists are tables, money is Python's integers;
tables that run full are not modelled, apart from the slots and the held events.

One file per idea, each a layer on the one before: orders (levels), trades (figures, slots), tables
(finding, booking), slots (what follows from facts), events, positions, commands (what inputs do),
views (what is shown).  Here are the entrance, balances and time.
"""

from __future__ import annotations

from typing import Final

from dita.contracts import (
    BalanceReason,
    EffectKind,
    EvidenceSource,
    KernelIntent,
    OrderRole,
    OrderType,
    RiskLimit,
    VenueEvent,
)
from dita.transitions import TRANSITIONS
from support.model.commands import CommandRules
from support.model.orders import Code, Kind, Order, Refused, Status, in_range, prefixes_in_range
from support.model.tables import Effect, ModelOutcome, Record, TableBroken
from support.model.trades import Anchor, Flow, Slot, Stage
from support.model.views import ACCOUNT_FRAMES, Views, check_event, check_intent

__all__ = ["Effect", "KernelModel", "ModelOutcome", "Record", "TableBroken"]

#: Of several notes the first one here names the outcome.
LOUDEST_FIRST: Final = (
    Code.QUARANTINED,
    Code.OVERFILL,
    Code.FILL_WITHDRAWN,
    Code.ORDER_LOST,
    Code.WRITTEN_OFF,
    Code.EXTERNAL_CLOSE,
    Code.NETTED,
    Code.WALLET_EMPTY,
    Code.RECOVERY_SLOT,
    Code.FIGURE_DEVIATES,
    Code.POSITION_DISAGREES,
    Code.FOREIGN_EXCESS,
    Code.EXIT_DEFERRED,
    Code.SYMBOL_SUSPENDED,
    Code.DUST,
    Code.RATE_LIMITED,
    Code.VENUE_REJECTED,
    Code.ORDER_UNKNOWN,
    Code.CANCEL_REJECTED,
    Code.REALIZED_SKIPPED_NO_PRICE,
    Code.ENTRY_BASIS_MISSING,
    Code.EXIT_LATCHED,
    Code.EVENT_HELD,
    Code.REALIZED_SETTLED,
    Code.HELD_RELEASED,
    Code.ROUTED_BY_STATE,
)


class KernelModel(CommandRules, Views):
    """The whole kernel.  ``apply`` answers one record; the views compare with the real one."""

    def apply(self, record: Record) -> ModelOutcome:
        """Apply one input.  TableBroken when the transition table forbids what the rules do."""
        self._answer = answer = ModelOutcome()
        self._effects = []
        try:
            if isinstance(record, KernelIntent):
                check_intent(record, len(self.slots))
                self._command(record)
            else:
                check_event(record, len(self.slots), self.clients)
                self._event(record)
        except Refused as refused:
            assert not answer.accepted, "a refusal after the first write"
            return ModelOutcome(
                code=refused.code,
                what=refused.what,
                event_seq=self.event_seq,
                effects=tuple(self._effects),
            )
        assert answer.accepted
        self._watch_the_day()
        if isinstance(record, KernelIntent) and record.asset:
            self.symbol_texts[_plain(record.asset)] = record.asset  # the newest spelling
        answer.code = next((code for code in LOUDEST_FIRST if code in answer.notes), Code.OK)
        answer.event_seq = self.event_seq
        answer.effects = tuple(self._effects)
        return answer

    def _event(self, e: VenueEvent) -> None:
        if e.kind is Kind.ACCOUNT_UPDATE:
            self._balance(e)
        elif e.kind is Kind.FOREIGN_FLOW:
            self._foreign_flow(e)
        elif e.kind is Kind.INCOME_READ:
            self._income_read(e)
        elif e.kind in ACCOUNT_FRAMES:
            self._account_flow(e)
        elif e.kind is Kind.TICK:
            self._tick(e)
        elif e.kind is Kind.POSITION:
            self._position(e)
        else:
            self._order_event(e)

    # -- balances ----------------------------------------------------------------------------------

    def _balance(self, e: VenueEvent) -> None:
        """A positive balance that is not older than the last one anchors; it never moves K."""
        if e.amount is None:
            raise Refused(Code.INVALID_EVENT, "money")
        if self._too_far(e):
            raise Refused(Code.INVALID_EVENT, "time")
        when = self._time_of(e)
        if self.anchor is not None and when < self.anchor.ms:
            raise Refused(Code.OLD_ANCHOR)
        asked = e.source is not EvidenceSource.STREAM
        if e.amount <= 0:
            if not asked:
                self._effects.append(Effect(EffectKind.QUERY_BALANCE))
                raise Refused(Code.ZERO_WALLET)
            self._accept(e)
            self.frozen.add("wallet")
            self._note(Code.WALLET_EMPTY)
            self._cancel_entries()
            return
        anchor = self._anchor_of(e, when, asked)
        if not self.seeded:
            self._seed_with(e, anchor)
        self._accept(e)
        self.anchor = anchor
        self.frozen.discard("wallet")
        self.flows = [flow for flow in self.flows if not _holds(anchor, flow)]
        self._track_peak()

    def _anchor_of(self, e: VenueEvent, when: int, asked: bool) -> Anchor:
        assert e.amount is not None
        margin = e.available_margin
        if not asked and not margin and self.anchor is not None:
            margin = self.anchor.available_margin
        after_fills = 0 < e.requested_ms >= self.last_fill_ms
        return Anchor(
            wallet=e.amount,
            available_margin=margin,
            ms=when,
            from_ms=e.requested_ms if asked and 0 < e.requested_ms < when else when,
            received_ms=e.received_ms,
            reason=e.balance_reason,
            quiet=asked and after_fills and not self._in_flight(),
        )

    def _seed_with(self, e: VenueEvent, anchor: Anchor) -> None:
        """The first balance makes K what the wallet is with the flows that came after it."""
        assert e.amount is not None
        later = [f.amount for f in self.flows if anchor.place(f.exchange_ms) == "after"]
        known = (*self._k_parts(), *(-amount for amount in later))
        if not prefixes_in_range(known):
            raise Refused(Code.ARITHMETIC_LIMIT)
        missing = e.amount - sum(known)
        in_range(missing, self.seed + missing)
        self.seed += missing
        self.seeded = True
        self.income_from_ms = self.income_read_ms = anchor.ms

    def _in_flight(self) -> bool:
        """Some own order's effect on the balance may be on its way; a resting quote's is not."""
        return any(
            not order.ended
            and (order.status is not Status.WORKING or order.kind is not OrderType.LIMIT)
            for slot in self._used()
            for order in slot.trade.orders
        )

    def _account_flow(self, e: VenueEvent) -> None:
        """Funding or a transfer; each has an identity and counts once."""
        if e.amount is None:
            raise Refused(Code.INVALID_EVENT, "money")
        if not e.event_id:
            raise Refused(Code.INVALID_EVENT, "intent_id")
        if self._was_seen(e.event_id):
            raise Refused(Code.DUPLICATE_EVENT)
        funding = e.kind is Kind.FUNDING_FEE
        in_range((self.funding if funding else self.transfers) + e.amount)
        in_range(self.bridged + e.amount, self.ambiguous + e.amount)
        self._accept(e)
        if funding:
            self.funding += e.amount
        else:
            self.transfers += e.amount
        self._remember(e.event_id)
        self.flow_total += 1
        self._flow(self._time_of(e), e.amount, False)
        self._track_peak()

    def _foreign_flow(self, e: VenueEvent) -> None:
        """What others did: a named part of the drift, no part of our own sums."""
        if e.amount is None:
            raise Refused(Code.INVALID_EVENT, "money")
        if not e.event_id:
            raise Refused(Code.INVALID_EVENT, "intent_id")
        if self._was_seen(e.event_id):
            raise Refused(Code.DUPLICATE_EVENT)
        in_range(self.foreign_sum + e.amount)
        self._accept(e)
        self.foreign_sum += e.amount
        if e.balance_reason in (BalanceReason.FUNDING, BalanceReason.UNKNOWN):
            self.foreign_funding += e.amount
        elif e.balance_reason is BalanceReason.TRANSFER:
            self.foreign_transfers += e.amount
        self._remember(e.event_id)
        self.flow_total += 1

    def _income_read(self, e: VenueEvent) -> None:
        """The history is read up to a time."""
        if not e.exchange_ms or self._too_far(e):
            raise Refused(Code.INVALID_EVENT, "time")
        if e.exchange_ms <= self.income_read_ms:
            raise Refused(Code.DUPLICATE_EVENT)
        self._accept(e)
        self.income_read_ms = e.exchange_ms

    # -- time --------------------------------------------------------------------------------------

    def _tick(self, e: VenueEvent) -> None:
        """What is due: orders past their time, exits whose wait is over, records that waited."""
        self._accept(e)
        if e.exchange_ms:
            self.offset_ms = e.exchange_ms - e.received_ms
        told = self._answer
        self._answer = ModelOutcome(accepted=True, notes=told.notes)  # a tick is about no one slot
        for slot in self._used():
            if self.slots[slot.index] is not slot:
                continue
            before = slot.state
            for order in (slot.entry_order, slot.exit_order):
                self._hurry(slot, order)
            self._settle_slot(slot.index)
            after = slot.state if self.slots[slot.index] is slot else Stage.IDLE
            self._must_follow(TRANSITIONS[before, Kind.TICK], before, after)
        self._answer = told
        for trade in self.trades_by_no:
            if trade.slot is None and not trade.closed:
                self._feed_sizer(trade)
                self._close_record(trade)

    def _hurry(self, slot: Slot, order: Order | None) -> None:
        if order is None or order.ended or not 0 < order.deadline_ms <= self.now_ms:
            return
        order.deadline_ms = 0
        self._ask(EffectKind.QUERY_ORDER, slot.index, order)
        if order.role is OrderRole.ENTRY or order.kind is not OrderType.MARKET:
            self._ask(EffectKind.CANCEL, slot.index, order)

    def _watch_the_day(self) -> None:
        """The day's loss holds entries until somebody resumes."""
        limit = self.limits[RiskLimit.DAY_LOSS]
        if limit and self.day_base - self.result() >= limit and "day loss" not in self.frozen:
            self.frozen.add("day loss")
            self._cancel_entries()

    def judge(self, pending: bool, unexplained: bool) -> tuple[bool, tuple[Effect, ...]]:
        """The account's word on the drift; an unexplained one takes back working entries."""
        was = "drift" in self.frozen
        self._effects = []
        self.frozen -= {"drift", "pending"}
        if pending:
            self.frozen.add("pending")
        if unexplained:
            self.frozen.add("drift")
            if not was:
                self._cancel_entries()
        return was != unexplained, tuple(self._effects)


def _holds(anchor: Anchor, flow: Flow) -> bool:
    """A balance that was asked for after all our fills holds them, however near they are."""
    if anchor.quiet and flow.is_fill and flow.exchange_ms <= anchor.ms:
        return True
    return anchor.place(flow.exchange_ms) == "held"


def _plain(symbol: str) -> str:
    return symbol.replace("-", "").upper()
