"""Playing a case: its steps go to a fresh engine one by one, with restarts where it has them.

The checker and `pink-ctl replay` call this.  It must not know what the case expects; it reports
only what no expectation can name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from dita.contracts import VenueEvent
from dita.engine import Engine, Outcome
from dita.errors import BadField
from dita.golden.arrivals import Run, runs
from dita.golden.case import START_MS, Case, Input, Step


class Difference(NamedTuple):
    """One figure that is not what the case says."""

    run: str
    step: int
    label: str
    figure: str
    expected: str
    found: str

    def __str__(self) -> str:
        """The difference on one line."""
        where = f"step {self.step} ({self.label})" + (f" [{self.run}]" if self.run else "")
        return f"{where}: {self.figure}: expected {self.expected}; found {self.found}"


class Played(NamedTuple):
    """A step after it was played.  ``outcome`` is None for a restart and for a look.

    ``packed`` is the input as the kernel's batch entrance takes it, empty where it cannot be
    packed.  ``problems`` are what no expectation can name: a restart that changed the state, an
    order that was never submitted.
    """

    step: Step
    outcome: Outcome | None
    engine: Engine
    packed: bytes
    problems: tuple[Difference, ...]


def play(case: Case, run: Run | None = None) -> Iterator[Played]:
    """Give the steps to a fresh engine, one by one; without a run, as they are written."""
    engine = Engine(case.config)
    time_ms = START_MS
    for step in (run or next(runs(case))).steps:
        problems: list[Difference] = []
        outcome = None
        packed = b""
        if step.restart:
            restarted = Engine.restore(engine.save())
            if restarted.state_hash() != engine.state_hash():
                problems.append(
                    problem(step, "state hash", engine.state_hash(), restarted.state_hash())
                )
            engine = restarted
        elif step.record is not None:
            time_ms += step.wait_ms
            record = msgspec.structs.replace(step.record, received_ms=time_ms)
            if step.order and not _known(engine, record):
                problems.append(problem(step, f"order {step.order}", "submitted", "no such order"))
            packed = _packed(engine, record)
            outcome = engine.apply(record)
        yield Played(step, outcome, engine, packed, tuple(problems))


def problem(step: Step, figure: str, expected: str, found: str) -> Difference:
    """A difference of a step; the run it was found in is added later."""
    return Difference("", step.number, step.label, figure, expected, found)


def _known(engine: Engine, record: Input) -> bool:
    return (
        isinstance(record, VenueEvent)
        and engine.kernel.order_of_client(record.client_order_id) is not None
    )


def _packed(engine: Engine, record: Input) -> bytes:
    try:
        return engine.kernel.pack(record).pack()
    except BadField:
        return b""
