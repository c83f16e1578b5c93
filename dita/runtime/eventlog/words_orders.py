"""Orders, fills and trades in words: what was sent, what came of it, what it did to the trade."""

from __future__ import annotations

from typing import Final

from dita.contracts import (
    Effect,
    EffectKind,
    KernelDiagnosticCode,
    KernelEventKind,
    OrderRole,
    OrderType,
    TradeSide,
    TradeStage,
    VenueEvent,
    VenueOrder,
)
from dita.display import amount, duration, price, quantity
from dita.runtime.eventlog.event import EventName, Level
from dita.runtime.eventlog.page import DID, ROLES, Page
from dita.units import MONEY_ONE, format_money, format_price, format_quantity

Kind, Code = KernelEventKind, KernelDiagnosticCode
CENT: Final = MONEY_ONE // 100
STALE: Final = TradeStage.STALE_STATE_RECONCILING
OVER: Final = (TradeStage.IDLE, TradeStage.CLOSED)

# -- what is sent ----------------------------------------------------------------------------------


def tell_effects(page: Page) -> None:
    """Orders and cancels that go out with this input, and records that are complete."""
    for effect in page.outcome.effects:
        if effect.kind is EffectKind.SUBMIT:
            _order_out(page, effect)
        elif effect.kind is EffectKind.CANCEL:
            text = f"asked for, {_of(page, effect)}"
            page.add_effect(EventName.CANCEL, Level.INFO, text, effect, **_ids(effect))
        elif effect.kind is EffectKind.CLOSE_TRADE:
            _done(page, effect)


def _order_out(page: Page, effect: Effect) -> None:
    limit = f" {price(effect.price_e10)}" if effect.order_type is not OrderType.MARKET else ""
    kind = effect.order_type.name.replace("_", " ")
    text = (
        f"{effect.side.name} {quantity(effect.quantity_e8)} {effect.asset} {kind}{limit},"
        f" {_of(page, effect)}"
    )
    page.add_effect(
        EventName.ORDER, Level.INFO, text, effect,
        side=effect.side.name,
        quantity=format_quantity(effect.quantity_e8),
        **_ids(effect),
    )  # fmt: skip


def _ids(effect: Effect) -> dict[str, str]:
    ids = {"client_order_id": effect.client_order_id, "order": effect.venue_order_id}
    return {name: value for name, value in ids.items() if value}


def _of(page: Page, effect: Effect) -> str:
    order = page.kernel.order(effect.order_no)
    role = ROLES[order.role] if order is not None else "order"
    return f"{role} of {effect.trade_id or f'trade #{effect.trade_no}'}"


# -- what comes back -------------------------------------------------------------------------------


def tell_order_event(page: Page, e: VenueEvent) -> None:
    """An accepted event about an order."""
    order, done = page.order, page.done
    if order is None or done is None:
        return
    if done.quantity_delta_e8:
        _fill(page, e, order)
    teller = _ENDS.get(e.kind)
    if teller is not None:
        teller(page, e, order)
    elif not done.quantity_delta_e8:
        _figures(page, order)


def _fill(page: Page, e: VenueEvent, order: VenueOrder) -> None:
    done = page.done
    assert done is not None
    delta_e8 = abs(done.quantity_delta_e8)
    known = page.trade
    at = _price_of(e, order, delta_e8)
    exits = order.role is OrderRole.EXIT
    money = f": {amount(done.realized_delta, sign=True)}" if exits else ""
    fee = f", fee {amount(done.fee_delta)}" if done.fee_delta else ""
    asset = known.asset if known is not None else e.asset
    what = f"{DID[order.side]} {quantity(delta_e8)} {asset} {at}"
    fields = {
        "side": order.side.name,
        "quantity": format_quantity(delta_e8),
        "filled": format_quantity(order.filled_e8),
        "price": format_price(_piece_price_e10(e, order, delta_e8)),
        "realized": format_money(done.realized_delta),
        "fee": format_money(done.fee_delta),
        "order": order.venue_order_id,
    }
    if order.external:
        name = _FORCED.get(e.kind, EventName.EXTERNAL_CLOSE)
        level = Level.CRITICAL if e.kind in _FORCED else Level.ERROR
        text = f"{_BY[name]}: {what} of {_trade_words(page)}{money}{fee}{_left(page)}"
        page.add(name, level, text, **fields)
        return
    of = quantity(order.intended_e8) if order.intended_e8 else "?"
    text = f"{what} ({quantity(order.filled_e8)} of {of}), {page.whose(order)}{money}{fee}"
    page.add(EventName.FILL, Level.INFO, text, **fields)


