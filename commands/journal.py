"""`pink-ctl journal`: verify, look at, export and import the journal of a state directory.

Only reads, but for import, which makes a new journal in an empty directory.  What a record means is
not known here.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import AsJson, ConfigFile, StateDir
from .render import emit_json, note, show

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


def _reader(config: Path | None, state_dir: Path | None) -> Any:
    from dita.journal import JournalReader
    from dita.runtime.factory import JOURNAL_FOLDER
    from dita.runtime.start import directory_of

    return JournalReader.open(directory_of(config, state_dir, os.environ) / JOURNAL_FOLDER)


def journal_verify(
    config: ConfigFile = None, state_dir: StateDir = None, as_json: AsJson = False
) -> None:
    """Read every record, check every checksum and the chain, replay it, compare every mark.

    Exit 0 sound, 74 damaged.

    \b
    Example:
      pink-ctl journal verify --state-dir /var/lib/pink
    """
    reader = _reader(config, state_dir)
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

    reader = _reader(config, state_dir)
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

    reader = _reader(config, state_dir)
    if out is None:
        count = export_json(reader, sys.stdout)
    else:
        with out.open("x") as stream:
            count = export_json(reader, stream)
    if as_json and out is not None:
        emit_json({"records": count, "file": str(out)})
    else:
        note(f"{count} records exported")


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
    from dita.runtime.factory import JOURNAL_FOLDER
    from dita.runtime.lock import StateLock
    from dita.runtime.start import directory_of

    directory = directory_of(config, state_dir, os.environ)
    lock = StateLock(directory)
    try:
        with source.open() as stream:
            made = import_json(stream, directory / JOURNAL_FOLDER)
        made.close()
    finally:
        lock.release()
    reader = _reader(config, state_dir)
    engine = reader.epoch.engine()
    inputs = reader.replay_into(engine)
    if as_json:
        emit_json({"inputs": inputs, "state_hash": engine.state_hash()})
    else:
        show(f"{inputs} inputs imported, state {engine.state_hash()[:16]}")
