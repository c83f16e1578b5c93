"""NautilusTrader's Order.apply and Position.apply over the planned fills.

Started by ``peers`` with the interpreter of the peer's own environment: it knows NautilusTrader and
not dita.  Events, orders and positions are ready before the clock starts.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import nautilus_trader
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.model.currencies import ADA, USDT
from nautilus_trader.model.enums import LiquiditySide, OrderSide, OrderType
from nautilus_trader.model.events import OrderAccepted, OrderFilled, OrderSubmitted
from nautilus_trader.model.identifiers import (
    AccountId,
    ClientOrderId,
    InstrumentId,
    PositionId,
    StrategyId,
    Symbol,
    TradeId,
    TraderId,
    VenueOrderId,
)
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.model.orders import MarketOrder
from nautilus_trader.model.position import Position

from benchmarks.peer_rounds import Fill, Plan, Stopwatch, serve

FEE = Decimal("0.0005")
TICK = Decimal("0.00001")
NAMES = {
    "trader_id": TraderId("TRADER-001"),
    "strategy_id": StrategyId("S-001"),
    "instrument_id": InstrumentId.from_str("ADAUSDT-PERP.SIM"),
}
ACCOUNT = AccountId("SIM-001")
STAMP = {"ts_event": 0, "ts_init": 0}


def instrument() -> CryptoPerpetual:
    """A linear perpetual with the plan's tick and step."""
    return CryptoPerpetual(
        instrument_id=NAMES["instrument_id"],
        raw_symbol=Symbol("ADAUSDT"),
        base_currency=ADA,
        quote_currency=USDT,
        settlement_currency=USDT,
        is_inverse=False,
        price_precision=5,
        price_increment=Price.from_str("0.00001"),
        size_precision=0,
        size_increment=Quantity.from_int(1),
        taker_fee=FEE,
        maker_fee=FEE,
        margin_init=Decimal("0.05"),
        margin_maint=Decimal("0.02"),
        **STAMP,
    )


def side_of(sign: int) -> OrderSide:
    """BUY or SELL."""
    return OrderSide.BUY if sign > 0 else OrderSide.SELL


def filled(number: int, fill: Fill) -> OrderFilled:
    """The event of one planned fill."""
    notional = fill.lots * fill.ticks * TICK
    return OrderFilled(
        **NAMES,
        client_order_id=ClientOrderId(f"O-{fill.order}"),
        venue_order_id=VenueOrderId(f"V-{fill.order}"),
        account_id=ACCOUNT,
        trade_id=TradeId(f"T-{number}"),
        position_id=PositionId(f"P-{fill.trade}"),
        order_side=side_of(fill.side),
        order_type=OrderType.MARKET,
        last_qty=Quantity.from_int(fill.lots),
        last_px=Price.from_str(str(fill.ticks * TICK)),
        currency=USDT,
        commission=Money(notional * FEE, USDT),
        liquidity_side=LiquiditySide.TAKER,
        event_id=UUID4(),
        **STAMP,
    )


def accepted_order(number: int, sign: int, lots: int) -> MarketOrder:
    """An order that works at the venue."""
    client_id, venue_id = ClientOrderId(f"O-{number}"), VenueOrderId(f"V-{number}")
    order = MarketOrder(
        **NAMES,
        client_order_id=client_id,
        order_side=side_of(sign),
        quantity=Quantity.from_int(lots),
        init_id=UUID4(),
        ts_init=0,
    )
    told = {"client_order_id": client_id, "account_id": ACCOUNT, "event_id": UUID4(), **STAMP}
    order.apply(OrderSubmitted(**NAMES, **told))
    order.apply(OrderAccepted(**NAMES, venue_order_id=venue_id, **told))
    return order


class Peer:
    """The plan with its events."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.instrument = instrument()
        self.events = [filled(number, fill) for number, fill in enumerate(plan.fills)]
        self.sides = {fill.order: fill.side for fill in plan.fills}

    def run(self) -> tuple[float, dict[int, Any]]:
        """One pass over fresh orders: nanoseconds per timed fill, and the positions."""
        plan, positions = self.plan, {}
        orders = {n: accepted_order(n, self.sides[n], lots) for n, lots in plan.order_lots.items()}
        watch = Stopwatch()
        for run in plan.runs:
            first = plan.fills[run[0]]
            if first.opens:
                event = self.events[run[0]]
                orders[first.order].apply(event)
                positions[first.trade] = Position(self.instrument, event)
                continue
            work = [
                (orders[plan.fills[i].order], positions[plan.fills[i].trade], self.events[i])
                for i in run
            ]
            watch.start()
            for order, position, event in work:
                order.apply(event)
                position.apply(event)
            watch.stop(len(work))
        return watch.per_fill(), positions

    def figures(self) -> dict[str, list[str]]:
        """Per trade: the quantity left and the realized PnL without commissions."""
        _, positions = self.run()
        figures: dict[str, list[str]] = {}
        for trade, position in positions.items():
            paid = sum((money.as_decimal() for money in position.commissions()), Decimal(0))
            gross = position.realized_pnl.as_decimal() + paid
            figures[str(trade)] = [str(position.quantity.as_decimal()), str(gross)]
        return figures


def main() -> None:
    """Serve rounds of the plan named on the command line."""
    peer = Peer(Plan.load(Path(sys.argv[1])))
    about = {"version": nautilus_trader.__version__, "trades": peer.figures()}
    serve(about, lambda: peer.run()[0])


if __name__ == "__main__":
    main()
