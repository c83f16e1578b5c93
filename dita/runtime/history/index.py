"""The index: trades, events and inputs of a journal in one file that can be asked.

It follows from the journal alone.  Each use brings it up to date from where it stopped, after the
journal's checksum chain has shown that it is of this journal; whatever does not fit is thrown away
and made anew.  A directory that cannot be written to gets an index in memory.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from dita import __version__
from dita.contracts import KernelIntent, VenueEvent
from dita.engine import RULES_VERSION, Engine
from dita.errors import JournalFault
from dita.journal import JournalReader, SnapshotStore
from dita.journal.following import Follower, Step
from dita.kernel import LAYOUT
from dita.runtime.eventlog.event import Event, Level
from dita.runtime.eventlog.teller import Teller
from dita.runtime.history.rows import Kept, event_of, event_row, kept, link_of, link_row
from dita.runtime.history.trades import TradeBook, TradeRow
from dita.runtime.state.store import JOURNAL_FOLDER, SNAPSHOT_FOLDER

FILE: Final = "index.sqlite"
#: Rises with every change of what is kept or how it reads.
VERSION: Final = f"2 {__version__} {RULES_VERSION} {LAYOUT}"
BATCH: Final = 5_000
#: So long another command may make it; then one is made in memory.
PATIENCE_S: Final = 20.0
_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
#: So many rows are asked for at once: who reads slowly must not lock it.
PAGE: Final = 2_000

_TABLES: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE trades (
  trade_no INTEGER PRIMARY KEY, trade TEXT, asset TEXT, asked_ms INTEGER, opened_ms INTEGER,
  over_ms INTEGER, row BLOB);
CREATE INDEX trades_by_name ON trades (trade);
CREATE INDEX trades_by_end ON trades (over_ms);
CREATE TABLE funding (
  seq INTEGER, asset TEXT, time_ms INTEGER, amount TEXT, trade_no INTEGER);
CREATE INDEX funding_by_trade ON funding (trade_no);
CREATE TABLE events (
  seq INTEGER, time_ms INTEGER, level INTEGER, name TEXT, trade_no INTEGER, trade TEXT,
  slot INTEGER, order_no INTEGER, asset TEXT, text TEXT, fields BLOB);
CREATE INDEX events_by_seq ON events (seq);
CREATE INDEX events_by_time ON events (time_ms);
CREATE INDEX events_by_trade ON events (trade_no);
CREATE INDEX events_by_name ON events (trade);
CREATE TABLE links (
  seq INTEGER, trade_no INTEGER, trade TEXT, slot INTEGER, order_no INTEGER, ids TEXT, row BLOB);
CREATE INDEX links_by_trade ON links (trade_no);
CREATE INDEX links_by_ids ON links (ids);
"""


_NAMES: Final = ("meta", "trades", "funding", "events", "links")


