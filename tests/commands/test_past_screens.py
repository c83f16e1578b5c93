"""What `trades`, `events` and `explain` look like, at 80 and 140 columns and in a pipe.

The night is always the same one, in a journal that nobody serves.  When a screen is changed on
purpose, `DITA_SCREENS=write pytest tests/commands/test_past_screens.py` writes the new texts; read
the diff.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
import shlex
from pathlib import Path

import pytest
from support.bad_night import FET, Record, bad_night, write
from support.command_line import Done, typed
from support.engine_driver import LONG, Kind, m, p

from dita.contracts import ControlAction
from dita.journal import Note

NUMBERS = itertools.count(1)  # nothing is written twice
PAST = Path(__file__).parent.parent / "data" / "past"
WIDTHS = {"80": 80, "140": 140, "pipe": 0}
CASES = {
    "trades": "trades --since 1970-01-01",
    "trades-none": "trades --day 1970-02-01",
    "trades-csv": "trades --since 1970-01-01 --csv",
    "events": "events --since 1970-01-01",
    "events-loud": "events --since 1970-01-01 --loud",
    "explain-lost": "explain T1",
    "explain-by-hand": "explain T2",
    "explain-refused": "explain T3",
    "explain-open": "explain T5",
    "explain-nothing": "explain T9",
    "journal-verify": "journal verify",
    "journal-tail": "journal tail --last 4",
    "journal-export": "journal export --out {folder}/{number}.jsonl",
    "journal-import-refused": "journal import {folder}/nowhere.jsonl",
    "journal-archive": "journal archive --to {folder}/away",
    "journal-retire-sound": "journal retire --reason test",
}


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state directory of a bad night with a cheap coin, a hold and a gap."""
    desk = bad_night()
    desk.open(5_000_000, "0.0000123456", trade="T5", asset="PEPE-USDT", side=LONG)
    desk.event(Kind.FUNDING_FEE, asset="PEPE-USDT", amount=m("-0.0123456789"), event_id="f5")
    desk.control(ControlAction.HOLD, reason="ops: the exchange's stream stutters, I look")
    desk.enter(5, "100", trade="T6", asset="SOL-USDT", reason="eva: breakout")
    records: list[Record] = list(desk.inputs)
    notes: list[tuple[int, str, dict[str, str | int]]] = [
        (0, "STARTED", {"version": "1.2.3", "whose": "pink (live)", "pid": 777}),
        (12, "GAP", {"why": "stream lost"}),
        (14, "HEALED", {"after_ms": 2_500}),
    ]
    for at, name, fields in notes:
        records.insert(at, Note(desk.inputs[at].received_ms, name, fields))
    folder = tmp_path_factory.mktemp("past")
    write(folder, records)
    return folder


def seen(folder: Path, line: str, width: int) -> Done:
    line = line.format(folder=folder, number=next(NUMBERS))
    done = typed(*shlex.split(line), "--state-dir", str(folder), width=width)
    return Done(done.code, *(re.sub(r"[ \t]+$", "", text.replace(str(folder), "/STATE"), flags=re.M)
                             for text in done[1:]))  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_past_looks_as_it_was_looked_at(night: Path, name: str) -> None:
    blocks = []
    for label, width in WIDTHS.items():
        done = seen(night, CASES[name], width)
        assert not [text for text in done[1:] if "\x1b" in text]
        blocks.append(
            f"$ pink-ctl {CASES[name]}   [{label}: {done.code}]\n{done.stdout}--\n{done.stderr}"
        )
    path, text = PAST / f"{name}.txt", "\n".join(blocks)
    if os.environ.get("DITA_SCREENS") == "write":
        PAST.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_every_text_on_the_disk_is_one_of_these() -> None:
    assert {path.stem for path in PAST.glob("*.txt")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_programs_get_one_object(night: Path, name: str) -> None:
    if "--csv" not in CASES[name]:
        record = json.loads(seen(night, f"{CASES[name]} --json", 0).stdout)
        assert next(iter(record)) == "schema_version"


def test_a_pipe_has_every_column_and_every_digit_is_in_csv_and_json(night: Path) -> None:
    table = seen(night, "trades --since 1970-01-01", 0).stdout
    narrow = seen(night, "trades --since 1970-01-01", 80)
    assert "in at" in table and "0.000012346" in table
    assert "in at" not in narrow.stdout
    assert "on a wider terminal and in a pipe also: in at, out at" in narrow.stderr
    rows = list(csv.DictReader(io.StringIO(seen(night, CASES["trades-csv"], 0).stdout)))
    (cheap,) = [row for row in rows if row["trade"] == "T5"]
    assert (cheap["entry_price"], cheap["funding"]) == ("0.0000123456", "-0.0123456789")
    told = json.loads(seen(night, "trades --since 1970-01-01 --json", 0).stdout)["trades"]
    (same,) = [row for row in told if row["trade"] == "T5"]
    assert {name: str(value) for name, value in same.items() if name in cheap} == {
        name: value.replace("'", "") if name != "final" else value for name, value in cheap.items()
    }
    assert p(cheap["entry_price"]) and FET in {row["symbol"] for row in rows}
