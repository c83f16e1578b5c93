"""BingX as a venue: REST for orders and questions, the user stream for events, rules kept fresh.

It puts the parts together and keeps what they share: the exchange's time (measured every minute),
the contracts (hourly), the account's mode (checked at connect).  The runtime is its only caller.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Final

import httpx

from dita.clock import Clock
from dita.contracts import ContractRules, Record, VenueEvent
from dita.errors import SettingsError, VenueError
from dita.identity import plain_symbol
from dita.venues import (
    BalanceReport,
    FillReport,
    IncomeReport,
    OrderRef,
    OrderReport,
    PositionReport,
    QueryFailed,
    Rows,
    StreamState,
    SubmitOrder,
    UnknownSymbol,
)
from dita.venues.bingx.leverage import Leverage
from dita.venues.bingx.rest import client
from dita.venues.bingx.rest.client import Access, Client, ListenKeys
from dita.venues.bingx.rest.queries import Questions
from dita.venues.bingx.rest.rate_limits import Budget
from dita.venues.bingx.rest.symbols import Symbol, hedge_of, symbols_of
from dita.venues.bingx.stream.parse import ParsedFrame, UserEvents
from dita.venues.bingx.stream.socket import Connect, Figures
from dita.venues.bingx.stream.user import UserStream
from dita.venues.bingx.trading import Trading
from dita.venues.bingx.values import UnreadableValue
from dita.venues.evidence import position_events

TIME_EVERY_S: Final = 60
CONTRACTS_EVERY_S: Final = 3_600
#: Between questions about positions that a frame left in doubt.
DOUBT_PAUSE_S: Final = 1.0
CONTRACTS_OLD_MS: Final = 2 * CONTRACTS_EVERY_S * 1_000


class BingxConfig(Record, frozen=True, kw_only=True):
    """What the venue is made with; the keys come separately and by reference."""

    rest_url: str
    stream_url: str
    fallback_url: str = ""
    receive_window_ms: int = 5_000
    hedge: bool = False
    #: A PEM file with the certificates that are trusted; "" for certifi's.
    trust_store: str = ""
    #: What margin is called, the likelier first: VST is the test money's name (dossier §2.4).
    assets: tuple[str, ...] = ("USDT",)


class BingxVenue:
    """The venue protocol (``dita.venues.Venue``) over BingX's wire."""

    def __init__(
        self,
        config: BingxConfig,
        clock: Clock,
        *,
        api_key: Callable[[], str],
        api_secret: Callable[[], str],
        draw: Callable[[int], int],
        budget: Budget | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        connect_to: Connect | None = None,
    ) -> None:
        self.config = config
        self._connect_to = connect_to
        self.receive_window_ms = config.receive_window_ms
        access = Access(
            url=config.rest_url,
            api_key=api_key,
            api_secret=api_secret,
            fallback_url=config.fallback_url,
            receive_window_ms=config.receive_window_ms,
            trust_store=config.trust_store,
        )
        self.client = Client(access, clock, budget, transport)
        self._questions = Questions(self.client, self.name_of, config.assets)
        self.leverage = Leverage(self.client, self._questions, config.hedge)
        self.trading = Trading(self.client, clock, self.find, self.leverage, config.hedge)
        self._clock = clock
        self._draw = draw
        self._stream: UserStream | None = None
        self._doubts: set[str] = set()
        self._settling: asyncio.Task[None] | None = None
        self._symbols: dict[str, Symbol] = {}
        self._symbols_ms = 0
        self._tasks: list[asyncio.Task[None]] = []
        #: Regular measurements and refreshes that failed: what they keep fresh is getting old.
        self.refresh_failures_total = 0

    # -- connection --------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Time, contracts, mode, stream.  SettingsError for another mode than the account's."""
        await self.close()
        tls = await self.client.open()
        try:
            await self.client.measure_time()
            await self._load_contracts()
            await self._check_mode()
            await self._questions.balance()  # tells what margin is called here
            self.leverage.forget()
            self._stream = stream = self._new_stream(tls)
            await stream.open()
        except (VenueError, SettingsError):
            await self.close()
            raise
        self._tasks = [
            asyncio.create_task(self._every(TIME_EVERY_S, self._measure), name="bingx time"),
            asyncio.create_task(
                self._every(CONTRACTS_EVERY_S, self._load_contracts), name="bingx contracts"
            ),
        ]

    def _new_stream(self, tls: ssl.SSLContext) -> UserStream:
        events = UserEvents(self._questions.margin_asset, self.config.hedge)
        url, keys = self.config.stream_url, ListenKeys(self.client)
        odd = self._questions.oddities
        return UserStream(
            url,
            keys,
            events,
            self._clock,
            self._draw,
            tls=tls,
            oddities=odd,
            connect_to=self._connect_to,
        )

    async def close(self) -> None:
        """Let go of tasks, the stream and connections; safe to call twice."""
        tasks, self._tasks = self._tasks, []
        if self._settling is not None:
            tasks.append(self._settling)
            self._settling = None
        self._doubts.clear()
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()
        await self.client.close()
        for end in ends:
            if isinstance(end, Exception):
                raise end  # a task of ours died of something that is not the exchange's doing

    async def _every(self, interval_s: int, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(interval_s)
            try:
                await work()
            except VenueError:
                # Old measurements age out by themselves: entries stop, exits go on.
                self.refresh_failures_total += 1

    async def _measure(self) -> None:
        await self.client.measure_time()

    async def _check_mode(self) -> None:
        data = await self.client.wanted(client.POSITION_MODE, {})
        try:
            hedge = hedge_of(data)
        except UnreadableValue as bad:
            raise QueryFailed("position mode cannot be read", found=bad.found) from bad
        if hedge is not self.config.hedge:
            names = {True: "hedge", False: "one-way"}
            raise SettingsError(
                "position mode differs from the account's",
                expected=f"kernel.hedge = {str(hedge).lower()} ({names[hedge]} mode)",
                found=f"kernel.hedge = {str(self.config.hedge).lower()}",
                action="correct kernel.hedge, or switch the account when it is flat",
            )

    # -- contracts ---------------------------------------------------------------------------------

    async def _load_contracts(self) -> None:
        data = await self.client.wanted(client.CONTRACTS, {})
        try:
            self._symbols = symbols_of(data)
        except UnreadableValue as bad:
            raise QueryFailed("contracts cannot be read", found=bad.found) from bad
        self._symbols_ms = self.client.time.monotonic_ms()

    def find(self, asset: str) -> Symbol | None:
        """A listed symbol, with or without hyphen."""
        return self._symbols.get(plain_symbol(asset))

    def symbols(self) -> tuple[str, ...]:
        """Every listed symbol."""
        return tuple(sorted(symbol.name for symbol in self._symbols.values()))

    def name_of(self, asset: str) -> str:
        """The exchange's spelling; as it is when it is not listed (any more)."""
        symbol = self.find(asset)
        return symbol.name if symbol is not None else asset

    async def contract(self, asset: str) -> ContractRules:
        """Trading rules of a symbol, at most two hours old.  QueryFailed; VenueError: unknown."""
        age_ms = self.client.time.monotonic_ms() - self._symbols_ms
        if self.find(asset) is None or age_ms > CONTRACTS_OLD_MS:
            await self._load_contracts()
        symbol = self.find(asset)
        if symbol is None:
            raise UnknownSymbol("unknown symbol", expected="one that BingX lists", found=asset)
        return symbol.rules

    async def price(self, asset: str) -> int:
        """The mark price.  QueryFailed; VenueError: unknown."""
        await self.contract(asset)
        return await self._questions.mark_price(asset)

    # -- orders ------------------------------------------------------------------------------------

    async def submit(self, order: SubmitOrder) -> tuple[VenueEvent, ...]:
        """Send an order once."""
        return await self.trading.submit(order)

    async def cancel(self, order: OrderRef) -> tuple[VenueEvent, ...]:
        """Ask for a cancel."""
        return await self.trading.cancel(order)

    # -- questions ---------------------------------------------------------------------------------

    async def server_time_ms(self) -> int:
        """The exchange's clock, asked for now."""
        return await self.client.measure_time(1)

    async def order(self, order: OrderRef) -> OrderReport | None:
        """The order by its ids."""
        return await self._questions.order(order)

    async def open_orders(self, asset: str) -> Rows[OrderReport]:
        """Orders that work."""
        return await self._questions.open_orders(asset)

    async def all_orders(self, asset: str, since_ms: int) -> Rows[OrderReport]:
        """Orders in any state."""
        return await self._questions.all_orders(asset, since_ms)

    async def fills(self, asset: str, since_ms: int) -> Rows[FillReport]:
        """Fills, oldest first."""
        return await self._questions.fills(asset, since_ms)

    async def positions(self) -> Rows[PositionReport]:
        """Every position that is not flat."""
        reports = await self._questions.positions()
        self.leverage.seen(reports)
        return reports

    async def balance(self) -> BalanceReport:
        """The wallet."""
        return await self._questions.balance()

    async def income(self, since_ms: int) -> Rows[IncomeReport]:
        """Income rows, oldest first."""
        return await self._questions.income(since_ms)

    # -- events ------------------------------------------------------------------------------------

    def events(self) -> AsyncIterator[VenueEvent]:
        """The user stream up to the next gap; called again it goes on behind it.

        There is a gap when the stream is lost and another once it is connected again, so that
        whoever asks about everything after each has asked after the last frame that was missed.
        """
        if self._stream is None:
            raise VenueError("venue is not connected", action="call connect first")
        return self._events(self._stream)

    async def _events(self, stream: UserStream) -> AsyncIterator[VenueEvent]:
        async for told in stream.told():
            if told.config is not None:
                config = told.config
                self.leverage.heard(config.asset, config.long_leverage, config.short_leverage)
            if told.doubtful:
                self._doubt(stream, told.doubtful)
            for event in told.events:
                yield event
        self.leverage.forget()

    def stream_state(self) -> StreamState:
        """Is the user stream heard now?"""
        if self._stream is None:
            return StreamState(connected=False, trouble="not connected")
        return self._stream.state()

    async def renew_access(self) -> None:
        """Read key and secret again; the next request is signed with them.  SettingsError."""
        self.client.renew_keys()

    def health(self) -> dict[str, Any]:
        """Rate budget, refusals in the exchange's words, and what the stream has been through."""
        stream = self._stream.figures if self._stream is not None else Figures()
        return {
            **self.client.budget.told(),
            "refusals": list(self.trading.refusals),
            "gaps": {cause.value: count for cause, count in sorted(stream.gaps.items())},
            "connects": stream.connects,
            "trouble": self.stream_state().trouble,
            "refresh_failures": self.refresh_failures_total,
            "unreadable": self._questions.oddities.as_dict(),
            "leverage": self.leverage.changed(),
        }

    def _doubt(self, stream: UserStream, assets: Iterable[str]) -> None:
        """A frame told of a position in a way that may be read two ways: ask, beside the stream."""
        self._doubts.update(assets)
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle(stream), name="bingx positions")

    async def _settle(self, stream: UserStream) -> None:
        while self._doubts:
            assets = tuple(self._doubts)
            self._doubts.clear()
            asked_ms = self.client.time.now_ms()
            try:
                answer = await self.positions()
            except VenueError:
                self._doubts.update(assets)
            else:
                doubted = {plain_symbol(asset) for asset in assets}
                reports = Rows(
                    (r for r in answer if plain_symbol(r.asset) in doubted), answer.unreadable
                )
                received_ms, hedge = self._clock.now_ms(), self.config.hedge
                told = position_events(reports, assets, received_ms, asked_ms, hedge)
                stream.put(ParsedFrame(told))
            # Odd frames may come by the hundred; a question a second says as much.
            await asyncio.sleep(DOUBT_PAUSE_S)
