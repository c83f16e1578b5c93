"""What BingX's error codes mean, in both generations (dossier §1.4): tables and a few patterns.

A code that is not listed is UNKNOWN, never a rejection: only what is documented as refused proves
that an order was not taken (design P3).  What follows from a meaning is up to whoever asked.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final


class Meaning(Enum):
    """What an answer says."""

    DONE = "done"
    ACCESS = "access"  # key, signature or permission: nothing will ever work like this
    CLOCK = "clock"  # timestamp refused: not executed
    LIMITED = "limited"  # too many requests: not executed
    REJECTED = "rejected"  # understood and refused: not executed
    TOO_SMALL = "too_small"  # refused: below a minimum
    NO_POSITION = "no_position"  # refused: nothing to close, or more than there is
    SYMBOL = "symbol"  # refused: unknown, suspended or not open for trading
    NOT_FOUND = "not_found"  # there is no such order
    ENDED = "ended"  # the order is filled or gone already
    LAGGING = "lagging"  # the order exists and its state is not to be had now
    UNKNOWN = "unknown"  # nothing follows


_CODES: Final[dict[Meaning, tuple[int, ...]]] = {
    Meaning.DONE: (0,),
    Meaning.ACCESS: (100001, 100004, 100412, 100413, 100419),
    Meaning.LIMITED: (100410, 109429),
    Meaning.REJECTED: (
        *(101204, 101206, 101212, 101253, 110424),  # margin
        *(101209, 110287, 101429, 101424, 101414),  # position value, leverage
        *(101211, 101215),  # price band, post-only would match
        *(101419, 80013, 110206),  # too many open orders
        *(109403, 80020, 100414),  # risk control
        *(101514, 101515),  # suspended from opening, from trading
        *(104103, 109401),  # mode cannot be switched
        *(100400, 100404),  # no such path or method
    ),
    Meaning.TOO_SMALL: (101202, 101400, 110422, 110425),
    Meaning.NO_POSITION: (101205, 101290, 109420, 80017),
    Meaning.SYMBOL: (101415, 109417, 109418, 109425, 110280),
    Meaning.NOT_FOUND: (109421, 109414, 80016),
    Meaning.ENDED: (109422, 80018),
    Meaning.LAGGING: (109423, 109424, 80019),
    # Listed for the record: the duplicates and the busy ones, of which nothing follows.
    Meaning.UNKNOWN: (101481, 109201, 109500, 80012, 100500, 101500, 110500, 109701),
}
_MEANINGS: Final = {code: meaning for meaning, codes in _CODES.items() for code in codes}

#: These say anything; the text decides.
_OVERLOADED: Final = (109400, 80014, 80001)
#: Busy, or a refusal of an inner service in their text: {"Code":101253,"Msg":"..."}.
_WRAPPING: Final = (80012, 109500)
#: Timestamp refused, and once "This pair is currently restricted from API trading".
_CLOCK: Final = 100421

# In this order: the first that is found decides.
_TEXTS: Final = (
    (Meaning.CLOCK, r"\btimestamp\b"),
    (Meaning.UNKNOWN, r"\b(busy|time ?out|try again later)\b"),
    (Meaning.SYMBOL, r"symbol not exist|not exist, please verify|suspend|offline|pre-?online"),
    (Meaning.NOT_FOUND, r"\border\b.{0,24}\b(not exist|does ?n.?t exist|not found)"),
    (Meaning.NO_POSITION, r"no position|position.{0,8} not exist|reduce ?only order can only"),
    (Meaning.TOO_SMALL, r"\bminimum\b|\bmin\b"),
)
_PATTERNS: Final = tuple((meaning, re.compile(text, re.IGNORECASE)) for meaning, text in _TEXTS)

_INNER_CODE: Final = re.compile(r'"code"\s*:\s*"?(\d{5,6})', re.IGNORECASE)
_RETRY_TIME: Final = re.compile(r"(?:unblocked after|retry after time:)\s*(\d{13})\b")


def meaning_of(code: int, text: str) -> Meaning:
    """The meaning of an answer's code and text."""
    if code in _OVERLOADED:
        return _said(text) or Meaning.REJECTED
    if code == _CLOCK:
        clock = not text or _said(text) is Meaning.CLOCK
        return Meaning.CLOCK if clock else Meaning.REJECTED
    meaning = _MEANINGS.get(code, Meaning.UNKNOWN)
    if code in _WRAPPING and (inner := _INNER_CODE.search(text)):
        # A busy one in a busy one is still unknown, and so is a limit of a service behind.
        refused = (Meaning.REJECTED, Meaning.TOO_SMALL, Meaning.NO_POSITION, Meaning.SYMBOL)
        within = _MEANINGS.get(int(inner[1]), Meaning.UNKNOWN)
        return within if within in refused else Meaning.UNKNOWN
    if meaning is Meaning.LIMITED and "limit" not in text and _said(text) is Meaning.UNKNOWN:
        return Meaning.UNKNOWN  # 100410 with "The current system is busy" was seen
    if meaning is Meaning.TOO_SMALL and code == 101400:
        # Also "not available for trading", and sizes that are wrong in another way.
        return _said(text) or (Meaning.REJECTED if text else Meaning.TOO_SMALL)
    if meaning is Meaning.ENDED and _said(text) is Meaning.NO_POSITION:
        return Meaning.NO_POSITION  # 80017 became 109422, by the change log
    return meaning


def _said(text: str) -> Meaning | None:
    return next((meaning for meaning, pattern in _PATTERNS if pattern.search(text)), None)


def retry_time_ms(text: str) -> int:
    """The exchange's time at which a rate limit ends, from its text; 0 when it does not say."""
    found = _RETRY_TIME.search(text)
    return int(found[1]) if found else 0
