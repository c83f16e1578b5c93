"""What a running kernel looks like from outside: one plain record.

Built from the engine and the service, shown by `status` and by serve's live table, sent over the
control socket.  Money and quantities are decimal texts, "" where a figure is not known; ages are
milliseconds by the kernel's clock, -1 for "never".
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from dita.contracts import AccountSnapshot, Record, RiskLimit, TradeSide, TradeSlot
from dita.kernel import ExecutionKernel
from dita.runtime.entries import waits_for
from dita.runtime.loop import RunState
from dita.runtime.queries.marks import Mark
from dita.runtime.service import Service
from dita.units import format_money, format_price, format_quantity, format_ratio

#: Limits that are counts; the others are money.
COUNTED = frozenset({RiskLimit.POSITIONS, RiskLimit.INTENTS_PER_MINUTE})
#: A serve whose loop has not moved for this long is stale.
STALE_MS = 5_000


def slot_row(
    slot: TradeSlot, mark: Mark | None = None, *, applied_ms: int = 0, now_ms: int = 0
) -> dict[str, Any]:
    """One slot in use; ``mark`` is what the venue says of its position.

    The age of the mark is that of the answer that told or confirmed it; ``applied_ms`` is when it
    was applied.
    """
    is_confirmed = mark is not None and mark.mark_price_e10 == slot.mark_price_e10
    marked_ms = max(applied_ms, mark.at_ms) if mark is not None and is_confirmed else applied_ms
    is_marked = slot.mark_price_e10 > 0
    return {
        "slot": slot.slot_id,
        "trade": slot.trade_id,
        "asset": slot.asset,
        "side": slot.side.name,
        "state": slot.state.name,
        "size": format_quantity(slot.size_e8),
        "entry_price": format_price(slot.entry_price_e10),
        "mark_price": format_price(slot.mark_price_e10) if is_marked else "",
        "mark_age_ms": _age(now_ms, marked_ms) if is_marked else -1,
        "leverage": slot.leverage,
        "realized": format_money(slot.realized),
        "unrealized": format_money(slot.unrealized) if is_marked else "",
        "fees": format_money(slot.fees),
        **_of_the_venue(mark),
        "leg": slot.active_leg_index,
        "legs": len(slot.exit_leg_ratios_e9),
        "exit_latched": slot.exit_latched,
        "dust": slot.dust,
        "pnl_source": slot.pnl_source,
    }


def _slots(service: Service, now_ms: int) -> list[dict[str, Any]]:
    marks, applied = service.order_query.marks.known, service.feeds.marked_ms
    return [
        slot_row(
            slot,
            marks.get(slot.trade_id),
            applied_ms=applied.get(slot.trade_id, 0),
            now_ms=now_ms,
        )
        for slot in service.runtime.engine.kernel.active_slots()
    ]


def _of_the_venue(mark: Mark | None) -> dict[str, Any]:
    """Liquidation and leverage as the exchange has them; a person may have changed the latter."""
    if mark is None:
        return {"liquidation_price": "", "liquidation_distance": "", "leverage_there": 0}
    liquidation, distance = mark.liquidation_price_e10, mark.distance_e9
    return {
        "liquidation_price": format_price(liquidation) if liquidation else "",
        "liquidation_distance": format_ratio(distance) if distance >= 0 else "",
        "leverage_there": mark.leverage,
    }


def _age(now_ms: int, then_ms: int) -> int:
    return now_ms - then_ms if then_ms else -1


def _troubles(service: Service, now_ms: int) -> dict[str, Any]:
    """What is wrong or was refused, each with its age, and what was left out of the journal."""
    alarms, questions = service.runtime.alarms, service.questions
    return {
        "queries_failed": questions.failed_total,
        "queries_failing": [_aged(q, q.since_ms, now_ms) for q in questions.failing.values()],
        "alarms": [_aged(alarm, alarm.since_ms, now_ms) for alarm in alarms.active],
        "orders_refused": [_aged(r, r.at_ms, now_ms) for r in service.feeds.refused],
        "left_out": {
            "strangers": service.gaps.strangers.dropped,
            "positions": service.order_query.answers.left_out,
        },
        "tasks": {"now": service.runtime.tasks, "most": service.runtime.tasks_max},
    }


def _aged(record: Record, since_ms: int, now_ms: int) -> dict[str, Any]:
    return {**msgspec.to_builtins(record), "age_ms": now_ms - since_ms}


def _exposure(service: Service) -> dict[str, Any]:
    """What is at stake: open positions at their marks, and the margin for them."""
    kernel, account = service.runtime.engine.kernel, service.runtime.engine.snapshot
    margin = sum(slot.initial_margin for slot in kernel.active_slots())
    return {
        "positions": account.open_positions,
        "notional": format_money(account.open_notional),
        "leverage": format_ratio(account.leverage_e9),
        "margin": format_money(margin),
        "available_margin": format_money(account.available_margin),
    }


def _foreign(kernel: ExecutionKernel) -> list[dict[str, Any]]:
    """What others hold on symbols that we trade."""
    found = []
    sides = tuple(TradeSide) if kernel.config.hedge else (TradeSide.LONG,)
    for asset in sorted({trade.asset for trade in kernel.trades()}):
        for side in sides:
            quantity = kernel.foreign_quantity_e8(asset, side)
            if quantity:
                holds = TradeSide.LONG if quantity > 0 else TradeSide.SHORT
                size = format_quantity(abs(quantity))
                found.append({"asset": asset, "side": holds.name, "quantity": size})
    return found


def _orders(service: Service, now_ms: int) -> list[dict[str, Any]]:
    """Every order that is not final: whose, how much of it is filled, and how old it is."""
    kernel = service.runtime.engine.kernel
    found = []
    for order in kernel.open_orders():
        trade = kernel.trade_of(order.trade_no)
        found.append(
            {
                "trade": trade.trade_id if trade is not None else "",
                "asset": kernel.asset_of(order.trade_no),
                "role": order.role.name,
                "side": order.side.name,
                "quantity": format_quantity(order.intended_e8),
                "filled": format_quantity(order.filled_e8),
                "status": order.status.name,
                "client_order_id": order.client_order_id,
                "venue_order_id": order.venue_order_id,
                "age_ms": _age(now_ms, service.feeds.sent_ms.get(order.order_no, 0)),
            }
        )
    return found


def _money(account: AccountSnapshot) -> dict[str, Any]:
    """What the account is worth, and how far the exchange and our checksum agree about it."""
    return {
        "capital": format_money(account.capital),
        "capital_source": account.capital_source.value,
        "exchange_balance": format_money(account.e_wallet_balance),
        "equity": format_money(account.equity),
        "realized": format_money(account.realized),
        "unrealized": format_money(account.unrealized),
        "fees": format_money(account.fees),
        "funding": format_money(account.funding),
        "k_capital": format_money(account.k_capital),
        "drift": format_money(account.drift),
        "drift_by_cause": {c.value: format_money(v) for c, v in account.drift_by_cause.items()},
        "drift_status": account.status.name,
    }


def _ages(service: Service, now_ms: int) -> dict[str, int | None]:
    """How old the newest answer of each kind is."""
    feeds = service.feeds
    return {
        "stream": service.runtime.venue.stream_state().silent_ms,
        "balance": _age(now_ms, feeds.balance_ms),
        "positions": _age(now_ms, max(service.order_query.positions_ms, feeds.positions_ms)),
        "orders": _age(now_ms, service.poller.orders_ms),
        "income": _age(now_ms, service.poller.history.read_ms),
        "last_input": _age(now_ms, feeds.applied_ms),
    }


def _fee_check(service: Service) -> dict[str, Any]:
    """How real fees compare with the contract's rate."""
    return {
        "state": service.fees.state.value,
        "text": service.fees.text,
        "deviation": format_ratio(service.fees.deviation_e9),
        "fills": service.fees.fills,
    }


