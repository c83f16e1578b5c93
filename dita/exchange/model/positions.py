"""Positions and what they bind: entry value, realized PnL at a close, margin, liquidation.

Amounts are exact but for one rounding to the wallet's last digit at each close, and the identity
entry value + realized = exit value holds to the last unit.  It moves no wallet and knows no order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from dita.exchange.model.records import MarginType, Position, PositionSide, Side

#: The wallet's last digit: 10^-8.
WALLET_STEP: Final = 10**10


def wallet_money(amount: int, divisor: int = 1) -> int:
    """An amount over a positive divisor, rounded half-even to the wallet's last digit."""
    unit = divisor * WALLET_STEP
    whole, rest = divmod(amount, unit)
    if 2 * rest > unit or (2 * rest == unit and whole % 2):
        whole += 1
    return whole * WALLET_STEP


Key = tuple[str, PositionSide]


class Positions:
    """Every open position of the account, by symbol and position side (BOTH in one-way mode)."""

    def __init__(self) -> None:
        self.open: dict[Key, Position] = {}

    def get(self, symbol: str, side: PositionSide) -> Position | None:
        """The position that an order for this side meets."""
        return self.open.get((symbol, side))

    def closable_e8(self, symbol: str, position_side: PositionSide, side: Side) -> int:
        """How much an order of this side would close."""
        position = self.open.get((symbol, position_side))
        return position.quantity_e8 if position and position.sign != side.sign else 0

    def trade(
        self,
        key: Key,
        side: Side,
        quantity_e8: int,
        price_e10: int,
        new: Callable[[PositionSide], Position],
        now_ms: int,
    ) -> tuple[int, list[Position]]:
        """Book a fill; (realized PnL, positions that changed, a flat one among them).

        In one-way mode what is left after closing opens the other direction.
        """
        position = self.open.get(key)
        realized, changed = 0, []
        if position is not None and position.sign != side.sign:
            closing = min(quantity_e8, position.quantity_e8)
            realized = _close(position, closing, price_e10, now_ms)
            changed.append(position)
            quantity_e8 -= closing
            if not position.quantity_e8:
                del self.open[key]
                position = None
        if quantity_e8:
            if position is None:
                position = new(PositionSide.LONG if side is Side.BUY else PositionSide.SHORT)
                self.open[key] = position
            position.quantity_e8 += quantity_e8
            position.cost += price_e10 * quantity_e8
            position.updated_ms = now_ms
            changed.append(position)
        return realized, changed

    def of(self, symbol: str) -> list[Position]:
        """Open positions of a symbol, or all for ""."""
        return [p for p in self.open.values() if not symbol or p.symbol == symbol]


def _close(position: Position, closing_e8: int, price_e10: int, now_ms: int) -> int:
    exact = price_e10 * closing_e8 * position.quantity_e8 - position.cost * closing_e8
    realized = wallet_money(position.sign * exact, position.quantity_e8)
    position.cost -= price_e10 * closing_e8 - position.sign * realized
    position.quantity_e8 -= closing_e8
    if not position.quantity_e8:
        position.cost = 0  # what rounding left
    position.realized += realized
    position.updated_ms = now_ms
    return realized


def to_liquidate(
    positions: Iterable[Position],
    wallet: int,
    mark_e10: Callable[[str], int],
    maintenance_e9: Callable[[str], int],
) -> list[Position]:
    """Positions whose margin is used up: isolated ones by themselves, crossed ones together."""
    crossed: list[Position] = []
    found: list[Position] = []
    equity, needed = wallet, 0
    for position in positions:
        mark = mark_e10(position.symbol)
        need = mark * position.quantity_e8 * maintenance_e9(position.symbol) // 10**9
        unrealized = position.unrealized(mark)
        if position.margin_type is MarginType.CROSSED:
            crossed.append(position)
            equity += unrealized
            needed += need
        else:
            equity -= position.margin
            if position.margin + unrealized <= need:
                found.append(position)
    if crossed and equity <= needed:
        found += crossed
    return found


def liquidation_price_e10(
    position: Position,
    others: Iterable[Position],
    wallet: int,
    mark_e10: Callable[[str], int],
    maintenance_e9: Callable[[str], int],
) -> int:
    """The mark at which this position would be liquidated while the others stay; 0 when never."""
    if not position.quantity_e8:
        return 0
    if position.margin_type is MarginType.CROSSED:
        room = wallet
        for other in others:
            if other is position:
                continue
            if other.margin_type is not MarginType.CROSSED:
                room -= other.margin
                continue
            mark = mark_e10(other.symbol)
            value = mark * other.quantity_e8
            room += other.unrealized(mark) - value * maintenance_e9(other.symbol) // 10**9
    else:
        room = position.margin
    # room + sign x (p x q - cost) = p x q x m
    rate = position.sign * 10**9 - maintenance_e9(position.symbol)
    price = (position.sign * position.cost - room) * 10**9 // (rate * position.quantity_e8)
    return max(0, price)
