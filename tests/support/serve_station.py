"""A real serve and a mock venue, each in a process of its own, and the words to drive them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dita.settings import Settings, load
from dita.venues.mock import fet_config
from dita.venues.remote import ServeConfig
from support.serve_driver import IS_UP

COMMAND = [sys.executable, "-P", "-m", "dita.commands"]


def pink(*words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, timeout=timeout, check=False
    )


@contextmanager
def venue_process(folder: Path) -> Iterator[Path]:
    """A mock venue in a process of its own; gives its socket."""
    path, config = folder / "venue.sock", folder / "venue.json"
    mock = fet_config(parts=2, receive_window_ms=200)
    config.write_bytes(msgspec.json.encode(ServeConfig(mock=mock)))
    command = [sys.executable, "-P", "-m", "dita.venues.remote"]
    with subprocess.Popen(
        [*command, "--socket", str(path), "--config", str(config)], stdout=subprocess.PIPE
    ) as venue:
        assert venue.stdout is not None
        assert json.loads(venue.stdout.readline())
        try:
            yield path
        finally:
            venue.terminate()


class Station:
    """A state directory with settings for the remote venue, and serves that run on it."""

    def __init__(self, folder: Path, venue: Path) -> None:
        self.state = folder / "state"
        self.config = folder / "pink.toml"
        self.config.write_text(
            f"""
[venue]
kind = "remote"
environment = "mock"
mock_socket = "{venue}"
absence_fence_s = 1
[kernel]
namespace = "test"
slot_limit = 4
[runtime]
tick_ms = 20
in_flight_check_s = 1
drain_limit_s = 5
crash_budget = 100
[journal]
segment_bytes = 1048576
reserve_bytes = 65536
snapshot_every = 25
"""
        )
        self.words = ("--config", str(self.config), "--state-dir", str(self.state))

    @contextmanager
    def serve(self) -> Iterator[subprocess.Popen[str]]:
        """A serve that has reached READY."""
        with subprocess.Popen(
            [*COMMAND, "serve", *self.words], stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                said.append(line)
                if IS_UP.search(line):
                    break
            else:
                raise AssertionError("".join(said))
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    def status(self) -> dict[str, Any]:
        done = pink("status", *self.words, "--json")
        assert done.returncode == 0, done.stderr
        record: dict[str, Any] = json.loads(done.stdout)
        return record

    def until(self, what: str, true: Any, seconds: float = 20) -> dict[str, Any]:
        """Ask for the status until something holds of it."""
        end = time.monotonic() + seconds
        while True:
            record = self.status()
            if true(record):
                return record
            assert time.monotonic() < end, (what, record)
            time.sleep(0.05)

    def enter(self, trade: str, price: str = "0.5") -> subprocess.CompletedProcess[str]:
        return pink(
            "intent", "enter", *self.words, "--trade", trade, "--asset", "FET-USDT",
            "--side", "SHORT", "--quantity", "1000", "--price", price, "--reason", "test",
            "--apply",
        )  # fmt: skip

    def exit(self, trade: str) -> subprocess.CompletedProcess[str]:
        return pink("intent", "exit", *self.words, "--trade", trade, "--reason", "test", "--apply")


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    with venue_process(tmp_path) as socket:
        yield Station(tmp_path, socket)


def is_open(record: dict[str, Any]) -> bool:
    return [slot["state"] for slot in record["slots"]] == ["POSITION_OPEN"]


def is_flat(record: dict[str, Any]) -> bool:
    return not record["slots"] and not record["open_orders"]


def money_agrees(record: dict[str, Any]) -> bool:
    balance: str = record["exchange_balance"]
    return {balance} == {record["capital"], record["k_capital"]}


def settings_with(**changed: str) -> Settings:
    variables = {f"PINK__{key.upper()}": value for key, value in changed.items()}
    small = {"PINK__JOURNAL__SEGMENT_BYTES": "65536", "PINK__JOURNAL__RESERVE_BYTES": "65536"}
    return load(None, {**small, **variables}, {})
