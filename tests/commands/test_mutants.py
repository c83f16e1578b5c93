"""The list of mutants stays in step with the sources: each still changes what it says, and names
tests that there are.  What the tests say to each is for ``make mutants``."""

from __future__ import annotations

import pytest
from mutants import ALL
from mutants.mutant import ROOT, Mutant


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_one_place_of_the_sources(mutant: Mutant) -> None:
    source = (ROOT / mutant.path).read_text()
    assert mutant.applied(source) != source


def test_each_mutant_is_named_once_and_has_tests_or_an_argument() -> None:
    assert len({mutant.name for mutant in ALL}) == len(ALL)
    assert [m.name for m in ALL if bool(m.tests) == bool(m.argued)] == []
    files = {test.partition("::")[0] for mutant in ALL for test in mutant.tests}
    assert [file for file in files if not (ROOT / "tests" / file).is_file()] == []
