"""The FET short of 2026-06-11, replayed: exact figures, the old defects to the digit, the display.

The expected numbers are those of the incident report (accounting fix §0 and §7), or follow from its
fills by hand.
"""

from __future__ import annotations

import importlib
import itertools
import json
import re
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from typer.testing import Result

from dita.contracts import KernelIntent, OrderRole, TradeSide, TradeStage, VenueEvent
from dita.errors import ExitCode, UsageError
from dita.golden import check, load
from dita.incident import defects, replay
from dita.incident.defects import Defect, Fill
from dita.incident.replay import Story
from dita.units import format_money, parse_money, parse_price, parse_quantity

ROOT = Path(__file__).parent.parent.parent
TRADES = ROOT / "configs" / "trades"
Cli = Callable[..., Result]

# By string, because dita.commands has no folder of that name for a type checker to find.
view: Any = importlib.import_module("dita.commands.show.replay_tables")
chart: Any = importlib.import_module("dita.commands.show.replay_svg")
command: Any = importlib.import_module("dita.commands.replay")

both = pytest.mark.parametrize("variant", ["clean", "poisoned"])


def told(variant: str = "clean") -> Story:
    """The story of the FET trade."""
    return replay.tell(replay.recorded("FET", variant))


def texts(amounts: Any) -> list[str]:
    """Amounts as exact texts."""
    return [format_money(amount) for amount in amounts]


# -- THE TRADE ----------------------------------------------------------------------------------


def test_clean_prices_realize_the_true_profit() -> None:
    """(0.1878 − 0.1866) × 202,276 = 242.7312, in legs of 31.2084 and 211.5228."""
    story = told()
    booked = [row.booked for row in story.rows if row.booked]
    assert texts(booked) == ["31.2084", "211.5228"]
    assert format_money(story.last.realized) == "242.7312"
    assert story.last.pnl_source == "kernel_estimate" and not story.failures
    # 0.05 % of 202,276 × (0.1878 + 0.1866)
    assert format_money(story.last.fees) == "37.8660672"
    assert format_money(story.net) == "204.8651328"


def test_poisoned_prices_book_nothing_until_the_exchange_settles() -> None:
    """0.229 arrives as 0: both exit fills book 0 and are flagged; then realized is +164."""
    story = told("poisoned")
    fills = [row for row in story.rows if row.kind.endswith("_FILL") and row.notes]
    assert [row.booked for row in fills] == [0, 0]
    assert all("REALIZED_SKIPPED_NO_PRICE" in row.notes for row in fills)
    assert texts(row.booked for row in story.rows if row.booked) == ["164"]
    assert format_money(story.last.realized) == "164"
    assert story.last.pnl_source == "exchange" and not story.failures
    assert story.drift == 0


@both
def test_trade_goes_through_its_states_and_survives_the_restart(variant: str) -> None:
    """Before and after are a chain, the restart books nothing, capital ends as the wallet."""
    rows = told(variant).rows
    assert all(b.before is a.after for a, b in itertools.pairwise(rows))
    passed = list(dict.fromkeys(row.after.name for row in rows))
    assert passed == ["IDLE", "ENTRY_WORKING", "POSITION_OPEN", "EXIT_WORKING", "CLOSED"]
    assert rows[-1].after is TradeStage.IDLE
    (restart,) = (n for n, row in enumerate(rows) if row.kind == "restart")
    assert rows[restart].booked == 0 and rows[restart].capital == rows[restart - 1].capital
    assert format_money(rows[-1].capital) == "100164"
    assert sum(row.booked for row in rows) == rows[-1].realized


@both
def test_recording_is_a_golden_case_of_its_own(variant: str) -> None:
    """Every figure that the file expects is met."""
    result = check(load(TRADES / f"fet.{variant}.toml"))
    assert result.passed, result.failures


