"""What keys are called: as variables, in the original system, and what a wrong name was meant for.

`layers` calls this for every name it is given.  It must not know values: that of a misspelt key
may be a secret, so no message about a name may show it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Final

from dita.errors import SettingsError, shown
from dita.settings.rules import Reference
from dita.settings.schema import SCHEMA, SECTIONS

PREFIX: Final = "PINK__"

#: Variables of the original system that mean the same here.
ALIASES: Final = {
    "DITA_V2_MODE": "runtime.mode",
    "DITA_V2_VERBOSITY": "runtime.verbosity",
    "DITA_V2_VENUE": "venue.kind",
}
_NOT_YET: Final = "there is no setting for it in this version; unset it"
#: And those that would be believed to have an effect.
WITHOUT_MEANING: Final = {
    "DITA_V2_ZINC": _NOT_YET,
    "DITA_V2_CONTROL_PLANE": _NOT_YET,
    "DITA_V2_HAZELCAST": _NOT_YET,
    "DITA_V2_LAUNCHER_MODE": "unset it; what runs is the command that is typed, pink-ctl serve",
}
#: Names of the original system's control plane, and what they are called here.
SEED_NAMES: Final = {
    "active_slot_limit": "it is kernel.slot_limit here",
    "reconcile_on_restart": "it is runtime.reconcile_on_restart here",
    "trace_transitions": 'it is runtime.verbosity = "TRACE" here',
    "debug_clickhouse_enabled": _NOT_YET,
    "mirror_to_hazelcast": _NOT_YET,
}


def variable_of(name: str) -> str:
    """The variable that sets a key."""
    return PREFIX + name.replace(".", "__").upper()


def collapsed(variable: str) -> str:
    """A variable's name as slips leave it: one underscore for several."""
    return re.sub("_+", "_", variable).upper()


# What PINK__KERNEL__HEDGE looks like after a slip (PINK_KERNEL_HEDGE).  Not those of secrets: that
# may well be the variable which `env:` refers to.
SLIPS: Final = {
    collapsed(variable_of(name)): variable_of(name)
    for name, entry in SCHEMA.items()
    if not isinstance(entry.rule, Reference)
}


def key_of(variable: str) -> str:
    """The key that a variable of the original system sets; SettingsError when there is none."""
    if variable in ALIASES:
        return ALIASES[variable]
    names = {alias.removeprefix("DITA_V2_"): alias for alias in ALIASES}
    near = difflib.get_close_matches(variable.removeprefix("DITA_V2_")[:64], names, n=1)
    action = f"did you mean {names[near[0]]}?" if near else "unset it"
    raise SettingsError(
        f"variable {shown(variable)} refused",
        expected="one of " + ", ".join(ALIASES),
        action=WITHOUT_MEANING.get(variable, action),
    )


def unknown(name: str, origin: str, written: Callable[[str], str] = str) -> SettingsError:
    """An unknown key and the nearest one.  Its value is not shown: it may be a misspelt secret."""
    section, _, key = name.rpartition(".")
    own = [known for known in SCHEMA if known.startswith(f"{section}.")]
    near = _nearest(key, own) or _nearest(key, list(SCHEMA))
    if key in SEED_NAMES:
        action = SEED_NAMES[key]
    elif near:
        action = f"did you mean {written(near)}?"
    else:
        action = "remove it"
    return SettingsError(
        f"unknown key {shown(written(name))} ({origin})",
        expected="a key that `pink-ctl config show` lists",
        action=action,
    )


def unknown_section(section: str, origin: str) -> SettingsError:
    """An unknown section and the nearest one."""
    near = difflib.get_close_matches(section[:64].lower(), SECTIONS, n=1)
    known = [name for name in SCHEMA if name.endswith(f".{section}")]
    action = f"did you mean [{near[0]}]?" if near else "remove it"
    if known:
        action = f"did you mean {known[0]}? It belongs under [{known[0].partition('.')[0]}]"
    return SettingsError(
        f"unknown section {shown(section)} ({origin})",
        expected="one of " + ", ".join(SECTIONS),
        action=SEED_NAMES.get(section, action),
    )


def _nearest(key: str, names: list[str]) -> str:
    """The name among some whose key is most like this one; "" when none is."""
    keys = {name.rpartition(".")[2]: name for name in names}
    # Cut before comparing: the time that takes grows with the square of the length.
    near = difflib.get_close_matches(key[:64].lower(), keys, n=1)
    return keys[near[0]] if near else ""
