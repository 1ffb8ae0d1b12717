"""Who may ask: `Authorization: Bearer KEY` or `X-API-Key: KEY`, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence

Headers = Sequence[tuple[bytes, bytes]]


class KeyRing:
    """The keys that open the server. An empty ring opens for everyone."""

    def __init__(self, keys: Iterable[str]) -> None:
        # Digests have one length, so a comparison tells nothing of a key's length either.
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        """Is a key asked for at all?"""
        return bool(self._digests)

    def opens(self, headers: Headers) -> bool:
        """Do these headers carry one of the keys?"""
        if not self._digests:
            return True
        offered = hashlib.sha256(offered_key(headers)).digest()
        matches = [hmac.compare_digest(offered, digest) for digest in self._digests]
        return any(matches)  # after all comparisons, so that time does not tell which key it was


def offered_key(headers: Headers) -> bytes:
    """The key that a request brings, or nothing. Header names come in lower case (ASGI)."""
    for name, value in headers:
        if name == b"x-api-key":
            return value.strip()
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip()
    return b""
