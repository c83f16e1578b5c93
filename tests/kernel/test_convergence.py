"""Any delivery of the same facts ends in the same books (design P4).

An exchange is imagined first: what our entry and our exit filled, what others closed, bought or
turned round, in which order.  Then it is told, in any order, twice, in parts or not at all; at the
end stand the exchange's own records and its position.  Money and sizes are those of the exchange.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.model.worlds import LOT, PRICE, Choices, Venue

from dita.contracts import (
    ContractRules,
    EffectKind,
    EvidenceSource,
    KernelCommandType,
    KernelEventKind,
    KernelIntent,
    KernelOutcome,
    OrderSide,
    PositionSide,
    TradeSide,
    VenueEvent,
)
from dita.identity import client_order_id
from dita.kernel import ExecutionKernel, KernelConfig

Command = KernelCommandType
Kind = KernelEventKind

EXAMPLES: Final = settings.get_profile(settings.get_current_profile_name()).max_examples
SYMBOL: Final = "FET-USDT"
START_MS: Final = 1_000_000
LONG_AFTER_MS: Final = 9_000_000
CONTRACT: Final = ContractRules(
    tick_e10=10**6, step_e8=1, taker_fee_e9=500_000, maker_fee_e9=200_000
)


@dataclass
class Script:
    """One trade at an exchange where others trade too, and everything that is reported of it."""

    hedge: bool
    side: int
    entry: Venue
    exit: Venue
    others: list[Venue] = field(default_factory=list)
    known: int = 0  # of the entry, when the exit was sent
    now_ms: int = START_MS
    told: list[VenueEvent] = field(default_factory=list)

    @property
    def orders(self) -> list[Venue]:
        """All of them, ours first."""
        return [self.entry, self.exit, *self.others]

    @property
    def position(self) -> int:
        """What the exchange holds, on our side of it in hedge mode; signed."""
        return sum(int(order.side) * order.filled for order in self.orders)

    def ours(self) -> tuple[int, int]:
        """(entered, exited) as the exchange knows it: others closed ours up to the rest."""
        return self.entry.filled, min(self.entry.filled, self.entry.filled - self.left)

    @property
    def left(self) -> int:
        """Of ours, what is open; below 0: others have turned it round."""
        return self.position * self.side


def scripted(c: Choices, hedge: bool, others: int, increments: bool) -> Script:
    """A random trade: an entry in pieces, an exit for a part of it, closes by others."""
    side = c.of((TradeSide.LONG, TradeSide.SHORT))
    total = 3 + c.below(60)
    known = 1 + c.below(total)
    place = PositionSide(int(side)) if hedge else PositionSide.UNKNOWN

    def order(venue_id: str, way: int, lots: int) -> Venue:
        return Venue("", venue_id, SYMBOL, OrderSide(way), lots * LOT, PRICE, place)

    entry, leave = order("700", int(side), total), order("800", -int(side), known)
    script = Script(hedge, int(side), entry, leave, known=known * LOT)
    happens(script, entry, script.known, c, increments)
    for number in range(others):
        script.others.append(order(str(900 + number), -int(side), 0))
    acts = [script.entry, script.exit, *script.others]
    for _ in range(3 + c.below(6)):
        act = c.of(acts)
        room = act.quantity - act.filled
        if act in script.others:
            left = script.position * int(side)
            room = max(0, left) + (5 * LOT if act is script.others[-1] and not hedge else 0)
        elif act is leave:
            room = min(room, max(0, script.position * int(side)))
        if room > 0:
            happens(script, act, min(room, 1 + c.below(room)), c, increments)
    for ended in (entry, leave):
        told = cumulative(ended, c) if c.below(2) and not increments else {}
        kind = c.of((Kind.CANCEL_ACK, Kind.ORDER_EXPIRED))
        script.told.append(event_of(script, ended, kind, **told))
    script.told += [event_of(script, o, Kind.ORDER_ACK) for o in (entry, leave)]
    script.others = [order for order in script.others if order.filled]
    return script


def happens(script: Script, order: Venue, quantity: int, c: Choices, increments: bool) -> None:
    """Some of an order is executed, and told."""
    script.now_ms += 1 + c.below(5_000)
    price = PRICE + c.below(10**9)
    order.fill(quantity, price, quantity * price // 2_000, c.below(10**16))
    kind = c.of((Kind.PARTIAL_FILL, Kind.PARTIAL_FILL, Kind.FULL_FILL))
    fill_id = order.fills[-1][0]
    if increments:
        told = {"quantity_e8": quantity, "price_e10": c.of((price, price, 0))}
        script.told.append(event_of(script, order, kind, **told, increment=True, event_id=fill_id))
        return
    script.told.append(event_of(script, order, kind, **cumulative(order, c)))
    if order in (script.entry, script.exit) and c.below(2):
        source = c.of((EvidenceSource.STREAM, EvidenceSource.ORDER_QUERY))
        told = {"quantity_e8": order.filled, "realized": order.realized, "source": source}
        script.told.append(event_of(script, order, Kind.FILL_SETTLED, **told))


def cumulative(order: Venue, c: Choices) -> dict[str, Any]:
    """What a stream tells of the order as it stands."""
    told: dict[str, Any] = {"quantity_e8": order.filled}
    if not order.fills:
        return told
    _, quantity, price = order.fills[-1]
    if c.below(3):
        told |= {"price_e10": order.cost // order.filled}
    if c.below(2):
        told |= {"last_quantity_e8": quantity, "last_price_e10": price}
    if c.below(2):
        told |= {"fee": order.fee}
    if c.below(2):
        told |= {"realized": order.realized}
    return told


def event_of(script: Script, order: Venue, kind: Kind, **fields: Any) -> VenueEvent:
    """An event of the order at the exchange's time."""
    fields.setdefault("exchange_ms", script.now_ms)
    return VenueEvent(
        kind=kind,
        received_ms=LONG_AFTER_MS,
        venue_order_id=order.venue_id,
        client_order_id=order.client_id,
        asset=SYMBOL,
        side=order.side,
        position_side=order.position,
        **fields,
    )


