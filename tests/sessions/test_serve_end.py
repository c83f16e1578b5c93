"""serve as a process: it ends when it is told to, whatever state it is in; late requests; a restart
while a question fails.

The venue is served by this process, so that it outlives every serve.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.engine_driver import q
from support.serve_driver import COMMAND, ENTER, EXIT, FET, SETTINGS, TRX, entry, venue_at

from dita.clock import SystemClock
from dita.contracts import ControlAction, KernelIntent, OrderSide
from dita.errors import Unforeseen
from dita.journal import JournalReader
from dita.runtime.eventlog.opening import open_chronicle
from dita.runtime.node import Node
from dita.runtime.server.serve import serve
from dita.runtime.state.directory import prepared
from dita.runtime.world import World
from dita.venues.mock import Do, MockVenue, Rule, Verb

GRACE_S = 6.0


class Process:
    """One serve of a folder, and words to speak to it."""

    def __init__(self, folder: Path, socket: Path, drain_limit_s: int = 1) -> None:
        self.state = folder / "state"
        self.config = folder / "pink.toml"
        settings = SETTINGS.format(socket=socket).replace(
            "drain_limit_s = 5", f"drain_limit_s = {drain_limit_s}"
        )
        self.config.write_text(settings)
        self.drain_limit_s = drain_limit_s

    @contextlib.asynccontextmanager
    async def running(self, *command: str) -> AsyncIterator[asyncio.subprocess.Process]:
        words = ("serve", "--config", str(self.config), "--state-dir", str(self.state))
        process = await asyncio.create_subprocess_exec(
            *(command or COMMAND), *words, stderr=asyncio.subprocess.PIPE
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def ask(self, **request: Any) -> dict[str, Any]:
        reader, writer = await asyncio.open_unix_connection(str(self.state / "control.sock"))
        writer.write(json.dumps({"operator": "test", "reason": "test", **request}).encode() + b"\n")
        answer: dict[str, Any] = json.loads(await reader.readline())
        writer.close()
        return answer

    async def intent(self, name: str, command: int, **fields: Any) -> dict[str, Any]:
        body = {"command": command, "intent_id": name, **fields}
        return await self.ask(verb="intent", intent=body)

    async def until(self, what: str, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        end = time.monotonic() + 30
        record: dict[str, Any] = {}
        while time.monotonic() < end:
            with contextlib.suppress(OSError, ValueError):
                record = (await self.ask(verb="status"))["status"]
                if true(record):
                    return record
            await asyncio.sleep(0.05)
        raise AssertionError(f"never: {what}; {record}")

    async def ends(self, process: asyncio.subprocess.Process) -> tuple[int, float]:
        """Code and seconds after SIGTERM."""
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(self.drain_limit_s + GRACE_S + 10):
            code = await process.wait()
        return code, time.monotonic() - began


def is_in(state: str) -> Callable[[dict[str, Any]], bool]:
    return lambda record: bool(record["state"] == state)


def play(folder: Path, scene: Callable[[Process, MockVenue], Awaitable[None]]) -> None:
    async def played() -> None:
        async with venue_at(folder / "venue.sock") as venue:
            await scene(Process(folder, folder / "venue.sock"), venue)

    asyncio.run(asyncio.wait_for(played(), 120))


def market(trade: str, asset: str) -> dict[str, Any]:
    return {**entry(trade, asset, -1, "1000", "0.5"), "order_type": 0, "limit_price_e10": 0}


# -- the end ---------------------------------------------------------------------------------------


def test_sigterm_ends_a_serve_that_reconciles(tmp_path: Path) -> None:
    async def scene(serve: Process, venue: MockVenue) -> None:
        venue.set_script([Rule(verb=Verb.POSITIONS, do=Do.FAIL, times=0)])
        async with serve.running() as process:
            await serve.until("reconciling", is_in("RECONCILING"))
            code, seconds = await serve.ends(process)
            assert code == 0
            assert seconds < serve.drain_limit_s + GRACE_S

    play(tmp_path, scene)


def test_sigterm_ends_a_serve_that_connects(tmp_path: Path) -> None:
    """Somebody listens there, and never says a word."""

    async def played() -> None:
        writers: list[asyncio.StreamWriter] = []
        server = await asyncio.start_unix_server(
            lambda reader, writer: writers.append(writer), tmp_path / "venue.sock"
        )
        serve = Process(tmp_path, tmp_path / "venue.sock")
        async with serve.running() as process:
            await serve.until("connecting", is_in("RECONCILING"))
            code, seconds = await serve.ends(process)
            assert code == 0
            assert seconds < serve.drain_limit_s + GRACE_S
        server.close()
        for writer in writers:
            writer.close()

    asyncio.run(asyncio.wait_for(played(), 60))


#: serve, with a disk that takes its time as soon as a file says how much.
SLOW_DISK = """
import os, runpy, sys, time

sync = os.fdatasync


def slowly(fd):
    try:
        with open(os.environ["SLOW_DISK"]) as file:
            time.sleep(float(file.read()))
    except FileNotFoundError:
        pass
    sync(fd)


