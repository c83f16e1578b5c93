"""The index: trades, events and inputs of a journal in one file that can be asked.

It follows from the journal alone.  Each use brings it up to date from where it stopped, after the
journal's checksum chain has shown that it is of this journal; whatever does not fit is thrown away
and made anew.  A directory that cannot be written to gets an index in memory.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from dita import __version__
from dita.contracts import (
    EffectKind,
    KernelDiagnosticCode,
    KernelEventKind,
    KernelIntent,
    KernelTransition,
    OrderSide,
    TradeSide,
    TradeStage,
    VenueEvent,
)
from dita.engine import Engine, Outcome
from dita.journal import JournalReader
from dita.journal.following import Follower, Step
from dita.journal.records import Input
from dita.runtime.eventlog.event import Event, EventName, Level
from dita.runtime.eventlog.teller import Teller
from dita.runtime.history.trades import TradeBook, TradeRow
from dita.units import format_money, format_price, format_quantity

FILE: Final = "index.sqlite"
#: Rises with every change of what is kept or how it reads.
VERSION: Final = f"1 {__version__}"
BATCH: Final = 5_000

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trades (
  trade_no INTEGER PRIMARY KEY, trade TEXT, asset TEXT, asked_ms INTEGER, opened_ms INTEGER,
  closed_ms INTEGER, row BLOB);
CREATE INDEX IF NOT EXISTS trades_by_name ON trades (trade);
CREATE INDEX IF NOT EXISTS trades_by_end ON trades (closed_ms);
CREATE TABLE IF NOT EXISTS funding (
  seq INTEGER, asset TEXT, time_ms INTEGER, amount TEXT, trade_no INTEGER);
CREATE TABLE IF NOT EXISTS events (
  seq INTEGER, time_ms INTEGER, level INTEGER, name TEXT, trade_no INTEGER, trade TEXT,
  slot INTEGER, order_no INTEGER, asset TEXT, text TEXT, fields BLOB);
CREATE INDEX IF NOT EXISTS events_by_time ON events (time_ms);
CREATE INDEX IF NOT EXISTS events_by_trade ON events (trade_no);
CREATE INDEX IF NOT EXISTS events_by_name ON events (trade);
CREATE TABLE IF NOT EXISTS links (
  seq INTEGER, trade_no INTEGER, trade TEXT, slot INTEGER, order_no INTEGER, ids TEXT, row BLOB);
CREATE INDEX IF NOT EXISTS links_by_trade ON links (trade_no);
CREATE INDEX IF NOT EXISTS links_by_ids ON links (ids);
"""


_NAMES: Final = ("meta", "trades", "funding", "events", "links")


