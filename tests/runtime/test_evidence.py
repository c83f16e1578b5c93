"""Evidence: what an answer becomes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dita.contracts import (
    EvidenceSource,
    KernelEventKind,
    OrderSide,
    OrderType,
    PositionSide,
    VenueOrderStatus,
)
from dita.identity import client_order_id, emergency_client_id
from dita.units import parse_money, parse_price, parse_quantity
from dita.venues import (
    BalanceReport,
    FillReport,
    OrderReport,
    PositionReport,
    QueryFailed,
)
from dita.venues.evidence import (
    balance_event,
    fills_cover,
    fills_of,
    final_event,
    foreign_event,
    found_event,
    position_events,
)

Kind = KernelEventKind
Status = VenueOrderStatus
Source = EvidenceSource
BUY, SELL = OrderSide.BUY, OrderSide.SELL
FET = "FET-USDT"


def order(**changes: Any) -> OrderReport:
    """100 bought of 100, at an average that the venue rounded."""
    report = OrderReport(
        client_order_id="mine",
        venue_order_id="900",
        asset=FET,
        side=BUY,
        order_type=OrderType.MARKET,
        status=Status.FILLED,
        quantity_e8=parse_quantity(100),
        filled_e8=parse_quantity(100),
        average_price_e10=parse_price("0.50003"),
        fee=parse_money("0.025002"),
        realized=parse_money("0"),
        updated_ms=50,
    )
    return msgspec.structs.replace(report, **changes)


def fill(name: str, quantity: int, price: str, **changes: Any) -> FillReport:
    report = FillReport(
        fill_id=name,
        client_order_id="",
        venue_order_id="900",
        asset=FET,
        side=BUY,
        quantity_e8=parse_quantity(quantity),
        price_e10=parse_price(price),
        fee=parse_money("0.01"),
        filled_ms=40,
    )
    return msgspec.structs.replace(report, **changes)


TWO = (fill("1", 70, "0.5"), fill("2", 30, "0.5001", filled_ms=60))


# -- orders ----------------------------------------------------------------------------------------


def test_final_figures_are_sums_over_the_fills() -> None:
    others = (fill("3", 5, "9", venue_order_id="901"), TWO[0])  # another order's, and a duplicate
    event = final_event(order(), [*TWO, *others], received_ms=99)
    assert event.kind is Kind.ORDER_FINAL
    assert (event.source, event.price_e10) == (Source.FILL_HISTORY, 0)
    assert event.cost == parse_money("50.003")
    assert event.fee == parse_money("0.02")
    assert event.realized == 0
    assert event.quantity_e8 == parse_quantity(100)
    assert (event.exchange_ms, event.received_ms) == (60, 99)


def test_without_all_fills_the_order_speaks_for_itself() -> None:
    assert not fills_cover(order(), TWO[:1])
    event = final_event(order(), TWO[:1], received_ms=99)
    assert (event.source, event.cost) == (Source.ORDER_QUERY, None)
    assert (event.price_e10, event.fee) == (parse_price("0.50003"), parse_money("0.025002"))


def test_fills_that_are_newer_than_the_order_win_but_bring_no_realized() -> None:
    older = order(status=Status.CANCELLED, filled_e8=parse_quantity(70), side=BUY)
    event = final_event(older, TWO, received_ms=99)
    assert event.quantity_e8 == parse_quantity(100)
    assert event.realized is None


def test_an_order_that_filled_nothing_has_no_figures() -> None:
    empty = order(status=Status.CANCELLED, filled_e8=0, average_price_e10=0, fee=0)
    event = final_event(empty, (), received_ms=99)
    assert (event.quantity_e8, event.price_e10) == (0, 0)
    assert (event.cost, event.fee, event.realized) == (None, None, None)


def test_a_working_order_has_no_final_figures() -> None:
    with pytest.raises(QueryFailed, match="has not ended"):
        final_event(order(status=Status.WORKING), TWO, received_ms=99)


def test_fills_are_matched_by_venue_id_else_by_client_id() -> None:
    report = order(venue_order_id="", client_order_id="MINE")
    rows = (fill("1", 1, "1", client_order_id="mine"), fill("2", 1, "1"))
    assert [f.fill_id for f in fills_of(report, rows)] == ["1"]
    nameless = order(venue_order_id="", client_order_id="")
    assert fills_of(nameless, (fill("1", 1, "1", venue_order_id=""),)) == ()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (Status.WORKING, Kind.ORDER_ACK),
        (Status.FILLED, Kind.FULL_FILL),
        (Status.CANCELLED, Kind.CANCEL_ACK),
        (Status.EXPIRED, Kind.ORDER_EXPIRED),
        (Status.REJECTED, Kind.ORDER_REJECT),
    ],
)
def test_what_was_found(status: Status, kind: Kind) -> None:
    event = found_event(order(status=status), received_ms=99)
    assert (event.kind, event.source) == (kind, Source.ORDER_QUERY)
    assert (event.venue_order_id, event.client_order_id) == ("900", "mine")
    assert (event.quantity_e8, event.price_e10) == (parse_quantity(100), parse_price("0.50003"))


def test_an_order_of_somebody_else_is_told_with_exact_figures() -> None:
    event = foreign_event(order(client_order_id=""), TWO, received_ms=99)
    assert event is not None
    assert (event.kind, event.cost) == (Kind.FULL_FILL, parse_money("50.003"))
    assert (event.client_order_id, event.source) == ("", Source.FILL_HISTORY)
    lagging = foreign_event(order(client_order_id=""), (), received_ms=99)
    assert lagging is not None
    assert (lagging.cost, lagging.price_e10) == (None, parse_price("0.50003"))
    assert foreign_event(order(filled_e8=0), (), received_ms=99) is None


# -- positions, balance, income --------------------------------------------------------------------


def position(asset: str, side: OrderSide, quantity: int) -> PositionReport:
    return PositionReport(
        asset=asset,
        side=side,
        quantity_e8=parse_quantity(quantity),
        average_price_e10=1,
        leverage=1,
        updated_ms=5,
    )


def test_an_event_of_an_order_has_its_position_side() -> None:
    report = order(position_side=PositionSide.SHORT)
    for event in (
        final_event(report, TWO, 1),
        final_event(report, (), 1),
        found_event(report, 1),
        foreign_event(report, TWO, 1),
        foreign_event(report, (), 1),
    ):
        assert event is not None and event.position_side is PositionSide.SHORT


def test_an_order_that_flips_is_told_with_the_whole_order_s_figures() -> None:
    """Bought 3000 of which 1000 closed ours: what of it is ours is not decided here."""
    report = order(
        client_order_id="",
        quantity_e8=parse_quantity(3_000),
        filled_e8=parse_quantity(3_000),
        fee=parse_money("0.45"),
        realized=parse_money("199.8"),
    )
    event = foreign_event(report, (), 1)
    assert event is not None
    assert (event.quantity_e8, event.fee) == (parse_quantity(3_000), parse_money("0.45"))
    assert event.realized == parse_money("199.8")


def test_an_order_with_the_id_of_a_kernel_is_nobody_s_hand() -> None:
    ours = client_order_id("pink", 1, "T1", 2)
    for text in (ours, ours.upper()):
        assert foreign_event(order(client_order_id=text), TWO, 1) is None
    emergency = emergency_client_id("pink", 1, FET, 2)
    for text in ("", "by hand", emergency, ours[:-1], ours[:-1] + "0", "\u212a" * 32):
        assert foreign_event(order(client_order_id=text), TWO, 1) is not None


def test_flat_is_said_of_every_asset_that_matters() -> None:
    reports = (position("FETUSDT", SELL, 7), position("BTC-USDT", BUY, 1))
    events = position_events(reports, [FET, "TRX-USDT", "TRX-USDT"], received_ms=99, asked_ms=90)
    seen = [(e.asset, e.side, e.quantity_e8, e.exchange_ms) for e in events]
    assert seen == [
        ("FETUSDT", SELL, parse_quantity(7), 90),
        ("BTC-USDT", BUY, parse_quantity(1), 90),
        ("TRX-USDT", OrderSide.UNKNOWN, 0, 90),
    ]


def test_in_hedge_mode_each_side_may_be_flat() -> None:
    events = position_events((position(FET, SELL, 7),), [FET], received_ms=99, hedge=True)
    assert [(e.side, e.quantity_e8) for e in events] == [(SELL, parse_quantity(7)), (BUY, 0)]


def test_a_balance_carries_both_its_times() -> None:
    report = BalanceReport(wallet=5, available_margin=3, requested_ms=10, answered_ms=20)
    event = balance_event(report, received_ms=99)
    assert (event.kind, event.amount, event.available_margin) == (Kind.ACCOUNT_UPDATE, 5, 3)
    assert (event.requested_ms, event.exchange_ms) == (10, 20)
    assert event.source is Source.ORDER_QUERY
