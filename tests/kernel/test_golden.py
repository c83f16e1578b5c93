"""The golden cases hold, their runner can fail, and a file that makes no sense is refused.

Every case is one test. The rest is about the runner: a wrong figure is found, restarts and orders
of arrival are really played, and the same text gives the same hashes in every process and through
the batch entrance of the kernel.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from dita.contracts import KernelIntent
from dita.engine import Engine
from dita.errors import ExitCode, OperatorError, UsageError
from dita.golden import (
    RUNS_MAX,
    START_MS,
    STEP_MS,
    Case,
    case_named,
    cases,
    check,
    load,
    play,
    runs,
)

Cli = Callable[..., Result]
CASES = cases()
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

HEAD = """
title = "a test"
source = "the test"
about = "none"
trade = "T"
asset = "ABC-USDT"
[contract]
tick = "0.01"
step = "1"
"""
ENTER = """
[[step]]
intent = { command = "ENTER", id = "enter-1", side = "LONG", quantity = "100", price = "10" }
"""
FILL = """
[[step]]
event = { kind = "FULL_FILL", order = "enter-1", venue_id = "1", quantity = "100", price = "10" }
"""


def case_of(*steps: str, head: str = HEAD) -> Case:
    """A case from the texts of its steps."""
    return load(head + "".join(steps), "mine")


# -- THE CASES ----------------------------------------------------------------------------------


@each_case
def test_case_holds(case: Case) -> None:
    """Every figure of every step, in every variant and order of arrival."""
    result = check(case)
    assert result.passed, "\n".join(result.failures)


@each_case
def test_case_states_something(case: Case) -> None:
    """Without a source it proves nothing to anybody, without figures nothing at all."""
    assert len(case.about) > 40 and "§" in case.source + case.about
    assert sum(len(step.expect) for step in case.steps) >= 3


def test_incident_is_exact() -> None:
    """The numbers that this program exists for (accounting fix §7), not read from the files."""
    last = list(play(case_named("fet-clean")))[-1]
    trade = last.engine.kernel.trade("FET")
    assert trade is not None
    assert trade.realized == (1878 - 1866) * 202_276 * 10**14 == 2427312 * 10**14
    last = list(play(case_named("fet-poisoned")))[-1]
    trade = last.engine.kernel.trade("FET")
    assert trade is not None
    assert (trade.realized, trade.pnl_source) == (164 * 10**18, "exchange")


# -- THE RUNNER CAN FAIL ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expect", "figure", "expected", "found"),
    [
        ('size = "99"', "size", "99", "100"),
        ('realized = "0.000000000000000001"', "realized", "0.000000000000000001", "0"),
        ('state = "IDLE"', "state", "IDLE", "POSITION_OPEN"),
        ('code = "DUST"', "code", "DUST", "OK"),
        ("accepted = false", "accepted", "False", "True"),
        ('notes = ["OVERFILL"]', "notes", "OVERFILL", "none"),
        ("effects = []", "effects", "none", "FINALISE"),
        ('orders = { enter-1 = "FILLED final 100" }', "orders", "final", "FILLED 100"),
        ('capital = "1"', "capital", "1", "0"),
        ('frozen = ["hold"]', "frozen", "hold", "none"),
        ('causes = { pending = "3" }', "causes", "pending 3", "none"),
        ('feedback = { T = "1" }', "feedback", "T 1", "none"),
        ('realized = "0", trade = "U"', "realized", "0", "no such trade"),
        ('leg = 0, trade = "U"', "leg", "0", "no such trade"),
    ],
)
def test_wrong_figure_is_found(expect: str, figure: str, expected: str, found: str) -> None:
    """Whatever is expected wrongly fails, and the failure says step, expected and found."""
    result = check(case_of(ENTER, FILL, f"expect = {{ {expect} }}"))
    assert not result.passed
    (difference,) = result.differences
    assert (difference.step, difference.label, difference.figure) == (2, "FULL_FILL", figure)
    assert expected in difference.expected and found in difference.found
    assert result.failures == [str(difference)] and "step 2 (FULL_FILL)" in result.failures[0]


@pytest.mark.parametrize("name", ["fet-clean", "fet-poisoned", "late-entry-any-order"])
def test_changed_figure_of_a_case_fails(name: str) -> None:
    """A packaged case with one digit changed fails in each of its runs."""
    file = Path(__file__).parent.parent.parent / "configs" / "golden" / f"{name}.toml"
    if not file.is_file():
        pytest.skip("no checkout around this test")
    text = file.read_text(encoding="utf-8")
    head, key, rest = text.rpartition('account_realized = "') if "any" in name else ("", "", "")
    if not key:
        head, key, rest = text.rpartition(', realized = "')
    result = check(load(f"{head}{key}9{rest}", name))
    assert not result.passed
    assert len({each.run for each in result.differences}) == result.runs


def test_order_that_was_never_submitted_is_a_failure() -> None:
    """The name is known, the order is not there: the kernel planned something else."""
    exit_fill = FILL.replace("enter-1", "enter-1/1")
    result = check(case_of(ENTER, exit_fill))
    assert result.failures == [
        "step 2 (FULL_FILL): order enter-1/1: expected submitted; found no such order"
    ]


def test_broken_invariant_is_a_failure_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other cases still run, and the step is named."""
    from dita.errors import KernelFault

    def broken(self: Engine, record: object) -> None:
        raise KernelFault("kernel invariant broken", found="a state that must not be")

    monkeypatch.setattr(Engine, "apply", broken)
    result = check(case_of(ENTER, FILL))
    assert result.failures == [
        "step 1 (ENTER): the kernel: expected no broken invariant; found a state that must not be"
    ]


