"""Whatever is printed or written down as a command can be typed: it is there, with its options.

The sources and the pages are read; each command line in them goes through the real parser.
"""

from __future__ import annotations

import ast
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import typer.main
from support.command_line import app

ROOT = Path(__file__).parent.parent.parent
typed: Any = __import__("importlib").import_module("dita.commands.typed")
COMMAND: Any = typer.main.get_command(app.make_app())
MENTION = re.compile(r"pink-ctl ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)?)")


def parse(line: str) -> None:
    """Parse a command line as it would be run; a UsageError is the test's failure."""
    words = shlex.split(line)
    assert words[0] == "pink-ctl", line
    if words[-1] in ("--help", "--version", "--install-completion"):
        assert len(words) <= 3
        return
    context = COMMAND.make_context("pink-ctl", words[1:])
    while isinstance(context.command, type(COMMAND)):
        name, command, rest = context.command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        assert command is not None, f"{line}: no command {name}"
        context = command.make_context(name, rest, parent=context)


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """Every text of a source that is not a docstring, with X for what is filled in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    hidden = docstrings | {id(value) for node in joined for value in node.values}
    for text in joined:
        values = [v.value if isinstance(v, ast.Constant) else "X" for v in text.values]
        yield text.lineno, "".join(map(str, values))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and type(node.value) is str and id(node) not in hidden:
            yield node.lineno, node.value


SOURCES = sorted([*(ROOT / "dita").rglob("*.py"), *(ROOT / "commands").rglob("*.py")])
PRINTED = [
    pytest.param(text, id=f"{path.relative_to(ROOT)}:{line}")
    for path in SOURCES
    for line, text in texts_of(path)
    if MENTION.search(text)
]


def lines_in(text: str) -> Iterator[str]:
    """The command lines that a text tells somebody to type."""
    yield from re.findall(r"`(pink-ctl [^`]*)`", text)
    for found in re.findall(r"(?:next: |: |do: )(pink-ctl [^`;,]*)", text):
        yield found.partition(" says ")[0].rstrip(". )")


@pytest.mark.parametrize("text", PRINTED)
def test_a_command_in_a_message_can_be_typed(text: str) -> None:
    for mention in MENTION.finditer(text):
        name = mention[1].split()[0]
        assert name in app.COMMANDS, mention[0]
    for line in lines_in(text):
        parse(line.replace(" --config FILE", ""))


@pytest.mark.parametrize("text", [p for p in PRINTED if "next: " in str(p.values[0])])
def test_after_next_comes_a_command_and_nothing_else(text: str) -> None:
    """The line is marked with the mouse and typed as it stands, by somebody who is tired."""
    for line in text.splitlines():
        before, found, command = line.partition("next: ")
        if found:
            assert not before, f"begins its line: {line}"
            assert command.startswith(("pink-ctl ", "X")), line
            assert not re.search(r"[;(),<>]|  |\bTRADE\b|\bFILE\b", command), line


LOOKED_AT = sorted((ROOT / "tests" / "data").rglob("*.txt"))
NEXT = re.compile(r"next: (.*)")


@pytest.mark.parametrize("path", LOOKED_AT, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_next_line_that_was_looked_at_can_be_typed(path: Path) -> None:
    """In the golden texts the lines are as they were printed, with what was filled in."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if "next: " in line:
            assert line.startswith("next: pink-ctl "), f"{path.name}: {line}"
            # A terminal breaks it where its width ends.
            whole = [" ".join(lines[number : number + n]) for n in (1, 2, 3)]
            assert any(parses(text.removeprefix("next: ")) for text in whole), whole


def parses(line: str) -> bool:
    """Is it a whole command line?"""
    try:
        parse(line)
    except (typer.TyperException, ValueError):
        return False
    return True


def documented() -> Iterator[Any]:
    """Each line of a page or of a help text that begins with pink-ctl."""
    for path in [ROOT / "README.md", *sorted((ROOT / "runbooks").glob("*.md"))]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            code = re.match(r"\s*(?:sudo -u \w+ |[A-Z_]+=\w+ )*(?:\S*/)?(pink-ctl [^|>]*)", line)
            if code and not line.startswith("| "):
                text = re.split(r"\s{2,}|\s#", code[1].rstrip())[0]
                yield pytest.param(text, id=f"{path.name}:{number}")
            for inline in re.findall(r"`(?:\S*/)?(pink-ctl [^`]*)`", line):
                yield pytest.param(inline, id=f"{path.name}:{number}:{inline[9:29]}")


NAMED_ALONE = ("--reason", "--since")
WHOLE = re.compile(r"--|\bFILE\b|\bPLAN\b")


@pytest.mark.parametrize("line", list(documented()))
def test_a_command_in_a_page_can_be_typed(line: str) -> None:
    """A line with options is whole; a bare name in the running text is at least there."""
    line = line.replace("…", "WHY").rstrip("\\ ")
    if line.endswith(NAMED_ALONE):
        line += " WHY"  # an option is spoken of by its name
    if WHOLE.search(line):
        parse(line)
        return
    words = line.split()
    assert words[1] in app.COMMANDS or words[1].startswith("-"), line
    parts = app.SUBCOMMANDS.get(words[1], ())
    assert not parts or not words[2:] or words[2] in parts, line


# -- how a hint is written -------------------------------------------------------------------------


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Path]:
    """A pink-ctl that is not on the PATH."""
    program = tmp_path / "a venv" / "pink-ctl"
    program.parent.mkdir()
    program.write_text("")
    with patch.object(sys, "argv", [str(program), "hold", "--reason", "it's", "--config", "/x"]):
        yield program
    typed.use(None, None)


def test_a_hint_has_the_program_and_the_options_in_use(started: Path) -> None:
    program = f"'{started}'"
    typed.use(Path("/etc/my pink.toml"), None)
    for text, expected in (
        ("next: pink-ctl status", f"next: {program} status --config '/etc/my pink.toml'"),
        (
            "use `pink-ctl intent flatten --reason WHY --apply`, or stop",
            f"use `{program} intent flatten --config '/etc/my pink.toml' --reason WHY --apply`,"
            " or stop",
        ),
        ("pink-ctl golden", f"{program} golden"),  # it speaks to nobody
        ("pink-ctl config show", f"{program} config show"),
        (
            "pink-ctl flatten --emergency --config FILE",
            f"{program} flatten --config '/etc/my pink.toml' --emergency",
        ),
        ("pink-ctl status --state-dir /s", f"{program} status --state-dir /s"),
        ("pink-ctl: it broke", "pink-ctl: it broke"),
        ("a bug in pink-ctl, nothing", "a bug in pink-ctl, nothing"),
        ("/opt/pink/bin/pink-ctl status", "/opt/pink/bin/pink-ctl status"),
    ):
        assert typed.typable(text) == expected


def test_the_running_line_again(started: Path) -> None:
    again = typed.again(drop=("--config",), add=("--state-dir", "/s"))
    words = shlex.split(again)
    assert words == [str(started), "hold", "--reason", "it's", "--state-dir", "/s"]
    assert typed.again(add=("--apply",)).endswith(" --config /x --apply")


def test_a_program_on_the_path_is_called_by_its_name(
    started: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started.chmod(0o755)
    monkeypatch.setenv("PATH", str(started.parent))
    assert typed.program() == "pink-ctl"
    other = started.parent.parent / "other"
    other.mkdir()
    (other / "pink-ctl").write_text("")
    monkeypatch.setenv("PATH", f"{other}:{started.parent}")
    assert typed.program() == f"'{started}'"  # another one would be run
