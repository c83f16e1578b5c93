"""The measured workload: many trades over sixteen slots, as records and as packed inputs.

Every slot works one trade after another: ENTER, its ack, cumulative partial fills, the final
figures, then one or two exits of the same shape.  The slots are interleaved by a seeded choice and
a few fills arrive twice, as on a real stream.  The stream is made by running a kernel, because an
order's client id is only known from the kernel's own effects; nothing here is timed.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

from msgspec import structs

from dita.contracts import (
    ContractRules,
    Effect,
    EffectKind,
    EvidenceSource,
    KernelCommandType,
    KernelEventKind,
    KernelIntent,
    KernelOutcome,
    TradeSide,
    VenueEvent,
)
from dita.engine import Engine
from dita.kernel import KernelConfig

Input = KernelIntent | VenueEvent
Script = Generator[Input, KernelOutcome, None]

SLOTS: Final = 16
CONFIG: Final = KernelConfig(slot_limit=SLOTS)
WALLET: Final = 250_000
ANCHOR_MS: Final = 1_764_000_000_000
START_MS: Final = ANCHOR_MS + 60_000
FEE_E9: Final = 500_000
CONTRACT: Final = ContractRules(
    tick_e10=100_000,
    step_e8=10**8,
    min_quantity_e8=10**8,
    taker_fee_e9=FEE_E9,
    maker_fee_e9=200_000,
)
ONE_MONEY: Final = 10**18
DUPLICATES: Final = 0.02
FILLS: Final = frozenset({KernelEventKind.PARTIAL_FILL, KernelEventKind.FULL_FILL})


@dataclass(frozen=True, slots=True)
class Piece:
    """One fill of an order: its own quantity and price, and the order's levels after it."""

    quantity_e8: int
    price_e10: int
    filled_e8: int
    cost: int


@dataclass(frozen=True, slots=True)
class Stream:
    """The workload in every form that a measurement takes."""

    #: The engine's state before the first record, and the core's within it.
    saved: bytes
    saved_core: bytes
    #: Applied before the saved state was taken: the balance that anchors the account.
    setup: tuple[Input, ...]
    records: tuple[Input, ...]
    packed: tuple[bytes, ...]
    #: Which records are fills that were applied.
    applied_fill: tuple[bool, ...]
    fills_per_order: int
    trades: int

    def joined(self) -> bytearray:
        """The packed records in one buffer, for the batch entrance."""
        return bytearray(b"".join(self.packed))


