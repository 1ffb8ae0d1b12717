"""Who may ask, and who may administer: `Authorization: Bearer KEY`, `X-API-Key: KEY` or Basic
authorization whose password is the key, compared in constant time."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence

from touchstone_rewards.reward_server.caller import Caller, current
from touchstone_rewards.reward_server.errors import Forbidden, Unauthorized
from touchstone_rewards.reward_server.limits import Share, SharedCounts
from touchstone_rewards.reward_server.settings import ApiKey

Headers = Sequence[tuple[bytes, bytes]]


class KeyRing:
    """The keys that open the server and whose they are. An empty ring opens for everyone."""

    def __init__(
        self,
        keys: Iterable[ApiKey],
        counted: Callable[[str], SharedCounts] = lambda _: SharedCounts(),
    ) -> None:
        """`counted`: the numbers of the key of this name."""
        # Digests have one length, so a comparison tells nothing of a key's length either.
        self._keys = [
            (
                key.digest,
                Caller(
                    key.name,
                    Share(key.name, key.max_pending_samples, key.samples_per_s, counted(key.name)),
                    admin=key.role == "admin",
                    weight=key.weight,
                ),
            )
            for key in keys
        ]

    def __bool__(self) -> bool:
        """Is a key asked for at all?"""
        return bool(self._keys)

    def named(self, name: str) -> Caller | None:
        """Whose key is called so."""
        return next((caller for _, caller in self._keys if caller.name == name), None)

    def owner(self, headers: Headers) -> Caller | None:
        """Whose key these headers carry, if it is one that opens."""
        offered = hashlib.sha256(offered_key(headers)).digest()
        found = None
        for digest, caller in self._keys:  # all of them, so that time does not tell which it was
            if hmac.compare_digest(offered, digest):
                found = caller
        return found


def require_admin(what: str) -> None:
    """Raise unless the request being served came with a key that administers.

    Raises:
        Unauthorized: it came without a key, because this server asks for none.
        Forbidden: its key only scores.
    """
    caller = current().caller
    if caller is None:
        raise Unauthorized(
            f"to {what} takes a key with the role admin, and this server has no key; set "
            "REWARD_ADMIN_KEY"
        )
    if not caller.admin:
        raise Forbidden(
            f"key {caller.name} scores, and to {what} takes one with the role admin: "
            "REWARD_ADMIN_KEY, or role: admin in api_keys"
        )


def offered_key(headers: Headers) -> bytes:
    """The key that a request brings, or nothing. Header names come in lower case (ASGI)."""
    for name, value in headers:
        if name == b"x-api-key":
            return value.strip()
        if name == b"authorization":
            scheme, _, rest = value.partition(b" ")
            if scheme.lower() == b"bearer":
                return rest.strip()
            if scheme.lower() == b"basic":
                return _password(rest)
    return b""


def _password(encoded: bytes) -> bytes:
    """What `http://:KEY@host/` becomes: base64 of a name, which is no matter, a colon and KEY."""
    try:
        return base64.b64decode(encoded).partition(b":")[2]
    except ValueError:
        return b""
