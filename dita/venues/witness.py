"""The exchange as a witness: fills of a kernel of ours that our journal does not know.

Only a kernel sends orders with such ids, so either the journal has lost its end, or a second kernel
trades on the account.  Both mean that what we believe is not what we did.  Pure: fills in, ids out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dita.identity import is_own_client_id
from dita.venues import FillReport


def unknown_to_the_journal(
    fills: Iterable[FillReport], is_known: Callable[[FillReport], bool], since_ms: int
) -> tuple[str, ...]:
    """Client ids of filled orders that have the form of ours and that nobody here sent.

    ``since_ms`` is the exchange's time of the journal's first balance: what was filled before is
    an older journal's.
    """
    found = (
        fill.client_order_id.lower()
        for fill in fills
        if fill.filled_ms > since_ms
        and is_own_client_id(fill.client_order_id)
        and not is_known(fill)
    )
    return tuple(dict.fromkeys(found))
