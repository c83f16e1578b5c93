"""One change of the sources that breaks one promise.

A mutant knows its text before and after and the tests that should notice.  It must not know how it
is made, built or run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: Of the checkout that this file is in.
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """``old`` stands exactly once in ``path`` and becomes ``new``; one of ``tests`` then fails.

    ``tests`` are pytest's node ids below ``tests/``.  ``argued`` says why none can fail: then the
    mutant is only held to its text.
    """

    name: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...] = ()
    argued: str = ""

    def applied(self, source: str) -> str:
        """The source with the change.  ValueError when ``old`` is not there exactly once."""
        found = source.count(self.old)
        if found != 1:
            raise ValueError(f"{self.name}: its text stands {found} times in {self.path}")
        return source.replace(self.old, self.new)

    @property
    def is_compiled(self) -> bool:
        """Whether the change needs a build."""
        return self.path.endswith((".pyx", ".pxd", ".pxi", ".h"))
