"""A roll: one epoch ends at a flat moment, the next goes on from it, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from support.command_line import typed
from support.sample_journal import EXPECTED, KEPT, SAMPLE
from typer.testing import Result

from dita.clock import SystemClock
from dita.contracts import EvidenceSource, KernelEventKind, TradeStage, VenueEvent, VenueOrder
from dita.engine import Engine
from dita.errors import ExitCode, OperatorError, RefusedForSafety, SettingsError
from dita.journal import (
    Close,
    JournalReader,
    JournalReplaced,
    OsDisk,
    OtherRules,
    Rules,
    SnapshotStore,
    SyncedReader,
    closed_by,
    export_json,
    import_json,
)
from dita.runtime.history.past import Past
from dita.runtime.operations.explain import story_in
from dita.runtime.state.lock import StateLock
from dita.runtime.state.retention import archive_epochs
from dita.runtime.state.rolling import (
    close,
    closed_epochs,
    go_on,
    hold_to_no_roll,
    open_store,
    plan_of,
    unfinished,
)
from dita.runtime.state.store import Store
from dita.settings import Settings, load

Cli = Callable[..., Result]
expected: Final[dict[str, Any]] = json.loads((SAMPLE / EXPECTED).read_text())
WHY: Final = ("tester", "a test")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A directory with the sample: a flat journal of fourteen trades."""
    return fresh(tmp_path / "state")


