"""Trades, events and one trade's story out of a journal: the same as live, to the last digit.

The journal is written from the inputs of a desk; what the index says is compared with an engine
that took the same inputs one by one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.bad_night import FET, SMALL, Input, Record, bad_night, write
from support.engine_driver import LONG, SHORT, Desk, Kind, m, p, q
from support.journal_days import OPS, random_day
from support.long_days import long_day

from dita.contracts import (
    ControlAction,
    KernelCommandType,
    KernelIntent,
    OrderSide,
    VenueEvent,
)
from dita.display import day
from dita.engine import Engine
from dita.errors import JournalFault, UsageError
from dita.journal import Journal, JournalReader, Note, Snapshot, SnapshotStore, reader
from dita.journal.following import Step
from dita.runtime.eventlog.event import Event, Level
from dita.runtime.eventlog.teller import Teller
from dita.runtime.history.index import FILE, Index
from dita.runtime.history.totals import by_day, by_symbol, closed, total
from dita.runtime.history.trades import Ended, TradeBook, TradeRow
from dita.runtime.history.when import DAY_MS, day_ms, moment_ms
from dita.runtime.operations.explain import story_of
from dita.runtime.state.archiving import archive_segments


def opened(folder: Path) -> Index:
    return Index.open(folder)


def live(records: list[Record]) -> tuple[list[Event], list[TradeRow], Engine]:
    """What a running serve would have told, and the trades it would have counted."""
    engine = Engine(msgspec.structs.replace(SMALL, namespace="pink", epoch=1))
    teller, book = Teller(engine), TradeBook(engine.kernel)
    events: list[Event] = []
    rows: dict[int, TradeRow] = {}
    for seq, record in enumerate(records, 2):
        if isinstance(record, Note):
            events += teller.note(record, seq)
            continue
        outcome = engine.apply(record)
        events += teller.tell(record, outcome, seq)
        book.take(Step(seq, record, outcome))
        rows.update({row.trade_no: row for row in book.changed()[0]})
    return events, list(rows.values()), engine


def with_noise(inputs: list[Input], chance: Random) -> list[Record]:
    """Prices, positions, ticks, foreign fills and notes between the inputs."""
    records: list[Record] = []
    for record in inputs:
        for _ in range(chance.randrange(4)):
            records.append(_noise(chance, record.received_ms))
        records.append(record)
    return records


def _noise(chance: Random, now: int) -> Record:
    kind = chance.randrange(6)
    if kind == 0:
        return Note(now, chance.choice(["GAP", "STARTED", "STATE", "ODD"]), {"why": "a test"})
    if kind == 1:
        side = chance.choice((OrderSide.BUY, OrderSide.SELL, OrderSide.UNKNOWN))
        size = q(chance.randrange(3) * 10) if side else 0
        return VenueEvent(kind=Kind.POSITION, received_ms=now, asset=FET, side=side,
                          quantity_e8=size)  # fmt: skip
    if kind == 2:
        return VenueEvent(kind=Kind.TICK, received_ms=now)
    if kind == 3:
        return VenueEvent(kind=Kind.FULL_FILL, received_ms=now, asset="BTC-USDT",
                          venue_order_id=str(chance.randrange(10**6)), side=OrderSide.BUY,
                          quantity_e8=q(1), price_e10=p(1))  # fmt: skip
    return KernelIntent(
        command=KernelCommandType.MARK_PRICE, received_ms=now, asset=FET,
        reference_price_e10=p(chance.randrange(9, 12)), intent_id=f"mark-{chance.random()}",
    )  # fmt: skip


# -- the same as live ------------------------------------------------------------------------------


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.lists(OPS, max_size=40), st.integers(1, 60))
def test_the_journal_tells_what_serve_told(
    tmp_path_factory: pytest.TempPathFactory, seed: int, ops: list[str], part: int
) -> None:
    """Word for word, whether it was read in one piece or brought up to date in the middle."""
    chance = Random(seed)
    records = with_noise(random_day(chance, ops), chance)
    told, rows, _ = live(records)
    folder = tmp_path_factory.mktemp("history")
    write(folder, records[:part])
    opened(folder).close()
    write(folder, records, after=part)
    index = opened(folder)
    assert list(index.events()) == told
    found = {row.trade_no: row for row in index.trades()}
    for row in rows:
        # Live every input is looked at, also those that change nothing.
        row.quiet, row.last_seq = found[row.trade_no].quiet, found[row.trade_no].last_seq
        assert found[row.trade_no] == row
    index.close()


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.lists(OPS, max_size=60))
def test_trades_add_up_to_the_ledger(seed: int, ops: list[str]) -> None:
    """No cent is in two trades, and none is in none."""
    chance = Random(seed)
    records = with_noise(random_day(chance, ops), chance)
    _, rows, engine = live(records)
    ledger = engine.kernel.ledger()
    assert sum(row.gross for row in rows) == ledger.realized + ledger.trueup
    assert sum(row.fees for row in rows) == ledger.fees


def doubtful_day() -> Desk:
    """News that come with positions and with time alone, from inputs that mostly say nothing."""
    desk = Desk()
    desk.quiet_anchor("25000")
    desk.open(100, "10")
    for held in (100, 60, 60, 100):  # doubt, once, and its end
        desk.event(Kind.POSITION, asset=FET, side=OrderSide.BUY, quantity_e8=q(held))
    desk.close(100, "10")
    for held in (0, 500, 500, 0):
        side = OrderSide.BUY if held else OrderSide.UNKNOWN
        desk.event(Kind.POSITION, asset=FET, side=side, quantity_e8=q(held))
    return desk


@pytest.mark.parametrize("day_of", [long_day, doubtful_day])
def test_a_chunk_border_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, day_of: Callable[[], Desk]
) -> None:
    records = with_noise(day_of().inputs, Random(5)) if day_of is long_day else day_of().inputs
    told, _, _ = live(list(records))
    assert len({event.name for event in told}) > 5
    write(tmp_path, list(records))
    for size in (1, 2, 3, 7):
        monkeypatch.setattr(reader, "_CHUNK_INPUTS", size)
        monkeypatch.setattr(reader, "_CHUNK_RECORDS", 2 * size)
        (tmp_path / FILE).unlink(missing_ok=True)
        index = opened(tmp_path)
        assert list(index.events()) == told
        index.close()


# -- the file --------------------------------------------------------------------------------------


@pytest.fixture
def folder(written_day: Path) -> Path:
    return written_day


def told_by(folder: Path) -> list[Event]:
    index = opened(folder)
    events = list(index.events())
    index.close()
    return events


def test_the_file_is_its_owners_alone_and_used_again(folder: Path) -> None:
    told = told_by(folder)
    file = folder / FILE
    assert oct(file.stat().st_mode & 0o777) == "0o600"
    before = file.read_bytes()
    assert told_by(folder) == told
    assert file.read_bytes() == before  # nothing was to be added


@pytest.mark.parametrize(
    "damage", ["bytes", "version", "other journal", "other schema", "no tables", "empty"]
)
def test_a_file_that_does_not_fit_is_made_anew(folder: Path, damage: str) -> None:
    told = told_by(folder)
    file = folder / FILE
    if damage == "bytes":
        file.write_bytes(b"no database at all" * 1_000)
    elif damage == "empty":
        file.write_bytes(b"")
    else:
        base = sqlite3.connect(file)
        with base:
            if damage == "version":
                base.execute("UPDATE meta SET value = 'of another release' WHERE key = 'version'")
                base.execute("UPDATE events SET text = 'other words'")
            elif damage == "other journal":
                base.execute("UPDATE meta SET value = 12345 WHERE key = 'crc'")
                base.execute("UPDATE events SET text = 'other words'")
            elif damage == "other schema":  # of a release that kept other columns
                base.execute("UPDATE meta SET value = 'of another release' WHERE key = 'version'")
                base.execute("ALTER TABLE trades RENAME COLUMN over_ms TO closed_ms")
                base.execute("CREATE TABLE more (x)")
            else:
                base.execute("DROP TABLE events")
        base.close()
    assert told_by(folder) == told


def test_two_commands_at_once_make_one_index(folder: Path) -> None:
    told = told_by(folder)
    (folder / FILE).unlink()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(told_by, [folder] * 4))
    assert found == [told] * 4 and told_by(folder) == told
    rows = sqlite3.connect(folder / FILE).execute("SELECT COUNT(*) FROM events").fetchone()
    assert rows == (len(told),)


def test_an_index_that_is_locked_is_made_in_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = told_by(folder)
    monkeypatch.setattr("dita.runtime.history.index.PATIENCE_S", 0.01)
    base = sqlite3.connect(folder / FILE)
    base.execute("BEGIN IMMEDIATE")
    index = opened(folder)
    assert (index.kept, list(index.events())) == ("", told)
    index.close()
    base.close()
    assert told_by(folder) == told


def test_who_reads_slowly_locks_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pager that waits for a key, while the journal grows and another command is typed."""
    monkeypatch.setattr("dita.runtime.history.index.PAGE", 3)
    told = told_by(folder)
    index = opened(folder)
    slowly = index.events(level=Level.DEBUG)
    first = [next(slowly) for _ in range(4)]
    records: list[Record] = [*long_day().inputs, Note(9, "GAP", {"why": "lost"})]
    write(folder, records, after=len(records) - 1)
    another = opened(folder)
    assert another.kept and len(list(another.events())) == len(told) + 1
    another.close()
    assert [*first, *slowly][: len(told)] == told
    index.close()


