"""The venue protocol over the socket of a mock in another process, and the mock's verbs for tests.

When the socket cannot be reached nothing was sent; when the connection dies after that, nobody
knows.  What the mock raises is raised here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from dita.contracts import ContractRules, OrderSide, PositionSide, VenueEvent
from dita.errors import VenueError
from dita.venues import (
    BalanceReport,
    FillReport,
    IncomeKind,
    IncomeReport,
    NotSent,
    OrderRef,
    OrderReport,
    OutcomeUnknown,
    PositionReport,
    QueryFailed,
    Rows,
    StreamState,
    SubmitOrder,
)
from dita.venues.mock import Dump, Noise, Rule, Session
from dita.venues.remote.wire import LINE_MAX, SUBSCRIBE, Answer, Call, raised, send

T = TypeVar("T")


class RemoteVenue:
    """The venue protocol over the socket of a Server."""

    def __init__(self, path: Path | str, receive_window_ms: int = 5_000) -> None:
        self.path = Path(path)
        self.receive_window_ms = receive_window_ms
        self._calls: Line | None = None
        self._stream: Stream | None = None

    # -- connection --

    async def connect(self) -> None:
        """Open the connection for calls and the stream.  VenueError when nobody is there."""
        await self.close()
        try:
            self._calls = await Line.open(self.path)
            self._stream = await Stream.open(self.path)
        except OSError as bad:
            await self.close()
            raise VenueError("venue cannot be reached", found=f"{self.path}: {bad}") from bad
        self.receive_window_ms = await self._ask("hello", int)

    async def close(self) -> None:
        """Hang up."""
        calls, stream, self._calls, self._stream = self._calls, self._stream, None, None
        if calls is not None:
            await calls.close()
        if stream is not None:
            await stream.close()

    def events(self) -> AsyncIterator[VenueEvent]:
        """The stream since connect; after it was lost, a new one."""
        if self._calls is None:
            raise VenueError("venue is not connected", action="call connect first")
        return self._read(self._stream)

    async def _read(self, stream: Stream | None) -> AsyncIterator[VenueEvent]:
        if (stream is None or stream.over) and self._calls is not None:
            try:
                self._stream = stream = await Stream.open(self.path)
            except OSError:
                return
        if stream is None:
            return
        async for frame in stream.session.read():
            yield frame

    # -- orders --

    async def submit(self, order: SubmitOrder) -> tuple[VenueEvent, ...]:
        """Send an order."""
        return await self._order_call("submit", order)

    async def cancel(self, order: OrderRef) -> tuple[VenueEvent, ...]:
        """Ask for a cancel."""
        return await self._order_call("cancel", order)

    async def _order_call(
        self, verb: str, argument: SubmitOrder | OrderRef
    ) -> tuple[VenueEvent, ...]:
        calls = self._calls
        if calls is None or calls.dead:
            raise NotSent("no connection to the venue")
        try:
            answer = await calls.call(verb, argument)
        except ConnectionError as bad:
            raise OutcomeUnknown("connection died before the answer", found=verb) from bad
        return msgspec.json.decode(answer.result, type=tuple[VenueEvent, ...])

    # -- questions --

    async def _answer(self, verb: str, *arguments: object) -> Answer:
        if self._calls is None:
            raise QueryFailed("no connection to the venue", found=verb)
        try:
            return await self._calls.call(verb, *arguments)
        except ConnectionError as bad:
            raise QueryFailed("no answer", found=verb) from bad

    async def _ask(self, verb: str, expected: type[T] | Any, *arguments: object) -> T:
        answer = await self._answer(verb, *arguments)
        result: T = msgspec.json.decode(answer.result, type=expected)
        return result

    async def server_time_ms(self) -> int:
        """The venue's clock."""
        return await self._ask("server_time_ms", int)

    def symbols(self) -> tuple[str, ...]:
        """Not known on this side of the socket."""
        return ()

    async def contract(self, asset: str) -> ContractRules:
        """Trading rules."""
        return await self._ask("contract", ContractRules, asset)

    async def price(self, asset: str) -> int:
        """The price now."""
        return await self._ask("price", int, asset)

    async def order(self, order: OrderRef) -> OrderReport | None:
        """The order by its ids."""
        return await self._ask("order", OrderReport | None, order)

    async def _rows(self, verb: str, row: type[T], *arguments: object) -> Rows[T]:
        answer = await self._answer(verb, *arguments)
        rows: tuple[T, ...] = msgspec.json.decode(answer.result, type=tuple[row, ...])  # type: ignore[valid-type]
        return Rows(rows, answer.unreadable)

    async def open_orders(self, asset: str) -> Rows[OrderReport]:
        """Orders that work."""
        return await self._rows("open_orders", OrderReport, asset)

    async def all_orders(self, asset: str, since_ms: int) -> Rows[OrderReport]:
        """Orders in any state."""
        return await self._rows("all_orders", OrderReport, asset, since_ms)

    async def fills(self, asset: str, since_ms: int) -> Rows[FillReport]:
        """Fills, oldest first."""
        return await self._rows("fills", FillReport, asset, since_ms)

    async def positions(self) -> Rows[PositionReport]:
        """Every position that is not flat."""
        return await self._rows("positions", PositionReport)

    async def balance(self) -> BalanceReport:
        """The wallet."""
        return await self._ask("balance", BalanceReport)

    async def income(self, since_ms: int) -> Rows[IncomeReport]:
        """Income rows, oldest first."""
        return await self._rows("income", IncomeReport, since_ms)

    def stream_state(self) -> StreamState:
        """Heard at any time, as long as the socket stands."""
        if self._stream is None or self._stream.over:
            return StreamState(connected=False, trouble="the socket is closed")
        return StreamState(connected=True, silent_ms=0)

    async def renew_access(self) -> None:
        """Nothing: there are no keys."""

    def health(self) -> dict[str, Any]:
        """Nothing: a socket of this machine."""
        return {}

    # -- verbs for tests, as the mock has them --

    async def pass_ms(self, step_ms: int) -> None:
        """Let time pass; only with a server whose time does not pass by itself."""
        await self._ask("pass_ms", None, step_ms)

    async def advance(self, asset: str, price_e10: int) -> None:
        """Move the price."""
        await self._ask("advance", None, asset, price_e10)

    async def fill(self, order: OrderRef, quantity_e8: int = 0) -> None:
        """Fill a working order."""
        await self._ask("fill", None, order, quantity_e8)

    async def fund(self, asset: str, rate_e9: int) -> int:
        """Pay funding."""
        return await self._ask("fund", int, asset, rate_e9)

    async def transfer(self, amount: int) -> None:
        """Move money into or out of the wallet."""
        await self._ask("transfer", None, amount)

    async def liquidate(self, asset: str, adl: bool = False) -> None:
        """Close our positions of a symbol from the venue's side."""
        await self._ask("liquidate", None, asset, adl)

    async def trade_by_hand(
        self,
        asset: str,
        side: OrderSide,
        quantity_e8: int,
        position_side: PositionSide = PositionSide.UNKNOWN,
    ) -> None:
        """Trade beside the program."""
        await self._ask("trade_by_hand", None, asset, side, quantity_e8, position_side)

    async def pay(self, kind: IncomeKind, asset: str, amount: int, word: str = "") -> None:
        """Let money of any kind move."""
        await self._ask("pay", None, kind, asset, amount, word)

    async def vanish(self, asset: str) -> None:
        """Let the positions of a symbol be gone without a fill."""
        await self._ask("vanish", None, asset)

    async def lock(
        self, asset: str, quantity_e8: int, position_side: PositionSide = PositionSide.UNKNOWN
    ) -> None:
        """Lock a part of a position, as a stop set by hand does; 0 lifts it."""
        await self._ask("lock", None, asset, quantity_e8, position_side)

    async def suspend(self, asset: str, suspended: bool = True) -> None:
        """Suspend a symbol, or lift it."""
        await self._ask("suspend", None, asset, suspended)

    async def end_stream(self) -> None:
        """Lose every stream."""
        await self._ask("end_stream", None)

    async def set_script(self, rules: tuple[Rule, ...]) -> None:
        """A new script."""
        await self._ask("set_script", None, rules)

    async def set_noise(self, noise: Noise) -> None:
        """New noise."""
        await self._ask("set_noise", None, noise)

    async def dump(self) -> Dump:
        """Everything that the venue knows."""
        return await self._ask("dump", Dump)


