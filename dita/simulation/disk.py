"""A disk in memory: what was not synced may be lost, torn or reordered when the power goes.

It keeps `dita.journal.Disk`'s promises and none beside them.  Each sector that was written since
the last sync is, after a crash, any of its versions or torn between two; a name is durable after
its directory's sync.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random
from typing import Final

SECTOR: Final = 512


class SimFile:
    """Content as the cache has it, as the platter has it, and each sector's versions between."""

    def __init__(self, data: bytes = b"") -> None:
        self.cache = bytearray(data)
        self.safe = bytearray(data)
        self.versions: dict[int, list[bytes]] = {}

    def write(self, data: bytes, offset: int) -> None:
        end = offset + len(data)
        self.cache.extend(bytes(max(0, end - len(self.cache))))
        self.cache[offset:end] = data
        for sector in range(offset // SECTOR, (end - 1) // SECTOR + 1):
            start = sector * SECTOR
            version = bytes(self.cache[start : start + SECTOR]).ljust(SECTOR, b"\0")
            self.versions.setdefault(sector, []).append(version)

    def sync(self) -> None:
        """Only what is dirty reaches the platter, as with a real cache."""
        self.safe.extend(bytes(len(self.cache) - len(self.safe)))
        for sector, versions in self.versions.items():
            start = sector * SECTOR
            self.safe[start : start + SECTOR] = versions[-1][: len(self.safe) - start]
        self.versions.clear()

    def after_crash(self, chance: Random) -> bytes:
        """Each unsynced sector is old, any of its versions, or torn between two."""
        size = len(self.cache) if self.versions or chance.random() < 0.5 else len(self.safe)
        found = bytearray(self.safe[:size].ljust(size, b"\0"))
        for sector, versions in self.versions.items():
            start = sector * SECTOR
            old = bytes(found[start : start + SECTOR]).ljust(SECTOR, b"\0")
            new = chance.choice([old, *versions])
            if chance.random() < 0.3:
                cut = chance.randrange(SECTOR)
                new = chance.choice(versions)[:cut] + old[cut:]
            room = size - start
            found[start : start + SECTOR] = new[:room]
        return bytes(found)


class SimDisk:
    """A disk in memory.  ``before`` is called with every operation's name and may raise."""

    def __init__(self) -> None:
        self.names: dict[str, SimFile] = {}
        self.steps: list[dict[str, SimFile]] = [{}]  # names since the last directory sync
        self.open_files: dict[int, SimFile] = {}
        self.before: Callable[[str], None] = lambda operation: None
        self.short = 1 << 30
        self.room = 1 << 40
        self.calls = 0
        self.opened = 0

    def _call(self, operation: str) -> None:
        self.calls += 1
        self.before(operation)

    def _renamed(self) -> None:
        self.steps.append(dict(self.names))

    def make_directory(self, path: str) -> None:
        self._call("mkdir")

    def list(self, directory: str) -> list[str]:
        start = directory + "/"
        return sorted(n.removeprefix(start) for n in self.names if n.startswith(start))

    def size(self, path: str) -> int:
        if path not in self.names:
            raise FileNotFoundError(path)
        return len(self.names[path].cache)

    def read(self, path: str, start: int = 0, size: int = -1) -> bytes:
        self._call("read")
        if path not in self.names:
            raise FileNotFoundError(path)
        rest = self.names[path].cache[start:]
        return bytes(rest if size < 0 else rest[:size])

    def create(self, path: str) -> int:
        self._call("create")
        if path in self.names:
            raise FileExistsError(path)
        self.names[path] = SimFile()
        self._renamed()
        return self.open(path)

    def open(self, path: str) -> int:
        self.opened += 1
        self.open_files[self.opened] = self.names[path]
        return self.opened

    def close(self, fd: int) -> None:
        del self.open_files[fd]

    def fallocate(self, fd: int, size: int) -> None:
        self._call("fallocate")
        used = sum(len(f.cache) for f in set(self.names.values()))
        if used + size > self.room:
            raise OSError(errno.ENOSPC, "no space")
        file = self.open_files[fd]
        file.cache.extend(bytes(size - len(file.cache)))

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        self._call("pwrite")
        taken = bytes(data[: self.short])
        self.open_files[fd].write(taken, offset)
        return len(taken)

    def fdatasync(self, fd: int) -> None:
        self._call("fdatasync")
        self.open_files[fd].sync()

    def fsync_directory(self, path: str) -> None:
        self._call("fsync_directory")
        self.steps = [dict(self.names)]

    def rename(self, source: str, target: str) -> None:
        self._call("rename")
        if source in self.names:
            self.names[target] = self.names.pop(source)
        for name in [n for n in self.names if n.startswith(f"{source}/")]:  # a directory
            self.names[target + name.removeprefix(source)] = self.names.pop(name)
        self._renamed()

    def unlink(self, path: str) -> None:
        self._call("unlink")
        if path not in self.names:
            raise FileNotFoundError(path)
        del self.names[path]
        self._renamed()

    def remove_directory(self, path: str) -> None:
        self._call("remove_directory")

    def is_at(self, path: str, fd: int) -> bool:
        return self.names.get(path) is self.open_files[fd]

    def free(self, path: str) -> int:
        return self.room - sum(len(f.cache) for f in set(self.names.values()))

    def crashed(self, chance: Random) -> SimDisk:
        """What is there after the power came back."""
        disk = SimDisk()
        names = chance.choice(self.steps)
        disk.names = {n: SimFile(f.after_crash(chance)) for n, f in sorted(names.items())}
        disk.steps = [dict(disk.names)]
        return disk
