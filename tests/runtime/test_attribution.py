"""Whose an income row is when it is odd: unknown kinds, strange symbols, fills that nobody read,
own orders that are known only by their client id."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dita.contracts import KernelEventKind, OrderSide
from dita.identity import client_order_id
from dita.units import parse_money, parse_price, parse_quantity
from dita.venues import FillReport, IncomeKind, IncomeReport
from dita.venues.attribution import Attribution, Books, attribute, symbols_of_trades

Kind = KernelEventKind
FET = "FET-USDT"
NOBODY = Books(own_orders=frozenset(), closed_outside=frozenset(), held_e8={})
OURS = client_order_id("pink", 1, "T1", 1)


def row(kind: IncomeKind, amount: str, trade: str = "", **changes: Any) -> IncomeReport:
    report = IncomeReport(
        income_id=f"row {kind.name} {amount}",
        kind=kind,
        asset=FET,
        amount=parse_money(amount),
        trade_id=trade,
        time_ms=1_000,
        word=kind.name,
    )
    return msgspec.structs.replace(report, **changes)


def fill(trade: str, **changes: Any) -> FillReport:
    report = FillReport(
        fill_id=f"77:{trade}",
        client_order_id="",
        venue_order_id="77",
        asset=FET,
        side=OrderSide.BUY,
        quantity_e8=parse_quantity(10),
        price_e10=parse_price("0.5"),
        fee=parse_money("0.5"),
        filled_ms=1_000,
    )
    return msgspec.structs.replace(report, **changes)


def kinds(found: Attribution) -> list[tuple[KernelEventKind, int | None]]:
    return [(event.kind, event.amount) for event in found.events]


@pytest.mark.parametrize("trade", ["", "a", "b"])
def test_a_kind_that_we_do_not_know_explains_itself_and_blocks_nothing(trade: str) -> None:
    rows = (
        row(IncomeKind.UNKNOWN, "-3", trade, word="COPY_TRADE_SHARE"),
        row(IncomeKind.FEE, "-0.5", "a"),
    )
    books = msgspec.structs.replace(NOBODY, own_orders={"77"}, in_doubt={"FETUSDT"})
    found = attribute(rows, (fill("a"),), books)
    (event,) = found.events
    assert (event.kind, event.amount) == (Kind.FOREIGN_FLOW, parse_money("-3"))
    assert event.message == "COPY_TRADE_SHARE"
    assert ([r.income_id for r in found.own], found.unmatched, found.undecided) == (
        ["row FEE -0.5"],
        (),
        (),
    )


@pytest.mark.parametrize("word", ["TRIAL_FUND", "SYSTEM_DEDUCTION", "GTD_PRICE"])
def test_a_kind_of_the_venue_s_own_is_a_transfer_with_its_word(word: str) -> None:
    (event,) = attribute((row(IncomeKind.OTHER, "2", word=word),), (), NOBODY).events
    assert (event.kind, event.message) == (Kind.TRANSFER, word)


@pytest.mark.parametrize("kind", [IncomeKind.FEE, IncomeKind.REALIZED, IncomeKind.FUNDING])
def test_money_on_a_symbol_that_we_cannot_trade_is_somebody_else_s(kind: IncomeKind) -> None:
    strange = row(kind, "-1", "a", asset="\\u5e01-USDT")
    assert symbols_of_trades((strange, row(IncomeKind.FEE, "1"))) == (FET,)
    assert kinds(attribute((strange,), (), NOBODY)) == [(Kind.FOREIGN_FLOW, parse_money("-1"))]


@pytest.mark.parametrize("text", [OURS, OURS.upper()])
def test_an_order_known_only_by_its_client_id_is_ours(text: str) -> None:
    rows = (row(IncomeKind.FEE, "-0.5", "a"), row(IncomeKind.REALIZED, "2", "a"))
    found = attribute(rows, (fill("a", client_order_id=text),), NOBODY)
    assert (len(found.own), found.events) == (2, ())
    others = attribute(rows, (fill("a", client_order_id="somebody"),), NOBODY)
    assert kinds(others) == [
        (Kind.FOREIGN_FLOW, parse_money("-0.5")),
        (Kind.FOREIGN_FLOW, parse_money("2")),
    ]


def test_rows_of_a_symbol_whose_fills_were_not_answered_wait() -> None:
    rows = (
        row(IncomeKind.FEE, "-0.5", "a"),
        row(IncomeKind.FUNDING, "-0.1"),
        row(IncomeKind.TRANSFER, "5", asset=""),
    )
    books = msgspec.structs.replace(NOBODY, unanswered={"FETUSDT"})
    found = attribute(rows, (), books)
    assert [r.kind for r in found.unmatched] == [IncomeKind.FEE, IncomeKind.FUNDING]
    assert kinds(found) == [(Kind.TRANSFER, parse_money("5"))]
    held = msgspec.structs.replace(books, held_e8={"FETUSDT": (parse_quantity(10),)})
    assert kinds(attribute(rows[1:2], (), held)) == [(Kind.FUNDING_FEE, parse_money("-0.1"))]
