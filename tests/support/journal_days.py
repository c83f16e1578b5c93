"""A disk in memory that loses what was not synced, and journals of random days."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any, Final

from hypothesis import strategies as st

from dita.contracts import (
    BalanceReason,
    KernelIntent,
    OrderSide,
    TradeSide,
    VenueEvent,
)
from dita.engine import Engine
from dita.journal import (
    Journal,
    JournalReader,
)
from support.engine_driver import SHORT, Desk, Kind, m, p, q

SMALL: Final = 8_192


HEADER: Final = 64  # of a segment


Input = KernelIntent | VenueEvent


def opened(where: Path | str = "/j", disk: Any = None, **more: Any) -> Journal:
    more.setdefault("segment_bytes", SMALL)
    return Journal.open(where, namespace="pink", created_ms=1, disk=disk, **more)


def tick(number: int, **fields: Any) -> VenueEvent:
    return VenueEvent(kind=Kind.TICK, received_ms=1_000 + number, **fields)


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("journal-*.seg"))


def record_places(data: bytes | bytearray) -> list[tuple[int, int]]:
    """(offset, size) of each record of a segment."""
    found: list[tuple[int, int]] = []
    at = HEADER
    while at + 32 <= len(data) and (length := int.from_bytes(data[at : at + 4], "little")):
        size = 32 + (length + 7) // 8 * 8
        found.append((at, size))
        at += size
    return found


def replayed(journal: JournalReader) -> Engine:
    engine = journal.epoch.engine()
    journal.replay_into(engine)
    return engine


def mark_of(folder: Path) -> Path:
    """The file that says up to where a journal was synced."""
    return folder.with_name(f"{folder.name}.high-water")


_OPS: Final = "enter ack part full final exit cancel reject unknown expire anchor tick external"


OPS = st.sampled_from([*_OPS.split(), "fund", "odd"])


def random_day(chance: Random, ops: list[str]) -> list[Input]:
    """A history of one desk: sensible and foolish inputs mixed."""
    desk = Desk()
    desk.anchor("25000")
    names = 0
    for op in ops:
        trade = f"T{chance.randrange(3)}"
        known = list(desk.venue_ids)
        name = chance.choice(known) if known else ""
        quantity = chance.randrange(1, 40)
        price = f"{chance.randrange(900, 1_100)}e-2"
        if op == "enter":
            desk.enter(quantity, price, trade=trade, side=chance.choice((SHORT, TradeSide.LONG)))
        elif op == "exit":
            names += 1
            desk.exit(trade=trade, name=f"X{names}")
        elif op == "cancel":
            desk.cancel(trade=trade)
        elif op in ("anchor", "fund"):
            wallet = f"{chance.randrange(20_000, 30_000)}"
            desk.anchor(wallet, balance_reason=BalanceReason(2 if op == "fund" else 0))
        elif op == "tick":
            desk.tick(chance.randrange(10_000, 200_000))
        elif op == "external":
            desk.event(
                Kind.LIQUIDATION, asset="FET-USDT", side=OrderSide.SELL, venue_order_id="88",
                quantity_e8=q(quantity), price_e10=p(price),
            )  # fmt: skip
        elif op == "odd":
            desk.event(Kind.PARTIAL_FILL, client_order_id="foreign", quantity_e8=q(1))
        elif name:
            _order_event(desk, op, name, chance, quantity)
    return desk.inputs


def _order_event(desk: Desk, op: str, name: str, chance: Random, quantity: int) -> None:
    venue = chance.choice([{}, {"venue_order_id": f"venue-{name}"}])
    kinds = {
        "ack": Kind.ORDER_ACK,
        "part": Kind.PARTIAL_FILL,
        "full": Kind.FULL_FILL,
        "final": Kind.ORDER_FINAL,
        "reject": Kind.ORDER_REJECT,
        "unknown": Kind.ORDER_UNKNOWN,
        "expire": Kind.ORDER_EXPIRED,
    }
    desk.order(name, kinds[op], quantity_e8=q(quantity), price_e10=p("10"), fee=m("0.1"), **venue)
