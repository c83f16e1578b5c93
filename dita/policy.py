"""The seam to the strategy: decisions in, intents out; and a small demo strategy.

A strategy decides whether and how strongly; here that becomes a quantity, an exchange leverage and
a KernelIntent.  Conviction sizes the quantity and maps onto the exchange's leverage, which touches
margin only.  Pure: prices, capital and time come in as arguments.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from dita.contracts import (
    ContractRules,
    KernelCommandType,
    KernelIntent,
    Record,
    TradeSide,
)
from dita.units import clamped_conviction, exchange_leverage, floor_to_step

#: Share of capital that conviction 1 puts into a trade.
STAKE_E9: Final = 20_000_000


class Action(IntEnum):
    """What a strategy wants."""

    ENTER = 1
    EXIT = 2


class Decision(Record, frozen=True, kw_only=True):
    """A strategy's word on one symbol.  ``conviction`` is decimal text, clamped to 0.5 to 9.0."""

    action: Action
    asset: str
    side: TradeSide = TradeSide.LONG
    conviction: str = "1"
    trade_id: str = ""
    legs_e9: tuple[int, ...] = (10**9,)
    reason: str = ""


def target_quantity_e8(
    capital: int, conviction: str, price_e10: int, contract: ContractRules
) -> int:
    """Conviction times the stake's share of capital, in whole steps.

    The conviction counts from 0.5 to 9.0, as it does for the leverage.  0 when the result is below
    the contract's minimum, when there is no capital, or when the price is not known (0).
    """
    share, whole = clamped_conviction(conviction)
    if capital <= 0 or price_e10 <= 0:
        return 0
    money = capital * STAKE_E9 * share // (10**9 * whole)
    quantity = floor_to_step(money // price_e10, contract.step_e8)
    if quantity < contract.min_quantity_e8 or quantity * price_e10 < contract.min_notional:
        return 0
    return quantity


def intent_of(
    decision: Decision,
    *,
    intent_id: str,
    price_e10: int,
    capital: int,
    contract: ContractRules,
    leverage_cap: int = 3,
) -> KernelIntent | None:
    """The intent of a decision; None when there is nothing to trade with (target_quantity_e8)."""
    if decision.action is Action.EXIT:
        return KernelIntent(
            command=KernelCommandType.EXIT,
            received_ms=1,
            intent_id=intent_id,
            trade_id=decision.trade_id,
            reason=decision.reason,
        )
    quantity = target_quantity_e8(capital, decision.conviction, price_e10, contract)
    if not quantity:
        return None
    return KernelIntent(
        command=KernelCommandType.ENTER,
        received_ms=1,
        intent_id=intent_id,
        trade_id=decision.trade_id,
        asset=decision.asset,
        side=decision.side,
        quantity_e8=quantity,
        reference_price_e10=price_e10,
        leverage=exchange_leverage(decision.conviction, leverage_cap),
        exit_leg_ratios_e9=decision.legs_e9,
        contract=contract,
        reason=decision.reason,
    )


class DemoStrategy:
    """Follows a move of the last prices for a while; only to give a demo something to do."""

    WINDOW: Final = 6
    HOLD: Final = 9

    def __init__(self, asset: str) -> None:
        self.asset = asset
        self._prices: list[int] = []
        self._age = 0
        self._count = 0

    def refused(self) -> None:
        """The last ENTER was not taken: its trade id was never used, so it is the next one's."""
        self._count -= 1

    def decide(self, price_e10: int, *, open_trade: str, entries_allowed: bool) -> Decision | None:
        """The decision at a new price, given the trade that is open ("" when flat)."""
        self._prices = [*self._prices, price_e10][-self.WINDOW :]
        if open_trade:
            self._age += 1
            if self._age % self.HOLD:
                return None
            return Decision(
                action=Action.EXIT, asset=self.asset, trade_id=open_trade, reason="held long enough"
            )
        self._age = 0
        if len(self._prices) < self.WINDOW or not entries_allowed:
            return None
        move = self._prices[-1] - self._prices[0]
        if not move:
            return None
        self._count += 1
        return Decision(
            action=Action.ENTER,
            asset=self.asset,
            side=TradeSide.LONG if move > 0 else TradeSide.SHORT,
            conviction=("0.5", "2.5", "5", "9")[self._count % 4],
            trade_id=f"{self.asset.partition('-')[0].lower()}-{self._count}",
            legs_e9=(500_000_000, 10**9) if self._count % 2 else (10**9,),
            reason="momentum",
        )
