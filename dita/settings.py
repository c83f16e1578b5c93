"""Settings: a TOML file under environment variables under options, as one frozen record.

The runtime and `pink-ctl config show` call `load`; nobody else reads a file or a variable for a
setting.  A key that nothing knows, a value that is out of bounds and two values that contradict
each other are refused (SettingsError, exit 78) with the key, the place it came from and what is
allowed.  It reads no environment but the one it is given and knows nothing of what the settings do.

    kernel.slot_limit    in a file: [kernel] slot_limit = 16
                         as a variable: PINK__KERNEL__SLOT_LIMIT=16

Money is decimal text in the file and an int of 10^-18 in the record; a float is refused.  A secret
is a reference (`env:NAME`, `file:/PATH`) everywhere and is read by `Secret.reveal` alone.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.resources
import json
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, Protocol, get_type_hints
from urllib.parse import urlsplit

import msgspec

from dita.contracts import KernelMode, KernelVerbosity
from dita.errors import SettingsError, UnitError, one_line, shown
from dita.units import MONEY_ONE, format_money, parse_money

if TYPE_CHECKING:
    from dita.account import AccountConfig
    from dita.kernel import KernelConfig

__all__ = [
    "ALIASES",
    "AccountSettings",
    "JournalSettings",
    "KernelSettings",
    "RuntimeSettings",
    "Secret",
    "Setting",
    "Settings",
    "VenueEnvironment",
    "VenueKind",
    "VenueSettings",
    "load",
]

PREFIX: Final = "PINK__"
PACKAGED: Final = "packaged demo.toml"
FILE_BYTES_MAX: Final = 262_144
SECRET_BYTES_MAX: Final = 4_096


class VenueKind(StrEnum):
    """What executes: the mock in this process, the mock behind a socket, or BingX's protocol."""

    MOCK = "mock"
    REMOTE = "remote"
    BINGX = "bingx"


class VenueEnvironment(StrEnum):
    """Whose money it is: nobody's, BingX's test money, or real."""

    MOCK = "mock"
    VST = "vst"
    LIVE = "live"


# -- SECRETS ------------------------------------------------------------------------------------


class Secret:
    """A reference to a secret.  Whatever shows it shows the reference; `reveal` alone reads it.

    It cannot be pickled, and it keeps nothing of what it has read.
    """

    __slots__ = ("_variable", "key", "reference")

    def __init__(self, key: str, reference: str, environ: Mapping[str, str]) -> None:
        self.key = key
        self.reference = reference

        # A closure: the repr of the method environ.get itself would show the whole environment.
        def variable(name: str) -> str | None:
            return environ.get(name)

        self._variable = variable

    def __repr__(self) -> str:
        return f"Secret({self.reference!r})"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.reference == other.reference

    def __hash__(self) -> int:
        return hash(self.reference)

    def __reduce__(self) -> str:
        raise TypeError("a Secret is never stored: store its reference")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def reveal(self) -> str:
        """The secret itself.  SettingsError when it is missing or not kept safely."""
        scheme, _, name = self.reference.partition(":")
        text = self._variable(name) if scheme == "env" else self._read(name)
        if not text:
            raise self._refusal("to be set", "nothing", "set it before starting")
        if len(text) > SECRET_BYTES_MAX or not text.isascii() or not text.isprintable():
            raise self._refusal(
                "one line of printable ASCII", "something else", "write the bare key, nothing else"
            )
        return text

    def state(self) -> str:
        """`set` when `reveal` would succeed; else `missing`, or `refused` when it is unsafe."""
        try:
            self.reveal()
        except SettingsError as bad:
            return "missing" if bad.found == "nothing" else "refused"
        return "set"

    def _read(self, name: str) -> str:
        try:
            # NONBLOCK, so that a pipe in the file's place cannot stop us here for ever.
            number = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except OSError as bad:
            raise self._refusal(
                "a file that we can read", bad.strerror or "an error", "check path and owner"
            ) from None
        try:
            self._check(os.fstat(number))
            content = os.read(number, SECRET_BYTES_MAX + 2)
        finally:
            os.close(number)
        # latin-1 takes any byte; what is not ASCII is refused above without being shown.
        return content.decode("latin-1").removesuffix("\n").removesuffix("\r")

    def check_file(self) -> None:
        """Refuse a file that others could have read, before anything is started; not opened."""
        scheme, _, name = self.reference.partition(":")
        if scheme == "file":
            try:
                found = os.stat(name)
            except OSError:
                return  # missing: `reveal` will say so, and `config show` does
            self._check(found)

    def _check(self, found: os.stat_result) -> None:
        mode = stat.S_IMODE(found.st_mode)
        if not stat.S_ISREG(found.st_mode):
            raise self._refusal("a regular file", stat.filemode(found.st_mode), "name the file")
        if found.st_uid != os.geteuid():
            raise self._refusal(
                f"a file owned by uid {os.geteuid()}, which runs this",
                f"uid {found.st_uid}",
                "chown it to the user that runs pink-ctl",
            )
        if mode & ~0o600:
            raise self._refusal(
                "mode 0600", f"mode {mode:04o}", "chmod 600 it; if others read it, make a new key"
            )

    def _refusal(self, expected: str, found: str, action: str) -> SettingsError:
        return SettingsError(
            f"{self.key} refused ({self.reference})", expected=expected, found=found, action=action
        )


