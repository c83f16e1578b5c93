"""One thing that happened, as data and as a line.

The teller makes events out of inputs, outcomes and notes; the log writes them, the alerts choose
among them, and `pink-ctl events` reads the same ones out of the journal.  It knows no kernel.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any, Final

import msgspec

from dita.contracts import Record
from dita.display import stamp
from dita.errors import one_line


class Level(IntEnum):
    """How loud an event is; the numbers are those of ``logging``."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40
    CRITICAL = 50


class EventName(StrEnum):
    """Every kind of event: what a person greps for."""

    # what was asked for
    INTENT = "INTENT"
    REFUSED = "REFUSED"
    # orders
    ORDER = "ORDER"
    CANCEL = "CANCEL"
    ACK = "ACK"
    FILL = "FILL"
    ORDER_END = "ORDER_END"
    REJECTED = "REJECTED"
    NOT_SENT = "NOT_SENT"
    RATE_LIMITED = "RATE_LIMITED"
    UNKNOWN = "UNKNOWN"
    ABSENT = "ABSENT"
    CANCEL_REFUSED = "CANCEL_REFUSED"
    # trades
    EXTERNAL_CLOSE = "EXTERNAL_CLOSE"
    LIQUIDATION = "LIQUIDATION"
    ADL = "ADL"
    FLAT = "FLAT"
    DONE = "DONE"
    UNFILLED = "UNFILLED"
    DOUBT = "DOUBT"
    CERTAIN = "CERTAIN"
    SUSPENDED = "SUSPENDED"
    ANOMALY = "ANOMALY"
    FIGURES = "FIGURES"
    # the account
    BALANCE = "BALANCE"
    DRIFT = "DRIFT"
    FUNDING = "FUNDING"
    TRANSFER = "TRANSFER"
    FOREIGN = "FOREIGN"
    FROZEN = "FROZEN"
    THAWED = "THAWED"
    CONTROL = "CONTROL"
    HOLD = "HOLD"
    RESUMED = "RESUMED"
    # quiet inputs, told only when everything is
    MARK = "MARK"
    POSITION = "POSITION"
    TIME = "TIME"
    IGNORED = "IGNORED"
    # the runtime
    STARTED = "STARTED"
    STATE = "STATE"
    STOPPED = "STOPPED"
    FAILED = "FAILED"
    GAP = "GAP"
    HEALED = "HEALED"
    TERMINAL = "TERMINAL"
    ALARM = "ALARM"
    ALARM_ENDED = "ALARM_ENDED"
    NOTE = "NOTE"
    # the log itself
    TALK = "TALK"
    ALERT = "ALERT"
    LOG = "LOG"
    LIBRARY = "LIBRARY"


class Event(Record, frozen=True, kw_only=True):
    """One event.  ``seq`` is the journal record that it follows from, 0 for none.

    ``fields`` has its figures as exact decimal text, for programs.
    """

    time_ms: int
    name: EventName
    level: Level
    text: str
    seq: int = 0
    trade: str = ""
    trade_no: int = 0
    slot: int = -1
    order_no: int = 0
    asset: str = ""
    #: How the kernel came to it, in its own terms; only where everything is to be traced.
    detail: str = ""
    fields: dict[str, Any] = msgspec.field(default_factory=dict)

    def line(self) -> str:
        """For a person: UTC, level, name, words; one line whatever the words hold."""
        detail = f"  [{self.detail}]" if self.detail else ""
        head = f"{stamp(self.time_ms)} {self.level.name:<8} {self.name.value:<14}"
        return one_line(f"{head} {self.text}{detail}".rstrip())

    def plain(self) -> dict[str, Any]:
        """For a program."""
        known = {
            "seq": self.seq,
            "trade": self.trade,
            "asset": self.asset,
            "detail": self.detail,
        }
        return {
            "time": stamp(self.time_ms),
            "level": self.level.name,
            "event": self.name.value,
            "text": one_line(self.text),
            **{key: value for key, value in known.items() if value},
            **self.fields,
        }


NOTHING: Final[tuple[Event, ...]] = ()
