"""What an operator types by hand, against a real serve and a real exchange, each in its process.

What counts is the exchange's own book: what was sent, how much of it, and how often.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command_line import Done, another_user, open_folder, typed
from support.installation import BTC, FET, KEYS, TRX, TradingDesk, trading_desk

from dita.journal import JournalReader


@pytest.fixture(scope="module")
def running_desk() -> Iterator[TradingDesk]:
    """One installation for the whole file; each test leaves it flat."""
    with open_folder() as folder, trading_desk(folder) as desk, desk.serve():
        yield desk


@pytest.fixture
def desk(running_desk: TradingDesk) -> Iterator[TradingDesk]:
    yield running_desk
    running_desk.flat()


def exit_(desk: TradingDesk, trade: str, *words: str) -> Done:
    return desk.type("intent", "exit", "--trade", trade, "--reason", "test", *words)


def ask(desk: TradingDesk, **request: Any) -> dict[str, Any]:
    """One request on the control socket, as any program may send it."""
    return ask_together(desk, request)[0]


def ask_together(desk: TradingDesk, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    """Requests on connections of their own that are there in the same moment."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in requests]
        for connection in connections:
            connection.settimeout(20)
            connection.connect(str(desk.state / "control.sock"))
        for connection, request in zip(connections, requests, strict=True):
            line = json.dumps({"operator": "test", "reason": "test", **request})
            connection.sendall(line.encode() + b"\n")
        return [json.loads(c.makefile("rb").readline()) for c in connections]


# -- how much --------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantity", ["0.00005", "0.10005", "0", "0.00000001"])
@pytest.mark.parametrize("apply", [(), ("--apply",)], ids=["plan", "apply"])
def test_a_quantity_that_would_not_be_sent_as_typed_is_refused(
    desk: TradingDesk, quantity: str, apply: tuple[str, ...]
) -> None:
    """Below the step, between two steps, nothing at all: never everything."""
    if not desk.status()["slots"]:
        desk.enter("Q1", BTC, "0.5")
    before = len(desk.orders())
    done = exit_(desk, "Q1", "--quantity", quantity, *apply)
    assert done.code == 2, done.stdout
    assert quantity == "0" or "0.0001 (the contract's step)" in done.stderr
    assert len(desk.orders()) == before
    assert desk.positions() == {BTC: "LONG 0.5"}


def test_the_border_refuses_it_too(desk: TradingDesk) -> None:
    """Whoever speaks to the socket without pink-ctl gets the same answer."""
    desk.enter("Q2", BTC, "0.5")
    intent = {"command": 2, "trade_id": "Q2", "intent_id": "x1", "quantity_e8": 5_000}
    answer = ask(desk, verb="intent", intent=intent)
    assert (answer["ok"], "multiple of 0.0001" in answer["expected"]) == (False, True)
    assert desk.positions() == {BTC: "LONG 0.5"}


def test_a_plan_says_the_side_the_quantity_and_when_it_is_all(desk: TradingDesk) -> None:
    desk.enter("P1", BTC, "0.5")
    for words, expected in (
        (("--quantity", "0.2"), "sends SELL 0.2 BTC-USDT at market, reduce-only"),
        (("--quantity", "99"), "sends SELL ALL 0.5 BTC-USDT at market, reduce-only"),
        (("--all",), "sends SELL ALL 0.5 BTC-USDT at market, reduce-only"),
        ((), "sends SELL ALL 0.5 BTC-USDT at market, reduce-only"),
    ):
        before = len(desk.orders())
        done = exit_(desk, "P1", *words)
        assert done.code == 0, done.stderr
        assert expected in done.stdout
        assert "P1 is LONG 0.5 BTC-USDT, POSITION_OPEN, leg 1 of 1" in done.stdout
        assert len(desk.orders()) == before
    assert exit_(desk, "P1", "--all", "--quantity", "1").code == 2
    assert exit_(desk, "P1", "--quantity", "0.2", "--apply").code == 0
    desk.until("trimmed", lambda record: [s["size"] for s in record["slots"]] == ["0.3"])
    assert desk.positions() == {BTC: "LONG 0.3"}
    done = exit_(desk, "P1", "--all", "--apply")
    assert (done.code, "filled: SELL 0.3 of 0.3" in done.stdout) == (0, True)
    assert desk.positions() == {}


