"""The three places that settings come from: a TOML file, environment variables, options.

`merging` calls one function for each.  It must not know how the layers go together or what values
must agree: it reads every value by its rule and remembers where it came from.
"""

from __future__ import annotations

import importlib.resources
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from dita.errors import SettingsError, one_line, shown
from dita.settings.names import (
    PREFIX,
    SLIPS,
    collapsed,
    key_of,
    unknown,
    unknown_section,
    variable_of,
)
from dita.settings.rules import Bad, refusal
from dita.settings.schema import PACKAGED, SCHEMA, SECTIONS, as_text

FILE_BYTES_MAX: Final = 262_144

_HEADER: Final = re.compile(r"\s*\[\s*([\w-]+)\s*\]", re.ASCII)
_ASSIGNED: Final = re.compile(r"\s*([\w-]+(?:\s*\.\s*[\w-]+)?)\s*=", re.ASCII)


class Given(NamedTuple):
    value: Any
    origin: str
    packaged: bool = False


Layer = dict[str, Given]


def from_file(path: Path | None) -> Layer:
    """What the file says; without a path, the packaged one."""
    if path is None:
        text = (importlib.resources.files("dita.configs") / "demo.toml").read_text("utf-8")
        label = PACKAGED
    else:
        text, label = _text_of(path), one_line(str(path))
    layer: Layer = {}
    lines = _lines(text)
    for section, table in _document(text, label).items():
        header = _origin(label, lines, section)
        if section not in SECTIONS:
            raise unknown_section(section, header)
        if type(table) is not dict:
            raise refusal(section, header, f"a table, [{section}]", type(table).__name__, "")
        for key, value in table.items():
            name = f"{section}.{key}"
            origin = _origin(label, lines, name, section)
            if name not in SCHEMA:
                raise unknown(name, origin)
            given = _taken(name, value, origin, textual=False)
            layer[name] = given._replace(packaged=path is None)
    return layer


def from_environ(environ: Mapping[str, str]) -> Layer:
    """What the variables say; one that is nearly ours is refused."""
    layer: Layer = {}
    for variable in sorted(environ):
        if variable.startswith(PREFIX):
            section, _, key = variable.removeprefix(PREFIX).partition("__")
            name = f"{section}.{key}".lower()
            if name not in SCHEMA or variable != variable_of(name):
                raise unknown(name, shown(variable), variable_of)
        elif variable.startswith("DITA_V2_"):
            name = key_of(variable)
        elif collapsed(variable) in SLIPS:
            raise SettingsError(
                f"variable {shown(variable)} refused",
                expected=SLIPS[collapsed(variable)],
                action="write it so, or unset it",
            )
        else:
            continue
        given = _taken(name, environ[variable], variable, textual=True)
        if name in layer and layer[name].value != given.value:
            raise refusal(
                name,
                f"{layer[name].origin} and {variable}",
                "one value",
                "two that differ",
                f"unset {layer[name].origin}",
            )
        layer[name] = given
    return layer


def from_options(overrides: Mapping[str, object]) -> Layer:
    """What the options say."""
    layer: Layer = {}
    for name, value in overrides.items():
        if name not in SCHEMA:
            raise unknown(name, "option")
        if value is not None:
            layer[name] = _taken(name, value, "option", textual=True)
    return layer


def _taken(name: str, value: object, origin: str, *, textual: bool) -> Given:
    """Read one value by its rule, or refuse it."""
    entry = SCHEMA[name]
    try:
        return Given(entry.rule.read(value, textual=textual), origin)
    except Bad as bad:
        found = bad.reason
        if not bad.hide:
            found = shown(value) + (f" ({bad.reason})" if bad.reason else "")
    default = as_text(entry.rule, entry.default)
    action = f"correct it, or leave it out for the default, {default}"
    if default == "":
        action = "correct it"
    raise refusal(name, origin, entry.rule.allowed, found, action)


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


def _document(text: str, label: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        found = "values nested too deeply"
    except ValueError as bad:  # also that of int(), for a number with thousands of digits
        # tomllib's words name the place and quote single characters, never a value.
        found = str(bad) if isinstance(bad, tomllib.TOMLDecodeError) else "a number too long"
    raise _unreadable(label, found)


def _unreadable(label: str, found: str) -> SettingsError:
    return SettingsError(
        f"settings file {label} refused",
        expected="a TOML file",
        found=found,
        action="correct it, or name another file with --config",
    )


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
