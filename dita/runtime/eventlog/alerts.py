"""What a person must be told at once, and how: the list is data, the command is somebody else's.

`ALERTS` is the one list: the alerter calls the command by it, the runbook describes it, and rules
of a monitoring system are to be made from it.  Nothing here waits for the command.
"""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Final

from dita.clock import Clock
from dita.contracts import Record
from dita.errors import one_line
from dita.runtime.eventlog.event import Event, EventName, Level

#: A command that hangs must not keep the next alert waiting for longer.
COMMAND_LIMIT_S: Final = 30
#: Alerts of one name within one throttle time, whatever they are about.
BURST: Final = 3
#: Alerts that wait for the command; beyond it they are counted only.
WAITING_MAX: Final = 1_000
#: All that the command inherits: variables may hold keys.
VARIABLES: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME")


class Severity(StrEnum):
    """How soon somebody has to look."""

    PAGE = "PAGE"  # now, also at night: money or positions are in question
    WARN = "WARN"  # soon: something waits for a person


class About(StrEnum):
    """What makes two alerts of a name the same one."""

    ALL = ""
    TRADE = "trade"
    ASSET = "asset"
    ALARM = "alarm"
    CAUSE = "cause"


class Alert(Record, frozen=True, kw_only=True):
    """One reason to call somebody.

    It is raised by any of ``events`` of at least ``level``, once it has lasted for ``for_s``
    seconds without one of ``cleared_by``.
    """

    name: str
    severity: Severity
    events: tuple[EventName, ...]
    summary: str
    act: str
    level: Level = Level.DEBUG
    for_s: int = 0
    cleared_by: tuple[EventName, ...] = ()
    about: About = About.ALL


_E = EventName
ALERTS: Final = (
    Alert(
        name="LIQUIDATION",
        severity=Severity.PAGE,
        events=(_E.LIQUIDATION, _E.ADL),
        about=About.TRADE,
        summary="the exchange closed a position of ours by force",
        act="pink-ctl explain TRADE; look at the margin before the next entry",
    ),
    Alert(
        name="CLOSED_OUTSIDE",
        severity=Severity.PAGE,
        events=(_E.EXTERNAL_CLOSE,),
        about=About.TRADE,
        summary="somebody else closed a position of ours",
        act="pink-ctl explain TRADE; find out who has access to the account",
    ),
    Alert(
        name="EXIT_REJECTED",
        severity=Severity.PAGE,
        events=(_E.REJECTED, _E.NOT_SENT),
        level=Level.ERROR,
        about=About.TRADE,
        summary="an exit was refused: the position is still open",
        act="pink-ctl status; it is tried again; a TP/SL set by hand can lock the quantity",
    ),
    Alert(
        name="SUSPENDED",
        severity=Severity.PAGE,
        events=(_E.SUSPENDED,),
        about=About.TRADE,
        summary="the exchange does not trade a symbol on which an exit is wanted",
        act="pink-ctl status; tried every 2 min; once it is settled there: pink-ctl reconcile",
    ),
    Alert(
        name="IN_DOUBT",
        severity=Severity.PAGE,
        events=(_E.DOUBT,),
        for_s=60,
        cleared_by=(_E.CERTAIN, _E.DONE),
        about=About.TRADE,
        summary="a position is in doubt and stays so",
        act="pink-ctl reconcile",
    ),
    Alert(
        name="ORDER_UNKNOWN",
        severity=Severity.PAGE,
        events=(_E.UNKNOWN,),
        for_s=60,
        cleared_by=(_E.FILL, _E.ORDER_END, _E.REJECTED, _E.ABSENT, _E.DONE, _E.UNFILLED),
        about=About.TRADE,
        summary="the exchange has given no certain answer about an order",
        act="pink-ctl status; is the exchange reachable?",
    ),
    Alert(
        name="MONEY_UNEXPLAINED",
        severity=Severity.PAGE,
        events=(_E.FROZEN,),
        level=Level.ERROR,
        summary="money is missing or too much, and entries are frozen",
        act="pink-ctl status, pink-ctl reconcile; when its cause is known pink-ctl anchor --reason",
    ),
    Alert(
        name="FROZEN",
        severity=Severity.WARN,
        events=(_E.FROZEN,),
        for_s=300,
        cleared_by=(_E.THAWED,),
        about=About.CAUSE,
        summary="entries are frozen and stay so",
        act="pink-ctl status says why",
    ),
    Alert(
        name="HOLD",
        severity=Severity.WARN,
        events=(_E.HOLD,),
        summary="no new entries: somebody or something holds",
        act="pink-ctl status says who and why; when the reason is gone pink-ctl resume",
    ),
    Alert(
        name="ANOMALY",
        severity=Severity.PAGE,
        events=(_E.ANOMALY,),
        level=Level.ERROR,
        about=About.TRADE,
        summary="a fill or a figure is not what it should be",
        act="pink-ctl explain TRADE",
    ),
    Alert(
        name="QUARANTINE",
        severity=Severity.PAGE,
        events=(_E.CONTROL,),
        level=Level.CRITICAL,
        summary="an input broke an invariant and was set aside",
        act="keep the journal and report it; pink-ctl status shows what is in doubt",
    ),
    Alert(
        name="CUT_OFF",
        severity=Severity.PAGE,
        events=(_E.GAP,),
        for_s=60,
        cleared_by=(_E.HEALED, _E.STOPPED),
        summary="the exchange's stream is gone and stays so",
        act="pink-ctl status; is the exchange reachable? positions stay, exits are tried",
    ),
    Alert(
        name="TRANSFER",
        severity=Severity.WARN,
        events=(_E.TRANSFER,),
        summary="money went into or out of the account",
        act="was it you? pink-ctl events",
    ),
    Alert(
        name="ALARM",
        severity=Severity.PAGE,
        events=(_E.ALARM,),
        for_s=15,
        cleared_by=(_E.ALARM_ENDED,),
        about=About.ALARM,
        summary="something that serve needs does not work",
        act="pink-ctl status lists the alarms",
    ),
)


