"""Settings: who wins, what is refused and in which words, and that no secret is ever shown."""

from __future__ import annotations

import configparser
import copy
import importlib.resources
import json
import logging
import os
import pickle
import re
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import Result

from dita.account import AccountConfig
from dita.contracts import KernelMode, KernelVerbosity
from dita.errors import ExitCode, SettingsError
from dita.kernel import ExecutionKernel, KernelConfig
from dita.settings import ALIASES, Secret, Settings, VenueEnvironment, VenueKind, load
from dita.settings.agreement import VOLATILE
from dita.settings.names import SEED_NAMES, WITHOUT_MEANING
from dita.settings.rules import Whole
from dita.settings.schema import SCHEMA, as_text
from dita.units import MONEY_ONE

ROOT = Path(__file__).parent.parent.parent
CANARY = "cAnArY7f3d9e"
KEYS = {
    "venue.kind": "bingx",
    "venue.environment": "vst",
    "venue.api_key": "env:KEY",
    "venue.api_secret": "env:KEY_SECRET",
    "journal.directory": "/var/lib/pink/journal",
}
LIVE = KEYS | {"venue.environment": "live", "venue.allow_live": True}
NAMES = tuple(SCHEMA)
Cli = Callable[..., Result]


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str], Path]:
    """Write a settings file and give its path."""

    def write(text: str) -> Path:
        path = tmp_path / "pink.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refused(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> str:
    """Load what must be refused and give the message."""
    with pytest.raises(SettingsError) as caught:
        load(path, environ or {}, overrides or {})
    assert caught.value.exit_code == ExitCode.SETTINGS
    return str(caught.value)


# -- WHO WINS -----------------------------------------------------------------------------------


def test_options_win_over_variables_over_the_file_over_defaults(
    toml: Callable[[str], Path],
) -> None:
    """And each value says where it came from."""
    path = toml("[kernel]\nslot_limit = 2\nleverage_cap = 5\n\n[runtime]\ntick_ms = 100\n")
    environ = {"PINK__KERNEL__SLOT_LIMIT": "3", "PINK__KERNEL__LEVERAGE_CAP": "7", "OTHER": "x"}
    settings = load(path, environ, {"kernel.slot_limit": 4, "kernel.hedge": None})
    kernel = settings.kernel
    assert (kernel.slot_limit, kernel.leverage_cap, settings.runtime.tick_ms) == (4, 7, 100)
    assert kernel.hedge is False
    origins = settings.origins
    assert origins["kernel.slot_limit"] == "option"
    assert origins["kernel.leverage_cap"] == "PINK__KERNEL__LEVERAGE_CAP"
    assert origins["runtime.tick_ms"] == f"{path}:6"
    assert origins["kernel.hedge"] == "default"
    assert set(origins) == set(NAMES)


def test_without_a_file_the_packaged_demo_is_used() -> None:
    """It is the mock on a tape: nobody's money, no keys."""
    settings = load(None, {}, {})
    assert settings.venue.kind is VenueKind.MOCK
    assert settings.venue.environment is VenueEnvironment.MOCK
    tape = f"{settings.venue.mock_tape}.csv"
    assert (importlib.resources.files("dita.configs") / "tapes" / tape).is_file()
    assert settings.origins["kernel.namespace"].startswith("packaged demo.toml:")
    assert settings.file == "packaged demo.toml"


def test_empty_file_gives_the_defaults(toml: Callable[[str], Path]) -> None:
    """The defaults are safe and are those that the design names."""
    settings = load(toml(""), {}, {})
    assert set(settings.origins.values()) == {"default"}
    assert settings.venue.kind is VenueKind.MOCK and not settings.venue.allow_live
    assert settings.venue.absence_fence_s == 15 and settings.venue.recv_window_ms == 5_000
    assert settings.runtime.mode is KernelMode.NORMAL
    assert settings.runtime.reconcile_on_restart is True
    assert settings.account_config() == AccountConfig()


@pytest.mark.parametrize(
    "spelling",
    [
        "kernel.slot_limit = 9",
        "kernel = { slot_limit = 9 }",
        "[kernel]\n'slot_limit' = 9",
        "[ kernel ] # why\n slot_limit=9",
        "[venue]\nmock_tape = '''\n[kernel]\nslot_limit = 1'''",
    ],
)
def test_line_in_an_origin_is_right_or_left_out(toml: Callable[[str], Path], spelling: str) -> None:
    """tomllib does not tell lines; a wrong one would be worse than none."""
    path = toml(f"# a comment with kernel.slot_limit = 3\n\n{spelling}\n")
    if "'''" in spelling:
        assert f"venue.mock_tape refused ({path})" in refused(path)
        return
    assert load(path, {}, {}).origins["kernel.slot_limit"] in (
        f"{path}:3" if "\n" not in spelling or "'" in spelling else f"{path}:4",
        str(path),
    )


