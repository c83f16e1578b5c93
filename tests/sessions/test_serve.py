"""serve as a process: start, control socket, signals, a second one, and kill -9 in mid-trade.

The venue lives in a process of its own, so that it outlives the killed kernel; what is compared in
the end is the venue's own book.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.serve_station import COMMAND, Station, is_flat, is_open, money_agrees, pink


def test_a_round_trip_by_hand_and_a_clean_stop(station: Station) -> None:
    with station.serve() as serve:
        assert station.enter("T1").stdout.startswith("done: enter SHORT 1000 FET-USDT")
        station.until("open", is_open)
        second = pink("serve", *station.words)
        assert second.returncode == 75
        assert str(serve.pid) in second.stderr
        refused = station.enter("T1")
        assert (refused.returncode, refused.stdout) == (1, "refused: SLOT_BUSY\n")
        assert station.exit("T1").returncode == 0
        record = station.until("flat", is_flat)
        station.until("balance", money_agrees)
        assert record["trades"] == 1
        serve.send_signal(signal.SIGTERM)
        assert serve.wait(20) == 0
    nobody = pink("status", *station.words)
    assert nobody.returncode == 3
    assert "serve is not running" in nobody.stderr


def test_hold_and_resume_and_plan_first(station: Station) -> None:
    with station.serve():
        planned = pink("hold", *station.words, "--reason", "test")
        assert planned.stdout == "would hold: no new entries\n"
        assert station.status()["state"] == "READY"
        assert pink("hold", *station.words, "--reason", "test", "--apply").returncode == 0
        record = station.status()
        assert (record["state"], record["entries_frozen"]) == ("HOLD", ["hold"])
        assert record["held_because"].endswith(": test")
        frozen = station.enter("T1")
        assert frozen.stdout == "refused: ENTRIES_FROZEN (causes hold)\n"
    with station.serve():  # killed by the end of the block above: the hold is in the journal
        record = station.status()
        assert (record["state"], record["held_because"]) == ("HOLD", "")
        assert pink("resume", *station.words, "--reason", "test", "--apply").returncode == 0
        assert station.status()["state"] == "READY"


def test_flatten_by_hand(station: Station) -> None:
    with station.serve():
        station.enter("T1")
        station.until("open", is_open)
        done = pink("intent", "flatten", *station.words, "--reason", "home", "--apply")
        assert done.returncode == 0, done.stderr
        station.until("flat", is_flat)
        again = pink("intent", "flatten", *station.words, "--reason", "home", "--apply")
        assert again.stdout == "nothing is open\n"


@pytest.mark.parametrize("after_ms", [0, 5, 20, 60, 150])
def test_kill_9_after_an_entry_and_after_an_exit(station: Station, after_ms: int) -> None:
    """Whenever it dies: one entry, one exit at the venue, and the money to the last digit."""
    with station.serve() as serve:
        station.enter("T1")
        time.sleep(after_ms / 1000)
        serve.kill()
        serve.wait()
    with station.serve() as serve:
        station.until("open", is_open)
        station.exit("T1")
        time.sleep(after_ms / 1000)
        serve.kill()
        serve.wait()
    with station.serve():
        station.until("flat", is_flat)
        record = station.until("balance", money_agrees)
        assert record["drift"] == "0"
        assert record["trades"] == 1
    orders = venue_orders(station)
    assert [order["side"] for order in orders] == ["SELL", "BUY"]
    assert len({order["client"] for order in orders}) == 2


def venue_orders(station: Station) -> list[dict[str, str]]:
    """The venue's own list of orders."""
    code = (
        "import asyncio, json, sys\n"
        "from pathlib import Path\n"
        "from dita.venues.remote import RemoteVenue\n"
        "async def main():\n"
        "    venue = RemoteVenue(Path(sys.argv[1]))\n"
        "    await venue.connect()\n"
        "    orders = (await venue.dump()).orders\n"
        "    told = [dict(side=o.side.name, client=o.client_order_id) for o in orders]\n"
        "    print(json.dumps(told))\n"
        "    await venue.close()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(station.state.parent / "venue.sock")],
        capture_output=True,
        text=True,
        check=True,
    )
    orders: list[dict[str, str]] = json.loads(done.stdout)
    return orders


def test_the_demo_trades_and_ends_with_equal_money(tmp_path: Path) -> None:
    tape = tmp_path / "short.csv"
    rows = [f"{i * 2000},FET-USDT,0.{5000 + (i * 7) % 23 - 11 + i // 3}" for i in range(60)]
    tape.write_text("time_ms,asset,price\n" + "\n".join(rows) + "\n")
    environment = {**os.environ, "PINK__VENUE__MOCK_TAPE": str(tape)}
    done = subprocess.run(
        [*COMMAND, "serve", "--demo", "--mock", "--json", "--state-dir", str(tmp_path / "state")],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["trades"] >= 2
    assert money_agrees(record)
    the_journal_of_a_demo(tmp_path)


def the_journal_of_a_demo(folder: Path) -> None:
    """It verifies, explains, and an export of it makes the same state again."""
    state, copy, lines = folder / "state", folder / "copy", folder / "demo.jsonl"
    sound = json.loads(pink("journal", "verify", "--state-dir", str(state), "--json").stdout)
    assert sound["sound"]
    tail = json.loads(pink("journal", "tail", "--state-dir", str(state), "--json").stdout)
    assert len(tail["records"]) == 20
    story = json.loads(pink("explain", "fet-1", "--state-dir", str(state), "--json").stdout)
    assert story["links"][0]["input"] == "ENTER"
    assert story["links"][-1]["after"] in ("IDLE", "CLOSED")
    nothing = pink("explain", "nobody", "--state-dir", str(state))
    assert (nothing.returncode, "called that" in nothing.stderr) == (2, True)
    assert pink("journal", "export", "--out", str(lines), "--state-dir", str(state)).returncode == 0
    made = pink("journal", "import", str(lines), "--state-dir", str(copy), "--json")
    assert json.loads(made.stdout)["state_hash"] == sound["state_hash"]
    again = pink("journal", "import", str(lines), "--state-dir", str(copy))
    assert again.returncode != 0
    segment = next((state / "journal").glob("journal-*.seg"))
    with segment.open("r+b") as file:
        file.seek(2_000)
        byte = file.read(1)
        file.seek(2_000)
        file.write(bytes([byte[0] ^ 1]))
    damaged = pink("journal", "verify", "--state-dir", str(state))
    assert damaged.returncode == 74
    assert "journal-" in damaged.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["serve", "--config", "/nowhere.toml"], 78, "/nowhere.toml"),
        (["status", "--state-dir", "/nowhere"], 3, "not running"),
        (
            ["intent", "exit", "--trade", "T", "--reason", "x", "--state-dir", "/n", "--apply"],
            3,
            "",
        ),
    ],
)
def test_refusals_have_their_codes(words: list[str], code: int, says: str) -> None:
    done = pink(*words)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
