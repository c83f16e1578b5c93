"""The control socket: how status, intent, hold, resume and stop reach a running serve.

A unix socket of mode 0600 in the state directory; one JSON object per line each way.  What comes in
is hostile input: bounded, decoded strictly, answered with a refusal that names what is wrong.  It
knows verbs and records, nothing of what they mean.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from dita.errors import (
    DitaError,
    ExitCode,
    NotRunning,
    OperatorError,
    RefusedForSafety,
    SettingsError,
    UsageError,
    VenueError,
)

SOCKET_NAME: Final = "control.sock"
#: A plan for every slot of a big table fits.
LINE_MAX: Final = 4_194_304
#: Linux: sizeof(sockaddr_un.sun_path) less the closing 0.
SOCKET_PATH_BYTES_MAX: Final = 107

Verb = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def socket_path(directory: Path) -> Path:
    """Where the socket of a state directory is.  SettingsError when no socket can be there."""
    path = directory / SOCKET_NAME
    size = len(os.fsencode(path))
    if size > SOCKET_PATH_BYTES_MAX:
        raise SettingsError(
            "the state directory's path is too long for a socket in it",
            expected=f"at most {SOCKET_PATH_BYTES_MAX} bytes",
            found=f"{size}: {path}",
            action="choose a shorter --state-dir",
        )
    return path


class ControlServer:
    """Answers verbs on the socket until closed."""

    def __init__(self, directory: Path, verbs: dict[str, Verb]) -> None:
        self.path = socket_path(directory)
        self.verbs = verbs
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen.  The state lock is ours, so a socket file that is there is a dead one's."""
        self.path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)  # of the whole process: nothing may be awaited until it is back
        try:
            listener.bind(str(self.path))
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=LINE_MAX)

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the peer went away, or sent a line beyond the limit: nothing was done
        except asyncio.CancelledError:
            pass  # the loop ends; a stream's task that ends cancelled is told as an error
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            verb = self.verbs.get(str(request.get("verb"))) if isinstance(request, dict) else None
            if verb is None:
                raise UsageError(
                    "request refused",
                    expected=f"an object with a verb of {', '.join(sorted(self.verbs))}",
                    found=line[:80].decode(errors="replace"),
                )
            return {"ok": True, **await verb(request)}
        except ValueError as bad:
            return refusal(
                UsageError("request refused", expected="one JSON object", found=str(bad))
            )
        except (OperatorError, VenueError) as refused:
            return refusal(refused)


_REFUSALS: Final[dict[object, type[DitaError]]] = {
    int(ExitCode.REFUSED): RefusedForSafety,
    int(ExitCode.VENUE): VenueError,
}


def refusal(error: DitaError) -> dict[str, Any]:
    """An error as an answer."""
    return {
        "ok": False,
        "message": error.args[0] if error.args else str(error),
        "expected": error.expected,
        "found": error.found,
        "action": error.action,
        "exit_code": int(error.exit_code),
    }


def call(directory: Path, request: dict[str, Any], timeout_s: float = 5.0) -> dict[str, Any]:
    """Ask the serve of a state directory.

    NotRunning when nobody listens; TimeoutError when it does not answer; OperatorError with its own
    words when it refuses, RefusedForSafety and VenueError where those are the reason.
    """
    path = socket_path(directory)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError) as nobody:
            raise NotRunning(
                "serve is not running",
                expected=f"a serve that listens on {path}",
                found="nobody",
                action="start it with `pink-ctl serve`, or name its --state-dir",
            ) from nobody
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as answers:
            line = answers.readline()
    answer = json.loads(line) if line else {"ok": False, "message": "serve closed the connection"}
    if not answer.pop("ok", False):
        raise _REFUSALS.get(answer.get("exit_code"), OperatorError)(
            str(answer.get("message", "refused")),
            expected=str(answer.get("expected", "")),
            found=str(answer.get("found", "")),
            action=str(answer.get("action", "")),
        )
    return dict(answer)
