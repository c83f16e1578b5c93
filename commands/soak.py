"""`pink-ctl soak`: published capital against the exchange's balance, asked again and again.

Asks a running serve; shows how far the two were apart, idle and while money was settling.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dita.clock import SystemClock
from dita.errors import ExitCode, NotRunning, Unanswered, UsageError, VenueError

from .operator import Typed, reach
from .options import AsJson, ConfigFile, StateDir
from .show.render import emit_json, note, show, show_table

if TYPE_CHECKING:
    from typing import IO

    from dita.runtime.operations.soak import Part, Summary

Duration = Annotated[str, typer.Option("--duration", metavar="TIME", help="Such as 90s, 30m, 24h.")]
Interval = Annotated[str, typer.Option("--interval", metavar="TIME", help="Between two samples.")]
Svg = Annotated[
    Path | None, typer.Option("--svg", metavar="FILE", help="Draw the samples into this file.")
]
Samples = Annotated[
    Path | None,
    typer.Option(
        "--samples", metavar="FILE", help="Append each sample to this file, as JSON lines."
    ),
]

UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


def soak(
    duration: Duration = "1h",
    interval: Interval = "60s",
    svg: Svg = None,
    samples: Samples = None,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Compare the exchange's balance with our capital over a time.

    While nothing moves, both must agree to 0.01 USDT. Exit 0 they did, 1 they did
    not, or something moved all the time, 3 not running, 6 the exchange never
    answered. Ctrl-C ends it early, with the summary so far.

    \b
    Examples:
      pink-ctl soak --duration 24h --interval 60s --svg soak.svg
      pink-ctl soak --duration 5m --interval 2s --json
    """
    from dita.runtime.operations.soak import summary_of

    spans = _span_ms(duration), _span_ms(interval)
    with contextlib.ExitStack() as files:  # before the first sample: a day of them is not lost
        plot = files.enter_context(_opened(svg)) if svg is not None else None
        lines = files.enter_context(samples.open("a")) if samples is not None else None
        directory = reach(Typed("", config, state_dir, False, as_json)).directory
        taken, missed = _polled(directory, *spans, lines)
        if not taken:
            raise VenueError("no sample taken", expected="answers of the exchange", found="none")
        summary = summary_of(taken, missed)
        if plot is not None:
            _plot(plot, taken)
    if as_json:
        emit_json(_record(summary))
    else:
        _tell(summary)
    if not summary.holds:
        raise typer.Exit(ExitCode.DIFFERENCE)


def _span_ms(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,6})(ms|s|m|h)", text)
    if match is None or int(match[1]) == 0:
        raise UsageError("time refused", expected="a number with ms, s, m or h", found=text)
    return int(match[1]) * UNITS_MS[match[2]]


def _polled(
    directory: Path, duration_ms: int, interval_ms: int, lines: IO[str] | None
) -> tuple[list[dict[str, Any]], int]:
    """Samples, and how many questions had no answer.  NotRunning when nobody runs at the start."""
    from dita.runtime.server.call import call

    clock = SystemClock()
    taken: list[dict[str, Any]] = []
    missed = 0
    start_ns = clock.monotonic_ns()
    try:
        for number in range(duration_ms // interval_ms + 1):
            due_ms = number * interval_ms - (clock.monotonic_ns() - start_ns) // 10**6
            clock.sleep_ms(max(0, due_ms))
            try:
                sample = call(directory, {"verb": "balance"}, 30.0)["balance"]
            except NotRunning:
                if not taken and not missed:
                    raise
                missed += 1
            except (VenueError, Unanswered) as silent:
                missed += 1
                note(f"no sample: {silent}")
            else:
                taken.append(sample)
                _append(lines, sample)
    except KeyboardInterrupt:
        note("ended early")
    return taken, missed


def _opened(path: Path) -> IO[str]:
    """A file to be written at the end; what is in it stays until then."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666), "w")


def _append(lines: IO[str] | None, sample: dict[str, Any]) -> None:
    import json

    if lines is not None:
        lines.write(json.dumps(sample) + "\n")
        lines.flush()


def _plot(file: IO[str], taken: list[dict[str, Any]]) -> None:
    from dita.runtime.operations.soak import IDLE_LIMIT, point_of

    from .show.soak_svg import picture

    file.truncate(0)
    file.write(picture([point_of(sample) for sample in taken], IDLE_LIMIT))
    note(f"plot: {file.name}")


def _record(summary: Summary) -> dict[str, Any]:
    from dita.units import format_money

    def part(found: Part) -> dict[str, Any]:
        return {
            "samples": found.samples,
            "worst": format_money(found.worst),
            "worst_ms": found.worst_ms,
        }

    return {
        "holds": summary.holds,
        "idle": part(summary.idle),
        "settling": part(summary.settling),
        "missed": summary.missed,
        "first_ms": summary.first_ms,
        "last_ms": summary.last_ms,
        "trades": summary.trades,
        "frozen_samples": summary.frozen_samples,
    }


def _tell(summary: Summary) -> None:
    from .show.status_board import places
    from .show.times import utc

    record = _record(summary)
    verdict = "within" if summary.holds else "NOT within"
    worst = places(record["idle"]["worst"], 8)
    show(f"idle {worst} USDT at most: {verdict} 0.01")
    rows = []
    for name in ("idle", "settling"):
        found = record[name]
        when = utc(found["worst_ms"]) if found["samples"] else ""
        rows.append((name, found["samples"], places(found["worst"], 8), when))
    show_table(
        ("capital − wallet", "samples", "largest, USDT", "at, UTC"),
        rows,
        right=("samples", "largest, USDT"),
    )
    seconds = (summary.last_ms - summary.first_ms) // 1_000
    show(
        f"{seconds} s, {summary.trades} trades, {summary.missed} unanswered samples, "
        f"entries frozen in {summary.frozen_samples} samples"
    )
