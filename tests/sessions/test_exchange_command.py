"""`pink-ctl exchange` as a process: how it starts, what it refuses to start with, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import pytest
from support.exchange_process import STOP_S, running

from dita.clock import ManualClock
from dita.errors import ExitCode, SettingsError
from dita.exchange.app import Setup, server_of


def refused(*options: str) -> tuple[int, str]:
    """Exit code and message of an exchange that does not start."""
    program = Path(sys.executable).with_name("pink-ctl")
    run = subprocess.run(
        [str(program), "exchange", *options], capture_output=True, text=True, timeout=STOP_S
    )
    assert run.stdout == ""
    return run.returncode, run.stderr


def test_one_line_when_ready_and_only_this_machine() -> None:
    """The addresses are loopback; Ctrl-C ends it like SIGTERM; afterwards nobody listens."""
    with running("--symbol", "FET-USDT", "--still") as exchange:
        assert exchange.rest.startswith("http://127.0.0.1:")
        assert exchange.stream.startswith("ws://127.0.0.1:")
        assert exchange.book()["orders"] == []
        assert exchange.stop(signal.SIGINT) == 0
        with pytest.raises(URLError):
            build_opener(ProxyHandler({})).open(exchange.rest, timeout=STOP_S)


def test_rude_clients_leave_no_trace(tmp_path: Path) -> None:
    """Half a request, lost answers and sockets that vanish: it stays up and says nothing."""
    faults = tmp_path / "faults.toml"
    faults.write_text('[[fault]]\nkind = "answer_lost"\non = "GET */server/time"\ntimes = 0\n')
    upgrade = (
        b"GET /swap-market HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with running("--symbol", "FET-USDT", "--faults", str(faults)) as exchange:
        port = int(exchange.rest.rpartition(":")[2])
        for sent in (
            b"GET /openApi/swap/v2/server/time HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /control/price HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
            b"GET /swap-market HTTP/1.1\r\nHost: x\r\n\r\n",
            upgrade,
            upgrade + b"\x81\x85\x00\x00\x00\x00hello",
        ):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(sent)
                client.settimeout(0.2)
                with contextlib.suppress(OSError):
                    client.recv(4096)
        assert exchange.book()["orders"] == []
        assert exchange.stop() == 0
        assert exchange.said() == ""


def test_bad_settings_end_with_their_codes(tmp_path: Path) -> None:
    """A taken port, an unknown symbol, fault, tape or amount: one line, and nothing started."""
    faults = tmp_path / "faults.toml"
    faults.write_text('[[fault]]\nkind = "explosion"\n')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = refused("--port", port)
        assert code == ExitCode.USAGE
        assert f"port {port} cannot be listened on" in said
    for options, part, ends in (
        (("--symbol", "NOPE-USDT"), "NOPE-USDT", ExitCode.USAGE),
        (("--faults", str(faults)), "explosion", ExitCode.SETTINGS),
        (("--tape", "no-such-tape"), "no-such-tape", ExitCode.USAGE),
    ):
        code, said = refused(*options)
        assert code == ends
        assert part in said
        assert len(said.splitlines()) == 1
    assert refused("--balance", "much")[0] == ExitCode.USAGE


def test_a_packaged_tape_moves_prices_and_begins_where_it_begins() -> None:
    """The first price of the tape is the first of the exchange; time moves it."""
    clock = ManualClock(1_795_435_343_000)
    setup = Setup(tape="twenty-minutes", speed=10, symbols=("FET-USDT", "TRX-USDT"))
    session = server_of(setup, clock).session
    assert session.exchange.quote("FET-USDT").last_e10 == 5_002_000_000
    clock.advance_ms(200)
    session.pulse()
    assert session.exchange.quote("FET-USDT").last_e10 == 5_003_000_000
    with pytest.raises(SettingsError, match="price tape refused"):
        server_of(Setup(tape="twenty-minutes", symbols=("FET-USDT",)), clock)


def test_prices_walk_by_the_seed() -> None:
    """The same seed walks the same way."""

    def walked(seed: int) -> list[int]:
        clock = ManualClock(0)
        session = server_of(Setup(seed=seed, symbols=("FET-USDT",)), clock).session
        prices = []
        for _ in range(20):
            clock.advance_ms(200)
            session.pulse()
            prices.append(session.exchange.quote("FET-USDT").last_e10)
        return prices

    assert walked(1) == walked(1)
    assert walked(1) != walked(2)
    assert len(set(walked(1))) > 5


def test_a_fault_of_ours_in_the_background_is_not_swallowed() -> None:
    """What breaks between two calls ends the exchange, loudly."""

    async def broken() -> None:
        server = server_of(Setup(still=True), ManualClock(0))
        server.session.topics.pulse = lambda now_ms: 1 // 0  # type: ignore[method-assign,assignment]
        async with server:
            await server.until(asyncio.Event())

    with pytest.raises(ZeroDivisionError):
        asyncio.run(broken())
