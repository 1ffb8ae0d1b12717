"""Normalize texts and split them into words, in linear time."""

from __future__ import annotations

import re
import string
import unicodedata
from functools import cache

# Scripts written without spaces: each of their letters counts as a word.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
_HAS_UNSPACED = re.compile(f"[{UNSPACED}]")
_WORD_OR_LETTER = re.compile(f"[{UNSPACED}]|[^\\s{UNSPACED}]+")
_WORD_RUN = re.compile(f"[{UNSPACED}]|[^\\W{UNSPACED}]+")
_ONE_WORD = re.compile(f"[^\\W{UNSPACED}]{{2}}")
ARTICLES = frozenset(["a", "an", "the"])
_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
_PUNCTUATION_BYTES, _SMALL_BYTES = string.punctuation.encode(), bytes(range(0x100)).lower()
# Unicode blocks with punctuation; scanning all of Unicode would take a fifth of a second.
_BLOCKS = (range(0x80, 0x3100), range(0xA000, 0xB000), range(0xFD00, 0x10000))
# Words longer than this are split into letters: a text without spaces, or `aaaa…`.
LONG_WORD_CHARS = 40
# Map white space to spaces and all else to `x`, so that long words are found by search.
_AS_X = bytes(0x20 if bytes([at]).isspace() else ord("x") for at in range(0x100))
_LONG_WORD = b"x" * (LONG_WORD_CHARS + 1)
FEW = 8  # occurrences of a phrase to check one by one


def composed(text: str) -> str:
    """Return the text with accented letters composed (NFC)."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def one_spaced(text: str) -> str:
    """Return the text with each run of white space as one space, and none at its ends."""
    return " ".join(text.split())


def without_punctuation(text: str) -> str:
    """Return the text without punctuation of any script."""
    return text.translate(_ASCII_PUNCTUATION if text.isascii() else _punctuation())


@cache
def _punctuation() -> dict[int, int | None]:
    marks = [at for block in _BLOCKS for at in block if unicodedata.category(chr(at))[0] == "P"]
    return _ASCII_PUNCTUATION | dict.fromkeys(marks)


def squad_words(text: str) -> list[str]:
    """Return the lower-case words without punctuation, articles included.

    In scripts without spaces each letter is a word.
    """
    if text.isascii():
        return text.encode().translate(_SMALL_BYTES, _PUNCTUATION_BYTES).decode().split()
    return words(without_punctuation(composed(text).lower()))


def parted(found: list[str]) -> str:
    """Return the words as one text with a space on both sides of each.

    Each word can then be found, counted and removed independently of its neighbours.

    Example:
        >>> parted(["to", "to"]).count(" to ")
        2
    """
    return f" {'  '.join(found)} " if found else ""


def squad_normalized(text: str) -> str:
    """Return the words of `squad_words` as one text, without articles.

    Source: `normalize_answer` of SQuAD's evaluation script, extended to punctuation of all scripts.

    Example:
        >>> squad_normalized("The  Eiffel-Tower!")
        'eiffeltower'
    """
    return without_articles(parted(squad_words(text)))


def without_articles(given: str) -> str:
    """Return words joined by `parted` as one text with single spaces, without articles."""
    for article in ARTICLES:
        given = given.replace(f" {article} ", "")
    return given[1:-1].replace("  ", " ")


def words(text: str) -> list[str]:
    """Return the words between spaces; in scripts without spaces, the letters.

    Example:
        >>> words("GPU 性能 up")
        ['GPU', '性', '能', 'up']
    """
    if text.isascii() or not _HAS_UNSPACED.search(text):
        return text.split()
    return _WORD_OR_LETTER.findall(text)


def pieces(text: str) -> list[str] | list[bytes]:
    """Return the words, with overlong ones split into letters.

    ASCII words may be returned as bytes, which are faster to slice and hash.
    """
    if text.isascii():
        raw = text.encode()
        if _LONG_WORD not in raw.translate(_AS_X):
            return raw.split()
    found = words(text)
    if not found or max(map(len, found)) <= LONG_WORD_CHARS:
        return found
    return [piece for word in found for piece in (word if len(word) > LONG_WORD_CHARS else (word,))]


def has_words(text: str, phrase: str) -> bool:
    """Tell whether the text contains the phrase as whole words.

    Example:
        >>> has_words("a party", "art"), has_words("the art", "art")
        (False, True)
    """
    at = text.find(phrase)
    for _ in range(FEW):
        if at < 0:
            return False
        end = at + len(phrase)
        if not _joined(text, at) and not _joined(text, end):
            return True
        at = text.find(phrase, at + 1)
    return at >= 0 and marked(phrase) in marked(text)  # linear in the number of occurrences


def _joined(text: str, at: int) -> bool:
    """Tell whether a position lies within a word, with word characters on both sides."""
    pair = text[at - 1 : at + 1] if at else ""
    return len(pair) == 2 and _ONE_WORD.fullmatch(pair) is not None


def marked(text: str) -> str:
    """Return the text with a marker around each word, so that a search finds only whole words."""
    return _WORD_RUN.sub("\0\\g<0>\0", text.replace("\0", " "))
