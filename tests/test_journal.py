"""The journal: what was synced is there, what was not is cut and told, what is damaged stops.

The file system is real where its behaviour counts (modes, kill -9) and simulated where it has to
fail: full, short, interrupted, broken at the nth call, or losing, tearing and reordering whatever
was not synced when the power went.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import shutil
import signal
import struct
import subprocess
import sys
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
import pytest
from desk import SHORT, Desk, Kind, m, p, q
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_engine import long_day

from dita import _journal
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
    RejectReason,
    TradeSide,
    VenueEvent,
)
from dita.engine import Engine
from dita.errors import (
    AlreadyRunning,
    BadField,
    ExitCode,
    JournalFault,
    KernelFault,
    OperatorError,
    SettingsError,
)
from dita.journal import (
    UPCASTERS,
    Entry,
    Epoch,
    GroupCommit,
    Journal,
    JournalFull,
    JournalReader,
    Mark,
    OsDisk,
    Snapshot,
    SnapshotStore,
    export_json,
    import_json,
)
from dita.kernel import ExecutionKernel

SMALL: Final = 8_192
SECTOR: Final = 512
HEADER: Final = 64  # of a segment
SAMPLE: Final = Path(__file__).parent / "data" / "journal-v1"
#: Of the sample's last state.  A release that reads it otherwise has broken every old journal.
SAMPLE_HASH: Final = ""

Input = KernelIntent | VenueEvent


# -- a disk that fails -----------------------------------------------------------------------------


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
        self.safe = bytearray(self.cache)
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
        return len(self.names[path].cache)

    def read(self, path: str, limit: int | None = None) -> bytes:
        self._call("read")
        return bytes(self.names[path].cache[:limit])

    def create(self, path: str) -> int:
        self._call("create")
        if path in self.names:
            raise FileExistsError(path)
        self.names[path] = SimFile()
        self._renamed()
        return self.open(path)

    def open(self, path: str) -> int:
        fd = len(self.open_files) + 3
        self.open_files[fd] = self.names[path]
        return fd

    def close(self, fd: int) -> None:
        del self.open_files[fd]
        self.open_files[fd + 1_000_000] = SimFile()  # the number is not used again

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
        self.names[target] = self.names.pop(source)
        self._renamed()

    def unlink(self, path: str) -> None:
        self._call("unlink")
        if path not in self.names:
            raise FileNotFoundError(path)
        del self.names[path]
        self._renamed()

    def free(self, path: str) -> int:
        return self.room - sum(len(f.cache) for f in set(self.names.values()))

    def crashed(self, chance: Random) -> SimDisk:
        """What is there after the power came back."""
        disk = SimDisk()
        names = chance.choice(self.steps)
        disk.names = {n: SimFile(f.after_crash(chance)) for n, f in sorted(names.items())}
        disk.steps = [dict(disk.names)]
        return disk


# -- short words -----------------------------------------------------------------------------------


def opened(where: Path | str = "/j", disk: Any = None, **more: Any) -> Journal:
    more.setdefault("segment_bytes", SMALL)
    return Journal.open(where, namespace="pink", created_ms=1, disk=disk, **more)


def tick(number: int, **fields: Any) -> VenueEvent:
    return VenueEvent(kind=Kind.TICK, received_ms=1_000 + number, **fields)


PACKER: Final = ExecutionKernel()


def put(journal: Journal, *records: Input) -> int:
    """Append records that no kernel applies."""
    for record in records:
        journal.append(record, PACKER.pack(record).pack())
    return journal.last_seq


def live(journal: Journal, records: list[Input], sync_every: int = 1) -> Engine:
    """Journal and apply, as the runtime does."""
    engine = journal.epoch.engine()
    for number, record in enumerate(records, 1):
        journal.append(record, engine.kernel.pack(record).pack())
        engine.apply(record)
        if number % sync_every == 0:
            journal.write_and_sync()
    journal.write_and_sync()
    return engine


def inputs_of(journal: JournalReader) -> list[Input]:
    return [e.record for e in journal.records() if isinstance(e.record, KernelIntent | VenueEvent)]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("journal-*.seg"))


def record_places(data: bytes) -> list[tuple[int, int]]:
    """(offset, size) of each record of a segment."""
    found: list[tuple[int, int]] = []
    at = HEADER
    while at + 32 <= len(data) and (length := int.from_bytes(data[at : at + 4], "little")):
        size = 32 + (length + 7) // 8 * 8
        found.append((at, size))
        at += size
    return found


def replayed(journal: JournalReader) -> Engine:
    engine = journal.epoch.engine()
    journal.replay_into(engine)
    return engine


# -- checksum and scan -----------------------------------------------------------------------------

RFC_3720 = (
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
    (b"123456789", 0xE3069283),
    (b"", 0),
)


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize(("data", "expected"), RFC_3720, ids=str)
def test_crc32c_has_the_published_values(data: bytes, expected: int, table: bool) -> None:
    assert _journal.crc32c(data, 0, table) == expected


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_crc32c_goes_on_and_both_ways_agree(one: bytes, two: bytes) -> None:
    whole = _journal.crc32c(one + two)
    assert _journal.crc32c(two, _journal.crc32c(one)) == whole
    assert _journal.crc32c(one + two, 0, True) == whole


def scanned(data: bytes, at: int, seq: int, crc: int) -> tuple[int, ...]:
    return _journal.scan(
        data,
        at,
        seq,
        crc,
        inputs=bytearray(4 * 256),
        notes=array("Q", bytes(16 * 4)),
        named=array("I", bytes(8 * 4)),
    )


@given(st.binary(max_size=600), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_hostile_bytes_are_walked_within_their_bounds(data: bytes, seq: int, crc: int) -> None:
    for at in (0, len(data) // 2, len(data)):
        why, end, *_ = scanned(data, at, seq, crc)
        assert why != _journal.FULL and at <= end <= len(data)
        assert _journal.later(data, at, seq)[0] <= len(data) // 40
        assert at <= _journal.used(data, at) <= len(data)
    _journal.fit(data, 0, len(data))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A segment with a day in it."""
    folder = tmp_path_factory.mktemp("sound") / "j"
    journal = opened(folder, segment_bytes=16_384)
    live(journal, long_day().inputs, 5)
    journal.close()
    return segments(folder)[0].read_bytes()


