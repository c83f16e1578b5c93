"""The worlds that are explored, by name.

Each is small enough to be walked through whole.  Together every two kinds of thing that can happen
meet in one of them; a test holds them to that.

Where strangers trade, one thing is told to nobody but the exchange: in which order they acted.  A
position answer shows the sum of it.  "Sold what was ours, then bought one" and "bought one, then
sold it and one of ours" end in the same position, so both readings of the book are right there
(``judge.shares``), and strangers' money is compared where the two do not differ, and where every
close of ours that was a stranger's was told: of one whose frame was lost only the row knows.
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
BOTH_WAYS: Final = (Entry("T1", quantity=UNIT), Entry("T2", side=SHORT, quantity=UNIT))
TRIMS: Final = Hand(-1, UNIT)


def _world(name: str, *kinds: str, **fields: object) -> World:
    """A world with one of each kind; ``kind:2`` for two."""
    budget = {}
    for kind in kinds:
        word, _, count = kind.partition(":")
        budget[word] = int(count or 1)
    entries = fields.pop("entries", ONE)
    return World(name, entries, budget, **fields)  # type: ignore[arg-type]


def _brisk(name: str, *kinds: str, **fields: object) -> World:
    """A world where time passes only when nothing else goes on by itself."""
    return _world(name, *kinds, brisk=True, **fields)


def _pairs(name: str, *focus: str, without: tuple[str, ...] = ()) -> World:
    """Every pair with one of these kinds in it, whatever the other is, but for some."""
    kinds = [kind for kind in KINDS if kind not in without]
    return _world(name, *kinds, together=2, focus=focus, hands=(FLIPS,), brisk=True, orderly=True)


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
    _brisk("alone", "exit", "part", "cancel", "expire", "repeat", "overtake"),
    _brisk("stream", "exit", "part", "lose", "repeat", "overtake", "gap"),
    _brisk("nameless", "exit", "part", "lose", "late", "unheard", named_frames=False),
    _brisk("answers", "exit", "late", "lost", "unheard", "lose"),
    _brisk("refused", "exit", "reject", "mismatch", "limited", "unsent", "crash"),
    _brisk("small", "exit", "minimum", "part", "piece", "cancel"),
    _brisk("shut", "exit", "suspended", "deaf", "hand", hands=(SELLS,)),
    _brisk("crash", "exit", "crash", "lost", "unheard", "lose"),
    _brisk("forgotten", "exit", "forget", "lose", "hand", hands=(SELLS,)),
    _brisk("forgotten-crash", "exit", "forget", "cancel", "crash"),
    _brisk("company", "exit", "hand:2", "part", hands=(SELLS, BUYS)),
    _brisk("flip", "exit", "hand", "lose", "part", "overtake", hands=(FLIPS,)),
    _brisk("trimmed", "exit", "hand:2", "lose", hands=(TRIMS, BUYS)),
    _brisk("liquidated", "exit", "liquidation", "part", "lose"),
    _brisk("deleveraged", "exit", "adl", "part", "lose"),
    _brisk("money", "exit", "hand", "funding", "steal", hands=(FLIPS,)),
    _brisk("doubt", "exit", "empty", "hand", "stale", "expire", "part", together=3, hands=(SELLS,)),
    _brisk("operator", "exit", "urgent", "cancel", "hold", "resume"),
    _brisk("maker", "maker", "part", "cancel"),
    _brisk(
        "legs", "exit:2", "part", "lose", "reject",
        entries=(Entry("T1", quantity=3 * UNIT, legs=(500_000_000, 10**9)),),
    ),
    _brisk(
        "working", "exit", "part", "cancel", "expire", "hold",
        entries=(Entry("T1", limited=True, working_ms=3_000),),
    ),
    _brisk(
        "again", "exit:2", "expire", "lose", together=2,
        entries=(Entry("T1"), Entry("T2", side=SHORT)),
    ),
    _brisk("opposite", "exit:2", "lose", slots=2, entries=BOTH_WAYS),
    _brisk("pair", "exit:2", "lose", slots=2, hedge=True, orderly=True, entries=BOTH_WAYS),
    _brisk(
        "two-symbols", "exit:2", "reject", slots=2, orderly=True,
        entries=(Entry("T1", quantity=UNIT), Entry("T2", quantity=UNIT, symbol=1)),
    ),
    _brisk(
        "hedge", "exit", "hand:2", hedge=True,
        hands=(Hand(-1, UNIT, 0, 1), Hand(-1, 2 * UNIT, 0, -1), Hand(1, UNIT, 0, 1)),
    ),
    _brisk("hedge-forced", "exit", "adl", "lose", "part", hedge=True),
    _brisk("hedge-crash", "exit", "liquidation", "crash", hedge=True),
    _world("first", "exit", "hand", "lose", hands=(SELLS, BUYS), strangers_first=True),
    _world(
        "guest", "exit", "hand:2", "look:2", held_before=(BUYS,), hands=(TRIMS, BUYS),
        strangers_first=True, entries=(Entry("T1", quantity=UNIT),),
    ),
)  # fmt: skip

#: Walked through by the tests as well.
QUICK: Final = ("once", "first", "guest")

NAMES: Final = {world.name: world for world in ALL}
