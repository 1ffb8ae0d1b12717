"""Handling of missing rewards: what TRL gets for one, and how many stop a run.

A missing reward never becomes an invented number. It is left out, replaced by the mean of its
group, or raises.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from touchstone_rewards.clients.errors import NoReward, TooManyFailures
from touchstone_rewards.clients.results import ScoreResult

OnMissing = Literal["leave_out", "raise", "group_mean"]

# Of one batch: samples, samples without a reward, and the reason of the first of these.
Counts = tuple[int, int, str]

LEAVES_OUT_SINCE = (1, 6)


def installed_trl() -> tuple[int, int] | None:
    """Return the major and minor version of the installed TRL, or None.

    A pre-release counts as the previous minor version: 1.6.0.dev0 is (1, 5).
    """
    try:
        version = importlib.metadata.version("trl")
    except importlib.metadata.PackageNotFoundError:
        return None
    major, minor = (int(part) for part in re.findall(r"\d+", version)[:2])
    return (major, minor - 1) if re.search(r"dev|rc|a\d|b\d", version) else (major, minor)


def leaves_out(version: tuple[int, int] | None) -> bool:
    """Return whether this TRL excludes a reward of None from its group. Older versions count it
    as 0.

    Source: huggingface/trl#5902, `unscorable_mask` in trl/trainer/grpo_trainer.py.
    """
    return version is None or version >= LEAVES_OUT_SINCE


def chosen(on_missing: OnMissing | None, version: tuple[int, int] | None) -> OnMissing:
    """Return `on_missing`, or its default for this version of TRL.

    Raises:
        ValueError: an unknown value, or `leave_out` for a TRL that would count None as 0.
    """
    if on_missing is None:
        return "leave_out" if leaves_out(version) else "raise"
    if on_missing not in get_args(OnMissing):
        raise ValueError(
            f"on_missing is {on_missing!r}; expected one of {', '.join(get_args(OnMissing))}"
        )
    if on_missing == "leave_out" and not leaves_out(version):
        assert version is not None
        raise ValueError(
            "on_missing='leave_out' needs TRL 1.6 or newer: "
            f"TRL {version[0]}.{version[1]} counts a missing reward as 0. Use 'raise' or "
            "'group_mean', or install a newer TRL"
        )
    return on_missing


def filled(
    rewards: Sequence[float | None], groups: Sequence[str], on_missing: OnMissing, why: str
) -> list[float | None]:
    """Return the rewards for TRL. `why` is the reason of the first missing one, for messages.

    With `group_mean`, a missing reward becomes the mean of its group, so that its advantage is 0.
    In a group without any reward, all become the mean of the batch, so that all advantages are 0.

    Example:
        >>> filled([1.0, None, 1.0, 0.0], ["a"] * 4, "group_mean", "")
        [1.0, 0.6666666666666666, 1.0, 0.0]

    Raises:
        NoReward: a reward is missing and `on_missing` is `raise`, or all are missing.
    """
    known = [reward for reward in rewards if reward is not None]
    if len(known) == len(rewards) or on_missing == "leave_out":
        return list(rewards)
    missing = len(rewards) - len(known)
    if on_missing == "raise":
        raise NoReward(
            f"{missing} of {len(rewards)} completions have no reward ({why}). Fix the cause, or "
            "pass on_missing='group_mean' or, with TRL 1.6 or newer, 'leave_out'"
        )
    if not known:
        raise NoReward(f"no completion of the batch has a reward, so there is no mean ({why})")
    by_group: dict[str, list[float]] = {}
    for reward, group in zip(rewards, groups, strict=True):
        if reward is not None:
            by_group.setdefault(group, []).append(reward)
    return [
        reward if reward is not None else _mean(by_group.get(group, known))
        for reward, group in zip(rewards, groups, strict=True)
    ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def why_missing(results: Sequence[ScoreResult | None]) -> str:
    """Return why the first sample without a reward has none; "" if all have one."""
    for result in results:
        if result is None:
            return "unavailable: no valid answer in time"
        if result.reward is None:
            error = result.error
            return f"{error.code}: {error.message}" if error else "the profile gave none"
    return ""


class FailureWatch:
    """Counts missing rewards per batch and stops the run if there are too many.

    `gather` collects the counts of all ranks; without it, each rank counts its own samples.
    """

    def __init__(
        self,
        profile: str,
        max_failed_frac: float,
        failed_steps_patience: int,
        gather: Callable[[Counts], Sequence[Counts]] | None = None,
    ) -> None:
        if not 0 <= max_failed_frac <= 1:
            raise ValueError(f"max_failed_frac is {max_failed_frac}; expected a share from 0 to 1")
        if failed_steps_patience < 1:
            raise ValueError(
                f"failed_steps_patience is {failed_steps_patience}; expected 1 or more"
            )
        self.profile = profile
        self.max_failed_frac = max_failed_frac
        self.failed_steps_patience = failed_steps_patience
        self.gather = gather
        self.bad_batches = 0
        self.any_reward = False

    def look(self, results: Sequence[ScoreResult | None]) -> int:
        """Count a batch and return how many samples of all ranks have a reward.

        Raises:
            NoReward: no sample of the first batch has a reward.
            TooManyFailures: too many rewards are missing in too many consecutive batches.
        """
        failed = sum(result is None or result.reward is None for result in results)
        own = (len(results), failed, why_missing(results))
        parts = self.gather(own) if self.gather else [own]
        total, failed = sum(part[0] for part in parts), sum(part[1] for part in parts)
        why = next((part[2] for part in parts if part[1]), "")
        # With max_failed_frac 1, the caller accepts that everything fails.
        if total and failed == total and not self.any_reward and self.max_failed_frac < 1:
            raise NoReward(
                f"none of the first {total} completions got a reward from {self.profile!r}: {why}"
            )
        self.any_reward = self.any_reward or failed < total
        bad = failed > self.max_failed_frac * total
        self.bad_batches = self.bad_batches + 1 if bad else 0
        if self.bad_batches >= self.failed_steps_patience:
            raise TooManyFailures(
                f"more than {self.max_failed_frac:.0%} of the rewards failed in "
                f"{self.bad_batches} steps in a row (last {failed} of {total}: {why})"
            )
        return total - failed
