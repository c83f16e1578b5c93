"""The verbs `reconcile` and `reconcile_apply`: look, compare, plan, and carry a plan out.

What changes state goes through the inbox like everything else: intents with operator and reason,
and the venue's own evidence.  A step that finds nothing left to do says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from dita.contracts import (
    ENDED_STATUSES,
    ControlAction,
    KernelCommandType,
    KernelDiagnosticCode,
    KernelIntent,
    TradeSide,
    TradeSlot,
    TradeStage,
)
from dita.errors import UsageError, VenueError
from dita.identity import plain_symbol
from dita.reconcile import (
    Comparison,
    Plan,
    Step,
    StepKind,
    check_flat,
    check_plan,
    compare,
    plan_of,
    read_plan,
)
from dita.runtime.node import Node
from dita.runtime.queries.both_views import BothViews, answered, read_both_views, take_balance
from dita.units import format_money, format_quantity
from dita.venues import IncomeKind, IncomeReport

#: Rows that can be the result of a position that is gone without a fill.
WRITTEN_OFF_KINDS: Final = frozenset(
    {IncomeKind.REALIZED, IncomeKind.FEE, IncomeKind.INSURANCE, IncomeKind.ADL}
)
#: Over the longest absence proof, for an answer that comes slowly.
PATIENCE_S: Final = 20
#: A slot whose size the exchange has just confirmed does not stay in doubt longer than this.
DOUBT_S: Final = 5


class Reconciling:
    """Looks and applies, for one running node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.runtime = node.runtime
        self.order_query = node.service.order_query
        self.kernel = node.runtime.engine.kernel
        #: Kernel time past which what adds risk or repairs is not done any more; 0 for never.
        self.deadline_ms = 0

    # -- look --------------------------------------------------------------------------------------

    async def report(self, request: dict[str, Any]) -> dict[str, Any]:
        """Both views side by side and the plan.  ``symbols``: further ones to look at; ``adopt``:
        those whose foreign position is to be taken over; ``when_flat``: refuse unless all is flat.
        """
        adopt = _texts(request, "adopt")
        seen = await read_both_views(
            self.runtime.engine, self.runtime.venue, _texts(request, "symbols")
        )
        if request.get("when_flat"):
            check_flat(seen.ours, seen.theirs)
        found = compare(seen.ours, seen.theirs)
        now_ms = self.runtime.time.now_ms()
        plan = plan_of(seen.ours, seen.theirs, found, now_ms, adopt)
        return {"reconcile": told(seen, found, plan)}

    # -- apply -------------------------------------------------------------------------------------

    async def apply(self, request: dict[str, Any], operator: str, reason: str) -> dict[str, Any]:
        """Do exactly the plan of the request, or refuse it; then look again."""
        plan = read_plan(msgspec.json.encode(request.get("plan")))
        self.deadline_ms = request.get("deadline_ms", 0)
        seen = await read_both_views(self.runtime.engine, self.runtime.venue, plan.assets)
        check_plan(plan, seen.ours, seen.theirs, self.runtime.time.now_ms())
        if request.get("when_flat"):
            check_flat(seen.ours, seen.theirs)
        why = f"{operator}: reconcile {plan.plan_id}: {reason}"
        done = []
        for number, step in enumerate(plan.to_do, 1):
            result = await self._do(step, f"reconcile-{plan.plan_id}-{number}", why)
            done.append({"step": step.text, "result": result})
        return {"plan_id": plan.plan_id, "done": done, **await self._again(plan)}

    async def _again(self, plan: Plan) -> dict[str, Any]:
        """How it looks afterwards; what was done is told even when that cannot be seen."""
        try:
            await self._in_time(self.node.service.poller.history.read())
            await take_balance(self.runtime)
            return {**await self.report({"symbols": list(plan.assets)}), "problem": ""}
        except VenueError as failed:
            return {"reconcile": None, "problem": str(failed)}

    async def _do(self, step: Step, intent_id: str, why: str) -> str:
        act = {
            StepKind.HOLD: self._hold,
            StepKind.QUERY_ORDER: self._query,
            StepKind.FINALISE: self._finalise,
            StepKind.BOOK_OUTSIDE: self._book_outside,
            StepKind.CHECK_SLOT: self._check_slot,
            StepKind.NOTE_POSITION: self._note,
            StepKind.ADOPT: self._adopt,
            StepKind.TAKE_BALANCE: self._balance,
            StepKind.WRITE_OFF: self._write_off,
        }[step.kind]
        late = self.deadline_ms and self.runtime.time.now_ms() > self.deadline_ms
        if late and step.kind is not StepKind.HOLD:
            return "not done: whoever asked for it does not wait any more"
        try:
            return await act(step, intent_id, why)
        except VenueError as failed:
            return f"not done: {failed}"

    async def _hold(self, step: Step, intent_id: str, why: str) -> str:
        operator, _, reason = why.partition(": ")
        outcome = await self.node.service.control(ControlAction.HOLD, reason, operator)
        return "held" if outcome.kernel.accepted else outcome.kernel.code.name

    async def _query(self, step: Step, intent_id: str, why: str) -> str:
        order = self.kernel.order(step.order_no)
        if order is None or (order.final and order.status in ENDED_STATUSES):
            return "nothing left to do: it is final"
        if self._slot(step) is not None and not await self._doubt(step, intent_id, why):
            return "not done: refused"
        return await self._finalise(step, intent_id, why)

    async def _finalise(self, step: Step, intent_id: str, why: str) -> str:
        await self._in_time(self.order_query.order(step.order_no))
        order = self.kernel.order(step.order_no)
        if order is None:
            return "settled, its trade is complete"
        if self.order_query.is_asking(step.order_no):
            return f"still asked about, {order.status.name}"
        return f"{order.status.name}{', final' if order.final else ''}"

    async def _book_outside(self, step: Step, intent_id: str, why: str) -> str:
        slot = self._slot(step)
        if slot is None:
            return "nothing left to do: the slot is free"
        before_e8 = slot.exited_e8
        if not await self._doubt(step, intent_id, why):
            return "not done: refused"
        told = await self._settled(step)
        trade = self.kernel.trade(step.trade_id)
        booked_e8 = (trade.exited_e8 if trade else before_e8) - before_e8
        return f"booked {format_quantity(booked_e8)} from outside; {told}"

    async def _check_slot(self, step: Step, intent_id: str, why: str) -> str:
        if self._slot(step) is None:
            return "nothing left to do: the slot is free"
        if not await self._doubt(step, intent_id, why):
            return "not done: refused"
        return await self._settled(step)

    async def _note(self, step: Step, intent_id: str, why: str) -> str:
        await self._in_time(self.order_query.positions())
        return "positions taken in"

    async def _adopt(self, step: Step, intent_id: str, why: str) -> str:
        rules = f"contract of {step.asset}"
        contract = await answered(rules, self.runtime.venue.contract(step.asset))
        outcome = await self.runtime.ask(
            KernelIntent(
                command=KernelCommandType.RECONCILE,
                received_ms=1,
                intent_id=intent_id,
                trade_id=f"adopted-{intent_id.removeprefix('reconcile-')}",
                asset=step.asset,
                side=TradeSide(int(step.side)),
                quantity_e8=step.quantity_e8,
                entry_cost=step.entry_price_e10 * step.quantity_e8,
                leverage=max(1, min(step.leverage, self.kernel.config.leverage_cap)),
                contract=contract,
                reason=why,
                deadline_ms=self.deadline_ms,
            )
        )
        done = outcome.kernel
        if done.code is KernelDiagnosticCode.DUPLICATE_EVENT:
            return "nothing left to do: this plan has done it before"
        if not done.accepted or done.transition is None:
            return f"not done: {done.code.name}"
        return f"adopted into slot {done.transition.slot_id}"

    async def _balance(self, step: Step, intent_id: str, why: str) -> str:
        await self._in_time(self.node.service.poller.history.read())
        await take_balance(self.runtime)
        return f"wallet {format_money(self.runtime.engine.snapshot.e_wallet_balance, 8)}"

    async def _write_off(self, step: Step, intent_id: str, why: str) -> str:
        """Everything that may tell of a close is read once more, whole; then the kernel refuses
        unless the quantity is still missing."""
        poller = self.node.service.poller
        await self._in_time(poller.positions(journal_all=True))
        if (slot := self._slot(step)) is not None:
            await self._in_time(poller.read_whole_history(slot))
        if self._slot(step) is None:
            return "nothing left to do: the slot is free"
        amount = sum(row.amount for row in self._rows_of(step))
        outcome = await self.runtime.ask(
            KernelIntent(
                command=KernelCommandType.WRITE_OFF,
                received_ms=1,
                intent_id=intent_id,
                trade_id=step.trade_id,
                slot_id=step.slot_id,
                quantity_e8=step.quantity_e8,
                carried_realized=amount,
                reason=why,
                deadline_ms=self.deadline_ms,
            )
        )
        done = outcome.kernel
        if not done.accepted:
            return f"not done: {done.code.name} {done.details.get('field', '')}".rstrip()
        slot = self._slot(step)
        told = "the slot is free" if slot is None else f"the slot is {slot.state.name}"
        return (
            f"written off {format_quantity(step.quantity_e8)}, result {format_money(amount)} from "
            f"income rows; {told}; what the wallet lost beyond that stays unexplained until "
            "`pink-ctl anchor --reason WHY`"
        )

    def _rows_of(self, step: Step) -> list[IncomeReport]:
        """Rows of the symbol that nobody's order explains, from our last fill on, when the quantity
        was there, up to the position that lacks it."""
        _, proven_ms, _ = self.kernel.proof_of(step.slot_id)
        since_ms = self.kernel.slot_fill_ms(step.slot_id)
        history = self.node.service.poller.history
        waiting = (*history.unmatched, *history.undecided)
        return [
            row
            for row in waiting
            if row.kind in WRITTEN_OFF_KINDS
            and plain_symbol(row.asset) == plain_symbol(step.asset)
            and since_ms < row.time_ms <= proven_ms
        ]

    # -- waiting -----------------------------------------------------------------------------------

    async def _doubt(self, step: Step, intent_id: str, why: str) -> bool:
        """Journal who doubts the slot and why; the kernel asks about everything of it."""
        outcome = await self.runtime.ask(
            KernelIntent(
                command=KernelCommandType.RECONCILE,
                received_ms=1,
                intent_id=intent_id,
                trade_id=step.trade_id,
                slot_id=step.slot_id,
                reason=why,
                deadline_ms=self.deadline_ms,
            )
        )
        return outcome.kernel.accepted

    def _slot(self, step: Step) -> TradeSlot | None:
        """The slot, if it still holds the trade that the plan was made for."""
        if step.slot_id < 0:
            return None
        slot = self.kernel.slot(step.slot_id)
        return slot if not slot.closed and slot.trade_id == step.trade_id else None

    async def _settled(self, step: Step) -> str:
        """Positions, and for a slot that disagrees the fills of others: the watch's own look."""
        await self._in_time(self.node.service.poller.positions(journal_all=True))
        await self._until(lambda: not self._in_doubt(step), DOUBT_S)
        slot = self._slot(step)
        return "the slot is free" if slot is None else f"the slot is {slot.state.name}"

    def _in_doubt(self, step: Step) -> bool:
        slot = self._slot(step)
        return slot is not None and slot.state is TradeStage.STALE_STATE_RECONCILING

    @property
    def _limit_s(self) -> int:
        window_ms = self.order_query.absence_fence_ms + self.runtime.venue.receive_window_ms
        return PATIENCE_S + window_ms // 1_000

    async def _in_time(self, question: Awaitable[None]) -> None:
        await answered("what the step asks", question, self._limit_s)

    async def _until(self, true: Callable[[], bool], limit_s: int) -> None:
        limit_ns = self.runtime.clock.monotonic_ns() + limit_s * 10**9
        while not true() and self.runtime.clock.monotonic_ns() < limit_ns:
            await asyncio.sleep(0.02)


def _texts(request: dict[str, Any], name: str) -> list[str]:
    texts = request.get(name, [])
    if not isinstance(texts, list) or not all(isinstance(t, str) and t.isascii() for t in texts):
        raise UsageError("request refused", expected=f"{name}: a list of symbols", found=str(texts))
    return texts[:64]


def told(seen: BothViews, found: Comparison, plan: Plan) -> dict[str, Any]:
    """A comparison and its plan as one plain record."""
    return {
        "namespace": seen.ours.namespace,
        "epoch": seen.ours.epoch,
        "difference": format_money(found.difference),
        "differences": len(found.to_settle),
        "remarks": len(found.differences) - len(found.to_settle),
        "calm": seen.calm,
        "rows": [
            {
                "level": row.level.value,
                "asset": row.asset,
                "name": row.name,
                "ours": row.ours,
                "theirs": row.theirs,
                "cause": row.cause.value if row.cause else "",
            }
            for row in found.rows
        ],
        "plan": msgspec.to_builtins(plan),
    }
