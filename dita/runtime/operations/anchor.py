"""The verb `anchor`: re-base the checksum K on the exchange's wallet, the drift booked by cause.

A person's decision, so the plan comes first, and it is refused while the wallet cannot be judged:
what is still on its way would be booked twice.  Each cause becomes a journalled adjustment of its
own.
"""

from __future__ import annotations

from typing import Any, Final

from dita.contracts import (
    ENDED_STATUSES,
    AccountSnapshot,
    ControlAction,
    DriftCause,
    KernelCommandType,
    KernelIntent,
    TradeStage,
)
from dita.engine import Engine
from dita.errors import RefusedForSafety
from dita.runtime.node import Node
from dita.runtime.queries.both_views import answered, take_balance
from dita.units import format_money

#: These become zero when the exchange's own rows or figures come; booked now, they would be
#: differences of the other sign then.
STILL_TO_COME: Final = {
    DriftCause.SETTLING: "wait a few seconds for a balance asked after it",
    DriftCause.PENDING_FEE: "wait until the order's end is read; pink-ctl reconcile names it",
    DriftCause.UNSETTLED_FILL: "wait for the exchange's figure of the fill, 120 s at most",
    DriftCause.FUNDING_UNREAD: "wait until the income row is read",
    DriftCause.TRANSFER_UNREAD: "wait until the income row is read",
    DriftCause.PENDING: "wait: after 120 s it has a cause or is unexplained",
}


async def anchor(node: Node, request: dict[str, Any], operator: str, reason: str) -> dict[str, Any]:
    """What would be booked, or with ``apply`` the booking.

    ``everything`` books also what may still get a cause.  RefusedForSafety while the anchor is not
    quiet; VenueError when there is no balance.
    """
    engine = node.runtime.engine
    await answered("income", node.service.poller.history.read())
    await take_balance(node.runtime)
    _check_quiet(engine)
    causes = dict(engine.snapshot.drift_by_cause)
    if not request.get("everything"):
        _check_causes(causes)
    before = engine.snapshot
    planned = {
        "capital_before": format_money(before.capital),
        "capital_after": format_money(before.capital),
        "k_before": format_money(before.k_capital),
        "k_after": format_money(before.k_capital + sum(causes.values())),
        "drift": format_money(before.drift),
        "adjustments": {cause.value: format_money(part) for cause, part in causes.items()},
        "entries_frozen": list(engine.kernel.freeze_causes()),
    }
    if not request.get("apply") or not causes:
        return {"anchor": {**planned, "applied": False}}
    await _book(node, causes, f"{operator}: anchor", reason, request.get("deadline_ms", 0))
    await take_balance(node.runtime)
    return {"anchor": {**planned, "applied": True, **_after(engine.snapshot, engine)}}


def _after(account: AccountSnapshot, engine: Engine) -> dict[str, Any]:
    return {
        "capital_after": format_money(account.capital),
        "k_after": format_money(account.k_capital),
        "drift_after": format_money(account.drift),
        "entries_frozen": list(engine.kernel.freeze_causes()),
    }


def _check_quiet(engine: Engine) -> None:
    """A quiet anchor holds everything of ours; nothing else may be the base of K."""
    kernel = engine.kernel
    ledger = kernel.ledger()
    doubts = [
        f"slot {slot.slot_id} ({slot.trade_id}) is in doubt"
        for slot in kernel.active_slots()
        if slot.state is TradeStage.STALE_STATE_RECONCILING
    ]
    doubts += [
        f"order {order.client_order_id} is {order.status.name}"
        for order in kernel.open_orders()
        if order.status not in ENDED_STATUSES
    ]
    if not doubts and not (ledger.anchored and ledger.anchor_quiet):
        doubts = ["the balance was asked for before the last fill, by the exchange's clock"]
    if doubts:
        raise RefusedForSafety(
            "the anchor is not quiet",
            expected="a balance with nothing of ours on its way",
            found="; ".join(doubts),
            action="wait until it has ended, or settle it: pink-ctl reconcile",
        )


def _check_causes(causes: dict[DriftCause, int]) -> None:
    for cause, part in causes.items():
        if cause in STILL_TO_COME:
            raise RefusedForSafety(
                "drift may still get its cause",
                expected="only drift that no row of the exchange's will explain any more",
                found=f"{cause.value} {format_money(part)} USDT",
                action=f"{STILL_TO_COME[cause]}; or --everything to book it all the same",
            )


async def _book(
    node: Node, causes: dict[DriftCause, int], who: str, reason: str, deadline_ms: int
) -> None:
    """One adjustment per cause, in one batch.  RefusedForSafety, also when it came too late."""
    outcomes = await node.runtime.ask_all(
        *(
            KernelIntent(
                command=KernelCommandType.CONTROL,
                received_ms=1,
                intent_id=node.service.new_id(f"anchor-{cause.value}"),
                action=ControlAction.REBASE,
                amount=part,
                reason=f"{who}, {cause.value} {format_money(part)}: {reason}",
                deadline_ms=deadline_ms,
            )
            for cause, part in causes.items()
        )
    )
    for outcome in outcomes:
        if not outcome.kernel.accepted:
            raise RefusedForSafety("adjustment refused", found=outcome.kernel.code.name)
