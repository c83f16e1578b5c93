"""An event listener for supervisord: serve is down and stays down, so call somebody.

Run by supervisord as ``python -m dita.runtime.server.pager [--config FILE] COMMAND [WORD ...]``;
the command gets one line on its standard input, with what can be typed on this installation.  A
crash that is restarted and a stop that was asked for call nobody.  It speaks supervisord's listener
protocol on stdin and stdout and does not touch serve itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Final

#: A pager that hangs must not keep the next event waiting.
COMMAND_LIMIT_S: Final = 60


def fields_of(line: str) -> dict[str, str]:
    """``a:1 b:2`` as a mapping; supervisord writes headers and payloads so."""
    return dict(word.split(":", 1) for word in line.split() if ":" in word)


def way_out(config: str) -> str:
    """The command that closes positions without serve, as it has to be typed on this machine."""
    program = os.path.join(os.path.dirname(sys.executable), "pink-ctl")
    return f"{program} flatten --emergency" + (f" --config {config}" if config else "")


def open_words(config: str) -> str:
    """What serve has left open, as far as its directory tells."""
    from dita.errors import DitaError
    from dita.runtime.state.directory import directory_of
    from dita.runtime.state.left_open import UNKNOWN, left_open

    try:
        directory = directory_of(Path(config) if config else None, None, os.environ)
    except (DitaError, OSError) as bad:
        return f"{UNKNOWN} (no directory to look into: {bad})"
    return left_open(directory)


def message_of(
    event: str,
    payload: dict[str, str],
    config: str = "",
    opened: Callable[[], str] = lambda: "positions may be open",
) -> str:
    """What to tell; "" when nobody has to know.

    EXITED with ``expected:1`` is one of the program's exitcodes: it is not started again.
    """
    name = f"{payload.get('groupname', '?')}:{payload.get('processname', '?')}"
    if event == "PROCESS_STATE_FATAL":
        return (
            f"{name} does not start any more (FATAL); {opened()}; its stderr log says"
            f" why, for 74 close what is open: {way_out(config)}"
        )
    if event == "PROCESS_STATE_EXITED" and payload.get("expected") == "1":
        return (
            f"{name} ended and stays down; {opened()}; its exit status is in"
            " supervisord's log: 70 report, 64 and 78 mend, 74 close what is open:"
            f" {way_out(config)}"
        )
    return ""


def listen(read: IO[str], write: IO[str], tell: Callable[[str], None], config: str = "") -> None:
    """Answer events until supervisord goes away."""
    while True:
        write.write("READY\n")
        write.flush()
        header = read.readline()
        if not header:
            return
        known = fields_of(header)
        payload = fields_of(read.read(int(known["len"])))
        message = message_of(known["eventname"], payload, config, lambda: open_words(config))
        if message:
            tell(message)
        write.write("RESULT 2\nOK")
        write.flush()


def main(command: Sequence[str], config: str = "") -> None:
    """Listen on stdin and stdout, which supervisord holds."""

    def tell(message: str) -> None:
        sys.stderr.write(f"{message}\n")  # the listener's log, whatever becomes of the command
        sys.stderr.flush()
        try:
            done = subprocess.run(
                command,
                check=False,
                input=f"{message}\n",
                text=True,
                stdout=sys.stderr,  # ours is supervisord's protocol
                timeout=COMMAND_LIMIT_S,
            )
            failed = f"exit status {done.returncode}" if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as bad:
            failed = str(bad)
        if failed:
            sys.stderr.write(f"nobody was called: {failed}\n")
            sys.stderr.flush()

    listen(sys.stdin, sys.stdout, tell, config)


if __name__ == "__main__":
    words, chosen = sys.argv[1:], ""
    if words[:1] == ["--config"]:
        chosen, words = "".join(words[1:2]), words[2:]
    if not words:
        sys.exit("usage: python -m dita.runtime.server.pager [--config FILE] COMMAND [WORD ...]")
    main(words, chosen)
