"""Symbols on which the exchange has a position that cannot be read: no entry there until it can.

One odd row must not blind the whole answer, and must not be taken for flat either: the symbol is
held, by name and in the journal, and released when its position can be read again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from dita.contracts import ControlAction, KernelCommandType, KernelIntent
from dita.identity import plain_symbol
from dita.runtime.loop import Runtime
from dita.venues import UnreadableRow


class UnreadablePositions:
    """Holds symbols for one runtime; what somebody else holds is left alone."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._held: dict[str, str] = {}
        self._numbers = itertools.count(1)

    async def take(self, rows: Iterable[UnreadableRow]) -> None:
        """The unreadable rows of an answer about positions; each names its symbol."""
        found = {plain_symbol(row.asset): row for row in rows}
        kernel = self._runtime.engine.kernel
        held = {plain_symbol(asset) for asset in kernel.held_symbols()}
        for plain, row in found.items():
            name = f"position unreadable: {row.asset}"
            self._runtime.alarms.begin(name, f"{row.why}; no entry there until it can be read")
            if plain not in held:
                self._held[plain] = row.asset
                await self._control(ControlAction.HOLD, row.asset, row.why)
        for plain in [plain for plain in self._held if plain not in found]:
            asset = self._held.pop(plain)
            self._runtime.alarms.end(f"position unreadable: {asset}")
            await self._control(ControlAction.RESUME, asset, "it can be read again")

    async def _control(self, action: ControlAction, asset: str, why: str) -> None:
        number = f"{self._runtime.engine.kernel.event_seq}-{next(self._numbers)}"
        await self._runtime.ask(
            KernelIntent(
                command=KernelCommandType.CONTROL,
                received_ms=1,
                intent_id=f"position-unreadable-{number}",
                action=action,
                asset=asset,
                reason=f"serve: the position on {asset} cannot be read: {why}"[:200]
                if action is ControlAction.HOLD
                else f"serve: the position on {asset}: {why}",
            )
        )