def test_every_key_can_be_set_by_every_way(toml: Callable[[str], Path]) -> None:
    """What `config show` prints can be typed back, and nothing changes."""
    settings = load(None, {"KEY": "k", "KEY_SECRET": "s"}, KEYS)
    wanted = settings.settings_hash
    rows = list(settings.shown())
    variables = {f"PINK__{row.section}__{row.key}".upper(): str(row.value) for row in rows}
    assert load(toml(""), variables, {}).settings_hash == wanted
    lines = [
        f"{row.section}.{row.key} = {json.dumps(row.value, ensure_ascii=False)}" for row in rows
    ]
    assert load(toml("\n".join(lines)), {}, {}).settings_hash == wanted
    options = {f"{row.section}.{row.key}": row.value for row in rows}
    assert load(toml(""), {}, options).settings_hash == wanted


def test_settings_reach_the_kernel_and_the_account() -> None:
    """Each key of [kernel] and [account] changes what the engine is made with; none is dead."""
    plain = load(None, {}, {})
    before = (plain.kernel_config(epoch=5), plain.account_config())
    assert before[0] == KernelConfig(
        namespace="demo", slot_limit=4, epoch=5, balance_max_age_ms=60_000
    )
    ExecutionKernel(before[0])
    changes = {
        "kernel.namespace": "other",
        "kernel.slot_limit": 3,
        "kernel.hedge": True,
        "kernel.leverage_cap": 2,
        "kernel.balance_max_age_s": 90,
        "account.warn_usdt": "0.02",
        "account.error_usdt": "19.999999999999999999",
        "account.figure_tolerance_usdt": "0.5",
    }
    assert set(changes) == {name for name in NAMES if name.startswith(("kernel.", "account."))}
    changed = plain
    for name, value in changes.items():
        changed = load(None, {}, {name: value})
        assert (changed.kernel_config(epoch=5), changed.account_config()) != before, name
        assert changed.settings_hash != plain.settings_hash
    assert changed.kernel_config(epoch=1).figure_tolerance == MONEY_ONE // 2


@pytest.mark.parametrize("name", NAMES)
def test_limits_of_the_kernel_are_those_of_its_keys(name: str) -> None:
    """The largest and the smallest value that is let in makes a kernel."""
    rule = SCHEMA[name].rule
    if name.startswith("kernel.") and isinstance(rule, Whole):
        for value in (rule.least, rule.most):
            options = {name: value, "runtime.balance_check_s": 1}
            if name == "kernel.balance_max_age_s":
                options[name] = max(value, 2)
            ExecutionKernel(load(None, {}, options).kernel_config(epoch=1))


# -- THE ORIGINAL SYSTEM'S NAMES ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("DITA_V2_MODE", "DEBUG", "runtime.mode", KernelMode.DEBUG),
        ("DITA_V2_MODE", "NORMAL", "runtime.mode", KernelMode.NORMAL),
        ("DITA_V2_VERBOSITY", "QUIET", "runtime.verbosity", KernelVerbosity.QUIET),
        ("DITA_V2_VERBOSITY", "TRACE", "runtime.verbosity", KernelVerbosity.TRACE),
        ("DITA_V2_VENUE", "MOCK", "venue.kind", VenueKind.MOCK),
        ("DITA_V2_VENUE", "BINGX", "venue.kind", VenueKind.BINGX),
    ],
)
def test_alias_sets_what_it_always_set(variable: str, text: str, name: str, value: object) -> None:
    """Its values in capitals are those of the original."""
    options: dict[str, object] = {}
    if value is VenueKind.BINGX:
        options = {key: each for key, each in KEYS.items() if key != "venue.kind"}
    settings = load(None, {variable: text}, options)
    section, key = name.split(".")
    assert getattr(getattr(settings, section), key) is value
    assert settings.origins[name] == variable
    assert ALIASES[variable] == name


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("DITA_V2_ZINC", "REAL", "no setting for it in this version"),
        ("DITA_V2_CONTROL_PLANE", "REAL_ZINC", "no setting for it in this version"),
        ("DITA_V2_HAZELCAST", "REAL", "no setting for it in this version"),
        ("DITA_V2_LAUNCHER_MODE", "serve", "the command that is typed, pink-ctl serve"),
        ("DITA_V2_VERBOSTY", "TRACE", "did you mean DITA_V2_VERBOSITY?"),
        ("DITA_V2_", "x", "unset it"),
    ],
)
def test_alias_without_meaning_is_refused_and_not_ignored(
    variable: str, text: str, words: str
) -> None:
    """Whoever sets it believes that it does something."""
    message = refused(None, {variable: text})
    assert f"variable '{variable}' refused" in message and words in message


