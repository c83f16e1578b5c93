"""Which call, event or moment goes wrong: rules from a TOML file, decided by count, time and seed.

The same rules, seed and traffic give the same faults. Only decides; the server, the hub and the
acts do it. Knows no order and no socket.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from enum import Enum
from hashlib import sha256
from typing import Any, Final

import msgspec

from dita.contracts import Record
from dita.errors import SettingsError
from dita.exchange.model.records import PositionSide, Side
from dita.units import RATIO_ONE, parse_quantity, parse_ratio


class FaultKind(Enum):
    """What goes wrong. The groups below say what each is counted by."""

    # A call that is not executed.
    REQUEST_LOST = "request_lost"  # the connection closes instead of an answer
    RATE_LIMITED = "rate_limited"  # with `retry_ms` the message carries the time, else no time
    REFUSED = "refused"  # any `code` and `msg`
    # A call that is executed and whose answer is spoilt.
    ANSWER_LOST = "answer_lost"  # the connection closes
    GATEWAY_TIMEOUT = "gateway_timeout"  # HTTP 504
    ANSWER_DELAYED = "answer_delayed"  # by `ms`
    HTML = "html"  # a page of the gateway in front, HTTP `status`
    TRUNCATED = "truncated"  # half of the JSON
    EMPTY = "empty"  # its rows are missing, as if there were none
    ODD_ROW = "odd_row"  # `msg`, any JSON, is one more row of it, the first
    STATUS_LAG = "status_lag"  # the placed order is unknown to queries for `ms`, with `code`
    # A user event on its way to the stream.
    EVENT_DROPPED = "event_dropped"
    EVENT_DELAYED = "event_delayed"  # by `ms`; later events overtake it
    EVENT_DUPLICATED = "event_duplicated"
    EVENT_REORDERED = "event_reordered"  # sent after the next one, at the latest after `ms`
    ZERO_BALANCE = "zero_balance"  # the wallet figures of an ACCOUNT_UPDATE read 0
    PRICE_BOUND = "price_bound"  # `p` is a bound, off by `ratio`, and not the fill price
    LAST_FILL_MISSING = "last_fill_missing"  # no `l` and `L`
    TRIGGER_SILENT = "trigger_silent"  # nothing of an order that was triggered is pushed
    # Something that happens by itself, at a moment or after a call.
    LISTEN_KEY_DEATH = "listen_key_death"
    HALF_OPEN = "half_open"  # user sockets fall silent for `ms` (0: for ever), without Ping
    SOCKET_CLOSED = "socket_closed"  # without a closing handshake
    FOREIGN_ORDER = "foreign_order"  # `symbol`, `side`, `quantity`: a MARKET order not of ours
    LIQUIDATION = "liquidation"  # of `symbol`


_K = FaultKind
BEFORE: Final = frozenset({_K.REQUEST_LOST, _K.RATE_LIMITED, _K.REFUSED})
AFTER: Final = frozenset(
    {
        _K.ANSWER_LOST,
        _K.GATEWAY_TIMEOUT,
        _K.ANSWER_DELAYED,
        _K.HTML,
        _K.TRUNCATED,
        _K.EMPTY,
        _K.ODD_ROW,
    }
)
LAGS: Final = frozenset({_K.STATUS_LAG})
DELIVERY: Final = frozenset(
    {_K.EVENT_DROPPED, _K.EVENT_DELAYED, _K.EVENT_DUPLICATED, _K.EVENT_REORDERED}
)
SILENCE: Final = frozenset({_K.TRIGGER_SILENT})
ACTS: Final = frozenset(
    {
        _K.LISTEN_KEY_DEATH,
        _K.HALF_OPEN,
        _K.SOCKET_CLOSED,
        _K.FOREIGN_ORDER,
        _K.LIQUIDATION,
    }
)


class FaultRule(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ``[[fault]]`` of the file.

    ``on`` names what is counted, with * and ?: an endpoint as ``POST /openApi/swap/v2/trade/order``
    or an event as ``ORDER_TRADE_UPDATE FILLED``. Empty, it is every call or event that the kind
    can hit; for what happens by itself it is the moment ``from_ms`` after the start. From the
    ``nth`` on it hits ``times`` times (0: without end), each with ``probability``.
    """

    kind: FaultKind
    on: str = ""
    nth: int = 1
    times: int = 1
    probability: str = "1"
    from_ms: int = 0
    until_ms: int = 0  # 0: no end
    ms: int = 0
    retry_ms: int = 0
    code: int = 0
    msg: str = ""
    status: int = 0
    ratio: str = "0.2"
    symbol: str = ""
    side: str = ""
    position_side: str = "BOTH"
    quantity: str = ""


