"""Score how little of a response repeats, by n-grams of words or by lines."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

from pydantic import Field

from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.rules.rule import (
    ResponsePart,
    Rule,
    RuleConfig,
    RuleVerdict,
    no_part,
    part_of,
)
from touchstone_rewards.reward_server.scorers.rules.words import pieces


class RepetitionConfig(RuleConfig):
    """Config of `repetition`."""

    of: Literal["ngrams", "lines", "both"] = Field(
        default="ngrams", description="what is counted; both takes the worse"
    )
    n: int = Field(default=4, ge=1, le=20, description="words per n-gram")
    allowed: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="share of repeats that costs nothing"
    )
    part: ResponsePart = "whole"


class RepetitionScorer(Rule[RepetitionConfig]):
    """Score 1 minus the share of n-grams, or lines, that occurred before; 0 for an empty response.

    A word of more than 40 characters is split into letters, so that `aaaa…` counts as repetition
    too.
    """

    version = "2"
    reads = ("response",)
    config_type = RepetitionConfig

    def judge(self, sample: Sample) -> RuleVerdict:
        part = part_of(sample.response, self.config.part)
        if part is None:
            return no_part(self.config.part)
        if not part or part.isspace():
            return RuleVerdict(0.0, {"rule": "the response is empty"})
        shares: dict[str, float] = {}
        if self.config.of != "lines":
            shares["repeated_ngrams"] = repeated_share(pieces(part), self.config.n)
        if self.config.of != "ngrams":
            lines = [line.strip() for line in part.split("\n")]
            shares["repeated_lines"] = repeated_share([line for line in lines if line], 1)
        allowed = self.config.allowed
        charged = max(0.0, *shares.values(), allowed) - allowed
        return RuleVerdict(1.0 - charged / (1 - allowed), shares)


def repeated_share(things: Sequence[Hashable], n: int) -> float:
    """Return the share of runs of `n` things that occurred before; 0 if there are none.

    Example:
        >>> repeated_share(["a", "b", "a", "b", "a"], 2)
        0.5
    """
    count = len(things) - n + 1
    runs = zip(things, *[things[start:] for start in range(1, n)], strict=False)
    return 1 - len(set(runs)) / count if count > 0 else 0.0
