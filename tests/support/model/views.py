"""What the model shows, in the records of the real kernel; and which records are well formed.

Knows the contracts' spelling of a state, and no rule that changes one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dita.contracts import (
    ControlAction,
    KernelCommandType,
    KernelEventKind,
    KernelIntent,
    OrderRole,
    OrderSide,
    TradeRecord,
    TradeSide,
    TradeSlot,
    VenueEvent,
    VenueOrder,
)
from dita.identity import asset_key_of
from support.model.orders import INT64_MAX, MONEY_MAX, Code, Order, Refused, share
from support.model.tables import Tables
from support.model.trades import Slot, Trade

Kind = KernelEventKind

TIME_MAX: Final = 2**53
EXPECTED_MS: Final = 120_000
WEEK_MS: Final = 7 * 24 * 3600 * 1000
FREEZE_BITS: Final = {
    "hold": 1,
    "drain": 2,
    "drift": 4,
    "wallet": 8,
    "recovery": 16,
    "pending": 32,
    "not ready": 64,
    "day loss": 128,
    "quarantine": 256,
}
ACCOUNT_FRAMES: Final = (
    Kind.ACCOUNT_UPDATE,
    Kind.FUNDING_FEE,
    Kind.TRANSFER,
    Kind.FOREIGN_FLOW,
)


class Views(Tables):
    """The state as the kernel shows it."""

    def view_order(self, order: Order | None) -> VenueOrder | None:
        """An order as the kernel shows it."""
        if order is None:
            return None
        level = order.level
        return VenueOrder(
            order_no=order.order_no,
            client_order_id=self.client_id(order),
            venue_order_id=order.venue_id,
            trade_no=order.trade.trade_no,
            slot_id=-1 if order.trade.slot is None else order.trade.slot,
            role=order.role,
            side=OrderSide(order.side),
            order_type=order.kind,
            status=order.status,
            final=order.final,
            external=order.external,
            child=order.child,
            intended_e8=order.intended,
            filled_e8=level.filled,
            priced_e8=level.priced,
            cost=level.cost,
            cost_rank=level.cost_rank,
            fee=level.fee,
            fee_rank=level.fee_rank,
            realized=level.realized,
            realized_rank=level.realized_rank,
            realized_quantity_e8=level.figure_quantity,
            limit_price_e10=order.limit_price,
        )

    def view_slot(self, slot: Slot) -> TradeSlot:
        """A slot in use as the kernel shows it."""
        trade, f = slot.trade, slot.trade.figures
        unrealized = 0
        if slot.mark and f.size > 0 and f.entry_priced == f.entered:
            basis = f.entry_cost * f.size // f.entered
            unrealized = trade.side * (slot.mark * f.size - basis)
        return TradeSlot(
            slot_id=slot.index,
            state=slot.state,
            closed=False,
            trade_no=trade.trade_no,
            trade_id=trade.terms.trade_id,
            asset=self.symbol_texts[trade.asset],
            side=TradeSide(trade.side),
            leverage=trade.terms.leverage,
            size_e8=f.size,
            entered_e8=f.entered,
            entry_priced_e8=f.entry_priced,
            entry_cost=f.entry_cost,
            exited_e8=f.exited,
            realized=f.realized,
            trueup=f.trueup,
            fees=f.fees,
            unrealized=unrealized,
            mark_price_e10=slot.mark,
            active_leg_index=slot.leg,
            exit_leg_ratios_e9=trade.legs,
            exit_latched=slot.latched,
            exit_goal_e8=min(slot.goal, f.entered) if slot.latched else 0,
            dust=slot.dust,
            active_entry_order=self.view_order(slot.entry_order),
            active_exit_order=self.view_order(slot.exit_order),
            pnl_source=pnl_source(trade),
        )

    def view_trade(self, trade: Trade) -> TradeRecord:
        """A trade's figures as the kernel shows them."""
        f = trade.figures
        return TradeRecord(
            trade_no=trade.trade_no,
            trade_id=trade.terms.trade_id,
            asset=self.symbol_texts[trade.asset],
            side=TradeSide(trade.side),
            entered_e8=f.entered,
            entry_cost=f.entry_cost,
            exited_e8=f.exited,
            realized=f.realized,
            trueup=f.trueup,
            fees=f.fees,
            pnl_source=pnl_source(trade),
            closed=trade.closed,
        )

    def view_ledger(self) -> tuple[object, ...]:
        """The money figures, in the order of ``dita.kernel.Ledger``."""
        a = self.anchor
        return (
            self.seed,
            self.realized,
            self.trueup,
            self.fees,
            self.funding,
            self.transfers,
            self.adjustments,
            a.wallet if a else 0,
            a.available_margin if a else 0,
            self.bridged,
            self.ambiguous,
            self.fees_estimated,
            a.ms if a else 0,
            a.received_ms if a else 0,
            sum(FREEZE_BITS[cause] for cause in self.frozen),
            self.seeded,
            a is not None,
            a is not None and a.quiet,
            int(a.reason) if a else 0,
            len(self._placed("near")) if a else 0,
            len(self._placed("after")) if a else 0,
            sum(trade.figures.unsettled for trade in self.trades_by_no if not trade.closed),
            self.routed_by_state,
            self.flow_total,
            self.peak,
            self.foreign_sum,
            self.income_from_ms,
            self.income_read_ms,
            self.foreign_funding,
            self.foreign_transfers,
            self.offset_ms,
            self.clamped,
        )

    def view_exposure(self) -> tuple[int, int, int]:
        """(positions, their notional at the mark or the basis, unrealized)."""
        values, gains = [], []
        for slot in self._used():
            f = slot.trade.figures
            if f.size <= 0:
                continue
            known = f.entry_priced == f.entered
            basis = share(f.entry_cost, f.size, f.entered) if known else 0
            values.append(slot.mark * f.size if slot.mark else basis)
            if slot.mark and basis:
                gains.append(slot.trade.side * (values[-1] - basis))
        return len(values), sum(values), sum(gains)

    def view_errors(self) -> dict[int, int]:
        """Rejections by code, as the venue counts them now."""
        counts = {code: len(self._times_of(code, self.now_ms)) for _, code in self.errors}
        return {code: count for code, count in counts.items() if count}

    def view_foreign(self) -> list[tuple[int, int, int]]:
        """What others hold, by place."""
        return sorted(
            (asset_key_of(asset) ^ short, place.quantity, place.as_of_ms)
            for (asset, short), place in self.foreign.items()
            if place.quantity
        )

    # -- bounds on what a drift may still be explained by ------------------------------------------

    def _awaited(self, told_ms: int) -> Iterable[Order]:
        """Orders of open records whose rows need not have been read yet."""
        for trade in self.trades_by_no:
            if not trade.closed:
                yield from (o for o in trade.orders if o.last_fill_ms + EXPECTED_MS > told_ms)

    def view_estimated_fees(self, told_ms: int) -> int:
        """Their fees that are still our estimate."""
        return sum(o.level.fee for o in self._awaited(told_ms) if o.level.fee_rank == 1)

    def view_unsettled_bound(self, told_ms: int) -> int:
        """How far the result of what went out without a price can be from nothing."""
        total = 0
        for order in self._awaited(told_ms):
            trade, level = order.trade, order.level
            f, missing = trade.figures, level.filled - level.priced
            if order.role is not OrderRole.EXIT or level.known or not 0 < missing <= f.entered:
                continue
            basis = share(f.entry_cost, missing, f.entered)
            total += basis // 10
            slot = self._slot_at(trade)
            if slot is not None and slot.mark and f.entry_priced == f.entered:
                total += abs(slot.mark * missing - basis)
        return total


