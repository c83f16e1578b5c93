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
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from dita.errors import DitaError, OperatorError, UsageError, VenueError
from dita.runtime.calling import call, socket_path, user_name

__all__ = ["ControlServer", "Verb", "call", "refusal", "socket_path"]

#: A plan for every slot of a big table fits.
LINE_MAX: Final = 4_194_304

#: struct ucred: pid, uid, gid.
_CREDENTIALS: Final = struct.Struct("3i")

Verb = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


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
        peer = peer_of(writer.get_extra_info("socket"))
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line, peer)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the peer went away, or sent a line beyond the limit: nothing was done
        except asyncio.CancelledError:
            pass  # the loop ends; a stream's task that ends cancelled is told as an error
        finally:
            writer.close()

    async def _answer(self, line: bytes, peer: str) -> dict[str, Any]:
        try:
            request = json.loads(line)
            verb = self.verbs.get(str(request.get("verb"))) if isinstance(request, dict) else None
            if verb is None:
                raise UsageError(
                    "request refused",
                    expected=f"an object with a verb of {', '.join(sorted(self.verbs))}",
                    found=line[:80].decode(errors="replace"),
                )
            return {"ok": True, **await verb({**request, "peer": peer})}
        except ValueError as bad:
            return refusal(
                UsageError("request refused", expected="one JSON object", found=str(bad))
            )
        except (OperatorError, VenueError) as refused:
            return refusal(refused)


def peer_of(connection: socket.socket) -> str:
    """The user at the other end, by the system's own word; a number where it has no name."""
    record = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(record)
    return user_name(uid)


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
