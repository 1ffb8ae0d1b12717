"""Minimal HTTP/1.1 client with keep-alive.

Redirects are not followed and cookies are not kept. A general-purpose client costs a millisecond of
processor time per call, which at hundreds of calls per second dominates the callers' waiting time.

Source: RFC 9112, section 6 (the length of a message's body).
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from typing import NamedTuple, cast

import httpx2

MAX_HEAD_BYTES = 64 * 1024
# Servers close connections after 5 s of idleness or more.
IDLE_S = 4.0
_END = b"\r\n\r\n"
_FIRST = re.compile(r"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: .*)?")
# These headers hold lists, which may be spread over several lines.
_LISTS = frozenset({"connection", "transfer-encoding"})
_NO_BODY = frozenset({204, 304})


class BrokenAnswer(Exception):
    """The connection ended before the answer did, or the answer is not valid HTTP/1.

    The message quotes the received bytes uncut, so that a key in them can be found and redacted
    before the text is shortened.
    """


class EndpointAnswer(NamedTuple):
    """An answer, as far as it was read."""

    status: int
    content: bytes
    retry_after: str | None


class AnswerReader:
    r"""Incremental parser for one answer, linear in the number of bytes.

    It keeps at most `max_bytes` of content and counts the answer as complete when there is more.

    Example:
        >>> reader = AnswerReader(100)
        >>> reader.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        True
        >>> reader.answer().content
        b'{}'
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.status = 0
        self.headers: dict[str, str] = {}
        self.reusable = False
        self._received = bytearray()
        self._at = 0  # position of the first unread byte
        self._seen = 0  # position up to which the end of the head was searched
        self._head_bytes = 0  # total size of all heads, interim (1xx) ones included
        self._left: int | None = None  # bytes left of the content or the chunk; None: not known
        self._chunked = self._last = False
        self._between = 0  # total size of the lines between chunks
        self._content = bytearray()

    def feed(self, data: bytes) -> bool:
        """Add received bytes; return whether the answer is complete.

        Raises:
            BrokenAnswer: the bytes are not valid HTTP/1.
        """
        self._received += data
        while not self.status:
            if not self._read_head():
                return False
        done = self._read_chunks() if self._chunked else self._read_content()
        if self._at:
            del self._received[: self._at]
            self._at = 0
        if done and self._received:
            self.reusable = False  # more than one answer to one request
        return done

    def end(self) -> bool:
        """Return whether the answer is complete, given that the connection has ended."""
        return bool(self.status) and not self._chunked and self._left is None

    def answer(self) -> EndpointAnswer:
        """Return the complete answer."""
        return EndpointAnswer(self.status, bytes(self._content), self.headers.get("retry-after"))

    def _read_head(self) -> bool:
        at = self._received.find(_END, max(0, self._seen - len(_END)))
        self._seen = len(self._received) if at < 0 else at
        if self._head_bytes + self._seen > MAX_HEAD_BYTES:
            raise BrokenAnswer(f"its head is longer than {MAX_HEAD_BYTES} bytes")
        if at < 0:
            return False
        self._head_bytes += at + len(_END)
        first, *lines = bytes(self._received[:at]).decode("latin-1").split("\r\n")
        del self._received[: at + len(_END)]
        self._seen = 0
        match = _FIRST.fullmatch(first)
        if match is None:
            raise BrokenAnswer(f"its first line is {first!r}")
        status = int(match[2])
        if status < 200:  # an interim (1xx) answer
            return True
        self.headers = _headers(lines)
        self._measure(status, old=match[1] == "0")
        self.status = status
        return True

    def _measure(self, status: int, old: bool) -> None:
        """Determine where the content ends and whether the connection can be reused.

        `old`: the answer is HTTP/1.0.
        """
        said = self.headers.get("connection", "").lower()
        kept = "keep-alive" in said if old else "close" not in said
        coding = self.headers.get("transfer-encoding")
        length = self.headers.get("content-length")
        if status in _NO_BODY:
            self._left = 0
        elif coding is not None:
            if coding.lower() != "chunked":
                raise BrokenAnswer(f"its transfer-encoding is {coding!r}")
            self._chunked = True
            # Ambiguous framing: an intermediary may have cut the message at content-length.
            kept = kept and length is None and not old
        elif length is not None:
            if not (length.isascii() and length.isdecimal() and len(length) < 16):
                raise BrokenAnswer(f"its content-length is {length!r}")
            self._left = int(length)
        self.reusable = kept and (self._chunked or self._left is not None)

    def _take(self, most: int | None) -> int:
        """Take up to this many bytes of content; return the number taken."""
        there = len(self._received) - self._at
        count = there if most is None else min(most, there)
        self._content += self._received[self._at : self._at + count]
        self._at += count
        return count

    def _too_much(self) -> bool:
        if len(self._content) <= self.max_bytes:
            return False
        self.reusable = False
        return True

    def _read_content(self) -> bool:
        count = self._take(self._left)
        if self._left is not None:
            self._left -= count
        return self._left == 0 or self._too_much()

    def _read_chunks(self) -> bool:
        while True:
            if not self._left:
                line = self._line()
                if line is None:
                    return False
                if self._last:  # trailers, up to the empty line
                    if not line:
                        return True
                elif self._left == 0:  # the line break after a chunk
                    self._left = None
                    if line:
                        raise BrokenAnswer("a chunk is longer than it says")
                else:
                    self._left = _size_of(line)
                    self._last = self._left == 0
                continue
            self._left -= self._take(self._left)
            if self._too_much():
                return True
            if self._left:
                return False

    def _line(self) -> bytes | None:
        """Return the next line between chunks, or None if it has not arrived yet."""
        at = self._received.find(b"\r\n", self._at)
        end = len(self._received) if at < 0 else at
        self._between += end - self._at
        if self._between > MAX_HEAD_BYTES:
            raise BrokenAnswer(f"between its chunks are more than {MAX_HEAD_BYTES} bytes")
        if at < 0:
            self._between -= end - self._at
            return None
        line = bytes(self._received[self._at : at])
        self._at = at + 2
        return line


