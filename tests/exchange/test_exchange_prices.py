"""Prices of the local exchange: a seed always walks the same way, a tape is played as recorded."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.recordings import RECORDINGS

from dita.errors import SettingsError
from dita.exchange.model.contracts import CONTRACTS
from dita.exchange.model.prices import Step, Tape, Walk, read_tape
from dita.units import format_price, parse_price

SYMBOLS = ("BTC-USDT", "FET-USDT")
START_MS = 1_700_000_000_000
RAW = (
    "received_us,kind,price_or_bid,quantity_or_bid_quantity,ask,ask_quantity,taker_side\n"
    "1723161255088169,quote,61800.20,2.507,61800.30,2.510,\n"
    "1723161255090176,trade,61800.30,0.006,,,buy\n"
)
REAL = RECORDINGS / "tapes" / "btc-usdt-perp-2024-08-08.csv.gz"


def walk(seed: int) -> Walk:
    """Two symbols."""
    return Walk([CONTRACTS[symbol] for symbol in SYMBOLS], seed, START_MS)


def test_a_seed_walks_the_same_way_however_often_it_is_asked() -> None:
    """In one go or in many, and not as another seed does."""
    whole = list(walk(7).until(START_MS + 60_000))
    many = walk(7)
    parts = [step for ms in range(0, 60_001, 37) for step in many.until(START_MS + ms)]
    assert [*parts, *many.until(START_MS + 60_000)] == whole
    assert {step.symbol for step in whole} == set(SYMBOLS)
    assert whole != list(walk(8).until(START_MS + 60_000))


def test_a_walk_steps_by_ticks_and_stays_above_nothing() -> None:
    """Also for a contract that starts at its smallest price."""
    fet = CONTRACTS["FET-USDT"]
    poor = Walk([replace(fet, start_price_e10=fet.tick_e10)], 1, START_MS, every_ms=1)
    steps = list(poor.until(START_MS + 5_000))
    assert len(steps) > 1_000 and len({step.price_e10 for step in steps}) > 3
    assert all(s.price_e10 >= fet.tick_e10 and s.price_e10 % fet.tick_e10 == 0 for s in steps)
    assert [s.time_ms for s in steps] == sorted(s.time_ms for s in steps)


def test_a_tape_is_played_once_or_again_and_again(tmp_path: Path) -> None:
    """From its first row at the start; nothing twice; a round follows the last."""
    file = tmp_path / "tape.csv"
    file.write_text("time_ms,asset,price\n500,FET-USDT,0.5\n1500,FET-USDT,0.6\n", encoding="utf-8")
    once, often = Tape(read_tape(str(file)), 100), Tape(read_tape(str(file)), 100, repeats=True)
    assert [(s.time_ms, format_price(s.price_e10)) for s in once.until(10_000)] == [
        (100, "0.5"),
        (1_100, "0.6"),
    ]
    assert list(once.until(10_000)) == []
    assert [s.time_ms for s in often.until(2_100)] == [100, 1_100, 1_100, 2_100, 2_100]
    fast = Tape(read_tape(str(file)), 100, speed=10)
    assert [s.time_ms for s in fast.until(10_000)] == [100, 200]


def test_a_packaged_tape_and_a_packed_one_of_quotes_and_trades(tmp_path: Path) -> None:
    """By name; by path, gzipped, in µs, with the symbol told: a quote counts as its middle."""
    assert {step.symbol for step in read_tape("twenty-minutes")} == {"FET-USDT", "TRX-USDT"}
    file = tmp_path / "raw.csv.gz"
    file.write_bytes(gzip.compress(RAW.encode()))
    assert read_tape(str(file), "BTC-USDT") == [
        Step(1_723_161_255_088, "BTC-USDT", parse_price("61800.25")),
        Step(1_723_161_255_090, "BTC-USDT", parse_price("61800.3")),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "time_ms,asset,price\n",
        "time_ms,asset,price\nx,FET-USDT,0.5\n",
        "time_ms,asset,price\n1,,0.5\n",
        "time_ms,asset,price\n1,FET-USDT,-1\n",
        "time_ms,asset,price\n1,FET-USDT,0\n",
        "time_ms,asset,price\n2,FET-USDT,1\n1,FET-USDT,1\n",
        "a,b\n1,2\n",
    ],
)
def test_a_bad_tape_is_refused_by_name(tmp_path: Path, text: str) -> None:
    """Never played up to the bad row."""
    file = tmp_path / "tape.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"tape\.csv"):
        read_tape(str(file))


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """No such name, no such file, and a gzip file that is cut off."""
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(RAW.encode())[:40])
    for name in ("no-such-tape", str(tmp_path / "none.csv"), str(cut)):
        with pytest.raises(SettingsError):
            read_tape(name, "BTC-USDT")


@pytest.mark.skipif(not REAL.exists(), reason="a real tape is not part of the project")
def test_a_real_tape() -> None:
    """Hours of quotes and trades of BTC, in order."""
    steps = read_tape(str(REAL), "BTC-USDT")
    assert len(steps) > 10_000
    assert all(50_000 < step.price_e10 // 10**10 < 70_000 for step in steps)
