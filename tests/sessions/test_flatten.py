"""`flatten --emergency` against a venue in its own process: flat by the venue's own word, or told.

What is compared in the end is the venue's book: its positions and how many orders it got.
"""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from support.serve_driver import fill_up, small_disk
from support.serve_station import Station, is_flat, is_open, pink, venue_process

from dita.contracts import OrderSide, OrderType
from dita.identity import client_order_id, is_own_client_id
from dita.runtime.equal_errors import FREE
from dita.units import parse_price, parse_quantity
from dita.venues import SubmitOrder
from dita.venues.mock import Do, Dump, Rule, Verb
from dita.venues.remote import RemoteVenue

T = TypeVar("T")
FET, TRX = "FET-USDT", "TRX-USDT"


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    with venue_process(tmp_path) as socket:
        yield Station(tmp_path, socket)


def at_the_venue(station: Station, work: Callable[[RemoteVenue], Awaitable[T]]) -> T:
    """Do something with the venue's own verbs."""

    async def run() -> T:
        venue = RemoteVenue(station.state.parent / "venue.sock")
        await venue.connect()
        try:
            return await work(venue)
        finally:
            await venue.close()

    return asyncio.run(run())


def book(station: Station) -> Dump:
    return at_the_venue(station, lambda venue: venue.dump())


def script(station: Station, *rules: Rule) -> None:
    at_the_venue(station, lambda venue: venue.set_script(rules))


def order(number: int, asset: str, side: int, size: str, limit: str = "0", **more: Any) -> Any:
    """Place an order with an id as a kernel of ours gives it."""
    more.setdefault("client_order_id", client_order_id("test", 1, "some intent", number))
    placed = SubmitOrder(
        asset=asset,
        side=OrderSide(side),
        order_type=OrderType.LIMIT if limit != "0" else OrderType.MARKET,
        quantity_e8=parse_quantity(size),
        limit_price_e10=parse_price(limit),
        **more,
    )
    return lambda venue: venue.submit(placed)


def flatten(station: Station, *words: str) -> subprocess.CompletedProcess[str]:
    return pink("flatten", "--emergency", *station.words, *words)


def log_of(station: Station) -> list[dict[str, Any]]:
    (path,) = station.state.glob("emergency-*.jsonl")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return [json.loads(line) for line in path.read_text().splitlines()]


def steps(station: Station) -> list[str]:
    return [line["step"] for line in log_of(station)]


def test_without_emergency_it_names_the_other_way(station: Station) -> None:
    done = pink("flatten", *station.words, "--apply")
    assert done.returncode == 5
    assert "pink-ctl intent flatten" in done.stderr


def test_it_leaves_a_running_serve_alone(station: Station) -> None:
    with station.serve() as serve:
        done = flatten(station, "--symbol", FET, "--apply")
    assert done.returncode == 75
    assert "pink-ctl intent flatten" in done.stderr
    assert str(serve.pid) in done.stderr


def test_plan_first_then_flat_and_nothing_of_others(station: Station) -> None:
    at_the_venue(station, order(1, FET, -1, "1000"))
    at_the_venue(station, order(2, FET, -1, "100", "0.6"))
    at_the_venue(station, order(3, FET, 1, "50", "0.3", client_order_id="by-hand"))
    at_the_venue(station, order(4, TRX, 1, "70"))
    before = book(station)
    planned = flatten(station, "--symbol", "fetusdt", "--json")
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout)
    assert plan["positions"] == [
        {"asset": FET, "position": "SHORT", "sends": "BUY", "quantity": "1000"}
    ]
    assert plan["other_positions"] == [
        {"asset": TRX, "position": "LONG", "sends": "SELL", "quantity": "70"}
    ]
    assert (plan["applied"], plan["flat"]) == (False, False)
    shown = flatten(station, "--symbol", FET)
    assert "would send BUY 1000 FET-USDT, reduce-only MARKET: closes SHORT 1000" in shown.stdout
    assert "left alone: LONG 70 TRX-USDT" in shown.stdout
    assert "left alone, not ours: order BUY FET-USDT" in shown.stdout
    assert book(station).orders == before.orders
    assert not list(station.state.glob("emergency-*"))
    done = flatten(station, "--symbol", FET, "--apply")
    assert done.returncode == 0, done.stderr
    after = book(station)
    assert [p.asset for p in after.positions] == [TRX]
    assert [o.status.name for o in after.orders] == [
        "FILLED", "CANCELLED", "WORKING", "FILLED", "FILLED",
    ]  # fmt: skip
    assert steps(station) == ["cancel", "submit", "ended", "end"]
    assert after.orders[-1].client_order_id.startswith("flatten0")
    assert not is_own_client_id(after.orders[-1].client_order_id)
    assert "end: flat" in done.stdout
    again = flatten(station, "--symbol", FET, "--apply", "--json")
    assert (again.returncode, json.loads(again.stdout)["flat"]) == (0, True)
    assert len(book(station).orders) == len(after.orders)


