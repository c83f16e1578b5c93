"""Mutants of the journal: what is believed of bytes that are read, and who vouches for them."""

from __future__ import annotations

from mutants.mutant import Mutant

_CORE = "dita/_journal.pyx"
_READER = "dita/journal/reader.py"
_STORE = "dita/runtime/state/store.py"

_JOURNAL = ("journal/test_journal.py",)

STORAGE = (
    Mutant(
        name="a record's place in the chain is not compared",
        path=_CORE,
        old=" or h.seq != w.seq or h.previous != w.previous:\n            return STOP_BAD\n",
        new=":\n            return STOP_BAD\n",
        tests=_JOURNAL,
    ),
    Mutant(
        name="a record's number is not compared",
        path=_CORE,
        old=" or h.seq != w.seq or h.previous != w.previous:",
        new=" or h.previous != w.previous:",
        tests=_JOURNAL,
    ),
    Mutant(
        name="a record's chain is not compared",
        path=_CORE,
        old=" or h.seq != w.seq or h.previous != w.previous:",
        new=" or h.seq != w.seq:",
        tests=_JOURNAL,
    ),
    Mutant(
        name="a record vouches for itself",
        path=_CORE,
        old="        if h.synced >= h.seq:\n            return STOP_BAD\n",
        new="",
        tests=_JOURNAL,
    ),
    Mutant(
        name="a record behind a damage vouches for itself",
        path=_CORE,
        old="            if (h.length and h.seq >= seq and h.synced < h.seq\n",
        new="            if (h.length and h.seq >= seq\n",
        tests=_JOURNAL,
    ),
    Mutant(
        name="what a snapshot knows to be synced is cut as torn",
        path=_STORE,
        old="            vouched=newest.seq if newest else 0,\n",
        new="",
        tests=("journal/test_journal_care.py",),
    ),
    Mutant(
        name="what the high-water mark knows to be synced is cut as torn",
        path=_READER,
        old="        known = max(vouched, self._high.seq if self._high else 0)\n"
        "        if known >= seq:",
        new="        known = vouched\n        if known >= seq:",
        tests=_JOURNAL,
    ),
    Mutant(
        name="another history of the same length is taken",
        path=_READER,
        old="            if self._high and seq == stop and crc != self._high.crc:\n",
        new="            if False:\n",
        tests=_JOURNAL,
    ),
    Mutant(
        name="a segment that is shorter than it was made is taken",
        path=_READER,
        old="        if size < segment.size:\n",
        new="        if False:\n",
        tests=_JOURNAL,
    ),
    Mutant(
        name="bad bytes before the last segment are a torn tail",
        path=_READER,
        old="        if not is_last and why == _journal.BAD:\n",
        new="        if False:\n",
        tests=_JOURNAL,
    ),
)
