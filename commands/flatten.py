"""`pink-ctl flatten --emergency`: the way out when serve cannot run.

Says first which exchange and whose money; then what is open there, what is ours of it, and what
would be sent; with --apply it is done.  How is in `dita.runtime.emergency.flatten`.  While a serve
runs the way is `pink-ctl intent flatten`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dita.errors import ExitCode

from .options import Apply, AsJson, ConfigFile, StateDir
from .show.render import emit_json, note, show, speak_of
from .typed import again

if TYPE_CHECKING:
    from dita.runtime.emergency.flatten import Plan
    from dita.runtime.emergency.session import EmergencySession

Emergency = Annotated[
    bool, typer.Option("--emergency", help="Without serve, by the exchange's word.")
]
Symbols = Annotated[
    list[str] | None,
    typer.Option(
        "--symbol",
        metavar="SYMBOL",
        help="Only these; may be repeated. Default: those of the journal.",
    ),
]
All = Annotated[bool, typer.Option("--all", help="Every position of the account, ours or not.")]
Confirm = Annotated[
    list[str] | None,
    typer.Option(
        "--confirm",
        metavar="WHAT",
        help="With --all: the number of positions. Else a symbol; may be repeated.",
    ),
]
Quantity = Annotated[
    str,
    typer.Option(
        "--quantity", metavar="COINS", help="Close this much of the one --symbol, on your word."
    ),
]
Host = Annotated[
    str,
    typer.Option(
        "--host", metavar="HOST", help="The host in the first line, when the message asks for it."
    ),
]
Money = Annotated[
    str, typer.Option("--money", metavar="MONEY", help="live or vst, when the message asks for it.")
]
Limit = Annotated[
    int, typer.Option("--limit-s", min=5, max=3_600, help="Give up after this many seconds.")
]


def flatten(
    emergency: Emergency = False,
    symbol: Symbols = None,
    quantity: Quantity = "",
    everything: All = False,
    confirm: Confirm = None,
    host: Host = "",
    money: Money = "",
    limit_s: Limit = 120,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """Close our own positions when serve cannot run.

    Own orders are cancelled first. Without --apply it prints the plan.

    Exit 0 flat or only planned, 1 not flat, 5 refused for safety, 6 the exchange
    does not answer, 75 serve is running, 78 the settings are for another account.

    \b
    Examples:
      pink-ctl flatten --emergency
      pink-ctl flatten --emergency --apply
      pink-ctl flatten --emergency --symbol FET-USDT --apply
      pink-ctl flatten --emergency --symbol FET-USDT --quantity 500 --apply
      pink-ctl flatten --emergency --all --apply --confirm 3
    """
    import asyncio

    from dita.errors import RefusedForSafety
    from dita.runtime.emergency.session import Confirmed, EmergencySession
    from dita.runtime.state.directory import installed
    from dita.units import parse_quantity

    if not emergency:
        raise RefusedForSafety(
            "flatten alone does nothing",
            expected="--emergency, for when serve cannot run",
            action="with a running serve: pink-ctl intent flatten --reason WHY --apply",
        )
    settings, directory = installed(config, state_dir, os.environ)
    say = note if as_json else show
    out = EmergencySession(
        settings,
        directory,
        symbol or [],
        everything=everything,
        limit_s=limit_s,
        confirmed=Confirmed(
            host.rstrip("/"),
            money,
            tuple(confirm or ()),
            parse_quantity(quantity, field="--quantity") if quantity else 0,
        ),
    )
    speak_of(out.place, quiet=as_json, say=say)
    if out.unproven:
        note(f"not proven that this is the place: {out.unproven}")
    out.find_symbols(note)
    plan, flat = asyncio.run(_run(out, say, apply=apply))
    if as_json:
        emit_json({"applied": apply, "flat": flat, "proven": not out.unproven, **_told(plan)})
    if apply and not flat:
        note("not flat: look at the exchange's own screen")
        raise typer.Exit(ExitCode.DIFFERENCE)


async def _run(out: EmergencySession, say: Any, *, apply: bool) -> tuple[Plan, bool]:
    """The plan; with --apply also the deed."""
    async with out.locked(say, note) as emergency:
        plan = await emergency.look()
        for line in _lines(plan, everything=out.everything):
            say(line)
        if not apply:
            note("nothing was sent; to do it:")
            note(f"next: {again(add=('--apply',))}")
            return plan, plan.flat
        out.check_all(plan)
        out.check_place(plan)
        return plan, await emergency.flatten()


def _lines(plan: Plan, *, everything: bool) -> list[str]:
    from dita.units import format_quantity

    lines = [f"would cancel {o.side.name} {o.asset} {o.venue_order_id}" for o in plan.orders]
    for p in plan.positions:
        size = format_quantity(p.quantity_e8)
        whose = "whoever's it is" if everything else "ours"
        lines.append(
            f"would send {_sent(p)} {size} {p.asset}, reduce-only MARKET: closes {_held(p)} {size},"
            f" {whose}"
        )
    if plan.flat:
        lines.append("nothing of ours is open")
    lines += [
        f"left alone, not ours: order {o.side.name} {o.asset} {o.venue_order_id}"
        for o in plan.foreign_orders
    ]
    for p in plan.other_positions:
        size = format_quantity(p.quantity_e8)
        lines.append(
            f"left alone: {_held(p)} {size} {p.asset}, not proven to be ours;"
            f" if it is: --symbol {p.asset} --quantity {size}"
        )
    return lines


def _sent(position: Any) -> str:
    """The side of the order that closes it."""
    return "SELL" if position.side > 0 else "BUY"


def _held(position: Any) -> str:
    return "LONG" if position.side > 0 else "SHORT"


def _told(plan: Plan) -> dict[str, Any]:
    from dita.units import format_quantity

    def orders(found: Any) -> list[dict[str, str]]:
        return [
            {"asset": o.asset, "side": o.side.name, "venue_order_id": o.venue_order_id}
            for o in found
        ]

    def positions(found: Any) -> list[dict[str, str]]:
        return [
            {
                "asset": p.asset,
                "position": _held(p),
                "sends": _sent(p),
                "quantity": format_quantity(p.quantity_e8),
            }
            for p in found
        ]

    return {
        "orders": orders(plan.orders),
        "positions": positions(plan.positions),
        "foreign_orders": orders(plan.foreign_orders),
        "other_positions": positions(plan.other_positions),
    }