def test_all_has_to_be_confirmed_by_its_number(station: Station) -> None:
    at_the_venue(station, order(1, FET, -1, "1000"))
    at_the_venue(station, order(2, TRX, 1, "70"))
    refused = flatten(station, "--all", "--apply")
    assert refused.returncode == 5
    assert "--confirm 2" in refused.stderr
    assert flatten(station, "--all", "--apply", "--confirm", "1").returncode == 5
    assert len(book(station).orders) == 2
    done = flatten(station, "--all", "--apply", "--confirm", "2")
    assert done.returncode == 0, done.stderr
    assert book(station).positions == ()


def test_no_symbol_and_no_journal_is_asked_back(station: Station) -> None:
    done = flatten(station, "--apply")
    assert (done.returncode, "--symbol" in done.stderr) == (2, True)


def test_a_venue_that_is_not_there(station: Station) -> None:
    text = station.config.read_text().replace("venue.sock", "nobody.sock")
    station.config.write_text(text)
    assert flatten(station, "--symbol", FET, "--apply").returncode == 6


def damaged_after_a_trade(station: Station) -> None:
    """A position, and a journal with a byte wrong in its middle."""
    with station.serve() as serve:
        station.enter("T1")
        station.until("open", is_open)
        serve.kill()
        serve.wait()
    (segment,) = (station.state / "journal").glob("journal-*.seg")
    data = bytearray(segment.read_bytes())
    used = len(bytes(data).rstrip(b"\0"))
    data[used - 1_500] ^= 1
    segment.write_bytes(data)


def test_a_corrupt_journal_ends_serve_with_the_way_out_which_works(station: Station) -> None:
    damaged_after_a_trade(station)
    serve = pink("serve", *station.words)
    assert serve.returncode == 74
    (way_out,) = (line.split() for line in serve.stderr.splitlines() if line.startswith("next: "))
    words = way_out[way_out.index("flatten") :]
    assert "--emergency" in words
    done = pink(*words, "--apply")
    assert done.returncode == 0, done.stderr
    assert "damaged at record" in done.stderr
    after = book(station)
    assert after.positions == ()
    assert [(o.side.name, o.filled_e8) for o in after.orders] == [
        ("SELL", parse_quantity("1000")), ("BUY", parse_quantity("1000")),
    ]  # fmt: skip
    # A later kernel, on a new journal, takes the orders for somebody else's; a person looks first.
    assert pink("serve", *station.words).returncode == 74
    aside = pink("journal", "retire", *station.words, "--reason", "test", "--apply")
    assert aside.returncode == 0, aside.stderr
    with station.serve():
        record = station.status()
        assert (record["state"], record["slots"], record["open_orders"]) == ("HOLD", [], 0)
        assert "was retired" in record["held_because"]
        assert pink("resume", *station.words, "--reason", "looked", "--apply").returncode == 0
        assert station.status()["state"] == "READY"
    assert len(book(station).orders) == 2