os.fdatasync = slowly
runpy.run_module("dita.commands", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(("delay_s", "code"), [(0.5, 0), (3_600, 74)], ids=["slow", "hanging"])
def test_sigterm_ends_a_serve_whose_disk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delay_s: float, code: int
) -> None:
    """A disk that hangs keeps a thread of ours for ever; the process ends all the same."""
    script, delay = tmp_path / "slow_disk.py", tmp_path / "delay"
    script.write_text(SLOW_DISK)
    monkeypatch.setenv("SLOW_DISK", str(delay))

    async def scene(serve: Process, venue: MockVenue) -> None:
        async with serve.running(sys.executable, "-P", str(script)) as process:
            await serve.until("READY", is_in("READY"))
            delay.write_text(str(delay_s))
            found, seconds = await serve.ends(process)
            assert process.stderr is not None
            said = (await process.stderr.read()).decode()
            assert (found, "does not answer" in said) == (code, code == 74), said
            assert seconds < serve.drain_limit_s + GRACE_S

    play(tmp_path, scene)


def test_what_nobody_foresaw_ends_with_71_and_holds_the_next_start(tmp_path: Path) -> None:
    async def played() -> None:
        async with venue_at(tmp_path / "venue.sock"):
            process = Process(tmp_path, tmp_path / "venue.sock")
            settings, directory = prepared(process.config, process.state, {})

            async def odd(node: Node) -> None:
                raise UnicodeDecodeError("ascii", b"\xff", 0, 1, "an odd header")

            node = Node(settings, directory, World.of_machine())
            with pytest.raises(Unforeseen) as caught:
                await serve(node, open_chronicle(settings, node.clock), beside=odd)
            assert int(caught.value.exit_code) == 71
            records = [
                entry.record for entry in JournalReader.open(directory / "journal").records()
            ]
            held = [r for r in records if isinstance(r, KernelIntent)]
            assert held[-1].action is ControlAction.HOLD
            assert "beside" in held[-1].reason
            again = Node(settings, directory, World.of_machine())
            seen: list[dict[str, Any]] = []
            log = open_chronicle(settings, again.clock)
            assert await serve(again, log, once=True, seen=seen.append)
            assert [record["state"] for record in seen] == ["HOLD"]

    asyncio.run(asyncio.wait_for(played(), 60))


# -- risk after a kill -----------------------------------------------------------------------------


def test_after_a_kill_no_entry_goes_while_positions_are_not_answered(tmp_path: Path) -> None:
    async def scene(serve: Process, venue: MockVenue) -> None:
        async with serve.running() as process:
            await serve.until("READY", is_in("READY"))
            assert (await serve.intent("e1", ENTER, **market("T1", FET)))["accepted"]
            await serve.until("open", lambda s: s["slots"] and s["slots"][0]["size"] == "1000")
            process.kill()
            await process.wait()
        venue.trade_by_hand(TRX, OrderSide.SELL, q(5000))
        venue.set_script([Rule(verb=Verb.POSITIONS, do=Do.FAIL, times=0)])
        async with serve.running() as process:
            record = await serve.until("reconciling", is_in("RECONCILING"))
            assert record["entries_frozen"] == ["not ready"]
            refused = await serve.intent("e2", ENTER, **market("T2", TRX))
            assert (refused["accepted"], refused["code"]) == (False, "ENTRIES_FROZEN")
            assert "not ready" in refused["details"]["causes"]
            assert (await serve.intent("x1", EXIT, trade_id="T1"))["accepted"]
            assert (await serve.intent("x2", EXIT, trade_id="T1"))["code"]
            await serve.until("out", lambda s: not s["slots"] or s["slots"][0]["size"] == "0")
            assert [r.asset for r in venue.book.position_reports()] == [TRX]
            venue.set_script([])
            await serve.until("READY", is_in("READY"))
            taken = await serve.intent("e3", ENTER, **market("T3", TRX))
            assert taken["code"] == "FOREIGN_POSITION"
            code, _ = await serve.ends(process)
            assert code == 0

    play(tmp_path, scene)


# -- late requests ---------------------------------------------------------------------------------


def test_an_entry_is_not_done_after_its_caller_gave_up_and_an_exit_is(tmp_path: Path) -> None:
    """serve stands still with the requests in its socket, for longer than their callers wait."""

    async def scene(serve: Process, venue: MockVenue) -> None:
        async with serve.running() as process:
            await serve.until("READY", is_in("READY"))
            assert (await serve.intent("e1", ENTER, **market("T1", FET)))["accepted"]
            await serve.until("final", lambda s: s["slots"] and not s["open_orders"])
            os.kill(process.pid, signal.SIGSTOP)
            until_ns = SystemClock().boottime_ns() + 300_000_000
            late = {"operator": "test", "reason": "test", "verb": "intent"}
            answers = [
                asyncio.ensure_future(serve.ask(**late, until_boot_ns=until_ns, intent=intent))
                for intent in (
                    {"command": ENTER, "intent_id": "e2", **market("T2", TRX)},
                    {
                        "command": EXIT,
                        "intent_id": "x1",
                        "trade_id": "T1",
                        "quantity_e8": 2**63 - 1,
                    },
                )
            ]
            await asyncio.sleep(0.6)
            os.kill(process.pid, signal.SIGCONT)
            entered, exited = await asyncio.gather(*answers)
            assert (entered["accepted"], entered["code"]) == (False, "EXPIRED")
            assert exited["accepted"]
            await serve.until("flat", lambda s: not s["slots"])
            assert [order.asset for order in venue.book.orders] == [FET, FET]
            code, _ = await serve.ends(process)
            assert code == 0
        journalled = [e.record for e in JournalReader.open(serve.state / "journal").records()]
        assert "e2" in [getattr(record, "intent_id", "") for record in journalled]

    play(tmp_path, scene)
