"""`pink-ctl intent`: a person's hand on the controls of a running kernel.

Each intent is planned first: what would be sent, what it is worth, and what would refuse it.  With
--apply it is sent once, journalled with who and why, and the exchange's first answer is waited for.
Whether an intent makes sense is decided by the running kernel.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dita.errors import ExitCode, UsageError

from .completion import sides, symbols, trades
from .operator import (
    Again,
    Operator,
    Reason,
    Serve,
    Typed,
    Wait,
    Wish,
    do,
    reach,
    refusal_text,
    say_next,
    tell,
    to_apply,
)
from .options import Apply, AsJson, ConfigFile, StateDir
from .show.render import emit_json, note, show

Trade = Annotated[
    str, typer.Option("--trade", metavar="TRADE", help="Trade id.", autocompletion=trades)
]
Asset = Annotated[
    str,
    typer.Option(
        "--asset", metavar="SYMBOL", help="Symbol, such as FET-USDT.", autocompletion=symbols
    ),
]
Side = Annotated[
    str, typer.Option("--side", metavar="SIDE", help="LONG or SHORT.", autocompletion=sides)
]
Limit = Annotated[
    str,
    typer.Option(
        "--price",
        metavar="PRICE",
        help="At this price or better, the rest ends. Default: at market.",
    ),
]
Leverage = Annotated[int, typer.Option("--leverage", help="Leverage at the exchange.")]
Quantity = Annotated[
    str,
    typer.Option(
        "--quantity", metavar="COINS", help="In coins; a multiple of the contract's step."
    ),
]
Whole = Annotated[bool, typer.Option("--all", help="All that is left.")]
Leg = Annotated[bool, typer.Option("--leg", help="Its next leg; the default.")]
Urgent = Annotated[
    bool, typer.Option("--urgent", help="Replace a working quote by a market order.")
]

#: A slot that holds nothing any more: only the figures of its last orders are still read.
FLAT = "CLOSED"

#: What the exchange's first answer means for the exit code.
ANSWERS = {
    "filled": ExitCode.DONE,
    "working": ExitCode.DONE,
    "ended": ExitCode.DIFFERENCE,
    "rejected": ExitCode.VENUE,
    "rate_limited": ExitCode.VENUE,
    "unknown": ExitCode.STALE,
}


def intent() -> None:
    """Send an intent by hand: enter, exit, cancel, flatten.

    Each takes --json. Exit 0 done or planned, 1 refused by the kernel or nothing
    filled, 2 not exact, 3 not running, 4 outcome unknown, 5 refused for safety, 6
    refused by the exchange.

    \b
    Examples:
      pink-ctl intent exit --trade T1 --all --reason "news" --apply
      pink-ctl intent enter --trade T9 --asset FET-USDT --side SHORT \\
          --quantity 500 --reason "by hand" --apply
      pink-ctl intent flatten --reason "going home" --apply
    """


def intent_enter(
    trade: Trade,
    asset: Asset,
    side: Side,
    quantity: Quantity,
    reason: Reason,
    price: Limit = "",
    leverage: Leverage = 1,
    wait: Wait = 5,
    operator: Operator = "",
    again: Again = False,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """Enter a trade at market, or at a price or better.

    \b
    Example:
      pink-ctl intent enter --trade T9 --asset FET-USDT --side SHORT \\
          --quantity 500 --price 0.1866 --reason "by hand" --apply
    """
    from dita.contracts import KernelCommandType, OrderType, TradeSide
    from dita.units import parse_price, parse_quantity

    if side.upper() not in TradeSide.__members__:
        raise UsageError("side refused", expected="LONG or SHORT", found=side)
    fields = {
        "command": int(KernelCommandType.ENTER),
        "trade_id": trade,
        "asset": asset,
        "side": int(TradeSide[side.upper()]),
        "quantity_e8": _above_zero(parse_quantity(quantity, field="--quantity"), "quantity"),
        "leverage": leverage,
    }
    if price:
        limit_e10 = _above_zero(parse_price(price, field="--price"), "price")
        fields |= {"order_type": int(OrderType.LIMIT_IOC), "limit_price_e10": limit_e10}
    at = f"at {price} or better" if price else "at market"
    what = f"enter {side.upper()} {quantity} {asset} as {trade}, {at}, leverage {leverage}"
    typed = Typed(reason, config, state_dir, apply, as_json, operator, again, wait)
    _one(_wish(what, fields), typed)


def intent_exit(
    trade: Trade,
    reason: Reason,
    everything: Whole = False,
    leg: Leg = False,
    quantity: Quantity = "",
    urgent: Urgent = False,
    wait: Wait = 5,
    operator: Operator = "",
    again: Again = False,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """Exit a trade: all of it, its next leg, or a quantity.

    \b
    Examples:
      pink-ctl intent exit --trade T1 --all --reason "news" --apply
      pink-ctl intent exit --trade T1 --quantity 100 --reason "trim" --apply
    """
    from dita.units import QUANTITY_MAX, parse_quantity

    if everything + leg + bool(quantity) > 1:
        raise UsageError("how much?", expected="--all, --leg or --quantity", found="several")
    fields = _exit_fields(trade, urgent)
    if everything:
        fields["quantity_e8"] = QUANTITY_MAX
    if quantity:
        fields["quantity_e8"] = _above_zero(
            parse_quantity(quantity, field="--quantity"), "quantity"
        )
    what = f"exit {'ALL' if everything else quantity or 'the next leg'} of {trade}"
    typed = Typed(reason, config, state_dir, apply, as_json, operator, again, wait)
    _one(_wish(what, fields), typed)


def intent_cancel(
    trade: Trade,
    reason: Reason,
    operator: Operator = "",
    again: Again = False,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """Cancel the working entry of a trade, or its exit.

    \b
    Example:
      pink-ctl intent cancel --trade T1 --reason "wrong size" --apply
    """
    from dita.contracts import KernelCommandType

    fields = {"command": int(KernelCommandType.CANCEL), "trade_id": trade}
    typed = Typed(reason, config, state_dir, apply, as_json, operator, again)
    _one(_wish(f"cancel the working order of {trade}", fields), typed)


def intent_flatten(
    reason: Reason,
    operator: Operator = "",
    again: Again = False,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """Exit every open trade at once; own quantities only.

    \b
    Example:
      pink-ctl intent flatten --reason "going home" --apply
    """
    from dita.runtime.server.call import call

    typed = Typed(reason, config, state_dir, apply, as_json, operator, again)
    serve = reach(typed)
    slots = call(serve.directory, {"verb": "status"})["status"]["slots"]
    wishes = [_exit_of(slot) for slot in slots if slot["state"] != FLAT]
    if not apply:
        _plan(serve, wishes, typed)
        return
    answers = _all_of(serve, wishes, typed)
    if as_json:
        emit_json({"applied": True, "answers": answers})
    elif not wishes:
        show("nothing is open")
    if any(answer.get("code") == "UNKNOWN" for answer in answers):
        raise typer.Exit(ExitCode.STALE)
    if not all(answer["accepted"] for answer in answers):
        raise typer.Exit(ExitCode.DIFFERENCE)


def _all_of(serve: Serve, wishes: list[Wish], typed: Typed) -> list[dict[str, Any]]:
    """Each is sent whatever became of the others: one refusal must not keep the rest in."""
    from dita.errors import DitaError

    answers = []
    for wish in wishes:
        try:
            answer = do(serve, wish, typed)
        except DitaError as bad:
            note(str(bad))
            unknown = bad.exit_code is ExitCode.STALE
            code = "UNKNOWN" if unknown else "NOT_DONE"
            answer = {"accepted": False, "code": code, "details": {}, "error": str(bad)}
        else:
            if not typed.as_json:
                tell(wish, answer)
        answers.append({"trade": wish.request["intent"]["trade_id"], **answer})
    return answers


def _exit_of(slot: dict[str, Any]) -> Wish:
    from dita.units import QUANTITY_MAX

    fields = {**_exit_fields(slot["trade"], True), "quantity_e8": QUANTITY_MAX}
    return _wish(f"exit all of {slot['trade']} ({_slot_text(slot)})", fields)


def _exit_fields(trade: str, urgent: bool) -> dict[str, Any]:
    from dita.contracts import KernelCommandType

    return {"command": int(KernelCommandType.EXIT), "trade_id": trade, "urgent": urgent}


def _wish(what: str, fields: dict[str, Any]) -> Wish:
    return Wish(what, {"verb": "intent", "intent": fields})


def _above_zero(number: int, what: str) -> int:
    if number <= 0:
        raise UsageError(f"{what} refused", expected="above 0", found=str(number))
    return number


# -- one intent ------------------------------------------------------------------------------------


def _one(wish: Wish, typed: Typed) -> None:
    """Plan it, or do it and end with what came of it."""
    serve = reach(typed)
    if not typed.apply:
        _plan(serve, [wish], typed)
        return
    answer = do(serve, wish, typed)
    if typed.as_json:
        emit_json({"applied": True, **answer})
    else:
        tell(wish, answer)
        _tell_answer(answer.get("answer"))
    if not answer["accepted"]:
        raise typer.Exit(ExitCode.DIFFERENCE)
    result = (answer.get("answer") or {}).get("result", "working")
    if ANSWERS[result]:
        raise typer.Exit(int(ANSWERS[result]))


def _tell_answer(answer: dict[str, Any] | None) -> None:
    """What the exchange said of the order, if anything went out."""
    if answer is None:
        return
    order = f"{answer['side']} {answer['quantity']} {answer['asset']}"
    match answer["result"]:
        case "filled":
            at = f" at {answer['price']}" if answer["price"] else ""
            show(f"filled: {answer['side']} {answer['filled']} of {answer['quantity']}{at}")
        case "working":
            show(f"the exchange took it: {order} works as {answer['venue_order_id']}")
        case "ended":
            show(f"nothing filled: {order} ended")
        case "unknown":
            show(f"no answer from the exchange yet: {order} is being queried")
            note("next: pink-ctl status")
        case _:
            said = ": ".join(part for part in (answer["reason"], answer["message"]) if part)
            show(f"REFUSED by the exchange: {order}{f' ({said})' if said else ''}")
            note("next: pink-ctl status")


# -- plans -----------------------------------------------------------------------------------------


def _plan(serve: Serve, wishes: list[Wish], typed: Typed) -> None:
    """What would be done, from the running kernel's own checks; nothing is sent."""
    from dita.runtime.server.call import call

    plans = []
    for wish in wishes:
        request = {"verb": "intent_plan", "intent": wish.request["intent"]}
        plans.append(call(serve.directory, request) if serve.foretells else {"plan": {}})
    if typed.as_json:
        told = [{"what": w.what, **p["plan"]} for w, p in zip(wishes, plans, strict=True)]
        emit_json({"applied": False, "plan": told, "entries_frozen": _frozen(serve)})
        return
    if not wishes:
        show("nothing is open")
        return
    for wish, planned in zip(wishes, plans, strict=True):
        show(f"would {wish.what}")
        if serve.foretells:
            _show_plan(planned)
        else:
            _remark(serve, wish.request["intent"])
    to_apply(serve, refused=any(not p["plan"].get("accepted", True) for p in plans))


