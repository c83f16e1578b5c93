"""Positions that were closed, put together from the events that told of them (dossier §2.4).

The core keeps open positions only; what a closed one had entered and left for is summed here from
its fills. Asks the core nothing.
"""

from __future__ import annotations

from dita.contracts import Record
from dita.exchange.model.records import (
    AccountUpdate,
    OrderUpdate,
    Position,
    PositionSide,
    UserEvent,
)

Key = tuple[str, PositionSide]


class ClosedPosition(Record, frozen=True, kw_only=True):
    """One closed position. ``state`` is the position when it became flat."""

    state: Position
    quantity_e8: int
    entry_cost: int
    exit_value: int
    profit: int  # of its closings, without fees and funding
    fee: int

    @property
    def funding(self) -> int:
        """What is neither profit nor fee of all that was booked to it."""
        return self.state.realized - self.profit + self.fee


class _Tally:
    """Sums of a position that is open or has just been closed."""

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.entered_e8 = self.entry_cost = 0
        self.left_e8 = self.exit_value = 0
        self.profit = self.fee = 0

    def enter(self, quantity_e8: int, price_e10: int, fee: int) -> None:
        self.entered_e8 += quantity_e8
        self.left_e8 += quantity_e8
        self.entry_cost += price_e10 * quantity_e8
        self.fee += fee

    def leave(self, quantity_e8: int, price_e10: int) -> None:
        self.left_e8 -= quantity_e8
        self.exit_value += price_e10 * quantity_e8


class ClosedPositions:
    """All of them, oldest first."""

    def __init__(self) -> None:
        self.rows: list[ClosedPosition] = []
        self._open: dict[Key, _Tally] = {}
        self._flat: dict[Key, _Tally] = {}

    def take(self, event: UserEvent, *, one_way: bool) -> None:
        """Count an event of the core, in its order."""
        if isinstance(event, OrderUpdate) and event.last_quantity_e8:
            self._fill(event)
        elif isinstance(event, AccountUpdate):
            for position in event.positions:
                if not position.quantity_e8:
                    side = PositionSide.BOTH if one_way else position.side
                    self._close(position, (position.symbol, side))

    def _fill(self, event: OrderUpdate) -> None:
        """A fill opens, adds, closes, or closes and opens the other way with the rest; its fee
        then belongs to what it opened, as in the core."""
        key = (event.order.symbol, event.order.position_side)
        sign, left_e8, fee = event.order.side.sign, event.last_quantity_e8, event.fee
        tally = self._open.get(key)
        if tally is not None and tally.sign != sign:
            closing_e8 = min(left_e8, tally.left_e8)
            left_e8 -= closing_e8
            tally.leave(closing_e8, event.last_price_e10)
            tally.profit += event.profit
            tally.fee += 0 if left_e8 else fee
            if not tally.left_e8:
                self._flat[key] = self._open.pop(key)
        if left_e8:
            self._open.setdefault(key, _Tally(sign)).enter(left_e8, event.last_price_e10, fee)

    def _close(self, position: Position, key: Key) -> None:
        tally = self._flat.pop(key, None)
        if tally is not None:
            self.rows.append(
                ClosedPosition(
                    state=position,
                    quantity_e8=tally.entered_e8,
                    entry_cost=tally.entry_cost,
                    exit_value=tally.exit_value,
                    profit=tally.profit,
                    fee=tally.fee,
                )
            )
