"""A real serve on a disk that dies, errs or is full: what was not journalled was not sent.

Kills and errors come from strace at real system calls, a full disk is a small file system of its
own.  The session and the comparison are those of the restart parity.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support.serve_driver import (
    CANCEL,
    ENTER,
    EXIT,
    FET,
    TRX,
    Gone,
    Left,
    Serve,
    Strace,
    entry,
    fill,
    fill_up,
    left_by,
    played,
    rests,
    shows,
    small_disk,
    venue_at,
)

from dita.venues.mock import MockVenue

JOURNAL = 74
EVERYTHING = 2**63 - 1


@cache
def traces() -> bool:
    """May this machine trace a process?"""
    if not shutil.which("strace"):
        return False
    return not subprocess.run(["strace", "-o", "/dev/null", "true"], check=False).returncode


needs_strace = pytest.mark.skipif(not traces(), reason="needs strace and the right to trace")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, as a socket's path may have 107 bytes only."""
    with tempfile.TemporaryDirectory(prefix="pink") as name:
        yield Path(name)


async def beside(folder: Path, *plans: Strace) -> tuple[Left, Left]:
    """The end of a disturbed session, and of one in which the venue loses the same orders."""
    return await asyncio.gather(played(folder / "a", *plans), played(folder / "b"))


# strace counts by thread; the journal's thread writes at least the first 16 batches.


@needs_strace
@pytest.mark.parametrize(
    "inject",
    [
        "fdatasync:signal=KILL:when=1",
        "fdatasync:signal=KILL:when=6",
        "fdatasync:signal=KILL:when=13",
        "pwrite64:signal=KILL:when=2",
        "pwrite64:signal=KILL:when=7",
        "pwrite64:signal=KILL:when=12",
        "fsync:signal=KILL:when=2",
        "rename:signal=KILL:when=3",
    ],
)
def test_kill_9_at_a_system_call_of_a_real_serve(folder: Path, inject: str) -> None:
    left, undisturbed = asyncio.run(beside(folder, Strace(inject)))
    assert left.kills == 1
    assert (left.orders, left.wallet) == (undisturbed.orders, undisturbed.wallet)
    if not left.lost:
        assert left.economic_hash == undisturbed.economic_hash


@needs_strace
@pytest.mark.parametrize(
    "inject",
    [
        "fdatasync:error=EIO:when=12",
        "fdatasync:error=ENOSPC:when=9",
        "pwrite64:error=EIO:when=11",
    ],
)
def test_an_error_of_the_disk_ends_serve_at_once(folder: Path, inject: str) -> None:
    """74, the way out, no second try, nothing sent after it; and a restart ends like no error."""
    trace = folder / "trace"
    left, undisturbed = asyncio.run(beside(folder, Strace(inject, JOURNAL, str(trace))))
    assert left.kills == 1
    assert (left.orders, left.wallet) == (undisturbed.orders, undisturbed.wallet)
    calls = [line for line in trace.read_text().splitlines() if "journal" in line or "(" in line]
    failed = next(i for i, line in enumerate(calls) if "(INJECTED)" in line)
    assert not [line for line in calls[failed + 1 :] if "fdatasync(" in line or "pwrite64(" in line]


def assert_names_the_way_out(serve: Serve) -> None:
    """As it has to be typed here."""
    (line,) = (line for line in serve.last_words.splitlines() if line.startswith("next: "))
    assert "pink-ctl flatten" in line and "--emergency" in line, line
    assert f"--config {serve.config}" in line, line


@needs_strace
def test_the_way_out_is_told_when_the_journal_fails(folder: Path) -> None:
    async def scene(serve: Serve, venue: MockVenue) -> None:
        assert not serve.plans
        serve.plans = [Strace("fdatasync:error=EIO:when=4", JOURNAL)]
        await opened(serve, venue)
        if not serve.kills:
            await until_it_dies(serve)
        assert "a failed sync" in serve.last_words
        assert_names_the_way_out(serve)

    on_a_serve(folder, scene)


# -- a full disk -----------------------------------------------------------------------------------


def on_a_serve(folder: Path, scene: Callable[[Serve, MockVenue], Awaitable[None]]) -> Left:
    """A scene that ends flat and stopped."""

    async def play() -> Left:
        async with venue_at(folder / "venue.sock") as venue:
            serve = Serve(folder, folder / "venue.sock", venue)
            try:
                await scene(serve, venue)
                await serve.intent("all-out", EXIT, trade_id="T1", quantity_e8=EVERYTHING)
                await serve.until("all out", shows())
                await serve.until("final", lambda record: not record["open_orders"])
                await serve.stop()
            finally:
                await serve.kill()
            return left_by(serve, venue)

    return asyncio.run(play())


