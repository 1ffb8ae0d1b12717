"""Give samples whose ground truth no scorer can read an error; the other samples are scored."""

from __future__ import annotations

from collections.abc import Sequence

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.schemas import Sample, plain_ground_truth
from touchstone_rewards.reward_server.scorers.base import Score

_PLAIN = frozenset({str, int, float, type(None)})


def unreadable_truths(samples: Sequence[Sample]) -> dict[int, Score]:
    """Return the indices of samples whose ground truth no scorer can read, each with its error;
    convert the other ground truths to the plain form that scorers read."""
    unreadable: dict[int, Score] = {}
    for place, sample in enumerate(samples):
        if type(sample.ground_truth) in _PLAIN:
            continue
        try:
            sample.ground_truth = plain_ground_truth(sample.ground_truth)
        except ValueError as error:
            unreadable[place] = Score(error=sample_error("bad_ground_truth", str(error)))
    return unreadable
