"""Split a run of letters into tokens: a function, constant, unit, word, or one-letter names."""

from __future__ import annotations

from functools import lru_cache

from touchstone_rewards.reward_server.scorers.math.grammar.symbols import (
    FUNCTIONS,
    GREEK,
    JOINTS,
    SHORT_WORDS,
    Token,
)
from touchstone_rewards.reward_server.scorers.math.grammar.units import is_plain_unit, is_unit

SHORT_CHARS = 40
_LONGEST_NAME = max(map(len, (*FUNCTIONS, *GREEK)))
_WHOLE: dict[str, Token] = {
    "percent": ("%", ""),
    **dict.fromkeys(("degree", "degrees", "deg"), ("degree", "")),
    **dict.fromkeys(("infinity", "inf", "infty", "oo"), ("const", "inf")),
    **{word: (joint, "") for word, joint in JOINTS.items()},
}


def split_word(word: str, in_text: bool, after_number: bool, joined: bool) -> tuple[Token, ...]:
    r"""Return the tokens of a run of letters.

    `abc` is a product of three; `Even` and `metres` are words; `xsin` is `x` and a function.
    `in_text`: the run is inside `\text{}`. `after_number`: a value precedes it; `joined`: without a
    space between, so that `2abcd` is a product and `2 apples` is not.
    """
    split = _remembered if len(word) <= SHORT_CHARS else _split
    return split(word, in_text, after_number, joined)


def _split(word: str, in_text: bool, after_number: bool, joined: bool) -> tuple[Token, ...]:
    if (known := _whole_word(word, in_text, after_number)) is not None:
        return (known,)
    tokens: list[Token] = []
    at = 0
    while at < len(word):
        token, length = _longest_name(word, at)
        tokens.append(token)
        at += length
    if (
        len(word) > 3
        and not joined
        and not any(kind == "func" or name == "pi" for kind, name in tokens)
    ):
        return (("word", word),)
    return tuple(tokens)


_remembered = lru_cache(maxsize=4096)(_split)  # long ones would fill the memory


def _whole_word(word: str, in_text: bool, after_number: bool) -> Token | None:
    if len(word) == 1:
        return ("unit", word) if in_text and after_number and is_unit(word) else _letter(word)
    if (known := _WHOLE.get(word.lower())) is not None:
        return known
    measures = is_unit(word) if in_text else is_plain_unit(word)
    if word in FUNCTIONS and not (after_number and measures):
        return ("func", FUNCTIONS[word])
    if word in GREEK:
        return ("name", word)
    if word == "pi":
        return ("const", "pi")
    if measures and (after_number or len(word) > 3):
        return ("unit", word)
    return ("word", word) if in_text or word.lower() in SHORT_WORDS else None


def _longest_name(word: str, at: int) -> tuple[Token, int]:
    for length in range(min(len(word) - at, _LONGEST_NAME), 1, -1):
        part = word[at : at + length]
        if length > 2 and part in FUNCTIONS:
            return ("func", FUNCTIONS[part]), length
        if part == "pi":
            return ("const", "pi"), length
        if length > 3 and part in GREEK:
            return ("name", part), length
    return _letter(word[at]), 1


def _letter(letter: str) -> Token:
    return ("const", letter) if letter in "ei" else ("name", letter)
