"""The world that a node lives in: clocks, disk, commits, chance, and the ways to the network.

Everything that a node would otherwise take from the machine comes in through this one record, so a
simulation replaces it whole.  It makes nothing by itself; `Node` uses it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from random import SystemRandom
from typing import TYPE_CHECKING, Protocol

from dita.clock import Clock, MachineClock, SystemClock
from dita.journal import Disk, GroupCommit, Journal, OsDisk
from dita.journal.latency import CommitLatency
from dita.journal.taking import Beside

if TYPE_CHECKING:
    import httpx

    from dita.venues.bingx.stream.socket import Connect


class Commit(Protocol):
    """Makes what was appended durable; `GroupCommit` on a machine."""

    journal: Journal
    #: Told when the high-water mark could not be made durable: everything has to end then.
    on_failure: Callable[[BaseException], None]

    async def commit(self) -> int:
        """Wait until everything appended before this call is durable; up to where it is then."""

    def latency(self) -> CommitLatency:
        """How long commits have taken lately."""

    def close(self) -> None:
        """End; what was not committed stays with the journal."""


@dataclass(frozen=True, slots=True)
class World:
    """What a node takes from outside.  ``World.of_machine()`` is the real one.

    ``draw(n)`` gives a number below ``n``; ``identity`` the 16 bytes of a new journal; ``beside``
    runs blocking work beside the loop.  ``transport`` and ``connect_to`` are
    None for the network itself.
    """

    clock: MachineClock
    disk: Disk
    commit: Callable[[Journal, Clock], Commit]
    draw: Callable[[int], int]
    identity: Callable[[], bytes]
    beside: Beside = asyncio.to_thread
    transport: Callable[[], httpx.AsyncBaseTransport] | None = None
    connect_to: Connect | None = None

    @classmethod
    def of_machine(cls, clock: MachineClock | None = None) -> World:
        """This machine, with its own clocks or those of a test."""
        return cls(
            clock=clock or SystemClock(),
            disk=OsDisk(),
            commit=lambda journal, clock: GroupCommit(journal, clock=clock),
            draw=SystemRandom().randrange,
            identity=lambda: os.urandom(16),
        )
