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
import threading
from array import array
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.engine_driver import Desk, Kind
from support.journal_days import (
    HEADER,
    OPS,
    SMALL,
    Input,
    mark_of,
    opened,
    random_day,
    record_places,
    replayed,
    segments,
    tick,
)
from support.long_days import long_day

from dita import _journal
from dita.clock import ManualClock
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
    CommitLatency,
    GroupCommit,
    Journal,
    JournalFull,
    JournalReader,
    Mark,
    OsDisk,
    Snapshot,
    SnapshotStore,
    export_json,
    free_bytes,
    import_json,
    missing,
    size_bytes,
)
from dita.kernel import ExecutionKernel
from dita.simulation.disk import SimDisk, SimFile

PACKED: Final = _journal.INPUT_SIZE
MARK: Final = 3 * 4_096  # bytes of the high-water mark's file
SAMPLE: Final = Path(__file__).parent.parent / "data" / "journal-v1"
#: Of the sample's last state.  A release that reads it otherwise has broken every old journal.


# -- a disk that fails -----------------------------------------------------------------------------


# -- short words -----------------------------------------------------------------------------------


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
        inputs=bytearray(4 * _journal.INPUT_SIZE),
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
        assert (zero, version) == (0, 1) and kind in (1, 2, 3, 4, 5)


def resealed(segment: bytes, changed: int, **fields: int) -> bytes:
    """A segment with other numbers in one record's header, and every checksum right again.

    ``previous`` of all other records is that of their new predecessor: only what was asked for is
    wrong.
    """
    data = bytearray(segment)
    previous = int.from_bytes(data[12:16], "little")
    for number, (start, size) in enumerate(record_places(data), 1):
        seq, synced, chained = struct.unpack_from("<QQI", data, start + 8)
        told = {"seq": seq, "synced": synced, "previous": previous}
        if number == changed:
            told |= fields
        assert fields or chained == previous
        struct.pack_into("<QQI", data, start + 8, told["seq"], told["synced"], told["previous"])
        body = bytes(data[start + 8 : start + size])
        previous = _journal.crc32c(body, _journal.crc32c(bytes(data[start : start + 4])))
        data[start + 4 : start + 8] = previous.to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seq": 6},  # of the one after it
        {"seq": 4},
        {"previous": 0},
        {"previous": 0xFFFFFFFF},
        {"synced": 5},  # it vouches for itself
        {"synced": 6},
    ],
    ids=str,
)
def test_a_sound_record_in_the_wrong_place_is_no_record_of_the_journal(
    sound: bytes, wrong: dict[str, int]
) -> None:
    """Each of number, chain and what it vouches for counts, the other two being right."""
    assert resealed(sound, 5) == sound
    assert _journal.scan(sound, HEADER, 1, 0)[2] > 20
    found = _journal.scan(resealed(sound, 5, **wrong), HEADER, 1, 0)
    assert (found[0], found[1], found[2]) == (_journal.BAD, record_places(sound)[4][0], 5)


def test_records_that_were_swapped_are_refused(synced: Path) -> None:
    """Of equal size and each one sound: only their places are wrong."""
    file = segments(synced)[0]
    whole = file.read_bytes()
    places = record_places(whole)
    swapped = 0
    for one, two in combinations(range(1, len(places)), 2):
        (a, size), (b, other) = places[one], places[two]
        if size != other:
            continue
        swapped += 1
        data = bytearray(whole)
        data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]
        file.write_bytes(data)
        with pytest.raises(JournalFault, match=f"damaged at record {one + 1}:"):
            opened(synced)
    assert swapped > 3


def test_nothing_vouches_for_itself_behind_a_damage(two_batches: Path) -> None:
    """A torn batch whose last record says that it was synced itself stays torn."""
    file = segments(two_batches)[0]
    whole = resealed(file.read_bytes(), 6, synced=6)
    start, size = record_places(whole)[4]
    file.write_bytes(whole[:start] + bytes(size) + whole[start + size :])
    assert JournalReader.open(two_batches).report.first_lost_seq == 5


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
            b"",
            0,
            1,
            0,
            inputs=bytearray(2 * _journal.INPUT_SIZE),
            notes=array("Q", [0, 0]),
            named=array("I", [0, 0]),
        )
    with pytest.raises(BadField):
        _journal.fields(b"short")
    with pytest.raises(BadField, match="leg_count"):
        _journal.fields(b"\xff" * _journal.INPUT_SIZE)


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


def only_its_own(intent: KernelIntent) -> KernelIntent:
    """Without the fields whose place in the packed form another field of the command has."""
    quarantine = intent.action is ControlAction.QUARANTINE
    if intent.command is KernelCommandType.CONTROL:
        other: dict[str, Any] = {"carried_realized": 0, "role": None}
    else:
        quarantine = False
        other = {"amount": None, "limit": None}
        other["action"] = None if intent.action is ControlAction.QUARANTINE else intent.action
    rest = {"leverage": 1, "expires_ms": 0} if quarantine else {}
    none = {} if quarantine else {"quarantined_seq": 0, "rules_version": 0}
    return msgspec.structs.replace(intent, **other, **rest, **none)


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
    amount=st.none() | MONEY,
    limit=st.none() | st.sampled_from(RiskLimit),
    quarantined_seq=st.integers(0, 2**62),
    rules_version=st.integers(0, 2**31 - 1),
    deadline_ms=I64,
).map(only_its_own)
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
    position_side=st.sampled_from(PositionSide),
    error_code=st.integers(-(2**31), 2**31 - 1),
    message=st.text(st.characters(codec="utf-8"), max_size=100),
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
    assert inputs_of(import_json(text, "/k", segment_bytes=SMALL, disk=SimDisk())) == [odd]


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


# -- torn, or damaged ------------------------------------------------------------------------------


@pytest.fixture
def synced(tmp_path: Path) -> Path:
    """A journal of three records and then three more, all synced; nothing later vouches for those.

    The third last one is the first of its batch.
    """
    journal = opened(tmp_path / "j")
    put(journal, tick(1), tick(2))
    journal.write_and_sync()
    shutil.copy(mark_of(tmp_path / "j"), tmp_path / "earlier")
    put(journal, tick(3), tick(4, venue_order_id="no number"), tick(5))
    journal.write_and_sync()
    journal.close()
    return tmp_path / "j"


@pytest.fixture
def two_batches(synced: Path) -> Path:
    """The same, but the sync of the last batch was never acknowledged."""
    shutil.copy(synced.with_name("earlier"), mark_of(synced))
    return synced


def test_a_torn_tail_is_cut_and_told_at_every_byte_of_the_last_batch() -> None:
    """As the process left them that died in the sync: written, and not known to be synced."""
    disk = SimDisk()
    journal = opened(disk=disk)
    put(journal, *map(_two_batches, (1, 2)))
    journal.write_and_sync()
    put(journal, *map(_two_batches, (3, 4, 5)))
    disk.before = failing("fdatasync", errno.EIO)
    with pytest.raises(JournalFault):
        journal.write_and_sync()
    (name,) = (n for n in disk.names if n.endswith(".seg"))
    before = {n: bytes(file.cache) for n, file in disk.names.items()}
    whole = before[name]
    places = record_places(whole)
    assert len(places) == 6
    for cut in range(places[3][0], sum(places[-1])):
        disk = SimDisk()
        disk.names = {n: SimFile(data) for n, data in before.items()}
        disk.names[name] = SimFile(whole[:cut].ljust(len(whole), b"\0"))
        journal = opened(disk=disk)
        kept = sum(1 for start, size in places if not any(whole[cut : start + size]))
        report = journal.report
        assert (report.records, journal.last_seq, report.first_lost_seq) == (
            kept,
            kept,
            kept + 1 if report.torn_bytes else 0,
        )
        left = len(whole[:cut].rstrip(b"\0"))
        assert report.torn_bytes == max(0, left - sum(places[kept - 1]))
        assert ("torn tail" in str(report)) == bool(report.torn_bytes)
        assert ("synced for certain: up to 3" in str(report)) == bool(report.torn_bytes)
        # It is gone for good, and the journal goes on where it was cut.
        put(journal, tick(99))
        journal.write_and_sync()
        journal.close()
        again = opened(disk=disk)
        assert again.report.torn_bytes == 0
        assert inputs_of(again) == [*map(_two_batches, range(1, kept)), tick(99)]
        again.close()


