"""Command lines that can be typed as they stand: with the program's path and the options in use.

`render` passes every line of talk through `typable`, so that a hint made anywhere in the program
names the installation that this command was given.  Knows words and nothing of what they do.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

_COMMAND = re.compile(r"(?<![\w/.-])pink-ctl (?P<name>[a-z]+)(?P<part> [a-z][a-z-]*)?(?=[^\w-]|$)")
_QUOTED = re.compile(r"[^\w@%+=:,./-]", re.ASCII)

_options: list[str] = []


def use(config: Path | None, state_dir: Path | None) -> None:
    """Remember what this command was given; hints repeat it."""
    _options.clear()
    if config is not None:
        _options.extend(("--config", str(config)))
    if state_dir is not None:
        _options.extend(("--state-dir", str(state_dir)))


def options() -> list[str]:
    """What hints repeat."""
    return list(_options)


def typable(line: str) -> str:
    """The line, with each `pink-ctl COMMAND` in it as it has to be typed here."""
    if "pink-ctl " not in line:
        return line
    line = line.replace(" --config FILE", "")  # for who cannot know which

    def written(match: re.Match[str]) -> str:
        words = [match["name"], (match["part"] or "").strip()]
        rest = words.pop() if not _takes(*words) else ""
        given = line[match.end() :].partition("`")[0]
        named = "--config" in given or "--state-dir" in given
        placed = () if named or not _takes(*words, option="state_dir") else _options
        return " ".join(filter(None, (program(), *words, *map(quoted, placed), rest)))

    return _COMMAND.sub(written, line)


def _takes(name: str, part: str = "", *, option: str = "") -> bool:
    """Is there such a command, with such an option?"""
    import inspect

    from .app import COMMANDS, SUBCOMMANDS, function_of

    if name not in COMMANDS or (part and part not in SUBCOMMANDS.get(name, ())):
        return False
    return not option or option in inspect.signature(function_of(name, part)).parameters


def again(*, drop: Sequence[str] = (), add: Sequence[str] = ()) -> str:
    """The command line that is running, without some options with their values, with others."""
    words: list[str] = []
    skip = False
    for word in sys.argv[1:]:
        if skip:
            skip = False
        elif word in drop:
            skip = True
        elif not any(word.startswith(f"{option}=") for option in drop):
            words.append(word)
    return " ".join([program(), *map(quoted, [*words, *add])])


def program() -> str:
    """How this program is started from here: by its name when that is on the PATH."""
    started = sys.argv[0]
    if os.path.basename(started) == "__main__.py":  # python -m dita.commands
        beside = Path(sys.executable).with_name("pink-ctl")
        if not beside.exists():
            return f"{quoted(sys.executable)} -m dita.commands"
        started = str(beside)
    if os.path.basename(started) != "pink-ctl" or not os.path.exists(started):
        return "pink-ctl"
    for folder in os.get_exec_path():
        there = os.path.join(folder, "pink-ctl")
        if os.path.exists(there):
            return "pink-ctl" if os.path.samefile(there, started) else quoted(started)
    return quoted(started)


def quoted(word: str) -> str:
    """A word as a shell takes it for one."""
    if word and not _QUOTED.search(word):
        return word
    return "'" + word.replace("'", "'\"'\"'") + "'"