class Alerter:
    """Calls the command for what `ALERTS` names, throttled, in a thread of its own."""

    def __init__(
        self,
        command: str,
        *,
        whose: str,
        throttle_s: int,
        clock: Clock,
        complain: Callable[[str], None] = lambda problem: None,
        alerts: Iterable[Alert] = ALERTS,
    ) -> None:
        """``whose`` begins every text: which kernel, which money.  ``complain`` is told when nobody
        could be called; it must not come back here."""
        self._command = command
        self._whose = whose
        self._throttle_ns = throttle_s * 10**9
        self._clock = clock
        self._complain = complain
        #: Why the newest alert reached nobody; "" while they do.
        self.problem = ""
        self._raised: dict[EventName, list[Alert]] = {}
        self._cleared: dict[EventName, list[Alert]] = {}
        for alert in alerts:
            for name in alert.events:
                self._raised.setdefault(name, []).append(alert)
            for name in alert.cleared_by:
                self._cleared.setdefault(name, []).append(alert)
        #: Not yet old enough: due time by (alert, what it is about).
        self._pending: dict[tuple[str, str], tuple[int, Alert, Event]] = {}
        self._called: dict[str, list[int]] = {}
        self._called_about: dict[tuple[str, str], int] = {}
        self._kept_back: dict[str, int] = {}
        self._events: queue.Queue[Event | None] = queue.Queue(WAITING_MAX)
        self._thread = threading.Thread(target=self._work, name="alerts", daemon=True)
        self._thread.start()

    def hear(self, event: Event) -> None:
        """An event; returns at once."""
        if event.name not in self._raised and event.name not in self._cleared:
            return
        try:
            self._events.put_nowait(event)
        except queue.Full:
            self._complain(f"alert lost, too many wait: {event.text}")

    def close(self, within_s: float = 5.0) -> None:
        """Call for what is due already, but wait no longer than this."""
        try:
            self._events.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(within_s)

    # -- the thread --------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            try:
                event = self._events.get(timeout=self._wait_s())
            except queue.Empty:
                event = None
            else:
                if event is None:
                    return
            now_ns = self._clock.monotonic_ns()
            if event is not None:
                self.take(event, now_ns)
            for alert, about in self.due(now_ns):
                self._call(alert, about, now_ns)

    def _wait_s(self) -> float | None:
        if not self._pending:
            return None
        soonest = min(due for due, _, _ in self._pending.values())
        return max(0, soonest - self._clock.monotonic_ns()) / 10**9

    def take(self, event: Event, now_ns: int) -> None:
        """Note what an event begins and ends."""
        for alert in self._cleared.get(event.name, ()):
            self._pending.pop((alert.name, _about(alert, event)), None)
        for alert in self._raised.get(event.name, ()):
            if event.level >= alert.level:
                key = alert.name, _about(alert, event)
                self._pending.setdefault(key, (now_ns + alert.for_s * 10**9, alert, event))

    def due(self, now_ns: int) -> list[tuple[Alert, Event]]:
        """What has lasted long enough; each is given once."""
        found = [key for key, (due, _, _) in self._pending.items() if due <= now_ns]
        return [self._pending.pop(key)[1:] for key in found]

    def _call(self, alert: Alert, event: Event, now_ns: int) -> None:
        if not self.may_call(alert, event, now_ns):
            return
        text = self.text(alert, event)
        self.problem = run(self._command, text)
        if self.problem:
            self._complain(f"nobody was called, {self.problem}: {text}")

    def may_call(self, alert: Alert, event: Event, now_ns: int) -> bool:
        """Not the same twice within the throttle time, and not a storm of one name."""
        key = alert.name, _about(alert, event)
        since = now_ns - self._throttle_ns
        recent = [at for at in self._called.get(alert.name, ()) if at > since]
        if self._called_about.get(key, since) > since or len(recent) >= BURST:
            self._kept_back[alert.name] = self._kept_back.get(alert.name, 0) + 1
            self._called[alert.name] = recent
            return False
        self._called[alert.name] = [*recent, now_ns]
        self._called_about = {k: at for k, at in self._called_about.items() if at > since}
        self._called_about[key] = now_ns
        return True

    def text(self, alert: Alert, event: Event) -> str:
        """One line: severity, whose, what, what to do."""
        before = self._kept_back.pop(alert.name, 0)
        more = f" ({before} more of these were not sent)" if before else ""
        return one_line(
            f"{alert.severity} {self._whose}: {alert.name}: {event.text}{more}; {alert.act}"
        )


def _about(alert: Alert, event: Event) -> str:
    if alert.about is About.TRADE:
        return event.trade or str(event.trade_no)
    if alert.about is About.ASSET:
        return event.asset
    if alert.about is About.ALL:
        return ""
    return str(event.fields.get(alert.about.value, ""))


def run(command: str, text: str) -> str:
    """Call the command with one line on its standard input; why that failed, "" when it did not."""
    environment = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    try:
        done = subprocess.run(
            [command],
            check=False,
            input=f"{text}\n".encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            start_new_session=True,
            timeout=COMMAND_LIMIT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as bad:
        return str(bad)
    return f"exit status {done.returncode}" if done.returncode else ""
