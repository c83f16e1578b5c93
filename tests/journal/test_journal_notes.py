"""Notes of the runtime in the journal: kept in their place, never an input, never refused."""

from __future__ import annotations

import io
from pathlib import Path

from support.engine_driver import Desk

from dita.journal import Journal, JournalReader, Note, export_json, import_json


def journal_of(folder: Path, desk: Desk, notes: dict[int, Note]) -> Journal:
    """A journal with these notes before the inputs of those indices."""
    journal = Journal.open(folder, namespace="pink", created_ms=1)
    engine = journal.epoch.engine()
    for index, record in enumerate(desk.inputs):
        if index in notes:
            journal.append_note(notes[index])
        journal.append(record, engine.kernel.pack(record).pack())
        engine.apply(record)
    journal.append_mark(engine.state_hash())
    journal.write_and_sync()
    return journal


def a_trade() -> Desk:
    desk = Desk()
    desk.open(100, "10")
    desk.close(100, "11")
    return desk


def notes_in(reader: JournalReader) -> list[tuple[int, Note]]:
    return [(e.seq, e.record) for e in reader.records() if isinstance(e.record, Note)]


def test_a_note_comes_back_in_its_place_and_changes_no_state(tmp_path: Path) -> None:
    notes = {0: Note(5, "STARTED", {"version": "1", "pid": 7}), 3: Note(9, "GAP", {"why": "lost"})}
    journal_of(tmp_path / "a", a_trade(), notes).close()
    reader = JournalReader.open(tmp_path / "a")
    assert notes_in(reader) == [(2, notes[0]), (6, notes[3])]
    with_notes, without = reader.epoch.engine(), a_trade().engine
    assert reader.replay_into(with_notes) == len(a_trade().inputs)  # its mark is checked on the way
    assert with_notes.economic_hash() == without.economic_hash()


def test_a_note_survives_export_and_import(tmp_path: Path) -> None:
    notes = {1: Note(5, "STATE", {"to": "READY", "after_ms": 12})}
    journal_of(tmp_path / "a", a_trade(), notes).close()
    reader, lines = JournalReader.open(tmp_path / "a"), io.StringIO()
    export_json(reader, lines)
    lines.seek(0)
    import_json(lines, tmp_path / "b").close()
    assert notes_in(JournalReader.open(tmp_path / "b")) == notes_in(reader)


def test_whatever_a_note_says_it_can_be_kept(tmp_path: Path) -> None:
    odd: dict[str, str | int] = {
        "text": "x\ud800y" + "ü" * 5_000,
        "big": 10**40,
        **{f"f{n}": "z" * 600 for n in range(9)},
    }
    notes = {0: Note(5, "N" * 90, odd)}
    journal_of(tmp_path / "a", a_trade(), notes).close()
    ((_, note),) = notes_in(JournalReader.open(tmp_path / "a"))
    assert note.name == "N" * 32
    assert str(note.fields["text"]).startswith("x\\ud800yü")
    assert note.fields["big"] == str(10**40)
    assert len(note.fields) == 6
