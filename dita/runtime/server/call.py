"""The asking side of the control socket: one request, one answer, no event loop.

What every command uses that speaks to a running serve; the answering side is ``control_socket``.
It knows how errors travel, and nothing of what a verb means.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any, Final

from dita.clock import SystemClock
from dita.errors import (
    DitaError,
    ExitCode,
    NotRunning,
    OperatorError,
    RefusedForSafety,
    SettingsError,
    Unanswered,
    UsageError,
    VenueError,
)
from dita.runtime.server.deadlines import UNTIL

SOCKET_NAME: Final = "control.sock"
#: Linux: sizeof(sockaddr_un.sun_path) less the closing 0.
SOCKET_PATH_BYTES_MAX: Final = 107
#: How long a loop that is well takes at the very most.
ANSWER_S: Final = 5.0

_REFUSALS: Final[dict[object, type[DitaError]]] = {
    int(ExitCode.USAGE): UsageError,
    int(ExitCode.STALE): Unanswered,
    int(ExitCode.REFUSED): RefusedForSafety,
    int(ExitCode.VENUE): VenueError,
    int(ExitCode.SETTINGS): SettingsError,
}


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


def call(
    directory: Path,
    request: dict[str, Any],
    timeout_s: float = ANSWER_S,
    *,
    taken_within_s: float = 0,
) -> dict[str, Any]:
    """Ask the serve of a state directory, and wait for its answer for so long.

    What adds risk or repairs is done only when serve takes it up within ``taken_within_s``, 0 for
    all of the time.

    NotRunning when nobody listens; Unanswered (a TimeoutError) when it does not answer or ends
    before it does; OperatorError with its own words when it refuses, RefusedForSafety and
    VenueError where those are the reason.
    """
    until_ns = SystemClock().boottime_ns() + int((taken_within_s or timeout_s) * 10**9)
    asked = json.dumps({**request, UNTIL: until_ns}).encode() + b"\n"
    line = _asked(socket_path(directory), asked, timeout_s)
    answer = json.loads(line)
    if not answer.pop("ok", False):
        raise _REFUSALS.get(answer.get("exit_code"), OperatorError)(
            str(answer.get("message", "refused")),
            expected=str(answer.get("expected", "")),
            found=str(answer.get("found", "")),
            action=str(answer.get("action", "")),
        )
    return dict(answer)


def _asked(path: Path, line: bytes, timeout_s: float) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
        except TimeoutError as silent:
            raise _unanswered(timeout_s) from silent
        except OSError as nobody:
            raise _not_reached(path, nobody) from nobody
        try:
            connection.sendall(line)
            with connection.makefile("rb") as answers:
                answer = answers.readline()
        except TimeoutError as silent:
            raise _unanswered(timeout_s) from silent
        except ConnectionError:
            answer = b""
    if not answer:
        raise Unanswered(
            "serve ended before it answered",
            expected="an answer",
            found="a closed connection",
            action="look at what came of it: pink-ctl status",
        )
    return answer


def _unanswered(timeout_s: float) -> Unanswered:
    return Unanswered(
        "serve does not answer",
        expected=f"an answer within {timeout_s:g} s",
        found="none",
        action="its loop is stuck or very slow: look at its log, and restart it if it stays so",
    )


def _not_reached(path: Path, bad: OSError) -> DitaError:
    if isinstance(bad, PermissionError):
        owner = _owner_of(path)
        return OperatorError(
            "serve's control socket is not ours to use",
            expected=f"to be run as the user of {path.parent}",
            found=bad.strerror or "no permission",
            action=f"run it as that user: sudo -u {owner or 'USER'} ...",
        )
    return NotRunning(
        "serve is not running",
        expected=f"a serve that listens on {path}",
        found="nobody" if isinstance(bad, FileNotFoundError) else bad.strerror or "nobody",
        action="start it with `pink-ctl serve`, or name its --state-dir",
    )


def _owner_of(path: Path) -> str:
    try:
        return user_name(path.parent.stat().st_uid)
    except OSError:
        return ""


def user_name(uid: int) -> str:
    """Of a user, or `uid N` where the system has no entry (a container's)."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