def _two_batches(number: int) -> VenueEvent:
    return tick(number, venue_order_id="no number") if number == 4 else tick(number)


def test_a_flipped_bit_stops_everywhere_but_in_the_last_batch(two_batches: Path) -> None:
    file = segments(two_batches)[0]
    whole = file.read_bytes()
    for number, (start, size) in enumerate(record_places(whole), 1):
        for at in range(start, start + size):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << at % 8
            file.write_bytes(damaged)
            if number <= 3:
                with pytest.raises(JournalFault, match=f"record {number} .*byte {start}") as stop:
                    opened(two_batches)
                assert stop.value.exit_code == ExitCode.JOURNAL
                assert file.name in str(stop.value) and "flatten --emergency" in str(stop.value)
                assert file.read_bytes() == damaged  # nothing was repaired
            else:
                reader = JournalReader.open(two_batches)
                assert reader.report.first_lost_seq == number


def test_a_record_lost_as_zeros_is_damage_too(two_batches: Path) -> None:
    file = segments(two_batches)[0]
    whole = bytearray(file.read_bytes())
    start, size = record_places(whole)[1]
    whole[start : start + size] = bytes(size)
    file.write_bytes(whole)
    with pytest.raises(JournalFault, match="damaged at record 2"):
        opened(two_batches)


@pytest.mark.parametrize("at", [0, 4, 20, 29, 31, 40, 200])
def test_one_bit_of_the_last_record_that_was_synced_is_never_a_torn_tail(
    synced: Path, at: int
) -> None:
    file = segments(synced)[0]
    whole = bytearray(file.read_bytes())
    start, _ = record_places(whole)[5]
    whole[start + at] ^= 1
    file.write_bytes(whole)
    for read in (opened, JournalReader.open):
        with pytest.raises(JournalFault, match=f"damaged at record 6: .* at byte {start};") as stop:
            read(synced)
        error = stop.value
        assert error.exit_code == ExitCode.JOURNAL
        assert f"although 6 was synced, the last one, in {file.name} up to byte" in error.found
        assert "pink-ctl journal retire" in error.action
    assert file.read_bytes() == whole  # nothing was repaired