def test_alias_and_variable_must_not_differ() -> None:
    """Nobody could say which of the two was meant."""
    both = {"DITA_V2_MODE": "DEBUG", "PINK__RUNTIME__MODE": "NORMAL"}
    message = refused(None, both)
    assert "runtime.mode refused (DITA_V2_MODE and PINK__RUNTIME__MODE)" in message
    assert load(None, both | {"PINK__RUNTIME__MODE": "debug"}, {}).runtime.mode is KernelMode.DEBUG


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("active_slot_limit", "it is kernel.slot_limit here"),
        ("trace_transitions", 'it is runtime.verbosity = "TRACE" here'),
        ("reconcile_on_restart", "it is runtime.reconcile_on_restart here"),
        ("mirror_to_hazelcast", "no setting for it in this version"),
        ("debug_clickhouse_enabled", "no setting for it in this version"),
    ],
)
def test_toggles_of_the_original_are_named(
    toml: Callable[[str], Path], key: str, words: str
) -> None:
    """Each is told its name here, wherever it is written."""
    assert words in refused(toml(f"[kernel]\n{key} = true\n"))
    assert words in refused(toml(f"{key} = true\n"))


# -- WHAT IS REFUSED ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[kernel]\nslot_limt = 3", "unknown key 'kernel.slot_limt' (FILE:2)"),
        ("[kernel]\nslot_limt = 3", "did you mean kernel.slot_limit?"),
        ("[kernel]\ntick_ms = 3", "did you mean runtime.tick_ms?"),
        ("[kernel]\nzzzz = 3", "expected a key that `pink-ctl config show` lists; do: remove it"),
        ("[kernal]\nslot_limit = 3", "unknown section 'kernal' (FILE:1)"),
        ("[kernal]\nslot_limit = 3", "did you mean [kernel]?"),
        ("slot_limit = 3", "did you mean kernel.slot_limit? It belongs under [kernel]"),
        ("\nkernel = 3", "kernel refused (FILE:2): expected a table, [kernel]; found int"),
        ("[[kernel]]\nslot_limit = 3", "expected a table, [kernel]; found list"),
        ("[kernel]\nslot_limit = 0", "expected a whole number from 1 to 4096; found 0 (out of"),
        ("[kernel]\nslot_limit = '3'", "found '3' (str instead of int)"),
        ("[kernel]\nslot_limit = true", "found True (bool instead of int)"),
        ("[kernel]\nslot_limit = 3.0", "found 3.0 (float instead of int)"),
        ("[kernel]\nslot_limit = 0", "correct it, or leave it out for the default, 16"),
        ("[kernel]\nhedge = 1", "kernel.hedge refused (FILE:2): expected true or false; found 1"),
        ("[kernel]\nnamespace = 'Pink'", "expected a to z, 0 to 9, _ and -, at most 24"),
        ("[runtime]\nmode = 'LOUD'", "expected one of NORMAL, DEBUG; found 'LOUD'"),
        ("[runtime]\nmode = 1", "expected one of NORMAL, DEBUG; found 1"),
        ("[venue]\nkind = 'binance'", "expected one of mock, remote, bingx; found 'binance'"),
        ("[account]\nwarn_usdt = 0.01", "found 0.01 (a float is not exact: put it in quotes)"),
        ("[account]\nwarn_usdt = '-1'", "from \"0\" to \"1000000\"; found '-1' (out of range)"),
        ("[account]\nwarn_usdt = 'much'", "found 'much' (not an amount)"),
        ("[account]\nwarn_usdt = true", "found True (not an amount)"),
        ("[account]\nwarn_usdt = '1e-19'", "found '1e-19' (too many decimals)"),
        ("[account]\nwarn_usdt = '30'", "account.warn_usdt refused (FILE:2): expected at most"),
        ("[runtime]\nbalance_check_s = 60", "expected below kernel.balance_max_age_s, 60"),
        ("[journal]\ndirectory = '~/j'", "expected a path, written out (~ is not expanded)"),
        ("[journal]\ndirectory = ''", "journal.directory refused (FILE:2)"),
        ("[journal]\ndirectory = \"a\\u0000b\"", "characters that cannot be printed"),
        ("[kernel\n", "settings file FILE refused: expected a TOML file; found Expected"),
        ("a = " + "[" * 100_000, "settings file FILE refused"),
        ("[kernel]\nslot_limit = " + "9" * 5_000, "found a number too long"),
        ("#" * 300_000, "found more than 262144 bytes"),
    ],
)  # fmt: skip
def test_refusal_names_key_place_value_and_what_is_allowed(
    toml: Callable[[str], Path], text: str, words: str
) -> None:
    """One line, which an operator can act upon without reading the source."""
    path = toml(text)
    message = refused(path)
    assert words.replace("FILE", str(path)) in message.replace(f"'{path}'", str(path))
    assert "\n" not in message and len(message) < 600


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"PINK__KERNEL__SLOT_LIMT": "3"}, "did you mean PINK__KERNEL__SLOT_LIMIT?"),
        ({"PINK__KERNEL__slot_limit": "3"}, "did you mean PINK__KERNEL__SLOT_LIMIT?"),
        ({"PINK__": "3"}, "unknown key"),
        ({"PINK_KERNEL__SLOT_LIMIT": "3"}, "expected PINK__KERNEL__SLOT_LIMIT; do: write it so"),
        ({"pink__kernel__slot_limit": "3"}, "expected PINK__KERNEL__SLOT_LIMIT; do: write it so"),
        ({"PINK__KERNEL__SLOT_LIMIT": ""}, "kernel.slot_limit refused (PINK__KERNEL__SLOT_LIMIT)"),
        ({"PINK__KERNEL__SLOT_LIMIT": "٣"}, "found '\\u0663'"),
        ({"PINK__KERNEL__SLOT_LIMIT": "9" * 30}, "kernel.slot_limit refused"),
        ({"PINK__KERNEL__HEDGE": "yes"}, "expected true or false"),
        ({"PINK__ACCOUNT__WARN_USDT": "nan"}, "(not an amount)"),
        ({"DITA_V2_VENUE": "binance"}, "venue.kind refused (DITA_V2_VENUE)"),
    ],
)
def test_refusal_of_a_variable_names_it(environ: dict[str, str], words: str) -> None:
    """A slip in the name is an error too: the setting would silently stay what it was."""
    assert words in refused(None, environ)


