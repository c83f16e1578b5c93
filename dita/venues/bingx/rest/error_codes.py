"""What BingX's error codes and texts mean, as a table: both generations of numbers (dossier §1.4).

Under one code the exchange has texts of validation and texts that say "busy" or "failed", so code
and text decide together, and whatever is in no row is UNKNOWN: it proves nothing (design P3).  What
follows from a meaning is up to whoever asked.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple


class Meaning(Enum):
    """What an answer says."""

    DONE = "done"
    ACCESS = "access"  # key, signature or permission: nothing will ever work like this
    CLOCK = "clock"  # timestamp refused: not executed
    LIMITED = "limited"  # too many requests: not executed
    REJECTED = "rejected"  # understood and refused: not executed
    TOO_SMALL = "too_small"  # refused: below a minimum
    NO_POSITION = "no_position"  # refused: nothing to close, or more than there is
    SUSPENDED = "suspended"  # refused: the symbol is not traded now
    SYMBOL = "symbol"  # refused: there is no such symbol
    NOT_FOUND = "not_found"  # there is no such order
    ENDED = "ended"  # the order is filled or gone already
    LAGGING = "lagging"  # the order exists and its state is not to be had now
    UNKNOWN = "unknown"  # nothing follows


class _Row(NamedTuple):
    """What codes mean when their text matches ``pattern``; "" matches whatever is certain.

    A refusal is believed only while its text holds no word of doubt; ``plain`` says that such a
    word may be a part of the pattern's own text.
    """

    codes: tuple[int, ...]
    meaning: Meaning
    pattern: str
    source: str
    plain: bool = False


#: A text with one of these says that it is not known what happened, or that it happened already.
_DOUBT: Final = re.compile(
    r"\b(busy|fail(?:s|ed|ure)?|time[ds]?[ -]?out|try again|retry|retried|later|internal|server"
    r"|system|network|rpc|exception|unknown|unavailable|process(?:ed|ing)|in progress"
    r"|once (?:within|per)|repeat(?:ed)?|duplicated?|already|success(?:ful(?:ly)?)?|accepted"
    r"|executed)\b",
    re.IGNORECASE,
)

_D: Final = "dossier §1.4"
_O: Final = "official list of error codes, 2026-04"
_ANY: Final = (109400, 80014, 80001)  # one code for everything

# The first row of a code whose pattern is found decides.  No row, for the record: duplicates
# (101481, 109201), the busy ones (80012, 100500, 100503, 101500, 109500, 109701, 110500), and what
# says "later" (101214, 101219, 101412, 102201): of all of these nothing follows.
_TABLE: Final = (
    _Row((0,), Meaning.DONE, r"\A", "dossier §1.3"),
    # The gateway, before anything else.
    _Row(
        (100001, 100004, 100412, 100413, 100419),
        Meaning.ACCESS,
        r"\A(?!.*\b(?:busy|try again|time ?out)\b)",
        f"{_D}; {_O}",
    ),
    _Row((100421,), Meaning.CLOCK, r"timestamp", _D),
    _Row((100421,), Meaning.REJECTED, r"restricted from API trading", "observed, ccxt"),
    _Row(
        (100410, 109429),
        Meaning.LIMITED,
        r"frequency limit|rate.?limit|over \d+ error code|too many|unblocked after"
        r"|retry after time|temporarily restricted",
        "dossier §1.5",
    ),
    _Row((109429,), Meaning.LIMITED, r"\A\Z", "change log of 2025-10-09"),
    _Row((100400, 100404), Meaning.REJECTED, r"\bpath\b|\bmethod\b|\bapi\b.*\bnot exist", _O),
    # One code for everything: only the text tells.
    _Row(
        _ANY,
        Meaning.CLOCK,
        r"\btimestamp\b.{0,40}\b(?:invalid|mismatch|expired|null)|\b(?:invalid|null) timestamp",
        _D,
    ),
    _Row(_ANY, Meaning.SYMBOL, r"symbol not exist|not exist, please verify", _D),
    _Row(_ANY, Meaning.NOT_FOUND, r"\border\b.{0,24}\bnot (?:exist|found)", _D),
    _Row(_ANY, Meaning.NO_POSITION, r"no position|position.{0,24}\bnot exist", _D),
    _Row(_ANY, Meaning.TOO_SMALL, r"\bminimum\b|\bmin\b", _D),
    _Row(_ANY, Meaning.REJECTED, r"Field validation for", "observed", plain=True),
    _Row(
        _ANY,
        Meaning.REJECTED,
        r"can only be set to|can ?not be filled|this field is required|\bis must\b"
        r"|invalid (?:parameters?|params|value)|margin is not enough|more than seven days"
        r"|has positions or pending orders|copy trading signal|cannot be used together"
        r"|does not fit side",
        f"{_D}; ccxt #22237, #20991",
    ),
    _Row((110400, 110426), Meaning.REJECTED, r"parameters? do(?:es)? not meet", _O),
    # Also "duplicate clientOrderID", which says that an order exists.
    _Row((101400,), Meaning.SUSPENDED, r"suspend|not available for trading|offline", f"{_D}; {_O}"),
    # "Order size error": who met it mended it with a greater quantity.
    _Row(
        (101400,),
        Meaning.TOO_SMALL,
        r"\bminimum\b|\bmin\b|order size error",
        "dossier §1.4, §4 row 18; passivbot #428, python-bingx #6",
    ),
    _Row((101400,), Meaning.REJECTED, r"(?:TP|SL|take profit|stop loss).{0,40}price", _O),
    # Refused for one documented reason.
    _Row(
        (101204, 101206, 101212, 101253, 110424, 100202),
        Meaning.REJECTED,
        r"\A\Z|\binsufficient|\bnot enough\b|available (?:amount|balance)",
        f"{_D}; {_O}",
    ),
    _Row((101209, 110287, 101429, 101424, 101414, 112414), Meaning.REJECTED, "", f"{_D}; {_O}"),
    _Row((101211, 101215, 110402, 100440), Meaning.REJECTED, "", f"{_D}; {_O}"),
    _Row((101419, 80013, 110206, 109430), Meaning.REJECTED, "", f"{_D}; {_O}"),
    _Row((109403, 80020), Meaning.REJECTED, r"\A\Z|risk|forbidden", _D),
    _Row((100414,), Meaning.REJECTED, r"risk control check|abnormal", _D, plain=True),
    _Row((101514, 101515), Meaning.REJECTED, r"\A\Z|suspended", _D),
    _Row((101210, 101222, 101434, 101460, 101461, 101483, 101484), Meaning.REJECTED, "", _O),
    _Row((104103, 104108, 104414, 109401), Meaning.REJECTED, "", f"{_D}; {_O}"),
    _Row((101202, 110422, 110425, 101485), Meaning.TOO_SMALL, "", f"{_D}; {_O}"),
    _Row((101205, 109420, 80017, 110203), Meaning.NO_POSITION, "", f"{_D}; {_O}"),
    _Row((101290,), Meaning.NO_POSITION, r"\A\Z|reduce ?-?only", _D),
    _Row(
        (101415, 109417, 109418, 110280, 101413, 104424),
        Meaning.SUSPENDED,
        r"\A\Z|suspend|offline|pre-?(?:launch|online)|non-trading",
        f"{_D}; {_O}",
        plain=True,
    ),
    _Row((109425,), Meaning.SYMBOL, "", _D),
    # About an order.
    _Row((109421, 80016, 109414), Meaning.NOT_FOUND, "", _D),
    # 80017, nothing to close, became 109422.
    _Row(
        (109422,),
        Meaning.NO_POSITION,
        r"no position|position.{0,24}\bnot exist",
        "change log of 2025-10-09",
    ),
    _Row((109422, 80018), Meaning.ENDED, r"\A", _D),
    _Row((109423, 109424, 80019), Meaning.LAGGING, r"\A", _D),
)
#: Every code that is known at all.
CODES: Final = frozenset(code for row in _TABLE for code in row.codes)
_BY_CODE: Final = {
    code: tuple(row for row in _TABLE if code in row.codes) for row in _TABLE for code in row.codes
}

#: A refusal of an inner service may be in their text: {"Code":101253,"Msg":"..."}.
_WRAPPING: Final = (80012, 109500)
_INNER: Final = re.compile(
    r'"code"\s*:\s*"?(\d{5,6})"?\s*,\s*"msg"\s*:\s*"((?:[^"\\]|\\.)*)"', re.IGNORECASE
)
_REFUSED: Final = (
    Meaning.REJECTED,
    Meaning.TOO_SMALL,
    Meaning.NO_POSITION,
    Meaning.SUSPENDED,
    Meaning.SYMBOL,
)
_RETRY_TIME: Final = re.compile(r"(?:unblocked after|retry after time:)\s*(\d{13})\b")

#: Codes of a limit, whatever else their text says: questions slow down.
LIMITS: Final = (100410, 109429)
#: What a person does about a refused access.
ACCESS_ACTIONS: Final[dict[int, str]] = {
    100001: "put the secret that belongs to the key into venue.api_secret's file",
    100412: "put the secret that belongs to the key into venue.api_secret's file",
    100413: "put a key that exists at the exchange into venue.api_key's file",
    100419: "bind this machine's address to the key at the exchange",
    100004: "give the key the right to trade perpetual futures at the exchange",
}


def meaning_of(code: int, text: str) -> Meaning:
    """Returns the meaning of an answer's code and text; UNKNOWN for what no row knows."""
    if code in _WRAPPING and (inner := _INNER.search(text)):
        # A busy one in a busy one is still unknown, and so is a limit of a service behind.
        within = meaning_of(int(inner[1]), inner[2])
        return within if within in _REFUSED else Meaning.UNKNOWN
    found = next((row for row in _BY_CODE.get(code, ()) if _says(row, text)), None)
    if found is None:
        return Meaning.UNKNOWN
    if found.meaning in _REFUSED and not found.plain and _DOUBT.search(text):
        return Meaning.UNKNOWN
    return found.meaning


def _says(row: _Row, text: str) -> bool:
    if not row.pattern:
        return text.isascii()  # in words that we cannot read nothing is certain
    return re.search(row.pattern, text, re.IGNORECASE) is not None


def retry_time_ms(text: str) -> int:
    """The exchange's time at which a rate limit ends, from its text; 0 when it does not say."""
    found = _RETRY_TIME.search(text)
    return int(found[1]) if found else 0
