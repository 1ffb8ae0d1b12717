"""Check the endpoint addresses and key variables of a config.

No message here repeats a value that may be a key.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# The longest variable name that is accepted: a longer one may be the key itself.
VARIABLE_CHARS = 64


def check_url(url: str | list[str]) -> str | list[str]:
    """Return `url`, one address or a list of replica addresses, if all are valid and hold no key.

    Raises:
        ValueError: an address is invalid or holds a key, or the list is empty.
    """
    for one in [url] if isinstance(url, str) else url:
        try:
            parts = urlsplit(one)
            host = (parts.hostname or "").encode("idna")
            port_is_real = parts.port != 0  # raises ValueError if the port is not a number
        except ValueError:
            raise ValueError("an address has an invalid host or port") from None
        if parts.username or parts.password or parts.query:
            raise ValueError("an address holds a key; set key_env or key_file instead")
        if parts.scheme not in ("http", "https") or not host or not port_is_real:
            raise ValueError(
                "an address does not begin with http:// or https://, or has no host or port"
            )
        if not one.isprintable() or any(letter in one for letter in " ?#@"):
            raise ValueError("an address contains a space, a control character or one of ?#@")
    if not url:
        raise ValueError("the list of addresses is empty")
    return url


def check_variable(name: object) -> object:
    """Return `name` if it is the name of an environment variable, or None.

    Raises:
        ValueError: it is not a name; it may be the key itself.
    """
    plain = isinstance(name, str) and len(name) <= VARIABLE_CHARS
    if name is not None and not (plain and _VARIABLE.fullmatch(str(name))):
        raise ValueError("expected the name of an environment variable, not the key itself")
    return name


def urls_of(url: str | list[str], path: str) -> list[str]:
    """Return the full address of `path` on each replica."""
    return [f"{one.rstrip('/')}{path}" for one in ([url] if isinstance(url, str) else url)]


EndpointUrl = Annotated[
    str | list[str],
    AfterValidator(check_url),
    Field(description="base address of the service, or a list of replicas"),
]
KeyVariable = Annotated[
    str | None,
    BeforeValidator(check_variable),
    Field(description="environment variable with the API key"),
]