def test_a_leg_is_told_as_the_part_that_it_is(desk: TradingDesk) -> None:
    intent = {
        "command": 1, "trade_id": "L1", "intent_id": "leg", "asset": BTC, "side": 1,
        "quantity_e8": 50_000_000, "exit_leg_ratios_e9": [500_000_000, 1_000_000_000],
    }  # fmt: skip
    end = time.monotonic() + 30
    while not ask(desk, verb="intent", intent=intent)["accepted"]:  # the last money still moves
        assert time.monotonic() < end
        time.sleep(0.1)
    desk.until("open", lambda record: [s["size"] for s in record["slots"]] == ["0.5"])
    plan = exit_(desk, "L1", "--leg").stdout
    assert "sends SELL 0.25 BTC-USDT" in plan
    assert "leg 1 of 2" in plan


# -- what the plan of an entry knows ---------------------------------------------------------------


def enter(desk: TradingDesk, *words: str, trade: str = "E1", asset: str = TRX) -> Done:
    fixed = ("--trade", trade, "--asset", asset, "--side", "long", "--reason", "test")
    return desk.calmly(lambda: desk.type("intent", "enter", *fixed, *words))


def test_the_plan_of_an_entry_has_what_decides_about_it(desk: TradingDesk) -> None:
    done = enter(desk, "--quantity", "300")
    assert done.code == 0
    assert "sends BUY 300 TRX-USDT at market" in done.stdout
    assert "worth 39.00 USDT; market price 0.13; leverage 1" in done.stdout
    assert "entries: free" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("next: pink-ctl intent enter --trade E1")
    assert done.stderr.splitlines()[-1].endswith("--apply")
    for words, says in (
        (("--quantity", "0.5"), "multiple of 1 (the contract's step)"),
        (("--quantity", "300", "--leverage", "50"), "expected 1 to 3, the cap; found 50"),
        (("--quantity", "300", "--price", "0.123456789"), "the contract's tick"),
        (("--quantity", "1"), "USDT"),
    ):
        refused = enter(desk, *words)
        assert (refused.code, says in refused.stderr) == (2, True), refused.stderr
    unknown = enter(desk, "--quantity", "300", asset="NOPE-USDT")
    assert (unknown.code, "NOPE-USDT" in unknown.stderr) == (2, True)
    assert desk.positions() == {}


def test_a_plan_says_what_would_refuse_it(desk: TradingDesk) -> None:
    assert desk.do("hold", "--symbol", TRX, "--reason", "test", "--apply")["held_symbols"] == [TRX]
    held = enter(desk, "--quantity", "300")
    assert "REFUSED if sent now: SYMBOL_HELD" in held.stdout
    assert enter(desk, "--quantity", "300", "--apply").code == 1
    assert enter(desk, "--quantity", "300", asset=FET).stdout.count("REFUSED") == 0
    assert desk.do("resume", "--symbol", TRX, "--reason", "test", "--apply")["held_symbols"] == []
    assert desk.do("hold", "--reason", "news", "--apply")["entries_frozen"] == ["hold"]
    frozen = enter(desk, "--quantity", "300")
    assert "entries: frozen: hold" in frozen.stdout
    assert "REFUSED if sent now: ENTRIES_FROZEN" in frozen.stdout
    assert desk.do("resume", "--reason", "over", "--apply")["entries_frozen"] == []
    typo = desk.type("hold", "--symbol", "TRX-USD", "--reason", "x", "--apply")
    assert (typo.code, "unknown symbol" in typo.stderr) == (2, True)


