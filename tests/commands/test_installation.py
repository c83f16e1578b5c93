"""Which installation a command finds, and that nothing is ever done at another one.

The order is: the options, PINK_CONFIG, the one file of /etc/pink.  The packaged demo is taken by
its name only.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.command_line import typed

from dita.errors import SettingsError
from dita.runtime.state import directory
from dita.runtime.state.directory import directory_of, find_settings, installed, place_of
from dita.runtime.state.place import described, place_by_directory, place_by_settings
from dita.settings import load

VST = """
[venue]
kind = "bingx"
environment = "vst"
api_key = "file:{key}"
api_secret = "file:{key}.secret"
[kernel]
namespace = "pink-vst"
[journal]
directory = "{state}"
"""


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An /etc/pink of this test's own."""
    folder = tmp_path / "etc"
    folder.mkdir()
    monkeypatch.setattr(directory, "INSTALLED", folder)
    monkeypatch.delenv("PINK_CONFIG", raising=False)
    return folder


def settings_file(folder: Path, name: str = "pink.toml", **more: str) -> Path:
    path = folder / name
    fields = {"key": str(folder / "a.key"), "state": str(folder / "state"), **more}
    path.write_text(VST.format(**fields))
    return path


# -- finding ---------------------------------------------------------------------------------------


def test_the_options_come_before_the_variable_and_that_before_etc(
    etc: Path, tmp_path: Path
) -> None:
    in_etc = settings_file(etc)
    named, varied = tmp_path / "named.toml", tmp_path / "varied.toml"
    environ = {"PINK_CONFIG": str(varied)}
    assert find_settings(named, environ) == (named, "--config")
    assert find_settings(None, environ) == (varied, "PINK_CONFIG")
    assert find_settings(None, {"PINK_CONFIG": ""}) == (in_etc, str(etc))
    assert find_settings(Path("demo"), {}).file is None
    assert find_settings(None, {"PINK_CONFIG": "demo"}).file is None


def test_none_and_several_are_asked_back(etc: Path) -> None:
    with pytest.raises(SettingsError, match="expected --config FILE, PINK_CONFIG") as none:
        find_settings(None, {})
    assert none.value.found == "none of them"
    first, second = settings_file(etc, "a.toml"), settings_file(etc, "b.toml")
    (etc / "readme.txt").write_text("")
    with pytest.raises(SettingsError) as several:
        find_settings(None, {})
    assert several.value.found == f"{first}, {second}"
    assert several.value.action == f"add --config {first}"


def test_the_only_file_of_etc_is_the_installation(etc: Path) -> None:
    settings_file(etc)
    assert directory_of(None, None, {}) == etc / "state"
    assert directory_of(None, None, {"PINK__JOURNAL__DIRECTORY": "/else"}) == Path("/else")
    assert directory_of(None, Path("/typed"), {}) == Path("/typed")


