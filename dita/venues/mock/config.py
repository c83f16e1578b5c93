"""What a mock venue is made of, as data, and its two sources of change: a price tape and chance."""

from __future__ import annotations

import csv
import io
from typing import Final, NamedTuple

import msgspec

from dita.contracts import ContractRules, Record
from dita.errors import SettingsError
from dita.units import MONEY_ONE, PRICE_ONE, QUANTITY_ONE, parse_price
from dita.venues.mock.script import Rule


class Style(Record, frozen=True, kw_only=True):
    """How the stream speaks.  The defaults are the kind ones; see ``BINGX_STYLE``."""

    increments: bool = False  # each fill by itself with an event id, instead of cumulative z
    priced: bool = True  # ap (and L)
    last_fill: bool = True  # l and L
    client_ids: bool = True
    figures: bool = True  # fee and realized
    acks: bool = True
    balances: bool = True  # an ACCOUNT_UPDATE after every fill
    zero_balances: bool = False  # and an empty one before it
    positions: bool = False  # a POSITION after every fill
    stream_first: bool = False  # frames are there before the answer is


#: As BingX was seen: no client id, no last fill, and the fill can overtake the answer.
BINGX_STYLE: Final = Style(client_ids=False, last_fill=False, stream_first=True)


class Noise(Record, frozen=True, kw_only=True):
    """Chances per thousand frames, drawn from the seed."""

    drop: int = 0
    duplicate: int = 0
    hold: int = 0
    end: int = 0


class MockConfig(Record, frozen=True, kw_only=True):
    """Everything a mock is made of, as data."""

    wallet: int = 10_000 * MONEY_ONE
    contracts: dict[str, ContractRules] = msgspec.field(default_factory=dict)
    prices: dict[str, int] = msgspec.field(default_factory=dict)
    tape: tuple[tuple[int, str, int], ...] = ()  # times count from the start of the mock
    tape_repeats: bool = False
    hedge: bool = False
    seed: int = 0
    parts: int = 1  # fills per taker order
    slip_ticks: int = 0  # each further part is this much worse
    money_step: int = MONEY_ONE // 10**8  # fees and realized are rounded half-even to it
    maintenance_e9: int = 0  # margin rate below which everything is liquidated; 0 = never
    clock_skew_ms: int = 0  # the venue's clock minus ours
    receive_window_ms: int = 5_000
    style: Style = Style()
    noise: Noise = Noise()
    rules: tuple[Rule, ...] = ()
    kept: int = 0  # orders that are remembered at least, the oldest ended ones go; 0 = all


def fet_config(**changes: object) -> MockConfig:
    """A small market to start from: FET-USDT and TRX-USDT with BingX-like rules."""
    rules = ContractRules(
        tick_e10=PRICE_ONE // 10_000,
        step_e8=QUANTITY_ONE,
        min_quantity_e8=2 * QUANTITY_ONE,
        min_notional=2 * MONEY_ONE,
        taker_fee_e9=500_000,
        maker_fee_e9=200_000,
    )
    market = MockConfig(
        contracts={"FET-USDT": rules, "TRX-USDT": rules},
        prices={"FET-USDT": 5 * PRICE_ONE // 10, "TRX-USDT": 3 * PRICE_ONE // 10},
    )
    return msgspec.structs.replace(market, **changes)


class Price(NamedTuple):
    """One row of a tape."""

    time_ms: int
    asset: str
    price_e10: int


def read_tape(text: str) -> tuple[Price, ...]:
    """The rows of a CSV with columns time_ms, asset, price.  SettingsError names the bad one."""
    rows: list[Price] = []
    reader = csv.DictReader(io.StringIO(text))
    if reader.fieldnames != ["time_ms", "asset", "price"]:
        raise SettingsError(
            "price tape refused", expected="time_ms,asset,price", found=str(reader.fieldnames)
        )
    for number, row in enumerate(reader, 2):
        time, asset, price = row["time_ms"] or "", row["asset"] or "", row["price"] or ""
        if not time.isdecimal() or not asset or None in row:
            raise SettingsError(f"price tape refused, line {number}", found=str(row))
        rows.append(Price(int(time), asset, parse_price(price, field=f"price, line {number}")))
        if len(rows) > 1 and rows[-1].time_ms < rows[-2].time_ms:
            raise SettingsError(f"price tape refused, line {number}", expected="rising times")
    return tuple(rows)


class Chance:
    """Seeded chance (SplitMix64): a few lines, and the same on every machine and version."""

    def __init__(self, seed: int) -> None:
        self._state = seed & (2**64 - 1)

    def below(self, limit: int) -> int:
        """A number from 0 to ``limit`` - 1."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & (2**64 - 1)
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        return (z ^ (z >> 31)) % limit
