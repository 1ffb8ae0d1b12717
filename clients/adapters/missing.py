"""What a trainer is given for a sample without a reward, and when so many are too many.

Pure functions and one counter. A missing reward is never turned into a number of its own: it is
left out, or replaced by the mean of its group, or it raises.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from touchstone_rewards.clients.errors import NoReward, TooManyFailures
from touchstone_rewards.clients.results import ScoreResult

OnMissing = Literal["leave_out", "raise", "group_mean"]

# Counts of one batch: samples, samples without a reward, and why the first of those has none.
Counts = tuple[int, int, str]

LEAVES_OUT_SINCE = (1, 6)


def installed_trl() -> tuple[int, int] | None:
    """Return the major and minor version of TRL as installed, or None if it is not.

    A pre-release counts as the version before it: 1.6.0.dev0 is (1, 5).
    """
    try:
        version = importlib.metadata.version("trl")
    except importlib.metadata.PackageNotFoundError:
        return None
    major, minor = (int(part) for part in re.findall(r"\d+", version)[:2])
    return (major, minor - 1) if re.search(r"dev|rc|a\d|b\d", version) else (major, minor)


def leaves_out(version: tuple[int, int] | None) -> bool:
    """Tell whether this TRL leaves a reward of None out of its group; before, it sums it as 0.

    Source: huggingface/trl#5902, `unscorable_mask` in trl/trainer/grpo_trainer.py.
    """
    return version is None or version >= LEAVES_OUT_SINCE


def chosen(on_missing: OnMissing | None, version: tuple[int, int] | None) -> OnMissing:
    """Return what is to be done about missing rewards under this version of TRL.

    Raises:
        ValueError: an unknown word, or `leave_out` where TRL would make it a reward of 0.
    """
    if on_missing is None:
        return "leave_out" if leaves_out(version) else "raise"
    if on_missing not in get_args(OnMissing):
        raise ValueError(
            f"on_missing is {on_missing!r}; say one of {', '.join(get_args(OnMissing))}"
        )
    if on_missing == "leave_out" and not leaves_out(version):
        assert version is not None
        raise ValueError(
            "on_missing='leave_out' needs TRL 1.6 or newer: "
            f"TRL {version[0]}.{version[1]} counts a missing reward as 0. Say 'raise' or "
            "'group_mean', or install a newer TRL"
        )
    return on_missing


def filled(
    rewards: Sequence[float | None], groups: Sequence[str], on_missing: OnMissing, why: str
) -> list[float | None]:
    """Return the rewards as TRL is to get them; `why` says why the first missing one is missing.

    With `group_mean`, a missing reward becomes the mean of its group's rewards, so that its
    advantage is 0. A group without any reward gets one number for all, so that all its advantages
    are 0: the mean of the rewards in the batch.

    Example:
        >>> filled([1.0, None, 1.0, 0.0], ["a"] * 4, "group_mean", "")
        [1.0, 0.6666666666666666, 1.0, 0.0]

    Raises:
        NoReward: `on_missing` is `raise`, or no sample of the batch has a reward to take a mean of.
    """
    known = [reward for reward in rewards if reward is not None]
    if len(known) == len(rewards) or on_missing == "leave_out":
        return list(rewards)
    missing = len(rewards) - len(known)
    if on_missing == "raise":
        raise NoReward(
            f"{missing} of {len(rewards)} completions have no reward ({why}). Mend that, or say "
            "on_missing='group_mean'; from TRL 1.6 on, 'leave_out' is possible too"
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
    """Return the server's own words about the first sample without a reward; "" if all have one."""
    for result in results:
        if result is None:
            return "unavailable: no answer in time, or none that could be understood"
        if result.reward is None:
            error = result.error
            return f"{error.code}: {error.message}" if error else "the profile gave none"
    return ""


class FailureWatch:
    """Counts failed rewards, batch by batch, and stops a training that would learn from the rest.

    `gather` gives the counts of all ranks for those of one; without it each rank counts its own.
    """

    def __init__(
        self,
        profile: str,
        max_failed_frac: float,
        failed_steps_patience: int,
        gather: Callable[[Counts], Sequence[Counts]] | None = None,
    ) -> None:
        if not 0 <= max_failed_frac <= 1:
            raise ValueError(f"max_failed_frac is a share, 0 to 1, not {max_failed_frac}")
        if failed_steps_patience < 1:
            raise ValueError("failed_steps_patience must be positive")
        self.profile = profile
        self.max_failed_frac = max_failed_frac
        self.failed_steps_patience = failed_steps_patience
        self.gather = gather
        self.bad_batches = 0
        self.any_reward = False

    def look(self, results: Sequence[ScoreResult | None]) -> int:
        """Count a batch; return how many of its samples, of all ranks, have a reward.

        Raises:
            NoReward: not one sample of the first batch has a reward.
            TooManyFailures: too many failed, in too many batches one after another.
        """
        failed = sum(result is None or result.reward is None for result in results)
        own = (len(results), failed, why_missing(results))
        parts = self.gather(own) if self.gather else [own]
        total, failed = sum(part[0] for part in parts), sum(part[1] for part in parts)
        why = next((part[2] for part in parts if part[1]), "")
        # With max_failed_frac 1, everything may fail: that was asked for.
        if total and failed == total and not self.any_reward and self.max_failed_frac < 1:
            raise NoReward(
                f"not one of the first {total} completions got a reward from {self.profile!r}: "
                f"{why}"
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
