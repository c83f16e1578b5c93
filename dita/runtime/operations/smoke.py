"""The verb `smoke`: one live round trip of the smallest size, each step checked at the venue.

It goes through the runtime like any trade, so all of it is journalled.  It refuses before anything
is sent, or leaves nothing open: after a failure the exit is attempted, and what came of it is said.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any, Final

from dita.contracts import (
    ENDED_STATUSES,
    ContractRules,
    KernelCommandType,
    KernelIntent,
    OrderRole,
    TradeRecord,
    TradeSide,
    TradeStage,
    VenueOrder,
    VenueOrderStatus,
)
from dita.engine import Outcome
from dita.errors import RefusedForSafety, UsageError, VenueError
from dita.identity import plain_symbol
from dita.runtime.node import Node
from dita.runtime.queries.both_views import answered, open_orders_of, positions_of
from dita.settings import VenueEnvironment
from dita.units import MONEY_ONE, format_money, format_price, format_quantity, parse_price
from dita.venues import OrderRef, OrderReport

STEP_LIMIT_S: Final = 30
#: Two wallets that the venue answered with four decimals (dossier §2.4); books have eight.
WALLETS_OFF: Final = MONEY_ONE // 10_000
#: Above the minimum notional, because the price moves between the question and the order: 1/8.
HEADROOM: Final = 8


class _StepFailed(Exception):
    """A check of the trip did not hold; what was found is in the list already."""


async def round_trip(
    node: Node, request: dict[str, Any], operator: str, reason: str
) -> dict[str, Any]:
    """The steps with their figures.  ``dry_run`` sends nothing; ``code`` is the exit code.

    RefusedForSafety on live money without ``live_money``, with a position on the symbol, or with
    entries frozen; VenueError when the venue does not answer before anything was sent.
    """
    if node.settings.venue.environment is VenueEnvironment.LIVE and not request.get("live_money"):
        raise RefusedForSafety(
            "this is real money",
            expected="a test environment, or --live-money",
            found=f"venue.environment = {node.settings.venue.environment.value}",
        )
    trip = RoundTrip(node, request, f"{operator}: smoke: {reason}")
    await trip.prepare()
    if not request.get("dry_run"):
        await trip.travel()
    return {"smoke": trip.told()}


class RoundTrip:
    """One trip; the steps as they come."""

    def __init__(self, node: Node, request: dict[str, Any], why: str) -> None:
        self.node = node
        self.runtime = node.runtime
        self.venue = node.runtime.venue
        self.kernel = node.runtime.engine.kernel
        self.asset = str(request.get("symbol", ""))
        self.side = TradeSide.SHORT if request.get("side") == "SHORT" else TradeSide.LONG
        self.price_text = str(request.get("price") or "")
        self.why = why[:200]
        self.deadline_ms = int(request.get("deadline_ms", 0))
        # Not numbered by the kernel's inputs: two trips asked for in one moment see the same.
        self.trade_id = f"smoke-{uuid.uuid4().hex[:8]}"
        self.steps: list[dict[str, Any]] = []
        self.code = 0
        self.wallet_before = 0
        self.quantity_e8 = 0
        self.price_e10 = 0
        self.contract: ContractRules

    def told(self) -> dict[str, Any]:
        """The record that is shown."""
        left = [s.trade_id for s in self.kernel.active_slots() if s.trade_id == self.trade_id]
        return {
            "symbol": self.asset,
            "trade": self.trade_id,
            "steps": self.steps,
            "ok": self.code == 0,
            "code": self.code,
            "left_open": bool(left),
        }

    def _check(self, name: str, holds: bool, text: str) -> None:
        self.steps.append({"step": name, "ok": holds, "text": text})
        if not holds:
            self.code = self.code or 1
            raise _StepFailed

    # -- before anything is sent -------------------------------------------------------------------

    async def prepare(self) -> None:
        """Contract, balance, nothing on the symbol, and the smallest quantity."""
        if not self.asset:
            raise UsageError("symbol missing", expected="such as TRX-USDT", found="nothing")
        self.contract = rules = await answered(
            f"contract of {self.asset}", self.venue.contract(self.asset)
        )
        self._say(
            "contract",
            True,
            f"step {format_quantity(rules.step_e8)}, minimum "
            f"{format_quantity(rules.min_quantity_e8)} or {format_money(rules.min_notional)} USDT, "
            f"taker fee {format_money(rules.taker_fee_e9 * 10**11)} %",
        )
        await self._check_free()
        balance = await answered("balance", self.venue.balance())
        self.wallet_before = balance.wallet
        told = f"wallet {format_money(balance.wallet)}, "
        told += f"available {format_money(balance.available_margin)}"
        if balance.available_margin <= 0:
            raise RefusedForSafety("no smoke here", expected="margin to trade with", found=told)
        self._say("balance", True, told)
        await self._size()

    async def _check_free(self) -> None:
        positions = await positions_of(self.venue, (self.asset,))
        orders = await open_orders_of(self.venue, self.asset)
        taken = [
            f"position {p.side.name}" for p in positions if plain_symbol(p.asset) == self._plain
        ]
        taken += [f"order {order.venue_order_id}" for order in orders]
        taken += [
            f"slot {s.slot_id}"
            for s in self.kernel.active_slots()
            if plain_symbol(s.asset) == self._plain
        ]
        frozen = self.kernel.freeze_causes()
        if taken or frozen:
            raise RefusedForSafety(
                "no smoke here",
                expected=f"nothing on {self.asset}, and entries allowed",
                found=", ".join((*taken, *(f"entries frozen: {cause}" for cause in frozen))),
                action="choose another symbol, or settle that first",
            )
        self._say("free", True, f"no position, no order and no slot on {self.asset}")

    @property
    def _plain(self) -> str:
        return plain_symbol(self.asset)

    async def _size(self) -> None:
        self.price_e10 = await self._reference_price_e10()
        step, wanted = self.contract.step_e8, self.contract.min_quantity_e8
        notional = self.contract.min_notional + self.contract.min_notional // HEADROOM
        wanted = max(wanted, -(-notional // self.price_e10), 1)
        self.quantity_e8 = -(-wanted // step) * step
        self._say(
            "plan",
            True,
            f"{self.side.name} {format_quantity(self.quantity_e8)} {self.asset} at market, "
            f"leverage 1, about {format_money(self.quantity_e8 * self.price_e10, 4)} USDT; "
            "then all of it back",
        )

    async def _reference_price_e10(self) -> int:
        """Given, or the venue's: it only decides what the minimum is."""
        if not self.price_text:
            return await answered(f"price of {self.asset}", self.venue.price(self.asset))
        price = parse_price(self.price_text, field="--price")
        if price <= 0:
            raise UsageError("price refused", expected="above 0", found=self.price_text)
        return price

    # -- the trip ----------------------------------------------------------------------------------

    async def travel(self) -> None:
        """In and out; after a failure the exit is attempted all the same."""
        try:
            await self._enter()
            await self._leave()
            await self._money()
        except _StepFailed:
            await self._clean_up()
        except VenueError as failed:
            self.code = int(failed.exit_code)
            self.steps.append({"step": "venue", "ok": False, "text": str(failed)})
            await self._clean_up()

    async def _ask(self, command: KernelCommandType, **fields: Any) -> Outcome:
        return await self.runtime.ask(
            KernelIntent(
                command=command,
                received_ms=1,
                intent_id=f"{self.trade_id}-{command.name.lower()}-{self.kernel.event_seq}",
                trade_id=self.trade_id,
                reason=self.why,
                **fields,
            )
        )

    async def _enter(self) -> None:
        outcome = await self._ask(
            KernelCommandType.ENTER,
            asset=self.asset,
            side=self.side,
            quantity_e8=self.quantity_e8,
            reference_price_e10=self.price_e10,
            contract=self.contract,
            deadline_ms=self.deadline_ms,
        )
        self._check("entry", outcome.kernel.accepted, f"intent {outcome.kernel.code.name}")
        await self._until(lambda: self._settled(OrderRole.ENTRY))
        report = await self._report_of(OrderRole.ENTRY)
        self._check_fill("fill", report)
        held = [
            p
            for p in await positions_of(self.venue, (self.asset,))
            if plain_symbol(p.asset) == self._plain
        ]
        slot = next((s for s in self.kernel.active_slots() if s.trade_id == self.trade_id), None)
        there = sum(p.quantity_e8 * p.side for p in held)
        here = slot.size_e8 * slot.side if slot else 0
        self._check(
            "position",
            there == here == self.side * self.quantity_e8
            and all(p.leverage == 1 for p in held)
            and slot is not None
            and slot.state is TradeStage.POSITION_OPEN,
            f"exchange {format_quantity(abs(there))} at leverage "
            f"{', '.join(str(p.leverage) for p in held) or 'none'}, here "
            f"{format_quantity(abs(here))} {slot.state.name if slot else 'no slot'}",
        )

    async def _leave(self) -> None:
        outcome = await self._ask(KernelCommandType.EXIT)
        self._check("exit", outcome.kernel.accepted, f"intent {outcome.kernel.code.name}")
        await self._until(lambda: self._settled(OrderRole.EXIT) and not self._in_a_slot())
        self._check_fill("exit fill", await self._report_of(OrderRole.EXIT))
        await self._check_flat("flat")

    async def _check_flat(self, name: str) -> None:
        held = [
            p
            for p in await positions_of(self.venue, (self.asset,))
            if plain_symbol(p.asset) == self._plain
        ]
        orders = await open_orders_of(self.venue, self.asset)
        self._check(
            name,
            not held and not orders and not self._in_a_slot(),
            f"exchange: {len(held)} positions, {len(orders)} orders; here: "
            f"{'in a slot' if self._in_a_slot() else 'slot free'}",
        )

    def _check_fill(self, name: str, report: OrderReport | None) -> None:
        order = self._order(OrderRole.ENTRY if name == "fill" else OrderRole.EXIT)
        filled = report is not None and report.status is VenueOrderStatus.FILLED
        there = report.filled_e8 if report else 0
        here = order.filled_e8 if order else 0
        price = report.average_price_e10 if report else 0
        self._check(
            name,
            filled and there == here == self.quantity_e8,
            f"exchange {report.status.name if report else 'does not know it'} "
            f"{format_quantity(there)} at {format_price(price)}, here {format_quantity(here)}",
        )

    # -- figures -----------------------------------------------------------------------------------

    async def _money(self) -> None:
        """Fee, PnL and wallet, from the exchange's own records and from ours."""
        reports = [await self._report_of(role) for role in OrderRole]
        fee = sum(r.fee or 0 for r in reports if r is not None)
        realized = sum(r.realized or 0 for r in reports if r is not None)
        trade = self.kernel.trade(self.trade_id)
        self._check(
            "fee and PnL",
            trade is not None and (trade.fees, _booked(trade)) == (fee, realized),
            f"exchange fee {format_money(fee)}, PnL {format_money(realized)}; here "
            + (f"{format_money(trade.fees)}, {format_money(_booked(trade))}" if trade else "none"),
        )
        wallet = await self._wallet_when_quiet()
        moved, made = wallet - self.wallet_before, realized - fee
        capital = self.runtime.engine.snapshot.capital
        self._check(
            "wallet",
            wallet == capital and abs(moved - made) <= WALLETS_OFF,
            f"exchange {format_money(wallet)}, capital here {format_money(capital)}; moved by "
            f"{format_money(moved)}, the trade made {format_money(made)}",
        )

    async def _wallet_when_quiet(self) -> int:
        """The wallet, once our own anchor holds all of the trade; or as it is after a while."""
        limit_ns = self._limit_ns()
        while True:
            wallet = (await answered("balance", self.venue.balance())).wallet
            if wallet == self.runtime.engine.snapshot.capital or self._late(limit_ns):
                return wallet
            self.node.service.balance_due.set()
            await asyncio.sleep(0.2)

    # -- the way out -------------------------------------------------------------------------------

    async def _clean_up(self) -> None:
        if not self._in_a_slot():
            self._say("nothing left open", True, "no slot of this trade is in use")
            return
        outcome = await self._ask(KernelCommandType.EXIT, urgent=True, quantity_e8=2**63 - 1)
        self._say(
            "way out", outcome.kernel.accepted, f"exit of everything: {outcome.kernel.code.name}"
        )
        await self._until(lambda: not self._in_a_slot() or self._dust())
        if self._dust():
            text = "what is left is below the contract's minimum: close it at the exchange"
            self._say("dust", False, text)
        try:
            await self._check_flat("flat after all")
        except _StepFailed:
            pass  # said in the list, and left_open tells it
        except VenueError as failed:
            self._say("flat after all", False, str(failed))

    def _say(self, name: str, holds: bool, text: str) -> None:
        self.steps.append({"step": name, "ok": holds, "text": text})

    # -- looking -----------------------------------------------------------------------------------

    def _in_a_slot(self) -> bool:
        return any(slot.trade_id == self.trade_id for slot in self.kernel.active_slots())

    def _dust(self) -> bool:
        return any(s.dust for s in self.kernel.active_slots() if s.trade_id == self.trade_id)

    def _order(self, role: OrderRole) -> VenueOrder | None:
        trade = self.kernel.trade(self.trade_id)
        orders = self.kernel.orders_of(trade.trade_no) if trade else ()
        return next((order for order in reversed(orders) if order.role is role), None)

    def _settled(self, role: OrderRole) -> bool:
        order = self._order(role)
        return order is not None and order.final and order.status in ENDED_STATUSES

    async def _report_of(self, role: OrderRole) -> OrderReport | None:
        order = self._order(role)
        if order is None:
            return None
        ref = OrderRef(
            asset=self.asset,
            client_order_id=order.client_order_id,
            venue_order_id=order.venue_order_id,
        )
        return await answered(f"order {order.client_order_id}", self.venue.order(ref))

    def _limit_ns(self) -> int:
        return self.runtime.clock.monotonic_ns() + STEP_LIMIT_S * 10**9

    def _late(self, limit_ns: int) -> bool:
        return self.runtime.clock.monotonic_ns() > limit_ns

    async def _until(self, true: Callable[[], bool]) -> None:
        limit_ns = self._limit_ns()
        while not true() and not self._late(limit_ns):
            await asyncio.sleep(0.02)


def _booked(trade: TradeRecord) -> int:
    return trade.realized + trade.trueup
