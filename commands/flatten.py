"""`pink-ctl flatten --emergency`: the way out when serve cannot run.

Prints what is open at the exchange and what would be done, and with --apply does it; how is in
`dita.runtime.emergency`.  While a serve runs the way is `pink-ctl intent flatten`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dita.errors import ExitCode

from .options import Apply, AsJson, ConfigFile, StateDir
from .render import emit_json, note, show

if TYPE_CHECKING:
    from dita.runtime.emergency import Plan
    from dita.runtime.wayout import WayOut

Emergency = Annotated[
    bool, typer.Option("--emergency", help="Without serve and journal, by the exchange's word.")
]
Symbols = Annotated[
    list[str] | None,
    typer.Option("--symbol", help="Only these (repeat it). Else those of the journal."),
]
All = Annotated[bool, typer.Option("--all", help="Every position of the account, ours or not.")]
Confirm = Annotated[
    int, typer.Option("--confirm", help="With --all --apply: how many positions the plan shows.")
]
Limit = Annotated[int, typer.Option("--limit-s", min=5, max=3_600, help="Give up after so long.")]


def flatten(
    emergency: Emergency = False,
    symbol: Symbols = None,
    everything: All = False,
    confirm: Confirm = -1,
    limit_s: Limit = 120,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """Cancel own orders and close own positions when serve cannot run.

    Exit 0 flat (or only planned), 1 not flat, 5 refused for safety, 6 the
    venue does not answer, 75 a serve runs.

    \b
    Examples:
      pink-ctl flatten --emergency
      pink-ctl flatten --emergency --apply
      pink-ctl flatten --emergency --symbol FET-USDT --apply
      pink-ctl flatten --emergency --all --apply --confirm 3
    """
    import asyncio

    from dita.errors import RefusedForSafety
    from dita.runtime.start import prepared
    from dita.runtime.wayout import WayOut

    if not emergency:
        raise RefusedForSafety(
            "flatten alone does nothing",
            expected="--emergency, for when serve cannot run",
            action="with a running serve: pink-ctl intent flatten --reason WHY --apply",
        )
    settings, directory = prepared(config, state_dir, os.environ)
    say = note if as_json else show
    out = WayOut(settings, directory, symbol or [], everything=everything, limit_s=limit_s)
    out.find_symbols(note)
    plan, flat = asyncio.run(_run(out, say, confirm if apply else None))
    if as_json:
        emit_json({"applied": apply, "flat": flat, **_told(plan)})
    if apply and not flat:
        note("not flat: look at the exchange's own screen")
        raise typer.Exit(ExitCode.DIFFERENCE)


async def _run(out: WayOut, say: Any, confirm: int | None) -> tuple[Plan, bool]:
    """The plan; with a confirmation, also the deed."""
    async with out.locked(say, note) as emergency:
        plan = await emergency.look()
        for line in _lines(plan):
            say(line)
        if confirm is None:
            note("nothing was sent; add --apply to do it")
            return plan, plan.flat
        out.check(plan, confirm)
        return plan, await emergency.flatten()


def _lines(plan: Plan) -> list[str]:
    from dita.units import format_quantity

    lines = [f"would cancel {o.side.name} {o.asset} {o.venue_order_id}" for o in plan.orders]
    for p in plan.positions:
        size = format_quantity(p.quantity_e8)
        lines.append(f"would close {p.side.name} {size} {p.asset} by reduce-only MARKET")
    if plan.flat:
        lines.append("nothing of ours is open")
    lines += [
        f"left alone, not ours: order {o.side.name} {o.asset} {o.venue_order_id}"
        for o in plan.foreign_orders
    ]
    for p in plan.other_positions:
        size = format_quantity(p.quantity_e8)
        lines.append(f"left alone: {p.side.name} {size} {p.asset}; name it with --symbol")
    return lines


def _told(plan: Plan) -> dict[str, Any]:
    from dita.units import format_quantity

    def orders(found: Any) -> list[dict[str, str]]:
        return [
            {"asset": o.asset, "side": o.side.name, "venue_order_id": o.venue_order_id}
            for o in found
        ]

    def positions(found: Any) -> list[dict[str, str]]:
        return [
            {"asset": p.asset, "side": p.side.name, "quantity": format_quantity(p.quantity_e8)}
            for p in found
        ]

    return {
        "orders": orders(plan.orders),
        "positions": positions(plan.positions),
        "foreign_orders": orders(plan.foreign_orders),
        "other_positions": positions(plan.other_positions),
    }