class _Tape:
    """Time, prices and sizes of the stream, from one seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now_ms = START_MS
        self.venue_ids = 1_900_000_000_000_000_000
        self.trades = 0

    def stamped(self, record: Input) -> Input:
        """The record as it arrives now."""
        self.now_ms += self.chance.randint(1, 4)
        if isinstance(record, KernelIntent):
            return structs.replace(record, received_ms=self.now_ms)
        return structs.replace(record, received_ms=self.now_ms, exchange_ms=self.now_ms - 3)

    def venue_id(self) -> str:
        self.venue_ids += self.chance.randint(1, 10**6)
        return str(self.venue_ids)

    def pieces(self, quantity_e8: int, count: int, price_e10: int) -> list[Piece]:
        """Cut a quantity into fills at prices near the given one."""
        lots = quantity_e8 // CONTRACT.step_e8
        cuts = sorted(self.chance.sample(range(1, lots), count - 1))
        pieces: list[Piece] = []
        filled = cost = 0
        for low, high in zip([0, *cuts], [*cuts, lots], strict=True):
            price = price_e10 + self.chance.randint(-20, 20) * CONTRACT.tick_e10
            quantity = (high - low) * CONTRACT.step_e8
            filled += quantity
            cost += price * quantity
            pieces.append(Piece(quantity, price, filled, cost))
        return pieces


def _submit(outcome: KernelOutcome) -> Effect:
    return next(effect for effect in outcome.effects if effect.kind is EffectKind.SUBMIT)


def _fill(order: Effect, venue_id: str, piece: Piece, last: bool) -> VenueEvent:
    return VenueEvent(
        kind=KernelEventKind.FULL_FILL if last else KernelEventKind.PARTIAL_FILL,
        received_ms=0,
        asset=order.asset,
        venue_order_id=venue_id,
        client_order_id=order.client_order_id,
        side=order.side,
        quantity_e8=piece.filled_e8,
        price_e10=piece.cost // piece.filled_e8,
        last_quantity_e8=piece.quantity_e8,
        last_price_e10=piece.price_e10,
    )


def _final(order: Effect, venue_id: str, piece: Piece, realized: int | None) -> VenueEvent:
    return VenueEvent(
        kind=KernelEventKind.ORDER_FINAL,
        received_ms=0,
        asset=order.asset,
        venue_order_id=venue_id,
        client_order_id=order.client_order_id,
        side=order.side,
        quantity_e8=piece.filled_e8,
        cost=piece.cost,
        # The venue's own figures have eight decimals.
        fee=piece.cost * FEE_E9 // 10**9 // 10**10 * 10**10,
        realized=None if realized is None else realized // 10**10 * 10**10,
        source=EvidenceSource.FILL_HISTORY,
    )


def _work(
    tape: _Tape, order: Effect, fills: int, price_e10: int, entry: tuple[int, int] | None
) -> Script:
    """Acknowledge an order, fill it in pieces, give its final figures."""
    venue_id = tape.venue_id()
    yield VenueEvent(
        kind=KernelEventKind.ORDER_ACK,
        received_ms=0,
        asset=order.asset,
        venue_order_id=venue_id,
        client_order_id=order.client_order_id,
        side=order.side,
    )
    pieces = tape.pieces(order.quantity_e8, fills, price_e10)
    for number, piece in enumerate(pieces, 1):
        event = _fill(order, venue_id, piece, number == fills)
        yield event
        if tape.chance.random() < DUPLICATES:
            yield event
    realized = None
    if entry is not None:
        cost, quantity_e8 = entry
        side = -order.side  # of the trade
        realized = side * (pieces[-1].cost - cost * order.quantity_e8 // quantity_e8)
    yield _final(order, venue_id, pieces[-1], realized)


def _trade(tape: _Tape, slot: int, fills: int) -> Script:
    """One trade from ENTER until the slot is free; every second one leaves in two legs."""
    tape.trades += 1
    name = f"{tape.trades:08d}"
    side = TradeSide.LONG if tape.chance.random() < 0.5 else TradeSide.SHORT
    price = tape.chance.randint(2_000, 9_000) * CONTRACT.tick_e10 * 10
    quantity = tape.chance.randint(4_000, 200_000) * CONTRACT.step_e8
    legs = (10**9,) if tape.trades % 2 else (5 * 10**8, 10**9)
    outcome = yield KernelIntent(
        command=KernelCommandType.ENTER,
        received_ms=0,
        intent_id=f"enter-{name}",
        trade_id=f"trade-{name}",
        slot_id=slot,
        asset=f"COIN{slot:02d}-USDT",
        side=side,
        quantity_e8=quantity,
        reference_price_e10=price,
        leverage=2,
        exit_leg_ratios_e9=legs,
        contract=CONTRACT,
    )
    entry = _submit(outcome)
    cost = 0
    for record in _work(tape, entry, fills, price, None):
        if isinstance(record, VenueEvent) and record.cost is not None:
            cost = record.cost
        yield record
    for number in range(len(legs)):
        outcome = yield KernelIntent(
            command=KernelCommandType.EXIT,
            received_ms=0,
            intent_id=f"exit-{name}-{number}",
            trade_id=f"trade-{name}",
            slot_id=slot,
            asset=f"COIN{slot:02d}-USDT",
        )
        moved = price + tape.chance.randint(-300, 300) * CONTRACT.tick_e10
        yield from _work(tape, _submit(outcome), fills // len(legs), moved, (cost, quantity))


def _anchor() -> VenueEvent:
    return VenueEvent(
        kind=KernelEventKind.ACCOUNT_UPDATE,
        received_ms=ANCHOR_MS,
        exchange_ms=ANCHOR_MS,
        asset="USDT",
        amount=WALLET * ONE_MONEY,
    )


def _slot_script(tape: _Tape, slot: int, fills: int, trades: int) -> Script:
    for _ in range(trades):
        yield from _trade(tape, slot, fills)


def make(trades_per_slot: int, fills: int = 20, seed: int = 20_260) -> Stream:
    """Make a stream of ``SLOTS × trades_per_slot`` trades."""
    tape = _Tape(seed)
    engine = Engine(CONFIG)
    setup = (_anchor(),)
    for balance in setup:
        engine.apply(balance)
    saved = engine.save()
    saved_core = engine.kernel._core.save()
    scripts = [_slot_script(tape, slot, fills, trades_per_slot) for slot in range(SLOTS)]
    waiting = {slot: next(script) for slot, script in enumerate(scripts)}
    records: list[Input] = []
    packed: list[bytes] = []
    applied_fill: list[bool] = []
    while waiting:
        slot = tape.chance.choice(list(waiting))
        record = tape.stamped(waiting.pop(slot))
        packed.append(engine.kernel.pack(record).pack())
        outcome = engine.apply(record).kernel
        records.append(record)
        applied_fill.append(
            isinstance(record, VenueEvent) and record.kind in FILLS and outcome.accepted
        )
        try:
            waiting[slot] = scripts[slot].send(outcome)
        except StopIteration:
            continue
    return Stream(
        saved,
        saved_core,
        setup,
        tuple(records),
        tuple(packed),
        tuple(applied_fill),
        fills,
        tape.trades,
    )
