"""The jobs of an operator, each as a session: what is typed, what is read, what is done next.

One installation as the packaged settings file and its comment describe it: a local exchange, serve,
and `PINK_CONFIG`; nothing else is typed.  What a line proposes with `next:` is typed as it stands.
The books of the exchange are the judge.  Jobs that have a file of their own: supervisord and crash
loops (test_supervisord), install, upgrade, move and rotate line by line (test_runbook_steps), the
night in full (test_last_night), a key that is refused (test_questions), the library
(test_embedding), the wheel (test_wheel).
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.command_line import Done, typed
from support.exchange_process import running
from support.installation import FET, TRX, TradingDesk

ROOT = Path(__file__).parent.parent.parent
PROGRAM = str(Path(sys.executable).with_name("pink-ctl"))
PACKAGED = ROOT / "configs" / "pink-local.toml"
#: Asked more often than in production, so that nobody waits.
QUICK = """
[runtime]
tick_ms = 20
in_flight_check_s = 1
positions_check_s = 1
balance_check_s = 1
income_check_s = 2
crash_budget = 100
"""


class Person(TradingDesk):
    """Somebody at this installation, who types nothing but what the product says."""

    def __init__(self, folder: Path, exchange: Any) -> None:
        super().__init__(folder, exchange)
        text = PACKAGED.read_text(encoding="utf-8")
        comment = re.search(r"#\s+((?:\w+=\w+ )+)pink-ctl serve --config", text)
        assert comment is not None, "the file says how serve is started"
        self.variables = dict(word.split("=") for word in comment[1].split())
        for old, new in (
            ("http://127.0.0.1:8300", exchange.rest),
            ("ws://127.0.0.1:8300/swap-market", exchange.stream),
            ("/tmp/pink-local", str(self.state)),
        ):
            assert old in text
            text = text.replace(old, new)
        self.config.write_text(text + QUICK)
        os.environ.update(self.variables)

    def types(self, line: str, width: int = 0) -> Done:
        """A line with PINK_CONFIG set, in this process."""
        program, *words = shlex.split(line)
        assert program.endswith("pink-ctl"), line
        return typed(*words, width=width, environ={"PINK_CONFIG": str(self.config)})

    def goes_on(self, done: Done) -> Done:
        """The first line after `next:`, typed as it stands."""
        found = re.findall(r"(?m)^next: (.*)$", done.stdout + done.stderr)
        assert found, done
        return self.types(found[0])

    def enters(self, trade: str, asset: str, quantity: str, side: str = "LONG") -> None:
        """Enter by plan and the line that it proposes."""
        line = (
            f"pink-ctl intent enter --trade {trade} --asset {asset} --side {side}"
            f" --quantity {quantity} --reason 'by hand'"
        )

        def planned() -> Done:
            """The plan, once money has come to rest: until then it proposes nothing."""
            for _ in range(100):
                if "next: " in (plan := self.types(line)).stdout + plan.stderr:
                    return plan
                time.sleep(0.1)
            return self.types(line)

        done = self.calmly(lambda: self.goes_on(planned()))
        assert done.code == 0 and "filled: " in done.stdout, done
        self.settled()


@pytest.fixture(scope="module")
def at_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """The installation with its serve; the sessions of one module come one after the other."""
    before = dict(os.environ)
    with installation(tmp_path_factory.mktemp("jobs")) as person, person.serve():
        yield person
    os.environ.clear()
    os.environ.update(before)


@contextmanager
def installation(folder: Path) -> Iterator[Person]:
    (folder / "faults.toml").write_text("[limits]\nenabled = false\n")
    with running("--still", "--faults", str(folder / "faults.toml")) as exchange:
        yield Person(folder, exchange)


@pytest.fixture
def person(at_work: Person) -> Iterator[Person]:
    """Flat and free before each session and after it."""
    yield at_work
    at_work.flat()
    if at_work.status()["entries_frozen"]:
        assert at_work.types("pink-ctl resume --reason end --apply").code == 0


# -- what the jobs are -----------------------------------------------------------------------------


def test_hold_and_resume(person: Person) -> None:
    planned = person.types('pink-ctl hold --reason "news"')
    assert planned.stdout.startswith("would hold") and person.status()["entries"]["allowed"]
    assert person.goes_on(planned).stdout.startswith("done: hold")
    board = person.types("pink-ctl status")
    assert re.match(r"HOLD, no entries: hold by \w+: news\n", board.stdout)
    refused = person.types(
        f"pink-ctl intent enter --trade H1 --asset {FET} --side LONG --quantity 10 --reason x"
    )
    assert "REFUSED if sent now: ENTRIES_FROZEN" in refused.stdout
    assert "next:" not in refused.stderr.rpartition("nothing was sent")[2]
    assert person.goes_on(board).code == 0  # the board says how it ends
    assert person.types("pink-ctl status").stdout.startswith("READY: entries may go")


def test_hold_of_one_symbol(person: Person) -> None:
    assert person.types(f"pink-ctl hold --symbol {FET} --reason delisting --apply").code == 0
    assert f"no entries on {FET}: held by an operator" in person.types("pink-ctl status").stdout
    entry = "pink-ctl intent enter --trade S1 --asset {} --side LONG --quantity 10 --reason x"
    assert "SYMBOL_HELD" in person.types(entry.format(FET)).stdout
    assert "REFUSED" not in person.calmly(lambda: person.types(entry.format(TRX))).stdout
    assert person.types(f"pink-ctl resume --symbol {FET} --reason back --apply").code == 0


def test_enter_and_exit_by_hand(person: Person) -> None:
    person.enters("E1", FET, "500", "SHORT")
    assert person.positions() == {FET: "SHORT 500"}
    small = person.types("pink-ctl intent exit --trade E1 --quantity 0.5 --reason trim --apply")
    assert small.code == 2 and "a multiple of 1 (the contract's step)" in small.stderr
    too_much = person.types("pink-ctl intent exit --trade E1 --quantity 99999 --reason out")
    assert "BUY ALL 500 FET-USDT" in too_much.stdout
    part = person.goes_on(person.types("pink-ctl intent exit --trade E1 --quantity 100 --reason x"))
    assert "filled: BUY 100 of 100" in part.stdout
    person.settled()
    assert person.positions() == {FET: "SHORT 400"}
    whole = person.goes_on(person.types("pink-ctl intent exit --trade E1 --all --reason out"))
    assert whole.code == 0
    person.until("out", lambda s: not s["slots"])
    assert person.positions() == {}
    again = person.types("pink-ctl intent exit --trade E1 --all --reason out --apply")
    assert again.code == 1 and "NO_POSITION" in again.stdout


def test_a_position_is_worth_what_the_exchange_says_and_its_age_is_told(person: Person) -> None:
    person.enters("M1", FET, "500", "SHORT")
    price = next(s for s in person.status()["slots"])["entry_price"]
    person.exchange.control("POST", "price", symbol=FET, price=price, mark="0.6")
    marked = person.until("marked", lambda s: s["slots"][0]["mark_price"] == "0.6")
    assert marked["slots"][0]["mark_age_ms"] <= 2_000
    assert marked["slots"][0]["unrealized"].startswith("-")
    assert re.search(
        r"equity .* open positions at marks up to ", person.types("pink-ctl status").stdout
    )


def test_why_did_a_trade_lose(person: Person, tmp_path: Path) -> None:
    person.enters("L1", TRX, "1000")
    person.exchange.control("POST", "price", symbol=TRX, price="0.12", mark="0.12")
    assert person.types("pink-ctl intent exit --trade L1 --all --reason enough --apply").code == 0
    person.until("out", lambda s: not s["slots"])
    (row,) = [t for t in json.loads(person.types("pink-ctl trades --json").stdout)["trades"]
              if t["trade"] == "L1"]  # fmt: skip
    assert row["net"].startswith("-") and row["ended"] == "exit"
    told = person.types("pink-ctl explain L1", width=80)
    first = told.stdout.splitlines()[0]
    assert "lost" in first and "price" in first and "fees" in first, first
    assert "enough" in told.stdout and "0.12" in told.stdout
    svg = tmp_path / "l1.svg"
    assert person.types(f"pink-ctl explain L1 --svg {svg}").code == 0
    assert svg.read_text().startswith("<svg")
    table = person.types("pink-ctl trades --day today")
    assert "L1" in table.stdout and "TRX-USDT" in table.stdout


def test_after_a_close_by_hand(person: Person) -> None:
    person.enters("C1", FET, "300")
    person.exchange.control("POST", "foreign_order", symbol=FET, side="SELL", quantity="300")
    person.until("booked", lambda s: not s["slots"])
    events = person.types("pink-ctl events --trade C1").stdout
    assert "EXTERNAL_CLOSE" in events
    assert "closed from outside" in person.types("pink-ctl explain C1").stdout
    end = time.monotonic() + 20
    while (done := person.types("pink-ctl reconcile")).code == 1 and time.monotonic() < end:
        time.sleep(0.2)  # until the exchange's row of it was read
    assert done.code == 0, done


def test_somebody_else_s_position_is_adopted_by_a_plan(person: Person, tmp_path: Path) -> None:
    person.exchange.control("POST", "foreign_order", symbol=FET, side="BUY", quantity="70")
    person.until("seen", lambda s: True)
    plan = tmp_path / "plan.json"
    made = person.types(f"pink-ctl reconcile --symbol {FET} --adopt {FET} --out {plan}")
    assert made.code == 1 and plan.exists(), made
    done = person.goes_on(made)
    assert done.code == 1 and "foreign activity" in done.stdout, done  # the stranger's fee
    (slot,) = person.until("ours", lambda s: s["slots"])["slots"]
    assert (slot["asset"], slot["size"]) == (FET, "70")
    again = person.goes_on(made)
    assert again.code in (1, 5) and "this plan has done it before" in again.stdout, again
    assert person.positions() == {FET: "LONG 70"}
    booked = person.goes_on(person.types("pink-ctl anchor --reason 'a fee of the stranger'"))
    assert booked.code == 0, booked
    assert person.types("pink-ctl reconcile").code == 0


def test_a_setting_is_changed(person: Person) -> None:
    text = person.config.read_text()
    try:
        person.config.write_text(text.replace("slot_limit = 4", "slot_limit = 5"))
        assert person.types("pink-ctl config show").code == 0
        held = person.types("pink-ctl hold --reason x --apply")
        assert held.code == 5
        assert "kernel.slot_limit is 4 there and 5 here" in held.stderr
        stopped = subprocess.run(
            [PROGRAM, "serve", "--config", str(person.config), "--once", "--state-dir",
             str(person.folder / "fresh")], capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert stopped.returncode == 75, stopped.stderr  # one serve of a namespace and account
        person.config.write_text(text.replace("slot_limit = 4", "slot_limits = 5"))
        slip = person.types("pink-ctl config show")
        assert slip.code == 78 and "slot_limit" in slip.stderr
        # A slip in the file holds nobody up.
        assert person.types("pink-ctl hold --reason x --apply").code == 0
    finally:
        person.config.write_text(text)


def test_completion_knows_this_installation(person: Person) -> None:
    person.enters("T-comp", FET, "100")

    def offered(line: str) -> list[str]:
        environ = {
            **os.environ,
            "PINK_CONFIG": str(person.config),
            "_PINK_CTL_COMPLETE": "complete_bash",
            "COMP_WORDS": line.replace(" ", "\n"),
            "COMP_CWORD": str(line.count(" ")),
        }
        done = subprocess.run(
            [PROGRAM], env=environ, capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    assert offered("pink-ctl intent exit --trade ") == ["T-comp"]
    assert FET in offered("pink-ctl intent enter --asset F")
    assert offered("pink-ctl intent enter --side S") == ["SHORT"]


# -- pages -----------------------------------------------------------------------------------------

PAGES = (
    "status", "last-night", "trades", "events", "explain", "hold", "resume", "intent", "anchor",
    "smoke", "reconcile", "flatten", "config", "journal", "replay", "runbook",
)  # fmt: skip
#: What runs until somebody ends it, or for a day; and files that only the reader has.
NOT_HERE = re.compile(r"--watch|--follow|24h|--speed|/etc/pink|mine.toml|--adopt")
#: How lines end that need another situation than the one here; all others end with 0.
ELSEWHERE = {
    "intent": {0, 1, 6}, "flatten": {5, 75}, "journal": {0, 2, 5, 75}, "reconcile": {0, 1, 5},
    "explain": {0, 2},
}  # fmt: skip


def lines_of(page: str) -> list[str]:
    """What a page gives to be typed: its indented lines and its blocks."""
    text = (ROOT / "runbooks" / f"{page}.md").read_text(encoding="utf-8")
    found = re.findall(r"(?m)^(?: {4})?(pink-ctl .*)$", text)
    return [re.split(r"\s{2,}|\s#|\s> ", line)[0] for line in found if not NOT_HERE.search(line)]


@pytest.mark.parametrize("page", PAGES)
def test_the_lines_of_a_page_are_typed(
    person: Person, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if page in ("explain", "intent", "reconcile"):
        person.enters("T1", FET, "500", "SHORT")
    lines = lines_of(page)
    assert lines or page in ("status",), page
    for line in lines:
        here = line.replace("/var/lib/pink-copy", str(tmp_path / "copy"))
        here = here.replace("/var/lib/pink", str(person.state))
        done = person.types(here)
        allowed = ELSEWHERE.get(page, {0})
        assert done.code in allowed, (line, done)
        assert "Traceback" not in done.stderr, (line, done)


# -- sessions that need a serve of their own -------------------------------------------------------


def test_the_demo_at_both_sizes_of_a_terminal(tmp_path: Path) -> None:
    """`make run` on a small and on a large terminal; then the line that it proposes."""
    tape = tmp_path / "waves.csv"
    rows = [f"{i * 2_000},FET-USDT,0.{5_000 + abs((i * 3) % 80 - 40)}" for i in range(60)]
    tape.write_text("time_ms,asset,price\n" + "\n".join(rows) + "\n")
    sizes = ((80, 24), (140, 40))

    def seen(size: tuple[int, int]) -> tuple[str, int]:
        state = str(tmp_path / str(size[0]))
        return on_a_terminal(*size, "serve", "--demo", "--tape", str(tape), "--state-dir", state)

    with ThreadPoolExecutor() as both:
        screens = list(both.map(seen, sizes))
    for screen, code in screens:
        assert code == 0, screen[-2_000:]
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen)
        assert "READY: entries may go" in plain and "capital" in plain
        (proposed,) = re.findall(r"next: (\S*pink-ctl explain [^\r\n]*)", plain)
        done = typed(*shlex.split(proposed)[1:])
        assert done.code == 0 and done.stdout, done


def on_a_terminal(columns: int, lines: int, *words: str) -> tuple[str, int]:
    """Run it on a terminal of that size; what was drawn, and how it ended."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environ = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        [PROGRAM, *words], stdin=theirs, stdout=theirs, stderr=theirs,
        env={**environ, "TERM": "xterm-256color"},
    ) as process:  # fmt: skip
        os.close(theirs)
        drawn = b""
        try:
            while data := os.read(ours, 65_536):
                drawn += data
        except OSError:
            pass  # the other side was closed
        os.close(ours)
        return drawn.decode(errors="replace"), process.wait(60)


