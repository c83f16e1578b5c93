"""The two views of a running kernel: ours from its state, the exchange's by asking.

Everything is asked directly and once: a question that fails ends the look with its name, because a
failed or partial answer is never "flat".  A look changes no state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Final, TypeVar

from dita.contracts import ENDED_STATUSES, Record, TradeSlot, TradeStage, VenueOrder
from dita.engine import Engine
from dita.errors import VenueError
from dita.identity import plain_symbol
from dita.kernel import ExecutionKernel
from dita.reconcile import (
    OurMoney,
    OurOrder,
    OurPosition,
    OurView,
    TheirOrder,
    TheirPosition,
    TheirView,
)
from dita.runtime.loop import Runtime
from dita.venues import (
    AccessRefused,
    OrderRef,
    OrderReport,
    PositionReport,
    Rows,
    UnknownSymbol,
    Venue,
)
from dita.venues.evidence import balance_event

QUESTION_TIMEOUT_S: Final = 10
#: Looks until one sees nothing of ours change meanwhile.
LOOKS_MAX: Final = 4
#: Rounds of "a position on a symbol that was not asked about yet".
ROUNDS_MAX: Final = 3

T = TypeVar("T")


class BothViews(Record, frozen=True, kw_only=True):
    """Both views; ``calm`` when ours was the same before and after the questions."""

    ours: OurView
    theirs: TheirView
    calm: bool


async def read_both_views(engine: Engine, venue: Venue, assets: Iterable[str] = ()) -> BothViews:
    """Both views of one moment, as far as there is one.  VenueError names the failed question."""
    wanted = tuple(assets)
    looks = 0
    while True:
        looks += 1
        before = our_view(engine)
        theirs = await their_view(engine.kernel, venue, wanted)
        calm = before == our_view(engine)
        if calm or looks == LOOKS_MAX:
            return BothViews(ours=our_view(engine, theirs.open_orders), theirs=theirs, calm=calm)


# -- ours ------------------------------------------------------------------------------------------


def our_view(engine: Engine, open_there: Iterable[TheirOrder] = ()) -> OurView:
    """Slots, orders that are not terminal, money; and what is terminal here but works there."""
    kernel, account = engine.kernel, engine.snapshot
    slots = kernel.active_slots()
    orders = kernel.open_orders()
    known = {order.order_no for order in orders}
    for there in open_there:
        order = kernel.order_of_client(there.client_order_id.lower())
        if order is not None and order.order_no not in known:
            orders += (order,)
    trades = {slot.trade_no: slot.trade_id for slot in slots}
    if any(order.trade_no not in trades for order in orders):
        trades |= {trade.trade_no: trade.trade_id for trade in kernel.trades()}
    return OurView(
        namespace=kernel.config.namespace,
        epoch=kernel.config.epoch,
        hedge=kernel.config.hedge,
        orders=tuple(_our_order(kernel, order, trades) for order in orders),
        positions=tuple(_our_position(kernel, slot) for slot in slots),
        money=OurMoney(
            wallet=account.e_wallet_balance,
            capital=account.capital,
            k_capital=account.k_capital,
            causes=account.drift_by_cause,
            digit=engine.account.config.wallet_digit,
        ),
    )


def _our_order(kernel: ExecutionKernel, order: VenueOrder, trades: dict[int, str]) -> OurOrder:
    return OurOrder(
        order_no=order.order_no,
        slot_id=order.slot_id,
        trade_id=trades.get(order.trade_no, ""),
        asset=kernel.asset_of(order.trade_no),
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id,
        side=order.side,
        role=order.role,
        status=order.status,
        final=order.final,
        intended_e8=order.intended_e8,
        filled_e8=order.filled_e8,
    )


def _our_position(kernel: ExecutionKernel, slot: TradeSlot) -> OurPosition:
    working = (slot.active_entry_order, slot.active_exit_order)
    return OurPosition(
        slot_id=slot.slot_id,
        trade_id=slot.trade_id,
        asset=slot.asset,
        side=slot.side,
        size_e8=slot.size_e8,
        in_flight=any(o is not None and o.status not in ENDED_STATUSES for o in working),
        in_doubt=slot.state is TradeStage.STALE_STATE_RECONCILING,
        missing_e8=kernel.missing_e8(slot.slot_id),
    )


# -- theirs ----------------------------------------------------------------------------------------


async def their_view(kernel: ExecutionKernel, venue: Venue, assets: Iterable[str]) -> TheirView:
    """Working orders before positions (the other order can miss a fill between), then the wallet.

    Asked are the symbols of our slots and orders, those given, and those that positions name.
    VenueError names the question that failed.
    """
    mine = kernel.open_orders()
    symbols = {slot.asset for slot in kernel.active_slots()}
    symbols |= {kernel.asset_of(order.trade_no) for order in mine}
    wanted = _once((*sorted(symbols), *assets))
    working = await _working(venue, wanted)
    looked_up = await _looked_up(kernel, venue, mine, working)
    asked, positions = wanted, await positions_of(venue, wanted)
    for _ in range(ROUNDS_MAX):
        wanted = _once((*asked, *sorted(p.asset for p in positions)))
        if wanted == asked:
            break
        working += await _working(venue, wanted[len(asked) :])
        asked, positions = wanted, await positions_of(venue, wanted)
    balance = await answered("balance", venue.balance())
    return TheirView(
        assets=asked,
        open_orders=tuple(_their_order(report) for report in working),
        looked_up=looked_up,
        positions=tuple(_their_position(report) for report in positions if report.quantity_e8),
        wallet=balance.wallet,
        available_margin=balance.available_margin,
    )


async def _working(venue: Venue, assets: Iterable[str]) -> list[OrderReport]:
    found: list[OrderReport] = []
    for asset in assets:
        found += await open_orders_of(venue, asset)
    return found


async def open_orders_of(venue: Venue, asset: str) -> Rows[OrderReport]:
    """Every working order of a symbol.  VenueError, also for a row that cannot be read."""
    return await answered(f"open orders of {asset}", _read(venue.open_orders(asset), (asset,)))


async def positions_of(venue: Venue, assets: Iterable[str]) -> Rows[PositionReport]:
    """Every position of these symbols, and what can be read of others.  VenueError."""
    return await answered("positions", _read(venue.positions(), assets))


async def _read(question: Awaitable[Rows[T]], assets: Iterable[str]) -> Rows[T]:
    rows = await question
    for asset in assets:
        rows.about(asset)
    return rows


def _once(assets: Iterable[str]) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for asset in assets:
        if asset:
            found.setdefault(plain_symbol(asset), asset)
    return tuple(found.values())


async def _looked_up(
    kernel: ExecutionKernel,
    venue: Venue,
    mine: Iterable[VenueOrder],
    working: Iterable[OrderReport],
) -> tuple[TheirOrder, ...]:
    seen = {report.venue_order_id for report in working}
    seen |= {report.client_order_id.lower() for report in working}
    seen.discard("")  # two orders without an id are not the same
    found: list[TheirOrder] = []
    for order in mine:
        if order.venue_order_id in seen or order.client_order_id in seen:
            continue
        ref = OrderRef(
            asset=kernel.asset_of(order.trade_no),
            client_order_id=order.client_order_id,
            venue_order_id=order.venue_order_id,
        )
        name = order.client_order_id or order.venue_order_id
        report = await answered(f"order {name}", venue.order(ref))
        if report is not None:
            found.append(_their_order(report))
    return tuple(found)


def _their_order(report: OrderReport) -> TheirOrder:
    return TheirOrder(
        client_order_id=report.client_order_id,
        venue_order_id=report.venue_order_id,
        asset=report.asset,
        side=report.side,
        status=report.status,
        quantity_e8=report.quantity_e8,
        filled_e8=report.filled_e8,
    )


def _their_position(report: PositionReport) -> TheirPosition:
    return TheirPosition(
        asset=report.asset,
        side=report.side,
        quantity_e8=report.quantity_e8,
        entry_price_e10=report.average_price_e10,
        leverage=report.leverage,
    )


async def answered(name: str, question: Awaitable[T], timeout_s: float = QUESTION_TIMEOUT_S) -> T:
    """The answer to one question, or a VenueError that says which one failed."""
    try:
        async with asyncio.timeout(timeout_s):
            return await question
    except (AccessRefused, UnknownSymbol):
        raise  # says itself what to mend
    except (VenueError, TimeoutError) as failed:
        raise VenueError(
            f"the exchange did not answer: {name}",
            expected="a whole answer to every question",
            found=str(failed) or f"no answer within {timeout_s} s",
            action="nothing was assumed and nothing changed; try again",
        ) from failed


async def take_balance(runtime: Runtime) -> None:
    """Ask for the balance once and hand it to the engine as an anchor.  VenueError."""
    report = await answered("balance", runtime.venue.balance())
    await runtime.ask(balance_event(report, 1))
