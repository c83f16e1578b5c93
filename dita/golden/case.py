"""What a golden case is once it is loaded: its steps, its variants and the kernel they are for.

Every module of the package calls this.  It must not know how a case is written, nor how its steps
are played.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from dita.contracts import KernelIntent, Record, VenueEvent
from dita.kernel import KernelConfig

#: When every case begins: 2026-06-11 00:00 UTC, the day of the FET incident.
START_MS: Final = 1_781_136_000_000
#: Between one input and the next, where the case does not say otherwise.
STEP_MS: Final = 100
#: `exit-1/2` is child 2 of the intent exit-1; plain `exit-1` is child 0.
CHILD_MARK: Final = "/"

Input: TypeAlias = KernelIntent | VenueEvent


class Step(Record, frozen=True, kw_only=True):
    """One step: an input, a restart, or (with neither) just a look at what is expected."""

    number: int
    note: str
    record: Input | None
    order: str
    restart: bool
    any_order: bool
    wait_ms: int
    expect: dict[str, Any]

    @property
    def label(self) -> str:
        """What the step does, in one word."""
        if self.record is None:
            return "restart" if self.restart else "look"
        is_intent = isinstance(self.record, KernelIntent)
        return self.record.command.name if is_intent else self.record.kind.name  # type: ignore[union-attr]


class Variant(Record, frozen=True, kw_only=True):
    """The steps with one set of `$names` filled in; most cases have one, without a name."""

    name: str
    steps: tuple[Step, ...]


class Case(Record, frozen=True, kw_only=True):
    """A loaded case, converted and checked as a whole."""

    name: str
    title: str
    source: str
    about: str
    trade: str
    config: KernelConfig
    variants: tuple[Variant, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps as written, those of the first variant."""
        return self.variants[0].steps
