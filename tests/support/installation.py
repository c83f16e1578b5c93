"""A whole installation for tests: a local exchange, a settings file, and a serve on both.

Three real processes, as an operator has them; tests type commands at it and look at the exchange's
own book.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dita.errors import DitaError
from dita.runtime.server.call import call
from support.command_line import Done, typed
from support.exchange_process import KEY, SECRET, RunningExchange, running

COMMAND = [sys.executable, "-P", "-m", "dita.commands"]
KEYS = {"TEST_KEY": KEY, "TEST_SECRET": SECRET}
BTC, FET, TRX = "BTC-USDT", "FET-USDT", "TRX-USDT"
SETTINGS = """
[venue]
kind = "bingx"
environment = "vst"
rest_url = "{rest}"
stream_url = "{stream}"
api_key = "env:TEST_KEY"
api_secret = "env:TEST_SECRET"
absence_fence_s = 1
[kernel]
namespace = "test"
slot_limit = 4
[runtime]
tick_ms = 20
in_flight_check_s = 1
positions_check_s = 1
drain_limit_s = 5
crash_budget = 100
[journal]
directory = "{state}"
segment_bytes = 1048576
reserve_bytes = 65536
"""


class TradingDesk:
    """The folder of an installation, and its exchange."""

    def __init__(self, folder: Path, exchange: RunningExchange) -> None:
        self.folder = folder
        self.exchange = exchange
        self.state = folder / "state"
        self.config = folder / "pink.toml"
        self.config.write_text(
            SETTINGS.format(rest=exchange.rest, stream=exchange.stream, state=self.state)
        )

    @contextmanager
    def serve(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """A serve that has come to READY or HOLD; what it says goes to a file."""
        log = self.folder / "serve.log"
        with (
            log.open("w") as said,
            subprocess.Popen(
                [*COMMAND, "serve", "--config", str(self.config), *words],
                env={**os.environ, **KEYS}, stderr=said, text=True,
            ) as process,
        ):  # fmt: skip
            end = time.monotonic() + 60
            try:
                while not self._is_up(process.pid):
                    assert process.poll() is None and time.monotonic() < end, log.read_text()
                    time.sleep(0.05)
                yield process
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGCONT)
                    process.kill()

    def _is_up(self, pid: int) -> bool:
        try:
            about = call(self.state, {"verb": "about"})["about"]
        except (DitaError, OSError):
            return False
        return bool(about["pid"] == pid and about["state"] in ("READY", "HOLD"))

    def type(self, *words: str, **more: Any) -> Done:
        """A command with this installation's settings, in this process."""
        environ = {**KEYS, **more.pop("environ", {})}
        return typed(*words, "--config", str(self.config), environ=environ, **more)

    def type_elsewhere(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The same in a process of its own."""
        return subprocess.run(
            [*COMMAND, *words, "--config", str(self.config)],
            env={**os.environ, **KEYS}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def do(self, *words: str) -> dict[str, Any]:
        """A command that has to succeed, as JSON."""
        done = self.type(*words, "--json")
        assert done.code == 0, done.stderr
        record: dict[str, Any] = json.loads(done.stdout)
        return record

    def status(self) -> dict[str, Any]:
        """What serve says."""
        done = self.type("status", "--json")
        assert done.code in (0, 4), done.stderr
        record: dict[str, Any] = json.loads(done.stdout)
        return record

    def until(self, what: str, true: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Ask for the status until something holds of it."""
        end = time.monotonic() + 30
        while True:
            record = self.status()
            if true(record):
                return record
            assert time.monotonic() < end, (what, record)
            time.sleep(0.05)

    def settled(self) -> dict[str, Any]:
        """Nothing in flight."""

        def at_rest(record: dict[str, Any]) -> bool:
            states = {slot["state"] for slot in record["slots"]}
            return not record["open_orders"] and states <= {"POSITION_OPEN"}

        return self.until("settled", at_rest)

    def calmly(self, command: Callable[[], Done]) -> Done:
        """A command about an entry, again while the last money is still moving."""
        end = time.monotonic() + 30
        while True:
            done = command()
            if "ANCHOR_NOT_QUIET" not in done.stdout or time.monotonic() > end:
                return done
            time.sleep(0.1)

    def enter(self, trade: str, asset: str, quantity: str, side: str = "LONG") -> Done:
        """ENTER at market, applied, once the money is quiet."""
        words = (
            "intent", "enter", "--trade", trade, "--asset", asset, "--side", side,
            "--quantity", quantity, "--reason", "test", "--apply",
        )  # fmt: skip
        done = self.calmly(lambda: self.type(*words))
        assert done.code == 0, done.stdout + done.stderr
        self.settled()
        return done

    def flat(self) -> None:
        """Everything of ours out, for the next test."""
        if self.status()["slots"]:
            assert self.type("intent", "flatten", "--reason", "end", "--apply").code == 0
        self.until("flat", lambda record: not record["slots"])

    def positions(self) -> dict[str, str]:
        """Side and size by symbol, from the exchange's own book."""
        found = self.exchange.book()["positions"]
        return {p["symbol"]: f"{p['side']} {p['quantity']}" for p in found}

    def orders(self) -> list[dict[str, Any]]:
        """Every order that the exchange has ever had."""
        found: list[dict[str, Any]] = self.exchange.book()["orders"]
        return found


@contextmanager
def trading_desk(folder: Path, *options: str) -> Iterator[TradingDesk]:
    """An installation beside an exchange whose prices do not move and that limits nobody's rate."""
    faults = folder / "faults.toml"
    faults.write_text("[limits]\nenabled = false\n")
    with running("--still", "--faults", str(faults), *options) as exchange:
        yield TradingDesk(folder, exchange)