def test_an_entry_ends_with_the_exchange_s_own_answer(desk: TradingDesk) -> None:
    """30 million USDT on a small account: accepted here, refused there, and that is the code."""
    done = enter(desk, "--quantity", "30000000", "--apply", asset=FET)
    assert done.code == 6, done.stdout
    assert done.stdout.startswith("not done: enter LONG 30000000 FET-USDT")
    assert "REFUSED by the exchange: BUY 30000000 FET-USDT" in done.stdout
    assert desk.positions() == {}
    desk.until("gone", lambda record: not record["slots"])
    done = enter(desk, "--quantity", "300", "--apply")
    assert (done.code, "filled: BUY 300 of 300 at" in done.stdout) == (0, True)
    assert desk.positions() == {TRX: "LONG 300"}


def test_a_price_is_a_limit_and_the_rest_ends(desk: TradingDesk) -> None:
    desk.calmly(lambda: enter(desk, "--quantity", "300"))
    plan = enter(desk, "--quantity", "300", "--price", "0.12")
    assert "at 0.12 or better, at once, the rest ends" in plan.stdout
    below = enter(desk, "--quantity", "300", "--price", "0.12", "--apply")
    assert (below.code, below.stdout.splitlines()[0][:8]) == (1, "not done"), below.stdout
    assert "nothing filled: BUY 300 TRX-USDT ended" in below.stdout
    assert desk.positions() == {}
    desk.until("gone", lambda record: not record["slots"])
    above = enter(desk, "--quantity", "300", "--price", "0.14", "--apply")
    assert (above.code, "filled: BUY 300 of 300 at 0.13" in above.stdout) == (0, True)
    assert desk.orders()[-1]["type"] == "LIMIT"
    assert desk.positions() == {TRX: "LONG 300"}


# -- once ------------------------------------------------------------------------------------------


def test_two_exits_in_the_same_moment_are_both_done(desk: TradingDesk) -> None:
    desk.enter("S1", BTC, "0.5")
    desk.enter("S2", TRX, "300")
    intents = [{"command": 2, "trade_id": trade} for trade in ("S1", "S2")]
    answers = ask_together(desk, *({"verb": "intent", "intent": intent} for intent in intents))
    assert [answer["accepted"] for answer in answers] == [True, True], answers
    desk.until("flat", lambda record: not record["slots"])
    assert desk.positions() == {}


def test_holds_in_the_same_moment_are_two_records(desk: TradingDesk) -> None:
    before = intents_of(desk)
    ask_together(desk, {"verb": "hold"}, {"verb": "hold"})
    assert desk.type("resume", "--reason", "test", "--apply").code == 0
    ids = intents_of(desk)[len(before) :]
    assert len(set(ids)) == len(ids) == 3


def intents_of(desk: TradingDesk) -> list[str]:
    reader = JournalReader.open(desk.state / "journal")
    return [
        entry.record.intent_id for entry in reader.records() if hasattr(entry.record, "intent_id")
    ]


