"""The arithmetic of PPO on whole responses, as pure functions of torch tensors.

Tensors hold one batch, right-padded, with a mask that is 1 on the response's tokens; results have
the same shape and are 0 where the mask is 0. Rows without tokens contribute nothing. Statistics
over several processes use `all_reduce`, which sums a tensor over them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

PerToken = Float[Tensor, "batch tokens"]
Mask = Bool[Tensor, "batch tokens"] | Int[Tensor, "batch tokens"] | Float[Tensor, "batch tokens"]
Estimator = Literal["k1", "k3"]
AllReduce = Callable[[Tensor], Tensor]


def alone(total: Tensor) -> Tensor:
    """Return the total of a single process, unchanged."""
    return total


def token_kl(logps: PerToken, ref_logps: PerToken, estimator: Estimator) -> PerToken:
    """Estimate KL(policy || reference) at each sampled token.

    k1: the log-ratio, unbiased, may be negative. k3: `exp(-d) + d - 1` of the log-ratio d, never
    negative, with less variance.

    Source: J. Schulman, "Approximating KL divergence" (2020).
    """
    log_ratio = logps - ref_logps
    if estimator == "k1":
        return log_ratio
    return torch.exp(-log_ratio) + log_ratio - 1


def shaped_rewards(
    scores: Float[Tensor, " batch"],
    logps: PerToken,
    ref_logps: PerToken | None,
    mask: Mask,
    *,
    kl_coef: float,
    estimator: Estimator,
) -> PerToken:
    """Return the reward of each token: its KL penalty, plus the score on the last token.

    Source: Ouyang et al. 2022, "Training language models to follow instructions", appendix C.4.
    """
    live = mask.bool()
    rewards = torch.zeros_like(logps)
    if ref_logps is not None and kl_coef:
        rewards -= kl_coef * token_kl(logps, ref_logps, estimator)
    is_last = live & (live.flip(1).cumsum(1).flip(1) == 1)
    rewards = torch.where(is_last, rewards + scores[:, None], rewards)
    return torch.where(live, rewards, torch.zeros_like(rewards))


def gae(
    rewards: PerToken, values: PerToken, mask: Mask, *, gamma: float, lam: float
) -> tuple[PerToken, PerToken]:
    """Return the advantages and returns (`advantage + value`) of each token.

    After the last token all values are 0, whether the response ended or was truncated.

    `delta_t = r_t + gamma V_{t+1} - V_t`, `A_t = delta_t + gamma lam A_{t+1}`.

    Source: Schulman et al. 2016, "High-dimensional continuous control using generalized advantage
    estimation", equation 16.
    """
    live = mask.to(values.dtype)
    values = values * live
    next_value = torch.zeros_like(values[:, 0])
    next_advantage = torch.zeros_like(next_value)
    advantages = torch.zeros_like(values)
    for t in range(values.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        next_advantage = live[:, t] * (delta + gamma * lam * next_advantage)
        next_value = values[:, t]
        advantages[:, t] = next_advantage
    return advantages, (advantages + values) * live


def moments(x: PerToken, mask: Mask, all_reduce: AllReduce = alone) -> tuple[Tensor, Tensor]:
    """Return mean and population variance of the masked tokens over all processes.

    Two passes keep the variance accurate in single precision when the mean is far from 0.
    """
    live = mask.to(x.dtype)
    total, count = all_reduce(torch.stack([(x * live).sum(), live.sum()]))
    count = count.clamp(min=1)
    mean = total / count
    squares = all_reduce((((x - mean) * live) ** 2).sum())
    return mean, squares / count


def whitened(x: PerToken, mask: Mask, all_reduce: AllReduce = alone, eps: float = 1e-8) -> PerToken:
    """Return the masked tokens scaled to mean 0 and variance 1 over the global batch.

    Source: Andrychowicz et al. 2021, "What matters for on-policy deep actor-critic methods", 3.3.
    """
    mean, variance = moments(x, mask, all_reduce)
    return (x - mean) * torch.rsqrt(variance + eps) * mask.to(x.dtype)


def rewards_whitened(
    x: PerToken, mask: Mask, all_reduce: AllReduce = alone, eps: float = 1e-8
) -> PerToken:
    """Return the masked tokens scaled to variance 1 over the global batch, with their mean
    unchanged.

    `(x - mean) / sqrt(var + eps) + mean`, where the variance has n - 1.

    Source: `masked_whiten(rewards, mask, shift_mean=False)` of trl 0.9 to 1.12.
    """
    live = mask.to(x.dtype)
    mean, variance = moments(x, mask, all_reduce)
    count = all_reduce(live.sum())
    variance = variance * count / (count - 1).clamp(min=1)
    return ((x - mean) * torch.rsqrt(variance + eps) + mean) * live


@dataclass
class RunningScores:
    """Running mean and variance of the scores of all processes.

    Source: `RunningMoments` of trl 0.9 (T. Chan et al. 1979, "Updating formulae and a pairwise
    algorithm for computing sample variances").
    """

    count: float = 0.0
    mean: float = 0.0
    variance: float = 0.0

    def update(self, scores: Float[Tensor, " n"], all_reduce: AllReduce = alone) -> None:
        """Add a batch; `scores` are those of this process, without missing ones."""
        x = scores.double()
        total, count = all_reduce(torch.stack([x.sum(), x.new_tensor(len(x))])).tolist()
        if not count:
            return
        mean = total / count
        squares = float(all_reduce(((x - mean) ** 2).sum()))
        both, off = self.count + count, mean - self.mean
        squares += self.variance * self.count + off**2 * self.count * count / both
        self.mean += off * count / both
        self.variance, self.count = squares / both, both

    def normalised(self, scores: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return `(scores - mean) / std`, std with n - 1; while the std is 0, divide by 1."""
        unbiased = self.variance * self.count / max(self.count - 1, 1)
        return (scores - self.mean) / (math.sqrt(unbiased) or 1.0)


def value_loss(
    values: PerToken, old_values: PerToken, returns: PerToken, clip: float | None
) -> tuple[PerToken, Bool[Tensor, "batch tokens"]]:
    """Return half the squared error of each token, and where clipping took effect.

    A value that differs from its rollout value by more than `clip` is clipped to that bound; the
    larger of the two errors counts, so that a large step is never rewarded. None: no clipping.

    Source: Schulman et al. 2017, "Proximal policy optimization algorithms", equation 9, in the
    clipped form of OpenAI's baselines (ppo2).
    """
    error = (values - returns) ** 2
    if clip is None:
        return 0.5 * error, torch.zeros_like(error, dtype=torch.bool)
    bounded = old_values + (values - old_values).clamp(-clip, clip)
    bounded_error = (bounded - returns) ** 2
    return 0.5 * torch.maximum(error, bounded_error), bounded_error > error


def explained_variance(
    values: PerToken, returns: PerToken, mask: Mask, all_reduce: AllReduce = alone
) -> Tensor:
    """Return `1 - Var(returns - values) / Var(returns)`: 1 for a perfect critic, 0 for a constant
    one.

    It is 0 if the returns do not vary, since there is no variance to explain.
    """
    _, unexplained = moments(returns - values, mask, all_reduce)
    _, variance = moments(returns, mask, all_reduce)
    explained = 1 - unexplained / variance.clamp(min=1e-12)
    return torch.where(variance > 1e-12, explained, torch.zeros_like(variance))


def adapted_kl_coef(
    kl_coef: float, kl: float, *, target: float, samples: int, horizon: int
) -> float:
    """Return the coefficient after a batch of `samples` responses with a mean KL of `kl` nats.

    It changes by up to 20% per `horizon / samples` batches, towards a KL of `target`.

    Source: Ziegler et al. 2019, "Fine-tuning language models from human preferences", section 2.2.
    """
    error = min(max(kl / target - 1, -0.2), 0.2)
    return kl_coef * (1 + error * samples / horizon)
