"""Find the samples that a scorer must not see; each gets its own error."""

from __future__ import annotations

from collections.abc import Sequence

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Described, Score
from touchstone_rewards.reward_server.scoring.ground_truths import unreadable_truths


def looked_at(scorer: Described) -> Sequence[str]:
    """Return the fields to check before a scorer sees a sample: those that it reads, or none if it
    takes any ground truth, as functions do."""
    return () if scorer.any_truth else scorer.reads


def refusals(
    samples: Sequence[Sample], reads: Sequence[str], max_response_bytes: int
) -> dict[int, Score]:
    """Return the indices of the samples that a scorer with these `reads` must not see.

    Those have a response with more bytes than allowed, or a ground truth that no scorer can read.
    The ground truths of the others are converted to their plain form.
    """
    refused: dict[int, Score] = {}
    # A character takes at most four bytes, so short responses pass without being encoded.
    surely_short = max_response_bytes // 4
    for at, sample in enumerate(samples):
        response = sample.response
        if len(response) > surely_short and len(response.encode()) > max_response_bytes:
            refused[at] = _too_large(max_response_bytes)
    return unreadable_truths(samples) | refused if "ground_truth" in reads else refused


def _too_large(limit: int) -> Score:
    message = f"the response has more than {limit} bytes, the limit of this server"
    return Score(error=sample_error("response_too_large", message))
