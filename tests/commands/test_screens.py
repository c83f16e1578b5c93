"""What a person sees: every screen as text, on a terminal of 80 and of 140 columns and in a pipe.

A control socket that says the same each time stands in for serve.  When a screen is changed on
purpose, `DITA_SCREENS=write pytest tests/commands/test_screens.py` writes the new texts; read
the diff.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.board_record import PLACE, fet, record
from support.command_line import Done, app, typed

from dita.errors import RefusedForSafety
from dita.runtime.server.control_socket import ControlServer

OWN_PLACE = (
    "config-show", "golden", "no-sense", "runbook", "replay", "replay-explain", "flatten",
)  # fmt: skip
HELP = Path(__file__).parent.parent / "data" / "help"
SCREENS = Path(__file__).parent.parent / "data" / "screens"
WIDTHS = {"80": 80, "140": 140, "pipe": 0}
SLOT = {
    "slot": 0, "trade": "T1", "asset": "FET-USDT", "side": "SHORT", "state": "POSITION_OPEN",
    "size": "500", "leg": 0, "legs": 2,
}  # fmt: skip
ABOUT = {
    "venue": "bingx", "money": "live", "host": "https://open-api.bingx.com",
    "key": "file:/etc/pink/live.key", "namespace": "pink", "directory": "/var/lib/pink",
    "config": "/etc/pink/pink.toml", "version": "1.2.3", "pid": 777, "state": "READY",
    "epoch": 1, "leverage_cap": 3, "entries_frozen": [], "held_symbols": [], "held_because": "",
    "trades": ["T1"], "symbols": ["FET-USDT"], "settings_hash": "0" * 64, "settings": {},
}  # fmt: skip
PLAN = {
    "command": "EXIT", "trade": "T1", "asset": "FET-USDT", "accepted": True, "code": "OK",
    "details": {}, "sends": True, "cancels": 0, "order_side": "BUY", "reduce_only": True,
    "quantity": "250", "all": False, "limit": "", "market_price": "0.4978", "notional": "124.45",
    "leverage": 1, "slot": SLOT, "contract": None,
}  # fmt: skip
TOLD = {
    "accepted": True, "code": "OK", "severity": "INFO", "details": {}, "notes": [],
    "state": "EXIT_WORKING", "slot": 0, "effects": ["SUBMIT"], "entries_frozen": [],
    "held_symbols": [],
}  # fmt: skip
ANSWER = {
    "result": "filled", "client_order_id": "a" * 32, "venue_order_id": "123", "side": "BUY",
    "asset": "FET-USDT", "quantity": "250", "filled": "250", "price": "0.4979", "reason": "",
    "message": "",
}  # fmt: skip
RECONCILED: dict[str, Any] = {
    "namespace": "pink", "epoch": 1, "difference": "-0.00009", "differences": 1, "remarks": 1,
    "calm": True,
    "rows": [
        {"level": "order", "asset": "FET-USDT", "name": "a" * 32, "ours": "WORKING 0/250",
         "theirs": "FILLED 250/250", "cause": "end not seen"},
        {"level": "position", "asset": "FET-USDT", "name": "T1", "ours": "SHORT 500",
         "theirs": "SHORT 500", "cause": ""},
        {"level": "money", "asset": "", "name": "difference", "ours": "", "theirs": "-0.00009",
         "cause": "fee still estimated"},
    ],
    "plan": {"plan_id": "p1", "steps": [
        {"text": "ask about the order until it is found or proven absent (end not seen: FET-USDT)"},
    ]},
}  # fmt: skip
ANCHORED = {
    "applied": False, "adjustments": {"foreign_activity": "-12.5"}, "capital_before": "25000",
    "capital_after": "25000", "k_before": "25012.5", "k_after": "25000", "drift": "-12.5",
    "drift_after": "0", "entries_frozen": ["unexplained drift"],
}  # fmt: skip
SMOKED = {
    "symbol": "TRX-USDT", "trade": "smoke-9", "ok": False, "code": 1, "left_open": True,
    "steps": [{"step": "contract", "ok": True, "text": "step 1, minimum 8 or 2 USDT"},
              {"step": "exit", "ok": False, "text": "expected FILLED, found REJECTED"}],
}  # fmt: skip
BOARD = {**record(fet()), "place": {key: ABOUT[key] for key in PLACE}}
SAMPLE = {
    "time_ms": 1_781_198_532_678, "capital": "25000", "wallet": "25000", "difference": "0",
    "idle": True, "trades": 3, "frozen": [], "problem": "",
}  # fmt: skip

#: Name of the screen: what is typed, and what serve answers beside the usual.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "hold-plan": ("hold --reason news", {}),
    "hold-apply": ("hold --reason news --apply", {"hold": {**TOLD, "state": "", "slot": -1}}),
    "hold-symbol": ("hold --symbol FET-USDT --reason news --apply",
                    {"hold": {**TOLD, "state": "", "held_symbols": ["FET-USDT"]}}),
    "resume-plan": ("resume --reason over",
                    {"about": {**ABOUT, "state": "HOLD", "entries_frozen": ["hold"],
                               "held_because": "eva: news"}}),
    "resume-still-frozen": ("resume --reason over --apply",
                            {"resume": {**TOLD, "state": "", "entries_frozen": ["pending drift"]}}),
    "exit-plan": ("intent exit --trade T1 --reason news", {}),
    "exit-plan-all": ("intent exit --trade T1 --all --reason news",
                      {"plan": {**PLAN, "quantity": "500", "all": True, "notional": "248.90"}}),
    "exit-plan-of-nothing": ("intent exit --trade T7 --reason news",
                             {"plan": {**PLAN, "trade": "T7", "slot": None, "accepted": False,
                                       "code": "NO_POSITION", "sends": False, "quantity": "",
                                       "notional": "", "market_price": ""}}),
    "exit-plan-latched": ("intent exit --trade T1 --reason news",
                          {"plan": {**PLAN, "sends": False, "cancels": 1}}),
    "exit-apply": ("intent exit --trade T1 --reason news --apply",
                   {"intent": {**TOLD, "answer": ANSWER}}),
    "exit-refused": ("intent exit --trade T1 --reason news --apply",
                     {"intent": {**TOLD, "accepted": False, "code": "DUPLICATE_EVENT",
                                 "state": "", "answer": None}}),
    "enter-plan": ("intent enter --trade T9 --asset FET-USDT --side short --quantity 250"
                   " --price 0.5 --reason x",
                   {"plan": {**PLAN, "command": "ENTER", "trade": "T9", "order_side": "SELL",
                             "reduce_only": False, "limit": "0.5", "notional": "125.00",
                             "slot": None}}),
    "enter-plan-refused": ("intent enter --trade T9 --asset FET-USDT --side short --quantity 250"
                           " --reason x",
                           {"plan": {**PLAN, "command": "ENTER", "trade": "T9", "sends": False,
                                     "accepted": False, "code": "ENTRIES_FROZEN", "slot": None,
                                     "details": {"causes": "hold"}},
                            "frozen": ["hold"]}),
    "enter-refused-there": ("intent enter --trade T9 --asset FET-USDT --side short --quantity 250"
                            " --reason x --apply",
                            {"intent": {**TOLD, "state": "ENTRY_WORKING", "answer": {
                                **ANSWER, "result": "rejected", "filled": "0", "price": "",
                                "reason": "other", "message": "101204 Insufficient margin"}}}),
    "enter-unanswered-there": ("intent enter --trade T9 --asset FET-USDT --side short"
                               " --quantity 250 --reason x --apply",
                               {"intent": {**TOLD, "state": "ENTRY_WORKING", "answer": {
                                   **ANSWER, "result": "unknown", "filled": "0", "price": ""}}}),
    "cancel-plan": ("intent cancel --trade T1 --reason x",
                    {"plan": {**PLAN, "command": "CANCEL", "sends": False, "cancels": 1}}),
    "flatten-plan": ("intent flatten --reason home", {}),
    "flatten-nothing": ("intent flatten --reason home", {"slots": [{**SLOT, "state": "CLOSED"}]}),
    "reconcile": ("reconcile", {}),
    "reconcile-remarks": ("reconcile", {"reconcile": {
        **RECONCILED, "differences": 0, "rows": RECONCILED["rows"][1:],
        "plan": {"plan_id": "p1", "steps": []}}}),
    "anchor-plan": ("anchor --reason bonus", {}),
    "anchor-apply": ("anchor --reason bonus --apply",
                     {"anchor": {**ANCHORED, "applied": True, "entries_frozen": []}}),
    "smoke": ("smoke --symbol TRX-USDT", {}),
    "smoke-refused": ("smoke --symbol TRX-USDT", {"smoke": RefusedForSafety(
        "this is real money", expected="a test environment, or --live-money",
        found="venue.environment = live")}),
    "other-settings": ("hold --reason x --apply --config {config}", {}),
    "status": ("status", {"board": {}}),
    "status-hold": ("status", {"board": {
        "state": "HOLD", "entries_frozen": ["hold"], "held_because": "eva: news",
        "entries": {"allowed": False, "wait_for": ["hold by eva: news"]}}}),
    "status-starting": ("status", {"board": {
        "state": "RECONCILING", "entries_frozen": ["not ready"], "slots": [],
        "entries": {"allowed": False, "wait_for": ["positions are not answered yet"]},
        "age_ms": {"stream": -1, "balance": -1, "positions": -1, "last_input": 200}}}),
    "status-degraded": ("status", {"board": {
        "state": "DEGRADED", "entries_frozen": ["not ready"],
        "entries": {"allowed": False, "wait_for": ["the stream is not connected"]},
        "alarms": [{"name": "stream", "text": "not connected: refused", "age_ms": 125_000}]}}),
    "status-draining": ("status", {"board": {
        "state": "DRAINING", "entries_frozen": ["draining"],
        "entries": {"allowed": False, "wait_for": ["draining"]}}}),
    "status-stale": ("status", {"board": {
        "age_ms": {"stream": 1_200, "balance": 149_000, "positions": 22_000, "last_input": 900},
        "entries": {"allowed": False, "wait_for": ["balance is 2 min old, 60 s is the limit"]}}}),
    "status-nobody": ("status --state-dir {folder}/none", {}),
    "runbook": ("runbook", {}),
    "replay": ("replay --trade FET", {}),
    "replay-explain": ("replay --trade FET --variant poisoned --explain", {}),
    "flatten": ("flatten", {}),
    "config-show": ("config show --config demo", {}),
    "golden": ("golden --case fet-clean --case trx-legs", {}),
    "nobody": ("hold --reason x --state-dir {folder}/none", {}),
    "no-sense": ("intent exit --all", {}),
}  # fmt: skip


class Answers:
    """A control socket in a thread; what it answers is set by each case."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.given: dict[str, Any] = {}
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        verbs = {
            "about": self._of("about", {"about": ABOUT}),
            "status": self._status,
            "intent_plan": self._plan,
            "intent": self._of("intent", {**TOLD, "answer": None}),
            "hold": self._of("hold", TOLD),
            "resume": self._of("resume", TOLD),
            "reconcile": self._of("reconcile", {"reconcile": RECONCILED}),
            "anchor": self._of("anchor", {"anchor": ANCHORED}),
            "smoke": self._of("smoke", {"smoke": SMOKED}),
        }
        self.server = ControlServer(folder, verbs)
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self.server.open(), self.loop).result()

    def _of(self, verb: str, usual: dict[str, Any]) -> Any:
        async def answer(request: dict[str, Any]) -> dict[str, Any]:
            given = self.given.get(verb)
            if isinstance(given, Exception):
                raise given
            if given is None:
                return usual
            return {verb: given} if verb in usual else given

        return answer

    async def _status(self, request: dict[str, Any]) -> dict[str, Any]:
        if "slots" in self.given or "board" not in self.given:
            return {"status": {**BOARD, "slots": self.given.get("slots", [SLOT])}}
        return {"status": {**BOARD, **self.given["board"]}}

    async def _plan(self, request: dict[str, Any]) -> dict[str, Any]:
        return {
            "plan": self.given.get("plan", PLAN),
            "trades": ["T1"],
            "state": "READY",
            "entries_frozen": self.given.get("frozen", []),
        }

    def close(self) -> None:
        """End of the thread."""
        asyncio.run_coroutine_threadsafe(self.server.close(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture(scope="module")
def answers() -> Iterator[Answers]:
    # Always as long: at 80 columns a line that names it is broken by its length.
    with tempfile.TemporaryDirectory(prefix="pink-screens-", dir="/tmp") as folder:
        served = Answers(Path(folder))
        yield served
        served.close()


def seen(answers: Answers, line: str, width: int) -> Done:
    """What a command shows, without what differs from run to run."""
    config = answers.folder / "p.toml"
    config.write_text(f'[journal]\ndirectory = "{answers.folder}"\n')
    words = shlex.split(line.format(folder=answers.folder, config=config))
    own_place = {"config", "golden", "replay", "runbook", "--state-dir", "--config"} & set(words)
    where = [] if own_place else ["--state-dir", str(answers.folder)]
    done = typed(*words, *where, width=width)
    return Done(done.code, *(_steady(text, answers.folder) for text in done[1:]))


def _steady(text: str, folder: Path) -> str:
    text = text.replace(str(folder), "/STATE")
    text = re.sub(r"settings_hash \w{64}", "settings_hash HASH", text)
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", CASES)
def test_a_screen_is_as_it_was_looked_at(answers: Answers, name: str) -> None:
    line, answers.given = CASES[name]
    blocks = []
    for label, width in WIDTHS.items():
        done = seen(answers, line, width)
        assert not [text for text in done[1:] if "\x1b" in text], "a colour, and nothing else"
        tables = [each for each in done.stdout.splitlines() if "─" in each]
        assert not width or all(len(each) <= width for each in tables)
        blocks.append(f"$ pink-ctl {line}   [{label}: {done.code}]\n{done.stdout}--\n{done.stderr}")
    text = "\n".join(blocks)
    path = SCREENS / f"{name}.txt"
    if os.environ.get("DITA_SCREENS") == "write":
        SCREENS.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


HELPS = {
    " ".join(words): [*words, "--help"]
    for words in [
        (),
        *((name,) for name in app.COMMANDS),
        *((name, part) for name, parts in app.SUBCOMMANDS.items() for part in parts),
    ]
}


@pytest.mark.parametrize("command", HELPS)
def test_a_help_is_as_it_was_looked_at(command: str) -> None:
    """Plain text of at most 80 columns, the same everywhere."""
    done = typed(*HELPS[command])
    assert (done.code, done.stderr) == (0, "")
    assert typed(*HELPS[command], width=140).stdout == done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "..." not in done.stdout.partition("Commands:")[2], "a summary that is cut"
    path = HELP / f"{command.replace(' ', '-') or 'pink-ctl'}.txt"
    if os.environ.get("DITA_SCREENS") == "write":
        HELP.mkdir(exist_ok=True)
        path.write_text(done.stdout, encoding="utf-8")
    assert done.stdout == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CASES)
def test_a_screen_is_one_object_for_programs(answers: Answers, name: str) -> None:
    """--json: one object, its version first, errors too, and the place where there is one."""
    line, answers.given = CASES[name]
    done = seen(answers, f"{line} --json", 0)
    record = json.loads(done.stdout)
    assert next(iter(record)) == "schema_version"
    assert record.get("error", {}).get("exit_code", done.code) == done.code
    spoken = "--state-dir" not in line and name not in OWN_PLACE
    assert not spoken or record["place"]["money"] == "live"


def test_every_screen_on_the_disk_is_one_of_these() -> None:
    assert {path.stem for path in SCREENS.glob("*.txt")} == set(CASES)
