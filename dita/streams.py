"""The standard streams of a process, made so that nothing that happens to them can end it.

The command line calls ``secure`` before anything is opened.  stderr is talk: when it is closed,
full or a broken pipe the words are lost, and exit codes and trading stay as they are.
"""

from __future__ import annotations

import io
import os
import sys

STDOUT, STDERR = 1, 2


class Talk(io.TextIOBase):
    """Text straight to a descriptor.  What cannot be written is lost; nothing is kept for later."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, fd: int) -> None:
        self._fd = fd
        #: Writes of which something was lost, and why the last of them was.
        self.lost = 0
        self.trouble = ""

    def write(self, text: str) -> int:
        """Write all of it, or as much as the descriptor takes."""
        left = text.encode(self.encoding, self.errors)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError as bad:  # nobody can be told: this is the way by which people are told
            self.lost += 1
            self.trouble = bad.strerror or str(bad)
        return len(text)

    def flush(self) -> None:
        """Nothing waits."""

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Does a person look at it?"""
        return os.isatty(self._fd)

    def writable(self) -> bool:
        """Always: that is the point."""
        return True


def secure() -> None:
    """Open what the caller closed, and let stderr never fail.

    A closed descriptor is the number that the next file gets: stderr's could be the journal's, and
    whatever writes an error would write into it.
    """
    for fd in (0, STDOUT, STDERR):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
            os.set_inheritable(fd, True)
    if sys.stdout is None:
        sys.stdout = os.fdopen(STDOUT, "w", closefd=False, encoding="utf-8")
    sys.stderr = Talk(STDERR)
