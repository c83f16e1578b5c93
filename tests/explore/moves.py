"""What can happen next in a scene.  The first move is the fair one: what an exchange and a runtime
that do their best do next; the rest is what else may happen.
"""

from __future__ import annotations

from typing import Any, Final

from explore.book import CANCELLED, EXPIRED, UNIT, WORKING, Order
from explore.runtime import Runtime
from explore.scene import Post, Scene

Move = tuple[Any, ...]

#: Jumps of time without a sign of anything after which the operator acts.
CALM: Final = 2
#: And after which waiting for the kernel's own timers is over, too.
CALM_MAX: Final = 5
#: Waits up to this pass while something is still on its way.
SHORT_MS: Final = 2_000
STAGES: Final = 4

#: Kinds that are a way for a submit to end.
_SUBMIT_ENDS: Final = (
    "reject", "mismatch", "minimum", "suspended", "limited", "unsent", "lost", "unheard", "late",
)  # fmt: skip


class Moves:
    """Lists the moves of scenes of one world."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.world = runtime.world
        self.core = runtime.core
        #: How many of the moves told last go on by themselves; the first of them is the fair one.
        self.fair = 0

    def of(self, s: Scene) -> list[Move]:
        """Every move; the kernel is in the scene's state."""
        slots = self.core.active_slots()
        moves = self._ways_on(s)
        patient = len(s.answers) + sum(1 for o in s.book.orders if _rests(o))
        moves += self._time(s, slots, len(moves) > patient)
        if self.world.orderly:
            del moves[1:]
        self.fair = len(moves)
        moves += self._stream(s)
        for at, post in enumerate(s.posts):
            moves += self._ends(s, at, post)
        moves += self._exchange(s)
        moves += self._others(s)
        moves += self._operator(s, slots)
        return moves

    def _may(self, s: Scene, kind: str) -> bool:
        at = self.world.index.get(kind)
        if at is None or s.left[at] <= 0:
            return False
        world = self.world
        if not world.together or kind == "exit":
            return True
        if s.spent + 1 < world.together or not world.focus or kind in world.focus:
            return s.spent < world.together
        return s.spent < world.together and any(
            s.left[world.index[one]] < world.kinds[one] for one in world.focus
        )

    # -- what goes on by itself --------------------------------------------------------------------

    def _ways_on(self, s: Scene) -> list[Move]:
        book, now_ms = s.book, s.book.now_ms
        moves: list[Move] = []
        if s.stream:
            moves.append(("hear", 0))
        moves += [("answered", at) for at in range(len(s.answers))]
        moves += [("arrive", at, "") for at in range(len(s.posts))]
        if book.locked or book.deaf or book.suspended:
            moves.append(("mend",))
        moves += [
            ("fill", o.vid, o.quantity - o.filled)
            for o in book.orders
            if o.status == WORKING and o.own
        ]
        for at, (own, until) in enumerate(s.asking):
            if self._tells(s, own, until, now_ms):
                moves.append(("ask", at, ""))
                break  # one after another: "late" is there for what comes in another order
        if s.looking and not book.deaf:
            moves.append(("look", ""))
        due_ms = self.core.due_ms
        if due_ms and due_ms <= now_ms and not s.ticked:
            moves.append(("tick",))
        return moves

    def _tells(self, s: Scene, own: int, until: int, now_ms: int) -> bool:
        """Would the answer to this question say anything?"""
        if self.runtime.record_of(s, own) is not None:
            return True
        if until:
            return now_ms > until
        return not any(post.submit and post.own == own for post in s.posts)

    def _time(self, s: Scene, slots: list[int], busy: bool) -> list[Move]:
        """Little time may pass at any moment, much only when nothing else goes on by itself."""
        now_ms = s.book.now_ms
        due = [until + 1 for _, until in s.asking if until >= now_ms]
        if self.core.due_ms > now_ms:
            due.append(self.core.due_ms)
        waits = min(due, default=0) - now_ms
        if due and waits <= SHORT_MS and not (busy and self.world.brisk):
            return [("wait", waits)]
        if busy:
            return []
        unsettled = bool(slots) or bool(s.asking)
        if unsettled and s.calm < CALM:
            return [("cadence",)]
        if due and s.calm < CALM_MAX:
            return [("wait", waits)]
        if unsettled and s.stage < STAGES:
            return [("operator",)]
        return []

    # -- the stream and the wire -------------------------------------------------------------------

    def _stream(self, s: Scene) -> list[Move]:
        moves: list[Move] = []
        if s.stream:
            moves += [(kind,) for kind in ("lose", "repeat") if self._may(s, kind)]
        if len(s.stream) > 1 and self._may(s, "overtake"):
            moves.append(("overtake",))
        moves += [(kind,) for kind in ("gap", "crash") if self._may(s, kind)]
        if s.posts and self._may(s, "crash"):
            moves.append(("crash", "left"))
        return moves

    def _ends(self, s: Scene, at: int, post: Post) -> list[Move]:
        if not post.submit:
            return [("arrive", at, kind) for kind in ("lost",) if self._may(s, kind)]
        if not post.heard:
            return []
        kinds = [kind for kind in _SUBMIT_ENDS if self._may(s, kind)]
        if not post.reduce:
            kinds = [kind for kind in kinds if kind != "mismatch"]
        return [("arrive", at, kind) for kind in kinds]

    # -- the exchange and others -------------------------------------------------------------------

    def _exchange(self, s: Scene) -> list[Move]:
        moves: list[Move] = []
        for order in s.book.orders:
            if order.own and order.status == WORKING:
                moves += self._of_order(s, order)
        held = any(quantity for quantity, _ in s.book.positions)
        moves += [(kind,) for kind in ("lock", "deaf") if held and self._may(s, kind)]
        if s.looking:
            moves += [("look", kind) for kind in ("empty", "late") if self._may(s, kind)]
        elif not s.book.deaf and self._may(s, "look"):
            moves.append(("look", "look"))
        for at, (own, _) in enumerate(s.asking):
            found = self.runtime.record_of(s, own)
            if found is None:
                continue
            if self._may(s, "late"):
                moves.append(("ask", at, "late"))
            if self._may(s, "stale") and found.fills and found.status in (CANCELLED, EXPIRED):
                moves.append(("ask", at, "stale"))
        return moves

    def _of_order(self, s: Scene, order: Order) -> list[Move]:
        moves: list[Move] = []
        if self._may(s, "part") and order.quantity - order.filled > UNIT:
            moves.append(("fill", order.vid, UNIT))
        if self._may(s, "expire"):
            moves.append(("expire", order.vid))
        if self._may(s, "forget") and not order.fills:
            moves.append(("forget", order.vid))
        return moves

    def _others(self, s: Scene) -> list[Move]:
        moves: list[Move] = []
        if self._may(s, "hand") and (
            self.world.strangers_first or any(o.own and o.fills for o in s.book.orders)
        ):
            moves += [("hand", at) for at in range(len(self.world.hands))]
        for kind in ("liquidation", "adl", "funding"):
            if self._may(s, kind):
                moves += [(kind, at) for at, (held, _) in enumerate(s.book.positions) if held]
        if self._may(s, "steal"):
            moves.append(("steal",))
        return moves

    # -- the operator ------------------------------------------------------------------------------

    def _operator(self, s: Scene, slots: list[int]) -> list[Move]:
        moves: list[Move] = [
            ("enter", at) for at in range(len(self.world.entries)) if not s.entered >> at & 1
        ]
        for slot in slots:
            for kind in ("exit", "urgent", "piece", "maker", "cancel", "mark", "reconcile"):
                if self._may(s, kind):
                    moves.append((kind, slot))
        moves += [(kind,) for kind in ("hold", "resume") if self._may(s, kind)]
        return moves


def _rests(order: Order) -> bool:
    """A LIMIT order of ours: it may wait for its price for as long as it likes."""
    return order.status == WORKING and order.limited and order.own > 0
