"""Checking a case: every run is played and every figure compared with the one that is expected.

`pink-ctl golden`, replay and tests call `check`.  It must not know single figures, nor how the
result is shown.
"""

from __future__ import annotations

from dita.contracts import Record
from dita.engine import Engine
from dita.errors import KernelFault
from dita.golden.arrivals import Run, runs
from dita.golden.case import Case
from dita.golden.figures import compare
from dita.golden.playing import Difference, play, problem


class CaseResult(Record, frozen=True, kw_only=True):
    """What checking a case gave.  The hashes are those at the end of the first run."""

    name: str
    title: str
    passed: bool
    steps: int
    runs: int
    failures: list[str]
    differences: tuple[Difference, ...]
    state_hash: str
    economic_hash: str


def check(case: Case) -> CaseResult:
    """Play every run of the case and compare every figure; a broken invariant is a failure too."""
    differences: list[Difference] = []
    hashes: list[tuple[str, str]] = []
    economic: dict[str, str] = {}
    count = 0
    for run in runs(case):
        count += 1
        found, engine = _check_run(case, run)
        if engine is not None:
            hashes.append((engine.state_hash(), engine.economic_hash()))
            first = economic.setdefault(run.variant, hashes[-1][1])
            if hashes[-1][1] != first:
                end = run.steps[-1]
                found.append(problem(end, "economic hash", first[:12], hashes[-1][1][:12]))
        differences += [each._replace(run=run.name) for each in found]
    state_hash, economic_hash = hashes[0] if hashes else ("", "")
    return CaseResult(
        name=case.name,
        title=case.title,
        passed=not differences,
        steps=len(case.steps),
        runs=count,
        failures=[str(each) for each in differences],
        differences=tuple(differences),
        state_hash=state_hash,
        economic_hash=economic_hash,
    )


def _check_run(case: Case, run: Run) -> tuple[list[Difference], Engine | None]:
    """The differences of one run and its engine at the end, None when an invariant broke."""
    found: list[Difference] = []
    engine: Engine | None = None
    reached = 0
    try:
        for played in play(case, run):
            reached += 1
            engine = played.engine
            found += played.problems
            found += compare(case, played)
    except KernelFault as fault:
        what = fault.found.partition(" at input ")[0]  # which input, the step says
        found.append(problem(run.steps[reached], "the kernel", "no broken invariant", what))
        return found, None
    return found, engine
