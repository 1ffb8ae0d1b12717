"""How many words the response and an acceptable answer share: SQuAD's F1 and exact match."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.rules.rule import (
    Part,
    Rule,
    RuleConfig,
    Verdict,
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


class F1Config(RuleConfig):
    """`measure`: the score. Of several acceptable answers the one that fits best counts."""

    measure: Literal["f1", "exact_match"] = "f1"
    part: Part = "said"


class F1Scorer(Rule[F1Config]):
    """Word overlap after SQuAD's normalisation; of scripts without spaces letters are words.

    Source: the evaluation script of SQuAD 1.1. Unlike there, an answer of which normalisation
    leaves nothing is an unreadable ground truth, not one that an empty response hits.
    """

    config_type = F1Config

    def judge(self, sample: Sample) -> Verdict:
        accepted = usable(truths(sample), squad_normalized)
        part = part_of(sample.response, self.config.part)
        if part is None:
            return no_part(self.config.part)
        if self.config.measure == "exact_match":
            given = squad_normalized(part)
            return Verdict(float(given in accepted), {"normalized": shown(given)})
        counted = Counter(squad_words(part))
        for article in ARTICLES:
            del counted[article]
        scores = [overlap_f1(counted, truth.split()) for truth in accepted]
        best = max(scores)
        told = {"words": counted.total(), "nearest": shown(accepted[scores.index(best)])}
        return Verdict(best, told)


def overlap_f1(given: Counter[str], truth: list[str]) -> float:
    """Return the F1 of the words shared, each counted as often as both have it.

    Example:
        >>> overlap_f1(Counter(["a", "b", "b"]), ["b", "c"])  # 1 of 3, and 1 of 2
        0.4
    """
    shared = sum(min(count, given[word]) for word, count in Counter(truth).items())
    return 2 * shared / (given.total() + len(truth)) if shared else 0.0
