"""`pink-ctl golden`: the recorded cases through the compiled kernel, every figure compared.

Parses the options, calls dita.golden and shows the result; what a figure must be is in the case.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dita.errors import ExitCode

from .completion import cases as case_names
from .options import AsJson
from .show.render import WIDTH_IN_A_PIPE, emit_json, plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from dita.golden import CaseResult

DIFFERENCES_SHOWN = 12
"""Of one case: a rule that is broken in every order of arrival would fill the screen."""


def golden(
    case: Annotated[
        list[str] | None,
        typer.Option(help="Only this case; may be repeated.", autocompletion=case_names),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A case of your own, as a TOML file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run the golden cases and compare every figure.

    Exit 0 every figure is as recorded, 1 at least one differs.

    \b
    Examples:
      pink-ctl golden
      pink-ctl golden --case fet-clean --case fet-poisoned
      pink-ctl golden --file my-case.toml --json
    """
    from dita.golden import case_named, cases, check, load

    chosen = [case_named(name) for name in case or ()]
    if file is not None:
        chosen.append(load(file))
    results = [check(each) for each in (chosen or cases())]
    failed = sum(not result.passed for result in results)
    if as_json:
        emit_json(_as_json(results, failed))
    else:
        _show(results, failed)
    if failed:
        raise typer.Exit(int(ExitCode.DIFFERENCE))


def _as_json(results: list[CaseResult], failed: int) -> dict[str, Any]:
    return {
        "passed": len(results) - failed,
        "failed": failed,
        "cases": [
            {
                "name": result.name,
                "title": result.title,
                "passed": result.passed,
                "steps": result.steps,
                "runs": result.runs,
                "state_hash": result.state_hash,
                "economic_hash": result.economic_hash,
                "differences": [each._asdict() for each in result.differences],
            }
            for result in results
        ],
    }


# -- TEXT ---------------------------------------------------------------------------------------


def _show(results: list[CaseResult], failed: int) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(
        markup=False,
        highlight=False,
        emoji=False,
        width=None if sys.stdout.isatty() else WIDTH_IN_A_PIPE,
    )
    _print(console, _cases(results))
    for result in results:
        if not result.passed:
            _show_differences(console, result)
    summary = f"{len(results) - failed} passed, {failed} failed"
    _print(console, Text(summary, style="bold red" if failed else "bold green"))


def _print(console: Console, what: Any) -> None:
    # Line by line without the padding at their ends: it would wrap when a window is made narrower.
    with console.capture() as captured:
        console.print(what)
    for line in captured.get().splitlines():
        if line.strip():
            typer.echo(line.rstrip())


def _cases(results: list[CaseResult]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("case")
    table.add_column("title", overflow="fold")
    table.add_column("steps", justify="right")
    table.add_column("runs", justify="right")
    table.add_column("result")
    for result in results:
        word, style = ("passed", "green") if result.passed else ("FAILED", "bold red")
        name = Text(plain(result.name), style="" if result.passed else style, no_wrap=True)
        figures = (str(result.steps), str(result.runs))
        table.add_row(name, plain(result.title), *figures, Text(word, style=style))
    return table


def _show_differences(console: Console, result: CaseResult) -> None:
    """One line for each figure; a narrow terminal folds it below itself."""
    from rich.padding import Padding
    from rich.text import Text

    _print(console, Text(plain(result.name), style="bold red"))
    for each in result.differences[:DIFFERENCES_SHOWN]:
        line = Text.assemble(
            (f"step {each.step} {each.label}", "bold"),
            f" [{plain(each.run)}]" if each.run else "",
            f": {each.figure}: expected ",
            (plain(each.expected), "green"),
            "; found ",
            (plain(each.found), "red"),
        )
        _print(console, Padding(line, (0, 0, 0, 2)))
    more = len(result.differences) - DIFFERENCES_SHOWN
    if more > 0:
        _print(console, Text(f"  and {more} more, all of them with --json", style="dim"))
