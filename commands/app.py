"""The command line: which commands there are, and how a run of pink-ctl ends.

To add a command, write `commands/NAME.py` with a function of the same name, its page
`runbooks/NAME.md`, and one line in COMMANDS; for sub-commands also one in SUBCOMMANDS. Imported
at every start, so it and the command modules import only typing, typer and each other at the top.
No domain logic here.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Annotated

import typer

from dita import __version__
from dita.errors import ExitCode, UsageError
from dita.streams import secure

from .anchor import anchor
from .config import config, config_show
from .events import events
from .exchange import exchange
from .explain import explain
from .flatten import flatten
from .golden import golden
from .hold import hold
from .intent import intent, intent_cancel, intent_enter, intent_exit, intent_flatten
from .journal import (
    journal,
    journal_archive,
    journal_export,
    journal_import,
    journal_retire,
    journal_tail,
    journal_verify,
)
from .reconcile import reconcile
from .replay import replay
from .resume import resume
from .roll import journal_roll
from .runbook import runbook
from .serve import serve
from .show.render import by_the_system, emit_error, note, reported, show
from .smoke import smoke
from .soak import soak
from .status import status
from .trades import trades

# In the order in which `pink-ctl --help` lists them.
COMMANDS: tuple[Callable[..., None], ...] = (
    serve,
    status,
    intent,
    hold,
    resume,
    flatten,
    reconcile,
    anchor,
    smoke,
    soak,
    trades,
    events,
    explain,
    journal,
    exchange,
    replay,
    golden,
    config,
    runbook,
)

# A command that is a group only explains itself; `config_show` is typed `pink-ctl config show`.
SUBCOMMANDS: dict[Callable[..., None], tuple[Callable[..., None], ...]] = {
    config: (config_show,),
    journal: (
        journal_verify,
        journal_tail,
        journal_export,
        journal_import,
        journal_archive,
        journal_roll,
        journal_retire,
    ),
    intent: (intent_enter, intent_exit, intent_cancel, intent_flatten),
}

# \b keeps the lines of a paragraph as they are written.
EXIT_CODES = "\b\nExit codes:\n" + "\n".join(f"{code:4}  {code.meaning}" for code in ExitCode)

app = typer.Typer(
    name="pink-ctl",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: quick, and brackets in it mean brackets
    context_settings={"help_option_names": ["-h", "--help"]},
)


def show_version(wanted: bool) -> None:
    """Print the version and stop, if --version was given."""
    if wanted:
        show(f"pink-ctl {__version__}")
        raise typer.Exit


# With this callback a subcommand must be named even while there is only one.
@app.callback()
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


def add_group(group: Callable[..., None], parts: tuple[Callable[..., None], ...]) -> None:
    """Add a command with sub-commands; alone it shows its help."""
    shell = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    shell.callback()(group)
    for part in parts:
        name = part.__name__.removeprefix(f"{group.__name__}_").replace("_", "-")
        shell.command(name)(reported(part))
    app.add_typer(shell, name=group.__name__.replace("_", "-"))


for command in COMMANDS:
    if command in SUBCOMMANDS:
        add_group(command, SUBCOMMANDS[command])
    else:
        app.command()(reported(command))


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
        emit_error(UsageError("the command line makes no sense", found=bad.format_message()))
    return bad.exit_code


def _let_go_of_stdout() -> None:
    """What cannot be written any more must not change the exit code."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, 1)
