"""Compare a response with acceptable answers by SQuAD's F1 and exact match."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Literal, NamedTuple

from pydantic import Field

from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.rules.rule import (
    ResponsePart,
    Rule,
    RuleConfig,
    RuleVerdict,
    no_part,
    part_of,
    shown,
    truths,
    usable,
)
from touchstone_rewards.reward_server.scorers.rules.words import (
    ARTICLES,
    parted,
    squad_normalized,
    squad_words,
    without_articles,
)

REMEMBERED_CHARS = 2_000  # of a ground truth to cache; longer ones would fill the memory
FEW_WORDS = 16  # up to this many distinct words are each counted by a search, which is faster


class F1Config(RuleConfig):
    """Config of `f1`. The best of several acceptable answers counts."""

    measure: Literal["f1", "exact_match"] = Field(
        default="f1", description="word F1, or 1 for equal normalized texts, else 0"
    )
    part: ResponsePart = "said"


class F1Scorer(Rule[F1Config]):
    """Score the word overlap after SQuAD normalization; in scripts without spaces, letters are
    words.

    Source: the evaluation script of SQuAD 1.1. Unlike there, an answer that normalizes to nothing
    is an unreadable ground truth, rather than equal to an empty response.
    """

    config_type = F1Config

    def judge(self, sample: Sample) -> RuleVerdict:
        accepted = [_remembered(truth) for truth in truths(sample)]
        part = part_of(sample.response, self.config.part)
        if part is None:
            return no_part(self.config.part)
        words = parted(squad_words(part))
        if self.config.measure == "exact_match":
            return RuleVerdict(float(_is_one_of(words, accepted)), {})
        scores = [overlap_f1(words, one) for one in accepted]
        best = max(scores)
        return RuleVerdict(best, {"nearest": shown(accepted[scores.index(best)].text)})


class Reference(NamedTuple):
    """An acceptable answer: its text, the number of its words, and the count of each word."""

    text: str
    total: int
    counts: dict[str, int]


def reference(truth: str) -> Reference:
    """Prepare an acceptable answer for comparison.

    Raises:
        Unscorable: it normalizes to nothing, so an empty response would be right.
    """
    [text] = usable([truth], squad_normalized)
    counts = Counter(text.split())
    return Reference(text, counts.total(), dict(counts))


_read_once = lru_cache(maxsize=4096)(reference)


def _remembered(truth: str) -> Reference:
    """Return `reference`, cached because the samples of a group share it."""
    return _read_once(truth) if len(truth) <= REMEMBERED_CHARS else reference(truth)


def overlap_f1(given: str, truth: Reference) -> float:
    """Return the F1 of two bags of words.

    `given`: the words as returned by `parted`; its articles are ignored.

    Example:
        >>> overlap_f1(" b  the  b  d ", reference("b c"))  # precision 1/3, recall 1/2
        0.4
    """
    met = _counted(given, truth.counts)
    shared = sum([min(count, truth.counts[word]) for word, count in met.items()])
    return 2 * shared / (_total(given) + truth.total) if shared else 0.0


def _is_one_of(given: str, accepted: list[Reference]) -> bool:
    """Tell whether the words are those of an acceptable answer, comparing their number first."""
    total = _total(given)
    near = [one.text for one in accepted if one.total == total]
    return bool(near) and without_articles(given) in near


def _total(given: str) -> int:
    """Return the number of words without articles."""
    return given.count(" ") // 2 - sum([given.count(f" {article} ") for article in ARTICLES])


def _counted(given: str, wanted: dict[str, int]) -> dict[str, int]:
    """Return how often each wanted word occurs."""
    if len(wanted) > FEW_WORDS:
        return Counter(filter(wanted.__contains__, given.split()))
    return {word: given.count(f" {word} ") for word in wanted}
