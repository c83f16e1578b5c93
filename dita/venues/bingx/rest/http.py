"""One HTTP request over a kept connection, and the whole answer, bounded.

Nothing outlives a request but the connection: no cookie is kept, no redirect is followed, nothing
is taken from the environment.  Whatever goes wrong is NotSent (no byte left) or OutcomeUnknown.
It must not know endpoints, keys or what an answer says.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import zlib
from collections.abc import Mapping
from typing import Final, NamedTuple

import httpx

from dita.venues import NotSent, OutcomeUnknown
from dita.venues.bingx.rest.connections import Connections
from dita.venues.bingx.values import REPLY_BYTES_MAX

# Their debug lines quote whole requests, headers included, and so the key.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

ORDER_TIMES: Final = httpx.Timeout(connect=3.0, write=3.0, read=6.0, pool=1.0)
QUESTION_TIMES: Final = httpx.Timeout(connect=3.0, write=3.0, read=8.0, pool=5.0)
#: For an answer that comes byte by byte: the read time above counts from the last byte.
_TOTAL_S: Final = 12.0
#: Of an answer on the wire; unpacked it may be ``REPLY_BYTES_MAX``.
PACKED_BYTES_MAX: Final = 4 * 1024 * 1024
_GZIP: Final = 31  # zlib's name for "a gzip member and nothing else"
#: Nothing was written when these are raised.
_NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
)
_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "gzip"}


class Reply(NamedTuple):
    """Status and unpacked body."""

    status: int
    body: bytes


class Http:
    """Connections of one kind, open until ``close``."""

    def __init__(
        self,
        times: httpx.Timeout,
        tls: ssl.SSLContext,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        # A transport and no client: a client would add cookies and redirects of its own.
        self._transport = transport or Connections(tls, PACKED_BYTES_MAX)
        self._extensions = {"timeout": times.as_dict()}

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def request(self, method: str, url: str, headers: Mapping[str, str], name: str) -> Reply:
        """Send once.  NotSent, OutcomeUnknown; ``name`` stands for the address, which is secret."""
        try:
            request = httpx.Request(
                method, url, headers={**_HEADERS, **headers}, extensions=self._extensions
            )
        except (httpx.InvalidURL, ValueError) as bad:
            raise NotSent("the request cannot be written", found=_cause(name, bad)) from None
        try:
            async with asyncio.timeout(_TOTAL_S):
                return await self._exchange(request)
        except _NOT_SENT as failed:
            # Their texts name no address: the system's words, or why a certificate was refused.
            found = f"{_cause(name, failed)} {failed}".rstrip()
            raise NotSent("the exchange cannot be reached", found=found) from failed
        except OutcomeUnknown as unread:
            raise OutcomeUnknown(unread.what, found=f"{name}: {unread.found}") from None
        except Exception as failed:
            # bytes may have left, and nothing else is known.  The text might quote the address.
            raise OutcomeUnknown("no readable answer", found=_cause(name, failed)) from failed

    async def _exchange(self, request: httpx.Request) -> Reply:
        response = await self._transport.handle_async_request(request)
        stream = response.stream
        try:
            if not isinstance(stream, httpx.AsyncByteStream):
                raise OutcomeUnknown("no readable answer", found="no stream")
            packed = bytearray()
            async for chunk in stream:
                packed += chunk
                if len(packed) > PACKED_BYTES_MAX:
                    raise OutcomeUnknown(
                        "answer is too long", found=f"more than {PACKED_BYTES_MAX} bytes"
                    )
        finally:
            await response.aclose()
        encoding = response.headers.get("content-encoding", "").strip().lower()
        return Reply(response.status_code, _unpacked(bytes(packed), encoding))


def _unpacked(packed: bytes, encoding: str) -> bytes:
    if encoding in ("", "identity"):
        return packed
    if encoding != "gzip":
        raise OutcomeUnknown("answer is packed in an unknown way", found=encoding[:32])
    if not packed:
        return packed
    inflate = zlib.decompressobj(_GZIP)
    try:
        body = inflate.decompress(packed, REPLY_BYTES_MAX)
    except zlib.error as bad:
        raise OutcomeUnknown("answer cannot be unpacked", found=str(bad)) from bad
    if not inflate.eof or inflate.unused_data:
        reason = "more than one member" if inflate.eof else "cut off, or too large inside"
        raise OutcomeUnknown("answer cannot be unpacked", found=f"{len(packed)} bytes ({reason})")
    return body


def _cause(name: str, failed: BaseException) -> str:
    # The type says enough; a text might quote the address with its signature.
    return f"{name}: {type(failed).__name__}"