def test_a_segment_that_became_shorter_is_damage_wherever_it_ends(synced: Path) -> None:
    file = segments(synced)[0]
    whole = file.read_bytes()
    end = sum(record_places(whole)[-1])
    for size in (0, 40, HEADER, HEADER + 100, end - 1, end, end + 1, SMALL - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(JournalFault, match=file.name):
            opened(synced)
        assert file.stat().st_size == size
    # Up to the end of its records all of them are there, and still it is not what was made.
    file.write_bytes(whole[:end])
    with pytest.raises(JournalFault, match=f"a file of {end} bytes that was made with {SMALL}"):
        opened(synced)
    file.write_bytes(whole)
    opened(synced).close()


def test_a_lost_end_is_damage_when_somebody_else_knows_it_was_synced(two_batches: Path) -> None:
    """A snapshot, say: the high-water mark itself may be behind after a loss of power."""
    file = segments(two_batches)[0]
    whole = file.read_bytes()
    start = record_places(whole)[4][0]
    file.write_bytes(whole[:start].ljust(len(whole), b"\0"))
    with pytest.raises(JournalFault, match=r"damaged at record 5.* 6 was synced \(a snapshot"):
        opened(two_batches, vouched=6)
    assert opened(two_batches, vouched=4).report.records == 4


def test_no_new_journal_takes_the_place_of_a_lost_one(synced: Path) -> None:
    shutil.rmtree(synced)
    for vouched in (0, 6):
        with pytest.raises(JournalFault, match="no segment at all, although 6 was synced"):
            opened(synced, vouched=vouched)
    with pytest.raises(JournalFault, match="no segment at all, although 6 was synced"):
        JournalReader.open(synced)
    assert not synced.exists()
    mark_of(synced).unlink()
    with pytest.raises(JournalFault, match=r"although 6 was synced \(a snapshot"):
        opened(synced, vouched=6)
    assert not synced.exists()


def test_a_lost_last_segment_is_damage(three_segments: Path) -> None:
    last = segments(three_segments)[-1]
    last.unlink()
    found = f"was synced, the last one, in {last.name} up to byte"
    with pytest.raises(JournalFault, match=found) as stop:
        opened(three_segments)
    assert segments(three_segments)[-1].name in stop.value.expected


def gone_on(folder: Path, *numbers: int) -> None:
    journal = opened(folder)
    put(journal, *map(tick, numbers))
    journal.write_and_sync()
    journal.close()


def test_a_backup_that_was_put_back_is_refused(synced: Path, tmp_path: Path) -> None:
    backup = shutil.copytree(synced, tmp_path / "backup")
    gone_on(synced, 7, 8)
    shutil.rmtree(synced)
    shutil.copytree(backup, synced)
    with pytest.raises(JournalFault, match=r"damaged at record 7.* although 8 was synced"):
        opened(synced)


def test_a_copy_that_went_on_elsewhere_is_refused(synced: Path, tmp_path: Path) -> None:
    """As long as what was synced, and with other records."""
    copy = shutil.copytree(synced, tmp_path / "k")
    shutil.copy(mark_of(synced), mark_of(copy))
    gone_on(synced, 7, 8)
    gone_on(copy, 70, 80, 90)
    shutil.rmtree(synced)
    copy.rename(synced)
    with pytest.raises(JournalFault, match=r"damaged at record 8.*another history of this journal"):
        opened(synced)


def test_a_mark_that_is_gone_or_damaged_proves_nothing_and_stops(synced: Path) -> None:
    mark = mark_of(synced)
    whole = mark.read_bytes()
    mark.unlink()
    with pytest.raises(JournalFault, match=r"no .*/j\.high-water, which says"):
        opened(synced)
    for bad in (b"", whole[:50], bytes(len(whole)), b"\xff" * len(whole)):
        mark.write_bytes(bad)
        with pytest.raises(JournalFault, match="high-water mark is damaged"):
            opened(synced)
    mark.write_bytes(whole)
    opened(synced).close()


def test_a_torn_slot_of_the_mark_leaves_an_older_one(synced: Path) -> None:
    """Whichever of the three is damaged, another one still vouches, for no more than was synced."""
    whole = mark_of(synced).read_bytes()
    known = []
    for slot in range(3):
        damaged = bytearray(whole)
        damaged[slot * 4_096 + 30] ^= 1
        mark_of(synced).write_bytes(damaged)
        known.append(JournalReader.open(synced).report.synced)
    assert sorted(known)[1:] == [6, 6] and sorted(known)[0] < 6


def test_a_begin_that_died_is_begun_again(tmp_path: Path) -> None:
    """The mark is first, so that no journal is ever without one."""
    folder = tmp_path / "j"
    opened(folder).close()
    assert mark_of(folder).stat().st_mode & 0o777 == 0o600
    disk = SimDisk()
    disk.before = failing("create", errno.EIO, at=2)
    with pytest.raises(JournalFault):
        opened(disk=disk)
    assert [name for name in disk.names if not name.endswith(".tmp")] == ["/j.high-water"]
    again = Journal.open("/j", namespace="pink", created_ms=9, segment_bytes=SMALL, disk=disk)
    assert (again.report.created, again.epoch.number) == (True, 9)


@pytest.fixture
def three_segments(tmp_path: Path) -> Path:
    journal = opened(tmp_path / "j")
    while len(segments(tmp_path / "j")) < 3:
        put(journal, tick(journal.last_seq))
        journal.write_and_sync()
    journal.close()
    return tmp_path / "j"


def test_damage_before_the_last_segment_is_never_a_torn_tail(three_segments: Path) -> None:
    for file in segments(three_segments)[:-1]:
        whole = file.read_bytes()
        for at in (0, 9, 30, 63, HEADER + 4, record_places(whole)[-1][0] + 50):
            damaged = bytearray(whole)
            damaged[at] ^= 4
            file.write_bytes(damaged)
            with pytest.raises(JournalFault, match=file.name):
                JournalReader.open(three_segments)
        file.write_bytes(whole)
    opened(three_segments).close()


def test_a_missing_segment_is_damage_wherever_it_was(three_segments: Path) -> None:
    first, second, third = segments(three_segments)
    for gone, expected in (
        (first, f"record 1: .*{second.name} is the first segment here"),
        (second, f"{third.name} begins at record .*; what came before is missing"),
        (third, f"was synced, the last one, in {third.name}"),
    ):
        gone.rename(three_segments / "away")
        for read in (opened, JournalReader.open):
            with pytest.raises(JournalFault, match=expected) as stop:
                read(three_segments)
            assert stop.value.exit_code == ExitCode.JOURNAL
        (three_segments / "away").rename(gone)


def test_what_a_journal_does_not_have_is_not_replayed(three_segments: Path) -> None:
    journal = opened(three_segments)
    with pytest.raises(JournalFault, match="does not have what is asked"):
        list(journal.records(0))
    with pytest.raises(JournalFault, match="does not have what is asked"):
        journal.replay_into(Engine(), journal.last_seq + 2)


def test_a_segment_of_another_history_of_the_same_journal_is_refused(tmp_path: Path) -> None:
    """A backup was brought back and went on: the same numbers, and other records."""
    folders = tmp_path / "j", tmp_path / "k"
    opened(folders[0]).close()
    shutil.copytree(*folders)
    shutil.copy(mark_of(folders[0]), mark_of(folders[1]))
    for number, folder in enumerate(folders):
        journal = opened(folder)
        for _ in range(60):
            put(journal, tick(number))
            journal.write_and_sync()
        journal.close()
    ours, theirs = segments(folders[0])[2], segments(folders[1])[2]
    assert ours.name == theirs.name
    shutil.copy(theirs, ours)
    with pytest.raises(JournalFault, match="what came before is missing"):
        opened(folders[0])


def test_segments_of_another_journal_are_refused(three_segments: Path, tmp_path: Path) -> None:
    other = Journal.open(tmp_path / "k", namespace="pink", created_ms=2, segment_bytes=SMALL)
    while len(segments(tmp_path / "k")) < 3:
        put(other, tick(other.last_seq))
        other.write_and_sync()
    shutil.copy(segments(tmp_path / "k")[2], segments(three_segments)[2])
    with pytest.raises(JournalFault, match="of another journal"):
        opened(three_segments)
    with pytest.raises(SettingsError, match="another namespace") as refused:
        Journal.open(tmp_path / "k2", namespace="a", created_ms=2).close()
        Journal.open(tmp_path / "k2", namespace="b", created_ms=2)
    assert refused.value.exit_code == ExitCode.SETTINGS


# -- time across a restart -------------------------------------------------------------------------


def at_clock(disk: SimDisk, clock: ManualClock) -> Journal:
    return opened(disk=disk, clock=clock)


def test_time_goes_on_from_the_last_record_at_real_rate_whatever_the_wall_clock_says() -> None:
    disk, clock = SimDisk(), ManualClock(50_000)
    journal = at_clock(disk, clock)
    clock.advance_ms(7)
    put(journal, tick(1))  # received at 1,001, by the records' own time
    clock.advance_ms(400)  # until it is synced
    journal.write_and_sync()
    put(journal, tick(2))  # never synced: says nothing
    point = opened(disk=disk.crashed(Random(1)), clock=clock).resume_point
    assert (point.record_ms, point.boot_id) == (1_001, "manual")
    assert point.now_ms(clock) == 1_401
    clock.advance_ms(60_000)
    assert point.now_ms(clock) == 61_401
    # The same boot with the wall clock set an hour back, or a day forward.
    for wall_ms in (50_000 - 3_600_000 + 3_700_000, 86_450_000):
        moved = ManualClock(wall_ms)
        moved.advance_ms(60_407)
        assert point.now_ms(moved) == 61_401


def test_after_another_boot_the_wall_clock_tells_how_much_time_went_by() -> None:
    disk, clock = SimDisk(), ManualClock(50_000)
    journal = at_clock(disk, clock)
    clock.advance_ms(1_000)
    put(journal, tick(1))
    clock.advance_ms(300)
    journal.write_and_sync()
    point = journal.resume_point
    assert point.wall_ms == 51_000  # when it was taken, not when it was synced
    assert point.now_ms(ManualClock(59_000, "next")) == 1_001 + 8_000
    assert point.now_ms(ManualClock(0, "next")) == 1_001  # never back
    # The same name and an earlier time: whatever that is, it is not the same boot.
    assert point.now_ms(ManualClock(59_000)) == 1_001 + 8_000


def test_the_point_outlives_starts_that_journal_nothing() -> None:
    disk, clock = SimDisk(), ManualClock(50_000)
    journal = at_clock(disk, clock)
    assert journal.resume_point.now_ms(clock) == 1  # of a new one: when it was created
    put(journal, tick(1))
    journal.close()
    point = journal.resume_point
    for _ in range(3):
        clock.advance_ms(1_000)
        journal = at_clock(disk, clock)
        journal.append_mark("00" * 32)
        journal.write_and_sync()
        journal.close()
        assert journal.resume_point == point
    assert journal.resume_point.now_ms(clock) == 1_001 + 3_000


def test_records_of_an_export_have_no_time_but_their_own() -> None:
    lines, _ = exported([tick(1)])
    journal = import_json(io.StringIO("".join(lines)), "/k", segment_bytes=SMALL, disk=SimDisk())
    point = journal.resume_point
    assert (point.boot_id, point.now_ms(ManualClock(4_000))) == ("", 4_000)


# -- segments --------------------------------------------------------------------------------------


def test_segments_roll_over_at_every_boundary() -> None:
    """A filler of every size before the records moves the boundary through a whole record."""
    for filler in range(0, 400, 8):
        disk = SimDisk()
        journal = opened(disk=disk)
        reason = KernelIntent(command=KernelCommandType.CONTROL, received_ms=1, reason="x" * filler)
        records: list[Input] = [reason, *map(tick, range(60))]
        put(journal, *records[:30])
        journal.write_and_sync()
        put(journal, *records[30:])
        assert journal.write_and_sync() == 62
        names = [n for n in disk.list("/j") if n.endswith(".seg")]
        assert len(names) == 3
        assert inputs_of(journal) == records
        journal.close()
        again = opened(disk=disk)
        assert (again.report.records, again.report.segments, again.report.torn_bytes) == (62, 3, 0)
        assert inputs_of(again) == records
        assert [e.seq for e in again.records(40)] == list(range(40, 63))
        again.close()


@pytest.mark.parametrize("mask", [0o000, 0o277, 0o777])
def test_files_are_the_owners_alone(tmp_path: Path, mask: int) -> None:
    old = os.umask(mask)
    try:
        journal = opened(tmp_path / "j", reserve_bytes=SMALL)
        store = SnapshotStore(tmp_path / "s")
        store.write(Snapshot.of(journal.epoch.engine(), journal))
        journal.close()
    finally:
        os.umask(old)
    for folder in (tmp_path / "j", tmp_path / "s"):
        assert folder.stat().st_mode & 0o777 == 0o700
        files = list(folder.iterdir())
        assert files and all(f.stat().st_mode & 0o777 == 0o600 for f in files)
    assert segments(tmp_path / "j")[0].stat().st_size == SMALL


@pytest.mark.parametrize("name", ["journal-", "reserve-", "high-water"])
def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path, name: str) -> None:
    opened(tmp_path / "j", reserve_bytes=SMALL).close()
    (path,) = (p for p in tmp_path.rglob("*") if name in p.name and p.is_file())
    elsewhere = path.rename(tmp_path / "elsewhere")
    path.symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    if name == "reserve-":  # taken for a segment when the disk is full
        journal = opened(tmp_path / "j", reserve_bytes=SMALL)
        journal.free_reserve()
        put(journal, *map(tick, range(60)))
        journal._files._disk = Full()
        with pytest.raises(JournalFault, match="symbolic link"):
            journal.write_and_sync()
    else:
        with pytest.raises(JournalFault, match="symbolic link"):
            opened(tmp_path / "j")
    assert elsewhere.read_bytes() == before


