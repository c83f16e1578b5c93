"""The file system as the journal uses it, behind one small protocol.

Writer and snapshots call it; tests put a disk in its place that is full, fails or loses what was
never synced.  It knows nothing of what is in the files.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from typing import Final, Protocol

#: Closed in children, and the file itself: a symbolic link in the place of one is an error.
_OURS: Final = os.O_CLOEXEC | os.O_NOFOLLOW
FULL_ERRORS: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Disk(Protocol):
    """The file system as the journal uses it; tests put a faulty one in its place."""

    def make_directory(self, path: str) -> None: ...
    def list(self, directory: str) -> list[str]: ...
    def size(self, path: str) -> int: ...
    def read(self, path: str, start: int = 0, size: int = -1) -> bytes: ...
    def create(self, path: str) -> int: ...
    def open(self, path: str) -> int: ...
    def close(self, fd: int) -> None: ...
    def fallocate(self, fd: int, size: int) -> None: ...
    def pwrite(self, fd: int, data: memoryview, offset: int) -> int: ...
    def fdatasync(self, fd: int) -> None: ...
    def fsync_directory(self, path: str) -> None: ...
    def rename(self, source: str, target: str) -> None: ...
    def unlink(self, path: str) -> None: ...
    def remove_directory(self, path: str) -> None: ...
    def free(self, path: str) -> int: ...
    def is_at(self, path: str, fd: int) -> bool: ...


@dataclass(frozen=True, slots=True)
class OsDisk:
    """The machine's own."""

    def make_directory(self, path: str) -> None:
        """Create a directory for the owner alone, durably; fine when it is there."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
            os.chmod(path, 0o700)  # whatever the umask took away
            self.fsync_directory(os.path.dirname(os.path.abspath(path)))

    def list(self, directory: str) -> list[str]:
        """Names in a directory, sorted."""
        return sorted(os.listdir(directory))

    def size(self, path: str) -> int:
        """Bytes of a file."""
        return os.stat(path).st_size

    def read(self, path: str, start: int = 0, size: int = -1) -> bytes:
        """A part of a file, or all.  Copied, not mapped: a read error must not be a SIGBUS."""
        with open(os.open(path, os.O_RDONLY | _OURS), "rb", buffering=0) as file:
            file.seek(start)
            if size < 0:
                return file.readall()
            pieces: list[bytes] = []
            while size and (piece := file.read(size)):
                pieces.append(piece)
                size -= len(piece)
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def create(self, path: str) -> int:
        """A new file of the owner's, open for writing."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _OURS, 0o600)
        os.fchmod(fd, 0o600)  # whatever the umask took away
        return fd

    def open(self, path: str) -> int:
        """A file that is there, open for writing."""
        return os.open(path, os.O_RDWR | _OURS)

    def close(self, fd: int) -> None:
        """Close a file."""
        os.close(fd)

    def fallocate(self, fd: int, size: int) -> None:
        """Give a file all its blocks."""
        os.posix_fallocate(fd, 0, size)

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        """Write at a place; may take less than it was given."""
        return os.pwrite(fd, data, offset)

    def fdatasync(self, fd: int) -> None:
        """Make a file's content durable."""
        os.fdatasync(fd)

    def fsync_directory(self, path: str) -> None:
        """Make the names in a directory durable."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, source: str, target: str) -> None:
        """Give a file another name, over what had it."""
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        """Remove a file."""
        os.unlink(path)

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        os.rmdir(path)

    def free(self, path: str) -> int:
        """Bytes that an ordinary user may still write."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def is_at(self, path: str, fd: int) -> bool:
        """Is the open file still the one at this path?"""
        try:
            found, ours = os.stat(path, follow_symlinks=False), os.fstat(fd)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)


def write_all(disk: Disk, fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write everything, however little each call takes."""
    view = memoryview(data)
    while view.nbytes:
        try:
            count = disk.pwrite(fd, view, offset)
        except InterruptedError:
            continue
        if count <= 0:
            raise OSError(errno.EIO, "a write took nothing")
        view, offset = view[count:], offset + count


def publish(disk: Disk, directory: str, fd: int, temporary: str, name: str) -> None:
    """Content first, then the name, then the directory: a name never stands for half a file."""
    try:
        disk.fdatasync(fd)
        disk.rename(os.path.join(directory, temporary), os.path.join(directory, name))
        disk.fsync_directory(directory)
    except OSError as bad:  # whatever its number: a failed sync is never "disk full, try again"
        raise OSError(errno.EIO, f"a failed sync: {bad}") from bad
