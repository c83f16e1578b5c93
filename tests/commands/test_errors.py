"""The error tree, its exit codes and its one line of text are contracts; these tests hold them.

They know nothing of who raises what.
"""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from dita import errors
from dita.errors import (
    AlreadyRunning,
    DitaError,
    ExitCode,
    JournalFault,
    KernelFault,
    NotRunning,
    OperatorError,
    RefusedForSafety,
    SettingsError,
    Unanswered,
    Unforeseen,
    UnitError,
    UsageError,
    VenueError,
    one_line,
    shown,
)

# class, its bases, its exit code: in the order of the drawing at the top of the module
TREE: list[tuple[type[DitaError], tuple[type, ...], ExitCode]] = [
    (DitaError, (Exception,), ExitCode.INVARIANT),
    (VenueError, (DitaError,), ExitCode.VENUE),
    (OperatorError, (DitaError,), ExitCode.USAGE),
    (UsageError, (OperatorError,), ExitCode.USAGE),
    (UnitError, (OperatorError, ValueError), ExitCode.USAGE),
    (SettingsError, (OperatorError,), ExitCode.SETTINGS),
    (RefusedForSafety, (OperatorError,), ExitCode.REFUSED),
    (NotRunning, (OperatorError,), ExitCode.NOT_RUNNING),
    (Unanswered, (OperatorError, TimeoutError), ExitCode.STALE),
    (AlreadyRunning, (OperatorError,), ExitCode.ALREADY_RUNNING),
    (Unforeseen, (DitaError,), ExitCode.UNFORESEEN),
    (KernelFault, (DitaError,), ExitCode.INVARIANT),
    (JournalFault, (KernelFault,), ExitCode.JOURNAL),
]

EXIT_CODES = {
    "DONE": 0,
    "DIFFERENCE": 1,
    "USAGE": 2,
    "NOT_RUNNING": 3,
    "STALE": 4,
    "REFUSED": 5,
    "VENUE": 6,
    "SERVE_USAGE": 64,
    "INVARIANT": 70,
    "UNFORESEEN": 71,
    "JOURNAL": 74,
    "ALREADY_RUNNING": 75,
    "SETTINGS": 78,
    "INTERRUPTED": 130,
    "PIPE": 141,
}


class TestTree:
    def test_is_exactly_this(self) -> None:
        assert [(kind, kind.__bases__, kind.exit_code) for kind, _, _ in TREE] == TREE

    def test_has_no_class_outside_the_table(self) -> None:
        defined = {
            value
            for value in vars(errors).values()
            if inspect.isclass(value) and issubclass(value, BaseException)
        }
        border = {errors.BadField}  # turned into a refusal, never raised to an operator
        assert defined - border == {kind for kind, _, _ in TREE}

    def test_is_drawn_at_the_top_of_the_module(self) -> None:
        drawing = (errors.__doc__ or "").splitlines()
        rows = [line.split("+-- ")[-1].split()[0] for line in drawing if "+-- " in line]
        assert rows == [kind.__name__ for kind, _, _ in TREE[1:]]
        for (kind, _, _), line in zip(
            TREE[1:], (line for line in drawing if "+-- " in line), strict=True
        ):
            depth = line.index("+-- ") // 4
            ours = [base for base in kind.__mro__ if issubclass(base, DitaError)]
            assert depth == len(ours) - 1, kind

    def test_every_class_says_what_it_means(self) -> None:
        assert all("__doc__" in vars(kind) and kind.__doc__ for kind, _, _ in TREE)

    def test_a_value_error_handler_sees_a_unit_error(self) -> None:
        with pytest.raises(ValueError, match="price refused"):
            raise UnitError("price refused")