def test_a_corrupt_journal_from_the_message_to_ready_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed with a position open, a byte is wrong: what is printed is typed, no more."""
    with installation(tmp_path) as person:
        for name, value in person.variables.items():
            monkeypatch.setenv(name, value)
        with person.serve() as serve:
            person.enters("D1", FET, "500", "SHORT")
            serve.send_signal(signal.SIGKILL)
            serve.wait(20)
        segment = min((person.state / "journal").glob("journal-*.seg"))
        data = bytearray(segment.read_bytes())
        data[3_000] ^= 1
        segment.write_bytes(data)
        words = [PROGRAM, "serve", "--config", str(person.config)]
        ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        assert ended.returncode == 74 and "damaged at record" in ended.stderr
        planned = person.goes_on(Done(74, "", ended.stderr))
        assert "BUY" in planned.stdout and "500" in planned.stdout, planned
        assert person.positions() == {FET: "SHORT 500"}
        assert person.goes_on(planned).code == 0
        assert person.positions() == {}
        aside = person.types('pink-ctl journal retire --reason "a byte is wrong"')
        lines = re.findall(r"(?m)^next: (.*)$", aside.stderr)
        assert [person.types(line).code for line in lines] == [0, 0]
        with person.serve():
            board = person.types("pink-ctl status")
            assert board.stdout.startswith("HOLD, no entries: ")
            assert person.types("pink-ctl reconcile").code in (0, 1)
            assert person.goes_on(board).code == 0
            assert person.types("pink-ctl status").stdout.startswith("READY")
