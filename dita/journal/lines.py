"""The journal as JSON, one record a line, for eyes and for other programs; and back.

Money is decimal text and enums are names; nothing is lost, so an import of an export replays to
the same state.  Commands call this.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, Final, TextIO, TypeVar

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
    PositionSide,
    RejectReason,
    RiskLimit,
    TradeSide,
    VenueEvent,
)
from dita.errors import OperatorError, one_line, shown
from dita.journal.disk import Disk, OsDisk
from dita.journal.epochs import Carried, Close, Epoch, close_payload
from dita.journal.highwater import SUFFIX
from dita.journal.reader import JournalReader
from dita.journal.records import Entry, Input, Mark, Note
from dita.journal.rules import OF_BEFORE, Rules
from dita.journal.writer import SEGMENT_BYTES, Journal
from dita.kernel import ExecutionKernel, KernelConfig
from dita.units import format_money, parse_money

T = TypeVar("T", bound=msgspec.Struct)

_OF_INPUTS = "cost fee realized amount available_margin entry_cost carried_realized min_notional"
_OF_CONFIGS = "seed figure_tolerance warn error wallet_digit"
_MONEY_FIELDS: Final = frozenset((*_OF_INPUTS.split(), *_OF_CONFIGS.split()))
_ENUMS: Final[dict[type[msgspec.Struct], dict[str, type[IntEnum]]]] = {
    VenueEvent: {
        "kind": KernelEventKind,
        "side": OrderSide,
        "source": EvidenceSource,
        "reject": RejectReason,
        "balance_reason": BalanceReason,
        "position_side": PositionSide,
    },
    KernelIntent: {
        "command": KernelCommandType,
        "side": TradeSide,
        "order_type": OrderType,
        "role": OrderRole,
        "action": ControlAction,
        "limit": RiskLimit,
    },
}
_KINDS: Final[dict[str, type[Input]]] = {
    "event": VenueEvent, "intent": KernelIntent, "quarantine": KernelIntent,
}  # fmt: skip
_IMPORT_BATCH: Final = 10_000
#: Characters of a line; a record's payload has 4,000 bytes, of which JSON makes some more.
LINE_MAX: Final = 65_536
_NOT_A_LINE: Final = (
    msgspec.MsgspecError, ValueError, KeyError, TypeError, OverflowError, RecursionError,
)  # fmt: skip


def _plain(struct: msgspec.Struct, brief: bool = True) -> dict[str, Any]:
    """Money as decimal text, enums by name; when brief, only what differs from the defaults."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        if brief and value == field.default:
            continue
        if isinstance(value, IntEnum):
            value = value.name
        elif isinstance(value, msgspec.Struct):
            value = _plain(value)
        elif field.name in _MONEY_FIELDS and value is not None:
            value = format_money(value)
        found[field.name] = value
    return found


def _struct(plain: Any, kind: type[T]) -> T:
    if not isinstance(plain, dict):
        raise TypeError(f"not an object: {shown(plain)}")
    unknown = sorted(plain.keys() - set(kind.__struct_fields__))
    if unknown:
        raise ValueError(f"no such field: {shown(unknown[0])}")
    found: dict[str, Any] = {}
    for name, value in plain.items():
        if isinstance(value, dict):
            found[name] = _struct(value, ContractRules)
        elif name in _MONEY_FIELDS and value is not None:
            found[name] = parse_money(value, field=name)
        else:
            found[name] = value
    return msgspec.convert(found, type=kind, strict=True)


def _input(plain: dict[str, Any], kind: type[T]) -> T:
    enums, odd = _ENUMS[kind], {}
    for name, enum in enums.items():
        value = plain.get(name)
        if isinstance(value, str):
            plain[name] = enum[value]
        elif type(value) is int:  # no member: the kernel refused it, and it was journalled
            odd[name], plain[name] = value, next(iter(enum))
    return msgspec.structs.replace(_struct(plain, kind), **odd)