def test_what_got_no_answer_is_not_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost on the way; the same command again is the same wish, --again is not."""
    from dita.runtime.server import call

    with trading_desk(tmp_path) as desk, desk.serve():
        desk.enter("A1", BTC, "0.5")
        asked = call._asked

        def lost(path: Path, line: bytes, timeout_s: float) -> bytes:
            answer = asked(path, line, timeout_s)
            if b'"verb": "intent"' in line:
                raise call._unanswered(timeout_s)
            return answer

        monkeypatch.setattr(call, "_asked", lost)
        first = exit_(desk, "A1", "--quantity", "0.1", "--apply", "--wait", "0")
        assert first.code == 4, first.stdout + first.stderr
        assert "outcome unknown: exit 0.1 of A1" in first.stderr
        assert "pink-ctl status" in first.stderr
        monkeypatch.setattr(call, "_asked", asked)
        desk.until("first", lambda record: [s["size"] for s in record["slots"]] == ["0.4"])
        again = exit_(desk, "A1", "--quantity", "0.1", "--apply")
        assert (again.code, "done before" in again.stdout) == (0, True), again.stdout + again.stderr
        assert "got no answer at" in again.stderr
        desk.settled()
        assert desk.positions() == {BTC: "LONG 0.4"}
        new = exit_(desk, "A1", "--quantity", "0.1", "--apply")  # answered: another wish
        assert (new.code, "done before" in new.stdout) == (0, False)
        desk.until("second", lambda record: [s["size"] for s in record["slots"]] == ["0.3"])
        monkeypatch.setattr(call, "_asked", lost)
        assert exit_(desk, "A1", "--quantity", "0.1", "--apply", "--wait", "0").code == 4
        monkeypatch.setattr(call, "_asked", asked)
        desk.until("third", lambda record: [s["size"] for s in record["slots"]] == ["0.2"])
        assert exit_(desk, "A1", "--quantity", "0.1", "--apply", "--again").code == 0
        desk.until("fourth", lambda record: [s["size"] for s in record["slots"]] == ["0.1"])
        assert desk.positions() == {BTC: "LONG 0.1"}
        assert not list(desk.state.glob("asked-*"))


def test_a_serve_that_stands_still_is_code_4_and_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("dita.commands.operator"), "PATIENCE_S", 1)
    with trading_desk(tmp_path) as desk, desk.serve() as serve:
        serve.send_signal(signal.SIGSTOP)
        stuck = enter(desk, "--quantity", "300", "--apply")
        held = desk.type("hold", "--reason", "x", "--apply")
        serve.send_signal(signal.SIGCONT)
        for done in (stuck, held):
            assert done.code == 4, done.stderr
            assert "serve does not answer" in done.stderr
            assert "bug" not in done.stderr and "Traceback" not in done.stderr
        time.sleep(0.5)
        assert desk.orders() == []
        assert desk.status()["state"] == "READY"


# -- who -------------------------------------------------------------------------------------------


def test_the_operator_is_who_the_system_says(desk: TradingDesk) -> None:
    """LOGNAME is what anybody may set; another name than the user's is told beside it."""
    me = typed_name(desk, environ={"LOGNAME": "somebodyelse", "USER": "somebodyelse"})
    assert me == "root: test" if os.getuid() == 0 else me
    assert typed_name(desk, "--operator", "eva") == f"eva as {me.partition(':')[0]}: test"
    if os.geteuid() == 0:
        assert typed_name(desk, environ={"SUDO_USER": "mia"}) == "mia as root: test"


def typed_name(desk: TradingDesk, *words: str, **more: Any) -> str:
    environ = {"SUDO_USER": "", **more.pop("environ", {})}
    done = desk.type("hold", "--reason", "test", "--apply", *words, environ=environ)
    assert done.code == 0, done.stderr
    because: str = desk.status()["held_because"]
    assert desk.type("resume", "--reason", "test", "--apply").code == 0
    return because


@pytest.mark.skipif(os.geteuid() != 0, reason="another user needs root")
def test_a_user_without_a_name_may_hold(desk: TradingDesk) -> None:
    """As in a container: no entry for the uid anywhere, and nothing crashes."""
    assert desk.type("resume", "--reason", "x", "--apply").code == 0  # all is imported by then
    desk.state.chmod(0o755)
    (desk.state / "control.sock").chmod(0o666)
    with another_user():
        done = desk.type("hold", "--reason", "test", "--apply")
    assert done.code == 0, done.stderr
    assert "cannot be stored (Permission denied): do not type it twice" in done.stderr
    assert desk.status()["held_because"] == "uid 12345: test"
    assert desk.type("resume", "--reason", "x", "--apply").code == 0


# -- which serve -----------------------------------------------------------------------------------


