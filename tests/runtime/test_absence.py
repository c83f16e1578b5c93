"""Absence: when it is proven, and how an order that nobody answered for is looked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from dita.clock import ManualClock
from dita.contracts import OrderSide, OrderType, VenueOrderStatus
from dita.units import QUANTITY_ONE, parse_price, parse_quantity
from dita.venues import (
    FillReport,
    OrderRef,
    OrderReport,
    OutcomeUnknown,
    QueryFailed,
    Rows,
    SubmitOrder,
    UnreadableRow,
)
from dita.venues.absence import (
    AbsenceProof,
    Question,
    Verdict,
    find_or_prove_absent,
)
from dita.venues.mock import Do, MockVenue, Rule, Verb, fet_config

BUY, SELL = OrderSide.BUY, OrderSide.SELL
FET = "FET-USDT"


def order(**changes: Any) -> OrderReport:
    report = OrderReport(
        client_order_id="mine",
        venue_order_id="900",
        asset=FET,
        side=BUY,
        order_type=OrderType.MARKET,
        status=VenueOrderStatus.FILLED,
        quantity_e8=parse_quantity(100),
        filled_e8=parse_quantity(100),
        average_price_e10=parse_price("0.5"),
        fee=0,
        realized=0,
        updated_ms=50,
    )
    return msgspec.structs.replace(report, **changes)


def fill(name: str, **changes: Any) -> FillReport:
    report = FillReport(
        fill_id=name,
        client_order_id="",
        venue_order_id="900",
        asset=FET,
        side=BUY,
        quantity_e8=QUANTITY_ONE,
        price_e10=parse_price("0.5"),
        fee=0,
        filled_ms=40,
    )
    return msgspec.structs.replace(report, **changes)


# -- the proof -------------------------------------------------------------------------------------

SENT, WINDOW, FENCE = 1_000, 5_000, 15_000
PAST = SENT + WINDOW + FENCE + 1


def proof(**changes: Any) -> AbsenceProof:
    ref = OrderRef(asset=FET, client_order_id="Mine", **changes)
    return AbsenceProof(ref, BUY, SENT, WINDOW)


def lacking(p: AbsenceProof) -> None:
    """All four questions, and nobody knows it."""
    p.order(None)
    p.open_orders(())
    p.all_orders(())
    p.fills(())


def verdict(p: AbsenceProof) -> Verdict:
    return p.verdict


def test_absence_needs_all_four_after_the_fence() -> None:
    p = proof()
    p.server_time(PAST)
    p.order(None)
    p.open_orders(())
    p.all_orders(())
    assert verdict(p) is Verdict.OPEN
    assert p.missing == (Question.FILLS,)
    p.fills(())
    assert verdict(p) is Verdict.PROVEN


def test_answers_from_before_the_fence_prove_nothing() -> None:
    p = proof()
    p.server_time(PAST - 1)
    lacking(p)
    assert (verdict(p), p.missing) == (Verdict.OPEN, tuple(Question))
    p.server_time(PAST)
    assert verdict(p) is Verdict.OPEN
    lacking(p)
    assert verdict(p) is Verdict.PROVEN


def test_without_a_server_time_nothing_is_proven() -> None:
    p = proof()
    lacking(p)
    assert verdict(p) is Verdict.OPEN


@pytest.mark.parametrize("after", range(4))
def test_a_failure_takes_back_everything(after: int) -> None:
    p = proof()
    p.server_time(PAST)
    steps: tuple[Callable[[], None], ...] = (
        lambda: p.order(None),
        lambda: p.open_orders(()),
        lambda: p.all_orders(()),
        lambda: p.fills(()),
    )
    for step in steps[:after]:
        step()
    p.failed()
    for step in steps:
        step()
    assert verdict(p) is Verdict.OPEN  # the server time has to be read again as well
    p.server_time(PAST)
    lacking(p)
    assert verdict(p) is Verdict.PROVEN


@pytest.mark.parametrize(
    "find",
    [
        lambda p: p.order(order()),
        lambda p: p.open_orders((order(client_order_id="x", venue_order_id="1"), order())),
        lambda p: p.all_orders((order(client_order_id="MINE"),)),
        lambda p: p.fills((fill("1", client_order_id="mine"),)),
    ],
)
def test_whoever_finds_it_ends_the_question_at_any_time(
    find: Callable[[AbsenceProof], None],
) -> None:
    p = proof()
    find(p)
    assert verdict(p) is Verdict.FOUND
    p.failed()
    p.server_time(PAST)
    lacking(p)
    assert verdict(p) is Verdict.FOUND


def test_it_is_found_by_its_venue_id_too() -> None:
    p = proof(venue_order_id="900")
    p.order(order(client_order_id=""))
    assert verdict(p) is Verdict.FOUND
    assert p.report is not None


def test_a_fill_of_nobody_stands_in_the_way() -> None:
    p = proof()
    p.server_time(PAST)
    lacking(p)
    p.fills((fill("1", venue_order_id="77"),))
    assert (verdict(p), p.missing) == (Verdict.OPEN, (Question.FILLS,))
    p.fills((fill("1", venue_order_id="77", side=SELL),))  # not our side
    assert verdict(p) is Verdict.PROVEN
    p.fills((fill("1", venue_order_id="77"),))
    p.all_orders((order(client_order_id="", venue_order_id="77"),))  # somebody's after all
    p.fills((fill("1", venue_order_id="77"),))
    assert verdict(p) is Verdict.PROVEN


def odd(**known: str) -> UnreadableRow:
    return UnreadableRow(why="status cannot be read", **known)


@pytest.mark.parametrize(
    ("row", "stands_in_the_way"),
    [
        (odd(), True),
        (odd(asset=FET), True),
        (odd(asset=FET, venue_order_id="77"), True),  # we know no venue id to compare it with
        (odd(asset=FET, client_order_id="somebody"), False),
        (odd(asset="BTC-USDT"), False),
    ],
)
@pytest.mark.parametrize("question", [Question.OPEN_ORDERS, Question.ALL_ORDERS, Question.FILLS])
def test_a_row_that_cannot_be_read_and_may_be_the_order_stands_in_the_way(
    question: Question, row: UnreadableRow, stands_in_the_way: bool
) -> None:
    p = proof()
    p.server_time(PAST)
    p.order(None)
    p.open_orders(Rows((), [row] if question is Question.OPEN_ORDERS else []))
    p.all_orders(Rows((), [row] if question is Question.ALL_ORDERS else []))
    p.fills(Rows((), [row] if question is Question.FILLS else []))
    assert verdict(p) is (Verdict.OPEN if stands_in_the_way else Verdict.PROVEN)
    if stands_in_the_way:
        assert p.missing == (question,)


def test_a_row_that_names_the_order_finds_it_although_it_cannot_be_read() -> None:
    p = proof()
    p.open_orders(Rows((), [odd(client_order_id="MINE")]))
    assert (verdict(p), p.report) == (Verdict.FOUND, None)


def test_a_fill_of_an_order_that_was_listed_is_not_ours_even_if_it_cannot_be_read() -> None:
    p = proof()
    p.server_time(PAST)
    p.order(None)
    p.open_orders(())
    p.all_orders(Rows((order(client_order_id="x", venue_order_id="77"),)))
    p.fills(Rows((), [odd(asset=FET, venue_order_id="77")]))
    assert verdict(p) is Verdict.PROVEN


# -- the search ------------------------------------------------------------------------------------

WAIT_MS = 4_000


class Search:
    """A mock venue, an order on the way to it, and somebody who looks for the order."""

    def __init__(self, *rules: Rule) -> None:
        self.clock = ManualClock(1_700_000_000_000)
        self.venue = CountingVenue(fet_config(rules=rules), self.clock)
        self.order = SubmitOrder(
            client_order_id="mine",
            asset=FET,
            side=BUY,
            order_type=OrderType.MARKET,
            quantity_e8=100 * QUANTITY_ONE,
        )
        self.failures: list[QueryFailed] = []
        self.rounds_max = 100
        self.rounds = 0

    async def wait(self, rounds: int) -> bool:
        self.rounds = rounds + 1
        self.clock.advance_ms(WAIT_MS)
        return self.rounds < self.rounds_max

    async def lose(self) -> None:
        await self.venue.connect()
        with pytest.raises(OutcomeUnknown):
            await self.venue.submit(self.order)

    async def look(self, **options: Any) -> OrderReport | None:
        ref = OrderRef(asset=FET, client_order_id="mine")
        return await find_or_prove_absent(
            self.venue, ref, BUY, wait=self.wait, failed=self.failures.append, **options
        )


class CountingVenue(MockVenue):
    """Counts the questions that are errors when there is no such order."""

    by_id = 0

    async def order(self, order: OrderRef) -> OrderReport | None:
        self.by_id += 1
        return await super().order(order)


def test_a_lost_order_is_proven_absent_after_the_fence_with_two_questions_by_id() -> None:
    async def play() -> None:
        search = Search(Rule(verb=Verb.SUBMIT, do=Do.LOST))
        await search.lose()
        began_ms = search.clock.now_ms()
        assert await search.look() is None
        assert search.clock.now_ms() - began_ms > 5_000 + 15_000
        assert (search.venue.by_id, search.failures) == (2, [])

    asyncio.run(play())


@pytest.mark.parametrize("how", [Do.SILENT, Do.SILENT_LATE])
def test_an_order_that_was_executed_is_found(how: Do) -> None:
    async def play() -> None:
        search = Search(Rule(verb=Verb.SUBMIT, do=how, wait_ms=3_000))
        await search.lose()
        report = await search.look()
        assert report is not None and report.client_order_id == "mine"

    asyncio.run(play())


@pytest.mark.parametrize(
    "verb", [Verb.SERVER_TIME, Verb.OPEN_ORDERS, Verb.ALL_ORDERS, Verb.FILLS, Verb.ORDER]
)
def test_a_question_that_fails_proves_nothing_and_is_told(verb: Verb) -> None:
    async def play() -> None:
        search = Search(
            Rule(verb=Verb.SUBMIT, do=Do.LOST),
            Rule(verb=verb, do=Do.FAIL, times=3 if verb is Verb.ORDER else 12),
        )
        await search.lose()
        assert await search.look() is None
        # Not one answer of a round with a failure counted, so the proof came later.
        assert len(search.failures) == (3 if verb is Verb.ORDER else 12)
        assert search.rounds >= 7 if verb is Verb.ORDER else search.rounds >= 12
        assert search.venue.by_id <= 4

    asyncio.run(play())


def test_a_question_that_fails_keeps_no_other_from_finding_the_order() -> None:
    async def play() -> None:
        search = Search(
            Rule(verb=Verb.SUBMIT, do=Do.SILENT),
            Rule(verb=Verb.ORDER, do=Do.FAIL),
            Rule(verb=Verb.OPEN_ORDERS, do=Do.FAIL, times=0),
        )
        search.rounds_max = 3
        await search.lose()
        report = await search.look()
        assert report is not None and report.client_order_id == "mine"

    asyncio.run(play())


def test_while_the_submit_may_still_leave_only_open_orders_are_read() -> None:
    async def play() -> None:
        search = Search(Rule(verb=Verb.SUBMIT, do=Do.LOST))
        await search.lose()
        leaving = iter([True, True, True])
        assert await search.look(may_still_leave=lambda: next(leaving, False)) is None
        assert search.venue.by_id == 2

    asyncio.run(play())


def test_a_search_that_is_told_to_stop_says_that_nothing_is_known() -> None:
    async def play() -> None:
        search = Search(Rule(verb=Verb.SUBMIT, do=Do.LOST))
        search.rounds_max = 2
        await search.lose()
        with pytest.raises(QueryFailed, match="still unknown"):
            await search.look()

    asyncio.run(play())


def test_an_order_placed_before_the_usual_window_is_looked_for_from_there() -> None:
    async def play() -> None:
        search = Search(Rule(verb=Verb.SUBMIT, do=Do.SILENT))
        await search.lose()
        placed_ms = search.clock.now_ms()
        search.clock.advance_ms(9 * 86_400_000)

        async def nobody(order: OrderRef) -> None:
            return None

        search.venue.order = nobody  # type: ignore[method-assign]
        report = await search.look(placed_ms=placed_ms)
        assert report is not None and report.filled_e8 == search.order.quantity_e8

    asyncio.run(play())