class Full(OsDisk):
    """No room for a new file."""

    def create(self, path: str) -> int:
        raise OSError(errno.ENOSPC, "no space")


def test_a_journal_is_open_once_in_a_process(tmp_path: Path) -> None:
    journal = opened(tmp_path / "j")
    (tmp_path / "link").symlink_to(tmp_path / "j")
    for name in ("j", "link"):
        with pytest.raises(AlreadyRunning):
            opened(tmp_path / name)
    journal.close()
    opened(tmp_path / "link").close()


def test_a_journal_notices_that_its_files_are_not_there_any_more(tmp_path: Path) -> None:
    journal = opened(tmp_path / "j")
    (segment,) = segments(tmp_path / "j")
    for path in (segment, mark_of(tmp_path / "j")):
        whole = path.read_bytes()
        assert missing(journal) == ""
        path.rename(tmp_path / "away")
        assert str(path) in missing(journal)
        path.write_bytes(whole)
        assert str(path) in missing(journal)  # another file, with the same content
        put(journal, tick(1))
        journal.write_and_sync()  # nothing else tells
        (tmp_path / "away").rename(path)
    shutil.rmtree(tmp_path / "j")
    assert str(segment) in missing(journal)
    journal.close()


def test_a_refused_opening_leaves_it_free(two_batches: Path) -> None:
    with pytest.raises(JournalFault):
        opened(two_batches, vouched=60)
    opened(two_batches).close()
    for size in (SMALL - 8, SMALL + 4):
        with pytest.raises(SettingsError, match="segment size"):
            opened(two_batches, segment_bytes=size)


def test_leftovers_of_a_dead_process_are_removed_and_told(two_batches: Path) -> None:
    (two_batches / "segment.tmp").write_bytes(b"half")
    journal = opened(two_batches)
    assert journal.report.leftovers == ("segment.tmp",)
    assert "segment.tmp" in str(journal.report)
    assert not (two_batches / "segment.tmp").exists()
    journal.close()


def test_a_reader_works_beside_the_writer_and_changes_nothing(tmp_path: Path) -> None:
    journal = opened(tmp_path / "j")
    put(journal, *map(tick, range(40)))
    assert list(journal.records(2)) == []  # nothing durable yet
    journal.write_and_sync()
    put(journal, tick(99))
    reader = JournalReader.open(tmp_path / "j")
    assert inputs_of(reader) == list(map(tick, range(40)))
    assert reader.verify() == journal.verify() == reader.report
    with pytest.raises(OperatorError, match="no journal here"):
        JournalReader.open(tmp_path)
    journal.close()
    assert JournalReader.open(tmp_path / "j").report.records == 42


# -- a failing disk --------------------------------------------------------------------------------


def failing(operation: str, error: int, *, at: int = 1, times: int = 1) -> Callable[[str], None]:
    """Raise at the nth call of an operation."""
    seen = 0

    def before(name: str) -> None:
        nonlocal seen
        if name == operation:
            seen += 1
            if at <= seen < at + times:
                raise OSError(error, os.strerror(error))

    return before


def test_short_and_interrupted_writes_are_carried_on() -> None:
    disk = SimDisk()
    journal = opened(disk=disk)
    disk.short = 5
    disk.before = failing("pwrite", errno.EINTR, at=3, times=20)
    put(journal, *map(tick, range(30)))
    assert journal.write_and_sync() == 31
    disk.before = lambda operation: None
    journal.close()
    assert inputs_of(opened(disk=disk)) == list(map(tick, range(30)))


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("operation", ["fallocate", "create", "pwrite", "rename"])
def test_a_full_disk_loses_nothing_and_is_tried_again(operation: str, error: int) -> None:
    disk = SimDisk()
    journal = opened(disk=disk)
    records = list(map(tick, range(60)))
    disk.before = failing(operation, error, times=3)
    put(journal, *records[:50])
    for _ in range(3):
        with pytest.raises(JournalFull, match="disk is full") as full:
            journal.write_and_sync()
        assert full.value.exit_code == ExitCode.JOURNAL
        assert journal.synced_up_to + journal.pending == journal.last_seq == 51
    put(journal, *records[50:])
    assert journal.write_and_sync() == 61
    journal.close()
    again = opened(disk=disk)
    assert inputs_of(again) == records and not again.report.leftovers


def test_what_a_full_disk_did_take_is_durable_and_the_rest_is_not_half_there() -> None:
    disk = SimDisk()
    journal = opened(disk=disk)
    disk.room = SMALL + MARK
    put(journal, *map(tick, range(60)))
    with pytest.raises(JournalFull):
        journal.write_and_sync()
    synced = journal.synced_up_to
    assert 20 < synced < 30
    again = opened(disk=disk.crashed(Random(1)))
    assert inputs_of(again) == list(map(tick, range(synced - 1)))


def test_too_much_waiting_is_refused_and_not_half_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dita.journal.writer.PENDING_BYTES_MAX", 3_000)
    journal = opened(disk=SimDisk())
    with pytest.raises(JournalFull, match="not accepted"):
        put(journal, *map(tick, range(60)))
    taken = journal.pending
    with pytest.raises(JournalFull, match="not accepted"):
        for _ in range(60):
            journal.append_mark("00" * 32)
    assert 0 < journal.pending_bytes <= 3_000
    journal.write_and_sync()
    assert inputs_of(journal) == list(map(tick, range(taken)))


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EINTR, errno.EDQUOT])
@pytest.mark.parametrize("operation", ["fdatasync", "fsync_directory"])
def test_a_failed_sync_ends_everything_and_is_never_tried_again(operation: str, error: int) -> None:
    disk = SimDisk()
    journal = opened(disk=disk)
    disk.before = failing(operation, error, at=2 if operation == "fdatasync" else 1)
    put(journal, *map(tick, range(60)))
    with pytest.raises(JournalFault, match="failed sync") as fault:
        journal.write_and_sync()
    assert fault.value.exit_code == 74
    calls = disk.calls
    for attempt in (
        journal.write_and_sync,
        lambda: put(journal, tick(1)),
        lambda: journal.append_mark("00"),
    ):
        with pytest.raises(JournalFault, match="accepts no more records"):
            attempt()
    journal.close()
    assert disk.calls == calls
    assert inputs_of(opened(disk=disk.crashed(Random(2))))[:5] == list(map(tick, range(5)))


def test_an_error_at_every_call_is_a_fault_or_full_and_loses_nothing_synced() -> None:
    for at in range(1, 200):
        disk = SimDisk()
        count = 0

        def before(operation: str, at: int = at) -> None:
            nonlocal count
            count += 1
            if count == at:
                raise OSError(errno.EIO, "broken")

        disk.before = before
        synced = 0
        try:
            journal = opened(disk=disk, reserve_bytes=SMALL)
            for number in range(40):
                put(journal, tick(number))
                synced = journal.write_and_sync()
        except (JournalFault, OSError) as bad:
            assert isinstance(bad, JournalFault) or at <= 3, bad
        else:
            return  # every call was tried
        again = opened(disk=disk.crashed(Random(at)))
        assert again.last_seq >= synced
        assert inputs_of(again) == list(map(tick, range(again.last_seq - 1)))
    pytest.fail("more calls than expected")


def test_a_reader_looks_again_when_a_copy_is_mixed() -> None:
    """The writer was between two pages: the copy has the newer one and lacks the older one."""

    class Mixed(SimDisk):
        mixed = 0

        def read(self, path: str, start: int = 0, size: int = -1) -> bytes:
            data = super().read(path, start, size)
            if not self.mixed or start != HEADER:
                return data
            self.mixed -= 1
            return data[:800] + bytes(400) + data[1_200:]

    disk = Mixed()
    journal = opened(disk=disk)
    for number in range(4):
        put(journal, tick(number))
        journal.write_and_sync()
    disk.mixed = 2
    assert JournalReader.open("/j", disk=disk).report.records == 5
    assert not disk.mixed


def test_a_reader_tells_a_read_error_as_damage() -> None:
    disk = SimDisk()
    opened(disk=disk).close()
    disk.before = failing("read", errno.EIO, times=9)
    with pytest.raises(JournalFault, match="a read error"):
        JournalReader.open("/j", disk=disk)


