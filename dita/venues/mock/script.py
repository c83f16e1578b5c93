"""Scripts of the mock venue: which call goes wrong, and how.

A script counts calls by verb and symbol and knows nothing of orders, money or time.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, TypeVar

from dita.contracts import Record, RejectReason
from dita.errors import SettingsError
from dita.venues import Rows, UnreadableRow

T = TypeVar("T")


class Verb(StrEnum):
    """What a rule waits for.  QUERY is any question."""

    SUBMIT = "submit"
    CANCEL = "cancel"
    STREAM = "stream"
    QUERY = "query"
    SERVER_TIME = "server_time"
    CONTRACT = "contract"
    PRICE = "price"
    ORDER = "order"
    OPEN_ORDERS = "open_orders"
    ALL_ORDERS = "all_orders"
    FILLS = "fills"
    POSITIONS = "positions"
    BALANCE = "balance"
    INCOME = "income"


class Do(StrEnum):
    """What a rule does.  What is late by more than the receive window is not executed at all."""

    ACCEPT = "accept"  # submit, with `parts` fills; anything else: as usual
    PARTIAL = "partial"  # submit: fill `share_e9`, the rest works (until `wait_ms`, if given)
    EXPIRE = "expire"  # submit: fill `share_e9`, the rest expires
    REJECT = "reject"  # submit with `reason`; cancel although the order works
    RATE_LIMIT = "rate_limit"  # submit: not executed; released after `wait_ms`, 0 = does not say
    DELAY = "delay"  # executed at once, answered after `wait_ms`
    LATE = "late"  # executed and answered after `wait_ms`
    SILENT = "silent"  # executed, never answered
    LOST = "lost"  # not executed, never answered
    SILENT_LATE = "silent_late"  # never answered, executed after `wait_ms`
    NOT_SENT = "not_sent"
    HIDE = "hide"  # submit: accepted, but for `wait_ms` no question finds it
    FILL_FIRST = "fill_first"  # cancel: the order fills before the cancel arrives
    FAIL = "fail"  # a question gets no answer
    EMPTY = "empty"  # a question is answered as if there were nothing
    ODD = "odd"  # a question is answered, and what is about `about` in it cannot be read
    DROP = "drop"  # a frame is lost
    DUPLICATE = "duplicate"  # a frame comes twice
    HOLD = "hold"  # a frame comes after the `count` next ones
    END = "end"  # the stream ends before this frame


_EITHER: Final = frozenset(
    {Do.ACCEPT, Do.REJECT, Do.RATE_LIMIT, Do.DELAY, Do.LATE, Do.SILENT, Do.LOST, Do.SILENT_LATE}
)
#: What each verb can be told to do; any question takes the rest.
ALLOWED: Final = {
    Verb.SUBMIT: _EITHER | {Do.NOT_SENT, Do.PARTIAL, Do.EXPIRE, Do.HIDE},
    Verb.CANCEL: _EITHER | {Do.NOT_SENT, Do.FILL_FIRST},
    Verb.STREAM: frozenset({Do.ACCEPT, Do.DROP, Do.DUPLICATE, Do.HOLD, Do.END}),
}
_LISTS: Final = frozenset(
    {Verb.QUERY, Verb.OPEN_ORDERS, Verb.ALL_ORDERS, Verb.FILLS, Verb.POSITIONS, Verb.INCOME}
)
_QUESTION: Final = frozenset({Do.ACCEPT, Do.FAIL, Do.DELAY})


class Rule(Record, frozen=True, kw_only=True):
    """From the ``nth`` call of ``verb`` (of ``asset``, if given) on, ``times`` calls do this.

    Calls are counted from 1 and from when the script was set; ``times`` 0 means all that follow.
    A rejection carries ``code`` and ``words``; ``about`` is the symbol of the odd rows, "" of all.
    """

    verb: Verb
    do: Do
    asset: str = ""
    nth: int = 1
    times: int = 1
    parts: int = 0
    share_e9: int = 0
    wait_ms: int = 0
    count: int = 1
    reason: RejectReason = RejectReason.OTHER
    code: int = 0
    words: str = ""
    about: str = ""

    def check(self) -> None:
        """SettingsError when the verb cannot do that."""
        allowed = ALLOWED.get(self.verb, _QUESTION)
        if self.verb in _LISTS:
            allowed |= {Do.EMPTY, Do.ODD}
        if self.verb is Verb.ORDER:
            allowed |= {Do.EMPTY}
        if self.do not in allowed:
            raise SettingsError("script refused", found=f"{self.verb} cannot {self.do}")


class Script:
    """An ordered list of rules; the first that matches a call decides it."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules = tuple(rules)
        for rule in self.rules:
            rule.check()
        self._calls = [0] * len(self.rules)

    def match(self, verb: Verb, asset: str = "") -> Rule | None:
        """Count the call, and give the rule that decides it."""
        question = verb not in (Verb.SUBMIT, Verb.CANCEL, Verb.STREAM)
        found = None
        for i, rule in enumerate(self.rules):
            if rule.verb != verb and not (question and rule.verb is Verb.QUERY):
                continue
            if rule.asset and rule.asset != asset:
                continue
            self._calls[i] += 1
            late = rule.times and self._calls[i] >= rule.nth + rule.times
            if found is None and self._calls[i] >= rule.nth and not late:
                found = rule
        return found


def answered(rule: Rule, rows: Iterable[T]) -> Rows[T]:
    """The rows, or none, or some of them unreadable, as the script says."""
    if rule.do is Do.EMPTY:
        return Rows()
    found = tuple(rows)
    if rule.do is not Do.ODD:
        return Rows(found)
    odd = [row for row in found if not rule.about or _asset_of(row) == rule.about]
    unreadable = [
        UnreadableRow(
            asset=_asset_of(row),
            venue_order_id=getattr(row, "venue_order_id", ""),
            client_order_id=getattr(row, "client_order_id", ""),
            why="scripted",
        )
        for row in odd
    ]
    return Rows((row for row in found if row not in odd), unreadable)


def _asset_of(row: object) -> str:
    return str(getattr(row, "asset", ""))
