"""Leverage of symbols: verified before an entry, never set over anybody's quantity, and watched.

A symbol's leverage is the account's, so it also belongs to whoever else holds the symbol: setting
it would change their margin.  This module must not know orders of ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from dita.contracts import OrderSide
from dita.identity import plain_symbol
from dita.units import format_quantity
from dita.venues import NotSent, PositionReport, QueryFailed
from dita.venues.bingx.rest import client
from dita.venues.bingx.rest.client import Client
from dita.venues.bingx.rest.queries import Questions
from dita.venues.bingx.rest.symbols import leverage_of
from dita.venues.bingx.values import UnreadableValue

#: An entry waits no longer for its leverage; below what ``SIGN_WITHIN_MS`` allows.
WITHIN_S: Final = 4.0

_SIDE_WORDS: Final = {OrderSide.BUY: "LONG", OrderSide.SELL: "SHORT"}
_Key = tuple[str, OrderSide]


class Leverage:
    """One account's leverages; a side is that of the position, BUY for LONG."""

    def __init__(self, of: Client, questions: Questions, hedge: bool) -> None:
        self._client = of
        self._questions = questions
        self._hedge = hedge
        self._lock = asyncio.Lock()
        #: What was verified and nothing has made void since.
        self._verified: dict[_Key, int] = {}
        #: What an entry of ours last had, and what was found instead later.
        self._ours: dict[_Key, int] = {}
        self._changed: dict[_Key, int] = {}

    async def ensure(self, name: str, side: OrderSide, wanted: int) -> None:
        """The exchange's leverage for an entry is the wanted one.  NotSent when it is not."""
        key = (plain_symbol(name), side)
        if self._verified.get(key) == wanted:
            return
        try:
            async with asyncio.timeout(WITHIN_S), self._lock:
                found = await self._read(name)
                if found[side] != wanted:
                    await self._refuse_over_others(name, side, wanted, found[side])
                    await self._set(name, side, wanted)
                    found = await self._read(name)
        except (QueryFailed, UnreadableValue, TimeoutError) as failed:
            text = str(failed) or "no answer in time"
            raise NotSent("no entry: leverage cannot be verified", found=text) from failed
        if found[side] != wanted:
            raise NotSent(
                "no entry: the exchange keeps another leverage",
                expected=str(wanted),
                found=str(found[side]),
            )
        for each, leverage in found.items():
            self._verified[plain_symbol(name), each] = leverage
        self._ours[key] = wanted
        self._changed.pop(key, None)

    async def _read(self, name: str) -> dict[OrderSide, int]:
        return leverage_of(await self._client.wanted(client.LEVERAGE, {"symbol": name}))

    async def _set(self, name: str, side: OrderSide, wanted: int) -> None:
        word = _SIDE_WORDS[side] if self._hedge else "BOTH"
        parameters = {"symbol": name, "side": word, "leverage": str(wanted)}
        await self._client.wanted(client.SET_LEVERAGE, parameters)

    async def _refuse_over_others(
        self, name: str, side: OrderSide, wanted: int, found: int
    ) -> None:
        """NotSent while anything stands on the symbol; in hedge mode on this side of it."""
        # Orders first: what fills in between is then in the positions.
        orders = (await self._questions.open_orders(name)).about(name)
        positions = (await self._questions.positions()).about(name)
        standing = [
            f"{_SIDE_WORDS[p.side]} {format_quantity(p.quantity_e8)}"
            for p in positions
            if plain_symbol(p.asset) == plain_symbol(name) and (not self._hedge or p.side is side)
        ]
        standing += [
            f"order {order.venue_order_id}"
            for order in orders
            if not self._hedge or int(order.position_side) in (0, int(side))
        ]
        if standing:
            raise NotSent(
                f"no entry: foreign quantity on {name}: leverage stays as it is",
                expected=f"leverage {wanted}, or nothing on the symbol",
                found=f"leverage {found} with {', '.join(standing[:3])}",
                action="enter with that leverage, or wait until it is gone",
            )

    # -- what was changed behind our back ----------------------------------------------------------

    def heard(self, asset: str, long: int, short: int) -> None:
        """The stream told a leverage, 0 is not known; "" means that any may have changed."""
        if not asset:
            self.forget()
            return
        for side, told in ((OrderSide.BUY, long), (OrderSide.SELL, short)):
            key = (plain_symbol(asset), side)
            if self._verified.get(key) != told:
                self._verified.pop(key, None)
            self._compare(key, told)

    def seen(self, reports: Iterable[PositionReport]) -> None:
        """An answer about positions, which has their leverage."""
        for report in reports:
            self._compare((plain_symbol(report.asset), report.side), report.leverage)

    def _compare(self, key: _Key, found: int) -> None:
        if not found or key not in self._ours:
            return
        if found == self._ours[key]:
            self._changed.pop(key, None)
        else:
            self._changed[key] = found
            self._verified.pop(key, None)

    def forget(self) -> None:
        """The stream was lost: changes may have gone by unheard."""
        self._verified.clear()

    def changed(self) -> list[dict[str, Any]]:
        """Returns where the exchange has another leverage than our last entry, for an operator."""
        return [
            {"asset": asset, "side": _SIDE_WORDS[side], "ours": self._ours[asset, side], "found": n}
            for (asset, side), n in sorted(self._changed.items())
        ]
