"""The command line: which commands there are, and how a run of pink-ctl ends.

To add a command, write `commands/NAME.py` with a function of the same name, its page
`runbooks/NAME.md`, and one line in COMMANDS; for sub-commands also one in SUBCOMMANDS.  The command
modules import only typing, typer and each other at the top: they are imported at every start.
No domain logic here.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dita import __version__
from dita.errors import ExitCode, UsageError
from dita.streams import secure

from .show.render import by_the_system, emit_error, note, reported, show

Command = Callable[..., None]

# As they are typed, in the order in which `pink-ctl --help` lists them.
COMMANDS: tuple[str, ...] = (
    "serve",
    "status",
    "intent",
    "hold",
    "resume",
    "flatten",
    "reconcile",
    "anchor",
    "smoke",
    "soak",
    "trades",
    "events",
    "explain",
    "journal",
    "exchange",
    "replay",
    "golden",
    "config",
    "runbook",
)

# A command that is a group only explains itself; `config_show` is typed `pink-ctl config show`.
SUBCOMMANDS: dict[str, tuple[str, ...]] = {
    "config": ("show",),
    "journal": ("verify", "tail", "export", "import", "archive", "roll", "retire"),
    "intent": ("enter", "exit", "cancel", "flatten"),
}

# \b keeps the lines of a paragraph as they are written.
EXIT_CODES = "\b\nExit codes:\n" + "\n".join(f"{code:4}  {code.meaning}" for code in ExitCode)


def show_version(wanted: bool) -> None:
    """Print the version and stop, if --version was given."""
    if wanted:
        show(f"pink-ctl {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=show_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Run, watch and prove the DITAv2 trade-execution kernel.

    Results go to stdout, everything else to stderr. Every command has --help with an example,
    --json for programs, and a page in runbooks/.
    """


def function_of(name: str, part: str = "") -> Command:
    """The function of a command, or of a part of a group.  Imports its module."""
    stem = name.replace("-", "_")
    module = importlib.import_module(f".{stem}", __package__)
    found: Command = getattr(module, f"{stem}_{part.replace('-', '_')}" if part else stem)
    return found


class _InOrder(TyperGroup):
    """Lists commands as they stand in COMMANDS; Typer's own way has the groups at the end."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name in COMMANDS if name in self.commands]


def make_app(words: Sequence[str] = ()) -> typer.Typer:
    """The command line.  When its first word is a command, that one alone is imported.

    Importing all of them takes a quarter of the time of a short command.
    """
    app = typer.Typer(
        name="pink-ctl",
        cls=_InOrder,
        epilog=EXIT_CODES,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # plain help: quick, and brackets in it mean brackets
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)  # with it a command must be named even while there is only one
    for name in words[:1] if words and words[0] in COMMANDS else COMMANDS:
        if name in SUBCOMMANDS:
            _add_group(app, name)
        else:
            app.command()(reported(function_of(name)))
    return app


def _add_group(app: typer.Typer, name: str) -> None:
    """Add a command with sub-commands; alone it shows its help."""
    shell = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    shell.callback()(function_of(name))
    for part in SUBCOMMANDS[name]:
        shell.command(part)(reported(function_of(name, part)))
    app.add_typer(shell, name=name)


def main() -> None:
    """Run pink-ctl. A bug ends with its traceback and 70, which no check's result uses."""
    secure()
    code = _run()
    # A supervisor has to tell serve's bad usage from everything that a restart may mend.
    if code == ExitCode.USAGE and sys.argv[1:2] == ["serve"]:
        code = ExitCode.SERVE_USAGE
    _let_go_of_stdout()
    sys.exit(int(code))


def _run() -> int:
    try:
        app = make_app(sys.argv[1:])
        code = app(standalone_mode=False, prog_name="pink-ctl") or ExitCode.DONE
        if sys.stdout is not None:
            sys.stdout.flush()
        return int(code)
    except typer.TyperException as bad:  # the command line itself
        return _usage(bad)
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        return ExitCode.PIPE
    except SystemExit as end:  # of typer and rich: completion is done, or the reader is gone
        return ExitCode.PIPE if end.code else ExitCode.DONE
    except OSError as refused:  # stdout itself: it is full, or closed
        note(f"pink-ctl: {by_the_system(refused)}")
        return ExitCode.USAGE
    except Exception:  # noqa: BLE001  (reported in full, and the process ends)
        import traceback

        traceback.print_exc()
        note("pink-ctl: this is a bug in pink-ctl, nothing you typed; do: report the lines above")
        return ExitCode.INVARIANT


def _usage(bad: typer.TyperException) -> int:
    show_help = getattr(bad, "show", None)  # what is public of it has no `show`
    if show_help is not None:
        show_help()
    else:
        note(f"Error: {bad.format_message()}")
    if "--json" in sys.argv[1:]:
        emit_error(UsageError("the command line cannot be read", found=bad.format_message()))
    return bad.exit_code


def _let_go_of_stdout() -> None:
    """What cannot be written any more must not change the exit code."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, 1)