@pytest.mark.parametrize(
    "words",
    [
        ["status"], ["serve"], ["hold", "--reason", "x"], ["resume", "--reason", "x"],
        ["intent", "flatten", "--reason", "x"], ["reconcile"], ["anchor", "--reason", "x"],
        ["smoke", "--symbol", "TRX-USDT"], ["soak"], ["explain", "T1"], ["journal", "verify"],
        ["journal", "tail"], ["journal", "export"], ["flatten", "--emergency"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_no_command_takes_the_demo_by_itself(
    etc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """In any folder, without options: refused, and nothing was made."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    done = typed(*words)
    assert done.code == 78, done.stdout + done.stderr
    assert "--config FILE, PINK_CONFIG" in done.stderr
    assert list(here.iterdir()) == []


def test_a_command_finds_what_the_runbooks_mean(etc: Path, tmp_path: Path) -> None:
    """The lines of the runbooks name nothing: they work on an installation as they stand."""
    settings_file(etc)
    done = typed("status")
    assert (done.code, str(etc / "state") in done.stderr) == (3, True)
    held = typed("hold", "--reason", "x")
    assert held.stderr.splitlines()[0].endswith(f"state in {etc / 'state'}")


# -- as little as is needed ------------------------------------------------------------------------


@pytest.mark.parametrize("slip", ["slot_limit = 4\n", "[kernell]\n", "[venue2]\nkind = 1\n"])
def test_the_directory_is_found_in_a_file_with_a_slip(etc: Path, slip: str) -> None:
    path = settings_file(etc)
    path.write_text(path.read_text() + slip)
    with pytest.raises(SettingsError):
        installed(path, None, {})
    assert directory_of(path, None, {}) == etc / "state"


def test_a_file_that_is_no_toml_leaves_the_state_dir(etc: Path) -> None:
    path = settings_file(etc)
    path.write_text("[journal\n")
    with pytest.raises(SettingsError, match="--state-dir"):
        directory_of(path, None, {})
    assert directory_of(path, Path("/typed"), {}) == Path("/typed")
    path.write_text("[journal]\ndirectory = 5\n")
    with pytest.raises(SettingsError, match="the path of a state directory"):
        directory_of(path, None, {})
    with pytest.raises(SettingsError, match="No such file"):
        directory_of(etc / "none.toml", None, {})


def test_keys_are_looked_at_by_who_needs_them_alone(etc: Path) -> None:
    path = settings_file(etc)
    (etc / "a.key").write_text("KEY\n")
    (etc / "a.key").chmod(0o644)
    with pytest.raises(SettingsError, match="mode 0600"):
        installed(path, None, {})
    assert load(path, {}, {}, keys=False).kernel.namespace == "pink-vst"
    assert place_of(path, None, {}).directory == etc / "state"


def test_somebody_else_s_key_is_not_to_be_taken_over(etc: Path) -> None:
    """chown to root would break the next start of serve: run it as that user instead."""
    if os.geteuid() != 0:
        pytest.skip("another owner needs root")
    path = settings_file(etc)
    key = etc / "a.key"
    key.write_text("KEY\n")
    key.chmod(0o600)
    os.chown(key, 1, 1)  # daemon, everywhere
    with pytest.raises(SettingsError, match="run this as that user, sudo -u daemon"):
        installed(path, None, {})


# -- saying where ----------------------------------------------------------------------------------


def test_a_place_in_words() -> None:
    def line(text: str) -> str:
        return described(place_by_settings(load(None, {}, dict(_options(text))), Path("/s")))

    assert line("kind=mock") == "built-in mock, no exchange, nobody's money; demo, state in /s"
    assert line("kind=remote mock_socket=/v.sock").startswith(
        "mock exchange at /v.sock, nobody's money"
    )
    keys = "api_key=env:A api_secret=env:B"
    assert line(f"kind=bingx environment=vst {keys}").startswith(
        "BingX VST https://open-api-vst.bingx.com, test money, key env:A; demo, "
    )
    assert line(f"kind=bingx environment=live allow_live=true {keys}").startswith(
        "BingX LIVE https://open-api.bingx.com, REAL MONEY, key env:A"
    )


def _options(text: str) -> dict[str, object]:
    given: dict[str, object] = {"journal.directory": "/var/lib/pink"}
    for word in text.split():
        key, _, value = word.partition("=")
        given[f"venue.{key}"] = value
    return given


def test_a_directory_says_whose_money_it_is_for(tmp_path: Path) -> None:
    assert described(place_by_directory(tmp_path)).startswith("money not known")
    (tmp_path / "environment").write_text("live\n")
    assert described(place_by_directory(tmp_path)) == f"BingX LIVE, REAL MONEY; state in {tmp_path}"


def test_a_demo_is_loud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, etc: Path) -> None:
    monkeypatch.chdir(tmp_path)
    shown = typed("config", "show")
    assert (shown.code, "no installation is named" in shown.stderr) == (0, True)
    dry = typed("smoke", "--symbol", "FET-USDT", "--dry-run", "--config", "demo")
    assert dry.code == 0, dry.stderr
    assert dry.stderr.splitlines()[0].startswith("built-in mock, no exchange, nobody's money")
    assert not (tmp_path / "pink-demo-journal").exists()  # nothing stays behind of a trial
    as_json = typed("smoke", "--symbol", "FET-USDT", "--dry-run", "--config", "demo", "--json")
    assert json.loads(as_json.stdout)["place"]["money"] == "mock"
