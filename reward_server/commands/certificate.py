"""Read the expiry date of a certificate from its PEM file, without a certificate library.

Source: RFC 5280, section 4.1: Certificate, TBSCertificate and Validity; X.690, section 8.1.3 (DER).
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

SEQUENCE, UTC_TIME = 0x30, 0x17
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----\n?")


def valid_until(path: Path) -> datetime:
    """Return the end of validity of the first certificate in a PEM file.

    Raises:
        ValueError: there is no certificate in it.
    """
    found = _PEM.search(path.read_text(encoding="ascii"))
    if found is None:
        raise ValueError(f"{path} has no certificate")
    _, certificate = next(_parts(ssl.PEM_cert_to_DER_cert(found.group())))
    _, signed_part = next(_parts(certificate))
    # The version and serial number are not sequences; algorithm, issuer and validity are.
    sequences = [content for kind, content in _parts(signed_part) if kind == SEQUENCE]
    _, (kind, end) = _parts(sequences[2])
    text = end.decode("ascii")
    if kind == UTC_TIME:  # two-digit years: 50 to 99 are in the last century
        text = ("19" if text[0] >= "5" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def expiry_warning(path: Path, now: datetime) -> str | None:
    """Return a warning if the certificate has expired at this time, else None."""
    try:
        end = valid_until(path)
    except (OSError, ValueError, IndexError, StopIteration):
        return None  # an unknown format: leave the check to TLS itself
    if end > now:
        return None
    return (
        f"tls_cert {path} expired on {end:%Y-%m-%d %H:%M} UTC: clients that check certificates "
        "refuse this server"
    )


def _parts(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tag and the content of each value in `der`."""
    at = 0
    while at + 2 <= len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length & 0x80:  # the other bits are the number of length bytes that follow
            count = length & 0x7F
            length = int.from_bytes(der[at : at + count], "big")
            at += count
        yield tag, der[at : at + length]
        at += length