@pytest.mark.parametrize("operation", ["fdatasync", "fsync_directory"])
def test_a_failed_sync_is_a_fault_also_where_no_record_is_at_stake(operation: str) -> None:
    for at, reserve in ((1, 0), (2 if operation == "fsync_directory" else 3, SMALL)):
        disk = SimDisk()
        disk.before = failing(operation, errno.ENOSPC, at=at)
        with pytest.raises(JournalFault, match="failed sync"):
            opened(disk=disk, reserve_bytes=reserve)


@pytest.mark.parametrize("lying", [False, True])
def test_what_a_dead_process_left_in_the_cache_is_made_durable_before_it_counts(
    lying: bool,
) -> None:
    """After a failed sync pages are clean and yet not on the disk; syncing alone would not help."""
    disk = SimDisk()
    journal = opened(disk=disk)
    put(journal, tick(1), tick(2))

    def before(operation: str) -> None:
        if operation == "fdatasync":
            for file in disk.names.values() if lying else ():
                file.versions.clear()
            raise OSError(errno.EIO, "broken")

    disk.before = before
    with pytest.raises(JournalFault):
        journal.write_and_sync()
    disk.before = lambda operation: None
    journal.close()
    again = opened(disk=disk)
    assert (again.synced_up_to, inputs_of(again)) == (3, [tick(1), tick(2)])
    assert inputs_of(opened(disk=disk.crashed(Random(3)))) == [tick(1), tick(2)]


def test_an_interruption_in_the_middle_of_a_write_ends_everything() -> None:
    disk = SimDisk()
    journal = opened(disk=disk)

    def before(operation: str) -> None:
        raise KeyboardInterrupt

    put(journal, tick(1))
    disk.before = before
    with pytest.raises(KeyboardInterrupt):
        journal.write_and_sync()
    disk.before = lambda operation: None
    with pytest.raises(JournalFault, match="an interruption"):
        journal.write_and_sync()


# -- power loss ------------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.lists(st.integers(0, 12), min_size=1, max_size=20))
def test_power_loss_keeps_what_was_synced_and_invents_nothing(
    seed: int, batches: list[int]
) -> None:
    """Crash at a random call, lose and tear what was not synced; do it again with what is left."""
    chance = Random(seed)
    disk = SimDisk()
    told: list[Input] = []  # everything that was ever appended, by number
    synced = 0
    for _ in range(3):
        left = chance.randrange(1, 80)

        def before(operation: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise PowerCut

        disk.before = before
        disk.short = chance.choice([100, 700, 1 << 20])
        try:
            journal = opened(disk=disk)
            kept = inputs_of(journal)
            assert len(kept) >= synced - 1 and kept == told[: len(kept)]
            del told[len(kept) :]
            for size in batches:
                records = [tick(chance.randrange(10**6)) for _ in range(size)]
                told += records
                put(journal, *records)
                synced = max(synced, journal.write_and_sync())
        except PowerCut:
            pass
        disk.before = lambda operation: None
        disk = disk.crashed(chance)
    journal = opened(disk=disk)
    kept = inputs_of(journal)
    assert len(kept) >= synced - 1 and kept == told[: len(kept)]
    put(journal, tick(7))
    journal.write_and_sync()
    journal.close()
    assert inputs_of(opened(disk=disk)) == [*kept, tick(7)]


class PowerCut(BaseException):
    """The machine stops here."""


KILLED: Final = """
import sys
from dita.contracts import KernelEventKind, VenueEvent
from dita.journal import Journal
from dita.kernel import ExecutionKernel
journal = Journal.open(sys.argv[1], namespace="pink", created_ms=1, segment_bytes=8192)
kernel = ExecutionKernel()
for number in range(journal.last_seq, 100):
    event = VenueEvent(kind=KernelEventKind.TICK, received_ms=1_000 + number)
    journal.append(event, kernel.pack(event).pack())
    print(journal.write_and_sync(), flush=True)
"""


@pytest.mark.skipif(not shutil.which("strace"), reason="kill -9 at a system call needs strace")
@pytest.mark.parametrize("call", ["fdatasync", "pwrite64", "fsync", "rename"])
def test_kill_9_at_every_kind_of_call_loses_nothing_acknowledged(call: str, tmp_path: Path) -> None:
    last = 0
    for when in (1, 2, 3, 4, 6):
        inject = f"inject={call}:signal=KILL:when={when}"
        command = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
        done = subprocess.run(
            [*command, sys.executable, "-c", KILLED, tmp_path / "j"],
            capture_output=True,
            text=True,
        )
        if done.returncode == 0:
            break
        if "PTRACE" in done.stderr:
            pytest.skip("no ptrace here")
        assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), done.stderr
        numbers = [int(line) for line in done.stdout.split()]
        last = max([last, *numbers])
        if segments(tmp_path / "j") if (tmp_path / "j").exists() else ():
            reader = JournalReader.open(tmp_path / "j")
            assert reader.report.last_seq >= last
            found = inputs_of(reader)
            assert found == [tick(n) for n in range(1, len(found) + 1)]
    assert last or call != "fdatasync"


# -- the reserve -----------------------------------------------------------------------------------


def test_the_reserve_is_for_the_end_and_nobody_else_can_take_it() -> None:
    disk = SimDisk()
    journal = opened(disk=disk, reserve_bytes=2 * SMALL - 8)
    assert journal.reserve_bytes == 2 * SMALL
    disk.room = 3 * SMALL + MARK  # full from now on
    assert free_bytes(journal) == 0
    records = list(map(tick, range(60)))
    put(journal, *records)
    with pytest.raises(JournalFull):
        journal.write_and_sync()
    assert journal.free_reserve() == 2 * SMALL
    assert journal.write_and_sync() == 61
    assert journal.reserve_bytes == 0
    put(journal, *map(tick, range(60)))
    with pytest.raises(JournalFull):
        journal.write_and_sync()
    disk.room = 1 << 40
    assert journal.hold_reserve(SMALL) == SMALL
    journal.write_and_sync()
    journal.close()
    again = opened(disk=disk)
    assert again.reserve_bytes == SMALL
    assert inputs_of(again)[:60] == records


def test_a_reserve_that_does_not_fit_is_as_large_as_it_gets() -> None:
    disk = SimDisk()
    disk.room = 3 * SMALL + MARK
    journal = opened(disk=disk, reserve_bytes=10 * SMALL)
    assert journal.reserve_bytes == 2 * SMALL
    assert not disk.names.keys() & {"/j/segment.tmp"}


def test_a_disk_that_does_not_tell_is_no_reason_to_end(tmp_path: Path) -> None:
    journal = opened(tmp_path / "j")
    assert size_bytes(journal) == SMALL and free_bytes(journal) > 0
    shutil.rmtree(tmp_path / "j")
    assert (size_bytes(journal), free_bytes(journal)) == (-1, -1)


def test_a_real_disk_tells_what_is_free(tmp_path: Path) -> None:
    journal = opened(tmp_path / "j")
    assert free_bytes(journal) > 1


# -- replay ----------------------------------------------------------------------------------------


def test_replay_gives_the_live_state_and_checks_its_marks(tmp_path: Path) -> None:
    desk = long_day()
    journal = opened(tmp_path / "j")
    engine = live(journal, desk.inputs)
    assert engine.state_hash() == desk.engine.state_hash()
    journal.close(engine.state_hash())
    journal = opened(tmp_path / "j")
    again = journal.epoch.engine()
    assert journal.replay_into(again) == len(desk.inputs)
    assert (again.save(), again.snapshot) == (engine.save(), engine.snapshot)
    assert [e.record for e in journal.records()][-1] == Mark(engine.state_hash())
    # The replayed kernel goes on as the live one would: it knows its client order ids.
    for client_id in desk.venue_ids.values():
        more = tick(10**7, client_order_id=client_id)
        assert again.kernel.pack(more).pack() == engine.kernel.pack(more).pack()


def test_a_mark_that_does_not_fit_the_replay_is_a_fault() -> None:
    journal = opened(disk=SimDisk())
    live(journal, long_day().inputs)
    seq = journal.append_mark("ab" * 32)
    put(journal, tick(10**7))
    journal.write_and_sync()
    with pytest.raises(KernelFault, match=f"replay differs .* before record {seq}"):
        replayed(journal)


