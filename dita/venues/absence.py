"""The absence protocol: an order that nobody answered for is found, or proven never to have reached
the book (design P3).

``AbsenceProof`` judges answers and is pure; ``find_or_prove_absent`` asks the venue and feeds it.
It must not know what a caller does with the result, and it sends nothing that changes anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from enum import StrEnum
from typing import Final, Protocol

from dita.contracts import OrderSide
from dita.identity import same_client_id
from dita.venues import (
    FillReport,
    OrderRef,
    OrderReport,
    QueryFailed,
    UnreadableRow,
    unreadable_in,
)

#: Server time that must pass after the last moment at which the order could still be accepted.
ABSENCE_FENCE_MS: Final = 15_000
#: Lists are read this far back: one window of the venue's history.
LOOK_BACK_MS: Final = 7 * 86_400_000 - 60_000
RETRY_MIN_S: Final = 0.2
RETRY_MAX_S: Final = 5.0


class Verdict(StrEnum):
    """What is known of an order that nobody answered for."""

    OPEN = "open"  # not enough evidence yet
    FOUND = "found"
    PROVEN = "proven"  # absent: it never reached the book and never will


class Question(StrEnum):
    """The four questions that must all lack the order."""

    ORDER = "order"
    OPEN_ORDERS = "open_orders"
    ALL_ORDERS = "all_orders"
    FILLS = "fills"


class OrderQueries(Protocol):
    """What is asked of a venue about one order; a query without an answer is a QueryFailed."""

    @property
    def receive_window_ms(self) -> int:
        """How long the venue accepts a request after its time."""

    async def server_time_ms(self) -> int:
        """The venue's clock."""

    async def order(self, order: OrderRef) -> OrderReport | None:
        """The order by its ids, None when the venue does not know it."""

    async def open_orders(self, asset: str) -> Sequence[OrderReport]:
        """The working orders of a symbol."""

    async def all_orders(self, asset: str, since_ms: int) -> Sequence[OrderReport]:
        """All orders of a symbol since then."""

    async def fills(self, asset: str, since_ms: int) -> Sequence[FillReport]:
        """The fills of a symbol since then."""


class AbsenceProof:
    """The proof that an order never reached the book, or the report that found it (design P3).

    Feed it every answer, in the order in which they arrived: ``server_time`` first, then the four
    questions (all orders before fills).  Only answers to questions asked after a server time past
    the fence count as evidence of absence; whatever finds the order counts at any time.  A failed
    question takes back everything, the server time included.
    """

    def __init__(
        self,
        order: OrderRef,
        side: OrderSide,
        sent_ms: int,
        receive_window_ms: int,
        fence_ms: int = ABSENCE_FENCE_MS,
    ) -> None:
        self.order_ref = order
        self.side = side
        #: Server time after which the venue can neither accept the order nor still hide it.
        self.until_ms = sent_ms + receive_window_ms + fence_ms
        self.report: OrderReport | None = None
        self._found = False
        self._past_fence = False
        self._lacking: set[Question] = set()
        self._others: set[str] = set()

    @property
    def verdict(self) -> Verdict:
        """FOUND stays; PROVEN once all four lack it."""
        if self._found:
            return Verdict.FOUND
        return Verdict.PROVEN if len(self._lacking) == len(Question) else Verdict.OPEN

    @property
    def past_fence(self) -> bool:
        """The venue's clock is past the fence: from now on a lack proves something."""
        return self._past_fence

    @property
    def missing(self) -> tuple[Question, ...]:
        """The questions that still have to be asked, in order; all of them before the fence."""
        return tuple(q for q in Question if q not in self._lacking)

    def failed(self) -> None:
        """A question got no answer: nothing follows, and what was gathered is void."""
        self._past_fence = False
        self._lacking.clear()
        self._others.clear()

    def server_time(self, now_ms: int) -> None:
        """The venue's clock, read before the questions that follow."""
        if not self._past_fence and now_ms > self.until_ms:
            self._past_fence = True
            self._lacking.clear()

    def order(self, report: OrderReport | None) -> None:
        """Answer to the question for the order by its ids."""
        self._take(Question.ORDER, () if report is None else (report,))

    def open_orders(self, reports: Sequence[OrderReport]) -> None:
        """Answer to the question for the symbol's working orders."""
        self._take(Question.OPEN_ORDERS, reports)

    def all_orders(self, reports: Sequence[OrderReport]) -> None:
        """Answer to the question for all orders since before it was sent."""
        self._take(Question.ALL_ORDERS, reports)

    def fills(self, fills: Sequence[FillReport]) -> None:
        """Answer to the question for the symbol's fills since before it was sent.

        A fill without a client id that belongs to no order we were told of may be the order's: it
        finds nothing, and it stands in the way of the proof.  So does one that cannot be read.
        """
        if any(self._names(fill.client_order_id, fill.venue_order_id) for fill in fills):
            self._found = True
            return
        doubts = [self._may_be_ours(fill) for fill in fills]
        doubts += [self._in_doubt(row) for row in unreadable_in(fills)]
        self._conclude(Question.FILLS, any(doubts))

    def _take(self, question: Question, reports: Collection[OrderReport]) -> None:
        for report in reports:
            if self._names(report.client_order_id, report.venue_order_id):
                self._found = True
                self.report = report
                return
            self._others.add(report.venue_order_id)
        doubts = [self._in_doubt(row) for row in unreadable_in(reports)]  # each row has to be seen
        self._conclude(question, any(doubts))

    def _in_doubt(self, row: UnreadableRow) -> bool:
        """Returns whether an unreadable row may be about the order; one that names it finds it."""
        if row.venue_order_id and row.venue_order_id in self._others:
            return False
        ours = row.is_of(self.order_ref)
        if ours:
            self._found = True
        elif ours is False and row.venue_order_id:
            self._others.add(row.venue_order_id)
        return ours is None

    def _conclude(self, question: Question, doubtful: bool) -> None:
        if doubtful:
            self._lacking.discard(question)
        elif self._past_fence:
            self._lacking.add(question)

    def _names(self, client_order_id: str, venue_order_id: str) -> bool:
        known = self.order_ref.venue_order_id
        return same_client_id(client_order_id, self.order_ref.client_order_id) or (
            known != "" and venue_order_id == known
        )

    def _may_be_ours(self, fill: FillReport) -> bool:
        if fill.client_order_id or fill.venue_order_id in self._others:
            return False
        return fill.side in (self.side, OrderSide.UNKNOWN)


