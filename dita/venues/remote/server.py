"""One mock venue behind one unix socket, in a process of its own.

It executes what comes over the socket, one task for each call, and goes on when a client dies.  It
knows no kernel and keeps nothing when it ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from dita.clock import Clock, ManualClock, SystemClock
from dita.contracts import OrderSide, PositionSide, Record
from dita.errors import AlreadyRunning, SettingsError, VenueError, shown
from dita.venues import IncomeKind, OrderRef, SubmitOrder, unreadable_in
from dita.venues.mock import MockConfig, MockVenue, Noise, Rule, Session
from dita.venues.remote.wire import LINE_MAX, SUBSCRIBE, Answer, Call, refused, send

PULSE_MS: Final = 5


class ServeConfig(Record, frozen=True, kw_only=True):
    """What the server's config file holds.  With ``start_ms`` time moves only when told to."""

    mock: MockConfig
    start_ms: int | None = None


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
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=LINE_MAX)

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
                call = msgspec.json.decode(line, type=Call)
                if call.verb == SUBSCRIBE:
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

    async def _answer(self, call: Call, writer: asyncio.StreamWriter) -> None:
        answer = await self._answer_to(call)
        try:
            send(writer, answer)
            await writer.drain()
        except ConnectionError:
            pass  # it was executed, and nobody is there to hear of it

    async def _answer_to(self, call: Call) -> Answer:
        try:
            verb = self._verbs[call.verb]
            result = verb.act(*msgspec.json.decode(call.arguments, type=verb.arguments))
            if isinstance(result, Awaitable):
                result = await result
            rows = unreadable_in(result) if isinstance(result, tuple) else ()
            raw = msgspec.Raw(msgspec.json.encode(result))
            return Answer(call.number, result=raw, unreadable=rows)
        except VenueError as error:
            return refused(call.number, error)
        except SettingsError as bad_setting:
            return Answer(call.number, "VenueError", bad_setting.what, bad_setting.found)
        except (KeyError, msgspec.DecodeError) as bad:
            return Answer(call.number, "VenueError", "call refused", shown(bad))

    async def _stream(
        self, call: Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        session = self.venue.subscribe()
        send(writer, Answer(call.number))
        gone = asyncio.get_running_loop().create_task(_end_with(reader, session))
        try:
            async for frame in session.read():
                send(writer, frame)
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