def _headers(lines: list[str]) -> dict[str, str]:
    """Return the headers by lower-case name; a repeated, identical content-length counts once."""
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name.split() != [name]:
            raise BrokenAnswer(f"a header is {line!r}")
        name, value = name.lower(), value.strip()
        if name == "content-length" and found.get(name, value) != value:
            raise BrokenAnswer("it has two lengths")
        if name in _LISTS and name in found:
            value = f"{found[name]}, {value}"
        found[name] = value
    return found


def _size_of(line: bytes) -> int:
    """Return the size of a chunk from its header line."""
    digits = line.partition(b";")[0].strip()
    if not 1 <= len(digits) <= 12 or digits.strip(b"0123456789abcdefABCDEF"):
        raise BrokenAnswer(f"a chunk's size is {digits!r}")
    return int(digits, 16)


class _Connection(asyncio.Protocol):
    """One connection, which carries one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.idle_since_s = 0.0
        self._reader: AnswerReader | None = None
        self._answered: asyncio.Future[EndpointAnswer] | None = None

    @property
    def is_open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        answered, reader = self._answered, self._reader
        if answered is None or reader is None or answered.done():
            self.close()  # unsolicited data
            return
        try:
            if reader.feed(data):
                answered.set_result(reader.answer())
        except BrokenAnswer as error:
            answered.set_exception(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._answered is None or self._answered.done():
            return
        if exc is None and self._reader is not None and self._reader.end():
            self._answered.set_result(self._reader.answer())
        else:
            self._answered.set_exception(exc or BrokenAnswer("it ended before the answer did"))

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    async def send(self, request: bytes, max_bytes: int) -> tuple[EndpointAnswer, bool]:
        """Return the answer, and whether the connection can be reused."""
        if self.transport is None:
            raise BrokenAnswer("the connection ended at once")
        reader = self._reader = AnswerReader(max_bytes)
        self._answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        answer = await self._answered
        return answer, reader.reusable and self.has_sent_all

    @property
    def has_sent_all(self) -> bool:
        """Tell whether the request is fully sent; an answer may arrive earlier."""
        return self.transport is not None and self.transport.get_write_buffer_size() == 0


class Http1Client:
    """Connection pool of one event loop, keyed by host.

    `headers`: header lines of every request. `max_bytes`: largest content to read; reading stops as
    soon as an answer exceeds it.
    """

    def __init__(self, headers: dict[str, str], max_bytes: int) -> None:
        self._lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._max_bytes = max_bytes
        self._tls: ssl.SSLContext | None = None
        self._idle: dict[tuple[str, int, bool], deque[_Connection]] = {}
        self._keeps = True
        self._places: dict[str, tuple[tuple[str, int, bool], str]] = {}

    async def send(self, method: str, url: str, body: bytes = b"") -> EndpointAnswer:
        """Send a request and return the answer.

        Raises:
            OSError: the connection failed. BrokenAnswer: the answer is not valid HTTP/1.
            httpx2.InvalidURL: the address is invalid.
        """
        place, head = self._places.get(url) or self._place(url)
        connection = self._kept(place) or await self._connected(place)
        reusable = False
        try:
            first = f"{method} {head}Content-Length: {len(body)}\r\n\r\n"
            request = first.encode("latin-1") + body
            answer, reusable = await connection.send(request, self._max_bytes)
        finally:
            if reusable and connection.is_open and self._keeps:
                self._keep(place, connection)
            else:
                connection.close()
        return answer

    def close(self) -> None:
        """Close idle connections now, and those in use after their answer."""
        self._keeps = False
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    def _place(self, url: str) -> tuple[tuple[str, int, bool], str]:
        address = httpx2.URL(url)
        secure = address.scheme == "https"
        place = address.raw_host.decode("ascii"), address.port or (443 if secure else 80), secure
        path = address.raw_path.decode("ascii")
        head = f"{path} HTTP/1.1\r\nHost: {address.netloc.decode('ascii')}\r\n{self._lines}"
        self._places[url] = place, head
        return self._places[url]

    def _keep(self, place: tuple[str, int, bool], connection: _Connection) -> None:
        """Keep a connection for the next request, and close expired ones."""
        now_s = connection.idle_since_s = asyncio.get_running_loop().time()
        kept = self._idle.setdefault(place, deque())
        while kept and now_s - kept[0].idle_since_s >= IDLE_S:
            kept.popleft().close()
        kept.append(connection)

    def _kept(self, place: tuple[str, int, bool]) -> _Connection | None:
        """Return the most recently used connection that has not expired, or None."""
        now_s = asyncio.get_running_loop().time()
        kept = self._idle.get(place)
        while kept:
            connection = kept.pop()
            if connection.is_open and now_s - connection.idle_since_s < IDLE_S:
                return connection
            connection.close()
        return None

    async def _connected(self, place: tuple[str, int, bool]) -> _Connection:
        host, port, secure = place
        if secure and self._tls is None:
            self._tls = httpx2.create_ssl_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        loop = asyncio.get_running_loop()
        tls = self._tls if secure else None
        _, connection = await loop.create_connection(_Connection, host, port, ssl=tls)
        return connection
