"""Promises broken on purpose: for each a change of the sources, and the tests that must turn red.

``make mutants`` makes each change in a copy of the checkout, builds it, and runs those tests.  The
lists are by where the change is made: ``kernel``, ``money``, ``storage``, ``outside``.
"""

from __future__ import annotations

from mutants.kernel import KERNEL
from mutants.money import MONEY
from mutants.outside import OUTSIDE
from mutants.storage import STORAGE

ALL = (*KERNEL, *MONEY, *STORAGE, *OUTSIDE)