# -- ORDERS OF ARRIVAL, VARIANTS, RESTARTS ------------------------------------------------------

BLOCK = "\n[[step]]\nany_order = true\n"


def test_every_order_of_a_block_is_played() -> None:
    """Three steps arrive in six orders, the written one first; what surrounds them stays."""
    events = [
        BLOCK + f'event = {{ kind = "TRANSFER", id = "t{n}", amount = "{n}" }}' for n in range(3)
    ]
    case = case_of(ENTER, *events, '\n[[step]]\nexpect = { transfers = "3" }')
    orders = [tuple(step.number for step in run.steps) for run in runs(case)]
    assert len(set(orders)) == len(orders) == 6
    assert orders[0] == (1, 2, 3, 4, 5)
    assert all(order[0] == 1 and order[-1] == 5 for order in orders)
    result = check(case)
    assert result.passed and result.runs == 6


def test_end_that_depends_on_the_order_is_found() -> None:
    """No figure is expected, and still the different end is a failure: the economic hash."""
    cancel = BLOCK + 'event = { kind = "ORDER_REJECT", order = "enter-1" }'
    fill = BLOCK + 'event = { kind = "ORDER_ACK", order = "enter-1", venue_id = "1" }'
    result = check(case_of(ENTER, cancel, fill))
    assert not result.passed
    assert [each.figure for each in result.differences] == ["economic hash"]
    assert result.differences[0].run == "order 3 2"


def test_variants_fill_in_their_values() -> None:
    """Each variant is a run of its own, and a failure names it."""
    variants = '[[variant]]\nname = "a"\nq = "100"\n[[variant]]\nname = "b"\nq = "7"\n'
    enter = ENTER.replace('"100"', '"$q"')
    expect = 'expect = { submits = ["enter-1: BUY 100"] }'
    result = check(case_of(variants, enter, expect))
    assert result.runs == 2
    assert [(each.run, each.found) for each in result.differences] == [("b", "enter-1: BUY 7")]


