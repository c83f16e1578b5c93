"""What a small world is made of: entries, strangers' acts, and how often each kind happens.

A kind that a world does not name does not happen in it.  Every budget is small, so that a world
has a last state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from explore.book import SYMBOLS, UNIT

#: Everything that can happen beside the ordinary course, and what it is.
KINDS: Final = {
    # the stream
    "lose": "a frame of the stream is lost, and nobody says so",
    "repeat": "a frame is delivered and comes again",
    "overtake": "a frame overtakes the one before it",
    "gap": "the stream is lost with all its frames; everything is asked again",
    # the answer to an order
    "reject": "refused, for a reason without a meaning to us",
    "mismatch": "refused: no such position",
    "minimum": "refused: below the minimum",
    "suspended": "refused: the symbol is suspended, until it is lifted",
    "limited": "refused: too many requests",
    "unsent": "no byte of it leaves",
    "lost": "it never arrives and nobody knows",
    "unheard": "it arrives and its answer is lost",
    "late": "an answer takes its time: things happen before it is here",
    # the exchange
    "part": "a fill of one step only",
    "expire": "an order of ours ends by itself",
    "forget": "a working order is gone without a record",
    "lock": "the position is locked by a TP/SL set by hand, until it is lifted",
    "deaf": "the question for positions is not answered, until it is",
    "empty": "positions are answered empty",
    "stale": "an order's end is answered without its last fill",
    # others
    "hand": "a stranger trades",
    "liquidation": "the exchange liquidates the position",
    "adl": "the exchange deleverages one step of it",
    "funding": "funding of the symbol is paid",
    "steal": "the wallet falls without a row",
    # the process
    "crash": "the process dies; what was on its way out may have left",
    "look": "positions are asked for although nobody doubts",
    # the operator
    "exit": "EXIT of all that is left (a trade with legs: the next one)",
    "urgent": "EXIT, urgent",
    "piece": "EXIT of one step",
    "maker": "EXIT as a LIMIT order that works for a while",
    "cancel": "CANCEL",
    "hold": "HOLD",
    "resume": "RESUME",
    "mark": "a mark price",
    "reconcile": "RECONCILE",
}


@dataclass(frozen=True)
class Entry:
    """An ENTER that the operator may give once."""

    trade: str
    side: int = 1
    quantity: int = 2 * UNIT
    symbol: int = 0
    limited: bool = False
    working_ms: int = 0
    legs: tuple[int, ...] = (10**9,)


@dataclass(frozen=True)
class Hand:
    """What a stranger may do: one MARKET order, filled at once."""

    side: int
    quantity: int
    symbol: int = 0
    position_side: int = 0


@dataclass(frozen=True)
class World:
    """One small world."""

    name: str
    entries: tuple[Entry, ...]
    kinds: dict[str, int]
    hands: tuple[Hand, ...] = ()
    hedge: bool = False
    slots: int = 1
    #: Frames carry our client id; without it only the exchange's id says whose a frame is.
    named_frames: bool = True
    min_quantity: int = UNIT
    #: Held by a stranger before we come.
    held_before: tuple[Hand, ...] = ()
    #: A stranger may trade before our first fill.
    strangers_first: bool = False
    #: How many things beside the ordinary course may happen in all, 0 = as the budgets allow;
    #: exits are the ordinary course.
    together: int = 0
    #: With ``together``: one of what happens is one of these.
    focus: tuple[str, ...] = ()
    #: Time passes only when nothing else goes on by itself: fewer orders of the same things.
    brisk: bool = False
    #: What goes on by itself goes on in one order, the fair one; all else comes at any moment.
    orderly: bool = False
    states_max: int = 3_000_000
    index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        unknown = set(self.kinds) - set(KINDS)
        if unknown:
            raise ValueError(f"world {self.name} names unknown kinds {sorted(unknown)}")
        if lost := set(self.focus) - set(self.kinds):
            raise ValueError(f"world {self.name} looks at {sorted(lost)} and lacks them")
        object.__setattr__(self, "index", {kind: at for at, kind in enumerate(self.kinds)})

    @staticmethod
    def symbol(entry: Entry) -> str:
        """The exchange's name for an entry's symbol."""
        return SYMBOLS[entry.symbol]

    def meet(self, one: str, other: str) -> bool:
        """Can both happen in one story?"""
        if one not in self.kinds or other not in self.kinds:
            return False
        beside = [kind for kind in (one, other) if kind != "exit"]
        if self.together and len(beside) > self.together:
            return False
        return not self.focus or len(beside) < self.together or bool(set(beside) & set(self.focus))

    @property
    def budget(self) -> tuple[int, ...]:
        """How often each of its kinds can happen, in their order."""
        return tuple(self.kinds.values())
