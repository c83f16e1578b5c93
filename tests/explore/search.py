"""Breadth first through every scene of a world, and from each one home.

A scene that was seen is never walked through again, so the search ends where the world does.  Then
the fair way is followed from every scene: it has to end with nothing of ours left anywhere.
"""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from dita._kernel import Fault
from explore.acts import Acts
from explore.closing import Closing
from explore.judge import Finding
from explore.moves import Move
from explore.scene import Scene
from explore.world import World

HOME, STUCK, BROKEN = -1, -2, -3
#: After one of these nothing that follows is worth a look.
ENDS = frozenset({
    "a refused exit is sent again at once", "two live children", "oversold", "an order of nothing",
    "an exit beyond what is left",
})  # fmt: skip


@dataclass
class Violation:
    """A broken promise and the shortest way to it that was found."""

    world: str
    finding: Finding
    moves: tuple[Move, ...]

    @classmethod
    def of(cls, world: str, kind: str, moves: tuple[Move, ...]) -> Violation:
        """A violation that was saved: its text is found out by playing it."""
        return cls(world, Finding(kind, "as it was saved"), moves)


@dataclass
class Result:
    """What a search saw."""

    world: World
    states: int = 0
    moves: int = 0
    depth: int = 0
    homes: int = 0
    lost: int = 0
    seconds: float = 0.0
    whole: bool = True
    cells: set[tuple[int, int, int]] = field(default_factory=set)
    violations: list[Violation] = field(default_factory=list)


class Search:
    """Walks through one world, with other acts when something is to be planted in them."""

    def __init__(self, world: World, acts: Acts | None = None) -> None:
        self.acts = acts or Acts(world)
        self.closing = Closing(self.acts)
        self.result = Result(world)
        self._seen: dict[bytes, int] = {}
        self._parent = array("i")
        self._depth = array("i")
        self._move: list[Move] = []
        self._fair = array("i")
        self._ends: dict[int, str] = {}
        self._known: dict[tuple[str, str], None] = {}
        self._same: dict[Move, Move] = {}

    def run(self) -> Result:
        """The whole world, or as much of it as ``states_max`` allows."""
        started = time.process_time()
        acts, result = self.acts, self.result
        first = acts.first()
        acts.go(first)
        self._enter(first, -1, ())
        waiting: deque[tuple[int, Scene]] = deque([(0, first)])
        while waiting:
            number, s = waiting.popleft()
            if len(self._seen) > result.world.states_max:
                result.whole = False
                break
            self._expand(number, s, waiting)
        if result.whole:
            self._go_home()
        result.states = len(self._seen)
        result.depth = max(self._depth)
        result.cells = acts.judge.cells
        result.seconds = time.process_time() - started
        return result

    def _enter(self, s: Scene, parent: int, move: Move) -> int | None:
        """The number of a scene, None when it was seen before."""
        key = s.key(self.acts.images)
        number = self._seen.get(key)
        if number is not None:
            self._last = number
            return None
        number = self._last = len(self._seen)
        self._seen[key] = number
        self._parent.append(parent)
        self._depth.append(self._depth[parent] + 1 if parent >= 0 else 0)
        self._move.append(self._same.setdefault(move, move))
        self._fair.append(HOME)
        return number

    def _expand(self, number: int, s: Scene, waiting: deque[tuple[int, Scene]]) -> None:
        acts = self.acts
        acts.go(s)
        moves = acts.moves.of(s)
        fair = acts.moves.fair
        if not fair:
            self._rest(number, s)
        for at, move in enumerate(moves):
            acts.go(s)
            self.result.moves += 1
            try:
                new = acts.do(s, move)
            except Fault as fault:
                self._note(number, move, Finding("the kernel faults", str(fault)))
                if at < fair and at == 0:
                    self._fair[number] = BROKEN
                continue
            if acts.judge.news:
                for finding in acts.judge.news:
                    self._note(number, move, finding)
                ends = any(finding.kind in ENDS for finding in acts.judge.news)
                acts.judge.news.clear()
                if ends:
                    if at == 0 and fair:
                        self._fair[number] = BROKEN
                    continue
            found = self._enter(new, number, move)
            if at == 0 and fair:
                self._fair[number] = self._last
            if found is not None:
                waiting.append((found, new))

    def _rest(self, number: int, s: Scene) -> None:
        """Nothing goes on by itself any more: are we home?"""
        acts = self.acts
        if acts.core.active_slots():
            self._fair[number] = STUCK
            self._ends[number] = acts.judge.stuck(s)
            return
        self.result.homes += 1
        for finding in self.closing.of(s):
            self._note(number, (), finding)
        acts.judge.news.clear()

    def _note(self, number: int, move: Move, finding: Finding) -> None:
        known = (finding.kind, move[0] if move else "")
        if known in self._known:
            return
        self._known[known] = None
        way = self.way_to(number)
        self.result.violations.append(
            Violation(self.result.world.name, finding, (*way, move) if move else way)
        )

    def way_to(self, number: int) -> tuple[Move, ...]:
        """The moves from the first scene to this one."""
        moves = []
        while number > 0:
            moves.append(self._move[number])
            number = self._parent[number]
        return tuple(reversed(moves))

    def _go_home(self) -> None:
        """Follow the fair way from every scene; tell of the first that does not lead home."""
        count = len(self._fair)
        verdict = bytearray(count)  # 1 leads home, 2 does not, 3 is on the way being followed
        told: set[str] = set()
        for start in range(count):
            way = []
            at = start
            while at >= 0 and verdict[at] == 0:
                verdict[at] = 3
                way.append(at)
                at = self._fair[at]
            well = at == HOME or (at >= 0 and verdict[at] == 1)
            what = ""
            if at == STUCK:
                what = self._ends[way[-1]]
            elif at >= 0 and verdict[at] == 3:
                what = "round in circles"
            for passed in way:
                verdict[passed] = 1 if well else 2
            if what and what not in told:
                told.add(what)
                self._lost(start, len(way), what)
        self.result.lost = sum(1 for one in verdict if one == 2)

    def _lost(self, start: int, steps: int, what: str) -> None:
        way = list(self.way_to(start))
        acts = self.acts
        s = replay(acts, way)
        for _ in range(steps):
            acts.go(s)
            moves = acts.moves.of(s)
            if not acts.moves.fair:
                break
            way.append(moves[0])
            s = acts.do(s, moves[0])
        acts.judge.news.clear()
        self.result.violations.append(
            Violation(self.result.world.name, Finding("no way home", what), tuple(way))
        )


def replay(acts: Acts, moves: Sequence[Move]) -> Scene:
    """The scene after these moves from the first one."""
    s = acts.first()
    for move in moves:
        acts.go(s)
        s = acts.do(s, move)
    return s
