"""Compressed bodies, unpacked slice by slice: gzip and zstd.

In: the bytes as they come. Out: at most `SLICE_BYTES` at a time, so that who asks can stop a body
that grows beyond all bounds, and the event loop gets its turn.
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
# What RFC 9659 has every receiver support; a larger window is memory that a caller could demand.
ZSTD_WINDOW_LOG = 23
ENCODINGS = "gzip, zstd"


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class Inflater:
    """One body on its way."""

    def __init__(self, encoding: str, decompressor: _Decompressor) -> None:
        self._encoding = encoding
        self._decompressor = decompressor

    def feed(self, data: bytes) -> bytes:
        """The next slice. One of full length: there may be more, feed nothing to get it.

        Raises:
            InvalidRequest: this is not what the encoding says.
        """
        decompressor = self._decompressor
        if decompressor.eof:
            if data or decompressor.unused_data:
                raise self._broken("something follows the end")
            return b""
        try:
            # zlib keeps what it had no room to unpack outside of itself.
            data = getattr(decompressor, "unconsumed_tail", b"") + data
            return decompressor.decompress(data, SLICE_BYTES)
        except (zlib.error, zstd.ZstdError) as error:
            raise self._broken(str(error)) from error

    def end(self) -> None:
        """Nothing more comes.

        Raises:
            InvalidRequest: something is missing, or something came after the end.
        """
        if not self._decompressor.eof:
            raise self._broken("it ends too early")
        if self._decompressor.unused_data:
            raise self._broken("something follows the end")

    def _broken(self, why: str) -> InvalidRequest:
        return InvalidRequest(f"the body is no {self._encoding} as Content-Encoding says: {why}")


def inflater(encoding: bytes) -> Inflater | None:
    """What unpacks a body with this `Content-Encoding`; None: it is not packed.

    Raises:
        UnsupportedEncoding: it is another one.
    """
    name = encoding.decode("latin-1").strip().lower()
    if name in ("", "identity"):
        return None
    if name not in _DECOMPRESSORS:
        raise UnsupportedEncoding(
            f"Content-Encoding {name[:80]!r} came; send the JSON with one of {ENCODINGS}, or plain"
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
