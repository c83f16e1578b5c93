"""The command line as a whole: each command is documented, quick to start and ends as promised.

What a single command computes is tested with the module that computes it.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from dita.errors import DitaError, ExitCode, KernelFault, OperatorError, VenueError

ROOT = Path(__file__).parent.parent.parent
Cli = Callable[..., Result]

# By string, because dita.commands has no folder of that name for a type checker to find.
app: Any = importlib.import_module("dita.commands.app")
render: Any = importlib.import_module("dita.commands.show.render")


each_command = pytest.mark.parametrize("name", app.COMMANDS)


def python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of Python in a fresh process."""
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)


# -- EACH COMMAND -------------------------------------------------------------------------------


@each_command
def test_command_is_documented(cli: Cli, name: str) -> None:
    """Help shows an example that can be typed, --json, and lines that fit a terminal."""
    shown = cli(name, "--help")
    assert shown.exit_code == ExitCode.DONE, shown.stderr
    assert "Example" in shown.stdout
    assert f"pink-ctl {name}" in shown.stdout.partition("Example")[2]
    assert "--json" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80


@each_command
def test_command_has_a_runbook(name: str) -> None:
    """The page exists and names the command as it is typed."""
    page = ROOT / "runbooks" / f"{name}.md"
    assert page.is_file(), f"write {page}"
    assert f"pink-ctl {name}" in page.read_text(encoding="utf-8")


@each_command
def test_command_lives_in_the_file_of_its_name(name: str) -> None:
    """`pink-ctl mode-verify` is commands/mode_verify.py, so that nobody has to search."""
    assert (ROOT / "commands" / f"{name.replace('-', '_')}.py").is_file()


@each_command
def test_command_is_listed_with_a_summary(cli: Cli, name: str) -> None:
    """`pink-ctl --help` says in a few words what each command is for."""
    lines = [line.split() for line in cli("--help").stdout.splitlines()]
    summaries = [words for words in lines if words[:1] == [name]]
    assert summaries and len(summaries[0]) > 2


# -- THE SHELL ----------------------------------------------------------------------------------


def test_help_lists_every_exit_code(cli: Cli) -> None:
    """The numbers are a contract with scripts, so the help states them."""
    shown = cli("--help")
    assert shown.exit_code == ExitCode.DONE
    assert max(map(len, shown.stdout.splitlines())) <= 80
    for code in ExitCode:
        assert f"{int(code):4}  {code.meaning}" in shown.stdout


def test_nothing_typed_shows_help_and_is_a_usage_error(cli: Cli) -> None:
    """A bare pink-ctl explains itself, and a script that forgot the command fails."""
    shown = cli()
    assert shown.exit_code == ExitCode.USAGE
    assert "Usage: pink-ctl" in shown.output


def test_version_is_one_line_on_stdout(cli: Cli) -> None:
    """Nothing but name and version, for scripts."""
    shown = cli("--version")
    assert shown.exit_code == ExitCode.DONE
    assert shown.stdout.startswith("pink-ctl ") and shown.stdout.count("\n") == 1
    assert shown.stderr == ""


def test_unknown_command_is_a_usage_error_on_stderr(cli: Cli) -> None:
    """stdout stays empty, because a pipe would take it for data."""
    shown = cli("no-such-command")
    assert shown.exit_code == ExitCode.USAGE
    assert shown.stdout == "" and "no-such-command" in shown.stderr


