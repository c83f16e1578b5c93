"""The slot's state machine as data: every (state, input) pair with its answer, refusals included.

The compiled kernel loads this table when it is made and follows it: a cell names the rule that
handles the input and the states that may follow, or the code with which it is refused.  The
kernel derives a slot's state from its levels and orders; a state that the table does not allow is
a fault, never a surprise.  Nothing but names is known here.

Reading a cell: ``rule>EP`` — handled by ``rule``, the slot is then in E or P; ``rule=`` — the state
stays; ``!CODE`` — refused with CODE and nothing changes.  A rule can still refuse what its own
checks find wrong (a duplicate, a bad field).  I = IDLE, E = ENTRY_WORKING, P = POSITION_OPEN,
X = EXIT_WORKING, C = CLOSED, S = STALE_STATE_RECONCILING.  For order events the column IDLE means:
the order belongs to a trade that has left its slot.
"""

from __future__ import annotations

from typing import NamedTuple

from dita.contracts import (
    KernelCommandType,
    KernelDiagnosticCode,
    KernelEventKind,
    TradeStage,
)

# fmt: off
_TABLE = """
input          | IDLE                  | ENTRY_WORKING      | POSITION_OPEN         | EXIT_WORKING       | CLOSED          | STALE
ENTER          | enter>E               | !SLOT_BUSY         | !SLOT_BUSY            | !SLOT_BUSY         | !SLOT_BUSY      | !STALE_STATE
EXIT           | !NO_POSITION          | exit>EX            | exit>X                | exit>X             | !TERMINAL_STATE | exit=
CANCEL         | !NO_ACTIVE_EXIT_ORDER | cancel=            | !NO_ACTIVE_EXIT_ORDER | cancel>EPX         | !TERMINAL_STATE | !STALE_STATE
MARK_PRICE     | !NO_POSITION          | mark=              | mark=                 | mark>EPX           | !TERMINAL_STATE | mark=
RECONCILE      | adopt>P               | reconcile>EXS      | reconcile>EXS         | reconcile>EXS      | reconcile>EXCS  | reconcile=
CONTROL        | control=              | control>ES         | control>PS            | control>XS         | control>CS      | control=
WRITE_OFF      | !NO_POSITION          | !INVALID_TRANSITION | !INVALID_TRANSITION  | !INVALID_TRANSITION | !INVALID_TRANSITION | write_off>IEPXCS
ORDER_ACK      | ack>IS                | ack>EPXCS          | ack>PCXS              | ack>EPXCS          | ack>PXCS        | ack=
PARTIAL_FILL   | fill>IS               | fill>EPXCS         | fill>PXCS             | fill>EPXCS         | fill>PXCS       | fill=
FULL_FILL      | fill>IS               | fill>EPXCS         | fill>PXCS             | fill>EPXCS         | fill>PXCS       | fill=
CANCEL_ACK     | end>IS                | end>EPXCS          | end>PXCS              | end>EPXCS          | end>PXCS        | end=
CANCEL_REJECT  | cancel_reject=        | cancel_reject=     | cancel_reject=        | cancel_reject>EPX  | cancel_reject=  | cancel_reject=
ORDER_REJECT   | reject=               | reject>IEPXCS      | reject=               | reject>IEPXCS      | reject>IC       | reject=
ORDER_EXPIRED  | end>IS                | end>EPXCS          | end>PXCS              | end>EPXCS          | end>PXCS        | end=
ORDER_UNKNOWN  | unknown=              | unknown=           | unknown=              | unknown>EPX        | unknown=        | unknown=
RATE_LIMITED   | rate_limited=         | rate_limited>IEPXC | rate_limited=         | rate_limited>IEPXC | rate_limited=   | rate_limited=
ORDER_FINAL    | final>IS              | final>IEPXCS       | final>IPXCS           | final>IEPXCS       | final>IPXCS     | final=
ORDER_ABSENT   | absent=               | absent>IEPXCS      | absent>PS             | absent>IEPXCS      | absent>ICS      | absent=
POSITION       | position>IS           | position>ES        | position>IPXCS        | position>IEPXCS    | position>ICS    | position>IEPXCS
FILL_SETTLED   | settled>IS            | settled>EPXCS      | settled>PXCS          | settled>EPXCS      | settled>PXCS    | settled=
LIQUIDATION    | !NO_POSITION          | external>S         | external>S            | external>S         | external>S      | external=
ADL            | !NO_POSITION          | external>S         | external>S            | external>S         | external>S      | external=
ACCOUNT_UPDATE | account=              | account=           | account=              | account=           | account=        | account=
FUNDING_FEE    | account=              | account=           | account=              | account=           | account=        | account=
TRANSFER       | account=              | account=           | account=              | account=           | account=        | account=
FOREIGN_FLOW   | account=              | account=           | account=              | account=           | account=        | account=
INCOME_READ    | account=              | account=           | account=              | account=           | account=        | account=
TICK           | tick=                 | tick=              | tick=                 | tick>EPX           | tick=           | tick=
"""
# fmt: on

