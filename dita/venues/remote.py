"""A mock venue in a process of its own, so that whoever trades on it can be killed.

``python -m dita.venues.remote --socket PATH --config FILE`` serves one MockVenue on a unix socket:
lines of JSON, one connection for calls and one for each stream, and one ready line on stdout.
``RemoteVenue`` is the venue protocol on the other side, with the mock's verbs for tests.  When it
cannot reach the socket nothing was sent; when the connection dies after that, nobody knows.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from dita.clock import Clock, ManualClock, SystemClock
from dita.contracts import ContractRules, OrderSide, PositionSide, Record, VenueEvent
from dita.errors import AlreadyRunning, SettingsError, VenueError, shown
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
    UnreadableRow,
    unreadable_in,
)
from dita.venues.mock import Dump, MockConfig, MockVenue, Noise, Rule, Session

PULSE_MS: Final = 5
_LINE_MAX: Final = 64 * 1024 * 1024
_SUBSCRIBE: Final = "subscribe"

T = TypeVar("T")


class ServeConfig(Record, frozen=True, kw_only=True):
    """What the server's config file holds.  With ``start_ms`` time moves only when told to."""

    mock: MockConfig
    start_ms: int | None = None


class _Call(Record, frozen=True):
    number: int
    verb: str
    arguments: msgspec.Raw


class _Answer(Record, frozen=True):
    number: int
    error: str = ""
    what: str = ""
    found: str = ""
    result: msgspec.Raw = msgspec.Raw(b"null")
    unreadable: tuple[UnreadableRow, ...] = ()


_ERRORS: Final[dict[str, type[VenueError]]] = {
    "NotSent": NotSent,
    "OutcomeUnknown": OutcomeUnknown,
    "QueryFailed": QueryFailed,
    "VenueError": VenueError,
}


# -- the server ------------------------------------------------------------------------------------


class _Verb(NamedTuple):
    arguments: type[tuple[Any, ...]]
    act: Callable[..., Any]