def fresh(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    for part in KEPT:
        copy = shutil.copytree if (SAMPLE / part).is_dir() else shutil.copy2
        copy(SAMPLE / part, folder / part)
    (folder / "begun").write_text(f"{JournalReader.open(folder / 'journal').report.epoch}\n")
    (folder / "begun").chmod(0o600)
    return folder


def settings_of(state: Path, **changed: str) -> Settings:
    fixed = {"journal.segment_bytes": "65536", "journal.reserve_bytes": "65536"}
    more = {key.replace("__", "."): value for key, value in changed.items()}
    return load(None, {}, {"journal.directory": str(state), **fixed, **more})


def rolled(state: Path, **changed: str) -> Store:
    settings, clock = settings_of(state, **changed), SystemClock()
    close(state, settings, clock, WHY)
    assert go_on(state, settings, clock)
    return open_store(state, settings, clock)


def engine_of(folder: Path) -> Engine:
    reader = JournalReader.open(folder / "journal")
    engine = reader.epoch.engine()
    reader.replay_into(engine)
    return engine


def orders_of(engine: Engine) -> list[VenueOrder]:
    kernel = engine.kernel
    return [order for t in kernel.trades() for order in kernel.orders_of(t.trade_no)]


def late_fill(engine: Engine) -> VenueEvent:
    """Ten more of the entry of the newest trade, which was over long ago."""
    order = engine.kernel.orders_of(engine.kernel.trades()[-1].trade_no)[0]
    return VenueEvent(
        kind=KernelEventKind.FULL_FILL,
        received_ms=engine.kernel.now_ms + 10,
        venue_order_id=order.venue_order_id,
        client_order_id=order.client_order_id,
        side=order.side,
        quantity_e8=order.filled_e8 + 10 * 10**8,
        price_e10=order.average_price_e10,
        source=EvidenceSource.STREAM,
    )


def put(store: Store, record: VenueEvent) -> None:
    packed = store.engine.kernel.pack(record).pack()
    store.journal.append(record, packed)
    store.engine.apply(record)
    store.journal.write_and_sync()


# -- what goes along -------------------------------------------------------------------------------


def test_the_next_epoch_goes_on_from_the_state_of_the_old_one(state: Path) -> None:
    before = engine_of(state)
    store = rolled(state)
    after = store.engine
    assert after.snapshot == before.snapshot and after.snapshot.trade_seq == expected["trades"]
    assert after.economic_hash() == before.economic_hash() == expected["economic_hash"]
    assert after.kernel.ledger() == before.kernel.ledger()
    assert after.kernel.trades() == before.kernel.trades()
    assert orders_of(after) == orders_of(before) and len(orders_of(after)) > 20
    _, memory = json.loads(after.account.save())
    assert memory == json.loads(before.account.save())[1]
    assert after.kernel.order_seq == before.kernel.order_seq
    assert store.journal.resume_point.record_ms >= before.kernel.now_ms
    store.journal.close()
    # The same again from the files alone.
    assert engine_of(state).save() == after.save()


def test_both_epochs_name_one_another(state: Path) -> None:
    old = JournalReader.open(state / "journal")
    plan = plan_of(state, settings_of(state))
    assert plan is not None and not plan.obstacles and plan.epoch == old.report.epoch
    store = rolled(state)
    new = store.journal.epoch
    store.journal.close()
    (folder,) = closed_epochs(state)
    end = closed_by(JournalReader.open(folder / "journal"))
    assert isinstance(end, Close) and new.before == end
    assert (end.epoch, end.next_epoch) == (old.report.epoch, new.number)
    assert (end.operator, end.reason) == WHY
    assert end.seq == old.report.last_seq + end.pieces + 1
    assert end.state_hash == expected["state_hash"] == engine_of(folder).state_hash()
    assert (state / "begun").read_text() == f"{new.number}\n"


def test_a_late_fill_of_the_old_epoch_opens_a_recovery_slot(state: Path) -> None:
    """Its exit is named by the new epoch, its entry still by the old one."""
    store = rolled(state)
    known = orders_of(store.engine)
    record = late_fill(store.engine)
    put(store, record)
    (slot,) = store.engine.kernel.active_slots()
    assert (slot.state, slot.size_e8) == (TradeStage.STALE_STATE_RECONCILING, 10 * 10**8)
    assert slot.exit_latched and "recovery slot in use" in store.engine.kernel.freeze_causes()
    assert [o.client_order_id for o in orders_of(store.engine)] == [
        o.client_order_id for o in known
    ]
    store.journal.close()
    again = engine_of(state)
    assert again.save() == store.engine.save()
    past = Past.open(state)
    story = story_in(past, slot.trade_id)
    assert story.trade is not None and story.trade.trade_no == slot.trade_no
    names = [event.name.value for event in story.events]
    assert len({e.time_ms for e in story.events}) > 3 and len(names) > 5, names
    assert story.events[0].time_ms < JournalReader.open(state / "journal").report.epoch
    past.close()


def test_a_second_roll_goes_on_and_forgets_what_is_over(state: Path) -> None:
    first = rolled(state)
    first.journal.close()
    old = first.engine.kernel.config
    second = rolled(state)
    second.journal.close()
    config = second.engine.kernel.config
    assert config.earlier == (*old.earlier, (old.epoch, first.engine.kernel.order_seq))
    assert orders_of(second.engine) == orders_of(first.engine)
    assert [int(folder.name) for folder in closed_epochs(state)] == [
        old.earlier[0][0], old.epoch,
    ]  # fmt: skip
    past = Past.open(state)
    assert len(past.trades()) == expected["trades"]
    past.close()


def test_settings_that_are_fixed_for_a_journal_change_at_a_roll(state: Path) -> None:
    before = engine_of(state)
    changed = {"kernel__slot_limit": "9", "kernel__leverage_cap": "2", "account__error_usdt": "31"}
    plan = plan_of(state, settings_of(state, **changed))
    assert plan is not None and plan.changes == {
        "kernel.slot_limit": ("4", "9"),
        "kernel.leverage_cap": ("3", "2"),
        "account.error_usdt": (plan.changes["account.error_usdt"][0], "31"),
    }
    with pytest.raises(SettingsError):
        open_store(state, settings_of(state, **changed), SystemClock())
    store = rolled(state, **changed)
    kernel = store.engine.kernel
    assert (kernel.config.slot_limit, kernel.config.leverage_cap) == (9, 2)
    assert kernel.trades() == before.kernel.trades()
    assert store.engine.economic_hash() == before.economic_hash()
    put(store, late_fill(store.engine))  # the tables are whole
    assert len(kernel.active_slots()) == 1
    store.journal.close()
    assert engine_of(state).save() == store.engine.save()


def test_fewer_slots_than_before_are_refused_before_anything_is_written(state: Path) -> None:
    files = {path: path.read_bytes() for path in state.rglob("*.seg")}
    settings = settings_of(state, kernel__slot_limit="3")
    plan = plan_of(state, settings)
    assert plan is not None and "at least 4" in plan.obstacles[0]
    with pytest.raises(RefusedForSafety):
        close(state, settings, SystemClock(), WHY)
    assert files == {path: path.read_bytes() for path in state.rglob("*.seg")}


def test_what_is_not_flat_is_not_rolled(state: Path) -> None:
    settings = settings_of(state)
    store = open_store(state, settings, SystemClock())
    put(store, late_fill(store.engine))
    store.journal.close()
    last = JournalReader.open(state / "journal").report.last_seq
    plan = plan_of(state, settings)
    assert plan is not None and "is in slot" in plan.obstacles[0]
    with pytest.raises(RefusedForSafety, match="is in slot"):
        close(state, settings, SystemClock(), WHY)
    assert JournalReader.open(state / "journal").report.last_seq == last


def test_who_follows_is_told_and_an_export_of_both_is_whole(state: Path, tmp_path: Path) -> None:
    import io

    reader = SyncedReader.open(state / "journal")
    store = rolled(state)
    put(store, late_fill(store.engine))
    store.journal.close()
    with pytest.raises(JournalReplaced):
        reader.refresh()
    for folder in (state, *closed_epochs(state)):
        text = io.StringIO()
        export_json(JournalReader.open(folder / "journal"), text)
        text.seek(0)
        copy = tmp_path / f"copy-{folder.name}"
        copy.mkdir()
        import_json(text, copy / "journal").close()
        assert engine_of(copy).save() == engine_of(folder).save()
        told = closed_by(JournalReader.open(copy / "journal"))
        assert told == closed_by(JournalReader.open(folder / "journal"))


# -- killed anywhere -------------------------------------------------------------------------------


class Died(BaseException):
    """The process, at a disk call."""


class DyingDisk:
    """The machine's own, until the process dies before or behind a call that changes something."""

    QUIET: Final = ("list", "size", "read", "close", "open", "free", "is_at")

    def __init__(self, at: int = 0, behind: bool = False) -> None:
        self._disk = OsDisk()
        self.calls = 0
        self._at = at
        self._behind = behind
        self.is_dead = False

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._disk, name)
        if name in self.QUIET:
            return call

        def dying(*words: Any) -> Any:
            if self.is_dead:
                raise Died
            self.calls += 1
            if self.calls != self._at:
                return call(*words)
            self.is_dead = True
            if self._behind:
                with contextlib.suppress(OSError):  # there was nothing to remove
                    call(*words)
            raise Died

        return dying


