"""Which language a text is in, as far as script and commonest words tell, and whether its words
stand in an order that the language uses.

In: texts. Out: a language's name, and a number from pairs of neighbouring units, known from the
tuning half of the stories in `data/`. Linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

from touchstone_rewards.reward_server.scorers.story.stories import told_stories
from touchstone_rewards.reward_server.scorers.story.text import MAX_CHARACTERS, clauses, units

Language = Literal["English", "Chinese", "Japanese", "other"]
_KANA = re.compile("[\u3040-\u30ff]")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_WORD = re.compile("[A-Za-z\u00c0-\u024f]+")
_ENGLISH = re.compile(
    r"\b(?:the|a|an|of|to|in|on|at|and|but|or|not|is|are|was|were|be|has|had|have|"
    r"it|its|he|she|they|his|her|their|you|your|i|my|me|we|that|this|with|for|from|as|"
    r"by|who|what|there|no)\b",
    re.IGNORECASE,
)
# Of English prose nearly half; of other languages in Latin script a few that look alike.
ENGLISH_SHARE = 0.2
_START, _END = "<", ">"


def language(text: str) -> Language:
    """The language of a text: by the shares of Han, kana and Latin letters, and for Latin script by
    the share of the commonest English words. What cannot be told is `other`.

    Example:
        >>> language("He opens the door to 青石镇"), language("Das Tor blieb zu")
        ('English', 'other')
    """
    text = text[:MAX_CHARACTERS]
    kana, han, words = len(_KANA.findall(text)), len(_HAN.findall(text)), _WORD.findall(text)
    others = sum(map(str.isalpha, text)) - kana - han - sum(map(len, words))
    # A word says about as much as two Chinese characters, or five letters.
    most = max(kana + han, 2 * len(words), 2 * others / 5)
    if not most or 2 * others / 5 == most:
        return "other"
    if kana + han == most:
        return "Japanese" if kana > 0.1 * (kana + han) else "Chinese"
    common = len(_ENGLISH.findall(text))
    return "English" if common >= ENGLISH_SHARE * len(words) else "other"


def ordered_share(text: str, of: str) -> float | None:
    """How much more often its neighbours stand in the language's order than the other way round:
    the share of pairs known in this order, less the share known in reverse. None where no stories
    of the language are known.

    Words in any order, backwards or from a list have about 0 or less, prose 0.15 to 0.4.
    """
    known = _pairs_of(of)
    if not known:
        return None
    there = list(_pairs(text))
    ordered = sum(pair in known for pair in there) - sum(_turned(pair) in known for pair in there)
    return ordered / len(there) if there else 0.0


def read_pairs() -> None:
    """Read the stories of every language, which takes too long to be done while others wait."""
    for known in {story.language for story in told_stories()}:
        _pairs_of(known)


@lru_cache(maxsize=8)
def _pairs_of(of: str) -> frozenset[tuple[str, str]]:
    return frozenset(
        pair
        for story in told_stories()
        if (story.language, story.split) == (of, "tuning")
        for text in story.texts
        for pair in _pairs(text)
    )


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for clause in clauses(text):
        found = units(clause)
        yield from zip([_START, *found], [*found, _END], strict=True)


def _turned(pair: tuple[str, str]) -> tuple[str, str]:
    first, second = pair
    return (_START if second == _END else second), (_END if first == _START else first)
