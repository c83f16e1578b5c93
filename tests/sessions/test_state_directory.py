"""The state directory: whose it is, that it stays where it is, and that nobody else runs on it.

Files that follow no link, locks that go with their process, a serve that ends when its directory
is taken away, and a process with keys that leaves no core.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.serve_station import Station, is_flat, is_open, pink, settings_with

from dita.errors import AlreadyRunning, ExitCode, JournalFault, SettingsError
from dita.files import read_limited, read_own, write_own
from dita.runtime.node import Node
from dita.runtime.state.journal_settings import (
    check_environment,
    hold_to_the_owner,
    known_epoch,
    remember_the_journal,
)
from dita.runtime.state.lock import AccountLock, StartBudget, StateLock
from dita.runtime.venue_factory import tape_of
from dita.runtime.world import World
from dita.settings import account_of, load

# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o000, 0o277, 0o777])
def test_our_files_are_private_whatever_the_umask_says(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        lock = StateLock(tmp_path / "state")
        check_environment(tmp_path / "state", settings_with())
        remember_the_journal(tmp_path / "state", 5)
        StartBudget(tmp_path / "state", budget=3, window_ms=1).start(5)
    finally:
        os.umask(before)
    lock.release()
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    names = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()}
    assert names == dict.fromkeys(("lock", "environment", "begun", "starts.json"), 0o600)


@pytest.mark.parametrize(
    "name", ["lock", "environment", "environment.tmp", "begun", "begun.tmp", "starts.json.tmp"]
)
def test_no_file_of_ours_follows_a_link(tmp_path: Path, name: str) -> None:
    victim, state = tmp_path / "victim", tmp_path / "state"
    victim.write_text("precious")
    state.mkdir(mode=0o700)
    (state / name).symlink_to(victim)
    try:
        StateLock(state).release()
        check_environment(state, settings_with())
        remember_the_journal(state, 7)
    except SettingsError as refused:
        assert name in ("lock", "environment", "begun") and name in str(refused)
        assert refused.exit_code is ExitCode.SETTINGS
    StartBudget(state, budget=3, window_ms=1).start(5)
    assert victim.read_text() == "precious"
    assert victim.stat().st_mode & 0o777 == 0o644


def test_a_pipe_in_the_place_of_a_file_of_ours_stops_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "environment")
    with pytest.raises(SettingsError, match="cannot be read"):
        check_environment(tmp_path, settings_with())
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(SettingsError, match="not a file of ours"):
        StateLock(tmp_path)


def test_a_file_is_replaced_in_one_step_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert read_own(path) == ""
    write_own(path, "one")
    (tmp_path / "file.tmp").write_text("left by a dead process")
    write_own(path, "two")
    assert read_own(path) == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_somebody_names_is_read_up_to_a_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_limited(tmp_path / "file", 5) == b"12345"
    for path, limit in ((tmp_path / "file", 4), (Path("/dev/zero"), 10_000)):
        with pytest.raises(OSError, match="more than") as refused:
            read_limited(path, limit)
        assert refused.value.errno == errno.EFBIG


@pytest.mark.parametrize(
    "words",
    [
        ("golden", "--file", "/dev/zero"),
        ("exchange", "--tape", "/dev/zero", "--port", "0"),
        ("journal", "import", "--state-dir", "{state}", "/dev/zero"),
        ("replay", "--file", "/dev/zero"),
    ],
    ids=lambda words: words[0],
)
def test_an_endless_file_has_an_end(tmp_path: Path, words: tuple[str, ...]) -> None:
    told = [word.format(state=tmp_path / "state") for word in words]
    limit = 2**31
    script = f"""
import resource, runpy
resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
runpy.run_module("dita.commands", run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, *told], capture_output=True, text=True, timeout=60
    )
    assert done.returncode in (ExitCode.USAGE, ExitCode.SETTINGS), done.stderr
    assert "Traceback" not in done.stderr and "bug" not in done.stderr
    assert not (tmp_path / "state" / "journal").exists()


def test_an_endless_tape_of_the_mock_has_an_end() -> None:
    with pytest.raises(SettingsError, match=r"price tape cannot be read.*more than"):
        tape_of(settings_with(venue__mock_tape="/dev/zero"))


# -- whose it is -----------------------------------------------------------------------------------


