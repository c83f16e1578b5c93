"""The journal: every input in its order, durable before anybody outside may see what it did.

Append-only segments of chained, checksummed records; one writer; snapshots beside them.  The
runtime appends, commits and recovers through this package, commands read through it; what a record
means is the engine's matter.
"""

from __future__ import annotations

from dita.journal.archive import archivable, archive
from dita.journal.closing import begin_epoch, close_epoch, closed_by, next_epoch
from dita.journal.commit import GroupCommit
from dita.journal.disk import Disk, OsDisk
from dita.journal.epochs import Carried, Close, Epoch
from dita.journal.failing import JournalFull
from dita.journal.highwater import HighWater, ResumePoint
from dita.journal.latency import CommitLatency
from dita.journal.lines import export_json, import_json
from dita.journal.reader import JournalReader
from dita.journal.records import UPCASTERS, Entry, Input, Mark, Note
from dita.journal.report import Report
from dita.journal.resuming import JournalReplaced, SyncedReader
from dita.journal.rules import OtherRules, Rules
from dita.journal.salvage import Replayed, Salvage
from dita.journal.snapshots import Snapshot, SnapshotFailed, SnapshotStore
from dita.journal.taking import SnapshotTaker
from dita.journal.upkeep import free_bytes, missing, size_bytes
from dita.journal.writer import Journal

__all__ = [
    "UPCASTERS",
    "Carried",
    "Close",
    "CommitLatency",
    "Disk",
    "Entry",
    "Epoch",
    "GroupCommit",
    "HighWater",
    "Input",
    "Journal",
    "JournalFull",
    "JournalReader",
    "JournalReplaced",
    "Mark",
    "Note",
    "OsDisk",
    "OtherRules",
    "Replayed",
    "Report",
    "ResumePoint",
    "Rules",
    "Salvage",
    "Snapshot",
    "SnapshotFailed",
    "SnapshotStore",
    "SnapshotTaker",
    "SyncedReader",
    "archivable",
    "archive",
    "begin_epoch",
    "close_epoch",
    "closed_by",
    "export_json",
    "free_bytes",
    "import_json",
    "missing",
    "next_epoch",
    "size_bytes",
]