class _Line(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    seq: int
    type: str
    record: dict[str, Any]
    order_no: int = 0

    @classmethod
    def of(cls, entry: Entry) -> _Line:
        record = entry.record
        if isinstance(record, Mark):
            return cls(entry.seq, "mark", _plain(record))
        if isinstance(record, Note):
            return cls(entry.seq, "note", _plain(record, brief=False))
        if isinstance(record, Carried):
            return cls(entry.seq, "carried", {"data": b64encode(record.data).decode()})
        if isinstance(record, Close):
            return cls(entry.seq, "close", msgspec.to_builtins(record))
        if isinstance(record, Epoch):
            parts = {
                "kernel": _plain(record.kernel, brief=False),
                "account": _plain(record.account, brief=False),
            }
            of = {"rules": _plain(record.rules, brief=False)} if record.rules.version else {}
            if record.before is not None:
                of["before"] = msgspec.to_builtins(record.before)
            return cls(entry.seq, "epoch", {"created_ms": record.created_ms, **parts, **of})
        kind = "event" if isinstance(record, VenueEvent) else "intent"
        if entry.quarantines:
            kind = "quarantine"
        return cls(entry.seq, kind, _plain(record), entry.order_no)

    def epoch(self) -> Epoch:
        if self.type != "epoch":
            raise ValueError(f"expected an epoch, found {shown(self.type)}")
        kernel = _struct(self.record["kernel"], KernelConfig)
        account = _struct(self.record["account"], AccountConfig)
        created_ms = msgspec.convert(self.record["created_ms"], type=int, strict=True)
        rules = _struct(self.record["rules"], Rules) if "rules" in self.record else OF_BEFORE
        before = msgspec.convert(self.record.get("before"), type=Close | None, strict=True)
        return Epoch(
            created_ms=created_ms, kernel=kernel, account=account, rules=rules, before=before
        )

    def piece(self) -> bytes:
        if self.type != "carried":
            raise ValueError(f"expected a piece of the state, found {shown(self.type)}")
        return b64decode(self.record["data"], validate=True)


def export_json(journal: JournalReader, stream: TextIO, from_seq: int = 1) -> int:
    """Write the journal as JSON, one record a line; how many."""
    count = 0
    for entry in journal.records(from_seq):
        stream.write(msgspec.json.encode(_Line.of(entry)).decode() + "\n")
        count += 1
    return count


def import_json(
    stream: TextIO,
    directory: str | os.PathLike[str],
    *,
    segment_bytes: int = SEGMENT_BYTES,
    identity: bytes = b"",
    disk: Disk | None = None,
) -> Journal:
    """A new journal with the records of an export, their numbers unchanged.

    It is built in a folder aside and gets its name when it is whole, so an import that is refused
    or dies leaves nothing that could be taken for a journal.
    """
    used = OsDisk() if disk is None else disk
    target = os.path.realpath(directory)
    _refuse_what_is_there(used, target)
    aside = f"{target}.part"
    _remove(used, aside)
    try:
        epoch = _build(stream, aside, segment_bytes, identity, used)
    except BaseException:
        _remove(used, aside)
        raise
    used.rename(aside, target)
    used.rename(f"{aside}{SUFFIX}", f"{target}{SUFFIX}")
    used.fsync_directory(os.path.dirname(target))
    return Journal.open(
        target,
        namespace=epoch.namespace,
        created_ms=epoch.created_ms,
        segment_bytes=segment_bytes,
        disk=used,
    )


def _refuse_what_is_there(disk: Disk, target: str) -> None:
    try:
        found = list(disk.list(target))
    except FileNotFoundError:
        found = []
    with contextlib.suppress(FileNotFoundError):
        disk.size(f"{target}{SUFFIX}")
        found.append(f"{os.path.basename(target)}{SUFFIX}")
    if found:
        raise OperatorError(
            "the directory is not empty",
            expected="a new or an empty one",
            found=f"{found[0]} in or beside {target}",
            action="import somewhere else",
        )


def _remove(disk: Disk, aside: str) -> None:
    """What an import left behind."""
    with contextlib.suppress(FileNotFoundError):
        for name in disk.list(aside):
            disk.unlink(f"{aside}/{name}")
        disk.remove_directory(aside)
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(f"{aside}{SUFFIX}")


def _build(stream: TextIO, aside: str, segment_bytes: int, identity: bytes, disk: Disk) -> Epoch:
    decode = msgspec.json.Decoder(_Line).decode
    kernel = ExecutionKernel()
    journal: Journal | None = None
    number = 0
    try:
        lines = enumerate(_lines(stream), 1)
        for number, text in lines:
            line = decode(text)
            if journal is None:
                epoch = line.epoch()
                pieces = epoch.before.pieces if epoch.before is not None else 0
                following = [decode(more) for number, more in itertools.islice(lines, pieces)]
                carried = b"".join(each.piece() for each in following)
                epoch = msgspec.structs.replace(epoch, carried=carried)
                journal = Journal._locked(aside, disk, segment_bytes, _Unknown(), identity)
                journal._start(epoch, 0, 0)
                line = following[-1] if following else line
            else:
                _take_line(journal, kernel, line)
            if line.seq != journal.last_seq:
                raise ValueError(f"expected record {journal.last_seq}, found {line.seq}")
            if number % _IMPORT_BATCH == 0:
                journal.write_and_sync()
        if journal is None:
            raise ValueError("expected an epoch, found no line")
        journal.write_and_sync()
        return journal.epoch
    except _NOT_A_LINE as bad:
        raise OperatorError(
            f"line {number} cannot be imported",
            expected="what `journal export` writes, from record 1 on, without a gap",
            found=f"{type(bad).__name__}: {one_line(str(bad))[:200]}",
            action="nothing was left behind; correct the export",
        ) from bad
    finally:
        if journal is not None:
            journal.close()


def _lines(stream: TextIO) -> Iterator[str]:
    """The lines, none of them longer than a record's can be: an endless file has an end here."""
    while text := stream.readline(LINE_MAX):
        if len(text) == LINE_MAX:
            raise ValueError(f"a line of {LINE_MAX} characters or more")
        yield text


class _Unknown:
    """When the records of an export were taken nobody knows: see ``ResumePoint``."""

    def now_ms(self) -> int:
        return 0

    def boottime_ns(self) -> int:
        return 0

    def boot_id(self) -> str:
        return ""


def _take_line(journal: Journal, kernel: ExecutionKernel, line: _Line) -> None:
    if line.type == "mark":
        of = msgspec.convert(line.record.get("of", 0), type=int, strict=True)
        journal.append_mark(line.record["state_hash"], of)
        return
    if line.type == "note":
        journal.append_note(msgspec.convert(line.record, type=Note, strict=True))
        return
    if line.type == "carried":
        journal._append_other(_journal.CARRIED, line.piece(), "a state")
        return
    if line.type == "close":
        close = msgspec.convert(line.record, type=Close, strict=True)
        journal._append_other(_journal.CLOSE, close_payload(close), "an end")
        return
    if line.type not in _KINDS:
        raise ValueError(f"expected {', '.join(_KINDS)}, note or mark, found {shown(line.type)}")
    record = _input(line.record, _KINDS[line.type])
    packed = kernel.pack(record).pack()
    if line.order_no:
        packed = _journal.with_order_no(packed, line.order_no)
    if line.type == "quarantine" and isinstance(record, KernelIntent):
        journal.append_quarantine(record, packed)
    else:
        journal.append(record, packed)
