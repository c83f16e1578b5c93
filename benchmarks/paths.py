"""The measured ways of one and the same stream, each as a call that times a single pass.

Every pass starts from the same saved state, restored outside the timed part; inputs, events and
buffers exist and have been touched before.  Whole passes are timed in the thread's own CPU time, so
that waiting for a busy core does not count; that clock is too slow to read for the engine's short
runs of fills, which are timed by the wall and left out when the core was taken away in between.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from time import thread_time_ns
from types import ModuleType
from typing import Any, Final

from benchmarks.peer_rounds import Stopwatch
from benchmarks.reference import Reference
from benchmarks.rounds import Measurement
from benchmarks.stream import CONFIG, Stream
from dita import _kernel
from dita.contracts import KernelEventKind, VenueEvent
from dita.engine import Engine
from dita.kernel import ExecutionKernel

MODEL_PATH: Final = Path(__file__).parent.parent / "tests" / "support" / "model" / "kernel.py"
MODEL_EVENTS: Final = 600


class Mismatch(Exception):
    """The yardstick and the kernel do not agree: nothing that follows would mean anything."""


class Paths:
    """A stream with everything that its measurements need, prepared once."""

    def __init__(self, stream: Stream, reference: Reference, tuned: Reference) -> None:
        self.stream = stream
        self.reference = reference
        self.tuned = tuned
        self.count = len(stream.packed)
        self.inputs = stream.joined()
        self.outcomes = bytearray(b"\xff" * (self.count * _kernel.OUTCOME_SIZE))
        self.other_outcomes = bytearray(b"\xff" * len(self.outcomes))
        self.core = ExecutionKernel(CONFIG)._core
        self.core.restore(stream.saved_core)
        self.first_seq = self.core.event_seq
        self.events = [_kernel.Event.unpack(record) for record in stream.packed]

    # -- whole stream, nanoseconds per event -----------------------------------------------------

    def c_loop(self) -> float:
        """The C loop, one call for the whole stream."""
        return self._c_loop(self.reference)

    def tuned_c_loop(self) -> float:
        """The same with its 128-bit sums tuned by hand to the compiler."""
        return self._c_loop(self.tuned)

    def _c_loop(self, loop: Reference) -> float:
        loop.reset(self.first_seq)
        start = thread_time_ns()
        done = loop.run(self.inputs, self.other_outcomes, self.count)
        taken = thread_time_ns() - start
        if done != self.count:
            raise Mismatch(f"the C loop stopped at event {done} of {self.count}")
        return taken / self.count

    def floor(self) -> float:
        """Reading the inputs and writing the outcomes alone."""
        start = thread_time_ns()
        self.reference.floor(self.inputs, self.other_outcomes, self.count)
        return (thread_time_ns() - start) / self.count

    def batch(self) -> float:
        """The kernel's batch entrance, one call for the whole stream."""
        self.core.restore(self.stream.saved_core)
        start = thread_time_ns()
        self.core.apply_batch(self.inputs, self.outcomes)
        return (thread_time_ns() - start) / self.count

    def objects(self) -> float:
        """A ready event object in, an outcome object out, one call per event."""
        self.core.restore(self.stream.saved_core)
        return _timed_calls(self.core.apply, self.events)

    def empty_calls(self) -> float:
        """The same loop around a builtin that does nothing."""
        return _timed_calls(id, self.events)

    def check(self) -> dict[str, int]:
        """Both loops over the stream; Mismatch unless every outcome and every figure is equal."""
        self.batch()
        self.tuned_c_loop()
        self._compare_outcomes()
        self.c_loop()
        self._compare_outcomes()
        ledger = self.core.ledger()
        ours = {"realized": ledger[1], "trueup": ledger[2], "fees": ledger[3], "bridged": ledger[9]}
        theirs = self.reference.ledger()
        if any(theirs[name] != figure for name, figure in ours.items()):
            raise Mismatch(f"ledgers differ: kernel {ours}, C loop {theirs}")
        engine = Engine.restore(self.stream.saved)
        for record in self.stream.records:
            engine.apply(record)
        if (engine.kernel.ledger().realized, engine.kernel.ledger().fees) != ledger[1:4:2]:
            raise Mismatch("the engine and the batch entrance come to different figures")
        trades = {t[0]: (t[5], t[8], t[9], t[10], t[11]) for t in self.core.trades()}
        if trades != self.reference.trades():
            raise Mismatch("the trades in the tables differ between the C loop and the kernel")
        return ours

    def _compare_outcomes(self) -> None:
        size = _kernel.OUTCOME_SIZE
        for at in range(0, len(self.outcomes), size):
            if self.outcomes[at : at + size] != self.other_outcomes[at : at + size]:
                raise Mismatch(f"outcome {at // size} differs between the C loop and the kernel")


