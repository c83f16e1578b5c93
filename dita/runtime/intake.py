"""A person's intents on a running kernel: checked, tried on a copy, sent, and waited for.

The control socket's verbs `intent` and `intent_plan`.  Both go through the same checks, so that a
plan says what will happen: the copy of the engine answers what the kernel would do, and nothing is
worked out a second time here.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from dita.contracts import (
    ENDED_STATUSES,
    ContractRules,
    EffectKind,
    KernelCommandType,
    KernelEventKind,
    KernelIntent,
    OrderType,
    RejectReason,
    TradeSlot,
    VenueEvent,
    VenueOrderStatus,
)
from dita.engine import Engine, Outcome
from dita.errors import UsageError, VenueError
from dita.runtime.operations.status import slot_row
from dita.units import QUANTITY_MAX, format_money, format_price, format_quantity
from dita.venues import UnknownSymbol

if TYPE_CHECKING:
    from dita.runtime.loop import Input
    from dita.runtime.node import Node

OPERATOR_COMMANDS: Final = (
    KernelCommandType.ENTER,
    KernelCommandType.EXIT,
    KernelCommandType.CANCEL,
    KernelCommandType.RECONCILE,
)
#: So long an order's first answer may be waited for, whatever a request says.
WAIT_MAX_S: Final = 120
LOOK_AGAIN_S: Final = 0.02
#: Ends whose reason is in the venue's answer.
TOLD_AFTERWARDS: Final = frozenset({VenueOrderStatus.REJECTED})
#: With an answer of these kinds the venue has said no.
SAID_NO: Final = (KernelEventKind.ORDER_REJECT, KernelEventKind.RATE_LIMITED)


class Heard:
    """The venue's first no for each order, while somebody listens; a publisher."""

    def __init__(self) -> None:
        self._listeners: list[dict[str, VenueEvent]] = []

    def publish(self, record: Input, outcome: Outcome, seq: int) -> None:
        """Keep what says no to an order of ours."""
        if self._listeners and isinstance(record, VenueEvent) and record.kind in SAID_NO:
            for heard in self._listeners:
                heard.setdefault(record.client_order_id, record)

    @contextmanager
    def listening(self) -> Iterator[dict[str, VenueEvent]]:
        """Refusals by client order id, from now until the end of the block."""
        heard: dict[str, VenueEvent] = {}
        self._listeners.append(heard)
        try:
            yield heard
        finally:
            self._listeners.remove(heard)


