"""Small files: our own are private and whole, other people's are read up to a limit.

Our own files never follow a symbolic link, have mode 0600 whatever the umask is, and are replaced
in one step.  What is in a file is the caller's matter.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Final

__all__ = ["OWN_BYTES_MAX", "open_own", "read_limited", "read_own", "write_own"]

OWN_BYTES_MAX: Final = 65_536
_OURS: Final = os.O_CLOEXEC | os.O_NOFOLLOW


def read_limited(path: Path | str, limit: int) -> bytes:
    """The content of a file that somebody named.  OSError; EFBIG when there is more than that.

    So an endless one (a device, a pipe) ends here.
    """
    with open(path, "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"more than {limit} bytes", str(path))
    return content


def open_own(path: Path, flags: int) -> int:
    """Open a regular file of ours, with O_CREAT made 0600.  OSError; ELOOP for a link."""
    fd = os.open(path, flags | _OURS | os.O_NONBLOCK, 0o600)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if flags & os.O_CREAT and found.st_uid == os.geteuid():
            os.fchmod(fd, 0o600)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_own(path: Path) -> str:
    """The text of a small file of ours; "" when there is none.  OSError."""
    try:
        fd = open_own(path, os.O_RDONLY)
    except FileNotFoundError:
        return ""
    with os.fdopen(fd, "rb") as file:
        return file.read(OWN_BYTES_MAX).decode("utf-8", "replace")


def write_own(path: Path, text: str) -> None:
    """Replace a small file of ours, durably and in one step.  OSError."""
    temporary = path.with_name(f"{path.name}.tmp")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    fd = open_own(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with os.fdopen(fd, "wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(fd)
    temporary.replace(path)