def test_a_full_disk_costs_only_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = told_by(folder)
    (folder / FILE).unlink()
    connect = sqlite3.connect

    def small(path: str, **options: Any) -> sqlite3.Connection:
        base: sqlite3.Connection = connect(path, **options)
        if path != ":memory:":
            base.execute("PRAGMA max_page_count = 8")
        return base

    monkeypatch.setattr("dita.runtime.history.index.sqlite3.connect", small)
    index = opened(folder)
    assert (index.kept, list(index.events())) == ("", told)
    index.close()


def test_a_trap_in_the_files_place_is_not_touched(folder: Path) -> None:
    """A link there could make root write into somebody else's file."""
    victim = folder / "victim"
    victim.write_text("precious")
    (folder / FILE).symlink_to(victim)
    index = opened(folder)
    assert (index.kept, victim.read_text()) == ("", "precious")
    assert list(index.events())
    index.close()


def test_what_comes_while_one_looks_on_is_told(folder: Path) -> None:
    index = opened(folder)
    before = len(list(index.events()))
    records: list[Record] = [*long_day().inputs, Note(9, "GAP", {"why": "lost"})]
    write(folder, records, after=len(records) - 1)
    (event,) = index.news(JournalReader.open(folder / "journal"))
    assert event.text.endswith("lost") and index.news(JournalReader.open(folder / "journal")) == []
    index.close()
    assert len(told_by(folder)) == before + 1


