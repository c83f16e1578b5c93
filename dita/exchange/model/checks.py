"""Whether an order may be taken at all: mode, precision, minimums, what it would close, margin.

Every refusal has the code and, where known, the words of the real exchange (dossier §1.4).  These
functions only look; nothing is changed by an order that is refused.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from dita.exchange.model.records import (
    Attached,
    Contract,
    OrderRequest,
    OrderType,
    PositionSide,
    Refused,
    Side,
)
from dita.units import format_price, format_quantity

CLIENT_ID_MAX: Final = 40
#: What a closing order for a locked quantity is refused with.
_LOCKED: Final = {
    101205: "No position to close",
    101290: "The Reduce Only order can only decrease the position",
    109420: "position not exist",
    110203: "Available amount for closing is insufficient",
}
LOCK_CODES: Final = tuple(_LOCKED)
_HALTED: Final = {
    101415: "This trading pair is suspended from trading",
    109417: "{} is in pre-launch",
    109418: "{} is offline",
}
#: The code of a halt, and the status that the contract then has.
HALT_STATUSES: Final = {101415: 25, 109417: 5, 109418: 0}
INVALID: Final = 109400
_OPENS: Final = {PositionSide.LONG: Side.BUY, PositionSide.SHORT: Side.SELL}


def closes(request: OrderRequest) -> bool:
    """Is it meant to close only?  In hedge mode side and position side say so."""
    if request.position_side is PositionSide.BOTH:
        return request.reduce_only or request.close_position
    return request.side is not _OPENS[request.position_side]


def check_mode(request: OrderRequest, hedge: bool) -> None:
    """The position side fits the account's mode."""
    if not hedge and request.position_side is not PositionSide.BOTH:
        raise Refused(
            INVALID, "In the One-way mode, the 'PositionSide' field can only be set to BOTH."
        )
    if hedge and request.position_side is PositionSide.BOTH:
        raise Refused(
            INVALID,
            "In the Hedge mode, the 'PositionSide' field can only be set to LONG or SHORT.",
        )
    if hedge and request.reduce_only:
        raise Refused(INVALID, "In the Hedge mode, the 'ReduceOnly' field can not be filled.")
    if request.close_position and not closes(request):
        raise Refused(INVALID, "closePosition does not fit side and positionSide")


def check_contract(contract: Contract, opening: bool) -> None:
    """The symbol is traded."""
    if contract.status == 0:
        raise Refused(109418, f"{contract.symbol} is offline")
    if contract.status == 5:
        raise Refused(109417, f"{contract.symbol} is in pre-launch")
    if contract.status == 25 and opening:
        raise Refused(101415, f"{contract.symbol} is suspended from opening positions")


def check_halt(symbol: str, halt: tuple[int, bool] | None, opening: bool) -> None:
    """The symbol was not halted by the exchange, or the order only closes and may."""
    if halt is not None and (opening or not halt[1]):
        raise Refused(halt[0], _HALTED[halt[0]].format(symbol))


def truncated(request: OrderRequest, contract: Contract, reference_e10: int) -> OrderRequest:
    """What is more precise than the contract is cut off silently (dossier §2.1)."""
    quantity = request.quantity_e8
    if not quantity and request.quote_quantity and reference_e10:
        quantity = request.quote_quantity // (request.price_e10 or reference_e10)
    return replace(
        request,
        quantity_e8=quantity - quantity % contract.step_e8,
        price_e10=request.price_e10 - request.price_e10 % contract.tick_e10,
        stop_price_e10=request.stop_price_e10 - request.stop_price_e10 % contract.tick_e10,
        client_order_id=request.client_order_id.lower(),
    )


