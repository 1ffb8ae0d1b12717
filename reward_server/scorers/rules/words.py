"""Texts made comparable, and texts as words: what several rules do with them. All is linear."""

from __future__ import annotations

import re
import string
import unicodedata
from functools import cache

# Scripts that are written without spaces: each of their letters counts as a word.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
_HAS_UNSPACED = re.compile(f"[{UNSPACED}]")
_WORD_OR_LETTER = re.compile(f"[{UNSPACED}]|[^\\s{UNSPACED}]+")
_WORD_RUN = re.compile(f"[{UNSPACED}]|[^\\W{UNSPACED}]+")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
# Where Unicode has its punctuation; the whole of it would take a fifth of a second to look at.
_BLOCKS = (range(0x80, 0x3100), range(0xA000, 0xB000), range(0xFD00, 0x10000))
# Words longer than this are letters in a row: a text without spaces, or `aaaa…`.
LONG_WORD_CHARS = 40


def composed(text: str) -> str:
    """Return the text with each accent in its letter, however it was typed (NFC)."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def one_spaced(text: str) -> str:
    """Return the text with each run of white space as one space, and none at its ends."""
    return " ".join(text.split())


def without_punctuation(text: str) -> str:
    """Return the text without punctuation, of any script."""
    return text.translate(_ASCII_PUNCTUATION if text.isascii() else _punctuation())


@cache
def _punctuation() -> dict[int, int | None]:
    marks = [at for block in _BLOCKS for at in block if unicodedata.category(chr(at))[0] == "P"]
    return _ASCII_PUNCTUATION | dict.fromkeys(marks)


def squad_normalized(text: str) -> str:
    """Return the text in small letters, without punctuation, articles and needless spaces.

    Source: `normalize_answer` of SQuAD's evaluation script; but punctuation of all scripts goes.

    Example:
        >>> squad_normalized("The  Eiffel-Tower!")
        'eiffeltower'
    """
    lowered = without_punctuation(composed(text).lower())
    return one_spaced(_ARTICLES.sub(" ", lowered))


def words(text: str) -> list[str]:
    """Return the words between spaces; of scripts without spaces, the letters.

    Example:
        >>> words("GPU 性能 up")
        ['GPU', '性', '能', 'up']
    """
    if text.isascii() or not _HAS_UNSPACED.search(text):
        return text.split()
    return _WORD_OR_LETTER.findall(text)


def pieces(text: str) -> list[str]:
    """Return the words, with those that are too long to be words letter by letter."""
    found = words(text)
    if len(text) < LONG_WORD_CHARS * (len(found) + 1) and all(
        len(word) <= LONG_WORD_CHARS for word in found
    ):
        return found
    return [piece for word in found for piece in (word if len(word) > LONG_WORD_CHARS else (word,))]


def marked(text: str) -> str:
    """Return the text with a mark around each word, so that only whole words are found in it."""
    return _WORD_RUN.sub("\0\\g<0>\0", text)
