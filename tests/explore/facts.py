"""The kernel's views by name: a slot, a trade and an order as the compiled core tells them.

The only place of the exploration that knows the order of figures in the core's tuples.
"""

from __future__ import annotations

from typing import NamedTuple

from dita._kernel import Core
from dita.contracts import ENDED_STATUSES, TradeStage

_ENDED_FROM = min(ENDED_STATUSES)
_ALL = 2**62  # a goal at least this large is everything, whatever it will be
STALE = int(TradeStage.STALE_STATE_RECONCILING)
CLOSED = int(TradeStage.CLOSED)
_DUST = 2


class SlotFacts(NamedTuple):
    """A slot in use."""

    at: int
    state: int
    flags: int
    latched: bool
    trade: int
    entry_order: int
    exit_order: int
    goal: int
    proven: int

    @property
    def stale(self) -> bool:
        """Is it in doubt?"""
        return self.state == STALE

    @property
    def wants_all(self) -> bool:
        """Is an exit of everything latched?"""
        return self.latched and self.goal >= _ALL

    @property
    def dust(self) -> bool:
        """Did the exchange call its residue too small?"""
        return bool(self.flags & _DUST)


class TradeFacts(NamedTuple):
    """A trade of the tables."""

    number: int
    side: int
    entered: int
    exited: int
    returned: int
    open_orders: int
    orders: tuple[int, ...]

    @property
    def size(self) -> int:
        """What is left of it."""
        return self.entered - self.exited + self.returned


class OrderFacts(NamedTuple):
    """An order of the registry; ``vid`` is 0 as long as the exchange's id is not known."""

    number: int
    vid: int
    trade: int
    role: int
    side: int
    status: int
    final: bool
    external: bool
    intended: int
    filled: int

    @property
    def ended(self) -> bool:
        """Does it work no more, as far as the kernel knows?"""
        return self.status >= _ENDED_FROM

    @property
    def terminal(self) -> bool:
        """Is its end read from the exchange's own records?"""
        return self.ended and self.final


def slot_at(core: Core, at: int) -> SlotFacts:
    """A slot in use."""
    raw = core.slot(at)
    return SlotFacts(at, raw[0], raw[1], raw[2], raw[3], raw[4], raw[5], raw[7], raw[11])


def slots(core: Core) -> list[SlotFacts]:
    """Every slot in use."""
    return [slot_at(core, at) for at in core.active_slots()]


def trade_of(core: Core, number: int) -> TradeFacts:
    """A trade that is in the tables."""
    raw = core.trade(number)
    assert raw is not None
    return TradeFacts(raw[0], raw[3], raw[5], raw[8], raw[20], raw[15], raw[19])


def trades(core: Core) -> list[TradeFacts]:
    """Every trade of the tables, oldest first."""
    return [trade_of(core, raw[0]) for raw in sorted(core.trades())]


def order_of(core: Core, number: int) -> OrderFacts | None:
    """An order of the registry, None when it is not there."""
    raw = core.order(number)
    if raw is None:
        return None
    return OrderFacts(
        raw[0], raw[1], raw[3], raw[5], raw[6], raw[8], raw[9], raw[10], raw[12], raw[13]
    )


def orders_of(core: Core, trade: TradeFacts) -> list[OrderFacts]:
    """The orders of a trade, oldest first."""
    found = (order_of(core, number) for number in trade.orders)
    return [order for order in found if order is not None]
