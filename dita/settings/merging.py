"""Merging the layers into one record: options over variables over the file over defaults.

The runtime and `pink-ctl config show` call `load`.  It must not know any environment but the one
it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dita.errors import one_line
from dita.settings.agreement import CHECKS, HOSTS, STREAM_PATH, check_key_files
from dita.settings.layers import from_environ, from_file, from_options
from dita.settings.rules import refusal
from dita.settings.schema import KIND_OF, PACKAGED, SCHEMA, SECTIONS, Settings, VenueKind
from dita.settings.secret import Secret


def load(
    path: Path | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, object],
    *,
    keys: bool = True,
) -> Settings:
    """Merge file, environment and options, the later over the earlier.  SettingsError.

    Without a path the packaged demo.toml is the file.  `overrides` is from `section.key` to a value
    or its text; None stands for an option that was not given.  Without `keys` the files that hold
    the keys are not looked at: who only asks a running serve need not be able to read them.
    """
    given = from_file(path) | from_environ(environ) | from_options(overrides)
    kind = given["venue.kind"].value if "venue.kind" in given else VenueKind.MOCK
    for name, only in KIND_OF.items():
        if name in given and only is not kind:
            if not given[name].packaged:
                raise refusal(
                    name,
                    given[name].origin,
                    f"to be left out with venue.kind {kind}: only {only} reads it",
                    "a value",
                    f"remove it, or set venue.kind to {only}",
                )
            del given[name]
    values = {name: entry.default for name, entry in SCHEMA.items()}
    values |= {name: each.value for name, each in given.items()}
    origins = dict.fromkeys(SCHEMA, "default")
    origins |= {name: each.origin for name, each in given.items()}
    _fill_addresses(values)
    for name in ("venue.api_key", "venue.api_secret"):
        if values[name] is not None:
            values[name] = Secret(name, values[name], environ)
    settings = _built(values, PACKAGED if path is None else one_line(str(path)), origins)
    for check in CHECKS:
        if keys or check is not check_key_files:
            check(settings)
    return settings


def _built(values: Mapping[str, Any], file: str, origins: Mapping[str, str]) -> Settings:
    parts: dict[str, Any] = {}
    for section, record in SECTIONS.items():
        parts[section] = record(
            **{key: values[f"{section}.{key}"] for key in record.__struct_fields__}
        )
    return Settings(**parts, file=file, origins=MappingProxyType(dict(origins)))


def _fill_addresses(values: dict[str, Any]) -> None:
    """The exchange's own addresses, where none are given."""
    hosts = HOSTS.get(values["venue.environment"])
    if hosts and values["venue.kind"] is VenueKind.BINGX:
        values["venue.rest_url"] = values["venue.rest_url"] or f"https://{hosts.rest[0]}"
        stream = f"wss://{hosts.stream[0]}{STREAM_PATH}"
        values["venue.stream_url"] = values["venue.stream_url"] or stream
