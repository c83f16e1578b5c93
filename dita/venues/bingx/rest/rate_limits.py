"""How many requests may still go out: one window per endpoint and per group, and learned blocks.

Limits are the exchange's per-account and per-address numbers (dossier §1.5).  A question waits for
its turn and is counted when it had to; what closes risk is counted too but never waits.  It knows
endpoints by their limits only and reads no clock but the one it is given.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final, NamedTuple

from dita.clock import Clock
from dita.venues import QueryFailed

#: Requests travel: what left 1 s apart may arrive closer together.
TRAVEL_MS: Final = 100
#: A block is believed for no longer: the exchange's own end after 5 or 8 minutes.
BLOCK_MAX_MS: Final = 600_000
#: A question that waits longer for its turn has failed.
WAIT_MAX_MS: Final = 10_000
#: Twenty equal errors of an endpoint within this time, and the exchange blocks it (dossier §1.5).
ERRORS_WINDOW_MS: Final = 480_000
#: From so many on whatever can do without the endpoint does; the rest is for what cannot.
ERRORS_MANY: Final = 14
#: Questions leave this part of a group's window to orders and cancels.
QUESTIONS_SHARE_PERCENT: Final = 80
#: So many requests of an endpoint's window a process leaves in its first second to one that ended
#: just before.
LEFT_TO_OTHERS: Final = 3


class Group(Enum):
    """Requests that share one limit per address."""

    MARKET = 1
    ACCOUNT = 2
    TRADE = 3


#: How many requests in how many ms.
_GROUP_LIMITS: Final = {
    Group.MARKET: (500, 10_000),
    Group.ACCOUNT: (2_000, 10_000),
    Group.TRADE: (2_000, 10_000),
}


class Limit(NamedTuple):
    """An endpoint's own limit per account: so many requests per second."""

    name: str
    group: Group
    per_second: int


class _Window:
    """The times of the newest requests: exact for every stretch of the window's length."""

    def __init__(self, count: int, window_ms: int) -> None:
        self.count = count
        self.window_ms = window_ms + TRAVEL_MS
        self._times: deque[int] = deque(maxlen=count)

    def wait_ms(self, now_ms: int, count: int) -> int:
        """Time until fewer than ``count`` requests lie within the window."""
        if len(self._times) < count:
            return 0
        return max(0, self._times[-count] + self.window_ms - now_ms)

    def spend(self, now_ms: int) -> None:
        self._times.append(now_ms)


