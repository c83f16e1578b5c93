"""The journal as JSON, one record a line, for eyes and for other programs; and back.

Money is decimal text and enums are names; nothing is lost, so an import of an export replays to
the same state.  Commands call this.
"""

from __future__ import annotations

import os
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
from dita.errors import OperatorError, shown
from dita.journal.disk import Disk, OsDisk
from dita.journal.reader import JournalReader
from dita.journal.records import Entry, Epoch, Input, Mark, Note
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
_IMPORT_BATCH: Final = 10_000


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
            return cls(entry.seq, "mark", {"state_hash": record.state_hash})
        if isinstance(record, Note):
            return cls(entry.seq, "note", _plain(record, brief=False))
        if isinstance(record, Epoch):
            parts = {
                "kernel": _plain(record.kernel, brief=False),
                "account": _plain(record.account, brief=False),
            }
            return cls(entry.seq, "epoch", {"created_ms": record.created_ms, **parts})
        kind = "event" if isinstance(record, VenueEvent) else "intent"
        return cls(entry.seq, kind, _plain(record), entry.order_no)

    def epoch(self) -> Epoch:
        if self.type != "epoch":
            raise ValueError(f"expected an epoch, found {shown(self.type)}")
        kernel = _struct(self.record["kernel"], KernelConfig)
        account = _struct(self.record["account"], AccountConfig)
        created_ms = msgspec.convert(self.record["created_ms"], type=int, strict=True)
        return Epoch(created_ms=created_ms, kernel=kernel, account=account)


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
    disk: Disk | None = None,
) -> Journal:
    """A new journal with the records of an export, their numbers unchanged."""
    decode = msgspec.json.Decoder(_Line).decode
    kernel = ExecutionKernel()
    journal: Journal | None = None
    number = 0
    try:
        for number, text in enumerate(stream, 1):
            line = decode(text)
            if journal is None:
                journal = _imported(line.epoch(), directory, segment_bytes, disk)
            else:
                _take_line(journal, kernel, line)
            if line.seq != journal.last_seq:
                raise ValueError(f"expected record {journal.last_seq}, found {line.seq}")
            if number % _IMPORT_BATCH == 0:
                journal.write_and_sync()
        if journal is None:
            raise ValueError("expected an epoch, found no line")
        journal.write_and_sync()
        return journal
    except (msgspec.MsgspecError, ValueError, KeyError, TypeError, OverflowError) as bad:
        if journal is not None:
            journal.close()
        raise OperatorError(
            f"line {number} cannot be imported",
            expected="what `journal export` writes, from record 1 on, without a gap",
            found=f"{type(bad).__name__}: {bad}",
            action="remove the new directory, correct the export",
        ) from bad


def _imported(
    epoch: Epoch, directory: str | os.PathLike[str], segment_bytes: int, disk: Disk | None
) -> Journal:
    used = OsDisk() if disk is None else disk
    journal = Journal._locked(directory, used, segment_bytes)
    try:
        used.make_directory(journal.directory)
        if used.list(journal.directory):
            raise OperatorError(
                "the directory is not empty",
                expected="a new or an empty one",
                found=journal.directory,
                action="import somewhere else",
            )
        journal._start(epoch, 0, 0)
    except BaseException:
        journal._let_go()
        raise
    return journal


def _take_line(journal: Journal, kernel: ExecutionKernel, line: _Line) -> None:
    if line.type == "mark":
        journal.append_mark(line.record["state_hash"])
    elif line.type == "note":
        journal.append_note(msgspec.convert(line.record, type=Note, strict=True))
    elif line.type in ("event", "intent"):
        kind: type[Input] = VenueEvent if line.type == "event" else KernelIntent
        record = _input(line.record, kind)
        packed = kernel.pack(record).pack()
        if line.order_no:
            packed = _journal.with_order_no(packed, line.order_no)
        journal.append(record, packed)
    else:
        raise ValueError(f"expected event, intent, note or mark, found {shown(line.type)}")