def pnl_source(trade: Trade) -> str:
    """Whose figures the PnL rests on."""
    if trade.written_off:
        return "operator"
    f = trade.figures
    return "exchange" if f.exited and not f.pending else "kernel_estimate"


# -- is it well formed? ----------------------------------------------------------------------------


def _text(text: str) -> bool:
    return len(text) <= 64 and text.isascii() and (text == "" or text.isprintable())


def check_border(
    malformed: Code, texts: Iterable[str], numbers: Iterable[int], money: Iterable[int | None]
) -> None:
    """What no packed record can hold."""
    if (
        not all(_text(text) for text in texts)
        or not all(-INT64_MAX - 1 <= number <= INT64_MAX for number in numbers)
        or not all(amount is None or abs(amount) <= MONEY_MAX for amount in money)
    ):
        raise Refused(malformed, "?")


def check_ranges(malformed: Code, checks: Iterable[tuple[bool, str]]) -> None:
    """Refuse the first field that is out of its range."""
    for good, what in checks:
        if not good:
            raise Refused(Code.INVALID_SLOT if what == "slot_id" else malformed, what)


def check_intent(i: KernelIntent, slots: int) -> None:
    """The ranges of a command's fields."""
    rules = i.contract
    numbers = [i.received_ms, i.quantity_e8, i.reference_price_e10, i.limit_price_e10]
    quarantine = i.action is ControlAction.QUARANTINE and i.command is KernelCommandType.CONTROL
    expires_ms = i.quarantined_seq if quarantine else i.expires_ms
    numbers += [expires_ms, i.working_ms, i.deadline_ms]
    if rules is not None:
        numbers += [rules.tick_e10, rules.step_e8, rules.min_quantity_e8]
    narrow = [i.rules_version if quarantine else i.leverage, *i.exit_leg_ratios_e9]
    narrow += [] if rules is None else [rules.taker_fee_e9, rules.maker_fee_e9]
    fits = 1 <= len(i.exit_leg_ratios_e9) <= 8 and -1 <= i.slot_id <= 32767
    if not fits or not all(-(2**31) <= number < 2**31 for number in narrow):
        raise Refused(Code.INVALID_INTENT, "?")
    texts = (i.intent_id, i.trade_id, i.asset, i.venue_order_id)
    # An amount goes the same way as what was realized before: a command has one or the other.
    amount = i.carried_realized if i.amount is None else i.amount
    if i.amount is not None and i.command is not KernelCommandType.CONTROL:
        raise Refused(Code.INVALID_INTENT, "?")
    money = (i.entry_cost, amount, None if rules is None else rules.min_notional)
    check_border(Code.INVALID_INTENT, texts, numbers, money)
    check_ranges(
        Code.INVALID_INTENT,
        (
            (i.slot_id < slots, "slot_id"),
            (0 < i.received_ms < TIME_MAX, "time"),
            (0 <= i.working_ms <= WEEK_MS and 0 <= expires_ms < TIME_MAX, "wait"),
            (0 <= i.deadline_ms < TIME_MAX, "wait"),
            (i.quantity_e8 >= 0, "quantity_e8"),
            (i.reference_price_e10 >= 0, "price_e10"),
            (i.limit_price_e10 >= 0, "limit_price_e10"),
            (i.entry_cost >= 0, "money"),
        ),
    )


