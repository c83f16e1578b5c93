"""`pink-ctl journal`: verify, look at, export and import the journal of a state directory.

Most of it only reads.  `import` makes a new journal in an empty directory, `archive` moves the
oldest segments away, `retire` sets a journal aside that cannot be used.  What a record means is the
runtime's matter.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dita.errors import UsageError

from .operator import Operator, operator_of
from .options import Apply, AsJson, ConfigFile, StateDir
from .roll import journal_roll  # noqa: F401  (a part of this group, in a file of its own)
from .show.render import SCHEMA_VERSION, emit_json, note, show, speak_of_directory
from .typed import again

JOURNAL_FOLDER = "journal"
SNAPSHOT_FOLDER = "snapshots"

Count = Annotated[int, typer.Option("--last", min=1, max=100_000, help="How many records.")]
Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept with the journal.")
]
To = Annotated[
    Path, typer.Option("--to", metavar="DIR", help="The directory that takes the segments.")
]
Target = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="A new file. Default: stdout.")
]


def journal() -> None:
    """Check, show, copy, move, roll or retire the journal.

    Each takes --json.

    \b
    Examples:
      pink-ctl journal verify --state-dir /var/lib/pink
      pink-ctl journal tail --last 20
      pink-ctl journal export --out pink.jsonl
      pink-ctl journal import --state-dir /var/lib/pink-copy pink.jsonl
      pink-ctl journal archive --to /mnt/archive
      pink-ctl journal roll --reason "more slots"
      pink-ctl journal retire --reason "disk died, journal damaged"
    """


def _reader(config: Path | None, state_dir: Path | None, *, as_json: bool = False) -> Any:
    """The journal of a state directory, which is said first.  UsageError when there is none."""
    return _opened(speak_of_directory(config, state_dir, quiet=as_json))


def _opened(directory: Path) -> Any:
    from dita.journal import JournalReader
    from dita.runtime.state.rolling import hold_to_no_roll

    hold_to_no_roll(directory)
    folder = directory / JOURNAL_FOLDER
    if not folder.is_dir() and not os.path.lexists(f"{folder}.high-water"):
        raise UsageError(
            "no journal here",
            expected=f"a state directory with a journal in {folder}",
            found="none",
            action="name the --state-dir or the --config of the serve that you mean",
        )
    return JournalReader.open(folder)


def journal_verify(
    config: ConfigFile = None, state_dir: StateDir = None, as_json: AsJson = False
) -> None:
    """Check every record and replay the journal.

    Every checksum, the chain of records and the noted end are compared. Of an
    archived journal the newest snapshot stands for what was moved away.

    Exit 0 sound, 74 damaged, or shorter than what was synced.

    \b
    Example:
      pink-ctl journal verify --state-dir /var/lib/pink
    """
    from dita.journal import SnapshotStore

    directory = speak_of_directory(config, state_dir, quiet=as_json)
    reader = _opened(directory)
    report = reader.report
    if reader.is_archived:
        engine, inputs = SnapshotStore(directory / SNAPSHOT_FOLDER).restore(reader)
    else:
        engine = reader.epoch.engine()
        inputs = reader.replay_into(engine)
    if as_json:
        emit_json(
            {
                "sound": True,
                "records": report.records,
                "segments": report.segments,
                "first_seq": report.first_seq,
                "last_seq": report.last_seq,
                "synced": report.synced,
                "torn_bytes": report.torn_bytes,
                "quarantined": list(reader.quarantined),
                "inputs": inputs,
                "state_hash": engine.state_hash(),
                "epoch": report.epoch,
            }
        )
        return
    show(f"sound: {report}")
    if reader.is_archived:
        show(f"archived: what came before record {report.first_seq} is in a snapshot only")
    for seq in reader.quarantined:
        show(f"quarantined: input {seq} broke an invariant and is not part of the state")
    show(f"{inputs} inputs replayed, state {engine.state_hash()[:16]}")


def journal_tail(
    last: Count = 20,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Print the newest records as JSON lines.

    \b
    Example:
      pink-ctl journal tail --last 5
    """
    import io
    import json

    from dita.journal import export_json

    reader = _reader(config, state_dir, as_json=as_json)
    report = reader.verify()
    stream = io.StringIO()
    export_json(reader, stream, max(1, report.last_seq - last + 1))
    lines = [line for line in stream.getvalue().splitlines() if line]
    if as_json:
        emit_json({"records": [json.loads(line) for line in lines[-last:]]})
        return
    for line in lines[-last:]:
        show(line)


