"""The way of a user event to the stream, and what faults do to it there.

Takes finished events, spoils, drops, delays, doubles or reorders them as the plan says, and hands
the bytes on. Knows neither who listens nor what the event means.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, Final

import msgspec

from dita.contracts import Record
from dita.exchange.wire.faults import DELIVERY, SILENCE, FaultKind, FaultPlan, FaultRule
from dita.units import PRICE_DIGITS, RATIO_ONE, parse_price, parse_ratio

REORDER_WAIT_MS: Final = 250  # when no other event comes to overtake
_ZERO: Final = "0.00000000"


class UserFrame(Record, frozen=True):
    """An event as it would be pushed. ``status`` is an order's ``X`` or an account's ``m``."""

    kind: str
    status: str
    body: dict[str, Any]
    triggered: bool = False  # of an order that waited for its trigger

    @property
    def subject(self) -> str:
        """What fault rules name it by."""
        return f"{self.kind} {self.status}"


class Delivery:
    """Events on their way; those that are held wait here."""

    def __init__(self, plan: FaultPlan, send: Callable[[bytes, int], None]) -> None:
        self._plan = plan
        self._send = send
        self._count = 0
        self._delayed: list[tuple[int, int, bytes]] = []
        self._overtaken: list[bytes] = []

    def push(self, frame: UserFrame, now_ms: int) -> None:
        """Send an event, or do to it what the plan says."""
        if frame.triggered and self._plan.hits(SILENCE, frame.subject, now_ms):
            return
        for rule in self._plan.hits(_SPOILABLE.get(frame.kind, _NOTHING), frame.subject, now_ms):
            _SPOIL[rule.kind](frame.body, rule)
        payload = msgspec.json.encode(frame.body)
        rules = self._plan.hits(DELIVERY, frame.subject, now_ms)
        kinds = {rule.kind for rule in rules}
        if FaultKind.EVENT_DROPPED in kinds:
            return
        copies = 2 if FaultKind.EVENT_DUPLICATED in kinds else 1
        late_ms = max((r.ms for r in rules if r.kind is FaultKind.EVENT_DELAYED), default=0)
        if late_ms:
            self._hold(payload, copies, now_ms + late_ms)
        elif FaultKind.EVENT_REORDERED in kinds:
            self._overtaken += [payload] * copies
            wait_ms = max(r.ms for r in rules if r.kind is FaultKind.EVENT_REORDERED)
            self._hold(b"", 1, now_ms + (wait_ms or REORDER_WAIT_MS))
        else:
            for _ in range(copies):
                self._send(payload, now_ms)
            self._release_overtaken(now_ms)

    def _hold(self, payload: bytes, copies: int, until_ms: int) -> None:
        """Keep a payload until a time; an empty one releases what waits to be overtaken."""
        for _ in range(copies):
            self._count += 1
            heapq.heappush(self._delayed, (until_ms, self._count, payload))

    def _release_overtaken(self, now_ms: int) -> None:
        held, self._overtaken = self._overtaken, []
        for payload in held:
            self._send(payload, now_ms)

    def pulse(self, now_ms: int) -> None:
        """Send what was held long enough."""
        while self._delayed and self._delayed[0][0] <= now_ms:
            _, _, payload = heapq.heappop(self._delayed)
            if payload:
                self._send(payload, now_ms)
            else:
                self._release_overtaken(now_ms)


# -- SPOILT CONTENT -----------------------------------------------------------------------------


def _zero_balance(body: dict[str, Any], rule: FaultRule) -> None:
    for row in body.get("a", {}).get("B", ()):
        row["wb"] = row["cw"] = _ZERO


def _price_bound(body: dict[str, Any], rule: FaultRule) -> None:
    """``p`` becomes a bound above a purchase's price, below a sale's; other fields stay true."""
    order = body.get("o", {})
    if not order.get("p") or order.get("o") != "MARKET":
        return
    sign = 1 if order["S"] == "BUY" else -1
    factor_e9 = RATIO_ONE + sign * parse_ratio(rule.ratio)
    bound_e10 = parse_price(order["p"]) * factor_e9 // RATIO_ONE
    order["p"] = f"{bound_e10 // 10**PRICE_DIGITS}.{bound_e10 % 10**PRICE_DIGITS // 100:08d}"


def _no_last_fill(body: dict[str, Any], rule: FaultRule) -> None:
    order = body.get("o", {})
    order.pop("l", None)
    order.pop("L", None)


_SPOIL: Final[dict[FaultKind, Callable[[dict[str, Any], FaultRule], None]]] = {
    FaultKind.ZERO_BALANCE: _zero_balance,
    FaultKind.PRICE_BOUND: _price_bound,
    FaultKind.LAST_FILL_MISSING: _no_last_fill,
}
_NOTHING: Final[frozenset[FaultKind]] = frozenset()
_SPOILABLE: Final = {
    "ACCOUNT_UPDATE": frozenset({FaultKind.ZERO_BALANCE}),
    "ORDER_TRADE_UPDATE": frozenset({FaultKind.PRICE_BOUND, FaultKind.LAST_FILL_MISSING}),
}
