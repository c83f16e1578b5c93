"""The fee gate: what the exchange really took against the contract's rate.

On the local exchange, which then shows another rate than it charged.
"""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from support.bingx_floor import Floor, on_the_floor
from support.bingx_rig import FET

from dita.contracts import ContractRules, OrderSide
from dita.runtime.queries.fee_gate import FeeCheck, FeeState, check_fees, judge
from dita.units import MONEY_ONE, PRICE_ONE, QUANTITY_ONE
from dita.venues import FillReport
from dita.venues.mock import fet_config

RULES: ContractRules = replace(fet_config().contracts[FET], taker_fee_e9=500_000)


def fill(fee: int, quantity: int = 1_000) -> FillReport:
    """At 0.5: of 1,000 pieces the rate's fee is 0.25."""
    return FillReport(
        fill_id="1", client_order_id="", venue_order_id="1", asset=FET, side=OrderSide.BUY,
        quantity_e8=quantity * QUANTITY_ONE, price_e10=PRICE_ONE // 2, fee=fee, filled_ms=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("permille", "state"),
    [(0, "OK"), (9, "OK"), (-9, "OK"), (10, "WARN"), (-49, "WARN"), (50, "OFF"), (-50, "OFF")],
)
def test_a_deviation_is_judged_by_its_size(permille: int, state: str) -> None:
    fee = MONEY_ONE // 4 * (1_000 + permille) // 1_000
    found = judge(FET, [fill(fee), fill(fee)], RULES, 0)
    assert (found.state.value, found.fills) == (state, 2)
    assert abs(found.deviation_e9 - abs(permille) * 10**6) <= 1


def test_rounding_of_small_fills_is_no_deviation() -> None:
    rounded = [fill(3 * MONEY_ONE // 10_000, quantity=1)] * 3  # 0.00025 told with four decimals
    assert judge(FET, rounded, RULES, MONEY_ONE // 10_000).state is FeeState.OK
    assert judge(FET, rounded, RULES, 1).state is FeeState.OFF


def test_without_fills_nothing_is_calibrated() -> None:
    assert judge(FET, [], RULES, 1) == FeeCheck()

    async def scene(floor: Floor) -> None:
        assert floor.service.fees.state is FeeState.UNKNOWN
        assert "no fill" in floor.service.fees.text

    on_the_floor(scene)


@pytest.mark.parametrize(
    ("shown_e9", "state"), [(500_000, "OK"), (515_000, "WARN"), (600_000, "OFF")]
)
def test_a_contract_that_shows_another_rate_holds(shown_e9: int, state: str) -> None:
    async def scene(floor: Floor) -> None:
        await floor.in_and_out()
        contracts = floor.stand.exchange.contracts
        contracts[FET] = replace(contracts[FET], taker_fee_e9=shown_e9)
        await floor.venue.connect()  # reads the contracts again
        await floor.service.check_fees()
        assert floor.service.fees.state.value == state, floor.service.fees
        assert floor.service.fees.fills == 2
        held = state == "OFF"
        assert ("hold" in floor.runtime.engine.kernel.freeze_causes()) is held
        assert ("by the contract's rate" in floor.service.held_because) is held

    on_the_floor(scene)


def test_no_answer_calibrates_nothing() -> None:
    async def scene(floor: Floor) -> None:
        await floor.in_and_out()
        await floor.stand.fail_questions(1)
        found = await check_fees(floor.runtime, floor.service.questions)
        assert (found.state, found.fills) == (FeeState.UNKNOWN, 0)
        assert "did not answer" in found.text

    on_the_floor(scene)
