"""How the venue is asked: each question counted by name, one in flight per kind, access watched.

Whoever wants something of the venue on the runtime's behalf asks through here, so that a question
that fails again and again is told to a person, and so that a refused key is not asked with again
and again.  It knows names of questions and nothing of their answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from dita.contracts import Record
from dita.errors import VenueError
from dita.runtime.alarms import Alarms
from dita.runtime.loop import Runtime
from dita.venues import AccessRefused, QueryFailed

RETRY_MIN_S: Final = 0.2
RETRY_MAX_S: Final = 5.0
#: A question that has failed so often, for so long, is an alarm.
ALARM_AFTER: Final = 3
ALARM_AFTER_MS: Final = 15_000
ACCESS_ALARM: Final = "access refused"

T = TypeVar("T")


class Failing(Record, frozen=True, kw_only=True):
    """A question without an answer: since when in kernel time, how often, and the last words."""

    name: str
    since_ms: int
    count: int
    words: str


class Access:
    """Does the venue let us in?  While it does not, nothing is asked but now and then by one."""

    def __init__(self, now_ms: Callable[[], int], alarms: Alarms) -> None:
        self._now_ms = now_ms
        self._alarms = alarms
        #: When it was refused first, in kernel time; 0 while it is not.
        self.refused_since_ms = 0
        self.words = ""
        self.is_refused = asyncio.Event()

    def refused(self, error: BaseException) -> None:
        """It was refused, or is still."""
        self.words = str(error)
        if not self.refused_since_ms:
            self.refused_since_ms = self._now_ms()
        self.is_refused.set()
        self._alarms.begin(
            ACCESS_ALARM,
            f"{error}; entries are refused, exits wait for it; mend the key or its files (they are "
            "read again once a minute), or close positions with pink-ctl flatten --emergency",
        )

    def granted(self) -> None:
        """It works."""
        self.refused_since_ms, self.words = 0, ""
        self.is_refused.clear()
        self._alarms.end(ACCESS_ALARM)


class Questions:
    """The questions of one runtime, by name."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.access = Access(runtime.time.now_ms, runtime.alarms)
        self.failing: dict[str, Failing] = {}
        self.failed_total = 0

    async def once(self, name: str, question: Callable[[], Awaitable[T]]) -> T:
        """Ask once.  QueryFailed for no answer, refused access included."""
        if self.access.refused_since_ms:
            raise QueryFailed(f"not asked: {name}", found=self.access.words)
        try:
            answer = await question()
        except AccessRefused as refused:
            self.access.refused(refused)
            raise QueryFailed(f"no answer: {name}", found=str(refused)) from refused
        except VenueError as failed:
            self._failed(name, str(failed))
            if isinstance(failed, QueryFailed):
                raise
            raise QueryFailed(f"no answer: {name}", found=str(failed)) from failed
        if self.failing.pop(name, None) is not None:
            self._runtime.alarms.end(f"question: {name}")
        return answer

    async def until(self, name: str, question: Callable[[], Awaitable[T]]) -> T:
        """Ask with back-off until there is an answer."""
        wait_s = RETRY_MIN_S
        while True:
            try:
                return await self.once(name, question)
            except QueryFailed:
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, RETRY_MAX_S)

    def _failed(self, name: str, words: str) -> None:
        now_ms = self._runtime.time.now_ms()
        known = self.failing.get(name)
        since_ms = known.since_ms if known is not None else now_ms
        count = known.count + 1 if known is not None else 1
        self.failing[name] = Failing(name=name, since_ms=since_ms, count=count, words=words)
        self.failed_total += 1
        if count >= ALARM_AFTER and now_ms - since_ms >= ALARM_AFTER_MS:
            text = f"no answer for {(now_ms - since_ms) // 1_000} s, asked {count} times: {words}"
            self._runtime.alarms.begin(f"question: {name}", text)


class Shared:
    """A question that is in flight once; whoever asks meanwhile shares the next one.

    ``work`` asks once and hands the answer on; QueryFailed is tried again with
    back-off.  ``want`` asks without waiting for the answer, and not sooner than ``pause_s`` after
    the question before: that is for reasons that an answer itself can give.
    """

    def __init__(
        self, runtime: Runtime, name: str, work: Callable[[], Awaitable[None]], pause_s: float = 0.0
    ) -> None:
        self._runtime = runtime
        self._name = name
        self._work = work
        self._pause_s = pause_s
        self._began_s = float("-inf")
        self._waiters: list[asyncio.Future[None]] = []
        self._is_wanted = False
        self._is_running = False
        self._news = asyncio.Event()

    @property
    def is_running(self) -> bool:
        """Is it in flight, or to be asked again soon?"""
        return self._is_running

    async def ask(self) -> None:
        """Wait for the answer to a question that begins after this call."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._start()
        await waiter

    def want(self) -> None:
        """Have it asked soon."""
        self._is_wanted = True
        self._start()

    def _start(self) -> None:
        self._news.set()
        if not self._is_running:
            self._is_running = True
            self._runtime.spawn(self._run(), self._name)

    async def _run(self) -> None:
        wait_s = RETRY_MIN_S
        answered: list[asyncio.Future[None]] = []
        try:
            while True:
                await self._turn()
                answered, self._waiters = self._waiters, []
                self._is_wanted = False
                self._began_s = asyncio.get_running_loop().time()
                try:
                    await self._work()
                except QueryFailed:
                    # Whoever waited waits on; so does what was wanted.
                    self._waiters, self._is_wanted = answered + self._waiters, True
                    await asyncio.sleep(wait_s)
                    wait_s = min(wait_s * 2, RETRY_MAX_S)
                    continue
                for waiter in answered:
                    if not waiter.done():
                        waiter.set_result(None)
                wait_s = RETRY_MIN_S
                if not self._waiters and not self._is_wanted:
                    return
        except BaseException as error:
            for waiter in (*answered, *self._waiters):
                if waiter.done():
                    continue
                if isinstance(error, asyncio.CancelledError):
                    waiter.cancel()
                else:
                    waiter.set_exception(error)
            self._waiters = []
            raise
        finally:
            self._is_running = False

    async def _turn(self) -> None:
        """Wait for the pause after the question before, unless somebody waits for the answer."""
        end_s = self._began_s + self._pause_s
        while not self._waiters and (left_s := end_s - asyncio.get_running_loop().time()) > 0:
            self._news.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._news.wait()
            except TimeoutError:
                return
