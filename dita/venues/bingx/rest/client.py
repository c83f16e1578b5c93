"""The REST client: signs, sends once, and says which of three things came of it.

An answer with its meaning, ``NotSent`` (no byte left, or the exchange proved that it ignored it),
or ``OutcomeUnknown`` (bytes left and no readable answer came back).  It knows endpoints, hosts and
keys; what an answer says about an order or a position is not its business.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlencode

import httpx
import msgspec

from dita.clock import Clock
from dita.errors import VenueError, one_line
from dita.venues import AccessRefused, NotSent, OutcomeUnknown, QueryFailed
from dita.venues.bingx.rest.error_codes import (
    ACCESS_ACTIONS,
    LIMITS,
    Meaning,
    meaning_of,
    retry_time_ms,
)
from dita.venues.bingx.rest.http import ORDER_TIMES, QUESTION_TIMES, Http, Reply
from dita.venues.bingx.rest.models import Envelope, envelope
from dita.venues.bingx.rest.rate_limits import BLOCK_MAX_MS, Budget, Group, Limit
from dita.venues.bingx.rest.server_time import ServerTime
from dita.venues.bingx.rest.signing import KEY_HEADER, signed_query
from dita.venues.bingx.rest.symbols import server_time_of
from dita.venues.bingx.tls import trusting
from dita.venues.bingx.values import UnreadableValue


class KeyExpired(VenueError):
    """The exchange does not know the listen key (any more)."""


class Endpoint(NamedTuple):
    """A method and a path with its limit per account (dossier §1.5, the lower of two sources)."""

    method: str
    path: str
    limit: Limit
    signed: bool = True


def _endpoint(
    method: str, path: str, group: Group, per_second: int, *, signed: bool = True
) -> Endpoint:
    limit = Limit(f"{method} {path.rpartition('/swap/')[2]}", group, per_second)
    return Endpoint(method, path, limit, signed)


_V1, _V2, _V3 = ("/openApi/swap/v1", "/openApi/swap/v2", "/openApi/swap/v3")
SERVER_TIME: Final = _endpoint("GET", f"{_V2}/server/time", Group.MARKET, 10, signed=False)
CONTRACTS: Final = _endpoint("GET", f"{_V2}/quote/contracts", Group.MARKET, 10, signed=False)
MARK: Final = _endpoint("GET", f"{_V2}/quote/premiumIndex", Group.MARKET, 10, signed=False)
PLACE: Final = _endpoint("POST", f"{_V2}/trade/order", Group.TRADE, 10)
CANCEL: Final = _endpoint("DELETE", f"{_V2}/trade/order", Group.TRADE, 5)
ORDER: Final = _endpoint("GET", f"{_V2}/trade/order", Group.TRADE, 5)
OPEN_ORDERS: Final = _endpoint("GET", f"{_V2}/trade/openOrders", Group.TRADE, 5)
ALL_ORDERS: Final = _endpoint("GET", f"{_V2}/trade/allOrders", Group.TRADE, 5)
FILLS: Final = _endpoint("GET", f"{_V2}/trade/fillHistory", Group.ACCOUNT, 5)
POSITIONS: Final = _endpoint("GET", f"{_V2}/user/positions", Group.ACCOUNT, 5)
BALANCE: Final = _endpoint("GET", f"{_V3}/user/balance", Group.ACCOUNT, 5)
OLD_BALANCE: Final = _endpoint("GET", f"{_V2}/user/balance", Group.ACCOUNT, 5)
INCOME: Final = _endpoint("GET", f"{_V2}/user/income", Group.ACCOUNT, 5)
LEVERAGE: Final = _endpoint("GET", f"{_V2}/trade/leverage", Group.TRADE, 5)
SET_LEVERAGE: Final = _endpoint("POST", f"{_V2}/trade/leverage", Group.TRADE, 5)
# Asked at connect only, and perhaps by a process that has just ended: half of the 2 per second.
POSITION_MODE: Final = _endpoint("GET", f"{_V1}/positionSide/dual", Group.TRADE, 1)
_KEY_PATH: Final = "/openApi/user/auth/userDataStream"
NEW_KEY: Final = _endpoint("POST", _KEY_PATH, Group.ACCOUNT, 1)
EXTEND_KEY: Final = _endpoint("PUT", _KEY_PATH, Group.ACCOUNT, 1)
DROP_KEY: Final = _endpoint("DELETE", _KEY_PATH, Group.ACCOUNT, 1)

#: Only these two change the book; they have connections of their own.
_ORDER_ENDPOINTS: Final = (PLACE, CANCEL)

_MEASUREMENTS: Final = 3
#: An order's timestamp is at most so much later than the order was asked for.  A proof of absence
#: leaves 15 s beyond the receive window; skew and this have to fit in there.
SIGN_WITHIN_MS: Final = 5_000
#: A limit without a time: questions pause for so long, orders are not held back by us.
_PAUSE_MS: Final = 2_000
_BAN_MS: Final = 300_000
#: HTTP 403 is the firewall's; going on at the same pace makes it worse (dossier §1.4).
_FIREWALL_MS: Final = 10_000
_SPOT_KEY_EXPIRED: Final = 100401


class Access(NamedTuple):
    """Where the exchange is, and how to get the keys when they are needed."""

    url: str
    api_key: Callable[[], str]
    api_secret: Callable[[], str]
    #: Asked when the first host cannot be connected to, and only by questions.
    fallback_url: str = ""
    receive_window_ms: int = 5_000
    #: A PEM file with the certificates that are trusted; "" for certifi's.
    trust_store: str = ""


class Answer(NamedTuple):
    """A readable answer: what it means, its code, text and data; the text holds no key of ours."""

    meaning: Meaning
    code: int
    text: str
    data: msgspec.Raw
    listen_key: str = ""

    @property
    def shown(self) -> str:
        """Code and text, for an error."""
        return f"code {self.code} {self.text}".rstrip()


class Client:
    """Open between ``open`` and ``close``; may be opened again."""

    def __init__(
        self,
        access: Access,
        clock: Clock,
        budget: Budget | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.access = access
        self.time = ServerTime(clock)
        self.budget = budget or Budget(clock)
        self._transport = transport
        self._key = self._secret = ""
        self._orders: Http | None = None
        self._questions: Http | None = None

    def __repr__(self) -> str:
        return f"Client({self.access.url!r})"

    async def open(self) -> ssl.SSLContext:
        """Read the keys.  Returns what REST and stream trust.  SettingsError."""
        await self.close()
        tls = trusting(self.access.trust_store)
        self._key, self._secret = self.access.api_key(), self.access.api_secret()
        self._orders = Http(ORDER_TIMES, tls, self._transport)
        self._questions = Http(QUESTION_TIMES, tls, self._transport)
        return tls

    def renew_keys(self) -> None:
        """Read the keys again: they may have been changed.  SettingsError: the old ones stay."""
        if not self.closed:
            self._key, self._secret = self.access.api_key(), self.access.api_secret()

    async def close(self) -> None:
        """Drop connections and keys; safe to call twice."""
        closing, self._orders, self._questions = (self._orders, self._questions), None, None
        self._key = self._secret = ""
        for http in closing:
            if http is not None:
                await http.close()

    @property
    def closed(self) -> bool:
        """Not open (any more)."""
        return self._orders is None

    # -- questions and orders ----------------------------------------------------------------------

    async def ask(self, endpoint: Endpoint, parameters: Mapping[str, str]) -> Answer:
        """Ask a question when its turn has come.  QueryFailed when there is no readable answer."""
        await self.budget.question(endpoint.limit)
        try:
            answer = await self._once_more_after_resync(endpoint, parameters)
        except (NotSent, OutcomeUnknown) as failed:
            raise QueryFailed(
                f"no answer to {endpoint.limit.name}", found=failed.found or failed.what
            ) from failed
        return answer

    async def wanted(self, endpoint: Endpoint, parameters: Mapping[str, str]) -> msgspec.Raw:
        """The data of a whole good answer.  QueryFailed for everything else."""
        answer = await self.ask(endpoint, parameters)
        if answer.meaning is not Meaning.DONE:
            raise refused(endpoint, answer)
        return answer.data

    async def order(
        self, endpoint: Endpoint, parameters: Mapping[str, str], started_ms: int
    ) -> Answer:
        """Send an order or a cancel: at once, and once.  NotSent, OutcomeUnknown.

        ``started_ms`` is the monotonic time at which it was asked for: proofs of absence count
        from there, so nothing is signed later than ``SIGN_WITHIN_MS`` after it.
        """
        latest_ms = started_ms + SIGN_WITHIN_MS
        return await self._once_more_after_resync(endpoint, parameters, latest_ms)

    async def _once_more_after_resync(
        self, endpoint: Endpoint, parameters: Mapping[str, str], latest_ms: int = 0
    ) -> Answer:
        """A refused timestamp proves that nothing was executed: measure, and the same once more."""
        answer = await self._once(endpoint, parameters, latest_ms)
        if answer.meaning is Meaning.CLOCK:
            await self._resync(answer)
            if endpoint not in _ORDER_ENDPOINTS:
                self.budget.spend(endpoint.limit)
            answer = await self._once(endpoint, parameters, latest_ms)
        if answer.meaning is Meaning.CLOCK:
            raise NotSent(
                "timestamp refused twice", expected="the exchange's time", found=answer.shown
            )
        return answer

    async def _resync(self, answer: Answer) -> None:
        self.time.forget()
        try:
            await self.measure_time(1)
        except QueryFailed as failed:
            raise NotSent("timestamp refused", found=answer.shown) from failed

    # -- time --------------------------------------------------------------------------------------

    async def measure_time(self, times: int = _MEASUREMENTS) -> int:
        """Ask for the exchange's time; the shortest round trip counts.  QueryFailed."""
        failure = QueryFailed("the exchange's time was not asked for")
        server_ms = 0
        for _ in range(times):
            asked_ms = self.time.monotonic_ms()
            try:
                server_ms = server_time_of(await self.wanted(SERVER_TIME, {}))
            except QueryFailed as failed:
                failure = failed
                break
            except UnreadableValue as bad:
                failure = QueryFailed("the exchange's time cannot be read", found=str(bad))
                break
            self.time.measured(asked_ms, self.time.monotonic_ms(), server_ms)
        if not server_ms:
            raise failure
        return server_ms

    # -- one request -------------------------------------------------------------------------------

    async def _once(
        self, endpoint: Endpoint, parameters: Mapping[str, str], latest_ms: int = 0
    ) -> Answer:
        if latest_ms and self.time.monotonic_ms() > latest_ms:
            raise NotSent("too late to send it", expected=f"within {SIGN_WITHIN_MS} ms")
        if endpoint in _ORDER_ENDPOINTS:
            self.budget.spend(endpoint.limit)
        response = await self.exchange(endpoint, parameters)
        answer = self._read(response, endpoint)
        if answer.meaning is Meaning.ACCESS:
            raise AccessRefused(
                "the exchange refused our access",
                error_code=answer.code,
                expected="a key with the right to trade perpetuals, bound to this address",
                found=answer.shown,
                action=f"{ACCESS_ACTIONS[answer.code]}; no restart is needed",
            )
        if answer.meaning is Meaning.LIMITED or answer.code in LIMITS:
            self._learn(endpoint, answer, response.status)
        elif answer.code:
            self.budget.note_error(endpoint.limit, answer.code)
        return answer

    async def exchange(self, endpoint: Endpoint, parameters: Mapping[str, str]) -> Reply:
        """One request and whatever came back.  NotSent, OutcomeUnknown."""
        order = endpoint in _ORDER_ENDPOINTS
        http = self._orders if order else self._questions
        if http is None:
            raise NotSent("no connection to the exchange", action="call connect first")
        headers, target = self._signed(endpoint, parameters)
        name = endpoint.limit.name
        try:
            return await http.request(endpoint.method, self.access.url + target, headers, name)
        except NotSent:
            fallback = self.access.fallback_url
            if order or endpoint.method != "GET" or not fallback:
                raise
            return await http.request(endpoint.method, fallback + target, headers, name)

    def _signed(
        self, endpoint: Endpoint, parameters: Mapping[str, str]
    ) -> tuple[dict[str, str], str]:
        """Headers and target.  Everything travels in the query string, never in a body."""
        if not endpoint.signed:
            query = urlencode(parameters)
            return {}, f"{endpoint.path}?{query}" if query else endpoint.path
        try:
            now_ms = self.time.now_ms()
        except QueryFailed as failed:
            raise NotSent("not signed", found=failed.what) from failed
        complete = {
            **parameters,
            "recvWindow": str(self.access.receive_window_ms),
            "timestamp": str(now_ms),
        }
        query = signed_query(complete, self._secret)
        return {KEY_HEADER: self._key}, f"{endpoint.path}?{query}"

    def _read(self, response: Reply, endpoint: Endpoint) -> Answer:
        """The answer of a response.  OutcomeUnknown when nothing can be concluded from it."""
        status = response.status
        try:
            found: Envelope | None = envelope(response.body)
            code = found.number if found is not None else 0
        except UnreadableValue:
            found, code = None, 0
        text = self._hidden(found.text) if found is not None else ""
        if status in (418, 429) and (found is None or code):
            # Both are the gateway's: too many requests, banned for going on (dossier §1.4).
            return Answer(Meaning.LIMITED, code, text or f"HTTP {status}", msgspec.Raw(b"null"))
        bare = endpoint is NEW_KEY
        if status == 403 and endpoint not in _ORDER_ENDPOINTS:
            self.budget.block(endpoint.limit, _FIREWALL_MS)
        if found is None or status >= 500 or (found.code in (None, "") and not bare):
            raise OutcomeUnknown("no readable answer", found=f"{endpoint.limit.name} HTTP {status}")
        meaning = meaning_of(code, text)
        if meaning is Meaning.DONE and status != 200:
            raise OutcomeUnknown(
                "answer contradicts itself", found=f"{endpoint.limit.name} HTTP {status}, code 0"
            )
        key = found.listen_key if isinstance(found.listen_key, str) else ""
        return Answer(meaning, code, text, found.data, key)

    def _hidden(self, text: str) -> str:
        """The exchange's words on one line, without our key if they quote it."""
        for secret in (self._key, self._secret):
            if secret:
                text = text.replace(secret, "***")
        return one_line(text)[:400]

    def _learn(self, endpoint: Endpoint, answer: Answer, status: int) -> None:
        """Remember how long an endpoint is blocked, as far as the exchange said."""
        if duration_ms := self.retry_after_ms(answer):
            self.budget.block(endpoint.limit, duration_ms)
        elif endpoint not in _ORDER_ENDPOINTS:
            self.budget.block(endpoint.limit, _BAN_MS if status == 418 else _PAUSE_MS)

    def retry_after_ms(self, answer: Answer) -> int:
        """How long a rate limit lasts from now on; 0 when the exchange did not say."""
        until_ms = retry_time_ms(answer.text)
        if not until_ms or not self.time.known:
            return 0
        return min(BLOCK_MAX_MS, max(1, until_ms - self.time.now_ms()))


