"""The books at the end of the day: everything delivered and read, is every cent explained?

From a scene in which nothing goes on any more, time passes, positions, income and balance are read
as the runtime reads them, and the account's judgement is compared with the exchange's book.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from dita.contracts import DriftCause, EvidenceSource, KernelEventKind, VenueEvent
from dita.identity import plain_symbol
from dita.venues.attribution import Books, attribute
from explore.acts import WALLET, Acts
from explore.book import SYMBOLS
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
        left, foreign = shares(s.book, s.trades, acts.world)
        found = []
        if any(left):
            found.append(Finding("left behind", f"free, but of ours is left {left}"))
        for _ in range(3):
            s.book.second += LONG_S
            acts._look(s, "")
            self.read_income(s)
            self.read_balance(s)
        ledger = acts.kernel.ledger()
        _, causes, _ = acts.engine.account.known
        stolen = sum(flow.amount for flow in s.book.flows if not flow.kind)
        unexplained = causes.get(DriftCause.UNEXPLAINED, 0) + causes.get(DriftCause.PENDING, 0)
        if abs(unexplained - stolen) > ROUNDING:
            found.append(Finding("money without a cause", f"{_told(causes)}, stolen {stolen}"))
        others = {c: a for c, a in causes.items() if c not in _EXPECTED}
        if others:
            found.append(Finding("money with a lasting excuse", _told(others)))
        if abs(ledger.foreign - foreign) > ROUNDING:
            found.append(
                Finding("strangers' money is not theirs", f"{ledger.foreign}, in truth {foreign}")
            )
        return found

    def read_income(self, s: Scene) -> None:
        """The income history, read as the watch reads it."""
        acts, book = self.acts, s.book
        since = acts.kernel.ledger().income_from_ms
        rows = [row for row in book.income() if row.time_ms > since]
        fills = [fill for symbol in range(len(SYMBOLS)) for fill in book.fill_reports(symbol)]
        core = acts.core
        known = {o.vid: core.order_of_venue(o.vid) for o in book.orders}
        external = {vid for vid, number in known.items() if number and core.order(number)[10]}
        held: dict[str, tuple[int, ...]] = {}
        for slot in core.active_slots():
            trade = core.trade_in_slot(slot)
            symbol = plain_symbol(SYMBOLS[acts.entry_of(s, trade[0]).symbol])
            size = trade[3] * (trade[5] - trade[8] + trade[20])
            held[symbol] = (*held.get(symbol, ()), size)
        books = Books(
            own_orders=frozenset(str(vid) for vid, number in known.items() if number),
            closed_outside=frozenset(str(vid) for vid in external),
            held_e8=held,
        )
        for event in attribute(rows, fills, books).events:
            acts.send(s, replace(event, received_ms=book.now_ms))
        acts.send(s, VenueEvent(
            kind=KernelEventKind.INCOME_READ, received_ms=book.now_ms, exchange_ms=book.asked_ms
        ))  # fmt: skip

    def read_balance(self, s: Scene) -> None:
        """The wallet."""
        self.acts.send(s, VenueEvent(
            kind=KernelEventKind.ACCOUNT_UPDATE, received_ms=s.book.now_ms,
            exchange_ms=s.book.asked_ms, requested_ms=s.book.asked_ms,
            amount=WALLET + s.book.wallet_change(), source=EvidenceSource.ORDER_QUERY,
        ))  # fmt: skip


def _told(causes: dict[DriftCause, int]) -> str:
    return ", ".join(f"{cause.value} {amount / 10**18:+.4f}" for cause, amount in causes.items())


_EXPECTED: Final = frozenset(
    {DriftCause.UNEXPLAINED, DriftCause.PENDING, DriftCause.FOREIGN_ACTIVITY, DriftCause.ROUNDING}
)