class Intents:
    """The two verbs, for one node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.runtime = node.runtime
        self.heard = Heard()
        node.runtime.publishers.append(self.heard)

    @property
    def kernel(self) -> Any:
        """The running kernel."""
        return self.runtime.engine.kernel

    async def plan(self, request: dict[str, Any]) -> dict[str, Any]:
        """What the intent would do now, and what would refuse it.  UsageError when it is not exact,
        VenueError when the venue does not know the symbol."""
        intent, contract = await self._checked(request, planned=True)
        return {"plan": self._foreseen(intent, contract, await self._market(intent))}

    async def send(self, request: dict[str, Any], who_and_why: str) -> Outcome:
        """Do it, without waiting for the venue.  UsageError, VenueError."""
        intent, _ = await self._checked(request, planned=False)
        return await self.runtime.ask(replace(intent, reason=who_and_why))

    async def send_and_wait(self, request: dict[str, Any], who_and_why: str) -> dict[str, Any]:
        """Do it, and wait ``wait_s`` for the venue's first word about the order that went out."""
        wait_s = _wait_s(request)
        with self.heard.listening() as heard:
            outcome = await self.send(request, who_and_why)
            answer = await self._answer(outcome, heard, wait_s) if wait_s else None
        return {"outcome": outcome, "answer": answer}

    # -- checking ----------------------------------------------------------------------------------

    async def _checked(
        self, request: dict[str, Any], *, planned: bool
    ) -> tuple[KernelIntent, ContractRules | None]:
        intent = _read(request)
        if not intent.intent_id:
            # Whoever sends without one cannot ask again safely, but it clashes with nobody's.
            intent = replace(intent, intent_id=uuid.uuid4().hex)
        if intent.command is KernelCommandType.ENTER:
            return await self._checked_entry(intent)
        typed = 0 < intent.quantity_e8 < QUANTITY_MAX
        contract = await self._contract_of(intent) if typed or planned else None
        if contract is not None and typed:
            check_quantity(intent, contract)
        return intent, contract

    async def _checked_entry(self, intent: KernelIntent) -> tuple[KernelIntent, ContractRules]:
        contract = intent.contract or await self._listed(intent.asset)
        check_quantity(intent, contract)
        check_price(intent, contract)
        cap = self.kernel.config.leverage_cap
        if not 1 <= intent.leverage <= cap:
            raise UsageError(
                "leverage refused", expected=f"1 to {cap}, the cap", found=str(intent.leverage)
            )
        if not intent.reference_price_e10:
            price = intent.limit_price_e10 or await self.node.venue.price(intent.asset)
            intent = replace(intent, reference_price_e10=price)
        check_notional(intent, contract)
        return replace(intent, contract=contract), contract

    async def _listed(self, asset: str) -> ContractRules:
        try:
            return await self.node.venue.contract(asset)
        except UnknownSymbol as bad:
            raise UsageError(
                "unknown symbol",
                expected="one that the exchange lists, such as FET-USDT",
                found=asset,
            ) from bad

    async def _contract_of(self, intent: KernelIntent) -> ContractRules | None:
        """Of the symbol of an open trade.  No answer must not keep an exit: the kernel checks it
        too."""
        slot = self._slot(intent)
        if slot is None:
            return None
        try:
            return await self.node.venue.contract(slot.asset)
        except VenueError:
            return None

    def _slot(self, intent: KernelIntent) -> TradeSlot | None:
        slots: tuple[TradeSlot, ...] = self.kernel.active_slots()
        return next((slot for slot in slots if slot.trade_id == intent.trade_id), None)

    # -- foreseeing --------------------------------------------------------------------------------

    async def _market(self, intent: KernelIntent) -> int:
        slot = self._slot(intent)
        asset = slot.asset if slot is not None else intent.asset
        try:
            return await self.node.venue.price(asset) if asset else 0
        except VenueError:
            return 0  # shown as not known: an exit does not wait for it

    def _foreseen(
        self, intent: KernelIntent, contract: ContractRules | None, market_e10: int
    ) -> dict[str, Any]:
        slot = self._slot(intent)
        trial = Engine.restore(self.runtime.engine.save())
        done = trial.apply(self.runtime.stamped(intent)).kernel
        sent = next((e for e in done.effects if e.kind is EffectKind.SUBMIT), None)
        cancels = sum(e.kind is EffectKind.CANCEL for e in done.effects)
        quantity_e8 = sent.quantity_e8 if sent is not None else intent.quantity_e8
        price_e10 = intent.limit_price_e10 or market_e10
        return {
            "command": intent.command.name,
            "trade": intent.trade_id,
            "asset": slot.asset if slot is not None else intent.asset,
            "accepted": done.accepted,
            "code": done.code.name,
            "details": dict(done.details),
            "sends": sent is not None,
            "cancels": cancels,
            "order_side": sent.side.name if sent is not None else "",
            "reduce_only": bool(sent and sent.reduce_only),
            "quantity": format_quantity(quantity_e8) if quantity_e8 < QUANTITY_MAX else "",
            "all": slot is not None and quantity_e8 >= slot.size_e8 > 0,
            "limit": format_price(intent.limit_price_e10) if intent.limit_price_e10 else "",
            "market_price": format_price(market_e10) if market_e10 else "",
            "notional": _notional(quantity_e8, price_e10),
            "leverage": slot.leverage if slot is not None else intent.leverage,
            "slot": slot_row(slot) if slot is not None else None,
            "contract": _rules(contract) if contract is not None else None,
        }

    # -- waiting -----------------------------------------------------------------------------------

    async def _answer(
        self, outcome: Outcome, heard: dict[str, VenueEvent], wait_s: float
    ) -> dict[str, Any] | None:
        """What the venue said of the order that went out; None when none did."""
        sent = next((e for e in outcome.effects if e.kind is EffectKind.SUBMIT), None)
        if sent is None:
            return None
        number = self.kernel.order_of_client(sent.client_order_id)
        order_no = number.order_no if number is not None else -1
        limit_ns = self.node.clock.monotonic_ns() + int(wait_s * 10**9)
        while True:
            order = self.kernel.order(order_no)
            refused = heard.get(sent.client_order_id)
            # A refusal is in the kernel before it is durable, and told after that.
            ended = order is not None and order.status in ENDED_STATUSES - TOLD_AFTERWARDS
            if refused is not None or ended or self.node.clock.monotonic_ns() >= limit_ns:
                break
            await asyncio.sleep(LOOK_AGAIN_S)
        status = order.status if order is not None else VenueOrderStatus.UNKNOWN
        return {
            "result": _result(status, order is not None and order.filled_e8 > 0, refused),
            "client_order_id": sent.client_order_id,
            "venue_order_id": order.venue_order_id if order is not None else "",
            "side": sent.side.name,
            "asset": sent.asset,
            "quantity": format_quantity(sent.quantity_e8),
            "filled": format_quantity(order.filled_e8 if order is not None else 0),
            "price": format_price(order.average_price_e10) if order and order.priced_e8 else "",
            **_words(refused),
        }


