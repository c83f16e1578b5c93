"""A night with losses, liquidation and funding, written as a journal."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from dita.contracts import (
    KernelIntent,
    OrderSide,
    VenueEvent,
)
from dita.journal import Journal, Note
from dita.kernel import KernelConfig
from support.engine_driver import LONG, SHORT, Desk, Kind, m, p, q
from support.long_days import long_day

FET = "FET-USDT"


Input = KernelIntent | VenueEvent


Record = Input | Note


#: A saved state of a few KiB instead of a MiB.
SMALL = KernelConfig(seen=256)


def write(folder: Path, records: list[Record], *, after: int = 0, hedge: bool = False) -> None:
    """Append records to a journal, those from ``after`` on."""
    journal = Journal.open(
        folder / "journal", namespace="pink", created_ms=1, segment_bytes=65_536,
        kernel=msgspec.structs.replace(SMALL, hedge=hedge),
    )  # fmt: skip
    engine = journal.epoch.engine()
    journal.replay_into(engine)
    for record in records[after:]:
        if isinstance(record, Note):
            journal.append_note(record)
        else:
            journal.append(record, engine.kernel.pack(record).pack())
            engine.apply(record)
    journal.close()


@pytest.fixture
def written_day(tmp_path: Path) -> Path:
    write(tmp_path, list(long_day().inputs))
    return tmp_path


def bad_night() -> Desk:
    """A loss with funding, a close by hand, a liquidation, a refused entry and one still open."""
    desk = Desk()
    desk.quiet_anchor("25000")
    desk.enter(1000, "0.5", side=SHORT, reason="eva: breakout", leverage=2)
    desk.ack()
    desk.fill("T1", 1000, "0.5", full=True, fee=m("1"))
    desk.final("T1", 1000, "500", fee=m("1"))
    desk.event(Kind.FUNDING_FEE, asset=FET, amount=m("-0.3"), event_id="f1")
    desk.exit(reason="eva: enough")
    desk.fill("X1", 1000, "0.5101", full=True, fee=m("1"))
    desk.final("X1", 1000, "510.1", fee=m("1"), realized=m("-10.1"))
    desk.quiet_anchor("24987.6")
    desk.open(100, "10", trade="T2", asset="TRX-USDT")
    desk.event(Kind.FULL_FILL, asset="TRX-USDT", venue_order_id="777", side=OrderSide.SELL,
               quantity_e8=q(100), price_e10=p("9.9"))  # fmt: skip
    desk.event(Kind.POSITION, asset="TRX-USDT")
    desk.order("T2", Kind.ORDER_FINAL, venue_order_id="777", client_order_id="",
               quantity_e8=q(100), cost=m("990"))  # fmt: skip
    desk.quiet_anchor("24977.6")
    desk.enter(5, "100", trade="T3", asset="SOL-USDT")
    desk.order("T3", Kind.ORDER_REJECT, error_code=101204, message="Insufficient margin")
    desk.open(10, "20", trade="T4", asset="BNB-USDT", side=LONG)
    return desk
