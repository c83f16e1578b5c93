"""The books at the end of the day: everything delivered and read, is every cent explained?

From a scene in which nothing goes on any more, time passes, positions, income and balance are read
as the runtime reads them, and the account's judgement is compared with the exchange's book.
"""

from __future__ import annotations

from typing import Final

from dita.contracts import DriftCause
from explore.acts import Acts
from explore.book import UNIT, Book
from explore.judge import Finding, shares
from explore.scene import Scene

#: Longer than a difference may be pending after income was read.
LONG_S: Final = 130
#: Shares of one figure are rounded.
ROUNDING: Final = 100


class Closing:
    """Closes the books of scenes of one world."""

    def __init__(self, acts: Acts) -> None:
        self.acts = acts

    def of(self, scene: Scene) -> list[Finding]:
        """What is wrong in the end.  The kernel is left in another state."""
        acts, s = self.acts, scene.copy()
        acts.go(scene)
        book, trades, world = s.book, s.trades, acts.world
        heard = {o.vid for o in book.orders if acts.core.order_of_venue(o.vid)}
        truth = shares(book, trades, world)
        kindly = shares(book, trades, world, kindly=True).left
        left_of_heard = shares(book, trades, world, heard).left
        kindly_heard = shares(book, trades, world, heard, kindly=True).left
        found = []
        for at, quantity in enumerate(truth.left):
            entry = acts.world.entries[s.trades[at]]
            side = entry.side if acts.world.hedge else 0
            behind = min(quantity, kindly[at])
            closable = book.closable(entry.symbol, -entry.side, side)
            if closable >= behind > 0 and not _netted(book):
                found.append(Finding("left behind", f"{entry.trade}: {behind // UNIT}"))
            taken = -max(left_of_heard[at], kindly_heard[at]) // UNIT
            if taken > 0:
                found.append(Finding("taken from strangers", f"{entry.trade}: {taken}"))
        for _ in range(3):
            s.book.second += LONG_S
            acts.look(s)
            acts.read_income(s)
            acts.read_balance(s)
        ledger = acts.kernel.ledger()
        _, causes, _ = acts.engine.account.known
        stolen = sum(flow.amount for flow in s.book.flows if not flow.kind)
        unexplained = causes.get(DriftCause.UNEXPLAINED, 0) + causes.get(DriftCause.PENDING, 0)
        if abs(unexplained - stolen) > ROUNDING:
            found.append(Finding("money without a cause", f"{_told(causes)}, stolen {stolen}"))
        others = {c: a for c, a in causes.items() if c not in _EXPECTED}
        if others:
            found.append(Finding("money with a lasting excuse", _told(others)))
        # Whose an act was that nobody has told, or that came before another, only its row knows.
        told = truth.closers <= heard and not _netted(book)
        clear = told and truth.left == left_of_heard == kindly
        foreign = truth.foreign - acts.foreign_before
        if abs(ledger.foreign - foreign) > ROUNDING and clear:
            found.append(
                Finding("strangers' money is not theirs", f"{ledger.foreign}, in truth {foreign}")
            )
        return found


def _netted(book: Book) -> bool:
    """Did an entry of ours close what was a stranger's?  Then whose lot is whose is arguable."""
    return any(o.role == 1 and fill.closed for o in book.orders for fill in o.fills)


def _told(causes: dict[DriftCause, int]) -> str:
    return ", ".join(f"{cause.value} {amount / 10**18:+.4f}" for cause, amount in causes.items())


_EXPECTED: Final = frozenset(
    {DriftCause.UNEXPLAINED, DriftCause.PENDING, DriftCause.FOREIGN_ACTIVITY, DriftCause.ROUNDING}
)
