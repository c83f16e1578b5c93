"""A journal is replayed by the rules that wrote it and by no others, and is refused by name."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace
from support.journal_days import opened, tick
from support.sample_journal import EXPECTED, KEPT, SAMPLE, golden_hashes, replayed
from typer.testing import Result

from dita import __version__, _journal
from dita.account import AccountConfig
from dita.engine import RULES_VERSION
from dita.errors import ExitCode, OperatorError
from dita.journal import (
    Epoch,
    Journal,
    JournalReader,
    OsDisk,
    OtherRules,
    Rules,
    Snapshot,
    SnapshotStore,
    export_json,
)
from dita.journal.following import Follower
from dita.journal.rules import OF_BEFORE
from dita.kernel import LAYOUT, ExecutionKernel, KernelConfig
from dita.runtime.history.index import Index
from dita.runtime.state.retiring import problem_of

Cli = Callable[..., Result]
expected: Final[dict[str, Any]] = json.loads((SAMPLE / EXPECTED).read_text())

PACKED: Final = ExecutionKernel().pack(tick(1)).pack()
OLDER: Final = OF_BEFORE
NEWER: Final = Rules(version=RULES_VERSION + 1, layout=LAYOUT, release="9.8.7")
LAID_OUT: Final = Rules(layout="0123456789ab", release="0.1.9")
OTHERS: Final = pytest.mark.parametrize("by", [OLDER, NEWER, LAID_OUT])


def sample(folder: Path) -> Path:
    state = folder / "state"
    state.mkdir(mode=0o700)
    for part in KEPT:
        copy = shutil.copytree if (SAMPLE / part).is_dir() else shutil.copy2
        copy(SAMPLE / part, state / part)
    return state


# -- the decision that a change of the rules asks for ----------------------------------------------

RAISE: Final = """
The same inputs lead to another state than in the release that wrote the sample, so its journals
must not be replayed by this one.  If that is what you want: raise RULES_VERSION in dita/engine.py
(once per release is enough), make the sample anew with
`.venv/bin/python -P tests/support/sample_journal.py`, and say in CHANGELOG.md that
journals of before are to be closed at a flat moment."""


def test_the_rules_have_the_version_and_layout_that_the_sample_was_made_with() -> None:
    found = {"rules_version": RULES_VERSION, "layout": LAYOUT}
    assert found == {key: expected[key] for key in found}, RAISE


def test_the_sample_replays_to_the_state_that_it_was_written_in(tmp_path: Path) -> None:
    state = sample(tmp_path)
    inputs, engine = replayed(state)
    found = {
        "inputs": inputs,
        "state_hash": engine.state_hash(),
        "economic_hash": engine.economic_hash(),
        "trades": engine.snapshot.trade_seq,
    }
    assert found == {key: expected[key] for key in found}, RAISE
    assert engine.snapshot.trade_seq > 10 and inputs > 400
    reader = JournalReader.open(state / "journal")
    assert reader.report.segments > 1 and reader.epoch.rules.are_ours
    store = SnapshotStore(state / "snapshots")
    assert len(store.numbers()) == 2
    restored, after = store.restore(reader)
    assert restored.state_hash() == engine.state_hash() and after < inputs and not store.problems
    store_of_first = SnapshotStore(state / "snapshots")
    (state / "snapshots" / f"snapshot-{store.numbers()[-1]:020d}.snap").unlink()
    assert store_of_first.restore(reader)[0].state_hash() == engine.state_hash()


def test_the_golden_cases_end_in_the_states_of_these_rules() -> None:
    """More rules are in them than in the sample.  A new case counts from the next sample on."""
    found = golden_hashes()
    assert {name: found.get(name) for name in expected["golden"]} == expected["golden"], RAISE


def test_a_change_of_the_rules_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As if an amount were booked by a cent otherwise: a mark in the sample tells it at once."""
    engine = importlib.import_module("dita.engine")
    restored = engine.AccountProjection.judge

    def judge(self: Any, ledger: Any, bounds: Any) -> Any:
        found = restored(self, ledger, bounds)
        self._open.drift += 1
        return found

    monkeypatch.setattr(engine.AccountProjection, "judge", judge)
    with pytest.raises(Exception, match="replay differs from what was live"):
        replayed(sample(tmp_path))


