"""Samples that a scorer is not shown, each with its error: what is wrong is theirs alone."""

from __future__ import annotations

from collections.abc import Sequence

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Described, Score
from touchstone_rewards.reward_server.scoring.ground_truths import unreadable_truths


def looked_at(scorer: Described) -> Sequence[str]:
    """Return which fields are checked before the scorer is shown a sample: those that it reads, and
    none where it takes any ground truth, as functions do."""
    return () if getattr(scorer, "any_truth", False) else scorer.reads


def refusals(
    samples: Sequence[Sample], reads: Sequence[str], max_response_bytes: int
) -> dict[int, Score]:
    """Return the places of the samples that a scorer with these `reads` is not to see.

    Those are samples with a response of more bytes than allowed, or with a ground truth that no
    scorer can read. The ground truths of the others get the shape that scorers read.
    """
    refused: dict[int, Score] = {}
    # A character takes at most four bytes: short responses need no encoding to be let through.
    surely_short = max_response_bytes // 4
    for at, sample in enumerate(samples):
        response = sample.response
        if len(response) > surely_short and len(response.encode()) > max_response_bytes:
            refused[at] = _too_large(max_response_bytes)
    return unreadable_truths(samples) | refused if "ground_truth" in reads else refused


def _too_large(limit: int) -> Score:
    message = f"the response has more than {limit} bytes, which this server takes at most"
    return Score(error=sample_error("response_too_large", message))
