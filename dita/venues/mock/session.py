"""One listener's stream of the mock venue: frames that wait, and whether it was lost."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from dita.contracts import VenueEvent


class Session:
    """One listener's stream: frames that wait, and whether it was lost."""

    def __init__(self) -> None:
        self._frames: deque[VenueEvent] = deque()
        self._news = asyncio.Event()
        self.ended = False

    def put(self, frame: VenueEvent) -> None:
        """A frame arrives."""
        self._frames.append(frame)
        self._news.set()

    def end(self) -> None:
        """The stream is lost; what has arrived can still be read."""
        self.ended = True
        self._news.set()

    @property
    def waiting(self) -> int:
        """Frames that nobody has read."""
        return len(self._frames)

    def take(self) -> tuple[VenueEvent, ...]:
        """Every frame that waits, at once."""
        taken = tuple(self._frames)
        self._frames.clear()
        return taken

    async def read(self) -> AsyncIterator[VenueEvent]:
        """The frames one by one, until the stream is lost."""
        while True:
            while self._frames:
                yield self._frames.popleft()
            if self.ended:
                return
            self._news.clear()
            await self._news.wait()