def archived(folder: Path) -> list[Record]:
    """A journal whose oldest segments are gone, with a trade open where its snapshots are."""
    chance = Random(1)
    desk = bad_night()
    for _ in range(300):
        desk.event(Kind.FUNDING_FEE, asset="XRP-USDT", amount=1, event_id=str(chance.random()))
    before = list(desk.inputs)
    desk.exit(trade="T4", name="X4", reason="eva: enough")
    desk.fill("X4", 10, "21", full=True)
    records: list[Record] = list(desk.inputs)
    write(folder, records[: len(before)])
    journal = Journal.open(folder / "journal", namespace="pink", created_ms=1)
    engine = journal.epoch.engine()
    journal.replay_into(engine)
    store = SnapshotStore(folder / "snapshots")
    for _ in range(2):
        store.write(Snapshot.of(engine, journal))
        journal.append_note(Note(engine.kernel.now_ms, "STATE", {"to": "READY"}))
        journal.write_and_sync()
    journal.close()
    write(folder, records, after=len(before))
    return records


def test_what_was_archived_is_still_known_until_the_index_is_gone(tmp_path: Path) -> None:
    folder, target = tmp_path / "state", tmp_path / "archive"
    folder.mkdir()
    target.mkdir()
    archived(folder)
    assert archive_segments(folder, target, keep_days=0, apply=True)
    index = opened(folder)
    whole = index.trades()
    assert [row.trade for row in whole] == ["T1", "T2", "T3", "T4"] and not index.begins_behind
    index.close()
    (folder / FILE).unlink()
    for _ in range(2):  # made, and found again
        index = opened(folder)
        (rest,) = [row for row in index.trades() if row.ended is Ended.EXIT]
        assert (rest.trade, rest.net, rest.closed_ms) == ("T4", whole[3].net, whole[3].closed_ms)
        assert (rest.opened_ms, rest.held_ms) == (0, 0) and index.begins_behind > 0
        assert [e.name for e in index.events()][-1] == "FLAT"
        index.close()
    for path in (folder / "snapshots").iterdir():
        path.write_bytes(b"damaged")
    opened(folder).close()
    (folder / FILE).unlink()
    with pytest.raises(JournalFault, match="copy the archived segments back"):
        opened(folder)


