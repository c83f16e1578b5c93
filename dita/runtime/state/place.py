"""Whose money, which host, which state directory: what every command says before anything else.

Made from settings, from what a running serve says of itself, or from what a state directory has
written down; in plain values, so that it goes over the control socket and into ``--json``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from dita.settings import Settings

#: Written by the first start in a state directory (``begun``).
ENVIRONMENT_FILE: Final = "environment"
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
#: What a place is told by, in this order in JSON.
PLACE_KEYS: Final = ("venue", "money", "host", "key", "namespace", "directory", "config")
MONEY: Final = {"live": "REAL MONEY", "vst": "test money", "mock": "nobody's money"}


def place_by_settings(settings: Settings, directory: Path) -> dict[str, Any]:
    """Where a run with these settings would go."""
    venue = settings.venue
    kind = venue.kind.value
    return {
        "venue": kind,
        "money": venue.environment.value,
        "host": {"bingx": venue.rest_url, "remote": venue.mock_socket}.get(kind, ""),
        "key": venue.api_key.reference if venue.api_key is not None else "",
        "namespace": settings.kernel.namespace,
        "directory": str(directory),
        "config": "demo" if settings.packaged else os.path.abspath(settings.file),
    }


def place_by_directory(directory: Path, config: Path | None = None) -> dict[str, Any]:
    """What a state directory alone tells: which money, and not at which host."""
    return {
        "venue": "",
        "money": written_environment(directory),
        "host": "",
        "key": "",
        "namespace": "",
        "directory": str(directory),
        "config": str(config) if config is not None else "",
    }


def written_environment(directory: Path) -> str:
    """The venue.environment that a state directory was begun with; "" when it does not say."""
    try:
        return (directory / ENVIRONMENT_FILE).read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def described(place: dict[str, Any]) -> str:
    """One line: venue, host, money, key, and our name and directory there."""
    parts = [_venue(place)]
    if place["key"]:
        parts.append(f"key {place['key']}")
    where = f"state in {place['directory']}"
    if place["namespace"]:
        where = f"{place['namespace']}, {where}"
    return f"{', '.join(parts)}; {where}"


def _venue(place: dict[str, Any]) -> str:
    money, host = place["money"], place["host"]
    whose = MONEY.get(money, "money not known")
    if place["venue"] == "bingx":
        if urlsplit(host).hostname in LOOPBACK:
            return f"local exchange {host}, {whose}"
        return f"BingX {money.upper()} {host}, {whose}"
    if place["venue"] == "remote":
        return f"mock exchange at {host}, {whose}"
    if place["venue"] == "mock":
        return f"built-in mock, no exchange, {whose}"
    # A directory does not say the host; test money may also be a local exchange's.
    return f"BingX LIVE, {whose}" if money == "live" else whose