def _timed_calls(function: Callable[[Any], object], arguments: list[Any]) -> float:
    start = thread_time_ns()
    for argument in arguments:
        function(argument)
    return (thread_time_ns() - start) / len(arguments)


# -- the engine, nanoseconds per applied fill ------------------------------------------------------


def engine_fills(stream: Stream, build: bool) -> Measurement:
    """Engine.apply of the stream's fills; with ``build`` the VenueEvent is made in the timed part.

    What comes between two runs of fills is applied untimed.
    """
    runs = _runs(stream)
    fields = [[_fill_fields(stream.records[i]) for i in fills] for _, fills in runs]

    def measure() -> float:
        engine = Engine.restore(stream.saved)
        apply = engine.apply
        watch = Stopwatch()
        for (others, fills), values in zip(runs, fields, strict=True):
            for index in others:
                apply(stream.records[index])
            ready = [stream.records[index] for index in fills]
            watch.start()
            if build:
                for kind, received, sent, asset, venue, client, side, z, ap, last, price in values:
                    apply(
                        VenueEvent(
                            kind=kind,
                            received_ms=received,
                            exchange_ms=sent,
                            asset=asset,
                            venue_order_id=venue,
                            client_order_id=client,
                            side=side,
                            quantity_e8=z,
                            price_e10=ap,
                            last_quantity_e8=last,
                            last_price_e10=price,
                        )
                    )
            else:
                for record in ready:
                    apply(record)
            watch.stop(len(ready))
        return watch.per_fill()

    return measure


def _runs(stream: Stream) -> list[tuple[list[int], list[int]]]:
    """The stream as pairs: indices of what comes before a run of applied fills, and of the run."""
    runs: list[tuple[list[int], list[int]]] = []
    others: list[int] = []
    fills: list[int] = []
    for index, is_fill in enumerate(stream.applied_fill):
        if is_fill:
            fills.append(index)
            continue
        if fills:
            runs.append((others, fills))
            others, fills = [], []
        others.append(index)
    if fills:
        runs.append((others, fills))
    return runs


def _fill_fields(record: object) -> tuple[Any, ...]:
    if not isinstance(record, VenueEvent) or record.kind < KernelEventKind.PARTIAL_FILL:
        raise TypeError(record)
    return (
        record.kind,
        record.received_ms,
        record.exchange_ms,
        record.asset,
        record.venue_order_id,
        record.client_order_id,
        record.side,
        record.quantity_e8,
        record.price_e10,
        record.last_quantity_e8,
        record.last_price_e10,
    )


# -- the plain-Python model ------------------------------------------------------------------------


def python_model(stream: Stream) -> Measurement | None:
    """The tests' plain-Python model over the head of the stream; None when there is no model."""
    if not MODEL_PATH.exists():
        return None
    model = _load(MODEL_PATH).KernelModel
    records = stream.records[:MODEL_EVENTS]

    def measure() -> float:
        kernel = model(CONFIG)
        for record in stream.setup:
            kernel.apply(record)
        apply = kernel.apply
        start = thread_time_ns()
        for record in records:
            apply(record)
        return (thread_time_ns() - start) / len(records)

    return measure


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    sys.path.insert(0, str(path.parents[2]))  # the model's files import one another as support.…
    spec.loader.exec_module(module)
    return module
