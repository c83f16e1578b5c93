"""kill -9 of a real serve at every point of a session, before and after: the same end each time.

A point is a call that changes the disk, or a call of the venue.  A first run counts them, so that
none is missed when the code grows; the same end is the economic hash of the undisturbed run, the
same orders at the venue, none twice and none lost.  An order that died on its way out is sent again
as the next child: then the run in which the venue lost that order is the one to equal.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest
from support.serve_driver import Left, played

from dita.errors import SettingsError
from dita.runtime.failpoints import DISK_CALLS, VARIABLE, VENUE_CALLS, Failpoints
from dita.settings import VenueEnvironment
from dita.venues.mock import Do, Rule, Verb

LONG = os.environ.get("DITA_TESTS") == "long"
#: Serves at a time; each waits for the disk and for the venue much of its time.
ABREAST = 4
PHASES = ("before", "after")
#: The first serve dies with an order on its way; the points of the second are then its recovery.
ON_ITS_WAY = "venue.submit:2:before"
#: Every one of these is tried in the default run: here an order could be doubled or lost.
DANGEROUS = ("venue.submit", "venue.cancel")
WRITE = "disk.pwrite"


class Plan(NamedTuple):
    """Where the first serves die."""

    points: tuple[str, ...]

    def __str__(self) -> str:
        return ", then ".join(self.points)


def counted(path: Path) -> list[str]:
    """The points of a run, in their order."""
    return path.read_text().split()


def every(points: list[str], *first: str) -> list[Plan]:
    """Each point, before and after it."""
    return [
        Plan((*first, f"{name}:{number}:{phase}"))
        for name, count in sorted(Counter(points).items())
        for number in range(1, count + 1)
        for phase in PHASES
    ]


def some(points: list[str]) -> list[Plan]:
    """Each kind of point, before at one third of the session and after at two thirds of it.

    Also every dangerous one, and the journal's writes next to it.
    """
    chosen: dict[Plan, None] = {}
    for name, count in sorted(Counter(points).items()):
        chosen[Plan((f"{name}:{min(1 + count // 3, count)}:before",))] = None
        chosen[Plan((f"{name}:{min(1 + 2 * count // 3, count)}:after",))] = None
    for plan in every(points):
        if plan.points[0].startswith(DANGEROUS):
            chosen[plan] = None
    for place, name in enumerate(points):
        if name in DANGEROUS:
            # The batch, the high-water mark behind it, and what is written after the call.
            written = points[:place].count(WRITE)
            for number in (written - 1, written, written + 1):
                chosen[Plan((f"{WRITE}:{number}:before",))] = None
    return list(chosen)


def some_of_recovery(points: list[str], known: set[str]) -> list[Plan]:
    """Each kind that the session does not have, before and after; of the others one of the two."""
    kinds = sorted(set(points))
    places = [(kind, phase) for kind in kinds if kind not in known for phase in PHASES]
    places += [(kind, PHASES[i % 2]) for i, kind in enumerate(kinds) if kind in known]
    return [Plan((ON_ITS_WAY, f"{kind}:1:{phase}")) for kind, phase in places]


class Ends:
    """Runs sessions, a few abreast, and compares their ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.turn = asyncio.Semaphore(ABREAST)
        self.runs = 0
        self.undisturbed: dict[tuple[int, ...], asyncio.Task[Left]] = {}

    async def run(self, plan: Plan, rules: tuple[Rule, ...] = ()) -> Left:
        self.runs += 1
        folder = self.folder / str(self.runs)
        async with self.turn:
            left = await played(folder, *plan.points, rules=rules)
        shutil.rmtree(folder)
        return left

    async def without(self, lost: tuple[int, ...]) -> Left:
        """The end of a session that nobody kills, in which the venue loses these submits."""
        if lost not in self.undisturbed:
            rules = tuple(Rule(verb=Verb.SUBMIT, do=Do.LOST, nth=1 + n) for n in lost)
            self.undisturbed[lost] = asyncio.ensure_future(self.run(Plan(()), rules))
        return await self.undisturbed[lost]

    async def check(self, plan: Plan) -> str:
        """What is wrong with this end; "" when nothing is."""
        left = await self.run(plan)
        same = await self.without(left.lost)
        deaths = sum(not point.startswith("count:") for point in plan.points)
        if len(left.lost) > deaths or same.lost != left.lost:
            return f"{plan}: lost {left.lost}"
        # An entry that was never sent is another trade when it is entered again after the restart.
        again = left.lost != () and left.orders == same.orders and left.wallet == same.wallet
        if not again and (left.economic_hash, left.orders, left.wallet) != same[:3]:
            return f"{plan}: {left} instead of {same}"
        return "" if left.kills == deaths else f"{plan}: not reached"