def test_restart_gives_a_new_engine_in_the_same_state() -> None:
    """The old engine is gone; a state that changes on the way is a failure."""
    played = list(play(case_of(ENTER, "\n[[step]]\nrestart = true\n", FILL)))
    assert played[1].outcome is None and played[1].problems == ()
    assert played[0].engine is not played[1].engine is played[2].engine


def test_restart_that_changes_the_state_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with the old settle baseline, which was empty after a restart."""
    monkeypatch.setattr(Engine, "restore", lambda saved: Engine())
    result = check(case_of(ENTER, "\n[[step]]\nrestart = true\n"))
    assert [(each.step, each.figure) for each in result.differences] == [(2, "state hash")]


def test_times_are_those_of_the_file() -> None:
    """100 ms a step from the fixed start; the exchange's time stays with the event."""
    late = '\n[[step]]\nwait_ms = 5000\nevent = { kind = "TICK", age_ms = 300 }'
    repeated = "\n[[step]]\nrepeat = true"
    case = case_of(ENTER, late, repeated)
    records = [step.record for step in case.steps]
    assert all(record is not None for record in records)
    times = [record.received_ms - START_MS for record in records if record is not None]
    assert times == [STEP_MS, STEP_MS + 5000, 2 * STEP_MS + 5000]
    (_, first, second) = records
    assert not isinstance(first, KernelIntent) and not isinstance(second, KernelIntent)
    assert first is not None and second is not None
    assert first.exchange_ms == second.exchange_ms == START_MS + STEP_MS + 5000 - 300


# -- FILES THAT MAKE NO SENSE -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("title = ", ["mine", "TOML"]),
        ('title = "x"\n', ["source", "none"]),
        (HEAD, ["step", "none"]),
        (HEAD + ENTER.replace('"10"', "10.5"), ["step 1.intent.price", "10.5", "quotes"]),
        (HEAD + ENTER.replace('"10"', "nan"), ["step 1.intent.price", "nan"]),
        (HEAD + ENTER.replace('"10"', "true"), ["step 1.intent.price", "bool"]),
        (HEAD + ENTER.replace('"10"', '"1O"'), ["step 1.intent.price", "'1O'"]),
        (HEAD + ENTER.replace('"100"', '"-1"'), ["step 1.intent.quantity", "out of range"]),
        (HEAD + ENTER.replace("side =", "sid ="), ["step 1.intent.sid", "side"]),
        (HEAD + ENTER.replace('"LONG"', '"UP"'), ["step 1.intent.side", "LONG, SHORT", "'UP'"]),
        (HEAD + ENTER.replace('command = "ENTER", ', ""), ["step 1.intent.command", "none"]),
        (HEAD + ENTER + "wait = 3\n", ["step 1.wait", "wait_ms"]),
        (HEAD + ENTER + "wait_ms = -3\n", ["step 1.wait_ms", "-3"]),
        (HEAD + ENTER + "restart = true\n", ["step 1", "one of intent, event, restart"]),
        (HEAD + "[[step]]\nnote = 'x'\n", ["step 1", "something to expect"]),
        (HEAD + "[[step]]\nrepeat = true\n", ["step 1.repeat", "an input before it"]),
        (HEAD + "[[step]]\nexpect = { code = 'OK' }\n", ["step 1.expect.code", "a step without"]),
        (HEAD + ENTER + "expect = { sise = '1' }\n", ["step 1.expect.sise", "size"]),
        (HEAD + ENTER + "expect = { code = 'NO' }\n", ["step 1.expect.code", "SLOT_BUSY"]),
        (HEAD + ENTER + "expect = { causes = { x = '1' } }\n", ["expect.causes", "pending"]),
        (HEAD + FILL, ["step 1.event.order", "'enter-1'", "known are none"]),
        (HEAD + ENTER + FILL.replace('"enter-1"', '"enter-1/x"'), ["step 2.event.order", "child"]),
        (HEAD + ENTER + FILL.replace("100", "1_0"), ["step 2.event.quantity", "'1_0'"]),
        (HEAD + ENTER.replace('"100"', '"$q"'), ["step 1.intent.quantity", "'$q'", "variant"]),
        (HEAD.replace("tick", "tack") + ENTER, ["contract.tack", "tick"]),
        (HEAD.replace('step = "1"', "") + ENTER, ["contract", "tick and step"]),
        (HEAD + "[kernel]\nspeed = 3\n" + ENTER, ["kernel.speed", "slot_limit"]),
        ("step = 3" + HEAD, ["step", "a list"]),
    ],
)
def test_file_that_makes_no_sense_is_refused(text: str, parts: list[str]) -> None:
    """The message names the file, the place, what was expected and what was found."""
    with pytest.raises(OperatorError) as refused:
        load(text if "\n" in text else text + "\n", "mine")
    message = str(refused.value)
    assert message.startswith("mine: ")
    for part in parts:
        assert part in message
    assert refused.value.expected and refused.value.found and refused.value.action