def test_what_is_known_agrees_with_the_recorded_steps() -> None:
    """fet.toml repeats the fills for the emulation: the same quantities, prices, side, leverage."""
    recording = replay.recorded("FET")
    incident = recording.incident
    assert incident is not None
    records = [step.record for step in recording.run.steps]
    (enter,) = (r for r in records if isinstance(r, KernelIntent) and r.command.name == "ENTER")
    assert (enter.side, enter.leverage) == (incident.side, incident.leverage)
    fills = [r for r in records if isinstance(r, VenueEvent) and r.kind.name.endswith("_FILL")]
    levels = [0, *(fill.quantity_e8 for fill in fills)]
    levels[3:3] = [0]  # the exit order counts from 0 again
    steps = [b - a for a, b in itertools.pairwise(levels) if b]
    assert steps == [fill.quantity_e8 for fill in incident.fills]
    assert [fill.price_e10 for fill in fills] == [fill.price_e10 for fill in incident.fills]
    kinds = [step.label for step in recording.run.steps]
    before_restart = kinds[: kinds.index("restart")]
    assert sum(kind.endswith("_FILL") for kind in before_restart) == 3
    assert [fill.after_restart for fill in incident.fills] == [False, False, False, True]


# -- THE DEFECTIVE SYSTEM -----------------------------------------------------------------------


def test_first_leg_as_booked_to_the_digit() -> None:
    """26,007 × (0.229 − 0.1878) × 3 against a short is −3,214.4652: emulated, and as recorded."""
    story = told()
    incident = story.recording.incident
    assert incident is not None and incident.first_leg == parse_money("-3214.4652")
    bookings = defects.book(incident.side, incident.leverage, incident.fills, defects.ALL)
    by_hand = -26_007 * (Decimal("0.229") - Decimal("0.1878")) * 3
    assert Decimal(format_money(bookings[0].amount)) == by_hand == Decimal("-3214.4652")
    assert texts(b.amount for b in bookings) == ["-3214.4652", "-3214.4652", "634.5684"]
    assert [b.fill for b in bookings] == [2, None, 3]


def test_without_its_defects_the_emulation_is_the_kernel() -> None:
    """The two agree on the true figure, or neither could be believed about the wrong one."""
    story = told()
    incident = story.recording.incident
    assert incident is not None
    true = defects.book(incident.side, incident.leverage, incident.fills, defects.NONE)
    assert [b.amount for b in true] == [row.booked for row in story.rows if row.booked]
    assert story.true_total == story.last.realized == parse_money("242.7312")


def test_each_defect_alone_and_on_top_of_the_others() -> None:
    """Every line is exact, and the lines add up to what was booked."""
    falls = told().falls
    assert [fall.defect for fall in falls] == list(Defect)
    assert texts(fall.alone for fall in falls) == ["-1102.6968", "485.4624", "31.2084"]
    assert texts(f.change for f in falls) == ["-1102.6968", "-1719.9312", "-3214.4652"]
    assert texts(fall.total for fall in falls) == ["-859.9656", "-2579.8968", "-5794.362"]
    story = told()
    assert story.unexplained is not None and format_money(story.unexplained) == "-196.538"
    total = story.true_total + sum(fall.change for fall in falls) + story.unexplained
    assert total == parse_money("-5990.90")


def test_order_of_the_defects_does_not_change_their_sum() -> None:
    """All three together are the same, whichever is switched on first."""
    fills = (
        Fill(role=OrderRole.ENTRY, quantity_e8=parse_quantity("100"), price_e10=parse_price("10")),
        Fill(
            role=OrderRole.EXIT,
            quantity_e8=parse_quantity("40"),
            price_e10=parse_price("11"),
            bound_e10=parse_price("8"),
        ),
        Fill(
            role=OrderRole.EXIT,
            quantity_e8=parse_quantity("60"),
            price_e10=parse_price("12"),
            after_restart=True,
        ),
    )
    falls = defects.waterfall(TradeSide.LONG, 2, fills)
    # true 40 + 120; bound −80 + 120; twice −160 + 240; the −160 once more
    assert texts(fall.total for fall in falls) == ["40", "80", "-80"]
    assert texts(fall.alone for fall in falls) == ["-120", "160", "40"]


def test_old_defects_fail_on_this_kernel() -> None:
    """No price, any leverage, a restart after every step: the money stays right."""
    checks = told().checks
    assert [each.defect for each in checks] == list(Defect)
    assert all(each.passed for each in checks)


def test_path_of_the_defective_system_meets_the_steps() -> None:
    """It loses at the first exit fill, loses it again at the restart, and wins a little after."""
    story = told()
    moves = {
        row.event: format_money(after - before)
        for row, before, after in zip(story.rows, (0, *story.path), story.path, strict=False)
        if after != before
    }
    assert moves == {
        "exit fill 26,007": "-3214.4652",
        "kernel restarted": "-3214.4652",
        "exit fill 176,269": "634.5684",
    }


