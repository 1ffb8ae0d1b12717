"""The `math` scorer: 1.0 if the final answer of the response equals the ground truth, else 0.0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scorers.math.equal import (
    UnreadableGroundTruth,
    ground_truth_texts,
    math_check,
)
from touchstone_rewards.reward_server.scorers.math.policy import Policy, make_policy
from touchstone_rewards.reward_server.scorers.math.undecided import undecided_by


class MathScorer:
    """Score 1 if the final answer of the response equals the ground truth, else 0.

    The config keys are the fields of `policy.Policy`: see docs/math.md.
    """

    version = "4"
    range = (0.0, 1.0)
    runs_in: Literal["worker"] = "worker"
    deterministic = True
    reads = ("response", "ground_truth")
    config_type = Policy

    def __init__(self, **config: Any) -> None:
        self.policy = make_policy(config)

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        return [self._score(sample, explain) for sample in samples]

    def _score(self, sample: Sample, explain: bool) -> Score:
        try:
            verdict = math_check(sample.response, sample.ground_truth, self.policy)
        except UnreadableGroundTruth as why:
            return Score(error=sample_error("bad_ground_truth", str(why)), undecided="truth")
        explanation = dict(verdict.explain()) if explain else None
        if verdict.equal:
            return Score(1.0, None, explanation)
        undecided = undecided_by(verdict, ground_truth_texts(sample.ground_truth))
        return Score(0.0, None, explanation, undecided=undecided)
