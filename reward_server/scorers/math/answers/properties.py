"""Read properties of letters in words: `n is odd`, `all odd primes p`, `C is a constant`.

property  value: (the words, the letters, whether it is negated)
"""

from __future__ import annotations

import re
from itertools import pairwise

from touchstone_rewards.reward_server.scorers.math.tree import Node

MAX_KIND_CHARS = 60

TEXT_COMMAND = re.compile(r"\\(?:text|mathrm|textrm|mbox)\s?\{([^{}]*)\}")
_WORDS = re.compile(r"[a-zA-Z][a-zA-Z-]*|[^\sa-zA-Z]")
_FILLER = frozenset(
    ["a", "an", "the", "is", "are", "be", "being", "number", "numbers", "arbitrary", "of", "value",
     "values", "only", "both", "and"]
)  # fmt: skip
# Words that only name the kind of thing a letter stands for.
_NAMING = {
    **dict.fromkeys(["real", "reals", "complex"], "number"),
    **dict.fromkeys(["constant", "constants", "parameter", "parameters"], "constant"),
}
_ANY = frozenset(["all", "any", "every", "each", "some"])
BARE = frozenset(["number", "constant"])  # properties that impose no condition
# Properties that can name a kind of number: `all primes`.
_KINDS = frozenset(["prime", "composite", "square", "irrational"])
_KIND_HINT = re.compile("prime|composite|square|irrational")
_PROPERTIES = {
    "odd": "odd", "even": "even", "prime": "prime", "primes": "prime", "composite": "composite",
    "square": "square", "squares": "square", "perfect": "perfect", "positive": "positive",
    "negative": "negative", "nonnegative": "nonnegative", "non-negative": "nonnegative",
    "nonzero": "nonzero", "non-zero": "nonzero", "rational": "rational",
    "irrational": "irrational", "integer": "integer", "integers": "integer", "whole": "integer",
    "natural": "natural", "nonpositive": "nonpositive", "non-positive": "nonpositive",
}  # fmt: skip


def property_in(said: str) -> Node | None:
    """Return the property stated by `n is odd`, `all odd primes p` or
    `C is a constant`, or None."""
    letters: list[str] = []
    adjectives: set[str] = set()
    negated = False
    found: list[str] = _WORDS.findall(said.replace("\\", "").replace("$", ""))
    for word, after in pairwise([*found, ""]):
        lower = word.lower()
        if len(word) == 1 and word.isalpha():
            if word != "a" or after in ("", ",", "and", "is", "are"):
                letters.append(word)
        elif lower == "not":
            negated = True
        elif lower in _PROPERTIES or lower in _NAMING:
            adjectives.add(_PROPERTIES.get(lower) or _NAMING[lower])
        elif lower in _ANY:
            adjectives.add("number")
        elif lower not in _FILLER and word not in ",_":
            return None
    if not letters or not adjectives:
        return None
    if adjectives - BARE:
        adjectives -= BARE
    return Node("property", (), (frozenset(adjectives), tuple(sorted(letters)), negated))


def of_a_kind(text: str) -> Node | None:
    """Return the property stated by `n is prime` or `all primes`, or None."""
    if len(text) > MAX_KIND_CHARS or _KIND_HINT.search(text) is None:
        return None
    flat = " ".join(TEXT_COMMAND.sub(r" \1 ", text).lower().split())
    found = property_in(f"{flat} n" if flat.startswith(("all ", "any ", "the ")) else flat)
    if found is None or not found.value[0] & _KINDS or len(found.value[1]) != 1:
        return None
    return Node("property", (), (found.value[0], ("n",), found.value[2]))
