"""Compute the advantages of a rollout from its rewards.

Rewards come in whole groups, one after the other, NaN where a sample has none. Each sample gets one
advantage, 0 without a reward. These are pure functions of tensors.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from touchstone_rewards.trainer.grpo.config import Advantage


def advantages_of(
    rewards: Float[Tensor, " n"], group_size: int, kind: Advantage, eps: float
) -> Float[Tensor, " n"]:
    """Return the advantages by `kind`:

    group_std: (r - mean) / (std + eps), std with G-1; group_mean: r - mean; none: r; leave_one_out:
    r - the mean of the others.

    A sample without a reward is left out of mean and std. In a group with one reward, that sample's
    advantage is 0 for every kind but none.

    Source: arXiv 2402.03300, equation 4 (group_std); 2503.20783, equation 3 (group_mean);
    2402.14740, equation 8 (leave_one_out).
    """
    if kind == "none":
        return rewards.nan_to_num(nan=0.0)
    groups = rewards.view(-1, group_size)
    centred = groups - groups.nanmean(dim=1, keepdim=True)
    if kind == "group_std":
        centred = centred / (group_std(groups) + eps)
    if kind == "leave_one_out":
        count = (~groups.isnan()).sum(dim=1, keepdim=True)
        # r - mean of all = (n - 1)/n (r - mean of the others), because r is part of the mean of
        # all.
        centred = centred * count / (count - 1).clamp(min=1)
    return centred.nan_to_num(nan=0.0).view(-1)


def with_penalties(
    rewards: Float[Tensor, "n parts"],
    weights: Float[Tensor, " parts"],
    penalties: Float[Tensor, " n"],
) -> Float[Tensor, "n parts"]:
    """Add a penalty to each sample's rewards, so that their weighted sum changes by the penalty.

    The parts share the penalty by weight. A missing part stays missing, and a sample without any
    reward stays without one.
    """
    known = torch.where(rewards.isnan(), 0.0, 1.0) * weights
    shares = known / known.square().sum(dim=1, keepdim=True).clamp(min=1e-12)
    return rewards + penalties[:, None] * shares


def group_std(groups: Float[Tensor, "groups size"]) -> Float[Tensor, "groups 1"]:
    """Return the standard deviation of each group's rewards, with n-1; 0 for fewer than 2
    rewards."""
    centred = groups - groups.nanmean(dim=1, keepdim=True)
    count = (~groups.isnan()).sum(dim=1, keepdim=True)
    return (centred.square().nansum(dim=1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()


def zero_variance(rewards: Float[Tensor, " n"], group_size: int) -> Tensor:
    """Return True for each group whose rewards are all equal; False for a group without any
    reward."""
    groups = rewards.view(-1, group_size)
    scored = (~groups.isnan()).any(dim=1)
    return scored & (group_std(groups).squeeze(1) < 1e-6)