def roll_with(state: Path, disk: Any) -> None:
    settings, clock = settings_of(state), SystemClock()
    close(state, settings, clock, WHY, disk)
    go_on(state, settings, clock, disk)


def one_open_epoch(state: Path) -> int:
    """Start as serve does; the epoch that is open then, and no other."""
    store = open_store(state, settings_of(state), SystemClock())
    engine, epoch = store.engine, store.journal.report.epoch
    assert engine.economic_hash() == expected["economic_hash"]
    assert engine.snapshot.trade_seq == expected["trades"] and len(orders_of(engine)) > 20
    put(store, VenueEvent(kind=KernelEventKind.TICK, received_ms=engine.kernel.now_ms + 1))
    store.journal.close()
    assert not unfinished(state) and (state / "begun").read_text() == f"{epoch}\n"
    hold_to_no_roll(state)
    ends = [closed_by(JournalReader.open(f / "journal")) for f in closed_epochs(state)]
    assert all(end is not None for end in ends)
    assert closed_by(JournalReader.open(state / "journal")) is None
    assert engine_of(state).save() == engine.save()
    return len(ends)


def test_a_roll_that_dies_anywhere_leaves_exactly_one_open_epoch(tmp_path: Path) -> None:
    """Before and behind each call; then the start that brings it to its end dies too."""
    whole = DyingDisk()
    state = fresh(tmp_path / "whole")
    roll_with(state, whole)
    assert one_open_epoch(state) == 1 and whole.calls > 25
    ends: set[int] = set()
    for at in range(1, whole.calls + 1):
        for behind in (False, True):
            state = fresh(tmp_path / "state")
            disk = DyingDisk(at, behind)
            with pytest.raises(Died):
                roll_with(state, disk)
            if at % 3 == 0:
                again = DyingDisk(1 + at % 17, behind)
                with contextlib.suppress(Died):
                    open_store(state, settings_of(state), SystemClock(), again).journal.close()
            ends.add(one_open_epoch(state))
            shutil.rmtree(state)
    assert ends == {0, 1}  # it was not closed yet, or it was rolled


