"""The arithmetic of PPO on whole responses: pure functions of tensors, nothing but torch.

In: tensors of one batch, right-padded, with a mask that is 1 on the response's tokens. Out: the
same shapes, 0 where the mask is. A row without tokens contributes nothing to anything. What spans
several processes goes through `all_reduce`, which sums a tensor over them.
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
    """The sum over the processes where there is one only."""
    return total


def token_kl(logps: PerToken, ref_logps: PerToken, estimator: Estimator) -> PerToken:
    """An estimate of KL(policy || reference) at each sampled token.

    k1: log-ratio, unbiased, may be negative. k3: `exp(-d) + d - 1` of the log-ratio d, never
    negative and of less variance.

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
    """What each token earns: minus its share of the KL, and the score on the last token.

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
    """Advantages and returns (`advantage + value`) of each token; beyond the last token nothing
    is worth anything, whether the response ended or was cut.

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
    """Mean and variance (of the population) of the masked tokens of all processes.

    Two passes: the variance of numbers far from 0 survives single precision.
    """
    live = mask.to(x.dtype)
    total, count = all_reduce(torch.stack([(x * live).sum(), live.sum()]))
    count = count.clamp(min=1)
    mean = total / count
    squares = all_reduce((((x - mean) * live) ** 2).sum())
    return mean, squares / count


def whitened(x: PerToken, mask: Mask, all_reduce: AllReduce = alone, eps: float = 1e-8) -> PerToken:
    """The masked tokens with mean 0 and variance 1 over the global batch.

    Source: Andrychowicz et al. 2021, "What matters for on-policy deep actor-critic methods", 3.3.
    """
    mean, variance = moments(x, mask, all_reduce)
    return (x - mean) * torch.rsqrt(variance + eps) * mask.to(x.dtype)


def rewards_whitened(
    x: PerToken, mask: Mask, all_reduce: AllReduce = alone, eps: float = 1e-8
) -> PerToken:
    """The masked tokens with variance 1 over the global batch, and the mean that they had.

    `(x - mean) / sqrt(var + eps) + mean`, the variance with n - 1.

    Source: `masked_whiten(rewards, mask, shift_mean=False)` of trl 0.9 to 1.12.
    """
    live = mask.to(x.dtype)
    mean, variance = moments(x, mask, all_reduce)
    count = all_reduce(live.sum())
    variance = variance * count / (count - 1).clamp(min=1)
    return ((x - mean) * torch.rsqrt(variance + eps) + mean) * live


@dataclass
class RunningScores:
    """Mean and variance of all scores so far, of every process.

    Source: `RunningMoments` of trl 0.9 (T. Chan et al. 1979, "Updating formulae and a pairwise
    algorithm for computing sample variances").
    """

    count: float = 0.0
    mean: float = 0.0
    variance: float = 0.0

    def update(self, scores: Float[Tensor, " n"], all_reduce: AllReduce = alone) -> None:
        """Count in a batch; `scores` are this process's, without those that are missing."""
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
        """Scores less the mean, by the standard deviation with n - 1; their mere difference from
        the mean while there is no deviation yet."""
        unbiased = self.variance * self.count / max(self.count - 1, 1)
        return (scores - self.mean) / (math.sqrt(unbiased) or 1.0)


def value_loss(
    values: PerToken, old_values: PerToken, returns: PerToken, clip: float | None
) -> tuple[PerToken, Bool[Tensor, "batch tokens"]]:
    """Half the squared error of each token, and where clipping decided.

    A value that left its rollout value by more than `clip` is pulled back to the bound; the larger
    of the two errors counts, so that no step is rewarded for going far. None: no clipping.

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
    """`1 - Var(returns - values) / Var(returns)`: 1 for a perfect critic, 0 for a constant one.

    0 where the returns do not vary: there is nothing to explain.
    """
    _, unexplained = moments(returns - values, mask, all_reduce)
    _, variance = moments(returns, mask, all_reduce)
    explained = 1 - unexplained / variance.clamp(min=1e-12)
    return torch.where(variance > 1e-12, explained, torch.zeros_like(variance))


def adapted_kl_coef(
    kl_coef: float, kl: float, *, target: float, samples: int, horizon: int
) -> float:
    """The coefficient after a batch of `samples` whose mean KL a response was `kl` nats.

    It moves up to 20% over `horizon / samples` batches towards keeping the KL at `target`.

    Source: Ziegler et al. 2019, "Fine-tuning language models from human preferences", section 2.2.
    """
    error = min(max(kl / target - 1, -0.2), 0.2)
    return kl_coef * (1 + error * samples / horizon)
