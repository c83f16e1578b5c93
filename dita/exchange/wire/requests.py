"""One request to the exchange: limits, faults, signature, route, events, spoilt answer.

It decides the order of these things and nothing about orders or money.  It knows neither sockets
nor HTTP libraries: the server and the border inside one process both call it.
"""

from __future__ import annotations

import asyncio
from typing import Final

from dita.exchange.model.records import Refused
from dita.exchange.wire.answers import Answer, WireError, other_rows, refusal
from dita.exchange.wire.faults import AFTER, BEFORE, FaultKind, FaultRule
from dita.exchange.wire.rest import control
from dita.exchange.wire.rest.calls import Call, Route
from dita.exchange.wire.rest.parameters import Parameters
from dita.exchange.wire.rest.routes import ROUTES
from dita.exchange.wire.session import Session
from dita.exchange.wire.signing import SignedText, read_request, verify, verify_key

_PAGE: Final = b"<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>"


class Lost(Exception):
    """A fault says that the connection breaks instead of an answer."""


class Requests:
    """What a session answers, call by call."""

    def __init__(self, session: Session) -> None:
        self.session = session

    async def respond(self, call: Call) -> Answer:
        """The answer of one call, spoilt as the faults in force say.  Lost: there is none."""
        if call.path.startswith(control.PREFIX):
            return control.answer(self.session, call)
        before = self._hit(BEFORE, call)
        spoilt: list[FaultRule] = []
        refused = _refused_by(before, self.session.now_ms())
        answer = self._answer(call, refused)
        if refused is None:
            spoilt = self._hit(AFTER, call)
            self.session.acts_after(call.subject)
        return await _spoil(answer, [*before, *spoilt])

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


async def _spoil(answer: Answer, rules: list[FaultRule]) -> Answer:
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
                raise Lost
    return answer


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
