"""Commands for an engine, one function for each, for whoever embeds it.

Each returns a KernelIntent with the fields that its command has, so that a type checker finds what
otherwise a refusal finds.  Amounts are decimal text or Decimals; what they cannot mean is refused
here with UnitError, everything else is judged by the kernel.  Pure: ids and times are arguments.

``received_ms`` is the kernel's time in ms, which never goes back.  ``intent_id`` is new for each
intent; one that was taken already is refused with DUPLICATE_EVENT, so sending again is safe.
``deadline_ms`` is the kernel's time past which the command is refused with EXPIRED, 0 for never.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dita import amounts
from dita.amounts import Amount
from dita.contracts import (
    ContractRules,
    ControlAction,
    KernelCommandType,
    KernelIntent,
    OrderRole,
    OrderType,
    RiskLimit,
    TradeSide,
)
from dita.errors import UnitError, shown
from dita.units import MONEY_ONE, money_of

ALL_AT_ONCE: Final[tuple[Amount, ...]] = ("1",)
_COUNTED: Final = (RiskLimit.POSITIONS, RiskLimit.INTENTS_PER_MINUTE)


def contract_rules(
    *,
    tick: Amount,
    step: Amount,
    min_quantity: Amount = "0",
    min_notional: Amount = "0",
    taker_fee: Amount = "0",
    maker_fee: Amount = "0",
) -> ContractRules:
    """A symbol's rules as the venue states them; fees as rates ("0.0005" is 0.05 %)."""
    return ContractRules(
        tick_e10=amounts.price(tick, "tick"),
        step_e8=amounts.quantity(step, "step"),
        min_quantity_e8=amounts.quantity(min_quantity, "min_quantity"),
        min_notional=amounts.money(min_notional, "min_notional"),
        taker_fee_e9=amounts.fee_rate(taker_fee, "taker_fee"),
        maker_fee_e9=amounts.fee_rate(maker_fee, "maker_fee"),
    )


# -- trades ----------------------------------------------------------------------------------------


def enter(
    *,
    received_ms: int,
    intent_id: str,
    trade_id: str,
    asset: str,
    side: TradeSide,
    quantity: Amount,
    price: Amount,
    contract: ContractRules,
    leverage: int = 1,
    legs: Sequence[Amount] = ALL_AT_ONCE,
    limit_price: Amount | None = None,
    immediate: bool = False,
    working_ms: int = 0,
    expires_ms: int = 0,
    deadline_ms: int = 0,
    reason: str = "",
) -> KernelIntent:
    """Open a trade.  ``price`` is what the symbol trades at, for limits and minimums.

    MARKET; with a ``limit_price`` LIMIT, or if ``immediate`` LIMIT_IOC.  It is cancelled after
    ``working_ms``; until ``expires_ms`` it is sent again when it is proven not to have arrived.
    ``legs`` are the shares of what is left that each EXIT without a quantity takes.
    """
    order_type, limit_price_e10 = _worked(limit_price, immediate)
    return KernelIntent(
        command=KernelCommandType.ENTER,
        received_ms=received_ms,
        intent_id=intent_id,
        trade_id=trade_id,
        asset=asset,
        side=side,
        quantity_e8=_quantity(quantity),
        reference_price_e10=amounts.price(price, "price"),
        contract=contract,
        leverage=leverage,
        exit_leg_ratios_e9=tuple(amounts.ratio(leg, "legs") for leg in legs),
        order_type=order_type,
        limit_price_e10=limit_price_e10,
        working_ms=working_ms,
        expires_ms=expires_ms,
        deadline_ms=deadline_ms,
        reason=reason,
    )


def exit_(
    *,
    received_ms: int,
    intent_id: str,
    trade_id: str,
    quantity: Amount | None = None,
    limit_price: Amount | None = None,
    immediate: bool = False,
    urgent: bool = False,
    working_ms: int = 0,
    reason: str = "",
) -> KernelIntent:
    """Close the trade's next leg, or a ``quantity`` of it; more than is left is all of it.

    It stays wanted until it is out, and never expires.  ``urgent`` replaces a working LIMIT exit.
    """
    order_type, limit_price_e10 = _worked(limit_price, immediate)
    return KernelIntent(
        command=KernelCommandType.EXIT,
        received_ms=received_ms,
        intent_id=intent_id,
        trade_id=trade_id,
        quantity_e8=0 if quantity is None else _quantity(quantity),
        order_type=order_type,
        limit_price_e10=limit_price_e10,
        urgent=urgent,
        working_ms=working_ms,
        reason=reason,
    )


