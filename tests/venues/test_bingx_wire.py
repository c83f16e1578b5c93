"""BingX's REST replies: exact numbers, every shape that was seen, and nothing taken for certain.

The samples here are our own and cover every kind; where the collected fixtures are at hand, each
file of them is decoded too.  Frames are in test_bingx_events.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.recordings import RECORDINGS

from dita.contracts import KernelEventKind, OrderSide, OrderType, PositionSide, VenueOrderStatus
from dita.units import (
    MONEY_MAX,
    PRICE_MAX,
    QUANTITY_MAX,
    format_money,
    format_price,
    format_quantity,
    parse_money,
    parse_price,
    parse_quantity,
)
from dita.venues import IncomeKind, SubmitOrder
from dita.venues.bingx import values
from dita.venues.bingx.rest import models
from dita.venues.bingx.rest.models import envelope
from dita.venues.bingx.rest.parse import (
    acknowledged,
    balance_of,
    fee_rates_of,
    filled_ms,
    fills_of,
    income_of,
    order_of,
    orders_of,
    positions_of,
)
from dita.venues.bingx.values import UnreadableValue

p, q, m = parse_price, parse_quantity, parse_money
ORDER_ID = 1_770_683_446_830_788_608  # beyond 2**53

FIXTURES: Final = RECORDINGS / "bingx" / "fixtures"


def raw(text: str) -> msgspec.Raw:
    """Data as the envelope hands it on."""
    return envelope('{"code":0,"msg":"","data":' + text + "}").data


def order(**changes: object) -> str:
    """A filled order as GET order has it; a change to ... leaves the field out."""
    fields = {
        "symbol": "FET-USDT",
        "orderId": ORDER_ID,
        "side": "SELL",
        "positionSide": "BOTH",
        "type": "MARKET",
        "origQty": "40",
        "price": "0.5519",
        "executedQty": "40",
        "avgPrice": "0.5523",
        "cumQuote": "22",
        "stopPrice": "",
        "profit": "-0.0310",
        "commission": "-0.011046",
        "status": "FILLED",
        "time": 1_710_998_806_000,
        "updateTime": 1_710_998_807_000,
        "clientOrderId": "abc234",
        "leverage": "5X",
        "takeProfit": {"type": "", "quantity": 0},
        "triggerOrderId": 0,
        **changes,
    }
    return text_of({name: value for name, value in fields.items() if value is not ...})


def text_of(value: object) -> str:
    """As JSON; a bytes value is put in as it is."""
    if isinstance(value, dict):
        return "{" + ",".join(f'"{k}":{text_of(v)}' for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(text_of(v) for v in value) + "]"
    if isinstance(value, bytes):
        return value.decode()
    return msgspec.json.encode(value).decode()


# -- numbers ---------------------------------------------------------------------------------------

READERS: Final[list[tuple[Callable[[Any], int | None], int, Callable[[int], str]]]] = [
    (values.read_price, PRICE_MAX, format_price),
    (values.read_average, PRICE_MAX, format_price),
    (values.read_quantity, QUANTITY_MAX, format_quantity),
    (values.read_money, MONEY_MAX, format_money),
]


def on_the_wire(literal: str) -> object:
    """What a decoder makes of a bare or quoted value."""
    return values.decode(values.decoder(models.TopUp), '{"amount":' + literal + "}").amount


@pytest.mark.parametrize(("read", "most", "shown"), READERS)
@given(st.data())
def test_any_number_comes_through_quoted_or_bare(
    read: Callable[[Any], int | None], most: int, shown: Callable[[int], str], data: st.DataObject
) -> None:
    scaled = data.draw(st.integers(0, most))
    text = shown(scaled)
    for literal in (text, f'"{text}"', f'"{text}0"' if "." in text else f'"{text}.0"'):
        if len(literal) < 60:
            assert read(on_the_wire(literal)) == scaled


@given(st.integers(-MONEY_MAX, MONEY_MAX))
def test_money_keeps_its_sign(scaled: int) -> None:
    text = format_money(scaled)
    assert values.read_money(on_the_wire(text)) == scaled
    assert values.read_money(on_the_wire(f'"{text}"')) == scaled


@pytest.mark.parametrize(
    ("literal", "scaled"),
    [("9e-05", 900_000), ("1E2", 10**12), ('"9e-05"', 900_000), ("0.1", 10**9), ("5", 5 * 10**10)],
)
def test_exponents_are_exact(literal: str, scaled: int) -> None:
    assert values.read_price(on_the_wire(literal)) == scaled


def test_a_float_would_have_been_wrong() -> None:
    assert values.read_money(on_the_wire("90071992547409.93")) == 9007199254740993 * 10**16
    assert values.read_id(on_the_wire("172264854643022330001")) == "172264854643022330001"


ODD: Final = [
    '"1.2.34567890"', '"٣.00000000"', '"1.0000000٣"', '"1_0.00000000"', '" 1.00000000"',
    "true", "[]", "{}", '"1.2.3"', '"--1"', '"+-1"', '" 1"', '"1_000"', '"0x10"', '"1,5"', '"NaN"',
    '"Infinity"', '"-Infinity"', "1e400", "1e-400", '"1e400"', '"１２"', '"²"', '"٣.٥"', '"."',
    '"-"', '"1\\u0000"', '"' + "9" * 70 + '"', "9" * 70, '"1.5X"',
]  # fmt: skip


@pytest.mark.parametrize("literal", ODD)
@pytest.mark.parametrize("read", [row[0] for row in READERS])
def test_what_is_no_number_is_refused(read: Callable[[Any], object], literal: str) -> None:
    with pytest.raises(UnreadableValue):
        read(on_the_wire(literal))


@pytest.mark.parametrize(
    ("read", "most"),
    [(values.read_quantity, "92233720368.54775807"), (values.read_price, "922337203.68547758")],
)
def test_nothing_leaves_the_range(read: Callable[[Any], object], most: str) -> None:
    """Texts of eight decimals, as all numbers of a frame are, right at the limit and beyond."""
    scaled = Decimal(most).scaleb(8 if read is values.read_quantity else 10)
    assert read(most) == scaled
    for beyond in (Decimal(most) + Decimal("0.00000001"), Decimal(most) * 10, Decimal(10) ** 20):
        with pytest.raises(UnreadableValue):
            read(f"{beyond:.8f}")


@pytest.mark.parametrize("read", [values.read_price, values.read_quantity, values.read_money])
def test_nothing_is_rounded_away(read: Callable[[Any], object]) -> None:
    with pytest.raises(UnreadableValue):
        read("0.000000000000000000001")


@pytest.mark.parametrize("literal", ["-1", '"-1"', '"-0.5"', "-0.5", "-1e1"])
@pytest.mark.parametrize("read", [values.read_price, values.read_average, values.read_quantity])
def test_negative_prices_and_quantities_are_refused(
    read: Callable[[Any], object], literal: str
) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read(on_the_wire(literal))


@given(
    st.one_of(
        st.text(max_size=12),
        st.text("0123456789.-+eE", max_size=14),
        st.integers(),
        st.booleans(),
        st.none(),
    )
)
def test_a_value_is_exact_or_refused(value: object) -> None:
    for read, digits in (
        (values.read_price, 10),
        (values.read_quantity, 8),
        (values.read_money, 18),
    ):
        try:
            scaled = read(value)
        except UnreadableValue:
            continue
        if value is None or value == "":
            assert not scaled
        else:
            assert isinstance(value, str | int)
            assert Decimal(value).scaleb(digits) == scaled


@pytest.mark.parametrize(
    ("text", "scaled"),
    [("0.00000000005", 0), ("0.00000000015", 2), ("0.00000000016", 2), ("1.23456789012", None)],
)
def test_an_average_with_too_many_decimals_is_rounded_half_even(
    text: str, scaled: int | None
) -> None:
    assert values.read_average(text) == (12_345_678_901 if scaled is None else scaled)
    with pytest.raises(UnreadableValue):
        values.read_price(text)  # a fill's price is exact or it is nothing


def test_absent_is_none_or_no_price_but_never_a_quantity() -> None:
    for absent in ("", None):
        assert values.read_price(absent) == 0
        assert values.read_money(absent) is None
        with pytest.raises(UnreadableValue):
            values.read_quantity(absent)


@pytest.mark.parametrize(
    ("value", "leverage"), [("5X", 5), ("15x", 15), ("", 0), (None, 0), (3, 3), ("10", 10)]
)
def test_leverage_is_written_in_many_ways(value: object, leverage: int) -> None:
    assert values.read_leverage(value) == leverage


@pytest.mark.parametrize("value", ["X", "5XX", -1, 1001, True, "5.5"])
def test_leverage_that_is_none(value: object) -> None:
    with pytest.raises(UnreadableValue):
        values.read_leverage(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(ORDER_ID, str(ORDER_ID)), (str(ORDER_ID), str(ORDER_ID)), ("", ""), (0, ""), ("0", ""),
     (None, ""), ("1735*****52", "1735*****52"), ("1769048666_310_1", "1769048666_310_1")],
)  # fmt: skip
def test_ids_are_texts(value: object, text: str) -> None:
    assert values.read_id(value) == text


@pytest.mark.parametrize("literal", ["1.7e18", "1.0", '"é"', '"a\\n"', "true", "[1]", "-5"])
def test_ids_that_are_none(literal: str) -> None:
    with pytest.raises(UnreadableValue):
        values.read_id(on_the_wire(literal))


def test_ids_are_bounded() -> None:
    assert values.read_id("a" * 64)
    for value in ("a" * 65, 10**64):
        with pytest.raises(UnreadableValue):
            values.read_id(value)


@pytest.mark.parametrize(
    ("value", "flag"), [(True, True), (False, False), ("true", True), ("False", False), ("", False)]
)
def test_flags(value: object, flag: bool) -> None:
    assert values.read_flag(value, "flag") is flag


@pytest.mark.parametrize("value", ["yes", 1, []])
def test_flags_that_are_none(value: object) -> None:
    with pytest.raises(UnreadableValue):
        values.read_flag(value, "flag")


# -- hostile messages ------------------------------------------------------------------------------

NESTED: Final = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "null",
        "[]",
        "NaN",
        '{"code":0,"data":NaN}',
        '{"msg":"no code"}',
        '{"code":0,"x":' + NESTED + "}",
        '{"code":0,"data":' + NESTED + "}",
        '{"code":0,"msg":' + NESTED + "}",
        '{"code":' + "9" * 5_000 + "}",
        b'{"code":0,"msg":"\xff"}',
        "<html>",
        b"\x00",
    ],
)
def test_a_body_that_is_no_reply(body: str | bytes) -> None:
    with pytest.raises(UnreadableValue):
        found = envelope(body)
        found.number  # noqa: B018 - the property reads the code
        values.decode(values.decoder(models.TopUp), found.data)


def test_a_body_is_bounded_and_never_shown() -> None:
    with pytest.raises(UnreadableValue, match="too large"):
        envelope(b" " * (values.REPLY_BYTES_MAX + 1))
    with pytest.raises(UnreadableValue) as caught:
        envelope('{"listenKey":"a8ea75681542e66f"')
    assert "a8ea" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "number"), [("0", 0), ('"0"', 0), ("109400", 109_400), ("-1", -1)]
)
def test_the_code_is_a_number_or_a_text(code: str, number: int) -> None:
    found = envelope('{"code":' + code + ',"msg":{"odd":1},"timestamp":1749815755208}')
    assert (found.number, found.text) == (number, "")
    assert bytes(found.data) == b"null"


def test_a_listen_key_comes_without_an_envelope() -> None:
    found = envelope('{"listenKey":"a8ea"}')
    assert (found.listen_key, found.number) == ("a8ea", 0)


# -- orders ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ['{"order":%s}', "%s"], ids=["wrapped", "flat"])
def test_an_order_wrapped_or_flat(shape: str) -> None:
    report = order_of(raw(shape % order()))
    assert report.venue_order_id == str(ORDER_ID)
    assert report.client_order_id == "abc234"
    assert (report.asset, report.side) == ("FET-USDT", OrderSide.SELL)
    assert (report.order_type, report.status) == (OrderType.MARKET, VenueOrderStatus.FILLED)
    assert (report.quantity_e8, report.filled_e8) == (q(40), q(40))
    assert report.average_price_e10 == p("0.5523")  # avgPrice, not price
    assert (report.fee, report.realized) == (m("0.011046"), m("-0.031"))
    assert report.updated_ms == 1_710_998_807_000


def test_bare_numbers_are_as_good_as_quoted_ones() -> None:
    bare = {"origQty": b"40", "executedQty": b"4e1", "avgPrice": b"0.5523"}
    report = order_of(raw(order(**bare, commission=b"-0.011046", profit=b"-0.0310")))
    assert report == order_of(raw(order()))


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        ({"orderId": ORDER_ID, "orderID": str(ORDER_ID)}, str(ORDER_ID)),
        ({"orderId": ..., "orderID": str(ORDER_ID)}, str(ORDER_ID)),
        ({"orderId": str(ORDER_ID)}, str(ORDER_ID)),
    ],
)
def test_both_spellings_of_the_order_id(ids: dict[str, object], found: str) -> None:
    assert order_of(raw(order(**ids))).venue_order_id == found


@pytest.mark.parametrize(
    "ids",
    [
        {"orderId": ...},
        {"orderId": 0},
        {"orderId": 7, "orderID": "8"},
        {"orderId": b"1.770683446830788608e18"},
    ],
)
def test_an_order_without_a_certain_id(ids: dict[str, object]) -> None:
    with pytest.raises(UnreadableValue):
        order_of(raw(order(**ids)))


def test_both_spellings_of_the_client_id() -> None:
    assert order_of(raw(order(clientOrderId=..., clientOrderID="x1"))).client_order_id == "x1"
    assert order_of(raw(order(clientOrderId="", clientOrderID="x1"))).client_order_id == "x1"
    assert order_of(raw(order(clientOrderId="", clientOrderID=""))).client_order_id == ""


@pytest.mark.parametrize(
    ("word", "status"),
    [("PENDING", VenueOrderStatus.WORKING), ("NEW", VenueOrderStatus.WORKING),
     ("WORKING", VenueOrderStatus.WORKING), ("PARTIALLY_FILLED", VenueOrderStatus.WORKING),
     ("CANCELED", VenueOrderStatus.CANCELLED), ("CANCELLED", VenueOrderStatus.CANCELLED),
     ("EXPIRED", VenueOrderStatus.EXPIRED), ("FAILED", VenueOrderStatus.REJECTED)],
)  # fmt: skip
def test_status_words(word: str, status: VenueOrderStatus) -> None:
    assert order_of(raw(order(status=word, executedQty="7"))).status is status


@pytest.mark.parametrize(
    "change",
    [
        {"status": "HALTED"}, {"status": ""}, {"status": ["FILLED"]}, {"positionSide": "UP"},
        {"side": "HOLD"}, {"symbol": ""}, {"executedQty": ...}, {"executedQty": ""},
        {"executedQty": "0"}, {"origQty": ...}, {"executedQty": "-40"}, {"avgPrice": "NaN"},
        {"commission": "free"}, {"updateTime": "soon"}, {"avgPrice": "-0.5"},
    ],
)  # fmt: skip
def test_an_order_that_is_not_certain(change: dict[str, object]) -> None:
    with pytest.raises(UnreadableValue):
        order_of(raw(order(**change)))


def test_the_type_of_an_order_need_not_be_known() -> None:
    report = order_of(raw(order(type="ICEBERG")))
    assert (report.order_type, report.filled_e8) == (None, q(40))


@pytest.mark.parametrize(
    ("word", "side"),
    [
        ("LONG", PositionSide.LONG),
        ("SHORT", PositionSide.SHORT),
        ("BOTH", PositionSide.UNKNOWN),
        ("", PositionSide.UNKNOWN),
        (..., PositionSide.UNKNOWN),
    ],
)
def test_orders_and_fills_have_their_position_side(word: object, side: PositionSide) -> None:
    assert order_of(raw(order(positionSide=word))).position_side is side
    (report,) = fills_of(fills(fill(positionSide=word)))
    assert report.position_side is side
    small = fills_of(fills(fill(positionSide=word.lower() if isinstance(word, str) else word)))
    assert small[0].position_side is side


def test_an_order_without_a_fill_has_no_figures() -> None:
    report = order_of(
        raw(order(status="NEW", executedQty="0.0", avgPrice="0.00", commission="", profit=""))
    )
    assert (report.filled_e8, report.average_price_e10) == (0, 0)
    assert (report.fee, report.realized) == (None, None)
    lagging = order_of(raw(order(commission="", profit="", avgPrice="")))
    assert (lagging.fee, lagging.realized, lagging.average_price_e10) == (None, None, 0)


def test_lists_of_orders() -> None:
    rows = order(orderId=1) + "," + order(orderId=2)
    reports = orders_of(raw('{"orders":[' + rows + "]}"))
    assert [report.venue_order_id for report in reports] == ["1", "2"]
    assert orders_of(raw('{"orders":null}')) == orders_of(raw('{"orders":[]}')) == ()
    for missing in ("{}", "null", "[]"):
        with pytest.raises(UnreadableValue):
            orders_of(raw(missing))


SUBMITTED: Final = SubmitOrder(
    client_order_id="abc234",
    asset="FETUSDT",
    side=OrderSide.SELL,
    order_type=OrderType.MARKET,
    quantity_e8=q(40),
)


@pytest.mark.parametrize("shape", ['{"order":%s}', "%s"], ids=["wrapped", "flat"])
def test_the_answer_to_an_order_is_an_identity_and_nothing_else(shape: str) -> None:
    data = raw(shape % order(clientOrderId="ABC234", status="FILLED", executedQty="40"))
    event = acknowledged(data, SUBMITTED, 5)
    assert (event.kind, event.received_ms) == (KernelEventKind.ORDER_ACK, 5)
    assert (event.venue_order_id, event.client_order_id) == (str(ORDER_ID), "abc234")
    assert (event.quantity_e8, event.price_e10, event.fee) == (0, 0, None)


@pytest.mark.parametrize(
    "change", [{"clientOrderId": "other"}, {"symbol": "BTC-USDT"}, {"orderId": ...}]
)
def test_the_answer_about_another_order_is_no_answer(change: dict[str, object]) -> None:
    with pytest.raises(UnreadableValue):
        acknowledged(raw(order(**change)), SUBMITTED, 5)


# -- fills -----------------------------------------------------------------------------------------


def fill(**changes: object) -> str:
    fields = {
        "filledTm": "2024-01-06T21:19:45Z",
        "volume": "4.10",
        "price": "3.1088",
        "amount": "12.7461",
        "commission": "-0.0025",
        "currency": "USDT",
        "orderId": str(ORDER_ID),
        "liquidatedPrice": "",
        "filledTime": "2024-01-06T21:19:45.000+0800",
        "clientOrderID": "",
        "symbol": "FET-USDT",
        **changes,
    }
    return text_of({name: value for name, value in fields.items() if value is not ...})


def fills(*rows: str, name: str = "fill_orders") -> msgspec.Raw:
    return raw('{"' + name + '":[' + ",".join(rows) + "]}")


UTC_MS: Final = 1_704_547_185_000  # 2024-01-06T13:19:45Z


def test_a_fill_of_all_fill_orders() -> None:
    (report,) = fills_of(fills(fill()))
    assert (report.venue_order_id, report.asset) == (str(ORDER_ID), "FET-USDT")
    assert (report.quantity_e8, report.price_e10) == (q("4.1"), p("3.1088"))
    assert (report.fee, report.side) == (m("0.0025"), OrderSide.UNKNOWN)
    assert report.filled_ms == UTC_MS


def test_a_fill_of_the_fill_history() -> None:
    row = fill(
        volume=..., amount=..., currency=..., qty="4.10", quoteQty="12.74", tradeId="241512",
        commissionAsset="USDT", role="maker", side="buy", positionSide="short",
    )  # fmt: skip
    for name in ("fill_orders", "fill_history_orders"):
        (report,) = fills_of(fills(row, name=name))
        assert report.fill_id == f"{ORDER_ID}:241512"
        assert (report.quantity_e8, report.side) == (q("4.1"), OrderSide.BUY)


def test_equal_fills_without_trade_ids_stay_two_and_keep_their_ids() -> None:
    once = fills_of(fills(fill(), fill(), fill(volume="1", amount="3.1088")))
    assert len({report.fill_id for report in once}) == 3
    assert sorted(once, key=str) == sorted(
        fills_of(fills(fill(volume="1", amount="3.1088"), fill(), fill())), key=str
    )


@pytest.mark.parametrize(
    "change",
    [
        {"volume": "41.0"},  # contracts of a tenth of a coin, as with tradingUnit=CONT
        {"price": "0"}, {"price": ""}, {"volume": "0"}, {"volume": ..., "qty": ...},
        {"commission": ""}, {"currency": "BNB"}, {"currency": ["USDT"]}, {"orderId": ""},
        {"symbol": ""}, {"side": "left"}, {"price": "3.10881234567"},
        {"filledTime": "yesterday"}, {"filledTime": "2024-01-06T21:19:45.000"},
        {"filledTime": "", "filledTm": "2024-01-06T21:19:45-05:00"},
        {"filledTime": "", "filledTm": ""}, {"filledTime": "", "filledTm": 5},
    ],
)  # fmt: skip
def test_a_fill_that_is_not_certain_is_set_aside(change: dict[str, object]) -> None:
    found = fills_of(fills(fill(orderId="9"), fill(**change)))
    assert [report.venue_order_id for report in found] == ["9"]
    (row,) = found.unreadable
    assert row.asset == change.get("symbol", "FET-USDT")
    assert row.venue_order_id == change.get("orderId", str(ORDER_ID))
    assert "cannot be read" in row.why


@pytest.mark.parametrize(
    ("filled_time", "filled_tm"),
    [
        ("2024-01-06T21:19:45.000+0800", "nonsense"),
        ("2024-01-06T13:19:45Z", None),
        ("", "2024-01-06T21:19:45Z"),
        (None, "2024-01-06T21:19:45"),
        (None, "2024-01-06T21:19:45+08:00"),
    ],
)
def test_the_wall_time_is_eight_hours_ahead(filled_time: object, filled_tm: object) -> None:
    assert filled_ms(filled_time, filled_tm) == UTC_MS


def test_fills_are_oldest_first_and_a_missing_list_is_an_error() -> None:
    late = fill(filledTime="2024-01-06T21:19:46.000+0800")
    assert [report.filled_ms for report in fills_of(fills(late, fill()))] == [UTC_MS, UTC_MS + 1000]
    assert fills_of(raw('{"fill_orders":null}')) == ()
    with pytest.raises(UnreadableValue):
        fills_of(raw("{}"))


# -- positions, balance, income --------------------------------------------------------------------


def position(**changes: object) -> str:
    fields = {
        "positionId": "1792480725958881280",
        "symbol": "FET-USDT",
        "currency": "USDT",
        "positionAmt": "120",
        "positionSide": "SHORT",
        "isolated": False,
        "avgPrice": "0.5512",
        "leverage": 2,
        "liquidationPrice": b"294.16914617776246",
        "onlyOnePosition": True,
        "updateTime": 1_721_088_016_688,
        **changes,
    }
    return text_of({name: value for name, value in fields.items() if value is not ...})


def positions(*rows: str) -> msgspec.Raw:
    return raw("[" + ",".join(rows) + "]")


def test_a_position_is_unsigned_with_its_direction_in_one_way_mode_too() -> None:
    (report,) = positions_of(positions(position()))
    assert (report.asset, report.side, report.quantity_e8) == ("FET-USDT", OrderSide.SELL, q(120))
    assert (report.average_price_e10, report.leverage) == (p("0.5512"), 2)
    assert report.updated_ms == 1_721_088_016_688


def test_flat_is_no_report_and_no_answer_is_no_flat() -> None:
    assert positions_of(positions()) == ()
    assert positions_of(positions(position(positionAmt="0"))) == ()
    for data in ("null", "{}", '""'):
        with pytest.raises(UnreadableValue):
            positions_of(raw(data))


def test_a_negative_amount_can_only_be_short() -> None:
    for side in ("SHORT", "BOTH"):
        (report,) = positions_of(positions(position(positionAmt="-120", positionSide=side)))
        assert (report.side, report.quantity_e8) == (OrderSide.SELL, q(120))


@pytest.mark.parametrize(
    "change",
    [
        {"positionSide": "BOTH"}, {"positionSide": ""}, {"positionAmt": "--1"},
        {"positionAmt": "-120", "positionSide": "LONG"},
        {"positionAmt": ...}, {"positionAmt": ""}, {"symbol": ""},
    ],
)  # fmt: skip
def test_a_position_that_is_not_certain_is_set_aside(change: dict[str, object]) -> None:
    found = positions_of(positions(position(symbol="TRX-USDT"), position(**change)))
    assert [report.asset for report in found] == ["TRX-USDT"]
    (row,) = found.unreadable
    assert row.asset == change.get("symbol", "FET-USDT")


def test_what_only_an_operator_looks_at_may_be_missing_or_odd() -> None:
    told = position(
        markPrice="0.5612", unrealizedProfit="-1.2", availableAmt="20", liquidationPrice=b"0.7311"
    )
    (report,) = positions_of(positions(told))
    assert (report.mark_price_e10, report.liquidation_price_e10) == (p("0.5612"), p("0.7311"))
    assert (report.unrealized, report.available_e8) == (m("-1.2"), q(20))
    odd = position(
        markPrice="high", unrealizedProfit=[1], availableAmt="", liquidationPrice="-5", leverage="?"
    )
    (report,) = positions_of(positions(odd))
    assert (report.quantity_e8, report.leverage) == (q(120), 0)
    assert (report.mark_price_e10, report.liquidation_price_e10) == (0, 0)
    assert (report.unrealized, report.available_e8) == (None, None)


def test_positions_of_one_side_are_one() -> None:
    rows = (
        position(),
        position(positionAmt="40", avgPrice="0.5912"),
        position(positionSide="LONG"),
    )
    short, long = positions_of(positions(*rows))
    assert (short.quantity_e8, short.average_price_e10) == (q(160), p("0.5612"))
    assert long.quantity_e8 == q(120)


def balance(**changes: object) -> str:
    fields = {
        "userId": "1",
        "asset": "USDT",
        "balance": "194.8212",
        "equity": "196.7431",
        "availableMargin": "193.7609",
        **changes,
    }
    return text_of(fields)


EMPTY: Final = balance(asset="USDC", balance="", equity="", availableMargin="")


@pytest.mark.parametrize(
    "data",
    [
        "[" + balance() + "," + EMPTY + "]",
        "[" + EMPTY + "," + balance() + "]",
        '{"balance":' + balance() + "}",
    ],
    ids=["v3", "v3 other order", "v2"],
)
def test_the_balance_of_the_right_asset(data: str) -> None:
    report = balance_of(raw(data), "USDT", 5, 6)
    assert (report.wallet, report.available_margin) == (m("194.8212"), m("193.7609"))
    assert (report.requested_ms, report.answered_ms) == (5, 6)


@pytest.mark.parametrize("data", ["[]", "[" + EMPTY + "]", "null", "[" + balance() + "]"])
def test_an_absent_or_empty_row_confirms_nothing(data: str) -> None:
    with pytest.raises(UnreadableValue):
        balance_of(raw(data), "USDC", 5, 6)


def income(**changes: object) -> str:
    fields = {
        "symbol": "FET-USDT",
        "incomeType": "FUNDING_FEE",
        "income": "-0.00056154",
        "asset": "USDT",
        "info": "Funding Fee",
        "time": 1_769_241_660_000,
        "tranId": "1769048666279853387_310_1941328",
        "tradeId": "1769048666279853387_310_1941312",
        **changes,
    }
    return text_of(fields)


def test_income_keeps_its_sign_and_its_identity() -> None:
    early = income(incomeType="TRANSFER", income="5", symbol="", time=1, tranId=7)
    data = raw("[" + income() + "," + early + "," + income(asset="USDC") + "]")
    first, second = income_of(data, "USDT")
    assert (first.kind, first.amount, first.income_id, first.asset) == (
        IncomeKind.TRANSFER, m(5), "7", "",
    )  # fmt: skip
    assert second.kind is IncomeKind.FUNDING
    assert (second.amount, second.asset) == (m("-0.00056154"), "FET-USDT")
    assert second.income_id == "1769048666279853387_310_1941328"
    assert second.trade_id == "1769048666279853387_310_1941312"
    assert income_of(raw("[]"), "USDT") == income_of(raw("null"), "USDT") == ()


@pytest.mark.parametrize(
    "change", [{"tranId": ""}, {"income": ""}, {"income": "much"}, {"time": ""}, {"asset": ""}]
)
def test_an_income_row_that_is_not_certain_is_set_aside(change: dict[str, object]) -> None:
    rows = income(tranId="9") + "," + income(**change)
    found = income_of(raw("[" + rows + "]"), "USDT")
    assert [row.income_id for row in found] == ["9"]
    assert [row.asset for row in found.unreadable] == ["FET-USDT"]


@pytest.mark.parametrize("word", ["GIFT", "", "红包", "X" * 500])
def test_an_income_of_an_unknown_kind_keeps_its_money_and_its_word(word: str) -> None:
    (row,) = income_of(raw("[" + income(incomeType=word) + "]"), "USDT")
    assert (row.kind, row.amount) == (IncomeKind.UNKNOWN, m("-0.00056154"))
    assert row.word == (word if word == "GIFT" else row.word)
    assert row.word.isascii() and len(row.word) <= 64


def test_commission_rates() -> None:
    data = '{"commission":{"takerCommissionRate":0.0005,"makerCommissionRate":"0.00020000"}}'
    assert fee_rates_of(raw(data)) == (500_000, 200_000)
    assert fee_rates_of(raw(data.replace("0.0005", "0"))) == (0, 200_000)
    with pytest.raises(UnreadableValue):
        fee_rates_of(raw('{"commission":{"takerCommissionRate":0.0005}}'))


# -- the collected fixtures ------------------------------------------------------------------------

D = models


#: Path or kind of file → decoder of its data.  What comes first in the name wins.
KINDS: Final[list[tuple[tuple[str, ...], msgspec.json.Decoder[Any]]]] = [
    (("createOrder", "fetchOrder", "PlaceOrder", "PlaceTestOrder", "CancelOrder", "GetOrder.",
      "place_order", "test_order", "cancel_order.", "query_order_details", "query_pending",
      "ClosePosition", "close_position", "EditOrder"), D.WRAPPED_ORDER),
    (("allOrders", "GetClosedOrders", "GetOrders", "GetOpenOrders", "GetLiquidationOrders",
      "PlaceMultipleOrder", "place_multiple", "current_all_open", "query_order_history",
      "all_orders", "user_s_force"), D.ORDER_LIST),
    (("CancelAllOrder.", "CancelMultipleOrder", "cancel_all_open", "cancel_multiple"), D.CANCELLED),
    (("CloseAllPositions", "close_all_positions"), D.CLOSED),
    (("CancelReplaceOrder", "cancel_an_existing"), D.REPLACED),
    (("cancel_orders_in_batches",), D.REPLACED_LIST),
    (("CancelAllOrdersAfter", "cancel_all_after"), D.CANCEL_TIMER),
    (("allFillOrders", "GetUserTrades", "query_historical"), D.FILL_LIST),
    (("balance", "GetBalances"), D.BALANCES),
    (("positionHistory", "GetPositionHistory", "query_position_history"), D.POSITION_HISTORY),
    (("positions", "GetPositions"), D.POSITIONS),
    (("income", "GetIncomes"), D.INCOME),
    (("contracts", "GetContracts"), D.CONTRACTS),
    (("leverage", "GetLeverage", "SetLeverage", "query_leverage", "set_leverage"), D.LEVERAGE),
    (("marginType", "GetMarginMode", "query_margin_type"), D.MARGIN_TYPE),
    (("GetPositionMode", "SetPositionMode", "query_position_mode", "set_position_mode"),
     D.POSITION_MODE),
    (("GetTradingFees",), D.COMMISSION_RATE),
    (("maintMarginRatio", "GetPositionAndMarginInfo", "position_and_maintenance"), D.TIERS),
    (("ApplyForVST",), D.TOP_UP),
    (("premiumIndex",), D.PREMIUM),
    (("GetFundingRateHistory",), D.FUNDING_RATES),
    (("GetFundingRate",), D.PREMIUM),
    (("GetLastTradePrice",), D.LAST_PRICE),
    (("ticker", "GetTicker"), D.TICKER),
    (("GetBookTicker",), D.BOOK_TICKER),
    (("GetOrderBook",), D.DEPTH),
    (("GetKlines", "GetMarkPriceKlines"), D.CANDLES),
    (("trades_", "GetRecentTrades", "GetTradeHistory"), D.TRADES),
]  # fmt: skip
#: Replies with nothing in ``data`` that we read: the envelope is all there is.
ENVELOPES: Final = (
    "AdjustIsolatedMargin", "modify_isolated", "SetMarginMode", "change_margin_type",
    "StartUserStream", "Twap", "MultiAsset", "GetIsolatedMarginChange", "GetOpenInterest",
)  # fmt: skip
#: Success is an empty body.
BODILESS: Final = ("KeepAliveUserStream", "StopUserStream")


class _Wrapped(msgspec.Struct):
    response: msgspec.Raw = msgspec.Raw(b"null")


def fixture_files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((FIXTURES / folder).glob("*.json"))]


REST_FILES: Final = fixture_files("ccxt_static", "jkorf_rest", "official_docs_2024-12")


def body_of(path: Path) -> bytes:
    """The reply in a file, byte for byte as far as it has it."""
    text = path.read_bytes()
    if path.parent.name != "jkorf_rest":
        return text
    return bytes(msgspec.json.decode(text, type=_Wrapped).response)


def decoder_of(path: Path) -> msgspec.json.Decoder[Any] | None:
    name = path.name.removeprefix("trading_").removeprefix("account_").removeprefix("exchangedata_")
    if any(word in name for word in ENVELOPES):
        return None
    found = [decoder for words, decoder in KINDS if name.startswith(words)]
    assert found, f"{path.name} is of no known kind"
    return found[0]


@pytest.mark.skipif(not REST_FILES, reason="the collected fixtures are not here")
@pytest.mark.parametrize("path", REST_FILES, ids=lambda path: path.name)
def test_every_collected_reply_is_decoded(path: Path) -> None:
    body = body_of(path)
    if any(word in path.name for word in BODILESS):
        assert body == b"null"
        return
    found = envelope(body)
    assert found.number == 0
    decoder = decoder_of(path)
    if decoder is None or bytes(found.data) == b"null":
        return
    decoded = values.decode(decoder, found.data)
    if decoder is D.WRAPPED_ORDER and "EditOrder" not in path.name:
        assert read_order(decoded.row)[0]
    if decoder is D.ORDER_LIST:
        rows = [values.decode(D.ORDER_ROW, row) for row in decoded.rows]
        assert all(read_order(row)[0] for row in rows)
    if decoder is D.ORDER_LIST and "ultiple" not in path.name:
        assert len(orders_of(found.data)) == len(decoded.rows) > 0
    if decoder is D.INCOME:
        assert len(income_of(found.data, "USDT")) == len(decoded)


def read_order(row: models.OrderRow) -> tuple[str, OrderSide, OrderType]:
    return (
        values.read_id(row.order_id),
        values.read_name(values.SIDES, row.side, "side"),
        values.read_name(values.ORDER_TYPES, row.type, "type"),
    )


def fixture(name: str) -> msgspec.Raw:
    """The data of a fixture; skips without it."""
    path = FIXTURES / name
    if not path.exists():
        pytest.skip("the collected fixtures are not here")
    return envelope(body_of(path)).data


def test_fixture_filled_order() -> None:
    report = order_of(fixture("ccxt_static/fetchOrder_2024-03_market_filled_hedge_close.json"))
    assert report.venue_order_id == "1770683446830788608"
    assert report.client_order_id == "b39b0316-1f99-4099-8f4b-bac0f46731f8"
    assert (report.filled_e8, report.average_price_e10) == (q("0.1"), p("83.71"))
    assert (report.fee, report.realized) == (m("0.004186"), 0)
    assert report.status is VenueOrderStatus.FILLED


def test_fixture_flat_order() -> None:
    data = fixture("ccxt_static/createOrder_flat_2026-07_limit_with_sl.json")
    submitted = msgspec.structs.replace(SUBMITTED, asset="ETH-USDT", client_order_id="x")
    event = acknowledged(data, submitted, 1)
    assert event.venue_order_id == "2075327764731486208"
    assert order_of(data).quantity_e8 == q("0.01")


def test_fixture_untriggered_order() -> None:
    report = order_of(fixture("ccxt_static/fetchOrder_2024-05_stop_market_new_oneway.json"))
    assert (report.status, report.filled_e8) == (VenueOrderStatus.WORKING, 0)
    assert (report.fee, report.realized) == (None, None)


def test_fixture_bare_quantity_with_exponent() -> None:
    row = values.decode(D.WRAPPED_ORDER, fixture("jkorf_rest/trading_EditOrder.json")).row
    assert values.read_quantity(row.quantity) == q("0.00009")


def test_fixture_fills() -> None:
    (coins,) = fills_of(fixture("ccxt_static/allFillOrders_2026-07_regression29476.json"))
    assert (coins.quantity_e8, coins.price_e10, coins.fee) == (
        q("1.3"), p("8.281"), m("0.0053824"),
    )  # fmt: skip
    assert coins.filled_ms == 1_785_204_000_000  # 02:00 UTC, not 10:00
    contracts = fills_of(fixture("ccxt_static/allFillOrders_CONT_2024-01.json"))
    assert not contracts and "contracts" in str(contracts.unreadable)
    (history,) = fills_of(
        fixture("official_docs_2024-12/query_historical_transaction_details.json")
    )
    assert (history.fill_id, history.side) == ("1736007768311123456:241512", OrderSide.BUY)
    (older,) = fills_of(fixture("jkorf_rest/trading_GetUserTrades.json"))
    assert (older.quantity_e8, older.fee) == (q("4.1"), m("0.0025"))


def test_fixture_positions() -> None:
    (long,) = positions_of(fixture("ccxt_static/positions_2024-07_oneway_from_source_comment.json"))
    assert (long.side, long.quantity_e8, long.leverage) == (OrderSide.BUY, q("0.1"), 6)
    (short,) = positions_of(fixture("jkorf_rest/trading_GetPositions.json"))
    assert (short.side, short.average_price_e10) == (OrderSide.SELL, p("246.43"))
    (hedge,) = positions_of(fixture("ccxt_static/positions_2024-03_hedge_long.json"))
    assert (hedge.side, hedge.average_price_e10, hedge.leverage) == (OrderSide.BUY, p("95.61"), 5)


def test_fixture_balances() -> None:
    assert balance_of(fixture("ccxt_static/balance_v3.json"), "USDT", 1, 2).wallet == m("194.8212")
    data = fixture("jkorf_rest/account_GetBalances2.json")
    assert balance_of(data, "USDT", 1, 2).available_margin == m(300)
    with pytest.raises(UnreadableValue):
        balance_of(data, "USDC", 1, 2)


def test_fixture_liquidation_id_beyond_64_bits() -> None:
    (report,) = orders_of(fixture("official_docs_2024-12/user_s_force_orders.json"))
    assert report.venue_order_id == "172264854643022330000"
    assert (report.fee, report.realized) == (m("0.009553"), m("-0.9346"))


def test_fixture_rates_and_contracts() -> None:
    assert fee_rates_of(fixture("jkorf_rest/account_GetTradingFees.json")) == (500_000, 200_000)
    rows = values.decode(D.CONTRACTS, fixture("jkorf_rest/exchangedata_GetContracts.json"))
    first = values.decode(D.CONTRACT_ROW, rows[0])
    assert values.read_quantity(first.trade_min_quantity) == q("0.0001")
    assert values.read_rate_e9(first.maker_fee_rate) == 200_000


def test_fixture_errors() -> None:
    path = FIXTURES / "ws_events/rest_errors_observed.json"
    if not path.exists():
        pytest.skip("the collected fixtures are not here")
    bodies = msgspec.json.decode(path.read_bytes(), type=list[msgspec.Raw])
    found = [envelope(bytes(body)) for body in bodies]
    assert [one.number for one in found][:4] == [100001, 100419, 109400, 101204]
    assert all(one.number for one in found)
