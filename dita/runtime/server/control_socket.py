"""The control socket: how status, intent, hold, resume and stop reach a running serve.

A unix socket of mode 0600 in the state directory; one JSON object per line each way.  What comes in
is hostile input: bounded in size, number and time, decoded strictly, answered with a refusal that
names what is wrong.  A request gets the kernel's time until which its caller waits.  It knows verbs
and records, nothing of what they mean.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from dita.errors import DitaError, OperatorError, Unforeseen, UsageError, VenueError
from dita.runtime.server.call import call, socket_path, user_name
from dita.runtime.server.deadlines import PAST_MS

__all__ = ["ControlServer", "Verb", "call", "refusal", "socket_path"]

#: A plan for every slot of a big table fits.
LINE_MAX: Final = 1_048_576
#: More callers at once than any use needs; each may keep two lines in memory.
CALLERS_MAX: Final = 32
#: A line that is not whole by then, or does not come, ends the connection.
LINE_S: Final = 60.0

#: struct ucred: pid, uid, gid.
_CREDENTIALS: Final = struct.Struct("3i")

Verb = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class ControlServer:
    """Answers verbs on the socket until closed.

    ``deadline_of`` says until when the caller of a request waits, in kernel time; it goes into the
    request and into the intent in it.  ``complain`` is told of a failure that nobody foresaw.
    """

    def __init__(
        self,
        directory: Path,
        verbs: dict[str, Verb],
        deadline_of: Callable[[dict[str, Any]], int] = lambda request: 0,
        complain: Callable[[str], None] = lambda problem: None,
    ) -> None:
        self.path = socket_path(directory)
        self.verbs = verbs
        self._deadline_of = deadline_of
        self._complain = complain
        self._callers = 0
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
        self._callers += 1
        try:
            if self._callers > CALLERS_MAX:
                await _send(writer, refusal(_busy()))
                return
            peer = peer_of(writer.get_extra_info("socket"))
            while line := await _line(reader):
                await _send(writer, await self._answer(line, peer, is_gone=_hung_up(writer)))
        except (ConnectionError, TimeoutError, ValueError):
            pass  # the peer went away, says nothing, or sent a line beyond the limit
        except asyncio.CancelledError:
            pass  # the loop ends; a stream's task that ends cancelled is told as an error
        finally:
            self._callers -= 1
            writer.close()

    async def _answer(self, line: bytes, peer: str, *, is_gone: bool) -> dict[str, Any]:
        try:
            request = json.loads(line)
            verb = self.verbs.get(str(request.get("verb"))) if isinstance(request, dict) else None
            if verb is None:
                raise UsageError(
                    "request refused",
                    expected=f"an object with a verb of {', '.join(sorted(self.verbs))}",
                    found=line[:80].decode(errors="replace"),
                )
            request = {**self._with_deadline(request, is_gone), "peer": peer}
            return {"ok": True, **await verb(request)}
        except (OperatorError, VenueError) as refused:
            return refusal(refused)
        except (ValueError, RecursionError) as bad:
            found = "nested too deeply" if isinstance(bad, RecursionError) else str(bad)
            return refusal(UsageError("request refused", expected="one JSON object", found=found))
        except Exception as bad:  # noqa: BLE001 - one request must not end serve; a person hears of it
            self._complain(f"a request failed: {type(bad).__name__}: {bad}")
            return refusal(_unforeseen(bad))

    def _with_deadline(self, request: dict[str, Any], is_gone: bool) -> dict[str, Any]:
        """The request with its deadline; for a caller who has hung up any time is too late."""
        deadline = {"deadline_ms": PAST_MS if is_gone else self._deadline_of(request)}
        if isinstance(request.get("intent"), dict):
            return {**request, **deadline, "intent": {**request["intent"], **deadline}}
        return {**request, **deadline}


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The next line.  TimeoutError; ValueError for one beyond the limit."""
    async with asyncio.timeout(LINE_S):
        return await reader.readline()


async def _send(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")
    async with asyncio.timeout(LINE_S):
        await writer.drain()


def _hung_up(writer: asyncio.StreamWriter) -> bool:
    """Is nobody there any more to read an answer?  One who only stopped sending still is."""
    poll = select.poll()
    poll.register(writer.get_extra_info("socket"), 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))


def _busy() -> OperatorError:
    return OperatorError(
        "serve has too many callers",
        expected=f"at most {CALLERS_MAX} connections to its control socket",
        action="try again; something on this machine keeps connections open",
    )


def _unforeseen(bad: Exception) -> Unforeseen:
    return Unforeseen(
        "serve could not do that",
        expected="every failure to be mapped where it happens",
        found=f"{type(bad).__name__}: {bad}",
        action="report it; serve goes on, and it is not known how much of it was done",
    )


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
