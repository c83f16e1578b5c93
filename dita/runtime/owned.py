"""How much of a position is ours, when no serve can say it.

The sound part of the journal says what we held at its end; the exchange's own list of orders says
what those with our client ids filled since.  Whoever asks caps the answer by the live position:
nothing of anybody else's is closed for it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple

from dita.contracts import OrderSide
from dita.engine import Engine
from dita.identity import plain_symbol
from dita.venues import OrderReport, PositionReport

#: Orders are looked at from so long before the journal's last sound record: clocks differ.
MARGIN_MS: Final = 600_000
#: An order of an emergency; with a 0, which no id of a kernel has.
EMERGENCY_SHAPE: Final = re.compile(r"flatten0[a-z2-7]{24}")
#: Or one of a kernel of this program (identity.client_order_id).
OUR_SHAPE: Final = re.compile(rf"[a-z2-7]{{32}}|{EMERGENCY_SHAPE.pattern}")

#: The orders of a symbol since a time, 0 for as far back as the exchange shows them.
Orders = Callable[[str, int], Awaitable[Iterable[OrderReport]]]


class Known(NamedTuple):
    """What the sound part of a journal knows, and until when.

    ``sizes`` is by symbol and by side (0 in one-way mode), signed; ``filled`` by client order id.
    With ``by_hand`` a person said the size: of what filled since, only an emergency's own orders
    are taken off it.
    """

    until_ms: int
    sizes: dict[tuple[str, int], int]
    filled: dict[str, int]
    hedge: bool = False
    by_hand: bool = False


def known_by(engine: Engine | None, *, hedge: bool) -> Known:
    """The knowledge of an engine that was played up to the last sound record."""
    if engine is None:
        return Known(0, {}, {}, hedge)
    kernel = engine.kernel
    sizes: dict[tuple[str, int], int] = {}
    for slot in kernel.active_slots():
        place = (plain_symbol(slot.asset), int(slot.side) if hedge else 0)
        sizes[place] = sizes.get(place, 0) + slot.side * slot.size_e8
    orders = (o for trade in kernel.trades() for o in kernel.orders_of(trade.trade_no))
    filled = {o.client_order_id: o.filled_e8 for o in orders if o.client_order_id}
    return Known(kernel.now_ms, sizes, filled, hedge)


def is_ours(client_order_id: str) -> bool:
    """Has a client order id the form of one of ours?"""
    return OUR_SHAPE.fullmatch(client_order_id.lower()) is not None


async def own_size(position: PositionReport, known: Known, orders_of: Orders) -> int:
    """Our signed quantity in a position: what was known, and what own orders filled since.

    In hedge mode an order does not say which side it belonged to; one that filled since then leaves
    nothing proven, and the answer is 0.
    """
    since_ms = max(0, known.until_ms - MARGIN_MS)
    place = (plain_symbol(position.asset), int(position.side) if known.hedge else 0)
    since_e8 = 0
    for order in await orders_of(position.asset, since_ms):
        shape = EMERGENCY_SHAPE if known.by_hand else OUR_SHAPE
        client_id = order.client_order_id.lower()
        if not shape.fullmatch(client_id) or order.side is OrderSide.UNKNOWN:
            continue
        before = known.filled.get(client_id)
        if before is None and order.updated_ms <= known.until_ms:
            continue  # of a trade that the journal knew to be over
        moved_e8 = order.filled_e8 - (before or 0)
        if moved_e8 and known.hedge and not known.by_hand:
            return 0
        since_e8 += order.side * moved_e8
    return known.sizes.get(place, 0) + since_e8


def closable(position: PositionReport, own_e8: int) -> int:
    """How much of a live position may be closed for us: ours, and never more than is there."""
    return max(0, min(own_e8 * position.side, position.quantity_e8))
