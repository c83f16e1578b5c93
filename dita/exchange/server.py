"""The exchange's one port: HTTP in, routes called, faults applied, HTTP and frames out.

The only module that runs a server. It decides the order of things (limits, faults, signature,
call, events, spoilt answer) and nothing about orders or money.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from aiohttp import web

from dita.errors import OperatorError
from dita.exchange.model.records import Refused
from dita.exchange.wire.answers import JSON, Answer, WireError, other_rows, refusal
from dita.exchange.wire.faults import AFTER, BEFORE, FaultKind, FaultRule
from dita.exchange.wire.rest import control
from dita.exchange.wire.rest.calls import Call, Route
from dita.exchange.wire.rest.parameters import Parameters
from dita.exchange.wire.rest.routes import ROUTES
from dita.exchange.wire.session import Session
from dita.exchange.wire.signing import SignedText, read_request, verify, verify_key
from dita.exchange.wire.stream.sockets import Socket, control_answer, gzipped

HOST: Final = "127.0.0.1"
STREAM_PATH: Final = "/swap-market"
PULSE_S: Final = 0.02
SHUTDOWN_S: Final = 0.5
_PAGE: Final = b"<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>"


class ExchangeServer:
    """A session behind a loopback port; ``start`` and ``stop`` it in a running loop."""

    def __init__(self, session: Session, port: int = 0) -> None:
        self.session = session
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
        if path.startswith(control.PREFIX):
            return _response(control.answer(self.session, call))
        before = self._hit(BEFORE, call)
        spoilt: list[FaultRule] = []
        refused = _refused_by(before, self.session.now_ms())
        answer = self._answer(call, refused)
        if refused is None:
            spoilt = self._hit(AFTER, call)
            self.session.acts_after(call.subject)
        return await self._spoil(request, answer, [*before, *spoilt])

    def _hit(self, kinds: frozenset[FaultKind], call: Call) -> list[FaultRule]:
        return self.session.plan.hits(kinds, call.subject, self.session.now_ms())

    def _answer(self, call: Call, refused: Answer | None) -> Answer:
        """Limits, signature, route, and the events of what it did.

        What a fault keeps from being executed counts for the limits all the same, its error too.
        """
        session = self.session
        now_ms = session.now_ms()
        route = ROUTES.get((call.method, call.path))
        headers: dict[str, str] = {}
        try:
            if route is None:
                raise WireError(100400, f"this api is not exist: {call.path}", gateway=True)
            session.limiter.admit(
                call.method, call.path, call.address, keyed=route.keyed, now_ms=now_ms
            )
            headers = session.limiter.headers(call.method, call.path)
            answer = refused or self._called(route, call, now_ms)
        except WireError as error:
            answer = refusal(error, now_ms)
        if answer.code:
            session.limiter.note_error(call.method, call.path, answer.code, now_ms)
        session.push_events()
        source = call.headers.get("X-SOURCE-KEY")
        if source:
            headers["X-SOURCE-KEY"] = source
        return Answer(answer.body, answer.code, answer.status, answer.content_type, headers)

    def _called(self, route: Route, call: Call, now_ms: int) -> Answer:
        session = self.session
        text = self._verified(route, call, now_ms)
        session.advance(now_ms)
        try:
            return route.handle(session, Parameters(text.values), now_ms)
        except Refused as no:
            raise WireError(session.code_of(no.code), no.msg) from no

    def _verified(self, route: Route, call: Call, now_ms: int) -> SignedText:
        session = self.session
        content_type = call.headers.get("Content-Type", "")
        text = read_request(call.raw_path, call.body, content_type)
        if route.signed or (route.keyed and text.signature):
            strictness = session.switches.strictness
            verify(text, call.headers, session.credentials, now_ms, strictness)
        elif route.keyed:
            verify_key(call.headers, session.credentials)
        return text

    async def _spoil(
        self, request: web.BaseRequest, answer: Answer, rules: list[FaultRule]
    ) -> web.StreamResponse:
        """Do to an answer what the faults say; the call is over by then."""
        for rule in rules:
            match rule.kind:
                case FaultKind.ANSWER_DELAYED:
                    await asyncio.sleep(rule.ms / 1_000)
                case FaultKind.GATEWAY_TIMEOUT:
                    answer = Answer(_PAGE, status=504, content_type="text/html")
                case FaultKind.HTML:
                    answer = Answer(_PAGE, status=rule.status or 502, content_type="text/html")
                case FaultKind.EMPTY | FaultKind.ODD_ROW:
                    extra = rule.msg if rule.kind is FaultKind.ODD_ROW else ""
                    answer = Answer(other_rows(answer.body, extra), status=answer.status)
                case FaultKind.TRUNCATED:
                    half = answer.body[: len(answer.body) // 2]
                    answer = Answer(half, status=answer.status)
                case FaultKind.REQUEST_LOST | FaultKind.ANSWER_LOST:
                    if request.transport is not None:
                        request.transport.abort()
        return _response(answer, gzip="gzip" in request.headers.get("Accept-Encoding", ""))

    # -- ONE SOCKET -----------------------------------------------------------------------------

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        wire = web.WebSocketResponse(compress=False, autoclose=True)
        await wire.prepare(request)
        values = read_request(request.raw_path, b"", "").values
        socket = Socket(wire, values.get("listenKey", ""), self.session.now_ms())
        self.session.connected(socket)
        try:
            with contextlib.suppress(ConnectionError):
                await socket.run(request, self._heard)
        finally:
            self.session.hub.sockets.remove(socket)
        return wire

    def _heard(self, socket: Socket, text: str) -> None:
        session = self.session
        now_ms = session.now_ms()
        ack, fresh = control_answer(socket, text, session.topics.known)
        socket.send(gzipped(ack), now_ms)
        for topic in fresh:
            greeting = session.topics.greet(topic)
            if greeting:
                socket.send(gzipped(greeting), now_ms)


def _refused_by(rules: list[FaultRule], now_ms: int) -> Answer | None:
    """The answer of a call that a fault keeps from being executed."""
    for rule in rules:
        if rule.kind is FaultKind.RATE_LIMITED:
            return _rate_limited(rule, now_ms)
        if rule.kind is FaultKind.REFUSED:
            return refusal(WireError(rule.code, rule.msg, status=rule.status or 200), now_ms)
        if rule.kind is FaultKind.REQUEST_LOST:
            return Answer(b"")
    return None


def _rate_limited(rule: FaultRule, now_ms: int) -> Answer:
    code = rule.code or 100410
    msg = rule.msg or "rate limited"
    if rule.retry_ms:
        msg = (
            f"code:{code}:The endpoint trigger frequency limit rule is currently in the disabled"
            f" period and will be unblocked after {now_ms + rule.retry_ms}"
        )
    return refusal(WireError(code, msg, gateway=True, status=rule.status or 200), now_ms)


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