def test_refusal_of_an_option_names_it() -> None:
    """Options have the keys' own names."""
    assert "unknown key 'kernel.slots' (option)" in refused(overrides={"kernel.slots": 3})
    assert "kernel.hedge refused (option)" in refused(overrides={"kernel.hedge": "perhaps"})


@pytest.mark.parametrize(
    ("options", "name", "words"),
    [
        ({"venue.environment": "live"}, "environment", "expected mock with venue.kind mock"),
        ({"venue.environment": "vst"}, "environment", "expected mock with venue.kind mock"),
        ({"venue.api_key": "env:KEY"}, "api_key", "left out with venue.kind mock: only bingx"),
        ({"venue.allow_live": False}, "allow_live", "left out with venue.kind mock"),
        ({"venue.mock_socket": "/run/m"}, "mock_socket", "only remote reads it"),
        ({"venue.kind": "remote"}, "mock_socket", "expected a path with venue.kind remote"),
        (KEYS | {"venue.mock_seed": 2}, "mock_seed", "left out with venue.kind bingx"),
        (KEYS | {"venue.environment": None}, "environment", "expected vst or live with venue.kind"),
        (KEYS | {"venue.environment": "live"}, "allow_live", "orders there are real money"),
        (KEYS | {"venue.allow_live": True}, "allow_live", "false with venue.environment vst"),
        (KEYS | {"venue.api_key": None}, "api_key", "env:NAME or file:/PATH with venue.kind bingx"),
        (KEYS | {"venue.api_secret": None}, "api_secret", "found nothing"),
        (KEYS | {"venue.api_secret": "env:KEY"}, "api_secret", "another place than that of"),
        (KEYS | {"journal.directory": "j"}, "directory", "an absolute path with venue.kind bingx"),
        (LIVE | {"journal.directory": "/tmp/j"}, "directory", "a path that outlives a reboot"),
        (LIVE | {"journal.directory": "/var/../tmp"}, "directory", "a path that outlives"),
    ],
)
def test_values_that_contradict_each_other(
    options: dict[str, object], name: str, words: str
) -> None:
    """The live and the test exchange, and the mock, are never mixed up by one forgotten word."""
    message = refused(overrides=options)
    assert re.match(rf"(venue|journal)\.{name} refused \(", message) and words in message


