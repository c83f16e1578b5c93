"""The worlds that are explored, by name.

Each is small enough to be walked through whole.  Together every two kinds of thing that can happen
meet in one of them; a test holds them to that.

Where strangers trade, one thing is told to nobody but the exchange: in which order they acted.  A
position answer shows the sum of it.  "Sold what was ours, then bought one" and "bought one, then
sold it and one of ours" end in the same position, so both readings of the book are right there
(``judge.shares``), and strangers' money is compared where the two do not differ.
"""

from __future__ import annotations

from typing import Final

from explore.book import UNIT
from explore.world import KINDS, Entry, Hand, World

LONG, SHORT = 1, -1
ONE: Final = (Entry("T1"),)
SELLS: Final = Hand(-1, 2 * UNIT)
FLIPS: Final = Hand(-1, 3 * UNIT)
BUYS: Final = Hand(1, UNIT)
TRIMS: Final = Hand(-1, UNIT)


def _world(name: str, *kinds: str, **fields: object) -> World:
    """A world with one of each kind; ``kind:2`` for two."""
    budget = {}
    for kind in kinds:
        word, _, count = kind.partition(":")
        budget[word] = int(count or 1)
    entries = fields.pop("entries", ONE)
    return World(name, entries, budget, **fields)  # type: ignore[arg-type]


def _pairs(name: str, *focus: str, without: tuple[str, ...] = ()) -> World:
    """Every pair with one of these kinds in it, whatever the other is, but for some."""
    kinds = [kind for kind in KINDS if kind not in without]
    return _world(name, *kinds, together=2, focus=focus, hands=(FLIPS,), brisk=True)


OTHERS: Final = ("hand", "liquidation", "adl")
CLOSED_SHOPS: Final = ("lock", "suspended", "mismatch", "limited")
BEGINNINGS: Final = ("crash", "gap", "late", "reconcile")
WORDS: Final = ("maker", "piece", "part", "urgent", "cancel")

#: Every two kinds in any order, beside an EXIT: nothing else happens in these.
PAIRS: Final = (
    _pairs("pairs-others", *OTHERS),
    _pairs("pairs-shops", *CLOSED_SHOPS, without=OTHERS),
    _pairs("pairs-beginnings", *BEGINNINGS, without=OTHERS + CLOSED_SHOPS),
    _pairs("pairs-words", *WORDS, without=OTHERS + CLOSED_SHOPS + BEGINNINGS),
    _pairs("pairs", without=OTHERS + CLOSED_SHOPS + BEGINNINGS + WORDS),
)

ALL: Final = (
    _world("once", *KINDS, together=1, hands=(FLIPS, BUYS)),
    *PAIRS,
    _world("alone", "exit", "part", "cancel", "expire", "repeat", "overtake"),
    _world("stream", "exit", "part", "lose", "repeat", "overtake", "gap"),
    _world("nameless", "exit", "part", "lose", "late", "unheard", named_frames=False),
    _world("answers", "exit", "late", "lost", "unheard", "lose"),
    _world("refused", "exit", "reject", "mismatch", "limited", "unsent", "crash", together=4,
           brisk=True),
    _world("small", "exit", "minimum", "part:2", "piece", "cancel"),
    _world("shut", "exit", "suspended", "deaf", "hand", hands=(SELLS,)),
    _world("crash", "exit", "crash", "lost", "unheard", "part", "lose", together=4,
           brisk=True),
    _world("forgotten", "exit", "forget", "lose", "hand", hands=(SELLS,)),
    _world("forgotten-crash", "exit", "forget", "lose", "cancel", "crash", together=3, brisk=True),
    _world("company", "exit", "hand:2", hands=(SELLS, BUYS), brisk=True),
    _world("flip", "exit", "hand", "lose", "part", "overtake", hands=(FLIPS,)),
    _world("trimmed", "exit", "hand:2", "lose", hands=(TRIMS, BUYS), brisk=True),
    _world("liquidated", "exit", "liquidation", "part", "lose"),
    _world("deleveraged", "exit", "adl", "part", "lose", brisk=True),
    _world("money", "exit", "hand", "funding", "steal", "lose", hands=(FLIPS,), brisk=True),
    _world("doubt", "exit", "empty", "late", "hand", "stale", "expire", "part", hands=(SELLS,),
           together=3, brisk=True),
    _world("operator", "exit", "urgent", "cancel", "hold", "resume", "reconcile", "mark",
           together=3, brisk=True),
    _world("maker", "maker", "urgent", "part", "expire", "lose", "cancel", together=3, brisk=True),
    _world(
        "legs", "exit:2", "part", "lose", "reject",
        entries=(Entry("T1", quantity=3 * UNIT, legs=(500_000_000, 10**9)),), brisk=True,
    ),
    _world(
        "working", "exit", "part:2", "cancel", "expire", "hold",
        entries=(Entry("T1", limited=True, working_ms=3_000),),
    ),
    _world("again", "exit:2", "expire", "part", "stale", "lose", together=3,
           entries=(Entry("T1"), Entry("T2", side=SHORT)), brisk=True),
    _world(
        "pair", "exit:2", "hand", "lose", slots=2, hedge=True, together=1,
        entries=(Entry("T1", quantity=UNIT), Entry("T2", side=SHORT, quantity=UNIT)),
        hands=(Hand(-1, UNIT, 0, 1), Hand(1, UNIT, 0, 1)), brisk=True,
    ),
    _world(
        "hedge", "exit", "hand:2", hedge=True,
        hands=(Hand(-1, UNIT, 0, 1), Hand(-1, 2 * UNIT, 0, -1), Hand(1, UNIT, 0, 1)), brisk=True,
    ),
    _world("hedge-forced", "exit", "adl", "lose", "part", hedge=True, brisk=True),
    _world("hedge-crash", "exit", "liquidation", "crash", hedge=True, brisk=True),
    _world(
        "two-symbols", "exit:2", "reject", "crash", slots=2, together=1,
        entries=(Entry("T1", quantity=UNIT), Entry("T2", quantity=UNIT, symbol=1)), brisk=True,
    ),
    _world(
        "opposite", "exit:2", "lose", slots=2, brisk=True,
        entries=(Entry("T1", quantity=UNIT), Entry("T2", side=SHORT, quantity=UNIT)),
    ),
    _world("first", "exit", "hand", "lose", hands=(SELLS, BUYS), strangers_first=True),
    _world("guest", "exit", "hand:2", "look:2", held_before=(BUYS,), hands=(TRIMS, BUYS),
           strangers_first=True, entries=(Entry("T1", quantity=UNIT),)),
)  # fmt: skip

#: Walked through by the tests as well.
QUICK: Final = ("once", "first", "guest")

NAMES: Final = {world.name: world for world in ALL}
