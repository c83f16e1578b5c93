"""What every venue has to keep, as checks that run against any of them.

A test gives a ``Stand``: a venue that is connected, with the levers that no venue has by itself
(move the price, lose an answer, fail a question).  The mock, the mock in another process and the
BingX adapter pass the same checks; what they cannot agree on does not belong into the protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol

import msgspec
import pytest

from dita.contracts import (
    KernelEventKind,
    OrderSide,
    OrderType,
    PositionSide,
    RejectReason,
    VenueEvent,
    VenueOrderStatus,
)
from dita.errors import VenueError
from dita.units import PRICE_ONE, QUANTITY_ONE
from dita.venues import (
    IncomeKind,
    OrderRef,
    OrderReport,
    OutcomeUnknown,
    QueryFailed,
    SubmitOrder,
    Venue,
    unreadable_in,
)
from dita.venues.absence import AbsenceProof, Verdict
from dita.venues.evidence import fills_of, final_event, position_events

BUY, SELL = OrderSide.BUY, OrderSide.SELL
Kind = KernelEventKind
PATIENCE_S: Final = 30
#: Attempts to hear a stream again after it was lost; each takes at most a second.
AGAIN_MAX: Final = 15


class Stand(Protocol):
    """A connected venue and its levers.  The price of the asset is 0.5 at the start."""

    venue: Venue
    asset: str
    #: The venue's answers round money to this, its stream does not; 1 where nothing is rounded.
    money_step: int
    #: Positions have sides of their own.
    hedge: bool

    async def pass_ms(self, step_ms: int) -> None:
        """Let the venue's time pass."""

    async def move_price(self, price_e10: int) -> None:
        """The price is this now."""

    async def lose_answer(self, executed: bool) -> None:
        """The next submit gets no answer; it is executed, or it never arrives."""

    async def refuse_cancel(self) -> None:
        """The next cancel is refused although the order works."""

    async def fail_questions(self, count: int) -> None:
        """The next questions, whatever they are, get no answer."""

    async def damage_answers(self) -> None:
        """Whatever an answer says of the asset cannot be read from now on."""

    async def empty_answers(self) -> None:
        """Questions for lists are answered as if there were nothing from now on."""

    async def fund(self, rate_e9: int) -> None:
        """Funding is paid at this rate."""

    async def end_stream(self) -> None:
        """The stream is lost."""

    async def close(self) -> None:
        """Take it all down."""


Check = Callable[[Stand], Awaitable[None]]
MakeStand = Callable[[], Awaitable[Stand]]


def run_check(make: MakeStand, check: Check) -> None:
    """One check on a stand of its own."""

    async def run() -> None:
        stand = await make()
        try:
            await asyncio.wait_for(check(stand), PATIENCE_S)
        finally:
            await stand.close()

    asyncio.run(run())


# -- short words -----------------------------------------------------------------------------------


def order_of(stand: Stand, name: str, side: OrderSide, lots: int, **fields: object) -> SubmitOrder:
    """A MARKET order of so many whole units."""
    return SubmitOrder(
        client_order_id=f"contract{name}",
        asset=stand.asset,
        side=side,
        quantity_e8=lots * QUANTITY_ONE,
        **{"order_type": OrderType.MARKET, **fields},  # type: ignore[arg-type]
    )


def limit_of(stand: Stand, name: str, side: OrderSide, lots: int, price: str) -> SubmitOrder:
    """A LIMIT order."""
    cents = int(price.removeprefix("0.").ljust(4, "0")) * PRICE_ONE // 10_000
    return order_of(stand, name, side, lots, order_type=OrderType.LIMIT, limit_price_e10=cents)


def ref_of(order: SubmitOrder) -> OrderRef:
    """The same order, by its client id alone."""
    return OrderRef(asset=order.asset, client_order_id=order.client_order_id)


