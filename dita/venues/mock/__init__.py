"""A venue that exists only here: BingX-shaped, exact, and the same every time.

``Book`` is the venue itself; ``MockVenue`` puts the async protocol before it, with a stream and a
script of faults.  It knows nothing of slots or trades.
"""

from dita.venues.mock.book import Book
from dita.venues.mock.config import (
    BINGX_STYLE,
    Chance,
    MockConfig,
    Noise,
    Price,
    Style,
    fet_config,
    read_tape,
)
from dita.venues.mock.records import (
    Dump,
    Fact,
    Fill,
    Order,
    Position,
    half_even,
    split,
)
from dita.venues.mock.script import ALLOWED, Do, Rule, Script, Verb
from dita.venues.mock.stream import Session
from dita.venues.mock.venue import MockVenue

__all__ = [
    "ALLOWED",
    "BINGX_STYLE",
    "Book",
    "Chance",
    "Do",
    "Dump",
    "Fact",
    "Fill",
    "MockConfig",
    "MockVenue",
    "Noise",
    "Order",
    "Position",
    "Price",
    "Rule",
    "Script",
    "Session",
    "Style",
    "Verb",
    "fet_config",
    "half_even",
    "read_tape",
    "split",
]
