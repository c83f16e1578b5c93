"""The chronicle of a running serve: it listens to the runtime and says what happens.

Inputs are put into words when they are applied and told when they are durable; what the runtime
goes through is noted in the journal and told at once.  The runtime knows it only as a listener, and
nothing that goes wrong in here reaches it.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from dita.clock import Clock
from dita.contracts import KernelIntent
from dita.engine import Engine, Outcome
from dita.errors import DitaError
from dita.journal import Note
from dita.runtime.alarms import Alarm
from dita.runtime.eventlog.alerts import Alerter
from dita.runtime.eventlog.event import Event, EventName, Level
from dita.runtime.eventlog.output import Output
from dita.runtime.eventlog.teller import Teller
from dita.runtime.loop import Input, RunState, Runtime
from dita.runtime.state.quarantine import Quarantine

#: Words that wait for their commit; more only when something is badly wrong.
PENDING_MAX = 65_536


class Chronicle:
    """What is told of one runtime: into the log, to the alerts, and as notes into the journal."""

    def __init__(self, clock: Clock, output: Output, *, trace: bool, detail: bool) -> None:
        self._now_ms = clock.now_ms
        self.output = output
        self.alerter: Alerter | None = None
        self._trace = trace
        self._detail = detail
        self._teller: Teller | None = None
        self._namespace = ""
        self._journal_note: Callable[[Note], int] | None = None
        self._pending: deque[tuple[Outcome, tuple[Event, ...]]] = deque(maxlen=PENDING_MAX)
        #: What took an input out of the state, in words; told in that input's place.
        self._aside: tuple[Event, ...] = ()
        self._gap_ms = 0
        #: What could not be put into words.
        self.failures = 0

    def attach(
        self,
        runtime: Runtime,
        journal_note: Callable[[Note], int],
        quarantine: Quarantine | None = None,
    ) -> None:
        """Listen to a runtime.  ``journal_note`` appends to its journal."""
        engine: Engine = runtime.engine
        self._teller = Teller(engine, trace=self._trace, detail=self._detail)
        self._namespace = engine.kernel.config.namespace
        self._journal_note = journal_note
        runtime.on_applied.append(self.applied)
        runtime.publishers.append(self)
        runtime.on_state.append(self.entered)
        runtime.alarms.listeners.append(self.alarmed)
        self._now_ms = runtime.time.now_ms  # that of the inputs, whatever the wall clock does
        if quarantine is not None:
            quarantine.listen(self.set_aside)
            self._tell_aside()  # of the recovery

    # -- inputs ------------------------------------------------------------------------------------

    def applied(self, record: Input, outcome: Outcome) -> None:
        """An input was applied: put it into words while the kernel stands as it left it."""
        aside, self._aside = self._aside, ()
        self._pending.append((outcome, aside or self._words(record, outcome)))

    def set_aside(self, control: KernelIntent, outcome: Outcome, seq: int) -> None:
        """An input was taken out of the state by a record of its own: that one is told."""
        self._aside += tuple(replace(e, seq=seq) for e in self._words(control, outcome))

    def _tell_aside(self) -> None:
        aside, self._aside = self._aside, ()
        for event in aside:
            self._tell(event)

    def publish(self, record: Input, outcome: Outcome, seq: int) -> None:
        """It is durable: tell it."""
        if self._pending and self._pending[0][0] is outcome:
            _, events = self._pending.popleft()
        else:  # refused before it was applied
            events = self._words(record, outcome)
        for event in events:
            self._tell(replace(event, seq=event.seq or seq))

    def _words(self, record: Input, outcome: Outcome) -> tuple[Event, ...]:
        if self._teller is None:
            return ()
        try:
            return self._teller.tell(record, outcome)
        except Exception as bad:  # noqa: BLE001 - words must not stop what they are about
            self.failures += 1
            return (self._event(EventName.LOG, f"an input has no words: {bad!r}", Level.ERROR),)

    # -- what the runtime goes through -------------------------------------------------------------

    def entered(self, state: RunState, why: str) -> None:
        """The run state changed."""
        if state is RunState.DEGRADED:
            self._gap_ms = self._now_ms()
            self.note("GAP", why=why)
        elif self._gap_ms and state in (RunState.READY, RunState.HOLD):
            after_ms, self._gap_ms = self._now_ms() - self._gap_ms, 0
            self.note("HEALED", after_ms=max(0, after_ms))
        self.note("STATE", to=state.name, namespace=self._namespace, why=why)

    def alarmed(self, alarm: Alarm) -> None:
        """Something that serve needs does not work, or works again."""
        self.note("ALARM_ENDED" if alarm.ended else "ALARM", alarm=alarm.name, text=alarm.text)

    def note(self, name: str, **fields: str | int) -> None:
        """Note something that no input says, in the journal and in the log."""
        used = {key: value for key, value in fields.items() if value != ""}
        note, seq = Note(self._now_ms(), name, used), 0
        if self._journal_note is not None:
            # A journal that takes nothing more ends serve by itself, with its own words.
            with contextlib.suppress(DitaError):
                seq = self._journal_note(note)
        teller = self._teller
        for event in teller.note(note, seq) if teller is not None else ():
            self._tell(event)

    def say(self, line: str, level: Level = Level.INFO) -> None:
        """Something for the log alone."""
        self._tell(self._event(EventName.TALK, line, level))

    def status(self) -> dict[str, Any]:
        """How the log and the alerts do, for status."""
        return {
            "lost_lines": self.output.lost,
            "trouble": self.output.trouble,
            "without_words": self.failures,
            "alerts": "off" if self.alerter is None else self.alerter.problem or "ok",
        }

    def complain(self, problem: str) -> None:
        """An alert that could not be sent; told in the log, and not as an alert."""
        self.output.put(self._event(EventName.ALERT, problem, Level.ERROR))

    def _event(self, name: EventName, text: str, level: Level, **fields: Any) -> Event:
        return Event(time_ms=self._now_ms(), name=name, level=level, text=text, fields=fields)

    def _tell(self, event: Event) -> None:
        self.output.put(event)
        if self.alerter is not None:
            self.alerter.hear(event)

    def close(self) -> None:
        """Last lines and last alerts, within a few seconds."""
        self._tell_aside()  # if its process ends because of it
        if self.alerter is not None:
            self.alerter.close()
        self.output.close()