class Budget:
    """What may go out now.  Counters: requests, waits and waited milliseconds per endpoint."""

    def __init__(
        self, clock: Clock, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._windows: dict[str, _Window] = {}
        self._groups = {group: _Window(*_GROUP_LIMITS[group]) for group in Group}
        self._blocked_until_ms: dict[str, int] = {}
        self.requests_total: Counter[str] = Counter()
        #: Questions that came later than they were asked for: an alarm, as a cadence suffers.
        self.waits_total: Counter[str] = Counter()
        self.waited_ms_total: Counter[str] = Counter()
        self.blocks_total: Counter[str] = Counter()
        self._errors: dict[tuple[str, int], deque[int]] = {}
        self._taken_over_ms: int | None = None

    def take_over(self) -> None:
        """From now on as after a restart: others of this account may have just asked.

        Three starts within a second would have the exchange block an endpoint for minutes.
        """
        self._taken_over_ms = self._now_ms()

    def _now_ms(self) -> int:
        return self._clock.monotonic_ns() // 1_000_000

    # -- learned blocks ----------------------------------------------------------------------------

    def block(self, limit: Limit, duration_ms: int) -> None:
        """The exchange refuses this endpoint for so long, as it said."""
        until_ms = self._now_ms() + min(duration_ms, BLOCK_MAX_MS)
        self.blocks_total[limit.name] += 1
        self._blocked_until_ms[limit.name] = max(
            until_ms, self._blocked_until_ms.get(limit.name, until_ms)
        )

    def blocked_ms(self, limit: Limit) -> int:
        """How long the endpoint stays blocked; 0 when it is not."""
        return max(0, self._blocked_until_ms.get(limit.name, 0) - self._now_ms())

    # -- equal errors ------------------------------------------------------------------------------

    def note_error(self, limit: Limit, code: int) -> None:
        """An answer with an error: equal ones are what the exchange counts."""
        times = self._errors.setdefault((limit.name, code), deque(maxlen=32))
        times.append(self._now_ms())

    def equal_errors(self, limit: Limit) -> dict[int, int]:
        """Returns how often each code came from an endpoint within the exchange's window."""
        oldest_ms = self._now_ms() - ERRORS_WINDOW_MS
        found = {}
        for (name, code), times in list(self._errors.items()):
            while times and times[0] <= oldest_ms:
                times.popleft()
            if not times:
                del self._errors[name, code]
            elif name == limit.name:
                found[code] = len(times)
        return found

    def is_near_block(self, limit: Limit, many: int = ERRORS_MANY) -> bool:
        """Returns whether one code came so often that a few more would block the endpoint."""
        return max(self.equal_errors(limit).values(), default=0) >= many

    def told(self) -> dict[str, dict[str, int]]:
        """The counters and the blocks that still last, by endpoint, for an operator."""
        now_ms = self._now_ms()
        names = sorted({name for name, _ in self._errors})
        most = {name: self.equal_errors(Limit(name, Group.TRADE, 1)) for name in names}
        return {
            "equal_errors": {name: max(found.values()) for name, found in most.items() if found},
            "requests": dict(sorted(self.requests_total.items())),
            "waits": dict(sorted(self.waits_total.items())),
            "waited_ms": dict(sorted(self.waited_ms_total.items())),
            "blocks": dict(sorted(self.blocks_total.items())),
            "blocked_ms": {
                name: until_ms - now_ms
                for name, until_ms in sorted(self._blocked_until_ms.items())
                if until_ms > now_ms
            },
        }

    # -- turns -------------------------------------------------------------------------------------

    def wait_ms(
        self,
        limit: Limit,
        share_percent: int = 100,
        group_percent: int = QUESTIONS_SHARE_PERCENT,
    ) -> int:
        """Time until there is room.

        The percentages are the usable parts of the endpoint's own window and of its group's.
        """
        now_ms = self._now_ms()
        own = self._window(limit)
        group = self._groups[limit.group]
        return max(
            own.wait_ms(now_ms, max(1, own.count * share_percent // 100)),
            group.wait_ms(now_ms, group.count * group_percent // 100),
        )

    async def sleep(self, wait_ms: int) -> None:
        """Let time pass."""
        await self._sleep(wait_ms / 1_000)

    def spend(self, limit: Limit) -> None:
        """One request goes out."""
        now_ms = self._now_ms()
        self.requests_total[limit.name] += 1
        self._window(limit).spend(now_ms)
        self._groups[limit.group].spend(now_ms)

    async def question(self, limit: Limit) -> None:
        """Wait for the turn of a question and take it.  QueryFailed when it is too far away."""
        if blocked_ms := self.blocked_ms(limit):
            raise QueryFailed(
                "the exchange has blocked this question",
                expected="no rate limit",
                found=f"{limit.name} blocked for another {blocked_ms} ms",
                action="ask again later",
            )
        waited_ms = 0
        while wait_ms := self.wait_ms(limit):
            if not waited_ms:
                self.waits_total[limit.name] += 1
            waited_ms += wait_ms
            self.waited_ms_total[limit.name] += wait_ms
            if waited_ms > WAIT_MAX_MS:
                raise QueryFailed("too many questions", found=f"{limit.name} waited {waited_ms} ms")
            await self.sleep(wait_ms)
        self.spend(limit)

    def _window(self, limit: Limit) -> _Window:
        window = self._windows.get(limit.name)
        if window is None:
            window = self._windows[limit.name] = _Window(limit.per_second, 1_000)
            if self._taken_over_ms is not None:
                for _ in range(min(LEFT_TO_OTHERS, limit.per_second - 1)):
                    window.spend(self._taken_over_ms)
        return window
