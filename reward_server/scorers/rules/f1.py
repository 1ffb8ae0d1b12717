"""How many words the response and an acceptable answer share: SQuAD's F1 and exact match."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Literal, NamedTuple

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
    squad_normalized,
    squad_words,
)

REMEMBERED_CHARS = 2_000  # of a ground truth; longer ones would fill the memory


class F1Config(RuleConfig):
    """`measure`: the score. Of several acceptable answers the one that fits best counts."""

    measure: Literal["f1", "exact_match"] = "f1"
    part: ResponsePart = "said"


class F1Scorer(Rule[F1Config]):
    """Word overlap after SQuAD's normalisation; of scripts without spaces letters are words.

    Source: the evaluation script of SQuAD 1.1. Unlike there, an answer of which normalisation
    leaves nothing is an unreadable ground truth, not one that an empty response hits.
    """

    config_type = F1Config

    def judge(self, sample: Sample) -> RuleVerdict:
        accepted = [_remembered(truth) for truth in truths(sample)]
        part = part_of(sample.response, self.config.part)
        if part is None:
            return no_part(self.config.part)
        if self.config.measure == "exact_match":
            given = squad_normalized(part)
            return RuleVerdict(float(any(given == one.text for one in accepted)), {})
        words = squad_words(part)
        scores = [overlap_f1(words, one) for one in accepted]
        best = max(scores)
        return RuleVerdict(best, {"nearest": shown(accepted[scores.index(best)].text)})


class Reference(NamedTuple):
    """An acceptable answer: as text, the number of its words, each with its count, and the words
    that are looked for in a response, articles among them."""

    text: str
    total: int
    counts: dict[str, int]
    wanted: frozenset[str]


def reference(truth: str) -> Reference:
    """Return an acceptable answer as it is compared.

    Raises:
        Unscorable: nothing is left of it, so that an empty response would be right.
    """
    [text] = usable([truth], squad_normalized)
    counts = Counter(text.split())
    return Reference(text, counts.total(), dict(counts), ARTICLES.union(counts))


_read_once = lru_cache(maxsize=4096)(reference)


def _remembered(truth: str) -> Reference:
    """Return `reference`: the samples of a group share one."""
    return _read_once(truth) if len(truth) <= REMEMBERED_CHARS else reference(truth)


def overlap_f1(given: list[str], truth: Reference) -> float:
    """Return the F1 of the words shared, each counted as often as both have it; the articles of
    `given` are no words.

    Example:
        >>> overlap_f1(["b", "the", "b", "d"], reference("b c"))  # 1 of 3, and 1 of 2
        0.4
    """
    met: dict[str, int] = {}
    for word in [word for word in given if word in truth.wanted]:
        met[word] = met.get(word, 0) + 1
    total = len(given) - sum([met.pop(article, 0) for article in ARTICLES])
    shared = sum([min(count, truth.counts[word]) for word, count in met.items()])
    return 2 * shared / (total + truth.total) if shared else 0.0