def test_replay_goes_through_many_chunks_and_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dita.journal.reader._CHUNK_INPUTS", 3)
    monkeypatch.setattr("dita.journal.reader._CHUNK_RECORDS", 4)
    monkeypatch.setattr("dita.journal.chunks.WINDOW_BYTES", 4_100)
    journal = opened(disk=SimDisk())
    desk = long_day()
    engine = journal.epoch.engine()
    for record in desk.inputs:
        journal.append(record, engine.kernel.pack(record).pack())
        engine.apply(record)
        journal.append_mark(engine.state_hash())
    journal.write_and_sync()
    assert replayed(journal).save() == engine.save()
    assert [e.seq for e in journal.records()] == list(range(1, 2 * len(desk.inputs) + 2))
    assert journal.verify().records == journal.last_seq


def test_refused_inputs_teach_no_names() -> None:
    """A refused ENTER spells the symbol otherwise; the accepted one's spelling is the state's."""
    desk = Desk()
    desk.anchor("25000")
    desk.enter(0, "10", asset="FETUSDT")
    desk.enter(5, "10", asset="FET-USDT", venue_order_id="v")
    desk.order("T1", Kind.ORDER_ACK, venue_order_id="not a number")
    journal = opened(disk=SimDisk())
    engine = live(journal, desk.inputs)
    again = replayed(journal)
    assert again.save() == engine.save()
    assert again.kernel.slot(0) == engine.kernel.slot(0)
    assert again.kernel.slot(0).asset == "FET-USDT"


@given(st.integers(0, 2**32), st.lists(OPS, max_size=40), st.integers(1, 9))
def test_replay_of_random_histories_gives_the_live_state(
    seed: int, ops: list[str], sync_every: int
) -> None:
    inputs = random_day(Random(seed), ops)
    journal = opened(disk=SimDisk())
    engine = live(journal, inputs, sync_every)
    journal.append_mark(engine.state_hash())
    journal.write_and_sync()
    again = replayed(journal)
    assert again.save() == engine.save()
    text = io.StringIO()
    export_json(journal, text)
    text.seek(0)
    imported = import_json(text, "/k", segment_bytes=SMALL, disk=SimDisk())
    assert replayed(imported).state_hash() == engine.state_hash()
    journal.close()
    imported.close()


# -- snapshots -------------------------------------------------------------------------------------


def days_with_snapshots(folder: Path, every: int) -> tuple[Journal, SnapshotStore, Engine]:
    journal, store = opened(folder / "j"), SnapshotStore(folder / "s")
    engine = journal.epoch.engine()
    for number, record in enumerate(long_day().inputs, 1):
        journal.append(record, engine.kernel.pack(record).pack())
        engine.apply(record)
        if number % every == 0:
            journal.write_and_sync()
            store.write(Snapshot.of(engine, journal))
    journal.write_and_sync()
    return journal, store, engine


def test_a_start_from_a_snapshot_replays_only_the_rest(tmp_path: Path) -> None:
    journal, store, engine = days_with_snapshots(tmp_path, 6)
    assert store.numbers() == [19, 25]
    again, count = store.restore(journal)
    assert (again.save(), count) == (engine.save(), journal.last_seq - 25)


def test_a_damaged_snapshot_falls_back_to_the_older_and_then_to_the_journal(tmp_path: Path) -> None:
    journal, store, engine = days_with_snapshots(tmp_path, 6)
    older, newest = sorted((tmp_path / "s").iterdir())
    whole = newest.read_bytes()
    for at in (*range(0, 80), *range(80, len(whole), 9_973), len(whole) - 1):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        newest.write_bytes(damaged)
        found = store.newest()
        assert found is not None and found.seq == 19
        assert len(store.problems) == 1 and newest.name in store.problems[0]
    for bad in (b"", whole[:50], whole[:-1]):
        newest.write_bytes(bad)
        assert store.restore(journal)[0].save() == engine.save()
    shutil.copy(older, newest)
    assert store.restore(journal)[0].save() == engine.save()
    assert "of record 19" in store.problems[0]
    older.write_bytes(b"")
    newest.write_bytes(b"")
    again, count = store.restore(journal)
    assert (again.save(), count, len(store.problems)) == (engine.save(), 25, 2)


def test_a_snapshot_whose_state_this_release_cannot_read_is_passed_over(tmp_path: Path) -> None:
    journal, store, engine = days_with_snapshots(tmp_path, 6)
    foreign = Snapshot(seq=26, epoch=1, state_hash="00" * 32, state=b"of another release")
    store.write(foreign)
    assert store.numbers() == [25, 26]
    assert store.restore(journal)[0].save() == engine.save()
    assert len(store.problems) == 1


def test_a_snapshot_newer_than_the_journal_stops(tmp_path: Path) -> None:
    journal, store, engine = days_with_snapshots(tmp_path, 100)
    put(journal, tick(10**7))
    store.write(Snapshot.of(engine, journal))
    assert journal.pending == 1
    with pytest.raises(JournalFault, match="does not have what is asked"):
        put_back = SnapshotStore(tmp_path / "s")
        put_back.restore(JournalReader.open(tmp_path / "j"))


def test_a_snapshot_of_another_journal_or_a_newer_release_is_refused(tmp_path: Path) -> None:
    journal, store, engine = days_with_snapshots(tmp_path, 100)
    store.write(Snapshot(seq=5, epoch=9, state_hash="00" * 32, state=engine.save()))
    with pytest.raises(SettingsError, match="another journal"):
        store.restore(journal)
    newer = bytearray(Snapshot.of(engine, journal).encode()[:-4])
    newer[8] = 3
    data = bytes(newer) + _journal.crc32c(newer).to_bytes(4, "little")
    with pytest.raises(SettingsError, match="newer release"):
        Snapshot.decode(data)


@pytest.mark.parametrize(
    "operation", ["mkdir", "create", "pwrite", "fdatasync", "rename", "fsync_directory"]
)
def test_a_snapshot_that_cannot_be_written_leaves_the_older_ones(operation: str) -> None:
    disk = SimDisk()
    journal = opened(disk=disk)
    store = SnapshotStore("/s", disk=disk)
    engine = live(journal, long_day().inputs)
    assert store.newest() is None
    first = Snapshot.of(engine, journal)
    store.write(first)
    put(journal, tick(10**7))
    disk.before = failing(operation, errno.ENOSPC)
    with pytest.raises(OperatorError, match="snapshot was not written"):
        store.write(Snapshot.of(engine, journal))
    assert SnapshotStore("/s", disk=disk.crashed(Random(1))).newest() is not None
    assert not [n for n in disk.names if n.endswith(".tmp")]


