"""The address of an endpoint, and the name of the variable that holds its key, as a config says
them. No message here repeats what may be a key."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# How long a variable's name may be: a key that is written in its place is not to be shown.
VARIABLE_CHARS = 64


def check_url(url: str | list[str]) -> str | list[str]:
    """Return the address, or the addresses of replicas, if each is one and bears no key.

    Raises:
        ValueError: one is not, or there is none.
    """
    for one in [url] if isinstance(url, str) else url:
        try:
            parts = urlsplit(one)
            host = (parts.hostname or "").encode("idna")
            port_is_real = parts.port != 0  # one that is no number raises
        except ValueError:
            raise ValueError("one is no address: its host or its port is none") from None
        if parts.username or parts.password or parts.query:
            raise ValueError("a key does not belong in it; name key_env or key_file")
        if parts.scheme not in ("http", "https") or not host or not port_is_real:
            raise ValueError("one is no http:// or https:// address")
        if not one.isprintable() or any(letter in one for letter in " ?#@"):
            raise ValueError("one has a space, a control character or one of ?#@ in it")
    if not url:
        raise ValueError("it is empty")
    return url


def check_variable(name: object) -> object:
    """Return the name of an environment variable, if it is one.

    Raises:
        ValueError: it is not; it may be the key itself.
    """
    plain = isinstance(name, str) and len(name) <= VARIABLE_CHARS
    if name is not None and not (plain and _VARIABLE.fullmatch(str(name))):
        raise ValueError("say the name of an environment variable, not the key itself")
    return name


def urls_of(url: str | list[str], path: str) -> list[str]:
    """Return the whole address of each replica."""
    return [f"{one.rstrip('/')}{path}" for one in ([url] if isinstance(url, str) else url)]


EndpointUrl = Annotated[str | list[str], AfterValidator(check_url)]
KeyVariable = Annotated[str | None, BeforeValidator(check_variable)]
