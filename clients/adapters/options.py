"""The error for a misspelt option of an adapter."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def unknown_option(owner: str, name: str, known: Sequence[str]) -> TypeError:
    """Return the error for an option that does not exist, with the most similar one.

    Example:
        >>> str(unknown_option("compute_score", "profil", ["profile", "url"]))
        "compute_score has no option 'profil'; did you mean 'profile'?"
    """
    near = difflib.get_close_matches(name, known, 1)
    meant = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"
    return TypeError(f"{owner} has no option {name!r}; {meant}")
