"""The exchange's one port: HTTP and websockets in, answers and frames out.

The only module that runs a server.  What a request or a socket does is in ``wire``; this carries
bytes to it and back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import WSMsgType, web

from dita.errors import OperatorError
from dita.exchange.wire.answers import JSON, Answer
from dita.exchange.wire.requests import Lost, Requests
from dita.exchange.wire.rest import control
from dita.exchange.wire.rest.calls import Call
from dita.exchange.wire.session import Session
from dita.exchange.wire.stream.sockets import gzipped, serve_socket

HOST: Final = "127.0.0.1"
STREAM_PATH: Final = "/swap-market"
PULSE_S: Final = 0.02
SHUTDOWN_S: Final = 0.5


class ExchangeServer:
    """A session behind a loopback port; ``start`` and ``stop`` it in a running loop."""

    def __init__(self, session: Session, port: int = 0) -> None:
        self.session = session
        self.requests = Requests(session)
        self.port = port
        self._runner: web.ServerRunner | None = None
        self._pulse: asyncio.Task[None] | None = None

    @property
    def rest_url(self) -> str:
        """Base of all REST paths, without a slash at its end."""
        return f"http://{HOST}:{self.port}"

    @property
    def stream_url(self) -> str:
        """The one socket address, for market data and, with ``?listenKey=``, for user events."""
        return f"ws://{HOST}:{self.port}{STREAM_PATH}"

    async def start(self) -> None:
        """Listen on the port, or on a free one for 0. OperatorError when it is taken."""
        runner = web.ServerRunner(
            web.Server(self._serve, access_log=None), shutdown_timeout=SHUTDOWN_S
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, self.port).start()
        except OSError as error:
            await runner.cleanup()
            raise OperatorError(
                f"port {self.port} cannot be listened on",
                expected="a free port on 127.0.0.1",
                found=str(error),
                action="choose another one, or 0 for any",
            ) from error
        self._runner = runner
        self.port = int(runner.addresses[0][1])
        self._pulse = asyncio.ensure_future(self._keep_pulsing())

    async def stop(self) -> None:
        """Close all connections and the port."""
        self.session.hub.drop_all()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._pulse is not None:
            self._pulse.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._pulse  # a fault of ours in there comes out here

    async def until(self, stop: asyncio.Event) -> None:
        """Wait for the event; a fault of ours in the background ends the wait and is raised."""
        if self._pulse is None:
            return
        told = asyncio.ensure_future(stop.wait())
        await asyncio.wait({told, self._pulse}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()

    async def __aenter__(self) -> ExchangeServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _keep_pulsing(self) -> None:
        while True:
            self.session.pulse()
            await asyncio.sleep(PULSE_S)

    # -- ONE REQUEST ----------------------------------------------------------------------------

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        raw_path = request.raw_path
        path = raw_path.partition("?")[0]
        if path == STREAM_PATH:
            return await self._stream(request)
        try:
            body = await request.read() if request.can_read_body else b""
        except ConnectionError:
            return _response(Answer(b"", status=400))  # gone before its body was; nobody reads it
        call = Call(request.method, path, raw_path, body, request.headers, request.remote or "")
        try:
            answer = await self.requests.respond(call)
        except Lost:
            if request.transport is not None:
                request.transport.abort()
            return _response(Answer(b""))  # nobody reads it
        plain = path.startswith(control.PREFIX)
        gzip = not plain and "gzip" in request.headers.get("Accept-Encoding", "")
        return _response(answer, gzip=gzip)

    # -- ONE SOCKET -----------------------------------------------------------------------------

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        wire = web.WebSocketResponse(compress=False, autoclose=True)
        await wire.prepare(request)
        with contextlib.suppress(ConnectionError):
            await serve_socket(self.session, _Wire(wire, request), request.raw_path)
        return wire


class _Wire:
    """aiohttp's websocket as the exchange uses one."""

    def __init__(self, socket: web.WebSocketResponse, request: web.BaseRequest) -> None:
        self._socket = socket
        self._transport = request.transport

    async def send_bytes(self, frame: bytes) -> None:
        await self._socket.send_bytes(frame)

    async def texts(self) -> AsyncIterator[str]:
        async for message in self._socket:
            if message.type is WSMsgType.TEXT:
                yield message.data

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _response(answer: Answer, *, gzip: bool = False) -> web.Response:
    """HTTP of an answer, packed for a client that takes it, as the exchange does (dossier §1.3)."""
    headers = {"Content-Type": answer.content_type, "Server": "cloudflare", **answer.headers}
    body = answer.body
    if not body and answer.content_type == JSON:
        del headers["Content-Type"]
    elif gzip:
        body = gzipped(body)
        headers["Content-Encoding"] = "gzip"
    return web.Response(body=body, status=answer.status, headers=headers)
