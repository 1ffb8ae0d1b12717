"""Detect the language of a text, and measure whether its words stand in a plausible order.

The language follows from script and the commonest English words. Word order is judged by pairs of
neighboring units seen in the tuning half of the stories in `data/`. Both take linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, NamedTuple

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
# In English prose nearly half of the words; in other languages of Latin script a few lookalikes.
ENGLISH_SHARE = 0.2
# Chance takes up to `DEVIATIONS` standard deviations, each `PAIR_DEVIATION` / sqrt(n), from the
# share of n pairs. What it takes from a turn, of `TURN_PAIRS` or more, the ramp allows for.
DEVIATIONS, PAIR_DEVIATION, TURN_PAIRS = 1.6, 0.5, 64
_START, _END = "<", ">"


def language(text: str) -> Language:
    """Return the language of a text, or `other` if it cannot be told.

    Decides by the shares of Han, kana and Latin letters; Latin script counts as English when
    enough of its words are among the commonest English ones.

    Example:
        >>> language("He opens the door to 青石镇"), language("Das Tor blieb zu")
        ('English', 'other')
    """
    text = text[:MAX_CHARACTERS]
    kana, han, words = len(_KANA.findall(text)), len(_HAN.findall(text)), _WORD.findall(text)
    others = sum(map(str.isalpha, text)) - kana - han - sum(map(len, words))
    # A word counts as much as two Chinese characters, or five letters.
    most = max(kana + han, 2 * len(words), 2 * others / 5)
    if not most or 2 * others / 5 == most:
        return "other"
    if kana + han == most:
        return "Japanese" if kana > 0.1 * (kana + han) else "Chinese"
    common = len(_ENGLISH.findall(text))
    return "English" if common >= ENGLISH_SHARE * len(words) else "other"


class WordOrder(NamedTuple):
    """How well a text's words stand in order: the share of its neighboring pairs known in this
    order, minus the share known in reverse; and how much more it may be, but for so few pairs."""

    share: float
    doubt: float


def order_of(text: str, of: str) -> WordOrder | None:
    """Return how well the words of a text stand in the order of a language.

    None if there are no stories of the language to learn pairs from. Shuffled, reversed or listed
    words have a share of about 0 or less, prose of 0.15 to 0.4, but ten words of prose may have 0:
    the doubt is what chance can take from so few.

    Example:
        >>> order_of("The door is open, and the lamp is lit.", "English").doubt > 0.1
        True
    """
    known = _pairs_of(of)
    if not known:
        return None
    there = list(_pairs(text))
    if not there:
        return WordOrder(0.0, 0.0)
    ordered = sum(pair in known for pair in there) - sum(_turned(pair) in known for pair in there)
    doubt = DEVIATIONS * PAIR_DEVIATION * (len(there) ** -0.5 - TURN_PAIRS**-0.5)
    return WordOrder(ordered / len(there), max(doubt, 0.0))


def read_pairs() -> None:
    """Learn the pairs of every language now, because it is too slow for the first request."""
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