def check_fields(request: OrderRequest) -> None:
    """What each type needs is there."""
    if request.type is OrderType.LIQUIDATION:
        raise Refused(INVALID, "Invalid parameters,type: invalid value LIQUIDATION")
    if len(request.client_order_id) > CLIENT_ID_MAX:
        raise Refused(INVALID, "Invalid parameters,clientOrderId: at most 40 characters")
    if request.type.limited and not request.price_e10:
        raise Refused(INVALID, "Invalid parameters,price: This field is required.")
    if request.type.trailing and not (request.trail_e10 or request.trail_rate_e9):
        raise Refused(INVALID, "Invalid parameters,price or priceRate: This field is required.")
    if request.type.conditional and not (request.type.trailing or request.stop_price_e10):
        raise Refused(INVALID, "Invalid parameters,stopPrice: This field is required.")
    for part in (request.stop_loss, request.take_profit):
        if part is not None:
            check_attached(part)
    if request.close_position:
        if request.type not in (OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET):
            raise Refused(INVALID, "closePosition is for STOP_MARKET and TAKE_PROFIT_MARKET")
        if request.quantity_e8:
            raise Refused(INVALID, "closePosition cannot be used together with quantity")


def check_attached(part: Attached) -> None:
    """A stop loss or take profit waits for a price, and has one of its own when it is a limit."""
    if not part.type.conditional or not part.stop_price_e10:
        raise Refused(INVALID, "Invalid parameters,stopLoss or takeProfit: type and stopPrice")
    if part.type.limited and not part.price_e10:
        raise Refused(INVALID, "Invalid parameters,stopLoss or takeProfit: price")


def check_size(request: OrderRequest, contract: Contract, price_e10: int, whole: bool) -> None:
    """Not below the minimums; closing the whole position always may."""
    if request.close_position or whole:
        return
    if request.quantity_e8 < contract.min_quantity_e8:
        least = format_quantity(contract.min_quantity_e8)
        raise Refused(101400, f"The minimum order amount is {least} {contract.asset}.")
    if not closes(request) and request.quantity_e8 * price_e10 < contract.min_notional:
        least = str(contract.min_notional // 10**18)
        raise Refused(
            110425,
            "Please ensure that the minimum nominal value of the order placed must be greater "
            f"than {least}u",
        )


def check_band(request: OrderRequest, contract: Contract, mark_e10: int) -> None:
    """A limit price is not absurdly bad for who gives it."""
    if not request.type.limited:
        return
    sign = request.side.sign
    bound_e10 = mark_e10 * (10**9 + sign * contract.price_band_e9) // 10**9
    if (request.price_e10 - bound_e10) * sign > 0:
        word = "lower" if sign > 0 else "higher"
        bound = format_price(bound_e10 - bound_e10 % contract.tick_e10)
        raise Refused(101211, f"Order price should be {word} than {bound}")


def check_exposure(contract: Contract, leverage: int, value: int) -> None:
    """A position's value fits its leverage."""
    if value * leverage > contract.exposure_max:
        most = contract.exposure_max // leverage // 10**18
        raise Refused(
            101209,
            f"The maximum position value for this leverage is {most} USDT, please lower it",
        )


def check_closing(
    request: OrderRequest, held_e8: int, free_e8: int, same_side: bool, lock_code: int = 0
) -> None:
    """What only closes finds a position, and not less than it wants to close.

    ``free_e8`` is what other orders of its kind do not close already; with ``lock_code`` a stop of
    the exchange's own screen locks a part, and that is the code for wanting more.
    """
    one_way = request.position_side is PositionSide.BOTH
    if held_e8 and lock_code and request.quantity_e8 > free_e8:
        raise Refused(lock_code, _LOCKED[lock_code])
    if not held_e8:
        if same_side and one_way:
            raise Refused(101290, "The Reduce Only order can only decrease the position")
        raise Refused(101205, "No position to close")
    if request.quantity_e8 <= free_e8:
        return
    if request.type.conditional:
        asset, free = request.symbol.partition("-")[0], format_quantity(free_e8)
        raise Refused(
            110424, f"The order size must be less than the available amount of {free} {asset}"
        )
    if one_way:
        raise Refused(101290, "The Reduce Only order can only decrease the position")
    raise Refused(109420, "The position that is left is smaller than the order")