class TestExitCode:
    def test_numbers_are_a_contract(self) -> None:
        assert {code.name: code.value for code in ExitCode} == EXIT_CODES

    @pytest.mark.parametrize("code", ExitCode)
    def test_has_a_meaning_of_one_line(self, code: ExitCode) -> None:
        assert code.meaning
        assert code.meaning.isprintable()
        assert ExitCode(int(code)) is code

    def test_meanings_differ(self) -> None:
        assert len({code.meaning for code in ExitCode}) == len(ExitCode)

    def test_is_an_int_for_sys_exit(self) -> None:
        assert isinstance(ExitCode.JOURNAL, int)
        assert pickle.loads(pickle.dumps(ExitCode.JOURNAL)) is ExitCode.JOURNAL

    def test_codes_that_no_error_carries_are_outcomes(self) -> None:
        carried = {code for _, _, code in TREE}
        outcomes = {ExitCode.DONE, ExitCode.DIFFERENCE, ExitCode.SERVE_USAGE}
        outcomes |= {ExitCode.INTERRUPTED, ExitCode.PIPE}
        assert set(ExitCode) - carried == outcomes


class TestText:
    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (DitaError("it broke"), "it broke"),
            (DitaError("it broke", expected="a"), "it broke: expected a"),
            (DitaError("it broke", found="b"), "it broke: found b"),
            (DitaError("it broke", action="c"), "it broke: do: c"),
            (
                DitaError("it broke", expected="a", found="b", action="c"),
                "it broke: expected a; found b; do: c",
            ),
            (DitaError("", found="b"), "found b"),
        ],
    )
    def test_leaves_out_what_is_empty(self, error: DitaError, text: str) -> None:
        assert str(error) == text

    def test_is_one_line_whatever_the_venue_said(self) -> None:
        error = VenueError("order refused", found="line\nline\x1b[31mred\u202e\ud800")
        assert str(error) == r"order refused: found line\nline\x1b[31mred\u202e\ud800"
        assert error.found == "line\nline\x1b[31mred\u202e\ud800"  # kept as it was

    def test_parts_are_keywords(self) -> None:
        with pytest.raises(TypeError):
            DitaError("it broke", "a")  # type: ignore[call-arg]

    @pytest.mark.parametrize("kind", [kind for kind, _, _ in TREE])
    def test_survives_pickle_and_copy(self, kind: type[DitaError]) -> None:
        error = kind("it broke", expected="a", found="b", action="c")
        for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
            assert type(twin) is kind
            assert vars(twin) == vars(error)
            assert str(twin) == str(error) == "it broke: expected a; found b; do: c"


class BadRepr:
    """A foreign object at its worst."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr today")


class LongRepr:
    """A foreign object with a lot to say, on several lines."""

    def __repr__(self) -> str:
        return "row\n" * 1000


class TestShown:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("1.5", "'1.5'"),
            ("a\nb\x00\x1b", r"'a\nb\x00\x1b'"),
            ("\uff11", r"'\uff11'"),  # a full-width 1 looks like a 1
            ("\ud800", r"'\ud800'"),
            (None, "None"),
            (True, "True"),
            (1.5, "1.5"),
            (b"\xff", r"b'\xff'"),
            (10**5000, "an int of 16610 bits"),
            (BadRepr(), "a BadRepr whose repr fails"),
            ([10**5000], "a list whose repr fails"),
        ],
        ids=range(11),  # pytest itself cannot print an int of 5000 digits
    )
    def test_gives_one_safe_line(self, value: object, text: str) -> None:
        assert shown(value) == text

    @pytest.mark.parametrize("value", ["x" * 10**6, "\x00" * 79, LongRepr(), list(range(99))])
    def test_cuts_what_is_long(self, value: object) -> None:
        text = shown(value)
        assert len(text) == 80
        assert text.endswith("...")
        assert text.isprintable()
        assert len(shown(value, 20)) == 20

    def test_keeps_what_just_fits(self) -> None:
        assert shown("x" * 78) == repr("x" * 78)

    def test_one_line_leaves_readable_text_alone(self) -> None:
        assert one_line("größer 😀 [b]") == "größer 😀 [b]"


class TestBadField:
    def test_says_what_was_found_and_expected(self) -> None:
        bad = errors.BadField("quantity_e8", 1.5, "an exact int")
        assert str(bad) == "quantity_e8 refused: expected an exact int; found 1.5"
        assert (bad.field, bad.found, bad.expected) == bad.args
