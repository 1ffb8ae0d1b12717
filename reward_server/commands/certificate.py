"""Until when a certificate is valid, read from its file without a library for certificates.

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
    # Version and serial number are no sequences; the algorithm, the issuer and the validity are.
    sequences = [content for kind, content in _parts(signed_part) if kind == SEQUENCE]
    _, (kind, end) = _parts(sequences[2])
    text = end.decode("ascii")
    if kind == UTC_TIME:  # years of two digits: 50 to 99 are those of the last century
        text = ("19" if text[0] >= "5" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def expiry_warning(path: Path, now: datetime) -> str | None:
    """Return a warning if the certificate has expired at this time, else None."""
    try:
        end = valid_until(path)
    except (OSError, ValueError, IndexError, StopIteration):
        return None  # a form that is not known here: TLS itself says whether it can be used
    if end > now:
        return None
    return (
        f"tls_cert {path} expired on {end:%Y-%m-%d %H:%M} UTC: clients that check certificates "
        "refuse this server"
    )


def _parts(der: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and the content of each value that stands in `der`, one after another."""
    at = 0
    while at + 2 <= len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length & 0x80:  # so many bytes of length follow
            count = length & 0x7F
            length = int.from_bytes(der[at : at + count], "big")
            at += count
        yield tag, der[at : at + length]
        at += length