def test_readers_say_that_a_roll_was_interrupted(state: Path, cli: Cli) -> None:
    settings, clock = settings_of(state), SystemClock()
    close(state, settings, clock, WHY)
    (state / "rolling").mkdir()
    for words in (("journal", "verify"), ("trades",), ("explain", "trx-7")):
        done = cli(*words, "--state-dir", str(state))
        assert done.exit_code == ExitCode.USAGE and "roll of the journal" in done.stderr
    (state / "rolling").rmdir()
    assert one_open_epoch(state) == 1


# -- the command -----------------------------------------------------------------------------------


def words_of(state: Path, *more: str) -> tuple[str, ...]:
    config = ("--config", "demo", "--state-dir", str(state))
    return ("journal", "roll", "--reason", "a test", *config, *more)


def test_the_command_plans_then_rolls(state: Path, cli: Cli) -> None:
    before = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    plan = cli(*words_of(state))
    assert plan.exit_code == 0 and "would close epoch" in plan.stdout and "wallet:" in plan.stdout
    assert before == {
        path: path.read_bytes()
        for path in state.rglob("*")
        if path.is_file() and path.name != "lock"
    }
    done = cli(*words_of(state, "--apply", "--operator", "ada", "--json"))
    told = json.loads(done.stdout)
    assert done.exit_code == 0 and told["applied"] and told["next_epoch"] > told["epoch"]
    folder = Path(told["folder"])
    assert folder.name == str(told["epoch"])
    end = closed_by(JournalReader.open(folder / "journal"))
    assert end is not None and (end.operator, end.reason) == ("ada", "a test")
    for where in (state, folder):
        verified = cli("journal", "verify", "--state-dir", str(where))
        assert verified.exit_code == 0 and "sound:" in verified.stdout
    trades = json.loads(
        cli("trades", "--json", "--since", "2020-01-01", "--state-dir", str(state)).stdout
    )
    assert len(trades["trades"]) == expected["trades"]
    story = cli("explain", "trx-7", "--state-dir", str(state))
    assert story.exit_code == 0 and "trx-7" in story.stdout


def test_closed_only_for_another_release_to_go_on(state: Path, cli: Cli) -> None:
    done = cli(*words_of(state, "--apply", "--close"))
    assert done.exit_code == 0 and "the next start begins epoch" in done.stdout
    with pytest.raises(OperatorError, match="was closed"):
        Store(state, settings_of(state), SystemClock())
    again = cli(*words_of(state))
    assert again.exit_code == 0 and "closed already" in again.stdout
    assert cli(*words_of(state, "--apply")).exit_code == 0
    assert one_open_epoch(state) == 1


