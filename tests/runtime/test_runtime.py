"""The runtime around the engine: loop, order_query, recovery, service, lock, control socket.

Against the mock venue and a log in memory; what survives a kill is tested with the journal.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.engine_driver import q
from support.floor import Floor, on_the_floor, round_trip, same_books

from dita.contracts import (
    ControlAction,
    KernelCommandType,
    KernelDiagnosticCode,
    KernelEventKind,
    KernelIntent,
    TradeStage,
    VenueEvent,
)
from dita.engine import Outcome
from dita.errors import (
    AlreadyRunning,
    KernelFault,
    NotRunning,
    OperatorError,
    SettingsError,
    Unforeseen,
)
from dita.runtime.loop import Input, RunState
from dita.runtime.server.control_socket import ControlServer, call
from dita.runtime.state.lock import StartBudget, StateLock
from dita.simulation.virtual_time import run
from dita.venues.mock import BINGX_STYLE, Do, MockConfig, Rule, Verb, fet_config


@pytest.mark.parametrize(
    "config",
    [
        fet_config(),
        fet_config(style=BINGX_STYLE),
        fet_config(parts=3, slip_ticks=1),
        fet_config(style=BINGX_STYLE, parts=3),
    ],
    ids=["kind", "bingx", "parts", "bingx parts"],
)
def test_round_trip_ends_with_equal_books(config: MockConfig) -> None:
    floor = on_the_floor(round_trip, config)
    same_books(floor)
    record = floor.engine.kernel.trade("T1")
    assert record is not None
    assert (record.pnl_source, record.closed) == ("exchange", True)
    assert floor.log.committed == len(floor.log.records)


@pytest.mark.parametrize("do", [Do.SILENT, Do.LOST, Do.NOT_SENT], ids=lambda do: str(do.value))
def test_lost_answers_are_settled_by_evidence(do: Do) -> None:
    async def scene(floor: Floor) -> None:
        await floor.enter()
        if do is Do.SILENT:
            await floor.until(TradeStage.POSITION_OPEN, 15)
            await floor.exit()
        await floor.until(TradeStage.IDLE, 15)

    rules = (Rule(verb=Verb.SUBMIT, nth=1, do=do),)
    floor = on_the_floor(scene, fet_config(rules=rules, receive_window_ms=100))
    dump = floor.venue.book.dump()
    assert dump.positions == ()
    assert len(dump.orders) == (2 if do is Do.SILENT else 0)


@pytest.mark.parametrize("skew_ms", [-3_600_000, 3_600_000], ids=["behind", "ahead"])
@pytest.mark.parametrize("do", [Do.SILENT_LATE, Do.LOST], ids=lambda do: str(do.value))
def test_absence_is_judged_by_the_venues_clock_alone(do: Do, skew_ms: int) -> None:
    """An order may arrive within its window; one that cannot any more is sent again, once."""

    async def scene(floor: Floor) -> None:
        await floor.enter(expires_ms=floor.clock.now_ms() + 60_000)
        await floor.until(TradeStage.POSITION_OPEN, 15)
        await asyncio.sleep(0.6)  # by now a late one has arrived
        assert [o.quantity_e8 for o in floor.venue.book.orders] == [q(1000)]
        await floor.exit()
        await floor.until(TradeStage.IDLE, 15)

    rules = (Rule(verb=Verb.SUBMIT, nth=1, do=do, wait_ms=400),)
    config = fet_config(rules=rules, receive_window_ms=500, clock_skew_ms=skew_ms)
    same_books(floor := on_the_floor(scene, config))
    assert len(floor.venue.book.dump().orders) == 2


def test_an_order_that_waits_to_be_sent_is_not_absent() -> None:
    """An adapter may hold it back for its rate budget, for longer than window and fence."""

    async def scene(floor: Floor) -> None:
        submit = floor.venue.submit

        async def slow(order: Any) -> tuple[VenueEvent, ...]:
            floor.venue.submit = submit  # type: ignore[method-assign]
            await asyncio.sleep(2.5)
            return await submit(order)

        floor.venue.submit = slow  # type: ignore[method-assign]
        await floor.enter(expires_ms=floor.clock.now_ms() + 60_000)
        await floor.until(TradeStage.POSITION_OPEN, 15)
        await asyncio.sleep(2.5)
        assert [o.quantity_e8 for o in floor.venue.book.orders] == [q(1000)]
        await floor.exit()
        await floor.until(TradeStage.IDLE, 15)

    same_books(floor := on_the_floor(scene, fet_config(receive_window_ms=100)))
    assert len(floor.venue.book.dump().orders) == 2


def test_a_lost_cancel_is_asked_for_again() -> None:
    async def scene(floor: Floor) -> None:
        floor.venue.set_script([Rule(verb=Verb.SUBMIT, do=Do.PARTIAL, share_e9=500_000_000)])
        await floor.enter()
        await floor.wait(lambda: bool(floor.venue.book.fills), 5, "half of it")
        floor.venue.set_script([Rule(verb=Verb.CANCEL, do=Do.LOST)])
        cancel = KernelIntent(
            command=KernelCommandType.CANCEL, received_ms=1, intent_id="c", trade_id="T1"
        )
        assert (await floor.runtime.ask(cancel)).kernel.accepted
        await floor.until(TradeStage.POSITION_OPEN, 15)
        await floor.exit()
        await floor.until(TradeStage.IDLE, 15)

    same_books(on_the_floor(scene))


def test_a_lost_stream_degrades_and_heals() -> None:
    async def scene(floor: Floor) -> None:
        await floor.enter()
        await floor.until(TradeStage.POSITION_OPEN)
        assert floor.venue._own is not None
        floor.venue._own.end()
        await floor.wait(lambda: floor.runtime.state is RunState.DEGRADED, 2, "DEGRADED")
        await floor.wait(lambda: floor.runtime.state is RunState.READY, 5, "READY again")
        await floor.exit()
        await floor.until(TradeStage.IDLE)

    same_books(on_the_floor(scene))


def test_hold_refuses_entries_and_lets_exits_go() -> None:
    async def scene(floor: Floor) -> None:
        await floor.enter()
        await floor.until(TradeStage.POSITION_OPEN)
        await floor.service.control(ControlAction.HOLD, "test", "me")
        assert floor.runtime.state is RunState.HOLD
        refused = await floor.enter("T2", "TRX-USDT")
        assert refused.kernel.code is KernelDiagnosticCode.ENTRIES_FROZEN
        await floor.exit()
        await floor.until(TradeStage.IDLE)
        await floor.service.control(ControlAction.RESUME, "test", "me")
        states.append(floor.runtime.state)

    states: list[RunState] = []
    floor = on_the_floor(scene)
    reasons = [r.reason for r in floor.log.records if isinstance(r, KernelIntent) and r.reason]
    assert "me: test" in reasons
    assert states == [RunState.READY]


def test_nothing_is_published_or_sent_before_the_commit() -> None:
    class Watch:
        seen = 0

        def publish(self, record: Input, outcome: Outcome, seq: int) -> None:
            self.seen += 1
            assert seq <= floor_of[0].log.committed

    floor_of: list[Floor] = []

    async def scene(floor: Floor) -> None:
        floor_of.append(floor)
        watch = Watch()
        floor.runtime.publishers.append(watch)
        submit = floor.venue.submit

        async def checked(order: Any) -> tuple[VenueEvent, ...]:
            sent = [r for r in floor.log.records if isinstance(r, KernelIntent)]
            assert len(sent) <= floor.log.committed
            return await submit(order)

        floor.venue.submit = checked  # type: ignore[method-assign]
        await round_trip(floor)
        assert watch.seen > 5

    on_the_floor(scene)


def test_a_malformed_input_is_answered_and_not_logged() -> None:
    async def scene(floor: Floor) -> None:
        before = len(floor.log.records)
        bad = VenueEvent(kind=KernelEventKind.PARTIAL_FILL, received_ms=1, asset="\x1b[31m")
        outcome = await floor.runtime.ask(bad)
        assert outcome.kernel.code is KernelDiagnosticCode.INVALID_EVENT
        assert len(floor.log.records) == before

    on_the_floor(scene)


def test_a_failed_background_task_stops_the_service_with_its_name() -> None:
    async def play() -> None:
        floor = Floor(fet_config())
        await floor.service.start()

        async def breaks() -> None:
            raise ValueError("boom")

        floor.runtime.spawn(breaks(), "the broken one")
        with pytest.raises(Unforeseen, match=r"the broken one.*boom"):
            await floor.service.run()
        await floor.service.close()

    run(play())


def test_a_failed_commit_stops_the_service() -> None:
    async def play() -> None:
        floor = Floor(fet_config())
        await floor.service.start()

        async def fails() -> int:
            raise OSError(5, "Input/output error")

        floor.log.commit = fails  # type: ignore[method-assign]
        await floor.runtime.post(VenueEvent(kind=KernelEventKind.TICK, received_ms=1))
        with pytest.raises(KernelFault, match="Input/output error"):
            await floor.service.run()
        await floor.service.close()

    run(play())


# -- one process, not too often --------------------------------------------------------------------


def test_second_process_is_refused_and_the_lock_dies_with_its_owner(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from dita.runtime.state.lock import StateLock;"
        f"lock = StateLock(Path({str(tmp_path / 'state')!r})); print('held', flush=True);"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunning, match=str(owner.pid)):
            StateLock(tmp_path / "state")
        owner.kill()
    lock = StateLock(tmp_path / "state")
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "state" / "lock").stat().st_mode) == 0o600
    lock.release()
    lock.release()


def test_start_budget_counts_crashes_within_its_window(tmp_path: Path) -> None:
    budget = StartBudget(tmp_path, budget=3, window_ms=1_000)
    assert [budget.start(now) for now in (0, 10, 20, 30)] == [False, False, False, True]
    assert not budget.start(5_000)
    budget.stopped_cleanly()
    assert not budget.start(5_010)
    (tmp_path / "starts.json").write_text("{torn")
    assert not budget.start(5_020)


# -- the control socket ----------------------------------------------------------------------------


async def _echo(request: dict[str, Any]) -> dict[str, Any]:
    if request.get("refuse"):
        raise OperatorError("no", expected="something else", found="this", action="try again")
    return {"said": request.get("say", "")}


def talk(tmp_path: Path, client: Callable[[], Any]) -> Any:
    """Run a client in a thread against an echoing server."""

    async def play() -> Any:
        server = ControlServer(tmp_path, {"echo": _echo})
        await server.open()
        try:
            return await asyncio.to_thread(client)
        finally:
            await server.close()

    return asyncio.run(play())


def test_control_socket_answers_and_refuses_in_words(tmp_path: Path) -> None:
    assert talk(tmp_path, lambda: call(tmp_path, {"verb": "echo", "say": "hi"})) == {"said": "hi"}
    with pytest.raises(OperatorError, match=r"no: expected something else; found this"):
        talk(tmp_path, lambda: call(tmp_path, {"verb": "echo", "refuse": 1}))
    with pytest.raises(OperatorError, match="verb of echo"):
        talk(tmp_path, lambda: call(tmp_path, {"verb": "nonsense"}))
    with pytest.raises(NotRunning):
        call(tmp_path, {"verb": "echo"})


@pytest.mark.parametrize(
    "line", [b"\n", b"{", b"[]\n", b"5\n", b'{"verb":5}\n', b"\xff\xfe\n", b"x" * 200_000 + b"\n"]
)
def test_garbage_on_the_control_socket_hurts_nobody(tmp_path: Path, line: bytes) -> None:
    def client() -> Any:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(tmp_path / "control.sock"))
            try:
                connection.sendall(line)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.makefile("rb").readline()
            except (BrokenPipeError, ConnectionResetError):
                answer = b""
        if answer:
            assert json.loads(answer)["ok"] is False
        return call(tmp_path, {"verb": "echo", "say": "alive"})

    assert talk(tmp_path, client) == {"said": "alive"}


def test_servers_that_open_at_the_same_time_leave_the_umask_alone(tmp_path: Path) -> None:
    async def play() -> None:
        servers = [ControlServer(tmp_path / name, {}) for name in "ab"]
        for server in servers:
            server.path.parent.mkdir()
        await asyncio.gather(*(server.open() for server in servers))
        for server in servers:
            assert stat.S_IMODE(server.path.stat().st_mode) == 0o600
            await server.close()

    before = os.umask(0o022)
    try:
        asyncio.run(play())
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_a_path_that_no_socket_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="too long for a socket"):
        call(tmp_path / ("x" * 100), {"verb": "status"})


def test_control_socket_is_for_its_owner_alone(tmp_path: Path) -> None:
    mode = talk(tmp_path, lambda: stat.S_IMODE((tmp_path / "control.sock").stat().st_mode))
    assert mode == 0o600
