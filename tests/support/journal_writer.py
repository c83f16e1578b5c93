"""A process that writes a journal as fast as it can, to be killed at any moment.

    python -P journal_writer.py DIRECTORY SEED

Batches of every size, notes and marks among them, segments of 8 KiB.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from random import Random

from dita.contracts import KernelEventKind, VenueEvent
from dita.journal import Journal, Note
from dita.kernel import ExecutionKernel, KernelConfig


def main(directory: Path, seed: int) -> None:
    """Write until killed."""
    journal = Journal.open(
        directory / "journal", namespace="pink", created_ms=1, segment_bytes=8_192,
        kernel=KernelConfig(seen=16),
    )  # fmt: skip
    engine = journal.epoch.engine()
    journal.replay_into(engine)
    packer, chance = ExecutionKernel(), Random(seed)
    os.write(1, b"open\n")
    while True:
        for _ in range(chance.choice((1, 1, 1, 2, 5, 40))):
            number = journal.last_seq + 1
            record = VenueEvent(
                kind=KernelEventKind.TICK, received_ms=number, event_id="x" * chance.randrange(60)
            )
            journal.append(record, packer.pack(record).pack())
            engine.apply(record)
        if chance.random() < 0.1:
            journal.append_note(Note(journal.last_seq, "HELLO", {"seed": seed}))
        if chance.random() < 0.02:
            journal.append_mark(engine.state_hash())
        journal.write_and_sync()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
