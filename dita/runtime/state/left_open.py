"""What a serve that is gone has left open, in words for a page; from its directory alone.

The pager asks.  It has to go out whatever the disk does, so the answer is waited for only so long,
and an answer that cannot be had says so.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from dita.display import quantity
from dita.engine import Engine
from dita.errors import ENGINE_FAULTS, DitaError
from dita.journal import JournalReader, SnapshotStore
from dita.kernel import ExecutionKernel
from dita.runtime.state.store import JOURNAL_FOLDER, SNAPSHOT_FOLDER

#: A disk that hangs must not keep the page waiting.
PATIENCE_S: Final = 20.0
UNKNOWN: Final = "positions may be open"
_FAULTS: Final = (DitaError, OSError, *ENGINE_FAULTS)


def left_open(directory: Path, patience_s: float = PATIENCE_S) -> str:
    """Open positions with their sizes, and orders that are not final."""
    told = [f"{UNKNOWN}: the disk does not answer"]

    def look() -> None:
        told.append(_read(directory))

    reading = threading.Thread(target=look, name="left open", daemon=True)
    reading.start()
    reading.join(patience_s)
    return told[-1]


def _read(directory: Path) -> str:
    snapshots = SnapshotStore(directory / SNAPSHOT_FOLDER)
    try:
        reader = JournalReader.open(directory / JOURNAL_FOLDER)
        engine, _ = snapshots.restore(reader)
        return words(engine.kernel)
    except _FAULTS as bad:
        return _by_snapshot(snapshots, bad)


def _by_snapshot(snapshots: SnapshotStore, bad: BaseException) -> str:
    """The journal cannot be read; what the newest snapshot had, if there is one."""
    try:
        newest = snapshots.newest()
        if newest is not None:
            seen = words(Engine.restore(newest.state).kernel)
            return f"{seen} (as of record {newest.seq}; what came later cannot be read)"
    except _FAULTS:
        pass  # the reason that counts is why the journal itself could not be read
    return f"{UNKNOWN}: the journal cannot be read ({getattr(bad, 'what', None) or bad})"


def words(kernel: ExecutionKernel) -> str:
    """What a kernel has open."""
    positions = [
        f"{slot.trade_id} {slot.side.name} {quantity(slot.size_e8)} {slot.asset}"
        f"{' (in doubt)' if slot.state.name.startswith('STALE') else ''}"
        for slot in kernel.active_slots()
        if slot.size_e8
    ]
    orders = len(kernel.open_orders())
    beside = f"; {orders} orders are not final" if orders else ""
    return f"open: {', '.join(positions) or 'no position of ours'}{beside}"
