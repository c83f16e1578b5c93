"""The exchange as a witness: a filled order of a kernel's that this journal does not know holds."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace
from support.engine_driver import m, p, q
from support.floor import Floor, up_to_date, watched

from dita.contracts import ControlAction, OrderSide, OrderType, TradeStage
from dita.runtime.loop import RunState
from dita.venues import FillReport, SubmitOrder
from dita.venues.witness import unknown_to_the_journal

FET, TRX = "FET-USDT", "TRX-USDT"
OURS = "abcdefgh234567abcdefgh234567abcd"
FILL = FillReport(
    fill_id="1", client_order_id=OURS, venue_order_id="7", asset=FET, side=OrderSide.BUY,
    quantity_e8=q(1), price_e10=p("1"), fee=m("0"), filled_ms=1_001,
)  # fmt: skip


@pytest.mark.parametrize(
    ("fill", "known", "expected"),
    [
        (FILL, False, (OURS,)),
        (FILL, True, ()),
        (replace(FILL, client_order_id=OURS.upper()), False, (OURS,)),  # some exchanges fold case
        (replace(FILL, filled_ms=1_000), False, ()),  # of an older journal
        (replace(FILL, client_order_id=""), False, ()),
        (replace(FILL, client_order_id="by-hand"), False, ()),
        (replace(FILL, client_order_id=OURS[:31]), False, ()),
        (replace(FILL, client_order_id="flatten0" + OURS[:24]), False, ()),  # an emergency's
    ],
)
def test_only_what_a_kernel_filled_and_we_do_not_know_is_a_witness(
    fill: FillReport, known: bool, expected: tuple[str, ...]
) -> None:
    assert unknown_to_the_journal((fill, fill), lambda _: known, 1_000) == expected


def test_a_filled_order_that_the_journal_lacks_holds_once() -> None:
    """Nothing of it is open any more: only its fill, and the money that it moved, tell of it."""

    async def scene(floor: Floor) -> None:
        await asyncio.sleep(0.01)
        await floor.venue.submit(
            SubmitOrder(
                client_order_id=OURS,
                asset=TRX,
                side=OrderSide.BUY,
                order_type=OrderType.MARKET,
                quantity_e8=q(1000),
            )
        )
        await floor.wait(lambda: floor.runtime.state is RunState.HOLD, 10, "a hold")
        assert OURS in floor.service.held_because
        assert "lost its end" in floor.service.held_because
        # Whoever has looked may go on, although the fill is read again and again.
        await floor.service.control(ControlAction.RESUME, "looked", "test")
        for _ in range(3):
            await up_to_date(floor)
        assert floor.runtime.state is RunState.READY
        await floor.venue.submit(
            SubmitOrder(
                client_order_id="zz" + OURS[2:],
                asset=TRX,
                side=OrderSide.SELL,
                order_type=OrderType.MARKET,
                quantity_e8=q(1000),
            )
        )
        await floor.wait(lambda: floor.runtime.state is RunState.HOLD, 10, "a hold again")

    watched(scene)


def test_own_orders_and_those_of_others_hold_nothing() -> None:
    async def scene(floor: Floor) -> None:
        await floor.enter()
        await floor.until(TradeStage.POSITION_OPEN)
        floor.venue.trade_by_hand(TRX, OrderSide.BUY, q(1000))
        await up_to_date(floor)
        await floor.exit()
        await floor.until(TradeStage.IDLE)
        await up_to_date(floor)
        assert floor.service.poller.history.unknown_orders == ()
        assert floor.runtime.state is RunState.READY

    watched(scene)