# -- trades ----------------------------------------------------------------------------------------


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Index]:
    write(tmp_path, list(bad_night().inputs))
    index = opened(tmp_path)
    yield index
    index.close()


def test_each_trade_says_what_it_brought_and_how_it_ended(night: Index) -> None:
    lost, by_hand, refused, still = night.trades()
    assert (lost.gross, lost.fees, lost.funding) == (m("-10.1"), m("2"), m("-0.3"))
    assert lost.net == m("-12.4")
    assert (lost.ended, lost.why_in, lost.why_out) == (Ended.EXIT, "eva: breakout", "eva: enough")
    assert (lost.entry_price_e10, lost.exit_price_e10) == (p("0.5"), p("0.5101"))
    assert lost.held_ms == 40_000 and lost.leverage == 2 and lost.source == "exchange"
    assert (by_hand.ended, by_hand.gross) == (Ended.EXTERNAL, m("-10"))
    assert (refused.ended, refused.net, refused.closed_ms) == (Ended.UNFILLED, 0, 0)
    assert (still.ended, still.closed_ms, still.entered_e8) == (Ended.OPEN, 0, q(10))


def test_totals_are_of_what_is_over(night: Index) -> None:
    rows = night.trades()
    whole = total("all", closed(rows))
    assert (whole.trades, whole.won, whole.lost) == (2, 0, 2)
    assert whole.net == m("-22.4")
    assert [(t.name, t.net) for t in by_symbol(rows)] == [
        ("FET-USDT", m("-12.4")), ("TRX-USDT", m("-10")),
    ]  # fmt: skip
    assert [t.name for t in by_day(rows)] == [day(0)]
    assert night.loose_funding() == 0


def test_trades_are_found_by_time_and_symbol(night: Index) -> None:
    lost = night.trades()[0]
    after = [row.trade for row in night.trades(since_ms=lost.closed_ms + 1)]
    assert after == ["T2", "T3", "T4"]
    assert [row.trade for row in night.trades(until_ms=lost.closed_ms)] == []
    assert [row.trade for row in night.trades(asset="fetusdt".upper())] == ["T1"]


def test_funding_goes_to_who_held_the_symbol_then_and_else_to_nobody(tmp_path: Path) -> None:
    desk = bad_night()
    for asset, amount, at in (("BNB-USDT", "-2", 0), (FET, "-7", 0), ("XRP-USDT", "1", 0)):
        desk.event(Kind.FUNDING_FEE, asset=asset, amount=m(amount), event_id=f"{asset}{at}")
    write(tmp_path, list(desk.inputs))
    index = opened(tmp_path)
    assert {row.trade: row.funding for row in index.trades()} == {
        "T1": m("-0.3"), "T2": 0, "T3": 0, "T4": m("-2"),
    }  # fmt: skip
    assert index.loose_funding() == m("-6")
    index.close()


def test_funding_of_two_holders_is_shared_by_what_they_held(tmp_path: Path) -> None:
    desk = Desk(hedge=True)
    desk.quiet_anchor("25000")
    desk.open(30, "10", trade="T1", side=LONG, slot_id=0)
    desk.open(10, "10", trade="T2", side=SHORT, slot_id=1)
    desk.event(Kind.FUNDING_FEE, asset=FET, amount=m("-4"), event_id="f1")
    write(tmp_path, list(desk.inputs), hedge=True)
    index = opened(tmp_path)
    assert [row.funding for row in index.trades()] == [m("-3"), m("-1")]
    texts = [event.text for event in story_of(index, "T2").events]
    assert texts[-1] == "-1.00 of it: -4.00 on FET-USDT"
    index.close()