def test_start_up_loads_nothing_heavy(tmp_path: Path) -> None:
    """Every call pays for what the commands import; the rest waits for the one that needs it."""
    heavy = {
        "asyncio",
        "dita._kernel",
        "dita.engine",
        "dita.kernel",
        "msgspec",
        "pydantic",
        "rich.console",
        "rich.table",
    }
    code = (
        "import sys; from dita.commands import app; app.make_app()\n"
        f"print(*sorted({heavy!r} & set(sys.modules)))"
    )
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_a_command_does_not_wait_for_the_others(tmp_path: Path) -> None:
    """Each module takes its milliseconds of every call; the command that is typed needs its own."""
    code = (
        "import sys; from dita.commands import app; app.make_app(['status', '--json'])\n"
        "print(*sorted({f'dita.commands.{name}' for name in app.COMMANDS} & set(sys.modules)))"
    )
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["dita.commands.status"]


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "hold --reason x --state-dir none",
        "hold --reason x --config pink.toml",
        "status --config pink.toml",
        "intent cancel --trade T --reason x --config pink.toml",
    ],
)
def test_a_question_to_a_serve_loads_no_loop_and_no_settings(tmp_path: Path, words: str) -> None:
    """A socket and a TOML file are enough; what is loaded beside is waited for at each call."""
    heavy = {"asyncio", "ssl", "pydantic", "dita.settings", "dita.engine", "rich.console"}
    (tmp_path / "pink.toml").write_text('[journal]\ndirectory = "none"\n')
    code = (
        "import sys, dita.commands.app as app\n"
        f"sys.argv = ['pink-ctl', *{words.split()!r}]\n"
        "try: app.main()\n"
        f"finally: print(*sorted({heavy!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = python(code, tmp_path)
    assert done.returncode in (0, 3), done.stderr
    assert done.stderr.splitlines()[-1] == ""


def test_folder_cannot_be_imported_by_its_own_name() -> None:
    """A second copy of every module would have its own errors, and `except` would miss them."""
    done = python("import commands", ROOT)
    assert done.returncode == 1
    assert "expected to be imported as dita.commands" in done.stderr


def test_module_runs_as_the_script_does(tmp_path: Path) -> None:
    """`python -m dita.commands` is for machines where scripts are not on the PATH."""
    line = [sys.executable, "-m", "dita.commands", "--version"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("pink-ctl ")


def test_bug_ends_with_70_and_not_with_the_code_of_a_failed_check(tmp_path: Path) -> None:
    """Python's own 1 for an uncaught exception means "a difference was found" here."""
    code = (
        "import sys; from dita.commands import app\n"
        "def broken(): raise ZeroDivisionError('the text of it')\n"
        "app.function_of = lambda name: broken; sys.argv = ['pink-ctl', 'broken']\n"
        "app.COMMANDS = ('broken',); app.main()"
    )
    done = python(code, tmp_path)
    assert done.returncode == ExitCode.INVARIANT
    assert "Traceback" in done.stderr and "the text of it" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("pink-ctl: this is a bug")


# -- RENDERING ----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [VenueError, OperatorError, KernelFault])
def test_error_is_one_line_on_stderr_and_its_exit_code(family: type[DitaError]) -> None:
    """What happened, expected, found, do; and a remote text cannot break out of its line."""

    def failing() -> None:
        raise family("it broke\x1b[2J", expected="an apple", found="a\npear", action="buy one")

    shell = typer.Typer()
    shell.command()(render.reported(failing))
    ended = CliRunner().invoke(shell)
    assert ended.exit_code == family.exit_code
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1 and "\x1b" not in ended.stderr
    for part in ("pink-ctl: it broke", "expected an apple", "found a", "do: buy one"):
        assert part in ended.stderr


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("FET-USDT [0.5, 1.0] :smile: 50 € −3", "FET-USDT [0.5, 1.0] :smile: 50 € −3"),
        ("\x1b[31mred\x1b[0m \x9b1mbold", "red bold"),
        ("\x1b]0;title\x07a\x1b]8;;link\x1b\\b\x1bPq\x1b\\c", "abc"),
        ("\x1bc\x1b(B\x1bwiped", "iped"),
        ("two\r\nlines\tand\u2028more", "two lines and more"),
        ("bell\x07 nul\x00 back\x08 del\x7f", "bell nul back del"),
        ("\u202eesrever\u202c", "esrever"),
        ("cut off \x1b[3", "cut off 3"),
        ("\x1b", ""),
    ],
)
def test_plain_leaves_nothing_a_terminal_obeys(foreign: str, shown: str) -> None:
    """Escapes go as a whole, controls become nothing or a space, text stays."""
    assert render.plain(foreign) == shown


def test_json_has_its_version_first_and_no_float(capsys: pytest.CaptureFixture[str]) -> None:
    """Integers and strings only, so that money survives every reader."""
    render.emit_json(
        {
            "done": True,
            "code": ExitCode.VENUE,
            "rows": [{"capital": Decimal("1E+2"), "price_ticks": 2**62, "none": None}],
        }
    )
    printed = json.loads(capsys.readouterr().out)
    assert list(printed) == ["schema_version", "done", "code", "rows"]
    assert printed["schema_version"] == 1
    assert printed["code"] == "VENUE"
    assert printed["rows"] == [{"capital": "100", "price_ticks": 2**62, "none": None}]
    with pytest.raises(TypeError, match="float"):
        render.emit_json({"capital": 0.1})
    with pytest.raises(TypeError, match="record or a mapping"):
        render.emit_json([1, 2])


def test_table_in_a_pipe_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal there is no width to fit, and brackets are text and not markup."""
    long = "x" * 300
    render.show_table(["name", "size"], [("[bold]a", 1), (long, 20)], title="t", right={"size"})
    lines = capsys.readouterr().out.splitlines()
    assert any("[bold]a" in line and line.rstrip().endswith(" 1") for line in lines)
    assert any(long in line and line.rstrip().endswith("20") for line in lines)
