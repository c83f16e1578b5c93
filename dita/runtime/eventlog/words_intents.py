"""What was asked for, in words: intents by hand and by the alpha side, controls, and refusals."""

from __future__ import annotations

from typing import Final

from dita.contracts import (
    ControlAction,
    EffectKind,
    KernelCommandType,
    KernelDiagnosticCode,
    KernelIntent,
    KernelSeverity,
    OrderType,
    RiskLimit,
)
from dita.display import amount, price, quantity
from dita.refusals import MEANINGS
from dita.runtime.eventlog.event import EventName, Level
from dita.runtime.eventlog.page import ROLES, Page
from dita.units import QUANTITY_MAX, format_quantity

Command = KernelCommandType

_CONTROLS: Final = {
    ControlAction.HOLD: (EventName.HOLD, Level.WARNING, "held: no new entries"),
    ControlAction.RESUME: (EventName.RESUMED, Level.INFO, "hold lifted"),
    ControlAction.DRAIN: (
        EventName.CONTROL,
        Level.INFO,
        "draining: no new risk, working entries are cancelled",
    ),
    ControlAction.DRAINED: (EventName.CONTROL, Level.INFO, "drained"),
    ControlAction.REBASE: (EventName.CONTROL, Level.WARNING, "checksum re-based"),
    ControlAction.NOT_READY: (EventName.CONTROL, Level.WARNING, "entries wait"),
    ControlAction.READY: (EventName.CONTROL, Level.INFO, "everything was queried"),
    ControlAction.LIMIT: (EventName.CONTROL, Level.WARNING, "limit set"),
    ControlAction.QUARANTINE: (EventName.CONTROL, Level.CRITICAL, "an input is set aside"),
}
_TYPES: Final = {
    OrderType.MARKET: "MARKET",
    OrderType.LIMIT: "LIMIT",
    OrderType.LIMIT_IOC: "LIMIT at once",
}
_COUNTED: Final = (RiskLimit.POSITIONS, RiskLimit.INTENTS_PER_MINUTE)


def tell_intent(page: Page, i: KernelIntent) -> None:
    """An intent that was accepted."""
    if i.command is Command.MARK_PRICE:
        page.add(EventName.MARK, Level.DEBUG, f"{i.asset} at {price(i.reference_price_e10)}")
    elif i.command is Command.CONTROL:
        _control(page, i)
    else:
        page.add(
            EventName.INTENT, Level.INFO, _because(asked(page, i), i.reason), intent=i.intent_id
        )


def asked(page: Page, i: KernelIntent) -> str:
    """What an intent asks for."""
    name = i.trade_id or (page.trade.trade_id if page.trade is not None else f"slot {i.slot_id}")
    if i.command is Command.ENTER:
        limit = f" {price(i.limit_price_e10)}" if i.limit_price_e10 else ""
        about = f", price about {price(i.reference_price_e10)}" if i.reference_price_e10 else ""
        leverage = f", leverage {i.leverage}" if i.leverage != 1 else ""
        kind = _TYPES.get(i.order_type, "?")
        return (
            f"ENTER {name}: {i.side.name} {quantity(i.quantity_e8)} {i.asset}"
            f" {kind}{limit}{about}{leverage}"
        )
    if i.command is Command.EXIT:
        urgent = ", urgent" if i.urgent else ""
        return f"EXIT {_how_much(page, i)} of {name}{urgent}"
    if i.command is Command.CANCEL:
        return f"CANCEL what works of {name}"
    if i.command is Command.RECONCILE:
        return _adoption(i, name)
    if i.command is Command.WRITE_OFF:
        return f"WRITE OFF {name}"
    return f"{i.command.name} {name}"


def _how_much(page: Page, i: KernelIntent) -> str:
    if i.quantity_e8 >= QUANTITY_MAX:
        return "all"
    if i.quantity_e8:
        return quantity(i.quantity_e8)
    sent = [e.quantity_e8 for e in page.outcome.effects if e.kind is EffectKind.SUBMIT]
    return f"the next leg ({quantity(sent[0])})" if sent else "the next leg"


def _adoption(i: KernelIntent, name: str) -> str:
    if i.role is not None:
        return f"ADOPT order {i.venue_order_id} as {ROLES[i.role]} of {name}"
    if i.quantity_e8:
        return f"ADOPT {i.side.name} {quantity(i.quantity_e8)} {i.asset} as {name}"
    return f"RECONCILE {name}"