# -- RULES --------------------------------------------------------------------------------------


class _Bad(ValueError):
    """A value breaks its rule.  `hide` keeps the value itself out of the message."""

    def __init__(self, reason: str = "", *, hide: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hide = hide


class Rule(Protocol):
    """What a key takes.  `textual`: it comes from a variable or option, where all is text."""

    @property
    def allowed(self) -> str: ...
    def read(self, value: object, *, textual: bool) -> Any: ...


class _Whole(NamedTuple):
    least: int
    most: int

    @property
    def allowed(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def read(self, value: object, *, textual: bool) -> int:
        if textual and type(value) is str and re.fullmatch(r"[+-]?[0-9]{1,19}", value):
            value = int(value)
        if type(value) is not int:
            raise _Bad(f"{type(value).__name__} instead of int")
        if not self.least <= value <= self.most:
            raise _Bad("out of range")
        return value


class _Flag(NamedTuple):
    allowed: str = "true or false"

    def read(self, value: object, *, textual: bool) -> bool:
        if textual and type(value) is str:
            value = {"true": True, "1": True, "false": False, "0": False}.get(value.lower())
        if type(value) is not bool:
            raise _Bad
        return value


class _Choice(NamedTuple):
    options: type[Enum]

    @property
    def allowed(self) -> str:
        return "one of " + ", ".join(map(_name_of, self.options))

    def read(self, value: object, *, textual: bool) -> Enum:
        if isinstance(value, self.options):
            return value
        for option in self.options:
            if type(value) is str and value.lower() == _name_of(option).lower():
                return option
        raise _Bad


class _Money(NamedTuple):
    least: int
    most: int

    @property
    def allowed(self) -> str:
        least, most = format_money(self.least), format_money(self.most)
        return f'decimal text from "{least}" to "{most}"'

    def read(self, value: object, *, textual: bool) -> int:
        if type(value) is float:
            raise _Bad("a float is not exact: put it in quotes")
        try:
            amount = parse_money(value)  # type: ignore[arg-type]  # refuses any other type itself
        except UnitError as bad:
            reason = "too many decimals" if "too many decimals" in bad.found else "not an amount"
            raise _Bad(reason) from None
        if not self.least <= amount <= self.most:
            raise _Bad("out of range")
        return amount


class _Text(NamedTuple):
    pattern: str
    allowed: str

    def read(self, value: object, *, textual: bool) -> str:
        if type(value) is not str or not re.fullmatch(self.pattern, value):
            raise _Bad
        return value


class _Place(NamedTuple):
    allowed: str = "a path, written out (~ is not expanded)"

    def read(self, value: object, *, textual: bool) -> str:
        if type(value) is not str or not value or len(value) > 1024 or value.startswith("~"):
            raise _Bad
        if not value.isprintable() or value != value.strip():
            raise _Bad("blanks at an end, or characters that cannot be printed")
        return value


class _Address(NamedTuple):
    schemes: tuple[str, ...]

    @property
    def allowed(self) -> str:
        return " or ".join(f"{each}://HOST" for each in self.schemes) + ", without ?, # and @"

    def read(self, value: object, *, textual: bool) -> str:
        if type(value) is not str or not re.fullmatch(r"[!-~]{1,200}", value) or "\\" in value:
            raise _Bad
        if any(mark in value for mark in "@?#"):
            raise _Bad("it may carry a password, so it is not shown", hide=True)
        try:
            parts = urlsplit(value)
            good = parts.scheme in self.schemes and parts.hostname and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise _Bad
        return value.rstrip("/")


class _Reference(NamedTuple):
    allowed: str = "a reference, env:NAME or file:/PATH, never the secret itself"

    def read(self, value: object, *, textual: bool) -> str:
        text = value if type(value) is str else ""
        variable = re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]{0,127}", text)
        file = re.fullmatch(r"file:/.{1,1024}", text)
        if not (variable or file) or not text.isprintable():
            raise _Bad("something else; it is not shown", hide=True)
        return text


def _name_of(option: Enum) -> str:
    return option.name if isinstance(option, IntEnum) else str(option.value)


# -- SECTIONS -----------------------------------------------------------------------------------

_AMOUNT_MAX: Final = 1_000_000 * MONEY_ONE


class _Section(msgspec.Struct, frozen=True, kw_only=True):
    """One table of the file.  Each field's annotation is its type and its rule."""


class VenueSettings(_Section, frozen=True, kw_only=True):
    """Where orders go."""

    kind: Annotated[VenueKind, _Choice(VenueKind)] = VenueKind.MOCK
    environment: Annotated[VenueEnvironment, _Choice(VenueEnvironment)] = VenueEnvironment.MOCK
    #: Real money needs this on purpose, beside environment = live.
    allow_live: Annotated[bool, _Flag()] = False
    #: Empty until `load` fills in the exchange's own for the environment.
    rest_url: Annotated[str, _Address(("https", "http"))] = ""
    stream_url: Annotated[str, _Address(("wss", "ws"))] = ""
    api_key: Annotated[Secret | None, _Reference()] = None
    api_secret: Annotated[Secret | None, _Reference()] = None
    #: How long after a request's validity an order is called absent at the earliest.
    absence_fence_s: Annotated[int, _Whole(1, 600)] = 15
    recv_window_ms: Annotated[int, _Whole(500, 60_000)] = 5_000
    mock_seed: Annotated[int, _Whole(0, 2**63 - 1)] = 1
    #: The packaged tape of that name, or a file when there is a slash in it.
    mock_tape: Annotated[str, _Place()] = "demo"
    mock_socket: Annotated[str, _Place()] = ""


class KernelSettings(_Section, frozen=True, kw_only=True):
    """What the kernel is made with."""

    #: Goes into every client order id and every name that is shared on a machine.
    namespace: Annotated[
        str, _Text("[a-z][a-z0-9_-]{0,23}", "a to z, 0 to 9, _ and -, at most 24, a letter first")
    ] = "pink"
    slot_limit: Annotated[int, _Whole(1, 4_096)] = 16
    hedge: Annotated[bool, _Flag()] = False
    leverage_cap: Annotated[int, _Whole(1, 125)] = 3
    #: No entry when the last good balance is older.
    balance_max_age_s: Annotated[int, _Whole(1, 3_600)] = 60


class AccountSettings(_Section, frozen=True, kw_only=True):
    """Limits of the difference between the exchange's wallet and our sums; 10^-18 in here."""

    warn_usdt: Annotated[int, _Money(0, _AMOUNT_MAX)] = MONEY_ONE // 100
    #: Entries freeze when so much is unexplained.
    error_usdt: Annotated[int, _Money(MONEY_ONE // 100, _AMOUNT_MAX)] = 20 * MONEY_ONE
    #: The exchange's figure of an order may differ from ours by so much, or by 1 %.
    figure_tolerance_usdt: Annotated[int, _Money(0, 9 * MONEY_ONE)] = MONEY_ONE // 100


class RuntimeSettings(_Section, frozen=True, kw_only=True):
    """The loop: its pace, its cadences and how it starts and ends."""

    mode: Annotated[KernelMode, _Choice(KernelMode)] = KernelMode.NORMAL
    verbosity: Annotated[KernelVerbosity, _Choice(KernelVerbosity)] = KernelVerbosity.VERBOSE
    tick_ms: Annotated[int, _Whole(10, 10_000)] = 250
    #: supervisord's stopwaitsecs has to be longer.
    drain_limit_s: Annotated[int, _Whole(1, 300)] = 20
    #: So many crashes in that time, and the next start is in HOLD.
    crash_budget: Annotated[int, _Whole(1, 100)] = 3
    crash_window_s: Annotated[int, _Whole(10, 86_400)] = 600
    #: Off means: compare, and HOLD on a difference.  It never means skip.
    reconcile_on_restart: Annotated[bool, _Flag()] = True
    in_flight_check_s: Annotated[int, _Whole(1, 60)] = 2
    open_orders_check_s: Annotated[int, _Whole(1, 300)] = 5
    positions_check_s: Annotated[int, _Whole(1, 600)] = 30
    income_check_s: Annotated[int, _Whole(1, 3_600)] = 60
    balance_check_s: Annotated[int, _Whole(1, 3_600)] = 30


class JournalSettings(_Section, frozen=True, kw_only=True):
    """The log that everything else is a function of."""

    #: As written; a relative one starts at the working directory.
    directory: Annotated[str, _Place()] = "pink-journal"
    segment_bytes: Annotated[int, _Whole(65_536, 2**30)] = 64 * 2**20
    #: Kept free for exits when the disk fills up.
    reserve_bytes: Annotated[int, _Whole(65_536, 2**34)] = 128 * 2**20
    #: In records.
    snapshot_every: Annotated[int, _Whole(1, 10_000_000)] = 10_000


# In the order in which they are shown: what decides about money first.
_SECTIONS: Final[dict[str, type[_Section]]] = {
    "venue": VenueSettings,
    "kernel": KernelSettings,
    "account": AccountSettings,
    "runtime": RuntimeSettings,
    "journal": JournalSettings,
}


class _Entry(NamedTuple):
    rule: Rule
    default: Any


def _entries() -> Iterator[tuple[str, _Entry]]:
    for section, record in _SECTIONS.items():
        hints = get_type_hints(record, include_extras=True)
        defaults = record()
        for key in record.__struct_fields__:
            yield f"{section}.{key}", _Entry(hints[key].__metadata__[0], getattr(defaults, key))


_SCHEMA: Final[dict[str, _Entry]] = dict(_entries())

_ONLY_BINGX: Final = ("allow_live", "rest_url", "stream_url", "api_key", "api_secret")
#: Keys that only one kind of venue reads.  Given for another they are refused, not ignored.
_KIND_OF: Final = {
    **{f"venue.{key}": VenueKind.BINGX for key in _ONLY_BINGX},
    "venue.mock_seed": VenueKind.MOCK,
    "venue.mock_tape": VenueKind.MOCK,
    "venue.mock_socket": VenueKind.REMOTE,
}


class Setting(NamedTuple):
    """One value as it is shown.  `state` is that of a secret: set, missing or refused; else ""."""

    section: str
    key: str
    value: str | int | bool
    origin: str
    state: str = ""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a run is configured with; made by `load`.

    `file` is the file it was read from, and `origins` says of each section.key where its value came
    from: `FILE:LINE`, a variable, `option` or `default`.
    """

    venue: VenueSettings
    kernel: KernelSettings
    account: AccountSettings
    runtime: RuntimeSettings
    journal: JournalSettings
    file: str
    origins: Mapping[str, str]

    def shown(self) -> Iterator[Setting]:
        """Every value that has an effect, without secrets."""
        for name, value in self._effective():
            section, _, key = name.partition(".")
            secret = getattr(getattr(self, section), key)
            state = secret.state() if isinstance(secret, Secret) else ""
            yield Setting(section, key, value, self.origins[name], state)

    @property
    def settings_hash(self) -> str:
        """SHA-256 over every value that has an effect; of secrets only the reference is in it."""
        form = json.dumps(dict(self._effective()), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(b"pink-settings-1\n" + form.encode()).hexdigest()

    def kernel_config(self, *, epoch: int) -> KernelConfig:
        """What the kernel is made with; the epoch is the journal's."""
        from dita.kernel import KernelConfig

        return KernelConfig(
            slot_limit=self.kernel.slot_limit,
            hedge=self.kernel.hedge,
            leverage_cap=self.kernel.leverage_cap,
            namespace=self.kernel.namespace,
            epoch=epoch,
            balance_max_age_ms=1_000 * self.kernel.balance_max_age_s,
            figure_tolerance=self.account.figure_tolerance_usdt,
        )

    def account_config(self) -> AccountConfig:
        """What the account's projection is made with."""
        from dita.account import AccountConfig

        return AccountConfig(warn=self.account.warn_usdt, error=self.account.error_usdt)

    def _effective(self) -> Iterator[tuple[str, str | int | bool]]:
        for name, entry in _SCHEMA.items():
            if _KIND_OF.get(name, self.venue.kind) is self.venue.kind:
                section, _, key = name.partition(".")
                yield name, _as_text(entry.rule, getattr(getattr(self, section), key))


def _as_text(rule: Rule, value: Any) -> str | int | bool:
    """A value as it would be written in a file."""
    if isinstance(rule, _Money):
        return format_money(value)
    if isinstance(value, Secret):
        return value.reference
    if isinstance(value, Enum):
        return _name_of(value)
    return "" if value is None else value


# -- LOADING ------------------------------------------------------------------------------------

#: Variables of the original system that mean the same here.
ALIASES: Final = {
    "DITA_V2_MODE": "runtime.mode",
    "DITA_V2_VERBOSITY": "runtime.verbosity",
    "DITA_V2_VENUE": "venue.kind",
}
_NOT_YET: Final = "there is no setting for it in this version; unset it"
#: And those that would be believed to have an effect.
_WITHOUT_MEANING: Final = {
    "DITA_V2_ZINC": _NOT_YET,
    "DITA_V2_CONTROL_PLANE": _NOT_YET,
    "DITA_V2_HAZELCAST": _NOT_YET,
    "DITA_V2_LAUNCHER_MODE": "unset it; what runs is the command that is typed, pink-ctl serve",
}
#: Names of the original system's control plane, and what they are called here.
_SEED_NAMES: Final = {
    "active_slot_limit": "it is kernel.slot_limit here",
    "reconcile_on_restart": "it is runtime.reconcile_on_restart here",
    "trace_transitions": 'it is runtime.verbosity = "TRACE" here',
    "debug_clickhouse_enabled": _NOT_YET,
    "mirror_to_hazelcast": _NOT_YET,
}


class _Given(NamedTuple):
    value: Any
    origin: str
    packaged: bool = False


_Layer = dict[str, _Given]


def load(
    path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object]
) -> Settings:
    """Merge file, environment and options, the later over the earlier.  SettingsError.

    Without a path the packaged demo.toml is the file.  `overrides` is from `section.key` to a value
    or its text; None stands for an option that was not given.
    """
    given = _from_file(path) | _from_environ(environ) | _from_options(overrides)
    kind = given["venue.kind"].value if "venue.kind" in given else VenueKind.MOCK
    for name, only in _KIND_OF.items():
        if name in given and only is not kind:
            if not given[name].packaged:
                raise _refusal(
                    name,
                    given[name].origin,
                    f"to be left out with venue.kind {kind}: only {only} reads it",
                    "a value",
                    f"remove it, or set venue.kind to {only}",
                )
            del given[name]
    values = {name: entry.default for name, entry in _SCHEMA.items()}
    values |= {name: each.value for name, each in given.items()}
    origins = dict.fromkeys(_SCHEMA, "default")
    origins |= {name: each.origin for name, each in given.items()}
    _fill_addresses(values)
    for name in ("venue.api_key", "venue.api_secret"):
        if values[name] is not None:
            values[name] = Secret(name, values[name], environ)
    settings = _built(values, PACKAGED if path is None else one_line(str(path)), origins)
    for check in _CHECKS:
        check(settings)
    return settings


def _built(values: Mapping[str, Any], file: str, origins: Mapping[str, str]) -> Settings:
    parts: dict[str, Any] = {}
    for section, record in _SECTIONS.items():
        parts[section] = record(
            **{key: values[f"{section}.{key}"] for key in record.__struct_fields__}
        )
    return Settings(**parts, file=file, origins=MappingProxyType(dict(origins)))


def _fill_addresses(values: dict[str, Any]) -> None:
    """The exchange's own addresses, where none are given."""
    hosts = _HOSTS.get(values["venue.environment"])
    if hosts and values["venue.kind"] is VenueKind.BINGX:
        values["venue.rest_url"] = values["venue.rest_url"] or f"https://{hosts.rest[0]}"
        stream = f"wss://{hosts.stream[0]}{STREAM_PATH}"
        values["venue.stream_url"] = values["venue.stream_url"] or stream


def _taken(name: str, value: object, origin: str, *, textual: bool) -> _Given:
    """Read one value by its rule, or refuse it."""
    entry = _SCHEMA[name]
    try:
        return _Given(entry.rule.read(value, textual=textual), origin)
    except _Bad as bad:
        found = bad.reason
        if not bad.hide:
            found = shown(value) + (f" ({bad.reason})" if bad.reason else "")
    default = _as_text(entry.rule, entry.default)
    action = f"correct it, or leave it out for the default, {default}"
    if default == "":
        action = "correct it"
    raise _refusal(name, origin, entry.rule.allowed, found, action)


def _refusal(name: str, origin: str, expected: str, found: str, action: str) -> SettingsError:
    return SettingsError(
        f"{name} refused ({origin})", expected=expected, found=found, action=action
    )


def _nearest(key: str, names: list[str]) -> str:
    """The name among some whose key is most like this one; "" when none is."""
    keys = {name.rpartition(".")[2]: name for name in names}
    # Cut before comparing: the time that takes grows with the square of the length.
    near = difflib.get_close_matches(key[:64].lower(), keys, n=1)
    return keys[near[0]] if near else ""


def _unknown(name: str, origin: str, written: Callable[[str], str] = str) -> SettingsError:
    """An unknown key and the nearest one.  Its value is not shown: it may be a misspelt secret."""
    section, _, key = name.rpartition(".")
    own = [known for known in _SCHEMA if known.startswith(f"{section}.")]
    near = _nearest(key, own) or _nearest(key, list(_SCHEMA))
    if key in _SEED_NAMES:
        action = _SEED_NAMES[key]
    elif near:
        action = f"did you mean {written(near)}?"
    else:
        action = "remove it"
    return SettingsError(
        f"unknown key {shown(written(name))} ({origin})",
        expected="a key that `pink-ctl config show` lists",
        action=action,
    )


# -- the file -----------------------------------------------------------------------------------


def _from_file(path: Path | None) -> _Layer:
    if path is None:
        text = (importlib.resources.files("dita.configs") / "demo.toml").read_text("utf-8")
        label = PACKAGED
    else:
        text, label = _text_of(path), one_line(str(path))
    layer: _Layer = {}
    lines = _lines(text)
    for section, table in _document(text, label).items():
        header = _origin(label, lines, section)
        if section not in _SECTIONS:
            raise _unknown_section(section, header)
        if type(table) is not dict:
            raise _refusal(section, header, f"a table, [{section}]", type(table).__name__, "")
        for key, value in table.items():
            name = f"{section}.{key}"
            origin = _origin(label, lines, name, section)
            if name not in _SCHEMA:
                raise _unknown(name, origin)
            given = _taken(name, value, origin, textual=False)
            layer[name] = given._replace(packaged=path is None)
    return layer


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        if len(content) <= FILE_BYTES_MAX:
            return content.decode("utf-8")
        found = f"more than {FILE_BYTES_MAX} bytes"
    except UnicodeDecodeError:
        found = "bytes that are not UTF-8"
    except (OSError, ValueError) as bad:  # ValueError: a NUL in the path
        found = str(getattr(bad, "strerror", None) or bad)
    raise _unreadable(shown(str(path)), found)


def _unreadable(label: str, found: str) -> SettingsError:
    return SettingsError(
        f"settings file {label} refused",
        expected="a TOML file",
        found=found,
        action="correct it, or name another file with --config",
    )


def _document(text: str, label: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        found = "values nested too deeply"
    except ValueError as bad:  # also that of int(), for a number with thousands of digits
        # tomllib's words name the place and quote single characters, never a value.
        found = str(bad) if isinstance(bad, tomllib.TOMLDecodeError) else "a number too long"
    raise _unreadable(label, found)


def _unknown_section(section: str, origin: str) -> SettingsError:
    near = difflib.get_close_matches(section[:64].lower(), _SECTIONS, n=1)
    known = [name for name in _SCHEMA if name.endswith(f".{section}")]
    action = f"did you mean [{near[0]}]?" if near else "remove it"
    if known:
        action = f"did you mean {known[0]}? It belongs under [{known[0].partition('.')[0]}]"
    return SettingsError(
        f"unknown section {shown(section)} ({origin})",
        expected="one of " + ", ".join(_SECTIONS),
        action=_SEED_NAMES.get(section, action),
    )


_HEADER: Final = re.compile(r"\s*\[\s*([\w-]+)\s*\]", re.ASCII)
_ASSIGNED: Final = re.compile(r"\s*([\w-]+(?:\s*\.\s*[\w-]+)?)\s*=", re.ASCII)


def _lines(text: str) -> dict[str, int]:
    """Where sections and keys are written, as tomllib does not say; for messages only."""
    lines: dict[str, int] = {}
    if '"""' in text or "'''" in text:
        return lines  # a long text may look like anything: better no line than a wrong one
    section = ""
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            section = header[1]
            lines.setdefault(section, number)
        elif assigned := _ASSIGNED.match(line):
            key = re.sub(r"\s", "", assigned[1])
            lines.setdefault(f"{section}.{key}" if section else key, number)
    return lines


def _origin(label: str, lines: Mapping[str, int], *names: str) -> str:
    for name in names:
        if name in lines:
            return f"{label}:{lines[name]}"
    return label


# -- the environment and options ----------------------------------------------------------------


def _variable(name: str) -> str:
    return PREFIX + name.replace(".", "__").upper()


def _collapsed(variable: str) -> str:
    return re.sub("_+", "_", variable).upper()


# What PINK__KERNEL__HEDGE looks like after a slip (PINK_KERNEL_HEDGE).  Not those of secrets: that
# may well be the variable which `env:` refers to.
_SLIPS: Final = {
    _collapsed(_variable(name)): _variable(name)
    for name, entry in _SCHEMA.items()
    if not isinstance(entry.rule, _Reference)
}


def _from_environ(environ: Mapping[str, str]) -> _Layer:
    layer: _Layer = {}
    for variable in sorted(environ):
        if variable.startswith(PREFIX):
            section, _, key = variable.removeprefix(PREFIX).partition("__")
            name = f"{section}.{key}".lower()
            if name not in _SCHEMA or variable != _variable(name):
                raise _unknown(name, shown(variable), _variable)
        elif variable.startswith("DITA_V2_"):
            name = _alias(variable)
        elif _collapsed(variable) in _SLIPS:
            raise SettingsError(
                f"variable {shown(variable)} refused",
                expected=_SLIPS[_collapsed(variable)],
                action="write it so, or unset it",
            )
        else:
            continue
        given = _taken(name, environ[variable], variable, textual=True)
        if name in layer and layer[name].value != given.value:
            raise _refusal(
                name,
                f"{layer[name].origin} and {variable}",
                "one value",
                "two that differ",
                f"unset {layer[name].origin}",
            )
        layer[name] = given
    return layer


def _alias(variable: str) -> str:
    if variable in ALIASES:
        return ALIASES[variable]
    names = {alias.removeprefix("DITA_V2_"): alias for alias in ALIASES}
    near = difflib.get_close_matches(variable.removeprefix("DITA_V2_")[:64], names, n=1)
    action = f"did you mean {names[near[0]]}?" if near else "unset it"
    raise SettingsError(
        f"variable {shown(variable)} refused",
        expected="one of " + ", ".join(ALIASES),
        action=_WITHOUT_MEANING.get(variable, action),
    )


def _from_options(overrides: Mapping[str, object]) -> _Layer:
    layer: _Layer = {}
    for name, value in overrides.items():
        if name not in _SCHEMA:
            raise _unknown(name, "option")
        if value is not None:
            layer[name] = _taken(name, value, "option", textual=True)
    return layer


# -- WHAT MUST AGREE ----------------------------------------------------------------------------

STREAM_PATH: Final = "/swap-market"
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
VOLATILE: Final = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/var/run")


class _Hosts(NamedTuple):
    rest: tuple[str, ...]
    stream: tuple[str, ...]


#: The first is the default.  Keys are sent to no other host.
_HOSTS: Final = {
    VenueEnvironment.VST: _Hosts(
        ("open-api-vst.bingx.com", "open-api-vst.bingx.pro"), ("vst-open-api-ws.bingx.com",)
    ),
    VenueEnvironment.LIVE: _Hosts(
        ("open-api.bingx.com", "open-api.bingx.pro"), ("open-api-swap.bingx.com",)
    ),
}


def _demand(settings: Settings, name: str, holds: bool, expected: str, action: str) -> None:
    """Refuse the value of one key because of another's."""
    if holds:
        return
    section, _, key = name.partition(".")
    value = _as_text(_SCHEMA[name].rule, getattr(getattr(settings, section), key))
    found = shown(value) if value != "" else "nothing"
    raise _refusal(name, settings.origins[name], expected, found, action)


def _check_environment(settings: Settings) -> None:
    kind, environment = settings.venue.kind, settings.venue.environment
    money = kind is VenueKind.BINGX
    right = "vst or live" if money else "mock"
    _demand(
        settings,
        "venue.environment",
        money != (environment is VenueEnvironment.MOCK),
        f"{right} with venue.kind {kind}",
        "say whose money it is, or set venue.kind to what was meant",
    )
    live = environment is VenueEnvironment.LIVE
    allowed = settings.venue.allow_live
    _demand(
        settings,
        "venue.allow_live",
        allowed or not live,
        "true with venue.environment live: orders there are real money",
        "set it to true on purpose, or set venue.environment to vst",
    )
    _demand(
        settings,
        "venue.allow_live",
        live or not allowed,
        f"false with venue.environment {environment}",
        "remove it: left behind, it would allow live by one word",
    )


def _check_presence(settings: Settings) -> None:
    venue = settings.venue
    _demand(
        settings,
        "venue.mock_socket",
        venue.kind is not VenueKind.REMOTE or bool(venue.mock_socket),
        "a path with venue.kind remote",
        "name the socket of the mock",
    )
    if venue.kind is not VenueKind.BINGX:
        return
    for name, secret in (("venue.api_key", venue.api_key), ("venue.api_secret", venue.api_secret)):
        _demand(
            settings,
            name,
            secret is not None,
            "env:NAME or file:/PATH with venue.kind bingx",
            "say where it is, for example file:/etc/pink/vst.key",
        )
        if secret is not None:
            secret.check_file()
    _demand(
        settings,
        "venue.api_secret",
        venue.api_key != venue.api_secret,
        "another place than that of venue.api_key",
        "correct the one that is wrong",
    )


def _check_addresses(settings: Settings) -> None:
    venue = settings.venue
    if venue.kind is not VenueKind.BINGX:
        return
    hosts = _HOSTS[venue.environment]
    _check_address(settings, "venue.rest_url", venue.rest_url, "https", hosts.rest, "")
    _check_address(settings, "venue.stream_url", venue.stream_url, "wss", hosts.stream, STREAM_PATH)
    rest, stream = (_is_here(url) for url in (venue.rest_url, venue.stream_url))
    _demand(
        settings,
        "venue.stream_url",
        rest == stream,
        "both addresses on this machine or both at the exchange",
        "set venue.rest_url and venue.stream_url together",
    )


def _is_here(url: str) -> bool:
    return urlsplit(url).hostname in LOOPBACK


def _check_address(
    settings: Settings, name: str, url: str, scheme: str, hosts: tuple[str, ...], path: str
) -> None:
    environment = settings.venue.environment
    allowed = tuple(f"{scheme}://{host}{path}" for host in hosts)
    test = environment is VenueEnvironment.VST
    _demand(
        settings,
        name,
        url.lower() in allowed or (test and _is_here(url)),
        f"{' or '.join(allowed)} with venue.environment {environment}"
        + (", or this machine (a local exchange)" if test else ""),
        "leave it out for the exchange's own address, or correct venue.environment",
    )


def _check_limits(settings: Settings) -> None:
    account, oldest_s = settings.account, settings.kernel.balance_max_age_s
    _demand(
        settings,
        "account.warn_usdt",
        account.warn_usdt <= account.error_usdt,
        f"at most account.error_usdt, {format_money(account.error_usdt)}",
        "lower it: a warning comes before the error",
    )
    _demand(
        settings,
        "runtime.balance_check_s",
        settings.runtime.balance_check_s < oldest_s,
        f"below kernel.balance_max_age_s, {oldest_s}",
        "ask more often: entries would be refused between two balances",
    )


def _check_journal(settings: Settings) -> None:
    place = os.path.normpath(settings.journal.directory)
    _demand(
        settings,
        "journal.directory",
        settings.venue.kind is not VenueKind.BINGX or os.path.isabs(place),
        "an absolute path with venue.kind bingx",
        "write it from / on: started elsewhere, serve would not find its own orders",
    )
    lost = any(place == each or place.startswith(f"{each}/") for each in VOLATILE)
    _demand(
        settings,
        "journal.directory",
        settings.venue.environment is not VenueEnvironment.LIVE or not lost,
        "a path that outlives a reboot",
        "move it, for example to /var/lib/pink",
    )


_CHECKS: Final = (
    _check_environment,
    _check_presence,
    _check_addresses,
    _check_limits,
    _check_journal,
)
