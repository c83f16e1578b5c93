"""Numbers cross the border exactly or not at all.

Tables name the cases that matter; the properties compare every parser and formatter with an
oracle made of Fraction, which shares no code with the module.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Context, Decimal, localcontext
from enum import IntEnum
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dita import units
from dita.errors import OperatorError, UnitError, shown
from dita.units import (
    CONVICTION_RULE,
    MONEY_MAX,
    PRICE_MAX,
    QUANTITY_MAX,
    RATIO_MAX,
    exchange_leverage,
    floor_to_step,
    format_money,
    format_price,
    format_quantity,
    format_ratio,
    money_of,
    parse_money,
    parse_price,
    parse_quantity,
    parse_ratio,
)


class Unit(NamedTuple):
    """What a unit promises, written down a second time."""

    name: str
    parse: Callable[..., int]
    format: Callable[[int], str]
    digits: int
    least: int
    most: int
    limit: str  # the range as it stands in a refusal


UNITS = [
    Unit(
        "price", parse_price, format_price, 10, 0, 2**63 - 1,
        "from 0 to 922337203.6854775807 with at most 10 decimals",
    ),
    Unit(
        "quantity", parse_quantity, format_quantity, 8, 0, 2**63 - 1,
        "from 0 to 92233720368.54775807 with at most 8 decimals",
    ),
    Unit(
        "money", parse_money, format_money, 18, -(10**38), 10**38,
        "from -100000000000000000000 to 100000000000000000000 with at most 18 decimals",
    ),
    Unit(
        "ratio", parse_ratio, format_ratio, 9, 1, 10**9,
        "from 0.000000001 to 1 with at most 9 decimals",
    ),
]  # fmt: skip


def brief(value: object) -> str:
    """Name a parameter; pytest itself cannot print an int of 5000 digits."""
    return shown(value, 24)


each_unit = pytest.mark.parametrize("unit", UNITS, ids=[unit.name for unit in UNITS])


def refused(call: Callable[..., Any], *args: object, **kwargs: object) -> UnitError:
    """Run what must be refused and give the error, having checked what all refusals share."""
    with pytest.raises(UnitError) as caught:
        call(*args, **kwargs)
    error = caught.value
    assert isinstance(error, OperatorError)
    assert isinstance(error, ValueError)
    assert error.expected
    assert error.found
    assert error.action
    assert str(error).isprintable()
    return error


def assert_names(error: UnitError, field: str, value: object, limit: str) -> None:
    """Every refusal names the field, the value and the limit, in the line the operator sees."""
    assert str(error).startswith(f"{field} refused: expected ")
    assert limit in str(error)
    assert f"found {shown(value)} (" in str(error)


# -- SCALES -------------------------------------------------------------------------------------


class TestScales:
    @each_unit
    def test_constants_agree_with_the_table(self, unit: Unit) -> None:
        name = unit.name.upper()
        assert getattr(units, f"{name}_DIGITS") == unit.digits
        assert getattr(units, f"{name}_ONE") == 10**unit.digits
        assert getattr(units, f"{name}_MAX") == unit.most

    def test_price_times_quantity_is_money(self) -> None:
        assert units.PRICE_DIGITS + units.QUANTITY_DIGITS == units.MONEY_DIGITS
        assert PRICE_MAX * QUANTITY_MAX < MONEY_MAX < 2**127

    def test_there_is_no_float_in_the_module(self) -> None:
        nodes = list(ast.walk(ast.parse(Path(units.__file__).read_text("utf-8"))))
        assert not [n for n in nodes if isinstance(n, ast.Constant) and type(n.value) is float]
        assert not [n for n in nodes if isinstance(n, ast.Div)]
        assert not [n for n in nodes if isinstance(n, ast.Name) and n.id in {"float", "round"}]


# -- PARSERS ------------------------------------------------------------------------------------


class TestAccepted:
    @pytest.mark.parametrize(
        ("value", "scaled"),
        [
            ("0", 0),
            ("1", 10**10),
            ("0.5", 5 * 10**9),
            (".5", 5 * 10**9),
            ("1.", 10**10),
            ("007.10", 71 * 10**9),
            ("+1", 10**10),
            ("-0", 0),
            ("-0.000", 0),
            ("0.0000000001", 1),
            ("0.00000000010", 1),  # an eleventh decimal that is 0 loses nothing
            ("922337203.6854775807", PRICE_MAX),
            ("0.1234567890", 1234567890),
            ("1e-3", 10**7),
            ("1E+2", 10**12),
            ("12.5e1", 125 * 10**10),
            ("1e-10", 1),
            ("0e64", 0),
            ("10000000000e-20", 1),
            ("0" * 64, 0),
            ("0" * 63 + "1", 10**10),
            ("1." + "0" * 62, 10**10),
            (2, 2 * 10**10),
            (0, 0),
            (Decimal("0.1"), 10**9),
            (Decimal("1E+2"), 10**12),
            (Decimal("-0"), 0),
            (Decimal("1E-10"), 1),
            (Decimal("0E-18"), 0),
        ],
    )
    def test_price(self, value: Any, scaled: int) -> None:
        assert parse_price(value) == scaled
        assert type(parse_price(value)) is int

    @pytest.mark.parametrize(
        ("value", "scaled"),
        [
            ("-1", -(10**18)),
            ("-0.000000000000000001", -1),
            ("-0", 0),
            ("-1e-18", -1),
            ("-.5", -5 * 10**17),
            ("100000000000000000000", MONEY_MAX),
            ("-100000000000000000000", -MONEY_MAX),
            ("-" + "0" * 63, 0),
            (-3, -3 * 10**18),
            (Decimal("-2.50"), -25 * 10**17),
        ],
    )
    def test_money(self, value: Any, scaled: int) -> None:
        assert parse_money(value) == scaled

    @pytest.mark.parametrize(
        ("value", "scaled"),
        [("1", RATIO_MAX), ("0.000000001", 1), (1, RATIO_MAX), ("5e-1", 5 * 10**8)],
    )
    def test_ratio(self, value: Any, scaled: int) -> None:
        assert parse_ratio(value) == scaled

    def test_quantity(self) -> None:
        assert parse_quantity("92233720368.54775807") == QUANTITY_MAX
        assert parse_quantity("0.00000001") == 1
        assert parse_quantity(200_000) == 200_000 * 10**8

    @each_unit
    def test_no_decimal_context_can_bend_a_value(self, unit: Unit) -> None:
        value = Decimal("0.12345678")
        with localcontext(Context(prec=1, Emax=1, Emin=-1, capitals=0)):
            assert unit.parse(value) == 12345678 * 10 ** (unit.digits - 8)
            assert unit.parse(Decimal("1E-5")) == 10 ** (unit.digits - 5)


class Leverage(IntEnum):
    """An int that is not an exact int."""

    ONE = 1


class OddText(str):
    """A str that is not an exact str."""

    __slots__ = ()


class OddDecimal(Decimal):
    """A Decimal that is not an exact Decimal."""


# value, what the reason says; none of these is a number in any unit
GARBAGE: list[tuple[object, str]] = [
    (True, "bool instead of str, Decimal or exact int"),
    (False, "bool instead of"),
    (1.0, "float instead of"),
    (float("nan"), "float instead of"),
    (None, "NoneType instead of"),
    (b"1", "bytes instead of"),
    (Fraction(1, 2), "Fraction instead of"),
    (["1"], "list instead of"),
    (1j, "complex instead of"),
    (Leverage.ONE, "Leverage instead of"),
    (OddText("1"), "OddText instead of"),
    (OddDecimal("1"), "OddDecimal instead of"),
    (Decimal("NaN"), "not finite"),
    (Decimal("-NaN123"), "not finite"),
    (Decimal("sNaN"), "not finite"),
    (Decimal("Infinity"), "not finite"),
    (Decimal("-Infinity"), "not finite"),
    ("NaN", "not finite"),
    ("snan", "not finite"),
    ("inf", "not finite"),
    ("-Infinity", "not finite"),
    ("", "empty"),
    (" ", "not a decimal number"),
    (" 1", "not a decimal number"),
    ("1 ", "not a decimal number"),
    ("1 000", "not a decimal number"),
    ("1\n", "not a decimal number"),
    ("\t1", "not a decimal number"),
    ("1\x00", "not a decimal number"),
    ("1_000", "not a decimal number"),
    ("1,5", "not a decimal number"),
    ("1.2.3", "not a decimal number"),
    ("--1", "not a decimal number"),
    ("-+1", "not a decimal number"),
    ("+", "not a decimal number"),
    ("-", "not a decimal number"),
    (".", "not a decimal number"),
    ("-.", "not a decimal number"),
    ("e5", "not a decimal number"),
    (".e5", "not a decimal number"),
    ("1e", "not a decimal number"),
    ("1e+", "not a decimal number"),
    ("1e1.5", "not a decimal number"),
    ("0x10", "not a decimal number"),
    ("$1", "not a decimal number"),
    ("\u0661", "not plain ASCII"),  # an Arabic-Indic 1, for which int() gives 1
    ("\uff11", "not plain ASCII"),  # a full-width 1
    ("1\u00b2", "not plain ASCII"),  # a superscript, for which isdigit() is true
    ("\u22121", "not plain ASCII"),  # a typographic minus
    ("1\u00a0000", "not plain ASCII"),
    ("\ud800", "not plain ASCII"),
    ("1e65", "exponent beyond 64"),
    ("1e400", "exponent beyond 64"),
    ("1e-400", "exponent beyond 64"),
    ("0e400", "exponent beyond 64"),
    ("1e999999999999999999", "exponent beyond 64"),
    (Decimal("1e400"), "exponent beyond 64"),
    (Decimal("1e-400"), "exponent beyond 64"),
    (Decimal("1e999999"), "exponent beyond 64"),
    ("0" * 65, "65 characters, at most 64 are read"),
    ("-" + "0" * 64, "65 characters"),
    ("1" * 10**6, "1000000 characters"),
    (Decimal("1." + "0" * 99), "101 characters"),
]

# unit, value, what the reason says: numbers, but not in this unit
NUMBERS: list[tuple[str, object, str]] = [
    ("price", "-1", "out of range"),
    ("price", "-0.0000000001", "out of range"),
    ("price", -1, "out of range"),
    ("price", "922337203.6854775808", "out of range"),
    ("price", 922337204, "out of range"),
    ("price", "1e64", "out of range"),
    ("price", 10**5000, "out of range"),
    ("price", "0.00000000001", "too many decimals"),
    ("price", "1.00000000001", "too many decimals"),
    ("price", "1e-11", "too many decimals"),
    ("price", "1e-64", "too many decimals"),
    ("price", Decimal("1E-11"), "too many decimals"),
    ("price", "-1e-11", "too many decimals"),
    ("quantity", "-1", "out of range"),
    ("quantity", "92233720368.54775808", "out of range"),
    ("quantity", "0.000000001", "too many decimals"),
    ("money", "100000000000000000000.000000000000000001", "out of range"),
    ("money", "-100000000000000000000.000000000000000001", "out of range"),
    ("money", 10**21, "out of range"),
    ("money", "0.0000000000000000001", "too many decimals"),
    ("money", "-0.0000000000000000001", "too many decimals"),
    ("ratio", "0", "out of range"),
    ("ratio", 0, "out of range"),
    ("ratio", "-0.5", "out of range"),
    ("ratio", "1.000000001", "out of range"),
    ("ratio", 2, "out of range"),
    ("ratio", "0.0000000001", "too many decimals"),
]


class TestRefused:
    @each_unit
    @pytest.mark.parametrize(("value", "reason"), GARBAGE, ids=brief)
    def test_garbage(self, unit: Unit, value: object, reason: str) -> None:
        error = refused(unit.parse, value)
        assert_names(error, unit.name, value, unit.limit)
        assert f"({reason}" in error.found
        assert "never a float" in error.action

    @pytest.mark.parametrize(("name", "value", "reason"), NUMBERS, ids=brief)
    def test_numbers_that_do_not_fit(self, name: str, value: object, reason: str) -> None:
        unit = next(unit for unit in UNITS if unit.name == name)
        error = refused(unit.parse, value)
        assert_names(error, name, value, unit.limit)
        assert error.found.endswith(f"({reason})")

    @each_unit
    def test_the_caller_names_the_field(self, unit: Unit) -> None:
        error = refused(unit.parse, None, field="stop_price")
        assert_names(error, "stop_price", None, unit.limit)

    @each_unit
    def test_a_long_value_is_cut_in_the_message(self, unit: Unit) -> None:
        assert len(refused(unit.parse, "\x1b" * 1000).found) < 80 + 60

    @each_unit
    @pytest.mark.parametrize(
        "value",
        ["1e999999999", "1e-999999999", Decimal("1e999999"), "9" * 10**6, "0." + "0" * 10**6],
        ids=brief,
    )
    def test_giants_are_refused_without_computing_them(self, unit: Unit, value: Any) -> None:
        start_ns = time.perf_counter_ns()
        refused(unit.parse, value)
        # Takes microseconds; 10**999999999 would take minutes, and the memory as well.
        assert time.perf_counter_ns() - start_ns < 500_000_000


def oracle(unit: Unit, text: str) -> int | None:
    """Give the scaled value of a text that Decimal reads, or None when it must be refused."""
    sign, figures, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)
    magnitude = Fraction(int("".join(map(str, figures)))) * Fraction(10) ** exponent
    scaled = (-magnitude if sign else magnitude) * 10**unit.digits
    if scaled.denominator != 1 or not unit.least <= scaled <= unit.most:
        return None
    return int(scaled)


# Short enough, with exponents small enough, that only decimals and range can refuse them.
number_texts = st.from_regex(
    r"[+-]?([0-9]{1,24}(\.[0-9]{0,24})?|\.[0-9]{1,24})([eE][+-]?[0-9]{1,2})?", fullmatch=True
).filter(lambda text: abs(int(text.lower().partition("e")[2] or "0")) <= 64)
near_numbers = st.text(alphabet="0123456789+-.eE_/: \n\u0661\u00b2nNaAiIfF,", max_size=70)


@each_unit
class TestParserProperties:
    @given(text=number_texts)
    def test_takes_exactly_what_fits(self, unit: Unit, text: str) -> None:
        scaled = oracle(unit, text)
        if scaled is None:
            assert_names(refused(unit.parse, text), unit.name, text, unit.limit)
        else:
            assert unit.parse(text) == scaled

    @given(value=st.decimals(allow_nan=False, allow_infinity=False, places=9))
    def test_a_decimal_and_its_text_are_the_same(self, unit: Unit, value: Decimal) -> None:
        scaled = oracle(unit, str(value))
        if scaled is None or len(str(value)) > 64:
            refused(unit.parse, value)
            refused(unit.parse, str(value))
        else:
            assert unit.parse(value) == unit.parse(str(value)) == scaled

    @given(value=st.integers())
    def test_an_int_is_whole_units(self, unit: Unit, value: int) -> None:
        if unit.least <= value * 10**unit.digits <= unit.most:
            assert unit.parse(value) == value * 10**unit.digits
        else:
            assert_names(refused(unit.parse, value), unit.name, value, unit.limit)

    @given(text=st.text() | near_numbers)
    def test_garbage_raises_nothing_but_unit_error(self, unit: Unit, text: str) -> None:
        try:
            scaled = unit.parse(text)
        except UnitError as error:
            assert_names(error, unit.name, text, unit.limit)
        else:
            assert text.isascii()
            assert scaled == oracle(unit, text)

    @given(value=st.from_type(type).flatmap(st.from_type) | st.binary() | st.floats())
    def test_any_object_is_taken_or_refused(self, unit: Unit, value: object) -> None:
        try:
            scaled = unit.parse(value)
        except UnitError as error:
            assert str(error).startswith(f"{unit.name} refused: expected ")
        else:
            assert type(value) in {str, int, Decimal}
            assert unit.least <= scaled <= unit.most


# Each compiled reader beside the strict parser of its unit, which is the reference.
PLAIN = [
    pytest.param(units.plain_price, units._PRICE, id="price"),
    pytest.param(units.plain_quantity, units._QUANTITY, id="quantity"),
    pytest.param(units.plain_money, units._MONEY, id="money"),
    pytest.param(units.plain_ratio, units._RATIO, id="ratio"),
]
each_plain = pytest.mark.parametrize(("read", "unit"), PLAIN)
plain_texts = st.from_regex(r"-?[0-9]{0,20}\.?[0-9]{0,20}", fullmatch=True)


@each_plain
class TestPlain:
    @given(value=number_texts | near_numbers | plain_texts | st.text() | st.integers() | st.none())
    def test_reads_as_the_strict_parser_or_not_at_all(
        self, read: Callable[[object], int | None], unit: Any, value: object
    ) -> None:
        found = read(value)
        if found == (None if read is units.plain_money else -1):
            return
        # What is within 63 bits, but beyond the unit's own limits, is the caller's to refuse.
        wide = replace(unit, least=-(10**38), most=10**38)
        assert type(found) is int
        assert units._parse(value, wide, "value") == found
        assert read is units.plain_money or 0 <= found < 2**63

    @given(whole=st.integers(0, 10**8 - 1), decimals=st.from_regex("[0-9]{8}", fullmatch=True))
    def test_leaves_no_text_of_a_frame_to_it(
        self, read: Callable[[object], int | None], unit: Any, whole: int, decimals: str
    ) -> None:
        expected = (whole * 10**8 + int(decimals)) * 10 ** (unit.digits - 8)
        assert read(f"{whole}.{decimals}") == expected

    @pytest.mark.parametrize(
        "value",
        [
            "", ".", "-", "-.", "+1", "--1", "1-", " 1", "1 ", "1_0", "1.2.3", "1e2", "1\0",
            "\0001", "\u0663", "1\u0663", "\u00b2", "\udc80", "0x1", "1,5", "NaN", "9" * 19,
            "0" * 19, "1." + "0" * 19, "9" * 10_000, "1:", "1/", OddText("1"), b"1", 1, 1.5,
            True, None, [], Decimal(1),
        ],
        ids=brief,
    )  # fmt: skip
    def test_leaves_to_it_what_is_odd(
        self, read: Callable[[object], int | None], unit: Any, value: object
    ) -> None:
        assert read(value) == (None if read is units.plain_money else -1)

    def test_the_range_ends_where_it_must(
        self, read: Callable[[object], int | None], unit: Any
    ) -> None:
        if read is units.plain_money:
            assert read("-1") == -(10**18)
            assert read("-0") == 0
            assert read("-.000000000000000001") == -1  # so a -1 cannot stand for "not plain"
            assert read("9" * 18) == (10**18 - 1) * 10**18
            return
        beyond = (2**63 - 1) // 10**unit.digits + 1
        assert read(str(beyond - 1)) == (beyond - 1) * 10**unit.digits
        assert read(str(beyond)) == -1
        assert read("-1") == -1


# -- FORMATTERS ---------------------------------------------------------------------------------


class TestFormat:
    @pytest.mark.parametrize(
        ("scaled", "text"),
        [
            (0, "0"),
            (1, "0.0000000001"),
            (10**10, "1"),
            (10**12, "100"),
            (125 * 10**9, "12.5"),
            (-(10**9), "-0.1"),
            (PRICE_MAX, "922337203.6854775807"),
        ],
    )
    def test_price(self, scaled: int, text: str) -> None:
        assert format_price(scaled) == text

    def test_quantity_and_ratio(self) -> None:
        assert format_quantity(150_000_000) == "1.5"
        assert format_quantity(QUANTITY_MAX) == "92233720368.54775807"
        assert format_ratio(RATIO_MAX) == "1"
        assert format_ratio(1) == "0.000000001"

    @pytest.mark.parametrize(
        ("scaled", "places", "text"),
        [
            (-(10**18), None, "-1"),
            (-1, None, "-0.000000000000000001"),
            (125 * 10**16, 2, "1.25"),
            (1245 * 10**15, 2, "1.24"),  # exactly half: to the even neighbour, down
            (1255 * 10**15, 2, "1.26"),  # and up
            (-1245 * 10**15, 2, "-1.24"),
            (-1255 * 10**15, 2, "-1.26"),
            (1245 * 10**15 + 1, 2, "1.25"),
            (5 * 10**17, 0, "0"),
            (15 * 10**17, 0, "2"),
            (-5 * 10**17, 0, "0"),
            (-(10**15), 2, "0.00"),  # never -0
            (-6 * 10**15, 2, "-0.01"),
            (10**18, 2, "1.00"),  # columns line up
            (1, 18, "0.000000000000000001"),
            (999999 * 10**12, 2, "1.00"),
        ],
    )
    def test_money(self, scaled: int, places: int | None, text: str) -> None:
        assert format_money(scaled, places) == text

    def test_sums_beyond_a_parser_can_still_be_shown(self) -> None:
        assert format_money(3 * MONEY_MAX) == "3" + "0" * 20

    @pytest.mark.parametrize("places", [-1, 19, True, 2.0, "2"])
    def test_refuses_odd_places(self, places: object) -> None:
        error = refused(format_money, 1, places)
        assert_names(error, "places", places, "an exact int from 0 to 18")

    @each_unit
    @pytest.mark.parametrize("scaled", [1.0, True, "1", None, Decimal(1), 10**5000], ids=brief)
    def test_refuses_what_is_not_a_scaled_int(self, unit: Unit, scaled: Any) -> None:
        error = refused(unit.format, scaled)
        assert_names(error, "scaled value", scaled, "an exact int of at most 256 bits")

    def test_refuses_it_with_places_too(self) -> None:
        error = refused(format_money, 1.5, 2)
        assert_names(error, "scaled value", 1.5, "an exact int of at most 256 bits")

    @each_unit
    @given(data=st.data())
    def test_round_trip(self, unit: Unit, data: st.DataObject) -> None:
        scaled = data.draw(st.integers(unit.least, unit.most))
        text = unit.format(scaled)
        assert unit.parse(text) == scaled
        assert unit.parse(Decimal(text)) == scaled

    @each_unit
    @given(scaled=st.integers(-(2**255), 2**255))
    def test_is_exact_trimmed_and_plain(self, unit: Unit, scaled: int) -> None:
        text = unit.format(scaled)
        assert Fraction(text) * 10**unit.digits == scaled
        assert set(text) <= set("-0123456789.")
        assert not text.endswith(".")
        assert "." not in text or not text.endswith("0")
        assert text != "-0"

    @given(scaled=st.integers(-(10**40), 10**40), places=st.integers(0, 18))
    def test_places_round_half_even(self, scaled: int, places: int) -> None:
        text = format_money(scaled, places)
        assert Fraction(text) == round(Fraction(scaled, 10**18), places)
        assert len(text.partition(".")[2]) == places
        assert not text.startswith("-") or Fraction(text) != 0


# -- ARITHMETIC ---------------------------------------------------------------------------------

prices = st.integers(0, PRICE_MAX)
quantities = st.integers(0, QUANTITY_MAX)


class TestMoneyOf:
    def test_is_the_notional(self) -> None:
        money = money_of(parse_price("0.58321"), parse_quantity("200000"))
        assert format_money(money) == "116642"

    def test_a_price_difference_may_be_negative(self) -> None:
        assert money_of(-1, 1) == money_of(1, -1) == -1

    @given(price=prices, quantity=quantities)
    def test_is_exact_and_always_fits(self, price: int, quantity: int) -> None:
        money = money_of(price, quantity)
        assert Fraction(money, 10**18) == Fraction(price, 10**10) * Fraction(quantity, 10**8)
        assert money <= MONEY_MAX

    @pytest.mark.parametrize("value", [1.0, True, "1", None, Decimal(1), 2**63, -(2**63)])
    def test_refuses_what_is_not_an_exact_int_in_range(self, value: Any) -> None:
        limit = "an exact int from -9223372036854775807 to 9223372036854775807"
        assert_names(refused(money_of, value, 1), "price_e10", value, limit)
        assert_names(refused(money_of, 1, value), "quantity_e8", value, limit)


class TestFloorToStep:
    @pytest.mark.parametrize(
        ("quantity", "step", "floor"),
        [(0, 1, 0), (53, 1, 53), (53, 2, 52), (53, 54, 0), (54, 54, 54)],
    )
    def test_table(self, quantity: int, step: int, floor: int) -> None:
        assert floor_to_step(quantity, step) == floor

    @given(quantity=quantities, step=st.integers(1, QUANTITY_MAX))
    def test_is_the_multiple_just_below(self, quantity: int, step: int) -> None:
        floor = floor_to_step(quantity, step)
        assert floor % step == 0
        assert 0 <= quantity - floor < step
        assert floor >= 0

    @pytest.mark.parametrize("step", [0, -1, True, 1.0, 2**63])
    def test_refuses_a_bad_step(self, step: Any) -> None:
        limit = "an exact int from 1 to 9223372036854775807"
        assert_names(refused(floor_to_step, 1, step), "step_e8", step, limit)

    @pytest.mark.parametrize("quantity", [-1, True, 1.0, 2**63])
    def test_refuses_a_bad_quantity(self, quantity: Any) -> None:
        limit = "an exact int from 0 to 9223372036854775807"
        assert_names(refused(floor_to_step, quantity, 1), "quantity_e8", quantity, limit)


# -- CONVICTION ---------------------------------------------------------------------------------


class TestExchangeLeverage:
    def test_the_rule_has_its_name(self) -> None:
        assert CONVICTION_RULE == "round_half_even_linear_0.5_to_9.0_to_1_to_exchange_cap"

    @pytest.mark.parametrize(
        ("conviction", "leverage"),
        [
            ("0.5", 1),
            ("2.625", 2),  # x = 1.5
            ("2.6249999999999999999999999999", 1),
            ("4.75", 2),
            ("6.875", 2),  # x = 2.5
            ("6.8750000000000000000000000001", 3),
            ("9", 3),
            ("9.0", 3),
            ("0", 1),
            ("-7", 1),
            ("1e-64", 1),
            ("1e64", 3),
            (9, 3),
            (0, 1),
            (10**5000, 3),
            (Decimal("2.625"), 2),
            (Decimal("1E+1"), 3),
        ],
        ids=brief,
    )
    def test_with_the_default_cap(self, conviction: Any, leverage: int) -> None:
        assert exchange_leverage(conviction) == leverage
        assert type(exchange_leverage(conviction)) is int

    @given(
        conviction=st.decimals(-2, 12, places=6) | st.sampled_from(["2.625", "6.875"]),
        cap=st.integers(1, 125),
    )
    def test_is_the_rounded_line(self, conviction: Decimal | str, cap: int) -> None:
        clamped = min(max(Fraction(conviction), Fraction(1, 2)), Fraction(9))
        line = 1 + (clamped - Fraction(1, 2)) / Fraction(17, 2) * (cap - 1)
        assert exchange_leverage(conviction, cap) == round(line)
        assert 1 <= exchange_leverage(conviction, cap) <= cap

    @given(halves=st.integers(1, 124), cap=st.integers(2, 125))
    def test_exact_halves_go_to_even(self, halves: int, cap: int) -> None:
        # The conviction at which x is exactly halves + 0.5, where it can be written at all.
        conviction = Fraction(1, 2) + Fraction(17, 2) * (halves - Fraction(1, 2)) / (cap - 1)
        text = str(Decimal(conviction.numerator) / Decimal(conviction.denominator))
        if halves < cap and Fraction(text) == conviction:
            assert exchange_leverage(text, cap) == (halves if halves % 2 == 0 else halves + 1)

    @given(low=st.decimals(0, 10, places=4), high=st.decimals(0, 10, places=4))
    def test_more_conviction_is_never_less_leverage(self, low: Decimal, high: Decimal) -> None:
        low, high = sorted((low, high))
        assert exchange_leverage(low, 20) <= exchange_leverage(high, 20)

    def test_a_cap_of_one_is_no_leverage(self) -> None:
        assert {exchange_leverage(str(c), 1) for c in range(12)} == {1}
        assert exchange_leverage("9", 125) == 125

    @pytest.mark.parametrize(("value", "reason"), GARBAGE, ids=brief)
    def test_refuses_garbage_instead_of_clamping_it(self, value: Any, reason: str) -> None:
        error = refused(exchange_leverage, value)
        assert_names(error, "conviction", value, "clamped to 0.5 to 9.0")
        assert f"({reason}" in error.found

    @pytest.mark.parametrize("cap", [0, -1, 126, True, 3.0, "3", None, Decimal(3), Leverage.ONE])
    def test_refuses_a_bad_cap(self, cap: Any) -> None:
        error = refused(exchange_leverage, "1", cap)
        assert_names(error, "cap", cap, "an exact int from 1 to 125")


# -- EXPORTS ------------------------------------------------------------------------------------


def test_exports_are_the_public_names() -> None:
    foreign = {
        "UnitError",
        "Decimal",
        "Final",
        "TypeAlias",
        "annotations",
        "dataclass",
        "re",
        "shown",
    }
    public = {name for name in vars(units) if not name.startswith("_")} - foreign
    assert set(units.__all__) == public