_FORCED: Final = {Kind.LIQUIDATION: EventName.LIQUIDATION, Kind.ADL: EventName.ADL}
_BY: Final = {
    EventName.LIQUIDATION: "the exchange liquidated",
    EventName.ADL: "the exchange deleveraged",
    EventName.EXTERNAL_CLOSE: "closed from outside, by hand or by another system",
}


def _left(page: Page) -> str:
    done = page.done
    assert done is not None
    return f"; {quantity(done.size_e8)} left" if done.size_e8 else "; nothing left"


def _trade_words(page: Page) -> str:
    trade = page.trade
    return f"{trade.trade_id} ({trade.side.name})" if trade is not None else "a trade of ours"


def _piece_price_e10(e: VenueEvent, order: VenueOrder, delta_e8: int) -> int:
    if e.last_price_e10 and e.last_quantity_e8 == delta_e8:
        return e.last_price_e10
    if e.increment or order.filled_e8 == delta_e8:
        return e.price_e10 or order.average_price_e10
    return order.average_price_e10


def _price_of(e: VenueEvent, order: VenueOrder, delta_e8: int) -> str:
    piece = _piece_price_e10(e, order, delta_e8)
    if not piece or order.priced_e8 < order.filled_e8:
        return "at a price that is not known yet"
    average = order.filled_e8 != delta_e8 and piece == order.average_price_e10
    return f"at {price(piece)}{' on average' if average else ''}"


def _ack(page: Page, e: VenueEvent, order: VenueOrder) -> None:
    if not page.done or not page.done.quantity_delta_e8:
        page.add(EventName.ACK, Level.DEBUG, f"the exchange has it, {page.whose(order)}",
                 order=e.venue_order_id)  # fmt: skip


def _rejected(page: Page, e: VenueEvent, order: VenueOrder) -> None:
    """An exit that is refused is an error: somebody wants out and is not."""
    level = Level.ERROR if order.role is OrderRole.EXIT else Level.WARNING
    fields = {"client_order_id": order.client_order_id, "reject": e.reject.name}
    if e.error_code or not e.message:
        words = venue_words(e)
        text = f"by the exchange, {_order_words(order)}, {page.whose(order)}: {words}"
        fields |= {"error_code": str(e.error_code), "message": e.message}
        page.add(EventName.REJECTED, level, text, **fields)
    else:
        text = f"{_order_words(order)}, {page.whose(order)}: {e.message}"
        page.add(EventName.NOT_SENT, level, text, message=e.message, **fields)


def venue_words(e: VenueEvent) -> str:
    """The exchange's own code and words, or what is known instead."""
    if e.error_code:
        return f"code {e.error_code} {e.message}".rstrip()
    return e.message or f"no words ({e.reject.name.lower().replace('_', ' ')})"


def _order_words(order: VenueOrder) -> str:
    return f"{order.side.name} {quantity(order.intended_e8)}"


def _limited(page: Page, e: VenueEvent, order: VenueOrder) -> None:
    wait = f"for {duration(e.retry_after_ms)}" if e.retry_after_ms else "for a few minutes"
    words = f": {venue_words(e)}" if e.error_code or e.message else ""
    text = f"not taken, {page.whose(order)}: the exchange limits us {wait}{words}"
    page.add(EventName.RATE_LIMITED, Level.WARNING, text, retry_after_ms=e.retry_after_ms)


def _unknown(page: Page, e: VenueEvent, order: VenueOrder) -> None:
    words = f" ({venue_words(e)})" if e.error_code or e.message else ""
    text = (
        f"no certain answer, {_order_words(order)}, {page.whose(order)}{words}: it counts as live"
        " until it is found or proven absent"
    )
    page.add(EventName.UNKNOWN, Level.WARNING, text, client_order_id=order.client_order_id)


