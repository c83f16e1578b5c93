"""The stream, its gaps, and what a gap leads to: closed gate, everything asked again, open gate.

Anything that may have gone by unheard is a gap, whatever its cause: a lost stream, a process that
stood still, access that was refused.  One healer asks about everything after the newest of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from dita.contracts import KernelEventKind, VenueEvent
from dita.errors import SettingsError, VenueError
from dita.runtime.loop import RunState, Runtime
from dita.runtime.queries.order_query import OrderQuery
from dita.runtime.readiness import Readiness
from dita.runtime.recovery import Recovery
from dita.runtime.relevance import Strangers
from dita.venues import AccessRefused

RECONNECT_MIN_S: Final = 0.2
RECONNECT_MAX_S: Final = 10.0
#: While access is refused one question a minute tries it, with the keys read again.
ACCESS_EVERY_S: Final = 60.0
#: Between looks at whether new risk may be taken.
JUDGE_S: Final = 1.0
#: A stream that is lost for so long is an alarm.
STREAM_ALARM_MS: Final = 30_000


class Gaps:
    """Hears the stream of one runtime and heals what it missed."""

    def __init__(
        self,
        runtime: Runtime,
        order_query: OrderQuery,
        recovery: Recovery,
        readiness: Readiness,
        on_ready: Callable[[], None],
    ) -> None:
        self.runtime = runtime
        self.order_query = order_query
        self.recovery = recovery
        self.readiness = readiness
        self.strangers = Strangers(runtime.engine)
        #: Set once everything was answered for the first time.
        self.first_healed = asyncio.Event()
        self._on_ready = on_ready
        self._unhealed = asyncio.Event()
        self._stream_lost_ms = 0
        runtime.on_applied.append(self.strangers.note)

    # -- hearing -----------------------------------------------------------------------------------

    async def stream(self) -> None:
        """Read the stream for ever; after each gap everything is asked before it is trusted."""
        wait_s = RECONNECT_MIN_S
        while True:
            began_ms = self.runtime.time.now_ms()
            try:
                async for event in self.runtime.venue.events():
                    await self._take(event)
            except VenueError:
                pass  # the same as an end of the stream: counted below, and healed by asking
            if self.runtime.state is RunState.DRAINING:
                return
            await self.gap("a gap of the stream")
            if self.runtime.time.now_ms() - began_ms > 1_000 * RECONNECT_MAX_S:
                wait_s = RECONNECT_MIN_S
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, RECONNECT_MAX_S)

    async def _take(self, event: VenueEvent) -> None:
        """Hand an event to the loop, unless it is certain to change nothing."""
        if event.kind is KernelEventKind.POSITION and self.order_query.answers.says_nothing_new(
            event
        ):
            return
        if not self.strangers.drops(event):
            await self.runtime.post(event)

    async def gap(self, because: str) -> None:
        """Something may have gone by unheard: no new risk until everything was asked again."""
        await self.readiness.gap(because)
        self._unhealed.set()
        if self.readiness.is_started and self.runtime.state is not RunState.DRAINING:
            self.runtime.enter(RunState.DEGRADED, because)

    # -- healing -----------------------------------------------------------------------------------

    async def heal(self) -> None:
        """Now and after each gap ask about everything, once at a time."""
        self._unhealed.set()
        while True:
            await self._unhealed.wait()
            self._unhealed.clear()
            gap_no = self.readiness.gap_no
            was_connected = self.runtime.venue.stream_state().connected
            await self.recovery.reconcile()
            if not was_connected:
                # What happened between the questions and the first frame would be missed.
                await self._until_connected()
                self._unhealed.set()
                continue
            self.readiness.healed(gap_no)
            self.first_healed.set()
            await self.judged()

    async def _until_connected(self) -> None:
        while not self.runtime.venue.stream_state().connected and not self._unhealed.is_set():
            await asyncio.sleep(RECONNECT_MIN_S)

    async def judge(self) -> None:
        """Look regularly at what may close the gate by itself, and at the stream's silence."""
        while True:
            await asyncio.sleep(JUDGE_S)
            await self.judged()
            self._watch_stream()

    async def judged(self) -> None:
        """Open or close the gate as things are now, and show it."""
        moved = await self.readiness.judge()
        if self.readiness.is_ready:
            if self.runtime.state in (RunState.RECONCILING, RunState.DEGRADED):
                self._on_ready()
        elif moved:
            self.runtime.enter(RunState.DEGRADED, "; ".join(self.readiness.missing()))

    def _watch_stream(self) -> None:
        stream, now_ms = self.runtime.venue.stream_state(), self.runtime.time.now_ms()
        if stream.connected or not self.readiness.is_started:
            self._stream_lost_ms = 0
            self.runtime.alarms.end("stream")
            return
        self._stream_lost_ms = self._stream_lost_ms or now_ms
        if (lost_ms := now_ms - self._stream_lost_ms) >= STREAM_ALARM_MS:
            text = f"lost for {lost_ms // 1_000} s: {stream.trouble}; entries are refused"
            self.runtime.alarms.begin("stream", text)

    async def regain_access(self) -> None:
        """While the venue refuses us: read the keys again and ask one question, once a minute."""
        access, venue = self.order_query.questions.access, self.runtime.venue
        while True:
            await access.is_refused.wait()
            await asyncio.sleep(ACCESS_EVERY_S)
            if not access.refused_since_ms:
                continue
            try:
                await venue.renew_access()
                await venue.balance()
            except (AccessRefused, SettingsError) as refused:
                access.refused(refused)
            except VenueError:
                continue  # no answer says nothing about access
            else:
                access.granted()
                await self.gap("refused access")
