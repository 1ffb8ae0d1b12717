"""Read the key of an endpoint from the environment or a file, without ever repeating it."""

from __future__ import annotations

import os
from pathlib import Path


def read_key(variable: str | None, file: str | None) -> str | None:
    """Return the key in the environment variable or the file; None if neither is named.

    Raises:
        ValueError: the key is missing or malformed; the message never repeats it.
    """
    if variable is not None:
        place, key = "the environment variable that key_env names", os.environ.get(variable, "")
    elif file is not None:
        # An invalid path may be the key itself, entered in the wrong place.
        place = f"the file {file}" if "/" in file else "the file that key_file names"
        try:
            key = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"key_file: {place} cannot be read: {type(error).__name__}") from None
    else:
        return None
    key = key.strip()
    if not key:
        raise ValueError(f"{place} has no key: set it before the server starts")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(f"{place} has a key with spaces, line breaks or characters beyond ASCII")
    return key