def _absent(page: Page, e: VenueEvent, order: VenueOrder) -> None:
    text = f"proven: the exchange never had it, {_order_words(order)}, {page.whose(order)}"
    page.add(EventName.ABSENT, Level.WARNING, text, client_order_id=order.client_order_id)


def _cancel_refused(page: Page, e: VenueEvent, order: VenueOrder) -> None:
    words = f": {venue_words(e)}" if e.error_code or e.message else ""
    text = f"by the exchange, {page.whose(order)}{words}; the order is asked about"
    page.add(EventName.CANCEL_REFUSED, Level.WARNING, text, message=e.message)


def _ended(page: Page, e: VenueEvent, order: VenueOrder) -> None:
    how = "expired" if e.kind is Kind.ORDER_EXPIRED else "taken back"
    of = f"{quantity(order.filled_e8)} of {quantity(order.intended_e8)} filled"
    text = f"{how}, {page.whose(order)}: {of}"
    page.add(EventName.ORDER_END, Level.INFO, text, filled=format_quantity(order.filled_e8))


_ENDS: Final = {
    Kind.ORDER_ACK: _ack,
    Kind.ORDER_REJECT: _rejected,
    Kind.RATE_LIMITED: _limited,
    Kind.ORDER_UNKNOWN: _unknown,
    Kind.ORDER_ABSENT: _absent,
    Kind.CANCEL_REJECT: _cancel_refused,
    Kind.CANCEL_ACK: _ended,
    Kind.ORDER_EXPIRED: _ended,
}


def _figures(page: Page, order: VenueOrder) -> None:
    """The exchange's own figures of an order: loud when they move more than a cent."""
    done = page.done
    assert done is not None
    moved = (done.realized_delta, done.trueup_delta, done.fee_delta)
    if not any(moved):
        return
    parts = []
    if done.realized_delta:
        parts.append(f"realized {amount(done.realized_delta, sign=True)}")
    if done.trueup_delta:
        parts.append(f"corrected by {amount(done.trueup_delta, sign=True)}")
    if done.fee_delta:
        parts.append(f"fee {amount(done.fee_delta, sign=True)}")
    loud = abs(done.realized_delta) >= CENT or abs(done.trueup_delta) >= CENT
    page.add(
        EventName.FIGURES,
        Level.INFO if loud else Level.DEBUG,
        f"of the exchange, {page.whose(order)}: {', '.join(parts)}",
        realized=format_money(done.realized_delta),
        trueup=format_money(done.trueup_delta),
        fee=format_money(done.fee_delta),
    )


# -- what it did to the trade ----------------------------------------------------------------------

_ANOMALIES: Final = {
    Code.OVERFILL: (Level.ERROR, "more was filled than was ordered"),
    Code.DUST: (
        Level.WARNING,
        "what is left is below the exchange's minimum: it goes with the next exit, or by hand",
    ),
    Code.EXIT_LATCHED: (Level.WARNING, "the exit waits until the position is certain"),
    Code.EXIT_DEFERRED: (Level.WARNING, "the exit waits: it may not be sent now"),
    Code.ROUTED_BY_STATE: (Level.WARNING, "a fill without ids was taken for this trade's order"),
    Code.RECOVERY_SLOT: (
        Level.ERROR,
        "a fill came after the trade had left its slot: it is held in a slot of its own and exited",
    ),
    Code.REALIZED_SKIPPED_NO_PRICE: (
        Level.WARNING,
        "a part has no price: it books nothing until the exchange's figure comes",
    ),
    Code.ENTRY_BASIS_MISSING: (
        Level.WARNING,
        "the entry's price is not known: exits book nothing until it is",
    ),
    Code.REALIZED_SETTLED: (Level.INFO, "settled by the exchange's own figure"),
    Code.FIGURE_DEVIATES: (Level.ERROR, "the exchange's figure is not ours"),
    Code.FOREIGN_EXCESS: (Level.ERROR, "a part of that order was not ours"),
    Code.SYMBOL_SUSPENDED: (
        Level.ERROR,
        "the exchange does not trade the symbol now, or no more: the exit is tried again later",
    ),
    Code.NETTED: (Level.WARNING, "closed against our other trade on the symbol, by the exchange"),
    Code.ORDER_LOST: (Level.ERROR, "the exchange no longer knows an order that it had taken"),
    Code.FILL_WITHDRAWN: (Level.ERROR, "the exchange took back a fill that it had told"),
    Code.WRITTEN_OFF: (Level.ERROR, "written off: the position was gone without a fill"),
    Code.QUARANTINED: (Level.CRITICAL, "an input about it broke an invariant and was set aside"),
}


