"""`pink-ctl intent`: a person's hand on the controls of a running kernel.

Each is journalled with who sent it and why; without --apply it only says what would be sent.
Whether an intent makes sense is decided by the kernel.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from dita.errors import ExitCode

from .hands import Reason, Wish, do, plan, send, tell
from .options import Apply, AsJson, ConfigFile, StateDir
from .render import emit_json, show

Trade = Annotated[str, typer.Option("--trade", help="Trade id.")]


def intent() -> None:
    """Send an intent by hand: enter, exit, cancel, flatten. Each takes --json.

    \b
    Examples:
      pink-ctl intent exit --trade T1 --reason "news" --apply
      pink-ctl intent enter --trade T9 --asset FET-USDT --side SHORT \\
          --quantity 500 --price 0.1866 --reason "by hand" --apply
      pink-ctl intent flatten --reason "going home" --apply
    """


def intent_enter(
    trade: Trade,
    asset: Annotated[str, typer.Option("--asset", help="Symbol, such as FET-USDT.")],
    side: Annotated[str, typer.Option("--side", help="LONG or SHORT.")],
    quantity: Annotated[str, typer.Option("--quantity", help="In coins.")],
    price: Annotated[str, typer.Option("--price", help="Reference price.")],
    reason: Reason,
    leverage: Annotated[int, typer.Option("--leverage", help="At the exchange.")] = 1,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """Enter a trade at market.

    \b
    Example:
      pink-ctl intent enter --trade T9 --asset FET-USDT --side SHORT \\
          --quantity 500 --price 0.1866 --reason "by hand" --apply
    """
    from dita.contracts import KernelCommandType, TradeSide
    from dita.errors import UsageError
    from dita.units import parse_price, parse_quantity

    if side.upper() not in TradeSide.__members__:
        raise UsageError("side refused", expected="LONG or SHORT", found=side)
    fields = {
        "command": int(KernelCommandType.ENTER),
        "trade_id": trade,
        "asset": asset,
        "side": int(TradeSide[side.upper()]),
        "quantity_e8": parse_quantity(quantity, field="--quantity"),
        "reference_price_e10": parse_price(price, field="--price"),
        "leverage": leverage,
    }
    what = f"enter {side.upper()} {quantity} {asset} as {trade}, leverage {leverage}"
    send(what, {"verb": "intent", "intent": fields}, reason, config, state_dir, apply, as_json)


def intent_exit(
    trade: Trade,
    reason: Reason,
    quantity: Annotated[str, typer.Option("--quantity", help="In coins; else the next leg.")] = "",
    urgent: Annotated[bool, typer.Option("--urgent", help="Take back a working quote.")] = False,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """Exit a trade: its next leg, or a quantity.

    \b
    Example:
      pink-ctl intent exit --trade T1 --reason "news" --apply
    """
    from dita.units import parse_quantity

    fields = _exit_fields(trade, urgent)
    if quantity:
        fields["quantity_e8"] = parse_quantity(quantity, field="--quantity")
    what = f"exit {quantity or 'the next leg'} of {trade}"
    send(what, {"verb": "intent", "intent": fields}, reason, config, state_dir, apply, as_json)


def _exit_fields(trade: str, urgent: bool) -> dict[str, Any]:
    from dita.contracts import KernelCommandType

    return {"command": int(KernelCommandType.EXIT), "trade_id": trade, "urgent": urgent}


def intent_cancel(
    trade: Trade,
    reason: Reason,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """Take back the working entry of a trade, or its exit.

    \b
    Example:
      pink-ctl intent cancel --trade T1 --reason "wrong size" --apply
    """
    from dita.contracts import KernelCommandType

    fields = {"command": int(KernelCommandType.CANCEL), "trade_id": trade}
    what = f"cancel the working order of {trade}"
    send(what, {"verb": "intent", "intent": fields}, reason, config, state_dir, apply, as_json)


def intent_flatten(
    reason: Reason,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """Exit every open trade, urgently, own quantities only.

    \b
    Example:
      pink-ctl intent flatten --reason "going home" --apply
    """
    from dita.runtime.control import call
    from dita.runtime.start import directory_of

    directory = directory_of(config, state_dir, os.environ)
    slots = call(directory, {"verb": "status"})["status"]["slots"]
    wishes = [_exit_of(slot) for slot in slots]
    if not apply and wishes:
        plan(directory, wishes, as_json)
        return
    # One refusal must not keep the others from going out.
    answers = [do(directory, wish, reason) for wish in wishes]
    if as_json:
        emit_json({"applied": apply, "answers": answers})
    elif not wishes:
        show("nothing is open")
    else:
        for wish, answer in zip(wishes, answers, strict=True):
            tell(wish, answer)
    if not all(answer["accepted"] for answer in answers):
        raise typer.Exit(ExitCode.DIFFERENCE)


def _exit_of(slot: dict[str, Any]) -> Wish:
    from dita.units import QUANTITY_MAX

    fields = {**_exit_fields(slot["trade"], True), "quantity_e8": QUANTITY_MAX}
    what = f"exit all of {slot['trade']} ({slot['side']} {slot['size']} {slot['asset']})"
    return Wish(what, {"verb": "intent", "intent": fields})
