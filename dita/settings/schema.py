"""Every section and key with its rule and default, and the record that holds them all.

The runtime and commands read `Settings`; the other modules of the package read `SCHEMA`.  It must
not know files, variables or options, nor what the settings do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, get_type_hints

import msgspec

from dita.contracts import KernelMode, KernelVerbosity
from dita.settings.rules import (
    Address,
    Choice,
    Flag,
    Money,
    Place,
    Reference,
    Rule,
    Text,
    Whole,
    name_of,
)
from dita.settings.secret import Secret
from dita.units import MONEY_ONE, format_money

if TYPE_CHECKING:
    from dita.account import AccountConfig
    from dita.kernel import KernelConfig


#: What the packaged file is called where a file is named.
PACKAGED: Final = "packaged demo.toml"


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


class LogFormat(StrEnum):
    """How a line of the log looks: for people, or one JSON object for programs."""

    TEXT = "text"
    JSON = "json"


_OR_NONE: Final = Place("an absolute path, or nothing", absolute_or_empty=True)
_AMOUNT_MAX: Final = 1_000_000 * MONEY_ONE


class _Section(msgspec.Struct, frozen=True, kw_only=True):
    """One table of the file.  Each field's annotation is its type and its rule."""


class VenueSettings(_Section, frozen=True, kw_only=True):
    """Where orders go."""

    kind: Annotated[VenueKind, Choice(VenueKind)] = VenueKind.MOCK
    environment: Annotated[VenueEnvironment, Choice(VenueEnvironment)] = VenueEnvironment.MOCK
    #: Real money needs this on purpose, beside environment = live.
    allow_live: Annotated[bool, Flag()] = False
    #: Empty until `load` fills in the exchange's own for the environment.
    rest_url: Annotated[str, Address(("https", "http"))] = ""
    stream_url: Annotated[str, Address(("wss", "ws"))] = ""
    api_key: Annotated[Secret | None, Reference()] = None
    api_secret: Annotated[Secret | None, Reference()] = None
    #: A PEM file with the certificates that REST and stream trust; empty for certifi's.
    trust_store: Annotated[str, _OR_NONE] = ""
    #: How long after a request's validity an order is called absent at the earliest.
    absence_fence_s: Annotated[int, Whole(1, 600)] = 15
    recv_window_ms: Annotated[int, Whole(500, 60_000)] = 5_000
    mock_seed: Annotated[int, Whole(0, 2**63 - 1)] = 1
    #: The packaged tape of that name, or a file when there is a slash in it.
    mock_tape: Annotated[str, Place()] = "twenty-minutes"
    mock_socket: Annotated[str, Place()] = ""


class KernelSettings(_Section, frozen=True, kw_only=True):
    """What the kernel is made with."""

    #: Goes into every client order id and every name that is shared on a machine.
    namespace: Annotated[
        str, Text("[a-z][a-z0-9_-]{0,23}", "a to z, 0 to 9, _ and -, at most 24, a letter first")
    ] = "pink"
    slot_limit: Annotated[int, Whole(1, 4_096)] = 16
    hedge: Annotated[bool, Flag()] = False
    leverage_cap: Annotated[int, Whole(1, 125)] = 3
    #: No entry when the last good balance is older.
    balance_max_age_s: Annotated[int, Whole(1, 3_600)] = 60