class Index:
    """The index of one state directory, brought up to date when it is opened."""

    def __init__(self, base: sqlite3.Connection, reader: JournalReader, kept: str) -> None:
        self._base = base
        self._reader = reader
        #: Where it is kept; "" in memory.
        self.kept = kept
        self._last_seq = 0
        self._engine: Engine
        self._teller: Teller
        self._book: TradeBook
        self._follower: Follower
        self._rows: dict[str, list[tuple[Any, ...]]] = {"events": [], "links": []}

    @classmethod
    def open(cls, directory: Path, reader: JournalReader) -> Index:
        """The index of a journal, up to date.  Slow when there is none yet: it reads everything."""
        path = directory / FILE
        kept = _usable(path)
        try:
            return cls._of(path if kept else None, reader)
        except sqlite3.DatabaseError:  # damaged: what it said is all in the journal
            if not kept:
                raise
        path.unlink(missing_ok=True)
        return cls._of(path if _usable(path) else None, reader)

    @classmethod
    def _of(cls, path: Path | None, reader: JournalReader) -> Index:
        base = sqlite3.connect(
            ":memory:" if path is None else path, timeout=5.0, isolation_level="IMMEDIATE"
        )
        try:
            base.execute("PRAGMA synchronous = OFF")  # it can be made again at any time
            index = cls(base, reader, "" if path is None else str(path))
            index._begin()
            index.update()
        except BaseException:
            base.close()
            raise
        return index

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    # -- keeping up --------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Go on from what is kept, if it is of this journal and of this release."""
        found = self._base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        whole = {name for (name,) in found} >= set(_NAMES)
        self._base.executescript(_TABLES)
        kept = dict(self._base.execute("SELECT key, value FROM meta"))
        if not whole or not kept or not self._fits(kept):
            for table in _NAMES:
                self._base.execute(f"DELETE FROM {table}")
            self._resume(self._reader.epoch.engine())
            return
        self._last_seq = int(kept["last_seq"])
        self._resume(Engine.restore(kept["engine"]))
        self._teller.remember(kept["teller"])
        for (row,) in self._base.execute(
            f"SELECT row FROM trades WHERE trade_no IN ({self._known_trades()})"
        ):
            trade = msgspec.msgpack.decode(row, type=_Kept).row()
            self._book.open[trade.trade_no] = trade

    def _fits(self, kept: dict[str, Any]) -> bool:
        if kept.get("version") != VERSION or kept.get("epoch") != self._reader.report.epoch:
            return False
        seq = int(kept["last_seq"])
        if not self._reader.first_seq <= seq <= self._reader.report.last_seq:
            return False
        chunk = next(iter(self._reader.chunks(seq)))
        return bool(chunk.crc(0) == int(kept["crc"]))

    def _resume(self, engine: Engine) -> None:
        self._engine = engine
        self._teller = Teller(engine)
        self._book = TradeBook(engine.kernel)
        self._follower = Follower(engine, self._book.choose)

    def _known_trades(self) -> str:
        return ", ".join(str(trade.trade_no) for trade in self._engine.kernel.trades())

    def update(self) -> None:
        """Take in what the journal has more than before, and keep it."""
        last = self._reader.report.last_seq
        if last <= self._last_seq:
            return
        with self._base:
            for step in self._follower.follow(self._reader, self._last_seq + 1):
                self._take(step)
                if len(self._rows["events"]) > BATCH:
                    self._write()
            self._write()
            self._keep(last)

    def news(self, reader: JournalReader) -> list[Event]:
        """The events that the journal has more than before; nothing is kept of them."""
        last = reader.report.last_seq
        if last <= self._last_seq:
            return []
        steps = self._follower.follow(reader, self._last_seq + 1)
        found = [event for step in steps for event in self._take(step)]
        self._last_seq = last
        for rows in self._rows.values():
            rows.clear()
        return found

    def _take(self, step: Step) -> tuple[Event, ...]:
        record, outcome = step.record, step.outcome
        if outcome is None or not isinstance(record, KernelIntent | VenueEvent):
            assert not isinstance(record, KernelIntent | VenueEvent)
            events = self._teller.note(record, step.seq)
        else:
            events = self._teller.tell(record, outcome, step.seq)
            if outcome.kernel.transition is not None or isinstance(record, KernelIntent):
                self._rows["links"].append(_link_row(step.seq, record, outcome))
            self._book.take(step)
        self._rows["events"] += [_event_row(event) for event in events]
        return events

    def _write(self) -> None:
        for table, rows in self._rows.items():
            if rows:
                places = ", ".join("?" * len(rows[0]))
                self._base.executemany(f"INSERT INTO {table} VALUES ({places})", rows)
                rows.clear()

    def _keep(self, last: int) -> None:
        trades, funding = self._book.changed()
        self._base.executemany(
            "INSERT OR REPLACE INTO trades VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (t.trade_no, t.trade, t.asset, t.asked_ms, t.opened_ms, t.closed_ms, _kept(t))
                for t in trades
            ],
        )
        self._base.executemany(
            "INSERT INTO funding VALUES (?, ?, ?, ?, ?)",
            [(f.seq, f.asset, f.time_ms, str(f.amount), f.trade_no) for f in funding],
        )
        chunk = next(iter(self._reader.chunks(last)))
        meta = {
            "version": VERSION,
            "epoch": self._reader.report.epoch,
            "last_seq": last,
            "crc": chunk.crc(0),
            "engine": self._engine.save(),
            "teller": self._teller.memory(),
        }
        self._base.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta.items())
        self._last_seq = last

    # -- asking ------------------------------------------------------------------------------------

    def trades(
        self, *, since_ms: int = 0, until_ms: int = 0, asset: str = "", trade: str = ""
    ) -> list[TradeRow]:
        """Trades that ended in a time, and those that have not; oldest first."""
        where, values = ["(closed_ms >= ? OR closed_ms = 0)"], [since_ms]
        if until_ms:
            where.append("(closed_ms < ? AND COALESCE(NULLIF(opened_ms, 0), asked_ms) < ?)")
            values += [until_ms, until_ms]
        names: list[Any] = []
        if asset:
            where.append("REPLACE(asset, '-', '') = REPLACE(?, '-', '')")
            names.append(asset)
        if trade:
            where.append("trade = ?")
            names.append(trade)
        rows = self._base.execute(
            f"SELECT row FROM trades WHERE {' AND '.join(where)} ORDER BY trade_no",
            (*values, *names),
        )
        return [msgspec.msgpack.decode(row, type=_Kept).row() for (row,) in rows]

    def trade(self, trade_no: int) -> TradeRow | None:
        """One trade by its number."""
        found = self._base.execute("SELECT row FROM trades WHERE trade_no = ?", (trade_no,))
        row = found.fetchone()
        return msgspec.msgpack.decode(row[0], type=_Kept).row() if row else None

    def loose_funding(self, since_ms: int = 0, until_ms: int = 0) -> int:
        """Funding of no trade of ours, as its sum."""
        rows = self._base.execute(
            "SELECT amount FROM funding WHERE trade_no = 0 AND time_ms >= ?"
            " AND (time_ms < ? OR ? = 0)",
            (since_ms, until_ms, until_ms),
        )
        return sum(int(amount) for (amount,) in rows)

    def events(
        self,
        *,
        since_ms: int = 0,
        until_ms: int = 0,
        trade: str = "",
        trade_no: int = 0,
        level: Level = Level.INFO,
        after_seq: int = 0,
    ) -> Iterator[Event]:
        """Events in their order."""
        where = "time_ms >= ? AND level >= ? AND seq > ?"
        values: list[Any] = [since_ms, int(level), after_seq]
        for column, value in (
            ("time_ms <", until_ms),
            ("trade =", trade),
            ("trade_no =", trade_no),
        ):
            if value:
                where += f" AND {column} ?"
                values.append(value)
        for row in self._base.execute(
            f"SELECT * FROM events WHERE {where} ORDER BY seq, rowid", values
        ):
            yield _event_of(row)

    def links(self, wanted: str) -> tuple[int, list[dict[str, Any]]]:
        """The trade number that a trade id, an order id or ``#number`` or a slot means, and every
        input that concerned it; (0, …) when it is about inputs without a trade."""
        trade_no = self._trade_no(wanted)
        if trade_no:
            rows = self._base.execute(
                "SELECT row FROM links WHERE trade_no = ? ORDER BY seq", (trade_no,)
            )
        else:
            rows = self._base.execute(
                "SELECT row FROM links WHERE trade = ? OR ids = ? ORDER BY seq", (wanted, wanted)
            )
        return trade_no, [link_of(row) for (row,) in rows]

    def _trade_no(self, wanted: str) -> int:
        base = self._base
        queries: list[tuple[str, Any]] = [
            ("SELECT MAX(trade_no) FROM trades WHERE trade = ?", wanted),
            ("SELECT MAX(trade_no) FROM links WHERE ids = ? AND trade_no > 0", wanted),
        ]
        if wanted.startswith("#") and wanted[1:].isdecimal():
            queries = [("SELECT trade_no FROM trades WHERE trade_no = ?", int(wanted[1:]))]
        elif wanted.isdecimal() and len(wanted) < 6:
            queries.append(("SELECT MAX(trade_no) FROM links WHERE slot = ?", int(wanted)))
        for query, value in queries:
            (found,) = base.execute(query, (value,)).fetchone() or (None,)
            if found:
                return int(found)
        return 0

    def same_name(self, trade: str) -> list[int]:
        """The numbers of all trades with an id, oldest first."""
        rows = self._base.execute(
            "SELECT trade_no FROM trades WHERE trade = ? ORDER BY trade_no", (trade,)
        )
        return [number for (number,) in rows]


