"""One HTTP/1.1 answer, read as its bytes arrive: strictly, and never more of it than is allowed.

What two readers could understand differently is no answer, since what it says about an order has to
be certain.  It must not know sockets, time, requests or what a body says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import httpx

from dita.venues import OutcomeUnknown

#: Of status line and headers, trailers apart.
HEAD_BYTES_MAX: Final = 32 * 1024
HEADERS_MAX: Final = 128
#: A chunk's size with whatever is written behind it.
CHUNK_LINE_MAX: Final = 256
CHUNKS_MAX: Final = 65_536
#: "100 Continue" and its like, which come before the answer.
INTERIM_MAX: Final = 8

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\x00\r\n]*)?")
_HEADER: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00\r\n]*?)[ \t]*")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\x00\r\n]*)?")
_KEPT_S: Final = re.compile(rb"(?:^|[ ,])timeout=([0-9]{1,6})(?:$|[ ,])", re.IGNORECASE)
_BEGINNING: Final = b"HTTP/1."
_WITHOUT_BODY: Final = (204, 304)


class Answer:
    """Status, headers and body once ``feed`` or ``end`` has said that it is whole.

    The body is as it was sent: packed, if it was.
    """

    def __init__(self, body_bytes_max: int) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()
        #: May the connection carry another request?
        self.keeps = False
        #: How long the server says that it keeps an idle connection, in seconds; 0 when it does
        #: not say.
        self.kept_s = 0
        self._body_bytes_max = body_bytes_max
        self._buffer = bytearray()
        self._looked = 0
        self._left = 0
        self._interim = self._chunks = 0
        # What comes next; it returns whether it got all that it needs.
        self._next: Callable[[], bool] | None = self._head

    def feed(self, data: bytes) -> bool:
        """Take what arrived.  Returns whether the answer is whole.

        httpx.RemoteProtocolError for what is no answer; OutcomeUnknown for one that is too long.
        """
        self._buffer += data
        while self._next is not None and self._next():
            pass
        if self._next is None and self._buffer:
            raise _no_answer("more than its length says")
        return self._next is None

    def end(self) -> bool:
        """The connection has ended.  Returns whether the answer is whole by that."""
        return self._next is None or self._next == self._until_the_end

    # -- stages ------------------------------------------------------------------------------------

    def _head(self) -> bool:
        buffer = self._buffer
        if not _BEGINNING.startswith(buffer[: len(_BEGINNING)]):
            raise _no_answer("no HTTP")
        end = buffer.find(b"\r\n\r\n", max(0, self._looked - 3))
        if end < 0:
            self._looked = len(buffer)
        if end > HEAD_BYTES_MAX or self._looked > HEAD_BYTES_MAX:
            raise _no_answer("its head is too long")
        if end < 0:
            return False
        status_line, *lines = bytes(buffer[:end]).split(b"\r\n")
        del buffer[: end + 4]
        self._looked = 0
        found = _STATUS_LINE.fullmatch(status_line)
        if found is None:
            raise _no_answer("no status line")
        self.status = int(found[2])
        self.headers = _headers(lines)
        if self.status < 200:
            self._interim += 1
            if self.status == 101 or self._interim > INTERIM_MAX:
                raise _no_answer(f"status {self.status}")
            return True
        self._frame(is_newer=found[1] == b"1")
        return True

    def _frame(self, is_newer: bool) -> None:
        """Find out how long the body is, and what becomes of the connection."""
        lengths: set[bytes] = set()
        codings: list[bytes] = []
        options: list[bytes] = []
        for name, value in self.headers:
            lower = name.lower()
            if lower == b"content-length":
                lengths.add(value)
            elif lower == b"transfer-encoding":
                codings.append(value.lower())
            elif lower == b"connection":
                options += (option.strip() for option in value.lower().split(b","))
            elif lower == b"keep-alive" and (said := _KEPT_S.search(value)):
                self.kept_s = int(said[1])
        self.keeps = b"close" not in options and (is_newer or b"keep-alive" in options)
        if codings and (lengths or codings != [b"chunked"] or not is_newer):
            raise _no_answer("two lengths, or an unknown one")
        if len(lengths) > 1 or any(_LENGTH.fullmatch(length) is None for length in lengths):
            raise _no_answer("its length is no number")
        if self.status in _WITHOUT_BODY:
            self._next = None
        elif codings:
            self._next = self._chunk_line
        elif lengths:
            self._left = int(lengths.pop())
            self._hold_to_limit(self._left)
            self._next = self._all_of_it if self._left else None
        else:
            self.keeps = False
            self._next = self._until_the_end

    def _all_of_it(self) -> bool:
        if len(self._buffer) < self._left:
            return False
        self.body = self._buffer[: self._left]
        del self._buffer[: self._left]
        self._next = None
        return True

    def _until_the_end(self) -> bool:
        self._hold_to_limit(len(self.body) + len(self._buffer))
        self.body += self._buffer
        self._buffer.clear()
        return False

    def _chunk_line(self) -> bool:
        line = self._line()
        if line is None:
            return False
        found = _CHUNK.fullmatch(line)
        self._chunks += 1
        if found is None or self._chunks > CHUNKS_MAX:
            raise _no_answer("no size of a chunk, or too many of them")
        self._left = int(found[1], 16)
        self._hold_to_limit(len(self.body) + self._left)
        self._next = self._chunk if self._left else self._trailer
        return True

    def _chunk(self) -> bool:
        buffer, left = self._buffer, self._left
        if len(buffer) < left + 2:
            return False
        if buffer[left : left + 2] != b"\r\n":
            raise _no_answer("a chunk that is longer than its size")
        self.body += buffer[:left]
        del buffer[: left + 2]
        self._next = self._chunk_line
        return True

    def _trailer(self) -> bool:
        line = self._line()
        if line is None:
            return False
        self._chunks += 1  # they count as such
        if line and (_HEADER.fullmatch(line) is None or self._chunks > CHUNKS_MAX):
            raise _no_answer("no trailer, or too many of them")
        if not line:
            self._next = None
        return True

    def _line(self) -> bytes | None:
        """The next line without its end; None while it is not all there."""
        end = self._buffer.find(b"\r\n", 0, CHUNK_LINE_MAX + 2)
        if end < 0:
            if len(self._buffer) > CHUNK_LINE_MAX:
                raise _no_answer("a line without end")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _hold_to_limit(self, size: int) -> None:
        if size > self._body_bytes_max:
            raise OutcomeUnknown(
                "answer is too long", found=f"more than {self._body_bytes_max} bytes"
            )


def _headers(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    if len(lines) > HEADERS_MAX:
        raise _no_answer("too many headers")
    headers = []
    for line in lines:
        found = _HEADER.fullmatch(line)
        if found is None:
            raise _no_answer("a header that is none")
        headers.append((found[1], found[2]))
    return headers


def _no_answer(found: str) -> httpx.RemoteProtocolError:
    return httpx.RemoteProtocolError(f"no HTTP/1.1 answer: {found}")
