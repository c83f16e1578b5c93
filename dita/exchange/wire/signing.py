"""Whether a request is signed, by whom and in time: BingX's rules for key, timestamp, signature.

Reads the bytes as they were sent, because that is what a client signed; the verified parameters
are what the routes get.  Knows no route.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from enum import Enum
from hashlib import sha256
from typing import Final
from urllib.parse import unquote

import msgspec

from dita.contracts import Record
from dita.exchange.wire.answers import refuse_at_gateway
from dita.exchange.wire.rest.parameters import json_text

RECV_WINDOW_MS: Final = 5_000  # dossier §1.2: the default, and how far ahead a clock may be
RECV_WINDOW_MAX_MS: Final = 60_000
_FORM: Final = "application/x-www-form-urlencoded"
_JSON: Final = "application/json"


class Strictness(Enum):
    """Which of the strings that clients sign are taken (dossier §5, server side acceptance)."""

    LENIENT = "lenient"  # as sent or sorted; forms also sorted
    AS_SENT = "as-sent"  # exactly as spliced
    SORTED = "sorted"  # only a to z, as the newest official text demands


class Credentials(Record, frozen=True):
    """The one account's key pair."""

    key: str
    secret: str


class SignedText(Record, frozen=True):
    """A request's parameters: decoded for the routes, and raw for the signature."""

    values: dict[str, str]
    query: tuple[str, ...] = ()
    body: tuple[str, ...] = ()
    form: bool = False

    @property
    def signature(self) -> str:
        """What came as ``signature``, or nothing."""
        return self.values.get("signature", "")


def read_request(raw_path: str, body: bytes, content_type: str) -> SignedText:
    """Take parameters from query and body; the query wins on a clash (dossier §1.2)."""
    query = _pairs(raw_path.partition("?")[2])
    kind = content_type.partition(";")[0].strip().lower()
    if not body:
        return SignedText(dict(_decoded(query)), query)
    if kind == _JSON:
        fields = _json_fields(body)
        values = {**fields, **dict(_decoded(query))}
        return SignedText(values, query, tuple(f"{k}={fields[k]}" for k in sorted(fields)))
    # Anything else with a body is read as a form: official samples send none with a wrong type.
    sent = _pairs(body.decode("utf-8", "replace"))
    values = {**dict(_decoded(sent, plus=True)), **dict(_decoded(query))}
    return SignedText(values, query, sent, form=True)


def _pairs(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split("&") if part)


def _decoded(pairs: tuple[str, ...], *, plus: bool = False) -> Iterator[tuple[str, str]]:
    for pair in pairs:
        name, _, value = pair.partition("=")
        # A plus is a space in forms only; in a query BingX wants %20.
        yield unquote(name), unquote(value.replace("+", " ") if plus else value)


def _json_fields(body: bytes) -> dict[str, str]:
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        refuse_at_gateway(100400, "Invalid request body, it is not a JSON object")
    return {name: json_text(value) for name, value in fields.items()}


def candidates(text: SignedText, strictness: Strictness) -> Iterator[str]:
    """The strings whose signature is taken, likeliest first.

    A query is signed decoded. A form is signed encoded as transmitted; over its decoded values it
    is refused, which the documentation contradicts (dossier §1.2, issue 38). The two strings are
    joined without an ampersand.
    """
    query = [unquote(pair) for pair in text.query if not pair.startswith("signature=")]
    body = [pair for pair in text.body if not pair.startswith("signature=")]
    if strictness is not Strictness.SORTED:
        yield "&".join(query) + "&".join(body)
    if strictness is not Strictness.AS_SENT:
        yield "&".join(sorted(query)) + "&".join(sorted(body))


def sign(secret: str, text: str) -> str:
    """Lower-case hex HMAC-SHA256, as the ``signature`` parameter carries it."""
    return hmac.new(secret.encode(), text.encode(), sha256).hexdigest()


def verify_key(headers: Mapping[str, str], credentials: Credentials) -> None:
    """Refuse a missing or unknown key."""
    if headers.get("X-BX-APIKEY") != credentials.key:
        refuse_at_gateway(100413, "Incorrect apiKey")


def verify(
    text: SignedText,
    headers: Mapping[str, str],
    credentials: Credentials,
    now_ms: int,
    strictness: Strictness = Strictness.LENIENT,
) -> None:
    """Refuse whatever is not signed by our key over these bytes within the receive window."""
    verify_key(headers, credentials)
    if not text.signature:
        refuse_at_gateway(100412, "Null signature")
    if not any(
        hmac.compare_digest(sign(credentials.secret, candidate).encode(), text.signature.encode())
        for candidate in candidates(text, strictness)
    ):
        refuse_at_gateway(100001, "Signature verification failed due to signature mismatch")
    _verify_time(text.values, now_ms)


def _verify_time(values: Mapping[str, str], now_ms: int) -> None:
    sent = values.get("timestamp", "")
    window = values.get("recvWindow", "") or str(RECV_WINDOW_MS)
    if _is_count(sent) and _is_count(window):
        age = now_ms - int(sent)
        if -RECV_WINDOW_MS <= age <= min(int(window), RECV_WINDOW_MAX_MS):
            return
    refuse_at_gateway(100421, "Null timestamp or timestamp mismatch")


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 15