def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    for mode in (0o770, 0o702, 0o777):
        tmp_path.chmod(mode)
        with pytest.raises(SettingsError, match=f"mode 0{mode:o}") as refused:
            hold_to_the_owner(tmp_path)
        assert f"chmod 700 {tmp_path}" in refused.value.action
    for mode in (0o700, 0o755, 0o750):
        tmp_path.chmod(mode)
        hold_to_the_owner(tmp_path)


def test_a_directory_of_another_user_is_refused_before_anything_is_in_it(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("giving a directory away needs root")
    os.chown(tmp_path, 12_345, -1)
    with pytest.raises(SettingsError, match="user 12345"):
        Node(settings_with(), tmp_path, World.of_machine())
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_file_in_the_place_of_the_directory_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "state"):
        with pytest.raises(SettingsError, match="the state directory is not a directory"):
            StateLock(path)


# -- what it remembers -----------------------------------------------------------------------------


def test_a_directory_remembers_that_it_had_a_journal(tmp_path: Path) -> None:
    """Also when everything that has to do with it is gone."""
    state = tmp_path / "state"

    async def opened() -> int:
        node = Node(settings_with(), state, World.of_machine())
        epoch = node.store.journal.report.epoch
        node.close()
        return epoch

    epoch = asyncio.run(opened())
    assert asyncio.run(opened()) == epoch
    assert known_epoch(state) == epoch
    moved = tmp_path / "moved"
    shutil.copytree(state, moved)
    shutil.rmtree(moved / "journal")
    (moved / "journal.high-water").unlink()
    shutil.rmtree(moved / "snapshots", ignore_errors=True)
    state.rename(tmp_path / "old")
    moved.rename(state)
    with pytest.raises(JournalFault, match=f"journal {epoch} was begun here") as stop:
        asyncio.run(opened())
    assert stop.value.exit_code is ExitCode.JOURNAL
    assert not (state / "journal").exists()
    # Another journal, whole and sound, does not take its place either.
    time.sleep(0.002)
    asyncio.run(other_journal(tmp_path / "other"))
    for name in ("journal", "journal.high-water"):
        (tmp_path / "other" / name).rename(state / name)
    with pytest.raises(JournalFault, match=f"; journal {epoch} was begun here"):
        asyncio.run(opened())


async def other_journal(directory: Path) -> None:
    Node(settings_with(), directory, World.of_machine()).close()


# -- one kernel ------------------------------------------------------------------------------------


def test_one_name_is_held_once_on_this_machine_and_goes_with_its_process() -> None:
    code = (
        "import sys, time; from dita.runtime.state.lock import AccountLock;"
        "lock = AccountLock('a test of ' + sys.argv[1], 'of a test'); print('held', flush=True);"
        "time.sleep(60)"
    )
    name = f"a test of {os.getpid()}"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(os.getpid())], stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == b"held\n"
        for _ in range(3):  # however often it is tried
            with pytest.raises(AlreadyRunning, match=f"process {owner.pid} of user") as refused:
                AccountLock(name, "of a test")
            assert refused.value.exit_code is ExitCode.ALREADY_RUNNING
        AccountLock(f"{name} 2", "of a test").release()
        owner.kill()
        owner.wait()
    lock = AccountLock(name, "of a test")
    with pytest.raises(AlreadyRunning):
        AccountLock(name, "of a test")
    lock.release()
    lock.release()
    AccountLock(name, "of a test").release()


def test_an_account_is_told_by_namespace_and_whose_money_it_is(tmp_path: Path) -> None:
    config = Path(__file__).parent.parent.parent / "configs" / "pink-vst.toml"
    other = {"PINK__KERNEL__NAMESPACE": "other"}
    local = {
        "PINK__VENUE__REST_URL": "http://127.0.0.1:8080",
        "PINK__VENUE__STREAM_URL": "ws://127.0.0.1:8080/swap-market",
    }
    fallback = {"PINK__VENUE__REST_URL": "https://open-api-vst.bingx.pro"}
    vst = account_of(load(config, {}, {}))
    assert vst == "pink-vst at vst"
    # Another directory, another key, the exchange's other machine: the same account.
    moved = {"PINK__JOURNAL__DIRECTORY": "/elsewhere", "PINK__VENUE__API_KEY": "env:OTHER"}
    assert account_of(load(config, {**moved, **fallback}, {})) == vst
    assert account_of(load(config, other, {})) != vst
    assert account_of(load(config, local, {})) == "pink-vst at http://127.0.0.1:8080"
    assert account_of(settings_with()) == ""  # an exchange inside the process