class Server:
    """One mock behind one socket."""

    def __init__(self, config: ServeConfig) -> None:
        self.clock: Clock
        if config.start_ms is None:
            self.clock = SystemClock()
        else:
            self.clock = ManualClock(config.start_ms)
        self.venue = MockVenue(config.mock, self.clock, pulse_ms=PULSE_MS)
        self._verbs = self._table()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    def _table(self) -> dict[str, _Verb]:
        venue = self.venue
        return {
            "submit": _Verb(tuple[SubmitOrder], venue.submit),
            "cancel": _Verb(tuple[OrderRef], venue.cancel),
            "server_time_ms": _Verb(tuple[()], venue.server_time_ms),
            "contract": _Verb(tuple[str], venue.contract),
            "price": _Verb(tuple[str], venue.price),
            "order": _Verb(tuple[OrderRef], venue.order),
            "open_orders": _Verb(tuple[str], venue.open_orders),
            "all_orders": _Verb(tuple[str, int], venue.all_orders),
            "fills": _Verb(tuple[str, int], venue.fills),
            "positions": _Verb(tuple[()], venue.positions),
            "balance": _Verb(tuple[()], venue.balance),
            "income": _Verb(tuple[int], venue.income),
            # control
            "hello": _Verb(tuple[()], lambda: venue.receive_window_ms),
            "pass_ms": _Verb(tuple[int], self._pass_ms),
            "advance": _Verb(tuple[str, int], venue.advance),
            "fill": _Verb(tuple[OrderRef, int], venue.fill),
            "fund": _Verb(tuple[str, int], venue.fund),
            "transfer": _Verb(tuple[int], venue.transfer),
            "liquidate": _Verb(tuple[str, bool], venue.liquidate),
            "trade_by_hand": _Verb(tuple[str, OrderSide, int, PositionSide], venue.trade_by_hand),
            "pay": _Verb(tuple[IncomeKind, str, int, str], venue.pay),
            "vanish": _Verb(tuple[str], venue.vanish),
            "lock": _Verb(tuple[str, int, PositionSide], venue.lock),
            "suspend": _Verb(tuple[str, bool], venue.suspend),
            "end_stream": _Verb(tuple[()], venue.end_stream),
            "set_script": _Verb(tuple[tuple[Rule, ...]], venue.set_script),
            "set_noise": _Verb(tuple[Noise], self._set_noise),
            "dump": _Verb(tuple[()], venue.dump),
        }

    def _pass_ms(self, step_ms: int) -> None:
        if not isinstance(self.clock, ManualClock):
            raise VenueError("time passes by itself here", action="serve with start_ms")
        self.clock.advance_ms(step_ms)
        self.venue.run()

    def _set_noise(self, noise: Noise) -> None:
        self.venue.noise = noise

    async def start(self, path: Path) -> None:
        """Listen; the socket is for this user only.  AlreadyRunning when somebody else does."""
        if path.exists():
            if await _answers(path):
                raise AlreadyRunning("socket is in use", found=str(path))
            path.unlink()
        await self.venue.connect()
        listener = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)  # of the whole process: nothing may be awaited until it is back
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=_LINE_MAX)

    async def stop(self) -> None:
        """Hang up on everybody."""
        if self._server is not None:
            self._server.close()
        for writer in tuple(self._writers):
            writer.close()
        await self.venue.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                call = msgspec.json.decode(line, type=_Call)
                if call.verb == _SUBSCRIBE:
                    await self._stream(call, reader, writer)
                    return
                # Its own task: a delayed answer must not hold up the others.
                task = asyncio.get_running_loop().create_task(self._answer(call, writer))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except (ConnectionError, msgspec.DecodeError):
            pass  # the client died, or is none: the venue lives on
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, call: _Call, writer: asyncio.StreamWriter) -> None:
        answer = await self._answer_to(call)
        try:
            _send(writer, answer)
            await writer.drain()
        except ConnectionError:
            pass  # it was executed, and nobody is there to hear of it

    async def _answer_to(self, call: _Call) -> _Answer:
        try:
            verb = self._verbs[call.verb]
            result = verb.act(*msgspec.json.decode(call.arguments, type=verb.arguments))
            if isinstance(result, Awaitable):
                result = await result
            rows = unreadable_in(result) if isinstance(result, tuple) else ()
            raw = msgspec.Raw(msgspec.json.encode(result))
            return _Answer(call.number, result=raw, unreadable=rows)
        except (VenueError, SettingsError) as refused:
            name = type(refused).__name__
            error = name if name in _ERRORS else "VenueError"
            return _Answer(call.number, error, refused.what, refused.found)
        except (KeyError, msgspec.DecodeError) as bad:
            return _Answer(call.number, "VenueError", "call refused", shown(bad))

    async def _stream(
        self, call: _Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        session = self.venue.subscribe()
        _send(writer, _Answer(call.number))
        gone = asyncio.get_running_loop().create_task(_end_with(reader, session))
        try:
            async for frame in session.read():
                _send(writer, frame)
                await writer.drain()
        finally:
            gone.cancel()
            self.venue.unsubscribe(session)


async def _end_with(reader: asyncio.StreamReader, session: Session) -> None:
    # A listener says nothing more; when it reads as ended it is dead.
    await reader.read()
    session.end()


async def _answers(path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    return True


def _send(writer: asyncio.StreamWriter, record: Record) -> None:
    writer.write(msgspec.json.encode(record) + b"\n")


async def serve(path: Path, config: ServeConfig) -> None:
    """Serve until SIGTERM or SIGINT; says on stdout when it is ready."""
    server = Server(config)
    done = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, done.set)
    await server.start(path)
    ready = {"ready": True, "socket": str(path), "pid": os.getpid()}
    sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
    sys.stdout.flush()
    await done.wait()
    await server.stop()
    path.unlink(missing_ok=True)


def read_config(path: Path) -> ServeConfig:
    """The config file, JSON with integers in the kernel's units.  SettingsError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ServeConfig)
    except (OSError, msgspec.DecodeError) as bad:
        raise SettingsError("venue config refused", found=f"{path}: {bad}") from bad


# -- the client ------------------------------------------------------------------------------------


class RemoteVenue:
    """The venue protocol over the socket of a Server."""

    def __init__(self, path: Path | str, receive_window_ms: int = 5_000) -> None:
        self.path = Path(path)
        self.receive_window_ms = receive_window_ms
        self._calls: _Line | None = None
        self._stream: _Stream | None = None

    # -- connection --

    async def connect(self) -> None:
        """Open the connection for calls and the stream.  VenueError when nobody is there."""
        await self.close()
        try:
            self._calls = await _Line.open(self.path)
            self._stream = await _Stream.open(self.path)
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

    async def _read(self, stream: _Stream | None) -> AsyncIterator[VenueEvent]:
        if (stream is None or stream.over) and self._calls is not None:
            try:
                self._stream = stream = await _Stream.open(self.path)
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

    async def _answer(self, verb: str, *arguments: object) -> _Answer:
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


class _Line:
    """A connection for calls: many at once, matched by their number."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._count = 0
        self._waiting: dict[int, asyncio.Future[_Answer]] = {}
        self.dead = False
        self._task = asyncio.get_running_loop().create_task(self._listen())

    @classmethod
    async def open(cls, path: Path) -> _Line:
        """OSError when nobody is there."""
        return cls(*await asyncio.open_unix_connection(path, limit=_LINE_MAX))

    async def call(self, verb: str, *arguments: object) -> _Answer:
        """The answer; VenueError as the other side raised it; ConnectionError."""
        if self.dead:
            raise ConnectionError("connection is dead")
        self._count += 1
        number = self._count
        waits: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waits
        try:
            _send(self._writer, _Call(number, verb, msgspec.Raw(msgspec.json.encode(arguments))))
            await self._writer.drain()
            answer = await waits
        finally:
            self._waiting.pop(number, None)
        if answer.error:
            raise _ERRORS.get(answer.error, VenueError)(answer.what, found=answer.found)
        return answer

    async def _listen(self) -> None:
        try:
            while line := await self._reader.readline():
                answer = msgspec.json.decode(line, type=_Answer)
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


class _Stream:
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
    async def open(cls, path: Path) -> _Stream:
        """Subscribed when this returns.  OSError when nobody is there."""
        reader, writer = await asyncio.open_unix_connection(path, limit=_LINE_MAX)
        _send(writer, _Call(0, _SUBSCRIBE, msgspec.Raw(b"[]")))
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


def main() -> None:
    """Entry of ``python -m dita.venues.remote``."""
    parser = argparse.ArgumentParser(prog="python -m dita.venues.remote")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    options = parser.parse_args()
    try:
        config = read_config(options.config)
        asyncio.run(serve(options.socket, config))
    except (SettingsError, AlreadyRunning) as bad:
        sys.stderr.write(f"{bad}\n")
        raise SystemExit(int(bad.exit_code)) from bad


if __name__ == "__main__":
    main()
