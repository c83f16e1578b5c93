"""Answer one request in the place of a serve that does not run.

The same factory recovers the journal as `serve --once` does, and the same verb answers; the lock of
the state directory keeps a serve away meanwhile.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from dita.clock import MachineClock
from dita.contracts import VenueOrderStatus
from dita.errors import NotRunning, VenueError
from dita.runtime.node import JOURNAL_FOLDER, Node
from dita.runtime.server.serve import ControlCommands
from dita.runtime.world import World
from dita.settings import Settings

#: Over the longest absence proof of a recovery.
START_PATIENCE_S: Final = 30

#: ControlCommands that may be the first ever in a state directory.
BEGINS: Final = ("smoke",)

T = TypeVar("T")


def check_there(directory: Path, verb: str) -> None:
    """NotRunning when there is no journal to visit.

    Only ``BEGINS`` make one where there is none: a mistyped folder must not answer that nothing
    differs.
    """
    if verb not in BEGINS and not (directory / JOURNAL_FOLDER).is_dir():
        raise NotRunning(
            "nothing to look at",
            expected=f"a running serve, or its journal in {directory}",
            found="neither",
            action="name the --state-dir of the serve that you mean",
        )


def visit(
    settings: Settings,
    directory: Path,
    clock: MachineClock,
    request: dict[str, Any],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """The answer of a verb, from a node of our own; nothing stays behind of a trial.

    VenueError, RefusedForSafety, OperatorError as the verb raises them; AlreadyRunning when a serve
    is just starting.
    """
    if (directory / JOURNAL_FOLDER).is_dir():
        say("serve is not running: recovering its journal here")
    elif request.get("dry_run"):
        with tempfile.TemporaryDirectory(prefix="pink-") as elsewhere:
            return asyncio.run(_visit(settings, Path(elsewhere), clock, request, say))
    return asyncio.run(_visit(settings, directory, clock, request, say))


async def _visit(
    settings: Settings,
    directory: Path,
    clock: MachineClock,
    request: dict[str, Any],
    say: Callable[[str], None],
) -> dict[str, Any]:
    node = Node(settings, directory, World.of_machine(clock))
    try:
        fence_s = settings.venue.absence_fence_s + settings.venue.recv_window_ms // 1_000
        await _or_failure(node, _started(node, say, START_PATIENCE_S + fence_s))
        verb = ControlCommands(node).table()[request["verb"]]
        answer = await _or_failure(node, verb(request))
        await _answers_in(node, settings.runtime.drain_limit_s)
        await node.service.close()
        await node.log.snapshot()
        return answer
    finally:
        node.budget.take_back()  # a visit is no serve: it must not look like a crash loop
        await node.service.close()
        node.close()


async def _started(node: Node, say: Callable[[str], None], limit_s: int) -> None:
    try:
        await asyncio.wait_for(_recovered(node, say), limit_s)
    except TimeoutError as silent:
        raise VenueError(
            "the exchange does not answer",
            expected=f"every question of the recovery answered within {limit_s} s",
            found="questions that fail or stay open",
            action="nothing was assumed; try again, or look at the exchange",
        ) from silent


async def _recovered(node: Node, say: Callable[[str], None]) -> None:
    await node.start(say, stay=False)
    await node.service.poller.positions(
        journal_all=True
    )  # a close from outside is booked as a serve would


async def _or_failure(node: Node, work: Awaitable[T]) -> T:
    """Await work; a failure in the background ends it."""
    task = asyncio.ensure_future(work)
    failure = asyncio.ensure_future(node.runtime.failure())
    await asyncio.wait({task, failure}, return_when=asyncio.FIRST_COMPLETED)
    failure.cancel()
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        failure.result()
    return await task


async def _answers_in(node: Node, limit_s: int) -> None:
    """Wait for answers to what was sent, so that we leave nothing unknown that need not be."""
    limit_ns = node.clock.monotonic_ns() + limit_s * 10**9
    open_answers = (VenueOrderStatus.REQUESTED, VenueOrderStatus.UNKNOWN)
    while node.clock.monotonic_ns() < limit_ns:
        if all(o.status not in open_answers for o in node.runtime.engine.kernel.open_orders()):
            return
        await asyncio.sleep(0.05)