def _because(text: str, reason: str) -> str:
    return f"{text}; {reason}" if reason else text


def _control(page: Page, i: KernelIntent) -> None:
    if i.action is None or i.action not in _CONTROLS:
        page.add(EventName.CONTROL, Level.WARNING, _because(f"control {i.action}", i.reason))
        return
    name, level, text = _CONTROLS[i.action]
    if i.asset and i.action in (ControlAction.HOLD, ControlAction.RESUME):
        text = f"{text} of {i.asset}"
    if i.action is ControlAction.LIMIT and i.limit is not None and i.amount is not None:
        value = str(i.amount) if i.limit in _COUNTED else amount(i.amount)
        text = f"{text}: {i.limit.name.lower().replace('_', ' ')} {value or 'none'}"
    elif i.action is ControlAction.REBASE and i.amount is not None:
        text = f"{text} by {amount(i.amount, sign=True)}"
    elif i.action is ControlAction.QUARANTINE:
        text = f"{text}: record {i.quarantined_seq} broke an invariant"
    page.add(name, level, _because(text, i.reason), action=i.action.name)


# -- refusals --------------------------------------------------------------------------------------

#: A refused event of the venue that means nothing: told already, too old, or not about us.
NO_NEWS: Final = frozenset(
    {
        KernelDiagnosticCode.DUPLICATE_EVENT,
        KernelDiagnosticCode.OLD_ANCHOR,
        KernelDiagnosticCode.UNRESOLVED_SLOT,
        KernelDiagnosticCode.NO_POSITION,
        KernelDiagnosticCode.TERMINAL_STATE,
        KernelDiagnosticCode.STALE_STATE,
    }
)
_LEVELS: Final = {
    KernelSeverity.INFO: Level.INFO,
    KernelSeverity.WARNING: Level.WARNING,
    KernelSeverity.ERROR: Level.ERROR,
    KernelSeverity.CRITICAL: Level.CRITICAL,
}


def is_no_news(page: Page) -> bool:
    """Is it a refused event that changes nothing and that nobody has to hear of?"""
    if isinstance(page.record, KernelIntent):
        return page.record.command is Command.MARK_PRICE
    # What was taken out of the state before and is told again is counted in status.
    return page.code in NO_NEWS or KernelDiagnosticCode.QUARANTINED in page.outcome.kernel.notes


def tell_refusal(page: Page, times: int = 1) -> None:
    """An input that was refused; intents always, events when something is wrong.

    ``times``: so often since it was told last.
    """
    record, code = page.record, page.code
    details = dict(page.outcome.kernel.details)
    why = refusal_words(code, details)
    if isinstance(record, KernelIntent):
        what = asked(page, record)
        if record.command is Command.CONTROL and record.action is not None:
            what = record.action.name
        level = Level.DEBUG if is_no_news(page) else Level.WARNING
        if code is KernelDiagnosticCode.ANCHOR_NOT_QUIET:
            level = Level.INFO  # money has just moved: whoever asked tries again in a second
        if times > 1:
            why += f", {times} times by now"
        page.add(
            EventName.REFUSED, level, _because(f"{what}: {why}", record.reason), code=code.name
        )
        return
    what = f"{record.kind.name} {record.asset or record.venue_order_id}".rstrip()
    if record.quantity_e8:
        what += f" {format_quantity(record.quantity_e8)}"
    name = EventName.IGNORED if is_no_news(page) else EventName.REFUSED
    level = Level.DEBUG if is_no_news(page) else _LEVELS[page.outcome.kernel.severity]
    page.add(name, level, f"{what}: {why}", code=code.name, order=record.venue_order_id)


def refusal_words(code: KernelDiagnosticCode, details: dict[str, str | int | bool]) -> str:
    """What a refusal means, with its figures, and its code for who looks it up."""
    rest = dict(details)
    told = [MEANINGS.get(code.name, "")]
    if "field" in rest:
        expected = rest.pop("expected", "")
        field = f"{rest.pop('field')} {rest.pop('value', '')}".rstrip()
        told = [": ".join(filter(None, (told[0], field))), f"expected {expected}"]
    elif "causes" in rest:
        told[0] += f": {rest.pop('causes')}"
    told += [f"{name.replace('_', ' ')} {value}" for name, value in rest.items()]
    return f"{', '.join(filter(None, told))} [{code.name}]".lstrip()
