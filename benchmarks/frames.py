"""``python -m benchmarks.frames``: a raw frame to the kernel's outcome, beside ccxt's parse.

The frames are gzip members as they come from the socket, made from the fills of the benchmark's
stream.  Each is timed by itself by the wall clock, and the median over the frames of a pass is the
pass's figure; passes of ours and of ccxt take turns.  The socket itself is not part of it.

--quick       few frames and rounds: is everything in place?
--rounds N    how often everything is measured; medians are taken over the rounds
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from time import perf_counter_ns
from typing import Any, Final

from benchmarks import report, stream
from benchmarks.report import Row, Section
from benchmarks.rounds import Measurement, Rounds, interleave
from dita.contracts import KernelEventKind, VenueEvent
from dita.engine import Engine
from dita.units import format_price, format_quantity
from dita.venues.bingx.stream.messages import read_frame
from dita.venues.bingx.stream.parse import UserEvents
from dita.venues.bingx.stream.socket import gunzip

LIMIT_NS: Final = 8_000
PEER_LIMIT: Final = 15.0
PEER_FRAMES: Final = 400
STAGES: Final = ("gunzip", "decode and normalise", "Engine.apply")
_SIDES: Final = {1: "BUY", -1: "SELL"}


def on_the_wire(event: VenueEvent, ordered_e8: int, last: bool) -> bytes:
    """The fill as the exchange would push it (dossier §3.3), all decimals as texts of 8 places.

    The captures have no last fill (l, L), newer texts do: with ``last`` they are there.
    """
    z, price = event.quantity_e8, _eight(format_price(event.price_e10))
    body = {
        "s": event.asset,
        "c": "",
        "i": event.venue_order_id,
        "S": _SIDES[event.side],
        "o": "MARKET",
        "q": _eight(format_quantity(ordered_e8)),
        "p": price,
        "sp": "0.00000000",
        "ap": price,
        "x": "TRADE",
        "X": "FILLED" if event.kind is KernelEventKind.FULL_FILL else "PARTIALLY_FILLED",
        "N": "USDT",
        "n": "-0.01234567",
        "T": 0,
        "wt": "MARK_PRICE",
        "ps": "BOTH",
        "rp": "0.00000000",
        "z": _eight(format_quantity(z)),
    }
    if last:
        body["l"] = _eight(format_quantity(event.last_quantity_e8))
        body["L"] = _eight(format_price(event.last_price_e10))
    frame = {"e": "ORDER_TRADE_UPDATE", "E": event.exchange_ms, "o": body}
    return gzip.compress(json.dumps(frame, separators=(",", ":")).encode())


def _eight(text: str) -> str:
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals[:8]:0<8}"


class Work:
    """The stream with its applied fills as raw frames, all else as records."""

    def __init__(self, made: stream.Stream, last: bool) -> None:
        self.stream, self.last = made, last
        ordered: dict[str, int] = {}
        for record in self.stream.records:
            if isinstance(record, VenueEvent) and record.quantity_e8:
                known = ordered.get(record.venue_order_id, 0)
                ordered[record.venue_order_id] = max(known, record.quantity_e8)
        self.frames: dict[int, bytes] = {}
        for index, (record, fill) in enumerate(
            zip(self.stream.records, self.stream.applied_fill, strict=True)
        ):
            if fill and isinstance(record, VenueEvent):
                self.frames[index] = on_the_wire(record, ordered[record.venue_order_id], last)

    def check(self) -> None:
        """Every frame is read as the fill it was made from, and accepted by the engine."""
        engine, reader = Engine.restore(self.stream.saved), UserEvents()
        for index, record in enumerate(self.stream.records):
            packed = self.frames.get(index)
            if packed is None or not isinstance(record, VenueEvent):
                engine.apply(record)
                continue
            (event,) = reader.read(read_frame(gunzip(packed)), record.received_ms).events
            same = ("kind", "asset", "venue_order_id", "side", "quantity_e8", "exchange_ms")
            last = ("last_quantity_e8", "last_price_e10") if self.last else ()
            for field in (*same, *last):
                if getattr(event, field) != getattr(record, field):
                    raise SystemExit(f"frame {index}: {field} differs from the fill's")
            if not engine.apply(event).kernel.accepted:
                raise SystemExit(f"frame {index} was not accepted")

    def whole(self) -> float:
        """Median nanoseconds from raw frame to outcome."""
        engine, reader, taken = Engine.restore(self.stream.saved), UserEvents(), []
        for index, record in enumerate(self.stream.records):
            packed = self.frames.get(index)
            if packed is None:
                engine.apply(record)
                continue
            now_ms = record.received_ms
            start = perf_counter_ns()
            for event in reader.read(read_frame(gunzip(packed)), now_ms).events:
                engine.apply(event)
            taken.append(perf_counter_ns() - start)
        return statistics.median(taken)

    def stages(self) -> dict[str, Measurement]:
        """The same, cut in three; each has passes of its own."""

        def stage(number: int) -> Measurement:
            return lambda: self._cut()[number]

        return {name: stage(number) for number, name in enumerate(STAGES)}

    def _cut(self) -> list[float]:
        engine, reader = Engine.restore(self.stream.saved), UserEvents()
        cuts: list[tuple[int, int, int]] = []
        for index, record in enumerate(self.stream.records):
            packed = self.frames.get(index)
            if packed is None:
                engine.apply(record)
                continue
            start = perf_counter_ns()
            text = gunzip(packed)
            unpacked = perf_counter_ns()
            told = reader.read(read_frame(text), record.received_ms)
            normalised = perf_counter_ns()
            for event in told.events:
                engine.apply(event)
            cuts.append((unpacked - start, normalised - unpacked, perf_counter_ns() - normalised))
        return [statistics.median(column) for column in zip(*cuts, strict=True)]

    def ours(self) -> float:
        """Median nanoseconds from a frame's text to its event, to set beside ccxt's."""
        reader = UserEvents()

        def parse(text: bytes) -> object:
            return reader.read(read_frame(text), stream.START_MS)

        return timed(parse, self.texts())

    def texts(self) -> list[bytes]:
        """Some of the frames, decompressed."""
        return [gunzip(packed) for packed in self.packed()]

    def packed(self) -> list[bytes]:
        """The same as they came."""
        return list(self.frames.values())[:PEER_FRAMES]


def timed(work: Callable[[bytes], object], items: list[bytes]) -> float:
    """Median nanoseconds of one call."""
    taken = []
    for item in items:
        start = perf_counter_ns()
        work(item)
        taken.append(perf_counter_ns() - start)
    return statistics.median(taken)


def peer_of(work: Work) -> dict[str, Measurement] | None:
    """ccxt on the same frames; None when it is not installed."""
    try:
        import ccxt.pro
    except ImportError:
        return None
    exchange = ccxt.pro.bingx({"options": {"defaultType": "swap"}})
    names = {f"COIN{slot:02d}-USDT" for slot in range(stream.SLOTS)}
    exchange.set_markets([exchange.parse_market(_contract(name)) for name in sorted(names)])

    def unpack(packed: bytes) -> str:
        return gzip.GzipFile("", "rb", 9, BytesIO(packed)).read().decode()

    def both(text: bytes) -> object:
        # As ccxt's socket client and its handlers do it, without their caches and futures.
        order = json.loads(text)["o"]
        market = exchange.safe_market(order["s"], None, "-", "swap")
        return exchange.parse_order(order, market), exchange.parse_trade(order, market)

    _check_peer(work, both)
    return {
        "ccxt": lambda: timed(both, work.texts()),
        "their gunzip": lambda: timed(unpack, work.packed()),
    }


def _contract(name: str) -> dict[str, Any]:
    return {
        "contractId": "1", "symbol": name, "size": "1", "quantityPrecision": 4, "pricePrecision": 4,
        "feeRate": 0.0005, "makerFeeRate": 0.0002, "takerFeeRate": 0.0005, "tradeMinLimit": 0,
        "tradeMinQuantity": 1, "tradeMinUSDT": 2, "currency": "USDT",
        "asset": name.partition("-")[0], "status": 1, "apiStateOpen": "true",
        "apiStateClose": "true",
    }  # fmt: skip


def _check_peer(work: Work, parse: Callable[[bytes], Any]) -> None:
    reader = UserEvents()
    for text in work.texts():
        (event,) = reader.read(read_frame(text), 1).events
        order, trade = parse(text)
        price, quantity = event.last_price_e10, event.last_quantity_e8
        theirs = (order["id"], round(order["filled"] * 10**8), round(trade["amount"] * 10**8))
        if theirs != (event.venue_order_id, event.quantity_e8, quantity):
            raise SystemExit(f"ccxt reads another fill: {theirs}")
        if abs(trade["price"] * 10**10 - price) > 1_000:
            raise SystemExit(f"ccxt reads another price: {trade['price']}")


def section(work: Work, rounds: Rounds) -> Section:
    """What was found."""
    rows = []
    for name, words in (("captured", "as captured"), ("whole", "with last fill and price")):
        whole = rounds.spread(name)
        passed = whole.median <= LIMIT_NS
        title = f"raw frame → kernel outcome, {words}, p50, ns"
        rows.append(Row(title, whole.text(), f"≤ {LIMIT_NS}", passed))
    rows += [Row(f"  of it {name}, ns", rounds.spread(name).text()) for name in STAGES]
    notes = ["the parts were timed in passes of their own; each holds one more clock reading"]
    if "ccxt" in rounds.values:
        gain = rounds.ratio("ccxt", "ours")
        passed = gain.median >= PEER_LIMIT
        rows += [
            Row("text of a frame → event, p50, ns", rounds.spread("ours").text()),
            Row("ccxt: json, parse_order, parse_trade, p50, ns", rounds.spread("ccxt").text()),
            Row("ccxt ÷ ours", gain.text(1), f"≥ {PEER_LIMIT:.0f}", passed),
            Row("gunzip as ccxt does it, p50, ns", rounds.spread("their gunzip").text()),
        ]
        notes.append("ccxt's caches, futures and its dispatch by message kind are left out")
    else:
        notes.append("ccxt is not installed")
    size = statistics.median(len(packed) for packed in work.frames.values())
    text = f"{len(work.frames):,} fills as gzip frames of {size:.0f} bytes."
    return Section("A frame of the exchange to the kernel's outcome", text, rows, notes)


def main(argv: list[str]) -> None:
    """Measure and print.  A missed target is shown, not an error; a mismatch ends the run."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.frames",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rounds", type=int, default=0)
    chosen = parser.parse_args(argv)
    rounds = chosen.rounds or (3 if chosen.quick else 15)
    made = stream.make(1 if chosen.quick else 6)
    work, captured = Work(made, last=True), Work(made, last=False)
    work.check()
    captured.check()
    measured: dict[str, Measurement] = {"captured": captured.whole, "whole": work.whole}
    measured["ours"] = work.ours
    measured |= peer_of(work) or {}
    measured |= work.stages()
    found = interleave(measured, rounds)
    done = section(work, found)
    done = replace(done, text=f"{report.where_and_when()} {rounds} interleaved rounds. {done.text}")
    print(report.plain([done]))
    if chosen.write:
        report.write_section(done)


if __name__ == "__main__":
    main(sys.argv[1:])
