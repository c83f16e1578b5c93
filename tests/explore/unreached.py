"""Cells of the transition table that no world reaches, each with the reason why."""

from __future__ import annotations

from typing import Final

_QUIET: Final = (
    "balances and income are read before a world begins and at its ends, when no slot is in use;"
    " properties and sessions read them at any moment"
)
_NO_TRANSFER: Final = "nobody moves money to or from the account in a world"
_WRITTEN: Final = (
    "a person writes off what a slot in doubt lacks, and nothing else; the refusals have tests"
)
_UNASKED: Final = "an operator of a world commands slots that are in use"
_ADOPTED: Final = "what was there before a world begins is a stranger's, and nobody adopts it"
_NO_SLOT: Final = (
    "an entry names no slot: it takes a free one, or is refused before one is looked at"
)
_FIGURES: Final = (
    "the exchange of a world tells an order's figures with its end; they come as a settlement only"
    " where an order's record lacks them"
)
_NO_ORDER: Final = "no order of the slot can still be answered like this in that state"
_GONE: Final = (
    "a trade leaves its slot when its orders are final; an answer that is later still needs more"
    " delays together than a world has"
)
_NOT_DUE: Final = "nothing of a slot in this state becomes due in a world"

_BY_REASON: Final[dict[str, tuple[str, ...]]] = {
    _NO_SLOT: (
        "ENTRY_WORKING ENTER",
        "POSITION_OPEN ENTER",
        "EXIT_WORKING ENTER",
        "CLOSED ENTER",
        "STALE_STATE_RECONCILING ENTER",
    ),
    _UNASKED: (
        "IDLE EXIT",
        "IDLE CANCEL",
        "IDLE MARK_PRICE",
    ),
    _ADOPTED: ("IDLE RECONCILE",),
    _WRITTEN: (
        "IDLE WRITE_OFF",
        "ENTRY_WORKING WRITE_OFF",
        "POSITION_OPEN WRITE_OFF",
        "EXIT_WORKING WRITE_OFF",
        "CLOSED WRITE_OFF",
    ),
    _NO_ORDER: (
        "CLOSED ORDER_REJECT",
        "POSITION_OPEN ORDER_UNKNOWN",
        "CLOSED ORDER_UNKNOWN",
        "POSITION_OPEN RATE_LIMITED",
        "CLOSED RATE_LIMITED",
    ),
    _GONE: (
        "IDLE ORDER_REJECT",
        "IDLE ORDER_UNKNOWN",
        "IDLE RATE_LIMITED",
    ),
    _FIGURES: (
        "IDLE FILL_SETTLED",
        "ENTRY_WORKING FILL_SETTLED",
        "POSITION_OPEN FILL_SETTLED",
        "EXIT_WORKING FILL_SETTLED",
        "CLOSED FILL_SETTLED",
        "STALE_STATE_RECONCILING FILL_SETTLED",
    ),
    _QUIET: (
        "ENTRY_WORKING ACCOUNT_UPDATE",
        "POSITION_OPEN ACCOUNT_UPDATE",
        "EXIT_WORKING ACCOUNT_UPDATE",
        "CLOSED ACCOUNT_UPDATE",
        "STALE_STATE_RECONCILING ACCOUNT_UPDATE",
        "ENTRY_WORKING FUNDING_FEE",
        "POSITION_OPEN FUNDING_FEE",
        "EXIT_WORKING FUNDING_FEE",
        "CLOSED FUNDING_FEE",
        "STALE_STATE_RECONCILING FUNDING_FEE",
        "ENTRY_WORKING FOREIGN_FLOW",
        "POSITION_OPEN FOREIGN_FLOW",
        "EXIT_WORKING FOREIGN_FLOW",
        "CLOSED FOREIGN_FLOW",
        "ENTRY_WORKING INCOME_READ",
        "POSITION_OPEN INCOME_READ",
        "EXIT_WORKING INCOME_READ",
        "CLOSED INCOME_READ",
    ),
    _NO_TRANSFER: (
        "IDLE TRANSFER",
        "ENTRY_WORKING TRANSFER",
        "POSITION_OPEN TRANSFER",
        "EXIT_WORKING TRANSFER",
        "CLOSED TRANSFER",
        "STALE_STATE_RECONCILING TRANSFER",
    ),
    _NOT_DUE: (
        "ENTRY_WORKING TICK",
        "CLOSED TICK",
    ),
}

UNREACHED: Final = {cell: reason for reason, cells in _BY_REASON.items() for cell in cells}