def off(stand: Stand, figures: int) -> int:
    """How far so many rounded figures may be off together."""
    return figures * (stand.money_step // 2)


async def report_of(stand: Stand, order: SubmitOrder) -> OrderReport:
    """The order as the venue has it; it must have it."""
    report = await stand.venue.order(ref_of(order))
    assert report is not None
    return report


class Listener:
    """Reads the stream and keeps everything."""

    def __init__(self, events: AsyncIterator[VenueEvent]) -> None:
        self.seen: list[VenueEvent] = []
        self.over = False
        self._events = events
        self._news = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        async for event in self._events:
            self.seen.append(event)
            self._news.set()
        self.over = True
        self._news.set()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until something is so; the check's own patience is the limit."""
        while not reached():
            self._news.clear()
            await self._news.wait()

    def of(self, report: OrderReport) -> list[VenueEvent]:
        """The frames of one order, by the venue's id, as they came."""
        return [e for e in self.seen if e.venue_order_id == report.venue_order_id]

    async def ended(self, report: OrderReport) -> list[VenueEvent]:
        """The frames of an order once one of them tells its end."""
        ends = (Kind.FULL_FILL, Kind.CANCEL_ACK, Kind.ORDER_EXPIRED)
        await self.until(lambda: any(e.kind in ends for e in self.of(report)))
        return self.of(report)

    def stop(self) -> None:
        """Read no more."""
        self._task.cancel()


# -- the checks ------------------------------------------------------------------------------------


async def a_market_order_is_acknowledged_and_fills(stand: Stand) -> None:
    listener = Listener(stand.venue.events())
    order = order_of(stand, "1", BUY, 100)
    answer = await stand.venue.submit(order)
    (ack,) = (event for event in answer if event.kind is Kind.ORDER_ACK)
    assert ack.client_order_id == order.client_order_id
    assert ack.venue_order_id
    report = await report_of(stand, order)
    assert report.venue_order_id == ack.venue_order_id
    assert (report.status, report.filled_e8) == (VenueOrderStatus.FILLED, order.quantity_e8)
    frames = await listener.ended(report)
    filled = [e.quantity_e8 for e in frames if e.kind in (Kind.PARTIAL_FILL, Kind.FULL_FILL)]
    assert filled == sorted(filled), "cumulative quantities of one order rise"
    assert filled[-1] == order.quantity_e8
    assert all(e.exchange_ms > 0 for e in frames)


async def an_order_is_found_by_either_id(stand: Stand) -> None:
    order = limit_of(stand, "2", BUY, 50, "0.4")
    await stand.venue.submit(order)
    by_client = await report_of(stand, order)
    by_venue = OrderRef(
        asset=order.asset, client_order_id="", venue_order_id=by_client.venue_order_id
    )
    assert await stand.venue.order(by_venue) == by_client
    assert by_client.client_order_id == order.client_order_id
    assert (by_client.side, by_client.quantity_e8) == (BUY, order.quantity_e8)
    assert by_client in await stand.venue.open_orders(stand.asset)
    assert by_client in await stand.venue.all_orders(stand.asset, 0)
    nobody = OrderRef(asset=order.asset, client_order_id="contractnobody")
    assert await stand.venue.order(nobody) is None


async def a_client_id_is_taken_once(stand: Stand) -> None:
    order = limit_of(stand, "3", BUY, 50, "0.4")
    await stand.venue.submit(order)
    await stand.pass_ms(2_000)
    with pytest.raises(OutcomeUnknown):
        await stand.venue.submit(order)
    orders = await stand.venue.all_orders(stand.asset, 0)
    assert [o.client_order_id for o in orders] == [order.client_order_id]


async def a_limit_order_rests_until_the_price_crosses(stand: Stand) -> None:
    listener = Listener(stand.venue.events())
    order = limit_of(stand, "4", BUY, 50, "0.4")
    await stand.venue.submit(order)
    resting = await report_of(stand, order)
    assert (resting.status, resting.filled_e8) == (VenueOrderStatus.WORKING, 0)
    await stand.move_price(39 * PRICE_ONE // 100)
    frames = await listener.ended(resting)
    assert frames[-1].kind is Kind.FULL_FILL
    filled = await report_of(stand, order)
    assert filled.average_price_e10 <= order.limit_price_e10


async def a_cancel_ends_an_order(stand: Stand) -> None:
    listener = Listener(stand.venue.events())
    order = limit_of(stand, "5", BUY, 50, "0.4")
    await stand.venue.submit(order)
    answer = await stand.venue.cancel(ref_of(order))
    assert not [event for event in answer if event.kind is Kind.CANCEL_REJECT]
    report = await report_of(stand, order)
    assert report.status is VenueOrderStatus.CANCELLED
    frames = await listener.ended(report)
    assert (frames[-1].kind, frames[-1].quantity_e8) == (Kind.CANCEL_ACK, 0)
    assert not await stand.venue.open_orders(stand.asset)


async def a_cancel_after_the_fill_is_rejected(stand: Stand) -> None:
    order = order_of(stand, "6", BUY, 100)
    await stand.venue.submit(order)
    (rejected,) = await stand.venue.cancel(ref_of(order))
    assert rejected.kind is Kind.CANCEL_REJECT
    assert rejected.client_order_id == order.client_order_id
    assert (await report_of(stand, order)).status is VenueOrderStatus.FILLED


async def a_refused_cancel_leaves_the_order_working(stand: Stand) -> None:
    order = limit_of(stand, "7", BUY, 50, "0.4")
    await stand.venue.submit(order)
    await stand.refuse_cancel()
    (rejected,) = await stand.venue.cancel(ref_of(order))
    assert rejected.kind is Kind.CANCEL_REJECT
    assert (await report_of(stand, order)).status is VenueOrderStatus.WORKING


async def reduce_only_never_opens(stand: Stand) -> None:
    close = order_of(stand, "8", SELL, 100, reduce_only=True)
    (rejected,) = await stand.venue.submit(close)
    assert (rejected.kind, rejected.reject) == (Kind.ORDER_REJECT, RejectReason.POSITION_MISMATCH)
    assert rejected.client_order_id == close.client_order_id
    await stand.venue.submit(order_of(stand, "9", BUY, 60))
    # More than there is: cut down to it, or refused as a whole.
    answer = await stand.venue.submit(order_of(stand, "10", SELL, 100, reduce_only=True))
    refused = [e.reject for e in answer if e.kind is Kind.ORDER_REJECT]
    positions = await stand.venue.positions()
    assert (refused, [(p.side, p.quantity_e8) for p in positions]) in (
        ([], []),
        ([RejectReason.POSITION_MISMATCH], [(BUY, 60 * QUANTITY_ONE)]),
    )


async def too_small_is_said_to_be_too_small(stand: Stand) -> None:
    (rejected,) = await stand.venue.submit(order_of(stand, "11", BUY, 1))
    assert (rejected.kind, rejected.reject) == (Kind.ORDER_REJECT, RejectReason.BELOW_MINIMUM)
    assert await stand.venue.order(ref_of(order_of(stand, "11", BUY, 1))) is None


async def too_much_is_rejected(stand: Stand) -> None:
    (rejected,) = await stand.venue.submit(order_of(stand, "12", BUY, 10_000_000))
    assert (rejected.kind, rejected.reject) == (Kind.ORDER_REJECT, RejectReason.OTHER)


async def a_lost_answer_is_unknown_and_found_later(stand: Stand) -> None:
    order = order_of(stand, "13", BUY, 100)
    proof = await proof_for(stand, order)
    await stand.lose_answer(executed=True)
    with pytest.raises(OutcomeUnknown):
        await stand.venue.submit(order)
    assert await verdict_of(stand, proof) is Verdict.FOUND
    assert proof.report is not None and proof.report.filled_e8 == order.quantity_e8


async def a_lost_order_is_proven_absent_and_only_after_the_fence(stand: Stand) -> None:
    order = order_of(stand, "14", BUY, 100)
    proof = await proof_for(stand, order)
    await stand.lose_answer(executed=False)
    with pytest.raises(OutcomeUnknown):
        await stand.venue.submit(order)
    assert await verdict_of(stand, proof) is Verdict.OPEN
    await stand.pass_ms(stand.venue.receive_window_ms + 15_001)
    assert await verdict_of(stand, proof) is Verdict.PROVEN


async def proof_for(stand: Stand, order: SubmitOrder) -> AbsenceProof:
    sent_ms = await stand.venue.server_time_ms()
    window = stand.venue.receive_window_ms
    return AbsenceProof(ref_of(order), order.side, sent_ms, window)


async def verdict_of(stand: Stand, proof: AbsenceProof) -> Verdict:
    venue, asset = stand.venue, stand.asset
    proof.server_time(await venue.server_time_ms())
    proof.order(await venue.order(proof.order_ref))
    proof.open_orders(await venue.open_orders(asset))
    proof.all_orders(await venue.all_orders(asset, 0))
    proof.fills(await venue.fills(asset, 0))
    return proof.verdict


async def a_failed_question_raises_and_is_never_empty(stand: Stand) -> None:
    await stand.venue.submit(order_of(stand, "15", BUY, 100))
    ref = ref_of(order_of(stand, "15", BUY, 100))
    venue = stand.venue
    questions: tuple[Callable[[], Awaitable[object]], ...] = (
        venue.server_time_ms,
        venue.positions,
        venue.balance,
        lambda: venue.order(ref),
        lambda: venue.open_orders(stand.asset),
        lambda: venue.all_orders(stand.asset, 0),
        lambda: venue.fills(stand.asset, 0),
        lambda: venue.income(0),
    )
    await stand.fail_questions(len(questions))
    for question in questions:
        with pytest.raises(QueryFailed):
            await question()
    (position,) = await venue.positions()
    assert position.quantity_e8 == 100 * QUANTITY_ONE


async def positions_fills_and_money_agree(stand: Stand) -> None:
    venue = stand.venue
    start = await venue.balance()
    await venue.submit(order_of(stand, "16", SELL, 100))
    await stand.move_price(47 * PRICE_ONE // 100)
    await venue.submit(order_of(stand, "17", BUY, 40, reduce_only=True))
    await stand.fund(rate_e9=250_000)
    (position,) = await venue.positions()
    assert (position.side, position.quantity_e8) == (SELL, 60 * QUANTITY_ONE)
    assert position.asset == stand.asset
    fills = await venue.fills(stand.asset, 0)
    assert sum(f.side * f.quantity_e8 for f in fills) == position.side * position.quantity_e8
    income = await venue.income(0)
    assert {row.kind for row in income} == {
        IncomeKind.REALIZED,
        IncomeKind.FEE,
        IncomeKind.FUNDING,
    }
    assert len({row.income_id for row in income}) == len(income)
    balance = await venue.balance()
    moved = sum(row.amount for row in income)
    assert abs(balance.wallet - start.wallet - moved) <= off(stand, 2)
    assert balance.requested_ms <= balance.answered_ms
    paid = -sum(row.amount for row in income if row.kind is IncomeKind.FEE)
    assert abs(sum(fill.fee for fill in fills) - paid) <= off(stand, len(fills))


async def final_figures_are_sums_over_fills(stand: Stand) -> None:
    venue = stand.venue
    await venue.submit(order_of(stand, "18", BUY, 100))
    await stand.move_price(53 * PRICE_ONE // 100)
    close = order_of(stand, "19", SELL, 100, reduce_only=True)
    await venue.submit(close)
    report = await report_of(stand, close)
    fills = await venue.fills(stand.asset, 0)
    final = final_event(report, fills, received_ms=1)
    own = fills_of(report, fills)
    assert final.quantity_e8 == close.quantity_e8
    assert final.cost == sum(f.price_e10 * f.quantity_e8 for f in own)
    # Where the venue rounds a fill's fee more than the order's, the order's is the better figure.
    assert final.fee is not None
    assert abs(final.fee - sum(f.fee for f in own)) <= off(stand, len(own))
    entry = fills_of(await report_of(stand, order_of(stand, "18", BUY, 100)), fills)
    paid = sum(f.price_e10 * f.quantity_e8 for f in entry)
    assert final.realized is not None
    assert abs(final.realized - (final.cost - paid)) <= off(stand, 1)


async def the_stream_tells_balances_and_orders_in_order(stand: Stand) -> None:
    listener = Listener(stand.venue.events())
    for i in range(3):
        await stand.venue.submit(order_of(stand, f"20{i}", BUY, 10 + i))
        await stand.pass_ms(10)
    last = await report_of(stand, order_of(stand, "202", BUY, 12))
    await listener.ended(last)
    balance = await stand.venue.balance()

    def told() -> bool:
        wallets = [e.amount for e in listener.seen if e.kind is Kind.ACCOUNT_UPDATE]
        return any(abs((w or 0) - balance.wallet) <= off(stand, 1) for w in wallets)

    await listener.until(told)
    # A position counts as older than its frame: a fill just before may not be in it yet.
    times = [event.exchange_ms for event in listener.seen if event.kind is not Kind.POSITION]
    assert times == sorted(times)
    assert all(event.received_ms > 0 for event in listener.seen)


async def a_lost_stream_ends_and_can_be_had_again(stand: Stand) -> None:
    listener = Listener(stand.venue.events())
    await stand.venue.submit(order_of(stand, "21", BUY, 10))
    await listener.ended(await report_of(stand, order_of(stand, "21", BUY, 10)))
    await stand.end_stream()
    await listener.until(lambda: listener.over)
    await stand.venue.submit(order_of(stand, "22", BUY, 10))  # nobody hears of it
    missed = await report_of(stand, order_of(stand, "22", BUY, 10))
    # A venue may need a while, and end the stream once more when it is back.
    for attempt in range(AGAIN_MAX):
        again = Listener(stand.venue.events())
        for _ in range(20):
            await asyncio.sleep(0.001)  # a listener starts to listen when it is first awaited
        order = order_of(stand, f"23{attempt}", BUY, 10)
        await stand.venue.submit(order)
        heard = await hears(again, await report_of(stand, order))
        again.stop()
        assert again.of(missed) == []
        if heard:
            return
    raise AssertionError("the stream did not come back")


async def hears(listener: Listener, report: OrderReport) -> bool:
    """Does a listener hear the end of an order before it is over?"""
    ended = asyncio.ensure_future(listener.ended(report))
    over = asyncio.ensure_future(listener.until(lambda: listener.over))
    await asyncio.wait({ended, over}, timeout=1, return_when=asyncio.FIRST_COMPLETED)
    heard = ended.done()
    for task in (ended, over):
        task.cancel()
    await asyncio.gather(ended, over, return_exceptions=True)
    return heard


async def closing_twice_is_closing_once(stand: Stand) -> None:
    listener = Listener(stand.venue.events())
    await stand.venue.close()
    await stand.venue.close()
    await listener.until(lambda: listener.over)
    with pytest.raises(QueryFailed):
        await stand.venue.positions()
    await stand.venue.connect()
    assert await stand.venue.positions() == ()


async def an_unknown_symbol_is_an_error(stand: Stand) -> None:
    rules = await stand.venue.contract(stand.asset)
    assert rules.tick_e10 > 0 and rules.step_e8 > 0
    with pytest.raises(VenueError, match="symbol"):
        await stand.venue.contract("NOPE-USDT")
    with pytest.raises(VenueError, match="symbol"):
        await stand.venue.price("NOPE-USDT")


async def the_price_is_the_one_of_now(stand: Stand) -> None:
    assert await stand.venue.price(stand.asset) == PRICE_ONE // 2
    await stand.move_price(PRICE_ONE * 4 // 10)
    assert await stand.venue.price(stand.asset) == PRICE_ONE * 4 // 10
    await stand.fail_questions(1)
    with pytest.raises(QueryFailed):
        await stand.venue.price(stand.asset)


async def an_order_at_once_never_rests(stand: Stand) -> None:
    """What cannot fill at the limit ends by itself, and is told to have ended."""
    listener = Listener(stand.venue.events())
    at_once = {"order_type": OrderType.LIMIT_IOC}
    below = msgspec.structs.replace(limit_of(stand, "28", BUY, 50, "0.4"), **at_once)
    await stand.venue.submit(below)
    report = await report_of(stand, below)
    assert (report.status, report.filled_e8) in (
        (VenueOrderStatus.EXPIRED, 0),
        (VenueOrderStatus.CANCELLED, 0),
    )
    assert (await listener.ended(report))[-1].quantity_e8 == 0
    above = msgspec.structs.replace(limit_of(stand, "29", BUY, 50, "0.6"), **at_once)
    await stand.venue.submit(above)
    filled = await report_of(stand, above)
    assert (filled.status, filled.filled_e8) == (VenueOrderStatus.FILLED, above.quantity_e8)
    assert 0 < filled.average_price_e10 <= above.limit_price_e10
    assert not await stand.venue.open_orders(stand.asset)


async def everything_told_of_an_order_names_its_position_side(stand: Stand) -> None:
    """In hedge mode a SELL is an entry or an exit by nothing else; in one-way mode it has none."""
    listener = Listener(stand.venue.events())
    entry = order_of(stand, "30", SELL, 60)
    leave = order_of(stand, "31", BUY, 60, reduce_only=True)
    side = PositionSide.SHORT if stand.hedge else PositionSide.UNKNOWN
    for order in (entry, leave):
        await stand.venue.submit(order)
        report = await report_of(stand, order)
        frames = await listener.ended(report)
        fills = fills_of(report, await stand.venue.fills(stand.asset, 0))
        told = [report.position_side, *(f.position_side for f in fills)]
        told += [e.position_side for e in frames]
        told += [o.position_side for o in await stand.venue.all_orders(stand.asset, 0)]
        assert fills and set(told) == {side}
    assert not await stand.venue.positions()


async def a_refusal_carries_the_venue_s_words(stand: Stand) -> None:
    (rejected,) = await stand.venue.submit(order_of(stand, "32", BUY, 10_000_000))
    assert rejected.kind is Kind.ORDER_REJECT
    assert 0 < len(rejected.message) <= 500
    assert rejected.error_code != 0


async def what_cannot_be_read_is_neither_there_nor_gone(stand: Stand) -> None:
    """Rows about the asset are damaged: nobody concludes from their absence."""
    venue = stand.venue
    await venue.submit(order_of(stand, "33", BUY, 100))
    await venue.submit(resting := limit_of(stand, "34", BUY, 50, "0.4"))
    await stand.damage_answers()
    proof = await proof_for(stand, resting)
    await stand.pass_ms(venue.receive_window_ms + 60_000)
    for rows in (
        await venue.positions(),
        await venue.open_orders(stand.asset),
        await venue.all_orders(stand.asset, 0),
        await venue.fills(stand.asset, 0),
    ):
        assert not rows
        assert unreadable_in(rows)
        with pytest.raises(QueryFailed, match=stand.asset):
            rows.about(stand.asset)
        rows.about("TRX-USDT")
    assert not position_events(await venue.positions(), [stand.asset], 1, 1, stand.hedge)
    proof.server_time(await venue.server_time_ms())
    for _ in range(2):  # nothing but the damaged rows speaks against absence
        proof.order(None)
        proof.open_orders(await venue.open_orders(stand.asset))
        proof.all_orders(await venue.all_orders(stand.asset, 0))
        proof.fills(await venue.fills(stand.asset, 0))
    assert proof.verdict is not Verdict.PROVEN


async def an_empty_answer_is_an_answer(stand: Stand) -> None:
    """What stands behind it is not this module's to know: whoever asks may ask again."""
    await stand.venue.submit(order_of(stand, "35", BUY, 100))
    await stand.empty_answers()
    assert (await stand.venue.positions(), await stand.venue.open_orders(stand.asset)) == ((), ())
    assert (await stand.venue.all_orders(stand.asset, 0)).whole() == ()
    assert await stand.venue.fills(stand.asset, 0) == ()


async def health_is_plain_and_never_a_question(stand: Stand) -> None:
    await stand.fail_questions(1)
    assert msgspec.json.decode(msgspec.json.encode(stand.venue.health())) == stand.venue.health()
    with pytest.raises(QueryFailed):  # the failure was still waiting
        await stand.venue.balance()


CHECKS: Final[tuple[Check, ...]] = (
    a_market_order_is_acknowledged_and_fills,
    an_order_is_found_by_either_id,
    a_client_id_is_taken_once,
    a_limit_order_rests_until_the_price_crosses,
    a_cancel_ends_an_order,
    a_cancel_after_the_fill_is_rejected,
    a_refused_cancel_leaves_the_order_working,
    reduce_only_never_opens,
    too_small_is_said_to_be_too_small,
    too_much_is_rejected,
    a_lost_answer_is_unknown_and_found_later,
    a_lost_order_is_proven_absent_and_only_after_the_fence,
    a_failed_question_raises_and_is_never_empty,
    positions_fills_and_money_agree,
    final_figures_are_sums_over_fills,
    the_stream_tells_balances_and_orders_in_order,
    a_lost_stream_ends_and_can_be_had_again,
    closing_twice_is_closing_once,
    an_unknown_symbol_is_an_error,
    the_price_is_the_one_of_now,
    an_order_at_once_never_rests,
    everything_told_of_an_order_names_its_position_side,
    a_refusal_carries_the_venue_s_words,
    what_cannot_be_read_is_neither_there_nor_gone,
    an_empty_answer_is_an_answer,
    health_is_plain_and_never_a_question,
)