# -- one trade's story -----------------------------------------------------------------------------


def test_a_story_has_its_events_and_its_inputs(night: Index) -> None:
    story = story_of(night, "T1")
    assert story.trade is not None and story.trade.net == m("-12.4")
    assert [event.name.value for event in story.events] == [
        "INTENT", "ORDER", "FILL", "FUNDING", "INTENT", "ORDER", "FILL", "FLAT", "DONE",
    ]  # fmt: skip
    assert story.links[0]["input"] == "ENTER" and story.links[-1]["after"] in ("IDLE", "CLOSED")
    assert all(link["seq"] and link["time_ms"] for link in story.links)


def test_things_are_found_by_every_name_they_have(night: Index) -> None:
    whole = story_of(night, "T2")
    for name in ("#2", "777", "intent-3"):
        assert story_of(night, name).trade == whole.trade, name
    assert story_of(night, "0").trade is not None
    with pytest.raises(UsageError, match="called that"):
        story_of(night, "nobody")


def test_an_entry_that_was_never_taken_has_a_story_too(tmp_path: Path) -> None:
    desk = Desk()
    desk.control(ControlAction.HOLD, reason="eva: news")
    desk.enter(trade="T9")
    write(tmp_path, list(desk.inputs))
    index = opened(tmp_path)
    story = story_of(index, "T9")
    assert story.trade is None
    assert "ENTRIES_FROZEN" in story.events[0].text
    index.close()


def test_of_trades_with_one_name_the_newest_is_told_and_the_others_are_named(
    tmp_path: Path,
) -> None:
    desk = Desk()
    desk.quiet_anchor("25000")
    for number in (1, 2, 3):
        for name, ask in (("T1", desk.enter), ("X1", desk.exit)):
            ask()
            ids = {"venue_order_id": f"{number}{name == 'X1':d}"}
            desk.fill(name, 100, "10", full=True, **ids)
            desk.final(name, 100, **ids)
        desk.quiet_anchor("25000")
    write(tmp_path, list(desk.inputs))
    index = opened(tmp_path)
    story = story_of(index, "T1")
    assert story.trade is not None and story.trade.trade_no == 3
    assert story.others == [1, 2]
    older = story_of(index, "#1").trade
    assert older is not None and older.trade_no == 1
    index.close()


# -- moments ---------------------------------------------------------------------------------------

NOON = 1_764_331_200_000  # 2025-11-28 12:00:00 UTC


@pytest.mark.parametrize(
    ("text", "back_ms"),
    [
        ("3h", 3 * 3_600_000), ("2d", 2 * DAY_MS), ("90m", 5_400_000), ("1w", 7 * DAY_MS),
        ("11:30", 1_800_000), ("12:00", 0), ("22:00", 14 * 3_600_000), ("11:59:30", 30_000),
        ("2025-11-28", 12 * 3_600_000), ("2025-11-27 22:00", 14 * 3_600_000),
        ("2025-11-28T11:00:00Z", 3_600_000), ("today", 12 * 3_600_000),
        ("yesterday", 36 * 3_600_000), ("2025-11-28T13:00+02:00", 3_600_000),
    ],
)  # fmt: skip
def test_a_moment_as_a_person_types_it(text: str, back_ms: int) -> None:
    assert NOON - moment_ms(text, NOON) == back_ms


@pytest.mark.parametrize("text", ["", "soon", "25:00", "2025-13-01", "12", "3x", "1e9", "٣h"])
def test_a_moment_that_is_none_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="22:00"):
        moment_ms(text, NOON)


def test_a_day_is_from_midnight_to_midnight() -> None:
    begin, end = day_ms("yesterday", NOON)
    assert (NOON - begin, end - begin) == (36 * 3_600_000, DAY_MS)
    assert day_ms("2025-11-27", NOON) == (begin, end)
    with pytest.raises(UsageError):
        day_ms("11-27", NOON)