def test_the_first_line_says_whose_money_and_where(desk: TradingDesk) -> None:
    expected = (
        f"local exchange {desk.exchange.rest}, test money, key env:TEST_KEY; "
        f"test, state in {desk.state}"
    )
    for words in (
        ("hold", "--reason", "x"),
        ("resume", "--reason", "x"),
        ("intent", "exit", "--trade", "T", "--reason", "x"),
        ("intent", "flatten", "--reason", "x"),
        ("reconcile",),
        ("anchor", "--reason", "x"),
        ("smoke", "--symbol", TRX, "--dry-run"),
        ("soak", "--duration", "1ms", "--interval", "1ms"),
    ):
        done = desk.type(*words)
        assert done.stderr.splitlines()[0] == expected, words
        as_json = json.loads(desk.type(*words, "--json").stdout)
        place = as_json["place"]
        assert (place["money"], place["host"]) == ("vst", desk.exchange.rest), words
        assert place["directory"] == str(desk.state)


def test_the_symbols_that_the_exchange_lists_are_offered(desk: TradingDesk) -> None:
    completing = importlib.import_module("dita.commands.completion")
    typer = importlib.import_module("typer")
    context = typer.Context(importlib.import_module("typer.main").get_command(desk_app()))
    context.params = {"state_dir": desk.state}
    assert completing.symbols(context, "f") == [FET]


def desk_app() -> Any:
    return importlib.import_module("dita.commands.app").make_app()


def test_another_settings_file_than_serve_s_is_refused(desk: TradingDesk) -> None:
    other = desk.folder / "other.toml"
    other.write_text(desk.config.read_text() + "snapshot_every = 77\n")
    words = ("hold", "--reason", "x", "--config", str(other))
    plan = typed(*words, environ=KEYS)
    assert (plan.code, "--apply would be refused" in plan.stderr) == (0, True)
    assert f"it was started with {desk.config}" in plan.stderr
    assert "journal.snapshot_every is 10000 there and 77 here" in plan.stderr
    done = typed(*words, "--apply", environ=KEYS)
    assert done.code == 5
    way = done.stderr.rpartition("name its directory: ")[2].split()
    assert way == ["pink-ctl", "hold", "--reason", "x", "--apply", "--state-dir", str(desk.state)]
    assert desk.status()["state"] == "READY"
    assert typed(*way[1:]).code == 0
    assert desk.status()["state"] == "HOLD"
    assert desk.type("resume", "--reason", "x", "--apply").code == 0


def test_a_slip_in_the_file_or_a_key_of_somebody_else_holds_nobody_up(desk: TradingDesk) -> None:
    """serve goes on with what it read; only the directory is needed to speak to it."""
    text = desk.config.read_text()
    try:
        desk.config.write_text(text.replace("slot_limit = 4", "slot_limitt = 4"))
        slip = desk.type("hold", "--reason", "x", "--apply")
        assert (slip.code, "cannot be used any more" in slip.stderr) == (0, True), slip.stderr
        key = desk.folder / "a.key"
        key.write_text("KEY\n")
        key.chmod(0o644)
        desk.config.write_text(text.replace("env:TEST_KEY", f"file:{key}"))
        done = desk.type("status")
        assert done.code == 0, done.stderr
        edited = desk.type("resume", "--reason", "x", "--apply")
        assert (edited.code, "venue.api_key is env:TEST_KEY there" in edited.stderr) == (5, True)
    finally:
        desk.config.write_text(text)
    assert desk.type("resume", "--reason", "x", "--apply").code == 0


def test_a_serve_can_start_held(tmp_path: Path) -> None:
    with trading_desk(tmp_path) as desk, desk.serve("--hold", "look first"):
        record = desk.status()
        assert (record["state"], record["entries_frozen"]) == ("HOLD", ["hold"])
        assert record["held_because"] == "serve: look first"
        assert enter(desk, "--quantity", "300", "--apply").code == 1
        told = desk.do("resume", "--reason", "seen", "--apply")
        assert told["entries_frozen"] == []
        assert enter(desk, "--quantity", "300", "--apply").code == 0
