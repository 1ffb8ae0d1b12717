"""The headers of the server's own pages: they load nothing but what the server gave."""

from __future__ import annotations

import base64
import hashlib


def page_headers(*, scripts: str, styles: str, images: str = "data:") -> dict[str, str]:
    """Return the headers of a page that may load these scripts, styles and images, and ask only us.

    Each is a list of sources as a Content-Security-Policy has them.
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
    """Return what a content security policy names an inline script or style by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