def test_expectation_inside_a_block_is_refused() -> None:
    """In another order it would not be true, so it belongs after the block."""
    with pytest.raises(OperatorError, match="after the block"):
        case_of(ENTER, BLOCK + "event = { kind = 'TICK' }\nexpect = { size = '0' }")


def test_too_many_orders_are_refused() -> None:
    """Seven steps would be 5,040 runs."""
    ticks = [BLOCK + "event = { kind = 'TICK' }"] * 7
    with pytest.raises(OperatorError, match=str(RUNS_MAX)):
        case_of(*ticks)


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Missing, a folder, or not text."""
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing.toml", tmp_path, binary):
        with pytest.raises(UsageError, match="cannot be read") as refused:
            load(path)
        assert str(path) in str(refused.value)


def test_file_is_named_in_its_own_error(tmp_path: Path) -> None:
    """With several files open in an editor, the name is half of the message."""
    path = tmp_path / "wrong.toml"
    path.write_text(HEAD + ENTER.replace('"10"', "10.5"), encoding="utf-8")
    with pytest.raises(OperatorError, match=r"wrong\.toml: step 1\.intent\.price"):
        load(str(path))


# -- THE SAME TEXT, THE SAME BYTES --------------------------------------------------------------

HASHES = """
import json
from dita.golden import cases, play
ends = {}
for case in cases():
    engine = list(play(case))[-1].engine
    ends[case.name] = [engine.state_hash(), engine.economic_hash()]
print(json.dumps(ends))
"""


def hashes(seed: str) -> dict[str, list[str]]:
    """State and economic hash of every case, from a fresh process with this PYTHONHASHSEED."""
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    line = [sys.executable, "-P", "-c", HASHES]
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_fresh_processes_give_the_same_hashes() -> None:
    """Two processes with different hash seeds, and this one (design P7)."""
    first, second = hashes("1"), hashes("2")
    assert first == second
    assert set(first) == {case.name for case in CASES}
    here = {case.name: list(play(case))[-1].engine for case in CASES}
    assert first == {
        name: [engine.state_hash(), engine.economic_hash()] for name, engine in here.items()
    }


@each_case
def test_batch_path_gives_the_same_state(case: Case) -> None:
    """Packed inputs through Engine.apply_batch end in the same core as objects through apply."""
    played = list(play(case))
    packed = b"".join(each.packed for each in played)
    size, _ = played[-1].engine.kernel.record_sizes()
    inputs = [each for each in played if each.outcome is not None and each.packed]
    assert len(packed) == size * len(inputs)
    batch = Engine(case.config)
    done, _ = batch.apply_batch(packed)
    assert done == len(inputs)
    assert core(batch) == core(played[-1].engine)
    assert batch.snapshot == played[-1].engine.snapshot
    assert batch.account.save() == played[-1].engine.account.save()


def core(engine: Engine) -> bytes:
    """The compiled part's whole state; the names behind the keys are not in it."""
    return engine.kernel._core.save()


