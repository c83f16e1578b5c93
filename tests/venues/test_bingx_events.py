"""BingX's frames: what they say, what they do not say, and what the kernel makes of them.

Samples of our own for every kind; the collected frames are decoded too where they are at hand.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.engine_driver import Desk
from support.recordings import RECORDINGS

from dita.contracts import (
    BalanceReason,
    EvidenceSource,
    KernelDiagnosticCode,
    KernelEventKind,
    OrderSide,
    PositionSide,
    TradeStage,
    VenueEvent,
)
from dita.units import format_money, parse_money, parse_price, parse_quantity
from dita.venues.bingx.stream import messages
from dita.venues.bingx.stream.market import Topic, quote_of
from dita.venues.bingx.stream.messages import read_frame
from dita.venues.bingx.stream.parse import (
    ORDERS_REMEMBERED,
    POSITION_MARGIN_MS,
    SYMBOLS_REMEMBERED,
    ConfigChange,
    ParsedFrame,
    UserEvents,
)
from dita.venues.bingx.values import UnreadableValue, decode

p, q, m = parse_price, parse_quantity, parse_money
Kind = KernelEventKind
Code = KernelDiagnosticCode
SENT: Final = 1_710_303_599_597
ORDER_ID: Final = "1767767539205742592"


def trade(**changes: object) -> bytes:
    """An ORDER_TRADE_UPDATE of a filled order; a change to ... leaves the field out."""
    fields = {
        "s": "FET-USDT", "c": "", "i": ORDER_ID, "S": "SELL", "o": "MARKET", "q": "100.00000000",
        "p": "9.71200000", "sp": "0.00000000", "ap": "0.55210000", "x": "TRADE", "X": "FILLED",
        "N": "USDT", "n": "-0.02760500", "T": 0, "wt": "MARK_PRICE", "ps": "BOTH",
        "rp": "-1.25000000", "z": "100.00000000", **changes,
    }  # fmt: skip
    body = {name: value for name, value in fields.items() if value is not ...}
    return msgspec.json.encode({"e": "ORDER_TRADE_UPDATE", "E": SENT, "o": body})


def read(text: bytes, reader: UserEvents | None = None) -> ParsedFrame:
    return (reader or UserEvents()).read(read_frame(text), 7)


def event(text: bytes, reader: UserEvents | None = None) -> VenueEvent:
    (found,) = read(text, reader).events
    return found


# -- orders ----------------------------------------------------------------------------------------


def test_a_fill() -> None:
    found = event(trade())
    assert (found.kind, found.asset, found.side) == (Kind.FULL_FILL, "FET-USDT", OrderSide.SELL)
    assert (found.venue_order_id, found.client_order_id) == (ORDER_ID, "")
    assert (found.received_ms, found.exchange_ms) == (7, SENT)  # T is 0
    assert (found.quantity_e8, found.price_e10) == (q(100), p("0.5521"))  # ap, never p
    assert (found.last_quantity_e8, found.last_price_e10) == (0, 0)
    assert (found.increment, found.source) == (False, EvidenceSource.STREAM)


def test_the_id_is_a_number_or_a_text_and_the_client_id_counts_when_there() -> None:
    found = event(trade(i=int(ORDER_ID), c="abc234"))
    assert (found.venue_order_id, found.client_order_id) == (ORDER_ID, "abc234")
    assert event(trade(i="", c="abc234")).venue_order_id == ""
    assert event(trade(i="172998235239792314304")).venue_order_id == "172998235239792314304"


@pytest.mark.parametrize(
    "change",
    [
        {"S": "HOLD"}, {"S": ...}, {"S": ["SELL"]}, {"X": "HALTED"}, {"X": ...}, {"ps": "UP"},
        {"z": "-1"}, {"z": "1e400"}, {"z": "NaN"}, {"z": True}, {"z": [1]},
        {"ap": "-0.5"}, {"ap": "0.55210000001"}, {"T": "soon"}, {"T": -1},
        {"l": "100", "L": "0.5521", "n": "free"}, {"l": "-1", "L": "1"}, {"l": "1", "L": "x"},
    ],
)  # fmt: skip
def test_a_frame_that_is_not_certain_makes_us_ask_about_its_order_and_its_symbol(
    change: dict[str, object],
) -> None:
    told = read(trade(**change))
    (unknown,) = told.events
    assert (unknown.kind, unknown.venue_order_id) == (Kind.ORDER_UNKNOWN, ORDER_ID)
    assert (unknown.asset, unknown.quantity_e8) == ("FET-USDT", 0)
    assert told.doubtful == ("FET-USDT",)
    (row,) = told.odd
    assert (row.asset, row.venue_order_id) == ("FET-USDT", ORDER_ID)
    assert "cannot be read" in row.why


@pytest.mark.parametrize("change", [{"i": ""}, {"i": ...}, {"i": 0}, {"i": "é"}, {"i": ["1"]}])
def test_without_an_order_id_the_symbol_s_position_is_asked_for(change: dict[str, object]) -> None:
    told = read(trade(**change))
    assert (told.events, told.doubtful) == ((), ("FET-USDT",))
    assert len(told.odd) == 1


@pytest.mark.parametrize("symbol", ["", ..., None, ["FET-USDT"], 5, " FET-USDT"])
def test_without_a_symbol_the_order_is_asked_for(symbol: object) -> None:
    told = read(trade(s=symbol))
    (unknown,) = told.events
    assert (unknown.kind, unknown.venue_order_id) == (Kind.ORDER_UNKNOWN, ORDER_ID)
    assert told.doubtful == ()


def test_what_may_be_about_anything_is_a_gap() -> None:
    with pytest.raises(UnreadableValue):
        read(trade(s="", i=""))


@pytest.mark.parametrize("change", [{}, {"X": "HALTED"}, {"i": ""}, {"z": "-1"}, {"o": "ICEBERG"}])
def test_a_symbol_outside_ascii_is_none_of_ours(change: dict[str, object]) -> None:
    told = read(trade(s="币安人生-USDT", **change))
    assert (told.events, told.doubtful) == ((), ())
    assert len(told.odd) == 1


@pytest.mark.parametrize("change", [{"o": "ICEBERG"}, {"o": ...}, {"o": ["MARKET"]}, {"o": 5}])
def test_the_type_of_an_order_need_not_be_known(change: dict[str, object]) -> None:
    assert event(trade(**change)) == event(trade())


@pytest.mark.parametrize("client_id", ["ü" * 3, "x" * 500, "\x07bell"])
def test_a_client_id_that_cannot_be_ours_hides_nothing(client_id: str) -> None:
    found = event(trade(c=client_id))
    assert (found.kind, found.venue_order_id) == (Kind.FULL_FILL, ORDER_ID)
    assert found.client_order_id.isascii() and len(found.client_order_id) <= 64


@pytest.mark.parametrize(
    ("hedge", "word", "side"),
    [
        (False, "BOTH", PositionSide.UNKNOWN),
        (False, ..., PositionSide.UNKNOWN),
        (True, "LONG", PositionSide.LONG),
        (True, "SHORT", PositionSide.SHORT),
        (True, "short", PositionSide.SHORT),
    ],
)
def test_the_position_side_travels_with_the_order(
    hedge: bool, word: object, side: PositionSide
) -> None:
    found = event(trade(ps=word), UserEvents(hedge=hedge))
    assert (found.side, found.position_side) == (OrderSide.SELL, side)


@pytest.mark.parametrize("word", ["BOTH", ..., ""])
def test_in_hedge_mode_an_order_without_a_side_is_asked_for(word: object) -> None:
    told = read(trade(ps=word), UserEvents(hedge=True))
    assert [one.kind for one in told.events] == [Kind.ORDER_UNKNOWN]
    assert told.doubtful == ("FET-USDT",)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"X": "NEW", "z": "0.00000000"}, Kind.ORDER_ACK),
        ({"X": "NEW", "z": "0", "x": "TRADE", "o": "TRIGGER_MARKET", "p": ""}, Kind.ORDER_ACK),
        ({"X": "NEW", "z": "40"}, Kind.PARTIAL_FILL),
        ({"X": "NEW"}, Kind.FULL_FILL),
        ({"X": "PARTIALLY_FILLED", "z": "40"}, Kind.PARTIAL_FILL),
        ({"X": "PARTIALLY_FILLED"}, Kind.FULL_FILL),
        ({"X": "PARTIALLY_FILLED", "z": "100"}, Kind.PARTIAL_FILL),  # the kernel knows better
        ({"X": "PARTIALLY_FILLED", "q": ...}, Kind.PARTIAL_FILL),
        ({"X": "FILLED", "z": "99"}, Kind.FULL_FILL),
        ({"X": "FILLED", "z": "0"}, Kind.ORDER_UNKNOWN),
        ({"X": "FILLED", "z": ...}, Kind.ORDER_UNKNOWN),
        ({"X": "PARTIALLY_FILLED", "z": ""}, Kind.ORDER_UNKNOWN),
        ({"X": "CANCELED", "z": "0"}, Kind.CANCEL_ACK),
        ({"X": "CANCELLED", "z": "40"}, Kind.CANCEL_ACK),
        ({"X": "EXPIRED", "z": "40"}, Kind.ORDER_EXPIRED),
        ({"X": "FAILED", "z": "0"}, Kind.ORDER_REJECT),
        ({"o": "LIQUIDATION"}, Kind.LIQUIDATION),
        ({"o": "LIQUIDATION", "X": "NEW", "z": "0"}, Kind.ORDER_ACK),
        ({"o": "ADL", "X": "PARTIALLY_FILLED", "z": "40"}, Kind.ADL),
    ],
)
def test_a_fill_is_known_by_its_quantity_and_not_by_its_name(
    change: dict[str, object], kind: KernelEventKind
) -> None:
    found = event(trade(**change))
    assert found.kind is kind
    if not found.quantity_e8:
        assert (found.price_e10, found.fee, found.realized) == (0, None, None)


def test_the_time_is_the_trade_s_else_the_frame_s() -> None:
    assert event(trade(T=SENT - 5)).exchange_ms == SENT - 5
    assert event(trade(T="0")).exchange_ms == SENT
    assert event(trade(T=...)).exchange_ms == SENT


def test_without_an_average_there_is_no_price() -> None:
    for absent in ("", "0.00000000", ...):
        assert event(trade(ap=absent)).price_e10 == 0


# -- figures ---------------------------------------------------------------------------------------


def test_figures_of_an_order_that_filled_at_once() -> None:
    found = event(trade(l="100.00000000", L="0.55210000"))
    assert (found.fee, found.realized) == (m("0.027605"), m("-1.25"))
    assert (found.last_quantity_e8, found.last_price_e10) == (q(100), p("0.5521"))


def test_the_last_fill_may_be_written_in_other_words() -> None:
    found = event(trade(l="1e2", L="0.55210"))
    assert (found.fee, found.last_quantity_e8) == (m("0.027605"), q(100))


@pytest.mark.parametrize(
    "change",
    [
        {},  # no l: perhaps the last of several fills
        {"l": "60", "L": "0.5521"},
        {"l": "0", "L": "0"},
        {"l": "100", "L": ""},
        {"l": "101", "L": "0.5521"},
        {"l": "100", "L": "0.5521", "X": "CANCELED"},
        {"l": "100", "L": "0.5520"},
    ],
)
def test_figures_that_may_be_of_one_fill_only_are_left_to_the_queries(
    change: dict[str, object],
) -> None:
    found = event(trade(**change))
    assert (found.fee, found.realized) == (None, None)


def test_two_prices_for_one_fill_are_none() -> None:
    found = event(trade(l="100", L="0.5520"))
    assert (found.price_e10, found.last_price_e10, found.last_quantity_e8) == (0, 0, 0)


def test_a_fee_in_another_asset_is_no_fee_of_ours() -> None:
    found = event(trade(l="100", L="0.5521", N="BNB"))
    assert (found.fee, found.realized) == (None, m("-1.25"))


def test_a_last_fill_that_contradicts_an_earlier_frame_is_not_used() -> None:
    reader = UserEvents()
    event(trade(X="PARTIALLY_FILLED", z="40", l="40", L="0.5521"), reader)
    found = event(trade(l="100", L="0.5521"), reader)
    assert (found.fee, found.realized, found.last_quantity_e8) == (None, None, 0)
    other = event(trade(i="5", l="100", L="0.5521"), reader)
    assert other.fee is not None


def test_the_memory_is_bounded_and_forgets_the_oldest() -> None:
    reader = UserEvents()
    event(trade(z="40"), reader)
    for number in range(ORDERS_REMEMBERED + 10):
        event(trade(i=str(number + 1)), reader)
    assert event(trade(l="100", L="0.5521"), reader).fee is None  # still in the older generation
    for number in range(3 * ORDERS_REMEMBERED):
        event(trade(i=str(number + 1_000_000)), reader)
    assert len(reader._smallest) <= ORDERS_REMEMBERED
    assert len(reader._smallest_old) <= ORDERS_REMEMBERED


@given(st.data())
def test_no_reading_of_the_figures_books_a_wrong_cent(data: st.DataObject) -> None:
    """Per fill or cumulative, with l or without, frames lost, doubled and out of order."""
    sizes = data.draw(st.lists(st.integers(1, 50), min_size=1, max_size=4))
    prices = [data.draw(st.integers(1, 10**6)) * 10**4 for _ in sizes]
    cumulative, with_last = data.draw(st.booleans()), data.draw(st.booleans())
    total = sum(sizes)
    z, cost, sent = 0, 0, []
    truth: dict[int, int] = {}
    for size, price in zip(sizes, prices, strict=True):
        z, cost = z + size, cost + size * price
        truth[q(z)] = cost * 5 * 10**4  # a rate of 0.0005, in 10^-18
        part = (cost if cumulative else size * price) * 5 * 10**4
        average = Decimal(cost) / z / 10**10
        text = trade(
            z=str(z), q=str(total), X="FILLED" if z == total else "PARTIALLY_FILLED",
            n=format_money(-part), ap=str(average.quantize(Decimal("1e-8"))),
            **({"l": str(size), "L": str(Decimal(price).scaleb(-10))} if with_last else {}),
        )  # fmt: skip
        sent.append(text)
    shuffled = data.draw(st.permutations(sent + sent))
    reader = UserEvents()
    for text in shuffled[: data.draw(st.integers(1, len(shuffled)))]:
        found = event(text, reader)
        if found.fee is not None:
            assert found.fee == truth[found.quantity_e8]


VALUES: Final = st.one_of(
    st.sampled_from(["", "0", "0.00000000", "-1", "NaN", "1e400", "5", "0.5", "40", "1e2", "٣"]),
    st.integers(-5, 10**20),
    st.decimals(allow_nan=False, allow_infinity=False, places=8).map(str),
    st.none(),
    st.booleans(),
    st.text(max_size=4),
    st.lists(st.integers(), max_size=2),
)


@given(
    st.dictionaries(
        st.sampled_from("sciSoqpzlLnNTXx") | st.sampled_from(["ap", "ps", "rp"]), VALUES
    )
)
def test_a_fuzzed_frame_is_refused_or_read_exactly(changes: dict[str, Any]) -> None:
    text = trade(**changes)
    body = msgspec.json.decode(text)["o"]
    try:
        told = read(text)
    except UnreadableValue:
        return
    if told.odd:
        assert all(one.kind is Kind.ORDER_UNKNOWN for one in told.events)
        return
    (found,) = told.events
    if found.quantity_e8:
        assert Decimal(body["z"]).scaleb(8) == found.quantity_e8
    else:
        assert body["z"] in (None, "") or not Decimal(body["z"])
    if found.price_e10:
        assert Decimal(body["ap"]).scaleb(10) == found.price_e10
    if found.last_price_e10:
        assert Decimal(body["L"]).scaleb(10) == found.last_price_e10
    if found.fee is not None:
        assert Decimal(body["n"]).scaleb(18) == -found.fee


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_frame_or_refused(text: bytes) -> None:
    for candidate in (text, b'{"o":' + text + b"}", b'{"a":' + text + b"}"):
        try:
            read(candidate)
        except UnreadableValue:
            continue


def test_deep_nesting_is_refused() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    for text in (deep, b'{"o":{"s":' + deep + b"}}", b'{"unknown":' + deep + b"}"):
        with pytest.raises(UnreadableValue):
            read(text)


# -- account ---------------------------------------------------------------------------------------


def account(body: dict[str, object], sent: object = SENT) -> bytes:
    return msgspec.json.encode({"e": "ACCOUNT_UPDATE", "E": sent, "a": body})


USDC: Final = {"a": "USDC", "wb": "5", "cw": "5", "bc": "0"}
USDT: Final = {"a": "USDT", "wb": "5277.59264687", "cw": "5233.2", "bc": "-1"}


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("ORDER", BalanceReason.ORDER),
        ("FUNDING_FEE", BalanceReason.FUNDING),
        ("DEPOSIT", BalanceReason.TRANSFER),
        ("WITHDRAW", BalanceReason.TRANSFER),
        ("SOMETHING_ELSE", BalanceReason.UNKNOWN),
        (["ORDER"], BalanceReason.UNKNOWN),
    ],
)
def test_the_wallet_of_the_right_asset_with_its_reason(word: object, reason: BalanceReason) -> None:
    found = event(account({"m": word, "B": [USDC, USDT]}))
    assert (found.kind, found.amount) == (Kind.ACCOUNT_UPDATE, m("5277.59264687"))
    assert (found.exchange_ms, found.balance_reason) == (SENT, reason)
    assert event(account({"m": word, "B": [USDT]}), UserEvents()).source is EvidenceSource.STREAM


@pytest.mark.parametrize(
    "body",
    [{"m": "ORDER"}, {"B": None}, {"B": []}, {"B": [USDC]}, {"B": [{"a": "USDT", "wb": ""}]}],
)
def test_an_absent_wallet_confirms_nothing(body: dict[str, object]) -> None:
    assert read(account(body)) == ParsedFrame()


def test_a_wallet_of_test_money() -> None:
    found = event(account({"B": [USDT, {**USDT, "a": "VST", "wb": "7"}]}), UserEvents("VST"))
    assert found.amount == m(7)


def held(**changes: object) -> dict[str, object]:
    return {"s": "FET-USDT", "pa": "120", "ep": "0.55", "up": "0", "ps": "SHORT", **changes}


def positions(*rows: dict[str, object], hedge: bool = False, sent: object = SENT) -> ParsedFrame:
    return read(account({"m": "ORDER", "P": list(rows)}, sent), UserEvents(hedge=hedge))


def told(found: ParsedFrame) -> list[tuple[str, OrderSide, int]]:
    return [(one.asset, one.side, one.quantity_e8) for one in found.events]


def test_a_position_counts_as_a_little_older_than_its_frame() -> None:
    (found,) = positions(held()).events
    assert (found.kind, found.side, found.quantity_e8) == (Kind.POSITION, OrderSide.SELL, q(120))
    assert found.exchange_ms == SENT - POSITION_MARGIN_MS


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (held(ps="LONG"), [("FET-USDT", OrderSide.BUY, q(120))]),
        (held(pa="-120"), [("FET-USDT", OrderSide.SELL, q(120))]),
        (held(pa="-120", ps="BOTH"), [("FET-USDT", OrderSide.SELL, q(120))]),
        (held(pa="0.00000000"), [("FET-USDT", OrderSide.UNKNOWN, 0)]),
        (held(pa="0", ps="BOTH"), [("FET-USDT", OrderSide.UNKNOWN, 0)]),
    ],
)
def test_positions_that_are_certain(row: dict[str, object], expected: object) -> None:
    found = positions(row)
    assert (told(found), found.doubtful) == (expected, ())


@pytest.mark.parametrize(
    "rows",
    [
        [held(ps="BOTH")],  # long or short: the sign is not established
        [held(ps="LONG", pa="-120")],
        [held(pa="")],
        [held(), held(ps="LONG")],
        [held(), held()],
    ],
)
def test_positions_in_doubt_are_asked_for(rows: list[dict[str, object]]) -> None:
    found = positions(*rows)
    assert (found.events, found.doubtful) == ((), ("FET-USDT",))


def test_a_position_without_a_time_is_asked_for() -> None:
    assert positions(held(), sent=0).doubtful == ("FET-USDT",)


def test_a_flat_side_beside_an_open_one_says_nothing_in_one_way_mode() -> None:
    flat = held(pa="0", ps="LONG")
    for rows in ([held(), flat], [flat, held()]):
        assert told(positions(*rows)) == [("FET-USDT", OrderSide.SELL, q(120))]


def test_in_hedge_mode_each_side_is_a_position() -> None:
    found = positions(held(), held(pa="0", ps="LONG"), hedge=True)
    assert told(found) == [
        ("FET-USDT", OrderSide.SELL, q(120)),
        ("FET-USDT", OrderSide.BUY, 0),
    ]
    assert positions(held(ps="BOTH", pa="-5"), hedge=True).doubtful == ("FET-USDT",)
    both = positions(held(), held(), held(s="TRX-USDT"), hedge=True)
    assert told(both) == [("TRX-USDT", OrderSide.SELL, q(120))]
    assert both.doubtful == ("FET-USDT",)


def test_missing_positions_are_never_flat() -> None:
    absent: tuple[object, ...] = (None, [])
    for rows in absent:
        found = read(account({"m": "ORDER", "B": [USDT], "P": rows}))
        assert [one.kind for one in found.events] == [Kind.ACCOUNT_UPDATE]


@pytest.mark.parametrize("row", [held(ps="UP"), held(pa="x"), held(pa="1e400"), held(ps=["LONG"])])
def test_a_position_that_cannot_be_read_is_asked_for_and_hides_no_other(
    row: dict[str, object],
) -> None:
    found = positions(held(s="TRX-USDT"), row, held(s="ADA-USDT"))
    assert [one.asset for one in found.events] == ["TRX-USDT", "ADA-USDT"]
    assert found.doubtful == ("FET-USDT",)
    assert [one.asset for one in found.odd] == ["FET-USDT"]


@pytest.mark.parametrize("row", [held(s=""), held(s="币安人生-USDT"), held(s=None), None, 5, [1]])
def test_a_position_of_no_symbol_of_ours_hides_no_other(row: Any) -> None:
    found = positions(held(s="TRX-USDT"), row)
    assert [one.asset for one in found.events] == ["TRX-USDT"]
    assert (found.doubtful, len(found.odd)) == ((), 1)


@pytest.mark.parametrize("rows", [[None], [5, USDT], [{"a": "USDT", "wb": "much"}], {"a": "USDT"}])
def test_a_wallet_that_cannot_be_read_hides_no_position(rows: object) -> None:
    found = read(account({"m": "ORDER", "B": rows, "P": [held()]}))
    assert Kind.POSITION in [one.kind for one in found.events]
    wallets = [one.amount for one in found.events if one.kind is Kind.ACCOUNT_UPDATE]
    assert wallets in ([], [m("5277.59264687")])


@pytest.mark.parametrize("sent", ["soon", -1, [1]])
def test_an_account_frame_without_a_readable_time_says_nothing_of_the_wallet(sent: object) -> None:
    found = read(account({"m": "ORDER", "B": [USDT], "P": [held()]}, sent))
    assert (found.events, found.doubtful) == ((), ("FET-USDT",))


@pytest.mark.parametrize(
    ("body", "config"),
    [
        ({"s": "FET-USDT", "l": "high", "S": 1}, ConfigChange("FET-USDT", 0, 0, "")),
        ({"s": "", "l": 5, "S": 5}, ConfigChange("", 0, 0, "")),
        ({"s": "币安人生-USDT", "l": 5, "S": 5}, None),
    ],
)
def test_settings_that_cannot_be_read_void_what_was_believed(
    body: dict[str, object], config: ConfigChange | None
) -> None:
    found = read(msgspec.json.encode({"e": "SNAPSHOT", "E": SENT, "ac": body}))
    assert (found.config, len(found.odd)) == (config, 1)


@pytest.mark.parametrize(
    "frame",
    [
        {"e": "NEW_KIND", "o": [1, 2]},
        {"e": "NEW_KIND", "a": "text"},
        {"e": "NEW_KIND", "ac": 5, "o": None},
        {"e": ["odd"], "a": 7},
        {"e": "SNAPSHOT", "ac": [1]},
    ],
)
def test_a_kind_of_frame_that_we_do_not_know_says_nothing(frame: dict[str, object]) -> None:
    assert read(msgspec.json.encode(frame)) == ParsedFrame()


# -- settings and the rest -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SNAPSHOT", "ACCOUNT_CONFIG_UPDATE", ""])
def test_settings_are_told_by_their_body_and_only_when_they_change(name: str) -> None:
    def setting(leverage: object) -> bytes:
        body = {"s": "MTL-USDT", "l": leverage, "S": 1, "mt": "isolated"}
        return msgspec.json.encode({"e": name, "E": SENT, "ac": body})

    reader = UserEvents()
    changes = [read(setting(leverage), reader).config for leverage in (1, 1, "2", 2)]
    first, second = (
        ConfigChange("MTL-USDT", 1, 1, "isolated"),
        ConfigChange("MTL-USDT", 2, 1, "isolated"),
    )
    assert changes == [first, None, second, None]


def test_settings_that_are_remembered_are_bounded() -> None:
    reader = UserEvents()
    for number in range(SYMBOLS_REMEMBERED + 5):
        body = {"s": f"S{number}-USDT", "l": 1, "S": 1, "mt": "cross"}
        read(msgspec.json.encode({"e": "SNAPSHOT", "ac": body}), reader)
    assert len(reader._configs) <= SYMBOLS_REMEMBERED


def test_a_snapshot_of_the_account_is_told_like_an_update() -> None:
    text = msgspec.json.encode({"e": "SNAPSHOT", "E": SENT, "a": {"m": "INIT", "B": [USDT]}})
    assert event(text).amount == m("5277.59264687")


@pytest.mark.parametrize("name", ["ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE"])
def test_news_without_a_body_cannot_be_read(name: str) -> None:
    with pytest.raises(UnreadableValue):
        read(msgspec.json.encode({"e": name, "E": SENT}))


def test_other_frames_say_nothing() -> None:
    for text in (b"{}", b'{"id":"1","code":0,"msg":"","data":null}', b'{"e":"NEW_KIND","E":1}'):
        assert read(text) == ParsedFrame()


# -- in the kernel ---------------------------------------------------------------------------------


def at(desk: Desk, text: bytes, reader: UserEvents | None = None) -> None:
    desk.now += 10_000
    (found,) = (reader or UserEvents()).read(read_frame(text), desk.now).events
    desk.send(msgspec.structs.replace(found, exchange_ms=desk.now))


def opened(**config: Any) -> Desk:
    """A long position of 100 that came by a fill of its own order 11."""
    desk = Desk(**config)
    desk.enter(100, "0.5")
    client = desk.last.effects[0].client_order_id
    desk.event(
        Kind.ORDER_ACK, asset="FET-USDT", client_order_id=client, venue_order_id="11",
        side=OrderSide.BUY,
    )  # fmt: skip
    at(desk, trade(i="11", S="BUY", ap="0.5", X="FILLED"))
    assert desk.engine.kernel.slot(0).state is TradeStage.POSITION_OPEN
    return desk


def test_an_entry_fills_by_its_order_id_and_duplicates_change_nothing() -> None:
    desk = opened()
    at(desk, trade(i="11", S="BUY", ap="0.5", X="FILLED"))
    assert desk.last.kernel.code is Code.DUPLICATE_EVENT
    slot = desk.engine.kernel.slot(0)
    assert (slot.size_e8, slot.entry_cost) == (q(100), p("0.5") * q(100))


def test_a_liquidation_closes_what_was_ours() -> None:
    desk = opened()
    at(desk, trade(i="666", o="LIQUIDATION", S="SELL", ap="0.4", z="60", q="60"))
    assert desk.last.kernel.code is Code.EXTERNAL_CLOSE
    slot = desk.engine.kernel.slot(0)
    assert (slot.size_e8, slot.state) == (q(40), TradeStage.STALE_STATE_RECONCILING)


def test_in_hedge_mode_a_foreign_opening_is_no_close_of_ours() -> None:
    """A SELL that opens a short must not be booked as a close of our long."""
    desk = opened(hedge=True)
    at(desk, trade(i="777", S="SELL", ps="SHORT", z="60"), UserEvents(hedge=True))
    codes = [desk.last.kernel.code]
    at(desk, trade(i="778", S="SELL", ps="LONG", z="60"), UserEvents(hedge=True))
    assert [*codes, desk.last.kernel.code] == [Code.UNRESOLVED_SLOT, Code.EXTERNAL_CLOSE]


def test_a_claim_of_a_fill_without_a_quantity_makes_the_kernel_ask() -> None:
    desk = Desk()
    desk.enter(100, "0.5")
    client = desk.last.effects[0].client_order_id
    at(desk, trade(i="11", c=client, S="BUY", X="FILLED", z=""))
    assert desk.last.kernel.code is Code.ORDER_UNKNOWN
    assert "QUERY_ORDER" in [effect.kind.name for effect in desk.last.effects]


# -- market data -----------------------------------------------------------------------------------


def push(topic: str, data: object, asset: str = "FET-USDT") -> bytes:
    return msgspec.json.encode({"code": 0, "dataType": f"{asset}@{topic}", "data": data})


def test_a_book_ticker_is_its_middle() -> None:
    data = {"e": "bookTicker", "E": 5, "s": "FET-USDT", "b": "0.5511", "B": "9", "a": "0.5514"}
    quote = quote_of(read_frame(push("bookTicker", data)))
    assert quote is not None
    assert (quote.topic, quote.bid_e10, quote.ask_e10) == (
        Topic.BOOK_TICKER, p("0.5511"), p("0.5514"),
    )  # fmt: skip
    assert (quote.price_e10, quote.time_ms) == (p("0.55125"), 5)


def test_of_trades_the_newest_counts() -> None:
    rows = [{"s": "FET-USDT", "p": f"0.55{n}", "q": "1", "T": n, "m": True} for n in (3, 9, 5)]
    quote = quote_of(read_frame(push("trade", rows)))
    assert quote is not None
    assert (quote.price_e10, quote.time_ms) == (p("0.559"), 9)
    assert quote_of(read_frame(push("trade", []))) is None


@pytest.mark.parametrize(
    ("topic", "data"),
    [
        ("markPrice", {"s": "TRX-USDT", "p": "1", "E": 1}),
        ("markPrice", {"s": "FET-USDT", "p": "", "E": 1}),
        ("markPrice", {"s": "FET-USDT", "p": "-1", "E": 1}),
        ("bookTicker", {"s": "FET-USDT", "b": "", "a": "1", "E": 1}),
        ("lastPrice", {"s": "FET-USDT", "E": 1}),
        ("trade", {"s": "FET-USDT"}),
    ],
)
def test_a_quote_that_cannot_be_read(topic: str, data: object) -> None:
    with pytest.raises(UnreadableValue):
        quote_of(read_frame(push(topic, data)))


# -- the collected frames --------------------------------------------------------------------------

FIXTURES: Final = RECORDINGS / "bingx" / "fixtures"
FILES: Final = [
    path
    for path in (*FIXTURES.glob("ws_events/*.json"), *FIXTURES.glob("jkorf_ws/*.json"))
    if path.name != "rest_errors_observed.json"
]
BODIES: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "bookTicker": messages.BOOK_PUSH, "trade": messages.TRADE_PUSH, "markPrice": messages.MARK_PUSH,
    "lastPrice": messages.LAST_PUSH, "ticker": messages.TICKER_PUSH, "kline": messages.CANDLE_PUSH,
    "depth": messages.DEPTH_PUSH,
}  # fmt: skip


class _Recorded(msgspec.Struct):
    ack: list[str] = []
    push: list[msgspec.Raw] = []


@pytest.mark.skipif(not FILES, reason="the collected fixtures are not here")
@pytest.mark.parametrize("path", sorted(FILES), ids=lambda path: path.name)
def test_every_collected_frame_is_decoded(path: Path) -> None:
    texts = [path.read_bytes()]
    if path.parent.name == "jkorf_ws":
        recorded = msgspec.json.decode(texts[0], type=_Recorded)
        assert read(recorded.ack[0].encode()) == ParsedFrame()
        texts = [bytes(text) for text in recorded.push]
    for text in texts:
        frame = read_frame(text)
        if frame.data_type:
            topic = frame.data_type.partition("@")[2].partition("_")[0].rstrip("0123456789ms@")
            assert decode(BODIES[topic], frame.data)
            wanted = topic in (*Topic,)
            assert (quote_of(frame) is not None) == wanted
        else:
            UserEvents().read(frame, 7)


def fixture(name: str) -> bytes:
    path = FIXTURES / "ws_events" / name
    if not path.exists():
        pytest.skip("the collected fixtures are not here")
    return path.read_bytes()


def test_fixture_fills() -> None:
    found = event(fixture("order_market_filled_close_2024-03_ccxt21685.json"))
    assert (found.kind, found.venue_order_id) == (Kind.FULL_FILL, "1767767539205742592")
    assert (found.quantity_e8, found.price_e10) == (q("0.02"), p("437.1"))
    assert (found.fee, found.realized, found.exchange_ms) == (None, None, 1_710_303_599_597)
    older = event(fixture("order_market_filled_2023-10_ccxt.json"))
    assert (older.side, older.price_e10) == (OrderSide.BUY, p("64.36"))


def test_fixture_trigger_with_texts_for_numbers_and_a_trade_that_is_none() -> None:
    found = event(fixture("order_trigger_market_new_2024-01_singlesly68.json"))
    assert (found.kind, found.quantity_e8) == (Kind.ORDER_ACK, 0)
    assert found.venue_order_id == "172998235239792314304"
    assert found.exchange_ms == 1_706_736_600_541


def test_fixture_withdrawal() -> None:
    found = event(fixture("account_update_withdraw_2023-10.json"))
    assert (found.amount, found.balance_reason) == (m("49.81083984"), BalanceReason.TRANSFER)


def test_fixture_snapshot() -> None:
    config = read(fixture("snapshot_config_vst_2026-06.json")).config
    assert config == ConfigChange("MTL-USDT", 1, 1, "isolated")
