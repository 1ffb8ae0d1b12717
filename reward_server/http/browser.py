"""Refuse requests that a foreign web page makes a browser send.

A foreign page can make its reader's browser send requests to any address, loopback included, and
with DNS rebinding it can even read the answers. A server with a key is safe, because the page does
not know the key. A server without one checks headers that a page cannot forge: `Host`, `Origin` and
`Sec-Fetch-Site`. Programs send no `Origin` and pass.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from touchstone_rewards.reward_server.errors import Forbidden

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
MOST_KNOWN = 256


class BrowserGuard:
    """Refuses requests made by foreign pages.

    `hosts`: accepted host names of a server without a key, besides loopback's. `addresses` accepts
    every IP address as well; DNS rebinding needs a name, so that is safe.
    """

    def __init__(
        self, *, keyless: bool, hosts: Iterable[str] = (), addresses: bool = False
    ) -> None:
        self.keyless = keyless
        self.addresses = addresses
        self.names = {*LOOPBACK_NAMES, *(host.lower() for host in hosts)}
        # `Host` headers already accepted: callers send the same few.
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
                "REWARD_API_KEY to allow requests from other origins"
            )

    def _check_host(self, header: bytes) -> None:
        host = header.decode("latin-1").lower()
        if not self._is_ours(_name(host)):
            raise Forbidden(
                f"this server has no key and does not accept the host {host[:100]!r}; call it by "
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
    """Return the host without its port, an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, _, port = host.rpartition(":")
    return name if port.isdigit() else host
