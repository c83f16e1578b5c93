"""What need not be journalled: events of strangers, and position answers that say nothing new.

What is left out never reaches the engine, so each rule holds only where the engine would change
nothing: an event about an order on a symbol that we do not use, and an answer about a position that
equals the last one judged while nothing of ours has changed.  It asks nobody and decides nothing
else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from dita.contracts import KernelEventKind, OrderSide, VenueEvent
from dita.engine import Engine, Outcome
from dita.identity import plain_symbol
from dita.runtime.loop import Input

_Kind = KernelEventKind
#: Kinds that are about one order; all others may concern the account or a position.
ABOUT_ORDERS: Final = frozenset(
    {
        _Kind.ORDER_ACK,
        _Kind.PARTIAL_FILL,
        _Kind.FULL_FILL,
        _Kind.CANCEL_ACK,
        _Kind.CANCEL_REJECT,
        _Kind.ORDER_REJECT,
        _Kind.ORDER_EXPIRED,
        _Kind.ORDER_UNKNOWN,
        _Kind.RATE_LIMITED,
        _Kind.FILL_SETTLED,
        _Kind.LIQUIDATION,
        _Kind.ADL,
    }
)
#: With a slot on the symbol an answer's age counts in the kernel: one so often all the same.
AGAIN_MS: Final = 60_000


def is_strangers(event: VenueEvent, symbols: Collection[str], *, is_known: bool) -> bool:
    """Is an event of the stream about nothing of ours, for certain?

    ``symbols`` are those that any trade of ours is or was on, without hyphens; ``is_known`` says
    that the event names an order of ours.  Without a symbol, nothing is certain.
    """
    return (
        event.kind in ABOUT_ORDERS
        and not is_known
        and event.slot_id < 0
        and event.asset != ""
        and plain_symbol(event.asset) not in symbols
    )


class Strangers:
    """Drops strangers' events before the journal, and counts them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        kernel = engine.kernel
        #: Symbols of every trade since the start, and of those that the kernel remembers.
        self._symbols = {plain_symbol(kernel.asset_of(t.trade_no)) for t in kernel.trades()}
        self.dropped = 0

    def note(self, record: Input, outcome: Outcome) -> None:
        """An input was applied: a command may have begun to use a symbol."""
        if not isinstance(record, VenueEvent) and record.asset and outcome.kernel.accepted:
            self._symbols.add(plain_symbol(record.asset))

    def drops(self, event: VenueEvent) -> bool:
        """Is it a stranger's, and not to be journalled?"""
        kernel = self._engine.kernel
        is_known = (
            kernel.order_of_venue(event.venue_order_id) is not None
            or kernel.order_of_client(event.client_order_id.lower()) is not None
        )
        if not is_strangers(event, self._symbols, is_known=is_known):
            return False
        self.dropped += 1
        return True


class _Judged(NamedTuple):
    asset: str
    theirs_e8: int
    ours: tuple[Any, ...]
    at_ms: int


class PositionAnswers:
    """The last judged answer about each position, and what of ours it was compared with."""

    def __init__(self, engine: Engine, now_ms: Callable[[], int]) -> None:
        self._engine = engine
        self._now_ms = now_ms
        self._judged: dict[tuple[str, int], _Judged] = {}
        self.left_out = 0

    def note(self, record: Input, outcome: Outcome) -> None:
        """An answer was applied: it is the last one judged.  To be called at once after it."""
        if not isinstance(record, VenueEvent) or record.kind is not KernelEventKind.POSITION:
            return
        key = self._key(record)
        if outcome.kernel.accepted:
            self._judged[key] = _Judged(
                record.asset, _signed(record), self._ours(record.asset), self._now_ms()
            )
        else:
            self._judged.pop(key, None)

    def says_nothing_new(self, event: VenueEvent) -> bool:
        """May the answer be left out?  Of a slot in use one a minute is not."""
        known = self._judged.get(self._key(event))
        if known is None or known.theirs_e8 != _signed(event):
            return False
        ours = self._ours(event.asset)
        if ours != known.ours or (ours and self._now_ms() - known.at_ms >= AGAIN_MS):
            return False
        self.left_out += 1
        return True

    def foreign(self) -> tuple[str, ...]:
        """Symbols on which the last answer saw something: it has to be told when it is gone."""
        return tuple(seen.asset for seen in self._judged.values() if seen.theirs_e8)

    def _key(self, event: VenueEvent) -> tuple[str, int]:
        side = int(event.side) if self._engine.kernel.config.hedge else 0
        return plain_symbol(event.asset), side

    def _ours(self, asset: str) -> tuple[Any, ...]:
        """Everything of ours on a symbol that an answer can be judged with; a mark is not."""
        kernel, plain = self._engine.kernel, plain_symbol(asset)
        return tuple(
            (replace(slot, mark_price_e10=0, unrealized=0), kernel.orders_of(slot.trade_no))
            for slot in kernel.active_slots()
            if plain_symbol(slot.asset) == plain
        )


def _signed(event: VenueEvent) -> int:
    return -event.quantity_e8 if event.side is OrderSide.SELL else event.quantity_e8