@given(st.data())
def test_a_changed_byte_never_passes(sound: bytes, data: st.DataObject) -> None:
    places = record_places(sound)
    end = places[-1][0] + places[-1][1]
    at = data.draw(st.integers(HEADER, end - 1))
    changed = bytearray(sound)
    changed[at] ^= data.draw(st.integers(1, 255))
    seq = sum(1 for start, size in places if start + size <= at) + 1
    found = _journal.scan(changed, HEADER, 1, 0)
    assert found[0] in (_journal.BAD, _journal.END) and found[2] == seq


@given(st.data())
def test_a_sound_record_with_hostile_content_is_refused(data: st.DataObject) -> None:
    """The checksum is right, so only the numbers speak."""
    numbers = st.integers(0, 2**64 - 1) | st.integers(0, 3)
    length = data.draw(st.integers(0, 5_000) | st.integers(0, 2**32 - 1))
    body = data.draw(st.binary(max_size=300)).ljust(304, b"\0")
    seq, synced = data.draw(numbers), data.draw(numbers)
    kind, version, zero = (data.draw(st.integers(0, 255)) for _ in range(3))
    head = struct.pack("<QQIBBH", seq, synced, 0, kind, version, zero)
    start = length.to_bytes(4, "little")
    size = 32 + (length + 7) // 8 * 8
    crc = _journal.crc32c((head + body)[: max(0, size - 8)], _journal.crc32c(start))
    record = start + crc.to_bytes(4, "little") + head + body
    found = scanned(record, 0, seq, 0)
    assert found[1] <= len(record)
    if found[5]:
        assert (zero, version) == (0, 1) and kind in (1, 2, 3)


def test_arguments_of_the_scan_are_checked() -> None:
    for bad in (-1, 2):
        with pytest.raises(BadField):
            _journal.scan(b"x", bad, 1, 0)
        with pytest.raises(BadField):
            _journal.later(b"x", bad, 1)
        with pytest.raises(BadField):
            _journal.used(b"x", bad)
        with pytest.raises(BadField):
            _journal.fit(b"x", bad, 1)
    with pytest.raises(BadField):
        _journal.scan(b"", 0, 1, 0, notes=array("Q", [0, 0]))
    with pytest.raises(BadField):
        _journal.scan(
            b"", 0, 1, 0, inputs=bytearray(512), notes=array("Q", [0, 0]), named=array("I", [0, 0])
        )
    with pytest.raises(BadField):
        _journal.fields(b"short")
    with pytest.raises(BadField, match="leg_count"):
        _journal.fields(b"\xff" * 256)


