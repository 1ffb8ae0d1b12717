"""Several rewards for each sample: profiles, or scores of one profile, each a TRL reward function.

`SeveralRewards` scores a batch with every part and returns one result per sample, whose reward is
the weighted sum, and one column per part. TRL sums the columns, or normalizes each within its group
first (GDPO). If one profile could not score a sample, the sample has no reward from any part. A
score that does not apply to a row is left out of its sum, as in TRL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from msgspec import structs

from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.reward_arguments import RewardArguments

# (samples, profile, options) -> one result per sample, None where no answer came.
RewardFunction = Callable[..., list[Any]]
RewardColumn = list[float | None]


class RewardPart(NamedTuple):
    """One reward, with its weight: the reward of a profile, or one of its scores."""

    name: str
    profile: str
    score: str | None = None
    weight: float = 1.0


def parts_of(rewards: RewardArguments, weights: Sequence[float] | None) -> list[RewardPart]:
    """Return the requested parts in the order of the weights: the profile, or the chosen scores of
    it, then the other profiles.

    Raises:
        InputError: the number of weights is not that of the parts, or a part is given twice.

    Source: `reward_weights` and `multi_objective_aggregation` of trl 1.16; GDPO, arXiv 2601.05242.

    Example:
        >>> rewards = RewardArguments(reward_profile="math", also_reward_profile=["format"])
        >>> [(part.name, part.weight) for part in parts_of(rewards, [1.0, 0.5])]
        [('math', 1.0), ('format', 0.5)]
    """
    profile = rewards.reward_profile
    parts = [RewardPart(name, profile, name) for name in rewards.reward_scores or ()]
    parts = parts or [RewardPart(profile, profile)]
    parts += [RewardPart(name, name) for name in rewards.also_reward_profile or ()]
    names = [part.name for part in parts]
    if len(set(names)) < len(names):
        raise InputError(f"each reward may be named once, got {', '.join(names)}")
    if weights is not None and len(weights) != len(parts):
        raise InputError(
            f"reward_weights has {len(weights)} numbers for {len(parts)} rewards: "
            f"{', '.join(names)}"
        )
    weighed = zip(parts, weights or [1.0] * len(parts), strict=True)
    return [part._replace(weight=weight) for part, weight in weighed]


class SeveralRewards:
    """Scores batches like a client; `columns` holds the values of each part for the last batch."""

    def __init__(self, score: RewardFunction, parts: Sequence[RewardPart]) -> None:
        self._score = score
        self.parts = list(parts)
        self.columns: list[RewardColumn] = [[] for _ in parts]

    def score(self, samples: list[Any], profile: str, **options: object) -> list[Any]:
        """Return one result per sample, None where a profile gave no answer; `profile` is
        ignored."""
        names = dict.fromkeys(part.profile for part in self.parts)
        found = {name: self._score(samples, name, **options) for name in names}
        rows = [dict(zip(names, each, strict=True)) for each in zip(*found.values(), strict=True)]
        values = [values_of(row, self.parts) for row in rows]
        self.columns = [list(column) for column in zip(*values, strict=True)]
        return [
            together(row, weighted_sum(own, [part.weight for part in self.parts]))
            for row, own in zip(rows, values, strict=True)
        ]


def values_of(results: dict[str, Any], parts: Sequence[RewardPart]) -> RewardColumn:
    """Return the value of each part for a sample; all None if one of the profiles gave no
    reward."""
    if any(result is None or result.reward is None for result in results.values()):
        return [None] * len(parts)
    values: RewardColumn = []
    for part in parts:
        result = results[part.profile]
        if part.score is not None and part.score not in result.scores:
            known = ", ".join(result.scores)
            raise InputError(
                f"reward_scores: profile {part.profile} has no score {part.score!r}; it has {known}"
            )
        values.append(result.reward if part.score is None else result.scores[part.score])
    return values


def weighted_sum(values: RewardColumn, weights: Sequence[float]) -> float | None:
    """Return the weighted sum of the known values; None if no value is known.

    Example:
        >>> weighted_sum([1.0, None, 0.5], [1.0, 9.0, 2.0])
        2.0
    """
    pairs = zip(values, weights, strict=True)
    known = [value * weight for value, weight in pairs if value is not None]
    return sum(known) if known else None


def together(results: dict[str, Any], reward: float | None) -> Any:
    """Merge the results of several profiles: all scores, and the error of the first profile that
    has no reward. Return None if a profile gave no answer."""
    answered = {name: result for name, result in results.items() if result is not None}
    if len(answered) < len(results):
        return None
    scores: dict[str, float | None] = {}
    for name, result in answered.items():
        for key, value in result.scores.items():
            scores[f"{name}/{key}" if key in scores else key] = value
    first = next(iter(answered.values()))
    worst = next((each for each in answered.values() if each.reward is None), first)
    fingerprint = "+".join(str(each.fingerprint) for each in answered.values())
    status = "ok" if reward is not None else "error"
    changed = {"reward": reward, "scores": scores, "fingerprint": fingerprint, "status": status}
    alarms = [alarm for each in answered.values() for alarm in each.alarms]
    return structs.replace(first, error=worst.error, alarms=alarms, **changed)


def column_functions(first: Any, several: SeveralRewards) -> list[Any]:
    """Return TRL's reward functions: the first scores the batch, and each returns one column of it.

    TRL calls them one after the other, in this order.
    """

    def function(place: int) -> Callable[..., RewardColumn]:
        def reward(*args: Any, **kwargs: Any) -> RewardColumn:
            if place == 0:
                first(*args, **kwargs)
            return several.columns[place]

        reward.__name__ = several.parts[place].name
        return reward

    return [function(place) for place in range(len(several.parts))]
