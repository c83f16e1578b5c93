"""The verb `balance`: the venue's wallet now beside the capital that is published.

For `soak`.  A sample says whether money was on its way while it was taken: then the two may differ.
"""

from __future__ import annotations

from typing import Any

from dita.contracts import CapitalSource
from dita.engine import Engine
from dita.runtime.node import Node
from dita.runtime.queries.both_views import answered
from dita.units import format_money


def _settling(engine: Engine) -> bool:
    account = engine.snapshot
    return bool(
        account.ambiguous
        or account.capital_source is not CapitalSource.E_ANCHORED
        or engine.kernel.open_orders()
    )


async def sample(node: Node) -> dict[str, Any]:
    """Capital before the question, wallet, capital after.  VenueError when there is no answer."""
    engine = node.runtime.engine
    before, settling = engine.snapshot, _settling(engine)
    report = await answered("balance", node.runtime.venue.balance())
    after = engine.snapshot
    moved = (before.k_capital, before.capital) != (after.k_capital, after.capital)
    return {
        "balance": {
            "time_ms": node.runtime.clock.now_ms(),
            "wallet": format_money(report.wallet),
            "capital": format_money(after.capital),
            "difference": format_money(after.capital - report.wallet),
            "settling": settling or moved or _settling(engine),
            "state": node.runtime.state.name,
            "trades": after.trade_seq,
            "entries_frozen": list(engine.kernel.freeze_causes()),
        }
    }
