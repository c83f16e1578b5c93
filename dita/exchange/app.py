"""A local exchange from its settings: made, started, and run until it is told to stop.

Commands and tests begin here. Puts core, prices and wire together; decides nothing else.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from dita.clock import Clock
from dita.contracts import Record
from dita.errors import SettingsError
from dita.exchange.model.contracts import CONTRACTS
from dita.exchange.model.exchange import Exchange, ExchangeConfig
from dita.exchange.model.prices import Prices, Step, Tape, Walk, read_tape
from dita.exchange.model.records import Contract
from dita.exchange.server import ExchangeServer
from dita.exchange.wire.dialect import WireFile
from dita.exchange.wire.session import Session
from dita.exchange.wire.signing import Credentials

WALLET: Final = 100_000 * 10**18


class Setup(Record, frozen=True, kw_only=True):
    """What an exchange is made from. Without a tape prices walk, unless they stand ``still``."""

    port: int = 0
    seed: int = 1
    key: str = "KEY"
    secret: str = "SECRET"
    symbols: tuple[str, ...] = ()  # empty: all
    wallet: int = WALLET
    hedge: bool = False
    tape: str = ""
    speed: int = 1
    repeats: bool = True  # the tape; else prices stand still after it
    still: bool = False
    wire: WireFile = WireFile()


def server_of(setup: Setup, clock: Clock) -> ExchangeServer:
    """Put an exchange together; it does not listen yet. SettingsError."""
    now_ms = clock.now_ms()
    rows = read_tape(_tape_name(setup.tape), _only(setup.symbols)) if setup.tape else []
    contracts = _listed(setup.symbols, rows)
    config = ExchangeConfig(contracts=contracts, wallet=setup.wallet, hedge=setup.hedge)
    prices: Prices | None = None
    if rows:
        prices = Tape(rows, now_ms, speed=setup.speed, repeats=setup.repeats)
    elif not setup.still:
        prices = Walk(contracts, setup.seed, now_ms)
    session = Session(
        Exchange(config, now_ms),
        clock,
        Credentials(setup.key, setup.secret),
        seed=setup.seed,
        wire=setup.wire,
        prices=prices,
    )
    return ExchangeServer(session, setup.port)


def _tape_name(given: str) -> str:
    """A file by its path, a packaged tape by its name."""
    path = Path(given)
    return str(path.absolute()) if path.suffix or path.exists() else given


def _only(symbols: tuple[str, ...]) -> str:
    return symbols[0] if len(symbols) == 1 else ""


def _listed(symbols: tuple[str, ...], rows: list[Step]) -> tuple[Contract, ...]:
    """The contracts, starting where the tape starts."""
    firsts: dict[str, int] = {}
    for row in rows:
        firsts.setdefault(row.symbol, row.price_e10)
    names = symbols or tuple(CONTRACTS)
    unknown = [name for name in names if name not in CONTRACTS]
    unlisted = [name for name in firsts if name not in names]
    if unknown or unlisted:
        raise SettingsError(
            "symbol of the exchange refused" if unknown else "price tape refused",
            expected=f"only symbols of {', '.join(CONTRACTS if unknown else names)}",
            found=", ".join(unknown or unlisted),
        )
    return tuple(
        msgspec.structs.replace(
            CONTRACTS[name], start_price_e10=firsts.get(name, CONTRACTS[name].start_price_e10)
        )
        for name in names
    )


async def run(server: ExchangeServer, ready: Callable[[ExchangeServer], None]) -> None:
    """Start, say so, and stop at SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with server:
        ready(server)
        await server.until(stop)
