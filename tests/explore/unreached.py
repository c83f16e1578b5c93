"""Cells of the transition table that no world reaches, each with the reason why."""

from __future__ import annotations

from typing import Final

_QUIET: Final = (
    "balances and income are read at the ends of a world, when no slot is in use; sessions and"
    " properties read them at any moment"
)
_NO_TRANSFER: Final = "nobody moves money to or from the account in a world"
_WRITTEN: Final = (
    "the exchange of a world keeps its records, so nothing is ever gone without one: the tests of"
    " write-offs walk this"
)
_UNASKED: Final = "an operator of a world commands slots that are in use"
_ADOPTS: Final = "nobody adopts in a world: what was there before is a stranger's and stays his"
_ENDED: Final = (
    "the order has ended before its slot is in this state, and no world has both the answer that"
    " late and the frame that told of the end before it"
)
_GONE: Final = (
    "a slot is left when everything of its trade is final; a frame of it that comes even later"
    " needs more losses and delays together than a world has"
)

_BY_REASON: Final[dict[str, tuple[str, ...]]] = {}

UNREACHED: Final = {cell: reason for reason, cells in _BY_REASON.items() for cell in cells}