class Index:
    """The index of one state directory, brought up to date when it is opened."""

    def __init__(
        self,
        base: sqlite3.Connection,
        reader: JournalReader,
        snapshots: SnapshotStore,
        kept: str,
    ) -> None:
        self._base = base
        self._reader = reader
        self._snapshots = snapshots
        #: Where it is kept; "" in memory.
        self.kept = kept
        self._last_seq = 0
        #: What came up to this record is not in here: it was archived. 0: everything is.
        self.begins_behind = 0
        self._engine: Engine
        self._teller: Teller
        self._book: TradeBook
        self._follower: Follower
        self._rows: dict[str, list[tuple[Any, ...]]] = {"events": [], "links": []}

    @classmethod
    def open(cls, directory: Path) -> Index:
        """The index of a state directory, up to date.  Slow when there is none yet: it reads
        everything.  OperatorError without a journal."""
        path = directory / FILE
        for _ in range(2):
            if not _usable(path):
                break
            try:
                return cls._of(str(path), directory)
            except sqlite3.DatabaseError as bad:
                if getattr(bad, "sqlite_errorcode", 0) & 0xFF in _BUSY:
                    break
            with contextlib.suppress(OSError):
                path.unlink()  # damaged, or no room for it: what it said is all in the journal
        return cls._of("", directory)

    @classmethod
    def _of(cls, path: str, directory: Path) -> Index:
        base = sqlite3.connect(path or ":memory:", timeout=PATIENCE_S, isolation_level=None)
        try:
            base.execute("BEGIN IMMEDIATE")  # one at a time, and what follows is done or not
            # Opened behind the lock: whoever had it may have seen more of a growing journal.
            reader = JournalReader.open(directory / JOURNAL_FOLDER)
            index = cls(base, reader, SnapshotStore(directory / SNAPSHOT_FOLDER), path)
            index._begin()
            index.update()
            base.execute("COMMIT")
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
        tables = {name for (name,) in found}
        kept: dict[str, Any] = {}
        if tables == set(_NAMES):
            kept = dict(self._base.execute("SELECT key, value FROM meta"))
        if not kept or not self._fits(kept):
            for table in tables:
                self._base.execute(f'DROP TABLE "{table}"')
            for statement in filter(str.strip, _TABLES.split(";")):
                self._base.execute(statement)
            self._beginning()
            return
        self._last_seq = int(kept["last_seq"])
        self.begins_behind = int(kept["begins_behind"])
        self._resume(Engine.restore(kept["engine"]))
        self._teller.remember(kept["teller"])
        for (row,) in self._base.execute(
            f"SELECT row FROM trades WHERE trade_no IN ({self._known_trades()})"
        ):
            trade = msgspec.msgpack.decode(row, type=Kept).row()
            self._book.open[trade.trade_no] = trade

    def _beginning(self) -> None:
        """Go on from nothing; of an archived journal from the oldest state that is known of it."""
        reader = self._reader
        if not reader.is_archived:
            self._resume(reader.epoch.engine())
            return
        for snapshot in reversed(list(self._snapshots.sound())):
            if snapshot.epoch == reader.report.epoch and snapshot.seq >= reader.first_seq - 1:
                self._resume(snapshot.engine())
                self._last_seq = self.begins_behind = snapshot.seq
                self._book.begin()
                return
        raise JournalFault(
            "nothing says what came before the segments that are here",
            expected=f"a sound snapshot of record {reader.first_seq - 1} or later in"
            f" {self._snapshots.directory}",
            found="; ".join(self._snapshots.problems) or "none",
            action=f"copy the archived segments back into {reader.directory}",
        )

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
        for step in self._follower.follow(self._reader, self._last_seq + 1):
            self._take(step)
            if len(self._rows["events"]) > BATCH:
                self._write()
        self._write()
        self._keep(self._follower.reached)

    def news(self, reader: JournalReader) -> list[Event]:
        """The events that the journal has more than before; nothing is kept of them."""
        last = reader.report.last_seq
        if last <= self._last_seq:
            return []
        steps = self._follower.follow(reader, self._last_seq + 1)
        found = [event for step in steps for event in self._take(step)]
        self._last_seq = self._follower.reached
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
                self._rows["links"].append(link_row(step.seq, record, outcome))
            self._book.take(step)
        self._rows["events"] += [event_row(event) for event in events]
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
                (t.trade_no, t.trade, t.asset, t.asked_ms, t.opened_ms, t.over_ms, kept(t))
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
            "begins_behind": self.begins_behind,
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
        where, values = ["(over_ms >= ? OR over_ms = 0)"], [since_ms]
        if until_ms:
            where.append("(over_ms < ? AND COALESCE(NULLIF(opened_ms, 0), asked_ms) < ?)")
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
        return [msgspec.msgpack.decode(row, type=Kept).row() for (row,) in rows]

    def trade(self, trade_no: int) -> TradeRow | None:
        """One trade by its number."""
        found = self._base.execute("SELECT row FROM trades WHERE trade_no = ?", (trade_no,))
        row = found.fetchone()
        return msgspec.msgpack.decode(row[0], type=Kept).row() if row else None

    def funding(self, trade_no: int) -> list[tuple[int, int]]:
        """Payments that a trade had a part in: record and that part."""
        rows = self._base.execute(
            "SELECT seq, amount FROM funding WHERE trade_no = ? ORDER BY seq", (trade_no,)
        )
        return [(seq, int(amount)) for seq, amount in rows]

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
        until_seq: int = 0,
    ) -> Iterator[Event]:
        """Events in their order."""
        where = "time_ms >= ? AND level >= ? AND seq > ?"
        values: list[Any] = [since_ms, int(level), after_seq]
        for column, value in (
            ("time_ms <", until_ms),
            ("trade =", trade),
            ("trade_no =", trade_no),
            ("seq <=", until_seq),
        ):
            if value:
                where += f" AND {column} ?"
                values.append(value)
        last = 0
        while True:
            page = self._base.execute(
                f"SELECT rowid, * FROM events WHERE {where} AND rowid > ? ORDER BY rowid LIMIT ?",
                (*values, last, PAGE),
            ).fetchall()
            for last, *row in page:  # noqa: B007 - where the next page goes on
                yield event_of(tuple(row))
            if len(page) < PAGE:
                return

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
