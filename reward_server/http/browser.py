"""What a web page may make a browser send here: nothing, whoever's page it is.

A page elsewhere can make its reader's browser send requests to any address, loopback included, and
by DNS rebinding it can even read the answers. A server with a key is safe, because no page knows
the key. A server without one looks at what a browser cannot forge: `Host`, `Origin` and
`Sec-Fetch-Site`. Programs send no `Origin`, and are let through.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from touchstone_rewards.reward_server.errors import Forbidden

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
MOST_KNOWN = 256


class BrowserGuard:
    """Refuses requests that a foreign page made.

    `hosts`: the names that a server without a key goes by beside loopback's. With `addresses` it
    goes by any IP address too, which no DNS name can stand in for.
    """

    def __init__(
        self, *, keyless: bool, hosts: Iterable[str] = (), addresses: bool = False
    ) -> None:
        self.keyless = keyless
        self.addresses = addresses
        self.names = {*LOOPBACK_NAMES, *(host.lower() for host in hosts)}
        # `Host` headers that were looked at and are ours: callers send the same few.
        self._known: set[bytes] = set()

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Raise Forbidden if a foreign page made the request with these headers."""
        if headers.get(b"sec-fetch-site") == b"cross-site":
            raise Forbidden("another site's page made this request; open this server's own address")
        if not self.keyless:
            return
        host = headers.get(b"host", b"")
        if host not in self._known:
            self._check_host(host)
        origin = headers.get(b"origin")
        if origin is not None and origin.lower().partition(b"://")[2] != host.lower():
            raise Forbidden(
                "this server has no key, and a page of another origin made this request; set "
                "REWARD_API_KEY to be asked from elsewhere"
            )

    def _check_host(self, header: bytes) -> None:
        host = header.decode("latin-1").lower()
        if not self._is_ours(_name(host)):
            raise Forbidden(
                f"this server has no key and goes by no name like {host[:100]!r}; ask it by "
                "127.0.0.1 or localhost, add the name to allowed_hosts, or set REWARD_API_KEY"
            )
        if len(self._known) < MOST_KNOWN:
            self._known.add(header)

    def _is_ours(self, name: str) -> bool:
        if name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self.addresses


def _name(host: str) -> str:
    """The host without its port, and an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, _, port = host.rpartition(":")
    return name if port.isdigit() else host
