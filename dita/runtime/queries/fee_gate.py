"""The fee gate: are the fees that the venue really took those of the contract's rate?

Sizes, estimates and the checksum build on the rate, so a deviation means that one of them is wrong.
Looks at recent fills of our own market orders, at the start and once a day (design §14); asks, and
judges, but holds nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import partial
from typing import Final

from dita.contracts import ContractRules, OrderType, Record
from dita.runtime.loop import Runtime
from dita.runtime.queries.order_query import LOOK_BACK_MS
from dita.runtime.queries.questions import Questions
from dita.units import RATIO_ONE, format_money
from dita.venues import FillReport, QueryFailed

#: Deviation from the rate, in 10^-9: from here on it is told, and from here on nothing is entered.
WARN_E9: Final = 10_000_000
HOLD_E9: Final = 50_000_000


class FeeState(StrEnum):
    """What a look at the fees has shown."""

    UNKNOWN = "not calibrated"
    OK = "OK"
    WARN = "WARN"
    OFF = "OFF"


class FeeCheck(Record, frozen=True, kw_only=True):
    """The worst symbol's judgement; ``text`` says it to an operator."""

    state: FeeState = FeeState.UNKNOWN
    text: str = "no fill of ours to compare with"
    deviation_e9: int = 0
    fills: int = 0


def judge(asset: str, fills: Iterable[FillReport], rules: ContractRules, digit: int) -> FeeCheck:
    """Fees of market orders of one symbol against its taker rate.

    ``digit`` is how exactly a fee is told, in 10^-18: half of it per fill is rounding.
    """
    count = charged = expected = 0
    for fill in fills:
        count += 1
        charged += fill.fee
        expected += fill.price_e10 * fill.quantity_e8 * rules.taker_fee_e9 // RATIO_ONE
    if not count:
        return FeeCheck()
    off = max(0, abs(charged - expected) - count * digit // 2)
    deviation_e9 = off * RATIO_ONE // max(1, abs(expected))
    state = FeeState.OK if deviation_e9 < WARN_E9 else FeeState.WARN
    if deviation_e9 >= HOLD_E9:
        state = FeeState.OFF
    return FeeCheck(
        state=state,
        text=f"fees of {asset}: {format_money(charged, 6)} taken in {count} fills, "
        f"{format_money(expected, 6)} by the contract's rate",
        deviation_e9=deviation_e9,
        fills=count,
    )


async def check_fees(runtime: Runtime, questions: Questions) -> FeeCheck:
    """Ask for recent fills of every symbol that was traded; the worst judgement counts."""
    kernel, once = runtime.engine.kernel, questions.once
    assets = sorted({kernel.asset_of(trade.trade_no) for trade in kernel.trades()})
    digit = runtime.engine.account.config.wallet_digit
    worst = FeeCheck()
    try:
        since_ms = 0
        if assets:
            since_ms = max(
                1, await once("server time", runtime.venue.server_time_ms) - LOOK_BACK_MS
            )
        for asset in filter(None, assets):
            rules = await once(f"contract {asset}", partial(runtime.venue.contract, asset))
            fills = await once(f"fills {asset}", partial(runtime.venue.fills, asset, since_ms))
            ours = [fill for fill in fills if _is_our_taker(runtime, fill)]
            found = judge(asset, ours, rules, digit)
            if found.fills and (not worst.fills or found.deviation_e9 > worst.deviation_e9):
                worst = found
    except QueryFailed as failed:
        return FeeCheck(text=f"the venue did not answer: {failed.what}")
    return worst


def _is_our_taker(runtime: Runtime, fill: FillReport) -> bool:
    order = runtime.engine.kernel.order_of_venue(fill.venue_order_id)
    return order is not None and order.order_type is OrderType.MARKET and not order.external
