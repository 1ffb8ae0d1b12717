"""Compare the rewards earned by form alone, substance alone and both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from touchstone_rewards.reward_server.audit.report import (
    AuditShare,
    Combination,
    FormOutcome,
    StrategyOutcome,
)
from touchstone_rewards.reward_server.audit.shares import share
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.schemas import Sample, SampleResult

# Smaller differences between rewards do not affect the advantages of a group.
SAME = 1e-9


def combination(
    forms: Sequence[FormOutcome],
    best_form: str,
    strategies: Sequence[StrategyOutcome],
    profile: Profile | None,
    groups: AuditShare | None,
) -> Combination:
    """Return the rewards of right answers, of form alone and of substance alone.

    A warning is added wherever their order is wrong.
    """
    right = _reward(forms, best_form)
    bare = _reward(forms, "bare")
    form_only = _greatest(strategies, "form only")
    wrong = _greatest(strategies, "other row")
    cheapest, gain = _cheapest(strategies, profile)
    warnings: list[str] = []
    if form_only is not None and bare is not None and best_form != "bare" and form_only > bare:
        warnings.append(
            f"form without an answer earns {form_only:.3g}, a right answer without the form "
            f"{bare:.3g}: early in training the policy learns the form, not the answer"
        )
    for what, earned in (("form without an answer", form_only), ("a wrong answer in form", wrong)):
        if right is not None and earned is not None and earned >= right:
            warnings.append(f"{what} earns {earned:.3g}, a right answer in form {right:.3g}")
    if cheapest is not None and gain is not None and right is not None and gain >= right / 2 > 0:
        warnings.append(
            f"{cheapest} alone earns {gain:.3g} of the {right:.3g} for a right answer, "
            "without knowing the task"
        )
    if groups is not None and groups.share > 0.5:
        warnings.append(
            f"{groups.count} of {groups.of} groups have equal rewards for all responses: "
            "they give no gradient"
        )
    return Combination(right, bare, form_only, wrong, cheapest, gain, groups, warnings)


def _reward(forms: Sequence[FormOutcome], name: str) -> float | None:
    return next((each.mean_reward for each in forms if each.name == name), None)


def _greatest(strategies: Sequence[StrategyOutcome], family: str) -> float | None:
    of = [each.mean_reward for each in strategies if each.family == family]
    return max((reward for reward in of if reward is not None), default=None)


def _cheapest(
    strategies: Sequence[StrategyOutcome], profile: Profile | None
) -> tuple[str | None, float | None]:
    """Return the component that a policy ignorant of the task can raise most, and its gain in
    reward.

    The gain is relative to an empty response. It is unknown for a profile on a server, because only
    the server knows the weights.
    """
    if profile is None:
        return None, None
    empty = next((each for each in strategies if each.name == "empty"), None)
    gains: dict[str, float] = defaultdict(float)
    for strategy in strategies:
        if strategy.knows not in ("nothing", "prompt"):
            continue
        for key, score in strategy.mean_scores.items():
            entry = profile.entries.get(key)
            weight = entry.weight if entry else 1.0
            before = (empty.mean_scores.get(key) or 0.0) if empty else 0.0
            gains[key] = max(gains[key], weight * ((score or 0.0) - before))
    key = max(gains, key=lambda each: gains[each], default=None)
    return (None, None) if key is None or gains[key] <= 0 else (key, gains[key])


def flat_groups(samples: Sequence[Sample], results: Sequence[SampleResult]) -> AuditShare:
    """Return the share of groups whose responses all have the same reward.

    Groups with fewer than two rewards are ignored.
    """
    rewards: dict[str, list[float]] = defaultdict(list)
    for sample, result in zip(samples, results, strict=True):
        group = sample.group_id or str(sample.prompt)
        if result.reward is not None:
            rewards[group].append(result.reward)
    usable = [of for of in rewards.values() if len(of) > 1]
    flat = [of for of in usable if max(of) - min(of) <= SAME]
    return share(len(flat), len(usable))
