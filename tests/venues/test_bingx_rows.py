"""One odd row hides nothing: every answer with rows, damaged in every way, once beside what is ours
and once in it."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.recordings import RECORDINGS
from support.scripted_rest import FET, Exchange, good, raw

from dita.contracts import OrderSide
from dita.venues import OrderRef, QueryFailed, Rows, UnreadableRow, unreadable_in
from dita.venues.absence import AbsenceProof, Verdict
from dita.venues.bingx.rest import parse
from dita.venues.bingx.rest.queries import Questions
from dita.venues.evidence import position_events

OTHER: Final = "TRX-USDT"
ORDER: Final[dict[str, Any]] = {
    "symbol": FET,
    "orderId": 1735950529123455000,
    "side": "BUY",
    "positionSide": "LONG",
    "type": "MARKET",
    "origQty": "100",
    "price": "0.5",
    "executedQty": "100",
    "avgPrice": "0.5001",
    "profit": "0.0000",
    "commission": "-0.025005",
    "status": "FILLED",
    "time": 1_710_998_806_000,
    "updateTime": 1_710_998_806_000,
    "clientOrderId": "one",
}
FILL: Final[dict[str, Any]] = {
    "symbol": FET,
    "qty": "40",
    "price": "0.5",
    "quoteQty": "20",
    "commission": "-0.01",
    "commissionAsset": "USDT",
    "orderId": "1735950529123455000",
    "tradeId": "241512",
    "filledTime": "2023-12-16T20:58:36.000+0800",
    "side": "buy",
    "positionSide": "long",
}
POSITION: Final[dict[str, Any]] = {
    "symbol": FET,
    "positionAmt": "60",
    "positionSide": "LONG",
    "avgPrice": "0.5",
    "leverage": 1,
    "updateTime": 1_710_998_806_000,
}
INCOME: Final[dict[str, Any]] = {
    "symbol": FET,
    "incomeType": "FUNDING_FEE",
    "income": "-0.0292",
    "asset": "USDT",
    "time": 1_702_713_615_000,
    "tranId": "1769048666279853387_310_1941328",
    "tradeId": "77",
}

Read = Callable[[list[Any]], Rows[Any]]


def orders(rows: list[Any]) -> Rows[Any]:
    return parse.orders_of(raw({"orders": rows}), FET)


def fills(rows: list[Any]) -> Rows[Any]:
    return parse.fills_of(raw({"fill_history_orders": rows}), FET)


def positions(rows: list[Any]) -> Rows[Any]:
    return parse.positions_of(raw(rows))


def income(rows: list[Any]) -> Rows[Any]:
    return parse.income_of(raw(rows), "USDT")


KINDS: Final = [(orders, ORDER), (fills, FILL), (positions, POSITION), (income, INCOME)]
#: Rows that say where they belong, however little else of them can be read.
VALUES: Final = st.one_of(
    st.sampled_from(["", "0", "-1", "NaN", "1e400", "٣", "币安人生", "x" * 200, " "]),
    st.integers(-5, 10**70),
    st.none(),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)


@st.composite
def damaged(draw: st.DrawFn, row: dict[str, Any]) -> dict[str, Any]:
    """A row with any of its fields gone or odd; its symbol stays."""
    found = copy.deepcopy(row)
    names = draw(st.lists(st.sampled_from(sorted(set(row) - {"symbol"})), min_size=1, unique=True))
    for name in names:
        if draw(st.booleans()):
            del found[name]
        else:
            found[name] = draw(VALUES)
    return found


@pytest.mark.parametrize(("read", "row"), KINDS, ids=[read.__name__ for read, _ in KINDS])
@given(data=st.data())
def test_a_damaged_row_about_another_symbol_changes_nothing_of_ours(
    read: Read, row: dict[str, Any], data: st.DataObject
) -> None:
    clean = read([row])
    assert (len(clean), clean.unreadable) == (1, ())
    for symbol in (OTHER, "币安人生-USDT"):
        odd = data.draw(damaged({**row, "symbol": symbol}))
        rows = [odd, row, odd] if data.draw(st.booleans()) else [row, odd]
        found = read(rows)
        assert [one for one in found if one.asset == FET] == list(clean)
        assert found.about(FET) is found, "an odd row of others is no reason to ask again"


@pytest.mark.parametrize(("read", "row"), KINDS, ids=[read.__name__ for read, _ in KINDS])
@given(data=st.data())
def test_a_damaged_row_of_ours_is_told_by_its_name_and_never_missing(
    read: Read, row: dict[str, Any], data: st.DataObject
) -> None:
    odd = data.draw(damaged(row))
    found = read([odd])
    for one in found.unreadable:
        assert (one.asset, bool(one.why)) == (FET, True)
        with pytest.raises(QueryFailed, match="FET-USDT"):
            found.about(FET)
    # It is read, set aside, or says itself that it is nothing: flat, or money of another asset.
    nothing = str(odd.get("positionAmt")) in ("0", "-0", "0.0", "-0.0") or (
        read is income and isinstance(odd.get("asset"), str) and odd["asset"] not in ("", "USDT")
    )
    assert len(found) + len(found.unreadable) == (0 if nothing else 1)


@pytest.mark.parametrize(("read", "row"), KINDS, ids=[read.__name__ for read, _ in KINDS])
@pytest.mark.parametrize("odd", [None, 5, "text", [], {}, {"symbol": ""}, {"symbol": ["FET"]}])
def test_a_row_that_says_nothing_of_itself_may_be_about_any_symbol(
    read: Read, row: dict[str, Any], odd: Any
) -> None:
    found = read([row, odd])
    assert list(found) == list(read([row]))
    (one,) = found.unreadable
    assert one.asset == ""
    with pytest.raises(QueryFailed, match="unknown symbol"):
        found.about(FET)


def recorded() -> Iterator[tuple[str, Read, list[Any]]]:
    """Every recorded answer with rows, and how it is read; of any symbol."""
    folder = RECORDINGS / "bingx" / "fixtures"
    named = {"orders": orders, "fill_orders": fills, "fill_history_orders": fills}
    for path in sorted(folder.glob("*/*.json")):
        document = json.loads(path.read_bytes())
        body = document.get("response", document) if isinstance(document, dict) else None
        data = body.get("data") if isinstance(body, dict) else None
        if isinstance(data, dict):
            for name, read in named.items():
                if isinstance(data.get(name), list) and "ultiple" not in path.name:
                    yield path.name, read, data[name]
        elif isinstance(data, list) and data and isinstance(data[0], dict):
            if "positionAmt" in data[0]:
                yield path.name, positions, data
            elif "incomeType" in data[0]:
                yield path.name, income, data


@pytest.mark.skipif(not Path(RECORDINGS / "bingx").exists(), reason="no recordings here")
def test_in_recorded_answers_a_damaged_row_hides_no_other() -> None:
    tried = 0
    for name, read, rows in recorded():
        mine = [{**row, "symbol": FET} for row in rows]
        clean = read(mine)
        for position, row in enumerate(mine):
            for field in row:
                if field == "symbol":
                    continue
                values: list[Any] = [None, "币", [], {"a": 1}, "1e400"]
                for value in values:
                    odd = {**row, "symbol": OTHER, field: value}
                    found = read([*mine[:position], odd, *mine[position:]])
                    ours = [one for one in found if one.asset == FET]
                    assert ours == list(clean), (name, field, value)
                    tried += 1
    assert tried > 1_000


# -- what follows ----------------------------------------------------------------------------------


def test_an_unreadable_position_is_not_flat_and_others_are_told() -> None:
    odd = {**POSITION, "positionAmt": "many"}
    reports = positions([odd, {**POSITION, "symbol": OTHER}])
    events = position_events(reports, (FET, OTHER, "ADA-USDT"), 5)
    assert [(e.asset, e.quantity_e8) for e in events] == [(OTHER, 60 * 10**8), ("ADA-USDT", 0)]
    nothing = position_events(positions([None]), (FET, OTHER), 5)
    assert nothing == ()


def test_two_rows_of_one_position_of_which_one_is_odd_say_nothing() -> None:
    reports = positions([POSITION, {**POSITION, "positionSide": "UP"}])
    assert position_events(reports, (FET,), 5) == ()


def test_an_unreadable_order_stands_in_the_way_of_a_proof_only_if_it_may_be_the_order() -> None:
    def proven(**odd: Any) -> bool:
        proof = AbsenceProof(OrderRef(asset=FET, client_order_id="mine"), OrderSide.BUY, 1, 1, 1)
        proof.server_time(100)
        proof.order(None)
        found = orders([{**ORDER, "status": "HALTED", **odd}])
        assert unreadable_in(found)
        proof.open_orders(found)
        proof.all_orders(())
        proof.fills(())
        return proof.verdict is Verdict.PROVEN

    assert proven(clientOrderId="somebody")
    assert not proven(clientOrderId="")
    assert not proven(clientOrderId="MINE")


def test_the_whole_answer_counts_what_it_could_not_read() -> None:
    exchange = Exchange()
    rows = [{**POSITION, "positionAmt": "many"}, POSITION | {"symbol": OTHER}, None]
    exchange.routes["GET v2/user/positions"] = good(rows)

    async def test() -> None:
        client = exchange.client()
        questions = Questions(client, lambda asset: asset, ("USDT",))
        await client.open()
        await client.measure_time()
        await questions.positions()
        found = await questions.positions()
        assert [one.asset for one in found] == [OTHER]
        told = questions.oddities.as_dict()["GET v2/user/positions"]
        assert told["count"] == 4
        await client.close()

    asyncio.run(test())


def test_rows_are_a_tuple_that_remembers() -> None:
    row = UnreadableRow(asset=FET, why="odd")
    found: Rows[int] = Rows((1, 2), [row])
    assert tuple(found) == (1, 2)
    assert unreadable_in(found) == (row,)
    assert unreadable_in((1, 2)) == ()
    assert found.about(OTHER) is found
    for ask in (found.whole, lambda: found.about("fetusdt")):
        with pytest.raises(QueryFailed):
            ask()
