"""HTTP headers that allow the server's own pages to load only resources of this server."""

from __future__ import annotations

import base64
import hashlib


def page_headers(*, scripts: str, styles: str, images: str = "data:") -> dict[str, str]:
    """Return the headers of a page with these scripts, styles and images, which may contact only
    this server.

    Each argument is a source list of a Content-Security-Policy.
    """
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; connect-src 'self'; "
        f"img-src {images}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }


def digest(text: str) -> str:
    """Return the hash by which a content security policy identifies an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
