"""The C loop as a thing to call: makes its header, compiles it, loads it, drives it."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from benchmarks.stream import ANCHOR_MS, CONFIG, WALLET
from dita import _kernel
from dita.transitions import RULES, TRANSITIONS

HERE: Final = Path(__file__).parent
DITA: Final = HERE.parent / "dita"
FLAGS: Final = ("-O3", "-shared", "-fPIC", "-Wall", "-Wextra")
STATES: Final = 6
KINDS: Final = 40
_LEDGER: Final = ("realized", "trueup", "fees", "bridged", "peak")


def compiler() -> str:
    """The C compiler's name; SystemExit when there is none."""
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return name
    raise SystemExit("no C compiler (cc, gcc, clang): the yardstick cannot be compiled")


def _blocks(text: str) -> list[list[str]]:
    """The top-level blocks of a .pxd, each as its lines without comments."""
    blocks: list[list[str]] = []
    for raw in text.splitlines():
        line = raw.partition("#")[0].rstrip()
        if not line:
            continue
        if line[0].isspace() and blocks:
            blocks[-1].append(line.strip())
        else:
            blocks.append([line])
    return blocks


def records_header(pxd: str) -> str:
    """The kernel's numbers and its two packed records as C, from its contents page."""
    parts: list[str] = []
    for head, *lines in _blocks(pxd):
        if head == "cdef enum:":
            body = ", ".join(re.sub(r"(?<=\d)_(?=\d)", "", line) for line in lines)
            parts.append(f"enum {{ {body} }};")
        elif head in ("cdef struct Input:", "cdef struct Result:"):
            name = head.removeprefix("cdef struct ").removesuffix(":")
            parts.append(f"typedef struct {{ {'; '.join(lines)}; }} {name};")
    parts.append(f'_Static_assert(sizeof(Input) == {_kernel.INPUT_SIZE}, "Input");')
    parts.append(f'_Static_assert(sizeof(Result) == {_kernel.OUTCOME_SIZE}, "Result");')
    return "\n".join(parts) + "\n"


def build(folder: Path, tuned: bool = False) -> Path:
    """Compile reference.c into the folder, as it stands or tuned by hand; the library's path."""
    (folder / "records.h").write_text(records_header((DITA / "_kernel.pxd").read_text()))
    library = folder / ("tuned.so" if tuned else "reference.so")
    flags = (*FLAGS, "-DTUNED") if tuned else FLAGS
    command = [compiler(), *flags, f"-I{DITA}", f"-I{folder}", "-o", str(library)]
    subprocess.run([*command, str(HERE / "reference.c")], check=True)
    return library


def _cells() -> bytes:
    cells = bytearray(3 * STATES * KINDS)
    for (state, trigger), cell in TRANSITIONS.items():
        at = 3 * (int(state) * KINDS + int(trigger))
        cells[at] = RULES.index(cell.rule)
        cells[at + 1] = int(cell.refusal)
        cells[at + 2] = sum(1 << following for following in cell.next_states)
    return bytes(cells)


class Reference:
    """One book of the C loop."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._run = self._library.reference_run
        self._floor = self._library.reference_floor
        for function in (self._run, self._floor):
            function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
            function.restype = ctypes.c_int64
        self._floor.argtypes = self._floor.argtypes[1:]
        new = self._library.reference_new
        new.restype = ctypes.c_void_p
        new.argtypes = [ctypes.c_int32, ctypes.c_int32, ctypes.c_int32, ctypes.c_int64]
        book = new(CONFIG.slot_limit, CONFIG.leverage_cap, CONFIG.seen, CONFIG.figure_tolerance)
        if not book:
            raise MemoryError
        self._book = ctypes.c_void_p(book)
        self._table = ctypes.create_string_buffer(_cells(), 3 * STATES * KINDS)

    def reset(self, event_seq: int) -> None:
        """Empty tables, anchored as the stream's engine is."""
        long = ctypes.c_int64
        self._library.reference_reset(
            self._book, self._table, long(ANCHOR_MS), long(WALLET), long(event_seq), long(ANCHOR_MS)
        )

    def run(self, inputs: bytearray, outcomes: bytearray, count: int) -> int:
        """Apply the packed inputs in one call; how many it applied."""
        return int(self._run(self._book, _address(inputs), _address(outcomes), count))

    def floor(self, inputs: bytearray, outcomes: bytearray, count: int) -> int:
        """Read the inputs and write the outcomes, and nothing else."""
        return int(self._floor(_address(inputs), _address(outcomes), count))

    def ledger(self) -> dict[str, int]:
        """Its money figures."""
        halves = (ctypes.c_int64 * (2 * len(_LEDGER)))()
        self._library.reference_ledger(self._book, halves)
        return {name: _joined(halves[2 * i : 2 * i + 2]) for i, name in enumerate(_LEDGER)}

    def trades(self) -> dict[int, tuple[int, ...]]:
        """By number: entered, exited, realized, true-up and fees of every trade in its tables."""
        rows = (ctypes.c_int64 * (9 * (2 * CONFIG.slot_limit + 64)))()
        self._library.reference_trades.restype = ctypes.c_int64
        found = self._library.reference_trades(self._book, rows)
        return {row[0]: _figures(row) for row in (rows[9 * i : 9 * i + 9] for i in range(found))}


def _figures(row: list[int]) -> tuple[int, ...]:
    return (row[1], row[2], _joined(row[3:5]), _joined(row[5:7]), _joined(row[7:9]))


def _joined(halves: list[int]) -> int:
    high, low = halves
    return (high << 64) | (low & 0xFFFF_FFFF_FFFF_FFFF)


def _address(buffer: bytearray) -> int:
    return ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))
