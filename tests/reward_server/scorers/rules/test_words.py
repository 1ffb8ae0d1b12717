"""Counting words by search gives the verdicts of the plain definitions."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from touchstone_rewards.reward_server.scorers.rules.f1 import FEW_WORDS, overlap_f1, reference
from touchstone_rewards.reward_server.scorers.rules.repetition import repeated_share
from touchstone_rewards.reward_server.scorers.rules.words import (
    ARTICLES,
    LONG_WORD_CHARS,
    parted,
    pieces,
    squad_normalized,
    squad_words,
)

# Equal words side by side, one word within another, articles, scripts, odd white space.
SOME = [
    *("to", "to", "be", "bee", "the", "a", "an", "the", "than", "ant", "x-ray", "U.S.A.", "..."),
    *("É", "é", "巴黎", "铁塔", "a\x1cb", "The\xa0end"),
]
MANY = [*SOME, *(f"word{n}" for n in range(3 * FEW_WORDS))]


def plain_f1(response: str, truth: str) -> float:
    given, wanted = (
        Counter(word for word in squad_words(text) if word not in ARTICLES)
        for text in (response, truth)
    )
    shared = (given & wanted).total()
    return 2 * shared / (given.total() + wanted.total()) if shared else 0.0


@pytest.mark.parametrize("words", [SOME, MANY], ids=["few words", "many words"])
def test_f1_is_that_of_the_words_counted_one_by_one(words: list[str]) -> None:
    drawn = random.Random(1)
    seen: set[bool] = set()
    for _ in range(500):
        response = " ".join(drawn.choices(words, k=drawn.randint(0, 60)))
        truth = " ".join([*drawn.choices(words, k=drawn.randint(0, 60)), "to"])
        asked = reference(truth)
        seen.add(len(asked.counts) > FEW_WORDS)
        assert overlap_f1(parted(squad_words(response)), asked) == plain_f1(response, truth)
    assert (True in seen) == (words is MANY)


def test_normalisation_leaves_the_words_but_articles() -> None:
    drawn = random.Random(2)
    for _ in range(500):
        text = " ".join(drawn.choices(SOME, k=drawn.randint(0, 8)))
        kept = [word for word in squad_words(text) if word not in ARTICLES]
        assert squad_normalized(text) == " ".join(kept)
    assert squad_normalized("the The a") == ""


@pytest.mark.parametrize("between", [" ", "\n", "\x1c", "\x1f", "\u3000"])
def test_only_words_of_more_than_forty_characters_are_taken_apart(between: str) -> None:
    longest, too_long = "b" * LONG_WORD_CHARS, "c" * (LONG_WORD_CHARS + 1)
    assert plain(pieces(between.join(["a", longest, longest]))) == ["a", longest, longest]
    assert plain(pieces(between.join([longest, too_long, "d"]))) == [longest, *too_long, "d"]


@pytest.mark.parametrize("letters", ["ab c\n", "abc\t\v\f\r e\u0301", "好a \u3000"])
def test_repeated_runs_are_those_counted_one_by_one(letters: str) -> None:
    drawn = random.Random(3)
    for _ in range(300):
        text = "".join(drawn.choices(letters, k=drawn.randint(1, 80)))
        n = drawn.randint(1, 4)
        found = plain(pieces(text))
        seen: list[list[str]] = []
        again = 0
        for start in range(len(found) - n + 1):
            run = found[start : start + n]
            again += run in seen
            seen.append(run)
        share = again / len(seen) if seen else 0.0
        assert repeated_share(pieces(text), n) == pytest.approx(share, abs=1e-12)


def plain(found: list[str] | list[bytes]) -> list[str]:
    return [one.decode() if isinstance(one, bytes) else one for one in found]
