"""What a REST call is answered with: BingX's envelope, its errors, and bare decimal numbers.

Everything else of the wire builds an Answer; only the server turns one into HTTP.  Knows no order
and no wallet.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import msgspec

from dita.contracts import Record

_EMPTY: Final[Mapping[str, str]] = {}
JSON: Final = "application/json; charset=utf-8"

encode = msgspec.json.encode


class Answer(Record, frozen=True):
    """One reply.  ``code`` repeats the envelope's code for the limiter and the faults."""

    body: bytes
    code: int = 0
    status: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = _EMPTY


class WireError(Exception):
    """A refusal on the way to its envelope; never leaves the wire.

    ``gateway`` errors come from before the trading layer: they carry a timestamp and no ``data``,
    the others an empty ``data`` (dossier §1.3).
    """

    def __init__(self, code: int, msg: str, *, gateway: bool = False, status: int = 200) -> None:
        super().__init__(code, msg)
        self.code = code
        self.msg = msg
        self.gateway = gateway
        self.status = status


def refuse(code: int, msg: str) -> NoReturn:
    """Raise what the trading layer says no with."""
    raise WireError(code, msg)


def refuse_at_gateway(code: int, msg: str, status: int = 200) -> NoReturn:
    """Raise what the gateway says no with, before any business."""
    raise WireError(code, msg, gateway=True, status=status)


def success(data: Any) -> Answer:
    """``{"code":0,"msg":"","data":...}``, the usual reply."""
    return Answer(encode({"code": 0, "msg": "", "data": data}))


def enveloped(**fields: Any) -> Answer:
    """The envelope with other members than ``data``, or with members beside it (dossier §1.3)."""
    return Answer(encode({"code": 0, "msg": "", **fields}))


def bare(value: Any) -> Answer:
    """A reply without an envelope, as the listen key's (dossier §2.6)."""
    return Answer(encode(value))


def nothing(status: int = 200) -> Answer:
    """An empty body, as PUT and DELETE of a listen key have."""
    return Answer(b"", status=status)


def refusal(error: WireError, now_ms: int) -> Answer:
    """The envelope of an error; HTTP 200 unless the error says otherwise (dossier §1.3)."""
    body: dict[str, Any] = {"code": error.code, "msg": error.msg}
    if error.gateway:
        body["timestamp"] = now_ms
    else:
        body["data"] = {}
    return Answer(encode(body), code=error.code, status=error.status)


def other_rows(body: bytes, extra: str) -> bytes:
    """An answer with ``extra``, a JSON text, before its rows, or for "" without any row."""
    envelope = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    data = envelope.get("data", msgspec.Raw(b"null"))
    try:
        envelope["data"] = _other(data, extra)
    except msgspec.ValidationError:
        members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        for name, member in members.items():
            with contextlib.suppress(msgspec.ValidationError):
                members[name] = _other(member, extra)
        envelope["data"] = msgspec.Raw(encode(members))
    return encode(envelope)


def _other(rows: msgspec.Raw, extra: str) -> msgspec.Raw:
    found = msgspec.json.decode(rows, type=list[msgspec.Raw])
    return msgspec.Raw(encode([msgspec.Raw(extra.encode()), *found] if extra else []))


def number(text: str) -> msgspec.Raw:
    """A decimal written bare, without quotes and without a float in between."""
    return msgspec.Raw(text.encode("ascii"))