def refused(endpoint: Endpoint, answer: Answer) -> QueryFailed:
    """The error for an answer that is none; the caller raises it."""
    return QueryFailed(f"the exchange refused {endpoint.limit.name}", found=answer.shown)


class ListenKeys:
    """The keys of user streams: 60 minutes each, extended by 60 (dossier §2.6)."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def create(self) -> str:
        """A key for a stream.  QueryFailed."""
        answer = await self._client.ask(NEW_KEY, {})
        if answer.meaning is not Meaning.DONE:
            raise refused(NEW_KEY, answer)
        key = answer.listen_key or _key_within(answer)
        if not key.isascii() or not key.isalnum():
            raise QueryFailed("the exchange gave no listen key", found=f"{len(key)} characters")
        return key

    async def extend(self, key: str) -> None:
        """Sixty minutes more.  KeyExpired; QueryFailed when it is not known whether it worked."""
        await self._about(EXTEND_KEY, key)

    async def delete(self, key: str) -> None:
        """End it; one that is gone already is fine.  QueryFailed."""
        try:
            await self._about(DROP_KEY, key)
        except KeyExpired:
            return  # gone is gone

    async def _about(self, endpoint: Endpoint, key: str) -> None:
        # A success is 200 with an empty body, or with an envelope; both were documented.
        await self._client.budget.question(endpoint.limit)
        try:
            response = await self._client.exchange(endpoint, {"listenKey": key})
        except (NotSent, OutcomeUnknown) as failed:
            raise QueryFailed(f"no answer to {endpoint.limit.name}", found=failed.found) from failed
        if response.status == 404:
            raise KeyExpired("the exchange does not know the listen key")
        code = _code_of(response.body)
        if code == _SPOT_KEY_EXPIRED:
            raise KeyExpired("the exchange does not know the listen key")
        if response.status != 200 or code:
            found = f"HTTP {response.status}, code {code}"
            raise QueryFailed(f"the exchange refused {endpoint.limit.name}", found=found)


def _code_of(body: bytes) -> int:
    if not body.strip():
        return 0
    try:
        return envelope(body).number
    except UnreadableValue as bad:
        raise QueryFailed("answer cannot be read", found=bad.found) from bad


class _KeyData(msgspec.Struct, rename="camel"):
    listen_key: str = ""


def _key_within(answer: Answer) -> str:
    try:
        return msgspec.json.decode(answer.data, type=_KeyData).listen_key
    except msgspec.DecodeError as bad:
        raise QueryFailed("the exchange gave no listen key", found=str(bad)) from bad