def _result(status: VenueOrderStatus, filled: bool, refused: VenueEvent | None) -> str:
    """In one word: filled, working, ended (unfilled), rejected, rate_limited, unknown."""
    if refused is not None:
        limited = refused.kind is KernelEventKind.RATE_LIMITED
        return "rate_limited" if limited else "rejected"
    if status in ENDED_STATUSES:
        return "filled" if filled else "ended"
    return "working" if status is VenueOrderStatus.WORKING else "unknown"


def _words(refused: VenueEvent | None) -> dict[str, str]:
    if refused is None:
        return {"reason": "", "message": ""}
    reason = RejectReason(refused.reject).name.lower().replace("_", " ")
    code = getattr(refused, "error_code", 0)
    said = getattr(refused, "message", "")
    message = " ".join(part for part in (str(code) if code else "", said) if part)
    return {"reason": reason, "message": message}


def _read(request: dict[str, Any]) -> KernelIntent:
    try:
        intent = msgspec.convert(
            {"received_ms": 1, **dict(request["intent"])}, KernelIntent, strict=True
        )
    except (msgspec.ValidationError, KeyError, TypeError, ValueError) as bad:
        raise UsageError(
            "intent refused", expected="the fields of a KernelIntent", found=str(bad)
        ) from bad
    if intent.command not in OPERATOR_COMMANDS:
        raise UsageError(
            "intent refused",
            expected=", ".join(command.name for command in OPERATOR_COMMANDS),
            found=intent.command.name,
        )
    return intent


def _wait_s(request: dict[str, Any]) -> float:
    wait_ms = request.get("wait_ms", 0)
    if type(wait_ms) is not int or not 0 <= wait_ms <= WAIT_MAX_S * 1_000:
        raise UsageError(
            "request refused", expected=f"wait_ms up to {WAIT_MAX_S * 1_000}", found=str(wait_ms)
        )
    return wait_ms / 1_000


def check_quantity(intent: KernelIntent, contract: ContractRules) -> None:
    """UsageError for what the venue would cut, or refuse as too little."""
    quantity_e8, step_e8, least_e8 = intent.quantity_e8, contract.step_e8, contract.min_quantity_e8
    if quantity_e8 > 0 and quantity_e8 % step_e8 == 0 and quantity_e8 >= least_e8:
        return
    if quantity_e8 <= 0:
        raise UsageError("quantity refused", expected="above 0", found=format_quantity(quantity_e8))
    near = [n for n in (quantity_e8 // step_e8 * step_e8,) if n >= max(least_e8, 1)]
    near.append(max(-(-quantity_e8 // step_e8) * step_e8, -(-least_e8 // step_e8) * step_e8))
    raise UsageError(
        "quantity refused: it would not be sent as typed",
        expected=f"a multiple of {format_quantity(step_e8)} (the contract's step), at least "
        f"{format_quantity(max(least_e8, step_e8))}",
        found=format_quantity(quantity_e8),
        action="type " + " or ".join(dict.fromkeys(format_quantity(n) for n in near)),
    )


def check_price(intent: KernelIntent, contract: ContractRules) -> None:
    """UsageError for a limit price between two ticks."""
    price_e10, tick_e10 = intent.limit_price_e10, contract.tick_e10
    if intent.order_type is OrderType.MARKET or (price_e10 > 0 and price_e10 % tick_e10 == 0):
        return
    raise UsageError(
        "price refused",
        expected=f"a multiple of {format_price(tick_e10)}, the contract's tick",
        found=format_price(price_e10),
    )


def check_notional(intent: KernelIntent, contract: ContractRules) -> None:
    """UsageError for an entry that is worth too little."""
    notional = intent.quantity_e8 * intent.reference_price_e10
    if notional < contract.min_notional:
        raise UsageError(
            "entry refused: too little",
            expected=f"at least {format_money(contract.min_notional)} USDT",
            found=f"{_notional(intent.quantity_e8, intent.reference_price_e10)} USDT at "
            f"{format_price(intent.reference_price_e10)}",
        )


def _notional(quantity_e8: int, price_e10: int) -> str:
    if not price_e10 or quantity_e8 >= QUANTITY_MAX:
        return ""
    return format_money(quantity_e8 * price_e10, 2)


def _rules(contract: ContractRules) -> dict[str, str]:
    return {
        "step": format_quantity(contract.step_e8),
        "min_quantity": format_quantity(contract.min_quantity_e8),
        "min_notional": format_money(contract.min_notional),
        "tick": format_price(contract.tick_e10),
    }
