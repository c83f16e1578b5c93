"""The account in words: flows, the difference to the exchange's wallet, and what stops entries."""

from __future__ import annotations

from typing import Final

from dita.contracts import (
    AccountSnapshot,
    DriftCause,
    KernelEventKind,
    ReconcileStatus,
    TradeSide,
    VenueEvent,
)
from dita.display import amount, money, quantity
from dita.runtime.eventlog.event import EventName, Level
from dita.runtime.eventlog.page import Page
from dita.units import format_money, format_quantity

Kind = KernelEventKind

#: Parts of the drift that come and go with every trade; the others are worth a line.
COMMON_CAUSES: Final = frozenset(
    {
        DriftCause.SETTLING,
        DriftCause.PENDING_FEE,
        DriftCause.UNSETTLED_FILL,
        DriftCause.ROUNDING,
        DriftCause.PENDING,  # a wallet that was told before its fill; what stays gets a cause
    }
)
_LEVELS: Final = {
    ReconcileStatus.OK: Level.INFO,
    ReconcileStatus.WARN: Level.WARNING,
    ReconcileStatus.ERROR: Level.ERROR,
}


def tell_account(page: Page, e: VenueEvent) -> None:
    """An accepted event about the account."""
    if e.kind is Kind.ACCOUNT_UPDATE:
        capital = page.outcome.account.capital
        page.add(
            EventName.BALANCE, Level.DEBUG,
            f"the exchange's wallet {money(e.amount or 0)}, capital {money(capital)}",
            wallet=format_money(e.amount or 0), capital=format_money(capital),
        )  # fmt: skip
        return
    if e.amount is None:
        return
    exact = format_money(e.amount)
    if e.kind is Kind.FUNDING_FEE:
        text = f"{amount(e.amount, sign=True)} on {e.asset}"
        page.add(EventName.FUNDING, Level.INFO, text, amount=exact)
    elif e.kind is Kind.TRANSFER:
        text = f"{amount(e.amount, sign=True)} {'into' if e.amount > 0 else 'out of'} the account"
        page.add(EventName.TRANSFER, Level.WARNING, text, amount=exact)
    elif e.kind is Kind.FOREIGN_FLOW:
        where = f" on {e.asset}" if e.asset else ""
        text = f"{amount(e.amount, sign=True)}{where} by somebody else on the account"
        page.add(EventName.FOREIGN, Level.INFO, text, amount=exact)


def tell_foreign_position(page: Page, e: VenueEvent) -> None:
    """A position that is not ours is there, is another size, or has gone."""
    traded = any(trade.asset == e.asset for trade in page.kernel.trades())
    level = Level.INFO if traded else Level.DEBUG
    if not e.quantity_e8:
        page.add(EventName.FOREIGN, level, f"nothing of others on {e.asset} any more", quantity="0")
        return
    side = TradeSide(int(e.side)).name if e.side else ""
    text = f"{side} {quantity(e.quantity_e8)} {e.asset} on the account is not ours"
    page.add(EventName.FOREIGN, level, text.strip(), quantity=format_quantity(e.quantity_e8))


def rare_causes(account: AccountSnapshot) -> frozenset[DriftCause]:
    """The causes of the drift that do not come and go with every trade."""
    return frozenset(account.drift_by_cause) - COMMON_CAUSES


def drift_words(account: AccountSnapshot) -> str:
    """The drift with its causes: +25.00 (unexplained +25.00)."""
    causes = ", ".join(
        f"{cause.value.replace('_', ' ')} {amount(part, sign=True)}"
        for cause, part in account.drift_by_cause.items()
    )
    total = amount(account.drift, sign=True)
    return f"{total} ({causes})" if causes else total


def tell_drift(page: Page, account: AccountSnapshot) -> None:
    """The difference to the exchange has other causes than before."""
    if rare_causes(account):
        text = f"the exchange's wallet differs from our sums by {drift_words(account)}"
        level = _LEVELS[account.status]
    else:
        text, level = "the exchange's wallet and our sums agree again", Level.INFO
    page.add(EventName.DRIFT, level, text, drift=format_money(account.drift))


#: What stops entries, and how bad that is: the money is in question, or somebody wanted it.
_FREEZES: Final = {
    "unexplained drift": Level.ERROR,
    "wallet empty": Level.ERROR,
    "recovery slot in use": Level.WARNING,
    "pending drift": Level.WARNING,
    "loss of the day": Level.ERROR,
    "quarantine": Level.ERROR,
}


def tell_freeze(page: Page, before: tuple[str, ...], now: tuple[str, ...]) -> None:
    """Entries are stopped for another reason than before, or go again.

    A hold, a drain and a start are told by their own commands.
    """
    account = page.outcome.account
    for cause in now:
        if cause not in before and cause in _FREEZES:
            about = f": {drift_words(account)}" if "drift" in cause else ""
            text = f"entries stop, exits go on: {cause}{about}"
            page.add(EventName.FROZEN, _FREEZES[cause], text, cause=cause)
    for cause in before:
        if cause not in now and cause in _FREEZES:
            left = f"; still: {', '.join(now)}" if now else "; entries may go"
            page.add(EventName.THAWED, Level.INFO, f"no longer: {cause}{left}", cause=cause)