def check_event(e: VenueEvent, slots: int, own_clients: dict[str, Order]) -> None:
    """The ranges of an event's fields."""
    numbers = [e.received_ms, e.exchange_ms, e.quantity_e8, e.price_e10, e.last_quantity_e8]
    numbers += [e.last_price_e10, e.retry_after_ms, e.requested_ms]
    if not -1 <= e.slot_id <= 32767 or not -(2**31) <= e.error_code < 2**31:
        raise Refused(Code.INVALID_EVENT, "?")
    client = "" if e.client_order_id in own_clients else e.client_order_id
    account = e.kind in ACCOUNT_FRAMES
    money = [e.cost, e.fee, *((e.amount, e.available_margin) if account else (e.realized,))]
    texts = (e.event_id, e.asset, e.venue_order_id, client)
    check_border(Code.INVALID_EVENT, texts, numbers, money)
    check_ranges(
        Code.INVALID_EVENT,
        (
            (e.slot_id < slots, "slot_id"),
            (0 < e.received_ms < TIME_MAX and 0 <= e.exchange_ms < TIME_MAX, "time"),
            (0 <= e.retry_after_ms <= WEEK_MS and 0 <= e.requested_ms < TIME_MAX, "wait"),
            (e.quantity_e8 >= 0 and e.last_quantity_e8 >= 0, "quantity_e8"),
            (e.price_e10 >= 0, "price_e10"),
            (e.last_price_e10 >= 0, "limit_price_e10"),
            (e.cost is None or e.cost >= 0, "money"),
        ),
    )
