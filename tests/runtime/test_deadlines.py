"""Requests that come too late: how long a caller waits, and what is done when he does not any more.

Real sockets; the clocks are the test's own where time has to pass.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.floor import Floor, on_the_floor

from dita.clock import KernelClock, ManualClock, SystemClock
from dita.contracts import ControlAction, KernelCommandType, KernelIntent, TradeStage
from dita.contracts import KernelDiagnosticCode as Code
from dita.errors import OperatorError, UsageError
from dita.runtime.server import control_socket as control_module
from dita.runtime.server.call import call
from dita.runtime.server.control_socket import CALLERS_MAX, LINE_MAX, ControlServer
from dita.runtime.server.deadlines import PAST_MS, TIMEOUT_MAX_S, TIMEOUT_S, deadline_ms

NS = 10**9


# -- until when ------------------------------------------------------------------------------------


def clocks() -> tuple[ManualClock, KernelClock]:
    machine = ManualClock(1_000_000)
    machine.advance_ms(50_000)
    return machine, KernelClock(machine, 7_000_000)


def test_time_that_a_request_lay_in_the_socket_counts() -> None:
    """Stopped for 40 s with the request in the socket: its caller gave up 35 s ago."""
    machine, kernel = clocks()
    request = {"until_boot_ns": machine.boottime_ns() + 5 * NS}
    machine.advance_ms(40_000)
    assert kernel.now_ms() == 7_040_000
    assert deadline_ms(request, kernel) == 7_005_000


def test_who_says_nothing_waits_from_the_arrival_on() -> None:
    _, kernel = clocks()
    assert deadline_ms({}, kernel) == kernel.now_ms() + TIMEOUT_S * 1_000
    assert deadline_ms({"timeout_s": 2.5}, kernel) == kernel.now_ms() + 2_500


def test_nobody_waits_for_ever() -> None:
    """Another machine's clock, or another boot's, can be far ahead."""
    machine, kernel = clocks()
    far = {"until_boot_ns": machine.boottime_ns() + 10**6 * NS}
    assert deadline_ms(far, kernel) == kernel.now_ms() + TIMEOUT_MAX_S * 1_000
    assert deadline_ms({"until_boot_ns": 1}, kernel) >= PAST_MS


@pytest.mark.parametrize(
    "request_",
    [
        {"until_boot_ns": "soon"},
        {"until_boot_ns": True},
        {"until_boot_ns": -1},
        {"until_boot_ns": 2**63},
        {"timeout_s": 0},
        {"timeout_s": -1},
        {"timeout_s": "5"},
        {"timeout_s": True},
        {"timeout_s": float("nan")},
        {"timeout_s": 10**9},
    ],
)
def test_a_field_that_makes_no_sense_is_refused_by_name(request_: dict[str, Any]) -> None:
    _, kernel = clocks()
    with pytest.raises(UsageError, match=next(iter(request_))):
        deadline_ms(request_, kernel)


# -- what is done late -----------------------------------------------------------------------------


def test_what_adds_risk_or_repairs_is_dropped_late_and_the_way_out_is_not() -> None:
    """The drop is journalled like any refusal."""

    async def scene(floor: Floor) -> None:
        past = floor.runtime.time.now_ms() - 1
        late = await floor.enter("late", deadline_ms=past)
        assert late.kernel.code is Code.EXPIRED
        assert floor.log.records[-1].intent_id == "enter-late"  # type: ignore[union-attr]
        await floor.enter(deadline_ms=floor.runtime.time.now_ms() + 5_000)
        await floor.until(TradeStage.POSITION_OPEN)
        control = floor.service.control
        past = floor.runtime.time.now_ms() - 1
        held = await control(ControlAction.HOLD, "test", "me", deadline_ms=past)
        assert held.kernel.accepted
        resumed = await control(ControlAction.RESUME, "test", "me", deadline_ms=past)
        assert resumed.kernel.code is Code.EXPIRED
        for command, code in (
            (KernelCommandType.CANCEL, Code.EXPIRED),
            (KernelCommandType.RECONCILE, Code.EXPIRED),
            (KernelCommandType.EXIT, Code.OK),
        ):
            intent = KernelIntent(
                command=command,
                received_ms=1,
                intent_id=f"{command.name}-late",
                trade_id="T1",
                deadline_ms=past,
            )
            assert (await floor.runtime.ask(intent)).kernel.code is code
        await floor.until(TradeStage.IDLE)

    on_the_floor(scene)


# -- the socket ------------------------------------------------------------------------------------

Verb = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


async def echo(request: dict[str, Any]) -> dict[str, Any]:
    return {"got": {k: v for k, v in request.items() if k != "verb"}}


def serving(
    folder: Path, client: Callable[[], Any], verb: Verb = echo, complain: Any = print
) -> Any:
    """Run a client in a thread against a server with one verb."""

    async def play() -> Any:
        kernel = KernelClock(SystemClock(), 1_000_000)
        server = ControlServer(
            folder, {"echo": verb}, lambda request: deadline_ms(request, kernel), complain
        )
        await server.open()
        try:
            return await asyncio.to_thread(client)
        finally:
            await server.close()

    return asyncio.run(play())


def test_a_call_tells_until_when_it_waits(tmp_path: Path) -> None:
    intent = {"command": 1, "deadline_ms": 10**15}  # what a caller says of it himself is void

    def client() -> Any:
        return call(tmp_path, {"verb": "echo", "intent": intent}, 60, taken_within_s=5)["got"]

    got = serving(tmp_path, client)
    assert 1_004_000 < got["deadline_ms"] <= 1_005_500
    assert got["intent"] == {"command": 1, "deadline_ms": got["deadline_ms"]}


def test_whoever_has_hung_up_is_too_late_and_one_who_only_stopped_sending_is_not(
    tmp_path: Path,
) -> None:
    seen: list[int] = []

    async def slow(request: dict[str, Any]) -> dict[str, Any]:
        seen.append(request["deadline_ms"])
        return {}

    def client() -> None:
        for how in ("close", "stop sending"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(str(tmp_path / "control.sock"))
                # Both lines are there before the server reads: it answers one after the other.
                connection.sendall(b'{"verb":"echo"}\n')
                if how == "stop sending":
                    connection.shutdown(socket.SHUT_WR)
                    connection.makefile("rb").readline()

    async def play() -> None:
        kernel = KernelClock(SystemClock(), 1_000_000)
        server = ControlServer(
            tmp_path, {"echo": slow}, lambda request: deadline_ms(request, kernel)
        )
        await server.open()
        # The loop stands still while the first client comes and goes, as a stopped process does.
        with socket.socket(socket.AF_UNIX) as gone:
            gone.connect(str(tmp_path / "control.sock"))
            gone.sendall(b'{"verb":"echo"}\n')
        while not seen:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(client)
        while len(seen) < 3:
            await asyncio.sleep(0.01)
        await server.close()

    asyncio.run(asyncio.wait_for(play(), 20))
    assert seen[0] == PAST_MS
    assert seen[-1] > 1_000_000


def test_deep_nesting_is_a_refusal(tmp_path: Path) -> None:
    def client() -> Any:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(tmp_path / "control.sock"))
            connection.sendall(b"[" * 200_000 + b"\n")
            return json.loads(connection.makefile("rb").readline())

    answer = serving(tmp_path, client)
    assert (answer["ok"], answer["exit_code"]) == (False, 2)


def test_a_request_that_fails_in_a_new_way_ends_itself_alone(tmp_path: Path) -> None:
    complaints: list[str] = []

    async def breaks(request: dict[str, Any]) -> dict[str, Any]:
        if request.get("odd"):
            raise KeyError("odd")
        return {}

    def client() -> None:
        with pytest.raises(OperatorError, match="serve could not do that"):
            call(tmp_path, {"verb": "echo", "odd": 1})
        assert call(tmp_path, {"verb": "echo"}) == {}

    serving(tmp_path, client, breaks, complaints.append)
    assert complaints == ["a request failed: KeyError: 'odd'"]


def test_callers_are_bounded_and_the_next_one_is_told(tmp_path: Path) -> None:
    def client() -> None:
        idle = [socket.socket(socket.AF_UNIX) for _ in range(CALLERS_MAX)]
        for one in idle:
            one.connect(str(tmp_path / "control.sock"))
            one.sendall(b"x" * 1_000)  # half a line each
        with pytest.raises(OperatorError, match="too many callers"):
            call(tmp_path, {"verb": "echo"})
        for one in idle:
            one.close()
        for _ in range(100):
            try:
                call(tmp_path, {"verb": "echo"})
                return
            except OperatorError:
                continue
        raise AssertionError("nobody gets in any more")

    serving(tmp_path, client)


def test_half_a_line_does_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_module, "LINE_S", 0.1)

    def client() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(tmp_path / "control.sock"))
            connection.sendall(b'{"verb":')
            return connection.recv(10)

    assert serving(tmp_path, client) == b""  # closed


def test_a_line_is_bounded(tmp_path: Path) -> None:
    def client() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(tmp_path / "control.sock"))
            try:
                connection.sendall(b"x" * (3 * LINE_MAX) + b"\n")
                return connection.recv(10)
            except (BrokenPipeError, ConnectionResetError):
                return b""

    assert serving(tmp_path, client) == b""
