"""The prices of a symbol that a journal has between two records, thinned out for a picture."""

from __future__ import annotations

import struct
from typing import Final

from dita.contracts import KernelCommandType, KernelIntent
from dita.identity import plain_symbol
from dita.journal import JournalReader
from dita.journal.chunks import INPUTS
from dita.kernel import ExecutionKernel

#: So many prices at most: a picture has no more columns.
PRICES_MAX: Final = 4_000
_SIZE: Final = ExecutionKernel.record_sizes()[0]
_KIND: Final = struct.Struct(f"<h{_SIZE - 2}x")
_MARK: Final = int(KernelCommandType.MARK_PRICE)


def prices(
    reader: JournalReader, asset: str, first_seq: int, last_seq: int
) -> list[tuple[int, int]]:
    """(time, price in 10^-10) of a symbol, oldest first."""
    found: list[tuple[int, int]] = []
    every = max(1, (last_seq - first_seq) // PRICES_MAX)
    wanted, seen = plain_symbol(asset), 0
    for chunk in reader.chunks(first_seq):
        if chunk.first_seq > last_seq:
            break
        chunk.bring_up_to_date()
        kinds = _KIND.iter_unpack(memoryview(chunk.inputs)[: chunk.inputs_count * _SIZE])
        for index, kind in enumerate(chunk.kinds()):
            if kind not in INPUTS or next(kinds)[0] != _MARK:
                continue
            seen += 1
            if seen % every or chunk.first_seq + index > last_seq:
                continue
            record = reader.entry(chunk, index).record
            if isinstance(record, KernelIntent) and plain_symbol(record.asset) == wanted:
                found.append((record.received_ms, record.reference_price_e10))
    return found
