"""The local exchange of a demo: a tape that plays once, behind real sockets, for one account.

Brings the exchange up, gives the settings that make serve a client of it like of any other, and
hears prices on its market stream.  At the end it tells what the exchange's own book says, so that
the kernel's figures can be checked against somebody else's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from random import SystemRandom
from typing import Any, Final

from dita.clock import Clock
from dita.exchange.app import Setup, server_of
from dita.exchange.model.prices import read_tape
from dita.runtime.venue_factory import DEMO_SPEED
from dita.settings import Settings, load
from dita.units import MONEY_ONE, format_money, parse_money
from dita.venues.bingx.stream.market import MarketStream, Topic

TAPE: Final = "twenty-minutes"
WALLET: Final = 10_000 * MONEY_ONE
CENT: Final = MONEY_ONE // 100
_KEY, _SECRET = "PINK_DEMO_KEY", "PINK_DEMO_SECRET"
#: Settings of the venue come from here and nowhere else: no key of the user's may be near.
_VENUE_VARIABLES: Final = "PINK__VENUE__"


class DemoExchange:
    """Up between ``async with``; a Market for the demo."""

    def __init__(self, clock: Clock, token: Callable[[], str], tape: str = "") -> None:
        """``token`` makes a key or a secret.  SettingsError for a tape that cannot be read."""
        name = tape or TAPE
        self._clock = clock
        self._key, self._secret = token(), token()
        rows = read_tape(name)
        self.assets = tuple(dict.fromkeys(row.symbol for row in rows))
        self.server = server_of(
            Setup(
                key=self._key,
                secret=self._secret,
                symbols=self.assets,
                wallet=WALLET,
                tape=name,
                speed=DEMO_SPEED,
                repeats=False,
            ),
            clock,
        )
        self.started_ms = clock.now_ms()
        self.lasts_ms = (rows[-1].time_ms - rows[0].time_ms) // DEMO_SPEED
        self._prices: dict[str, int] = {}
        self._stream: MarketStream | None = None
        self._hearing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> DemoExchange:
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
        await self.server.stop()

    def settings(
        self, config: Path | None, directory: Path, environ: Mapping[str, str]
    ) -> Settings:
        """The settings of a serve on this exchange; keys by reference.  SettingsError."""
        others = {k: v for k, v in environ.items() if not k.startswith(_VENUE_VARIABLES)}
        overrides = {
            "venue.kind": "bingx",
            "venue.environment": "vst",
            "venue.rest_url": self.server.rest_url,
            "venue.stream_url": self.server.stream_url,
            "venue.api_key": f"env:{_KEY}",
            "venue.api_secret": f"env:{_SECRET}",
            "journal.directory": str(directory),
        }
        return load(config, {**others, _KEY: self._key, _SECRET: self._secret}, overrides)

    # -- prices ------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Subscribe to the books of the tape's symbols.  VenueError."""
        stream = MarketStream(self.server.stream_url, self._clock, SystemRandom().randrange)
        self._stream = stream
        await stream.open()
        for asset in self.assets:
            await stream.subscribe(asset, Topic.BOOK_TICKER)
        self._hearing = asyncio.create_task(self._hear(stream), name="demo prices")

    async def _hear(self, stream: MarketStream) -> None:
        while True:  # after a gap the next price is as good as the missed ones
            async for quote in stream.quotes():
                self._prices[quote.asset] = quote.price_e10
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Hear no more; a fault in the hearing is raised here."""
        hearing, self._hearing = self._hearing, None
        stream, self._stream = self._stream, None
        if hearing is not None:
            hearing.cancel()
            await asyncio.wait({hearing})
        if stream is not None:
            await stream.close()
        if hearing is not None and not hearing.cancelled():
            hearing.result()

    def prices(self) -> Mapping[str, int]:
        """The middle of each book."""
        return self._prices

    # -- the other side's word ---------------------------------------------------------------------

    def told(self, capital: str) -> dict[str, Any]:
        """What the exchange's own book says, as decimal texts, beside the capital published here.

        It answers balances with four decimals and books with eight: less than a cent is no
        difference.
        """
        exchange = self.server.session.exchange
        difference = parse_money(capital) - exchange.wallet
        positions = len(exchange.positions())
        return {
            "wallet": format_money(exchange.wallet),
            "started_with": format_money(WALLET),
            "orders": len(exchange.orders),
            "fills": len(exchange.all_fills),
            "positions": positions,
            "difference": format_money(difference),
            "agrees": abs(difference) < CENT and not positions,
        }