async def compared(folder: Path) -> tuple[list[str], str]:
    """Everything that is wrong, and how much was tried."""
    ends = Ends(folder)
    first, second = folder / "first", folder / "second"
    whole = await ends.run(Plan((f"count:{first}",)))
    assert await ends.without(()) == whole
    await ends.run(Plan((ON_ITS_WAY, f"count:{second}")))
    session, recovery = counted(first), counted(second)
    if LONG:
        plans = every(session) + every(recovery, ON_ITS_WAY)
    else:
        plans = some(session) + some_of_recovery(recovery, set(session))
    found = await asyncio.gather(*(ends.check(plan) for plan in plans))
    unreached = [text for text in found if text.endswith("not reached")]
    wrong = [text for text in found if text and text not in unreached]
    # Syncs are shared by what comes in the same moment, so the last ones of a kind may be missing.
    if len(unreached) > len(plans) // 10:
        wrong += unreached
    kinds = set(session) | set(recovery)
    # Only smoke asks for a price, and before it has changed anything; symbols are asked for by
    # commands alone, and keys are read again when access was refused.
    calls = VENUE_CALLS - {"price", "symbols", "renew_access"}
    # Only an import removes a directory.
    disk_calls = DISK_CALLS - {"remove_directory"}
    missing = {f"disk.{name}" for name in disk_calls} | {f"venue.{name}" for name in calls}
    missing -= kinds
    said = (
        f"{2 * len(session)} points in the session, {2 * len(recovery)} in a recovery,"
        f" {len(kinds)} kinds; tried {len(plans)}, not reached {len(unreached)};"
        f" never met: {', '.join(sorted(missing))}"
    )
    assert not missing, said
    return wrong, said


def test_a_kill_at_every_point_ends_like_no_kill(capsys: pytest.CaptureFixture[str]) -> None:
    # A socket's path may have 107 bytes only.
    with tempfile.TemporaryDirectory(prefix="pink") as folder:
        wrong, said = asyncio.run(compared(Path(folder)))
    with capsys.disabled():
        sys.stdout.write(f"\n[restart parity: {said}]")
    assert not wrong, "\n".join([said, *wrong])


# -- the mechanism ---------------------------------------------------------------------------------


def test_failpoints_are_for_nobodys_money() -> None:
    assert Failpoints.of({}, VenueEnvironment.LIVE) is None
    for environment in (VenueEnvironment.LIVE, VenueEnvironment.VST):
        with pytest.raises(SettingsError, match="nobody's money"):
            Failpoints.of({VARIABLE: "venue.submit:1:before"}, environment)
    assert Failpoints.of({VARIABLE: "venue.submit:1:before"}, VenueEnvironment.MOCK)


@pytest.mark.parametrize(
    "text", ["venue.submit", "venue.submit:0:before", "venue.submit:1:never", "count:here", "x:1"]
)
def test_a_failpoint_that_is_misspelt_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=VARIABLE):
        Failpoints(text)


def test_a_failpoint_dies_once_at_its_place() -> None:
    died: list[str] = []
    points = Failpoints("disk.pwrite:2:after", lambda: died.append("dead"))

    class Disk:
        def pwrite(self, data: Iterable[int]) -> int:
            died.append("written")
            return len(list(data))

    disk = points.disk(Disk())  # type: ignore[arg-type]
    for _ in range(3):
        assert disk.pwrite(b"abc") == 3  # type: ignore[call-arg, arg-type]
    assert died == ["written", "written", "dead", "written"]
