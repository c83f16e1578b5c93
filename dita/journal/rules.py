"""Which rules a journal or a snapshot was written by, and the refusal of others.

A state is a function of inputs and rules, so what other rules wrote is never replayed: it would
lead elsewhere, with orders that nobody sent.  Reader, writer and snapshots ask here; what the rules
are is the engine's matter.
"""

from __future__ import annotations

from typing import Final

from dita import __version__
from dita.contracts import Record
from dita.engine import RULES_VERSION
from dita.errors import SettingsError
from dita.kernel import LAYOUT


class OtherRules(SettingsError):
    """What was written by other rules than these; it is sound, and not to be replayed here."""


class Rules(Record, frozen=True, kw_only=True):
    """The rules of one release, and how it lays out its state."""

    #: 0: by a release that did not say, which is none that was ever published.
    version: int = RULES_VERSION
    layout: str = LAYOUT
    release: str = __version__

    def __str__(self) -> str:
        """For an operator."""
        if not self.version:
            return "rules of before 0.2.0"
        return f"rules {self.version}, layout {self.layout} (release {self.release})"

    @property
    def are_ours(self) -> bool:
        """May a state of theirs be read here, and their inputs be applied?"""
        return (self.version, self.layout) == (RULES_VERSION, LAYOUT)

    def hold(self, what: str) -> None:
        """OtherRules when ``what`` was not written by the rules of this release."""
        if not self.are_ours:
            raise OtherRules(
                f"{what} was written by other rules",
                expected=str(Rules()),
                found=str(self),
                action=self._action(),
            )

    def _action(self) -> str:
        if self.version > RULES_VERSION:
            return f"use release {self.release} or a later one; nothing was changed"
        old = f"release {self.release}" if self.version else "the release that wrote it"
        if self.version and self.layout == LAYOUT:
            return (
                f"go on with {old} until everything is flat, then with it `pink-ctl journal roll"
                " --close --reason WHY --apply`; this one begins the next epoch"
                " (runbooks/upgrade.md); nothing was changed"
            )
        return (
            f"go on with {old} until everything is flat, then `pink-ctl journal retire --reason"
            " WHY --apply` with this one sets the journal aside and serve begins a new one"
            " (runbooks/upgrade.md); nothing was changed"
        )


#: Of records and snapshots that do not say.
OF_BEFORE: Final = Rules(version=0, layout="", release="")