def test_a_later_serve_on_the_old_journal_sends_nothing_by_itself(station: Station) -> None:
    """What it held was closed, by an order that is somebody else's to it: it finds that out."""
    with station.serve() as serve:
        station.enter("T1")
        station.until("open", is_open)
        serve.kill()
        serve.wait()
    assert flatten(station, "--apply").returncode == 0
    orders = book(station).orders
    with station.serve():
        record = station.until("flat", is_flat)
        assert record["state"] == "READY"
    assert book(station).orders == orders


@pytest.mark.parametrize(
    ("do", "told"),
    [
        (Do.SILENT, ["submit", "unknown", "ended", "end"]),
        (Do.LOST, ["submit", "unknown", "absent", "submit", "ended", "end"]),
        (Do.NOT_SENT, ["submit", "not sent", "submit", "ended", "end"]),
    ],
    ids=lambda value: str(value) if isinstance(value, Do) else "",
)
def test_a_lost_answer_is_found_out_about(station: Station, do: Do, told: list[str]) -> None:
    at_the_venue(station, order(1, FET, 1, "1000"))
    script(station, Rule(verb=Verb.SUBMIT, do=do))
    done = flatten(station, "--symbol", FET, "--apply")
    assert done.returncode == 0, done.stderr
    after = book(station)
    assert (after.positions, len(after.orders)) == ((), 2)
    assert steps(station) == told


def test_an_order_that_stays_unknown_is_the_last_that_is_sent(station: Station) -> None:
    """Hidden for longer than the time that is left: not flat, and nothing goes after it."""
    at_the_venue(station, order(1, FET, 1, "1000"))
    script(
        station,
        Rule(verb=Verb.SUBMIT, do=Do.SILENT),
        Rule(verb=Verb.ORDER, do=Do.FAIL, times=0),
        Rule(verb=Verb.FILLS, do=Do.FAIL, times=0),
        Rule(verb=Verb.ALL_ORDERS, do=Do.FAIL, nth=3, times=0),  # twice: what is ours
    )
    done = flatten(station, "--symbol", FET, "--apply", "--limit-s", "5")
    assert done.returncode == 1
    assert "unknown, and nothing was sent after it" in done.stdout
    assert len(book(station).orders) == 2


def test_a_partial_fill_is_followed_by_the_rest(station: Station) -> None:
    at_the_venue(station, order(1, FET, 1, "1000"))
    script(station, Rule(verb=Verb.SUBMIT, do=Do.EXPIRE, share_e9=400_000_000))
    assert flatten(station, "--symbol", FET, "--apply").returncode == 0
    after = book(station)
    assert after.positions == ()
    assert [o.filled_e8 for o in after.orders[1:]] == [parse_quantity("400"), parse_quantity("600")]


def test_a_venue_that_goes_on_refusing_is_told_in_its_words_and_not_stormed(
    station: Station,
) -> None:
    at_the_venue(station, order(1, FET, 1, "1000"))
    rule = Rule(verb=Verb.SUBMIT, do=Do.REJECT, times=0, code=101204, words="Insufficient margin")
    script(station, rule)
    done = flatten(station, "--symbol", FET, "--apply", "--limit-s", "6")
    assert (done.returncode, "look at the exchange" in done.stderr) == (1, True)
    assert "101204; Insufficient margin" in done.stdout
    assert 3 <= steps(station).count("submit") <= FREE


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_disk_that_takes_nothing_stops_nobody(station: Station, how: str) -> None:
    at_the_venue(station, order(1, FET, 1, "1000"))
    with small_disk(station.state, "1m") as disk:
        if how == "full":
            fill_up(disk)
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        done = flatten(station, "--symbol", FET, "--apply")
        assert done.returncode == 0, done.stderr
        assert "cannot be written" in done.stderr
        logged = [json.loads(line[5:]) for line in done.stderr.splitlines() if line[:5] == "log: "]
        assert [line["step"] for line in logged] == ["submit", "ended", "end"]
    assert book(station).positions == ()