# -- THE COMMAND --------------------------------------------------------------------------------


def test_command_prints_a_table_and_a_summary(cli: Cli) -> None:
    """One line per case, then the sum."""
    shown = cli("golden", "--case", "fet-clean", "--case", "trx-legs")
    assert shown.exit_code == ExitCode.DONE
    lines = shown.stdout.splitlines()
    assert lines[-1] == "2 passed, 0 failed"
    assert any(line.startswith("fet-clean ") and line.endswith("passed") for line in lines)
    assert any(line.startswith("trx-legs ") for line in lines)


def test_command_runs_all_cases(cli: Cli) -> None:
    """Without an option: everything that is packaged."""
    shown = cli("golden")
    assert shown.exit_code == ExitCode.DONE
    assert shown.stdout.splitlines()[-1] == f"{len(CASES)} passed, 0 failed"


def test_command_shows_what_differs(cli: Cli, tmp_path: Path) -> None:
    """Step, expected and found, and exit code 1."""
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + ENTER + FILL + 'expect = { size = "99" }\n', encoding="utf-8")
    shown = cli("golden", "--file", str(path))
    assert shown.exit_code == ExitCode.DIFFERENCE
    assert "  step 2 FULL_FILL: size: expected 99; found 100" in shown.stdout.splitlines()
    assert shown.stdout.splitlines()[-1] == "0 passed, 1 failed"


def test_command_gives_json(cli: Cli, tmp_path: Path) -> None:
    """The shape that programs read."""
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + ENTER + FILL + 'expect = { size = "99" }\n', encoding="utf-8")
    shown = cli("golden", "--case", "fet-clean", "--file", str(path), "--json")
    assert shown.exit_code == ExitCode.DIFFERENCE
    printed = json.loads(shown.stdout)
    assert list(printed) == ["schema_version", "passed", "failed", "cases"]
    assert (printed["passed"], printed["failed"]) == (1, 1)
    good, bad = printed["cases"]
    keys = ["name", "title", "passed", "steps", "runs", "state_hash", "economic_hash"]
    assert list(good) == [*keys, "differences"]
    assert good["name"] == "fet-clean" and good["passed"] and good["differences"] == []
    assert len(good["state_hash"]) == len(good["economic_hash"]) == 64
    assert bad["differences"] == [
        {
            "run": "",
            "step": 2,
            "label": "FULL_FILL",
            "figure": "size",
            "expected": "99",
            "found": "100",
        }
    ]


def test_command_names_the_cases_when_there_is_none_of_that_name(cli: Cli) -> None:
    """A typing error shows what could have been meant."""
    shown = cli("golden", "--case", "fet-dirty")
    assert shown.exit_code == ExitCode.USAGE
    assert shown.stdout == "" and shown.stderr.count("\n") == 1
    assert "'fet-dirty'" in shown.stderr and "fet-clean" in shown.stderr


def test_command_refuses_a_file_in_one_line(cli: Cli, tmp_path: Path) -> None:
    """Where, expected, found, do."""
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + ENTER.replace('"10"', "10.5"), encoding="utf-8")
    shown = cli("golden", "--file", str(path))
    assert shown.exit_code == ExitCode.USAGE
    assert shown.stdout == "" and shown.stderr.count("\n") == 1
    assert "mine.toml: step 1.intent.price" in shown.stderr and "do: " in shown.stderr


def test_command_cuts_a_flood_of_differences(cli: Cli, tmp_path: Path) -> None:
    """What fails in every order of arrival would fill the screen; --json has all of it."""
    ticks = (BLOCK + "event = { kind = 'TICK' }") * 4
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + ENTER + ticks + "\n[[step]]\nexpect = { held = 3 }", encoding="utf-8")
    shown = cli("golden", "--file", str(path))
    assert shown.exit_code == ExitCode.DIFFERENCE
    assert len(shown.stdout.splitlines()) < 30 and "and 12 more" in shown.stdout
