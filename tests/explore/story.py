"""A way through a world, told for people: what happened, what the kernel was told, what it
answered, and the exchange's book beside it.  The same moves as JSON can be played again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from dita.contracts import (
    KernelDiagnosticCode,
    KernelIntent,
    OrderSide,
    TradeStage,
    VenueEvent,
)
from explore import facts
from explore.acts import Acts
from explore.book import SYMBOLS, UNIT, Book, Who
from explore.judge import Judge
from explore.moves import Move
from explore.scene import Scene
from explore.search import Violation
from explore.world import KINDS, World

_EFFECTS = (
    "", "SUBMIT", "CANCEL", "QUERY_ORDER", "FINALISE", "QUERY_POSITION", "QUERY_BALANCE",
    "FEED_SIZER", "CLOSE_TRADE",
)  # fmt: skip
#: Moves of waiting: told only when something comes of them.
_DULL = frozenset({"look", "cadence", "tick", "wait"})
_STATUS = {2: "works", 4: "filled", 5: "cancelled", 6: "expired"}


class _Witness(Judge):
    """A judge that writes down what it sees."""

    lines: list[str]

    def after(self, s: Scene, record: Any, raw: Any, effects: Sequence[Any]) -> None:
        super().after(s, record, raw, effects)
        self.lines.append(f"{_input(record)} -> {_answer(raw, effects)}")


def told(violation: Violation, world: World) -> str:
    """The whole story of a violation, one numbered step per move."""
    lines = [
        f"{world.name}: {violation.finding.kind}: {violation.finding.text}",
        f"  {'hedge' if world.hedge else 'one-way'}, "
        + ", ".join(f"{e.trade} {_side(e.side)} {e.quantity // UNIT}" for e in world.entries),
    ]
    lines += _steps(world, violation.moves)
    return "\n".join(lines)


def _steps(world: World, moves: Iterable[Move]) -> list[str]:
    acts = Acts(world)
    witness = _Witness(world, acts.core)
    witness.lines = []
    acts.judge = witness
    s = acts.first()
    witness.lines.clear()
    lines: list[str] = []
    before = ""
    for number, move in enumerate(moves, 1):
        acts.go(s)
        try:
            s = acts.do(s, move)
        except Exception as problem:  # noqa: BLE001  (a fault is the end of the story)
            witness.lines.append(f"{type(problem).__name__}: {problem}")
        acts.go(s)
        slots, book = _slots(acts), book_text(s.book)
        dull = move[0] in _DULL and slots + book == before and number > 12
        before = slots + book
        if not dull or any("SUBMIT" in line for line in witness.lines):
            lines.append(f"{number:3}. t={s.book.second - 60:<4} {move_text(world, move)}")
            lines += [f"       {line}" for line in witness.lines]
            lines.append(f"       = {slots} | {book}{_on_the_way(s)}")
        witness.lines.clear()
    return lines


def move_text(world: World, move: Move) -> str:
    """What a move is, in words."""
    name, *rest = move
    if name == "enter":
        return f"operator: ENTER {world.entries[rest[0]].trade}"
    if name == "hand":
        hand = world.hands[rest[0]]
        side = f" {_side(hand.position_side)}" if hand.position_side else ""
        return f"a stranger {'buys' if hand.side > 0 else 'sells'} {hand.quantity // UNIT}{side}"
    if name == "fill":
        return f"exchange: fills {rest[1] // UNIT} of order {rest[0]}"
    words = {
        "hear": "a frame is heard",
        "answered": "an answer arrives",
        "arrive": "exchange: takes what was sent",
        "ask": "an order is asked about",
        "look": "positions are asked for",
        "tick": "a tick",
        "wait": "time passes until something is due",
        "cadence": "five seconds; everything open is asked about",
        "operator": "operator: does what status names",
        "mend": "the exchange is well again",
    }
    text: str = words.get(name) or KINDS.get(name) or str(name)
    how = [part for part in rest if isinstance(part, str) and part]
    if how:
        text += f" ({KINDS.get(how[0], how[0])})"
    return text


def book_text(book: Book) -> str:
    """The exchange's book in one line."""
    positions = [
        f"{SYMBOLS[at // 2][:3]}{'-' if at % 2 else ''} {held // UNIT:+d}"
        for at, (held, _) in enumerate(book.positions)
        if held
    ]
    orders = []
    for order in book.orders:
        whose = f"c{order.own}" if order.own else Who(order.who).name.lower()
        orders.append(
            f"{order.vid}:{whose} {_side(order.side)} {order.filled // UNIT}/"
            f"{order.quantity // UNIT} {_STATUS[order.status]}"
            + (" (forgotten)" if order.forgotten else "")
        )
    modes = [name for name in ("locked", "deaf", "suspended") if getattr(book, name)]
    return f"exchange: {', '.join(positions) or 'flat'}; {'; '.join(orders) or 'no orders'}" + (
        f" [{', '.join(modes)}]" if modes else ""
    )


