"""The operator's commands against the local exchange, every part a process of its own.

`pink-ctl exchange` is the judge: what it has in its book is compared with what the commands say.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.exchange_process import KEY, SECRET, RunningExchange, running
from support.serve_station import Station, is_flat, is_open, pink

from dita.clock import SystemClock
from dita.contracts import OrderSide, OrderType
from dita.identity import client_order_id
from dita.units import MONEY_ONE, PRICE_ONE, QUANTITY_ONE, parse_money
from dita.venues import SubmitOrder
from dita.venues.bingx.venue import BingxConfig, BingxVenue

FET, BTC = "FET-USDT", "BTC-USDT"
#: The exchange answers balances with four decimals and books with eight.
OFF = MONEY_ONE // 1_000

#: Below the best bid, so a SHORT at this limit fills at once, and at the bid.
BELOW = "0.49"


class Desk(Station):
    """A serve's settings for a local exchange, and the exchange."""

    def __init__(self, folder: Path, exchange: RunningExchange) -> None:
        self.exchange = exchange
        self.state = folder / "state"
        self.config = folder / "pink.toml"
        self.config.write_text(f"""
[venue]
kind = "bingx"
environment = "vst"
rest_url = "{exchange.rest}"
stream_url = "{exchange.stream}"
api_key = "env:TEST_KEY"
api_secret = "env:TEST_SECRET"
absence_fence_s = 1
[kernel]
namespace = "test"
slot_limit = 4
[runtime]
tick_ms = 20
in_flight_check_s = 1
open_orders_check_s = 1
drain_limit_s = 5
crash_budget = 100
[journal]
segment_bytes = 1048576
reserve_bytes = 65536
""")
        self.words = ("--config", str(self.config), "--state-dir", str(self.state))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return pink(*words, *self.words)

    def record(self, *words: str) -> dict[str, Any]:
        done = self.run(*words, "--json")
        assert done.stdout, done.stderr
        record: dict[str, Any] = json.loads(done.stdout)
        return record

    def positions(self) -> dict[str, str]:
        return {each["symbol"]: each["quantity"] for each in self.exchange.book()["positions"]}

    def foreign(self, symbol: str, side: str, quantity: str) -> None:
        """Somebody trades by hand."""
        order = {"symbol": symbol, "side": side, "quantity": quantity}
        self.exchange.control("POST", "foreign_order", **order)

    def settled(self) -> dict[str, Any]:
        """Wait until capital is what the exchange's book says."""

        def equal(record: dict[str, Any]) -> bool:
            wallet = parse_money(self.exchange.book()["wallet"])
            return abs(parse_money(record["capital"]) - wallet) < OFF

        return self.until("capital is the exchange's", equal)

    def second_kernel(self, name: str) -> None:
        """An order that only a kernel like ours can have sent, and not this one."""

        async def place() -> None:
            config = BingxConfig(rest_url=self.exchange.rest, stream_url=self.exchange.stream)
            venue = BingxVenue(
                config, SystemClock(), api_key=lambda: KEY, api_secret=lambda: SECRET,
                draw=lambda below: 0,
            )  # fmt: skip
            await venue.connect()
            price = await venue.price(FET)
            order = SubmitOrder(
                client_order_id=client_order_id("other", 7, name, 1),
                asset=FET,
                side=OrderSide.BUY,
                order_type=OrderType.LIMIT,
                quantity_e8=100 * QUANTITY_ONE,
                limit_price_e10=price * 9 // 10 // (PRICE_ONE // 1_000) * (PRICE_ONE // 1_000),
            )
            await venue.submit(order)
            await venue.close()

        asyncio.run(asyncio.wait_for(place(), 30))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("TEST_KEY", KEY)
    monkeypatch.setenv("TEST_SECRET", SECRET)
    with running("--still", "--balance", "25000") as exchange:
        yield Desk(tmp_path, exchange)


def stopped(serve: subprocess.Popen[str]) -> None:
    serve.send_signal(signal.SIGTERM)
    assert serve.wait(60) == 0


def test_a_day_at_the_desk(desk: Desk) -> None:
    """Smoke, a trade by hand, reconcile, soak, explain, and a drain by SIGTERM."""
    with desk.serve() as serve:
        assert desk.status()["exchange_balance"] == "25000"
        dry = desk.run("smoke", "--symbol", "TRX-USDT", "--dry-run")
        assert (dry.returncode, desk.exchange.book()["orders"]) == (0, []), dry.stderr
        smoke = desk.run("smoke", "--symbol", "TRX-USDT")
        assert smoke.returncode == 0, smoke.stdout + smoke.stderr
        steps = smoke.stdout.splitlines()
        assert [line[0] for line in steps[:-1]] == ["✓"] * 12 and steps[-1].startswith("trade ")
        desk.settled()
        entered = desk.enter("T1", BELOW)
        assert entered.returncode == 0, entered.stderr
        desk.until("open", is_open)
        assert desk.positions() == {FET: "1000"}
        desk.settled()
        same = desk.run("reconcile")
        assert same.returncode == 0, same.stdout + same.stderr
        assert desk.exit("T1").returncode == 0
        desk.until("flat", is_flat)
        assert desk.positions() == {}
        desk.settled()
        soak = desk.record("soak", "--duration", "3s", "--interval", "500ms")
        assert soak["holds"] and soak["idle"]["samples"] >= 3
        record = desk.status()
        assert record["venue"]["requests"]["POST v2/trade/order"] == 4
        assert record["venue"]["blocks"] == {} and record["venue"]["refusals"] == []
        stopped(serve)
    story = desk.record("explain", "T1")
    assert story["links"][0]["input"] == "ENTER"
    fills = desk.exchange.book()["fills"]
    made = sum(parse_money(f["profit"]) - abs(parse_money(f["fee"])) for f in fills)
    wallet = parse_money(desk.exchange.book()["wallet"])
    assert wallet - 25_000 * MONEY_ONE == made


