"""Golden cases: recorded inputs with the exact figures they must give, and the runner for them.

`pink-ctl golden`, `pink-ctl replay` and the tests call this; ``configs/golden/README.md`` explains
the format.  It must not know clock, chance or environment: files apart all of it is pure, and the
same text gives the same hashes in every process.
"""

from dita.golden.arrivals import RUNS_MAX, Run, runs
from dita.golden.case import CHILD_MARK, START_MS, STEP_MS, Case, Step
from dita.golden.checking import CaseResult, check
from dita.golden.playing import Difference, Played, play
from dita.golden.reading import CASE_BYTES_MAX, case_named, cases, load

__all__ = [
    "CASE_BYTES_MAX",
    "CHILD_MARK",
    "RUNS_MAX",
    "START_MS",
    "STEP_MS",
    "Case",
    "CaseResult",
    "Difference",
    "Played",
    "Run",
    "Step",
    "case_named",
    "cases",
    "check",
    "load",
    "play",
    "runs",
]
