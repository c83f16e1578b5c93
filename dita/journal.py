"""The journal: every input in its order, durable before anybody outside may see what it did.

Append-only segments of chained, checksummed records; one writer; snapshots beside them.  The runtime
appends, commits and recovers through this module, commands read through it; what a record means is
the engine's matter.  Any doubt about what was written ends in a JournalFault, never in a guess.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Protocol

import msgspec

from dita import _journal
from dita.account import AccountConfig
from dita.contracts import (
    BalanceReason,
    ContractRules,
    ControlAction,
    EvidenceSource,
    KernelCommandType,
    KernelEventKind,
    KernelIntent,
    OrderRole,
    OrderSide,
    OrderType,
    Record,
    RejectReason,
    TradeSide,
    VenueEvent,
)
from dita.engine import Engine
from dita.errors import (
    BadField,
    ExitCode,
    OperatorError,
)
from dita.kernel import KernelConfig

Input = KernelIntent | VenueEvent

#: Of segment and snapshot files.  A file with a newer number is refused.
FORMAT_VERSION: Final = 1
SEGMENT_BYTES: Final = 64 * 2**20
SEGMENT_BYTES_MIN: Final = 8_192
#: Records that wait in memory for a disk that takes nothing; beyond it appends are refused.
PENDING_BYTES_MAX: Final = 64 * 2**20
REASON_BYTES_MAX: Final = 2_000
SNAPSHOTS_KEPT: Final = 2

#: Payload version → (kind, payload) → payload of the next version.
UPCASTERS: dict[int, Callable[[int, bytes], bytes]] = {}

_REBUILD: Final = (
    "keep the directory as it is; close positions with `pink-ctl flatten --emergency`; start a new"
    " journal from the exchange's truth"
)
_FULL_ERRORS: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_CHUNK_INPUTS: Final = 4_096


class JournalFull(OperatorError):
    """The disk takes no more.  Nothing is lost: what was appended waits in memory, in its order.

    Stop new risk, make room or call ``Journal.free_reserve``, then commit again.
    """

    exit_code = ExitCode.JOURNAL


# -- DISK ------------------------------------------------------------------------------------------


class Disk(Protocol):
    """The file system as the journal uses it; tests put a faulty one in its place."""

    def make_directory(self, path: str) -> None: ...
    def list(self, directory: str) -> list[str]: ...
    def size(self, path: str) -> int: ...
    def read(self, path: str) -> bytes | bytearray: ...
    def create(self, path: str) -> int: ...
    def open(self, path: str) -> int: ...
    def close(self, fd: int) -> None: ...
    def fallocate(self, fd: int, size: int) -> None: ...
    def pwrite(self, fd: int, data: memoryview, offset: int) -> int: ...
    def fdatasync(self, fd: int) -> None: ...
    def fsync_directory(self, path: str) -> None: ...
    def rename(self, source: str, target: str) -> None: ...
    def unlink(self, path: str) -> None: ...
    def free(self, path: str) -> int: ...


@dataclass(frozen=True, slots=True)
class OsDisk:
    """The machine's own."""

    def make_directory(self, path: str) -> None:
        """Create a directory for the owner alone, durably; fine when it is there."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
            self.fsync_directory(os.path.dirname(os.path.abspath(path)))

    def list(self, directory: str) -> list[str]:
        """Names in a directory, sorted."""
        return sorted(os.listdir(directory))

    def size(self, path: str) -> int:
        """Bytes of a file."""
        return os.stat(path).st_size

    def read(self, path: str) -> bytearray:
        """A whole file.  Copied, not mapped: a read error must be an exception, not a SIGBUS."""
        with open(path, "rb", buffering=0) as file:
            data = bytearray(os.fstat(file.fileno()).st_size)
            view, done = memoryview(data), 0
            while done < len(data) and (count := file.readinto(view[done:])):
                done += count
            return data if done == len(data) else data[:done]

    def create(self, path: str) -> int:
        """A new file of the owner's, open for writing."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return os.open(path, flags, 0o600)

    def open(self, path: str) -> int:
        """A file that is there, open for writing."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

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

    def free(self, path: str) -> int:
        """Bytes that an ordinary user may still write."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize


def _write_all(disk: Disk, fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write everything, however little each call takes."""
    view = memoryview(data)
    while view:
        try:
            count = disk.pwrite(fd, view, offset)
        except InterruptedError:
            continue
        if count <= 0:
            raise OSError(errno.EIO, "a write took nothing")
        view, offset = view[count:], offset + count


def _publish(disk: Disk, directory: str, fd: int, temporary: str, name: str) -> None:
    """Content first, then the name, then the directory: a name never stands for half a file."""
    disk.fdatasync(fd)
    disk.rename(f"{directory}/{temporary}", f"{directory}/{name}")
    disk.fsync_directory(directory)


# -- RECORDS ---------------------------------------------------------------------------------------

_ACCOUNT_KINDS: Final = frozenset(
    {KernelEventKind.ACCOUNT_UPDATE, KernelEventKind.FUNDING_FEE, KernelEventKind.TRANSFER}
)
_FIRST_EVENT_KIND: Final = min(KernelEventKind)
_EMPTY_CONTRACT: Final = ContractRules(tick_e10=0, step_e8=0)
_encode = msgspec.msgpack.Encoder().encode
_decode_texts = msgspec.msgpack.Decoder(list[str | dict[str, str]]).decode


class Epoch(Record, frozen=True, kw_only=True):
    """Whose journal this is; its first record, never changed."""

    created_ms: int
    kernel: KernelConfig
    account: AccountConfig

    @property
    def namespace(self) -> str:
        """The system that it belongs to."""
        return self.kernel.namespace

    @property
    def number(self) -> int:
        """Minted once per journal; part of every client order id."""
        return self.kernel.epoch

    def engine(self) -> Engine:
        """An engine as it was before the first input."""
        return Engine(self.kernel, self.account)


def _epoch_payload(epoch: Epoch) -> bytes:
    # The configurations as JSON within: money passes 64 bits, which msgpack cannot hold.
    kernel, account = msgspec.json.encode(epoch.kernel), msgspec.json.encode(epoch.account)
    return _encode((epoch.created_ms, kernel, account))


def _epoch_of(payload: bytes) -> Epoch:
    created_ms, kernel, account = msgspec.msgpack.decode(payload, type=tuple[int, bytes, bytes])
    return Epoch(
        created_ms=created_ms,
        kernel=msgspec.json.decode(kernel, type=KernelConfig),
        account=msgspec.json.decode(account, type=AccountConfig),
    )


def _texts(record: Input, packed: bytes) -> bytes:
    """What the packed form lacks.  A decimal venue id is its own key, so it is in there already."""
    hashed = packed[55:56] > b"\x7f"  # the key's highest bit
    venue = record.venue_order_id if hashed else ""
    if isinstance(record, VenueEvent):
        texts = (record.event_id, record.asset, venue, record.client_order_id)
        rest = _event_rest(record)
    else:
        reason = record.reason
        if reason and not _is_short(reason):
            raise BadField("reason", reason, f"text of at most {REASON_BYTES_MAX} bytes of UTF-8")
        texts = (record.intent_id, record.trade_id, record.asset, venue, reason)  # type: ignore[assignment]
        rest = {"contract": ""} if record.contract == _EMPTY_CONTRACT else None
    return _encode((*texts, rest) if rest else texts)


def _is_short(reason: object) -> bool:
    if not isinstance(reason, str) or len(reason) > REASON_BYTES_MAX:
        return False
    try:
        return len(reason.encode()) <= REASON_BYTES_MAX
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _event_rest(e: VenueEvent) -> dict[str, str] | None:
    # Fields that mean nothing for this kind of event, and so have no place in the packed form.
    if e.kind in _ACCOUNT_KINDS:
        if e.fee is None and e.realized is None and not e.reject:
            return None
        odd = {"fee": e.fee, "realized": e.realized, "reject": e.reject or None}
    else:
        if e.amount is None and not e.available_margin and not e.balance_reason:
            return None
        margin, reason = e.available_margin or None, e.balance_reason or None
        odd = {"amount": e.amount, "available_margin": margin, "balance_reason": reason}
    found: dict[str, str] = {}
    for field, value in odd.items():
        if value is None:
            continue
        if not isinstance(value, int) or value.bit_length() > 128:
            raise BadField(field, value, "an exact int within 128 bits")
        found[field] = str(int(value))
    return found


def _member(enum: type[IntEnum], number: int) -> Any:
    # A number that the enum does not know was refused by the kernel; it is told as it came.
    return enum(number) if number in enum.__members__.values() else number


def record_of(packed: bytes, texts: bytes) -> Input:
    """The input that was appended."""
    numbers = _journal.fields(packed)
    found = _decode_texts(texts)
    rest = found.pop() if found and isinstance(found[-1], dict) else {}
    told = [str(text) for text in found]
    assert isinstance(rest, dict)
    if numbers["kind"] >= _FIRST_EVENT_KIND:
        return _event_of(numbers, told, rest)
    return _intent_of(numbers, told, rest)


def _venue_text(n: dict[str, Any], text: str) -> str:
    return text or (str(n["venue_key"]) if n["venue_key"] else "")


def _event_of(n: dict[str, Any], texts: list[str], rest: dict[str, str]) -> VenueEvent:
    event_id, asset, venue_id, client_id = texts
    odd = {name: int(text) for name, text in rest.items()}
    of_account = n["kind"] in _ACCOUNT_KINDS
    reported = n["reported_realized"]
    return VenueEvent(
        kind=_member(KernelEventKind, n["kind"]),
        received_ms=n["received_ms"],
        exchange_ms=n["exchange_ms"],
        event_id=event_id,
        asset=asset,
        venue_order_id=_venue_text(n, venue_id),
        client_order_id=client_id,
        slot_id=n["slot"],
        side=_member(OrderSide, n["side"]),
        quantity_e8=n["quantity_e8"],
        increment=n["increment"],
        price_e10=n["price_e10"],
        last_quantity_e8=n["last_quantity_e8"],
        last_price_e10=n["last_price_e10"],
        cost=n["reported_cost"],
        fee=odd.get("fee") if of_account else n["reported_fee"],
        realized=odd.get("realized") if of_account else reported,
        source=_member(EvidenceSource, n["source"]),
        reject=_member(RejectReason, odd.get("reject", 0) if of_account else n["reason"]),
        retry_after_ms=n["wait_ms"],
        amount=reported if of_account else odd.get("amount"),
        requested_ms=n["limit_ms"],
        balance_reason=_member(
            BalanceReason, n["reason"] if of_account else odd.get("balance_reason", 0)
        ),
        available_margin=n["fee"] if of_account else odd.get("available_margin", 0),
    )


def _intent_of(n: dict[str, Any], texts: list[str], rest: dict[str, str]) -> KernelIntent:
    intent_id, trade_id, asset, venue_id, reason = texts
    contract = ContractRules(*n["contract"]) if any(n["contract"]) or "contract" in rest else None
    return KernelIntent(
        command=_member(KernelCommandType, n["kind"]),
        received_ms=n["received_ms"],
        intent_id=intent_id,
        trade_id=trade_id,
        slot_id=n["slot"],
        asset=asset,
        side=_member(TradeSide, n["side"]),
        quantity_e8=n["quantity_e8"],
        reference_price_e10=n["price_e10"],
        order_type=_member(OrderType, n["order_type"]),
        limit_price_e10=n["last_price_e10"],
        leverage=n["leverage"],
        exit_leg_ratios_e9=n["legs_e9"],
        contract=contract,
        urgent=n["urgent"],
        expires_ms=n["limit_ms"],
        working_ms=n["wait_ms"],
        reason=reason,
        entry_cost=n["cost"],
        carried_realized=n["realized"],
        role=_member(OrderRole, n["role"]) if n["role"] else None,
        venue_order_id=_venue_text(n, venue_id),
        action=_member(ControlAction, n["reason"]) if n["reason"] else None,
    )
