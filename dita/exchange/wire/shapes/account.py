"""Balance, positions, income, leverage and modes as BingX's REST answers show them (dossier §2.4).

Turns the core's records into dictionaries in the exchange's spelling. Asks the core nothing.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from dita.exchange.model.records import Balance, Contract, Income, Leverage, MarginType, Position
from dita.exchange.wire.answers import number
from dita.exchange.wire.shapes.closed_positions import ClosedPosition
from dita.exchange.wire.shapes.decimals import (
    bare_price,
    money,
    price,
    quantity,
    ratio,
    share,
    whole_seconds_ms,
)

USER_ID: Final = "1341158271307522053"
SHORT_UID: Final = "25307298"


# -- WALLET -------------------------------------------------------------------------------------


def balance(state: Balance, asset: str) -> dict[str, Any]:
    """The wallet's row."""
    return {
        "userId": USER_ID,
        "asset": asset,
        "balance": money(state.wallet),
        "equity": money(state.equity),
        "unrealizedProfit": money(state.unrealized),
        "realisedProfit": money(state.realized) if state.realized else "0",
        "availableMargin": money(state.available_margin),
        "usedMargin": money(state.used_margin),
        "freezedMargin": money(state.frozen_margin),
        "shortUid": SHORT_UID,
    }


def unused_balance(asset: str) -> dict[str, Any]:
    """The row of an asset that was never used: empty strings for numbers (dossier §2.4)."""
    return {
        "userId": "",
        "asset": asset,
        "balance": "",
        "equity": "",
        "unrealizedProfit": "",
        "realisedProfit": "0",
        "availableMargin": "",
        "usedMargin": "",
        "freezedMargin": "",
        "shortUid": SHORT_UID,
    }


def income(row: Income, asset: str) -> dict[str, Any]:
    """A row of the income history; its sign is the effect on the account."""
    return {
        "symbol": row.symbol,
        "incomeType": str(row.type),
        "income": money(row.amount, 8),
        "asset": asset,
        "info": row.info,
        "time": row.time_ms,
        "tranId": row.tran_id,
        "tradeId": row.trade_id,
    }


# -- POSITIONS ----------------------------------------------------------------------------------


def position(
    state: Position,
    contract: Contract,
    mark_e10: int,
    equity: int,
    liquidation_e10: int,
    available_e8: int,
    *,
    one_way: bool,
) -> dict[str, Any]:
    """A position's row. The amount is unsigned, and the side is LONG or SHORT even in one-way
    mode (dossier §2.4)."""
    unrealized = state.unrealized(mark_e10)
    value = mark_e10 * state.quantity_e8
    maintenance = value * contract.maintenance_e9 // 10**9
    isolated = state.margin_type is not MarginType.CROSSED
    free = state.margin + unrealized if isolated else equity
    amount = quantity(state.quantity_e8, contract.quantity_digits)
    return {
        "positionId": str(state.position_id),
        "symbol": state.symbol,
        "currency": "USDT",
        "positionAmt": amount,
        "availableAmt": quantity(available_e8, contract.quantity_digits),
        "positionSide": state.side.value,
        "isolated": isolated,
        "avgPrice": price(state.average_price_e10, contract.price_digits),
        "initialMargin": money(state.margin),
        "margin": money(state.margin + unrealized),
        "leverage": state.leverage,
        "unrealizedProfit": money(unrealized),
        "realisedProfit": money(state.realized),
        "liquidationPrice": bare_price(liquidation_e10),
        "pnlRatio": share(unrealized, state.margin),
        "maxMarginReduction": "0.0000",
        "riskRate": share(maintenance, free) if free > 0 else "1.0000",
        "markPrice": price(mark_e10, contract.price_digits),
        "positionValue": money(value),
        "onlyOnePosition": one_way,
        "createTime": state.created_ms,
        "updateTime": state.updated_ms,
    }


def closed_position(row: ClosedPosition, contract: Contract) -> dict[str, Any]:
    """A row of the position history; realised is without, net with fees and funding."""
    amount = quantity(row.quantity_e8, contract.quantity_digits)
    state, average_e10 = row.state, _average_e10(row.entry_cost, row.quantity_e8)
    return {
        "positionId": str(state.position_id),
        "symbol": state.symbol,
        "isolated": state.margin_type is not MarginType.CROSSED,
        "positionSide": state.side.value,
        "openTime": whole_seconds_ms(state.created_ms),
        "updateTime": whole_seconds_ms(state.updated_ms),
        "avgPrice": price(average_e10, contract.price_digits),
        "avgClosePrice": price(
            _average_e10(row.exit_value, row.quantity_e8), contract.price_digits
        ),
        "realisedProfit": money(row.profit, 2),
        "netProfit": money(state.realized, 2),
        "positionAmt": amount,
        "closePositionAmt": amount,
        "leverage": state.leverage,
        "closeAllPositions": True,
        "positionCommission": money(-row.fee, 8),
        "totalFunding": money(row.funding, 8),
    }


def _average_e10(value: int, quantity_e8: int) -> int:
    return (2 * value + quantity_e8) // (2 * quantity_e8)


# -- LEVERAGE, MARGIN, MODE ---------------------------------------------------------------------

_ROOM: Final = {
    "availableLongVol": "0.0000",
    "availableShortVol": "0.0000",
    "availableLongVal": "0.0",
    "availableShortVal": "0.0",
    "maxPositionLongVal": "0.0",
    "maxPositionShortVal": "0.0",
}


def leverage(state: Leverage) -> dict[str, Any]:
    """The answer of GET leverage. The room figures are zeros, as in the captured sample."""
    return {
        "longLeverage": state.long,
        "shortLeverage": state.short,
        "maxLongLeverage": state.max,
        "maxShortLeverage": state.max,
        "symbol": state.symbol,
        **_ROOM,
    }


def leverage_set(symbol: str, wanted: int) -> dict[str, Any]:
    """The answer of POST leverage."""
    return {"leverage": wanted, "symbol": symbol, **_ROOM}


def commission_rate(contract: Contract) -> dict[str, Any]:
    """The account's fee rates, bare and positive."""
    return {
        "commission": {
            "takerCommissionRate": _rate(contract.taker_fee_e9),
            "makerCommissionRate": _rate(contract.maker_fee_e9),
        }
    }


def maintenance_tier(contract: Contract) -> dict[str, Any]:
    """The one tier of a symbol: our contracts have one rate for every size."""
    return {
        "tier": "Tier 1",
        "symbol": contract.symbol,
        "minPositionVal": "0",
        "maxPositionVal": "100000000",
        "maintMarginRatio": ratio(contract.maintenance_e9, 6),
        "maintAmount": "0.000000",
    }


def _rate(rate_e9: int) -> msgspec.Raw:
    return number(ratio(rate_e9, 9).rstrip("0"))