VST = "https://open-api-vst.bingx.com"
VST_STREAM = "wss://vst-open-api-ws.bingx.com/swap-market"
HERE = {"venue.rest_url": "http://127.0.0.1:8080", "venue.stream_url": "ws://localhost:8081/x"}


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (LIVE | {"venue.rest_url": VST}, "rest_url"),
        (LIVE | {"venue.stream_url": VST_STREAM}, "stream_url"),
        (LIVE | HERE, "rest_url"),
        (KEYS | {"venue.rest_url": "https://open-api.bingx.com"}, "rest_url"),
        (KEYS | {"venue.rest_url": "http://open-api-vst.bingx.com"}, "rest_url"),
        (KEYS | {"venue.rest_url": f"{VST}:8443"}, "rest_url"),
        (KEYS | {"venue.rest_url": f"{VST}/openApi"}, "rest_url"),
        (KEYS | {"venue.rest_url": f"{VST}.evil.example"}, "rest_url"),
        (KEYS | {"venue.rest_url": "https://evil.example"}, "rest_url"),
        (KEYS | {"venue.stream_url": "wss://open-api-ws.bingx.com/market"}, "stream_url"),
        (KEYS | {"venue.stream_url": "wss://open-api-swap.bingx.com/swap-market"}, "stream_url"),
        (KEYS | {"venue.rest_url": HERE["venue.rest_url"]}, "stream_url"),
        (KEYS | {"venue.rest_url": "ftp://127.0.0.1"}, "rest_url"),
        (KEYS | {"venue.rest_url": "https://[::1"}, "rest_url"),
        (KEYS | {"venue.rest_url": "https://127.0.0.1:port"}, "rest_url"),
        (KEYS | {"venue.rest_url": "https:\\\\127.0.0.1"}, "rest_url"),
        (KEYS | {"venue.rest_url": "https://127.0.0.1 "}, "rest_url"),
    ],
)
def test_keys_go_to_no_other_host(options: dict[str, object], name: str) -> None:
    """Test keys to test machines or this one, live keys to live machines, over TLS."""
    assert f"venue.{name} refused (" in refused(overrides=options)


def test_addresses_are_those_of_the_environment() -> None:
    """They need not be written, and a local exchange counts as the test environment."""
    vst = load(None, {}, KEYS).venue
    assert (vst.rest_url, vst.stream_url) == (VST, VST_STREAM)
    live = load(None, {}, LIVE).venue
    assert live.rest_url == "https://open-api.bingx.com"
    assert live.stream_url == "wss://open-api-swap.bingx.com/swap-market"
    here = load(None, {}, KEYS | HERE).venue
    assert here.rest_url == HERE["venue.rest_url"]
    assert load(None, {}, KEYS | {"venue.rest_url": f"{VST}/"}).venue.rest_url == VST
    assert load(None, {}, {}).venue.rest_url == ""


# -- SECRETS ------------------------------------------------------------------------------------


def spilled(thing: object) -> str:
    """Everything that usual ways of showing an object would print of it."""
    shown = [repr(thing), str(thing), f"{thing}", f"{thing!r:>300}", "%s" % (thing,)]  # noqa: UP031
    if isinstance(thing, BaseException):
        shown += traceback.format_exception(thing)
    for encode in (pickle.dumps, msgspec.json.encode, json.dumps, msgspec.to_builtins):
        try:
            shown.append(repr(encode(thing)))
        except Exception as bad:  # noqa: BLE001 - not to be encoded is the best answer
            shown += traceback.format_exception(bad)
    return "\n".join(shown)