def cancel(
    *, received_ms: int, intent_id: str, trade_id: str, deadline_ms: int = 0, reason: str = ""
) -> KernelIntent:
    """Take back the entry that works, or else the exit that is wanted."""
    return _of_trade(
        KernelCommandType.CANCEL, received_ms, intent_id, trade_id, deadline_ms, reason
    )


def mark(*, received_ms: int, asset: str, price: Amount) -> KernelIntent:
    """What the symbol is worth now; for valuation, never an entry's basis."""
    return KernelIntent(
        command=KernelCommandType.MARK_PRICE,
        received_ms=received_ms,
        asset=asset,
        reference_price_e10=amounts.price(price, "price"),
    )


# -- repair ----------------------------------------------------------------------------------------


def adopt(
    *,
    received_ms: int,
    intent_id: str,
    trade_id: str,
    asset: str,
    side: TradeSide,
    quantity: Amount,
    contract: ContractRules,
    entry_price: Amount | None = None,
    carried_realized: Amount = "0",
    leverage: int = 1,
    legs: Sequence[Amount] = ALL_AT_ONCE,
    deadline_ms: int = 0,
    reason: str = "",
) -> KernelIntent:
    """Make a position at the venue a trade of ours.  Without ``entry_price`` its exits book nothing
    until the venue's own figures come."""
    quantity_e8 = _quantity(quantity)
    price_e10 = 0 if entry_price is None else amounts.price(entry_price, "entry_price")
    return KernelIntent(
        command=KernelCommandType.RECONCILE,
        received_ms=received_ms,
        intent_id=intent_id,
        trade_id=trade_id,
        asset=asset,
        side=side,
        quantity_e8=quantity_e8,
        contract=contract,
        entry_cost=money_of(price_e10, quantity_e8),
        carried_realized=amounts.money(carried_realized, "carried_realized"),
        leverage=leverage,
        exit_leg_ratios_e9=tuple(amounts.ratio(leg, "legs") for leg in legs),
        deadline_ms=deadline_ms,
        reason=reason,
    )


def adopt_order(
    *,
    received_ms: int,
    intent_id: str,
    trade_id: str,
    role: OrderRole,
    venue_order_id: str,
    quantity: Amount,
    deadline_ms: int = 0,
    reason: str = "",
) -> KernelIntent:
    """Make an order at the venue one of the trade's."""
    return KernelIntent(
        command=KernelCommandType.RECONCILE,
        received_ms=received_ms,
        intent_id=intent_id,
        trade_id=trade_id,
        role=role,
        venue_order_id=venue_order_id,
        quantity_e8=_quantity(quantity),
        deadline_ms=deadline_ms,
        reason=reason,
    )


def reconcile(
    *, received_ms: int, intent_id: str, trade_id: str, deadline_ms: int = 0, reason: str = ""
) -> KernelIntent:
    """Doubt the trade: the outcome asks about its orders and its position."""
    return _of_trade(
        KernelCommandType.RECONCILE, received_ms, intent_id, trade_id, deadline_ms, reason
    )


def write_off(
    *,
    received_ms: int,
    intent_id: str,
    trade_id: str,
    quantity: Amount,
    reason: str,
    realized: Amount = "0",
    deadline_ms: int = 0,
) -> KernelIntent:
    """End what the venue does not have and no record of its tells of: a person's decision.

    ``quantity`` is exactly what its position lacked; ``realized`` is what income rows say.
    """
    return KernelIntent(
        command=KernelCommandType.WRITE_OFF,
        received_ms=received_ms,
        intent_id=intent_id,
        trade_id=trade_id,
        quantity_e8=_quantity(quantity),
        carried_realized=amounts.money(realized, "realized"),
        deadline_ms=deadline_ms,
        reason=reason,
    )


# -- the account -----------------------------------------------------------------------------------


def hold(*, received_ms: int, intent_id: str, reason: str, asset: str = "") -> KernelIntent:
    """No new entries, of one symbol if it is named; working ones are cancelled, exits go on."""
    return _control(ControlAction.HOLD, received_ms, intent_id, reason, asset=asset)


