"""Compare a response with the acceptable answers, letter by letter."""

from __future__ import annotations

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
    composed,
    one_spaced,
    without_punctuation,
)


class ExactConfig(RuleConfig):
    """Config of `exact`."""

    part: ResponsePart = "said"
    ignore_case: bool = Field(default=False, description="compare without case")
    ignore_punctuation: bool = Field(
        default=False, description="compare without punctuation, of every script"
    )
    keep_spaces: bool = Field(default=False, description="do not merge runs of white space")


class ExactScorer(Rule[ExactConfig]):
    """Score 1 if the part equals an acceptable answer, else 0."""

    config_type = ExactConfig

    def judge(self, sample: Sample) -> RuleVerdict:
        accepted = usable(truths(sample), self._prepared)
        part = part_of(sample.response, self.config.part)
        if part is None:
            return no_part(self.config.part)
        given = self._prepared(part)
        right = given in accepted
        rule = "is an acceptable answer" if right else "is none of the acceptable answers"
        return RuleVerdict(float(right), {"rule": rule, "answer": shown(given)})

    def _prepared(self, text: str) -> str:
        text = composed(text)
        if self.config.ignore_case:
            text = text.casefold()
        if self.config.ignore_punctuation:
            text = without_punctuation(text)
        return text if self.config.keep_spaces else one_spaced(text)