#: What a person greps for, and is called for, by another name.
_OF_THEIR_OWN: Final = {Code.SYMBOL_SUSPENDED: EventName.SUSPENDED}


def tell_trade(page: Page) -> None:
    """What the input did to its trade: doubt, certainty, the end; and what was odd about it."""
    done, trade = page.done, page.trade
    if done is None:
        return
    name = trade.trade_id if trade is not None else f"trade #{done.trade_no}"
    for code in page.notes:
        if code in _ANOMALIES:
            level, text = _ANOMALIES[code]
            if code is Code.EXIT_LATCHED and _sends(page):
                level, text = Level.INFO, "in doubt: what is proven goes out, the rest stays wanted"
            kind = _OF_THEIR_OWN.get(code, EventName.ANOMALY)
            page.add(kind, level, f"{name}: {text}", code=code.name)
    if done.after is STALE and done.before is not STALE:
        page.add(EventName.DOUBT, Level.WARNING, f"{name} in doubt: {_why_doubted(page)}")
    elif done.before is STALE and done.after is not STALE:
        page.add(EventName.CERTAIN, Level.INFO, f"{name} is certain again: {_holds(page)}")
    if done.quantity_delta_e8 and not done.size_e8 and _closes(page):
        _flat(page, name)
    elif done.after is TradeStage.IDLE and done.before is TradeStage.ENTRY_WORKING:
        page.add(EventName.UNFILLED, Level.INFO, f"{name} ended without a fill")


def _sends(page: Page) -> bool:
    return any(effect.kind is EffectKind.SUBMIT for effect in page.outcome.effects)


def _closes(page: Page) -> bool:
    order = page.order
    return order is None or order.role is OrderRole.EXIT


def _why_doubted(page: Page) -> str:
    record = page.record
    if isinstance(record, VenueEvent):
        if record.kind is Kind.POSITION:
            return f"here {_holds(page)}, the exchange says {_position_words(record)}"
        if record.kind is Kind.ORDER_REJECT:
            return "the exchange says that it has no such position"
    return f"here {_holds(page)}; the exchange is queried"


def _position_words(e: VenueEvent) -> str:
    if not e.quantity_e8:
        return "flat"
    return f"{TradeSide(int(e.side)).name if e.side else ''} {quantity(e.quantity_e8)}".strip()


def _holds(page: Page) -> str:
    done, trade = page.done, page.trade
    if done is None or not done.size_e8:
        return "nothing"
    side = f"{trade.side.name} " if trade is not None else ""
    return f"{side}{quantity(done.size_e8)}"


def _flat(page: Page, name: str) -> None:
    trade = page.trade
    if trade is None:
        return
    gross = trade.realized + trade.trueup
    net = gross - trade.fees
    text = (
        f"{name}: {_won(net)} so far, before funding: price {amount(gross, sign=True)},"
        f" fees {amount(-trade.fees, sign=True)}"
    )
    page.add(
        EventName.FLAT, Level.INFO, text,
        gross=format_money(gross), fees=format_money(trade.fees), net=format_money(net),
    )  # fmt: skip


def _won(net: int) -> str:
    return f"{'lost' if net < 0 else 'made'} {amount(abs(net))}"


def _done(page: Page, effect: Effect) -> None:
    """The record is complete: the last word on the trade's own money."""
    trade = page.kernel.trade_of(effect.trade_no)
    gross, fees, source = effect.realized, effect.fees, ""
    if trade is not None:
        gross, fees, source = trade.realized + trade.trueup, trade.fees, trade.pnl_source
    words = "the exchange's figures" if source == "exchange" else "partly our own estimate"
    text = (
        f"{effect.trade_id}: {_won(gross - fees)} before funding: price {amount(gross, sign=True)},"
        f" fees {amount(-fees, sign=True)}; {words}"
    )
    page.add_effect(
        EventName.DONE, Level.INFO, text, effect,
        gross=format_money(gross), fees=format_money(fees), pnl_source=source,
    )  # fmt: skip
