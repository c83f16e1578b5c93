"""The venue contract for BingX against the local exchange, over real sockets, in all its tongues.

What the exchange says in different ways on different days must come out as the same events.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.bingx_rig import BingxStand
from support.venue_contract import CHECKS, Check, Stand, run_check

from dita.exchange.wire.signing import Strictness

TONGUES: dict[str, dict[str, Any]] = {
    "one-way": {},
    "hedge": {"hedge": True},
    "2024": {"order_reply": "wrapped", "resting": "NEW", "cancelled": "CANCELED", "errors": "old"},
    "last-fill": {"last_fill": True, "strictness": Strictness.SORTED},
    "test-money": {"margin_asset": "VST", "strictness": Strictness.AS_SENT},
}


def maker(tongue: str) -> Callable[[], Awaitable[Stand]]:
    async def make() -> Stand:
        return await BingxStand.make(**TONGUES[tongue])

    return make


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("tongue", TONGUES)
def test_contract(tongue: str, check: Check) -> None:
    run_check(maker(tongue), check)
