"""The exploration: small worlds whole, what is planted is found, and what was seen stays seen.

`make explore` walks through every world; here are the small ones, and the proof that the search
would notice: a kernel or a runtime with a defect planted in it has to be found out.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from explore.acts import Acts
from explore.book import UNIT
from explore.closing import Closing
from explore.record import Record, all_cells, compare, never_reached, row_of
from explore.search import Result, Search, replay
from explore.story import read, saved, told
from explore.unreached import UNREACHED
from explore.world import KINDS, Entry, World
from explore.worlds import ALL, NAMES, QUICK

from dita import kernel
from dita.engine import Engine

RECORD = Record.read(Path(__file__).parent.parent / "explore" / "record.json")
SAVED = sorted((Path(__file__).parent.parent / "data" / "explore").glob("*.json"))


# -- small worlds, whole ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUICK)
def test_a_small_world_keeps_every_promise(name: str) -> None:
    result = Search(NAMES[name]).run()
    assert not result.violations, "\n".join(told(v, NAMES[name]) for v in result.violations)
    assert result.lost == 0
    assert not compare(RECORD, [row_of(result)])


@pytest.mark.parametrize("file", SAVED, ids=lambda file: file.stem)
def test_what_broke_once_does_not_break_again(file: Path) -> None:
    """Each saved story ends where a promise was broken, or with books that did not close."""
    world, kind, moves = read(file.read_text("utf-8"))
    acts = Acts(NAMES[world])
    s = replay(acts, moves)
    found = [*acts.judge.news, *Closing(acts).of(s)]
    assert kind not in {finding.kind for finding in found}


def test_a_saved_violation_tells_the_same_story() -> None:
    found = _search(World("planted", (Entry("T1"),), {"exit": 1}), Silent).violations[0]
    world, kind, moves = read(saved(found))
    assert (world, kind, moves) == (found.world, found.finding.kind, found.moves)


# -- what is planted is found ----------------------------------------------------------------------


class Silent(Acts):
    """A runtime that never asks about an order."""

    @staticmethod
    def inquire(s: object, own: int) -> None:
        """Nothing."""


class Deaf(Acts):
    """A runtime that forgets to send what replaces a refused exit."""

    def post(self, s: object, post: object) -> None:  # type: ignore[override]
        """Only the first child of an exit leaves."""
        if getattr(post, "submit", False) and getattr(post, "own", 0) > 2:
            return
        super().post(s, post)  # type: ignore[arg-type]


def _search(world: World, acts: type[Acts]) -> Result:
    return Search(world, acts(world)).run()


def test_an_order_that_nobody_asks_about_has_no_way_home() -> None:
    result = _search(World("planted", (Entry("T1"),), {"exit": 1}), Silent)
    assert {v.finding.kind for v in result.violations} == {"no way home"}


def test_an_exit_that_is_not_sent_again_is_found() -> None:
    result = _search(World("planted", (Entry("T1"),), {"exit": 1, "reject": 1}), Deaf)
    assert {v.finding.kind for v in result.violations} == {"no way home"}


def test_a_state_that_the_table_does_not_allow_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    table = kernel._table()
    key = (3, 17)  # EXIT_WORKING, PARTIAL_FILL
    rule, refusal, _ = table[key]
    monkeypatch.setattr(kernel, "_table", lambda: {**table, key: (rule, refusal, 1)})
    result = Search(World("planted", (Entry("T1"),), {"exit": 1, "part": 1})).run()
    faults = [v for v in result.violations if v.finding.kind == "the kernel faults"]
    assert faults and len(faults[0].moves) <= 8


# -- the instrument --------------------------------------------------------------------------------


def test_coming_back_to_an_image_is_coming_back() -> None:
    acts = Acts(NAMES["company"])
    chance = random.Random(3)
    scenes, s = [], acts.first()
    for _ in range(60):
        acts.go(s)
        moves = acts.moves.of(s)
        if not moves:
            break
        s = acts.do(s, chance.choice(moves))
        scenes.append((s, acts.engine.save()))
    chance.shuffle(scenes)
    for scene, save in scenes:
        acts.go(scene)
        assert acts.core.save() == Engine.restore(save).kernel._core.save()


def test_the_same_world_is_the_same_search() -> None:
    world = World("same", (Entry("T1"),), {"exit": 1, "part": 1, "reject": 1})
    one, other = Search(world).run(), Search(world).run()
    assert (one.states, one.moves, one.depth) == (other.states, other.moves, other.depth)
    assert one.cells == other.cells


def test_a_situation_leaves_out_what_only_numbers() -> None:
    """An exit refused once or three times is the same situation, but for its counts of errors."""
    acts = Acts(World("x", (Entry("T1"),), {"exit": 1, "unsent": 2}))
    s = acts.first()
    for move in (("enter", 0), ("arrive", 0, ""), ("fill", 1, 2 * UNIT), ("hear", 0), ("exit", 0)):
        acts.go(s)
        s = acts.do(s, move)
    acts.go(s)
    first = acts.images.situation(1, s.book.now_ms)[1]
    assert len(first) == 2


# -- what was seen stays seen ----------------------------------------------------------------------


def test_every_two_kinds_meet_in_a_world() -> None:
    pairs = itertools.combinations(sorted(KINDS), 2)
    missing = [pair for pair in pairs if not any(world.meet(*pair) for world in ALL)]
    assert not missing


def test_budgets_are_small() -> None:
    """Two acts of a stranger, one crash, one of each fault; what is no fault may come twice."""
    twice = {"hand", "exit", "look"}
    for world in ALL:
        assert all(count == 1 or kind in twice for kind, count in world.kinds.items()), world.name
        assert max(world.kinds.values()) <= 2


def test_there_are_worlds_of_every_shape() -> None:
    shapes = {(world.hedge, world.slots) for world in ALL}
    assert shapes == {(False, 1), (True, 1), (False, 2), (True, 2)}


def test_every_cell_is_reached_or_has_a_reason() -> None:
    reached = RECORD.cells
    assert set(never_reached(reached)) == set(UNREACHED)
    assert reached | set(UNREACHED) == set(all_cells())
    assert all(UNREACHED.values())


def test_the_record_has_every_world() -> None:
    assert set(RECORD.worlds) == set(NAMES)
