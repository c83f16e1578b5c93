"""Our side of the comparison with a peer: Core.apply over the same fills, in its own process."""

from __future__ import annotations

import sys

from benchmarks import stream
from benchmarks.peer_rounds import Fill, Plan, Stopwatch, serve
from dita import _kernel
from dita.contracts import VenueEvent
from dita.kernel import ExecutionKernel

Groups = list[tuple[list[_kernel.Event], list[_kernel.Event]]]


def plan_of(work: stream.Stream) -> tuple[Plan, dict[int, int]]:
    """The stream's applied fills as a plan, and what each trade realizes."""
    core = ExecutionKernel(stream.CONFIG)._core
    core.restore(work.saved_core)
    fills: list[Fill] = []
    runs: list[list[int]] = []
    lots: dict[int, int] = {}
    realized: dict[int, int] = {}
    broken = True
    for record, packed, is_fill in zip(work.records, work.packed, work.applied_fill, strict=True):
        outcome = core.apply(_kernel.Event.unpack(packed))
        if not is_fill or not isinstance(record, VenueEvent):
            broken = True
            continue
        trade, order = outcome.trade_no, outcome.order_no
        opens = trade not in realized
        quantity = record.last_quantity_e8 // stream.CONTRACT.step_e8
        ticks = record.last_price_e10 // stream.CONTRACT.tick_e10
        lots[order] = lots.get(order, 0) + quantity
        realized[trade] = realized.get(trade, 0) + outcome.realized_delta
        if broken or opens:
            runs.append([])
        runs[-1].append(len(fills))
        fills.append(Fill(trade, order, int(record.side), quantity, ticks, opens))
        broken = opens
    return Plan(fills, runs, lots), realized


def groups_of(work: stream.Stream, plan: Plan) -> Groups:
    """The stream cut as the plan's runs are: untimed events, then a run of timed fills."""
    events = [_kernel.Event.unpack(record) for record in work.packed]
    positions = [i for i, is_fill in enumerate(work.applied_fill) if is_fill]
    groups: Groups = []
    done = 0
    for run in plan.runs:
        if plan.fills[run[0]].opens:
            continue
        first, last = positions[run[0]], positions[run[-1]]
        groups.append((events[done:first], events[first : last + 1]))
        done = last + 1
    return groups


def main() -> None:
    """Serve rounds over a stream of the given number of trades per slot."""
    work = stream.make(int(sys.argv[1]))
    plan, _ = plan_of(work)
    groups = groups_of(work, plan)
    core = ExecutionKernel(stream.CONFIG)._core
    apply = core.apply

    def measure() -> float:
        core.restore(work.saved_core)
        watch = Stopwatch()
        for before, fills in groups:
            for event in before:
                apply(event)
            watch.start()
            for event in fills:
                apply(event)
            watch.stop(len(fills))
        return watch.per_fill()

    serve({}, measure)


if __name__ == "__main__":
    main()
