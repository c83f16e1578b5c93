"""Both sides of the compiled border agree: numbers of enums, sizes of records, exactness of ints.

The traps here are Cython's: a flexible enum, silent truncation at an int64 parameter, an overflow
that a noexcept function swallows.
"""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.engine_driver import Desk, Kind

from dita import _kernel, contracts
from dita.refusals import EXPECTED
from dita.transitions import RULES, TRANSITIONS

NUMBERS = _kernel.NUMBERS
PREFIXES = {
    "RejectReason": "REJECT_",
    "ControlAction": "CONTROL_",
    "EffectKind": "DO_",
    "RiskLimit": "LIMIT_",
    "KernelDiagnosticCode": "D_",
    "EvidenceSource": "FROM_",
}
#: Names that are shorter, or clash with something, on the C side.
ALIASES = {
    "POSITION_CLOSED": "CLOSED",
    "RECONCILING": "STALE_STATE_RECONCILING",
    "REJECT_MISMATCH": "POSITION_MISMATCH",
    "REJECT_MINIMUM": "BELOW_MINIMUM",
    "FROM_ORDER": "ORDER_QUERY",
    "FROM_FILLS": "FILL_HISTORY",
}


def same_numbers(name: str, members: type[IntEnum]) -> None:
    prefix = PREFIXES.get(name, "")
    theirs = {ALIASES.get(n, n.removeprefix(prefix)): v for n, v in NUMBERS[name].items()}
    assert theirs == {member.name: member.value for member in members}


@pytest.mark.parametrize(
    "name",
    ["TradeStage", "OrderRole", "VenueOrderStatus", "EvidenceSource", "RejectReason",
     "ControlAction", "RiskLimit", "EffectKind", "KernelDiagnosticCode"],
)  # fmt: skip
def test_enum_has_the_same_numbers_on_both_sides(name: str) -> None:
    same_numbers(name, getattr(contracts, name))


def test_inputs_have_the_same_numbers_on_both_sides() -> None:
    theirs = {n.removeprefix("IN_"): v for n, v in NUMBERS["Kind"].items()}
    ours = {*contracts.KernelCommandType, *contracts.KernelEventKind}
    assert theirs == {member.name: member.value for member in ours}


def test_rules_have_the_same_numbers_on_both_sides() -> None:
    theirs = {n.removeprefix("RULE_").lower(): v for n, v in NUMBERS["RULES"].items()}
    assert theirs == {rule: number for number, rule in enumerate(RULES)}
    assert {cell.rule for cell in TRANSITIONS.values()} == set(RULES)


def test_every_field_has_its_name_and_words() -> None:
    assert sorted(NUMBERS["FIELDS"].values()) == list(range(len(_kernel.FIELDS)))
    assert set(EXPECTED) == {*_kernel.FIELDS[1:], "contract"}  # which the border names itself


def test_packed_records_have_their_documented_sizes() -> None:
    assert (_kernel.INPUT_SIZE, _kernel.OUTCOME_SIZE) == (264, 128)


@pytest.mark.parametrize(
    "value", [1.9, True, Decimal("2.7"), Decimal(2), Fraction(7, 2), "3", None, 2**63, -(2**63) - 1]
)
def test_no_truncation_at_the_border(value: object) -> None:
    desk = Desk()
    desk.enter()
    desk.fill("T1", 1, "10")
    record = desk.inputs[-1]
    assert isinstance(record, contracts.VenueEvent)
    for field in ("received_ms", "quantity_e8", "price_e10", "last_quantity_e8"):
        changed = contracts.VenueEvent(**{**{f: getattr(record, f) for f in FIELDS}, field: value})
        with pytest.raises(_kernel.BadField):
            desk.engine.kernel.pack(changed)


FIELDS = contracts.VenueEvent.__struct_fields__


@pytest.mark.parametrize("value", [99, -1, True, 17.0, "PARTIAL_FILL", None])
def test_an_unknown_enum_number_is_refused(value: object) -> None:
    desk = Desk()
    out = desk.event(value, asset="FET-USDT")  # type: ignore[arg-type]
    assert not out.kernel.accepted
    assert out.kernel.details["field"] == "kind"


@given(st.integers(-(10**38), 10**38))
def test_money_passes_the_border_exactly(amount: int) -> None:
    desk = Desk()
    desk.event(Kind.TRANSFER, event_id="t", amount=amount)
    assert desk.engine.snapshot.transfers == amount
    assert desk.engine.kernel.ledger().transfers == amount


@given(st.integers(10**38 + 1, 2**200), st.sampled_from([1, -1]))
def test_money_beyond_the_range_is_refused(amount: int, sign: int) -> None:
    desk = Desk()
    out = desk.event(Kind.TRANSFER, event_id="t", amount=sign * amount)
    assert out.kernel.code is contracts.KernelDiagnosticCode.INVALID_EVENT
    assert "10^38" in str(out.kernel.details["expected"])


@given(st.integers(1, 2**40), st.integers(1, 2**40), st.integers(1, 2**20), st.integers(1, 2**40))
def test_half_even_share_of_the_entry_cost(
    size: int, price: int, part: int, exit_price: int
) -> None:
    """Realized of a part = proceeds − entry cost × part / size, half to even, exactly."""
    part = min(part, size)
    cost = size * price
    adopted = Desk()
    adopted.command(
        contracts.KernelCommandType.RECONCILE,
        trade_id="T1",
        asset="FET-USDT",
        quantity_e8=size,
        entry_cost=cost + 1,
        contract=contracts.ContractRules(tick_e10=1, step_e8=1),
    )
    adopted.exit()
    adopted.order("X1", Kind.PARTIAL_FILL, quantity_e8=part, price_e10=exit_price)
    exact = Fraction((cost + 1) * part, size)
    assert adopted.realized() == exit_price * part - round(exact)


@pytest.mark.parametrize(("cost", "share"), [(1, 0), (3, 2), (5, 2), (7, 4), (9, 4)])
def test_a_tie_goes_to_the_even_unit(cost: int, share: int) -> None:
    """Half of an odd entry cost is a tie; 10^-18 is the last digit there is."""
    desk = Desk()
    desk.command(
        contracts.KernelCommandType.RECONCILE,
        trade_id="T1",
        asset="FET-USDT",
        quantity_e8=2,
        entry_cost=cost,
        contract=contracts.ContractRules(tick_e10=1, step_e8=1),
    )
    desk.exit()
    desk.order("X1", Kind.PARTIAL_FILL, quantity_e8=1, price_e10=1)
    assert desk.realized() == 1 - share