# -- THE COMMAND --------------------------------------------------------------------------------


def test_first_line_is_the_figure_that_matters(cli: Cli) -> None:
    """Before anything else: what was realized, and what the exchange says."""
    shown = cli("replay", "--trade", "FET")
    assert shown.exit_code == ExitCode.DONE, shown.stderr
    first, second, *_ = shown.stdout.splitlines()
    assert first == "FET-USDT short: realized +242.7312 USDT (exchange about +164.00 net)"
    assert "-5,990.90" in second
    assert "--explain" in shown.stderr and "--variant poisoned" in shown.stderr
    assert "never explained" in shown.stdout and "-3,214.4652" in shown.stdout


def test_poisoned_is_shown_with_its_warnings(cli: Cli) -> None:
    """The settlement is named for what it is, and each price-less fill is pointed at."""
    shown = cli("replay", "--variant", "poisoned").stdout
    first = shown.splitlines()[0]
    assert first == "FET-USDT short: realized +164.0000 USDT, as the exchange settled it (injected)"
    assert shown.count("REALIZED_SKIPPED_NO_PRICE") == 2 and "REALIZED_SETTLED" in shown


def test_explain_says_why_it_cannot_happen_here(cli: Cli) -> None:
    """Three defects, each with its figure, its reason and a trial."""
    shown = cli("replay", "--explain").stdout
    for words in ("-1,719.9312", "-5,794.3620", "-196.5380", "leverage is no term", "baseline"):
        assert words in shown
    assert shown.count(": holds") == 3 and "FAILS" not in shown


def test_json_has_stable_keys_and_exact_strings(cli: Cli) -> None:
    """Money is text with every digit; the explanation is always in it."""
    shown = json.loads(cli("replay", "--json").stdout)
    assert list(shown) == [
        "schema_version", "trade", "variant", "variants", "asset", "side", "realized", "fees",
        "net", "pnl_source", "capital", "capital_source", "wallet", "drift", "drift_by_cause",
        "state_hash", "as_recorded", "failures", "recorded", "steps", "books", "explain", "facts",
    ]  # fmt: skip
    assert list(shown["steps"][0]) == [
        "number", "at_ms", "event", "kind", "before", "after", "size", "basis", "leg_pnl",
        "total_pnl", "fees", "capital", "capital_source", "pnl_source", "refused", "notes",
    ]  # fmt: skip
    assert shown["realized"] == "242.7312" and shown["fees"] == "37.8660672"
    assert shown["variants"] == ["clean", "poisoned"] and shown["as_recorded"] is True
    assert shown["recorded"]["first_leg"] == "-3214.4652"
    assert shown["books"][0]["defective"] == {"amount": "-3214.4652", "kind": "emulated, recorded"}
    explain = shown["explain"]
    moved = sum(Decimal(each["change"]) for each in explain["defects"])
    assert Decimal(explain["true"]) + moved == Decimal(explain["emulated"])
    end = Decimal(explain["emulated"]) + Decimal(explain["never_explained"])
    assert end == Decimal(shown["recorded"]["total"])
    assert all(each["holds"] for each in explain["tried"])


def test_same_recording_gives_the_same_state_hash(cli: Cli) -> None:
    """A replay is deterministic, whichever way it is asked for."""
    first = json.loads(cli("replay", "--json").stdout)["state_hash"]
    again = cli("replay", "--json", "--file", str(TRADES / "fet.clean.toml")).stdout
    assert json.loads(again)["state_hash"] == first


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--trade", "BTC"], "FET (FET-USDT)"),
        (["--variant", "other"], "clean, poisoned"),
        (["--file", "/no/such/file.toml"], "/no/such/file.toml"),
        (["--speed", "0"], "--speed"),
        (["--speed", "2", "--json"], "--speed"),
        (["--svg", "/no/such/folder/a.svg"], "/no/such/folder/a.svg"),
    ],
)
def test_mistakes_are_usage_errors(cli: Cli, arguments: list[str], words: str) -> None:
    """One line that says what would be right; on stdout nothing, or the error as an object."""
    shown = cli("replay", *arguments)
    assert shown.exit_code == ExitCode.USAGE
    assert words in shown.stderr and shown.stderr.count("\n") == 1
    if "--json" in arguments:
        assert words in json.loads(shown.stdout)["error"]["what"]
    else:
        assert shown.stdout == ""


