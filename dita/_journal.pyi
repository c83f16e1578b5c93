"""What Python may see of the journal's compiled loops; stubtest keeps both equal."""

from array import array
from typing import Any, Final, final

from typing_extensions import Buffer

from dita.errors import BadField as BadField

INPUT: Final[int]
MARK: Final[int]
EPOCH: Final[int]
QUARANTINE: Final[int]
NOTE: Final[int]
CARRIED: Final[int]
CLOSE: Final[int]
FULL: Final[int]
EDGE: Final[int]
END: Final[int]
BAD: Final[int]
AT_MARK: Final[int]
NEWER: Final[int]
AT_QUARANTINE: Final[int]
HEADER_SIZE: Final[int]
INPUT_SIZE: Final[int]
PAYLOAD_LIMIT: Final[int]
PAYLOAD_VERSION: Final[int]
SLOT_SIZE: Final[int]

def crc32c(data: Buffer, crc: int = 0, table: bool = False) -> int: ...
def has_instruction() -> bool: ...

@final
class Writer:
    def __new__(cls, next_seq: int, previous: int, limit: int) -> Writer: ...
    def put_input(self, packed: bytes, texts: bytes, quarantines: bool = False) -> int: ...
    def put_other(self, kind: int, payload: bytes) -> int: ...
    def take(self, synced: int) -> bytes: ...
    @property
    def next_seq(self) -> int: ...
    @property
    def pending(self) -> int: ...
    @property
    def pending_bytes(self) -> int: ...

def stamp(
    slot: bytes,
    generation: int,
    seq: int,
    crc: int,
    segment: int,
    end: int,
    record_ms: int,
    boottime_ns: int,
    wall_ms: int,
) -> bytes: ...
def fit(batch: bytes, start: int, room: int) -> tuple[int, int, int]: ...
def scan(
    data: Buffer,
    at: int,
    seq: int,
    previous: int,
    *,
    first: int = 0,
    until: int = 0,
    inputs: bytearray | None = None,
    notes: array[int] | None = None,
    named: array[int] | None = None,
    stop_at_mark: bool = False,
    stop_at_quarantine: bool = False,
) -> tuple[int, int, int, int, int, int, int, int, int, int]: ...
def later(data: Buffer, at: int, seq: int) -> tuple[int, int, int]: ...
def used(data: Buffer, at: int) -> int: ...
def fields(packed: bytes) -> dict[str, Any]: ...
def order_no(packed: bytes) -> int: ...
def with_order_no(packed: bytes, number: int) -> bytes: ...
