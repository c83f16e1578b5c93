"""A `pink-ctl exchange` in a process of its own, for tests that come over its port.

Gives its addresses, its control endpoint and its end; asserts nothing.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

STOP_S = 20
KEY, SECRET = "KEY", "SECRET"


class RunningExchange:
    """The process and where it listens."""

    def __init__(
        self, process: subprocess.Popen[str], addresses: dict[str, Any], talk: IO[str]
    ) -> None:
        self.process = process
        self._talk = talk
        self.rest: str = addresses["rest"]
        self.stream: str = addresses["stream"]

    def control(self, method: str, verb: str, **body: Any) -> Any:
        """A call of /control/ and its data."""
        request = urllib.request.Request(
            f"{self.rest}/control/{verb}",
            data=json.dumps(body).encode() if body else None,
            headers={"X-BX-APIKEY": KEY},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=STOP_S) as reply:
            answer = json.load(reply)
        assert answer["code"] == 0, answer
        return answer["data"]

    def said(self) -> str:
        """What it wrote to stderr so far."""
        self._talk.seek(0)
        return self._talk.read()

    def book(self) -> dict[str, Any]:
        """The exchange's own truth."""
        book: dict[str, Any] = self.control("GET", "book")
        return book

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it, and its exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_S)


@contextmanager
def running(*options: str) -> Iterator[RunningExchange]:
    """Start one with these options beside key and secret."""
    program = Path(sys.executable).with_name("pink-ctl")
    command = [str(program), "exchange", "--key", KEY, "--secret", SECRET, *options]
    with (
        tempfile.TemporaryFile("w+") as talk,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=talk, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            assert ready, talk.seek(0) or talk.read()
            yield RunningExchange(process, json.loads(ready), talk)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(STOP_S)