async def patiently(rounds: int) -> bool:
    """Wait before the next round, longer each time; without end."""
    await asyncio.sleep(min(RETRY_MIN_S * 2 ** min(rounds, 16), RETRY_MAX_S))
    return True


async def find_or_prove_absent(
    venue: OrderQueries,
    order: OrderRef,
    side: OrderSide,
    *,
    fence_ms: int = ABSENCE_FENCE_MS,
    placed_ms: int = 0,
    may_still_leave: Callable[[], bool] = lambda: False,
    wait: Callable[[int], Awaitable[bool]] = patiently,
    failed: Callable[[QueryFailed], None] = lambda bad: None,
) -> OrderReport | None:
    """Returns the order as the venue has it, or None when it is proven absent.

    ``placed_ms`` is a venue's time before which the order was certainly not sent; without it the
    order must be younger than ``LOOK_BACK_MS``.  While ``may_still_leave`` says that its submit has
    not ended, only open orders are read.  Between rounds ``wait`` is called with their number; when
    it returns False the search ends with QueryFailed.  ``failed`` hears of each question that
    failed: such a round proves nothing, and the next one begins anew.

    An order that does not exist is an error to the venue, which blocks whoever makes too many equal
    ones (dossier §1.5), so the question by id is asked once at first and once as the last piece of
    the proof; lists find as much in between.
    """
    search = _Search(venue, order, side, fence_ms, placed_ms)
    rounds = 0
    while True:
        try:
            if may_still_leave():
                report = await search.among_open()
            else:
                report = await search.everywhere()
            if report is not None:
                return report
            if search.proven:
                return None
        except QueryFailed as bad:
            search.failed()
            failed(bad)
        if not await wait(rounds):
            raise QueryFailed(
                "the order is still unknown",
                expected="an answer about it, or a proof that it never arrived",
                found=f"neither after {rounds + 1} rounds",
                action=f"look for {order.client_order_id} at the venue's own screen",
            )
        rounds += 1


class _Search:
    """One order's rounds of questions."""

    def __init__(
        self, venue: OrderQueries, order: OrderRef, side: OrderSide, fence_ms: int, placed_ms: int
    ) -> None:
        self._venue = venue
        self._order = order
        self._side = side
        self._fence_ms = fence_ms
        self._placed_ms = placed_ms
        self._asked_by_id = False
        self._proof: AbsenceProof | None = None

    @property
    def proven(self) -> bool:
        return self._proof is not None and self._proof.verdict is Verdict.PROVEN

    def failed(self) -> None:
        if self._proof is not None:
            self._proof.failed()

    async def among_open(self) -> OrderReport | None:
        reports = await self._venue.open_orders(self._order.asset)
        return next((report for report in reports if _is(report, self._order)), None)

    async def everywhere(self) -> OrderReport | None:
        if not self._asked_by_id:
            self._asked_by_id = True
            if (report := await self._venue.order(self._order)) is not None:
                return report
        # If it left at all, then before now.  Only the venue's clock is asked: ours may differ.
        now_ms = await self._venue.server_time_ms()
        if self._proof is None:
            window_ms = self._venue.receive_window_ms
            self._proof = AbsenceProof(self._order, self._side, now_ms, window_ms, self._fence_ms)
        return await self._round(self._proof, now_ms)

    async def _round(self, proof: AbsenceProof, now_ms: int) -> OrderReport | None:
        venue, asset = self._venue, self._order.asset
        since_ms = max(1, now_ms - LOOK_BACK_MS)
        if self._placed_ms:
            since_ms = min(since_ms, self._placed_ms)
        proof.server_time(now_ms)
        failed: QueryFailed | None = None
        try:
            proof.open_orders(await venue.open_orders(asset))
        except QueryFailed as no_answer:
            failed = no_answer  # it proves nothing, and the history may find the order all the same
        proof.all_orders(await venue.all_orders(asset, since_ms))
        proof.fills(await venue.fills(asset, since_ms))
        if proof.verdict is Verdict.FOUND:
            # Named by a fill or by a row that cannot be read: then only the order itself tells.
            return proof.report or await venue.order(self._order)
        if failed is not None:
            raise failed
        if proof.past_fence and proof.missing == (Question.ORDER,):
            proof.order(await venue.order(self._order))
        return proof.report


def _is(report: OrderReport, order: OrderRef) -> bool:
    if order.venue_order_id and report.venue_order_id == order.venue_order_id:
        return True
    return same_client_id(report.client_order_id, order.client_order_id)
