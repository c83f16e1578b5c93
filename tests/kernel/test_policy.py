"""The seam to the strategy: sizes, leverage, intents; and the demo strategy's habits."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from support.engine_driver import RULES, m, p, q

from dita.contracts import KernelCommandType, TradeSide
from dita.engine import Engine
from dita.errors import UnitError
from dita.policy import Action, Decision, DemoStrategy, intent_of, target_quantity_e8
from dita.units import exchange_leverage


@pytest.mark.parametrize(
    ("conviction", "quantity"), [("0.5", 500), ("1", 1000), ("2.5", 2500), ("9", 9000)]
)
def test_conviction_sizes_the_quantity_in_whole_steps(conviction: str, quantity: int) -> None:
    # 2 % of 25,000 at conviction 1, price 0.5
    assert target_quantity_e8(m(25_000), conviction, p("0.5"), RULES) == q(quantity)
    assert target_quantity_e8(m(25_000), conviction, p("0.5001"), RULES) % RULES.step_e8 == 0


def test_what_is_below_the_minimum_is_no_trade() -> None:
    rules = replace(RULES, min_quantity_e8=q(600))
    assert target_quantity_e8(m(25_000), "0.5", p("0.5"), rules) == 0
    decision = Decision(action=Action.ENTER, asset="FET-USDT", conviction="0.5", trade_id="T")
    made = intent_of(decision, intent_id="i", price_e10=p("0.5"), capital=m(25_000), contract=rules)
    assert made is None


@pytest.mark.parametrize(
    ("conviction", "as_if"),
    [("500", "9"), ("9.01", "9"), ("1e60", "9"), ("0.1", "0.5"), ("0", "0.5"), ("-3", "0.5")],
)
def test_conviction_beyond_its_range_sizes_as_the_end_of_it(conviction: str, as_if: str) -> None:
    capital, price = m(25_000), p("0.5")
    expected = target_quantity_e8(capital, as_if, price, RULES)
    assert expected > 0
    assert target_quantity_e8(capital, conviction, price, RULES) == expected
    assert exchange_leverage(conviction) == exchange_leverage(as_if)


@pytest.mark.parametrize("capital", ["0", "-0.01", "-25000"])
def test_without_capital_there_is_no_trade(capital: str) -> None:
    assert target_quantity_e8(m(capital), "9", p("0.5"), RULES) == 0
    decision = Decision(action=Action.ENTER, asset="FET-USDT", conviction="9", trade_id="T")
    made = intent_of(
        decision, intent_id="i", price_e10=p("0.5"), capital=m(capital), contract=RULES
    )
    assert made is None


def test_without_a_price_there_is_no_trade() -> None:
    assert target_quantity_e8(m(25_000), "1", 0, RULES) == 0


def test_garbage_conviction_is_refused() -> None:
    with pytest.raises(UnitError, match="conviction"):
        target_quantity_e8(m(1), "much", p(1), RULES)


def test_leverage_follows_conviction_and_never_the_quantity() -> None:
    made = []
    for cap in (1, 3):
        decision = Decision(action=Action.ENTER, asset="FET-USDT", conviction="9", trade_id="T")
        intent = intent_of(
            decision, intent_id="i", price_e10=p("0.5"), capital=m(25_000), contract=RULES,
            leverage_cap=cap,
        )  # fmt: skip
        assert intent is not None
        made.append(intent)
    assert [intent.leverage for intent in made] == [1, 3]
    assert made[0].quantity_e8 == made[1].quantity_e8


def test_an_intent_of_the_seam_is_one_that_the_engine_takes() -> None:
    decision = Decision(
        action=Action.ENTER, asset="FET-USDT", side=TradeSide.SHORT, conviction="5", trade_id="T"
    )
    intent = intent_of(
        decision, intent_id="i", price_e10=p("0.5"), capital=m(25_000), contract=RULES
    )
    assert intent is not None
    assert Engine().apply(intent).kernel.accepted


def test_the_demo_enters_with_the_move_and_leaves_after_a_while() -> None:
    strategy = DemoStrategy("FET-USDT")
    decisions = [
        strategy.decide(p("0.5") + i * 10**6, open_trade="", entries_allowed=True)
        for i in range(strategy.WINDOW)
    ]
    assert decisions[:-1] == [None] * (strategy.WINDOW - 1)
    entry = decisions[-1]
    assert entry is not None
    assert (entry.action, entry.side) == (Action.ENTER, TradeSide.LONG)
    exits = [
        strategy.decide(p("0.5"), open_trade=entry.trade_id, entries_allowed=True)
        for _ in range(strategy.HOLD)
    ]
    assert [d is not None for d in exits] == [False] * (strategy.HOLD - 1) + [True]
    last = exits[-1]
    assert last is not None
    made = intent_of(last, intent_id="x", price_e10=1, capital=1, contract=RULES)
    assert made is not None
    assert (made.command, made.trade_id) == (KernelCommandType.EXIT, entry.trade_id)
    assert strategy.decide(p(2), open_trade="", entries_allowed=False) is None
