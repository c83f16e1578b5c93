"""Names and headers of the journal's files.

A file's name has the number of its first record (of its only one, for a snapshot), so a directory
listing alone says what is where.  Reader, writer and snapshots share this.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final, NamedTuple

from dita import _journal
from dita.errors import SettingsError, shown

#: Of segment and snapshot files.  A file with a newer number is refused.
FORMAT_VERSION: Final = 2

_MAGIC: Final = b"DITAJRNL"
#: Magic, version, previous checksum, namespace, epoch, first number, bytes of the file; room; its
#: own checksum.  Version 1 had no bytes of the file, and no high-water mark beside the journal.
SEGMENT_HEADER: Final = struct.Struct("<8sB3xIQQQQ12xI")
TEMPORARY: Final = "segment.tmp"
SEGMENT_NAME: Final = ("journal-", ".seg")
RESERVE_NAME: Final = ("reserve-", ".seg")
SNAPSHOT_NAME: Final = ("snapshot-", ".snap")


def name_of(pattern: tuple[str, str], number: int) -> str:
    """The name with this number."""
    return f"{pattern[0]}{number:020d}{pattern[1]}"


def numbers_of(pattern: tuple[str, str], names: list[str]) -> list[int]:
    """Numbers of the names that have this pattern, ascending."""
    start, end = pattern
    found = [n[len(start) : -len(end)] for n in names if n.startswith(start) and n.endswith(end)]
    return sorted(int(n) for n in found if len(n) == 20 and n.isascii() and n.isdecimal())


def namespace_hash_of(namespace: str) -> int:
    """What a segment's header has of the namespace."""
    return int.from_bytes(hashlib.blake2b(namespace.encode(), digest_size=8).digest(), "little")


class Segment(NamedTuple):
    """One segment file.  All of the ones before are synced once its name is there."""

    name: str
    first_seq: int
    previous: int
    namespace_hash: int
    epoch: int
    #: As it was made, all its blocks given to it; 0 in files of version 1, which did not say.
    size: int

    @property
    def journal(self) -> tuple[int, int]:
        """Which journal it is a part of."""
        return self.namespace_hash, self.epoch

    def header(self) -> bytes:
        """The first bytes of its file."""
        head = SEGMENT_HEADER.pack(
            _MAGIC,
            FORMAT_VERSION,
            self.previous,
            self.namespace_hash,
            self.epoch,
            self.first_seq,
            self.size,
            0,
        )[:-4]
        return head + _journal.crc32c(head).to_bytes(4, "little")


def newer(what: str, version: object) -> SettingsError:
    """The refusal of what a later release wrote."""
    return SettingsError(
        f"{what} was written by a newer release",
        expected=f"format version up to {FORMAT_VERSION}",
        found=shown(version),
        action="use the release that wrote it",
    )


def read_header(name: str, head: bytes) -> Segment | None:
    """The header of a segment's file, None for what is none.  SettingsError for a newer one."""
    if len(head) != SEGMENT_HEADER.size:
        return None
    magic, version, previous, space, epoch, first, size, crc = SEGMENT_HEADER.unpack(head)
    if magic != _MAGIC or crc != _journal.crc32c(head[:-4]):
        return None
    if version > FORMAT_VERSION:
        raise newer(f"segment {name}", version)
    if name != name_of(SEGMENT_NAME, first):
        return None
    return Segment(name, first, previous, space, epoch, size)
