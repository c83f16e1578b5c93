"""The ways to play a case: every variant, in every order of arrival that the case allows.

The loader counts them, the checker plays them all.  What a step does and what must be true after
it is of no interest here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from dita.contracts import Record
from dita.golden.case import Case, Step

#: Orders of arrival that one case may have; a block of six inputs has as many.
RUNS_MAX: Final = 720


class Run(Record, frozen=True, kw_only=True):
    """One way to play a case: a variant, and an order of arrival where the case allows several."""

    variant: str
    order: str
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """How the run is called in a failure; empty for the only or first one."""
        return ", ".join(part for part in (self.variant, self.order) if part)


def blocks(steps: Sequence[Step]) -> list[list[Step]]:
    """The runs of consecutive any_order steps."""
    groups = itertools.groupby(steps, key=lambda step: step.any_order)
    return [list(block) for any_order, block in groups if any_order]


def runs(case: Case) -> Iterator[Run]:
    """Every way to play the case, as written first."""
    for variant in case.variants:
        groups = itertools.groupby(variant.steps, key=lambda step: step.any_order)
        choices: list[list[tuple[Step, ...]]] = []
        for any_order, group in groups:
            block = tuple(group)
            choices.append(list(itertools.permutations(block)) if any_order else [block])
        for picked in itertools.product(*choices):
            steps = tuple(itertools.chain.from_iterable(picked))
            moved = [step.number for step in steps if step.any_order]
            order = "" if moved == sorted(moved) else "order " + " ".join(map(str, moved))
            yield Run(variant=variant.name, order=order, steps=steps)