def final_of(script: Script, order: Venue) -> VenueEvent:
    """The exchange's own records of the order."""
    return event_of(
        script,
        order,
        Kind.ORDER_FINAL,
        quantity_e8=order.filled,
        cost=order.cost,
        fee=order.fee,
        realized=order.realized,
        source=EvidenceSource.FILL_HISTORY,
    )


class Delivery:
    """A kernel that has sent entry and exit, and now hears of them."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.kernel = ExecutionKernel(KernelConfig(seen=1_024, hedge=script.hedge))
        entry, leave = script.entry, script.exit
        self._do(
            Command.ENTER,
            "enter",
            asset=SYMBOL,
            side=TradeSide(script.side),
            quantity_e8=entry.quantity,
            reference_price_e10=PRICE,
            contract=CONTRACT,
        )
        entry.client_id = client_order_id("pink", 1, "enter", 0)
        self.tell(event_of(script, entry, Kind.ORDER_ACK, exchange_ms=START_MS))
        first = {"quantity_e8": script.known, "exchange_ms": START_MS}
        self.tell(event_of(script, entry, Kind.PARTIAL_FILL, **first))
        self._do(Command.EXIT, "exit")
        leave.client_id = client_order_id("pink", 1, "exit", 0)

    def _do(self, command: Command, name: str, **fields: Any) -> None:
        intent = KernelIntent(
            command=command, received_ms=START_MS, intent_id=name, trade_id="T", **fields
        )
        assert self.kernel.apply(intent).accepted

    def tell(self, event: VenueEvent) -> KernelOutcome:
        """Apply it; a further exit finds that there is nothing to reduce."""
        outcome = self.kernel.apply(event)
        for effect in outcome.effects:
            if effect.kind is EffectKind.SUBMIT:
                self.tell(
                    VenueEvent(
                        kind=Kind.ORDER_REJECT,
                        received_ms=event.received_ms,
                        client_order_id=effect.client_order_id,
                    )
                )
        return outcome

    def tell_position(self, asked_ms: int) -> None:
        """What the exchange holds, on our side."""
        theirs = self.script.position
        side = OrderSide.BUY if theirs > 0 else OrderSide.SELL if theirs < 0 else OrderSide.UNKNOWN
        if self.script.hedge:
            side = OrderSide(self.script.side)
        self.tell(
            VenueEvent(
                kind=Kind.POSITION,
                received_ms=LONG_AFTER_MS,
                exchange_ms=asked_ms,
                asset=SYMBOL,
                side=side,
                quantity_e8=abs(theirs),
            )
        )

    def look_again(self) -> None:
        """The runtime reads the records: what the registry lacks is told with them as a source."""
        for order in self.script.others:
            if self.kernel.order_of_venue(order.venue_id) is None:
                fields = {"quantity_e8": order.filled, "source": EvidenceSource.FILL_HISTORY}
                self.tell(event_of(self.script, order, Kind.PARTIAL_FILL, **fields))
                self.tell(final_of(self.script, order))

    def books(self) -> tuple[object, ...]:
        """Everything that may not depend on who was heard first."""
        (trade,) = self.kernel.trades()
        ledger = self.kernel.ledger()
        slots = [(slot.state, slot.size_e8) for slot in self.kernel.active_slots()]
        externals = sorted(
            (o.venue_order_id, o.filled_e8, o.cost, o.fee, o.realized)
            for o in self.kernel.orders_of(trade.trade_no)
            if o.external
        )
        money = (trade.entry_cost, trade.realized, trade.trueup, trade.fees, ledger.foreign)
        return trade.entered_e8, trade.exited_e8, *money, externals, slots


def shuffled(c: Choices, events: list[VenueEvent]) -> list[VenueEvent]:
    """In any order."""
    keys = [c.below(2**30) for _ in events]
    return [events[n] for n in sorted(range(len(events)), key=keys.__getitem__)]


def delivered(script: Script, c: Choices | None, increments: bool) -> Delivery:
    """All of it in some order, with doubles and gaps; None: the records alone."""
    delivery = Delivery(script)
    by_id = {order.venue_id: order for order in script.orders}
    told = [
        msgspec.structs.replace(e, client_order_id=by_id[e.venue_order_id].client_id)
        for e in script.told
    ]
    finals = [final_of(script, order) for order in script.orders]
    if c is not None:
        kept = [event for event in told for _ in range(c.of((0, 1, 1, 2)))]
        early = [] if increments else [*finals, *finals]
        for event in shuffled(c, [*kept, *early]):
            delivery.tell(event)
            if c.below(12) == 1 and (script.left >= 0 or len(script.others) < 2):
                delivery.tell_position(script.now_ms)  # else it decides before all is heard
        finals = shuffled(c, finals)
    for final in finals:
        delivery.tell(final)
    delivery.look_again()
    for second in (1, 2):
        delivery.tell_position(script.now_ms + second)
        delivery.look_again()
    return delivery


def check_books(delivery: Delivery) -> None:
    """They are what the exchange has."""
    script, kernel = delivery.script, delivery.kernel
    (trade,) = kernel.trades()
    assert (trade.entered_e8, trade.exited_e8) == script.ours()
    assert trade.entry_cost == script.entry.cost
    whole = all(o.filled_e8 == script_filled(script, o.venue_order_id) for o in externals(kernel))
    if whole and trade.entered_e8 == trade.exited_e8:
        closes = [script.exit, *script.others]
        proceeds = sum(order.cost for order in closes)
        assert trade.realized == script.side * (proceeds - script.entry.cost)
        assert trade.realized + trade.trueup == sum(order.realized for order in closes)
        assert trade.fees == sum(order.fee for order in script.orders)
    if not kernel.active_slots():
        assert trade.entered_e8 == trade.exited_e8


def externals(kernel: ExecutionKernel) -> list[Any]:
    return [order for order in kernel.orders_of(1) if order.external]


def script_filled(script: Script, venue_id: str) -> int:
    return next(order.filled for order in script.orders if order.venue_id == venue_id)


def check_all_deliveries(number: int, hedge: bool, others: int, increments: bool) -> None:
    c = Choices(number)
    script = scripted(c, hedge, others, increments)
    expected = delivered(script, None, increments)
    check_books(expected)
    for _ in range(4):
        delivery = delivered(script, c, increments)
        assert delivery.books() == expected.books()


@pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])
@pytest.mark.parametrize("increments", [False, True], ids=["levels", "increments"])
@settings(max_examples=EXAMPLES)
@given(number=st.integers(0, 2**32))
def test_own_orders_end_the_same(number: int, hedge: bool, increments: bool) -> None:
    """Nobody else is there."""
    check_all_deliveries(number, hedge, 0, increments)


@pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])
@pytest.mark.parametrize("others", [1, 2])
@settings(max_examples=2 * EXAMPLES)
@given(number=st.integers(0, 2**32))
def test_closes_by_others_end_the_same(number: int, hedge: bool, others: int) -> None:
    """One or two orders of others close a part of it; in one-way mode one of them may turn it."""
    check_all_deliveries(number, hedge, others, False)