@pytest.mark.parametrize("symbol", ["FET", "fet", "FET-USDT", "fetusdt"])
def test_trade_is_found_by_any_of_its_names(symbol: str) -> None:
    """A hyphen or capitals make no difference."""
    assert replay.recorded(symbol).name == "fet"


def test_own_recording_is_played_and_compared_with_what_lies_beside_it(
    cli: Cli, tmp_path: Path
) -> None:
    """Alone: the steps only.  With NAME.toml beside NAME.VARIANT.toml: the books too."""
    mine = Path(shutil.copy(TRADES / "fet.clean.toml", tmp_path / "mine.clean.toml"))
    alone = cli("replay", "--explain", "--file", str(mine))
    assert "+242.7312" in alone.stdout and "three books" not in alone.stdout
    assert "nothing to explain" in alone.stderr
    shutil.copy(TRADES / "fet.toml", tmp_path / "mine.toml")
    assert "three books" in cli("replay", "--file", str(mine)).stdout
    (tmp_path / "mine.toml").write_text("asset = 1\n", encoding="utf-8")
    refused = cli("replay", "--file", str(mine))
    assert refused.exit_code == ExitCode.USAGE and "mine.toml" in refused.stderr


def test_figure_that_is_not_as_recorded_ends_with_1(cli: Cli, tmp_path: Path) -> None:
    """The difference is named, and a script sees it."""
    text = (TRADES / "fet.clean.toml").read_text(encoding="utf-8")
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace('realized = "242.7312"', 'realized = "242.7311"'), "utf-8")
    shown = cli("replay", "--file", str(mine))
    assert shown.exit_code == ExitCode.DIFFERENCE
    assert "NOT AS RECORDED" in shown.stdout and "242.7311" in shown.stdout


def test_recording_without_a_trade_is_refused(tmp_path: Path) -> None:
    """Balances alone tell no story."""
    mine = tmp_path / "mine.toml"
    mine.write_text(
        'title = "t"\nsource = "s"\nabout = "a"\n[[step]]\n'
        'event = { kind = "ACCOUNT_UPDATE", asset = "USDT", amount = "1" }\n',
        encoding="utf-8",
    )
    with pytest.raises(UsageError, match="no trade to tell of"):
        replay.tell(replay.opened(mine))


# -- HOW IT LOOKS -------------------------------------------------------------------------------


def lines_at(width: int, capsys: pytest.CaptureFixture[str], variant: str) -> list[str]:
    """What a terminal of that width shows."""
    view.show(told(variant), explain=True, width=width)
    return capsys.readouterr().out.splitlines()


@both
@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_every_row_is_one_line_and_no_number_is_cut(
    capsys: pytest.CaptureFixture[str], variant: str, width: int
) -> None:
    """A tired operator must not have to put a number together."""
    lines = lines_at(width, capsys, variant)
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    story = told(variant)
    for row in story.rows:
        (shown,) = (
            line for line in lines if line.startswith(view.clock(row.at_ms)) and row.event in line
        )
        assert view.money(row.capital, signed=False) in shown
        assert not row.booked or view.money(row.booked) in shown
    books = lines[lines.index("One trade in three books") :]
    for line in story.lines:
        shown = next(each for each in books if each.startswith(line.label))
        assert line.kernel is None or view.money(line.kernel.amount) in shown
    for fall in story.falls:
        assert any(
            view.money(fall.change) in line and view.money(fall.total) in line for line in lines
        )


def test_wide_terminals_show_every_column(capsys: pytest.CaptureFixture[str]) -> None:
    """At 140 columns: states, basis and both provenances; at 80 the end state and capital."""
    wide = "\n".join(lines_at(140, capsys, "clean"))
    for words in ("ENTRY_WORKING→POSITION_OPEN", "0.1878", "k_bridged", "kernel_estimate"):
        assert words in wide
    narrow = "\n".join(lines_at(80, capsys, "clean"))
    assert "100,204.8651 K" in narrow and "EXIT_WORKING" in narrow and view.BRIDGED in narrow


