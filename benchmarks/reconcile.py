"""CPU of one reconciliation: 50 slots in use, nothing differs; and the same with every slot wrong.

``python -m benchmarks.reconcile`` prints medians over rounds.  Measured are our view from the
kernel, the comparison, and the plan; the exchange's answers are made beforehand.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from benchmarks.report import Row, Section, plain, where_and_when, write_section
from dita.contracts import (
    ContractRules,
    EffectKind,
    KernelCommandType,
    KernelEventKind,
    KernelIntent,
    OrderSide,
    OrderType,
    VenueEvent,
)
from dita.engine import Engine
from dita.kernel import KernelConfig
from dita.reconcile import TheirOrder, TheirPosition, TheirView, compare, plan_of
from dita.runtime.queries.both_views import our_view

SLOTS = 50
ROUNDS = 201
MONEY = 10**18


def desk() -> Engine:
    """Fifty trades: each has half of its entry filled, the rest of the LIMIT order works."""
    engine = Engine(KernelConfig(slot_limit=SLOTS, namespace="bench"))
    engine.apply(
        VenueEvent(kind=KernelEventKind.ACCOUNT_UPDATE, received_ms=1, amount=10**6 * MONEY)
    )
    rules = ContractRules(tick_e10=10**6, step_e8=10**8)
    for number in range(SLOTS):
        now = 10_000_000 + number * 10_000
        outcome = engine.apply(
            KernelIntent(
                command=KernelCommandType.ENTER,
                received_ms=now,
                intent_id=f"enter-{number}",
                trade_id=f"T{number}",
                asset=f"A{number}-USDT",
                quantity_e8=1000 * 10**8,
                reference_price_e10=10**10,
                order_type=OrderType.LIMIT,
                limit_price_e10=10**10,
                contract=rules,
            )
        )
        (submit,) = (e for e in outcome.effects if e.kind is EffectKind.SUBMIT)
        engine.apply(
            VenueEvent(
                kind=KernelEventKind.PARTIAL_FILL,
                received_ms=now + 1,
                exchange_ms=now + 1,
                asset=submit.asset,
                client_order_id=submit.client_order_id,
                venue_order_id=str(9_000 + number),
                quantity_e8=500 * 10**8,
                price_e10=10**10,
                fee=0,
            )
        )
        engine.apply(
            VenueEvent(
                kind=KernelEventKind.ACCOUNT_UPDATE, received_ms=now + 9_000, amount=10**6 * MONEY
            )
        )
    return engine


def mirror(engine: Engine) -> TheirView:
    """The exchange's view that agrees with ours."""
    ours = our_view(engine)
    return TheirView(
        assets=tuple(p.asset for p in ours.positions),
        open_orders=tuple(
            TheirOrder(
                client_order_id=o.client_order_id,
                venue_order_id=o.venue_order_id,
                asset=o.asset,
                side=o.side,
                status=o.status,
                quantity_e8=o.intended_e8,
                filled_e8=o.filled_e8,
            )
            for o in ours.orders
        ),
        looked_up=(),
        positions=tuple(
            TheirPosition(
                asset=p.asset,
                side=OrderSide(int(p.side)),
                quantity_e8=p.size_e8,
                entry_price_e10=10**10,
                leverage=1,
            )
            for p in ours.positions
        ),
        wallet=ours.money.wallet,
        available_margin=ours.money.wallet,
    )


def once(engine: Engine, theirs: TheirView) -> int:
    """One reconciliation; how many steps it proposes."""
    ours = our_view(engine, theirs.open_orders)
    return len(plan_of(ours, theirs, compare(ours, theirs), 1).steps)


def median_ms(work: Callable[[], object]) -> tuple[float, float, float]:
    """Median, least and most CPU milliseconds."""
    work()
    spent = []
    for _ in range(ROUNDS):
        start = time.process_time_ns()
        work()
        spent.append((time.process_time_ns() - start) / 1e6)
    return statistics.median(spent), min(spent), max(spent)


def main(argv: list[str]) -> None:
    """Measure and print."""
    engine = desk()
    same = mirror(engine)
    empty = TheirView(
        assets=same.assets,
        open_orders=(),
        looked_up=(),
        positions=(),
        wallet=same.wallet,
        available_margin=same.wallet,
    )
    assert once(engine, same) == 0
    rows = []
    for name, theirs, limit_ms in (("no difference", same, 5), ("every slot differs", empty, 0)):
        steps = once(engine, theirs)
        middle, low, high = median_ms(lambda theirs=theirs: once(engine, theirs))  # type: ignore[misc]
        target, met = (f"≤ {limit_ms} ms", middle <= limit_ms) if limit_ms else ("", None)
        value = f"{middle:.2f} [{low:.2f}..{high:.2f}]"
        rows.append(Row(f"{name} ({steps} steps), CPU ms", value, target, met))
    found = Section(f"Reconcile of {SLOTS} slots", f"{where_and_when()} {ROUNDS} times.", rows)
    sys.stdout.write(plain([found]) + "\n")
    if "--write" in argv:
        write_section(found)


if __name__ == "__main__":
    main(sys.argv[1:])
