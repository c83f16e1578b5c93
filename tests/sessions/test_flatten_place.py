"""`flatten --emergency` at the right exchange, and no more than what is ours there.

A local exchange and a serve that was killed, as a tired person finds them; what is compared is the
exchange's own book.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import Done, typed
from support.exchange_process import RunningExchange
from support.installation import KEYS, TradingDesk, trading_desk

from dita.runtime.state import directory

#: Each test has its own: orders of the ones before it are in the exchange's history.
SYMBOLS = iter(
    f"{coin}-USDT"
    for coin in ("FET", "TRX", "ADA", "DOGE", "XRP", "LINK", "WLD", "SOL", "LTC", "BCH")
)


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningExchange]:
    with trading_desk(tmp_path_factory.mktemp("exchange"), "--balance", "10000000") as desk:
        yield desk.exchange


@pytest.fixture
def desk(
    exchange: RunningExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OneTrade]:
    """Serve has entered SHORT 500 and was killed."""
    monkeypatch.setattr(directory, "INSTALLED", tmp_path / "no-etc")
    monkeypatch.delenv("PINK_CONFIG", raising=False)
    desk = OneTrade(tmp_path, exchange)
    desk.symbol = next(SYMBOLS)
    with desk.serve() as serve:
        desk.enter("T1", desk.symbol, "500", "SHORT")
        serve.kill()
        serve.wait()
    yield desk
    for position in exchange.book()["positions"]:
        desk.by_hand("SELL" if position["side"] == "LONG" else "BUY", position["quantity"])


class OneTrade(TradingDesk):
    """An installation that has traded one symbol."""

    symbol = ""

    def by_hand(self, side: str, quantity: str) -> None:
        """Somebody trades on the account."""
        acts = {"symbol": self.symbol, "side": side, "quantity": quantity}
        self.exchange.control("POST", "foreign_order", **acts)

    def flatten(self, *words: str) -> Done:
        return self.type("flatten", "--emergency", *words)

    @property
    def held(self) -> str:
        """The position, by the exchange's own book."""
        return self.positions().get(self.symbol, "flat")


# -- the right place -------------------------------------------------------------------------------


def test_without_a_settings_file_nobody_is_told_that_it_is_flat(desk: OneTrade) -> None:
    for words in ((), ("--symbol", desk.symbol), ("--all", "--confirm", "0")):
        line = ("flatten", "--emergency", *words, "--state-dir", str(desk.state), "--apply")
        nothing = typed(*line, environ=KEYS)
        assert (nothing.code, nothing.stdout) == (78, "")
        demo = typed(*line, environ={**KEYS, "PINK_CONFIG": "demo"})
        assert (demo.code, demo.stdout) == (5, "")
        assert "name no exchange" in demo.stderr
    assert desk.held == "SHORT 500"


def test_another_account_s_settings_are_refused(desk: OneTrade) -> None:
    other = desk.folder / "other.toml"
    other.write_text(desk.config.read_text().replace('namespace = "test"', 'namespace = "other"'))
    done = typed("flatten", "--emergency", "--config", str(other), "--apply", environ=KEYS)
    assert (done.code, "kernel.namespace = test" in done.stderr) == (78, True), done.stderr
    environment = desk.state / "environment"
    environment.write_text("live\n")
    try:
        for words in ((), ("--all", "--confirm", "1"), ("--symbol", desk.symbol)):
            done = desk.flatten(*words, "--apply")
            assert (done.code, "venue.environment = live" in done.stderr) == (78, True)
    finally:
        environment.write_text("vst\n")
    assert desk.held == "SHORT 500"


def test_it_says_first_which_exchange_and_which_account(desk: OneTrade) -> None:
    shown = desk.flatten()
    first, second, *rest = shown.stdout.splitlines()
    assert first.startswith(f"local exchange {desk.exchange.rest}, test money, key env:TEST_KEY")
    assert second.startswith("account: wallet 99")
    assert rest == [f"would send BUY 500 {desk.symbol}, reduce-only MARKET: closes SHORT 500, ours"]
    last = shown.stderr.splitlines()[-1]
    assert last == f"next: pink-ctl flatten --emergency --config {desk.config} --apply"
    record = json.loads(desk.flatten("--json").stdout)
    assert record["place"]["money"] == "vst"
    assert record["positions"] == [
        {"asset": desk.symbol, "position": "SHORT", "sends": "BUY", "quantity": "500"}
    ]
    done = typed(*last.split()[2:], environ=KEYS)
    assert (done.code, done.stdout.splitlines()[-1]) == (0, "end: flat")
    assert desk.held == "flat"


