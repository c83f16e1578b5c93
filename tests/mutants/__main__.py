"""``make mutants``: break each promise on purpose in a copy, and see whether a test turns red.

First the named tests run on the copy as it is: a test that fails anyway proves nothing.  Ends with
1 when a mutant survives or cannot be tried.  Names or parts of names choose mutants.
"""

from __future__ import annotations

import sys
import time

from mutants import ALL
from mutants.checkout import Checkout, Verdict
from mutants.mutant import Mutant


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _chosen(names: list[str]) -> list[Mutant]:
    chosen = [m for m in ALL if not names or any(name in m.name for name in names)]
    return sorted(chosen, key=lambda m: m.is_compiled)  # those that need a build come last


def main(names: list[str]) -> int:
    """Judges the chosen mutants one after the other."""
    mutants, checkout = _chosen(names), Checkout()
    checkout.make()
    if not checkout.build():
        return 1
    needed = sorted({test for m in mutants if not m.argued for test in m.tests})
    verdict, where = checkout.test(needed) if needed else (Verdict.SURVIVED, "")
    if verdict is not Verdict.SURVIVED:
        _say(f"the tests fail without any change: {where}")
        return 1
    bad = 0
    for mutant in mutants:
        began = time.monotonic()
        verdict, why = checkout.judge(mutant)
        bad += verdict in (Verdict.SURVIVED, Verdict.BROKEN)
        _say(f"{verdict:8} {time.monotonic() - began:5.0f} s  {mutant.name}  {why}")
    _say(f"{len(mutants)} mutants, {bad} of them not killed")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