# -- records ---------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=64)
VENUE_IDS = TEXTS | st.integers(0, 2**70).map(str)
I64 = st.integers(-(2**63), 2**63 - 1)
MONEY = st.integers(-(10**38), 10**38) | st.integers(-5, 5)
CONTRACTS = st.builds(
    ContractRules,
    tick_e10=I64,
    step_e8=I64,
    min_quantity_e8=I64,
    min_notional=MONEY,
    taker_fee_e9=st.integers(-(2**31), 2**31 - 1),
    maker_fee_e9=st.integers(-(2**31), 2**31 - 1),
) | st.just(ContractRules(tick_e10=0, step_e8=0))
INTENTS = st.builds(
    KernelIntent,
    command=st.sampled_from(KernelCommandType),
    received_ms=I64,
    intent_id=TEXTS,
    trade_id=TEXTS,
    slot_id=st.integers(-1, 32_767),
    asset=TEXTS,
    side=st.sampled_from(TradeSide),
    quantity_e8=I64,
    reference_price_e10=I64,
    order_type=st.sampled_from(OrderType),
    limit_price_e10=I64,
    leverage=st.integers(-(2**31), 2**31 - 1),
    exit_leg_ratios_e9=st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=8).map(
        tuple
    ),
    contract=st.none() | CONTRACTS,
    urgent=st.booleans(),
    expires_ms=I64,
    working_ms=I64,
    reason=st.text(st.characters(codec="utf-8"), max_size=200),
    entry_cost=MONEY,
    carried_realized=MONEY,
    role=st.none() | st.sampled_from(OrderRole),
    venue_order_id=VENUE_IDS,
    action=st.none() | st.sampled_from(ControlAction),
)
EVENTS = st.builds(
    VenueEvent,
    kind=st.sampled_from(KernelEventKind),
    received_ms=I64,
    exchange_ms=I64,
    event_id=TEXTS,
    asset=TEXTS,
    venue_order_id=VENUE_IDS,
    client_order_id=TEXTS,
    slot_id=st.integers(-1, 32_767),
    side=st.sampled_from(OrderSide),
    quantity_e8=I64,
    increment=st.booleans(),
    price_e10=I64,
    last_quantity_e8=I64,
    last_price_e10=I64,
    cost=st.none() | MONEY,
    fee=st.none() | MONEY,
    realized=st.none() | MONEY,
    source=st.sampled_from(EvidenceSource),
    reject=st.sampled_from(RejectReason),
    retry_after_ms=I64,
    amount=st.none() | MONEY,
    requested_ms=I64,
    balance_reason=st.sampled_from(BalanceReason),
    available_margin=MONEY,
)


@given(st.lists(INTENTS | EVENTS, min_size=1, max_size=5))
def test_every_input_comes_back_as_it_was_also_through_json(records: list[Input]) -> None:
    journal = opened(disk=SimDisk())
    put(journal, *records)
    journal.write_and_sync()
    assert inputs_of(journal) == records
    text = io.StringIO()
    export_json(journal, text)
    text.seek(0)
    again = import_json(text, "/k", segment_bytes=SMALL, disk=SimDisk())
    assert list(again.records()) == list(journal.records())
    journal.close()
    again.close()


def test_a_number_that_no_enum_knows_is_told_as_it_came() -> None:
    odd = VenueEvent(kind=Kind.ORDER_REJECT, received_ms=5, reject=77, asset="FET-USDT")  # type: ignore[arg-type]
    journal = opened(disk=SimDisk())
    put(journal, odd)
    journal.write_and_sync()
    assert inputs_of(journal) == [odd]
    text = io.StringIO()
    export_json(journal, text)
    text.seek(0)
    assert inputs_of(import_json(text, "/k", disk=SimDisk())) == [odd]


@pytest.mark.parametrize("reason", ["x" * 2_001, "é" * 1_001, "\ud800", 5])
def test_a_reason_that_cannot_be_kept_is_refused_and_nothing_is_taken(reason: Any) -> None:
    journal = opened(disk=SimDisk())
    intent = KernelIntent(command=KernelCommandType.CONTROL, received_ms=1, reason=reason)
    with pytest.raises(BadField, match="reason"):
        put(journal, intent)
    assert (journal.last_seq, journal.pending) == (1, 0)


def test_a_stray_figure_that_is_no_number_is_refused() -> None:
    journal = opened(disk=SimDisk())
    for bad in (1.5, 10**38 + 1, "1"):
        with pytest.raises(BadField, match="amount"):
            put(journal, VenueEvent(kind=Kind.ORDER_ACK, received_ms=1, amount=bad))  # type: ignore[arg-type]
    with pytest.raises(BadField, match="packed"):
        journal.append(tick(1), b"short")
    assert journal.pending == 0


def test_money_in_json_is_text_and_no_number_is_a_float() -> None:
    journal = opened(disk=SimDisk())
    live(journal, long_day().inputs)
    text = io.StringIO()
    assert export_json(journal, text) == journal.last_seq
    for line in text.getvalue().splitlines():
        assert not _floats(msgspec.json.decode(line))
    assert '"amount":"25103.8"' in text.getvalue()


def _floats(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_floats, value.values()))
    return any(map(_floats, value)) if isinstance(value, list) else isinstance(value, float)
