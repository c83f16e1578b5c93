"""`pink-ctl replay`: a recorded trade once more through the compiled kernel, to the exact cent.

Parses the options and calls dita.incident.replay; story shows the result, chart draws it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dita.errors import ExitCode, OperatorError, UsageError

from .options import AsJson
from .show.render import emit_json, note

if TYPE_CHECKING:
    from dita.incident.replay import Row, Story


def replay(
    trade: Annotated[str, typer.Option(help="Recorded trade, by name or symbol.")] = "FET",
    variant: Annotated[
        str, typer.Option(help="clean (true prices) or poisoned (no prices, settled later).")
    ] = "",
    file: Annotated[
        Path | None, typer.Option(help="A recording of your own, as a TOML file.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Add what each defect of the old system cost.")
    ] = False,
    speed: Annotated[
        float | None, typer.Option(help="Pace the steps, this many times as fast as recorded.")
    ] = None,
    svg: Annotated[Path | None, typer.Option(help="Also draw a picture into this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Replay a recorded trade beside the books that got it wrong.

    \b
    Examples:
      pink-ctl replay --trade FET
      pink-ctl replay --trade FET --variant poisoned --explain
      pink-ctl replay --trade FET --speed 10 --svg fet.svg
    """
    from dita.incident.replay import opened, recorded, tell

    from .show import replay_tables as view

    if speed is not None and (as_json or not 0 < speed < float("inf")):
        raise UsageError(
            "--speed refused",
            expected="a number above 0, without --json",
            found=f"{speed}" + (" with --json" if as_json else ""),
            action="leave --speed out to see everything at once",
        )
    told = tell(recorded(trade, variant) if file is None else opened(file, variant))
    if svg is not None:
        _write(svg, told)
    if as_json:
        emit_json(view.as_json(told))
    else:
        try:
            view.show(told, explain=explain, pace=_pace(speed) if speed else None)
        except KeyboardInterrupt:
            note("stopped; a replay changes nothing, so there is nothing to undo")
            raise typer.Exit(130) from None
        _next(told, explain)
    if told.failures or not all(check.passed for check in told.checks):
        raise typer.Exit(int(ExitCode.DIFFERENCE))


def _pace(speed: float) -> Callable[[Row], None]:
    from threading import Event

    never, before = Event(), [0]

    def wait(row: Row) -> None:
        never.wait((row.at_ms - before[0]) / 1000 / speed)
        before[0] = row.at_ms

    return wait


def _write(path: Path, told: Story) -> None:
    from .show.replay_svg import picture

    try:
        path.write_text(picture(told), encoding="utf-8")
    except OSError as bad:
        raise OperatorError(
            f"{path}: not written",
            expected="a file that can be written",
            found=str(bad),
            action="name another file with --svg",
        ) from bad
    note(f"picture written to {path}")


def _next(told: Story, explain: bool) -> None:
    recording = told.recording
    if recording.incident is None:
        if explain:
            note("nothing to explain: no file beside the recording says what others booked")
        return
    base = f"pink-ctl replay --trade {recording.name.upper()}"
    others = [name for name in recording.variants if name != recording.variant]
    if not explain:
        note("what each old defect cost:")
        note(f"next: {base} --explain")
    for other in others:
        note(f"next: {base} --variant {other}")