def test_secret_never_shows_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not in a repr, a text, a format, a log, a copy, an encoding or the hash; `reveal` has it."""
    file = tmp_path / "key"
    file.write_text(f"{CANARY}\n")
    file.chmod(0o600)
    environ = {"KEY": CANARY, "KEY_SECRET": CANARY}
    for options in (KEYS, KEYS | {"venue.api_key": f"file:{file}"}):
        settings = load(None, environ, options)
        key = settings.venue.api_key
        assert key is not None and key.reveal() == CANARY and key.state() == "set"
        with caplog.at_level(logging.DEBUG):
            logging.getLogger("t").error("%s %r", key, settings)
        things = (key, settings, settings.venue, copy.deepcopy(key), copy.copy(settings), [key])
        for thing in (*things, list(settings.shown()), msgspec.structs.asdict(settings.venue)):
            assert CANARY not in spilled(thing)
        assert CANARY not in caplog.text + repr(key._variable) + settings.settings_hash
        with pytest.raises(TypeError, match="never stored"):
            pickle.dumps(key)


def test_hash_covers_references_and_no_secrets() -> None:
    """Equal for a changed key, different for another place to find it in."""
    one, two = (load(None, {"KEY": text}, KEYS).settings_hash for text in ("a", "b"))
    assert one == two
    assert load(None, {}, KEYS | {"venue.api_key": "env:OTHER"}).settings_hash != one
    assert re.fullmatch("[0-9a-f]{64}", one)


@pytest.mark.parametrize(
    "literal",
    [
        CANARY,
        f"env:{CANARY}-x",
        f"env: {CANARY}",
        f"file:{CANARY}",
        f"ENV:{CANARY}",
        f"{CANARY}:x",
        f"file:/{CANARY}\n",
        "",
    ],
)
def test_literal_secret_is_refused_and_not_shown(toml: Callable[[str], Path], literal: str) -> None:
    """Wherever it stands, and also under a misspelt key or in an address."""
    lines = "[venue]\nkind = 'bingx'\nenvironment = 'vst'\n"
    quoted = json.dumps(literal)
    url = json.dumps(f"https://u:{CANARY}@open-api-vst.bingx.com")
    query = json.dumps(f"https://open-api-vst.bingx.com/?signature={CANARY}")
    for line in (f"api_key = {quoted}", f"rest_url = {url}", f"rest_url = {query}"):
        path = toml(f"{lines}{line}\n")
        with pytest.raises(SettingsError) as caught:
            load(path, {}, {})
        assert f"refused ({path}:4)" in str(caught.value)
        assert CANARY not in spilled(caught.value)
    for text in (f"api_kee = {quoted}", f'api_key = "{CANARY}', f"api_key = ['{CANARY}']"):
        with pytest.raises(SettingsError) as caught:
            load(toml(f"{lines}{text}\n"), {}, {})
        assert CANARY not in spilled(caught.value)
    for environ in ({"PINK__VENUE__API_KEY": literal}, {"PINK__VENUE__API_KEE": literal}):
        with pytest.raises(SettingsError) as caught:
            load(None, environ, {})
        assert CANARY not in spilled(caught.value)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_secret_file_that_only_we_can_read(tmp_path: Path, mode: int) -> None:
    """One line; a line end, also a foreign one, is not part of the secret."""
    file = tmp_path / "key"
    for content in (b"abc", b"abc\n", b"abc\r\n"):
        file.unlink(missing_ok=True)
        file.write_bytes(content)
        file.chmod(mode)
        assert Secret("venue.api_key", f"file:{file}", {}).reveal() == "abc"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o700, 0o610, 0o4600])
def test_secret_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """By load already, before anything is connected, and again when it is read."""
    file = tmp_path / "key"
    file.write_text(CANARY)
    file.chmod(0o600)
    options = KEYS | {"venue.api_key": f"file:{file}"}
    secret = load(None, {}, options).venue.api_key
    file.chmod(mode)
    message = refused(overrides=options)
    assert f"venue.api_key refused (file:{file}): expected mode 0600" in message
    assert f"found mode {mode:04o}; do: chmod 600 it" in message
    assert secret is not None and secret.state() == "refused"
    with pytest.raises(SettingsError, match="expected mode 0600"):
        secret.reveal()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_secret_file_of_another_user_is_refused(tmp_path: Path) -> None:
    """Whoever owns it can change it, and so choose the account that is traded on."""
    file = tmp_path / "key"
    file.write_text(CANARY)
    file.chmod(0o600)
    os.chown(file, 12_345, -1)
    message = refused(overrides=KEYS | {"venue.api_key": f"file:{file}"})
    assert "expected a file owned by uid 0" in message and "found uid 12345" in message


def test_secret_file_must_be_a_file(tmp_path: Path) -> None:
    """A pipe would block for ever, a folder cannot be read."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(SettingsError, match="expected a regular file"):
            Secret("venue.api_key", f"file:{path}", {}).reveal()


@pytest.mark.parametrize("content", [b"two\nlines", b"\xff\xfe", b"a\x00b", b"x" * 5_000])
def test_content_that_is_no_key_is_refused_and_not_shown(tmp_path: Path, content: bytes) -> None:
    """It would only fail later, as a signature that does not match."""
    file = tmp_path / "key"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(SettingsError, match="expected one line of printable ASCII") as caught:
        Secret("venue.api_key", f"file:{file}", {}).reveal()
    assert "two" not in str(caught.value) and "xx" not in str(caught.value)


@pytest.mark.parametrize(
    "reference", ["env:KEY", "env:EMPTY", "file:/none/such", "file:/etc/hosts/x"]
)
def test_missing_secret_is_told_from_a_refused_one(reference: str) -> None:
    """Load lets it pass, so that settings can be looked at elsewhere; `reveal` does not."""
    secret = load(None, {"EMPTY": ""}, KEYS | {"venue.api_key": reference}).venue.api_key
    assert secret is not None and secret.state() == "missing"
    with pytest.raises(SettingsError, match="expected to be set; found nothing"):
        secret.reveal()


# -- GARBAGE ------------------------------------------------------------------------------------

