"""A long day of one trader: inputs of every kind, always the same."""

from __future__ import annotations

from dita.contracts import (
    ControlAction,
    OrderSide,
)
from support.engine_driver import SHORT, Desk, Kind, m, p, q


def long_day() -> Desk:
    """A history with everything in it: two trades, a freeze, a settlement, a liquidation."""
    desk = Desk()
    desk.anchor("25000")
    desk.open(100, "10", side=SHORT, legs=("0.5", "1"))
    desk.exit()
    desk.fill("X1", 50, "9", full=True, fee=m("0.2"))
    desk.anchor("25049.8", exchange_ms=desk.now)
    desk.exit(name="X2")
    desk.fill("X2", 50, full=True)
    desk.settle("X2", 50, "55")
    desk.final("X1", 50)
    desk.final("X2", 50)
    desk.event(Kind.FUNDING_FEE, event_id="f1", amount=m("-1"))
    desk.quiet_anchor("25103.8")
    desk.enter(30, "2", trade="T2", asset="TRX-USDT")
    desk.event(Kind.PARTIAL_FILL, asset="TRX-USDT", venue_order_id="77", quantity_e8=q(10))
    desk.order("T2", Kind.ORDER_ACK, venue_order_id="77")
    desk.order("T2", Kind.FULL_FILL, venue_order_id="77", quantity_e8=q(30), price_e10=p("2.01"))
    desk.event(
        Kind.LIQUIDATION,
        asset="TRX-USDT",
        side=OrderSide.SELL,
        venue_order_id="88",
        quantity_e8=q(30),
        price_e10=p("1.5"),
    )
    desk.anchor("25030")
    desk.now += 130_000
    desk.anchor("25030")
    desk.control(ControlAction.REBASE, amount=desk.engine.snapshot.drift)
    desk.anchor("25030")
    desk.tick(130_000)
    return desk