# -- others are refused by name --------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path, by: Rules, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose journal another release wrote, with a snapshot of it."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    config = KernelConfig(namespace="pink", epoch=7)
    epoch = Epoch(created_ms=7, kernel=config, account=AccountConfig(), rules=by)
    with monkeypatch.context() as patched:
        patched.setattr(JournalReader, "hold_to_rules", lambda self: None)
        journal = Journal._locked(folder / "journal", OsDisk(), 65_536, None, b"x")
        journal._start(epoch, 0, 0)
        journal.append(tick(1), PACKED)
        journal.write_and_sync()
        taken = Snapshot.of(opened(tmp_path / "other").epoch.engine(), journal)
        SnapshotStore(folder / "snapshots").write(replace(taken, epoch=7, rules=by))
        if by is OLDER:
            _drop_layout(*(folder / "snapshots").iterdir())
        journal.close()
    return folder


def _drop_layout(file: Path) -> None:
    """As snapshots were before they said who had taken them."""
    data = file.read_bytes()
    body = data[:72] + data[104:-4]
    file.write_bytes(body + _journal.crc32c(body).to_bytes(4, "little"))


def _refusal(by: Rules) -> tuple[str, str, str]:
    """What was found, what this is, what to do: parts of the refusal's text."""
    do = "use release 9.8.7" if by is NEWER else "until everything is flat"
    return str(by), f"rules {RULES_VERSION}, layout {LAYOUT} (release {__version__})", do


@OTHERS
def test_everybody_who_would_replay_refuses(state: Path, by: Rules) -> None:
    reader = JournalReader.open(state / "journal")
    store = SnapshotStore(state / "snapshots")
    own = Epoch(created_ms=7, kernel=reader.epoch.kernel, account=reader.epoch.account).engine()
    before = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    for attempt in (
        lambda: Journal.open(state / "journal", namespace="pink", created_ms=8),
        reader.epoch.engine,
        lambda: reader.replay_into(own),
        lambda: list(Follower(own, lambda looks: []).follow(reader, 1)),
        lambda: store.restore(reader),
        lambda: next(store.sound()).engine(),
    ):
        with pytest.raises(OtherRules) as refused:
            attempt()
        assert isinstance(refused.value, OperatorError)
        said = str(refused.value)
        assert said.startswith(("journal 7", "snapshot-")), said
        assert all(part in said for part in _refusal(by)), said
    with pytest.raises(OtherRules):
        Index.open(state)
    (state / "index.sqlite").unlink(missing_ok=True)
    assert before == {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}


@OTHERS
@pytest.mark.parametrize(
    "words",
    [
        ("journal", "verify"),
        ("trades",),
        ("events",),
        ("explain", "a-1"),
        ("serve", "--once"),
        ("journal", "archive", "--to", "."),
    ],
    ids=" ".join,
)
def test_commands_refuse_by_name(
    state: Path, by: Rules, words: tuple[str, ...], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(state.parent)
    config = ("--config", "demo") if words[0] == "serve" else ()
    done = cli(*words, "--state-dir", str(state), *config)
    assert done.exit_code == ExitCode.SETTINGS, (done.stdout, done.stderr)
    assert all(part in " ".join(done.stderr.split()) for part in _refusal(by)), done.stderr


@OTHERS
def test_its_records_can_still_be_read(state: Path, by: Rules, cli: Cli) -> None:
    done = cli("journal", "tail", "--state-dir", str(state))
    assert done.exit_code == 0 and '"type":"epoch"' in done.stdout


@OTHERS
def test_it_can_be_set_aside_for_a_new_one(state: Path, by: Rules, cli: Cli) -> None:
    assert str(by) in problem_of(state)
    words = ("journal", "retire", "--state-dir", str(state), "--reason", "upgrade", "--apply")
    assert cli(*words).exit_code == 0
    Journal.open(state / "journal", namespace="pink", created_ms=9).close()


def test_a_damaged_byte_is_damage_and_not_another_release(tmp_path: Path) -> None:
    journal = opened(tmp_path / "journal")
    journal.append(tick(1), PACKED)
    journal.close()
    (segment,) = (tmp_path / "journal").glob("journal-*.seg")
    data = bytearray(segment.read_bytes())
    data[100] ^= 1  # within the record that says whose it is
    segment.write_bytes(data)
    with pytest.raises(Exception, match="damaged at record 1"):
        JournalReader.open(tmp_path / "journal")


def test_an_export_says_which_rules_it_is_of(tmp_path: Path) -> None:
    import io

    stream = io.StringIO()
    export_json(JournalReader.open(sample(tmp_path) / "journal"), stream)
    first = json.loads(stream.getvalue().splitlines()[0])
    assert first["record"]["rules"] == {
        "version": expected["rules_version"], "layout": expected["layout"],
        "release": expected["release"],
    }  # fmt: skip