def resume(
    *, received_ms: int, intent_id: str, reason: str, asset: str = "", deadline_ms: int = 0
) -> KernelIntent:
    """The end of a hold, a drain, a quarantine, and of the day's loss as it is now."""
    return _control(
        ControlAction.RESUME, received_ms, intent_id, reason, asset=asset, deadline_ms=deadline_ms
    )


def drain(*, received_ms: int, intent_id: str, reason: str = "") -> KernelIntent:
    """The end is near: no new entries, working ones are cancelled."""
    return _control(ControlAction.DRAIN, received_ms, intent_id, reason)


def drained(*, received_ms: int, intent_id: str, reason: str = "") -> KernelIntent:
    """The drain is over; a hold stays."""
    return _control(ControlAction.DRAINED, received_ms, intent_id, reason)


def not_ready(*, received_ms: int, intent_id: str, reason: str) -> KernelIntent:
    """A start or a gap: entries are refused until everything was queried again."""
    return _control(ControlAction.NOT_READY, received_ms, intent_id, reason)


def ready(*, received_ms: int, intent_id: str, reason: str = "") -> KernelIntent:
    """Everything that was not certain has been asked about, and answered."""
    return _control(ControlAction.READY, received_ms, intent_id, reason)


def rebase(
    *, received_ms: int, intent_id: str, amount: Amount, reason: str, deadline_ms: int = 0
) -> KernelIntent:
    """Book this much drift away: ``format_money(engine.snapshot.drift)`` for all of it."""
    return _control(
        ControlAction.REBASE,
        received_ms,
        intent_id,
        reason,
        deadline_ms=deadline_ms,
        amount=amounts.money(amount, "amount"),
    )


def limit(
    *,
    received_ms: int,
    intent_id: str,
    limit: RiskLimit,
    amount: Amount,
    reason: str = "",
    deadline_ms: int = 0,
) -> KernelIntent:
    """Set a limit for new risk: money, or for POSITIONS and INTENTS_PER_MINUTE a whole number.

    "0" takes the limit away.
    """
    scaled = amounts.money(amount, "amount")
    if limit in _COUNTED:
        if scaled % MONEY_ONE:
            raise UnitError("amount refused", expected="a whole number", found=shown(amount))
        scaled //= MONEY_ONE
    return _control(
        ControlAction.LIMIT,
        received_ms,
        intent_id,
        reason,
        deadline_ms=deadline_ms,
        amount=scaled,
        limit=limit,
    )


# -- what they share -------------------------------------------------------------------------------


def _of_trade(
    command: KernelCommandType,
    received_ms: int,
    intent_id: str,
    trade_id: str,
    deadline_ms: int,
    reason: str,
) -> KernelIntent:
    return KernelIntent(
        command=command,
        received_ms=received_ms,
        intent_id=intent_id,
        trade_id=trade_id,
        deadline_ms=deadline_ms,
        reason=reason,
    )


def _control(
    action: ControlAction,
    received_ms: int,
    intent_id: str,
    reason: str,
    *,
    asset: str = "",
    deadline_ms: int = 0,
    amount: int | None = None,
    limit: RiskLimit | None = None,
) -> KernelIntent:
    return KernelIntent(
        command=KernelCommandType.CONTROL,
        received_ms=received_ms,
        intent_id=intent_id,
        action=action,
        reason=reason,
        asset=asset,
        deadline_ms=deadline_ms,
        amount=amount,
        limit=limit,
    )


def _worked(limit_price: Amount | None, immediate: bool) -> tuple[OrderType, int]:
    if limit_price is None:
        if immediate:
            raise UnitError(
                "limit_price refused", expected="the limit of an immediate order", found="None"
            )
        return OrderType.MARKET, 0
    order_type = OrderType.LIMIT_IOC if immediate else OrderType.LIMIT
    return order_type, amounts.price(limit_price, "limit_price")


def _quantity(value: Amount) -> int:
    """Above 0: in an intent 0 has a meaning of its own."""
    scaled = amounts.quantity(value, "quantity")
    if not scaled:
        raise UnitError("quantity refused", expected="a quantity above 0", found=shown(value))
    return scaled