class AccountSettings(_Section, frozen=True, kw_only=True):
    """Limits of the difference between the exchange's wallet and our sums; 10^-18 in here."""

    warn_usdt: Annotated[int, Money(0, _AMOUNT_MAX)] = MONEY_ONE // 100
    #: Entries freeze when so much is unexplained.
    error_usdt: Annotated[int, Money(MONEY_ONE // 100, _AMOUNT_MAX)] = 20 * MONEY_ONE
    #: The exchange's figure of an order may differ from ours by so much, or by 1 %.
    figure_tolerance_usdt: Annotated[int, Money(0, 9 * MONEY_ONE)] = MONEY_ONE // 100


class RuntimeSettings(_Section, frozen=True, kw_only=True):
    """The loop: its pace, its cadences and how it starts and ends."""

    mode: Annotated[KernelMode, Choice(KernelMode)] = KernelMode.NORMAL
    verbosity: Annotated[KernelVerbosity, Choice(KernelVerbosity)] = KernelVerbosity.VERBOSE
    tick_ms: Annotated[int, Whole(10, 10_000)] = 250
    #: supervisord's stopwaitsecs has to be longer.
    drain_limit_s: Annotated[int, Whole(1, 300)] = 20
    #: So many crashes in that time, and the next start is in HOLD.
    crash_budget: Annotated[int, Whole(1, 100)] = 3
    crash_window_s: Annotated[int, Whole(10, 86_400)] = 600
    #: Off means: compare, and HOLD on a difference.  It never means skip.
    reconcile_on_restart: Annotated[bool, Flag()] = True
    in_flight_check_s: Annotated[int, Whole(1, 60)] = 2
    open_orders_check_s: Annotated[int, Whole(1, 300)] = 5
    positions_check_s: Annotated[int, Whole(1, 600)] = 30
    income_check_s: Annotated[int, Whole(1, 3_600)] = 60
    balance_check_s: Annotated[int, Whole(1, 3_600)] = 30


class LimitSettings(_Section, frozen=True, kw_only=True):
    """What entries may risk; 0 is no limit.  Exits are never limited."""

    order_notional_usdt: Annotated[int, Money(0, _AMOUNT_MAX)] = 0
    symbol_notional_usdt: Annotated[int, Money(0, _AMOUNT_MAX)] = 0
    total_notional_usdt: Annotated[int, Money(0, _AMOUNT_MAX)] = 0
    positions: Annotated[int, Whole(0, 4_096)] = 0
    entries_per_minute: Annotated[int, Whole(0, 256)] = 0
    #: Of a day in UTC, realized with fees and funding; reaching it holds until somebody resumes.
    day_loss_usdt: Annotated[int, Money(0, _AMOUNT_MAX)] = 0


class JournalSettings(_Section, frozen=True, kw_only=True):
    """The log that everything else is a function of."""

    #: As written; a relative one starts at the working directory.
    directory: Annotated[str, Place()] = "pink-journal"
    segment_bytes: Annotated[int, Whole(65_536, 2**30)] = 64 * 2**20
    #: Kept free for exits when the disk fills up.
    reserve_bytes: Annotated[int, Whole(65_536, 2**34)] = 128 * 2**20
    #: In records.
    snapshot_every: Annotated[int, Whole(1, 10_000_000)] = 10_000
    #: How long closed epochs stay here; `journal archive` moves older ones.
    closed_epochs_days: Annotated[int, Whole(0, 36_500)] = 30


class LogSettings(_Section, frozen=True, kw_only=True):
    """Where serve says what happens."""

    #: Empty: stderr.
    file: Annotated[str, _OR_NONE] = ""
    format: Annotated[LogFormat, Choice(LogFormat)] = LogFormat.TEXT
    #: Of the file: it rolls over at that size, and so many old ones are kept.
    max_bytes: Annotated[int, Whole(65_536, 2**34)] = 50 * 2**20
    keep: Annotated[int, Whole(1, 1_000)] = 10


class AlertSettings(_Section, frozen=True, kw_only=True):
    """Who is called when a person must know."""

    #: An executable that gets one line on its standard input; empty: nobody is called.
    command: Annotated[str, _OR_NONE] = ""
    #: The same is not told again within this time.
    throttle_s: Annotated[int, Whole(1, 86_400)] = 600


# In the order in which they are shown: what decides about money first.
SECTIONS: Final[dict[str, type[_Section]]] = {
    "venue": VenueSettings,
    "kernel": KernelSettings,
    "account": AccountSettings,
    "runtime": RuntimeSettings,
    "limits": LimitSettings,
    "journal": JournalSettings,
    "log": LogSettings,
    "alerts": AlertSettings,
}


class _Entry(NamedTuple):
    rule: Rule
    default: Any


def _entries() -> Iterator[tuple[str, _Entry]]:
    for section, record in SECTIONS.items():
        hints = get_type_hints(record, include_extras=True)
        defaults = record()
        for key in record.__struct_fields__:
            yield f"{section}.{key}", _Entry(hints[key].__metadata__[0], getattr(defaults, key))


SCHEMA: Final[dict[str, _Entry]] = dict(_entries())

_ONLY_BINGX: Final = (
    "allow_live",
    "rest_url",
    "stream_url",
    "api_key",
    "api_secret",
    "trust_store",
)
#: Keys that only one kind of venue reads.  Given for another they are refused, not ignored.
KIND_OF: Final = {
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
    limits: LimitSettings
    journal: JournalSettings
    log: LogSettings
    alerts: AlertSettings
    file: str
    origins: Mapping[str, str]

    @property
    def packaged(self) -> bool:
        """Are these the packaged demo's settings, and no installation's?"""
        return self.file == PACKAGED

    def written(self) -> dict[str, str | int | bool]:
        """Every value that has an effect as it would be written, by section.key; no secrets."""
        return dict(self._effective())

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

        return KernelConfig.for_trading(
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

        limits = {"warn": self.account.warn_usdt, "error": self.account.error_usdt}
        if self.venue.kind is VenueKind.BINGX:
            return AccountConfig.for_bingx(**limits)
        return AccountConfig(**limits)

    def _effective(self) -> Iterator[tuple[str, str | int | bool]]:
        for name, entry in SCHEMA.items():
            if KIND_OF.get(name, self.venue.kind) is self.venue.kind:
                section, _, key = name.partition(".")
                yield name, as_text(entry.rule, getattr(getattr(self, section), key))


def as_text(rule: Rule, value: Any) -> str | int | bool:
    """A value as it would be written in a file."""
    if isinstance(rule, Money):
        return format_money(value)
    if isinstance(value, Secret):
        return value.reference
    if isinstance(value, Enum):
        return name_of(value)
    return "" if value is None else value