@given(st.integers(0, 2**32))
def test_power_loss_while_snapshots_are_written_leaves_a_sound_one(seed: int) -> None:
    chance = Random(seed)
    disk = SimDisk()
    store = SnapshotStore("/s", disk=disk)
    left = chance.randrange(10, 60)

    def before(operation: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise PowerCut

    disk.before = before
    written = 0
    try:
        for number in range(1, 9):
            state = chance.randbytes(2_000)
            store.write(Snapshot(seq=number, epoch=1, state_hash="00" * 32, state=state))
            written = number
    except PowerCut:
        pass
    disk.before = lambda operation: None
    again = SnapshotStore("/s", disk=disk.crashed(chance))
    found = again.newest()
    assert (found.seq if found else 0) in (written, written + 1)
    assert not again.problems


# -- versions --------------------------------------------------------------------------------------


def test_the_sample_of_version_1_is_readable_for_ever() -> None:
    """Its records are; it is never replayed, as nobody knows by which rules it was written."""
    journal = JournalReader.open(SAMPLE / "journal")
    assert (journal.report.records, journal.report.segments, journal.epoch.number) == (28, 2, 1)
    assert inputs_of(journal) == long_day().inputs
    assert not journal.epoch.rules.are_ours


def test_older_payloads_are_brought_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the version before had been written with the texts before the packed part."""
    before = _journal.PAYLOAD_VERSION - 1
    monkeypatch.setitem(UPCASTERS, before, _upcast)
    journal = opened(disk=SimDisk())
    live(journal, long_day().inputs)
    chunk = next(journal._walk(2, journal.last_seq + 1))
    old = array("Q", chunk.notes)
    data = bytearray(chunk.data)
    for index in range(chunk.noted):
        old[2 * index + 1] &= ~(0xFF << 40)
        old[2 * index + 1] |= before << 40
        start = old[2 * index] + 32
        length = old[2 * index + 1] & 0xFFFFFFFF
        payload = data[start : start + length]
        data[start : start + length] = payload[PACKED:] + payload[:PACKED]
    older = chunk._replace(
        data=bytes(data),
        notes=old,
        oldest=before,
        inputs=bytearray(len(chunk.inputs)),
        named_count=0,
    )
    monkeypatch.setattr(journal, "_walk", lambda *args, **more: iter([older]))
    again = journal.epoch.engine()
    assert journal.replay_into(again, 2) == chunk.inputs_count
    reference = journal.epoch.engine()
    for record in inputs_of(journal):
        reference.apply(record)
    assert again.save() == reference.save()
    monkeypatch.delitem(UPCASTERS, before)
    with pytest.raises(SettingsError, match=f"version {before} of record 2"):
        inputs_of(journal)


def _upcast(kind: int, payload: bytes) -> bytes:
    return payload[-PACKED:] + payload[:-PACKED] if kind == _journal.INPUT else payload


def test_what_a_newer_release_wrote_is_refused_by_its_version(two_batches: Path) -> None:
    file = segments(two_batches)[0]
    whole = file.read_bytes()
    head = bytearray(whole[:60])
    head[8] = 3
    file.write_bytes(head + _journal.crc32c(head).to_bytes(4, "little") + whole[64:])
    with pytest.raises(SettingsError, match="newer release: expected format version up to 2; fo"):
        opened(two_batches)
    start, size = record_places(whole)[-1]
    for place, value in ((28, 99), (29, 99), (30, 1)):  # an unknown kind, version, flag
        record = bytearray(whole[start : start + size])
        record[place] = value
        crc = _journal.crc32c(record[8:], _journal.crc32c(record[:4]))
        record[4:8] = crc.to_bytes(4, "little")
        file.write_bytes(whole[:start] + record + whole[start + size :])
        with pytest.raises(SettingsError, match=r"record 6 .* newer release"):
            opened(two_batches)


# -- JSON ------------------------------------------------------------------------------------------


def exported(records: list[Input]) -> tuple[list[str], Engine]:
    journal = opened(disk=SimDisk())
    engine = live(journal, records)
    journal.append_mark(engine.state_hash())
    journal.write_and_sync()
    text = io.StringIO()
    export_json(journal, text)
    return text.getvalue().splitlines(keepends=True), engine


def test_an_import_of_an_export_is_the_same_journal(tmp_path: Path) -> None:
    lines, engine = exported(long_day().inputs)
    journal = import_json(io.StringIO("".join(lines)), tmp_path / "k", segment_bytes=SMALL)
    assert replayed(journal).save() == engine.save()
    text = io.StringIO()
    export_json(journal, text)
    assert text.getvalue() == "".join(lines)
    put(journal, tick(10**7))
    journal.close()
    for folder in (tmp_path / "k", tmp_path):
        with pytest.raises(OperatorError, match="not empty"):
            import_json(io.StringIO("".join(lines)), folder)


@pytest.mark.parametrize(
    ("line", "change"),
    [
        (1, lambda t: t.replace("epoch", "mark", 1)),
        (1, lambda t: ""),
        (2, lambda t: t.replace('"seq":2', '"seq":3')),
        (2, lambda t: t.replace("ACCOUNT_UPDATE", "NO_SUCH_KIND")),
        (2, lambda t: t.replace('"25000"', '"1e400"')),
        (2, lambda t: t.replace('"25000"', "25000.5")),
        (2, lambda t: t.replace('"asset"', '"assets"')),
        (2, lambda t: t.replace('"event"', '"offer"')),
        (2, lambda t: t.replace('"USDT"', '"\\u0007"')),
        (3, lambda t: t[: len(t) // 2]),
        (3, lambda t: t.replace('"contract":{', '"contract":{"x":1,')),
        (5, lambda t: t.replace('"order_no":1', '"order_no":-1')),
        (27, lambda t: t.replace('"state_hash":"', '"state_hash":"zz')),
        (27, lambda t: t.replace('"state_hash":"', '"state_hash":"00')),
        (1, lambda t: t.replace('"created_ms":1', '"created_ms":"1"')),
        (1, lambda t: t.replace('"account":{', '"account":5,"x":{')),
    ],
)
def test_a_line_that_is_wrong_is_named(line: int, change: Callable[[str], str]) -> None:
    lines, _ = exported(long_day().inputs)
    changed = change(lines[line - 1])
    assert changed != lines[line - 1]
    lines[line - 1] = changed
    with pytest.raises(OperatorError, match=f"line {line if changed else 1} cannot be imported"):
        import_json(io.StringIO("".join(lines)), "/k", segment_bytes=SMALL, disk=SimDisk())


def test_a_refused_import_leaves_nothing_behind(tmp_path: Path) -> None:
    lines, _ = exported(long_day().inputs)
    (tmp_path / "made").mkdir()
    for folder in (tmp_path / "new", tmp_path / "made"):
        with pytest.raises(OperatorError, match="line 9 cannot be imported"):
            import_json(io.StringIO("".join(lines[:8]) + "{}\n"), folder, segment_bytes=SMALL)
        with pytest.raises(OperatorError, match="no journal here"):
            JournalReader.open(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert not list((tmp_path / "made").iterdir())
    # Nor does one that is killed: what it leaves is not a journal, and the next one removes it.
    (tmp_path / "new.part").mkdir()
    (tmp_path / "new.part" / "journal-00000000000000000001.seg").write_bytes(b"half")
    (tmp_path / "new.part.high-water").write_bytes(b"half")
    made = import_json(io.StringIO("".join(lines)), tmp_path / "new", segment_bytes=SMALL)
    made.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "new", "new.high-water"]


def test_a_line_without_an_end_is_refused() -> None:
    class Endless(io.TextIOBase):
        def readline(self, size: int = -1) -> str:  # type: ignore[override]
            assert 0 < size <= 2**20
            return "0" * size

    for text in (Endless(), io.StringIO("[" * 60_000 + "\n")):
        with pytest.raises(OperatorError, match=r"line .* cannot be imported"):
            import_json(text, "/k", disk=SimDisk())  # type: ignore[arg-type]


def test_an_import_of_nothing_is_refused() -> None:
    with pytest.raises(OperatorError, match="line 0 cannot be imported"):
        import_json(io.StringIO(""), "/k", disk=SimDisk())


# -- group commit ----------------------------------------------------------------------------------


def test_commits_that_come_while_the_disk_works_share_one_sync() -> None:
    disk = SimDisk()
    journal = opened(disk=disk, segment_bytes=2**20)
    syncs: list[str] = []
    disk.before = lambda operation: syncs.append(operation) if operation == "fdatasync" else None

    async def one(commit: GroupCommit, number: int) -> None:
        seq = put(journal, tick(number))
        assert await commit.commit() >= seq

    async def many() -> None:
        commit = GroupCommit(journal)
        assert await commit.commit() == 1  # nothing to do
        await asyncio.gather(*(one(commit, n) for n in range(200)))
        commit.close()

    asyncio.run(many())
    assert journal.synced_up_to == 201
    assert len(syncs) <= 10
    assert inputs_of(journal) == list(map(tick, range(200)))


def test_what_came_while_the_disk_worked_is_committed_next() -> None:
    disk = SimDisk()
    journal = opened(disk=disk)
    working, go_on = threading.Event(), threading.Event()

    def before(operation: str) -> None:
        if operation == "fdatasync":
            working.set()
            assert go_on.wait(10)

    async def run() -> tuple[int, int]:
        commit = GroupCommit(journal)
        put(journal, tick(1))
        disk.before = before
        first = asyncio.ensure_future(commit.commit())
        await asyncio.to_thread(working.wait)
        put(journal, tick(2))
        second = asyncio.ensure_future(commit.commit())
        await asyncio.sleep(0)
        go_on.set()
        found = await first, await asyncio.wait_for(second, 10)
        commit.close()
        return found

    assert asyncio.run(run()) == (2, 3)


class Turns(ManualClock):
    """Each reading is one sync's worth of time later than the last."""

    took_ns = 0

    def monotonic_ns(self) -> int:
        self.advance_ms(self.took_ns // 1_000_000)
        return super().monotonic_ns()


def test_a_quick_disk_is_written_by_the_loop_and_a_slow_one_by_a_thread() -> None:
    disk = SimDisk()
    journal = opened(disk=disk, segment_bytes=2**20)
    clock = Turns()
    threads: list[str] = []

    def before(operation: str) -> None:
        if operation == "fdatasync":
            threads.append(threading.current_thread().name)

    async def commits(commit: GroupCommit, count: int) -> list[bool]:
        threads.clear()
        for number in range(count):
            put(journal, tick(number))
            await commit.commit()
        return [name == "journal" for name in threads]

    async def run() -> None:
        disk.before = before
        commit = GroupCommit(journal, clock=clock)
        assert await commits(commit, 20) == [True] * 16 + [False] * 4
        clock.took_ns = 5_000_000
        assert await commits(commit, 3) == [False, True, True]
        clock.took_ns = 0
        assert await commits(commit, 18) == [True] * 16 + [False] * 2
        # A commit that did not yield is the only one of its turn; the others share the next sync.
        threads.clear()
        other = asyncio.ensure_future(commits(commit, 5))
        assert await commits(commit, 5) == [False] * len(threads)
        await other
        assert len(threads) < 10
        commit.close()
        never = GroupCommit(journal, clock=clock, quick_ns=0)
        assert await commits(never, 20) == [True] * 20
        never.close()

    asyncio.run(run())


def test_a_loop_that_commits_without_end_still_turns() -> None:
    journal = opened(disk=SimDisk(), segment_bytes=2**20)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def run() -> None:
        commit = GroupCommit(journal, clock=ManualClock())
        other = asyncio.ensure_future(count())
        for number in range(100):
            put(journal, tick(number))
            await commit.commit()
        other.cancel()
        commit.close()

    asyncio.run(run())
    assert turns > 40


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_an_error_of_the_loops_own_write_reaches_who_waits(error: int) -> None:
    disk = SimDisk()
    journal = opened(disk=disk, segment_bytes=2**20)

    async def run() -> None:
        commit = GroupCommit(journal, clock=ManualClock())
        for number in range(40):
            put(journal, tick(number))
            await commit.commit()
        disk.before = failing("pwrite", error, times=2)
        put(journal, tick(99))
        for _ in range(2):
            with pytest.raises(JournalFull if error == errno.ENOSPC else JournalFault):
                await commit.commit()
        commit.close()

    asyncio.run(run())


def test_a_cancelled_waiter_does_not_disturb_the_others() -> None:
    journal = opened(disk=SimDisk())

    async def run() -> int:
        commit = GroupCommit(journal)
        put(journal, tick(1))
        first = asyncio.ensure_future(commit.commit())
        second = asyncio.ensure_future(commit.commit())
        await asyncio.sleep(0)
        first.cancel()
        synced = await second
        commit.close()
        commit.close()
        return synced

    assert asyncio.run(run()) == 2


def test_a_full_disk_and_a_fault_reach_whoever_waits() -> None:
    disk = SimDisk()
    journal = opened(disk=disk)

    async def run() -> None:
        commit = GroupCommit(journal)
        disk.before = failing("pwrite", errno.ENOSPC)
        put(journal, tick(1))
        with pytest.raises(JournalFull):
            await commit.commit()
        assert await commit.commit() == 2  # it was kept, and goes in with the next
        disk.before = failing("fdatasync", errno.EIO)
        put(journal, tick(2))
        waiting = [asyncio.ensure_future(commit.commit()) for _ in range(3)]
        for waiter in waiting:
            with pytest.raises(JournalFault):
                await waiter
        with pytest.raises(JournalFault, match="accepts no more records"):
            await commit.commit()
        commit.close()

    asyncio.run(run())


# -- how long commits take -------------------------------------------------------------------------


def test_commit_latency_is_of_the_last_minute_and_counts_the_one_that_hangs() -> None:
    disk, clock = SimDisk(), ManualClock()
    journal = opened(disk=disk)
    hanging, go_on = threading.Event(), threading.Event()

    async def one(commit: GroupCommit, took_ms: int) -> None:
        disk.before = lambda op: clock.advance_ms(took_ms) if op == "fdatasync" else None
        put(journal, tick(1))
        await commit.commit()

    def hangs(operation: str) -> None:
        if operation == "fdatasync":
            hanging.set()
            assert go_on.wait(10)

    async def run() -> None:
        commit = GroupCommit(journal, clock=clock, quick_ns=0)
        assert commit.latency() == CommitLatency(
            commits=0, last_us=0, p99_us=0, max_us=0, running_us=0
        )
        for took_ms in (1, 40, 2):
            await one(commit, took_ms)
        found = commit.latency()
        assert (found.commits, found.last_us, found.p99_us, found.max_us, found.running_us) == (
            3, 2_000, 40_000, 40_000, 0,
        )  # fmt: skip
        assert not found.is_slow
        for _ in range(300):
            await one(commit, 0)
        assert (commit.latency().p99_us, commit.latency().max_us) == (0, 40_000)
        clock.advance_ms(61_000)
        assert commit.latency().commits == 0
        # One that hangs is seen while it does, by whoever asks.
        disk.before = hangs
        put(journal, tick(2))
        waiting = asyncio.ensure_future(commit.commit())
        await asyncio.to_thread(hanging.wait)
        clock.advance_ms(5_000)
        assert (commit.latency().running_us, commit.latency().is_slow) == (5_000_000, True)
        go_on.set()
        await waiting
        found = commit.latency()
        assert (found.commits, found.max_us, found.running_us, found.is_slow) == (
            1, 5_000_000, 0, True,
        )  # fmt: skip
        commit.close()

    asyncio.run(run())


def test_a_mark_that_cannot_be_made_durable_is_told_beside_the_commits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dita.journal.commit.HIGH_WATER_LAG_S", 0.001)
    disk = SimDisk()
    journal = opened(disk=disk)
    told: list[BaseException] = []

    async def run() -> None:
        commit = GroupCommit(journal)
        commit.on_failure = told.append
        put(journal, tick(1))
        await commit.commit()
        disk.before = failing("fdatasync", errno.EIO)
        while not told:
            await asyncio.sleep(0.001)
        with pytest.raises(JournalFault):
            put(journal, tick(2))
        commit.close()

    asyncio.run(asyncio.wait_for(run(), 10))
    assert isinstance(told[0], JournalFault) and "/j.high-water" in str(told[0])


def test_the_mark_is_durable_a_moment_after_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off the way of the orders, and once for many commits."""
    monkeypatch.setattr("dita.journal.commit.HIGH_WATER_LAG_S", 0.02)
    disk = SimDisk()
    journal = opened(disk=disk)
    syncs: list[str] = []

    async def run() -> None:
        commit = GroupCommit(journal)
        disk.before = lambda op: syncs.append(op) if op == "fdatasync" else None
        for number in range(5):
            put(journal, tick(number))
            await commit.commit()
        assert len(syncs) == 5  # one for each commit
        while len(syncs) < 6:
            await asyncio.sleep(0.001)
        commit.close()

    asyncio.run(asyncio.wait_for(run(), 10))
    after = disk.crashed(Random(1))
    assert JournalReader.open("/j", disk=after).report.synced == 6


# -- the sample ------------------------------------------------------------------------------------


def make_sample(folder: Path) -> str:
    """Write tests/data/journal-v1; needed once, when version 1 was new."""
    journal, store = opened(folder / "journal"), SnapshotStore(folder / "snapshots")
    engine = journal.epoch.engine()
    for number, record in enumerate(long_day().inputs, 1):
        journal.append(record, engine.kernel.pack(record).pack())
        engine.apply(record)
        journal.write_and_sync()
        if number == 20:
            store.write(Snapshot.of(engine, journal))
            journal.append_mark(engine.state_hash())
    journal.close(engine.state_hash())
    return engine.state_hash()