def test_a_second_kernel_of_the_namespace_ends_with_75_whatever_its_directory(
    station: Station,
) -> None:
    with station.serve() as serve:
        elsewhere = ("--config", str(station.config), "--state-dir", f"{station.state}-2")
        second = pink("serve", *elsewhere)
        assert second.returncode == ExitCode.ALREADY_RUNNING, second.stderr
        assert f"process {serve.pid}" in second.stderr and "namespace test" in second.stderr
        serve.kill()
        serve.wait()
    third = pink("serve", "--once", *elsewhere)
    assert third.returncode == 0, third.stderr


def test_a_copy_of_a_state_directory_does_not_run_beside_the_original(tmp_path: Path) -> None:
    async def play() -> None:
        first = Node(settings_with(), tmp_path / "a", World.of_machine())
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        with pytest.raises(AlreadyRunning, match="a copy of a state directory must not run"):
            Node(settings_with(), tmp_path / "b", World.of_machine())
        Node(settings_with(), tmp_path / "c", World.of_machine()).close()  # another journal may
        first.close()
        Node(settings_with(), tmp_path / "b", World.of_machine()).close()  # and so may the copy now

    asyncio.run(play())


# -- taken away ------------------------------------------------------------------------------------


def test_a_lock_notices_that_its_directory_is_not_there_any_more(tmp_path: Path) -> None:
    state, away = tmp_path / "state", tmp_path / "away"
    lock = StateLock(state)
    assert lock.missing() == ""
    state.rename(away)
    assert f"{state}: No such file" in lock.missing()
    shutil.copytree(away, state)
    assert f"{state}: another one is in its place" in lock.missing()
    shutil.rmtree(state)
    away.rename(state)
    assert lock.missing() == ""
    (state / "lock").unlink()
    assert f"{state / 'lock'}: No such file" in lock.missing()
    lock.release()


@pytest.mark.parametrize("what", ["removed", "moved"])
def test_a_serve_whose_directory_is_taken_away_ends_with_74_and_holds_first(
    station: Station, what: str
) -> None:
    with station.serve() as serve:
        if what == "moved":
            station.enter("T1")
            station.until("open", is_open)
        away = station.state.with_name("away")
        began = time.monotonic()
        if what == "removed":
            shutil.rmtree(station.state)
        else:
            station.state.rename(away)
        assert serve.stderr is not None
        said = serve.stderr.read()
        assert serve.wait() == ExitCode.JOURNAL, said
        assert time.monotonic() - began < 10
        assert "HOLD: the state directory is gone" in said
        assert "--emergency" in said and "Traceback" not in said
    if what == "moved":
        # Everything is in its new place, the hold included, and goes on from there.
        away.rename(station.state)
        with station.serve():
            record = station.status()
            assert (record["state"], len(record["slots"])) == ("HOLD", 1)
            station.exit("T1")
            station.until("flat", is_flat)


# -- keys ------------------------------------------------------------------------------------------


def test_a_process_that_holds_keys_leaves_no_core(tmp_path: Path) -> None:
    """Made with a limit that allows one, and a core pattern that would write it here."""
    script = f"""
import ctypes, os, resource, sys
from pathlib import Path
from dita.runtime.venue_factory import venue_of
from dita.runtime.world import World
from dita.settings import load
resource.setrlimit(resource.RLIMIT_CORE, (2**20, 2**20))
config = Path({str(Path(__file__).parent.parent.parent / "configs" / "pink-vst.toml")!r})
keys = {{"PINK__VENUE__API_KEY": "env:KEY", "PINK__VENUE__API_SECRET": "env:SECRET"}}
venue_of(load(config, keys, {{}}), World.of_machine())
print(*resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3), flush=True)
os.abort()
"""
    environ = {**os.environ, "KEY": "key", "SECRET": "secret"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, env=environ, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.stdout == "0 0 0\n", done.stderr
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_CORE)[1] != 0  # of this process: as it was
