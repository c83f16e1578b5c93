"""One active kernel per state directory, and not too many starts in a row.

The lock is an OS lock: it goes with the process, however that ends.  It is taken before anything
else, so a second process leaves before its first network call.  Knows nothing of what it guards.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from pathlib import Path
from typing import Final

from dita.errors import AlreadyRunning

_UNWRITABLE: Final = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT})


class StateLock:
    """Exclusive hold of a state directory (created 0700).  AlreadyRunning when another has it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = directory / "lock"
        self._fd = self._open()
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            owner = self._owner()
            os.close(self._fd)
            raise AlreadyRunning(
                "another kernel is active",
                expected=f"nobody to hold {self.path}",
                found=f"process {owner}" if owner else "a lock held by another process",
                action="use `pink-ctl status`, or stop that process first",
            ) from held
        with contextlib.suppress(OSError):  # only told to whoever comes second
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def _open(self) -> int:
        # Not inherited by children: a forked child would keep the lock after our death.
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as bad:
            if bad.errno not in _UNWRITABLE:
                raise
        # An OS lock needs no writing, and a file that was never there was never locked.
        return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def _owner(self) -> str:
        return os.pread(self._fd, 32, 0).decode(errors="replace").strip()

    def release(self) -> None:
        """Let go; safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class StartBudget:
    """Counts starts that did not end in a clean stop; over budget, start in HOLD (fault row 51)."""

    def __init__(self, directory: Path, *, budget: int, window_ms: int) -> None:
        self.path = directory / "starts.json"
        self.budget = budget
        self.window_ms = window_ms
        #: Why starts cannot be counted; "" while they can.
        self.problem = ""
        #: Starts before this one that did not end in a clean stop, as far as they count.
        self.unclean = 0

    def _read(self) -> list[int]:
        try:
            starts = json.loads(self.path.read_text())
        except (FileNotFoundError, ValueError):
            return []  # a torn or missing file only forgets how often we started
        return [s for s in starts if isinstance(s, int)] if isinstance(starts, list) else []

    def _write(self, starts: list[int]) -> None:
        temporary = self.path.with_suffix(".tmp")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump(starts, file)
        temporary.replace(self.path)

    def start(self, now_ms: int) -> bool:
        """Count this start; True when there were more than the budget within the window.

        Also when it cannot be counted: what is open still has to be closed, but no more than that.
        """
        starts = [s for s in self._read() if now_ms - s < self.window_ms] + [now_ms]
        self.unclean = len(starts) - 1
        try:
            self._write(starts)
        except OSError as bad:
            self.problem = f"starts cannot be counted: {bad.strerror}"
        return len(starts) > self.budget or bool(self.problem)

    def take_back(self) -> None:
        """This start was no serve's: it does not count."""
        self._write(self._read()[:-1])

    def stopped_cleanly(self) -> None:
        """A clean stop: the count begins anew."""
        with contextlib.suppress(OSError):  # then this start counts a little longer
            self._write([])