# -- the file --------------------------------------------------------------------------------------


def _usable(path: Path) -> bool:
    """Ours to write, and no trap: a regular file of the directory's owner, or one yet to make."""
    try:
        owner = path.parent.stat().st_uid
        try:
            found = path.lstat()
        except FileNotFoundError:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            if os.geteuid() == 0 and owner != 0:
                os.chown(path, owner, path.parent.stat().st_gid, follow_symlinks=False)
            return True
        return stat.S_ISREG(found.st_mode) and found.st_uid == owner and os.access(path, os.W_OK)
    except OSError:
        return False


# -- rows ------------------------------------------------------------------------------------------


class _Kept(msgspec.Struct):
    """A trade as it is kept: money passes 64 bits, so it is text."""

    plain: dict[str, Any]
    money: dict[str, str]

    def row(self) -> TradeRow:
        """The trade again."""
        whole = {**self.plain, **{name: int(text) for name, text in self.money.items()}}
        return msgspec.convert(whole, TradeRow)


_MONEY: Final = ("gross", "fees", "funding")


def _kept(row: TradeRow) -> bytes:
    plain = msgspec.to_builtins(row)
    money = {name: str(plain.pop(name)) for name in _MONEY}
    return msgspec.msgpack.encode(_Kept(plain, money))


