"""Imagined exchanges and careless desks: they make up the histories that kernel and model are fed.

Honest reports, reports that come twice, late, never or garbled, strangers on the same account,
commands at any moment.  A world draws all its choices from small numbers, so that hypothesis can
make a history shorter.  It knows the kernel through its outcomes and its views.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from dita.contracts import (
    BalanceReason,
    ContractRules,
    ControlAction,
    EffectKind,
    EvidenceSource,
    KernelCommandType,
    KernelEventKind,
    KernelIntent,
    KernelOutcome,
    OrderRole,
    OrderSide,
    OrderType,
    PositionSide,
    RejectReason,
    RiskLimit,
    TradeSide,
    TradeStage,
    VenueEvent,
)
from dita.kernel import ExecutionKernel

Command = KernelCommandType
Kind = KernelEventKind
Record = KernelIntent | VenueEvent
#: A record, or the account's judgement of the drift: (pending, unexplained).
Input = Record | tuple[bool, bool]

SYMBOLS: Final = ("FET-USDT", "TRX-USDT", "ADA-USDT")
LOT: Final = 10**8
PRICE: Final = 10**10


class Choices:
    """Choices drawn from one small number: 0 is always "nothing special"."""

    def __init__(self, number: int) -> None:
        self._state = number

    def below(self, count: int) -> int:
        """A number from 0 to count - 1."""
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self._state >> 33) % count

    def of(self, options: Any) -> Any:
        """One of these."""
        return options[self.below(len(options))]

    def once_in(self, count: int) -> bool:
        """True now and then."""
        return self.below(count) == 1


@dataclass
class Venue:
    """An order as the imagined exchange knows it."""

    client_id: str
    venue_id: str
    symbol: str
    side: OrderSide
    quantity: int
    price: int
    position: PositionSide = PositionSide.UNKNOWN
    filled: int = 0
    cost: int = 0
    fee: int = 0
    realized: int = 0
    fills: list[tuple[str, int, int]] = field(default_factory=list)
    ended: bool = False

    def fill(self, quantity: int, price: int, fee: int, realized: int) -> None:
        """Some of it is executed."""
        self.fills.append((f"f{self.venue_id}-{len(self.fills)}", quantity, price))
        self.filled += quantity
        self.cost += quantity * price
        self.fee += fee
        self.realized += realized


class World:
    """Makes up the next input, and remembers what it has said."""

    symbols: tuple[str, ...] = SYMBOLS

    def __init__(self, kernel: ExecutionKernel) -> None:
        self.kernel = kernel
        self.hedge = kernel.config.hedge
        self.now = 1_000_000
        self.orders: list[Venue] = []
        self.strangers: list[Venue] = []
        self.asked: list[str] = []
        self.doubts: list[str] = []
        self.places: list[tuple[int, str]] = []
        self.told: list[Record] = []
        self.late: list[Record] = []
        self.count = 0
        self.wallet = 10**21

    # -- what the kernel did -----------------------------------------------------------------------

    def hear(self, outcome: KernelOutcome) -> None:
        """Take the kernel's requests as an exchange does."""
        for effect in outcome.effects:
            if effect.kind is EffectKind.SUBMIT:
                self.places.append((effect.slot_id, effect.trade_id))
                opens = -1 if effect.reduce_only else 1
                self.orders.append(
                    Venue(
                        client_id=effect.client_order_id,
                        venue_id=str(9_000 + len(self.orders)),
                        symbol=effect.asset,
                        side=effect.side,
                        quantity=effect.quantity_e8,
                        price=effect.price_e10 or PRICE,
                        position=PositionSide(effect.side * opens),
                    )
                )
            elif effect.kind is EffectKind.QUERY_POSITION and effect.asset:
                self.doubts.append(effect.asset)
            elif effect.order_no and effect.venue_order_id:
                self.asked.append(effect.venue_order_id)

    def holds(self, symbol: str, position: int = 0) -> int:
        """The signed position at the exchange; in hedge mode of one side."""
        return sum(
            int(order.side) * order.filled
            for order in (*self.orders, *self.strangers)
            if order.symbol == symbol and (not self.hedge or position in (0, order.position))
        )

    # -- the next input ----------------------------------------------------------------------------

    def step(self, number: int) -> Input:
        """The input that this number stands for, or a judgement of the account."""
        c = Choices(number)
        self.now += c.of((1, 0, 50, 700, 1_500, 2_500, 9_000, 70_000, 130_000, 400_000))
        if c.once_in(60):
            return c.once_in(2), c.once_in(2)
        record: Record = c.of(STEPS)(self, c)
        if c.once_in(14):
            record = garbled(record, c)
        if c.once_in(8):
            self.late.append(record)
            record = self.order_event(c)
        self.told.append(record)
        return record

    def name(self, prefix: str) -> str:
        """An id that was not used before."""
        self.count += 1
        return f"{prefix}{self.count}"

    def exchange_ms(self, c: Choices) -> int:
        """Mostly now; sometimes not told, in the past, or in the future."""
        back = (0, 0, 0, 5, 300, 1_900, 30_000, self.now, -59_999, -60_001, -(10**9))
        return int(self.now - (c.of(back) if c.below(3) else 0))

    def order_event(self, c: Choices) -> Record:
        """A report on one of the latest orders; a command when there is none."""
        if not self.orders:
            return self.enter(c)
        alive = [order for order in self.orders[-8:] if not order.ended] or self.orders[-4:]
        if c.once_in(8):
            alive = self.orders
        report: Report = c.of(REPORTS)
        return report(self, c, alive[-1 - c.below(min(3, len(alive)))])

    def answer(self, c: Choices) -> Record:
        """The exchange's records on an order that the kernel asked about."""
        if not self.asked:
            return self.order_event(c)
        venue_id = self.asked.pop(c.below(len(self.asked)))
        known = [o for o in (*self.orders, *self.strangers) if o.venue_id == venue_id]
        if not known:
            return self.event(c, Kind.ORDER_FINAL, venue_order_id=venue_id, quantity_e8=0)
        if c.once_in(12):
            return self.report(c, known[0], Kind.ORDER_ABSENT)
        return self.final(c, known[0])

    def duplicate(self, c: Choices) -> Record:
        """Something that was said before, perhaps to be heard a second time."""
        return self.again(c, self.told)

    def delayed(self, c: Choices) -> Record:
        """Something that was held up."""
        return self.again(c, self.late)

    def again(self, c: Choices, records: list[Record]) -> Record:
        """One of these records; half of the time with a new time of receipt."""
        if not records:
            return self.order_event(c)
        record = records[-1 - c.below(min(12, len(records)))]
        if c.once_in(2):
            return record
        return msgspec.structs.replace(record, received_ms=self.now)

    # -- commands ----------------------------------------------------------------------------------

    def intent(self, command: Command, **fields: Any) -> KernelIntent:
        """A command with an id of its own."""
        fields.setdefault("intent_id", self.name("i"))
        return KernelIntent(command=command, received_ms=self.now, **fields)

    def deadline(self, c: Choices) -> dict[str, Any]:
        """Now and then a time past which a command is not to be done."""
        return {"deadline_ms": c.of((self.now, self.now - 1))} if c.once_in(12) else {}

    def terms(self, c: Choices) -> dict[str, Any]:
        """What an entry needs."""
        step = c.of((LOT, LOT // 10, 7 * LOT // 10, 3))
        return {
            "trade_id": "T1" if c.once_in(8) else f"T{self.count}",
            "asset": c.of(self.symbols),
            "side": c.of((TradeSide.LONG, TradeSide.SHORT)),
            "quantity_e8": step * (1 + c.below(60)),
            "leverage": 1 + c.below(3),
            "exit_leg_ratios_e9": c.of(LEGS),
            "contract": ContractRules(
                tick_e10=10**6,
                step_e8=step,
                min_quantity_e8=c.of((0, 0, step * 3)),
                min_notional=c.of((0, 0, 0, step * PRICE)),
                taker_fee_e9=c.of((500_000, 333_333, 0)),
                maker_fee_e9=c.of((200_000, 77_777)),
            ),
        }

    def enter(self, c: Choices) -> Record:
        """ENTER."""
        return self.intent(
            Command.ENTER,
            **self.terms(c),
            **self.manner(c),
            **self.deadline(c),
            reference_price_e10=PRICE + c.below(10**9),
            expires_ms=c.of((0, self.now + 60_000)),
            slot_id=c.of((0, 1, 3)) if c.once_in(6) else -1,
        )

    def manner(self, c: Choices) -> dict[str, Any]:
        """How an order is to be worked."""
        if c.below(3):
            return {"working_ms": c.of((0, 0, 2_000))}
        return {
            "order_type": c.of((OrderType.LIMIT, OrderType.LIMIT, OrderType.LIMIT_IOC)),
            "limit_price_e10": PRICE + 10**6 * c.below(500),
            "working_ms": c.of((0, 500, 60_000)),
        }

    def where(self, c: Choices) -> dict[str, Any]:
        """The slot that a command is for: mostly one of the latest that were sent an order."""
        how = c.below(8)
        if how == 1 or not self.places:
            return {"slot_id": c.of((0, 1, 2))}
        slot_id, trade_id = self.places[-1 - c.below(min(3, len(self.places)))]
        return {"slot_id": slot_id} if how < 5 else {"trade_id": trade_id}

    def exit(self, c: Choices) -> Record:
        """EXIT of the next leg, of some quantity, or of everything."""
        return self.intent(
            Command.EXIT,
            quantity_e8=c.of((0, 0, 0, LOT * (1 + c.below(30)), 12_345_678, 10**15)),
            urgent=c.once_in(4),
            **self.where(c),
            **self.manner(c),
            **self.deadline(c),
        )

    def cancel(self, c: Choices) -> Record:
        """CANCEL."""
        return self.intent(Command.CANCEL, **self.where(c), **self.deadline(c))

    def mark(self, c: Choices) -> Record:
        """MARK_PRICE."""
        place = {"asset": c.of(self.symbols)} if c.below(2) else self.where(c)
        price = PRICE + c.below(10**9)
        return self.intent(Command.MARK_PRICE, reference_price_e10=price, **place)

    def reconcile(self, c: Choices) -> Record:
        """RECONCILE: a doubt, or an order of the trade that we did not know."""
        if c.below(3):
            return self.intent(Command.RECONCILE, **self.where(c), **self.deadline(c))
        role = c.of((OrderRole.ENTRY, OrderRole.EXIT))
        order = Venue(
            client_id="",
            venue_id=c.of((str(9_000 + len(self.orders)), "a-strange-id", "9000")),
            symbol=c.of(self.symbols),
            side=OrderSide.UNKNOWN,
            quantity=LOT * (1 + c.below(20)),
            price=PRICE,
        )
        self.orders.append(order)
        return self.intent(
            Command.RECONCILE,
            role=role,
            venue_order_id=order.venue_id,
            quantity_e8=order.quantity,
            reference_price_e10=c.of((0, PRICE)),
            **self.where(c),
        )

    def adopt(self, c: Choices) -> Record:
        """RECONCILE of a free slot."""
        terms = self.terms(c)
        price = c.of((0, PRICE + c.below(10**9), PRICE + c.below(10**9)))
        return self.intent(
            Command.RECONCILE,
            **terms,
            entry_cost=price * terms["quantity_e8"],
            carried_realized=c.of((0, 10**18, -7)),
            slot_id=c.of((-1, -1, 0, 1)),
        )

    def write_off(self, c: Choices) -> Record:
        """WRITE_OFF of what the exchange lacks in some slot; now and then of something else."""
        slots = [s for s in self.kernel.active_slots() if c.below(8) or s.slot_id == 0]
        doubted = [s for s in slots if s.state is TradeStage.STALE_STATE_RECONCILING]
        if not slots:
            return self.tick(c)
        slot = c.of(doubted or slots)
        gone = slot.size_e8 - self.kernel.proof_of(slot.slot_id)[0]
        if c.once_in(6):
            gone = c.of((slot.size_e8, LOT, 0))
        return self.intent(
            Command.WRITE_OFF,
            slot_id=slot.slot_id,
            quantity_e8=max(0, gone),
            carried_realized=c.of((0, -(10**18), 12_345)),
            **self.deadline(c),
        )

    def control(self, c: Choices) -> Record:
        """CONTROL; mostly to resume, so that histories go on."""
        action = c.of((*(ControlAction.RESUME,) * 12, *ControlAction, None))
        fields: dict[str, Any] = {"amount": c.of((None, c.below(10**6) - 10**5))}
        if action is ControlAction.LIMIT:
            return self.limit(c)
        if action is ControlAction.QUARANTINE:
            fields |= {"slot_id": c.of((-1, 0, 1, 2)), "quarantined_seq": 7, "rules_version": 1}
        elif c.once_in(4):
            fields |= {"asset": self.symbols[0]}
        return self.intent(Command.CONTROL, action=action, **fields, **self.deadline(c))

    def limit(self, c: Choices) -> Record:
        """CONTROL LIMIT; mostly one that lets something pass."""
        limit = c.of((*RiskLimit, None))
        counts = (0, 1, 2, 3, 5, 300) if limit in COUNTED else (0, 1, 10**18, 10**19, 10**20)
        amount = c.of((*counts, None, -1))
        return self.intent(Command.CONTROL, action=ControlAction.LIMIT, limit=limit, amount=amount)

    # -- reports on orders -------------------------------------------------------------------------

    def event(self, c: Choices, kind: Kind, **fields: Any) -> VenueEvent:
        """An event of now."""
        fields.setdefault("exchange_ms", self.exchange_ms(c))
        return VenueEvent(kind=kind, received_ms=self.now, **fields)

    def report(self, c: Choices, order: Venue, kind: Kind, **fields: Any) -> VenueEvent:
        """An event of an order, named by both its ids, by one, or by none."""
        how = c.below(12)
        if how != 1 and (how < 8 or not order.client_id):
            fields["venue_order_id"] = order.venue_id
        if how not in (1, 2, 3):
            fields["client_order_id"] = order.client_id
        if how == 1:
            fields["slot_id"] = c.of((-1, 0, 0, 1))
        if c.below(4):
            fields["asset"] = order.symbol
            fields["side"] = order.side
            fields["position_side"] = order.position if self.hedge else PositionSide.UNKNOWN
        return self.event(c, kind, **fields)

    def ack(self, c: Choices, order: Venue) -> Record:
        """ORDER_ACK."""
        return self.report(c, order, Kind.ORDER_ACK, **self.levels(c, order, 5))

    def fill(self, c: Choices, order: Venue) -> Record:
        """Some more of the order, or all of it; told in one of the ways in which venues tell."""
        left = order.quantity - order.filled
        if left <= 0 and c.below(8):
            return self.final(c, order)
        part = c.of((left, left, left, left // 2 + 1, left // 3 + 7, min(left, LOT // 2)))
        if c.once_in(25):
            part = left + 5
        self.execute(c, order, max(1, part))
        kind = Kind.FULL_FILL if order.filled >= order.quantity else Kind.PARTIAL_FILL
        if c.once_in(9):
            kind = c.of((Kind.FULL_FILL, Kind.PARTIAL_FILL, Kind.LIQUIDATION))
        return self.report(c, order, kind, **self.levels(c, order, 0))

    def execute(self, c: Choices, order: Venue, part: int) -> None:
        """It happens at the exchange."""
        price = order.price + c.below(10**9) - 4 * 10**8
        fee = part * price // 2_000 * (1 if c.below(8) else -1)
        gain = (c.below(10**6) - 5 * 10**5) * part // 10**4
        order.fill(part, price, fee, gain)
        order.ended = order.filled >= order.quantity and c.below(3) > 0

    def levels(self, c: Choices, order: Venue, silent: int) -> dict[str, Any]:
        """What is told of an order's fills; in ``silent`` of five cases nothing."""
        if not order.fills or c.below(6) < silent:
            return {}
        fill_id, quantity, price = order.fills[-1]
        how = c.below(9)
        if how == 1:
            told = {"quantity_e8": quantity, "price_e10": price, "increment": True}
            told |= {"event_id": c.of((fill_id, fill_id, fill_id, ""))}
            return told | ({"fee": quantity * price // 2_000} if c.below(3) else {})
        told = {"quantity_e8": order.filled}
        if how in (2, 3, 4):
            told |= {"price_e10": order.cost // order.filled}
        if how in (4, 5, 6):
            told |= {"last_quantity_e8": quantity, "last_price_e10": price}
        if how == 7:
            told |= {"cost": order.cost, "source": c.of(tuple(EvidenceSource))}
        if c.below(3) == 1:
            told |= {"fee": order.fee}
        if c.below(3) == 1:
            told |= {"realized": order.realized}
        return told

    def end(self, c: Choices, order: Venue) -> Record:
        """Cancelled or expired."""
        order.ended = True
        kind = c.of((Kind.CANCEL_ACK, Kind.CANCEL_ACK, Kind.ORDER_EXPIRED))
        return self.report(c, order, kind, **self.levels(c, order, 3))

    def reject(self, c: Choices, order: Venue) -> Record:
        """ORDER_REJECT for one of the reasons."""
        return self.report(c, order, Kind.ORDER_REJECT, **self.refusal(c))

    def refusal(self, c: Choices) -> dict[str, Any]:
        """Why the exchange refuses: a few codes, so that they add up."""
        return {"reject": c.of(tuple(RejectReason)), "error_code": c.of((101205, 101205, 80014, 0))}

    def trouble(self, c: Choices, order: Venue) -> Record:
        """Answers that are none."""
        kind = c.of((Kind.ORDER_UNKNOWN, Kind.ORDER_ABSENT, Kind.CANCEL_REJECT, Kind.RATE_LIMITED))
        return self.report(c, order, kind, retry_after_ms=c.of((0, 0, 700, 90_000)))

    def final(self, c: Choices, order: Venue) -> Record:
        """ORDER_FINAL: the order query alone, or the fill history; now and then with less."""
        source = c.of((EvidenceSource.FILL_HISTORY, EvidenceSource.ORDER_QUERY))
        filled = order.filled
        if c.once_in(12):
            filled = c.of((0, filled // 2, max(0, filled - LOT)))
            source = c.of((*EvidenceSource, source, source))
        told: dict[str, Any] = {"quantity_e8": filled, "source": source}
        if c.below(4):
            told |= {"cost": order.cost, "fee": order.fee}
        elif filled:
            told |= {"price_e10": c.of((0, order.price))}
        if c.below(2):
            told |= {"realized": order.realized}
        return self.report(c, order, Kind.ORDER_FINAL, **told)

    def settled(self, c: Choices, order: Venue) -> Record:
        """FILL_SETTLED."""
        told = {"quantity_e8": c.of((order.filled, order.filled, 0, order.filled + LOT))}
        return self.report(
            c,
            order,
            Kind.FILL_SETTLED,
            **told,
            source=c.of(tuple(EvidenceSource)),
            realized=c.of((order.realized, order.realized, 0, None)),
            fee=c.of((None, order.fee)),
        )

    def straggler(self, c: Choices) -> Record:
        """One more fill of an order that nobody thinks of any more."""
        over = [order for order in self.orders if order.ended and order.side]
        if not over:
            return self.order_event(c)
        order = over[-1 - c.below(min(6, len(over)))]
        self.execute(c, order, c.of((LOT, LOT // 2, 7)))
        return self.report(c, order, Kind.PARTIAL_FILL, **self.levels(c, order, 0))

    # -- strangers ---------------------------------------------------------------------------------

    def stranger(self, c: Choices) -> Record:
        """Somebody else trades on our account: buys, sells, closes, flips, opens the other side."""
        symbol, position = self.busy_symbol(c), c.of((PositionSide.LONG, PositionSide.SHORT))
        there = self.holds(symbol, position)
        side = c.of((OrderSide.BUY, OrderSide.SELL))
        quantity = LOT // 10 * (1 + c.below(300))
        if there and c.below(3):
            side = OrderSide.SELL if there > 0 else OrderSide.BUY
            quantity = c.of((abs(there), abs(there), abs(there) // 2 + 1, abs(there) + 10 * LOT))
        order = Venue(
            client_id=c.of(("", "", "not-ours", "a2" * 16 if c.once_in(4) else "")),
            venue_id=c.of((str(5_000 + c.below(9_000)), self.name("666"), self.name("x-"))),
            symbol=symbol,
            side=side,
            quantity=quantity,
            price=PRICE,
            position=position,
        )
        self.strangers.append(order)
        self.execute(c, order, c.of((quantity, quantity, quantity // 3 + 1)))
        return self.of_stranger(c, order)

    def busy_symbol(self, c: Choices) -> str:
        """Mostly a symbol that we are on."""
        used = [slot.asset for slot in self.kernel.active_slots()]
        return str(c.of(used) if used and c.below(5) else c.of(self.symbols))

    def of_stranger(self, c: Choices, order: Venue) -> Record:
        """A report on somebody else's order; mostly a fill."""
        kind = c.of((*(Kind.PARTIAL_FILL,) * 4, Kind.FULL_FILL, Kind.LIQUIDATION, Kind.ADL))
        if c.once_in(8):
            kind = c.of((Kind.ORDER_ACK, Kind.FILL_SETTLED, Kind.CANCEL_ACK, Kind.ORDER_REJECT))
        told = self.levels(c, order, 0)
        if c.below(8):
            told |= {"venue_order_id": order.venue_id}
        known = PositionSide.UNKNOWN if not self.hedge or c.once_in(6) else order.position
        return self.event(
            c,
            kind,
            **{"event_id": c.of(("", self.name("e")))} | told,
            asset=order.symbol,
            side=order.side if c.below(12) else OrderSide.UNKNOWN,
            position_side=known,
            client_order_id=order.client_id,
        )

    def stranger_again(self, c: Choices) -> Record:
        """Somebody else's order goes on, or is looked up."""
        if not self.strangers:
            return self.stranger(c)
        order = self.strangers[-1 - c.below(min(3, len(self.strangers)))]
        how = c.below(4)
        if how == 0:
            self.execute(c, order, LOT // 2 * (1 + c.below(5)))
        if how < 2:
            return self.of_stranger(c, order)
        return self.final(c, order) if how == 2 else self.settled(c, order)

    # -- the rest of what an exchange says ---------------------------------------------------------

    def position(self, c: Choices) -> Record:
        """POSITION: what there is, or now and then something else."""
        symbol = self.busy_symbol(c)
        if self.doubts and c.below(4):
            symbol = self.doubts.pop()
        position = c.of((1, -1))
        there = self.holds(symbol, position)
        if c.once_in(4):
            there = c.of((0, there + LOT, -there, there // 2, there - LOT))
        if self.hedge:
            there = max(0, there * position) * position
        side = OrderSide.BUY if there > 0 else OrderSide.SELL if there < 0 else OrderSide.UNKNOWN
        if self.hedge and not there and c.below(2):
            side = OrderSide(position)
        return self.event(c, Kind.POSITION, asset=symbol, side=side, quantity_e8=abs(there))

    def what_we_think(self, c: Choices) -> Record:
        """POSITION: just what the kernel believes, so that it comes to rest."""
        slots = self.kernel.active_slots()
        if not slots:
            return self.position(c)
        slot = c.of(slots)
        same = [s for s in slots if s.asset == slot.asset and (not self.hedge or s == slot)]
        there = sum(int(s.side) * s.size_e8 for s in same)
        side = OrderSide.BUY if there > 0 else OrderSide.SELL if there < 0 else OrderSide.UNKNOWN
        if self.hedge and not there:
            side = OrderSide(int(slot.side))
        fields = {"asset": slot.asset, "side": side, "quantity_e8": abs(there)}
        return self.event(c, Kind.POSITION, exchange_ms=self.now, **fields)

    def balance(self, c: Choices) -> Record:
        """ACCOUNT_UPDATE, from the stream or as the answer to a question."""
        self.wallet += c.below(10**18) - 5 * 10**17
        stream = c.below(2) == 0
        return self.event(
            c,
            Kind.ACCOUNT_UPDATE,
            amount=c.of((0, -1)) if c.once_in(12) else self.wallet,
            available_margin=self.wallet // 2,
            source=EvidenceSource.STREAM if stream else EvidenceSource.ORDER_QUERY,
            requested_ms=0 if stream else self.now - c.of((0, 10, 500, 5_000)),
            balance_reason=c.of(tuple(BalanceReason)),
        )

    def flow(self, c: Choices) -> Record:
        """FUNDING_FEE, TRANSFER, or what others did."""
        kind = c.of((Kind.FUNDING_FEE, Kind.TRANSFER, Kind.FOREIGN_FLOW))
        return self.event(
            c,
            kind,
            event_id=self.name("flow"),
            asset="USDT",
            amount=c.below(10**18) - 5 * 10**17,
            balance_reason=c.of(tuple(BalanceReason)),
        )

    def income_read(self, c: Choices) -> Record:
        """INCOME_READ, now and then of a time that was read before."""
        at_ms = self.now - c.of((0, 0, 1_000, 60_000, -60_001))
        return self.event(c, Kind.INCOME_READ, exchange_ms=max(0, at_ms))

    def tick(self, c: Choices) -> Record:
        """TICK; now and then with the exchange's clock."""
        exchange_ms = self.now + c.of((0, 40, -40, 5_000, -100_000)) if c.once_in(6) else 0
        return VenueEvent(kind=Kind.TICK, received_ms=self.now, exchange_ms=exchange_ms)


COUNTED: Final = (RiskLimit.POSITIONS, RiskLimit.INTENTS_PER_MINUTE)
LEGS: Final = ((10**9,), (5 * 10**8, 10**9), (333_333_333, 333_333_333, 10**9), (1, 10**9))
Report = Callable[[World, Choices, Venue], Record]
Step = Callable[[World, Choices], Record]
STEPS: Final[tuple[Step, ...]] = (
    World.tick,
    *(World.order_event,) * 22,
    *(World.answer,) * 8,
    *(World.enter,) * 6,
    *(World.exit,) * 6,
    *(World.position,) * 3,
    *(World.what_we_think,) * 2,
    *(World.balance,) * 3,
    *(World.duplicate,) * 3,
    *(World.delayed,) * 3,
    *(World.stranger,) * 2,
    World.stranger_again,
    World.straggler,
    *(World.tick,) * 2,
    *(World.mark, World.cancel, World.reconcile, World.adopt, World.control, World.flow),
    *(World.income_read, World.write_off),
    *(World.mark, World.cancel, World.control),
)
REPORTS: Final[tuple[Report, ...]] = (
    *(World.fill,) * 8,
    *(World.ack,) * 4,
    *(World.final,) * 2,
    *(World.end,) * 2,
    World.settled,
    World.reject,
    World.trouble,
)


class Company(World):
    """A crowded account: one symbol, strangers, stragglers, positions, doubts, write-offs."""

    symbols = SYMBOLS[:1]

    def step(self, number: int) -> Input:
        """Little is garbled, much is about positions."""
        c = Choices(number)
        self.now += c.of((1, 50, 700, 2_500, 9_000, 70_000, 130_000))
        record: Record = c.of(CROWDED)(self, c)
        if c.once_in(40):
            record = garbled(record, c)
        self.told.append(record)
        return record

    def exchange_ms(self, c: Choices) -> int:
        """Mostly now."""
        return int(
            self.now - (c.of((0, 5, 1_900, 30_000, self.now, -70_000)) if c.once_in(5) else 0)
        )

    def whole_fill(self, c: Choices) -> Record:
        """The latest live order is filled, and its figures follow."""
        alive = [order for order in self.orders[-6:] if not order.ended and order.side]
        if not alive:
            return self.enter(c)
        order = c.of(alive)
        if order.filled < order.quantity:
            part = order.quantity - order.filled if c.below(3) else 1 + order.quantity // 2
            self.execute(c, order, max(1, part))
        if c.below(3):
            order.ended = True
        return self.final(c, order) if c.below(2) else self.fill_of(c, order)

    def fill_of(self, c: Choices, order: Venue) -> Record:
        """What the stream says of it."""
        fields = {"quantity_e8": order.filled, "price_e10": order.cost // max(1, order.filled)}
        return self.report(c, order, Kind.PARTIAL_FILL, **fields)

    def passing_time(self, c: Choices) -> Record:
        """Income is read, so that a write-off may come."""
        return self.event(c, Kind.INCOME_READ, exchange_ms=self.now)


CROWDED: Final[tuple[Callable[[Any, Choices], Record], ...]] = (
    Company.tick,
    *(Company.whole_fill,) * 10,
    *(Company.order_event,) * 5,
    *(Company.answer,) * 6,
    *(Company.enter,) * 4,
    *(Company.exit,) * 4,
    *(Company.position,) * 6,
    *(Company.what_we_think,) * 3,
    *(Company.stranger,) * 4,
    *(Company.stranger_again,) * 4,
    *(Company.straggler,) * 3,
    *(Company.write_off,) * 3,
    *(Company.passing_time,) * 2,
    *(Company.tick,) * 3,
    *(Company.balance, Company.adopt, Company.mark, Company.cancel, Company.control),
    *(Company.reconcile, Company.duplicate, Company.flow),
)


class Failing(World):
    """A world in which submits fail, one after the other."""

    def failure(self, c: Choices) -> Record:
        """The latest submit has failed."""
        if not self.orders:
            return self.enter(c)
        order = self.orders[-1]
        kinds = (Kind.ORDER_REJECT,) * 9 + (Kind.ORDER_ABSENT, Kind.ORDER_ABSENT, Kind.RATE_LIMITED)
        return self.event(c, c.of(kinds), client_order_id=order.client_id, **self.refusal(c))

    def step(self, number: int) -> Input:
        """Mostly a failure and the time after it."""
        c = Choices(number)
        self.now += c.of((1, 500, 1_000, 3_000, 20_000, 60_000))
        steps = (World.tick, *(Failing.failure,) * 4, *(World.tick,) * 2)
        rare = (World.enter, World.exit, World.adopt, World.control, Failing.switch)
        more = (Failing.taken, World.what_we_think, World.position, World.exit)
        record: Record = c.of((*rare, *more))(self, c) if c.once_in(5) else c.of(steps)(self, c)
        return record

    def refusal(self, c: Choices) -> dict[str, Any]:
        """Mostly one code, for one of the reasons."""
        reasons = (*(RejectReason.OTHER,) * 3, *RejectReason)
        return {"reject": c.of(reasons), "error_code": c.of((101205, 101205, 101205, 80014, 0))}

    def taken(self, c: Choices) -> Record:
        """The latest submit has come through after all."""
        if not self.orders:
            return self.enter(c)
        return self.ack(c, self.orders[-1])

    def switch(self, c: Choices) -> Record:
        """HOLD or RESUME."""
        action = c.of((ControlAction.HOLD, ControlAction.RESUME))
        return self.intent(Command.CONTROL, action=action)


# -- what makes no sense ---------------------------------------------------------------------------

NUMBERS: Final = (0, 1, -1, 3, 2**31, 2**53, 2**62, 2**63 - 1, 2**63, -(2**63), 10**12)
AMOUNTS: Final = (0, 1, -1, None, 10**38, -(10**38), 10**38 + 1, 9 * 10**37, 10**25 + 1)
TEXTS: Final = (
    "",
    "9000",
    "9001",
    "i1",
    "x" * 65,
    "ö",
    "FETUSDT",
    "fet-usdt",
    "18446744073709551616",
)
GARBAGE: Final[dict[type[Record], dict[str, tuple[Any, ...]]]] = {
    KernelIntent: {
        **dict.fromkeys(("quantity_e8", "reference_price_e10", "limit_price_e10"), NUMBERS),
        **dict.fromkeys(("received_ms", "expires_ms", "working_ms", "leverage"), NUMBERS),
        "deadline_ms": NUMBERS,
        **dict.fromkeys(
            ("entry_cost", "carried_realized"), tuple(a for a in AMOUNTS if a is not None)
        ),
        **dict.fromkeys(("intent_id", "trade_id", "asset", "venue_order_id"), TEXTS),
        "slot_id": (-2, -1, 0, 1, 2, 3, 16, 17, 20, 40_000),
        "contract": (
            None,
            ContractRules(tick_e10=0, step_e8=1),
            ContractRules(tick_e10=1, step_e8=0),
            ContractRules(tick_e10=1, step_e8=1, min_quantity_e8=-1),
            ContractRules(tick_e10=1, step_e8=1, min_notional=10**38),
            ContractRules(tick_e10=1, step_e8=1, taker_fee_e9=10**9),
        ),
        "exit_leg_ratios_e9": ((), (0,), (10**9 + 1,), (1,) * 8, (1,) * 9),
    },
    VenueEvent: {
        **dict.fromkeys(
            ("quantity_e8", "price_e10", "last_quantity_e8", "last_price_e10"), NUMBERS
        ),
        **dict.fromkeys(("received_ms", "exchange_ms", "retry_after_ms", "requested_ms"), NUMBERS),
        **dict.fromkeys(("cost", "fee", "realized", "amount"), AMOUNTS),
        **dict.fromkeys(("asset", "venue_order_id", "client_order_id", "event_id"), TEXTS),
        "slot_id": (-2, -1, 0, 1, 2, 3, 16, 17, 20, 40_000),
        "side": tuple(OrderSide),
        "position_side": tuple(PositionSide),
        "error_code": (0, 1, -1, 2**31, -(2**31)),
        "kind": tuple(Kind),
        "source": tuple(EvidenceSource),
        "increment": (True, False),
    },
}


def garbled(record: Record, c: Choices) -> Record:
    """The record with one field that makes no sense, or another sense."""
    fields = GARBAGE[type(record)]
    name = c.of(tuple(fields))
    return msgspec.structs.replace(record, **{name: c.of(fields[name])})
