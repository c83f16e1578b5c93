"""The endpoints about wallet, positions, leverage, modes and listen keys (dossier §2.4, §2.6).

Each reads its parameters, calls the core and shows the answer. Decides nothing about money.
"""

from __future__ import annotations

from typing import Any, Final

from dita.exchange.model.records import IncomeType, MarginType, PositionSide
from dita.exchange.wire.answers import (
    Answer,
    bare,
    enveloped,
    nothing,
    number,
    refuse,
    refuse_at_gateway,
    success,
)
from dita.exchange.wire.rest.calls import Route, Routes
from dita.exchange.wire.rest.parameters import INVALID, Parameters
from dita.exchange.wire.session import Session
from dita.exchange.wire.shapes import account
from dita.units import format_money

INCOME_DEFAULT: Final = 100
INCOME_MAX: Final = 1_000
#: What the account of this exchange is called between a user's accounts.
PERPETUAL: Final = "USDTMPerp"
WEEK_MS: Final = 7 * 86_400_000


# -- WALLET -------------------------------------------------------------------------------------


def balances(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET v3 balance: a row per asset; USDC was never used."""
    asset = session.switches.margin_asset
    row = account.balance(session.exchange.balance(), asset)
    return success([row, account.unused_balance("USDC")])


def balance(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET v2 balance: one object."""
    asset = session.switches.margin_asset
    return success({"balance": account.balance(session.exchange.balance(), asset)})


def income(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET income: without dates the last 7 days."""
    end_ms = parameters.count("endTime")
    start_ms = parameters.count("startTime") or (end_ms or now_ms) - WEEK_MS
    kind = parameters.choice("incomeType", IncomeType) if parameters.text("incomeType") else None
    limit = min(parameters.count("limit", INCOME_DEFAULT), INCOME_MAX)
    symbol = parameters.text("symbol")
    rows = session.exchange.income(symbol, kind, start_ms, end_ms or now_ms, limit)
    return success([account.income(row, session.switches.margin_asset) for row in rows])


def top_up(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """POST getVst: free test money, only where the margin asset is VST."""
    if session.switches.margin_asset != "VST":
        refuse_at_gateway(100400, "this api is only for VST")
    amount = session.exchange.top_up(now_ms)
    return enveloped(timestamp=now_ms, data={"amount": amount // 10**18})


# -- POSITIONS ----------------------------------------------------------------------------------


def positions(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET positions; flat is an empty array."""
    exchange = session.exchange
    equity = exchange.balance().equity
    rows = [
        account.position(
            each,
            exchange.contract(each.symbol),
            exchange.quote(each.symbol).mark_e10,
            equity,
            exchange.liquidation_price_e10(each),
            exchange.available_e8(each),
            one_way=not exchange.hedge,
        )
        for each in exchange.positions(parameters.text("symbol"))
    ]
    return success(rows)


def _closed(session: Session, parameters: Parameters, now_ms: int) -> list[dict[str, Any]]:
    symbol, position_id = parameters.need("symbol"), parameters.count("positionId")
    start_ms, end_ms = parameters.count("startTs"), parameters.count("endTs") or now_ms
    contract = session.exchange.contract(symbol)
    rows = [
        account.closed_position(row, contract)
        for row in reversed(session.closed.rows)
        if row.state.symbol == symbol
        and start_ms <= row.state.updated_ms <= end_ms
        and position_id in (0, row.state.position_id)
    ]
    size = min(parameters.count("pageSize", 1_000), 1_000)
    first = (max(parameters.count("pageIndex", 1), 1) - 1) * size
    return rows[first : first + size]


def position_history(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET v1 positionHistory: closed positions, newest first."""
    rows = _closed(session, parameters, now_ms)
    bare_list = session.switches.position_history == "bare"
    return success(rows if bare_list else {"positionHistory": rows})


def position_history_v2(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET v2 positionHistory: a bare array, and realizedProfit with a z (dossier §2.4)."""
    rows = _closed(session, parameters, now_ms)
    for row in rows:
        row["realizedProfit"] = row.pop("realisedProfit")
    return success(rows)


def leverage(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET leverage."""
    return success(account.leverage(session.exchange.leverage(parameters.need("symbol"))))


def set_leverage(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """POST leverage."""
    symbol, wanted = parameters.need("symbol"), parameters.count("leverage")
    side = parameters.choice("side", PositionSide)
    session.exchange.set_leverage(symbol, side, wanted, now_ms)
    return success(account.leverage_set(symbol, wanted))


def margin_type(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET marginType."""
    symbol = parameters.need("symbol")
    kind = session.exchange.margin_type(symbol)
    return success({"marginType": kind.value, "symbol": symbol})


def set_margin_type(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """POST marginType: the answer has no data."""
    kind = parameters.choice("marginType", MarginType)
    session.exchange.set_margin_type(parameters.need("symbol"), kind, now_ms)
    return enveloped()


def adjust_margin(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """POST positionMargin: 1 adds, 2 takes away; amount and type stand beside the code."""
    amount, direction = parameters.money_e18("amount"), parameters.count("type")
    if not amount or direction not in (1, 2):
        refuse(INVALID, "Invalid parameters,amount and type: a positive amount, and 1 or 2")
    side = parameters.choice("positionSide", PositionSide, PositionSide.BOTH)
    signed = amount if direction == 1 else -amount
    session.exchange.add_margin(parameters.need("symbol"), side, signed, now_ms)
    return enveloped(amount=number(format_money(amount)), type=direction)


def transfer(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """POST asset/v1/transfer: into or out of the perpetual account; the others are bottomless."""
    source, target = parameters.need("fromAccount"), parameters.need("toAccount")
    amount = parameters.money_e18("amount")
    if (source == PERPETUAL) is (target == PERPETUAL) or not amount:
        refuse_at_gateway(100400, f"only to or from {PERPETUAL}, and more than 0")
    session.exchange.transfer(amount if target == PERPETUAL else -amount, now_ms)
    newest = session.exchange.all_income[-1].tran_id
    return enveloped(data={"transferId": newest}, timestamp=now_ms)


def _mode(session: Session) -> Answer:
    return success({"dualSidePosition": "true" if session.exchange.hedge else "false"})


def position_mode(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET dual: a text, not a boolean."""
    return _mode(session)


def set_position_mode(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """POST dual."""
    wish = parameters.need("dualSidePosition").lower()
    if wish not in ("true", "false"):
        refuse(INVALID, "Invalid parameters,dualSidePosition: true or false")
    session.exchange.set_hedge(wish == "true", now_ms)
    return _mode(session)


def commission_rate(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET commissionRate: of a symbol, or of the first one."""
    exchange = session.exchange
    symbol = parameters.text("symbol") or next(iter(exchange.contracts))
    return success(account.commission_rate(exchange.contract(symbol)))


def maintenance(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET maintMarginRatio."""
    contract = session.exchange.contract(parameters.need("symbol"))
    return enveloped(timestamp=now_ms, data=[account.maintenance_tier(contract)])


def asset_mode(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """GET assetMode: one margin asset."""
    return success({"assetMode": "singleAssetMode"})


# -- LISTEN KEYS --------------------------------------------------------------------------------


def mint_key(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """POST userDataStream: without an envelope."""
    return bare({"listenKey": session.keys.mint(now_ms)})


def extend_key(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """PUT userDataStream: 200 and nothing; 204 without the parameter, 404 for an unknown key."""
    key = parameters.text("listenKey")
    return _about_key(session, key, known=bool(key) and session.keys.extend(key, now_ms))


def _about_key(session: Session, key: str, *, known: bool) -> Answer:
    if not key:
        return nothing(204)
    if known and session.switches.key_reply == "enveloped":
        return success({})
    return nothing(200 if known else 404)


def remove_key(session: Session, parameters: Parameters, now_ms: int) -> Answer:
    """DELETE userDataStream."""
    key = parameters.text("listenKey")
    return _about_key(session, key, known=bool(key) and session.keys.remove(key, now_ms))


_V1: Final = "/openApi/swap/v1"
_V2: Final = "/openApi/swap/v2"
_KEYS: Final = "/openApi/user/auth/userDataStream"

ROUTES: Final[Routes] = {
    ("GET", "/openApi/swap/v3/user/balance"): Route(balances),
    ("GET", f"{_V2}/user/balance"): Route(balance),
    ("GET", f"{_V2}/user/positions"): Route(positions),
    ("GET", f"{_V1}/trade/positionHistory"): Route(position_history),
    ("GET", f"{_V2}/trade/positionHistory"): Route(position_history_v2),
    ("GET", f"{_V2}/user/income"): Route(income),
    ("GET", f"{_V2}/user/commissionRate"): Route(commission_rate),
    ("GET", f"{_V2}/trade/leverage"): Route(leverage),
    ("POST", f"{_V2}/trade/leverage"): Route(set_leverage),
    ("GET", f"{_V2}/trade/marginType"): Route(margin_type),
    ("POST", f"{_V2}/trade/marginType"): Route(set_margin_type),
    ("GET", f"{_V1}/positionSide/dual"): Route(position_mode),
    ("POST", f"{_V1}/positionSide/dual"): Route(set_position_mode),
    ("GET", f"{_V1}/maintMarginRatio"): Route(maintenance),
    ("POST", f"{_V2}/trade/positionMargin"): Route(adjust_margin),
    ("POST", "/openApi/api/asset/v1/transfer"): Route(transfer),
    ("GET", f"{_V1}/trade/assetMode"): Route(asset_mode),
    ("POST", f"{_V1}/trade/getVst"): Route(top_up),
    # The key alone is enough, as in the first documents; a signature that is sent is verified.
    ("POST", _KEYS): Route(mint_key, signed=False),
    ("PUT", _KEYS): Route(extend_key, signed=False),
    ("DELETE", _KEYS): Route(remove_key, signed=False),
}
