"""Recognize the heads of requests that were read before, so that most requests need no parsing.

A client's requests differ in their bodies and in their content-length, seldom in anything else. So
a complete request whose head has the same bytes as one that the parser accepted, apart from the
digits of content-length, has the same path, headers and endpoint. Every other request is parsed.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple, Protocol

Header = tuple[bytes, bytes]

# The clients of a server send a few different heads, unless each has an id of its own.
MOST_HEADS, MOST_HEAD_BYTES = 256, 2048
# The digits of content-length, at most: bodies up to 99,999 bytes.
MOST_DIGITS = 5
_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: (\d{1,5})(?=\r|\Z)", re.IGNORECASE)


class WholeEndpoint(Protocol):
    """An endpoint that answers a complete body with JSON bytes or a coroutine returning them."""

    def begin(self, query: bytes, body: bytes) -> bytes | Coroutine[Any, Any, bytes]:
        """Answer the body, or return a coroutine that does."""
        ...


class KnownHead(NamedTuple):
    """A request's head, apart from its content-length. `url`: path and query. `pairs`: the headers
    in order; `headers`: the same by name. `endpoint`: what answers the request."""

    endpoint: WholeEndpoint
    url: tuple[str, bytes]
    pairs: Sequence[Header]
    headers: dict[bytes, bytes]
    keep_alive: bool


class KnownHeads:
    """The heads that the parser accepted, by their bytes without the line of content-length."""

    def __init__(self) -> None:
        self._heads: dict[bytes, KnownHead] = {}

    def find(self, data: bytes) -> tuple[KnownHead, bytes] | None:
        """Return the head and the body if `data` is one complete request with a known head."""
        end = data.find(_END, 0, MOST_HEAD_BYTES)
        if (length := _LENGTH.search(data, 0, max(0, end))) is None:
            return None
        if int(length[1]) != len(data) - end - len(_END):
            return None
        head = self._heads.get(data[: length.start()] + data[length.end() : end])
        return None if head is None else (head, data[end + len(_END) :])

    def keep(self, data: bytes, head: KnownHead) -> None:
        """Keep what the parser made of the first head in `data`, if it is complete and plain: one
        header a line, and a single content-length."""
        end = data.find(_END, 0, MOST_HEAD_BYTES)
        if end < 0 or (length := _LENGTH.search(data, 0, end)) is None:
            return
        lines = data[:end].count(b"\n"), data[:end].count(b"\r\n")
        names = [name for name, _ in head.pairs]
        if lines != (len(names), len(names)) or names.count(b"content-length") != 1:
            return
        if len(self._heads) >= MOST_HEADS:
            self._heads.clear()
        self._heads[data[: length.start()] + data[length.end() : end]] = head