def test_a_directory_that_says_nothing_has_to_be_said(desk: OneTrade, tmp_path: Path) -> None:
    """Moved away, or on a disk that is gone: host, money and symbol are typed, all of them."""
    words = ("--symbol", desk.symbol, "--state-dir", str(tmp_path / "new"))
    plan = desk.flatten(*words)
    assert "not proven that this is the place" in plan.stderr
    assert "closes SHORT 500, ours" in plan.stdout  # by the ids that the exchange has
    said = ("--host", desk.exchange.rest, "--money", "vst", "--confirm", desk.symbol)
    for left_out in range(0, 6, 2):
        partly = said[:left_out] + said[left_out + 2 :]
        refused = desk.flatten(*words, *partly, "--apply")
        assert refused.code == 5, refused.stdout
        assert f"--host {desk.exchange.rest} --money vst --confirm {desk.symbol}" in refused.stderr
    assert desk.held == "SHORT 500"
    assert desk.flatten(*words, *said, "--apply").code == 0
    assert desk.held == "flat"


# -- no more than ours -----------------------------------------------------------------------------


def test_somebody_else_s_part_of_a_position_is_left_alone(desk: OneTrade) -> None:
    desk.by_hand("SELL", "5000")
    plan = desk.flatten()
    assert f"would send BUY 500 {desk.symbol}" in plan.stdout
    assert f"left alone: SHORT 5000 {desk.symbol}, not proven to be ours" in plan.stdout
    done = desk.flatten("--apply")
    assert done.code == 0, done.stdout + done.stderr
    assert desk.held == "SHORT 5000"
    assert desk.flatten("--apply").code == 0
    assert desk.held == "SHORT 5000"


@pytest.mark.parametrize(
    ("side", "quantity", "left"),
    [("BUY", "300", "flat"), ("BUY", "500", "flat"), ("BUY", "800", "LONG 300")],
)
def test_the_live_position_is_the_limit(
    desk: OneTrade, side: str, quantity: str, left: str
) -> None:
    """What others have closed of ours is not closed again, and nothing of theirs is."""
    desk.by_hand(side, quantity)
    assert desk.flatten("--apply").code == 0
    assert desk.held == left


def test_without_proof_a_quantity_is_typed(desk: OneTrade) -> None:
    assert desk.flatten("--apply").code == 0
    desk.by_hand("BUY", "5000")
    nothing = desk.flatten("--symbol", desk.symbol, "--apply")
    assert (nothing.code, "nothing of ours is open" in nothing.stdout) == (0, True)
    hint = next(line for line in nothing.stdout.splitlines() if line.startswith("left alone"))
    assert hint.endswith(f"if it is: --symbol {desk.symbol} --quantity 5000")
    assert desk.flatten("--quantity", "400", "--apply").code == 2
    done = desk.flatten("--symbol", desk.symbol, "--quantity", "400", "--apply")
    assert done.code == 0, done.stdout + done.stderr
    assert desk.held == "LONG 4600"


def test_a_journal_that_lost_its_end_does_not_lose_what_is_ours(desk: OneTrade) -> None:
    """The entry stands behind the damage; the exchange has its order with our id."""
    journal = desk.state / "journal"
    segment = sorted(journal.glob("journal-*.seg"))[-1]
    whole = segment.read_bytes()
    data = bytearray(whole)
    used = len(whole.rstrip(b"\0"))
    data[used // 3] ^= 1
    try:
        segment.write_bytes(data)
        plan = desk.flatten("--symbol", desk.symbol)
        assert f"would send BUY 500 {desk.symbol}" in plan.stdout, plan.stdout + plan.stderr
    finally:
        segment.write_bytes(whole)
