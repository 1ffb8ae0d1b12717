"""Authentication: `Authorization: Bearer KEY`, `X-API-Key: KEY` or Basic authorization with the key
as password. Keys are compared in constant time."""

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
    """The keys of the server and their owners. An empty ring lets everyone in."""

    def __init__(
        self,
        keys: Iterable[ApiKey],
        counted: Callable[[str], SharedCounts] = lambda _: SharedCounts(),
    ) -> None:
        """`counted` returns the counters of the key with this name."""
        # Digests have a fixed length, so the time of a comparison does not reveal a key's length.
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
        """Return whether a key is needed at all."""
        return bool(self._keys)

    def named(self, name: str) -> Caller | None:
        """Return the owner of the key with this name, or None."""
        return next((caller for _, caller in self._keys if caller.name == name), None)

    def owner(self, headers: Headers) -> Caller | None:
        """Return the owner of the key in these headers, or None if there is no valid key."""
        offered = hashlib.sha256(offered_key(headers)).digest()
        found = None
        for digest, caller in self._keys:  # compare all, so that timing does not reveal the match
            if hmac.compare_digest(offered, digest):
                found = caller
        return found


def require_admin(what: str) -> None:
    """Raise unless the current request has a key with the role admin.

    Raises:
        Unauthorized: it has no key, because this server has none.
        Forbidden: its key may only score.
    """
    caller = current().caller
    if caller is None:
        raise Unauthorized(
            f"a key with the role admin is needed to {what}, and this server has no keys; "
            "set REWARD_ADMIN_KEY"
        )
    if not caller.admin:
        raise Forbidden(
            f"key {caller.name} may only score; to {what}, use a key with the role admin "
            "(REWARD_ADMIN_KEY, or role: admin in api_keys)"
        )


def offered_key(headers: Headers) -> bytes:
    """Return the key of a request, or b"" if there is none. Header names are lower case (ASGI)."""
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
    """Return the password of Basic credentials, which `http://:KEY@host/` becomes."""
    try:
        return base64.b64decode(encoded).partition(b":")[2]
    except ValueError:
        return b""
