"""The emergency exit against the local exchange on real sockets: lost answers with the real fence,
empty and odd answers, refusals without end, refused access.  Time moves by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from support.bingx_rig import FET, BingxStand

from dita.clock import ManualClock
from dita.contracts import KernelEventKind, OrderSide, PositionSide, VenueEvent
from dita.exchange.model.records import PositionSide as Side
from dita.exchange.wire.faults import FaultKind
from dita.identity import client_order_id
from dita.runtime.emergency.flatten import FLAT_ANSWERS, Emergency, EmergencyLog
from dita.runtime.emergency.owned import Known, closable, own_size
from dita.runtime.equal_errors import FREE, MOST, PAUSE_MS, WINDOW_MS, EqualErrors
from dita.units import QUANTITY_ONE
from dita.venues import OrderReport, PositionReport, QueryFailed, Rows, UnreadableRow

TRX = "TRX-USDT"
OURS = client_order_id("pink", 1, "T1", 1)


def run(work: Coroutine[Any, Any, object]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


class Exit:
    """A stand with a position of ours, and somebody who wants out."""

    def __init__(self, stand: BingxStand, folder: Path, **options: Any) -> None:
        self.stand = stand
        self.said: list[str] = []
        self.folder = folder
        options.setdefault("limit_s", 120)
        self.emergency = Emergency(
            stand.venue,
            stand.clock,
            EmergencyLog(folder, stand.clock, self.said.append),
            self.said.append,
            symbols=[FET],
            everything=False,
            namespace="pink",
            absence_fence_ms=15_000,
            sleep=self.sleep,
            **options,
        )

    async def sleep(self, seconds: float) -> None:
        await self.stand.sleep(seconds)
        self.stand.session.pulse()
        await asyncio.sleep(0)

    @classmethod
    async def make(cls, folder: Path, *, hedge: bool = False, **options: Any) -> Exit:
        stand = await BingxStand.make(hedge=hedge)
        enter(stand, OURS)
        return cls(stand, folder, **options)

    async def flatten(self) -> bool:
        try:
            return await self.emergency.flatten()
        finally:
            self.emergency.log.close()

    async def close(self) -> None:
        await self.stand.close()

    def steps(self) -> list[str]:
        (path,) = self.folder.glob("emergency-*.jsonl")
        return [json.loads(line)["step"] for line in path.read_text().splitlines()]

    def requests(self, name: str) -> int:
        told = self.stand.bingx.client.budget.told()["requests"]
        return int(told.get(name, 0))

    @property
    def open(self) -> int:
        return sum(p.quantity_e8 for p in self.stand.exchange.positions(FET)) // QUANTITY_ONE


def enter(stand: BingxStand, client_id: str, side: str = "BUY", lots: int = 1_000) -> None:
    from dita.exchange.model.records import OrderRequest, OrderType
    from dita.exchange.model.records import Side as OrderSide_

    position = Side.LONG if side == "BUY" else Side.SHORT
    request = OrderRequest(
        symbol=FET,
        side=OrderSide_(side),
        position_side=position if stand.hedge else Side.BOTH,
        type=OrderType.MARKET,
        quantity_e8=lots * QUANTITY_ONE,
        client_order_id=client_id,
    )
    stand.exchange.place(request, stand.clock.now_ms())


def owning(stand: BingxStand) -> Any:
    """What the journal would know: nothing but that own orders are ours."""
    known = Known({}, {}, frozenset(), 0, stand.hedge)

    async def share(position: PositionReport) -> int:
        return closable(position, await own_size(position, known, stand.venue.all_orders))

    return share


# -- a lost first order ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("executed", "steps"),
    [
        (False, ["submit", "unknown", "absent", "submit", "ended", "end"]),
        (True, ["submit", "unknown", "ended", "end"]),
    ],
)
def test_a_lost_first_order_is_found_out_about_and_the_exit_goes_on(
    tmp_path: Path, executed: bool, steps: list[str]
) -> None:
    async def test() -> None:
        out = await Exit.make(tmp_path)
        began_ms = out.stand.clock.now_ms()
        await out.stand.lose_answer(executed)
        assert await out.flatten()
        assert (out.open, out.steps()) == (0, steps)
        assert out.requests("POST v2/trade/order") == (1 if executed else 2)
        # By id it is an error each time that the order is not there: the exchange blocks at 20.
        assert out.requests("GET v2/trade/order") <= 4
        if not executed:
            assert out.stand.clock.now_ms() - began_ms > 5_000 + 15_000
        await out.close()

    run(test())


def test_two_lost_orders_in_a_row_are_not_the_end_either(tmp_path: Path) -> None:
    async def test() -> None:
        out = await Exit.make(tmp_path)
        out.stand.fault(FaultKind.REQUEST_LOST, "POST */trade/order", times=2)
        assert await out.flatten()
        assert (out.open, out.steps().count("absent")) == (0, 2)
        await out.close()

    run(test())


# -- answers that cannot be right ------------------------------------------------------------------


def test_an_empty_answer_is_not_flat_until_it_comes_again(tmp_path: Path) -> None:
    async def test() -> None:
        out = await Exit.make(tmp_path)
        out.stand.fault(FaultKind.EMPTY, "GET */user/positions", times=FLAT_ANSWERS - 1)
        assert await out.flatten()
        assert (out.open, out.steps()[0]) == (0, "submit")
        await out.close()

    run(test())


def test_while_positions_are_answered_empty_what_own_orders_left_is_closed(tmp_path: Path) -> None:
    async def test() -> None:
        out = await Exit.make(tmp_path)
        out.emergency.share = owning(out.stand)
        out.stand.fault(FaultKind.EMPTY, "GET */user/positions", times=0)
        assert await out.flatten()
        assert (out.open, out.steps()) == (0, ["submit", "ended", "end"])
        await out.close()

    run(test())


def test_what_is_gone_is_tried_once_and_then_believed(tmp_path: Path) -> None:
    async def test() -> None:
        out = await Exit.make(tmp_path)
        out.emergency.share = owning(out.stand)
        out.stand.session.acts.vanish(FET, out.stand.clock.now_ms())
        assert await out.flatten()
        assert out.steps() == ["submit", "rejected", "end"]
        assert any("nothing to close" in line for line in out.said)
        await out.close()

    run(test())


def test_an_odd_row_of_others_does_not_hold_up_the_exit(tmp_path: Path) -> None:
    async def test() -> None:
        out = await Exit.make(tmp_path)
        for row in ('{"symbol":"TRX-USDT","positionAmt":"many"}', '{"symbol":"币安人生-USDT"}'):
            out.stand.fault(FaultKind.ODD_ROW, "GET */user/positions", msg=row, times=0)
        odd = '{"symbol":"FET-USDT","orderId":5,"clientOrderId":"by hand","status":"HALTED"}'
        out.stand.fault(FaultKind.ODD_ROW, "GET */trade/openOrders", msg=odd, times=0)
        assert await out.flatten()
        assert out.open == 0
        await out.close()

    run(test())


def test_an_odd_row_about_the_symbol_is_never_flat_and_is_told(tmp_path: Path) -> None:
    async def test() -> None:
        out = await Exit.make(tmp_path, limit_s=5)
        odd = '{"symbol":"FET-USDT","positionAmt":"many"}'
        out.stand.fault(FaultKind.ODD_ROW, "GET */user/positions", msg=odd, times=0)
        assert not await out.flatten()
        assert out.open == 0, "what could be read was closed"
        assert any(line.startswith("end: not flat; cannot be read:") for line in out.said)
        await out.close()

    run(test())


def test_an_own_order_that_cannot_be_read_is_cancelled_by_its_ids(tmp_path: Path) -> None:
    async def test() -> None:
        out = await Exit.make(tmp_path, limit_s=5)
        ours = client_order_id("pink", 1, "T2", 1)
        odd = {"symbol": FET, "orderId": 77, "clientOrderId": ours, "status": "HALTED"}
        rule = {"msg": json.dumps(odd), "times": 0}
        out.stand.fault(FaultKind.ODD_ROW, "GET */trade/openOrders", **rule)
        assert not await out.flatten()
        assert out.steps()[0] == "cancel"
        assert (out.open, out.requests("DELETE v2/trade/order") > 0) == (0, True)
        await out.close()

    run(test())


# -- refusals --------------------------------------------------------------------------------------


def test_refusals_never_block_the_endpoint_and_the_exit_goes_out_when_they_end(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        out = await Exit.make(tmp_path, limit_s=900)
        now_ms = out.stand.clock.now_ms()
        out.stand.session.acts.lock(FET, 1_000 * QUANTITY_ONE, now_ms, code=101205)
        real = out.sleep

        async def sleep(seconds: float) -> None:
            await real(seconds)
            if out.stand.clock.now_ms() - now_ms > 700_000:
                out.stand.session.acts.lock(FET, 0, out.stand.clock.now_ms())

        out.emergency._sleep = sleep
        assert await out.flatten()
        tries = [line for line in out.said if line.startswith("rejected: ")]
        # At once as long as that costs nothing, then once a minute, up to the end of the lock.
        assert FREE + 700_000 // PAUSE_MS - 1 <= len(tries) <= FREE + 700_000 // PAUSE_MS + 1
        assert sum("next try in" in line for line in out.said) == len(tries) - FREE + 1
        assert "101205" in tries[0] and "No position to close" in tries[0]
        assert "a stop set at the venue's own screen" in tries[0]
        blocks = out.stand.bingx.client.budget.told()["blocks"]
        assert "POST v2/trade/order" not in blocks
        await out.close()

    run(test())


def test_a_rate_limit_longer_than_the_time_that_is_left_does_not_hold_it_up(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        out = await Exit.make(tmp_path, limit_s=20)
        out.stand.fault(FaultKind.RATE_LIMITED, "POST */trade/order", retry_ms=400_000)
        began_ms = out.stand.clock.now_ms()
        assert not await out.flatten()
        assert out.stand.clock.now_ms() - began_ms < 30_000
        await out.close()

    run(test())


def test_keys_that_are_mended_while_it_runs_are_used(tmp_path: Path) -> None:
    async def test() -> None:
        out = await Exit.make(tmp_path)
        client = out.stand.bingx.client
        reads = iter(["wrong", "wrong", "key-of-the-stand"])
        client._key = "wrong"
        client.access = client.access._replace(api_key=lambda: next(reads, "key-of-the-stand"))
        assert await out.flatten()
        assert out.open == 0
        assert any("100413" in line and "read again" in line for line in out.said)
        await out.close()

    run(test())


# -- equal errors ----------------------------------------------------------------------------------


def refusal(code: int, at_ms: int, asset: str = FET) -> VenueEvent:
    return VenueEvent(
        kind=KernelEventKind.ORDER_REJECT, received_ms=at_ms, asset=asset, error_code=code
    )


def test_from_the_seventh_equal_error_on_who_had_it_waits_and_at_fifteen_everybody() -> None:
    clock = ManualClock(10_000_000)
    errors = EqualErrors(clock)
    for _ in range(FREE):
        assert errors.wait_ms(FET) == 0
        errors.note(FET, 101205)
        errors.note(FET, 109400)
    assert 0 < errors.wait_ms(FET) <= PAUSE_MS
    assert errors.wait_ms(TRX) == 0, "another symbol has not had it"
    clock.advance_ms(PAUSE_MS)
    assert errors.wait_ms("FETUSDT") == 0
    for _ in range(MOST - FREE):
        errors.note(FET, 101205)
    assert errors.wait_ms(TRX) == errors.wait_ms(FET) == WINDOW_MS - PAUSE_MS
    clock.advance_ms(WINDOW_MS - PAUSE_MS)
    assert errors.wait_ms(TRX) == 0


def test_what_the_journal_tells_of_the_last_minutes_counts() -> None:
    clock = ManualClock(10_000_000)
    now = clock.now_ms()
    errors = EqualErrors(clock)
    recent = [refusal(101205, now - 60_000) for _ in range(MOST)]
    old = [refusal(109400, now - WINDOW_MS - 1) for _ in range(MOST)]
    others = [
        VenueEvent(kind=KernelEventKind.CANCEL_REJECT, received_ms=now, error_code=109421)
        for _ in range(MOST)
    ]
    errors.note_journalled([*old, *others, refusal(0, now)])
    assert errors.wait_ms(TRX) == 0
    errors.note_journalled(recent)
    assert errors.wait_ms(TRX) == WINDOW_MS - 60_000


# -- how much is ours ------------------------------------------------------------------------------


def report(client_id: str, side: int, lots: int, position: int = 0) -> OrderReport:
    from dita.contracts import VenueOrderStatus

    return OrderReport(
        client_order_id=client_id,
        venue_order_id="1",
        asset=FET,
        side=OrderSide(side),
        order_type=None,
        status=VenueOrderStatus.FILLED,
        quantity_e8=lots,
        filled_e8=lots,
        average_price_e10=1,
        fee=0,
        realized=0,
        updated_ms=1,
        position_side=PositionSide(position),
    )


@pytest.mark.parametrize(
    ("hedge", "orders", "own"),
    [
        (False, [report(OURS, 1, 10), report("by hand", 1, 90)], 10),
        (False, [report(OURS, 1, 10), report(OURS.upper(), -1, 4)], 6),
        (True, [report(OURS, 1, 10, 1), report(OURS, -1, 4, 1)], 6),
        (True, [report(OURS, 1, 10, 1), report(OURS, -1, 30, -1)], 10),  # the other side
        (True, [report(OURS, 1, 10, 1), report(OURS, -1, 4, 0)], 0),  # it does not say
        (True, [report(OURS, 1, 10, 1), report("flatten0" + "a" * 24, -1, 4, 0)], 6),
    ],
)
def test_own_orders_say_how_much_of_a_position_is_ours(
    hedge: bool, orders: list[OrderReport], own: int
) -> None:
    position = PositionReport(
        asset=FET,
        side=OrderSide.BUY,
        quantity_e8=100,
        average_price_e10=1,
        leverage=1,
        updated_ms=1,
    )

    async def listed(asset: str, since_ms: int) -> Rows[OrderReport]:
        return Rows(orders, [UnreadableRow(asset=FET, client_order_id="by hand", why="odd")])

    async def odd(asset: str, since_ms: int) -> Rows[OrderReport]:
        return Rows(orders, [UnreadableRow(asset=FET, client_order_id=OURS, why="odd")])

    async def test() -> None:
        known = Known({}, {}, frozenset(), 0, hedge)
        assert await own_size(position, known, listed) == own
        with pytest.raises(QueryFailed):
            await own_size(position, known, odd)

    run(test())
