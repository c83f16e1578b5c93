"""Lines out of the process: to stderr or to a rotating file, by a thread of their own.

Whoever logs only puts a record into a bounded queue.  A stream that is full, closed or stuck, a
full disk and a slow terminal cost lines, which are counted, and never time of the loop.
"""

from __future__ import annotations

import io
import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable
from logging.handlers import QueueHandler, RotatingFileHandler
from typing import Final

from dita.runtime.eventlog.event import Event, EventName, Level
from dita.streams import STDERR, Talk

#: Lines that wait for a slow stream; what comes beyond is lost, and counted.
WAITING_MAX: Final = 20_000


# -- how a line looks ------------------------------------------------------------------------------


def _event_of(record: logging.LogRecord) -> Event:
    """The event of a record; of what another library logs the nearest to one."""
    event: Event | None = getattr(record, "event", None)
    if event is not None:
        return event
    text = f"{record.name}: {record.getMessage()}"
    if record.exc_info:
        text = f"{text} {logging.Formatter().formatException(record.exc_info)}"
    level = max(level for level in Level if level <= max(record.levelno, Level.DEBUG))
    return Event(
        time_ms=int(record.created * 1_000), name=EventName.LIBRARY, level=level, text=text
    )


class TextLines(logging.Formatter):
    """One line for people."""

    def format(self, record: logging.LogRecord) -> str:
        """UTC, level, name, words."""
        return _event_of(record).line()


class JsonLines(logging.Formatter):
    """One JSON object a line, for programs."""

    def format(self, record: logging.LogRecord) -> str:
        """The same in fields."""
        return json.dumps(_event_of(record).plain())


# -- where it goes ---------------------------------------------------------------------------------


class Stream(logging.Handler):
    """Hands finished lines to a function that cannot fail."""

    def __init__(self, write: Callable[[str], object]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """Format and write."""
        self._write(f"{self.format(record)}\n")


class LogFile(RotatingFileHandler):
    """A file of its owner's alone (0600) that rolls over at a size; nothing of it is buffered.

    ``trouble`` says why the newest line is not in it; the next line tries again.
    """

    def __init__(self, path: str, *, max_bytes: int, keep: int) -> None:
        super().__init__(path, maxBytes=max_bytes, backupCount=keep, encoding="utf-8", delay=True)
        self.trouble = ""
        self._cut = False

    def _open(self) -> io.TextIOWrapper:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        file = os.fdopen(os.open(self.baseFilename, flags, 0o600), "ab", buffering=0)
        return io.TextIOWrapper(file, encoding="utf-8", write_through=True)

    def format(self, record: logging.LogRecord) -> str:
        """After a line that went in by half, the next one begins on a line of its own."""
        return f"\n{super().format(record)}" if self._cut else super().format(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Write it."""
        self.trouble = ""
        try:
            super().emit(record)
        except OSError as bad:  # from opening it; the rest comes through handleError
            self._failed(bad)
        self._cut = bool(self.trouble)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Called while an error is handled."""
        self._failed(sys.exc_info()[1])

    def _failed(self, bad: BaseException | None) -> None:
        why = bad.strerror if isinstance(bad, OSError) else ""
        self.trouble = f"{self.baseFilename}: {why or bad!r}"


class _Queued(QueueHandler):
    """Puts records into the queue as they are; never waits."""

    lost = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """The thread that writes formats it: nothing in an event changes meanwhile."""
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Put it in, or lose it."""
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.lost += 1


class Output:
    """One log: a queue, a thread, and where its lines go.

    What cannot go into the file goes to stderr.  Warnings of other libraries go along.
    """

    def __init__(
        self,
        *,
        level: Level,
        as_json: bool,
        file: LogFile | None = None,
        board: Callable[[str], object] | None = None,
    ) -> None:
        """``board`` takes lines in stderr's place, and only those that need a person."""
        self._talk = Talk(STDERR)
        self._file = file
        self._stream = Stream(board or self._talk.write)
        if board is not None:
            self._stream.setLevel(max(level, Level.WARNING))
        for handler in (self._file, self._stream):
            if handler is not None:
                handler.setFormatter(JsonLines() if as_json else TextLines())
        self._records: queue.Queue[logging.LogRecord | None] = queue.Queue(WAITING_MAX)
        self._queued = _Queued(self._records)
        self._level = level
        self._is_board = board is not None
        self._lost_before = 0
        self._trouble = ""
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()
        self._others = logging.getLogger()
        self._queued.setLevel(max(level, Level.WARNING))
        self._others.addHandler(self._queued)

    @property
    def lost(self) -> int:
        """Lines that nobody will read: the queue was full, or the stream took nothing."""
        return self._queued.lost + self._talk.lost

    @property
    def trouble(self) -> str:
        """Why the newest line went elsewhere or was lost; "" while all is well."""
        return self._trouble or self._talk.trouble

    def put(self, event: Event) -> None:
        """Log an event; returns at once, whatever becomes of it."""
        if event.level < self._level:
            return
        record = logging.LogRecord(event.name.value, event.level, "", 0, "", None, None)
        record.event = event
        self._queued.enqueue(record)

    def close(self, within_s: float = 2.0) -> None:
        """Write what waits, but for no longer than this: the process has to end."""
        self._others.removeHandler(self._queued)
        try:
            self._records.put_nowait(None)
        except queue.Full:
            return  # a stuck stream: the thread is a daemon and ends with the process
        self._thread.join(within_s)
        if self._file is not None and not self._thread.is_alive():
            self._file.close()

    def _work(self) -> None:
        while (record := self._records.get()) is not None:
            self._write(record)
            lost = self._queued.lost
            if lost != self._lost_before and self._records.empty():
                self._write(_lost(record, lost - self._lost_before))
                self._lost_before = lost

    def _write(self, record: logging.LogRecord) -> None:
        # Not handle(): it holds the handler's lock meanwhile, and for that the process would wait
        # at its end (logging.shutdown), however stuck the stream is.
        try:
            if self._file is not None:
                self._file.emit(record)
                self._trouble = self._file.trouble
            here = self._file is None or self._trouble or self._is_board
            if here and record.levelno >= self._stream.level:
                self._stream.emit(record)
        except Exception as bad:  # noqa: BLE001 - a log that fails is told of in status, no more
            self._queued.lost += 1
            self._trouble = f"{type(bad).__name__}: {bad}"


def _lost(after: logging.LogRecord, count: int) -> logging.LogRecord:
    record = logging.makeLogRecord(after.__dict__)
    record.event = Event(
        time_ms=int(after.created * 1_000),
        name=EventName.LOG,
        level=Level.WARNING,
        text=f"{count} lines lost: the log could not be written fast enough; the journal has all",
    )
    return record
