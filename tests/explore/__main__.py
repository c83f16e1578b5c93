"""``make explore``: walk through the worlds that are named, or all, and say what was seen.

A world is walked to its end: states, moves, depth, seconds, and whether a promise was broken in it,
with the shortest way there.  Ends with 1 when one was.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor

from explore.search import Search
from explore.story import told
from explore.worlds import ALL, NAMES


def walk(name: str) -> tuple[str, bool]:
    """Walks through one world: its line, with a story of each broken promise."""
    found = Search(NAMES[name]).run()
    line = (
        f"{name:14} states {found.states:>9,}  moves {found.moves:>10,}  depth {found.depth:>3}"
        f"  whole {found.whole}  cells {len(found.cells):>3}  broken {len(found.violations)}"
        f"  {found.seconds:.1f} s"
    )
    stories = [told(violation, NAMES[name]) for violation in found.violations[:3]]
    return "\n".join((line, *stories)), bool(found.violations)


def main(names: list[str]) -> int:
    """Two processes, one world each at a time."""
    broken = False
    with ProcessPoolExecutor(max_workers=2) as pool:
        for text, bad in pool.map(walk, names or [world.name for world in ALL]):
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
            broken |= bad
    return int(broken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
