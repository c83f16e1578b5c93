"""The local exchange without a port: requests and websockets inside one process.

For simulations in virtual time, where no real socket may be waited for.  A client's httpx transport
and a websocket-like connection come to the same code as over the port; how long they take is a
function of the caller's, and so are the losses.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import httpx

from dita.exchange.wire.answers import Answer
from dita.exchange.wire.requests import Lost, Requests
from dita.exchange.wire.rest.calls import Call
from dita.exchange.wire.session import Session
from dita.exchange.wire.stream.sockets import serve_socket

T = TypeVar("T")

_PATH: Final = "/swap-market"
PULSE_S: Final = 0.25


def urls(number: int) -> tuple[str, str]:
    """REST and stream address of exchange ``number``, 0 to 64,511; nothing listens there.

    Two of one machine differ, as the accounts on them do.
    """
    host = f"127.0.0.1:{1_024 + number}"
    return f"http://{host}", f"ws://{host}{_PATH}"


class InProcessExchange:
    """A session that clients of this process reach.

    ``delay_s`` gives each way's duration in seconds; it is asked once per request and direction,
    and once per frame.
    """

    def __init__(self, session: Session, delay_s: Callable[[], float] = lambda: 0.0) -> None:
        self.session = session
        self.requests = Requests(session)
        self.delay_s = delay_s
        #: False: whoever asks gets no answer, and no socket stays open.
        self.reachable = True
        # A client's end does not end what the exchange has begun.
        self._context = contextvars.copy_context()
        self._pipes: set[_Pipe] = set()
        self._pulse: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Let its time pass."""
        self._pulse = asyncio.ensure_future(self._keep_pulsing())

    async def stop(self) -> None:
        """Close all sockets; a fault of ours in the background is raised here."""
        self.session.hub.drop_all()
        if self._pulse is not None:
            self._pulse.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._pulse

    async def _keep_pulsing(self) -> None:
        while True:
            self.session.pulse()
            await asyncio.sleep(PULSE_S)

    def cut(self) -> None:
        """The network is gone: every socket breaks, and requests fail."""
        self.reachable = False
        for pipe in tuple(self._pipes):
            pipe.abort()

    def mend(self) -> None:
        """The network is back."""
        self.reachable = True

    def transport(self) -> InProcessTransport:
        """What a client sends its requests through."""
        return InProcessTransport(self)

    async def connect(self, url: str, **_: Any) -> InProcessConnection:
        """Open a websocket.  ConnectionRefusedError when the network is gone."""
        await asyncio.sleep(self.delay_s())
        if not self.reachable:
            raise ConnectionRefusedError("the exchange cannot be reached")
        parts = urlsplit(url)
        pipe = _Pipe(self.delay_s)
        self._pipes.add(pipe)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        pipe.serving = self.spawn(self._serve(pipe, path))
        return InProcessConnection(pipe)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something as the exchange's own, whoever asked for it."""
        return asyncio.get_running_loop().create_task(work, context=self._context.copy())

    async def respond(self, call: Call) -> Answer:
        """The answer of one call after its way here.  Lost: there is none."""
        await asyncio.sleep(self.delay_s())
        return await self.requests.respond(call)

    async def _serve(self, pipe: _Pipe, raw_path: str) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                await serve_socket(self.session, pipe, raw_path)
        finally:
            self._pipes.discard(pipe)
            pipe.abort()


class InProcessTransport(httpx.AsyncBaseTransport):
    """Requests to an exchange of this process."""

    def __init__(self, exchange: InProcessExchange) -> None:
        self._exchange = exchange

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer; httpx.ConnectError when nothing was sent, ReadError when it may have been."""
        exchange = self._exchange
        if not exchange.reachable:
            raise httpx.ConnectError("the exchange cannot be reached", request=request)
        raw_path = request.url.raw_path.decode("ascii")
        call = Call(
            method=request.method,
            path=raw_path.partition("?")[0],
            raw_path=raw_path,
            body=request.content if isinstance(request.stream, httpx.ByteStream) else b"",
            headers=request.headers,
            address="127.0.0.1",
        )
        try:
            # It arrives also when whoever sent it dies meanwhile.
            answer = await asyncio.shield(exchange.spawn(exchange.respond(call)))
        except Lost:
            raise httpx.ReadError("connection broken", request=request) from None
        await asyncio.sleep(exchange.delay_s())
        if not exchange.reachable:
            raise httpx.ReadError("connection broken", request=request)
        return _response(answer)


def _response(answer: Answer) -> httpx.Response:
    headers = {"Content-Type": answer.content_type, **answer.headers}
    return httpx.Response(answer.status, headers=headers, stream=httpx.ByteStream(answer.body))


class _Pipe:
    """Both directions of one websocket; frames keep their order."""

    def __init__(self, delay_s: Callable[[], float]) -> None:
        self.to_client: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.to_server: asyncio.Queue[str | None] = asyncio.Queue()
        self.closed = False
        self.serving: asyncio.Future[None] | None = None
        self._delay_s = delay_s

    async def send_bytes(self, frame: bytes) -> None:
        if self.closed:
            raise ConnectionResetError("the client is gone")
        await asyncio.sleep(self._delay_s())
        self.to_client.put_nowait(frame)

    async def texts(self) -> AsyncIterator[str]:
        while (text := await self.to_server.get()) is not None:
            yield text

    def abort(self) -> None:
        if not self.closed:
            self.closed = True
            self.to_client.put_nowait(None)
            self.to_server.put_nowait(None)


class InProcessConnection:
    """The client's end of a websocket, with what the adapter uses of one."""

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe

    async def recv(self) -> bytes:
        """The next frame.  ConnectionResetError when there will be none."""
        frame = None if self._pipe.closed else await self._pipe.to_client.get()
        if frame is None:
            raise ConnectionResetError("the exchange closed the connection")
        return frame

    async def send(self, text: str) -> None:
        """Send a text.  ConnectionResetError when it is closed."""
        if self._pipe.closed:
            raise ConnectionResetError("the connection is closed")
        self._pipe.to_server.put_nowait(text)

    async def close(self) -> None:
        """Close in good order."""
        self._pipe.abort()

    def abort(self) -> None:
        """Close without a handshake."""
        self._pipe.abort()