def _slots(acts: Acts) -> str:
    found = []
    for slot in facts.slots(acts.core):
        size = facts.trade_of(acts.core, slot.trade).size // UNIT
        goal = "all" if slot.wants_all else str(slot.goal // UNIT)
        found.append(
            f"slot {slot.at} T{slot.trade} {TradeStage(slot.state).name} {size}"
            + (f" exit {goal} latched" if slot.latched else "")
        )
    return "; ".join(found) or "free"


def _on_the_way(s: Scene) -> str:
    parts = []
    for count, what in (
        (len(s.stream), "frames"), (len(s.answers), "answers"), (len(s.posts), "posts"),
        (len(s.asking), "questions about orders"), (int(s.looking), "question for positions"),
    ):  # fmt: skip
        if count:
            parts.append(f"{count} {what}")
    return f" | on the way: {', '.join(parts)}" if parts else ""


def _side(side: int) -> str:
    return {1: "long", -1: "short", 0: "-"}[side]


def _input(record: KernelIntent | VenueEvent) -> str:
    if isinstance(record, KernelIntent):
        parts = [record.command.name, record.trade_id]
        if record.quantity_e8:
            parts.append(str(record.quantity_e8 // UNIT))
        if record.urgent:
            parts.append("urgent")
        if record.action is not None:
            parts.append(record.action.name)
        return " ".join(part for part in parts if part)
    parts = [record.kind.name]
    if record.client_order_id:
        parts.append(record.client_order_id)
    if record.venue_order_id:
        parts.append(f"id {record.venue_order_id}")
    if record.side is not OrderSide.UNKNOWN:
        parts.append(record.side.name)
    parts.append(f"{record.quantity_e8 / UNIT:g}")
    if record.kind.name == "ORDER_REJECT":
        parts.append(record.reject.name)
    return " ".join(parts)


def _answer(raw: Any, effects: Sequence[Any]) -> str:
    code = KernelDiagnosticCode(raw.code).name
    asked = []
    for effect in effects:
        text = _EFFECTS[effect[0]]
        if effect[2]:
            text += f" c{effect[2]}"
        if effect[0] == 1:
            text += f" {_side(effect[9])} {effect[5] // UNIT}"
        asked.append(text)
    done = ("" if raw.accepted else "refused ") + code
    return f"{done}{': ' + ', '.join(asked) if asked else ''}"


def saved(violation: Violation) -> str:
    """A violation as JSON."""
    return json.dumps(
        {
            "world": violation.world,
            "kind": violation.finding.kind,
            "text": violation.finding.text,
            "moves": violation.moves,
        },
        indent=1,
    )


def read(text: str) -> tuple[str, str, tuple[Move, ...]]:
    """World, kind and moves of a saved violation."""
    document = json.loads(text)
    return document["world"], document["kind"], tuple(tuple(m) for m in document["moves"])