def journal_export(
    out: Target = None,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Write the whole journal as JSON lines.

    An import of them gives the same state.

    \b
    Example:
      pink-ctl journal export --out pink.jsonl
    """
    from dita.journal import export_json

    reader = _reader(config, state_dir, as_json=as_json)
    if out is not None:
        with out.open("x") as stream:
            count = export_json(reader, stream)
    elif as_json:
        count = _export_object(reader)
    else:
        count = export_json(reader, sys.stdout)
    if as_json and out is not None:
        emit_json({"records": count, "file": str(out)})
    else:
        note(f"{count} records exported{f' to {out}' if out is not None else ''}")


def _export_object(reader: Any) -> int:
    """One JSON object with every line of an export, for a journal of any size."""
    import json

    from dita.journal import export_json

    class Items:
        """Lines as the items of a list."""

        count = 0

        def write(self, line: str) -> None:
            for each in line.splitlines():
                sys.stdout.write(("," if self.count else "") + "\n" + each)
                self.count += 1

    items = Items()
    head = json.dumps({"schema_version": SCHEMA_VERSION})
    sys.stdout.write(f'{head[:-1]}, "records": [')
    count = export_json(reader, items)  # type: ignore[arg-type]  # it only writes
    sys.stdout.write("\n]}\n")
    return count


def journal_import(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="What `journal export` wrote.")],
    config: ConfigFile = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a new journal from exported lines.

    The state directory must not have a journal yet.

    \b
    Example:
      pink-ctl journal import --state-dir /var/lib/pink-copy pink.jsonl
    """
    from dita.journal import import_json
    from dita.runtime.state.lock import StateLock

    directory = speak_of_directory(config, state_dir, quiet=as_json)
    with source.open() as stream:  # first: nothing is made for a file that is not there
        lock = StateLock(directory)
        try:
            made = import_json(stream, directory / JOURNAL_FOLDER, identity=os.urandom(16))
            made.close()
        finally:
            lock.release()
    reader = _opened(directory)
    engine = reader.epoch.engine()
    inputs = reader.replay_into(engine)
    if as_json:
        emit_json({"inputs": inputs, "state_hash": engine.state_hash()})
    else:
        show(f"{inputs} inputs imported, state {engine.state_hash()[:16]}")


def journal_archive(
    to: To,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """Move the oldest segments to an archive.

    Only segments that no start needs any more, and closed epochs older than
    journal.closed_epochs_days; only while no serve runs. `export` and `import`
    need all segments: copy them back first.

    \b
    Example:
      pink-ctl journal archive --to /mnt/archive --apply
    """
    from dita.runtime.state.archiving import archive_segments

    directory = speak_of_directory(config, state_dir, quiet=as_json)
    days = _closed_epochs_days(config, state_dir)
    names, epochs = archive_segments(directory, to, keep_days=days, apply=apply)
    if as_json:
        told = {"applied": apply, "segments": list(names), "epochs": list(epochs), "to": str(to)}
        emit_json(told)
        return
    for name in (*names, *(f"epoch {epoch}" for epoch in epochs)):
        show(f"{'moved' if apply else 'would move'} {name} to {to}")
    if not names and not epochs:
        show("nothing can be archived: a start, or one of the two snapshots, needs each segment")
    elif not apply:
        note("nothing was changed; to do it:")
        note(f"next: {again(add=('--apply',))}")


def _closed_epochs_days(config: Path | None, state_dir: Path | None) -> int:
    """The setting, when a file says it; else its default, so that a directory alone will do."""
    from dita.runtime.state.directory import load_from, place_of
    from dita.settings.schema import JournalSettings

    found = place_of(config, state_dir, os.environ).found
    if found is None:
        return JournalSettings().closed_epochs_days
    settings, _ = load_from(found, state_dir, os.environ, keys=False)
    return settings.journal.closed_epochs_days


def journal_retire(
    reason: Reason,
    operator: Operator = "",
    config: ConfigFile = None,
    state_dir: StateDir = None,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """Set a journal aside that cannot be used any more.

    Nothing is deleted; the next serve begins a new journal, in HOLD. Close what
    the old one held first, or adopt it afterwards: `pink-ctl runbook journal`.

    \b
    Example:
      pink-ctl journal retire --reason "last segment lost with the disk" --apply
    """
    from dita.clock import SystemClock
    from dita.runtime.state.lock import StateLock
    from dita.runtime.state.retiring import parts_of, problem_of, retire

    directory = speak_of_directory(config, state_dir, quiet=as_json)
    lock = StateLock(directory)
    try:
        problem, parts = problem_of(directory), parts_of(directory)
        folder = ""
        if apply or not problem:
            why = {"operator": operator_of(operator), "reason": reason}
            folder = str(retire(directory, SystemClock().now_ms(), why))
    finally:
        lock.release()
    if as_json:
        emit_json({"applied": apply, "problem": problem, "parts": list(parts), "folder": folder})
        return
    show(f"the journal cannot be used: {problem}")
    show(f"{'set aside' if apply else 'would set aside'}: {', '.join(parts)}")
    if not apply:
        note("nothing was changed; first close what it held, then set it aside:")
        note("next: pink-ctl flatten --emergency")
        note(f"next: {again(add=('--apply',))}")
        return
    show(f"they are in {folder}")
    note("serve begins a new journal, in HOLD; reconcile then shows what is still open")
    note("next: pink-ctl serve")
    note("next: pink-ctl reconcile")