async def opened(serve: Serve, venue: MockVenue) -> None:
    await serve.intent("enter-1", ENTER, **entry("T1", FET, -1, "1000", "0.55"))
    await serve.patiently("T1 rests", lambda: rests(serve, venue, FET))
    await fill(venue, FET, "1000")
    await serve.until("T1", shows(T1=("POSITION_OPEN", "1000")))


async def chatter(serve: Serve, prefix: str, until: Callable[[], Awaitable[bool]]) -> int:
    """Intents that are journalled and refused, until something is so; how many."""
    for number in range(1_000):
        if await until():
            return number
        body = {"command": CANCEL, "intent_id": f"{prefix}-{number}", "trade_id": "nobody"}
        answer = await serve.call(verb="intent", intent=body, operator="test", reason="test")
        assert not answer["accepted"]
    raise AssertionError("a thousand records fit")


async def until_it_dies(serve: Serve) -> None:
    """Of a journal that takes no more."""

    async def never() -> bool:
        return False

    serve.code = JOURNAL
    with pytest.raises(Gone):
        await chatter(serve, "a", never)


def test_on_a_full_disk_entries_stop_and_exits_go_on(folder: Path) -> None:
    """The reserve is for exits.  When there is room again, a person resumes, and it is kept again.

    Were it not, the next full disk would be noticed when nothing is left for an exit.
    """

    async def scene(serve: Serve, venue: MockVenue) -> None:
        await opened(serve, venue)
        filler = fill_up(serve.state)
        await chatter(serve, "a", lambda: held(serve))
        refused = await serve.call(
            verb="intent", operator="test", reason="test",
            intent={"command": ENTER, "intent_id": "x", **entry("T2", TRX, 1, "500", "0.25")},
        )  # fmt: skip
        assert refused["code"] == "ENTRIES_FROZEN"
        await serve.intent("exit-1", EXIT, trade_id="T1")
        await serve.until("half out", shows(T1=("POSITION_OPEN", "500")))
        still = await serve.ask(verb="resume", operator="test", reason="too early")
        assert (still["ok"], "still full" in still["message"]) == (False, True)
        assert await held(serve)
        filler.unlink()
        await serve.call(verb="resume", operator="test", reason="room again")
        assert not await held(serve)
        filler = fill_up(serve.state)
        await chatter(serve, "b", lambda: held(serve))
        filler.unlink()

    with small_disk(folder / "state", "300k"):
        left = on_a_serve(folder, scene)
    assert (left.kills, len(left.orders)) == (0, 3)


async def held(serve: Serve) -> bool:
    record = await serve.status()
    return record["state"] == "HOLD" and "hold" in record["entries_frozen"]


def test_when_the_reserve_is_used_up_too_serve_ends_and_nothing_is_lost(folder: Path) -> None:
    async def scene(serve: Serve, venue: MockVenue) -> None:
        await opened(serve, venue)
        filler = fill_up(serve.state)
        await until_it_dies(serve)
        assert "disk is full" in serve.last_words
        assert_names_the_way_out(serve)
        assert "Traceback" not in serve.last_words
        filler.unlink()

    with small_disk(folder / "state", "300k"):
        left = on_a_serve(folder, scene)
    assert (left.kills, len(left.orders)) == (1, 2)


def test_a_start_without_room_for_the_reserve_holds(folder: Path) -> None:
    """Entries stop first: what is left of the disk is for exits."""

    async def scene(serve: Serve, venue: MockVenue) -> None:
        await opened(serve, venue)
        await serve.kill()
        for reserve in (serve.state / "journal").glob("reserve-*"):
            reserve.unlink()
        filler = fill_up(serve.state)
        with filler.open("r+b") as file:
            file.truncate(filler.stat().st_size - 16_384)
        assert await held(serve)

    with small_disk(folder / "state", "300k"):
        left = on_a_serve(folder, scene)
    assert len(left.orders) == 2


def test_a_start_on_a_full_disk_holds_and_exits(folder: Path) -> None:
    """Nothing can be counted or set aside, but what is open can be closed."""

    async def scene(serve: Serve, venue: MockVenue) -> None:
        await opened(serve, venue)
        await serve.kill()
        fill_up(serve.state)
        assert await held(serve)

    with small_disk(folder / "state", "300k"):
        left: Any = on_a_serve(folder, scene)
    assert len(left.orders) == 2
