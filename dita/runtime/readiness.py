"""The gate for new risk: it is opened and closed here, and nowhere else.

Closed before anything else happens, and again at each gap: CONTROL NOT_READY, journalled, so that
the kernel refuses entries by name whatever else goes on.  Opened by CONTROL READY, when everything
was asked about since.  Exits and holds pass in every state.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from dita.contracts import ControlAction
from dita.runtime.loop import Runtime
from dita.runtime.queries.questions import Access

#: A journal that takes this long is too slow for new risk, until it was quick so many looks long.
SLOW_COMMIT_MS: Final = 2_000
QUICK_LOOKS: Final = 5

Post = Callable[[ControlAction, str], Awaitable[object]]


class Readiness:
    """What has to hold before risk is taken, and whether the kernel was told that it does."""

    def __init__(self, runtime: Runtime, access: Access, post: Post) -> None:
        self._runtime = runtime
        self._access = access
        self._post = post
        #: Was READY the last that the kernel was told?
        self.is_ready = False
        #: The start is over: what it does beyond the questions is done.
        self.is_started = False
        self._gap_no = 1
        self._gap_because = "the start"
        self._healed_no = 0
        self._slow_looks = 0
        self._is_closed = False

    @property
    def gap_no(self) -> int:
        """Number of the newest gap: answers to what was asked before it do not count."""
        return self._gap_no

    async def begin(self) -> None:
        """Close the gate; durable when this returns."""
        await self._post(ControlAction.NOT_READY, "start")

    async def gap(self, because: str) -> None:
        """Something may have gone by unheard: close the gate until everything is asked again."""
        self._gap_no += 1
        self._gap_because = because
        await self.judge()

    def healed(self, gap_no: int) -> None:
        """Orders, positions and balance were all answered to questions asked after that gap."""
        self._healed_no = max(self._healed_no, gap_no)

    def close(self) -> None:
        """From now on the gate stays as it is: the end is near."""
        self._is_closed = True

    def missing(self) -> tuple[str, ...]:
        """What stands between us and new risk, in words; empty when nothing does."""
        found = []
        if self._healed_no < self._gap_no:
            found.append(f"orders, positions and balance not answered since {self._gap_because}")
        elif not self.is_started:
            found.append("the start is not over")
        stream = self._runtime.venue.stream_state()
        if not stream.connected:
            found.append(f"the stream is not connected: {stream.trouble}")
        if self._access.refused_since_ms:
            found.append(f"access is refused: {self._access.words}")
        if self._slow_looks:
            found.append(f"the journal is slow: {self._runtime.commit_latency_ms} ms")
        return tuple(found)

    async def judge(self) -> bool:
        """Open or close the gate as things are now; True when it was moved."""
        self._look_at_the_journal()
        missing = self.missing()
        if self._is_closed or self.is_ready == (not missing):
            return False
        # Set before anything is awaited: a gap in between posts its own, behind this one.
        self.is_ready = not missing
        action = ControlAction.READY if self.is_ready else ControlAction.NOT_READY
        await self._post(action, missing[0] if missing else "everything is answered")
        return True

    def _look_at_the_journal(self) -> None:
        if self._runtime.commit_latency_ms >= SLOW_COMMIT_MS:
            self._slow_looks = QUICK_LOOKS
        elif self._slow_looks:
            self._slow_looks -= 1