def _event_row(e: Event) -> tuple[Any, ...]:
    return (
        e.seq, e.time_ms, int(e.level), e.name.value, e.trade_no, e.trade, e.slot, e.order_no,
        e.asset, e.text, msgspec.json.encode(e.fields),
    )  # fmt: skip


def _event_of(row: tuple[Any, ...]) -> Event:
    seq, time_ms, level, name, trade_no, trade, slot, order_no, asset, text, fields = row
    return Event(
        time_ms=time_ms, name=EventName(name), level=Level(level), text=text, seq=seq,
        trade=trade, trade_no=trade_no, slot=slot, order_no=order_no, asset=asset,
        fields=msgspec.json.decode(fields),
    )  # fmt: skip


def _link_row(seq: int, record: Input, outcome: Outcome) -> tuple[Any, ...]:
    kernel = outcome.kernel
    done = kernel.transition or _NO_TRANSITION
    if isinstance(record, KernelIntent):
        trade, ids, told, words = record.trade_id, record.intent_id, record.reason, ""
        price_e10 = record.reference_price_e10
    else:
        trade, told, words = "", record.venue_order_id, record.message
        ids, price_e10 = told or record.client_order_id, record.price_e10
    raw = _Link(
        seq, record.received_ms, kernel.trigger.name, told, int(kernel.code), int(done.before),
        int(done.after), int(record.side), price_e10, done.size_e8, done.quantity_delta_e8,
        str(done.realized_delta), str(done.trueup_delta), str(done.fee_delta),
        [int(effect.kind) for effect in outcome.effects], [int(note) for note in kernel.notes],
        words, str(outcome.account.capital), kernel.transition is not None,
    )  # fmt: skip
    packed = msgspec.msgpack.encode(raw)
    return seq, done.trade_no, trade, done.slot_id, done.order_no, ids, packed


class _Link(msgspec.Struct, array_like=True):
    """One input as it is kept; written out only for who asks."""

    seq: int
    time_ms: int
    trigger: str
    told: str
    code: int
    before: int
    after: int
    side: int
    price_e10: int
    size_e8: int
    delta_e8: int
    realized: str
    trueup: str
    fee: str
    effects: list[int]
    notes: list[int]
    words: str
    capital: str
    moved: bool


_NO_TRANSITION: Final = KernelTransition(
    KernelEventKind.TICK, TradeStage.IDLE, TradeStage.IDLE, -1, 0, 0, 0, 0, 0, 0, 0, 0
)


def link_of(packed: bytes) -> dict[str, Any]:
    """One input with its transition, money and effects, as plain values."""
    raw = msgspec.msgpack.decode(packed, type=_Link)
    moved = raw.moved
    return {
        "seq": raw.seq,
        "time_ms": raw.time_ms,
        "input": raw.trigger,
        "told": raw.told,
        "code": KernelDiagnosticCode(raw.code).name,
        "before": TradeStage(raw.before).name if moved else "",
        "after": TradeStage(raw.after).name if moved else "",
        "side": OrderSide(raw.side).name
        if raw.trigger in KernelEventKind.__members__
        else TradeSide(raw.side).name,
        "price": format_price(raw.price_e10) if raw.price_e10 else "",
        "size": format_quantity(abs(raw.size_e8)) if moved else "",
        "filled": format_quantity(abs(raw.delta_e8)) if moved else "",
        "realized": format_money(int(raw.realized)),
        "trueup": format_money(int(raw.trueup)),
        "fee": format_money(int(raw.fee)),
        "asked": [EffectKind(kind).name for kind in raw.effects],
        "notes": [KernelDiagnosticCode(note).name for note in raw.notes],
        "words": raw.words,
        "capital": format_money(int(raw.capital)),
    }


def open_index(directory: Path, journal: Path) -> Index:
    """The index of a state directory's journal.  OperatorError without one."""
    return Index.open(directory, JournalReader.open(journal))
