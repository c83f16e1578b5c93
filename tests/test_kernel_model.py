"""The compiled kernel against the plain model: the same histories, the same state after every step.

An imagined exchange and a careless desk make up histories: honest reports, reports that come twice,
late, never or garbled, commands at any moment.  After every input the outcomes and the whole state
are equal; what is refused has changed nothing; batches, saved states and shuffled deliveries end in
the same place.  It knows the kernel through its records, and the core's packed bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_model import Effect, KernelModel, ModelOutcome, Record

from dita import _kernel
from dita.contracts import (
    BalanceReason,
    ContractRules,
    ControlAction,
    EffectKind,
    EvidenceSource,
    KernelCommandType,
    KernelDiagnosticCode,
    KernelEventKind,
    KernelIntent,
    KernelOutcome,
    OrderRole,
    OrderSide,
    OrderType,
    ReconcileStatus,
    RejectReason,
    TradeRecord,
    TradeSide,
    TradeStage,
    VenueEvent,
)
from dita.errors import BadField
from dita.identity import client_order_id, venue_key_of
from dita.kernel import ExecutionKernel, KernelConfig

Code = KernelDiagnosticCode
Command = KernelCommandType
Kind = KernelEventKind

SYMBOLS: Final = ("FET-USDT", "TRX-USDT", "ADA-USDT")
LOT: Final = 10**8
#: Histories per test: 20 times what the profile says (4 000 by default), and fractions of it.
EXAMPLES: Final = 20 * settings.get_profile(settings.get_current_profile_name()).max_examples
CONFIGS: Final = tuple(
    KernelConfig(slot_limit=slots, hedge=hedge, seen=seen, balance_max_age_ms=age, seed=seed)
    for slots, hedge, seen, age, seed in (
        (2, False, 64, 0, 0),
        (2, True, 64, 0, 10**21),
        (1, False, 16, 0, 0),
        (3, False, 64, 600_000, 0),
    )
)

NO_DRIFT: Final[tuple[Any, ...]] = (0, {}, ReconcileStatus.OK)


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

    def __init__(self) -> None:
        self.now = 1_000_000
        self.orders: list[Venue] = []
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
                self.orders.append(
                    Venue(
                        client_id=effect.client_order_id,
                        venue_id=str(9_000 + len(self.orders)),
                        symbol=effect.asset,
                        side=effect.side,
                        quantity=effect.quantity_e8,
                        price=effect.price_e10 or 10**10,
                    )
                )
            elif effect.kind is EffectKind.QUERY_POSITION and effect.asset:
                self.doubts.append(effect.asset)
            elif effect.order_no and effect.venue_order_id:
                self.asked.append(effect.venue_order_id)

    # -- the next input ----------------------------------------------------------------------------

    def step(self, number: int) -> Record | tuple[bool, bool]:
        """The input that this number stands for, or a judgement of the account."""
        c = Choices(number)
        self.now += c.of((1, 0, 50, 700, 1_500, 2_500, 9_000, 70_000, 130_000, 400_000))
        if c.once_in(60):
            return c.once_in(2), c.once_in(2)
        record: Record = c.of(STEPS)(self, c)
        if c.once_in(12):
            record = garbled(record, c)
        if c.once_in(7):
            self.late.append(record)
            record = self.order_event(c)
        self.told.append(record)
        return record

    def name(self, prefix: str) -> str:
        """An id that was not used before."""
        self.count += 1
        return f"{prefix}{self.count}"

    def exchange_ms(self, c: Choices) -> int:
        """Mostly now; sometimes not told, or in the past."""
        return int(self.now - c.of((0, 0, 0, 5, 300, 1_900, 30_000, self.now)))

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
        known = [order for order in self.orders if order.venue_id == venue_id]
        if not known:
            return self.event(c, Kind.ORDER_FINAL, venue_order_id=venue_id, quantity_e8=0)
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

    def terms(self, c: Choices) -> dict[str, Any]:
        """What an entry needs."""
        step = c.of((LOT, LOT // 10, 7 * LOT // 10, 3))
        return {
            "trade_id": "T1" if c.once_in(8) else f"T{self.count}",
            "asset": c.of(SYMBOLS),
            "side": c.of((TradeSide.LONG, TradeSide.SHORT)),
            "quantity_e8": step * (1 + c.below(60)),
            "leverage": 1 + c.below(3),
            "exit_leg_ratios_e9": c.of(LEGS),
            "contract": ContractRules(
                tick_e10=10**6,
                step_e8=step,
                min_quantity_e8=c.of((0, 0, step * 3)),
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
            reference_price_e10=10**10 + c.below(10**9),
            expires_ms=c.of((0, self.now + 60_000)),
            slot_id=c.of((0, 1, 3)) if c.once_in(6) else -1,
        )

    def manner(self, c: Choices) -> dict[str, Any]:
        """How an order is to be worked."""
        if c.below(3):
            return {"working_ms": c.of((0, 0, 2_000))}
        return {
            "order_type": OrderType.LIMIT,
            "limit_price_e10": 10**10 + 10**6 * c.below(500),
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
        )

    def cancel(self, c: Choices) -> Record:
        """CANCEL."""
        return self.intent(Command.CANCEL, **self.where(c))

    def mark(self, c: Choices) -> Record:
        """MARK_PRICE."""
        place = {"asset": c.of(SYMBOLS)} if c.below(2) else self.where(c)
        price = 10**10 + c.below(10**9)
        return self.intent(Command.MARK_PRICE, reference_price_e10=price, **place)

    def reconcile(self, c: Choices) -> Record:
        """RECONCILE: a doubt, or an order of the trade that we did not know."""
        if c.below(3):
            return self.intent(Command.RECONCILE, **self.where(c))
        role = c.of((OrderRole.ENTRY, OrderRole.EXIT))
        order = Venue(
            client_id="",
            venue_id=c.of((str(9_000 + len(self.orders)), "a-strange-id", "9000")),
            symbol=c.of(SYMBOLS),
            side=OrderSide.UNKNOWN,
            quantity=LOT * (1 + c.below(20)),
            price=10**10,
        )
        self.orders.append(order)
        return self.intent(
            Command.RECONCILE,
            role=role,
            venue_order_id=order.venue_id,
            quantity_e8=order.quantity,
            **self.where(c),
        )

    def adopt(self, c: Choices) -> Record:
        """RECONCILE of a free slot."""
        terms = self.terms(c)
        price = c.of((0, 10**10 + c.below(10**9), 10**10 + c.below(10**9)))
        return self.intent(
            Command.RECONCILE,
            **terms,
            entry_cost=price * terms["quantity_e8"],
            carried_realized=c.of((0, 10**18, -7)),
            slot_id=c.of((-1, -1, 0, 1)),
        )

    def control(self, c: Choices) -> Record:
        """CONTROL; mostly to resume, so that histories go on."""
        resume = ControlAction.RESUME
        action = c.of((*(resume,) * 12, *ControlAction, None))
        amount = c.of((None, c.below(10**6) - 10**5))
        asset = c.of(("", "", "", SYMBOLS[0]))
        deadline_ms = c.of((0, 0, 0, self.now, self.now - 1))
        return self.intent(
            Command.CONTROL, action=action, amount=amount, asset=asset, deadline_ms=deadline_ms
        )

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
        price = order.price + c.below(10**9) - 4 * 10**8
        fee = part * price // 2_000 * (1 if c.below(8) else -1)
        gain = (c.below(10**6) - 5 * 10**5) * part // 10**4
        order.fill(max(1, part), price, fee, gain)
        order.ended = order.filled >= order.quantity and c.below(3) > 0
        kind = Kind.FULL_FILL if order.filled >= order.quantity else Kind.PARTIAL_FILL
        if c.once_in(9):
            kind = c.of((Kind.FULL_FILL, Kind.PARTIAL_FILL, Kind.LIQUIDATION))
        return self.report(c, order, kind, **self.levels(c, order, 0))

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
        return self.report(c, order, Kind.ORDER_REJECT, reject=c.of(tuple(RejectReason)))

    def trouble(self, c: Choices, order: Venue) -> Record:
        """Answers that are none."""
        kind = c.of((Kind.ORDER_UNKNOWN, Kind.ORDER_ABSENT, Kind.CANCEL_REJECT, Kind.RATE_LIMITED))
        return self.report(c, order, kind, retry_after_ms=c.of((0, 0, 700, 90_000)))

    def final(self, c: Choices, order: Venue) -> Record:
        """ORDER_FINAL: the order query alone, or the fill history."""
        source = c.of((EvidenceSource.FILL_HISTORY, EvidenceSource.ORDER_QUERY))
        told: dict[str, Any] = {"quantity_e8": order.filled, "source": source}
        if c.below(4):
            told |= {"cost": order.cost, "fee": order.fee}
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
            source=c.of((EvidenceSource.STREAM, EvidenceSource.ORDER_QUERY)),
            realized=c.of((order.realized, order.realized, 0, None)),
            fee=c.of((None, order.fee)),
        )

    # -- the rest of what an exchange says ---------------------------------------------------------

    def position(self, c: Choices) -> Record:
        """POSITION: what our orders add up to, or now and then something else."""
        symbol = c.of(SYMBOLS)
        if self.doubts and c.below(4):
            symbol = self.doubts.pop()
        ours = sum(int(o.side) * o.filled for o in self.orders if o.symbol == symbol)
        if c.once_in(4):
            ours = c.of((0, ours + LOT, -ours, ours // 2))
        side = OrderSide.BUY if ours > 0 else OrderSide.SELL if ours < 0 else OrderSide.UNKNOWN
        return self.event(c, Kind.POSITION, asset=symbol, side=side, quantity_e8=abs(ours))

    def closes(self, c: Choices) -> Record:
        """A close that was not ours: liquidation, ADL, by hand, or somebody else's trade."""
        kind = c.of((Kind.LIQUIDATION, Kind.ADL, Kind.PARTIAL_FILL))
        return self.event(
            c,
            kind,
            asset=c.of(SYMBOLS),
            side=c.of((OrderSide.BUY, OrderSide.SELL, OrderSide.UNKNOWN)),
            venue_order_id=c.of((self.name("x-"), self.name("666"), "")),
            client_order_id=c.of(("", "not-ours")),
            event_id=c.of(("", self.name("e"))),
            quantity_e8=LOT // 10 * (1 + c.below(300)),
            price_e10=c.of((0, 10**10 + c.below(10**9))),
            fee=c.of((None, 12_345_678_901)),
            realized=c.of((None, -(10**17))),
        )

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
        amount = c.below(10**18) - 5 * 10**17
        return self.event(c, kind, event_id=self.name("flow"), asset="USDT", amount=amount)

    def income_read(self, c: Choices) -> Record:
        """INCOME_READ, now and then of a time that was read before."""
        at_ms = self.now - c.of((0, 0, 1_000, 60_000))
        return self.event(c, Kind.INCOME_READ, exchange_ms=max(0, at_ms))

    def tick(self, c: Choices) -> Record:
        """TICK."""
        return VenueEvent(kind=Kind.TICK, received_ms=self.now)