class Line:
    """A connection for calls: many at once, matched by their number."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._count = 0
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self.dead = False
        self._task = asyncio.get_running_loop().create_task(self._listen())

    @classmethod
    async def open(cls, path: Path) -> Line:
        """OSError when nobody is there."""
        return cls(*await asyncio.open_unix_connection(path, limit=LINE_MAX))

    async def call(self, verb: str, *arguments: object) -> Answer:
        """The answer; VenueError as the other side raised it; ConnectionError."""
        if self.dead:
            raise ConnectionError("connection is dead")
        self._count += 1
        number = self._count
        waits: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waits
        try:
            send(self._writer, Call(number, verb, msgspec.Raw(msgspec.json.encode(arguments))))
            await self._writer.drain()
            answer = await waits
        finally:
            self._waiting.pop(number, None)
        if answer.error:
            raise raised(answer)
        return answer

    async def _listen(self) -> None:
        try:
            while line := await self._reader.readline():
                answer = msgspec.json.decode(line, type=Answer)
                waits = self._waiting.get(answer.number)
                if waits is not None and not waits.done():
                    waits.set_result(answer)
        except (ConnectionError, msgspec.DecodeError):
            pass  # told below to whoever waits
        finally:
            self.dead = True
            for waits in self._waiting.values():
                if not waits.done():
                    waits.set_exception(ConnectionResetError("connection died"))
            self._writer.close()

    async def close(self) -> None:
        self._writer.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class Stream:
    """A connection that only listens."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.session = Session()
        self._task = asyncio.get_running_loop().create_task(self._listen())

    @property
    def over(self) -> bool:
        """Lost, and read to its end."""
        return self.session.ended and not self.session.waiting

    @classmethod
    async def open(cls, path: Path) -> Stream:
        """Subscribed when this returns.  OSError when nobody is there."""
        reader, writer = await asyncio.open_unix_connection(path, limit=LINE_MAX)
        send(writer, Call(0, SUBSCRIBE, msgspec.Raw(b"[]")))
        await writer.drain()
        if not await reader.readline():
            writer.close()
            raise ConnectionResetError("connection died")
        return cls(reader, writer)

    async def _listen(self) -> None:
        try:
            while line := await self._reader.readline():
                self.session.put(msgspec.json.decode(line, type=VenueEvent))
        except (ConnectionError, msgspec.DecodeError):
            pass  # a lost stream ends, whatever it was lost by
        finally:
            self.session.end()
            self._writer.close()

    async def close(self) -> None:
        self._writer.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
