"""The texts behind a kernel's keys, learnt again when a journal is replayed in batches.

A batch has packed inputs only; the records they come from have the texts.  The reader calls this
after each batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dita.contracts import KernelCommandType, KernelEventKind, KernelIntent, VenueEvent
from dita.journal.chunks import Chunk
from dita.journal.records import FIRST_EVENT_KIND
from dita.kernel import ExecutionKernel


def teach(
    kernel: ExecutionKernel,
    chunk: Chunk,
    names: list[tuple[int, int]],
    outcomes: bytearray,
    texts_of: Callable[[Chunk, bytes], Any],
) -> None:
    """Teach a kernel the texts behind its keys, as it learnt them when the inputs came.

    ``names`` are the inputs that may bring some: index among the inputs, index of the record.
    """
    size, out_size = kernel.record_sizes()
    for number, index in names:
        payload = chunk.payload(index)[1]
        texts = texts_of(chunk, payload[size:])
        outcome = bytes(outcomes[number * out_size : (number + 1) * out_size])
        kind, accepted, _ = kernel.peek(payload[:size], outcome)
        venue_id = texts[2 if kind >= FIRST_EVENT_KIND else 3]
        if venue_id:  # packing is what makes the kernel remember it
            kernel.pack(
                VenueEvent(kind=KernelEventKind.TICK, received_ms=0, venue_order_id=venue_id)
            )
        if accepted and kind < FIRST_EVENT_KIND:
            intent_id, trade_id, asset = texts[:3]
            kernel.learn(
                KernelIntent(
                    command=KernelCommandType.CONTROL,
                    received_ms=0,
                    intent_id=intent_id,
                    trade_id=trade_id,
                    asset=asset,
                )
            )