def _frozen(serve: Serve) -> list[str]:
    return list(serve.about.get("entries_frozen", ()))


def _remark(serve: Serve, intent: dict[str, Any]) -> None:
    """What the trade is now, from the status of a serve that cannot say more."""
    trade, slots = intent.get("trade_id", ""), serve.about.get("slots", [])
    slot = next((s for s in slots if s["trade"] == trade), None)
    if slot is not None:
        note(f"{trade} is {_slot_text(slot)}")
    elif "asset" not in intent:
        names = ", ".join(s["trade"] for s in slots)
        note(f"no open trade is called {trade}; open: {names or 'none'}")


def _show_plan(planned: dict[str, Any]) -> None:
    p = planned["plan"]
    slot, frozen = p["slot"], planned["entries_frozen"]
    if p["sends"]:
        show(f"  sends {_order_text(p)}")
    elif p["accepted"] and p["cancels"]:
        show("  sends a cancel of the working order first; the rest follows when it has ended")
    elif p["accepted"]:
        show("  sends nothing now; it is latched until it can go out")
    if p["command"] != "CANCEL":
        worth = f"worth {p['notional']} USDT" if p["notional"] else "worth not known"
        market = p["market_price"] or "not known"
        show(f"  {worth}; market price {market}; leverage {p['leverage']}")
    if slot is not None:
        show(f"  {p['trade']} is {_slot_text(slot)}, leg {slot['leg'] + 1} of {slot['legs']}")
    elif p["command"] != "ENTER":
        names = ", ".join(planned["trades"])
        show(f"  no open trade is called {p['trade']}; open: {names or 'none'}")
    if p["command"] == "ENTER":
        show(f"  entries: {'frozen: ' + ', '.join(frozen) if frozen else 'free'}")
    if not p["accepted"]:
        show(f"  REFUSED if sent now: {refusal_text(p)}")
        say_next(p["code"])


def _order_text(p: dict[str, Any]) -> str:
    whole = "ALL " if p["all"] else ""
    kind = f"at {p['limit']} or better, at once, the rest ends" if p["limit"] else "at market"
    only = ", reduce-only" if p["reduce_only"] else ""
    return f"{p['order_side']} {whole}{p['quantity']} {p['asset']} {kind}{only}"


def _slot_text(slot: dict[str, Any]) -> str:
    return f"{slot['side']} {slot['size']} {slot['asset']}, {slot['state']}"
