"""All orders, found by either id, by symbol, and by the time they ended; and their fills.

Lookups never walk through history: an order costs the same after a million others.  The oldest of
very many ended ones are forgotten.  It knows nothing of prices, positions or money.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict

from dita.exchange.model.records import Fill, Order, Refused

NOT_FOUND = 109421
#: orderId holds a time in its upper bits (dossier §1.3).
SNOWFLAKE_EPOCH_MS = 1_288_834_974_657
SNOWFLAKE_SHIFT = 22


class Orders:
    """The registry of one account."""

    def __init__(self, history_min: int = 100_000) -> None:
        self._history_min = history_min
        self.by_id: dict[int, Order] = {}
        self.by_client: dict[str, Order] = {}
        self.open: dict[str, dict[int, Order]] = defaultdict(dict)
        self.fills: list[Fill] = []
        self.fills_of: dict[int, list[Fill]] = defaultdict(list)
        self._ended: dict[str, list[Order]] = defaultdict(list)
        self._newest_id = 0

    def mint_id(self, now_ms: int) -> int:
        """An id that says its time and is greater than every one before."""
        least = (now_ms - SNOWFLAKE_EPOCH_MS) << SNOWFLAKE_SHIFT
        self._newest_id = max(least, self._newest_id + 1)
        return self._newest_id

    def add(self, order: Order) -> None:
        """A new order, working."""
        self.by_id[order.order_id] = order
        if order.client_order_id:
            self.by_client[order.client_order_id] = order
        self.open[order.symbol][order.order_id] = order

    def end(self, order: Order) -> None:
        """It has ended: no list of working orders has it any more."""
        self.open[order.symbol].pop(order.order_id, None)
        ended = self._ended[order.symbol]
        ended.append(order)
        if len(ended) >= 2 * self._history_min:
            self._forget(ended)

    def _forget(self, ended: list[Order]) -> None:
        """Let the older half go, and their fills with them."""
        gone = {order.order_id for order in ended[: self._history_min]}
        for order in ended[: self._history_min]:
            del self.by_id[order.order_id]
            self.by_client.pop(order.client_order_id, None)
            self.fills_of.pop(order.order_id, None)
        del ended[: self._history_min]
        self.fills = [fill for fill in self.fills if fill.order_id not in gone]

    def forget_all(self) -> None:
        """Nothing was ever ordered; new ids still rise."""
        self.by_id.clear()
        self.by_client.clear()
        self.open.clear()
        self.fills.clear()
        self.fills_of.clear()
        self._ended.clear()

    def add_fill(self, fill: Fill) -> None:
        """A fill, in the order of time."""
        self.fills.append(fill)
        self.fills_of[fill.order_id].append(fill)

    def find(self, symbol: str, order_id: int = 0, client_order_id: str = "") -> Order:
        """The order with this id, or with this client id, in whatever case.  Refused 109421."""
        order = self.by_id.get(order_id) if order_id else None
        if order is None and client_order_id:
            order = self.by_client.get(client_order_id.lower())
        if order is None or order.symbol != symbol:
            raise Refused(NOT_FOUND, "order not exist")
        return order

    def working(self, symbol: str = "") -> list[Order]:
        """Orders that have not ended, oldest first."""
        if symbol:
            return list(self.open[symbol].values())
        return sorted(
            (order for orders in self.open.values() for order in orders.values()),
            key=lambda order: order.order_id,
        )

    def history(
        self, symbol: str, start_ms: int, end_ms: int, limit: int, ended_only: bool, order_id: int
    ) -> list[Order]:
        """Orders by the time of their last change, oldest first, ends inclusive."""
        found: list[Order] = []
        for name in [symbol] if symbol else list(self._ended):
            ended = self._ended[name]
            first = bisect_left(ended, start_ms, key=_updated_ms)
            last = bisect_right(ended, end_ms, key=_updated_ms) if end_ms else len(ended)
            if not order_id:
                last = min(last, first + limit)
            found += ended[first:last]
        if not ended_only:
            found += [
                order
                for order in self.working(symbol)
                if start_ms <= order.updated_ms and (not end_ms or order.updated_ms <= end_ms)
            ]
        found.sort(key=lambda order: (order.updated_ms, order.order_id))
        return [order for order in found if order.order_id >= order_id][:limit]

    def fills_between(
        self, symbol: str, start_ms: int, end_ms: int, order_id: int = 0
    ) -> list[Fill]:
        """Fills of a symbol (or all for "") or of one order, oldest first, ends inclusive."""
        fills = self.fills_of.get(order_id, []) if order_id else self.fills
        first = bisect_left(fills, start_ms, key=_filled_ms)
        last = bisect_right(fills, end_ms, key=_filled_ms) if end_ms else len(fills)
        return [fill for fill in fills[first:last] if not symbol or fill.symbol == symbol]


def _updated_ms(order: Order) -> int:
    return order.updated_ms


def _filled_ms(fill: Fill) -> int:
    return fill.filled_ms