def test_a_position_of_somebody_else_is_planned_and_noted(desk: Desk) -> None:
    """And the money that it cost is anchored, with a reason."""
    plan = desk.config.with_name("plan.json")
    with desk.serve() as serve:
        desk.enter("T1", BELOW)
        desk.until("open", is_open)
        desk.settled()
        desk.foreign(BTC, "BUY", "0.01")
        found = desk.run("reconcile", "--out", str(plan))
        assert found.returncode == 1, found.stderr
        assert "position foreign" in found.stdout
        done = desk.run("reconcile", "--apply", str(plan), "--reason", "seen")
        assert "positions taken in" in done.stdout, done.stdout + done.stderr
        refused = pink(
            "intent", "enter", *desk.words, "--trade", "B1", "--asset", BTC, "--side", "LONG",
            "--quantity", "0.01", "--price", "60000", "--reason", "test", "--apply",
        )  # fmt: skip
        assert "FOREIGN_POSITION" in refused.stdout + refused.stderr
        anchored = desk.run("anchor", "--reason", "a trade by hand", "--everything", "--apply")
        assert anchored.returncode == 0, anchored.stdout + anchored.stderr
        record = desk.settled()
        assert record["k_capital"] == record["capital"]
        assert desk.positions()[BTC] == "0.01"  # left alone
        stopped(serve)
    tail = pink("journal", "tail", "--state-dir", str(desk.state), "--json")
    assert "a trade by hand" in tail.stdout


def test_an_order_of_a_second_kernel_holds(desk: Desk) -> None:
    with desk.serve() as serve:
        desk.enter("T1", BELOW)
        desk.until("open", is_open)
        desk.second_kernel("somebody's")
        held = desk.until("held", lambda record: record["state"] == "HOLD")
        assert "second kernel" in held["held_because"]
        found = desk.run("reconcile")
        assert found.returncode == 1
        assert "order of another kernel" in found.stdout
        assert desk.exit("T1").returncode == 0  # exits are never held
        desk.until("flat", lambda record: not record["slots"])
        stopped(serve)
    working = [o for o in desk.exchange.book()["orders"] if o["status"] in ("NEW", "PENDING")]
    assert len(working) == 1  # theirs was left alone


def test_flat_by_emergency_after_a_kill(desk: Desk) -> None:
    with desk.serve() as serve:
        desk.enter("T1", BELOW)
        desk.until("open", is_open)
        serve.kill()
        serve.wait(30)
    planned = desk.run("flatten", "--emergency")
    assert planned.returncode == 0, planned.stderr
    assert desk.positions() == {FET: "1000"}
    done = desk.run("flatten", "--emergency", "--apply")
    assert done.returncode == 0, done.stdout + done.stderr
    assert desk.positions() == {}
    with desk.serve() as serve:  # the next one books it to the trade
        desk.until("flat", is_flat)
        desk.settled()
        stopped(serve)


def test_a_restart_without_reconcile_holds_on_a_difference(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINK__RUNTIME__RECONCILE_ON_RESTART", "false")
    with desk.serve() as serve:
        desk.enter("T1", BELOW)
        desk.until("open", is_open)
        desk.settled()
        stopped(serve)
    with desk.serve() as serve:
        same = desk.status()
        assert same["state"] == "READY", same["held_because"]
        stopped(serve)
    desk.foreign(FET, "BUY", "400")
    with desk.serve() as serve:
        held = desk.status()
        assert (held["state"], held["entries_frozen"][0]) == ("HOLD", "hold")
        assert "position reduced outside" in held["held_because"]
        desk.until("booked", lambda record: [s["size"] for s in record["slots"]] == ["600"])
        stopped(serve)


def test_status_shows_how_the_way_to_the_exchange_does(desk: Desk) -> None:
    """Refusals in the exchange's words, blocks with their rest, gaps of the stream."""
    with desk.serve() as serve:
        calm = desk.run("status").stdout
        assert "rate limits" not in calm and "refused" not in calm and "gaps" not in calm
        refusal = {
            "kind": "refused", "on": "POST */trade/order", "code": 101204,
            "msg": "Insufficient margin, said the exchange",
        }  # fmt: skip
        desk.exchange.control("POST", "faults", fault=[refusal])
        desk.enter("T1", BELOW)
        desk.until("refused", lambda record: record["venue"]["refusals"])
        desk.exchange.control("POST", "act", kind="socket_closed")
        record = desk.until("a gap", lambda record: record["venue"]["gaps"])
        assert record["venue"]["gaps"].keys() <= {"closed", "connected"}
        shown = desk.run("status").stdout
        assert "stream gaps since the start" in shown
        assert "code 101204 Insufficient margin, said the exchange" in shown
        desk.until("healed", lambda record: record["state"] == "READY")
        stopped(serve)