class _Counted:
    """A rule with what it has seen and hit."""

    __slots__ = ("chance_e9", "hits", "order", "rule", "seen")

    def __init__(self, rule: FaultRule) -> None:
        self.rule = rule
        self.seen = 0
        self.hits = 0
        self.chance_e9 = parse_ratio(rule.probability, field="probability")
        parse_ratio(rule.ratio, field="ratio")
        if rule.kind in ACTS and not rule.on and (rule.nth, rule.times) != (1, 1):
            raise ValueError(f"{rule.kind.value} without `on` happens once: no `nth` or `times`")
        if rule.kind is FaultKind.FOREIGN_ORDER:
            parse_quantity(rule.quantity, field="quantity")
            self.order = (Side(rule.side), PositionSide(rule.position_side))


class FaultPlan:
    """All rules in force, and the one place that counts."""

    def __init__(self, rules: Sequence[FaultRule], seed: int, start_ms: int) -> None:
        self._seed = seed
        self._start_ms = start_ms
        self._added = 0
        self._rules: list[tuple[int, _Counted]] = []
        self.add(rules)

    def add(self, rules: Sequence[FaultRule]) -> None:
        """Put rules in force; their counts begin now."""
        counted = [_Counted(rule) for rule in rules]  # all are read before one is taken
        for each in counted:
            self._rules.append((self._added, each))
            self._added += 1

    @property
    def active(self) -> bool:
        """Whether there is any rule."""
        return bool(self._rules)

    def clear(self) -> None:
        """Lift all rules."""
        self._rules.clear()

    def counts(self) -> list[dict[str, Any]]:
        """Each rule in force with what it saw and hit."""
        return [
            {**msgspec.to_builtins(each.rule), "seen": each.seen, "hits": each.hits}
            for _, each in self._rules
        ]

    def hits(self, kinds: frozenset[FaultKind], subject: str, now_ms: int) -> list[FaultRule]:
        """The rules of these kinds that hit this call or event, in the file's order."""
        if not self._rules:
            return []
        hit: list[FaultRule] = []
        for number, each in self._rules:
            rule = each.rule
            if rule.kind not in kinds or not _named(rule, subject):
                continue
            if self._in_time(rule, now_ms) and self._counts_in(number, each):
                hit.append(rule)
        return hit

    def due(self, now_ms: int) -> list[FaultRule]:
        """The acts whose moment has come; each is given once, or never when chance says so."""
        return [
            each.rule
            for number, each in self._rules
            if each.rule.kind in ACTS
            and not (each.rule.on or each.seen)
            and self._in_time(each.rule, now_ms)
            and self._counts_in(number, each)
        ]

    def _in_time(self, rule: FaultRule, now_ms: int) -> bool:
        since = now_ms - self._start_ms
        return since >= rule.from_ms and (not rule.until_ms or since < rule.until_ms)

    def _counts_in(self, number: int, each: _Counted) -> bool:
        """Count one more occurrence; whether it is hit."""
        rule = each.rule
        each.seen += 1
        if each.seen < rule.nth or (rule.times and each.hits >= rule.times):
            return False
        if each.chance_e9 < RATIO_ONE:
            # Drawn from rule and count alone, so that other traffic changes nothing.
            digest = sha256(f"fault {self._seed} {number} {each.seen}".encode()).digest()
            if int.from_bytes(digest[:8]) % RATIO_ONE >= each.chance_e9:
                return False
        each.hits += 1
        return True


def _named(rule: FaultRule, subject: str) -> bool:
    if not rule.on:
        return rule.kind not in ACTS
    return fnmatch.fnmatchcase(subject, rule.on)


def read_rules(value: object, where: str) -> list[FaultRule]:
    """Convert decoded TOML or JSON into rules, or say which key is wrong."""
    try:
        rules = msgspec.convert(value, list[FaultRule])
        FaultPlan(rules, 0, 0)  # reads the numbers in texts
    except (msgspec.ValidationError, ValueError) as bad:
        raise SettingsError(
            f"faults in {where} refused",
            expected="a list of faults, each with a kind and its keys",
            found=str(bad),
            action="see runbooks/exchange.md for kinds and keys",
        ) from bad
    return rules