TEXTS = st.text(max_size=40) | st.sampled_from(["", "true", "1", "-1", "1e999", "nan", "mock"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.binary() | st.dates()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
)
SOME_NAMES = st.sampled_from(NAMES) | TEXTS | st.text(min_size=5_000, max_size=5_010)


def answer(path: Path | None, environ: Mapping[str, str], options: Mapping[str, object]) -> None:
    """Settings or SettingsError; anything else comes through."""
    try:
        assert isinstance(load(path, environ, options), Settings)
    except SettingsError as bad:
        assert "\n" not in str(bad)


@given(st.dictionaries(SOME_NAMES, VALUES, max_size=4))
def test_garbage_in_options_is_refused(options: dict[str, object]) -> None:
    """Whatever comes in, nothing but SettingsError goes out."""
    answer(None, {}, options)


VARIABLES = st.sampled_from([f"PINK__{name.replace('.', '__').upper()}" for name in NAMES])
ANY_TEXT = st.text(st.characters(), max_size=40)  # with lone surrogates, as os.environ has them


@given(
    st.dictionaries(
        VARIABLES | TEXTS.map("PINK__".__add__) | TEXTS.map("DITA_V2_".__add__) | TEXTS,
        ANY_TEXT | st.just("env:KEY") | st.just("bingx") | st.just("vst"),
        max_size=5,
    )
)
def test_garbage_in_variables_is_refused(environ: dict[str, str]) -> None:
    """Also under names that are nearly ours."""
    answer(None, environ, {})


LINES = st.builds(
    "{} = {}".format,
    st.sampled_from([name.split(".")[1] for name in NAMES]) | TEXTS,
    VALUES.map(lambda value: json.dumps(value, default=str)) | TEXTS,
)


@given(content=st.binary(max_size=200) | st.lists(LINES, max_size=5).map("\n".join).map(
    lambda text: f"[venue]\n{text}".encode("utf-8", "replace")
))  # fmt: skip
def test_garbage_in_a_file_is_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """Bytes, TOML that is nearly right, and values of every type under every key."""
    path = tmp_path_factory.getbasetemp() / "garbage.toml"
    path.write_bytes(content)
    answer(path, {}, {})


@pytest.mark.parametrize("path", [Path("/none/such"), Path("/"), Path("a\x00b")])
def test_file_that_cannot_be_read_is_refused(path: Path) -> None:
    """With the system's words."""
    assert "settings file" in refused(path)


# -- pink-ctl config show -----------------------------------------------------------------------


def test_show_prints_the_merged_result(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose money first, then each section; on stderr what would stop serve."""
    monkeypatch.setenv("PINK__RUNTIME__TICK_MS", "125")
    path = ROOT / "configs" / "pink-vst.toml"
    shown = cli("config", "show", "--config", str(path))
    assert shown.exit_code == ExitCode.SETTINGS  # its keys are not here
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines() if line.strip()]
    assert lines[0] == "BingX VST: the exchange's test money"
    assert lines[1] == "pink-vst: 4 slots, leverage up to 3, one-way mode"
    assert re.fullmatch("settings_hash [0-9a-f]{64}", lines[2])
    assert "tick_ms 125 PINK__RUNTIME__TICK_MS" in lines
    assert "rest_url https://open-api-vst.bingx.com default" in lines
    assert any(re.fullmatch("error_usdt 20 line [0-9]+", line) for line in lines)
    missing = "api_key file:/etc/pink/vst.key [(]missing[)] line [0-9]+"
    assert any(re.fullmatch(missing, line) for line in lines)
    assert "venue.api_key: file:/etc/pink/vst.key is missing" in shown.stderr
    assert not any("mock_" in line for line in lines)
    # What a terminal of 80 columns has to hold; the last column is the one that may fold.
    widest = max(len(line.rstrip()) for line in shown.stdout.splitlines() if "PINK__" not in line)
    assert widest <= 96


def test_show_for_programs(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Money as text, secrets as references, each value with its origin."""
    for name in ("KEY", "KEY_SECRET"):
        monkeypatch.setenv(name, CANARY)
    path = tmp_path / "pink.toml"
    path.write_text("\n".join(f"{name} = {json.dumps(value)}" for name, value in LIVE.items()))
    shown = cli("config", "show", "--config", str(path), "--json")
    assert shown.exit_code == ExitCode.DONE and shown.stderr == ""
    assert CANARY not in shown.output
    printed: dict[str, Any] = json.loads(shown.stdout)
    assert printed["settings_hash"] == load(path, {}, {}).settings_hash
    assert printed["file"] == str(path)
    settings = printed["settings"]
    assert settings["account"]["warn_usdt"] == {"value": "0.01", "origin": "default"}
    assert settings["venue"]["api_key"] == {
        "value": "env:KEY",
        "origin": f"{path}:3",
        "state": "set",
    }
    text = cli("config", "show", "--config", str(path))
    assert text.stdout.startswith("BingX LIVE: REAL MONEY\n")
    assert "env:KEY (set)" in text.stdout and CANARY not in text.output


def test_show_ends_with_78_and_one_line(cli: Cli, tmp_path: Path) -> None:
    """The same that serve would say."""
    path = tmp_path / "pink.toml"
    path.write_text(f"[venue]\napi_key = '{CANARY}'\n")
    shown = cli("config", "show", "--config", str(path))
    assert shown.exit_code == ExitCode.SETTINGS
    assert shown.stdout == "" and shown.stderr.count("\n") == 1
    assert shown.stderr.startswith(f"pink-ctl: venue.api_key refused ({path}:2): expected")
    assert CANARY not in shown.stderr


def test_group_and_its_command_explain_themselves(cli: Cli) -> None:
    """Alone the group is a usage error with its help; the command has an example and --json."""
    assert cli("config").exit_code == ExitCode.USAGE
    shown = cli("config", "show", "--help")
    assert "pink-ctl config show" in shown.stdout.partition("Example")[2]
    assert "--json" in shown.stdout and max(map(len, shown.stdout.splitlines())) <= 80


# -- WHAT IS SHIPPED ----------------------------------------------------------------------------


def test_page_lists_every_key_with_its_default_and_every_variable() -> None:
    """The runbook is the reference; a key that it does not know is not documented."""
    page = (ROOT / "runbooks" / "config.md").read_text(encoding="utf-8")
    for name, entry in SCHEMA.items():
        section, key = name.split(".")
        table = page.partition(f"### [{section}]")[2].partition("###")[0]
        row = re.search(rf"^\| `{key}` \|(.*?)\|", table, re.MULTILINE)
        assert row, f"{name} is not in the page"
        default = str(as_text(entry.rule, entry.default)).lower()
        assert row[1].replace("`", "").replace("\u202f", "").strip().lower() in (
            default or "none",
            "the environment's" if name.endswith("_url") else default or "none",
        ), f"{name}: the page says {row[1]}, the default is {default}"
    for variable in (*ALIASES, *WITHOUT_MEANING, *SEED_NAMES):
        assert f"`{variable}`" in page


def test_shipped_settings_are_accepted() -> None:
    """Both files; the one for BingX has no key in it and no place that a reboot empties."""
    demo = load(ROOT / "configs" / "demo.toml", {}, {})
    assert demo.settings_hash == load(None, {}, {}).settings_hash
    vst = load(ROOT / "configs" / "pink-vst.toml", {}, {})
    assert vst.venue.environment is VenueEnvironment.VST
    assert not vst.journal.directory.startswith(VOLATILE)


def test_supervisord_file_keeps_its_promises() -> None:
    """Stays down after a decision, restarts after a crash, outlasts a drain, shows no secret."""
    text = (ROOT / "configs" / "supervisord.conf").read_text(encoding="utf-8")
    read = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    read.read_string(text)
    program = read["program:pink"]
    assert read["group:dita"]["programs"] == "pink"
    serves = {code for code in ExitCode if code.meaning.startswith("serve:")}
    down = {0, *(int(code) for code in serves - {ExitCode.UNFORESEEN})}  # that one starts again
    assert {int(code) for code in program["exitcodes"].split(",")} == down
    assert program["autorestart"] == "unexpected" and program["startsecs"] == "5"
    drain = load(ROOT / "configs" / "pink-vst.toml", {}, {}).runtime.drain_limit_s
    assert int(program["stopwaitsecs"]) >= drain + 10
    assert program["stopasgroup"] == "false" and program["killasgroup"] == "true"
    assert read["unix_http_server"]["chmod"] == "0700"
    assert not read.has_section("inet_http_server")
    lines = [line for line in text.splitlines() if not line.startswith(";")]
    assert not any(re.search("/tmp|password|api_?key|secret", line, re.I) for line in lines)
    assert all(line.isascii() for line in text.splitlines())


def test_bingx_rounds_to_four_decimals_and_the_mock_to_eight() -> None:
    bingx = {
        "venue.kind": "bingx", "venue.environment": "vst", "journal.directory": "/var/lib/pink",
        "venue.api_key": "env:A_KEY", "venue.api_secret": "env:A_SECRET",
    }  # fmt: skip
    settings = load(None, {"A_KEY": "k", "A_SECRET": "s"}, bingx)
    assert settings.account_config().wallet_digit == 2 * MONEY_ONE // 10**4
    assert load(None, {}, {}).account_config().wallet_digit == MONEY_ONE // 10**8
