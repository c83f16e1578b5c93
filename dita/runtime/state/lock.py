"""One active kernel per state directory and per account, and not too many starts in a row.

The locks are the operating system's: they go with the process, however that ends, and leave nothing
behind.  They are taken before anything else, so a second process leaves before its first network
call.  What is done under them is the caller's matter.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import socket
import struct
from pathlib import Path
from typing import Final

from dita.errors import AlreadyRunning, SettingsError
from dita.files import open_own, read_own, write_own

_UNWRITABLE: Final = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT})
_ASKED_MAX: Final = 4_096
_PEER: Final = struct.Struct("3i")  # process, user, group


class StateLock:
    """Exclusive hold of a state directory (created 0700).  AlreadyRunning when another has it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "lock"
        _make(directory)
        self._fd = self._open()
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            owner = self._owner()
            os.close(self._fd)
            raise AlreadyRunning(
                "another kernel is active",
                expected=f"no other process to hold {self.path}",
                found=f"process {owner}" if owner else "a lock held by another process",
                action="use `pink-ctl status`, or stop that process first",
            ) from held
        self._folder = _identity(os.stat(directory))
        with contextlib.suppress(OSError):  # only told to whoever comes second
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def _open(self) -> int:
        # Not inherited by children: a forked child would keep the lock after our death.
        try:
            return open_own(self.path, os.O_RDWR | os.O_CREAT)
        except OSError as bad:
            if bad.errno in (errno.ELOOP, errno.EINVAL):
                raise SettingsError(
                    "the lock of the state directory is not a file of ours",
                    expected=f"{self.path} to be a regular file, or not to be there",
                    found=bad.strerror or str(bad),
                    action="find out who put it there, then remove it",
                ) from bad
            if bad.errno not in _UNWRITABLE:
                raise
        # An OS lock needs no writing, and a file that was never there was never locked.
        return open_own(self.path, os.O_RDONLY)

    def _owner(self) -> str:
        return os.pread(self._fd, 32, 0).decode(errors="replace").strip()

    def missing(self) -> str:
        """What is no longer where it was when it was locked; "" while everything is."""
        for path, locked in ((self.directory, self._folder), (self.path, self._file())):
            try:
                if _identity(os.stat(path, follow_symlinks=path is self.directory)) == locked:
                    continue
            except OSError as bad:
                return f"{path}: {bad.strerror}"
            return f"{path}: another one is in its place"
        return ""

    def _file(self) -> tuple[int, int]:
        return _identity(os.fstat(self._fd))

    def release(self) -> None:
        """Let go; safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _make(directory: Path) -> None:
    """The directory, for its owner alone when it is made here."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            directory.chmod(0o700)  # whatever the umask took away
        if not directory.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))
    except (FileExistsError, NotADirectoryError) as bad:
        raise SettingsError(
            "the state directory is not a directory",
            expected=f"{directory} to be a directory, or not to be there",
            found="a file in its place, or in the place of one above it",
            action="name another --state-dir (journal.directory)",
        ) from bad


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


class AccountLock:
    """One kernel of a name on this machine, whatever its state directory and its user.

    A socket in the abstract namespace: it has no file that could be stale, linked or removed, and
    it is the same one for a supervised process and for one that is started by hand.  Two containers
    see the same only when they share the network.
    """

    def __init__(self, name: str, what: str) -> None:
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        address = b"\0pink-ctl/" + digest.encode()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(address)
            self._socket.listen(_ASKED_MAX)  # nobody accepts: it is how its owner is asked for
        except OSError as bad:
            self._socket.close()
            if bad.errno != errno.EADDRINUSE:
                raise
            raise AlreadyRunning(
                "another kernel is active",
                expected=f"one kernel {what} on this machine",
                found=_owner_of(address),
                action="stop that process first; an account of its own needs a kernel.namespace of"
                " its own, a copy of a state directory must not run beside the original",
            ) from bad

    def release(self) -> None:
        """Let go; safe to call twice."""
        self._socket.close()


def _owner_of(address: bytes) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(address)
            found = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        except OSError:
            return "another process"
        process, user, _ = _PEER.unpack(found)
        return f"process {process} of user {user}, with another state directory"


class StartBudget:
    """Counts starts that did not end in a clean stop; over budget, start in HOLD."""

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
            starts = json.loads(read_own(self.path))
        except (OSError, ValueError, RecursionError):
            return []  # a torn or missing file only forgets how often we started
        return [s for s in starts if isinstance(s, int)] if isinstance(starts, list) else []

    def _write(self, starts: list[int]) -> None:
        write_own(self.path, json.dumps(starts))

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
        with contextlib.suppress(OSError):  # then it counts all the same
            self._write(self._read()[:-1])

    def stopped_cleanly(self) -> None:
        """A clean stop: the count begins anew."""
        with contextlib.suppress(OSError):  # then this start counts a little longer
            self._write([])