LETTERS = "IEPXCS"

#: Rules in the order of their numbers in the kernel (``_kernel.pxd``); 0 is "refused".
RULES = (
    "refuse",
    "enter",
    "exit",
    "cancel",
    "mark",
    "adopt",
    "reconcile",
    "control",
    "ack",
    "fill",
    "end",
    "cancel_reject",
    "reject",
    "unknown",
    "rate_limited",
    "final",
    "absent",
    "position",
    "settled",
    "external",
    "account",
    "tick",
    "write_off",
)


class Cell(NamedTuple):
    """The answer to one (state, input) pair: a rule with the states that may follow, or a code."""

    rule: str
    refusal: KernelDiagnosticCode
    next_states: frozenset[TradeStage]


Trigger = KernelCommandType | KernelEventKind


def trigger_of(number: int) -> Trigger:
    """The command or event kind with this number; ValueError when there is none."""
    return KernelCommandType(number) if number < 16 else KernelEventKind(number)


def _cell(text: str, state: TradeStage) -> Cell:
    if text.startswith("!"):
        return Cell("refuse", KernelDiagnosticCode[text[1:]], frozenset({state}))
    rule, follows, letters = text.partition(">")
    if not follows:
        rule, letters = text.removesuffix("="), LETTERS[state]
    if rule not in RULES:
        raise ValueError(f"transition table names the unknown rule {rule!r}")
    states = frozenset(TradeStage(LETTERS.index(letter)) for letter in letters)
    return Cell(rule, KernelDiagnosticCode.OK, states)


def _trigger_named(name: str) -> Trigger:
    if name in KernelCommandType.__members__:
        return KernelCommandType[name]
    return KernelEventKind[name]


def _parse() -> dict[tuple[TradeStage, Trigger], Cell]:
    table: dict[tuple[TradeStage, Trigger], Cell] = {}
    for line in _TABLE.strip().splitlines()[1:]:
        name, *cells = (part.strip() for part in line.split("|"))
        for state, text in zip(TradeStage, cells, strict=True):
            table[state, _trigger_named(name)] = _cell(text, state)
    return table


#: The whole machine.  A test walks every pair of every state and every input.
TRANSITIONS = _parse()


def markdown() -> str:
    """The table for the documentation; a test keeps ARCHITECTURE.md equal to it."""
    lines = ["| input | " + " | ".join(state.name for state in TradeStage) + " |"]
    lines.append("|---" * (len(TradeStage) + 1) + "|")
    for trigger in (*KernelCommandType, *KernelEventKind):
        row = [trigger.name]
        for state in TradeStage:
            cell = TRANSITIONS[state, trigger]
            if cell.rule == "refuse":
                row.append(f"refused: {cell.refusal.name}")
            else:
                after = "".join(LETTERS[s] for s in sorted(cell.next_states))
                row.append(f"{cell.rule} → {after}")
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)
