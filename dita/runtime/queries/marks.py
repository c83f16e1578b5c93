"""Marks: what positions are worth now and how near their liquidation is, from the venue's answers.

A mark is journalled as MARK_PRICE at most once per answer, and not when it has not changed; what is
only shown stays here.  Unknown is unknown: no price is worked out from anything else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dita.contracts import KernelCommandType, KernelIntent, Record, TradeSlot
from dita.identity import plain_symbol
from dita.runtime.loop import Runtime
from dita.units import RATIO_ONE, format_price
from dita.venues import PositionReport

#: Marks of one trade are journalled no closer together than this.
APART_MS: Final = 2_000
#: Distance to the liquidation price over the mark, in 10^-9: nearer is an alarm, until it is far.
NEAR_E9: Final = 100_000_000
FAR_E9: Final = 120_000_000


class Mark(Record, frozen=True, kw_only=True):
    """What the venue says of the position on a trade's symbol and side.

    Prices are 0 and ``distance_e9`` is -1 where it does not say.  ``at_ms`` is kernel time.
    """

    mark_price_e10: int
    liquidation_price_e10: int
    distance_e9: int
    unrealized: int | None
    leverage: int
    at_ms: int


class Marks:
    """The newest mark of each open trade."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        #: By trade id.
        self.known: dict[str, Mark] = {}
        self._told_ms: dict[str, int] = {}

    async def take(self, reports: Iterable[PositionReport]) -> None:
        """A whole answer about positions: what it does not mention is not known any more."""
        held = {(plain_symbol(r.asset), int(r.side)): r for r in reports if r.quantity_e8}
        slots = self._runtime.engine.kernel.active_slots()
        now_ms = self._runtime.time.now_ms()
        before, self.known = self.known, {}
        news: list[KernelIntent] = []
        for slot in slots:
            report = held.get((plain_symbol(slot.asset), int(slot.side)))
            if report is None or slot.size_e8 <= 0:
                continue
            self.known[slot.trade_id] = mark = _mark(report, now_ms)
            self._watch_liquidation(slot, mark)
            if self._is_news(slot, mark, now_ms):
                self._told_ms[slot.trade_id] = now_ms
                news.append(_intent(slot, mark))
        for gone in before.keys() - self.known.keys():
            self._runtime.alarms.end(_alarm(gone))
        open_trades = {slot.trade_id for slot in slots}
        self._told_ms = {t: ms for t, ms in self._told_ms.items() if t in open_trades}
        await self._runtime.post(*news)

    def _is_news(self, slot: TradeSlot, mark: Mark, now_ms: int) -> bool:
        if not mark.mark_price_e10 or mark.mark_price_e10 == slot.mark_price_e10:
            return False
        return now_ms - self._told_ms.get(slot.trade_id, -APART_MS) >= APART_MS

    def _watch_liquidation(self, slot: TradeSlot, mark: Mark) -> None:
        if mark.distance_e9 < 0 or mark.distance_e9 >= FAR_E9:
            self._runtime.alarms.end(_alarm(slot.trade_id))
        elif mark.distance_e9 < NEAR_E9:
            percent_e1 = mark.distance_e9 // 1_000_000
            self._runtime.alarms.begin(
                _alarm(slot.trade_id),
                f"{slot.side.name} {slot.asset}: mark {format_price(mark.mark_price_e10)}, "
                f"liquidation at {format_price(mark.liquidation_price_e10)}, "
                f"{percent_e1 // 10}.{percent_e1 % 10} % away",
            )


def _mark(report: PositionReport, now_ms: int) -> Mark:
    mark, liquidation = report.mark_price_e10, report.liquidation_price_e10
    is_known = mark > 0 and liquidation > 0
    return Mark(
        mark_price_e10=mark,
        liquidation_price_e10=liquidation,
        distance_e9=abs(mark - liquidation) * RATIO_ONE // mark if is_known else -1,
        unrealized=report.unrealized,
        leverage=report.leverage,
        at_ms=now_ms,
    )


def _intent(slot: TradeSlot, mark: Mark) -> KernelIntent:
    return KernelIntent(
        command=KernelCommandType.MARK_PRICE,
        received_ms=1,
        trade_id=slot.trade_id,
        asset=slot.asset,
        reference_price_e10=mark.mark_price_e10,
    )


def _alarm(trade_id: str) -> str:
    return f"liquidation near: {trade_id}"
