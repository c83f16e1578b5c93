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
from .show.render import SCHEMA_VERSION, emit_json, note, show, speak_of_directory
from .typed import again

JOURNAL_FOLDER = "journal"
SNAPSHOT_FOLDER = "snapshots"

Count = Annotated[int, typer.Option("--last", min=1, max=100_000, help="So many records.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept with the journal.")]
To = Annotated[Path, typer.Option("--to", metavar="DIR", help="Where the segments go.")]
Target = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Else stdout.")]


def journal() -> None:
    """Verify, tail, export, import, archive, roll or retire the journal. Each takes --json.

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
    """Read every record, check every checksum and the chain, replay it, compare every mark.

    Of an archived journal the newest snapshot is taken for what is not here any more.
    Exit 0 sound, 74 damaged or shorter than what was synced.

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
    """Print the newest records, oldest of them first.

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
    """Write the whole journal as JSON lines; an import of them gives the same state.

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
        note(f"{count} records exported")


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
    source: Annotated[Path, typer.Argument(metavar="FILE", help="From `journal export`.")],
    config: ConfigFile = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a new journal in an empty state directory from exported lines.

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
    """Move the oldest segments to a directory, as far as both snapshots know the state behind them.

    While no serve runs. `export` and `import` need all segments: copy them back.

    \b
    Example:
      pink-ctl journal archive --to /mnt/archive --apply
    """
    from dita.runtime.state.archiving import archive_segments

    directory = speak_of_directory(config, state_dir, quiet=as_json)
    names = archive_segments(directory, to, apply=apply)
    if as_json:
        emit_json({"applied": apply, "segments": list(names), "to": str(to)})
        return
    for name in names:
        show(f"{'moved' if apply else 'would move'} {name} to {to}")
    if not names:
        show(
            "nothing can be archived: each segment is needed by a start, or by one of two snapshots"
        )
    elif not apply:
        note("nothing was changed; to do it:")
        note(f"next: {again(add=('--apply',))}")


def journal_retire(
    reason: Reason,
    operator: Operator = "",
    config: ConfigFile = None,
    state_dir: StateDir = None,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """Set a journal aside that cannot be used, so that serve begins a new one; in HOLD, to look.

    Nothing is deleted. Close what it held first, or adopt it afterwards (runbooks/journal.md).

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
        note("nothing was changed; first, what it held is closed:")
        note("next: pink-ctl flatten --emergency")
        note(f"then: {again(add=('--apply',))}")
        return
    show(f"they are in {folder}")
    note("serve begins a new journal and holds; what it finds is shown by reconcile")
    note("next: pink-ctl serve")
    note("then: pink-ctl reconcile")
