"""What values must agree on with one another: whose money, which host, which limit before which.

`merging` runs every check of `CHECKS` over the merged settings.  It must not know how a value came
about, only the place to name in a refusal.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from dita.errors import shown
from dita.settings.rules import refusal
from dita.settings.schema import SCHEMA, Settings, VenueEnvironment, VenueKind, as_text
from dita.units import format_money

STREAM_PATH: Final = "/swap-market"
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
VOLATILE: Final = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/var/run")


class _Hosts(NamedTuple):
    rest: tuple[str, ...]
    stream: tuple[str, ...]


#: The first is the default.  Keys are sent to no other host.
HOSTS: Final = {
    VenueEnvironment.VST: _Hosts(
        ("open-api-vst.bingx.com", "open-api-vst.bingx.pro"), ("vst-open-api-ws.bingx.com",)
    ),
    VenueEnvironment.LIVE: _Hosts(
        ("open-api.bingx.com", "open-api.bingx.pro"), ("open-api-swap.bingx.com",)
    ),
}


def fallback_url(settings: Settings) -> str:
    """The exchange's other REST host, for when the first cannot be connected to; "" if none."""
    hosts = HOSTS.get(settings.venue.environment)
    others = [f"https://{host}" for host in hosts.rest] if hosts is not None else []
    given = settings.venue.rest_url.lower()
    return next((url for url in others if url != given), "") if given in others else ""


def account_of(settings: Settings) -> str:
    """What two kernels must not share: a namespace on one account; "" for a mock of their own.

    A key is not part of it, because an account has many.  A local exchange is told by its address,
    the exchange's own machines by whose money it is.
    """
    venue = settings.venue
    if venue.kind is VenueKind.MOCK:
        return ""
    where: str = venue.environment.value
    if venue.kind is VenueKind.REMOTE:
        where = os.path.abspath(venue.mock_socket)
    elif (urlsplit(venue.rest_url).hostname or "") in LOOPBACK:
        where = venue.rest_url
    return f"{settings.kernel.namespace} at {where}"


def _demand(settings: Settings, name: str, holds: bool, expected: str, action: str) -> None:
    """Refuse the value of one key because of another's."""
    if holds:
        return
    section, _, key = name.partition(".")
    value = as_text(SCHEMA[name].rule, getattr(getattr(settings, section), key))
    found = shown(value) if value != "" else "nothing"
    raise refusal(name, settings.origins[name], expected, found, action)


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
    _demand(
        settings,
        "venue.api_secret",
        venue.api_key != venue.api_secret,
        "another place than that of venue.api_key",
        "correct the one that is wrong",
    )


def check_key_files(settings: Settings) -> None:
    """Refuse files of keys that others could have read."""
    for secret in (settings.venue.api_key, settings.venue.api_secret):
        if secret is not None:
            secret.check_file()


def _check_addresses(settings: Settings) -> None:
    venue = settings.venue
    if venue.kind is not VenueKind.BINGX:
        return
    hosts = HOSTS[venue.environment]
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


CHECKS: Final = (
    _check_environment,
    _check_presence,
    check_key_files,
    _check_addresses,
    _check_limits,
    _check_journal,
)