def test_narrow_terminals_lose_words_but_never_digits(capsys: pytest.CaptureFixture[str]) -> None:
    """Below 80 columns names are cut, and every figure still stands whole in its row."""
    text = "\n".join(lines_at(60, capsys, "clean"))
    assert "…" in text
    assert re.search(r"\+211\.5228 +100,204\.8651 K", text)
    assert re.search(r"-3,214\.4652 er +\+31\.2084 c", text)
    assert re.search(r"\+485\.4624 +-1,719\.9312 +-2,579\.8968", text)


def test_money_reads_well() -> None:
    """A sign, thousands, four places; zero has no sign."""
    shown = [view.money(parse_money(text)) for text in ("242.7312", "-5990.9", "0", "0.00001")]
    assert shown == ["+242.7312", "-5,990.9000", "0.0000", "+0.0000"]
    assert view.money(parse_money("100164"), signed=False, places=0) == "100,164"


def test_steps_are_paced_as_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """--speed X waits the recorded time between two steps, divided by X."""
    waited: list[float] = []

    class Never:
        def wait(self, seconds: float) -> None:
            waited.append(seconds)

    monkeypatch.setattr("threading.Event", Never)
    pace = command._pace(10.0)
    for row in told().rows:
        pace(row)
    assert waited[:3] == [0, 0.5, 0.02] and sum(waited) == pytest.approx(20.06)


def test_ctrl_c_stops_a_paced_replay(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was shown stays, one line says that nothing happened, and the code is the shell's."""

    class Interrupted:
        def wait(self, seconds: float) -> None:
            if seconds:
                raise KeyboardInterrupt

    monkeypatch.setattr("threading.Event", Interrupted)
    shown = cli("replay", "--speed", "1")
    assert shown.exit_code == 130 and "nothing to undo" in shown.stderr
    assert "wallet, before" in shown.stdout and "enter short" not in shown.stdout


# -- THE PICTURE --------------------------------------------------------------------------------


@both
def test_picture_is_one_self_contained_file_with_the_figures(
    cli: Cli, tmp_path: Path, variant: str
) -> None:
    """Well-formed, nothing fetched from anywhere, the figures as text, everything on the page."""
    file = tmp_path / "fet.svg"
    shown = cli("replay", "--variant", variant, "--svg", str(file))
    assert shown.exit_code == ExitCode.DONE and str(file) in shown.stderr
    text = file.read_text(encoding="utf-8")
    assert not re.search(r"href|url\(|@import|<script|<style", text)
    assert re.findall(r"https?://[^\"' ]+", text) == ["http://www.w3.org/2000/svg"]
    root = ElementTree.fromstring(text)
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    story = told(variant)
    for amount in (story.last.realized, *(fall.total for fall in story.falls)):
        assert view.money(amount) in words
    assert "-5,990.90" in words and "-3,214.4652" in words and "100,164.0000" in words
    assert sum(element.tag.endswith("path") for element in root.iter()) == 4
    wide, high = (int(root.attrib[name]) for name in ("width", "height"))
    for element in root.iter("{http://www.w3.org/2000/svg}text"):
        assert 0 <= float(element.attrib["x"]) <= wide
        assert 0 <= float(element.attrib["y"]) <= high


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        ("0", "242.7312", ["0", "100", "200", "300"]),
        ("0", "0", ["0", "1"]),
        ("-3", "-1", ["-3", "-2", "-1"]),
        ("93571", "100204", ["92000", "94000", "96000", "98000", "100000", "102000"]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low: str, high: str, expected: list[str]) -> None:
    """Few, evenly spaced, from below the lowest to above the highest."""
    ticks = chart._ticks(parse_money(low), parse_money(high))
    assert ticks[0] <= parse_money(low) and ticks[-1] >= parse_money(high)
    assert len({b - a for a, b in itertools.pairwise(ticks)}) == 1
    assert len(ticks) <= 7
    if low != "0" or high != "0":
        assert texts(ticks) == expected


def test_picture_of_a_recording_without_books(tmp_path: Path) -> None:
    """Only the curves and the steps; foreign texts are escaped."""
    mine = Path(shutil.copy(TRADES / "fet.clean.toml", tmp_path / "mine.toml"))
    story = replay.tell(replay.opened(mine))
    row = msgspec.structs.replace(story.rows[0], event="<b> & 'co'")
    story = msgspec.structs.replace(story, rows=(row, *story.rows[1:]))
    root = ElementTree.fromstring(chart.picture(story))
    assert any(element.text == "<b> & 'co'" for element in root.iter())
