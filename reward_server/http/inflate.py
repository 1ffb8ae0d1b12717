"""Decompress bodies slice by slice: gzip and zstd.

Each step returns at most `SLICE_BYTES`, so the caller can abort a decompression bomb, and the event
loop gets a turn.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from touchstone_rewards.reward_server.errors import InvalidRequest, UnsupportedEncoding

SLICE_BYTES = 256 * 1024
# RFC 9659 requires support up to this window; a larger one would let callers demand memory.
ZSTD_WINDOW_LOG = 23
ENCODINGS = "gzip, zstd"


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class Inflater:
    """The decompressor of one body."""

    def __init__(self, encoding: str, decompressor: _Decompressor) -> None:
        self._encoding = encoding
        self._decompressor = decompressor

    def feed(self, data: bytes) -> bytes:
        """Return the next slice. If it has full length, feed b"" to get more.

        Raises:
            InvalidRequest: the data does not match the encoding.
        """
        decompressor = self._decompressor
        if decompressor.eof:
            if data or decompressor.unused_data:
                raise self._broken("data follows its end")
            return b""
        try:
            # zlib hands back the input that it had no room to decompress.
            data = getattr(decompressor, "unconsumed_tail", b"") + data
            return decompressor.decompress(data, SLICE_BYTES)
        except (zlib.error, zstd.ZstdError) as error:
            raise self._broken(str(error)) from error

    def end(self) -> None:
        """Finish: no more data comes.

        Raises:
            InvalidRequest: the data is incomplete, or goes on after its end.
        """
        if not self._decompressor.eof:
            raise self._broken("it is incomplete")
        if self._decompressor.unused_data:
            raise self._broken("data follows its end")

    def _broken(self, why: str) -> InvalidRequest:
        return InvalidRequest(f"the body is not the {self._encoding} of Content-Encoding: {why}")


def inflater(encoding: bytes) -> Inflater | None:
    """Return the decompressor for this `Content-Encoding`; None if the body is not compressed.

    Raises:
        UnsupportedEncoding: the encoding is not supported.
    """
    name = encoding.decode("latin-1").strip().lower()
    if name in ("", "identity"):
        return None
    if name not in _DECOMPRESSORS:
        raise UnsupportedEncoding(
            f"Content-Encoding {name[:80]!r} is not supported; use one of {ENCODINGS}, or none"
        )
    return Inflater(name, _DECOMPRESSORS[name]())


def _gzip() -> _Decompressor:
    return zlib.decompressobj(wbits=31)


def _zstd() -> _Decompressor:
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
    return zstd.ZstdDecompressor(options=options)


_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "zstd": _zstd,
}
