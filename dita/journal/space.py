"""Files for segments: all their blocks given to them, out of a reserve when the disk is full.

Space that is set aside is kept as files that become segments as they are, so nobody else can take
it in between.  The writer uses this; it knows nothing of what is in a segment.
"""

from __future__ import annotations

import contextlib
from typing import Final

from dita.errors import SettingsError, shown
from dita.journal.disk import FULL_ERRORS, Disk, publish
from dita.journal.segments import RESERVE_NAME, TEMPORARY, name_of, numbers_of

SEGMENT_BYTES_MIN: Final = 8_192


class SegmentFiles:
    """New files in a journal's folder, and the reserve there.  Everything may raise OSError."""

    def __init__(self, disk: Disk, directory: str, segment_bytes: int) -> None:
        if segment_bytes < SEGMENT_BYTES_MIN or segment_bytes % 8:
            raise SettingsError(
                "segment size refused",
                expected=f"a multiple of 8 from {SEGMENT_BYTES_MIN} bytes",
                found=shown(segment_bytes),
            )
        self._disk = disk
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._reserve: list[str] = []
        self._reserve_is_free = False

    def new(self, at_least: int = 0) -> tuple[int, int]:
        """Returns descriptor and size of a new file, whose name is still TEMPORARY.

        Only a file that is larger than others cannot come out of the reserve.
        """
        wanted = max(self._segment_bytes, at_least + -at_least % 8)
        path = f"{self._directory}/{TEMPORARY}"
        fd = -1
        try:
            fd = self._disk.create(path)
            self._disk.fallocate(fd, wanted)
            return fd, wanted
        except OSError as bad:
            self.drop(fd)
            has_one = self._reserve_is_free and self._reserve and wanted == self._segment_bytes
            if bad.errno not in FULL_ERRORS or not has_one:
                raise
        reserve = f"{self._directory}/{self._reserve[-1]}"
        self._disk.rename(reserve, path)
        self._reserve.pop()
        return self._disk.open(path), self._disk.size(path)

    def drop(self, fd: int) -> None:
        """Remove a new file that came to nothing."""
        with contextlib.suppress(OSError):
            if fd >= 0:
                self._disk.close(fd)
        with contextlib.suppress(OSError):
            self._disk.unlink(f"{self._directory}/{TEMPORARY}")

    @property
    def reserve_bytes(self) -> int:
        """Space that is set aside."""
        paths = (f"{self._directory}/{name}" for name in self._reserve)
        return sum(self._disk.size(path) for path in paths)

    def hold(self, at_least: int) -> None:
        """Set space aside, in whole segments, as far as there is any."""
        self._reserve_is_free = False
        numbers = numbers_of(RESERVE_NAME, self._disk.list(self._directory))
        self._reserve = [name_of(RESERVE_NAME, number) for number in numbers]
        number = numbers[-1] if numbers else 0
        while self.reserve_bytes < at_least:
            number += 1
            if not self._set_aside(name_of(RESERVE_NAME, number)):
                break

    def _set_aside(self, name: str) -> bool:
        try:
            fd, _ = self.new()
            try:
                publish(self._disk, self._directory, fd, TEMPORARY, name)
            finally:
                self._disk.close(fd)
        except OSError as bad:
            if bad.errno in FULL_ERRORS:
                return False
            raise
        self._reserve.append(name)
        return True

    def free(self) -> int:
        """Let the coming segments use what was set aside; how much that is."""
        self._reserve_is_free = True
        return self.reserve_bytes
