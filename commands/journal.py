"""`pink-ctl journal`: verify, look at, export and import the journal of a state directory.

Only reads, but for import, which makes a new journal in an empty directory.  What a record means is
not known here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dita.errors import UsageError

from .options import AsJson, ConfigFile, StateDir
from .render import SCHEMA_VERSION, emit_json, note, show, speak_of_directory

JOURNAL_FOLDER = "journal"

Count = Annotated[int, typer.Option("--last", min=1, max=100_000, help="So many records.")]
Target = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Else stdout.")]


def journal() -> None:
    """Verify, tail, export or import the journal. Each takes --json.

    \b
    Examples:
      pink-ctl journal verify --state-dir /var/lib/pink
      pink-ctl journal tail --last 20
      pink-ctl journal export --out pink.jsonl
      pink-ctl journal import --state-dir /var/lib/pink-copy pink.jsonl
    """


def _reader(config: Path | None, state_dir: Path | None, *, as_json: bool = False) -> Any:
    """The journal of a state directory, which is said first.  UsageError when there is none."""
    return _opened(speak_of_directory(config, state_dir, quiet=as_json))


def _opened(directory: Path) -> Any:
    from dita.journal import JournalReader

    folder = directory / JOURNAL_FOLDER
    if not folder.is_dir():
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

    Exit 0 sound, 74 damaged.

    \b
    Example:
      pink-ctl journal verify --state-dir /var/lib/pink
    """
    reader = _reader(config, state_dir, as_json=as_json)
    report = reader.verify()
    engine = reader.epoch.engine()
    inputs = reader.replay_into(engine)
    if as_json:
        emit_json(
            {
                "sound": True,
                "records": report.records,
                "segments": report.segments,
                "last_seq": report.last_seq,
                "torn_bytes": report.torn_bytes,
                "inputs": inputs,
                "state_hash": engine.state_hash(),
                "epoch": reader.epoch.number,
            }
        )
        return
    show(f"sound: {report}")
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
    from dita.runtime.lock import StateLock

    directory = speak_of_directory(config, state_dir, quiet=as_json)
    with source.open() as stream:  # first: nothing is made for a file that is not there
        lock = StateLock(directory)
        try:
            made = import_json(stream, directory / JOURNAL_FOLDER)
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
