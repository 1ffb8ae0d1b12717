"""From the scores of a request's samples, a column for each scorer, to results and to numbers.

In: a profile, samples, columns of scores. Out: a result for each sample; tallies of what came of
them. By columns, because all samples at once cost a third of one by one. Neither normalised nor
clipped: that depends on more than the request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from reward_server.profiles import Profile
from reward_server.schemas import Sample, SampleResult
from reward_server.scorers.base import Score
from reward_server.tallies import Verdicts, tally


class Scored(NamedTuple):
    """The results of a request, and their numbers by columns, which cost less to count."""

    results: list[SampleResult]
    rewards: Sequence[float | None]
    scores: Mapping[str, Sequence[float | None]]


def combine(
    profile: Profile,
    samples: Sequence[Sample],
    columns: Mapping[str, Sequence[Score]],
    *,
    explain: bool,
) -> Scored:
    """The results of the samples from their scores, a column for each scorer."""
    values = {key: [score.value for score in column] for key, column in columns.items()}
    rewards = profile.rewards(values, len(samples))
    if len(values) == 1:  # most profiles, at a third of the time
        [(key, numbers)] = values.items()
        rows = [{key: number} for number in numbers]
    else:
        rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    results = [
        SampleResult(sample.id, "ok", reward, row)
        for sample, reward, row in zip(samples, rewards, rows, strict=True)
    ]
    if None in rewards:
        for result, error in zip(results, profile.errors(columns), strict=True):
            if result.reward is None:
                result.status, result.error = "error", error
    if explain:
        for i, result in enumerate(results):
            result.explanation = {key: _explain(column[i]) for key, column in columns.items()}
    return Scored(results, rewards, values)


def counted(scored: Scored) -> Verdicts:
    """The results in numbers; where the only score is the reward, it is counted once."""
    scores = {key: tally(column) for key, column in scored.scores.items()}
    same = [scores[key] for key, column in scored.scores.items() if column is scored.rewards]
    reward = same[0] if same else tally(scored.rewards)
    if not reward.unknown:
        return Verdicts(reward, scores, {})
    codes = Counter(each.error.code for each in scored.results if each.error)
    return Verdicts(reward, scores, codes)


def _explain(score: Score) -> dict[str, object] | None:
    if score.error is None:
        return score.explanation
    return {"error": score.error, **(score.explanation or {})}