def status_of(service: Service, *, epoch: int, settings_hash: str) -> dict[str, Any]:
    """The whole record."""
    runtime = service.runtime
    kernel = runtime.engine.kernel
    account = runtime.engine.snapshot
    now = runtime.time.now_ms()
    missing = () if service.readiness.is_ready else service.readiness.missing()
    waits = waits_for(kernel, account, now, held_because=service.held_because, not_ready=missing)
    history = service.poller.history
    return {
        "state": runtime.state.name,
        "ready": runtime.state is RunState.READY,
        "pid": os.getpid(),
        "namespace": kernel.config.namespace,
        "epoch": epoch,
        "event_seq": kernel.event_seq,
        "now_ms": now,
        "wall_ms": runtime.clock.now_ms(),
        "venue_offset_ms": kernel.ledger().exchange_offset_ms,
        **_money(account),
        "entries_frozen": list(kernel.freeze_causes()),
        "held_symbols": list(kernel.held_symbols()),
        "limits": {
            limit.name.lower(): str(value) if limit in COUNTED else format_money(value)
            for limit, value in kernel.limits().items()
        },
        "not_ready": list(missing),
        "entries": {"allowed": not waits, "wait_for": waits},
        "exposure": _exposure(service),
        "foreign": _foreign(kernel),
        "orders": _orders(service, now),
        "held_because": service.held_because,
        "trades": account.trade_seq,
        "slots": _slots(service, now),
        "open_orders": len(kernel.open_orders()),
        "held_events": kernel.held_events,
        "income_unmatched": {
            "rows": len(history.unmatched),
            "sum": format_money(sum(row.amount for row in history.unmatched)),
        },
        **_troubles(service, now),
        "refusals": {code.name: n for code, n in sorted(kernel.refusals.items())},
        "age_ms": _ages(service, now),
        "fee_check": _fee_check(service),
        "venue": runtime.venue.health(),
        "settings_hash": settings_hash,
    }