def test_other_rules_of_the_same_layout_go_on_from_a_closed_epoch(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And from an open one nobody does."""
    old = JournalReader.open(state / "journal").report.epoch
    hold = Rules.hold

    def held(self: Rules, what: str) -> None:
        if str(old) in what:
            raise OtherRules(f"{what} was written by other rules")
        hold(self, what)

    monkeypatch.setattr(Rules, "hold", held)
    with pytest.raises(OtherRules):
        open_store(state, settings_of(state), SystemClock())
    with monkeypatch.context() as own:
        own.setattr(Rules, "hold", hold)
        close(state, settings_of(state), SystemClock(), WHY)
    store = open_store(state, settings_of(state), SystemClock())
    assert store.engine.economic_hash() == expected["economic_hash"]
    assert store.journal.epoch.before is not None and store.journal.epoch.before.epoch == old
    store.journal.close()


def test_not_while_a_serve_runs_and_not_when_something_is_open(state: Path, cli: Cli) -> None:
    lock = StateLock(state)
    assert cli(*words_of(state, "--apply")).exit_code == ExitCode.ALREADY_RUNNING
    lock.release()
    store = open_store(state, settings_of(state), SystemClock())
    put(store, late_fill(store.engine))
    store.journal.close()
    plan = cli(*words_of(state))
    assert plan.exit_code == ExitCode.REFUSED and "-7 is in slot" in plan.stdout
    done = cli(*words_of(state, "--apply"))
    assert done.exit_code == ExitCode.REFUSED and "is in slot" in done.stderr
    assert SnapshotStore(state / "snapshots").numbers()


SCREENS: Final = Path(__file__).parent.parent / "data" / "rolls"


@pytest.mark.parametrize("name", ["plan", "refused", "done"])
def test_what_a_person_sees(name: str, tmp_path: Path) -> None:
    """On 80 and 140 columns and in a pipe; DITA_SCREENS=write writes the texts anew."""
    parts = []
    for width in (80, 140, 0):
        state = fresh(tmp_path / f"state{width}")
        if name == "refused":
            store = open_store(state, settings_of(state), SystemClock())
            put(store, late_fill(store.engine))
            store.journal.close()
        more = ("--apply",) if name == "done" else ()
        done = typed(*words_of(state, *more), width=width)
        text = f"== {width or 'pipe'}, exit {done.code}\n{done.stdout}{done.stderr}"
        number = re.sub(r"epoch \d{13} is open", "epoch NEXT is open", text)
        parts.append(re.sub(r"\S*/state\d+", "/STATE", number))
    found, path = "".join(parts), SCREENS / f"{name}.txt"
    if os.environ.get("DITA_SCREENS") == "write":
        path.write_text(found)
    assert found == path.read_text()


def test_a_closed_epoch_is_archived_when_its_time_is_over(
    state: Path, tmp_path: Path, cli: Cli
) -> None:
    """Copied, compared and replayed first; a copy that differs removes nothing."""
    rolled(state).journal.close()
    (folder,) = closed_epochs(state)
    target = tmp_path / "archive"
    target.mkdir()
    words = ("journal", "archive", "--to", str(target), "--state-dir", str(state), "--apply")
    assert "nothing can be archived" in cli(*words).stdout and folder.is_dir()
    now_ms = SystemClock().now_ms() + 2 * 86_400_000
    assert archive_epochs(state, target, 3, now_ms, apply=True) == ()
    assert archive_epochs(state, target, 1, now_ms, apply=False) == (folder.name,)
    before = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shutil, "copytree", _badly)
        with pytest.raises(OperatorError, match="not what it should be"):
            archive_epochs(state, target, 1, now_ms, apply=True)
    assert folder.is_dir()
    assert archive_epochs(state, target, 1, now_ms, apply=True) == (folder.name,)
    copy = target / folder.name
    assert not folder.exists() and closed_epochs(state) == ()
    assert before == {path.name: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert engine_of(copy).state_hash() == expected["state_hash"]
    assert cli("journal", "verify", "--state-dir", str(copy)).exit_code == 0


_copytree = shutil.copytree


def _badly(source: Any, target: Any, *rest: Any, **more: Any) -> Any:
    done = _copytree(source, target, *rest, **more)
    if str(target).endswith(".part"):
        segment = next((target / "journal").glob("*.seg"))
        data = bytearray(segment.read_bytes())
        data[-1] ^= 1
        segment.write_bytes(data)
    return done