LEGS: Final = ((10**9,), (5 * 10**8, 10**9), (333_333_333, 333_333_333, 10**9), (1, 10**9))
Report = Callable[[World, Choices, Venue], Record]
STEPS: Final[tuple[Callable[[World, Choices], Record], ...]] = (
    World.tick,
    *(World.order_event,) * 22,
    *(World.answer,) * 8,
    *(World.enter,) * 6,
    *(World.exit,) * 6,
    *(World.position,) * 4,
    *(World.balance,) * 3,
    *(World.duplicate,) * 3,
    *(World.delayed,) * 3,
    *(World.closes,) * 2,
    *(World.tick,) * 2,
    *(World.mark, World.cancel, World.reconcile, World.adopt, World.control, World.flow),
    World.income_read,
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


# -- side by side ----------------------------------------------------------------------------------


@dataclass
class Pair:
    """The kernel and the model, fed with the same inputs; everything is compared after each."""

    config: KernelConfig
    kernel: ExecutionKernel = field(init=False)
    model: KernelModel = field(init=False)
    packed: list[bytes | tuple[bool, bool]] = field(default_factory=list)
    twin: ExecutionKernel | None = None

    def __post_init__(self) -> None:
        self.kernel = ExecutionKernel(self.config)
        self.model = KernelModel(self.config)

    def judge(self, pending: bool, unexplained: bool) -> None:
        """Hand both the account's judgement."""
        changed, effects = self.model.judge(pending, unexplained)
        assert self.kernel.judge(pending, unexplained) == changed
        assert tuple(seen_effect(e) for e in self.kernel.effects()) == effects
        if self.twin is not None:
            self.twin.judge(pending, unexplained)
        self.packed.append((pending, unexplained))
        self.compare_state()

    def apply(self, record: Record) -> KernelOutcome:
        """Feed both; neither may find a state that the table does not allow."""
        core = self.kernel._core
        before = core.save()
        try:
            event = self.kernel.pack(record)
            self.packed.append(event.pack())
        except BadField:
            pass
        expected = self.model.apply(record)
        outcome = self.kernel.apply(record)
        compare_outcomes(outcome, expected, record)
        if self.twin is not None:
            assert self.twin.apply(record) == outcome
        if not outcome.accepted:
            assert core.save() == before, "a refused input changed the state"
        self.compare_state()
        return outcome

    def split(self) -> None:
        """From here on a kernel restored from saved bytes gets the same inputs."""
        saved = self.kernel.save()
        self.twin = ExecutionKernel.restore(saved)
        assert self.twin.save() == saved

    def finish(self) -> None:
        """The restored kernel, a batch and single packed inputs end in the same bytes."""
        if self.twin is not None:
            assert self.twin.state_hash() == self.kernel.state_hash()
        one_by_one, one_saved = replay(self.config, self.packed, batch=1)
        in_batches, batch_saved = replay(self.config, self.packed, batch=len(self.packed))
        assert one_by_one == in_batches
        assert one_saved == batch_saved == self.kernel._core.save()

    def compare_state(self) -> None:
        """Slots, orders, trades, ledger, exposure, held events: all of it."""
        kernel, model = self.kernel, self.model
        used = [slot for slot in model.slots if slot is not None]
        assert kernel.active_slots() == tuple(model.view_slot(slot) for slot in used)
        for slot in used:
            inner = kernel._core.slot(slot.index)
            flags = slot.stale * 1 | slot.dust * 2 | slot.recovery * 4
            assert inner[1:3] == (flags, slot.latched)
            assert inner[7:12] == (slot.goal, slot.mark, slot.stale_ms, slot.retry_ms, slot.proven)
        assert kernel.trades() == tuple(model.view_trade(t) for t in model.trades_by_no)
        for trade in model.trades_by_no:
            assert kernel.orders_of(trade.trade_no) == tuple(map(model.view_order, trade.orders))
        ledger = kernel.ledger()
        assert msgspec.structs.astuple(ledger) == model.view_ledger()
        assert kernel.held_events == len(model.held)
        assert (kernel.event_seq, kernel.trade_seq) == (model.event_seq, len(model.trades_by_no))
        assert kernel.unsettled_notional() == model.view_unsettled_notional()
        self.compare_account()

    def compare_account(self) -> None:
        """What the account publishes, also where its sums leave 128 bits."""
        exposure = self.model.view_exposure()
        assert self.kernel.exposure() == exposure
        account = self.kernel.account_snapshot(NO_DRIFT)
        assert account.capital == self.model.published()
        assert (account.open_positions, account.open_notional, account.unrealized) == exposure


def seen_effect(e: Any) -> Effect:
    """A request of the kernel in the model's words."""
    return Effect(
        e.kind, e.slot_id, e.order_no, e.trade_no, e.quantity_e8, e.price_e10, e.realized, e.fees
    )


def compare_outcomes(got: KernelOutcome, expected: ModelOutcome, record: Record) -> None:
    """Field by field."""
    assert (got.accepted, got.code) == (expected.accepted, expected.code), (record, got, expected)
    assert got.event_seq == expected.event_seq
    assert got.effects == () or got.effects is not None
    assert tuple(seen_effect(e) for e in got.effects) == expected.effects
    assert set(got.notes) == expected.notes
    if not got.accepted and expected.what != "?":
        assert got.details.get("field", "") == expected.what
    if got.code is Code.RATE_LIMITED:
        assert got.details.get("retry_after_ms", 0) == expected.retry_after_ms
    t = got.transition
    assert (t is not None) == (expected.accepted and expected.trade_no > 0)
    if t is not None:
        assert (t.slot_id, t.trade_no, t.order_no) == (
            expected.slot,
            expected.trade_no,
            expected.order_no,
        )
        assert (t.before, t.after, t.leg_index) == (
            expected.before,
            expected.after,
            expected.leg,
        )
        assert (t.quantity_delta_e8, t.size_e8) == (expected.quantity_delta, expected.size)
        assert (t.realized_delta, t.trueup_delta, t.fee_delta) == (
            expected.realized_delta,
            expected.trueup_delta,
            expected.fee_delta,
        )


def replay(
    config: KernelConfig, packed: list[bytes | tuple[bool, bool]], batch: int
) -> tuple[bytes, bytes]:
    """Packed outcomes and saved core after packed inputs, applied in batches between judgements."""
    kernel = ExecutionKernel(config)
    outcomes, waiting = [], b""
    for item in [*packed, None]:
        if isinstance(item, bytes):
            waiting += item
        if waiting and (not isinstance(item, bytes) or batch == 1):
            target = bytearray(len(waiting) // _kernel.INPUT_SIZE * _kernel.OUTCOME_SIZE)
            if batch == 1:
                target[:] = kernel._core.apply(_kernel.Event.unpack(waiting)).pack()
            else:
                kernel.apply_batch(waiting, target)
            outcomes.append(bytes(target))
            waiting = b""
        if isinstance(item, tuple):
            kernel.judge(*item)
    return b"".join(outcomes), kernel._core.save()


histories = st.lists(st.integers(0, 2**24 - 1), min_size=20, max_size=100)


def inputs(world: World, numbers: list[int]) -> Iterator[Record | tuple[bool, bool]]:
    """The world's inputs, one for each number; 0 is left out, so that histories shrink."""
    for number in numbers:
        if number:
            yield world.step(number)


@settings(max_examples=EXAMPLES)
@given(st.sampled_from(CONFIGS), histories, st.integers(0, 99))
def test_kernel_equals_model(config: KernelConfig, numbers: list[int], cut: int) -> None:
    """Every outcome, every figure; then batches and a restored kernel."""
    pair, world = Pair(config), World()
    for position, record in enumerate(inputs(world, numbers)):
        if position == cut:
            pair.split()
        if isinstance(record, tuple):
            pair.judge(*record)
            continue
        world.hear(pair.apply(record))
    pair.finish()


@given(st.lists(st.integers(0, 50), min_size=60, max_size=160))
def test_ids_are_forgotten_by_generations(ids: list[int]) -> None:
    """An id is known for at least as many ids as a generation holds, then given up with its own."""
    pair = Pair(KernelConfig(slot_limit=1, seen=16))
    for number, flow in enumerate(ids):
        pair.apply(
            VenueEvent(kind=Kind.FUNDING_FEE, received_ms=1 + number, event_id=f"{flow}", amount=1)
        )
    pair.split()
    pair.apply(VenueEvent(kind=Kind.FUNDING_FEE, received_ms=10**6, event_id="0", amount=1))
    pair.finish()


class Failing(World):
    """A world in which submits fail, one after the other."""

    def failure(self, c: Choices) -> Record:
        """The latest submit has failed."""
        if not self.orders:
            return self.enter(c)
        kinds = (Kind.ORDER_REJECT,) * 9 + (Kind.ORDER_ABSENT, Kind.ORDER_ABSENT, Kind.RATE_LIMITED)
        return self.event(c, c.of(kinds), client_order_id=self.orders[-1].client_id)

    def step(self, number: int) -> Record | tuple[bool, bool]:
        """Mostly a failure and the time after it."""
        c = Choices(number)
        self.now += c.of((1, 500, 1_000, 3_000, 20_000, 60_000))
        steps = (World.tick, *(Failing.failure,) * 4, *(World.tick,) * 2)
        rare = (World.enter, World.exit, World.adopt, World.control, Failing.switch)
        record: Record = c.of(rare)(self, c) if c.once_in(6) else c.of(steps)(self, c)
        return record

    def switch(self, c: Choices) -> Record:
        """HOLD or RESUME."""
        action = c.of((ControlAction.HOLD, ControlAction.RESUME))
        return self.intent(Command.CONTROL, action=action)


@settings(max_examples=EXAMPLES // 8)
@given(st.lists(st.integers(0, 2**24 - 1), min_size=60, max_size=160))
def test_failing_submits_equal_model(numbers: list[int]) -> None:
    """Back-off, its limit, what is sent again and what a freeze holds back."""
    pair, world = Pair(KernelConfig(slot_limit=1, seen=64)), Failing()
    for record in inputs(world, numbers):
        assert not isinstance(record, tuple)
        world.hear(pair.apply(record))
    pair.finish()


def closed_trade(world: World, number: int, venue_ids: tuple[str, str]) -> Iterator[Record]:
    """A trade that goes in and out, with these ids for its two orders."""
    terms = {
        "contract": CONTRACT,
        "quantity_e8": LOT,
        "asset": SYMBOLS[0],
        "trade_id": f"N{number}",
    }
    enter = world.intent(Command.ENTER, **terms, reference_price_e10=10**10)
    leave = world.intent(Command.EXIT, trade_id=f"N{number}")
    for intent, venue_id in zip((enter, leave), venue_ids, strict=True):
        yield intent
        yield VenueEvent(
            kind=Kind.ORDER_FINAL,
            received_ms=world.now,
            venue_order_id=venue_id,
            client_order_id=client_order_id("pink", 1, intent.intent_id, 0),
            quantity_e8=LOT,
            cost=LOT * 10**10,
            realized=0,
            source=EvidenceSource.FILL_HISTORY,
        )


@settings(max_examples=EXAMPLES // 200)
@given(st.integers(0, 2**32))
def test_full_tables_give_up_the_oldest_and_find_the_rest(number: int) -> None:
    """Hundreds of trades: what is still there is found by both ids, what is not by neither."""
    c, world = Choices(number), World()
    kernel = ExecutionKernel(KernelConfig(slot_limit=1, seen=1_024))
    used: set[str] = set()
    for count in range(150):
        venue_ids = (str(c.below(2**30) * 3 + 1), f"{world.name('hashed-')}-{c.below(2**30)}")
        used |= set(venue_ids)
        for record in closed_trade(world, count, venue_ids):
            assert kernel.apply(record).accepted
        if count % 30:
            continue
        assert kernel.trade(f"N{count}") is not None
        there = [o for t in kernel.trades() for o in kernel.orders_of(t.trade_no)]
        for order in there:
            assert kernel._core.order_of_venue(venue_key_of(order.venue_order_id)) == order.order_no
        for gone in used - {order.venue_order_id for order in there}:
            assert kernel._core.order_of_venue(venue_key_of(gone)) == 0
    assert kernel.trade("N0") is None


# -- properties of money ---------------------------------------------------------------------------


@dataclass
class Books:
    """What must hold of a kernel's money, whatever came in."""

    kernel: ExecutionKernel
    carried: dict[int, int] = field(default_factory=dict)

    def apply(self, record: Record) -> KernelOutcome:
        """Feed the kernel; a refusal leaves the hash of everything, a tick comes when it is due."""
        before, due = self.kernel.state_hash(), self.kernel.due_ms
        outcome = self.kernel.apply(record)
        if isinstance(record, VenueEvent) and record.kind is Kind.TICK and outcome.effects:
            assert 0 < due <= self.kernel.now_ms, "a tick did something that was not due"
        if not outcome.accepted:
            assert self.kernel.state_hash() == before
        elif isinstance(record, KernelIntent) and record.command is Command.RECONCILE:
            assert outcome.transition is not None
            if outcome.transition.before is TradeStage.IDLE:
                self.carried[outcome.transition.trade_no] = record.carried_realized
        return outcome

    def check(self) -> None:
        """K is its flows; its flows are the trades'; a trade that is out and priced is exact."""
        ledger, trades = self.kernel.ledger(), self.kernel.trades()
        assert ledger.realized == sum(t.realized - self.carried.get(t.trade_no, 0) for t in trades)
        assert ledger.trueup == sum(t.trueup for t in trades)
        assert ledger.fees == sum(t.fees for t in trades)
        flows = ledger.realized + ledger.trueup - ledger.fees + ledger.funding
        flows += ledger.transfers + ledger.adjustments
        assert ledger.k_capital == ledger.seed + flows
        for trade in trades:
            self.check_trade(trade)

    def check_trade(self, trade: TradeRecord) -> None:
        """side × (proceeds − cost), without a rounding, once all is out and all is priced."""
        orders = self.kernel.orders_of(trade.trade_no)
        entries = [o for o in orders if o.role is OrderRole.ENTRY]
        exits = [o for o in orders if o.role is OrderRole.EXIT]
        assert trade.fees == sum(o.fee for o in orders)
        if trade.trade_no not in self.carried:
            assert trade.entered_e8 == sum(o.filled_e8 for o in entries)
            assert trade.entry_cost == sum(o.cost for o in entries)
        inner = self.kernel._core.trade(trade.trade_no)
        if inner is None or inner[6] < inner[5]:
            return  # an adopted part without a basis: nothing is booked from prices
        if any(o.priced_e8 != o.filled_e8 for o in orders) or trade.entered_e8 != trade.exited_e8:
            return
        proceeds = sum(o.cost for o in exits)
        carried = self.carried.get(trade.trade_no, 0)
        assert trade.realized - carried == int(trade.side) * (proceeds - trade.entry_cost)


def with_leverage(record: Record, leverage: int) -> Record:
    """The same input at another exchange leverage, where it has a valid one."""
    if isinstance(record, KernelIntent) and 1 <= record.leverage <= 3:
        return msgspec.structs.replace(record, leverage=leverage)
    return record


@settings(max_examples=EXAMPLES // 4)
@given(st.sampled_from(CONFIGS), histories)
def test_money_is_conserved_and_free_of_leverage(config: KernelConfig, numbers: list[int]) -> None:
    books, world = Books(ExecutionKernel(config)), World()
    other = ExecutionKernel(config)
    for record in inputs(world, numbers):
        if isinstance(record, tuple):
            continue
        outcome = books.apply(with_leverage(record, 1))
        assert other.apply(with_leverage(record, 3)) == outcome
        world.hear(outcome)
        books.check()
        assert other.ledger() == books.kernel.ledger()
    assert other.trades() == books.kernel.trades()


@given(histories)
def test_first_balance_makes_k_the_wallet(numbers: list[int]) -> None:
    config = KernelConfig(seen=64)
    kernel, world = ExecutionKernel(config), World()
    for record in inputs(world, numbers):
        if isinstance(record, tuple):
            continue
        before = kernel.ledger()
        outcome = kernel.apply(record)
        world.hear(outcome)
        after = kernel.ledger()
        if after.seeded and not before.seeded:
            assert after.k_capital == after.wallet
        elif before.seeded:
            assert after.seed == before.seed


# -- convergence (design P4) -----------------------------------------------------------------------


@dataclass
class Script:
    """A trade of several orders at an exchange, and everything that is reported of it."""

    symbol: str = "FET-USDT"
    orders: list[Venue] = field(default_factory=list)
    setup: list[Record] = field(default_factory=list)
    stream: list[VenueEvent] = field(default_factory=list)
    position: list[VenueEvent] = field(default_factory=list)


def scripted(c: Choices, increments: bool) -> Script:
    """A random trade: some entries, some exits for not more than went in."""
    script, world = Script(), World()
    side = c.of((TradeSide.LONG, TradeSide.SHORT))
    entries = [LOT * (1 + c.below(50)) + c.below(3) for _ in range(1 + c.below(3))]
    left = sum(entries)
    exits = []
    for last in (False, False, True):
        exits.append(left if last and c.below(2) else c.below(left + 1))
        left -= exits[-1]
    terms = world.terms(c) | {"side": side, "asset": script.symbol, "trade_id": "T"}
    terms |= {"contract": CONTRACT, "quantity_e8": LOT * 100}
    enter = world.intent(Command.ENTER, **terms, reference_price_e10=10**10)
    script.setup.append(enter)
    for number, filled in enumerate((*entries, *exits)):
        way = int(side) if number < len(entries) else -int(side)
        order = Venue("", str(100 + number), script.symbol, OrderSide(way), filled, 10**10)
        script.orders.append(order)
        if filled:
            executed(script, order, c, increments)
    set_up(script, world, len(entries), enter.intent_id)
    size = sum(entries) - sum(exits)
    script.position.append(
        VenueEvent(
            kind=Kind.POSITION,
            received_ms=10**7,
            exchange_ms=10**7,
            asset=script.symbol,
            side=OrderSide(int(side)),
            quantity_e8=size,
        )
    )
    return script


CONTRACT: Final = ContractRules(
    tick_e10=10**6, step_e8=1, taker_fee_e9=500_000, maker_fee_e9=200_000
)


def set_up(script: Script, world: World, entries: int, first_intent: str) -> None:
    """The orders come to the registry one after the other, and end before any fill is told.

    Exits are brought in while the last entry lives.
    """
    client = client_order_id("pink", 1, first_intent, 0)
    script.setup.append(event_of(script.orders[0], Kind.ORDER_ACK, client_order_id=client))
    for number in range(1, entries):
        script.setup.append(event_of(script.orders[number - 1], Kind.CANCEL_ACK))
        script.setup.append(adoption(world, script.orders[number], OrderRole.ENTRY))
    for order in script.orders[entries:]:
        script.setup.append(adoption(world, order, OrderRole.EXIT))
        script.setup.append(event_of(order, Kind.CANCEL_ACK))
    script.setup.append(event_of(script.orders[entries - 1], Kind.CANCEL_ACK))


def adoption(world: World, order: Venue, role: OrderRole) -> KernelIntent:
    """RECONCILE that brings an order into the registry."""
    return world.intent(
        Command.RECONCILE,
        trade_id="T",
        role=role,
        venue_order_id=order.venue_id,
        quantity_e8=LOT * 1_000,
    )


def event_of(order: Venue, kind: Kind, **fields: Any) -> VenueEvent:
    """An event of the order at the exchange's time."""
    fields.setdefault("venue_order_id", order.venue_id)
    return VenueEvent(kind=kind, received_ms=1_000_000, exchange_ms=1_000_000, **fields)


def executed(script: Script, order: Venue, c: Choices, increments: bool) -> None:
    """Fill the order in pieces; report each piece, and the final figures."""
    while order.filled < order.quantity:
        quantity = min(order.quantity - order.filled, 1 + c.below(order.quantity))
        price = 10**10 + c.below(10**9)
        order.fill(quantity, price, quantity * price // 2_000, c.below(10**16))
        kind = c.of((Kind.PARTIAL_FILL, Kind.FULL_FILL, Kind.CANCEL_ACK))
        if increments:
            fill_id = order.fills[-1][0]
            told = {"quantity_e8": quantity, "price_e10": c.of((price, price, 0))}
            told |= {"increment": True, "event_id": fill_id}
            script.stream.append(event_of(order, kind, **told))
            continue
        script.stream.append(event_of(order, kind, **cumulative(order, c)))
        if c.below(2):
            source = c.of((EvidenceSource.STREAM, EvidenceSource.ORDER_QUERY))
            told = {"quantity_e8": order.filled, "realized": order.realized, "source": source}
            script.stream.append(event_of(order, Kind.FILL_SETTLED, **told))


def cumulative(order: Venue, c: Choices) -> dict[str, Any]:
    """What a stream tells of the order as it stands."""
    _, quantity, price = order.fills[-1]
    told: dict[str, Any] = {"quantity_e8": order.filled}
    if c.below(3):
        told |= {"price_e10": order.cost // order.filled}
    if c.below(2):
        told |= {"last_quantity_e8": quantity, "last_price_e10": price}
    if c.below(2):
        told |= {"fee": order.fee}
    if c.below(2):
        told |= {"realized": order.realized}
    return told


def final_of(order: Venue) -> VenueEvent:
    """The exchange's own records of the order."""
    return event_of(
        order,
        Kind.ORDER_FINAL,
        quantity_e8=order.filled,
        cost=order.cost,
        fee=order.fee,
        realized=order.realized,
        source=EvidenceSource.FILL_HISTORY,
    )


def delivered(script: Script, events: list[VenueEvent]) -> ExecutionKernel:
    """A kernel that got the set-up, these events, and the position at the end."""
    kernel = ExecutionKernel(KernelConfig(seen=1_024))
    for record in script.setup:
        outcome = kernel.apply(record)
        assert outcome.accepted, (record, outcome)
    for event in (*events, *script.position):
        kernel.apply(event)
    return kernel


def shuffled(c: Choices, events: list[VenueEvent]) -> list[VenueEvent]:
    """In any order."""
    keys = [c.below(2**30) for _ in events]
    return [events[n] for n in sorted(range(len(events)), key=keys.__getitem__)]


@settings(max_examples=EXAMPLES // 2)
@given(st.integers(0, 2**32), st.booleans())
def test_any_delivery_converges(number: int, increments: bool) -> None:
    """Shuffled, repeated and lost reports end like none at all, once every order is finalised."""
    c = Choices(number)
    script = scripted(c, increments)
    finals = [final_of(order) for order in script.orders]
    expected = delivered(script, finals).economic_hash()
    for _ in range(3):
        kept = [event for event in script.stream for _ in range(c.of((0, 1, 1, 2)))]
        if increments:  # what is not cumulative must not come after the final figures
            events = [*shuffled(c, kept), *shuffled(c, finals)]
        else:
            events = shuffled(c, [*kept, *finals, *finals])
        kernel = delivered(script, events)
        assert kernel.economic_hash() == expected
        check_result(kernel, script)


def check_result(kernel: ExecutionKernel, script: Script) -> None:
    """Nothing is left in doubt, and the money is what the fills say."""
    (trade,) = kernel.trades()
    assert all(order.final for order in kernel.orders_of(trade.trade_no))
    entries = [o for o in script.orders if int(o.side) == int(trade.side)]
    exits = [o for o in script.orders if int(o.side) != int(trade.side)]
    assert trade.entry_cost == sum(o.cost for o in entries)
    assert trade.fees == sum(o.fee for o in script.orders)
    if trade.entered_e8 == trade.exited_e8:
        proceeds = sum(o.cost for o in exits)
        assert trade.realized == int(trade.side) * (proceeds - trade.entry_cost)
        assert trade.realized + trade.trueup == sum(o.realized for o in exits)
        assert not kernel.active_slots()
