"""What becomes of an input that breaks an invariant of the engine: it is taken out of the state.

The input is in the journal already, so it would break every restart too.  The state before it is
rebuilt from snapshot and journal, and a record right behind it says that nobody ever applies it.
What that record does to slots and entries is the kernel's matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

from msgspec.structs import replace

from dita.contracts import (
    ControlAction,
    KernelCommandType,
    KernelDiagnosticCode,
    KernelEventKind,
    KernelIntent,
    KernelOutcome,
    KernelSeverity,
    VenueEvent,
    VenueOrder,
)
from dita.engine import RULES_VERSION, Engine, Outcome
from dita.errors import KernelFault, one_line
from dita.identity import plain_symbol
from dita.journal import Journal
from dita.kernel import ExecutionKernel

Input = KernelIntent | VenueEvent

#: The third input within so long ends the process: something is wrong with more than one fact.
WINDOW_MS: Final = 3_600_000
WITHIN_WINDOW: Final = 3
#: A position that was taken out is judged again after so long: it may fit the state by then.
AGAIN_MS: Final = 3_600_000
#: So many of the newest facts are remembered.
FACTS_MAX: Final = 64
#: They say that time passed, or tell a level that was told before: never the same fact again.
_NO_FACTS: Final = frozenset(
    {
        KernelEventKind.TICK,
        KernelEventKind.INCOME_READ,
        KernelEventKind.ACCOUNT_UPDATE,
    }
)
_REASON_CHARACTERS: Final = 400


class Rewindable(Protocol):
    """A journal and the engine that follows from it."""

    journal: Journal
    engine: Engine

    def rewind(self, seq: int) -> None:
        """Put the engine into the state before a record that is in the journal."""


class Quarantine:
    """Takes inputs that break an invariant out of the state of one store, within limits."""

    def __init__(self, store: Rewindable) -> None:
        self._store = store
        #: When inputs were taken out, in the records' time; oldest first.
        self._times: list[int] = []
        self._facts: dict[Input, int] = {}
        #: How often a fact that had been taken out was told again since the start.
        self.repeated = 0
        #: The newest one, in words; "" for none.
        self.last = ""
        self._listener: Callable[[KernelIntent, Outcome, int], None] | None = None
        #: What was taken out while nobody listened yet.
        self._untold: list[tuple[KernelIntent, Outcome, int]] = []
        for fault, control in _found(store.journal):
            self._remember(fault, control)

    def told_before(self, record: Input) -> Outcome | None:
        """The answer to a fact that was taken out and is told again: it is counted, not applied."""
        since_ms = self._facts.get(_fact(record)) if self._facts else None
        if since_ms is None:
            return None
        of_a_position = isinstance(record, VenueEvent) and record.kind is KernelEventKind.POSITION
        if of_a_position and record.received_ms - since_ms >= AGAIN_MS:
            return None
        self.repeated += 1
        return self._refused(record, (), "reported again; it was set aside before")

    def take_out(self, record: Input, seq: int, fault: BaseException) -> Outcome:
        """Take out the input with this number, the newest; what was asked for because of it.

        KernelFault when the process had better end: it belongs to no slot, or it is the third
        within an hour.  The journal is in order then, and a restart goes on without the input.
        """
        store = self._store
        store.rewind(seq)
        slot = slot_of(store.engine.kernel, record)
        control = _control(record, seq, slot, fault)
        packed = store.engine.kernel.pack(control).pack()
        control_seq = store.journal.append_quarantine(control, packed)
        done = store.engine.apply(control)
        self._untold.append((control, done, control_seq))
        self._tell()
        self._remember(record, control)
        self._hold_to_the_limits(record, slot, fault)
        return self._refused(record, done.effects, control.reason)

    def listen(self, listener: Callable[[KernelIntent, Outcome, int], None]) -> None:
        """Tell of each record that takes an input out: the record, what it did, its number; also
        of those of the recovery.  The listener must not raise."""
        self._listener = listener
        self._tell()

    def _tell(self) -> None:
        while self._listener is not None and self._untold:
            self._listener(*self._untold.pop(0))

    def status(self) -> dict[str, Any]:
        """For an operator, in plain values."""
        return {
            "inputs": len(self._store.journal.quarantined),
            "repeated": self.repeated,
            "last": self.last,
            "last_ms": self._times[-1] if self._times else 0,
        }

    def _remember(self, record: Input, control: KernelIntent) -> None:
        self._times.append(control.received_ms)
        self.last = control.reason
        if isinstance(record, KernelIntent) or record.kind not in _NO_FACTS:
            self._facts[_fact(record)] = control.received_ms
            while len(self._facts) > FACTS_MAX:
                del self._facts[next(iter(self._facts))]

    def _hold_to_the_limits(self, record: Input, slot: int, fault: BaseException) -> None:
        now_ms = record.received_ms
        lately = sum(1 for ms in self._times if now_ms - ms < WINDOW_MS)
        if slot >= 0 and lately < WITHIN_WINDOW:
            return
        self._store.journal.write_and_sync()
        why = "it belongs to no slot" if slot < 0 else f"{lately} inputs within an hour"
        raise KernelFault(
            "an input broke an invariant",
            expected=f"faults that belong to one slot, fewer than {WITHIN_WINDOW} an hour",
            found=f"{why}; {self.last}",
            action="report it with the journal; a restart goes on without that input, entries"
            " frozen (runbooks/journal.md)",
        ) from fault

    def _refused(self, record: Input, effects: tuple[Any, ...], why: str) -> Outcome:
        is_event = isinstance(record, VenueEvent)
        code = (
            KernelDiagnosticCode.INVALID_EVENT if is_event else KernelDiagnosticCode.INVALID_INTENT
        )
        trigger = record.kind if isinstance(record, VenueEvent) else record.command
        kernel = KernelOutcome(
            False, code, KernelSeverity.CRITICAL, trigger, self._store.engine.kernel.event_seq,
            notes=(KernelDiagnosticCode.QUARANTINED,), effects=effects,
            details={"quarantined": why},
        )  # fmt: skip
        return Outcome(kernel, self._store.engine.snapshot)


def slot_of(kernel: ExecutionKernel, record: Input) -> int:
    """The slot in use that an input is about; -1 for none."""
    slots = kernel.active_slots()
    if isinstance(record, KernelIntent):
        named = [s for s in slots if s.slot_id == record.slot_id or s.trade_id == record.trade_id]
        return named[0].slot_id if named else -1
    order: VenueOrder | None = None
    if record.client_order_id:
        order = kernel.order_of_client(record.client_order_id)
    if order is None and record.venue_order_id:
        order = kernel.order_of_venue(record.venue_order_id)
    if order is not None:
        return next((s.slot_id for s in slots if s.trade_no == order.trade_no), -1)
    if record.asset:
        plain = plain_symbol(record.asset)
        return next((s.slot_id for s in slots if plain_symbol(s.asset) == plain), -1)
    return record.slot_id if any(s.slot_id == record.slot_id for s in slots) else -1


def _control(record: Input, seq: int, slot: int, fault: BaseException) -> KernelIntent:
    found = getattr(fault, "found", "") or str(fault)
    told = f"input {seq} broke an invariant under rules {RULES_VERSION}: {one_line(found)}"
    return KernelIntent(
        command=KernelCommandType.CONTROL,
        received_ms=record.received_ms,
        intent_id=f"quarantine-{seq}",
        slot_id=slot,
        action=ControlAction.QUARANTINE,
        quarantined_seq=seq,
        rules_version=RULES_VERSION,
        reason=told[:_REASON_CHARACTERS],
    )


def _fact(record: Input) -> Input:
    """The same for the same fact, whenever and however often it is told."""
    if isinstance(record, KernelIntent):
        return replace(record, received_ms=0, deadline_ms=0)
    # Two increments may be equal in everything but their ids.
    event_id = record.event_id if record.increment else ""
    return replace(record, received_ms=0, requested_ms=0, event_id=event_id)


def _found(journal: Journal) -> Iterator[tuple[Input, KernelIntent]]:
    """The newest ones in a journal: the input, and the intent that took it out."""
    for seq in journal.quarantined[-FACTS_MAX:]:
        entries = journal.records(seq)
        taken_out, by = next(entries).record, next(entries).record
        if isinstance(taken_out, KernelIntent | VenueEvent) and isinstance(by, KernelIntent):
            yield taken_out, by
