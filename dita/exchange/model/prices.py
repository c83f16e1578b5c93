"""Where the market's prices come from: a recorded tape, or a seeded random walk.

Both give price steps up to a time, in order, and never twice.  They know no account.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Iterator
from hashlib import sha256
from importlib import resources
from itertools import pairwise
from typing import Final, NamedTuple, Protocol

from dita.errors import SettingsError, UnitError
from dita.exchange.model.records import Contract
from dita.files import read_limited
from dita.units import parse_price

TAPE_BYTES_MAX: Final = 1 << 28


class Step(NamedTuple):
    """A price of a symbol at a time."""

    time_ms: int
    symbol: str
    price_e10: int


class Prices(Protocol):
    """A source of price steps."""

    def until(self, now_ms: int) -> Iterable[Step]:
        """The steps since the last call, up to now."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols that it moves."""


class Walk:
    """A random walk per symbol: one tick up, down or none at each step, drawn from the seed.

    What it gives at a step depends on seed, symbol and step number alone.
    """

    def __init__(
        self,
        contracts: Iterable[Contract],
        seed: int,
        start_ms: int,
        *,
        every_ms: int = 200,
        ticks: int = 3,
    ) -> None:
        self._prices = {contract.symbol: contract.start_price_e10 for contract in contracts}
        self._ticks = {contract.symbol: contract.tick_e10 for contract in contracts}
        self._seed = seed
        self._start_ms = start_ms
        self._every_ms = every_ms
        self._most = ticks
        self._step = 0

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols that it moves."""
        return tuple(self._prices)

    def until(self, now_ms: int) -> Iterator[Step]:
        """The steps since the last call, up to now."""
        while self._start_ms + (self._step + 1) * self._every_ms <= now_ms:
            self._step += 1
            at_ms = self._start_ms + self._step * self._every_ms
            for symbol in self._prices:
                moved = self._moved(symbol)
                if moved:
                    yield Step(at_ms, symbol, moved)

    def _moved(self, symbol: str) -> int:
        """The next price, or 0 when it stays."""
        digest = sha256(f"walk {self._seed} {symbol} {self._step}".encode()).digest()
        ticks = int.from_bytes(digest[:4], "big") % (2 * self._most + 1) - self._most
        tick = self._ticks[symbol]
        if not ticks:
            return 0
        self._prices[symbol] = max(tick, self._prices[symbol] + ticks * tick)
        return self._prices[symbol]


class Tape:
    """Recorded prices, played from the start of the exchange at a speed, over and over or once.

    A tape is CSV with a header.  Columns are found by name: a time (``time_ms``, ``timestamp`` or
    ``received_us``; from 10^14 on it is in µs), a ``price`` or a quote (``bid`` and ``ask``), and a
    symbol (``asset`` or ``symbol``) if it has several.
    """

    def __init__(
        self, rows: list[Step], start_ms: int, *, speed: int = 1, repeats: bool = False
    ) -> None:
        first_ms = rows[0].time_ms
        self._rows = [row._replace(time_ms=(row.time_ms - first_ms) // speed) for row in rows]
        self._start_ms = start_ms
        self._next = 0
        self._repeats = repeats
        self.lasts_ms = self._rows[-1].time_ms

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols that it moves."""
        return tuple(dict.fromkeys(row.symbol for row in self._rows))

    def until(self, now_ms: int) -> Iterator[Step]:
        """The steps since the last call, up to now."""
        while True:
            while self._next < len(self._rows):
                row = self._rows[self._next]
                if self._start_ms + row.time_ms > now_ms:
                    return
                self._next += 1
                yield row._replace(time_ms=self._start_ms + row.time_ms)
            if not self._repeats or not self.lasts_ms:
                return
            self._start_ms += self.lasts_ms
            self._next = 0


def read_tape(path_or_name: str, symbol: str = "") -> list[Step]:
    """Rows of a file (a path with a slash), or of a packaged tape by its name.

    ``symbol`` is for tapes without that column.  SettingsError with the line that is wrong.
    """
    try:
        data = _bytes_of(path_or_name)
        if data.startswith(b"\x1f\x8b"):
            with gzip.open(io.BytesIO(data)) as file:
                data = file.read(TAPE_BYTES_MAX + 1)
            if len(data) > TAPE_BYTES_MAX:
                raise OSError(f"more than {TAPE_BYTES_MAX} bytes when unpacked")
    except (OSError, EOFError) as bad:
        raise SettingsError(
            "price tape cannot be read", expected="a packaged tape, or a path with a slash",
            found=f"{path_or_name}: {bad}",
        ) from bad  # fmt: skip
    lines = csv.DictReader(io.StringIO(data.decode("utf-8", "replace")))
    rows: list[Step] = []
    for number, line in enumerate(lines, 2):
        try:
            rows.append(_row(line, symbol))
        except (ValueError, UnitError) as bad:
            raise SettingsError(
                f"price tape {path_or_name} refused",
                expected="columns time_ms, price (or bid and ask) and asset",
                found=f"line {number}: {bad}",
            ) from bad
    if not rows or any(b.time_ms < a.time_ms for a, b in pairwise(rows)):
        raise SettingsError(
            f"price tape {path_or_name} refused",
            expected="at least one row, oldest first", found=f"{len(rows)} rows",
        )  # fmt: skip
    return rows


def _bytes_of(path_or_name: str) -> bytes:
    if "/" in path_or_name:
        return read_limited(path_or_name, TAPE_BYTES_MAX)
    return (resources.files("dita.configs") / "tapes" / f"{path_or_name}.csv").read_bytes()


_TIMES: Final = ("time_ms", "timestamp", "received_us")
#: Times from here on are microseconds.
_MICROSECONDS: Final = 10**14


def _row(line: dict[str, str], symbol: str) -> Step:
    named = line.get("asset") or line.get("symbol") or symbol
    if not named:
        raise ValueError("no asset column, and no symbol was given")
    time = int(next((line[name] for name in _TIMES if line.get(name)), ""))
    price = _price(line)
    if time < 0 or price <= 0:
        raise ValueError("a time below 0, or a price that is not above 0")
    return Step(time // 1_000 if time >= _MICROSECONDS else time, named, price)


def _price(line: dict[str, str]) -> int:
    """A trade's price, or the middle of a quote."""
    bid = line.get("bid") or line.get("bid_price") or line.get("price_or_bid")
    ask = line.get("ask") or line.get("ask_price")
    if bid and ask:
        return (parse_price(bid) + parse_price(ask)) // 2
    return parse_price(line.get("price") or bid or "")
