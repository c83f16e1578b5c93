"""The end of an epoch and the beginning of the one that goes on from it.

An epoch ends with the state in pieces and a CLOSE behind them, which become durable together with
everything before.  The next one begins with how that was, and with the same pieces: it needs
nothing else of the old journal.  When an epoch may end is the runtime's matter.
"""

from __future__ import annotations

import os
from typing import Final

from dita import _journal
from dita.account import AccountConfig
from dita.clock import BootClock
from dita.engine import Engine
from dita.errors import RefusedForSafety
from dita.journal.disk import Disk, OsDisk
from dita.journal.epochs import Carried, Close, Epoch, close_payload, pieces_of
from dita.journal.reader import JournalReader
from dita.journal.writer import SEGMENT_BYTES, Journal
from dita.kernel import LAYOUT, KernelConfig

PIECES_MAX: Final = 4_000


def close_epoch(
    journal: Journal, engine: Engine, *, next_epoch: int, time_ms: int, operator: str, reason: str
) -> Close:
    """Write that the epoch has ended, and in which state; durable when it returns.

    RefusedForSafety for a state that could not be carried.
    """
    state, state_hash = engine.save_and_hash()
    pieces = pieces_of(state)
    if len(pieces) > PIECES_MAX:
        raise RefusedForSafety(
            "the state is too large to be carried over",
            expected=f"at most {PIECES_MAX} records",
            found=f"{len(pieces)}",
        )
    close = Close(
        epoch=engine.kernel.config.epoch,
        next_epoch=next_epoch,
        seq=journal.last_seq + len(pieces) + 1,
        state_hash=state_hash,
        pieces=len(pieces),
        time_ms=time_ms,
        operator=operator,
        reason=reason,
    )
    for piece in pieces:
        journal._append_other(_journal.CARRIED, piece, "a state")
    journal._append_other(_journal.CLOSE, close_payload(close), "an end")
    journal.write_and_sync()
    return close


def closed_by(reader: JournalReader) -> Close | None:
    """How a journal ended; None while it goes on."""
    last = reader.report.last_seq
    newest = next(reader.records(last), None) if last else None
    return newest.record if newest is not None and isinstance(newest.record, Close) else None


def next_epoch(
    reader: JournalReader, close: Close, kernel: KernelConfig, account: AccountConfig
) -> Epoch:
    """What the next journal begins with, under settings that may be others.

    ``kernel`` has the old epoch's number in ``earlier``.  OtherRules when a release with another
    layout closed it, OperatorError when the state cannot go on under these settings.
    """
    if close.rules.layout != LAYOUT:
        close.rules.hold(f"journal {close.epoch}")
    entries = reader.records(close.seq - close.pieces)
    parts = [e.record.data for e in entries if isinstance(e.record, Carried)]
    epoch = Epoch(
        created_ms=close.next_epoch,
        kernel=kernel,
        account=account,
        before=close,
        carried=b"".join(parts),
    )
    epoch.engine()  # it can: what is refused is refused before anything is made
    return epoch


def begin_epoch(
    directory: str | os.PathLike[str],
    epoch: Epoch,
    *,
    segment_bytes: int = SEGMENT_BYTES,
    identity: bytes = b"",
    disk: Disk | None = None,
    clock: BootClock | None = None,
) -> None:
    """Make a journal that begins with this record, durable when it returns."""
    journal = Journal._locked(directory, disk or OsDisk(), segment_bytes, clock, identity)
    try:
        journal._start(epoch, 0, 0)
    except BaseException:
        journal._let_go()
        raise
    journal.close()
